/* SPDX-License-Identifier: MIT */
/* Time and randomness come through here, so that tests can steer them. Thread-safe. */
#ifndef ASTRA_BASE_CLOCK_H
#define ASTRA_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

int64_t clock_now_ns(void);  /* wall clock, ns since 1970 */
int64_t clock_mono_ns(void); /* monotonic: durations and deadlines only */

/* Of seconds since 1970, ns; what lies beyond the range becomes its nearest end. */
int64_t clock_ns_of(int64_t s);

/* As RFC 3339 has it: 2001-02-03T04:05:06.123456789Z, with any fraction, also with an offset; of
 * the years 1901 to 2259, else false. */
bool clock_date_parse(const char *s, int64_t *ret_ns);
#define CLOCK_DATE_LEN 31
void clock_date_format(int64_t ns, char ret[CLOCK_DATE_LEN]); /* to the nanosecond, in UTC */

/* Tests: adds delta to every later clock_now_ns(); the monotonic clock stays true. */
void clock_skew_add(int64_t delta_ns);

void random_bytes(void *p, size_t len); /* from the kernel; aborts if it cannot */
uint64_t random_u64(void);

#endif
