/* SPDX-License-Identifier: MIT */
/* A large directory on its way from the cloud to who reads it: pages are asked for while
 * earlier ones go into the index; names are given as they come, each once, and never those of
 * before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_count.h"
#include "vfs_help.h"

#include "vfs/vfs_priv.h"

#include "job/job_priv.h"

enum { FILES = 2500, PAGES = 3 };

static unsigned seen[FILES], others; /* how often each name was given */

static bool on_name(struct vfs_call *c, const char *name, const struct vfs_attr *at, uint64_t next)
{
	struct ask *a = container_of(c, struct ask, c);

	if (a->dir.count == 100)
		return true;
	a->dir.count++;
	a->dir.last = next;
	if (name[0] == 'f')
		seen[atoi(name + 1)]++;
	else
		others++;
	return false;
}

static uint64_t dir_of(struct fix *f)
{
	uint64_t dir = 0;
	char key[32];

	for (unsigned i = 0; i < FILES; i++) {
		(void)snprintf(key, sizeof(key), "d/f%04u", i);
		object_put(&f->remotes[0], key, "x", 1);
	}
	assert_int_equal(lookup(f, f->aws, "d", &dir), 0);
	return dir;
}

/* From the start on. */
static struct ask *dir_open(struct fix *f, uint64_t dir, struct vfs_handle **ret)
{
	struct ask *a = ask_new();

	memset(seen, 0, sizeof(seen));
	others = 0;
	a->c.fill = on_name;
	assert_int_equal(CALL(a, vfs_opendir, dir), 0);
	*ret = a->c.handle;
	return a;
}

static void dir_close(struct fix *f, struct ask *a, struct vfs_handle *h)
{
	assert_int_equal(CALL(a, vfs_releasedir, h), 0);
	ask_free(a);
}

/* Reads on until so many names were given, or the end has come: what the last call said. */
static errint_t read_on(struct fix *f, struct ask *a, struct vfs_handle *h, unsigned names)
{
	errint_t r = 0;
	unsigned n = 0;

	do {
		a->dir.count = 0;
		r = CALL(a, vfs_readdir, h, a->dir.last);
		n = others;
		for (unsigned i = 0; i < FILES; i++)
			n += seen[i];
	} while (r == 0 && a->dir.count != 0 && n < names);
	return r;
}

static void all_once(unsigned first)
{
	assert_int_equal(others, 2);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(seen[i], i >= first);
}

static void pages_are(uint64_t n)
{
	for (unsigned i = 0; i < 10000 && count_get(COUNT_list_pages) < n; i++)
		usleep(1000);
	assert_int_equal(count_get(COUNT_list_pages), n);
}

static void test_names_come_with_the_pages(void **state)
{
	struct fix *f = *state;
	uint64_t dir = dir_of(f), before = count_get(COUNT_list_pages), ino = 0;
	uint64_t compared = count_get(COUNT_list_compared);
	struct vfs_handle *h;
	struct ask *a = dir_open(f, dir, &h);

	fault(f, 0, "list:n=3:hang");
	assert_int_equal(read_on(f, a, h, 2002), 0);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(seen[i], i < 2000);
	assert_int_equal(lookup(f, dir, "f1999", &ino), 0);
	/* The next call waits for the rest, and does not take this for the end. */
	a->dir.count = 0;
	atomic_store(&a->answers, 0);
	vfs_readdir(f->v, &a->c, h, a->dir.last);
	usleep(20000);
	assert_int_equal(atomic_load(&a->answers), 0);
	fault(f, 0, "");
	assert_int_equal(ask_wait(a), 0);
	assert_int_equal(read_on(f, a, h, FILES + 3), 0);
	all_once(0);
	dir_close(f, a, h);
	a = dir_open(f, dir, &h);
	assert_int_equal(read_on(f, a, h, FILES + 3), 0);
	all_once(0);
	dir_close(f, a, h);
	assert_int_equal(count_get(COUNT_list_pages) - before, PAGES);
	assert_int_equal(count_get(COUNT_list_compared), compared); /* nothing can be gone */
}

/* What was given is no whole directory then: the reader is told. */
static void test_a_listing_that_fails_half_way(void **state)
{
	struct fix *f = *state;
	uint64_t dir = dir_of(f);
	struct vfs_handle *h;
	struct ask *a = dir_open(f, dir, &h);

	fault(f, 0, "list:after=2:error=EIO");
	assert_int_equal(read_on(f, a, h, FILES + 3), -EIO);
	dir_close(f, a, h);
	fault(f, 0, "");
	a = dir_open(f, dir, &h);
	assert_int_equal(read_on(f, a, h, FILES + 3), 0);
	all_once(0);
	dir_close(f, a, h);
}

/* A directory whose listing is not believed any more has names that may be gone. */
static void test_names_of_before(void **state)
{
	struct fix *f = *state;
	uint64_t dir = dir_of(f), before = 0, compared;
	struct err err = {0};
	struct vfs_handle *h;
	struct ask *a = dir_open(f, dir, &h);

	assert_int_equal(read_on(f, a, h, FILES + 3), 0);
	dir_close(f, a, h);
	assert_int_equal(store_remove(f->remotes[0].st, NULL, (struct store_obj){"b", "d/f0000"},
				 NULL, &err),
		0);
	before = count_get(COUNT_list_pages);
	compared = count_get(COUNT_list_compared);
	f->v->listed_epoch_ns = clock_now_ns();
	fault(f, 0, "list:n=3:hang");
	a = dir_open(f, dir, &h);
	a->dir.count = 0;
	atomic_store(&a->answers, 0);
	vfs_readdir(f->v, &a->c, h, 0);
	pages_are(before + 2);
	usleep(20000);
	assert_int_equal(atomic_load(&a->answers), 0);
	fault(f, 0, "");
	assert_int_equal(ask_wait(a), 0);
	assert_int_equal(read_on(f, a, h, FILES + 2), 0);
	all_once(1);
	assert_int_equal(count_get(COUNT_list_compared) - compared, FILES);
	dir_close(f, a, h);
}

static struct job_hooks hooks;
static uint64_t asked; /* LISTs before the listing */
static unsigned told, ahead;

static void on_more(void *arg, uint64_t dir)
{
	told++;
	for (unsigned i = 0; i < 10000 && count_get(COUNT_list_pages) < asked + told + 1; i++)
		usleep(1000);
	ahead += count_get(COUNT_list_pages) == asked + told + 1;
	hooks.listed_more(arg, dir);
}

/* The next page comes while the listing is still at the one before, but no further one. */
static void test_the_next_page_is_asked_for(void **state)
{
	struct fix *f = *state;
	uint64_t dir = dir_of(f);
	struct vfs_handle *h;
	struct ask *a = dir_open(f, dir, &h);

	asked = count_get(COUNT_list_pages);
	told = ahead = 0;
	hooks = f->jobs->conf.hooks;
	f->jobs->conf.hooks.listed_more = on_more;
	assert_int_equal(read_on(f, a, h, FILES + 3), 0);
	all_once(0);
	assert_int_equal(told, PAGES - 1);
	assert_int_equal(ahead, PAGES - 1);
	dir_close(f, a, h);
	assert_int_equal(count_get(COUNT_list_pages) - asked, PAGES);
}

enum { MANY = 20000 };

static unsigned met[MANY], strange;

static bool on_many(struct vfs_call *c, const char *name, const struct vfs_attr *at, uint64_t next)
{
	struct ask *a = container_of(c, struct ask, c);

	a->dir.count++;
	a->dir.last = next;
	if (name[0] == 'm')
		met[atoi(name + 1)]++;
	else
		strange += strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
	return false;
}

static uint64_t many_read(struct fix *f, uint64_t dir)
{
	uint64_t before = count_get(COUNT_list_pages);
	struct ask *a = ask_new();
	errint_t r = 0;

	memset(met, 0, sizeof(met));
	strange = 0;
	a->c.fill = on_many;
	assert_int_equal(CALL(a, vfs_opendir, dir), 0);
	struct vfs_handle *h = a->c.handle;

	do {
		a->dir.count = 0;
		r = CALL(a, vfs_readdir, h, a->dir.last);
	} while (r == 0 && a->dir.count != 0);
	assert_int_equal(r, 0);
	dir_close(f, a, h);
	return count_get(COUNT_list_pages) - before;
}

/* Of a store that is far away pages come side by side: first by guesses, then by what the index
 * knows; what is gone by then is found out. */
static void test_a_large_directory_far_away(void **state)
{
	struct fix *f = *state;
	struct err err = {0};
	uint64_t dir = 0, n;
	char key[32];

	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(key, sizeof(key), "d/m%05u%s", i, i % 500 == 7 ? "/x" : "");
		object_put(&f->remotes[0], key, "x", 1);
	}
	fault(f, 0, "list:delay=200");
	assert_int_equal(lookup(f, f->aws, "d", &dir), 0);
	for (unsigned known = 0; known < 2; known++) {
		int64_t since = clock_mono_ns();

		n = many_read(f, dir);
		assert_in_range(n, MANY / 1000, MANY / 1000 + 12);
		assert_true(clock_mono_ns() - since < (int64_t)n * 200 * NS_PER_MS * 3 / 4);
		assert_int_equal(strange, 0);
		for (unsigned i = 0; i < MANY; i++)
			assert_int_equal(met[i], known == 0 || i % 777 != 0);
		for (unsigned i = 0; i < MANY && known == 0; i += 777) {
			(void)snprintf(key, sizeof(key), "d/m%05u%s", i, i % 500 == 7 ? "/x" : "");
			assert_int_equal(store_remove(f->remotes[0].st, NULL,
						 (struct store_obj){"b", key}, NULL, &err),
				0);
		}
		f->v->listed_epoch_ns = clock_now_ns();
	}
	fault(f, 0, "");
}

static int setup_wide(void **state)
{
	int r = setup(state);
	struct fix *f = *state;

	fix_down(f);
	f->workers = 16;
	fix_up(f);
	return r;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_names_come_with_the_pages),
		T(test_a_listing_that_fails_half_way), T(test_names_of_before),
		T(test_the_next_page_is_asked_for),
		cmocka_unit_test_setup_teardown(
			test_a_large_directory_far_away, setup_wide, teardown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
