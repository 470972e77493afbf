/* SPDX-License-Identifier: MIT */
/* One step of a strict UTF-8 decoder: no overlong forms, no surrogates, nothing over U+10FFFF. */
#ifndef ASTRA_SRC_BASE_UTF8_PRIV_H
#define ASTRA_SRC_BASE_UTF8_PRIV_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at s (1..4) and its code point, or 0 when the bytes are not UTF-8. */
static inline size_t utf8_step(const unsigned char *s, size_t len, uint32_t *ret)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = s[0];
	size_t n;

	if (c < 0x80)
		n = 1;
	else if ((c & 0xe0) == 0xc0)
		n = 2, c &= 0x1f;
	else if ((c & 0xf0) == 0xe0)
		n = 3, c &= 0x0f;
	else if ((c & 0xf8) == 0xf0)
		n = 4, c &= 0x07;
	else
		return 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

#endif
