/* SPDX-License-Identifier: MIT */
/*
 * The XML API, for those who have an HMAC key (GOOG1E...): the JSON API does not take these. Each
 * operation here does what its counterpart does there, under the same conditions on generations,
 * and gives what it learns as the resource that the JSON API would have shown: all that is above
 * the single request is the same code. Google's own names and signature are used (GOOG4, x-goog-):
 * with Amazon's it takes no condition on a generation, and a write without one may lose another's.
 *
 * What differs:
 *	- listings tell neither class, metadata nor checksum: a HEAD does
 *	- metadata changes by a copy of the object onto itself, a new generation
 *	- a copy is one request, whatever it takes; there is no token to go on with
 *	- composing leaves its sources, which go one by one
 *	- of a bucket nothing is known, and its life cycle is not managed
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "driver.h"
#include "gcs_priv.h"
#include "s3_priv.h"

#define REGION	  "auto" /* Google looks for the bucket itself */
#define META	  "x-goog-meta-"
#define COPY_NS	  (600 * NS_PER_S)
#define SKEW_NS	  (240 * NS_PER_S)
#define HASHED	  (64u << 10) /* bodies up to here are signed over TLS too */
#define LIST_BODY (16u << 20)

/* ---- requests ---- */

void gcs_xml_init(struct gcs_req *r, struct gcs *g, const struct store_call *c, const char *what,
	const char *method, struct store_obj o)
{
	gcs_req_init(r, g, c, what, method, "");
	r->xml = true;
	r->changes = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
	r->o = o;
	(void)buf_adds(&r->url, "/");
	if (o.bucket)
		(void)net_url_add(&r->url, o.bucket, "");
	if (o.key) {
		(void)buf_adds(&r->url, "/");
		(void)net_url_add(&r->url, o.key, "/");
	}
}

static void param(struct gcs_req *r, const char *name, const char *value)
{
	assert(r->np < ARRAY_SIZE(r->p));
	r->p[r->np++] = (struct sigv4_param){name, value};
}

static void fields_add(struct gcs_req *r, const struct net_fields *f)
{
	for (unsigned i = 0; i < f->n; i++)
		(void)net_field_add(&r->fields, f->v[i].name, f->v[i].value);
}

errint_t gcs_xml_sign(struct gcs_req *r, struct net_fields *f, char access[132], struct err *err)
{
	cleanup_aws_key struct aws_key key = {0};
	cleanup_buf struct buf host = BUF_INIT(1024), path = BUF_INIT(GCS_URL_MAX);
	struct gcs *g = r->g;
	struct net_url u;
	char payload[65] = SIGV4_UNSIGNED;
	const char *at;
	uint8_t hash[32];
	errint_t e = net_url_parse(g->conf.endpoint, &u, err);

	e = e ? e : aws_cred_get(g->hmac, r->c->deadline_mono_ns, &key, err);
	if (e)
		return e;
	memcpy(access, key.access, sizeof(key.access));
	at = strstr(r->url.p, "://") + 3;
	at += strcspn(at, "/");
	(void)buf_add(&path, at, strcspn(at, "?"));
	(void)net_url_host(&host, &u);
	if (!u.tls || r->q.body_len <= HASHED) {
		sha256(r->q.body ? r->q.body : "", r->q.body_len, hash);
		hex_encode(hash, sizeof(hash), payload);
	}
	(void)net_field_add(f, "x-goog-content-sha256", payload);
	if (g->conf.user_project)
		(void)net_field_add(f, "x-goog-user-project", g->conf.user_project);
	e = host.failed ? host.failed : path.failed;
	e = e ? e
	      : sigv4_sign(&(struct sigv4_key){key.access, key.secret, NULL, REGION, "storage"},
			&(struct sigv4_request){.method = r->q.method,
				.host = host.p,
				.path = path.p,
				.params = r->p,
				.nparams = r->np,
				.payload = payload,
				.now_ns = clock_now_ns() + atomic_load(&g->skew_ns),
				.google = true},
			f, NULL);
	return e ? err_set(err, e, e == -ENOMEM ? ERR_RETRY : ERR_FINAL,
			   "%s: the request cannot be signed", r->what)
		 : 0;
}

/* The code of an error; "" where the answer has none. */
static void code_of(const struct net_answer *a, char ret[64])
{
	cleanup_xml struct xml x = {0};
	const char *code;

	(void)xml_parse(&x, a->body.p ? a->body.p : "", a->body.len, "Error", NULL);
	code = xml_child_text(x.root, "Code");
	(void)snprintf(ret, 64, "%.60s", code ? code : "");
}

bool gcs_xml_mend(struct gcs_req *r, const char *access)
{
	static const char *const keys[] = {
		"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity"};
	struct gcs *g = r->g;
	char code[64];
	bool mute = !strcmp(r->q.method, "HEAD"), sure = false;
	int64_t off = r->a.skew_ns - atomic_load(&g->skew_ns);

	if (r->a.status != 400 && r->a.status != 401 && r->a.status != 403)
		return false;
	code_of(&r->a, code);
	if (r->a.has_date && (off > SKEW_NS || off < -SKEW_NS) &&
		(mute || !strcmp(code, "RequestTimeTooSkewed") || !strcmp(code, "AccessDenied"))) {
		atomic_store(&g->skew_ns, r->a.skew_ns);
		return true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		sure = sure || !strcmp(code, keys[i]);
	return (sure || mute) && aws_cred_refused(g->hmac, access, sure);
}

void gcs_xml_error(
	const struct net_answer *a, char reason[64], char *text, size_t size, const char *otherwise)
{
	cleanup_xml struct xml x = {0};
	const char *message, *details;

	code_of(a, reason);
	(void)xml_parse(&x, a->body.p ? a->body.p : "", a->body.len, "Error", NULL);
	message = xml_child_text(x.root, "Message");
	details = xml_child_text(x.root, "Details");
	(void)snprintf(text, size, "%s%s%s", message ? message : otherwise, details ? " " : "",
		details ? details : "");
}

/* The document of an answer; anything else is an answer that was not agreed on. */
static errint_t document(struct gcs_req *r, const char *root, struct xml *ret, struct err *err)
{
	if (!xml_parse(ret, r->a.body.p ? r->a.body.p : "", r->a.body.len, root, NULL))
		return 0;
	return gcs_req_bad(r, err, "the answer is no %s", root);
}

/* ---- resources: header fields <-> JSON ---- */

static const struct {
	const char *json, *field;
} attributes[] = {
	{"contentType", "Content-Type"},
	{"contentDisposition", "Content-Disposition"},
	{"contentLanguage", "Content-Language"},
	{"cacheControl", "Cache-Control"},
	{"customTime", "x-goog-custom-time"},
};

/* What Google says of objects that say nothing. */
static bool cache_default(const char *v)
{
	return !strcmp(v, "private, max-age=0") || !strcmp(v, "public, max-age=3600");
}

static bool set(json_t *j, const char *key, const char *value)
{
	return !value || !json_object_set_new(j, key, json_text(value));
}

static bool meta_get(const struct net_fields *f, json_t *to)
{
	for (unsigned i = 0; i < f->n; i++) {
		const char *name = f->v[i].name;
		cleanup_free char *value = NULL;
		char key[256];
		size_t n = 0;

		if (strncasecmp(name, META, strlen(META)) != 0)
			continue;
		name += strlen(META);
		if (!*name || strlen(name) >= sizeof(key))
			continue;
		for (; name[n]; n++)
			key[n] = (char)tolower((unsigned char)name[n]);
		key[n] = 0;
		if (!s3_meta_decode(f->v[i].value, &value) || !set(to, key, value))
			return false;
	}
	return true;
}

/* "crc32c=...,md5=..." in one field or several. */
static bool crc_get(const struct net_fields *f, char ret[9])
{
	for (unsigned i = 0; i < f->n; i++) {
		const char *at = strcasecmp(f->v[i].name, "x-goog-hash")
					 ? NULL
					 : strstr(f->v[i].value, "crc32c=");

		if (at && strcspn(at + 7, ", ") == 8) {
			(void)snprintf(ret, 9, "%.8s", at + 7);
			return true;
		}
	}
	return false;
}

static bool time_get(const struct net_fields *f, json_t *to)
{
	const char *v = net_field_get(f, "last-modified");
	char text[CLOCK_DATE_LEN];
	int64_t ns;

	if (!v || net_date_parse(v, &ns))
		return true;
	clock_date_format(ns, text);
	return set(to, "timeCreated", text);
}

/* What the head of an answer says of an object; NULL without memory. */
static json_t *resource_of(const struct net_fields *f)
{
	const char *size = net_field_get(f, "x-goog-stored-content-length");
	const char *coding = net_field_get(f, "x-goog-stored-content-encoding");
	json_t *j = json_object(), *meta = json_object();
	char crc[9];
	bool ok = j && meta;

	if (!size && !net_field_get(f, "content-encoding"))
		size = net_field_get(f, "content-length");
	ok = ok && set(j, "size", size) && time_get(f, j) && meta_get(f, meta);
	ok = ok && set(j, "generation", net_field_get(f, "x-goog-generation"));
	ok = ok && set(j, "metageneration", net_field_get(f, "x-goog-metageneration"));
	ok = ok && set(j, "storageClass", net_field_get(f, "x-goog-storage-class"));
	ok = ok && set(j, "crc32c", crc_get(f, crc) ? crc : NULL);
	if (coding && strcmp(coding, "identity") != 0)
		ok = ok && set(j, "contentEncoding", coding);
	for (unsigned i = 0; ok && i < ARRAY_SIZE(attributes); i++) {
		const char *v = net_field_get(f, attributes[i].field);

		if (v && (strcmp(attributes[i].json, "cacheControl") != 0 || !cache_default(v)))
			ok = set(j, attributes[i].json, v);
	}
	if (ok && json_object_size(meta))
		ok = !json_object_set(j, "metadata", meta);
	json_decref(meta);
	if (!ok) {
		json_decref(j);
		j = NULL;
	}
	return j;
}

/* The fields that give a new object what the resource says. */
static errint_t resource_put(struct gcs_req *r, const json_t *j, struct err *err)
{
	const char *class_name = json_string_value(json_object_get(j, "storageClass"));
	const char *coding = json_string_value(json_object_get(j, "contentEncoding")), *key;
	size_t bytes = 0;
	json_t *v;

	if (class_name)
		(void)net_field_add(&r->fields, "x-goog-storage-class", class_name);
	if (coding)
		(void)net_field_add(&r->fields, "Content-Encoding", coding);
	for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
		const char *s = json_string_value(json_object_get(j, attributes[i].json));

		if (s)
			(void)net_field_add(&r->fields, attributes[i].field, s);
	}
	json_object_foreach (json_object_get(j, "metadata"), key, v) {
		cleanup_free char *value = NULL;
		char name[300];

		if (!json_is_string(v))
			continue;
		if (!s3_meta_encode(json_string_value(v), &value))
			return gcs_no_memory(err);
		(void)snprintf(name, sizeof(name), META "%.250s", key);
		(void)net_field_add(&r->fields, name, value);
		bytes += strlen(key) + strlen(value);
	}
	if (bytes > GCS_META_ALL)
		return err_set(err, -E2BIG, ERR_FINAL,
			"more metadata than the %d bytes that an object can have", GCS_META_ALL);
	return 0;
}

/* How it is encrypted. */
static void keys_put(struct gcs_req *r, bool copy)
{
	if (r->g->conf.kms_key)
		(void)net_field_add(
			&r->fields, "x-goog-encryption-kms-key-name", r->g->conf.kms_key);
	fields_add(r, &r->g->customer);
	if (copy)
		fields_add(r, &r->g->customer_src);
}

/* ---- objects ---- */

errint_t gcs_xml_head(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *what, const char *generation, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e;

	gcs_xml_init(&r, g, c, what, "HEAD", o);
	e = gcs_req_cond(&r, "", generation, NULL, err);
	fields_add(&r, &g->customer);
	e = e ? e : gcs_req_run(&r, err);
	if (e)
		return e;
	*ret = resource_of(&r.a.fields);
	return *ret ? 0 : gcs_no_memory(err);
}

/* What was written, as far as that is known without looking: what was sent, where the answer does
 * not say otherwise. resource has size and crc32c, too. */
static errint_t sent(struct gcs_req *r, const json_t *resource, json_t **ret, struct err *err)
{
	const struct net_fields *f = &r->a.fields;
	char date[CLOCK_DATE_LEN], crc[9];
	json_t *j = json_copy((json_t *)resource);

	clock_date_format(clock_now_ns() + atomic_load(&r->g->skew_ns), date);
	if (!j || !set(j, "generation", net_field_get(f, "x-goog-generation")) ||
		!set(j, "size", net_field_get(f, "x-goog-stored-content-length")) ||
		!set(j, "crc32c", crc_get(f, crc) ? crc : NULL) || !set(j, "timeCreated", date)) {
		json_decref(j);
		err_set(err, -ENOMEM, ERR_UNKNOWN, "%s: no memory", r->what);
		return -ENOMEM;
	}
	*ret = j;
	return 0;
}

/* The same, looked at. Who has overwritten or removed it since does not make it undone. */
static errint_t looked_at(struct gcs_req *r, const json_t *resource, json_t **ret, struct err *err)
{
	const char *generation = net_field_get(&r->a.fields, "x-goog-generation");
	errint_t e = gcs_xml_head(r->g, r->c, r->o, r->what, generation, ret, err);

	if (!e)
		return 0;
	if (err->kind == ERR_STALE || err->kind == ERR_NOT_FOUND) {
		err_clear(err);
		return sent(r, resource, ret, err);
	}
	err->kind = ERR_UNKNOWN;
	return e;
}

/* Sends what writes an object, of which the resource says what it is to be. look: not all of that
 * is sure. */
static errint_t write_run(struct gcs_req *r, const char *root, const json_t *resource, bool look,
	json_t **ret, struct err *err)
{
	cleanup_xml struct xml x = {0};
	const char *generation;
	errint_t e = gcs_req_run(r, err);

	if (!e && root)
		e = document(r, root, &x, err);
	if (e)
		return e;
	generation = net_field_get(&r->a.fields, "x-goog-generation");
	if (!generation || !gcs_gen_ok(generation))
		return gcs_req_bad(r, err, "the answer has no generation");
	return look ? looked_at(r, resource, ret, err) : sent(r, resource, ret, err);
}

errint_t gcs_xml_put(struct gcs *g, const struct store_call *c, const struct gcs_up *up,
	const json_t *resource, const void *p, size_t len, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	char crc[9];
	errint_t e;

	gcs_xml_init(&r, g, c, "put", "PUT", up->o);
	e = gcs_req_cond(&r, "", up->if_match, up->if_none_match, err);
	gcs_crc_format(up->crc32c, crc);
	(void)net_field_addf(&r.fields, "x-goog-hash", "crc32c=%s", crc);
	(void)net_field_add(
		&r.fields, "Content-Type", up->type ? up->type : "application/octet-stream");
	e = e ? e : resource_put(&r, resource, err);
	keys_put(&r, false);
	r.q.body = p;
	r.q.body_len = len;
	/* Without a class it has that of the bucket, whatever that is. */
	return e ? e : write_run(&r, NULL, resource, !up->class_name, ret, err);
}

static bool same_bytes(json_t *j, const json_t *source)
{
	static const char *const names[] = {"size", "crc32c"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		json_t *v = json_object_get(source, names[i]);

		if (v && json_object_set(j, names[i], v))
			return false;
	}
	return true;
}

errint_t gcs_xml_copy(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_buf struct buf from = BUF_INIT(GCS_URL_MAX);
	const char *meta = json_string_value(json_object_get(w->source, "metageneration"));
	cleanup_json json_t *known = json_copy(w->resource);
	errint_t e;

	gcs_xml_init(&r, g, c, "copy", "PUT", w->dst);
	e = gcs_req_cond(&r, "", w->if_match, w->if_none_match, err);
	(void)buf_adds(&from, "/");
	(void)net_url_add(&from, w->src.bucket, "");
	(void)buf_adds(&from, "/");
	(void)net_url_add(&from, w->src.key, "/");
	(void)net_field_add(&r.fields, "x-goog-copy-source", from.p ? from.p : "");
	(void)net_field_add(&r.fields, "x-goog-copy-source-if-generation-match", w->src_generation);
	if (meta) /* what is restated is what it has */
		(void)net_field_add(&r.fields, "x-goog-copy-source-if-metageneration-match", meta);
	(void)net_field_add(&r.fields, "x-goog-metadata-directive", "REPLACE");
	e = e ? e : resource_put(&r, w->resource, err);
	keys_put(&r, true);
	r.q.stall_ns = COPY_NS;
	if (e)
		return e;
	if (from.failed || !known || !same_bytes(known, w->source))
		return gcs_no_memory(err);
	return write_run(&r, "CopyObjectResult", known, true, ret, err);
}

/* sources: as the JSON API takes them. */
errint_t gcs_xml_compose(struct gcs *g, const struct store_call *c, struct store_obj to,
	const char *if_match, const char *if_none_match, const json_t *resource,
	const json_t *sources, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_buf struct buf b = BUF_INIT(1u << 20);
	json_t *src;
	size_t i;
	errint_t e;

	gcs_xml_init(&r, g, c, "compose", "PUT", to);
	param(&r, "compose", "");
	e = gcs_req_cond(&r, "", if_match, if_none_match, err);
	(void)buf_adds(&b, "<ComposeRequest>");
	json_array_foreach ((json_t *)sources, i, src) {
		const char *generation = json_string_value(json_object_get(src, "generation"));

		(void)buf_adds(&b, "<Component>");
		(void)xml_add(&b, "Name", json_string_value(json_object_get(src, "name")));
		(void)xml_add(&b, "Generation", generation);
		(void)xml_add(&b, "IfGenerationMatch", generation);
		(void)buf_adds(&b, "</Component>");
	}
	(void)buf_adds(&b, "</ComposeRequest>");
	e = e ? e : resource_put(&r, resource, err);
	keys_put(&r, false);
	r.q.body = b.p;
	r.q.body_len = b.len;
	r.q.stall_ns = COPY_NS;
	e = e ? e : b.failed ? gcs_no_memory(err) : 0;
	return e ? e : write_run(&r, NULL, resource, true, ret, err);
}

errint_t gcs_xml_remove(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *generation, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	errint_t e;

	gcs_xml_init(&r, g, c, "remove", "DELETE", o);
	e = gcs_req_cond(&r, "", if_match, NULL, err);
	if (generation)
		param(&r, "generation", generation);
	return e ? e : gcs_req_run(&r, err);
}

/* ---- lists ---- */

/* An object of a page: its class is not there, and must not look like the usual one. */
static errint_t item_add(
	struct gcs_req *r, const struct _xmlNode *e, bool encoded, json_t *items, struct err *err)
{
	cleanup_buf struct buf key = BUF_INIT(16384);
	json_t *j = json_object();
	const char *class_name = xml_child_text(e, "StorageClass");
	bool ok = j && !json_array_append_new(items, j);

	if (!ok)
		return gcs_no_memory(err);
	if (s3_listed(xml_child_text(e, "Key"), encoded, &key) || !xml_utf8(key.p))
		return gcs_req_bad(r, err, "a name in the answer makes no sense");
	if (!set(j, "name", key.p) || !set(j, "size", xml_child_text(e, "Size")) ||
		!set(j, "generation", xml_child_text(e, "Generation")) ||
		!set(j, "timeCreated", xml_child_text(e, "LastModified")) ||
		!set(j, "storageClass", class_name ? class_name : ""))
		return gcs_no_memory(err);
	return 0;
}

static errint_t page_of(struct gcs_req *r, const struct xml *x, json_t **ret, struct err *err)
{
	const char *enc = xml_child_text(x->root, "EncodingType");
	const char *next = xml_child_text(x->root, "NextContinuationToken");
	bool encoded = enc && !strcmp(enc, "url");
	json_t *page = json_object(), *items = json_array(), *prefixes = json_array();
	const struct _xmlNode *n;
	errint_t e = 0;

	if (!page || !items || !prefixes || json_object_set(page, "items", items) ||
		json_object_set(page, "prefixes", prefixes))
		e = gcs_no_memory(err);
	for (n = xml_child(x->root, "Contents"); n && !e; n = xml_next(n, "Contents"))
		e = item_add(r, n, encoded, items, err);
	for (n = xml_child(x->root, "CommonPrefixes"); n && !e; n = xml_next(n, "CommonPrefixes")) {
		cleanup_buf struct buf key = BUF_INIT(16384);

		if (s3_listed(xml_child_text(n, "Prefix"), encoded, &key) || !xml_utf8(key.p))
			e = gcs_req_bad(r, err, "a prefix in the answer makes no sense");
		else if (json_array_append_new(prefixes, json_text(key.p)))
			e = gcs_no_memory(err);
	}
	if (!e && xml_child_true(x->root, "IsTruncated")) {
		if (!next || !*next)
			e = gcs_req_bad(r, err, "the answer does not say where it goes on");
		else if (!set(page, "nextPageToken", next))
			e = gcs_no_memory(err);
	}
	json_decref(items);
	json_decref(prefixes);
	if (e) {
		json_decref(page);
		return e;
	}
	*ret = page;
	return 0;
}

errint_t gcs_xml_list(struct gcs *g, const struct store_call *c, const char *bucket,
	const char *prefix, const char *delimiter, const char *after, const char *token,
	const char *max, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_xml struct xml x = {0};
	errint_t e;

	gcs_xml_init(&r, g, c, "list", "GET", (struct store_obj){bucket, NULL});
	param(&r, "list-type", "2");
	param(&r, "encoding-type", "url");
	param(&r, "max-keys", max);
	if (prefix[0])
		param(&r, "prefix", prefix);
	if (delimiter[0])
		param(&r, "delimiter", delimiter);
	if (after[0] && !token)
		param(&r, "start-after", after);
	if (token)
		param(&r, "continuation-token", token);
	r.q.body_max = LIST_BODY;
	e = gcs_req_run(&r, err);
	e = e ? e : document(&r, "ListBucketResult", &x, err);
	return e ? e : page_of(&r, &x, ret, err);
}

/* ---- buckets ---- */

/* project NULL: the one that the key counts as its own. */
static void project_put(struct gcs_req *r)
{
	if (r->g->conf.project)
		(void)net_field_add(&r->fields, "x-goog-project-id", r->g->conf.project);
}

errint_t gcs_xml_buckets(struct gcs *g, const struct store_call *c, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_xml struct xml x = {0};
	const struct _xmlNode *n;
	json_t *names = json_array();
	errint_t e;

	gcs_xml_init(&r, g, c, "list", "GET", (struct store_obj){NULL, NULL});
	project_put(&r);
	r.q.body_max = LIST_BODY;
	e = names ? gcs_req_run(&r, err) : gcs_no_memory(err);
	e = e ? e : document(&r, "ListAllMyBucketsResult", &x, err);
	n = e ? NULL : xml_child(xml_child(x.root, "Buckets"), "Bucket");
	for (; n && !e; n = xml_next(n, "Bucket")) {
		const char *name = xml_child_text(n, "Name");

		if (name && json_array_append_new(names, json_pack("{s:s}", "name", name)))
			e = gcs_no_memory(err);
	}
	*ret = e ? NULL : json_pack("{s:O}", "items", names);
	json_decref(names);
	return e || *ret ? e : gcs_no_memory(err);
}

errint_t gcs_xml_bucket_create(
	struct gcs *g, const struct store_call *c, const char *bucket, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	cleanup_buf struct buf b = BUF_INIT(1000);

	gcs_xml_init(&r, g, c, "create", "PUT", (struct store_obj){bucket, NULL});
	project_put(&r);
	if (g->conf.location) {
		(void)buf_adds(&b, "<CreateBucketConfiguration>");
		(void)xml_add(&b, "LocationConstraint", g->conf.location);
		(void)buf_adds(&b, "</CreateBucketConfiguration>");
		r.q.body = b.p;
		r.q.body_len = b.len;
	}
	return b.failed ? gcs_no_memory(err) : gcs_req_run(&r, err);
}

errint_t gcs_xml_bucket_remove(
	struct gcs *g, const struct store_call *c, const char *bucket, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};

	gcs_xml_init(&r, g, c, "remove", "DELETE", (struct store_obj){bucket, NULL});
	return gcs_req_run(&r, err);
}

errint_t gcs_xml_not(const char *what, struct err *err)
{
	return err_set(err, -EOPNOTSUPP, ERR_FINAL,
		"%s: not with an HMAC key; credentials of another kind can", what);
}
