/* SPDX-License-Identifier: MIT */
/*
 * object -> another key or cloud; removal of objects; directory markers; attributes.
 *
 * relocate: copy, verify, index (own.phase 1: the index points to the destination), barrier,
 * source removed. A crash anywhere repeats from the index: when it points to the destination
 * already, the job continues with the removal of job->src.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "job_priv.h"

#define STAY_LOOK_NS (100 * NS_PER_MS)

void job_loc_set(struct meta_inode *in, struct jobs *j, uint32_t remote, const char *path,
	const struct store_stat *st)
{
	bool known = false;
	const struct remote *r = remote_of(j, remote);
	enum tier tier = r == NULL ? TIER_HOT : remote_tier(r, st->class_name, &known);

	if ((enum tier)in->tier != tier || in->tier_since_ns == 0)
		in->tier_since_ns = clock_now_ns();
	in->tier = (uint8_t)tier;
	(void)snprintf(in->class_name, sizeof(in->class_name), "%s", st->class_name);
	/* A version that is known keeps the checksum that it was written with. */
	bool same = in->has_crc32c && in->loc.remote == remote && in->loc.etag[0] != '\0' &&
		    strcmp(in->loc.etag, st->etag) == 0;

	if (!same || st->has_crc32c) {
		in->has_crc32c = st->has_crc32c;
		in->crc32c = st->crc32c;
	}
	in->loc.remote = remote;
	if (path != NULL)
		(void)snprintf(in->loc.path, sizeof(in->loc.path), "%s", path);
	(void)snprintf(in->loc.etag, sizeof(in->loc.etag), "%s", st->etag);
	log_debug("job", "inode %llu is at '%s', version %s", (unsigned long long)in->ino,
		in->loc.path, st->etag);
	in->restored_until_ns = st->restored_until_ns;
	in->flags &= ~(uint32_t)(META_F_ARCHIVED | META_F_RESTORING);
	if (st->archived)
		in->flags |= META_F_ARCHIVED;
	if (st->restoring)
		in->flags |= META_F_RESTORING;
}

bool job_is_read(struct job *job, uint32_t remote, const char *path, const char *etag)
{
	const struct job_hooks *h = &job->jobs->conf.hooks;

	return h->in_use != NULL && h->in_use(h->arg, remote, path, etag);
}

/* Open readers of a version keep it for a while; then they get ESTALE. */
bool job_in_use(struct job *job, uint32_t remote, const char *path, const char *etag)
{
	struct jobs *j = job->jobs;

	if (!job_is_read(job, remote, path, etag))
		return false;
	int64_t now = clock_mono_ns();

	if (job->own.first_in_use_ns == 0)
		job->own.first_in_use_ns = now;
	if (now - job->own.first_in_use_ns > j->conf.open_grace_ns)
		return false;
	job_note(job, "somebody reads the old version");
	job->own.wake_mono_ns = now + 100 * NS_PER_MS;
	return true;
}

/* *ret_other: another version is there, and was left alone. */
static errint_t remove_version(struct job *job, uint32_t remote, const char *path, const char *etag,
	bool *ret_other, struct err *err)
{
	struct objref o;
	struct store_call call;
	errint_t r = objref_make(job->jobs, remote, path, &o, err);

	call_init(&call, job);
	if (r == 0)
		r = store_remove(o.st, &call, o.o, etag[0] != '\0' ? etag : NULL, err);
	*ret_other = r < 0 && err->kind == ERR_STALE;
	if (r < 0 && (err->kind == ERR_NOT_FOUND || err->kind == ERR_STALE)) {
		err_clear(err);
		return 0;
	}
	if (r < 0 && err->kind == ERR_UNKNOWN) /* asked again, it is there or not */
		err->kind = ERR_RETRY;
	return r;
}

/* Removes remote:path version etag. Gone, or another version there: fine, not ours any more. */
errint_t job_remove_object(
	struct job *job, uint32_t remote, const char *path, const char *etag, struct err *err)
{
	bool other = false;
	errint_t r = remove_version(job, remote, path, etag, &other, err);

	if (other)
		log_warn("job", "'%s' was changed by somebody else and is left alone", path);
	return r;
}

errint_t job_remove_own(struct job *job, const struct meta_inode *in, struct err *err)
{
	bool other = false;
	errint_t r = remove_version(job, in->loc.remote, in->loc.path, in->loc.etag, &other, err);

	if (!other)
		return r;
	r = row_follow(job, in, err);
	if (r > 0)
		return err_set(
			err, -EAGAIN, ERR_RETRY, "it has another version, of the same bytes");
	if (r == 0)
		log_warn(
			"job", "'%s' was changed by somebody else and is left alone", in->loc.path);
	return r;
}

/* For good: it is taken back; one that was taken back already has no other place to go. */
static enum step relocate_final(struct job *job, errint_t r, const char *why)
{
	struct err err;

	job->own.result = r;
	if (why != job->own.why)
		(void)snprintf(job->own.why, sizeof(job->own.why), "%s", why);
	if (!job->own.turned && !job->firm)
		return job_roll_back(job);
	err_set(&err, r, ERR_FINAL, "%s", why);
	return job_follow(job, r, &err) == STEP_DONE
		       ? job_finish_alone(job, job->own.result, job->own.why)
		       : STEP_LATER;
}

static enum step relocate_failed(
	struct job *job, const struct meta_inode *in, errint_t r, struct err *err)
{
	if (r == -EAGAIN && err->kind == ERR_STALE && job_earlier(job, err))
		return STEP_AGAIN;
	if (err->kind == ERR_STALE && r == -EEXIST) {
		char why[sizeof(job->own.why)];

		(void)snprintf(why, sizeof(why),
			"'%.100s' exists at the destination and is not known here", job->dst);
		return relocate_final(job, r, why);
	}
	if (err->kind == ERR_ARCHIVED && !atomic_load(&job->cancel))
		/* the name is accepted; the object follows when it is readable */
		return loose_archived(job, in);
	if (err->kind == ERR_STALE || err->kind == ERR_NOT_FOUND) {
		struct err look = {0};

		if (row_follow(job, in, &look) > 0)
			return STEP_AGAIN;
		/* The source is not what the index knows: it was changed or removed outside. */
		if (job->own.tries >= 4)
			return relocate_final(
				job, -ESTALE, "the source was changed by somebody else");
		err->kind = ERR_RETRY;
	}
	enum step s = job_firm_trouble(job, r, err);

	return s == STEP_DONE ? relocate_final(job, job->own.result, job->own.why) : s;
}

errint_t object_size(struct job *job, const struct meta_loc *loc, uint64_t *ret, struct err *err)
{
	struct objref o;
	struct store_call call;
	struct store_stat st = {0};
	errint_t r = objref_make(job->jobs, loc->remote, loc->path, &o, err);

	call_init(&call, job);
	if (r == 0)
		r = store_head(o.st, &call, o.o, &st, err);
	if (r == 0)
		*ret = st.size;
	store_stat_done(&st);
	return r;
}

/* The same bytes under a new version: what is cached stays good. */
void stage_rebase(struct jobs *j, uint64_t ino, const char *from, const char *to)
{
	struct stage_file *f = NULL;
	char etag[META_ETAG_MAX];
	uint64_t size = 0;

	if (stage_get(j->conf.stage, ino, false, &f) < 0)
		return;
	stage_base_get(f, etag, &size);
	if (strcmp(etag, from) == 0) /* a sequence number that cannot be: dirty grains stay so */
		(void)stage_clean(f, stage_dirty(f) ? UINT64_MAX : stage_seq(f), to, size);
	stage_put(f);
}

bool row_same_bytes(const struct job *job, const struct meta_inode *in, const struct store_stat *st)
{
	if (job->kind == JOB_ATTR && mark_check(job, st) != MARK_OTHER)
		return true;
	return in->has_crc32c && st->has_crc32c && in->crc32c == st->crc32c &&
	       (!row_has_object_size(in) || in->size == st->size);
}

int row_follow(struct job *job, const struct meta_inode *in, struct err *err)
{
	struct meta_inode now;
	struct objref o;
	struct store_call call;
	struct store_stat st = {0};
	errint_t r = (in->flags & META_F_OBJECT) == 0
			     ? -ENOENT
			     : objref_make(job->jobs, in->loc.remote, in->loc.path, &o, err);

	if (r == -ENOENT)
		return 0;
	call_init(&call, job);
	if (r == 0)
		r = store_head(o.st, &call, o.o, &st, err);
	if (r < 0)
		return err->kind == ERR_NOT_FOUND ? 0 : r;
	if (strcmp(st.etag, in->loc.etag) == 0 || !row_same_bytes(job, in, &st)) {
		store_stat_done(&st);
		return 0;
	}
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (meta_inode_get(t, in->ino, &now) == 0 && row_names(&now, &in->loc)) {
		copy_set(&now, job->jobs, t, now.loc.remote, NULL, &st);
		(void)meta_inode_put(t, &now);
		stage_rebase(job->jobs, in->ino, in->loc.etag, st.etag);
	}
	store_stat_done(&st);
	r = meta_commit(t);
	return r < 0 ? err_set(err, r, ERR_RETRY, "index: %s", strerror(-r)) : 1;
}

/* The destination is there: the index follows in one transaction; the source is remembered. */
errint_t job_point(struct job *job, const struct meta_loc *from, const struct store_stat *st)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, job->ino, &in);

	if (r < 0 || !row_names(&in, from)) {
		meta_abort(t);
		return r < 0 && r != -ENOENT ? r : -ESTALE;
	}
	copy_set(&in, job->jobs, t, job->dst_remote, job->dst, st);
	attrs_arrived(job, t, &in);
	if (!job->own.turned) {
		in.flags &= ~(uint32_t)META_F_FAILED;
		in.last_error[0] = '\0';
	}
	(void)meta_inode_put(t, &in);
	stage_rebase(job->jobs, job->ino, from->etag, st->etag);
	job_victim_gone(job, t);
	(void)journal_put(t, job); /* with the version that is to be removed */
	job->own.barrier_txn = meta_txn_id(t);
	return meta_commit(t);
}

/* The row went on while the copy was made, which is out of date: what the row names now takes its
 * place, or job_skip removes it. The object that was copied is not ours to remove. */
static enum step copy_is_stale(struct job *job, const struct store_stat *st)
{
	log_warn("job", "inode %llu went on while '%s' was copied: the copy is not used",
		(unsigned long long)job->ino, job->src);
	(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%s", st->etag);
	return STEP_AGAIN;
}

static enum step relocate_copy(struct job *job, struct meta_inode *in, const char *etag)
{
	struct store_stat st = {0};
	struct err err = {0};
	bool renamed = false;
	errint_t r = class_for(job, in, job->dst_remote, &err);

	if (r < 0)
		return relocate_failed(job, in, r, &err);
	const char *class_name = class_online(job->jobs, job->dst_remote, (enum tier)in->tier);

	(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", in->loc.etag);
	struct move_spec spec = {.src_remote = in->loc.remote,
		.src = in->loc.path,
		.src_etag = in->loc.etag,
		.dst_remote = job->dst_remote,
		.dst = job->dst,
		.if_match = etag[0] != '\0' ? etag : NULL,
		.size = in->size,
		.attrs = in,
		.class_name = class_name};

	{
		const struct remote *dst = remote_of(job->jobs, job->dst_remote);
		LOCKED(&job->jobs->g.lock);

		job->g.tier_from = (enum tier)in->tier;
		job->g.tier_to = dst != NULL ? remote_tier(dst, class_name, NULL) : TIER_HOT;
	}
	r = job_attempt(job);
	job->own.rename_txn = meta_last_txn(job->jobs);
	if (r < 0)
		err_set(&err, r, ERR_RETRY, "index: %s", strerror(-r));
	else
		r = relocate_object(job, &spec, &renamed, &st, &err);
	if (r < 0)
		return relocate_failed(job, in, r, &err);
	if (renamed)
		job->own.etag[0] = '\0'; /* there is nothing to be removed */
	r = job_point(job, &in->loc, &st);
	enum step s = r == -ESTALE ? copy_is_stale(job, &st)
		      : r < 0	   ? job_unrecorded(job, r)
				   : STEP_BARRIER;

	store_stat_done(&st);
	if (s == STEP_BARRIER)
		job->own.phase = 1;
	else /* so that what was renamed is known */
		(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", in->loc.etag);
	return s;
}

/* Removes job->src version own.etag; STEP_DONE when it is gone, or cannot be, which own.result then
 * says: a listing will show it again. */
enum step job_remove_source(struct job *job)
{
	struct err err = {0};

	/* Gone already, and only the end could not be recorded: what is there now is somebody's. */
	if (job->own.etag[0] == '\0')
		return STEP_DONE;
	job_state_set(job, JOB_CLEANING);
	if (job_in_use(job, job->src_remote, job->src, job->own.etag))
		return STEP_LATER;
	errint_t r = job_remove_object(job, job->src_remote, job->src, job->own.etag, &err);

	if (r < 0) {
		if (job_follow(job, r, &err) != STEP_DONE)
			return STEP_LATER;
		(void)snprintf(job->own.why, sizeof(job->own.why),
			"it has moved, but its old object could not be removed: %.140s",
			err_text(&err, r));
	}
	job->own.etag[0] = '\0';
	return STEP_DONE;
}

/* It is where it was to go: beside its key, for now, or where its name was when it was last looked
 * at. */
static enum step finish_named(struct job *job, struct meta_txn *t)
{
	struct meta_inode in;

	if (job->own.result == 0 && meta_inode_get(t, job->ino, &in) == 0 &&
		(in.flags & META_F_OBJECT) != 0)
		job_follow_name(job, t, &in);
	return job_finish(job, t);
}

/* It was there already. What it was to overwrite is elsewhere, and goes. */
static enum step finish_there(struct job *job)
{
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	job->own.phase = 1;
	job_victim_gone(job, t);
	enum step s = finish_named(job, t);

	if (s != STEP_DONE) /* from here again: there is no source to be removed */
		job->own.phase = 0;
	return s;
}

enum step job_vacate(struct job *job)
{
	if (meta_synced(job->jobs->conf.meta) < job->own.barrier_txn)
		return STEP_BARRIER;
	enum step s = job_remove_source(job);

	return s == STEP_DONE ? finish_named(job, meta_begin(job->jobs->conf.meta)) : s;
}

/* An archived object, or one that was restored to be read, that is to be overwritten: by new
 * content of its file or by a file that took its name. *ret_sure: which is not taken back. */
static bool no_use_of_it(struct job *job, const struct meta_inode *in, bool *ret_sure)
{
	*ret_sure = true;
	if ((in->flags & META_F_ORPHAN) == 0)
		return (in->flags & (META_F_ARCHIVED | META_F_DIRTY | META_F_BASE)) ==
		       (META_F_ARCHIVED | META_F_DIRTY);
	if ((in->flags & META_F_ARCHIVED) == 0 && !job_is_restored(job, in))
		return false;
	LOCKED(&job->jobs->g.lock);
	const struct job *other = graph_replacer(job->jobs, job->ino);

	*ret_sure = other != NULL && other->kind == JOB_UPLOAD;
	return other != NULL;
}

/* What brings in's new content, or the file that replaces it, has a claim on its key from here on:
 * who wants that comes when it is free. */
static errint_t key_hand_over(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	struct jobs *j = job->jobs;
	struct job *next = NULL, *other = NULL;
	struct claim *c = NULL;
	errint_t r = 0;
	{
		LOCKED(&j->g.lock);
		TAILQ_FOREACH (c, &graph_ino_key(j, job->ino)->queue, link) {
			struct job *o = c->job;

			if (o->ino == job->ino && o->kind == JOB_UPLOAD && next == NULL)
				next = o;
		}
		other = graph_replacer(j, job->ino);
		if (next != NULL)
			r = job_set_src(next, in->loc.remote, in->loc.path);
		if (next != NULL && r == 0)
			r = graph_claim_src(j, next);
		if (other != NULL && r == 0)
			r = graph_claim_new(j, other, in->loc.remote, in->loc.path);
	}
	if (next == NULL && (in->flags & META_F_ORPHAN) == 0)
		return -ENOENT;
	return next != NULL && r == 0 ? journal_put(t, next) : r;
}

errint_t keys_hand_over_again(struct jobs *j, struct meta_txn *t)
{
	const uint32_t is = META_F_OBJECT | META_F_ORPHAN;
	struct job *job = NULL;
	struct meta_inode v;
	errint_t r = 0;

	TAILQ_FOREACH (job, &j->g.all, link) {
		if (job->victim == 0 || job->kind == JOB_EXCHANGE ||
			meta_inode_get(t, job->victim, &v) < 0 || (v.flags & is) != is)
			continue;
		LOCKED(&j->g.lock);
		if (r == 0 && !graph_moves_before(j, job, &v))
			r = graph_claim_new(j, job, v.loc.remote, v.loc.path);
	}
	return r;
}

/* It stays where it is until what takes its place is in the cloud; then its removal is posted. */
static enum step stay(struct job *job, const struct meta_inode *in)
{
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	bool wanted = false, needed = false;
	{
		LOCKED(&job->jobs->g.lock);
		wanted = graph_claimed_by_others(job->jobs, in, job);
		needed = job->g.ndependents != 0;
	}
	errint_t r = wanted ? -EAGAIN : key_hand_over(job, t, in);

	if (r == -ENOENT && !needed) { /* its upload is not due yet: job keeps the key for it */
		meta_abort(t);
		job_note(job, "the file has new content, whose upload is not due yet");
		job->own.phase =
			0; /* if it was to be dropped: that begins anew (job_drop_object) */
		job->own.wake_mono_ns = clock_mono_ns() + STAY_LOOK_NS;
		return STEP_LATER;
	}
	if (r == -EAGAIN || r == -ENOENT) {
		meta_abort(t);
		return r == -EAGAIN ? STEP_AGAIN : job_drop_object(job, in);
	}
	if (r < 0)
		meta_txn_fail(t, r);
	return job_finish(job, t);
}

/* No restore only to overwrite it. False: it goes on. */
static bool is_replaced(struct job *job, const struct meta_inode *in, enum step *ret)
{
	bool sure = false, wanted;

	if (!no_use_of_it(job, in, &sure))
		return false;
	{
		LOCKED(&job->jobs->g.lock);
		wanted = job->victim != 0 || graph_claimed_by_others(job->jobs, in, job);
	}
	if (wanted && sure)
		*ret = job_drop_object(job, in);
	else if (!wanted || archived_alone(job, in))
		*ret = stay(job, in);
	else
		return false;
	return true;
}

enum step relocate_step(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char etag[META_ETAG_MAX];

	if (job->own.phase == 1)
		return job_vacate(job);
	if (job->own.phase == PHASE_BACK)
		return job_roll_back(job);
	errint_t r = loose_aim(job);

	if (r < 0)
		return job_unrecorded(job, r);
	struct meta_txn *t = meta_begin_read(j->conf.meta);

	r = meta_inode_get(t, job->ino, &in);
	if (r == 0)
		job_expect_etag(job, t, &in, etag);
	meta_abort(t);
	if (r == 0 && (in.flags & META_F_OBJECT) != 0 && in.loc.remote == job->dst_remote &&
		strcmp(in.loc.path, job->dst) == 0) {
		if (job->own.etag[0] == '\0' ||
			(job->src_remote == job->dst_remote && strcmp(job->src, job->dst) == 0))
			return finish_there(job);
		/* it had come so far before a crash: the source is still there */
		job->own.phase = 1;
		return STEP_AGAIN;
	}
	if (r == 0 && (in.flags & META_F_ORPHAN) != 0) {
		bool removed = false;
		{
			LOCKED(&j->g.lock);
			struct job *last = graph_last_of(j, job->ino);

			removed = last != NULL && last->kind == JOB_REMOVE && !last->held;
		}
		if (removed)
			return job_gone(job, &in);
		/* a victim: it goes where it was to go, and is overwritten there */
	}
	if (r < 0 || (in.flags & META_F_OBJECT) == 0) {
		/* unlinked before it had an object, or its upload failed */
		return job_skip(job);
	}
	enum step s;

	if (is_replaced(job, &in, &s))
		return s;
	if (in.loc.remote != job->src_remote || strcmp(in.loc.path, job->src) != 0) {
		/* an earlier job of it failed: this one starts from where the object is */
		if (job_set_src(job, in.loc.remote, in.loc.path) < 0)
			return job_unrecorded(job, -ENOMEM);
	}
	if (!job_barrier_ok(job, job->g.post_txn)) /* as for uploads */
		return STEP_BARRIER;
	if (etag[0] != '\0' && job_in_use(job, job->dst_remote, job->dst, etag))
		return STEP_LATER;
	if (job_called_off(job) && job->own.turned)
		atomic_store(&job->cancel, false); /* there is nothing to go back to */
	if (job_called_off(job))
		return relocate_failed(job, &in, -ECANCELED, &(struct err){.kind = ERR_CANCELLED});
	if (!atomic_load(&job->cancel) && loose_waits(job, &in, &s))
		return s;
	return relocate_copy(job, &in, etag);
}
