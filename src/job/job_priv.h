/* SPDX-License-Identifier: MIT */
/*
 * Inside the job room.
 *
 *   post.c     what changed -> a journal record and a place in the graph
 *   graph.c    order: claims, dependencies            journal.c  records <-> bytes
 *   sched.c    slots, steps, barriers, back-off, end  wait.c     who waits for whom
 *   upload.c relocate.c remove.c tiering.c dirmove.c  one step function for each kind
 *   exchange.c two objects change their keys
 *   rollback.c jobs that end without their deed
 *   copy.c     uploads that are copies inside a cloud
 *   conflict.c uploads that meet somebody else's object
 *   move.c     one object to another place, verified  list.c     LIST requests
 *   info.c     seeing and steering                    retry.c    again, because somebody says so
 *   uploads.c  multipart uploads that nobody ended    merge.c    LIST pages into the index
 *   attrs.c    attributes <-> metadata                walk.c     what a directory move takes along
 *   archived.c moves of objects that have to be restored first
 *   foreground.c what stands back while somebody works
 *   parts.c    parts of a transfer, side by side      names.c    small helpers
 *   late.c     writes that take effect after they were looked for
 *   ahead.c    uploads of files that are still written
 *   ask.c      classes that listings do not tell        heads.c  metadata that they do not have
 *
 * Life of a struct job: made by job_new inside a transaction (pending), committed by the
 * transaction's hook (live), run in steps by sched.c, ended by job_end (kept for `jobs list` as a
 * struct ended, freed). A step runs on one thread at a time and owns all fields under "own".
 */
#ifndef ASTRA_JOB_PRIV_H
#define ASTRA_JOB_PRIV_H

#include <uthash.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "astra/base_lock.h"
#include "astra/base_log.h"
#include "astra/job.h"

#define JOB_PART_SIZE  (8u << 20)
#define JOB_MOVE_PART  (5u << 20) /* between clouds, where every part is read and written */
#define JOB_KEEP_ENDED 256

enum step {
	STEP_AGAIN,   /* call me again at once */
	STEP_BARRIER, /* after the sync point that covers own.barrier_txn */
	STEP_LATER,   /* at own.wake_mono_ns */
	STEP_DONE,    /* own.result says how; record is gone from the journal */
};

struct claim { /* one key of one job; protected by graph.lock */
	TAILQ_ENTRY(claim) link;
	struct claim_key *key;
	struct job *job;
};

struct claim_key {
	UT_hash_handle hh;
	TAILQ_HEAD(, claim) queue; /* live jobs in order */
	char name[];		   /* "REMOTE:PATH" or "#INO" */
};

struct job {
	TAILQ_ENTRY(job) link;	/* graph.all, in order */
	TAILQ_ENTRY(job) ready; /* share.ready, .calm or .few, g.barrier or g.asleep */
	TAILQ_ENTRY(job) move;	/* graph.moves */
	UT_hash_handle hh;	/* graph.by_id */
	struct jobs *jobs;

	/* the record: fixed once live, but for attempts, dst (retarget) and upload */
	uint64_t id, ino, victim, nonce;
	uint64_t of; /* JOB_LOOK: whose mark it looks for, with its nonce, up to that attempt */
	enum job_kind kind;
	uint32_t src_remote, dst_remote;
	char *src, *dst; /* owned; "" when none */
	enum tier tier;
	unsigned days, attempts;
	bool held; /* a removal, by the delete guard */
	bool by_engine;
	bool firm; /* not given up before job_follow does, from hidden keys never: no listing shows
		      these */
	int64_t created_ns;

	struct {		       /* protected by graph.lock */
		struct claim **claims; /* owned, as they are: inode, victim, two places, and those
					  that came later */
		unsigned nclaims, ndeps, ndependents, capdependents;
		struct job **dependents; /* owned array */
		enum job_state state;
		bool committed, begun, soon, on_ready, on_barrier, active, sleeping, cancel_asked;
		bool calm;	     /* on_ready: on share.calm */
		bool few;	     /* on_ready: on share.few */
		bool beside;	     /* an upload that goes up beside who works: see few */
		bool counted;	     /* active: in share.nfew */
		bool wanted;	     /* during one walk of job_hurry */
		bool outside;	     /* waits for something that nobody here does */
		bool comes;	     /* of outside: that is under way, and ends by itself */
		bool archived;	     /* waits for a restore: archived.c */
		bool taken;	     /* of archived: only by what has its destination */
		bool blocks;	     /* that is so of somebody, and this has it */
		bool pressed;	     /* somebody said: now */
		bool nudged;	     /* sched_hurry_locked, since its step began */
		bool loose;	     /* claims no destination before it is its turn: archived.c */
		bool stuck, lost;    /* as of the last graph_stuck_locked */
		struct job *cold;    /* as of then: the archived one that it is, or is behind */
		bool unsure;	     /* an upload that failed and stays: see upload.c */
		bool undone;	     /* an exchange whose names were changed back; it ends */
		bool copies;	     /* an upload that is a copy in its cloud: copy.c */
		bool ahead;	     /* an upload that takes what is written meanwhile: ahead.c */
		bool back;	     /* somebody's cancel is being carried out */
		struct share *share; /* while it is ready or active: whose slot */
		uint64_t post_txn;
		struct job_waiter **watchers; /* owned array of borrowed */
		unsigned nwatchers;
		char *note; /* owned; NULL = none */
		uint64_t bytes_total, parts_total, files_total, part_size;
		enum tier tier_from, tier_to;	       /* of a relocation that has begun */
		struct policy_bill bill;	       /* of a directory move between clouds */
		int64_t started_ns, next_ns, ready_ns; /* wall clock, but for the last */
	} g;

	struct pool_task task;
	atomic_bool cancel; /* polled by store calls */
	_Atomic uint64_t bytes_done, parts_done, files_done, repeats;
	struct { /* the step's own */
		int phase;
		uint64_t barrier_txn;
		int64_t wake_mono_ns;
		errint_t result;
		char why[200];
		unsigned tries; /* in this process, for the back-off */
		int64_t first_in_use_ns;
		int64_t follow_until_ns;     /* mono; 0 = no final failure past the commit yet */
		int64_t look_ns, look_at_ns; /* mono; when a cloud is asked again about archives */
		bool awaits;		     /* this step ended in a wait for a restore */
		bool unrecorded;	     /* or could not be recorded */
		bool told;		     /* the log has what became of it */
		int64_t taken_ns, taken_until_ns; /* mono; taken.c: since when, and how long yet */
		char etag[META_ETAG_MAX], dst_etag[META_ETAG_MAX], class_name[META_CLASS_MAX];
		uint64_t size, seq;
		uint32_t crc;
		bool has_crc, restored_asked, asked_again, uploaded;
		uint32_t attrs_sum;    /* upload: of the metadata that went along */
		bool marked_only;      /* upload: nothing was changed, the row's times hold */
		bool attrs_known;      /* upload: and that is the object's */
		bool attrs_left;       /* upload: not all attributes did */
		struct job_copy *copy; /* upload: of an object's bytes; owned */
		struct begun *begun;   /* owned; NULL = no multipart upload of it is open */
		struct ahead *ahead;   /* owned; upload: of what is still written */
		int64_t began_ns, began_mtime_ns; /* upload: when, and with what time of the file,
						     where the store takes that then; 0 */
		bool doubt;		 /* what an attempt did is not known, or in no row */
		unsigned before;	 /* attempts of the runs before this one, as far as known */
		bool landed;		 /* an attempt was seen where it was to go */
		bool wrote;		 /* one of this run is there */
		uint64_t rename_txn;	 /* of the rows that it goes by: rename.c */
		int64_t rename_until_ns; /* mono; so long a rename may take effect */
		bool turned; /* rollback.c: the move failed, and became one out of the way */
		struct dirmove *dirmove;	     /* owned */
		uint64_t bytes_before, parts_before; /* dirmove: of the files that have moved */
	} own;
};

/* A multipart upload that a job began and that may not have ended: part of the record. */
struct begun {
	uint32_t remote;
	char *path; /* owned; below the remote */
	char id[STORE_UPLOAD_MAX];
	bool restored; /* by an earlier run */
};

struct ended {
	TAILQ_ENTRY(ended) link;
	unsigned days; /* JOB_RESTORE */
	struct job_info info;
};

struct drop { /* staging of a deleted row, kept until that is durable */
	TAILQ_ENTRY(drop) link;
	struct jobs *jobs;
	uint64_t ino, txn;
};

struct listing; /* list.c */
struct ask;	/* ask.c */

struct stamp { /* a key whose truth changed; kept while an older LIST runs */
	UT_hash_handle hh;
	uint64_t seq;
	char name[];
};

#define JOB_QUARRELS	64
#define JOB_QUARREL_MAX 3 /* conflict copies of a name within an hour */

struct quarrel { /* conflicts of one name lately */
	uint64_t hash;
	int64_t at_ns[JOB_QUARREL_MAX]; /* monotonic, newest first; 0 = none */
};

enum share_kind { SHARE_JOBS, SHARE_LISTINGS, SHARE_ASKS };

/* What may hang together, with slots and workers of its own: the jobs of one remote, those between
 * the same two, the listings of one, questions about its objects. Under g.lock; they live as long
 * as struct jobs. */
struct share {
	TAILQ_ENTRY(share) link;
	TAILQ_HEAD(job_list, job) ready;
	struct job_list calm;	    /* ready, and stands back: foreground.c */
	struct job_list few;	    /* ready, and few at a time go on while the others stand back */
	pthread_cond_t buffer_back; /* with g.lock: nbuffers fell */
	struct pool_share *pool;    /* NULL: the common one */
	enum share_kind kind;
	uint32_t a, b;	      /* remotes; a = 0: b alone */
	unsigned slots, most; /* active ones, and of these those that are not small: sched.c */
	unsigned nactive, nsmall, nbuffers, nfew;
	unsigned nwaiting; /* transfers that wait for buffer_back */
};

struct setback { /* an inode whose upload failed for good, until one succeeds */
	UT_hash_handle hh;
	uint64_t ino;
	unsigned n; /* failures in a row */
};

struct jobs {
	struct jobs_conf conf;
	uint64_t nonce;			 /* of this run; part of every write mark */
	int64_t opened_ns;		 /* mono */
	_Atomic int64_t copies_until_ns; /* mono; no renames before: one may be under way */
	int64_t listed_epoch_ns;	 /* directories listed before it are not believed */
	struct pool_task timer;		 /* wakes sleeping jobs */
	int64_t wake_ns;		 /* when it is armed for, 0 = not; g.lock */
	struct pool_task sweep;		 /* uploads.c */
	struct ready *ready;		 /* owned; one of each remote: ready.c */
	atomic_bool stopping;		 /* steps end, nothing is given up */
	atomic_uint pages_held;		 /* pages.c: LIST pages before their turn */
	struct graph {
		struct lock lock; /* RANK_JOB */
		struct job_list all;
		struct job_list moves; /* the directory moves of `all`, in order */
		struct job *by_id;
		struct claim_key *keys;
		uint64_t last_id;
		/* sched */
		TAILQ_HEAD(, share) shares;
		struct share common; /* of jobs without remote, or when memory is short */
		struct job_list barrier, asleep; /* by job.ready; a job is on one list at most */
		TAILQ_HEAD(, drop) drops;
		unsigned nactive, nlive, nsleeping, steps; /* steps = step functions running */
		int64_t look_ns; /* monotonic: until then front.task is armed */
		unsigned nmost;	 /* most live ones since there was none */
		bool running;
		TAILQ_HEAD(ended_list, ended) ended;
		unsigned nended;
		uint64_t ndone, nfailed, ncancelled;
		/* wait */
		TAILQ_HEAD(, job_waiter) waiters;
		/* list */
		struct listing *listings;
		struct stamp *stamps;
		struct quarrel quarrels[JOB_QUARRELS];
		struct setback *setbacks;
		struct { /* removals of the last minute */
			int64_t since_ns;
			uint64_t n;
			bool tripped; /* the minute before had too many */
		} guard;
		uint64_t seq, nlistings;
		struct ask *asks; /* by inode */
		unsigned nready;  /* questions of ready.c */
		unsigned nasks;	  /* tasks of ask.c */
	} g;
	pthread_cond_t idle;	       /* with g.lock: steps == 0 */
	struct {		       /* what the user changes: foreground.c */
		struct lock lock;      /* RANK_JOB_FRONT */
		int64_t window;	       /* number of the latest one with a change */
		unsigned n;	       /* changes in it */
		bool busy;	       /* in the one before it were many */
		int64_t last_ns;       /* monotonic: of the last change */
		struct pool_task task; /* looks for the pause; outside the lock */
		int64_t full_ns;       /* monotonic: until then nothing stands back */
		int64_t tried_ns;      /* when what rested was last tried for the cache */
	} front;
};

/* ready.c */
errint_t ready_open(struct jobs *j);
void ready_close(struct jobs *j);
/* A job will change path of remote. Index writer or not; no lock of the graph. */
void ready_begin(struct jobs *j, uint32_t remote, const char *path);

/* names.c */
const struct remote *remote_of(struct jobs *j, uint32_t id);
/* Object named by a path below a remote; buf holds the strings. */
struct objref {
	struct store *st;
	struct store_obj o;
	char buf[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
};
errint_t objref_make(
	struct jobs *j, uint32_t remote, const char *path, struct objref *ret, struct err *err);
/* Class name of a tier in a remote, "" when it has none. */
const char *class_of(struct jobs *j, uint32_t remote, enum tier t);
/* For an object that comes from elsewhere: HOT's when it could not be read or changed there. */
const char *class_online(struct jobs *j, uint32_t remote, enum tier t);
void mark_make(const struct job *job, char *ret, size_t size); /* NONCE.ID.ATTEMPT */
enum mark_owner { MARK_OTHER, MARK_EARLIER, MARK_NOW };
enum mark_owner mark_check(const struct job *job, const struct store_stat *st);
/* No attempt was made, for sure: a power cut may have taken back the number of one, not the
 * attempt.
 */
static inline bool job_untried(const struct job *job)
{
	return job->attempts == 0 && job->nonce == job->jobs->nonce;
}
void call_init(struct store_call *c, struct job *job);

/* attrs.c: attributes <-> metadata */
bool meta_key_ours(const char *key);
/* The user's extended attributes of ino as one value, "" when there are none. -ENOBUFS */
errint_t attrs_text(struct meta_txn *t, uint64_t ino, struct buf *out);
/* Calls fn for each of such a value. -EBADMSG, or what fn returned. */
typedef int (*attrs_fn)(void *arg, const char *name, const void *p, size_t len);
errint_t attrs_parse(const char *text, attrs_fn fn, void *arg);
/* A mode in decimal as s3fs has it, or in octal as rclone, whose digits are more than any mode is
 * in decimal. 0 = neither. */
mode_t attrs_mode(const char *value);
/* Mode, owner and mtime of an object that was put at put_ns; kind becomes META_SYMLINK for one. */
void attrs_read(struct jobs *j, struct meta_inode *in, int64_t put_ns,
	const struct store_pair *meta, unsigned nmeta);
/* ino gets the extended attributes of this metadata instead of those that travel. */
errint_t attrs_take(
	struct meta_txn *t, uint64_t ino, const struct store_pair *meta, unsigned nmeta);
/* in, whose object's metadata was not known, learns it: what was changed here meanwhile stays. The
 * caller puts it. */
errint_t attrs_learn(
	struct jobs *j, struct meta_txn *t, struct meta_inode *in, const struct store_stat *st);
/* Metadata for an object of in. */
struct meta_set {
	struct store_meta m[STORE_META_MAX];
	unsigned n;
	char text[5][64];
	struct buf xattrs;
	bool left;   /* extended attributes do not fit and stay here */
	bool unread; /* the object has some that cannot be read here */
};
/* t NULL = a read transaction of its own. mark: the write mark; NULL = none. meta_set_done in any
 * case. */
errint_t meta_set_make(struct meta_set *s, struct jobs *j, struct meta_txn *t, uint32_t remote,
	const struct meta_inode *in, const char *mark);
/* For store_set_meta: what the object may have and the file has not any more goes. */
void meta_set_drop(struct meta_set *s);
/* Without the extended attributes, where it has some. */
bool meta_set_leave(struct meta_set *s);
void attrs_left_log(const char *path);
/* What others have put on the object st, of path, goes along, with nothing of ours but the rest of
 * s. True: the extended attributes had to make room. st must outlive s. */
bool meta_set_others(
	struct meta_set *s, const struct store_stat *st, size_t bytes_max, const char *path);
uint32_t meta_set_sum(const struct meta_set *s); /* of all but the mark */
/* meta_set_make for an object that job makes, and job remembers it. */
errint_t attrs_sent(struct job *job, struct meta_set *s, uint32_t remote,
	const struct meta_inode *in, const char *mark, struct err *err);
/* in has other attributes now than those that went along. */
bool attrs_differ(struct job *job, struct meta_txn *t, const struct meta_inode *in);
/* in's object was made by job: whether its attributes are all there. in is to be stored. */
void attrs_arrived(struct job *job, struct meta_txn *t, struct meta_inode *in);
void meta_set_done(struct meta_set *s);
#define cleanup_meta_set __attribute__((cleanup(meta_set_done)))

/* graph.c: all with g.lock held unless they end otherwise */
errint_t graph_insert(struct jobs *j, struct job *job);	 /* claims + dependencies */
void graph_remove(struct jobs *j, struct job *job);	 /* wakes dependents */
bool graph_alone(struct jobs *j, const struct job *job); /* nobody waits for it */
bool graph_key_free(struct jobs *j, uint32_t remote, const char *path, const struct job *but);
/* Inodes of the jobs behind job, some more than once; *ret is owned by the caller. Takes g.lock. */
errint_t graph_later_inos(struct jobs *j, const struct job *job, uint64_t **ret, size_t *ret_n);
bool graph_claimed(struct jobs *j, uint32_t remote, const char *path, const struct job *but);
/* The key of in's object, by something else than in's own jobs. */
bool graph_claimed_by_others(struct jobs *j, const struct meta_inode *in, const struct job *but);
/* The first job whose file has taken the name of ino's, which has none any more; NULL. */
struct job *graph_replacer(struct jobs *j, uint64_t ino);
/* in has a job of its own before job, or lies in what a directory move before it moves. */
bool graph_moves_before(struct jobs *j, const struct job *job, const struct meta_inode *in);
/* Nobody but job, and restores and looks, which nobody waits for, claims this key, or the inode. */
bool graph_place_untouched(
	struct jobs *j, uint32_t remote, const char *path, const struct job *but);
bool graph_untouched(
	struct jobs *j, uint64_t ino, uint32_t remote, const char *path, const struct job *but);
/* The same, but for later moves of the directories that it will be in: who does not come to path
 * is carried on to where its name is by then; and for changes of its tier and attributes. */
bool graph_carried_on(
	struct jobs *j, uint64_t ino, uint32_t remote, const char *path, const struct job *but);
/* A marker is claimed, or by a move that was posted before its directory was made. */
bool graph_marker_wanted(struct jobs *j, uint32_t remote, const char *path, uint64_t moves_before,
	const struct job *but);
/* By a job of another inode. */
bool graph_wanted(struct jobs *j, uint32_t remote, const char *path, const struct job *but);
/* As graph_claimed for anything at or below a prefix. */
bool graph_claimed_below(
	struct jobs *j, uint32_t remote, const char *prefix, const struct job *but);
/* What live jobs do below the directory that job removes. */
enum below {
	BELOW_NONE,
	BELOW_DIRS,   /* remove directories; they may wait for the same */
	BELOW_PARKED, /* what nobody waits for: for a restore, or the delete guard */
	BELOW_MOVES,
};
enum below graph_below(struct jobs *j, const struct job *job);
/* Whether a job of ours is at work that may take away what is below a path that job writes to; or,
 * `above`, what is an object of which the path goes through. */
bool graph_leaves(
	struct jobs *j, const struct job *job, uint32_t remote, const char *path, bool above);
/* The same for the victim of a job that has not begun. */
errint_t graph_claim_victim(struct jobs *j, struct job *job);
void graph_rekey(struct jobs *j, struct job *job);	   /* after dst changed, when alone */
errint_t graph_claim_dst(struct jobs *j, struct job *job); /* a new one, that nobody else has */
errint_t graph_claim_src(
	struct jobs *j, struct job *job); /* behind who has it; job has not begun */
/* One of job's places is another one now; job has not begun. */
errint_t graph_claim_new(struct jobs *j, struct job *job, uint32_t remote, const char *path);
/* job has no use any more for one of its two places, which are not the same, or is to get another:
 * it gives up its claim, and who waited for that, or for whom it did, does not. */
void graph_leave(struct jobs *j, struct job *job, uint32_t remote, const char *path);
/* job overwrites nothing any more. */
void graph_leave_victim(struct jobs *j, struct job *job);
/* A loose job takes its destination. False: somebody else has it. */
bool graph_take_dst(struct jobs *j, struct job *job);
struct job *graph_last_of(struct jobs *j, uint64_t ino);
/* Says of each job whether it is lost (of a remote that is not in the configuration, or behind a
 * job that is), and stuck (lost, or waits for something outside, or is behind one that does), and
 * which one that waits for a restore it is, or is behind. */
void graph_stuck_locked(struct jobs *j);
struct claim_key *graph_ino_key(struct jobs *j, uint64_t ino);
struct claim_key *graph_place_key(struct jobs *j, uint32_t remote, const char *path);

/* journal.c */
/* A path as JSON, also one that is not UTF-8; and back (owned). */
json_t *journal_path(const char *p);
errint_t journal_path_from(const json_t *j, char **ret);
errint_t journal_put(struct meta_txn *t, const struct job *job);
errint_t journal_decode(const void *p, size_t len, struct job *ret, struct err *err);

/* post.c */
struct job *job_alloc(struct jobs *j, enum job_kind kind, uint64_t ino);
struct job *job_free(struct job *job);
errint_t job_set_src(struct job *job, uint32_t remote, const char *path);
errint_t job_set_dst(struct job *job, uint32_t remote, const char *path);
/* Journals job and puts it into the graph; it becomes live when t commits. Owns job. */
errint_t job_post(struct jobs *j, struct meta_txn *t, struct job *job, uint64_t *ret_id);
/* Where the object of in will be once all live jobs are through. False: it is, or will be, nowhere.
 * *ret_pending: a job of its own is live. A directory move takes along what lies below it. */
bool job_expected(struct jobs *j, const struct meta_inode *in, uint32_t *remote, char *path,
	bool *ret_pending);
/* Where the objects of a directory (its prefix is pinned) will be once all live moves are through.
 */
void job_expected_dir(struct jobs *j, const struct meta_inode *in, uint32_t *remote,
	char prefix[META_PATH_MAX + 1]);
/* Deletes an orphan's row and staging when nothing needs it (but for job, which is ending). */
errint_t orphan_sweep(struct jobs *j, struct meta_txn *t, uint64_t ino, const struct job *ending);

/* sched.c */
void sched_make_ready_locked(struct jobs *j, struct job *job);
/* Somebody waits for it: it goes first, and does not stand back. */
void sched_hurry_locked(struct jobs *j, struct job *job);
void sched_pump(struct jobs *j); /* starts what may start; takes g.lock */
void sched_on_sync(void *arg);
void job_state_set(struct job *job, enum job_state s);
void job_note(struct job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* It waits for something that nobody here does; comes: that ends by itself. */
void job_outside(struct job *job, bool comes);
void sched_init(struct jobs *j);
void sched_init_job(struct job *job);
void sched_done(struct jobs *j);
/* The share of what concerns one remote (a == b, or the other is 0) or two. Never NULL. */
struct share *share_get_locked(struct jobs *j, enum share_kind kind, uint32_t a, uint32_t b);
void sched_sleep_locked(struct jobs *j, struct job *job); /* until own.wake_mono_ns */
void sched_unlist_locked(struct jobs *j, struct job *job);
bool job_barrier_ok(struct job *job, uint64_t txn); /* false: return STEP_BARRIER */
/* What job is about, for the log: "'/aws/a' (object 'b')", or "'a' -> 'b'". */
#define JOB_WORDS_MAX (2 * META_PATH_MAX + 100)
const char *job_words(struct job *job, char ret[JOB_WORDS_MAX]);
/* What to do about a failed step: retry later (STEP_LATER), or final (own.result set, returns
 * STEP_DONE after give_up). */
enum step job_trouble(struct job *job, errint_t r, const struct err *err);
/* Somebody has cancelled it, and it has not done anything about that yet. */
bool job_called_off(const struct job *job);
/* Whether it is on its way back because of that; job_trouble says so. */
void job_back_set(struct job *job, bool back);
/* What was done, or is to be, could not be recorded: tried again, whoever has cancelled it, for its
 * record is there. Never STEP_DONE. */
enum step job_unrecorded(struct job *job, errint_t r);
/* The same past the point of no return: what no retry helps against is told, and tried again all
 * the same for a while, since giving up would leave an object that no name stands for. */
enum step job_follow(struct job *job, errint_t r, const struct err *err);
/* How long that is, after a refusal r. */
int64_t job_follow_ns(const struct jobs *j, errint_t r);
/* taken.c: the store has no place for what job writes, which may pass: it is to try again. */
bool taken_waits(struct job *job, errint_t r, const struct err *err);
/* What it moves lies at keys that no listing shows. */
bool job_src_hidden(const struct job *job);
/* As job_trouble; for a firm job what is final is followed up for a while first. */
enum step job_firm_trouble(struct job *job, errint_t r, const struct err *err);
bool err_is_final(errint_t r, const struct err *err);
/* Ends the job inside a transaction: removes the record; the graph follows at commit. */
enum step job_finish(struct job *job, struct meta_txn *t);
/* The same with a transaction of its own. */
enum step job_finish_alone(struct job *job, errint_t r, const char *why);

/* late.c */
int64_t late_ns(
	const struct jobs *j); /* how long a request may take effect after it was given up */
/* job ends, or goes elsewhere: an attempt may take effect at job->dst yet. */
bool late_may_come(const struct job *job);
void late_post(struct job *job, struct meta_txn *t); /* then it is looked for */
/* st, at job->dst, is such an attempt of a job that has ended. */
bool late_mark(struct job *job, const struct store_stat *st);

/* ask.c */
/* The class of in's object is asked for; *in is the row with it. ERR_STALE: another version is
 * there. */
errint_t class_ask(
	struct jobs *j, const struct store_call *call, struct meta_inode *in, struct err *err);
/* Before something that depends on it: asks when it is not known. 0 also when that object is not
 * there any more. */
errint_t class_need(struct job *job, struct meta_inode *in, struct err *err);
/* The same before in's object moves to a remote. */
errint_t class_for(struct job *job, struct meta_inode *in, uint32_t remote, struct err *err);
/* job_loc_set for a copy of in's object: where nobody knew what that has, the row learns it too. */
void copy_set(struct meta_inode *in, struct jobs *j, struct meta_txn *t, uint32_t remote,
	const char *path, const struct store_stat *st);
void ask_leave_locked(struct job_waiter *w);

/* foreground.c */
void foreground_init(struct jobs *j);
void foreground_done(struct jobs *j);
bool cache_is_full(struct jobs *j);	/* somebody waits for room in it */
bool is_written(const struct job *job); /* some handle may write to its file */
/* Whether job, the first of its share.calm, is to wait; then sched_pump comes again soon. */
bool foreground_holds_locked(struct jobs *j, const struct job *job);

/* wait.c */
bool job_watch_locked(struct job *job, struct job_waiter *w);
/* Those that wait for this very job are told r now. */
void wait_release(struct job *job, errint_t r);
void wait_note_locked(struct jobs *j, const struct job *job, errint_t r); /* job ends with r */
/* Those that wait for this upload, or for a job behind it, are told r now, as if it had ended. */
void wait_tell(struct job *job, errint_t r);
void wait_check(struct jobs *j); /* after a job ended; g.lock not held */
/* job waits for a restore from here on: those that wait for it are told 0, for what is behind it
 * -EIO; note, owned, says what it waits for. How many were told -EIO. */
unsigned wait_archived(struct job *job, char *note);
/* A job that ends leaves part of its deed to job `to`, which cannot run before: those that wait for
 * a tree, or for the inode of `to`, wait for that one as well. Takes g.lock. */
void wait_hand_on(struct job *job, uint64_t to);

/* move.c */
struct move_spec {
	uint32_t src_remote, dst_remote;
	const char *src, *src_etag, *dst;
	const char *if_match; /* of the object that the destination replaces; NULL = none may be */
	const char *class_name; /* NULL = default of the destination */
	uint64_t size;
	const struct meta_inode *attrs; /* metadata of the destination */
	bool fresh; /* a new file: class and metadata as said, not the source's */
};
bool job_earlier(struct job *job, const struct err *err);
/* Copies and verifies; the destination is committed when this returns 0. */
errint_t move_object(
	struct job *job, const struct move_spec *spec, struct store_stat *ret, struct err *err);
/* Uploads staged content (f) as spec->dst; src names the base whose clean parts are copied on the
 * server, "" when there is none. */
errint_t move_staged(struct job *job, struct stage_file *f, const struct move_spec *spec,
	struct store_stat *ret, struct err *err);
/* rename.c */
/* As move_object; with *ret_renamed the source is gone. What spec goes by is to be in the index as
 * of own.rename_txn. */
errint_t relocate_object(struct job *job, const struct move_spec *spec, bool *ret_renamed,
	struct store_stat *ret, struct err *err);
/* r failed: 0 with *ret where it had been done before, or was done all the same; r, or why that is
 * not known. */
errint_t rename_settle(struct job *job, const struct move_spec *spec, errint_t r,
	struct store_stat *ret, struct err *err);
/* st, at the destination, is what a relocation was to take there. */
bool rename_is_at(struct job *job, const struct store_stat *st);
bool rename_asked(const struct job *job); /* and its answer did not come, or to an earlier run */
/* The same: what is not where its row says may be where job was to take it. */
bool rename_hides(const struct job *job);
/* One may take effect yet: STEP_LATER. */
bool rename_waits(struct job *job);
/* move.c: of a file of size bytes: usual, or more, so that the store's number of parts suffices. 0:
 * the store cannot have it. */
uint64_t move_part_size(uint64_t size, uint64_t usual, const struct store_caps *caps);
/* copy.c */
bool copy_wanted(struct job *job, struct stage_file *f); /* job_copy's, and nobody wrote since */
errint_t copy_body(struct job *job, const struct meta_inode *in, const char *etag,
	struct store_stat *st, struct err *err);
void copy_drop(struct job *job); /* it goes on as a plain upload */
enum step copy_failed(struct job *job, errint_t r, const struct err *err);
/* Staged content has a twin: copied instead of sent, with *ret. False: it is to be sent. */
bool copy_twin(struct job *job, const struct meta_inode *in, struct stage_file *f, const char *etag,
	struct store_stat *st, struct err *err, errint_t *ret);
/* upload.c: class of what is written. */
void upload_class(const struct job *job, const struct meta_inode *in, struct move_spec *spec);

/* An upload of ino failed for good: when it is to be tried again. */
int64_t setback_delay_ns(struct jobs *j, uint64_t ino);
bool setback_is(struct jobs *j, uint64_t ino);
void setback_clear(struct jobs *j, uint64_t ino); /* it succeeded, or is gone */
void setbacks_free(struct jobs *j);

/* uploads.c: ends multipart uploads of job's earlier attempts at dst, whose answers were lost. */
void uploads_abort_own(struct job *job, const struct objref *dst);
/* The record has it before its first part. Takes the place of one that was there. */
errint_t uploads_begun(
	struct job *job, uint32_t remote, const char *path, const char *id, struct err *err);
void uploads_ended(struct job *job); /* there is none any more */
/* Not before this moment (monotonic; 0 = at once): parts that an earlier run sent may be on their
 * way, and one that comes after the end would stay. */
int64_t uploads_end_at(const struct job *job);
/* Aborts it, if there is one. An error only where trying again may help: then it is still known. */
errint_t uploads_end(struct job *job, const atomic_bool *cancel, struct err *err);
void uploads_init(struct jobs *j);
void uploads_start(struct jobs *j); /* from time to time, those that are stale */
void uploads_stop(struct jobs *j);
void uploads_sweep(struct jobs *j); /* now; for the timer and for tests */

/* ahead.c */
struct ahead;
void ahead_drop(struct job *job); /* the next step ends what it began */
void ahead_free(struct ahead *a);
enum ahead_turn {
	AHEAD_NOT,
	AHEAD_MORE, /* what is written by now is sent, and then ahead_rest */
	AHEAD_REST, /* that is nothing */
	AHEAD_LAST, /* all is, and the object is made */
	AHEAD_AGAIN /* it was in vain: another step begins anew */
};
/* Sets own.seq and own.size when it is known whether this step is the last one: whoever was told
 * before that the upload takes what he staged finds it in that. */
enum ahead_turn ahead_turn(struct job *job, const struct meta_inode *in, struct stage_file *f);
bool ahead_goes_on(const struct job *job); /* it has begun, by an earlier step */
enum step ahead_rest(struct job *job);

/* the kinds */
enum step upload_step(struct job *job);
/* Something else than expected is at the key of an upload: theirs keeps the name. */
enum step upload_conflict(struct job *job);
/* Told, and tried again later. */
enum step upload_failed(struct job *job, errint_t r, const struct err *err);
/* 1: version etag is at its key, "" = nothing is; 0: something else. */
int upload_as_expected(struct job *job, const char *etag, struct err *err);
enum step relocate_step(struct job *job);
enum step remove_step(struct job *job);
bool guard_holds(struct jobs *j); /* a removal that is being posted: is it to be held? */
enum step transition_step(struct job *job);
enum step restore_step(struct job *job);
enum step mark_step(struct job *job);
enum step unmark_step(struct job *job);
enum step attr_step(struct job *job);
bool attr_copies(const struct remote *r); /* a change of metadata copies the object there */
bool attr_lazy(const struct job *job);	  /* such a change: a file's fsync does not wait for it */
enum step dirmove_step(struct job *job);
enum step exchange_step(struct job *job);
enum step look_step(struct job *job);
void dirmove_free(struct dirmove *d);
/* Objects that were moved and whose source is still to be removed, for the journal; NULL = none. */
json_t *dirmove_sources(const struct job *job);
errint_t dirmove_sources_load(struct job *job, const json_t *j);

/* shared by the kinds (upload.c, relocate.c) */
/* The object is at job->dst, and the name may have gone on meanwhile: no job of its own knows, or
 * it lies beside its key. */
void job_follow_name(struct job *job, struct meta_txn *t, struct meta_inode *in);
void job_expect_etag(struct job *job, struct meta_txn *t, const struct meta_inode *in, char *ret);
errint_t job_attempt(struct job *job);
void job_victim_gone(struct job *job, struct meta_txn *t);
/* What job replaces has no name any more, and an object that is not where job's is to be. */
bool job_victim_elsewhere(struct job *job, struct meta_txn *t, struct meta_inode *ret);
/* It goes by a job of its own; who waits for its key, behind job, gets one beside it. */
void victim_goes_alone(struct job *job, struct meta_txn *t, struct meta_inode *v);
/* The parent directory of /REMOTE/PATH in the index, made where it is missing, and the last name.
 */
errint_t job_parent_of(struct jobs *j, struct meta_txn *t, uint32_t remote, const char *path,
	uint64_t *ret, char name[META_NAME_MAX + 1]);
/* The index has a directory of this name. */
bool job_is_dir(struct jobs *j, uint32_t remote, const char *path);
/* path NULL: it stays. */
void job_loc_set(struct meta_inode *in, struct jobs *j, uint32_t remote, const char *path,
	const struct store_stat *st);
bool job_is_read(struct job *job, uint32_t remote, const char *path, const char *etag); /* now */
bool job_in_use(struct job *job, uint32_t remote, const char *path, const char *etag);
errint_t job_remove_object(
	struct job *job, uint32_t remote, const char *path, const char *etag, struct err *err);
/* The object of in, also when only what is said about it was changed meanwhile. */
errint_t job_remove_own(struct job *job, const struct meta_inode *in, struct err *err);
/* Removes job->src version own.etag after the sync point, and ends the job. */
enum step job_vacate(struct job *job);
enum step job_remove_source(struct job *job);
/* st has the bytes of in's object, as far as checksums tell. */
bool row_same_bytes(
	const struct job *job, const struct meta_inode *in, const struct store_stat *st);
/* When the journal was read: who replaces a file has a claim on the key where that lies, again. */
errint_t keys_hand_over_again(struct jobs *j, struct meta_txn *t);
/* The index points to the destination from here on, where st is a copy of `from`. -ESTALE: the row
 * names another object by now, or none; it is as it was. */
errint_t job_point(struct job *job, const struct meta_loc *from, const struct store_stat *st);

/* archived.c */
/* A key beside another one, which an archived object has not left yet. */
bool path_is_beside(const char *path);
/* It moves what lies beside its key. */
bool job_is_loose(const struct job *job);
/* A loose move goes to where the name is by now. */
errint_t loose_aim(struct job *job);
/* A move cannot go on: its object is archived, or was restored to be read, or a loose one's
 * destination is not free. *ret is the end of the step then. */
bool loose_waits(struct job *job, struct meta_inode *in, enum step *ret);
/* All that wait for job to get in's key, and have not begun, get one beside it. */
void others_go_beside(struct job *job, struct meta_txn *t, const struct meta_inode *in);
/* Nobody counts on the key of in's archived object, nor on what job, its move, was to overwrite:
 * they go beside it, and that goes at once. */
bool archived_alone(struct job *job, const struct meta_inode *in);
/* The cloud says that in's object, which a relocation is to move, is archived. */
enum step loose_archived(struct job *job, const struct meta_inode *in);
/* ino has a loose move, which looks for itself where the name is. It does so when t has committed.
 */
bool loose_follows(struct jobs *j, struct meta_txn *t, uint64_t ino);
/* ino's object can be read: who waits for that looks again when t has committed. */
void restored_tell(struct jobs *j, struct meta_txn *t, uint64_t ino);
/* A key is free that somebody was told of who waits for it. */
void taken_tell_locked(struct jobs *j);
/* Somebody has asked for in's object, which a copy inside its cloud would archive again, and may
 * read it for a while yet. */
bool job_is_restored(struct job *job, const struct meta_inode *in);
/* in, an archived file below a directory that job moves, can have a move of its own, to `to`, which
 * is as good: nobody counts on what job does with it. One that was replaced has no use for it. */
bool alone_may(struct job *job, const struct meta_inode *in, uint32_t remote, const char *to);
/* It gets one, or the one that it has goes on from where its object is. */
errint_t alone_post(
	struct job *job, struct meta_txn *t, const struct meta_inode *in, uint64_t *ret_id);
/* in's object lies beside the key that it is to have, or where its name was before: it goes from
 * there to its name after job. */
void loose_after(struct job *job, struct meta_txn *t, const struct meta_inode *in);
/* The same, where others count on job's bringing in's object away: they go beside it. */
void beside_after(struct job *job, struct meta_txn *t, const struct meta_inode *in);
/* path, a key below job's destination where ino's object is to go, becomes one beside it (the same
 * one each time) when another file's object is there, which leaves after job. */
errint_t beside_taken(struct job *job, uint64_t ino, char path[META_PATH_MAX + 1]);
/* The object of ino, which the job is to move, cannot be read: the job sleeps, and nobody waits for
 * it any more, nor for those behind it. What a restore does is in the object's row soon; the cloud
 * itself is asked less and less often. more: so many others wait as well. */
enum step job_await_restore(struct job *job, uint64_t ino, size_t more);
/* in's object is archived. The cloud is asked only when it is time for that; then the row, and in,
 * know what it says. */
bool job_is_archived(struct job *job, struct meta_inode *in);
/* Its deed waits for a restore, and nobody waits for that: all bytes are in the cloud. */
bool job_follows_locked(const struct job *job);

/* rollback.c */
#define PHASE_BACK 9 /* own.phase of a move that is being taken back */
enum step job_gone(struct job *job, const struct meta_inode *in);
enum step job_skip(struct job *job);
/* Nobody needs in's object any more, nor what an attempt made of it: they go after a sync point,
 * and the job ends. */
enum step job_drop_object(struct job *job, const struct meta_inode *in);
uint64_t meta_last_txn(struct jobs *j);
/* A relocation failed for good, as own.result and own.why say. */
enum step job_roll_back(struct job *job);
/* in gets the name of the place of its object again. When that name or key is something else's by
 * now it gets one beside it, and *ret_path is where its object is to go, else "". */
errint_t job_name_back(struct job *job, struct meta_txn *t, struct meta_inode *in,
	char ret_path[META_PATH_MAX + 1]);
/* Another job brings ino to where its name is, or away. */
bool job_moves_later(struct job *job, uint64_t ino);
/* 1 and *ret (to be freed): an object is there; 0: none. */
errint_t object_look(struct job *job, uint32_t remote, const char *path, struct store_stat *ret,
	struct err *err);
/* The same, for what an attempt of this job left: ends its uploads to there. */
errint_t job_look(struct job *job, uint32_t remote, const char *path, struct store_stat *ret,
	struct err *err);
/* What an attempt of this job left at a place, if anything. */
errint_t job_remove_copy(struct job *job, uint32_t remote, const char *path, struct err *err);
/* The same for a copy of an object, unless it is all that is left of that: a listing shows it. */
errint_t job_drop_copy(struct job *job, const struct meta_loc *from, uint32_t remote,
	const char *path, struct err *err);
/* st is a copy by this job, and has the bytes of in's object for sure. */
bool job_copy_is_whole(
	const struct job *job, const struct meta_inode *in, const struct store_stat *st);
/* The row's size is the object's, not that of staged or foreign content. */
static inline bool row_has_object_size(const struct meta_inode *in)
{
	return (in->flags & (META_F_DIRTY | META_F_ORPHAN)) == 0 && (in->flags & META_F_BASE) != 0;
}
static inline bool row_names(const struct meta_inode *in, const struct meta_loc *loc)
{
	return (in->flags & META_F_OBJECT) != 0 && in->loc.remote == loc->remote &&
	       strcmp(in->loc.path, loc->path) == 0 && strcmp(in->loc.etag, loc->etag) == 0;
}
errint_t object_size(struct job *job, const struct meta_loc *loc, uint64_t *ret, struct err *err);
/* 1: the object that in names has another version by now, and the same bytes: something was changed
 * that is said about it, by an attempt of ours whose answer was lost or by somebody else. The row
 * and staging follow. 0: it is as the row says, or has other bytes, or is gone. */
int row_follow(struct job *job, const struct meta_inode *in, struct err *err);
void stage_rebase(struct jobs *j, uint64_t ino, const char *from, const char *to);

/* info.c */
void info_of_locked(struct jobs *j, struct job *job, struct job_info *i);

/* list.c */
void list_stamp_locked(struct jobs *j, uint32_t remote, const char *path);
void listing_free_all(struct jobs *j);
/* One directory, synchronously, for a directory move; skips keys claimed by jobs other than but. */
errint_t list_now(struct jobs *j, uint64_t dir, const struct job *but, struct err *err);

#endif
