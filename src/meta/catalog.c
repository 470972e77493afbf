/* SPDX-License-Identifier: MIT */
/*
 * Inodes and names. Four tables say the same thing and change only together, here: the inode row
 * (with parent and name), dentry, dirorder, and orphan for rows without a name; beside them the
 * parent's nchild and its delta of totals (totals.c).
 *
 * What belongs to this room in an inode row - parent, name, nchild, nlink, totals, META_F_ORPHAN -
 * is taken from the stored row by meta_inode_put, whatever the caller's copy says, so that a copy
 * read before a link or a flush of totals cannot undo them.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "row.h"

#define NAME_KEY_MAX (8 + META_NAME_MAX)

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, META_NAME_MAX + 1);

	return len > 0 && len <= META_NAME_MAX && strchr(name, '/') == NULL &&
	       strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- rows ---- */

errint_t meta_inode_get(struct meta_txn *t, uint64_t ino, struct meta_inode *ret)
{
	uint8_t key[8];
	MDB_val v;
	errint_t r;

	db_u64(key, ino);
	r = db_get(t, T_INODE, key, sizeof(key), &v);
	if (r != 0)
		return r;
	r = row_inode_decode(ino, v.mv_data, v.mv_size, ret);
	return r == 0 ? 0 : db_fail(t, r);
}

errint_t catalog_row_put(struct meta_txn *t, const struct meta_inode *in)
{
	uint8_t key[8], row[ROW_INODE_MAX];

	assert(in->ino != 0 && in->kind >= META_FILE && in->kind <= META_SYMLINK);
	assert(in->tier < TIER_N && in->forced_tier < TIER_N);
	if (t->failed != 0)
		return t->failed;
	db_u64(key, in->ino);
	return db_put(t, T_INODE, key, sizeof(key), row, row_inode_encode(in, row));
}

/* Row `ino` of a table that is a set of inode numbers. */
errint_t catalog_flag_row(struct meta_txn *t, enum db_table tab, uint64_t ino, bool on)
{
	uint8_t key[8];
	errint_t r;

	db_u64(key, ino);
	if (on)
		return db_put(t, tab, key, sizeof(key), "", 0);
	r = db_del(t, tab, key, sizeof(key));
	return r == -ENOENT ? 0 : r;
}

/* Writes the row of `in`, keeping the sets of dirty inodes and orphans true. old is the stored
 * row, NULL when there is none. */
static errint_t row_replace(
	struct meta_txn *t, const struct meta_inode *old, const struct meta_inode *in)
{
	uint32_t was = old != NULL ? old->flags : 0;

	if ((was ^ in->flags) & META_F_DIRTY)
		(void)catalog_flag_row(t, T_DIRTY, in->ino, in->flags & META_F_DIRTY);
	if ((was ^ in->flags) & META_F_ORPHAN)
		(void)catalog_flag_row(t, T_ORPHAN, in->ino, in->flags & META_F_ORPHAN);
	return catalog_row_put(t, in);
}

/* Fills *ret with what is to be stored for the caller's copy `in`, and *old with the stored row;
 * *ret_new: there is none. */
static errint_t row_merge(struct meta_txn *t, const struct meta_inode *in, struct meta_inode *old,
	struct meta_inode *ret, bool *ret_new)
{
	errint_t r = meta_inode_get(t, in->ino, old);

	if (r != 0 && r != -ENOENT)
		return r;
	*ret_new = r == -ENOENT;
	*ret = *in;
	if (*ret_new) {
		ret->parent = 0;
		ret->name[0] = '\0';
		ret->nchild = 0;
		ret->nlink = ret->kind == META_DIR ? 2 : 1;
		memset(&ret->totals, 0, sizeof(ret->totals));
	} else {
		if (old->kind != in->kind)
			return db_fail(t, -EINVAL);
		ret->parent = old->parent;
		memcpy(ret->name, old->name, sizeof(ret->name));
		ret->nchild = old->nchild;
		ret->nlink = old->nlink;
		ret->totals = old->totals;
	}
	ret->flags &= ~(uint32_t)META_F_ORPHAN;
	if (ret->parent == 0 && ret->ino != META_ROOT_INO)
		ret->flags |= META_F_ORPHAN;
	return 0;
}

/* delta of parent += what `now` contributes less what `was` did. */
static void parent_adjust(struct meta_txn *t, uint64_t parent, const struct meta_inode *was,
	const struct meta_inode *now)
{
	struct meta_totals a = {0}, b;

	if (now != NULL)
		totals_of(now, &a);
	if (was != NULL) {
		totals_of(was, &b);
		totals_sum(&a, &b, -1);
	}
	(void)totals_add(t, parent, &a, 1);
}

errint_t meta_inode_put(struct meta_txn *t, const struct meta_inode *in)
{
	struct meta_inode old, row;
	bool is_new;
	errint_t r;

	assert(in->ino != 0);
	if (t->failed != 0)
		return t->failed;
	r = row_merge(t, in, &old, &row, &is_new);
	if (r != 0)
		return r;
	if (row.parent != 0)
		parent_adjust(t, row.parent, is_new ? NULL : &old, &row);
	return row_replace(t, is_new ? NULL : &old, &row);
}

struct del_xattrs {
	struct meta_txn *t;
};

static int del_xattr(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	return db_del(((struct del_xattrs *)arg)->t, T_XATTR, key, key_len);
}

errint_t meta_inode_del(struct meta_txn *t, uint64_t ino)
{
	struct meta_inode old;
	struct del_xattrs d = {t};
	uint8_t key[8];
	errint_t r = meta_inode_get(t, ino, &old);

	if (r != 0)
		return r;
	if (ino == META_ROOT_INO || old.parent != 0)
		return db_fail(t, -EBUSY);
	if (old.nchild != 0)
		return db_fail(t, -ENOTEMPTY);
	db_u64(key, ino);
	(void)db_del(t, T_INODE, key, sizeof(key));
	(void)db_del(t, T_ACCESS, key, sizeof(key));
	(void)db_del(t, T_DELTA, key, sizeof(key));
	(void)catalog_flag_row(t, T_DIRTY, ino, false);
	(void)catalog_flag_row(t, T_ORPHAN, ino, false);
	return db_walk(t, T_XATTR, key, sizeof(key), sizeof(key), del_xattr, &d);
}

errint_t catalog_root_create(struct meta_txn *t)
{
	struct meta_inode root;

	memset(&root, 0, sizeof(root));
	root.ino = META_ROOT_INO;
	root.kind = META_DIR;
	root.flags = META_F_FOREIGN;
	root.mode = S_IFDIR | 0755;
	root.uid = geteuid();
	root.gid = getegid();
	root.nlink = 2;
	root.mtime_ns = root.atime_ns = root.ctime_ns = root.btime_ns = clock_now_ns();
	return catalog_row_put(t, &root);
}

/* ---- names ---- */

static size_t name_key(uint8_t key[NAME_KEY_MAX], uint64_t parent, const char *name)
{
	size_t len = strnlen(name, META_NAME_MAX);

	db_u64(key, parent);
	memcpy(key + 8, name, len);
	return 8 + len;
}

static void order_key(uint8_t key[16], uint64_t parent, uint64_t ino)
{
	db_u64(key, parent);
	db_u64(key + 8, ino);
}

errint_t meta_hide(struct meta *m, uint64_t ino)
{
	uint64_t *p = reallocarray(m->hidden, m->nhidden + 1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	m->hidden = p;
	m->hidden[m->nhidden++] = ino;
	return 0;
}

static bool is_hidden(const struct meta *m, uint64_t dir, uint64_t ino)
{
	for (size_t i = 0; dir == META_ROOT_INO && i < m->nhidden; i++) {
		if (m->hidden[i] == ino)
			return true;
	}
	return false;
}

errint_t meta_lookup(struct meta_txn *t, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	uint8_t key[NAME_KEY_MAX];
	uint64_t ino;
	MDB_val v;
	errint_t r;

	if (strnlen(name, META_NAME_MAX + 1) > META_NAME_MAX)
		return t->failed != 0 ? t->failed : -ENAMETOOLONG;
	r = db_get(t, T_DENTRY, key, name_key(key, parent, name), &v);
	if (r != 0)
		return r;
	if (v.mv_size != 9)
		return db_fail(t, -EBADMSG);
	ino = db_u64_of(v.mv_data);
	if (is_hidden(t->m, parent, ino))
		return -ENOENT;
	*ret_ino = ino;
	return 0;
}

errint_t catalog_dentry_put(
	struct meta_txn *t, uint64_t parent, const char *name, uint64_t ino, enum meta_kind kind)
{
	uint8_t key[NAME_KEY_MAX], order[16], val[9], entry[1 + META_NAME_MAX];
	size_t key_len = name_key(key, parent, name);

	db_u64(val, ino);
	val[8] = (uint8_t)kind;
	(void)db_put(t, T_DENTRY, key, key_len, val, sizeof(val));
	order_key(order, parent, ino);
	entry[0] = (uint8_t)kind;
	memcpy(entry + 1, name, key_len - 8);
	return db_put(t, T_ORDER, order, sizeof(order), entry, 1 + key_len - 8);
}

/* Both rows must be there. */
static errint_t dentry_del(struct meta_txn *t, const struct meta_inode *in)
{
	uint8_t key[NAME_KEY_MAX], order[16];

	if (db_del(t, T_DENTRY, key, name_key(key, in->parent, in->name)) == -ENOENT)
		return db_fail(t, -EBADMSG);
	order_key(order, in->parent, in->ino);
	if (db_del(t, T_ORDER, order, sizeof(order)) == -ENOENT)
		return db_fail(t, -EBADMSG);
	return t->failed;
}

/* dir gets (n = 1) or loses (-1) a child of that kind. */
static errint_t child_count(struct meta_txn *t, uint64_t dir, enum meta_kind kind, int n)
{
	struct meta_inode d;
	errint_t r = meta_inode_get(t, dir, &d);

	if (r == 0 && d.kind != META_DIR)
		r = -ENOTDIR;
	if (r == 0 && n < 0 && (d.nchild == 0 || (kind == META_DIR && d.nlink <= 2)))
		r = -EBADMSG;
	if (r != 0)
		return db_fail(t, r);
	d.nchild += (uint32_t)n;
	d.nlink += kind == META_DIR ? (uint32_t)n : 0;
	return catalog_row_put(t, &d);
}

/* Whether parent/name may be given: -EINVAL, -ENAMETOOLONG, -EEXIST, all of them failures. */
static errint_t name_free(struct meta_txn *t, uint64_t parent, const char *name)
{
	uint64_t ino;
	errint_t r;

	if (t->failed != 0)
		return t->failed;
	if (strnlen(name, META_NAME_MAX + 1) > META_NAME_MAX)
		return db_fail(t, -ENAMETOOLONG);
	if (!name_ok(name))
		return db_fail(t, -EINVAL);
	r = meta_lookup(t, parent, name, &ino);
	if (r == -ENOENT)
		return 0;
	return db_fail(t, r == 0 ? -EEXIST : r);
}

static void name_set(struct meta_inode *in, uint64_t parent, const char *name)
{
	in->parent = parent;
	memset(in->name, 0, sizeof(in->name));
	memcpy(in->name, name, strlen(name));
	in->flags &= ~(uint32_t)META_F_ORPHAN;
}

/* After a change the caller's copy says what is stored. */
static void copy_back(struct meta_inode *in, const struct meta_inode *row)
{
	in->parent = row->parent;
	memcpy(in->name, row->name, sizeof(in->name));
	in->flags = row->flags;
	in->nchild = row->nchild;
	in->nlink = row->nlink;
	in->totals = row->totals;
}

errint_t meta_link(struct meta_txn *t, struct meta_inode *in, uint64_t parent, const char *name)
{
	struct meta_inode old, row;
	bool is_new;
	errint_t r = name_free(t, parent, name);

	assert(in->ino != 0 && in->ino != META_ROOT_INO);
	if (r == 0)
		r = row_merge(t, in, &old, &row, &is_new);
	if (r != 0)
		return r;
	if (row.parent != 0) /* has a name: meta_move is meant */
		return db_fail(t, -EINVAL);
	if (row.kind == META_DIR && !is_new && meta_is_below(t, parent, in->ino))
		return db_fail(t, -EINVAL);
	name_set(&row, parent, name);
	(void)child_count(t, parent, row.kind, 1);
	(void)catalog_dentry_put(t, parent, name, row.ino, row.kind);
	parent_adjust(t, parent, NULL, &row);
	r = row_replace(t, is_new ? NULL : &old, &row);
	if (r == 0)
		copy_back(in, &row);
	return r;
}

errint_t meta_unlink(struct meta_txn *t, struct meta_inode *in)
{
	struct meta_inode old, row;
	bool is_new;
	errint_t r;

	assert(in->ino != 0 && in->ino != META_ROOT_INO);
	if (t->failed != 0)
		return t->failed;
	r = row_merge(t, in, &old, &row, &is_new);
	if (r != 0)
		return r;
	if (is_new || old.parent == 0)
		return db_fail(t, -EINVAL);
	(void)dentry_del(t, &old);
	(void)child_count(t, old.parent, old.kind, -1);
	parent_adjust(t, old.parent, &old, NULL);
	row.parent = 0;
	row.name[0] = '\0';
	row.flags |= META_F_ORPHAN;
	r = row_replace(t, &old, &row);
	if (r == 0)
		copy_back(in, &row);
	return r;
}

errint_t meta_move(struct meta_txn *t, struct meta_inode *in, uint64_t parent, const char *name)
{
	struct meta_inode old, row;
	bool is_new;
	errint_t r;

	assert(in->ino != 0 && in->ino != META_ROOT_INO);
	if (t->failed != 0)
		return t->failed;
	r = row_merge(t, in, &old, &row, &is_new);
	if (r != 0)
		return r;
	if (is_new || old.parent == 0)
		return db_fail(t, -EINVAL);
	if (parent == old.parent && strcmp(name, old.name) == 0)
		return meta_inode_put(t, in);
	if (row.kind == META_DIR && parent != old.parent && meta_is_below(t, parent, row.ino))
		return db_fail(t, -EINVAL);
	r = name_free(t, parent, name);
	if (r != 0)
		return r;
	/* An alias stands for a name in the cloud; a name that a user gave stands for itself. */
	if (strcmp(name, old.name) != 0)
		row.flags &= ~(uint32_t)META_F_ALIAS;
	(void)dentry_del(t, &old);
	name_set(&row, parent, name);
	(void)catalog_dentry_put(t, parent, name, row.ino, row.kind);
	if (parent == old.parent) {
		parent_adjust(t, parent, &old, &row);
	} else {
		(void)child_count(t, old.parent, old.kind, -1);
		(void)child_count(t, parent, row.kind, 1);
		parent_adjust(t, old.parent, &old, NULL);
		parent_adjust(t, parent, NULL, &row);
	}
	r = row_replace(t, &old, &row);
	if (r == 0)
		copy_back(in, &row);
	return r;
}

/* ---- directories ---- */

struct children {
	struct meta_txn *t;
	uint64_t dir;
	meta_child_fn fn;
	void *arg;
	bool with_rows;
	struct meta_inode row;
};

static int child_give(struct children *c, uint64_t ino, enum meta_kind kind, const char *name)
{
	errint_t r;

	if (kind < META_FILE || kind > META_SYMLINK)
		return -EBADMSG;
	if (is_hidden(c->t->m, c->dir, ino))
		return 0;
	if (!c->with_rows)
		return c->fn(c->arg, ino, kind, name, NULL);
	r = meta_inode_get(c->t, ino, &c->row);
	if (r != 0)
		return r == -ENOENT ? -EBADMSG : r;
	return c->fn(c->arg, ino, kind, name, &c->row);
}

static int child_by_order(
	void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	char name[META_NAME_MAX + 1];

	if (key_len != 16 || len < 2 || len > 1 + META_NAME_MAX)
		return -EBADMSG;
	memcpy(name, (const char *)val + 1, len - 1);
	name[len - 1] = '\0';
	return child_give(arg, db_u64_of(key + 8), ((const uint8_t *)val)[0], name);
}

static int child_by_name(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	char name[META_NAME_MAX + 1];

	if (key_len < 9 || key_len > NAME_KEY_MAX || len != 9)
		return -EBADMSG;
	memcpy(name, key + 8, key_len - 8);
	name[key_len - 8] = '\0';
	return child_give(arg, db_u64_of(val), ((const uint8_t *)val)[8], name);
}

errint_t meta_children(struct meta_txn *t, uint64_t dir, uint64_t cookie, bool with_rows,
	meta_child_fn fn, void *arg)
{
	struct children c = {.t = t, .dir = dir, .fn = fn, .arg = arg, .with_rows = with_rows};
	uint8_t key[16];

	if (cookie == UINT64_MAX)
		return t->failed;
	order_key(key, dir, cookie + 1);
	return db_walk(t, T_ORDER, key, sizeof(key), 8, child_by_order, &c);
}

errint_t meta_children_by_name(
	struct meta_txn *t, uint64_t dir, const char *from, meta_child_fn fn, void *arg)
{
	struct children c = {.t = t, .dir = dir, .fn = fn, .arg = arg};
	uint8_t key[NAME_KEY_MAX];

	return db_walk(t, T_DENTRY, key, name_key(key, dir, from), 8, child_by_name, &c);
}

/* ---- scan ---- */

#define SCAN_SLICE_NS (5 * NS_PER_MS)

struct scan {
	struct meta_txn *t;
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in);
	void *arg;
	unsigned left, seen;
	uint64_t last;
	int64_t until_ns;
	bool more;
	struct meta_inode row;
};

static int scan_row(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct scan *s = arg;
	int r;

	if (s->left == 0 || (s->seen != 0 && s->seen % 16 == 0 && clock_mono_ns() > s->until_ns)) {
		s->more = true;
		return 1;
	}
	if (key_len != 8)
		return -EBADMSG;
	s->seen++;
	s->last = db_u64_of(key);
	if (row_inode_kind(val, len) != META_FILE)
		return row_inode_kind(val, len) == 0 ? -EBADMSG : 0;
	r = row_inode_decode(s->last, val, len, &s->row);
	if (r != 0)
		return r;
	s->left--;
	r = s->fn(s->arg, s->t, &s->row);
	s->more = r == 1;
	return r;
}

errint_t meta_scan(struct meta *m, uint64_t after, unsigned max, uint64_t *ret_next,
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in), void *arg)
{
	struct scan s = {.fn = fn, .arg = arg, .left = max, .last = after};
	uint8_t key[8];
	errint_t r;

	assert(max > 0);
	*ret_next = 0;
	if (after == UINT64_MAX)
		return 0;
	s.t = meta_begin_read(m);
	s.until_ns = clock_mono_ns() + SCAN_SLICE_NS;
	db_u64(key, after + 1);
	r = db_walk(s.t, T_INODE, key, sizeof(key), 0, scan_row, &s);
	if (r == 0 && s.more)
		*ret_next = s.last;
	meta_abort(s.t);
	return r;
}
