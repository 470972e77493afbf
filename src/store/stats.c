/* SPDX-License-Identifier: MIT */
/*
 * Stats layer, outermost: counts calls, failures, bytes and time of each operation, for this
 * stack and for the process. Lock-free; readers may see a call half counted.
 */
#include <assert.h>
#include <stdlib.h>

#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "layer.h"

struct stats {
	struct store store;
	struct {
		_Atomic uint64_t calls, errors, bytes, us;
	} op[OP_N];
};

static void note(struct stats *t, enum store_op op, errint_t r, uint64_t bytes, int64_t start)
{
	uint64_t us = (uint64_t)(clock_mono_ns() - start) / 1000;

	atomic_fetch_add_explicit(&t->op[op].calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->op[op].us, us, memory_order_relaxed);
	count_inc(store_requests);
	if (op == OP_list)
		count_inc(list_pages);
	if (r) {
		atomic_fetch_add_explicit(&t->op[op].errors, 1, memory_order_relaxed);
		count_inc(store_errors);
		return;
	}
	if (!bytes)
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
		errint_t r = store_pass_##opn(s, c, UNP args, err);                                \
                                                                                                   \
		note((struct stats *)s, OP_##opn, r, done, start);                                 \
		return r;                                                                          \
	}
STORE_OPS(X)
#undef X

static void stats_destroy(struct store *s)
{
	free(s);
}

static const struct store_ops stats_ops = {
	.name = "stats",
	.caps = store_pass_caps,
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
