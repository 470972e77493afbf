/* SPDX-License-Identifier: MIT */
/*
 * Order. Every live job has claims: its inode, and each key that it reads or writes; a directory
 * move claims two prefixes, matched by comparing with the moves that are live (few at a time, on a
 * list of their own, so that a queue of ten thousand uploads is not walked for each file). A job
 * depends on every earlier job that shares a claim; its dependents hold its address, and it counts
 * how many it still waits for. Dependencies point backwards in the order of posting only, so there
 * is no cycle.
 *
 * All with g.lock held.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define KEY_NAME_MAX (META_PATH_MAX + 32)

static void key_name(char *ret, uint32_t remote, const char *path)
{
	(void)snprintf(ret, KEY_NAME_MAX, "%u:%s", remote, path);
}

static void ino_name(char *ret, uint64_t ino)
{
	(void)snprintf(ret, KEY_NAME_MAX, "#%llu", (unsigned long long)ino);
}

static struct claim_key *key_find(struct jobs *j, const char *name)
{
	struct claim_key *k = NULL;

	HASH_FIND_STR(j->g.keys, name, k);
	return k;
}

static struct claim_key *key_get(struct jobs *j, const char *name)
{
	struct claim_key *k = key_find(j, name);

	if (k != NULL)
		return k;
	size_t len = strlen(name);

	k = calloc(1, sizeof(*k) + len + 1);
	if (k == NULL)
		return NULL;
	memcpy(k->name, name, len + 1);
	TAILQ_INIT(&k->queue);
	HASH_ADD_STR(j->g.keys, name, k);
	return k;
}

struct claim_key *graph_ino_key(struct jobs *j, uint64_t ino)
{
	char name[KEY_NAME_MAX];

	ino_name(name, ino);
	return key_find(j, name);
}

struct claim_key *graph_place_key(struct jobs *j, uint32_t remote, const char *path)
{
	char name[KEY_NAME_MAX];

	key_name(name, remote, path);
	return key_find(j, name);
}

/* A restore changes nothing that others rely on, and takes hours: it waits for nobody and nobody
 * waits for it. One behind a rename that waits for that very restore would never run. A look waits
 * for nobody either: it sees itself when it is alone. */
static errint_t depend(struct job *job, struct job *on)
{
	if (on == job || job->kind == JOB_RESTORE || on->kind == JOB_RESTORE ||
		job->kind == JOB_LOOK)
		return 0;
	/* The same pair by two keys: job is being inserted, so nobody came after it. */
	if (on->g.ndependents != 0 && on->g.dependents[on->g.ndependents - 1] == job)
		return 0;
	if (on->g.ndependents == on->g.capdependents) {
		unsigned cap = on->g.capdependents != 0 ? on->g.capdependents * 2 : 4;
		struct job **p = realloc(on->g.dependents, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		on->g.dependents = p;
		on->g.capdependents = cap;
	}
	on->g.dependents[on->g.ndependents++] = job;
	job->g.ndeps++;
	if (on->held || on->kind == JOB_LOOK) /* somebody wants its key: it goes */
		sched_hurry_locked(on->jobs, on);
	return 0;
}

static bool depends_on(const struct job *job, const struct job *on)
{
	for (unsigned i = 0; i < on->g.ndependents; i++)
		if (on->g.dependents[i] == job)
			return true;
	return false;
}

static void key_let_go(struct jobs *j, struct claim_key *k)
{
	if (!TAILQ_EMPTY(&k->queue))
		return;
	HASH_DEL(j->g.keys, k);
	free(k);
}

/* own comes to its key in the order of posting, also when that is later. */
static errint_t claim_queue(struct claim *own)
{
	struct claim_key *k = own->key;
	struct job *job = own->job;
	struct claim *c = NULL, *before = NULL;

	TAILQ_FOREACH (c, &k->queue, link) {
		bool later = c->job->id > job->id;
		errint_t r = !later					  ? depend(job, c->job)
			     : depends_on(c->job, job) || c->job->g.begun ? 0
									  : depend(c->job, job);

		if (r < 0)
			return r;
		if (later && before == NULL)
			before = c;
	}
	if (before != NULL)
		TAILQ_INSERT_BEFORE(before, own, link);
	else
		TAILQ_INSERT_TAIL(&k->queue, own, link);
	return 0;
}

static errint_t claim_name(struct jobs *j, struct job *job, const char *name)
{
	for (unsigned i = 0; i < job->g.nclaims; i++)
		if (strcmp(job->g.claims[i]->key->name, name) == 0)
			return 0;
	struct claim **p = realloc(job->g.claims, (job->g.nclaims + 1) * sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	job->g.claims = p;
	struct claim *own = calloc(1, sizeof(*own));
	struct claim_key *k = own == NULL ? NULL : key_get(j, name);

	if (k == NULL) {
		free(own);
		return -ENOMEM;
	}
	own->key = k;
	own->job = job;
	errint_t r = claim_queue(own);

	if (r < 0) {
		key_let_go(j, k);
		free(own);
		return r;
	}
	p[job->g.nclaims++] = own;
	return 0;
}

static bool below(uint32_t r1, const char *path, uint32_t r2, const char *prefix)
{
	return r1 == r2 && strncmp(path, prefix, strlen(prefix)) == 0;
}

/* One of job's two places lies in one of the prefixes of move, or the other way round. */
static bool dirmove_conflict(const struct job *move, const struct job *job)
{
	const struct {
		uint32_t r;
		const char *p;
	} a[2] = {{move->src_remote, move->src}, {move->dst_remote, move->dst}},
	  b[2] = {{job->src_remote, job->src}, {job->g.loose ? 0 : job->dst_remote, job->dst}};

	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++) {
			if (a[i].r == 0 || b[k].r == 0)
				continue;
			if (below(b[k].r, b[k].p, a[i].r, a[i].p))
				return true;
			if (job->kind == JOB_DIRMOVE && below(a[i].r, a[i].p, b[k].r, b[k].p))
				return true;
		}
	return false;
}

static errint_t claim_prefixes(struct jobs *j, struct job *job)
{
	bool move = job->kind == JOB_DIRMOVE;
	struct job *o = move ? TAILQ_FIRST(&j->g.all) : TAILQ_FIRST(&j->g.moves);

	for (; o != NULL && o->id < job->id; o = move ? TAILQ_NEXT(o, link) : TAILQ_NEXT(o, move)) {
		bool hit = move ? dirmove_conflict(job, o) : dirmove_conflict(o, job);
		errint_t r = hit ? depend(job, o) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static errint_t claim_all(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];

	ino_name(name, job->ino);
	errint_t r = job->kind == JOB_LOOK ? 0 : claim_name(j, job, name);

	if (r == 0 && job->victim != 0) {
		ino_name(name, job->victim);
		r = claim_name(j, job, name);
	}
	if (r == 0 && job->src_remote != 0) {
		key_name(name, job->src_remote, job->src);
		r = claim_name(j, job, name);
	}
	job->g.loose = job_is_loose(job);
	if (r == 0 && job->dst_remote != 0 && !job->g.loose) {
		key_name(name, job->dst_remote, job->dst);
		r = claim_name(j, job, name);
	}
	return r == 0 ? claim_prefixes(j, job) : r;
}

errint_t graph_claim_new(struct jobs *j, struct job *job, uint32_t remote, const char *path)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	key_name(name, remote, path);
	return claim_name(j, job, name);
}

errint_t graph_claim_src(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	key_name(name, job->src_remote, job->src);
	return claim_name(j, job, name);
}

errint_t graph_claim_victim(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	ino_name(name, job->victim);
	return claim_name(j, job, name);
}

errint_t graph_claim_dst(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	key_name(name, job->dst_remote, job->dst);
	assert(key_find(j, name) == NULL);
	return claim_name(j, job, name);
}

static void claim_drop(struct jobs *j, struct claim *c)
{
	TAILQ_REMOVE(&c->key->queue, c, link);
	key_let_go(j, c->key);
	free(c);
}

static void unclaim(struct jobs *j, struct job *job)
{
	for (unsigned i = 0; i < job->g.nclaims; i++)
		claim_drop(j, job->g.claims[i]);
	job->g.nclaims = 0;
}

/* The order of two jobs matters. */
static bool share(const struct job *a, const struct job *b)
{
	for (unsigned i = 0; i < a->g.nclaims; i++)
		for (unsigned k = 0; k < b->g.nclaims; k++)
			if (a->g.claims[i]->key == b->g.claims[k]->key)
				return true;
	return (a->kind == JOB_DIRMOVE && dirmove_conflict(a, b)) ||
	       (b->kind == JOB_DIRMOVE && dirmove_conflict(b, a));
}

/* job has fewer claims than before: who depended for these does not any more. */
static void prune(struct jobs *j, struct job *job)
{
	struct job *o = NULL;

	TAILQ_FOREACH (o, &j->g.all, link)
		for (unsigned i = 0; i < o->g.ndependents;) {
			struct job *d = o->g.dependents[i];

			if ((o != job && d != job) || share(o, d)) {
				i++;
				continue;
			}
			o->g.dependents[i] = o->g.dependents[--o->g.ndependents];
			if (--d->g.ndeps == 0)
				sched_make_ready_locked(j, d);
		}
}

static void claim_without(struct jobs *j, struct job *job, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < job->g.nclaims; i++)
		if (strcmp(job->g.claims[i]->key->name, name) == 0)
			claim_drop(j, job->g.claims[i]);
		else
			job->g.claims[n++] = job->g.claims[i];
	job->g.nclaims = n;
}

void graph_leave(struct jobs *j, struct job *job, uint32_t remote, const char *path)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	key_name(name, remote, path);
	claim_without(j, job, name);
	prune(j, job);
	if (job->g.blocks)
		taken_tell_locked(j);
}

void graph_leave_victim(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];

	lock_assert_held(&j->g.lock);
	ino_name(name, job->victim);
	job->victim = 0;
	claim_without(j, job, name);
	prune(j, job);
}

bool graph_take_dst(struct jobs *j, struct job *job)
{
	char name[KEY_NAME_MAX];
	struct claim_key *k = graph_place_key(j, job->dst_remote, job->dst);
	struct claim *c = NULL;
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	/* Those that wait for job come behind it there as well. */
	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job != job && !depends_on(c->job, job))
				return false;
	TAILQ_FOREACH (o, &j->g.moves, move)
		if (!depends_on(o, job) &&
			(below(job->dst_remote, job->dst, o->src_remote, o->src) ||
				below(job->dst_remote, job->dst, o->dst_remote, o->dst)))
			return false;
	key_name(name, job->dst_remote, job->dst);
	if (claim_name(j, job, name) < 0)
		return false;
	job->g.loose = false;
	return true;
}

errint_t graph_insert(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	struct job *after = TAILQ_LAST(&j->g.all, job_list);

	assert(after == NULL || after->id < job->id);
	(void)after;
	TAILQ_INSERT_TAIL(&j->g.all, job, link);
	HASH_ADD(hh, j->g.by_id, id, sizeof(job->id), job);
	j->g.nlive++;
	if (job->kind == JOB_DIRMOVE)
		TAILQ_INSERT_TAIL(&j->g.moves, job, move);
	j->g.last_id = job->id;
	errint_t r = claim_all(j, job);

	if (r < 0)
		graph_remove(j, job);
	return r;
}

/* A job that ends releases its dependents; one that is withdrawn (its transaction failed) also
 * leaves the lists of those it waited for. */
static void leave_deps(struct jobs *j, struct job *job)
{
	struct job *o = NULL;

	if (job->g.ndeps == 0)
		return;
	TAILQ_FOREACH (o, &j->g.all, link) {
		for (unsigned i = 0; i < o->g.ndependents; i++)
			if (o->g.dependents[i] == job) {
				o->g.dependents[i] = o->g.dependents[--o->g.ndependents];
				job->g.ndeps--;
				break;
			}
	}
}

void graph_remove(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	leave_deps(j, job);
	sched_unlist_locked(j, job);
	unclaim(j, job);
	for (unsigned i = 0; i < job->g.ndependents; i++) {
		struct job *d = job->g.dependents[i];

		assert(d->g.ndeps > 0);
		if (--d->g.ndeps == 0)
			sched_make_ready_locked(j, d);
	}
	job->g.ndependents = 0;
	TAILQ_REMOVE(&j->g.all, job, link);
	HASH_DEL(j->g.by_id, job);
	j->g.nlive--;
	if (job->kind == JOB_DIRMOVE)
		TAILQ_REMOVE(&j->g.moves, job, move);
}

bool graph_alone(struct jobs *j, const struct job *job)
{
	lock_assert_held(&j->g.lock);
	return job->g.ndependents == 0 && job->g.ndeps == 0;
}

errint_t graph_later_inos(struct jobs *j, const struct job *job, uint64_t **ret, size_t *ret_n)
{
	struct job *o = NULL;
	LOCKED(&j->g.lock);

	*ret_n = 0;
	*ret = calloc(2 * j->g.nlive + 1, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	TAILQ_FOREACH (o, &j->g.all, link) {
		if (o->id > job->id && o->kind != JOB_LOOK)
			(*ret)[(*ret_n)++] = o->ino;
		if (o->id > job->id && o->victim != 0)
			(*ret)[(*ret_n)++] = o->victim;
	}
	return 0;
}

/* The file that replaces own has a claim for it (key_hand_over). */
static bool replaces(const struct job *job, uint64_t own)
{
	return own != 0 && job->victim == own && job->kind != JOB_EXCHANGE;
}

struct job *graph_replacer(struct jobs *j, uint64_t ino)
{
	struct claim_key *k = graph_ino_key(j, ino);
	struct claim *c = NULL;

	lock_assert_held(&j->g.lock);
	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (replaces(c->job, ino))
				return c->job;
	return NULL;
}

/* By a job of another inode than `own` as well as another than `but`. */
static bool claimed(
	struct jobs *j, uint32_t remote, const char *path, const struct job *but, uint64_t own)
{
	char name[KEY_NAME_MAX];
	struct job *o = NULL;
	struct claim *c = NULL;

	lock_assert_held(&j->g.lock);
	key_name(name, remote, path);
	struct claim_key *k = key_find(j, name);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job != but && c->job->ino != own && !replaces(c->job, own))
				return true;
	TAILQ_FOREACH (o, &j->g.moves, move) {
		if (o == but)
			continue;
		if (below(remote, path, o->src_remote, o->src) ||
			below(remote, path, o->dst_remote, o->dst))
			return true;
	}
	return false;
}

bool graph_claimed(struct jobs *j, uint32_t remote, const char *path, const struct job *but)
{
	return claimed(j, remote, path, but, 0);
}

bool graph_claimed_by_others(struct jobs *j, const struct meta_inode *in, const struct job *but)
{
	return claimed(j, in->loc.remote, in->loc.path, but, in->ino);
}

bool graph_moves_before(struct jobs *j, const struct job *job, const struct meta_inode *in)
{
	struct claim_key *k = graph_ino_key(j, in->ino);
	struct claim *c = NULL;
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->id < job->id && c->job->ino == in->ino)
				return true;
	TAILQ_FOREACH (o, &j->g.moves, move)
		if (o->id < job->id &&
			(below(in->loc.remote, in->loc.path, o->src_remote, o->src) ||
				below(in->loc.remote, in->loc.path, o->dst_remote, o->dst)))
			return true;
	return false;
}

/* ino, 0 = none: changes of its tier and attributes do not count, which work on its object wherever
 * that is. */
static bool others_claim(struct jobs *j, const char *name, uint64_t ino, const struct job *but)
{
	struct claim_key *k = key_find(j, name);
	struct claim *c = NULL;

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link) {
			const struct job *o = c->job;
			bool stays = ino != 0 && o->ino == ino &&
				     (o->kind == JOB_TRANSITION || o->kind == JOB_ATTR);

			if (o != but && !stays && o->kind != JOB_RESTORE && o->kind != JOB_LOOK)
				return true;
		}
	return false;
}

bool graph_marker_wanted(struct jobs *j, uint32_t remote, const char *path, uint64_t moves_before,
	const struct job *but)
{
	char name[KEY_NAME_MAX];
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (o, &j->g.moves, move)
		if (o != but && o->id <= moves_before &&
			(below(remote, path, o->src_remote, o->src) ||
				below(remote, path, o->dst_remote, o->dst)))
			return true;
	key_name(name, remote, path);
	return others_claim(j, name, 0, but);
}

bool graph_place_untouched(struct jobs *j, uint32_t remote, const char *path, const struct job *but)
{
	char name[KEY_NAME_MAX];
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (o, &j->g.moves, move)
		if (o != but && (below(remote, path, o->src_remote, o->src) ||
					below(remote, path, o->dst_remote, o->dst)))
			return false;
	key_name(name, remote, path);
	return !others_claim(j, name, 0, but);
}

bool graph_untouched(
	struct jobs *j, uint64_t ino, uint32_t remote, const char *path, const struct job *but)
{
	char name[KEY_NAME_MAX];

	ino_name(name, ino);
	return graph_place_untouched(j, remote, path, but) && !others_claim(j, name, 0, but);
}

bool graph_carried_on(
	struct jobs *j, uint64_t ino, uint32_t remote, const char *path, const struct job *but)
{
	char name[KEY_NAME_MAX], key[KEY_NAME_MAX];
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (o, &j->g.moves, move)
		if (o->id < but->id && (below(remote, path, o->src_remote, o->src) ||
					       below(remote, path, o->dst_remote, o->dst)))
			return false;
	ino_name(name, ino);
	key_name(key, remote, path);
	return !others_claim(j, key, ino, but) && !others_claim(j, name, ino, but);
}

bool graph_wanted(struct jobs *j, uint32_t remote, const char *path, const struct job *but)
{
	char name[KEY_NAME_MAX];
	struct claim *c = NULL;

	lock_assert_held(&j->g.lock);
	key_name(name, remote, path);
	struct claim_key *k = key_find(j, name);

	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job != but && c->job->ino != but->ino && c->job->kind != JOB_LOOK)
				return true;
	return false;
}

bool graph_key_free(struct jobs *j, uint32_t remote, const char *path, const struct job *but)
{
	return !graph_claimed(j, remote, path, but);
}

static bool is_below(const struct job *o, uint32_t remote, const char *prefix)
{
	return (o->src_remote != 0 && below(o->src_remote, o->src, remote, prefix)) ||
	       (o->dst_remote != 0 && below(o->dst_remote, o->dst, remote, prefix));
}

/* One of its places is an object that path goes through. */
static bool is_above(const struct job *o, uint32_t remote, const char *path)
{
	size_t src = strlen(o->src), dst = strlen(o->dst);

	return (o->src_remote == remote && src != 0 && strncmp(path, o->src, src) == 0 &&
		       path[src] == '/') ||
	       (o->dst_remote == remote && dst != 0 && strncmp(path, o->dst, dst) == 0 &&
		       path[dst] == '/');
}

bool graph_claimed_below(struct jobs *j, uint32_t remote, const char *prefix, const struct job *but)
{
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (o, &j->g.all, link)
		if (o != but && is_below(o, remote, prefix))
			return true;
	return false;
}

/* One that is parked decides: whatever the others do, the directory does not get empty. */
enum below graph_below(struct jobs *j, const struct job *job)
{
	enum below ret = BELOW_NONE;
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (o, &j->g.all, link) {
		if (o == job || !is_below(o, job->src_remote, job->src))
			continue;
		if (o->g.outside || (o->held && o->g.state != JOB_CLEANING))
			return BELOW_PARKED;
		ret = MAX_OF(ret, o->kind == JOB_UNMARK ? BELOW_DIRS : BELOW_MOVES);
	}
	return ret;
}

/* Keys of an unbegun job that nobody waits for and that waits for nobody; the new ones were free.
 */
void graph_rekey(struct jobs *j, struct job *job)
{
	lock_assert_held(&j->g.lock);
	assert(graph_alone(j, job) && !job->g.begun);
	unclaim(j, job);
	if (claim_all(j, job) < 0) /* memory: a job without a claim could overtake; wait instead */
		log_error("job", "job %llu: out of memory while its place changed",
			(unsigned long long)job->id);
}

struct job *graph_last_of(struct jobs *j, uint64_t ino)
{
	struct claim_key *k = graph_ino_key(j, ino);
	struct claim *c = NULL;
	struct job *last = NULL;

	lock_assert_held(&j->g.lock);
	if (k != NULL)
		TAILQ_FOREACH (c, &k->queue, link)
			if (c->job->ino == ino)
				last = c->job;
	return last;
}

static bool is_of_lost(struct jobs *j, const struct job *job)
{
	return (job->src_remote != 0 && remote_of(j, job->src_remote) == NULL) ||
	       (job->dst_remote != 0 && remote_of(j, job->dst_remote) == NULL);
}

/* What waits for others, or for what nobody here does, brings nothing away soon; it may wait for
 * job itself, as the removal of a directory does that job moves something out of. */
bool graph_leaves(
	struct jobs *j, const struct job *job, uint32_t remote, const char *path, bool above)
{
	size_t len = strlen(path);
	char dir[META_PATH_MAX + 2];
	struct job *o = NULL;

	lock_assert_held(&j->g.lock);
	(void)snprintf(dir, sizeof(dir), "%s%s", path, len != 0 && path[len - 1] == '/' ? "" : "/");
	bool own = job->dst_remote != 0 && below(job->src_remote, job->src, remote, dir);

	TAILQ_FOREACH (o, &j->g.all, link) {
		if (o == job || o->g.ndeps != 0 || o->g.outside || o->g.unsure ||
			(o->held && o->g.state != JOB_CLEANING) || is_of_lost(j, o) ||
			(own && o->kind == JOB_UNMARK))
			continue;
		if (above ? is_above(o, remote, path) : is_below(o, remote, dir))
			return true;
	}
	return false;
}

void graph_stuck_locked(struct jobs *j)
{
	struct job *job = NULL;

	lock_assert_held(&j->g.lock);
	TAILQ_FOREACH (job, &j->g.all, link) {
		job->g.stuck = job->g.lost = false;
		job->g.cold = NULL;
	}
	/* Dependents come behind what they wait for. */
	TAILQ_FOREACH (job, &j->g.all, link) {
		job->g.lost |= is_of_lost(j, job);
		job->g.stuck |= job->g.lost || job->g.outside;
		if (job->g.archived)
			job->g.cold = job;
		for (unsigned i = 0; i < job->g.ndependents; i++) {
			job->g.dependents[i]->g.lost |= job->g.lost;
			job->g.dependents[i]->g.stuck |= job->g.stuck;
			if (job->g.cold != NULL)
				job->g.dependents[i]->g.cold = job->g.cold;
		}
	}
}
