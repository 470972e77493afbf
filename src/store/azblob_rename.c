/* SPDX-License-Identifier: MIT */
/*
 * Renames in an account with a hierarchical name space, where a name is an entry of a directory:
 * Path - Create of the Data Lake Storage Gen2 REST reference with x-ms-rename-source, at a host of
 * its own. Properties and metadata stay as long as the request names none.
 *
 * That reference does not say that the ETag stays; others rely on it to recognise a rename whose
 * answer was lost (Hadoop's ABFS client, HADOOP-18012), and it is looked at after each one: what
 * is at the destination and has another is not taken for the source.
 *
 * The host may be out of reach, or closed to these credentials, where that of blobs is not (private
 * endpoints, a SAS without the permission). All of that is "not supported", for a while.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "azblob_priv.h"

#define OFF_NS (300 * NS_PER_S)

static errint_t unsupported(struct err *err)
{
	if (err)
		err->kind = ERR_FINAL;
	return -EOPNOTSUPP;
}

/* Nothing was done: whether a copy may do what this did not. */
static bool may_copy(const struct err *err, errint_t r, bool *ret_off)
{
	int status = err->http_status;

	*ret_off = err->kind == ERR_AUTH || (err->kind == ERR_CANCELLED && r == -ETIMEDOUT) ||
		   (err->kind == ERR_RETRY && !status && r != -ENOMEM && r != -ECANCELED);
	return *ret_off || (err->kind == ERR_FINAL && status / 100 == 4) || r == -EOPNOTSUPP;
}

static errint_t refused(
	struct azblob *d, const struct store_rename *opt, errint_t r, struct err *err)
{
	bool off = false;

	/* Of the destination alone: the source's has a code of its own. */
	if (r == -ESTALE && opt->dst_if_none_match &&
		strcmp(err->code, "SourceConditionNotMet") != 0)
		return -EEXIST;
	if (!may_copy(err, r, &off))
		return r;
	if (off)
		atomic_store(&d->rename_mono_ns, clock_mono_ns() + OFF_NS);
	return unsupported(err);
}

static errint_t rename_send(struct azblob *d, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct err *err)
{
	cleanup_secret struct buf from = BUF_INIT(AZ_URL_MAX + AZ_SECRET_MAX);
	struct azblob_req r = {
		.op = "rename", .method = "PUT", .o = dst, .url = BUF_INIT(AZ_URL_MAX)};
	struct net_answer a;
	errint_t e;

	(void)buf_adds(&r.url, d->conf.dfs);
	azblob_path(dst, &r.url);
	azblob_path(src, &from);
	e = from.failed ? err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request")
			: azblob_cred_rename(d->cred, &from, err);
	if (!e) {
		(void)net_field_add(&r.f, "x-ms-rename-source", from.p);
		(void)net_field_addf(&r.f, "x-ms-source-if-match", "\"%s\"", opt->src_if_match);
		azblob_if(&r.f, opt->dst_if_match, opt->dst_if_none_match);
		err_clear(err);
		e = azblob_send(d, c, &r, &a, err);
		net_answer_done(&a);
	}
	azblob_req_done(&r);
	return e;
}

/* The directory of dst, with those above it, for the service makes none for a rename. False: it is
 * not there, or that is not known. */
static bool parent_make(struct azblob *d, const struct store_call *c, struct store_obj dst)
{
	const char *slash = strrchr(dst.key, '/');
	char dir[STORE_KEY_MAX + 1];
	struct azblob_req r = {
		.op = "rename", .method = "PUT", .o = dst, .url = BUF_INIT(AZ_URL_MAX)};
	struct net_answer a;
	struct err err = {0};
	errint_t e;

	if (!slash)
		return false;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - dst.key), dst.key);
	(void)buf_adds(&r.url, d->conf.dfs);
	azblob_path((struct store_obj){dst.bucket, dir}, &r.url);
	(void)net_url_param(&r.url, "resource", "directory");
	azblob_if(&r.f, NULL, STORE_IF_ABSENT);
	e = azblob_send(d, c, &r, &a, &err);
	net_answer_done(&a);
	azblob_req_done(&r);
	return !e || e == -EEXIST; /* somebody else made it meanwhile */
}

/* It is done. From here on no failure may look like one that changed nothing. */
static errint_t look(struct azblob *d, const struct store_call *c, struct store_obj dst,
	const char *etag, struct store_stat *ret, struct err *err)
{
	errint_t r = azblob_head_if(d, c, dst, NULL, ret, NULL, err);

	if (!r && strcmp(ret->etag, etag) != 0) {
		store_stat_done(ret);
		r = err_set(err, -EIO, ERR_UNKNOWN, "%s/%s was renamed, and has another version",
			dst.bucket, dst.key);
	}
	if (r)
		err->kind = ERR_UNKNOWN;
	return r;
}

errint_t azblob_rename(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
	struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	bool hns = false;
	errint_t r = azblob_obj_check(src, err);

	r = r ? r : azblob_obj_check(dst, err);
	if (!r && (!d->conf.dfs[0] || clock_mono_ns() < atomic_load(&d->rename_mono_ns)))
		return err_set(err, -EOPNOTSUPP, ERR_FINAL, "no renames at this endpoint");
	r = r ? r : azblob_hns(d, c, &hns, err);
	if (r)
		return r;
	if (!hns)
		return err_set(err, -EOPNOTSUPP, ERR_FINAL, "the account has no directories");
	r = rename_send(d, c, src, dst, opt, err);
	if (r == -EOPNOTSUPP && !strcmp(err->code, "RenameDestinationParentPathNotFound") &&
		parent_make(d, c, dst))
		r = rename_send(d, c, src, dst, opt, err);
	return r ? refused(d, opt, r, err) : look(d, c, dst, opt->src_if_match, ret, err);
}
