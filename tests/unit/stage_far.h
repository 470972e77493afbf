/* SPDX-License-Identifier: MIT */
/* The calls of staging with all offsets moved to just before 32 MiB, so that a test of small files
 * goes back and forth over the border of what one page of entries speaks for. */
#ifndef STAGE_FAR_H
#define STAGE_FAR_H

#include <errno.h>

#include "astra/stage.h"

#define FAR_BY (UINT64_C(32) * 1024 * 1024 - 5 * STAGE_CHUNK)

static inline uint64_t far_size(struct stage_file *f)
{
	uint64_t n = stage_size(f);

	return n < FAR_BY ? 0 : n - FAR_BY;
}

/* Asked before an upload: what a reset made short gets back what lies before the test's bytes. */
static inline uint64_t far_seq(struct stage_file *f)
{
	uint64_t a, b;

	if (stage_size(f) < FAR_BY && stage_dirty(f))
		(void)stage_truncate(f, FAR_BY, &a, &b);
	return stage_seq(f);
}

static inline errint_t far_miss(errint_t r, uint64_t *off)
{
	if (r == -ENODATA)
		*off -= FAR_BY;
	return r;
}

static inline bool far_next_dirty(
	struct stage_file *f, uint64_t off, uint64_t *ret_off, uint64_t *ret_len)
{
	bool r = stage_next_dirty(f, off + FAR_BY, ret_off, ret_len);

	if (r)
		*ret_off -= FAR_BY;
	return r;
}

#define stage_next_dirty(f, o, a, b)	far_next_dirty(f, o, a, b)
#define stage_size(f)			far_size(f)
#define stage_seq(f)			far_seq(f)
#define stage_read(f, o, p, l, n, a, b) far_miss(stage_read(f, (o) + FAR_BY, p, l, n, a, b), a)
#define stage_write(f, o, p, l, a, b)	far_miss(stage_write(f, (o) + FAR_BY, p, l, a, b), a)
#define stage_fill(f, e, o, p, l)	stage_fill(f, e, (o) + FAR_BY, p, l)
#define stage_truncate(f, n, a, b)	stage_truncate(f, (n) + FAR_BY, a, b)
#define stage_punch(f, o, l, a, b)	far_miss(stage_punch(f, (o) + FAR_BY, l, a, b), a)
#define stage_allocate(f, o, l, k)	stage_allocate(f, (o) + FAR_BY, l, k)
#define stage_clean(f, q, e, n)		stage_clean(f, q, e, (n) + FAR_BY)
#define stage_base(f, e, n)		stage_base(f, e, (n) + FAR_BY)

#endif
