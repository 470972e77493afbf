/* SPDX-License-Identifier: MIT */
/*
 * Writes that come late. A request may take effect after the daemon that made it was killed, or had
 * given up waiting, and after it was looked for. Where the same job writes to the same key again
 * that does no harm: every write is conditional, and of two one fails, as long as the key is not
 * free again. So a job that ends without such a write (its file was removed, its move taken back),
 * or that had to write again after a kill, leaves a look behind: twice, some seconds apart, it is
 * asked whether something with the mark of that job is there by now, and that is removed, or, where
 * the file is still to be written over what it replaced, learned. After a write of this run these
 * are only the attempts of the runs before, which no row names: what that write found at the key
 * was its own to overwrite.
 *
 * A look claims its key, so that no listing shows what may come, and is waited for by nobody: who
 * wants the key gets it as soon as it has been looked at once more, and the look goes on behind,
 * when it is alone. What comes meanwhile is known by its mark and overwritten (late_mark).
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job_priv.h"

#define LAST_NS (30 * NS_PER_S)
#define LOOKS	6 /* the first comes after this part of the time to the last */

int64_t late_ns(const struct jobs *j)
{
	return j->conf.late_ns != 0 ? j->conf.late_ns : LAST_NS;
}

void late_post(struct job *job, struct meta_txn *t)
{
	struct jobs *j = job->jobs;
	struct job *look = job_alloc(j, JOB_LOOK, job->ino);

	if (look == NULL || job_set_dst(look, job->dst_remote, job->dst) < 0) {
		job_free(look);
		meta_txn_fail(t, -ENOMEM);
		return;
	}
	look->nonce = job->nonce;
	look->of = job->of != 0 ? job->of : job->id;
	look->attempts = INT_MAX;
	if (job->kind == JOB_LOOK) {
		look->created_ns = job->created_ns;
		look->attempts = job->attempts;
	} else if (job->own.phase == 1) {
		look->attempts = job->own.before;
	}
	look->own.wake_mono_ns = clock_mono_ns() + late_ns(j) / LOOKS;
	(void)job_post(j, t, look, NULL);
}

bool late_may_come(const struct job *job)
{
	if ((job->kind != JOB_UPLOAD && job->kind != JOB_RELOCATE) || job->dst_remote == 0 ||
		job->own.landed)
		return false;
	/* Numbers that a power cut took back come twice. */
	if (job->own.phase == 1)
		return job->own.wrote && job->own.before != 0 && !job->jobs->conf.power_cut;
	return job->own.before != 0 || (job->own.doubt && job->attempts != 0) ||
	       (job->jobs->conf.power_cut && job->nonce != job->jobs->nonce);
}

/* By the job that a look is about, up to its attempt of that number. */
static bool is_late(const struct job *look, const struct store_stat *st)
{
	return mark_check(look, st) != MARK_OTHER &&
	       strtoul(strrchr(store_stat_meta(st, STORE_META_WRITE), '.') + 1, NULL, 10) <=
		       look->attempts;
}

bool late_mark(struct job *job, const struct store_stat *st)
{
	struct claim *c = NULL;
	LOCKED(&job->jobs->g.lock);
	struct claim_key *k = graph_place_key(job->jobs, job->dst_remote, job->dst);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->kind == JOB_LOOK && is_late(c->job, st))
				return true;
	return false;
}

/* The row names what was replaced: who is to overwrite, or remove, that expects what is there. */
static errint_t learn(struct job *job, const struct store_stat *st, bool *ret_known)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	*ret_known = r == 0 && (in.flags & META_F_OBJECT) != 0 &&
		     in.loc.remote == job->dst_remote && strcmp(in.loc.path, job->dst) == 0;
	if (*ret_known && (in.flags & (META_F_DIRTY | META_F_ORPHAN)) != 0) {
		job_loc_set(&in, job->jobs, job->dst_remote, job->dst, st);
		(void)meta_inode_put(t, &in);
	}
	return r < 0 && r != -ENOENT ? (meta_abort(t), r) : meta_commit(t);
}

static errint_t look(struct job *job, struct err *err)
{
	struct store_stat st = {0};
	bool known = false;
	errint_t r = job_look(job, job->dst_remote, job->dst, &st, err);

	if (r <= 0 || !is_late(job, &st)) {
		store_stat_done(&st);
		return MIN_OF(r, 0);
	}
	log_notice("job", "'%s' was written late, by a request of %s", job->dst,
		job->nonce != job->jobs->nonce ? "an earlier run" : "a job that has ended");
	r = learn(job, &st, &known);
	if (r < 0)
		(void)err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	else if (!known) {
		job_state_set(job, JOB_CLEANING);
		r = job_remove_object(job, job->dst_remote, job->dst, st.etag, err);
	}
	store_stat_done(&st);
	return r;
}

enum step look_step(struct job *job)
{
	struct jobs *j = job->jobs;
	int64_t age = clock_now_ns() - job->created_ns, last = late_ns(j);
	int64_t due = job->own.phase == 0 ? last / LOOKS : last;
	struct err err = {0};
	bool wanted = false, alone = false;
	{
		LOCKED(&j->g.lock);
		wanted = job->g.ndependents != 0;
		alone = graph_place_untouched(j, job->dst_remote, job->dst, job);
	}
	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	if (age < 0) /* the clock was set back */
		age = last;
	if (!wanted && (age < due || !alone)) {
		job_note(job, "looks once more for what an earlier request may have left");
		job->own.wake_mono_ns =
			clock_mono_ns() + MAX_OF(due - age, alone ? 0 : last / LOOKS);
		return STEP_LATER;
	}
	errint_t r = look(job, &err);

	if (r < 0 && !wanted && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	if (age >= last && (r == 0 || !wanted))
		return job_finish_alone(job, job->own.result, job->own.why);
	job->own.phase = 1;
	if (!wanted)
		return STEP_AGAIN;
	struct meta_txn *t = meta_begin(j->conf.meta);

	late_post(job, t);
	return job_finish(job, t);
}
