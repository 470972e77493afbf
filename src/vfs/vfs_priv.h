/* SPDX-License-Identifier: MIT */
/*
 * Inside the vfs room.
 *
 *   vfs.c    life, hooks, the notifier      call.c   parked calls: wait, wake, cut, answer
 *   node.c   what is open: base, marking    dirty.c  what is to be uploaded, and when
 *   behind.c rows that are not told yet     who.c    which program asks
 *   held.c   bytes in memory                pattern.c  what a reader will ask for next
 *   siblings.c  small files that are read next
 *   maker.c  who makes many files
 *   attr.c ns.c rename.c dir.c open.c read.c write.c sync.c xattr.c facts.c: the operations
 *
 * Locks, outermost first: vfs.lock (RANK_VFS: parked calls, dirty list, background listings) <
 * node.lock (RANK_INODE: fetches of one file and who waits for them) < the index writer <
 * vfs.open.lock (RANK_OPEN: which inodes are open) < staging < pool < notifier.
 * None is held across an answer, a store call, or an index write transaction.
 */
#ifndef ASTRA_VFS_PRIV_H
#define ASTRA_VFS_PRIV_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define uthash_fatal(msg) abort()
#include <uthash.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_lock.h"
#include "astra/base_log.h"
#include "astra/vfs.h"
#include "pattern.h"

#define HELD_OPEN_NS	(30 * NS_PER_S) /* a file held open is uploaded after this at the latest */
#define NAME_TMP	".astra-tmp"	/* STORE_TMP_PREFIX as a name: not the user's */
#define FETCHES_MAX	8		/* of one file at once */
#define AHEADS		4		/* streams of one file that are read ahead at once */
#define FETCHES_FEW	3    /* ... though others have taken their share of the buffers */
#define VERSIONS	4096 /* remembered content versions, for keep_cache */
#define NOTES_MAX	4096 /* queued kernel invalidations */
#define NOTES_BATCH	64
#define NOTE_PAUSE_NS	(2 * NS_PER_MS)
#define NOTE_TRIES	1000
#define LISTINGS_MAX	1024 /* directories whose background listing is remembered */
#define LIST_RETRY_NS	(5 * NS_PER_S)
#define ROWS_FIRST	65536 /* entries of a directory that are always given with attributes */
#define LISTERS		64
#define ASKERS		256
#define WHO_MS		10
#define FETCH_WHOLE_MAX (128u << 10) /* such a file is fetched in one */
#define DIRTY_TICK_NS	(20 * NS_PER_MS)
#define DIRTY_LOOK_NS	(50 * NS_PER_MS)
#define DIRTY_BATCH	128
#define DIRTY_EARLY_NS	(180 * NS_PER_MS) /* so long before what rests briefly is recorded */
#define STALE_TRIES	4
#define STALE_PAUSE_NS	(20 * NS_PER_MS)
#define STALE_WAITS	250

/* How a fetch tells its waiters that the object is offline; no file operation returns it. */
#define FETCH_ARCHIVED (-ENOMEDIUM)

TAILQ_HEAD(call_list, vfs_call);

struct vfs_node;

/* Bytes of an object that are got into memory: read.c and, while they are given from there, held.c.
 */
#define STREAM_SLOT  (512u << 10)
#define STREAM_SLOTS 16 /* of a ring, at most */

/* What only a long one has: stream.c. n->lock, but for what is said. */
struct stream {
	struct fetch *fetch;
	struct store_sink sink; /* the worker's, as this one */
	uint64_t come;		/* bytes that are in the ring, or were */
	uint64_t done, reach;	/* staging has got so much; where the ring ends now */
	uint64_t pos;		/* readers are so far, or wait for it */
	bool rests;		/* who read it went elsewhere */
	int64_t waited_ns;	/* for readers, in all */
	bool waits;		/* the worker does, on `moved` */
	pthread_cond_t moved;
	atomic_bool stop;
	atomic_uint out[STREAM_SLOTS]; /* answers that are being given from there; any thread */
};

struct fetch {
	TAILQ_ENTRY(fetch) link; /* n->io.fetches or .held: n->lock */
	struct pool_task task;
	struct vfs_node *n; /* referenced while it runs; NULL afterwards */
	struct vfs *v;
	uint64_t off, len;
	uint64_t get;	       /* as much of it as is got now */
	void *buf;	       /* owned */
	bool is_small;	       /* buf is not one of the pool's */
	unsigned halves;       /* of the pool's buffers that buf is; 1, 2 or 4 */
	uint64_t ring;	       /* byte i of it is at buf + i % ring, as long as it is there */
	uint64_t gone;	       /* bytes from its start that are not any more */
	struct stream *stream; /* owned; NULL = all of it has room */
	struct store_progress progress;
	int64_t began_ns;	  /* until its first byte has come; monotonic */
	char etag[META_ETAG_MAX]; /* of the version that is got */
	uint64_t filled;	  /* of it staging has these, from its start */
	errint_t fill;		  /* staging refused */
	atomic_uint refs;
	bool shows;	      /* what is got may be given from buf; set before the first of it */
	uint64_t stamp, size; /* of staging, as long as it may; of the file */
	uint64_t shown;	      /* bytes from its start; n->lock, as the rest */
	uint64_t given;
	bool is_held;
	int64_t held_ns;  /* since when, monotonic */
	uint64_t first;	  /* bytes that were shown first, of which the rate knows nothing */
	int64_t first_ns; /* when, monotonic */
};
TAILQ_HEAD(fetch_list, fetch);

/* An inode that is open, or that a call or fetch works on. */
struct vfs_node {
	UT_hash_handle hh; /* all up to `lock`: v->open.lock */
	uint64_t ino;
	unsigned refs, handles, writers;
	TAILQ_HEAD(, vfs_handle) open;	    /* the handles */
	STAILQ_ENTRY(vfs_node) behind_link; /* while `behind` */
	bool behind;			    /* its row is to be told: behind.c */
	TAILQ_ENTRY(vfs_node) holds_link;   /* while `holds` */
	bool holds;			    /* it may have what grows old: held.c */
	bool orphan;	     /* lost its name: keeps its version from being destroyed */
	bool complete;	     /* ... but not any more: all of it is here */
	uint32_t dep_remote; /* where missing bytes were when it was bound */

	struct lock lock; /* RANK_INODE */
	struct {
		struct fetch_list fetches, held;
		unsigned nfetches;
		struct ahead_way {
			const void *who;       /* the stream, of some handle's pattern */
			uint64_t at, to, unit; /* [at, to) is to be begun yet, in such units */
			uint64_t most;	       /* or, in one stream, so much; 0: none */
		} ahead[AHEADS];
		unsigned turn;	/* which of them is next */
		int64_t way_ns; /* until the first byte of a fetch, at best; 0: not known */
		struct call_list waiters;
		bool rest;     /* fetches go on until nothing is missing */
		bool full;     /* staging kept nothing of the last one: nothing is read ahead */
		uint64_t rate; /* bytes a second of one request; 0 = not known */
	} io;		       /* lock */
	struct vfs *v;
	struct pool_task rest_task;
	atomic_bool rest_posted;
	_Atomic(struct stage_file *) sf; /* set once, under lock */
	/* sf has the base that the row says when these are equal. */
	_Atomic uint64_t bind_asked, bound;
	_Atomic uint64_t cloud_bytes; /* fetched and not yet told to a handle */
	_Atomic uint64_t ahead_at;    /* when it has so many bytes: write.c */
};

struct vfs_handle {
	struct vfs_node *n;	      /* NULL: a directory */
	TAILQ_ENTRY(vfs_handle) link; /* n->open; v->open.lock */
	uint64_t ino;
	int flags;
	bool readable, writable, no_count, no_recall, kept;
	_Atomic unsigned given; /* directory: entries since its start, as far as they matter */
	atomic_bool begun;	/* it was read from its start */
	atomic_bool coming;	/* directory: more names may come from its listing */
	atomic_bool read_seen, wrote, wrote_since_commit, synced;
	_Atomic uint64_t bytes_read, bytes_written;
	struct pattern pattern; /* n->lock */
	struct {
		uint64_t ino, end, seq;
		char etag[META_ETAG_MAX];
	} copied; /* write.c: [0, end) of that version is here; the kernel's inode lock */
};

struct note { /* one kernel invalidation */
	uint64_t ino;
	bool entry, data;
	unsigned tries; /* it was put off because a call holds what it is about */
	char name[META_NAME_MAX + 1];
};

struct dirty { /* one inode with content to upload */
	UT_hash_handle hh;
	uint64_t ino;
	int64_t first_ns, flush_ns, due_ns; /* monotonic */
	bool held;			    /* deferred, and nothing came since */
	bool closed, brief;		    /* once; rests briefly */
	int maker;			    /* who made it, when it counts there; 0 = nobody */
};

#define MAKER_RUN 8

struct maker {			   /* a thread that makes files: maker.c */
	int tid;		   /* 0 = none */
	unsigned made;		   /* in a row, up to MAKER_RUN */
	uint64_t first[MAKER_RUN]; /* these, until they are so many */
	uint64_t dir;		   /* where the last one was made */
	bool far;		   /* what is made there goes over a network */
	int64_t at_ns, not_ns;	   /* monotonic: when; until then all rest as others do */
};

struct brief { /* a file whose upload was posted after a brief rest */
	uint64_t ino;
	int tid;
	int64_t at_ns; /* monotonic */
};

/* Small files of one directory that are read one after another: siblings.c */
struct series {
	uint64_t dir, first, last; /* 0 = none; inodes */
	uint64_t ahead;		   /* up to which the next ones were looked at */
	unsigned hits;		   /* that followed each other */
	unsigned window, left;	   /* of those that were fetched, not read yet */
	unsigned skipped;	   /* entries that were gone over, and may be read a little late */
	bool looking;
	int64_t at_ns;
};

struct listing { /* a directory that is, or lately was, being listed; all under v->lock */
	UT_hash_handle hh;
	struct job_waiter waiter;
	struct vfs *v;
	uint64_t ino;
	struct call_list calls; /* that wait for it, by own.fetch */
	bool running;
	bool first;	  /* nothing was known of it before */
	unsigned pages;	  /* that are in the index, but for the last one */
	int64_t retry_ns; /* monotonic: not before, in the background */
};

#define VAIN_PLACES 64

struct vfs {
	struct vfs_conf conf;
	struct jobs *jobs;	    /* set by vfs_start */
	int64_t listed_epoch_ns;    /* directories listed before it are listed anew; by vfs_start */
	struct pool_share **shares; /* owned array of the pool's, for each remote; constant */

	struct lock lock; /* RANK_VFS */
	struct {
		struct call_list calls; /* armed or parked */
		unsigned nparked;
		int64_t timer_ns; /* when deadline_task is armed for; 0 = not */
		struct dirty *dirty;
		unsigned nheld; /* of dirty */
		int64_t dirty_timer_ns;
		size_t posting; /* left the list, and their jobs are not there yet */
		struct listing *listings;
		unsigned nlistings_running;
		bool stopping, flushing;
		struct maker makers[64];
		struct brief briefs[256]; /* the last ones */
		unsigned nbriefs;	  /* ever */
	} s;				  /* lock */
	pthread_cond_t idle;		  /* lock */
	struct pool_task deadline_task, dirty_task, behind_task, held_task;
	_Atomic unsigned active;     /* calls begun and not answered */
	_Atomic unsigned background; /* fetches and tasks that use v */
	atomic_bool cancel;	     /* store calls end */
	_Atomic unsigned nheld;	     /* halves of transfer buffers: held.c */
	_Atomic unsigned removing;   /* transactions that may take an inode's name */
	_Atomic unsigned renames;    /* that wait */
	/* A full cache, write.c: no wait while so many bytes less one were sent; when last told. */
	_Atomic uint64_t full_in_vain;
	_Atomic int64_t full_told_ns, full_hurried_ns;
	_Atomic int64_t
		vain[VAIN_PLACES]; /* until when no rename waits; by two remotes: rename.c */
	/* Who listed names without attributes, and whether it then asked for some: dir.c */
	_Atomic uint64_t listers[LISTERS];

	_Atomic uint64_t askers[ASKERS]; /* threads that opened something just now: open.c */

	atomic_bool any_series;
	struct {
		struct lock lock; /* RANK_AHEAD */
		struct series series[16];
	} ahead;

	struct {
		struct lock lock; /* RANK_OPEN */
		struct vfs_node *nodes;
		uint64_t handles;
		STAILQ_HEAD(, vfs_node) behind; /* each referenced */
		unsigned nbehind, ntelling;	/* on the list; taken from it, and not told yet */
		TAILQ_HEAD(, vfs_node) holds;	/* held_task is armed or runs unless empty */
		unsigned nholds;
		struct {
			uint64_t ino, version;
		} seen[VERSIONS];
	} open;

	struct {
		struct lock lock; /* RANK_NOTIFY */
		pthread_cond_t wake;
		struct note *ring; /* owned, NOTES_MAX */
		unsigned head, count;
		bool stop, has_thread, told;
		pthread_t thread;
	} note;
};

/* ---- call.c ---- */

enum { ON_TIMEOUT_RERUN = 1 };
enum wait_kind { WAIT_JOB = 1, WAIT_FETCH, WAIT_LIST, WAIT_TIME };
enum call_state { CALL_RUNNING, CALL_ARMING, CALL_PARKED };

struct call_wait {
	enum wait_kind kind;
	int64_t timeout_ns; /* 0 = the deadline of the whole operation (conf.io_deadline_ns) */
	bool forever;	    /* no deadline */
	int on_timeout;	    /* see struct vfs_own */
	bool interruptible;
};

/* Every operation begins with call_begin and ends with call_done, once. */
void call_begin(struct vfs *v, struct vfs_call *c, void (*run)(struct vfs_call *c));
void call_done(struct vfs_call *c, errint_t r);
/* Before a source of waking is armed. False: the call was answered; touch it no more. Then
 * either call_armed() (touch it no more), or call_disarm() when there is nothing to wait for. */
bool call_arm(struct vfs_call *c, const struct call_wait *w);
void call_armed(struct vfs_call *c);
void call_disarm(struct vfs_call *c);
/* The queue of jobs is full: a call that may add to it waits for room, a second at most, so that a
 * cloud that is slow slows its writers down, and one that is dead stops nobody. True: it was parked
 * or answered; touch it no more. */
bool call_held(struct vfs_call *c);
void call_wake(struct vfs_call *c, errint_t r); /* by the source, once */
void call_job_fn(struct job_waiter *w, errint_t r);
/* Runs it again on a worker. */
void call_later(struct vfs_call *c, enum pool_lane lane);
/* Runs it again where it may call a remote's store: among what may hang with that remote. */
void call_at_remote(struct vfs_call *c, uint32_t remote);
bool call_is_at_remote(const struct vfs_call *c);
/* The workers for what calls a remote's store. NULL (the common ones) when it is not known. */
struct pool_share *remote_share(struct vfs *v, uint32_t id);
void calls_stop(struct vfs *v);
void deadline_run(struct pool_task *t);

/* ---- node.c ---- */

errint_t row_get(struct vfs *v, uint64_t ino, struct meta_inode *ret);
/* The path of ino in the mount, for the log. */
const char *path_tell(struct vfs *v, uint64_t ino, char ret[META_PATH_MAX + 66]);
struct vfs_node *node_get(struct vfs *v, uint64_t ino); /* NULL: no memory */
void node_ref(struct vfs *v, struct vfs_node *n);
void node_put(struct vfs *v, struct vfs_node *n);
/* The same for a call by inode number: kept until it is answered. */
errint_t call_node(struct vfs_call *c, uint64_t ino);
/* Opens staging and binds it to the base that the index names. -ESTALE: no such file. */
errint_t node_bind(struct vfs *v, struct vfs_node *n);
void node_unbind(struct vfs_node *n);
/* Remembers what the row says: whose object n's missing bytes come from, and whether it has a name.
 */
void node_dep_set(struct vfs *v, struct vfs_node *n, const struct meta_inode *in);
uint32_t node_dep_remote(struct vfs *v, struct vfs_node *n);
/* Bytes of ino, if it is open, may be in its object alone from here on. */
void node_incomplete(struct vfs *v, uint64_t ino);
/* Staging of some file is held that nobody has open: by a call, or until its row is told. */
bool node_any_closed(struct vfs *v);
void node_orphan_set(struct vfs *v, uint64_t ino, bool orphan);
/* Before staged content changes: dirty in the index, and on the list. */
errint_t node_mark(struct vfs *v, struct vfs_node *n);
/* After it: still so. */
errint_t node_mark_check(struct vfs *v, struct vfs_node *n);
/* Size and mtime from staging into the row: in a transaction of its own, or in t. */
errint_t node_flush(struct vfs *v, struct vfs_node *n);
errint_t node_flush_txn(struct vfs *v, struct meta_txn *t, struct vfs_node *n);
/* Puts what staging knows better into a row as it is in the index now. */
void node_overlay(struct vfs *v, struct meta_inode *in);
/* The same for a row that was read some time ago: size and times as they are now. */
void row_now(struct vfs *v, struct meta_inode *in);
bool version_seen(struct vfs *v, uint64_t ino, uint64_t version); /* and remembers it */

static inline struct stage_file *node_sf(struct vfs_node *n)
{
	return atomic_load_explicit(&n->sf, memory_order_acquire);
}

/* ---- dirty.c ---- */

enum dirty_event {
	DIRTY_WRITE,   /* changed through a handle */
	DIRTY_CHANGE,  /* changed without one */
	DIRTY_FLUSH,   /* FLUSH came */
	DIRTY_RELEASE, /* the last writer went */
	DIRTY_AGAIN,   /* a job says so */
	DIRTY_AHEAD,   /* so much was written that its upload may begin: job_goes_ahead */
};
void dirty_event(struct vfs *v, uint64_t ino, enum dirty_event ev);
bool dirty_has_writers(struct vfs *v, uint64_t ino);
void dirty_defer(struct vfs *v, uint64_t ino, int64_t delay_ns,
	bool held);		 /* not before, but for new changes */
void dirty_hurry(struct vfs *v); /* all is due: staging is full */
/* Its upload is due now; false: it is not on the list. */
bool dirty_soon(struct vfs *v, uint64_t ino);
void dirty_forget(struct vfs *v, uint64_t ino);
void dirty_run(struct pool_task *t);
errint_t dirty_recover(struct vfs *v, struct err *err);
/* Posts uploads of all dirty inodes that want() likes (NULL = all). Not from a FUSE thread. */
errint_t dirty_post(struct vfs *v,
	bool (*want)(struct vfs *v, struct meta_txn *t, const struct meta_inode *in, uint64_t arg),
	uint64_t arg, bool soon);
void dirty_done(struct vfs *v);
/* The file gets another name, or goes: whoever made it is not one whose files rest briefly. */
void dirty_turned(struct vfs *v, uint64_t ino);
void dirty_made_locked(struct vfs *v, uint64_t ino, int maker);
void dirty_brief_locked(struct vfs *v, uint64_t ino, int maker);
void dirty_rest_locked(struct vfs *v, int maker); /* none of his rests briefly any more */

/* ---- maker.c ---- */

/* tid has made a file; of the dirty list already. */
void maker_made(struct vfs *v, int tid, uint64_t dir, const char *name, uint64_t ino);
void maker_spoilt_locked(struct vfs *v, int tid);
void maker_dir_moved(struct vfs *v);
void maker_gone_locked(struct vfs *v, uint64_t ino, int tid); /* its upload is posted */
void maker_again_locked(struct vfs *v, uint64_t ino);	      /* and then it was changed, or went */

/* ---- behind.c ---- */

/* The same as node_flush(), soon. */
errint_t row_behind(struct vfs *v, struct vfs_node *n);
void behind_run(struct pool_task *t);

/* ---- who.c ---- */

/* Names of a process: executable, script of an interpreter, comm (cut at 15 bytes). */
struct who {
	char exe[256], script[256], comm[16];
};
void who_get(int tid, struct who *w);
bool who_in(const struct who *w, const char *const *list); /* list: NULL-terminated, or NULL */

/* ---- vfs.c ---- */

void note_inode(struct vfs *v, uint64_t ino, bool data);
void note_entry(struct vfs *v, uint64_t parent, const char *name);
const struct remote *remote_by_id(struct vfs *v, uint32_t id); /* NULL */

/* ---- attr.c ---- */

void attr_of(struct vfs *v, const struct meta_inode *in, struct vfs_attr *ret);
errint_t attr_touch(struct vfs *v, uint64_t ino); /* mtime and ctime are now */
/* Content is changed by somebody who may not keep the set-id bits. */
errint_t attr_kill_suid(struct vfs *v, struct meta_inode *in);
errint_t attr_answer(struct vfs_call *c, const struct meta_inode *in); /* fills c->attr; 0 */

/* ---- dir.c ---- */

enum dir_wait { DIR_READY, DIR_PARKED };
/* Makes sure that dir was listed once: DIR_READY, DIR_PARKED (return at once), or -errno (the
 * caller answers). Lists it in the background when it is stale. */
int dir_ready(struct vfs_call *c, uint64_t dir);
/* Asks for a fresh listing and waits for it. */
int dir_list(struct vfs_call *c, uint64_t dir);
/* c asks for attributes of what is in dir, and gets them as they are known. */
void dir_looked_up(struct vfs_call *c, uint64_t dir);
/* A page more of the listing of dir is in the index. */
void dir_listed_more(struct vfs *v, uint64_t dir);
bool dir_list_cancel_locked(struct vfs_call *c);
void dir_list_background(struct vfs *v, uint64_t dir);
void listings_done(struct vfs *v);

/* ---- ns.c ---- */

/* A new name below parent: refuses what the place cannot hold. Inside a transaction. */
errint_t ns_place_ok(struct vfs *v, struct meta_txn *t, const struct meta_inode *parent,
	const char *name, enum meta_kind kind);
/* The name that ino has just been given can be an object's key. */
errint_t ns_key_ok(struct vfs *v, struct meta_txn *t, uint64_t ino, size_t longest_below);
/* A new row for parent/name, linked; ino, times, owner, inheritance filled. */
errint_t ns_make(struct vfs_call *c, struct meta_txn *t, enum meta_kind kind, uint32_t mode,
	const char *target, struct meta_inode *in);
/* Parent's times after a change of its entries. */
void ns_touch_dir(struct meta_txn *t, uint64_t dir);
/* parent lost an entry. */
void ns_lost_entry(struct vfs *v, struct meta_txn *t, uint64_t parent);
bool ns_buckets_here(struct vfs *v, const struct meta_inode *dir); /* children are buckets */
void rename_run(struct vfs_call *c);
/* As mv of c->own.ino to the same path below another remote; directories are made on the way.
 * 0 = nothing to do, 1 = it goes on and answers, -ENODEV = no such remote. */
int rename_migrate(struct vfs_call *c, const char *remote);

/* ---- open.c, read.c, write.c ---- */

/* The file is offline and its bytes are wanted. 0: it is not (any more); 1: parked; -errno. */
int recall_wait(struct vfs_call *c, uint64_t ino, bool may_restore);
/* Waits until [off, off+len) may have come; the call runs again. Touch it no more. */
/* h goes: nothing more is read ahead for it. */
void ahead_leave(struct vfs_handle *h);
void fetch_wait(struct vfs_call *c, struct vfs_node *n, uint64_t off, uint64_t len, uint64_t ahead);
/* After a fetch failed with r (own.r): 0 = try again; 1 = parked; else the answer. */
int fetch_failed(struct vfs_call *c, struct vfs_node *n, errint_t r, bool may_restore);
void rest_run(struct pool_task *t);
/* All of a small file, for nobody who waits. */
void fetch_whole(struct vfs *v, struct vfs_node *n);

/* ---- held.c ---- */

void fetch_put(struct fetch *f);
/* Transfer buffers that are free, or could be at once. */
unsigned held_room(struct vfs *v);
/* One more fetch of n may take a transfer buffer. */
bool held_may_take(struct vfs *v, struct vfs_node *n, unsigned count);
/* f is over, and left the list of those that run: true, the reference is the other list's now. */
bool held_keep_locked(struct vfs_node *n, struct fetch *f);
/* Something that is held has the byte at off, and all up to *ret_end. */
bool held_locked(struct vfs_node *n, uint64_t off, uint64_t *ret_end);
/* The range can be given from memory. */
bool held_whole_locked(struct vfs_node *n, uint64_t off, uint64_t len);
/* Answers c's read from memory: data, len and what keeps them. False: by staging. */
bool held_read(struct vfs_call *c, struct vfs_node *n);
/* An answer of [data, data+len) was given; f's reference stays. */
void held_given(struct fetch *f, const void *data, size_t len);
void held_drop_all(struct vfs_node *n); /* n->lock, or nobody has n any more */
/* Nobody has it open: what is on its way still comes, and nothing more begins. */
void held_forget(struct vfs_node *n);
void held_run(struct pool_task *t);

/* ---- stream.c: under n->lock ---- */

/* n is so near, and read so far, that a stream of up to so many bytes pays; 0: no. */
uint64_t stream_most(struct vfs *v, struct vfs_node *n, uint64_t window);
/* A window as it is for n: what is near needs less on its way. */
uint64_t stream_window(struct vfs *v, struct vfs_node *n, uint64_t window);
/* f, which is to be longer than any buffer, is one. False: no memory. */
bool stream_new(struct fetch *f);
void stream_free(struct fetch *f);
/* What of f, from its start, has come, and is where it is; is under way for whom waits for it. */
uint64_t stream_done(const struct fetch *f);
uint64_t stream_extent(const struct fetch *f);
/* [off, end) was read, or is waited for. */
void stream_read_locked(struct vfs_node *n, uint64_t off, uint64_t end);
/* Who read goes elsewhere: they rest. */
void stream_rest_locked(struct vfs_node *n);
void stream_stop_locked(struct vfs_node *n);

/* ---- read.c, for stream.c ---- */

/* The buffer has the bytes of f up to `have`. */
void fetch_grown(struct fetch *f, uint64_t have);

/* ---- siblings.c ---- */

/* ino is read from its start; missed: it was not here. Fetches what is probably read next. */
void siblings_read(struct vfs *v, uint64_t ino, bool missed);
void read_seen(struct vfs_handle *h, uint64_t bytes); /* a read was answered */
/* Size change of a bound node: 0; 1 = parked; -errno. */
int write_truncate(struct vfs_call *c, struct vfs_node *n, uint64_t size);
errint_t write_reset(struct vfs *v, struct vfs_node *n); /* O_TRUNC */

/* ---- xattr_set.c: 0, 1 = parked, -errno ---- */

int xattr_set_tier(struct vfs_call *c, const char *value);
int xattr_set_restore(struct vfs_call *c, const char *value);
int xattr_set_refresh(struct vfs_call *c, const char *value);
int xattr_set_migrate(struct vfs_call *c, const char *value);
/* -EINVAL, with a line in the log that has the path. */
int xattr_refuse(struct vfs_call *c, const char *why);
int xattr_bad_value(struct vfs_call *c, const char *value, const char *allowed);
/* The program copies attributes wholesale (no_list): ours describe this object, not its copy. */
bool xattr_by_copier(const struct vfs_call *c);
/* Attributes that are set here come from a copy of a file: read-only ones are to be ignored. */
bool xattr_is_copy(const struct vfs_call *c, const struct meta_inode *in, bool known);

/* ---- sync.c ---- */

/* Goes on with a wait for everything that ino's durability asks; answers. */
void sync_run(struct vfs_call *c);

#endif
