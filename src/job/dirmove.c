/* SPDX-License-Identifier: MIT */
/*
 * All objects below a directory -> its new prefix. The name moved at once; the directory keeps the
 * old prefix in its row (META_F_PREFIX) until everything has followed.
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
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define BATCH	  64
#define DIRS_MAX  1000000
#define SLICE_MAX 512
#define ALONE_MAX 4096 /* archived files that get moves of their own */

struct source { /* one object to be removed after the sync point */
	uint32_t remote;
	char *path; /* owned */
	char etag[META_ETAG_MAX];
};

struct walk {
	uint64_t *dirs; /* owned; found so far, the first is the top */
	size_t ndirs, capdirs, next;
	uint64_t files[SLICE_MAX]; /* of dirs[next - 1], from cookie on */
	size_t nfiles, at;
	uint64_t cookie;
	struct source src[BATCH];
	size_t nsrc, removed;
	uint64_t nfound, bytes_found; /* by phase 0: files that are to move */
	uint64_t *left;		      /* owned; inodes of jobs behind this one */
	size_t nleft, left_at;
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

void dirmove_free(void *p)
{
	struct walk *w = p;

	if (w == NULL)
		return;
	for (size_t i = 0; i < w->nsrc; i++)
		free(w->src[i].path);
	free(w->dirs);
	free(w->left);
	free(w->archived);
	free(w);
}

json_t *dirmove_sources(const struct job *job)
{
	const struct walk *w = job->own.walk;
	json_t *all = w != NULL && w->nsrc != 0 ? json_array() : NULL;

	for (size_t i = 0; all != NULL && i < w->nsrc; i++)
		(void)json_array_append_new(
			all, json_pack("{s:i s:o s:s}", "remote", (int)w->src[i].remote, "path",
				     journal_path(w->src[i].path), "etag", w->src[i].etag));
	return all;
}

errint_t dirmove_sources_load(struct job *job, const json_t *j)
{
	struct walk *w = calloc(1, sizeof(*w));
	const char *etag = NULL;
	json_t *path = NULL;
	int remote = 0;

	if (w == NULL)
		return -ENOMEM;
	job->own.walk = w;
	if (!json_is_array(j) || json_array_size(j) > BATCH)
		return -EBADMSG;
	for (size_t i = 0; i < json_array_size(j); i++) {
		struct source *s = &w->src[i];

		if (json_unpack(json_array_get(j, i), "{s:i s:o s:s}", "remote", &remote, "path",
			    &path, "etag", &etag) < 0 ||
			strlen(etag) >= sizeof(s->etag))
			return -EBADMSG;
		errint_t r = journal_path_from(path, &s->path);

		if (r < 0)
			return r;
		s->remote = (uint32_t)remote;
		(void)snprintf(s->etag, sizeof(s->etag), "%s", etag);
		w->nsrc++;
	}
	return 0;
}

static errint_t add_ino(uint64_t **p, size_t *n, size_t *cap, uint64_t ino)
{
	if (*n == *cap) {
		size_t more = *cap != 0 ? 2 * *cap : 64;
		uint64_t *q = realloc(*p, more * sizeof(*q));

		if (q == NULL)
			return -ENOMEM;
		*p = q;
		*cap = more;
	}
	(*p)[(*n)++] = ino;
	return 0;
}

static errint_t add_dir(struct walk *w, uint64_t ino)
{
	return w->ndirs == DIRS_MAX ? -E2BIG : add_ino(&w->dirs, &w->ndirs, &w->capdirs, ino);
}

static int take_file(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct walk *w = arg;

	w->cookie = ino;
	if (kind != META_DIR)
		w->files[w->nfiles++] = ino;
	return w->nfiles == SLICE_MAX;
}

/* A directory that was made after this move was posted may lie below job->src by its name: its
 * objects come, or have come, by later jobs. */
static bool concerned(const struct job *job, const struct meta_inode *dir)
{
	return dir->moves_before < job->id;
}

/* Where a place below job->src goes: history is replayed, whatever the name is by now. */
static errint_t target_of(
	struct job *job, uint32_t remote, const char *path, char ret[META_PATH_MAX + 1])
{
	size_t n = strlen(job->src);

	if (remote != job->src_remote || strncmp(path, job->src, n) != 0)
		return -ESTALE; /* not of this move: it has jobs of its own */
	return snprintf(ret, META_PATH_MAX + 1, "%s%s", job->dst, path + n) > META_PATH_MAX
		       ? -ENAMETOOLONG
		       : 0;
}

struct look {
	struct job *job;
	struct walk *walk;
};

static int take_dir(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	const struct look *l = arg;
	char path[META_PATH_MAX + 1];

	if (kind == META_DIR)
		return add_dir(l->walk, ino);
	if ((full->flags & META_F_OBJECT) == 0 ||
		target_of(l->job, full->loc.remote, full->loc.path, path) < 0)
		return 0;
	l->walk->nfound++;
	l->walk->bytes_found += full->size;
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

/* For good: the directory gets its old name again. Where others count on the move already it is
 * tried for a while; then what is known is moved, and the rest, which nobody has seen, shows up
 * under the old name. STEP_DONE with w->unlisted: go on. */
static enum step list_failed(struct job *job, struct walk *w, errint_t r, struct err *err)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool may = can_go_back(job, t, &in);

	meta_abort(t);
	if (atomic_load(&job->cancel) && !atomic_load(&job->jobs->stopping))
		w->cancelled = true;
	enum step s = may ? job_trouble(job, r, err) : job_follow(job, r, err);

	if (s != STEP_DONE && job->firm && !job_src_hidden(job) && job->own.follow_until_ns != 0 &&
		clock_mono_ns() >= job->own.follow_until_ns && err_is_final(r, err))
		s = STEP_DONE;
	if (s != STEP_DONE)
		return s;
	s = may ? go_back(job) : STEP_AGAIN;
	if (s != STEP_AGAIN)
		return s;
	w->unlisted = true;
	w->skip_r = r;
	(void)snprintf(w->skip_why, sizeof(w->skip_why), "%.140s", err_text(err, r));
	job->own.result = 0;
	return STEP_DONE;
}

static bool is_removed(struct job *job, uint64_t dir)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, dir, &in);

	meta_abort(t);
	return r == -ENOENT || (r == 0 && (in.flags & META_F_ORPHAN) != 0);
}

/* What this round moves, after earlier ones. */
static void totals_set(struct job *job, const struct walk *w)
{
	LOCKED(&job->jobs->g.lock);

	job->g.files_total = atomic_load(&job->files_done) + w->nfound;
	job->g.bytes_total = job->own.bytes_before + w->bytes_found;
}

/* Phase 0: one directory a step. */
static enum step list_one(struct job *job, struct walk *w)
{
	struct err err = {0};
	struct meta_inode in;

	if (w->next == w->ndirs) {
		w->next = 0;
		w->cookie = 0;
		job->own.phase = 1;
		totals_set(job, w);
		return STEP_AGAIN;
	}
	uint64_t dir = w->dirs[w->next];
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, dir, &in);

	meta_abort(t);
	if (r == 0 && concerned(job, &in) && (in.flags & META_F_ORPHAN) == 0 &&
		in.listed_at_ns <= job->jobs->listed_epoch_ns)
		r = list_now(job->jobs, dir, job, &err);
	if (r < 0 && !is_removed(job, dir)) {
		enum step s = list_failed(job, w, r, &err);

		if (s != STEP_DONE || !w->unlisted)
			return s;
	}
	t = meta_begin_read(job->jobs->conf.meta);
	r = meta_children(t, dir, 0, true, take_dir, &(struct look){.job = job, .walk = w});
	meta_abort(t);
	if (r < 0 && r != -ENOENT)
		return job_trouble(job, -ENOMEM, &(struct err){.kind = ERR_RETRY});
	w->next++;
	return STEP_AGAIN;
}

/* The index says in t that the object of was is not needed any more: it goes after the sync point.
 */
static errint_t source_goes(
	struct job *job, struct meta_txn *t, const struct meta_inode *was, struct walk *w)
{
	struct source *s = &w->src[w->nsrc];

	s->remote = was->loc.remote;
	s->path = strdup(was->loc.path);
	(void)snprintf(s->etag, sizeof(s->etag), "%s", was->loc.etag);
	if (s->path == NULL) {
		meta_abort(t);
		return -ENOMEM;
	}
	w->nsrc++;
	(void)journal_put(t, job); /* with what is still to be removed */
	job->own.barrier_txn = meta_txn_id(t);
	errint_t r = meta_commit(t);

	if (r < 0) { /* the index still points to the source: it stays */
		free(s->path);
		s->path = NULL;
		w->nsrc--;
	}
	return r;
}

static errint_t point(struct job *job, const struct meta_inode *was, uint32_t remote,
	const char *path, const struct store_stat *st, struct walk *w)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, was->ino, &in);

	if (r < 0 || !row_names(&in, &was->loc)) { /* it went on: so the source is not ours */
		meta_abort(t);
		return r < 0 && r != -ENOENT ? r : -ESTALE;
	}
	job_loc_set(&in, job->jobs, remote, path, st);
	attrs_arrived(job, t, &in);
	(void)meta_inode_put(t, &in);
	stage_rebase(job->jobs, in.ino, was->loc.etag, st->etag);
	return source_goes(job, t, was, w);
}

/* The same; a copy that its file has no use for any more goes, and it is looked at again. */
static errint_t point_or_drop(struct job *job, const struct meta_inode *was, uint32_t remote,
	const char *path, const struct store_stat *st, struct walk *w, struct err *err)
{
	errint_t r = point(job, was, remote, path, st, w);

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

static errint_t move_one(struct job *job, struct walk *w, uint64_t ino, struct err *err)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1];
	struct store_stat st = {0};
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, ino, &in);

	meta_abort(t);
	if (r < 0 || (in.flags & META_F_OBJECT) == 0 || in.kind == META_DIR ||
		target_of(job, in.loc.remote, in.loc.path, path) < 0)
		return 0;
	if (in.loc.remote == job->dst_remote && strcmp(in.loc.path, path) == 0)
		return 0;
	if (job_in_use(job, in.loc.remote, in.loc.path, in.loc.etag))
		return -EINPROGRESS;
	if (job_still_archived(job, &in))
		return err_set(err, -EIO, ERR_ARCHIVED, "'%s' is archived", in.name);
	struct move_spec spec = {.src_remote = in.loc.remote,
		.src = in.loc.path,
		.src_etag = in.loc.etag,
		.dst_remote = job->dst_remote,
		.dst = path,
		.size = in.size,
		.attrs = &in,
		.class_name = class_online(job->jobs, job->dst_remote, (enum tier)in.tier)};

	if (!row_has_object_size(&in))
		r = object_size(job, &in.loc, &spec.size, err);
	if (r == 0)
		r = move_object(job, &spec, &st, err);
	if (r < 0 && err->kind == ERR_STALE && (r == -EEXIST || r == -EAGAIN))
		r = adopt(job, &spec, &st, err);
	if (r == -ESTALE && err->kind == ERR_STALE && row_follow(job, &in, err) > 0)
		r = err_set(err, -EAGAIN, ERR_RETRY, "'%s' has another version", in.name);
	if (r < 0)
		return r;
	r = point_or_drop(job, &in, job->dst_remote, path, &st, w, err);
	store_stat_done(&st);
	if (r == 0)
		count_moved(job, &in, &spec);
	return r;
}

/* What left the directory after it moved, and whose jobs come behind this one: it lies below the
 * old prefix, and somebody may count on its being empty. Files into w->left; directories are walked
 * as if they were here still. *ret_more: there is something that was not taken yet. */
static errint_t take_left(struct job *job, struct meta_txn *t, struct walk *w, bool *ret_more)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1], to[META_PATH_MAX + 1];
	uint64_t *inos = NULL;
	size_t n = 0;
	errint_t r = graph_later_inos(job->jobs, job, &inos, &n);

	*ret_more = false;
	if (r < 0)
		return r;
	free(w->left);
	w->left = inos;
	w->nleft = w->left_at = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t remote = 0;

		if (meta_inode_get(t, inos[i], &in) < 0)
			continue;
		if (in.kind != META_DIR) {
			if ((in.flags & META_F_OBJECT) == 0 ||
				target_of(job, in.loc.remote, in.loc.path, to) < 0)
				continue;
			w->left[w->nleft++] = in.ino;
			*ret_more = true;
			continue;
		}
		if (!concerned(job, &in) || meta_dir_prefix(t, in.ino, &remote, path) < 0 ||
			target_of(job, remote, path, to) < 0)
			continue;
		size_t k = 0;

		while (k < w->ndirs && w->dirs[k] != in.ino)
			k++;
		if (k < w->ndirs)
			continue;
		*ret_more = true;
		r = add_dir(w, in.ino);
	}
	return r;
}

/* A file that cannot follow keeps its object, and gets its old name back. */
static enum step leave_behind(
	struct job *job, struct walk *w, uint64_t ino, errint_t r, struct err *err)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	char path[META_PATH_MAX + 1];
	struct err own = {0};
	errint_t e = meta_inode_get(t, ino, &in);

	meta_abort(t);
	if (e == 0 && (!w->cancelled || job->own.tries > 0) &&
		target_of(job, in.loc.remote, in.loc.path, path) == 0)
		e = job_drop_copy(job, &in.loc, job->dst_remote, path, &own);
	if (e < 0 && e != -ENOENT && job_follow(job, e, &own) != STEP_DONE)
		return STEP_LATER;
	t = meta_begin(job->jobs->conf.meta);
	w->stay_path[0] = '\0';
	if (meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0) {
		in.flags |= META_F_FAILED;
		(void)snprintf(in.last_error, sizeof(in.last_error), "%.150s", err_text(err, r));
		(void)meta_inode_put(t, &in);
		(void)job_name_back(job, t, &in, w->stay_path);
	}
	e = meta_commit(t);
	if (e < 0)
		return job_trouble(job, e, &(struct err){.kind = ERR_RETRY});
	w->stay = w->stay_path[0] != '\0' ? ino : 0;
	w->skipped++;
	w->skip_r = r;
	(void)snprintf(w->skip_why, sizeof(w->skip_why), "%.140s", err_text(err, r));
	return STEP_DONE;
}

/* Its old name and key are something else's by now: the object goes to the key of its new name. */
static enum step move_beside(struct job *job, struct walk *w)
{
	struct meta_inode in;
	struct store_stat st = {0};
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, w->stay, &in);

	meta_abort(t);
	if (r < 0 || (in.flags & META_F_OBJECT) == 0) {
		w->stay = 0;
		return STEP_DONE;
	}
	struct move_spec spec = {.src_remote = in.loc.remote,
		.src = in.loc.path,
		.src_etag = in.loc.etag,
		.dst_remote = in.loc.remote,
		.dst = w->stay_path,
		.size = in.size,
		.attrs = &in,
		.class_name = in.class_name};

	if (!row_has_object_size(&in))
		r = object_size(job, &in.loc, &spec.size, &err);
	if (r == 0)
		r = move_object(job, &spec, &st, &err);
	if (r < 0 && err.kind == ERR_STALE && (r == -EEXIST || r == -EAGAIN))
		r = adopt(job, &spec, &st, &err);
	if (r == 0)
		r = point_or_drop(job, &in, in.loc.remote, w->stay_path, &st, w, &err);
	store_stat_done(&st);
	if (r < 0 && err.kind == ERR_ARCHIVED)
		return job_await_restore(job, "it leaves its key when it is restored");
	if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	w->stay = 0;
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
static errint_t set_aside(struct job *job, struct walk *w, uint64_t ino)
{
	struct meta_inode in;

	if (!is_removed_later(job, ino))
		return add_ino(&w->archived, &w->narchived, &w->caparchived, ino);
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, ino, &in);

	if (r < 0 || (in.flags & META_F_ORPHAN) == 0 || (in.flags & META_F_OBJECT) == 0) {
		meta_abort(t);
		return r < 0 ? 0 : -EAGAIN;
	}
	in.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
	(void)meta_inode_put(t, &in);
	return source_goes(job, t, &in, w);
}

/* Each archived file can have a move of its own, which is as good as this one: nobody counts on
 * what this one does with it. */
static bool can_go_alone(struct job *job, struct meta_txn *t, const struct walk *w)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	if (job->firm || w->narchived > ALONE_MAX)
		return false;
	for (size_t i = 0; i < w->narchived; i++) {
		if (meta_inode_get(t, w->archived[i], &in) < 0 ||
			target_of(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		LOCKED(&j->g.lock);
		if ((in.flags & META_F_ORPHAN) != 0 ||
			!graph_untouched(j, in.ino, in.loc.remote, in.loc.path, job) ||
			!graph_untouched(j, in.ino, job->dst_remote, to, job))
			return false;
	}
	return true;
}

/* w->archived become the ids of these moves. */
static void go_alone(struct job *job, struct meta_txn *t, struct walk *w)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	for (size_t i = 0; i < w->narchived; i++) {
		uint64_t ino = w->archived[i];

		w->archived[i] = 0;
		if (meta_inode_get(t, ino, &in) < 0 || (in.flags & META_F_OBJECT) == 0 ||
			target_of(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		struct job *move = job_alloc(j, JOB_RELOCATE, ino);

		if (move == NULL || job_set_src(move, in.loc.remote, in.loc.path) < 0 ||
			job_set_dst(move, job->dst_remote, to) < 0) {
			job_free(move);
			meta_txn_fail(t, -ENOMEM);
			return;
		}
		(void)job_post(j, t, move, &w->archived[i]);
	}
}

/* They are tried again, as what left the directory is. */
static enum step try_later(struct job *job, struct walk *w)
{
	char what[80];

	(void)snprintf(what, sizeof(what),
		w->narchived == 1 ? "%zu file follows when it is restored"
				  : "%zu files follow when they are restored",
		w->narchived);
	free(w->left);
	w->left = w->archived;
	w->nleft = w->narchived;
	w->left_at = 0;
	w->archived = NULL;
	w->narchived = w->caparchived = 0;
	job->own.phase = 1;
	job_state_set(job, JOB_RUNNING); /* it can be cancelled */
	return atomic_load(&job->cancel) ? STEP_AGAIN : job_await_restore(job, what);
}

/* ---- the walk ---- */

/* w->files[w->at]: follows, or stays behind. */
static enum step next_file(struct job *job, struct walk *w)
{
	struct err err = {0};
	uint64_t ino = w->files[w->at];

	if (atomic_load(&job->cancel) && !atomic_load(&job->jobs->stopping)) {
		atomic_store(&job->cancel, false); /* what stays behind may need requests */
		w->cancelled = true;
	}
	errint_t r = w->cancelled ? -ECANCELED : move_one(job, w, ino, &err);

	if (r == -EINPROGRESS)
		return STEP_LATER;
	if (r < 0 && err.kind == ERR_ARCHIVED && !atomic_load(&job->cancel)) {
		err_clear(&err);
		r = set_aside(job, w, ino);
	}
	enum step s =
		r == 0 || (r == -EEXIST && !job->firm) ? STEP_DONE : job_firm_trouble(job, r, &err);

	if (s == STEP_DONE && r < 0)
		s = leave_behind(job, w, ino, r, &err);
	if (s != STEP_DONE)
		return s;
	job->own.tries = 0;
	w->at++;
	return STEP_DONE;
}

/* Phase 1. */
static enum step move_batch(struct job *job, struct walk *w)
{
	struct jobs *j = job->jobs;

	for (;;) {
		if (w->nsrc == BATCH) {
			job->own.phase = 2;
			return STEP_BARRIER;
		}
		if (w->stay == 0 && w->at == w->nfiles) {
			w->at = w->nfiles = 0;
			struct meta_txn *t = meta_begin_read(j->conf.meta);

			if (w->next == 0 && w->cookie == 0)
				w->next = 1;
			if (w->next <= w->ndirs)
				(void)meta_children(
					t, w->dirs[w->next - 1], w->cookie, false, take_file, w);
			meta_abort(t);
			if (w->nfiles == 0) {
				w->cookie = 0;
				if (w->next <= w->ndirs && ++w->next <= w->ndirs)
					continue;
				w->next = w->ndirs + 1;
				if (w->left_at == w->nleft) {
					job->own.phase = 2;
					return w->nsrc == 0 ? STEP_AGAIN : STEP_BARRIER;
				}
				while (w->left_at < w->nleft && w->nfiles < SLICE_MAX)
					w->files[w->nfiles++] = w->left[w->left_at++];
			}
		}
		enum step s = w->stay != 0 ? move_beside(job, w) : next_file(job, w);

		if (s != STEP_DONE)
			return s;
	}
}

/* Phase 2. */
static enum step clean_batch(struct job *job, struct walk *w)
{
	struct err err = {0};

	if (w->nsrc != 0 && meta_synced(job->jobs->conf.meta) < job->own.barrier_txn)
		return STEP_BARRIER;
	job_state_set(job, JOB_CLEANING);
	for (; w->removed < w->nsrc; w->removed++) {
		struct source *s = &w->src[w->removed];
		errint_t r = job_remove_object(job, s->remote, s->path, s->etag, &err);

		if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
			return STEP_LATER;
		if (r < 0)
			log_error("job", "'%s' was moved, but its source could not be removed: %s",
				s->path, err_text(&err, r));
	}
	for (size_t i = 0; i < w->nsrc; i++)
		free(w->src[i].path);
	w->nsrc = w->removed = 0;
	job->own.phase = w->next > w->ndirs && w->left_at == w->nleft && w->at == w->nfiles ? 3 : 1;
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
		r = target_of(job, remote, old, path);
	meta_abort(t);
	if (r < 0 || !concerned(job, &in) || (in.flags & META_F_MARKER) == 0 ||
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
	dirmove_free(job->own.walk);
	job->own.walk = NULL;
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
static void prefixes_set(struct job *job, struct meta_txn *t, const struct walk *w)
{
	struct meta_inode in;
	char to[META_PATH_MAX + 1];

	for (size_t i = 0; i < w->ndirs; i++) {
		if (w->dirs[i] == job->ino || meta_inode_get(t, w->dirs[i], &in) < 0 ||
			(in.flags & META_F_PREFIX) == 0 || !concerned(job, &in) ||
			target_of(job, in.loc.remote, in.loc.path, to) < 0)
			continue;
		in.loc.remote = job->dst_remote;
		(void)snprintf(in.loc.path, sizeof(in.loc.path), "%s", to);
		(void)meta_inode_put(t, &in);
	}
	prefix_set(job, t);
}

static enum step finish_dir(struct job *job, struct walk *w)
{
	struct jobs *j = job->jobs;
	struct err err = {0};
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	bool alone = !atomic_load(&job->cancel) && can_go_alone(job, t, w);

	meta_abort(t);
	if (w->narchived != 0 && !alone)
		return try_later(job, w);
	for (size_t i = w->ndirs; i-- > 0;) {
		errint_t r = move_marker(job, w->dirs[i], &err);

		if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
			return STEP_LATER;
	}
	bool more = false;

	t = meta_begin(j->conf.meta);
	if (w->narchived != 0 && !can_go_alone(job, t, w)) {
		meta_abort(t);
		return try_later(job, w);
	}
	if (w->skipped == 0 && (take_left(job, t, w, &more) < 0 || more)) {
		meta_abort(t); /* somebody left meanwhile: once more round, it is quick */
		restart(job);
		return STEP_AGAIN;
	}
	prefixes_set(job, t, w);
	go_alone(job, t, w);
	if (w->skipped != 0) {
		job->own.result = w->skip_r;
		(void)snprintf(job->own.why, sizeof(job->own.why), "%zu %s at the source: %.140s",
			w->skipped, w->skipped == 1 ? "file stays" : "files stay", w->skip_why);
	} else if (w->unlisted) {
		job->own.result = w->skip_r;
		(void)snprintf(job->own.why, sizeof(job->own.why),
			"what could not be listed stays at the source: %.140s", w->skip_why);
	}
	enum step s = job_finish(job, t);

	for (size_t i = 0; s == STEP_DONE && i < w->narchived; i++)
		wait_hand_on(job, w->archived[i]);
	if (s != STEP_DONE && w->narchived != 0)
		restart(job); /* their inodes are not known any more */
	return s;
}

enum step dirmove_step(struct job *job)
{
	struct walk *w = job->own.walk;

	if (w != NULL && w->ndirs == 0) { /* from the journal: what a crash left to remove */
		enum step s = clean_batch(job, w);

		if (s != STEP_AGAIN)
			return s;
		restart(job);
		w = NULL;
	}
	if (w == NULL) {
		if (!job_barrier_ok(job, job->g.post_txn))
			return STEP_BARRIER;
		w = job->own.walk = calloc(1, sizeof(*w));
		bool more = false;
		struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
		errint_t r = w == NULL ? -ENOMEM : add_dir(w, job->ino);

		if (r == 0)
			r = take_left(job, t, w, &more);
		meta_abort(t);
		if (r < 0) {
			restart(job);
			return job_trouble(job, -ENOMEM, &(struct err){.kind = ERR_RETRY});
		}
		if (job_attempt(job) < 0)
			return job_trouble(job, -EIO, &(struct err){.kind = ERR_RETRY});
	}
	switch (job->own.phase) {
	case 0:
		return list_one(job, w);
	case 1:
		job_state_set(job, JOB_RUNNING);
		return move_batch(job, w);
	case 2:
		return clean_batch(job, w);
	default:
		return finish_dir(job, w);
	}
}
