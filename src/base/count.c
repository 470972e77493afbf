/* SPDX-License-Identifier: MIT */
/* The counters of the process: relaxed atomics, one row each in COUNT_LIST. Any thread. */
#include "astra/base_count.h"

#include <assert.h>
#include <stdatomic.h>

static _Atomic uint64_t counts[COUNT_N];

static const struct {
	const char *name, *help;
} rows[COUNT_N] = {
#define X(name, help) {#name, help},
	COUNT_LIST(X)
#undef X
};

void count_add_(enum count_id id, uint64_t n)
{
	assert((unsigned)id < COUNT_N);
	atomic_fetch_add_explicit(&counts[id], n, memory_order_relaxed);
}

uint64_t count_get(enum count_id id)
{
	assert((unsigned)id < COUNT_N);
	return atomic_load_explicit(&counts[id], memory_order_relaxed);
}

const char *count_name(enum count_id id)
{
	assert((unsigned)id < COUNT_N);
	return rows[id].name;
}

const char *count_help(enum count_id id)
{
	assert((unsigned)id < COUNT_N);
	return rows[id].help;
}
