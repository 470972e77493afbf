/* SPDX-License-Identifier: MIT */
/* Moves in a cloud that gives an object another key in one step: nothing is copied, a lost answer
 * is settled by the version, what a rename cannot do a copy does, and a request that may still take
 * effect is waited for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RENAMES
#include "job/job_priv.h"
#include "jobs_help.h"

#define NO_COPY /* a request but for the rename fails */                                           \
	"copy:error=EIO/final;remove:error=EIO/final;put:error=EIO/final;"

static void version_of(struct fix *f, const char *key, char ret[META_ETAG_MAX])
{
	struct store_stat st;
	struct err err;

	assert_int_equal(
		store_head(f->remotes[0].st, NULL, (struct store_obj){"b", key}, &st, &err), 0);
	(void)snprintf(ret, META_ETAG_MAX, "%s", st.etag);
	store_stat_done(&st);
}

/* a, "old", is in the cloud. */
static uint64_t begin(struct fix *f)
{
	uint64_t ino = make_text(f, f->aws, "a", "old");

	sync_all(f);
	return ino;
}

static void moved(struct fix *f)
{
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	absent(f, "a");
	text_is(f, "b", "old");
	file_is(f, f->aws, "b", "old");
	assert_int_equal(lookup(f, f->aws, "a", NULL), -ENOENT);
}

static void test_one_step(void **state)
{
	struct fix *f = *state;
	char was[META_ETAG_MAX], is[META_ETAG_MAX];

	begin(f);
	version_of(f, "a", was);
	fault(f, 0, NO_COPY);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	moved(f);
	version_of(f, "b", is);
	assert_string_equal(was, is);
}

/* Over a file, which goes by that. */
static void test_over_another(void **state)
{
	struct fix *f = *state;

	begin(f);
	make_text(f, f->aws, "b", "victim");
	sync_all(f);
	fault(f, 0, NO_COPY);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	moved(f);
}

/* There and back, and on: the same version comes to the same key again. */
static void test_back(void **state)
{
	struct fix *f = *state;

	begin(f);
	fault(f, 0, NO_COPY);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
		sync_all(f);
		assert_int_equal(rename_to(f, f->aws, "b", f->aws, "a", 0), 0);
		if (i == 1)
			sync_all(f);
	}
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	moved(f);
}

static void test_answer_lost(void **state)
{
	static const char *const rules[] = {"rename:n=1:lost",
		"rename:n=1:lost;head:key=b:n=1:error=EIO",
		"rename:n=1:lost;head:key=a:n=1:error=EIO", "rename:n=1:error=EIO;rename:n=2:lost"};
	struct fix *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
		begin(f);
		fault(f, 0, rules[i]);
		assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
		moved(f);
		fault(f, 0, "");
		assert_int_equal(unlink_in(f, f->aws, "b"), 0);
		all_done(f);
	}
}

/* It had not been done, and may be yet: until then files are copied. */
static void test_answer_lost_and_late(void **state)
{
	struct fix *f = *state;
	char was[META_ETAG_MAX], is[META_ETAG_MAX];

	begin(f);
	version_of(f, "a", was);
	fault(f, 0, "rename:n=1:error=EIO/unknown;rename:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "a", 0), 0);
	sync_all(f);
	version_of(f, "a", is);
	assert_string_not_equal(was, is); /* so what comes late does nothing */
	usleep(1000000);
	fault(f, 0, NO_COPY);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	moved(f);
}

/* What the store does not do goes by a copy. */
static void test_not_supported(void **state)
{
	struct fix *f = *state;
	char was[META_ETAG_MAX], is[META_ETAG_MAX];

	begin(f);
	version_of(f, "a", was);
	fault(f, 0, "rename:error=EOPNOTSUPP/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	moved(f);
	version_of(f, "b", is);
	assert_string_not_equal(was, is);
}

/* It is read all the while, also between the rename and what the index says of it. */
static void test_while_it_is_read(void **state)
{
	struct fix *f = *state;
	size_t len = 3000000, n = 0;
	char *p = malloc(len), got[100];
	struct vfs_handle *h;
	uint64_t ino, d;

	memset(p, 'r', len);
	object_put(&f->remotes[0], "a", p, len);
	object_put(&f->remotes[0], "d/a", p, len);
	for (int in_dir = 0; in_dir < 2; in_dir++) {
		const char *key = in_dir ? "d/a" : "a";

		d = f->aws;
		if (in_dir)
			assert_int_equal(lookup(f, f->aws, "d", &d), 0);
		assert_int_equal(lookup(f, d, "a", &ino), 0);
		assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
		assert_int_equal(get(f, h, 0, got, 100), 100);
		fault(f, 0, "rename:lost;head:delay=200");
		if (in_dir)
			assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
		else
			assert_int_equal(rename_to(f, d, "a", d, "b", 0), 0);
		for (n = 0; n < len; n += 500000) {
			stage_drop(f->stage, ino);
			assert_int_equal(get(f, h, n, got, 100), 100);
			assert_memory_equal(got, p, 100);
			usleep(20000);
		}
		close_h(f, h);
		fault(f, 0, "");
		all_done(f);
		assert_int_equal(job_failures(f), 0);
		absent(f, key);
	}
	free(p);
}

/* Somebody has written the source since, or has taken the destination: neither is overwritten. */
static void test_somebody_elses(void **state)
{
	struct fix *f = *state;

	begin(f);
	object_put(&f->remotes[0], "a", "theirs", 6);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	all_done(f);
	text_is(f, "a", "theirs");
	absent(f, "b");

	make_text(f, f->aws, "c", "mine");
	sync_all(f);
	object_put(&f->remotes[0], "d", "theirs", 6);
	(void)rename_to(f, f->aws, "c", f->aws, "d", 0);
	all_done(f);
	text_is(f, "c", "mine");
	text_is(f, "d", "theirs");
}

/* Whoever had its old key: the version that was meant is there, so it was done. */
static void test_old_key_taken(void **state)
{
	struct fix *f = *state;

	begin(f);
	fault(f, 0, "rename:n=1:lost;head:n=1:error=EIO;rename:n=2:delay=300");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	while (object_get(&f->remotes[0], "b", (char[8]){0}, 8) < 0)
		usleep(1000);
	object_put(&f->remotes[0], "a", "theirs", 6);
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	text_is(f, "a", "theirs");
	text_is(f, "b", "old");
	file_is(f, f->aws, "b", "old");
}

/* a is at b and nobody knows; further tries have no answer. */
static void doubt(struct fix *f)
{
	fault(f, 0, "rename:n=1:lost;head:error=EAGAIN;rename:error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	while (object_get(&f->remotes[0], "b", (char[8]){0}, 8) < 0)
		usleep(1000);
}

/* The daemon ends then; the next one finds it. */
static void test_restart(void **state)
{
	struct fix *f = *state;

	begin(f);
	doubt(f);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	moved(f);
}

/* And the file was written on since, so that nobody knows the size of its object. */
static void test_restart_written(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	uint64_t ino = begin(f);

	doubt(f);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 3, "er", 2), 0);
	close_h(f, h);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	sync_all(f);
	all_done(f);
	absent(f, "a");
	text_is(f, "b", "older");
	file_is(f, f->aws, "b", "older");
}

/* The next one cannot rename any more. */
static void test_restart_without(void **state)
{
	struct fix *f = *state;

	begin(f);
	doubt(f);
	fix_down(f);
	fault(f, 0, "rename:error=EOPNOTSUPP/final");
	fix_up(f);
	moved(f);
}

/* It is removed then: nothing of it stays, at either key. */
static void test_removed_in_doubt(void **state)
{
	struct fix *f = *state;

	for (int again = 0; again < 2; again++) {
		begin(f);
		doubt(f);
		if (again) {
			fix_down(f);
			fix_up(f);
		}
		assert_int_equal(unlink_in(f, f->aws, "b"), 0);
		fault(f, 0, "");
		all_done(f);
		absent(f, "a");
		absent(f, "b");
	}
}

static uint64_t job_of(struct fix *f, uint64_t ino)
{
	struct job_info i = {0};

	assert_true(job_info_ino(f->jobs, ino, &i));
	return i.id;
}

/* It is cancelled then: it had been done. */
static void test_cancelled_in_doubt(void **state)
{
	struct fix *f = *state;
	uint64_t ino = begin(f);

	doubt(f);
	assert_int_equal(job_cancel(f->jobs, job_of(f, ino)), 0);
	fault(f, 0, "");
	all_done(f);
	absent(f, "a");
	text_is(f, "b", "old");
	file_is(f, f->aws, "b", "old");
}

/* It is cancelled when it was asked for and had not been done: that happens while it is waited for.
 */
static void test_cancelled_and_late(void **state)
{
	struct fix *f = *state;
	uint64_t ino = begin(f), id;
	char etag[META_ETAG_MAX];
	struct store_rename opt = {.src_if_match = etag, .dst_if_none_match = STORE_IF_ABSENT};
	struct job_info i = {0};
	struct store_stat st;
	struct err err;

	version_of(f, "a", etag);
	fault(f, 0, "rename:n=1:error=EIO/unknown;rename:n=2:error=EAGAIN;rename:n=3:error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	id = job_of(f, ino);
	while (job_info_get(f->jobs, id, &i) && i.retries == 0)
		usleep(1000);
	assert_int_equal(job_cancel(f->jobs, id), 0);
	usleep(300000); /* of a second */
	assert_true(job_live(f->jobs, ino));
	fault(f, 0, "");
	assert_int_equal(store_rename(f->remotes[0].st, NULL, (struct store_obj){"b", "a"},
				 (struct store_obj){"b", "b"}, &opt, &st, &err),
		0);
	store_stat_done(&st);
	all_done(f);
	absent(f, "a");
	text_is(f, "b", "old");
	file_is(f, f->aws, "b", "old");
	assert_int_equal(lookup(f, f->aws, "a", NULL), -ENOENT);
}

/* ---- directories ---- */

static uint64_t make_dir(struct fix *f)
{
	uint64_t d;
	char name[8];

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	for (int i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		make_text(f, d, name, name);
	}
	sync_all(f);
	return d;
}

static void dir_is(struct fix *f, const char *dir)
{
	char name[8], key[32];
	uint64_t d;

	assert_int_equal(lookup(f, f->aws, dir, &d), 0);
	for (int i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		(void)snprintf(key, sizeof(key), "%s/%s", dir, name);
		text_is(f, key, name);
		file_is(f, d, name, name);
		(void)snprintf(key, sizeof(key), "%s/%s", dir[0] == 'd' ? "e" : "d", name);
		absent(f, key);
	}
}

static void test_dir(void **state)
{
	struct fix *f = *state;

	make_dir(f);
	fault(f, 0, "copy:error=EIO/final;remove:key=d/f*:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	dir_is(f, "e");
}

static void test_dir_answers_lost(void **state)
{
	static const char *const rules[] = {"copy:error=EIO/final;rename:lost",
		"rename:every=2:error=EIO/unknown", "rename:n=3:lost;head:key=e/*:n=1:error=EIO"};
	struct fix *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
		uint64_t d = make_dir(f);
		char name[8];

		usleep(1000000); /* since an answer was lost */
		fault(f, 0, rules[i]);
		assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
		all_done(f);
		assert_int_equal(job_failures(f), 0);
		dir_is(f, "e");
		fault(f, 0, "");
		for (int k = 0; k < 5; k++) {
			(void)snprintf(name, sizeof(name), "f%d", k);
			assert_int_equal(unlink_in(f, d, name), 0);
		}
		assert_int_equal(rmdir_in(f, f->aws, "e"), 0);
		all_done(f);
	}
}

/* Restarted with one file in doubt, and then it goes on, or is cancelled: no file is lost. */
static void test_dir_restart(void **state)
{
	struct fix *f = *state;
	uint64_t d, ino;
	char name[8], key[32];

	for (int how = 0; how < 2; how++) {
		d = make_dir(f);
		fault(f, 0,
			"rename:n=3:lost;rename:after=3:error=EAGAIN;head:error=EAGAIN;copy:error="
			"EAGAIN");
		assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
		while (object_get(&f->remotes[0], "e/f2", (char[8]){0}, 8) < 0)
			usleep(1000);
		fix_down(f);
		fix_up(f);
		if (how)
			assert_int_equal(job_cancel(f->jobs, job_of(f, d)), 0);
		fault(f, 0, "");
		all_done(f);
		for (int i = 0; i < 5; i++) {
			bool there = false;

			(void)snprintf(name, sizeof(name), "f%d", i);
			(void)snprintf(key, sizeof(key), "e/%s", name);
			there = object_get(&f->remotes[0], key, (char[8]){0}, 8) >= 0;
			if (how == 0 || i < 3)
				assert_true(there);
			if (!there) {
				(void)snprintf(key, sizeof(key), "d/%s", name);
				text_is(f, key, name);
				assert_int_equal(lookup(f, f->aws, "d", &ino), 0);
				file_is(f, ino, name, name);
				assert_int_equal(unlink_in(f, ino, name), 0);
			} else {
				assert_int_equal(lookup(f, f->aws, "e", &ino), 0);
				file_is(f, ino, name, name);
				assert_int_equal(unlink_in(f, ino, name), 0);
			}
		}
		(void)rmdir_in(f, f->aws, "d");
		(void)rmdir_in(f, f->aws, "e");
		all_done(f);
	}
}

static void retried(struct fix *f, uint64_t ino)
{
	struct job_info i = {0};
	uint64_t id = job_of(f, ino);

	while (job_info_get(f->jobs, id, &i) && i.retries == 0)
		usleep(1000);
}

static bool points_there(struct meta_txn *t)
{
	struct meta_inode in;

	return meta_inode_get(t, fails.ino, &in) == 0 &&
	       (strcmp(in.loc.path, "b") == 0 || strcmp(in.loc.path, "e/f2") == 0);
}

static void not_pointed(struct fix *f, uint64_t ino, uint64_t moved)
{
	fail_commits(f, 1000, points_there, NULL, ino);
	if (ino == moved)
		assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	else
		assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	while (atomic_load(&fails.n) == 1000)
		usleep(1000);
}

static _Atomic uint64_t found_txn;

static bool finds_x(struct meta_txn *t)
{
	uint64_t ino = 0;

	if (atomic_load(&found_txn) == 0 && meta_lookup(t, fails.ino, "x", &ino) == 0)
		atomic_store(&found_txn, meta_txn_id(t));
	return false;
}

/* What a move finds of others by its listing is on disk before it is renamed: it would not be found
 * again, as long as the new prefix counts as listed. */
static void test_dir_found(void **state)
{
	struct fix *f = *state;
	uint64_t d;

	object_put(&f->remotes[0], "d/sub/x", "theirs", 6);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	assert_int_equal(lookup(f, d, "sub", &d), 0);
	atomic_store(&found_txn, 0);
	fail_commits(f, 1, finds_x, NULL, d);
	fault(f, 0, "list:key=d/sub/:delay=300;rename:lost;head:error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	usleep(100000);
	assert_int_equal(meta_sync(f->m, NULL), 0); /* as each second */
	assert_int_equal(atomic_load(&found_txn), 0);
	while (object_get(&f->remotes[0], "e/sub/x", (char[8]){0}, 8) < 0)
		usleep(1000);
	assert_int_not_equal(atomic_load(&found_txn), 0);
	assert_true(meta_synced(f->m) >= atomic_load(&found_txn));
	fail_commits(f, 0, finds_x, NULL, 0);
	fault(f, 0, "");
	all_done(f);
	file_is(f, d, "x", "theirs");
}

/* It is done, and the index cannot be written; then it is cancelled. */
static void test_not_recorded_and_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t ino = begin(f);

	not_pointed(f, ino, ino);
	assert_int_equal(job_cancel(f->jobs, job_of(f, ino)), 0);
	usleep(100000);
	fail_commits(f, 0, points_there, NULL, 0);
	moved(f);
}

/* Or removed. */
static void test_not_recorded_and_removed(void **state)
{
	struct fix *f = *state;
	uint64_t ino = begin(f);

	not_pointed(f, ino, ino);
	assert_int_equal(unlink_in(f, f->aws, "b"), 0);
	usleep(100000);
	fail_commits(f, 0, points_there, NULL, 0);
	all_done(f);
	absent(f, "a");
	absent(f, "b");
}

/* Or it was one of a directory's. */
static void test_dir_not_recorded(void **state)
{
	struct fix *f = *state;
	uint64_t d = make_dir(f), f2, is;

	assert_int_equal(lookup(f, d, "f2", &f2), 0);
	not_pointed(f, f2, d);
	assert_int_equal(job_cancel(f->jobs, job_of(f, d)), 0);
	usleep(100000);
	fail_commits(f, 0, points_there, NULL, 0);
	all_done(f);
	assert_int_equal(lookup(f, f->aws, "e", &d), 0);
	assert_int_equal(lookup(f, d, "f2", &is), 0);
	assert_int_equal(is, f2);
	file_is(f, d, "f2", "f2");
	text_is(f, "e/f2", "f2");
	absent(f, "d/f2");
}

static void renamed(struct fix *f, const char *from, const char *to)
{
	char etag[META_ETAG_MAX];
	struct store_rename opt = {.src_if_match = etag, .dst_if_none_match = STORE_IF_ABSENT};
	struct store_stat st;
	struct err err;

	version_of(f, from, etag);
	assert_int_equal(store_rename(f->remotes[0].st, NULL, (struct store_obj){"b", from},
				 (struct store_obj){"b", to}, &opt, &st, &err),
		0);
	store_stat_done(&st);
}

/* The power was cut, and the index put back: what is below the old prefix is listed anew. A file
 * that is not at its old key any more has not gone, with what only the index has of it. */
static void test_dir_power_cut(void **state)
{
	struct fix *f = *state;
	uint64_t d = make_dir(f), sub, g, f2, is;
	struct meta_txn *t;
	int64_t now;

	assert_int_equal(mkdir_in(f, d, "sub", &sub), 0);
	g = make_text(f, sub, "g", "g");
	sync_all(f);
	assert_int_equal(lookup(f, d, "f2", &f2), 0);
	assert_int_equal(setx(f, f2, "trusted.x", "here"), 0);
	fault(f, 0, "rename:key=e/*:error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	retried(f, d);
	jobs_stop(f->jobs);
	now = clock_now_ns();
	t = meta_begin(f->m);
	assert_int_equal(meta_kv_put(t, "listed_epoch", &now, sizeof(now)), 0);
	assert_int_equal(meta_commit(t), 0);
	fault(f, 0, "");
	renamed(f, "d/f2", "e/f2"); /* the index knew of it */
	renamed(f, "d/sub/g", "e/sub/g");
	f->power_cut = true;
	fix_down(f);
	fix_up(f);
	all_done(f);
	assert_int_equal(job_failures(f), 0);
	dir_is(f, "e");
	assert_int_equal(lookup(f, f->aws, "e", &d), 0);
	assert_int_equal(lookup(f, d, "f2", &is), 0);
	assert_int_equal(is, f2);
	assert_string_equal(getx(f, f2, "trusted.x"), "here");
	assert_int_equal(lookup(f, d, "sub", &is), 0);
	assert_int_equal(is, sub);
	assert_int_equal(lookup(f, sub, "g", &is), 0);
	assert_int_equal(is, g);
	file_is(f, sub, "g", "g");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define F(name) cmocka_unit_test_setup_teardown(name, setup_failing, teardown_failing)
		T(test_one_step),
		T(test_over_another),
		T(test_back),
		T(test_answer_lost),
		T(test_answer_lost_and_late),
		T(test_not_supported),
		T(test_while_it_is_read),
		T(test_somebody_elses),
		T(test_old_key_taken),
		T(test_restart),
		T(test_restart_written),
		T(test_restart_without),
		T(test_removed_in_doubt),
		T(test_cancelled_in_doubt),
		T(test_cancelled_and_late),
		T(test_dir),
		T(test_dir_answers_lost),
		T(test_dir_restart),
		T(test_dir_power_cut),
		F(test_not_recorded_and_cancelled),
		F(test_not_recorded_and_removed),
		F(test_dir_not_recorded),
		F(test_dir_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
