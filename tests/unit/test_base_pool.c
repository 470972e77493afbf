/* SPDX-License-Identifier: MIT */
/* Worker pool: lanes, timers, cancelling, tasks that post or free themselves, with 2 threads. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_pool.h"

#define PATIENCE_NS (20 * NS_PER_S)

/* Waits until *v is at least want; fails the test after long. */
static void await(_Atomic int *v, int want)
{
	int64_t end = clock_mono_ns() + PATIENCE_NS;

	while (atomic_load(v) < want) {
		if (clock_mono_ns() > end)
			fail_msg("%d of %d came", atomic_load(v), want);
		usleep(200);
	}
}

struct work {
	struct pool_task task;
	struct pool *pool;
	_Atomic int *entered, *gate; /* counts its entry, then waits for the gate */
	int left;
	int id;
};

static _Atomic int order[64], order_count;

static void work_run(struct pool_task *t)
{
	struct work *w = container_of(t, struct work, task);

	atomic_store(&order[atomic_fetch_add(&order_count, 1) % 64], w->id);
	if (w->entered)
		atomic_fetch_add(w->entered, 1);
	while (w->gate && !atomic_load(w->gate))
		usleep(200);
}

static void work_init(
	struct work *w, enum pool_lane lane, _Atomic int *entered, _Atomic int *gate, int id)
{
	memset(w, 0, sizeof(*w));
	pool_task_init(&w->task, lane, work_run);
	w->entered = entered;
	w->gate = gate;
	w->id = id;
}

static void all_posted_run(void **state)
{
	enum { N = 1000 };
	struct pool *p = pool_new(4, "test");
	struct work *w = calloc(N, sizeof(*w));
	_Atomic int ran = 0;

	assert_non_null(p);
	assert_non_null(w);
	assert_int_equal(pool_threads(p), 4);
	for (int i = 0; i < N; i++) {
		work_init(&w[i], i % LANE_COUNT, &ran, NULL, 0);
		assert_true(pool_post(p, &w[i].task));
	}
	await(&ran, N);
	assert_null(pool_destroy(p));
	assert_int_equal(atomic_load(&ran), N);
	free(w);
}

static void destroy_runs_what_is_queued(void **state)
{
	enum { N = 300 };
	struct pool *p = pool_new(2, "test");
	struct work w[N];
	_Atomic int ran = 0;

	for (int i = 0; i < N; i++) {
		work_init(&w[i], LANE_BACKGROUND, &ran, NULL, 0);
		pool_post(p, &w[i].task);
	}
	pool_destroy(p);
	assert_int_equal(atomic_load(&ran), N);
	assert_null(pool_destroy(NULL));
}

static void background_leaves_one_worker(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int bg = 0, fg = 0, gate = 0;
	struct work b[3], f;

	for (int i = 0; i < 3; i++) {
		work_init(&b[i], LANE_BACKGROUND, &bg, &gate, 0);
		pool_post(p, &b[i].task);
	}
	await(&bg, 1);
	usleep(20000);
	assert_int_equal(atomic_load(&bg), 1);
	assert_int_equal(pool_queued(p, LANE_BACKGROUND), 2);
	work_init(&f, LANE_FOREGROUND, &fg, NULL, 0);
	pool_post(p, &f.task);
	await(&fg, 1); /* though background work blocks */
	atomic_store(&gate, 1);
	await(&bg, 3);
	pool_destroy(p);
}

static void lanes_go_in_order(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int in = 0, gate = 0, ran = 0;
	struct work hold[2], w[9];

	/* Both workers are held while the queues fill. */
	for (int i = 0; i < 2; i++) {
		work_init(&hold[i], LANE_FOREGROUND, &in, &gate, 99);
		pool_post(p, &hold[i].task);
	}
	await(&in, 2);
	for (int i = 0; i < 9; i++) {
		work_init(&w[i], LANE_COUNT - 1 - i % LANE_COUNT, &ran, NULL, 0);
		w[i].id = w[i].task.lane;
		pool_post(p, &w[i].task);
	}
	assert_false(pool_post(p, &w[0].task)); /* queued already */
	atomic_store(&order_count, 0);
	atomic_store(&gate, 1);
	await(&ran, 9);
	pool_destroy(p);
	/* Two workers may swap neighbours, no more. */
	assert_int_equal(atomic_load(&order[0]), LANE_FOREGROUND);
	assert_int_equal(atomic_load(&order[8]), LANE_BACKGROUND);
}

/* Posts itself until left is 0. */
static void repost_run(struct pool_task *t)
{
	struct work *w = container_of(t, struct work, task);

	if (--w->left > 0)
		assert_true(pool_post(w->pool, t));
	else
		atomic_fetch_add(w->entered, 1);
}

/* Posts itself until the gate opens. */
static void flood_run(struct pool_task *t)
{
	struct work *w = container_of(t, struct work, task);

	if (!atomic_load(w->gate))
		assert_true(pool_post(w->pool, t));
	else
		atomic_fetch_add(w->entered, 1);
}

static void a_flood_does_not_stop_background(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int over = 0, ran = 0;
	struct work flood[8], b;

	/* Foreground work is there without end until background work has run. */
	for (int i = 0; i < 8; i++) {
		work_init(&flood[i], LANE_FOREGROUND, &over, &ran, 0);
		flood[i].task.fn = flood_run;
		flood[i].pool = p;
		pool_post(p, &flood[i].task);
	}
	work_init(&b, LANE_BACKGROUND, &ran, NULL, 0);
	pool_post(p, &b.task);
	await(&ran, 1);
	await(&over, 8);
	pool_destroy(p);
}

static void free_run(struct pool_task *t)
{
	struct work *w = container_of(t, struct work, task);
	_Atomic int *entered = w->entered;

	free(w);
	atomic_fetch_add(entered, 1);
}

static void tasks_may_free_themselves(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int ran = 0;

	for (int i = 0; i < 500; i++) {
		struct work *w = calloc(1, sizeof(*w));

		assert_non_null(w);
		pool_task_init(&w->task, i % LANE_COUNT, free_run);
		w->entered = &ran;
		if (i % 3)
			pool_post(p, &w->task);
		else
			pool_post_at(p, &w->task, clock_mono_ns() + i * NS_PER_MS / 10);
	}
	await(&ran, 500);
	pool_destroy(p);
}

struct timed {
	struct pool_task task;
	int64_t due, ran;
	_Atomic int *count;
};

static void timed_run(struct pool_task *t)
{
	struct timed *w = container_of(t, struct timed, task);

	w->ran = clock_mono_ns();
	atomic_fetch_add(w->count, 1);
}

static void timers_fire_when_due(void **state)
{
	enum { N = 200 };
	static struct timed w[N];
	struct pool *p = pool_new(2, "test");
	int64_t now = clock_mono_ns();
	_Atomic int ran = 0;

	for (int i = 0; i < N; i++) {
		pool_task_init(&w[i].task, LANE_FOREGROUND, timed_run);
		w[i].count = &ran;
		w[i].due = now + (int64_t)((unsigned)i * 7919 % 100) * NS_PER_MS;
		pool_post_at(p, &w[i].task, w[i].due);
	}
	await(&ran, N);
	pool_destroy(p);
	for (int i = 0; i < N; i++) {
		assert_true(w[i].ran >= w[i].due);
		assert_true(w[i].ran - w[i].due < 10 * NS_PER_S);
	}
}

static void a_nearer_timer_is_seen(void **state)
{
	struct pool *p = pool_new(2, "test");
	struct timed far, near;
	_Atomic int far_ran = 0, near_ran = 0;

	pool_task_init(&far.task, LANE_FOREGROUND, timed_run);
	far.count = &far_ran;
	pool_task_init(&near.task, LANE_BACKGROUND, timed_run);
	near.count = &near_ran;
	pool_post_at(p, &far.task, clock_mono_ns() + 3600 * NS_PER_S);
	usleep(10000);
	pool_post_at(p, &near.task, clock_mono_ns() + 5 * NS_PER_MS);
	await(&near_ran, 1);
	assert_int_equal(atomic_load(&far_ran), 0);
	/* Re-armed nearer, then posted at once. */
	pool_post_at(p, &far.task, clock_mono_ns() + 5 * NS_PER_MS);
	await(&far_ran, 1);
	pool_post_at(p, &far.task, clock_mono_ns() + 3600 * NS_PER_S);
	assert_true(pool_post(p, &far.task));
	await(&far_ran, 2);
	assert_false(pool_cancel(p, &far.task));
	/* Dropped by destroy. */
	pool_post_at(p, &far.task, clock_mono_ns() + 3600 * NS_PER_S);
	pool_destroy(p);
	assert_int_equal(atomic_load(&far_ran), 2);
}

static void timers_fire_while_workers_are_busy(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int in = 0, gate = 0, ran = 0;
	struct work hold;
	struct timed w[20];

	work_init(&hold, LANE_BACKGROUND, &in, &gate, 0);
	pool_post(p, &hold.task);
	await(&in, 1);
	for (int i = 0; i < 20; i++) {
		pool_task_init(&w[i].task, LANE_SYNC, timed_run);
		w[i].count = &ran;
		pool_post_at(p, &w[i].task, clock_mono_ns() + i % 5 * NS_PER_MS);
	}
	await(&ran, 20);
	atomic_store(&gate, 1);
	pool_destroy(p);
}

static void cancelled_tasks_do_not_run(void **state)
{
	struct pool *p = pool_new(2, "test");
	_Atomic int in = 0, gate = 0, ran = 0;
	struct work hold[2], w[10];
	struct timed late[50];

	for (int i = 0; i < 2; i++) {
		work_init(&hold[i], LANE_FOREGROUND, &in, &gate, 0);
		pool_post(p, &hold[i].task);
	}
	await(&in, 2);
	for (int i = 0; i < 10; i++) {
		work_init(&w[i], LANE_SYNC, &ran, NULL, 0);
		pool_post(p, &w[i].task);
	}
	for (int i = 0; i < 10; i += 2)
		assert_true(pool_cancel(p, &w[i].task));
	assert_false(pool_cancel(p, &w[0].task));
	assert_int_equal(pool_queued(p, LANE_SYNC), 5);
	assert_false(pool_cancel(p, &hold[0].task)); /* runs now */
	/* Timers out of the middle of the heap. */
	for (int i = 0; i < 50; i++) {
		pool_task_init(&late[i].task, LANE_SYNC, timed_run);
		late[i].count = &ran;
		pool_post_at(p, &late[i].task,
			clock_mono_ns() + (int64_t)(i * 37 % 50) * NS_PER_MS / 10);
	}
	for (int i = 0; i < 50; i++) {
		if (i % 5)
			assert_true(pool_cancel(p, &late[i].task));
	}
	atomic_store(&gate, 1);
	await(&ran, 15);
	usleep(20000);
	pool_destroy(p);
	assert_int_equal(atomic_load(&ran), 15);
}

/* Arms itself again and again, posting a helper between. */
static void tick_run(struct pool_task *t)
{
	struct work *w = container_of(t, struct work, task);

	if (--w->left > 0)
		pool_post_at(w->pool, t, clock_mono_ns() + w->left % 3 * NS_PER_MS / 4);
	else
		atomic_fetch_add(w->entered, 1);
}

static void mixed_load_on_two_threads_ends(void **state)
{
	enum { N = 60 };
	struct pool *p = pool_new(2, "test");
	static struct work w[N];
	_Atomic int over = 0;

	for (int i = 0; i < N; i++) {
		pool_task_init(&w[i].task, i % LANE_COUNT, i % 2 ? tick_run : repost_run);
		w[i].pool = p;
		w[i].entered = &over;
		w[i].left = 200;
		if (i % 4 == 1)
			pool_post_at(p, &w[i].task, clock_mono_ns() + NS_PER_MS);
		else
			pool_post(p, &w[i].task);
	}
	await(&over, N);
	pool_destroy(p);
}

struct poster {
	pthread_t thread;
	struct pool *pool;
	struct work w[50];
	_Atomic int ran;
};

static void *poster_main(void *arg)
{
	struct poster *o = arg;

	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 50; i++) {
			struct pool_task *t = &o->w[i].task;

			if ((i + round) % 3 == 0)
				pool_post_at(o->pool, t, clock_mono_ns() + i * 1000);
			else
				(void)pool_post(o->pool, t);
			if ((i + round) % 7 == 0)
				(void)pool_cancel(o->pool, t);
		}
	}
	/* Whatever came before, each runs once more. */
	for (int i = 0; i < 50; i++)
		(void)pool_post(o->pool, &o->w[i].task);
	return NULL;
}

static void many_threads_post_and_cancel(void **state)
{
	static struct poster o[4];
	struct pool *p = pool_new(3, "test");

	for (int i = 0; i < 4; i++) {
		o[i].pool = p;
		for (int k = 0; k < 50; k++)
			work_init(&o[i].w[k], k % LANE_COUNT, &o[i].ran, NULL, 0);
		assert_int_equal(pthread_create(&o[i].thread, NULL, poster_main, &o[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(o[i].thread, NULL);
	pool_destroy(p);
	for (int i = 0; i < 4; i++)
		assert_true(atomic_load(&o[i].ran) >= 50);
}

/* A share whose tasks all hang, twice as many as there are threads, leaves the others theirs. */
static void a_hung_share_leaves_the_others(void **state)
{
	struct pool *p = pool_new(2, "test");
	struct pool_share *hung = pool_share_new(p, 2), *also = pool_share_new(p, 1);
	_Atomic int entered = 0, others = 0, gate = 0;
	struct work h[6], a[3], c[4];

	assert_non_null(hung);
	assert_non_null(also);
	for (int i = 0; i < 6; i++) {
		work_init(&h[i], LANE_FOREGROUND, &entered, &gate, i);
		pool_task_share(&h[i].task, hung);
		assert_true(pool_post(p, &h[i].task));
	}
	await(&entered, 2);
	for (int i = 0; i < 3; i++) {
		work_init(&a[i], LANE_BACKGROUND, &others, NULL, i);
		pool_task_share(&a[i].task, also);
		pool_post(p, &a[i].task);
	}
	for (int i = 0; i < 4; i++) {
		work_init(&c[i], i % LANE_COUNT, &others, NULL, i);
		pool_post(p, &c[i].task);
	}
	await(&others, 7);
	assert_int_equal(atomic_load(&entered), 2); /* and no more than its max */
	assert_int_equal(pool_queued(p, LANE_FOREGROUND), 4);
	assert_true(pool_cancel(p, &h[5].task));
	atomic_store(&gate, 1);
	await(&entered, 5);
	pool_destroy(p);
	assert_int_equal(atomic_load(&entered), 5);
}

/* Of a share's max one is kept for what is not in the background, as of the common one. */
static void background_leaves_one_of_a_share(void **state)
{
	struct pool *p = pool_new(2, "test");
	struct pool_share *s = pool_share_new(p, 2);
	_Atomic int back = 0, fore = 0, gate = 0;
	struct work b[3], f;

	for (int i = 0; i < 3; i++) {
		work_init(&b[i], LANE_BACKGROUND, &back, &gate, i);
		pool_task_share(&b[i].task, s);
		pool_post(p, &b[i].task);
	}
	await(&back, 1);
	work_init(&f, LANE_SYNC, &fore, NULL, 9);
	pool_task_share(&f.task, s);
	pool_post(p, &f.task);
	await(&fore, 1);
	usleep(20000);
	assert_int_equal(atomic_load(&back), 1);
	atomic_store(&gate, 1);
	await(&back, 3);
	pool_destroy(p);
}

/* What is queued and what it posts runs to its end at pool_destroy, in shares too. */
static void destroy_runs_what_shares_have(void **state)
{
	struct pool *p = pool_new(2, "test");
	struct pool_share *s = pool_share_new(p, 3);
	_Atomic int entered = 0, gate = 0;
	struct work hold[3], w[20];

	for (int i = 0; i < 3; i++) {
		work_init(&hold[i], LANE_FOREGROUND, &entered, &gate, i);
		pool_task_share(&hold[i].task, s);
		pool_post(p, &hold[i].task);
	}
	await(&entered, 3);
	for (int i = 0; i < 20; i++) {
		work_init(&w[i], i % LANE_COUNT, &entered, NULL, i);
		pool_task_share(&w[i].task, s);
		pool_post(p, &w[i].task);
	}
	atomic_store(&gate, 1);
	pool_destroy(p);
	assert_int_equal(atomic_load(&entered), 23);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_posted_run),
		cmocka_unit_test(destroy_runs_what_is_queued),
		cmocka_unit_test(background_leaves_one_worker),
		cmocka_unit_test(lanes_go_in_order),
		cmocka_unit_test(a_flood_does_not_stop_background),
		cmocka_unit_test(tasks_may_free_themselves),
		cmocka_unit_test(timers_fire_when_due),
		cmocka_unit_test(a_nearer_timer_is_seen),
		cmocka_unit_test(timers_fire_while_workers_are_busy),
		cmocka_unit_test(cancelled_tasks_do_not_run),
		cmocka_unit_test(mixed_load_on_two_threads_ends),
		cmocka_unit_test(many_threads_post_and_cancel),
		cmocka_unit_test(a_hung_share_leaves_the_others),
		cmocka_unit_test(background_leaves_one_of_a_share),
		cmocka_unit_test(destroy_runs_what_shares_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
