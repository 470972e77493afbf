/* SPDX-License-Identifier: MIT */
/* Files of a program that makes many rest briefly before their upload; those of one that changes,
 * renames or removes what it has just made rest as long as others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_count.h"
#include "vfs/vfs_priv.h"

#include "job/job_priv.h"
#include "jobs_help.h"

enum { MANY = 12, ONE = 7, OTHER = 8 }; /* threads */

#define FEW 48 /* as in sched.c */

#define LONG_NS (3600 * NS_PER_S)

static void delay_set(struct fix *f, int64_t ns)
{
	fix_down(f);
	f->vc.upload_delay_ns = ns;
	fix_up(f);
}

static int setup_long(void **state)
{
	int r = setup(state);

	delay_set(*state, LONG_NS);
	return r;
}

static uint64_t made_in(struct fix *f, uint64_t dir, int tid, const char *name)
{
	struct ask *a = ask_new();
	struct vfs_handle *h;
	uint64_t ino;

	a->c.pid = tid;
	assert_int_equal(CALL(a, vfs_create, dir, name, 0644, O_WRONLY | O_CREAT), 0);
	h = a->c.handle;
	ino = (uint64_t)a->c.attr.st.st_ino;
	ask_free(a);
	assert_int_equal(put(f, h, 0, "x", 1), 0);
	close_h(f, h);
	return ino;
}

static const char *name_of(const char *stem, unsigned i)
{
	static char name[32];

	(void)snprintf(name, sizeof(name), "%s%02u", stem, i);
	return name;
}

static void make_n(struct fix *f, int tid, const char *stem, unsigned n, uint64_t *ret)
{
	for (unsigned i = 0; i < n; i++)
		ret[i] = made_in(f, f->aws, tid, name_of(stem, i));
}

static unsigned brief(struct fix *f, const uint64_t *inos, unsigned n)
{
	unsigned k = 0;
	LOCKED(&f->v->lock);

	for (unsigned i = 0; i < n; i++) {
		struct dirty *d;

		HASH_FIND(hh, f->v->s.dirty, &inos[i], sizeof(inos[i]), d);
		if (d && d->brief && d->due_ns == d->flush_ns + f->vc.upload_delay_ns / 5)
			k++;
		else if (d)
			assert_true(!d->brief && d->due_ns >= d->flush_ns + f->vc.upload_delay_ns);
	}
	return k;
}

static void test_many_rest_briefly(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY], b[MANY];

	make_n(f, ONE, "a", MAKER_RUN - 1, a);
	assert_int_equal(brief(f, a, MAKER_RUN - 1), 0);
	make_n(f, OTHER, "b", MAKER_RUN - 1, b); /* by thread */
	assert_int_equal(brief(f, a, MAKER_RUN - 1), 0);
	assert_int_equal(brief(f, b, MAKER_RUN - 1), 0);
	for (unsigned i = MAKER_RUN - 1; i < MANY; i++) {
		a[i] = made_in(f, f->aws, ONE, name_of("a", i));
		assert_int_equal(brief(f, a, i + 1), i + 1); /* those before, too */
	}
	assert_int_equal(brief(f, b, MAKER_RUN - 1), 0);
}

/* Of nobody knows whom. */
static void test_not_by_nobody(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	make_n(f, 0, "a", MANY, a);
	assert_int_equal(brief(f, a, MANY), 0);
}

static void test_temporary_names(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY], b[MANY];

	make_n(f, ONE, ".a", MANY, a);
	assert_int_equal(brief(f, a, MANY), 0);
	make_n(f, ONE, "b", MANY, b);
	assert_int_equal(brief(f, b, MANY), MANY);
	b[0] = made_in(f, f->aws, ONE, "c.tmp");
	assert_int_equal(brief(f, b, MANY), MANY - 1);
}

/* None of what it made, or makes then, rests briefly. */
static void is_spoilt(struct fix *f, const uint64_t *made)
{
	uint64_t a[MANY];

	assert_int_equal(brief(f, made, MANY), 0);
	make_n(f, ONE, "z", MANY, a);
	assert_int_equal(brief(f, a, MANY), 0);
	make_n(f, OTHER, "y", MANY, a);
	assert_int_equal(brief(f, a, MANY), MANY); /* others do */
}

static void test_renamed(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	make_n(f, ONE, "a", MANY, a);
	assert_int_equal(rename_to(f, f->aws, "a03", f->aws, "b", 0), 0);
	is_spoilt(f, a);
}

static void test_replaced(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	make_n(f, ONE, "a", MANY, a);
	make_text(f, f->aws, "b", "b");
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "a03", 0), 0);
	is_spoilt(f, a);
}

static void test_removed(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	make_n(f, ONE, "a", MANY, a);
	assert_int_equal(unlink_in(f, f->aws, "a03"), 0);
	is_spoilt(f, a);
}

static void test_written_again(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];
	struct vfs_handle *h;

	make_n(f, ONE, "a", MANY, a);
	assert_int_equal(open_ino(f, a[3], O_WRONLY, &h), 0);
	assert_int_equal(put(f, h, 1, "y", 1), 0);
	close_h(f, h);
	is_spoilt(f, a);
}

static void test_each_renamed(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		a[i] = made_in(f, f->aws, ONE, "new");
		assert_int_equal(rename_to(f, f->aws, "new", f->aws, name_of("a", i), 0), 0);
	}
	assert_int_equal(brief(f, a, MANY), 0);
}

static void test_directory_moved(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY], dir;

	assert_int_equal(mkdir_in(f, f->aws, "d", &dir), 0);
	for (unsigned i = 0; i < MANY; i++)
		a[i] = made_in(f, dir, ONE, name_of("a", i));
	assert_int_equal(brief(f, a, MANY), MANY);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	is_spoilt(f, a);
}

static bool is_there(struct fix *f, const char *key)
{
	char got[64];

	return object_get(&f->remotes[0], key, got, sizeof(got)) >= 0;
}

static void all_come(struct fix *f, const char *stem)
{
	for (unsigned i = 0; i < MANY; i++) {
		for (unsigned k = 0; k < 60000 && !is_there(f, name_of(stem, i)); k++)
			usleep(1000);
		assert_true(is_there(f, name_of(stem, i)));
	}
}

/* The delay is for a machine that looks away; each goes up once. */
static void test_uploaded(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY], before;

	delay_set(f, 20 * NS_PER_S);
	before = count_get(COUNT_store_bytes_out);
	(void)made_in(f, f->aws, OTHER, "other");
	make_n(f, ONE, "a", MANY, a);
	all_come(f, "a");
	assert_false(is_there(f, "other"));
	assert_int_equal(count_get(COUNT_store_bytes_out) - before, MANY);
	/* What would have saved an upload is remembered. */
	assert_int_equal(unlink_in(f, f->aws, "a03"), 0);
	is_spoilt(f, a);
}

/* They do not wait for a pause. */
static void test_beside_who_works(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];

	delay_set(f, 10 * NS_PER_MS);
	{
		LOCKED(&f->jobs->front.lock);
		f->jobs->front.window = (clock_mono_ns() + LONG_NS) / (100 * NS_PER_MS);
		f->jobs->front.n = 1000;
	}
	int64_t begun = clock_mono_ns();

	make_n(f, ONE, "a", MANY, a);
	(void)made_in(f, f->aws, OTHER, "other");
	all_come(f, "a");
	assert_true(!is_there(f, "other") || clock_mono_ns() - begun >= 8 * NS_PER_S);
}

static struct job *job_of(struct fix *f, uint64_t ino)
{
	struct job *job;

	lock_assert_held(&f->jobs->g.lock);
	job = graph_last_of(f->jobs, ino);
	assert_non_null(job);
	return job;
}

/* All of them, as if they were due soon. No upload ends. */
static int64_t posted_early(struct fix *f, uint64_t a[MANY])
{
	int64_t due;

	make_n(f, ONE, "a", MANY, a);
	assert_int_equal(brief(f, a, MANY), MANY);
	fault(f, 0, "put:hang");
	lock_take(&f->v->lock);
	due = clock_mono_ns() + DIRTY_EARLY_NS;
	for (struct dirty *d = f->v->s.dirty; d; d = d->hh.next)
		d->due_ns = due, d->flush_ns -= DIRTY_TICK_NS;
	lock_drop(&f->v->lock);
	dirty_run(&f->v->dirty_task);
	assert_null(f->v->s.dirty);
	return due;
}

/* In the journal, and behind a sync point, before they may go. */
static void test_posted_early(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY], txn;
	int64_t due = posted_early(f, a);

	{
		LOCKED(&f->jobs->g.lock);
		txn = job_of(f, a[0])->g.post_txn;
		for (unsigned i = 0; i < MANY; i++) {
			assert_true(job_of(f, a[i])->g.beside);
			assert_int_equal(job_of(f, a[i])->own.wake_mono_ns, due);
			assert_int_equal(job_of(f, a[i])->g.post_txn, txn);
		}
	}
	while (meta_synced(f->m) < txn)
		usleep(1000);
	fault(f, 0, "");
	all_come(f, "a");
	assert_true(clock_mono_ns() >= due);
	all_done(f);
	text_is(f, "a03", "x");
}

static void test_written_while_posted(void **state)
{
	struct fix *f = *state;
	uint64_t a[MANY];
	struct vfs_handle *h;

	(void)posted_early(f, a);
	assert_int_equal(open_ino(f, a[3], O_WRONLY, &h), 0);
	assert_int_equal(put(f, h, 1, "y", 1), 0);
	close_h(f, h);
	{
		LOCKED(&f->jobs->g.lock);
		/* Unless the machine looked away for so long. */
		assert_true(job_of(f, a[3])->g.begun ||
			    job_of(f, a[3])->own.wake_mono_ns >= clock_mono_ns() + LONG_NS / 2);
		assert_true(job_of(f, a[4])->own.wake_mono_ns < clock_mono_ns() + LONG_NS / 2);
	}
	fault(f, 0, "");
	all_done(f);
	text_is(f, "a03", "xy");
}

static void rests_for_long(struct fix *f, uint64_t ino)
{
	struct meta_txn *t;

	dirty_forget(f->v, ino);
	t = meta_begin(f->m);
	assert_int_equal(job_upload_at(f->jobs, t, ino, clock_mono_ns() + LONG_NS), 0);
	assert_int_equal(meta_commit(t), 0);
}

/* It rests as a job, and is as cheap to rename and remove as before; who waits does not. */
static void test_rests_as_a_job(void **state)
{
	struct fix *f = *state;
	uint64_t a = made_in(f, f->aws, ONE, "a"), b = made_in(f, f->aws, ONE, "b"), sent;
	struct vfs_handle *h;

	rests_for_long(f, a);
	rests_for_long(f, b);
	sent = count_get(COUNT_store_requests);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	assert_int_equal(unlink_in(f, f->aws, "b"), 0);
	assert_int_equal(open_ino(f, a, O_RDONLY, &h), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	all_done(f);
	assert_int_equal(count_get(COUNT_store_requests) - sent, 1);
	text_is(f, "c", "x");
	absent(f, "a");
	absent(f, "b");
}

static unsigned under_way(struct fix *f)
{
	struct share *s;
	unsigned n = 0;
	LOCKED(&f->jobs->g.lock);

	TAILQ_FOREACH (s, &f->jobs->g.shares, link)
		n += s->nfew;
	return n;
}

/* While somebody works only so many are under way. */
static void test_few_beside_who_works(void **state)
{
	struct fix *f = *state;
	uint64_t a[2 * FEW];
	int64_t begun;

	delay_set(f, 10 * NS_PER_MS);
	fault(f, 0, "put:hang");
	{
		LOCKED(&f->jobs->front.lock);
		f->jobs->front.window = (clock_mono_ns() + LONG_NS) / (100 * NS_PER_MS);
		f->jobs->front.n = 1000;
		f->jobs->front.last_ns = clock_mono_ns() + LONG_NS;
	}
	begun = clock_mono_ns();
	make_n(f, ONE, "a", 2 * FEW, a);
	while (under_way(f) < FEW)
		usleep(1000);
	usleep(50000);
	assert_true(under_way(f) == FEW || clock_mono_ns() - begun >= 8 * NS_PER_S);
	fault(f, 0, "");
	all_done(f);
	assert_int_equal(under_way(f), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_long, teardown)
	const struct CMUnitTest tests[] = {T(test_many_rest_briefly), T(test_not_by_nobody),
		T(test_temporary_names), T(test_renamed), T(test_replaced), T(test_removed),
		T(test_written_again), T(test_each_renamed), T(test_directory_moved),
		T(test_uploaded), T(test_beside_who_works), T(test_posted_early),
		T(test_written_while_posted), T(test_rests_as_a_job), T(test_few_beside_who_works)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
