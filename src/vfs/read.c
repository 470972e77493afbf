/* SPDX-License-Identifier: MIT */
/*
 * Reading. What staging has is answered at once; what it has not is fetched from where the index
 * says that the object is now, in units of at most one transfer buffer, each on its own worker:
 *
 *	read --miss--> fetch (worker of the remote: buffer, get, fill) --> waiters run again
 *
 * The fetches of a file and the calls that wait for them are lists under the node's lock. A call
 * waits for a range and is run again when any fetch that touches it has ended, well or not.
 *
 * What is in a store near by is not copied into staging: it is read where it is (read_near).
 *
 * What has come is given to those who wait for no more, from memory (held.c) or staging, while the
 * rest of a unit is on its way. A sequential reader opens a window that doubles with each read, and
 * is kept full, by the fetches that end as well as by his reads; random reads fetch what was asked
 * for, rounded to grains. Nothing here waits for another unit or for a buffer, so two buffers and
 * two workers are enough.
 */
#include "vfs_priv.h"

#define REBASE_PAUSE_NS (50 * NS_PER_MS)
#define ROUND		(4u * STAGE_GRAIN)
#define UNIT_MIN	(256u << 10)
#define AHEAD_MAX	(4u << 20)  /* a unit of what is read ahead, but for ... */
#define AHEAD_MOST	(16u << 20) /* one reader whose requests are quick: */
#define REQUEST_NS	(100 * NS_PER_MS)
#define SHOW_MIN	(256u << 10) /* that has come, before it is given to those who wait */
#define RATE_MIN	(1u << 20)   /* fewer bytes tell no rate */
#define SMALL_MAX	(512u << 10) /* is fetched without a transfer buffer */

/* ---- one fetch ---- */

static void run_read(struct vfs_call *c);

/* What is in memory is all that c needs. A change of part of a grain needs staging to have it. */
static bool may_be_held(const struct vfs_call *c)
{
	return c->own.run == run_read;
}

/* All that c waits for is here as far as f, which has just grown, can tell. */
static bool is_here_locked(const struct fetch *f, const struct vfs_call *c)
{
	uint64_t off = c->own.want_off, end = off + c->own.want_len, a, b;

	if (f->shows && may_be_held(c) && held_whole_locked(f->n, off, c->own.want_len))
		return true;
	if (MIN_OF(end, f->off + f->len) > f->off + f->filled)
		return false;
	/* What is before or behind f may have been in staging. */
	return (off >= f->off && end <= f->off + f->len) ||
	       !stage_missing(node_sf(f->n), off, c->own.want_len, &a, &b);
}

/* Takes from the waiters those who wait for a byte of f; some: for none that is not here. */
static void waiters_take_locked(struct fetch *f, bool some, struct call_list *ret)
{
	struct vfs_node *n = f->n;
	struct vfs_call *c, *more;

	for (c = TAILQ_FIRST(&n->io.waiters); c; c = more) {
		uint64_t off = c->own.want_off, end = off + c->own.want_len;

		more = TAILQ_NEXT(c, own.fetch);
		if (off >= f->off + f->len || f->off >= end || (some && !is_here_locked(f, c)))
			continue;
		TAILQ_REMOVE(&n->io.waiters, c, own.fetch);
		c->own.in_fetch = false;
		TAILQ_INSERT_TAIL(ret, c, own.fetch);
	}
}

static void wake_all(struct call_list *l, errint_t r)
{
	struct vfs_call *c;

	while ((c = TAILQ_FIRST(l))) {
		TAILQ_REMOVE(l, c, own.fetch);
		call_wake(c, r);
	}
}

static void ahead_go_locked(struct vfs *v, struct vfs_node *n);

/* How fast its bytes came, since the first of them if there were more. */
static void rate_locked(struct vfs_node *n, const struct fetch *f)
{
	int64_t took = clock_mono_ns() - f->first_ns;
	uint64_t bytes = f->shown - f->first, rate;

	if (!f->first_ns || bytes < RATE_MIN)
		return;
	rate = bytes * 1000 / (uint64_t)MAX_OF(took / (NS_PER_S / 1000), 1);
	n->io.rate = n->io.rate ? (3 * n->io.rate + rate) / 4 : rate;
}

/* A long one that ended before its end: without a reader, room, or by a fault. */
static bool stream_gave_up(const struct fetch *f)
{
	return f->stream && (!f->buf || f->stream->come < MIN_OF(f->len, f->size - f->off));
}

static void fetch_end(struct fetch *f, errint_t r)
{
	struct call_list woken = TAILQ_HEAD_INITIALIZER(woken);
	struct vfs_node *n = f->n;
	struct vfs *v = f->v;
	bool rest, held;

	lock_take(&n->lock);
	TAILQ_REMOVE(&n->io.fetches, f, link);
	n->io.nfetches--;
	waiters_take_locked(f, false, &woken);
	if (r)
		n->io.rest = false;
	rate_locked(n, f);
	n->io.full = f->fill == -ENOSPC || f->fill == -EDQUOT || (n->io.full && !f->filled);
	rest = n->io.rest;
	f->n = NULL;
	held = held_keep_locked(n, f);
	for (unsigned i = 0; i < AHEADS; i++) {
		struct ahead_way *w = &n->io.ahead[i];

		if (r || (stream_gave_up(f) && w->at > f->off && w->at <= f->off + f->len))
			w->to = 0;
	}
	ahead_go_locked(v, n);
	lock_drop(&n->lock);
	if (!held)
		fetch_put(f);
	wake_all(&woken, r);
	if (rest && !atomic_exchange(&n->rest_posted, true)) {
		node_ref(v, n);
		atomic_fetch_add(&v->background, 1);
		(void)pool_post(v->conf.pool, &n->rest_task);
	}
	node_put(v, n);
	atomic_fetch_sub(&v->background, 1);
}

/* Who reads gets a bare number: the log says why. */
static void read_tell(struct vfs *v, const struct meta_inode *in, errint_t r, const struct err *err)
{
	const struct remote *remote = remote_by_id(v, in->loc.remote);
	const char *name = remote ? remote->name : "?";
	char path[META_PATH_MAX + 66];

	if (!log_seldom("get %s %d %d %s", name, r, (int)err->kind, err->code))
		return;
	log_warn("vfs", "remote %s: %s cannot be read: %s", name, path_tell(v, in->ino, path),
		err_text(err, r));
}

/* What the store's answer means for those who wait. */
static errint_t fetch_error(
	struct fetch *f, const struct meta_inode *in, errint_t r, const struct err *err)
{
	switch (err->kind) {
	case ERR_STALE:
	case ERR_NOT_FOUND:
		return -ESTALE;
	case ERR_ARCHIVED:
		return FETCH_ARCHIVED;
	case ERR_CANCELLED:
		if (r != -ETIMEDOUT)
			return -EIO; /* the end */
		break;
	default:
		break;
	}
	read_tell(f->v, in, r, err);
	return err->kind == ERR_CANCELLED ? -ETIMEDOUT : -EIO;
}

/* Gives staging the bytes of f up to `have`. */
static errint_t fetch_fill(struct fetch *f, uint64_t have)
{
	errint_t r = f->fill;

	while (!r && have > f->filled) {
		uint64_t in = f->filled % f->ring, len = MIN_OF(have - f->filled, f->ring - in);

		r = stage_fill(
			node_sf(f->n), f->etag, f->off + f->filled, (char *)f->buf + in, len);
		f->filled += r ? 0 : len;
	}
	if (r)
		f->fill = r;
	return r;
}

static void fetch_tell(struct fetch *f)
{
	struct call_list woken = TAILQ_HEAD_INITIALIZER(woken);

	lock_take(&f->n->lock);
	if (f->stream)
		f->stream->done = f->filled; /* does not come again, should it be evicted */
	waiters_take_locked(f, true, &woken);
	lock_drop(&f->n->lock);
	wake_all(&woken, 0);
}

/* Staging is as the version is: what comes may be given as long as its stamp stays. */
static void fetch_shows(struct fetch *f, uint64_t stamp, uint64_t size)
{
	LOCKED(&f->n->lock);

	f->stamp = stamp;
	f->size = size;
	f->shows = true;
	f->first_ns = clock_mono_ns();
}

/* Its bytes up to `have` are given from memory from here on, before staging has them. */
static void fetch_show(struct fetch *f, uint64_t have)
{
	struct call_list woken = TAILQ_HEAD_INITIALIZER(woken);

	lock_take(&f->n->lock);
	f->shown = MAX_OF(f->shown, have);
	if (!f->first && have < f->get) { /* what came before was asked for, and waited for */
		f->first = have;
		f->first_ns = clock_mono_ns();
	}
	waiters_take_locked(f, true, &woken);
	lock_drop(&f->n->lock);
	wake_all(&woken, 0);
}

/* How long the way to the first byte takes: at best, for what waits on this machine says nothing.
 */
static void way_note(struct fetch *f)
{
	int64_t ns = clock_mono_ns() - f->began_ns;
	LOCKED(&f->n->lock);

	f->began_ns = 0;
	if (!f->n->io.way_ns || ns < f->n->io.way_ns)
		f->n->io.way_ns = ns;
	else
		f->n->io.way_ns += (ns - f->n->io.way_ns) / 16; /* it may be another way now */
}

/* Whole chunks, which get their checksum while they are in the processor's cache. */
void fetch_grown(struct fetch *f, uint64_t have)
{
	uint64_t end = (f->off + have) / STAGE_CHUNK * STAGE_CHUNK;

	if (f->began_ns)
		way_note(f);
	if (end < f->off + (f->shows ? f->shown : f->filled) + SHOW_MIN)
		return;
	if (f->shows)
		fetch_show(f, end - f->off);
	if (!fetch_fill(f, end - f->off))
		fetch_tell(f);
}

static void fetch_progress(struct store_progress *p, uint64_t have)
{
	fetch_grown(container_of(p, struct fetch, progress), have);
}

static errint_t fetch_bytes(struct fetch *f, const struct remote *remote, struct store_obj obj,
	const char *etag, size_t *ret_got, struct err *err)
{
	struct vfs *v = f->v;
	struct store_call sc = {.cancel = &v->cancel, .front = f->task.lane == LANE_FOREGROUND};
	errint_t r;

	f->began_ns = clock_mono_ns();
	if (f->stream) { /* waits for its reader, for seconds in all: stream.c */
		sc.sink = &f->stream->sink;
		r = store_get(remote->st, &sc, obj, etag, f->off, NULL, f->get, ret_got, err);
	} else {
		sc.deadline_mono_ns = f->began_ns + v->conf.io_deadline_ns;
		sc.progress = &f->progress;
		r = store_get(remote->st, &sc, obj, etag, f->off, f->buf, f->get, ret_got, err);
	}
	atomic_fetch_add(&f->n->cloud_bytes, *ret_got);
	if (!r && f->began_ns)
		way_note(f);
	return r;
}

/* Gets the bytes and gives them to staging. 0 also when the file is to be bound anew. */
static errint_t fetch_get(struct fetch *f)
{
	struct vfs *v = f->v;
	struct stage_file *sf = node_sf(f->n);
	char names[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	const struct remote *remote;
	struct store_obj obj;
	struct meta_inode in;
	struct err err = {0};
	uint64_t base_size, stamp;
	bool early;
	size_t got = 0;
	errint_t r = row_get(v, f->n->ino, &in);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	remote = remote_by_id(v, in.loc.remote);
	if (!(in.flags & META_F_OBJECT) || !(in.flags & META_F_BASE) || !remote)
		return -EIO;
	stamp = stage_stamp(sf); /* before what it stands for is looked at */
	stage_base_get(sf, f->etag, &base_size);
	if (!(in.flags & META_F_DIRTY) && strcmp(f->etag, in.loc.etag)) {
		node_unbind(f->n); /* changed or moved since: the waiters bind it */
		return 0;
	}
	r = remote_obj(remote, in.loc.path, names, &obj);
	if (r)
		return r;
	if (!f->is_small && !stage_dirty(sf) && strcmp(f->etag, in.loc.etag) == 0)
		fetch_shows(f, stamp, base_size);
	r = fetch_bytes(f, remote, obj, in.loc.etag, &got, &err);
	early = f->stream && r;
	if (r && !early)
		return fetch_error(f, &in, r, &err);
	if (!early && got < f->get && f->off + got < base_size) {
		log_error("vfs", "'%s': the store gave %zu of %llu bytes", in.name, got,
			(unsigned long long)f->get);
		return -EIO;
	}
	if (f->shows)
		fetch_show(f, got);
	r = fetch_fill(f, got);
	if (r == -ESTALE) {
		node_unbind(f->n);
		r = 0;
	}
	return r;
}

static void fetch_run(struct pool_task *t);

/* More than what buffers hold: it can only be a stream. */
static bool is_long(struct vfs *v, uint64_t len)
{
	return len > 2 * bufs_size(v->conf.bufs);
}

static bool fetch_start_locked(
	struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t end, enum pool_lane lane)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return false;
	f->v = v;
	f->n = n;
	f->off = off;
	f->len = f->get = f->ring = end - off;
	if (is_long(v, end - off) && !stream_new(f)) {
		free(f);
		return false;
	}
	f->progress.grown = fetch_progress;
	atomic_init(&f->refs, 1);
	pool_task_init(&f->task, lane, fetch_run);
	node_ref(v, n);
	TAILQ_INSERT_TAIL(&n->io.fetches, f, link);
	n->io.nfetches++;
	atomic_fetch_add(&v->background, 1);
	pool_task_share(&f->task, remote_share(v, node_dep_remote(v, n)));
	(void)pool_post(v->conf.pool, &f->task);
	return true;
}

/* What is got is known, and so is the buffer, to others from here on. What one buffer is too small
 * for is for another fetch. */
static void fetch_fits(struct fetch *f, unsigned halves)
{
	uint64_t end = f->off + f->len;
	LOCKED(&f->n->lock);

	f->halves = halves;
	f->get = MIN_OF(f->len, MAX_OF(halves, 2u) / 2 * (uint64_t)bufs_size(f->v->conf.bufs));
	if (f->get < f->len && fetch_start_locked(f->v, f->n, f->off + f->get, end, f->task.lane))
		f->len = f->get;
}

/* Two transfer buffers, one, or half of one, for much, while enough of them are left; else what a
 * little needs. Of what was asked for the rest is then fetched later: those that wait for it ask
 * again. So a remote that hangs leaves buffers to the others, and nobody waits for one. */
static bool fetch_buffer(struct fetch *f)
{
	struct bufs *bufs = f->v->conf.bufs;
	unsigned halves = 2;

	if (f->stream) {
		f->buf = held_may_take(f->v, f->n, 1) ? bufs_try_take(bufs, false) : NULL;
		return f->buf;
	}
	if (f->len > bufs_size(bufs) && held_may_take(f->v, f->n, 2)) {
		f->buf = bufs_try_two(bufs);
		halves = f->buf ? 4 : 2;
	}
	if (!f->buf && f->len > SMALL_MAX && f->len <= bufs_half(bufs)) {
		f->buf = bufs_try_half(bufs, true);
		if (!f->buf && held_may_take(f->v, f->n, 1))
			f->buf = bufs_try_half(bufs, false);
		halves = 1;
	} else if (!f->buf && f->len > SMALL_MAX && held_may_take(f->v, f->n, 1)) {
		f->buf = bufs_try_take(bufs, false);
	}
	f->is_small = !f->buf;
	if (!f->is_small) {
		fetch_fits(f, halves);
		return true;
	}
	f->get = MIN_OF(f->len, (uint64_t)SMALL_MAX);
	f->buf = malloc(f->get);
	return f->buf;
}

static void fetch_run(struct pool_task *t)
{
	struct fetch *f = container_of(t, struct fetch, task);
	errint_t r = -EIO;

	if (!atomic_load(&f->v->cancel))
		r = fetch_buffer(f) ? fetch_get(f) : -ENOMEM;
	if (f->stream && r != -ENOSPC && r != -EDQUOT)
		r = 0; /* who waits may have another one; else he asks for himself */
	fetch_end(f, r);
}

/* Somebody waits for it: if it has not begun, it goes before those for nobody. */
static void hurry_locked(struct vfs *v, struct fetch *f)
{
	if (f->task.lane == LANE_FOREGROUND || !pool_cancel(v->conf.pool, &f->task))
		return;
	f->task.lane = LANE_FOREGROUND;
	(void)pool_post(v->conf.pool, &f->task);
}

static bool in_flight_locked(struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t *ret_end)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		if (off >= f->off + stream_done(f) && off < f->off + stream_extent(f)) {
			hurry_locked(v, f);
			*ret_end = f->off + stream_extent(f);
			return true;
		}
	}
	return false;
}

static uint64_t round_to(uint64_t x, uint64_t unit, bool up)
{
	return (up ? x + unit - 1 : x) / unit * unit;
}

/* The first fetch that begins in (off, end) limits a new one. */
static uint64_t limit_locked(struct vfs_node *n, uint64_t off, uint64_t end)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		if (f->off > off && f->off < end)
			end = f->off;
	}
	return end;
}

struct span {
	uint64_t off, end;
};

static bool touches(const struct span *s, uint64_t off, uint64_t end)
{
	return off < s->end && end > s->off;
}

/* Starts what is missing of [off, end) and not under way, in pieces of at most unit bytes. While
 * many fetches run only one that touches `need`, unless there is one: it wakes who waits for that.
 * False: no memory for it. */
static bool fetch_want_locked(struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t end,
	const struct span *need, uint64_t unit)
{
	struct stage_file *sf = node_sf(n);
	uint64_t a, len, stop;
	bool any = false;

	while (off < end && stage_missing(sf, off, end - off, &a, &len)) {
		uint64_t last = MIN_OF(a + len, end);

		if (in_flight_locked(v, n, a, &off)) {
			/* A fetch of a shorter version may end within a grain: what is missing is
			 * told by grains, and would be this one again. */
			off = round_to(off, STAGE_GRAIN, true);
			any |= touches(need, a, off);
			continue;
		}
		if (n->io.nfetches >= FETCHES_MAX && any)
			return true;
		if (n->io.nfetches >= FETCHES_MAX && !touches(need, a, last)) {
			off = last;
			continue;
		}
		stop = limit_locked(n, a, MIN_OF(last, a + unit));
		if (!fetch_start_locked(v, n, a, stop, LANE_FOREGROUND))
			return any;
		any |= touches(need, a, stop);
		off = stop;
	}
	return true;
}

void fetch_whole(struct vfs *v, struct vfs_node *n)
{
	uint64_t size, a, len;
	LOCKED(&n->lock);

	size = round_to(stage_size(node_sf(n)), STAGE_GRAIN, true);
	/* It may have grown since it was chosen, beyond any buffer. */
	if (size && size <= FETCH_WHOLE_MAX && !n->io.nfetches &&
		stage_missing(node_sf(n), 0, size, &a, &len))
		(void)fetch_start_locked(v, n, 0, size, LANE_BACKGROUND);
}

/* Hardly anybody else has bytes on their way. */
static bool is_alone_locked(struct vfs *v, struct vfs_node *n)
{
	unsigned count = bufs_count(v->conf.bufs), own = 0;
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link)
		own += f->halves;
	return count <= held_room(v) + own / 2 + count / 8;
}

/* What is read ahead comes in units of so much. A request costs a round trip and its server's work;
 * it takes some time, so that this is little of it, as long as there are some beside each other. */
static uint64_t ahead_unit_locked(struct vfs *v, struct vfs_node *n, uint64_t window)
{
	uint64_t size = bufs_size(v->conf.bufs) / STAGE_GRAIN * STAGE_GRAIN, most = AHEAD_MAX;
	uint64_t quick = n->io.rate / (NS_PER_S / REQUEST_NS);

	while (most < AHEAD_MOST && 2 * most <= quick + quick / 2 && is_alone_locked(v, n))
		most *= 2;
	return MIN_OF(MAX_OF(round_to(window / 4, UNIT_MIN, true), (uint64_t)UNIT_MIN),
		MIN_OF(most, most > AHEAD_MAX ? 2 * size : size));
}

/* One more unit of what is read ahead may begin: while there are buffers enough for others, for
 * each file at least some. */
static bool ahead_may(struct vfs *v, struct vfs_node *n, uint64_t unit)
{
	struct bufs *bufs = v->conf.bufs;
	unsigned count = bufs_count(bufs), free = bufs_free(bufs);

	if (n->io.full || n->io.nfetches >= FETCHES_MAX || free < 2)
		return false;
	return free > count / 4 + (unit > bufs_size(bufs)) &&
	       (n->io.nfetches < FETCHES_FEW || held_room(v) > count / 2);
}

/* How far one fetch goes that begins at a, of which len bytes are missing: to where a unit ends, or
 * much further as a stream. Not from the start: a whole object is checked before it is shown. */
static uint64_t ahead_end_locked(
	struct vfs_node *n, const struct ahead_way *w, uint64_t a, uint64_t len)
{
	uint64_t most = w->most, b;
	uint64_t size = round_to(stage_size(node_sf(n)), STAGE_GRAIN, true);

	if (a && most && a < size &&
		stage_missing(node_sf(n), a, MIN_OF(most, size - a), &b, &most) && b == a &&
		is_long(n->v, limit_locked(n, a, a + most) - a))
		return limit_locked(n, a, a + most);
	return limit_locked(n, a, MIN_OF(MIN_OF(a + len, w->to), round_to(a + 1, w->unit, true)));
}

/* What is on its way from off on, for nobody in particular: a stream that is read is to its end. */
static bool covered_locked(struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t *ret_end)
{
	struct fetch *f;

	TAILQ_FOREACH (f, &n->io.fetches, link) {
		if (f->stream && !f->stream->rests && off >= f->off && off < f->off + f->len) {
			*ret_end = f->off + f->len;
			return true;
		}
	}
	return held_locked(n, off, ret_end) || in_flight_locked(v, n, off, ret_end);
}

/* Goes on with what is to be read ahead of one stream, in units that begin where a multiple of them
 * does, so that a reader who goes on by a little does not begin a little one. */
static void way_go_locked(struct vfs *v, struct vfs_node *n, struct ahead_way *w)
{
	struct stage_file *sf = node_sf(n);
	uint64_t a, len;

	while (w->at < w->to) {
		uint64_t at = w->at;

		if (!stage_missing(sf, at, w->to - at, &a, &len)) {
			w->at = w->to;
			break;
		}
		if (covered_locked(v, n, a, &at)) {
			w->at = round_to(at, STAGE_GRAIN, true);
			continue;
		}
		if (!ahead_may(v, n, w->unit))
			break;
		at = ahead_end_locked(n, w, a, len);
		if (!fetch_start_locked(v, n, a, at, LANE_FOREGROUND))
			break;
		w->at = at;
	}
}

/* When it can begin no more now, the next fetch that ends does: so the link is not idle until the
 * reader comes. */
static void ahead_go_locked(struct vfs *v, struct vfs_node *n)
{
	n->io.turn++; /* nobody is always the last */
	for (unsigned i = 0; i < AHEADS; i++)
		way_go_locked(v, n, &n->io.ahead[(n->io.turn + i) % AHEADS]);
}

/* That of a stream, or one to be its: of none, else somebody's, who begins it again. */
static struct ahead_way *way_locked(struct vfs_node *n, const void *who)
{
	struct ahead_way *free = &n->io.ahead[n->io.turn % AHEADS];

	for (unsigned i = 0; i < AHEADS; i++) {
		struct ahead_way *w = &n->io.ahead[i];

		if (w->who == who)
			return w;
		if (w->at >= w->to)
			free = w;
	}
	free->who = who;
	return free;
}

/* Keeps [off, off+window) of a stream on its way. */
static void ahead_locked(
	struct vfs *v, struct vfs_node *n, const void *who, uint64_t off, uint64_t window)
{
	uint64_t unit = ahead_unit_locked(v, n, window);
	uint64_t size = round_to(stage_size(node_sf(n)), STAGE_GRAIN, true);
	struct ahead_way *w = way_locked(n, who);

	w->at = off;
	w->unit = unit;
	w->most = stream_most(v, n, window);
	w->to = off + window < size ? round_to(off + window, unit, false) : size;
	ahead_go_locked(v, n);
}

/* Nothing more begins for h's streams, until they are read on. */
static void ahead_stop_locked(struct vfs_handle *h)
{
	struct pattern_stream *s = h->pattern.s;

	for (unsigned i = 0; i < AHEADS; i++) {
		struct ahead_way *w = &h->n->io.ahead[i];

		for (unsigned k = 0; k < PATTERN_STREAMS; k++) {
			if (w->who != &s[k])
				continue;
			w->to = 0;
			if (s[k].window)
				s[k].asked = 0;
		}
	}
}

void ahead_leave(struct vfs_handle *h)
{
	LOCKED(&h->n->lock);

	ahead_stop_locked(h);
	for (unsigned i = 0; i < AHEADS; i++)
		if (!h->n->io.ahead[i].to)
			h->n->io.ahead[i].who = NULL;
}

/* ---- waiting for bytes ---- */

static void want(struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t len, bool *ret_ok,
	uint64_t *ret_end)
{
	uint64_t unit = bufs_size(v->conf.bufs) / STAGE_GRAIN * STAGE_GRAIN;
	uint64_t size = stage_size(node_sf(n)), end;
	struct span need = {off, off + len};

	assert(unit);
	end = round_to(off + len, ROUND, true);
	off = round_to(off, ROUND, false);
	if (size <= FETCH_WHOLE_MAX) {
		off = 0;
		end = round_to(size, STAGE_GRAIN, true);
	}
	*ret_ok = fetch_want_locked(v, n, off, end, &need, unit);
	*ret_end = end;
}

void fetch_wait(struct vfs_call *c, struct vfs_node *n, uint64_t off, uint64_t len, uint64_t ahead)
{
	const struct call_wait w = {.kind = WAIT_FETCH, .on_timeout = -EIO};
	struct vfs *v = c->own.v;
	uint64_t a, b, end;
	bool ok = true, missing;

	c->own.node = n;
	c->own.want_off = off;
	c->own.want_len = len;
	if (!call_arm(c, &w))
		return;
	lock_take(&n->lock);
	/* It may have come since the caller looked. */
	missing = !(may_be_held(c) && held_whole_locked(n, off, len)) &&
		  stage_missing(node_sf(n), off, len, &a, &b);
	stream_read_locked(n, off, off + len);
	if (missing)
		want(v, n, off, len, &ok, &end);
	if (missing && ahead)
		ahead_locked(v, n, c->own.stream, end, ahead);
	missing = missing && ok;
	if (missing) {
		TAILQ_INSERT_TAIL(&n->io.waiters, c, own.fetch);
		c->own.in_fetch = true;
	}
	lock_drop(&n->lock);
	if (missing) {
		call_armed(c);
		return;
	}
	call_disarm(c);
	if (!ok)
		call_done(c, -ENOMEM);
	else
		call_later(c, LANE_FOREGROUND);
}

/* A job of ino has changed the version, or the key, and has not yet said so; after a power cut it
 * may have to find out first, when it is posted again. 0 = no, or it takes too long; 1 = parked. */
static int stale_wait(struct vfs_call *c, uint64_t ino)
{
	const struct call_wait w = {.kind = WAIT_TIME,
		.timeout_ns = STALE_PAUSE_NS,
		.on_timeout = ON_TIMEOUT_RERUN,
		.interruptible = true};
	struct meta_inode in;

	if (c->own.waits == STALE_WAITS || row_get(c->own.v, ino, &in) ||
		(!job_may_move(c->own.v->jobs, &in) && !dirty_soon(c->own.v, ino)))
		return 0;
	if (c->own.waits++ == 0)
		job_hurry(c->own.v->jobs, ino);
	if (call_arm(c, &w))
		call_armed(c);
	return 1;
}

int fetch_failed(struct vfs_call *c, struct vfs_node *n, errint_t r, bool may_restore)
{
	struct meta_inode in;

	if (r == FETCH_ARCHIVED) {
		c->own.r = 0;
		r = recall_wait(c, n->ino, may_restore);
		if (r)
			return r;
		if (++c->own.tries > 1)
			return -EIO;
		/* The index does not know yet. */
	} else if (r == -ESTALE) {
		node_unbind(n);
		if (stale_wait(c, n->ino))
			return 1;
		if (++c->own.tries > STALE_TRIES)
			return -ESTALE;
		if (c->own.tries == 1)
			return 0; /* moved meanwhile, most likely: the index knows where to */
	} else if (r == -ETIMEDOUT) {
		return 0; /* the fetch's time is over; this call may have joined it late */
	} else {
		return r == -ENOMEM || r == -ENOSPC || r == -EDQUOT ? r : -EIO;
	}
	r = row_get(c->own.v, n->ino, &in);
	if (r || !in.parent)
		return -ESTALE;
	return dir_list(c, in.parent);
}

/* ---- the rest of an orphan ---- */

void rest_run(struct pool_task *t)
{
	struct vfs_node *n = container_of(t, struct vfs_node, rest_task);
	struct vfs *v = n->v;
	uint64_t a, len, unit = bufs_size(v->conf.bufs) / STAGE_GRAIN * STAGE_GRAIN;
	struct span all = {0, UINT64_MAX};
	bool complete = false;

	atomic_store(&n->rest_posted, false);
	if (!atomic_load(&v->cancel) && !node_bind(v, n)) {
		stage_keep(node_sf(n));
		lock_take(&n->lock);
		held_drop_all(n);
		complete = !stage_missing(node_sf(n), 0, UINT64_MAX, &a, &len);
		n->io.rest =
			!complete && fetch_want_locked(v, n, 0, stage_size(node_sf(n)), &all, unit);
		lock_drop(&n->lock);
	}
	if (complete) {
		LOCKED(&v->open.lock);
		n->complete = true;
	}
	/* It may have been uploaded just now, and its holes come from the object since. */
	if (complete && stage_missing(node_sf(n), 0, UINT64_MAX, &a, &len))
		node_incomplete(v, n->ino);
	node_put(v, n);
	atomic_fetch_sub(&v->background, 1);
}

/* ---- read ---- */

/* Begins what is missing of [off, end), as far as it may; what is small needs no transfer buffer.
 */
static void range_fetch_locked(struct vfs *v, struct vfs_node *n, uint64_t off, uint64_t end)
{
	struct stage_file *sf = node_sf(n);
	uint64_t size = round_to(stage_size(sf), STAGE_GRAIN, true), a, len;
	uint64_t unit = MIN_OF(
		bufs_size(v->conf.bufs) / STAGE_GRAIN * STAGE_GRAIN, AHEAD_MAX + UINT64_C(0));

	off = round_to(off, ROUND, false);
	end = MIN_OF(round_to(end, ROUND, true), size);
	while (off < end && stage_missing(sf, off, end - off, &a, &len)) {
		if (covered_locked(v, n, a, &off)) {
			off = round_to(off, STAGE_GRAIN, true);
			continue;
		}
		if (end - a > SMALL_MAX ? !ahead_may(v, n, unit)
					: n->io.full || n->io.nfetches >= PATTERN_RANGES)
			return;
		off = limit_locked(n, a, MIN_OF(MIN_OF(a + len, end), a + unit));
		if (!fetch_start_locked(v, n, a, off, LANE_FOREGROUND))
			return;
	}
}

/* A hit in a sequential read keeps the window full. */
static void read_ahead_locked(
	struct vfs *v, struct vfs_node *n, struct pattern_stream *s, uint64_t end, uint64_t window)
{
	uint64_t unit = ahead_unit_locked(v, n, window);

	if (!window || end + window < s->asked + unit)
		return;
	ahead_locked(v, n, s, end, window);
	s->asked = round_to(end + window, unit, false);
}

/* What c's handle is read like by now, and what to have on its way because of it. Returns the
 * window to keep behind c's read, which waits for its own bytes unless it is a hit. */
static uint64_t read_plan(struct vfs_call *c, struct vfs_node *n, bool hit)
{
	struct vfs_handle *h = c->own.h;
	uint64_t off = c->own.off, len = c->own.size;
	struct pattern_plan plan;
	uint64_t end;
	bool ok;
	LOCKED(&n->lock);

	pattern_read(&h->pattern, off, len, stage_size(node_sf(n)), &plan);
	if (plan.begins) {
		ahead_stop_locked(h); /* at once; others' streams go on */
		stream_rest_locked(n);
	}
	stream_read_locked(n, off, off + len);
	plan.window = stream_window(c->own.v, n, plan.window);
	if (plan.n && !hit)
		want(c->own.v, n, off, len, &ok, &end); /* before what may follow */
	for (unsigned i = 0; i < plan.n; i++)
		range_fetch_locked(c->own.v, n, plan.range[i].off, plan.range[i].end);
	if (hit)
		read_ahead_locked(c->own.v, n, plan.stream, off + len, plan.window);
	c->own.stream = plan.stream;
	return plan.window;
}

/* What was got and is in memory. False: it has to be looked for elsewhere. */
static bool read_held(struct vfs_call *c, struct vfs_node *n)
{
	if (node_bind(c->own.v, n) || !held_read(c, n))
		return false;
	if (c->own.phase == 0)
		(void)read_plan(c, n, true);
	read_seen(c->own.h, c->len);
	call_done(c, 0);
	return true;
}

/* The bytes from the object that `in` names, past staging. */
static errint_t read_object(struct vfs_call *c, struct vfs_node *n, const struct meta_inode *in,
	bool once, struct err *err)
{
	struct vfs *v = c->own.v;
	struct store_call sc = {.deadline_mono_ns = clock_mono_ns() + v->conf.io_deadline_ns,
		.cancel = &v->cancel,
		.front = true,
		.once = once};
	char names[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	struct store_obj obj;
	size_t got = 0;
	errint_t r;

	c->len = 0;
	if (c->own.off >= in->size)
		return 0;
	r = remote_obj(remote_by_id(v, in->loc.remote), in->loc.path, names, &obj);
	if (r)
		return r;
	c->own.mem = malloc(c->own.size);
	if (!c->own.mem)
		return -ENOMEM;
	r = store_get(remote_by_id(v, in->loc.remote)->st, &sc, obj, in->loc.etag, c->own.off,
		c->own.mem, c->own.size, &got, err);
	if (r) {
		free(steal_ptr(&c->own.mem));
		return r;
	}
	atomic_fetch_add(&n->cloud_bytes, got);
	c->data = c->own.mem;
	c->len = got;
	return 0;
}

struct gap { /* in what is staged */
	struct vfs_call *c;
	const struct meta_inode *in;
	struct err *err;
};

static errint_t gap_get(void *arg, uint64_t off, void *p, size_t len)
{
	struct gap *g = arg;
	struct vfs *v = g->c->own.v;
	struct store_call sc = {.deadline_mono_ns = clock_mono_ns() + v->conf.io_deadline_ns,
		.cancel = &v->cancel,
		.front = true};
	const struct remote *remote = remote_by_id(v, g->in->loc.remote);
	char names[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	struct store_obj obj;
	errint_t r = remote_obj(remote, g->in->loc.path, names, &obj);

	for (size_t done = 0, got = 0; !r && done < len; done += got) {
		r = store_get(remote->st, &sc, obj, g->in->loc.etag, off + done, (char *)p + done,
			len - done, &got, g->err);
		if (!r && !got)
			r = err_set(g->err, -EIO, ERR_RETRY, "the object ends too soon");
	}
	return r;
}

/* The same of a file that was changed: what is here is mixed with what the object has. */
static errint_t read_mixed(
	struct vfs_call *c, struct vfs_node *n, const struct meta_inode *in, struct err *err)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct gap g = {.c = c, .in = in, .err = err};
	char etag[128];
	uint64_t size;
	errint_t r;

	stage_base_get(node_sf(n), etag, &size);
	if ((in->flags & has) != has || strcmp(etag, in->loc.etag) != 0)
		return -ESTALE; /* soon they agree: rebase_wait() */
	c->own.mem = malloc(MAX_OF(c->own.size, 1u));
	if (!c->own.mem)
		return -ENOMEM;
	r = stage_read_with(node_sf(n), c->own.off, c->own.mem, c->own.size, &c->len, gap_get, &g);
	if (r)
		free(steal_ptr(&c->own.mem));
	c->data = c->own.mem;
	return r;
}

/* Staging is full of what must not go: the bytes are handed through. At the remote. */
static errint_t read_through(struct vfs_call *c, struct vfs_node *n)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	struct err err = {0};
	errint_t r = row_get(v, n->ino, &in);

	if (r)
		return -ESTALE;
	if (!remote_by_id(v, in.loc.remote))
		return -EIO;
	if ((in.flags & META_F_DIRTY) || stage_dirty(node_sf(n)))
		r = read_mixed(c, n, &in, &err);
	else
		r = read_object(c, n, &in, false, &err);
	if (!r || r == -ENOMEM || (r == -ESTALE && err.kind == ERR_NONE))
		return r;
	read_tell(v, &in, r, &err);
	return err.kind == ERR_STALE || err.kind == ERR_NOT_FOUND ? -ESTALE : -EIO;
}

/* Between the end of an upload and what staging knows of it they name different versions; and
 * somebody else may have made another, which is listed soon. Then it begins anew. */
static bool rebase_wait(struct vfs_call *c)
{
	const struct call_wait w = {.kind = WAIT_TIME,
		.timeout_ns = REBASE_PAUSE_NS,
		.on_timeout = ON_TIMEOUT_RERUN,
		.interruptible = true};
	int64_t now = clock_mono_ns();

	if (!c->own.off2) {
		c->own.off2 = (uint64_t)(now + c->own.v->conf.io_deadline_ns);
		(void)dirty_soon(c->own.v, c->own.h->n->ino);
		job_hurry(c->own.v->jobs, c->own.h->n->ino);
	}
	if (now >= (int64_t)c->own.off2)
		return false;
	c->own.r = 0;
	if (call_arm(c, &w))
		call_armed(c);
	return true;
}

/* A store that is as near as staging is read itself, in the caller's thread as staging is: a copy
 * would cost more than it saves. False: by staging, which also knows what to do about errors. */
static bool read_near(struct vfs_call *c, struct vfs_node *n)
{
	const uint32_t has = META_F_OBJECT | META_F_BASE;
	struct vfs *v = c->own.v;
	const struct remote *remote;
	struct meta_inode in;

	if (stage_holds(v->conf.stage, n->ino))
		return false;
	for (unsigned i = 0; i < 2; i++) { /* moved meanwhile: the index knows where to */
		struct err err = {0};

		if (row_get(v, n->ino, &in) || (in.flags & has) != has ||
			(in.flags & (META_F_DIRTY | META_F_ARCHIVED)))
			return false;
		remote = remote_by_id(v, in.loc.remote);
		if (!remote || !remote->caps.near)
			return false;
		if (!read_object(c, n, &in, true, &err))
			return true;
	}
	return false;
}

/* Bookkeeping of a read that was answered. */
void read_seen(struct vfs_handle *h, uint64_t bytes)
{
	atomic_store_explicit(&h->read_seen, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->bytes_read, bytes, memory_order_relaxed);
}

static void run_read(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_handle *h = c->own.h;
	struct vfs_node *n = h->n;
	uint64_t miss_off = 0, miss_len = 0;
	int r = c->own.r;

	if (!r && c->own.phase == 0 && read_near(c, n)) {
		read_seen(h, c->len);
		call_done(c, 0);
		return;
	}
	if ((!r || r == -ENOSPC || r == -EDQUOT) && read_held(c, n))
		return;
	if (r == -ENOSPC || r == -EDQUOT) {
		if (!call_is_at_remote(c)) {
			call_at_remote(c, node_dep_remote(v, n));
			return;
		}
		r = read_through(c, n);
		if (r == -ESTALE && rebase_wait(c))
			return;
		if (!r)
			read_seen(h, c->len);
		call_done(c, r);
		return;
	}
	if (r < 0)
		r = fetch_failed(c, n, r, !h->no_recall);
	if (r == 1)
		return;
	c->own.r = 0;
	if (!r)
		r = node_bind(v, n);
	if (!r) {
		c->own.mem = malloc(c->own.size + 1);
		r = c->own.mem ? stage_read(node_sf(n), c->own.off, c->own.mem, c->own.size,
					 &c->len, &miss_off, &miss_len)
			       : -ENOMEM;
	}
	if (c->own.phase == 0 && (!r || r == -ENODATA)) {
		c->own.size2 = read_plan(c, n, !r);
		if (!c->own.off && !atomic_exchange(&h->begun, true))
			siblings_read(v, h->ino, r == -ENODATA);
	}
	c->own.phase = 1;
	if (r == -ENODATA) {
		free(steal_ptr(&c->own.mem)); /* hundreds may wait */
		fetch_wait(c, n, c->own.off, c->own.size, c->own.size2);
		return;
	}
	if (!r) {
		c->data = c->own.mem;
		read_seen(h, c->len);
	}
	call_done(c, r);
}

void vfs_read(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off, size_t size)
{
	assert(h && h->n);
	call_begin(v, c, run_read);
	c->own.h = h;
	c->own.off = off;
	c->own.off2 = 0;
	c->own.size = size;
	c->own.size2 = 0;
	c->data = NULL;
	c->len = 0;
	if (!h->readable)
		call_done(c, -EBADF);
	else
		run_read(c);
}
