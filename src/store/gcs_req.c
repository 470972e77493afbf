/* SPDX-License-Identifier: MIT */
/*
 * One request to the JSON API (or the XML API: gcs_xml.c): its address, the identity it goes out
 * with, its answer, and the one place that says what an error of Google's means.
 *
 * A request that changes something and was answered by 5xx or 408 may have been done: ERR_UNKNOWN.
 * 429 and 503 are Google's "not now", sent before anything is done.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "gcs_priv.h"

errint_t gcs_no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

bool gcs_gen_ok(const char *s)
{
	size_t n = strspn(s, "0123456789");

	/* "0" would mean that the object must not exist */
	return n && n <= GCS_GEN_MAX && !s[n] && s[0] != '0';
}

errint_t gcs_key_check(const char *key, struct err *err)
{
	json_t *text = json_string(key); /* NULL for what is not UTF-8 */
	bool utf8 = text;

	json_decref(text);
	if (utf8 && !strpbrk(key, "\r\n") && strcmp(key, ".") != 0 && strcmp(key, "..") != 0)
		return 0;
	return err_set(err, -EILSEQ, ERR_FINAL,
		"Google takes no such key: it must be UTF-8 without line ends, and not '.' or "
		"'..'");
}

/* ---- making ---- */

void gcs_req_init(struct gcs_req *r, struct gcs *g, const struct store_call *c, const char *what,
	const char *method, const char *root)
{
	*r = (struct gcs_req){.g = g,
		.c = c,
		.what = what,
		.url = BUF_INIT(GCS_URL_MAX),
		.q = {.method = method, .body_max = GCS_BODY_MAX},
		.changes = strcmp(method, "GET") != 0};
	(void)buf_adds(&r->url, g->conf.endpoint);
	(void)buf_adds(&r->url, root);
}

void gcs_req_done(struct gcs_req *r)
{
	json_decref(r->json);
	net_answer_done(&r->a);
	net_fields_done(&r->fields);
	free(r->body);
	buf_done(&r->url);
}

void gcs_req_bucket(struct gcs_req *r, const char *bucket)
{
	r->o = (struct store_obj){bucket, NULL};
	(void)buf_adds(&r->url, "/b/");
	(void)net_url_add(&r->url, bucket, "");
}

void gcs_req_obj(struct gcs_req *r, struct store_obj o)
{
	gcs_req_bucket(r, o.bucket);
	r->o = o;
	(void)buf_adds(&r->url, "/o/");
	(void)net_url_add(&r->url, o.key, "");
}

void gcs_req_param(struct gcs_req *r, const char *name, const char *value)
{
	(void)net_url_param(&r->url, name, value);
}

errint_t gcs_req_cond(struct gcs_req *r, const char *name, const char *if_match,
	const char *if_none_match, struct err *err)
{
	if (if_match && !gcs_gen_ok(if_match))
		return err_set(err, -ESTALE, ERR_STALE, "%s/%s is not version '%.40s'", r->o.bucket,
			r->o.key, if_match);
	if ((if_match || if_none_match) && r->xml)
		(void)net_field_add(
			&r->fields, "x-goog-if-generation-match", if_match ? if_match : "0");
	else if (if_match || if_none_match)
		gcs_req_param(r, name, if_match ? if_match : "0");
	r->absent |= !if_match && if_none_match;
	return 0;
}

errint_t gcs_req_body(struct gcs_req *r, json_t *body, struct err *err)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	if (!text)
		return gcs_no_memory(err);
	assert(!r->q.body);
	r->q.body = r->body = text;
	r->q.body_len = strlen(text);
	(void)net_field_add(&r->fields, "Content-Type", "application/json");
	return 0;
}

/* ---- errors ---- */

struct meaning {
	int status;
	const char *reason; /* NULL = any */
	errint_t r;
	enum err_kind kind, lost; /* lost: of a request that changes something */
};

static const struct meaning meanings[] = {
	{400, NULL, -EINVAL, ERR_FINAL, ERR_FINAL},
	{401, NULL, -EACCES, ERR_AUTH, ERR_AUTH},
	{403, "rateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
	{403, "userRateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
	{403, "quotaExceeded", -EDQUOT, ERR_FINAL, ERR_FINAL},
	{403, "dailyLimitExceeded", -EDQUOT, ERR_FINAL, ERR_FINAL},
	{403, "retentionPolicyNotMet", -EPERM, ERR_FINAL, ERR_FINAL},
	{403, "objectUnderActiveHold", -EPERM, ERR_FINAL, ERR_FINAL},
	{403, "objectUnderRetention", -EPERM, ERR_FINAL, ERR_FINAL},
	{403, NULL, -EACCES, ERR_AUTH, ERR_AUTH},
	{404, NULL, -ENOENT, ERR_NOT_FOUND, ERR_NOT_FOUND},
	{408, NULL, -ETIMEDOUT, ERR_RETRY, ERR_UNKNOWN},
	{409, NULL, -EEXIST, ERR_FINAL, ERR_FINAL},
	{410, NULL, -EIO, ERR_RETRY, ERR_RETRY}, /* a token or session is too old: anew */
	{411, NULL, -EIO, ERR_FINAL, ERR_FINAL},
	{412, NULL, -ESTALE, ERR_STALE, ERR_STALE},
	{413, NULL, -EFBIG, ERR_FINAL, ERR_FINAL},
	{416, NULL, -EINVAL, ERR_FINAL, ERR_FINAL},
	{429, NULL, -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
	{501, NULL, -EOPNOTSUPP, ERR_FINAL, ERR_FINAL},
	{503, "rateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
	{503, "SlowDown", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
	{503, NULL, -EIO, ERR_RETRY, ERR_RETRY},
};

static struct meaning meaning_of(const struct gcs_req *r, const char *reason, const char *text)
{
	static const struct meaning server = {0, NULL, -EIO, ERR_RETRY, ERR_UNKNOWN};
	static const struct meaning damaged = {0, NULL, -EBADMSG, ERR_RETRY, ERR_RETRY};
	static const struct meaning other = {0, NULL, -EIO, ERR_FINAL, ERR_FINAL};
	int status = r->a.status;

	/* The bytes that arrived are not those that were announced. */
	if (status == 400 &&
		(strstr(text, "CRC32C") || strstr(text, "MD5") || strstr(text, "crc32c") ||
			strstr(text, "md5") || !strcmp(reason, "BadDigest") ||
			!strcmp(reason, "IncompleteBody")))
		return damaged;
	for (unsigned i = 0; i < ARRAY_SIZE(meanings); i++)
		if (meanings[i].status == status &&
			(!meanings[i].reason || !strcmp(meanings[i].reason, reason)))
			return meanings[i];
	return status / 100 == 5 ? server : other;
}

/* "Google said so": the answer's error, as a whole. */
static errint_t failed(struct gcs_req *r, struct err *err)
{
	cleanup_json json_t *j =
		r->a.body.len && !r->xml ? json_loadb(r->a.body.p, r->a.body.len, 0, NULL) : NULL;
	json_t *e = json_object_get(j, "error");
	const char *reason = json_string_value(
		json_object_get(json_array_get(json_object_get(e, "errors"), 0), "reason"));
	const char *text = json_string_value(json_object_get(e, "message"));
	const char *id = net_field_get(&r->a.fields, "x-guploader-uploadid");
	char xml_reason[64], xml_text[200];
	struct meaning m;

	/* Uploads answer some errors as bare text. */
	text = text ? text : !j && r->a.body.len ? r->a.body.p : "";
	if (r->xml) {
		gcs_xml_error(&r->a, xml_reason, xml_text, sizeof(xml_text), text);
		reason = xml_reason;
		text = xml_text;
	}
	reason = reason ? reason : "";
	m = meaning_of(r, reason, text);
	if (m.kind == ERR_STALE && r->absent)
		m.r = -EEXIST;
	if (r->a.status == 409 && r->o.key) /* somebody changes it at the same time */
		m = (struct meaning){409, NULL, -EBUSY, ERR_RETRY, ERR_RETRY};
	(void)err_set(err, m.r, r->changes ? m.lost : m.kind,
		"%s of %s%s%s: HTTP %d%s%.60s%s%.160s", r->what,
		r->o.bucket ? r->o.bucket : "the project", r->o.key ? "/" : "",
		r->o.key ? r->o.key : "", r->a.status, reason[0] ? ", " : "", reason,
		text[0] ? ": " : "", text);
	if (!err)
		return m.r;
	err->http_status = r->a.status;
	err->retry_after_ms = r->a.retry_after_ms;
	(void)snprintf(err->code, sizeof(err->code), "%.60s", reason);
	(void)snprintf(err->request_id, sizeof(err->request_id), "%.79s", id ? id : "");
	return m.r;
}

errint_t gcs_req_bad(struct gcs_req *r, struct err *err, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	(void)err_set(err, -EBADMSG, r->changes ? ERR_UNKNOWN : ERR_RETRY, "%s of %s%s%s: %s",
		r->what, r->o.bucket ? r->o.bucket : "the project", r->o.key ? "/" : "",
		r->o.key ? r->o.key : "", why);
	if (err)
		err->http_status = r->a.status;
	return -EBADMSG;
}

/* ---- sending ---- */

/* Who asks, in one try. */
struct who {
	struct gcs_token token;
	char access[132]; /* of the HMAC key; "" = none */
};

/* The fields of one try: those of the request and the identity. */
static errint_t fields_make(
	struct gcs_req *r, struct net_fields *f, struct who *who, struct err *err)
{
	struct gcs *g = r->g;
	struct gcs_token *t = &who->token;
	errint_t e = 0;

	for (unsigned i = 0; i < r->fields.n; i++)
		(void)net_field_add(f, r->fields.v[i].name, r->fields.v[i].value);
	if (r->xml && g->hmac && !f->failed)
		e = gcs_xml_sign(r, f, who->access, err);
	/* Objects stored compressed come as they are stored, so that sizes are true. Not signed:
	 * it is changed on the way. */
	if (r->q.into || !strcmp(r->q.method, "HEAD"))
		(void)net_field_add(f, "Accept-Encoding", "gzip");
	if (g->cred) {
		e = gcs_cred_get(g->cred, r->c->deadline_mono_ns, r->c->cancel, t, err);
		if (!e)
			(void)net_field_addf(f, "Authorization", "Bearer %s", t->value);
	}
	if (!e && (f->failed || r->fields.failed || r->url.failed))
		e = gcs_no_memory(err);
	return e;
}

static errint_t attempt(struct gcs_req *r, struct who *who, struct err *err)
{
	struct net_fields f = {0};
	errint_t e = fields_make(r, &f, who, err);

	if (!e) {
		struct net_req q = r->q;

		q.url = r->url.p;
		q.fields = &f;
		q.deadline_mono_ns = r->c->deadline_mono_ns;
		q.cancel = r->c->cancel;
		net_answer_done(&r->a);
		e = net_perform(r->g->net, &q, &r->a, err);
		if (e && err->kind != ERR_STALE)
			e = err_wrap(err, e, "%s of %s%s%s", r->what,
				r->o.bucket ? r->o.bucket : "the project", r->o.key ? "/" : "",
				r->o.key ? r->o.key : "");
	}
	net_fields_done(&f);
	return e;
}

errint_t gcs_req_run(struct gcs_req *r, struct err *err)
{
	struct who who = {0};
	errint_t e;

	if (r->xml && r->np) {
		(void)buf_adds(&r->url, "?");
		if (!r->url.failed)
			r->url.failed = sigv4_query(&r->url, r->p, r->np);
	} else if (!r->xml && r->g->conf.user_project && !r->elsewhere) {
		gcs_req_param(r, "userProject", r->g->conf.user_project);
	}
	e = r->url.failed ? gcs_no_memory(err) : attempt(r, &who, err);
	if (!e && r->a.status == 401 && r->g->cred) { /* too old, or taken back */
		gcs_cred_refused(r->g->cred, who.token.value);
		e = attempt(r, &who, err);
	}
	/* Once for each reason there is. */
	for (unsigned i = 0; !e && r->g->hmac && i < 2 && gcs_xml_mend(r, who.access); i++)
		e = attempt(r, &who, err);
	gcs_token_wipe(&who.token);
	if (e)
		return e;
	if (r->a.status / 100 != 2)
		return r->a.status == r->also ? 0 : failed(r, err);
	/* What follows "it is gone" is no concern of ours. */
	if (!r->xml && !r->q.into && r->a.body.len && strcmp(r->q.method, "DELETE") != 0) {
		r->json = json_loadb(r->a.body.p, r->a.body.len, 0, NULL);
		if (!r->json)
			return gcs_req_bad(r, err, "the answer is not JSON");
	}
	return 0;
}
