/* SPDX-License-Identifier: MIT */
/*
 * What a LIST page does not say of its objects, where the user wants to have it (caps.head_meta): a
 * HEAD for each that the index does not know in this version, side by side. The listing's task is
 * the first lane and asks for all of them if it has to; further lanes are tasks of their own share,
 * so that listings never wait for each other in them. Nobody waits for a lane that gets no worker:
 * it is taken back.
 */
#include <stdlib.h>
#include <string.h>

#include "merge.h"

#define LANES 12 /* besides the first */

struct heads;

struct lane {
	struct pool_task task;
	struct heads *h;
};

struct heads {
	struct merge *m;
	const struct store_page *p;
	struct store_stat *st; /* of each entry */
	size_t *due;	       /* owned; the entries that are asked for */
	size_t n;
	struct lane lanes[LANES];
	struct lock lock; /* RANK_JOB_PARTS */
	pthread_cond_t over;
	struct {
		size_t next;
		unsigned busy; /* lanes posted and not over */
		errint_t r;    /* the first failure; then no more is asked for */
		struct err err;
	} at; /* lock */
};

/* The index has this very version. */
static bool version_known(struct merge *m, struct meta_txn *t, const struct store_entry *e,
	const char *path, const char *name)
{
	uint64_t ino = 0;
	struct meta_inode in;

	return meta_lookup(t, m->dir, name, &ino) == 0 && meta_inode_get(t, ino, &in) == 0 &&
	       (in.flags & META_F_OBJECT) != 0 && in.loc.remote == m->remote &&
	       strcmp(in.loc.path, path) == 0 && e->etag != NULL &&
	       strcmp(in.loc.etag, e->etag) == 0;
}

static bool is_due(struct merge *m, const struct store_entry *e)
{
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;

	if (e->is_prefix || strlen(e->key) < m->prefix_len || !merge_name(m, e, path, name, &alias))
		return false;
	struct meta_txn *t = meta_begin_read(m->j->conf.meta);
	bool known = version_known(m, t, e, path, name);

	meta_abort(t);
	return !known && !merge_hands_off(m, path);
}

/* st stays empty where nothing can be had: then it is shown as one that has none. */
static errint_t head_read(
	struct merge *m, const struct store_entry *e, struct store_stat *st, struct err *err)
{
	struct objref o;
	struct store_call call = {.cancel = &m->j->stopping, .front = m->but == NULL};
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;

	if (!merge_name(m, e, path, name, &alias))
		return 0;
	errint_t r = objref_make(m->j, m->remote, path, &o, err);

	if (r == 0)
		r = store_head(o.st, &call, o.o, st, err);
	if (r < 0 &&
		(err->kind == ERR_NOT_FOUND || err->kind == ERR_FINAL || err->kind == ERR_AUTH)) {
		if (err->kind != ERR_NOT_FOUND)
			log_info("job", "'%s': its metadata cannot be read: %s", path,
				err_text(err, r));
		err_clear(err);
		return 0;
	}
	if (r == 0 && (e->etag == NULL || strcmp(st->etag, e->etag) != 0))
		store_stat_done(st); /* of another version: the next listing sees that one */
	return r;
}

static bool is_left_locked(const struct heads *h)
{
	lock_assert_held(&h->lock);
	return h->at.r == 0 && h->at.next < h->n;
}

/* False: none is left, or one has failed. */
static bool next_head(struct heads *h)
{
	struct err err = {0};
	size_t i = 0;

	{
		LOCKED(&h->lock);
		if (!is_left_locked(h))
			return false;
		i = h->due[h->at.next++];
	}
	errint_t r = atomic_load(&h->m->j->stopping)
			     ? err_set(&err, -ECANCELED, ERR_CANCELLED, "stopped")
			     : head_read(h->m, &h->p->e[i], &h->st[i], &err);
	LOCKED(&h->lock);

	if (r < 0 && h->at.r == 0) {
		h->at.r = r;
		h->at.err = err;
	}
	return is_left_locked(h);
}

/* One at a time: then it goes behind the other tasks of the share. */
static void lane_task(struct pool_task *t)
{
	struct lane *l = container_of(t, struct lane, task);
	struct heads *h = l->h;
	bool more = next_head(h);
	LOCKED(&h->lock);

	if (more && is_left_locked(h)) {
		(void)pool_post(h->m->j->conf.pool, &l->task);
		return;
	}
	h->at.busy--;
	(void)pthread_cond_signal(&h->over);
}

static void lanes_start(struct heads *h)
{
	struct jobs *j = h->m->j;
	struct pool_share *share = NULL;
	{
		LOCKED(&j->g.lock);
		share = share_get_locked(j, SHARE_ASKS, h->m->remote, h->m->remote)->pool;
	}
	LOCKED(&h->lock);
	for (size_t i = 0; i < LANES && i + 1 < h->n; i++) {
		struct lane *l = &h->lanes[i];

		l->h = h;
		pool_task_init(
			&l->task, h->m->but == NULL ? LANE_FOREGROUND : LANE_BACKGROUND, lane_task);
		pool_task_share(&l->task, share);
		h->at.busy++;
		(void)pool_post(j->conf.pool, &l->task);
	}
}

/* None posts itself again: nothing is left, or one has failed. */
static void lanes_end(struct heads *h)
{
	LOCKED(&h->lock);

	for (size_t i = 0; i < LANES && i + 1 < h->n; i++)
		h->at.busy -= pool_cancel(h->m->j->conf.pool, &h->lanes[i].task);
	while (h->at.busy > 0)
		cond_wait(&h->over, &h->lock);
}

static errint_t ask_all(struct heads *h, struct err *err)
{
	lock_init(&h->lock, RANK_JOB_PARTS, "job.heads");
	cond_init(&h->over);
	lanes_start(h);
	while (next_head(h))
		;
	lanes_end(h);
	(void)pthread_cond_destroy(&h->over);
	lock_done(&h->lock);
	if (h->at.r < 0)
		*err = h->at.err;
	return h->at.r;
}

errint_t heads_read(struct merge *m, struct store_page *p, struct store_stat **ret, struct err *err)
{
	*ret = NULL;
	if (!m->head_meta)
		return 0;
	struct store_stat *st = calloc(p->n + 1, sizeof(*st));
	struct heads *h = calloc(1, sizeof(*h));
	errint_t r = 0;

	if (h != NULL)
		h->due = calloc(p->n + 1, sizeof(*h->due));
	if (st == NULL || h == NULL || h->due == NULL) {
		r = err_set(err, -ENOMEM, ERR_RETRY, "out of memory");
	} else {
		h->m = m;
		h->p = p;
		h->st = st;
		for (size_t i = 0; i < p->n; i++)
			if (is_due(m, &p->e[i]))
				h->due[h->n++] = i;
		r = h->n != 0 ? ask_all(h, err) : 0;
	}
	for (size_t i = 0; st != NULL && i < p->n; i++) {
		p->e[i].meta = st[i].meta;
		p->e[i].nmeta = st[i].nmeta;
		if (p->e[i].class_name == NULL && st[i].class_name[0] != '\0')
			p->e[i].class_name = st[i].class_name;
	}
	if (h != NULL)
		free(h->due);
	free(h);
	*ret = st;
	return r;
}

void heads_done(const struct store_page *p, struct store_stat *st)
{
	for (size_t i = 0; st != NULL && i < p->n; i++)
		store_stat_done(&st[i]);
	free(st);
}
