/* SPDX-License-Identifier: MIT */
/*
 * Changing content: write, truncate, fallocate, lseek, copy. Always to staging, on the local disk
 * and in the caller's thread; only a grain that is changed in part and is not here has to be
 * fetched first, which parks the call. See node.c for what makes a change known to the index.
 */
#include "vfs_priv.h"

#include <linux/falloc.h>

#define FULL_PAUSE_NS (50 * NS_PER_MS)
#define FULL_TOLD_NS  (60 * NS_PER_S)
#define FULL_HURRY_NS (500 * NS_PER_MS)

#define COPY_BUF (256u << 10)
#define COPY_MAX (16u << 20) /* of one call; the caller comes again */
/* The kernel asks for no more at once; who copies a longer file comes again for the rest. */
#define COPY_CUT (UINT64_C(0xffffffff) & ~(uint64_t)(STAGE_GRAIN - 1))

/* ---- write ---- */

/* A change that had to wait comes back with the wait's outcome: 0, 1 = parked, -errno. */
static int change_again(struct vfs_call *c, struct vfs_node *n)
{
	errint_t r = c->own.r;

	if (r == FETCH_ARCHIVED)
		return -EIO; /* a partial write reads */
	if (r < 0)
		r = fetch_failed(c, n, r, false);
	if (r != 1)
		c->own.r = 0;
	return r;
}

static void changed(struct vfs_handle *h, uint64_t bytes)
{
	if (!h)
		return;
	atomic_store_explicit(&h->wrote, true, memory_order_relaxed);
	atomic_store_explicit(&h->wrote_since_commit, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->bytes_written, bytes, memory_order_relaxed);
}

/* The caller's buffer is gone when it has to wait. -ENODATA again, or -ENOMEM. */
static errint_t write_keep(struct vfs_call *c)
{
	if (!c->own.mem) {
		c->own.mem = malloc(c->own.size);
		if (!c->own.mem)
			return -ENOMEM;
		memcpy(c->own.mem, c->own.p, c->own.size);
		c->own.p = c->own.mem;
	}
	return -ENODATA;
}

/* For one of those who ask, so often at most. */
static bool is_time(_Atomic int64_t *last_ns, int64_t every_ns)
{
	int_fast64_t then = atomic_load(last_ns);
	int64_t now = clock_mono_ns();

	return (!then || now - then > every_ns) &&
	       atomic_compare_exchange_strong(last_ns, &then, now);
}

static void full_tell(struct vfs *v, const struct stage_stat *st, bool in_vain)
{
	unsigned long long mib = st->dirty_bytes >> 20, of = st->quota_bytes >> 20;

	if (in_vain)
		log_error("vfs",
			"the cache is full: %llu of %llu MiB are changes that wait for their "
			"upload, and nothing could be sent for a while: writing fails (ENOSPC) "
			"until something is; see 'astra status'",
			mib, of);
	else if (st->dirty_bytes && is_time(&v->full_told_ns, FULL_TOLD_NS))
		log_warn("vfs",
			"the cache is full: %llu of %llu MiB are changes that wait for their "
			"upload; writers wait for it (a larger cache_size holds more)",
			mib, of);
}

/* What uploads have done so far; *ret_moved: with what they are sending just now, which is taken
 * back when it fails. */
static uint64_t uploads_done(uint64_t *ret_moved)
{
	uint64_t done = count_get(COUNT_store_bytes_out) + count_get(COUNT_stage_cleaned);
	uint64_t vain = count_get(COUNT_net_bytes_vain); /* before those of which it is a part */

	*ret_moved = done + count_get(COUNT_net_bytes_out) - vain;
	return done;
}

/* Something can still make room: a change to be uploaded; or who holds what was uploaded just now,
 * a job that ends soon, or the row of a closed file that is to be told. Else what is here is open,
 * and nobody knows for how long. */
static bool room_may_come(struct vfs *v)
{
	struct stage_stat st;
	struct jobs_stat js;

	stage_stat(v->conf.stage, &st);
	if (st.dirty_bytes || node_any_closed(v))
		return true;
	jobs_stat(v->jobs, &js);
	return js.live > js.stuck + js.looks;
}

static bool is_slowed(struct vfs *v)
{
	for (size_t i = 0; i < v->conf.nremotes; i++) {
		if (store_is_slowed(v->conf.remotes[i].st))
			return true;
	}
	return false;
}

/* The cache is full of changes (-EDQUOT; a disk that is full waits for nobody). What is uploaded
 * can go, so that writers are as fast as uploads are from here on. When none moves for io_deadline,
 * as to a cloud that is down, the call fails, and others do not wait until one has done something.
 * While it waits size2 is what was moved, off2 until when. True: parked or answered. */
static bool full_waits(struct vfs_call *c)
{
	const struct call_wait w = {.kind = WAIT_TIME,
		.timeout_ns = FULL_PAUSE_NS,
		.on_timeout = ON_TIMEOUT_RERUN,
		.interruptible = true};
	struct vfs *v = c->own.v;
	uint64_t moved, done = uploads_done(&moved);
	int64_t now = clock_mono_ns();
	bool anew = !c->own.off2 || moved > c->own.size2;
	struct stage_stat st;

	stage_stat(v->conf.stage, &st);
	/* Nor does what has no room in an empty one. */
	if (c->own.size > st.quota_bytes || !room_may_come(v))
		return false;
	job_cache_full(v->jobs);
	if (atomic_load(&v->full_in_vain) == done + 1)
		return false;
	if (anew || is_slowed(v)) {
		c->own.size2 = MAX_OF(moved, c->own.size2);
		c->own.off2 = (uint64_t)(now + v->conf.io_deadline_ns);
	} else if (now >= (int64_t)c->own.off2) {
		atomic_store(&v->full_in_vain, done + 1);
		full_tell(v, &st, true);
		return false;
	}
	/* Also what others have changed again since. */
	if (anew || is_time(&v->full_hurried_ns, FULL_HURRY_NS))
		dirty_hurry(v);
	full_tell(v, &st, false);
	if (call_arm(c, &w))
		call_armed(c);
	return true;
}

/* Whoever failed may have taken what filled it away: the next to find it full waits as he did. */
static void full_look(struct vfs *v)
{
	struct stage_stat st;

	if (!atomic_load_explicit(&v->full_in_vain, memory_order_relaxed))
		return;
	stage_stat(v->conf.stage, &st);
	if (st.dirty_bytes < st.quota_bytes / 2)
		atomic_store(&v->full_in_vain, 0);
}

/* The kernel appends where it believes that the file ends, and is told a moment later when somebody
 * else made another version of it: bytes at that place would be in the middle of theirs. It holds
 * the inode, so that otherwise the two agree. What it keeps of the file is wrong then. */
static void append_there(struct vfs_call *c, struct vfs_node *n)
{
	uint64_t end = stage_size(node_sf(n));

	if (!c->own.what || c->own.off == end || end > INT64_MAX - c->own.size)
		return;
	c->own.off = end;
	note_inode(c->own.v, n->ino, true);
}

/* Again when nothing is left that could make room: it may just have done so. */
static errint_t write_staged(
	struct vfs_call *c, struct vfs_node *n, uint64_t *ret_miss_off, uint64_t *ret_miss_len)
{
	errint_t r = -EDQUOT;

	for (unsigned i = 0; i < 2 && r == -EDQUOT; i++) {
		if (i && room_may_come(c->own.v))
			break;
		r = stage_write(
			node_sf(n), c->own.off, c->own.p, c->own.size, ret_miss_off, ret_miss_len);
	}
	return r;
}

/* A large new file: its upload begins while it is written. Asked once for each time that it is
 * opened. */
static void look_ahead(struct vfs *v, struct vfs_node *n, uint64_t end)
{
	uint_fast64_t at = atomic_load_explicit(&n->ahead_at, memory_order_relaxed);

	if (end >= at && atomic_compare_exchange_strong(&n->ahead_at, &at, UINT64_MAX) &&
		job_goes_ahead(v->jobs, n->ino))
		dirty_event(v, n->ino, DIRTY_AHEAD);
}

static void run_write(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_node *n = c->own.h->n;
	uint64_t miss_off = 0, miss_len = 0;
	int r = change_again(c, n);

	if (r == 1)
		return;
	if (!r)
		r = node_bind(v, n);
	if (!r)
		r = node_mark(v, n);
	if (!r)
		append_there(c, n);
	if (!r)
		r = write_staged(c, n, &miss_off, &miss_len);
	if (r == -ENODATA)
		r = write_keep(c);
	if (r == -ENODATA) {
		fetch_wait(c, n, miss_off, miss_len, 0);
		return;
	}
	if (r == -EDQUOT && write_keep(c) == -ENODATA && full_waits(c))
		return;
	if (r == -EDQUOT || r == -ENOSPC)
		dirty_hurry(v); /* what is uploaded can be evicted */
	if (!r)
		r = node_mark_check(v, n);
	if (!r) {
		c->len = c->own.size;
		full_look(v);
		changed(c->own.h, c->len);
		look_ahead(v, n, c->own.off + c->len);
	}
	if (!r && (c->own.h->flags & (O_SYNC | O_DSYNC)) && v->conf.durability != DURABLE_LOCAL) {
		c->own.node = n;
		c->own.ino = n->ino;
		c->own.what = 0;
		c->own.phase = 0;
		c->own.run = sync_run;
		sync_run(c);
		return;
	}
	call_done(c, r);
}

void vfs_write(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, const void *p,
	size_t len, bool append)
{
	assert(h && h->n);
	call_begin(v, c, run_write);
	c->own.h = h;
	c->own.off = off;
	c->own.off2 = c->own.size2 = 0;
	c->own.p = p;
	c->own.size = len;
	c->own.what = append;
	c->len = 0;
	if (!h->writable)
		call_done(c, -EBADF);
	else if (off > INT64_MAX || len > INT64_MAX - off)
		call_done(c, -EFBIG);
	else if (!len)
		call_done(c, 0);
	else
		run_write(c);
}

/* ---- truncate ---- */

/* Who empties a file may mean the one that he renamed away before, and that came back. */
static errint_t keep_old(struct vfs *v, struct vfs_node *n)
{
	struct meta_inode in;
	struct meta_txn *t;
	errint_t r = row_get(v, n->ino, &in);

	if (r || !job_taken_back(v->jobs, &in))
		return r == -ENOENT ? -ESTALE : r;
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, n->ino, &in);
	if (!r && job_taken_back(v->jobs, &in)) {
		r = job_keep_old(v->jobs, t, &in);
		in.flags |=
			META_F_DIRTY; /* it has no object: a kill from here on leaves it empty */
		in.size = 0;
		(void)meta_inode_put(t, &in);
	}
	if (!r)
		return meta_commit(t);
	meta_abort(t);
	return r == -ENOENT ? -ESTALE : r;
}

/* The row forgets the old content before, and its base after, staging does: a kill in between
 * leaves at worst an upload of the same bytes. */
errint_t write_reset(struct vfs *v, struct vfs_node *n)
{
	struct meta_inode in;
	struct meta_txn *t;
	errint_t r = keep_old(v, n);

	if (!r)
		r = node_mark(v, n);
	if (!r)
		r = stage_reset(node_sf(n));
	if (!r)
		r = node_mark_check(v, n);
	if (r)
		return r;
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, n->ino, &in);
	/* An upload may have been faster; then the empty file is a version like any other. */
	if (r || !(in.flags & META_F_DIRTY) || (!(in.flags & META_F_BASE) && !in.size)) {
		meta_abort(t);
		return r == -ENOENT ? -ESTALE : r;
	}
	in.flags &= ~(uint32_t)META_F_BASE;
	node_overlay(v, &in);
	(void)meta_inode_put(t, &in);
	return meta_commit(t);
}

int write_truncate(struct vfs_call *c, struct vfs_node *n, uint64_t size)
{
	struct vfs *v = c->own.v;
	uint64_t miss_off = 0, miss_len = 0;
	int r = change_again(c, n);

	if (r)
		return r;
	if (size == stage_size(node_sf(n)) && !stage_dirty(node_sf(n))) {
		c->own.what |= VFS_SET_MTIME_NOW; /* all that changes */
		return 0;
	}
	r = node_mark(v, n);
	if (!r)
		r = stage_truncate(node_sf(n), size, &miss_off, &miss_len);
	if (r == -ENODATA) {
		fetch_wait(c, n, miss_off, miss_len, 0);
		return 1;
	}
	return r ? r : node_mark_check(v, n);
}

/* ---- fallocate ---- */

static errint_t allocate(
	struct vfs_call *c, struct stage_file *sf, uint64_t *ret_miss_off, uint64_t *ret_miss_len)
{
	const unsigned keep = FALLOC_FL_KEEP_SIZE;
	uint64_t off = c->own.off, len = c->own.size;
	unsigned mode = c->own.what;
	errint_t r;

	switch (mode & ~keep) {
	case 0:
		return stage_allocate(sf, off, len, mode & keep);
	case FALLOC_FL_PUNCH_HOLE:
		if (!(mode & keep))
			return -EOPNOTSUPP;
		return stage_punch(sf, off, len, ret_miss_off, ret_miss_len);
	case FALLOC_FL_ZERO_RANGE:
		r = stage_punch(sf, off, len, ret_miss_off, ret_miss_len);
		if (!r && !(mode & keep) && off + len > stage_size(sf))
			r = stage_truncate(sf, off + len, ret_miss_off, ret_miss_len);
		return r;
	default:
		return -EOPNOTSUPP;
	}
}

/* Room for what is there already: no byte changes, nothing is to be uploaded. */
static bool only_room(const struct vfs_call *c, struct stage_file *sf)
{
	return !(c->own.what & ~(unsigned)FALLOC_FL_KEEP_SIZE) && !stage_dirty(sf) &&
	       (c->own.what || c->own.off + c->own.size <= stage_size(sf));
}

static void run_fallocate(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_node *n = c->own.h->n;
	uint64_t miss_off = 0, miss_len = 0;
	bool keep = false;
	int r = change_again(c, n);

	if (r == 1)
		return;
	if (!r)
		r = node_bind(v, n);
	if (!r)
		keep = only_room(c, node_sf(n));
	if (!r && !keep)
		r = node_mark(v, n);
	if (!r)
		r = allocate(c, node_sf(n), &miss_off, &miss_len);
	if (r == -EDQUOT && full_waits(c))
		return;
	if (r == -ENODATA) {
		fetch_wait(c, n, miss_off, miss_len, 0);
		return;
	}
	if (!r && !keep)
		r = node_mark_check(v, n);
	if (!r && !keep)
		changed(c->own.h, 0);
	if (!r)
		r = attr_touch(v, n->ino);
	call_done(c, r);
}

void vfs_fallocate(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, int mode, uint64_t off,
	uint64_t len)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

	assert(h && h->n);
	call_begin(v, c, run_fallocate);
	c->own.h = h;
	c->own.off = off;
	c->own.off2 = c->own.size2 = 0;
	c->own.size = len;
	c->own.what = (unsigned)mode;
	if (!h->writable)
		call_done(c, -EBADF);
	else if (mode & ~known)
		call_done(c, -EOPNOTSUPP);
	else if (!len || off > INT64_MAX || len > INT64_MAX - off)
		call_done(c, len ? -EFBIG : -EINVAL);
	else
		run_fallocate(c);
}

/* ---- lseek ---- */

static void run_lseek(struct vfs_call *c)
{
	struct vfs_node *n = c->own.h->n;
	uint64_t at = 0;
	errint_t r = node_bind(c->own.v, n);

	if (!r)
		r = stage_seek(node_sf(n), c->own.off, c->own.what == SEEK_HOLE, &at);
	c->off = (int64_t)at;
	call_done(c, r);
}

void vfs_lseek(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, int whence)
{
	assert(h && h->n);
	call_begin(v, c, run_lseek);
	c->own.h = h;
	c->own.off = off;
	c->own.what = (unsigned)whence;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		call_done(c, -EINVAL);
	else
		run_lseek(c);
}

/* ---- copy_file_range ---- */

enum { COPY_BEGIN, COPY_SERVER };

/* All of a file of that size into an empty one. */
static bool is_whole_copy(struct vfs_call *c, struct vfs_node *out, uint64_t size)
{
	return !c->own.off && !c->own.off2 && size && c->own.size >= MIN_OF(size, COPY_CUT) &&
	       !stage_size(node_sf(out));
}

/* 0 with the job that copies; -EOPNOTSUPP: copied here. */
static errint_t copy_post(
	struct vfs *v, struct vfs_node *in, struct vfs_node *out, uint64_t size, uint64_t *ret_job)
{
	cleanup_txn struct meta_txn *t = meta_begin(v->conf.meta);
	struct meta_inode from, to;
	errint_t r = meta_inode_get(t, in->ino, &from);

	if (!r)
		r = meta_inode_get(t, out->ino, &to);
	/* Who writes to `in` marks its row first, so this is the version that is copied. */
	if (!r && from.size != size)
		r = -EOPNOTSUPP;
	if (!r)
		r = job_copy(v->jobs, t, &from, &to, stage_seq(node_sf(out)), ret_job);
	if (r)
		return r == -ENOENT ? -EOPNOTSUPP : r;
	return meta_commit(steal_ptr(&t));
}

/* What is not here, or is much, is left to the cloud. 1: parked; -EOPNOTSUPP: copied here. */
static int copy_on_server(struct vfs_call *c, struct vfs_node *in, struct vfs_node *out)
{
	const struct call_wait w = {.kind = WAIT_JOB, .forever = true, .interruptible = true};
	struct vfs *v = c->own.v;
	struct meta_inode row;
	uint64_t a, b, job = 0;
	errint_t r = row_get(v, in->ino, &row);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if ((row.flags & META_F_DIRTY) || !is_whole_copy(c, out, row.size) ||
		(node_sf(in) && row.size <= COPY_MAX &&
			!stage_missing(node_sf(in), 0, UINT64_MAX, &a, &b)))
		return -EOPNOTSUPP;
	r = write_reset(v, out); /* whatever made it empty */
	if (!r)
		r = copy_post(v, in, out, row.size, &job);
	if (r)
		return r;
	c->own.size2 = row.size;
	memcpy(c->own.h2->copied.etag, row.loc.etag, sizeof(row.loc.etag));
	c->own.phase = COPY_SERVER;
	job_hurry(v->jobs, out->ino); /* what had the name before may stand back */
	if (!call_arm(c, &w))
		return 1;
	if (job_wait_id(v->jobs, job, &c->own.waiter)) {
		call_armed(c);
		return 1;
	}
	call_disarm(c); /* just over */
	return 0;
}

/* More is there than was asked for: it shows when the caller comes again for it. */
static errint_t copy_cut(struct vfs_call *c, struct vfs_node *in, struct vfs_node *out)
{
	struct vfs_handle *h = c->own.h2;
	struct stage_file *to = node_sf(out);
	uint64_t a, b;
	errint_t r = node_mark(c->own.v, out);

	if (!r)
		r = stage_truncate(to, c->own.size, &a, &b);
	if (r)
		return r == -ENODATA ? -EIO : r;
	h->copied.ino = in->ino;
	h->copied.end = c->own.size;
	h->copied.seq = stage_seq(to);
	return node_mark_check(c->own.v, out);
}

/* The job is over: all of it is there, or nothing has changed. */
static errint_t copy_outcome(struct vfs_call *c, struct vfs_node *in, struct vfs_node *out)
{
	struct vfs *v = c->own.v;
	struct meta_inode row;
	errint_t r = row_get(v, out->ino, &row);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if ((row.flags & META_F_DIRTY) || !(row.flags & META_F_BASE) || row.size != c->own.size2)
		return -EOPNOTSUPP;
	node_unbind(out);
	r = node_bind(v, out);
	if (!r && row.size > c->own.size)
		r = copy_cut(c, in, out);
	if (!r)
		c->len = (size_t)MIN_OF(row.size, c->own.size);
	return r;
}

/* The caller comes again for what copy_cut() hid. */
static errint_t copy_again(struct vfs_call *c, struct vfs_node *in, struct vfs_node *out)
{
	struct vfs_handle *h = c->own.h2;
	struct meta_inode row;
	uint64_t end;
	errint_t r;

	if (h->copied.ino != in->ino || c->own.off != h->copied.end ||
		c->own.off2 != h->copied.end || row_get(c->own.v, in->ino, &row))
		return -EOPNOTSUPP;
	end = MIN_OF(row.size, c->own.off + c->own.size);
	if ((row.flags & META_F_DIRTY) || strcmp(row.loc.etag, h->copied.etag) ||
		end <= h->copied.end)
		return -EOPNOTSUPP;
	r = node_mark(c->own.v, out);
	if (!r)
		r = stage_regrow(node_sf(out), h->copied.seq, end, &h->copied.seq);
	if (r)
		return r == -EAGAIN ? -EOPNOTSUPP : r;
	h->copied.end = end;
	c->len = (size_t)(end - c->own.off);
	return node_mark_check(c->own.v, out);
}

/* Through staging, when the source is here; the caller copies itself when it is not. */
static errint_t copy_staged(struct vfs_call *c, struct stage_file *in, struct stage_file *out)
{
	cleanup_free char *buf = malloc(COPY_BUF);
	uint64_t left = MIN_OF(c->own.size, (uint64_t)COPY_MAX), off = c->own.off, to = c->own.off2;
	uint64_t miss_off, miss_len;
	errint_t r = buf ? 0 : -ENOMEM;

	while (left && !r) {
		size_t n = (size_t)MIN_OF(left, (uint64_t)COPY_BUF), got = 0;

		r = stage_read(in, off, buf, n, &got, &miss_off, &miss_len);
		if (!r && !got)
			break;
		if (!r)
			r = stage_write(out, to, buf, got, &miss_off, &miss_len);
		if (r)
			break;
		off += got;
		to += got;
		left -= got;
		c->len += got;
	}
	if (c->len)
		return 0; /* a short copy says the rest */
	/* The caller writes what it reads then, which waits for what is missing here, or for room.
	 */
	return r == -ENODATA || r == -EDQUOT ? -EOPNOTSUPP : r;
}

/* As copy_staged; of a whole file the upload is told that its cloud has the bytes already. */
static errint_t copy_here(struct vfs_call *c, struct vfs_node *in, struct vfs_node *out)
{
	struct stage_file *from = node_sf(in), *to = node_sf(out);
	bool whole = is_whole_copy(c, out, stage_size(from)) && !stage_dirty(from);
	uint64_t seq = stage_seq(from), size = 0, a, b;
	char etag[META_ETAG_MAX];
	struct stage_twin twin;
	struct meta_inode row;
	errint_t r;

	if (stage_missing(from, c->own.off, c->own.size, &a, &b))
		return -EOPNOTSUPP; /* the caller reads and writes */
	r = whole ? write_reset(c->own.v, out) : node_mark(c->own.v, out);
	if (!r)
		r = copy_staged(c, from, to);
	if (!r && whole && !row_get(c->own.v, in->ino, &row)) {
		job_twin_of(&row, &twin);
		stage_base_get(from, etag, &size);
		/* Nobody changed `in` while it was read, and `out` is this call's alone. */
		if (twin.remote && !strcmp(twin.etag, etag) && size == c->len &&
			stage_seq(from) == seq && !stage_dirty(from))
			stage_twin_set(to, stage_seq(to), &twin);
	}
	return r ? r : node_mark_check(c->own.v, out);
}

/* What is read where it is (read.c) has no staging, and gets none for this. */
static errint_t copy_bind(struct vfs *v, struct vfs_node *in, struct vfs_node *out)
{
	errint_t r = 0;

	if (node_sf(in) || stage_has(v->conf.stage, in->ino))
		r = node_bind(v, in);
	return r ? r : node_bind(v, out);
}

static void run_copy(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_node *in = c->own.h->n, *out = c->own.h2->n;
	int r = 0;

	if (c->own.phase == COPY_BEGIN) {
		r = copy_bind(v, in, out);
		if (!r)
			r = copy_again(c, in, out);
		if (r == -EOPNOTSUPP)
			r = copy_on_server(c, in, out);
		if (r == 1)
			return;
	}
	if (!r && !c->len)
		r = copy_outcome(c, in, out);
	if (r == -EOPNOTSUPP && node_sf(in))
		r = copy_here(c, in, out);
	if (!r) {
		read_seen(c->own.h, c->len);
		changed(c->own.h2, c->len);
	}
	call_done(c, r);
}

void vfs_copy_range(struct vfs *v, struct vfs_call *c, struct vfs_handle *in, uint64_t off_in,
	struct vfs_handle *out, uint64_t off_out, uint64_t len)
{
	assert(in && in->n && out && out->n);
	call_begin(v, c, run_copy);
	c->own.h = in;
	c->own.h2 = out;
	c->own.off = off_in;
	c->own.off2 = off_out;
	c->own.size = len;
	c->own.size2 = 0;
	c->len = 0;
	if (!in->readable || !out->writable || (out->flags & O_APPEND))
		call_done(c, -EBADF);
	else if (off_in > INT64_MAX - len || off_out > INT64_MAX - len || len > INT64_MAX)
		call_done(c, -EINVAL);
	else if (in->n == out->n)
		call_done(c,
			off_in < off_out + len && off_out < off_in + len ? -EINVAL : -EOPNOTSUPP);
	else
		run_copy(c);
}
