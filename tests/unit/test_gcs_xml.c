/* SPDX-License-Identifier: MIT */
/* Google Cloud Storage with an HMAC key, by the XML API of tests/fake/gcs.py: what conformance,
 * which runs over it too, does not ask. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "astra/base_log.h"
#include "astra/store.h"
#include "fake_help.h"
#include "store/gcs_priv.h"

#define ID     "GOOG1EFAKE"
#define SECRET "hmac-secret"

static struct fake fake;
static struct store *st;
static const char bucket[] = "things";
static char dir[] = "/tmp/astra-gcs-xml-XXXXXX";

static struct store *store_make(const char *secret, const char *file, const struct gcs_conf *more)
{
	static const char *const classes[] = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"};
	struct aws_cred_conf key = {.access_key_id = ID, .secret = secret, .secret_file = file};
	struct gcs_conf conf = more ? *more : (struct gcs_conf){0};
	struct net *net = net_new(NULL, NULL);
	struct store *s = NULL;
	struct err err;

	conf.endpoint = fake.url;
	for (unsigned i = 0; i < TIER_N; i++)
		strcpy(conf.classes[i].name, classes[i]);
	assert_int_equal(store_gcs_new(&conf, net, NULL, aws_cred_new(&key, net), &s, &err), 0);
	return s;
}

static struct store_obj obj(const char *key)
{
	return (struct store_obj){bucket, key};
}

static void say(const char *path, const char *text)
{
	char *answer = fake_say(&fake, "POST", path, text);

	assert_non_null(answer);
	free(answer);
}

#define faults(text) say("/fake/faults", text)

static void put(const char *key, const char *text, char ret_etag[STORE_ETAG_MAX])
{
	struct store_put opt = {.class_name = "STANDARD"};
	struct store_stat s;
	struct err err;

	assert_int_equal(store_put(st, NULL, obj(key), text, strlen(text), &opt, &s, &err), 0);
	memcpy(ret_etag, s.etag, STORE_ETAG_MAX);
	store_stat_done(&s);
}

/* What the JSON API shows of it. */
static json_t *shown(const char *key)
{
	char path[200], *text;
	json_t *j;

	(void)snprintf(path, sizeof(path), "/storage/v1/b/%s/o/%s", bucket, key);
	text = fake_say(&fake, "GET", path, NULL);
	j = text ? json_loads(text, 0, NULL) : NULL;
	free(text);
	assert_non_null(j);
	return j;
}

static const char *attribute(const json_t *j, const char *name)
{
	const char *v = json_string_value(json_object_get(j, name));

	return v ? v : "";
}

/* ---- keys and clocks ---- */

static void a_wrong_key_is_told(void **state)
{
	struct store *s = store_make("wrong-one", NULL, NULL);
	struct store_stat stat;
	struct err err;

	assert_int_equal(store_put(s, NULL, obj("w"), "x", 1, NULL, NULL, &err), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_string_equal(err.code, "SignatureDoesNotMatch");
	assert_non_null(strstr(err.msg, "things/w"));
	assert_null(strstr(err.msg, "wrong-one"));
	assert_int_equal(store_head(s, NULL, obj("w"), &stat, &err), -EACCES); /* without words */
	assert_int_equal(err.kind, ERR_AUTH);
	store_destroy(s);
}

static void a_wrong_clock_is_corrected(void **state)
{
	struct store_stat s;
	char etag[STORE_ETAG_MAX];
	struct err err;

	say("/fake/hmac", "{\"skew\": 7200}");
	put("clock", "x", etag);
	say("/fake/hmac", "{\"skew\": -7200}");
	assert_int_equal(store_head(st, NULL, obj("clock"), &s, &err), 0); /* without words */
	assert_string_equal(s.etag, etag);
	store_stat_done(&s);
	say("/fake/hmac", "{}");
	put("clock", "x", etag);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void a_replaced_secret_is_read(void **state)
{
	char path[100];
	struct store *s;
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/secret", dir);
	write_file(path, SECRET "\n");
	s = store_make(NULL, path, NULL);
	assert_int_equal(store_put(s, NULL, obj("r"), "x", 1, NULL, NULL, &err), 0);
	write_file(path, "new secret\n");
	say("/fake/hmac", "{\"key\": \"" ID ":new secret\"}");
	usleep(1100000); /* it is not looked for more often than each second */
	assert_int_equal(store_put(s, NULL, obj("r"), "y", 1, NULL, NULL, &err), 0);
	say("/fake/hmac", "{\"key\": \"" ID ":" SECRET "\"}");
	store_destroy(s);
}

static void secrets_are_not_logged(void **state)
{
	struct gcs_conf conf = {.has_customer_key = true};
	char path[100], text[1 << 16] = "", key[BASE64_LEN(32) + 1];
	unsigned rooms = 0;
	struct store *s;
	struct err err;
	int fd;

	memset(conf.customer_key, 7, sizeof(conf.customer_key));
	base64_encode(conf.customer_key, sizeof(conf.customer_key), key);
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	assert_int_equal(log_rooms_parse("net", &rooms, &err), 0);
	assert_int_equal(log_open(LOG_LVL_INFO, path, &err), 0);
	log_rooms_set(rooms);
	s = store_make(SECRET, NULL, &conf);
	assert_int_equal(store_put(s, NULL, obj("logged"), "x", 1, NULL, NULL, &err), 0);
	store_destroy(s);
	log_rooms_set(0);
	log_close();
	fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	assert_non_null(strstr(text, "PUT http://127.0.0.1"));
	assert_null(strstr(text, SECRET));
	assert_null(strstr(text, key));
	assert_null(strstr(text, "Signature="));
}

/* ---- what answers mean ---- */

static void errors_have_their_kinds(void **state)
{
	static const struct {
		int status;
		const char *code;
		errint_t r;
		enum err_kind put, get;
	} cases[] = {
		{400, "InvalidArgument", -EINVAL, ERR_FINAL, ERR_FINAL},
		{400, "BadDigest", -EBADMSG, ERR_RETRY, ERR_RETRY},
		{403, "AccessDenied", -EACCES, ERR_AUTH, ERR_AUTH},
		{404, "NoSuchBucket", -ENOENT, ERR_NOT_FOUND, ERR_NOT_FOUND},
		{412, "PreconditionFailed", -ESTALE, ERR_STALE, ERR_STALE},
		{429, "SlowDown", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
		{500, "InternalError", -EIO, ERR_UNKNOWN, ERR_RETRY},
		{503, "SlowDown", -EBUSY, ERR_THROTTLE, ERR_THROTTLE},
		{503, "ServiceUnavailable", -EIO, ERR_RETRY, ERR_RETRY},
	};
	struct err err;
	char b[4];
	size_t n;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char rule[400];

		(void)snprintf(rule, sizeof(rule),
			"[{\"on\": \"/things/e\", \"times\": 2, \"do\": \"answer\", \"status\": "
			"%d, "
			"\"body\": \"<Error><Code>%s</Code><Message>M</Message></Error>\"}]",
			cases[i].status, cases[i].code);
		faults(rule);
		assert_int_equal(
			store_put(st, NULL, obj("e"), "x", 1, NULL, NULL, &err), cases[i].r);
		assert_int_equal(err.kind, cases[i].put);
		assert_string_equal(err.code, cases[i].code);
		assert_int_equal(
			store_get(st, NULL, obj("e"), NULL, 0, b, 4, &n, &err), cases[i].r);
		assert_int_equal(err.kind, cases[i].get);
	}
	faults("[]");
}

static void broken_answers_are_told(void **state)
{
	struct store_copy to = {.class_name = "NEARLINE"};
	struct store_page page;
	char etag[STORE_ETAG_MAX];
	struct err err;

	put("broken", "x", etag);
	faults("[{\"on\": \"list-type\", \"do\": \"answer\", \"body\": \"<ListBucketResult>\"}]");
	assert_int_equal(store_list(st, NULL, bucket, "", '/', NULL, 9, &page, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	faults("[{\"on\": \"list-type\", \"do\": \"answer\", \"body\": "
	       "\"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>\"}]");
	assert_int_equal(store_list(st, NULL, bucket, "", '/', NULL, 9, &page, &err), -EBADMSG);
	/* an error that begins as a success; one that does not say what it made */
	faults("[{\"on\": \"PUT /things/to\", \"do\": \"answer\", \"body\": "
	       "\"<Error><Code>InternalError</Code></Error>\"}]");
	assert_int_equal(store_copy(st, NULL, obj("broken"), obj("to"), &to, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	faults("[{\"on\": \"PUT /things/to\", \"do\": \"answer\", "
	       "\"headers\": {\"x-goog-generation\": null}}]");
	assert_int_equal(store_copy(st, NULL, obj("broken"), obj("to"), &to, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	/* other bytes than were sent */
	faults("[{\"on\": \"PUT /things/broken\", \"do\": \"answer\", "
	       "\"headers\": {\"x-goog-hash\": \"crc32c=AAAAAA==\"}}]");
	assert_int_equal(store_put(st, NULL, obj("broken"), "x", 1,
				 &(struct store_put){.class_name = "STANDARD"}, NULL, &err),
		-EBADMSG);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	faults("[]");
}

/* What was written is written, though another has overwritten it before we looked. */
static void overwritten_is_not_undone(void **state)
{
	struct store_copy to = {.class_name = "NEARLINE", .dst_if_none_match = STORE_IF_ABSENT};
	struct store_stat s = {0};
	char etag[STORE_ETAG_MAX];
	struct err err;

	put("from", "bytes", etag);
	faults("[{\"on\": \"HEAD /things/over1\", \"do\": \"status\", \"status\": 412}]");
	assert_int_equal(store_copy(st, NULL, obj("from"), obj("over1"), &to, &s, &err), 0);
	assert_string_equal(s.class_name, "NEARLINE");
	assert_int_equal(s.size, 5);
	assert_true(s.has_crc32c && s.crc32c == crc32c(0, "bytes", 5) && gcs_gen_ok(s.etag));
	store_stat_done(&s);
	faults("[{\"on\": \"HEAD /things/over2\", \"do\": \"status\", \"status\": 404}]");
	assert_int_equal(store_put(st, NULL, obj("over2"), "x", 1, NULL, &s, &err), 0);
	assert_true(s.size == 1 && gcs_gen_ok(s.etag));
	store_stat_done(&s);
	/* and one that cannot be looked at may be anything */
	faults("[{\"on\": \"HEAD /things/over3\", \"do\": \"status\", \"status\": 500}]");
	assert_true(store_copy(st, NULL, obj("from"), obj("over3"), &to, &s, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	faults("[]");
}

/* ---- what is kept, and what is told ---- */

static void a_class_change_keeps_the_rest(void **state)
{
	struct store_meta set = {"ours", "\xc3\xa4 b"};
	struct store_stat s;
	char etag[STORE_ETAG_MAX];
	struct err err;
	json_t *j;

	put("kept", "x", etag);
	say("/fake/object",
		"{\"bucket\": \"things\", \"name\": \"kept\", \"contentType\": \"text/x\", "
		"\"contentDisposition\": \"inline\", \"contentLanguage\": \"de\", "
		"\"cacheControl\": \"no-store\", \"contentEncoding\": \"br\", "
		"\"customTime\": \"2026-01-02T03:04:05Z\", \"metadata\": {\"theirs\": \"1\"}}");
	assert_int_equal(store_set_tier(st, NULL, obj("kept"), "COLDLINE", etag, &s, &err), 0);
	assert_string_equal(s.class_name, "COLDLINE");
	store_stat_done(&s);
	assert_int_equal(store_set_meta(st, NULL, obj("kept"), NULL, &set, 1, &s, &err), 0);
	assert_string_equal(store_stat_meta(&s, "ours"), set.value);
	assert_string_equal(store_stat_meta(&s, "theirs"), "1");
	store_stat_done(&s);
	j = shown("kept");
	assert_string_equal(attribute(j, "storageClass"), "COLDLINE");
	assert_string_equal(attribute(j, "contentType"), "text/x");
	assert_string_equal(attribute(j, "contentDisposition"), "inline");
	assert_string_equal(attribute(j, "contentLanguage"), "de");
	assert_string_equal(attribute(j, "cacheControl"), "no-store");
	assert_string_equal(attribute(j, "contentEncoding"), "br");
	assert_string_equal(attribute(j, "customTime"), "2026-01-02T03:04:05Z");
	json_decref(j);
	/* what Google says where nothing is set is not set by that */
	put("plain", "x", etag);
	assert_int_equal(store_set_tier(st, NULL, obj("plain"), "NEARLINE", etag, &s, &err), 0);
	store_stat_done(&s);
	j = shown("plain");
	assert_null(json_object_get(j, "cacheControl"));
	json_decref(j);
}

static void odd_names_are_listed(void **state)
{
	static const char *const keys[] = {
		"odd/ blank", "odd/+plus", "odd/%41", "odd/\xc3\xa4&<\">", "odd/\x01"};
	struct store_caps caps;
	struct store_page page;
	char etag[STORE_ETAG_MAX];
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		put(keys[i], "x", etag);
	assert_int_equal(store_list(st, NULL, bucket, "odd/", '/', NULL, 9, &page, &err), 0);
	assert_int_equal(page.n, ARRAY_SIZE(keys));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		bool found = false;

		for (size_t k = 0; k < page.n; k++)
			found = found || !strcmp(page.e[k].key, keys[i]);
		assert_true(found);
		assert_null(page.e[i].class_name);
	}
	store_page_done(&page);
	store_caps(st, &caps);
	assert_true(caps.head_class && !caps.head_meta && !caps.list_meta && !caps.set_meta);
	assert_true(caps.conditional_put && caps.conditional_copy && caps.conditional_remove);
}

static void what_it_cannot(void **state)
{
	char *json = NULL;
	struct err err;

	assert_int_equal(store_lifecycle_get(st, NULL, bucket, &json, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "HMAC"));
	assert_int_equal(
		store_lifecycle_put(st, NULL, bucket, "{\"rule\": []}", &err), -EOPNOTSUPP);
}

static void it_is_described(void **state)
{
	cleanup_buf struct buf b = BUF_INIT(4096);

	store_describe(st, &b);
	assert_non_null(strstr(b.p, "XML API, with the key " ID));
	assert_null(strstr(b.p, SECRET));
}

/* ---- frame ---- */

static int start(void **state)
{
	struct err err;

	if (!mkdtemp(dir) || !fake_start(&fake, FAKE_DIR "/gcs.py", NULL))
		return -1;
	st = store_make(SECRET, NULL, NULL);
	return store_bucket_create(st, NULL, bucket, &err);
}

static int stop(void **state)
{
	char path[100];

	store_destroy(st);
	fake_stop(&fake);
	(void)snprintf(path, sizeof(path), "%s/secret", dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_wrong_key_is_told),
		cmocka_unit_test(a_wrong_clock_is_corrected),
		cmocka_unit_test(a_replaced_secret_is_read),
		cmocka_unit_test(secrets_are_not_logged),
		cmocka_unit_test(errors_have_their_kinds),
		cmocka_unit_test(broken_answers_are_told),
		cmocka_unit_test(overwritten_is_not_undone),
		cmocka_unit_test(a_class_change_keeps_the_rest),
		cmocka_unit_test(odd_names_are_listed),
		cmocka_unit_test(what_it_cannot),
		cmocka_unit_test(it_is_described),
	};

	if (system("python3 -c '' 2>/dev/null")) {
		fprintf(stderr, "skipped: python3 is missing\n");
		return 77;
	}
	return cmocka_run_group_tests_name("gcs_xml", tests, start, stop);
}
