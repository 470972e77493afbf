/* SPDX-License-Identifier: MIT */
/*
 * struct buf: a growing byte buffer with a maximum. The first failure sticks: later adds do
 * nothing and return it, so that a run of adds needs one check at its end. One thread at a time.
 */
#include "astra/base_buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"

/* Room for extra more bytes and the NUL. */
static errint_t buf_reserve(struct buf *b, size_t extra)
{
	size_t want, cap;
	char *p;

	assert(b->len <= b->cap || !b->p);
	if (b->failed)
		return b->failed;
	if (b->len > b->max || extra > b->max - b->len)
		return b->failed = -ENOBUFS;
	want = b->len + extra;
	if (b->p && want <= b->cap)
		return 0;
	cap = MAX_OF(b->cap + b->cap / 2, (size_t)64);
	cap = MIN_OF(MAX_OF(cap, want), MAX_OF(b->max, want));
	if (cap == SIZE_MAX)
		return b->failed = -ENOMEM;
	p = realloc(b->p, cap + 1);
	if (!p)
		return b->failed = -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

errint_t buf_add(struct buf *b, const void *p, size_t len)
{
	errint_t r = buf_reserve(b, len);

	if (r)
		return r;
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
	b->p[b->len] = '\0';
	return 0;
}

errint_t buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

errint_t buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	errint_t r;
	int n;

	/* First into what is free already; most lines fit. */
	r = buf_reserve(b, 0);
	if (r)
		return r;
	va_start(ap, fmt);
	n = vsnprintf(b->p + b->len, b->cap - b->len + 1, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n > b->cap - b->len) {
		b->p[b->len] = '\0';
		r = buf_reserve(b, (size_t)n);
		if (r)
			return r;
		va_start(ap, fmt);
		n = vsnprintf(b->p + b->len, b->cap - b->len + 1, fmt, ap);
		va_end(ap);
	}
	if (n < 0) {
		b->p[b->len] = '\0';
		return b->failed = -EINVAL;
	}
	b->len += (size_t)n;
	assert(b->len <= b->max);
	return 0;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = 0;
	if (b->p)
		b->p[0] = '\0';
}

void buf_done(struct buf *b)
{
	size_t max = b->max;

	free(b->p);
	*b = (struct buf){.max = max};
}
