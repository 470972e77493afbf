/* SPDX-License-Identifier: MIT */
/*
 * Removals: DELETE of one object, DeleteObjects of up to a thousand. A batch carries a condition
 * only where the endpoint is known to hold it there (s3_probe.c), for many read past it and remove
 * whatever there is; the others, and keys that XML would change on the way, or some reader of it,
 * go by themselves: of "a " it makes "a", which is another object, maybe of the same bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

#define BODY_FULL  (1u << 20) /* S3 takes a little less than twice that */
#define BODY_MAX   (BODY_FULL + 8 * STORE_KEY_MAX + 4096)
#define ANSWER_MAX (4u << 20)

errint_t s3_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {
		.what = "remove", .method = "DELETE", .bucket = o.bucket, .key = o.key, .c = c};
	errint_t r;

	if (if_match)
		s3_batch_ask(d, c, o.bucket);
	r = s3_cond(d, c, o, S3_HOLDS_REMOVE, if_match, NULL, &q.fields, err);
	if (r) {
		s3_req_done(&q);
		return r;
	}
	return s3_send_only(d, &q, err);
}

/* ---- many ---- */

static void said(struct store_removal *v, errint_t r, enum err_kind kind)
{
	v->r = r;
	v->kind = kind;
}

/* It goes by itself, and has not yet. */
static bool alone(const struct store_removal *v)
{
	return v->r && v->kind == ERR_NONE;
}

/* XML knows no other end of a line than '\n', and some servers trim what is in an element, or make
 * one blank of several; what they take for blank is more than ASCII has. */
static bool fits(const char *key)
{
	static const char *const blanks[] = {"  ", "\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
		"\xe1\xa0\x8e", "\xe2\x80", "\xe2\x81", "\xe3\x80\x80", "\xef\xbb\xbf"};
	size_t len = strlen(key);

	for (size_t i = 0; i < ARRAY_SIZE(blanks); i++)
		if (strstr(key, blanks[i]))
			return false;
	return len && xml_holds(key) && !strpbrk(key, "\t\n\v\f\r") && key[0] != ' ' &&
	       key[len - 1] != ' ';
}

static void object_add(struct buf *b, const struct store_removal *v)
{
	char etag[STORE_ETAG_MAX + 3];

	(void)buf_adds(b, "<Object>");
	(void)xml_add(b, "Key", v->key);
	if (v->if_match) {
		(void)snprintf(etag, sizeof(etag), "\"%s\"", v->if_match);
		(void)xml_add(b, "ETag", etag);
	}
	(void)buf_adds(b, "</Object>");
}

/* Returns how many are in it. */
static size_t body_make(struct store_removal *v, size_t n, size_t *at, struct buf *b)
{
	size_t in = 0;

	(void)buf_adds(b, "<Delete xmlns=\"" S3_XMLNS "\">");
	for (; *at < n && in < S3_BATCH_MAX && b->len < BODY_FULL; ++*at) {
		if (alone(&v[*at]))
			continue;
		said(&v[*at], -EIO, ERR_UNKNOWN); /* until the answer speaks of it */
		object_add(b, &v[*at]);
		in++;
	}
	(void)buf_adds(b, "</Delete>");
	return in;
}

/* The removal of that key; mostly the one behind the last. NULL: it was not asked for. */
static struct store_removal *find(struct store_removal *v, size_t n, size_t *next, const char *key)
{
	for (size_t i = 0; key && i < n; i++) {
		size_t at = (*next + i) % n;

		if (alone(&v[at]) || strcmp(v[at].key, key) != 0)
			continue;
		*next = at + 1;
		return &v[at];
	}
	return NULL;
}

/* What is said of one key. A code that says nothing to us is no answer. */
static void refused(struct store_removal *v, const char *code)
{
	enum err_kind kind = ERR_UNKNOWN;
	errint_t r = -EIO;

	if (code && !strncmp(code, "412 ", 4)) /* of directory buckets */
		code = "PreconditionFailed";
	if (!code || !s3_code(code, &r, &kind) || kind == ERR_NONE)
		kind = ERR_UNKNOWN;
	said(v, r, kind);
}

static void answer_read(const struct xml *x, struct store_removal *v, size_t n)
{
	const struct _xmlNode *e;
	struct store_removal *of;
	size_t next = 0;

	for (e = xml_child(x->root, "Deleted"); e; e = xml_next(e, "Deleted")) {
		of = find(v, n, &next, xml_child_text(e, "Key"));
		if (of)
			said(of, 0, ERR_NONE);
	}
	next = 0;
	for (e = xml_child(x->root, "Error"); e; e = xml_next(e, "Error")) {
		of = find(v, n, &next, xml_child_text(e, "Key"));
		if (of)
			refused(of, xml_child_text(e, "Code"));
	}
}

/* A 404 that S3 would not have sent: something there that does not know the request. And what S3
 * would not have sent may come from something before a server that is at work. */
static errint_t batch_error(errint_t r, struct err *err)
{
	enum err_kind kind;
	errint_t own;

	if (err->http_status == 404 && !err->code[0]) {
		err->kind = ERR_FINAL;
		return -EOPNOTSUPP;
	}
	if (err->http_status / 100 == 2 ||
		(err->http_status / 100 == 5 && !(s3_code(err->code, &own, &kind) && kind)))
		err->kind = ERR_UNKNOWN;
	return r;
}

errint_t s3_batch(struct s3 *d, const struct store_call *c, const char *bucket,
	struct store_removal *v, size_t n, size_t *at, struct err *err)
{
	struct s3_req q = {.what = "remove_many",
		.method = "POST",
		.bucket = bucket,
		.c = c,
		.slow = true,
		.body_max = ANSWER_MAX};
	cleanup_buf struct buf b = BUF_INIT(BODY_MAX);
	cleanup_xml struct xml x = {0};
	char sum[BASE64_LEN(16) + 1];
	struct net_answer a = {0};
	size_t from = *at;
	uint8_t hash[16];
	errint_t r;

	if (!body_make(v, n, at, &b))
		return 0;
	if (b.failed)
		return err_set(err, b.failed, ERR_RETRY, "remove_many: no memory");
	s3_param(&q, "delete", "");
	q.body = b.p;
	q.body_len = b.len;
	md5(b.p, b.len, hash);
	base64_encode(hash, sizeof(hash), sum);
	(void)net_field_add(&q.fields, "Content-MD5", sum);
	(void)net_field_add(&q.fields, "Content-Type", "application/xml");
	r = s3_send(d, &q, &a, err);
	if (!r)
		r = s3_xml(d, &q, &a, "DeleteResult", &x, err);
	if (r)
		r = batch_error(r, err);
	if (!r)
		answer_read(&x, v + from, *at - from);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

errint_t s3_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	struct store_removal *v, size_t n, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	bool cond = s3_batch_holds(d), sent = false;
	errint_t r = 0;

	for (size_t i = 0; i < n; i++)
		said(&v[i], -EIO,
			fits(v[i].key) && (cond || !v[i].if_match) ? ERR_UNKNOWN : ERR_NONE);
	for (size_t at = 0; at < n && !r;) {
		r = s3_batch(d, c, bucket, v, n, &at, err);
		if (r && sent)
			err->kind = ERR_UNKNOWN;
		sent = true;
	}
	for (size_t i = 0; i < n && !r; i++) {
		struct err one = {0};
		errint_t own;

		if (!alone(&v[i]))
			continue;
		own = s3_remove(s, c, (struct store_obj){bucket, v[i].key}, v[i].if_match, &one);

		driver_removed(&v[i], own, &one);
		if (own && one.kind == ERR_CANCELLED) {
			*err = one;
			err->kind = ERR_UNKNOWN; /* of those before */
			r = own;
		}
	}
	return r;
}
