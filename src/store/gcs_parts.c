/* SPDX-License-Identifier: MIT */
/*
 * Uploads in parts. Google's own multipart uploads take no conditions, so parts are objects of ours
 * that are there for a moment, below the hidden prefix:
 *
 *	.astra-tmp/up/ID	what parts_begin was given, as metadata of an empty object
 *	.astra-tmp/up/ID/00007	part 7
 *	.astra-tmp/up/ID/c1-00002	parts 65 to 96 composed, where there are more than 32
 *	.astra-tmp/up/ID/whole	all of it, where it goes into another class than the parts
 *
 * All are STANDARD, for a colder class is paid for longer than the moment. Finishing composes 32 at
 * a time and has Google delete the sources with that: so deleted they are not kept for soft delete.
 * Only the last step, a compose or a rewrite, touches the object, with its condition. Each step
 * is looked up before it is done (its size and CRC-32C tell), so finishing can be repeated.
 *
 * The record goes last, also when aborting: as long as there is anything, parts_pending shows it.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "driver.h"
#include "gcs_priv.h"

#define UP_PREFIX   STORE_TMP_PREFIX "up/"
#define META_KEY    "astra-key"
#define META_CLASS  "astra-class"
#define META_GIVEN  "given-" /* before each name of the metadata that the object is to have */
#define SEEN_NS	    (60 * NS_PER_S)
#define CLEAN_NS    (60 * NS_PER_S)
#define NAME_MAX_UP 96
#define TYPE	    "application/octet-stream"

static void name_make(char ret[NAME_MAX_UP], const char *id, const char *tail)
{
	(void)snprintf(ret, NAME_MAX_UP, UP_PREFIX "%s%s%s", id, tail[0] ? "/" : "", tail);
}

/* ---- uploads that are known to exist ---- */

static void seen(struct gcs *g, const char *bucket, const char *id)
{
	LOCKED(&g->lock);
	struct gcs_upload *u = &g->shared.upload[g->shared.upload_next++ % GCS_UPLOADS_KNOWN];

	(void)snprintf(u->id, sizeof(u->id), "%s", id);
	(void)snprintf(u->bucket, sizeof(u->bucket), "%s", bucket);
	u->seen_mono_ns = clock_mono_ns();
}

static bool seen_lately(struct gcs *g, const char *bucket, const char *id, bool forget)
{
	int64_t since = clock_mono_ns() - SEEN_NS;
	bool found = false;

	LOCKED(&g->lock);
	for (unsigned i = 0; i < GCS_UPLOADS_KNOWN; i++) {
		struct gcs_upload *u = &g->shared.upload[i];

		if (strcmp(u->id, id) != 0 || strcmp(u->bucket, bucket) != 0)
			continue;
		found |= u->seen_mono_ns > since;
		if (forget)
			*u = (struct gcs_upload){0};
	}
	return found;
}

static void id_tail(const char *key, char ret[17])
{
	(void)snprintf(ret, 17, "%016llx", (unsigned long long)hash64(key, strlen(key), 0));
}

/* The record of an upload; -ENOENT, ERR_NOT_FOUND when there is none of that id for that key. */
static errint_t record_get(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *id, json_t **ret, struct err *err)
{
	char name[NAME_MAX_UP], tail[17];
	errint_t e;

	id_tail(o.key, tail);
	if (strlen(id) != GCS_UPLOAD_ID || strspn(id, "0123456789abcdef") != GCS_UPLOAD_ID ||
		strcmp(id + 16, tail) != 0)
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "no upload %s of %s/%s", id, o.bucket, o.key);
	name_make(name, id, "");
	e = gcs_object(g, c, (struct store_obj){o.bucket, name}, ret, err);
	if (!e)
		seen(g, o.bucket, id);
	return e;
}

errint_t gcs_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	static const struct store_put none;
	struct gcs *g = (struct gcs *)s;
	char names[STORE_META_MAX][256], tail[17], id[GCS_UPLOAD_ID + 1], record[NAME_MAX_UP];
	struct store_meta meta[STORE_META_MAX + 2];
	struct gcs_up up = {.o = {o.bucket, record},
		.class_name = GCS_ONLINE,
		.meta = meta,
		.if_none_match = STORE_IF_ABSENT};
	struct store_stat st;
	errint_t e;

	opt = opt ? opt : &none;
	e = gcs_key_check(o.key, err);
	e = e ? e : driver_class_check(g->conf.classes, opt->class_name, err);
	e = e ? e : driver_meta_check(opt->meta, opt->nmeta, GCS_META_MAX, err);
	if (e)
		return e;
	id_tail(o.key, tail);
	(void)snprintf(id, sizeof(id), "%016llx%s", (unsigned long long)random_u64(), tail);
	name_make(record, id, "");
	meta[up.nmeta++] = (struct store_meta){META_KEY, o.key};
	if (opt->class_name)
		meta[up.nmeta++] = (struct store_meta){META_CLASS, opt->class_name};
	for (unsigned i = 0; i < opt->nmeta; i++) {
		(void)snprintf(names[i], sizeof(names[i]), META_GIVEN "%.200s", opt->meta[i].key);
		meta[up.nmeta++] = (struct store_meta){names[i], opt->meta[i].value};
	}
	e = gcs_up(g, c, &up, "", 0, &st, err);
	if (e)
		return e;
	store_stat_done(&st);
	seen(g, o.bucket, id);
	(void)snprintf(ret_id, STORE_UPLOAD_MAX, "%s", id);
	return 0;
}

/* ---- parts ---- */

errint_t gcs_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_json json_t *record = NULL;
	char tail[16], name[NAME_MAX_UP], key_tail[17];
	struct gcs_up up = {.o = {o.bucket, name}, .class_name = GCS_ONLINE, .crc32c = crc};
	struct store_stat st;
	errint_t e = 0;

	id_tail(o.key, key_tail);
	if (!seen_lately(g, o.bucket, id, false) || strcmp(id + 16, key_tail) != 0)
		e = record_get(g, c, o, id, &record, err);
	if (e)
		return e;
	(void)snprintf(tail, sizeof(tail), "%05u", number);
	name_make(name, id, tail);
	e = gcs_up(g, c, &up, p, len, &st, err);
	if (e)
		return e;
	*ret = (struct store_part){
		.number = number, .size = len, .crc32c = crc, .has_crc32c = true};
	(void)snprintf(ret->etag, sizeof(ret->etag), "%s", st.etag);
	store_stat_done(&st);
	return 0;
}

/* ---- what lies below an upload ---- */

struct piece {		     /* one object below ID/ */
	char tail[16];	     /* "00007", "c1-00002", "whole" */
	struct store_part p; /* number 0: not a part */
};

struct pieces {
	struct piece *v; /* owned; sorted by tail */
	size_t n;
	size_t skip; /* bytes of names before the tail */
};

static errint_t piece_add(void *arg, const json_t *item, struct err *err)
{
	struct pieces *all = arg;
	const char *name = json_string_value(json_object_get(item, "name"));
	const char *tail = name && strlen(name) > all->skip ? name + all->skip : "";
	struct store_stat st;
	struct piece *at;

	if (!*tail || strlen(tail) >= sizeof(at->tail))
		return 0; /* not ours */
	if (!gcs_stat_read(item, &st))
		return err_set(err, -EBADMSG, ERR_RETRY, "a part's entry is not whole");
	if (all->n % 64 == 0) {
		void *p = reallocarray(all->v, all->n + 64, sizeof(*all->v));

		if (!p) {
			store_stat_done(&st);
			return gcs_no_memory(err);
		}
		all->v = p;
	}
	at = &all->v[all->n++];
	*at = (struct piece){
		.p = {.size = st.size, .crc32c = st.crc32c, .has_crc32c = st.has_crc32c}};
	(void)snprintf(at->tail, sizeof(at->tail), "%s", tail);
	memcpy(at->p.etag, st.etag, sizeof(at->p.etag));
	if (strlen(tail) == 5 && strspn(tail, "0123456789") == 5)
		at->p.number = (unsigned)atoi(tail);
	store_stat_done(&st);
	return 0;
}

static int piece_order(const void *a, const void *b)
{
	return strcmp(((const struct piece *)a)->tail, ((const struct piece *)b)->tail);
}

static errint_t pieces_get(struct gcs *g, const struct store_call *c, const char *bucket,
	const char *id, struct pieces *ret, struct err *err)
{
	char prefix[NAME_MAX_UP];
	errint_t e;

	name_make(prefix, id, "");
	(void)strcat(prefix, "/"); /* name_make leaves room: an id has 32 bytes */
	*ret = (struct pieces){.skip = strlen(prefix)};
	e = gcs_each(g, c, bucket, prefix, 0, piece_add, ret, err);
	if (!e && ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), piece_order);
	for (size_t i = 1; i < ret->n && !e; i++)
		if (!piece_order(&ret->v[i - 1], &ret->v[i]))
			e = err_set(err, -EBADMSG, ERR_RETRY, "part %s is listed twice",
				ret->v[i].tail);
	if (e) {
		free(ret->v);
		*ret = (struct pieces){0};
	}
	return e;
}

static int piece_cmp(const void *key, const void *at)
{
	return strcmp(key, ((const struct piece *)at)->tail);
}

static const struct piece *piece_find(const struct pieces *all, const char *tail)
{
	return all->n ? bsearch(tail, all->v, all->n, sizeof(*all->v), piece_cmp) : NULL;
}

/* Not every listing has checksums: not of what a customer's key encrypts, nor that of the XML API.
 * Without one a part could not be finished. */
static errint_t piece_sum(struct gcs *g, const struct store_call *c, const char *bucket,
	const char *id, struct piece *p, struct err *err)
{
	cleanup_json json_t *j = NULL;
	struct store_stat st = {0};
	char name[NAME_MAX_UP];
	errint_t e;

	if (p->p.has_crc32c)
		return 0;
	name_make(name, id, p->tail);
	e = gcs_object(g, c, (struct store_obj){bucket, name}, &j, err);
	if (!e && gcs_stat_read(j, &st) && !strcmp(st.etag, p->p.etag)) {
		p->p.has_crc32c = st.has_crc32c;
		p->p.crc32c = st.crc32c;
	}
	store_stat_done(&st);
	return e == -ENOENT ? 0 : e;
}

errint_t gcs_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_json json_t *record = NULL;
	struct pieces all = {0};
	size_t n = 0;
	errint_t e = record_get(g, c, o, id, &record, err);

	e = e ? e : pieces_get(g, c, o.bucket, id, &all, err);
	if (e)
		return e;
	*ret = calloc(all.n + 1, sizeof(**ret));
	e = *ret ? 0 : gcs_no_memory(err);
	for (size_t i = 0; !e && i < all.n; i++) {
		if (!all.v[i].p.number)
			continue;
		e = piece_sum(g, c, o.bucket, id, &all.v[i], err);
		(*ret)[n++] = all.v[i].p;
	}
	free(all.v);
	if (e) {
		free(*ret);
		*ret = NULL;
		n = 0;
	}
	*ret_n = n;
	return e;
}

/* ---- composing ---- */

struct source { /* of a compose: what is wanted, and what it is called */
	char tail[16], etag[STORE_ETAG_MAX];
	uint64_t size;
	uint32_t crc;
};

struct finish {
	struct gcs *g;
	const struct store_call *c;
	struct store_obj o;
	const char *id;
	const char *class_name;
	const struct store_put *cond;
	json_t *meta; /* owned; of the object */
	struct pieces have;
	struct source *src; /* owned */
	size_t n;
};

static json_t *source_json(const struct finish *f, const struct source *src, size_t n)
{
	json_t *v = json_array();

	for (size_t i = 0; v && i < n; i++) {
		char name[NAME_MAX_UP];
		json_t *j;

		name_make(name, f->id, src[i].tail);
		j = json_pack("{s:s, s:s, s:{s:s}}", "name", name, "generation", src[i].etag,
			"objectPreconditions", "ifGenerationMatch", src[i].etag);
		if (json_array_append_new(v, j)) {
			json_decref(v);
			v = NULL;
		}
	}
	return v;
}

static struct source joined(const struct source *src, size_t n, const char *tail)
{
	struct source r = {0};

	(void)snprintf(r.tail, sizeof(r.tail), "%s", tail);
	for (size_t i = 0; i < n; i++) {
		r.crc = crc32c_combine(r.crc, src[i].crc, src[i].size);
		r.size += src[i].size;
	}
	return r;
}

static bool is_whole(const struct store_stat *st, const struct source *want)
{
	return st->size == want->size && (!st->has_crc32c || st->crc32c == want->crc);
}

/* By the XML API: r is only who complains. */
static errint_t compose_xml(struct gcs_req *r, const struct finish *f, const struct source *src,
	size_t n, const char *if_match, const char *if_none_match, json_t *meta, struct err *err)
{
	struct source want = joined(src, n, "");
	char crc[9];
	cleanup_json json_t *resource = json_pack("{s:s, s:s, s:O*, s:I}", "storageClass",
		GCS_ONLINE, "contentType", TYPE, "metadata", meta, "size", (json_int_t)want.size);
	cleanup_json json_t *sources = source_json(f, src, n);

	gcs_crc_format(want.crc, crc);
	if (!resource || !sources || json_object_set_new(resource, "crc32c", json_string(crc)))
		return gcs_no_memory(err);
	return gcs_xml_compose(
		f->g, f->c, r->o, if_match, if_none_match, resource, sources, &r->json, err);
}

/* meta NULL: something of ours for a moment. */
static errint_t compose(const struct finish *f, const struct source *src, size_t n,
	struct store_obj to, const char *if_match, const char *if_none_match, json_t *meta,
	struct store_stat *ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	struct source want = joined(src, n, "");
	errint_t e;

	gcs_req_init(&r, f->g, f->c, "compose", "POST", "/storage/v1");
	gcs_req_obj(&r, to);
	(void)buf_adds(&r.url, "/compose");
	e = gcs_req_cond(&r, "ifGenerationMatch", if_match, if_none_match, err);
	if (f->g->conf.kms_key)
		gcs_req_param(&r, "kmsKeyName", f->g->conf.kms_key);
	for (unsigned i = 0; i < f->g->customer.n; i++)
		(void)net_field_add(&r.fields, f->g->customer.v[i].name, f->g->customer.v[i].value);
	r.q.stall_ns = GCS_SLOW_NS;
	if (!e && f->g->hmac)
		e = compose_xml(&r, f, src, n, if_match, if_none_match, meta, err);
	else if (!e)
		e = gcs_req_body(&r,
			json_pack("{s:s, s:b, s:{s:s, s:s, s:O*}, s:o}", "kind",
				"storage#composeRequest", "deleteSourceObjects", 1, "destination",
				"storageClass", GCS_ONLINE, "contentType", TYPE, "metadata", meta,
				"sourceObjects", source_json(f, src, n)),
			err);
	if (!e && !f->g->hmac)
		e = gcs_req_run(&r, err);
	if (e)
		return e;
	if (!gcs_stat_read(r.json, ret))
		return gcs_req_bad(&r, err, "the answer has no whole resource");
	if (is_whole(ret, &want))
		return 0;
	store_stat_done(ret);
	return gcs_req_bad(&r, err, "what is stored are not the parts");
}

/* A step before the last: nobody sees what it makes, so all that goes wrong is tried again. */
static errint_t step_failed(errint_t e, struct err *err)
{
	if (err->kind != ERR_UNKNOWN && err->kind != ERR_STALE && err->kind != ERR_NOT_FOUND)
		return e;
	err->kind = ERR_RETRY;
	return -EIO;
}

/* The piece called tail, where it is what is wanted; an earlier try has made it. */
static bool made_already(struct finish *f, struct source *want)
{
	const struct piece *have = piece_find(&f->have, want->tail);
	cleanup_json json_t *j = NULL;
	struct store_part p;
	char name[NAME_MAX_UP];
	struct err err;

	if (!have || have->p.size != want->size)
		return false;
	p = have->p;
	if (!p.has_crc32c) { /* listings do not tell it of what a customer's key encrypts */
		name_make(name, f->id, want->tail);
		if (gcs_object(f->g, f->c, (struct store_obj){f->o.bucket, name}, &j, &err))
			return false;
		p.has_crc32c =
			gcs_crc_parse(json_string_value(json_object_get(j, "crc32c")), &p.crc32c);
	}
	if (!p.has_crc32c || p.crc32c != want->crc)
		return false;
	memcpy(want->etag, p.etag, sizeof(want->etag));
	return true;
}

/* Makes kids[0..n) the one piece that want names. */
static errint_t fold(
	struct finish *f, const struct source *kids, size_t n, struct source *want, struct err *err)
{
	const struct piece *have = piece_find(&f->have, want->tail);
	char name[NAME_MAX_UP];
	struct store_stat st;
	errint_t e;

	name_make(name, f->id, want->tail);
	e = compose(f, kids, n, (struct store_obj){f->o.bucket, name}, have ? have->p.etag : NULL,
		have ? NULL : STORE_IF_ABSENT, NULL, &st, err);
	if (e)
		return step_failed(e, err);
	memcpy(want->etag, st.etag, sizeof(want->etag));
	store_stat_done(&st);
	return 0;
}

static errint_t part_check(const struct finish *f, size_t i, struct err *err)
{
	const struct piece *have = piece_find(&f->have, f->src[i].tail);

	if (have && !strcmp(have->p.etag, f->src[i].etag))
		return 0;
	return err_set(err, -EINVAL, ERR_FINAL, "%s/%s: part %s is not there or not the one named",
		f->o.bucket, f->o.key, f->src[i].tail);
}

/* Piece number k of a level: of level 0 a part, else 32 pieces of the level below (the last one may
 * have fewer). No deeper than the 3 levels of 10000 parts. */
static errint_t piece_make(
	struct finish *f, unsigned level, size_t k, struct source *ret, struct err *err)
{
	struct source kids[GCS_COMPOSE_MAX];
	size_t below = 1, from, n;
	errint_t e = call_check(f->c, err);
	char tail[16];

	if (!level) {
		*ret = f->src[k];
		return e ? e : part_check(f, k, err);
	}
	for (unsigned i = 1; i < level; i++)
		below *= GCS_COMPOSE_MAX;
	from = k * below * GCS_COMPOSE_MAX;
	n = MIN_OF(f->n - from, below * GCS_COMPOSE_MAX);
	(void)snprintf(tail, sizeof(tail), "c%u-%05zu", level % 10, k % 100000);
	*ret = joined(f->src + from, n, tail);
	if (e || made_already(f, ret))
		return e;
	n = (n + below - 1) / below;
	for (size_t i = 0; i < n && !e; i++)
		e = piece_make(f, level - 1, k * GCS_COMPOSE_MAX + i, &kids[i], err);
	return e ? e : fold(f, kids, n, ret, err);
}

/* The at most 32 pieces that are all of it. */
static errint_t tops_make(
	struct finish *f, struct source tops[GCS_COMPOSE_MAX], size_t *ret_n, struct err *err)
{
	unsigned level = 0;
	size_t each = 1;
	errint_t e = 0;

	for (; each * GCS_COMPOSE_MAX < f->n; level++)
		each *= GCS_COMPOSE_MAX;
	*ret_n = (f->n + each - 1) / each;
	for (size_t k = 0; k < *ret_n && !e; k++)
		e = piece_make(f, level, k, &tops[k], err);
	return e;
}

/* Into another class: one piece, and a rewrite of it. */
static errint_t into_class(struct finish *f, struct store_stat *ret, struct err *err)
{
	cleanup_json json_t *made = NULL, *source = NULL;
	struct source tops[GCS_COMPOSE_MAX], whole = joined(f->src, f->n, "whole");
	char name[NAME_MAX_UP];
	struct gcs_rewrite w;
	size_t n;
	errint_t e = 0;

	if (!made_already(f, &whole)) {
		e = tops_make(f, tops, &n, err);
		e = e ? e : fold(f, tops, n, &whole, err);
	}
	if (e)
		return e;
	name_make(name, f->id, whole.tail);
	e = gcs_object(f->g, f->c, (struct store_obj){f->o.bucket, name}, &source, err);
	if (e)
		return step_failed(e, err);
	made = json_pack("{s:s, s:s, s:O}", "storageClass", f->class_name, "contentType", TYPE,
		"metadata", f->meta);
	if (!made)
		return gcs_no_memory(err);
	w = (struct gcs_rewrite){.src = {f->o.bucket, name},
		.dst = f->o,
		.src_generation = whole.etag,
		.if_match = f->cond->if_match,
		.if_none_match = f->cond->if_none_match,
		.resource = made,
		.source = source};
	e = gcs_rewrite(f->g, f->c, &w, ret, err);
	if (e || is_whole(ret, &whole))
		return e;
	store_stat_done(ret);
	return err_set(err, -EBADMSG, ERR_UNKNOWN, "%s/%s: what is stored are not the parts",
		f->o.bucket, f->o.key);
}

static errint_t into_place(struct finish *f, struct store_stat *ret, struct err *err)
{
	struct source tops[GCS_COMPOSE_MAX];
	size_t n;
	errint_t e = tops_make(f, tops, &n, err);

	if (e)
		return e;
	e = compose(f, tops, n, f->o, f->cond->if_match, f->cond->if_none_match, f->meta, ret, err);
	/* The sources were there a moment ago. */
	return e == -ENOENT ? step_failed(e, err) : e;
}

/* ---- finishing ---- */

/* Metadata and class of the object: as given now, else as given when it was begun. */
static errint_t target_read(struct finish *f, const json_t *record, struct err *err)
{
	const json_t *had = json_object_get(record, "metadata");
	const size_t skip = strlen(META_GIVEN);
	cleanup_json json_t *given = NULL;
	const char *key;
	json_t *v;
	errint_t e;

	f->class_name = f->cond->class_name;
	if (!f->class_name)
		f->class_name = json_string_value(json_object_get(had, META_CLASS));
	if (!f->class_name)
		f->class_name = GCS_ONLINE;
	if (f->cond->nmeta) {
		e = gcs_resource(NULL, NULL, f->cond->meta, f->cond->nmeta, &given, err);
		if (e)
			return e;
		f->meta = json_incref(json_object_get(given, "metadata"));
		return 0;
	}
	f->meta = json_object();
	if (!f->meta)
		return gcs_no_memory(err);
	json_object_foreach ((json_t *)had, key, v)
		if (!strncmp(key, META_GIVEN, skip) && json_object_set(f->meta, key + skip, v))
			return gcs_no_memory(err);
	return 0;
}

static errint_t sources_make(
	struct finish *f, const struct store_part *parts, size_t n, struct err *err)
{
	f->src = calloc(n, sizeof(*f->src));
	f->n = n;
	if (!f->src)
		return gcs_no_memory(err);
	for (size_t i = 0; i < n; i++) {
		struct source *s = &f->src[i];

		(void)snprintf(s->tail, sizeof(s->tail), "%05u", parts[i].number);
		memcpy(s->etag, parts[i].etag, sizeof(s->etag));
		s->size = parts[i].size;
		s->crc = parts[i].crc32c;
		if (!parts[i].has_crc32c)
			return err_set(err, -EINVAL, ERR_FINAL,
				"%s/%s: part %u comes without its checksum", f->o.bucket, f->o.key,
				parts[i].number);
	}
	return 0;
}

/* All that is left below ID/, then the record. */
static errint_t clean(struct gcs *g, const struct store_call *c, const char *bucket, const char *id,
	const char *record_etag, struct err *err)
{
	struct pieces left = {0};
	char name[NAME_MAX_UP];
	errint_t e = pieces_get(g, c, bucket, id, &left, err);

	(void)seen_lately(g, bucket, id, true);
	for (size_t i = 0; !e && i < left.n; i++) {
		name_make(name, id, left.v[i].tail);
		e = gcs_remove_version(
			g, c, (struct store_obj){bucket, name}, left.v[i].p.etag, err);
		if (e == -ENOENT)
			e = 0;
	}
	free(left.v);
	if (e)
		return e;
	name_make(name, id, "");
	e = gcs_remove_version(g, c, (struct store_obj){bucket, name}, record_etag, err);
	return e == -ENOENT ? 0 : e;
}

static errint_t finish(struct finish *f, const struct store_part *parts, size_t n,
	struct store_stat *ret, struct err *err)
{
	errint_t e = pieces_get(f->g, f->c, f->o.bucket, f->id, &f->have, err);

	e = e ? e : sources_make(f, parts, n, err);
	if (e)
		return e;
	return strcmp(f->class_name, GCS_ONLINE) != 0 ? into_class(f, ret, err)
						      : into_place(f, ret, err);
}

errint_t gcs_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	static const struct store_put none;
	struct gcs *g = (struct gcs *)s;
	struct finish f = {.g = g, .c = c, .o = o, .id = id, .cond = cond ? cond : &none};
	cleanup_json json_t *record = NULL;
	struct store_call later = {.cancel = c->cancel};
	struct err own;
	errint_t e;

	e = driver_class_check(g->conf.classes, f.cond->class_name, err);
	e = e ? e : driver_meta_check(f.cond->meta, f.cond->nmeta, GCS_META_MAX, err);
	e = e ? e : record_get(g, c, o, id, &record, err);
	if (!e && f.cond->if_match && !gcs_gen_ok(f.cond->if_match))
		e = err_set(err, -ESTALE, ERR_STALE, "%s/%s is not version '%.40s'", o.bucket,
			o.key, f.cond->if_match);
	e = e ? e : target_read(&f, record, err);
	e = e ? e : finish(&f, parts, n, ret, err);
	json_decref(f.meta);
	free(f.have.v);
	free(f.src);
	if (e)
		return e;
	/* What cannot be cleaned up now is found when it is stale. */
	later.deadline_mono_ns = clock_mono_ns() + CLEAN_NS;
	(void)clean(g, &later, o.bucket, id,
		json_string_value(json_object_get(record, "generation")), &own);
	return 0;
}

errint_t gcs_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	struct gcs *g = (struct gcs *)s;
	cleanup_json json_t *record = NULL;
	errint_t e = record_get(g, c, o, id, &record, err);

	if (e)
		return e;
	return clean(
		g, c, o.bucket, id, json_string_value(json_object_get(record, "generation")), err);
}

/* ---- what was never finished ---- */

struct pending {
	struct gcs *g;
	const struct store_call *c;
	const char *bucket;
	struct store_upload *v; /* owned */
	size_t n;
};

static errint_t pending_add(void *arg, const json_t *item, struct err *err)
{
	struct pending *p = arg;
	const char *name = json_string_value(json_object_get(item, "name"));
	const size_t skip = strlen(UP_PREFIX);
	cleanup_json json_t *record = NULL;
	const char *key, *mark;
	struct store_upload *u;
	const json_t *meta;
	errint_t e;

	if (!name || strlen(name) != skip + GCS_UPLOAD_ID ||
		strspn(name + skip, "0123456789abcdef") != GCS_UPLOAD_ID)
		return 0;
	if (p->g->hmac) { /* whose listings have no metadata */
		e = gcs_object(p->g, p->c, (struct store_obj){p->bucket, name}, &record, err);
		if (e)
			return e == -ENOENT ? 0 : e;
		item = record;
	}
	meta = json_object_get(item, "metadata");
	key = json_string_value(json_object_get(meta, META_KEY));
	mark = json_string_value(json_object_get(meta, META_GIVEN STORE_META_WRITE));
	if (!key || !*key || strlen(key) > STORE_KEY_MAX)
		return 0;
	if (p->n % 16 == 0) {
		void *v = reallocarray(p->v, p->n + 16, sizeof(*p->v));

		if (!v)
			return gcs_no_memory(err);
		p->v = v;
	}
	u = &p->v[p->n++];
	*u = (struct store_upload){0};
	(void)snprintf(u->key, sizeof(u->key), "%s", key);
	(void)snprintf(u->id, sizeof(u->id), "%s", name + skip);
	(void)snprintf(u->mark, sizeof(u->mark), "%.63s", mark ? mark : "");
	(void)gcs_json_time(item, "timeCreated", &u->started_ns);
	return 0;
}

errint_t gcs_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	struct pending p = {.g = (struct gcs *)s, .c = c, .bucket = bucket};
	errint_t e = gcs_each(p.g, c, bucket, UP_PREFIX, '/', pending_add, &p, err);

	if (!e && !p.v)
		e = (p.v = calloc(1, sizeof(*p.v))) ? 0 : gcs_no_memory(err);
	if (e) {
		free(p.v);
		return e;
	}
	*ret = p.v;
	*ret_n = p.n;
	return 0;
}
