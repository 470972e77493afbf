/* SPDX-License-Identifier: MIT */
/*
 * Mutexes with a rank. A thread may only take a lock of a higher rank than all it holds (the
 * order, outermost first, is the enum below and docs/THREADS.md). Debug builds (no NDEBUG) abort
 * with both names when the order is broken.
 */
#ifndef ASTRA_BASE_LOCK_H
#define ASTRA_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	RANK_CTL = 10,
	RANK_TIER = 20,
	RANK_VFS = 30,	     /* vfs tables: handles, dirty list, parked calls */
	RANK_AHEAD = 36,     /* vfs: series of small files */
	RANK_INODE = 40,     /* vfs per-inode data path */
	RANK_META_W = 60,    /* the index writer */
	RANK_JOB = 70,	     /* job graph (entered from index commit hooks) */
	RANK_JOB_FRONT = 72, /* many changes a second? */
	RANK_JOB_PARTS = 73, /* the lanes of one transfer */
	RANK_META = 74,	     /* index internals: sync points, reader pool */
	RANK_OPEN = 76,	 /* vfs: which inodes are open (asked by jobs inside index transactions) */
	RANK_STAGE = 78, /* staging table, quota (also inside index transactions) */
	RANK_STAGE_F = 79, /* one staging file */
	RANK_STORE = 80,   /* layers and drivers */
	RANK_STORE_D = 82,
	RANK_NET = 84, /* idle connections */
	RANK_BUFS = 86,
	RANK_POOL = 90,
	RANK_NOTIFY = 92,
	RANK_COUNT = 94,
	RANK_LOG = 99,
};

struct lock {
	pthread_mutex_t m;
	const char *name; /* a literal */
	int rank;
	pthread_t owner; /* valid while held */
	bool held;
};

void lock_init(struct lock *l, enum lock_rank rank, const char *name);
void lock_done(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);
/* Aborts in debug builds unless the calling thread holds l. */
void lock_assert_held(const struct lock *l);
/* Aborts in debug builds when the calling thread holds any lock: before network I/O, replies and
 * callbacks. */
void lock_assert_none(void);

/* Condition on CLOCK_MONOTONIC. cond_wait_until returns false at the deadline (mono ns). */
void cond_init(pthread_cond_t *c);
void cond_wait(pthread_cond_t *c, struct lock *l);
bool cond_wait_until(pthread_cond_t *c, struct lock *l, int64_t mono_ns);

static inline struct lock *lock_scope_take_(struct lock *l)
{
	lock_take(l);
	return l;
}
static inline void lock_scope_drop_(struct lock **l)
{
	lock_drop(*l);
}
/* LOCKED(&x->lock); holds it to the end of the enclosing block. */
#define LOCKED_CAT_(a, b) a##b
#define LOCKED_NAME_(n)	  LOCKED_CAT_(locked_, n)
#define LOCKED(l)                                                                                  \
	__attribute__((cleanup(lock_scope_drop_), unused)) struct lock *LOCKED_NAME_(__LINE__) =   \
		lock_scope_take_(l)

#endif
