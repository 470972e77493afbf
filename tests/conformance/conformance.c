/* SPDX-License-Identifier: MIT */
/*
 * What a store must do, one body for every driver and for stacks of layers with faults. Each test
 * runs in a bucket of its own on each store of the table at the end, or of the configuration given:
 *
 *	conformance [-c FILE] [-s TEST[,TEST...]] [-b BYTES] [-d] [NAME]
 *
 * -s leaves out tests that need what a server does not have, -b odd keys with bytes that a server
 * cannot take; -d shows requests; NAME: only that store. What a store says it cannot do (caps) is
 * not asked of it.
 */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "astra/base_log.h"
#include "astra/store.h"
#include "scratch_help.h"

static struct remote *remotes;
static size_t nremotes;
static char dir[64];
static const char *bad_bytes = "";

struct world { /* of one test */
	struct store *st;
	struct remote *rm;
	struct store_caps caps;
	char bucket[64];
};

static struct store_obj obj(struct world *w, const char *key)
{
	return (struct store_obj){w->bucket, key};
}

/* False when the store says that it has no such keys. */
static bool put_text(struct world *w, const char *key, const char *text)
{
	bool any = !w->caps.key_utf8 && !w->caps.key_bad && !w->caps.key_ok;
	struct err err;
	errint_t r = store_put(w->st, NULL, obj(w, key), text, strlen(text), NULL, NULL, &err);

	if (r == -EILSEQ && err.kind == ERR_FINAL && !any)
		return false;
	if (r)
		fail_msg("put '%s': %s", key, err_text(&err, r));
	return true;
}

/* Ends a test of what the store says it cannot do. */
#define NEEDS(cap)                                                                                 \
	do {                                                                                       \
		if (!((struct world *)*state)->caps.cap)                                           \
			skip();                                                                    \
	} while (0)

static void check_text(struct world *w, const char *key, const char *text)
{
	char buf[256];
	struct err err;
	size_t n;
	errint_t r = store_get(w->st, NULL, obj(w, key), NULL, 0, buf, sizeof(buf), &n, &err);

	if (r)
		fail_msg("get '%s': %s", key, err_text(&err, r));
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, n);
}

/* The class of WARM, or the only one there is. */
static const char *warm_of(struct world *w)
{
	return w->rm->classes[TIER_WARM].name[0] ? w->rm->classes[TIER_WARM].name
						 : w->rm->classes[TIER_HOT].name;
}

static void etag_of(struct world *w, const char *key, char ret[STORE_ETAG_MAX])
{
	struct store_stat st;

	assert_int_equal(store_head(w->st, NULL, obj(w, key), &st, NULL), 0);
	memcpy(ret, st.etag, sizeof(st.etag));
	store_stat_done(&st);
}

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(hash64(&i, sizeof(i) < 4 ? 4 : 4, seed) >> 8);
}

/* ---- tests ---- */

static void test_roundtrip(void **state)
{
	static const size_t sizes[] = {0, 1, 100, 65535, 65536, 65537, 300000, 4 << 20, 20 << 20};
	struct world *w = *state;
	uint8_t *a = malloc(20 << 20), *b = malloc(20 << 20);

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct store_meta meta[] = {{"mtime", "1.5"}, {"astra-write", "7.1"}};
		struct store_put opt = {.meta = meta, .nmeta = 2, .has_crc32c = true};
		size_t len = sizes[i], n;
		struct store_progress progress = {.have = 99};
		struct store_call call = {.progress = &progress};
		struct store_stat st, st2;
		struct err err;

		fill(a, len, i);
		opt.crc32c = crc32c(0, a, len);
		assert_int_equal(store_put(w->st, NULL, obj(w, "d/f"), a, len, &opt, &st, &err), 0);
		assert_int_equal(store_head(w->st, NULL, obj(w, "d/f"), &st2, &err), 0);
		assert_string_equal(st.etag, st2.etag);
		assert_int_equal(st2.size, len);
		assert_int_equal(st2.nmeta, 2);
		assert_string_equal(store_stat_meta(&st2, "astra-write"), "7.1");
		if (w->caps.checksums)
			assert_true(st2.has_crc32c && st2.crc32c == opt.crc32c);
		assert_string_equal(st2.class_name, w->rm->classes[0].name);
		assert_int_equal(
			store_get(w->st, &call, obj(w, "d/f"), st.etag, 0, b, 20 << 20, &n, &err),
			0);
		assert_int_equal(n, len);
		assert_int_equal(atomic_load(&progress.have), len);
		assert_memory_equal(a, b, len);
		for (unsigned k = 0; k < 40; k++) { /* ranges */
			uint64_t off = len ? hash64(&k, 4, 1) % (len + 10) : k;
			size_t ask = hash64(&k, 4, 2) % (k % 2 ? 200000 : 300);
			size_t want = off >= len ? 0 : MIN_OF(ask, len - off);

			memset(b, 0xee, ask);
			assert_int_equal(
				store_get(w->st, NULL, obj(w, "d/f"), NULL, off, b, ask, &n, &err),
				0);
			assert_int_equal(n, want);
			assert_memory_equal(a + off * (want > 0), b, want);
		}
		store_stat_done(&st);
		store_stat_done(&st2);
	}
	free(a);
	free(b);
}

static void test_conditions(void **state)
{
	struct world *w = *state;
	struct store_put absent = {.if_none_match = STORE_IF_ABSENT}, match = {0};
	char e1[STORE_ETAG_MAX], e2[STORE_ETAG_MAX];
	struct err err;
	char b;
	size_t n;

	match.if_match = "nothing";
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &match, NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &absent, NULL, &err), 0);
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "y", 1, &absent, NULL, &err), -EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	check_text(w, "k", "x");
	etag_of(w, "k", e1);
	match.if_match = e1;
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "y", 1, &match, NULL, &err), 0);
	etag_of(w, "k", e2);
	assert_string_not_equal(e1, e2);
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "z", 1, &match, NULL, &err), -ESTALE);
	check_text(w, "k", "y");
	/* the same bytes again are a new version, unless versions are made of bytes */
	match.if_match = e2;
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), w->caps.etag_of_bytes ? "Y" : "y", 1,
				 &match, NULL, &err),
		0);
	etag_of(w, "k", e1);
	assert_string_not_equal(e1, e2);
	assert_int_equal(store_get(w->st, NULL, obj(w, "k"), e2, 0, &b, 1, &n, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(store_get(w->st, NULL, obj(w, "k"), e1, 0, &b, 1, &n, &err), 0);
	assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), e2, &err), -ESTALE);
	assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), e1, &err), 0);
	if (w->caps.silent_remove) {
		assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), NULL, &err), 0);
	} else {
		assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), NULL, &err), -ENOENT);
		assert_int_equal(err.kind, ERR_NOT_FOUND);
	}
	assert_int_equal(store_get(w->st, NULL, obj(w, "k"), NULL, 0, &b, 1, &n, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void test_bad_bytes(void **state)
{
	struct world *w = *state;
	struct store_put opt = {.has_crc32c = true, .crc32c = 1};
	struct store_stat st;
	struct err err;

	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &opt, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), -ENOENT);
	opt = (struct store_put){.class_name = "NO_SUCH"};
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &opt, NULL, &err), -EINVAL);
	assert_int_equal(err.kind, ERR_FINAL);

	size_t most = w->caps.meta_max;
	char *big = calloc(1, most + 1);
	struct store_meta m = {"k", big};

	assert_true(most >= 1024);
	memset(big, 'x', most);
	opt = (struct store_put){.meta = &m, .nmeta = 1};
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &opt, NULL, &err), -E2BIG);
	big[most - 100] = 0;
	uint8_t *data = calloc(1, 16 << 20);

	fill(data, 16 << 20, 9);
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), data, 16 << 20, &opt, NULL, &err), 0);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
	assert_string_equal(store_stat_meta(&st, "k"), big);
	store_stat_done(&st);
	free(data);
	free(big);
}

static const char *const odd_keys[] = {
	"a",
	"a/b",
	"a/b/c",
	"a/",
	"a//",
	"a//b",
	"/",
	"//",
	"/x",
	"x/",
	".",
	"..",
	"./y",
	"../y",
	"q/../r",
	"q/.",
	"q/..",
	".astra",
	".astra/tmp/x",
	".astra-x",
	"%41",
	"%2E",
	"%",
	"%%",
	"a%",
	"a%obj",
	"%obj",
	"%_",
	"%_/x",
	"%~",
	"x%~00112233445566778899aabbccddeeff",
	"A",
	"a b",
	"\xff\xfe",
	"\xc3\xa4/\xe2\x82\xac",
	"new\nline",
	"a.b",
	"a-b",
	"a0",
	"z/z/z/z/z/z/z/z/z/z",
	"lowercase%41x",
	"%2e",
	"~",
	"d/%obj",
	"d",
	"d%obj",
	"d%obj/x",
};

static void long_keys(char keys[5][STORE_KEY_MAX + 1])
{
	memset(keys, 0, 5 * (STORE_KEY_MAX + 1));
	memset(keys[0], 'k', 1024); /* one component */
	memset(keys[1], '/', 1024); /* many */
	memset(keys[2], 'l', 300);
	memcpy(keys[2] + 300, "/tail", 6);
	memset(keys[3], 'l', 301);
	memcpy(keys[3] + 301, "/tail", 6);
	for (unsigned i = 0; i < 1024; i++)
		keys[4][i] = i % 2 ? '/' : '.';
}

static void test_odd_keys(void **state)
{
	struct world *w = *state;
	size_t n = ARRAY_SIZE(odd_keys);
	char lk[5][STORE_KEY_MAX + 1];
	const char *keys[ARRAY_SIZE(odd_keys) + 5];
	size_t refused = 0;
	struct store_page page;
	struct store_stat st;
	struct err err;

	long_keys(lk);
	memcpy(keys, odd_keys, sizeof(odd_keys));
	for (unsigned i = 0; i < 5; i++)
		keys[n++] = lk[i];
	for (size_t i = 0; i < n; i++)
		while (i < n && strpbrk(keys[i], bad_bytes))
			keys[i] = keys[--n];
	for (size_t i = 0; i < n;) {
		if (put_text(w, keys[i], "x")) {
			i++;
			continue;
		}
		assert_int_equal(store_head(w->st, NULL, obj(w, keys[i]), &st, &err), -EILSEQ);
		refused++;
		keys[i] = keys[--n];
	}
	assert_true(refused <= (w->caps.key_ok ? 11 : 5));
	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			char text[64];

			snprintf(text, sizeof(text), "%zu-%u", i, round);
			put_text(w, keys[i], text);
		}
		for (size_t i = 0; i < n; i++) {
			char text[64];

			snprintf(text, sizeof(text), "%zu-%u", i, round);
			check_text(w, keys[i], text);
		}
		assert_int_equal(
			store_list(w->st, NULL, w->bucket, "", 0, NULL, 1000, &page, &err), 0);
		assert_int_equal(page.n, n);
		for (size_t i = 0; i < page.n; i++) {
			bool found = false;

			if (i)
				assert_true(strcmp(page.e[i - 1].key, page.e[i].key) < 0);
			for (size_t k = 0; k < n; k++)
				found |= !strcmp(keys[k], page.e[i].key);
			assert_true(found);
		}
		store_page_done(&page);
	}
	for (size_t i = 0; i < n; i++) {
		size_t k = (i * 7) % n; /* another order */

		if (n % 7 == 0)
			k = n - 1 - i;
		assert_int_equal(store_remove(w->st, NULL, obj(w, keys[k]), NULL, &err), 0);
		assert_int_equal(store_head(w->st, NULL, obj(w, keys[k]), &st, &err), -ENOENT);
	}
	assert_int_equal(store_list(w->st, NULL, w->bucket, "", 0, NULL, 1000, &page, &err), 0);
	assert_int_equal(page.n, 0);
	store_page_done(&page);
	assert_int_equal(store_put(w->st, NULL, obj(w, ""), "x", 1, NULL, NULL, &err), -EINVAL);
}

/* ---- listing against a model ---- */

#define MODEL_KEYS 60
struct model {
	char *key[MODEL_KEYS];
	char etag[MODEL_KEYS][STORE_ETAG_MAX];
	size_t n;
};

static int model_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t model_list(struct model *m, const char *prefix, char delim, char **ret)
{
	char *sorted[MODEL_KEYS];
	size_t n = 0, plen = strlen(prefix);

	memcpy(sorted, m->key, sizeof(sorted));
	if (m->n)
		qsort(sorted, m->n, sizeof(*sorted), model_cmp);
	for (size_t i = 0; i < m->n; i++) {
		char *d, *s;

		if (strncmp(sorted[i], prefix, plen))
			continue;
		if (!strncmp(sorted[i], STORE_TMP_PREFIX, strlen(STORE_TMP_PREFIX)) &&
			strncmp(prefix, STORE_TMP_PREFIX, strlen(STORE_TMP_PREFIX)))
			continue;
		s = strdup(sorted[i]);
		d = delim ? strchr(s + plen, delim) : NULL;
		if (d)
			d[1] = 0;
		if (n && !strcmp(ret[n - 1], s) && d)
			free(s);
		else
			ret[n++] = s;
	}
	return n;
}

/* after "": from the start. */
static void model_compare_after(struct world *w, struct model *m, const char *prefix, char delim,
	const char *after, unsigned max)
{
	char *want[MODEL_KEYS], token[STORE_TOKEN_MAX] = "";
	size_t n = model_list(m, prefix, delim, want), at = 0;
	bool more = true;
	struct err err;

	while (at < n && *after && strcmp(want[at], after) <= 0)
		at++;
	while (more) {
		struct store_page page;
		errint_t r = *after && !token[0] ? store_list_after(w->st, NULL, w->bucket, prefix,
							   delim, after, max, &page, &err)
						 : store_list(w->st, NULL, w->bucket, prefix, delim,
							   token, max, &page, &err);

		if (r)
			fail_msg("list: %s", err_text(&err, r));
		for (size_t i = 0; i < page.n; i++) {
			if (at == n || strcmp(page.e[i].key, want[at]))
				fail_msg("list prefix '%s' delimiter '%c' after '%s' max %u token "
					 "'%s': got '%s', want '%s'",
					prefix, delim, after, max, token, page.e[i].key,
					at < n ? want[at] : "(end)");
			at++;
		}
		more = page.truncated;
		memcpy(token, page.next, sizeof(token));
		if (more && !w->rm->real) /* a server may give less than it could */
			assert_int_equal(page.n, max);
		store_page_done(&page);
	}
	if (at != n)
		fail_msg("list prefix '%s' delimiter '%c' after '%s' max %u: missing '%s'", prefix,
			delim, after, max, want[at]);
	for (size_t i = 0; i < n; i++)
		free(want[i]);
}

static void model_compare(
	struct world *w, struct model *m, const char *prefix, char delim, unsigned max)
{
	model_compare_after(w, m, prefix, delim, "", max);
}

/* Names that are there and others, beside groups and inside of them but for the slash. */
static void model_compare_places(
	struct world *w, struct model *m, const char *prefix, char delim, uint64_t seed)
{
	static const char *const bits[] = {"a", "b", "-", ".", "%", "obj", "ab", "_", "a!", "a~",
		"\xc3\xa4", "\xf0\x9f\x98\x80"};
	char after[64];

	if (!w->caps.list_after)
		return;
	for (unsigned i = 0; i < 4; i++) {
		seed = hash64(&i, 4, seed);
		snprintf(after, sizeof(after), "%s", prefix);
		for (unsigned k = 0; k <= (seed >> 8) % 3; k++)
			strcat(after, bits[(seed >> (12 + 8 * k)) % ARRAY_SIZE(bits)]);
		model_compare_after(w, m, prefix, delim, after, 1 + (unsigned)((seed >> 40) % 9));
	}
}

static void test_list_model(void **state)
{
	static const char *const bits[] = {"a", "b", "/", "/", "a/", "-", ".", "%", "obj", "ab",
		".astra-tmp/", "_", "\xc3\xa4"};
	static const char *const prefixes[] = {
		"", "a", "a/", "/", "a/b", ".astra-tmp/", "b-", "//", "%", "a/a/", "ab/"};
	static const char any[] = {0, '/', 'b', '-'}, slash[] = {0, '/', 0, '/'};
	struct world *w = *state;
	/* of other delimiters servers make groups that only hidden keys are in */
	const char *delims = w->rm->real ? slash : any;
	struct model m = {0};
	uint64_t seed = 12345;
	struct err err;

	for (unsigned step = 0; step < 260; step++) {
		char key[64] = "";
		size_t at;

		seed = hash64(&step, 4, seed);
		for (unsigned i = 0; i <= (seed >> 8) % 5; i++)
			strcat(key, bits[(seed >> (12 + 6 * i)) % ARRAY_SIZE(bits)]);
		for (at = 0; at < m.n && strcmp(m.key[at], key); at++)
			;
		if (at < m.n && seed % 2) {
			assert_int_equal(store_remove(w->st, NULL, obj(w, key), NULL, &err), 0);
			free(m.key[at]);
			m.key[at] = m.key[--m.n];
		} else if (at < m.n || m.n < MODEL_KEYS) {
			size_t len = (seed >> 40) % 3 ? 3 : 0;

			if (put_text(w, key, len ? "abc" : "") && at == m.n)
				m.key[m.n++] = strdup(key);
		} else {
			at = seed % m.n;
			assert_int_equal(
				store_remove(w->st, NULL, obj(w, m.key[at]), NULL, &err), 0);
			free(m.key[at]);
			m.key[at] = m.key[--m.n];
		}
		model_compare(w, &m, prefixes[seed % ARRAY_SIZE(prefixes)],
			delims[(seed >> 30) % 4], 1 + (unsigned)((seed >> 33) % 9));
		if (step % 4 == 0)
			model_compare_places(w, &m, prefixes[seed % ARRAY_SIZE(prefixes)],
				step % 8 ? '/' : 0, seed);
		if (step % 20 == 19) {
			for (unsigned p = 0; p < ARRAY_SIZE(prefixes); p++)
				for (unsigned d = 0; d < 4; d++)
					model_compare(w, &m, prefixes[p], delims[d], 1000);
			model_compare(w, &m, "", 0, 1);
		}
	}
	while (m.n)
		free(m.key[--m.n]);
}

static void test_list_entries(void **state)
{
	struct world *w = *state;
	struct store_meta meta = {"mode", "0644"};
	struct store_put opt = {.class_name = warm_of(w), .meta = &meta, .nmeta = 1};
	char etag[STORE_ETAG_MAX];
	struct store_page page;
	struct err err;

	assert_int_equal(store_put(w->st, NULL, obj(w, "d/x"), "12345", 5, &opt, NULL, &err), 0);
	etag_of(w, "d/x", etag);
	assert_int_equal(store_list(w->st, NULL, w->bucket, "d/", '/', "", 10, &page, &err), 0);
	assert_int_equal(page.n, 1);
	assert_string_equal(page.e[0].key, "d/x");
	assert_string_equal(page.e[0].etag, etag);
	if (w->caps.head_class)
		assert_null(page.e[0].class_name);
	else
		assert_string_equal(page.e[0].class_name, warm_of(w));
	assert_int_equal(page.e[0].size, 5);
	assert_true(page.e[0].mtime_ns > 0 && !page.e[0].is_prefix);
	if (w->caps.list_meta) {
		assert_int_equal(page.e[0].nmeta, 1);
		assert_string_equal(page.e[0].meta[0].value, "0644");
	}
	store_page_done(&page);
	if (!w->rm->real) /* some take it for a place */
		assert_int_equal(
			store_list(w->st, NULL, w->bucket, "", 0, "zzz", 10, &page, &err), -EINVAL);
	assert_int_equal(
		store_list(w->st, NULL, "conf-no-such", "", 0, "", 10, &page, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	if (!w->caps.list_after)
		return;
	assert_int_equal(
		store_list_after(w->st, NULL, w->bucket, "d/", '/', "d/x", 10, &page, &err), 0);
	assert_int_equal(page.n, 0);
	store_page_done(&page);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const no[] = {"d/", "c", "d/a/b"};

		assert_int_equal(
			store_list_after(w->st, NULL, w->bucket, "d/", '/', no[i], 10, &page, &err),
			-EINVAL);
	}
}

static void test_list_many(void **state)
{
	struct world *w = *state;
	char key[64], token[STORE_TOKEN_MAX] = "";
	size_t seen = 0;
	struct store_page page;
	struct err err;

	for (unsigned i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "dir%u/f%u", i % 3, i);
		put_text(w, key, "x");
	}
	do {
		assert_int_equal(
			store_list(w->st, NULL, w->bucket, "", 0, token, 37, &page, &err), 0);
		seen += page.n;
		memcpy(token, page.next, sizeof(token));
		/* what is removed on the way does not disturb what stays */
		if (seen == 37)
			assert_int_equal(
				store_remove(w->st, NULL, obj(w, page.e[36].key), NULL, &err), 0);
		store_page_done(&page);
	} while (token[0]);
	assert_int_equal(seen, 300);
}

static void test_remove_many(void **state)
{
	struct world *w = *state;
	const char *keys[] = {"a/1", "a/2", "nothing", "b"};
	errint_t each[4];
	struct store_page page;
	struct err err;

	put_text(w, "a/1", "x");
	put_text(w, "a/2", "x");
	put_text(w, "b", "x");
	put_text(w, "c", "x");
	assert_int_equal(store_remove_many(w->st, NULL, w->bucket, keys, 4, each, &err), 0);
	assert_int_equal(each[0], 0);
	assert_int_equal(each[1], 0);
	assert_int_equal(each[2], w->caps.silent_remove ? 0 : -ENOENT);
	assert_int_equal(each[3], 0);
	assert_int_equal(store_list(w->st, NULL, w->bucket, "", '/', "", 10, &page, &err), 0);
	assert_int_equal(page.n, 1);
	assert_string_equal(page.e[0].key, "c");
	store_page_done(&page);
}

static errint_t renames(struct world *w, const char *from, const char *etag, const char *to,
	const char *over, struct store_stat *ret, struct err *err)
{
	struct store_rename opt = {.src_if_match = etag,
		.dst_if_match = over,
		.dst_if_none_match = over ? NULL : STORE_IF_ABSENT};

	return store_rename(w->st, NULL, obj(w, from), obj(w, to), &opt, ret, err);
}

static void check_gone(struct world *w, const char *key)
{
	struct store_stat st;
	struct err err;

	assert_int_equal(store_head(w->st, NULL, obj(w, key), &st, &err), -ENOENT);
}

/* What is to be renamed; its name's directory is there. False: these cannot be. */
static bool rename_begin(struct world *w, struct store_stat *ret)
{
	struct store_meta meta[] = {{"mode", "0600"}, {STORE_META_WRITE, "1.1"}};
	struct store_put opt = {.class_name = warm_of(w), .meta = meta, .nmeta = 2};
	struct store_stat st;
	struct err err;
	errint_t r;

	put_text(w, "e/x", "other");
	put_text(w, "first", "x");
	assert_int_equal(store_head(w->st, NULL, obj(w, "first"), &st, &err), 0);
	r = renames(w, "first", st.etag, "e/first", NULL, NULL, &err);
	store_stat_done(&st);
	if (r == -EOPNOTSUPP)
		return false;
	assert_int_equal(r, 0);
	assert_int_equal(store_put(w->st, NULL, obj(w, "s"), "text", 4, &opt, ret, &err), 0);
	return true;
}

static void check_refused(struct world *w, const struct store_stat *s, const struct store_stat *d)
{
	struct err err;

	assert_int_equal(renames(w, "s", s->etag, "e/d", NULL, NULL, &err), -EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(renames(w, "s", s->etag, "e/d", "old", NULL, &err), -ESTALE);
	assert_int_equal(renames(w, "s", "old", "e/d", d->etag, NULL, &err), -ESTALE);
	assert_int_equal(renames(w, "s", "old", "e/new", NULL, NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(renames(w, "no", s->etag, "e/new", NULL, NULL, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(renames(w, "s", s->etag, "s", s->etag, NULL, &err), -EOPNOTSUPP);
	assert_int_equal(renames(w, "s", s->etag, "e/", NULL, NULL, &err), -EOPNOTSUPP);
	check_gone(w, "e/new");
	check_text(w, "s", "more");
	check_text(w, "e/d", "text");
}

static void test_rename(void **state)
{
	NEEDS(rename);

	struct world *w = *state;
	const char *odd = "e/\xc3\xa4 b%41&c='+?#.txt";
	struct store_stat s, d;
	struct err err;

	if (!rename_begin(w, &s))
		skip();
	assert_int_equal(renames(w, "s", s.etag, "e/d", NULL, &d, &err), 0);
	assert_string_equal(d.etag, s.etag);
	assert_int_equal(d.size, 4);
	assert_int_equal(d.nmeta, 2);
	assert_string_equal(store_stat_meta(&d, "mode"), "0600");
	assert_string_equal(store_stat_meta(&d, STORE_META_WRITE), "1.1");
	assert_string_equal(d.class_name, warm_of(w));
	check_gone(w, "s");
	check_text(w, "e/d", "text");
	store_stat_done(&s);
	put_text(w, "s", "more");
	assert_int_equal(store_head(w->st, NULL, obj(w, "s"), &s, &err), 0);
	check_refused(w, &s, &d);
	assert_int_equal(renames(w, "s", s.etag, "e/d", d.etag, NULL, &err), 0);
	check_gone(w, "s");
	check_text(w, "e/d", "more");
	assert_int_equal(renames(w, "e/d", s.etag, odd, NULL, NULL, &err), 0);
	check_text(w, odd, "more");
	assert_int_equal(renames(w, odd, s.etag, "back", NULL, NULL, &err), 0);
	check_gone(w, odd);
	/* A directory that is not there: it is made, or that is left to a copy. */
	if (renames(w, "back", s.etag, "n/n", NULL, NULL, &err)) {
		assert_int_equal(err.kind, ERR_FINAL);
		check_gone(w, "n/n");
		check_text(w, "back", "more");
	}
	store_stat_done(&s);
	store_stat_done(&d);
}

/* Needs the fault layer: a rename is never repeated once it may have been done. */
static void test_rename_lost(void **state)
{
	NEEDS(rename);

	struct world *w = *state;
	struct store_stat s;
	struct err err;

	if (store_fault_set(w->st, "", NULL) || !rename_begin(w, &s))
		skip();
	assert_int_equal(store_fault_set(w->st, "rename:n=1:timeout=1", &err), 0);
	assert_true(renames(w, "s", s.etag, "e/d", NULL, NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	check_text(w, "s", "text");
	check_gone(w, "e/d");
	assert_int_equal(store_fault_set(w->st, "rename:n=1:lost", &err), 0);
	assert_true(renames(w, "s", s.etag, "e/d", NULL, NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	check_gone(w, "s");
	check_text(w, "e/d", "text");
	assert_int_equal(store_fault_set(w->st, "rename:n=1:error=EIO/retry", &err), 0);
	assert_int_equal(renames(w, "e/d", s.etag, "s", NULL, NULL, &err), 0);
	check_text(w, "s", "text");
	assert_int_equal(store_fault_set(w->st, "", &err), 0);
	store_stat_done(&s);
}

static void test_copy(void **state)
{
	NEEDS(copy);

	struct world *w = *state;

	struct store_meta meta[] = {{"mode", "0600"}, {STORE_META_WRITE, "1.1"}},
			  other = {"x", "y"};
	struct store_put opt = {.class_name = warm_of(w), .meta = meta, .nmeta = 2};
	struct store_copy cp = {.write_mark = "2.1"};
	size_t len = 3 << 20, n;
	uint8_t *a = malloc(len), *b = malloc(len);
	struct store_stat st, src;
	struct err err;

	fill(a, len, 3);
	memset(a + (1 << 20), 0, 1 << 20); /* a hole */
	assert_int_equal(store_put(w->st, NULL, obj(w, "s"), a, len, &opt, &src, &err), 0);
	cp.dst_if_none_match = STORE_IF_ABSENT;
	cp.src_if_match = src.etag;
	assert_int_equal(store_copy(w->st, NULL, obj(w, "s"), obj(w, "e/d"), &cp, &st, &err), 0);
	assert_string_equal(store_stat_meta(&st, "mode"), "0600");
	assert_string_equal(store_stat_meta(&st, STORE_META_WRITE), "2.1");
	assert_int_equal(st.nmeta, 2);
	assert_string_equal(st.class_name, warm_of(w));
	if (!w->caps.etag_of_bytes)
		assert_string_not_equal(st.etag, src.etag);
	if (w->caps.checksums && (!w->rm->real || st.has_crc32c))
		assert_true(st.has_crc32c && st.crc32c == src.crc32c);
	assert_int_equal(st.size, len);
	assert_int_equal(store_get(w->st, NULL, obj(w, "e/d"), st.etag, 0, b, len, &n, &err), 0);
	assert_memory_equal(a, b, len);
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "s"), obj(w, "e/d"), &cp, NULL, &err), -EEXIST);
	cp = (struct store_copy){.src_if_match = "old"};
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "s"), obj(w, "x"), &cp, NULL, &err), -ESTALE);
	cp = (struct store_copy){.dst_if_match = "old"};
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "s"), obj(w, "e/d"), &cp, NULL, &err), -ESTALE);
	cp = (struct store_copy){.dst_if_match = st.etag,
		.replace_meta = true,
		.meta = &other,
		.nmeta = 1,
		.class_name = w->rm->classes[0].name};
	store_stat_done(&src);
	assert_int_equal(store_copy(w->st, NULL, obj(w, "s"), obj(w, "e/d"), &cp, &src, &err), 0);
	assert_int_equal(src.nmeta, 1);
	assert_string_equal(store_stat_meta(&src, "x"), "y");
	assert_string_equal(src.class_name, w->rm->classes[0].name);
	store_stat_done(&src);
	store_stat_done(&st);
	/* onto itself */
	assert_int_equal(store_copy(w->st, NULL, obj(w, "s"), obj(w, "s"), NULL, NULL, &err), 0);
	assert_int_equal(store_get(w->st, NULL, obj(w, "s"), NULL, 0, b, len, &n, &err), 0);
	assert_memory_equal(a, b, len);
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "no"), obj(w, "x"), NULL, NULL, &err), -ENOENT);
	/* a directory's object */
	put_text(w, "dir/", "");
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "dir/"), obj(w, "dir2/"), NULL, NULL, &err), 0);
	check_text(w, "dir2/", "");
	free(a);
	free(b);
}

static void wait_restored(struct world *w, const char *key)
{
	struct store_stat st = {.archived = true};

	if (!w->rm->real)
		clock_skew_add(60 * NS_PER_S);
	for (unsigned i = 0; i < 200 && st.archived; i++) {
		assert_int_equal(store_head(w->st, NULL, obj(w, key), &st, NULL), 0);
		store_stat_done(&st);
		usleep(st.archived ? 50000 : 0);
	}
	assert_false(st.archived);
}

/* Asks for class_name until the object is there, seconds on an emulator. */
static void tier_reached(struct world *w, const char *class_name, struct store_stat *ret)
{
	struct err err;
	errint_t r = -EIO;

	for (unsigned i = 0; r && i < 100; i++) {
		r = store_set_tier(w->st, NULL, obj(w, "k"), class_name, NULL, ret, &err);
		if (!r)
			return;
		assert_int_equal(r, -EIO);
		assert_int_equal(err.kind, ERR_ARCHIVED);
		assert_int_equal(store_head(w->st, NULL, obj(w, "k"), ret, &err), 0);
		assert_true(ret->archived && ret->restoring);
		store_stat_done(ret);
		usleep(100000);
	}
	fail_msg("k is not in %s after 10 s", class_name);
}

/* Where a restore moves the object to an online class for good. k is in the offline one. */
static void rehydrated(struct world *w, const char *cold, const char *warm)
{
	struct store_put direct = {.class_name = cold};
	struct store_page page;
	struct store_stat st;
	struct err err;
	errint_t r;

	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "k"), obj(w, "k2"), NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_int_equal(store_list(w->st, NULL, w->bucket, "", 0, "", 10, &page, &err), 0);
	assert_true(page.e[0].archived && !page.e[0].restoring);
	store_page_done(&page);
	tier_reached(w, warm, &st);
	assert_string_equal(st.class_name, warm);
	assert_false(st.archived);
	check_text(w, "k", "hello");
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), cold, st.etag, NULL, &err), 0);
	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 2, &err), 0);
	r = store_restore(w->st, NULL, obj(w, "k"), 2, &err);
	assert_true(!r || r == -EINVAL); /* done already */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
		if (!st.archived)
			break;
		assert_true(st.restoring);
		usleep(100000);
	}
	assert_false(st.archived || st.restoring || st.restored_until_ns);
	assert_string_equal(st.class_name, w->rm->classes[0].name);
	check_text(w, "k", "hello");
	/* overwriting and removing need no restore */
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), cold, NULL, NULL, &err), 0);
	put_text(w, "k", "new");
	check_text(w, "k", "new");
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &direct, &st, &err), 0);
	assert_true(st.archived);
	assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), NULL, &err), 0);
}

static int64_t stays_until(struct world *w)
{
	struct store_stat st;

	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, NULL), 0);
	assert_false(st.archived);
	store_stat_done(&st);
	return st.restored_until_ns;
}

/* k is restored for two days. */
static void restored_again(struct world *w)
{
	int64_t day = 86400 * NS_PER_S, until = stays_until(w);
	struct err err;

	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 1, &err), 0);
	assert_true(stays_until(w) >= until);
	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 9, &err), 0);
	assert_true(stays_until(w) >= until + 6 * day);
	if (w->rm->real)
		return;
	clock_skew_add(4 * day);
	check_text(w, "k", "hello");
}

static void test_tiers(void **state)
{
	NEEDS(archive);

	struct world *w = *state;
	const char *cold = w->rm->classes[TIER_ARCHIVE].name, *warm = warm_of(w);
	char etag[STORE_ETAG_MAX], b[8];
	struct store_page page;
	struct store_stat st;
	struct err err;
	size_t n;

	put_text(w, "k", "hello");
	etag_of(w, "k", etag);
	assert_int_equal(
		store_set_tier(w->st, NULL, obj(w, "k"), warm, "bad", NULL, &err), -ESTALE);
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), "NO", NULL, NULL, &err), -EINVAL);
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), warm, etag, &st, &err), 0);
	assert_string_equal(st.class_name, warm);
	assert_false(st.archived);
	check_text(w, "k", "hello");
	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 1, &err), -EINVAL);
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), cold, st.etag, &st, &err), 0);
	assert_true(st.archived && !st.restoring);
	assert_int_equal(
		store_get(w->st, NULL, obj(w, "k"), NULL, 0, b, sizeof(b), &n, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	if (w->caps.restore_moves) {
		rehydrated(w, cold, warm);
		return;
	}
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), warm, NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_int_equal(
		store_copy(w->st, NULL, obj(w, "k"), obj(w, "k2"), NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 2, &err), 0);
	assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 2, &err), 0);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
	assert_int_equal(store_list(w->st, NULL, w->bucket, "", 0, "", 10, &page, &err), 0);
	if (!w->rm->real) /* a server's restore may be quicker than we are */
		assert_true(
			st.archived && st.restoring && page.e[0].archived && page.e[0].restoring);
	store_page_done(&page);
	wait_restored(w, "k");
	check_text(w, "k", "hello");
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
	assert_true(!st.archived && !st.restoring && st.restored_until_ns > clock_now_ns());
	assert_int_equal(store_list(w->st, NULL, w->bucket, "", 0, "", 10, &page, &err), 0);
	if (!w->rm->real) /* not every server tells it in lists */
		assert_true(!page.e[0].archived && !page.e[0].restoring);
	store_page_done(&page);
	restored_again(w);
	if (!w->rm->real) {
		clock_skew_add(6 * 86400 * NS_PER_S);
		assert_int_equal(
			store_get(w->st, NULL, obj(w, "k"), NULL, 0, b, sizeof(b), &n, &err), -EIO);
		assert_int_equal(store_restore(w->st, NULL, obj(w, "k"), 1, &err), 0);
		wait_restored(w, "k");
	}
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), warm, NULL, &st, &err), 0);
	assert_true(!st.archived && !st.restored_until_ns);
	/* overwriting and removing need no restore */
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), cold, NULL, NULL, &err), 0);
	put_text(w, "k", "new");
	check_text(w, "k", "new");
	struct store_put direct = {.class_name = cold};

	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &direct, &st, &err), 0);
	assert_true(st.archived);
	assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), NULL, &err), 0);
}

/* Where every class is online. */
static void test_classes(void **state)
{
	struct world *w = *state;
	char etag[STORE_ETAG_MAX];
	struct store_stat st;
	struct err err;

	put_text(w, "k", "hello");
	etag_of(w, "k", etag);
	for (unsigned i = 0; i < 2 * TIER_N; i++) { /* each class, there and back */
		const char *class_name = w->rm->classes[i < TIER_N ? i : 2 * TIER_N - 1 - i].name;

		if (w->rm->classes[i < TIER_N ? i : 2 * TIER_N - 1 - i].offline || !class_name[0])
			continue;
		assert_int_equal(
			store_set_tier(w->st, NULL, obj(w, "k"), class_name, "bad", NULL, &err),
			-ESTALE);
		assert_int_equal(err.kind, ERR_STALE);
		assert_int_equal(
			store_set_tier(w->st, NULL, obj(w, "k"), class_name, etag, &st, &err), 0);
		assert_string_equal(st.class_name, class_name);
		assert_false(st.archived);
		memcpy(etag, st.etag, sizeof(etag));
		store_stat_done(&st);
		assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
		assert_string_equal(st.class_name, class_name);
		assert_string_equal(st.etag, etag);
		store_stat_done(&st);
		check_text(w, "k", "hello");
	}
	assert_int_equal(store_set_tier(w->st, NULL, obj(w, "k"), "NO", NULL, NULL, &err), -EINVAL);
	assert_int_equal(
		store_set_tier(w->st, NULL, obj(w, "no"), warm_of(w), NULL, NULL, &err), -ENOENT);
	if (!w->caps.archive)
		assert_int_equal(store_restore(w->st, NULL, obj(w, "no"), 1, &err), -ENOENT);
}

static void test_set_meta(void **state)
{
	struct world *w = *state;
	struct store_meta meta[] = {{"mode", "0600"}, {"uid", "1"}, {"their-key", "a \xc3\xa4"}};
	struct store_meta change[] = {{"mode", NULL}, {"uid", "22"}, {"gid", "3"}, {"no", NULL}};
	struct store_put opt = {.meta = meta, .nmeta = 3};
	char big[8193];
	struct store_stat st, st2;
	struct err err;

	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), "x", 1, &opt, NULL, &err), 0);
	if (store_set_meta(w->st, NULL, obj(w, "k"), NULL, meta, 2, NULL, &err) == -EOPNOTSUPP)
		skip();
	assert_int_equal(
		store_set_meta(w->st, NULL, obj(w, "k"), "bad", change, 1, NULL, &err), -ESTALE);
	/* what is named changes or goes, the rest stays */
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
	assert_int_equal(
		store_set_meta(w->st, NULL, obj(w, "k"), st.etag, change, 4, &st2, &err), 0);
	store_stat_done(&st);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), 0);
	assert_string_equal(st.etag, st2.etag);
	assert_int_equal(st.size, st2.size);
	for (unsigned i = 0; i < 2; i++) {
		const struct store_stat *s = i ? &st2 : &st;

		assert_int_equal(s->nmeta, 3);
		assert_null(store_stat_meta(s, "mode"));
		assert_string_equal(store_stat_meta(s, "uid"), "22");
		assert_string_equal(store_stat_meta(s, "gid"), "3");
		assert_string_equal(store_stat_meta(s, "their-key"), "a \xc3\xa4");
	}
	store_stat_done(&st2);
	check_text(w, "k", "x");
	/* too much in all: nothing is changed */
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	change[1].value = big;
	change[2].value = NULL;
	assert_int_equal(
		store_set_meta(w->st, NULL, obj(w, "k"), NULL, change, 3, NULL, &err), -E2BIG);
	assert_int_equal(err.kind, ERR_FINAL);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st2, &err), 0);
	assert_string_equal(st.etag, st2.etag);
	assert_string_equal(store_stat_meta(&st2, "gid"), "3");
	store_stat_done(&st);
	store_stat_done(&st2);
}

/* ---- parts ---- */

struct parts {
	char id[STORE_UPLOAD_MAX];
	struct store_part p[64];
	size_t n;
};

static void part(struct world *w, struct parts *u, const char *key, unsigned number,
	const uint8_t *p, size_t len)
{
	struct store_part *at = &u->p[number - 1];
	struct err err;
	errint_t r = store_part_put(
		w->st, NULL, obj(w, key), u->id, number, p, len, crc32c(0, p, len), at, &err);

	if (r)
		fail_msg("part %u: %s", number, err_text(&err, r));
	u->n = MAX_OF(u->n, number);
}

static void try_layout(
	struct world *w, const uint8_t *data, const size_t *sizes, unsigned n, unsigned first)
{
	struct store_meta meta = {STORE_META_WRITE, "9.1"};
	struct store_put opt = {.meta = &meta, .nmeta = 1, .class_name = warm_of(w)};
	struct parts u = {0};
	size_t off[64], total = 0, got;
	struct store_part *have;
	struct store_stat st;
	uint8_t *back;
	struct err err;

	for (unsigned i = 0; i < n; total += sizes[i++]) {
		off[i] = total;
		if (i + 1 < n && sizes[i] < w->caps.part_min)
			return;
	}
	assert_int_equal(store_parts_begin(w->st, NULL, obj(w, "m/p"), &opt, u.id, &err), 0);
	part(w, &u, "m/p", first + 1, data + 1, sizes[first]); /* to be replaced */
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (i + first) % n;

		part(w, &u, "m/p", k + 1, data + off[k], sizes[k]);
	}
	assert_int_equal(store_parts_list(w->st, NULL, obj(w, "m/p"), u.id, &have, &got, &err), 0);
	assert_int_equal(got, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(have[i].number, i + 1);
		assert_int_equal(have[i].size, sizes[i]);
		assert_string_equal(have[i].etag, u.p[i].etag);
	}
	free(have);
	opt.if_match = "no";
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj(w, "m/p"), u.id, u.p, u.n, &opt, NULL, &err),
		-ESTALE);
	opt.if_match = NULL;
	opt.if_none_match = STORE_IF_ABSENT;
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj(w, "m/p"), u.id, u.p, u.n, &opt, &st, &err), 0);
	assert_int_equal(st.size, total);
	if (w->caps.checksums && (!w->rm->real || st.has_crc32c)) /* not of every upload */
		assert_int_equal(st.crc32c, crc32c(0, data, total));
	assert_string_equal(store_stat_meta(&st, STORE_META_WRITE), "9.1");
	assert_string_equal(st.class_name, warm_of(w));
	back = malloc(total + 1);
	assert_int_equal(
		store_get(w->st, NULL, obj(w, "m/p"), st.etag, 0, back, total + 1, &got, &err), 0);
	assert_int_equal(got, total);
	assert_memory_equal(back, data, total);
	free(back);
	store_stat_done(&st);
	assert_int_equal(
		store_parts_list(w->st, NULL, obj(w, "m/p"), u.id, &have, &got, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_remove(w->st, NULL, obj(w, "m/p"), NULL, &err), 0);
}

static void test_parts(void **state)
{
	enum { K = 1024, CHUNK = 64 * K };
	static const size_t even[] = {4 * CHUNK, 4 * CHUNK, 4 * CHUNK, 100},
			    growing[] = {CHUNK, CHUNK, 2 * CHUNK, 4 * CHUNK},
			    odd[] = {1000, 1000, 1000, 7}, mixed[] = {70000, 5, 300000, 1, 65536},
			    one[] = {5}, big[] = {5 << 20, 5 << 20, 5 << 20, 3 << 20},
			    middle[] = {CHUNK, 10, CHUNK};
	struct world *w = *state;
	uint8_t *data = malloc(20 << 20);

	fill(data, 20 << 20, 77);
	memset(data + (6 << 20), 0, 2 << 20); /* holes inside and over part borders */
	memset(data + 5 * CHUNK, 0, 2 * CHUNK);
	for (unsigned first = 0; first < 4; first++) {
		try_layout(w, data, even, 4, first);
		try_layout(w, data, growing, 4, first);
		try_layout(w, data, odd, 4, first);
		try_layout(w, data, mixed, 5, first);
		try_layout(w, data, middle, 3, first % 3);
	}
	try_layout(w, data, one, 1, 0);
	try_layout(w, data, big, 4, 1);
	free(data);
}

static void test_parts_more(void **state)
{
	struct world *w = *state;
	struct parts u = {0};
	struct store_upload *pending;
	struct store_part bad, gap[2];
	struct store_stat st;
	char other[STORE_UPLOAD_MAX];
	struct err err;
	size_t n;

	static const struct store_meta mark = {STORE_META_WRITE, "ours.1.2"};
	struct store_put marked = {.meta = &mark, .nmeta = 1};
	size_t first_len = MAX_OF((size_t)w->caps.part_min, (size_t)3);
	uint8_t *first = calloc(1, first_len);
	char b[4];
	errint_t r;

	memcpy(first + first_len - 3, "abc", 3);

	assert_int_equal(store_parts_begin(w->st, NULL, obj(w, "k"), NULL, u.id, &err), 0);
	assert_int_equal(store_parts_begin(w->st, NULL, obj(w, "k"), &marked, other, &err), 0);
	assert_int_equal(store_parts_pending(w->st, NULL, w->bucket, &pending, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(pending[0].key, "k");
	for (size_t i = 0; i < n; i++)
		if (!w->rm->real || pending[i].mark[0])
			assert_string_equal(pending[i].mark,
				strcmp(pending[i].id, other) == 0 ? "ours.1.2" : "");
	assert_true(pending[0].started_ns > 0);
	free(pending);
	assert_int_equal(store_parts_abort(w->st, NULL, obj(w, "k"), other, &err), 0);
	r = store_parts_abort(w->st, NULL, obj(w, "k"), other, &err); /* some say: done */
	assert_true((r == -ENOENT && err.kind == ERR_NOT_FOUND) || (!r && w->rm->real));
	assert_int_equal(store_part_put(w->st, NULL, obj(w, "k"), other, 1, "x", 1,
				 crc32c(0, "x", 1), &bad, &err),
		-ENOENT);
	assert_int_equal(
		store_part_put(w->st, NULL, obj(w, "k"), u.id, 1, "x", 1, 5, &bad, &err), -EBADMSG);
	assert_int_equal(store_part_put(w->st, NULL, obj(w, "other"), u.id, 1, "x", 1,
				 crc32c(0, "x", 1), &bad, &err),
		-ENOENT);
	part(w, &u, "k", 3, first, first_len);
	part(w, &u, "k", 7, (const uint8_t *)"de", 2);
	gap[0] = u.p[2];
	gap[1] = u.p[6];
	bad = u.p[2];
	memcpy(bad.etag, "0123", 4);
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj(w, "k"), u.id, &bad, 1, NULL, NULL, &err),
		-EINVAL);
	assert_int_equal(store_head(w->st, NULL, obj(w, "k"), &st, &err), -ENOENT);
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj(w, "k"), u.id, gap, 2, NULL, NULL, &err), 0);
	assert_int_equal(
		store_get(w->st, NULL, obj(w, "k"), NULL, first_len - 1, b, 4, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_memory_equal(b, "cde", 3);
	/* finished already: S3 may say so, or that it is done */
	r = store_parts_finish(w->st, NULL, obj(w, "k"), u.id, gap, 2, NULL, NULL, &err);
	assert_true(r == -ENOENT || (!r && w->rm->real));
	free(first);
	assert_int_equal(store_parts_pending(w->st, NULL, w->bucket, &pending, &n, &err), 0);
	assert_int_equal(n, 0);
	free(pending);
}

/* Parts that wait for their end are no object: what is written meanwhile is the first, and whoever
 * ends them later finds it there. */
static void test_parts_wait(void **state)
{
	static const char *const texts[] = {"small", ""};
	struct store_put absent = {.if_none_match = STORE_IF_ABSENT};
	struct store_copy copy = {.dst_if_none_match = STORE_IF_ABSENT};
	struct world *w = *state;
	size_t len = MAX_OF((size_t)w->caps.part_min, (size_t)1000);
	uint8_t *data = malloc(len);
	struct parts u = {0};
	struct err err;
	errint_t r;

	fill(data, len, 9);
	put_text(w, "from", "small");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
			store_parts_begin(w->st, NULL, obj(w, "k"), &absent, u.id, &err), 0);
		part(w, &u, "k", 1, data, len);
		for (unsigned again = 0; again < 2; again++) {
			if (i < 2)
				r = store_put(w->st, NULL, obj(w, "k"), texts[i], strlen(texts[i]),
					&absent, NULL, &err);
			else if (w->caps.copy && w->caps.conditional_copy)
				r = store_copy(w->st, NULL, obj(w, "from"), obj(w, "k"), &copy,
					NULL, &err);
			else
				break;
			if (r != (again ? -EEXIST : 0))
				fail_msg("%u, %u: %s", i, again, err_text(&err, r));
			check_text(w, "k", i < 2 ? texts[i] : "small");
		}
		r = store_parts_finish(w->st, NULL, obj(w, "k"), u.id, u.p, 1, &absent, NULL, &err);
		if (i < 2 ||
			(w->caps.copy && w->caps.conditional_copy)) /* they may have gone with it */
			assert_true(r == -EEXIST || r == -ENOENT);
		(void)store_parts_abort(w->st, NULL, obj(w, "k"), u.id, &err);
		assert_int_equal(store_remove(w->st, NULL, obj(w, "k"), NULL, &err), 0);
	}
	free(data);
}

static void test_part_copy(void **state)
{
	NEEDS(part_copy);

	struct world *w = *state;
	size_t unit = MAX_OF((size_t)w->caps.part_min / 4, (size_t)65536), len = 10 * unit + 77, n;
	uint8_t *a = malloc(len), *b = malloc(len);
	struct parts u = {0};
	struct store_stat st;
	struct err err;

	fill(a, len, 5);
	memset(a + 3 * 65536, 0, 65536);
	assert_int_equal(store_put(w->st, NULL, obj(w, "s"), a, len, NULL, &st, &err), 0);
	for (unsigned shift = 0; shift < 2; shift++) {
		uint64_t off = shift ? 1000 : 0, size = 4 * unit;
		unsigned k = 0;

		assert_int_equal(store_parts_begin(w->st, NULL, obj(w, "d"), NULL, u.id, &err), 0);
		assert_int_equal(store_part_copy(w->st, NULL, obj(w, "s"), "old", 0, 1, obj(w, "d"),
					 u.id, 1, &u.p[0], &err),
			-ESTALE);
		assert_int_equal(store_part_copy(w->st, NULL, obj(w, "s"), st.etag, len, 1,
					 obj(w, "d"), u.id, 1, &u.p[0], &err),
			-EINVAL);
		for (uint64_t at = off; at < len; at += size, k++) {
			errint_t r = k == 1 ? store_part_put(w->st, NULL, obj(w, "d"), u.id, k + 1,
						      a + at, size, crc32c(0, a + at, size),
						      &u.p[k], &err)
					    : store_part_copy(w->st, NULL, obj(w, "s"), st.etag, at,
						      MIN_OF(size, len - at), obj(w, "d"), u.id,
						      k + 1, &u.p[k], &err);

			if (r)
				fail_msg("part_copy %u: %s", k, err_text(&err, r));
		}
		assert_int_equal(store_parts_finish(
					 w->st, NULL, obj(w, "d"), u.id, u.p, k, NULL, NULL, &err),
			0);
		assert_int_equal(store_get(w->st, NULL, obj(w, "d"), NULL, 0, b, len, &n, &err), 0);
		assert_int_equal(n, len - off);
		assert_memory_equal(b, a + off, n);
	}
	store_stat_done(&st);
	free(a);
	free(b);
}

/* ---- buckets ---- */

static void test_buckets(void **state)
{
	struct world *w = *state;
	bool found = false;
	char **names;
	struct store_stat st;
	char b[1];
	errint_t r;
	struct err err;
	size_t n;

	assert_int_equal(store_bucket_create(w->st, NULL, w->bucket, &err), -EEXIST);
	assert_int_equal(store_bucket_create(w->st, NULL, "conf-new", &err), 0);
	assert_int_equal(store_bucket_list(w->st, NULL, &names, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		found |= !strcmp(names[i], "conf-new");
		free(names[i]);
	}
	free(names);
	assert_true(found);
	assert_int_equal(store_put(w->st, NULL, (struct store_obj){"conf-new", "d/k"}, "x", 1, NULL,
				 NULL, &err),
		0);
	assert_int_equal(store_bucket_remove(w->st, NULL, "conf-new", &err), -ENOTEMPTY);
	assert_int_equal(
		store_remove(w->st, NULL, (struct store_obj){"conf-new", "d/k"}, NULL, &err), 0);
	assert_int_equal(store_bucket_remove(w->st, NULL, "conf-new", &err), 0);
	r = store_bucket_remove(w->st, NULL, "conf-new", &err); /* some say: done */
	assert_true(r == -ENOENT || (!r && w->rm->real));
	assert_int_equal(store_put(w->st, NULL, (struct store_obj){"conf-new", "k"}, "x", 1, NULL,
				 NULL, &err),
		-ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(
		store_head(w->st, NULL, (struct store_obj){"conf-new", "k"}, &st, &err), -ENOENT);
	assert_int_equal(store_get(w->st, NULL, (struct store_obj){"conf-new", "d/k"}, NULL, 0, b,
				 1, &n, &err),
		-ENOENT);
	assert_int_equal(
		store_put(w->st, NULL, (struct store_obj){"../x", "k"}, "x", 1, NULL, NULL, &err),
		-EINVAL);
}

/* Rules are in the provider's words, as JSON. */
static void test_lifecycle(void **state)
{
	static const char *const rules[][2] = {
		{"gcp", "{\"rule\":[{\"action\":{\"type\":\"Delete\"},\"condition\":{\"age\":365}}]"
			"}"},
		{"local", "{\"rules\":[]}"},
		{"aws", "{\"Rules\":[{\"ID\":\"r1\",\"Filter\":{\"Prefix\":\"x/\"},\"Status\":"
			"\"Enabled\",\"Expiration\":{\"Days\":365}}]}"},
	};
	struct world *w = *state;
	const char *text = NULL;
	json_t *want, *got;
	struct err err;
	char *json;
	errint_t r;

	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (!strcmp(rules[i][0], w->rm->provider))
			text = rules[i][1];
	if (!text)
		skip();
	r = store_lifecycle_get(w->st, NULL, w->bucket, &json, &err);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_lifecycle_put(w->st, NULL, w->bucket, text, &err), 0);
	assert_int_equal(store_lifecycle_get(w->st, NULL, w->bucket, &json, &err), 0);
	want = json_loads(text, 0, NULL);
	got = json_loads(json, 0, NULL);
	if (!json_equal(want, got))
		fail_msg("rules are %s, should be %s", json, text);
	json_decref(want);
	json_decref(got);
	free(json);
	assert_int_equal(store_lifecycle_put(w->st, NULL, w->bucket, "{", &err), -EINVAL);
	assert_int_equal(store_lifecycle_get(w->st, NULL, "conf-no-such", &json, &err), -ENOENT);
}

static void test_cancel(void **state)
{
	struct world *w = *state;
	uint8_t *a = malloc(4 << 20);
	atomic_bool cancel = true;
	struct store_call call = {.cancel = &cancel};
	struct err err;
	size_t n;
	errint_t r;

	fill(a, 4 << 20, 1);
	assert_int_equal(store_put(w->st, NULL, obj(w, "k"), a, 4 << 20, NULL, NULL, &err), 0);
	r = store_get(w->st, &call, obj(w, "k"), NULL, 0, a, 4 << 20, &n, &err);
	/* a driver that is quick may not look */
	assert_true(r == 0 || (r == -ECANCELED && err.kind == ERR_CANCELLED));
	free(a);
}

/* ---- threads ---- */

static void *counter(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < 25;) {
		char b[32] = "", etag[STORE_ETAG_MAX];
		struct store_stat st;
		struct store_put opt = {.if_match = etag};
		struct err err;
		size_t n;
		errint_t r = store_head(w->st, NULL, obj(w, "a/n"), &st, &err);

		if (r)
			return "head failed";
		memcpy(etag, st.etag, sizeof(etag));
		store_stat_done(&st);
		r = store_get(w->st, NULL, obj(w, "a/n"), etag, 0, b, sizeof(b) - 1, &n, &err);
		if (r == -ESTALE)
			continue;
		if (r)
			return "get failed";
		snprintf(b, sizeof(b), "%d", atoi(b) + 1);
		r = store_put(w->st, NULL, obj(w, "a/n"), b, strlen(b), &opt, NULL, &err);
		if (r && r != -ESTALE)
			return "put failed";
		i += !r;
	}
	return NULL;
}

/* All of them before one fails the test: its end takes the world away from the others. */
static void join_all(const pthread_t *t, size_t n)
{
	const char *wrong = NULL;

	for (size_t i = 0; i < n; i++) {
		void *r;

		pthread_join(t[i], &r);
		wrong = r ? r : wrong;
	}
	if (wrong)
		fail_msg("%s", wrong);
}

static void test_threads(void **state)
{
	struct world *w = *state;
	pthread_t t[4];

	put_text(w, "a/n", "0");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, counter, w), 0);
	join_all(t, ARRAY_SIZE(t));
	check_text(w, "a/n", "100");
}

enum { SIDE_BY_SIDE = 8, SENDERS = 4 };

struct sender { /* every fourth part of one upload */
	struct world *w;
	const uint8_t *data;
	size_t len; /* of a part */
	unsigned first;
	char id[STORE_UPLOAD_MAX];
	struct store_part *parts;
};

static void *send_parts(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = s->first; i < SIDE_BY_SIDE; i += SENDERS) {
		const uint8_t *p = s->data + i * s->len;
		struct err err;
		errint_t r = store_part_put(s->w->st, NULL, obj(s->w, "m/side"), s->id, i + 1, p,
			s->len, crc32c(0, p, s->len), &s->parts[i], &err);

		if (r) {
			fprintf(stderr, "part %u: %s\n", i + 1, err_text(&err, r));
			return "a part failed";
		}
	}
	return NULL;
}

static void test_parts_side_by_side(void **state)
{
	struct world *w = *state;
	size_t len = MAX_OF((size_t)w->caps.part_min, (size_t)65536), all = SIDE_BY_SIDE * len, got;
	struct store_part parts[SIDE_BY_SIDE];
	struct sender s[SENDERS];
	pthread_t t[SENDERS];
	char id[STORE_UPLOAD_MAX];
	uint8_t *data = malloc(all), *back = malloc(all);
	struct store_stat st;
	struct err err;

	fill(data, all, 5);
	assert_int_equal(store_parts_begin(w->st, NULL, obj(w, "m/side"), NULL, id, &err), 0);
	for (unsigned i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){
			.w = w, .data = data, .len = len, .first = i, .parts = parts};
		snprintf(s[i].id, sizeof(s[i].id), "%s", id);
		assert_int_equal(pthread_create(&t[i], NULL, send_parts, &s[i]), 0);
	}
	join_all(t, ARRAY_SIZE(t));
	assert_int_equal(store_parts_finish(w->st, NULL, obj(w, "m/side"), id, parts, SIDE_BY_SIDE,
				 NULL, &st, &err),
		0);
	assert_int_equal(st.size, all);
	if (st.has_crc32c)
		assert_int_equal(st.crc32c, crc32c(0, data, all));
	assert_int_equal(
		store_get(w->st, NULL, obj(w, "m/side"), st.etag, 0, back, all, &got, &err), 0);
	assert_int_equal(got, all);
	assert_memory_equal(back, data, all);
	store_stat_done(&st);
	free(back);
	free(data);
}

/* Files and directories of the same names, made and removed against each other. */
static void *churn(void *arg)
{
	static const char *const keys[] = {"t", "t/", "t/a", "t/a/b", "t/a/", "t/a/b/c"};
	struct world *w = arg;
	uint64_t seed = (uintptr_t)pthread_self();

	for (unsigned i = 0; i < 60; i++) {
		struct err err;
		errint_t r;

		seed = hash64(&i, 4, seed);
		if (seed % 3)
			r = store_put(w->st, NULL, obj(w, keys[(seed >> 8) % 6]), "v",
				(seed >> 20) % 2, NULL, NULL, &err);
		else
			r = store_remove(w->st, NULL, obj(w, keys[(seed >> 8) % 6]), NULL, &err);
		if (r && r != -ENOENT) {
			fprintf(stderr, "churn: %s\n", err_text(&err, r));
			return "churn failed";
		}
	}
	return NULL;
}

static void test_churn(void **state)
{
	struct world *w = *state;
	pthread_t t[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, w), 0);
	join_all(t, ARRAY_SIZE(t));
	for (unsigned i = 0; i < 6; i++) {
		static const char *const keys[] = {"t", "t/", "t/a", "t/a/b", "t/a/", "t/a/b/c"};

		put_text(w, keys[i], keys[i]);
	}
	check_text(w, "t", "t");
	check_text(w, "t/", "t/");
	check_text(w, "t/a/b", "t/a/b");
}

/* ---- frame ---- */

static int remove_entry(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
	(void)remove(path);
	return 0;
}

static struct conf *configuration(void)
{
	/* name, type, faults */
	static const char *const table[][3] = {
		{"mem", "mem", NULL},
		{"local", "local", NULL},
		{"mem-stack", "mem",
			"*:every=7:error=EIO;*:every=11:delay=1;put,list:every=5:throttle=1;"
			"get:every=6:cut;get,part_put,part_copy,head:every=9:lost"},
		{"local-stack", "local",
			"*:p=0.15:seed=3:error=EIO;*:every=13:delay=1;get:every=6:cut;"
			"list,get,part_put,head:every=9:lost"},
	};
	struct conf *c = conf_new();

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		char section[64];

		snprintf(section, sizeof(section), "remote %s", table[i][0]);
		conf_set(c, section, "type", table[i][1]);
		conf_set(c, section, "offline", "ARCHIVE");
		conf_set(c, section, "retry_delay", "1ms");
		conf_set(c, section, "retries", "20");
		if (!strcmp(table[i][1], "mem"))
			conf_set(c, section, "renames", "yes");
		if (table[i][2])
			conf_set(c, section, "fault", table[i][2]);
		if (!strcmp(table[i][1], "local") && getenv("CONFORMANCE_NOSYNC"))
			conf_set(c, section, "sync", "no");
	}
	return c;
}

static struct remote *current;
static unsigned bucket_number;

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err err;
	errint_t r;

	w->rm = current;
	w->st = current->st;
	store_caps(w->st, &w->caps);
	snprintf(w->bucket, sizeof(w->bucket), "conf-%d-%u", (int)getpid(), bucket_number++);
	r = store_bucket_create(w->st, NULL, w->bucket, &err);
	if (r)
		print_error("bucket: %s\n", err_text(&err, r));
	*state = w;
	return r;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

struct entry {
	const char *name;
	void (*fn)(void **state);
};

static const struct entry all[] = {
#define T(f)                                                                                       \
	{                                                                                          \
#f, f                                                                              \
	}
	T(test_roundtrip),
	T(test_conditions),
	T(test_bad_bytes),
	T(test_odd_keys),
	T(test_list_model),
	T(test_list_entries),
	T(test_list_many),
	T(test_remove_many),
	T(test_copy),
	T(test_rename),
	T(test_rename_lost),
	T(test_tiers),
	T(test_classes),
	T(test_set_meta),
	T(test_parts),
	T(test_parts_more),
	T(test_parts_wait),
	T(test_part_copy),
	T(test_buckets),
	T(test_lifecycle),
	T(test_cancel),
	T(test_threads),
	T(test_parts_side_by_side),
	T(test_churn),
#undef T
};

/* Whether name is one of the words that commas join. */
static bool listed(const char *words, const char *name)
{
	size_t len = strlen(name);

	for (const char *s = words; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
		if (!strncmp(s, name, len) && (!s[len] || s[len] == ','))
			return true;
	return false;
}

static int run(const char *skipped)
{
	struct CMUnitTest tests[ARRAY_SIZE(all)] = {0};
	size_t n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		if (!skipped || !listed(skipped, all[i].name))
			tests[n++] =
				(struct CMUnitTest){all[i].name, all[i].fn, setup, teardown, NULL};
	return _cmocka_run_group_tests(current->name, tests, n, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *file = NULL, *skipped = NULL;
	struct conf *c;
	struct err err;
	int opt, failed = 0;
	errint_t r = 0;

	while ((opt = getopt(argc, argv, "b:c:ds:")) != -1) {
		if (opt == '?')
			return 2;
		if (opt == 'd') {
			unsigned rooms = 0;

			(void)log_rooms_parse("net:store", &rooms, NULL);
			log_rooms_set(rooms);
			continue;
		}
		*(opt == 'b' ? &bad_bytes : opt == 'c' ? &file : &skipped) = optarg;
	}
	scratch_name(dir, sizeof(dir), "conf");
	if (!mkdtemp(dir))
		return 1;
	c = file ? conf_new() : configuration();
	if (file)
		r = conf_load(c, file, &err);
	r = r ? r : remotes_build(c, dir, &remotes, &nremotes, &err);
	if (r) {
		fprintf(stderr, "%s\n", err_text(&err, r));
		return 1;
	}
	for (size_t i = 0; i < nremotes; i++) {
		if (argv[optind] && strcmp(argv[optind], remotes[i].name) != 0)
			continue;
		current = &remotes[i];
		failed += run(skipped);
	}
	remotes_destroy(remotes, nremotes);
	conf_destroy(c);
	(void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return failed ? 1 : 0;
}
