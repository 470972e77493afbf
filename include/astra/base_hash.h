/* SPDX-License-Identifier: MIT */
/* Checksums and encodings. Pure functions. */
#ifndef ASTRA_BASE_HASH_H
#define ASTRA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "astra/base_err.h"

/* CRC-32C (Castagnoli, RFC 3720), seed 0 to start; feed the result back to go on. */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);
/* crc of A followed by B, from crc(A), crc(B) and len(B). */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b);
/* CRC of len zero bytes continuing crc, in O(log len). */
uint32_t crc32c_zeros(uint32_t crc, uint64_t len);
/* CRC-64/NVME, the checksum S3 calls CRC64NVME; check value of "123456789" is
 * 0xae8b14860a799888. */
uint64_t crc64nvme(uint64_t crc, const void *p, size_t len);

uint64_t hash64(const void *p, size_t len, uint64_t seed); /* not cryptographic */
void sha256(const void *p, size_t len, uint8_t ret[32]);
void md5(const void *p, size_t len, uint8_t ret[16]); /* what protocols demand, no more */
void hmac_sha256(const void *key, size_t key_len, const void *p, size_t len, uint8_t ret[32]);

/* Lower-case hex, NUL-terminated; ret has 2 * len + 1 bytes. */
void hex_encode(const void *p, size_t len, char *ret);
/* Exactly 2 * len hex digits; -EINVAL otherwise. */
errint_t hex_decode(const char *s, void *ret, size_t len);

/* Base64 with padding, NUL-terminated; ret has BASE64_LEN(len) + 1 bytes. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)
void base64_encode(const void *p, size_t len, char *ret);
/* -EINVAL for anything but whole base64, -ENOBUFS when more than max bytes come out. */
errint_t base64_decode(const char *s, void *ret, size_t max, size_t *ret_len);

#endif
