/* SPDX-License-Identifier: MIT */
/* What a row looks like from outside, and the calls that ask for or change it. */
#include "vfs_priv.h"

#define ATTR_TIMEOUT_MAX_S 10.0
#define BLOCK_SIZE	   4096u
#define FAKE_BYTES	   (UINT64_C(1) << 50) /* statfs: clouds do not fill up */
#define FAKE_FILES	   (UINT64_C(1) << 40)

static struct timespec ts_of(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += NS_PER_S;
	}
	return ts;
}

static int64_t ns_of(const struct timespec *ts)
{
	int64_t ns;

	/* Years beyond 1677..2262 are held at the border. */
	if (__builtin_mul_overflow((int64_t)ts->tv_sec, NS_PER_S, &ns) ||
		__builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
		return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

/* Of what states none of its own: as the options of this mount say. */
static uint32_t mode_of(const struct vfs *v, const struct meta_inode *in)
{
	if (!(in->flags & META_F_FOREIGN) || in->kind == META_SYMLINK)
		return in->mode;
	return (in->mode & S_IFMT) | ((in->kind == META_DIR ? 0777 : 0666) & ~v->conf.umask);
}

void attr_of(struct vfs *v, const struct meta_inode *in, struct vfs_attr *ret)
{
	struct stat *st = &ret->st;
	double ttl = (double)v->conf.metadata_ttl_ns / (double)NS_PER_S;

	memset(ret, 0, sizeof(*ret));
	st->st_ino = in->ino;
	st->st_mode = mode_of(v, in);
	st->st_nlink = in->nlink;
	if (in->flags & META_F_ORPHAN)
		st->st_nlink = 0;
	st->st_uid = (in->flags & META_F_FOREIGN) ? v->conf.uid : in->uid;
	st->st_gid = (in->flags & META_F_FOREIGN) ? v->conf.gid : in->gid;
	st->st_size = (off_t)in->size;
	if (in->kind == META_DIR)
		st->st_size = BLOCK_SIZE;
	else if (in->kind == META_SYMLINK)
		st->st_size = (off_t)strlen(in->symlink);
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks =
		(blkcnt_t)((uint64_t)st->st_size / 512 + ((uint64_t)st->st_size % 512 != 0));
	st->st_atim = ts_of(in->atime_ns);
	st->st_mtim = ts_of(in->mtime_ns);
	st->st_ctim = ts_of(in->ctime_ns);
	/* What changes in the clouds is told by the notifier; this is the net below it. */
	ret->attr_timeout = ret->entry_timeout = MIN_OF(ttl, ATTR_TIMEOUT_MAX_S);
}

errint_t attr_answer(struct vfs_call *c, const struct meta_inode *in)
{
	struct vfs *v = c->own.v;

	if (in->kind == META_FILE && (in->flags & META_F_DIRTY)) {
		struct meta_inode now = *in;

		row_now(v, &now);
		attr_of(v, &now, &c->attr);
	} else {
		attr_of(v, in, &c->attr);
	}
	return 0;
}

/* ---- lookup, getattr ---- */

static errint_t lookup_txn(struct vfs *v, uint64_t parent, const char *name, struct meta_inode *ret)
{
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	struct meta_inode dir;
	uint64_t ino = 0;
	errint_t r;

	if (!strcmp(name, ".")) {
		r = meta_inode_get(t, parent, ret);
	} else if (!strcmp(name, "..")) {
		r = meta_inode_get(t, parent, &dir);
		if (!r)
			r = meta_inode_get(t, dir.parent ? dir.parent : META_ROOT_INO, ret);
	} else {
		r = meta_lookup(t, parent, name, &ino);
		if (!r)
			r = meta_inode_get(t, ino, ret);
	}
	meta_abort(t);
	return r;
}

static void run_lookup(struct vfs_call *c)
{
	struct meta_inode in;
	errint_t r = lookup_txn(c->own.v, c->own.ino, c->own.name, &in);
	int w;

	if (!r) {
		dir_looked_up(c, c->own.ino);
		/* Known is shown, also when the cloud cannot be asked. */
		call_done(c, attr_answer(c, &in));
		return;
	}
	if (r == -ENOENT) {
		w = dir_ready(c, c->own.ino);
		if (w == DIR_PARKED)
			return;
		if (w < 0)
			r = w;
	}
	call_done(c, r);
}

static bool name_take(char to[META_NAME_MAX + 1], const char *name)
{
	size_t len = strlen(name);

	if (len > META_NAME_MAX)
		return false;
	memcpy(to, name, len + 1);
	return true;
}

void vfs_lookup(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name)
{
	call_begin(v, c, run_lookup);
	c->own.ino = parent;
	if (!name_take(c->own.name, name))
		call_done(c, -ENAMETOOLONG);
	else
		run_lookup(c);
}

static void run_getattr(struct vfs_call *c)
{
	struct meta_inode in;
	errint_t r = row_get(c->own.v, c->own.ino, &in);

	if (!r) {
		dir_looked_up(c, in.parent); /* the kernel had the name, but not all of these */
		r = attr_answer(c, &in);
	}
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_getattr(struct vfs *v, struct vfs_call *c, uint64_t ino, struct vfs_handle *h)
{
	call_begin(v, c, run_getattr);
	c->own.ino = ino;
	run_getattr(c);
}

void vfs_readlink(struct vfs *v, struct vfs_call *c, uint64_t ino)
{
	struct meta_inode in;
	errint_t r;

	call_begin(v, c, run_getattr);
	r = row_get(v, ino, &in);
	if (!r && in.kind != META_SYMLINK)
		r = -EINVAL;
	if (!r) {
		c->own.mem = strdup(in.symlink);
		if (!c->own.mem)
			r = -ENOMEM;
		c->data = c->own.mem;
		c->len = strlen(in.symlink);
	}
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

/* ---- setattr ---- */

static void set_times(struct meta_inode *in, unsigned what, const struct stat *st, int64_t now)
{
	if (what & VFS_SET_ATIME_NOW)
		in->atime_ns = now;
	else if (what & VFS_SET_ATIME)
		in->atime_ns = ns_of(&st->st_atim);
	if (what & VFS_SET_MTIME_NOW)
		in->mtime_ns = now;
	else if (what & VFS_SET_MTIME)
		in->mtime_ns = ns_of(&st->st_mtim);
}

static void set_owner_mode(struct meta_inode *in, unsigned what, const struct stat *st)
{
	bool chown = (what & VFS_SET_UID) || (what & VFS_SET_GID);

	if (what & VFS_SET_UID)
		in->uid = st->st_uid;
	if (what & VFS_SET_GID)
		in->gid = st->st_gid;
	if (what & VFS_SET_MODE)
		in->mode = (in->mode & S_IFMT) | (st->st_mode & 07777);
	else if (in->kind == META_FILE && (chown || (what & VFS_KILL_SUID)))
		in->mode &=
			(in->mode & S_IXGRP) ? ~(uint32_t)(S_ISUID | S_ISGID) : ~(uint32_t)S_ISUID;
}

/* The staging's time is the truth for a dirty file, also for one that nobody has open. */
static errint_t stage_time(struct vfs *v, const struct meta_inode *in)
{
	struct stage_file *sf = NULL;
	errint_t r;

	if (in->kind != META_FILE || !(in->flags & META_F_DIRTY))
		return 0;
	r = stage_get(v->conf.stage, in->ino, false, &sf);
	if (r)
		return r == -ENOENT ? 0 : r;
	/* 0 means "never set" there. */
	stage_mtime_set(sf, in->mtime_ns ? in->mtime_ns : 1);
	stage_put(sf);
	return 0;
}

static errint_t setattr_txn(
	struct vfs *v, uint64_t ino, unsigned what, const struct stat *st, struct meta_inode *in)
{
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	const unsigned owned = VFS_SET_MODE | VFS_SET_UID | VFS_SET_GID;
	errint_t r = meta_inode_get(t, ino, in);
	int64_t now = clock_now_ns();

	if (r)
		return r;
	if ((in->flags & META_F_FOREIGN) && (what & owned)) { /* from here on it has its own */
		in->mode = mode_of(v, in);
		in->uid = v->conf.uid;
		in->gid = v->conf.gid;
		in->flags &= ~(uint32_t)META_F_FOREIGN;
	}
	set_owner_mode(in, what, st);
	set_times(in, what, st, now);
	in->ctime_ns = now;
	if (what & (VFS_SET_MTIME | VFS_SET_MTIME_NOW)) {
		r = stage_time(v, in);
		if (r)
			return r;
	}
	if (in->kind == META_FILE && (in->flags & META_F_OBJECT) && !(in->flags & META_F_DIRTY))
		in->flags |= META_F_ATTR_LOCAL;
	(void)meta_inode_put(t, in);
	if ((in->flags & (META_F_ATTR_LOCAL | META_F_DIRTY)) && !(in->flags & META_F_ORPHAN)) {
		r = job_attr(v->jobs, t, in);
		if (r)
			return r;
	}
	return meta_commit(steal_ptr(&t));
}

errint_t attr_touch(struct vfs *v, uint64_t ino)
{
	struct meta_inode in;

	return setattr_txn(v, ino, VFS_SET_MTIME_NOW, NULL, &in);
}

errint_t attr_kill_suid(struct vfs *v, struct meta_inode *in)
{
	if (!(in->mode & S_ISUID) && (in->mode & (S_ISGID | S_IXGRP)) != (S_ISGID | S_IXGRP))
		return 0;
	return setattr_txn(v, in->ino, VFS_KILL_SUID, NULL, in);
}

/* The size, in steps; 0, 1 = parked, or -errno. */
static int setattr_size(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_node *n;
	struct meta_inode in;
	uint64_t size = (uint64_t)c->own.st.st_size;
	errint_t r = row_get(v, c->own.ino, &in);

	if (!r && in.kind != META_FILE)
		r = in.kind == META_DIR ? -EISDIR : -EINVAL;
	if (!r && c->own.st.st_size < 0)
		r = -EINVAL;
	if (!r)
		r = call_node(c, c->own.ino);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	n = c->own.node;
	r = node_bind(v, n);
	if (r)
		return r;
	if (c->own.h)
		atomic_store(&c->own.h->wrote, true);
	r = size ? write_truncate(c, n, size) : write_reset(v, n);
	if (r)
		return r;
	if (!c->own.h)
		dirty_event(v, c->own.ino, DIRTY_CHANGE);
	return node_flush(v, n);
}

static void run_setattr(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	errint_t r = 0;

	if (c->own.phase == 0 && call_held(c))
		return;
	if ((c->own.what & VFS_SET_SIZE) && c->own.phase == 0) {
		r = setattr_size(c);
		if (r == 1)
			return;
		c->own.phase = 1;
	}
	if (!r && (c->own.what & ~(unsigned)(VFS_SET_SIZE | VFS_SET_CTIME)))
		r = setattr_txn(v, c->own.ino, c->own.what, &c->own.st, &in);
	else if (!r)
		r = row_get(v, c->own.ino, &in);
	if (!r)
		r = attr_answer(c, &in);
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_setattr(struct vfs *v, struct vfs_call *c, uint64_t ino, struct vfs_handle *h,
	const struct stat *st, unsigned what)
{
	call_begin(v, c, run_setattr);
	c->own.ino = ino;
	c->own.h = h && h->n && h->writable ? h : NULL;
	c->own.st = *st;
	c->own.what = what;
	if (v->conf.ro)
		call_done(c, -EROFS);
	else
		run_setattr(c);
}

/* ---- statfs ---- */

void vfs_statfs(struct vfs *v, struct vfs_call *c, uint64_t ino)
{
	struct statvfs *s = &c->statvfs;
	struct meta_stat ms = {0};
	struct meta_inode root;
	uint64_t used = 0;
	errint_t r;

	call_begin(v, c, run_getattr);
	r = meta_stat(v->conf.meta, &ms);
	if (!r && !row_get(v, META_ROOT_INO, &root) && root.totals.bytes > 0)
		used = MIN_OF((uint64_t)root.totals.bytes, FAKE_BYTES);
	memset(s, 0, sizeof(*s));
	s->f_bsize = s->f_frsize = BLOCK_SIZE;
	s->f_blocks = FAKE_BYTES / BLOCK_SIZE;
	s->f_bfree = s->f_bavail = (FAKE_BYTES - used) / BLOCK_SIZE;
	s->f_files = FAKE_FILES;
	s->f_ffree = s->f_favail = FAKE_FILES - MIN_OF(ms.inodes, FAKE_FILES);
	s->f_namemax = META_NAME_MAX;
	if (v->conf.ro)
		s->f_flag |= ST_RDONLY;
	call_done(c, r);
}
