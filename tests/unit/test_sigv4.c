/* SPDX-License-Identifier: MIT */
/* The signer against tests/golden: AWS's own suite, and what botocore makes of S3 requests. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "store/sigv4.h"

static json_t *load(const char *name)
{
	char path[1000];
	json_error_t e;
	json_t *j;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
	j = json_load_file(path, 0, &e);
	if (!j)
		fail_msg("%s: %s", path, e.text);
	return j;
}

static const char *str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static int64_t time_of(const char *s, const char *format)
{
	struct tm tm = {0};

	assert_non_null(strptime(s, format, &tm));
	return (int64_t)timegm(&tm) * NS_PER_S;
}

/* Line n of text, from 0. */
static char *line_of(const char *text, unsigned n)
{
	while (n--)
		text = strchr(text, '\n') + 1;
	return strndup(text, strcspn(text, "\n"));
}

static void check_signature(const char *name, const char *got, const char *want)
{
	const char *at = strstr(got, "Signature=");

	if (!at || strcmp(at + 10, want) != 0)
		fail_msg("%s: signature '%s', want '%s'", name, got, want);
}

/* Paths are the caller's: the suite normalises, S3 never does. Everything else is ours. */
static void the_suite_of_aws(void **state)
{
	cleanup_json json_t *all = load("sigv4-suite.json");
	size_t i;
	json_t *c;

	assert_true(json_array_size(all) >= 38);
	json_array_foreach (all, i, c) {
		const char *name = str(c, "name");
		bool omit = json_is_true(json_object_get(c, "omit_token"));
		cleanup_free char *path = line_of(str(c, "canonical_request"), 1);
		cleanup_buf struct buf explain = BUF_INIT(100000), query = BUF_INIT(100000);
		struct sigv4_param params[32];
		struct net_fields f = {0}, g = {0};
		char payload[65];
		uint8_t hash[32];
		size_t k;
		json_t *x;
		struct sigv4_key key = {str(c, "access_key"), str(c, "secret_key"),
			omit ? NULL : str(c, "token"), str(c, "region"), str(c, "service")};
		struct sigv4_request q = {.method = str(c, "method"),
			.host = str(c, "host"),
			.path = path,
			.params = params,
			.payload = payload,
			.now_ns = time_of(str(c, "time"), "%Y-%m-%dT%H:%M:%SZ")};

		sha256(str(c, "body"), strlen(str(c, "body")), hash);
		hex_encode(hash, 32, payload);
		json_array_foreach (json_object_get(c, "params"), k, x)
			params[q.nparams++] =
				(struct sigv4_param){json_string_value(json_array_get(x, 0)),
					json_string_value(json_array_get(x, 1))};
		json_array_foreach (json_object_get(c, "fields"), k, x) {
			net_field_add(&f, json_string_value(json_array_get(x, 0)),
				json_string_value(json_array_get(x, 1)));
			net_field_add(&g, json_string_value(json_array_get(x, 0)),
				json_string_value(json_array_get(x, 1)));
		}
		if (json_is_true(json_object_get(c, "sign_body")))
			net_field_add(&f, "x-amz-content-sha256", payload);
		assert_int_equal(sigv4_sign(&key, &q, &f, &explain), 0);
		if (strcmp(explain.p, str(c, "canonical_request")) != 0)
			fail_msg("%s: got\n%s\nwant\n%s", name, explain.p,
				str(c, "canonical_request"));
		check_signature(name, net_field_get(&f, "authorization"), str(c, "signature"));
		if (!omit) {
			assert_int_equal(
				sigv4_presign(&key, &q, &g,
					(unsigned)json_integer_value(json_object_get(c, "expires")),
					&query),
				0);
			check_signature(name, query.p, str(c, "query_signature"));
		}
		net_fields_done(&f);
		net_fields_done(&g);
	}
}

/* Splits the query of an URL into decoded params in mem. */
static unsigned params_of(const char *query, struct sigv4_param *ret, struct buf *mem)
{
	unsigned n = 0;

	while (query && *query) {
		size_t all = strcspn(query, "&"), name = strcspn(query, "=&");
		size_t at = mem->len, value;

		net_url_decode(mem, query, name);
		buf_add(mem, "", 1);
		value = mem->len;
		if (name < all)
			net_url_decode(mem, query + name + 1, all - name - 1);
		buf_add(mem, "", 1);
		ret[n].name = (void *)at;
		ret[n++].value = (void *)value;
		query += all + (query[all] == '&');
	}
	for (unsigned i = 0; i < n; i++) {
		ret[i].name = mem->p + (size_t)ret[i].name;
		ret[i].value = mem->p + (size_t)ret[i].value;
	}
	return n;
}

static void check_s3(const json_t *all, const json_t *c)
{
	const char *url = str(c, "url"), *host = strstr(url, "://") + 3, *slash = strchr(host, '/');
	const char *mark = strchr(slash, '?'), *key = str(c, "key"), *body = str(c, "body");
	cleanup_free char *h = strndup(host, (size_t)(slash - host));
	cleanup_buf struct buf path = BUF_INIT(10000), mem = BUF_INIT(10000),
			       explain = BUF_INIT(100000), query = BUF_INIT(100000);
	struct sigv4_param params[32];
	struct net_fields f = {0};
	char payload[65];
	uint8_t hash[32];
	const char *name;
	json_t *v;
	struct sigv4_key k = {str(all, "access_key"), str(all, "secret_key"),
		str(c, "session_token"), str(all, "region"), "s3"};
	struct sigv4_request q = {.method = str(c, "method"),
		.host = h,
		.params = params,
		.payload = payload,
		.now_ns = time_of(str(all, "time"), "%Y%m%dT%H%M%SZ")};
	bool presign = json_is_integer(json_object_get(c, "expires"));

	if (key) { /* the path as the driver makes it of a key */
		buf_adds(&path, "/");
		net_url_add(&path, key, "/");
	} else {
		buf_add(&path, slash, strcspn(slash, "?"));
	}
	q.path = path.p;
	buf_adds(&mem, "");
	q.nparams = params_of(mark ? mark + 1 : NULL, params, &mem);
	sha256(body, strlen(body), hash);
	hex_encode(hash, 32, payload);
	json_object_foreach (json_object_get(c, "headers_in"), name, v)
		net_field_add(&f, name, json_string_value(v));
	if (presign) {
		q.payload = SIGV4_UNSIGNED;
		assert_int_equal(sigv4_presign(&k, &q, NULL, 900, &query), 0);
		check_signature(url, query.p, strstr(str(c, "signed_url"), "Signature=") + 10);
		assert_string_equal(strchr(str(c, "signed_url"), '?') + 1, query.p);
	} else {
		net_field_add(&f, "x-amz-content-sha256", payload);
		assert_int_equal(sigv4_sign(&k, &q, &f, &explain), 0);
		if (strcmp(explain.p, str(c, "canonical_request")) != 0)
			fail_msg("%s: got\n%s\nwant\n%s", url, explain.p,
				str(c, "canonical_request"));
		assert_string_equal(net_field_get(&f, "authorization"),
			str(json_object_get(c, "signed_headers"), "Authorization"));
	}
	net_fields_done(&f);
}

static void requests_to_s3(void **state)
{
	cleanup_json json_t *all = load("s3-signing.json");
	size_t i;
	json_t *c;

	assert_true(json_array_size(json_object_get(all, "cases")) >= 40);
	json_array_foreach (json_object_get(all, "cases"), i, c)
		check_s3(all, c);
}

/* Google's form: the same in other words. Expected values are those of a few lines of Python that
 * follow Google's page about V4 signatures. */
static void requests_to_google(void **state)
{
	const struct sigv4_param params[] = {
		{"prefix", "x/"}, {"list-type", "2"}, {"delimiter", "/"}};
	struct sigv4_key k = {"GOOG1EXAMPLEACCESSID", "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ",
		NULL, "auto", "storage"};
	struct sigv4_request q = {.method = "PUT",
		.host = "storage.googleapis.com",
		.path = "/b/a%20b%2Bc/d",
		.payload = SIGV4_UNSIGNED,
		.now_ns = time_of("20260102T030405Z", "%Y%m%dT%H%M%SZ"),
		.google = true};
	struct net_fields f = {0};

	net_field_add(&f, "x-goog-content-sha256", q.payload);
	net_field_add(&f, "x-goog-if-generation-match", "0");
	net_field_add(&f, "x-goog-meta-mode", "0644");
	assert_int_equal(sigv4_sign(&k, &q, &f, NULL), 0);
	assert_string_equal(net_field_get(&f, "authorization"),
		"GOOG4-HMAC-SHA256 Credential=GOOG1EXAMPLEACCESSID/20260102/auto/storage/"
		"goog4_request, SignedHeaders=host;x-goog-content-sha256;x-goog-date;"
		"x-goog-if-generation-match;x-goog-meta-mode, Signature="
		"97fb6a5d907a0df7ad782a72620cb12a938f5a959748dddea5d2d3379ae12025");
	assert_string_equal(net_field_get(&f, "x-goog-date"), "20260102T030405Z");
	assert_null(net_field_get(&f, "x-amz-date"));
	net_fields_done(&f);
	f = (struct net_fields){0};
	q.method = "GET";
	q.path = "/b";
	q.params = params;
	q.nparams = ARRAY_SIZE(params);
	q.payload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	net_field_add(&f, "x-goog-content-sha256", q.payload);
	assert_int_equal(sigv4_sign(&k, &q, &f, NULL), 0);
	check_signature("list", net_field_get(&f, "authorization"),
		"f72d563faa724ca1441c35307df3bdc33c0b5bb735a82a17b564c98e896660c6");
	net_fields_done(&f);
}

static void the_secret_is_not_shown(void **state)
{
	struct sigv4_key k = {"AK", "verysecret", "verytoken", "r", "s3"};
	struct sigv4_request q = {.method = "GET", .host = "h", .path = "/", .payload = "x"};
	cleanup_buf struct buf explain = BUF_INIT(10000);
	struct net_fields f = {0};

	assert_int_equal(sigv4_sign(&k, &q, &f, &explain), 0);
	assert_null(strstr(explain.p, "verysecret"));
	for (unsigned i = 0; i < f.n; i++)
		assert_null(strstr(f.v[i].value, "verysecret"));
	net_fields_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_suite_of_aws),
		cmocka_unit_test(requests_to_s3),
		cmocka_unit_test(requests_to_google),
		cmocka_unit_test(the_secret_is_not_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
