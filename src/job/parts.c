/* SPDX-License-Identifier: MIT */
/*
 * The parts of one transfer, side by side: a link with a long way fills only when several are on
 * it. The job's step is the first lane and sends all of them if it has to; further lanes are tasks
 * of the same share, each with a buffer of the pool, and only as far as buffers are plenty. Lanes
 * take the next part until none is left or one has failed. Nobody waits for a lane that gets no
 * worker: it is taken back.
 *
 * A large file takes hours, so that what a further lane uses is lent for one part: then it gives
 * its buffer back and goes behind the other tasks of the share. It ends when others wait for
 * a buffer or a worker; the first lane looks before each part whether there may be more again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "move_priv.h"

#define SUM_AT_ONCE (128u << 10)

/* Bytes [off, off+len) of the source object into p. */
static errint_t get_all(struct parts *x, const struct store_call *c, uint64_t off, char *p,
	size_t len, struct err *err)
{
	size_t done = 0;

	while (done < len) {
		size_t got = 0;
		errint_t r = store_get(x->src.st, c, x->src.o, x->spec->src_etag, off + done,
			p + done, len - done, &got, err);

		if (r < 0)
			return r;
		if (got == 0)
			return err_set(err, -EIO, ERR_RETRY, "'%s' ended at %llu of %llu bytes",
				x->spec->src, (unsigned long long)(off + done),
				(unsigned long long)x->spec->size);
		done += got;
	}
	return 0;
}

struct fill { /* of gaps in what is staged */
	struct parts *x;
	const struct store_call *call;
	struct err *err;
};

static errint_t fill_gap(void *arg, uint64_t off, void *p, size_t len)
{
	struct fill *g = arg;

	if (!g->x->has_src)
		return err_set(g->err, -EIO, ERR_FINAL,
			"staging lacks bytes that no cloud has: see `astra doctor`");
	return get_all(g->x, g->call, off, p, len, g->err);
}

/* What is staged, and from the base what is not. */
static errint_t fill_staged(struct parts *x, const struct store_call *c, uint64_t off, char *p,
	size_t len, struct err *err)
{
	struct fill g = {.x = x, .call = c, .err = err};
	size_t got = 0;
	errint_t r;

	err->kind = ERR_NONE;
	r = stage_read_with(x->staged, off, p, len, &got, fill_gap, &g);
	if (r < 0 && err->kind == ERR_NONE)
		return err_set(err, r, ERR_FINAL, "staging: %s", strerror(-r));
	if (r == 0 && got < len)
		return err_set(err, -EAGAIN, ERR_RETRY, "it became shorter meanwhile");
	return r;
}

errint_t parts_fill(struct parts *x, const struct store_call *c, uint64_t off, char *p, size_t len,
	struct err *err)
{
	return x->staged != NULL ? fill_staged(x, c, off, p, len, err)
				 : get_all(x, c, off, p, len, err);
}

/* A part that can be copied on the server: untouched, and the base covers it. */
static bool part_clean(struct parts *x, uint64_t off, uint64_t len)
{
	uint64_t d = 0, dl = 0, base = 0;
	char etag[META_ETAG_MAX];

	if (!x->has_src || x->src.st != x->dst.st || !x->caps.part_copy)
		return false;
	if (x->staged == NULL)
		return true;
	stage_base_get(x->staged, etag, &base);
	if (x->spec->src_etag == NULL || strcmp(etag, x->spec->src_etag) != 0 || off + len > base)
		return false;
	return !stage_next_dirty(x->staged, off, &d, &dl) || d >= off + len;
}

errint_t parts_gone(struct parts *x, errint_t r, struct err *err)
{
	if (r < 0 && err->kind == ERR_NOT_FOUND) {
		atomic_store(&x->gone, true);
		err->kind = ERR_RETRY;
		return err_wrap(err, -EAGAIN, "the parts sent so far are gone");
	}
	return r;
}

/* ---- lanes ---- */

/* What is here is summed while the processor has it at hand, and its writer is held up for a moment
 * only; what comes from a store comes in one request. */
static errint_t fill_and_sum(
	struct lane *l, uint64_t off, size_t len, uint32_t *ret_crc, struct err *err)
{
	struct parts *x = l->x;
	uint64_t a, b;
	size_t most = x->staged != NULL && !stage_missing(x->staged, off, len, &a, &b) ? SUM_AT_ONCE
										       : len;
	errint_t r = 0;

	*ret_crc = 0;
	for (size_t at = 0, n = 0; r == 0 && at < len; at += n) {
		n = MIN_OF(most, len - at);
		r = parts_fill(x, &l->call, off + at, l->buf + at, n, err);
		if (r == 0)
			*ret_crc = crc32c(*ret_crc, l->buf + at, n);
	}
	return r;
}

static errint_t one_part(struct lane *l, uint64_t off, size_t len, struct err *err)
{
	struct parts *x = l->x;
	size_t i = (size_t)(off / x->part_size);
	struct store_part *p = &x->parts[i];
	struct sum *sum = &x->sums[i], had = *sum;
	unsigned number = (unsigned)i + 1;
	uint64_t seq = x->ahead != NULL ? stage_seq(x->staged) : 0; /* before its bytes are read */
	errint_t r = 0;

	sum->there = false;
	if (part_clean(x, off, len)) {
		r = store_part_copy(x->src.st, &l->call, x->src.o, x->spec->src_etag, off, len,
			x->dst.o, x->id, number, p, err);
		sum->crc = p->crc32c;
		sum->known = p->has_crc32c;
	} else {
		r = fill_and_sum(l, off, len, &sum->crc, err);
		if (r < 0)
			return r;
		sum->known = true;
		r = parts_gone(x,
			store_part_put(x->dst.st, &l->call, x->dst.o, x->id, number, l->buf, len,
				sum->crc, p, err),
			err);
	}
	if (r < 0)
		return r;
	sum->there = true;
	sum->len = len;
	sum->seq = seq;
	if (!had.there) {
		(void)atomic_fetch_add(&x->job->bytes_done, len);
		(void)atomic_fetch_add(&x->job->parts_done, 1);
	}
	return 0;
}

static bool is_left_locked(const struct parts *x)
{
	lock_assert_held(&x->lock);
	return x->at.r == 0 && x->at.next < x->end;
}

static bool take_one(struct parts *x, uint64_t *ret_off)
{
	LOCKED(&x->lock);

	if (!is_left_locked(x))
		return false;
	*ret_off = x->at.next;
	x->at.next += x->part_size;
	return true;
}

static uint64_t part_len(const struct parts *x, uint64_t off)
{
	return MIN_OF(x->part_size, x->end - off);
}

/* An earlier step did not send it, or it was changed since; who writes to the same place again and
 * again has it sent twice. */
static bool is_due(const struct parts *x, uint64_t off)
{
	const struct sum *s = &x->sums[off / x->part_size];
	uint64_t len = part_len(x, off);

	if (!s->there)
		return true;
	return x->ahead->last && (s->len != len || stage_span_seq(x->staged, off, len) > s->seq);
}

static bool take_next(struct parts *x, uint64_t *ret_off)
{
	while (take_one(x, ret_off))
		if (is_due(x, *ret_off))
			return true;
	return false;
}

/* False: none is left, or one has failed. */
static bool next_part(struct lane *l)
{
	struct parts *x = l->x;
	struct err err = {0};
	uint64_t off = 0;

	if (!take_next(x, &off))
		return false;
	errint_t r = one_part(l, off, (size_t)part_len(x, off), &err);

	if (r == 0)
		return true;
	LOCKED(&x->lock);
	if (x->at.r == 0) {
		x->at.r = r;
		x->at.err = err;
	}
	return false;
}

static void lane_post_locked(struct lane *l)
{
	struct parts *x = l->x;

	lock_assert_held(&x->lock);
	x->at.queued++;
	(void)pool_post(x->job->jobs->conf.pool, &l->task);
}

/* Something is left, and nobody else waits for the worker that l has. */
static bool lane_may(struct lane *l)
{
	struct parts *x = l->x;
	LOCKED(&x->lock);

	x->at.queued--;
	return is_left_locked(x) && pool_share_queued(x->job->jobs->conf.pool, l->task.share,
					    l->task.lane) <= x->at.queued;
}

static void lane_task(struct pool_task *t)
{
	struct lane *l = container_of(t, struct lane, task);
	struct parts *x = l->x;
	bool more = false;

	l->buf = lane_may(l) ? buffer_more(x->job) : NULL;
	if (l->buf != NULL) {
		more = next_part(l);
		buffer_give(x->job, l->buf, false);
	}
	LOCKED(&x->lock);
	if (more && is_left_locked(x)) {
		lane_post_locked(l);
		return;
	}
	l->posted = false;
	x->at.busy--;
	(void)pthread_cond_signal(&x->over);
}

static void lanes_init(struct parts *x)
{
	for (unsigned i = 0; i < PART_LANES; i++) {
		struct lane *l = &x->lanes[i];

		*l = (struct lane){.x = x, .call = x->call};
		pool_task_init(&l->task, LANE_BACKGROUND, lane_task);
		pool_task_share(&l->task, x->job->g.share->pool);
	}
	x->lanes[0].buf = x->buf;
}

/* As many besides the first as there are parts for. */
static void lanes_start(struct parts *x)
{
	struct jobs *j = x->job->jobs;

	if (x->part_size > bufs_size(j->conf.bufs) || !buffers_plenty(x->job))
		return;
	LOCKED(&x->lock);
	for (unsigned i = 1; i < PART_LANES && is_left_locked(x); i++) {
		struct lane *l = &x->lanes[i];

		if (l->posted)
			continue;
		if (x->end - x->at.next <= (x->at.busy + 1) * x->part_size)
			break;
		l->posted = true;
		x->at.busy++;
		lane_post_locked(l);
	}
}

/* None posts itself again: nothing is left, or a part has failed. */
static void lanes_end(struct parts *x)
{
	LOCKED(&x->lock);

	for (unsigned i = 1; i < PART_LANES; i++)
		x->at.busy -= pool_cancel(x->job->jobs->conf.pool, &x->lanes[i].task);
	while (x->at.busy > 0)
		cond_wait(&x->over, &x->lock);
}

static errint_t send_all(struct parts *x, struct err *err)
{
	x->at.next = 0;
	x->at.busy = x->at.queued = 0;
	x->at.r = 0;
	lock_init(&x->lock, RANK_JOB_PARTS, "job.parts");
	cond_init(&x->over);
	lanes_init(x);
	do
		lanes_start(x);
	while (next_part(&x->lanes[0]));
	lanes_end(x);
	(void)pthread_cond_destroy(&x->over);
	lock_done(&x->lock);
	if (x->at.r < 0)
		*err = x->at.err;
	return x->at.r;
}

static void sum_up(struct parts *x)
{
	uint64_t left = x->end;

	x->crc = 0;
	for (unsigned i = 0; i < x->nparts; i++) {
		uint64_t len = MIN_OF(x->part_size, left);

		x->has_crc = x->has_crc && x->sums[i].known;
		x->crc = crc32c_combine(x->crc, x->sums[i].crc, len);
		left -= len;
	}
}

static errint_t parts_room(struct parts *x, struct err *err)
{
	struct ahead *a = x->ahead;
	errint_t r = 0;

	if (a != NULL) {
		r = ahead_fit(a, x->nparts);
		x->parts = a->parts;
		x->sums = a->sums;
	} else {
		x->parts = calloc(x->nparts, sizeof(*x->parts));
		x->sums = calloc(x->nparts, sizeof(*x->sums));
		r = x->parts == NULL || x->sums == NULL ? -ENOMEM : 0;
	}
	return r < 0 ? err_set(err, r, ERR_RETRY, "out of memory") : 0;
}

/* What an earlier step began goes on; another class since then is for a change of it afterwards. */
static errint_t parts_begin(struct parts *x, struct err *err)
{
	struct ahead *a = x->ahead;

	if (a != NULL && a->begun) {
		memcpy(x->id, a->id, sizeof(x->id));
		if (ahead_meta_stays(x))
			x->put.class_name = a->class_name[0] != '\0' ? a->class_name : NULL;
		return 0;
	}
	if (x->job->attempts > 1 || x->job->nonce != x->job->jobs->nonce)
		uploads_abort_own(x->job, &x->dst);
	x->put.part_size = x->part_size;
	errint_t r = store_parts_begin(x->dst.st, &x->call, x->dst.o, &x->put, x->id, err);

	if (r == 0)
		r = uploads_begun(x->job, x->spec->dst_remote, x->spec->dst, x->id, err);
	if (r < 0 || a == NULL)
		return r;
	memcpy(a->id, x->id, sizeof(a->id));
	a->begun = true;
	a->part_size = x->part_size;
	a->attrs_sum = x->job->own.attrs_sum;
	a->attrs_left = x->job->own.attrs_left;
	(void)snprintf(a->class_name, sizeof(a->class_name), "%s",
		x->put.class_name != NULL ? x->put.class_name : "");
	if (ahead_meta_stays(x)) {
		x->job->own.began_ns = clock_now_ns();
		x->job->own.began_mtime_ns = x->spec->attrs->mtime_ns;
	}
	return 0;
}

errint_t parts_send(struct parts *x, struct err *err)
{
	x->nparts = (unsigned)((x->end + x->part_size - 1) / x->part_size);
	if (x->job->kind != JOB_DIRMOVE) {
		LOCKED(&x->job->jobs->g.lock);
		x->job->g.part_size = x->part_size;
		x->job->g.parts_total = x->nparts;
	}
	errint_t r = parts_room(x, err);

	if (r == 0)
		r = parts_begin(x, err);
	if (r == 0)
		r = send_all(x, err);
	if (r == 0)
		sum_up(x);
	return r;
}
