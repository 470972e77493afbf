/* SPDX-License-Identifier: MIT */
/*
 * The journal's tables: job records (bytes that the job room understands), the sets of dirty
 * inodes and of orphans that recovery walks, small named values, and the counters that inode and
 * job numbers come from.
 *
 * Walks may change what they walk over (db_walk finds its place anew), so that recovery can
 * delete a job or an orphan from inside its callback.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>

#include "astra/base_cleanup.h"

#define COUNTER_BATCH 256

/* ---- jobs ---- */

errint_t meta_job_put(struct meta_txn *t, uint64_t id, const void *p, size_t len)
{
	uint8_t key[8];

	assert(id != 0);
	db_u64(key, id);
	return db_put(t, T_JOB, key, sizeof(key), p, len);
}

errint_t meta_job_del(struct meta_txn *t, uint64_t id)
{
	uint8_t key[8];

	db_u64(key, id);
	return db_del(t, T_JOB, key, sizeof(key));
}

struct job_each {
	int (*fn)(void *arg, uint64_t id, const void *p, size_t len);
	void *arg;
};

static int job_row(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct job_each *e = arg;

	return key_len == 8 ? e->fn(e->arg, db_u64_of(key), val, len) : -EBADMSG;
}

errint_t meta_job_each(
	struct meta_txn *t, int (*fn)(void *arg, uint64_t id, const void *p, size_t len), void *arg)
{
	struct job_each e = {fn, arg};

	return db_walk(t, T_JOB, "", 0, 0, job_row, &e);
}

/* ---- sets of inodes ---- */

struct ino_each {
	int (*fn)(void *arg, uint64_t ino);
	void *arg;
};

static int ino_row(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct ino_each *e = arg;

	return key_len == 8 ? e->fn(e->arg, db_u64_of(key)) : -EBADMSG;
}

errint_t meta_dirty_set(struct meta_txn *t, uint64_t ino, bool dirty)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, ino, &in);

	if (r != 0 || !(in.flags & META_F_DIRTY) == !dirty)
		return r;
	in.flags ^= META_F_DIRTY;
	return meta_inode_put(t, &in); /* keeps the table like the flag */
}

errint_t meta_dirty_each(struct meta_txn *t, int (*fn)(void *arg, uint64_t ino), void *arg)
{
	struct ino_each e = {fn, arg};

	return db_walk(t, T_DIRTY, "", 0, 0, ino_row, &e);
}

errint_t meta_orphans_each(struct meta_txn *t, int (*fn)(void *arg, uint64_t ino), void *arg)
{
	struct ino_each e = {fn, arg};

	return db_walk(t, T_ORPHAN, "", 0, 0, ino_row, &e);
}

/* ---- named values ---- */

errint_t meta_kv_get(struct meta_txn *t, const char *key, void *ret, size_t size, size_t *ret_len)
{
	size_t len = strlen(key);
	MDB_val v;
	errint_t r;

	assert(len > 0 && len <= 255);
	r = db_get(t, T_KV, key, len, &v);
	if (r != 0)
		return r;
	if (ret_len != NULL)
		*ret_len = v.mv_size;
	if (size == 0)
		return 0;
	if (v.mv_size > size)
		return -ERANGE;
	memcpy(ret, v.mv_data, v.mv_size);
	return 0;
}

errint_t meta_kv_put(struct meta_txn *t, const char *key, const void *p, size_t len)
{
	assert(key[0] != '\0' && strlen(key) <= 255);
	return db_put(t, T_KV, key, strlen(key), p, len);
}

/* ---- numbers ---- */

errint_t db_sys_get(struct meta_txn *t, const char *key, uint64_t *ret)
{
	MDB_val v;
	errint_t r = db_get(t, T_SYS, key, strlen(key), &v);

	if (r != 0)
		return r;
	if (v.mv_size != 8)
		return db_fail(t, -EBADMSG);
	*ret = db_u64_of(v.mv_data);
	return 0;
}

errint_t db_sys_put(struct meta_txn *t, const char *key, uint64_t v)
{
	uint8_t b[8];

	db_u64(b, v);
	return db_put(t, T_SYS, key, strlen(key), b, sizeof(b));
}

uint64_t db_counter_next(struct meta_txn *t, struct db_counter *c)
{
	uint64_t stored = c->first;
	errint_t r;

	assert(t->write || t->failed != 0);
	if (t->failed != 0)
		return 0;
	if (c->next == c->bound) {
		r = db_sys_get(t, c->key, &stored);
		if (r != 0 && r != -ENOENT)
			return 0;
		if (stored > UINT64_MAX / 2) {
			(void)db_fail(t, -EBADMSG);
			return 0;
		}
		c->next = MAX_OF(c->next, stored);
		if (db_sys_put(t, c->key, c->next + COUNTER_BATCH) != 0)
			return 0;
		c->bound = c->next + COUNTER_BATCH;
		c->touched = true;
	}
	return c->next++;
}

/* A reservation that was not committed is none; the numbers given out stay given. */
void db_counter_end(struct db_counter *c, bool committed)
{
	if (c->touched && !committed)
		c->bound = c->next;
	c->touched = false;
}

uint64_t meta_ino_next(struct meta_txn *t)
{
	return db_counter_next(t, &t->m->w.ino);
}

uint64_t meta_job_next(struct meta_txn *t)
{
	return db_counter_next(t, &t->m->w.job);
}
