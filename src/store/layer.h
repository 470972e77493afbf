/* SPDX-License-Identifier: MIT */
/*
 * What layers and drivers share. STORE_OPS is the list of all operations that return errint_t:
 *
 *	X(opn, key, want, done, cond, parameters, arguments)
 *
 * key: expression for the key concerned; want: bytes that the call will move; done: bytes that it
 * moved; cond: true when it must not be sent again after its answer was lost. A layer that treats
 * all operations alike expands it; every operation has a store_pass_NAME() that hands the call to
 * the inner store.
 */
#ifndef STORE_LAYER_H
#define STORE_LAYER_H

#include "astra/store.h"

#define UNP(...) __VA_ARGS__

/* clang-format off */
#define PUT_COND(opt) ((opt) && ((opt)->if_match || (opt)->if_none_match))
#define COPY_COND(opt) ((opt) && ((opt)->dst_if_match || (opt)->dst_if_none_match))

#define STORE_OPS_DATA(X) /* those that move bytes */                                              \
	X(get, o.key, len, *ret_len, false,                                                        \
		(struct store_obj o, const char *if_match, uint64_t off, void *p, size_t len,      \
			size_t *ret_len),                                                          \
		(o, if_match, off, p, len, ret_len))                                               \
	X(put, o.key, len, len, PUT_COND(opt),                                                     \
		(struct store_obj o, const void *p, size_t len, const struct store_put *opt,       \
			struct store_stat *ret),                                                   \
		(o, p, len, opt, ret))                                                             \
	X(part_put, o.key, len, len, false,                                                        \
		(struct store_obj o, const char *id, unsigned number, const void *p, size_t len,   \
			uint32_t crc, struct store_part *ret),                                     \
		(o, id, number, p, len, crc, ret))

#define STORE_OPS_OTHER(X)                                                                         \
	X(head, o.key, 0, 0, false, (struct store_obj o, struct store_stat *ret), (o, ret))        \
	X(remove, o.key, 0, 0, if_match != NULL, (struct store_obj o, const char *if_match),       \
		(o, if_match))                                                                     \
	X(remove_many, "", 0, 0, false,                                                            \
		(const char *bucket, const char *const *keys, size_t n, errint_t *ret_each),       \
		(bucket, keys, n, ret_each))                                                       \
	X(list, prefix, 0, 0, false,                                                               \
		(const char *bucket, const char *prefix, char delimiter, const char *after,        \
			const char *token, unsigned max, struct store_page *ret),                  \
		(bucket, prefix, delimiter, after, token, max, ret))                               \
	X(copy, dst.key, 0, 0, COPY_COND(opt),                                                     \
		(struct store_obj src, struct store_obj dst, const struct store_copy *opt,         \
			struct store_stat *ret),                                                   \
		(src, dst, opt, ret))                                                              \
	X(rename, dst.key, 0, 0, true,                                                             \
		(struct store_obj src, struct store_obj dst, const struct store_rename *opt,       \
			struct store_stat *ret),                                                   \
		(src, dst, opt, ret))                                                              \
	X(set_tier, o.key, 0, 0, if_match != NULL,                                                 \
		(struct store_obj o, const char *class_name, const char *if_match,                 \
			struct store_stat *ret),                                                   \
		(o, class_name, if_match, ret))                                                    \
	X(restore, o.key, 0, 0, false, (struct store_obj o, unsigned days), (o, days))             \
	X(parts_begin, o.key, 0, 0, true,                                                          \
		(struct store_obj o, const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX]),  \
		(o, opt, ret_id))                                                                  \
	X(part_copy, dst.key, 0, 0, false,                                                         \
		(struct store_obj src, const char *src_if_match, uint64_t off, uint64_t len,       \
			struct store_obj dst, const char *id, unsigned number,                     \
			struct store_part *ret),                                                   \
		(src, src_if_match, off, len, dst, id, number, ret))                               \
	X(parts_list, o.key, 0, 0, false,                                                          \
		(struct store_obj o, const char *id, struct store_part **ret, size_t *ret_n),      \
		(o, id, ret, ret_n))                                                               \
	X(parts_finish, o.key, 0, 0, true,                                                         \
		(struct store_obj o, const char *id, const struct store_part *parts, size_t n,     \
			const struct store_put *cond, struct store_stat *ret),                     \
		(o, id, parts, n, cond, ret))                                                      \
	X(parts_abort, o.key, 0, 0, false, (struct store_obj o, const char *id), (o, id))          \
	X(parts_pending, "", 0, 0, false,                                                          \
		(const char *bucket, struct store_upload **ret, size_t *ret_n),                    \
		(bucket, ret, ret_n))                                                              \
	X(set_meta, o.key, 0, 0, if_match != NULL,                                                 \
		(struct store_obj o, const char *if_match, const struct store_meta *meta,          \
			unsigned nmeta, struct store_stat *ret),                                   \
		(o, if_match, meta, nmeta, ret))                                                   \
	X(bucket_list, "", 0, 0, false, (char ***ret, size_t *ret_n), (ret, ret_n))                \
	X(bucket_create, "", 0, 0, true, (const char *bucket), (bucket))                           \
	X(bucket_remove, "", 0, 0, true, (const char *bucket), (bucket))                           \
	X(lifecycle_get, "", 0, 0, false, (const char *bucket, char **ret_json),                   \
		(bucket, ret_json))                                                                \
	X(lifecycle_put, "", 0, 0, false, (const char *bucket, const char *json), (bucket, json))  \
	X(ready, "", 0, 0, false, (const char *bucket, enum store_ready what), (bucket, what))

#define STORE_OPS(X) STORE_OPS_DATA(X) STORE_OPS_OTHER(X)

enum store_op {
#define X(opn, key, want, done, cond, params, args) OP_##opn,
	STORE_OPS(X)
#undef X
	OP_N
};
/* clang-format on */

const char *store_op_name(enum store_op op);
/* -EINVAL for a word that is no operation. */
errint_t store_op_parse(const char *s, size_t len, enum store_op *ret);
/* True for operations that change nothing, so that a lost answer is just a failed request. */
bool store_op_reads(enum store_op op);

#define X(opn, key, want, done, cond, params, args)                                                \
	errint_t store_pass_##opn(                                                                 \
		struct store *s, const struct store_call *c, UNP params, struct err *err);
STORE_OPS(X)
#undef X
void store_pass_caps(struct store *s, struct store_caps *ret);
void store_pass_describe(struct store *s, struct buf *ret);

/* The layer of this stack whose table is ops, or NULL. */
struct store *store_layer_find(struct store *s, const struct store_ops *ops);

/* -ECANCELED or -ETIMEDOUT, ERR_CANCELLED, once c's flag is set or its deadline has passed. */
errint_t call_check(const struct store_call *c, struct err *err);
/* Sleeps to mono_ns, less when call_check() fails first, and then returns its answer. */
errint_t call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err);
/* c, or NULL's meaning, with a deadline. */
struct store_call call_fill(const struct store_call *c, int64_t default_ns);

/* err->code of a call that the limit layer kept back. */
#define STORE_CODE_LIMIT "limit"

/* Layers: each takes inner and owns it, also when it fails (then returns NULL, inner destroyed). */
struct store_retry_conf {
	unsigned retries; /* repeats of one call; 0 = none */
	int64_t delay_ns; /* first back-off */
};
/* budget.c: takes one request, or waits; -EDQUOT with ERR_CANCELLED when that would take too long.
 */
errint_t budget_spend(
	struct store_budget *b, const struct store_call *c, money_t cost, struct err *err);

/* At a time, where nothing is configured. */
#define STORE_REQUESTS_MOST 128

struct store_limit_conf {
	char name[STORE_REMOTE_MAX + 1]; /* the remote's, for the log */
	bool adapts;			 /* what it bears is found out */
	unsigned max_requests;		 /* at a time; 0 = any */
	uint64_t requests_per_second;	 /* 0 = any */
	uint64_t bandwidth;		 /* bytes per second; 0 = any */
};
struct store *store_stats_new(struct store *inner);
struct store *store_retry_new(struct store *inner, const struct store_retry_conf *conf);
struct store *store_limit_new(struct store *inner, const struct store_limit_conf *conf);
struct store *store_fault_new(struct store *inner, const char *rules, struct err *err);

/* Drivers. */
struct store_mem_conf {
	struct remote_class classes[TIER_N];
	uint64_t max_bytes;
	bool renames; /* as accounts with directories have them: an object keeps its ETag */
};
struct store_local_conf {
	const char *root; /* made when it is not there */
	struct remote_class classes[TIER_N];
	bool sync, verify;
};
struct store *store_mem_new(const struct store_mem_conf *conf);
errint_t store_local_new(const struct store_local_conf *conf, struct store **ret, struct err *err);

#endif
