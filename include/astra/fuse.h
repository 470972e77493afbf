/* SPDX-License-Identifier: MIT */
/*
 * The kernel's side: mounts, decodes requests, calls the vfs, answers each request once. Knows
 * nothing but the vfs. A front lives from before the vfs (which sends invalidations through it)
 * until after it.
 */
#ifndef ASTRA_FUSE_H
#define ASTRA_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_err.h"
#include "astra/vfs.h"

struct fuse_front;

struct fuse_front_conf {	/* strings are copied */
	const char *mountpoint; /* absolute, of fuse_front_place() */
	const char *fsname;	/* NULL = "astrafs" */
	const char *flags; /* further mount flags, comma separated ("noexec,noatime"), or NULL */
	bool ro, allow_other;
	unsigned threads; /* kept waiting for requests; 0 = 10 */
	/* The kernel has greeted the mount: it is usable. From a loop thread. May be NULL. */
	void (*ready)(void *arg);
	void *ready_arg;
};

/* There is a /dev/fuse that may be used; else -errno. */
errint_t fuse_front_usable(struct err *err);
/* The absolute path of a mount point, also of a dead one: -ENOENT, -ENOTDIR, -EACCES. free() it. */
errint_t fuse_front_place(const char *path, char **ret, struct err *err);
/* It can be mounted upon: -EBUSY when something is mounted there. dead: a mount of ours that a
 * crash left behind is unmounted first; otherwise it is fine too. */
errint_t fuse_front_free(const char *mountpoint, bool clean_dead, struct err *err);

/* A process that unmounts mountpoint when this one has ended without doing so. Started before any
 * thread; holds keep_fd (-1 = none) until it has, so that a lock on it can be waited for. */
struct fuse_watch {
	int fd, pid;
};
#define FUSE_WATCH_NONE ((struct fuse_watch){-1, -1})
errint_t fuse_watch_start(
	const char *mountpoint, int keep_fd, struct fuse_watch *ret, struct err *err);
/* Ends it; a mount that is dead by then is unmounted. */
void fuse_watch_end(struct fuse_watch *w);

errint_t fuse_front_new(
	const struct fuse_front_conf *conf, struct fuse_front **ret, struct err *err);
errint_t fuse_front_mount(struct fuse_front *f, struct vfs *v, struct err *err);
/* Serves until the kernel ends the connection (0) or fuse_front_exit(). */
errint_t fuse_front_loop(struct fuse_front *f, struct err *err);
/* Takes the mount out of the tree; what is open goes on being served. Any thread. */
errint_t fuse_front_detach(struct fuse_front *f, struct err *err);
/* Makes the loop end although files are open; call again until it has. Any thread. */
void fuse_front_exit(struct fuse_front *f);
void fuse_front_destroy(struct fuse_front *f); /* after vfs_destroy; NULL is fine */

/* For struct vfs_conf; arg is the front. */
void fuse_front_inval_inode(void *arg, uint64_t ino, bool data);
void fuse_front_inval_entry(void *arg, uint64_t parent, const char *name);

#endif
