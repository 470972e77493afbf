/* SPDX-License-Identifier: MIT */
/*
 * Retry layer: repeats what failed and may be repeated, with full-jitter exponential back-off, a
 * budget, and a circuit breaker, so that a dead remote costs its callers little.
 *
 * What may be repeated: after ERR_RETRY and ERR_THROTTLE (the request had no effect) everything.
 * After ERR_UNKNOWN (the answer was lost) only what says the same twice: never a write with a
 * condition, parts_finish, or the making and removing of buckets, for the second try would meet
 * the first one's work and take it for somebody else's; nor parts_begin, whose first upload nobody
 * would end. Those return ERR_UNKNOWN, and so does anything else whose last try failed after one
 * whose answer was lost.
 *
 * Budget: each repeat takes from it, each success gives back; empty, failures are returned as they
 * come. So a remote that fails half of the time is not asked twice as much.
 *
 * Breaker: closed -> (BREAK_AFTER attempts in a row that were not answered) -> open: calls fail at
 * once -> (after a pause that doubles) half-open: one call tries -> closed or open again. Any
 * answer, also "no", counts as answered.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_lock.h"
#include "layer.h"

#define DELAY_NS_MAX	   (10 * NS_PER_S)
#define RETRIES_DAMAGED	   3 /* what keeps arriving wrong was sent wrong */
#define BUDGET_MAX	   500
#define BUDGET_RETRY	   2
#define BREAK_AFTER	   12
#define BREAK_PAUSE_NS	   (1 * NS_PER_S)
#define BREAK_PAUSE_NS_MAX (30 * NS_PER_S)

enum breaker { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct retry {
	struct store store;
	struct store_retry_conf conf;
	struct lock lock; /* all below */
	int budget;
	enum breaker breaker;
	unsigned failed;    /* attempts in a row without an answer */
	int64_t open_until; /* mono */
	int64_t pause_ns;
};

struct attempt {	 /* one call, over its repeats */
	unsigned n;	 /* repeats made */
	bool maybe_done; /* the answer of one was lost */
	bool probe;	 /* this call is the one that tries a half-open breaker */
};

/* ---- breaker ---- */

static errint_t breaker_enter(struct retry *t, struct attempt *a, struct err *err)
{
	int64_t now = clock_mono_ns();

	LOCKED(&t->lock);
	if (t->breaker == BREAKER_CLOSED || a->probe)
		return 0;
	if (t->breaker == BREAKER_OPEN && now >= t->open_until) {
		t->breaker = BREAKER_HALF_OPEN;
		a->probe = true;
		return 0;
	}
	err_set(err, -EIO, ERR_RETRY, "the remote does not answer; it is asked again in a moment");
	if (err)
		(void)snprintf(err->code, sizeof(err->code), "%s", STORE_CODE_BREAKER);
	if (err && t->breaker == BREAKER_OPEN)
		err->retry_after_ms = (unsigned)((t->open_until - now) / NS_PER_MS) + 1;
	return -EIO;
}

/* What may take minutes is no probe: others would wait for its end. */
static errint_t breaker_leave(struct retry *t, struct attempt *a, struct err *err)
{
	LOCKED(&t->lock);
	t->breaker = BREAKER_OPEN;
	t->open_until = clock_mono_ns();
	a->probe = false;
	err_set(err, -EIO, ERR_RETRY, "the remote has to answer a smaller request first");
	if (err)
		(void)snprintf(err->code, sizeof(err->code), "%s", STORE_CODE_BREAKER);
	return -EIO;
}

/* Whether the other side said anything. */
static bool answered(errint_t r, const struct err *err)
{
	if (!r)
		return true;
	switch (err->kind) {
	case ERR_RETRY:
	case ERR_UNKNOWN:
		return err->http_status != 0 || r == -EBADMSG;
	case ERR_CANCELLED:
		return false;
	default:
		return true;
	}
}

static void breaker_note(struct retry *t, struct attempt *a, errint_t r, const struct err *err)
{
	/* The caller's flag or our own limits: nothing that the remote did. */
	bool cancelled = r == -ECANCELED ||
			 (r && err->kind == ERR_CANCELLED && !strcmp(err->code, STORE_CODE_LIMIT));

	LOCKED(&t->lock);
	if (answered(r, err)) {
		t->failed = 0;
		t->pause_ns = 0;
		t->breaker = BREAKER_CLOSED;
		if (!r && t->budget < BUDGET_MAX)
			t->budget++;
	} else if (!cancelled) {
		t->failed++;
		if (a->probe || (t->breaker == BREAKER_CLOSED && t->failed >= BREAK_AFTER)) {
			t->pause_ns = t->pause_ns ? MIN_OF(2 * t->pause_ns, BREAK_PAUSE_NS_MAX)
						  : BREAK_PAUSE_NS;
			t->open_until = clock_mono_ns() + t->pause_ns;
			t->breaker = BREAKER_OPEN;
		}
	} else if (a->probe) {
		t->breaker = BREAKER_OPEN; /* the probe was called off: the next call tries */
		t->open_until = clock_mono_ns();
	}
	a->probe = false;
}

/* ---- repeating ---- */

static bool may_repeat(enum store_op op, bool cond, const struct err *err)
{
	switch (err->kind) {
	case ERR_RETRY:
	case ERR_THROTTLE:
		return true;
	case ERR_UNKNOWN:
		return store_op_reads(op) || !cond;
	default:
		return false;
	}
}

/* Full jitter: anything up to the bound, which doubles. */
static int64_t delay_ns(const struct retry *t, const struct attempt *a, const struct err *err)
{
	int64_t bound = t->conf.delay_ns, least = (int64_t)err->retry_after_ms * NS_PER_MS;

	for (unsigned i = 0; i < a->n && bound < DELAY_NS_MAX; i++)
		bound *= 2;
	bound = MIN_OF(bound, DELAY_NS_MAX);
	if (bound <= 0)
		return least;
	return least + (int64_t)(random_u64() % (uint64_t)bound);
}

/* True: waited, try again. *r is the answer otherwise. */
static bool again(struct retry *t, const struct store_call *c, enum store_op op, bool cond,
	struct attempt *a, errint_t *r, struct err *err)
{
	struct err waiting;
	int64_t until;

	breaker_note(t, a, *r, err);
	if (!*r)
		return false;
	if (err->kind == ERR_UNKNOWN && !store_op_reads(op))
		a->maybe_done = true;
	if (c->once || !may_repeat(op, cond, err) ||
		a->n >= (*r == -EBADMSG ? MIN_OF(t->conf.retries, RETRIES_DAMAGED)
					: t->conf.retries))
		return false;
	until = clock_mono_ns() + delay_ns(t, a, err);
	if (c->deadline_mono_ns && until >= c->deadline_mono_ns)
		return false; /* what went wrong says more than "timed out" */
	{
		LOCKED(&t->lock);
		if (t->budget < BUDGET_RETRY)
			return false;
		t->budget -= BUDGET_RETRY;
	}
	if (call_sleep_until(c, until, &waiting)) {
		if (!a->maybe_done) {
			*err = waiting;
			*r = waiting.kind == ERR_CANCELLED && c->cancel && atomic_load(c->cancel)
				     ? -ECANCELED
				     : -ETIMEDOUT;
		}
		return false;
	}
	a->n++;
	if (c->repeats)
		(void)atomic_fetch_add(c->repeats, 1);
	count_inc(store_retries);
	count_inc(store_requests);
	err_clear(err);
	return true;
}

static errint_t finish(enum store_op op, const struct attempt *a, errint_t r, struct err *err)
{
	if (!r || !a->maybe_done)
		return r;
	/* The thing is gone: by the try whose answer was lost, or by somebody who wanted the
	 * same. */
	if (r == -ENOENT && (op == OP_remove || op == OP_parts_abort))
		return 0;
	if (err->kind != ERR_UNKNOWN) {
		err->kind = ERR_UNKNOWN;
		return err_wrap(err, r, "an earlier try may have been done");
	}
	return r;
}

#define X(opn, key, want, done, cond, params, args)                                                \
	static errint_t retry_##opn(                                                               \
		struct store *s, const struct store_call *c, UNP params, struct err *err)          \
	{                                                                                          \
		struct retry *t = (struct retry *)s;                                               \
		struct attempt a = {0};                                                            \
		errint_t r;                                                                        \
                                                                                                   \
		do {                                                                               \
			r = breaker_enter(t, &a, err);                                             \
			if (r)                                                                     \
				break;                                                             \
			r = store_pass_##opn(s, c, UNP args, err);                                 \
		} while (again(t, c, OP_##opn, cond, &a, &r, err));                                \
		return finish(OP_##opn, &a, r, err);                                               \
	}
#define retry_get retry_get_plain /* get is below */
STORE_OPS(X)
#undef retry_get
#undef X

/* What was taken is not asked for again, and the rest must be of the same version. */
static errint_t retry_get_sink(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, size_t len, size_t *ret_len, struct err *err)
{
	struct retry *t = (struct retry *)s;
	struct store_call call = *c;
	struct attempt a = {0};
	size_t taken;
	errint_t r;

	do {
		taken = (size_t)c->sink->taken;
		r = breaker_enter(t, &a, err);
		if (!r && a.probe)
			r = breaker_leave(t, &a, err);
		if (r)
			break;
		r = store_pass_get(s, c, o, if_match, off + taken, NULL, len - taken, ret_len, err);
		taken = (size_t)c->sink->taken;
		call.once |= taken == len || (taken && !if_match);
	} while (again(t, &call, OP_get, false, &a, &r, err));
	*ret_len = (size_t)c->sink->taken;
	return r;
}

/* A reader may already use the bytes that came before the failure, so those are neither fetched
 * again nor overwritten, and the rest must be of the same version. */
static errint_t retry_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct retry *t = (struct retry *)s;
	struct attempt a = {0};
	uint64_t have;
	size_t got = 0;
	errint_t r;

	if (c->sink)
		return retry_get_sink(s, c, o, if_match, off, len, ret_len, err);
	if (!c->progress)
		return retry_get_plain(s, c, o, if_match, off, p, len, ret_len, err);
	do {
		r = breaker_enter(t, &a, err);
		if (r)
			return r;
		r = store_pass_get(s, c, o, if_match, off, p, len, ret_len, err);
		have = atomic_load_explicit(&c->progress->have, memory_order_acquire);
	} while (!(r && have) && again(t, c, OP_get, false, &a, &r, err));
	if (!r || !have)
		return r;
	breaker_note(t, &a, r, err);
	if (!if_match || have > len || !may_repeat(OP_get, false, err) || !t->conf.retries ||
		c->once)
		return r;

	struct store_call quiet = *c;

	quiet.progress = NULL;
	r = retry_get_plain(s, &quiet, o, if_match, off + have, (uint8_t *)p + have,
		len - (size_t)have, &got, err);
	*ret_len = r ? 0 : (size_t)have + got;
	return r;
}

static void retry_destroy(struct store *s)
{
	struct retry *t = (struct retry *)s;

	lock_done(&t->lock);
	free(t);
}

static const struct store_ops retry_ops = {
	.name = "retry",
	.caps = store_pass_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = retry_##opn,
	STORE_OPS(X)
#undef X
		.destroy = retry_destroy,
};

struct store *store_retry_new(struct store *inner, const struct store_retry_conf *conf)
{
	struct retry *t = calloc(1, sizeof(*t));

	assert(inner);
	if (!t)
		return store_destroy(inner);
	t->store = (struct store){&retry_ops, inner};
	t->conf = *conf;
	t->budget = BUDGET_MAX;
	lock_init(&t->lock, RANK_STORE, "retry");
	return &t->store;
}

const char *store_breaker_state(struct store *s)
{
	static const char *const names[] = {"closed", "open", "half-open"};
	struct retry *t = (struct retry *)store_layer_find(s, &retry_ops);

	if (!t)
		return names[BREAKER_CLOSED];
	LOCKED(&t->lock);
	return names[t->breaker];
}
