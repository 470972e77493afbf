/* SPDX-License-Identifier: MIT */
/*
 * The index: one LMDB environment behind src/meta/db.c. Names, inodes, access history, extended
 * attributes, the job journal and the dirty list.
 *
 * Transactions are sticky: after the first failure every call on the transaction is a no-op that
 * returns that failure, and meta_commit reports it; so a body may be written straight down and
 * checked once. -ENOENT from a lookup is an answer, not a failure.
 *
 * Durability: a committed transaction survives kill -9 at once, and a power cut from the next sync
 * point on (each second while something changed, and on demand).
 *
 * Threads: any. Write transactions are serialised by a mutex of this room (RANK_META_W), which is
 * held from meta_begin to meta_commit/meta_abort: keep them short, no I/O to stores inside. A read
 * transaction belongs to one thread at a time.
 */
#ifndef ASTRA_META_H
#define ASTRA_META_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "astra/base_err.h"
#include "astra/base_tier.h"

#define META_ROOT_INO	 1
#define META_NAME_MAX	 255
#define META_PATH_MAX	 1279 /* bucket + '/' + key: a path below a remote */
#define META_ETAG_MAX	 128
#define META_CLASS_MAX	 32
#define META_XATTR_MAX	 65536
#define META_SYMLINK_MAX 4095

struct meta;
struct meta_txn;

struct meta_conf {
	const char *dir;	   /* existing directory, 0700 */
	uint64_t map_size;	   /* 0 = 1 TiB of address space, less under ulimit -v */
	uint64_t grow_max;	   /* of the file, in bytes, between sync points; 0 = 256 MiB */
	const char *boot_id;	   /* of this boot; differs after a power cut */
	unsigned sync_interval_ms; /* 0 = 1000 */
	bool read_only;		   /* --check: no writer, no sync thread */
	/* Called by the sync thread before the index itself is made durable: everything that
	 * transactions refer to (staging files) must be durable when it returns. May be NULL. */
	errint_t (*before_sync)(void *arg);
	void *before_sync_arg;
	/* For tests: called when t, which has not failed, is to be committed, with the writer held.
	 * An error is that of the commit. May be NULL. */
	errint_t (*before_commit)(struct meta_txn *t);
};

/* Opens or creates the index; *ret_power_cut tells that the last run ended by a power cut (another
 * boot, no clean mark) and that the index was put back to its last sync point. A newer schema is
 * refused (-EPROTO), damage is -EBADMSG with what to do. Call after daemonizing. */
errint_t meta_open(
	const struct meta_conf *conf, struct meta **ret, bool *ret_power_cut, struct err *err);
/* The caller has done what a power cut asks of it (staging). Until then every open, also one after
 * a mere crash, reports the power cut again. */
errint_t meta_recovered(struct meta *m, struct err *err);
/* Final sync point and clean mark. NULL is fine. All transactions must have ended. */
void meta_close(struct meta *m);

/* ---- transactions ---- */

struct meta_txn *meta_begin_read(struct meta *m); /* never NULL; failure is sticky */
struct meta_txn *meta_begin(struct meta *m);	  /* write */
/* Write: commits, then runs the hooks (still under the writer mutex), frees txn. 0 or the first
 * failure (then nothing was changed, hooks got committed=false). Read: ends it. */
errint_t meta_commit(struct meta_txn *t);
void meta_abort(struct meta_txn *t);
errint_t meta_txn_failed(const struct meta_txn *t); /* sticky failure so far, 0 if none */
void meta_txn_fail(struct meta_txn *t, errint_t r); /* makes it fail (r < 0) */
uint64_t meta_txn_id(const struct meta_txn *t);
/* fn(arg, committed) runs once when t ends, in order of registration; at most 1024 per txn. */
void meta_txn_hook(struct meta_txn *t, void (*fn)(void *arg, bool committed), void *arg);

static inline void meta_abort_p(struct meta_txn **t)
{
	if (*t != NULL)
		meta_abort(*t);
}
#define cleanup_txn __attribute__((cleanup(meta_abort_p)))

/* Newest transaction id that a power cut cannot take back. */
uint64_t meta_synced(struct meta *m);
/* Blocks until everything committed before the call is durable; concurrent calls share one sync
 * point. Not from a FUSE thread. */
errint_t meta_sync(struct meta *m, struct err *err);
/* fn(arg) after each sync point, from the sync thread, without locks. Set once before use. */
void meta_on_sync(struct meta *m, void (*fn)(void *arg), void *arg);
/* Asks the sync thread for a sync point soon (now), does not wait. */
void meta_sync_soon(struct meta *m);
/* Something waits for the next sync point, and nobody for it: a point comes sooner than at its
 * interval, as often as leaves the disk idle most of the time. */
void meta_sync_wanted(struct meta *m);

/* ---- inodes ---- */

enum meta_kind { META_FILE = 1, META_DIR = 2, META_SYMLINK = 3 };

enum meta_inode_flags {
	/* file: has an object at loc */
	META_F_OBJECT = 1 << 0,
	/* file: loc's content is the base of this file's content. Without it (O_TRUNC, save by
	 * rename) loc only names what the next upload will overwrite. */
	META_F_BASE = 1 << 1,
	/* file: staging holds content that no cloud has (mirrored in table dirty) */
	META_F_DIRTY = 1 << 2,
	/* the name is an alias for loc.path that cannot be computed from it (over-long components)
	 */
	META_F_ALIAS = 1 << 3,
	/* dir: a marker object exists at prefix */
	META_F_MARKER = 1 << 4,
	/* dir: remote_path is set and differs from what the path says (a rename is under way) */
	META_F_PREFIX = 1 << 5,
	/* dir: the top directory of a remote, or a bucket */
	META_F_ROOT = 1 << 6,
	META_F_BUCKET = 1 << 7,
	/* unlinked; lives on for open handles or jobs */
	META_F_ORPHAN = 1 << 8,
	/* mode, owner, times or xattrs changed since the object's metadata was written */
	META_F_ATTR_LOCAL = 1 << 9,
	/* forced_tier is set (file: pinned; dir: inherited by what is created below) */
	META_F_PINNED = 1 << 10,
	/* the object is in an offline class and not restored / a restore is under way */
	META_F_ARCHIVED = 1 << 11,
	META_F_RESTORING = 1 << 12,
	/* the last upload, move or transition failed for good: see last_error */
	META_F_FAILED = 1 << 13,
	/* mode and owner are not stated anywhere: what the mount's options say is shown */
	META_F_FOREIGN = 1 << 14,
	/* forced_tier was set while content was dirty: the next upload goes by it */
	META_F_TIER_HINT = 1 << 15,
	/* with META_F_FAILED: somebody else keeps changing the object; nothing is uploaded */
	META_F_CONFLICT = 1 << 16,
};

struct meta_loc {
	uint32_t remote;	      /* 0 = none */
	char path[META_PATH_MAX + 1]; /* below the remote: "key" or "bucket/key"; no prefix */
	char etag[META_ETAG_MAX];
};

struct meta_totals { /* of everything below a directory */
	int64_t files, bytes;
	int64_t tier_files[TIER_N], tier_bytes[TIER_N];
};

struct meta_inode {
	uint64_t ino, parent;	      /* parent 0 for the root and for orphans */
	char name[META_NAME_MAX + 1]; /* bytes, no '/' */
	enum meta_kind kind;
	uint32_t flags;
	uint32_t mode; /* with S_IFMT */
	uint32_t uid, gid;
	uint32_t nlink; /* kept by this room: directories 2 + subdirectories, others 1 */
	uint64_t size;
	int64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	uint64_t version; /* of the content as the kernel may cache it; grows with every change from
			     outside */
	struct meta_loc loc; /* file: the object. dir with META_F_PREFIX: remote + prefix path */
	char class_name[META_CLASS_MAX]; /* of the object */
	uint8_t tier, forced_tier;	 /* enum tier */
	int64_t tier_since_ns;
	int64_t restored_until_ns;
	uint32_t crc32c; /* of the whole object; valid when has_crc32c */
	bool has_crc32c;
	/* directories */
	int64_t listed_at_ns;	   /* 0 = never listed completely */
	uint64_t moves_before;	   /* directory moves up to this job id were posted before mkdir */
	uint32_t nchild;	   /* dentries below */
	struct meta_totals totals; /* propagated in batches, see meta_totals_flush */
	char last_error[160];
	char symlink[META_SYMLINK_MAX + 1]; /* kind META_SYMLINK */
};

/* All return -ENOENT when there is none. ret is filled completely on 0. */
errint_t meta_inode_get(struct meta_txn *t, uint64_t ino, struct meta_inode *ret);
/* Inserts or replaces the row, and keeps the totals of its parent right. */
errint_t meta_inode_put(struct meta_txn *t, const struct meta_inode *in);
/* Removes the row with its access history and xattrs. It must have no dentry. */
errint_t meta_inode_del(struct meta_txn *t, uint64_t ino);
uint64_t meta_ino_next(struct meta_txn *t); /* a number never used before; 0 when t has failed */

/* ---- names ---- */

errint_t meta_lookup(struct meta_txn *t, uint64_t parent, const char *name, uint64_t *ret_ino);
/* Gives in (already stored or not) the name parent/name: writes dentry, dir order and the inode
 * row with parent and name set; raises the parent's nchild. -EEXIST when the name is taken. */
errint_t meta_link(struct meta_txn *t, struct meta_inode *in, uint64_t parent, const char *name);
/* Takes the name away; the row stays with parent 0 and META_F_ORPHAN. */
errint_t meta_unlink(struct meta_txn *t, struct meta_inode *in);
/* unlink + link in one, keeps totals right for directories too. */
errint_t meta_move(struct meta_txn *t, struct meta_inode *in, uint64_t parent, const char *name);

/* Walks a directory in a stable order: children with ino > cookie, ascending. fn returns 0 to go
 * on, 1 to stop, negative to fail. Only ino, kind and name come cheap; full != NULL is filled with
 * the row for each call when the caller wants it. */
typedef int (*meta_child_fn)(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full);
errint_t meta_children(struct meta_txn *t, uint64_t dir, uint64_t cookie, bool with_rows,
	meta_child_fn fn, void *arg);
/* The same in name order, from the first name >= from. */
errint_t meta_children_by_name(
	struct meta_txn *t, uint64_t dir, const char *from, meta_child_fn fn, void *arg);

/* Path from the mount's root ("/aws/a/b"), NUL-terminated. -ESTALE for an orphan,
 * -ENAMETOOLONG. */
errint_t meta_path(struct meta_txn *t, uint64_t ino, char *ret, size_t size);
/* Resolves such a path; -ENOENT, -ENOTDIR. Does not list clouds. */
errint_t meta_resolve(struct meta_txn *t, const char *path, uint64_t *ret_ino);
/* Remote id and path below the remote that the *name* of ino stands for now (where its object
 * should be); for a directory the path ends with '/' or is "". Names are decoded (meta_name_*).
 * The root: -EINVAL. -ENAMETOOLONG over META_PATH_MAX. */
errint_t meta_desired(
	struct meta_txn *t, uint64_t ino, uint32_t *ret_remote, char ret_path[META_PATH_MAX + 1]);
/* Where a directory's objects are in the cloud now: its own or the nearest ancestor's explicit
 * prefix with the names below it. Ends with '/' or is "". -ESTALE for an orphan without a prefix of
 * its own. */
errint_t meta_dir_prefix(
	struct meta_txn *t, uint64_t dir, uint32_t *ret_remote, char ret_path[META_PATH_MAX + 1]);
/* True when anc is ino or an ancestor of it. */
bool meta_is_below(struct meta_txn *t, uint64_t ino, uint64_t anc);
/* Longest (bytes) path of a descendant below dir, relative to it; from the index. */
errint_t meta_longest_below(struct meta_txn *t, uint64_t dir, size_t *ret);

/* A key component as a file name and back (docs/SEMANTICS.md "Odd keys"): "" "." ".." and
 * components over 255 bytes are escaped %XX-wise; '%' itself only where a name would otherwise be
 * read as an escape. encode sets *ret_alias when decode cannot give the component back. */
void meta_name_encode(
	const char *component, size_t len, char ret[META_NAME_MAX + 1], bool *ret_alias);
void meta_name_decode(const char *name, char ret[META_NAME_MAX + 1]);

/* ---- remotes ---- */
/* The stable id of a remote's name (assigned at first sight), and its top directory (created when
 * missing: kind dir, META_F_ROOT, mode 0755, owner given). */
errint_t meta_remote(struct meta_txn *t, const char *name, uint32_t uid, uint32_t gid,
	uint32_t *ret_id, uint64_t *ret_ino);
/* Every remote that was ever given an id, in order of names. fn returns 0 to go on, 1 to stop,
 * negative to fail. */
errint_t meta_remotes_each(struct meta_txn *t,
	int (*fn)(void *arg, const char *name, uint32_t id, uint64_t ino), void *arg);
/* Lookups in the root and walks of it do not show this directory of it, as long as m is open; what
 * is below is all there for who has its number. Before other threads use m. */
errint_t meta_hide(struct meta *m, uint64_t ino);

/* ---- dirty list: inodes with staged content, so that recovery finds them ---- */
errint_t meta_dirty_set(struct meta_txn *t, uint64_t ino, bool dirty);
errint_t meta_dirty_each(struct meta_txn *t, int (*fn)(void *arg, uint64_t ino), void *arg);
/* Orphans (rows without a name), for recovery. */
errint_t meta_orphans_each(struct meta_txn *t, int (*fn)(void *arg, uint64_t ino), void *arg);

/* ---- extended attributes set by users (any namespace but user.astra.*) ---- */
errint_t meta_xattr_get(struct meta_txn *t, uint64_t ino, const char *name, void *ret, size_t size,
	size_t *ret_len); /* -ENODATA; size 0 asks for the length; -ERANGE */
errint_t meta_xattr_set(struct meta_txn *t, uint64_t ino, const char *name, const void *p,
	size_t len, int flags); /* XATTR_CREATE / XATTR_REPLACE */
errint_t meta_xattr_del(struct meta_txn *t, uint64_t ino, const char *name); /* -ENODATA */
errint_t meta_xattr_each(struct meta_txn *t, uint64_t ino,
	int (*fn)(void *arg, const char *name, const void *p, size_t len), void *arg);

/* ---- access history ---- */

struct meta_access {
	int64_t first_seen_ns, last_read_ns, last_write_ns; /* 0 = never */
	uint64_t reads, writes;				    /* opens that read / wrote, lifetime */
	uint64_t bytes_read, bytes_written;
	uint64_t cloud_bytes; /* fetched from the cloud for this file */
	uint32_t day[30];     /* accesses per day; [0] = day0 */
	int32_t day0;	      /* day number (UTC days since 1970) of day[0] */
	uint32_t month[24];
	int32_t month0; /* months since 1970-01 */
	double heat;	/* bytes, decayed with a half-life of 7 days, as of heat_at_ns */
	int64_t heat_at_ns;
};

struct meta_bump { /* what one closed handle did */
	uint64_t ino;
	int64_t when_ns;
	uint32_t reads, writes; /* 0 or 1 each, or a count for simulate-access */
	uint64_t bytes_read, bytes_written, cloud_bytes;
};

/* Heat decayed until now_ns, in bytes. */
uint64_t meta_access_heat(const struct meta_access *a, int64_t now_ns);
/* Bytes fetched from the cloud in the last window_ns, as far as heat tells. */
uint64_t meta_access_fetched(const struct meta_access *a, int64_t now_ns, int64_t window_ns);

/* Gathers in memory; the flusher thread writes once a second in key order (or at 10,000). */
void meta_access_bump(struct meta *m, const struct meta_bump *b);
errint_t meta_access_flush(struct meta *m); /* now */
/* With what is still in memory added. -ENOENT when nothing is known: then *ret is zeroed. */
errint_t meta_access_get(struct meta *m, struct meta_txn *t, uint64_t ino, struct meta_access *ret);
errint_t meta_access_put(
	struct meta_txn *t, uint64_t ino, const struct meta_access *a); /* age-file */
/* Accesses in the `days` (1..30) days up to now; lifetime = reads + writes. Pure. */
uint64_t meta_access_window(const struct meta_access *a, int64_t now_ns, unsigned days);

/* Totals: every change leaves a delta at the parent in the same transaction; this carries deltas
 * one level up, at most `max` rows a call (called by the sync thread; tests may call it until it
 * returns 0). Returns rows moved or -errno. */
int meta_totals_flush(struct meta *m, unsigned max);

/* ---- journal ---- */
errint_t meta_job_put(struct meta_txn *t, uint64_t id, const void *p, size_t len);
errint_t meta_job_del(struct meta_txn *t, uint64_t id);
uint64_t meta_job_next(struct meta_txn *t); /* ids grow, never reused */
errint_t meta_job_each(struct meta_txn *t,
	int (*fn)(void *arg, uint64_t id, const void *p, size_t len), void *arg);

/* ---- small named values (schema version, policies, sums) ---- */
errint_t meta_kv_get(struct meta_txn *t, const char *key, void *ret, size_t size, size_t *ret_len);
errint_t meta_kv_put(struct meta_txn *t, const char *key, const void *p, size_t len);

/* ---- scans and care ---- */

/* All inodes of kind FILE from ino > after, in slices: at most max rows or 5 ms, whatever comes
 * first; *ret_next = the last ino seen, 0 at the end. Opens its own short read transaction. */
errint_t meta_scan(struct meta *m, uint64_t after, unsigned max, uint64_t *ret_next,
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in), void *arg);

/* Checks every invariant between the tables (dentry<->inode<->order, nchild, totals, dirty list);
 * calls report for each violation; returns the number found or -errno. */
int meta_check(struct meta *m, void (*report)(void *arg, const char *line), void *arg);
/* When something of the index was met that is not what was written; wall clock, 0 = never. The log
 * tells it too, once a minute. Damage in some places ends the process: LMDB does not go on there.
 */
int64_t meta_damaged(struct meta *m);
#define META_DAMAGE_HELP                                                                           \
	"unmounted, 'astra db check' tells more and 'astra db rebuild' makes it anew from the "    \
	"clouds"
/* One JSON object per line, all tables; load refuses a non-empty index. */
errint_t meta_dump(struct meta *m, int fd, struct err *err);
errint_t meta_load(struct meta *m, int fd, struct err *err);

struct meta_stat {
	uint64_t inodes, dentries, jobs, dirty;
	uint64_t used_bytes, map_bytes, file_bytes;
	uint64_t last_txn, synced_txn;
	unsigned readers;
};
errint_t meta_stat(struct meta *m, struct meta_stat *ret);
/* With so many bytes free on the file system of the index its disk never refuses creates, also when
 * the reserve was given up and has to be made again: others should leave them free. */
#define META_DISK_ROOM (UINT64_C(48) << 20)
/* Space left for creates (early ENOSPC at 95 % of the map, or a full disk)? Deletes and job
 * completion may go on. */
bool meta_has_room(struct meta *m);
/* Is it the disk? Then what is free on it, and from how much on creates go on, in bytes. */
bool meta_disk_low(struct meta *m, uint64_t *ret_free, uint64_t *ret_floor);

#endif
