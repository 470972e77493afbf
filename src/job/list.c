/* SPDX-License-Identifier: MIT */
/*
 * One listing of a directory at a time. Not journaled: a listing that a crash ends is asked again.
 * pages.c has the LIST requests, heads.c what pages do not say of their objects, merge.c what
 * becomes of them.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "merge.h"

struct listing {
	UT_hash_handle hh; /* g.lock */
	uint64_t dir;
	TAILQ_HEAD(, job_waiter) waiters; /* g.lock */
	struct pool_task task;
	struct jobs *jobs;
};

void list_stamp_locked(struct jobs *j, uint32_t remote, const char *path)
{
	lock_assert_held(&j->g.lock);
	j->g.seq++;
	if (j->g.nlistings == 0)
		return; /* no LIST is under way that could be older */
	char name[META_PATH_MAX + 32];
	struct stamp *s = NULL;

	(void)snprintf(name, sizeof(name), "%u:%s", remote, path);
	HASH_FIND_STR(j->g.stamps, name, s);
	if (s == NULL) {
		s = calloc(1, sizeof(*s) + strlen(name) + 1);
		if (s == NULL)
			abort(); /* a forgotten stamp could lose a file from the tree */
		memcpy(s->name, name, strlen(name) + 1);
		HASH_ADD_STR(j->g.stamps, name, s);
	}
	s->seq = j->g.seq;
}

static void stamps_clear_locked(struct jobs *j)
{
	struct stamp *s = NULL, *next = NULL;

	HASH_ITER (hh, j->g.stamps, s, next) {
		HASH_DEL(j->g.stamps, s);
		free(s);
	}
}

static uint64_t listing_begin(struct jobs *j)
{
	LOCKED(&j->g.lock);
	j->g.nlistings++;
	return j->g.seq;
}

static void listing_end(struct jobs *j)
{
	LOCKED(&j->g.lock);
	if (--j->g.nlistings == 0) {
		stamps_clear_locked(j);
		(void)pthread_cond_broadcast(&j->idle);
	}
}

/* The index has this link as the page says it is. */
static bool link_known(struct merge *m, struct meta_txn *t, const struct store_entry *e)
{
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	uint64_t ino = 0;
	struct meta_inode in;

	return merge_name(m, e, path, name, &alias) && meta_lookup(t, m->dir, name, &ino) == 0 &&
	       meta_inode_get(t, ino, &in) == 0 && in.kind == META_SYMLINK && e->etag != NULL &&
	       strcmp(in.loc.etag, e->etag) == 0;
}

/* A symbolic link's target is its content; NULL when that cannot be a target. Read before the
 * transaction: a store may take long. */
static errint_t read_target(
	struct merge *m, const struct store_entry *e, char **ret, struct err *err)
{
	struct objref o;
	struct store_call call = {.cancel = &m->j->stopping, .front = m->but == NULL};
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	size_t got = 0;

	*ret = NULL;
	if (e->size == 0 || e->size > META_SYMLINK_MAX || !merge_name(m, e, path, name, &alias))
		return 0;
	cleanup_free char *target = calloc(1, (size_t)e->size + 1);

	if (target == NULL)
		return -ENOMEM;
	errint_t r = objref_make(m->j, m->remote, path, &o, err);

	if (r == 0)
		r = store_get(o.st, &call, o.o, e->etag, 0, target, (size_t)e->size, &got, err);
	if (r < 0) /* gone or changed since: the next listing knows better */
		return err->kind == ERR_NOT_FOUND || err->kind == ERR_STALE ? 0 : r;
	if (got == e->size && memchr(target, '\0', got) == NULL)
		*ret = steal_ptr(&target);
	return 0;
}

static void targets_done(struct merge *m)
{
	for (size_t i = 0; m->targets != NULL && i < m->page->n; i++)
		free(m->targets[i]);
	free(m->targets);
	m->targets = NULL;
}

static errint_t targets_read(struct merge *m, const struct store_page *p, struct err *err)
{
	errint_t r = 0;

	m->page = p;
	m->targets = calloc(p->n + 1, sizeof(*m->targets));
	if (m->targets == NULL)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		if (p->e[i].is_prefix || strlen(p->e[i].key) < m->prefix_len ||
			!merge_is_link(&p->e[i]))
			continue;
		struct meta_txn *t = meta_begin_read(m->j->conf.meta);
		bool known = link_known(m, t, &p->e[i]);

		meta_abort(t);
		if (!known)
			r = read_target(m, &p->e[i], &m->targets[i], err);
	}
	return r;
}

static errint_t merge_page(struct merge *m, const struct store_page *p, struct err *err)
{
	errint_t r = targets_read(m, p, err);

	if (r < 0) {
		targets_done(m);
		return r;
	}
	m->t = meta_begin(m->j->conf.meta);
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		if (strlen(p->e[i].key) < m->prefix_len)
			r = -EBADMSG;
		else
			r = merge_entry(m, &p->e[i]);
		if (r == -ENAMETOOLONG || r == -EEXIST)
			r = 0; /* an odd key never breaks a listing */
	}
	if (r < 0)
		meta_txn_fail(m->t, r);
	r = meta_commit(m->t);
	m->t = NULL;
	targets_done(m);
	return r < 0 ? err_set(err, r, ERR_RETRY, "index: %s", strerror(-r)) : 0;
}

/* The marker that the LIST found is dir's: not of one that had the name before, which takes it
 * along, or whose removal is on its way. */
static bool marker_is_own(struct merge *m, const struct meta_inode *dir)
{
	LOCKED(&m->j->g.lock);
	return !merge_stamped_locked(m, m->prefix) &&
	       !graph_marker_wanted(m->j, m->remote, m->prefix, dir->moves_before, m->but);
}

static errint_t listed(struct merge *m, bool marker)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(m->j->conf.meta);

	if (meta_inode_get(t, m->dir, &in) == 0) {
		in.listed_at_ns = clock_now_ns();
		if (marker && marker_is_own(m, &in))
			in.flags |= META_F_MARKER;
		(void)meta_inode_put(t, &in);
	}
	return meta_commit(t);
}

static errint_t list_pages(
	struct merge *m, const struct objref *o, struct absent *a, bool *marker, struct err *err)
{
	static const struct pages_conf conf = {.page = STORE_PAGE_MAX, .slow_ns = 5 * NS_PER_MS};
	struct pages *g = pages_new(m, o, &conf);
	errint_t r = g == NULL ? -ENOMEM : 0;

	for (bool more = true; r == 0 && more;) {
		struct store_page p = {0};
		struct store_stat *heads = NULL;

		r = pages_next(g, &p, err);
		if (r < 0)
			break;
		more = p.truncated;
		*marker |= p.n != 0 && m->prefix_len != 0 && strcmp(p.e[0].key, o->o.key) == 0;
		r = heads_read(m, &p, &heads, err);
		if (r == 0)
			r = merge_page(m, &p, err);
		heads_done(&p, heads);
		if (r == 0 && !m->first)
			r = merge_note(a, m, &p);
		store_page_done(&p);
		if (r == 0 && more && m->but == NULL)
			m->j->conf.hooks.listed_more(m->j->conf.hooks.arg, m->dir);
	}
	pages_free(g);
	return r;
}

static errint_t list_objects(struct merge *m, struct err *err)
{
	struct objref o;
	bool marker = false;
	struct absent *a = calloc(1, sizeof(*a));
	errint_t r = objref_make(m->j, m->remote, m->prefix, &o, err);

	if (a == NULL)
		r = -ENOMEM;
	else
		*a = (struct absent){.m = m, .seed = (uint64_t)clock_now_ns()};
	m->prefix_len = r == 0 ? strlen(o.o.key) : 0;
	if (r == 0)
		r = list_pages(m, &o, a, &marker, err);
	if (r == 0 && !m->first && (m->but == NULL || !rename_hides(m->but)))
		r = merge_absent(m, a);
	if (r == 0)
		r = listed(m, marker);
	if (a != NULL)
		free(a->keys);
	free(a);
	return r;
}

/* The top of a remote without bucket: its buckets are directories. */
static errint_t list_buckets(struct merge *m, const struct remote *r, struct err *err)
{
	struct store_call call = {.cancel = &m->j->stopping, .front = m->but == NULL};
	char **names = NULL;
	size_t n = 0;
	errint_t e = store_bucket_list(r->st, &call, &names, &n, err);

	if (e < 0)
		return e;
	m->t = meta_begin(m->j->conf.meta);
	for (size_t i = 0; e == 0 && i < n; i++) {
		uint64_t ino = 0;
		char path[META_PATH_MAX + 1];
		struct meta_inode in;

		(void)snprintf(path, sizeof(path), "%s/", names[i]);
		if (meta_lookup(m->t, m->dir, names[i], &ino) == 0 || merge_hands_off(m, path))
			continue;
		e = merge_dir(m, names[i]);
		if (e == 0 && meta_lookup(m->t, m->dir, names[i], &ino) == 0 &&
			meta_inode_get(m->t, ino, &in) == 0) {
			in.flags |= META_F_BUCKET;
			e = meta_inode_put(m->t, &in);
		}
	}
	if (e < 0)
		meta_txn_fail(m->t, e);
	e = meta_commit(m->t);
	m->t = NULL;
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return e == 0 ? listed(m, false) : e;
}

static errint_t list_dir(struct merge *m, struct err *err)
{
	struct jobs *j = m->j;
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, m->dir, &in);

	if (r == 0 && (in.flags & META_F_ORPHAN) != 0)
		r = -ESTALE; /* what is at its prefix is not its own */
	if (r == 0)
		r = meta_dir_prefix(t, m->dir, &m->remote, m->prefix);
	meta_abort(t);
	if (r < 0)
		return err_set(err, r, ERR_FINAL, "directory: %s", strerror(-r));
	const struct remote *rem = remote_of(j, m->remote);

	m->first = in.nchild == 0;
	if (rem == NULL)
		return err_set(err, -ENODEV, ERR_FINAL, "its remote is not configured");
	m->list_meta = rem->caps.list_meta || rem->caps.head_meta;
	m->head_meta = m->list_meta && !rem->caps.list_meta;
	return (in.flags & META_F_ROOT) != 0 && rem->bucket[0] == '\0' ? list_buckets(m, rem, err)
								       : list_objects(m, err);
}

errint_t list_now(struct jobs *j, uint64_t dir, const struct job *but, struct err *err)
{
	struct merge m = {.j = j, .but = but, .dir = dir};

	m.seq = listing_begin(j); /* before its prefix is read: a move may end right after that */
	errint_t r = merge_left(&m);

	r = r < 0 ? err_set(err, r, ERR_RETRY, "out of memory") : list_dir(&m, err);
	merge_left_done(&m);
	listing_end(j);
	return r;
}

/* Who asked gets a bare number: the log says why. */
static void listing_tell(struct jobs *j, uint64_t dir, errint_t r, const struct err *err)
{
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	char path[META_PATH_MAX + 66] = "?", prefix[META_PATH_MAX + 1];
	const struct remote *rem;
	uint32_t remote = 0;

	(void)meta_path(t, dir, path, sizeof(path));
	(void)meta_dir_prefix(t, dir, &remote, prefix);
	meta_abort(t);
	rem = remote_of(j, remote);
	if (atomic_load(&j->stopping) || r == -ESTALE || rem == NULL ||
		!log_seldom("list %s %d %d %s", rem->name, r, (int)err->kind, err->code))
		log_debug("job", "%s cannot be listed: %s", path, err_text(err, r));
	else
		log_warn("job", "remote %s: %s cannot be listed: %s", rem->name, path,
			err_text(err, r));
}

static void listing_task(struct pool_task *task)
{
	struct listing *l = container_of(task, struct listing, task);
	struct jobs *j = l->jobs;
	struct job_waiter *w = NULL;
	struct err err = {0};
	errint_t r = list_now(j, l->dir, NULL, &err);

	if (r < 0)
		listing_tell(j, l->dir, r, &err);
	lock_take(&j->g.lock);
	HASH_DEL(j->g.listings, l);
	lock_drop(&j->g.lock);
	while ((w = TAILQ_FIRST(&l->waiters)) != NULL) {
		TAILQ_REMOVE(&l->waiters, w, link);
		w->armed = false;
		w->fn(w, r);
	}
	free(l);
	listing_end(j); /* the one of job_list: jobs_stop waits for it */
}

void job_list(struct jobs *j, uint64_t dir, struct job_waiter *w)
{
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	char prefix[META_PATH_MAX + 1];
	struct listing *l = NULL;
	uint32_t remote = 0;
	bool post = false;

	if (meta_dir_prefix(t, dir, &remote, prefix) < 0)
		remote = 0; /* the task finds out, and says so */
	meta_abort(t);
	lock_take(&j->g.lock);
	HASH_FIND(hh, j->g.listings, &dir, sizeof(dir), l);
	if (l == NULL) {
		l = calloc(1, sizeof(*l));
		if (l == NULL) {
			lock_drop(&j->g.lock);
			w->fn(w, -ENOMEM);
			return;
		}
		l->dir = dir;
		l->jobs = j;
		TAILQ_INIT(&l->waiters);
		pool_task_init(&l->task, LANE_FOREGROUND, listing_task);
		pool_task_share(
			&l->task, share_get_locked(j, SHARE_LISTINGS, remote, remote)->pool);
		HASH_ADD(hh, j->g.listings, dir, sizeof(l->dir), l);
		j->g.nlistings++;
		post = true;
	}
	w->ino = dir;
	w->armed = false; /* listings end by themselves: not to be cancelled */
	TAILQ_INSERT_TAIL(&l->waiters, w, link);
	lock_drop(&j->g.lock);
	if (post)
		(void)pool_post(j->conf.pool, &l->task);
}

void listing_free_all(struct jobs *j)
{
	LOCKED(&j->g.lock);
	assert(j->g.listings == NULL);
	stamps_clear_locked(j);
}
