/* SPDX-License-Identifier: MIT */
/*
 * Private to src/meta: the environment, transactions and tables. db.c, sync.c and check.c are the
 * only files that call LMDB; the others speak db_get, db_put, db_del, db_walk.
 *
 * Keys are big-endian so that byte order is number order; rows are made by row.c.
 */
#ifndef ASTRA_META_DB_H
#define ASTRA_META_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <lmdb.h>

#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "astra/meta.h"

#define META_SCHEMA    1u
#define META_INO_LOW   16u /* readdir keeps 0-2 for itself; a few more for what comes */
#define META_KEY_MAX   300u
#define META_HOOK_MAX  1024u
#define META_DEPTH_MAX 4096 /* directories above one another; more is a loop, hence damage */

#define META_FILE_DATA	  "index.mdb"
#define META_FILE_NEW	  "index.new"
#define META_FILE_PIN	  "index.meta"
#define META_FILE_BOOT	  "boot"
#define META_FILE_RESERVE "reserve"

enum db_table {
	T_INODE,  /* ino -> row */
	T_DENTRY, /* parent, name -> ino, kind */
	T_ORDER,  /* parent, ino -> kind, name */
	T_ACCESS, /* ino -> row */
	T_XATTR,  /* ino, name -> value */
	T_JOB,	  /* id -> record */
	T_DIRTY,  /* ino -> "" : exactly the rows with META_F_DIRTY */
	T_ORPHAN, /* ino -> "" : exactly the rows with META_F_ORPHAN */
	T_DELTA,  /* directory -> totals not yet added to its row */
	T_KV,	  /* callers' named values */
	T_SYS,	  /* this room's: schema, next_ino, next_job, next_remote, remote:NAME, loading */
	T_N
};

extern const char *const db_table_name[T_N];

struct meta_hook {
	void (*fn)(void *arg, bool committed);
	void *arg;
};

struct meta_txn {
	struct meta *m;
	MDB_txn *txn; /* NULL when it could not begin */
	errint_t failed;
	bool write;
	bool wrote;	/* something was changed */
	bool deltas;	/* ... among it a delta row: the flusher has work */
	bool is_shared; /* the one read transaction handed out when there is no memory */
	uint64_t id;
	struct meta_hook *hooks; /* write: META_HOOK_MAX of them, owned by struct meta */
	unsigned hook_count;
	struct meta_txn *next_free; /* pool.lock */
};

/* Numbers that are never given twice: reserved in batches, so that a create does not rewrite the
 * counter. All fields: writer mutex. */
struct db_counter {
	const char *key;      /* in T_SYS: first number not reserved yet */
	uint64_t first;	      /* of a new index */
	uint64_t next, bound; /* numbers [next, bound) are reserved and free */
	bool touched;	      /* the running transaction moved the bound */
};

struct meta_pin {
	MDB_txn *txn; /* NULL = none */
	uint64_t id;
	uint64_t pages; /* of the file when it was taken */
};

struct meta_access_pend; /* access.c */

struct meta {
	MDB_env *env;
	MDB_dbi dbi[T_N];
	char *dir; /* owned */
	int dir_fd;
	unsigned page_size;
	uint64_t map_size;
	uint64_t grow_max; /* bytes between sync points */
	char boot_id[65];
	bool read_only;
	uint64_t *hidden; /* owned: directories in the root that are not shown; set before use */
	size_t nhidden;
	bool started; /* the initial sync point was made: a clean mark may be written at the end */
	_Atomic int64_t damaged_ns; /* see meta_damaged */

	struct {
		struct lock lock; /* RANK_META_W, held from meta_begin to its end */
		struct meta_txn txn;
		errint_t (*before_commit)(struct meta_txn *t);
		struct db_counter ino, job;
		struct meta_hook hooks[META_HOOK_MAX];
	} w;

	struct {
		struct lock lock;      /* RANK_META */
		struct meta_txn *free; /* reset, ready to renew */
		unsigned count;
	} pool;

	_Atomic uint64_t last_txn; /* newest committed */

	struct {
		struct lock lock; /* RANK_META */
		pthread_cond_t wake, done;
		bool asked, wanted, stop;
		uint64_t begun, ended; /* attempts */
		errint_t result;       /* of attempt `ended` */
		struct err err;
		void (*on_sync)(void *arg);
		void *on_sync_arg;
		/* without the lock: */
		_Atomic bool idle; /* the thread sleeps without a deadline */
		_Atomic uint64_t synced;
		_Atomic uint64_t synced_pages; /* of the file at that transaction */
		pthread_t thread;
		bool has_thread;
	} sync;

	struct { /* the sync thread's own (and meta_open's, before it starts) */
		errint_t (*before)(void *arg);
		void *before_arg;
		int64_t interval_ns;
		int64_t begun_ns, took_ns; /* of the last point; monotonic */
		struct meta_pin pin;	   /* the snapshot that the newest slot describes */
		int pin_fd;		   /* index.meta */
		uint64_t seq;		   /* of the newest durable slot */
		uint8_t *slot;		   /* one slot's image */
		bool rewrite; /* an fdatasync failed: pages may be clean but not on disk */
	} sy;

	struct {
		struct lock lock; /* RANK_META */
		pthread_cond_t wake;
		struct meta_access_pend *pending, *flushed; /* uthash heads */
		unsigned count;				    /* of pending */
		uint64_t flushed_id;			    /* transaction of `flushed` */
		uint64_t gone_id;			    /* ... of the newest batch forgotten */
		uint64_t dropped; /* bumps refused because the table was full */
		bool stop, full, deltas;
		pthread_t thread;
		bool has_thread;
	} acc;

	struct {
		_Atomic bool reserve; /* the reserve file is in place */
		_Atomic bool disk_low;
		_Atomic bool map_tight, map_low;
		_Atomic int64_t checked_ns; /* monotonic */
	} room;
};

/* ---- db.c ---- */

errint_t db_err(int mdb_rc); /* LMDB's code or a positive errno -> -errno */
/* Makes t fail with r (< 0) unless it has failed; returns the sticky failure. */
errint_t db_fail(struct meta_txn *t, errint_t r);
/* -ENOENT is an answer; *ret points into the map or the transaction until the next change. */
errint_t db_get(struct meta_txn *t, enum db_table tab, const void *key, size_t len, MDB_val *ret);
errint_t db_put(struct meta_txn *t, enum db_table tab, const void *key, size_t len, const void *val,
	size_t val_len);
errint_t db_del(struct meta_txn *t, enum db_table tab, const void *key, size_t len); /* -ENOENT */
/* Rows of tab from the first key >= from on, as long as their first prefix_len bytes are those of
 * from. fn: 0 go on, 1 stop, negative fails t. fn may change any table, also this one; key and
 * value stay valid while fn runs. */
typedef int (*db_row_fn)(
	void *arg, const uint8_t *key, size_t key_len, const void *val, size_t val_len);
errint_t db_walk(struct meta_txn *t, enum db_table tab, const void *from, size_t from_len,
	size_t prefix_len, db_row_fn fn, void *arg);
errint_t db_count(struct meta_txn *t, enum db_table tab, uint64_t *ret);
/* Pages of the free list as of t that were freed by transactions before `below`. */
errint_t db_free_pages(struct meta_txn *t, uint64_t below, uint64_t *ret);
errint_t db_thread(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg);

static inline void db_u64(uint8_t p[8], uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

static inline uint64_t db_u64_of(const void *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | ((const uint8_t *)p)[i];
	return v;
}

/* ---- check.c ---- */

/* Looks at the disk and the map again; tries to put the reserve back. */
void db_room_update(struct meta *m);
/* A commit failed with r; when that was for lack of disk, gives up the reserve. -> -ENOSPC or r. */
errint_t db_room_lost(struct meta *m, errint_t r);
/* Removes the reserve; false when there was none. */
bool db_reserve_give(struct meta *m);
/* Before m is opened: gives up the reserve when the disk is as good as full. */
void db_room_open(struct meta *m);

/* ---- journal.c ---- */

uint64_t db_counter_next(struct meta_txn *t, struct db_counter *c); /* 0 when t failed */
/* At the end of a transaction: a reservation that was not committed is none. */
void db_counter_end(struct db_counter *c, bool committed);
errint_t db_sys_get(struct meta_txn *t, const char *key, uint64_t *ret);
errint_t db_sys_put(struct meta_txn *t, const char *key, uint64_t v);

/* ---- sync.c ---- */

enum boot_state { BOOT_CLEAN, BOOT_SAME, BOOT_CUT, BOOT_NONE };

/* What the boot file says about the last run; *ret_pending: a power cut was seen by an earlier
 * open and nobody has called meta_recovered since. */
errint_t sync_boot_read(struct meta *m, enum boot_state *ret, bool *ret_pending, struct err *err);
errint_t sync_boot_write(struct meta *m, bool clean, bool pending, struct err *err);
/* Puts the meta pages of the last sync point back into the data file. -ENOENT: there is no usable
 * slot. Before mdb_env_open. */
errint_t sync_restore(struct meta *m, struct err *err);
errint_t sync_point(struct meta *m, struct err *err);
errint_t sync_start(struct meta *m, struct err *err); /* opens index.meta, first sync point */
errint_t sync_thread_start(struct meta *m, struct err *err);
errint_t sync_stop(struct meta *m); /* last sync point; its result */
void sync_done(struct meta *m);	    /* releases pin and descriptors; before mdb_env_close */
void sync_changed(struct meta *m);  /* after a commit */
/* Waits for a sync point, but not long, when some transactions came since the last one. */
void sync_throttle(struct meta *m, int64_t wait_ns);
/* The file has grown so much since the last sync point that writers are to wait for the next. */
bool sync_grown(struct meta *m);

/* ---- access.c ---- */

errint_t access_thread_start(struct meta *m, struct err *err);
void access_stop(struct meta *m); /* flushes what is gathered */
void access_done(struct meta *m);
void access_deltas(struct meta *m); /* after a commit that left delta rows */

/* ---- totals.c ---- */

/* What an inode adds to the totals of its parent. */
void totals_of(const struct meta_inode *in, struct meta_totals *ret);
/* delta row of dir += sign * d; nothing for an all-zero d. */
errint_t totals_add(struct meta_txn *t, uint64_t dir, const struct meta_totals *d, int sign);
errint_t totals_delta_get(struct meta_txn *t, uint64_t dir, struct meta_totals *ret);
bool totals_zero(const struct meta_totals *d);
void totals_sum(struct meta_totals *to, const struct meta_totals *d, int sign);

/* ---- catalog.c ---- */

/* The row as it stands, totals and nchild included (meta_inode_put keeps those). */
errint_t catalog_row_put(struct meta_txn *t, const struct meta_inode *in);
errint_t catalog_dentry_put(
	struct meta_txn *t, uint64_t parent, const char *name, uint64_t ino, enum meta_kind kind);
errint_t catalog_flag_row(struct meta_txn *t, enum db_table tab, uint64_t ino, bool on);
errint_t catalog_root_create(struct meta_txn *t);

#endif
