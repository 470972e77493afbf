/* SPDX-License-Identifier: MIT */
/*
 * Removal of objects, and the guard before it. With delete_guard=N the removals that are more than
 * N within a minute are held for undo_window, in which `astra jobs cancel` takes them back: the
 * name returns. A minute that comes after one with too many has no free ones until it is quiet
 * again.
 *
 * A held removal is waited for by nobody; when something else wants its key it goes at once, but
 * for what lies beside that (archived.c).
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define MINUTE_NS (60 * NS_PER_S)
#define LOOK_NS	  (10 * NS_PER_S) /* how often a held one looks whether its time has come */

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

enum step remove_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	meta_abort(t);
	if (r < 0 || (in.flags & META_F_OBJECT) == 0)
		return job_finish_alone(job, 0, NULL);
	if (job->held && atomic_load(&job->cancel) && !atomic_load(&j->stopping))
		return take_back(job);
	if (job->held && held_back(job))
		return STEP_LATER;
	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	if (job_in_use(job, in.loc.remote, in.loc.path, in.loc.etag))
		return STEP_LATER;
	job_state_set(job, JOB_CLEANING);
	r = job_remove_own(job, &in, &err);
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
