/* SPDX-License-Identifier: MIT */
/*
 * When a job runs. Ready jobs (no dependency left, committed, delay over) take one of active_max
 * slots and are stepped by pool tasks. A job that waits for a sync point, for a moment or for its
 * back-off gives its slot up.
 *
 * Jobs of the same remotes form a share, with slots and workers of its own: those of a cloud that
 * hangs wait for each other, and for nobody else. What sends no bytes, such as a removal, mostly
 * waits for a cloud that is far away: of these twice as many run there as of others.
 *
 * g.lock protects every list; a step function runs without it, on one thread at a time per job.
 */
#include <assert.h>
#include <stdarg.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_priv.h"

#define TIMER_GRAIN_NS (10 * NS_PER_MS)
#define SMALL_WIDER    2 /* times as many jobs that are small, of a cloud that is far away */
#define TRIM_JOBS      1000
#define FOLLOW_NS      (600 * NS_PER_S)
#define FEW_MAX	       48	       /* of active_max */
#define FILLED_NS      (10 * NS_PER_S) /* of a directory that is not empty, or in the way */

static enum step (*const step_fns[JOB_KIND_N])(struct job *job) = {
	[JOB_UPLOAD] = upload_step,
	[JOB_RELOCATE] = relocate_step,
	[JOB_REMOVE] = remove_step,
	[JOB_DIRMOVE] = dirmove_step,
	[JOB_TRANSITION] = transition_step,
	[JOB_RESTORE] = restore_step,
	[JOB_MARK] = mark_step,
	[JOB_UNMARK] = unmark_step,
	[JOB_ATTR] = attr_step,
	[JOB_EXCHANGE] = exchange_step,
	[JOB_LOOK] = look_step,
};

/* What may follow a state; docs/SEMANTICS.md has the whole matrix. Past its commit point a job does
 * not go back. Directory moves and exchanges copy and remove several objects in turn. */
#define TO(s) (1u << JOB_##s)
static const unsigned may_follow[JOB_STATE_N] = {
	[JOB_QUEUED] = TO(RUNNING) | TO(COMMITTING) | TO(CLEANING) | TO(ROLLING_BACK),
	[JOB_RUNNING] = TO(RUNNING) | TO(COMMITTING) | TO(ROLLING_BACK),
	[JOB_COMMITTING] = TO(RUNNING) | TO(COMMITTING) | TO(VERIFYING) | TO(ROLLING_BACK),
	[JOB_VERIFYING] =
		TO(RUNNING) | TO(COMMITTING) | TO(VERIFYING) | TO(CLEANING) | TO(ROLLING_BACK),
	[JOB_CLEANING] = TO(CLEANING),
	[JOB_ROLLING_BACK] = TO(ROLLING_BACK) | TO(RUNNING) | TO(COMMITTING) | TO(CLEANING),
};

void job_state_set(struct job *job, enum job_state s)
{
	bool several = job->kind == JOB_DIRMOVE || job->kind == JOB_EXCHANGE;
	LOCKED(&job->jobs->g.lock);

	/* The test runs look for this line. */
	if (!several && (may_follow[job->g.state] & 1u << s) == 0)
		log_error("job", "%s %llu: from %s to %s is not in the matrix",
			job_kind_name(job->kind), (unsigned long long)job->id,
			job_state_name(job->g.state), job_state_name(s));
	job->g.state = s;
}

void job_note(struct job *job, const char *fmt, ...)
{
	char *note = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&note, fmt, ap) < 0)
		note = NULL;
	va_end(ap);
	LOCKED(&job->jobs->g.lock);
	free(job->g.note);
	job->g.note = note;
}

void job_outside(struct job *job, bool comes)
{
	LOCKED(&job->jobs->g.lock);
	job->g.outside = true;
	job->g.comes = comes;
}

bool job_barrier_ok(struct job *job, uint64_t txn)
{
	struct jobs *j = job->jobs;

	if (meta_synced(j->conf.meta) >= txn)
		return true;
	job->own.barrier_txn = txn;
	return false;
}

bool err_is_final(errint_t r, const struct err *err)
{
	switch (err->kind) {
	case ERR_RETRY:
	case ERR_THROTTLE:
	case ERR_UNKNOWN:
	case ERR_CANCELLED: /* a deadline; somebody's cancel is seen by its flag */
	case ERR_STALE:	    /* the caller looked already: things moved, look again */
		return false;
	case ERR_NONE:
		return r != -ENOMEM && r != -EAGAIN && r != -EINTR && r != -ENOSPC && r != -EIO;
	default:
		return true;
	}
}

static int64_t backoff_ns(struct job *job)
{
	struct jobs *j = job->jobs;
	int64_t max = j->conf.retry_max_ns != 0 ? j->conf.retry_max_ns : 300 * NS_PER_S;
	unsigned n = MIN_OF(job->own.tries, 16u);
	int64_t cap = MIN_OF((200 * NS_PER_MS) << n, max);

	return cap / 4 + (int64_t)(random_u64() % (uint64_t)(cap * 3 / 4 + 1));
}

/* No request was made, which says nothing about the next one: however often somebody hurried it
 * meanwhile, a job goes on soon after the remote is asked again. While it is being asked, which may
 * take long, thousands may wait: not too often. */
static int64_t refused_ns(const struct err *err)
{
	int64_t least = err->retry_after_ms != 0
				? (int64_t)err->retry_after_ms * NS_PER_MS + 100 * NS_PER_MS
				: NS_PER_S;

	return least + (int64_t)(random_u64() % (uint64_t)(least / 2));
}

static enum step later(struct job *job, errint_t r, const struct err *err)
{
	bool refused = strcmp(err->code, STORE_CODE_BREAKER) == 0;
	char words[JOB_WORDS_MAX];

	job->own.tries += !refused;
	(void)atomic_fetch_add(&job->repeats, 1);
	count_inc(jobs_retried);
	job->own.wake_mono_ns = clock_mono_ns() + (refused ? refused_ns(err) : backoff_ns(job));
	job_note(job, "try %u: %s", job->own.tries, err_text(err, r));
	if (!refused && (job->own.tries == 3 || job->own.tries % 50 == 0))
		log_warn("job", "%s %llu %s: %s; trying on", job_kind_name(job->kind),
			(unsigned long long)job->id, job_words(job, words), err_text(err, r));
	return STEP_LATER;
}

bool job_called_off(const struct job *job)
{
	return atomic_load(&job->cancel) && !atomic_load(&job->jobs->stopping);
}

void job_back_set(struct job *job, bool back)
{
	LOCKED(&job->jobs->g.lock);
	job->g.back = back;
}

/* Who asked for it is not told any more that the job goes on (job_cancel_stands). */
static bool take_cancel(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	bool cancel = atomic_load(&job->cancel);

	job->g.back |= cancel;
	return cancel;
}

enum step job_trouble(struct job *job, errint_t r, const struct err *err)
{
	if (atomic_load(&job->jobs->stopping)) { /* not given up: the journal keeps it */
		job->own.wake_mono_ns = clock_mono_ns();
		return STEP_LATER;
	}
	bool cancel = take_cancel(job);

	if (!cancel && taken_waits(job, r, err))
		return STEP_LATER;
	if (cancel || (err_is_final(r, err) && !job->firm)) {
		job->own.result = cancel ? -ECANCELED : r;
		(void)snprintf(job->own.why, sizeof(job->own.why), "%s",
			cancel ? "cancelled" : err_text(err, r));
		return STEP_DONE;
	}
	return later(job, r, err);
}

enum step job_unrecorded(struct job *job, errint_t r)
{
	struct err err = {0};

	if (atomic_load(&job->jobs->stopping))
		return job_trouble(job, r, &err);
	job->own.unrecorded = true;
	err_set(&err, r, ERR_RETRY, "index: %s", strerror(-r));
	return later(job, r, &err);
}

int64_t job_follow_ns(const struct jobs *j, errint_t r)
{
	if (j->conf.follow_ns != 0)
		return j->conf.follow_ns;
	return r == -ENOTEMPTY || r == -EISDIR || r == -ENOTDIR ? FILLED_NS : FOLLOW_NS;
}

enum step job_follow(struct job *job, errint_t r, const struct err *err)
{
	struct err e = *err;
	char words[JOB_WORDS_MAX];
	int64_t now = clock_mono_ns();

	if (!atomic_load(&job->jobs->stopping))
		atomic_store(&job->cancel, false); /* it comes too late */
	if (!err_is_final(r, err))
		return job_trouble(job, r, err);
	if (job->own.follow_until_ns == 0) {
		job->own.follow_until_ns = now + job_follow_ns(job->jobs, r);
		log_warn("job", "%s %llu %s: %s; it is tried again for a while",
			job_kind_name(job->kind), (unsigned long long)job->id,
			job_words(job, words), err_text(err, r));
	}
	if (now < job->own.follow_until_ns)
		e.kind = ERR_RETRY;
	enum step s = job_trouble(job, r, &e);

	if (s == STEP_LATER)
		job->own.wake_mono_ns =
			MIN_OF(job->own.wake_mono_ns, MAX_OF(job->own.follow_until_ns, now));
	return s;
}

/* ---- shares ---- */

struct share *share_get_locked(struct jobs *j, enum share_kind kind, uint32_t a, uint32_t b)
{
	const struct remote *far = remote_of(j, a), *other = remote_of(j, b);
	bool real = (far != NULL && far->real) || (other != NULL && other->real);
	unsigned threads = pool_threads(j->conf.pool) * (real ? POOL_WIDER : 1);
	unsigned wide = kind == SHARE_JOBS && real ? threads * SMALL_WIDER : threads;
	struct share *s = NULL;

	lock_assert_held(&j->g.lock);
	if (a >= b) { /* in order; one remote alone is b */
		uint32_t swap = a;

		a = a == b ? 0 : b;
		b = swap;
	}
	TAILQ_FOREACH (s, &j->g.shares, link)
		if (s->kind == kind && s->a == a && s->b == b)
			return s;
	s = calloc(1, sizeof(*s));
	if (s != NULL)
		s->pool = pool_share_new(
			j->conf.pool, kind == SHARE_JOBS ? wide : MAX_OF(threads / 2, 1u));
	if (s == NULL || s->pool == NULL) {
		free(s);
		return &j->g.common;
	}
	s->kind = kind;
	s->most = real ? MIN_OF(threads, j->conf.active_max) : j->conf.active_max;
	s->slots = MAX_OF(s->most, real ? wide : 0);
	s->a = a;
	s->b = b;
	TAILQ_INIT(&s->ready);
	TAILQ_INIT(&s->calm);
	TAILQ_INIT(&s->few);
	cond_init(&s->buffer_back);
	TAILQ_INSERT_TAIL(&j->g.shares, s, link);
	return s;
}

/* A request or two that carry nothing. */
static bool is_small(const struct job *job)
{
	return job->kind == JOB_REMOVE || job->kind == JOB_MARK || job->kind == JOB_UNMARK ||
	       job->kind == JOB_ATTR;
}

static void share_leave_locked(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	assert(job->g.active && job->g.share->nactive > 0);
	job->g.active = false;
	job->g.share->nactive--;
	job->g.share->nsmall -= is_small(job);
	job->g.share->nfew -= job->g.counted;
	job->g.counted = false;
	j->g.nactive--;
}

static struct job_list *ready_list(const struct job *job)
{
	struct share *s = job->g.share;

	return job->g.calm ? &s->calm : job->g.few ? &s->few : &s->ready;
}

/* Takes a job off whatever list it is on. */
void sched_unlist_locked(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	if (job->g.on_ready)
		TAILQ_REMOVE(ready_list(job), job, ready);
	else if (job->g.on_barrier)
		TAILQ_REMOVE(&j->g.barrier, job, ready);
	else if (job->g.sleeping)
		TAILQ_REMOVE(&j->g.asleep, job, ready);
	job->g.on_ready = job->g.on_barrier = job->g.sleeping = false;
}

void sched_make_ready_locked(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	if (!j->g.running || job->g.ndeps != 0 || !job->g.committed || job->g.on_ready ||
		job->g.active || job->g.on_barrier)
		return; /* jobs_start looks at all of them */
	if (job->g.sleeping && clock_mono_ns() < job->own.wake_mono_ns && !job->g.soon)
		return;
	sched_unlist_locked(j, job);
	job->g.on_ready = true;
	job->g.share = share_get_locked(j, SHARE_JOBS, job->src_remote, job->dst_remote);
	/* It stands back; uploads are posted late instead. */
	job->g.calm = !job->g.soon && !job->g.begun && is_small(job);
	job->g.few = !job->g.soon && job->g.beside && job->own.phase == 0;
	job->g.ready_ns = clock_mono_ns();
	if (job->g.soon)
		TAILQ_INSERT_HEAD(&job->g.share->ready, job, ready);
	else
		TAILQ_INSERT_TAIL(ready_list(job), job, ready);
}

void sched_hurry_locked(struct jobs *j, struct job *job)
{
	job->g.soon = job->g.nudged = true;
	if (job->g.on_ready)
		sched_unlist_locked(j, job);
	sched_make_ready_locked(j, job);
}

void sched_sleep_locked(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	assert(!job->g.on_ready && !job->g.on_barrier && !job->g.sleeping);
	job->g.sleeping = true;
	TAILQ_INSERT_TAIL(&j->g.asleep, job, ready);
	job->g.next_ns = clock_now_ns() + (job->own.wake_mono_ns - clock_mono_ns());
	if (j->wake_ns == 0 || job->own.wake_mono_ns < j->wake_ns) {
		j->wake_ns = job->own.wake_mono_ns;
		pool_post_at(j->conf.pool, &j->timer, j->wake_ns);
	}
}

/* One timer for all that sleep: a job has none of its own that could outlive it. */
static void timer_task(struct pool_task *t)
{
	struct jobs *j = container_of(t, struct jobs, timer);
	struct job *job = NULL, *next = NULL;
	int64_t now = clock_mono_ns(), wake = 0;

	lock_take(&j->g.lock);
	for (job = TAILQ_FIRST(&j->g.asleep); job != NULL; job = next) {
		next = TAILQ_NEXT(job, ready);
		if (job->own.wake_mono_ns > now) {
			if (wake == 0 || job->own.wake_mono_ns < wake)
				wake = job->own.wake_mono_ns;
			continue;
		}
		/* Over. One that has to wait for others still becomes ready when they end. */
		sched_unlist_locked(j, job);
		sched_make_ready_locked(j, job);
	}
	j->wake_ns = wake == 0 ? 0 : MAX_OF(wake, now + TIMER_GRAIN_NS);
	if (j->wake_ns != 0)
		pool_post_at(j->conf.pool, &j->timer, j->wake_ns);
	lock_drop(&j->g.lock);
	sched_pump(j);
}

/* What has waited longest of what may start; NULL = none. */
static struct job *next_locked(struct jobs *j, struct share *s)
{
	struct job *job = TAILQ_FIRST(&s->ready), *calm = TAILQ_FIRST(&s->calm);
	struct job *few = TAILQ_FIRST(&s->few);

	if (few != NULL && (job == NULL || (!job->g.soon && few->g.ready_ns < job->g.ready_ns)) &&
		(s->nfew < FEW_MAX || !foreground_holds_locked(j, few)))
		return few;
	if (calm == NULL || (job != NULL && (job->g.soon || job->g.ready_ns < calm->g.ready_ns)))
		return job;
	return foreground_holds_locked(j, calm) ? job : calm;
}

/* Starts ready jobs while there are slots. */
static void pump_locked(struct jobs *j, struct share *s)
{
	struct job *job = NULL;

	while (s->nactive < s->slots && (job = next_locked(j, s)) != NULL) {
		if (!is_small(job) && s->nactive - s->nsmall >= s->most)
			break;
		sched_unlist_locked(j, job);
		job->g.active = job->g.begun = true;
		s->nactive++;
		s->nsmall += is_small(job);
		job->g.counted = job->g.few;
		s->nfew += job->g.counted;
		j->g.nactive++;
		job->task.lane = job->g.soon ? LANE_SYNC : LANE_BACKGROUND;
		pool_task_share(&job->task, s->pool);
		if (job->g.started_ns == 0)
			job->g.started_ns = clock_now_ns();
		(void)pool_post(j->conf.pool, &job->task);
	}
}

void sched_pump(struct jobs *j)
{
	struct share *s = NULL;
	LOCKED(&j->g.lock);

	if (!j->g.running)
		return;
	TAILQ_FOREACH (s, &j->g.shares, link)
		pump_locked(j, s);
}

static void keep_ended_locked(struct jobs *j, struct job *job)
{
	struct ended *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return; /* only history */
	info_of_locked(j, job, &e->info);
	e->days = job->days;
	e->info.state = job->own.result == 0		? JOB_DONE
			: job->own.result == -ECANCELED ? JOB_CANCELLED
							: JOB_FAILED;
	e->info.ended_ns = clock_now_ns();
	e->info.held = false;
	if (job->own.result == 0 && job->kind == JOB_DIRMOVE) { /* the rest went another way */
		e->info.files_total = e->info.files_done;
		e->info.bytes_total = e->info.bytes_done;
	} else if (job->own.result == 0) {
		e->info.bytes_done = MAX_OF(e->info.bytes_done, e->info.bytes_total);
	}
	(void)snprintf(e->info.note, sizeof(e->info.note), "%s", job->own.why);
	TAILQ_INSERT_HEAD(&j->g.ended, e, link);
	if (++j->g.nended > JOB_KEEP_ENDED) {
		struct ended *old = TAILQ_LAST(&j->g.ended, ended_list);

		TAILQ_REMOVE(&j->g.ended, old, link);
		free(old);
		j->g.nended--;
	}
}

static void job_end(struct jobs *j, struct job *job)
{
	errint_t r = job->own.result;
	char words[JOB_WORDS_MAX];
	bool trim = false, blocks = false;

	if (r < 0) {
		bool asked = r == -ECANCELED; /* by somebody, who knows */

		if (!asked)
			count_inc(jobs_failed);
		if (!job->own.told)
			log_msg(asked ? LOG_LVL_NOTICE : LOG_LVL_ERROR, "job", "%s %llu %s: %s",
				job_kind_name(job->kind), (unsigned long long)job->id,
				job_words(job, words), job->own.why);
	}
	count_inc(jobs_done);
	log_debug("job", "%llu ended: %d, '%s' -> '%s'", (unsigned long long)job->id, r, job->src,
		job->dst);
	lock_take(&j->g.lock);
	keep_ended_locked(j, job);
	if (r == -ECANCELED)
		j->g.ncancelled++;
	else if (r < 0)
		j->g.nfailed++;
	else
		j->g.ndone++;
	wait_note_locked(j, job, r);
	if (job->src_remote != 0)
		list_stamp_locked(j, job->src_remote, job->src);
	if (job->dst_remote != 0)
		list_stamp_locked(j, job->dst_remote, job->dst);
	share_leave_locked(j, job);
	blocks = job->g.blocks;
	graph_remove(j, job);
	if (blocks)
		taken_tell_locked(j);
	j->g.nmost = MAX_OF(j->g.nmost, j->g.nlive + 1);
	trim = j->g.nlive == 0 && j->g.nmost >= TRIM_JOBS;
	if (j->g.nlive == 0)
		j->g.nmost = 0;
	lock_drop(&j->g.lock);
	job_free(job);
	if (trim) /* what a long queue took lies in pieces that only this gives back */
		(void)malloc_trim(0);
	wait_check(j);
}

/* What an earlier step has begun at a cloud is of no use to this one, but for parts sent ahead, and
 * is ended first: the step may be the last. */
static enum step step(struct job *job)
{
	struct err err = {0};
	int64_t until = uploads_end_at(job);

	if (clock_mono_ns() < until && !atomic_load(&job->cancel)) {
		job->own.wake_mono_ns = until;
		return STEP_LATER;
	}
	errint_t r = ahead_goes_on(job) ? 0 : uploads_end(job, &job->jobs->stopping, &err);

	return r < 0 && !atomic_load(&job->cancel) ? later(job, r, &err) : step_fns[job->kind](job);
}

/* The pool's entry: one step of a job that has a slot. */
static void step_task(struct pool_task *t)
{
	struct job *job = container_of(t, struct job, task);
	struct jobs *j = job->jobs;

	lock_take(&j->g.lock);
	assert(job->g.active);
	if (!j->g.running) { /* stopping: the journal knows */
		share_leave_locked(j, job);
		lock_drop(&j->g.lock);
		return;
	}
	j->g.steps++;
	job->g.outside = job->g.comes = job->g.taken = job->g.nudged = false;
	bool soon = job->g.soon;
	lock_drop(&j->g.lock);
	job->own.awaits = job->own.unrecorded = false;
	enum step s = step(job);

	if (s == STEP_DONE) {
		job_end(j, job);
		lock_take(&j->g.lock);
	} else {
		lock_take(&j->g.lock);
		job->g.archived &= job->own.awaits;
		if (s == STEP_AGAIN) {
			(void)pool_post(j->conf.pool, &job->task);
		} else {
			share_leave_locked(j, job);
			bool hurried = job->g.nudged || (job->g.soon && !soon); /* while it ran */

			if (hurried)
				job->g.outside = job->g.archived = false;
			if (s == STEP_LATER && !hurried &&
				(job->own.unrecorded || !atomic_load(&job->cancel))) {
				job->g.soon = false;
				sched_sleep_locked(j, job);
			} else if (s == STEP_BARRIER &&
				   meta_synced(j->conf.meta) < job->own.barrier_txn) {
				job->g.on_barrier = true;
				TAILQ_INSERT_TAIL(&j->g.barrier, job, ready);
				if (job->g.soon)
					meta_sync_soon(j->conf.meta);
				else
					meta_sync_wanted(j->conf.meta);
			} else {
				sched_make_ready_locked(j, job);
			}
		}
	}
	if (--j->g.steps == 0)
		(void)pthread_cond_broadcast(&j->idle);
	lock_drop(&j->g.lock);
	sched_pump(j);
}

void sched_init(struct jobs *j)
{
	TAILQ_INIT(&j->g.shares);
	TAILQ_INIT(&j->g.common.ready);
	TAILQ_INIT(&j->g.common.calm);
	TAILQ_INIT(&j->g.common.few);
	cond_init(&j->g.common.buffer_back);
	j->g.common.slots = j->g.common.most = j->conf.active_max;
	TAILQ_INSERT_TAIL(&j->g.shares, &j->g.common, link);
	TAILQ_INIT(&j->g.barrier);
	TAILQ_INIT(&j->g.asleep);
	TAILQ_INIT(&j->g.drops);
	pool_task_init(&j->timer, LANE_SYNC, timer_task);
	uploads_init(j);
}

void sched_done(struct jobs *j)
{
	struct share *s = NULL;

	while ((s = TAILQ_FIRST(&j->g.shares)) != NULL) {
		TAILQ_REMOVE(&j->g.shares, s, link);
		(void)pthread_cond_destroy(&s->buffer_back);
		if (s != &j->g.common)
			free(s);
	}
}

void sched_init_job(struct job *job)
{
	pool_task_init(&job->task, LANE_BACKGROUND, step_task);
}

void sched_on_sync(void *arg)
{
	struct jobs *j = arg;
	uint64_t synced = meta_synced(j->conf.meta);
	struct job *job = NULL, *next = NULL;

	lock_take(&j->g.lock);
	for (job = TAILQ_FIRST(&j->g.barrier); job != NULL; job = next) {
		next = TAILQ_NEXT(job, ready);
		if (job->own.barrier_txn > synced)
			continue;
		sched_unlist_locked(j, job);
		sched_make_ready_locked(j, job);
	}
	TAILQ_HEAD(, drop) drops = TAILQ_HEAD_INITIALIZER(drops);
	struct drop *d = NULL, *more = NULL;

	for (d = TAILQ_FIRST(&j->g.drops); d != NULL; d = more) {
		more = TAILQ_NEXT(d, link);
		if (d->txn > synced)
			continue;
		TAILQ_REMOVE(&j->g.drops, d, link);
		TAILQ_INSERT_TAIL(&drops, d, link);
	}
	lock_drop(&j->g.lock);
	while ((d = TAILQ_FIRST(&drops)) != NULL) {
		TAILQ_REMOVE(&drops, d, link);
		stage_drop(j->conf.stage, d->ino);
		free(d);
	}
	sched_pump(j);
}

enum step job_finish(struct job *job, struct meta_txn *t)
{
	(void)meta_job_del(t, job->id);
	if (late_may_come(job))
		late_post(job, t);
	if (job->victim != 0)
		(void)orphan_sweep(job->jobs, t, job->victim, job);
	(void)orphan_sweep(job->jobs, t, job->ino, job);
	errint_t r = meta_commit(t);

	/* The index is in trouble: nothing is lost, everything is asked again. */
	return r < 0 ? job_unrecorded(job, r) : STEP_DONE;
}

enum step job_finish_alone(struct job *job, errint_t r, const char *why)
{
	job->own.result = r;
	if (why != NULL && why != job->own.why)
		(void)snprintf(job->own.why, sizeof(job->own.why), "%s", why);
	return job_finish(job, meta_begin(job->jobs->conf.meta));
}

void jobs_start(struct jobs *j)
{
	struct job *job = NULL;

	meta_on_sync(j->conf.meta, sched_on_sync, j);
	lock_take(&j->g.lock);
	j->g.running = true;
	TAILQ_FOREACH (job, &j->g.all, link)
		sched_make_ready_locked(j, job);
	lock_drop(&j->g.lock);
	uploads_start(j);
	sched_pump(j);
}

void jobs_stop(struct jobs *j)
{
	struct job *job = NULL;

	atomic_store(&j->stopping, true);
	lock_take(&j->g.lock);
	j->g.running = false;
	TAILQ_FOREACH (job, &j->g.all, link)
		atomic_store(&job->cancel, true);
	while (j->g.steps > 0 || j->g.nlistings > 0 || j->g.nready > 0 || j->g.nasks > 0)
		cond_wait(&j->idle, &j->g.lock);
	lock_drop(&j->g.lock);
	(void)pool_cancel(j->conf.pool, &j->timer);
	(void)pool_cancel(j->conf.pool, &j->front.task);
	uploads_stop(j);
}
