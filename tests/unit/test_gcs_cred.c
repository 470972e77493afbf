/* SPDX-License-Identifier: MIT */
/* Google credentials: assertions against what google-auth signs (tests/golden), tokens of every
 * kind against tests/fake/gcs.py, and the keys of a section. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_log.h"
#include "astra/store.h"
#include "fake_help.h"
#include "scratch_help.h"
#include "store/gcs_priv.h"

#define SCOPE "https://www.googleapis.com/auth/devstorage.full_control"

static struct fake fake;
static char dir[64];

/* ---- assertions ---- */

static json_t *claims_of(const char *jwt, unsigned part)
{
	uint8_t raw[4096];
	char text[8192];
	size_t n;
	json_t *j;

	for (; part; part--)
		jwt = strchr(jwt, '.') + 1;
	n = strcspn(jwt, ".");
	assert_true(n < sizeof(text) - 4);
	for (size_t i = 0; i < n; i++)
		text[i] = jwt[i] == '-' ? '+' : jwt[i] == '_' ? '/' : jwt[i];
	for (; n % 4; n++)
		text[n] = '=';
	text[n] = 0;
	assert_int_equal(base64_decode(text, raw, sizeof(raw), &n), 0);
	j = json_loadb((const char *)raw, n, 0, NULL);
	assert_non_null(j);
	return j;
}

static void assertions_are_googles(void **state)
{
	cleanup_json json_t *j = json_load_file(GOLDEN_DIR "/google-jwt.json", 0, NULL);
	json_t *key = json_object_get(j, "key"), *c;
	size_t i, n = 0;

	json_array_foreach (json_object_get(j, "cases"), i, c) {
		const char *want = json_string_value(json_object_get(c, "assertion"));
		json_t *payload = json_object_get(c, "payload");
		struct gcs_source s = {.kind = GCS_SERVICE,
			.email = (char *)json_string_value(json_object_get(key, "client_email")),
			.key_id = (char *)json_string_value(json_object_get(key, "private_key_id")),
			.private_key =
				(char *)json_string_value(json_object_get(key, "private_key")),
			.token_uri = (char *)json_string_value(json_object_get(key, "token_uri"))};
		cleanup_free char *signed_part = strndup(want, (size_t)(strrchr(want, '.') - want));
		cleanup_free char *sig = NULL, *own = NULL;
		struct err err;

		/* RS256 is the same each time */
		assert_int_equal(gcs_rs256(s.private_key, signed_part, &sig, &err), 0);
		assert_string_equal(sig, strrchr(want, '.') + 1);
		assert_int_equal(
			gcs_jwt(&s, json_string_value(json_object_get(payload, "scope")),
				json_integer_value(json_object_get(payload, "iat")), &own, &err),
			0);
		for (unsigned part = 0; part < 2; part++) {
			cleanup_json json_t *a = claims_of(want, part), *b = claims_of(own, part);

			assert_true(json_equal(a, b));
		}
		n++;
	}
	assert_int_equal(n, 2);
}

static void a_bad_key_is_told(void **state)
{
	static const char ec[] =
		"-----BEGIN PRIVATE KEY-----\n"
		"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
		"-----END PRIVATE KEY-----\n";
	char *sig = NULL;
	struct err err;

	assert_int_equal(gcs_rs256("no key", "x", &sig, &err), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_int_equal(gcs_rs256(ec, "x", &sig, &err), -EACCES);
	assert_null(sig);
}

/* ---- tokens ---- */

static const char *file(const char *name)
{
	static char path[4][256];
	static unsigned at;
	char *p = path[at++ % 4];

	snprintf(p, 256, "%s/%s", dir, name);
	return p;
}

static struct gcs_cred *cred_make(const char *name)
{
	struct gcs_cred_conf conf = {.file = name ? file(name) : NULL, .scope = SCOPE};

	return gcs_cred_new(&conf, fake.net);
}

static errint_t get(struct gcs_cred *c, struct gcs_token *t, struct err *err)
{
	err_clear(err);
	return gcs_cred_get(c, clock_mono_ns() + 10 * NS_PER_S, NULL, t, err);
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(file(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void fresh_log(void)
{
	free(fake_say(&fake, "POST", "/fake/log", NULL));
}

/* A store that needs tokens, taking the credentials. */
static struct store *store_make(struct gcs_cred *cred)
{
	struct gcs_conf conf = {.endpoint = fake.url, .classes = {{.name = "STANDARD"}}};
	struct store *s = NULL;
	struct err err;

	assert_int_equal(store_gcs_new(&conf, net_new(NULL, NULL), cred, NULL, &s, &err), 0);
	return s;
}

static void every_kind_gets_a_token(void **state)
{
	static const struct {
		const char *name, *who;
	} kinds[] = {{"service.json", "tester@project-1.iam.gserviceaccount.com"},
		{"user.json", "a user"}, {"external.json", "//aud"},
		{NULL, "the machine's service account"}};
	static const char subject[] = "{\"type\": \"external_account\", \"audience\": \"//aud\", "
				      "\"subject_token_type\": \"jwt\", \"token_url\": \"%s/sts\", "
				      "\"credential_source\": {\"file\": \"%s\"}}";
	char text[1024], who[512], project[128];
	cleanup_gcs_token struct gcs_token t = {0}, t2 = {0};
	struct gcs_cred *c;
	struct err err;
	errint_t r;

	setenv("GCE_METADATA_HOST", fake.url + strlen("http://"), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct store *s;
		char **v;
		size_t n;

		c = cred_make(kinds[i].name);
		r = get(c, &t, &err);
		if (r)
			fail_msg("%s: %s", kinds[i].who, err_text(&err, r));
		gcs_cred_identity(c, who, sizeof(who));
		assert_true(!strncmp(who, kinds[i].who, strlen(kinds[i].who)));
		gcs_cred_project(c, project, sizeof(project));
		assert_string_equal(project, kinds[i].name ? "project-1" : "");
		assert_int_equal(get(c, &t2, &err), 0); /* kept */
		assert_string_equal(t.value, t2.value);
		gcs_cred_destroy(c);
		s = store_make(cred_make(kinds[i].name));
		r = store_bucket_list(s, NULL, &v, &n, &err);
		if (kinds[i].name) {
			assert_int_equal(r, 0);
			free(v);
		} else { /* the machine's names no project */
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(err.msg, "project="));
		}
		store_destroy(s);
	}
	unsetenv("GCE_METADATA_HOST");
	/* a subject's token in a file, as Kubernetes leaves it; no impersonation */
	write_file("subject", "the-subject\n");
	snprintf(text, sizeof(text), subject, fake.url, file("subject"));
	write_file("ext2.json", text);
	c = cred_make("ext2.json");
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
}

static void files_are_found(void **state)
{
	cleanup_gcs_token struct gcs_token t = {0};
	struct gcs_cred *c;
	struct err err;
	char who[512];

	setenv("GOOGLE_APPLICATION_CREDENTIALS", file("user.json"), 1);
	c = cred_make(NULL);
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_identity(c, who, sizeof(who));
	assert_non_null(strstr(who, "user.json"));
	gcs_cred_destroy(c);
	setenv("GOOGLE_APPLICATION_CREDENTIALS", file("nothing.json"), 1);
	c = cred_make(NULL);
	assert_int_equal(get(c, &t, &err), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_non_null(strstr(err.msg, "GOOGLE_APPLICATION_CREDENTIALS"));
	gcs_cred_destroy(c);
	unsetenv("GOOGLE_APPLICATION_CREDENTIALS");
	assert_int_equal(
		rename(file("user.json"), file("application_default_credentials.json")), 0);
	setenv("CLOUDSDK_CONFIG", dir, 1);
	c = cred_make(NULL);
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
	unsetenv("CLOUDSDK_CONFIG");
	assert_int_equal(
		rename(file("application_default_credentials.json"), file("user.json")), 0);
}

static void a_refused_token_is_renewed(void **state)
{
	struct store *s = store_make(cred_make("service.json"));
	struct store_obj o = {"tokens", "k"};
	struct err err;

	assert_int_equal(store_bucket_create(s, NULL, "tokens", &err), 0);
	fresh_log();
	free(fake_say(&fake, "POST", "/fake/expire", NULL));
	/* also a change: what is refused was not done */
	assert_int_equal(store_put(s, NULL, o, "x", 1, NULL, NULL, &err), 0);
	assert_int_equal(fake_count(&fake, "POST /token", NULL), 1);
	assert_int_equal(fake_count(&fake, "POST /upload", NULL), 2);
	/* one that is refused again is an error, after one more try */
	free(fake_say(&fake, "POST", "/fake/faults",
		"[{\"on\": \"POST /upload\", \"times\": 2, \"do\": \"status\", \"status\": 401, "
		"\"reason\": \"authError\"}]"));
	fresh_log();
	assert_int_equal(store_put(s, NULL, o, "x", 1, NULL, NULL, &err), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_int_equal(fake_count(&fake, "POST /upload", NULL), 2);
	store_destroy(s);
}

static struct gcs_cred *shared_cred;

static void *get_one(void *arg)
{
	struct gcs_token *t = arg;

	return get(shared_cred, t, NULL) ? "failed" : NULL;
}

static void threads_share_a_token(void **state)
{
	static struct gcs_token t[12];
	pthread_t id[12];
	void *r;

	shared_cred = cred_make("service.json");
	free(fake_say(&fake, "POST", "/fake/faults",
		"[{\"on\": \"POST /token\", \"do\": \"answer\", \"headers\": {}}]"));
	fresh_log();
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(pthread_create(&id[i], NULL, get_one, &t[i]), 0);
	for (unsigned i = 0; i < 12; i++) {
		pthread_join(id[i], &r);
		assert_null(r);
		assert_string_equal(t[i].value, t[0].value);
	}
	assert_int_equal(fake_count(&fake, "POST /token", NULL), 1);
	gcs_cred_destroy(shared_cred);
}

static void failures_are_not_hammered(void **state)
{
	cleanup_gcs_token struct gcs_token t = {0};
	struct gcs_cred *c = cred_make("service.json");
	int64_t start = clock_mono_ns();
	atomic_bool cancel = true;
	struct err err;

	free(fake_say(&fake, "POST", "/fake/faults",
		"[{\"on\": \"POST /token\", \"do\": \"status\", \"status\": 503, \"times\": 9}]"));
	fresh_log();
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(get(c, &t, &err), -EIO);
		assert_int_equal(err.kind, ERR_RETRY);
	}
	if (clock_mono_ns() - start < 900 * NS_PER_MS)
		assert_int_equal(fake_count(&fake, "POST /token", NULL), 1);
	free(fake_say(&fake, "POST", "/fake/faults", "[]"));
	usleep(1100000);
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
	/* one who gives up says nothing about the credentials */
	c = cred_make("service.json");
	free(fake_say(&fake, "POST", "/fake/faults",
		"[{\"on\": \"POST /token\", \"do\": \"hang\", \"seconds\": 1}]"));
	assert_int_equal(
		gcs_cred_get(c, clock_mono_ns() + 100 * NS_PER_MS, NULL, &t, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_int_equal(gcs_cred_get(c, 0, &cancel, &t, &err), -ECANCELED);
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
}

static void a_wrong_clock_is_corrected(void **state)
{
	cleanup_gcs_token struct gcs_token t = {0};
	struct gcs_cred *c = cred_make("service.json");
	struct err err;
	errint_t r;

	clock_skew_add(7200 * NS_PER_S);
	fresh_log();
	r = get(c, &t, &err);
	clock_skew_add(-7200 * NS_PER_S);
	if (r)
		fail_msg("%s", err_text(&err, r));
	assert_int_equal(fake_count(&fake, "POST /token", NULL), 2);
	gcs_cred_destroy(c);
}

static void a_replaced_file_is_read(void **state)
{
	cleanup_json json_t *j = json_load_file(GOLDEN_DIR "/google-jwt.json", 0, NULL);
	cleanup_gcs_token struct gcs_token t = {0};
	struct gcs_cred *c;
	struct err err;

	/* a key that nobody there knows */
	json_t *key = json_object_get(j, "key");

	(void)json_object_set_new(key, "token_uri", json_sprintf("%s/token", fake.url));
	assert_int_equal(json_dump_file(key, file("change.json"), 0), 0);
	c = cred_make("change.json");
	assert_int_equal(get(c, &t, &err), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_non_null(strstr(err.msg, "Invalid JWT Signature"));
	assert_non_null(strstr(err.msg, "test-iam-credentials"));
	assert_null(strstr(err.msg, "PRIVATE"));
	assert_int_equal(rename(file("service.json"), file("change.json")), 0);
	usleep(1100000);
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
	assert_int_equal(rename(file("change.json"), file("service.json")), 0);
}

static void bad_files_are_told(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "is not JSON"},
		{"{\"type\": \"service_account\", \"private_key\": \"hush", "is not JSON: line 1"},
		{"{}", "of type ''"},
		{"{\"type\": \"authorized_user\"}", "has no \"client_id\""},
		{"{\"type\": \"service_account\", \"client_email\": \"a@b\"}",
			"has no \"private_key\""},
		{"{\"type\": \"gdch_service_account\"}", "'gdch_service_account'; known"},
		{"{\"type\": \"service_account\", \"client_email\": \"a@b\", \"private_key\": "
		 "\"k\","
		 " \"token_uri\": \"http://evil.example/token\"}",
			"is not https"},
		{"{\"type\": \"external_account\", \"audience\": \"a\", \"subject_token_type\": "
		 "\"t\", \"token_url\": \"https://sts.googleapis.com/v1/token\", "
		 "\"credential_source\": {\"environment_id\": \"aws1\"}}",
			"only credential_source with"},
	};
	struct gcs_source s = {0};
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		write_file("bad.json", cases[i].text);
		assert_int_equal(gcs_source_load(&s, file("bad.json"), &err), -EACCES);
		assert_int_equal(err.kind, ERR_AUTH);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.msg, cases[i].says);
		assert_null(strstr(err.msg, "hush"));
		assert_non_null(strstr(err.msg, "bad.json"));
	}
	assert_int_equal(gcs_source_load(&s, dir, &err), -EACCES);
	gcs_source_done(&s);
}

/* ---- what is written down ---- */

static void secrets_are_not_logged(void **state)
{
	struct store *s = store_make(cred_make("service.json"));
	struct store_obj o = {"logged", "k"};
	cleanup_gcs_token struct gcs_token t = {0};
	struct gcs_cred *c;
	size_t len = 20u << 20, n; /* a session, whose address is a secret */
	uint8_t *p = calloc(1, len);
	char *text = malloc(4u << 20);
	unsigned rooms = 0;
	struct err err;
	int fd;

	assert_int_equal(log_rooms_parse("net", &rooms, &err), 0);
	assert_int_equal(log_open(LOG_LVL_INFO, file("log"), &err), 0);
	log_rooms_set(rooms);
	assert_int_equal(store_bucket_create(s, NULL, "logged", &err), 0);
	assert_int_equal(store_put(s, NULL, o, p, len, NULL, NULL, &err), 0);
	store_destroy(s);
	c = cred_make("user.json");
	assert_int_equal(get(c, &t, &err), 0);
	gcs_cred_destroy(c);
	log_rooms_set(0);
	log_close();
	fd = open(file("log"), O_RDONLY);
	n = (size_t)read(fd, text, (4u << 20) - 1);
	close(fd);
	text[n] = 0;
	assert_non_null(strstr(text, "uploadType=resumable"));
	assert_non_null(strstr(text, "POST http://127.0.0.1"));
	assert_null(strstr(text, "ya29."));
	assert_null(strstr(text, t.value));
	for (char *at = text; (at = strstr(at, "upload_id=")); at++)
		assert_true(!strncmp(at, "upload_id=(removed)", 19));
	free(text);
	free(p);
}

/* ---- sections ---- */

static errint_t check3(const char *key, const char *value, const char *key2, const char *value2,
	const char *key3, const char *value3, struct err *err)
{
	struct conf *c = conf_new();
	errint_t r;

	conf_set(c, "remote g", "type", "gcs");
	if (key)
		conf_set(c, "remote g", key, value);
	if (key2)
		conf_set(c, "remote g", key2, value2);
	if (key3)
		conf_set(c, "remote g", key3, value3);
	r = remotes_conf_check(c, err);
	conf_destroy(c);
	return r;
}

static errint_t check(
	const char *key, const char *value, const char *key2, const char *value2, struct err *err)
{
	return check3(key, value, key2, value2, NULL, NULL, err);
}

static void sections_are_checked(void **state)
{
	static const struct {
		const char *key, *value, *key2, *value2, *says;
	} bad[] = {
		{"endpoint", "storage.googleapis.com", NULL, NULL, "does not start with http"},
		{"endpoint", "http://example.com", NULL, NULL, "plain http"},
		{"endpoint", "https://x/?a", NULL, NULL, "more than a host"},
		{"credentials", "root", NULL, NULL, "allowed: auto, machine, none"},
		{"credentials", "none", "credentials_file", "/x", "only with credentials=auto"},
		{"offline", "ARCHIVE", NULL, NULL, "cannot be offline"},
		{"customer_key_file", "/proc/nonexistent", NULL, NULL, "cannot read"},
		{"kms_key", "projects/p", "customer_key_file", "/dev/null", "either"},
		{"customer_key_file", "/dev/null", NULL, NULL, "base64 of 32 bytes"},
		{"endpont", "x", NULL, NULL, "did you mean 'endpoint'"},
		{"hmac_access_id", "GOOG1E", NULL, NULL, "one of hmac_secret_file and"},
		{"hmac_secret_file", "/x", NULL, NULL, "needs hmac_access_id"},
		{"hmac_access_id", "GOOG1E", "hmac_secret_env", "NO_SUCH_VARIABLE", "no variable"},
		{"hmac_access_id", "GOOG1E", "hmac_secret", "x", "unknown key"},
		{"read_metadata", "yes", NULL, NULL, "only with hmac_access_id"},
	};
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(check(bad[i].key, bad[i].value, bad[i].key2, bad[i].value2, &err) < 0);
		if (!strstr(err.msg, bad[i].says))
			fail_msg("'%s' does not say '%s'", err.msg, bad[i].says);
	}
	assert_int_equal(check(NULL, NULL, NULL, NULL, &err), 0);
	assert_int_equal(check("endpoint", "http://localhost:4443/", NULL, NULL, &err), 0);
	assert_int_equal(check("endpoint", "http://example.com", "credentials", "none", &err), 0);
	write_file("key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n");
	assert_int_equal(check("customer_key_file", file("key"), NULL, NULL, &err), 0);
	assert_int_equal(check("hmac_access_id", "GOOG1E", "hmac_secret_file", "/x", &err), 0);
	assert_true(check3("hmac_access_id", "GOOG1E", "hmac_secret_file", "/x", "credentials_file",
			    "/y", &err) < 0);
	assert_non_null(strstr(err.msg, "either an HMAC key or other credentials"));
	assert_int_equal(check3("hmac_access_id", "GOOG1E", "hmac_secret_file", "/x",
				 "read_metadata", "yes", &err),
		0);
	assert_true(check3("hmac_access_id", "GOOG1E", "hmac_secret_file", "/x", "endpoint",
			    "http://example.com", &err) < 0);
	assert_non_null(strstr(err.msg, "plain http"));
	/* an emulator, by the variable of Google's clients */
	setenv("STORAGE_EMULATOR_HOST", "somewhere:9000", 1);
	assert_int_equal(check(NULL, NULL, NULL, NULL, &err), 0);
	assert_true(check("credentials_file", "/x", NULL, NULL, &err) < 0);
	setenv("STORAGE_EMULATOR_HOST", "http://bad host", 1);
	assert_true(check(NULL, NULL, NULL, NULL, &err) < 0);
	assert_non_null(strstr(err.msg, "STORAGE_EMULATOR_HOST"));
	unsetenv("STORAGE_EMULATOR_HOST");
}

static void the_environment_is_enough(void **state)
{
	struct remote *v;
	struct err err;
	size_t n;

	setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9", 1); /* nobody is there: it starts anyway */
	assert_int_equal(remotes_build(NULL, dir, &v, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_string_equal(v[1].name, "gcp");
	assert_true(v[1].real && !v[0].real && !v[1].bucket[0]);
	assert_string_equal(v[1].provider, "gcp");
	assert_true(v[1].caps.conditional_copy && !v[1].caps.archive);
	remotes_destroy(v, n);
	unsetenv("STORAGE_EMULATOR_HOST");
}

/* ---- frame ---- */

static int start(void **state)
{
	static const char *const args[] = {"--auth", dir, NULL};
	const char *const names[] = {"GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT",
		"CLOUDSDK_CONFIG", "STORAGE_EMULATOR_HOST", "GCE_METADATA_HOST"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	scratch_name(dir, sizeof(dir), "gcs");
	if (!mkdtemp(dir))
		return -1;
	setenv("HOME", dir, 1);
	return fake_start(&fake, FAKE_DIR "/gcs.py", args) ? 0 : -1;
}

static int stop(void **state)
{
	char text[80];

	fake_stop(&fake);
	snprintf(text, sizeof(text), "rm -rf %s", dir);
	return system(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(assertions_are_googles),
		cmocka_unit_test(a_bad_key_is_told),
		cmocka_unit_test(every_kind_gets_a_token),
		cmocka_unit_test(files_are_found),
		cmocka_unit_test(a_refused_token_is_renewed),
		cmocka_unit_test(threads_share_a_token),
		cmocka_unit_test(failures_are_not_hammered),
		cmocka_unit_test(a_wrong_clock_is_corrected),
		cmocka_unit_test(a_replaced_file_is_read),
		cmocka_unit_test(bad_files_are_told),
		cmocka_unit_test(secrets_are_not_logged),
		cmocka_unit_test(sections_are_checked),
		cmocka_unit_test(the_environment_is_enough),
	};

	if (system("python3 -c '' 2>/dev/null && openssl version >/dev/null 2>&1")) {
		fprintf(stderr, "skipped: python3 or openssl is missing\n");
		return 77;
	}
	return cmocka_run_group_tests_name("gcs_cred", tests, start, stop);
}
