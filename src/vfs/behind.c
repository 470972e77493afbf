/* SPDX-License-Identifier: MIT */
/*
 * Rows that are behind their files. What a close leaves to be told to the index is a size and a
 * time, and staging has both: after a kill they are taken from there (dirty.c). So a close does not
 * pay for a transaction of its own; many files' rows are brought up to date in one, a tenth of a
 * second later at the latest. Until then the file stays in the table of what is open, so that
 * whoever asks through the mount is told by staging (row_now), and whoever reads rows himself calls
 * vfs_catch_up() first. Those that the index does not take stay, and are tried again.
 */
#include "vfs_priv.h"

#define BEHIND_NS  (NS_PER_S / 10)
#define BEHIND_RUN DIRTY_BATCH	     /* no later than when so many wait */
#define BEHIND_MAX (2 * DIRTY_BATCH) /* more are told at once */

errint_t row_behind(struct vfs *v, struct vfs_node *n)
{
	unsigned many;

	if (!node_sf(n) || !stage_dirty(node_sf(n)))
		return 0;
	lock_take(&v->open.lock);
	many = v->open.nbehind;
	if (!n->behind && many < BEHIND_MAX) {
		n->behind = true;
		n->refs++;
		STAILQ_INSERT_TAIL(&v->open.behind, n, behind_link);
		v->open.nbehind++;
	}
	many = n->behind ? v->open.nbehind : 0;
	lock_drop(&v->open.lock);
	if (!many)
		return node_flush(v, n);
	if (many == 1 || many == BEHIND_RUN)
		pool_post_at(v->conf.pool, &v->behind_task,
			clock_mono_ns() + (many == 1 ? BEHIND_NS : 0));
	return 0;
}

/* From here on a close of one of them says so anew. Whoever finds none on the list waits for those
 * that are being told by taking the writer, so they are taken with the writer held. */
static size_t take(struct vfs *v, struct vfs_node *ret[DIRTY_BATCH])
{
	size_t n = 0;
	LOCKED(&v->open.lock);

	while (n < DIRTY_BATCH && !STAILQ_EMPTY(&v->open.behind)) {
		ret[n] = STAILQ_FIRST(&v->open.behind);
		STAILQ_REMOVE_HEAD(&v->open.behind, behind_link);
		ret[n++]->behind = false;
		v->open.nbehind--;
	}
	v->open.ntelling += (unsigned)n;
	return n;
}

static bool is_any(struct vfs *v)
{
	LOCKED(&v->open.lock);
	return v->open.nbehind || v->open.ntelling;
}

static void told(struct vfs *v, size_t n)
{
	LOCKED(&v->open.lock);
	v->open.ntelling -= (unsigned)n;
}

static errint_t tell_txn(struct vfs *v, struct vfs_node *nodes[DIRTY_BATCH], size_t *ret_n)
{
	struct meta_txn *t = meta_begin(v->conf.meta);
	errint_t r = 0;

	*ret_n = take(v, nodes);
	for (size_t i = 0; i < *ret_n && !r; i++)
		r = node_flush_txn(v, t, nodes[i]);
	if (r || !*ret_n) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

/* The index does not take it: the file stays in the table, so that who asks is told what is so. */
static void again(struct vfs *v, struct vfs_node *n, errint_t r)
{
	bool has = false;

	if (log_seldom("behind %d", r))
		log_error("vfs", "inode %llu: size and time cannot be recorded now: %s",
			(unsigned long long)n->ino, strerrordesc_np(-r));
	lock_take(&v->open.lock);
	has = n->behind;
	if (!has) {
		n->behind = true;
		STAILQ_INSERT_TAIL(&v->open.behind, n, behind_link);
		v->open.nbehind++;
	}
	lock_drop(&v->open.lock);
	if (has)
		node_put(v, n);
	pool_post_at(v->conf.pool, &v->behind_task, clock_mono_ns() + NS_PER_S);
}

void vfs_catch_up(struct vfs *v)
{
	struct vfs_node *nodes[DIRTY_BATCH];
	bool failed = false;
	size_t n = 0;

	while (!failed && is_any(v)) {
		errint_t r = tell_txn(v, nodes, &n);

		for (size_t i = 0; i < n; i++) {
			errint_t one = r ? node_flush(v, nodes[i]) : 0;

			if (one)
				again(v, nodes[i], one);
			else
				node_put(v, nodes[i]);
			failed |= one != 0;
		}
		told(v, n);
		if (!n) /* and now those are told that somebody else had taken */
			return;
	}
}

void behind_run(struct pool_task *t)
{
	struct vfs *v = container_of(t, struct vfs, behind_task);

	lock_take(&v->lock);
	if (v->s.stopping) { /* vfs_stop() does it */
		lock_drop(&v->lock);
		return;
	}
	atomic_fetch_add(&v->background, 1);
	lock_drop(&v->lock);
	vfs_catch_up(v);
	atomic_fetch_sub(&v->background, 1);
}
