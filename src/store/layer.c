/* SPDX-License-Identifier: MIT */
/*
 * What all layers use: the pass-through of each operation, names of operations, and waiting that
 * a caller's deadline and cancel flag end early. No state, any thread.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "layer.h"

#define CANCEL_POLL_NS (10 * NS_PER_MS) /* how late a cancel flag may be seen while sleeping */

#define X(opn, key, want, done, cond, params, args)                                                \
	errint_t store_pass_##opn(                                                                 \
		struct store *s, const struct store_call *c, UNP params, struct err *err)          \
	{                                                                                          \
		assert(s->inner);                                                                  \
		if (!s->inner->ops->opn)                                                           \
			return err_set(err, -EOPNOTSUPP, ERR_FINAL, "%s: not supported by %s",     \
				#opn, s->inner->ops->name);                                        \
		return s->inner->ops->opn(s->inner, c, UNP args, err);                             \
	}
STORE_OPS(X)
#undef X

void store_pass_caps(struct store *s, struct store_caps *ret)
{
	s->inner->ops->caps(s->inner, ret);
}

void store_pass_describe(struct store *s, struct buf *ret)
{
	s->inner->ops->describe(s->inner, ret);
}

static const char *const op_names[OP_N] = {
#define X(opn, key, want, done, cond, params, args) #opn,
	STORE_OPS(X)
#undef X
};

const char *store_op_name(enum store_op op)
{
	assert(op < OP_N);
	return op_names[op];
}

errint_t store_op_parse(const char *s, size_t len, enum store_op *ret)
{
	for (unsigned i = 0; i < OP_N; i++) {
		if (strlen(op_names[i]) == len && !memcmp(op_names[i], s, len)) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

bool store_op_reads(enum store_op op)
{
	switch (op) {
	case OP_head:
	case OP_get:
	case OP_list:
	case OP_parts_list:
	case OP_parts_pending:
	case OP_bucket_list:
	case OP_lifecycle_get:
		return true;
	default:
		return false;
	}
}

struct store *store_layer_find(struct store *s, const struct store_ops *ops)
{
	while (s && s->ops != ops)
		s = s->inner;
	return s;
}

errint_t call_check(const struct store_call *c, struct err *err)
{
	if (c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed))
		return err_set(err, -ECANCELED, ERR_CANCELLED, "cancelled");
	if (c->deadline_mono_ns && clock_mono_ns() >= c->deadline_mono_ns)
		return err_set(err, -ETIMEDOUT, ERR_CANCELLED, "not done within its deadline");
	return 0;
}

errint_t call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err)
{
	for (;;) {
		errint_t r = call_check(c, err);
		int64_t now = clock_mono_ns(), until = mono_ns;

		if (r)
			return r;
		if (now >= mono_ns)
			return 0;
		if (c->deadline_mono_ns)
			until = MIN_OF(until, c->deadline_mono_ns);
		if (c->cancel)
			until = MIN_OF(until, now + CANCEL_POLL_NS);

		struct timespec ts = {until / NS_PER_S, until % NS_PER_S};

		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

struct store_call call_fill(const struct store_call *c, int64_t default_ns)
{
	struct store_call r = c ? *c : (struct store_call){0};

	if (!r.deadline_mono_ns)
		r.deadline_mono_ns = clock_mono_ns() + default_ns;
	return r;
}
