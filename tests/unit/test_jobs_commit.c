/* SPDX-License-Identifier: MIT */
/* Jobs whose deed cannot be recorded, since a commit of the index fails: they do it again, or go on
 * from where they are, and nothing is done twice that may be done once only. */
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

static char old_etag[META_ETAG_MAX];

/* A new version of it is at p, and t says so. */
static bool points_to_p(struct meta_txn *t)
{
	struct meta_inode in;

	return meta_inode_get(t, fails.ino, &in) == 0 && (in.flags & META_F_OBJECT) != 0 &&
	       strcmp(in.loc.path, "p") == 0 && strcmp(in.loc.etag, old_etag) != 0;
}

static void old_version_set(struct fix *f, uint64_t ino)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	(void)snprintf(old_etag, sizeof(old_etag), "%s", in.loc.etag);
}

static bool gets_a_name_beside(struct meta_txn *t)
{
	struct meta_inode in;

	return meta_inode_get(t, fails.ino, &in) == 0 && strstr(in.name, ".unmoved-") != NULL;
}

static void only(struct fix *f, unsigned remote, const char *const *keys)
{
	struct store_page page = {0};
	size_t n = 0;

	assert_int_equal(
		store_list(f->remotes[remote].st, NULL, "b", "", 0, NULL, 1000, &page, NULL), 0);
	while (keys[n] != NULL)
		n++;
	for (size_t i = 0; i < page.n; i++)
		if (i >= n || strcmp(page.e[i].key, keys[i]) != 0)
			fail_msg("the store has '%s'", page.e[i].key);
	assert_int_equal(page.n, n);
	store_page_done(&page);
}

static void nothing_is_recorded(struct fix *f)
{
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(records(t), 0);
	meta_abort(t);
}

static void somebody_puts_a(struct fix *f)
{
	object_put(&f->remotes[0], "a", "foreign", 7);
}

/* Its source is gone, and its end could not be recorded: what is at the old key by then stays. */
static void test_source_is_removed_once(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "a", "one");
	sync_all(f);
	fail_commits(f, 1, ends_the_last, somebody_puts_a, 0);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	commits_have_failed();
	all_done(f);
	text_is(f, "b", "one");
	text_is(f, "a", "foreign");
	assert_int_equal(job_failures(f), 0);
}

/* The object is there, and no row names it: it is known as ours, also after a kill. */
static void upload(struct fix *f, const char *before, bool kill)
{
	struct vfs_handle *h = NULL;
	uint64_t ino = 0;

	if (before != NULL) {
		ino = make_text(f, f->aws, "p", before);
		sync_all(f);
		assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	} else {
		h = create_in(f, f->aws, "p", &ino);
	}
	old_version_set(f, ino);
	fail_commits(f, kill ? 1000 : 2, points_to_p, NULL, ino);
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	close_h(f, h);
	if (!kill) {
		commits_have_failed();
	} else {
		while (atomic_load(&fails.n) == 1000)
			usleep(1000);
		fix_down(f);
		atomic_store(&fails.n, 0);
		fix_up(f);
	}
	all_done(f);
	sync_all(f);
	text_is(f, "p", "new");
	file_is(f, f->aws, "p", "new");
	only(f, 0, (const char *const[]){"p", NULL});
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	assert_int_equal(unlink_in(f, f->aws, "p"), 0);
	all_done(f);
	only(f, 0, (const char *const[]){NULL});
	nothing_is_recorded(f);
}

static void test_upload(void **state)
{
	for (int how = 0; how < 4; how++)
		upload(*state, how & 1 ? "old" : NULL, (how & 2) != 0);
}

/* The same, and its file is removed, or renamed, before that is mended. */
static void test_upload_and_gone(void **state)
{
	struct fix *f = *state;

	for (int how = 0; how < 2; how++) {
		uint64_t ino = 0;
		struct vfs_handle *h = create_in(f, f->aws, "p", &ino);

		old_version_set(f, ino);
		fail_commits(f, 1000, points_to_p, NULL, ino);
		assert_int_equal(put(f, h, 0, "new", 3), 0);
		close_h(f, h);
		while (atomic_load(&fails.n) == 1000)
			usleep(1000);
		if (how == 0)
			assert_int_equal(unlink_in(f, f->aws, "p"), 0);
		else
			assert_int_equal(rename_to(f, f->aws, "p", f->aws, "q", 0), 0);
		fail_commits(f, 0, points_to_p, NULL, 0);
		all_done(f);
		sync_all(f);
		only(f, 0, (const char *const[]){how == 0 ? NULL : "q", NULL});
		if (how == 1)
			file_is(f, f->aws, "q", "new");
	}
}

/* A job that somebody has cancelled is not forgotten while its record is there. */
static void test_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "a", "one");
	struct job_info i = {0};

	sync_all(f);
	fault(f, 0, "set_tier:error=EAGAIN");
	assert_int_equal(setx(f, ino, "user.astra.tier", "WARM"), 0);
	assert_true(job_info_ino(f->jobs, ino, &i));
	while (job_info_get(f->jobs, i.id, &i) && i.retries == 0)
		usleep(1000);
	fail_commits(f, 1, ends_the_last, NULL, 0);
	assert_int_equal(job_cancel(f->jobs, i.id), 0);
	commits_have_failed();
	while (job_live(f->jobs, ino))
		usleep(1000);
	nothing_is_recorded(f);
	fault(f, 0, "");
}

/* A name beside the old one, and the move to its key, come in one: or the move is still to be taken
 * back. */
static void test_turned(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "log", "old"), now = 0;
	struct meta_inode in;

	sync_all(f);
	fault(f, 0, "copy:n=1:delay=200:error=EIO/final");
	fail_commits(f, 1, gets_a_name_beside, NULL, ino);
	assert_int_equal(rename_to(f, f->aws, "log", f->aws, "log.1", 0), 0);
	make_text(f, f->aws, "log", "new");
	commits_have_failed();
	all_done(f);
	text_is(f, "log", "new");
	file_is(f, f->aws, "log", "new");
	absent(f, "log.1");
	assert_int_equal(lookup(f, f->aws, "log.1", NULL), -ENOENT);
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	assert_non_null(strstr(in.name, "log.unmoved-"));
	assert_string_equal(in.loc.path, in.name);
	text_is(f, in.name, "old");
	assert_int_equal(lookup(f, f->aws, in.name, &now), 0);
	assert_int_equal(now, ino);
	assert_non_null(strstr(getx(f, ino, "user.astra.state"), "failed"));
	nothing_is_recorded(f);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_failing, teardown_failing)
	const struct CMUnitTest tests[] = {T(test_source_is_removed_once), T(test_upload),
		T(test_upload_and_gone), T(test_cancelled), T(test_turned)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
