/* SPDX-License-Identifier: MIT */
/*
 * The filesystem proper. Every operation takes a struct vfs_call, and answers it exactly once by
 * call->done(call, r), perhaps before the operation returns, perhaps later from another thread. No
 * operation blocks its thread on a store, on quota or on a sync point: it parks the call, with a
 * deadline, and goes on when what it waits for has happened.
 *
 * Inode numbers are the index's, and the kernel's node ids. r is 0 or -errno.
 */
#ifndef ASTRA_VFS_H
#define ASTRA_VFS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "astra/job.h"
#include "astra/meta.h"
#include "astra/policy.h"

struct vfs;
struct vfs_node;
struct vfs_handle; /* an open file or directory */

enum vfs_recall { RECALL_ERROR, RECALL_REQUEST, RECALL_BLOCK };
enum vfs_durability { DURABLE_LOCAL, DURABLE_FSYNC, DURABLE_CLOSE };

struct vfs_conf {
	struct meta *meta;
	struct stage *stage;
	struct pool *pool;
	struct bufs *bufs;
	struct remote *remotes;
	size_t nremotes;
	const struct policy_rules *rules; /* for the cost and recommendation attributes */
	const struct price_book *prices;
	enum vfs_durability durability;
	enum vfs_recall recall;
	int64_t recall_block_ns;
	int64_t migrate_wait_ns, upload_delay_ns, metadata_ttl_ns;
	int64_t near_ns;	/* to the first byte of what is read by long requests; 0: 8 ms */
	int64_t io_deadline_ns; /* an uncached read or lookup gives up (EIO) after this; 30 s */
	uint32_t uid, gid, umask;
	unsigned rows_first; /* names of a directory that anybody gets with attributes; 0 =
				65,536 */
	bool ro;
	const char *const *no_count; /* executables that do not count; NULL-terminated */
	const char *const *no_recall;
	const char *const *no_list; /* executables that are not shown user.astra.* in lists */
	/* Kernel cache invalidation; called from the notifier thread only. May be NULL. */
	void (*inval_inode)(void *arg, uint64_t ino, bool data);
	void (*inval_entry)(void *arg, uint64_t parent, const char *name);
	void *inval_arg;
};

/* Two steps, because jobs need the hooks and the vfs needs the jobs. */
errint_t vfs_new(const struct vfs_conf *conf, struct vfs **ret, struct err *err);
struct job_hooks vfs_job_hooks(struct vfs *v);
/* Recovers the dirty list, starts the timers. */
errint_t vfs_start(struct vfs *v, struct jobs *jobs, struct err *err);
/* Everything dirty is posted for upload at once and new timers are not armed; call before drain. */
void vfs_flush_all(struct vfs *v);
void vfs_stop(struct vfs *v); /* answers what is parked with EIO; no call may come after */
void vfs_destroy(struct vfs *v);

struct vfs_attr {
	struct stat st;
	double attr_timeout, entry_timeout; /* s */
};

struct vfs_call {
	/* filled by the caller */
	void (*done)(struct vfs_call *c, errint_t r);
	uint32_t uid, gid, umask;
	int pid;		 /* a thread id, 0 = unknown */
	atomic_bool interrupted; /* set by the caller; vfs_interrupt() then */
	/* readdir: returns true when the entry did not fit (and was not taken) */
	bool (*fill)(struct vfs_call *c, const char *name, const struct vfs_attr *attr,
		uint64_t next_off);
	/* readdir: of attr only st_ino and the type in st_mode are looked at. The vfs sets it when
	 * it gives no more than that, before it calls fill. */
	bool plain;
	/* answers, valid in done() */
	struct vfs_attr attr;	   /* lookup, create, mkdir, symlink, getattr, setattr */
	struct vfs_handle *handle; /* open, create, opendir */
	bool keep_cache;	   /* open */
	const char *data;	   /* read, readlink, getxattr, listxattr */
	size_t len;  /* ... ; write, copy_file_range: bytes taken; getxattr size 0: need */
	int64_t off; /* lseek */
	struct statvfs statvfs;
	/* own: the vfs */
	struct vfs_own {
		struct vfs *v;
		void (*run)(struct vfs_call *c); /* the operation, run again when woken */
		struct pool_task task;
		struct job_waiter waiter;
		TAILQ_ENTRY(vfs_call) parked; /* v->calls */
		TAILQ_ENTRY(vfs_call) fetch;  /* node->io.waiters, or a listing's */
		int64_t deadline_mono_ns;     /* 0 = not waited yet */
		/* a wait: under v->lock */
		int state, wait;
		int64_t cut_mono_ns; /* 0 = no deadline */
		int on_timeout;	     /* <= 0: the answer; 1: run again with `expired` */
		errint_t cut_r;
		bool interruptible, fired, cut, in_fetch, in_list;
		/* between runs */
		errint_t r; /* how what it waited for ended */
		bool expired;
		int phase;
		unsigned tries, waits, held;
		uint64_t listed; /* last directory it waited for */
		bool reads;	 /* any names of it will do */
		unsigned given;	 /* names, by this run */
		/* arguments */
		uint64_t ino, ino2, off, off2, size, size2, want_off, want_len;
		unsigned what;
		uint32_t mode;
		struct stat st;
		struct vfs_handle *h, *h2;
		struct vfs_node *node; /* referenced when node_ref */
		bool node_ref, in_rename, at_remote;
		bool tell_kernel; /* the kernel did not ask for this rename */
		const void *p;
		void *mem;	    /* owned; freed after done() */
		struct fetch *from; /* referenced until after done() */
		const void *stream; /* that it belongs to; a name, as in vfs_node.io.ahead */
		char name[META_NAME_MAX + 1], name2[META_NAME_MAX + 1];
	} own;
};

/* Wakes an interruptible wait of a parked call (rename, fsync, flush, archived read): EINTR. */
void vfs_interrupt(struct vfs *v, struct vfs_call *c);

/* Strings are copied, and so are the bytes of a write that is parked. */
void vfs_lookup(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name);
void vfs_getattr(struct vfs *v, struct vfs_call *c, uint64_t ino, struct vfs_handle *h);
enum vfs_set { /* bits of what */
	VFS_SET_MODE = 1,
	VFS_SET_UID = 2,
	VFS_SET_GID = 4,
	VFS_SET_SIZE = 8,
	VFS_SET_ATIME = 16,
	VFS_SET_MTIME = 32,
	VFS_SET_ATIME_NOW = 64,
	VFS_SET_MTIME_NOW = 128,
	VFS_SET_CTIME = 256,
	VFS_KILL_SUID = 512,
};
void vfs_setattr(struct vfs *v, struct vfs_call *c, uint64_t ino, struct vfs_handle *h,
	const struct stat *st, unsigned what);
void vfs_readlink(struct vfs *v, struct vfs_call *c, uint64_t ino);
void vfs_mkdir(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name, uint32_t mode);
void vfs_symlink(
	struct vfs *v, struct vfs_call *c, const char *target, uint64_t parent, const char *name);
void vfs_unlink(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name);
void vfs_rmdir(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name);
void vfs_rename(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name,
	uint64_t new_parent, const char *new_name, unsigned flags);
void vfs_create(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name, uint32_t mode,
	int flags);
void vfs_open(struct vfs *v, struct vfs_call *c, uint64_t ino, int flags);
void vfs_read(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, size_t size);
/* append: it goes to the file's end, and off is where the kernel believes that to be. */
void vfs_write(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, const void *p,
	size_t len, bool append);
void vfs_flush(struct vfs *v, struct vfs_call *c, struct vfs_handle *h);
/* The handle is gone after this. */
void vfs_release(struct vfs *v, struct vfs_call *c, struct vfs_handle *h);
void vfs_fsync(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, bool datasync);
void vfs_fallocate(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, int mode, uint64_t off,
	uint64_t len);
void vfs_lseek(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, int whence);
void vfs_copy_range(struct vfs *v, struct vfs_call *c, struct vfs_handle *in, uint64_t off_in,
	struct vfs_handle *out, uint64_t off_out, uint64_t len);
void vfs_opendir(struct vfs *v, struct vfs_call *c, uint64_t ino);
/* off 0 = start; entries are given to c->fill with the offset to continue from. */
void vfs_readdir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off);
void vfs_releasedir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h);
void vfs_fsyncdir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h);
void vfs_statfs(struct vfs *v, struct vfs_call *c, uint64_t ino);
void vfs_getxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name, size_t size);
void vfs_listxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, size_t size);
void vfs_setxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name, const void *p,
	size_t len, int flags);
void vfs_removexattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name);

/* ---- for ctl ---- */

/* Rows of files that were closed lately get their size and time, which are told in batches. For who
 * is about to read rows himself, not through the mount. Any thread; no transaction is held. */
void vfs_catch_up(struct vfs *v);

/* As fsync on the inode (directory: everything below; root: all), ignoring durability=local. */
void vfs_sync(struct vfs *v, struct vfs_call *c, uint64_t ino);
/* Facts of an inode for policy_decide and the reports: one place that gathers them. -ENOENT. The
 * strings belong to in, to the configuration, or (path) to the thread until its next call. */
errint_t vfs_facts(
	struct vfs *v, struct meta_txn *t, const struct meta_inode *in, struct policy_facts *ret);

/* The value of user.astra.state: "settled", "uploading" ... */
const char *vfs_state_word(struct vfs *v, const struct meta_inode *in);
/* Until when the copy of an archived object that was restored can be read; 0 = there is none, or
 * its cloud sets no end. */
int64_t vfs_restored_until(const struct meta_inode *in);

struct vfs_stat {
	uint64_t handles, dirty, parked;
	uint64_t held; /* of dirty: not uploaded for now, because of a conflict */
};
void vfs_stat(struct vfs *v, struct vfs_stat *ret);

#endif
