/* SPDX-License-Identifier: MIT */
/*
 * A bounded set of worker threads with shares, lanes and timers. A task is one bounded piece of
 * work; it never waits for another task of the same pool. Queues are lists threaded through the
 * caller's own struct pool_task, so posting allocates nothing and cannot fail.
 */
#ifndef ASTRA_BASE_POOL_H
#define ASTRA_BASE_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum pool_lane {
	LANE_FOREGROUND, /* somebody waits in read(2) */
	LANE_SYNC,	 /* fsync, rename, unmount */
	LANE_BACKGROUND, /* uploads, migrations, the engine */
	LANE_COUNT,
};

/* Tasks at a time for what is far away, by those for what is near: they mostly wait. */
#define POOL_WIDER 4

struct pool;	   /* opaque */
struct pool_share; /* opaque */

struct pool_task {
	TAILQ_ENTRY(pool_task) link; /* this and all below: the pool's, under its lock */
	struct pool_task *heap_child, *heap_next, *heap_prev; /* of an armed timer */
	void (*fn)(struct pool_task *t);
	struct pool_share *share; /* NULL: the common one */
	int64_t due_mono_ns;	  /* of an armed timer */
	enum pool_lane lane;
	bool queued, armed; /* never both */
};

/* At least 2 threads, which is also how many tasks of the common share run at a time: the last one
 * is not for background tasks, unless that lane was passed over many times in a row. name is a
 * thread name prefix. NULL when threads or memory are lacking. */
struct pool *pool_new(unsigned threads, const char *name);
/* Runs what is queued (also what those tasks still post), drops timers, joins. NULL is fine.
 * Returns NULL. No other thread may use the pool from here on. */
struct pool *pool_destroy(struct pool *p);

void pool_task_init(struct pool_task *t, enum pool_lane lane, void (*fn)(struct pool_task *t));
/* A share runs at most max >= 1 tasks at a time, and may do so whatever the others do: there are
 * threads for it. For tasks that may hang on the same thing. Freed with the pool; NULL when memory
 * is lacking. Any thread. */
struct pool_share *pool_share_new(struct pool *p, unsigned max);
/* Puts t into a share (NULL: the common one); not while it is queued or armed. */
void pool_task_share(struct pool_task *t, struct pool_share *s);
/* Queues t, disarming its timer; returns false (and does nothing) when it is queued already. Once
 * fn was entered t may be posted again, also from fn itself, and may be freed by fn. */
bool pool_post(struct pool *p, struct pool_task *t);
/* Arms or re-arms a timer that posts t at mono_ns. Nothing when t is queued (it runs sooner) or
 * the pool is being destroyed. */
void pool_post_at(struct pool *p, struct pool_task *t, int64_t mono_ns);
/* Disarms or dequeues t. True when it will not run; false when it runs now or was not queued. */
bool pool_cancel(struct pool *p, struct pool_task *t);
unsigned pool_threads(const struct pool *p);
unsigned pool_queued(struct pool *p, enum pool_lane lane);
/* The same of one share (NULL: the common one). */
unsigned pool_share_queued(struct pool *p, const struct pool_share *s, enum pool_lane lane);

#endif
