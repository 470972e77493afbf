/* SPDX-License-Identifier: MIT */
/*
 * Parked calls. A call that cannot go on is armed, then its source of waking (a job, a fetch) is
 * set up, then it is parked:
 *
 *	RUNNING --call_arm--> ARMING --call_armed--> PARKED --woken or cut--> RUNNING (on a worker)
 *
 * Two things can end a wait: its source (call_wake, once) and a cut (deadline, interrupt, stop).
 * A cut takes the call away from its source; when the source is past that point, the source
 * finishes the wait and finds the cut. While ARMING nobody but the arming thread may let go of the
 * call, so that a source which fires at once does not pull it from under that thread's feet.
 *
 * One pool timer serves all deadlines. All states are under v->lock.
 */
#include "vfs_priv.h"

#define IDLE_POLL_NS (10 * NS_PER_MS)
#define HELD_NS	     (20 * NS_PER_MS)
#define HELD_MAX     50

static void call_task(struct pool_task *t)
{
	struct vfs_call *c = container_of(t, struct vfs_call, own.task);

	if (c->own.cut) {
		c->own.cut = false;
		if (c->own.cut_r <= 0) {
			call_done(c, c->own.cut_r);
			return;
		}
		c->own.expired = true;
	}
	c->own.run(c);
}

void call_begin(struct vfs *v, struct vfs_call *c, void (*run)(struct vfs_call *c))
{
	assert(v && c && c->done);
	memset(&c->own.waiter, 0, sizeof(c->own.waiter));
	c->own.v = v;
	c->own.run = run;
	c->own.waiter.fn = call_job_fn;
	c->own.deadline_mono_ns = 0;
	c->own.state = CALL_RUNNING;
	c->own.fired = c->own.cut = c->own.in_fetch = c->own.in_list = c->own.expired = false;
	c->own.r = 0;
	c->own.phase = 0;
	c->own.tries = c->own.waits = c->own.held = 0;
	c->own.listed = 0;
	c->own.reads = false;
	c->own.node = NULL;
	c->own.at_remote = false;
	c->own.node_ref = c->own.in_rename = c->own.tell_kernel = false;
	c->own.mem = NULL;
	c->own.from = NULL;
	pool_task_init(&c->own.task, LANE_FOREGROUND, call_task);
	atomic_fetch_add(&v->active, 1);
}

void call_done(struct vfs_call *c, errint_t r)
{
	struct vfs *v = c->own.v;
	void *mem = c->own.mem;
	struct fetch *from = c->own.from;
	const void *data = c->data;
	size_t len = c->len;

	assert(c->own.state == CALL_RUNNING);
	lock_assert_none();
	if (c->own.node_ref)
		node_put(v, c->own.node);
	c->own.node_ref = false;
	if (c->own.in_rename)
		atomic_fetch_sub(&v->renames, 1);
	c->done(c, r == -EDQUOT ? -ENOSPC : r); /* c may be gone */
	free(mem);
	if (from) {
		held_given(from, data, len);
		fetch_put(from);
	}
	atomic_fetch_sub(&v->active, 1);
}

void call_later(struct vfs_call *c, enum pool_lane lane)
{
	pool_task_init(&c->own.task, lane, call_task);
	(void)pool_post(c->own.v->conf.pool, &c->own.task);
}

void call_at_remote(struct vfs_call *c, uint32_t remote)
{
	pool_task_init(&c->own.task, LANE_FOREGROUND, call_task);
	pool_task_share(&c->own.task, remote_share(c->own.v, remote));
	c->own.at_remote = true;
	(void)pool_post(c->own.v->conf.pool, &c->own.task);
}

bool call_is_at_remote(const struct vfs_call *c)
{
	return c->own.at_remote;
}

/* ---- deadlines ---- */

static void timer_locked(struct vfs *v, int64_t due)
{
	lock_assert_held(&v->lock);
	if (!due || (v->s.timer_ns && v->s.timer_ns <= due))
		return;
	v->s.timer_ns = due;
	pool_post_at(v->conf.pool, &v->deadline_task, due);
}

/* Takes a parked call from its source. True when the source will not touch it any more. */
static bool source_cancel_locked(struct vfs *v, struct vfs_call *c)
{
	switch (c->own.wait) {
	case WAIT_JOB:
		return job_wait_cancel(v->jobs, &c->own.waiter);
	case WAIT_FETCH: {
		struct vfs_node *n = c->own.node;
		LOCKED(&n->lock);

		if (!c->own.in_fetch)
			return false;
		TAILQ_REMOVE(&n->io.waiters, c, own.fetch);
		c->own.in_fetch = false;
		return true;
	}
	case WAIT_LIST:
		return dir_list_cancel_locked(c);
	default:
		return true;
	}
}

static void resume_locked(struct vfs *v, struct vfs_call *c)
{
	TAILQ_REMOVE(&v->s.calls, c, own.parked);
	v->s.nparked--;
	c->own.state = CALL_RUNNING;
	(void)pool_post(v->conf.pool, &c->own.task);
}

/* answer: the call's own choice (a deadline) when 1. */
static void cut_locked(struct vfs *v, struct vfs_call *c, errint_t answer)
{
	if (c->own.cut)
		return; /* the source is about to finish it */
	c->own.cut = true;
	c->own.cut_r = answer;
	if (c->own.state == CALL_PARKED && source_cancel_locked(v, c))
		resume_locked(v, c);
}

void deadline_run(struct pool_task *t)
{
	struct vfs *v = container_of(t, struct vfs, deadline_task);
	int64_t now = clock_mono_ns(), next = 0;
	struct vfs_call *c, *more;
	LOCKED(&v->lock);

	v->s.timer_ns = 0;
	for (c = TAILQ_FIRST(&v->s.calls); c; c = more) {
		more = TAILQ_NEXT(c, own.parked);
		if (!c->own.cut_mono_ns || c->own.cut)
			continue;
		if (c->own.cut_mono_ns <= now)
			cut_locked(v, c, c->own.on_timeout);
		else if (!next || c->own.cut_mono_ns < next)
			next = c->own.cut_mono_ns;
	}
	timer_locked(v, next);
}

/* ---- waiting ---- */

bool call_arm(struct vfs_call *c, const struct call_wait *w)
{
	struct vfs *v = c->own.v;
	int64_t now = clock_mono_ns(), due = 0;
	errint_t r = 0;

	assert(c->own.state == CALL_RUNNING && !c->own.cut);
	if (!w->forever && w->timeout_ns) {
		due = now + w->timeout_ns;
	} else if (!w->forever) {
		if (!c->own.deadline_mono_ns)
			c->own.deadline_mono_ns = now + v->conf.io_deadline_ns;
		due = c->own.deadline_mono_ns;
		if (due <= now && w->on_timeout <= 0)
			r = w->on_timeout ? w->on_timeout : -EIO;
	}
	c->own.wait = (int)w->kind;
	c->own.cut_mono_ns = due;
	c->own.on_timeout = w->on_timeout;
	c->own.interruptible = w->interruptible;
	c->own.fired = false;
	c->own.r = 0;
	c->own.expired = false;
	pool_task_init(&c->own.task, LANE_FOREGROUND, call_task);
	c->own.at_remote = false;
	lock_take(&v->lock);
	if (v->s.stopping && !r)
		r = -EIO;
	/* With the lock held: an interrupt comes before this, or finds the call armed. */
	if (w->interruptible && atomic_load(&c->interrupted) && !r)
		r = -EINTR;
	if (!r) {
		c->own.state = CALL_ARMING;
		TAILQ_INSERT_TAIL(&v->s.calls, c, own.parked);
		v->s.nparked++;
		timer_locked(v, due);
	}
	lock_drop(&v->lock);
	if (r)
		call_done(c, r);
	else
		count_inc(fuse_parked);
	return !r;
}

void call_armed(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	LOCKED(&v->lock);

	assert(c->own.state == CALL_ARMING);
	c->own.state = CALL_PARKED;
	if (c->own.fired || (c->own.cut && source_cancel_locked(v, c)))
		resume_locked(v, c);
}

void call_disarm(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	LOCKED(&v->lock);

	assert(c->own.state == CALL_ARMING && !c->own.fired);
	TAILQ_REMOVE(&v->s.calls, c, own.parked);
	v->s.nparked--;
	c->own.state = CALL_RUNNING;
	c->own.cut = false; /* it did not wait */
}

bool call_held(struct vfs_call *c)
{
	const struct call_wait w = {
		.kind = WAIT_TIME, .timeout_ns = HELD_NS, .on_timeout = ON_TIMEOUT_RERUN};

	if (c->own.held == HELD_MAX || !job_full(c->own.v->jobs))
		return false;
	c->own.held++;
	if (call_arm(c, &w))
		call_armed(c);
	return true;
}

void call_wake(struct vfs_call *c, errint_t r)
{
	struct vfs *v = c->own.v;
	LOCKED(&v->lock);

	c->own.r = r;
	if (c->own.state == CALL_ARMING)
		c->own.fired = true;
	else
		resume_locked(v, c);
}

void call_job_fn(struct job_waiter *w, errint_t r)
{
	call_wake(container_of(w, struct vfs_call, own.waiter), r);
}

void vfs_interrupt(struct vfs *v, struct vfs_call *c)
{
	LOCKED(&v->lock);

	if (c->own.v == v && c->own.state != CALL_RUNNING && c->own.interruptible)
		cut_locked(v, c, -EINTR);
}

/* Answers what is parked with EIO and waits until every call and every task of ours is over. */
void calls_stop(struct vfs *v)
{
	struct vfs_call *c, *more;

	lock_take(&v->lock);
	v->s.stopping = true;
	for (c = TAILQ_FIRST(&v->s.calls); c; c = more) {
		more = TAILQ_NEXT(c, own.parked);
		cut_locked(v, c, -EIO);
	}
	while (atomic_load(&v->active) || atomic_load(&v->background))
		(void)cond_wait_until(&v->idle, &v->lock, clock_mono_ns() + IDLE_POLL_NS);
	lock_drop(&v->lock);
}
