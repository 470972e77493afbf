/* SPDX-License-Identifier: MIT */
/*
 * Copies inside S3, and what S3 makes of them: changes of class and metadata.
 *
 * CopyObject guards its source with a condition, not what it overwrites: an object that is copied
 * onto itself to change its class would put old bytes over what somebody wrote meanwhile. So a
 * copy with a condition on its destination goes as a multipart upload of one copied part, finished
 * with that condition. On AWS CopyObject is tried with the condition first: it holds it or refuses
 * it (501), and then it is not tried again.
 *
 * A copy keeps what it is not told to change: metadata, content fields, tags, class, the key of the
 * user's that encrypts it. REPLACE must restate all of that, so the source is asked (HEAD) first.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "s3_priv.h"

#define COPY_PART (UINT64_C(1) << 30)

static const char *const content_fields[] = {"Content-Type", "Content-Encoding",
	"Content-Disposition", "Content-Language", "Cache-Control", "Expires",
	"x-amz-website-redirect-location"};

/* How the source is encrypted, where that is neither the remote's configuration nor what every
 * bucket does. */
#define SSE "x-amz-server-side-encryption"
static const char *const kms_fields[] = {SSE, SSE "-aws-kms-key-id", SSE "-bucket-key-enabled"};

struct copy {
	struct s3 *d;
	const struct store_call *c;
	struct store_obj src, dst;
	const struct store_copy *opt;
	const struct store_meta *set; /* with the metadata kept: what changes of it */
	unsigned nset;
	struct net_answer head; /* of the source */
	struct store_stat from;
	const char *class_name;
	struct net_fields fields; /* metadata and content fields of the new object */
};

static bool conditional(const struct copy *x)
{
	return x->opt->dst_if_match || x->opt->dst_if_none_match;
}

/* ---- what is kept ---- */

static void encryption_keep(struct copy *x)
{
	const char *how = net_field_get(&x->head.fields, SSE);

	if (x->d->conf.sse != S3_SSE_NONE || !how || strncmp(how, "aws:kms", 7) != 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(kms_fields); i++) {
		const char *v = net_field_get(&x->head.fields, kms_fields[i]);

		if (v && *v)
			(void)net_field_add(&x->fields, kms_fields[i], v);
	}
}

/* The copy has another value for this key, or none. */
static bool replaced(const struct copy *x, const char *key)
{
	char name[256];

	if (x->opt->write_mark && !strcasecmp(key, STORE_META_WRITE))
		return true;
	(void)snprintf(name, sizeof(name), "%s", key);
	for (char *s = name; *s; s++)
		*s = (char)tolower((unsigned char)*s);
	return driver_meta_find(x->set, x->nset, name);
}

/* The pairs that change, and with those that stay no more than there can be. */
static errint_t fields_set(struct copy *x, size_t bytes, struct err *err)
{
	for (unsigned i = 0; i < x->nset; i++) {
		const struct store_meta *m = &x->set[i];
		cleanup_free char *value = NULL;
		char name[256];

		if (!m->value)
			continue;
		if (!s3_meta_encode(m->value, &value))
			return err_set(err, -ENOMEM, ERR_RETRY, "metadata: no memory");
		(void)snprintf(name, sizeof(name), S3_META "%s", m->key);
		(void)net_field_add(&x->fields, name, value);
		bytes += strlen(m->key) + strlen(value);
	}
	return x->nset && bytes > S3_META_MAX
		       ? err_set(err, -E2BIG, ERR_FINAL,
				 "more metadata than the %d bytes that an object can have",
				 S3_META_MAX)
		       : 0;
}

/* Metadata as it came, so that more than we can hold, and odd values, are kept as well. */
static errint_t fields_keep(struct copy *x, struct err *err)
{
	size_t bytes = 0;
	errint_t r;

	const struct net_fields *h = &x->head.fields;
	struct net_fields *f = &x->fields;

	for (unsigned i = 0; i < ARRAY_SIZE(content_fields); i++) {
		const char *v = net_field_get(h, content_fields[i]);

		if (v && *v)
			(void)net_field_add(f, content_fields[i], v);
	}
	encryption_keep(x);
	for (unsigned i = 0; i < h->n && !x->opt->replace_meta; i++) {
		const char *name = h->v[i].name;

		if (strncasecmp(name, S3_META, strlen(S3_META)) != 0 ||
			replaced(x, name + strlen(S3_META)))
			continue;
		(void)net_field_add(f, name, h->v[i].value);
		bytes += strlen(name + strlen(S3_META)) + strlen(h->v[i].value);
	}
	if (x->opt->write_mark)
		(void)net_field_add(f, S3_META STORE_META_WRITE, x->opt->write_mark);
	r = fields_set(x, bytes, err);
	if (r)
		return r;
	return f->failed ? err_set(err, f->failed, ERR_RETRY, "copy: no memory") : 0;
}

/* "k=v&k2=v2" for x-amz-tagging. What may not be read (403) or is not known (501) has none. */
static errint_t tags_keep(struct copy *x, struct net_fields *f, struct err *err)
{
	struct s3_req q = {.what = "tags",
		.method = "GET",
		.bucket = x->src.bucket,
		.key = x->src.key,
		.c = x->c};
	const char *count = net_field_get(&x->head.fields, "x-amz-tagging-count");
	cleanup_buf struct buf b = BUF_INIT(16384);
	const struct _xmlNode *t;
	cleanup_xml struct xml doc = {0};
	struct net_answer a = {0};
	errint_t r;

	if (count && !strcmp(count, "0"))
		return 0;
	s3_param(&q, "tagging", "");
	r = s3_send(x->d, &q, &a, err);
	r = r ? r : s3_xml(x->d, &q, &a, "Tagging", &doc, err);
	t = r ? NULL : xml_child(xml_child(doc.root, "TagSet"), "Tag");
	for (; t; t = xml_next(t, "Tag")) {
		const char *k = xml_child_text(t, "Key"), *v = xml_child_text(t, "Value");

		if (!k || !v) {
			r = s3_bad(&q, err, "a tag in the answer makes no sense");
			break;
		}
		(void)buf_adds(&b, b.len ? "&" : "");
		(void)net_url_add(&b, k, "");
		(void)buf_adds(&b, "=");
		(void)net_url_add(&b, v, "");
	}
	if (!r && b.len)
		(void)net_field_add(f, "x-amz-tagging", b.p);
	if (r && !count &&
		(err->kind == ERR_AUTH || err->kind == ERR_FINAL || err->kind == ERR_NOT_FOUND)) {
		err_clear(err);
		r = 0;
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* ---- ways ---- */

static errint_t result_stat(struct copy *x, struct store_stat *ret, struct err *err)
{
	store_stat_done(ret); /* metadata in the answer to a copy means nothing */
	ret->size = x->from.size;
	s3_stat_class(x->d, ret, x->class_name, NULL, NULL);
	if (x->opt->replace_meta) {
		if (!s3_stat_meta_add(ret, x->opt->meta, x->opt->nmeta))
			return err_set(err, -ENOMEM, ERR_UNKNOWN, "copy: no memory");
	}
	for (unsigned i = 0; i < x->from.nmeta && !x->opt->replace_meta; i++) {
		const struct store_pair *m = &x->from.meta[i];

		if (replaced(x, m->key))
			continue;
		if (!driver_stat_meta(ret, m->key, m->value))
			return err_set(err, -ENOMEM, ERR_UNKNOWN, "copy: no memory");
	}
	for (unsigned i = 0; i < x->nset && ret->nmeta < STORE_META_MAX; i++)
		if (x->set[i].value && !driver_stat_meta(ret, x->set[i].key, x->set[i].value))
			return err_set(err, -ENOMEM, ERR_UNKNOWN, "copy: no memory");
	if (x->opt->write_mark && ret->nmeta < STORE_META_MAX &&
		!driver_stat_meta(ret, STORE_META_WRITE, x->opt->write_mark))
		return err_set(err, -ENOMEM, ERR_UNKNOWN, "copy: no memory");
	return 0;
}

static void fields_append(struct net_fields *to, const struct net_fields *from)
{
	for (unsigned i = 0; i < from->n; i++)
		(void)net_field_add(to, from->v[i].name, from->v[i].value);
}

/* CopyObject. */
static errint_t by_copy(struct copy *x, struct store_stat *ret, struct err *err)
{
	struct s3_req q = {.what = "copy",
		.method = "PUT",
		.bucket = x->dst.bucket,
		.key = x->dst.key,
		.c = x->c,
		.slow = true};
	cleanup_xml struct xml doc = {0};
	struct net_answer a = {0};
	const char *type;
	errint_t r;

	(void)s3_source_field(&q.fields, x->src);
	s3_field_etag(&q.fields, "x-amz-copy-source-if-match", x->from.etag);
	s3_fields_cond(&q.fields, x->opt->dst_if_match, x->opt->dst_if_none_match);
	(void)net_field_add(&q.fields, "x-amz-metadata-directive", "REPLACE");
	if (strcmp(x->class_name, "STANDARD") != 0)
		(void)net_field_add(&q.fields, "x-amz-storage-class", x->class_name);
	fields_append(&q.fields, &x->fields);
	s3_fields_sse(x->d, &q.fields);
	s3_fields_customer(x->d, &q.fields, true);
	if (atomic_load(&x->d->sum) == S3_SUM_CRC32C)
		(void)net_field_add(&q.fields, "x-amz-checksum-algorithm", "CRC32C");
	r = s3_send(x->d, &q, &a, err);
	r = r ? r : s3_xml(x->d, &q, &a, "CopyObjectResult", &doc, err);
	if (!r && s3_etag(xml_child_text(doc.root, "ETag"), ret->etag))
		r = s3_bad(&q, err, "the answer has no version");
	if (!r) {
		type = xml_child_text(doc.root, "ChecksumType");
		ret->mtime_ns = s3_time(xml_child_text(doc.root, "LastModified"));
		ret->has_crc32c =
			s3_crc32c_parse(xml_child_text(doc.root, "ChecksumCRC32C"), &ret->crc32c) &&
			!(type && !strcmp(type, "COMPOSITE"));
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* An empty object has no part to copy: it is written. */
static errint_t by_put(struct copy *x, struct store_stat *ret, struct err *err)
{
	struct store_put put = {.if_match = x->opt->dst_if_match,
		.if_none_match = x->opt->dst_if_none_match,
		.class_name = x->class_name};
	errint_t r = tags_keep(x, &x->fields, err);

	return r ? r : s3_put_fields(x->d, x->c, x->dst, "", 0, &put, &x->fields, ret, err);
}

static uint64_t part_size(uint64_t size)
{
	uint64_t part = COPY_PART;

	if (size <= S3_PART_MAX)
		return size;
	while (part * S3_PARTS_MAX < size)
		part *= 2;
	return MIN_OF(part, S3_PART_MAX);
}

static errint_t copy_parts(
	struct copy *x, const char *id, struct store_part *v, size_t *ret_n, struct err *err)
{
	uint64_t part = part_size(x->from.size);
	errint_t r = 0;

	*ret_n = 0;
	for (uint64_t off = 0; off < x->from.size && !r; off += part) {
		size_t n = *ret_n;

		if (n == S3_PARTS_MAX)
			return err_set(err, -EFBIG, ERR_FINAL, "copy: too large for S3");
		v[n] = (struct store_part){0};
		r = s3_part_copy(&x->d->store, x->c, x->src, x->from.etag, off,
			MIN_OF(part, x->from.size - off), x->dst, id, (unsigned)n + 1, &v[n], err);
		*ret_n = n + 1;
	}
	return r;
}

/* A multipart upload of copied parts. */
static errint_t by_parts(struct copy *x, struct store_stat *ret, struct err *err)
{
	size_t n = 0, max = (size_t)(x->from.size / part_size(x->from.size)) + 1;
	cleanup_free struct store_part *v = calloc(MIN_OF(max, (size_t)S3_PARTS_MAX), sizeof(*v));
	struct store_put cond = {.if_match = x->opt->dst_if_match,
		.if_none_match = x->opt->dst_if_none_match,
		.class_name = x->class_name};
	char id[STORE_UPLOAD_MAX] = "";
	errint_t r;

	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "copy: no memory");
	r = tags_keep(x, &x->fields, err);
	r = r ? r
	      : s3_begin_fields(x->d, x->c, x->dst, x->class_name, &x->fields,
			s3_sums_hold(x->d, x->c, x->dst.bucket), id, err);
	r = r ? r : copy_parts(x, id, v, &n, err);
	r = r ? r : s3_parts_finish(&x->d->store, x->c, x->dst, id, v, n, &cond, ret, err);
	if (r && id[0] && err->kind != ERR_UNKNOWN) {
		struct store_call quiet = {.deadline_mono_ns = clock_mono_ns() + 10 * NS_PER_S};
		struct err ignored;

		(void)s3_parts_abort(&x->d->store, &quiet, x->dst, id, &ignored);
	}
	return r;
}

/* ---- the operation ---- */

static errint_t copy_run(struct copy *x, struct store_stat *ret, struct err *err)
{
	bool cond = conditional(x);
	errint_t r;

	if (!x->from.size)
		return by_put(x, ret, err);
	if (x->from.size > S3_PART_MAX ||
		(cond && (!x->d->conf.aws || atomic_load(&x->d->copy_cond_not))))
		return by_parts(x, ret, err);
	r = by_copy(x, ret, err);
	if (r && cond && err->http_status == 501) {
		atomic_store(&x->d->copy_cond_not, true);
		err_clear(err);
		return by_parts(x, ret, err);
	}
	return r;
}

static errint_t source_head(struct copy *x, struct err *err)
{
	errint_t r = s3_head_raw(x->d, x->c, x->src, x->opt->src_if_match, &x->head, &x->from, err);

	if (r)
		return r;
	x->class_name = x->opt->class_name ? x->opt->class_name : x->from.class_name;
	r = driver_readable(&x->from, x->src, err);
	r = r ? r : s3_class_check(x->d, x->opt->class_name, err);
	return r ? r : fields_keep(x, err);
}

static void copy_done(struct copy *x)
{
	store_stat_done(&x->from);
	net_answer_done(&x->head);
	net_fields_done(&x->fields);
}

static errint_t copy_go(struct copy *x, struct store_stat *ret, struct err *err)
{
	struct net_fields meta = {0};
	errint_t r = source_head(x, err);

	if (!r && x->opt->replace_meta) { /* checked as for any new object */
		r = s3_fields_new(x->d, &meta, "STANDARD", x->opt->meta, x->opt->nmeta, err);
		fields_append(&x->fields, &meta);
	}
	if (!r) {
		r = copy_run(x, ret, err);
		r = s3_cond_error(x->opt->dst_if_match, x->opt->dst_if_none_match, r, err);
		r = r ? r : result_stat(x, ret, err);
	}
	if (r)
		store_stat_done(ret);
	net_fields_done(&meta);
	return r;
}

errint_t s3_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_copy none;
	struct copy x = {
		.d = (struct s3 *)s, .c = c, .src = src, .dst = dst, .opt = opt ? opt : &none};
	errint_t r = copy_go(&x, ret, err);

	copy_done(&x);
	return r;
}

/* Onto itself, against the version that is there. */
static errint_t change(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *if_match, struct store_copy *opt, const struct store_meta *set, unsigned nset,
	struct store_stat *ret, struct err *err)
{
	struct copy x = {.d = d, .c = c, .src = o, .dst = o, .opt = opt, .set = set, .nset = nset};
	char etag[STORE_ETAG_MAX];
	struct net_answer a = {0};
	errint_t r = s3_head_raw(d, c, o, if_match, &a, ret, err);
	bool plain;

	net_answer_done(&a);
	if (r)
		return s3_cond_error(if_match, NULL, r, err);
	/* So also after a first try whose answer was lost. */
	if (opt->class_name && !strcmp(ret->class_name, opt->class_name))
		return 0;
	memcpy(etag, ret->etag, sizeof(etag));
	/* What is not one CopyObject takes the condition for nothing. */
	plain = d->conf.unsafe_transition && !nset && ret->size && ret->size <= S3_PART_MAX;
	store_stat_done(ret);
	*ret = (struct store_stat){0};
	opt->src_if_match = etag;
	opt->dst_if_match = plain ? NULL : etag;
	r = copy_go(&x, ret, err);
	copy_done(&x);
	return r;
}

errint_t s3_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct store_copy opt = {.class_name = class_name};
	errint_t r = s3_class_check(d, class_name, err);

	return r ? r : change(d, c, o, if_match, &opt, NULL, 0, ret, err);
}

errint_t s3_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	struct store_copy opt = {0};
	errint_t r = driver_meta_check(meta, nmeta, S3_META_MAX, err);

	return r ? r : change((struct s3 *)s, c, o, if_match, &opt, meta, nmeta, ret, err);
}
