/* SPDX-License-Identifier: MIT */
/*
 * Streams: one long get for a reader who goes on and on, of a store that is near. A request costs a
 * server as much as a megabyte or more, so few long ones are better than many; and what is not
 * ahead of the reader by more than the way there needs stays in the processor's cache.
 *
 * Its bytes go round in one transfer buffer, the ring, in slots: they are shown and filled into
 * staging as those of any fetch, and a slot is written over when staging has it, the reader is
 * past it, and no answer is being given from it:
 *
 *	  gone		pos		  shown = come	reach
 *	---|-----in memory-|---ahead of the reader---|------|---not asked for yet in bytes...
 *
 * When the reader is not near the worker waits in the middle of the answer, and TCP holds the
 * server up. A reader who went elsewhere, or comes no more, ends the request after a while; what
 * has come is in staging. To those who wait only what is in reach is under way (stream_extent): who
 * jumps far ahead gets a fetch of its own.
 */
#include "vfs_priv.h"

#define NEAR_NS	    (8 * NS_PER_MS) /* to the first byte: a ring holds more than what is on its way */
#define WINDOW	    (UINT64_C(8) << 20) /* to have on its way from what is near */
#define WINDOW_SEEN (UINT64_C(4) << 20) /* so much evidence that it goes on */
#define MOST	    (UINT64_C(64) << 20)
#define BEHIND	    (UINT64_C(1) << 20) /* the kernel reads ahead out of order by so much */
#define REST_NS	    (3 * NS_PER_S)	/* in all: a buffer, a request and a worker wait with it */
#define POLL_NS	    (50 * NS_PER_MS)
#define OUT_POLL_NS (100 * 1000)

/* One that rests would keep others from a store that takes few at a time. */
static bool may(struct vfs *v, struct vfs_node *n)
{
	const struct remote *remote = remote_by_id(v, node_dep_remote(v, n));

	int64_t near_ns = v->conf.near_ns ? v->conf.near_ns : NEAR_NS;

	return n->io.way_ns && n->io.way_ns <= near_ns && remote && remote->caps.sinks &&
	       bufs_size(v->conf.bufs) >= 2 * (BEHIND + STREAM_SLOT) &&
	       !store_is_slowed(remote->st);
}

uint64_t stream_window(struct vfs *v, struct vfs_node *n, uint64_t window)
{
	return window > WINDOW && may(v, n) ? WINDOW : window;
}

uint64_t stream_most(struct vfs *v, struct vfs_node *n, uint64_t window)
{
	return window >= WINDOW_SEEN && may(v, n) ? MIN_OF(8 * window, MOST) : 0;
}

static uint64_t ring_ahead(const struct fetch *f)
{
	return f->ring - STREAM_SLOT - BEHIND;
}

uint64_t stream_done(const struct fetch *f)
{
	return f->stream ? f->stream->done : 0;
}

uint64_t stream_extent(const struct fetch *f)
{
	const struct stream *s = f->stream;

	if (!s)
		return f->len;
	return MIN_OF(f->len, MAX_OF(s->reach, s->pos) + ring_ahead(f));
}

void stream_read_locked(struct vfs_node *n, uint64_t off, uint64_t end)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		struct stream *s = f->stream;

		if (!s || off >= f->off + stream_extent(f) || end <= f->off)
			continue;
		s->pos = MAX_OF(s->pos, MIN_OF(end - f->off, f->len));
		s->rests = false;
		if (s->waits)
			(void)pthread_cond_signal(&s->moved);
	}
}

void stream_rest_locked(struct vfs_node *n)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		if (f->stream)
			f->stream->rests = true;
	}
}

void stream_stop_locked(struct vfs_node *n)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		if (!f->stream)
			continue;
		atomic_store(&f->stream->stop, true);
		if (f->stream->waits)
			(void)pthread_cond_signal(&f->stream->moved);
	}
}

/* Until the reader is near enough to the slot that begins at `at`. False: he does not come. */
static bool reader_wait_locked(struct fetch *f, uint64_t at)
{
	struct stream *s = f->stream;
	int64_t now = clock_mono_ns();

	/* Who waits for bytes of it is not elsewhere, whatever somebody else reads. */
	while ((s->rests && at >= s->pos) || at > s->pos + ring_ahead(f)) {
		int64_t since = now;

		if (atomic_load(&s->stop) || atomic_load(&f->v->cancel) || s->waited_ns >= REST_NS)
			return false;
		s->waits = true;
		(void)cond_wait_until(&s->moved, &f->n->lock, now + POLL_NS);
		s->waits = false;
		now = clock_mono_ns();
		s->waited_ns += now - since;
	}
	return true;
}

/* Room for the slot that begins at `at`: what was there a ring ago goes. */
static bool slot_enter(struct fetch *f, uint64_t at)
{
	const struct timespec pause = {.tv_nsec = OUT_POLL_NS};
	struct stream *s = f->stream;
	bool comes;

	lock_take(&f->n->lock);
	comes = reader_wait_locked(f, at);
	if (comes) {
		if (at >= f->ring)
			f->gone = at - f->ring + STREAM_SLOT;
		s->reach = at + STREAM_SLOT;
	}
	lock_drop(&f->n->lock);
	if (!comes)
		return false;
	/* No more begin, and these are on their way to the kernel. */
	while (atomic_load_explicit(&s->out[at % f->ring / STREAM_SLOT], memory_order_acquire))
		(void)nanosleep(&pause, NULL);
	return true;
}

static bool stream_take(struct store_sink *sink, const void *bytes, size_t n)
{
	struct stream *s = container_of(sink, struct stream, sink);
	struct fetch *f = s->fetch;
	const char *p = bytes;

	while (n) {
		uint64_t in = s->come % STREAM_SLOT;
		size_t part = MIN_OF(n, (size_t)(STREAM_SLOT - in));

		if (f->fill || atomic_load(&s->stop) || atomic_load(&f->v->cancel))
			return false;
		if (!in && !slot_enter(f, s->come))
			return false;
		memcpy((char *)f->buf + s->come % f->ring, p, part);
		s->come += part;
		p += part;
		n -= part;
		fetch_grown(f, s->come);
	}
	return true;
}

bool stream_new(struct fetch *f)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return false;
	s->fetch = f;
	f->ring = MIN_OF(bufs_size(f->v->conf.bufs), (uint64_t)STREAM_SLOT * STREAM_SLOTS) /
		  STREAM_SLOT * STREAM_SLOT;
	s->sink.take = stream_take;
	cond_init(&s->moved);
	f->stream = s;
	f->halves = 2;
	return true;
}

void stream_free(struct fetch *f)
{
	if (!f->stream)
		return;
	(void)pthread_cond_destroy(&f->stream->moved);
	free(f->stream);
}
