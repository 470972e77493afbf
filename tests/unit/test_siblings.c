/* SPDX-License-Identifier: MIT */
/* Small files that are read one after another: the next ones are fetched before they are asked for,
 * once each, and only those that are likely to be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_count.h"
#include "jobs_help.h"
#include "vfs/vfs_priv.h"

enum { FILES = 40 };

static void name_of(unsigned i, char ret[16])
{
	(void)snprintf(ret, 16, "f%02u", i);
}

static uint64_t ino_of(struct fix *f, unsigned i)
{
	char name[16];
	uint64_t ino = 0;

	name_of(i, name);
	assert_int_equal(lookup(f, f->aws, name, &ino), 0);
	return ino;
}

static bool is_here(struct fix *f, unsigned i)
{
	return stage_holds(f->stage, ino_of(f, i));
}

static unsigned all_here(struct fix *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FILES; i++)
		n += is_here(f, i);
	return n;
}

static void make_all(struct fix *f)
{
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		name_of(i, name);
		make_text(f, f->aws, name, name);
	}
	all_done(f);
}

static void drop_all(struct fix *f)
{
	for (unsigned i = 0; i < FILES; i++)
		stage_drop(f->stage, ino_of(f, i));
	assert_int_equal(all_here(f), 0);
}

static void read_one(struct fix *f, unsigned i)
{
	char name[16];

	name_of(i, name);
	file_is(f, f->aws, name, name);
}

static void comes(struct fix *f, unsigned i)
{
	unsigned here = 0;

	/* Staging that is just being opened is said to hold something, too. */
	for (unsigned k = 0; k < 10000 && here < 3; k++) {
		here = is_here(f, i) ? here + 1 : 0;
		usleep(1000);
	}
	assert_true(here == 3);
}

static uint64_t fetched(void)
{
	return count_get(COUNT_store_bytes_in);
}

static void test_the_next_ones_come(void **state)
{
	struct fix *f = *state;
	uint64_t before;

	make_all(f);
	drop_all(f);
	before = fetched();
	for (unsigned i = 0; i < 3; i++)
		read_one(f, i);
	for (unsigned i = 3; i < 7; i++)
		comes(f, i);
	for (unsigned i = 3; i < FILES; i++)
		read_one(f, i);
	usleep(100000);
	assert_int_equal(all_here(f), FILES);
	assert_int_equal(fetched() - before, 3 * FILES); /* each once */
}

/* Several readers at a time are not in order: the window moves on with each of them. */
static void test_out_of_step(void **state)
{
	struct fix *f = *state;
	uint64_t before;

	make_all(f);
	drop_all(f);
	before = fetched();
	for (unsigned i = 0; i < 3; i++)
		read_one(f, i);
	for (unsigned i = 3; i + 1 < FILES; i += 2) {
		comes(f, i + 1);
		read_one(f, i + 1);
		read_one(f, i);
	}
	assert_int_equal(fetched() - before, 3 * FILES);
}

/* The same one again and again brings none. */
static void test_again_says_nothing(void **state)
{
	struct fix *f = *state;

	make_all(f);
	drop_all(f);
	for (unsigned i = 0; i < 3; i++)
		read_one(f, i);
	for (unsigned i = 3; i < 7; i++)
		comes(f, i);
	for (unsigned i = 0; i < 50; i++)
		read_one(f, i % 3);
	usleep(100000);
	assert_int_equal(all_here(f), 7);
}

static void test_two_say_nothing(void **state)
{
	struct fix *f = *state;

	make_all(f);
	drop_all(f);
	read_one(f, 0);
	read_one(f, 1);
	usleep(200000);
	assert_int_equal(all_here(f), 2);
}

static void test_out_of_order(void **state)
{
	static const unsigned order[] = {0, 20, 1, 30, 10, 39, 3, 25, 12, 38};
	struct fix *f = *state;

	make_all(f);
	drop_all(f);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		read_one(f, order[i]);
	usleep(200000);
	assert_int_equal(all_here(f), ARRAY_SIZE(order));
}

/* Who waits for one does not wait for those before it as well. */
static void test_who_waits_goes_first(void **state)
{
	struct fix *f = *state;
	int64_t begun;

	make_all(f);
	drop_all(f);
	fault(f, 0, "get:delay=400");
	for (unsigned i = 0; i < 3; i++)
		read_one(f, i);
	usleep(100000); /* 3 is on its way, 4 to 6 wait */
	begun = clock_mono_ns();
	read_one(f, 6);
	assert_true(clock_mono_ns() - begun < 1000 * NS_PER_MS);
	for (unsigned i = 3; i < 7; i++)
		comes(f, i);
}

/* What was fetched in vain is bounded by what was read. */
static void test_a_series_that_ends(void **state)
{
	struct fix *f = *state;

	make_all(f);
	drop_all(f);
	for (unsigned i = 0; i < 4; i++)
		read_one(f, i);
	usleep(200000);
	assert_true(all_here(f) > 4);
	assert_true(all_here(f) <= 4 + 4);
}

static void test_not_what_is_large_or_archived(void **state)
{
	struct fix *f = *state;
	char *big = calloc(1, 200000);

	make_all(f);
	for (unsigned i = 0; i < 8; i++) /* 5 is large now */
		if (i == 5) {
			struct vfs_handle *h = NULL;

			assert_int_equal(open_ino(f, ino_of(f, i), O_WRONLY | O_TRUNC, &h), 0);
			assert_int_equal(put(f, h, 0, big, 200000), 0);
			close_h(f, h);
		}
	all_done(f);
	assert_int_equal(setx(f, ino_of(f, 4), "user.astra.tier", "ARCHIVE"), 0);
	assert_int_equal(setx(f, ino_of(f, 6), "user.astra.tier", "COLD"), 0);
	all_done(f);
	drop_all(f);
	for (unsigned i = 0; i < 4; i++)
		read_one(f, i);
	comes(f, 7);
	usleep(100000);
	assert_false(is_here(f, 4));
	assert_false(is_here(f, 5));
	assert_false(is_here(f, 6));
	free(big);
}

/* It was small when it was chosen, and is larger than any buffer when its turn comes. */
static void test_grown_meanwhile(void **state)
{
	enum { SIZE = 3 << 20 };
	struct fix *f = *state;
	char *big = calloc(1, SIZE);
	uint64_t before, ino = 0;
	struct vfs_node *n;

	object_put(&f->remotes[0], "x", big, SIZE);
	assert_int_equal(lookup(f, f->aws, "x", &ino), 0);
	before = fetched();
	n = node_get(f->v, ino);
	assert_non_null(n);
	assert_int_equal(node_bind(f->v, n), 0);
	fetch_whole(f->v, n);
	node_put(f->v, n);
	usleep(200000);
	assert_int_equal(fetched() - before, 0);
	free(big);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_the_next_ones_come), T(test_out_of_step),
		T(test_again_says_nothing), T(test_two_say_nothing), T(test_out_of_order),
		T(test_who_waits_goes_first), T(test_a_series_that_ends),
		T(test_not_what_is_large_or_archived), T(test_grown_meanwhile)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
