/* SPDX-License-Identifier: MIT */
/* Private to src/meta: rows as bytes. Compact, because there may be ten million of them. */
#ifndef ASTRA_META_ROW_H
#define ASTRA_META_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "astra/meta.h"

#define ROW_INODE_MAX  8192u
#define ROW_ACCESS_MAX 1024u
#define ROW_TOTALS_MAX 128u

/* Encoders return the length; the buffer must hold the maximum above. Decoders return -EBADMSG for
 * what no encoder made. */
size_t row_inode_encode(const struct meta_inode *in, uint8_t buf[ROW_INODE_MAX]);
errint_t row_inode_decode(uint64_t ino, const void *p, size_t len, struct meta_inode *ret);
/* Only the kind, without decoding; 0 for damage. */
enum meta_kind row_inode_kind(const void *p, size_t len);

size_t row_access_encode(const struct meta_access *a, uint8_t buf[ROW_ACCESS_MAX]);
errint_t row_access_decode(const void *p, size_t len, struct meta_access *ret);

size_t row_totals_encode(const struct meta_totals *d, uint8_t buf[ROW_TOTALS_MAX]);
errint_t row_totals_decode(const void *p, size_t len, struct meta_totals *ret);

#endif
