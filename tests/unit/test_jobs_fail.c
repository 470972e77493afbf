/* SPDX-License-Identifier: MIT */
/* What is left in the clouds and in the tree after requests failed: nothing half-done, nothing of
 * ours that looks like somebody else's. */
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

static size_t pending(struct fix *f, const char *bucket)
{
	struct store_upload *u = NULL;
	size_t n = 0;

	assert_int_equal(store_parts_pending(f->remotes[0].st, NULL, bucket, &u, &n, NULL), 0);
	free(u);
	return n;
}

static void test_stale_uploads(void **state)
{
	struct fix *f = *state;
	struct store_obj o = {"b", "somebodys"};
	char id[STORE_UPLOAD_MAX];
	struct err err;

	assert_int_equal(store_parts_begin(f->remotes[0].st, NULL, o, NULL, id, &err), 0);
	uploads_sweep(f->jobs);
	assert_int_equal(pending(f, "b"), 1); /* somebody may be at it */
	clock_skew_add(8 * 86400 * NS_PER_S);
	uploads_sweep(f->jobs);
	clock_skew_add(-8 * 86400 * NS_PER_S);
	assert_int_equal(pending(f, "b"), 0);
}

/* An upload in parts that could not be ended is ended by a later step, though the store does not
 * tell whose it is: of this run, of the next one, and also when the file is not wanted any more. */
static void test_begun_uploads_end(void **state)
{
	enum { SIZE = JOB_PART_SIZE + 1000 };
	static const char unlisted[] = "parts_pending:error=EIO/final";
	struct fix *f = *state;
	char *bytes = calloc(1, SIZE), name[8], rules[200];

	assert_non_null(bytes);
	fix_down(f);
	f->buf_size = JOB_PART_SIZE;
	fix_up(f);
	for (int how = 0; how < 3; how++) {
		(void)snprintf(name, sizeof(name), "f%d", how);
		(void)snprintf(rules, sizeof(rules),
			"%s;part_put:error=EIO;parts_abort%s:error=EIO", unlisted,
			how == 0 ? ":n=1" : "");
		fault(f, 0, rules);
		make(f, f->aws, name, bytes, SIZE);
		usleep(300000); /* it has begun, and failed */
		if (how == 2)
			assert_int_equal(unlink_in(f, f->aws, name), 0);
		if (how > 0) {
			fix_down(f);
			fix_up(f);
		}
		fault(f, 0, unlisted);
		sync_all(f);
		all_done(f);
		fault(f, 0, "");
		assert_int_equal(pending(f, "b"), 0);
		if (how < 2)
			assert_int_equal(
				object_get(&f->remotes[0], name, bytes, SIZE), (ssize_t)SIZE);
		else
			absent(f, name);
	}
	free(bytes);
}

/* ---- uploads that fail for good ---- */

static void count_puts(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
	uint64_t total_us)
{
	if (strcmp(op, "put") == 0)
		*(uint64_t *)arg = calls;
}

static uint64_t puts_in(struct fix *f, useconds_t us)
{
	uint64_t before = 0, after = 0;

	store_stats_each(f->remotes[0].st, count_puts, &before);
	usleep(us);
	store_stats_each(f->remotes[0].st, count_puts, &after);
	return after - before;
}

/* Tried again, more and more seldom; one that succeeds makes a new start. */
static void test_upload_again(void **state)
{
	struct fix *f = *state;
	char got[8];
	uint64_t ino;

	f->jobs->conf.retry_max_ns = 0;
	fault(f, 0, "put:error=EACCES/auth");
	ino = make(f, f->aws, "a", "one", 3);
	assert_in_range(puts_in(f, 1500000), 4, 9);
	assert_string_equal(getx(f, ino, "user.astra.state"), "upload-failed");
	assert_in_range(puts_in(f, 500000), 0, 1);
	fault(f, 0, "");
	sync_all(f); /* does not wait for it */
	assert_int_equal(object_get(&f->remotes[0], "a", got, sizeof(got)), 3);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	assert_int_equal(setback_delay_ns(f->jobs, ino), 20 * NS_PER_MS);
	assert_int_equal(setback_delay_ns(f->jobs, ino), 40 * NS_PER_MS);
	for (int i = 0; i < 40; i++)
		(void)setback_delay_ns(f->jobs, ino);
	assert_in_range(setback_delay_ns(f->jobs, ino) / NS_PER_S, 1200, 3600);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	sync_all(f);
	assert_int_equal(setback_delay_ns(f->jobs, ino), 20 * NS_PER_MS);
}

/* ---- moves that fail for good ---- */

/* The one name in dir that begins with prefix and ".unmoved-". Static. */
static const char *unmoved_in(struct fix *f, uint64_t dir, const char *prefix)
{
	static char ret[META_NAME_MAX + 1];
	struct err err = {0};
	struct store_page page = {0};
	char want[64];
	unsigned n = 0;
	uint64_t ino = 0;

	(void)snprintf(want, sizeof(want), "%s.unmoved-", prefix);
	assert_int_equal(
		store_list(f->remotes[0].st, NULL, "b", want, 0, NULL, 1000, &page, &err), 0);
	for (size_t i = 0; i < page.n; i++) {
		(void)snprintf(ret, sizeof(ret), "%s", page.e[i].key);
		n++;
	}
	store_page_done(&page);
	assert_int_equal(n, 1);
	assert_int_equal(lookup(f, dir, strrchr(ret, '/') ? strrchr(ret, '/') + 1 : ret, &ino), 0);
	return ret;
}

static void cut(struct fix *f, uint64_t ino)
{
	struct ask *a = ask_new();
	struct stat st = {0};

	assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_SIZE), 0);
	ask_free(a);
}

/* A job of another file that waits for its cloud, and has claims on n keys in remote aws: base-0,
 * base-1, ... from `from` on. */
static uint64_t hold_keys(struct fix *f, const char *base, long long from, unsigned n)
{
	uint64_t ino = 0;
	struct job *job = NULL;
	char key[64];

	fault(f, 1, "put:error=EAGAIN");
	ino = make_text(f, f->gcp, "holder", "holds");
	for (int i = 0; i < 5000 && !job_live(f->jobs, ino); i++)
		usleep(1000);
	LOCKED(&f->jobs->g.lock);
	job = graph_last_of(f->jobs, ino);
	assert_non_null(job);
	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "%s-%lld", base, from + i);
		assert_int_equal(graph_claim_new(f->jobs, job, f->remotes[0].id, key), 0);
	}
	return ino;
}

/* However many keys a job has claims on: who wants one of them waits for it. */
static void test_many_claims(void **state)
{
	struct fix *f = *state;
	uint64_t holder = hold_keys(f, "k", 0, 20), ino[3];

	ino[0] = make_text(f, f->aws, "k-0", "first");
	ino[1] = make_text(f, f->aws, "k-9", "middle");
	ino[2] = make_text(f, f->aws, "k-19", "last");
	for (unsigned i = 0; i < 3; i++)
		for (int n = 0; n < 5000 && !job_live(f->jobs, ino[i]); n++)
			usleep(1000);
	usleep(200000);
	assert_true(job_live(f->jobs, holder));
	absent(f, "k-0");
	absent(f, "k-9");
	absent(f, "k-19");
	fault(f, 1, "");
	all_done(f);
	text_is(f, "k-0", "first");
	text_is(f, "k-9", "middle");
	text_is(f, "k-19", "last");
	assert_null(f->jobs->g.keys);
}

/* A name beside the old one is free, but its key is not yet: it gets another. */
static void test_unmoved_is_claimed(void **state)
{
	struct fix *f = *state;
	long long now = clock_now_ns() / NS_PER_S;
	uint64_t ino = 0;

	(void)hold_keys(f, "log.unmoved", now, 60);
	ino = make_text(f, f->aws, "log", "old");
	for (int i = 0; i < 5000 && !job_live(f->jobs, ino); i++)
		usleep(1000);
	while (job_live(f->jobs, ino))
		usleep(1000);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "log", f->aws, "log.1", 0), 0);
	make_text(f, f->aws, "log", "new");
	while (job_live(f->jobs, ino))
		usleep(1000);
	text_is(f, unmoved_in(f, f->aws, "log"), "old");
	assert_true(atoll(strrchr(unmoved_in(f, f->aws, "log"), '-') + 1) >= now + 60);
	fault(f, 1, "");
	all_done(f);
	text_is(f, "log", "new");
}

/* The name of a file that could not leave was given to another one meanwhile. */
static void test_name_reused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "log", "old");

	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "log", f->aws, "log.1", 0), 0);
	make_text(f, f->aws, "log", "new");
	all_done(f);
	text_is(f, "log", "new");
	absent(f, "log.1");
	text_is(f, unmoved_in(f, f->aws, "log"), "old");
	assert_int_equal(lookup(f, f->aws, "log.1", NULL), -ENOENT);
	assert_non_null(strstr(getx(f, ino, "user.astra.state"), "failed"));
}

/* Who cancels it then is refused: the move to a key beside the old one goes on. */
static void test_turned_is_not_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "log", "old"), id = 0;
	struct job_info i = {0};

	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final;" COPY ":error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "log", f->aws, "log.1", 0), 0);
	assert_true(job_info_ino(f->jobs, ino, &i));
	id = i.id;
	make_text(f, f->aws, "log", "new");
	while (job_info_get(f->jobs, id, &i) && i.retries < 3)
		usleep(1000);
	assert_int_equal(job_cancel(f->jobs, id), 0);
	usleep(200000);
	assert_false(job_cancel_stands(f->jobs, id));
	assert_true(job_live(f->jobs, ino));
	fault(f, 0, "");
	all_done(f);
	text_is(f, "log", "new");
	text_is(f, unmoved_in(f, f->aws, "log"), "old");
	assert_true(job_info_get(f->jobs, id, &i));
	assert_int_equal(i.state, JOB_FAILED);
}

/* The name is given to another one only after the move was taken back: whoever does so believes the
 * old content to be under the new name. In three ways: opened with O_TRUNC, truncated, and replaced
 * by a rename. */
static void test_name_reused_late(void **state)
{
	struct fix *f = *state;

	for (int how = 0; how < 3; how++) {
		char name[8], to[8], tmp[8];
		struct vfs_handle *h = NULL;
		uint64_t ino = 0;

		(void)snprintf(name, sizeof(name), "log%d", how);
		(void)snprintf(to, sizeof(to), "to%d", how);
		(void)snprintf(tmp, sizeof(tmp), "tmp%d", how);
		make_text(f, f->aws, name, "old");
		sync_all(f);
		fault(f, 0, COPY ":n=1:error=EIO/final");
		assert_int_equal(rename_to(f, f->aws, name, f->aws, to, 0), 0);
		all_done(f);
		assert_int_equal(lookup(f, f->aws, name, &ino), 0);
		if (how == 2) {
			make_text(f, f->aws, tmp, "new");
			assert_int_equal(rename_to(f, f->aws, tmp, f->aws, name, 0), 0);
		} else {
			assert_int_equal(
				open_ino(f, ino, O_WRONLY | (how == 0 ? O_TRUNC : 0), &h), 0);
			if (how == 1)
				cut(f, ino);
			assert_int_equal(put(f, h, 0, "new", 3), 0);
			close_h(f, h);
		}
		all_done(f);
		sync_all(f);
		text_is(f, name, "new");
		file_is(f, f->aws, name, "new");
		text_is(f, unmoved_in(f, f->aws, name), "old");
		file_is(f, f->aws, unmoved_in(f, f->aws, name), "old");
		absent(f, to);
	}
	/* once is enough */
	uint64_t ino = 0;
	struct vfs_handle *h = NULL;

	assert_int_equal(lookup(f, f->aws, "log0", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	assert_int_equal(put(f, h, 0, "newer", 5), 0);
	close_h(f, h);
	sync_all(f);
	text_is(f, "log0", "newer");
	text_is(f, unmoved_in(f, f->aws, "log0"), "old");
}

/* A later rename makes up for the one that failed; the key is left all the same. */
static void test_later_rename(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "old");
	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "c", 0), 0);
	make_text(f, f->aws, "a", "new");
	all_done(f);
	text_is(f, "a", "new");
	text_is(f, "c", "old");
	absent(f, "b");
	assert_int_equal(lookup(f, f->aws, "c", NULL), 0);
}

/* What was replaced by a move that failed comes back, unless its name went on. */
static void test_victim(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	make_text(f, f->aws, "c", "three");
	make_text(f, f->aws, "d", "four");
	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	all_done(f);
	text_is(f, "a", "one");
	text_is(f, "b", "two");
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "c", f->aws, "d", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	all_done(f);
	text_is(f, "e", "three");
	absent(f, "c");
	absent(f, "d");
	assert_int_equal(lookup(f, f->aws, "d", NULL), -ENOENT);
}

/* Replaced twice, and both moves fail: the first to come is gone, the names are right. */
static void test_replaced_twice(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	make_text(f, f->aws, "c", "three");
	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "c", f->aws, "b", 0), 0);
	make_text(f, f->aws, "a", "new");
	all_done(f);
	text_is(f, "a", "new");
	text_is(f, "b", "three");
	absent(f, "c");
}

/* The copy was made, but nobody heard of it, and the next try fails: it counts. */
static void test_copy_counts(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	sync_all(f);
	fault(f, 0, COPY ":n=1:lost;head:n=1:error=EIO;" COPY ":error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	all_done(f);
	fault(f, 0, "");
	text_is(f, "b", "one");
	absent(f, "a");
}

/* A directory in aws with two files, x and y. */
static uint64_t make_dir(struct fix *f, const char *name, const char *x, const char *y)
{
	uint64_t dir = 0;

	assert_int_equal(mkdir_in(f, f->aws, name, &dir), 0);
	make_text(f, dir, "x", x);
	make_text(f, dir, "y", y);
	return dir;
}

/* A file of a directory move stays behind, and its old name is another one's. */
static void test_directory(void **state)
{
	struct fix *f = *state;
	uint64_t dir = make_dir(f, "d", "old x", "old y");

	sync_all(f);
	fault(f, 0, COPY ":n=1:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	dir = make_dir(f, "d", "new x", "new y");
	all_done(f);
	text_is(f, "d/x", "new x");
	text_is(f, "d/y", "new y");
	text_is(f, "e/y", "old y");
	absent(f, "e/x");
	text_is(f, unmoved_in(f, dir, "d/x"), "old x");
}

static int take_dirmove(void *arg, const struct job_info *i)
{
	struct job_info *ret = arg;

	if (i->kind != JOB_DIRMOVE || i->ended_ns == 0)
		return 0;
	*ret = *i;
	return 1;
}

/* However often it was hurried while its remote did not answer, it goes on soon after that does. */
static void test_hurried_in_vain(void **state)
{
	struct fix *f = *state;
	struct jobs_stat st;
	char got[8];
	unsigned n = 0;

	f->jobs->conf.retry_max_ns = 0; /* as it is for users */
	fault(f, 0, "put:error=EIO");
	make_text(f, f->aws, "x", "bytes");
	for (unsigned i = 0; i < 100; i++) {
		job_hurry(f->jobs, META_ROOT_INO);
		usleep(20000);
	}
	fault(f, 0, "");
	do {
		usleep(100000);
		jobs_stat(f->jobs, &st);
	} while (st.live != 0 && ++n < 80);
	assert_int_equal(st.live, 0);
	assert_int_equal(object_get(&f->remotes[0], "x", got, sizeof(got)), 5);
}

/* What is told of a directory move is what moved: tries that failed do not count, nor does what was
 * cancelled. */
static void test_directory_counts(void **state)
{
	struct fix *f = *state;
	const struct price_book *b = price_book_astra();
	const struct price_provider *aws = price_find(b, "aws"), *gcp = price_find(b, "gcp");
	struct job_info *i = calloc(1, sizeof(*i));
	uint64_t dir = 0, sub = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &dir), 0);
	assert_int_equal(mkdir_in(f, dir, "sub", &sub), 0);
	make_text(f, dir, "empty", "");
	make_text(f, dir, "x", "ten bytes.");
	make_text(f, sub, "y", "twelve bytes");
	sync_all(f);
	fault(f, 1, "put:n=1:error=EIO;put:n=2:lost");
	assert_int_equal(rename_to(f, f->aws, "d", f->gcp, "d", 0), 0);
	all_done(f);
	fault(f, 1, "");
	object_is(f, 1, "d/sub/y", "twelve bytes");
	job_each(f->jobs, take_dirmove, i);
	assert_int_equal(i->state, JOB_DONE);
	assert_int_equal(i->files_total, 3);
	assert_int_equal(i->files_done, 3);
	assert_int_equal(i->bytes_total, 22);
	assert_int_equal(i->bytes_done, 22);
	assert_int_equal(i->parts_done, 3);
	assert_true(i->retries > 0);
	assert_false(i->bill.unpriced);
	assert_true(i->bill.month_from == price_month(aws, TIER_HOT, 22));
	assert_true(i->bill.month_to == price_month(gcp, TIER_HOT, 22));
	/* One stays behind. */
	fault(f, 0, "put:n=1:error=EACCES/auth");
	assert_int_equal(rename_to(f, f->gcp, "d", f->aws, "e", 0), -EACCES);
	all_done(f);
	fault(f, 0, "");
	job_each(f->jobs, take_dirmove, i);
	assert_int_equal(i->state, JOB_FAILED);
	assert_int_equal(i->files_total, 3);
	assert_int_equal(i->files_done, 2);
	assert_int_equal(i->bytes_total, 22);
	assert_true(i->bill.month_from == price_month(gcp, TIER_HOT, i->bytes_done));
	assert_non_null(strstr(i->note, "1 file stays at the source: "));
	free(i);
}

/* A directory that cannot be listed gets its old name again. */
static void test_unlisted(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0, ino = 0;

	object_put(&f->remotes[0], "d/x", "one", 3);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	fault(f, 0, "list:error=EACCES/auth");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	all_done(f);
	fault(f, 0, "");
	assert_int_equal(lookup(f, f->aws, "e", NULL), -ENOENT);
	assert_int_equal(lookup(f, f->aws, "d", &ino), 0);
	assert_int_equal(ino, d);
	file_is(f, d, "x", "one");
	/* and goes when it can be */
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	sync_all(f);
	text_is(f, "e/x", "one");
	absent(f, "d/x");
}

/* Somebody counts on the new place: what is known moves, the rest is where it was. */
static void test_unlisted_goes_on(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0, s = 0, n = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	make_text(f, d, "y", "two");
	sync_all(f);
	object_put(&f->remotes[0], "d/s/x", "one", 3);
	assert_int_equal(setx(f, d, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, d, "s", &s), 0);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	fault(f, 0, "list:delay=100:error=EACCES/auth");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	make_text(f, d, "z", "three");
	all_done(f);
	assert_int_equal(job_failures(f), 1);
	fault(f, 0, "");
	text_is(f, "e/y", "two");
	text_is(f, "e/z", "three");
	text_is(f, "d/s/x", "one");
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, f->aws, "d", &n), 0);
	assert_int_equal(lookup(f, n, "s", &s), 0);
	file_is(f, s, "x", "one");
	file_is(f, d, "y", "two");
}

/* ---- exchanges ---- */

static void only_keys(struct fix *f, const char *one, const char *two)
{
	struct store_page page = {0};
	struct err err;

	assert_int_equal(
		store_list(f->remotes[0].st, NULL, "b", "", 0, NULL, 1000, &page, &err), 0);
	for (size_t i = 0; i < page.n; i++)
		if (strcmp(page.e[i].key, one) != 0 && strcmp(page.e[i].key, two) != 0)
			fail_msg("the store has '%s'", page.e[i].key);
	assert_int_equal(page.n, 2);
	store_page_done(&page);
	assert_int_equal(pending(f, "b"), 0);
}

/* Failures of any kind at any call, also on the way back: done, or not. */
static void test_exchange(void **state)
{
	struct fix *f = *state;
	char rules[128], a[64];
	unsigned done = 0;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	sync_all(f);
	for (unsigned seed = 1; seed <= 40; seed++) {
		ssize_t n;

		(void)snprintf(rules, sizeof(rules),
			"*:p=0.25:seed=%u:times=4:error=EIO/final;*:p=0.25:seed=%u:times=4:lost",
			seed, seed + 1000);
		n = object_get(&f->remotes[0], "a", a, sizeof(a) - 1);
		assert_int_equal(n, 3);
		a[n] = '\0';
		const char *b = strcmp(a, "one") == 0 ? "two" : "one";

		fault(f, 0, rules);
		assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
		all_done(f);
		fault(f, 0, "");
		only_keys(f, "a", "b");
		n = object_get(&f->remotes[0], "a", rules, sizeof(rules));
		bool back = memcmp(rules, a, 3) == 0;

		text_is(f, "a", back ? a : b);
		text_is(f, "b", back ? b : a);
		file_is(f, f->aws, "a", back ? a : b);
		file_is(f, f->aws, "b", back ? b : a);
		done += !back;
	}
	assert_true(done > 0 && done < 40);
}

/* Both are renamed on while the exchange fails; one is unlinked. */
static void test_exchange_goes_on(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	sync_all(f);
	fault(f, 0, "copy:n=2:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	make_text(f, f->aws, "a", "new");
	all_done(f);
	text_is(f, "a", "new");
	text_is(f, "b", "one");
	text_is(f, "c", "two");
	fault(f, 0, "copy:n=2:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(unlink_in(f, f->aws, "b"), 0);
	assert_int_equal(unlink_in(f, f->aws, "c"), 0);
	all_done(f);
	text_is(f, "a", "one");
	absent(f, "b");
	absent(f, "c");
}

/* Renamed on, and the store refuses for good: it ends, and each file has the name that it was given
 * last, or one beside. */
static void test_exchange_ends(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	make_text(f, f->aws, "b", "two");
	sync_all(f);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	fault(f, 0, "copy:key=.astra-tmp*:delay=200:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	all_done(f);
	assert_true(job_failures(f) >= 1);
	fault(f, 0, "");
	file_is(f, f->aws, "b", "one");
	file_is(f, f->aws, "c", "two");
	text_is(f, "b", "one");
	text_is(f, "c", "two");
	absent(f, "a");
}

/* Directories, one file of which cannot follow: it stays, the others have changed places. */
static void test_exchange_dirs_ends(void **state)
{
	struct fix *f = *state;
	uint64_t d = make_dir(f, "d", "one", "two"), e = 0;

	assert_int_equal(mkdir_in(f, f->aws, "e", &e), 0);
	make_text(f, e, "z", "three");
	sync_all(f);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	fault(f, 0, COPY ":key=.astra-tmp*/x:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", RENAME_EXCHANGE), 0);
	all_done(f);
	assert_true(job_failures(f) >= 1);
	fault(f, 0, "");
	text_is(f, "e/y", "two");
	text_is(f, "d/z", "three");
	text_is(f, "d/x", "one");
	file_is(f, d, "y", "two");
	file_is(f, e, "z", "three");
	file_is(f, e, "x", "one"); /* d's name is e now */
}

/* Directories change places whatever happens on the way. */
static void test_exchange_dirs(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0, e = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(mkdir_in(f, f->aws, "e", &e), 0);
	make_text(f, d, "x", "one");
	make_text(f, e, "x", "two");
	sync_all(f);
	fault(f, 0, COPY ":p=0.5:times=6:error=EIO/final;" COPY ":p=0.5:times=6:lost");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", RENAME_EXCHANGE), 0);
	all_done(f);
	fault(f, 0, "");
	text_is(f, "d/x", "two");
	text_is(f, "e/x", "one");
	file_is(f, d, "x", "one");
	file_is(f, e, "x", "two");
}

/* ---- directories that are removed while one above them moves ---- */

static uint64_t tree(struct fix *f)
{
	uint64_t d = make_dir(f, "d", "one", "two");

	assert_int_equal(mkdir_in(f, d, "s", NULL), 0);
	sync_all(f);
	text_is(f, "d/s/", "");
	fault(f, 0, COPY ":delay=100");
	return d;
}

/* Its marker goes as well, from where it is. */
static void test_removed_in_move(void **state)
{
	struct fix *f = *state;
	uint64_t d = tree(f);

	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	usleep(50000);
	assert_int_equal(rmdir_in(f, d, "s"), 0);
	all_done(f);
	only_keys(f, "e/x", "e/y");
}

static void test_removed_before_move(void **state)
{
	struct fix *f = *state;
	uint64_t d = tree(f);

	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "e", f->aws, "g", 0), 0);
	assert_int_equal(rmdir_in(f, d, "s"), 0);
	all_done(f);
	only_keys(f, "g/x", "g/y");
}

/* Another directory takes its name meanwhile. */
static void test_replaced_in_move(void **state)
{
	struct fix *f = *state;
	uint64_t d = tree(f), n = 0;

	assert_int_equal(mkdir_in(f, f->aws, "n", &n), 0);
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	usleep(50000);
	assert_int_equal(rename_to(f, f->aws, "n", d, "s", 0), 0);
	all_done(f);
	text_is(f, "e/s/", "");
	absent(f, "n/");
	absent(f, "d/s/");
	assert_int_equal(rmdir_in(f, d, "s"), 0);
	all_done(f);
	only_keys(f, "e/x", "e/y");
}

/* The one whose name it takes was just made: its marker is being put. */
static void test_replaced_when_new(void **state)
{
	struct fix *f = *state;

	make_dir(f, "n", "one", "two");
	all_done(f);
	fault(f, 0, "put:key=d/:delay=300");
	assert_int_equal(mkdir_in(f, f->aws, "d", NULL), 0);
	usleep(150000);
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "d", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	all_done(f);
	absent(f, "d/");
	text_is(f, "e/x", "one");
	text_is(f, "e/y", "two");
}

/* ---- directories that are made where others were ---- */

static void made_and_listed(struct fix *f, uint64_t dir, const char *name, uint64_t *ret)
{
	assert_int_equal(mkdir_in(f, dir, name, ret), 0);
	assert_int_equal(setx(f, *ret, "user.astra.refresh", "1"), 0);
}

/* A listing finds the marker of the one that leaves: the new one gets its own all the same. */
static void test_made_in_move(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0, s = 0;

	tree(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	made_and_listed(f, d, "s", &s);
	all_done(f);
	text_is(f, "d/s/", "");
	text_is(f, "e/s/", "");
}

static void test_made_after_removal(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	sync_all(f);
	text_is(f, "d/", "");
	fault(f, 0, "remove:delay=300");
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	made_and_listed(f, f->aws, "d", &d);
	all_done(f);
	text_is(f, "d/", "");
}

/* ---- directories that are not empty in the cloud ---- */

static uint64_t refused_dir(struct fix *f)
{
	uint64_t d = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	sync_all(f);
	text_is(f, "d/", "");
	fault(f, 0, "remove:key=d/:error=ENOTEMPTY");
	return d;
}

/* By what somebody else put there: it is there again, with that, and nobody waits for long. */
static void test_not_empty(void **state)
{
	struct fix *f = *state;
	uint64_t d = refused_dir(f);

	assert_true(job_follow_ns(f->jobs, -ENOTEMPTY) <= 30 * NS_PER_S);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	object_put(&f->remotes[0], "d/x", "one", 3);
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	assert_int_equal(lookup(f, f->aws, "d", &d), -ENOENT);
	all_done(f);
	assert_int_equal(job_failures(f), 1);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	file_is(f, d, "x", "one");
	fault(f, 0, "");
	assert_int_equal(unlink_in(f, d, "x"), 0);
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	all_done(f);
	absent(f, "d/");
	absent(f, "d/x");
	assert_int_equal(job_failures(f), 1);
}

/* By what was made in it since, under its name: nothing has failed. */
static void test_not_empty_again(void **state)
{
	struct fix *f = *state;
	uint64_t d = refused_dir(f);
	int64_t began = clock_mono_ns();

	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	make_text(f, d, "x", "one");
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	assert_true(clock_mono_ns() - began < 5 * NS_PER_S);
	text_is(f, "d/x", "one");
}

/* By several that cannot go, one below the other: they wait side by side. */
static void test_not_empty_deep(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0, e = 0;
	int64_t began = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(mkdir_in(f, d, "e", &e), 0);
	assert_int_equal(mkdir_in(f, e, "f", NULL), 0);
	sync_all(f);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	fault(f, 0, "remove:key=d/*:error=ENOTEMPTY");
	f->jobs->conf.follow_ns = NS_PER_S;
	began = clock_mono_ns();
	assert_int_equal(rmdir_in(f, e, "f"), 0);
	assert_int_equal(rmdir_in(f, d, "e"), 0);
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	all_done(f);
	assert_true(job_failures(f) >= 1);
	assert_true(clock_mono_ns() - began < 2500 * NS_PER_MS);
}

/* By what the delete guard keeps: that is nothing to wait for. */
static void test_not_empty_held(void **state)
{
	struct fix *f = *state;
	struct jobs_stat st = {0};
	struct job_info i = {0};

	fix_down(f);
	f->delete_guard = 1;
	fix_up(f);
	uint64_t d = refused_dir(f), a = make_text(f, d, "a", "one"),
		 b = make_text(f, d, "b", "two");

	sync_all(f);
	assert_int_equal(unlink_in(f, d, "a"), 0);
	assert_int_equal(unlink_in(f, d, "b"), 0);
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	for (int n = 0; n < 5000 && (n == 0 || st.live != 2 || st.stuck != 2); n++) {
		usleep(1000);
		jobs_stat(f->jobs, &st);
	}
	assert_int_equal(st.live, 2);
	assert_int_equal(st.stuck, 2);
	assert_false(job_info_ino(f->jobs, a, &i));
	assert_true(job_info_ino(f->jobs, b, &i));
	assert_int_equal(job_cancel(f->jobs, i.id), 0);
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	file_is(f, d, "b", "two");
	absent(f, "d/a");
}

/* ---- places that the store has no room for an object in ---- */

/* By what somebody else put there: told soon, kept, and healed when that goes. */
static void test_taken(void **state)
{
	static const char *const faults[] = {"put:key=d:error=EISDIR", "put:key=d:error=ENOTDIR"};
	struct fix *f = *state;

	assert_true(job_follow_ns(f->jobs, -EISDIR) <= 30 * NS_PER_S);
	assert_true(job_follow_ns(f->jobs, -ENOTDIR) <= 30 * NS_PER_S);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		uint64_t before = job_failures(f);
		int64_t began = clock_mono_ns();

		fault(f, 0, faults[i]);
		uint64_t ino = make_text(f, f->aws, "d", "one");

		while (job_failures(f) == before && clock_mono_ns() - began < 10 * NS_PER_S)
			usleep(1000);
		assert_true(job_failures(f) > before);
		assert_true(clock_mono_ns() - began >= 250 * NS_PER_MS);
		assert_string_equal(getx(f, ino, "user.astra.state"), "upload-failed");
		file_is(f, f->aws, "d", "one");
		absent(f, "d");
		fault(f, 0, "");
		sync_all(f);
		text_is(f, "d", "one");
		assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
		assert_int_equal(unlink_in(f, f->aws, "d"), 0);
		all_done(f);
	}
}

/* By what we are about to remove: for as long as that takes. */
static void test_taken_by_ours(void **state)
{
	struct fix *f = *state;
	uint64_t d = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	make_text(f, d, "x", "one");
	sync_all(f);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	fault(f, 0, "remove:key=d/x:delay=2000;put:key=d:error=EISDIR");
	assert_int_equal(unlink_in(f, d, "x"), 0);
	assert_int_equal(rmdir_in(f, f->aws, "d"), 0);
	make_text(f, f->aws, "d", "two");
	usleep(1200000);
	assert_int_equal(job_failures(f), 0);
	fault(f, 0, "");
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	text_is(f, "d", "two");
	absent(f, "d/x");
}

/* A move there is taken back. */
static void test_taken_move(void **state)
{
	struct fix *f = *state;
	uint64_t ino = 0;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	f->jobs->conf.follow_ns = 300 * NS_PER_MS;
	fault(f, 0, "*:key=d:error=EISDIR");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "d", 0), 0);
	all_done(f);
	assert_int_equal(job_failures(f), 1);
	fault(f, 0, "");
	assert_int_equal(lookup(f, f->aws, "d", &ino), -ENOENT);
	file_is(f, f->aws, "a", "one");
	text_is(f, "a", "one");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_stale_uploads), T(test_begun_uploads_end),
		T(test_upload_again), T(test_many_claims), T(test_unmoved_is_claimed),
		T(test_name_reused), T(test_turned_is_not_cancelled), T(test_name_reused_late),
		T(test_later_rename), T(test_victim), T(test_replaced_twice), T(test_copy_counts),
		T(test_directory), T(test_directory_counts), T(test_unlisted),
		T(test_unlisted_goes_on), T(test_hurried_in_vain), T(test_exchange_ends),
		T(test_exchange_dirs_ends), T(test_exchange), T(test_exchange_goes_on),
		T(test_exchange_dirs), T(test_removed_in_move), T(test_removed_before_move),
		T(test_replaced_in_move), T(test_replaced_when_new), T(test_made_in_move),
		T(test_made_after_removal), T(test_not_empty), T(test_not_empty_again),
		T(test_not_empty_deep), T(test_not_empty_held), T(test_taken),
		T(test_taken_by_ours), T(test_taken_move)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
