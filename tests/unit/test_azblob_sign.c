/* SPDX-License-Identifier: MIT */
/* Azure signatures against what Microsoft's own library makes (tests/golden), and the pure parts of
 * the driver: names, metadata, block ids. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "store/azblob_priv.h"
#include "store/azblob_sign.h"

static json_t *golden;

static const char *str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static struct azblob_key the_key(void)
{
	struct azblob_key k = {0};

	snprintf(k.account, sizeof(k.account), "%s", str(golden, "account"));
	assert_int_equal(base64_decode(str(golden, "key"), k.key, sizeof(k.key), &k.len), 0);
	return k;
}

static void shared_key(void **state)
{
	struct azblob_key k = the_key();
	const json_t *cases = json_object_get(golden, "requests");
	const json_t *one;
	size_t i;

	assert_true(json_array_size(cases) >= 16);
	json_array_foreach (cases, i, one) {
		cleanup_buf struct buf text = BUF_INIT(1 << 16);
		struct net_fields f = {0};
		size_t len = 0;
		const char *name, *got;
		const json_t *value;

		json_object_foreach ((json_t *)json_object_get(one, "headers"), name, value) {
			if (!strcasecmp(name, "content-length"))
				len = strtoul(json_string_value(value), NULL, 10);
			else if (strcasecmp(name, "range") != 0)
				assert_int_equal(
					net_field_add(&f, name, json_string_value(value)), 0);
		}
		assert_int_equal(
			azblob_sign(&k, str(one, "method"), str(one, "url"), len, &f, &text), 0);
		got = net_field_get(&f, "Authorization");
		if (strcmp(got, str(one, "authorization")) != 0)
			fail_msg("%s %s: signed\n%s", str(one, "method"), str(one, "url"), text.p);
		net_fields_done(&f);
	}
}

static void signatures_in_urls(void **state)
{
	struct azblob_key k = the_key();
	const json_t *cases = json_object_get(golden, "sas");
	const json_t *one;
	size_t i;

	assert_int_equal(json_array_size(cases), 11);
	json_array_foreach (cases, i, one) {
		cleanup_buf struct buf got = BUF_INIT(4096);
		const char *want = str(one, "sas"), *sv = strstr(want, "sv=") + 3;
		char version[16];
		struct azblob_sas s = {.container = str(one, "container"),
			.blob = str(one, "blob"),
			.permissions = str(one, "permission"),
			.start = str(one, "start"),
			.expiry = str(one, "expiry"),
			.version = version};

		snprintf(version, sizeof(version), "%.10s", sv);
		assert_int_equal(azblob_sas(&k, &s, &got), 0);
		assert_string_equal(got.p, want);
	}
}

static void checksum_is_crc64nvme(void **state)
{
	const json_t *one;
	size_t i;

	json_array_foreach (json_object_get(golden, "crc64"), i, one) {
		const char *text = str(one, "text");
		uint64_t crc = crc64nvme(0, text, strlen(text));
		char got[BASE64_LEN(8) + 1];
		uint8_t b[8];

		for (unsigned k = 0; k < 8; k++)
			b[k] = (uint8_t)(crc >> (8 * k));
		base64_encode(b, 8, got);
		assert_string_equal(got, str(one, "crc64"));
	}
}

/* ---- names ---- */

static void keys_and_containers(void **state)
{
	static const char *const good[] = {"a", "a/b", "/", "//", "a/", ".a", "a.b", ".git/x",
		"...x", "a b", "%41", "\\", "\xc3\xa4"};
	static const char *const bad[] = {
		".", "..", "a.", "a./b", "./x", "a/..", "a\nb", "\x7f", "\x01", "\xff"};
	char deep[600] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(azblob_key_ok(good[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(azblob_key_ok(bad[i]));
	for (unsigned i = 0; i < 253; i++)
		strcat(deep, "d/");
	assert_true(azblob_key_ok(deep));
	strcat(deep, "d/");
	assert_false(azblob_key_ok(deep));
	assert_true(azblob_bucket_ok("abc") && azblob_bucket_ok("a-1") && azblob_bucket_ok("$web"));
	assert_false(azblob_bucket_ok("ab") || azblob_bucket_ok("Abc") || azblob_bucket_ok("-ab") ||
		     azblob_bucket_ok("a--b") || azblob_bucket_ok("ab-") || azblob_bucket_ok("$") ||
		     azblob_bucket_ok("a.b"));
}

static void metadata_names(void **state)
{
	static const char *const pairs[][2] = {{"mtime", "mtime"}, {"astra-write", "astra_write"},
		{"1", "_1"}, {"-1", "__1"}, {"--1x", "___1x"}, {"-a", "_a"}, {"a-1", "a_1"},
		{"--", "__"}, {"-", "_"}};
	char key[STORE_KEY_MAX + 1];

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		cleanup_buf struct buf b = BUF_INIT(100);

		assert_int_equal(azblob_meta_name(&b, pairs[i][0]), 0);
		assert_string_equal(b.p, pairs[i][1]);
		assert_true(azblob_meta_key(pairs[i][1], key));
		assert_string_equal(key, pairs[i][0]);
	}
	assert_true(azblob_meta_key("Mixed_Case", key));
	assert_string_equal(key, "mixed-case");
	assert_false(azblob_meta_key("", key) || azblob_meta_key("a.b", key) ||
		     azblob_meta_key("\xc3\xa4", key));
}

static void metadata_values(void **state)
{
	static const char *const values[] = {"", "1.5", " a", "a ", "\xc3\xa4", "a\tb", "a\nb",
		"=?UTF-8?B?YQ==?=", "=?UTF-8?B?", "a, b;c=\"d\"", "100%"};

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		cleanup_buf struct buf there = BUF_INIT(1000), back = BUF_INIT(1000);

		(void)buf_adds(&back, "");
		assert_int_equal(azblob_meta_value(&there, values[i]), 0);
		for (const char *s = there.p; *s; s++)
			assert_true(*s >= 0x20 && *s < 0x7f);
		assert_int_equal(azblob_meta_plain(&back, there.p), 0);
		assert_string_equal(back.p ? back.p : "", values[i]);
	}
	cleanup_buf struct buf b = BUF_INIT(100);

	/* What only looks like it is taken as it is. */
	assert_int_equal(azblob_meta_plain(&b, "=?UTF-8?B?***?="), 0);
	assert_string_equal(b.p, "=?UTF-8?B?***?=");
}

static void etags(void **state)
{
	char e[STORE_ETAG_MAX];

	assert_int_equal(azblob_etag("\"0x8D\"", e), 0);
	assert_string_equal(e, "0x8D");
	assert_int_equal(azblob_etag("0x8D", e), 0);
	assert_int_equal(azblob_etag("", e), -EBADMSG);
	assert_int_equal(azblob_etag("\"\"", e), -EBADMSG);
	assert_int_equal(azblob_etag(NULL, e), -EBADMSG);
	assert_int_equal(azblob_etag("a\"b", e), -EBADMSG);
}

/* ---- block ids ---- */

static void block_ids(void **state)
{
	char text[BASE64_LEN(AZ_BLOCK_ID) + 1];

	for (unsigned len = AZ_ID_LEN_MIN; len <= AZ_BLOCK_ID; len++) {
		struct azblob_block_id a = {.random = UINT64_C(0x123456789abcdef0),
			.len = len,
			.index = 9999,
			.crc32c = 0xdeadbeef,
			.sequence = 7};
		struct azblob_block_id b = {.random = a.random, .len = len};
		struct azblob_block_id other = {
			.random = a.random ^ (UINT64_C(1) << 63), .len = len};
		struct azblob_block_id longer = {.random = a.random, .len = len + 1};

		azblob_id_make(&a, text);
		assert_int_equal(strlen(text), BASE64_LEN(len));
		assert_true(azblob_id_read(text, &b));
		assert_int_equal(b.index, 9999);
		assert_int_equal(b.has_crc, len >= AZ_ID_LEN);
		assert_int_equal(b.crc32c, len >= AZ_ID_LEN ? 0xdeadbeef : 0);
		assert_int_equal(b.sequence, len >= AZ_ID_LEN ? 7 : 0);
		assert_false(azblob_id_read(text, &other));
		if (len < AZ_BLOCK_ID)
			assert_false(azblob_id_read(text, &longer));
	}
}

static void id_lengths(void **state)
{
	struct azblob_block four = {.id = "AAAAAA=="}, eight = {.id = "AAAAAAAAAAA="},
			    full = {.id = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
					  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="};
	struct azblob_blocks b = {0};
	struct err err;
	unsigned len;

	assert_int_equal(azblob_id_len(&b, &len, &err), 0);
	assert_int_equal(len, AZ_ID_LEN);
	b = (struct azblob_blocks){.committed = &eight, .ncommitted = 1};
	assert_int_equal(azblob_id_len(&b, &len, &err), 0);
	assert_int_equal(len, 8);
	b = (struct azblob_blocks){.committed = &four, .ncommitted = 1};
	assert_int_equal(azblob_id_len(&b, &len, &err), 0);
	assert_int_equal(len, AZ_ID_LEN); /* none of them is kept */
	b = (struct azblob_blocks){
		.committed = &four, .ncommitted = 1, .waiting = &full, .nwaiting = 1};
	assert_int_equal(azblob_id_len(&b, &len, &err), 0);
	assert_int_equal(len, 64);
	b = (struct azblob_blocks){.waiting = &four, .nwaiting = 1};
	assert_int_equal(azblob_id_len(&b, &len, &err), -EBUSY);
	assert_int_equal(err.kind, ERR_RETRY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(shared_key),
		cmocka_unit_test(signatures_in_urls), cmocka_unit_test(checksum_is_crc64nvme),
		cmocka_unit_test(keys_and_containers), cmocka_unit_test(metadata_names),
		cmocka_unit_test(metadata_values), cmocka_unit_test(etags),
		cmocka_unit_test(block_ids), cmocka_unit_test(id_lengths)};
	char path[1000];
	int r;

	snprintf(path, sizeof(path), "%s/azure-signing.json", GOLDEN_DIR);
	golden = json_load_file(path, 0, NULL);
	if (!golden)
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(golden);
	return r;
}
