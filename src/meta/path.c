/* SPDX-License-Identifier: MIT */
/*
 * Paths: of the mount, and of the cloud that names stand for. All are found by walking from an
 * inode to the root, so they cost its depth, and are built from the end of a buffer. A walk that
 * does not end is damage, not a hang: META_DEPTH_MAX.
 *
 * The top directory of a remote (META_F_ROOT) carries the remote's id in loc.remote; remotes are
 * numbered in T_SYS as "remote:NAME" -> id, inode.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "row.h"

#define REMOTE_KEY "remote:"

/* A path grown from its end. */
struct tail {
	char *start, *p; /* text is p .. start + size - 1, where the NUL is */
};

static void tail_init(struct tail *b, char *buf, size_t size)
{
	b->start = buf;
	b->p = buf + size - 1;
	*b->p = '\0';
}

static errint_t tail_add(struct tail *b, const char *s, size_t len)
{
	if (len > (size_t)(b->p - b->start))
		return -ENAMETOOLONG;
	b->p -= len;
	memcpy(b->p, s, len);
	return 0;
}

static void tail_finish(struct tail *b, char *ret)
{
	memmove(ret, b->p, strlen(b->p) + 1);
}

/* Next step up: an absent ancestor or an endless chain is damage. */
static errint_t step_up(struct meta_txn *t, struct meta_inode *in, unsigned *depth)
{
	errint_t r;

	if (++*depth > META_DEPTH_MAX)
		return db_fail(t, -EBADMSG);
	r = meta_inode_get(t, in->parent, in);
	return r == -ENOENT ? db_fail(t, -EBADMSG) : r;
}

errint_t meta_path(struct meta_txn *t, uint64_t ino, char *ret, size_t size)
{
	struct meta_inode in;
	unsigned depth = 0;
	struct tail b;
	errint_t r;

	assert(size > 0);
	tail_init(&b, ret, size);
	r = meta_inode_get(t, ino, &in);
	while (r == 0 && in.ino != META_ROOT_INO) {
		if (in.parent == 0)
			return -ESTALE;
		r = tail_add(&b, in.name, strlen(in.name));
		if (r == 0)
			r = tail_add(&b, "/", 1);
		if (r == 0)
			r = step_up(t, &in, &depth);
	}
	if (r == 0 && *b.p == '\0')
		r = tail_add(&b, "/", 1);
	if (r == 0)
		tail_finish(&b, ret);
	return r;
}

errint_t meta_resolve(struct meta_txn *t, const char *path, uint64_t *ret_ino)
{
	uint64_t ino = META_ROOT_INO;
	char name[META_NAME_MAX + 1];
	struct meta_inode in;
	errint_t r;

	for (;;) {
		size_t len;

		path += strspn(path, "/");
		if (*path == '\0')
			break;
		len = strcspn(path, "/");
		if (len > META_NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		path += len;
		r = meta_lookup(t, ino, name, &ino);
		if (r == -ENOENT) { /* a file has no children: say why */
			r = meta_inode_get(t, ino, &in);
			return r != 0 ? r : in.kind == META_DIR ? -ENOENT : -ENOTDIR;
		}
		if (r != 0)
			return r;
	}
	*ret_ino = ino;
	return t->failed;
}

/* What the name of `in` is in the cloud, put before what b has. */
static errint_t component_add(struct tail *b, const struct meta_inode *in)
{
	char plain[META_NAME_MAX + 1];
	size_t end, start;

	if (!(in->flags & META_F_ALIAS)) {
		meta_name_decode(in->name, plain);
		return tail_add(b, plain, strlen(plain));
	}
	end = strlen(in->loc.path);
	if (in->kind == META_DIR && end > 0 && in->loc.path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && in->loc.path[start - 1] != '/'; start--)
		;
	return tail_add(b, in->loc.path + start, end - start);
}

/* From in (which is counted) up to the remote's top, or, with prefixes, to the first directory
 * that says where its objects are. */
static errint_t cloud_path(struct meta_txn *t, struct meta_inode *in, bool prefixes,
	uint32_t *ret_remote, char ret_path[META_PATH_MAX + 1])
{
	unsigned depth = 0;
	struct tail b;
	errint_t r = 0;

	tail_init(&b, ret_path, META_PATH_MAX + 1);
	while (r == 0 && !(in->flags & META_F_ROOT)) {
		if (in->ino == META_ROOT_INO)
			return -EINVAL;
		if (prefixes && in->kind == META_DIR && (in->flags & META_F_PREFIX))
			break; /* one that was removed has no name, and may have this still */
		if (in->parent == 0)
			return -ESTALE;
		if (in->kind == META_DIR)
			r = tail_add(&b, "/", 1);
		if (r == 0)
			r = component_add(&b, in);
		if (r == 0)
			r = step_up(t, in, &depth);
	}
	if (r == 0 && prefixes && (in->flags & META_F_PREFIX)) {
		size_t len = strlen(in->loc.path);

		if (len > 0 && in->loc.path[len - 1] != '/')
			r = tail_add(&b, "/", 1);
		if (r == 0)
			r = tail_add(&b, in->loc.path, len);
	}
	if (r == 0) {
		*ret_remote = in->loc.remote;
		tail_finish(&b, ret_path);
	}
	return r;
}

errint_t meta_desired(
	struct meta_txn *t, uint64_t ino, uint32_t *ret_remote, char ret_path[META_PATH_MAX + 1])
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, ino, &in);

	return r == 0 ? cloud_path(t, &in, false, ret_remote, ret_path) : r;
}

errint_t meta_dir_prefix(
	struct meta_txn *t, uint64_t dir, uint32_t *ret_remote, char ret_path[META_PATH_MAX + 1])
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, dir, &in);

	if (r == 0 && in.kind != META_DIR)
		return -ENOTDIR;
	return r == 0 ? cloud_path(t, &in, true, ret_remote, ret_path) : r;
}

bool meta_is_below(struct meta_txn *t, uint64_t ino, uint64_t anc)
{
	struct meta_inode in;
	unsigned depth = 0;
	errint_t r;

	if (ino == anc)
		return true;
	r = meta_inode_get(t, ino, &in);
	while (r == 0 && in.ino != anc && in.parent != 0)
		r = step_up(t, &in, &depth);
	return r == 0 && in.ino == anc;
}

/* ---- longest path below ---- */

struct longest_dir {
	uint64_t ino;
	size_t len; /* of its own relative path with the '/' */
};

struct longest {
	struct meta_txn *t;
	struct longest_dir *todo; /* owned */
	size_t n, cap, base, best;
};

static void longest_done(struct longest *l)
{
	free(l->todo);
}

static int longest_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct longest *l = arg;
	size_t len = l->base + strlen(name);

	/* Over-long components are shown shortened: what counts is the one in the cloud. */
	if (strstr(name, "%~") != NULL) {
		char buf[META_PATH_MAX + 1];
		struct meta_inode in;
		struct tail b;
		errint_t r = meta_inode_get(l->t, ino, &in);

		tail_init(&b, buf, sizeof(buf));
		if (r == 0)
			r = component_add(&b, &in);
		if (r != 0)
			return r == -ENOENT ? -EBADMSG : r;
		len = l->base + strlen(b.p);
	}
	l->best = MAX_OF(l->best, len);
	if (kind != META_DIR)
		return 0;
	if (l->n == l->cap) {
		size_t cap = l->cap != 0 ? 2 * l->cap : 64;
		void *p = realloc(l->todo, cap * sizeof(*l->todo));

		if (p == NULL)
			return -ENOMEM;
		l->todo = p;
		l->cap = cap;
	}
	l->todo[l->n++] = (struct longest_dir){ino, len + 1};
	return 0;
}

errint_t meta_longest_below(struct meta_txn *t, uint64_t dir, size_t *ret)
{
	__attribute__((cleanup(longest_done))) struct longest l = {.t = t};
	uint64_t ino = dir;
	errint_t r;

	*ret = 0;
	for (;;) {
		r = meta_children(t, ino, 0, false, longest_child, &l);
		if (r != 0 || l.n == 0)
			break;
		ino = l.todo[--l.n].ino;
		l.base = l.todo[l.n].len;
		if (l.base > (size_t)META_DEPTH_MAX * (META_NAME_MAX + 1))
			return db_fail(t, -EBADMSG);
	}
	*ret = l.best;
	return r;
}

/* ---- remotes ---- */

static errint_t remote_top(struct meta_txn *t, const char *name, uint32_t id, const uid_t owner[2],
	struct meta_inode *in)
{
	memset(in, 0, sizeof(*in));
	in->ino = meta_ino_next(t);
	if (in->ino == 0)
		return t->failed;
	in->kind = META_DIR;
	in->flags = META_F_ROOT | META_F_FOREIGN;
	in->mode = S_IFDIR | 0755;
	in->uid = owner[0];
	in->gid = owner[1];
	in->mtime_ns = in->atime_ns = in->ctime_ns = in->btime_ns = clock_now_ns();
	in->loc.remote = id;
	return meta_link(t, in, META_ROOT_INO, name);
}

errint_t meta_remote(struct meta_txn *t, const char *name, uint32_t uid, uint32_t gid,
	uint32_t *ret_id, uint64_t *ret_ino)
{
	const uid_t owner[2] = {uid, gid};
	char key[META_NAME_MAX + 16];
	struct meta_inode in;
	uint64_t id = 0, ino = 0;
	uint8_t val[16];
	MDB_val v;
	errint_t r;

	assert(name[0] != '\0' && strlen(name) <= META_NAME_MAX);
	(void)snprintf(key, sizeof(key), REMOTE_KEY "%s", name);
	r = db_get(t, T_SYS, key, strlen(key), &v);
	if (r == 0 && v.mv_size != sizeof(val))
		return db_fail(t, -EBADMSG);
	if (r == 0) {
		id = db_u64_of(v.mv_data);
		ino = db_u64_of((const uint8_t *)v.mv_data + 8);
		r = meta_inode_get(t, ino, &in);
	} else if (r == -ENOENT && t->write) {
		id = 1;
		(void)db_sys_get(t, "next_remote", &id);
		(void)db_sys_put(t, "next_remote", id + 1);
	}
	if (id == 0 || id > UINT32_MAX - 1)
		return t->failed != 0 ? t->failed : id == 0 ? -ENOENT : db_fail(t, -EBADMSG);
	if (r == -ENOENT && t->write) {
		r = remote_top(t, name, (uint32_t)id, owner, &in);
		ino = in.ino;
		db_u64(val, id);
		db_u64(val + 8, ino);
		if (r == 0)
			r = db_put(t, T_SYS, key, strlen(key), val, sizeof(val));
	}
	if (r == 0) {
		*ret_id = (uint32_t)id;
		*ret_ino = ino;
	}
	return r;
}

struct each_remote {
	int (*fn)(void *arg, const char *name, uint32_t id, uint64_t ino);
	void *arg;
};

static int on_remote(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t val_len)
{
	const struct each_remote *e = arg;
	char name[META_NAME_MAX + 1];
	size_t len = key_len - strlen(REMOTE_KEY);
	uint64_t id;

	if (val_len != 16 || len == 0 || len > META_NAME_MAX)
		return -EBADMSG;
	memcpy(name, key + strlen(REMOTE_KEY), len);
	name[len] = '\0';
	id = db_u64_of(val);
	if (id == 0 || id > UINT32_MAX - 1)
		return -EBADMSG;
	return e->fn(e->arg, name, (uint32_t)id, db_u64_of((const uint8_t *)val + 8));
}

errint_t meta_remotes_each(struct meta_txn *t,
	int (*fn)(void *arg, const char *name, uint32_t id, uint64_t ino), void *arg)
{
	struct each_remote e = {fn, arg};

	return db_walk(t, T_SYS, REMOTE_KEY, strlen(REMOTE_KEY), strlen(REMOTE_KEY), on_remote, &e);
}
