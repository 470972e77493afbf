/* SPDX-License-Identifier: MIT */
/*
 * Mutexes with a rank, and conditions on the monotonic clock.
 *
 * In debug builds (no NDEBUG) each thread keeps a list of the locks that it holds and aborts,
 * naming both, when it takes one whose rank is not above all of them: an inversion is found on
 * its first run, not on the day when two threads meet. Waiting on a condition keeps the lock in
 * the list, since the thread takes nothing while it sleeps.
 *
 * Locks may be dropped in any order. A pthread call that fails here is a bug or damaged memory:
 * abort, in every build.
 */
#include "astra/base_lock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_clock.h"
#include "astra/base_log.h"

/* One more than there are ranks would do: a rank can be held once. */
#define HELD_MAX 32

#ifndef NDEBUG
static _Thread_local struct {
	const struct lock *held[HELD_MAX];
	unsigned count;
	bool dying; /* the report below takes the log's lock */
} own;
#endif

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	char msg[256];
	bool may_log = true;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	(void)dprintf(STDERR_FILENO, "lock: %s\n", msg);
#ifndef NDEBUG
	may_log = !own.dying;
	for (unsigned i = 0; i < own.count; i++)
		may_log = may_log && own.held[i]->rank < RANK_LOG;
	own.dying = true;
#endif
	/* A daemon's standard error leads nowhere. */
	if (may_log)
		log_error("base", "lock: %s", msg);
	abort();
}

static void check(int rc, const struct lock *l, const char *what)
{
	if (rc)
		die("%s of '%s': %s", what, l ? l->name : "?", strerrordesc_np(rc));
}

static void rank_enter(const struct lock *l)
{
#ifndef NDEBUG
	if (own.dying)
		return;
	for (unsigned i = 0; i < own.count; i++) {
		const struct lock *h = own.held[i];

		if (h == l)
			die("'%s' taken twice by one thread", l->name);
		if (h->rank >= l->rank)
			die("order broken: '%s' (rank %d) taken while holding '%s' (rank %d)",
				l->name, l->rank, h->name, h->rank);
	}
	if (own.count == HELD_MAX)
		die("more than %d locks held on taking '%s'", HELD_MAX, l->name);
	own.held[own.count++] = l;
#else
	(void)l;
#endif
}

static void rank_leave(const struct lock *l)
{
#ifndef NDEBUG
	if (own.dying)
		return;
	for (unsigned i = own.count; i-- > 0;) {
		if (own.held[i] != l)
			continue;
		memmove(&own.held[i], &own.held[i + 1], (own.count - i - 1) * sizeof(own.held[0]));
		own.count--;
		return;
	}
	die("'%s' dropped by a thread that does not hold it", l->name);
#else
	(void)l;
#endif
}

static void mark_held(struct lock *l)
{
	l->owner = pthread_self();
	l->held = true;
}

void lock_init(struct lock *l, enum lock_rank rank, const char *name)
{
	*l = (struct lock){.name = name, .rank = (int)rank};
	check(pthread_mutex_init(&l->m, NULL), l, "init");
}

void lock_done(struct lock *l)
{
	check(l->held ? EBUSY : pthread_mutex_destroy(&l->m), l, "destroy");
}

void lock_take(struct lock *l)
{
	/* Before blocking: a deadlock would otherwise hide the report. */
	rank_enter(l);
	check(pthread_mutex_lock(&l->m), l, "lock");
	mark_held(l);
}

void lock_drop(struct lock *l)
{
	rank_leave(l);
	l->held = false;
	check(pthread_mutex_unlock(&l->m), l, "unlock");
}

void lock_assert_held(const struct lock *l)
{
#ifndef NDEBUG
	if (own.dying)
		return;
	for (unsigned i = 0; i < own.count; i++) {
		if (own.held[i] == l)
			return;
	}
	die("'%s' is not held by this thread as it must be", l->name);
#else
	(void)l;
#endif
}

void lock_assert_none(void)
{
#ifndef NDEBUG
	if (own.count)
		die("'%s' is held where no lock may be", own.held[own.count - 1]->name);
#endif
}

void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t a;

	check(pthread_condattr_init(&a), NULL, "condition attributes");
	check(pthread_condattr_setclock(&a, CLOCK_MONOTONIC), NULL, "condition clock");
	check(pthread_cond_init(c, &a), NULL, "condition");
	(void)pthread_condattr_destroy(&a);
}

void cond_wait(pthread_cond_t *c, struct lock *l)
{
	lock_assert_held(l);
	l->held = false;
	check(pthread_cond_wait(c, &l->m), l, "wait");
	mark_held(l);
}

bool cond_wait_until(pthread_cond_t *c, struct lock *l, int64_t mono_ns)
{
	struct timespec ts;
	int rc;

	lock_assert_held(l);
	if (mono_ns < 0)
		mono_ns = 0;
	ts.tv_sec = mono_ns / NS_PER_S;
	ts.tv_nsec = mono_ns % NS_PER_S;
	l->held = false;
	rc = pthread_cond_timedwait(c, &l->m, &ts);
	mark_held(l);
	if (rc == ETIMEDOUT)
		return false;
	check(rc, l, "timed wait");
	return true;
}
