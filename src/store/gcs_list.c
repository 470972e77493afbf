/* SPDX-License-Identifier: MIT */
/*
 * Listings. A page of the seam begins behind a name (startOffset), not at a page token of Google's:
 * those may be longer than a name, and end some time; a name is as good after a restart. Inside a
 * page tokens are used, for Google may return less than it was asked for, and what is ours for a
 * moment is left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "driver.h"
#include "gcs_priv.h"

#define EMPTY_MAX 64 /* pages in a row that bring nothing */

static const char fields_wanted[] =
	"nextPageToken,prefixes,"
	"items(name,size,generation,storageClass,timeCreated,updated,metadata,crc32c)";

struct lister {
	struct gcs *g;
	const struct store_call *c;
	const char *bucket, *prefix;
	char delimiter;
	char start[STORE_KEY_MAX + 2]; /* names from here on; "" = all */
	char last[STORE_KEY_MAX + 1];  /* that was listed */
	char after[STORE_KEY_MAX + 1]; /* what start is of: names behind it, of the XML API */
};

static errint_t ask(
	const struct lister *l, const char *token, unsigned max, json_t **ret, struct err *err)
{
	cleanup_gcs_req struct gcs_req r = {0};
	char text[2] = {l->delimiter, 0}, number[16];
	errint_t e;

	(void)snprintf(number, sizeof(number), "%u", max);
	if (l->g->hmac)
		return gcs_xml_list(
			l->g, l->c, l->bucket, l->prefix, text, l->after, token, number, ret, err);
	gcs_req_init(&r, l->g, l->c, "list", "GET", "/storage/v1");
	gcs_req_bucket(&r, l->bucket);
	(void)buf_adds(&r.url, "/o");
	gcs_req_param(&r, "maxResults", number);
	if (l->prefix[0])
		gcs_req_param(&r, "prefix", l->prefix);
	if (l->delimiter)
		gcs_req_param(&r, "delimiter", text);
	if (l->start[0])
		gcs_req_param(&r, "startOffset", l->start);
	if (token)
		gcs_req_param(&r, "pageToken", token);
	gcs_req_param(&r, "fields", fields_wanted);
	e = gcs_req_run(&r, err);
	if (!e && !json_is_object(r.json))
		e = gcs_req_bad(&r, err, "the answer is no list");
	if (!e)
		*ret = json_incref(r.json);
	return e;
}

/* ---- one page of Google's, in order ---- */

struct line {
	const char *key;
	const json_t *item; /* NULL = a prefix */
};

static int line_cmp(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->key, ((const struct line *)b)->key);
}

/* Objects and prefixes come apart, each sorted, or so one hopes. */
static errint_t lines_make(const json_t *page, struct line **ret, size_t *ret_n, struct err *err)
{
	const json_t *items = json_object_get(page, "items");
	const json_t *prefixes = json_object_get(page, "prefixes");
	size_t n = 0, max = json_array_size(items) + json_array_size(prefixes), i;
	struct line *v = calloc(max + 1, sizeof(*v));
	const char *key;
	json_t *j;

	if (!v)
		return gcs_no_memory(err);
	json_array_foreach ((json_t *)items, i, j) {
		key = json_string_value(json_object_get(j, "name"));
		if (key && *key)
			v[n++] = (struct line){key, j};
	}
	json_array_foreach ((json_t *)prefixes, i, j) {
		key = json_string_value(j);
		if (key && *key)
			v[n++] = (struct line){key, NULL};
	}
	qsort(v, n, sizeof(*v), line_cmp);
	*ret = v;
	*ret_n = n;
	return 0;
}

/* ---- pages of the seam ---- */

/* Where the names begin that come after a token of driver_page: names have no byte 0, so nothing
 * lies between a name and itself with \x01. */
static void start_after(struct lister *l, const struct driver_page *p)
{
	size_t n = p->after_len;
	unsigned char last;

	if (!n)
		return;
	memcpy(l->after, p->after, n + 1);
	memcpy(l->start, p->after, n + 1);
	last = (unsigned char)p->after[n - 1];
	if (p->after_group && last < 0x7f) { /* all that begins with it is behind us */
		l->start[n - 1] = (char)(last + 1);
	} else if (!p->after_group && n < STORE_KEY_MAX) {
		l->start[n] = '\x01';
		l->start[n + 1] = 0;
	}
}

/* A common prefix may be that of nothing but what is hidden (never where the delimiter is '/'). */
static errint_t group_shown(const struct lister *l, const struct driver_page *p, const char *group,
	bool *ret, struct err *err)
{
	struct store_page page = {0};
	errint_t e;

	*ret = true;
	if (p->show_tmp || strncmp(STORE_TMP_PREFIX, group, strlen(group)) != 0)
		return 0;
	e = gcs_list(&l->g->store, l->c, l->bucket, group, 0, "", "", 1, &page, err);
	*ret = page.n > 0;
	store_page_done(&page);
	return e;
}

/* Whether a line is to be looked at: each name once, and in the order that a token relies on. */
static errint_t line_next(struct lister *l, const char *key, bool *ret, struct err *err)
{
	int order = strcmp(key, l->last);
	size_t n = strlen(key);

	*ret = order > 0 && n <= STORE_KEY_MAX;
	if (order < 0)
		return err_set(
			err, -EBADMSG, ERR_RETRY, "list of %s: names out of order", l->bucket);
	if (*ret)
		memcpy(l->last, key, n + 1);
	return 0;
}

/* False when the page is full. */
static bool take(struct driver_page *p, const struct line *l, errint_t *ret)
{
	struct store_stat st = {0};
	size_t group;
	bool more;

	if (!driver_page_wants(p, l->key, strlen(l->key), &group))
		return true;
	if (group)
		return driver_page_add_group(p, l->key, group);
	if (!l->item)
		return true; /* not what was asked for */
	if (!gcs_stat_read(l->item, &st)) {
		*ret = -EBADMSG;
		return false;
	}
	more = driver_page_add(p, l->key, &st);
	store_stat_done(&st);
	return more;
}

static errint_t page_fill(
	struct lister *l, struct driver_page *p, const char **token, char **own, struct err *err)
{
	cleanup_json json_t *j = NULL;
	cleanup_free struct line *lines = NULL;
	const char *next;
	size_t n = 0;
	errint_t bad = 0, e;

	e = ask(l, *token, (unsigned)(p->max - p->n), &j, err);
	e = e ? e : lines_make(j, &lines, &n, err);
	for (size_t i = 0; !e && i < n; i++) {
		bool shown;

		e = line_next(l, lines[i].key, &shown, err);
		/* Without a delimiter there are no groups, whatever the answer says. */
		if (!e && shown && !lines[i].item && l->delimiter)
			e = group_shown(l, p, lines[i].key, &shown, err);
		if (!e && shown && !take(p, &lines[i], &bad))
			break;
	}
	if (e || bad)
		return e ? e
			 : err_set(err, bad, ERR_RETRY, "list of %s: an entry is not whole",
				   l->bucket);
	next = json_string_value(json_object_get(j, "nextPageToken"));
	free(*own);
	*own = next && *next ? strdup(next) : NULL;
	*token = *own;
	return next && *next && !*own ? gcs_no_memory(err) : 0;
}

errint_t gcs_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	struct lister l = {.g = (struct gcs *)s,
		.c = c,
		.bucket = bucket,
		.prefix = prefix,
		.delimiter = delimiter};
	cleanup_free char *own = NULL;
	const char *at = NULL;
	struct driver_page p;
	unsigned empty = 0;
	errint_t e = driver_page_begin(&p, prefix, delimiter, after, token, max, err);

	if (!e)
		start_after(&l, &p);
	while (!e) {
		size_t had = p.n;

		e = page_fill(&l, &p, &at, &own, err);
		if (e || p.more || p.failed || !at)
			break;
		if (p.n == p.max) {
			p.more = true;
			break;
		}
		empty = p.n == had ? empty + 1 : 0;
		e = empty > EMPTY_MAX ? err_set(err, -EIO, ERR_RETRY,
						"list of %s: pages without an end", bucket)
				      : call_check(c, err);
	}
	e = e ? e : driver_page_end(&p, ret, err);
	driver_page_done(&p);
	return e;
}

/* ---- all of a prefix, ours included ---- */

/* What follows may remove it: it must be what was asked for. */
static errint_t item_check(const struct lister *l, const json_t *item, struct err *err)
{
	const char *name = json_string_value(json_object_get(item, "name"));

	if (name && !strncmp(name, l->prefix, strlen(l->prefix)))
		return 0;
	return err_set(
		err, -EBADMSG, ERR_RETRY, "list of %s: a name that was not asked for", l->bucket);
}

errint_t gcs_each(struct gcs *g, const struct store_call *c, const char *bucket, const char *prefix,
	char delimiter, errint_t (*fn)(void *arg, const json_t *item, struct err *err), void *arg,
	struct err *err)
{
	struct lister l = {
		.g = g, .c = c, .bucket = bucket, .prefix = prefix, .delimiter = delimiter};
	cleanup_free char *token = NULL;
	errint_t e;

	do {
		cleanup_json json_t *j = NULL;
		const char *next;
		json_t *item;
		size_t i;

		e = ask(&l, token, STORE_PAGE_MAX, &j, err);
		if (e)
			return e;
		json_array_foreach (json_object_get(j, "items"), i, item) {
			e = item_check(&l, item, err);
			e = e ? e : fn(arg, item, err);
			if (e)
				return e;
		}
		next = json_string_value(json_object_get(j, "nextPageToken"));
		free(token);
		token = next && *next ? strdup(next) : NULL;
		if (next && *next && !token)
			return gcs_no_memory(err);
		e = call_check(c, err);
	} while (!e && token);
	return e;
}
