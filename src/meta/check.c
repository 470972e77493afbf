/* SPDX-License-Identifier: MIT */
/*
 * Care for the index: is all of it right (meta_check), how much is there (meta_stat), is there
 * room for more (meta_has_room).
 *
 * meta_check checks everything that the tables say twice, in one snapshot: dentry, dirorder and
 * inode rows; nchild; totals; the sets of dirty inodes and orphans; rows about inodes that are
 * gone; counters; and that each page of the file is either used or free, exactly once in number.
 *
 * It reads rows by itself rather than through meta_inode_get: a damaged row is to be reported, not
 * to end the transaction.
 *
 * Space: creates stop at 95 % of the map or when the disk is nearly full (meta_has_room). When a
 * commit fails for lack of disk all the same, the reserve file is removed, so that the next
 * transactions (deletes, ends of jobs) have room; sync.c's thread puts it back later. While space
 * is short, writers wait for a sync point every few transactions (sync_throttle), as only that
 * makes freed pages usable again.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "row.h"

#define RESERVE_BYTES (INT64_C(8) << 20)
#define DISK_LOW      (UINT64_C(16) << 20)
#define DISK_FULL     (UINT64_C(1) << 20)
#define ROOM_CHECK_NS (250 * NS_PER_MS)

static_assert(2 * DISK_LOW + RESERVE_BYTES < META_DISK_ROOM, "what others leave is not enough");

struct check {
	struct meta *m;
	struct meta_txn *t;
	void (*report)(void *arg, const char *line);
	void *arg;
	int found;
	uint64_t dir; /* of the children being summed up */
	uint64_t max_ino, max_job;
	uint32_t nchild, nlink;
	struct meta_totals sum;
	struct meta_inode in, other; /* scratch, one use at a time */
};

__attribute__((format(printf, 2, 3))) static void bad(struct check *c, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (c->found < INT32_MAX)
		c->found++;
	if (c->report != NULL)
		c->report(c->arg, line);
}

#define LLU(x) ((unsigned long long)(x))

/* 0, -ENOENT, -EBADMSG (damaged row), or the transaction's failure. */
static errint_t row_get(struct check *c, uint64_t ino, struct meta_inode *ret)
{
	uint8_t key[8];
	MDB_val v;
	errint_t r;

	db_u64(key, ino);
	r = db_get(c->t, T_INODE, key, sizeof(key), &v);
	return r == 0 ? row_inode_decode(ino, v.mv_data, v.mv_size, ret) : r;
}

static bool has_row(struct check *c, enum db_table tab, uint64_t ino)
{
	uint8_t key[8];
	MDB_val v;

	db_u64(key, ino);
	return db_get(c->t, tab, key, sizeof(key), &v) == 0;
}

/* ---- inodes ---- */

static void check_name(struct check *c, const struct meta_inode *in)
{
	uint8_t key[16], entry[1 + META_NAME_MAX];
	size_t len = strlen(in->name);
	uint64_t ino = 0;
	errint_t r;
	MDB_val v;

	r = row_get(c, in->parent, &c->other);
	if (r != 0 || c->other.kind != META_DIR)
		bad(c, "inode %llu: its parent %llu is no directory", LLU(in->ino),
			LLU(in->parent));
	if (meta_lookup(c->t, in->parent, in->name, &ino) != 0 || ino != in->ino)
		bad(c, "inode %llu: name '%s' in %llu leads to %llu", LLU(in->ino), in->name,
			LLU(in->parent), LLU(ino));
	db_u64(key, in->parent);
	db_u64(key + 8, in->ino);
	entry[0] = (uint8_t)in->kind;
	memcpy(entry + 1, in->name, len);
	r = db_get(c->t, T_ORDER, key, sizeof(key), &v);
	if (r != 0 || v.mv_size != len + 1 || memcmp(v.mv_data, entry, len + 1) != 0)
		bad(c, "inode %llu: not in the order of directory %llu as '%s'", LLU(in->ino),
			LLU(in->parent), in->name);
}

/* Up to the root or an orphan. */
static void check_loop(struct check *c, const struct meta_inode *in)
{
	uint64_t ino = in->parent;

	for (unsigned i = 0; ino != 0; i++) {
		if (i > META_DEPTH_MAX || row_get(c, ino, &c->other) != 0) {
			bad(c, "directory %llu does not hang below the root", LLU(in->ino));
			return;
		}
		ino = c->other.parent;
	}
}

static int sum_child(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	struct meta_totals d;

	c->nchild++;
	c->nlink += len > 0 && *(const uint8_t *)val == META_DIR;
	if (key_len != 16 || row_get(c, db_u64_of(key + 8), &c->other) != 0)
		return 0; /* reported where the order is walked */
	totals_of(&c->other, &d);
	totals_sum(&c->sum, &d, 1);
	return 0;
}

static errint_t check_dir(struct check *c, const struct meta_inode *in)
{
	struct meta_totals delta, have = in->totals;
	uint8_t key[8];
	errint_t r;

	c->nchild = 0;
	c->nlink = 2;
	memset(&c->sum, 0, sizeof(c->sum));
	db_u64(key, in->ino);
	r = db_walk(c->t, T_ORDER, key, sizeof(key), sizeof(key), sum_child, c);
	if (r == 0)
		r = totals_delta_get(c->t, in->ino, &delta);
	if (r != 0)
		return r;
	if (c->nchild != in->nchild)
		bad(c, "directory %llu: nchild is %u, it has %u", LLU(in->ino), in->nchild,
			c->nchild);
	if (c->nlink != in->nlink)
		bad(c, "directory %llu: nlink is %u, it should be %u", LLU(in->ino), in->nlink,
			c->nlink);
	totals_sum(&have, &delta, 1);
	totals_sum(&have, &c->sum, -1);
	if (!totals_zero(&have))
		bad(c, "directory %llu: totals are off by %lld files, %lld bytes", LLU(in->ino),
			(long long)have.files, (long long)have.bytes);
	check_loop(c, in);
	return 0;
}

static int check_inode(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	struct meta_inode *in = &c->in;
	uint64_t ino = key_len == 8 ? db_u64_of(key) : 0;
	bool orphan;

	if (ino == 0 || row_inode_decode(ino, val, len, in) != 0) {
		bad(c, "inode %llu: the row is damaged", LLU(ino));
		return 0;
	}
	c->max_ino = ino > c->max_ino ? ino : c->max_ino;
	orphan = in->parent == 0 && ino != META_ROOT_INO;
	if (in->parent != 0)
		check_name(c, in);
	else if (in->name[0] != '\0')
		bad(c, "inode %llu: has a name but no parent", LLU(ino));
	if (orphan != !!(in->flags & META_F_ORPHAN) || orphan != has_row(c, T_ORPHAN, ino))
		bad(c, "inode %llu: orphan: %d by its name, %d by its flag, %d in the list",
			LLU(ino), orphan, !!(in->flags & META_F_ORPHAN), has_row(c, T_ORPHAN, ino));
	if (!!(in->flags & META_F_DIRTY) != has_row(c, T_DIRTY, ino))
		bad(c, "inode %llu: dirty: %d by its flag, %d in the list", LLU(ino),
			!!(in->flags & META_F_DIRTY), has_row(c, T_DIRTY, ino));
	if (in->kind == META_DIR)
		return check_dir(c, in);
	if (in->nchild != 0 || !totals_zero(&in->totals))
		bad(c, "inode %llu: is no directory but has children or totals", LLU(ino));
	return 0;
}

/* ---- the other tables ---- */

static int check_dentry(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	uint64_t ino = len == 9 ? db_u64_of(val) : 0;
	uint64_t dir = key_len > 8 ? db_u64_of(key) : 0;

	if (dir == 0 || row_get(c, ino, &c->in) != 0)
		bad(c, "name in directory %llu: no inode %llu", LLU(dir), LLU(ino));
	else if (c->in.parent != dir || strlen(c->in.name) != key_len - 8 ||
		 memcmp(c->in.name, key + 8, key_len - 8) != 0 ||
		 ((const uint8_t *)val)[8] != c->in.kind)
		bad(c, "name '%.*s' in directory %llu: inode %llu is '%s' in %llu",
			(int)(key_len - 8), (const char *)key + 8, LLU(dir), LLU(ino), c->in.name,
			LLU(c->in.parent));
	return 0;
}

static int check_order(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	uint64_t dir, ino;

	if (key_len != 16) {
		bad(c, "order: a key of %zu bytes", key_len);
		return 0;
	}
	dir = db_u64_of(key);
	ino = db_u64_of(key + 8);
	if (row_get(c, ino, &c->in) != 0)
		bad(c, "order of directory %llu: no inode %llu", LLU(dir), LLU(ino));
	else if (c->in.parent != dir)
		bad(c, "order of directory %llu: inode %llu is in %llu", LLU(dir), LLU(ino),
			LLU(c->in.parent));
	return 0;
}

/* dirty, orphan, delta, access, xattr: keyed by an inode that must exist. */
static int check_about(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	uint64_t ino = key_len >= 8 ? db_u64_of(key) : 0;

	if (!has_row(c, T_INODE, ino))
		bad(c, "a row about inode %llu, which does not exist", LLU(ino));
	return 0;
}

static int check_access(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;
	struct meta_access a;

	if (row_access_decode(val, len, &a) != 0)
		bad(c, "access history of inode %llu is damaged",
			LLU(key_len == 8 ? db_u64_of(key) : 0));
	return check_about(arg, key, key_len, val, len);
}

static int check_job(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct check *c = arg;

	if (key_len != 8 || len == 0)
		bad(c, "a job record has a key of %zu and a body of %zu bytes", key_len, len);
	else
		c->max_job = db_u64_of(key);
	return 0;
}

static errint_t check_counters(struct check *c)
{
	uint64_t ino = META_INO_LOW, job = 1;

	(void)db_sys_get(c->t, "next_ino", &ino);
	(void)db_sys_get(c->t, "next_job", &job);
	if (c->max_ino >= ino)
		bad(c, "inode %llu exists, but %llu is the next to be given", LLU(c->max_ino),
			LLU(ino));
	if (c->max_job >= job)
		bad(c, "job %llu exists, but %llu is the next to be given", LLU(c->max_job),
			LLU(job));
	if (row_get(c, META_ROOT_INO, &c->in) != 0 || c->in.kind != META_DIR)
		bad(c, "there is no root directory");
	return meta_txn_failed(c->t);
}

/* Every page of the file belongs to a table or to the free list. */
static errint_t check_pages(struct check *c)
{
	uint64_t used = 2, spare; /* the meta pages */
	MDB_envinfo info;
	MDB_stat st;
	int rc = 0;

	/* 0 and 1 are LMDB's free list and the table of tables. */
	for (unsigned i = 0; rc == 0 && i < 2 + T_N; i++) {
		rc = mdb_stat(c->t->txn, i < 2 ? i : c->m->dbi[i - 2], &st);
		used += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	}
	if (rc != 0)
		return db_err(rc);
	if (db_free_pages(c->t, UINT64_MAX, &spare) != 0)
		return meta_txn_failed(c->t);
	(void)mdb_env_info(c->m->env, &info);
	if (info.me_last_txnid == c->t->id && used + spare != info.me_last_pgno + 1)
		bad(c, "%llu pages used and %llu free, but the file has %zu", LLU(used), LLU(spare),
			info.me_last_pgno + 1);
	return 0;
}

int meta_check(struct meta *m, void (*report)(void *arg, const char *line), void *arg)
{
	static const struct {
		enum db_table tab;
		db_row_fn fn;
	} tables[] = {{T_INODE, check_inode}, {T_DENTRY, check_dentry}, {T_ORDER, check_order},
		{T_DIRTY, check_about}, {T_ORPHAN, check_about}, {T_DELTA, check_about},
		{T_XATTR, check_about}, {T_ACCESS, check_access}, {T_JOB, check_job}};
	struct check c = {.m = m, .report = report, .arg = arg};
	errint_t r;

	c.t = meta_begin_read(m);
	r = meta_txn_failed(c.t);
	for (size_t i = 0; r == 0 && i < sizeof(tables) / sizeof(tables[0]); i++)
		r = db_walk(c.t, tables[i].tab, "", 0, 0, tables[i].fn, &c);
	if (r == 0)
		r = check_counters(&c);
	if (r == 0)
		r = check_pages(&c);
	if (r != 0)
		bad(&c, "the check ended early: %s", strerror(-r));
	meta_abort(c.t);
	return r != 0 ? r : c.found;
}

/* ---- space ---- */

static uint64_t disk_free(const struct meta *m)
{
	struct statvfs st;

	if (fstatvfs(m->dir_fd, &st) != 0)
		return UINT64_MAX;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

/* A commit failed: LMDB says EIO for a write that came up short. */
errint_t db_room_lost(struct meta *m, errint_t r)
{
	if (r == -EIO && disk_free(m) < DISK_LOW / 4)
		r = -ENOSPC;
	if (r == -ENOSPC || r == -EDQUOT) {
		atomic_store(&m->room.disk_low, true);
		if (atomic_exchange(&m->room.reserve, false))
			(void)unlinkat(m->dir_fd, META_FILE_RESERVE, 0);
		r = -ENOSPC;
	}
	return r;
}

bool db_reserve_give(struct meta *m)
{
	atomic_store(&m->room.reserve, false);
	return unlinkat(m->dir_fd, META_FILE_RESERVE, 0) == 0;
}

/* What comes next touches new pages of mapped files, where a full disk is no error but a signal. */
void db_room_open(struct meta *m)
{
	if (disk_free(m) < DISK_FULL)
		(void)db_reserve_give(m);
}

static bool reserve_there(struct meta *m)
{
	struct stat st;

	return fstatat(m->dir_fd, META_FILE_RESERVE, &st, 0) == 0 && st.st_size == RESERVE_BYTES &&
	       st.st_blocks * 512 >= RESERVE_BYTES;
}

static bool reserve_make(struct meta *m)
{
	cleanup_fd int fd = -1;

	fd = openat(m->dir_fd, META_FILE_RESERVE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	if (posix_fallocate(fd, 0, RESERVE_BYTES) == 0)
		return true;
	(void)unlinkat(m->dir_fd, META_FILE_RESERVE, 0);
	return false;
}

static void map_update(struct meta *m)
{
	uint64_t percent = m->map_size / 100, used, spare = 0;
	struct meta_txn *t;
	MDB_envinfo info;

	(void)mdb_env_info(m->env, &info);
	used = ((uint64_t)info.me_last_pgno + 1) * m->page_size;
	atomic_store(&m->room.map_tight, used > percent * 85);
	/* Free pages inside the file count only when they matter (walking them takes time), and
	 * when they can be used: not those that the last sync point still needs. */
	if (used > percent * 95) {
		t = meta_begin_read(m);
		if (db_free_pages(t, meta_synced(m), &spare) == 0)
			used -= MIN_OF(used, spare * m->page_size);
		meta_abort(t);
	}
	atomic_store(&m->room.map_low, used > percent * 95);
}

/* Without the reserve the disk has been full: creates wait until there is clearly room. */
static uint64_t disk_floor(struct meta *m)
{
	return atomic_load(&m->room.reserve) ? DISK_LOW : 2 * DISK_LOW;
}

void db_room_update(struct meta *m)
{
	uint64_t avail = disk_free(m);

	atomic_store(&m->room.checked_ns, clock_mono_ns());
	if (m->read_only)
		return;
	if (!atomic_load(&m->room.reserve))
		atomic_store(&m->room.reserve,
			reserve_there(m) || (avail > 2 * DISK_LOW + (uint64_t)RESERVE_BYTES &&
						    reserve_make(m)));
	atomic_store(&m->room.disk_low, avail < disk_floor(m));
	map_update(m);
}

bool meta_has_room(struct meta *m)
{
	int64_t now = clock_mono_ns(), last = atomic_load(&m->room.checked_ns);

	if (m->read_only)
		return false;
	if (now - last > ROOM_CHECK_NS &&
		atomic_compare_exchange_strong(&m->room.checked_ns, &last, now))
		db_room_update(m);
	return !atomic_load(&m->room.disk_low) && !atomic_load(&m->room.map_low);
}

bool meta_disk_low(struct meta *m, uint64_t *ret_free, uint64_t *ret_floor)
{
	*ret_free = disk_free(m);
	*ret_floor = disk_floor(m);
	return atomic_load(&m->room.disk_low);
}

errint_t meta_stat(struct meta *m, struct meta_stat *ret)
{
	struct meta_txn *t = meta_begin_read(m);
	MDB_envinfo info;
	struct stat st;
	uint64_t spare = 0;

	memset(ret, 0, sizeof(*ret));
	(void)db_count(t, T_INODE, &ret->inodes);
	(void)db_count(t, T_DENTRY, &ret->dentries);
	(void)db_count(t, T_JOB, &ret->jobs);
	(void)db_count(t, T_DIRTY, &ret->dirty);
	(void)db_free_pages(t, UINT64_MAX, &spare);
	(void)mdb_env_info(m->env, &info);
	ret->used_bytes = ((uint64_t)info.me_last_pgno + 1 - spare) * m->page_size;
	ret->map_bytes = m->map_size;
	if (fstatat(m->dir_fd, META_FILE_DATA, &st, 0) == 0)
		ret->file_bytes = (uint64_t)st.st_size;
	ret->last_txn = info.me_last_txnid;
	ret->synced_txn = meta_synced(m);
	ret->readers = info.me_numreaders;
	return meta_commit(t);
}
