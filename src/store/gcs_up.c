/* SPDX-License-Identifier: MIT */
/*
 * Bytes on their way up. What fits into one insert goes as one: resource and content in a multipart
 * body, the condition in the address. More goes by a resumable session: the condition is given when
 * it begins, and holds when it ends. A session can be asked what it has, so a broken connection
 * costs only what had not arrived, and a lost answer can be asked for again: what remains unknown
 * is only what cannot be asked.
 *
 * Every way carries the CRC-32C of the content: bytes that arrive otherwise are refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "gcs_priv.h"

#define INSERT_MAX    (UINT64_C(16) << 20)
#define RESUMES_MAX   8 /* in a row that moved nothing */
#define RESUME_NS     (100 * NS_PER_MS)
#define RESUME_NS_MAX (3 * NS_PER_S)
#define TYPE_DEFAULT  "application/octet-stream"

static const char fields_wanted[] =
	"name,size,generation,storageClass,timeCreated,updated,metadata,crc32c";

static errint_t resource(const struct gcs_up *up, json_t **ret, struct err *err)
{
	errint_t r = gcs_resource(up->o.key, up->class_name, up->meta, up->nmeta, ret, err);
	char crc[9];

	gcs_crc_format(up->crc32c, crc);
	if (!r && json_object_set_new(*ret, "crc32c", json_string(crc)))
		r = gcs_no_memory(err);
	return r;
}

static errint_t up_init(struct gcs_req *r, struct gcs *g, const struct store_call *c,
	const struct gcs_up *up, const char *type, struct err *err)
{
	gcs_req_init(r, g, c, "put", "POST", "/upload/storage/v1");
	gcs_req_bucket(r, up->o.bucket);
	(void)buf_adds(&r->url, "/o");
	r->o = up->o;
	gcs_req_param(r, "uploadType", type);
	gcs_req_param(r, "fields", fields_wanted);
	if (g->conf.kms_key)
		gcs_req_param(r, "kmsKeyName", g->conf.kms_key);
	for (unsigned i = 0; i < g->customer.n; i++)
		(void)net_field_add(&r->fields, g->customer.v[i].name, g->customer.v[i].value);
	return gcs_req_cond(r, "ifGenerationMatch", up->if_match, up->if_none_match, err);
}

/* The answer's resource, which must be of what was sent. */
static errint_t up_done(struct gcs_req *r, const struct gcs_up *up, size_t len,
	struct store_stat *ret, struct err *err)
{
	if (!gcs_stat_read(r->json, ret))
		return gcs_req_bad(r, err, "the answer has no whole resource");
	if (ret->size == len && (!ret->has_crc32c || ret->crc32c == up->crc32c))
		return 0;
	store_stat_done(ret);
	return gcs_req_bad(r, err, "what is stored is not what was sent");
}

/* ---- one insert ---- */

static errint_t insert(struct gcs *g, const struct store_call *c, const struct gcs_up *up,
	const void *p, size_t len, struct store_stat *ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_buf struct buf before = BUF_INIT(GCS_URL_MAX), after = BUF_INIT(128);
	cleanup_json json_t *j = NULL;
	cleanup_free char *text = NULL;
	unsigned long long chance[2] = {random_u64(), random_u64()};
	errint_t e = up_init(&r, g, c, up, "multipart", err);

	e = e ? e : resource(up, &j, err);
	if (e)
		return e;
	text = json_dumps(j, JSON_COMPACT);
	/* A boundary that no content has but by a chance of 2^-128. */
	(void)buf_addf(&before,
		"--%016llx%016llx\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n"
		"--%016llx%016llx\r\nContent-Type: %s\r\n\r\n",
		chance[0], chance[1], text ? text : "", chance[0], chance[1],
		up->type ? up->type : TYPE_DEFAULT);
	(void)buf_addf(&after, "\r\n--%016llx%016llx--\r\n", chance[0], chance[1]);
	(void)net_field_addf(&r.fields, "Content-Type",
		"multipart/related; boundary=%016llx%016llx", chance[0], chance[1]);
	if (!text || before.failed || after.failed)
		return gcs_no_memory(err);
	r.q.before = before.p;
	r.q.before_len = before.len;
	r.q.body = p;
	r.q.body_len = len;
	r.q.after = after.p;
	r.q.after_len = after.len;
	e = gcs_req_run(&r, err);
	return e ? e : up_done(&r, up, len, ret, err);
}

/* ---- one PUT of the XML API, whatever the size ---- */

static errint_t put_whole(struct gcs *g, const struct store_call *c, const struct gcs_up *up,
	const void *p, size_t len, struct store_stat *ret, struct err *err)
{
	cleanup_json json_t *j = NULL, *made = NULL;
	char crc[9];
	errint_t e = gcs_resource(NULL, up->class_name, up->meta, up->nmeta, &j, err);

	gcs_crc_format(up->crc32c, crc);
	if (!e && (json_object_set_new(j, "size", json_integer((json_int_t)len)) ||
			  json_object_set_new(j, "crc32c", json_string(crc))))
		e = gcs_no_memory(err);
	e = e ? e : gcs_xml_put(g, c, up, j, p, len, &made, err);
	if (e)
		return e;
	if (gcs_stat_read(made, ret)) {
		if (ret->size == len && (!ret->has_crc32c || ret->crc32c == up->crc32c))
			return 0;
		store_stat_done(ret);
	}
	return err_set(err, -EBADMSG, ERR_UNKNOWN,
		"put of %s/%s: what is stored is not what was sent", up->o.bucket, up->o.key);
}

/* ---- sessions ---- */

struct session {
	struct gcs *g;
	const struct store_call *c;
	const struct gcs_up *up;
	const uint8_t *p;
	size_t len;
	char *url;     /* owned; whoever has it may write: a secret */
	size_t have;   /* bytes that have arrived */
	bool gone;     /* the session is, whatever became of it */
	unsigned idle; /* tries in a row that moved nothing */
};

/* What we are sent to must be where we asked. */
static bool same_origin(const char *endpoint, const char *url)
{
	const char *host = strstr(endpoint, "://");
	size_t n = host ? (size_t)(host - endpoint) + 3 + strcspn(host + 3, "/") : 0;

	return n && !strncmp(endpoint, url, n) && (url[n] == '/' || url[n] == '?');
}

static errint_t session_begin(struct session *s, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_json json_t *j = NULL;
	errint_t e = up_init(&r, s->g, s->c, s->up, "resumable", err);
	const char *url;

	e = e ? e : resource(s->up, &j, err);
	e = e ? e : gcs_req_body(&r, json_incref(j), err);
	(void)net_field_add(
		&r.fields, "X-Upload-Content-Type", s->up->type ? s->up->type : TYPE_DEFAULT);
	(void)net_field_addf(&r.fields, "X-Upload-Content-Length", "%zu", s->len);
	r.changes = false; /* a session that is not used does nothing */
	e = e ? e : gcs_req_run(&r, err);
	if (e) {
		if (err->kind == ERR_UNKNOWN)
			err->kind = ERR_RETRY;
		return e;
	}
	url = net_field_get(&r.a.fields, "location");
	if (!url || !same_origin(s->g->conf.endpoint, url))
		return gcs_req_bad(&r, err, "the session is not where it was asked for");
	s->url = strdup(url);
	return s->url ? 0 : gcs_no_memory(err);
}

/* "bytes=0-41" -> 42; without it nothing has arrived. */
static bool range_read(const struct gcs_req *r, size_t len, size_t *ret)
{
	const char *v = net_field_get(&r->a.fields, "range");
	unsigned long long last;
	char end;

	*ret = 0;
	if (!v)
		return true;
	if (sscanf(v, "bytes=0-%llu%c", &last, &end) != 1 || last >= len)
		return false;
	*ret = (size_t)last + 1;
	return true;
}

/* Sends what is missing, or, with ask, asks what there is. *ret_done: the object is written. */
static errint_t session_step(
	struct session *s, bool ask, bool *ret_done, struct store_stat *ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	size_t have;
	errint_t e;

	gcs_req_init(&r, s->g, s->c, "put", "PUT", "");
	buf_reset(&r.url);
	(void)buf_adds(&r.url, s->url);
	r.elsewhere = true;
	r.o = s->up->o;
	r.absent = !s->up->if_match && s->up->if_none_match;
	r.also = 308;
	if (ask) {
		(void)net_field_addf(&r.fields, "Content-Range", "bytes */%zu", s->len);
	} else {
		(void)net_field_addf(&r.fields, "Content-Range", "bytes %zu-%zu/%zu", s->have,
			s->len - 1, s->len);
		r.q.body = s->p + s->have;
		r.q.body_len = s->len - s->have;
	}
	e = gcs_req_run(&r, err);
	if (e && (err->http_status == 404 || err->http_status == 410)) {
		s->gone = true;
		e = err_set(err, -EIO, ERR_RETRY, "put of %s/%s: the session is gone",
			s->up->o.bucket, s->up->o.key);
	}
	if (e)
		return e;
	*ret_done = r.a.status != 308;
	if (*ret_done)
		return up_done(&r, s->up, s->len, ret, err);
	if (!range_read(&r, s->len, &have))
		return gcs_req_bad(&r, err, "the session says what cannot be");
	s->idle = have > s->have ? 0 : s->idle + 1;
	s->have = have;
	return 0;
}

/* Whether it is worth asking the session. */
static bool can_ask(const struct session *s, errint_t e, const struct err *err)
{
	bool damaged = e == -EBADMSG && err->http_status == 400; /* it has them all, and wrong */

	return !s->gone && !damaged && e != -ECANCELED &&
	       (err->kind == ERR_RETRY || err->kind == ERR_UNKNOWN || err->kind == ERR_THROTTLE);
}

static errint_t session_pause(struct session *s, unsigned after_ms, struct err *err)
{
	int64_t ns = MIN_OF(RESUME_NS << MIN_OF(s->idle, 6u), RESUME_NS_MAX);

	return call_sleep_until(
		s->c, clock_mono_ns() + MAX_OF(ns, (int64_t)after_ms * NS_PER_MS), err);
}

static errint_t session_run(struct session *s, struct store_stat *ret, struct err *err)
{
	bool done = false, ask = false, lost = false;

	for (;;) {
		errint_t e = session_step(s, ask, &done, ret, err), pause;
		struct err why;

		if (done)
			return e;
		lost = e && (lost || err->kind == ERR_UNKNOWN); /* an answer ends the doubt */
		s->idle += e != 0;
		if (!e && s->idle > RESUMES_MAX)
			return err_set(err, -EIO, ERR_RETRY,
				"put of %s/%s: the session takes no more bytes", s->up->o.bucket,
				s->up->o.key);
		if (e && (s->idle > RESUMES_MAX || !can_ask(s, e, err))) {
			if (lost)
				err->kind = ERR_UNKNOWN;
			return e;
		}
		pause = s->idle ? session_pause(s, e ? err->retry_after_ms : 0, &why) : 0;
		if (pause) {
			if (lost)
				why.kind = ERR_UNKNOWN;
			*err = why;
			return pause;
		}
		ask = e || s->have == s->len;
	}
}

errint_t gcs_up(struct gcs *g, const struct store_call *c, const struct gcs_up *up, const void *p,
	size_t len, struct store_stat *ret, struct err *err)
{
	struct session s = {.g = g, .c = c, .up = up, .p = p, .len = len};
	errint_t e = gcs_key_check(up->o.key, err);

	if (e || g->hmac)
		return e ? e : put_whole(g, c, up, p, len, ret, err);
	if (len <= (g->conf.insert_max ? g->conf.insert_max : INSERT_MAX))
		return insert(g, c, up, p, len, ret, err);
	e = session_begin(&s, err);
	e = e ? e : session_run(&s, ret, err);
	if (s.url)
		explicit_bzero(s.url, strlen(s.url));
	free(s.url);
	return e;
}
