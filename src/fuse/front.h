/* SPDX-License-Identifier: MIT */
/* What ops.c and session.c share. */
#ifndef FUSE_FRONT_H
#define FUSE_FRONT_H

#define FUSE_USE_VERSION 312

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "astra/fuse.h"

struct fuse_front {
	char *mountpoint, *fsname, *flags; /* owned */
	bool ro, allow_other;
	unsigned threads;
	void (*ready)(void *arg);
	void *ready_arg;

	struct vfs *vfs; /* from fuse_front_mount on */
	struct fuse_session *se;
	atomic_bool mounted; /* se is valid for notifications */
	atomic_bool tuned;   /* fuse_front_tune() was called */
	atomic_bool looping, exit, detached;
	_Atomic unsigned dev_minor; /* names the kernel's connection; 0 = not known */
	pthread_t loop_thread;	    /* valid while looping */
};

/* The kernel offers 128 KiB of read-ahead, a daemon can only lower that in INIT, and what was set
 * before INIT is lost: so this is done with the first request after it. */
void fuse_front_tune(struct fuse_front *f);

extern const struct fuse_lowlevel_ops fuse_front_ops;

#endif
