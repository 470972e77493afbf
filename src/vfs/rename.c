/* SPDX-License-Identifier: MIT */
/*
 * rename(2) in all its forms. Everything is decided from the index; one transaction changes the
 * names and posts the job that makes the clouds follow. The answer comes at once inside a cloud.
 * Across clouds it waits for the job a little (migrate_wait in all, shared by those that wait at
 * the same time: the kernel holds both directories meanwhile), so that small moves are over when
 * mv returns and their errors reach it. The kernel lets one rename between directories in at a
 * time: when a wait was in vain, for a while nobody waits for moves between the same two clouds, so
 * that one that hangs does not hold up the renames of the others.
 */
#include "vfs_priv.h"

#include <stdio.h> /* RENAME_* */

#define SOON_MAX (8u << 20) /* what is larger does not end within migrate_wait */
#define VAIN_NS	 (10 * NS_PER_S)

enum { PHASE_CHECK, PHASE_WAIT };

struct names {					 /* of one rename, as of its transaction */
	struct meta_inode dir, new_dir, in, old; /* old: what has the new name now */
	bool has_old;
	uint32_t remote, new_remote;
};

/* ino = source directory, ino2 = target directory, name, name2, what = flags; while it waits size2
 * = which of v->vain. */

static errint_t names_get(struct vfs_call *c, struct meta_txn *t, struct names *n)
{
	uint64_t ino = 0, old = 0;
	errint_t r = meta_inode_get(t, c->own.ino, &n->dir);

	if (!r)
		r = meta_inode_get(t, c->own.ino2, &n->new_dir);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	r = meta_lookup(t, c->own.ino, c->own.name, &ino);
	if (!r)
		r = meta_inode_get(t, ino, &n->in);
	if (r)
		return r;
	r = meta_lookup(t, c->own.ino2, c->own.name2, &old);
	n->has_old = !r;
	if (!r)
		r = meta_inode_get(t, old, &n->old);
	return r == -ENOENT ? 0 : r;
}

static bool fixed_dir(const struct meta_inode *in)
{
	return in->kind == META_DIR && (in->flags & (META_F_ROOT | META_F_BUCKET));
}

static errint_t fixed_no(const struct meta_inode *in)
{
	log_warn("vfs", "'%s' keeps its name and place: it is a %s", in->name,
		in->flags & META_F_ROOT ? "remote" : "bucket");
	return -EBUSY;
}

/* -ENOENT and the like; 1: nothing is to be done. */
static int names_check(struct vfs_call *c, struct meta_txn *t, const struct names *n)
{
	struct vfs *v = c->own.v;
	bool exchange = c->own.what & RENAME_EXCHANGE;
	errint_t r;

	if (fixed_dir(&n->in) || (n->has_old && fixed_dir(&n->old)))
		return fixed_no(fixed_dir(&n->in) ? &n->in : &n->old);
	r = ns_place_ok(v, t, &n->new_dir, c->own.name2, n->in.kind);
	if (!r && exchange)
		r = ns_place_ok(v, t, &n->dir, c->own.name, n->has_old ? n->old.kind : META_FILE);
	if (r)
		return r;
	if (ns_buckets_here(v, &n->new_dir) || ns_buckets_here(v, &n->dir)) {
		log_warn("vfs", "'%s' cannot become a bucket of %s: buckets are made by mkdir",
			n->in.name, n->new_dir.name);
		return -EPERM;
	}
	if (n->has_old && (c->own.what & RENAME_NOREPLACE))
		return -EEXIST;
	if (exchange && !n->has_old)
		return -ENOENT;
	if (n->has_old && n->old.ino == n->in.ino)
		return 1;
	if (n->in.kind == META_DIR && meta_is_below(t, n->new_dir.ino, n->in.ino))
		return -EINVAL;
	if (n->has_old && n->old.kind == META_DIR && meta_is_below(t, n->dir.ino, n->old.ino))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (!n->has_old || exchange)
		return 0;
	if (n->in.kind == META_DIR && n->old.kind != META_DIR)
		return -ENOTDIR;
	if (n->in.kind != META_DIR && n->old.kind == META_DIR)
		return -EISDIR;
	return n->old.kind == META_DIR && n->old.nchild ? -ENOTEMPTY : 0;
}

static errint_t remotes_check(struct vfs_call *c, struct meta_txn *t, struct names *n)
{
	char path[META_PATH_MAX + 1];
	const struct meta_inode *in = &n->in, *old = &n->old;
	bool exchange = c->own.what & RENAME_EXCHANGE;
	errint_t r = meta_desired(t, n->dir.ino, &n->remote, path);

	if (!r)
		r = meta_desired(t, n->new_dir.ino, &n->new_remote, path);
	if (r || n->remote == n->new_remote)
		return r;
	if ((in->flags & META_F_ARCHIVED) || (exchange && (old->flags & META_F_ARCHIVED))) {
		log_warn("vfs",
			"'%s' is archived and cannot move to another cloud: restore it "
			"first (setfattr -n user.astra.restore -v 7d)",
			(in->flags & META_F_ARCHIVED) ? c->own.name : c->own.name2);
		return -EIO;
	}
	return 0;
}

/* The new place can hold in and all below it. */
static errint_t key_check(struct vfs *v, struct meta_txn *t, const struct meta_inode *in)
{
	size_t below = 0;
	errint_t r = 0;

	if (in->kind == META_DIR)
		r = meta_longest_below(t, in->ino, &below);
	return r ? r : ns_key_ok(v, t, in->ino, below);
}

static errint_t cold_check(struct vfs *v, const struct names *n)
{
	const struct meta_inode *cold = job_is_cold(v->jobs, &n->in)	? &n->in
					: job_is_cold(v->jobs, &n->old) ? &n->old
									: NULL;

	if (!cold)
		return 0;
	log_warn("vfs",
		"'%s' is archived, or about to be: names cannot be exchanged with it before it has "
		"another tier (astra tier FILE HOT)",
		cold->name);
	return -EIO;
}

static errint_t exchange_names(struct vfs_call *c, struct meta_txn *t, struct names *n)
{
	struct vfs *v = c->own.v;
	char tmp[64];
	errint_t r;

	(void)snprintf(tmp, sizeof(tmp), NAME_TMP "-swap-%llu", (unsigned long long)n->in.ino);
	n->in.ctime_ns = n->old.ctime_ns = clock_now_ns();
	r = cold_check(v, n);
	if (!r)
		r = job_pin_prefix(v->jobs, t, &n->in);
	if (!r)
		r = job_pin_prefix(v->jobs, t, &n->old);
	if (!r)
		r = meta_move(t, &n->in, n->dir.ino, tmp);
	if (!r)
		r = meta_move(t, &n->old, n->dir.ino, c->own.name);
	if (!r)
		r = meta_move(t, &n->in, n->new_dir.ino, c->own.name2);
	if (!r)
		r = key_check(v, t, &n->in);
	if (!r)
		r = key_check(v, t, &n->old);
	if (!r)
		r = job_exchanged(v->jobs, t, &n->in, &n->old);
	return r;
}

static errint_t move_name(
	struct vfs_call *c, struct meta_txn *t, struct names *n, uint64_t *ret_job)
{
	struct vfs *v = c->own.v;
	errint_t r = job_pin_prefix(v->jobs, t, &n->in);

	n->in.ctime_ns = clock_now_ns();
	/* Somebody else has both names of it then: the old content goes beside. */
	if (!r && n->has_old && job_taken_back(v->jobs, &n->old))
		r = job_keep_old(v->jobs, t, &n->old);
	if (!r && n->has_old) {
		n->old.ctime_ns = n->in.ctime_ns;
		r = job_pin_prefix(v->jobs, t, &n->old); /* where its marker is */
	}
	if (!r && n->has_old) {
		r = meta_unlink(t, &n->old);
		node_orphan_set(v, n->old.ino, true);
	}
	if (!r)
		r = meta_move(t, &n->in, n->new_dir.ino, c->own.name2);
	if (!r)
		r = key_check(v, t, &n->in);
	if (!r)
		r = job_moved(v->jobs, t, &n->in, n->has_old ? &n->old : NULL, ret_job);
	return r;
}

static errint_t rename_txn(struct vfs_call *c, struct names *n, uint64_t *ret_job)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	errint_t r = names_get(c, t, n);

	*ret_job = 0;
	if (!r)
		r = names_check(c, t, n);
	if (r)
		return r == 1 ? 0 : r;
	r = remotes_check(c, t, n);
	if (!r)
		r = (c->own.what & RENAME_EXCHANGE) ? exchange_names(c, t, n)
						    : move_name(c, t, n, ret_job);
	if (!r) {
		if (n->dir.ino != n->new_dir.ino) {
			ns_touch_dir(t, n->new_dir.ino);
			ns_lost_entry(v, t, n->dir.ino);
		} else {
			ns_touch_dir(t, n->dir.ino);
		}
		r = meta_commit(steal_ptr(&t));
	}
	if (r && n->has_old)
		node_orphan_set(v, n->old.ino, false);
	return r;
}

/* Directories that must have been listed; 0, 1 = parked, -errno. */
static int rename_ready(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct meta_txn *t;
	struct names n = {0};
	int w;
	errint_t r;

	w = dir_ready(c, c->own.ino2);
	if (w)
		return w;
	t = meta_begin_read(v->conf.meta);
	r = names_get(c, t, &n);
	meta_abort(t);
	if (r == -ENOENT)
		return (w = dir_ready(c, c->own.ino)) ? w : r;
	if (r)
		return r;
	if (n.has_old && n.old.kind == META_DIR && n.in.kind == META_DIR && !n.old.nchild &&
		!(c->own.what & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
		return dir_ready(c, n.old.ino);
	return 0;
}

/* The place in v->vain of two remotes; that others may share it costs a wait at most. */
static size_t vain_place(const struct names *n)
{
	uint32_t a = MIN_OF(n->remote, n->new_remote), b = MAX_OF(n->remote, n->new_remote);

	return (a * 7 + b) % VAIN_PLACES;
}

/* Waits for the job that moves the bytes, a little. */
static void rename_wait(struct vfs_call *c, const struct names *n, uint64_t job)
{
	struct vfs *v = c->own.v;
	uint64_t ino = n->in.ino;
	bool soon = n->in.kind != META_DIR && n->in.size <= SOON_MAX;
	size_t place = vain_place(n);
	unsigned k = atomic_fetch_add(&v->renames, 1) + 1;
	struct call_wait w = {.kind = WAIT_JOB,
		.timeout_ns = v->conf.migrate_wait_ns / k,
		.on_timeout = ON_TIMEOUT_RERUN,
		.interruptible = true};

	c->own.phase = PHASE_WAIT;
	c->own.in_rename = true; /* call_done counts it out */
	c->own.size2 = soon ? place : VAIN_PLACES;
	if (w.timeout_ns <= 0 || atomic_load(&v->vain[place]) > clock_mono_ns()) {
		if (soon)
			job_hurry(v->jobs, ino);
		call_done(c, 0);
		return;
	}
	if (!call_arm(c, &w))
		return;
	if (soon)
		job_hurry(v->jobs, ino);
	if (job ? job_wait_id(v->jobs, job, &c->own.waiter)
		: job_wait(v->jobs, ino, &c->own.waiter)) {
		call_armed(c);
		return;
	}
	call_disarm(c);
	call_done(c, 0);
}

/* What was just made and has another name now, or none: maker.c */
static void names_turned(struct vfs *v, const struct names *n)
{
	if (n->in.kind == META_DIR)
		maker_dir_moved(v);
	else
		dirty_turned(v, n->in.ino);
	if (n->has_old)
		dirty_turned(v, n->old.ino);
}

void rename_run(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct names n = {0};
	uint64_t job;
	int r;

	if (c->own.phase == PHASE_WAIT) {
		if (c->own.size2 == VAIN_PLACES)
			; /* it was not to be expected */
		else if (c->own.expired)
			atomic_store(&v->vain[c->own.size2], clock_mono_ns() + VAIN_NS);
		else if (!c->own.r)
			atomic_store(&v->vain[c->own.size2], 0);
		/* Still under way: it is the job's now. Failed: the names are back. */
		call_done(c, c->own.expired || c->own.r > 0 ? 0 : c->own.r);
		return;
	}
	if (call_held(c))
		return;
	r = rename_ready(c);
	if (r == 1)
		return;
	if (r) {
		call_done(c, r);
		return;
	}
	atomic_fetch_add(&v->removing, 1);
	r = rename_txn(c, &n, &job);
	atomic_fetch_sub(&v->removing, 1);
	if (!r && c->own.tell_kernel) {
		note_entry(v, c->own.ino, c->own.name);
		note_entry(v, c->own.ino2, c->own.name2);
	}
	if (!r)
		names_turned(v, &n);
	if (!r && n.has_old && !(c->own.what & RENAME_EXCHANGE))
		dirty_forget(v, n.old.ino);
	if (r || n.remote == n.new_remote || (!job && !(c->own.what & RENAME_EXCHANGE)))
		call_done(c, r);
	else
		rename_wait(c, &n, job);
}

void vfs_rename(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name,
	uint64_t new_parent, const char *new_name, unsigned flags)
{
	size_t len = strlen(name), new_len = strlen(new_name);

	call_begin(v, c, rename_run);
	c->own.ino = parent;
	c->own.ino2 = new_parent;
	c->own.what = flags;
	if (v->conf.ro || len > META_NAME_MAX || new_len > META_NAME_MAX) {
		call_done(c, v->conf.ro ? -EROFS : -ENAMETOOLONG);
	} else if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
		   flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		call_done(c, -EINVAL);
	} else {
		memcpy(c->own.name, name, len + 1);
		memcpy(c->own.name2, new_name, new_len + 1);
		rename_run(c);
	}
}

/* ---- user.astra.migrate ---- */

/* Buckets are made by mkdir only. */
static errint_t no_bucket(const char *name)
{
	log_warn("vfs", "there is no bucket '%s' where it is to migrate to: make it (mkdir) first",
		name);
	return -EPERM;
}

/* One step of the way to the same place below another remote: *dir = the child called name of
 * *dir, made when missing. 0, 1 = parked, -errno. */
static int migrate_step(struct vfs_call *c, uint64_t *dir, const char *name, size_t len)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	struct meta_txn *t;
	uint64_t child = 0, keep_ino = c->own.ino;
	char keep[META_NAME_MAX + 1];
	int r = dir_ready(c, *dir);

	if (r)
		return r;
	memcpy(keep, c->own.name, sizeof(keep));
	memset(c->own.name, 0, sizeof(c->own.name));
	memcpy(c->own.name, name, MIN_OF(len, (size_t)META_NAME_MAX));
	t = meta_begin(v->conf.meta);
	r = meta_lookup(t, *dir, c->own.name, &child);
	if (!r) {
		meta_abort(t);
	} else if (r == -ENOENT) {
		c->own.ino = *dir;
		r = ns_make(c, t, META_DIR, S_IFDIR | 0755, NULL, &in);
		if (!r && (in.flags & META_F_BUCKET))
			r = no_bucket(c->own.name);
		if (!r)
			r = job_made_dir(v->jobs, t, &in);
		if (r) {
			meta_abort(t);
		} else {
			r = meta_commit(t);
			child = in.ino;
			note_entry(v, *dir, c->own.name);
		}
	} else {
		meta_abort(t);
	}
	c->own.ino = keep_ino;
	memcpy(c->own.name, keep, sizeof(keep));
	*dir = child;
	return r;
}

static errint_t own_path(struct vfs *v, uint64_t ino, char *path, size_t size)
{
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	errint_t r = meta_path(t, ino, path, size);

	meta_abort(t);
	return r;
}

int rename_migrate(struct vfs_call *c, const char *remote)
{
	struct vfs *v = c->own.v;
	char path[META_PATH_MAX + 66], *s, *end;
	struct meta_inode in;
	uint64_t dir = 0;
	struct meta_txn *t;
	int r = own_path(v, c->own.ino, path, sizeof(path));

	/* The kernel checked the file only, not the two directories that change. */
	if (c->uid != 0 && c->uid != v->conf.uid)
		return -EPERM;
	if (!r)
		r = row_get(v, c->own.ino, &in);
	if (r)
		return r;
	if (in.flags & (META_F_ROOT | META_F_BUCKET) || in.parent <= META_ROOT_INO)
		return fixed_no(&in);
	t = meta_begin_read(v->conf.meta);
	r = meta_lookup(t, META_ROOT_INO, remote, &dir);
	meta_abort(t);
	if (r)
		return r == -ENOENT || r == -ENAMETOOLONG ? -ENODEV : r;
	s = strchr(path + 1, '/');
	if (!s)
		return -EBUSY;
	for (s++; (end = strchr(s, '/')); s = end + 1) {
		r = migrate_step(c, &dir, s, (size_t)(end - s));
		if (r)
			return r;
	}
	if (dir == in.parent)
		return 0;
	c->own.ino = in.parent;
	c->own.ino2 = dir;
	memcpy(c->own.name, in.name, sizeof(in.name));
	memcpy(c->own.name2, in.name, sizeof(in.name));
	c->own.what = RENAME_NOREPLACE;
	c->own.phase = 0;
	c->own.tell_kernel = true;
	c->own.run = rename_run;
	rename_run(c);
	return 1;
}
