/* SPDX-License-Identifier: MIT */
/*
 * Jobs that end without having done what they were posted for: their inode is gone, or the move
 * fails for good.
 *
 * A move that fails is taken back. The name returns to where the object is, and what was to be
 * overwritten gets its own name again; nothing is overwritten by that. When the old name, or the
 * old key, belongs to something else by now, the object goes on to a free key beside it,
 * NAME.unmoved-TIME: whoever has the key counts on its being left. Then the job turns: it becomes a
 * move to there, and ends with the failure of the first one.
 *
 * A copy of ours at the destination, from an attempt whose answer was lost, is believed when its
 * checksum is the source's: then the move succeeded. Otherwise it is removed.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

/* The parent directory of /REMOTE/PATH in the index, made where it is missing. */
errint_t job_parent_of(struct jobs *j, struct meta_txn *t, uint32_t remote, const char *path,
	uint64_t *ret, char name[META_NAME_MAX + 1])
{
	const struct remote *r = remote_of(j, remote);
	uint64_t dir = 0;
	bool alias = false;

	if (r == NULL || meta_lookup(t, META_ROOT_INO, r->name, &dir) < 0)
		return -ENOENT;
	for (;;) {
		const char *slash = strchr(path, '/');
		size_t len = slash == NULL ? strlen(path) : (size_t)(slash - path);
		uint64_t next = 0;

		meta_name_encode(path, len, name, &alias);
		if (slash == NULL || slash[1] == '\0')
			break;
		if (meta_lookup(t, dir, name, &next) < 0) {
			struct meta_inode d = {.kind = META_DIR};

			d.ino = next = meta_ino_next(t);
			d.mode = S_IFDIR | 0755;
			d.uid = j->conf.uid;
			d.gid = j->conf.gid;
			d.mtime_ns = d.ctime_ns = d.atime_ns = d.btime_ns = clock_now_ns();
			errint_t e = meta_link(t, &d, dir, name);

			if (e < 0)
				return e;
		}
		dir = next;
		path = slash + 1;
	}
	*ret = dir;
	return 0;
}

bool job_is_dir(struct jobs *j, uint32_t remote, const char *path)
{
	const struct remote *r = remote_of(j, remote);
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	char name[META_NAME_MAX + 1];
	struct meta_inode in;
	uint64_t ino = 0;
	bool alias = false;
	errint_t e = r == NULL ? -ENOENT : meta_lookup(t, META_ROOT_INO, r->name, &ino);

	while (e == 0 && path[0] != '\0') {
		size_t len = strcspn(path, "/");

		meta_name_encode(path, len, name, &alias);
		e = meta_lookup(t, ino, name, &ino);
		path += len + (path[len] == '/');
	}
	if (e == 0)
		e = meta_inode_get(t, ino, &in);
	meta_abort(t);
	return e == 0 && in.kind == META_DIR;
}

/* ---- what an attempt left at its destination ---- */

errint_t object_look(
	struct job *job, uint32_t remote, const char *path, struct store_stat *ret, struct err *err)
{
	struct objref o;
	struct store_call call;
	errint_t r = objref_make(job->jobs, remote, path, &o, err);

	if (r < 0)
		return r;
	call_init(&call, job);
	r = store_head(o.st, &call, o.o, ret, err);
	if (r < 0 && err->kind == ERR_NOT_FOUND)
		return 0;
	return r < 0 ? r : 1;
}

errint_t job_look(
	struct job *job, uint32_t remote, const char *path, struct store_stat *ret, struct err *err)
{
	struct objref o;
	errint_t r = objref_make(job->jobs, remote, path, &o, err);

	if (r < 0)
		return r;
	uploads_abort_own(job, &o);
	r = object_look(job, remote, path, ret, err);
	if (r > 0 && mark_check(job, ret) != MARK_OTHER)
		job->own.landed = true;
	return r;
}

/* Nobody else would take it away, and a listing would show it. */
errint_t job_remove_copy(struct job *job, uint32_t remote, const char *path, struct err *err)
{
	struct store_stat st = {0};
	char etag[META_ETAG_MAX] = "";

	if (job_untried(job) || remote == 0)
		return 0;
	errint_t r = job_look(job, remote, path, &st, err);

	if (r > 0 && (mark_check(job, &st) != MARK_OTHER || rename_is_at(job, &st)))
		(void)snprintf(etag, sizeof(etag), "%s", st.etag);
	store_stat_done(&st);
	if (r <= 0 || etag[0] == '\0')
		return MIN_OF(r, 0);
	return job_remove_object(job, remote, path, etag, err);
}

bool job_copy_is_whole(
	const struct job *job, const struct meta_inode *in, const struct store_stat *st)
{
	return mark_check(job, st) != MARK_OTHER && in->has_crc32c && st->has_crc32c &&
	       in->crc32c == st->crc32c && (!row_has_object_size(in) || in->size == st->size);
}

static void forget_object(struct meta_txn *t, uint64_t ino)
{
	struct meta_inode in;

	if (meta_inode_get(t, ino, &in) < 0)
		return;
	in.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
	(void)meta_inode_put(t, &in);
}

static enum step follow_to_end(struct job *job, errint_t r, const struct err *err)
{
	enum step s = job_follow(job, r, err);

	return s == STEP_DONE ? job_finish_alone(job, job->own.result, job->own.why) : s;
}

uint64_t meta_last_txn(struct jobs *j)
{
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	uint64_t id = meta_txn_id(t);

	meta_abort(t);
	return id;
}

/* Somebody reads what was to be overwritten: it is not given to whoever removes it. */
static bool victim_in_use(struct job *job)
{
	struct meta_inode v;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool has = job->victim != 0 && meta_inode_get(t, job->victim, &v) == 0 &&
		   (v.flags & META_F_OBJECT) != 0;

	meta_abort(t);
	return has && job_in_use(job, v.loc.remote, v.loc.path, v.loc.etag);
}

/* A job ends that has nothing to bring to job->dst. What it was to overwrite there is taken over by
 * its inode, so that whoever replaces, or removes, that one finds it. What lies elsewhere is to be
 * gone before those who wait for its key come, and goes. */
static void adopt_victim(struct job *job, struct meta_txn *t)
{
	struct meta_inode in, v;

	if (job->victim == 0)
		return;
	if (job_victim_elsewhere(job, t, &v)) {
		victim_goes_alone(job, t, &v);
		return;
	}
	if (meta_inode_get(t, job->ino, &in) < 0 || (in.flags & META_F_OBJECT) != 0 ||
		meta_inode_get(t, job->victim, &v) < 0 || (v.flags & META_F_OBJECT) == 0)
		return;
	in.loc = v.loc;
	in.has_crc32c = v.has_crc32c;
	in.crc32c = v.crc32c;
	in.flags |= META_F_OBJECT;
	in.flags &= ~(uint32_t)META_F_BASE;
	(void)meta_inode_put(t, &in);
	v.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
	(void)meta_inode_put(t, &v);
}

errint_t job_drop_copy(struct job *job, const struct meta_loc *from, uint32_t remote,
	const char *path, struct err *err)
{
	struct store_stat st = {0};
	char etag[META_ETAG_MAX] = "";
	errint_t r = job_untried(job) ? 0 : job_look(job, remote, path, &st, err);

	if (r > 0 && mark_check(job, &st) != MARK_OTHER)
		(void)snprintf(etag, sizeof(etag), "%s", st.etag);
	store_stat_done(&st);
	if (r <= 0 || etag[0] == '\0')
		return MIN_OF(r, 0);
	r = job_look(job, from->remote, from->path, &st, err);
	bool there = r > 0 && strcmp(st.etag, from->etag) == 0;

	store_stat_done(&st);
	if (r >= 0 && !there) {
		log_warn("job", "'%s' is gone from its old place: its copy '%s' stays", from->path,
			path);
		return 0;
	}
	return r < 0 ? r : job_remove_object(job, remote, path, etag, err);
}

/* The row of a file that has its name lost its object while this job copied that. */
static bool copied(struct job *job, struct meta_loc *ret)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool named = meta_inode_get(t, job->ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0;

	meta_abort(t);
	ret->remote = job->src_remote;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", job->src);
	(void)snprintf(ret->etag, sizeof(ret->etag), "%s", job->own.etag);
	return job->kind == JOB_RELOCATE && job->own.etag[0] != '\0' && named;
}

enum step job_skip(struct job *job)
{
	struct err err = {0};
	struct meta_loc from;

	if (victim_in_use(job) || rename_waits(job))
		return STEP_LATER;
	errint_t r = copied(job, &from) ? job_drop_copy(job, &from, job->dst_remote, job->dst, &err)
					: job_remove_copy(job, job->dst_remote, job->dst, &err);

	if (r < 0)
		return follow_to_end(job, r, &err);
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	adopt_victim(job, t);
	return job_finish(job, t);
}

/* Where an attempt whose answer is not known replaced the object that the row names, the row learns
 * of it: whoever is to overwrite that object, as its victim, expects what is there. */
static errint_t learn_attempt(struct job *job, struct err *err)
{
	struct store_stat st = {0};
	struct meta_inode in;

	if (job_untried(job))
		return 0;
	errint_t r = job_look(job, job->dst_remote, job->dst, &st, err);

	if (r > 0 && mark_check(job, &st) != MARK_OTHER) {
		struct meta_txn *t = meta_begin(job->jobs->conf.meta);

		if (meta_inode_get(t, job->ino, &in) == 0 && (in.flags & META_F_OBJECT) != 0 &&
			strcmp(in.loc.etag, st.etag) != 0) {
			job_loc_set(&in, job->jobs, job->dst_remote, job->dst, &st);
			(void)meta_inode_put(t, &in);
		}
		r = meta_commit(t);
		if (r < 0)
			err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	}
	store_stat_done(&st);
	return MIN_OF(r, 0);
}

enum step job_drop_object(struct job *job, const struct meta_inode *in)
{
	struct jobs *j = job->jobs;
	struct err err = {0};

	if (job->own.phase != 3) { /* all that was committed up to now must be durable */
		job->own.phase = 3;
		job->own.barrier_txn = meta_last_txn(j);
		return STEP_BARRIER;
	}
	if (job_in_use(job, in->loc.remote, in->loc.path, in->loc.etag) || victim_in_use(job) ||
		rename_waits(job))
		return STEP_LATER;
	/* Also over the object that the row names: by an attempt that the row does not know. */
	errint_t r = job_remove_copy(job, job->dst_remote, job->dst, &err);

	if (r == 0)
		r = job_remove_object(job, in->loc.remote, in->loc.path, in->loc.etag, &err);
	if (r < 0)
		return follow_to_end(job, r, &err);
	struct meta_txn *t = meta_begin(j->conf.meta);

	forget_object(t, job->ino);
	adopt_victim(job, t);
	return job_finish(job, t);
}

/* The inode lost its name while the job waited. When its object is to be removed anyway that is
 * done here: whoever waits for the key may rely on it. */
enum step job_gone(struct job *job, const struct meta_inode *in)
{
	struct jobs *j = job->jobs;
	struct err err = {0};
	bool removed = false;

	if (in == NULL || (in->flags & META_F_OBJECT) == 0)
		return job_skip(job);
	{
		LOCKED(&j->g.lock);
		struct job *last = graph_last_of(j, job->ino);

		removed = last != NULL && last->kind == JOB_REMOVE && !last->held;
	}
	/* An orphan's upload leaves its old key all the same: jobs behind count on it. */
	bool elsewhere = in->loc.remote != job->dst_remote || strcmp(in->loc.path, job->dst) != 0;

	if (!removed && !elsewhere) {
		errint_t e = job->kind == JOB_UPLOAD ? learn_attempt(job, &err) : 0;

		return e < 0 ? follow_to_end(job, e, &err) : job_finish_alone(job, 0, NULL);
	}
	if (!removed && job->kind != JOB_UPLOAD)
		return job_skip(job);
	return job_drop_object(job, in);
}

bool job_src_hidden(const struct job *job)
{
	const struct remote *r = remote_of(job->jobs, job->src_remote);
	const char *slash = r != NULL && r->bucket[0] == '\0' ? strchr(job->src, '/') : NULL;

	return strncmp(slash != NULL ? slash + 1 : job->src, STORE_TMP_PREFIX,
		       strlen(STORE_TMP_PREFIX)) == 0;
}

enum step job_firm_trouble(struct job *job, errint_t r, const struct err *err)
{
	if (!job->firm || !err_is_final(r, err) || job_src_hidden(job))
		return job_trouble(job, r, err);
	if (job->own.follow_until_ns == 0 || clock_mono_ns() < job->own.follow_until_ns)
		return job_follow(job, r, err);
	{
		LOCKED(&job->jobs->g.lock);
		job->firm = false;
	}
	return job_trouble(job, r, err);
}

/* ---- names ---- */

/* The key is claimed by a job of something else. */
static bool key_wanted(struct job *job, const struct meta_inode *in)
{
	LOCKED(&job->jobs->g.lock);
	return graph_wanted(job->jobs, in->loc.remote, in->loc.path, job);
}

/* By whomever: a job of a file that had the name a moment ago may still have it. */
static bool key_claimed(struct jobs *j, uint32_t remote, const char *path)
{
	LOCKED(&j->g.lock);
	return graph_place_key(j, remote, path) != NULL;
}

/* room: how much of base to keep. */
static void unmoved(char ret[META_NAME_MAX + 1], const char *base, size_t room, unsigned n)
{
	(void)snprintf(ret, META_NAME_MAX + 1, "%.*s.unmoved-%lld", (int)MIN_OF(room, (size_t)220),
		base, (long long)(clock_now_ns() / NS_PER_S + n));
}

/* A key beside path that nobody has claimed. */
static void key_beside(
	struct jobs *j, uint32_t remote, const char *path, char ret[META_PATH_MAX + 1])
{
	char tail[META_NAME_MAX + 1];
	unsigned n = 0;

	do {
		unmoved(tail, "", 0, n++);
		(void)snprintf(ret, META_PATH_MAX + 1, "%.*s%s",
			(int)(META_PATH_MAX - strlen(tail)), path, tail);
	} while (key_claimed(j, remote, ret));
}

/* A free name beside base, whose key the store can hold, and nobody has claimed. */
static errint_t move_beside(struct jobs *j, struct meta_txn *t, struct meta_inode *in, uint64_t dir,
	const char *base, char ret_path[META_PATH_MAX + 1])
{
	char name[META_NAME_MAX + 1];
	uint64_t other = 0;
	uint32_t remote = 0;
	unsigned n = 0;

	for (size_t room = strlen(base);;) {
		do
			unmoved(name, base, room, n++);
		while (meta_lookup(t, dir, name, &other) == 0);
		errint_t r = meta_move(t, in, dir, name);

		if (r == 0)
			r = meta_desired(t, in->ino, &remote, ret_path);
		if (r < 0)
			return r;
		if (room != 0 && job_path_ok(j, remote, ret_path) < 0)
			room /= 2;
		else if (!key_claimed(j, remote, ret_path))
			return 0;
	}
}

errint_t job_name_back(struct job *job, struct meta_txn *t, struct meta_inode *in,
	char ret_path[META_PATH_MAX + 1])
{
	struct jobs *j = job->jobs;
	char base[META_NAME_MAX + 1], old[META_NAME_MAX + 1];
	uint64_t dir = 0, other = 0, was = in->parent;
	errint_t r = job_parent_of(j, t, in->loc.remote, in->loc.path, &dir, base);

	ret_path[0] = '\0';
	if (r < 0)
		return r;
	(void)snprintf(old, sizeof(old), "%s", in->name);
	bool there = meta_lookup(t, dir, base, &other) == 0;

	if (there && other == in->ino)
		return 0;
	r = there || key_wanted(job, in) ? move_beside(j, t, in, dir, base, ret_path)
					 : meta_move(t, in, dir, base);
	if (r < 0)
		return r;
	log_warn("job", "'%s' stays where its bytes are: it is called '%s' there again", old,
		in->name);
	j->conf.hooks.entry_changed(j->conf.hooks.arg, was, old);
	j->conf.hooks.entry_changed(j->conf.hooks.arg, dir, in->name);
	return 0;
}

/* ---- what happens to one that was taken back ---- */

bool job_taken_back(struct jobs *j, const struct meta_inode *in)
{
	const uint32_t is = META_F_FAILED | META_F_OBJECT | META_F_BASE;
	const uint32_t not = META_F_DIRTY | META_F_ORPHAN | META_F_CONFLICT;

	if (in->kind != META_FILE || (in->flags & (is | not )) != is)
		return false;
	/* The object of one that moves again is that job's, which removes it in the end. */
	LOCKED(&j->g.lock);
	return graph_untouched(j, in->ino, in->loc.remote, in->loc.path, NULL);
}

errint_t job_keep_old(struct jobs *j, struct meta_txn *t, struct meta_inode *in)
{
	struct meta_inode old = *in;
	char name[META_NAME_MAX + 1], path[META_PATH_MAX + 1];
	uint64_t other = 0;
	uint32_t remote = 0;
	unsigned n = 0;

	assert(job_taken_back(j, in));
	in->flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE | META_F_FAILED | META_F_ARCHIVED |
				 META_F_RESTORING);
	in->loc = (struct meta_loc){0};
	in->last_error[0] = '\0';
	in->has_crc32c = false;
	errint_t r = meta_inode_put(t, in);

	do
		unmoved(name, old.name, strlen(old.name), n++);
	while (meta_lookup(t, in->parent, name, &other) == 0);
	old.ino = meta_ino_next(t);
	old.flags &= ~(uint32_t)META_F_ALIAS;
	if (r == 0)
		r = meta_link(t, &old, in->parent, name);
	if (r == 0)
		r = meta_desired(t, old.ino, &remote, path);
	if (r < 0)
		return r;
	struct job *job = job_alloc(j, JOB_RELOCATE, old.ino);

	if (job == NULL || job_set_src(job, old.loc.remote, old.loc.path) < 0 ||
		job_set_dst(job, remote, path) < 0) {
		job_free(job);
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	job->own.turned = true; /* there is no name to go back to */
	r = job_post(j, t, job, NULL);
	if (r == 0) {
		log_warn("job",
			"'%s' is replaced after its move was taken back: the old content is "
			"kept as '%s'",
			in->name, name);
		j->conf.hooks.entry_changed(j->conf.hooks.arg, in->parent, name);
	}
	return r;
}

/* ---- taking back ---- */

struct back { /* of one job, as of the beginning of the step */
	struct meta_inode in, v;
	bool orphan; /* in has no name */
	bool later;  /* another job brings in to where it belongs */
	bool victim; /* v lies at job->dst, without a name */
	bool keep;   /* v gets its name again */
	bool aside;  /* v lies elsewhere: it gets the name of that place */
};

bool job_moves_later(struct job *job, uint64_t ino)
{
	struct claim *c = NULL;

	LOCKED(&job->jobs->g.lock);
	struct claim_key *k = graph_ino_key(job->jobs, ino);

	if (k == NULL)
		return false;
	TAILQ_FOREACH (c, &k->queue, link) {
		const struct job *o = c->job;

		if (o->id > job->id && (o->kind == JOB_EXCHANGE ||
					       (o->ino == ino && (o->kind == JOB_UPLOAD ||
									 o->kind == JOB_RELOCATE ||
									 o->kind == JOB_REMOVE))))
			return true;
	}
	return false;
}

/* False when in has no object that could stay somewhere. */
static bool back_read(struct job *job, struct back *b)
{
	char want[META_PATH_MAX + 1];
	uint32_t remote = 0;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool there = meta_inode_get(t, job->ino, &b->in) == 0 && (b->in.flags & META_F_OBJECT) != 0;

	b->orphan = there && (b->in.flags & META_F_ORPHAN) != 0;
	b->later = job_moves_later(job, job->ino);
	b->victim =
		job->victim != 0 && meta_inode_get(t, job->victim, &b->v) == 0 &&
		(b->v.flags & (META_F_OBJECT | META_F_ORPHAN)) == (META_F_OBJECT | META_F_ORPHAN) &&
		b->v.loc.remote == job->dst_remote && strcmp(b->v.loc.path, job->dst) == 0;
	b->aside =
		!b->victim && job->victim != 0 && b->v.ino == job->victim &&
		(b->v.flags & (META_F_OBJECT | META_F_ORPHAN)) == (META_F_OBJECT | META_F_ORPHAN);
	b->keep = b->victim && !b->orphan && !b->later &&
		  meta_desired(t, job->ino, &remote, want) == 0 && remote == job->dst_remote &&
		  strcmp(want, job->dst) == 0;
	meta_abort(t);
	return there;
}

/* 1: a whole copy is at the destination, *st says which. 0: nothing of ours is there, nor of a
 * victim that does not get its name back. */
static errint_t clear_destination(
	struct job *job, struct back *b, struct store_stat *st, struct err *err)
{
	errint_t r = job_untried(job) ? 0 : job_look(job, job->dst_remote, job->dst, st, err);

	if (r < 0)
		return r;
	if (r > 0 && (job_copy_is_whole(job, &b->in, st) || rename_is_at(job, st)))
		return 1;
	if (r > 0 && mark_check(job, st) != MARK_OTHER) {
		b->keep = false; /* it was overwritten */
		return job_remove_object(job, job->dst_remote, job->dst, st->etag, err);
	}
	if (!b->victim)
		return 0;
	if (!job_untried(job) && (r == 0 || strcmp(st->etag, b->v.loc.etag) != 0))
		b->keep = false;
	return b->keep ? 0 : job_remove_object(job, job->dst_remote, job->dst, b->v.loc.etag, err);
}

/* What was to be overwritten gets its name again, or, where it is not at job->dst and another file
 * has that name by now, one beside it: then it leaves its key, which that file counts on. */
static void victim_back(struct job *job, struct meta_txn *t, bool aside)
{
	struct jobs *j = job->jobs;
	struct meta_inode v;
	uint64_t dir = 0, other = 0, id = 0;
	char base[META_NAME_MAX + 1], name[META_NAME_MAX + 1];

	if (meta_inode_get(t, job->victim, &v) < 0 ||
		job_parent_of(j, t, v.loc.remote, v.loc.path, &dir, base) < 0)
		return;
	bool taken = meta_lookup(t, dir, base, &other) == 0;

	if (taken && !aside)
		return;
	(void)snprintf(name, sizeof(name), "%s", base);
	for (unsigned n = 0; meta_lookup(t, dir, name, &other) == 0; n++)
		unmoved(name, base, strlen(base), n);
	v.flags &= ~(uint32_t)META_F_ORPHAN;
	if (meta_link(t, &v, dir, name) < 0)
		return;
	j->conf.hooks.entry_changed(j->conf.hooks.arg, dir, name);
	if (aside)
		others_go_beside(job, t, &v);
	if (taken)
		(void)job_moved(j, t, &v, NULL, &id);
}

/* What turn() changes and the record has. */
struct course {
	uint32_t remote;
	char *dst; /* owned */
	uint64_t victim, post_txn;
	char etag[META_ETAG_MAX];
	bool loose;
};

static errint_t course_set(
	struct job *job, struct meta_txn *t, uint32_t remote, const char *path, struct course *was)
{
	struct jobs *j = job->jobs;

	*was = (struct course){.remote = job->dst_remote,
		.dst = strdup(job->dst),
		.victim = job->victim,
		.post_txn = job->g.post_txn,
		.loose = job->g.loose};
	(void)snprintf(was->etag, sizeof(was->etag), "%s", job->own.etag);
	if (was->dst == NULL)
		return -ENOMEM;
	LOCKED(&j->g.lock);
	list_stamp_locked(j, job->dst_remote, job->dst);
	errint_t r = job_set_dst(job, remote, path);

	if (r == 0)
		r = graph_claim_dst(j, job);
	job->g.loose = false;
	job->g.post_txn = meta_txn_id(t);
	job->victim = 0;
	job->own.etag[0] = '\0';
	return r;
}

/* Nobody else has seen it: the record is as it was. */
static void course_reset(struct job *job, struct course *was)
{
	LOCKED(&job->jobs->g.lock);

	if (was->dst == NULL)
		return;
	graph_leave(job->jobs, job, job->dst_remote, job->dst);
	free(job->dst);
	job->dst = steal_ptr(&was->dst);
	job->dst_remote = was->remote;
	job->victim = was->victim;
	job->g.loose = was->loose;
	job->g.post_txn = was->post_txn;
	(void)snprintf(job->own.etag, sizeof(job->own.etag), "%s", was->etag);
}

/* The object has to leave its key: the job goes on as a move to path. */
static enum step turn(struct job *job, struct meta_txn *t, uint32_t remote, const char *path)
{
	struct course was;

	if (late_may_come(job))
		late_post(job, t);
	errint_t r = course_set(job, t, remote, path, &was);

	if (r < 0)
		meta_txn_fail(t, r);
	if (was.victim != 0)
		(void)orphan_sweep(job->jobs, t, was.victim, job);
	(void)journal_put(t, job);
	r = meta_commit(t);
	if (r < 0)
		course_reset(job, &was);
	free(was.dst);
	if (r < 0)
		return job_unrecorded(job, r);
	job->own.before = 0;
	job->own.rename_until_ns = 0;
	job->own.doubt = job->own.landed = false;
	job->own.dst_etag[0] = '\0';
	job->own.turned = true;
	job->own.phase = 0;
	return STEP_AGAIN;
}

static enum step names_back(struct job *job, const struct back *b)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	char path[META_PATH_MAX + 1] = "";
	struct meta_txn *t = meta_begin(j->conf.meta);

	if (b->orphan)
		forget_object(t, job->ino);
	if (b->victim && !b->keep)
		forget_object(t, job->victim);
	if (!b->orphan && meta_inode_get(t, job->ino, &in) == 0 &&
		(in.flags & META_F_ORPHAN) == 0) {
		in.flags |= META_F_FAILED;
		(void)snprintf(in.last_error, sizeof(in.last_error), "%.150s", job->own.why);
		(void)meta_inode_put(t, &in);
		if (b->later && key_wanted(job, &in))
			key_beside(j, in.loc.remote, in.loc.path, path);
		else if (!b->later && job_name_back(job, t, &in, path) == 0 && b->keep)
			victim_back(job, t, false);
	}
	if (b->aside)
		victim_back(job, t, true);
	return path[0] != '\0' ? turn(job, t, in.loc.remote, path) : job_finish(job, t);
}

enum step job_roll_back(struct job *job)
{
	struct back b = {0};
	struct store_stat st = {0};
	struct err err = {0};

	job->own.phase = PHASE_BACK;
	job_state_set(job, JOB_ROLLING_BACK);
	if (!atomic_load(&job->jobs->stopping))
		atomic_store(&job->cancel, false); /* which led here, maybe */
	if (!back_read(job, &b))
		return job_skip(job);
	/* Who is without a name has its object removed: jobs behind count on its key. */
	if (b.orphan && job_in_use(job, b.in.loc.remote, b.in.loc.path, b.in.loc.etag))
		return STEP_LATER;
	if (rename_waits(job))
		return STEP_LATER;
	errint_t failed = job->own.result, r = clear_destination(job, &b, &st, &err);

	if (r > 0) {
		r = job_point(job, &b.in.loc, &st);
		store_stat_done(&st);
		if (r < 0)
			return job_unrecorded(job, r);
		job_back_set(job, false);
		job->own.result = 0;
		job->own.phase = 1;
		return STEP_BARRIER;
	}
	store_stat_done(&st);
	if (r == 0 && b.orphan)
		r = job_remove_object(job, b.in.loc.remote, b.in.loc.path, b.in.loc.etag, &err);
	if (r < 0 && job_follow(job, r, &err) != STEP_DONE)
		return STEP_LATER;
	job->own.result = failed;
	return names_back(job, &b);
}
