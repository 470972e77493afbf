/* SPDX-License-Identifier: MIT */
/*
 * The journal's tables: job records (bytes that the job room understands), the sets of dirty
 * inodes and of orphans that recovery walks, and small named values.
 *
 * Walks may change what they walk over (db_walk finds its place anew), so that recovery can
 * delete a job or an orphan from inside its callback.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>

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
