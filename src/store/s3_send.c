/* SPDX-License-Identifier: MIT */
/*
 * One request to S3: where it goes, its signature, and what its answer means.
 *
 * Some refusals say how to do it right: another region, a clock that is wrong, a key that has
 * expired. Then the request is signed anew and sent again, once for each reason: such a refusal
 * means that nothing was done. All other repeating is the retry layer's.
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

#define URL_MAX	      (16u << 10)
#define EXPECT_BYTES  (1u << 20)
#define SLOW_STALL_NS (600 * NS_PER_S)
#define SKEW_NS	      (240 * NS_PER_S) /* what S3 bears is 15 minutes */
#define TRIED_REGION  1u
#define TRIED_SKEW    2u
#define TRIED_KEY     4u
#define EMPTY_SHA256  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

void s3_param(struct s3_req *q, const char *name, const char *value)
{
	assert(q->nq < S3_PARAMS);
	q->q[q->nq++] = (struct sigv4_param){name, value};
}

void s3_req_done(struct s3_req *q)
{
	net_fields_done(&q->fields);
}

/* ---- where ---- */

static void region_of(struct s3 *d, const char *bucket, char ret[64])
{
	memcpy(ret, d->conf.region, sizeof(d->conf.region));
	if (!bucket)
		return;
	LOCKED(&d->lock);
	for (unsigned i = 0; i < S3_REGIONS; i++)
		if (!strcmp(d->shared.place[i].bucket, bucket))
			memcpy(ret, d->shared.place[i].region, 64);
}

static void region_learn(struct s3 *d, const char *bucket, const char *region)
{
	unsigned at;

	LOCKED(&d->lock);
	at = d->shared.next;
	for (unsigned i = 0; i < S3_REGIONS; i++)
		if (!strcmp(d->shared.place[i].bucket, bucket))
			at = i;
	if (at == d->shared.next)
		d->shared.next = (at + 1) % S3_REGIONS;
	snprintf(d->shared.place[at].bucket, 64, "%s", bucket);
	snprintf(d->shared.place[at].region, 64, "%s", region);
}

static bool tls_used(const struct s3 *d)
{
	return !d->conf.endpoint.host[0] || d->conf.endpoint.tls;
}

/* Whether the bucket can be a label of a host name that the certificate covers. */
static bool host_style(const struct s3 *d, const char *bucket)
{
	size_t n = strlen(bucket);

	if (d->conf.style == S3_STYLE_PATH ||
		(d->conf.style == S3_STYLE_AUTO && d->conf.endpoint.host[0]))
		return false;
	return n >= 3 && n <= 63 && (!tls_used(d) || !strchr(bucket, '.')) &&
	       strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-.") == n;
}

static bool region_ok(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(s);
}

struct place {
	struct buf host, path, url;
	char region[64];
};

static void place_done(struct place *p)
{
	buf_done(&p->host);
	buf_done(&p->path);
	buf_done(&p->url);
}

/* host, encoded path, and both with the scheme and the query as URL. */
static errint_t place_make(struct s3 *d, const struct s3_req *q, struct place *p)
{
	bool in_host = q->bucket && host_style(d, q->bucket);

	region_of(d, q->bucket, p->region);
	if (in_host)
		(void)buf_addf(&p->host, "%s.", q->bucket);
	if (!d->conf.endpoint.host[0])
		(void)buf_addf(&p->host, "s3.%s%s.amazonaws.com%s",
			d->conf.dualstack ? "dualstack." : "", p->region,
			!strncmp(p->region, "cn-", 3) ? ".cn" : "");
	else
		(void)net_url_host(&p->host, &d->conf.endpoint);
	(void)buf_addf(&p->path, "%s/", d->conf.endpoint.path);
	if (q->bucket && !in_host) {
		(void)net_url_add(&p->path, q->bucket, "");
		(void)buf_adds(&p->path, q->key ? "/" : "");
	}
	if (q->key)
		(void)net_url_add(&p->path, q->key, "/");
	(void)buf_addf(&p->url, "%s://%s%s%s", tls_used(d) ? "https" : "http", p->host.p, p->path.p,
		q->nq ? "?" : "");
	if (p->host.failed || p->path.failed)
		return p->host.failed ? p->host.failed : p->path.failed;
	return sigv4_query(&p->url, q->q, q->nq);
}

/* ---- sending ---- */

/* The bytes of objects have a checksum of their own, which is against accidents; what else goes is
 * short. Over TLS, and to this machine itself, nobody is on the way who could change both. */
static bool is_hashed(const struct s3 *d, const struct s3_req *q)
{
	if (!q->data || d->conf.payload == S3_PAYLOAD_SIGNED)
		return true;
	return d->conf.payload == S3_PAYLOAD_AUTO && !tls_used(d) && !d->stays_here;
}

static void payload_of(const struct s3 *d, const struct s3_req *q, char ret[65])
{
	uint8_t hash[32];

	if (!q->body_len) {
		memcpy(ret, EMPTY_SHA256, 65);
	} else if (is_hashed(d, q)) {
		sha256(q->body, q->body_len, hash);
		hex_encode(hash, sizeof(hash), ret);
	} else {
		memcpy(ret, SIGV4_UNSIGNED, sizeof(SIGV4_UNSIGNED));
	}
}

static errint_t fields_copy(struct net_fields *to, const struct net_fields *from)
{
	for (unsigned i = 0; i < from->n; i++)
		(void)net_field_add(to, from->v[i].name, from->v[i].value);
	return from->failed ? from->failed : to->failed;
}

/* The request's fields and the signature over them. access: of the key that was used. */
static errint_t sign(struct s3 *d, const struct s3_req *q, const struct place *p,
	struct net_fields *f, char access[132], struct err *err)
{
	cleanup_aws_key struct aws_key key = {0};
	char payload[65];
	errint_t r = fields_copy(f, &q->fields);

	access[0] = 0;
	s3_fields_payer(d, f);
	if (!d->cred || r)
		return r ? err_set(err, r, ERR_RETRY, "%s: no memory", q->what) : 0;
	r = aws_cred_get(d->cred, q->c->deadline_mono_ns, &key, err);
	if (r)
		return r;
	memcpy(access, key.access, sizeof(key.access));
	payload_of(d, q, payload);
	(void)net_field_add(f, "x-amz-content-sha256", payload);
	r = sigv4_sign(&(struct sigv4_key){key.access, key.secret, key.token, p->region, "s3"},
		&(struct sigv4_request){.method = q->method,
			.host = p->host.p,
			.path = p->path.p,
			.params = q->q,
			.nparams = q->nq,
			.payload = payload,
			.now_ns = clock_now_ns() + atomic_load(&d->skew_ns)},
		f, NULL);
	return r ? err_set(err, r, r == -ENOMEM ? ERR_RETRY : ERR_FINAL,
			   "%s: the request cannot be signed", q->what)
		 : 0;
}

static errint_t send_once(struct s3 *d, const struct s3_req *q, struct place *p, char access[132],
	struct net_answer *a, struct err *err)
{
	struct net_fields f = {0};
	errint_t r = place_make(d, q, p);

	*a = (struct net_answer){0};
	if (r)
		return err_set(err, r, r == -ENOMEM ? ERR_RETRY : ERR_FINAL,
			"%s: the request is too long", q->what);
	r = sign(d, q, p, &f, access, err);
	if (!r) {
		struct net_req n = {.method = q->method,
			.url = p->url.p,
			.fields = &f,
			.body = q->body,
			.body_len = q->body_len,
			.expect = d->conf.aws && q->body_len >= EXPECT_BYTES,
			.into = q->into,
			.into_max = q->into_max,
			.accept = q->accept,
			.filled = q->filled,
			.take = q->take,
			.arg = q->arg,
			.body_max = q->body_max,
			.deadline_mono_ns = q->c->deadline_mono_ns,
			.cancel = q->c->cancel,
			.stall_ns = q->slow ? SLOW_STALL_NS : 0};

		r = net_perform(d->net, &n, a, err);
		if (r)
			err_wrap(err, r, "%s: %s %s%s%s", d->conf.name, q->what,
				q->bucket ? q->bucket : "", q->key ? "/" : "",
				q->key ? q->key : "");
		else if (a->status / 100 == 2 && atomic_load(&d->recalled))
			s3_look_server(d, a);
	}
	net_fields_done(&f);
	return r;
}

/* ---- what mends itself ---- */

static bool code_is(const struct err *err, const char *const *codes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(err->code, codes[i]))
			return true;
	return false;
}

/* An answer to HEAD has no body to say why. */
static bool mute(const struct s3_req *q, const struct net_answer *a)
{
	return !strcmp(q->method, "HEAD") && (a->status == 400 || a->status == 403);
}

static bool mend_region(
	struct s3 *d, const struct s3_req *q, const struct place *p, const struct net_answer *a)
{
	const char *region = net_field_get(&a->fields, "x-amz-bucket-region");
	cleanup_xml struct xml x = {0};

	if (!q->bucket ||
		!(a->status == 301 || a->status == 307 || a->status == 400 || a->status == 403))
		return false;
	if (!region && !xml_parse(&x, a->body.p ? a->body.p : "", a->body.len, "Error", NULL))
		region = xml_child_text(x.root, "Region");
	if (!region || !region_ok(region) || strlen(region) > 63 || !strcmp(region, p->region) ||
		strlen(q->bucket) > 63)
		return false;
	region_learn(d, q->bucket, region);
	return true;
}

static bool mend_skew(
	struct s3 *d, const struct s3_req *q, const struct net_answer *a, const struct err *err)
{
	int64_t off = a->skew_ns - atomic_load(&d->skew_ns);

	if (!a->has_date || !(!strcmp(err->code, "RequestTimeTooSkewed") ||
				    (mute(q, a) && (off > SKEW_NS || off < -SKEW_NS))))
		return false;
	atomic_store(&d->skew_ns, a->skew_ns);
	return true;
}

static bool mend_key(struct s3 *d, const struct s3_req *q, const struct net_answer *a,
	const struct err *err, const char *access)
{
	static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException", "InvalidToken",
		"TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch"};

	bool sure = code_is(err, codes, ARRAY_SIZE(codes));

	return d->cred && (sure || mute(q, a)) && aws_cred_refused(d->cred, access, sure);
}

static bool mend(struct s3 *d, const struct s3_req *q, const struct place *p,
	const struct net_answer *a, const struct err *err, const char *access, unsigned *tried)
{
	if (!(*tried & TRIED_SKEW) && mend_skew(d, q, a, err)) {
		*tried |= TRIED_SKEW;
		return true;
	}
	if (!(*tried & TRIED_REGION) && mend_region(d, q, p, a)) {
		*tried |= TRIED_REGION;
		return true;
	}
	if (!(*tried & TRIED_KEY) && mend_key(d, q, a, err, access)) {
		*tried |= TRIED_KEY;
		return true;
	}
	return false;
}

errint_t s3_send(struct s3 *d, struct s3_req *q, struct net_answer *a, struct err *err)
{
	unsigned tried = 0;

	*a = (struct net_answer){0};
	if (q->key && !xml_utf8(q->key))
		return err_set(err, -EILSEQ, ERR_FINAL, "%s: a key on S3 must be UTF-8", q->what);

	for (;;) {
		struct place p = {.host = BUF_INIT(1024),
			.path = BUF_INIT(URL_MAX),
			.url = BUF_INIT(URL_MAX)};
		char access[132];
		errint_t r = send_once(d, q, &p, access, a, err);
		bool again = false;

		if (!r && a->status / 100 != 2) {
			r = s3_error(d, q, a, err);
			again = mend(d, q, &p, a, err, access, &tried);
		}
		place_done(&p);
		if (!again)
			return r;
		net_answer_done(a);
		err_clear(err);
	}
}

errint_t s3_send_only(struct s3 *d, struct s3_req *q, struct err *err)
{
	struct net_answer a;
	errint_t r = s3_send(d, q, &a, err);

	net_answer_done(&a);
	s3_req_done(q);
	return r;
}

/* ---- errors ---- */

/* ERR_NONE: a reading request may be repeated, of another it is not known what it did. */
static const struct {
	const char *code;
	errint_t r;
	enum err_kind kind;
} codes[] = {
	{"NoSuchKey", -ENOENT, ERR_NOT_FOUND},
	{"NoSuchBucket", -ENOENT, ERR_NOT_FOUND},
	{"NoSuchUpload", -ENOENT, ERR_NOT_FOUND},
	{"NoSuchVersion", -ENOENT, ERR_NOT_FOUND},
	{"NoSuchLifecycleConfiguration", -ENOENT, ERR_NOT_FOUND},
	{"NoSuchTagSet", -ENOENT, ERR_NOT_FOUND},
	{"NotFound", -ENOENT, ERR_NOT_FOUND},
	{"AccessDenied", -EACCES, ERR_AUTH},
	{"AllAccessDisabled", -EACCES, ERR_AUTH},
	{"AccountProblem", -EACCES, ERR_AUTH},
	{"InvalidAccessKeyId", -EACCES, ERR_AUTH},
	{"XAdminUserNotFound", -EACCES, ERR_AUTH},
	{"SignatureDoesNotMatch", -EACCES, ERR_AUTH},
	{"AuthorizationHeaderMalformed", -EACCES, ERR_AUTH},
	{"RequestTimeTooSkewed", -EACCES, ERR_AUTH},
	{"ExpiredToken", -EACCES, ERR_AUTH},
	{"InvalidToken", -EACCES, ERR_AUTH},
	{"TokenRefreshRequired", -EACCES, ERR_AUTH},
	{"PreconditionFailed", -ESTALE, ERR_STALE},
	{"ConditionalRequestConflict", -EAGAIN, ERR_RETRY},
	{"OperationAborted", -EAGAIN, ERR_RETRY},
	{"SlowDown", -EAGAIN, ERR_THROTTLE},
	{"SlowDownRead", -EAGAIN, ERR_THROTTLE},
	{"SlowDownWrite", -EAGAIN, ERR_THROTTLE},
	{"ServiceUnavailable", -EAGAIN, ERR_THROTTLE},
	{"RequestLimitExceeded", -EAGAIN, ERR_THROTTLE},
	{"Throttling", -EAGAIN, ERR_THROTTLE},
	{"TooManyRequests", -EAGAIN, ERR_THROTTLE},
	{"RequestTimeout", -ETIMEDOUT, ERR_RETRY},
	{"IncompleteBody", -EIO, ERR_RETRY},
	{"BadDigest", -EBADMSG, ERR_RETRY},
	{"XAmzContentSHA256Mismatch", -EBADMSG, ERR_RETRY},
	{"XAmzContentChecksumMismatch", -EBADMSG, ERR_RETRY},
	{"InvalidObjectState", -EIO, ERR_ARCHIVED},
	{"ObjectNotInActiveTierError", -EIO, ERR_ARCHIVED},
	{"InvalidStorageClass", -EINVAL, ERR_FINAL},
	{"InvalidBucketName", -EINVAL, ERR_FINAL},
	{"EntityTooLarge", -EFBIG, ERR_FINAL},
	{"MetadataTooLarge", -E2BIG, ERR_FINAL},
	{"KeyTooLongError", -ENAMETOOLONG, ERR_FINAL},
	{"KeyTooLong", -ENAMETOOLONG, ERR_FINAL},
	{"BucketNotEmpty", -ENOTEMPTY, ERR_FINAL},
	{"ErrDirectoryNotEmpty", -ENOTEMPTY, ERR_FINAL}, /* versitygw, with 400 */
	{"DirectoryNotEmpty", -ENOTEMPTY, ERR_FINAL},
	/* no place for an object, there or above it: versitygw; SeaweedFS; MinIO */
	{"ExistingObjectIsDirectory", -EISDIR, ERR_FINAL},
	{"ObjectParentIsFile", -ENOTDIR, ERR_FINAL},
	{"ExistingObjectIsFile", -ENOTDIR, ERR_FINAL},
	{"XMinioObjectExistsAsDirectory", -EISDIR, ERR_FINAL},
	{"XMinioParentIsObject", -ENOTDIR, ERR_FINAL},
	{"BucketAlreadyExists", -EEXIST, ERR_FINAL},
	{"BucketAlreadyOwnedByYou", -EEXIST, ERR_FINAL},
	{"NotImplemented", -EOPNOTSUPP, ERR_FINAL},
	{"MethodNotAllowed", -EOPNOTSUPP, ERR_FINAL},
	{"QuotaExceeded", -ENOSPC, ERR_FINAL},
	{"InternalError", -EIO, ERR_NONE},
};

static bool changes(const struct s3_req *q)
{
	return strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0;
}

static enum err_kind kind_lost(const struct s3_req *q)
{
	return changes(q) ? ERR_UNKNOWN : ERR_RETRY;
}

errint_t s3_bad(const struct s3_req *q, struct err *err, const char *what)
{
	return err_set(err, -EBADMSG, kind_lost(q), "%s %s%s%s: %s", q->what,
		q->bucket ? q->bucket : "", q->key ? "/" : "", q->key ? q->key : "", what);
}

/* Gateways over a file system have the marker of a directory as that directory. */
static bool removes_marker(const struct s3_req *q)
{
	size_t len = q->key ? strlen(q->key) : 0;

	return !strcmp(q->method, "DELETE") && !q->nq && len && q->key[len - 1] == '/';
}

/* Of answers that carry no code that we know. */
static errint_t by_status(const struct s3_req *q, int status, bool s3, enum err_kind *kind)
{
	switch (status) {
	case 404:
		/* Not there, says S3; what a proxy or a portal says is no knowledge. */
		*kind = s3 ? ERR_NOT_FOUND : ERR_RETRY;
		return s3 ? -ENOENT : -EIO;
	case 401:
	case 403:
		*kind = ERR_AUTH;
		return -EACCES;
	case 405:
	case 501:
		*kind = ERR_FINAL;
		return -EOPNOTSUPP;
	case 408:
		*kind = ERR_RETRY;
		return -ETIMEDOUT;
	case 409:
		*kind = removes_marker(q) ? ERR_FINAL : ERR_RETRY;
		return removes_marker(q) ? -ENOTEMPTY : -EAGAIN;
	case 412:
		*kind = ERR_STALE;
		return -ESTALE;
	case 429:
	case 503:
		*kind = ERR_THROTTLE;
		return -EAGAIN;
	case 507:
		*kind = ERR_FINAL;
		return -ENOSPC;
	default:
		*kind = status / 100 == 4 ? ERR_FINAL : kind_lost(q);
		if (status / 100 == 3)
			*kind = ERR_FINAL; /* we go nowhere else */
		return status == 400 ? -EINVAL : -EIO;
	}
}

errint_t s3_error(
	const struct s3 *d, const struct s3_req *q, const struct net_answer *a, struct err *err)
{
	const char *id = net_field_get(&a->fields, "x-amz-request-id"), *code, *text;
	const char *type = net_field_get(&a->fields, "content-type");
	int status = a->status / 100 == 2 ? 500 : a->status;
	cleanup_xml struct xml x = {0};
	enum err_kind kind;
	bool head = !strcmp(q->method, "HEAD");
	errint_t r;

	(void)xml_parse(&x, a->body.p ? a->body.p : "", a->body.len, "Error", NULL);
	code = xml_child_text(x.root, "Code");
	text = xml_child_text(x.root, "Message");
	if (!id)
		id = xml_child_text(x.root, "RequestId");
	r = by_status(q, status, code || (head && !(type && strstr(type, "html"))), &kind);
	for (size_t i = 0; code && i < ARRAY_SIZE(codes); i++) {
		if (!strcmp(codes[i].code, code)) {
			r = codes[i].r;
			kind = codes[i].kind == ERR_NONE ? kind_lost(q) : codes[i].kind;
		}
	}
	err_set(err, r, kind, "%s: %s %s%s%s: %d %s%s%s%s%s", d->conf.name, q->what,
		q->bucket ? q->bucket : "", q->key ? "/" : "", q->key ? q->key : "", a->status,
		code ? code : strerror(-r), text ? ": " : "", text ? text : "",
		id ? ", request " : "", id ? id : "");
	err->http_status = a->status;
	err->retry_after_ms = a->retry_after_ms;
	snprintf(err->code, sizeof(err->code), "%s", code ? code : "");
	snprintf(err->request_id, sizeof(err->request_id), "%s", id ? id : "");
	return r;
}

errint_t s3_xml(const struct s3 *d, const struct s3_req *q, const struct net_answer *a,
	const char *root, struct xml *ret, struct err *err)
{
	struct err why;
	errint_t r = xml_parse(ret, a->body.p ? a->body.p : "", a->body.len, NULL, &why);

	if (!r && !strcmp(xml_name(ret->root), "Error")) {
		xml_done(ret);
		return s3_error(d, q, a, err);
	}
	if (!r && (!root || !strcmp(xml_name(ret->root), root)))
		return 0;
	xml_done(ret);
	if (!r)
		return s3_bad(q, err, "the answer is another document than was expected");
	return s3_bad(q, err, why.msg);
}
