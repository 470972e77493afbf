/* SPDX-License-Identifier: MIT */
/*
 * Stats layer, outermost: counts calls, failures, bytes and time of each operation, for this
 * stack and for the process. Lock-free; readers may see a call half counted. Keeps the last failure
 * that is the remote's, for status.
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

static const struct store_ops stats_ops;

struct stats {
	struct store store;
	struct {
		_Atomic uint64_t calls, errors, bytes, us;
	} op[OP_N];
	atomic_int trouble_op; /* of the kept failure; OP_N = none */
	struct lock lock;
	struct {
		struct store_trouble trouble;
	} s; /* lock */
};

/* It says something of the remote; others say it of an object, or of what was asked. */
static bool is_trouble(
	enum store_op op, const struct store_call *c, errint_t r, const struct err *err)
{
	bool listing = op == OP_list || op == OP_bucket_list;

	if (!listing && op != OP_get && op != OP_head && op != OP_put && op != OP_part_put &&
		op != OP_remove && op != OP_copy)
		return false;
	switch (err->kind) {
	case ERR_AUTH:
	case ERR_RETRY:
	case ERR_THROTTLE:
	case ERR_UNKNOWN:
		/* why the breaker opened is known, and says more */
		return !(c && c->once) && strcmp(err->code, STORE_CODE_BREAKER) != 0;
	case ERR_NOT_FOUND: /* the bucket */
		return listing;
	case ERR_CANCELLED:
		return r == -ETIMEDOUT && !(c && c->once) &&
		       strcmp(err->code, STORE_CODE_LIMIT) != 0;
	case ERR_STALE:
	case ERR_ARCHIVED:
		return false;
	default:
		return listing || r == -EACCES || r == -EPERM || r == -EIO;
	}
}

static void trouble_note(struct stats *t, enum store_op op, const char *key,
	const struct store_call *c, errint_t r, const struct err *err)
{
	struct store_trouble *tr = &t->s.trouble;

	if (r ? !is_trouble(op, c, r, err) : atomic_load(&t->trouble_op) != (int)op)
		return;
	LOCKED(&t->lock);
	if (!r && atomic_load(&t->trouble_op) != (int)op)
		return; /* another kind failed meanwhile */
	atomic_store(&t->trouble_op, r ? (int)op : OP_N);
	tr->r = r;
	if (!r)
		return;
	tr->when_ns = clock_now_ns();
	tr->op = store_op_name(op);
	(void)snprintf(tr->key, sizeof(tr->key), "%s", key ? key : "");
	(void)snprintf(tr->text, sizeof(tr->text), "%s", err_text(err, r));
}

void store_trouble(struct store *s, struct store_trouble *ret)
{
	struct stats *t = (struct stats *)store_layer_find(s, &stats_ops);

	ret->r = 0;
	if (!t)
		return;
	LOCKED(&t->lock);
	*ret = t->s.trouble;
}

static void note(struct stats *t, enum store_op op, const struct store_sink *sink, errint_t r,
	uint64_t bytes, int64_t start)
{
	bool ended = sink && sink->stopped; /* by who reads: no fault of the store's */
	uint64_t us = (uint64_t)(clock_mono_ns() - start) / 1000;

	atomic_fetch_add_explicit(&t->op[op].calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->op[op].us, us, memory_order_relaxed);
	count_inc(store_requests);
	if (op == OP_list)
		count_inc(list_pages);
	if (r && !ended) {
		atomic_fetch_add_explicit(&t->op[op].errors, 1, memory_order_relaxed);
		count_inc(store_errors);
	}
	if (!bytes || (r && !sink))
		return;
	atomic_fetch_add_explicit(&t->op[op].bytes, bytes, memory_order_relaxed);
	if (op == OP_get)
		count_add(store_bytes_in, bytes);
	else
		count_add(store_bytes_out, bytes);
}

#define X(opn, key, want, done, cond, params, args)                                                \
	static errint_t stats_##opn(                                                               \
		struct store *s, const struct store_call *c, UNP params, struct err *err)          \
	{                                                                                          \
		int64_t start = clock_mono_ns();                                                   \
		struct err own = {0};                                                              \
		errint_t r;                                                                        \
                                                                                                   \
		err = err ? err : &own;                                                            \
		r = store_pass_##opn(s, c, UNP args, err);                                         \
                                                                                                   \
		note((struct stats *)s, OP_##opn, c ? c->sink : NULL, r, done, start);             \
		trouble_note((struct stats *)s, OP_##opn, key, c, r, err);                         \
		return r;                                                                          \
	}
STORE_OPS(X)
#undef X

static void stats_destroy(struct store *s)
{
	lock_done(&((struct stats *)s)->lock);
	free(s);
}

static const struct store_ops stats_ops = {
	.name = "stats",
	.caps = store_pass_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = stats_##opn,
	STORE_OPS(X)
#undef X
		.destroy = stats_destroy,
};

struct store *store_stats_new(struct store *inner)
{
	struct stats *t = calloc(1, sizeof(*t));

	assert(inner);
	if (!t)
		return store_destroy(inner);
	t->store = (struct store){&stats_ops, inner};
	atomic_store(&t->trouble_op, OP_N);
	lock_init(&t->lock, RANK_STORE, "stats");
	return &t->store;
}

void store_stats_each(struct store *s,
	void (*fn)(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
		uint64_t total_us),
	void *arg)
{
	struct stats *t = (struct stats *)store_layer_find(s, &stats_ops);

	assert(fn);
	if (!t)
		return;
	for (unsigned i = 0; i < OP_N; i++)
		fn(arg, store_op_name(i),
			atomic_load_explicit(&t->op[i].calls, memory_order_relaxed),
			atomic_load_explicit(&t->op[i].errors, memory_order_relaxed),
			atomic_load_explicit(&t->op[i].bytes, memory_order_relaxed),
			atomic_load_explicit(&t->op[i].us, memory_order_relaxed));
}
