/* SPDX-License-Identifier: MIT */
/* Transfer buffers: lanes, runs, memory that goes back, many threads on two buffers. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_pool.h"

static void lanes(void **state)
{
	struct bufs *b = bufs_new(3, 5000);
	void *p[3];

	assert_non_null(b);
	assert_int_equal(bufs_size(b), 5000);
	assert_int_equal(bufs_count(b), 3);
	p[0] = bufs_try_take(b, true);
	p[1] = bufs_try_take(b, true);
	assert_non_null(p[0]);
	assert_non_null(p[1]);
	assert_ptr_not_equal(p[0], p[1]);
	assert_int_equal(bufs_free(b), 1);
	assert_null(bufs_try_take(b, true)); /* the last one is for the others */
	p[2] = bufs_try_take(b, false);
	assert_non_null(p[2]);
	assert_null(bufs_try_take(b, false));
	for (int i = 0; i < 3; i++) {
		memset(p[i], i + 1, 5000);
		assert_int_equal((uintptr_t)p[i] % 4096, 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(((char *)p[i])[4999], i + 1);
		bufs_give(b, p[i]);
	}
	assert_int_equal(bufs_free(b), 3);
	bufs_destroy(b);
	bufs_destroy(NULL);
}

/* Two share a buffer, which is free when both gave theirs back; what is left of one goes first. */
static void halves(void **state)
{
	struct bufs *b = bufs_new(2, 16384);
	char *p[4];

	assert_int_equal(bufs_half(b), 8192);
	assert_null(bufs_try_half(b, true));
	p[0] = bufs_try_half(b, false);
	assert_non_null(p[0]);
	assert_int_equal(bufs_free(b), 1);
	p[1] = bufs_try_half(b, true);
	assert_ptr_equal(p[1], p[0] + 8192);
	p[2] = bufs_try_half(b, false);
	p[3] = bufs_try_half(b, false);
	assert_int_equal(bufs_free(b), 0);
	assert_null(bufs_try_half(b, false));
	assert_null(bufs_try_take(b, false));
	for (int i = 0; i < 4; i++)
		memset(p[i], i + 1, 8192);
	for (int i = 0; i < 4; i++)
		assert_true(p[i][0] == i + 1 && p[i][8191] == i + 1);
	bufs_give(b, p[1]);
	assert_ptr_equal(bufs_try_half(b, false), p[1]);
	bufs_give(b, p[0]);
	bufs_give(b, p[3]);
	assert_int_equal(bufs_free(b), 0);
	bufs_give(b, p[1]);
	assert_int_equal(bufs_free(b), 1);
	bufs_give(b, p[2]);
	assert_int_equal(bufs_free(b), 2);
	bufs_destroy(b);
}

/* Two that are adjacent, wherever they are; given back one by one. */
static void twos(void **state)
{
	struct bufs *b = bufs_new(5, 8192), *gaps = bufs_new(4, 5000);
	char *p[5], *two;

	assert_null(bufs_try_two(gaps));
	bufs_destroy(gaps);
	for (int i = 0; i < 5; i++)
		p[i] = bufs_try_take(b, false);
	assert_null(bufs_try_two(b));
	for (int i = 0; i < 5; i += 2)
		bufs_give(b, p[i]);
	assert_null(bufs_try_two(b));
	bufs_give(b, p[3]);
	two = bufs_try_two(b);
	assert_ptr_equal(two, p[2]);
	assert_int_equal(bufs_free(b), 2);
	memset(two, 7, 16384);
	assert_null(bufs_try_two(b));
	bufs_give(b, two + 8192);
	assert_int_equal(bufs_free(b), 3);
	assert_ptr_equal(bufs_try_two(b), two + 8192);
	bufs_give(b, two + 16384);
	bufs_give(b, two + 8192);
	bufs_give(b, two);
	bufs_give(b, p[1]);
	assert_int_equal(bufs_free(b), 5);
	for (int i = 0; i < 5; i++)
		assert_non_null(p[i] = bufs_try_take(b, false));
	for (int i = 0; i < 5; i++)
		bufs_give(b, p[i]);
	bufs_destroy(b);
}

/* Several in a row: what is free at once, the others as they come back, and nobody takes them. */
static void runs(void **state)
{
	struct bufs *b = bufs_new(8, 4096);
	void *p[8], *run = NULL, *more = NULL;
	int one, two;

	assert_int_equal(bufs_run_max(b), 6 * 4096);
	for (int i = 0; i < 8; i++)
		p[i] = bufs_try_take(b, false);
	bufs_give(b, p[7]);
	bufs_give(b, p[0]);
	assert_int_equal(bufs_try_run(b, 3 * 4096 - 1, &one, &run), -EAGAIN);
	assert_int_equal(bufs_try_run(b, 4096, &two, &run), -EBUSY);
	bufs_give_run(b, &two); /* not its own */
	assert_int_equal(bufs_free(b), 1);
	bufs_give(b, p[6]);
	assert_int_equal(bufs_free(b), 1);
	p[0] = bufs_try_take(b, false);
	assert_null(bufs_try_take(b, false));
	assert_int_equal(bufs_try_run(b, 3 * 4096, &one, &run), -EAGAIN);
	bufs_give(b, p[5]);
	assert_int_equal(bufs_try_run(b, 3 * 4096, &one, &run), 0);
	assert_ptr_equal(run, MIN_OF(MIN_OF(p[5], p[6]), p[7]));
	memset(run, 1, 3 * 4096);
	bufs_give_run(b, &one);
	assert_int_equal(bufs_free(b), 3);
	/* given up before all were back */
	assert_int_equal(bufs_try_run(b, 6 * 4096, &two, &more), -EAGAIN);
	assert_int_equal(bufs_free(b), 0);
	bufs_give(b, p[4]);
	bufs_give_run(b, &two);
	assert_int_equal(bufs_free(b), 4);
	for (int i = 0; i < 4; i++)
		bufs_give(b, p[i]);
	assert_int_equal(bufs_free(b), 8);
	bufs_destroy(b);
	b = bufs_new(3, 5000); /* with gaps between them */
	assert_int_equal(bufs_run_max(b), 0);
	bufs_destroy(b);
}

/* A run is had although others take and give single ones all the time. */
static void *take_and_give(void *arg)
{
	struct bufs *b = arg;

	for (int i = 0; i < 20000; i++) {
		char *p = bufs_try_take(b, true);

		if (!p)
			continue;
		p[0] = 1;
		bufs_give(b, p);
	}
	return NULL;
}

static void runs_are_not_starved(void **state)
{
	struct bufs *b = bufs_new(6, 4096);
	pthread_t t[4];
	void *run = NULL;
	int had = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, take_and_give, b);
	for (int i = 0; i < 200; i++) {
		while (bufs_try_run(b, 4 * 4096, &had, &run))
			sched_yield();
		memset(run, i, 4 * 4096);
		had++;
		bufs_give_run(b, &had);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(bufs_free(b), 6);
	bufs_destroy(b);
}

static size_t resident(const void *p, size_t len)
{
	unsigned char v[256];
	size_t pages = len / 4096, n = 0;

	assert_true(pages <= sizeof(v));
	assert_int_equal(mincore((void *)(uintptr_t)p, len, v), 0);
	for (size_t i = 0; i < pages; i++)
		n += v[i] & 1;
	return n;
}

static void memory_goes_back(void **state)
{
	enum { SIZE = 256 * 4096 };
	struct bufs *b = bufs_new(4, SIZE);
	void *p[4];

	for (int i = 0; i < 4; i++) {
		p[i] = bufs_try_take(b, false);
		assert_int_equal(resident(p[i], SIZE), 0); /* not before it is used */
		memset(p[i], 1, SIZE);
		assert_int_equal(resident(p[i], SIZE), 256);
	}
	for (int i = 0; i < 4; i++)
		bufs_give(b, p[i]);
	/* Just used: stays. */
	assert_int_equal(resident(p[0], SIZE), 256);
	bufs_trim(b, 3600 * NS_PER_S);
	assert_int_equal(resident(p[0], SIZE), 256);
	/* The warmest is taken first. */
	assert_ptr_equal(bufs_try_take(b, false), p[3]);
	bufs_trim(b, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(resident(p[i], SIZE), 0);
	assert_int_equal(resident(p[3], SIZE), 256);
	assert_int_equal(bufs_free(b), 3);
	bufs_give(b, p[3]);
	assert_ptr_equal(bufs_try_take(b, false), p[3]);
	/* On its own, after a second's rest. */
	p[0] = bufs_try_take(b, false);
	memset(p[0], 1, SIZE);
	bufs_give(b, p[0]);
	usleep(1100000);
	bufs_give(b, p[3]);
	assert_int_equal(resident(p[0], SIZE), 0);
	assert_int_equal(resident(p[3], SIZE), 256);
	bufs_destroy(b);
}

/* ---- many jobs, two buffers, two workers ---- */

struct job {
	struct pool_task task;
	struct pool *pool;
	struct bufs *bufs;
	bool background;
	int left;
	_Atomic int *done;
};

static _Atomic int held_now, held_background;

static void job_run(struct pool_task *t)
{
	struct job *j = container_of(t, struct job, task);
	char *p = bufs_try_take(j->bufs, j->background);

	if (!p) {
		pool_post_at(j->pool, t, clock_mono_ns() + NS_PER_MS / 10);
		return;
	}
	if (atomic_fetch_add(&held_now, 1) >= 2)
		abort();
	if (j->background && atomic_fetch_add(&held_background, 1) >= 1)
		abort();
	memset(p, j->left, 4096);
	if (j->left % 8 == 0)
		usleep(50);
	for (int i = 0; i < 4096; i++) {
		if (p[i] != (char)j->left)
			abort();
	}
	if (j->background)
		atomic_fetch_sub(&held_background, 1);
	atomic_fetch_sub(&held_now, 1);
	bufs_give(j->bufs, p);
	if (--j->left > 0)
		(void)pool_post(j->pool, t);
	else
		atomic_fetch_add(j->done, 1);
}

static void many_take_turns(void **state)
{
	enum { N = 40 };
	static struct job jobs[N];
	struct pool *p = pool_new(3, "test");
	struct bufs *b = bufs_new(2, 4096);
	int64_t end = clock_mono_ns() + 60 * NS_PER_S;
	_Atomic int done = 0;

	for (int i = 0; i < N; i++) {
		jobs[i] = (struct job){
			.pool = p, .bufs = b, .background = i % 2, .left = 100, .done = &done};
		pool_task_init(&jobs[i].task, i % 2 ? LANE_BACKGROUND : LANE_FOREGROUND, job_run);
		pool_post(p, &jobs[i].task);
	}
	while (atomic_load(&done) < N) {
		if (clock_mono_ns() > end)
			fail_msg("%d of %d jobs ended", atomic_load(&done), N);
		bufs_trim(b, 0); /* in their way, as a timer would be */
		usleep(300);
	}
	pool_destroy(p);
	assert_int_equal(bufs_free(b), 2);
	bufs_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes),
		cmocka_unit_test(halves),
		cmocka_unit_test(twos),
		cmocka_unit_test(runs),
		cmocka_unit_test(runs_are_not_starved),
		cmocka_unit_test(memory_goes_back),
		cmocka_unit_test(many_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
