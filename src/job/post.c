/* SPDX-License-Identifier: MIT */
/*
 * What changed becomes jobs. Called with the index writer held (inside the caller's transaction),
 * so that the order of posting is the order of the transactions.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

struct job *job_alloc(struct jobs *j, enum job_kind kind, uint64_t ino)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	job->jobs = j;
	job->kind = kind;
	job->ino = ino;
	job->nonce = j->nonce;
	job->created_ns = clock_now_ns();
	job->src = strdup("");
	job->dst = strdup("");
	sched_init_job(job);
	if (job->src == NULL || job->dst == NULL)
		return job_free(job);
	return job;
}

struct job *job_free(struct job *job)
{
	if (job == NULL)
		return NULL;
	free(job->src);
	free(job->dst);
	free(job->g.claims);
	free(job->g.dependents);
	free(job->g.watchers);
	free(job->g.note);
	dirmove_free(job->own.dirmove);
	free(job->own.copy);
	ahead_free(job->own.ahead);
	uploads_ended(job);
	free(job);
	return NULL;
}

static errint_t set_place(char **p, uint32_t *id, uint32_t remote, const char *path)
{
	char *copy = strdup(path);

	if (copy == NULL)
		return -ENOMEM;
	free(*p);
	*p = copy;
	*id = remote;
	return 0;
}

errint_t job_set_src(struct job *job, uint32_t remote, const char *path)
{
	return set_place(&job->src, &job->src_remote, remote, path);
}

errint_t job_set_dst(struct job *job, uint32_t remote, const char *path)
{
	return set_place(&job->dst, &job->dst_remote, remote, path);
}

static void wake_locked(struct jobs *j, struct job *o, const struct job *job)
{
	if (!(o->g.sleeping || o->g.active) || !(attr_lazy(o) || o->g.unsure || o->g.archived))
		return;
	for (unsigned i = 0; i < o->g.ndependents; i++)
		if (o->g.dependents[i] == job) {
			o->g.soon = true; /* one that runs sees it at the end of its step */
			if (o->g.sleeping)
				sched_make_ready_locked(j, o);
			return;
		}
}

/* Changes of attributes that wait for more of them, uploads that failed: job waits for them now. */
static void wake_those_before_locked(struct jobs *j, const struct job *job)
{
	struct claim *c = NULL;
	struct job *o = NULL;

	for (unsigned i = 0; i < job->g.nclaims; i++)
		for (c = TAILQ_FIRST(&job->g.claims[i]->key->queue); c != NULL && c->job != job;
			c = TAILQ_NEXT(c, link))
			wake_locked(j, c->job, job);
	if (job->kind == JOB_DIRMOVE)
		TAILQ_FOREACH (o, &j->g.all, link)
			wake_locked(j, o, job);
}

static void posted(void *arg, bool committed)
{
	struct job *job = arg;
	struct jobs *j = job->jobs;

	lock_take(&j->g.lock);
	if (!committed)
		graph_remove(j, job);
	job->g.committed = committed;
	if (committed && job->own.wake_mono_ns > clock_mono_ns() && !job->g.soon)
		sched_sleep_locked(j, job);
	else if (committed)
		sched_make_ready_locked(j, job);
	if (committed && job->g.ndeps != 0)
		wake_those_before_locked(j, job);
	lock_drop(&j->g.lock);
	if (!committed)
		job_free(job);
	sched_pump(j);
}

errint_t job_post(struct jobs *j, struct meta_txn *t, struct job *job, uint64_t *ret_id)
{
	errint_t r = meta_txn_failed(t);

	if (r < 0) {
		job_free(job);
		return r;
	}
	job->id = meta_job_next(t);
	(void)journal_put(t, job);
	r = meta_txn_failed(t);
	if (r == 0) {
		LOCKED(&j->g.lock);
		job->g.post_txn = meta_txn_id(t);
		r = graph_insert(j, job);
	}
	if (r < 0) {
		job_free(job);
		meta_txn_fail(t, r);
		return r;
	}
	count_inc(jobs_posted);
	ready_begin(j, job->src_remote, job->src);
	ready_begin(j, job->dst_remote, job->dst);
	log_debug("job", "%llu posted: %s of inode %llu, '%s' -> '%s', victim %llu, waits for %u",
		(unsigned long long)job->id, job_kind_name(job->kind), (unsigned long long)job->ino,
		job->src, job->dst, (unsigned long long)job->victim, job->g.ndeps);
	if (ret_id != NULL)
		*ret_id = job->id;
	meta_txn_hook(t, posted, job);
	return 0;
}

static void hurried(void *arg, bool committed)
{
	sched_pump(arg);
}

static errint_t no_memory(struct meta_txn *t, struct job *job)
{
	job_free(job);
	meta_txn_fail(t, -ENOMEM);
	return -ENOMEM;
}

bool job_expected(struct jobs *j, const struct meta_inode *in, uint32_t *remote, char *path,
	bool *ret_pending)
{
	bool has = (in->flags & META_F_OBJECT) != 0, own = false;

	*remote = has ? in->loc.remote : 0;
	(void)snprintf(path, META_PATH_MAX + 1, "%s", has ? in->loc.path : "");
	LOCKED(&j->g.lock);
	struct claim_key *k = graph_ino_key(j, in->ino);
	struct claim *c = k != NULL ? TAILQ_FIRST(&k->queue) : NULL;
	struct job *m = TAILQ_FIRST(&j->g.moves);

	while (c != NULL || m != NULL) { /* two lists in the order of posting, as one */
		bool claims = m == NULL || (c != NULL && c->job->id <= m->id);
		struct job *o = claims ? c->job : m;

		if (claims)
			c = TAILQ_NEXT(c, link);
		else
			m = TAILQ_NEXT(m, move);
		if (o->ino == in->ino && o->g.loose) {
			own = true; /* by the time that others come the object is where it is */
		} else if (o->ino == in->ino &&
			   (o->kind == JOB_UPLOAD || o->kind == JOB_RELOCATE)) {
			*remote = o->dst_remote;
			(void)snprintf(path, META_PATH_MAX + 1, "%s", o->dst);
			has = own = true;
		} else if (o->kind == JOB_EXCHANGE && !o->g.undone) {
			*remote = o->ino == in->ino ? o->dst_remote : o->src_remote;
			(void)snprintf(
				path, META_PATH_MAX + 1, "%s", o->ino == in->ino ? o->dst : o->src);
			has = own = true;
		} else if (o->kind == JOB_DIRMOVE && has && o->src_remote == *remote &&
			   strncmp(path, o->src, strlen(o->src)) == 0) {
			char to[META_PATH_MAX + 1];

			if (snprintf(to, sizeof(to), "%s%s", o->dst, path + strlen(o->src)) >=
				(int)sizeof(to))
				continue;
			*remote = o->dst_remote;
			memcpy(path, to, sizeof(to));
		}
	}
	*ret_pending = own;
	return has;
}

/* A queued upload or relocation of ino that has not begun, has nobody before or behind it, and a
 * new place that nobody claims: its target is edited in place. */
static bool retarget(struct jobs *j, struct meta_txn *t, uint64_t ino, uint32_t remote,
	const char *path, uint64_t *ret_id)
{
	LOCKED(&j->g.lock);
	struct job *job = graph_last_of(j, ino);

	/* One that was tried before a crash may have left its copy where it was to go. */
	if (job == NULL || job->g.begun || !job_untried(job) || !job->g.committed ||
		job->victim != 0 || job->kind != JOB_UPLOAD || !graph_alone(j, job) ||
		!graph_key_free(j, remote, path, job))
		return false;
	if (job_set_dst(job, remote, path) < 0)
		return false;
	/* If t is aborted the job uploads to a name that its inode does not have; it compares at
	 * its end and posts the move back (upload.c). */
	graph_rekey(j, job);
	(void)journal_put(t, job);
	job->g.post_txn = meta_txn_id(t);
	log_debug("job", "%llu goes to '%s'", (unsigned long long)job->id, path);
	*ret_id = job->id;
	return true;
}

/* from_mono_ns: 0 = now. */
static errint_t post_upload(
	struct jobs *j, struct meta_txn *t, uint64_t ino, bool soon, int64_t from_mono_ns)
{
	struct meta_inode in;
	uint32_t remote = 0, at = 0;
	char path[META_PATH_MAX + 1], place[META_PATH_MAX + 1];
	bool pending = false;
	errint_t r = meta_inode_get(t, ino, &in);

	if (r < 0)
		return r;
	if ((in.flags & META_F_ORPHAN) != 0)
		return 0;
	{
		LOCKED(&j->g.lock);
		struct job *last = graph_last_of(j, ino);

		if (last != NULL && last->kind == JOB_UPLOAD && !last->g.begun) {
			if (soon && (last->g.sleeping || (last->g.on_ready && last->g.few))) {
				sched_hurry_locked(j, last);
				meta_txn_hook(t, hurried, j);
			}
			last->g.soon |= soon;
			return 0;
		}
		if (last != NULL && last->g.ahead) { /* it takes what is staged when it ends */
			if (soon) {
				sched_hurry_locked(j, last);
				meta_txn_hook(t, hurried, j);
			}
			return 0;
		}
		/* Its file is marked and has no content of its own: one behind it would send what
		 * the caller sees of the copy by then. What is written asks again at its end. */
		if (last != NULL && last->g.copies && !soon)
			return 0;
		if (last != NULL && last->g.unsure && last->g.sleeping)
			return 0; /* its next try takes what is staged then */
	}
	r = meta_desired(t, ino, &remote, path);
	if (r < 0)
		return r;
	struct job *job = job_alloc(j, JOB_UPLOAD, ino);

	if (job == NULL || job_set_dst(job, remote, path) < 0)
		return no_memory(t, job);
	if (job_expected(j, &in, &at, place, &pending) && job_set_src(job, at, place) < 0)
		return no_memory(t, job);
	job->g.soon = soon;
	job->g.beside = from_mono_ns != 0;
	job->own.wake_mono_ns = from_mono_ns;
	return job_post(j, t, job, NULL);
}

errint_t job_upload(struct jobs *j, struct meta_txn *t, uint64_t ino, bool soon)
{
	return post_upload(j, t, ino, soon, 0);
}

errint_t job_upload_at(struct jobs *j, struct meta_txn *t, uint64_t ino, int64_t from_mono_ns)
{
	return post_upload(j, t, ino, false, from_mono_ns);
}

void job_upload_rest(struct jobs *j, uint64_t ino, int64_t until_mono_ns)
{
	LOCKED(&j->g.lock);
	struct job *last = graph_last_of(j, ino);

	/* The timer finds it too early once, and looks again. */
	if (last != NULL && last->kind == JOB_UPLOAD && last->g.sleeping && !last->g.begun &&
		!last->g.soon)
		last->own.wake_mono_ns = MAX_OF(last->own.wake_mono_ns, until_mono_ns);
}

void job_expected_dir(struct jobs *j, const struct meta_inode *in, uint32_t *remote,
	char prefix[META_PATH_MAX + 1])
{
	struct job *o = NULL;
	LOCKED(&j->g.lock);

	*remote = in->loc.remote;
	(void)snprintf(prefix, META_PATH_MAX + 1, "%s", in->loc.path);
	TAILQ_FOREACH (o, &j->g.moves, move) {
		char to[META_PATH_MAX + 1];

		if (o->id <= in->moves_before || o->src_remote != *remote ||
			strncmp(prefix, o->src, strlen(o->src)) != 0 ||
			snprintf(to, sizeof(to), "%s%s", o->dst, prefix + strlen(o->src)) >=
				(int)sizeof(to))
			continue;
		*remote = o->dst_remote;
		memcpy(prefix, to, sizeof(to));
	}
}

static errint_t move_dir(struct jobs *j, struct meta_txn *t, struct meta_inode *in,
	uint32_t old_remote, const char *old_prefix, uint64_t *ret_job)
{
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	errint_t r = meta_desired(t, in->ino, &remote, path);

	if (r < 0)
		return r;
	if (remote == old_remote && strcmp(path, old_prefix) == 0) {
		/* back where it was: moves under way, if any, end there and clear the prefix */
		if (in->loc.remote != remote || strcmp(in->loc.path, path) != 0 ||
			job_live(j, in->ino))
			return 0;
		in->flags &= ~(uint32_t)META_F_PREFIX;
		in->loc = (struct meta_loc){0};
		return meta_inode_put(t, in);
	}
	struct job *job = job_alloc(j, JOB_DIRMOVE, in->ino);

	if (job == NULL || job_set_src(job, old_remote, old_prefix) < 0 ||
		job_set_dst(job, remote, path) < 0)
		return no_memory(t, job);
	return job_post(j, t, job, ret_job);
}

/* Directories: the prefix was made explicit by the caller before the name changed. */
static errint_t moved_dir(
	struct jobs *j, struct meta_txn *t, struct meta_inode *in, uint64_t *ret_job)
{
	uint32_t remote = 0;
	char prefix[META_PATH_MAX + 1];

	if ((in->flags & META_F_PREFIX) == 0)
		return 0;
	job_expected_dir(j, in, &remote, prefix);
	return move_dir(j, t, in, remote, prefix, ret_job);
}

errint_t job_pin_prefix(struct jobs *j, struct meta_txn *t, struct meta_inode *dir)
{
	if (dir->kind != META_DIR || (dir->flags & META_F_PREFIX) != 0)
		return 0;
	errint_t r = meta_dir_prefix(t, dir->ino, &dir->loc.remote, dir->loc.path);

	if (r < 0)
		return r;
	dir->flags |= META_F_PREFIX;
	return meta_inode_put(t, dir);
}

static errint_t post_relocate(struct jobs *j, struct meta_txn *t, struct meta_inode *in,
	uint32_t src_remote, const char *src, uint64_t victim, enum job_kind kind,
	uint64_t *ret_job)
{
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	errint_t r = meta_desired(t, in->ino, &remote, path);

	if (r < 0)
		return r;
	struct job *job = job_alloc(j, kind, in->ino);

	if (job == NULL || job_set_dst(job, remote, path) < 0 ||
		(src_remote != 0 && job_set_src(job, src_remote, src) < 0))
		return no_memory(t, job);
	job->victim = victim;
	return job_post(j, t, job, ret_job);
}

/* in takes the name of the empty directory victim, whose marker may be on its way, or elsewhere
 * while something above it moves: it goes as when victim is removed, before in's comes. Where in is
 * there already, and nothing is to come, it serves in. */
static errint_t replaced_dir(
	struct jobs *j, struct meta_txn *t, struct meta_inode *in, const struct meta_inode *victim)
{
	struct meta_inode v = *victim;
	uint32_t remote = 0, at = 0;
	char want[META_PATH_MAX + 1], path[META_PATH_MAX + 1];
	errint_t r = meta_desired(t, in->ino, &remote, want);

	if (r < 0)
		return r;
	job_expected_dir(j, in, &at, path);
	if (at != remote || strcmp(path, want) != 0)
		return job_removed_dir(j, t, &v);
	in->flags |= v.flags & META_F_MARKER;
	r = meta_inode_put(t, in);
	return r < 0 ? r : orphan_sweep(j, t, v.ino, NULL);
}

errint_t job_moved(struct jobs *j, struct meta_txn *t, struct meta_inode *in,
	const struct meta_inode *victim, uint64_t *ret_job)
{
	uint32_t remote = 0, want_remote = 0;
	char path[META_PATH_MAX + 1], want[META_PATH_MAX + 1];
	uint64_t victim_ino = 0;

	*ret_job = 0;
	if (in->kind == META_DIR) {
		errint_t e = victim != NULL ? replaced_dir(j, t, in, victim) : 0;

		return e < 0 ? e : moved_dir(j, t, in, ret_job);
	}
	errint_t r = meta_desired(t, in->ino, &want_remote, want);

	if (r < 0)
		return r;
	bool pending = false;
	bool has = job_expected(j, in, &remote, path, &pending);

	if (victim != NULL && victim->kind != META_DIR) {
		bool busy = job_live(j, victim->ino);

		if (!busy && (victim->flags & META_F_OBJECT) == 0) {
			victim_ino = 0; /* only staged: nothing of it is in a cloud */
		} else if (!pending && !has && !busy && !job_is_cold(j, victim) &&
			   victim->loc.remote == want_remote &&
			   strcmp(victim->loc.path, want) == 0) {
			/* save by rename: the upload overwrites what the name stood for */
			in->loc = victim->loc;
			in->has_crc32c = victim->has_crc32c;
			in->crc32c = victim->crc32c;
			in->flags |= META_F_OBJECT;
			in->flags &= ~(uint32_t)META_F_BASE;
			r = orphan_sweep(j, t, victim->ino, NULL);
			return r < 0 ? r : meta_inode_put(t, in);
		} else {
			victim_ino = victim->ino;
		}
	}
	if (victim != NULL && victim_ino == 0) {
		r = orphan_sweep(j, t, victim->ino, NULL);
		if (r < 0)
			return r;
	}
	if (!pending && !has && victim_ino == 0)
		return 0; /* its upload is not due yet, and will look at the name then */
	if (pending && victim_ino == 0 && retarget(j, t, in->ino, want_remote, want, ret_job))
		return 0;
	if (has && victim_ino == 0 && remote == want_remote && strcmp(path, want) == 0) {
		(void)loose_follows(j, t, in->ino);
		return 0; /* back where its object is */
	}
	if (victim_ino == 0 && loose_follows(j, t, in->ino))
		return 0;
	bool upload = !pending && (in->flags & META_F_DIRTY) != 0;

	return post_relocate(j, t, in, has ? remote : 0, path, victim_ino,
		upload ? JOB_UPLOAD : JOB_RELOCATE, ret_job);
}

static void drop_committed(void *arg, bool committed)
{
	struct drop *d = arg;
	struct jobs *j = d->jobs;

	if (!committed) {
		free(d);
		return;
	}
	LOCKED(&j->g.lock);
	TAILQ_INSERT_TAIL(&j->g.drops, d, link);
}

/* A power cut may take the deletion of the row back: its staging must be there then. */
static errint_t drop_later(struct jobs *j, struct meta_txn *t, uint64_t ino)
{
	if (!stage_has(j->conf.stage, ino))
		return 0;
	struct drop *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	d->jobs = j;
	d->ino = ino;
	d->txn = meta_txn_id(t);
	meta_txn_hook(t, drop_committed, d);
	return 0;
}

errint_t orphan_sweep(struct jobs *j, struct meta_txn *t, uint64_t ino, const struct job *ending)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, ino, &in);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if ((in.flags & META_F_ORPHAN) == 0)
		return 0;
	{
		LOCKED(&j->g.lock);
		struct claim_key *k = graph_ino_key(j, ino);
		struct claim *c = NULL;

		if (k != NULL)
			TAILQ_FOREACH (c, &k->queue, link)
				if (c->job != ending)
					return 0;
	}
	if (j->conf.hooks.is_open != NULL && j->conf.hooks.is_open(j->conf.hooks.arg, ino))
		return 0;
	(void)meta_dirty_set(t, ino, false);
	setback_clear(j, ino);
	r = meta_inode_del(t, ino);
	return r < 0 ? r : drop_later(j, t, ino);
}

errint_t job_orphan_closed(struct jobs *j, struct meta_txn *t, uint64_t ino)
{
	return orphan_sweep(j, t, ino, NULL);
}

errint_t job_removed(struct jobs *j, struct meta_txn *t, struct meta_inode *in)
{
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];

	if (in->kind == META_DIR)
		return job_removed_dir(j, t, in);
	bool pending = false;

	if (!job_expected(j, in, &remote, path, &pending))
		return orphan_sweep(j, t, in->ino, NULL);
	struct job *job = job_alloc(j, JOB_REMOVE, in->ino);

	if (job == NULL || job_set_src(job, remote, path) < 0 ||
		((in->flags & META_F_OBJECT) != 0 &&
			job_set_dst(job, in->loc.remote, in->loc.path) < 0))
		return no_memory(t, job);
	/* What no cloud has, since its upload rests, is not counted. */
	job->held = (in->flags & META_F_OBJECT) != 0 && guard_holds(j);
	return job_post(j, t, job, NULL);
}

/* One of three moves of an exchange; dst NULL: to where its name is. */
static errint_t firm_move(struct jobs *j, struct meta_txn *t, const struct meta_inode *in,
	uint32_t src_remote, const char *src, const char *dst)
{
	uint32_t remote = src_remote;
	char path[META_PATH_MAX + 1];
	errint_t r = dst == NULL ? meta_desired(t, in->ino, &remote, path) : 0;

	if (r < 0)
		return r;
	struct job *job = job_alloc(j, in->kind == META_DIR ? JOB_DIRMOVE : JOB_RELOCATE, in->ino);

	if (job == NULL || job_set_src(job, src_remote, src) < 0 ||
		job_set_dst(job, remote, dst != NULL ? dst : path) < 0)
		return no_memory(t, job);
	job->firm = true;
	return job_post(j, t, job, NULL);
}

/* Where directories are concerned: a's objects go aside, b's take a's place, a's take b's. Three
 * jobs in the order of their keys. */
static errint_t exchange_dirs(struct jobs *j, struct meta_txn *t, struct meta_inode *const in[2],
	const uint32_t remote[2], char path[2][META_PATH_MAX + 1])
{
	const struct remote *r = remote_of(j, remote[0]);
	const char *slash = r != NULL && r->bucket[0] == '\0' ? strchr(path[0], '/') : NULL;
	char tmp[META_PATH_MAX + 1];

	(void)snprintf(tmp, sizeof(tmp), "%.*s%s%016llx%s",
		slash == NULL ? 0 : (int)(slash - path[0] + 1), path[0], STORE_TMP_PREFIX,
		(unsigned long long)random_u64(), in[0]->kind == META_DIR ? "/" : "");
	errint_t e = firm_move(j, t, in[0], remote[0], path[0], tmp);

	if (e == 0)
		e = firm_move(j, t, in[1], remote[1], path[1], NULL);
	return e == 0 ? firm_move(j, t, in[0], remote[0], tmp, NULL) : e;
}

static bool wants(
	struct meta_txn *t, const struct meta_inode *in, uint32_t remote, const char *path)
{
	uint32_t r = 0;
	char want[META_PATH_MAX + 1];

	return in->kind != META_DIR && meta_desired(t, in->ino, &r, want) == 0 && r == remote &&
	       strcmp(want, path) == 0;
}

errint_t job_exchanged(
	struct jobs *j, struct meta_txn *t, struct meta_inode *a, struct meta_inode *b)
{
	struct meta_inode *in[2] = {a, b};
	uint32_t remote[2] = {0, 0};
	char path[2][META_PATH_MAX + 1];
	bool has[2];
	uint64_t id = 0;

	assert(!job_is_cold(j, a) && !job_is_cold(j, b));
	for (int i = 0; i < 2; i++) {
		bool pending = false;

		has[i] = in[i]->kind != META_DIR &&
			 job_expected(j, in[i], &remote[i], path[i], &pending);
		if (in[i]->kind == META_DIR && (in[i]->flags & META_F_PREFIX) != 0) {
			has[i] = true;
			job_expected_dir(j, in[i], &remote[i], path[i]);
		}
	}
	if (!has[0] || !has[1]) {
		/* at most one is in a cloud: it moves, the other uploads to a free key later */
		struct meta_inode *one = has[0] ? a : b;

		return has[0] || has[1] ? job_moved(j, t, one, NULL, &id) : 0;
	}
	if (!wants(t, a, remote[1], path[1]) || !wants(t, b, remote[0], path[0]))
		return exchange_dirs(j, t, in, remote, path);
	struct job *job = job_alloc(j, JOB_EXCHANGE, a->ino);

	if (job == NULL || job_set_src(job, remote[0], path[0]) < 0 ||
		job_set_dst(job, remote[1], path[1]) < 0)
		return no_memory(t, job);
	job->victim = b->ino;
	return job_post(j, t, job, NULL);
}

bool job_live(struct jobs *j, uint64_t ino)
{
	LOCKED(&j->g.lock);
	return graph_ino_key(j, ino) != NULL;
}

bool job_may_move(struct jobs *j, const struct meta_inode *in)
{
	LOCKED(&j->g.lock);
	return !graph_untouched(j, in->ino, in->loc.remote, in->loc.path, NULL);
}
