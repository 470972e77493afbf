/* SPDX-License-Identifier: MIT */
/* The parts of a transfer go side by side, and leave room for what others have to send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "jobs_help.h"

enum { PARTS = 6, BIG = PARTS * JOB_PART_SIZE - 1000, SMALL = 1 << 20 };

static const char slow[] = "part_put:delay=800";

/* Of six buffers a share may have two: a large file goes in two lanes, part by part three times. */
static void more_of(struct fix *f, unsigned workers, unsigned buffers)
{
	fix_down(f);
	f->buf_size = JOB_PART_SIZE;
	f->workers = workers;
	f->buffers = buffers;
	fix_up(f);
}

static char *big_bytes(void)
{
	char *p = malloc(BIG);

	assert_non_null(p);
	for (size_t i = 0; i < BIG; i++)
		p[i] = (char)(i * 7 + i / JOB_PART_SIZE);
	return p;
}

static bool is_there(struct fix *f, const char *key)
{
	char got[8];

	return object_get(&f->remotes[0], key, got, sizeof(got)) >= 0;
}

static bool becomes(struct fix *f, const char *key)
{
	for (int i = 0; i < 10000 && !is_there(f, key); i++)
		usleep(1000);
	return is_there(f, key);
}

static void big_is(struct fix *f, unsigned remote, const char *want)
{
	char *got = malloc(BIG + 1);

	assert_non_null(got);
	assert_int_equal(object_get(&f->remotes[remote], "big", got, BIG + 1), BIG);
	assert_memory_equal(got, want, BIG);
	free(got);
}

static unsigned buffers_taken(struct fix *f)
{
	return bufs_count(f->bufs) - bufs_free(f->bufs);
}

static size_t parts_there(struct fix *f)
{
	struct remote *r = &f->remotes[0];
	struct store_upload *up = NULL;
	struct store_part *parts = NULL;
	size_t n = 0, nparts = 0;
	struct err err = {0};

	assert_int_equal(store_parts_pending(r->st, NULL, r->bucket, &up, &n, &err), 0);
	if (n == 1 && store_parts_list(r->st, NULL, (struct store_obj){r->bucket, up[0].key},
			      up[0].id, &parts, &nparts, &err))
		nparts = 0; /* gone just now */
	free(up);
	free(parts);
	return nparts;
}

/* While one part is on its way all the others get there. */
static void test_side_by_side(void **state)
{
	struct fix *f = *state;
	char *bytes = big_bytes();
	size_t n = 0;

	more_of(f, 8, 6);
	fault(f, 0, "part_put:n=1:hang");
	make(f, f->aws, "big", bytes, BIG);
	for (int i = 0; i < PATIENCE_S * 1000 && n < PARTS - 1; i++) {
		usleep(1000);
		n = parts_there(f);
	}
	fault(f, 0, "");
	assert_int_equal(n, PARTS - 1);
	sync_all(f);
	assert_int_equal(buffers_taken(f), 0);
	big_is(f, 0, bytes);
	fault(f, 0, "get:n=3:error=EIO"); /* of a part on its way to another cloud */
	assert_int_equal(rename_to(f, f->aws, "big", f->gcp, "big", 0), 0);
	all_done(f);
	assert_int_equal(buffers_taken(f), 0);
	big_is(f, 1, bytes);
	free(bytes);
}

/* key gets its turn before a large file is through, whether workers or buffers are what lacks. */
static void one_beside(struct fix *f, unsigned workers, size_t len)
{
	char *bytes = big_bytes();

	more_of(f, workers, 6);
	fault(f, 0, slow);
	make(f, f->aws, "big", bytes, BIG);
	usleep(300000); /* it has begun */
	make(f, f->aws, "small", bytes, len);
	assert_true(becomes(f, "small"));
	assert_false(is_there(f, "big"));
	all_done(f);
	assert_int_equal(buffers_taken(f), 0);
	big_is(f, 0, bytes);
	free(bytes);
}

static void test_others_get_buffers(void **state)
{
	one_beside(*state, 8, SMALL);
}

static void test_others_get_workers(void **state)
{
	one_beside(*state, 3, 10);
}

static void test_with_little(void **state)
{
	one_beside(*state, 3, SMALL);
}

/* A part fails while others are on their way, the daemon ends meanwhile, and it is sent again. */
static void test_fails_in_the_middle(void **state)
{
	struct fix *f = *state;
	char *bytes = big_bytes();

	more_of(f, 8, 6);
	fault(f, 0, "part_put:delay=50;part_put:every=4:error=EIO:times=4");
	make(f, f->aws, "big", bytes, BIG);
	usleep(200000);
	fix_down(f);
	assert_int_equal(f->buffers, 6);
	fix_up(f);
	sync_all(f);
	all_done(f);
	assert_int_equal(buffers_taken(f), 0);
	big_is(f, 0, bytes);
	free(bytes);
}

static atomic_bool disk_is_busy;

static errint_t sync_waits(void *arg)
{
	while (atomic_load(&disk_is_busy))
		usleep(1000);
	return 0;
}

/* While the disk makes the record durable the parts go; the object is not there before it
 * is. */
static void test_parts_do_not_wait_for_the_disk(void **state)
{
	struct fix *f = *state;
	char *bytes = big_bytes();
	bool early = false;
	size_t n = 0;

	help_before_sync = sync_waits;
	more_of(f, 8, 6);
	meta_sync_soon(f->m);
	atomic_store(&disk_is_busy, true);
	make(f, f->aws, "big", bytes, BIG);
	for (int i = 0; i < 10000 && parts_there(f) < PARTS; i++)
		usleep(1000);
	n = parts_there(f);
	usleep(200000);
	early = is_there(f, "big");
	atomic_store(&disk_is_busy, false);
	assert_int_equal(n, PARTS);
	assert_false(early);
	assert_true(becomes(f, "big"));
	sync_all(f);
	big_is(f, 0, bytes);
	help_before_sync = NULL;
	free(bytes);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_side_by_side), T(test_others_get_buffers),
		T(test_others_get_workers), T(test_with_little), T(test_fails_in_the_middle),
		T(test_parts_do_not_wait_for_the_disk)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
