/* SPDX-License-Identifier: MIT */
/*
 * Requests of the kernel: each is decoded into one struct fuse_call, handed to one vfs function,
 * and answered by done(), at once or later from any thread. done() frees the call.
 *
 * Node ids are the index's inode numbers, which are never reused: FORGET is a no-op and there is
 * no table of them here.
 *
 * Interrupts: libfuse calls on_interrupt() with the request's lock held, so done() first takes
 * its callback away, which waits for one that runs; from within the callback itself it must not.
 *
 * The bytes of a WRITE are in a buffer of the loop's thread and gone when the handler returns; the
 * vfs keeps a copy of what it has to park.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "front.h"

#include "astra/base_cleanup.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define GENERATION     1 /* inode numbers are never reused */
#define MAX_BACKGROUND 16384

struct fuse_call {
	struct vfs_call call;
	struct fuse_front *front;
	fuse_req_t req;
	void (*reply)(struct fuse_call *fc); /* when it succeeded */
	struct fuse_file_info fi;	     /* open, create, opendir */
	bool interruptible;
	atomic_bool submitted; /* the vfs knows the call */
	bool plus;	       /* readdirplus */
	size_t size, used;     /* readdir: of data; xattr: size asked for */
	char data[];	       /* readdir: the entries; setxattr: the value */
};

/* The call whose on_interrupt() runs in this thread. */
static __thread struct fuse_call *interrupting;

static struct fuse_call *of(struct vfs_call *c)
{
	return container_of(c, struct fuse_call, call);
}

static int number_of(errint_t r)
{
	assert(r <= 0);
	return -r;
}

static void on_done(struct vfs_call *c, errint_t r)
{
	struct fuse_call *fc = of(c);

	if (fc->interruptible && interrupting != fc)
		fuse_req_interrupt_func(fc->req, NULL, NULL);
	if (r)
		(void)fuse_reply_err(fc->req, number_of(r));
	else
		fc->reply(fc);
	free(fc);
}

static void on_interrupt(fuse_req_t req, void *arg)
{
	struct fuse_call *fc = arg;

	(void)req;
	atomic_store(&fc->call.interrupted, true);
	if (!atomic_load(&fc->submitted))
		return; /* the vfs will see the flag */
	interrupting = fc;
	vfs_interrupt(fc->front->vfs, &fc->call);
	interrupting = NULL;
}

/* A call with room for extra bytes, or NULL after answering ENOMEM. */
static struct fuse_call *call_new(fuse_req_t req, void (*reply)(struct fuse_call *), size_t extra)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fuse_call *fc = malloc(sizeof(*fc) + extra);

	count_inc(fuse_requests);
	if (!fc) {
		(void)fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	memset(fc, 0, sizeof(*fc)); /* not the extra bytes */
	fc->front = fuse_req_userdata(req);
	if (!atomic_load_explicit(&fc->front->tuned, memory_order_relaxed) &&
		!atomic_exchange(&fc->front->tuned, true))
		fuse_front_tune(fc->front);
	fc->req = req;
	fc->reply = reply;
	fc->call.done = on_done;
	fc->call.uid = ctx->uid;
	fc->call.gid = ctx->gid;
	fc->call.umask = ctx->umask;
	fc->call.pid = ctx->pid;
	return fc;
}

/* The same for a call that may wait long. */
static struct fuse_call *call_new_waiting(
	fuse_req_t req, void (*reply)(struct fuse_call *), size_t extra)
{
	struct fuse_call *fc = call_new(req, reply, extra);

	if (!fc)
		return NULL;
	fc->interruptible = true;
	fuse_req_interrupt_func(req, on_interrupt, fc);
	atomic_store(&fc->submitted, true);
	return fc;
}

static struct vfs *vfs_of(const struct fuse_call *fc)
{
	return fc->front->vfs;
}

static struct vfs_handle *handle_of(const struct fuse_file_info *fi)
{
	return fi ? (struct vfs_handle *)(uintptr_t)fi->fh : NULL;
}

/* ---- answers ---- */

static void reply_ok(struct fuse_call *fc)
{
	(void)fuse_reply_err(fc->req, 0);
}

static void entry_of(const struct vfs_attr *a, struct fuse_entry_param *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ino = a->st.st_ino;
	ret->generation = GENERATION;
	ret->attr = a->st;
	ret->attr_timeout = a->attr_timeout;
	ret->entry_timeout = a->entry_timeout;
}

static void reply_entry(struct fuse_call *fc)
{
	struct fuse_entry_param e;

	entry_of(&fc->call.attr, &e);
	(void)fuse_reply_entry(fc->req, &e);
}

static void reply_attr(struct fuse_call *fc)
{
	(void)fuse_reply_attr(fc->req, &fc->call.attr.st, fc->call.attr.attr_timeout);
}

static void reply_readlink(struct fuse_call *fc)
{
	(void)fuse_reply_readlink(fc->req, fc->call.data);
}

static void reply_write(struct fuse_call *fc)
{
	(void)fuse_reply_write(fc->req, fc->call.len);
}

static void reply_data(struct fuse_call *fc)
{
	(void)fuse_reply_buf(fc->req, fc->call.data, fc->call.len);
}

static void reply_xattr(struct fuse_call *fc)
{
	if (fc->size == 0)
		(void)fuse_reply_xattr(fc->req, fc->call.len);
	else
		(void)fuse_reply_buf(fc->req, fc->call.data, fc->call.len);
}

static void reply_lseek(struct fuse_call *fc)
{
	(void)fuse_reply_lseek(fc->req, fc->call.off);
}

static void reply_statfs(struct fuse_call *fc)
{
	(void)fuse_reply_statfs(fc->req, &fc->call.statvfs);
}

/* ---- a handle that the kernel did not take ---- */

static void on_dropped(struct vfs_call *c, errint_t r)
{
	(void)r;
	free(c);
}

static void handle_drop(struct fuse_front *f, struct vfs_handle *h, bool dir)
{
	struct vfs_call *c = calloc(1, sizeof(*c));

	if (!c) {
		log_error("fuse", "no memory to close a file whose opener has gone; it stays open");
		return;
	}
	c->done = on_dropped;
	if (dir)
		vfs_releasedir(f->vfs, c, h);
	else
		vfs_release(f->vfs, c, h);
}

static void reply_open(struct fuse_call *fc)
{
	struct vfs_handle *h = fc->call.handle;

	fc->fi.fh = (uint64_t)(uintptr_t)h;
	fc->fi.keep_cache = fc->call.keep_cache;
	/* What nobody can have written needs no FLUSH, half of what a read of known bytes costs. */
	fc->fi.noflush = (fc->fi.flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
	if (fuse_reply_open(fc->req, &fc->fi) == -ENOENT)
		handle_drop(fc->front, h, false);
}

static void reply_opendir(struct fuse_call *fc)
{
	struct vfs_handle *h = fc->call.handle;

	fc->fi.fh = (uint64_t)(uintptr_t)h;
	if (fuse_reply_open(fc->req, &fc->fi) == -ENOENT)
		handle_drop(fc->front, h, true);
}

static void reply_create(struct fuse_call *fc)
{
	struct vfs_handle *h = fc->call.handle;
	struct fuse_entry_param e;

	fc->fi.fh = (uint64_t)(uintptr_t)h;
	fc->fi.keep_cache = fc->call.keep_cache;
	entry_of(&fc->call.attr, &e);
	if (fuse_reply_create(fc->req, &e, &fc->fi) == -ENOENT)
		handle_drop(fc->front, h, false);
}

/* mknod(2) of a regular file: a create that nobody has open. */
static void reply_mknod(struct fuse_call *fc)
{
	handle_drop(fc->front, fc->call.handle, false);
	reply_entry(fc);
}

/* ---- names and attributes ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *fc = call_new_waiting(req, reply_entry, 0);

	if (!fc)
		return;
	if (!strcmp(name, "."))
		vfs_getattr(vfs_of(fc), &fc->call, parent, NULL); /* an NFS server asks this */
	else
		vfs_lookup(vfs_of(fc), &fc->call, parent, name);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino;
	(void)nlookup;
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_attr, 0);

	if (fc)
		vfs_getattr(vfs_of(fc), &fc->call, ino, handle_of(fi));
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	static const struct {
		int kernel;
		unsigned vfs;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, VFS_SET_MODE},
		{FUSE_SET_ATTR_UID, VFS_SET_UID},
		{FUSE_SET_ATTR_GID, VFS_SET_GID},
		{FUSE_SET_ATTR_SIZE, VFS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, VFS_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, VFS_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, VFS_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, VFS_SET_MTIME_NOW},
		{FUSE_SET_ATTR_CTIME, VFS_SET_CTIME},
	};
	struct fuse_call *fc = call_new_waiting(req, reply_attr, 0);
	unsigned what = 0;

	if (!fc)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		what |= to_set & bits[i].kernel ? bits[i].vfs : 0;
	vfs_setattr(vfs_of(fc), &fc->call, ino, handle_of(fi), st, what);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *fc = call_new_waiting(req, reply_readlink, 0);

	if (fc)
		vfs_readlink(vfs_of(fc), &fc->call, ino);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fuse_call *fc;

	(void)rdev;
	if (!S_ISREG(mode)) {
		count_inc(fuse_requests);
		/* Devices as where one may not; FIFOs and sockets as where there are none. */
		(void)fuse_reply_err(req, S_ISBLK(mode) || S_ISCHR(mode) ? EPERM : EOPNOTSUPP);
		return;
	}
	fc = call_new_waiting(req, reply_mknod, 0);
	if (fc)
		vfs_create(vfs_of(fc), &fc->call, parent, name, mode, O_WRONLY | O_CREAT | O_EXCL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_call *fc = call_new_waiting(req, reply_entry, 0);

	if (fc)
		vfs_mkdir(vfs_of(fc), &fc->call, parent, name, mode);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	if (fc)
		vfs_unlink(vfs_of(fc), &fc->call, parent, name);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	if (fc)
		vfs_rmdir(vfs_of(fc), &fc->call, parent, name);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fuse_call *fc = call_new_waiting(req, reply_entry, 0);

	if (fc)
		vfs_symlink(vfs_of(fc), &fc->call, target, parent, name);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned flags)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	if (fc)
		vfs_rename(vfs_of(fc), &fc->call, parent, name, new_parent, new_name, flags);
}

/* Left out, the kernel would say ENOSYS once and remember it. */
static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	count_inc(fuse_requests);
	(void)fuse_reply_err(req, EPERM);
}

/* ---- files ---- */

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_create, 0);

	if (!fc)
		return;
	fc->fi = *fi;
	vfs_create(vfs_of(fc), &fc->call, parent, name, mode, fi->flags);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_open, 0);

	if (!fc)
		return;
	fc->fi = *fi;
	vfs_open(vfs_of(fc), &fc->call, ino, fi->flags);
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_data, 0);

	(void)ino;
	if (fc)
		vfs_read(vfs_of(fc), &fc->call, handle_of(fi), (uint64_t)off, size);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_write, 0);

	(void)ino;
	/* Pages of a mapping come through any handle, and go where they belong. */
	if (fc)
		vfs_write(vfs_of(fc), &fc->call, handle_of(fi), (uint64_t)off, buf, size,
			(fi->flags & O_APPEND) && !fi->writepage);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	(void)ino;
	if (fc)
		vfs_flush(vfs_of(fc), &fc->call, handle_of(fi));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new(req, reply_ok, 0);

	(void)ino;
	if (fc)
		vfs_release(vfs_of(fc), &fc->call, handle_of(fi));
	else
		handle_drop(fuse_req_userdata(req), handle_of(fi), false);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	(void)ino;
	if (fc)
		vfs_fsync(vfs_of(fc), &fc->call, handle_of(fi), datasync != 0);
}

static void op_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	(void)ino;
	if (fc)
		vfs_fallocate(
			vfs_of(fc), &fc->call, handle_of(fi), mode, (uint64_t)off, (uint64_t)len);
}

static void op_lseek(
	fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_lseek, 0);

	(void)ino;
	if (fc)
		vfs_lseek(vfs_of(fc), &fc->call, handle_of(fi), (uint64_t)off, whence);
}

static void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
	struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
	struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct fuse_call *fc;

	(void)ino_in;
	(void)ino_out;
	if (flags) {
		count_inc(fuse_requests);
		(void)fuse_reply_err(req, EINVAL);
		return;
	}
	fc = call_new_waiting(req, reply_write, 0);
	if (fc)
		vfs_copy_range(vfs_of(fc), &fc->call, handle_of(fi_in), (uint64_t)off_in,
			handle_of(fi_out), (uint64_t)off_out, len);
}

/* ---- directories ---- */

static bool on_fill(
	struct vfs_call *c, const char *name, const struct vfs_attr *attr, uint64_t next_off)
{
	static const struct vfs_attr unknown;
	struct fuse_call *fc = of(c);
	char *at = fc->data + fc->used;
	size_t room = fc->size - fc->used, need;

	if (!attr)
		attr = &unknown;
	if (fc->plus) {
		struct fuse_entry_param e;

		entry_of(attr, &e);
		/* 0: the kernel makes no dentry of it. */
		if (c->plain || !strcmp(name, ".") || !strcmp(name, ".."))
			e.ino = 0;
		need = fuse_add_direntry_plus(fc->req, at, room, name, &e, (off_t)next_off);
	} else {
		need = fuse_add_direntry(fc->req, at, room, name, &attr->st, (off_t)next_off);
	}
	if (need > room)
		return true;
	fc->used += need;
	return false;
}

static void reply_readdir(struct fuse_call *fc)
{
	(void)fuse_reply_buf(fc->req, fc->data, fc->used);
}

static void readdir_any(
	fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct fuse_call *fc = call_new_waiting(req, reply_readdir, size);

	if (!fc)
		return;
	fc->size = size;
	fc->plus = plus;
	fc->call.plain = !plus;
	fc->call.fill = on_fill;
	vfs_readdir(vfs_of(fc), &fc->call, handle_of(fi), (uint64_t)off);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_opendir, 0);

	if (!fc)
		return;
	fc->fi = *fi;
	vfs_opendir(vfs_of(fc), &fc->call, ino);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	readdir_any(req, size, off, fi, false);
}

static void op_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)ino;
	readdir_any(req, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new(req, reply_ok, 0);

	(void)ino;
	if (fc)
		vfs_releasedir(vfs_of(fc), &fc->call, handle_of(fi));
	else
		handle_drop(fuse_req_userdata(req), handle_of(fi), true);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	(void)ino;
	(void)datasync;
	if (fc)
		vfs_fsyncdir(vfs_of(fc), &fc->call, handle_of(fi));
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *fc = call_new_waiting(req, reply_statfs, 0);

	if (fc)
		vfs_statfs(vfs_of(fc), &fc->call, ino);
}

/* ---- extended attributes ---- */

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fuse_call *fc = call_new(req, reply_xattr, 0);

	if (!fc)
		return;
	fc->size = size;
	vfs_getxattr(vfs_of(fc), &fc->call, ino, name, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fuse_call *fc = call_new(req, reply_xattr, 0);

	if (!fc)
		return;
	fc->size = size;
	vfs_listxattr(vfs_of(fc), &fc->call, ino, size);
}

static void op_setxattr(
	fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, size);

	if (!fc)
		return;
	memcpy(fc->data, value, size);
	vfs_setxattr(vfs_of(fc), &fc->call, ino, name, fc->data, size, flags);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fuse_call *fc = call_new_waiting(req, reply_ok, 0);

	if (fc)
		vfs_removexattr(vfs_of(fc), &fc->call, ino, name);
}

/* ---- the connection ---- */

static void want(struct fuse_conn_info *conn, unsigned caps)
{
	conn->want |= conn->capable & caps;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fuse_front *f = userdata;

	/* Splicing saves nothing where the bytes are looked at anyway. The kernel keeps doing what
	 * it does by itself: umask, set-id bits, locks. The cache is dropped when we say so, not
	 * when our own write changes mtime. Which names come with attributes is decided in
	 * vfs/dir.c. */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				  FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA |
				  FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS_AUTO |
				  FUSE_CAP_POSIX_ACL | FUSE_CAP_HANDLE_KILLPRIV |
				  FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_DONT_MASK);
#ifdef FUSE_CAP_OVER_IO_URING
	/* Whatever libfuse's environment says: a call that waits would keep one of the few places
	 * of a ring, and libfuse frees the rings before the last calls are answered. */
	conn->want &= ~(unsigned)FUSE_CAP_OVER_IO_URING;
#endif
	want(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
			   FUSE_CAP_READDIRPLUS | FUSE_CAP_ASYNC_DIO | FUSE_CAP_EXPORT_SUPPORT);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
	/* Of the whole mount: readers blocked by one cloud must not use it up. */
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND / 4 * 3;
	conn->max_write = 1 << 20;
	conn->time_gran = 1;
	log_debug("fuse", "kernel speaks %u.%u, max_readahead %u, capabilities %#x of %#x",
		conn->proto_major, conn->proto_minor, conn->max_readahead, conn->want,
		conn->capable);
	if (f->ready)
		f->ready(f->ready_arg);
}

const struct fuse_lowlevel_ops fuse_front_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
};
