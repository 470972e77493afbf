/* SPDX-License-Identifier: MIT */
/* Checksums against published vectors and against slow, obvious implementations. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"

static uint32_t slow_crc32c(uint32_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static uint64_t slow_crc64(uint64_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ UINT64_C(0x9a6c9329ac4bc9b5) : crc >> 1;
	}
	return ~crc;
}

static void crc32c_vectors(void **state)
{
	unsigned char b[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, NULL, 0), 0);
	/* RFC 3720, B.4 */
	memset(b, 0, 32);
	assert_int_equal(crc32c(0, b, 32), 0x8a9136aa);
	memset(b, 0xff, 32);
	assert_int_equal(crc32c(0, b, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		b[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, b, 32), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		b[i] = (unsigned char)(31 - i);
	assert_int_equal(crc32c(0, b, 32), 0x113fdb5c);
}

static void crc64nvme_vectors(void **state)
{
	assert_true(crc64nvme(0, "123456789", 9) == UINT64_C(0xae8b14860a799888));
	assert_true(crc64nvme(0, NULL, 0) == 0);
}

static void crcs_at_all_lengths_and_alignments(void **state)
{
	unsigned char b[600];

	random_bytes(b, sizeof(b));
	for (size_t off = 0; off < 9; off++) {
		for (size_t len = 0; len < 100; len++) {
			assert_int_equal(crc32c(77, b + off, len), slow_crc32c(77, b + off, len));
			assert_true(crc64nvme(77, b + off, len) == slow_crc64(77, b + off, len));
		}
	}
	/* Fed in two pieces. */
	for (size_t cut = 0; cut <= sizeof(b); cut += 7) {
		assert_int_equal(crc32c(crc32c(0, b, cut), b + cut, sizeof(b) - cut),
			crc32c(0, b, sizeof(b)));
		assert_true(crc64nvme(crc64nvme(0, b, cut), b + cut, sizeof(b) - cut) ==
			    crc64nvme(0, b, sizeof(b)));
	}
}

/* Stretches side by side, and what is left of them. */
static void crc32c_of_much(void **state)
{
	static unsigned char b[20000];

	random_bytes(b, sizeof(b));
	for (size_t len = 3000; len < sizeof(b); len += 61)
		assert_int_equal(
			crc32c(77, b + len % 8, len - 8), slow_crc32c(77, b + len % 8, len - 8));
	for (size_t k = 1; k <= 6; k++) {
		size_t len = k * 3072;

		for (size_t at = len - 8; at <= len + 8; at++)
			assert_int_equal(crc32c(5, b, at), slow_crc32c(5, b, at));
	}
}

static void crc32c_combines(void **state)
{
	static unsigned char b[100000];

	random_bytes(b, sizeof(b));
	for (size_t cut = 0; cut <= sizeof(b); cut += 1237) {
		assert_int_equal(crc32c_combine(crc32c(0, b, cut),
					 crc32c(0, b + cut, sizeof(b) - cut), sizeof(b) - cut),
			crc32c(0, b, sizeof(b)));
	}
	assert_int_equal(crc32c_combine(0x12345678, 0, 0), 0x12345678);
	assert_int_equal(crc32c_combine(0, 0x12345678, 99), 0x12345678);
}

static void crc32c_of_zeros(void **state)
{
	static const unsigned char z[70000];
	uint32_t half, whole;

	for (size_t len = 0; len <= sizeof(z); len = len * 3 + 1)
		assert_int_equal(crc32c_zeros(0xdeadbeef, len), crc32c(0xdeadbeef, z, len));
	assert_int_equal(crc32c_zeros(0, 32), 0x8a9136aa);
	/* Lengths that nobody can feed: two halves make the whole. */
	for (uint64_t len = 1; len <= UINT64_C(1) << 62; len <<= 1) {
		half = crc32c_zeros(5, len);
		whole = crc32c_zeros(half, len);
		assert_int_equal(whole, crc32c_zeros(5, len * 2));
		assert_int_equal(crc32c_combine(half, crc32c_zeros(0, len), len), whole);
	}
}

static void sha256_vectors(void **state)
{
	uint8_t d[32];
	char hex[65];

	sha256("", 0, d);
	hex_encode(d, 32, hex);
	assert_string_equal(
		hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256("abc", 3, d);
	hex_encode(d, 32, hex);
	assert_string_equal(
		hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void hash64_spreads(void **state)
{
	unsigned char b[40] = {0};
	uint64_t h = hash64(b, sizeof(b), 1);
	unsigned flipped = 0;

	assert_true(h == hash64(b, sizeof(b), 1));
	assert_true(h != hash64(b, sizeof(b), 2));
	assert_true(h != hash64(b, sizeof(b) - 1, 1));
	assert_true(hash64("", 0, 0) != hash64("\0", 1, 0));
	for (unsigned bit = 0; bit < sizeof(b) * 8; bit++) {
		b[bit / 8] ^= (unsigned char)(1 << bit % 8);
		flipped += (unsigned)__builtin_popcountll(h ^ hash64(b, sizeof(b), 1));
		b[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	/* Half of the bits of the result change with each bit of the input. */
	assert_in_range(flipped / (sizeof(b) * 8), 29, 35);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void hash64_of_near_inputs_differs(void **state)
{
	enum { N = 100000 };
	uint64_t *h = malloc(N * sizeof(*h));

	assert_non_null(h);
	for (uint64_t i = 0; i < N; i++)
		h[i] = hash64(&i, sizeof(i), 0);
	qsort(h, N, sizeof(*h), by_value);
	for (size_t i = 1; i < N; i++)
		assert_true(h[i] != h[i - 1]);
	free(h);
}

static void hex_goes_both_ways(void **state)
{
	unsigned char b[4] = {0};
	char s[9];

	hex_encode("\x00\x7f\xa5\xff", 4, s);
	assert_string_equal(s, "007fa5ff");
	assert_int_equal(hex_decode("007FA5ff", b, 4), 0);
	assert_memory_equal(b, "\x00\x7f\xa5\xff", 4);
	assert_int_equal(hex_decode("007fa5f", b, 4), -EINVAL);
	assert_int_equal(hex_decode("007fa5ff0", b, 4), -EINVAL);
	assert_int_equal(hex_decode("007fa5fg", b, 4), -EINVAL);
	assert_int_equal(hex_decode("", b, 4), -EINVAL);
	assert_int_equal(hex_decode("", b, 0), 0);
}

static void md5_and_hmac_vectors(void **state)
{
	uint8_t d[32];
	char hex[65];

	md5("abc", 3, d); /* RFC 1321 */
	hex_encode(d, 16, hex);
	assert_string_equal(hex, "900150983cd24fb0d6963f7d28e17f72");
	hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, d); /* RFC 4231, case 2 */
	hex_encode(d, 32, hex);
	assert_string_equal(
		hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void base64_goes_both_ways(void **state)
{
	static const char *const vectors[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="},
		{"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfb", "//77"}};
	static const char *const bad[] = {
		"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "=g==", "Zg=v", "Zm9v\n", "Zm 9", "===="};
	char s[64], b[64];
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		size_t len = strlen(vectors[i][0]);

		base64_encode(vectors[i][0], len, s);
		assert_string_equal(s, vectors[i][1]);
		assert_int_equal(strlen(s), BASE64_LEN(len));
		assert_int_equal(base64_decode(s, b, len, &n), 0);
		assert_int_equal(n, len);
		assert_memory_equal(b, vectors[i][0], len);
		if (len)
			assert_int_equal(base64_decode(s, b, len - 1, &n), -ENOBUFS);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(base64_decode(bad[i], b, sizeof(b), &n), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_vectors),
		cmocka_unit_test(crc64nvme_vectors),
		cmocka_unit_test(crcs_at_all_lengths_and_alignments),
		cmocka_unit_test(crc32c_of_much),
		cmocka_unit_test(crc32c_combines),
		cmocka_unit_test(crc32c_of_zeros),
		cmocka_unit_test(sha256_vectors),
		cmocka_unit_test(md5_and_hmac_vectors),
		cmocka_unit_test(base64_goes_both_ways),
		cmocka_unit_test(hash64_spreads),
		cmocka_unit_test(hash64_of_near_inputs_differs),
		cmocka_unit_test(hex_goes_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
