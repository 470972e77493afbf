/* SPDX-License-Identifier: MIT */
/*
 * Names that come and go: mkdir, symlink, unlink, rmdir. Each is one index transaction that
 * changes the tree at once and tells the job room in the same breath; only buckets, where a remote
 * shows them as directories, are made and removed before the index says so.
 */
#include "vfs_priv.h"

#include <sys/xattr.h>

bool ns_buckets_here(struct vfs *v, const struct meta_inode *dir)
{
	const struct remote *r;

	if (!(dir->flags & META_F_ROOT) || dir->parent != META_ROOT_INO)
		return false;
	for (size_t i = 0; i < v->conf.nremotes; i++) {
		r = &v->conf.remotes[i];
		if (!strcmp(r->name, dir->name))
			return !*r->bucket;
	}
	return false;
}

/* Who is refused gets a bare number: the log says why. */
static errint_t place_no(const struct meta_inode *parent, const char *name, const char *why)
{
	if (log_seldom("place %llu %s", (unsigned long long)parent->ino, name))
		log_warn("vfs", "'%s' cannot be made in /%s: %s", name, parent->name, why);
	return -EPERM;
}

errint_t ns_place_ok(struct vfs *v, struct meta_txn *t, const struct meta_inode *parent,
	const char *name, enum meta_kind kind)
{
	if (parent->kind != META_DIR)
		return -ENOTDIR;
	if (parent->flags & META_F_ORPHAN)
		return -ENOENT;
	if (parent->ino == META_ROOT_INO)
		return place_no(
			parent, name, "there are only remotes, which come from the configuration");
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (ns_buckets_here(v, parent) && kind != META_DIR)
		return place_no(parent, name,
			"there are only buckets: make one (mkdir), and what is no directory in it");
	if ((parent->flags & (META_F_ROOT | META_F_BUCKET)) && !strcmp(name, NAME_TMP))
		return place_no(parent, name, "the name is for objects of astrafs itself");
	return 0;
}

errint_t ns_key_ok(struct vfs *v, struct meta_txn *t, uint64_t ino, size_t longest_below)
{
	char path[META_PATH_MAX + 1];
	uint32_t remote;
	size_t len;
	errint_t r = meta_desired(t, ino, &remote, path);

	if (r)
		return r;
	len = strlen(path);
	if (longest_below > META_PATH_MAX - len)
		return -ENAMETOOLONG;
	memset(path + len, 'x', longest_below);
	path[len + longest_below] = '\0';
	return job_path_ok(v->jobs, remote, path);
}

void ns_touch_dir(struct meta_txn *t, uint64_t dir)
{
	struct meta_inode d;

	if (meta_inode_get(t, dir, &d))
		return;
	d.mtime_ns = d.ctime_ns = clock_now_ns();
	(void)meta_inode_put(t, &d);
}

void ns_lost_entry(struct vfs *v, struct meta_txn *t, uint64_t parent)
{
	struct meta_inode d;
	errint_t r;

	ns_touch_dir(t, parent);
	if (meta_inode_get(t, parent, &d) || d.nchild ||
		(d.flags & (META_F_ROOT | META_F_BUCKET | META_F_ORPHAN)))
		return;
	r = job_emptied_dir(v->jobs, t, parent);
	if (r)
		meta_txn_fail(t, r);
}

errint_t ns_make(struct vfs_call *c, struct meta_txn *t, enum meta_kind kind, uint32_t mode,
	const char *target, struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	struct meta_inode dir;
	uint64_t other;
	int64_t now = clock_now_ns();
	errint_t r;

	if (!meta_has_room(v->conf.meta))
		return -ENOSPC;
	r = meta_inode_get(t, c->own.ino, &dir);
	if (!r)
		r = ns_place_ok(v, t, &dir, c->own.name, kind);
	if (r)
		return r;
	r = meta_lookup(t, c->own.ino, c->own.name, &other);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	memset(in, 0, sizeof(*in));
	in->ino = meta_ino_next(t);
	in->kind = kind;
	in->mode = mode;
	in->uid = c->uid;
	in->gid = (dir.mode & S_ISGID) ? dir.gid : c->gid;
	if (kind == META_DIR)
		in->mode |= dir.mode & S_ISGID;
	in->atime_ns = in->mtime_ns = in->ctime_ns = in->btime_ns = now;
	in->tier = TIER_HOT;
	in->tier_since_ns = now;
	in->version = 1;
	if (dir.flags & META_F_PINNED) {
		in->flags |= META_F_PINNED;
		in->forced_tier = dir.forced_tier;
	}
	if (kind == META_DIR && dir.listed_at_ns > v->listed_epoch_ns)
		in->listed_at_ns = now; /* nothing is below a name that was not there */
	if (kind == META_SYMLINK) {
		in->size = strlen(target);
		memcpy(in->symlink, target, in->size + 1);
	}
	if (kind != META_DIR)
		in->flags |= META_F_DIRTY;
	if (kind == META_DIR && ns_buckets_here(v, &dir))
		in->flags |= META_F_BUCKET;
	r = meta_link(t, in, c->own.ino, c->own.name);
	if (!r)
		r = ns_key_ok(v, t, in->ino, 0);
	if (!r)
		ns_touch_dir(t, c->own.ino);
	return r;
}

/* Reads the directory's row, waits until it was listed. 0, 1 = parked, -errno. */
static int parent_ready(struct vfs_call *c, struct meta_inode *dir)
{
	int w = dir_ready(c, c->own.ino);
	errint_t r;

	if (w)
		return w;
	r = row_get(c->own.v, c->own.ino, dir);
	return r == -ENOENT ? -ESTALE : r;
}

static bool begin_named(struct vfs *v, struct vfs_call *c, void (*run)(struct vfs_call *c),
	uint64_t parent, const char *name)
{
	size_t len = strlen(name);

	call_begin(v, c, run);
	c->own.ino = parent;
	if (v->conf.ro || len > META_NAME_MAX) {
		call_done(c, v->conf.ro ? -EROFS : -ENAMETOOLONG);
		return false;
	}
	memcpy(c->own.name, name, len + 1);
	return true;
}

/* ---- mkdir ---- */

/* At the remote. */
static errint_t bucket_create(struct vfs_call *c, const struct meta_inode *dir)
{
	struct vfs *v = c->own.v;
	struct store_call sc = {.deadline_mono_ns = clock_mono_ns() + v->conf.io_deadline_ns,
		.cancel = &v->cancel,
		.front = true};
	struct err err = {0};
	errint_t r = -EIO;

	for (size_t i = 0; i < v->conf.nremotes; i++) {
		if (strcmp(v->conf.remotes[i].name, dir->name))
			continue;
		r = store_bucket_create(v->conf.remotes[i].st, &sc, c->own.name, &err);
		if (r && r != -EEXIST)
			log_warn("vfs", "bucket '%s' of %s cannot be created: %s", c->own.name,
				dir->name, err_text(&err, r));
	}
	return r == -ETIMEDOUT || r == -ECANCELED ? -EIO : r;
}

static errint_t mkdir_txn(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode in;
	errint_t r;

	r = ns_make(c, t, META_DIR, S_IFDIR | (c->own.mode & 07777 & ~c->umask), NULL, &in);
	if (r)
		return r;
	if (in.flags & META_F_BUCKET) {
		in.listed_at_ns = clock_now_ns();
		r = meta_inode_put(t, &in);
	} else {
		r = job_made_dir(v->jobs, t, &in);
	}
	if (r)
		return r;
	r = meta_commit(steal_ptr(&t));
	return r ? r : attr_answer(c, &in);
}

static void run_mkdir(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_inode dir;
	int r;

	if (c->own.phase == 0 && call_held(c))
		return;
	r = parent_ready(c, &dir);
	if (r == 1)
		return;
	if (!r && ns_buckets_here(v, &dir) && c->own.phase == 0) {
		if (!call_is_at_remote(c)) {
			call_at_remote(c, dir.loc.remote);
			return;
		}
		r = bucket_create(c, &dir);
		c->own.phase = 1;
	}
	if (!r)
		r = mkdir_txn(c);
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_mkdir(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name, uint32_t mode)
{
	if (!begin_named(v, c, run_mkdir, parent, name))
		return;
	c->own.mode = mode;
	run_mkdir(c);
}

/* ---- symlink ---- */

static errint_t symlink_txn(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode in;
	errint_t r = ns_make(c, t, META_SYMLINK, S_IFLNK | 0777, c->own.mem, &in);

	if (r)
		return r;
	r = meta_commit(steal_ptr(&t));
	if (r)
		return r;
	dirty_event(v, in.ino, DIRTY_CHANGE);
	return attr_answer(c, &in);
}

static void run_symlink(struct vfs_call *c)
{
	struct meta_inode dir;
	int r = parent_ready(c, &dir);

	if (r == 1)
		return;
	if (!r)
		r = symlink_txn(c);
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_symlink(
	struct vfs *v, struct vfs_call *c, const char *target, uint64_t parent, const char *name)
{
	if (!begin_named(v, c, run_symlink, parent, name))
		return;
	if (strlen(target) > META_SYMLINK_MAX) {
		call_done(c, -ENAMETOOLONG);
		return;
	}
	c->own.mem = strdup(target);
	if (!c->own.mem)
		call_done(c, -ENOMEM);
	else
		run_symlink(c);
}

/* ---- unlink ---- */

/* The row behind parent/name; 0, 1 = parked (the directory is being listed), -errno. */
static int entry_get(struct vfs_call *c, struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	uint64_t ino = 0;
	errint_t r = meta_lookup(t, c->own.ino, c->own.name, &ino);

	if (!r)
		r = meta_inode_get(t, ino, in);
	meta_abort(t);
	if (r == -ENOENT) {
		int w = dir_ready(c, c->own.ino);

		if (w)
			return w;
	}
	return r;
}

static errint_t unlink_txn(struct vfs_call *c, struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	uint64_t ino;
	errint_t r = meta_lookup(t, c->own.ino, c->own.name, &ino);

	if (!r)
		r = meta_inode_get(t, ino, in);
	if (!r && in->kind == META_DIR)
		r = -EISDIR;
	if (r)
		return r;
	in->ctime_ns = clock_now_ns();
	r = meta_unlink(t, in);
	if (!r) {
		node_orphan_set(v, ino, true);
		job_foreground(v->jobs);
		r = job_removed(v->jobs, t, in);
	}
	if (!r) {
		ns_lost_entry(v, t, c->own.ino);
		r = meta_commit(steal_ptr(&t));
	}
	if (r)
		node_orphan_set(v, ino, false);
	return r;
}

static void run_unlink(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	int r;

	if (call_held(c))
		return;
	r = entry_get(c, &in);
	if (r == 1)
		return;
	if (!r) {
		atomic_fetch_add(&v->removing, 1);
		r = unlink_txn(c, &in);
		atomic_fetch_sub(&v->removing, 1);
		if (!r) {
			dirty_turned(v, in.ino);
			dirty_forget(v, in.ino);
		}
	}
	call_done(c, r);
}

void vfs_unlink(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name)
{
	if (begin_named(v, c, run_unlink, parent, name))
		run_unlink(c);
}

/* ---- rmdir ---- */

static errint_t rmdir_check(const struct meta_inode *in)
{
	if (in->kind != META_DIR)
		return -ENOTDIR;
	if (in->parent == META_ROOT_INO) {
		log_warn("vfs",
			"/%s cannot be removed: a remote goes with its section of the "
			"configuration",
			in->name);
		return -EPERM;
	}
	return in->nchild ? -ENOTEMPTY : 0;
}

static errint_t rmdir_txn(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode in;
	uint64_t ino;
	errint_t r = meta_lookup(t, c->own.ino, c->own.name, &ino);

	if (!r)
		r = meta_inode_get(t, ino, &in);
	if (!r)
		r = rmdir_check(&in);
	if (!r && !(in.flags & META_F_BUCKET)) /* where its marker is, once it has no path */
		r = job_pin_prefix(v->jobs, t, &in);
	if (!r)
		r = meta_unlink(t, &in);
	if (r)
		return r;
	r = (in.flags & META_F_BUCKET) ? meta_inode_del(t, ino) : job_removed_dir(v->jobs, t, &in);
	if (r)
		return r;
	ns_lost_entry(v, t, c->own.ino);
	return meta_commit(steal_ptr(&t));
}

/* A bucket goes when its jobs are over. 0, 1 = parked, -errno. */
static int bucket_remove(struct vfs_call *c, const struct meta_inode *in)
{
	const struct call_wait w = {.kind = WAIT_JOB, .on_timeout = -EIO, .interruptible = true};
	struct vfs *v = c->own.v;
	struct store_call sc = {.cancel = &v->cancel, .front = true};
	struct meta_inode dir;
	struct err err = {0};
	errint_t r = row_get(v, c->own.ino, &dir);

	if (r)
		return r;
	if (c->own.phase == 0) {
		c->own.phase = 1;
		if (!call_arm(c, &w))
			return 1;
		job_hurry(v->jobs, in->ino);
		if (job_wait(v->jobs, in->ino, &c->own.waiter)) {
			call_armed(c);
			return 1;
		}
		call_disarm(c);
	}
	if (!call_is_at_remote(c)) {
		call_at_remote(c, dir.loc.remote);
		return 1;
	}
	sc.deadline_mono_ns = clock_mono_ns() + v->conf.io_deadline_ns;
	for (size_t i = 0; i < v->conf.nremotes; i++) {
		if (strcmp(v->conf.remotes[i].name, dir.name))
			continue;
		r = store_bucket_remove(v->conf.remotes[i].st, &sc, in->name, &err);
		if (r && r != -ENOENT && r != -ENOTEMPTY)
			log_warn("vfs", "bucket '%s' of %s cannot be removed: %s", in->name,
				dir.name, err_text(&err, r));
	}
	if (r == -ENOTEMPTY) { /* it holds what is not shown yet */
		log_warn("vfs", "bucket '%s' of %s is not empty: it is listed again", in->name,
			dir.name);
		dir_list_background(v, in->ino);
	}
	return r == -ENOENT ? 0 : r == -ETIMEDOUT || r == -ECANCELED ? -EIO : r;
}

static void run_rmdir(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	int r;

	if (c->own.phase == 0 && call_held(c))
		return;
	r = entry_get(c, &in);
	if (!r && in.kind == META_DIR && !in.nchild) {
		r = dir_ready(c, in.ino);
		if (!r)
			r = row_get(v, in.ino, &in);
	}
	if (!r)
		r = rmdir_check(&in);
	if (!r && (in.flags & META_F_BUCKET))
		r = bucket_remove(c, &in);
	if (r == 1)
		return;
	if (!r) {
		atomic_fetch_add(&v->removing, 1);
		r = rmdir_txn(c);
		atomic_fetch_sub(&v->removing, 1);
	}
	call_done(c, r);
}

void vfs_rmdir(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name)
{
	if (begin_named(v, c, run_rmdir, parent, name))
		run_rmdir(c);
}
