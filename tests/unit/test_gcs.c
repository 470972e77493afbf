/* SPDX-License-Identifier: MIT */
/* The Google Cloud Storage driver against tests/fake/gcs.py: what conformance does not ask. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/store.h"
#include "fake_help.h"
#include "store/gcs_priv.h"

#define MIB (1u << 20)

static struct fake fake;
static struct store *st;
static int64_t stall_ns = 20 * NS_PER_S;
static const char bucket[] = "things";

static struct store *store_make(const struct gcs_conf *more)
{
	struct gcs_conf conf = more ? *more : (struct gcs_conf){0};
	static const char *const classes[] = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"};
	struct net_conf nc = {.stall_ns = stall_ns};
	struct store *s = NULL;
	struct err err;

	conf.endpoint = fake.url;
	for (unsigned i = 0; i < TIER_N; i++)
		strcpy(conf.classes[i].name, classes[i]);
	if (!conf.insert_max)
		conf.insert_max = MIB;
	assert_int_equal(store_gcs_new(&conf, net_new(&nc, NULL), NULL, NULL, &s, &err), 0);
	return s;
}

static struct store_obj obj(const char *key)
{
	return (struct store_obj){bucket, key};
}

static void say(const char *path, const char *fmt, ...)
{
	char *text = NULL, *answer;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	answer = fake_say(&fake, "POST", path, text);
	assert_non_null(answer);
	free(answer);
	free(text);
}

#define faults(...) say("/fake/faults", __VA_ARGS__)

static void fresh_log(void)
{
	say("/fake/log", "");
}

static uint8_t *bytes(size_t len)
{
	uint8_t *p = malloc(len + 1);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t h = hash64(&i, sizeof(i), 3);

		memcpy(p + i, &h, MIN_OF(len - i, sizeof(h)));
	}
	return p;
}

static errint_t put(const char *key, const void *p, size_t len, const char *mark,
	const char *if_match, struct err *err)
{
	struct store_meta meta = {STORE_META_WRITE, mark};
	struct store_put opt = {.meta = &meta, .nmeta = 1, .if_match = if_match};

	if (!if_match)
		opt.if_none_match = STORE_IF_ABSENT;
	return store_put(st, NULL, obj(key), p, len, &opt, NULL, err);
}

static void check_bytes(const char *key, const void *p, size_t len)
{
	uint8_t *b = malloc(len + 1);
	struct err err;
	size_t n;

	assert_int_equal(store_get(st, NULL, obj(key), NULL, 0, b, len + 1, &n, &err), 0);
	assert_int_equal(n, len);
	assert_memory_equal(b, p, len);
	free(b);
}

static void version(const char *key, char ret[STORE_ETAG_MAX])
{
	struct store_stat s;

	assert_int_equal(store_head(st, NULL, obj(key), &s, NULL), 0);
	memcpy(ret, s.etag, sizeof(s.etag));
	store_stat_done(&s);
}

static void gone(const char *key)
{
	struct store_stat s;

	assert_int_equal(store_head(st, NULL, obj(key), &s, NULL), -ENOENT);
}

/* Nothing of ours is left below the hidden prefix. */
static void nothing_hidden(void)
{
	struct store_page page;
	struct err err;

	assert_int_equal(
		store_list(st, NULL, bucket, STORE_TMP_PREFIX, 0, NULL, 10, &page, &err), 0);
	assert_int_equal(page.n, 0);
	store_page_done(&page);
}

/* ---- what errors mean ---- */

static void errors_have_their_kinds(void **state)
{
	static const struct {
		int status;
		const char *reason;
		errint_t r;
		enum err_kind put, get;
	} cases[] = {
		{503, "backendError", -EIO, ERR_RETRY, ERR_RETRY},
		{500, "backendError", -EIO, ERR_UNKNOWN, ERR_RETRY},
		{502, "badGateway", -EIO, ERR_UNKNOWN, ERR_RETRY},
		{504, "gatewayTimeout", -EIO, ERR_UNKNOWN, ERR_RETRY},
		{408, "requestTimeout", -ETIMEDOUT, ERR_UNKNOWN, ERR_RETRY},
		{429, "rateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
		{403, "rateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
		{403, "userRateLimitExceeded", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
		{403, "forbidden", -EACCES, ERR_AUTH, ERR_AUTH},
		{403, "quotaExceeded", -EDQUOT, ERR_FINAL, ERR_FINAL},
		{403, "retentionPolicyNotMet", -EPERM, ERR_FINAL, ERR_FINAL},
		{401, "authError", -EACCES, ERR_AUTH, ERR_AUTH},
		{404, "notFound", -ENOENT, ERR_NOT_FOUND, ERR_NOT_FOUND},
		{412, "conditionNotMet", -EEXIST, ERR_STALE, ERR_STALE},
		{409, "conflict", -EBUSY, ERR_RETRY, ERR_RETRY},
		{400, "invalid", -EINVAL, ERR_FINAL, ERR_FINAL},
		{501, "notImplemented", -EOPNOTSUPP, ERR_FINAL, ERR_FINAL},
		{302, "moved", -EIO, ERR_FINAL, ERR_FINAL},
	};
	struct err err;
	size_t n;
	char b[8];

	assert_int_equal(store_get(st, NULL, obj("e"), NULL, 0, b, 0, &n, &err), -ENOENT);
	assert_int_equal(put("e", "x", 1, "1.1", NULL, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		faults("[{\"on\": \"alt=media|POST /upload\", \"times\": 2, \"do\": \"status\", "
		       "\"status\": %d, \"reason\": \"%s\", \"headers\": {\"Retry-After\": \"7\", "
		       "\"Location\": \"%s/elsewhere\", \"X-GUploader-UploadID\": \"id-%u\"}}]",
			cases[i].status, cases[i].reason, fake.url, i);
		assert_int_equal(put("f", "x", 1, "1.1", NULL, &err), cases[i].r);
		assert_int_equal(err.kind, cases[i].put);
		assert_int_equal(err.http_status, cases[i].status);
		assert_string_equal(err.code, cases[i].reason);
		assert_int_equal(err.retry_after_ms, 7000);
		assert_true(!strncmp(err.request_id, "id-", 3));
		assert_non_null(strstr(err.msg, "things/f"));
		assert_int_equal(store_get(st, NULL, obj("e"), NULL, 0, b, 8, &n, &err),
			cases[i].status == 412 ? -ESTALE : cases[i].r);
		assert_int_equal(err.kind, cases[i].get);
		gone("f");
	}
	faults("[]");
	fresh_log();
	assert_int_equal(fake_count(&fake, "elsewhere", NULL), 0);
}

static void lost_answers_are_unknown(void **state)
{
	struct store_stat s;
	struct err err;

	faults("[{\"on\": \"POST /upload\", \"do\": \"lost\"}]");
	assert_true(put("lost", "x", 1, "7.1", NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(store_head(st, NULL, obj("lost"), &s, &err), 0);
	assert_string_equal(store_stat_meta(&s, STORE_META_WRITE), "7.1");
	faults("[{\"on\": \"DELETE\", \"do\": \"lost\"}]");
	assert_true(store_remove(st, NULL, obj("lost"), s.etag, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	store_stat_done(&s);
	gone("lost");
	/* not sent at all */
	faults("[{\"on\": \"DELETE\", \"do\": \"drop\"}]");
	assert_true(store_remove(st, NULL, obj("lost"), NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
}

/* ---- sessions ---- */

static void sessions_go_on_where_they_stopped(void **state)
{
	static const char *const tricks[] = {
		/* less arrives than was sent, twice */
		"[{\"on\": \"PUT /upload\", \"do\": \"partial\", \"bytes\": 600000, \"times\": 2}]",
		/* the connection breaks after some of it arrived */
		"[{\"on\": \"PUT /upload\", \"do\": \"partial\", \"bytes\": 1000000, \"drop\": 1}]",
		/* all arrived, the answer did not */
		"[{\"on\": \"PUT /upload\", \"do\": \"lost\"}]",
		/* and not the answer to the question either */
		"[{\"on\": \"PUT /upload\", \"do\": \"lost\", \"times\": 3}]",
		"[{\"on\": \"PUT /upload\", \"do\": \"drop\", \"times\": 3}]",
		"[{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 503, \"times\": 3}]",
		"[{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 500}]",
	};
	size_t len = 3 * MIB + 77;
	uint8_t *p = bytes(len);
	char etag[STORE_ETAG_MAX];
	struct err err;
	errint_t r;

	for (unsigned i = 0; i < ARRAY_SIZE(tricks); i++) {
		faults("%s", tricks[i]);
		r = put("big", p, len, "1.1", i ? etag : NULL, &err);
		if (r)
			fail_msg("trick %u: %s", i, err_text(&err, r));
		check_bytes("big", p, len);
		version("big", etag);
	}
	/* the parts that had arrived were not sent again */
	faults("%s", tricks[0]);
	fresh_log();
	assert_int_equal(put("big", p, len, "1.1", etag, &err), 0);
	assert_int_equal(fake_count(&fake, "PUT /upload", NULL), 3);
	free(p);
}

static void sessions_that_end_badly(void **state)
{
	size_t len = 2 * MIB;
	uint8_t *p = bytes(len);
	struct store_call soon = {0};
	struct store_put opt = {.has_crc32c = true, .crc32c = 1};
	char etag[STORE_ETAG_MAX];
	struct err err;

	faults("[{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 410}]");
	assert_int_equal(put("bad", p, len, "1.1", NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY);
	/* gone, with an answer lost before: who knows */
	faults("[{\"on\": \"PUT /upload\", \"do\": \"lost\"}, "
	       "{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 404}]");
	assert_int_equal(put("bad", p, len, "1.1", NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	version("bad", etag);
	/* the condition holds until the end */
	assert_int_equal(put("bad", p, len, "1.1", NULL, &err), -EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(put("bad", p, len, "1.1", "12345", &err), -ESTALE);
	/* other bytes than were announced */
	assert_int_equal(store_put(st, NULL, obj("bad2"), p, len, &opt, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	gone("bad2");
	/* a session elsewhere is not followed */
	faults("[{\"on\": \"uploadType=resumable\", \"do\": \"answer\", \"headers\": "
	       "{\"Location\": "
	       "\"http://127.0.0.1:9/upload\"}}]");
	assert_int_equal(put("bad3", p, len, "1.1", NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	/* one that says what cannot be */
	faults("[{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 308, \"headers\": "
	       "{\"Range\": \"bytes=0-99999999\"}, \"times\": 20}]");
	assert_true(put("bad3", p, len, "1.1", NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	/* one that never takes anything ends */
	faults("[{\"on\": \"PUT /upload\", \"do\": \"status\", \"status\": 308, \"times\": 90}]");
	soon.deadline_mono_ns = clock_mono_ns() + NS_PER_S;
	assert_int_equal(store_put(st, &soon, obj("bad3"), p, len, NULL, NULL, &err), -ETIMEDOUT);
	faults("[]");
	gone("bad3");
	free(p);
}

/* ---- reading what a broken server says ---- */

static void broken_answers_are_never_data(void **state)
{
	static const struct {
		const char *fault;
		errint_t r;
		enum err_kind kind;
	} cases[] = {
		{"\"do\": \"flip\"", -EIO, ERR_FINAL},
		{"\"do\": \"cut\"", -ECONNRESET, ERR_RETRY},
		{"\"do\": \"answer\", \"headers\": {\"Content-Range\": \"bytes 1-5/300\"}",
			-EBADMSG, ERR_RETRY},
		{"\"do\": \"answer\", \"headers\": {\"Content-Range\": null}", -EBADMSG, ERR_RETRY},
		{"\"do\": \"answer\", \"headers\": {\"Content-Range\": \"bytes 0-399/400\"}",
			-EBADMSG, ERR_RETRY},
		{"\"do\": \"answer\", \"headers\": {\"x-goog-generation\": \"12\"}", -ESTALE,
			ERR_STALE},
		{"\"do\": \"answer\", \"status\": 200, \"body\": \"short\"", -EIO, ERR_FINAL},
		{"\"do\": \"answer\", \"headers\": {\"x-goog-stored-content-encoding\": \"gzip\"}",
			-EIO, ERR_FINAL},
	};
	uint8_t *p = bytes(300), b[400];
	char etag[STORE_ETAG_MAX];
	struct err err;
	size_t n;
	errint_t r;

	assert_int_equal(put("r", p, 300, "1.1", NULL, &err), 0);
	version("r", etag);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		faults("[{\"on\": \"alt=media\", %s}]", cases[i].fault);
		r = store_get(st, NULL, obj("r"), etag, 0, b, sizeof(b), &n, &err);
		if (r != cases[i].r || err.kind != cases[i].kind)
			fail_msg("case %u: %d %s %s", i, r, err_kind_name(err.kind), err.msg);
		assert_int_equal(n, 0);
	}
	/* one that says nothing */
	struct store *keep = st;

	stall_ns = 500 * NS_PER_MS;
	st = store_make(NULL);
	stall_ns = 20 * NS_PER_S;
	faults("[{\"on\": \"alt=media\", \"do\": \"hang\", \"seconds\": 60}]");
	assert_int_equal(
		store_get(st, NULL, obj("r"), etag, 0, b, sizeof(b), &n, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_RETRY);
	store_destroy(st);
	st = keep;
	/* a server that knows no ranges, and one that sends more than was asked for */
	faults("[{\"on\": \"alt=media\", \"do\": \"answer\", \"status\": 200}]");
	assert_int_equal(store_get(st, NULL, obj("r"), etag, 0, b, sizeof(b), &n, &err), 0);
	assert_int_equal(n, 300);
	faults("[{\"on\": \"alt=media\", \"do\": \"answer\", \"status\": 200}]");
	assert_int_equal(store_get(st, NULL, obj("r"), etag, 10, b, sizeof(b), &n, &err), -EBADMSG);
	faults("[{\"on\": \"alt=media\", \"do\": \"answer\", \"status\": 200, \"body\": "
	       "\"0123456789\"}]");
	assert_int_equal(store_get(st, NULL, obj("r"), etag, 0, b, 5, &n, &err), -EBADMSG);
	free(p);
}

static void broken_json_is_told(void **state)
{
	static const char *const bodies[] = {"", "{", "[]", "nonsense", "{\\\"size\\\": \\\"x\\\"}",
		"{\\\"size\\\": \\\"1\\\"}",
		"{\\\"size\\\": \\\"1\\\", \\\"generation\\\": \\\"0\\\"}",
		"{\\\"size\\\": \\\"99999999999999999999\\\", \\\"generation\\\": \\\"5\\\"}",
		"{\\\"size\\\": -1, \\\"generation\\\": 7}"};
	struct store_stat s;
	struct store_page page;
	struct err err;

	assert_int_equal(put("j", "x", 1, "1.1", NULL, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bodies); i++) {
		faults("[{\"on\": \"GET .*/o/j\", \"do\": \"answer\", \"body\": \"%s\"}]",
			bodies[i]);
		assert_int_equal(store_head(st, NULL, obj("j"), &s, &err), -EBADMSG);
		assert_int_equal(err.kind, ERR_RETRY);
		faults("[{\"on\": \"POST /upload\", \"do\": \"answer\", \"body\": \"%s\"}]",
			bodies[i]);
		assert_int_equal(put("j2", "x", 1, "1.1", NULL, &err), -EBADMSG);
		assert_int_equal(err.kind, ERR_UNKNOWN);
		assert_int_equal(store_remove(st, NULL, obj("j2"), NULL, &err), 0);
		faults("[{\"on\": \"GET .*/o.maxResults\", \"do\": \"answer\", \"body\": \"%s\"}]",
			i < 4 ? bodies[i] : "{\\\"items\\\": [{\\\"name\\\": \\\"k\\\"}]}");
		assert_int_equal(
			store_list(st, NULL, bucket, "", 0, NULL, 10, &page, &err), -EBADMSG);
		assert_int_equal(err.kind, ERR_RETRY);
	}
	/* pages without an end */
	faults("[{\"on\": \"GET .*/o.maxResults\", \"do\": \"answer\", \"times\": 1000, \"body\": "
	       "\"{\\\"nextPageToken\\\": \\\"more\\\"}\"}]");
	assert_int_equal(store_list(st, NULL, bucket, "", 0, NULL, 10, &page, &err), -EIO);
	/* what was stored is not what was sent */
	faults("[{\"on\": \"POST /upload\", \"do\": \"answer\", \"body\": \"{\\\"size\\\": "
	       "\\\"2\\\","
	       " \\\"generation\\\": \\\"7\\\"}\"}]");
	assert_int_equal(put("j3", "x", 1, "1.1", NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	faults("[]");
}

/* ---- listings ---- */

static void a_list_costs_its_pages(void **state)
{
	struct store_page page;
	char key[32], token[STORE_TOKEN_MAX] = "";
	unsigned n = 0;
	struct err err;

	for (unsigned i = 0; i < 250; i++) {
		snprintf(key, sizeof(key), "many/%u", i);
		assert_int_equal(put(key, "x", 1, "1.1", NULL, &err), 0);
	}
	fresh_log();
	do {
		assert_int_equal(
			store_list(st, NULL, bucket, "many/", '/', token, 100, &page, &err), 0);
		n += (unsigned)page.n;
		memcpy(token, page.next, sizeof(token));
		store_page_done(&page);
	} while (token[0]);
	assert_int_equal(n, 250);
	assert_int_equal(fake_count(&fake, "GET ", NULL), 3);
	assert_int_equal(fake_count(&fake, "GET ", "maxResults=100"), 3);
	/* and reading one of them is one request */
	fresh_log();
	check_bytes("many/7", "x", 1);
	assert_int_equal(fake_count(&fake, " ", NULL), 1);
}

/* ---- foreign objects ---- */

static void what_others_wrote_is_kept(void **state)
{
	static const char more[] =
		"{\"bucket\": \"things\", \"name\": \"foreign\", \"contentType\": \"text/x-a\", "
		"\"cacheControl\": \"no-store\", \"metadata\": {\"Mode\": \"1\", \"odd key\": "
		"\"2\", "
		"\"mtime\": \"3\"}}";
	struct store_meta meta[] = {{"uid", "5"}, {"mode", "2"}, {"mtime", NULL}};
	char path[] = "/storage/v1/b/things/o/foreign", *text;
	struct store_stat s;
	struct err err;

	assert_int_equal(put("foreign", "abc", 3, "1.1", NULL, &err), 0);
	say("/fake/object", "%s", more);
	assert_int_equal(store_head(st, NULL, obj("foreign"), &s, &err), 0);
	assert_int_equal(s.nmeta, 2);
	assert_string_equal(store_stat_meta(&s, "mode"), "1");
	/* metadata: what is named, in whatever letters it has it, is replaced; the rest stays */
	assert_int_equal(store_set_meta(st, NULL, obj("foreign"), s.etag, meta, 3, NULL, &err), 0);
	store_stat_done(&s);
	text = fake_say(&fake, "GET", path, NULL);
	assert_non_null(strstr(text, "\"odd key\": \"2\""));
	assert_null(strstr(text, "Mode"));
	assert_null(strstr(text, "mtime"));
	assert_non_null(strstr(text, "\"uid\": \"5\""));
	assert_non_null(strstr(text, "\"contentType\": \"text/x-a\""));
	free(text);
	/* a change of class keeps it all */
	assert_int_equal(store_set_tier(st, NULL, obj("foreign"), "COLDLINE", NULL, &s, &err), 0);
	store_stat_done(&s);
	text = fake_say(&fake, "GET", path, NULL);
	assert_non_null(strstr(text, "\"odd key\": \"2\""));
	assert_non_null(strstr(text, "\"contentType\": \"text/x-a\""));
	assert_non_null(strstr(text, "\"cacheControl\": \"no-store\""));
	assert_non_null(strstr(text, "\"storageClass\": \"COLDLINE\""));
	free(text);
}

static void compressed_objects_come_as_they_are(void **state)
{
	static const uint8_t gz[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0x4b, 0x4c, 0x4a, 6, 0,
		0xc2, 0x41, 0x24, 0x35, 3, 0, 0, 0};
	struct err err;

	assert_int_equal(put("gz", gz, sizeof(gz), "1.1", NULL, &err), 0);
	say("/fake/object",
		"{\"bucket\": \"things\", \"name\": \"gz\", \"contentEncoding\": \"gzip\"}");
	check_bytes("gz", gz, sizeof(gz));
}

static void metadata_changes_meet(void **state)
{
	struct store_meta meta = {"a", "b"};
	char etag[STORE_ETAG_MAX], other[STORE_ETAG_MAX];
	struct err err;

	assert_int_equal(put("m", "x", 1, "1.1", NULL, &err), 0);
	version("m", etag);
	/* somebody changes metadata between our look and our change: looked at again */
	faults("[{\"on\": \"PATCH\", \"do\": \"status\", \"status\": 412, \"times\": 2}]");
	assert_int_equal(store_set_meta(st, NULL, obj("m"), etag, &meta, 1, NULL, &err), 0);
	version("m", other);
	assert_string_equal(etag, other); /* the bytes are the same version */
	faults("[{\"on\": \"PATCH\", \"do\": \"status\", \"status\": 412, \"times\": 99}]");
	assert_int_equal(store_set_meta(st, NULL, obj("m"), etag, &meta, 1, NULL, &err), -ESTALE);
	faults("[]");
}

/* ---- rewrites ---- */

static void rewrites_take_many_calls(void **state)
{
	size_t len = 5 * MIB + 5;
	uint8_t *p = bytes(len);
	struct store_copy opt = {.write_mark = "9.9"};
	struct store_stat s;
	struct err err;

	assert_int_equal(put("w", p, len, "1.1", NULL, &err), 0);
	fresh_log();
	assert_int_equal(store_set_tier(st, NULL, obj("w"), "NEARLINE", NULL, &s, &err), 0);
	assert_string_equal(s.class_name, "NEARLINE");
	assert_string_equal(store_stat_meta(&s, STORE_META_WRITE), "1.1");
	assert_int_equal(fake_count(&fake, "rewriteTo", NULL), 6);
	assert_int_equal(fake_count(&fake, "rewriteToken", NULL), 5);
	store_stat_done(&s);
	check_bytes("w", p, len);
	/* its own class again costs nothing */
	fresh_log();
	assert_int_equal(store_set_tier(st, NULL, obj("w"), "NEARLINE", NULL, NULL, &err), 0);
	assert_int_equal(fake_count(&fake, "rewriteTo", NULL), 0);
	/* a copy that loses an answer on the way, in the middle or at the end */
	opt.dst_if_none_match = STORE_IF_ABSENT;
	opt.class_name = "STANDARD";
	for (unsigned i = 0; i < 2; i++) {
		faults("[{\"on\": \"rewriteTo\", \"do\": \"lost\", \"skip\": %u}]", i ? 5 : 2);
		assert_true(store_copy(st, NULL, obj("w"), obj("w2"), &opt, NULL, &err) < 0);
		assert_int_equal(err.kind, ERR_UNKNOWN);
		if (!i)
			gone("w2");
	}
	assert_int_equal(store_head(st, NULL, obj("w2"), &s, &err), 0);
	assert_string_equal(store_stat_meta(&s, STORE_META_WRITE), "9.9");
	assert_string_equal(s.class_name, "STANDARD");
	store_stat_done(&s);
	faults("[{\"on\": \"rewriteTo\", \"do\": \"answer\", \"body\": \"{\\\"done\\\": "
	       "false}\"}]");
	opt.dst_if_none_match = NULL;
	assert_int_equal(store_copy(st, NULL, obj("w"), obj("w3"), &opt, NULL, &err), -EBADMSG);
	gone("w3");
	free(p);
}

static void *overwrite(void *arg)
{
	struct store_put none = {0};

	usleep(300000);
	(void)store_put(st, NULL, obj("race"), "new", 3, &none, NULL, NULL);
	return NULL;
}

/* A change of class must not bring back what somebody has replaced meanwhile. */
static void a_class_change_reverts_nothing(void **state)
{
	size_t len = 3 * MIB;
	uint8_t *p = bytes(len);
	struct err err;
	pthread_t t;

	assert_int_equal(put("race", p, len, "1.1", NULL, &err), 0);
	faults("[{\"on\": \"rewriteTo\", \"skip\": 1, \"do\": \"hang\", \"seconds\": 1}]");
	assert_int_equal(pthread_create(&t, NULL, overwrite, NULL), 0);
	assert_true(store_set_tier(st, NULL, obj("race"), "ARCHIVE", NULL, NULL, &err) < 0);
	pthread_join(t, NULL);
	check_bytes("race", "new", 3);
	assert_int_equal(
		store_set_tier(st, NULL, obj("race"), "ARCHIVE", "123", NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	free(p);
}

static void whose_condition_it_was(void **state)
{
	struct store_copy opt = {.dst_if_none_match = STORE_IF_ABSENT};
	struct err err;

	assert_int_equal(put("src", "1", 1, "1.1", NULL, &err), 0);
	assert_int_equal(put("dst", "2", 1, "1.1", NULL, &err), 0);
	assert_int_equal(store_copy(st, NULL, obj("src"), obj("dst"), &opt, NULL, &err), -EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	/* the source changes between the look and the copy */
	faults("[{\"on\": \"rewriteTo\", \"do\": \"status\", \"status\": 412}, "
	       "{\"on\": \"GET .*/o/src\", \"skip\": 1, \"do\": \"answer\", \"body\": "
	       "\"{\\\"size\\\": \\\"1\\\", \\\"generation\\\": \\\"77\\\"}\"}]");
	assert_int_equal(store_copy(st, NULL, obj("src"), obj("dst2"), &opt, NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_non_null(strstr(err.msg, "src is version 77"));
	faults("[]");
}

/* ---- parts ---- */

#define PART 1000

static size_t parts_up(const char *key, unsigned n, const struct store_put *opt, char *id,
	struct store_part *parts)
{
	uint8_t *p = bytes((size_t)n * PART);
	struct err err;

	assert_int_equal(store_parts_begin(st, NULL, obj(key), opt, id, &err), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
			store_part_put(st, NULL, obj(key), id, i + 1, p + (size_t)i * PART, PART,
				crc32c(0, p + (size_t)i * PART, PART), &parts[i], &err),
			0);
	free(p);
	return (size_t)n * PART;
}

static void check_whole(const char *key, size_t len)
{
	uint8_t *p = bytes(len);

	check_bytes(key, p, len);
	free(p);
}

static void many_parts_become_one(void **state)
{
	static struct store_part parts[1100];
	static const unsigned counts[] = {1, 32, 33, 70, 1100};
	char id[STORE_UPLOAD_MAX];
	struct store_stat s;
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned n = counts[i], level1 = n > 32 ? (n + 31) / 32 : 0;
		size_t len = parts_up("p", n, NULL, id, parts);

		fresh_log();
		assert_int_equal(
			store_parts_finish(st, NULL, obj("p"), id, parts, n, NULL, &s, &err), 0);
		assert_int_equal(s.size, len);
		assert_string_equal(s.class_name, "STANDARD");
		store_stat_done(&s);
		assert_int_equal(fake_count(&fake, "/compose", NULL),
			level1 + (level1 > 32 ? (level1 + 31) / 32 : 0) + 1);
		/* they went with their composes, not one by one; the record does */
		assert_int_equal(fake_count(&fake, "DELETE", NULL), 1);
		check_whole("p", len);
		nothing_hidden();
	}
}

static void parts_go_into_a_colder_class(void **state)
{
	struct store_meta meta = {STORE_META_WRITE, "5.5"};
	struct store_put opt = {.class_name = "COLDLINE", .meta = &meta, .nmeta = 1};
	static struct store_part parts[40];
	char id[STORE_UPLOAD_MAX], *text;
	struct store_stat s;
	struct err err;
	size_t len = parts_up("cold", 40, &opt, id, parts);

	text = fake_say(&fake, "GET", "/storage/v1/b/things/o?prefix=.astra-tmp/", NULL);
	assert_null(strstr(text, "\"storageClass\": \"COLDLINE\""));
	free(text);
	/* class and metadata are those of the beginning */
	assert_int_equal(
		store_parts_finish(st, NULL, obj("cold"), id, parts, 40, NULL, &s, &err), 0);
	assert_string_equal(s.class_name, "COLDLINE");
	assert_string_equal(store_stat_meta(&s, STORE_META_WRITE), "5.5");
	assert_int_equal(s.nmeta, 1);
	store_stat_done(&s);
	check_whole("cold", len);
	nothing_hidden();
}

/* Every request of a finish fails once, each in a run of its own; finishing again is enough. */
static void finishing_can_be_repeated(void **state)
{
	static const char *const ways[] = {
		"\"do\": \"status\", \"status\": 503", "\"do\": \"lost\"", "\"do\": \"drop\""};
	static const char *const classes[] = {"STANDARD", "NEARLINE"};
	static struct store_part parts[70];
	char id[STORE_UPLOAD_MAX];
	struct err err;

	for (unsigned run = 0; run < 2 * ARRAY_SIZE(ways) * 14; run++) {
		struct store_put opt = {
			.class_name = classes[run % 2], .if_none_match = STORE_IF_ABSENT};
		unsigned skip = run / 2 / ARRAY_SIZE(ways);
		size_t len = parts_up("again", 70, NULL, id, parts);
		struct store_stat s;
		errint_t r;

		faults("[{\"on\": \"^(GET|POST|DELETE) \", \"skip\": %u, %s}]", skip,
			ways[run / 2 % ARRAY_SIZE(ways)]);
		r = store_parts_finish(st, NULL, obj("again"), id, parts, 70, &opt, &s, &err);
		if (r && err.kind == ERR_RETRY)
			r = store_parts_finish(
				st, NULL, obj("again"), id, parts, 70, &opt, &s, &err);
		faults("[]");
		if (r && err.kind == ERR_UNKNOWN) { /* its answer was lost: it was done or not */
			r = store_head(st, NULL, obj("again"), &s, &err);
			if (r == -ENOENT)
				r = store_parts_finish(
					st, NULL, obj("again"), id, parts, 70, &opt, &s, &err);
		}
		if (r)
			fail_msg("run %u: %s", run, err_text(&err, r));
		assert_string_equal(s.class_name, classes[run % 2]);
		store_stat_done(&s);
		check_whole("again", len);
		assert_int_equal(store_remove(st, NULL, obj("again"), NULL, &err), 0);
		(void)store_parts_abort(st, NULL, obj("again"), id, &err);
		nothing_hidden();
	}
}

static void a_conflict_leaves_the_upload(void **state)
{
	static struct store_part parts[40];
	struct store_put opt = {.if_none_match = STORE_IF_ABSENT};
	char id[STORE_UPLOAD_MAX];
	struct store_upload *pending;
	struct err err;
	size_t n, len = parts_up("taken", 40, NULL, id, parts);

	assert_int_equal(put("taken", "theirs", 6, "1.1", NULL, &err), 0);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("taken"), id, parts, 40, &opt, NULL, &err),
		-EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	check_bytes("taken", "theirs", 6);
	opt.if_none_match = NULL;
	opt.if_match = "4711";
	assert_int_equal(
		store_parts_finish(st, NULL, obj("taken"), id, parts, 40, &opt, NULL, &err),
		-ESTALE);
	assert_int_equal(store_parts_pending(st, NULL, bucket, &pending, &n, &err), 0);
	assert_int_equal(n, 1);
	free(pending);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("taken"), id, parts, 40, NULL, NULL, &err), 0);
	check_whole("taken", len);
	nothing_hidden();
}

static void what_is_aborted_is_gone(void **state)
{
	static struct store_part parts[5];
	char id[STORE_UPLOAD_MAX];
	struct err err;

	(void)parts_up("ab", 5, NULL, id, parts);
	/* as long as something is left it is shown */
	faults("[{\"on\": \"DELETE\", \"skip\": 2, \"do\": \"status\", \"status\": 503}]");
	assert_int_equal(store_parts_abort(st, NULL, obj("ab"), id, &err), -EIO);
	assert_int_equal(store_parts_abort(st, NULL, obj("ab"), id, &err), 0);
	nothing_hidden();
	assert_int_equal(store_parts_abort(st, NULL, obj("ab"), id, &err), -ENOENT);
	/* ids that are none */
	assert_int_equal(store_parts_abort(st, NULL, obj("ab"), "x", &err), -ENOENT);
	assert_int_equal(
		store_parts_abort(st, NULL, obj("ab"), "0123456789abcdef0123456789abcdef", &err),
		-ENOENT);
}

/* ---- buckets ---- */

static void buckets_come_in_pages(void **state)
{
	char name[32], **v;
	struct err err;
	size_t n;

	for (unsigned i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "bucket-%u", i);
		assert_int_equal(store_bucket_create(st, NULL, name, &err), 0);
	}
	assert_int_equal(store_bucket_list(st, NULL, &v, &n, &err), 0);
	assert_int_equal(n, 8);
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
	assert_int_equal(store_bucket_create(st, NULL, "Bad_Name", &err), -EINVAL);
	for (unsigned i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "bucket-%u", i);
		assert_int_equal(store_bucket_remove(st, NULL, name, &err), 0);
	}
}

static void leftovers_do_not_hold_a_bucket(void **state)
{
	char id[STORE_UPLOAD_MAX];
	struct store_part part;
	struct store_obj o = {"left", "k"};
	struct err err;

	assert_int_equal(store_bucket_create(st, NULL, "left", &err), 0);
	assert_int_equal(store_parts_begin(st, NULL, o, NULL, id, &err), 0);
	assert_int_equal(
		store_part_put(st, NULL, o, id, 1, "x", 1, crc32c(0, "x", 1), &part, &err), 0);
	assert_int_equal(store_put(st, NULL, o, "x", 1, NULL, NULL, &err), 0);
	assert_int_equal(store_bucket_remove(st, NULL, "left", &err), -ENOTEMPTY);
	assert_int_equal(store_parts_abort(st, NULL, o, id, &err), 0);
	assert_int_equal(store_parts_begin(st, NULL, o, NULL, id, &err), 0);
	assert_int_equal(store_remove(st, NULL, o, NULL, &err), 0);
	assert_int_equal(store_bucket_remove(st, NULL, "left", &err), 0);
}

static void made(const char *json)
{
	char *answer = fake_say(&fake, "POST", "/storage/v1/b?project=p", json);

	assert_non_null(answer);
	free(answer);
}

static void autoclass_is_left_alone(void **state)
{
	struct gcs_conf conf = {.bucket = "auto"};
	struct store_obj o = {"auto", "k"};
	struct store_put opt = {.class_name = "NEARLINE"};
	struct store_caps caps;
	struct store_stat s;
	struct store *own;
	struct err err;

	made("{\"name\": \"auto\", \"autoclass\": {\"enabled\": true}, \"versioning\": "
	     "{\"enabled\": true}}");
	own = store_make(&conf);
	store_caps(own, &caps);
	assert_true(caps.auto_tier && caps.versioning && caps.soft_delete);
	assert_int_equal(store_put(own, NULL, o, "x", 1, &opt, &s, &err), 0);
	assert_string_equal(s.class_name, "STANDARD");
	store_stat_done(&s);
	fresh_log();
	assert_int_equal(store_set_tier(own, NULL, o, "COLDLINE", NULL, &s, &err), -EOPNOTSUPP);
	assert_int_equal(err.kind, ERR_FINAL);
	assert_non_null(strstr(err.msg, "Autoclass"));
	assert_int_equal(fake_count(&fake, " ", NULL), 0); /* it was known */
	store_destroy(own);
	/* one that must not ask sees it by the answer */
	own = store_make(NULL);
	faults("[{\"on\": \"fields=autoclass\", \"do\": \"status\", \"status\": 403}]");
	assert_int_equal(store_set_tier(own, NULL, o, "COLDLINE", NULL, &s, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "stays in class STANDARD"));
	store_destroy(own);
	faults("[]");
}

static void somebody_else_may_pay(void **state)
{
	struct gcs_conf conf = {.user_project = "payer"};
	struct store_obj o = {"pays", "k"};
	struct store *own = store_make(&conf);
	struct err err;

	made("{\"name\": \"pays\", \"billing\": {\"requesterPays\": true}}");
	assert_int_equal(store_put(st, NULL, o, "x", 1, NULL, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "requester pays"));
	assert_int_equal(store_put(own, NULL, o, "x", 1, NULL, NULL, &err), 0);
	store_destroy(own);
}

/* ---- keys ---- */

static void customers_keys_go_with_everything(void **state)
{
	struct gcs_conf conf = {
		.has_customer_key = true, .customer_key = "0123456789abcdef0123456789abcde"};
	struct store *own = store_make(&conf), *keep = st;
	size_t len = 3 * MIB, n;
	uint8_t *p = bytes(len);
	static struct store_part parts[70];
	char b[8], id[STORE_UPLOAD_MAX];
	struct store_put cold = {.class_name = "NEARLINE"};
	struct store_part *listed;
	struct store_stat s;
	struct err err;

	assert_int_equal(store_put(own, NULL, obj("secret"), p, len, NULL, &s, &err), 0);
	assert_true(s.has_crc32c);
	store_stat_done(&s);
	assert_int_equal(store_put(own, NULL, obj("secret2"), "small", 5, NULL, NULL, &err), 0);
	assert_int_equal(store_get(st, NULL, obj("secret2"), NULL, 0, b, 8, &n, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "another key"));
	st = own;
	check_bytes("secret", p, len);
	assert_int_equal(store_set_tier(st, NULL, obj("secret"), "NEARLINE", NULL, NULL, &err), 0);
	check_bytes("secret", p, len);
	assert_int_equal(store_copy(st, NULL, obj("secret"), obj("secret3"), NULL, NULL, &err), 0);
	check_bytes("secret3", p, len);
	(void)parts_up("secret4", 70, NULL, id, parts);
	faults("[{\"on\": \"rewriteTo\", \"do\": \"status\", \"status\": 503}]");
	assert_int_equal(
		store_parts_finish(st, NULL, obj("secret4"), id, parts, 70, &cold, NULL, &err),
		-EIO);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("secret4"), id, parts, 70, &cold, NULL, &err), 0);
	check_whole("secret4", 70 * PART);
	/* a listing does not tell their checksums, and whoever goes on from it needs them */
	(void)parts_up("secret5", 3, NULL, id, parts);
	assert_int_equal(store_parts_list(st, NULL, obj("secret5"), id, &listed, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("secret5"), id, listed, n, NULL, NULL, &err), 0);
	free(listed);
	check_whole("secret5", 3 * PART);
	nothing_hidden();
	st = keep;
	assert_int_equal(store_get(st, NULL, obj("secret4"), NULL, 0, b, 8, &n, &err), -EINVAL);
	store_destroy(own);
	free(p);
}

static void the_projects_key_is_named(void **state)
{
	static const char name[] = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
	struct gcs_conf conf = {.kms_key = name};
	struct store *own = store_make(&conf), *keep = st;
	static struct store_part parts[3];
	char id[STORE_UPLOAD_MAX], path[64];
	uint8_t *p = bytes(2 * MIB);
	struct err err;

	st = own;
	assert_int_equal(put("kms1", "x", 1, "1.1", NULL, &err), 0);
	assert_int_equal(put("kms2", p, 2 * MIB, "1.1", NULL, &err), 0);
	assert_int_equal(store_copy(st, NULL, obj("kms1"), obj("kms3"), NULL, NULL, &err), 0);
	(void)parts_up("kms4", 3, NULL, id, parts);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("kms4"), id, parts, 3, NULL, NULL, &err), 0);
	for (unsigned i = 1; i <= 4; i++) {
		char *text;

		snprintf(path, sizeof(path), "/storage/v1/b/things/o/kms%u", i);
		text = fake_say(&fake, "GET", path, NULL);
		assert_non_null(strstr(text, name));
		free(text);
	}
	st = keep;
	store_destroy(own);
	free(p);
}

static void keys_that_cannot_be(void **state)
{
	static const char *const keys[] = {".", "..", "a\nb", "a\rb", "\xff", "a\xc3"};
	struct store_stat s;
	struct err err;
	char b[1];
	size_t n;

	fresh_log();
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		assert_int_equal(put(keys[i], "x", 1, "1.1", NULL, &err), -EILSEQ);
		assert_int_equal(err.kind, ERR_FINAL);
		assert_int_equal(store_head(st, NULL, obj(keys[i]), &s, &err), -EILSEQ);
		assert_int_equal(
			store_get(st, NULL, obj(keys[i]), NULL, 0, b, 1, &n, &err), -EILSEQ);
		assert_int_equal(store_remove(st, NULL, obj(keys[i]), NULL, &err), -EILSEQ);
	}
	assert_int_equal(fake_count(&fake, " ", NULL), 0);
	struct store_meta bad = {"k", "\xff"};
	struct store_put opt = {.meta = &bad, .nmeta = 1};

	assert_int_equal(store_put(st, NULL, obj("k"), "x", 1, &opt, NULL, &err), -EILSEQ);
}

/* ---- numbers and times ---- */

static void resources_are_read(void **state)
{
	static const struct {
		const char *text;
		int64_t s, ns;
	} times[] = {{"2026-01-02T03:04:05.678Z", 1767323045, 678000000},
		{"2026-01-02T03:04:05Z", 1767323045, 0},
		{"2026-01-02T05:04:05.000000001+02:00", 1767323045, 1},
		{"2026-01-01T22:34:05.1234567891-04:30", 1767323045, 123456789}};
	uint32_t crc;
	int64_t ns;
	char text[9];

	for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
		cleanup_json json_t *j = json_pack("{s:s}", "t", times[i].text);

		assert_true(gcs_json_time(j, "t", &ns));
		assert_int_equal(ns, times[i].s * NS_PER_S + times[i].ns);
	}
	gcs_crc_format(0x01020304, text);
	assert_string_equal(text, "AQIDBA==");
	assert_true(gcs_crc_parse("AQIDBA==", &crc) && crc == 0x01020304);
	assert_false(gcs_crc_parse("AQIDBAU=", &crc));
	assert_false(gcs_crc_parse("AQID", &crc));
	assert_false(gcs_crc_parse(NULL, &crc));
	assert_true(gcs_gen_ok("1795477926589096"));
	assert_false(gcs_gen_ok("0") || gcs_gen_ok("") || gcs_gen_ok("0123") || gcs_gen_ok("12x") ||
		     gcs_gen_ok("123456789012345678901"));
}

/* ---- frame ---- */

static int start(void **state)
{
	struct err err;

	if (!fake_start(&fake, FAKE_DIR "/gcs.py", NULL))
		return -1;
	st = store_make(NULL);
	return store_bucket_create(st, NULL, bucket, &err);
}

static int stop(void **state)
{
	store_destroy(st);
	fake_stop(&fake);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_have_their_kinds),
		cmocka_unit_test(lost_answers_are_unknown),
		cmocka_unit_test(sessions_go_on_where_they_stopped),
		cmocka_unit_test(sessions_that_end_badly),
		cmocka_unit_test(broken_answers_are_never_data),
		cmocka_unit_test(broken_json_is_told),
		cmocka_unit_test(a_list_costs_its_pages),
		cmocka_unit_test(what_others_wrote_is_kept),
		cmocka_unit_test(compressed_objects_come_as_they_are),
		cmocka_unit_test(metadata_changes_meet),
		cmocka_unit_test(rewrites_take_many_calls),
		cmocka_unit_test(a_class_change_reverts_nothing),
		cmocka_unit_test(whose_condition_it_was),
		cmocka_unit_test(many_parts_become_one),
		cmocka_unit_test(parts_go_into_a_colder_class),
		cmocka_unit_test(finishing_can_be_repeated),
		cmocka_unit_test(a_conflict_leaves_the_upload),
		cmocka_unit_test(what_is_aborted_is_gone),
		cmocka_unit_test(buckets_come_in_pages),
		cmocka_unit_test(leftovers_do_not_hold_a_bucket),
		cmocka_unit_test(autoclass_is_left_alone),
		cmocka_unit_test(somebody_else_may_pay),
		cmocka_unit_test(customers_keys_go_with_everything),
		cmocka_unit_test(the_projects_key_is_named),
		cmocka_unit_test(keys_that_cannot_be),
		cmocka_unit_test(resources_are_read),
	};

	if (system("python3 -c '' 2>/dev/null")) {
		fprintf(stderr, "skipped: no python3\n");
		return 77;
	}
	return cmocka_run_group_tests_name("gcs", tests, start, stop);
}
