/* SPDX-License-Identifier: MIT */
/*
 * struct buf: a growing byte buffer born with a maximum. struct bufs: the one bounded pool of
 * transfer buffers that all jobs and reads share.
 */
#ifndef ASTRA_BASE_BUF_H
#define ASTRA_BASE_BUF_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_err.h"

struct buf {
	char *p; /* owned; NUL-terminated after every successful call; may be NULL if len 0 */
	size_t len, cap; /* cap without the NUL */
	size_t max;
	errint_t failed; /* sticky: -ENOBUFS over max, -ENOMEM */
};

#define BUF_INIT(max_bytes)                                                                        \
	{                                                                                          \
		.max = (max_bytes)                                                                 \
	}

errint_t buf_add(struct buf *b, const void *p, size_t len);
errint_t buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
errint_t buf_adds(struct buf *b, const char *s);
void buf_reset(struct buf *b); /* len 0, failure forgotten, memory kept */
void buf_done(struct buf *b);
#define cleanup_buf __attribute__((cleanup(buf_done)))

/* ---- transfer buffers ---- */

struct bufs; /* opaque */

/* count buffers of size bytes each, mapped when first used; count >= 2. Lanes: buffers kept back
 * for foreground work so that background transfers never take the last one. */
struct bufs *bufs_new(unsigned count, size_t size);
void bufs_destroy(struct bufs *b); /* all buffers must be back, nobody waiting; NULL is fine */
size_t bufs_size(const struct bufs *b);
unsigned bufs_count(const struct bufs *b);
unsigned bufs_free(const struct bufs *b);

/* Takes a buffer or returns NULL at once. background callers leave at least one for the others. */
void *bufs_try_take(struct bufs *b, bool background);
/* Half of a buffer, of bufs_half() bytes: the other half of one that was taken so, or (unless
 * `other`) one of a free buffer, which then is not free until both are given back. NULL when there
 * is none. For foreground work. */
void *bufs_try_half(struct bufs *b, bool other);
size_t bufs_half(const struct bufs *b);
/* Two free ones that are adjacent, of twice the size; each is given back by itself. NULL when there
 * are none. For foreground work. */
void *bufs_try_two(struct bufs *b);
/* The largest piece that is to be had in one: adjacent buffers, a quarter and at least two of all
 * left to the others. 0 = none. */
size_t bufs_run_max(const struct bufs *b);
/* *ret: adjacent buffers of bytes together, for owner. -EAGAIN while not all of them are free: they
 * are kept for owner as they come back, until it asks again, or gives up by bufs_give_run. -EBUSY:
 * another owner has, or waits for, such a piece. */
errint_t bufs_try_run(struct bufs *b, size_t bytes, const void *owner, void **ret);
void bufs_give_run(struct bufs *b, const void *owner);
/* Gives it back, or a half; its memory may be returned to the kernel. */
void bufs_give(struct bufs *b, void *p);
/* Returns the memory of free buffers unused for idle_ns to the kernel. Each bufs_give does so for
 * one that rested for a second; a timer that calls this lets memory fall when all work ended. */
void bufs_trim(struct bufs *b, int64_t idle_ns);

#endif
