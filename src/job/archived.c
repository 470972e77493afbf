/* SPDX-License-Identifier: MIT */
/*
 * Moves of objects that cannot be read now: they are archived, and may stay so for ever. A name is
 * not bound to its key, so nobody has to wait for that:
 *
 * - Such a move is loose. It claims its inode and the key that the object has, not the one that it
 *   is to get: when its time comes it goes to where the name is by then, or ends when that is where
 *   the object is. So renames of its file post nothing, and a directory above moves by itself.
 * - What is to get the key that the object still has goes to one beside it, KEY.later-HEX, as long
 *   as it has not begun. From there it has a loose move to its own key.
 * - Who comes behind by the inode, or moves a directory above the key, goes first: the loose move
 *   ends and is posted anew behind.
 *
 * - What it was to overwrite goes at once.
 *
 * One that was replaced while its directory moves does not follow that either: it keeps its key, by
 * a move behind what replaces it, until that is there.
 *
 * Nobody waits for loose moves (job_follows_locked): all bytes are in the cloud, if not under the
 * name. What cannot go round waits, and who waits for it is told -EIO.
 *
 * Names are not exchanged with an archived file, nor with one that is about to be (job_is_cold):
 * two objects cannot go round each other. One that the cloud itself archives in between waits.
 *
 * A copy inside a cloud has the class of its source. One that was restored to be read stays until
 * shortly before that is over.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "walk.h"

#define ARCHIVE_WAIT_NS (5 * NS_PER_S)
#define ARCHIVE_LOOK_NS (300 * NS_PER_S)
#define TAKEN_WAIT_NS	(100 * NS_PER_MS)
#define LEAVE_NS	(3600 * NS_PER_S) /* the end of a restore: the copy takes a while */
#define BESIDE_MARK	".later-"
#define BESIDE_LEN	(sizeof(BESIDE_MARK) - 1 + 16)
#define BESIDE_NAME_MAX 200 /* of the name that it is beside */

bool job_follows_locked(const struct job *job)
{
	return job->g.loose && job->g.archived;
}

/* The row, and in, learn what the cloud says of the object, when it is the same version. False: it
 * is not, or does not answer: who goes on meets the same, and knows what to do. */
static bool look(struct job *job, struct meta_inode *in)
{
	struct objref o;
	struct store_call call;
	struct store_stat st = {0};
	struct meta_inode now;
	bool same = false;

	call_init(&call, job);
	if (objref_make(job->jobs, in->loc.remote, in->loc.path, &o, NULL) < 0 ||
		store_head(o.st, &call, o.o, &st, NULL) < 0)
		return false;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (strcmp(st.etag, in->loc.etag) == 0 && meta_inode_get(t, in->ino, &now) == 0 &&
		row_names(&now, &in->loc)) {
		job_loc_set(&now, job->jobs, now.loc.remote, NULL, &st);
		(void)meta_inode_put(t, &now);
		*in = now;
		same = true;
	}
	store_stat_done(&st);
	return meta_commit(t) == 0 && same;
}

static bool is_offline(struct jobs *j, uint32_t remote, unsigned tier)
{
	const struct remote *r = remote_of(j, remote);

	return r != NULL && tier < TIER_N && r->classes[tier].offline;
}

bool job_is_cold(struct jobs *j, const struct meta_inode *in)
{
	struct claim *c = NULL;

	if (in->kind == META_DIR)
		return false;
	if ((in->flags & META_F_ARCHIVED) != 0 ||
		((in->flags & META_F_OBJECT) != 0 && is_offline(j, in->loc.remote, in->tier)))
		return true;
	LOCKED(&j->g.lock);
	struct claim_key *k = graph_ino_key(j, in->ino);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->kind == JOB_TRANSITION &&
				is_offline(j, c->job->src_remote, c->job->tier))
				return true;
	return false;
}

bool job_is_archived(struct job *job, struct meta_inode *in)
{
	if ((in->flags & META_F_ARCHIVED) == 0)
		return false;
	return clock_mono_ns() < job->own.look_at_ns ||
	       (look(job, in) && (in->flags & META_F_ARCHIVED) != 0);
}

/* As `astra restore` takes it; one without a name has only a key. */
static void path_of(struct job *job, uint64_t ino, char *ret, size_t size)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool named = meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0 &&
		     meta_path(t, ino, ret, size) == 0;
	const struct remote *r = remote_of(job->jobs, job->src_remote);

	meta_abort(t);
	if (!named)
		(void)snprintf(ret, size, "/%s/%s", r != NULL ? r->name : "?", job->src);
}

static char *archived_note(struct job *job, uint64_t ino, size_t more)
{
	char path[META_PATH_MAX + 66], others[40] = "", *note = NULL;

	path_of(job, ino, path, sizeof(path));
	if (more != 0)
		(void)snprintf(others, sizeof(others), " and %zu more", more);
	if (asprintf(&note, "waiting for restore of %s%s (archived)", path, others) < 0)
		note = NULL;
	return note;
}

/* note is owned; NULL: it is not for an archived object that it waits. */
static enum step job_await(struct job *job, char *note, int64_t wait_ns)
{
	int64_t max = job->jobs->conf.retry_max_ns, now = clock_mono_ns();
	int64_t wait = max != 0 ? MIN_OF(max, wait_ns) : wait_ns;

	job->own.wake_mono_ns = now + wait;
	if (note == NULL)
		return STEP_LATER;
	if (now >= job->own.look_at_ns) {
		job->own.look_ns = job->own.look_ns == 0
					   ? wait
					   : MIN_OF(2 * job->own.look_ns, ARCHIVE_LOOK_NS);
		job->own.look_at_ns = now + job->own.look_ns;
	}
	job->own.awaits = true;
	cleanup_free char *text = strdup(note);
	unsigned failed = wait_archived(job, note);

	if (failed != 0 && log_seldom("archived %llu", (unsigned long long)job->id))
		log_warn("job",
			"job %llu: %s; fsync of what is to come after it fails until then: bring "
			"it back with 'astra restore'",
			(unsigned long long)job->id, text != NULL ? text : "");
	return STEP_LATER;
}

enum step job_await_restore(struct job *job, uint64_t ino, size_t more)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool there = meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_OBJECT) != 0;

	meta_abort(t);
	if (there && (in.flags & META_F_ARCHIVED) == 0) /* the cloud did it: else nobody could ask
							   for a restore */
		(void)look(job, &in);
	return job_await(job, archived_note(job, ino, more), ARCHIVE_WAIT_NS);
}

/* ---- keys beside others ---- */

bool path_is_beside(const char *path)
{
	size_t n = strlen(path);
	const char *tail = path + n - BESIDE_LEN;

	if (n <= BESIDE_LEN || strncmp(tail, BESIDE_MARK, sizeof(BESIDE_MARK) - 1) != 0)
		return false;
	for (tail += sizeof(BESIDE_MARK) - 1; *tail != '\0'; tail++)
		if (!isxdigit((unsigned char)*tail))
			return false;
	return true;
}

bool job_is_loose(const struct job *job)
{
	return job->kind == JOB_RELOCATE && !job->firm && job->victim == 0 &&
	       path_is_beside(job->src);
}

static errint_t beside_as(
	struct job *job, const char *path, uint64_t mark, char ret[META_PATH_MAX + 1])
{
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

	if (snprintf(ret, META_PATH_MAX + 1, "%.*s%.*s" BESIDE_MARK "%016llx", (int)(name - path),
		    path, BESIDE_NAME_MAX, name, (unsigned long long)mark) > META_PATH_MAX)
		return -ENAMETOOLONG;
	return job_path_ok(job->jobs, job->dst_remote, ret);
}

/* A key that nobody has. */
static errint_t beside(struct job *job, const char *path, char ret[META_PATH_MAX + 1])
{
	return beside_as(job, path, random_u64(), ret);
}

/* The file of the next job behind job, and *after, that moves what has its destination's key; 0:
 * there is none. */
static uint64_t next_leaver(struct job *job, const char *path, uint64_t *after)
{
	const struct job *next = NULL;
	struct claim *c = NULL;
	LOCKED(&job->jobs->g.lock);
	struct claim_key *k = graph_place_key(job->jobs, job->dst_remote, path);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->kind == JOB_RELOCATE && c->job->id > *after &&
				(next == NULL || c->job->id < next->id))
				next = c->job;
	*after = next != NULL ? next->id : *after;
	return next != NULL ? next->ino : 0;
}

errint_t beside_taken(struct job *job, uint64_t ino, char path[META_PATH_MAX + 1])
{
	struct meta_inode in;
	uint64_t after = job->id, other = 0;
	cleanup_free char *key = strdup(path);
	bool taken = false;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);

	while (!taken && (other = next_leaver(job, path, &after)) != 0)
		taken = other != ino && meta_inode_get(t, other, &in) == 0 &&
			(in.flags & META_F_OBJECT) != 0 && in.loc.remote == job->dst_remote &&
			strcmp(in.loc.path, path) == 0;
	meta_abort(t);
	if (!taken)
		return 0;
	return key == NULL ? -ENOMEM : beside_as(job, key, job->nonce + ino, path);
}

/* It counts on in's key, which job cannot leave, and can do without. It depends on job, so it
 * neither begins nor ends meanwhile. */
static bool can_go_beside(const struct job *job, const struct meta_inode *in, const struct job *o)
{
	return o->id > job->id && o->ino != in->ino && o->g.committed && !o->g.begun &&
	       o->attempts == 0 && (o->kind == JOB_UPLOAD || o->kind == JOB_RELOCATE) &&
	       o->dst_remote == in->loc.remote && strcmp(o->dst, in->loc.path) == 0;
}

static struct job *next_waiting(struct job *job, const struct meta_inode *in, uint64_t after)
{
	struct claim *c = NULL;
	LOCKED(&job->jobs->g.lock);
	struct claim_key *k = graph_place_key(job->jobs, in->loc.remote, in->loc.path);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->id > after && can_go_beside(job, in, c->job))
				return c->job;
	return NULL;
}

/* Somebody other than job and in's file has a claim on its key, and cannot go round. */
static bool is_held_fast_locked(const struct job *job, const struct meta_inode *in)
{
	struct claim_key *k = graph_place_key(job->jobs, in->loc.remote, in->loc.path);
	struct claim *c = NULL;

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job != job && c->job->ino != in->ino && c->job->kind != JOB_LOOK &&
				!can_go_beside(job, in, c->job))
				return true;
	return false;
}

static bool is_in_place(const struct job *o)
{
	return o->src_remote == o->dst_remote && strcmp(o->src, o->dst) == 0;
}

/* One of o's places, in the same remote, is path now. */
static errint_t place_set(struct meta_txn *t, struct job *o, bool dst, const char *path)
{
	struct jobs *j = o->jobs;
	uint32_t remote = dst ? o->dst_remote : o->src_remote;
	cleanup_free char *old = strdup(dst ? o->dst : o->src);
	errint_t r = old == NULL ? -ENOMEM : 0;
	bool both = is_in_place(o); /* one claim for two places */
	{
		LOCKED(&j->g.lock);
		if (r == 0)
			r = dst ? job_set_dst(o, remote, path) : job_set_src(o, remote, path);
		if (r == 0)
			r = graph_claim_new(j, o, remote, path);
		if (r == 0 && !both)
			graph_leave(j, o, remote, old);
		o->g.post_txn = meta_txn_id(t); /* the record comes before the deed */
	}
	if (r < 0)
		meta_txn_fail(t, r);
	else
		(void)journal_put(t, o);
	return r;
}

/* The next job of o's file behind it that counts on o's bringing it to path. */
static struct job *next_from(const struct job *o, const char *path)
{
	struct claim *c = NULL;
	LOCKED(&o->jobs->g.lock);

	TAILQ_FOREACH (c, &graph_ino_key(o->jobs, o->ino)->queue, link)
		if (c->job->id > o->id && c->job->ino == o->ino && !c->job->g.begun &&
			c->job->src_remote == o->dst_remote && strcmp(c->job->src, path) == 0)
			return c->job;
	return NULL;
}

/* o is to get a key that is not free: it goes beside it, an upload to where its object is if that
 * is beside already. */
static errint_t go_beside(struct meta_txn *t, struct job *o)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1];
	struct job *next = NULL;
	cleanup_free char *old = strdup(o->dst);
	errint_t r = old == NULL ? -ENOMEM : meta_inode_get(t, o->ino, &in);

	if (r == 0 && o->kind == JOB_UPLOAD && (in.flags & META_F_OBJECT) != 0 &&
		in.loc.remote == o->dst_remote && path_is_beside(in.loc.path))
		(void)snprintf(path, sizeof(path), "%s", in.loc.path);
	else if (r == 0)
		r = beside(o, o->dst, path);
	if (r < 0)
		return r;
	r = place_set(t, o, true, path);
	while (r == 0 && (next = next_from(o, old)) != NULL)
		r = place_set(t, next, false, path);
	log_info("job", "%s %llu goes to '%s' until its key is free", job_kind_name(o->kind),
		(unsigned long long)o->id, path);
	return r;
}

void others_go_beside(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	struct job *o = NULL;
	uint64_t after = 0;

	while ((o = next_waiting(job, in, after)) != NULL) {
		after = o->id;
		(void)go_beside(t, o); /* if not, it waits */
	}
}

static void make_room(struct job *job, const struct meta_inode *in)
{
	if (next_waiting(job, in, 0) == NULL)
		return;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	others_go_beside(job, t, in);
	(void)meta_commit(t); /* if not, they wait */
}

/* ---- giving way ---- */

/* The next job that moves, or removes, in's file; an exchange moves two. */
static struct job *next_move_locked(struct job *job, const struct meta_inode *in)
{
	struct claim_key *k = graph_ino_key(job->jobs, in->ino);
	struct claim *c = NULL;

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->id > job->id &&
				(c->job->kind == JOB_EXCHANGE ||
					(c->job->ino == in->ino &&
						(c->job->kind == JOB_RELOCATE ||
							c->job->kind == JOB_REMOVE))))
				return c->job;
	return NULL;
}

/* Somebody waits for job who can go first: by its inode, or to move a directory above. */
static bool is_in_the_way(struct job *job, const struct meta_inode *in, struct job **ret_next)
{
	LOCKED(&job->jobs->g.lock);

	*ret_next = next_move_locked(job, in);
	return job->g.ndependents != 0 && !is_held_fast_locked(job, in) &&
	       (*ret_next == NULL || (*ret_next)->kind != JOB_EXCHANGE);
}

/* A new move of in, from where it is. */
static errint_t post_from(struct job *job, struct meta_txn *t, const struct meta_inode *in,
	uint32_t remote, const char *path, uint64_t *ret_id)
{
	struct job *next = job_alloc(job->jobs, JOB_RELOCATE, in->ino);

	if (next == NULL)
		return -ENOMEM;
	if (job_set_src(next, in->loc.remote, in->loc.path) < 0 ||
		job_set_dst(next, remote, path) < 0) {
		job_free(next);
		return -ENOMEM;
	}
	return job_post(job->jobs, t, next, ret_id);
}

/* The move of in that comes next has the key from here on; without one there is a new one. */
static errint_t hand_on(struct job *job, struct meta_txn *t, const struct meta_inode *in,
	struct job *next, uint64_t *ret_id)
{
	struct jobs *j = job->jobs;
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	errint_t r = 0;

	if (next != NULL) {
		{
			LOCKED(&j->g.lock);
			r = job_set_src(next, in->loc.remote, in->loc.path);
			if (r == 0)
				r = graph_claim_src(j, next);
		}
		*ret_id = next->id;
		return r < 0 ? r : journal_put(t, next);
	}
	r = meta_desired(t, in->ino, &remote, path);
	return r < 0 ? r : post_from(job, t, in, remote, path, ret_id);
}

static bool gives_way(struct job *job, const struct meta_inode *in, enum step *ret)
{
	struct job *next = NULL;

	if (!is_in_the_way(job, in, &next))
		return false;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (!is_in_the_way(job, in, &next)) {
		meta_abort(t);
		return false;
	}
	uint64_t id = 0;
	errint_t r = hand_on(job, t, in, next, &id);

	if (r < 0)
		meta_txn_fail(t, r);
	*ret = job_finish(job, t);
	return true;
}

bool alone_may(struct job *job, const struct meta_inode *in, uint32_t remote, const char *to)
{
	struct jobs *j = job->jobs;
	bool orphan = (in->flags & META_F_ORPHAN) != 0;
	LOCKED(&j->g.lock);
	const struct job *next = next_move_locked(job, in);

	if (is_held_fast_locked(job, in))
		return false;
	if (next != NULL)
		return next->kind == JOB_RELOCATE || (orphan && next->kind == JOB_REMOVE);
	return orphan ? graph_replacer(j, in->ino) != NULL
		      : graph_carried_on(j, in->ino, remote, to, job);
}

errint_t alone_post(
	struct job *job, struct meta_txn *t, const struct meta_inode *in, uint64_t *ret_id)
{
	struct job *next = NULL;
	char to[META_PATH_MAX + 1];

	others_go_beside(job, t, in);
	{
		LOCKED(&job->jobs->g.lock);
		next = next_move_locked(job, in);
	}
	/* One that was replaced keeps its key until the other is there, or did not come. */
	if (next == NULL && (in->flags & META_F_ORPHAN) != 0 && job->kind == JOB_DIRMOVE &&
		walk_target(job, in->loc.remote, in->loc.path, to) == 0)
		return post_from(job, t, in, job->dst_remote, to, ret_id);
	return hand_on(job, t, in, next, ret_id);
}

void loose_after(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	struct job *next = NULL;
	uint64_t id = 0;
	errint_t r = 0;
	{
		LOCKED(&job->jobs->g.lock);
		next = next_move_locked(job, in);
	}
	if (next != NULL ? next->kind != JOB_EXCHANGE
			 : (in->flags & (META_F_ORPHAN | META_F_OBJECT)) == META_F_OBJECT)
		r = hand_on(job, t, in, next, &id);
	if (r < 0)
		meta_txn_fail(t, r);
}

void beside_after(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	bool exchange;
	{
		LOCKED(&job->jobs->g.lock);
		const struct job *next = next_move_locked(job, in);

		exchange = next != NULL && next->kind == JOB_EXCHANGE;
	}
	if (exchange)
		return;
	others_go_beside(job, t, in);
	loose_after(job, t, in);
}

/* ---- the move itself ---- */

/* Which brings it from where job is to, to where its name is. */
static bool has_next_move(struct job *job, const struct meta_inode *in)
{
	LOCKED(&job->jobs->g.lock);
	return next_move_locked(job, in) != NULL;
}

errint_t loose_aim(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	uint32_t remote = 0;
	char want[META_PATH_MAX + 1];

	if (!job->g.loose)
		return 0;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	bool other = meta_inode_get(t, job->ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0 &&
		     !has_next_move(job, &in) && meta_desired(t, job->ino, &remote, want) == 0 &&
		     (remote != job->dst_remote || strcmp(want, job->dst) != 0);

	meta_abort(t);
	if (!other || rename_hides(job)) /* it is looked for where it was to go */
		return 0;
	t = meta_begin(j->conf.meta);
	if (late_may_come(job))
		late_post(job, t);
	job->own.before = 0;
	job->own.doubt = job->own.landed = false;
	job->own.etag[0] = job->own.dst_etag[0] = '\0';
	errint_t r = meta_desired(t, job->ino, &remote, want);
	{
		LOCKED(&j->g.lock);
		if (r == 0)
			r = job_set_dst(job, remote, want);
	}
	if (r < 0)
		meta_txn_fail(t, r);
	else
		(void)journal_put(t, job);
	return meta_commit(t);
}

struct wake {
	struct jobs *jobs;
	uint64_t id, ino; /* one of them */
};

static void look_again_locked(struct job *job)
{
	job->g.archived = job->g.outside = false;
	sched_hurry_locked(job->jobs, job);
}

static void wake_restored_locked(struct jobs *j, uint64_t ino)
{
	struct claim_key *k = graph_ino_key(j, ino);
	struct claim *c = NULL;
	struct job *job = NULL;

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->g.archived || c->job->g.loose)
				look_again_locked(c->job);
	TAILQ_FOREACH (job, &j->g.moves, move)
		if (job->g.archived)
			look_again_locked(job);
}

void taken_tell_locked(struct jobs *j)
{
	struct job *job = NULL;

	TAILQ_FOREACH (job, &j->g.all, link)
		if (job->g.taken)
			look_again_locked(job);
}

static void wake_committed(void *arg, bool committed)
{
	struct wake *w = arg;
	struct job *job = NULL;

	if (committed) {
		lock_take(&w->jobs->g.lock);
		HASH_FIND(hh, w->jobs->g.by_id, &w->id, sizeof(w->id), job);
		if (w->ino != 0)
			wake_restored_locked(w->jobs, w->ino);
		else if (job != NULL)
			look_again_locked(job);
		lock_drop(&w->jobs->g.lock);
		sched_pump(w->jobs);
	}
	free(w);
}

void restored_tell(struct jobs *j, struct meta_txn *t, uint64_t ino)
{
	struct wake *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return; /* they look from time to time */
	w->jobs = j;
	w->ino = ino;
	meta_txn_hook(t, wake_committed, w);
}

bool loose_follows(struct jobs *j, struct meta_txn *t, uint64_t ino)
{
	struct wake *w = NULL;
	struct claim *c = NULL;
	uint64_t id = 0;
	{
		LOCKED(&j->g.lock);
		struct claim_key *k = graph_ino_key(j, ino);

		if (k != NULL)
			TAILQ_FOREACH (c, &k->queue, link)
				if (c->job->kind != JOB_RESTORE)
					id = c->job->g.loose ? c->job->id : 0;
	}
	if (id == 0)
		return false;
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return true; /* it looks from time to time */
	w->jobs = j;
	w->id = id;
	meta_txn_hook(t, wake_committed, w);
	return true;
}

static int64_t leave_at_ns(const struct job *job, const struct meta_inode *in)
{
	int64_t before = job->jobs->conf.leave_ns;

	return in->restored_until_ns - (before != 0 ? before : LEAVE_NS);
}

bool job_is_restored(struct job *job, const struct meta_inode *in)
{
	return job->dst_remote == in->loc.remote && leave_at_ns(job, in) > clock_now_ns() &&
	       is_offline(job->jobs, in->loc.remote, in->tier);
}

/* Nobody behind job counts on its overwriting v, where that lies. */
static bool is_spare(struct job *job, const struct meta_inode *v)
{
	LOCKED(&job->jobs->g.lock);
	return graph_untouched(job->jobs, v->ino, v->loc.remote, v->loc.path, job);
}

/* At the key that job is to get, which it still claims: those behind it count on that too. */
static errint_t victim_remove(struct job *job, const struct meta_inode *v)
{
	struct err err = {0};

	if (v->loc.remote != job->dst_remote || strcmp(v->loc.path, job->dst) != 0)
		return -EBUSY;
	if (!job_barrier_ok(job, job->g.post_txn) ||
		job_in_use(job, v->loc.remote, v->loc.path, v->loc.etag))
		return -EAGAIN;
	errint_t r = job_remove_own(job, v, &err);

	err_clear(&err);
	return r;
}

static errint_t removal_post(struct jobs *j, struct meta_txn *t, const struct meta_inode *v)
{
	struct job *gone = job_alloc(j, JOB_REMOVE, v->ino);

	if (gone == NULL || job_set_src(gone, v->loc.remote, v->loc.path) < 0 ||
		job_set_dst(gone, v->loc.remote, v->loc.path) < 0) {
		job_free(gone);
		return -ENOMEM;
	}
	return job_post(j, t, gone, NULL);
}

static void victim_set(struct job *job, uint64_t ino)
{
	LOCKED(&job->jobs->g.lock);
	job->victim = ino;
}

/* What in was to overwrite goes now: its name is in's, which may not come for long. */
static errint_t victim_goes(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode v;
	uint64_t ino = job->victim;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	bool has = meta_inode_get(t, ino, &v) == 0 && (v.flags & META_F_OBJECT) != 0;
	bool spare = has && is_spare(job, &v);
	errint_t r = 0;

	meta_abort(t);
	if (has && !spare)
		r = victim_remove(job, &v);
	if (r < 0)
		return r;
	t = meta_begin(j->conf.meta);
	if (spare && !is_spare(job, &v)) { /* since a moment ago */
		meta_abort(t);
		return -EAGAIN;
	}
	if (spare)
		r = removal_post(j, t, &v);
	else if (has && meta_inode_get(t, v.ino, &v) == 0) {
		v.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
		r = meta_inode_put(t, &v);
	}
	if (r == 0 && !spare)
		r = orphan_sweep(j, t, ino, job);
	victim_set(job, 0);
	if (r < 0)
		meta_txn_fail(t, r);
	else
		(void)journal_put(t, job);
	r = meta_commit(t);
	victim_set(job, ino);
	if (r == 0) { /* else it goes next time */
		LOCKED(&j->g.lock);
		graph_leave_victim(j, job);
	}
	return r;
}

/* It is to be removed, not yet: the delete guard holds that back, and has the key from here on. */
static bool is_removed_later(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	const struct job *last = graph_last_of(job->jobs, job->ino);

	return last != NULL && last->kind == JOB_REMOVE && job->attempts == 0;
}

bool archived_alone(struct job *job, const struct meta_inode *in)
{
	bool claimed;

	make_room(job, in);
	{
		LOCKED(&job->jobs->g.lock);
		claimed = graph_claimed_by_others(job->jobs, in, job);
	}
	return !claimed &&
	       (job->victim == 0 || (!job->firm && !job->own.turned && victim_goes(job) == 0));
}

/* Others go round it, or before it; then it waits, as note (owned) says. */
static enum step park(struct job *job, const struct meta_inode *in, char *note)
{
	bool may = !job->firm && !job->own.turned &&
		   ((in->flags & META_F_ORPHAN) == 0 || is_removed_later(job));
	enum step s = STEP_AGAIN;

	if (may && job->victim != 0)
		may = victim_goes(job) == 0;
	make_room(job, in);
	if (may && !job->g.loose) {
		LOCKED(&job->jobs->g.lock);
		if (!is_in_place(job))
			graph_leave(job->jobs, job, job->dst_remote, job->dst);
		job->g.loose = true;
	}
	if (may && gives_way(job, in, &s)) {
		free(note);
		return s;
	}
	return job_await(job, note, ARCHIVE_WAIT_NS);
}

enum step loose_archived(struct job *job, const struct meta_inode *in)
{
	struct meta_inode now = *in;

	if ((in->flags & META_F_ARCHIVED) == 0) /* so that the row knows when it is restored */
		(void)look(job, &now);
	{
		LOCKED(&job->jobs->g.lock);
		job->g.pressed = false; /* that does not help */
	}
	return park(job, in, archived_note(job, job->ino, 0));
}

static char *restored_note(struct job *job, const struct meta_inode *in)
{
	char path[META_PATH_MAX + 66], when[40], *note = NULL;
	time_t until = (time_t)(leave_at_ns(job, in) / NS_PER_S);
	struct tm tm;

	path_of(job, job->ino, path, sizeof(path));
	(void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", gmtime_r(&until, &tm));
	if (asprintf(&note, "%s is restored and can be read: its object follows at %s", path,
		    when) < 0)
		note = NULL;
	return note;
}

/* What the archived object that has job's destination waits for, or that the delete guard holds its
 * removal; NULL: somebody else has it. */
static char *taken_note(struct job *job)
{
	struct claim *c = NULL;
	LOCKED(&job->jobs->g.lock);
	struct claim_key *k = graph_place_key(job->jobs, job->dst_remote, job->dst);

	graph_stuck_locked(job->jobs);
	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link) {
			struct job *cold = c->job->g.cold;

			if (c->job == job || (!c->job->held && (cold == NULL || cold == job ||
								       cold->g.note == NULL)))
				continue;
			job->g.taken = c->job->g.blocks = true;
			return strdup(c->job->held ? "its key is that of a removed file, which the "
						     "delete guard holds"
						   : cold->g.note);
		}
	return NULL;
}

static bool take_dst(struct job *job)
{
	LOCKED(&job->jobs->g.lock);
	return graph_take_dst(job->jobs, job);
}

bool loose_waits(struct job *job, struct meta_inode *in, enum step *ret)
{
	bool pressed;
	{
		LOCKED(&job->jobs->g.lock);
		pressed = job->g.pressed;
	}
	if (job_is_archived(job, in))
		*ret = loose_archived(job, in);
	else if (job_is_restored(job, in) && !pressed &&
		 (job->victim == 0 || (in->flags & META_F_DIRTY) == 0))
		*ret = park(job, in, restored_note(job, in));
	else if (!job->g.loose)
		return false;
	else if ((in->flags & META_F_ORPHAN) != 0) /* what replaces it does not need its key */
		*ret = job_finish_alone(job, 0, NULL);
	else if (gives_way(job, in, ret))
		;
	else if (take_dst(job))
		return false;
	else {
		char *note = taken_note(job);

		*ret = job_await(job, note, note != NULL ? ARCHIVE_WAIT_NS : TAKEN_WAIT_NS);
	}
	return true;
}
