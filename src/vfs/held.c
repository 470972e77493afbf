/* SPDX-License-Identifier: MIT */
/*
 * Bytes in memory. What a fetch got stays in its transfer buffer for a while, and is given from
 * there: no byte is read back from staging which was just written to it, and nobody who reads waits
 * for the lock under which staging is filled.
 *
 *	fetched --shown--> given (several, side by side) --all given, no room, old, closed--> gone
 *
 * A fetch shows what it has as long as staging's stamp is the one of before it began: then nothing
 * was changed here, and the version is still the same. It is counted by references: one is the
 * list's, one each call's that is being answered from it, which outlives the list's.
 *
 * While it runs it is one of n->io.fetches, then of n->io.held; both, and `shown`, `given` and
 * `is_held`, are under n->lock.
 */
#include "vfs_priv.h"

#define HELD_NS (3 * NS_PER_S)
#define LOOK_NS NS_PER_S

void fetch_put(struct fetch *f)
{
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (f->is_small)
		free(f->buf);
	else if (f->buf)
		bufs_give(f->v->conf.bufs, f->buf);
	if (f->halves == 4)
		bufs_give(f->v->conf.bufs, (char *)f->buf + bufs_size(f->v->conf.bufs));
	stream_free(f);
	free(f);
}

static void drop_locked(struct vfs_node *n, struct fetch *f)
{
	TAILQ_REMOVE(&n->io.held, f, link);
	atomic_fetch_sub(&f->v->nheld, f->halves);
	fetch_put(f);
}

void held_drop_all(struct vfs_node *n)
{
	struct fetch *f;

	while ((f = TAILQ_FIRST(&n->io.held)))
		drop_locked(n, f);
}

void held_forget(struct vfs_node *n)
{
	LOCKED(&n->lock);

	for (unsigned i = 0; i < AHEADS; i++)
		n->io.ahead[i].to = 0;
	stream_stop_locked(n);
	held_drop_all(n);
}

unsigned held_room(struct vfs *v)
{
	return bufs_free(v->conf.bufs) + atomic_load(&v->nheld) / 2;
}

/* Of the pool a quarter is left to others, whatever is held; and what is held here goes when one
 * more begins: the last first, which is wanted last. */
bool held_may_take(struct vfs *v, struct vfs_node *n, unsigned count)
{
	struct bufs *bufs = v->conf.bufs;
	unsigned left = bufs_count(bufs) / 4 + count - 1;
	LOCKED(&n->lock);

	while (bufs_free(bufs) <= left && !TAILQ_EMPTY(&n->io.held))
		drop_locked(n, TAILQ_LAST(&n->io.held, fetch_list));
	return bufs_free(bufs) > left;
}

static void holds_add(struct vfs *v, struct vfs_node *n)
{
	bool first;
	LOCKED(&v->open.lock);

	if (n->holds)
		return;
	first = v->open.nholds++ == 0;
	n->holds = true;
	TAILQ_INSERT_TAIL(&v->open.holds, n, holds_link);
	if (first)
		pool_post_at(v->conf.pool, &v->held_task, clock_mono_ns() + LOOK_NS);
}

/* The first of them, with a reference; NULL when there is none. */
static struct vfs_node *holds_take(struct vfs *v)
{
	struct vfs_node *n;
	LOCKED(&v->open.lock);

	n = TAILQ_FIRST(&v->open.holds);
	if (!n)
		return NULL;
	TAILQ_REMOVE(&v->open.holds, n, holds_link);
	v->open.nholds--;
	n->holds = false;
	n->refs++;
	return n;
}

/* Drops what is old or of another version. True: something is left. */
static bool drop_old(struct vfs_node *n)
{
	int64_t since = clock_mono_ns() - HELD_NS;
	struct fetch *f, *more;
	LOCKED(&n->lock);

	for (f = TAILQ_FIRST(&n->io.held); f; f = more) {
		more = TAILQ_NEXT(f, link);
		if (f->held_ns <= since || f->stamp != stage_stamp(node_sf(n)))
			drop_locked(n, f);
	}
	return !TAILQ_EMPTY(&n->io.held);
}

/* Who stopped reading, and has it open for hours, keeps no buffer from other files and from
 * uploads: it is in staging, too. */
void held_run(struct pool_task *t)
{
	struct vfs *v = container_of(t, struct vfs, held_task);
	struct vfs_node *n;
	unsigned left;

	lock_take(&v->lock);
	if (v->s.stopping) {
		lock_drop(&v->lock);
		return;
	}
	atomic_fetch_add(&v->background, 1);
	lock_drop(&v->lock);
	lock_take(&v->open.lock);
	left = v->open.nholds;
	lock_drop(&v->open.lock);
	while (left-- && (n = holds_take(v))) {
		if (drop_old(n))
			holds_add(v, n);
		node_put(v, n);
	}
	lock_take(&v->open.lock);
	if (v->open.nholds)
		pool_post_at(v->conf.pool, &v->held_task, clock_mono_ns() + LOOK_NS);
	lock_drop(&v->open.lock);
	atomic_fetch_sub(&v->background, 1);
}

bool held_keep_locked(struct vfs_node *n, struct fetch *f)
{
	struct bufs *bufs = f->v->conf.bufs;

	if (!f->shows || f->filled < f->shown || f->shown < MIN_OF(f->get, f->size - f->off) ||
		f->given >= f->shown || n->io.rest || f->stamp != stage_stamp(node_sf(n)) ||
		bufs_free(bufs) <= bufs_count(bufs) / 4)
		return false;
	f->is_held = true;
	f->held_ns = clock_mono_ns();
	atomic_fetch_add(&f->v->nheld, f->halves);
	TAILQ_INSERT_TAIL(&n->io.held, f, link);
	holds_add(f->v, n);
	return true;
}

static struct fetch *find_in(struct fetch_list *l, uint64_t stamp, uint64_t off)
{
	struct fetch *f;

	TAILQ_FOREACH (f, l, link) {
		if (f->shows && f->stamp == stamp && off >= f->off + f->gone &&
			off - f->off < f->shown)
			return f;
	}
	return NULL;
}

static struct fetch *find_locked(struct vfs_node *n, uint64_t stamp, uint64_t off)
{
	struct fetch *f = find_in(&n->io.held, stamp, off);

	return f ? f : find_in(&n->io.fetches, stamp, off);
}

bool held_locked(struct vfs_node *n, uint64_t off, uint64_t *ret_end)
{
	struct fetch *f = find_in(&n->io.held, stage_stamp(node_sf(n)), off);

	if (f)
		*ret_end = f->off + f->shown;
	return f;
}

static bool whole_locked(struct vfs_node *n, uint64_t stamp, uint64_t off, uint64_t len)
{
	struct fetch *f;

	for (uint64_t end = off + len; off < end; off = f->off + f->shown) {
		f = find_locked(n, stamp, off);
		if (!f)
			return false;
		if (f->off + f->shown >= f->size)
			break;
	}
	return true;
}

bool held_whole_locked(struct vfs_node *n, uint64_t off, uint64_t len)
{
	return whole_locked(n, stage_stamp(node_sf(n)), off, len);
}

/* Nobody will ask for it again, as far as one can know. */
static void given_locked(struct vfs_node *n, struct fetch *f, uint64_t bytes)
{
	f->given += bytes;
	if (f->is_held && f->given >= f->shown) {
		f->is_held = false;
		drop_locked(n, f);
	}
}

/* From several, or the end of one and the start of the next. All of them are as of `stamp`, and are
 * given also when somebody changes the file just now: who does needs no lock of ours. */
static errint_t copy_locked(struct vfs_call *c, struct vfs_node *n, uint64_t stamp, uint64_t len)
{
	uint64_t off = c->own.off, end = off + len;

	c->own.mem = malloc(len);
	if (!c->own.mem)
		return -ENOMEM;
	while (off < end) {
		struct fetch *f = find_locked(n, stamp, off);
		uint64_t here = MIN_OF(end, f->off + f->shown) - off;
		uint64_t in = (off - f->off) % f->ring, part = MIN_OF(here, f->ring - in);
		char *to = (char *)c->own.mem + (off - c->own.off);

		memcpy(to, (char *)f->buf + in, part);
		memcpy(to + part, f->buf, here - part); /* round the ring */
		off += here;
		given_locked(n, f, here); /* f may be gone */
	}
	c->data = c->own.mem;
	return 0;
}

/* What is being given must not be written over: in the slots of a ring, so many more answers. */
static void out_add(struct fetch *f, uint64_t in, uint64_t len, unsigned more)
{
	if (!f->stream || !len)
		return;
	for (uint64_t i = in / STREAM_SLOT; i <= (in + len - 1) / STREAM_SLOT; i++)
		atomic_fetch_add_explicit(&f->stream->out[i], more, memory_order_acq_rel);
}

void held_given(struct fetch *f, const void *data, size_t len)
{
	out_add(f, (uint64_t)((const char *)data - (const char *)f->buf), len, -1u);
}

bool held_read(struct vfs_call *c, struct vfs_node *n)
{
	uint64_t off = c->own.off, stamp, len, in;
	struct fetch *f;
	LOCKED(&n->lock);

	stamp = stage_stamp(node_sf(n));
	f = find_locked(n, stamp, off);
	if (!f || off >= f->size)
		return false;
	len = MIN_OF(c->own.size, f->size - off);
	in = (off - f->off) % f->ring;
	if (off + len > f->off + f->shown || in + len > f->ring) {
		if (!whole_locked(n, stamp, off, len) || copy_locked(c, n, stamp, len))
			return false;
	} else {
		atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
		c->own.from = f;
		c->data = (char *)f->buf + in;
		out_add(f, in, len, 1);
		given_locked(n, f, len);
	}
	c->len = len;
	count_inc(memory_hits);
	return true;
}
