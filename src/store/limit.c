/* SPDX-License-Identifier: MIT */
/*
 * Limit layer: requests at a time, requests per second, bytes per second, each optional. A call
 * waits its turn no longer than its deadline and cancel flag allow, and then fails with
 * ERR_CANCELLED: it was not sent. Rates are kept as the moment at which the next request, or
 * byte, is due; up to a burst of what was not used is saved. A call that is made once (call.once)
 * does not wait at all.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "layer.h"

#define BURST_NS       (NS_PER_S / 4)
#define CANCEL_POLL_NS (20 * NS_PER_MS)

struct limit {
	struct store store;
	struct store_limit_conf conf;
	struct lock lock; /* all below */
	pthread_cond_t cond;
	unsigned running;
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

/* A place among those running. */
static errint_t place_take(struct limit *t, const struct store_call *c, struct err *err)
{
	errint_t r = 0;

	if (!t->conf.max_requests)
		return 0;
	LOCKED(&t->lock);
	while (t->running >= t->conf.max_requests) {
		int64_t until = c->deadline_mono_ns;

		r = c->once ? no_room(err) : call_check(c, err);
		if (r)
			return r;
		if (c->cancel)
			until = MIN_OF(until, clock_mono_ns() + CANCEL_POLL_NS);
		(void)cond_wait_until(&t->cond, &t->lock, until);
	}
	t->running++;
	return 0;
}

static void place_give(struct limit *t)
{
	if (!t->conf.max_requests)
		return;
	LOCKED(&t->lock);
	assert(t->running);
	t->running--;
	(void)pthread_cond_signal(&t->cond);
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
	struct err *err)
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
	return r ? r : place_take(t, c, err);
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
		errint_t r = enter(t, c, OP_##opn, want, err);                                     \
                                                                                                   \
		if (r)                                                                             \
			return not_sent(r, err);                                                   \
		r = store_pass_##opn(s, c, UNP args, err);                                         \
		place_give(t);                                                                     \
		return r;                                                                          \
	}
STORE_OPS(X)
#undef X

static void limit_destroy(struct store *s)
{
	struct limit *t = (struct limit *)s;

	assert(!t->running);
	(void)pthread_cond_destroy(&t->cond);
	lock_done(&t->lock);
	free(t);
}

static const struct store_ops limit_ops = {
	.name = "limit",
	.caps = store_pass_caps,
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
	cond_init(&t->cond);
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

void store_budget_join(struct store *s, struct store_budget *b, money_t read, money_t write)
{
	struct limit *t = (struct limit *)store_layer_find(s, &limit_ops);

	if (!t)
		return;
	t->budget = b;
	t->read_cost = read;
	t->write_cost = write;
}
