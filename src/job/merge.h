/* SPDX-License-Identifier: MIT */
/* One listing on its way into the index: pages.c asks, heads.c asks more, merge.c enters. */
#ifndef ASTRA_JOB_MERGE_H
#define ASTRA_JOB_MERGE_H

#include "job_priv.h"

#define DIR_GONE_MAX 4096 /* rows removed in one transaction */

struct merge {
	struct jobs *j;
	const struct job *but;
	uint64_t dir, seq;
	uint32_t remote;
	bool first;	/* nothing was known before: nothing can be gone */
	bool list_meta; /* pages say what attributes objects have */
	bool head_meta; /* or objects are asked for them */
	char prefix[META_PATH_MAX + 1];
	size_t prefix_len; /* of keys in pages (bucket and hidden prefix included) */
	const struct store_page *page;
	char **targets; /* owned array of owned: of the page's symbolic links, where they are needed
			 */
	struct left *left; /* owned */
	struct meta_txn *t;
};

struct absent {
	struct merge *m;
	/* Owned: hashes of all keys of all pages, in the end sorted. Of two that are the same one
	 * may be gone unseen; by the next listing, with another seed, they are not. */
	uint64_t *keys;
	uint64_t seed;
	size_t n, cap;
	uint64_t gone[DIR_GONE_MAX];
	size_t ngone;
};

/* pages.c: the pages of a LIST, in order. */
struct pages;
struct pages_conf {
	unsigned page;	 /* names in one */
	int64_t slow_ns; /* pages that are waited for less are quick enough one by one */
};
struct pages *pages_new(struct merge *m, const struct objref *o,
	const struct pages_conf *c); /* borrows m and o; NULL: no memory */
errint_t pages_next(struct pages *g, struct store_page *ret, struct err *err);
void pages_free(struct pages *g); /* waits for what is under way; NULL is fine */

/* heads.c: gives the entries of p the metadata, and the class, that the LIST does not have, where
 * they are to be asked for. *ret is for heads_done, also after a failure. */
errint_t heads_read(
	struct merge *m, struct store_page *p, struct store_stat **ret, struct err *err);
void heads_done(const struct store_page *p, struct store_stat *st);

/* For a directory move: what lies there by jobs behind it. */
errint_t merge_left(struct merge *m);
void merge_left_done(struct merge *m);
/* The key belongs to jobs, or did since the LIST was asked. Takes g.lock. */
bool merge_hands_off(struct merge *m, const char *path);
/* Jobs that ended since the LIST was asked had the key, or moved a directory above it. */
bool merge_stamped_locked(struct merge *m, const char *path);
bool merge_is_link(const struct store_entry *e);
/* Path and name in the index of an entry; false: it has no place there. */
bool merge_name(struct merge *m, const struct store_entry *e, char path[META_PATH_MAX + 1],
	char name[META_NAME_MAX + 1], bool *alias);
/* Inside m->t. */
errint_t merge_entry(struct merge *m, const struct store_entry *e);
errint_t merge_dir(struct merge *m, const char *name);
/* Remembers the keys of a page. */
errint_t merge_note(struct absent *a, struct merge *m, const struct store_page *p);
/* After the last page: rows whose objects no page has go, in transactions of its own. */
errint_t merge_absent(struct merge *m, struct absent *a);

#endif
