/* SPDX-License-Identifier: MIT */
/*
 * The S3 driver: AWS S3 and stores that speak as it does. Objects are plain objects; what we add
 * is metadata. This file: single objects, and the table of operations; see s3_priv.h for the rest.
 *
 * State shared by threads is small: the server's clock, regions of buckets, and what an endpoint
 * turned out not to know.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

/* ---- head ---- */

/* Digits up to the character end, which is passed; sscanf would take signs and blanks. */
static bool number(const char **s, char end, uint64_t *ret)
{
	char *behind;

	if (**s < '0' || **s > '9')
		return false;
	errno = 0;
	*ret = strtoull(*s, &behind, 10);
	if (errno || *behind != end)
		return false;
	*s = behind + (end != 0);
	return true;
}

static void ask_for_sums(const struct s3 *d, struct net_fields *f)
{
	if (atomic_load(&d->sum) != S3_SUM_OFF)
		(void)net_field_add(f, "x-amz-checksum-mode", "ENABLED");
}

/* A 404 without a body that S3 would not have sent: GET has one to tell. */
static errint_t head_confirm(
	struct s3 *d, const struct store_call *c, struct store_obj o, errint_t r, struct err *err)
{
	struct s3_req q = {
		.what = "head", .method = "GET", .bucket = o.bucket, .key = o.key, .c = c};
	struct net_answer a = {0};
	errint_t g;

	(void)net_field_add(&q.fields, "Range", "bytes=0-0");
	s3_fields_customer(d, &q.fields, false);
	g = s3_send(d, &q, &a, err);
	if (!g)
		g = err_set(err, r, ERR_RETRY, "%s/%s is there and is not there", o.bucket, o.key);
	net_answer_done(&a);
	s3_req_done(&q);
	return g;
}

/* What lies in a gateway's directory and did not come through it is there, but no version of it can
 * be named: trying again is of no use. Any other answer without one is broken. */
static errint_t no_version(
	const struct s3 *d, const struct s3_req *q, const struct net_answer *a, struct err *err)
{
	const char *etag = net_field_get(&a->fields, "etag");

	if (etag ? *etag : !atomic_load(&d->bare_told_ns))
		return s3_bad(q, err, "the answer lacks the size or the version");
	return err_set(err, -EIO, ERR_FINAL,
		"%s/%s is there, and has no ETag, so that no version of it can be told from "
		"another: it is left as it is",
		q->bucket, q->key);
}

/* a is the caller's to give back on any return. */
errint_t s3_head_raw(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *if_match, struct net_answer *a, struct store_stat *ret, struct err *err)
{
	struct s3_req q = {
		.what = "head", .method = "HEAD", .bucket = o.bucket, .key = o.key, .c = c};
	const char *len;
	errint_t r;

	s3_fields_cond(&q.fields, if_match, NULL);
	ask_for_sums(d, &q.fields);
	s3_fields_customer(d, &q.fields, false);
	r = s3_send(d, &q, a, err);
	if (r && a->status == 404 && err->kind != ERR_NOT_FOUND)
		r = head_confirm(d, c, o, r, err);
	if (!r) {
		len = net_field_get(&a->fields, "content-length");
		r = !len || !number(&len, 0, &ret->size) ? -EBADMSG : s3_stat(d, a, ret);
		if (r)
			r = r == -EBADMSG ? no_version(d, &q, a, err)
					  : err_set(err, r, ERR_RETRY, "head: no memory");
		else if (if_match && strcmp(if_match, ret->etag) != 0)
			r = err_set(err, -ESTALE, ERR_STALE, "%s/%s is version %s, expected %s",
				o.bucket, o.key, ret->etag, if_match);
		if (r)
			store_stat_done(ret);
	}
	s3_req_done(&q);
	return r;
}

static errint_t s3_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	struct net_answer a;
	errint_t r = s3_head_raw((struct s3 *)s, c, o, NULL, &a, ret, err);

	net_answer_done(&a);
	return r;
}

/* ---- get ---- */

struct get {
	struct s3 *d;
	const struct s3_req *q;
	const char *if_match;
	uint64_t off;
	size_t len;
	const uint8_t *p;
	struct store_progress *progress; /* NULL: nothing is shown before it is verified */
	struct store_sink *sink;	 /* NULL = to p */
	uint64_t want;			 /* bytes that have to come */
	bool sum32, sum64;		 /* the whole object comes, and states its checksum */
	uint32_t want32, crc32;
	uint64_t want64, crc64;
	size_t summed;
};

/* "bytes 0-9/20" */
static bool content_range(
	const char *v, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_size)
{
	if (!v || strncmp(v, "bytes ", 6) != 0)
		return false;
	v += 6;
	return number(&v, '-', ret_first) && number(&v, '/', ret_last) && number(&v, 0, ret_size) &&
	       *ret_first <= *ret_last && *ret_last < *ret_size;
}

static bool crc64_parse(const char *s, uint64_t *ret)
{
	uint8_t b[8];
	size_t n;

	if (!s || base64_decode(s, b, sizeof(b), &n) || n != 8)
		return false;
	*ret = 0;
	for (unsigned i = 0; i < 8; i++)
		*ret = *ret << 8 | b[i];
	return true;
}

/* Is this the range and the version that was asked for? */
static errint_t get_accept(void *arg, const struct net_answer *a, struct err *err)
{
	struct get *g = arg;
	const char *len = net_field_get(&a->fields, "content-length");
	uint64_t first = 0, last = 0, size = 0;
	char etag[STORE_ETAG_MAX];
	bool whole = a->status == 200;

	if (a->status == 206) {
		if (!content_range(
			    net_field_get(&a->fields, "content-range"), &first, &last, &size) ||
			first != g->off || last != MIN_OF(g->off + g->len, size) - 1)
			return s3_bad(g->q, err, "the answer is another range than was asked for");
		g->want = last - first + 1;
		whole = g->want == size;
	} else if (g->off || !len || !number(&len, 0, &g->want) || g->want > g->len) {
		return s3_bad(g->q, err, "the answer is the whole object, not the range");
	}
	if (s3_etag(net_field_get(&a->fields, "etag"), etag))
		return s3_bad(g->q, err, "the answer has no version");
	if (g->if_match && strcmp(etag, g->if_match) != 0)
		return err_set(err, -ESTALE, ERR_STALE, "%s/%s is version %s, expected %s",
			g->q->bucket, g->q->key, etag, g->if_match);
	if (whole) {
		const char *type = net_field_get(&a->fields, "x-amz-checksum-type");
		bool parts = type && !strcmp(type, "COMPOSITE");

		g->sum32 = !parts &&
			   s3_crc32c_parse(
				   net_field_get(&a->fields, "x-amz-checksum-crc32c"), &g->want32);
		g->sum64 = !g->sum32 &&
			   crc64_parse(net_field_get(&a->fields, "x-amz-checksum-crc64nvme"),
				   &g->want64);
		if (g->sum32 || g->sum64)
			g->progress = NULL;
	}
	return 0;
}

static void get_filled(void *arg, size_t have)
{
	struct get *g = arg;

	/* While it is in the cache. */
	if (g->sum32)
		g->crc32 = crc32c(g->crc32, g->p + g->summed, have - g->summed);
	if (g->sum64)
		g->crc64 = crc64nvme(g->crc64, g->p + g->summed, have - g->summed);
	g->summed = have;
	store_progressed(g->progress, have);
}

static bool get_take(void *arg, const void *p, size_t n)
{
	struct get *g = arg;

	if (g->sum32)
		g->crc32 = crc32c(g->crc32, p, n);
	if (g->sum64)
		g->crc64 = crc64nvme(g->crc64, p, n);
	return store_sink_take(g->sink, p, n);
}

/* 416: behind the end. That is no error, unless the end is elsewhere. */
static errint_t behind_end(
	const struct s3_req *q, const struct net_answer *a, uint64_t off, struct err *err)
{
	const char *v = net_field_get(&a->fields, "content-range");
	uint64_t size;

	if (v && !strncmp(v, "bytes */", 8)) {
		v += 8;
		if (number(&v, 0, &size) && off < size)
			return s3_bad(q, err, "the range is called out of bounds, and is not");
	}
	err_clear(err);
	return 0;
}

static errint_t s3_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct get g = {.d = d,
		.if_match = if_match,
		.off = off,
		.len = len,
		.p = p,
		.progress = c->progress,
		.sink = c->sink};
	struct s3_req q = {.what = "get",
		.method = "GET",
		.bucket = o.bucket,
		.key = o.key,
		.c = c,
		.into = p,
		.into_max = len,
		.accept = get_accept,
		.filled = c->sink ? NULL : get_filled,
		.take = c->sink ? get_take : NULL,
		.arg = &g};
	struct net_answer a = {0};
	errint_t r;

	g.q = &q;
	if (!len) { /* whether it is there */
		struct store_stat st = {0};

		r = s3_head_raw(d, c, o, if_match, &a, &st, err);
		store_stat_done(&st);
		net_answer_done(&a);
		return r;
	}
	(void)net_field_addf(&q.fields, "Range", "bytes=%llu-%llu", (unsigned long long)off,
		(unsigned long long)(off + len - 1));
	s3_fields_cond(&q.fields, if_match, NULL);
	ask_for_sums(d, &q.fields);
	s3_fields_customer(d, &q.fields, false);
	r = s3_send(d, &q, &a, err);
	if (!r && a.got != g.want)
		r = s3_bad(&q, err, "the answer ended early");
	if (!r && ((g.sum32 && g.crc32 != g.want32) || (g.sum64 && g.crc64 != g.want64))) {
		r = s3_bad(&q, err, "the bytes do not have the checksum that the object has");
		if (c->sink)
			err->kind = ERR_FINAL; /* they are taken */
	}
	if (!r || c->sink)
		*ret_len = a.got;
	if (r && a.status == 416)
		r = behind_end(&q, &a, off, err);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* ---- put ---- */

/* What PUT's answer leaves out: it is what we said. */
static errint_t put_stat(const struct s3 *d, const struct s3_req *q, const struct net_answer *a,
	size_t len, uint32_t crc, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	bool match = opt && opt->class_name;
	errint_t r = s3_stat(d, a, ret);

	if (r)
		return r == -ENOMEM ? err_set(err, r, ERR_UNKNOWN, "%s: no memory", q->what)
				    : s3_bad(q, err, "the answer has no version");
	store_stat_done(ret); /* metadata in the answer to a PUT means nothing */
	ret->size = len;
	s3_stat_class(d, ret, match ? opt->class_name : s3_class_default(d), NULL, NULL);
	if (ret->has_crc32c && ret->crc32c != crc)
		return s3_bad(q, err, "the object has another checksum than what was sent");
	if (opt && !s3_stat_meta_add(ret, opt->meta, opt->nmeta))
		return err_set(err, -ENOMEM, ERR_UNKNOWN, "%s: no memory", q->what);
	return 0;
}

static errint_t put_try(struct s3 *d, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, uint32_t crc, const struct store_put *opt, const struct net_fields *more,
	struct store_stat *ret, struct err *err)
{
	struct s3_req q = {.what = "put",
		.method = "PUT",
		.bucket = o.bucket,
		.key = o.key,
		.body = p,
		.body_len = len,
		.data = true,
		.c = c};
	const char *match = opt ? opt->if_match : NULL, *none = opt ? opt->if_none_match : NULL;
	struct net_answer a = {0};
	errint_t r = s3_fields_new(d, &q.fields, opt ? opt->class_name : NULL,
		opt ? opt->meta : NULL, opt ? opt->nmeta : 0, err);

	for (unsigned i = 0; more && i < more->n; i++)
		(void)net_field_add(&q.fields, more->v[i].name, more->v[i].value);
	s3_fields_sum(d, &q.fields, p, len, crc);
	s3_fields_sse(d, &q.fields);
	r = r ? r : s3_cond(d, c, o, S3_HOLDS_PUT, match, none, &q.fields, err);
	if (!r) {
		r = s3_send(d, &q, &a, err);
		if (r)
			r = s3_cond_error(match, none, r, err);
		else
			r = put_stat(d, &q, &a, len, crc, opt, ret, err);
	}
	if (r)
		store_stat_done(ret);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

errint_t s3_put_fields(struct s3 *d, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, const struct store_put *opt, const struct net_fields *more,
	struct store_stat *ret, struct err *err)
{
	uint32_t crc = opt && opt->has_crc32c ? opt->crc32c : crc32c(0, p, len);
	errint_t r;

	do {
		r = opt && opt->has_crc32c ? s3_crc_check(d, p, len, crc, err) : 0;
		if (r)
			return r;
		r = put_try(d, c, o, p, len, crc, opt, more, ret, err);
	} while (s3_sum_fall(d, r, err));
	return r;
}

static errint_t s3_put(struct store *s, const struct store_call *c, struct store_obj o,
	const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	return s3_put_fields((struct s3 *)s, c, o, p, len, opt, NULL, ret, err);
}

/* ---- remove ---- */

static errint_t s3_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {
		.what = "remove", .method = "DELETE", .bucket = o.bucket, .key = o.key, .c = c};
	errint_t r = s3_cond(d, c, o, S3_HOLDS_REMOVE, if_match, NULL, &q.fields, err);

	if (r) {
		s3_req_done(&q);
		return r;
	}
	return s3_send_only(d, &q, err);
}

/* The body of a batch: keys[*at..), as many as go; *at is moved behind them. */
static errint_t batch_body(
	const char *const *keys, size_t n, size_t *at, errint_t *ret_each, struct buf *b)
{
	size_t in = 0;

	(void)buf_adds(b, "<Delete xmlns=\"" S3_XMLNS "\">");
	for (; *at < n && in < S3_BATCH_MAX; ++*at) {
		ret_each[*at] = -EIO;
		if (!xml_holds(keys[*at])) {
			ret_each[*at] = -EILSEQ; /* by itself, later */
			continue;
		}
		(void)buf_adds(b, "<Object>");
		(void)xml_add(b, "Key", keys[*at]);
		(void)buf_adds(b, "</Object>");
		in++;
	}
	(void)buf_adds(b, "</Delete>");
	return b->failed;
}

static void batch_result(
	const struct xml *x, const char *const *keys, size_t from, size_t to, errint_t *ret_each)
{
	const struct _xmlNode *e;

	for (e = xml_child(x->root, "Deleted"); e; e = xml_next(e, "Deleted")) {
		const char *key = xml_child_text(e, "Key");

		for (size_t i = from; key && i < to; i++)
			if (ret_each[i] == -EIO && !strcmp(keys[i], key))
				ret_each[i] = 0;
	}
	for (e = xml_child(x->root, "Error"); e; e = xml_next(e, "Error")) {
		const char *key = xml_child_text(e, "Key"), *code = xml_child_text(e, "Code");

		for (size_t i = from; key && i < to; i++)
			if (!strcmp(keys[i], key))
				ret_each[i] = !code			      ? -EIO
					      : !strcmp(code, "NoSuchKey")    ? -ENOENT
					      : !strcmp(code, "AccessDenied") ? -EACCES
									      : -EIO;
	}
}

static errint_t batch(struct s3 *d, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, size_t *at, errint_t *ret_each, struct err *err)
{
	struct s3_req q = {.what = "remove_many",
		.method = "POST",
		.bucket = bucket,
		.c = c,
		.slow = true,
		.body_max = 4u << 20};
	cleanup_buf struct buf b = BUF_INIT(16u << 20);
	cleanup_xml struct xml x = {0};
	char sum[BASE64_LEN(16) + 1];
	struct net_answer a = {0};
	size_t from = *at;
	uint8_t hash[16];
	errint_t r = batch_body(keys, n, at, ret_each, &b);

	if (r)
		return err_set(err, r, ERR_RETRY, "remove_many: no memory");
	s3_param(&q, "delete", "");
	q.body = b.p;
	q.body_len = b.len;
	md5(b.p, b.len, hash);
	base64_encode(hash, sizeof(hash), sum);
	(void)net_field_add(&q.fields, "Content-MD5", sum);
	(void)net_field_add(&q.fields, "Content-Type", "application/xml");
	r = s3_send(d, &q, &a, err);
	r = r ? r : s3_xml(d, &q, &a, "DeleteResult", &x, err);
	if (!r)
		batch_result(&x, keys, from, *at, ret_each);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

static errint_t s3_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	errint_t r = 0;

	for (size_t at = 0; at < n && !r;)
		r = batch((struct s3 *)s, c, bucket, keys, n, &at, ret_each, err);
	for (size_t i = 0; i < n && !r; i++) {
		if (ret_each[i] != -EILSEQ)
			continue;
		ret_each[i] = s3_remove(s, c, (struct store_obj){bucket, keys[i]}, NULL, err);
		if (ret_each[i] && err->kind == ERR_CANCELLED)
			r = ret_each[i];
	}
	return r;
}

/* ---- restore ---- */

static errint_t restore_body(
	const struct s3 *d, const struct store_stat *st, unsigned days, struct buf *b)
{
	bool auto_tier = !strcmp(st->class_name, "INTELLIGENT_TIERING");
	bool deep = !strcmp(st->class_name, "DEEP_ARCHIVE");
	const char *tier = d->conf.restore_tier[0] ? d->conf.restore_tier : "Standard";

	if (deep && !strcmp(tier, "Expedited"))
		tier = "Standard"; /* there is none */
	(void)buf_adds(b, "<RestoreRequest xmlns=\"" S3_XMLNS "\">");
	if (!auto_tier) /* there it comes back for good */
		(void)buf_addf(b, "<Days>%u</Days>", days);
	(void)buf_addf(b,
		"<GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters>"
		"</RestoreRequest>",
		tier);
	return b->failed;
}

static errint_t s3_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {
		.what = "restore", .method = "POST", .bucket = o.bucket, .key = o.key, .c = c};
	cleanup_buf struct buf b = BUF_INIT(1000);
	struct store_stat st = {0};
	errint_t r = s3_head(s, c, o, &st, err);

	store_stat_done(&st);
	if (r)
		return r;
	if (!st.archived && !s3_class_offline(d, st.class_name))
		return err_set(err, -EINVAL, ERR_FINAL,
			"%s/%s is in class %s, which needs no restore", o.bucket, o.key,
			st.class_name);
	/* What is restored may stay longer, never shorter. */
	if (st.restoring || st.restored_until_ns >= clock_now_ns() + atomic_load(&d->skew_ns) +
							    days * (86400 * NS_PER_S))
		return 0;
	(void)restore_body(d, &st, days, &b);
	s3_param(&q, "restore", "");
	q.body = b.p;
	q.body_len = b.len;
	(void)net_field_add(&q.fields, "Content-Type", "application/xml");
	r = s3_send_only(d, &q, err);
	if (r && !strcmp(err->code, "RestoreAlreadyInProgress")) {
		err_clear(err);
		return 0;
	}
	return r;
}

/* ---- the driver ---- */

static void s3_caps(struct store *s, struct store_caps *ret)
{
	const struct s3 *d = (const struct s3 *)s;

	*ret = (struct store_caps){.key_max = STORE_KEY_MAX,
		.key_utf8 = true,
		.meta_max = S3_META_MAX,
		.conditional_put = true,
		.conditional_remove = true,
		.conditional_copy = true,
		.meta_at_begin = true,
		.list_after = true,
		.head_meta = d->conf.read_metadata,
		.meta_copy = S3_PART_MAX,
		.part_copy = true,
		.copy = true,
		.etag_of_bytes = true,
		.silent_remove = true,
		.archive = driver_has_offline(d->conf.classes),
		.asks = !d->conf.aws,
		.sinks = true,
		.checksums = d->conf.sum == S3_SUM_AUTO || d->conf.sum == S3_SUM_CRC32C,
		.part_min = S3_PART_MIN,
		.part_max = S3_PART_MAX,
		.object_max = S3_PART_MAX * S3_PARTS_MAX,
		.parts_max = S3_PARTS_MAX};
}

static void s3_destroy(struct store *s)
{
	struct s3 *d = (struct s3 *)s;

	aws_cred_destroy(d->cred);
	net_destroy(d->net);
	(void)pthread_cond_destroy(&d->asked);
	lock_done(&d->lock);
	explicit_bzero(&d->conf, sizeof(d->conf));
	free(d);
}

void s3_endpoint_text(const struct s3 *d, struct buf *ret)
{
	const struct net_url *u = &d->conf.endpoint;

	if (*u->host) {
		(void)buf_addf(ret, "%s://", u->tls ? "https" : "http");
		(void)net_url_host(ret, u);
		(void)buf_adds(ret, u->path);
	} else {
		(void)buf_adds(ret, "AWS");
	}
}

static void s3_describe(struct store *s, struct buf *ret)
{
	const struct s3 *d = (const struct s3 *)s;

	s3_endpoint_text(d, ret);
	(void)buf_addf(ret, ", region %s, with ", d->conf.region);
	if (d->cred)
		aws_cred_describe(d->cred, ret);
	else
		(void)buf_adds(ret, "no key: requests are not signed");
}

static const struct store_ops s3_ops = {
	.name = "s3",
	.caps = s3_caps,
	.describe = s3_describe,
	.head = s3_head,
	.get = s3_get,
	.put = s3_put,
	.remove = s3_remove,
	.remove_many = s3_remove_many,
	.list = s3_list,
	.copy = s3_copy,
	.set_tier = s3_set_tier,
	.restore = s3_restore,
	.parts_begin = s3_parts_begin,
	.part_put = s3_part_put,
	.part_copy = s3_part_copy,
	.parts_list = s3_parts_list,
	.parts_finish = s3_parts_finish,
	.parts_abort = s3_parts_abort,
	.parts_pending = s3_parts_pending,
	.set_meta = s3_set_meta,
	.bucket_list = s3_bucket_list,
	.bucket_create = s3_bucket_create,
	.bucket_remove = s3_bucket_remove,
	.lifecycle_get = s3_lifecycle_get,
	.lifecycle_put = s3_lifecycle_put,
	.ready = s3_ready,
	.destroy = s3_destroy,
};

void store_learned(struct store *s, struct buf *ret)
{
	struct store *d = store_layer_find(s, &s3_ops);

	if (d)
		s3_learned((struct s3 *)d, ret);
}

void store_recall(struct store *s, const char *text)
{
	struct store *d = store_layer_find(s, &s3_ops);

	if (d)
		s3_recall((struct s3 *)d, text);
}

errint_t store_s3_new(const struct s3_conf *conf, struct net *net, struct aws_cred *cred,
	struct store **ret, struct err *err)
{
	struct s3 *d = calloc(1, sizeof(*d));

	assert(conf && net);
	if (!d) {
		aws_cred_destroy(cred);
		net_destroy(net);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the driver");
	}
	d->store.ops = &s3_ops;
	d->conf = *conf;
	d->net = net;
	d->stays_here = conf->style != S3_STYLE_VIRTUAL && net_stays_here(net, &conf->endpoint);
	d->cred = cred;
	atomic_init(&d->sum, (int)(conf->sum == S3_SUM_AUTO ? S3_SUM_CRC32C : conf->sum));
	lock_init(&d->lock, RANK_STORE_D, "s3");
	cond_init(&d->asked);
	*ret = &d->store;
	return 0;
}
