/* SPDX-License-Identifier: MIT */
/*
 * LIST pages and containers. One request carries name, size, time, tier, state of a rehydration and
 * metadata of up to a thousand blobs. A page may be shorter than asked for; one without any entry
 * is followed by the next. Blobs of which only uncommitted blocks exist are not in it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "azblob_priv.h"
#include "driver.h"
#include "xml.h"

#define TOKEN_MARK     'm' /* before the service's marker: "" would start again */
#define CONTAINERS_MAX 100000

struct listing { /* one LIST of the seam */
	struct azblob *d;
	struct driver_page page;
	char marker[STORE_TOKEN_MAX];
};

static errint_t bad(const char *what, struct err *err)
{
	return err_set(err, -EBADMSG, ERR_RETRY, "the list has %s", what);
}

/* A name as it is; encoded where XML could not hold it. Borrowed, or in b. */
static const char *name_of(const struct _xmlNode *node, struct buf *b)
{
	const struct _xmlNode *name = xml_child(node, "Name");
	const char *text = name ? xml_text(name) : NULL, *encoded;

	encoded = name ? xml_attr(name, "Encoded") : NULL;
	if (!text || !encoded || strcmp(encoded, "true") != 0)
		return text;
	buf_reset(b);
	return net_url_decode(b, text, strlen(text)) ? NULL : b->p;
}

static errint_t meta_read(const struct _xmlNode *blob, struct store_stat *st, bool *ret_dir)
{
	const struct _xmlNode *m = xml_child(xml_child(blob, "Metadata"), NULL);

	for (; m; m = xml_next(m, NULL)) {
		const char *v = xml_text(m);

		if (!strcasecmp(xml_name(m), "hdi_isfolder"))
			*ret_dir |= v && !strcasecmp(v, "true");
		else if (v && !azblob_meta_take(st, xml_name(m), v))
			return -ENOMEM;
	}
	return 0;
}

static errint_t blob_read(struct azblob *d, const struct _xmlNode *blob, struct store_stat *st,
	bool *ret_dir, struct err *err)
{
	const struct _xmlNode *p = xml_child(blob, "Properties");
	const char *time = xml_child_text(p, "Last-Modified");
	const char *type = xml_child_text(p, "ResourceType");

	if (azblob_etag(xml_child_text(p, "Etag"), st->etag))
		return bad("a blob without a usable ETag", err);
	if (!time || net_date_parse(time, &st->mtime_ns))
		return bad("a blob without a usable time", err);
	if (xml_child_u64(p, "Content-Length", &st->size))
		return bad("a blob without a usable length", err);
	azblob_tier(d, xml_child_text(p, "AccessTier"), xml_child_text(p, "ArchiveStatus"),
		xml_child_true(p, "AccessTierInferred"), st);
	*ret_dir = false;
	if (meta_read(blob, st, ret_dir))
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a list");
	/* In a flat account it is a foreign marker, shown as the empty object that it is. */
	*ret_dir = type && !strcmp(type, "directory");
	return 0;
}

static bool tmp_hidden(const struct driver_page *g, const char *key)
{
	return !g->show_tmp && !strncmp(key, STORE_TMP_PREFIX, strlen(STORE_TMP_PREFIX));
}

/* Entries that the page must have: not to have room for one would hide it. */
static errint_t added(struct driver_page *g, bool ok, struct err *err)
{
	if (ok)
		return 0;
	return g->failed ? err_set(err, g->failed, ERR_RETRY, "no memory for a list")
			 : bad("more entries than were asked for", err);
}

/* A directory is the marker "x/"; where the list groups by '/', its group. */
static errint_t add_dir(
	struct driver_page *g, const char *key, const struct store_stat *st, struct err *err)
{
	char name[STORE_KEY_MAX + 2];
	size_t n = (size_t)snprintf(name, sizeof(name), "%s/", key);

	if (n > STORE_KEY_MAX || tmp_hidden(g, name))
		return 0;
	if (g->delimiter == '/' && n > g->prefix_len)
		return added(g, driver_page_add_group(g, name, n), err);
	return added(g, driver_page_add(g, name, st), err);
}

static errint_t add_blob(struct listing *l, const struct _xmlNode *node, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(STORE_KEY_MAX + 1);
	struct driver_page *g = &l->page;
	const char *key = name_of(node, &text);
	struct store_stat st = {0};
	bool dir = false;
	errint_t r = 0;

	if (!key || !*key || strncmp(key, g->prefix, g->prefix_len) != 0)
		return bad("a name that was not asked for", err);
	if (strlen(key) > STORE_KEY_MAX || tmp_hidden(g, key))
		return 0;
	r = blob_read(l->d, node, &st, &dir, err);
	if (!r && dir)
		r = add_dir(g, key, &st, err);
	else if (!r)
		r = added(g, driver_page_add(g, key, &st), err);
	store_stat_done(&st);
	return r;
}

static errint_t add_prefix(struct listing *l, const struct _xmlNode *node, struct err *err)
{
	cleanup_buf struct buf text = BUF_INIT(STORE_KEY_MAX + 1);
	struct driver_page *g = &l->page;
	const char *key = name_of(node, &text);
	size_t n = key ? strlen(key) : 0;

	if (!n || n <= g->prefix_len || strncmp(key, g->prefix, g->prefix_len) != 0 ||
		key[n - 1] != g->delimiter)
		return bad("a prefix that was not asked for", err);
	if (n > STORE_KEY_MAX || tmp_hidden(g, key))
		return 0;
	return added(g, driver_page_add_group(g, key, n), err);
}

static errint_t page_read(struct listing *l, const struct net_answer *a, struct err *err)
{
	cleanup_xml struct xml x = {0};
	const struct _xmlNode *n, *blobs;
	const char *next;
	errint_t r = xml_parse(&x, a->body.p, a->body.len, "EnumerationResults", err);

	if (r)
		return r;
	blobs = xml_child(x.root, "Blobs");
	if (!blobs)
		return bad("no blobs element", err);
	for (n = xml_child(blobs, NULL); n && !r; n = xml_next(n, NULL)) {
		if (!strcmp(xml_name(n), "Blob"))
			r = add_blob(l, n, err);
		else if (!strcmp(xml_name(n), "BlobPrefix"))
			r = add_prefix(l, n, err);
	}
	next = xml_child_text(x.root, "NextMarker");
	next = next ? next : "";
	if (!r && (strlen(next) >= sizeof(l->marker) - 1 || (*next && !strcmp(next, l->marker))))
		r = bad("an unusable marker", err);
	if (!r)
		memcpy(l->marker, next, strlen(next) + 1);
	return r;
}

static errint_t page_get(struct listing *l, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	char one[2] = {delimiter, 0}, max[16];
	errint_t e;

	azblob_req_init(l->d, &r, "list", "GET", (struct store_obj){.bucket = bucket});
	snprintf(max, sizeof(max), "%zu", l->page.max - l->page.n);
	(void)net_url_param(&r.url, "restype", "container");
	(void)net_url_param(&r.url, "comp", "list");
	(void)net_url_param(&r.url, "include", "metadata");
	(void)net_url_param(&r.url, "maxresults", max);
	if (*prefix)
		(void)net_url_param(&r.url, "prefix", prefix);
	if (delimiter)
		(void)net_url_param(&r.url, "delimiter", one);
	if (l->marker[0])
		(void)net_url_param(&r.url, "marker", l->marker);
	r.q.body_max = AZ_LIST_MAX;
	e = azblob_send(l->d, c, &r, &a, err);
	if (!e) {
		e = page_read(l, &a, err);
		e = e ? azblob_named(l->d, &r, e, err) : 0;
	}
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct store_entry *)a)->key, ((const struct store_entry *)b)->key);
}

/* By bytes, each key once: groups come behind the blobs, or in another order of characters. */
static void page_sort(struct store_page *p)
{
	size_t n = 0;

	if (p->n)
		qsort(p->e, p->n, sizeof(*p->e), entry_cmp);
	for (size_t i = 0; i < p->n; i++)
		if (!n || strcmp(p->e[n - 1].key, p->e[i].key) != 0)
			p->e[n++] = p->e[i];
	p->n = n;
}

errint_t azblob_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	struct listing l = {.d = (struct azblob *)s};
	errint_t r;

	if (!azblob_bucket_ok(bucket))
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "no container can be named '%s'", bucket);
	if (*token && *token != TOKEN_MARK)
		return err_set(err, -EINVAL, ERR_FINAL, "list: bad continuation token");
	r = driver_page_begin(&l.page, prefix, delimiter, "", "", max, err);
	if (*token)
		memcpy(l.marker, token + 1, strlen(token));
	do
		r = r ? r : page_get(&l, c, bucket, prefix, delimiter, err);
	while (!r && !l.page.n && l.marker[0]);
	r = r ? r : driver_page_end(&l.page, ret, err);
	driver_page_done(&l.page);
	if (r)
		return r;
	page_sort(ret);
	ret->truncated = l.marker[0];
	if (ret->truncated)
		snprintf(ret->next, sizeof(ret->next), "%c%.*s", TOKEN_MARK,
			(int)sizeof(ret->next) - 2, l.marker);
	return 0;
}

/* ---- containers ---- */

struct names {
	char **v; /* owned, each too */
	size_t n;
	char marker[STORE_TOKEN_MAX];
};

static errint_t names_read(struct names *l, const struct net_answer *a, struct err *err)
{
	cleanup_xml struct xml x = {0};
	const struct _xmlNode *n;
	const char *next;
	errint_t r = xml_parse(&x, a->body.p, a->body.len, "EnumerationResults", err);

	if (r)
		return r;
	n = xml_child(xml_child(x.root, "Containers"), "Container");
	for (; n; n = xml_next(n, "Container")) {
		const char *name = xml_child_text(n, "Name");
		void *p = reallocarray(l->v, l->n + 1, sizeof(*l->v));

		if (!name || !azblob_bucket_ok(name) || l->n == CONTAINERS_MAX) {
			l->v = p ? p : l->v;
			return bad("an unusable container", err);
		}
		l->v = p ? p : l->v;
		if (!p || !(l->v[l->n] = strdup(name)))
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a list");
		l->n++;
	}
	next = xml_child_text(x.root, "NextMarker");
	next = next ? next : "";
	if (strlen(next) >= sizeof(l->marker) || (*next && !strcmp(next, l->marker)))
		return bad("an unusable marker", err);
	memcpy(l->marker, next, strlen(next) + 1);
	return 0;
}

errint_t azblob_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	struct names l = {0};
	errint_t e;

	do {
		struct azblob_req r;
		struct net_answer a;

		azblob_req_init(d, &r, "list containers", "GET", (struct store_obj){0});
		(void)net_url_param(&r.url, "comp", "list");
		if (l.marker[0])
			(void)net_url_param(&r.url, "marker", l.marker);
		r.q.body_max = AZ_LIST_MAX;
		e = azblob_send(d, c, &r, &a, err);
		if (!e) {
			e = names_read(&l, &a, err);
			e = e ? azblob_named(d, &r, e, err) : 0;
		}
		net_answer_done(&a);
		azblob_req_done(&r);
	} while (!e && l.marker[0]);
	for (size_t i = 0; e && i < l.n; i++)
		free(l.v[i]);
	if (e) {
		free(l.v);
		return e;
	}
	*ret = l.v;
	*ret_n = l.n;
	return 0;
}

static errint_t container_do(struct azblob *d, const struct store_call *c, const char *op,
	const char *method, const char *bucket, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, op, method, (struct store_obj){.bucket = bucket});
	(void)net_url_param(&r.url, "restype", "container");
	e = azblob_send(d, c, &r, &a, err);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

errint_t azblob_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	if (!azblob_bucket_ok(bucket))
		return err_set(err, -EINVAL, ERR_FINAL,
			"'%s' cannot name a container: 3 to 63 of a-z, 0-9 and single '-'", bucket);
	return container_do((struct azblob *)s, c, "create container", "PUT", bucket, err);
}

/* Uploads under way and snapshots count. */
static errint_t container_empty(struct azblob *d, const struct store_call *c, const char *bucket,
	bool *ret, struct err *err)
{
	cleanup_xml struct xml x = {0};
	struct azblob_req r;
	struct net_answer a;
	const char *next;
	errint_t e;

	azblob_req_init(d, &r, "list", "GET", (struct store_obj){.bucket = bucket});
	(void)net_url_param(&r.url, "restype", "container");
	(void)net_url_param(&r.url, "comp", "list");
	(void)net_url_param(&r.url, "include", "snapshots,uncommittedblobs");
	(void)net_url_param(&r.url, "maxresults", "1");
	r.q.body_max = AZ_LIST_MAX;
	e = azblob_send(d, c, &r, &a, err);
	e = e ? e : xml_parse(&x, a.body.p, a.body.len, "EnumerationResults", err);
	next = xml_child_text(x.root, "NextMarker");
	*ret = xml_child(x.root, "Blobs") && !xml_child(xml_child(x.root, "Blobs"), NULL) &&
	       !(next && *next);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

/* The service removes full containers as well, under no condition: looked at right before. */
errint_t azblob_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	bool empty;
	errint_t e;

	if (!azblob_bucket_ok(bucket))
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "no container can be named '%s'", bucket);
	e = container_empty(d, c, bucket, &empty, err);
	if (!e && !empty)
		e = err_set(err, -ENOTEMPTY, ERR_FINAL, "container '%s' is not empty", bucket);
	return e ? e : container_do(d, c, "remove container", "DELETE", bucket, err);
}
