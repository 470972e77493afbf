/* SPDX-License-Identifier: MIT */
/*
 * Small files of a directory that are read one after another: each costs a round trip, during which
 * the next ones can be fetched too. Which is next is told by the order of the directory, which is
 * that of a listing for what others made.
 *
 * A series begins with a file that had to be fetched. Once EVIDENCE files followed each other in
 * order, those behind them are fetched, WINDOW_MIN first, twice as many each time that half of them
 * were read, up to WINDOW_MAX; a file out of order ends it. So what is fetched in vain is never
 * more than twice what was read. Only whole small files of the same cloud and tier are taken (or of
 * one that is not known, as that of the last one), none that is archived, and none whose store is
 * near; it counts as no access.
 *
 * What is fetched is in staging like all that was read: a read that comes meanwhile joins the
 * fetch, which then goes before the others. These fetches leave a worker of the remote to those
 * that somebody waits for.
 */
#include "vfs_priv.h"

#define SERIES_NS  (10 * NS_PER_S)
#define EVIDENCE   2
#define STRIDE	   8 /* the next one is among so many behind the last: several read at a time */
#define WINDOW_MIN 4u
#define WINDOW_MAX 64u
#define LOOK_MAX   (4 * WINDOW_MAX) /* entries looked at for one window */

struct ahead { /* some files to fetch */
	struct pool_task task;
	struct vfs *v;
	unsigned n;
	uint64_t inos[WINDOW_MAX];
};

static void ahead_run(struct pool_task *t)
{
	struct ahead *a = container_of(t, struct ahead, task);
	struct vfs *v = a->v;

	for (unsigned i = 0; i < a->n && !atomic_load(&v->cancel); i++) {
		struct vfs_node *n = node_get(v, a->inos[i]);

		if (!n)
			break;
		if (!node_bind(v, n))
			fetch_whole(v, n);
		node_put(v, n);
	}
	free(a);
	atomic_fetch_sub(&v->background, 1);
}

struct look { /* a walk of the entries behind one */
	struct vfs *v;
	const struct meta_inode *like;
	struct ahead *to;
	unsigned most, seen;
	uint64_t last; /* entry looked at */
};

static int look_each(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct look *l = arg;

	l->last = ino;
	if (kind == META_FILE && (full->flags & has) == has &&
		!(full->flags & (META_F_DIRTY | META_F_ARCHIVED)) && full->size &&
		full->size <= FETCH_WHOLE_MAX && full->loc.remote == l->like->loc.remote &&
		full->tier == l->like->tier && !*full->class_name == !*l->like->class_name &&
		!stage_holds(l->v->conf.stage, ino))
		l->to->inos[l->to->n++] = ino;
	return l->to->n == l->most || ++l->seen == LOOK_MAX;
}

/* Fetches the next most files behind `from`; the last entry looked at. */
static uint64_t look(
	struct vfs *v, const struct meta_inode *like, uint64_t from, unsigned most, unsigned *ret_n)
{
	struct ahead *a = calloc(1, sizeof(*a));
	struct look l = {.v = v, .like = like, .to = a, .most = most, .last = from};
	struct meta_txn *t;

	*ret_n = 0;
	if (!a)
		return from;
	t = meta_begin_read(v->conf.meta);
	(void)meta_children(t, like->parent, from, true, look_each, &l);
	meta_abort(t);
	*ret_n = a->n;
	if (!a->n) {
		free(a);
		return l.last;
	}
	a->v = v;
	atomic_fetch_add(&v->background, 1);
	pool_task_init(&a->task, LANE_BACKGROUND, ahead_run);
	(void)pool_post(v->conf.pool, &a->task);
	return l.last;
}

struct find {
	uint64_t ino;
	unsigned n;
};

static int find_each(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct find *f = arg;

	if (ino == f->ino)
		return 1;
	return ++f->n == WINDOW_MAX;
}

/* How many entries are between `last` and ino, which is behind it; WINDOW_MAX: as many or more. */
static unsigned between(struct vfs *v, uint64_t dir, uint64_t last, uint64_t ino)
{
	struct find f = {.ino = ino};
	struct meta_txn *t = meta_begin_read(v->conf.meta);

	(void)meta_children(t, dir, last, false, find_each, &f);
	meta_abort(t);
	return f.n;
}

/* The series of a directory; a new one in the place of the oldest, only for a file that was not
 * here. NULL: none. */
static struct series *series_locked(struct vfs *v, const struct meta_inode *in, bool missed)
{
	struct series *s = v->ahead.series, *old = s;
	int64_t now = clock_mono_ns();

	lock_assert_held(&v->ahead.lock);
	for (unsigned i = 0; i < ARRAY_SIZE(v->ahead.series); i++, s++) {
		if (s->dir == in->parent && now - s->at_ns < SERIES_NS) {
			s->at_ns = now;
			return s;
		}
		if (s->at_ns < old->at_ns)
			old = s;
	}
	if (!missed)
		return NULL;
	*old = (struct series){.dir = in->parent, .first = in->ino, .last = in->ino, .at_ns = now};
	atomic_store_explicit(&v->any_series, true, memory_order_relaxed);
	return old;
}

/* Where to go on, and how far; 0 = no further now. */
static unsigned window_locked(struct series *s, uint64_t *ret_from)
{
	if (s->looking || s->hits < EVIDENCE || s->left > s->window / 2)
		return 0;
	s->window = s->window ? MIN_OF(s->window * 2, WINDOW_MAX) : WINDOW_MIN;
	*ret_from = MAX_OF(s->last, s->ahead);
	s->looking = true;
	return s->window - s->left;
}

/* One of several readers at a time, a little late: of those that the series went over. Each counts
 * once, as if it had come in order, so that what is fetched is bounded by what is read. */
static bool late_locked(struct series *s)
{
	if (!s->skipped)
		return false;
	s->skipped--;
	s->left -= s->left > 0;
	return true;
}

/* Whether the file is one of its series, which is then one longer. */
static bool next_of(struct vfs *v, const struct meta_inode *in, bool missed)
{
	uint64_t last, ahead;
	unsigned over = 0;
	struct series *s;
	bool next;
	{
		LOCKED(&v->ahead.lock);
		s = series_locked(v, in, missed);
		last = s ? s->last : in->ino;
		ahead = s ? s->ahead : 0;
		if (last == in->ino)
			return false;
		if (in->ino < last && s->hits && in->ino >= s->first)
			return late_locked(s);
	}
	if (in->ino > last)
		over = between(v, in->parent, last, in->ino);
	next = in->ino > last && (in->ino <= ahead || over < STRIDE);
	LOCKED(&v->ahead.lock);
	s = series_locked(v, in, false);
	if (!s)
		return false;
	if (next && in->ino <= s->last) /* others were quicker */
		return in->ino < s->last && late_locked(s);
	if (next) {
		s->hits++;
		s->left -= s->left > 0;
		if (s->last == last)
			s->skipped += MIN_OF(over, WINDOW_MAX - s->skipped);
		s->last = in->ino;
	} else {
		*s = (struct series){
			.dir = s->dir, .first = in->ino, .last = in->ino, .at_ns = s->at_ns};
	}
	return next;
}

void siblings_read(struct vfs *v, uint64_t ino, bool missed)
{
	const struct remote *remote;
	struct meta_inode in;
	uint64_t from = 0, to;
	unsigned most = 0, n;
	struct series *s;

	if (!missed && !atomic_load_explicit(&v->any_series, memory_order_relaxed))
		return;
	if (row_get(v, ino, &in) || !in.parent || in.size > FETCH_WHOLE_MAX)
		return;
	remote = remote_by_id(v, in.loc.remote);
	if (!remote || remote->caps.near || !next_of(v, &in, missed))
		return;
	lock_take(&v->ahead.lock);
	s = series_locked(v, &in, false);
	if (s)
		most = window_locked(s, &from);
	lock_drop(&v->ahead.lock);
	if (!most)
		return;
	to = look(v, &in, from, most, &n);
	LOCKED(&v->ahead.lock);
	s = series_locked(v, &in, false);
	if (!s || !s->looking)
		return; /* it ended meanwhile */
	s->looking = false;
	s->ahead = to;
	s->left += n;
}
