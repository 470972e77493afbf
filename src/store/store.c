/* SPDX-License-Identifier: MIT */
/*
 * The checked entries of the store seam: the only way into a stack. Each one checks what the
 * caller passes, gives the call a deadline and an err to write to, empties the out-parameters,
 * and checks what came back, so that drivers and layers can rely on all of that.
 *
 * Keys come from users, so a bad one is an error; a NULL where a pointer must be is a bug.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_clock.h"
#include "astra/base_log.h"
#include "layer.h"

#define CALL_DEFAULT_NS	     (30 * NS_PER_S)
#define CALL_DEFAULT_LONG_NS (600 * NS_PER_S) /* copy, finish: grow with the object */
#define CALL_SLOWEST	     (64u << 10)      /* bytes a second that are still no failure */
/* Of calls that move bytes: a line that many share is slow; one that is dead stalls sooner. */
#define CALL_DATA_NS(len) (CALL_DEFAULT_NS + (int64_t)((len) / CALL_SLOWEST) * NS_PER_S)

/* A new operation changes the size of the table: look at every layer and driver, at STORE_OPS and
 * at the entries below, then change this number. */
_Static_assert(sizeof(struct store_ops) == 28 * sizeof(void *), "an operation was added");
_Static_assert(OP_N == 24, "STORE_OPS and struct store_ops differ");

void store_stat_done(struct store_stat *st)
{
	for (unsigned i = 0; i < st->nmeta; i++) {
		free(st->meta[i].key);
		free(st->meta[i].value);
	}
	st->nmeta = 0;
}

bool store_meta_key_ok(const char *key)
{
	size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

	return n > 0 && n <= STORE_META_KEY_MAX && key[n] == '\0';
}

const char *store_stat_meta(const struct store_stat *st, const char *key)
{
	for (unsigned i = 0; i < st->nmeta; i++)
		if (!strcmp(st->meta[i].key, key))
			return st->meta[i].value;
	return NULL;
}

void store_page_done(struct store_page *p)
{
	free(p->e);
	free(p->mem);
	*p = (struct store_page){0};
}

/* ---- checks ---- */

/* err where the caller passed none: layers decide by err->kind. */
#define ENTER_ERR                                                                                  \
	struct err err_own;                                                                        \
	err = err ? err : &err_own;                                                                \
	err_clear(err)

#define ENTER(default_ns)                                                                          \
	ENTER_ERR;                                                                                 \
	assert(s);                                                                                 \
	struct store_call call_own = call_fill(c, default_ns);                                     \
	c = &call_own

static errint_t bucket_check(const char *bucket, struct err *err)
{
	assert(bucket);
	if (!bucket[0] || bucket[0] == '.' || strchr(bucket, '/'))
		return err_set(
			err, -EINVAL, ERR_FINAL, "'%s' cannot be the name of a bucket", bucket);
	if (strlen(bucket) > STORE_BUCKET_MAX)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL, "bucket name longer than %d bytes",
			STORE_BUCKET_MAX);
	return 0;
}

static errint_t obj_check(struct store_obj o, struct err *err)
{
	errint_t r = bucket_check(o.bucket, err);

	if (r)
		return r;
	assert(o.key);
	if (!o.key[0])
		return err_set(err, -EINVAL, ERR_FINAL, "an object's key cannot be empty");
	if (strlen(o.key) > STORE_KEY_MAX)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL,
			"key '%.40s...' is longer than %d bytes", o.key, STORE_KEY_MAX);
	return 0;
}

static errint_t id_check(const char *id, unsigned number, struct err *err)
{
	assert(id);
	if (!id[0] || strlen(id) >= STORE_UPLOAD_MAX || strchr(id, '/') || id[0] == '.')
		return err_set(err, -EINVAL, ERR_FINAL, "bad upload id");
	if (number < 1 || number > STORE_PARTS_MAX)
		return err_set(err, -EINVAL, ERR_FINAL, "part number %u is not in 1..%d", number,
			STORE_PARTS_MAX);
	return 0;
}

static errint_t nmeta_check(unsigned nmeta, struct err *err)
{
	/* One place is kept for the write mark. */
	if (nmeta > STORE_META_MAX - 1)
		return err_set(err, -E2BIG, ERR_FINAL, "%u metadata pairs; at most %d", nmeta,
			STORE_META_MAX - 1);
	return 0;
}

static errint_t leave(errint_t r, const char *op, struct err *err)
{
	assert(r <= 0);
	if (r && err->kind == ERR_NONE)
		err_set(err, r, ERR_FINAL, "%s: %s", op, strerror(-r));
	if (r)
		log_debug("store", "%s failed (%s): %s", op, err_kind_name(err->kind),
			err_text(err, r));
	return r;
}

static errint_t leave_stat(errint_t r, const char *op, const struct store_stat *st, struct err *err)
{
	/* A driver that forgets the version would make every later condition hold. */
	assert(r || st->etag[0]);
	assert(r || st->nmeta <= STORE_META_MAX);
	assert(!r || !st->nmeta);
	return leave(r, op, err);
}

#define NEEDS(op)                                                                                  \
	(s->ops->op ? 0                                                                            \
		    : err_set(err, -EOPNOTSUPP, ERR_FINAL, "%s: not supported by %s", #op,         \
			      s->ops->name))

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		errint_t check_r = (x);                                                            \
		if (check_r)                                                                       \
			return check_r;                                                            \
	} while (0)

/* The result is filled in apart and given out at the end: an ETag in *ret may be the condition. */
#define ENTER_STAT struct store_stat st = {0}

#define CHECK_STAT(x)                                                                              \
	do {                                                                                       \
		errint_t check_r = (x);                                                            \
		if (check_r) {                                                                     \
			if (ret)                                                                   \
				*ret = st;                                                         \
			return check_r;                                                            \
		}                                                                                  \
	} while (0)

#define LEAVE_STAT(op, r)                                                                          \
	do {                                                                                       \
		errint_t leave_r = leave_stat(r, op, &st, err);                                    \
		if (ret)                                                                           \
			*ret = st;                                                                 \
		else                                                                               \
			store_stat_done(&st);                                                      \
		return leave_r;                                                                    \
	} while (0)

/* ---- entries ---- */

void store_caps(struct store *s, struct store_caps *ret)
{
	assert(s && ret);
	*ret = (struct store_caps){0};
	s->ops->caps(s, ret);
	assert(ret->key_max && ret->key_max <= STORE_KEY_MAX && ret->parts_max <= STORE_PARTS_MAX);
}

void store_describe(struct store *s, struct buf *ret)
{
	assert(s && ret);
	s->ops->describe(s, ret);
}

errint_t store_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(ret);
	ENTER_STAT;
	CHECK_STAT(obj_check(o, err));
	LEAVE_STAT("head", s->ops->head(s, c, o, &st, err));
}

errint_t store_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	ENTER(CALL_DATA_NS(len));
	assert(ret_len && (p || !len || c->sink));
	assert(!c->sink || (!p && !c->progress));
	*ret_len = 0;
	if (c->progress)
		atomic_store_explicit(&c->progress->have, 0, memory_order_relaxed);
	CHECK(obj_check(o, err));
	if (off > UINT64_MAX - len)
		return err_set(err, -EINVAL, ERR_FINAL, "get: range out of bounds");

	errint_t r = s->ops->get(s, c, o, if_match, off, p, len, ret_len, err);

	assert(r || *ret_len <= len);
	if (c->sink)
		*ret_len = (size_t)c->sink->taken;
	else if (r)
		*ret_len = 0;
	else if (c->progress)
		atomic_store_explicit(&c->progress->have, *ret_len, memory_order_release);
	return leave(r, "get", err);
}

errint_t store_put(struct store *s, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, const struct store_put *opt, struct store_stat *ret, struct err *err)
{
	ENTER(CALL_DATA_NS(len));
	assert(p || !len);
	assert(!opt || !opt->if_none_match || !strcmp(opt->if_none_match, STORE_IF_ABSENT));
	ENTER_STAT;
	CHECK_STAT(obj_check(o, err));
	CHECK_STAT(nmeta_check(opt ? opt->nmeta : 0, err));
	LEAVE_STAT("put", s->ops->put(s, c, o, p, len, opt, &st, err));
}

errint_t store_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	CHECK(obj_check(o, err));
	return leave(s->ops->remove(s, c, o, if_match, err), "remove", err);
}

errint_t store_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	assert((keys && ret_each) || !n);
	CHECK(NEEDS(remove_many));
	CHECK(bucket_check(bucket, err));
	for (size_t i = 0; i < n; i++)
		CHECK(obj_check((struct store_obj){bucket, keys[i]}, err));
	for (size_t i = 0; i < n; i++)
		ret_each[i] = -EIO; /* until it was done */
	if (!n)
		return 0;
	return leave(s->ops->remove_many(s, c, bucket, keys, n, ret_each, err), "remove_many", err);
}

static bool after_ok(const char *prefix, char delimiter, const char *after)
{
	size_t n = strlen(prefix);

	return !strncmp(after, prefix, n) && after[n] &&
	       !(delimiter && strchr(after + n, delimiter));
}

static errint_t list_page(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	max = !max || max > STORE_PAGE_MAX ? STORE_PAGE_MAX : max;
	CHECK(bucket_check(bucket, err));
	if (strlen(prefix) > STORE_KEY_MAX || strlen(after) > STORE_KEY_MAX ||
		strlen(token) >= STORE_TOKEN_MAX)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL, "list: prefix or token too long");
	if (*after && !after_ok(prefix, delimiter, after))
		return err_set(
			err, -EINVAL, ERR_FINAL, "list: '%s' is no place to begin at", after);

	errint_t r = s->ops->list(s, c, bucket, prefix, delimiter, after, token, max, ret, err);

	assert(r || ret->n <= max);
	assert(r || !ret->truncated || ret->next[0]);
	return leave(r, "list", err);
}

errint_t store_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *token, unsigned max, struct store_page *ret,
	struct err *err)
{
	assert(ret);
	*ret = (struct store_page){0};
	return list_page(s, c, bucket, prefix ? prefix : "", delimiter, "", token ? token : "", max,
		ret, err);
}

errint_t store_list_after(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, unsigned max, struct store_page *ret,
	struct err *err)
{
	assert(ret && after && *after);
	*ret = (struct store_page){0};
	return list_page(s, c, bucket, prefix ? prefix : "", delimiter, after, "", max, ret, err);
}

errint_t store_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	ENTER_STAT;
	CHECK_STAT(NEEDS(copy));
	CHECK_STAT(obj_check(src, err));
	CHECK_STAT(obj_check(dst, err));
	CHECK_STAT(nmeta_check(opt ? opt->nmeta : 0, err));
	LEAVE_STAT("copy", s->ops->copy(s, c, src, dst, opt, &st, err));
}

errint_t store_rename(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
	struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(opt && opt->src_if_match && !opt->dst_if_match != !opt->dst_if_none_match);
	ENTER_STAT;
	CHECK_STAT(NEEDS(rename));
	CHECK_STAT(obj_check(src, err));
	CHECK_STAT(obj_check(dst, err));
	if (strcmp(src.bucket, dst.bucket) != 0 || !strcmp(src.key, dst.key) ||
		src.key[strlen(src.key) - 1] == '/' || dst.key[strlen(dst.key) - 1] == '/')
		CHECK_STAT(err_set(err, -EOPNOTSUPP, ERR_FINAL,
			"rename: not from one bucket to another, onto itself, or of a directory"));
	LEAVE_STAT("rename", s->ops->rename(s, c, src, dst, opt, &st, err));
}

errint_t store_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	assert(class_name);
	ENTER_STAT;
	CHECK_STAT(NEEDS(set_tier));
	CHECK_STAT(obj_check(o, err));
	LEAVE_STAT("set_tier", s->ops->set_tier(s, c, o, class_name, if_match, &st, err));
}

errint_t store_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	CHECK(NEEDS(restore));
	CHECK(obj_check(o, err));
	if (days < 1 || days > 36500)
		return err_set(
			err, -EINVAL, ERR_FINAL, "restore: %u days; allowed: 1 to 36500", days);
	return leave(s->ops->restore(s, c, o, days, err), "restore", err);
}

errint_t store_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(ret_id);
	ret_id[0] = 0;
	CHECK(NEEDS(parts_begin));
	CHECK(obj_check(o, err));
	CHECK(nmeta_check(opt ? opt->nmeta : 0, err));

	errint_t r = s->ops->parts_begin(s, c, o, opt, ret_id, err);

	assert(r || ret_id[0]);
	return leave(r, "parts_begin", err);
}

errint_t store_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc32c,
	struct store_part *ret, struct err *err)
{
	ENTER(CALL_DATA_NS(len));
	assert(ret && (p || !len));
	*ret = (struct store_part){0};
	CHECK(NEEDS(part_put));
	CHECK(obj_check(o, err));
	CHECK(id_check(id, number, err));

	errint_t r = s->ops->part_put(s, c, o, id, number, p, len, crc32c, ret, err);

	assert(r || (ret->number == number && ret->size == len && ret->etag[0]));
	return leave(r, "part_put", err);
}

errint_t store_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	assert(ret);
	*ret = (struct store_part){0};
	CHECK(NEEDS(part_copy));
	CHECK(obj_check(src, err));
	CHECK(obj_check(dst, err));
	CHECK(id_check(id, number, err));
	if (off > UINT64_MAX - len)
		return err_set(err, -EINVAL, ERR_FINAL, "part_copy: range out of bounds");

	errint_t r =
		s->ops->part_copy(s, c, src, src_if_match, off, len, dst, id, number, ret, err);

	assert(r || (ret->number == number && ret->size == len && ret->etag[0]));
	return leave(r, "part_copy", err);
}

errint_t store_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	assert(ret && ret_n);
	*ret = NULL;
	*ret_n = 0;
	CHECK(NEEDS(parts_list));
	CHECK(obj_check(o, err));
	CHECK(id_check(id, 1, err));
	return leave(s->ops->parts_list(s, c, o, id, ret, ret_n, err), "parts_list", err);
}

errint_t store_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	ENTER(CALL_DEFAULT_LONG_NS);
	assert(parts || !n);
	ENTER_STAT;
	CHECK_STAT(NEEDS(parts_finish));
	CHECK_STAT(obj_check(o, err));
	CHECK_STAT(id_check(id, 1, err));
	CHECK_STAT(nmeta_check(cond ? cond->nmeta : 0, err));
	if (n < 1 || n > STORE_PARTS_MAX)
		CHECK_STAT(err_set(err, -EINVAL, ERR_FINAL, "parts_finish: %zu parts", n));
	for (size_t i = 1; i < n; i++)
		assert(parts[i].number > parts[i - 1].number);
	LEAVE_STAT("parts_finish", s->ops->parts_finish(s, c, o, id, parts, n, cond, &st, err));
}

errint_t store_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	CHECK(NEEDS(parts_abort));
	CHECK(obj_check(o, err));
	CHECK(id_check(id, 1, err));
	return leave(s->ops->parts_abort(s, c, o, id, err), "parts_abort", err);
}

errint_t store_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(ret && ret_n);
	*ret = NULL;
	*ret_n = 0;
	CHECK(NEEDS(parts_pending));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->parts_pending(s, c, bucket, ret, ret_n, err), "parts_pending", err);
}

errint_t store_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(meta || !nmeta);
	ENTER_STAT;
	CHECK_STAT(NEEDS(set_meta));
	CHECK_STAT(obj_check(o, err));
	CHECK_STAT(nmeta_check(nmeta, err));
	LEAVE_STAT("set_meta", s->ops->set_meta(s, c, o, if_match, meta, nmeta, &st, err));
}

errint_t store_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(ret && ret_n);
	*ret = NULL;
	*ret_n = 0;
	CHECK(NEEDS(bucket_list));
	return leave(s->ops->bucket_list(s, c, ret, ret_n, err), "bucket_list", err);
}

errint_t store_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	CHECK(NEEDS(bucket_create));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->bucket_create(s, c, bucket, err), "bucket_create", err);
}

errint_t store_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	CHECK(NEEDS(bucket_remove));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->bucket_remove(s, c, bucket, err), "bucket_remove", err);
}

errint_t store_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(ret_json);
	*ret_json = NULL;
	CHECK(NEEDS(lifecycle_get));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->lifecycle_get(s, c, bucket, ret_json, err), "lifecycle_get", err);
}

errint_t store_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert(json);
	CHECK(NEEDS(lifecycle_put));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->lifecycle_put(s, c, bucket, json, err), "lifecycle_put", err);
}

errint_t store_ready(struct store *s, const struct store_call *c, const char *bucket,
	enum store_ready what, struct err *err)
{
	ENTER(CALL_DEFAULT_NS);
	assert((unsigned)what < STORE_READY_N);
	CHECK(NEEDS(ready));
	CHECK(bucket_check(bucket, err));
	return leave(s->ops->ready(s, c, bucket, what, err), "ready", err);
}

struct store *store_destroy(struct store *s)
{
	while (s) {
		struct store *inner = s->inner;

		s->ops->destroy(s);
		s = inner;
	}
	return NULL;
}
