/* SPDX-License-Identifier: MIT */
/*
 * Life of the room, what jobs are told (hooks), and the notifier: one thread that tells the kernel
 * to forget. That call blocks while the kernel holds a directory for a rename, so nobody waits for
 * the thread, and when its queue is full the note is dropped: the kernel's own timeout is the net.
 */
#include "vfs_priv.h"

#include <time.h>

/* ---- the notifier ---- */

static void note_add(struct vfs *v, const struct note *n)
{
	bool tell = false;

	lock_take(&v->note.lock);
	if (v->note.count == NOTES_MAX) {
		tell = !v->note.told;
		v->note.told = true;
	} else if (!v->note.stop) {
		v->note.ring[(v->note.head + v->note.count++) % NOTES_MAX] = *n;
	}
	lock_drop(&v->note.lock);
	(void)pthread_cond_signal(&v->note.wake);
	if (tell)
		log_warn("vfs",
			"more than %d kernel invalidations are waiting: some are left to "
			"time out",
			NOTES_MAX);
}

void note_inode(struct vfs *v, uint64_t ino, bool data)
{
	struct note n = {.ino = ino, .data = data};

	if (v->conf.inval_inode)
		note_add(v, &n);
}

void note_entry(struct vfs *v, uint64_t parent, const char *name)
{
	struct note n = {.ino = parent, .entry = true};
	size_t len = strlen(name);

	if (!v->conf.inval_entry || len > META_NAME_MAX)
		return;
	memcpy(n.name, name, len);
	note_add(v, &n);
}

/* The kernel holds what n is about until it gets an answer from us: a directory for a rename in it,
 * pages for a read. An invalidation would wait for that, uninterruptibly; when we are killed
 * meanwhile it never ends, and neither do we. */
static bool note_blocks(struct vfs *v, const struct note *n)
{
	struct vfs_call *c;
	LOCKED(&v->lock);

	TAILQ_FOREACH (c, &v->s.calls, own.parked) {
		if (c->own.ino == n->ino || c->own.ino2 == n->ino ||
			(c->own.h && c->own.h->ino == n->ino))
			return true;
	}
	return false;
}

/* Up to max notes out of the queue; 0 = stop. */
static unsigned notes_take(struct vfs *v, struct note *out, unsigned max)
{
	unsigned n = 0;
	LOCKED(&v->note.lock);

	while (!v->note.count && !v->note.stop)
		cond_wait(&v->note.wake, &v->note.lock);
	while (v->note.count && !v->note.stop && n < max) {
		out[n++] = v->note.ring[v->note.head];
		v->note.head = (v->note.head + 1) % NOTES_MAX;
		v->note.count--;
	}
	if (!v->note.count)
		v->note.told = false;
	return n;
}

/* False: not now. */
static bool note_tell(struct vfs *v, const struct note *n)
{
	if (n->tries < NOTE_TRIES && note_blocks(v, n))
		return false;
	count_inc(notifies);
	if (!n->entry)
		v->conf.inval_inode(v->conf.inval_arg, n->ino, n->data);
	else
		v->conf.inval_entry(v->conf.inval_arg, n->ino, n->name);
	return true;
}

static void *note_thread(void *arg)
{
	struct vfs *v = arg;
	const struct timespec pause = {.tv_nsec = NOTE_PAUSE_NS};
	struct note notes[NOTES_BATCH];
	unsigned n;

	while ((n = notes_take(v, notes, NOTES_BATCH))) {
		unsigned told = 0;

		/* Some come from inside a transaction: the kernel must not look before it ends. */
		meta_abort(meta_begin(v->conf.meta));
		for (unsigned i = 0; i < n; i++) {
			if (note_tell(v, &notes[i])) {
				told++;
				continue;
			}
			notes[i].tries++;
			note_add(v, &notes[i]);
		}
		if (!told)
			(void)nanosleep(&pause, NULL);
	}
	return NULL;
}

static void note_stop(struct vfs *v)
{
	if (!v->note.has_thread)
		return;
	lock_take(&v->note.lock);
	v->note.stop = true;
	lock_drop(&v->note.lock);
	(void)pthread_cond_signal(&v->note.wake);
	(void)pthread_join(v->note.thread, NULL);
	v->note.has_thread = false;
}

/* ---- hooks ---- */

static void hook_inode_changed(void *arg, uint64_t ino, bool data)
{
	struct vfs *v = arg;
	struct vfs_node *n;

	if (data) {
		lock_take(&v->open.lock);
		HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
		if (n)
			node_unbind(n);
		lock_drop(&v->open.lock);
	}
	note_inode(v, ino, data);
}

static void hook_entry_changed(void *arg, uint64_t parent, const char *name)
{
	note_entry(arg, parent, name);
}

static void hook_listed_more(void *arg, uint64_t dir)
{
	dir_listed_more(arg, dir);
}

static bool hook_is_open(void *arg, uint64_t ino)
{
	struct vfs *v = arg;
	struct vfs_node *n;
	LOCKED(&v->open.lock);

	HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
	return n && n->handles;
}

static bool hook_is_written(void *arg, uint64_t ino)
{
	return dirty_has_writers(arg, ino);
}

/* Open files that lost their names and are not all here, each with a reference. *ret is owned by
 * the caller. */
static errint_t open_orphans(struct vfs *v, struct vfs_node ***ret, size_t *ret_n)
{
	struct vfs_node *n, *more, **all, **bigger;
	size_t cap = 0;
	LOCKED(&v->open.lock);

	all = NULL;
	*ret_n = 0;
	HASH_ITER (hh, v->open.nodes, n, more) {
		if (!n->handles || !n->orphan || n->complete)
			continue;
		if (*ret_n == cap) {
			cap = cap ? 2 * cap : 16;
			bigger = realloc(all, cap * sizeof(*all));
			if (!bigger)
				break;
			all = bigger;
		}
		n->refs++;
		all[(*ret_n)++] = n;
	}
	*ret = all;
	return n ? -ENOMEM : 0;
}

/* The bytes that n has not here are in that object: the index says so, whatever became of the file
 * since it was opened. */
static bool needs_object(
	struct vfs *v, struct vfs_node *n, uint32_t remote, const char *path, const char *etag)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct meta_inode in;

	return !row_get(v, n->ino, &in) && (in.flags & has) == has && in.loc.remote == remote &&
	       !strcmp(in.loc.path, path) && !strcmp(in.loc.etag, etag);
}

/* Only what lost its name: other open files go on from the place that the index names. */
static bool hook_in_use(void *arg, uint32_t remote, const char *path, const char *etag)
{
	struct vfs *v = arg;
	struct vfs_node **all;
	size_t n;
	bool used = open_orphans(v, &all, &n) < 0;

	for (size_t i = 0; i < n; i++) {
		if (needs_object(v, all[i], remote, path, etag)) {
			used = true;
			/* The task keeps the node; it ends when all is here, or cannot be had. */
			if (!atomic_exchange(&all[i]->rest_posted, true)) {
				node_ref(v, all[i]);
				atomic_fetch_add(&v->background, 1);
				(void)pool_post(v->conf.pool, &all[i]->rest_task);
			}
		}
		node_put(v, all[i]);
	}
	free(all);
	return used;
}

static void hook_dirty_again(void *arg, uint64_t ino, int64_t delay_ns)
{
	struct vfs *v = arg;
	struct meta_inode in;
	errint_t r = row_get(v, ino, &in);

	/* A write that met the end of an upload may not be in the row. */
	if (!r && !(in.flags & META_F_DIRTY)) {
		struct meta_txn *t = meta_begin(v->conf.meta);

		(void)meta_dirty_set(t, ino, true);
		r = meta_commit(t);
	}
	if (!r) {
		dirty_event(v, ino, DIRTY_AGAIN);
		if (delay_ns)
			dirty_defer(v, ino, delay_ns, (in.flags & META_F_CONFLICT) != 0);
	} else if (r != -ENOENT)
		log_error("vfs", "inode %llu cannot be marked for upload: %s",
			(unsigned long long)ino, strerrordesc_np(-r));
}

/* What staging has not got, holes for one, comes from the new object from here on. */
static void hook_rebased(void *arg, uint64_t ino)
{
	node_incomplete(arg, ino);
}

static void hook_cleaned(void *arg, uint64_t ino)
{
	hook_rebased(arg, ino);
	dirty_forget(arg, ino);
}

struct job_hooks vfs_job_hooks(struct vfs *v)
{
	return (struct job_hooks){
		.arg = v,
		.inode_changed = hook_inode_changed,
		.entry_changed = hook_entry_changed,
		.listed_more = hook_listed_more,
		.is_open = hook_is_open,
		.is_written = hook_is_written,
		.in_use = hook_in_use,
		.dirty_again = hook_dirty_again,
		.cleaned = hook_cleaned,
		.rebased = hook_rebased,
	};
}

/* ---- life ---- */

const struct remote *remote_by_id(struct vfs *v, uint32_t id)
{
	for (size_t i = 0; i < v->conf.nremotes; i++) {
		if (v->conf.remotes[i].id == id)
			return &v->conf.remotes[i];
	}
	return NULL;
}

struct pool_share *remote_share(struct vfs *v, uint32_t id)
{
	const struct remote *r = remote_by_id(v, id);

	return r ? v->shares[r - v->conf.remotes] : NULL;
}

errint_t vfs_new(const struct vfs_conf *conf, struct vfs **ret, struct err *err)
{
	struct vfs *v = calloc(1, sizeof(*v));
	bool ok;

	assert(conf->meta && conf->stage && conf->pool && conf->bufs);
	if (!v)
		return err_set(err, -ENOMEM, ERR_FINAL, "no memory");
	v->conf = *conf;
	if (!v->conf.io_deadline_ns)
		v->conf.io_deadline_ns = 30 * NS_PER_S;
	lock_init(&v->lock, RANK_VFS, "vfs");
	lock_init(&v->ahead.lock, RANK_AHEAD, "vfs ahead");
	lock_init(&v->open.lock, RANK_OPEN, "vfs open");
	lock_init(&v->note.lock, RANK_NOTIFY, "vfs notes");
	cond_init(&v->idle);
	cond_init(&v->note.wake);
	TAILQ_INIT(&v->s.calls);
	pool_task_init(&v->deadline_task, LANE_FOREGROUND, deadline_run);
	pool_task_init(&v->dirty_task, LANE_BACKGROUND, dirty_run);
	pool_task_init(&v->behind_task, LANE_BACKGROUND, behind_run);
	pool_task_init(&v->held_task, LANE_FOREGROUND, held_run);
	STAILQ_INIT(&v->open.behind);
	TAILQ_INIT(&v->open.holds);
	v->shares = calloc(conf->nremotes + 1, sizeof(*v->shares));
	v->note.ring = calloc(NOTES_MAX, sizeof(*v->note.ring));
	ok = v->shares && v->note.ring;
	for (size_t i = 0; ok && i < conf->nremotes; i++) {
		v->shares[i] = pool_share_new(conf->pool,
			pool_threads(conf->pool) * (conf->remotes[i].real ? POOL_WIDER : 1));
		ok = v->shares[i];
	}
	if (!ok) {
		vfs_destroy(v);
		return err_set(err, -ENOMEM, ERR_FINAL, "no memory");
	}
	*ret = v;
	return 0;
}

errint_t vfs_start(struct vfs *v, struct jobs *jobs, struct err *err)
{
	struct meta_txn *t;
	size_t len;
	errint_t r;

	assert(!v->jobs && jobs);
	v->jobs = jobs;
	t = meta_begin_read(v->conf.meta);
	if (meta_kv_get(t, "listed_epoch", &v->listed_epoch_ns, sizeof(v->listed_epoch_ns), &len))
		v->listed_epoch_ns = 0;
	meta_abort(t);
	r = dirty_recover(v, err);
	if (r)
		return r;
	if (v->conf.inval_inode || v->conf.inval_entry) {
		r = -pthread_create(&v->note.thread, NULL, note_thread, v);
		if (r)
			return err_set(err, r, ERR_FINAL, "the notifier thread cannot start");
		v->note.has_thread = true;
		(void)pthread_setname_np(v->note.thread, "vfs-notify");
	}
	return 0;
}

void vfs_stop(struct vfs *v)
{
	atomic_store(&v->cancel, true);
	calls_stop(v);
	listings_done(v);
	vfs_catch_up(v);
	(void)pool_cancel(v->conf.pool, &v->deadline_task);
	(void)pool_cancel(v->conf.pool, &v->dirty_task);
	(void)pool_cancel(v->conf.pool, &v->behind_task);
	(void)pool_cancel(v->conf.pool, &v->held_task);
	note_stop(v);
}

/* Handles that the kernel never released (it died first). */
static void nodes_free(struct vfs *v)
{
	struct vfs_node *n, *more;
	struct vfs_handle *h;

	HASH_ITER (hh, v->open.nodes, n, more) {
		HASH_DEL(v->open.nodes, n);
		while ((h = TAILQ_FIRST(&n->open))) {
			TAILQ_REMOVE(&n->open, h, link);
			free(h);
		}
		held_drop_all(n);
		stage_put(node_sf(n));
		lock_done(&n->lock);
		free(n);
	}
}

void vfs_destroy(struct vfs *v)
{
	if (!v)
		return;
	note_stop(v);
	nodes_free(v);
	dirty_done(v);
	free(v->shares);
	free(v->note.ring);
	(void)pthread_cond_destroy(&v->idle);
	(void)pthread_cond_destroy(&v->note.wake);
	lock_done(&v->note.lock);
	lock_done(&v->open.lock);
	lock_done(&v->ahead.lock);
	lock_done(&v->lock);
	free(v);
}

void vfs_stat(struct vfs *v, struct vfs_stat *ret)
{
	lock_take(&v->lock);
	ret->dirty = HASH_COUNT(v->s.dirty) + v->s.posting;
	ret->held = v->s.nheld;
	ret->parked = v->s.nparked;
	lock_drop(&v->lock);
	lock_take(&v->open.lock);
	ret->handles = v->open.handles;
	lock_drop(&v->open.lock);
}
