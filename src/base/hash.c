/* SPDX-License-Identifier: MIT */
/*
 * Checksums and encodings: CRC-32C (by the SSE4.2 instruction where the processor has it),
 * CRC-64/NVME, a 64-bit table hash, SHA-256 by libcrypto, hex. Pure; any thread. The tables are
 * made before main(), so that no call has to ask whether they exist.
 *
 * Both CRCs are reflected: bit 0 of a table index is the highest power of x. Slice-by-8 folds eight
 * bytes at a time, table[k][b] being the CRC of byte b followed by k zero bytes.
 */
#include "astra/base_hash.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"

#define CRC32C_POLY UINT32_C(0x82f63b78)
#define CRC64_POLY  UINT64_C(0x9a6c9329ac4bc9b5)

#define X2N_MAX 67 /* x^(2^k) for lengths in bytes of 64 bits: 8 * 2^63 = 2^66 */

#define LANE 1024u

static uint32_t crc32c_table[8][256];
static uint64_t crc64_table[8][256];
static uint32_t crc32c_lane[2][4][256];
static uint32_t crc32c_x2n[X2N_MAX]; /* x^(2^k) modulo the polynomial */
static uint32_t (*crc32c_run)(uint32_t reg, const unsigned char *p, size_t len);

static uint64_t load_le64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static uint32_t crc32c_soft(uint32_t reg, const unsigned char *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v = load_le64(p) ^ reg;

		reg = 0;
		for (unsigned i = 0; i < 8; i++)
			reg ^= crc32c_table[7 - i][v >> (8 * i) & 0xff];
	}
	for (; len; p++, len--)
		reg = reg >> 8 ^ crc32c_table[0][(reg ^ *p) & 0xff];
	return reg;
}

#ifdef __x86_64__
/* reg followed by (i + 1) * LANE zero bytes. */
static uint32_t crc32c_past_lanes(uint32_t reg, unsigned i)
{
	const uint32_t(*t)[256] = crc32c_lane[i];

	return t[0][reg & 0xff] ^ t[1][reg >> 8 & 0xff] ^ t[2][reg >> 16 & 0xff] ^ t[3][reg >> 24];
}

/* The instruction takes three cycles, and can begin in each: three stretches side by side. */
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(
	uint32_t reg, const unsigned char *p, size_t len)
{
	uint64_t r = reg;

	for (; len >= 3 * LANE; p += 3 * LANE, len -= 3 * LANE) {
		uint64_t a = r, b = 0, c = 0;

		for (const unsigned char *q = p; q < p + LANE; q += 8) {
			a = __builtin_ia32_crc32di(a, load_le64(q));
			b = __builtin_ia32_crc32di(b, load_le64(q + LANE));
			c = __builtin_ia32_crc32di(c, load_le64(q + 2 * LANE));
		}
		r = crc32c_past_lanes((uint32_t)a, 1) ^ crc32c_past_lanes((uint32_t)b, 0) ^ c;
	}
	for (; len >= 8; p += 8, len -= 8)
		r = __builtin_ia32_crc32di(r, load_le64(p));
	reg = (uint32_t)r;
	for (; len; p++, len--)
		reg = __builtin_ia32_crc32qi(reg, *p);
	return reg;
}
#endif

/* a * b modulo the polynomial, both reflected: bit 31 is x^0. */
static uint32_t crc32c_mul(uint32_t a, uint32_t b)
{
	uint32_t r = 0;

	for (uint32_t m = UINT32_C(1) << 31; m && a; m >>= 1) {
		if (a & m) {
			r ^= b;
			a &= ~m;
		}
		b = b & 1 ? b >> 1 ^ CRC32C_POLY : b >> 1;
	}
	return r;
}

/* x^(8 * len) modulo the polynomial. */
static uint32_t crc32c_x_bytes(uint64_t len)
{
	uint32_t r = UINT32_C(1) << 31;

	for (unsigned k = 3; len; k++, len >>= 1) {
		if (len & 1)
			r = crc32c_mul(crc32c_x2n[k], r);
	}
	return r;
}

__attribute__((constructor)) static void make_tables(void)
{
	for (unsigned b = 0; b < 256; b++) {
		uint32_t c = b;
		uint64_t d = b;

		for (unsigned i = 0; i < 8; i++) {
			c = c & 1 ? c >> 1 ^ CRC32C_POLY : c >> 1;
			d = d & 1 ? d >> 1 ^ CRC64_POLY : d >> 1;
		}
		crc32c_table[0][b] = c;
		crc64_table[0][b] = d;
	}
	for (unsigned k = 1; k < 8; k++) {
		for (unsigned b = 0; b < 256; b++) {
			uint32_t c = crc32c_table[k - 1][b];
			uint64_t d = crc64_table[k - 1][b];

			crc32c_table[k][b] = c >> 8 ^ crc32c_table[0][c & 0xff];
			crc64_table[k][b] = d >> 8 ^ crc64_table[0][d & 0xff];
		}
	}
	crc32c_x2n[0] = UINT32_C(1) << 30;
	for (unsigned k = 1; k < X2N_MAX; k++)
		crc32c_x2n[k] = crc32c_mul(crc32c_x2n[k - 1], crc32c_x2n[k - 1]);
	crc32c_run = crc32c_soft;
#ifdef __x86_64__
	for (unsigned i = 0; i < 2; i++) {
		uint32_t past = crc32c_x_bytes((i + 1) * LANE);

		for (unsigned k = 0; k < 4; k++) {
			for (unsigned b = 0; b < 256; b++)
				crc32c_lane[i][k][b] = crc32c_mul(past, b << (8 * k));
		}
	}
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse4.2"))
		crc32c_run = crc32c_sse42;
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
	return ~crc32c_run(~crc, p, len);
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b)
{
	return crc32c_mul(crc32c_x_bytes(len_b), a) ^ b;
}

uint32_t crc32c_zeros(uint32_t crc, uint64_t len)
{
	return ~crc32c_mul(crc32c_x_bytes(len), ~crc);
}

uint64_t crc64nvme(uint64_t crc, const void *p, size_t len)
{
	const unsigned char *at = p;
	uint64_t reg = ~crc;

	for (; len >= 8; at += 8, len -= 8) {
		uint64_t v = load_le64(at) ^ reg;

		reg = 0;
		for (unsigned i = 0; i < 8; i++)
			reg ^= crc64_table[7 - i][v >> (8 * i) & 0xff];
	}
	for (; len; at++, len--)
		reg = reg >> 8 ^ crc64_table[0][(reg ^ *at) & 0xff];
	return ~reg;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Multiply and fold, 16 bytes a round; the same on every machine, so results may be stored. */
uint64_t hash64(const void *p, size_t len, uint64_t seed)
{
	static const uint64_t k0 = UINT64_C(0x9e3779b97f4a7c15), k1 = UINT64_C(0xd6e8feb86659fd93),
			      k2 = UINT64_C(0xa0761d6478bd642f);
	const unsigned char *at = p;
	unsigned char tail[16] = {0};
	uint64_t h = fold(seed ^ k0, k1);
	size_t left = len;

	for (; left >= 16; at += 16, left -= 16)
		h = fold(load_le64(at) ^ k1 ^ h, load_le64(at + 8) ^ k2);
	if (left)
		memcpy(tail, at, left);
	h = fold(load_le64(tail) ^ k1 ^ h, load_le64(tail + 8) ^ k2);
	return fold(h ^ k0, (uint64_t)len ^ k2);
}

void sha256(const void *p, size_t len, uint8_t ret[32])
{
	unsigned n = 0;

	/* Fails only without memory or without a provider: no digest to go on with. */
	if (EVP_Digest(p, len, ret, &n, EVP_sha256(), NULL) != 1 || n != 32)
		abort();
}

void md5(const void *p, size_t len, uint8_t ret[16])
{
	unsigned n = 0;

	if (EVP_Digest(p, len, ret, &n, EVP_md5(), NULL) != 1 || n != 16)
		abort();
}

void hmac_sha256(const void *key, size_t key_len, const void *p, size_t len, uint8_t ret[32])
{
	unsigned n = 0;

	assert(key_len <= INT_MAX);
	if (!HMAC(EVP_sha256(), key, (int)key_len, p, len, ret, &n) || n != 32)
		abort();
}

void hex_encode(const void *p, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i++) {
		*ret++ = digits[at[i] >> 4];
		*ret++ = digits[at[i] & 15];
	}
	*ret = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

errint_t hex_decode(const char *s, void *ret, size_t len)
{
	unsigned char *at = ret;

	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(s[2 * i]);
		int lo = hi < 0 ? -1 : hex_digit(s[2 * i + 1]);

		if (lo < 0)
			return -EINVAL;
		at[i] = (unsigned char)(hi << 4 | lo);
	}
	return s[2 * len] ? -EINVAL : 0;
}

void base64_encode(const void *p, size_t len, char *ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)at[i] << 16 | (i + 1 < len ? (uint32_t)at[i + 1] << 8 : 0) |
			     (i + 2 < len ? at[i + 2] : 0);

		*ret++ = digits[v >> 18];
		*ret++ = digits[v >> 12 & 63];
		*ret++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*ret++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*ret = '\0';
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

errint_t base64_decode(const char *s, void *ret, size_t max, size_t *ret_len)
{
	unsigned char *to = ret;
	size_t n = 0;

	for (; *s; s += 4) {
		unsigned out = 3;
		uint32_t v = 0;

		for (unsigned i = 0; i < 4; i++) {
			int d = base64_digit(s[i]);

			if (s[i] == '=' && i >= 2 && (i == 3 || s[3] == '=') && !s[4]) {
				out = MIN_OF(out, i - 1);
				d = 0;
			}
			if (d < 0)
				return -EINVAL; /* also at the end of the text */
			v = v << 6 | (uint32_t)d;
		}
		if (n + out > max)
			return -ENOBUFS;
		for (unsigned i = 0; i < out; i++)
			to[n++] = (unsigned char)(v >> (16 - 8 * i));
	}
	*ret_len = n;
	return 0;
}
