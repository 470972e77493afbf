/* SPDX-License-Identifier: MIT */
/*
 * The mem driver: a cloud in memory, with the semantics of a real one, for tests and demos. All of
 * it goes with the process. Bounded by max_bytes of content.
 *
 * One lock holds everything but the content: a blob never changes once it is reachable and is
 * counted, so bytes are copied without the lock. Objects of a bucket are a treap ordered by key.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_lock.h"
#include "mem_priv.h"

/* ---- blobs ---- */

struct mem_blob *mem_blob_new(size_t len)
{
	struct mem_blob *b = malloc(sizeof(*b) + len);

	if (b) {
		atomic_init(&b->refs, 1);
		b->len = len;
		b->crc = 0;
	}
	return b;
}

void mem_blob_done(struct mem_blob *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}

static struct mem_blob *blob_of(const void *p, size_t len)
{
	struct mem_blob *b = mem_blob_new(len);

	if (b) {
		if (len)
			memcpy(b->data, p, len);
		b->crc = crc32c(0, b->data, len);
	}
	return b;
}

errint_t mem_charge_locked(struct mem *m, uint64_t bytes, struct err *err)
{
	lock_assert_held(&m->lock);
	if (bytes > m->max_bytes || m->bytes > m->max_bytes - bytes)
		return err_set(err, -ENOSPC, ERR_FINAL,
			"the mem store is full: %llu of %llu bytes used",
			(unsigned long long)m->bytes, (unsigned long long)m->max_bytes);
	m->bytes += bytes;
	return 0;
}

/* ---- objects ---- */

void mem_obj_free(struct mem_obj *o)
{
	if (!o)
		return;
	mem_blob_done(o->blob);
	store_stat_done(&o->st);
	free(o->key);
	free(o);
}

/* An object with its own copy of everything, not yet reachable. Takes the blob. */
struct mem_obj *mem_obj_new(struct mem *m, const char *key, struct mem_blob *blob,
	const char *class_name, const struct store_meta *meta, unsigned nmeta)
{
	struct mem_obj *o = calloc(1, sizeof(*o));
	bool ok = o && blob;

	if (!o) {
		mem_blob_done(blob);
		return NULL;
	}
	o->blob = blob;
	o->prio = random_u64();
	o->key = strdup(key);
	ok = ok && o->key;
	if (!class_name)
		class_name = driver_class_default(m->classes);
	snprintf(o->st.class_name, sizeof(o->st.class_name), "%s", class_name);
	driver_etag(o->st.etag);
	o->st.mtime_ns = clock_now_ns();
	for (unsigned i = 0; ok && i < nmeta; i++)
		ok = driver_stat_meta(&o->st, meta[i].key, meta[i].value);
	if (!ok) {
		mem_obj_free(o);
		return NULL;
	}
	o->st.size = blob->len;
	o->st.has_crc32c = true;
	o->st.crc32c = blob->crc;
	return o;
}

errint_t mem_stat_out(
	const struct mem *m, const struct mem_obj *o, struct store_stat *ret, struct err *err)
{
	*ret = o->st;
	ret->nmeta = 0;
	for (unsigned i = 0; i < o->st.nmeta; i++) {
		if (!driver_stat_meta(ret, o->st.meta[i].key, o->st.meta[i].value)) {
			store_stat_done(ret);
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		}
	}
	driver_cold_stat(m->classes, &o->cold, ret);
	return 0;
}

/* ---- treap ---- */

static void split(
	struct mem_obj *t, const char *key, struct mem_obj **ret_lo, struct mem_obj **ret_hi)
{
	if (!t) {
		*ret_lo = *ret_hi = NULL;
	} else if (strcmp(t->key, key) < 0) {
		split(t->right, key, &t->right, ret_hi);
		*ret_lo = t;
	} else {
		split(t->left, key, ret_lo, &t->left);
		*ret_hi = t;
	}
}

static struct mem_obj *merge(struct mem_obj *lo, struct mem_obj *hi)
{
	if (!lo || !hi)
		return lo ? lo : hi;
	if (lo->prio > hi->prio) {
		lo->right = merge(lo->right, hi);
		return lo;
	}
	hi->left = merge(lo, hi->left);
	return hi;
}

/* First object whose key is >= key, or > key. */
static struct mem_obj *lower_bound(struct mem_obj *t, const char *key, bool above)
{
	struct mem_obj *best = NULL;

	while (t) {
		int d = strcmp(t->key, key);

		if (d > 0 || (d == 0 && !above)) {
			best = t;
			t = t->left;
		} else {
			t = t->right;
		}
	}
	return best;
}

struct mem_obj *mem_find(struct mem_bucket *b, const char *key)
{
	struct mem_obj *o = lower_bound(b->objs, key, false);

	return o && !strcmp(o->key, key) ? o : NULL;
}

static void unhook(struct mem_bucket *b, struct mem_obj *o)
{
	struct mem_obj **pp = &b->objs;

	while (*pp != o)
		pp = strcmp((*pp)->key, o->key) > 0 ? &(*pp)->left : &(*pp)->right;
	*pp = merge(o->left, o->right);
	o->left = o->right = NULL;
}

static void erase(struct mem *m, struct mem_bucket *b, struct mem_obj *o)
{
	unhook(b, o);
	m->bytes -= o->blob->len;
	mem_obj_free(o);
}

/* Puts o, already charged, in the place of what has its key. */
void mem_replace(struct mem *m, struct mem_bucket *b, struct mem_obj *o)
{
	struct mem_obj *old = mem_find(b, o->key), *lo, *hi;

	if (old)
		erase(m, b, old);
	split(b->objs, o->key, &lo, &hi);
	b->objs = merge(merge(lo, o), hi);
}

/* ---- finding ---- */

errint_t mem_bucket_get(struct mem *m, const char *name, struct mem_bucket **ret, struct err *err)
{
	lock_assert_held(&m->lock);
	LIST_FOREACH (*ret, &m->buckets, link)
		if (!strcmp((*ret)->name, name))
			return 0;
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", name);
}

errint_t mem_obj_get(struct mem *m, struct store_obj o, struct mem_bucket **ret_b,
	struct mem_obj **ret, struct err *err)
{
	errint_t r = mem_bucket_get(m, o.bucket, ret_b, err);

	if (r)
		return r;
	*ret = mem_find(*ret_b, o.key);
	if (!*ret)
		return err_set(err, -ENOENT, ERR_NOT_FOUND, "no object %s/%s", o.bucket, o.key);
	return 0;
}

/* A reference to the readable content of o. */
errint_t mem_blob_get(struct mem *m, struct store_obj o, const char *if_match,
	struct mem_blob **ret, struct err *err)
{
	struct mem_bucket *b;
	struct mem_obj *obj;
	struct store_stat st;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_obj_get(m, o, &b, &obj, err);
	if (r)
		return r;
	r = driver_cond(obj->st.etag, if_match, NULL, o, err);
	if (r)
		return r;
	st = obj->st; /* borrowed metadata, not freed */
	driver_cold_stat(m->classes, &obj->cold, &st);
	r = driver_readable(&st, o, err);
	if (r)
		return r;
	atomic_fetch_add(&obj->blob->refs, 1);
	*ret = obj->blob;
	return 0;
}

/* ---- operations ---- */

static void mem_caps(struct store *s, struct store_caps *ret)
{
	struct mem *m = (struct mem *)s;

	*ret = (struct store_caps){
		.sinks = true,
		.key_max = STORE_KEY_MAX,
		.meta_max = DRIVER_META_BYTES_MAX,
		.conditional_put = true,
		.conditional_remove = true,
		.conditional_copy = true,
		.list_after = true,
		.list_meta = true,
		.set_meta = true,
		.part_copy = true,
		.copy = true,
		.rename = m->renames,
		.archive = driver_has_offline(m->classes),
		.checksums = true,
		.part_min = 1,
		.part_max = MIN_OF(m->max_bytes, UINT64_C(5) << 30),
		.object_max = m->max_bytes,
		.parts_max = 10000,
	};
}

static errint_t mem_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	struct mem_obj *obj;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_obj_get(m, o, &b, &obj, err);
	return r ? r : mem_stat_out(m, obj, ret, err);
}

#define GIVE (64u << 10) /* to a sink at once */

/* As it would come from a network. */
static errint_t give(const struct store_call *c, const uint8_t *p, size_t *ret_len, struct err *err)
{
	size_t len = *ret_len, n;

	for (*ret_len = 0; *ret_len < len; *ret_len += n) {
		errint_t r = call_check(c, err);

		if (r)
			return r;
		n = MIN_OF(len - *ret_len, (size_t)GIVE);
		if (!store_sink_take(c->sink, p + *ret_len, n))
			return err_set(err, -ECANCELED, ERR_CANCELLED, "no more is wanted");
	}
	return 0;
}

static errint_t mem_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct mem_blob *blob = NULL;
	errint_t r = mem_blob_get((struct mem *)s, o, if_match, &blob, err);

	if (r)
		return r;
	*ret_len = off >= blob->len ? 0 : MIN_OF(len, blob->len - off);
	if (c->sink)
		r = give(c, blob->data + off, ret_len, err);
	else if (*ret_len)
		memcpy(p, blob->data + off, *ret_len);
	mem_blob_done(blob);
	return r;
}

/* Conditions, quota, and the switch to obj (consumed). */
errint_t mem_commit(struct mem *m, struct store_obj o, const char *if_match,
	const char *if_none_match, struct mem_obj *obj, struct store_stat *ret, struct err *err)
{
	struct mem_bucket *b;
	struct mem_obj *old;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_bucket_get(m, o.bucket, &b, err);
	if (!r) {
		old = mem_find(b, o.key);
		r = driver_cond(old ? old->st.etag : NULL, if_match, if_none_match, o, err);
	}
	if (!r)
		r = mem_stat_out(m, obj, ret, err);
	if (!r) {
		r = mem_charge_locked(m, obj->blob->len, err);
		if (r)
			store_stat_done(ret);
	}
	if (r) {
		mem_obj_free(obj);
		return r;
	}
	mem_replace(m, b, obj);
	return 0;
}

static errint_t mem_put(struct store *s, const struct store_call *c, struct store_obj o,
	const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	static const struct store_put none;
	struct mem *m = (struct mem *)s;
	struct mem_blob *blob;
	struct mem_obj *obj;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(m->classes, opt->class_name, err);
	r = r ? r : driver_meta_check(opt->meta, opt->nmeta, DRIVER_META_BYTES_MAX, err);
	if (r)
		return r;
	if (len > m->max_bytes)
		return err_set(err, -ENOSPC, ERR_FINAL, "object larger than the mem store");
	blob = blob_of(p, len);
	if (blob && opt->has_crc32c && blob->crc != opt->crc32c) {
		mem_blob_done(blob);
		return err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: bytes damaged on the way",
			o.bucket, o.key);
	}
	obj = mem_obj_new(m, o.key, blob, opt->class_name, opt->meta, opt->nmeta);
	if (!obj)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return mem_commit(m, o, opt->if_match, opt->if_none_match, obj, ret, err);
}

static errint_t mem_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	struct mem_obj *obj;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_obj_get(m, o, &b, &obj, err);
	r = r ? r : driver_cond(obj->st.etag, if_match, NULL, o, err);
	if (!r)
		erase(m, b, obj);
	return r;
}

static errint_t mem_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_bucket_get(m, bucket, &b, err);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct mem_obj *obj = mem_find(b, keys[i]);

		ret_each[i] = obj ? 0 : -ENOENT;
		if (obj)
			erase(m, b, obj);
	}
	return 0;
}

/* The first key that can be behind everything starting with the len bytes at s. */
static bool after_all(const char *s, size_t len, char *ret)
{
	memcpy(ret, s, len);
	while (len && (unsigned char)ret[len - 1] == 0xff)
		len--;
	if (!len)
		return false;
	ret[len - 1] = (char)((unsigned char)ret[len - 1] + 1);
	ret[len] = 0;
	return true;
}

static void list_walk_locked(struct mem *m, struct mem_bucket *b, struct driver_page *g)
{
	bool from_token = g->after_len && strcmp(g->after, g->prefix) >= 0;
	struct mem_obj *o = lower_bound(b->objs, from_token ? g->after : g->prefix, false);
	char skip[STORE_KEY_MAX + 1];

	while (o && !strncmp(o->key, g->prefix, g->prefix_len)) {
		size_t group = 0, len = strlen(o->key);
		bool wanted = driver_page_wants(g, o->key, len, &group);

		if (wanted && group) {
			if (!driver_page_add_group(g, o->key, group))
				return;
		} else if (wanted) {
			struct store_stat st = o->st; /* metadata borrowed */

			driver_cold_stat(m->classes, &o->cold, &st);
			if (!driver_page_add(g, o->key, &st))
				return;
		}
		if (group) { /* nothing else of this group matters */
			if (!after_all(o->key, group, skip))
				return;
			o = lower_bound(b->objs, skip, false);
		} else {
			o = lower_bound(b->objs, o->key, true);
		}
	}
}

static errint_t mem_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct driver_page g;
	struct mem_bucket *b;
	errint_t r = driver_page_begin(&g, prefix, delimiter, after, token, max, err);

	if (r)
		return r;
	{
		LOCKED(&m->lock);
		r = mem_bucket_get(m, bucket, &b, err);
		if (!r)
			list_walk_locked(m, b, &g);
	}
	r = r ? r : driver_page_end(&g, ret, err);
	driver_page_done(&g);
	return r;
}

static errint_t copy_prepare(struct mem *m, struct store_obj src, const char *dst_key,
	const struct store_copy *opt, struct mem_obj **ret, struct err *err)
{
	struct store_meta meta[STORE_META_MAX + 1];
	struct store_stat st = {0};
	struct mem_blob *blob;
	struct mem_bucket *b;
	struct mem_obj *obj;
	unsigned n = 0;
	errint_t r = mem_blob_get(m, src, opt->src_if_match, &blob, err);

	if (r)
		return r;
	{
		LOCKED(&m->lock);
		r = mem_obj_get(m, src, &b, &obj, err);
		r = r ? r : driver_cond(obj->st.etag, opt->src_if_match, NULL, src, err);
		r = r ? r : mem_stat_out(m, obj, &st, err);
		if (!r && obj->blob != blob) { /* replaced between the two looks */
			mem_blob_done(blob);
			blob = obj->blob;
			atomic_fetch_add(&blob->refs, 1);
		}
	}
	if (r) {
		mem_blob_done(blob);
		return r;
	}
	for (unsigned i = 0; opt->replace_meta && i < opt->nmeta; i++)
		meta[n++] = opt->meta[i];
	for (unsigned i = 0; !opt->replace_meta && i < st.nmeta; i++)
		if (!opt->write_mark || strcmp(st.meta[i].key, STORE_META_WRITE))
			meta[n++] = (struct store_meta){st.meta[i].key, st.meta[i].value};
	if (opt->write_mark && n < STORE_META_MAX)
		meta[n++] = (struct store_meta){STORE_META_WRITE, opt->write_mark};
	r = driver_meta_check(meta, n, DRIVER_META_BYTES_MAX, err);
	if (r)
		mem_blob_done(blob);
	else
		*ret = mem_obj_new(m, dst_key, blob,
			opt->class_name ? opt->class_name : st.class_name, meta, n);
	store_stat_done(&st);
	if (!r && !*ret)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return r;
}

static errint_t mem_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_copy none;
	struct mem *m = (struct mem *)s;
	struct mem_obj *obj = NULL;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(m->classes, opt->class_name, err);
	r = r ? r : copy_prepare(m, src, dst.key, opt, &obj, err);
	if (r)
		return r;
	return mem_commit(m, dst, opt->dst_if_match, opt->dst_if_none_match, obj, ret, err);
}

static errint_t mem_rename(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
	struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	struct mem_obj *obj, *old;
	char *key;
	errint_t r;

	LOCKED(&m->lock);
	if (!m->renames)
		return err_set(err, -EOPNOTSUPP, ERR_FINAL, "renames are not configured");
	r = mem_obj_get(m, src, &b, &obj, err);
	r = r ? r : driver_cond(obj->st.etag, opt->src_if_match, NULL, src, err);
	if (r)
		return r;
	old = mem_find(b, dst.key);
	r = driver_cond(
		old ? old->st.etag : NULL, opt->dst_if_match, opt->dst_if_none_match, dst, err);
	r = r ? r : mem_stat_out(m, obj, ret, err);
	if (r)
		return r;
	key = strdup(dst.key);
	if (!key) {
		store_stat_done(ret);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	unhook(b, obj);
	free(obj->key);
	obj->key = key;
	mem_replace(m, b, obj);
	return 0;
}

static errint_t mem_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	struct mem_obj *obj;
	struct store_stat st;
	errint_t r = driver_class_check(m->classes, class_name, err);

	if (r)
		return r;
	LOCKED(&m->lock);
	r = mem_obj_get(m, o, &b, &obj, err);
	r = r ? r : driver_cond(obj->st.etag, if_match, NULL, o, err);
	if (r)
		return r;
	if (strcmp(class_name, obj->st.class_name)) {
		st = obj->st;
		driver_cold_stat(m->classes, &obj->cold, &st);
		r = driver_readable(&st, o, err);
		if (r)
			return r;
		snprintf(obj->st.class_name, sizeof(obj->st.class_name), "%s", class_name);
		obj->cold = (struct driver_cold){0};
	}
	return mem_stat_out(m, obj, ret, err);
}

static errint_t mem_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	struct mem_obj *obj;
	struct store_stat st;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_obj_get(m, o, &b, &obj, err);
	if (r)
		return r;
	st = obj->st;
	driver_cold_stat(m->classes, &obj->cold, &st);
	return driver_restore(m->classes, &st, days, &obj->cold, o, err);
}

static errint_t meta_merged(const struct mem_obj *obj, const struct store_meta *meta,
	unsigned nmeta, struct store_stat *ret, struct err *err)
{
	struct store_meta had[STORE_META_MAX], all[STORE_META_MAX];
	unsigned n = 0;
	errint_t r;

	for (unsigned i = 0; i < obj->st.nmeta; i++)
		had[i] = (struct store_meta){obj->st.meta[i].key, obj->st.meta[i].value};
	r = driver_meta_merge(had, obj->st.nmeta, meta, nmeta, DRIVER_META_BYTES_MAX, all, &n, err);
	for (unsigned i = 0; !r && i < n; i++)
		if (!driver_stat_meta(ret, all[i].key, all[i].value))
			r = err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return r;
}

static errint_t mem_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct store_stat fresh = {0};
	struct mem_bucket *b;
	struct mem_obj *obj;
	errint_t r = driver_meta_check(meta, nmeta, DRIVER_META_BYTES_MAX, err);

	if (!r) {
		LOCKED(&m->lock);
		r = mem_obj_get(m, o, &b, &obj, err);
		r = r ? r : driver_cond(obj->st.etag, if_match, NULL, o, err);
		r = r ? r : meta_merged(obj, meta, nmeta, &fresh, err);
		if (!r) {
			store_stat_done(&obj->st);
			memcpy(obj->st.meta, fresh.meta, sizeof(fresh.meta));
			obj->st.nmeta = fresh.nmeta;
			fresh.nmeta = 0;
			r = mem_stat_out(m, obj, ret, err);
		}
	}
	store_stat_done(&fresh);
	return r;
}

/* ---- buckets ---- */

static errint_t mem_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	size_t n = 0, i = 0;
	char **v;

	LOCKED(&m->lock);
	LIST_FOREACH (b, &m->buckets, link)
		n++;
	v = calloc(n + 1, sizeof(*v));
	LIST_FOREACH (b, &m->buckets, link)
		if (v && !(v[i++] = strdup(b->name)))
			break;
	if (!v || (n && !v[n - 1])) {
		for (i = 0; v && i < n; i++)
			free(v[i]);
		free(v);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

static errint_t mem_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b, *before = NULL;

	LOCKED(&m->lock);
	LIST_FOREACH (b, &m->buckets, link) {
		int d = strcmp(b->name, bucket);

		if (!d)
			return err_set(err, -EEXIST, ERR_FINAL, "bucket '%s' exists", bucket);
		if (d < 0)
			before = b;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	snprintf(b->name, sizeof(b->name), "%s", bucket);
	LIST_INIT(&b->uploads);
	if (before)
		LIST_INSERT_AFTER(before, b, link);
	else
		LIST_INSERT_HEAD(&m->buckets, b, link);
	return 0;
}

static void bucket_free(struct mem *m, struct mem_bucket *b)
{
	while (b->objs)
		erase(m, b, b->objs);
	while (!LIST_EMPTY(&b->uploads))
		mem_upload_free(m, LIST_FIRST(&b->uploads));
	LIST_REMOVE(b, link);
	free(b->lifecycle);
	free(b);
}

static errint_t mem_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_bucket_get(m, bucket, &b, err);
	if (r)
		return r;
	if (b->objs)
		return err_set(err, -ENOTEMPTY, ERR_FINAL, "bucket '%s' is not empty", bucket);
	bucket_free(m, b);
	return 0;
}

static errint_t mem_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_bucket *b;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_bucket_get(m, bucket, &b, err);
	if (r)
		return r;
	if (!b->lifecycle)
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "bucket '%s' has no life cycle rules", bucket);
	*ret_json = strdup(b->lifecycle);
	return *ret_json ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t mem_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err)
{
	struct mem *m = (struct mem *)s;
	cleanup_free char *own = NULL;
	struct mem_bucket *b;
	errint_t r = driver_lifecycle_check(json, err);

	if (r)
		return r;
	own = strdup(json);
	if (!own)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	LOCKED(&m->lock);
	r = mem_bucket_get(m, bucket, &b, err);
	if (r)
		return r;
	free(b->lifecycle);
	b->lifecycle = steal_ptr(&own);
	return 0;
}

static void mem_destroy(struct store *s)
{
	struct mem *m = (struct mem *)s;

	while (!LIST_EMPTY(&m->buckets))
		bucket_free(m, LIST_FIRST(&m->buckets));
	lock_done(&m->lock);
	free(m);
}

static void mem_describe(struct store *s, struct buf *ret)
{
	(void)s;
	(void)buf_adds(ret, "memory, gone with the mount");
}

static const struct store_ops mem_ops = {
	.name = "mem",
	.caps = mem_caps,
	.describe = mem_describe,
	.head = mem_head,
	.get = mem_get,
	.put = mem_put,
	.remove = mem_remove,
	.remove_many = mem_remove_many,
	.list = mem_list,
	.copy = mem_copy,
	.rename = mem_rename,
	.set_tier = mem_set_tier,
	.restore = mem_restore,
	.parts_begin = mem_parts_begin,
	.part_put = mem_part_put,
	.part_copy = mem_part_copy,
	.parts_list = mem_parts_list,
	.parts_finish = mem_parts_finish,
	.parts_abort = mem_parts_abort,
	.parts_pending = mem_parts_pending,
	.set_meta = mem_set_meta,
	.bucket_list = mem_bucket_list,
	.bucket_create = mem_bucket_create,
	.bucket_remove = mem_bucket_remove,
	.lifecycle_get = mem_lifecycle_get,
	.lifecycle_put = mem_lifecycle_put,
	.destroy = mem_destroy,
};

struct store *store_mem_new(const struct store_mem_conf *conf)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->store.ops = &mem_ops;
	memcpy(m->classes, conf->classes, sizeof(m->classes));
	m->max_bytes = conf->max_bytes;
	m->renames = conf->renames;
	lock_init(&m->lock, RANK_STORE_D, "mem");
	LIST_INIT(&m->buckets);
	return &m->store;
}
