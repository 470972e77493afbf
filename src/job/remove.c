/* SPDX-License-Identifier: MIT */
/*
 * Removal of objects, and the guard before it. With delete_guard=N the removals that are more than
 * N within a minute are held for undo_window, in which `astra jobs cancel` takes them back: the
 * name returns. A minute that comes after one with too many has no free ones until it is quiet
 * again.
 *
 * Removals of a cloud go together where it takes many in a request: a job that waits for that gives
 * its worker up, and is run again when it is its turn to send them, or when it is told.
 *
 * When the answer of such a request is lost, the server may still be at it, for as long as all take
 * that are in it: a new object of the same bytes, put where the old one was removed, would be
 * removed for it, since the ETag is the same. So such a removal rests before it asks again, and
 * what waits for its key waits along; and those that a run left may have been on their way then,
 * and rest as long from the next one's start.
 *
 * A held removal is waited for by nobody; when something else wants its key it goes at once, but
 * for what lies beside that (archived.c).
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define MINUTE_NS    (60 * NS_PER_S)
#define LOOK_NS	     (10 * NS_PER_S)  /* how often a held one looks whether its time has come */
#define MANY_LATE_NS (120 * NS_PER_S) /* as long as the answer is waited for: batch.c */
#define WAIT_LOOK_NS MINUTE_NS	      /* and one that waits to go with others; it is woken before */

bool guard_holds(struct jobs *j)
{
	int64_t now = clock_mono_ns();
	uint64_t most = j->conf.delete_guard;
	bool tell = false, holds;

	if (most == 0)
		return false;
	lock_take(&j->g.lock);
	if (now - j->g.guard.since_ns >= MINUTE_NS) {
		j->g.guard.tripped =
			now - j->g.guard.since_ns < 2 * MINUTE_NS && j->g.guard.n > most;
		j->g.guard.since_ns = now;
		j->g.guard.n = 0;
	}
	holds = ++j->g.guard.n > most || j->g.guard.tripped;
	tell = holds && j->g.guard.n == (j->g.guard.tripped ? 1 : most + 1);
	lock_drop(&j->g.lock);
	if (tell)
		log_warn("job",
			"more than %llu removals within a minute: objects are kept for %lld s "
			"more; "
			"'astra jobs cancel --held' takes that back",
			(unsigned long long)most, (long long)(j->conf.undo_window_ns / NS_PER_S));
	return holds;
}

static bool held_back(struct job *job)
{
	struct jobs *j = job->jobs;
	int64_t left = job->created_ns + j->conf.undo_window_ns - clock_now_ns();
	bool wanted;

	lock_take(&j->g.lock);
	wanted = job->g.ndependents != 0;
	lock_drop(&j->g.lock);
	/* A clock that was set back must not hold it for ever. */
	if (left <= 0 || left > j->conf.undo_window_ns || wanted)
		return false;
	job_note(job, "held by the delete guard; 'astra jobs cancel' takes it back");
	job_outside(job, false);
	job->own.wake_mono_ns = clock_mono_ns() + MIN_OF(left, LOOK_NS);
	return true;
}

/* What is emulated here does not go on without us. */
static int64_t late_ns(struct jobs *j, uint32_t remote)
{
	const struct remote *r = remote_of(j, remote);

	if (r == NULL || r->caps.remove_batch == 0)
		return 0;
	return j->conf.many_ns != 0 ? j->conf.many_ns : r->real ? MANY_LATE_NS : 0;
}

void remove_in_doubt(struct job *job, int64_t since_mono_ns)
{
	int64_t late =
		MAX_OF(late_ns(job->jobs, job->src_remote), late_ns(job->jobs, job->dst_remote));

	job->own.rest_until_ns = MAX_OF(job->own.rest_until_ns, since_mono_ns + late);
}

static bool rests(struct job *job)
{
	if (clock_mono_ns() >= job->own.rest_until_ns)
		return false;
	job_note(job, "it may have been sent with others: asked again when that is over");
	job->own.wake_mono_ns = job->own.rest_until_ns;
	return true;
}

/* The file gets its name again, or one beside it. */
static enum step take_back(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char base[META_NAME_MAX + 1], name[META_NAME_MAX + 1];
	uint64_t dir = 0, other = 0, id = 0;
	struct meta_txn *t = meta_begin(j->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	if (r == 0 && (in.flags & META_F_ORPHAN) == 0)
		r = -EEXIST;
	if (r == 0)
		r = job_parent_of(j, t, in.loc.remote, in.loc.path, &dir, base);
	if (r < 0) {
		meta_abort(t);
		return job_finish_alone(job, r, "it cannot be taken back");
	}
	(void)snprintf(name, sizeof(name), "%s", base);
	if (meta_lookup(t, dir, name, &other) == 0)
		(void)snprintf(name, sizeof(name), "%.220s.undeleted-%lld", base,
			(long long)(clock_now_ns() / NS_PER_S));
	in.flags &= ~(uint32_t)META_F_ORPHAN;
	(void)meta_link(t, &in, dir, name);
	if (strcmp(name, base) != 0)
		(void)job_moved(j, t, &in, NULL, &id);
	job->own.result = -ECANCELED;
	(void)snprintf(
		job->own.why, sizeof(job->own.why), "taken back: '%.150s' is there again", name);
	enum step s = job_finish(job, t);

	if (s == STEP_DONE)
		j->conf.hooks.entry_changed(j->conf.hooks.arg, dir, name);
	return s;
}

/* STEP_AGAIN: nothing is in its way. */
static enum step may_remove(struct job *job, const struct meta_inode *in)
{
	struct jobs *j = job->jobs;

	if (job->held && atomic_load(&job->cancel) && !atomic_load(&j->stopping))
		return take_back(job);
	if (job->held && held_back(job))
		return STEP_LATER;
	if (rests(job))
		return STEP_LATER;
	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	return job_in_use(job, in->loc.remote, in->loc.path, in->loc.etag) ? STEP_LATER
									   : STEP_AGAIN;
}

enum step remove_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in = {0};
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	meta_abort(t);
	if (job->own.wait == NULL) {
		if (r < 0 || (in.flags & META_F_OBJECT) == 0)
			return !atomic_load(&job->cancel) && rests(job)
				       ? STEP_LATER
				       : job_finish_alone(job, 0, NULL);
		enum step s = may_remove(job, &in);

		if (s != STEP_AGAIN)
			return s;
		job_state_set(job, JOB_CLEANING);
	}
	r = job_remove_or_wait(job, &in, &err);
	if (r == -EINPROGRESS) {
		if (!atomic_load(&j->stopping))
			atomic_store(&job->cancel, false); /* it comes too late */
		job->own.wake_mono_ns = clock_mono_ns() + WAIT_LOOK_NS;
		return STEP_LATER;
	}
	if (r < 0 && rests(job)) {
		if (!atomic_load(&j->stopping))
			atomic_store(&job->cancel, false); /* it comes too late */
		return STEP_LATER;
	}
	if (r < 0) {
		enum step s = job_follow(job, r, &err);

		return s == STEP_DONE ? job_finish_alone(job, job->own.result, job->own.why) : s;
	}
	t = meta_begin(j->conf.meta);
	if (meta_inode_get(t, job->ino, &in) == 0) {
		in.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
		(void)meta_inode_put(t, &in);
	}
	return job_finish(job, t);
}
