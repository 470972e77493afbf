/* SPDX-License-Identifier: MIT */
/*
 * Who waits for whom. A waiter waits for all live jobs up to an id that concern an inode: the ones
 * that have it as inode, directory moves of its ancestors (matched by their prefixes), and for a
 * directory everything at or below its path. g.lock protects the list; fn runs without it.
 */
#include <string.h>

#include "job_priv.h"

/* The waiter's place, looked up once when it is armed. */
struct scope {
	uint32_t remote;
	bool dir, all;
	char path[META_PATH_MAX + 1];
};

static bool has_ino(const struct job *job, uint64_t ino)
{
	return job->ino == ino || (job->kind == JOB_EXCHANGE && job->victim == ino);
}

static bool concerns(const struct job *job, uint64_t ino, const struct scope *s)
{
	if (job->held && job->g.state != JOB_CLEANING)
		return false; /* the delete guard's: as good as done */
	if (job->kind == JOB_LOOK)
		return false;
	if (!s->all && !s->dir && attr_lazy(job))
		return false;
	if (s->all || has_ino(job, ino))
		return true;
	const struct {
		uint32_t r;
		const char *p;
	} at[2] = {{job->src_remote, job->src}, {job->dst_remote, job->dst}};

	for (int i = 0; i < 2; i++) {
		if (at[i].r == 0 || at[i].r != s->remote)
			continue;
		if (s->dir && strncmp(at[i].p, s->path, strlen(s->path)) == 0)
			return true;
		if (job->kind == JOB_DIRMOVE && strncmp(s->path, at[i].p, strlen(at[i].p)) == 0)
			return true;
	}
	return false;
}

static void scope_of(struct jobs *j, uint64_t ino, struct scope *s)
{
	struct meta_inode in;

	memset(s, 0, sizeof(*s));
	s->all = ino == META_ROOT_INO;
	if (s->all)
		return;
	struct meta_txn *t = meta_begin_read(j->conf.meta);

	if (meta_inode_get(t, ino, &in) == 0 && meta_desired(t, ino, &s->remote, s->path) == 0)
		s->dir = in.kind == META_DIR;
	else
		s->remote = 0;
	meta_abort(t);
}

/* The wanted jobs, and all that they wait for: those that depend on a job come behind it. */
static void hurry_locked(struct jobs *j)
{
	struct job *job = NULL;

	TAILQ_FOREACH_REVERSE(job, &j->g.all, job_list, link)
	{
		for (unsigned i = 0; i < job->g.ndependents && !job->g.wanted; i++)
			job->g.wanted = job->g.dependents[i]->g.wanted;
		if (!job->g.wanted || job->g.soon)
			continue;
		sched_hurry_locked(j, job);
	}
	TAILQ_FOREACH (job, &j->g.all, link)
		job->g.wanted = false;
}

/* Live jobs with id <= until that concern it; their number. */
static unsigned count_locked(
	struct jobs *j, uint64_t ino, uint64_t until, const struct scope *s, bool hurry)
{
	struct job *job = NULL;
	struct claim *c = NULL;
	unsigned n = 0;

	if (!s->all && !s->dir && TAILQ_EMPTY(&j->g.moves)) { /* the common case, without a walk */
		struct claim_key *k = graph_ino_key(j, ino);

		if (k != NULL)
			TAILQ_FOREACH (c, &k->queue, link)
				n += concerns(c->job, ino, s) && c->job->id <= until &&
				     !job_follows_locked(c->job);
		if (!hurry)
			return n;
	}
	n = 0;
	TAILQ_FOREACH (job, &j->g.all, link) {
		if (job->id > until)
			break;
		bool is = concerns(job, ino, s);

		job->g.wanted = is && hurry; /* which takes it back */
		n += is && !job_follows_locked(job);
	}
	if (hurry)
		hurry_locked(j);
	return n;
}

static unsigned weight_locked(const struct job *job)
{
	return job->g.outside ? 3 : job->g.note != NULL ? 2 : 1;
}

unsigned job_wait_reason(struct jobs *j, uint64_t ino, struct job_info *ret)
{
	struct job *job = NULL, *best = NULL;
	struct scope s;
	unsigned n = 0;

	scope_of(j, ino, &s);
	LOCKED(&j->g.lock);
	graph_stuck_locked(j);
	TAILQ_FOREACH_REVERSE(job, &j->g.all, job_list, link)
	{
		job->g.wanted = concerns(job, ino, &s);
		for (unsigned i = 0; i < job->g.ndependents && !job->g.wanted; i++)
			job->g.wanted = job->g.dependents[i]->g.wanted;
		job->g.wanted &= !job->g.lost;
		if (!job->g.wanted)
			continue;
		n++;
		if (best == NULL || weight_locked(job) >= weight_locked(best))
			best = job;
	}
	TAILQ_FOREACH (job, &j->g.all, link)
		job->g.wanted = false;
	if (best != NULL)
		info_of_locked(j, best, ret);
	return n;
}

bool job_wait(struct jobs *j, uint64_t ino, struct job_waiter *w)
{
	struct scope s;

	scope_of(j, ino, &s);
	LOCKED(&j->g.lock);
	w->ino = ino;
	w->id = 0;
	w->until = j->g.last_id;
	w->tree = s.all || s.dir;
	w->result = 0;
	w->lost = false;
	w->left = count_locked(j, ino, w->until, &s, false);
	w->armed = w->left != 0;
	if (!w->armed)
		return false;
	/* Each of these jobs counts down when it ends. */
	struct job *job = NULL;

	graph_stuck_locked(j);
	TAILQ_FOREACH (job, &j->g.all, link) {
		if (job->id > w->until)
			break;
		if (!concerns(job, ino, &s) || job_follows_locked(job))
			continue;
		if (job->g.lost) {
			w->left--;
			w->lost = true;
		} else if (!job_watch_locked(job, w)) {
			w->left--; /* memory: do not wait for what would not tell */
			w->result = -ENOMEM;
		}
	}
	if (w->left == 0) {
		w->armed = false;
		return false;
	}
	TAILQ_INSERT_TAIL(&j->g.waiters, w, link);
	return true;
}

bool job_wait_id(struct jobs *j, uint64_t id, struct job_waiter *w)
{
	struct job *job = NULL;

	LOCKED(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	w->id = id;
	w->ino = 0;
	w->result = 0;
	w->armed = job != NULL && job_watch_locked(job, w);
	if (!w->armed)
		return false;
	w->left = 1;
	TAILQ_INSERT_TAIL(&j->g.waiters, w, link);
	return true;
}

bool job_watch_locked(struct job *job, struct job_waiter *w)
{
	struct job_waiter **p = realloc(job->g.watchers, (job->g.nwatchers + 1) * sizeof(*p));

	if (p == NULL)
		return false;
	job->g.watchers = p;
	p[job->g.nwatchers++] = w;
	return true;
}

bool job_wait_cancel(struct jobs *j, struct job_waiter *w)
{
	struct job *job = NULL;

	LOCKED(&j->g.lock);
	if (!w->armed)
		return false;
	w->armed = false;
	if (w->ask != NULL) {
		ask_leave_locked(w);
		return true;
	}
	TAILQ_REMOVE(&j->g.waiters, w, link);
	TAILQ_FOREACH (job, &j->g.all, link)
		for (unsigned i = 0; i < job->g.nwatchers;)
			if (job->g.watchers[i] == w)
				job->g.watchers[i] = job->g.watchers[--job->g.nwatchers];
			else
				i++;
	return true;
}

void wait_note_locked(struct jobs *j, const struct job *job, errint_t r)
{
	lock_assert_held(&j->g.lock);
	for (unsigned i = 0; i < job->g.nwatchers; i++) {
		struct job_waiter *w = job->g.watchers[i];

		if (r < 0 && w->result == 0)
			w->result = r;
		w->left--;
	}
}

void wait_hand_on(struct job *job, uint64_t to)
{
	struct jobs *j = job->jobs;
	struct job *next = NULL;

	LOCKED(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &to, sizeof(to), next);
	for (unsigned i = 0; next != NULL && i < job->g.nwatchers; i++) {
		struct job_waiter *w = job->g.watchers[i];

		if (w->id != 0 || (!w->tree && w->ino != next->ino))
			continue;
		if (job_watch_locked(next, w))
			w->left++;
		else if (w->result == 0)
			w->result = -ENOMEM;
	}
}

void wait_check(struct jobs *j)
{
	TAILQ_HEAD(, job_waiter) done = TAILQ_HEAD_INITIALIZER(done);
	struct job_waiter *w = NULL, *next = NULL;

	lock_take(&j->g.lock);
	for (w = TAILQ_FIRST(&j->g.waiters); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->left != 0)
			continue;
		TAILQ_REMOVE(&j->g.waiters, w, link);
		w->armed = false;
		TAILQ_INSERT_TAIL(&done, w, link);
	}
	lock_drop(&j->g.lock);
	while ((w = TAILQ_FIRST(&done)) != NULL) {
		TAILQ_REMOVE(&done, w, link);
		w->fn(w, w->result);
	}
}

void wait_release(struct job *job, errint_t r)
{
	struct jobs *j = job->jobs;

	lock_take(&j->g.lock);
	for (unsigned i = 0; i < job->g.nwatchers;) {
		struct job_waiter *w = job->g.watchers[i];

		if (w->id != job->id) {
			i++;
			continue;
		}
		w->result = r;
		w->left = 0;
		job->g.watchers[i] = job->g.watchers[--job->g.nwatchers];
	}
	lock_drop(&j->g.lock);
	wait_check(j);
}

/* Not those that wait for one job behind it and no other: a rename has a name to answer for. */
static unsigned tell_locked(struct job *job, errint_t r, bool all)
{
	unsigned left = 0, told = job->g.nwatchers;

	for (unsigned i = 0; i < job->g.nwatchers; i++) {
		struct job_waiter *w = job->g.watchers[i];

		if (!all && w->id != 0) {
			job->g.watchers[left++] = w;
			continue;
		}
		if (w->result == 0)
			w->result = r;
		w->left--;
	}
	job->g.nwatchers = left;
	return told - left;
}

/* wanted is set of job: also of all that depend on it. */
static void spread_locked(const struct job *job)
{
	for (unsigned i = 0; i < job->g.ndependents; i++)
		job->g.dependents[i]->g.wanted = true;
}

void wait_tell(struct job *job, errint_t r)
{
	struct jobs *j = job->jobs;
	struct job *o = NULL;

	lock_take(&j->g.lock);
	job->g.unsure = true;
	job->g.wanted = true;
	TAILQ_FOREACH (o, &j->g.all, link) { /* those that depend on a job come behind it */
		if (!o->g.wanted)
			continue;
		spread_locked(o);
		(void)tell_locked(o, r, o == job);
		o->g.wanted = false;
	}
	lock_drop(&j->g.lock);
	wait_check(j);
}

unsigned wait_archived(struct job *job, char *note)
{
	struct jobs *j = job->jobs;
	struct job *o = NULL;
	unsigned failed = 0;

	lock_take(&j->g.lock);
	free(job->g.note);
	job->g.note = note;
	job->g.outside = job->g.archived = !job->g.pressed; /* else it looks again at once */
	job->g.wanted = true;
	TAILQ_FOREACH (o, &j->g.all, link) {
		if (!o->g.wanted)
			continue;
		spread_locked(o);
		o->g.wanted = false;
		if (job_follows_locked(o))
			(void)tell_locked(o, 0, false);
		else
			failed += tell_locked(o, -EIO, false);
	}
	lock_drop(&j->g.lock);
	wait_check(j);
	return failed;
}

void job_hurry(struct jobs *j, uint64_t ino)
{
	struct scope s;
	bool barrier = false;

	scope_of(j, ino, &s);
	lock_take(&j->g.lock);
	if (count_locked(j, ino, j->g.last_id, &s, true) != 0)
		barrier = !TAILQ_EMPTY(&j->g.barrier);
	lock_drop(&j->g.lock);
	if (barrier)
		meta_sync_soon(j->conf.meta);
	sched_pump(j);
}
