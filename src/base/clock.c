/* SPDX-License-Identifier: MIT */
/* Clocks and randomness, at one place so that tests can move the wall clock. Any thread. */
#include "astra/base_clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static _Atomic int64_t skew_ns;

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	/* Fails only for a clock that the kernel lacks. */
	if (clock_gettime(id, &ts))
		abort();
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_REALTIME) + atomic_load_explicit(&skew_ns, memory_order_relaxed);
}

int64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_ns_of(int64_t s)
{
	const int64_t most = INT64_MAX / NS_PER_S - 1; /* with room for a fraction */

	return (s > most ? most : s < -most ? -most : s) * NS_PER_S;
}

void clock_skew_add(int64_t delta_ns)
{
	atomic_fetch_add_explicit(&skew_ns, delta_ns, memory_order_relaxed);
}

void random_bytes(void *p, size_t len)
{
	unsigned char *at = p;

	while (len) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			/* Without randomness identifiers would collide; no way on. */
			abort();
		}
		at += n;
		len -= (size_t)n;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v;
}
