/* SPDX-License-Identifier: MIT */
/* Rules of an emulated cloud that the mem and local drivers share: classes and restores,
 * conditions, metadata, and the building of LIST pages. */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include "astra/base_buf.h"
#include "astra/store.h"

#define DRIVER_META_BYTES_MAX 2500 /* of all keys and values of an object */

/* An object's place between "offline" and "readable". */
struct driver_cold {
	int64_t ready_ns; /* when the restore asked for is done; 0 = none was asked for */
	int64_t until_ns; /* when the restored copy goes away */
};

/* Entry of a class, or NULL for one that this store does not have. */
const struct remote_class *driver_class(const struct remote_class *cl, const char *name);
/* The class of new objects. */
const char *driver_class_default(const struct remote_class *cl);
/* -EINVAL, ERR_FINAL with the classes there are; NULL name is fine. */
errint_t driver_class_check(const struct remote_class *cl, const char *name, struct err *err);
bool driver_has_offline(const struct remote_class *cl);
/* Sets archived, restoring and restored_until_ns of st, whose class_name is filled. */
void driver_cold_stat(
	const struct remote_class *cl, const struct driver_cold *cold, struct store_stat *st);
/* -EIO, ERR_ARCHIVED when st says so. */
errint_t driver_readable(const struct store_stat *st, struct store_obj o, struct err *err);
/* What a restore request makes of cold; -EINVAL, ERR_FINAL when the class is not offline. */
errint_t driver_restore(const struct remote_class *cl, const struct store_stat *st, unsigned days,
	struct driver_cold *cold, struct store_obj o, struct err *err);

/* Conditions of a write; etag NULL = the object is not there. */
errint_t driver_cond(const char *etag, const char *if_match, const char *if_none_match,
	struct store_obj o, struct err *err);
/* -E2BIG, ERR_FINAL for metadata that is too large, -EINVAL for keys that are not lower case. */
errint_t driver_meta_check(
	const struct store_meta *m, unsigned n, size_t bytes_max, struct err *err);
/* What set_meta makes of `had`: into ret, borrowed from both. -E2BIG, ERR_FINAL. */
errint_t driver_meta_merge(const struct store_meta *had, unsigned nhad, const struct store_meta *m,
	unsigned n, size_t bytes_max, struct store_meta ret[STORE_META_MAX], unsigned *ret_n,
	struct err *err);
/* The one of m with this key, or NULL. */
const struct store_meta *driver_meta_find(const struct store_meta *m, unsigned n, const char *key);
/* Appends a pair of copies to st; false without memory. */
bool driver_stat_meta(struct store_stat *st, const char *key, const char *value);

/* Life cycle rules are kept as they come, but must be JSON: -EINVAL. */
errint_t driver_lifecycle_check(const char *json, struct err *err);

/* "0123...": 24 digits, new each time. */
#define DRIVER_ETAG_LEN 24
void driver_etag(char ret[DRIVER_ETAG_LEN + 1]);

/* ---- LIST pages ---- */

/* Collects one page. Strings go into one growing block and are resolved when it is complete. */
struct driver_page {
	struct buf mem;	       /* strings and pairs, by offset */
	struct store_entry *e; /* owned; pointers hold offsets + 1 until done */
	size_t n, max;
	bool more; /* one entry too many was offered */
	errint_t failed;
	/* of the request */
	const char *prefix;
	size_t prefix_len;
	char delimiter;
	char after[STORE_KEY_MAX + 1]; /* keys up to here were returned already; "" = none */
	size_t after_len;
	bool after_group; /* ... and all that start with it */
	bool show_tmp;
	size_t group_off, group_len; /* the last common prefix given out; len 0 = none */
};
errint_t driver_page_begin(struct driver_page *g, const char *prefix, char delimiter,
	const char *after, const char *token, unsigned max,
	struct err *err); /* after: at most STORE_KEY_MAX, without a token */
/* Whether key is to be looked at: behind the token, below the prefix, not hidden, not in the group
 * given last. *ret_group gets the length of its common prefix, 0 = it is an entry by itself. */
bool driver_page_wants(const struct driver_page *g, const char *key, size_t len, size_t *ret_group);
/* False when the page is full (more is set) or failed: stop walking. */
bool driver_page_add(struct driver_page *g, const char *key, const struct store_stat *st);
bool driver_page_add_group(struct driver_page *g, const char *key, size_t group_len);
/* Moves it all to ret, or gives the failure. */
errint_t driver_page_end(struct driver_page *g, struct store_page *ret, struct err *err);
void driver_page_done(struct driver_page *g);

#endif
