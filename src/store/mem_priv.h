/* SPDX-License-Identifier: MIT */
/* The mem driver's inside, shared by mem.c and mem_parts.c. */
#ifndef STORE_MEM_PRIV_H
#define STORE_MEM_PRIV_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "astra/base_lock.h"
#include "driver.h"
#include "layer.h"

struct mem_blob { /* immutable once an object or a part refers to it */
	atomic_uint refs;
	uint32_t crc;
	size_t len;
	uint8_t data[];
};

struct mem_obj { /* node of the bucket's treap */
	struct mem_obj *left, *right;
	uint64_t prio;
	char *key;
	struct mem_blob *blob;
	struct store_stat st; /* archived state is in cold */
	struct driver_cold cold;
};

struct mem_part {
	struct mem_blob *blob; /* NULL = not there */
	char etag[DRIVER_ETAG_LEN + 1];
};

struct mem_upload {
	LIST_ENTRY(mem_upload) link;
	struct mem_obj *proto; /* key, class and metadata of parts_begin; an empty blob */
	char id[DRIVER_ETAG_LEN + 1];
	int64_t started_ns;
	struct mem_part *parts; /* owned; by number - 1 */
	unsigned nparts;
};

struct mem_bucket {
	LIST_ENTRY(mem_bucket) link; /* by name */
	char name[STORE_BUCKET_MAX + 1];
	struct mem_obj *objs;
	LIST_HEAD(, mem_upload) uploads;
	char *lifecycle; /* owned; NULL = none */
};

struct mem {
	struct store store;
	struct remote_class classes[TIER_N];
	uint64_t max_bytes;
	bool renames;
	struct lock lock; /* all below */
	uint64_t bytes;
	LIST_HEAD(, mem_bucket) buckets;
};

struct mem_blob *mem_blob_new(size_t len);
void mem_blob_done(struct mem_blob *b);
errint_t mem_charge_locked(struct mem *m, uint64_t bytes, struct err *err);
void mem_obj_free(struct mem_obj *o);
struct mem_obj *mem_obj_new(struct mem *m, const char *key, struct mem_blob *blob,
	const char *class_name, const struct store_meta *meta, unsigned nmeta);
errint_t mem_stat_out(
	const struct mem *m, const struct mem_obj *o, struct store_stat *ret, struct err *err);
struct mem_obj *mem_find(struct mem_bucket *b, const char *key);
void mem_replace(struct mem *m, struct mem_bucket *b, struct mem_obj *o);
errint_t mem_bucket_get(struct mem *m, const char *name, struct mem_bucket **ret, struct err *err);
errint_t mem_obj_get(struct mem *m, struct store_obj o, struct mem_bucket **ret_b,
	struct mem_obj **ret, struct err *err);
errint_t mem_blob_get(struct mem *m, struct store_obj o, const char *if_match,
	struct mem_blob **ret, struct err *err);
errint_t mem_commit(struct mem *m, struct store_obj o, const char *if_match,
	const char *if_none_match, struct mem_obj *obj, struct store_stat *ret, struct err *err);

void mem_upload_free(struct mem *m, struct mem_upload *u);
errint_t mem_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err);
errint_t mem_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err);
errint_t mem_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err);
errint_t mem_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err);
errint_t mem_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err);
errint_t mem_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err);
errint_t mem_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err);

#endif
