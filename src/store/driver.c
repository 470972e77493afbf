/* SPDX-License-Identifier: MIT */
/*
 * The rules of an emulated cloud that mem and local share. Nothing here keeps state; struct
 * driver_page belongs to one LIST call.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "driver.h"

#define NS_PER_DAY	 (86400 * NS_PER_S)
#define PAGE_BYTES_MAX	 (64u << 20) /* a page of 1000 entries, each with all its metadata, fits */
#define LIFECYCLE_MAX	 (1u << 20)
#define PAGE_ENTRIES_ADD 64

/* ---- classes ---- */

const struct remote_class *driver_class(const struct remote_class *cl, const char *name)
{
	for (unsigned i = 0; i < TIER_N; i++)
		if (cl[i].name[0] && !strcmp(cl[i].name, name))
			return &cl[i];
	return NULL;
}

const char *driver_class_default(const struct remote_class *cl)
{
	for (unsigned i = 0; i < TIER_N; i++)
		if (cl[i].name[0] && !cl[i].offline)
			return cl[i].name;
	return cl[TIER_HOT].name;
}

errint_t driver_class_check(const struct remote_class *cl, const char *name, struct err *err)
{
	if (!name || driver_class(cl, name))
		return 0;
	return err_set(err, -EINVAL, ERR_FINAL, "no storage class '%s' here; there are %s %s %s %s",
		name, cl[0].name, cl[1].name, cl[2].name, cl[3].name);
}

bool driver_has_offline(const struct remote_class *cl)
{
	for (unsigned i = 0; i < TIER_N; i++)
		if (cl[i].name[0] && cl[i].offline)
			return true;
	return false;
}

void driver_cold_stat(
	const struct remote_class *cl, const struct driver_cold *cold, struct store_stat *st)
{
	const struct remote_class *k = driver_class(cl, st->class_name);
	int64_t now;

	st->archived = st->restoring = false;
	st->restored_until_ns = 0;
	if (!k || !k->offline)
		return;
	st->archived = true;
	if (!cold->ready_ns)
		return;
	now = clock_now_ns();
	if (now >= cold->until_ns)
		return; /* the restored copy went away */
	if (now < cold->ready_ns) {
		st->restoring = true;
		return;
	}
	st->archived = false;
	st->restored_until_ns = cold->until_ns;
}

errint_t driver_readable(const struct store_stat *st, struct store_obj o, struct err *err)
{
	if (!st->archived)
		return 0;
	return err_set(err, -EIO, ERR_ARCHIVED, "%s/%s is in the offline class %s%s", o.bucket,
		o.key, st->class_name,
		st->restoring ? " and being restored" : ": restore it first");
}

errint_t driver_restore(const struct remote_class *cl, const struct store_stat *st, unsigned days,
	struct driver_cold *cold, struct store_obj o, struct err *err)
{
	const struct remote_class *k = driver_class(cl, st->class_name);
	int64_t until, span = (int64_t)days * NS_PER_DAY;

	if (!k || !k->offline)
		return err_set(err, -EINVAL, ERR_FINAL,
			"%s/%s is in class %s, which needs no restore", o.bucket, o.key,
			st->class_name);
	if (st->restoring)
		return 0; /* as Amazon: no other wish meanwhile */
	if (st->archived)
		cold->ready_ns = clock_now_ns() + k->restore_delay_ns;
	until = MAX_OF(cold->ready_ns, clock_now_ns()) + span;
	/* A further request may lengthen the stay of the copy, never shorten it. */
	if (st->archived || until > cold->until_ns)
		cold->until_ns = until;
	return 0;
}

errint_t driver_cond(const char *etag, const char *if_match, const char *if_none_match,
	struct store_obj o, struct err *err)
{
	if (if_none_match && etag)
		return err_set(err, -EEXIST, ERR_STALE, "%s/%s exists (version %s)", o.bucket,
			o.key, etag);
	if (if_match && !etag)
		return err_set(err, -ESTALE, ERR_STALE, "%s/%s is gone, expected version %s",
			o.bucket, o.key, if_match);
	if (if_match && strcmp(if_match, etag))
		return err_set(err, -ESTALE, ERR_STALE, "%s/%s is version %s, expected %s",
			o.bucket, o.key, etag, if_match);
	return 0;
}

/* ---- metadata ---- */

errint_t driver_meta_check(
	const struct store_meta *m, unsigned n, size_t bytes_max, struct err *err)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		const char *k = m[i].key;

		if (!store_meta_key_ok(k))
			return err_set(err, -EINVAL, ERR_FINAL,
				"metadata key '%.40s' is not made of up to %d of a-z, 0-9 and "
				"'-_.'",
				k, STORE_META_KEY_MAX);
		if (m[i].value)
			bytes += strlen(k) + strlen(m[i].value) + 2;
	}
	if (bytes > bytes_max)
		return err_set(err, -E2BIG, ERR_FINAL,
			"%zu bytes of metadata are more than the %zu that an object can have",
			bytes, bytes_max);
	return 0;
}

const struct store_meta *driver_meta_find(const struct store_meta *m, unsigned n, const char *key)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(m[i].key, key))
			return &m[i];
	return NULL;
}

errint_t driver_meta_merge(const struct store_meta *had, unsigned nhad, const struct store_meta *m,
	unsigned n, size_t bytes_max, struct store_meta ret[STORE_META_MAX], unsigned *ret_n,
	struct err *err)
{
	unsigned k = 0, from[2] = {nhad, n};

	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < from[pass]; i++) {
			const struct store_meta *x = pass ? &m[i] : &had[i];

			if (!x->value || (!pass && driver_meta_find(m, n, x->key)))
				continue;
			if (k == STORE_META_MAX)
				return err_set(err, -E2BIG, ERR_FINAL,
					"an object cannot have more than %d metadata pairs",
					STORE_META_MAX);
			ret[k++] = *x;
		}
	*ret_n = k;
	return driver_meta_check(ret, k, bytes_max, err);
}

bool driver_stat_meta(struct store_stat *st, const char *key, const char *value)
{
	struct store_pair *p = &st->meta[st->nmeta];

	assert(st->nmeta < STORE_META_MAX);
	p->key = strdup(key);
	p->value = strdup(value);
	if (!p->key || !p->value) {
		free(p->key);
		free(p->value);
		return false;
	}
	st->nmeta++;
	return true;
}

errint_t driver_lifecycle_check(const char *json, struct err *err)
{
	json_error_t e;
	cleanup_json json_t *j = NULL;

	if (strlen(json) > LIFECYCLE_MAX)
		return err_set(
			err, -EINVAL, ERR_FINAL, "life cycle rules over %u bytes", LIFECYCLE_MAX);
	j = json_loads(json, JSON_REJECT_DUPLICATES, &e);
	if (!j)
		return err_set(
			err, -EINVAL, ERR_FINAL, "life cycle rules: line %d: %s", e.line, e.text);
	return 0;
}

void driver_etag(char ret[DRIVER_ETAG_LEN + 1])
{
	uint8_t b[DRIVER_ETAG_LEN / 2];

	random_bytes(b, sizeof(b));
	hex_encode(b, sizeof(b), ret);
}

/* ---- LIST pages ---- */

errint_t driver_page_begin(struct driver_page *g, const char *prefix, char delimiter,
	const char *after, const char *token, unsigned max, struct err *err)
{
	size_t len = strlen(token);

	*g = (struct driver_page){.mem = BUF_INIT(PAGE_BYTES_MAX),
		.prefix = prefix,
		.prefix_len = strlen(prefix),
		.delimiter = delimiter,
		.max = max,
		.show_tmp = !strncmp(prefix, STORE_TMP_PREFIX, strlen(STORE_TMP_PREFIX))};
	if (!len) {
		g->after_len = strlen(after);
		memcpy(g->after, after, g->after_len + 1);
		return 0;
	}
	/* Token: 'k' and the last key, or 'p' and the last common prefix. */
	if ((token[0] != 'k' && token[0] != 'p') || len < 2 || len - 1 > STORE_KEY_MAX ||
		strncmp(token + 1, prefix, MIN_OF(g->prefix_len, len - 1)))
		return err_set(err, -EINVAL, ERR_FINAL, "list: bad continuation token");
	g->after_group = token[0] == 'p';
	g->after_len = len - 1;
	memcpy(g->after, token + 1, len);
	return 0;
}

static bool starts_with(const char *s, size_t len, const char *with, size_t with_len)
{
	return len >= with_len && !memcmp(s, with, with_len);
}

static int bytes_cmp(const char *a, size_t alen, const char *b, size_t blen)
{
	int d = memcmp(a, b, MIN_OF(alen, blen));

	return d ? d : (alen > blen) - (alen < blen);
}

bool driver_page_wants(const struct driver_page *g, const char *key, size_t len, size_t *ret_group)
{
	*ret_group = 0;
	if (!len || len > STORE_KEY_MAX || !starts_with(key, len, g->prefix, g->prefix_len))
		return false;
	if (!g->show_tmp && starts_with(key, len, STORE_TMP_PREFIX, sizeof(STORE_TMP_PREFIX) - 1))
		return false;
	if (g->after_len) {
		if (bytes_cmp(key, len, g->after, g->after_len) <= 0)
			return false;
		if (g->after_group && starts_with(key, len, g->after, g->after_len))
			return false;
	}
	if (!g->delimiter)
		return true;

	const char *d = memchr(key + g->prefix_len, g->delimiter, len - g->prefix_len);

	if (!d)
		return true;
	*ret_group = (size_t)(d - key) + 1;
	return !(g->group_len == *ret_group && !memcmp(g->mem.p + g->group_off, key, *ret_group));
}

static struct store_entry *entry_new(struct driver_page *g)
{
	if (g->failed || g->more)
		return NULL;
	if (g->n == g->max) {
		g->more = true;
		return NULL;
	}
	if (g->n % PAGE_ENTRIES_ADD == 0) {
		void *p = reallocarray(g->e, g->n + PAGE_ENTRIES_ADD, sizeof(*g->e));

		if (!p) {
			g->failed = -ENOMEM;
			return NULL;
		}
		g->e = p;
	}
	g->e[g->n] = (struct store_entry){0};
	return &g->e[g->n];
}

/* Adds a string to the block; its place, as what pointers hold until driver_page_end. */
static void *keep(struct driver_page *g, const char *s, size_t len)
{
	size_t off = g->mem.len;

	if (buf_add(&g->mem, s, len) || buf_add(&g->mem, "", 1)) {
		g->failed = g->mem.failed ? g->mem.failed : -ENOMEM;
		return NULL;
	}
	return (void *)(off + 1);
}

static bool keep_meta(struct driver_page *g, struct store_entry *e, const struct store_stat *st)
{
	struct store_pair pairs[STORE_META_MAX] = {0};
	static const char pad[_Alignof(struct store_pair)];
	size_t odd;

	for (unsigned i = 0; i < st->nmeta; i++) {
		const struct store_pair *m = &st->meta[i];

		pairs[i].key = keep(g, m->key, strlen(m->key));
		pairs[i].value = keep(g, m->value, strlen(m->value));
	}
	odd = g->mem.len % sizeof(pad);
	if (odd && buf_add(&g->mem, pad, sizeof(pad) - odd))
		g->failed = -ENOMEM;
	e->meta = (void *)(g->mem.len + 1);
	e->nmeta = st->nmeta;
	if (buf_add(&g->mem, pairs, st->nmeta * sizeof(pairs[0])))
		g->failed = -ENOMEM;
	return !g->failed;
}

bool driver_page_add(struct driver_page *g, const char *key, const struct store_stat *st)
{
	struct store_entry *e = entry_new(g);

	if (!e)
		return false;
	e->key = keep(g, key, strlen(key));
	e->etag = keep(g, st->etag, strlen(st->etag));
	if (st->class_name[0])
		e->class_name = keep(g, st->class_name, strlen(st->class_name));
	e->size = st->size;
	e->mtime_ns = st->mtime_ns;
	e->archived = st->archived;
	e->restoring = st->restoring;
	e->restored_until_ns = st->restored_until_ns;
	if (st->nmeta && !keep_meta(g, e, st))
		return false;
	if (g->failed)
		return false;
	g->n++;
	return true;
}

bool driver_page_add_group(struct driver_page *g, const char *key, size_t group_len)
{
	struct store_entry *e = entry_new(g);

	if (!e)
		return false;
	e->is_prefix = true;
	e->key = keep(g, key, group_len);
	if (g->failed)
		return false;
	g->group_off = (size_t)e->key - 1;
	g->group_len = group_len;
	g->n++;
	return true;
}

errint_t driver_page_end(struct driver_page *g, struct store_page *ret, struct err *err)
{
	if (g->failed)
		return err_set(err, g->failed, ERR_RETRY, "list: no memory for the page");
#define AT(x) ((x) ? (void *)(g->mem.p + ((size_t)(x)-1)) : NULL)
	for (size_t i = 0; i < g->n; i++) {
		struct store_entry *e = &g->e[i];
		struct store_pair *m;

		e->key = AT(e->key);
		e->etag = AT(e->etag);
		e->class_name = AT(e->class_name);
		e->meta = m = AT(e->meta);
		for (unsigned k = 0; k < e->nmeta; k++) {
			m[k].key = AT(m[k].key);
			m[k].value = AT(m[k].value);
		}
	}
#undef AT
	ret->n = g->n;
	ret->truncated = g->more;
	if (g->more) {
		const struct store_entry *last = &g->e[g->n - 1];

		ret->next[0] = last->is_prefix ? 'p' : 'k';
		memcpy(ret->next + 1, last->key, strlen(last->key) + 1);
	}
	ret->e = g->e;
	ret->mem = g->mem.p;
	g->e = NULL;
	g->mem = (struct buf)BUF_INIT(0);
	return 0;
}

void driver_page_done(struct driver_page *g)
{
	free(g->e);
	buf_done(&g->mem);
}
