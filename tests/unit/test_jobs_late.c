/* SPDX-License-Identifier: MIT */
/* A request that takes effect after the daemon that made it has died, or had given it up, and after
 * it was looked for: nothing of it stays, and it is no conflict. */
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

/* The store has this key alone; NULL = none. */
static void only_object(struct fix *f, unsigned remote, const char *key)
{
	struct store_page page = {0};
	struct err err;

	assert_int_equal(
		store_list(f->remotes[remote].st, NULL, "b", "", 0, NULL, 1000, &page, &err), 0);
	for (size_t i = 0; i < page.n; i++)
		if (key == NULL || strcmp(page.e[i].key, key) != 0)
			fail_msg("the store has '%s'", page.e[i].key);
	assert_int_equal(page.n, key != NULL);
	store_page_done(&page);
}

struct attempt { /* a request that is under way; its write mark */
	uint64_t nonce, id;
};

/* That of the job that was posted last, which has begun. */
static struct attempt begun(struct fix *f)
{
	struct attempt a = {0};

	for (int i = 0; i < 5000 && a.id == 0; i++) {
		struct job *job = NULL;

		usleep(1000);
		LOCKED(&f->jobs->g.lock);
		uint64_t id = f->jobs->g.last_id;

		HASH_FIND(hh, f->jobs->g.by_id, &id, sizeof(id), job);
		if (job != NULL && job->attempts != 0)
			a = (struct attempt){job->nonce, job->id};
	}
	assert_int_not_equal(a.id, 0);
	return a;
}

/* It was asked for, and what became of it is not known. */
static void in_doubt(struct fix *f, struct attempt a)
{
	struct job_info i = {0};

	for (int k = 0; k < 20000 && i.retries == 0; k++) {
		usleep(1000);
		assert_true(job_info_get(f->jobs, a.id, &i));
	}
	assert_int_not_equal(i.retries, 0);
}

/* When looks are made: not before what is to come has come; and then. */
#define NO_END_NS   (600 * NS_PER_S)
#define FIRST_AT_NS (NO_END_NS / 6)
#define END_NS	    (600 * NS_PER_MS)

static int look_again(void *arg, const struct job_info *i)
{
	uint64_t id = 0;
	struct err err;

	if (i->kind == JOB_LOOK && i->ended_ns == 0)
		(void)job_retry(((struct fix *)arg)->jobs, i->id, &id, &err);
	return 0;
}

/* From now on looks come to their end, those that there are as well. */
static void looks_end(struct fix *f)
{
	f->jobs->conf.late_ns = END_NS;
	job_each(f->jobs, look_again, f);
}

static int setup_late(void **state)
{
	struct fix *f;
	int r = setup_quick(state);

	f = *state;
	fix_down(f);
	f->late_ns = NO_END_NS;
	fix_up(f);
	return r;
}

/* It takes effect now. */
static void lands(
	struct fix *f, unsigned remote, const char *key, const char *text, struct attempt a)
{
	char mark[64];
	struct err err;
	struct store_meta meta = {STORE_META_WRITE, mark};
	struct store_put p = {.meta = &meta, .nmeta = 1};

	(void)snprintf(mark, sizeof(mark), "%016llx.%llu.1", (unsigned long long)a.nonce,
		(unsigned long long)a.id);
	assert_int_equal(store_put(f->remotes[remote].st, NULL, (struct store_obj){"b", key}, text,
				 strlen(text), &p, NULL, &err),
		0);
}

static void killed(struct fix *f)
{
	fix_down(f);
	fault(f, 0, "");
	fault(f, 1, "");
	fix_up(f);
}

/* p, new, is being sent for the first time; then it is unlinked. */
static struct attempt sent_and_unlinked(struct fix *f)
{
	struct attempt a;

	fault(f, 0, "put:error=EIO/unknown;head:error=EIO");
	make_text(f, f->aws, "p", "new");
	a = begun(f);
	in_doubt(f, a);
	assert_int_equal(unlink_in(f, f->aws, "p"), 0);
	return a;
}

static void has_ended(struct fix *f, uint64_t id)
{
	struct job_info i = {0};

	for (int k = 0; k < 20000 && (!job_info_get(f->jobs, id, &i) || i.ended_ns == 0); k++)
		usleep(1000);
	assert_int_not_equal(i.ended_ns, 0);
}

/* Its upload, which may not be posted yet, is at the store, which takes half a second. */
static void is_sending(struct fix *f, uint64_t ino)
{
	struct job_info i = {0};

	for (int k = 0; k < 20000 && i.attempts == 0; k++) {
		usleep(1000);
		(void)job_info_ino(f->jobs, ino, &i);
	}
	assert_int_equal(i.kind, JOB_UPLOAD);
	assert_int_not_equal(i.attempts, 0);
	usleep(100000);
}

static void nothing_stays(struct fix *f, unsigned remote, const char *key, struct attempt a)
{
	sync_all(f);
	only_object(f, remote, NULL);
	lands(f, remote, key, "new", a);
	looks_end(f);
	all_done(f);
	only_object(f, remote, NULL);
	sync_all(f);
}

static void test_upload(void **state)
{
	struct fix *f = *state;
	struct attempt a = sent_and_unlinked(f);

	killed(f);
	nothing_stays(f, 0, "p", a);
	assert_int_equal(lookup(f, f->aws, "p", NULL), -ENOENT);
}

static void test_killed_twice(void **state)
{
	struct fix *f = *state;
	struct attempt a = sent_and_unlinked(f);

	killed(f);
	sync_all(f);
	killed(f);
	nothing_stays(f, 0, "p", a);
}

/* The number of the attempt is lost with the power. */
static void test_power_cut(void **state)
{
	struct fix *f = *state;
	struct attempt a = sent_and_unlinked(f);
	struct meta_txn *t;
	struct job *job = NULL;

	jobs_stop(f->jobs);
	t = meta_begin(f->m);
	HASH_FIND(hh, f->jobs->g.by_id, &a.id, sizeof(a.id), job);
	assert_non_null(job);
	job->attempts = 0;
	assert_int_equal(journal_put(t, job), 0);
	assert_int_equal(meta_commit(t), 0);
	f->power_cut = true;
	killed(f);
	nothing_stays(f, 0, "p", a);
}

/* The next run sends it again, and then its name goes on, or it is moved away: the key is free, and
 * what was sent first comes there. What the file has now stays. */
static void test_sent_again(void **state)
{
	struct fix *f = *state;

	for (int how = 0; how < 3; how++) {
		struct attempt a;

		f->jobs->conf.late_ns = NO_END_NS;
		fault(f, 0, "put:error=EIO/unknown;head:error=EIO");
		make_text(f, f->aws, "p", "new");
		a = begun(f);
		killed(f);
		sync_all(f);
		text_is(f, "p", "new");
		if (how == 0)
			assert_int_equal(unlink_in(f, f->aws, "p"), 0);
		else if (how == 1)
			assert_int_equal(rename_to(f, f->aws, "p", f->gcp, "p", 0), 0);
		if (how < 2)
			nothing_stays(f, 0, "p", a);
		looks_end(f);
		all_done(f);
		if (how == 2)
			file_is(f, f->aws, "p", "new");
		if (how == 2)
			text_is(f, "p", "new");
		if (how == 1)
			object_is(f, 1, "p", "new");
		if (how == 1)
			assert_int_equal(unlink_in(f, f->gcp, "p"), 0);
		sync_all(f);
	}
}

/* Without a kill: the answer was lost. */
static void test_answer_lost(void **state)
{
	struct fix *f = *state;
	struct attempt a = sent_and_unlinked(f);

	fault(f, 0, "");
	nothing_stays(f, 0, "p", a);
}

static void test_move(void **state)
{
	struct fix *f = *state;
	struct attempt a;

	make_text(f, f->aws, "a", "new");
	sync_all(f);
	fault(f, 1, "put:error=EIO/unknown;head:error=EIO");
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
	a = begun(f);
	assert_int_equal(unlink_in(f, f->gcp, "a"), 0);
	killed(f);
	nothing_stays(f, 1, "a", a);
	only_object(f, 0, NULL);
}

/* It is called off, and the new name is free. */
static void test_move_cancelled(void **state)
{
	struct fix *f = *state;
	struct attempt a;

	make_text(f, f->aws, "a", "new");
	sync_all(f);
	fault(f, 1, "put:error=EIO/unknown;head:error=EIO");
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
	a = begun(f);
	fix_down(f);
	fix_up(f);
	assert_int_equal(job_cancel(f->jobs, a.id), 0);
	fault(f, 1, "");
	has_ended(f, a.id);
	nothing_stays(f, 1, "a", a);
	file_is(f, f->aws, "a", "new");
	only_object(f, 0, "a");
}

/* Another file has the name by then: it does not wait, and is not in conflict with what comes. */
static void test_name_taken(void **state)
{
	struct fix *f = *state;
	struct attempt a = sent_and_unlinked(f);
	uint64_t ino;
	int64_t from;

	killed(f);
	sync_all(f);
	fault(f, 0, "put:key=p:n=1:delay=500");
	from = clock_mono_ns();
	ino = make_text(f, f->aws, "p", "other");
	for (int i = 0; i < 20000 && !job_live(f->jobs, ino); i++)
		usleep(1000);
	job_hurry(f->jobs, META_ROOT_INO); /* as fsync does */
	is_sending(f, ino);
	lands(f, 0, "p", "new", a);
	sync_all(f);
	assert_in_range(clock_mono_ns() - from, 0, FIRST_AT_NS / 5);
	text_is(f, "p", "other");
	looks_end(f);
	all_done(f);
	text_is(f, "p", "other");
	only_object(f, 0, "p");
	file_is(f, f->aws, "p", "other");
}

/* It was to go over an object which another file is to replace by now. */
static void test_replaced(void **state)
{
	struct fix *f = *state;
	struct attempt a;
	struct vfs_handle *h;
	uint64_t ino = make_text(f, f->aws, "p", "old");

	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	fault(f, 0, "put:error=EIO/unknown;head:error=EIO");
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	close_h(f, h);
	a = begun(f);
	ino = make_text(f, f->aws, "q", "other");
	assert_int_equal(rename_to(f, f->aws, "q", f->aws, "p", 0), 0);
	fix_down(f);
	fault(f, 0, "put:key=p:n=1:delay=500");
	fix_up(f);
	job_hurry(f->jobs, META_ROOT_INO);
	is_sending(f, ino);
	lands(f, 0, "p", "new", a);
	sync_all(f);
	looks_end(f);
	all_done(f);
	text_is(f, "p", "other");
	only_object(f, 0, "p");
	file_is(f, f->aws, "p", "other");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_late, teardown)
	const struct CMUnitTest tests[] = {T(test_upload), T(test_killed_twice), T(test_power_cut),
		T(test_sent_again), T(test_answer_lost), T(test_move), T(test_move_cancelled),
		T(test_name_taken), T(test_replaced)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
