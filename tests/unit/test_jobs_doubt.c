/* SPDX-License-Identifier: MIT */
/* Answers that are lost, and numbers that come twice: what an earlier attempt of ours left in a
 * cloud is known as ours, is never taken for what is wanted now, and never goes before the file has
 * its bytes elsewhere. */
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

static void appears(struct fix *f, unsigned remote, const char *key, const char *want)
{
	char got[64] = "";

	for (int i = 0; i < 5000 && strcmp(got, want) != 0; i++) {
		ssize_t n = object_get(&f->remotes[remote], key, got, sizeof(got) - 1);

		got[n > 0 ? n : 0] = '\0';
		usleep(1000);
	}
	assert_string_equal(got, want);
}

/* ---- uploads ---- */

/* What was written over a part of an object goes up, and the answer is lost: the bytes that staging
 * lacks are then only in what went up. */
static void test_earlier_attempt_is_the_base(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = malloc(len), *buf = malloc(len + 10);
	struct vfs_handle *h;
	uint64_t ino;

	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 7 + i / 256);
	object_put(&f->remotes[0], "p", p, len);
	assert_int_equal(lookup(f, f->aws, "p", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 200001, "XYZ", 3), 0);
	memcpy(p + 200001, "XYZ", 3);
	fault(f, 0, "put:n=1:lost;head:n=1:error=EIO");
	assert_int_equal(fsync_h(f, h), 0);
	assert_int_equal(object_get(&f->remotes[0], "p", buf, len + 10), len);
	assert_memory_equal(buf, p, len);
	/* Twice in a row, and written on in between. */
	fault(f, 0, "put:n=1:lost:delay=100;head:n=1:error=EIO;put:n=2:lost;head:n=2:error=EIO");
	assert_int_equal(put(f, h, 100, "ab", 2), 0);
	memcpy(p + 100, "ab", 2);
	usleep(50000);
	assert_int_equal(put(f, h, len, "end", 3), 0);
	assert_int_equal(fsync_h(f, h), 0);
	assert_int_equal(object_get(&f->remotes[0], "p", buf, len + 10), len + 3);
	assert_memory_equal(buf, p, len);
	assert_memory_equal(buf + len, "end", 3);
	fault(f, 0, "");
	close_h(f, h);
	free(p);
	free(buf);
}

/* p, "old", is "new" in the cloud; nobody knows, and the next attempt comes only later. */
static uint64_t lost_upload(struct fix *f)
{
	struct vfs_handle *h;
	uint64_t ino;

	object_put(&f->remotes[0], "p", "old", 3);
	assert_int_equal(lookup(f, f->aws, "p", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	fault(f, 0, "put:key=p:n=1:lost;head:key=p:n=1:error=EIO");
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	close_h(f, h);
	appears(f, 0, "p", "new");
	return ino;
}

/* Unlinked: nothing of it stays. */
static void test_lost_upload_is_removed(void **state)
{
	struct fix *f = *state;

	lost_upload(f);
	assert_int_equal(unlink_in(f, f->aws, "p"), 0);
	all_done(f);
	absent(f, "p");
}

/* Another file takes the name: it replaces what came up, and is no conflict. */
static void test_lost_upload_is_replaced(void **state)
{
	struct fix *f = *state;

	lost_upload(f);
	make_text(f, f->aws, "q", "other");
	assert_int_equal(rename_to(f, f->aws, "q", f->aws, "p", 0), 0);
	appears(f, 0, "p", "other");
	all_done(f);
}

/* The store has these keys, and no others. */
static void only_objects(struct fix *f, unsigned remote, const char *const *keys)
{
	struct store_page page = {0};
	struct err err;
	size_t n = 0;

	assert_int_equal(
		store_list(f->remotes[remote].st, NULL, "b", "", 0, NULL, 1000, &page, &err), 0);
	while (keys[n] != NULL)
		n++;
	for (size_t i = 0; i < page.n; i++)
		if (i >= n || strcmp(page.e[i].key, keys[i]) != 0)
			fail_msg("the store has '%s'", page.e[i].key);
	assert_int_equal(page.n, n);
	store_page_done(&page);
}

/* The credentials run out right after a write whose answer was lost: it fails, and says so; when
 * they are good again the file is what was written, without a conflict copy of our own. */
static void test_lost_then_refused(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	uint64_t ino;

	object_put(&f->remotes[0], "p", "old", 3);
	assert_int_equal(lookup(f, f->aws, "p", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	fault(f, 0, "put:n=1:lost;head:n=1:error=EIO;put:error=EACCES/auth;head:error=EACCES/auth");
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	assert_int_equal(fsync_h(f, h), -EACCES);
	assert_string_equal(getx(f, ino, "user.astra.state"), "upload-failed");
	assert_int_equal(put(f, h, 3, "er", 2), 0);
	(void)fsync_h(f, h);
	fault(f, 0, "");
	close_h(f, h);
	all_done(f);
	appears(f, 0, "p", "newer");
	only_objects(f, 0, (const char *const[]){"p", NULL});
	all_done(f);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
}

/* The bytes that staging lacks are in an object that somebody replaced: it fails, is kept, and says
 * so; it does not try for ever. */
static void test_base_elsewhere_changes(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = calloc(1, len);
	struct vfs_handle *h;
	uint64_t ino;

	object_put(&f->remotes[0], "p", p, len);
	assert_int_equal(lookup(f, f->aws, "p", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	fault(f, 0, "put:key=q:n=1:delay=1");
	assert_int_equal(put(f, h, 200001, "XYZ", 3), 0);
	assert_int_equal(rename_to(f, f->aws, "p", f->aws, "q", 0), 0);
	object_put(&f->remotes[0], "p", "other", 5);
	assert_int_equal(fsync_h(f, h), -ESTALE);
	assert_string_equal(getx(f, ino, "user.astra.state"), "upload-failed");
	text_is(f, "p", "other");
	close_h(f, h);
	free(p);
}

/* ---- moves ---- */

static void row_set(struct fix *f, uint64_t ino, uint32_t drop)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.flags &= ~drop;
	(void)meta_inode_put(t, &in);
	assert_int_equal(meta_commit(t), 0);
}

/* aws/a to gcp/a: under way when it returns. */
static void move_begin(struct fix *f)
{
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
	usleep(100000);
}

static uint64_t moving(struct fix *f, const char *rules)
{
	uint64_t ino = make_text(f, f->aws, "a", "one");

	sync_all(f);
	fault(f, 1, rules);
	move_begin(f);
	return ino;
}

/* The row names nothing by the time the copy is there: the copy goes, the source is not touched. */
static void test_row_went_on(void **state)
{
	struct fix *f = *state;
	uint64_t ino = moving(f, "put:n=1:delay=300");

	row_set(f, ino, META_F_OBJECT);
	all_done(f);
	text_is(f, "a", "one");
	only_objects(f, 1, (const char *const[]){NULL});
}

/* The same, and the source is gone: what is left of it stays. */
static void test_last_copy_stays(void **state)
{
	struct fix *f = *state;
	uint64_t ino = moving(f, "put:n=1:delay=300");
	struct store_obj o = {"b", "a"};

	row_set(f, ino, META_F_OBJECT);
	assert_int_equal(store_remove(f->remotes[0].st, NULL, o, NULL, NULL), 0);
	all_done(f);
	object_is(f, 1, "a", "one");
}

/* A move failed and is made again, and meanwhile the new name gets other content, in two ways: that
 * is there in the end, and nothing else that cannot be read. */
static void test_moved_again_and_replaced(void **state)
{
	struct fix *f = *state;

	for (int how = 0; how < 2; how++) {
		struct vfs_handle *h = NULL;
		uint64_t ino = 0;

		make_text(f, f->aws, "a", "one");
		sync_all(f);
		fault(f, 1, "put:n=1:error=EIO/final");
		(void)rename_to(f, f->aws, "a", f->gcp, "a", 0);
		all_done(f);
		file_is(f, f->aws, "a", "one");
		fault(f, 1, "put:n=1:delay=300");
		move_begin(f);
		if (how == 0) {
			assert_int_equal(lookup(f, f->gcp, "a", &ino), 0);
			assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
			assert_int_equal(put(f, h, 0, "two", 3), 0);
			close_h(f, h);
		} else {
			make_text(f, f->gcp, "b", "two");
			assert_int_equal(rename_to(f, f->gcp, "b", f->gcp, "a", 0), 0);
		}
		all_done(f);
		sync_all(f);
		file_is(f, f->gcp, "a", "two");
		only_objects(f, 0, (const char *const[]){NULL});
		only_objects(f, 1, (const char *const[]){"a", NULL});
		assert_int_equal(unlink_in(f, f->gcp, "a"), 0);
		all_done(f);
	}
}

/* A power cut took back the number of an attempt, and not what that attempt put there, which is
 * other bytes: not taken for the copy of now. */
static void test_number_comes_twice(void **state)
{
	struct fix *f = *state;
	char mark[64];
	struct err err;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	fault(f, 0, "copy:n=1:delay=300");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	usleep(100000);
	(void)snprintf(mark, sizeof(mark), "%016llx.%llu.1", (unsigned long long)f->jobs->nonce,
		(unsigned long long)f->jobs->g.last_id);
	struct store_meta meta = {STORE_META_WRITE, mark};
	struct store_put put = {.meta = &meta, .nmeta = 1};

	f->jobs->nonce++; /* the job is of an earlier run */
	assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", "b"}, "two", 3,
				 &put, NULL, &err),
		0);
	all_done(f);
	text_is(f, "b", "one");
	absent(f, "a");
}

/* ---- attributes ---- */

/* What others gave an object goes along under any name that the new place can have. */
static void test_others_keys(void **state)
{
	struct fix *f = *state;
	struct store_stat st = {0};
	const struct store_meta meta[] = {{"my_key.of", "1"}, {"my-key", "2"}};
	struct store_put put = {.meta = meta, .nmeta = 2};
	struct err err;

	assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", "a"}, "one", 3,
				 &put, NULL, &err),
		0);
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
	all_done(f);
	assert_int_equal(
		store_head(f->remotes[1].st, NULL, (struct store_obj){"b", "a"}, &st, NULL), 0);
	assert_string_equal(store_stat_meta(&st, "my_key.of"), "1");
	assert_string_equal(store_stat_meta(&st, "my-key"), "2");
	store_stat_done(&st);
}

/* With renames that do not wait for their jobs. */
static int setup_quick(void **state)
{
	struct fix *f;
	int r = setup(state);

	f = *state;
	fix_down(f);
	f->vc.migrate_wait_ns = 1;
	fix_up(f);
	return r;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_quick, teardown)
	const struct CMUnitTest tests[] = {T(test_earlier_attempt_is_the_base),
		T(test_lost_upload_is_removed), T(test_lost_upload_is_replaced),
		T(test_lost_then_refused), T(test_base_elsewhere_changes), T(test_row_went_on),
		T(test_last_copy_stays), T(test_moved_again_and_replaced),
		T(test_number_comes_twice), T(test_others_keys)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
