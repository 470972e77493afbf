/* SPDX-License-Identifier: MIT */
/*
 * Facts of a file as the index knows them, and walks over files in short transactions, so that no
 * reader pins old pages while somebody reads a print.
 */
#include "tier_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define DAY_NS	      (86400 * NS_PER_S)
#define KEPT_DAYS     7 /* soft delete: how long what was deleted is billed */
#define WALK_DIRS_MAX (1u << 24)

/* ---- facts ---- */

static const struct remote *remote_of(const struct tier_engine *e, uint32_t id)
{
	for (size_t i = 0; i < e->conf.nremotes; i++) {
		if (e->conf.remotes[i].id == id)
			return &e->conf.remotes[i];
	}
	return NULL;
}

static void access_facts(struct tier_engine *e, struct meta_txn *t, const struct meta_inode *in,
	int64_t now_ns, struct policy_facts *f)
{
	int64_t window = e->conf.rules->window_ns;
	int64_t days = MIN_OF(MAX_OF(window / DAY_NS, (int64_t)1), (int64_t)30);
	struct meta_access a;

	/* -ENOENT zeroes it: never touched through this mount. */
	if (meta_access_get(e->conf.meta, t, in->ino, &a))
		memset(&a, 0, sizeof(a));
	f->created_ns = in->btime_ns ? in->btime_ns : in->mtime_ns;
	f->last_access_ns = MAX_OF(a.last_read_ns, a.last_write_ns);
	f->accesses_window = meta_access_window(&a, now_ns, (unsigned)days);
	f->accesses_total = a.reads + a.writes;
	f->bytes_window = meta_access_fetched(&a, now_ns, window);
}

errint_t tier_facts(struct tier_engine *e, struct meta_txn *t, const struct meta_inode *in,
	int64_t now_ns, struct tier_facts *ret)
{
	const struct remote *r;
	uint32_t id = in->loc.remote;
	char below[META_PATH_MAX + 1];
	bool object = in->flags & META_F_OBJECT;

	if (in->kind != META_FILE)
		return -EINVAL;
	if (!object && meta_desired(t, in->ino, &id, below))
		return -EINVAL; /* orphan, or below no remote */
	r = remote_of(e, id);
	if (!r)
		return -EINVAL;
	memset(&ret->f, 0, sizeof(ret->f));
	memcpy(ret->name, in->name, sizeof(ret->name));
	memcpy(ret->class_name, in->class_name, sizeof(ret->class_name));
	ret->f.name = ret->name;
	/* Below the mount, without the first slash: as rules match it. */
	if (!meta_path(t, in->ino, ret->path, sizeof(ret->path)))
		ret->f.path = ret->path + 1;
	ret->f.cloud = r->name;
	ret->f.provider = r->provider;
	ret->real = r->real;
	ret->f.class_name = *ret->class_name ? ret->class_name : NULL;
	for (unsigned i = 0; i < TIER_N; i++)
		ret->classes[i] = r->classes[i].name;
	ret->f.classes = ret->classes;
	ret->f.size = in->size;
	ret->f.tier = in->tier < TIER_N ? (enum tier)in->tier : TIER_HOT;
	ret->f.unknown = job_class_unknown(e->conf.jobs, in);
	ret->f.pinned = in->flags & META_F_PINNED;
	ret->f.pin = in->forced_tier < TIER_N ? (enum tier)in->forced_tier : TIER_HOT;
	ret->f.tier_since_ns = in->tier_since_ns;
	access_facts(e, t, in, now_ns, &ret->f);
	ret->f.retained_days = r->caps.versioning || r->caps.soft_delete ? KEPT_DAYS : 0;
	ret->f.archived = in->flags & META_F_ARCHIVED;
	ret->f.open = e->conf.is_open && e->conf.is_open(e->conf.is_open_arg, in->ino);
	ret->f.busy = !object || in->flags & META_F_DIRTY || job_live(e->conf.jobs, in->ino);
	return 0;
}

/* ---- walks ---- */

struct walk {
	struct tier_engine *e;
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in);
	void *arg;
	struct meta_txn *t;
	uint64_t *dirs; /* owned; still to be walked */
	size_t ndirs, cap;
	uint64_t cookie; /* in the directory being walked */
	unsigned rows;	 /* of this slice */
	bool more;	 /* the slice was full */
	int ended;
};

static errint_t dir_push(struct walk *w, uint64_t ino)
{
	if (w->ndirs == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		uint64_t *p = cap <= WALK_DIRS_MAX ? realloc(w->dirs, cap * sizeof(*p)) : NULL;

		if (!p)
			return -ENOMEM;
		w->dirs = p;
		w->cap = cap;
	}
	w->dirs[w->ndirs++] = ino;
	return 0;
}

static int on_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct walk *w = arg;

	if (w->rows == TIER_SLICE) {
		w->more = true;
		return 1;
	}
	w->rows++;
	w->cookie = ino;
	if (kind == META_DIR)
		return dir_push(w, ino);
	if (kind == META_FILE)
		w->ended = w->fn(w->arg, w->t, full);
	return w->ended;
}

/* One slice of the directory on top of the stack, which leaves it when it is through. */
static errint_t slice(struct walk *w)
{
	uint64_t dir = w->dirs[w->ndirs - 1];
	size_t at = w->ndirs - 1;
	errint_t r, end;

	w->rows = 0;
	w->more = false;
	w->t = meta_begin_read(w->e->conf.meta);
	r = meta_children(w->t, dir, w->cookie, true, on_child, w);
	end = meta_commit(w->t);
	if (r < 0 || end)
		return r < 0 ? r : end;
	if (w->more) {
		/* Its subdirectories seen so far lie above it: walk on below first needs it on
		 * top again. */
		memmove(&w->dirs[at], &w->dirs[at + 1], (w->ndirs - 1 - at) * sizeof(w->dirs[0]));
		w->dirs[w->ndirs - 1] = dir;
	} else {
		memmove(&w->dirs[at], &w->dirs[at + 1], (w->ndirs - 1 - at) * sizeof(w->dirs[0]));
		w->ndirs--;
		w->cookie = 0;
	}
	return 0;
}

static errint_t walk_tree(struct walk *w, uint64_t dir, int (*between)(void *arg))
{
	errint_t r = dir_push(w, dir);

	while (!r && !w->ended && w->ndirs) {
		r = slice(w);
		if (!r && between && !w->ended)
			w->ended = between(w->arg);
	}
	return r;
}

static errint_t walk_all(struct walk *w, int (*between)(void *arg))
{
	uint64_t after = 0, next = 0;
	errint_t r = 0;

	do {
		r = meta_scan(w->e->conf.meta, after, TIER_SLICE, &next, w->fn, w->arg);
		after = next;
		if (r > 0) {
			w->ended = r;
			r = 0;
		}
		if (!r && between && !w->ended)
			w->ended = between(w->arg);
	} while (!r && !w->ended && next);
	return r;
}

errint_t tier_walk(struct tier_engine *e, uint64_t ino,
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in),
	int (*between)(void *arg), void *arg)
{
	struct walk w = {.e = e, .fn = fn, .arg = arg};
	struct meta_inode in;
	errint_t r;

	if (ino == META_ROOT_INO) {
		r = walk_all(&w, between);
	} else {
		w.t = meta_begin_read(e->conf.meta);
		r = meta_inode_get(w.t, ino, &in);
		if (!r && in.kind == META_FILE)
			w.ended = fn(arg, w.t, &in);
		(void)meta_commit(w.t);
		if (!r && in.kind == META_DIR)
			r = walk_tree(&w, ino, between);
		else if (!r && between && !w.ended)
			w.ended = between(arg);
	}
	free(w.dirs);
	return r ? r : MIN_OF(w.ended, 0);
}
