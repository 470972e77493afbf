/* SPDX-License-Identifier: MIT */
/*
 * Two files have changed names with each other; their objects follow as one job. A (job->ino) is
 * at job->src and B (job->victim) at job->dst when it begins. Three copies, each over what is no
 * longer needed; the index tells how far it came, also after a crash:
 *
 *	A at	B at	next				own.etag is the version of
 *	src	dst	A -> tmp, a key beside dst	-
 *	tmp	dst	B -> src			the old A at src, overwritten
 *	tmp	src	A -> dst			the old B at dst, overwritten
 *	dst	src	tmp removed			tmp
 *
 * A copy that fails for good turns the job round (PHASE_BACK), up these lines: the old versions
 * count again while they are there, else they are copied back; at the top the names are changed
 * back. On that way it is never given up, since no listing shows tmp. When one of both has been
 * renamed or unlinked since there are no names to go back to: it is turned only after a while, and
 * then each goes on to its name from where it was.
 *
 * Archived objects are not exchanged (archived.c). One that its cloud has archived meanwhile waits
 * for a restore, unless nothing has its name any more: then the other goes on alone.
 *
 * When one of both has no object, since its upload failed, the other just moves. When one is
 * elsewhere, since an earlier move failed, each goes to its name by a job of its own.
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define NAME_SWAP ".astra-tmp-swap"

struct pair {
	struct meta_inode a, b;
	bool has_a, has_b;
	char tmp[META_PATH_MAX + 1]; /* at dst_remote */
};

static bool at(const struct meta_inode *in, uint32_t remote, const char *path)
{
	return in->loc.remote == remote && strcmp(in->loc.path, path) == 0;
}

static void pair_read(struct job *job, struct pair *p)
{
	const struct remote *r = remote_of(job->jobs, job->dst_remote);
	const char *slash = r != NULL && r->bucket[0] == '\0' ? strchr(job->dst, '/') : NULL;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);

	p->has_a = meta_inode_get(t, job->ino, &p->a) == 0 && (p->a.flags & META_F_OBJECT) != 0;
	p->has_b = meta_inode_get(t, job->victim, &p->b) == 0 && (p->b.flags & META_F_OBJECT) != 0;
	meta_abort(t);
	(void)snprintf(p->tmp, sizeof(p->tmp), "%.*s%s%016llx-%llu",
		slash == NULL ? 0 : (int)(slash - job->dst + 1), job->dst, STORE_TMP_PREFIX,
		(unsigned long long)job->nonce, (unsigned long long)job->id);
}

/* Failures on the way back. */
static enum step persist(struct job *job, errint_t r, struct err *err)
{
	if (!atomic_load(&job->jobs->stopping))
		atomic_store(&job->cancel, false);
	err->kind = ERR_RETRY;
	return job_trouble(job, r, err);
}

static bool can_turn(struct job *job)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool can = true;

	for (int i = 0; can && i < 2; i++) {
		uint64_t ino = i == 0 ? job->ino : job->victim;

		can = meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0 &&
		      !job_moves_later(job, ino);
	}
	meta_abort(t);
	return can;
}

/* in goes to where its name is by a job of its own; without one it goes for good. */
static void follow_alone(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	uint64_t id = 0;

	if (in->ino == 0)
		return;
	if ((in->flags & META_F_ORPHAN) != 0)
		victim_goes_alone(job, t, in);
	else if ((in->flags & META_F_OBJECT) != 0) /* who counts on its key came before this move */
		(void)alone_post(job, t, in, &id);
	else
		(void)job_moved(job->jobs, t, in, NULL, &id);
}

/* The same; by the next job that moves it, if there is one, which has its key from here on. */
static void follow_on(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	if (!job_moves_later(job, in->ino))
		follow_alone(job, t, in);
	else if ((in->flags & (META_F_OBJECT | META_F_ORPHAN)) == META_F_OBJECT)
		beside_after(job, t, in);
}

/* This job ends without its deed. */
static void undo(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	job->g.undone = true;
}

/* They are not where they were to be. First goes the one whose new place is free. */
static enum step apart(struct job *job)
{
	struct meta_inode a = {0}, b = {0};
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	undo(job);
	(void)meta_inode_get(t, job->ino, &a);
	(void)meta_inode_get(t, job->victim, &b);
	bool first_a = at(&a, job->src_remote, job->src);

	follow_on(job, t, first_a ? &a : &b);
	follow_on(job, t, first_a ? &b : &a);
	return job_finish(job, t);
}

/* What A, or B, was copied from, and an attempt over that: the next copy, there or back, was to
 * replace it. */
static errint_t remove_left(struct job *job, struct err *err)
{
	struct pair p;

	pair_read(job, &p);
	if (job->own.etag[0] == '\0' || !p.has_b || !at(&p.a, job->dst_remote, p.tmp))
		return 0;
	bool at_src = at(&p.b, job->dst_remote, job->dst);
	uint32_t remote = at_src ? job->src_remote : job->dst_remote;
	const char *path = at_src ? job->src : job->dst;

	if (job_in_use(job, remote, path, job->own.etag))
		return -EINPROGRESS;
	errint_t r = job_remove_copy(job, remote, path, err);

	return r < 0 ? r : job_remove_object(job, remote, path, job->own.etag, err);
}

/* Nobody restores what has no name: it is removed where it lies, and the other goes by itself. */
static enum step await_restore(struct job *job, uint64_t ino)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool named = meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0;

	meta_abort(t);
	if (named)
		return job_await_restore(job, ino, 0);
	struct err err = {0};
	errint_t r = remove_left(job, &err);

	if (r == -EINPROGRESS)
		return STEP_LATER;
	return r < 0 && job_follow(job, r, &err) != STEP_DONE ? STEP_LATER : apart(job);
}

static enum step carry_failed(struct job *job, uint64_t ino, errint_t r, struct err *err)
{
	if (err->kind == ERR_ARCHIVED && !atomic_load(&job->cancel))
		return await_restore(job, ino);
	if (job->own.phase == PHASE_BACK)
		return persist(job, r, err);
	if ((err->kind == ERR_STALE || err->kind == ERR_NOT_FOUND) && job->own.tries < 4)
		err->kind = ERR_RETRY; /* changed outside, maybe seen half: look again */
	else if (err->kind == ERR_STALE)
		err->kind = ERR_FINAL;
	enum step s = job_trouble(job, r, err);

	if (s != STEP_DONE)
		return s;
	if (!can_turn(job) && job_follow(job, r, err) != STEP_DONE) {
		job_back_set(job, false);
		job->own.result = 0;
		return STEP_LATER;
	}
	job->own.phase = PHASE_BACK;
	return STEP_AGAIN;
}

/* was's object is at remote:path: own.etag becomes the version that it left. */
static enum step arrived(struct job *job, const struct meta_inode *was, uint32_t remote,
	const char *path, const struct store_stat *st)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct meta_txn *t = meta_begin(j->conf.meta);
	errint_t r = meta_inode_get(t, was->ino, &in);

	if (r < 0 || !row_names(&in, &was->loc)) { /* it went on: what was copied is not its own */
		struct err err = {0};

		meta_abort(t);
		job->own.dst_etag[0] = '\0';
		r = job_drop_copy(job, &was->loc, remote, path, &err);
		return r < 0 ? job_unrecorded(job, r) : STEP_AGAIN;
	}
	char left[META_ETAG_MAX];
	uint64_t barrier = job->own.barrier_txn;

	(void)snprintf(left, sizeof(left), "%s", job->own.etag);
	(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", in.loc.etag);
	if (job->own.phase != PHASE_BACK) {
		in.flags &= ~(uint32_t)META_F_FAILED;
		in.last_error[0] = '\0';
	}
	stage_rebase(j, in.ino, in.loc.etag, st->etag);
	copy_set(&in, j, t, remote, path, st);
	attrs_arrived(job, t, &in);
	(void)meta_inode_put(t, &in);
	(void)journal_put(t, job);
	job->own.barrier_txn = meta_txn_id(t);
	r = meta_commit(t);
	if (r < 0) { /* that version counts still, and no sync point will cover this */
		job->own.barrier_txn = barrier;
		(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", left);
		return job_unrecorded(job, r);
	}
	job->own.dst_etag[0] = '\0';
	return STEP_BARRIER;
}

/* Somebody's cancel turns it round, where there are names to go back to. */
static bool is_called_off(struct job *job)
{
	if (job->own.phase == PHASE_BACK || !job_called_off(job))
		return false;
	if (can_turn(job))
		return true;
	atomic_store(&job->cancel, false);
	job_note(job, "one of the two files was renamed, or removed, since");
	return false;
}

/* Copies in's object to remote:path, over that version of what is there, "" = to a free key. */
static enum step carry(struct job *job, const struct meta_inode *in, uint32_t remote,
	const char *path, const char *over)
{
	struct store_stat st = {0};
	struct err err = {0};
	struct meta_inode now = *in;
	struct move_spec spec = {.src_remote = in->loc.remote,
		.src = in->loc.path,
		.src_etag = in->loc.etag,
		.dst_remote = remote,
		.dst = path,
		.size = in->size,
		.attrs = &now};

	if (is_called_off(job)) {
		err.kind = ERR_CANCELLED;
		return carry_failed(job, in->ino, -ECANCELED, &err);
	}
	if (job->own.dst_etag[0] != '\0') /* an attempt of ours is there */
		over = job->own.dst_etag;
	if (over[0] != '\0') {
		spec.if_match = over;
		if (job_in_use(job, remote, path, over))
			return STEP_LATER;
	}
	if (!atomic_load(&job->cancel) && job_is_archived(job, &now))
		return await_restore(job, in->ino);
	errint_t r = class_for(job, &now, remote, &err);

	spec.class_name = class_online(job->jobs, remote, (enum tier)now.tier);
	if (r == 0 && !row_has_object_size(in))
		r = object_size(job, &in->loc, &spec.size, &err);
	if (r == 0)
		r = job_attempt(job);
	if (r == 0)
		r = move_object(job, &spec, &st, &err);
	if (r == -EAGAIN && err.kind == ERR_STALE && job_earlier(job, &err))
		return STEP_AGAIN;
	if (r == -ESTALE && err.kind == ERR_STALE && row_follow(job, in, &(struct err){0}) > 0)
		return STEP_AGAIN;
	if (r < 0)
		return carry_failed(job, in->ino, r, &err);
	enum step s = arrived(job, in, remote, path, &st);

	store_stat_done(&st);
	return s;
}

/* Where A came from with its last copy. */
static enum step vacate(struct job *job, const struct pair *p)
{
	struct err err = {0};
	errint_t r = 0;

	job_state_set(job, JOB_CLEANING);
	if (job->own.etag[0] != '\0')
		r = job_remove_object(job, p->has_b ? job->dst_remote : job->src_remote,
			p->has_b ? p->tmp : job->src, job->own.etag, &err);
	if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	return job_finish_alone(job, job->own.result, job->own.why);
}

static enum step forward(struct job *job, const struct pair *p)
{
	bool a_src = at(&p->a, job->src_remote, job->src);
	bool a_tmp = at(&p->a, job->dst_remote, p->tmp);

	if (at(&p->a, job->dst_remote, job->dst))
		return vacate(job, p);
	if (!p->has_b)
		return a_src ? carry(job, &p->a, job->dst_remote, job->dst, "") : apart(job);
	if (a_src && at(&p->b, job->dst_remote, job->dst))
		return carry(job, &p->a, job->dst_remote, p->tmp, "");
	if (a_tmp && at(&p->b, job->dst_remote, job->dst))
		return carry(job, &p->b, job->src_remote, job->src, job->own.etag);
	if (a_tmp && at(&p->b, job->src_remote, job->src))
		return carry(job, &p->a, job->dst_remote, job->dst, job->own.etag);
	return apart(job);
}

/* ---- back ---- */

static enum step no_way_back(struct job *job, const char *path)
{
	struct err err = {0};
	errint_t r = err_set(&err, -ESTALE, ERR_STALE,
		"'%s' was changed by somebody else while two files changed places", path);

	return persist(job, r, &err);
}

/* in returns to remote:path: its old version there counts again, or another copy is made. */
static enum step home(
	struct job *job, const struct meta_inode *in, uint32_t remote, const char *path)
{
	struct store_stat st = {0};
	struct err err = {0};
	char over[META_ETAG_MAX] = "";
	errint_t r = job_look(job, remote, path, &st, &err);
	bool ours = r > 0 && mark_check(job, &st) != MARK_OTHER;
	bool old = r > 0 && !ours && strcmp(st.etag, job->own.etag) == 0;
	enum step s = STEP_DONE;

	if (r < 0)
		return persist(job, r, &err);
	if (old)
		s = arrived(job, in, remote, path, &st);
	else if (ours)
		(void)snprintf(over, sizeof(over), "%s", st.etag);
	store_stat_done(&st);
	if (old)
		return s;
	job->own.dst_etag[0] = '\0';
	return r > 0 && !ours ? no_way_back(job, path) : carry(job, in, remote, path, over);
}

static void swap_names(
	struct job *job, struct meta_txn *t, struct meta_inode *a, struct meta_inode *b)
{
	const struct job_hooks *h = &job->jobs->conf.hooks;
	struct meta_inode was_a = *a, was_b = *b;

	(void)meta_move(t, a, was_a.parent, NAME_SWAP);
	(void)meta_move(t, b, was_a.parent, was_a.name);
	(void)meta_move(t, a, was_b.parent, was_b.name);
	h->entry_changed(h->arg, was_a.parent, was_a.name);
	h->entry_changed(h->arg, was_b.parent, was_b.name);
	log_warn("job", "'%s' and '%s' have their old names again", a->name, b->name);
}

static enum step names_back(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in[2];
	bool later[2], here[2];
	struct meta_txn *t = meta_begin(j->conf.meta);

	undo(job);
	for (int i = 0; i < 2; i++) {
		uint64_t ino = i == 0 ? job->ino : job->victim;

		later[i] = job_moves_later(job, ino);
		here[i] = meta_inode_get(t, ino, &in[i]) == 0 && (in[i].flags & META_F_ORPHAN) == 0;
		if (!here[i])
			continue;
		in[i].flags |= META_F_FAILED;
		(void)snprintf(in[i].last_error, sizeof(in[i].last_error), "%.150s", job->own.why);
		(void)meta_inode_put(t, &in[i]);
	}
	if (here[0] && here[1] && !later[0] && !later[1])
		swap_names(job, t, &in[0], &in[1]);
	else
		for (int i = 0; i < 2; i++)
			if (here[i] && !later[i])
				follow_alone(job, t, &in[i]);
	return job_finish(job, t);
}

static enum step back(struct job *job, const struct pair *p)
{
	struct err err = {0};
	bool both = p->has_a && p->has_b;

	job_state_set(job, JOB_ROLLING_BACK);
	if (!atomic_load(&job->jobs->stopping))
		atomic_store(&job->cancel, false);
	if (both && at(&p->b, job->src_remote, job->src))
		return home(job, &p->b, job->dst_remote, job->dst);
	if (both && at(&p->a, job->dst_remote, p->tmp))
		return home(job, &p->a, job->src_remote, job->src);
	errint_t r = job_remove_copy(job, job->dst_remote, both ? p->tmp : job->dst, &err);

	return r < 0 ? persist(job, r, &err) : names_back(job);
}

/* ---- the step ---- */

/* Only B has an object: it is called A from here on. */
static void change_roles(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	uint64_t ino = job->ino;
	uint32_t remote = job->src_remote;
	char *path = job->src;

	job->ino = job->victim;
	job->victim = ino;
	job->src_remote = job->dst_remote;
	job->src = job->dst;
	job->dst_remote = remote;
	job->dst = path;
}

enum step exchange_step(struct job *job)
{
	struct pair p;

	pair_read(job, &p);
	if (!job_barrier_ok(job, MAX_OF(job->g.post_txn, job->own.barrier_txn)))
		return STEP_BARRIER;
	if (!p.has_a && !p.has_b)
		return job_finish_alone(job, job->own.result, job->own.why);
	if (!p.has_a) {
		change_roles(job);
		pair_read(job, &p);
	}
	return job->own.phase == PHASE_BACK ? back(job, &p) : forward(job, &p);
}
