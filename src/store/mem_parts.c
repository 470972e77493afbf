/* SPDX-License-Identifier: MIT */
/*
 * Multipart uploads of the mem driver. A part is a blob; finishing joins them into one. Parts
 * count towards the store's bytes until the upload is finished or aborted.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "mem_priv.h"

void mem_upload_free(struct mem *m, struct mem_upload *u)
{
	for (unsigned i = 0; i < u->nparts; i++) {
		if (!u->parts[i].blob)
			continue;
		m->bytes -= u->parts[i].blob->len;
		mem_blob_done(u->parts[i].blob);
	}
	LIST_REMOVE(u, link);
	mem_obj_free(u->proto);
	free(u->parts);
	free(u);
}

static errint_t upload_get(
	struct mem *m, struct store_obj o, const char *id, struct mem_upload **ret, struct err *err)
{
	struct mem_bucket *b;
	errint_t r = mem_bucket_get(m, o.bucket, &b, err);

	if (r)
		return r;
	LIST_FOREACH (*ret, &b->uploads, link)
		if (!strcmp((*ret)->id, id) && !strcmp((*ret)->proto->key, o.key))
			return 0;
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "no upload %s of %s/%s", id, o.bucket, o.key);
}

errint_t mem_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	static const struct store_put none;
	struct mem *m = (struct mem *)s;
	struct mem_upload *u;
	struct mem_bucket *b;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(m->classes, opt->class_name, err);
	r = r ? r : driver_meta_check(opt->meta, opt->nmeta, DRIVER_META_BYTES_MAX, err);
	if (r)
		return r;
	u = calloc(1, sizeof(*u));
	if (u)
		u->proto = mem_obj_new(
			m, o.key, mem_blob_new(0), opt->class_name, opt->meta, opt->nmeta);
	if (!u || !u->proto) {
		free(u);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	driver_etag(u->id);
	u->started_ns = clock_now_ns();
	LOCKED(&m->lock);
	r = mem_bucket_get(m, o.bucket, &b, err);
	if (r) {
		mem_obj_free(u->proto);
		free(u);
		return r;
	}
	LIST_INSERT_HEAD(&b->uploads, u, link);
	snprintf(ret_id, STORE_UPLOAD_MAX, "%s", u->id);
	return 0;
}

static void part_out(const struct mem_part *p, unsigned number, struct store_part *ret)
{
	*ret = (struct store_part){
		.number = number, .size = p->blob->len, .crc32c = p->blob->crc, .has_crc32c = true};
	memcpy(ret->etag, p->etag, sizeof(p->etag));
}

/* Takes the blob. */
static errint_t part_set(struct mem *m, struct store_obj o, const char *id, unsigned number,
	struct mem_blob *blob, struct store_part *ret, struct err *err)
{
	struct mem_upload *u;
	struct mem_part *p;
	errint_t r;

	LOCKED(&m->lock);
	r = upload_get(m, o, id, &u, err);
	r = r ? r : mem_charge_locked(m, blob->len, err);
	if (!r && number > u->nparts) {
		p = reallocarray(u->parts, number, sizeof(*p));
		if (p) {
			memset(p + u->nparts, 0, (number - u->nparts) * sizeof(*p));
			u->parts = p;
			u->nparts = number;
		} else {
			m->bytes -= blob->len;
			r = err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		}
	}
	if (r) {
		mem_blob_done(blob);
		return r;
	}
	p = &u->parts[number - 1];
	if (p->blob) {
		m->bytes -= p->blob->len;
		mem_blob_done(p->blob);
	}
	p->blob = blob;
	driver_etag(p->etag);
	part_out(p, number, ret);
	return 0;
}

errint_t mem_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_blob *blob;

	if (crc32c(0, p, len) != crc)
		return err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: part %u damaged on the way",
			o.bucket, o.key, number);
	blob = mem_blob_new(len);
	if (!blob)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (len)
		memcpy(blob->data, p, len);
	blob->crc = crc;
	return part_set(m, o, id, number, blob, ret, err);
}

errint_t mem_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_blob *from, *blob;
	errint_t r = mem_blob_get(m, src, src_if_match, &from, err);

	if (r)
		return r;
	if (off > from->len || len > from->len - off) {
		mem_blob_done(from);
		return err_set(err, -EINVAL, ERR_FINAL, "part_copy: range behind the end of %s/%s",
			src.bucket, src.key);
	}
	blob = mem_blob_new(len);
	if (blob) {
		memcpy(blob->data, from->data + off, len);
		blob->crc = crc32c(0, blob->data, len);
	}
	mem_blob_done(from);
	if (!blob)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return part_set(m, dst, id, number, blob, ret, err);
}

errint_t mem_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct store_part *v;
	struct mem_upload *u;
	size_t n = 0;
	errint_t r;

	LOCKED(&m->lock);
	r = upload_get(m, o, id, &u, err);
	if (r)
		return r;
	v = calloc(u->nparts + 1, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (unsigned i = 0; i < u->nparts; i++)
		if (u->parts[i].blob)
			part_out(&u->parts[i], i + 1, &v[n++]);
	*ret = v;
	*ret_n = n;
	return 0;
}

/* One blob of all the parts named. */
static errint_t join_locked(struct mem_upload *u, struct store_obj o,
	const struct store_part *parts, size_t n, struct mem_blob **ret, struct err *err)
{
	struct mem_blob *blob;
	size_t total = 0, at = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned k = parts[i].number;

		if (k < 1 || k > u->nparts || !u->parts[k - 1].blob ||
			strcmp(u->parts[k - 1].etag, parts[i].etag))
			return err_set(err, -EINVAL, ERR_FINAL,
				"%s/%s: part %u is not there or not the one named", o.bucket, o.key,
				k);
		total += u->parts[k - 1].blob->len;
	}
	blob = mem_blob_new(total);
	if (!blob)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (size_t i = 0; i < n; i++) {
		const struct mem_blob *p = u->parts[parts[i].number - 1].blob;

		memcpy(blob->data + at, p->data, p->len);
		at += p->len;
		blob->crc = crc32c_combine(blob->crc, p->crc, p->len);
	}
	*ret = blob;
	return 0;
}

errint_t mem_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	static const struct store_put none;
	struct mem *m = (struct mem *)s;
	struct store_meta meta[STORE_META_MAX];
	struct mem_blob *blob = NULL;
	struct mem_obj *obj = NULL, *old;
	struct mem_upload *u;
	struct mem_bucket *b;
	unsigned nmeta = 0;
	errint_t r;

	cond = cond ? cond : &none;
	r = driver_class_check(m->classes, cond->class_name, err);
	r = r ? r : driver_meta_check(cond->meta, cond->nmeta, DRIVER_META_BYTES_MAX, err);
	if (r)
		return r;
	LOCKED(&m->lock);
	r = upload_get(m, o, id, &u, err);
	r = r ? r : mem_bucket_get(m, o.bucket, &b, err);
	if (r)
		return r;
	old = mem_find(b, o.key);
	r = driver_cond(old ? old->st.etag : NULL, cond->if_match, cond->if_none_match, o, err);
	r = r ? r : join_locked(u, o, parts, n, &blob, err);
	if (r)
		return r;
	for (; nmeta < (cond->nmeta ? cond->nmeta : u->proto->st.nmeta); nmeta++)
		meta[nmeta] = cond->nmeta ? cond->meta[nmeta]
					  : (struct store_meta){u->proto->st.meta[nmeta].key,
						    u->proto->st.meta[nmeta].value};
	obj = mem_obj_new(m, o.key, blob,
		cond->class_name ? cond->class_name : u->proto->st.class_name, meta, nmeta);
	if (!obj)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = mem_stat_out(m, obj, ret, err);
	if (r) {
		mem_obj_free(obj);
		return r;
	}
	/* The parts leave in the same moment, so joining never needs room of its own. */
	m->bytes += blob->len;
	mem_upload_free(m, u);
	mem_replace(m, b, obj);
	return 0;
}

errint_t mem_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct mem_upload *u;
	errint_t r;

	LOCKED(&m->lock);
	r = upload_get(m, o, id, &u, err);
	if (!r)
		mem_upload_free(m, u);
	return r;
}

errint_t mem_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	struct mem *m = (struct mem *)s;
	struct store_upload *v;
	struct mem_upload *u;
	struct mem_bucket *b;
	const char *mark;
	size_t n = 0, i = 0;
	errint_t r;

	LOCKED(&m->lock);
	r = mem_bucket_get(m, bucket, &b, err);
	if (r)
		return r;
	LIST_FOREACH (u, &b->uploads, link)
		n++;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	LIST_FOREACH (u, &b->uploads, link) {
		snprintf(v[i].key, sizeof(v[i].key), "%s", u->proto->key);
		snprintf(v[i].id, sizeof(v[i].id), "%s", u->id);
		mark = store_stat_meta(&u->proto->st, STORE_META_WRITE);
		snprintf(v[i].mark, sizeof(v[i].mark), "%s", mark ? mark : "");
		v[i++].started_ns = u->started_ns;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}
