/* SPDX-License-Identifier: MIT */
/* Removals that go together: how many requests that takes, what happens when one fails, and who is
 * in the middle of it when the mount ends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "jobs_help.h"

#define N 300

struct calls {
	uint64_t one, many, put;
};

static void calls_of(
	void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes, uint64_t us)
{
	struct calls *c = arg;

	if (!strcmp(op, "remove"))
		c->one = calls;
	else if (!strcmp(op, "remove_many"))
		c->many = calls;
	else if (!strcmp(op, "put"))
		c->put = calls;
}

static struct calls calls(struct fix *f)
{
	struct calls c = {0};

	store_stats_each(f->remotes[0].st, calls_of, &c);
	return c;
}

static const char *name_of(unsigned i)
{
	static char name[16];

	(void)snprintf(name, sizeof(name), "f%u", i);
	return name;
}

static void make_all(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		make_text(f, f->aws, name_of(i), "x");
	sync_all(f);
}

static void unlink_all(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(unlink_in(f, f->aws, name_of(i)), 0);
}

static void all_absent(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		absent(f, name_of(i));
}

/* More workers than requests go beside each other: else nobody waits. */
static int setup_wide(void **state)
{
	struct fix *f;
	int r = setup(state);

	f = *state;
	fix_down(f);
	f->workers = 8;
	fix_up(f);
	return r;
}

/* Waits until a batch is on its way; the rules hold it up. */
static void wait_for_batch(struct fix *f)
{
	for (unsigned i = 0; calls(f).many == 0 && i < 2000; i++)
		usleep(5000);
}

static void test_few_requests(void **state)
{
	struct fix *f = *state;
	struct calls c;

	make_all(f);
	object_put(&f->remotes[0], "f7", "theirs", 6); /* which nobody here knows of */
	fault(f, 0, "remove,remove_many:delay=100");
	unlink_all(f);
	all_done(f);
	c = calls(f);
	assert_in_range(c.many, 1, N / 8);
	assert_in_range(c.one, 1, N / 8);
	text_is(f, "f7", "theirs");
	assert_int_equal(
		store_remove(f->remotes[0].st, NULL, (struct store_obj){"b", "f7"}, NULL, NULL), 0);
	all_absent(f);
	assert_int_equal(job_failures(f), 0);
}

/* Whatever becomes of one request, in the end all is gone. */
static void test_requests_fail(void **state)
{
	static const char *const rules[] = {"remove_many:n=1:lost;remove_many:n=2:error=EIO",
		"remove_many:error=EIO/final", "remove_many:error=EOPNOTSUPP/final",
		"remove_many:every=2:lost;remove:every=3:error=EIO",
		"remove_many:n=1:throttle=10;remove_many:n=2:timeout=10;remove_many:n=3:cut"};
	struct fix *f = *state;
	char text[200];

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		make_all(f);
		(void)snprintf(text, sizeof(text), "remove,remove_many:delay=10;%s", rules[i]);
		fault(f, 0, text);
		unlink_all(f);
		all_done(f);
		fault(f, 0, "");
		all_absent(f);
		assert_int_equal(job_failures(f), 0);
		teardown(state); /* a store that pauses, or has given up, is a new one then */
		setup_wide(state);
		f = *state;
	}
}

/* The mount ends while some lead, some are on their way and some wait: nothing is left behind. */
static void test_stopped_in_the_middle(void **state)
{
	struct fix *f = *state;

	make_all(f);
	fault(f, 0, "remove:times=4:delay=50;remove_many:hang");
	unlink_all(f);
	wait_for_batch(f);
	usleep(100000);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	all_done(f);
	all_absent(f);
	assert_int_equal(job_failures(f), 0);
}

#define LATE_NS (4 * NS_PER_S)

static void late(struct fix *f)
{
	fix_down(f);
	f->many_ns = LATE_NS;
	fix_up(f);
}

static void make_again(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		make_text(f, f->aws, name_of(i), "x");
}

static void all_there(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		text_is(f, name_of(i), "x");
	assert_int_equal(job_failures(f), 0);
}

/* A request whose answer was lost may go on at the server, and would not know a new object of the
 * same bytes from the old one: none comes before it is over. The others do not wait. */
static void test_nothing_new_while_in_doubt(void **state)
{
	struct fix *f = *state;
	uint64_t before = count_get(COUNT_store_batched), puts, doubt;
	int64_t lost_ns;

	late(f);
	make_all(f);
	fault(f, 0, "remove,remove_many:delay=20;remove_many:lost");
	unlink_all(f);
	wait_for_batch(f);
	lost_ns = clock_mono_ns();
	make_again(f);
	puts = calls(f).put;
	while (clock_mono_ns() < lost_ns + LATE_NS - NS_PER_S)
		usleep(10000);
	doubt = count_get(COUNT_store_batched) - before;
	assert_in_range(doubt, 2, 400);
	assert_true(calls(f).put - puts > 0);
	assert_true(calls(f).put - puts <= N - doubt);
	all_done(f);
	assert_true(clock_mono_ns() >= lost_ns + LATE_NS);
	assert_int_equal(calls(f).put - puts, N);
	all_there(f);
}

/* Nor when the mount ended meanwhile, or was killed: the next one does not know what was sent. */
static void test_nothing_new_after_a_restart(void **state)
{
	struct fix *f = *state;
	int64_t up_ns;

	late(f);
	make_all(f);
	fault(f, 0, "remove:delay=200;remove_many:hang");
	unlink_all(f);
	wait_for_batch(f);
	usleep(100000);
	fix_down(f);
	fault(f, 0, "");
	up_ns = clock_mono_ns();
	fix_up(f);
	uint64_t puts = calls(f).put, left = 0;
	struct jobs_stat st;

	jobs_stat(f->jobs, &st);
	left = st.live;
	assert_true(left >= 2);
	make_again(f);
	while (clock_mono_ns() < up_ns + LATE_NS - NS_PER_S)
		usleep(10000);
	assert_true(calls(f).put - puts <= N - left);
	all_done(f);
	assert_true(clock_mono_ns() >= up_ns + LATE_NS);
	all_there(f);
}

/* Who waits for one name waits no longer than for its removal. */
static void test_made_again(void **state)
{
	struct fix *f = *state;

	make_all(f);
	fault(f, 0, "remove,remove_many:delay=100");
	unlink_all(f);
	wait_for_batch(f);
	for (unsigned i = 0; i < N; i += 10)
		make_text(f, f->aws, name_of(i), "new");
	all_done(f);
	for (unsigned i = 0; i < N; i += 10)
		text_is(f, name_of(i), "new");
	for (unsigned i = 0; i < N; i++)
		if (i % 10 != 0)
			absent(f, name_of(i));
	assert_int_equal(job_failures(f), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_wide, teardown)
	const struct CMUnitTest tests[] = {T(test_few_requests), T(test_requests_fail),
		T(test_stopped_in_the_middle), T(test_nothing_new_while_in_doubt),
		T(test_nothing_new_after_a_restart), T(test_made_again)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
