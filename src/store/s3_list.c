/* SPDX-License-Identifier: MIT */
/*
 * Listings: one page of ListObjectsV2 becomes one page of ours, with class and restore status, so
 * that no object needs a HEAD. Keys come URL-encoded, since XML cannot hold all of them. S3 gives
 * keys and common prefixes apart, some stores in no order: a page is sorted here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_log.h"
#include "s3_priv.h"

#define PAGE_BODY_MAX	 (16u << 20)
#define BUCKETS_MAX	 100000
#define BUCKETS_BODY_MAX (16u << 20)
#define BARE_TOLD_NS	 (600 * NS_PER_S)

/* ---- a page ---- */

static void restore_status(const struct s3 *d, const struct _xmlNode *e, struct store_stat *st)
{
	const struct _xmlNode *s = xml_child(e, "RestoreStatus");
	const char *class_name = xml_child_text(e, "StorageClass");

	s3_stat_class(d, st, class_name && *class_name ? class_name : "STANDARD", NULL, NULL);
	if (!s || !st->archived)
		return;
	if (xml_child_true(s, "IsRestoreInProgress")) {
		st->restoring = true;
		return;
	}
	st->restored_until_ns = s3_time(xml_child_text(s, "RestoreExpiryDate"));
	st->archived = !st->restored_until_ns;
}

/* What lies in the directory of a gateway and did not come through it has none: nobody could tell
 * one version of it from another. A directory's own entry is not missed. */
static bool has_no_version(
	struct s3 *d, const struct _xmlNode *e, const char *bucket, const struct buf *key)
{
	const char *etag = xml_child_text(e, "ETag");
	int_fast64_t then = atomic_load(&d->bare_told_ns);
	int64_t now = clock_mono_ns();

	if (!etag || *etag)
		return false;
	if (key->len && key->p[key->len - 1] != '/' && (!then || now - then > BARE_TOLD_NS) &&
		atomic_compare_exchange_strong(&d->bare_told_ns, &then, now))
		log_warn("s3",
			"%s: '%s' has no ETag, and is not shown, as others of the kind: bring it "
			"there through S3",
			bucket, key->p);
	return true;
}

/* False when it makes no sense. */
static bool entry_add(struct s3 *d, const char *bucket, const struct _xmlNode *e, bool encoded,
	struct buf *key, struct driver_page *g)
{
	struct store_stat st = {0};
	size_t group;

	if (s3_listed(xml_child_text(e, "Key"), encoded, key) || xml_child_u64(e, "Size", &st.size))
		return false;
	if (has_no_version(d, e, bucket, key))
		return true;
	if (s3_etag(xml_child_text(e, "ETag"), st.etag))
		return false;
	st.mtime_ns = s3_time(xml_child_text(e, "LastModified"));
	restore_status(d, e, &st);
	if (driver_page_wants(g, key->p, key->len, &group) && !group)
		(void)driver_page_add(g, key->p, &st);
	return true;
}

static errint_t page_fill(struct s3 *d, const struct s3_req *q, const struct xml *x,
	struct driver_page *g, struct err *err)
{
	const char *enc = xml_child_text(x->root, "EncodingType");
	bool encoded = enc && !strcmp(enc, "url");
	cleanup_buf struct buf key = BUF_INIT(16384);
	const struct _xmlNode *e;
	size_t group;

	for (e = xml_child(x->root, "Contents"); e; e = xml_next(e, "Contents"))
		if (!entry_add(d, q->bucket, e, encoded, &key, g))
			return s3_bad(q, err, "an object in the answer makes no sense");
	for (e = xml_child(x->root, "CommonPrefixes"); e; e = xml_next(e, "CommonPrefixes")) {
		if (s3_listed(xml_child_text(e, "Prefix"), encoded, &key))
			return s3_bad(q, err, "a prefix in the answer makes no sense");
		if (driver_page_wants(g, key.p, key.len, &group))
			(void)driver_page_add_group(g, key.p, key.len);
	}
	return g->more ? s3_bad(q, err, "the answer has more entries than were asked for") : 0;
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct store_entry *)a)->key, ((const struct store_entry *)b)->key);
}

/* Sorted, each key once. */
static void page_order(struct store_page *p)
{
	size_t n = 0;

	if (p->n)
		qsort(p->e, p->n, sizeof(*p->e), entry_cmp);
	for (size_t i = 0; i < p->n; i++)
		if (!n || strcmp(p->e[n - 1].key, p->e[i].key) != 0)
			p->e[n++] = p->e[i];
	p->n = n;
}

static errint_t page_end(const struct s3_req *q, const struct xml *x, struct driver_page *g,
	struct store_page *ret, struct err *err)
{
	bool more = xml_child_true(x->root, "IsTruncated");
	const char *next = xml_child_text(x->root, "NextContinuationToken");
	errint_t r;

	if (more && (!next || !*next || strlen(next) >= sizeof(ret->next)))
		return s3_bad(q, err, "the answer does not say where it goes on");
	r = driver_page_end(g, ret, err);
	if (r)
		return r;
	page_order(ret);
	ret->truncated = more;
	if (more)
		memcpy(ret->next, next, strlen(next) + 1);
	return 0;
}

/* One that does not know start-after begins at the beginning. */
static errint_t after_check(
	const struct s3_req *q, const char *after, struct store_page *p, struct err *err)
{
	if (!*after || !p->n || strcmp(p->e[0].key, after) > 0)
		return 0;
	store_page_done(p);
	return err_set(err, -EOPNOTSUPP, ERR_FINAL, "%s: it does not begin behind a name", q->what);
}

/* Buckets of one zone ("x--x-s3") list in no order, and know no start-after. */
static bool in_order(const char *bucket)
{
	static const char end[] = "--x-s3";
	size_t n = strlen(bucket);

	return n < sizeof(end) || strcmp(bucket + n - (sizeof(end) - 1), end) != 0;
}

/* The server's word for a token that it did not give out. */
static errint_t token_error(const char *token, errint_t r, struct err *err)
{
	if (*token && err->http_status == 400 && !strcmp(err->code, "InvalidArgument")) {
		err->kind = ERR_FINAL;
		return -EINVAL;
	}
	return r;
}

errint_t s3_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {.what = "list",
		.method = "GET",
		.bucket = bucket,
		.c = c,
		.body_max = PAGE_BODY_MAX};
	char n[16], delim[2] = {delimiter, 0};
	cleanup_xml struct xml x = {0};
	struct net_answer a = {0};
	struct driver_page g;
	errint_t r = 0;

	if (*after && !in_order(bucket))
		return err_set(err, -EOPNOTSUPP, ERR_FINAL, "list: %s has no order", bucket);
	r = driver_page_begin(&g, prefix, delimiter, "", "", max, err);
	if (r)
		return r;
	snprintf(n, sizeof(n), "%u", max);
	s3_param(&q, "list-type", "2");
	s3_param(&q, "encoding-type", "url");
	s3_param(&q, "max-keys", n);
	if (*prefix)
		s3_param(&q, "prefix", prefix);
	if (delimiter)
		s3_param(&q, "delimiter", delim);
	if (*token)
		s3_param(&q, "continuation-token", token);
	else if (*after)
		s3_param(&q, "start-after", after);
	(void)net_field_add(&q.fields, "x-amz-optional-object-attributes", "RestoreStatus");
	r = s3_send(d, &q, &a, err);
	r = r ? token_error(token, r, err) : s3_xml(d, &q, &a, "ListBucketResult", &x, err);
	r = r ? r : page_fill(d, &q, &x, &g, err);
	r = r ? r : page_end(&q, &x, &g, ret, err);
	r = r || *token ? r : after_check(&q, after, ret, err);
	driver_page_done(&g);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* ---- buckets ---- */

struct names {
	char **v; /* owned, and each */
	size_t n;
	char token[STORE_TOKEN_MAX];
};

static void names_done(struct names *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->v[i]);
	free(v->v);
}

static errint_t names_page(
	const struct s3_req *q, const struct xml *x, struct names *v, struct err *err)
{
	const char *next = xml_child_text(x->root, "ContinuationToken");
	const struct _xmlNode *e;

	for (e = xml_child(xml_child(x->root, "Buckets"), "Bucket"); e; e = xml_next(e, "Bucket")) {
		const char *name = xml_child_text(e, "Name");

		if (!name || !*name || strlen(name) > STORE_BUCKET_MAX || v->n == BUCKETS_MAX)
			return s3_bad(q, err, "a bucket in the answer makes no sense");
		if (*name == '.' || strchr(name, '/'))
			continue; /* no call takes it */
		if (v->n % 64 == 0) {
			char **more = reallocarray(v->v, v->n + 64, sizeof(*more));

			if (!more)
				return err_set(err, -ENOMEM, ERR_RETRY, "%s: no memory", q->what);
			v->v = more;
		}
		v->v[v->n] = strdup(name);
		if (!v->v[v->n])
			return err_set(err, -ENOMEM, ERR_RETRY, "%s: no memory", q->what);
		v->n++;
	}
	next = next ? next : "";
	if (strlen(next) >= sizeof(v->token) || (*next && !strcmp(next, v->token)))
		return s3_bad(q, err, "the answer does not say where it goes on");
	memcpy(v->token, next, strlen(next) + 1);
	return 0;
}

errint_t s3_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct names v = {0};
	errint_t r;

	do {
		struct s3_req q = {.what = "bucket_list",
			.method = "GET",
			.c = c,
			.body_max = BUCKETS_BODY_MAX};
		cleanup_xml struct xml x = {0};
		struct net_answer a = {0};

		if (v.token[0])
			s3_param(&q, "continuation-token", v.token);
		r = s3_send(d, &q, &a, err);
		r = r ? r : s3_xml(d, &q, &a, "ListAllMyBucketsResult", &x, err);
		r = r ? r : names_page(&q, &x, &v, err);
		net_answer_done(&a);
		s3_req_done(&q);
	} while (!r && v.token[0]);
	if (r) {
		names_done(&v);
		return r;
	}
	*ret = v.v;
	*ret_n = v.n;
	return 0;
}
