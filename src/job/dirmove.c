/* SPDX-License-Identifier: MIT */
/*
 * All objects below a directory -> its new prefix. The name moved at once; the directory keeps the
 * old prefix in its row (META_F_PREFIX) until everything has followed. walk.c finds what that is.
 *
 *   phase 0  list every directory below (from its old prefix), so that all is in the index
 *   phase 1  a batch: copy, verify, index, for up to BATCH files
 *   phase 2  after the sync point: remove the batch's sources; back to 1, or on when none is left
 *   phase 3  markers, then the prefix is the path's again
 *
 * A crash repeats from phase 0. A file that cannot be moved for good gets its old name back; the
 * others go on.
 *
 * Archived files are left for the end. When nobody has a claim on one of them, or on its old or new
 * key, each gets a move of its own that waits for its restore, and this one ends: else all that is
 * made in the directory would wait as well. When somebody has, who counts on what this move does,
 * it stays, and tries them (as phase 1) from time to time.
 *
 * What is to get a key that an archived object has not left goes beside it (archived.c).
 */
#include <stdio.h>
#include <string.h>

#include "walk.h"

#define BATCH	  64
#define ALONE_MAX 4096 /* archived files that get moves of their own */

struct source { /* one object to be removed after the sync point */
	uint32_t remote;
	char *path; /* owned */
	char etag[META_ETAG_MAX];
};

struct dirmove {
	struct walk walk; /* without a directory: src is from the journal */
	struct source src[BATCH];
	size_t nsrc, removed;
	uint64_t *archived; /* owned; inodes of files that wait for a restore */
	size_t narchived, caparchived;
	size_t skipped; /* files that stay behind for good */
	bool unlisted;	/* there may be more that nobody knows */
	bool cancelled;
	uint64_t stay; /* one whose object has to leave its key all the same: goes to stay_path */
	char stay_path[META_PATH_MAX + 1];
	errint_t skip_r;
	char skip_why[150];
};

void dirmove_free(struct dirmove *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->nsrc; i++)
		free(d->src[i].path);
	walk_done(&d->walk);
	free(d->archived);
	free(d);
}

json_t *dirmove_sources(const struct job *job)
{
	const struct dirmove *d = job->own.dirmove;
	json_t *all = d != NULL && d->nsrc != 0 ? json_array() : NULL;

	for (size_t i = 0; all != NULL && i < d->nsrc; i++)
		(void)json_array_append_new(
			all, json_pack("{s:i s:o s:s}", "remote", (int)d->src[i].remote, "path",
				     journal_path(d->src[i].path), "etag", d->src[i].etag));
	return all;
}

errint_t dirmove_sources_load(struct job *job, const json_t *j)
{
	struct dirmove *d = calloc(1, sizeof(*d));
	const char *etag = NULL;
	json_t *path = NULL;
	int remote = 0;

	if (d == NULL)
		return -ENOMEM;
	job->own.dirmove = d;
	if (!json_is_array(j) || json_array_size(j) > BATCH)
		return -EBADMSG;
	for (size_t i = 0; i < json_array_size(j); i++) {
		struct source *s = &d->src[i];

		if (json_unpack(json_array_get(j, i), "{s:i s:o s:s}", "remote", &remote, "path",
			    &path, "etag", &etag) < 0 ||
			strlen(etag) >= sizeof(s->etag))
			return -EBADMSG;
		errint_t r = journal_path_from(path, &s->path);

		if (r < 0)
			return r;
		s->remote = (uint32_t)remote;
		(void)snprintf(s->etag, sizeof(s->etag), "%s", etag);
		d->nsrc++;
	}
	return 0;
}

/* Nothing has moved, nobody counts on it, and the old name is free. */
static bool can_go_back(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	uint32_t remote = 0;
	char want[META_PATH_MAX + 1];

	if (job->attempts != 1 || job->firm || atomic_load(&job->files_done) != 0 ||
		meta_inode_get(t, job->ino, in) < 0 ||
		(in->flags & (META_F_PREFIX | META_F_ORPHAN)) != META_F_PREFIX ||
		in->loc.remote != job->src_remote || strcmp(in->loc.path, job->src) != 0 ||
		meta_desired(t, job->ino, &remote, want) < 0 || remote != job->dst_remote ||
		strcmp(want, job->dst) != 0)
		return false;
	LOCKED(&job->jobs->g.lock);
	return job->g.ndependents == 0;
}

/* The directory has its old name again: no object has moved. */
static enum step go_back(struct job *job)
{
	const struct job_hooks *h = &job->jobs->conf.hooks;
	struct meta_inode in;
	char name[META_NAME_MAX + 1], was[META_NAME_MAX + 1];
	uint64_t dir = 0, other = 0, parent = 0;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	job_state_set(job, JOB_ROLLING_BACK);
	if (!can_go_back(job, t, &in) ||
		job_parent_of(job->jobs, t, job->src_remote, job->src, &dir, name) < 0 ||
		meta_lookup(t, dir, name, &other) == 0) {
		meta_abort(t);
		return STEP_AGAIN;
	}
	parent = in.parent;
	(void)snprintf(was, sizeof(was), "%s", in.name);
	in.flags &= ~(uint32_t)META_F_PREFIX;
	in.loc = (struct meta_loc){0};
	(void)meta_move(t, &in, dir, name);
	enum step s = job_finish(job, t);

	if (s != STEP_DONE)
		return s;
	log_warn("job", "directory '%s' is called '%s' again", was, name);
	h->entry_changed(h->arg, parent, was);
	h->entry_changed(h->arg, dir, name);
	return s;
}

static void call_off(struct job *job, struct dirmove *d)
{
	d->cancelled = true;
	job_back_set(job, true);
}

/* For good: the directory gets its old name again. Where others count on the move already it is
 * tried for a while; then what is known is moved, and the rest, which nobody has seen, shows up
 * under the old name. STEP_DONE with d->unlisted: go on. */
static enum step list_failed(struct job *job, struct dirmove *d, errint_t r, struct err *err)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool may = can_go_back(job, t, &in);

	meta_abort(t);
	if (job_called_off(job))
		call_off(job, d);
	enum step s = may ? job_trouble(job, r, err) : job_follow(job, r, err);

	if (s != STEP_DONE && job->firm && !job_src_hidden(job) && job->own.follow_until_ns != 0 &&
		clock_mono_ns() >= job->own.follow_until_ns && err_is_final(r, err))
		s = STEP_DONE;
	if (s != STEP_DONE)
		return s;
	s = may ? go_back(job) : STEP_AGAIN;
	if (s != STEP_AGAIN)
		return s;
	d->unlisted = true;
	d->skip_r = r;
	(void)snprintf(d->skip_why, sizeof(d->skip_why), "%.140s", err_text(err, r));
	job->own.result = 0;
	return STEP_DONE;
}

/* What this round moves, after earlier ones. */
static void totals_set(struct job *job, const struct dirmove *d)
{
	LOCKED(&job->jobs->g.lock);

	job->g.files_total = atomic_load(&job->files_done) + d->walk.nfound;
	job->g.bytes_total = job->own.bytes_before + d->walk.bytes_found;
}

/* Phase 0: one directory a step. */
static enum step list_one(struct job *job, struct dirmove *d)
{
	struct err err = {0};

	if (d->walk.next == d->walk.ndirs) {
		walk_rewind(&d->walk);
		job->own.rename_txn = meta_last_txn(job->jobs); /* with what was found */
		job->own.phase = 1;
		totals_set(job, d);
		return STEP_AGAIN;
	}
	errint_t r = walk_list(&d->walk, job, &err);

	if (r < 0) {
		enum step s = list_failed(job, d, r, &err);

		if (s != STEP_DONE || !d->unlisted)
			return s;
	}
	r = walk_enter(&d->walk, job);
	if (r < 0)
		return job_unrecorded(job, r);
	return STEP_AGAIN;
}

/* The index says in t that the object of was is not needed any more: it goes after the sync point.
 */
static errint_t source_goes(
	struct job *job, struct meta_txn *t, const struct meta_inode *was, struct dirmove *d)
{
	struct source *s = &d->src[d->nsrc];
	uint64_t barrier = job->own.barrier_txn;

	s->remote = was->loc.remote;
	s->path = strdup(was->loc.path);
	(void)snprintf(s->etag, sizeof(s->etag), "%s", was->loc.etag);
	if (s->path == NULL) {
		meta_abort(t);
		return -ENOMEM;
	}
	d->nsrc++;
	(void)journal_put(t, job); /* with what is still to be removed */
	job->own.barrier_txn = meta_txn_id(t);
	errint_t r = meta_commit(t);

	if (r < 0) { /* the index still points to the source: it stays */
		job->own.barrier_txn = barrier;
		free(s->path);
		s->path = NULL;
		d->nsrc--;
	}
	return r;
}

/* An archived object has the key of its own (beside_taken). */
static bool is_beside_target(struct job *job, const struct meta_inode *was, const char *path)
{
	char to[META_PATH_MAX + 1];

	return path_is_beside(path) && walk_target(job, was->loc.remote, was->loc.path, to) == 0 &&
	       strcmp(to, path) != 0;
}

/* renamed: there is no source any more. */
static errint_t point(struct job *job, const struct meta_inode *was, uint32_t remote,
	const char *path, const struct store_stat *st, bool renamed, struct dirmove *d)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, was->ino, &in);

	if (r < 0 || !row_names(&in, &was->loc)) { /* it went on: so the source is not ours */
		meta_abort(t);
		return r < 0 && r != -ENOENT ? r : -ESTALE;
	}
	copy_set(&in, job->jobs, t, remote, path, st);
	attrs_arrived(job, t, &in);
	(void)meta_inode_put(t, &in);
	stage_rebase(job->jobs, in.ino, was->loc.etag, st->etag);
	if (is_beside_target(job, was, path))
		loose_after(job, t, &in);
	if (!renamed)
		return source_goes(job, t, was, d);
	r = meta_commit(t);
	if (r < 0 && !rename_asked(job)) /* it is to be looked for */
		job->own.rename_until_ns = clock_mono_ns();
	return r;
}

/* The same; a copy that its file has no use for any more goes, and it is looked at again. */
static errint_t point_or_drop(struct job *job, const struct meta_inode *was, uint32_t remote,
	const char *path, const struct store_stat *st, bool renamed, struct dirmove *d,
	struct err *err)
{
	errint_t r = point(job, was, remote, path, st, renamed, d);

	if (r != -ESTALE)
		return r;
	r = job_drop_copy(job, &was->loc, remote, path, err);
	return r < 0 ? r : err_set(err, -EAGAIN, ERR_RETRY, "'%s' went on meanwhile", was->name);
}

/* An object of our own at the destination, from an attempt before a crash or one whose answer was
 * lost: believed when it is whole, else removed. */
static errint_t adopt(
	struct job *job, const struct move_spec *spec, struct store_stat *ret, struct err *err)
{
	struct objref o;
	struct store_call call;

	call_init(&call, job);
	errint_t r = objref_make(job->jobs, spec->dst_remote, spec->dst, &o, err);

	if (r == 0)
		r = store_head(o.st, &call, o.o, ret, err);
	if (r < 0)
		return err->kind == ERR_NOT_FOUND ? err_set(err, -EAGAIN, ERR_RETRY, "gone again")
						  : r;
	if (job_copy_is_whole(job, spec->attrs, ret))
		return 0;
	bool ours = mark_check(job, ret) != MARK_OTHER;

	store_stat_done(ret);
	if (!ours)
		return err_set(err, -EEXIST, ERR_FINAL,
			"'%s' exists at the destination and is not known here", spec->dst);
	r = job_remove_copy(job, spec->dst_remote, spec->dst, err);
	return r < 0 ? r : err_set(err, -EAGAIN, ERR_RETRY, "an earlier try left it unfinished");
}

/* One more file is there. */
static void count_moved(struct job *job, const struct meta_inode *in, const struct move_spec *spec)
{
	struct jobs *j = job->jobs;
	const struct remote *src = remote_of(j, spec->src_remote);
	const struct remote *dst = remote_of(j, spec->dst_remote);
	uint64_t parts = MAX_OF(atomic_load(&job->parts_done), job->own.parts_before + 1);
	struct price_move m = {.from_tier = (enum tier)in->tier,
		.size = spec->size,
		.parts = (unsigned)(parts - job->own.parts_before),
		.held_s = -1};

	job->own.bytes_before += spec->size;
	job->own.parts_before = parts;
	atomic_store(&job->bytes_done, job->own.bytes_before);
	atomic_store(&job->parts_done, parts);
	(void)atomic_fetch_add(&job->files_done, 1);
	if (src == NULL || dst == NULL || src == dst)
		return;
	m.from = j->conf.prices != NULL ? price_find(j->conf.prices, src->provider) : NULL;
	m.to = j->conf.prices != NULL ? price_find(j->conf.prices, dst->provider) : NULL;
	m.to_tier = remote_tier(dst, spec->class_name, NULL);
	LOCKED(&j->g.lock);
	if (m.from == NULL || m.to == NULL)
		job->g.bill.unpriced = true;
	else
		policy_bill_add(&job->g.bill, &m);
}

static struct move_spec spec_of(struct job *job, const struct meta_inode *in, const char *path)
{
	return (struct move_spec){.src_remote = in->loc.remote,
		.src = in->loc.path,
		.src_etag = in->loc.etag,
		.dst_remote = job->dst_remote,
		.dst = path,
		.size = in->size,
		.attrs = in,
		.class_name = class_online(job->jobs, job->dst_remote, (enum tier)in->tier)};
}

/* The row of ino, and where its object is to go. False: there is none to be moved. */
static bool row_and_target(
	struct job *job, uint64_t ino, struct meta_inode *ret, char path[META_PATH_MAX + 1])
{
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, ino, ret);

	meta_abort(t);
	return r == 0 && (ret->flags & META_F_OBJECT) != 0 && ret->kind != META_DIR &&
	       walk_target(job, ret->loc.remote, ret->loc.path, path) == 0;
}

/* The move is called off, and the file stays: -ECANCELED. Unless it has been renamed before that
 * was known, then 0. */
static errint_t called_off(struct job *job, struct dirmove *d, uint64_t ino, struct err *err)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1];
	struct store_stat st = {0};

	if (!rename_asked(job) || !row_and_target(job, ino, &in, path) ||
		beside_taken(job, ino, path) < 0)
		return -ECANCELED;
	struct move_spec spec = spec_of(job, &in, path);
	errint_t r = rename_settle(
		job, &spec, err_set(err, -ECANCELED, ERR_CANCELLED, "cancelled"), &st, err);
	if (r == 0)
		r = point_or_drop(job, &in, job->dst_remote, path, &st, true, d, err);
	spec.size = st.size;
	store_stat_done(&st);
	if (r == 0)
		count_moved(job, &in, &spec);
	if (r == -ECANCELED)
		err_clear(err);
	return r;
}

static errint_t move_one(struct job *job, struct dirmove *d, uint64_t ino, struct err *err)
{
	bool renamed = false;
	struct meta_inode in;
	char path[META_PATH_MAX + 1];
	struct store_stat st = {0};

	if (!row_and_target(job, ino, &in, path))
		return 0;
	errint_t r = beside_taken(job, ino, path);
	if (r < 0)
		return err_set(err, r, ERR_FINAL, "beside '%.100s': %s", path, strerror(-r));
	if (in.loc.remote == job->dst_remote && strcmp(in.loc.path, path) == 0)
		return 0;
	if (job_in_use(job, in.loc.remote, in.loc.path, in.loc.etag))
		return -EINPROGRESS;
	if (job_is_archived(job, &in) || job_is_restored(job, &in))
		return err_set(err, -EIO, ERR_ARCHIVED, "'%s' is archived", in.name);
	r = class_for(job, &in, job->dst_remote, err);
	if (r < 0)
		return r;
	struct move_spec spec = spec_of(job, &in, path);

	r = relocate_object(job, &spec, &renamed, &st, err);
	if (r < 0 && err->kind == ERR_STALE && (r == -EEXIST || r == -EAGAIN))
		r = adopt(job, &spec, &st, err);
	if (r == -ESTALE && err->kind == ERR_STALE && row_follow(job, &in, err) > 0)
		r = err_set(err, -EAGAIN, ERR_RETRY, "'%s' has another version", in.name);
	if (r < 0)
		return r;
	r = point_or_drop(job, &in, job->dst_remote, path, &st, renamed, d, err);
	spec.size = st.size;
	store_stat_done(&st);
	if (r == 0)
		count_moved(job, &in, &spec);
	return r;
}

/* A file that cannot follow keeps its object, and gets its old name back. */
static enum step leave_behind(
	struct job *job, struct dirmove *d, uint64_t ino, errint_t r, struct err *err)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	char path[META_PATH_MAX + 1];
	struct err own = {0};
	errint_t e = meta_inode_get(t, ino, &in);

	meta_abort(t);
	if (e == 0 && (!d->cancelled || job->own.tries > 0) &&
		walk_target(job, in.loc.remote, in.loc.path, path) == 0 &&
		beside_taken(job, ino, path) == 0)
		e = job_drop_copy(job, &in.loc, job->dst_remote, path, &own);
	if (e < 0 && e != -ENOENT && job_follow(job, e, &own) != STEP_DONE)
		return STEP_LATER;
	t = meta_begin(job->jobs->conf.meta);
	d->stay_path[0] = '\0';
	if (meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0) {
		in.flags |= META_F_FAILED;
		(void)snprintf(in.last_error, sizeof(in.last_error), "%.150s", err_text(err, r));
		(void)meta_inode_put(t, &in);
		(void)job_name_back(job, t, &in, d->stay_path);
	}
	e = meta_commit(t);
	if (e < 0)
		return job_unrecorded(job, e);
	d->stay = d->stay_path[0] != '\0' ? ino : 0;
	d->skipped++;
	d->skip_r = r;
	(void)snprintf(d->skip_why, sizeof(d->skip_why), "%.140s", err_text(err, r));
	return STEP_DONE;
}

/* Its old name and key are something else's by now: the object goes to the key of its new name. */
static enum step move_beside(struct job *job, struct dirmove *d)
{
	bool renamed = false;
	struct meta_inode in;
	struct store_stat st = {0};
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, d->stay, &in);

	meta_abort(t);
	if (r < 0 || (in.flags & META_F_OBJECT) == 0) {
		d->stay = 0;
		return STEP_DONE;
	}
	struct move_spec spec = {.src_remote = in.loc.remote,
		.src = in.loc.path,
		.src_etag = in.loc.etag,
		.dst_remote = in.loc.remote,
		.dst = d->stay_path,
		.size = in.size,
		.attrs = &in,
		.class_name = in.class_name};

	r = relocate_object(job, &spec, &renamed, &st, &err);
	if (r < 0 && err.kind == ERR_STALE && (r == -EEXIST || r == -EAGAIN))
		r = adopt(job, &spec, &st, &err);
	if (r == 0)
		r = point_or_drop(job, &in, in.loc.remote, d->stay_path, &st, renamed, d, &err);
	store_stat_done(&st);
	if (r < 0 && err.kind == ERR_ARCHIVED)
		return job_await_restore(job, in.ino, 0);
	if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	d->stay = 0;
	return STEP_DONE;
}

/* ---- archived files ---- */

static bool is_removed_later(struct job *job, uint64_t ino)
{
	struct jobs *j = job->jobs;
	LOCKED(&j->g.lock);
	struct job *last = graph_last_of(j, ino);

	return last != NULL && last->kind == JOB_REMOVE && !last->held;
}

/* It cannot be read now. One that was unlinked need not follow: it is removed where it is. */
static errint_t set_aside(struct job *job, struct dirmove *d, uint64_t ino)
{
	struct meta_inode in;

	if (!is_removed_later(job, ino))
		return inos_add(&d->archived, &d->narchived, &d->caparchived, ino);
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, ino, &in);

	if (r < 0 || (in.flags & META_F_ORPHAN) == 0 || (in.flags & META_F_OBJECT) == 0) {
		meta_abort(t);
		return r < 0 ? 0 : -EAGAIN;
	}
	in.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
	(void)meta_inode_put(t, &in);
	return source_goes(job, t, &in, d);
}

/* Each archived file can have a move of its own, which is as good as this one: nobody counts on
 * what this one does with it. */
static bool can_go_alone(struct job *job, struct meta_txn *t, const struct dirmove *d)
{
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	if ((job->firm && job_src_hidden(job)) || d->narchived > ALONE_MAX)
		return false;
	for (size_t i = 0; i < d->narchived; i++) {
		if (meta_inode_get(t, d->archived[i], &in) < 0 ||
			walk_target(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		if (!alone_may(job, &in, job->dst_remote, to))
			return false;
	}
	return true;
}

/* d->archived become the ids of these moves. */
static void go_alone(struct job *job, struct meta_txn *t, struct dirmove *d)
{
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	for (size_t i = 0; i < d->narchived; i++) {
		uint64_t ino = d->archived[i];

		d->archived[i] = 0;
		if (meta_inode_get(t, ino, &in) < 0 || (in.flags & META_F_OBJECT) == 0 ||
			walk_target(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		errint_t r = alone_post(job, t, &in, &d->archived[i]);

		if (r < 0)
			meta_txn_fail(t, r);
	}
}

/* They are tried again, as what left the directory is. */
static enum step try_later(struct job *job, struct dirmove *d)
{
	uint64_t first = d->archived[0];
	size_t more = d->narchived - 1;

	walk_again(&d->walk, steal_ptr(&d->archived), d->narchived);
	d->narchived = d->caparchived = 0;
	job->own.phase = 1;
	job_state_set(job, JOB_RUNNING); /* it can be cancelled */
	return atomic_load(&job->cancel) ? STEP_AGAIN : job_await_restore(job, first, more);
}

/* ---- the walk ---- */

/* The next of the walk: follows, or stays behind. */
static enum step next_file(struct job *job, struct dirmove *d)
{
	struct err err = {0};
	uint64_t ino = d->walk.files[d->walk.at];

	if (job_called_off(job)) {
		call_off(job, d);
		atomic_store(&job->cancel, false); /* what stays behind may need requests */
	}
	if (d->cancelled && rename_waits(job))
		return STEP_LATER;
	errint_t r = d->cancelled ? called_off(job, d, ino, &err) : move_one(job, d, ino, &err);

	if (r == -EINPROGRESS)
		return STEP_LATER;
	if (r < 0 && err.kind == ERR_ARCHIVED && !atomic_load(&job->cancel)) {
		err_clear(&err);
		r = set_aside(job, d, ino);
	}
	enum step s =
		r == 0 || (r == -EEXIST && !job->firm) ? STEP_DONE : job_firm_trouble(job, r, &err);

	if (s == STEP_DONE && r < 0)
		s = leave_behind(job, d, ino, r, &err);
	if (s != STEP_DONE)
		return s;
	job->own.tries = 0;
	d->walk.at++;
	return STEP_DONE;
}

/* Phase 1. */
static enum step move_batch(struct job *job, struct dirmove *d)
{
	enum step s = STEP_DONE;
	int more = 1;

	for (unsigned n = 0; s == STEP_DONE && d->nsrc < BATCH && n < BATCH && more > 0; n++) {
		if (d->stay != 0)
			s = move_beside(job, d);
		else if ((more = walk_more(&d->walk, job->jobs)) > 0)
			s = next_file(job, d);
	}
	if (more < 0)
		return job_unrecorded(job, more);
	if (s != STEP_DONE)
		return s;
	job->own.phase = 2;
	return d->nsrc == 0 ? STEP_AGAIN : STEP_BARRIER;
}

/* Phase 2. */
static enum step clean_batch(struct job *job, struct dirmove *d)
{
	struct err err = {0};

	if (d->nsrc != 0 && meta_synced(job->jobs->conf.meta) < job->own.barrier_txn)
		return STEP_BARRIER;
	job_state_set(job, JOB_CLEANING);
	for (; d->removed < d->nsrc; d->removed++) {
		struct source *s = &d->src[d->removed];
		errint_t r = job_remove_object(job, s->remote, s->path, s->etag, &err);

		if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
			return STEP_LATER;
		if (r < 0)
			log_error("job", "'%s' was moved, but its source could not be removed: %s",
				s->path, err_text(&err, r));
	}
	for (size_t i = 0; i < d->nsrc; i++)
		free(d->src[i].path);
	d->nsrc = d->removed = 0;
	job->own.phase = walk_ended(&d->walk) ? 3 : 1;
	return STEP_AGAIN;
}

/* A marker at the new place, the old one removed. */
static errint_t move_marker(struct job *job, uint64_t dir, struct err *err)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1], old[META_PATH_MAX + 1];
	uint32_t remote = 0;
	struct objref o;
	struct store_call call;
	cleanup_meta_set struct meta_set meta = {0};
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, dir, &in);

	if (r == 0)
		r = meta_dir_prefix(t, dir, &remote, old);
	if (r == 0)
		r = walk_target(job, remote, old, path);
	meta_abort(t);
	if (r < 0 || !walk_concerns(job, &in) || (in.flags & META_F_MARKER) == 0 ||
		(remote == job->dst_remote && strcmp(old, path) == 0))
		return 0;
	r = objref_make(job->jobs, job->dst_remote, path, &o, err);
	call_init(&call, job);
	if (r == 0)
		r = meta_set_make(&meta, job->jobs, NULL, job->dst_remote, &in, NULL);
	struct store_put put = {.meta = meta.m, .nmeta = meta.n};

	if (r == 0)
		r = store_put(o.st, &call, o.o, "", 0, &put, NULL, err);
	if (r == 0 && remote == job->src_remote && strncmp(old, job->src, strlen(job->src)) == 0)
		r = job_remove_object(job, remote, old, "", err);
	return r;
}

static void restart(struct job *job)
{
	dirmove_free(job->own.dirmove);
	job->own.dirmove = NULL;
	job->own.phase = 0;
}

/* The prefix is the path's again, unless it was renamed since: then another move starts from here.
 * That one may have a later one behind it which ends at this very name: the prefix stays until the
 * last. */
static void prefix_set(struct job *job, struct meta_txn *t)
{
	struct meta_inode in;
	struct job *o = job;
	uint32_t remote = 0;
	char want[META_PATH_MAX + 1];

	if (meta_inode_get(t, job->ino, &in) < 0 || (in.flags & META_F_PREFIX) == 0 ||
		in.loc.remote != job->src_remote || strcmp(in.loc.path, job->src) != 0)
		return;
	{
		LOCKED(&job->jobs->g.lock);
		do
			o = TAILQ_NEXT(o, move);
		while (o != NULL && o->ino != job->ino);
	}
	if (o == NULL && meta_desired(t, job->ino, &remote, want) == 0 &&
		remote == job->dst_remote && strcmp(want, job->dst) == 0) {
		in.flags &= ~(uint32_t)META_F_PREFIX;
		in.loc = (struct meta_loc){0};
	} else {
		in.loc.remote = job->dst_remote;
		(void)snprintf(in.loc.path, sizeof(in.loc.path), "%s", job->dst);
	}
	(void)meta_inode_put(t, &in);
}

/* Pinned prefixes below move along. */
static void prefixes_set(struct job *job, struct meta_txn *t, const struct dirmove *d)
{
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	for (size_t i = 0; i < d->walk.ndirs; i++) {
		if (d->walk.dirs[i] == job->ino || meta_inode_get(t, d->walk.dirs[i], &in) < 0 ||
			(in.flags & META_F_PREFIX) == 0 || !walk_concerns(job, &in) ||
			walk_target(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		in.loc.remote = job->dst_remote;
		(void)snprintf(in.loc.path, sizeof(in.loc.path), "%s", to);
		(void)meta_inode_put(t, &in);
	}
	prefix_set(job, t);
}

static enum step finish_dir(struct job *job, struct dirmove *d)
{
	struct jobs *j = job->jobs;
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	bool alone = !atomic_load(&job->cancel) && can_go_alone(job, t, d);

	meta_abort(t);
	if (d->narchived != 0 && !alone)
		return try_later(job, d);
	for (size_t i = d->walk.ndirs; i-- > 0;) {
		errint_t r = move_marker(job, d->walk.dirs[i], &err);

		if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
			return STEP_LATER;
	}
	bool more = false;

	t = meta_begin(j->conf.meta);
	if (d->narchived != 0 && !can_go_alone(job, t, d)) {
		meta_abort(t);
		return try_later(job, d);
	}
	if (d->skipped == 0 &&
		(walk_take_left(&d->walk, job, t, d->archived, d->narchived, &more) < 0 || more)) {
		meta_abort(t); /* somebody left meanwhile: once more round, it is quick */
		restart(job);
		return STEP_AGAIN;
	}
	prefixes_set(job, t, d);
	go_alone(job, t, d);
	if (d->skipped != 0) {
		job->own.result = d->skip_r;
		(void)snprintf(job->own.why, sizeof(job->own.why), "%zu %s at the source: %.140s",
			d->skipped, d->skipped == 1 ? "file stays" : "files stay", d->skip_why);
	} else if (d->unlisted) {
		job->own.result = d->skip_r;
		(void)snprintf(job->own.why, sizeof(job->own.why),
			"what could not be listed stays at the source: %.140s", d->skip_why);
	}
	enum step s = job_finish(job, t);

	for (size_t i = 0; s == STEP_DONE && i < d->narchived; i++)
		wait_hand_on(job, d->archived[i]);
	if (s != STEP_DONE && d->narchived != 0)
		restart(job); /* their inodes are not known any more */
	return s;
}

enum step dirmove_step(struct job *job)
{
	struct dirmove *d = job->own.dirmove;

	if (d != NULL && d->walk.ndirs == 0) { /* from the journal: what a crash left to remove */
		enum step s = clean_batch(job, d);

		if (s != STEP_AGAIN)
			return s;
		restart(job);
		d = NULL;
	}
	if (d == NULL) {
		if (!job_barrier_ok(job, job->g.post_txn))
			return STEP_BARRIER;
		d = job->own.dirmove = calloc(1, sizeof(*d));
		errint_t r = d == NULL ? -ENOMEM : walk_begin(&d->walk, job);

		if (r < 0) {
			restart(job);
			return job_unrecorded(job, -ENOMEM);
		}
		if (job_attempt(job) < 0)
			return job_unrecorded(job, -EIO);
	}
	switch (job->own.phase) {
	case 0:
		return list_one(job, d);
	case 1:
		job_state_set(job, JOB_RUNNING);
		return move_batch(job, d);
	case 2:
		return clean_batch(job, d);
	default:
		return finish_dir(job, d);
	}
}
