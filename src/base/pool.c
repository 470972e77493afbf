/* SPDX-License-Identifier: MIT */
/*
 * A bounded set of worker threads, shares with three lanes each, and timers.
 *
 *	post ----> share: lane FIFO (foreground, sync, background) --+
 *	                 ^                                           +--> an idle worker runs fn
 *	post_at -> heap -+ when due, by the keeper                   |
 *	                         ready: shares that may run one now -+
 *
 * Shares. A share runs at most `max` tasks at a time, whatever else there is. Tasks that may hang
 * on the same thing (a cloud) are in one share: they hold each other up, and nobody else, for there
 * may be as many threads as all shares together can use. Threads beyond those of pool_new are made
 * when a task may run and nobody is idle, and end when they were idle for a while.
 *
 * Lanes. A higher lane of a share goes first. The last of its `max` takes no background task, so
 * that somebody who waits in read(2) finds a worker. A lane that was passed over AGE_MAX times
 * while it had something to do goes first once, so that a flood in a higher lane cannot stop it;
 * even then at most max - 1 workers run background tasks. A share of one has nothing to keep back.
 *
 * Timers. Armed tasks form a pairing heap through links in the task itself: nothing is allocated.
 * A thread that runs no task, the keeper, sleeps until the first of them is due; it also makes and
 * joins the other threads, so that a post never does.
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
#define IDLE_NS (10 * NS_PER_S) /* then a thread beyond the first ones ends */

TAILQ_HEAD(task_list, pool_task);

struct pool_share { /* all under the pool's lock, but for max */
	TAILQ_ENTRY(pool_share) link, ready;
	struct task_list lane[LANE_COUNT];
	unsigned queued[LANE_COUNT];
	unsigned passed_over[LANE_COUNT];
	unsigned busy, busy_background;
	unsigned max;  /* constant */
	bool is_ready; /* on the list */
};

struct thread {
	TAILQ_ENTRY(thread) link;
	pthread_t id;
	struct pool *pool;
};

struct pool {
	struct lock lock;	    /* RANK_POOL */
	pthread_cond_t wake;	    /* sleepers */
	pthread_cond_t wake_keeper; /* a nearer timer, a thread is wanted or has ended, stop */
	struct {
		TAILQ_HEAD(, pool_share) all, ready;
		struct pool_share common;
		struct pool_task *timers;   /* root of the heap: the first due */
		unsigned most;		    /* threads that all shares together can use */
		unsigned alive, sleepers;   /* workers */
		TAILQ_HEAD(, thread) ended; /* to be joined */
		unsigned named;		    /* threads so far */
		bool stop, keeper_ends;
		int64_t keeper_until; /* it sleeps, if it does; monotonic */
	} shared;		      /* lock */
	pthread_t keeper;
	bool has_keeper; /* pool_new and pool_destroy only */
	unsigned count;	 /* constant: threads that stay */
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

/* ---- shares and lanes ---- */

static struct pool_share *share_of(struct pool *p, const struct pool_task *t)
{
	return t->share ? t->share : &p->shared.common;
}

static void share_init_locked(struct pool *p, struct pool_share *s, unsigned max)
{
	for (unsigned i = 0; i < LANE_COUNT; i++)
		TAILQ_INIT(&s->lane[i]);
	s->max = max;
	p->shared.most += max;
	TAILQ_INSERT_TAIL(&p->shared.all, s, link);
}

/* Whether one more worker may take something from a lane now. */
static bool lane_open_locked(const struct pool *p, const struct pool_share *s, unsigned lane)
{
	if (!s->queued[lane] || s->busy >= s->max)
		return false;
	if (lane != LANE_BACKGROUND || p->shared.stop || s->max == 1)
		return true;
	if (s->busy + 1 < s->max)
		return true;
	return s->passed_over[lane] >= AGE_MAX && s->busy_background + 1 < s->max;
}

/* Puts s on or off the list of those that may run something, after a change. Last when it was not
 * on it: shares take turns. */
static void share_look_locked(struct pool *p, struct pool_share *s)
{
	bool open = false;

	lock_assert_held(&p->lock);
	for (unsigned i = 0; i < LANE_COUNT; i++)
		open |= lane_open_locked(p, s, i);
	if (open && !s->is_ready)
		TAILQ_INSERT_TAIL(&p->shared.ready, s, ready);
	else if (!open && s->is_ready)
		TAILQ_REMOVE(&p->shared.ready, s, ready);
	s->is_ready = open;
}

static void enqueue_locked(struct pool *p, struct pool_task *t)
{
	struct pool_share *s = share_of(p, t);

	lock_assert_held(&p->lock);
	assert(!t->queued && !t->armed);
	TAILQ_INSERT_TAIL(&s->lane[t->lane], t, link);
	s->queued[t->lane]++;
	t->queued = true;
	share_look_locked(p, s);
}

static void dequeue_locked(struct pool *p, struct pool_task *t)
{
	struct pool_share *s = share_of(p, t);

	lock_assert_held(&p->lock);
	assert(t->queued && s->queued[t->lane] > 0);
	TAILQ_REMOVE(&s->lane[t->lane], t, link);
	s->queued[t->lane]--;
	t->queued = false;
	share_look_locked(p, s);
}

static unsigned lane_pick_locked(struct pool *p, struct pool_share *s)
{
	unsigned lane = LANE_COUNT;

	for (unsigned i = 0; i < LANE_COUNT; i++) {
		if (!lane_open_locked(p, s, i))
			continue;
		if (lane == LANE_COUNT ||
			(s->passed_over[i] >= AGE_MAX && s->passed_over[lane] < AGE_MAX))
			lane = i;
	}
	assert(lane < LANE_COUNT);
	for (unsigned i = lane + 1; i < LANE_COUNT; i++) {
		if (s->queued[i])
			s->passed_over[i]++;
	}
	s->passed_over[lane] = 0;
	return lane;
}

/* The next task, counted as running; NULL when none may run. */
static struct pool_task *pick_locked(struct pool *p)
{
	struct pool_share *s = TAILQ_FIRST(&p->shared.ready);
	struct pool_task *t;

	if (!s)
		return NULL;
	t = TAILQ_FIRST(&s->lane[lane_pick_locked(p, s)]);
	s->busy++;
	s->busy_background += t->lane == LANE_BACKGROUND;
	TAILQ_REMOVE(&p->shared.ready, s, ready);
	s->is_ready = false;
	dequeue_locked(p, t);
	return t;
}

/* ---- workers ---- */

/* Somebody is to run what is ready. */
static void wake_one_locked(struct pool *p)
{
	if (TAILQ_EMPTY(&p->shared.ready))
		return;
	if (p->shared.sleepers)
		pthread_cond_signal(&p->wake);
	else if (p->shared.alive < p->shared.most)
		pthread_cond_signal(&p->wake_keeper);
}

static void run_locked(struct pool *p, struct pool_task *t)
{
	void (*fn)(struct pool_task * t) = t->fn;
	struct pool_share *s = share_of(p, t);
	bool background = t->lane == LANE_BACKGROUND;

	wake_one_locked(p);
	lock_drop(&p->lock);
	fn(t);
	lock_assert_none();
	lock_take(&p->lock);
	s->busy--;
	s->busy_background -= background;
	share_look_locked(p, s);
}

/* False when the thread is not needed any more. */
static bool sleep_locked(struct pool *p)
{
	bool woken = true;

	p->shared.sleepers++;
	if (p->shared.alive > p->count)
		woken = cond_wait_until(&p->wake, &p->lock, clock_mono_ns() + IDLE_NS);
	else
		cond_wait(&p->wake, &p->lock);
	p->shared.sleepers--;
	return woken || p->shared.alive <= p->count || !TAILQ_EMPTY(&p->shared.ready);
}

static void *worker(void *arg)
{
	struct thread *self = arg;
	struct pool *p = self->pool;
	struct pool_task *t;

	lock_take(&p->lock);
	for (;;) {
		t = pick_locked(p);
		if (t)
			run_locked(p, t);
		else if (p->shared.stop || !sleep_locked(p))
			break;
	}
	p->shared.alive--;
	TAILQ_INSERT_TAIL(&p->shared.ended, self, link);
	pthread_cond_signal(&p->wake_keeper);
	if (!p->shared.alive && p->shared.stop)
		pthread_cond_broadcast(&p->wake); /* pool_destroy */
	lock_drop(&p->lock);
	return NULL;
}

/* Signals are for the main thread: ours are born with all of them blocked. */
static bool thread_begin(pthread_t *ret, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	bool ok;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ok = pthread_create(ret, NULL, fn, arg) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

static bool worker_add_locked(struct pool *p)
{
	struct thread *th = calloc(1, sizeof(*th));
	char name[16];

	if (!th)
		return false;
	th->pool = p;
	if (!thread_begin(&th->id, worker, th)) {
		free(th);
		return false;
	}
	p->shared.alive++;
	(void)snprintf(name, sizeof(name), "%s-%u", p->name, p->shared.named++ % 1000);
	(void)pthread_setname_np(th->id, name);
	return true;
}

/* ---- the keeper ---- */

static void fire_timers_locked(struct pool *p)
{
	int64_t now = p->shared.timers ? clock_mono_ns() : 0;
	struct pool_task *t;

	while ((t = p->shared.timers) && t->due_mono_ns <= now) {
		timer_remove_locked(p, t);
		enqueue_locked(p, t);
		wake_one_locked(p);
	}
}

/* Drops the lock meanwhile. */
static void join_locked(struct pool *p, struct thread *th)
{
	TAILQ_REMOVE(&p->shared.ended, th, link);
	lock_drop(&p->lock);
	pthread_join(th->id, NULL);
	free(th);
	lock_take(&p->lock);
}

static void *keeper(void *arg)
{
	struct pool *p = arg;
	struct thread *th;

	lock_take(&p->lock);
	while (!p->shared.keeper_ends) {
		int64_t again = 0; /* no thread can be had now */

		fire_timers_locked(p);
		if ((th = TAILQ_FIRST(&p->shared.ended))) {
			join_locked(p, th);
			continue;
		}
		if (!TAILQ_EMPTY(&p->shared.ready) && !p->shared.sleepers &&
			p->shared.alive < p->shared.most) {
			/* The new one takes a task, and wakes the next while there are more. */
			if (!worker_add_locked(p))
				again = clock_mono_ns() + NS_PER_S / 10;
		}
		if (p->shared.timers && (!again || p->shared.timers->due_mono_ns < again))
			again = p->shared.timers->due_mono_ns;
		p->shared.keeper_until = again ? again : INT64_MAX;
		if (again)
			(void)cond_wait_until(&p->wake_keeper, &p->lock, again);
		else
			cond_wait(&p->wake_keeper, &p->lock);
	}
	lock_drop(&p->lock);
	return NULL;
}

/* ---- the face ---- */

struct pool *pool_new(unsigned threads, const char *name)
{
	struct pool *p;
	bool ok = true;

	assert(threads >= 2);
	assert(name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	lock_init(&p->lock, RANK_POOL, "pool");
	cond_init(&p->wake);
	cond_init(&p->wake_keeper);
	TAILQ_INIT(&p->shared.all);
	TAILQ_INIT(&p->shared.ready);
	TAILQ_INIT(&p->shared.ended);
	p->count = threads;
	lock_take(&p->lock);
	share_init_locked(p, &p->shared.common, threads);
	for (unsigned i = 0; ok && i < threads; i++)
		ok = worker_add_locked(p);
	lock_drop(&p->lock);
	ok = ok && thread_begin(&p->keeper, keeper, p);
	p->has_keeper = ok;
	if (!ok)
		return pool_destroy(p);
	(void)pthread_setname_np(p->keeper, p->name);
	return p;
}

struct pool *pool_destroy(struct pool *p)
{
	struct pool_share *s;
	struct thread *th;

	if (!p)
		return NULL;
	lock_take(&p->lock);
	p->shared.stop = true;
	while (p->shared.timers)
		timer_remove_locked(p, p->shared.timers);
	TAILQ_FOREACH (s, &p->shared.all, link)
		share_look_locked(p, s);
	pthread_cond_broadcast(&p->wake);
	/* The workers first: while they end, the keeper still makes threads for what they post. */
	while (p->shared.alive)
		cond_wait(&p->wake, &p->lock);
	p->shared.keeper_ends = true;
	pthread_cond_broadcast(&p->wake_keeper);
	lock_drop(&p->lock);
	if (p->has_keeper)
		pthread_join(p->keeper, NULL);
	lock_take(&p->lock);
	while ((th = TAILQ_FIRST(&p->shared.ended)))
		join_locked(p, th);
	assert(TAILQ_EMPTY(&p->shared.ready));
	lock_drop(&p->lock);
	while ((s = TAILQ_FIRST(&p->shared.all))) {
		TAILQ_REMOVE(&p->shared.all, s, link);
		if (s != &p->shared.common)
			free(s);
	}
	pthread_cond_destroy(&p->wake);
	pthread_cond_destroy(&p->wake_keeper);
	lock_done(&p->lock);
	free(p);
	return NULL;
}

struct pool_share *pool_share_new(struct pool *p, unsigned max)
{
	struct pool_share *s = calloc(1, sizeof(*s));
	LOCKED(&p->lock);

	assert(max >= 1);
	if (s)
		share_init_locked(p, s, max);
	return s;
}

void pool_task_init(struct pool_task *t, enum pool_lane lane, void (*fn)(struct pool_task *t))
{
	assert((unsigned)lane < LANE_COUNT);
	assert(fn);
	*t = (struct pool_task){.fn = fn, .lane = lane};
}

void pool_task_share(struct pool_task *t, struct pool_share *s)
{
	assert(!t->queued && !t->armed);
	t->share = s;
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
	if (mono_ns < p->shared.keeper_until)
		pthread_cond_signal(&p->wake_keeper);
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
	struct pool_share *s;
	unsigned n = 0;
	LOCKED(&p->lock);

	assert((unsigned)lane < LANE_COUNT);
	TAILQ_FOREACH (s, &p->shared.all, link)
		n += s->queued[lane];
	return n;
}

unsigned pool_share_queued(struct pool *p, const struct pool_share *s, enum pool_lane lane)
{
	LOCKED(&p->lock);

	assert((unsigned)lane < LANE_COUNT);
	return (s ? s : &p->shared.common)->queued[lane];
}
