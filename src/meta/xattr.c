/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes that users set: one row per (inode, name). Names have 1 to 255 bytes, values
 * up to 64 KiB. Which names may be set at all is vfs's affair.
 */
#include "db.h"

#include <errno.h>
#include <sys/xattr.h>

#define XATTR_NAME_MAX 255u

/* 0 and the key's length in *ret_len; -ERANGE as setxattr(2) says for a bad name. */
static errint_t xattr_key(
	uint64_t ino, const char *name, uint8_t key[8 + XATTR_NAME_MAX], size_t *ret_len)
{
	size_t len = strnlen(name, XATTR_NAME_MAX + 1);

	if (len == 0 || len > XATTR_NAME_MAX)
		return -ERANGE;
	db_u64(key, ino);
	memcpy(key + 8, name, len);
	*ret_len = 8 + len;
	return 0;
}

errint_t meta_xattr_get(
	struct meta_txn *t, uint64_t ino, const char *name, void *ret, size_t size, size_t *ret_len)
{
	uint8_t key[8 + XATTR_NAME_MAX];
	size_t key_len;
	MDB_val v;
	errint_t r;

	if (xattr_key(ino, name, key, &key_len) != 0)
		return t->failed != 0 ? t->failed : -ENODATA;
	r = db_get(t, T_XATTR, key, key_len, &v);
	if (r != 0)
		return r == -ENOENT ? -ENODATA : r;
	*ret_len = v.mv_size;
	if (size == 0)
		return 0;
	if (v.mv_size > size)
		return -ERANGE;
	memcpy(ret, v.mv_data, v.mv_size);
	return 0;
}

errint_t meta_xattr_set(
	struct meta_txn *t, uint64_t ino, const char *name, const void *p, size_t len, int flags)
{
	uint8_t key[8 + XATTR_NAME_MAX];
	size_t key_len;
	MDB_val v;
	errint_t r = t->failed;

	if (r != 0)
		return r;
	r = xattr_key(ino, name, key, &key_len);
	if (r == 0 && len > META_XATTR_MAX)
		r = -E2BIG;
	if (r != 0)
		return db_fail(t, r);
	if (flags & (XATTR_CREATE | XATTR_REPLACE)) {
		r = db_get(t, T_XATTR, key, key_len, &v);
		if (r == 0 && (flags & XATTR_CREATE))
			return db_fail(t, -EEXIST);
		if (r == -ENOENT && (flags & XATTR_REPLACE))
			return db_fail(t, -ENODATA);
	}
	return db_put(t, T_XATTR, key, key_len, p, len);
}

errint_t meta_xattr_del(struct meta_txn *t, uint64_t ino, const char *name)
{
	uint8_t key[8 + XATTR_NAME_MAX];
	size_t key_len;
	errint_t r;

	if (xattr_key(ino, name, key, &key_len) != 0)
		return t->failed != 0 ? t->failed : -ENODATA;
	r = db_del(t, T_XATTR, key, key_len);
	return r == -ENOENT ? -ENODATA : r;
}

struct xattr_each {
	int (*fn)(void *arg, const char *name, const void *p, size_t len);
	void *arg;
};

static int xattr_row(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct xattr_each *e = arg;
	char name[XATTR_NAME_MAX + 1];

	if (key_len < 9 || key_len > 8 + XATTR_NAME_MAX)
		return -EBADMSG;
	memcpy(name, key + 8, key_len - 8);
	name[key_len - 8] = '\0';
	return e->fn(e->arg, name, val, len);
}

errint_t meta_xattr_each(struct meta_txn *t, uint64_t ino,
	int (*fn)(void *arg, const char *name, const void *p, size_t len), void *arg)
{
	struct xattr_each e = {fn, arg};
	uint8_t key[8];

	db_u64(key, ino);
	return db_walk(t, T_XATTR, key, sizeof(key), sizeof(key), xattr_row, &e);
}
