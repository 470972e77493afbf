/* SPDX-License-Identifier: MIT */
/* Classes: transition, restore; object metadata; directory markers. */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define POLL_NS	   (500 * NS_PER_MS) /* how often a restore is asked about */
#define DAY_NS	   (86400 * NS_PER_S)
#define ATTR_RACES 5 /* changes by others that a change of attributes meets */

/* How often a directory is removed that is not empty. */
#define EMPTY_LOOK_NS  (200 * NS_PER_MS)
#define PARKED_LOOK_NS (10 * NS_PER_S)

static errint_t simple_post(struct jobs *j, struct meta_txn *t, enum job_kind kind, uint64_t ino,
	uint32_t remote, const char *path, enum tier tier, unsigned days, bool engine,
	int64_t delay_ns, uint64_t *ret)
{
	struct job *job = job_alloc(j, kind, ino);

	if (job == NULL || job_set_src(job, remote, path) < 0) {
		job_free(job);
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	job->tier = tier;
	job->days = days;
	job->by_engine = engine;
	if (delay_ns > 0)
		job->own.wake_mono_ns = clock_mono_ns() + delay_ns;
	return job_post(j, t, job, ret);
}

/* For an object, where it will be when this job's turn comes: so it runs between the moves that
 * come before it and those that are posted later. */
static errint_t object_post(struct jobs *j, struct meta_txn *t, enum job_kind kind,
	const struct meta_inode *in, enum tier tier, unsigned days, bool engine, int64_t delay_ns,
	uint64_t *ret)
{
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	bool pending = false;

	if (!job_expected(j, in, &remote, path, &pending))
		return 0;
	return simple_post(j, t, kind, in->ino, remote, path, tier, days, engine, delay_ns, ret);
}

errint_t job_tier(struct jobs *j, struct meta_txn *t, const struct meta_inode *in, enum tier tier,
	bool by_engine, uint64_t *ret_job, struct err *err)
{
	*ret_job = 0;
	if (class_of(j, in->loc.remote, tier)[0] == '\0')
		return err_set(err, -EOPNOTSUPP, ERR_FINAL, "this cloud has no class for %s",
			tier_name(tier));
	if ((in->flags & META_F_OBJECT) == 0 || in->kind != META_FILE)
		return err_set(err, -EAGAIN, ERR_RETRY, "it is not in the cloud yet");
	if ((enum tier)in->tier == tier && !job_class_unknown(j, in) && !job_live(j, in->ino))
		return 0;
	return object_post(j, t, JOB_TRANSITION, in, tier, 0, by_engine, 0, ret_job);
}

errint_t job_restore(struct jobs *j, struct meta_txn *t, const struct meta_inode *in, unsigned days,
	uint64_t *ret_job, struct err *err)
{
	*ret_job = 0;
	if (in->kind != META_FILE || (in->flags & (META_F_OBJECT | META_F_ORPHAN)) != META_F_OBJECT)
		return err_set(err, -EINVAL, ERR_FINAL, "it is not an object in a cloud");
	/* One that is restored may stay longer, never shorter. */
	if ((in->flags & META_F_ARCHIVED) == 0 &&
		(in->restored_until_ns == 0 ||
			in->restored_until_ns >= clock_now_ns() + days * DAY_NS))
		return 0;
	{
		LOCKED(&j->g.lock);
		struct job *last = graph_last_of(j, in->ino);

		if (last != NULL && last->kind == JOB_RESTORE && last->days >= days) {
			*ret_job = last->id;
			return 0;
		}
	}
	/* Ordered by nothing: it works on the object wherever that is. */
	return simple_post(j, t, JOB_RESTORE, in->ino, in->loc.remote, in->loc.path, TIER_HOT, days,
		false, 0, ret_job);
}

#define ATTR_REST_NS (60 * NS_PER_S)

static int64_t attr_rest(const struct jobs *j)
{
	return j->conf.attr_rest_ns != 0 ? j->conf.attr_rest_ns : ATTR_REST_NS;
}

bool attr_copies(const struct remote *r)
{
	return r != NULL && !r->caps.set_meta && r->caps.meta_copy != 0;
}

/* Elsewhere than in HOT a copy has fees: for retrieval, for what is replaced before its time. */
static bool attr_worth(struct jobs *j, const struct remote *r, const struct meta_inode *in)
{
	bool known = false;

	if (r == NULL || r->caps.set_meta)
		return r != NULL;
	return attr_copies(r) && in->size <= r->caps.meta_copy &&
	       (job_class_unknown(j, in) || /* attr_step asks */
		       (remote_tier(r, in->class_name, &known) == TIER_HOT && known));
}

bool attr_lazy(const struct job *job)
{
	return job->kind == JOB_ATTR && attr_copies(remote_of(job->jobs, job->src_remote));
}

errint_t job_attr(struct jobs *j, struct meta_txn *t, const struct meta_inode *in)
{
	bool dirty = (in->flags & META_F_DIRTY) != 0;
	uint32_t remote = in->loc.remote;

	if (!dirty && ((in->flags & META_F_OBJECT) == 0 || (in->flags & META_F_ARCHIVED) != 0))
		return 0;
	{
		LOCKED(&j->g.lock);
		struct job *last = graph_last_of(j, in->ino);

		if (last != NULL && (!last->g.begun || last->g.ahead) &&
			(last->kind == JOB_ATTR || last->kind == JOB_UPLOAD))
			return 0;
		/* With the next upload; one that has begun may have read them already. */
		if (dirty && (last == NULL || last->kind != JOB_UPLOAD))
			return 0;
		if (dirty)
			remote = last->dst_remote;
	}
	const struct remote *r = remote_of(j, remote);

	if (dirty ? r == NULL : !attr_worth(j, r, in))
		return 0;
	return object_post(j, t, JOB_ATTR, in, TIER_HOT, 0, false,
		attr_copies(r) ? attr_rest(j) : j->conf.upload_delay_ns, NULL);
}

/* An attempt whose answer was lost may have given the object another version: the row learns it,
 * else whoever comes next takes that for somebody else's. */
static enum step unsure_finish(struct job *job, errint_t r, const char *why)
{
	struct meta_inode in;
	struct err err = {0};
	struct meta_txn *t = NULL;
	char words[JOB_WORDS_MAX];
	bool there = false;

	if (job->own.doubt || job->nonce != job->jobs->nonce) {
		t = meta_begin_read(job->jobs->conf.meta);
		there = meta_inode_get(t, job->ino, &in) == 0;
		meta_abort(t);
	}
	if (there && row_follow(job, &in, &err) < 0)
		log_warn("job", "%s: %s: its version is not known", job_words(job, words),
			err_text(&err, -EIO));
	return job_finish_alone(job, r, why);
}

static enum step simple_trouble(struct job *job, errint_t r, const struct err *err)
{
	enum step s = job_trouble(job, r, err);

	return s == STEP_DONE ? unsure_finish(job, job->own.result, job->own.why) : s;
}

/* Before a request that would be through before it looks. */
static bool is_called_off(struct job *job, enum step *ret)
{
	if (!job_called_off(job))
		return false;
	*ret = simple_trouble(job, -ECANCELED, &(struct err){.kind = ERR_CANCELLED});
	return true;
}

/* Reads the row; false when there is nothing (left) to do for an object of it. */
static bool object_row(struct job *job, struct meta_inode *in)
{
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, in);

	meta_abort(t);
	return r == 0 && (in->flags & META_F_ORPHAN) == 0 && (in->flags & META_F_OBJECT) != 0;
}

/* The row names the object that was worked on: what was learned about it may go in. */
static bool same_place(const struct meta_inode *now, const struct meta_inode *then)
{
	return (now->flags & META_F_OBJECT) != 0 && now->loc.remote == then->loc.remote &&
	       strcmp(now->loc.path, then->loc.path) == 0;
}

static enum step row_from_stat(
	struct job *job, const struct meta_inode *then, const struct store_stat *st, bool done)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	char etag[META_ETAG_MAX] = "";

	/* Others may have gone on while a restore looked; it changes no version itself. */
	if (meta_inode_get(t, job->ino, &in) == 0 && same_place(&in, then) &&
		(job->kind != JOB_RESTORE || strcmp(in.loc.etag, st->etag) == 0)) {
		(void)snprintf(etag, sizeof(etag), "%s", in.loc.etag);
		job_loc_set(&in, job->jobs, in.loc.remote, NULL, st);
		in.flags &= ~(uint32_t)META_F_FAILED;
		(void)meta_inode_put(t, &in);
		if (strcmp(etag, st->etag) != 0)
			stage_rebase(job->jobs, job->ino, etag, st->etag);
	}
	if (done)
		restored_tell(job->jobs, t, job->ino);
	/* What was changed while it was archived could not go along. */
	if (done && etag[0] != '\0' && job->kind == JOB_TRANSITION &&
		(in.flags & META_F_ATTR_LOCAL) != 0)
		(void)job_attr(job->jobs, t, &in);
	if (done)
		return job_finish(job, t);
	(void)meta_commit(t);
	return STEP_LATER;
}

/* Which object it is about: a move may bring the file to another one that is archived as well. */
static uint64_t object_hash(const struct meta_loc *loc)
{
	return hash64(
		loc->path, strlen(loc->path), hash64(loc->etag, strlen(loc->etag), loc->remote));
}

/* Its stay was asked for by somebody else, for less: clouds take no other wish while a restore is
 * under way. They may round, and the clocks may differ. */
static bool lacks_days(const struct store_stat *st, unsigned days)
{
	return st->restored_until_ns != 0 &&
	       st->restored_until_ns + DAY_NS <= clock_now_ns() + days * DAY_NS;
}

/* 0 also when there is nothing to be restored (any more): a move may have brought it to a class
 * that needs none. */
static errint_t restore_ask(
	const struct objref *o, const struct store_call *call, unsigned days, struct err *err)
{
	struct store_stat st = {0};
	errint_t r = store_restore(o->st, call, o->o, days, err);

	if (r == 0 || err->kind != ERR_FINAL || store_head(o->st, call, o->o, &st, NULL) < 0)
		return r;
	if (!st.archived) {
		err_clear(err);
		r = 0;
	}
	store_stat_done(&st);
	return r;
}

static int64_t poll_ns(const struct jobs *j)
{
	return j->conf.retry_max_ns != 0 ? MIN_OF(j->conf.retry_max_ns, POLL_NS) : POLL_NS;
}

/* Asks for a restore once, then looks until it is there. */
static enum step restore_poll(
	struct job *job, const struct meta_inode *in, unsigned days, bool done_when_ready)
{
	struct objref o;
	struct store_call call;
	struct store_stat st = {0};
	struct err err = {0};
	errint_t r = objref_make(job->jobs, in->loc.remote, in->loc.path, &o, &err);

	call_init(&call, job);
	if (r == 0 && (!job->own.restored_asked || job->own.seq != object_hash(&in->loc))) {
		r = restore_ask(&o, &call, days != 0 ? days : 1, &err);
		job->own.restored_asked = r == 0;
		job->own.seq = object_hash(&in->loc);
	}
	if (r == 0)
		r = store_head(o.st, &call, o.o, &st, &err);
	if (r < 0)
		return simple_trouble(job, r, &err);
	bool ready = !st.archived;

	if (ready && done_when_ready && !job->own.asked_again && lacks_days(&st, days)) {
		job->own.asked_again = true;
		job->own.restored_asked = false;
		store_stat_done(&st);
		return STEP_AGAIN;
	}
	enum step s = row_from_stat(job, in, &st, ready && done_when_ready);

	store_stat_done(&st);
	if (ready)
		return done_when_ready ? s : STEP_AGAIN;
	job_note(job, "the restore is under way");
	job_outside(job, true);
	job->own.wake_mono_ns = clock_mono_ns() + poll_ns(job->jobs);
	return STEP_LATER;
}

enum step restore_step(struct job *job)
{
	struct meta_inode in;
	enum step s;

	if (!object_row(job, &in))
		return job_finish_alone(job, 0, NULL);
	return is_called_off(job, &s) ? s : restore_poll(job, &in, job->days, true);
}

/* The class change of a run before a crash, or one whose answer was lost: the object has another
 * version, the class that was wanted, and the same bytes. */
static bool transition_ours(struct job *job, const struct meta_inode *in, struct objref *o,
	const struct store_call *call, struct store_stat *ret)
{
	bool known = false;
	const struct remote *r = remote_of(job->jobs, in->loc.remote);

	if (r == NULL || store_head(o->st, call, o->o, ret, NULL) < 0)
		return false;
	if (remote_tier(r, ret->class_name, &known) == job->tier && known &&
		ret->size == in->size && in->has_crc32c && ret->has_crc32c &&
		ret->crc32c == in->crc32c)
		return true;
	store_stat_done(ret);
	return false;
}

static bool in_tier(const struct job *job, const struct meta_inode *in)
{
	return (enum tier)in->tier == job->tier && !job_class_unknown(job->jobs, in);
}

enum step transition_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct objref o;
	struct store_call call;
	struct store_stat st = {0};
	struct err err = {0};
	enum step s;

	if (!object_row(job, &in) || in_tier(job, &in))
		return unsure_finish(job, 0, NULL);
	if (is_called_off(job, &s))
		return s;
	errint_t r = class_need(job, &in, &err);

	if (r < 0)
		return simple_trouble(job, r, &err);
	if (in_tier(job, &in))
		return unsure_finish(job, 0, NULL);
	if (job->by_engine && ((in.flags & (META_F_DIRTY | META_F_PINNED)) != 0 ||
				      (j->conf.hooks.is_open != NULL && job->tier == TIER_ARCHIVE &&
					      j->conf.hooks.is_open(j->conf.hooks.arg, job->ino))))
		return unsure_finish(job, 0, "the file is in use: judged again later");
	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	r = objref_make(j, in.loc.remote, in.loc.path, &o, &err);
	call_init(&call, job);
	job_state_set(job, JOB_RUNNING);
	if (r == 0)
		r = store_set_tier(o.st, &call, o.o, class_of(j, in.loc.remote, job->tier),
			in.loc.etag, &st, &err);
	job->own.doubt |= r < 0 && err.kind == ERR_UNKNOWN;
	if (r < 0 && err.kind == ERR_ARCHIVED && !job->own.has_crc) {
		s = restore_poll(job, &in, 1, false);
		job->own.has_crc = s == STEP_AGAIN; /* restored once; a second refusal is final */
		return s;
	}
	if (r < 0 && err.kind == ERR_STALE) {
		if (!transition_ours(job, &in, &o, &call, &st))
			return job_finish_alone(
				job, -ESTALE, "the object was changed by somebody else");
		r = 0;
	}
	if (r < 0)
		return simple_trouble(job, r, &err);
	s = row_from_stat(job, &in, &st, true);
	store_stat_done(&st);
	if (s == STEP_DONE)
		j->conf.hooks.inode_changed(j->conf.hooks.arg, job->ino, false);
	return s;
}

/* store_set_meta, and what follows when its answer was lost, when others have used the room, or
 * when they were quicker. -ESTALE, ERR_STALE: the object is theirs now. */
static errint_t attr_send(struct job *job, const struct meta_inode *in, struct objref *o,
	struct meta_set *meta, struct store_stat *ret, struct err *err)
{
	struct store_call call;
	char etag[META_ETAG_MAX];
	errint_t r = -ESTALE;

	call_init(&call, job);
	(void)snprintf(etag, sizeof(etag), "%s", in->loc.etag);
	for (unsigned i = 0; i < ATTR_RACES; i++) {
		r = store_set_meta(o->st, &call, o->o, etag, meta->m, meta->n, ret, err);
		job->own.doubt |= r < 0 && err->kind == ERR_UNKNOWN;
		if (r == -E2BIG && meta_set_leave(meta)) {
			err_clear(err);
			continue;
		}
		if (r == 0 || err->kind != ERR_STALE)
			break;
		errint_t h = store_head(o->st, &call, o->o, ret, err);

		enum mark_owner owner = h == 0 ? mark_check(job, ret) : MARK_OTHER;

		if (owner == MARK_NOW && job->nonce != job->jobs->nonce)
			owner = MARK_EARLIER; /* a power cut may have taken back its number */
		if (h < 0 || owner == MARK_NOW)
			return h;
		/* An earlier attempt of ours had other attributes; theirs, but the same bytes: only
		 * what is said about them is new. */
		bool same = owner == MARK_EARLIER ||
			    (ret->size == in->size && in->has_crc32c && ret->has_crc32c &&
				    ret->crc32c == in->crc32c);

		(void)snprintf(etag, sizeof(etag), "%s", ret->etag);
		store_stat_done(ret);
		r = err_set(err, -ESTALE, ERR_STALE, "the object was changed by somebody else");
		if (!same)
			break;
	}
	return r;
}

/* A copy waits until the file was left alone for a while, unless somebody waits for it. */
static bool attr_rests(struct job *job, const struct meta_inode *in)
{
	int64_t left = attr_rest(job->jobs) - (clock_now_ns() - in->ctime_ns);
	{
		LOCKED(&job->jobs->g.lock);
		if (job->g.soon || job->g.ndependents != 0)
			return true;
	}
	if (!attr_lazy(job) || left <= 0)
		return true;
	job_note(job, "attributes wait until they are changed no more");
	job->own.wake_mono_ns = clock_mono_ns() + MIN_OF(left, attr_rest(job->jobs));
	return false;
}

/* Reads the row; false when there is nothing (left) to bring along. */
static bool attr_wanted(struct job *job, struct meta_inode *in)
{
	return object_row(job, in) && (in->flags & (META_F_DIRTY | META_F_ARCHIVED)) == 0 &&
	       (in->flags & META_F_ATTR_LOCAL) != 0 &&
	       attr_worth(job->jobs, remote_of(job->jobs, in->loc.remote), in);
}

enum step attr_step(struct job *job)
{
	struct meta_inode in;
	struct objref o;
	struct store_stat st = {0};
	struct err err = {0};
	cleanup_meta_set struct meta_set meta = {0};
	char mark[64], words[JOB_WORDS_MAX];
	enum step s;

	if (!attr_wanted(job, &in))
		return unsure_finish(job, 0, NULL);
	if (is_called_off(job, &s))
		return s;
	if (!attr_rests(job, &in))
		return STEP_LATER;
	errint_t r = class_need(job, &in, &err); /* and what the object has, lest that goes */

	if (r < 0)
		return simple_trouble(job, r, &err);
	if (!attr_wanted(job, &in))
		return unsure_finish(job, 0, NULL);
	/* The version changes: the record comes first, so that it is known as ours after a crash.
	 */
	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	if (job_attempt(job) < 0)
		return job_unrecorded(job, -EIO);
	r = objref_make(job->jobs, in.loc.remote, in.loc.path, &o, &err);
	mark_make(job, mark, sizeof(mark));
	if (r == 0 && meta_set_make(&meta, job->jobs, NULL, in.loc.remote, &in, mark) < 0)
		r = err_set(&err, -EIO, ERR_RETRY, "index: extended attributes cannot be read");
	meta_set_drop(&meta);
	if (r == 0)
		r = attr_send(job, &in, &o, &meta, &st, &err);
	if (r < 0 && err.kind == ERR_STALE) { /* seen at the next LIST */
		log_warn("job", "%s: %s: its attributes are those that it has there",
			job_words(job, words), err.msg);
		return job_finish_alone(job, 0, NULL);
	}
	if (r < 0)
		return simple_trouble(job, r, &err);
	if (meta.left)
		attrs_left_log(in.loc.path);
	struct meta_inode now;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (meta_inode_get(t, job->ino, &now) == 0 && same_place(&now, &in)) {
		if (now.ctime_ns == in.ctime_ns && !meta.left)
			now.flags &= ~(uint32_t)META_F_ATTR_LOCAL;
		if (strcmp(now.loc.etag, st.etag) != 0) {
			stage_rebase(job->jobs, job->ino, now.loc.etag, st.etag);
			(void)snprintf(now.loc.etag, sizeof(now.loc.etag), "%s", st.etag);
		}
		(void)meta_inode_put(t, &now);
	}
	store_stat_done(&st);
	return job_finish(job, t);
}

/* ---- directory markers ---- */

static errint_t post_marker(struct jobs *j, struct meta_txn *t, enum job_kind kind,
	const struct meta_inode *dir, int64_t delay_ns)
{
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	errint_t r = kind == JOB_UNMARK ? 0 : meta_desired(t, dir->ino, &remote, path);

	if (r < 0)
		return r;
	if (kind == JOB_UNMARK) /* its moves come first, and take the marker along */
		job_expected_dir(j, dir, &remote, path);
	return path[0] == '\0' ? 0
			       : simple_post(j, t, kind, dir->ino, remote, path, TIER_HOT, 0, false,
					 delay_ns, NULL);
}

/* While directories move: those moves were posted before dir was there, so they do not take it
 * along, also where it has the name that one of them left; and below a directory that has moved,
 * what is made now lies at its name at once, not at the prefix that the others have still. */
static errint_t made_during_moves(struct jobs *j, struct meta_txn *t, struct meta_inode *dir)
{
	uint32_t remote = 0, at = 0;
	char want[META_PATH_MAX + 1], prefix[META_PATH_MAX + 1];
	{
		LOCKED(&j->g.lock);
		if (TAILQ_EMPTY(&j->g.moves))
			return 0;
		dir->moves_before = j->g.last_id;
	}
	errint_t r = meta_desired(t, dir->ino, &remote, want);

	if (r == 0)
		r = meta_dir_prefix(t, dir->ino, &at, prefix);
	if (r < 0)
		return r;
	if (at != remote || strcmp(prefix, want) != 0) {
		dir->flags |= META_F_PREFIX;
		dir->loc.remote = remote;
		(void)snprintf(dir->loc.path, sizeof(dir->loc.path), "%s", want);
	}
	return meta_inode_put(t, dir);
}

errint_t job_made_dir(struct jobs *j, struct meta_txn *t, struct meta_inode *dir)
{
	if ((dir->flags & (META_F_ROOT | META_F_BUCKET)) != 0)
		return 0;
	errint_t r = made_during_moves(j, t, dir);

	if (r < 0)
		return r;
	return post_marker(j, t, JOB_MARK, dir, j->conf.upload_delay_ns);
}

errint_t job_emptied_dir(struct jobs *j, struct meta_txn *t, uint64_t dir)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, dir, &in);

	if (r < 0 || in.nchild != 0 ||
		(in.flags & (META_F_ROOT | META_F_BUCKET | META_F_MARKER | META_F_ORPHAN)) != 0)
		return r;
	return post_marker(j, t, JOB_MARK, &in, 0);
}

/* loc of an orphaned directory: where its marker is. The vfs calls this after meta_unlink, when the
 * path is gone, so the place is what job_pin_prefix kept, or the vfs's rmdir pinned. */
errint_t job_removed_dir(struct jobs *j, struct meta_txn *t, struct meta_inode *dir)
{
	bool live = job_live(j, dir->ino);

	if (((dir->flags & META_F_MARKER) == 0 && !live) || dir->loc.remote == 0)
		return orphan_sweep(j, t, dir->ino, NULL);
	return post_marker(j, t, JOB_UNMARK, dir, 0);
}

enum step mark_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct objref o;
	struct store_call call;
	cleanup_meta_set struct meta_set meta = {0};
	struct err err = {0};
	enum step s;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	meta_abort(t);
	if (r < 0 || (in.flags & (META_F_ORPHAN | META_F_MARKER)) != 0 || in.nchild != 0)
		return job_finish_alone(job, 0, NULL);
	if (is_called_off(job, &s))
		return s;
	r = objref_make(j, job->src_remote, job->src, &o, &err);
	call_init(&call, job);
	if (r == 0)
		r = meta_set_make(&meta, j, NULL, job->src_remote, &in, NULL);
	struct store_put put = {.meta = meta.m, .nmeta = meta.n};

	if (r == 0)
		r = store_put(o.st, &call, o.o, "", 0, &put, NULL, &err);
	if (r < 0 && err.kind == ERR_UNKNOWN)
		err.kind = ERR_RETRY; /* without content: the same again does no harm */
	if (r < 0)
		return simple_trouble(job, r, &err);
	t = meta_begin(j->conf.meta);
	if (meta_inode_get(t, job->ino, &in) == 0) {
		in.flags |= META_F_MARKER;
		if ((in.flags & META_F_ORPHAN) != 0) {
			in.loc.remote = job->src_remote;
			(void)snprintf(in.loc.path, sizeof(in.loc.path), "%s", job->src);
		}
		(void)meta_inode_put(t, &in);
	}
	return job_finish(job, t);
}

static enum step look_again(struct job *job, int64_t after_ns)
{
	(void)atomic_fetch_add(&job->repeats, 1);
	job->own.wake_mono_ns = clock_mono_ns() + after_ns;
	return STEP_LATER;
}

/* What is in it is not ours, and nothing of it may be lost: the directory stays, and shows up again
 * with that. */
static enum step stays_filled(struct job *job, const struct err *err)
{
	const struct remote *remote = remote_of(job->jobs, job->src_remote);

	log_warn("job",
		"remote %s: '%s' was removed here, and is not empty there: %s; it stays, and "
		"shows up again when what is above it is listed: remove what is in it, and then "
		"the directory",
		remote != NULL ? remote->name : "?", job->src, err_text(err, -ENOTEMPTY));
	job->own.told = true;
	return job_finish_alone(job, -ENOTEMPTY, err_text(err, -ENOTEMPTY));
}

/* Stores that keep objects as files have a marker as a directory, which is to be empty. What is in
 * it may be on its way: with jobs of ours, which come to their end, or as somebody else removes it
 * at the same time, for which there is some time. */
static enum step not_empty(struct job *job, const struct err *err)
{
	const char *text = err_text(err, -ENOTEMPTY);
	struct jobs *j = job->jobs;
	int64_t now = clock_mono_ns();
	enum below below = BELOW_NONE;

	if (job_is_dir(j, job->src_remote, job->src))
		return job_finish_alone(job, 0, NULL); /* made again, and in use */
	{
		LOCKED(&j->g.lock);
		below = graph_below(j, job);
	}
	if (below == BELOW_PARKED) {
		job_note(job, "what is in it waits itself: %s", text);
		job_outside(job, false);
		return look_again(job, PARKED_LOOK_NS);
	}
	if (below == BELOW_MOVES) {
		job_note(job, "what is in it goes first: %s", text);
		return look_again(job, EMPTY_LOOK_NS);
	}
	if (job->own.follow_until_ns == 0)
		job->own.follow_until_ns = now + job_follow_ns(j, -ENOTEMPTY);
	if (now >= job->own.follow_until_ns && !atomic_load(&j->stopping))
		return stays_filled(job, err);
	job_note(job, "it is not empty there, and is tried for %lld s more: %s",
		(long long)(MAX_OF(job->own.follow_until_ns - now, 0) / NS_PER_S), text);
	/* One below it may be through at any moment. */
	int64_t after = EMPTY_LOOK_NS << (below == BELOW_DIRS ? 0 : MIN_OF(job->own.tries++, 5u));

	return look_again(job, MIN_OF(after, MAX_OF(job->own.follow_until_ns - now, 0)));
}

enum step unmark_step(struct job *job)
{
	struct err err = {0};

	if (!job_barrier_ok(job, job->g.post_txn))
		return STEP_BARRIER;
	errint_t r = job_remove_object(job, job->src_remote, job->src, "", &err);

	if (r == -ENOTEMPTY)
		return not_empty(job, &err);
	if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	return job_finish_alone(job, r, job->own.why);
}
