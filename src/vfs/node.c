/* SPDX-License-Identifier: MIT */
/*
 * Inodes in use: reference counted, one struct for each, made when something is opened, changed
 * or fetched. Memory follows what is open, not what exists.
 *
 * Marking. A row says META_F_DIRTY before the first changed byte is acknowledged, and keeps saying
 * so until an upload made all of it true. A write therefore goes: node_mark, stage_write,
 * node_mark_check, answer. The last step matters when an upload ends just then: while a job has the
 * inode it looks with the writer mutex held, under which uploads clean staging and row together.
 * When the change fails, or a kill comes before it, the mark says too much: the upload that is due
 * then finds nothing to send and takes it back. So a mark changes nothing else in the row; size and
 * time are in the staging.
 */
#include <stdio.h>

#include "vfs_priv.h"

errint_t row_get(struct vfs *v, uint64_t ino, struct meta_inode *ret)
{
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	errint_t r = meta_inode_get(t, ino, ret);

	meta_abort(t);
	return r;
}

const char *path_tell(struct vfs *v, uint64_t ino, char ret[META_PATH_MAX + 66])
{
	struct meta_txn *t = meta_begin_read(v->conf.meta);

	if (meta_path(t, ino, ret, META_PATH_MAX + 66))
		(void)snprintf(
			ret, META_PATH_MAX + 66, "(removed, inode %llu)", (unsigned long long)ino);
	meta_abort(t);
	return ret;
}

/* ---- the table ---- */

static struct vfs_node *node_new(struct vfs *v, uint64_t ino)
{
	struct vfs_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->ino = ino;
	n->v = v;
	n->refs = 1;
	atomic_store(&n->bind_asked, 1);
	atomic_store(&n->ahead_at, v->jobs ? job_ahead_min(v->jobs) : UINT64_MAX);
	lock_init(&n->lock, RANK_INODE, "node");
	TAILQ_INIT(&n->open);
	TAILQ_INIT(&n->io.fetches);
	TAILQ_INIT(&n->io.held);
	TAILQ_INIT(&n->io.waiters);
	pool_task_init(&n->rest_task, LANE_BACKGROUND, rest_run);
	return n;
}

static void node_free(struct vfs_node *n)
{
	struct meta_bump b = {.ino = n->ino, .cloud_bytes = atomic_load(&n->cloud_bytes)};

	assert(TAILQ_EMPTY(&n->io.fetches) && TAILQ_EMPTY(&n->io.waiters));
	if (b.cloud_bytes) { /* fetched ahead: no access, but paid for */
		b.when_ns = clock_now_ns();
		meta_access_bump(n->v->conf.meta, &b);
	}
	held_drop_all(n);
	stage_put(node_sf(n));
	lock_done(&n->lock);
	free(n);
}

struct vfs_node *node_get(struct vfs *v, uint64_t ino)
{
	struct vfs_node *n, *fresh = NULL;

	for (;;) {
		lock_take(&v->open.lock);
		HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
		if (n) {
			n->refs++;
		} else if (fresh) {
			n = steal_ptr(&fresh);
			HASH_ADD(hh, v->open.nodes, ino, sizeof(ino), n);
		}
		lock_drop(&v->open.lock);
		if (n)
			break;
		fresh = node_new(v, ino);
		if (!fresh)
			return NULL;
	}
	if (fresh)
		node_free(fresh);
	return n;
}

void node_ref(struct vfs *v, struct vfs_node *n)
{
	LOCKED(&v->open.lock);

	assert(n->refs);
	n->refs++;
}

void node_put(struct vfs *v, struct vfs_node *n)
{
	bool last;

	lock_take(&v->open.lock);
	assert(n->refs);
	last = --n->refs == 0;
	if (last)
		HASH_DEL(v->open.nodes, n);
	if (last && n->holds) {
		TAILQ_REMOVE(&v->open.holds, n, holds_link);
		v->open.nholds--;
	}
	lock_drop(&v->open.lock);
	if (last)
		node_free(n);
}

errint_t call_node(struct vfs_call *c, uint64_t ino)
{
	if (c->own.node_ref)
		return 0;
	c->own.node = node_get(c->own.v, ino);
	if (!c->own.node)
		return -ENOMEM;
	c->own.node_ref = true;
	return 0;
}

void node_orphan_set(struct vfs *v, uint64_t ino, bool orphan)
{
	struct vfs_node *n;
	LOCKED(&v->open.lock);

	HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
	if (n)
		n->orphan = orphan;
}

uint32_t node_dep_remote(struct vfs *v, struct vfs_node *n)
{
	LOCKED(&v->open.lock);
	return n->dep_remote;
}

void node_dep_set(struct vfs *v, struct vfs_node *n, const struct meta_inode *in)
{
	LOCKED(&v->open.lock);

	n->dep_remote = in->loc.remote;
	n->orphan = in->flags & META_F_ORPHAN;
	n->complete = false;
}

void node_incomplete(struct vfs *v, uint64_t ino)
{
	struct vfs_node *n;
	LOCKED(&v->open.lock);

	HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
	if (n)
		n->complete = false;
}

bool node_any_closed(struct vfs *v)
{
	struct vfs_node *n, *more;
	LOCKED(&v->open.lock);

	HASH_ITER (hh, v->open.nodes, n, more) {
		if (TAILQ_EMPTY(&n->open) && node_sf(n))
			return true;
	}
	return false;
}

bool version_seen(struct vfs *v, uint64_t ino, uint64_t version)
{
	size_t i = (size_t)((ino * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % VERSIONS;
	bool same;
	LOCKED(&v->open.lock);

	same = v->open.seen[i].ino == ino && v->open.seen[i].version == version;
	v->open.seen[i].ino = ino;
	v->open.seen[i].version = version;
	return same;
}

/* Just uploaded, and the row about to become clean: the size is the file's all the same. */
static void overlay(struct stage_file *sf, struct meta_inode *in)
{
	int64_t mtime = stage_mtime(sf);

	in->size = stage_size(sf);
	if (mtime == 1 && !in->mtime_ns)
		return; /* how staging says 0, which means "never set" there */
	if (mtime && (mtime > in->mtime_ns || stage_dirty(sf))) {
		in->mtime_ns = mtime;
		in->ctime_ns = MAX_OF(in->ctime_ns, mtime);
	}
}

void node_overlay(struct vfs *v, struct meta_inode *in)
{
	struct vfs_node *n;
	struct stage_file *sf;
	LOCKED(&v->open.lock);

	HASH_FIND(hh, v->open.nodes, &in->ino, sizeof(in->ino), n);
	sf = n ? node_sf(n) : NULL;
	if (sf && stage_dirty(sf))
		overlay(sf, in);
}

/* Of one that begins just now, and will be bound, staging says nothing. */
static bool is_bound(struct stage_file *sf)
{
	char etag[META_ETAG_MAX];
	uint64_t size;

	stage_base_get(sf, etag, &size);
	return *etag || stage_dirty(sf);
}

void row_now(struct vfs *v, struct meta_inode *in)
{
	struct vfs_node *n;
	struct stage_file *sf;
	struct meta_inode row;

	if (in->kind != META_FILE || !(in->flags & META_F_DIRTY))
		return;
	lock_take(&v->open.lock);
	HASH_FIND(hh, v->open.nodes, &in->ino, sizeof(in->ino), n);
	sf = n ? node_sf(n) : NULL;
	if (sf && !is_bound(sf))
		sf = NULL;
	if (sf)
		overlay(sf, in);
	lock_drop(&v->open.lock);
	/* It left the table after its row was told, which may have been after `in` was read. */
	if (sf || row_get(v, in->ino, &row))
		return;
	in->size = row.size;
	in->mtime_ns = row.mtime_ns;
	in->ctime_ns = row.ctime_ns;
}

/* ---- staging and base ---- */

/* *ret_fresh: the staging file was made just now. */
static errint_t node_stage(
	struct vfs *v, struct vfs_node *n, const struct meta_inode *in, bool *ret_fresh)
{
	struct stage_file *sf = NULL;
	errint_t r;
	LOCKED(&n->lock);

	*ret_fresh = false;
	if (node_sf(n))
		return 0;
	r = stage_get(v->conf.stage, n->ino, false, &sf);
	if (r == -ENOENT) {
		/* Dirty content that is not here cannot be had anywhere. */
		if ((in->flags & META_F_DIRTY) && !(in->flags & META_F_BASE) && in->size) {
			log_error("vfs", "inode %llu: staged content of %llu bytes is missing",
				(unsigned long long)n->ino, (unsigned long long)in->size);
			return -EIO;
		}
		*ret_fresh = true;
		r = stage_get(v->conf.stage, n->ino, true, &sf);
	}
	if (r == -EBADMSG) {
		log_error("vfs", "inode %llu: staging is damaged", (unsigned long long)n->ino);
		return -EIO;
	}
	if (!r)
		atomic_store_explicit(&n->sf, sf, memory_order_release);
	return r;
}

/* A dirty file's base changes only by its own uploads. */
static bool base_differs(struct stage_file *sf, const struct meta_inode *in, bool fresh)
{
	char etag[META_ETAG_MAX];
	uint64_t size;

	if ((in->flags & META_F_DIRTY) && !fresh)
		return false;
	if (!(in->flags & META_F_OBJECT) || !(in->flags & META_F_BASE))
		return false;
	stage_base_get(sf, etag, &size);
	if (strcmp(etag, in->loc.etag))
		return true;
	return size != in->size && !stage_dirty(sf);
}

errint_t node_bind(struct vfs *v, struct vfs_node *n)
{
	struct meta_inode in;
	struct meta_txn *t;
	bool fresh;
	uint64_t ask = atomic_load_explicit(&n->bind_asked, memory_order_acquire);
	errint_t r;

	if (atomic_load_explicit(&n->bound, memory_order_acquire) == ask)
		return 0;
	r = row_get(v, n->ino, &in);
	if (!r && in.kind != META_FILE)
		r = -EINVAL;
	if (!r)
		r = node_stage(v, n, &in, &fresh);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (base_differs(node_sf(n), &in, fresh)) {
		/* With the writer held nothing can be uploaded or moved in between. */
		t = meta_begin(v->conf.meta);
		r = meta_inode_get(t, n->ino, &in);
		if (!r && base_differs(node_sf(n), &in, fresh))
			r = stage_base(node_sf(n), in.loc.etag, in.size);
		meta_abort(t);
	}
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (in.flags & (META_F_ARCHIVED | META_F_ORPHAN))
		stage_keep(node_sf(n)); /* what is here cannot be had again, or not for long */
	node_dep_set(v, n, &in);
	/* Asked again meanwhile: then this is not yet enough for the next one. */
	atomic_store_explicit(&n->bound, ask, memory_order_release);
	return 0;
}

void node_unbind(struct vfs_node *n)
{
	atomic_fetch_add_explicit(&n->bind_asked, 1, memory_order_acq_rel);
}

/* ---- marking ---- */

static errint_t mark_txn(struct vfs *v, struct vfs_node *n)
{
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode in;
	errint_t r = meta_inode_get(t, n->ino, &in);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (in.flags & META_F_DIRTY)
		return 0;
	/* Somebody's version came since it was bound. From here on the row says that ours replaces
	 * it: then it is that one that is changed. */
	if (!stage_dirty(node_sf(n)) && base_differs(node_sf(n), &in, false))
		r = stage_base(node_sf(n), in.loc.etag, in.size);
	if (r)
		return r;
	in.flags |= META_F_DIRTY;
	(void)meta_inode_put(t, &in);
	return meta_commit(steal_ptr(&t));
}

errint_t node_mark(struct vfs *v, struct vfs_node *n)
{
	struct meta_inode in;
	errint_t r;

	/* Staging is dirty only after a mark, and most writes are not the first. */
	if (stage_dirty(node_sf(n)))
		return 0;
	if (!row_get(v, n->ino, &in) && (in.flags & META_F_DIRTY))
		return 0;
	if (!meta_has_room(v->conf.meta))
		return -ENOSPC;
	r = mark_txn(v, n);
	if (!r)
		dirty_event(v, n->ino, DIRTY_WRITE);
	return r;
}

errint_t node_mark_check(struct vfs *v, struct vfs_node *n)
{
	struct meta_inode in;
	errint_t r = 0;

	if (!job_live(v->jobs, n->ino))
		r = row_get(v, n->ino, &in);
	else
		in.flags = 0;
	if (!r && !(in.flags & META_F_DIRTY))
		r = mark_txn(v, n);
	dirty_event(v, n->ino, DIRTY_WRITE);
	return r == -ENOENT ? -ESTALE : r;
}

errint_t node_flush_txn(struct vfs *v, struct meta_txn *t, struct vfs_node *n)
{
	struct meta_inode in, now;
	errint_t r = meta_inode_get(t, n->ino, &in);

	if (r || !(in.flags & META_F_DIRTY))
		return r == -ENOENT ? 0 : r;
	now = in;
	node_overlay(v, &now);
	if (now.size == in.size && now.mtime_ns == in.mtime_ns)
		return 0;
	return meta_inode_put(t, &now);
}

errint_t node_flush(struct vfs *v, struct vfs_node *n)
{
	struct stage_file *sf = node_sf(n);
	struct meta_inode in, now;
	struct meta_txn *t;
	errint_t r;

	if (!sf || !stage_dirty(sf))
		return 0;
	r = row_get(v, n->ino, &in);
	if (r)
		return r == -ENOENT ? 0 : r;
	now = in;
	node_overlay(v, &now);
	if (now.size == in.size && now.mtime_ns == in.mtime_ns)
		return 0;
	t = meta_begin(v->conf.meta);
	r = node_flush_txn(v, t, n);
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}
