/* SPDX-License-Identifier: MIT */
/*
 * Buckets, and what they do by themselves: Autoclass, versions, soft delete. That is asked for once
 * in a while; who may not ask (objects only) goes on without.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "driver.h"
#include "gcs_priv.h"

#define BUCKETS_MAX 100000
#define KNOWN_NS    (600 * NS_PER_S)
#define UNKNOWN_NS  (60 * NS_PER_S) /* asked again when it could not be told */
#define ASK_NS	    (5 * NS_PER_S)

/* ---- what is known ---- */

static enum gcs_known flag(bool v)
{
	return v ? GCS_YES : GCS_NO;
}

static void bucket_ask(struct gcs *g, const struct store_call *c, struct gcs_bucket *b)
{
	cleanup_gcs_req struct gcs_req r = {0};
	struct store_call own = {.cancel = c->cancel};
	const json_t *soft;
	uint64_t seconds = 0;
	struct err err;

	b->asked_mono_ns = clock_mono_ns();
	if (g->hmac) /* nobody who answers */
		return;
	own.deadline_mono_ns = MIN_OF(c->deadline_mono_ns, clock_mono_ns() + ASK_NS);
	gcs_req_init(&r, g, &own, "ask", "GET", "/storage/v1");
	gcs_req_bucket(&r, b->name);
	gcs_req_param(&r, "fields", "autoclass,versioning,softDeletePolicy");
	if (gcs_req_run(&r, &err) || !json_is_object(r.json))
		return;
	soft = json_object_get(r.json, "softDeletePolicy");
	(void)gcs_json_u64(soft, "retentionDurationSeconds", &seconds);
	b->autoclass = flag(
		json_is_true(json_object_get(json_object_get(r.json, "autoclass"), "enabled")));
	b->versioning = flag(
		json_is_true(json_object_get(json_object_get(r.json, "versioning"), "enabled")));
	b->soft_delete = flag(seconds > 0);
}

/* The one of that name, or the place of the oldest. */
static struct gcs_bucket *place_locked(struct gcs *g, const char *name)
{
	struct gcs_bucket *oldest = &g->shared.bucket[0];

	lock_assert_held(&g->lock);
	for (unsigned i = 0; i < GCS_BUCKETS_KNOWN; i++) {
		struct gcs_bucket *b = &g->shared.bucket[i];

		if (!strcmp(b->name, name))
			return b;
		if (b->asked_mono_ns < oldest->asked_mono_ns)
			oldest = b;
	}
	return oldest;
}

struct gcs_bucket gcs_bucket_get(struct gcs *g, const struct store_call *c, const char *bucket)
{
	struct gcs_bucket b = {0};
	{
		LOCKED(&g->lock);
		const struct gcs_bucket *p = place_locked(g, bucket);
		int64_t age = clock_mono_ns() - p->asked_mono_ns;

		if (!strcmp(p->name, bucket) && p->asked_mono_ns &&
			age < (p->autoclass == GCS_UNKNOWN ? UNKNOWN_NS : KNOWN_NS))
			return *p;
	}
	(void)snprintf(b.name, sizeof(b.name), "%s", bucket);
	bucket_ask(g, c, &b);

	LOCKED(&g->lock);
	*place_locked(g, bucket) = b;
	g->shared.versioning |= b.versioning == GCS_YES;
	g->shared.soft_delete |= b.soft_delete == GCS_YES;
	g->shared.auto_tier |= b.autoclass == GCS_YES;
	return b;
}

/* ---- buckets ---- */

/* Whose buckets: the project of the configuration, or of the credentials. */
static errint_t project(struct gcs *g, const struct store_call *c, char ret[128], struct err *err)
{
	cleanup_gcs_token struct gcs_token t = {0};
	errint_t e = 0;

	ret[0] = 0;
	if (g->conf.project) {
		(void)snprintf(ret, 128, "%s", g->conf.project);
		return 0;
	}
	if (g->hmac) /* the key's own, where none is named */
		return 0;
	if (!g->cred) { /* an emulator, which does not care */
		(void)snprintf(ret, 128, "astrafs");
		return 0;
	}
	gcs_cred_project(g->cred, ret, 128);
	if (!ret[0]) { /* its file may not have been read yet */
		e = gcs_cred_get(g->cred, c->deadline_mono_ns, c->cancel, &t, err);
		gcs_cred_project(g->cred, ret, 128);
	}
	if (e || ret[0])
		return e;
	return err_set(err, -EINVAL, ERR_FINAL,
		"which project? Set project=, or GOOGLE_CLOUD_PROJECT, or name a bucket");
}

static errint_t add_name(char ***v, size_t *n, const char *name)
{
	if ((*n & (*n - 1)) == 0) {
		void *p = reallocarray(*v, *n ? 2 * *n : 1, sizeof(**v));

		if (!p)
			return -ENOMEM;
		*v = p;
	}
	(*v)[*n] = strdup(name);
	if (!(*v)[*n])
		return -ENOMEM;
	++*n;
	return 0;
}

static errint_t names_page(struct gcs *g, const struct store_call *c, const char *whose,
	char **token, char ***v, size_t *n, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	const char *next;
	json_t *item;
	size_t i;
	errint_t e;

	gcs_req_init(&r, g, c, "list", "GET", "/storage/v1");
	(void)buf_adds(&r.url, "/b");
	gcs_req_param(&r, "project", whose);
	gcs_req_param(&r, "fields", "nextPageToken,items(name)");
	if (*token)
		gcs_req_param(&r, "pageToken", *token);
	e = g->hmac ? gcs_xml_buckets(g, c, &r.json, err) : gcs_req_run(&r, err);
	if (!e && !json_is_object(r.json))
		e = gcs_req_bad(&r, err, "the answer is no list");
	json_array_foreach (e ? NULL : json_object_get(r.json, "items"), i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && *name && *name != '.' && !strchr(name, '/') &&
			strlen(name) <= STORE_BUCKET_MAX && *n < BUCKETS_MAX &&
			add_name(v, n, name))
			return gcs_no_memory(err);
	}
	free(*token);
	*token = NULL;
	next = e ? NULL : json_string_value(json_object_get(r.json, "nextPageToken"));
	if (next && *next && *n < BUCKETS_MAX) {
		*token = strdup(next);
		e = *token ? call_check(c, err) : gcs_no_memory(err);
	}
	return e;
}

errint_t gcs_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_free char *token = NULL;
	char whose[128], **v = NULL;
	size_t n = 0;
	errint_t e = project(g, c, whose, err);

	if (e)
		return e;
	do
		e = names_page(g, c, whose, &token, &v, &n, err);
	while (!e && token);
	if (!e && !v)
		e = (v = calloc(1, sizeof(*v))) ? 0 : gcs_no_memory(err);
	if (e) {
		for (size_t i = 0; i < n; i++)
			free(v[i]);
		free(v);
		return e;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

errint_t gcs_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_gcs_req struct gcs_req r = {0};
	char whose[128];
	errint_t e = project(g, c, whose, err);

	if (e || g->hmac)
		return e ? e : gcs_xml_bucket_create(g, c, bucket, err);
	gcs_req_init(&r, g, c, "create", "POST", "/storage/v1");
	(void)buf_adds(&r.url, "/b");
	r.o.bucket = bucket;
	gcs_req_param(&r, "project", whose);
	e = gcs_req_body(&r,
		json_pack("{s:s, s:s*, s:{s:{s:b}}}", "name", bucket, "location", g->conf.location,
			"iamConfiguration", "uniformBucketLevelAccess", "enabled", 1),
		err);
	return e ? e : gcs_req_run(&r, err);
}

static errint_t remove_once(
	struct gcs *g, const struct store_call *c, const char *bucket, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e;

	gcs_req_init(&r, g, c, "remove", "DELETE", "/storage/v1");
	gcs_req_bucket(&r, bucket);
	e = g->hmac ? gcs_xml_bucket_remove(g, c, bucket, err) : gcs_req_run(&r, err);
	if (e == -EEXIST) /* 409 */
		e = err_set(err, -ENOTEMPTY, ERR_FINAL, "bucket '%s' is not empty", bucket);
	return e;
}

struct sweep {
	struct gcs *g;
	const struct store_call *c;
	const char *bucket;
};

static errint_t sweep_one(void *arg, const json_t *item, struct err *err)
{
	struct sweep *w = arg;
	const char *name = json_string_value(json_object_get(item, "name"));
	const char *generation = json_string_value(json_object_get(item, "generation"));
	errint_t e;

	if (!name)
		return 0;
	e = gcs_remove_version(w->g, w->c, (struct store_obj){w->bucket, name}, generation, err);
	return e == -ENOENT ? 0 : e;
}

/* What is left of uploads that nobody ended is nothing that a user could see, or remove. */
errint_t gcs_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	struct sweep w = {g, c, bucket};
	struct store_page page = {0};
	struct err own;
	bool empty;
	errint_t e = remove_once(g, c, bucket, err);

	if (e != -ENOTEMPTY)
		return e;
	empty = !gcs_list(s, c, bucket, "", 0, "", "", 1, &page, &own) && !page.n &&
		!page.truncated;
	store_page_done(&page);
	if (!empty || gcs_each(g, c, bucket, STORE_TMP_PREFIX, 0, sweep_one, &w, &own))
		return e;
	return remove_once(g, c, bucket, err);
}

/* ---- life cycle ---- */

errint_t gcs_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	const json_t *rules;
	errint_t e;

	if (((struct gcs *)s)->hmac)
		return gcs_xml_not("life cycle rules", err);
	gcs_req_init(&r, (struct gcs *)s, c, "lifecycle_get", "GET", "/storage/v1");
	gcs_req_bucket(&r, bucket);
	gcs_req_param(&r, "fields", "lifecycle");
	e = gcs_req_run(&r, err);
	if (e)
		return e;
	rules = json_object_get(r.json, "lifecycle");
	if (!json_array_size(json_object_get(rules, "rule")))
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "bucket '%s' has no life cycle rules", bucket);
	*ret_json = json_dumps(rules, JSON_COMPACT);
	return *ret_json ? 0 : gcs_no_memory(err);
}

/* {"rule": [{"action": {...}, "condition": {...}}, ...]}, as Google has it. */
errint_t gcs_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e = driver_lifecycle_check(json, err);

	if (!e && ((struct gcs *)s)->hmac)
		e = gcs_xml_not("life cycle rules", err);
	if (e)
		return e;
	gcs_req_init(&r, (struct gcs *)s, c, "lifecycle_put", "PATCH", "/storage/v1");
	gcs_req_bucket(&r, bucket);
	gcs_req_param(&r, "fields", "lifecycle");
	e = gcs_req_body(&r, json_pack("{s:o}", "lifecycle", json_loads(json, 0, NULL)), err);
	return e ? e : gcs_req_run(&r, err);
}
