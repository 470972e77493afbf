/* SPDX-License-Identifier: MIT */
/*
 * Jobs make the clouds agree with the index. The vfs changes names and contents in an index
 * transaction and says in the same transaction what changed (job_moved, job_removed, ...); this
 * room writes the journal record, orders it by claims, and drives it to the end.
 *
 * Order is per key. A job claims, when posted, every key that it reads or writes (a directory move
 * claims two prefixes) and its inode, and runs when no earlier job has any of them. Keys of a job
 * are fixed when it is posted; a later change of the same name either edits a job that has not
 * begun and that nobody waits for, or posts another job behind it. So the clouds replay the order
 * of the changes, key by key, and there is no deadlock.
 *
 * Each job is a state machine run by pool tasks; it holds no worker while it waits. A destructive
 * step (delete, overwrite) starts only when the transaction that records its precondition is
 * durable (meta_synced). Everything may have been done already when a step begins again.
 *
 * Threads: any. Functions that take a transaction are called with the index writer held.
 */
#ifndef ASTRA_JOB_H
#define ASTRA_JOB_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "astra/base_buf.h"
#include "astra/base_json.h"
#include "astra/base_pool.h"
#include "astra/meta.h"
#include "astra/policy.h"
#include "astra/stage.h"
#include "astra/store.h"

enum job_kind {
	JOB_UPLOAD = 1, /* staged content -> object */
	JOB_RELOCATE,	/* object -> another key or cloud */
	JOB_REMOVE,	/* object of an unlinked inode */
	JOB_DIRMOVE,	/* all objects below a directory -> its new prefix */
	JOB_TRANSITION, /* class of an object */
	JOB_RESTORE,	/* bring an offline object back */
	JOB_MARK,	/* leave a directory marker */
	JOB_UNMARK,	/* remove one */
	JOB_ATTR,	/* attributes into object metadata */
	JOB_EXCHANGE,	/* two objects take each other's key */
	JOB_LOOK,	/* whether a request of a job that has ended took effect after all */
	JOB_KIND_N
};

/* What holds in each, and what each event does to it, is in docs/SEMANTICS.md. */
enum job_state {
	JOB_QUEUED,	  /* journaled, not begun; waits for claims, delay or a slot */
	JOB_RUNNING,	  /* bytes move; nothing visible at the destination */
	JOB_COMMITTING,	  /* the request that makes it visible is under way */
	JOB_VERIFYING,	  /* visible; compared with what was sent, then the index is told */
	JOB_CLEANING,	  /* the index points to the destination, durably; the source is removed */
	JOB_WAITING,	  /* for show: begun, and back-off, barrier, restore, object in use, slot */
	JOB_ROLLING_BACK, /* the name returns to where the object is */
	JOB_DONE,
	JOB_FAILED,    /* given up and rolled back; kept in memory for `jobs list` */
	JOB_CANCELLED, /* as FAILED, because somebody said so */
	JOB_STATE_N
};

const char *job_kind_name(enum job_kind k);
const char *job_state_name(enum job_state s);

struct jobs;

struct job_hooks { /* what jobs must know from, or tell, the vfs; called without locks unless said
		    */
	void *arg;
	/* The content behind ino changed from outside (data), or only its attributes. */
	void (*inode_changed)(void *arg, uint64_t ino, bool data);
	/* parent/name now means something else or nothing. */
	void (*entry_changed)(void *arg, uint64_t parent, const char *name);
	/* A page of the directory's listing, not the last, is in the index. */
	void (*listed_more)(void *arg, uint64_t dir);
	/* Some handle has ino open. Called inside index transactions: may take only RANK_OPEN. */
	bool (*is_open)(void *arg, uint64_t ino);
	/* Some handle may write to ino. No locks held. */
	bool (*is_written)(void *arg, uint64_t ino);
	/* A handle that must fetch from remote:path version etag is open; the job waits up to
	 * open_grace for it, during which the vfs may fetch the rest. As is_open for locks. */
	bool (*in_use)(void *arg, uint32_t remote, const char *path, const char *etag);
	/* ino has content to upload: asked again soon (after a conflict, a crash, a failure). */
	void (*dirty_again)(void *arg, uint64_t ino, int64_t delay_ns);
	/* An upload made ino clean in the index. The vfs forgets that it knows ino as dirty; then
	 * the job asks stage_dirty() once more, and calls dirty_again if a write came meanwhile. So
	 * a write must go: stage_write, then look whether ino is known as dirty, then answer. */
	void (*cleaned)(void *arg, uint64_t ino);
	/* An upload of ino is done, and some of what staging has not got, or may let go, comes from
	 * the new object. */
	void (*rebased)(void *arg, uint64_t ino);
};

struct jobs_conf {
	struct meta *meta;
	struct stage *stage;
	struct remote *remotes; /* ids assigned */
	size_t nremotes;
	const struct price_book *prices; /* NULL: bills of directory moves are not made */
	struct pool *pool;
	struct bufs *bufs;
	struct job_hooks hooks;
	int64_t upload_delay_ns; /* markers wait as long too */
	int64_t open_grace_ns;	 /* 60 s */
	int64_t attr_rest_ns;	 /* before a copy for attributes alone; 0 = 60 s */
	unsigned active_max;	 /* jobs between QUEUED and DONE at once; 0 = 64 */
	unsigned queue_max;	 /* live jobs before job_full() says so; 0 = 16,000 */
	int64_t metadata_ttl_ns;
	uint32_t uid, gid, umask; /* of objects that state none */
	bool conflict_overwrite;  /* conflict=overwrite */
	uint64_t delete_guard;	  /* removals a minute that are done at once; 0 = all */
	int64_t undo_window_ns;	  /* how long the others are held */
	bool ro;		  /* stale uploads stay as well */
	char host[64];		  /* for conflict copies */
	int64_t follow_ns;	  /* how long what must not be given up is tried; 0 = 10 min,
				     of a directory that is not empty 10 s */
	int64_t leave_ns;	  /* before a restore ends a move takes its object; 0 = 1 h */
	uint64_t ahead_min;	  /* bytes of job_ahead_min; 0 = 64 MiB */
	int64_t ahead_idle_ns;	  /* nothing came for so long: it makes an end; 0 = 30 s */
	int64_t late_ns;	  /* how long a request may take effect late; 0 = 30 s */
	bool power_cut;		  /* the index was put back to its last sync point */
	int64_t retry_max_ns; /* longest back-off; 0 = 5 min, of an upload that failed for good 1 h
			       */
};

/* Reads the journal and brings every job back, without starting any. */
errint_t jobs_open(const struct jobs_conf *conf, struct jobs **ret, struct err *err);
void jobs_start(struct jobs *j);
/* Stops starting steps, waits for those that run; the journal keeps the rest. */
void jobs_stop(struct jobs *j);
void jobs_close(struct jobs *j); /* after jobs_stop; NULL is fine */

/* ---- what changed (inside the transaction that changes it) ---- */

/* Staged content of a file or symlink is due. Posts an upload to where its name says; does nothing
 * when one is queued and has not begun. soon = somebody waits (fsync). */
errint_t job_upload(struct jobs *j, struct meta_txn *t, uint64_t ino, bool soon);
/* One that is recorded now, so that a sync point can pass meanwhile, and begins at from_mono_ns;
 * beside who works only a few at a time do. */
errint_t job_upload_at(struct jobs *j, struct meta_txn *t, uint64_t ino, int64_t from_mono_ns);
/* Its upload, when it has not begun, does not begin before. */
void job_upload_rest(struct jobs *j, uint64_t ino, int64_t until_mono_ns);
/* An upload of ino, once it has job_ahead_min() bytes, may be posted while it is still written: it
 * is a new file with a lasting name, in a remote that is not on this machine. It sends what is
 * written by then, goes on with what follows, and ends soon after the last writer has closed the
 * file, or when job_upload(soon) or another job of ino asks for it. A read transaction; no locks
 * held. */
bool job_goes_ahead(struct jobs *j, uint64_t ino);
/* Called as files are that mostly get another name soon: *.tmp, .*, ... */
bool job_name_is_temp(const char *path);
uint64_t job_ahead_min(const struct jobs *j);
/* The bytes of `from`, a settled file, into `to`, an empty one in the same remote whose staging
 * was just reset (seq), by the store alone; the caller waits for *ret_job. When it ends `to` is
 * clean and has them, or is as it was. -EOPNOTSUPP: not possible, or not now. */
errint_t job_copy(struct jobs *j, struct meta_txn *t, const struct meta_inode *from,
	const struct meta_inode *to, uint64_t seq, uint64_t *ret_job);
/* For stage_twin_set: the object of a settled file. remote 0: it is not settled. */
void job_twin_of(const struct meta_inode *in, struct stage_twin *ret);
/* in's name has just been changed (meta_move), or its remote. victim: the orphan whose name it
 * took, or 0. A file without object adopts the victim's as what its upload will overwrite. A
 * directory keeps its old prefix until its objects have followed. in may be changed and is stored.
 * *ret_job is the job that makes it true, 0 when nothing is to be done. */
errint_t job_moved(struct jobs *j, struct meta_txn *t, struct meta_inode *in,
	const struct meta_inode *victim, uint64_t *ret_job);
/* Before a directory gets another name: pins the prefix that its objects have now. */
errint_t job_pin_prefix(struct jobs *j, struct meta_txn *t, struct meta_inode *dir);
/* in has just lost its name (meta_unlink) and nothing took it. Posts the removal of its object; a
 * row that nobody needs (no object, not open) is deleted with its staging. */
errint_t job_removed(struct jobs *j, struct meta_txn *t, struct meta_inode *in);
/* a and b have just changed names with each other. Neither is cold (job_is_cold). */
errint_t job_exchanged(
	struct jobs *j, struct meta_txn *t, struct meta_inode *a, struct meta_inode *b);
/* dir is new, and empty: a marker is due. dir may be changed and is stored. */
errint_t job_made_dir(struct jobs *j, struct meta_txn *t, struct meta_inode *dir);
errint_t job_removed_dir(struct jobs *j, struct meta_txn *t, struct meta_inode *dir);
/* dir lost its last child: an implied directory leaves a marker. */
errint_t job_emptied_dir(struct jobs *j, struct meta_txn *t, uint64_t dir);
/* Move in's object to the class of tier in its remote. -EOPNOTSUPP when the remote has no such
 * class; 0 and *ret_job 0 when it is there already. */
errint_t job_tier(struct jobs *j, struct meta_txn *t, const struct meta_inode *in, enum tier tier,
	bool by_engine, uint64_t *ret_job, struct err *err);
/* One that is restored stays so long from now on; *ret_job 0 when it does already. */
errint_t job_restore(struct jobs *j, struct meta_txn *t, const struct meta_inode *in, unsigned days,
	uint64_t *ret_job, struct err *err);
/* Mode, owner, times or xattrs of a file changed: into the object's metadata, coalesced. Where that
 * is a copy of the object (caps.meta_copy), only of one in HOT, and when it was left alone for a
 * while, or somebody waits for a directory. Those of a changed file go with its upload, or behind
 * one that has begun. */
errint_t job_attr(struct jobs *j, struct meta_txn *t, const struct meta_inode *in);
/* Whether an object of in can have the extended attributes that t has given it: -ENOSPC. */
errint_t job_attrs_fit(struct jobs *j, struct meta_txn *t, const struct meta_inode *in);
/* in is a file whose move was taken back, and nothing has been written since: whoever replaces what
 * its old name stands for may not know, and believes the old content to be at the new one. */
bool job_taken_back(struct jobs *j, const struct meta_inode *in);
/* Before the content of such a file is dropped: another inode, NAME.unmoved-TIME, takes its object,
 * and in, which is stored, has none. */
errint_t job_keep_old(struct jobs *j, struct meta_txn *t, struct meta_inode *in);
/* An orphan's last handle was closed: deletes the row unless a job still needs it. */
errint_t job_orphan_closed(struct jobs *j, struct meta_txn *t, uint64_t ino);

/* ---- questions ---- */

bool job_live(struct jobs *j, uint64_t ino); /* some job has ino */
/* Some job has in, or a directory above its object: where that is may change. */
bool job_may_move(struct jobs *j, const struct meta_inode *in);
/* in's object is in a class that has to be restored, also when it is restored just now, or is on
 * its way there. */
bool job_is_cold(struct jobs *j, const struct meta_inode *in);
/* A file at the other remote could hold this path (key length, character set): 0,
 * -ENAMETOOLONG, -EILSEQ. */
errint_t job_path_ok(struct jobs *j, uint32_t remote, const char *path);
struct remote *job_remote(struct jobs *j, uint32_t id); /* NULL when not configured */
bool job_full(struct jobs *j);				/* too many live jobs: hold new work back */

/* in is opened for writing, or new: what its remote must be asked before that is asked now. Cheap
 * once it was; no locks held, no transaction. */
void job_will_write(struct jobs *j, const struct meta_inode *in);

/* ---- standing back ---- */

/* Somebody changed a file. While many a second are changed, removals, and uploads by way of
 * job_stand_back, that nobody waits for wait for a pause. Cheap; any thread, index writer or not.
 */
void job_foreground(struct jobs *j);
/* How much later than it is due an upload is to be posted now, in ns; 0 = at once. */
int64_t job_stand_back(struct jobs *j);
/* Somebody waits for room in the cache, and says so again while he does: nothing stands back, and
 * what rests after a failure is tried. Any thread, no locks held. */
void job_cache_full(struct jobs *j);

/* ---- waiting ---- */

struct job_info;
struct job_waiter {
	TAILQ_ENTRY(job_waiter) link;
	void (*fn)(struct job_waiter *w, errint_t r); /* once, from any thread, no locks held */
	uint64_t ino;				      /* what it waits for; set by the room */
	uint64_t until;				      /* job ids up to this one */
	uint64_t id;				      /* of job_wait_id */
	unsigned left;				      /* jobs that have not ended */
	bool tree;				      /* also for what lies below ino */
	bool lost;				      /* some were not waited for: job_wait */
	struct ask *ask;			      /* of job_class_ask */
	errint_t result;
	bool armed;
};

/* Calls w->fn when no job posted up to now has ino (a directory: nor anything at or below its
 * desired prefix; META_ROOT_INO: no job at all); r = the first failure among them. Those of a
 * remote that is not in the configuration, and what is behind them, are not waited for: w->lost.
 * Returns false (fn is not called) when there is none. */
bool job_wait(struct jobs *j, uint64_t ino, struct job_waiter *w);
/* For one job id. */
bool job_wait_id(struct jobs *j, uint64_t id, struct job_waiter *w);
/* What somebody who waits for ino waits for: *ret is the job that tells most, one that waits for
 * something outside before one that has a reason to wait at all. The number of jobs, with those
 * that they wait for; 0 = none. */
unsigned job_wait_reason(struct jobs *j, uint64_t ino, struct job_info *ret);
/* True when fn will not be called any more. */
bool job_wait_cancel(struct jobs *j, struct job_waiter *w);
/* Makes the jobs of ino, and what they wait for, run before others and without delay. */
void job_hurry(struct jobs *j, uint64_t ino);

/* ---- listing ---- */

/* Lists one directory from its cloud and merges it into the index (one LIST at a time for each
 * directory; further calls join it). w->fn(r) when it is complete. A directory of a remote without
 * bucket at its top lists the buckets. */
void job_list(struct jobs *j, uint64_t dir, struct job_waiter *w);

/* The class of in's object is not known: its listing did not tell it, and nobody has asked yet.
 * in->tier means nothing then. */
bool job_class_unknown(struct jobs *j, const struct meta_inode *in);
/* Asks for it, and keeps it, with the object's metadata; further calls join. w->fn(r): 0 it is
 * known now, if in is still there; -ENODATA the object is another one by now. front: somebody waits
 * for it. job_wait_cancel ends the wait. */
void job_class_ask(struct jobs *j, const struct meta_inode *in, bool front, struct job_waiter *w);

/* ---- seeing and steering ---- */

struct job_info {
	uint64_t id, ino;
	enum job_kind kind;
	enum job_state state;
	char src[META_PATH_MAX + 66], dst[META_PATH_MAX + 66]; /* "/aws/a/b" */
	enum tier tier;
	/* files_*: of a directory move, all whose objects move; bytes and parts are theirs */
	uint64_t bytes_total, bytes_done, parts_done, parts_total, files_total, files_done;
	uint64_t part_size; /* 0 = in one piece */
	uint64_t retries;   /* requests sent again, and tries of the whole job after the first */
	uint32_t src_remote, dst_remote; /* 0 = none */
	enum tier tier_from, tier_to;	 /* of a relocation that has begun */
	struct policy_bill bill;	 /* of a directory that moves between clouds, so far */
	unsigned attempts;
	int64_t created_ns, started_ns, ended_ns; /* wall clock */
	int64_t next_ns;			  /* of a waiting one, wall clock; 0 */
	char note[200];				  /* why it waits or failed */
	bool by_engine;
	bool held;     /* a removal that the delete guard keeps back */
	bool archived; /* it waits for a restore, or behind one that does; the note says which */
};
struct job_file {
	char path[META_PATH_MAX + 66]; /* "/aws/a/b" */
	char key[META_PATH_MAX + 1];   /* of its object, where the path does not stand for that */
};
/* The file of a job that brings it to the cloud, or leaves its object where it is, as it is called
 * now. False: other jobs are about places; or it has no name any more. */
bool job_file(struct jobs *j, enum job_kind kind, uint64_t ino, struct job_file *ret);
/* Live jobs in order, then the last (up to 256) ended ones, newest first. fn returns non-zero to
 * stop. */
void job_each(struct jobs *j, int (*fn)(void *arg, const struct job_info *i), void *arg);
bool job_info_get(struct jobs *j, uint64_t id, struct job_info *ret);
/* It is a live removal that the delete guard holds. */
bool job_info_held(struct jobs *j, uint64_t id);
/* The newest live job of an inode. */
bool job_info_ino(struct jobs *j, uint64_t ino, struct job_info *ret);
/* The live job that has begun and has most to move; false = none has begun. */
bool job_info_largest(struct jobs *j, struct job_info *ret);
/* The newest of ino that lives, or has ended since (wall clock). */
bool job_info_since(struct jobs *j, uint64_t ino, int64_t since_ns, struct job_info *ret);
/* -ENOENT; -EALREADY past its commit point. Rolls back. */
errint_t job_cancel(struct jobs *j, uint64_t id);
/* Some time after that: the job has ended, or is on its way back, or goes there when its turn
 * comes. False: it goes on, and the cancel has changed nothing, and will not. */
bool job_cancel_stands(struct jobs *j, uint64_t id);
/* A live job goes on now, instead of after its back-off, and *ret_id is id. Of one that failed or
 * was cancelled, *ret_id is a new one of its kind, posted here, for the file as it is now: -EINVAL
 * where that makes no sense (any more), and what to do instead. -ENOENT when it is not known. Takes
 * the index writer. */
errint_t job_retry(struct jobs *j, uint64_t id, uint64_t *ret_id, struct err *err);

struct jobs_stat {
	uint64_t live, active, queued, waiting; /* live is the sum of the others */
	uint64_t failed, cancelled, done;	/* cancelled ones are not failed */
	uint64_t stuck;	   /* for an archived object, the delete guard or a remote that is not in
			    * the configuration; or behind one that does */
	uint64_t lost;	   /* of stuck: for such a remote, or behind one that does */
	uint64_t archived; /* of stuck: for a restore, or behind one that does */
	uint64_t coming;   /* of stuck: for something that is under way, a restore */
	uint64_t looks;	   /* not stuck, and nobody waits for them: the deeds are done */
	int64_t oldest_ns; /* wall clock of the oldest live job; 0 = none: the clouds are true */
};
void jobs_stat(struct jobs *j, struct jobs_stat *ret);
/* "2 jobs wait for remote 'x', which is not in the configuration"; "" when there are none. */
void jobs_lost_text(struct jobs *j, char *ret, size_t size);

#endif
