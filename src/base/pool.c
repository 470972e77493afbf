/* SPDX-License-Identifier: MIT */
/*
 * A bounded set of worker threads, three lanes and timers.
 *
 *	post ----> lane FIFO (foreground, sync, background) ----+
 *	                 ^                                      +--> an idle worker runs fn
 *	post_at -> heap -+ when due, by any worker that looks --+
 *
 * Lanes. A higher lane goes first. The last idle worker takes no background task, so that somebody
 * who waits in read(2) finds a worker. A lane that was passed over AGE_MAX times while it had
 * something to do goes first once, so that a flood in a higher lane cannot stop it; even then at
 * most threads - 1 workers run background tasks.
 *
 * Timers. Armed tasks form a pairing heap through links in the task itself: nothing is allocated.
 * One idle worker at a time, the keeper, sleeps until the first of them is due; it has its own
 * condition so that a nearer timer can reach it and nobody else.
 *
 * Wakeups. A post wakes one sleeper. Signals can fall together (two posts, one sleeper woken), so
 * a worker that takes a task wakes the next one while there is something left to do: no task waits
 * beside an idle worker that may run it.
 *
 * A task belongs to the pool from post to the entry of its fn, and to fn afterwards: the pool does
 * not touch it again, so that fn may post it anew or free it.
 */
#include "astra/base_pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"

#define AGE_MAX 16

TAILQ_HEAD(task_list, pool_task);

struct pool {
	struct lock lock;	    /* RANK_POOL */
	pthread_cond_t wake;	    /* plain sleepers */
	pthread_cond_t wake_keeper; /* the one that sleeps until the next timer */
	struct {
		struct task_list lane[LANE_COUNT];
		unsigned queued[LANE_COUNT];
		unsigned passed_over[LANE_COUNT];
		struct pool_task *timers; /* root of the heap: the first due */
		unsigned busy, busy_background;
		unsigned sleepers; /* without the keeper */
		bool keeper;
		bool stop;
	} shared;	    /* lock */
	pthread_t *threads; /* owned; constant */
	unsigned count;	    /* constant */
	unsigned started;   /* pool_new and pool_destroy only */
	char name[12];
};

/* ---- the timer heap ---- */

/* Joins two heaps; either may be NULL. The roots have no siblings. */
static struct pool_task *heap_join(struct pool_task *a, struct pool_task *b)
{
	struct pool_task *swap;

	if (!a || !b)
		return a ? a : b;
	if (b->due_mono_ns < a->due_mono_ns) {
		swap = a;
		a = b;
		b = swap;
	}
	b->heap_prev = a;
	b->heap_next = a->heap_child;
	if (a->heap_child)
		a->heap_child->heap_prev = b;
	a->heap_child = b;
	return a;
}

/* Joins a list of siblings into one heap: in pairs first, which keeps later removals cheap. */
static struct pool_task *heap_join_all(struct pool_task *first)
{
	struct pool_task *pairs = NULL, *root = NULL;

	while (first) {
		struct pool_task *a = first, *b = a->heap_next;

		first = b ? b->heap_next : NULL;
		a->heap_prev = a->heap_next = NULL;
		if (b)
			b->heap_prev = b->heap_next = NULL;
		a = heap_join(a, b);
		a->heap_next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct pool_task *a = pairs;

		pairs = a->heap_next;
		a->heap_next = NULL;
		root = heap_join(root, a);
	}
	return root;
}

static void timer_add_locked(struct pool *p, struct pool_task *t)
{
	assert(!t->armed && !t->queued);
	t->heap_child = t->heap_next = t->heap_prev = NULL;
	t->armed = true;
	p->shared.timers = heap_join(p->shared.timers, t);
}

static void timer_remove_locked(struct pool *p, struct pool_task *t)
{
	struct pool_task *rest = heap_join_all(t->heap_child);

	assert(t->armed);
	if (p->shared.timers == t) {
		p->shared.timers = rest;
	} else {
		/* heap_prev is the parent for a first child, else the sibling before. */
		if (t->heap_prev->heap_child == t)
			t->heap_prev->heap_child = t->heap_next;
		else
			t->heap_prev->heap_next = t->heap_next;
		if (t->heap_next)
			t->heap_next->heap_prev = t->heap_prev;
		p->shared.timers = heap_join(p->shared.timers, rest);
	}
	t->heap_child = t->heap_next = t->heap_prev = NULL;
	t->armed = false;
}

/* ---- lanes ---- */

static void enqueue_locked(struct pool *p, struct pool_task *t)
{
	lock_assert_held(&p->lock);
	assert(!t->queued && !t->armed);
	TAILQ_INSERT_TAIL(&p->shared.lane[t->lane], t, link);
	p->shared.queued[t->lane]++;
	t->queued = true;
}

static void dequeue_locked(struct pool *p, struct pool_task *t)
{
	lock_assert_held(&p->lock);
	assert(t->queued && p->shared.queued[t->lane] > 0);
	TAILQ_REMOVE(&p->shared.lane[t->lane], t, link);
	p->shared.queued[t->lane]--;
	t->queued = false;
}

static bool any_queued_locked(const struct pool *p)
{
	for (unsigned i = 0; i < LANE_COUNT; i++) {
		if (p->shared.queued[i])
			return true;
	}
	return false;
}

static void fire_timers_locked(struct pool *p)
{
	struct pool_task *t = p->shared.timers;
	int64_t now;

	if (!t)
		return;
	now = clock_mono_ns();
	while ((t = p->shared.timers) && t->due_mono_ns <= now) {
		timer_remove_locked(p, t);
		enqueue_locked(p, t);
	}
}

/* Whether the calling worker, which is idle, may take something from a lane now. */
static bool lane_open_locked(const struct pool *p, unsigned lane)
{
	if (!p->shared.queued[lane])
		return false;
	if (lane != LANE_BACKGROUND || p->shared.stop)
		return true;
	if (p->shared.busy + 1 < p->count)
		return true;
	return p->shared.passed_over[lane] >= AGE_MAX && p->shared.busy_background + 1 < p->count;
}

static struct pool_task *pick_locked(struct pool *p)
{
	unsigned lane = LANE_COUNT;
	struct pool_task *t;

	for (unsigned i = 0; i < LANE_COUNT; i++) {
		if (!lane_open_locked(p, i))
			continue;
		if (lane == LANE_COUNT || (p->shared.passed_over[i] >= AGE_MAX &&
						  p->shared.passed_over[lane] < AGE_MAX))
			lane = i;
	}
	if (lane == LANE_COUNT)
		return NULL;
	for (unsigned i = lane + 1; i < LANE_COUNT; i++) {
		if (p->shared.queued[i])
			p->shared.passed_over[i]++;
	}
	p->shared.passed_over[lane] = 0;
	t = TAILQ_FIRST(&p->shared.lane[lane]);
	dequeue_locked(p, t);
	return t;
}

/* ---- sleeping and waking ---- */

static void wake_one_locked(struct pool *p)
{
	if (p->shared.sleepers)
		pthread_cond_signal(&p->wake);
	else if (p->shared.keeper)
		pthread_cond_signal(&p->wake_keeper);
}

static void sleep_locked(struct pool *p)
{
	if (p->shared.timers && !p->shared.keeper) {
		p->shared.keeper = true;
		(void)cond_wait_until(&p->wake_keeper, &p->lock, p->shared.timers->due_mono_ns);
		p->shared.keeper = false;
	} else {
		p->shared.sleepers++;
		cond_wait(&p->wake, &p->lock);
		p->shared.sleepers--;
	}
}

static void run_locked(struct pool *p, struct pool_task *t)
{
	void (*fn)(struct pool_task * t) = t->fn;
	bool background = t->lane == LANE_BACKGROUND;

	p->shared.busy++;
	p->shared.busy_background += background;
	assert(p->shared.busy <= p->count);
	if (any_queued_locked(p) || (p->shared.timers && !p->shared.keeper))
		wake_one_locked(p);
	lock_drop(&p->lock);
	fn(t);
	lock_assert_none();
	lock_take(&p->lock);
	p->shared.busy--;
	p->shared.busy_background -= background;
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct pool_task *t;

	lock_take(&p->lock);
	for (;;) {
		fire_timers_locked(p);
		t = pick_locked(p);
		if (t)
			run_locked(p, t);
		else if (p->shared.stop)
			break;
		else
			sleep_locked(p);
	}
	lock_drop(&p->lock);
	return NULL;
}

/* ---- the face ---- */

/* Signals are for the main thread: workers are born with all of them blocked. */
static bool start_threads(struct pool *p, unsigned threads)
{
	sigset_t all, old;
	bool ok = true;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; ok && i < threads; i++) {
		char name[16];

		ok = pthread_create(&p->threads[i], NULL, worker, p) == 0;
		if (!ok)
			break;
		p->started++;
		(void)snprintf(name, sizeof(name), "%s-%u", p->name, i % 1000);
		(void)pthread_setname_np(p->threads[i], name);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

struct pool *pool_new(unsigned threads, const char *name)
{
	struct pool *p;

	assert(threads >= 2);
	assert(name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->threads = calloc(threads, sizeof(*p->threads));
	if (!p->threads) {
		free(p);
		return NULL;
	}
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	lock_init(&p->lock, RANK_POOL, "pool");
	cond_init(&p->wake);
	cond_init(&p->wake_keeper);
	for (unsigned i = 0; i < LANE_COUNT; i++)
		TAILQ_INIT(&p->shared.lane[i]);
	p->count = threads;
	if (!start_threads(p, threads))
		return pool_destroy(p);
	return p;
}

struct pool *pool_destroy(struct pool *p)
{
	if (!p)
		return NULL;
	lock_take(&p->lock);
	p->shared.stop = true;
	while (p->shared.timers)
		timer_remove_locked(p, p->shared.timers);
	pthread_cond_broadcast(&p->wake);
	pthread_cond_broadcast(&p->wake_keeper);
	lock_drop(&p->lock);
	for (unsigned i = 0; i < p->started; i++)
		pthread_join(p->threads[i], NULL);
	assert(!any_queued_locked(p));
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->wake_keeper);
	lock_done(&p->lock);
	free(p->threads);
	free(p);
	return NULL;
}

void pool_task_init(struct pool_task *t, enum pool_lane lane, void (*fn)(struct pool_task *t))
{
	assert((unsigned)lane < LANE_COUNT);
	assert(fn);
	*t = (struct pool_task){.fn = fn, .lane = lane};
}

bool pool_post(struct pool *p, struct pool_task *t)
{
	LOCKED(&p->lock);
	assert(t->fn);
	if (t->queued)
		return false;
	if (t->armed)
		timer_remove_locked(p, t);
	enqueue_locked(p, t);
	wake_one_locked(p);
	return true;
}

void pool_post_at(struct pool *p, struct pool_task *t, int64_t mono_ns)
{
	LOCKED(&p->lock);
	assert(t->fn);
	if (t->queued || p->shared.stop)
		return;
	if (t->armed)
		timer_remove_locked(p, t);
	t->due_mono_ns = mono_ns;
	timer_add_locked(p, t);
	if (p->shared.timers != t)
		return;
	if (p->shared.keeper)
		pthread_cond_signal(&p->wake_keeper);
	else
		wake_one_locked(p);
}

bool pool_cancel(struct pool *p, struct pool_task *t)
{
	LOCKED(&p->lock);
	if (t->armed) {
		timer_remove_locked(p, t);
		return true;
	}
	if (t->queued) {
		dequeue_locked(p, t);
		return true;
	}
	return false;
}

unsigned pool_threads(const struct pool *p)
{
	return p->count;
}

unsigned pool_queued(struct pool *p, enum pool_lane lane)
{
	LOCKED(&p->lock);
	assert((unsigned)lane < LANE_COUNT);
	return p->shared.queued[lane];
}
