/* SPDX-License-Identifier: MIT */
/*
 * fsync, fsyncdir, sync of a tree, and close when it must wait. In steps, each on a worker:
 *
 *	staging durable, row told, uploads posted --> jobs waited for --> index durable --> answer
 *
 * An upload starts only after a sync point that covers its record, and that makes staging durable
 * too: where one is waited for, staging is not synced here first.
 *
 * durability=local leaves out the jobs (c->own.what != 0). No deadline: how long an upload takes
 * is the cloud's affair; a signal ends the wait, and the jobs go on.
 */
#include "vfs_priv.h"

enum { SYNC_BEGIN, SYNC_POST, SYNC_DURABLE };

static bool want_below(struct vfs *v, struct meta_txn *t, const struct meta_inode *in, uint64_t dir)
{
	return dir == META_ROOT_INO || in->ino == dir || meta_is_below(t, in->ino, dir);
}

static bool want_child(struct vfs *v, struct meta_txn *t, const struct meta_inode *in, uint64_t dir)
{
	return dir == META_ROOT_INO || in->parent == dir;
}

/* A file that somebody has open, or symlink: its staging and row. */
static errint_t sync_file(struct vfs_call *c, const struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	struct vfs_node *n = c->own.node;
	struct meta_txn *t;
	bool upload = !c->own.what && !(in->flags & META_F_ORPHAN) && (in->flags & META_F_DIRTY);
	struct err err = {0};
	errint_t r = 0;

	if (n && in->kind == META_FILE && (in->flags & META_F_DIRTY))
		r = node_bind(v, n);
	if (r)
		return r;
	if (n && node_sf(n) && stage_dirty(node_sf(n))) {
		r = upload ? 0 : stage_sync(node_sf(n), &err);
		if (r) {
			log_error("vfs", "'%s': staging cannot be made durable: %s", in->name,
				err_text(&err, r));
			return r;
		}
		r = node_flush(v, n);
	}
	if (r || !upload)
		return r;
	t = meta_begin(v->conf.meta);
	r = job_upload(v->jobs, t, in->ino, true);
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

/* Everything dirty in a directory (one level), or below it. */
static errint_t sync_dir(struct vfs_call *c, const struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	struct err err = {0};
	errint_t r = stage_sync_all(v->conf.stage, &err);

	if (r) {
		log_error("vfs", "staging cannot be made durable: %s", err_text(&err, r));
		return r;
	}
	if (c->own.what)
		return 0;
	return dirty_post(v, c->own.off ? want_below : want_child, in->ino, true);
}

/* Arms the wait for the jobs; 0 = none, 1 = parked. */
static int sync_wait(struct vfs_call *c)
{
	const struct call_wait w = {.kind = WAIT_JOB, .forever = true, .interruptible = true};
	struct vfs *v = c->own.v;

	c->own.phase = SYNC_DURABLE;
	if (!call_arm(c, &w))
		return 1;
	job_hurry(v->jobs, c->own.ino);
	if (job_wait(v->jobs, c->own.ino, &c->own.waiter)) {
		call_armed(c);
		return 1;
	}
	call_disarm(c);
	return 0;
}

/* The index, on disk. Blocks: on a worker. */
static errint_t sync_index(struct vfs *v)
{
	struct err err = {0};
	errint_t r = meta_sync(v->conf.meta, &err);

	if (r)
		log_error("vfs", "the index cannot be made durable: %s", err_text(&err, r));
	return r;
}

void sync_run(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	errint_t r;

	if (c->own.phase == SYNC_BEGIN) {
		c->own.phase = SYNC_POST;
		call_later(c, LANE_SYNC); /* local disks block, too */
		return;
	}
	if (c->own.phase == SYNC_POST) {
		r = row_get(v, c->own.ino, &in);
		if (!r)
			r = in.kind == META_DIR ? sync_dir(c, &in) : sync_file(c, &in);
		if (r) {
			call_done(c, r == -ENOENT ? -ESTALE : r);
			return;
		}
		c->own.r = 0;
		c->own.waiter.lost = false;
		if (!c->own.what && !(in.flags & META_F_ORPHAN) && sync_wait(c))
			return;
	}
	r = c->own.r;
	if (!r)
		r = sync_index(v);
	if (!r && c->own.waiter.lost) /* what waits for a remote that was taken out */
		r = -ENODEV;
	/* Theirs keeps the name, ours became a conflict copy: said once. */
	call_done(c, r);
}

void vfs_fsync(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, bool datasync)
{
	assert(h && h->n);
	call_begin(v, c, sync_run);
	c->own.h = h;
	c->own.node = h->n;
	c->own.ino = h->ino;
	c->own.what = v->conf.durability == DURABLE_LOCAL;
	atomic_store(&h->wrote_since_commit, false);
	atomic_store(&h->synced, true);
	sync_run(c);
}

void vfs_sync(struct vfs *v, struct vfs_call *c, uint64_t ino)
{
	call_begin(v, c, sync_run);
	c->own.ino = ino;
	c->own.what = 0;
	c->own.off = 1; /* all below */
	if (call_node(c, ino)) {
		call_done(c, -ENOMEM);
		return;
	}
	sync_run(c);
}
