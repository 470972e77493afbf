/* SPDX-License-Identifier: MIT */
/*
 * Rewrites: copies, and changes of class, which are copies of an object onto itself. One call of
 * the API moves what it can in half a minute and gives a token to go on with; the destination
 * appears with the last one, when its condition is looked at again.
 *
 * A rewrite takes over what its body does not name only when it has no body, and even then not the
 * class. So everything is restated, from the resource of the version that is pinned as the source.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "driver.h"
#include "gcs_priv.h"

#define CALLS_MAX 20000 /* of one rewrite: 1 MiB each of an object of 20 GiB */

/* ---- one rewrite ---- */

static errint_t rewrite_call(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	const char *token, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	const struct net_fields *const keys[] = {&g->customer, &g->customer_src};
	errint_t e;

	gcs_req_init(&r, g, c, "copy", "POST", "/storage/v1");
	gcs_req_obj(&r, w->src);
	(void)buf_adds(&r.url, "/rewriteTo");
	gcs_req_obj(&r, w->dst);
	gcs_req_param(&r, "ifSourceGenerationMatch", w->src_generation);
	e = gcs_req_cond(&r, "ifGenerationMatch", w->if_match, w->if_none_match, err);
	if (g->conf.kms_key)
		gcs_req_param(&r, "destinationKmsKeyName", g->conf.kms_key);
	if (token)
		gcs_req_param(&r, "rewriteToken", token);
	for (unsigned k = 0; k < ARRAY_SIZE(keys); k++)
		for (unsigned i = 0; i < keys[k]->n; i++)
			(void)net_field_add(&r.fields, keys[k]->v[i].name, keys[k]->v[i].value);
	r.q.stall_ns = GCS_SLOW_NS;
	e = e ? e : gcs_req_body(&r, json_incref(w->resource), err);
	e = e ? e : gcs_req_run(&r, err);
	if (!e && !r.json)
		e = gcs_req_bad(&r, err, "the answer is empty");
	if (!e)
		*ret = json_incref(r.json);
	return e;
}

/* What came must be what was there. */
static errint_t rewrite_check(
	const struct gcs_rewrite *w, const struct store_stat *st, struct err *err)
{
	struct store_stat src;
	bool same;

	if (!gcs_stat_read(w->source, &src))
		return err_set(err, -EBADMSG, ERR_UNKNOWN, "no whole resource of the source");
	same = st->size == src.size &&
	       (!st->has_crc32c || !src.has_crc32c || st->crc32c == src.crc32c);
	store_stat_done(&src);
	if (same)
		return 0;
	return err_set(err, -EBADMSG, ERR_UNKNOWN,
		"copy to %s/%s: the copy does not have the bytes of its source", w->dst.bucket,
		w->dst.key);
}

/* In one request. */
static errint_t rewrite_whole(struct gcs *g, const struct store_call *c,
	const struct gcs_rewrite *w, struct store_stat *ret, struct err *err)
{
	cleanup_json json_t *j = NULL;
	errint_t e = gcs_xml_copy(g, c, w, &j, err);

	if (e)
		return e;
	if (!gcs_stat_read(j, ret))
		return err_set(err, -EBADMSG, ERR_UNKNOWN,
			"copy to %s/%s: the answer has no whole resource", w->dst.bucket,
			w->dst.key);
	e = rewrite_check(w, ret, err);
	if (e)
		store_stat_done(ret);
	return e;
}

errint_t gcs_rewrite(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	struct store_stat *ret, struct err *err)
{
	cleanup_free char *token = NULL;

	if (g->hmac)
		return rewrite_whole(g, c, w, ret, err);

	for (unsigned i = 0; i < CALLS_MAX; i++) {
		cleanup_json json_t *j = NULL;
		const char *next;
		errint_t e = call_check(c, err);

		e = e ? e : rewrite_call(g, c, w, token, &j, err);
		if (e)
			return e;
		if (json_is_true(json_object_get(j, "done"))) {
			if (!gcs_stat_read(json_object_get(j, "resource"), ret))
				return err_set(err, -EBADMSG, ERR_UNKNOWN,
					"copy to %s/%s: the answer has no whole resource",
					w->dst.bucket, w->dst.key);
			e = rewrite_check(w, ret, err);
			if (e)
				store_stat_done(ret);
			return e;
		}
		next = json_string_value(json_object_get(j, "rewriteToken"));
		if (!next)
			return err_set(err, -EBADMSG, ERR_RETRY,
				"copy to %s/%s: not done, and no token to go on with",
				w->dst.bucket, w->dst.key);
		free(token);
		token = strdup(next);
		if (!token)
			return gcs_no_memory(err);
	}
	return err_set(err, -EIO, ERR_RETRY, "copy to %s/%s: it does not come to an end",
		w->dst.bucket, w->dst.key);
}

/* ---- what the copy is to be ---- */

errint_t gcs_restate(
	const json_t *source, const char *class_name, json_t *meta, json_t **ret, struct err *err)
{
	static const char *const kept[] = {"contentType", "contentEncoding", "contentDisposition",
		"contentLanguage", "cacheControl", "customTime"};
	json_t *j = json_pack("{s:s, s:O*}", "storageClass", class_name, "metadata", meta);
	bool ok = j;

	for (unsigned i = 0; ok && i < ARRAY_SIZE(kept); i++) {
		json_t *v = json_object_get(source, kept[i]);

		ok = !v || !json_object_set(j, kept[i], v);
	}
	if (ok) {
		*ret = j;
		return 0;
	}
	json_decref(j);
	return gcs_no_memory(err);
}

/* The metadata of a copy, as the caller wants it; decref it. */
static errint_t copy_meta(
	const json_t *source, const struct store_copy *opt, json_t **ret, struct err *err)
{
	json_t *had = json_object_get(source, "metadata"), *made = NULL, *meta;
	errint_t e = 0;

	if (opt->replace_meta) {
		e = gcs_resource(NULL, NULL, opt->meta, opt->nmeta, &made, err);
		if (e)
			return e;
		had = json_object_get(made, "metadata");
	}
	meta = had ? json_copy(had) : json_object();
	json_decref(made);
	if (meta && !opt->replace_meta)
		(void)json_object_del(meta, STORE_META_WRITE); /* it was of another write */
	if (meta && opt->write_mark &&
		json_object_set_new(meta, STORE_META_WRITE, json_string(opt->write_mark))) {
		json_decref(meta);
		meta = NULL;
	}
	if (!meta)
		return gcs_no_memory(err);
	*ret = meta;
	return 0;
}

/* A condition did not hold: whose? Of the source it is always "another version". */
static errint_t whose(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	errint_t e, struct err *err)
{
	cleanup_json json_t *j = NULL;
	struct store_stat st = {0};
	struct err own;

	if (e != -EEXIST || gcs_object(g, c, w->src, &j, &own) || !gcs_stat_read(j, &st))
		return e;
	if (strcmp(st.etag, w->src_generation) != 0)
		e = err_set(err, -ESTALE, ERR_STALE, "%s/%s is version %s, expected %s",
			w->src.bucket, w->src.key, st.etag, w->src_generation);
	store_stat_done(&st);
	return e;
}

errint_t gcs_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_copy none;
	struct gcs *g = (struct gcs *)s;
	cleanup_json json_t *source = NULL, *meta = NULL, *made = NULL;
	struct store_stat st = {0};
	errint_t e;

	opt = opt ? opt : &none;
	e = gcs_key_check(dst.key, err);
	e = e ? e : driver_class_check(g->conf.classes, opt->class_name, err);
	e = e ? e : driver_meta_check(opt->meta, opt->nmeta, GCS_META_MAX, err);
	e = e ? e : gcs_object(g, c, src, &source, err);
	if (!e && !gcs_stat_read(source, &st))
		e = err_set(err, -EBADMSG, ERR_RETRY, "copy of %s/%s: no whole resource",
			src.bucket, src.key);
	e = e ? e : driver_cond(st.etag, opt->src_if_match, NULL, src, err);
	e = e ? e : copy_meta(source, opt, &meta, err);
	e = e ? e
	      : gcs_restate(source, opt->class_name ? opt->class_name : st.class_name, meta, &made,
			err);
	if (!e) {
		struct gcs_rewrite w = {.src = src,
			.dst = dst,
			.src_generation = st.etag,
			.if_match = opt->dst_if_match,
			.if_none_match = opt->dst_if_none_match,
			.resource = made,
			.source = source};

		e = gcs_rewrite(g, c, &w, ret, err);
		e = e ? whose(g, c, &w, e, err) : 0;
	}
	store_stat_done(&st);
	return e;
}

/* ---- classes ---- */

static errint_t tier_check(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *class_name, struct err *err)
{
	errint_t e = driver_class_check(g->conf.classes, class_name, err);
	struct gcs_bucket b;

	if (e)
		return e;
	b = gcs_bucket_get(g, c, o.bucket);
	if (b.autoclass != GCS_YES)
		return 0;
	return err_set(err, -EOPNOTSUPP, ERR_FINAL,
		"bucket '%s' has Autoclass: Google chooses the classes of its objects", o.bucket);
}

errint_t gcs_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_json json_t *source = NULL, *made = NULL;
	struct store_stat st = {0};
	struct gcs_rewrite w;
	errint_t e = tier_check(g, c, o, class_name, err);

	e = e ? e : gcs_object(g, c, o, &source, err);
	if (!e && !gcs_stat_read(source, &st))
		e = err_set(err, -EBADMSG, ERR_RETRY, "set_tier of %s/%s: no whole resource",
			o.bucket, o.key);
	e = e ? e : driver_cond(st.etag, if_match, NULL, o, err);
	if (e || !strcmp(st.class_name, class_name)) {
		if (!e)
			*ret = st;
		else
			store_stat_done(&st);
		return e;
	}
	e = gcs_restate(source, class_name, json_object_get(source, "metadata"), &made, err);
	w = (struct gcs_rewrite){.src = o,
		.dst = o,
		.src_generation = st.etag,
		.if_match = st.etag,
		.resource = made,
		.source = source};
	e = e ? e : gcs_rewrite(g, c, &w, ret, err);
	store_stat_done(&st);
	if (e || !strcmp(ret->class_name, class_name))
		return e;
	/* Its answer was "yes", and another class is what came: such a bucket decides by itself. */
	e = err_set(err, -EOPNOTSUPP, ERR_FINAL, "%s/%s stays in class %s: the bucket decides that",
		o.bucket, o.key, ret->class_name);
	store_stat_done(ret);
	return e;
}
