/* SPDX-License-Identifier: MIT */
/* What reads say about those that follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vfs/pattern.h"

#define KIB  UINT64_C(1024)
#define MIB  (KIB * 1024)
#define SIZE (1024 * MIB)

static struct pattern p;
static struct pattern_plan plan;

static int fresh(void **state)
{
	memset(&p, 0, sizeof(p));
	return 0;
}

static void reads(uint64_t off, uint64_t len)
{
	pattern_read(&p, off, len, SIZE, &plan);
}

static void test_forward(void **state)
{
	uint64_t before = 0;

	reads(0, 4 * KIB);
	assert_true(plan.begins && !plan.window && !plan.n);
	for (uint64_t at = 4 * KIB; at < 64 * KIB; at += 4 * KIB) {
		reads(at, 4 * KIB);
		assert_false(plan.begins);
		assert_true(plan.window >= before && plan.window >= 256 * KIB);
		before = plan.window;
	}
	assert_int_equal(plan.window, PATTERN_WINDOW_MAX);
	reads(512 * MIB, 4 * KIB); /* elsewhere */
	assert_true(plan.begins && !plan.window);
}

/* The kernel asks for two pieces at a time, and they come in any order. */
static void test_out_of_order(void **state)
{
	reads(0, MIB);
	assert_int_equal(plan.window, 8 * MIB);
	for (uint64_t at = MIB; at < 64 * MIB; at += 2 * MIB) {
		reads(at + MIB, MIB);
		assert_false(plan.begins);
		reads(at, MIB);
		assert_false(plan.begins);
		assert_true(plan.window);
	}
}

/* Parts of a file by threads: each goes on. */
static void test_streams(void **state)
{
	for (uint64_t i = 0; i < 16; i++) {
		for (uint64_t k = 0; k < PATTERN_STREAMS; k++) {
			reads(k * 100 * MIB + 3 * MIB + i * 128 * KIB, 128 * KIB);
			assert_true(i == 0 || !plan.begins);
			assert_int_equal(plan.window != 0, i != 0);
		}
	}
}

static void test_backward(void **state)
{
	uint64_t got = SIZE, at = 100 * MIB;

	for (unsigned i = 0; i < 100; i++) {
		at -= 128 * KIB;
		reads(at, 128 * KIB);
		assert_false(plan.window);
		if (!plan.n)
			continue;
		assert_int_equal(plan.n, 1);
		assert_true(plan.range[0].off < at && plan.range[0].end <= at);
		assert_true(got == SIZE || plan.range[0].end == got); /* joined, none twice */
		assert_true(at - plan.range[0].off <= 8 * MIB);
		got = plan.range[0].off;
	}
	assert_true(at - got >= 4 * MIB);
}

static void steps(int64_t step)
{
	uint64_t at = 500 * MIB;

	(void)fresh(NULL);
	for (unsigned i = 0; i < 10; i++, at += (uint64_t)step) {
		reads(at, 64 * KIB);
		assert_false(plan.window);
		if (i < 3)
			continue;
		assert_true(plan.n >= 4);
		for (unsigned k = 0; k < plan.n; k++) {
			assert_int_equal(plan.range[k].off, at + (k + 1) * (uint64_t)step);
			assert_int_equal(plan.range[k].end - plan.range[k].off, 64 * KIB);
		}
	}
}

static void test_steps(void **state)
{
	steps((int64_t)MIB);
	steps((int64_t)(512 * KIB));
	steps(-(int64_t)(3 * MIB));
	/* Large ones: no more than what is worth it. */
	(void)fresh(NULL);
	for (uint64_t i = 0; i < 8; i++)
		reads(i * 40 * MIB + MIB, 8 * MIB);
	assert_in_range(plan.n, 1, 2);
	/* Nothing behind the end, or before the start. */
	(void)fresh(NULL);
	for (uint64_t i = 6; i > 0; i--)
		reads(SIZE - i * 10 * MIB, 64 * KIB);
	assert_int_equal(plan.n, 0);
	(void)fresh(NULL);
	for (uint64_t i = 6; i > 0; i--)
		reads((i - 1) * 10 * MIB + 5, 64 * KIB);
	assert_int_equal(plan.n, 0);
}

/* An archive is opened: its end first. */
static void test_tail(void **state)
{
	reads(SIZE - 4 * KIB, 4 * KIB);
	assert_int_equal(plan.n, 1);
	assert_int_equal(plan.range[0].end, SIZE);
	assert_int_equal(plan.range[0].off, SIZE - 256 * KIB);
	reads(SIZE - 30 * KIB, 8 * KIB);
	assert_int_equal(plan.n, 0);
}

/* At random: nothing but what is asked for, with very few exceptions. */
static void test_random(void **state)
{
	uint64_t x = 88172645463325252u, more = 0;

	for (unsigned i = 0; i < 100000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		reads(x % (SIZE / (4 * KIB)) * (4 * KIB), 4 * KIB);
		more += plan.window;
		for (unsigned k = 0; k < plan.n; k++)
			more += plan.range[k].end - plan.range[k].off;
	}
	assert_true(more / 100000 < KIB); /* bytes for each read */
}

/* A stream goes on while others jump about. */
static void test_mixed(void **state)
{
	uint64_t x = 1234567;

	for (uint64_t i = 0; i < 200; i++) {
		reads(700 * MIB + i * 128 * KIB, 128 * KIB);
		assert_int_equal(plan.begins, i == 0);
		for (unsigned k = 0; k < 12 && i; k++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			reads(x >> 40 << 12 & (512 * MIB - 1), 4 * KIB);
		}
	}
}

#define T(fn) cmocka_unit_test_setup(fn, fresh)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_forward),
		T(test_out_of_order),
		T(test_streams),
		T(test_backward),
		T(test_steps),
		T(test_tail),
		T(test_random),
		T(test_mixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
