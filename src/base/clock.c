/* SPDX-License-Identifier: MIT */
/* Clocks and randomness, at one place so that tests can move the wall clock. Any thread. */
#include "astra/base_clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

bool clock_date_parse(const char *s, int64_t *ret_ns)
{
	struct tm tm = {0};
	const char *at = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t ns = 0, scale = NS_PER_S;
	unsigned hours = 0, minutes = 0;
	int n = 0;

	if (at == NULL || tm.tm_year < 1 || tm.tm_year >= 360)
		return false;
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++)
			if (scale > 1)
				ns += (*at - '0') * (scale /= 10);
	if (strcmp(at, "Z") != 0 &&
		((*at != '+' && *at != '-') ||
			sscanf(at + 1, "%2u:%2u%n", &hours, &minutes, &n) != 2 ||
			at[1 + n] != '\0'))
		return false;
	int64_t off = (int64_t)(hours * 60 + minutes) * 60;

	*ret_ns = clock_ns_of(timegm(&tm) - (*at == '-' ? -off : off)) + ns;
	return true;
}

void clock_date_format(int64_t ns, char ret[CLOCK_DATE_LEN])
{
	int64_t rest = ns % NS_PER_S;
	time_t s = (time_t)(ns / NS_PER_S);
	struct tm tm;

	if (rest < 0) {
		rest += NS_PER_S;
		s--;
	}
	/* All that 64 bits of nanoseconds reach has four digits in its year. */
	size_t n = strftime(ret, CLOCK_DATE_LEN, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));

	(void)snprintf(ret + n, CLOCK_DATE_LEN - n, ".%09uZ", (unsigned)rest);
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
