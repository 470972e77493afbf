/* SPDX-License-Identifier: MIT */
/* Uploads that begin while their file is still written. */
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_count.h"
#include "job/job_priv.h"
#include "jobs_help.h"

enum { PART = JOB_PART_SIZE, LEN = 5 * PART + 12345, STEP = 1 << 17 };

static int setup_far(void **state)
{
	struct fix *f;
	int r = setup(state);

	f = *state;
	fix_down(f);
	f->workers = 6;
	f->buffers = 8;
	f->buf_size = PART;
	f->quota = 256u << 20;
	f->ahead_min = 2 * PART;
	f->remotes[0].real = true; /* as one that is far away */
	fix_up(f);
	return r;
}

static char *bytes_make(void)
{
	char *p = malloc(LEN);

	assert_non_null(p);
	for (size_t i = 0; i < LEN; i++)
		p[i] = (char)(i * 11 + i / PART);
	return p;
}

static void write_all(struct fix *f, struct vfs_handle *h, const char *p, size_t from, size_t to)
{
	for (size_t at = from; at < to; at += STEP)
		assert_int_equal(put(f, h, at, p + at, MIN_OF(to - at, (size_t)STEP)), 0);
}

/* Parts of the one upload that is open; SIZE_MAX = there is none. */
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
	return n == 0 ? SIZE_MAX : nparts;
}

static bool parts_become(struct fix *f, size_t want)
{
	for (int i = 0; i < PATIENCE_S * 1000; i++, usleep(1000)) {
		size_t n = parts_there(f);

		if (n == want || (want != SIZE_MAX && n != SIZE_MAX && n > want))
			return true;
	}
	return false;
}

static void big_is(struct fix *f, const char *key, const char *want, size_t len)
{
	char *got = malloc(LEN + 1);

	assert_non_null(got);
	assert_int_equal(object_get(&f->remotes[0], key, got, LEN + 1), len);
	assert_memory_equal(got, want, len);
	free(got);
}

/* Ends with all in the cloud, nothing else there, and nothing left to do. */
static void settles(struct fix *f, const char *key, const char *want, size_t len)
{
	all_done(f);
	big_is(f, key, want, len);
	assert_int_equal(parts_there(f), SIZE_MAX);
	assert_int_equal(bufs_free(f->bufs), bufs_count(f->bufs));
	assert_int_equal(job_failures(f), 0);
}

/* All whole parts but the last are there, and nothing is to be seen, also a while later. */
static void waits_for_the_end(struct fix *f)
{
	assert_true(parts_become(f, 4));
	usleep(200000);
	assert_int_equal(parts_there(f), 4);
	absent(f, "big");
}

static uint64_t bytes_out(void)
{
	return count_get(COUNT_store_bytes_out);
}

static void test_begins_before_the_close(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t before = bytes_out(), reads = count_get(COUNT_stage_hits);
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, LEN);
	waits_for_the_end(f); /* the fifth may still be written to */
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(bytes_out() - before, LEN);
	/* read once, in pieces that the processor's caches hold while they are summed */
	assert_int_equal(count_get(COUNT_stage_hits) - reads, LEN / (128 << 10) + 1);
	free(p);
}

static void test_changed_parts_go_again(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	memset(p + PART + 10, 'x', 1000);
	assert_int_equal(put(f, h, PART + 10, p + PART + 10, 1000), 0);
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(bytes_out() - before, LEN + PART);
	free(p);
}

/* Many times, at all places, while parts are on their way. */
static void test_changed_all_the_time(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	fault(f, 0, "part_put:delay=20");
	for (size_t at = 0; at < LEN; at += STEP) {
		size_t len = MIN_OF(LEN - at, (size_t)STEP);

		assert_int_equal(put(f, h, at, p + at, len), 0);
		for (int i = 0; i < 3; i++) {
			size_t to = (size_t)random() % (at + len - 10);

			memset(p + to, (char)random(), 10);
			assert_int_equal(put(f, h, to, p + to, 10), 0);
		}
	}
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

static void set_size(struct fix *f, uint64_t ino, uint64_t size)
{
	struct ask *a = ask_new();
	struct stat st = {.st_size = (off_t)size};

	assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_SIZE), 0);
	ask_free(a);
}

static void cut_to(struct fix *f, size_t len)
{
	char *p = bytes_make();
	uint64_t ino;
	struct vfs_handle *h = create_in(f, f->aws, "big", &ino);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	set_size(f, ino, len);
	close_h(f, h);
	settles(f, "big", p, len);
	free(p);
}

static void test_cut_short(void **state)
{
	cut_to(*state, 100);
}

static void test_cut_in_the_middle(void **state)
{
	cut_to(*state, 2 * PART + 5000);
}

static void test_cut_and_grown(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t ino;
	struct vfs_handle *h = create_in(f, f->aws, "big", &ino);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	set_size(f, ino, PART + 100);
	set_size(f, ino, LEN);
	memset(p + PART + 100, 0, LEN - PART - 100);
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

static void test_removed(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	assert_int_equal(unlink_in(f, f->aws, "big"), 0);
	assert_true(parts_become(f, SIZE_MAX));
	close_h(f, h);
	all_done(f);
	absent(f, "big");
	free(p);
}

static void test_renamed(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	assert_int_equal(rename_to(f, f->aws, "big", f->aws, "other", 0), 0);
	memset(p, 'y', 10);
	assert_int_equal(put(f, h, 0, p, 10), 0);
	close_h(f, h);
	settles(f, "other", p, LEN);
	absent(f, "big");
	free(p);
}

/* Whoever waits gets what is there, and what comes then follows. */
static void test_fsync(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, 4 * PART);
	assert_true(parts_become(f, 3));
	assert_int_equal(fsync_h(f, h), 0);
	big_is(f, "big", p, 4 * PART);
	assert_int_equal(parts_there(f), SIZE_MAX);
	write_all(f, h, p, 4 * PART, LEN);
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

/* Nothing gets through, and much is written: no more buffers than the share may have, and nothing
 * is sent twice for it. */
static void test_memory_is_bounded(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	fault(f, 0, "part_put:hang");
	write_all(f, h, p, 0, LEN);
	for (int i = 0; i < 200; i++, usleep(1000))
		assert_true(bufs_count(f->bufs) - bufs_free(f->bufs) <= f->buffers * 3 / 8);
	assert_int_not_equal(bufs_free(f->bufs), bufs_count(f->bufs));
	fault(f, 0, "");
	waits_for_the_end(f);
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(bytes_out() - before, LEN);
	free(p);
}

/* A step that takes long is no pause of the writer: nobody sees half of the file. */
static void test_a_long_step_is_no_pause(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = NULL;

	fix_down(f);
	f->ahead_idle_ns = 600 * NS_PER_MS;
	fix_up(f);
	h = create_in(f, f->aws, "big", NULL);
	fault(f, 0, "part_put:delay=900");
	write_all(f, h, p, 0, 3 * PART);
	usleep(200000); /* its first parts are on their way */
	write_all(f, h, p, 3 * PART, 4 * PART);
	assert_true(parts_become(f, 3));
	absent(f, "big");
	write_all(f, h, p, 4 * PART, LEN);
	assert_true(parts_become(f, 4));
	absent(f, "big");
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(bytes_out() - before, LEN);
	free(p);
}

static void test_parts_fail(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	fault(f, 0, "part_put:every=2:error=EIO:times=8");
	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_in_range(bytes_out() - before, LEN, LEN + 8 * PART);
	free(p);
}

/* As S3 says that it is asked too often; and before there is anything to go on with. */
static void fails_meanwhile(struct fix *f, const char *rules)
{
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	fault(f, 0, rules);
	write_all(f, h, p, 0, LEN);
	waits_for_the_end(f);
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_in_range(bytes_out() - before, LEN, LEN + 8 * PART);
	free(p);
}

static void test_parts_are_throttled(void **state)
{
	fails_meanwhile(*state, "part_put:every=2:error=EAGAIN/throttle:times=8");
}

static void test_begin_is_throttled(void **state)
{
	fails_meanwhile(*state, "parts_begin:error=EAGAIN/throttle:times=3");
}

static void test_begin_is_lost(void **state)
{
	fails_meanwhile(*state, "parts_begin:lost:times=1");
}

static unsigned tries(struct fix *f)
{
	struct job *job = NULL;
	unsigned n = 0;

	lock_take(&f->jobs->g.lock);
	TAILQ_FOREACH (job, &f->jobs->g.all, link)
		n += job->own.tries;
	lock_drop(&f->jobs->g.lock);
	return n;
}

/* Failures that are far from each other do not add up to long pauses. */
static void test_tries_begin_anew(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	fault(f, 0, "part_put:every=2:error=EIO:times=2");
	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	usleep(200000);
	assert_int_equal(tries(f), 0);
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

/* LEN has 6 parts: all of them are taken; or that is not known before the end. */
static void takes_parts(struct fix *f, unsigned most, uint64_t bytes)
{
	char *p = bytes_make();
	uint64_t before = bytes_out();
	struct vfs_handle *h = NULL;

	f->remotes[0].caps.parts_max = most;
	h = create_in(f, f->aws, "big", NULL);
	write_all(f, h, p, 0, LEN);
	waits_for_the_end(f);
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(bytes_out() - before, bytes);
	free(p);
}

static void test_few_parts(void **state)
{
	takes_parts(*state, 6, LEN);
}

static void test_too_few_parts(void **state)
{
	takes_parts(*state, 5, LEN + 4 * PART);
}

/* Somebody else's clean-up, or a write of the key, takes the parts along. */
static void test_parts_go(void **state)
{
	struct fix *f = *state;
	struct remote *r = &f->remotes[0];
	struct store_upload *up = NULL;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);
	size_t n = 0;
	struct err err = {0};

	write_all(f, h, p, 0, 4 * PART);
	assert_true(parts_become(f, 3));
	assert_int_equal(store_parts_pending(r->st, NULL, r->bucket, &up, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(store_parts_abort(r->st, NULL, (struct store_obj){r->bucket, up[0].key},
				 up[0].id, &err),
		0);
	free(up);
	write_all(f, h, p, 4 * PART, LEN);
	waits_for_the_end(f);
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

/* What is left of it is nothing that others are to see. */
static void test_cut_and_written_again(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t ino;
	struct vfs_handle *h = create_in(f, f->aws, "big", &ino);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	set_size(f, ino, 100);
	assert_true(parts_become(f, SIZE_MAX));
	usleep(200000);
	absent(f, "big");
	write_all(f, h, p, 0, LEN);
	waits_for_the_end(f);
	close_h(f, h);
	settles(f, "big", p, LEN);
	free(p);
}

/* While a part was on its way the file became the copy of another one: its cloud makes it, and what
 * was begun is ended. */
static void test_becomes_a_copy(void **state)
{
	enum { N = PART + PART / 4 };
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t from, ino;
	struct vfs_handle *in, *h = create_in(f, f->aws, "from", &from);
	struct ask *a = ask_new();

	write_all(f, h, p + 100, 0, N);
	close_h(f, h);
	settles(f, "from", p + 100, N);
	fault(f, 0, "part_put:delay=1000");
	h = create_in(f, f->aws, "big", &ino);
	write_all(f, h, p, 0, 2 * PART + STEP);
	assert_true(parts_become(f, 0));
	assert_int_equal(open_ino(f, from, O_RDONLY, &in), 0);
	set_size(f, ino, 0);
	assert_int_equal(CALL(a, vfs_copy_range, in, 0, h, 0, N), 0);
	assert_int_equal(a->len, N);
	close_h(f, in);
	close_h(f, h);
	settles(f, "big", p + 100, N);
	ask_free(a);
	free(p);
}

static void test_daemon_ends_meanwhile(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, "big", NULL);

	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	jobs_stop(f->jobs);
	close_h(f, h);
	fix_down(f);
	fix_up(f);
	sync_all(f);
	settles(f, "big", p, LEN);
	free(p);
}

static void none_is_sent(struct fix *f, const char *name)
{
	char *p = bytes_make();
	struct vfs_handle *h = create_in(f, f->aws, name, NULL);

	write_all(f, h, p, 0, LEN);
	usleep(200000);
	assert_int_equal(parts_there(f), SIZE_MAX);
	close_h(f, h);
	settles(f, name, p, LEN);
	free(p);
}

static void test_temporary_names(void **state)
{
	none_is_sent(*state, ".big.XyZ123");
	none_is_sent(*state, "big.PART");
}

static void test_near_stores(void **state)
{
	struct fix *f = *state;

	f->remotes[0].real = false;
	none_is_sent(f, "big");
}

static int count_kind(void *arg, const struct job_info *i)
{
	unsigned *n = arg;

	n[i->kind]++;
	return 0;
}

static unsigned posted(struct fix *f, enum job_kind kind)
{
	unsigned n[JOB_KIND_N] = {0};

	job_each(f->jobs, count_kind, n);
	return n[kind];
}

static void mtime_is(struct fix *f, const char *want)
{
	struct store_stat st = {0};
	const char *is = NULL;
	struct err err = {0};

	assert_int_equal(
		store_head(f->remotes[0].st, NULL, (struct store_obj){"b", "big"}, &st, &err), 0);
	is = store_stat_meta(&st, "mtime");
	assert_non_null(is);
	assert_string_equal(is, want);
	store_stat_done(&st);
}

/* A store that takes metadata at the beginning: the time of the last write is worth no copy, one
 * that somebody sets is. */
static void test_times(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	struct stat s = {.st_mtim = {.tv_sec = 1000}};
	struct ask *a = ask_new();
	struct vfs_handle *h = NULL;
	uint64_t ino;

	f->remotes[0].caps.meta_at_begin = true;
	h = create_in(f, f->aws, "other", NULL);
	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	usleep(20000);
	assert_int_equal(put(f, h, 0, p, 10), 0);
	close_h(f, h);
	settles(f, "other", p, LEN);
	assert_int_equal(posted(f, JOB_ATTR), 0);
	h = create_in(f, f->aws, "big", &ino);
	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &s, VFS_SET_MTIME), 0);
	close_h(f, h);
	settles(f, "big", p, LEN);
	mtime_is(f, "1000.000000000");
	ask_free(a);
	free(p);
}

/* There the class is that of the beginning as well: another one is a change of it. */
static void test_tier_is_set_meanwhile(void **state)
{
	struct fix *f = *state;
	char *p = bytes_make();
	uint64_t ino;
	struct vfs_handle *h = NULL;

	f->remotes[0].caps.meta_at_begin = true;
	h = create_in(f, f->aws, "big", &ino);
	write_all(f, h, p, 0, LEN);
	assert_true(parts_become(f, 4));
	assert_int_equal(setx(f, ino, "user.astra.tier", "WARM"), 0);
	close_h(f, h);
	settles(f, "big", p, LEN);
	assert_int_equal(posted(f, JOB_TRANSITION), 1);
	assert_string_equal(getx(f, ino, "user.astra.tier"), "WARM");
	free(p);
}

/* ---- at random ---- */

struct random_file { /* what is to be there */
	struct fix *f;
	char *p; /* LEN bytes; zeros behind size */
	size_t size;
	uint64_t ino;
	struct vfs_handle *h;
	unsigned name;
};

static const char *const random_names[2] = {"one", "two"};

static void random_write(struct random_file *x, size_t at, size_t len)
{
	len = MIN_OF(len, LEN - at);
	memset(x->p + at, (char)random(), len);
	assert_int_equal(put(x->f, x->h, at, x->p + at, len), 0);
	x->size = MAX_OF(x->size, at + len);
}

static void random_size(struct random_file *x, size_t size)
{
	set_size(x->f, x->ino, size);
	if (size < x->size)
		memset(x->p + size, 0, x->size - size);
	x->size = size;
}

static void random_allocate(struct random_file *x, int mode, size_t at, size_t len)
{
	struct fix *f = x->f;
	struct ask *a = ask_new();

	len = MIN_OF(len, LEN - at);
	assert_int_equal(CALL(a, vfs_fallocate, x->h, mode, at, len), 0);
	ask_free(a);
	if (mode == 0)
		x->size = MAX_OF(x->size, at + len);
	else
		memset(x->p + at, 0, len);
}

static void random_emptied(struct random_file *x)
{
	struct vfs_handle *h = NULL;

	assert_int_equal(open_ino(x->f, x->ino, O_WRONLY | O_TRUNC, &h), 0);
	memset(x->p, 0, x->size);
	x->size = 0;
	close_h(x->f, h);
}

static void random_renamed(struct random_file *x)
{
	struct fix *f = x->f;

	assert_int_equal(
		rename_to(f, f->aws, random_names[x->name], f->aws, random_names[!x->name], 0), 0);
	x->name = !x->name;
}

/* Whoever waits finds all of it, whatever came before. */
static void random_synced(struct random_file *x)
{
	assert_int_equal(fsync_h(x->f, x->h), 0);
	big_is(x->f, random_names[x->name], x->p, x->size);
}

static void random_step(struct random_file *x)
{
	size_t at = (size_t)random() % (x->size + 1), len = (size_t)random() % (2 * PART);

	switch (random() % 24) {
	case 0:
		random_size(x, at);
		break;
	case 1:
		random_size(x, (size_t)random() % LEN);
		break;
	case 2:
		random_allocate(x, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len + 1);
		break;
	case 3:
		random_allocate(x, 0, at, len + 1);
		break;
	case 4:
		random_synced(x);
		break;
	case 5:
		random_renamed(x);
		break;
	case 6:
		random_emptied(x);
		break;
	case 7:
	case 8:
		usleep((useconds_t)random() % 60000);
		break;
	case 9:
	case 10:
	case 11:
		random_write(x, at, (size_t)random() % 5000);
		break;
	default:
		random_write(x, x->size, MIN_OF(len, LEN - x->size));
	}
}

/* One file after another, each from its beginning, to a cloud that loses and refuses. */
static void test_at_random(void **state)
{
	struct fix *f = *state;
	struct random_file x = {.f = f, .p = calloc(1, LEN)};

	assert_non_null(x.p);
	fault(f, 0,
		"part_put:delay=4;part_put:p=0.04:error=EIO;part_put:p=0.03:lost;"
		"parts_begin:p=0.1:error=EAGAIN/throttle;parts_finish:p=0.1:lost");
	for (int i = 0; i < 3; i++) {
		memset(x.p, 0, LEN);
		x.size = x.name = 0;
		x.h = create_in(f, f->aws, random_names[0], &x.ino);
		random_write(&x, 0, 3 * PART);
		for (int k = 0; k < 30; k++)
			random_step(&x);
		close_h(f, x.h);
		settles(f, random_names[x.name], x.p, x.size);
		assert_int_equal(unlink_in(f, f->aws, random_names[x.name]), 0);
		all_done(f);
	}
	free(x.p);
}

static void test_answers_are_lost(void **state)
{
	fails_meanwhile(*state, "part_put:every=2:lost:times=4;parts_finish:lost:times=1");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_far, teardown)
	const struct CMUnitTest tests[] = {T(test_begins_before_the_close),
		T(test_changed_parts_go_again), T(test_changed_all_the_time), T(test_cut_short),
		T(test_cut_in_the_middle), T(test_cut_and_grown), T(test_removed), T(test_renamed),
		T(test_fsync), T(test_memory_is_bounded), T(test_a_long_step_is_no_pause),
		T(test_parts_fail), T(test_parts_are_throttled), T(test_begin_is_throttled),
		T(test_begin_is_lost), T(test_tries_begin_anew), T(test_few_parts),
		T(test_too_few_parts), T(test_parts_go), T(test_cut_and_written_again),
		T(test_becomes_a_copy), T(test_daemon_ends_meanwhile), T(test_temporary_names),
		T(test_near_stores), T(test_times), T(test_tier_is_set_meanwhile),
		T(test_answers_are_lost), T(test_at_random)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
