/* SPDX-License-Identifier: MIT */
/*
 * One request to Blob Storage: its URL, what every request carries, its authorisation, and the one
 * place where the service's errors get a meaning.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "azblob_priv.h"
#include "xml.h"

#define SKEW_NS_MAX (60 * NS_PER_S) /* the service allows 15 minutes */

/* ---- building ---- */

void azblob_path(struct store_obj o, struct buf *ret)
{
	(void)buf_adds(ret, "/");
	if (o.bucket)
		(void)net_url_add(ret, o.bucket, "$");
	if (o.key) {
		(void)buf_adds(ret, "/");
		(void)net_url_add(ret, o.key, "/");
	}
}

void azblob_url(const struct azblob *d, struct store_obj o, struct buf *ret)
{
	(void)buf_adds(ret, d->conf.base);
	azblob_path(o, ret);
}

void azblob_req_init(const struct azblob *d, struct azblob_req *r, const char *op,
	const char *method, struct store_obj o)
{
	*r = (struct azblob_req){.op = op, .method = method, .o = o, .url = BUF_INIT(AZ_URL_MAX)};
	azblob_url(d, o, &r->url);
}

void azblob_req_done(struct azblob_req *r)
{
	buf_done(&r->url);
	net_fields_done(&r->f);
}

void azblob_if(struct net_fields *f, const char *if_match, const char *if_none_match)
{
	if (if_match)
		(void)net_field_addf(f, "If-Match", "\"%s\"", if_match);
	if (if_none_match)
		(void)net_field_add(f, "If-None-Match", if_none_match);
}

int64_t azblob_now_ns(const struct azblob *d)
{
	return clock_now_ns() + atomic_load(&d->skew_ns);
}

/* ---- errors ---- */

#define BY_METHOD ERR_NONE /* in the table: RETRY for reads, else UNKNOWN */

static const struct {
	const char *code;
	errint_t r;
	enum err_kind kind;
} codes[] = {
	{"BlobNotFound", -ENOENT, ERR_NOT_FOUND},
	{"ContainerNotFound", -ENOENT, ERR_NOT_FOUND},
	{"ResourceNotFound", -ENOENT, ERR_NOT_FOUND},
	{"BlobAlreadyExists", -EEXIST, ERR_STALE},
	{"ConditionNotMet", -ESTALE, ERR_STALE},
	{"SourceConditionNotMet", -ESTALE, ERR_STALE},
	{"TargetConditionNotMet", -ESTALE, ERR_STALE},
	{"BlobArchived", -EIO, ERR_ARCHIVED},
	{"BlobBeingRehydrated", -EIO, ERR_ARCHIVED},
	{"ContainerAlreadyExists", -EEXIST, ERR_FINAL},
	{"ContainerBeingDeleted", -EBUSY, ERR_RETRY},
	{"ContainerDisabled", -EPERM, ERR_FINAL},
	{"SnapshotsPresent", -EBUSY, ERR_FINAL},
	{"LeaseIdMissing", -EBUSY, ERR_RETRY}, /* somebody holds it, for a while as a rule */
	{"LeaseAlreadyPresent", -EBUSY, ERR_RETRY},
	{"PendingCopyOperation", -EBUSY, ERR_RETRY},
	{"InvalidBlobType", -EINVAL, ERR_FINAL},
	{"InvalidBlockList", -ENOENT, ERR_NOT_FOUND}, /* the blocks went: to be sent again */
	{"InvalidBlobOrBlock", -EBUSY, ERR_RETRY},    /* another's blocks, ids of another length */
	{"BlockCountExceedsLimit", -EFBIG, ERR_FINAL},
	{"Md5Mismatch", -EBADMSG, ERR_RETRY},
	{"Crc64Mismatch", -EBADMSG, ERR_RETRY},
	{"MetadataTooLarge", -E2BIG, ERR_FINAL},
	{"RequestBodyTooLarge", -EFBIG, ERR_FINAL},
	{"BlobImmutableDueToPolicy", -EPERM, ERR_FINAL},
	{"BlobImmutableDueToLegalHold", -EPERM, ERR_FINAL},
	{"DirectoryIsNotEmpty", -ENOTEMPTY, ERR_FINAL},
	{"ServerBusy", -EBUSY, ERR_THROTTLE},
	{"TooManyRequests", -EBUSY, ERR_THROTTLE},
	{"OperationTimedOut", -EIO, BY_METHOD},
	{"InternalError", -EIO, BY_METHOD},
	/* of the Data Lake interface */
	{"PathNotFound", -ENOENT, ERR_NOT_FOUND},
	{"SourcePathNotFound", -ENOENT, ERR_NOT_FOUND},
	{"FilesystemNotFound", -ENOENT, ERR_NOT_FOUND},
	{"PathAlreadyExists", -EEXIST, ERR_STALE},
	{"RenameDestinationParentPathNotFound", -EOPNOTSUPP, ERR_FINAL},
	{"SourcePathIsBeingDeleted", -EBUSY, ERR_RETRY},
	{"DestinationPathIsBeingDeleted", -EBUSY, ERR_RETRY},
};

static errint_t by_status(int status, bool azure, enum err_kind *kind)
{
	switch (status) {
	case 401:
	case 403:
	case 407:
		*kind = ERR_AUTH;
		return -EACCES;
	case 404:
		*kind = azure ? ERR_NOT_FOUND : ERR_FINAL;
		return azure ? -ENOENT : -EIO; /* something else than the service answered */
	case 400:
	case 416:
		*kind = ERR_FINAL;
		return -EINVAL;
	case 408:
		*kind = ERR_RETRY;
		return -EIO;
	case 412:
		*kind = ERR_STALE;
		return -ESTALE;
	case 429:
		*kind = ERR_THROTTLE;
		return -EBUSY;
	case 501:
		*kind = ERR_FINAL;
		return -EOPNOTSUPP;
	default:
		*kind = status >= 500 ? BY_METHOD : ERR_FINAL;
		return -EIO;
	}
}

/* The service's code and the first line of its explanation, from the fields or the body. */
static void explain(const struct net_answer *a, char *code, size_t size, struct buf *text)
{
	const char *head = net_field_get(&a->fields, "x-ms-error-code"), *s;
	cleanup_xml struct xml x = {0};

	snprintf(code, size, "%s", head ? head : "");
	if (!a->body.len || xml_parse(&x, a->body.p, a->body.len, "Error", NULL))
		return;
	s = xml_child_text(x.root, "Code");
	if (!code[0] && s)
		snprintf(code, size, "%s", s);
	s = xml_child_text(x.root, "Message");
	if (s)
		(void)buf_add(text, s, MIN_OF(strcspn(s, "\r\n"), (size_t)200));
}

errint_t azblob_error(const struct net_answer *a, bool reads, struct err *err)
{
	const char *id = net_field_get(&a->fields, "x-ms-request-id");
	cleanup_buf struct buf text = BUF_INIT(1024);
	enum err_kind kind;
	char code[64];
	errint_t r;

	explain(a, code, sizeof(code), &text);
	r = by_status(a->status, id || code[0], &kind);
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		if (strcmp(codes[i].code, code) != 0)
			continue;
		r = codes[i].r;
		kind = codes[i].kind;
	}
	if (kind == BY_METHOD)
		kind = reads ? ERR_RETRY : ERR_UNKNOWN;
	err_set(err, r, kind, "%d %s%s%s%s%s%s", a->status,
		code[0] ? code : "without an error code", text.len ? ": " : "",
		text.len ? text.p : "", id ? " (request " : "", id ? id : "", id ? ")" : "");
	if (err) {
		err->http_status = a->status;
		err->retry_after_ms = a->retry_after_ms;
		snprintf(err->code, sizeof(err->code), "%s", code);
		snprintf(err->request_id, sizeof(err->request_id), "%s", id ? id : "");
	}
	return r;
}

/* ---- sending ---- */

static bool reads(const struct azblob_req *r)
{
	return !strcmp(r->method, "GET") || !strcmp(r->method, "HEAD");
}

errint_t azblob_named(
	const struct azblob *d, const struct azblob_req *r, errint_t e, struct err *err)
{
	return err_wrap(err, e, "%s: %s%s%s%s%.200s", d->conf.name, r->op, r->o.bucket ? " " : "",
		r->o.bucket ? r->o.bucket : "", r->o.key ? "/" : "", r->o.key ? r->o.key : "");
}

static errint_t send_once(struct azblob *d, const struct store_call *c, struct azblob_req *r,
	struct net_answer *a, unsigned *ret_number, struct err *err)
{
	cleanup_buf struct buf url = BUF_INIT(AZ_URL_MAX * 2);
	struct net_fields f = {.failed = r->f.failed};
	char date[NET_DATE_LEN + 1];
	errint_t e;

	*a = (struct net_answer){0};
	net_date_format(azblob_now_ns(d), date);
	for (unsigned i = 0; i < r->f.n; i++)
		(void)net_field_add(&f, r->f.v[i].name, r->f.v[i].value);
	(void)net_field_add(&f, "x-ms-date", date);
	(void)net_field_add(&f, "x-ms-version", AZ_API_VERSION);
	(void)buf_add(&url, r->url.p, r->url.len);
	e = r->url.failed || url.failed || f.failed
		    ? err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request")
		    : azblob_cred_apply(
			      d->cred, c, r->method, &url, r->q.body_len, &f, ret_number, err);
	if (!e) {
		r->q.method = r->method;
		r->q.url = url.p;
		r->q.fields = &f;
		r->q.deadline_mono_ns = c->deadline_mono_ns;
		r->q.cancel = c->cancel;
		e = net_perform(d->net, &r->q, a, err);
	}
	net_fields_done(&f);
	if (url.p)
		explicit_bzero(url.p, url.len); /* a SAS is a secret */
	return e;
}

/* Whether a refusal was our token's or our clock's fault. */
static bool mended(struct azblob *d, const struct net_answer *a, unsigned number)
{
	int64_t off = a->skew_ns - atomic_load(&d->skew_ns);

	if (a->status == 401)
		return azblob_cred_refused(d->cred, number);
	if (a->status != 403 || !a->has_date || (off < SKEW_NS_MAX && off > -SKEW_NS_MAX))
		return false;
	atomic_store(&d->skew_ns, a->skew_ns);
	return true;
}

errint_t azblob_send(struct azblob *d, const struct store_call *c, struct azblob_req *r,
	struct net_answer *a, struct err *err)
{
	unsigned number = 0;
	errint_t e = send_once(d, c, r, a, &number, err);

	if (!e && a->status / 100 != 2 && mended(d, a, number)) {
		net_answer_done(a);
		e = send_once(d, c, r, a, &number, err);
	}
	if (!e && a->status / 100 != 2)
		e = azblob_error(a, reads(r), err);
	else if (!e && !net_field_get(&a->fields, "x-ms-request-id"))
		e = err_set(err, -EBADMSG, reads(r) ? ERR_RETRY : ERR_UNKNOWN,
			"the answer is not one of Azure Storage");
	return e ? azblob_named(d, r, e, err) : 0;
}

errint_t azblob_hns(struct azblob *d, const struct store_call *c, bool *ret, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	const char *v;
	errint_t e;

	*ret = atomic_load(&d->hns) == 1;
	if (atomic_load(&d->hns) >= 0)
		return 0;
	azblob_req_init(d, &r, "account", "HEAD", (struct store_obj){0});
	(void)net_url_param(&r.url, "restype", "account");
	(void)net_url_param(&r.url, "comp", "properties");
	e = azblob_send(d, c, &r, &a, err);
	v = e ? NULL : net_field_get(&a.fields, "x-ms-is-hns-enabled");
	*ret = v && !strcmp(v, "true");
	net_answer_done(&a);
	azblob_req_done(&r);
	/* Who may not ask has a flat one, as far as we know: told by hierarchical=. */
	if (e && err->kind != ERR_AUTH && err->kind != ERR_FINAL && err->kind != ERR_NOT_FOUND)
		return e;
	atomic_store(&d->hns, *ret);
	err_clear(err);
	return 0;
}
