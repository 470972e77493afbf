/* SPDX-License-Identifier: MIT */
/*
 * Open files: open, create, flush, release; who counts as an access; archived files.
 *
 * An open is entered in the table before the row is looked at, and an unlink looks at the table
 * inside its transaction, so one of them sees the other; v->removing closes the gap of a reader's
 * snapshot that is older than the unlink.
 */
#include "vfs_priv.h"

#define RESTORE_DAYS	1u
#define RESTORE_POLL_NS (2 * NS_PER_S)
#define TOLD_OF_DIR	8u /* archived files of a directory, in a minute */

/* ---- who opens ---- */

/* What was found out about a thread holds for WHO_MS: who opens many files is not asked for each.
 * In one word: tid, millisecond, and two bits. A program that another one becomes so soon after an
 * open is taken for that one, but where a restore may be paid for. */
static uint64_t who_word(int tid, uint64_t ms, bool no_count, bool no_recall)
{
	return (uint64_t)tid << 42 | (ms & ((UINT64_C(1) << 40) - 1)) << 2 | (no_count ? 2u : 0u) |
	       (no_recall ? 1u : 0u);
}

static void handle_who(struct vfs_call *c, struct vfs_handle *h, bool is_archived)
{
	struct vfs *v = c->own.v;
	const struct vfs_conf *conf = &v->conf;
	bool any = (conf->no_count && *conf->no_count) || (conf->no_recall && *conf->no_recall);
	uint64_t ms = (uint64_t)(clock_mono_ns() / NS_PER_MS), known;
	_Atomic uint64_t *slot;
	struct who w;

	if (c->pid <= 0)
		h->no_recall = true; /* nobody to ask: it counts, and restores nothing */
	if (c->pid <= 0 || !any)
		return;
	slot = &v->askers[(unsigned)c->pid % ASKERS];
	known = atomic_load_explicit(slot, memory_order_relaxed);
	if (!is_archived && known - who_word(c->pid, ms - WHO_MS, false, false) <=
				    who_word(0, WHO_MS, true, true)) {
		h->no_count = known & 2;
		h->no_recall = known & 1;
		return;
	}
	who_get(c->pid, &w);
	h->no_count = who_in(&w, conf->no_count);
	h->no_recall = who_in(&w, conf->no_recall);
	atomic_store_explicit(
		slot, who_word(c->pid, ms, h->no_count, h->no_recall), memory_order_relaxed);
}

/* ---- archived files ---- */

static bool cached_whole(struct vfs *v, const struct meta_inode *in)
{
	struct stage_file *sf = NULL;
	char etag[META_ETAG_MAX];
	uint64_t a, b, size;
	bool whole;

	if (!stage_has(v->conf.stage, in->ino) || stage_get(v->conf.stage, in->ino, false, &sf))
		return false;
	stage_base_get(sf, etag, &size);
	whole = !strcmp(etag, in->loc.etag) && !stage_missing(sf, 0, UINT64_MAX, &a, &b);
	stage_put(sf);
	return whole;
}

static errint_t restore_post(struct vfs *v, uint64_t ino, uint64_t *ret_job)
{
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode in;
	struct err err = {0};
	errint_t r = meta_inode_get(t, ino, &in);

	*ret_job = 0;
	if (r)
		return r;
	r = job_restore(v->jobs, t, &in, RESTORE_DAYS, ret_job, &err);
	if (r) {
		log_warn("vfs", "'%s' cannot be restored: %s", in.name, err_text(&err, r));
		return r;
	}
	return meta_commit(steal_ptr(&t));
}

/* Parks until the restore is over, or has been waited for long enough. */
static int recall_park(struct vfs_call *c, uint64_t ino, uint64_t job)
{
	struct vfs *v = c->own.v;
	int64_t now = clock_mono_ns(), left;
	struct call_wait w = {.interruptible = true, .on_timeout = -EIO};

	if (!c->own.off2)
		c->own.off2 = (uint64_t)(now + v->conf.recall_block_ns);
	left = (int64_t)c->own.off2 - now;
	if (left <= 0)
		return -EIO;
	w.kind = job ? WAIT_JOB : WAIT_TIME;
	w.timeout_ns = job ? left : MIN_OF(left, RESTORE_POLL_NS);
	if (!job)
		w.on_timeout = ON_TIMEOUT_RERUN;
	if (!call_arm(c, &w))
		return 1;
	if (job && !job_wait_id(v->jobs, job, &c->own.waiter)) {
		call_disarm(c);
		return 0; /* just over: look again */
	}
	call_armed(c);
	return 1;
}

static int recall_try(struct vfs_call *c, uint64_t ino, bool may_restore)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	uint64_t job;
	errint_t r;

	if (c->own.off2 && c->own.r < 0)
		return -EIO; /* the restore that it waited for failed */
	for (unsigned i = 0; i < 3; i++) {
		r = row_get(v, ino, &in);
		if (r)
			return r == -ENOENT ? -ESTALE : r;
		if (!(in.flags & META_F_ARCHIVED) || !(in.flags & META_F_BASE) ||
			cached_whole(v, &in))
			return 0;
		if (v->conf.recall == RECALL_ERROR || !may_restore || v->conf.ro)
			return -EIO;
		r = restore_post(v, ino, &job);
		if (r || v->conf.recall == RECALL_REQUEST)
			return -EIO;
		r = recall_park(c, ino, job);
		if (r)
			return r;
	}
	return -EIO;
}

/* The reader gets EIO, as for a broken disk: the log says what it is. Not for each file of a
 * directory that is searched. */
static void recall_tell(struct vfs *v, uint64_t ino, bool may_restore)
{
	bool asked = v->conf.recall != RECALL_ERROR && may_restore && !v->conf.ro;
	char path[META_PATH_MAX + 66];
	struct meta_inode in;

	if (row_get(v, ino, &in) || !log_seldom("archived %llu %u", (unsigned long long)in.parent,
					    (unsigned)(ino % TOLD_OF_DIR)))
		return;
	path_tell(v, ino, path);
	if (asked)
		log_warn("vfs", "%s is archived, and not restored yet: reading it fails", path);
	else
		log_warn("vfs", "%s is archived: reading it fails before 'astra restore %s'", path,
			path);
}

int recall_wait(struct vfs_call *c, uint64_t ino, bool may_restore)
{
	int r = recall_try(c, ino, may_restore);

	if (r == -EIO)
		recall_tell(c->own.v, ino, may_restore);
	return r;
}

/* ---- handles ---- */

static struct vfs_handle *handle_new(struct vfs_call *c, int flags, bool is_archived)
{
	struct vfs_handle *h = calloc(1, sizeof(*h));
	int acc = flags & O_ACCMODE;

	if (!h)
		return NULL;
	h->flags = flags;
	h->readable = acc != O_WRONLY;
	h->writable = acc != O_RDONLY;
	handle_who(c, h, is_archived);
	return h;
}

/* Enters h in the table: from here on the inode's row stays. */
static errint_t handle_enter(struct vfs *v, struct vfs_handle *h, uint64_t ino)
{
	h->ino = ino;
	h->n = node_get(v, ino);
	if (!h->n)
		return -ENOMEM;
	lock_take(&v->open.lock);
	h->n->handles++;
	TAILQ_INSERT_TAIL(&h->n->open, h, link);
	if (h->writable)
		h->n->writers++;
	v->open.handles++;
	lock_drop(&v->open.lock);
	return 0;
}

/* *ret_last: no handle is left; *ret_writer: h was the last one that could write. */
static void handle_leave(struct vfs *v, struct vfs_handle *h, bool *ret_last, bool *ret_writer)
{
	lock_take(&v->open.lock);
	TAILQ_REMOVE(&h->n->open, h, link);
	*ret_last = --h->n->handles == 0;
	*ret_writer = h->writable && --h->n->writers == 0;
	v->open.handles--;
	lock_drop(&v->open.lock);
	if (*ret_last)
		held_forget(h->n);
	else
		ahead_leave(h);
}

/* A row as every change that has begun leaves it. */
static errint_t row_get_now(struct vfs *v, uint64_t ino, struct meta_inode *ret)
{
	struct meta_txn *t;
	errint_t r;

	if (!atomic_load(&v->removing))
		return row_get(v, ino, ret);
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, ino, ret);
	meta_abort(t);
	return r;
}

/* An orphan that nobody holds any more. */
static void orphan_close(struct vfs *v, uint64_t ino)
{
	struct meta_inode in;
	struct meta_txn *t;
	errint_t r = row_get_now(v, ino, &in);

	if (r || !(in.flags & META_F_ORPHAN))
		return;
	t = meta_begin(v->conf.meta);
	r = job_orphan_closed(v->jobs, t, ino);
	if (r)
		meta_abort(t);
	else
		r = meta_commit(t);
	if (r)
		log_warn("vfs", "the removed inode %llu stays until the next mount: %s",
			(unsigned long long)ino, strerrordesc_np(-r));
	dirty_forget(v, ino);
}

static void handle_drop(struct vfs *v, struct vfs_handle *h)
{
	bool last, writer;

	if (h->n) {
		handle_leave(v, h, &last, &writer);
		if (last)
			orphan_close(v, h->ino);
		node_put(v, h->n);
	}
	free(h);
}

/* ---- open ---- */

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

static errint_t open_check(struct vfs *v, const struct meta_inode *in, int flags)
{
	if (in->kind == META_DIR)
		return -EISDIR;
	if (in->kind == META_SYMLINK)
		return -ELOOP;
	return v->conf.ro && writes(flags) ? -EROFS : 0;
}

/* The file is there; makes c->handle. */
static errint_t open_handle(
	struct vfs_call *c, uint64_t ino, int flags, struct vfs_handle *h, struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	bool known;
	errint_t r = handle_enter(v, h, ino);

	if (!r)
		r = row_get_now(v, ino, in);
	if (!r)
		r = open_check(v, in, flags);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (writes(flags))
		job_will_write(v->jobs, in);
	node_dep_set(v, h->n, in);
	known = version_seen(v, ino, in->version);
	if (flags & O_TRUNC) {
		r = node_bind(v, h->n);
		if (!r)
			r = write_reset(v, h->n);
		if (!r)
			r = node_flush(v, h->n);
		/* The kernel does it for every other change, but not for this one. */
		if (!r && c->uid)
			r = attr_kill_suid(v, in);
		atomic_store(&h->wrote, true);
		atomic_store(&h->wrote_since_commit, true);
		known = false;
	}
	h->kept = c->keep_cache = known;
	return r;
}

/* Bytes of the object will be read. */
static bool wants_bytes(int flags)
{
	return !(flags & O_TRUNC) && (flags & O_ACCMODE) != O_WRONLY;
}

static void run_open(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	int flags = (int)c->own.what;
	struct vfs_handle *h;
	struct meta_inode in;
	errint_t r = row_get(v, c->own.ino, &in);

	if (!r)
		r = open_check(v, &in, flags);
	if (r) {
		call_done(c, r == -ENOENT ? -ESTALE : r);
		return;
	}
	h = handle_new(c, flags, in.flags & META_F_ARCHIVED);
	if (!h) {
		call_done(c, -ENOMEM);
		return;
	}
	if ((in.flags & META_F_ARCHIVED) && wants_bytes(flags)) {
		r = recall_wait(c, c->own.ino, !h->no_recall);
		if (r) {
			handle_drop(v, h);
			if (r != 1)
				call_done(c, r);
			return;
		}
	}
	r = open_handle(c, c->own.ino, flags, h, &in);
	if (r)
		handle_drop(v, h);
	else
		c->handle = h;
	call_done(c, r);
}

void vfs_open(struct vfs *v, struct vfs_call *c, uint64_t ino, int flags)
{
	call_begin(v, c, run_open);
	c->own.ino = ino;
	c->own.what = (unsigned)flags;
	c->own.off2 = 0;
	run_open(c);
}

/* ---- create ---- */

/* -EEXIST with *ret_ino when somebody was faster. */
static errint_t create_txn(struct vfs_call *c, struct vfs_handle *h, struct meta_inode *in)
{
	struct vfs *v = c->own.v;
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	uint32_t mode = S_IFREG | (c->own.mode & 07777 & ~c->umask);
	errint_t r = ns_make(c, t, META_FILE, mode, NULL, in);

	if (r)
		return r;
	r = handle_enter(v, h, in->ino);
	return r ? r : meta_commit(steal_ptr(&t));
}

static errint_t create_file(struct vfs_call *c, struct vfs_handle *h)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	errint_t r = create_txn(c, h, &in);

	if (r)
		return r;
	job_will_write(v->jobs, &in);
	(void)version_seen(v, in.ino, in.version);
	dirty_event(v, in.ino, DIRTY_WRITE);
	maker_made(v, c->pid, in.parent, in.name, in.ino);
	r = node_bind(v, h->n);
	if (!r)
		r = stage_reset(node_sf(h->n));
	if (r) /* the name is there, and empty; so it is in the index */
		return r;
	stage_mtime_set(node_sf(h->n), in.mtime_ns);
	atomic_store(&h->wrote_since_commit, true);
	return attr_answer(c, &in);
}

static errint_t create_existing(struct vfs_call *c, struct vfs_handle *h, uint64_t ino)
{
	int flags = (int)c->own.what;
	struct meta_inode in;
	errint_t r;

	if (flags & O_EXCL)
		return -EEXIST;
	r = row_get(c->own.v, ino, &in);
	if (!r && (in.flags & META_F_ARCHIVED) && wants_bytes(flags)) {
		recall_tell(c->own.v, ino, false);
		r = -EIO;
	}
	if (!r)
		r = open_handle(c, ino, flags, h, &in);
	if (!r)
		r = row_get(c->own.v, ino, &in);
	return r ? r : attr_answer(c, &in);
}

static errint_t find_name(struct vfs *v, uint64_t parent, const char *name, uint64_t *ret)
{
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	errint_t r = meta_lookup(t, parent, name, ret);

	meta_abort(t);
	return r;
}

static void run_create(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_handle *h;
	uint64_t ino = 0;
	errint_t r = find_name(v, c->own.ino, c->own.name, &ino);
	int w = r == -ENOENT ? dir_ready(c, c->own.ino) : DIR_READY;

	if (w == DIR_PARKED)
		return;
	if (w < 0 || (r && r != -ENOENT)) {
		call_done(c, w < 0 ? w : r);
		return;
	}
	h = handle_new(c, (int)c->own.what, false); /* it restores nothing */
	if (!h) {
		call_done(c, -ENOMEM);
		return;
	}
	if (r == -ENOENT)
		r = create_file(c, h);
	if (r == -EEXIST && !h->n)
		r = find_name(v, c->own.ino, c->own.name, &ino);
	if (!r && !h->n)
		r = create_existing(c, h, ino);
	if (r)
		handle_drop(v, h);
	else
		c->handle = h;
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_create(struct vfs *v, struct vfs_call *c, uint64_t parent, const char *name, uint32_t mode,
	int flags)
{
	size_t len = strlen(name);

	call_begin(v, c, run_create);
	c->own.ino = parent;
	c->own.mode = mode;
	c->own.what = (unsigned)flags;
	c->keep_cache = false;
	if (v->conf.ro || len > META_NAME_MAX) {
		call_done(c, v->conf.ro ? -EROFS : -ENAMETOOLONG);
		return;
	}
	memcpy(c->own.name, name, len + 1);
	run_create(c);
}

/* ---- flush, release ---- */

static void run_flush(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_handle *h = c->own.h;
	errint_t r = h->writable ? row_behind(v, h->n) : 0;

	if (h->writable)
		dirty_event(v, h->ino, DIRTY_FLUSH);
	if (!r && v->conf.durability == DURABLE_CLOSE &&
		atomic_exchange(&h->wrote_since_commit, false)) {
		c->own.node = h->n;
		c->own.ino = h->ino;
		c->own.what = 0;
		c->own.run = sync_run;
		sync_run(c);
		return;
	}
	call_done(c, r);
}

void vfs_flush(struct vfs *v, struct vfs_call *c, struct vfs_handle *h)
{
	assert(h && h->n);
	call_begin(v, c, run_flush);
	c->own.h = h;
	run_flush(c);
}

/* The kernel answers alone what it kept, without a word: an open for reading is taken for one that
 * read, unless it was for an fsync. */
static bool may_have_read(const struct vfs_handle *h)
{
	return h->kept && h->readable && !h->writable && !atomic_load(&h->synced);
}

/* One access for an open that read or wrote, however much: a write when it did both. */
static void count_access(struct vfs *v, struct vfs_handle *h)
{
	struct meta_bump b = {.ino = h->ino, .when_ns = clock_now_ns()};

	b.cloud_bytes = atomic_exchange(&h->n->cloud_bytes, 0);
	if (h->no_count)
		return;
	b.bytes_read = atomic_load(&h->bytes_read);
	b.bytes_written = atomic_load(&h->bytes_written);
	b.writes = atomic_load(&h->wrote);
	b.reads = !b.writes && (atomic_load(&h->read_seen) || may_have_read(h));
	if (b.reads || b.writes || b.cloud_bytes)
		meta_access_bump(v->conf.meta, &b);
}

void vfs_release(struct vfs *v, struct vfs_call *c, struct vfs_handle *h)
{
	bool last, writer;
	errint_t r = 0;

	assert(h && h->n);
	call_begin(v, c, run_flush);
	if (h->writable)
		r = row_behind(v, h->n); /* a mapping may have written after FLUSH */
	if (r)
		log_error("vfs", "inode %llu: size and time cannot be recorded: %s",
			(unsigned long long)h->ino, strerrordesc_np(-r));
	count_access(v, h);
	handle_leave(v, h, &last, &writer);
	if (writer)
		dirty_event(v, h->ino, DIRTY_RELEASE);
	if (last)
		orphan_close(v, h->ino);
	node_put(v, h->n);
	free(h);
	call_done(c, r);
}
