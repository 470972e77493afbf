/* SPDX-License-Identifier: MIT */
/* Uploads and removals that nobody waits for stand back while many files a second are changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "jobs_help.h"

#define WHILE_NS   (400 * NS_PER_MS)
#define WINDOWS_NS (100 * NS_PER_MS)

/* As if many were changed from now on for ns: time passes as it may on the machine of the test. */
static void busy_for(struct fix *f, int64_t ns)
{
	LOCKED(&f->jobs->front.lock);
	f->jobs->front.window = (clock_mono_ns() + ns) / WINDOWS_NS;
	f->jobs->front.n = 1000;
	f->jobs->front.last_ns = clock_mono_ns() + ns;
}

static bool is_there(struct fix *f, const char *key)
{
	char got[64];

	return object_get(&f->remotes[0], key, got, sizeof(got)) >= 0;
}

static void becomes(struct fix *f, const char *key, bool there)
{
	for (int i = 0; i < 10000 && is_there(f, key) != there; i++)
		usleep(1000);
	assert_int_equal(is_there(f, key), there);
}

static void test_counts(void **state)
{
	struct fix *f = *state;

	for (int i = 0; i < 5; i++)
		job_foreground(f->jobs);
	assert_int_equal(job_stand_back(f->jobs), 0);
	/* Not if the machine looked away in the middle of all of them. */
	for (int i = 0; i < 100000 && job_stand_back(f->jobs) == 0; i++)
		job_foreground(f->jobs);
	assert_true(job_stand_back(f->jobs) > 0);
	for (int i = 0; i < 10000 && job_stand_back(f->jobs) != 0; i++)
		usleep(1000);
	assert_int_equal(job_stand_back(f->jobs), 0); /* over by itself */
	job_foreground(f->jobs);
	assert_int_equal(job_stand_back(f->jobs), 0);
}

static void test_uploads_wait_for_a_pause(void **state)
{
	struct fix *f = *state;
	int64_t begun = clock_mono_ns();

	busy_for(f, WHILE_NS);
	make_text(f, f->aws, "a", "one");
	becomes(f, "a", true);
	assert_true(clock_mono_ns() - begun >= WHILE_NS - WINDOWS_NS);
	all_done(f);
	text_is(f, "a", "one");
}

static void test_removals_wait_for_a_pause(void **state)
{
	struct fix *f = *state;
	int64_t begun;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	begun = clock_mono_ns();
	busy_for(f, WHILE_NS);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	becomes(f, "a", false);
	assert_true(clock_mono_ns() - begun >= WHILE_NS - WINDOWS_NS);
	all_done(f);
}

/* Of removals a short pause is enough, in the middle of a window with many changes. */
static void test_removals_need_a_short_pause(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	usleep(300000);
	assert_true(is_there(f, "a"));
	lock_take(&f->jobs->front.lock);
	f->jobs->front.last_ns = clock_mono_ns();
	lock_drop(&f->jobs->front.lock);
	becomes(f, "a", false);
	assert_true(job_stand_back(f->jobs) > 0);
	all_done(f);
}

/* Longer than any test runs: only because somebody waits do these end. */
static void test_who_waits_is_served(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	make_text(f, f->aws, "b", "two");
	all_done(f);
	absent(f, "a");
	text_is(f, "b", "two");
}

static int job_of_removal(void *arg, const struct job_info *i)
{
	if (i->kind == JOB_REMOVE && i->state == JOB_QUEUED)
		*(uint64_t *)arg = i->id;
	return 0;
}

/* One that is told to go on by name. */
static void test_retry(void **state)
{
	struct fix *f = *state;
	int64_t begun;
	uint64_t id = 0;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	begun = clock_mono_ns();
	job_each(f->jobs, job_of_removal, &id);
	assert_int_not_equal(id, 0);
	assert_int_equal(job_retry(f->jobs, id, &id, NULL), 0);
	becomes(f, "a", false);
	assert_true(clock_mono_ns() - begun < 5 * NS_PER_S);
}

/* However busy it is, after some seconds it goes on. */
static void test_not_for_ever(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	make_text(f, f->aws, "b", "two");
	becomes(f, "a", false);
	becomes(f, "b", true);
}

/* Behind a removal that stands back: what it holds up goes with it. */
static void test_same_name_again(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, WHILE_NS);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	make_text(f, f->aws, "a", "two");
	all_done(f);
	text_is(f, "a", "two");
}

/* Nor while somebody waits for room in the cache. */
static void test_not_when_the_cache_is_full(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	/* Again and again, as long as he waits; the jobs' own patience is over later. */
	for (int i = 0; i < 100 && is_there(f, "a"); i++) {
		job_cache_full(f->jobs);
		assert_int_equal(job_stand_back(f->jobs), 0);
		usleep(10000);
	}
	absent(f, "a");
}

static void test_stops_while_standing_back(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	busy_for(f, 3600 * NS_PER_S);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	usleep(100000); /* its timer runs */
	fix_down(f);
	fix_up(f);
	becomes(f, "a", false);
}

static const char *name_of(unsigned i)
{
	static char name[16];

	(void)snprintf(name, sizeof(name), "f%u", i);
	return name;
}

static uint64_t most_active(struct fix *f, uint64_t want)
{
	struct jobs_stat st = {0};

	for (int i = 0; i < 10000 && st.active < want; i++) {
		usleep(1000);
		jobs_stat(f->jobs, &st);
	}
	usleep(200000);
	jobs_stat(f->jobs, &st);
	return st.active;
}

/* Of a cloud that is far away twice as many removals go at a time as uploads. */
static void test_twice_as_many(void **state)
{
	struct fix *f = *state;
	unsigned most = 2 * POOL_WIDER, n = 5 * most;

	fix_down(f);
	f->workers = 2;
	f->remotes[0].real = true;
	fix_up(f);
	fault(f, 0, "put:hang");
	for (unsigned i = 0; i < n; i++)
		make_text(f, f->aws, name_of(i), "x");
	assert_int_equal(most_active(f, most), most);
	fault(f, 0, "");
	sync_all(f);
	fault(f, 0, "remove:hang");
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(unlink_in(f, f->aws, name_of(i)), 0);
	assert_int_equal(most_active(f, 2 * most), 2 * most);
	fault(f, 0, "");
	all_done(f);
	for (unsigned i = 0; i < n; i++)
		absent(f, name_of(i));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_counts), T(test_uploads_wait_for_a_pause),
		T(test_removals_wait_for_a_pause), T(test_removals_need_a_short_pause),
		T(test_who_waits_is_served), T(test_retry), T(test_not_for_ever),
		T(test_same_name_again), T(test_not_when_the_cache_is_full),
		T(test_stops_while_standing_back), T(test_twice_as_many)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
