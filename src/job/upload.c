/* SPDX-License-Identifier: MIT */
/*
 * Staged content -> object. The target key is fixed when the job is posted; what it may overwrite
 * is what the index knows there: the inode's own object, or its victim's. Anything else at the key
 * is somebody's (conflict.c).
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "job_priv.h"

#define AGAIN_MIN_NS  (20 * NS_PER_MS)
#define AGAIN_MAX_NS  (3600 * NS_PER_S)
#define UNSURE_MAX_NS (60 * NS_PER_S)
#define UNSURE_END_NS (600 * NS_PER_S)

/* ETag that may be overwritten at job->dst, "" when the key must be free. */
static void expect(struct job *job, struct meta_txn *t, const struct meta_inode *in, char *ret)
{
	struct meta_inode v;

	ret[0] = '\0';
	if (job->own.dst_etag[0] != '\0') { /* an earlier attempt of ours is there */
		(void)snprintf(ret, META_ETAG_MAX, "%s", job->own.dst_etag);
		return;
	}
	if ((in->flags & META_F_OBJECT) != 0 && in->loc.remote == job->dst_remote &&
		strcmp(in->loc.path, job->dst) == 0)
		(void)snprintf(ret, META_ETAG_MAX, "%s", in->loc.etag);
	else if (job->victim != 0 && meta_inode_get(t, job->victim, &v) == 0 &&
		 (v.flags & META_F_OBJECT) != 0 && v.loc.remote == job->dst_remote &&
		 strcmp(v.loc.path, job->dst) == 0)
		(void)snprintf(ret, META_ETAG_MAX, "%s", v.loc.etag);
}

void job_expect_etag(struct job *job, struct meta_txn *t, const struct meta_inode *in, char *ret)
{
	expect(job, t, in, ret);
}

/* A new attempt has a new write mark, known before the deed. */
errint_t job_attempt(struct job *job)
{
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	{
		LOCKED(&job->jobs->g.lock); /* `jobs list` reads it meanwhile */
		job->attempts++;
		job->g.archived = false;
	}
	job->own.wrote = false;
	(void)journal_put(t, job);
	return meta_commit(t);
}

bool job_victim_elsewhere(struct job *job, struct meta_txn *t, struct meta_inode *ret)
{
	const uint32_t is = META_F_OBJECT | META_F_ORPHAN;

	return meta_inode_get(t, job->victim, ret) == 0 && (ret->flags & is) == is &&
	       (ret->loc.remote != job->dst_remote || strcmp(ret->loc.path, job->dst) != 0);
}

void victim_goes_alone(struct job *job, struct meta_txn *t, struct meta_inode *v)
{
	others_go_beside(job, t, v); /* they wait for job, and would come first */
	(void)job_removed(job->jobs, t, v);
}

/* The victim's object was overwritten, or lies elsewhere. */
void job_victim_gone(struct job *job, struct meta_txn *t)
{
	struct meta_inode v;

	if (job->victim == 0 || meta_inode_get(t, job->victim, &v) < 0 ||
		(v.flags & META_F_OBJECT) == 0)
		return;
	if (v.loc.remote == job->dst_remote && strcmp(v.loc.path, job->dst) == 0) {
		v.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
		(void)meta_inode_put(t, &v);
	} else if ((v.flags & META_F_ORPHAN) != 0) {
		victim_goes_alone(job, t, &v);
	}
}

/* The object is there: the index names it, and still says dirty. Only when that is durable may
 * staging forget what it holds (upload_settle): a crash in between uploads the same bytes once
 * more. */
static enum step committed(struct job *job, const struct store_stat *st)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct meta_txn *t = meta_begin(j->conf.meta);

	if (meta_inode_get(t, job->ino, &in) < 0) {
		meta_abort(t);
		return job_finish_alone(job, 0, NULL);
	}
	struct meta_loc old = in.loc;
	bool had = (in.flags & META_F_OBJECT) != 0 &&
		   (old.remote != job->dst_remote || strcmp(old.path, job->dst) != 0);

	job_loc_set(&in, j, job->dst_remote, job->dst, st);
	in.flags |= META_F_OBJECT | META_F_BASE;
	(void)meta_inode_put(t, &in);
	job_victim_gone(job, t);
	if (had) { /* the old object goes before anybody may use its key */
		(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", old.etag);
		if (job_set_src(job, old.remote, old.path) < 0)
			meta_txn_fail(t, -ENOMEM);
	}
	(void)journal_put(t, job);
	job->own.barrier_txn = meta_txn_id(t);
	errint_t r = meta_commit(t);

	(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%s", st->etag);
	job->own.doubt = r < 0;
	if (r < 0)
		return job_unrecorded(job, r);
	job->own.uploaded = true;
	job->own.phase = 1;
	ahead_drop(job); /* a twin may have been quicker: what was begun is ended before the rest */
	return STEP_BARRIER;
}

/* Nothing was written since: staging becomes the cache of the new version, the row becomes clean.
 * The vfs forgets first, so that a write from here on marks the row again, after this. */
static bool became_clean(struct job *job, struct stage_file *f)
{
	struct jobs *j = job->jobs;

	if (!job->own.uploaded)
		return false;
	if (job->own.copy != NULL) {
		if (f == NULL ||
			stage_adopt(f, job->own.seq, job->own.dst_etag, job->own.size) != 0)
			return false;
	} else if (f != NULL &&
		   stage_clean(f, job->own.seq, job->own.dst_etag, job->own.size) != 0) {
		if (j->conf.hooks.rebased != NULL)
			j->conf.hooks.rebased(j->conf.hooks.arg, job->ino);
		return false;
	}
	if (j->conf.hooks.cleaned != NULL)
		j->conf.hooks.cleaned(j->conf.hooks.arg, job->ino);
	setback_clear(j, job->ino);
	return true;
}

static void row_clean(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	in->flags &= ~(uint32_t)(META_F_DIRTY | META_F_FAILED | META_F_CONFLICT |
				 META_F_ATTR_LOCAL | META_F_TIER_HINT);
	in->last_error[0] = '\0';
	if (in->kind == META_FILE)
		in->size = job->own.size;
	(void)meta_inode_put(t, in);
	(void)meta_dirty_set(t, in->ino, false);
}

void job_follow_name(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	char want[META_PATH_MAX + 1];
	uint32_t remote = 0;
	uint64_t id = 0;
	bool last = !job_moves_later(job, in->ino);
	{
		LOCKED(&job->jobs->g.lock);
		last = last && (TAILQ_EMPTY(&job->jobs->g.moves) || job->kind == JOB_RELOCATE ||
				       path_is_beside(job->dst));
	}
	if (last && (in->flags & META_F_ORPHAN) == 0 &&
		meta_desired(t, in->ino, &remote, want) == 0 &&
		(remote != job->dst_remote || strcmp(want, job->dst) != 0))
		(void)job_moved(job->jobs, t, in, NULL, &id);
}

/* Pins to a tier from COLD on wait for a while without writes (the engine sees to that), unless it
 * was for this very file that the user asked. What is open may be written to, for which an archived
 * object cannot be read: the next upload looks again. */
static void apply_pin(struct job *job, struct meta_txn *t, struct meta_inode *in, bool asked)
{
	const struct job_hooks *h = &job->jobs->conf.hooks;
	uint64_t id = 0;

	if ((in->flags & META_F_PINNED) == 0 || in->forced_tier == in->tier ||
		(!asked && in->forced_tier >= TIER_COLD))
		return;
	if (in->forced_tier == TIER_ARCHIVE && h->is_open != NULL && h->is_open(h->arg, in->ino)) {
		in->flags |= META_F_TIER_HINT;
		(void)meta_inode_put(t, in);
		return;
	}
	(void)job_tier(job->jobs, t, in, (enum tier)in->forced_tier, job->by_engine, &id, NULL);
}

/* Its upload began while it was still written, at a store that takes metadata then: of all that is
 * said about it only the time of the last write is another now. That stays here; a copy of a large
 * object is too much for it, and whoever sets a time himself gets it. */
static bool time_came_late(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	struct meta_inode then = *in;

	then.mtime_ns = job->own.began_mtime_ns;
	return job->own.began_ns != 0 && job->own.attrs_known &&
	       in->mtime_ns >= job->own.began_mtime_ns && in->mtime_ns <= clock_now_ns() &&
	       !attrs_differ(job, t, &then);
}

static bool is_at(const struct job *job, const struct meta_inode *in)
{
	return in->loc.remote == job->dst_remote && strcmp(in->loc.path, job->dst) == 0;
}

/* Phase 1, after the sync point. */
static enum step upload_settle(struct job *job)
{
	struct jobs *j = job->jobs;
	struct stage_file *f = NULL;
	struct meta_inode in;

	if (meta_synced(j->conf.meta) < job->own.barrier_txn)
		return STEP_BARRIER;
	enum step s = job_remove_source(job);

	if (s != STEP_DONE)
		return s;
	errint_t r = stage_get(j->conf.stage, job->ino, false, &f);
	bool clean = (r == 0 || r == -ENOENT) && became_clean(job, f);
	struct meta_txn *t = meta_begin(j->conf.meta);

	if (meta_inode_get(t, job->ino, &in) == 0) {
		bool asked = (in.flags & META_F_TIER_HINT) != 0;

		clean = clean && (f == NULL || !stage_dirty(f));
		if (clean && f != NULL && in.kind == META_FILE && stage_mtime(f) != 0 &&
			!job->own.marked_only)
			in.mtime_ns = stage_mtime(f);
		if (clean)
			row_clean(job, t, &in);
		/* Its metadata may not be: changed while the bytes went up, or of an earlier run.
		 */
		bool differ = clean && (!job->own.attrs_known || attrs_differ(job, t, &in)) &&
			      !time_came_late(job, t, &in);

		if (differ || (clean && job->own.attrs_left)) {
			in.flags |= META_F_ATTR_LOCAL;
			(void)meta_inode_put(t, &in);
		}
		if (differ)
			(void)job_attr(j, t, &in);
		if (is_at(job, &in))
			job_follow_name(job, t, &in);
		else
			loose_after(job, t, &in);
		if (clean)
			apply_pin(job, t, &in, asked);
	}
	s = job_finish(job, t);

	if (s == STEP_DONE && (!clean || (f != NULL && stage_dirty(f))) &&
		j->conf.hooks.dirty_again != NULL)
		j->conf.hooks.dirty_again(j->conf.hooks.arg, job->ino, 0);
	stage_put(f);
	return s;
}

static struct setback *setback_get_locked(struct jobs *j, uint64_t ino)
{
	struct setback *s = NULL;

	lock_assert_held(&j->g.lock);
	HASH_FIND(hh, j->g.setbacks, &ino, sizeof(ino), s);
	if (s == NULL && (s = calloc(1, sizeof(*s))) != NULL) {
		s->ino = ino;
		HASH_ADD(hh, j->g.setbacks, ino, sizeof(ino), s);
	}
	return s;
}

int64_t setback_delay_ns(struct jobs *j, uint64_t ino)
{
	int64_t most = j->conf.retry_max_ns != 0 ? j->conf.retry_max_ns : AGAIN_MAX_NS;
	int64_t delay = MAX_OF(j->conf.upload_delay_ns, AGAIN_MIN_NS);
	LOCKED(&j->g.lock);
	struct setback *s = setback_get_locked(j, ino);

	if (s == NULL)
		return MAX_OF(delay, most);
	delay <<= MIN_OF(s->n, 16u);
	s->n++;
	return MIN_OF(delay, MAX_OF(most, j->conf.upload_delay_ns));
}

bool setback_is(struct jobs *j, uint64_t ino)
{
	struct setback *s = NULL;
	LOCKED(&j->g.lock);

	HASH_FIND(hh, j->g.setbacks, &ino, sizeof(ino), s);
	return s != NULL && s->n != 0;
}

void setback_clear(struct jobs *j, uint64_t ino)
{
	struct setback *s = NULL;
	LOCKED(&j->g.lock);

	HASH_FIND(hh, j->g.setbacks, &ino, sizeof(ino), s);
	if (s != NULL) {
		HASH_DEL(j->g.setbacks, s);
		free(s);
	}
}

void setbacks_free(struct jobs *j)
{
	struct setback *s = NULL, *more = NULL;

	HASH_ITER (hh, j->g.setbacks, s, more) {
		HASH_DEL(j->g.setbacks, s);
		free(s);
	}
}

static errint_t base_follow(
	struct job *job, struct meta_inode *in, struct stage_file *f, struct err *err);

/* What this job alone knows the next one could not: the marks of an attempt that is at the key, or
 * will be, and in no row; and that the object there is one to be replaced. */
static bool unsure(const struct job *job)
{
	return job->own.doubt || job->victim != 0 || job->nonce != job->jobs->nonce;
}

static bool has_dependents(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	return job->g.ndependents != 0;
}

/* What an attempt left at the key becomes the object that the row names, or goes. 1: there is
 * nothing of ours there now. */
static int learn_upload(struct job *job, struct err *err)
{
	struct jobs *j = job->jobs;
	struct store_stat st = {0};
	struct meta_inode in;
	struct stage_file *f = NULL;
	int r = job_look(job, job->dst_remote, job->dst, &st, err);

	if (r <= 0 || mark_check(job, &st) == MARK_OTHER) {
		store_stat_done(&st);
		return MIN_OF(r, 0) < 0 ? r : 1;
	}
	(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%s", st.etag);
	struct meta_txn *t = meta_begin(j->conf.meta);
	bool there = meta_inode_get(t, job->ino, &in) == 0,
	     has = there && (in.flags & META_F_OBJECT) != 0,
	     here = has && in.loc.remote == job->dst_remote && strcmp(in.loc.path, job->dst) == 0;

	if (there && (!has || (here && (in.flags & META_F_BASE) == 0))) {
		job_loc_set(&in, j, job->dst_remote, job->dst, &st);
		in.flags |= META_F_OBJECT; /* to be overwritten; nothing comes from it */
		(void)meta_inode_put(t, &in);
	}
	store_stat_done(&st);
	r = meta_commit(t);
	if (r < 0)
		return err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	if (!here && has) /* the bytes are here, and at the old place */
		return job_remove_copy(job, job->dst_remote, job->dst, err);
	if (!here || (in.flags & META_F_BASE) == 0)
		return 0;
	r = stage_get(j->conf.stage, job->ino, false, &f);
	r = r < 0 ? err_set(err, r, ERR_RETRY, "staging: %s", strerror(-r))
		  : base_follow(job, &in, f, err);
	stage_put(f);
	return r;
}

/* The next upload of it is to replace the same object. */
static bool hand_on_victim(struct job *job, struct meta_txn *t)
{
	struct meta_inode v;
	struct job *next = NULL;
	struct claim *c = NULL;
	errint_t r = 0;
	{
		LOCKED(&job->jobs->g.lock);
		TAILQ_FOREACH (c, &graph_ino_key(job->jobs, job->ino)->queue, link)
			if (c->job->id > job->id && c->job->ino == job->ino && next == NULL)
				next = c->job;
		if (next == NULL || next->kind != JOB_UPLOAD || next->victim != 0 ||
			next->dst_remote != job->dst_remote || strcmp(next->dst, job->dst) != 0)
			return false;
		next->victim = job->victim;
		r = graph_claim_victim(job->jobs, next);
	}
	if (job_victim_elsewhere(job, t, &v)) { /* its key is next's, too (key_hand_over) */
		others_go_beside(job, t, &v);
		LOCKED(&job->jobs->g.lock);
		if (r == 0)
			r = graph_claim_new(job->jobs, next, v.loc.remote, v.loc.path);
	}
	(void)journal_put(t, next);
	if (r < 0)
		meta_txn_fail(t, r);
	return true;
}

/* It ends as any other that failed: nothing is left that the next one would not know; or others
 * have waited behind it for long enough. */
static bool may_end(struct job *job)
{
	struct jobs *j = job->jobs;
	struct err err = {0};
	bool wanted = has_dependents(job);
	int r = job->victim != 0 && !wanted ? 1 : learn_upload(job, &err);

	if (r == 0)
		return true;
	if (!wanted)
		return false;
	if (r > 0)
		return true;
	if (job->own.follow_until_ns == 0)
		job->own.follow_until_ns =
			clock_mono_ns() +
			(j->conf.follow_ns != 0 ? j->conf.follow_ns : UNSURE_END_NS);
	return clock_mono_ns() >= job->own.follow_until_ns;
}

static void say_failed(struct job *job, struct meta_txn *t)
{
	struct meta_inode in;

	if (meta_inode_get(t, job->ino, &in) < 0)
		return;
	in.flags |= META_F_FAILED;
	(void)snprintf(in.last_error, sizeof(in.last_error), "%.150s", job->own.why);
	(void)meta_inode_put(t, &in);
}

/* Whoever waits is told; the job stays, and tries again now and then, or when somebody wants its
 * key or its end. */
static enum step failed_unsure(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_txn *t = meta_begin(j->conf.meta);
	char words[JOB_WORDS_MAX];
	errint_t told = job->own.result, r;

	say_failed(job, t);
	r = meta_commit(t);
	if (r < 0)
		log_warn("job", "index: %s", strerror(-r)); /* a word in the state is missing */
	if (!atomic_load(&j->stopping))
		atomic_store(&job->cancel, false);
	job->own.result = 0;
	job->own.wake_mono_ns =
		clock_mono_ns() + MIN_OF(setback_delay_ns(j, job->ino), UNSURE_MAX_NS);
	job_note(job, "failed, and may have been done: %s", job->own.why);
	log_warn("job", "upload %llu %s: %s; an earlier try of it may have been done",
		(unsigned long long)job->id, job_words(job, words), job->own.why);
	wait_tell(job, told);
	return STEP_LATER;
}

enum step upload_failed(struct job *job, errint_t r, const struct err *err)
{
	enum step s = job_trouble(job, r, err);

	if (s != STEP_DONE)
		return s;
	if (job->own.ahead != NULL) { /* no further step ends it */
		ahead_drop(job);
		(void)uploads_end(job, NULL, &(struct err){0});
	}
	if (unsure(job) && !may_end(job))
		return failed_unsure(job);
	/* Never dropped: it stays dirty, says so, and is tried again, more and more seldom. */
	struct jobs *j = job->jobs;
	struct meta_inode v;
	struct meta_txn *t = meta_begin(j->conf.meta);

	say_failed(job, t);
	if (job->victim != 0 && !hand_on_victim(job, t) && job_victim_elsewhere(job, t, &v))
		victim_goes_alone(job, t, &v); /* nobody would know of it any more */
	s = job_finish(job, t);
	if (s == STEP_DONE && j->conf.hooks.dirty_again != NULL)
		j->conf.hooks.dirty_again(
			j->conf.hooks.arg, job->ino, setback_delay_ns(j, job->ino));
	return s;
}

/* etag: what was to be overwritten, "" = nothing. */
static enum step failed(struct job *job, const char *etag, errint_t r, struct err *err)
{
	if (r == -EAGAIN && err->kind == ERR_STALE) {
		job->own.doubt = true;
		if (job_earlier(job, err))
			return STEP_AGAIN;
	}
	if (err->kind != ERR_STALE || (r != -EEXIST && r != -ESTALE))
		return upload_failed(job, r, err);
	struct meta_inode in;
	struct err look = {0};
	int as = r == -EEXIST ? 0 : upload_as_expected(job, etag, &look);

	if (as == 0)
		return upload_conflict(job);
	/* Then it is the object that its other bytes come from, which lies elsewhere. */
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t e = meta_inode_get(t, job->ino, &in);

	meta_abort(t);
	if (as > 0 && e == 0)
		e = row_follow(job, &in, &look);
	if (as < 0 || e < 0) /* a look that failed is no answer */
		return upload_failed(job, -EAGAIN, &(struct err){.kind = ERR_RETRY});
	if (e > 0)
		return STEP_AGAIN;
	r = err_set(err, -ESTALE, ERR_FINAL,
		"what was not changed here was to come from an object that somebody else "
		"changed");
	return upload_failed(job, r, err);
}

/* New content is online, whatever it is to become. */
void upload_class(const struct job *job, const struct meta_inode *in, struct move_spec *spec)
{
	bool pinned = (in->flags & (META_F_PINNED | META_F_TIER_HINT)) != 0 &&
		      in->forced_tier < TIER_COLD;

	spec->class_name = class_of(
		job->jobs, job->dst_remote, pinned ? (enum tier)in->forced_tier : TIER_HOT);
}

static errint_t upload_body(struct job *job, const struct meta_inode *in, struct stage_file *f,
	const char *etag, struct store_stat *st, struct err *err)
{
	struct move_spec spec = {.dst_remote = job->dst_remote,
		.dst = job->dst,
		.src = "",
		.if_match = etag[0] != '\0' ? etag : NULL,
		.attrs = in,
		.size = job->own.size};
	errint_t r = 0;

	if (copy_twin(job, in, f, etag, st, err, &r))
		return r;
	if ((in->flags & (META_F_OBJECT | META_F_BASE)) == (META_F_OBJECT | META_F_BASE)) {
		spec.src_remote = in->loc.remote;
		spec.src = in->loc.path;
		spec.src_etag = in->loc.etag;
	}
	upload_class(job, in, &spec);
	return move_staged(job, f, &spec, st, err);
}

/* A symbolic link is an object with its target as content, and a mode that says so (as s3fs). */
static errint_t link_body(struct job *job, const struct meta_inode *in, const char *etag,
	struct store_stat *st, struct err *err)
{
	struct objref o;
	struct store_call call;
	cleanup_meta_set struct meta_set meta = {0};
	char mark[64];
	errint_t r = objref_make(job->jobs, job->dst_remote, job->dst, &o, err);

	if (r < 0)
		return r;
	call_init(&call, job);
	mark_make(job, mark, sizeof(mark));
	r = attrs_sent(job, &meta, job->dst_remote, in, mark, err);
	if (r < 0)
		return r;
	struct store_put put = {.if_match = etag[0] != '\0' ? etag : NULL,
		.if_none_match = etag[0] == '\0' ? STORE_IF_ABSENT : NULL,
		.meta = meta.m,
		.nmeta = meta.n};

	r = store_put(o.st, &call, o.o, in->symlink, strlen(in->symlink), &put, st, err);
	job->own.wrote = r == 0;
	job->own.doubt |= r < 0 && err->kind == ERR_UNKNOWN;
	if (r < 0 && (err->kind == ERR_UNKNOWN || err->kind == ERR_STALE)) {
		if (store_head(o.st, &call, o.o, st, NULL) == 0) {
			if (mark_check(job, st) != MARK_OTHER)
				return 0;
			store_stat_done(st);
		} else if (err->kind == ERR_UNKNOWN) {
			err->kind = ERR_RETRY;
		}
	}
	return r;
}

/* The object has these bytes. A crash came after staging became clean and before the row did; or
 * what was changed is as it was again; or it was marked and not changed (node.c). One that is
 * archived may lie where its name was before: it has moves of its own. */
static bool settled_already(struct job *job, const struct meta_inode *in, struct stage_file *f)
{
	char etag[META_ETAG_MAX];
	uint64_t size = 0, a = 0, b = 0;

	stage_base_get(f, etag, &size);
	if (etag[0] == '\0' || strcmp(etag, in->loc.etag) != 0 || size != job->own.size ||
		!(is_at(job, in) || ((in->flags & META_F_ARCHIVED) != 0 && job->victim == 0)) ||
		(stage_dirty(f) && stage_next_dirty(f, 0, &a, &b)))
		return false;
	(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%s", etag);
	job->own.marked_only = job->attempts == 0 && !stage_dirty(f);
	job->own.uploaded = true;
	job->own.phase = 1;
	return true;
}

/* Staging is not here (any more), and the row says dirty still: it was marked for a change that
 * then failed, or a crash came between staging's becoming clean and the row's; and the cache was
 * evicted. Staging with changes never goes, so nothing is to be uploaded, and it begins again
 * as the row's object. When that has another size than the row, and no mark of ours, changes were
 * there. */
static errint_t stage_anew(
	struct job *job, const struct meta_inode *in, struct stage_file **ret, struct err *err)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct store_call call;
	struct store_stat st = {0};
	struct objref o;
	bool same = false, whole = (in->flags & has) == has;
	errint_t r = 0;

	call_init(&call, job);
	if (whole)
		r = objref_make(job->jobs, in->loc.remote, in->loc.path, &o, err);
	if (whole && r == 0)
		r = store_head(o.st, &call, o.o, &st, err);
	if (r < 0 && err->kind != ERR_NOT_FOUND) /* else theirs: the listings tell */
		return r;
	same = whole && r == 0 && strcmp(st.etag, in->loc.etag) == 0;
	if (same && st.size != in->size)
		whole = job->attempts != 0 && mark_check(job, &st) != MARK_OTHER;
	if (!whole)
		r = err_set(err, -ENOENT, ERR_FINAL, "staging: the file is missing");
	else if ((r = stage_get(job->jobs->conf.stage, in->ino, true, ret)) < 0 ||
		 (r = stage_base(*ret, in->loc.etag, same ? st.size : in->size)) < 0)
		err_set(err, r, ERR_RETRY, "staging: %s", strerror(-r));
	else
		log_notice("job", "'%s' was to be changed, and nothing of it is staged: it stays",
			job->dst);
	store_stat_done(&st);
	return r;
}

/* An earlier attempt of this job replaced the object that the bytes which staging lacks were to
 * come from: its answer was lost, or a power cut took back what we knew of it. It has those bytes,
 * so it becomes the base. Staging first: a crash in between finds the same again. */
static errint_t base_follow(
	struct job *job, struct meta_inode *in, struct stage_file *f, struct err *err)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct store_stat st = {0};
	struct store_call call;
	struct objref o;
	errint_t r = 0;

	if (job->own.dst_etag[0] == '\0' || (in->flags & has) != has ||
		in->loc.remote != job->dst_remote || strcmp(in->loc.path, job->dst) != 0 ||
		strcmp(in->loc.etag, job->own.dst_etag) == 0)
		return 0;
	call_init(&call, job);
	r = objref_make(job->jobs, job->dst_remote, job->dst, &o, err);
	if (r == 0)
		r = store_head(o.st, &call, o.o, &st, err);
	if (r < 0 && err->kind == ERR_NOT_FOUND)
		r = 0;
	else if (r == 0 && strcmp(st.etag, job->own.dst_etag) == 0 &&
		 mark_check(job, &st) != MARK_OTHER) { /* else theirs, to be overwritten */
		struct meta_txn *t = meta_begin(job->jobs->conf.meta);

		r = meta_inode_get(t, job->ino, in);
		if (r == 0)
			r = stage_base(f, st.etag, st.size);
		if (r == 0) {
			job_loc_set(in, job->jobs, job->dst_remote, job->dst, &st);
			(void)meta_inode_put(t, in);
		}
		job->own.barrier_txn = meta_txn_id(t);
		r = r < 0 ? (meta_abort(t), r) : meta_commit(t);
		if (r < 0)
			err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	}
	store_stat_done(&st);
	return r;
}

/* The upload before it sent all, to a key beside (archived.c), and left the way from there to this
 * one. */
static enum step finish_beside(struct job *job)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (meta_inode_get(t, job->ino, &in) == 0) {
		if (is_at(job, &in))
			job_follow_name(job, t, &in);
		else
			loose_after(job, t, &in);
	}
	return job_finish(job, t);
}

/* Its first deed that anybody sees is the commit of its parts, which waits for the record itself
 * (move.c): they are sent while the disk is busy with the sync point, of which these bytes are the
 * most. What a power cut leaves of them the sweep of uploads finds. */
static bool is_sent_before_barrier(struct job *job, const struct meta_inode *in)
{
	struct stage_file *f = NULL;
	struct stage_twin twin;
	bool is = false;

	if (ahead_goes_on(job))
		return true;
	if (in->kind != META_FILE || job->attempts != 0 || job->own.copy != NULL ||
		stage_get(job->jobs->conf.stage, job->ino, false, &f) < 0)
		return false;
	is = stage_size(f) > JOB_PART_SIZE && !stage_twin_get(f, &twin);
	stage_put(f);
	return is;
}

struct staged {		      /* what a step sends */
	struct stage_file *f; /* owned; NULL: a symbolic link */
	bool copy, settled;
	enum ahead_turn turn;
};

static errint_t staged_get(
	struct job *job, struct meta_inode *in, struct staged *s, struct err *err)
{
	errint_t r = stage_get(job->jobs->conf.stage, job->ino, false, &s->f);

	if (r == -ENOENT)
		r = stage_anew(job, in, &s->f, err);
	else if (r < 0)
		err_set(err, r, ERR_RETRY, "staging: %s", strerror(-r));
	if (r < 0)
		return r;
	s->copy = copy_wanted(job, s->f);
	if (!s->copy)
		r = base_follow(job, in, s->f, err);
	/* So that what is not changed meanwhile is clean then, and may go when the room is needed.
	 */
	if (stage_size(s->f) > JOB_PART_SIZE && is_written(job))
		(void)stage_spans_watch(s->f); /* else all of it is changed, for want of memory */
	job->own.seq = stage_seq(s->f);
	if (!s->copy)
		job->own.size = stage_size(s->f);
	if (r == 0)
		s->turn = ahead_turn(job, in, s->f);
	s->settled = r == 0 && !s->copy && settled_already(job, in, s->f);
	if (stage_mtime(s->f) != 0)
		in->mtime_ns = stage_mtime(s->f);
	return r;
}

/* A new one, but for an upload that an earlier step has begun and that goes on. */
static errint_t attempt(struct job *job, struct err *err)
{
	errint_t r = ahead_goes_on(job) ? 0 : job_attempt(job);

	return r < 0 ? err_set(err, r, ERR_RETRY, "index: %s", strerror(-r)) : 0;
}

enum step upload_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char etag[META_ETAG_MAX];
	struct staged staged = {0};
	struct store_stat st = {0};
	struct err err = {0};

	if (job->own.phase == 1)
		return upload_settle(job);
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	if (r == 0)
		expect(job, t, &in, etag);
	meta_abort(t);
	if (r == 0 && job->own.etag[0] != '\0' && (in.flags & META_F_OBJECT) != 0 &&
		in.loc.remote == job->dst_remote &&
		strcmp(in.loc.path, job->dst) == 0) { /* it had come so far before a crash */
		job->own.phase = 1;
		return STEP_AGAIN;
	}
	bool gone = r < 0 || (in.flags & META_F_ORPHAN) != 0, /* nothing to upload */
		same = !gone && (in.flags & META_F_DIRTY) == 0 && job->victim == 0 &&
		       (in.flags & META_F_OBJECT) != 0;

	if ((gone || same) && job->own.ahead != NULL) {
		ahead_drop(job);
		return STEP_AGAIN;
	}
	if (gone)
		return job_gone(job, r == 0 ? &in : NULL);
	if (same) {
		job->own.phase = 1;
		return is_at(job, &in) && !path_is_beside(job->dst) ? job_finish_alone(job, 0, NULL)
								    : finish_beside(job);
	}
	/* The record comes before the deed: after a power cut a write of ours is known as ours. */
	if (!job_barrier_ok(job, job->g.post_txn) && !is_sent_before_barrier(job, &in))
		return STEP_BARRIER;
	if (etag[0] != '\0' && job_in_use(job, job->dst_remote, job->dst, etag))
		return STEP_LATER;
	if (in.kind == META_FILE)
		r = staged_get(job, &in, &staged, &err);
	if (r == 0 && (staged.settled || staged.turn == AHEAD_AGAIN || staged.turn == AHEAD_REST)) {
		stage_put(staged.f);
		return staged.turn == AHEAD_REST ? ahead_rest(job) : STEP_AGAIN;
	}
	if (r == 0)
		r = attempt(job, &err);
	if (r < 0)
		; /* below */
	else if (staged.copy)
		r = copy_body(job, &in, etag, &st, &err);
	else if (staged.f != NULL)
		r = upload_body(job, &in, staged.f, etag, &st, &err);
	else
		r = link_body(job, &in, etag, &st, &err);
	enum step s = r == 0		  ? committed(job, &st)
		      : r == -EINPROGRESS ? ahead_rest(job)
		      : staged.copy	  ? copy_failed(job, r, &err)
					  : failed(job, etag, r, &err);

	store_stat_done(&st);
	stage_put(staged.f);
	return s;
}
