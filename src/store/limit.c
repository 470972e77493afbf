/* SPDX-License-Identifier: MIT */
/*
 * Limit layer: requests at a time, requests per second, bytes per second, each optional. A call
 * waits its turn no longer than its deadline and cancel flag allow, and then fails with
 * ERR_CANCELLED: it was not sent. Rates are kept as the moment at which the next request, or
 * byte, is due; up to a burst of what was not used is saved. A call that is made once (call.once)
 * does not wait at all.
 *
 * Requests at a time: what is configured is never exceeded; where the remote is a network away,
 * what it bears is found out below that (adapt.c). Calls that somebody waits for (call.front) go
 * first, and may use a reserve beyond what was found out; of the others one is always under way, so
 * that neither keeps the other out.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_lock.h"
#include "astra/base_log.h"
#include "adapt.h"
#include "layer.h"

#define BURST_NS       (NS_PER_S / 4)
#define CANCEL_POLL_NS (20 * NS_PER_MS)
#define SMALL_BYTES    (64u << 10) /* more than that takes its own time */
#define FRONT_SHARE    4	   /* the reserve: a fourth of the limit, but ... */
#define FRONT_LEAST    2
#define TELL_BY	       1.5 /* so much more or less is told */

struct limit {
	struct store store;
	struct store_limit_conf conf;
	struct lock lock; /* all below */
	struct turns {
		pthread_cond_t cond;
		unsigned running, waiting;
	} turns[2]; /* by call.front */
	struct adapt adapt;
	unsigned told;			      /* the limit when it was last told */
	uint64_t refused;		      /* requests */
	int64_t request_due_ns, bytes_due_ns; /* mono */
	atomic_uint paused;		      /* calls with bytes to send that wait for these */
	struct store_budget *budget;	      /* NULL = none; set before use, as the prices */
	money_t read_cost, write_cost;
};

/* When a call may start; takes its share. -1: not before the deadline, or not at once. */
static int64_t share_take(struct limit *t, const struct store_call *c, uint64_t bytes)
{
	int64_t now = clock_mono_ns(), at = now;
	int64_t request = 0, byte = 0;

	LOCKED(&t->lock);
	if (t->conf.requests_per_second) {
		request = MAX_OF(t->request_due_ns, now - BURST_NS);
		at = MAX_OF(at, request);
	}
	if (t->conf.bandwidth && bytes) {
		byte = MAX_OF(t->bytes_due_ns, now - BURST_NS);
		at = MAX_OF(at, byte);
	}
	if ((c->once && at > now) || (c->deadline_mono_ns && at >= c->deadline_mono_ns))
		return -1;
	if (request)
		t->request_due_ns = request + NS_PER_S / (int64_t)t->conf.requests_per_second;
	if (byte)
		t->bytes_due_ns = byte + (int64_t)((double)bytes * (double)NS_PER_S /
						   (double)t->conf.bandwidth);
	return at;
}

static errint_t no_room(struct err *err)
{
	return err_set(err, -ETIMEDOUT, ERR_CANCELLED,
		"the limits of this remote leave no room before the deadline");
}

static bool counts(const struct limit *t)
{
	return t->conf.max_requests || t->conf.adapts;
}

static bool place_free_locked(const struct limit *t, bool front)
{
	unsigned running = t->turns[0].running + t->turns[1].running, limit;

	if (t->conf.max_requests && running >= t->conf.max_requests)
		return false;
	if (!front && !t->turns[false].running)
		return true;
	if (!front && t->turns[true].waiting)
		return false;
	if (!t->conf.adapts)
		return true;
	limit = adapt_limit(&t->adapt);
	if (front)
		limit += MAX_OF(limit / FRONT_SHARE, (unsigned)FRONT_LEAST);
	return running < limit;
}

/* Who may go on is told; he tells the next one. */
static void wake_locked(struct limit *t)
{
	lock_assert_held(&t->lock);
	for (unsigned i = 0; i < 2; i++)
		if (t->turns[i].waiting && place_free_locked(t, i))
			(void)pthread_cond_signal(&t->turns[i].cond);
}

/* A place among those running. */
static errint_t place_take(struct limit *t, const struct store_call *c, enum adapt_kind kind,
	struct adapt_call *ret, struct err *err)
{
	struct turns *turns = &t->turns[c->front];
	errint_t r = 0;

	if (!counts(t))
		return 0;
	LOCKED(&t->lock);
	while (!place_free_locked(t, c->front)) {
		int64_t until = c->deadline_mono_ns;

		r = c->once ? no_room(err) : call_check(c, err);
		if (r) {
			wake_locked(t); /* it may have been woken for a place */
			return r;
		}
		if (c->cancel)
			until = MIN_OF(until, clock_mono_ns() + CANCEL_POLL_NS);
		turns->waiting++;
		(void)cond_wait_until(&turns->cond, &t->lock, until);
		turns->waiting--;
	}
	turns->running++;
	wake_locked(t);
	adapt_sent(
		&t->adapt, ret, kind, t->turns[0].running + t->turns[1].running, clock_mono_ns());
	return 0;
}

static void tell_locked(struct limit *t, bool refused)
{
	unsigned now = adapt_limit(&t->adapt);

	if (now < t->told * TELL_BY && t->told < now * TELL_BY)
		return;
	log_debug("store", "%s: %u requests at a time, %u before%s", t->conf.name, now, t->told,
		refused ? ": it refused more" : "");
	t->told = now;
}

static void place_give(struct limit *t, const struct store_call *c, const struct adapt_call *a,
	errint_t r, const struct err *err)
{
	bool refused = r && err->kind == ERR_THROTTLE;

	if (refused)
		count_inc(store_refused);
	if (!counts(t))
		return;
	LOCKED(&t->lock);
	assert(t->turns[c->front].running);
	t->refused += refused;
	adapt_answered(&t->adapt, a,
		refused ? ADAPT_REFUSED
		: r	? ADAPT_FAILED
			: ADAPT_DONE,
		t->turns[0].waiting || t->turns[1].waiting, clock_mono_ns());
	t->turns[c->front].running--;
	if (t->conf.adapts)
		tell_locked(t, refused);
	wake_locked(t);
}

/* By what it takes, when there is nothing in the way. */
static enum adapt_kind kind_of(enum store_op op, uint64_t bytes)
{
	if (bytes > SMALL_BYTES)
		return ADAPT_BULK;
	switch (op) {
	case OP_head:
	case OP_get:
		return ADAPT_READ;
	case OP_put:
		return ADAPT_WRITE;
	case OP_remove:
		return ADAPT_REMOVE;
	default:
		return ADAPT_BULK;
	}
}

/* Listings are priced as writes are. */
static errint_t spend(
	struct limit *t, const struct store_call *c, enum store_op op, struct err *err)
{
	if (!t->budget)
		return 0;
	return budget_spend(t->budget, c,
		store_op_reads(op) && op != OP_list ? t->read_cost : t->write_cost, err);
}

static errint_t enter(struct limit *t, const struct store_call *c, enum store_op op, uint64_t bytes,
	struct adapt_call *ret, struct err *err)
{
	bool sends = bytes && !store_op_reads(op);
	int64_t at;
	errint_t r = call_check(c, err);

	if (!r)
		r = spend(t, c, op, err);
	if (r)
		return r;
	at = share_take(t, c, bytes);
	if (at < 0)
		return no_room(err);
	(void)atomic_fetch_add(&t->paused, sends);
	r = call_sleep_until(c, at, err);
	(void)atomic_fetch_sub(&t->paused, sends);
	return r ? r : place_take(t, c, kind_of(op, bytes), ret, err);
}

/* Marks a call that was not sent: it says nothing about the remote's health. */
static errint_t not_sent(errint_t r, struct err *err)
{
	if (err)
		snprintf(err->code, sizeof(err->code), "%s", STORE_CODE_LIMIT);
	return r;
}

#define X(opn, key, want, done, cond, params, args)                                                \
	static errint_t limit_##opn(                                                               \
		struct store *s, const struct store_call *c, UNP params, struct err *err)          \
	{                                                                                          \
		struct limit *t = (struct limit *)s;                                               \
		struct adapt_call a = {0};                                                         \
		errint_t r = enter(t, c, OP_##opn, want, &a, err);                                 \
                                                                                                   \
		if (r)                                                                             \
			return not_sent(r, err);                                                   \
		r = store_pass_##opn(s, c, UNP args, err);                                         \
		place_give(t, c, &a, r, err);                                                      \
		return r;                                                                          \
	}
STORE_OPS(X)
#undef X

static void limit_destroy(struct store *s)
{
	struct limit *t = (struct limit *)s;

	for (unsigned i = 0; i < 2; i++) {
		assert(!t->turns[i].running);
		(void)pthread_cond_destroy(&t->turns[i].cond);
	}
	lock_done(&t->lock);
	free(t);
}

#define SINK_REQUESTS_MIN 8

/* The bandwidth of a call is taken before it: of one that may take minutes that is no limit. And
 * one that waits for its reader is one of the few. */
static void limit_caps(struct store *s, struct store_caps *ret)
{
	const struct limit *t = (const struct limit *)s;

	store_pass_caps(s, ret);
	if (t->conf.bandwidth || (t->conf.max_requests && t->conf.max_requests < SINK_REQUESTS_MIN))
		ret->sinks = false;
}

static const struct store_ops limit_ops = {
	.name = "limit",
	.caps = limit_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = limit_##opn,
	STORE_OPS(X)
#undef X
		.destroy = limit_destroy,
};

struct store *store_limit_new(struct store *inner, const struct store_limit_conf *conf)
{
	struct limit *t = calloc(1, sizeof(*t));

	assert(inner);
	if (!t)
		return store_destroy(inner);
	t->store = (struct store){&limit_ops, inner};
	t->conf = *conf;
	lock_init(&t->lock, RANK_STORE, "limit");
	for (unsigned i = 0; i < 2; i++)
		cond_init(&t->turns[i].cond);
	adapt_init(&t->adapt, conf->max_requests ? conf->max_requests : STORE_REQUESTS_MOST,
		clock_mono_ns());
	t->told = adapt_limit(&t->adapt);
	return &t->store;
}

bool store_is_slowed(struct store *s)
{
	struct limit *t = (struct limit *)store_layer_find(s, &limit_ops);
	struct store_trouble tr;

	if (!t || !atomic_load(&t->paused))
		return false;
	store_trouble(s, &tr);
	return !tr.r;
}

void store_flow(struct store *s, struct store_flow *ret)
{
	struct limit *t = (struct limit *)store_layer_find(s, &limit_ops);

	*ret = (struct store_flow){0};
	if (!t || !counts(t))
		return;
	LOCKED(&t->lock);
	ret->limit = t->conf.adapts ? adapt_limit(&t->adapt) : t->conf.max_requests;
	ret->running = t->turns[0].running + t->turns[1].running;
	ret->waiting = t->turns[0].waiting + t->turns[1].waiting;
	ret->refused = t->refused;
}

void store_budget_join(struct store *s, struct store_budget *b, money_t read, money_t write)
{
	struct limit *t = (struct limit *)store_layer_find(s, &limit_ops);

	if (!t)
		return;
	t->budget = b;
	t->read_cost = read;
	t->write_cost = write;
}
