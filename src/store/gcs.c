/* SPDX-License-Identifier: MIT */
/*
 * Objects of Google Cloud Storage by its JSON API. The seam's ETag is the generation: a number that
 * every change of the bytes makes new, and that conditions are made of. Metadata changes under the
 * same generation.
 *
 * All classes are online, so restoring has nothing to do.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "driver.h"
#include "gcs_priv.h"

#define OBJECT_MAX (UINT64_C(5) << 40)
#define META_RACES 4 /* changes of metadata by somebody else in between */
#define PROBE_NS   (3 * NS_PER_S)

/* ---- caps ---- */

static void gcs_caps(struct store *s, struct store_caps *ret)
{
	struct gcs *g = (struct gcs *)s;

	*ret = (struct store_caps){
		.key_max = STORE_KEY_MAX,
		.key_utf8 = true,
		.key_bad = "\r\n",
		.meta_max = GCS_META_MAX,
		.conditional_put = true,
		.conditional_remove = true,
		.conditional_copy = true,
		.list_after = true,
		.list_meta = true,
		.meta_dates = true,
		.set_meta = true,
		.copy = true,
		.checksums = true,
		.part_max = OBJECT_MAX,
		.object_max = OBJECT_MAX,
		.parts_max = GCS_PARTS_MAX,
	};
	if (g->hmac) {
		ret->list_meta = ret->set_meta = false;
		ret->head_meta = g->conf.read_metadata;
		ret->head_class = true;
		ret->meta_copy = OBJECT_MAX;
	}
	LOCKED(&g->lock);
	ret->versioning = g->shared.versioning;
	ret->soft_delete = g->shared.soft_delete;
	ret->auto_tier = g->shared.auto_tier;
}

/* ---- reading ---- */

static void customer_add(struct gcs_req *r)
{
	const struct net_fields *f = &r->g->customer;

	for (unsigned i = 0; i < f->n; i++)
		(void)net_field_add(&r->fields, f->v[i].name, f->v[i].value);
}

/* The resource of an object; fields NULL = what the seam shows. */
static errint_t resource(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *what, const char *fields, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e = gcs_key_check(o.key, err);

	if (e || g->hmac)
		return e ? e : gcs_xml_head(g, c, o, what, NULL, ret, err);
	gcs_req_init(&r, g, c, what, "GET", "/storage/v1");
	gcs_req_obj(&r, o);
	gcs_req_param(&r, "fields",
		fields ? fields
		       : "size,generation,metageneration,storageClass,timeCreated,updated,"
			 "metadata,crc32c");
	customer_add(&r);
	e = gcs_req_run(&r, err);
	if (!e && !r.json)
		e = gcs_req_bad(&r, err, "the answer is empty");
	if (!e)
		*ret = json_incref(r.json);
	return e;
}

errint_t gcs_object(struct gcs *g, const struct store_call *c, struct store_obj o, json_t **ret,
	struct err *err)
{
	return resource(g, c, o, "head",
		"size,generation,metageneration,storageClass,timeCreated,updated,metadata,crc32c,"
		"contentType,contentEncoding,contentDisposition,contentLanguage,cacheControl,"
		"customTime",
		ret, err);
}

static errint_t head(struct gcs *g, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	cleanup_json json_t *j = NULL;
	errint_t e = resource(g, c, o, "head", NULL, &j, err);

	if (e)
		return e;
	if (!gcs_stat_read(j, ret))
		return err_set(err, -EBADMSG, ERR_RETRY, "head of %s/%s: no whole resource",
			o.bucket, o.key);
	return 0;
}

static errint_t gcs_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	return head((struct gcs *)s, c, o, ret, err);
}

struct get { /* what the head of the answer must say, and says */
	struct store_obj o;
	const char *if_match;
	uint64_t off;
	size_t len;
	struct store_progress *progress; /* NULL: nothing may be used before all is checked */
	size_t want;			 /* bytes that will come; SIZE_MAX: it did not say */
	bool whole, has_crc, has_md5;
	uint32_t crc;
	uint8_t md5[16];
};

static errint_t get_bad(const struct get *w, struct err *err, const char *why)
{
	return err_set(err, -EBADMSG, ERR_RETRY, "get of %s/%s: %s", w->o.bucket, w->o.key, why);
}

/* "crc32c=...,md5=..." in one field or several */
static void hashes_read(struct get *w, const struct net_fields *f)
{
	char text[32];
	size_t n;

	for (unsigned i = 0; i < f->n; i++) {
		if (strcasecmp(f->v[i].name, "x-goog-hash") != 0)
			continue;
		for (const char *s = f->v[i].value; *s; s += strspn(s, ", ")) {
			size_t len = strcspn(s, ",");

			(void)snprintf(text, sizeof(text), "%.*s", (int)MIN_OF(len, 31u), s);
			if (!strncmp(text, "crc32c=", 7))
				w->has_crc = gcs_crc_parse(text + 7, &w->crc);
			else if (!strncmp(text, "md5=", 4))
				w->has_md5 = !base64_decode(text + 4, w->md5, sizeof(w->md5), &n) &&
					     n == sizeof(w->md5);
			s += len;
		}
	}
}

static errint_t range_check(struct get *w, const struct net_answer *a, struct err *err)
{
	const char *v = net_field_get(&a->fields, "content-range");
	unsigned long long first, last, total;

	if (!v || sscanf(v, "bytes %llu-%llu/%llu", &first, &last, &total) != 3)
		return get_bad(w, err, "the answer does not say which range it is");
	if (first != w->off || last < first || last >= total ||
		last != MIN_OF(w->off + w->len, total) - 1)
		return get_bad(w, err, "the answer is another range");
	w->want = (size_t)(last - first + 1);
	w->whole = !first && last + 1 == total;
	return 0;
}

static errint_t get_accept(void *arg, const struct net_answer *a, struct err *err)
{
	struct get *w = arg;
	const char *generation = net_field_get(&a->fields, "x-goog-generation");
	const char *length = net_field_get(&a->fields, "content-length");
	const char *stored = net_field_get(&a->fields, "x-goog-stored-content-encoding");
	const char *coding = net_field_get(&a->fields, "content-encoding");
	errint_t e = 0;

	if (w->if_match && generation && strcmp(generation, w->if_match) != 0)
		return err_set(err, -ESTALE, ERR_STALE, "%s/%s is version %.40s, expected %s",
			w->o.bucket, w->o.key, generation, w->if_match);
	if (stored && !strcmp(stored, "gzip") && (!coding || strcmp(coding, "gzip") != 0))
		return err_set(err, -EIO, ERR_FINAL,
			"get of %s/%s: it was decompressed on the way: other bytes than are stored",
			w->o.bucket, w->o.key);
	if (a->status == 206) {
		e = range_check(w, a, err);
	} else if (w->off) {
		return get_bad(w, err, "the answer is not the range that was asked for");
	} else {
		w->want = length ? strtoull(length, NULL, 10) : SIZE_MAX;
		w->whole = true;
		if (length && w->want > w->len) /* the range was not looked at */
			return get_bad(w, err, "the answer is longer than what was asked for");
	}
	hashes_read(w, &a->fields);
	/* Content that can be checked as a whole is not handed out before it was. */
	if (w->whole && (w->has_crc || w->has_md5))
		w->progress = NULL;
	return e;
}

static void get_filled(void *arg, size_t have)
{
	struct get *w = arg;

	store_progressed(w->progress, have);
}

static errint_t get_check(const struct get *w, const void *p, size_t got, struct err *err)
{
	uint8_t sum[16];

	if (w->want != SIZE_MAX && got != w->want)
		return get_bad(w, err, "the answer has another length than it said");
	if (!w->whole)
		return 0;
	if (w->has_md5 && !w->has_crc)
		md5(p, got, sum);
	if (w->has_crc ? crc32c(0, p, got) == w->crc
		       : !w->has_md5 || !memcmp(sum, w->md5, sizeof(sum)))
		return 0;
	return err_set(err, -EIO, ERR_FINAL, "get of %s/%s: the bytes do not have their checksum",
		w->o.bucket, w->o.key);
}

static errint_t gcs_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_gcs_req struct gcs_req r = {0};
	struct get w = {
		.o = o, .if_match = if_match, .off = off, .len = len, .progress = c->progress};
	errint_t e = gcs_key_check(o.key, err);

	if (e)
		return e;
	if (!len) { /* no range says so */
		struct store_stat st = {0};

		e = head(g, c, o, &st, err);
		if (!e)
			e = driver_cond(st.etag, if_match, NULL, o, err);
		store_stat_done(&st);
		return e;
	}
	if (g->hmac) {
		gcs_xml_init(&r, g, c, "get", "GET", o);
	} else {
		gcs_req_init(&r, g, c, "get", "GET", "/storage/v1");
		gcs_req_obj(&r, o);
		gcs_req_param(&r, "alt", "media");
	}
	e = gcs_req_cond(&r, "ifGenerationMatch", if_match, NULL, err);
	if (e)
		return e;
	(void)net_field_addf(&r.fields, "Range", "bytes=%llu-%llu", (unsigned long long)off,
		(unsigned long long)(off + len - 1));
	customer_add(&r);
	r.q.into = p;
	r.q.into_max = len;
	r.q.accept = get_accept;
	r.q.filled = get_filled;
	r.q.arg = &w;
	r.also = 416;
	e = gcs_req_run(&r, err);
	if (e || r.a.status == 416) /* begins at the end, or behind it */
		return e;
	e = get_check(&w, p, r.a.got, err);
	*ret_len = e ? 0 : r.a.got;
	return e;
}

/* ---- writing ---- */

static errint_t class_check(struct gcs *g, const char *class_name, struct err *err)
{
	return driver_class_check(g->conf.classes, class_name, err);
}

static errint_t gcs_put(struct store *s, const struct store_call *c, struct store_obj o,
	const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	static const struct store_put none;
	struct gcs *g = (struct gcs *)s;
	struct gcs_up up;
	errint_t e;

	opt = opt ? opt : &none;
	e = class_check(g, opt->class_name, err);
	e = e ? e : driver_meta_check(opt->meta, opt->nmeta, GCS_META_MAX, err);
	if (e)
		return e;
	up = (struct gcs_up){.o = o,
		.class_name = opt->class_name,
		.meta = opt->meta,
		.nmeta = opt->nmeta,
		.if_match = opt->if_match,
		.if_none_match = opt->if_none_match,
		.crc32c = opt->has_crc32c ? opt->crc32c : crc32c(0, p, len)};
	return gcs_up(g, c, &up, p, len, ret, err);
}

/* generation: of that version alone, for good also where versions are kept. */
static errint_t remove_object(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *generation, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e = gcs_key_check(o.key, err);

	if (e || g->hmac)
		return e ? e : gcs_xml_remove(g, c, o, if_match, generation, err);
	gcs_req_init(&r, g, c, "remove", "DELETE", "/storage/v1");
	gcs_req_obj(&r, o);
	e = gcs_req_cond(&r, "ifGenerationMatch", if_match, NULL, err);
	if (generation)
		gcs_req_param(&r, "generation", generation);
	return e ? e : gcs_req_run(&r, err);
}

static errint_t gcs_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	return remove_object((struct gcs *)s, c, o, if_match, NULL, err);
}

errint_t gcs_remove_version(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *generation, struct err *err)
{
	return remove_object(g, c, o, NULL, generation, err);
}

/* Google's batches are requests in one body, each paid for as before: nothing is won but round
 * trips, so they go one by one, over a connection that stays open. */
static errint_t gcs_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	struct gcs *g = (struct gcs *)s;

	for (size_t i = 0; i < n; i++) {
		ret_each[i] =
			remove_object(g, c, (struct store_obj){bucket, keys[i]}, NULL, NULL, err);
		if (ret_each[i] && err->kind != ERR_NOT_FOUND && err->kind != ERR_FINAL)
			return ret_each[i];
	}
	err_clear(err);
	return 0;
}

/* ---- metadata, restoring ---- */

/* Bytes of all metadata of j once patch was applied. */
static size_t patched_bytes(json_t *j, json_t *patch)
{
	json_t *had = json_object_get(j, "metadata"), *v;
	size_t n = 0;
	const char *key;

	json_object_foreach (had, key, v) {
		if (!json_object_get(patch, key))
			n += strlen(key) + json_string_length(v);
	}
	json_object_foreach (patch, key, v) {
		if (json_is_string(v))
			n += strlen(key) + json_string_length(v);
	}
	return n;
}

/* The change of the object j that m says: values, and null for what goes. A key of theirs that is
 * one of m in other letters goes too. */
static errint_t meta_patch(
	json_t *j, const struct store_meta *m, unsigned n, json_t **ret, struct err *err)
{
	cleanup_json json_t *to = json_object();
	errint_t e = to ? 0 : gcs_no_memory(err);
	const char *key;
	json_t *v;

	json_object_foreach (json_object_get(j, "metadata"), key, v) {
		for (unsigned i = 0; !e && i < n; i++)
			if (!strcasecmp(key, m[i].key) && json_object_set_new(to, key, json_null()))
				e = gcs_no_memory(err);
	}
	for (unsigned i = 0; !e && i < n; i++)
		if (m[i].value)
			e = gcs_meta_json(&m[i], 1, to, err);
	if (!e && patched_bytes(j, to) > GCS_META_ALL)
		e = err_set(err, -E2BIG, ERR_FINAL,
			"more metadata than the %d bytes that an object can have", GCS_META_ALL);
	if (e)
		return e;
	*ret = json_pack("{s:O}", "metadata", to);
	return *ret ? 0 : gcs_no_memory(err);
}

static errint_t patch_send(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *generation, const char *metageneration, json_t *patch, struct store_stat *ret,
	struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e;

	gcs_req_init(&r, g, c, "set_meta", "PATCH", "/storage/v1");
	gcs_req_obj(&r, o);
	e = gcs_req_cond(&r, "ifGenerationMatch", generation, NULL, err);
	/* so that a key that somebody adds meanwhile is seen */
	e = e ? e : gcs_req_cond(&r, "ifMetagenerationMatch", metageneration, NULL, err);
	customer_add(&r);
	e = e ? e : gcs_req_body(&r, json_incref(patch), err);
	e = e ? e : gcs_req_run(&r, err);
	if (!e && !gcs_stat_read(r.json, ret))
		e = gcs_req_bad(&r, err, "the answer has no whole resource");
	return e;
}

/* By a copy of the object j onto itself: there is no other way to change it. */
static errint_t patch_copy(struct gcs *g, const struct store_call *c, struct store_obj o,
	const struct store_stat *st, json_t *j, json_t *patch, struct store_stat *ret,
	struct err *err)
{
	cleanup_json json_t *meta = json_object_get(j, "metadata")
					    ? json_copy(json_object_get(j, "metadata"))
					    : json_object();
	cleanup_json json_t *resource = NULL;
	struct gcs_rewrite w;
	const char *key;
	json_t *v;
	errint_t e = meta ? 0 : gcs_no_memory(err);

	json_object_foreach (e ? NULL : json_object_get(patch, "metadata"), key, v) {
		if (json_is_null(v))
			(void)json_object_del(meta, key);
		else if (json_object_set(meta, key, v))
			e = gcs_no_memory(err);
	}
	e = e ? e : gcs_restate(j, st->class_name, meta, &resource, err);
	w = (struct gcs_rewrite){.src = o,
		.dst = o,
		.src_generation = st->etag,
		.if_match = st->etag,
		.resource = resource,
		.source = j};
	return e ? e : gcs_rewrite(g, c, &w, ret, err);
}

static errint_t patch_once(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	cleanup_json json_t *j = NULL, *patch = NULL;
	struct store_stat st = {0};
	errint_t e = resource(g, c, o, "set_meta", NULL, &j, err);

	if (!e && !gcs_stat_read(j, &st))
		e = err_set(err, -EBADMSG, ERR_RETRY, "set_meta of %s/%s: no whole resource",
			o.bucket, o.key);
	e = e ? e : driver_cond(st.etag, if_match, NULL, o, err);
	e = e ? e : meta_patch(j, meta, nmeta, &patch, err);
	if (!e && g->hmac)
		e = patch_copy(g, c, o, &st, j, patch, ret, err);
	else if (!e)
		e = patch_send(g, c, o, st.etag,
			json_string_value(json_object_get(j, "metageneration")), patch, ret, err);
	store_stat_done(&st);
	return e;
}

static errint_t gcs_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	errint_t e = driver_meta_check(meta, nmeta, GCS_META_MAX, err);

	for (unsigned i = 0; !e; i++) {
		e = patch_once(g, c, o, if_match, meta, nmeta, ret, err);
		/* Of a version that is still there: its metadata was changed meanwhile. */
		if (!e || err->http_status != 412 || i == META_RACES)
			return e;
		e = call_check(c, err);
	}
	return e;
}

/* Every class can be read at once. */
static errint_t gcs_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	struct store_stat st = {0};
	errint_t e = head((struct gcs *)s, c, o, &st, err);

	store_stat_done(&st);
	return e;
}

/* ---- the store ---- */

static void gcs_destroy(struct store *s)
{
	struct gcs *g = (struct gcs *)s;

	gcs_cred_destroy(g->cred);
	aws_cred_destroy(g->hmac);
	net_destroy(g->net);
	net_fields_done(&g->customer);
	net_fields_done(&g->customer_src);
	free((char *)g->conf.endpoint);
	free((char *)g->conf.project);
	free((char *)g->conf.user_project);
	free((char *)g->conf.kms_key);
	free((char *)g->conf.location);
	lock_done(&g->lock);
	explicit_bzero(g, sizeof(*g));
	free(g);
}

static void gcs_describe(struct store *s, struct buf *ret)
{
	const struct gcs *g = (const struct gcs *)s;
	char who[512] = "";

	if (g->hmac) {
		(void)buf_addf(ret, "%s, XML API, with ", g->conf.endpoint);
		aws_cred_describe(g->hmac, ret);
		return;
	}
	if (g->cred)
		gcs_cred_identity(g->cred, who, sizeof(who));
	(void)buf_addf(ret, "%s, as %s", g->conf.endpoint,
		*who	  ? who
		: g->cred ? "somebody who was not looked for yet"
			  : "nobody: anonymous");
}

static const struct store_ops gcs_ops = {
	.name = "gcs",
	.caps = gcs_caps,
	.describe = gcs_describe,
	.head = gcs_head,
	.get = gcs_get,
	.put = gcs_put,
	.remove = gcs_remove,
	.remove_many = gcs_remove_many,
	.list = gcs_list,
	.copy = gcs_copy,
	.set_tier = gcs_set_tier,
	.restore = gcs_restore,
	.parts_begin = gcs_parts_begin,
	.part_put = gcs_part_put,
	.part_copy = NULL, /* Google copies whole objects only */
	.parts_list = gcs_parts_list,
	.parts_finish = gcs_parts_finish,
	.parts_abort = gcs_parts_abort,
	.parts_pending = gcs_parts_pending,
	.set_meta = gcs_set_meta,
	.bucket_list = gcs_bucket_list,
	.bucket_create = gcs_bucket_create,
	.bucket_remove = gcs_bucket_remove,
	.lifecycle_get = gcs_lifecycle_get,
	.lifecycle_put = gcs_lifecycle_put,
	.destroy = gcs_destroy,
};

/* A copy of s; false without memory. */
static bool keep(const char **ret, const char *s)
{
	*ret = s && *s ? strdup(s) : NULL;
	return *ret || !s || !*s;
}

static void customer_fields(struct gcs *g)
{
	uint8_t sum[32];
	char key[BASE64_LEN(32) + 1], digest[BASE64_LEN(32) + 1];
	static const char *const prefix[] = {"x-goog-encryption", "x-goog-copy-source-encryption"};
	struct net_fields *const to[] = {&g->customer, &g->customer_src};

	sha256(g->conf.customer_key, sizeof(g->conf.customer_key), sum);
	base64_encode(g->conf.customer_key, sizeof(g->conf.customer_key), key);
	base64_encode(sum, sizeof(sum), digest);
	for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "%s-algorithm", prefix[i]);
		(void)net_field_add(to[i], name, "AES256");
		(void)snprintf(name, sizeof(name), "%s-key", prefix[i]);
		(void)net_field_add(to[i], name, key);
		(void)snprintf(name, sizeof(name), "%s-key-sha256", prefix[i]);
		(void)net_field_add(to[i], name, digest);
	}
	explicit_bzero(key, sizeof(key));
}

errint_t store_gcs_new(const struct gcs_conf *conf, struct net *net, struct gcs_cred *cred,
	struct aws_cred *hmac, struct store **ret, struct err *err)
{
	struct gcs *g = calloc(1, sizeof(*g));
	bool ok;

	assert(net && conf->endpoint && !(cred && hmac));
	if (!g) {
		gcs_cred_destroy(cred);
		aws_cred_destroy(hmac);
		net_destroy(net);
		return gcs_no_memory(err);
	}
	g->store.ops = &gcs_ops;
	g->net = net;
	g->cred = cred;
	g->hmac = hmac;
	g->conf = *conf;
	g->conf.bucket = NULL;
	lock_init(&g->lock, RANK_STORE_D, "gcs");
	ok = keep(&g->conf.endpoint, conf->endpoint);
	ok = keep(&g->conf.project, conf->project) && ok;
	ok = keep(&g->conf.user_project, conf->user_project) && ok;
	ok = keep(&g->conf.kms_key, conf->kms_key) && ok;
	ok = keep(&g->conf.location, conf->location) && ok;
	if (g->conf.has_customer_key)
		customer_fields(g);
	if (!ok || g->customer.failed || g->customer_src.failed) {
		gcs_destroy(&g->store);
		return gcs_no_memory(err);
	}
	/* What the bucket does by itself is among the caps; a cloud that is down is not waited
	 * for. */
	if (conf->bucket && *conf->bucket && !hmac) {
		struct store_call c = {.deadline_mono_ns = clock_mono_ns() + PROBE_NS};

		(void)gcs_bucket_get(g, &c, conf->bucket);
	}
	*ret = &g->store;
	return 0;
}
