/* SPDX-License-Identifier: MIT */
/* What a type of remote (local, mem, s3, ...) brings for the configuration: its keys, and how a
 * section of them becomes a driver. remote.c knows the types by the list at its head. */
#ifndef STORE_REMOTE_H
#define STORE_REMOTE_H

#include "astra/store.h"

struct section; /* [remote NAME], checked for unknown keys */

/* The last item of a key, or its value; NULL when there is none. */
const struct conf_item *section_item(const struct section *s, const char *key);
const char *section_value(const struct section *s, const char *key);
/* The item to name when something is wrong with the section as a whole. */
const struct conf_item *section_any(const struct section *s);
/* Values, *ret untouched when the key is not there. */
errint_t section_flag(const struct section *s, const char *key, bool *ret, struct err *err);
errint_t section_size(const struct section *s, const char *key, uint64_t *ret, struct err *err);
errint_t section_duration(const struct section *s, const char *key, int64_t *ret, struct err *err);
/* Its place in the list NULL-terminated words; -EINVAL names them. */
errint_t section_word(const struct section *s, const char *key, const char *const *words,
	unsigned *ret, struct err *err);

struct remote_type {
	const char *name;
	const char *const *keys; /* of this type alone; NULL-terminated; all types: see store.h */
	const char *provider;	 /* the default; NULL = "local" */
	bool real;		 /* somebody pays for what happens there */
	bool on_disk;		 /* below remote_root() */
	/* Keys that are alike for sections of the same service: with the same bucket as well they
	 * show the same objects. Those of same_account: with all buckets as well. NULL: each
	 * section has objects of its own. */
	const char *const *same_service, *const *same_account;
	/* Whether the environment has credentials for it: then, with nothing configured, it stands
	 * for the embedded cloud of its provider. NULL = no. */
	bool (*in_environment)(void);
	/* Reads all of the section, fills r's service, then makes the driver; ret NULL = reads
	 * only. r has name, provider, region, classes, bucket and prefix. */
	errint_t (*make)(const struct section *s, struct remote *r, const char *data_dir,
		struct store **ret, struct err *err);
};

/* Where a section of a type on_disk has its objects: absolute, without a '/' at its end. -EINVAL:
 * path= leads out of data_dir, or names a directory that is not there. */
errint_t remote_root(const struct section *s, const char *name, const char *data_dir, char *ret,
	size_t size, struct err *err);

struct remote_place { /* borrowed: a section, its type, and what was read of it */
	const struct section *s;
	const struct remote_type *type;
	const struct remote *r;
};
/* -EINVAL names two that show the same objects, or one of them a part of the other's: their jobs
 * would take each other for somebody else. */
errint_t remotes_apart(
	const struct remote_place *p, size_t n, const char *data_dir, struct err *err);
errint_t remote_ident(const struct remote_place *p, const char *data_dir, const char *home,
	struct remote_ident *ret, struct err *err);

/* The types of other files. */
extern const struct remote_type remote_type_s3, remote_type_gcs, remote_type_azure;

#endif
