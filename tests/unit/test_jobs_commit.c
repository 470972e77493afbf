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

/* ---- whichever commit of a job fails ---- */

static _Atomic unsigned skip;
static bool over; /* of those that matter none is left */

/* The commits of the workers, from the one after `skip` others on. */
static bool is_due(struct meta_txn *t)
{
	char name[16] = "";

	(void)pthread_getname_np(pthread_self(), name, sizeof(name));
	if (name[0] != 't' || name[1] != '-')
		return false;
	return atomic_load(&skip) == 0 || (atomic_fetch_sub(&skip, 1), false);
}

/* Who waits may be told that the index failed; whoever asks again is not. */
static void settle(struct fix *f)
{
	errint_t r = -EIO;

	for (int i = 0; i < 10 && r == -EIO; i++) {
		struct ask *a = ask_new();

		all_done(f);
		r = CALL(a, vfs_sync, META_ROOT_INO);
		ask_free(a);
	}
	assert_int_equal(r, 0);
}

static void none_there(struct fix *f, unsigned remote)
{
	only(f, remote, (const char *const[]){NULL});
}

static void one_there(struct fix *f, unsigned remote, const char *key, const char *want)
{
	only(f, remote, (const char *const[]){key, NULL});
	object_is(f, remote, key, want);
	file_is(f, remote == 0 ? f->aws : f->gcp, key, want);
}

static void renamed(struct fix *f)
{
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	all_done(f);
	only(f, 0, (const char *const[]){"b", "c", NULL});
	object_is(f, 0, "c", "one");
	file_is(f, f->aws, "c", "one");
	file_is(f, f->aws, "b", "two");
}

static void moved(struct fix *f)
{
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "c", 0), 0);
	all_done(f);
	one_there(f, 0, "b", "two");
	one_there(f, 1, "c", "one");
}

static void replaced(struct fix *f)
{
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	all_done(f);
	one_there(f, 0, "b", "one");
}

static void exchanged(struct fix *f)
{
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
	all_done(f);
	only(f, 0, (const char *const[]){"a", "b", NULL});
	object_is(f, 0, "a", "two");
	object_is(f, 0, "b", "one");
	file_is(f, f->aws, "a", "two");
	file_is(f, f->aws, "b", "one");
}

static void directory(struct fix *f)
{
	uint64_t d = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(rename_to(f, f->aws, "a", d, "a", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "b", d, "b", 0), 0);
	all_done(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	all_done(f);
	only(f, 0, (const char *const[]){"e/a", "e/b", NULL});
	object_is(f, 0, "e/a", "one");
	file_is(f, d, "a", "one");
	file_is(f, d, "b", "two");
}

static void rewritten(struct fix *f)
{
	uint64_t ino = 0;
	struct vfs_handle *h = NULL;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	close_h(f, h);
	settle(f);
	object_is(f, 0, "a", "new");
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "a", 0), 0);
	all_done(f);
	one_there(f, 0, "a", "two");
}

static void taken_back(struct fix *f)
{
	fault(f, 1, "put:n=1:error=EACCES/final");
	(void)rename_to(f, f->aws, "a", f->gcp, "c", 0);
	all_done(f);
	fault(f, 1, "");
	none_there(f, 1);
	only(f, 0, (const char *const[]){"a", "b", NULL});
	object_is(f, 0, "a", "one");
	file_is(f, f->aws, "a", "one");
}

static void exchange_taken_back(struct fix *f)
{
	fault(f, 0, "copy:n=3:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", RENAME_EXCHANGE), 0);
	all_done(f);
	fault(f, 0, "");
	only(f, 0, (const char *const[]){"a", "b", NULL});
	object_is(f, 0, "a", "one");
	object_is(f, 0, "b", "two");
	file_is(f, f->aws, "a", "one");
	file_is(f, f->aws, "b", "two");
}

static void changed(struct fix *f, uint64_t to)
{
	uint64_t ino = 0;
	struct vfs_handle *h = NULL;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_WRONLY, &h), 0);
	assert_int_equal(put(f, h, 0, "O", 1), 0);
	assert_int_equal(rename_to(f, f->aws, "a", to, "c", 0), 0);
	usleep(100000);
	assert_int_equal(put(f, h, 2, "E", 1), 0);
	close_h(f, h);
	settle(f);
	file_is(f, to, "c", "OnE");
	object_is(f, to == f->aws ? 0 : 1, "c", "OnE");
	file_is(f, f->aws, "b", "two");
}

static void changed_and_renamed(struct fix *f)
{
	changed(f, f->aws);
	only(f, 0, (const char *const[]){"b", "c", NULL});
}

static void changed_and_moved(struct fix *f)
{
	changed(f, f->gcp);
	one_there(f, 0, "b", "two");
	one_there(f, 1, "c", "OnE");
}

static void removed(struct fix *f)
{
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	all_done(f);
	one_there(f, 0, "b", "two");
}

static void in_a_tier(struct fix *f)
{
	uint64_t ino = 0;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	all_done(f);
	assert_string_equal(getx(f, ino, "user.astra.tier"), "ARCHIVE");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	for (int i = 0; i < 2; i++) { /* it follows when it is restored, and is archived there */
		assert_int_equal(setx(f, ino, "user.astra.restore", "1d"), 0);
		all_done(f);
	}
	only(f, 0, (const char *const[]){"b", NULL});
	file_is(f, f->aws, "b", "one");
}

static void archive(struct fix *f, uint64_t ino)
{
	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	all_done(f);
	stage_drop(f->stage, ino);
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
}

/* Nothing goes on by itself: what lives waits for a restore. */
static void is_quiet(struct fix *f)
{
	struct jobs_stat js = {.live = 1};
	struct vfs_stat vs = {.dirty = 1};

	for (int i = 0; i < 10000 && (vs.dirty != 0 || js.live != js.stuck || js.active != 0);
		i++) {
		usleep(1000);
		vfs_stat(f->v, &vs);
		jobs_stat(f->jobs, &js);
	}
	assert_int_equal(vs.dirty, 0);
	assert_int_equal(js.live, js.stuck);
}

/* It follows to where its name is, and can be read when it is restored once more; in_a_tier sees to
 * the commits of that. */
static void comes_back(struct fix *f, uint64_t dir, const char *name, uint64_t ino)
{
	struct vfs_handle *h = NULL;

	over = atomic_load(&fails.n) != 0;
	fail_commits(f, 0, is_due, NULL, 0);
	for (int i = 0; i < 2; i++) {
		is_quiet(f);
		assert_int_equal(setx(f, ino, "user.astra.restore", "1d"), 0);
		all_done(f);
	}
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	close_h(f, h);
	file_is(f, dir, name, "one");
}

static void archived_and_new(struct fix *f)
{
	uint64_t ino = 0;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	make_text(f, f->aws, "a", "new");
	is_quiet(f);
	comes_back(f, f->aws, "c", ino);
	only(f, 0, (const char *const[]){"a", "b", "c", NULL});
	object_is(f, 0, "a", "new");
	file_is(f, f->aws, "a", "new");
}

static void archived_over(struct fix *f)
{
	uint64_t ino = 0;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
	is_quiet(f);
	comes_back(f, f->aws, "b", ino);
	only(f, 0, (const char *const[]){"b", NULL});
}

static void archived_and_replaced(struct fix *f)
{
	uint64_t ino = 0;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "c", 0), 0);
	all_done(f);
	one_there(f, 0, "c", "two");
}

static void archived_in_directory(struct fix *f)
{
	uint64_t d = 0, ino = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(rename_to(f, f->aws, "a", d, "a", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "b", d, "b", 0), 0);
	all_done(f);
	assert_int_equal(lookup(f, d, "a", &ino), 0);
	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	is_quiet(f);
	comes_back(f, d, "a", ino);
	only(f, 0, (const char *const[]){"e/a", "e/b", NULL});
	file_is(f, d, "b", "two");
}

static void name_reused(struct fix *f)
{
	uint64_t ino = 0, now = 0;
	struct meta_inode in;
	struct meta_txn *t = NULL;

	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	fault(f, 0, "copy:n=1:delay=100:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	make_text(f, f->aws, "a", "new");
	all_done(f);
	fault(f, 0, "");
	t = meta_begin_read(f->m);
	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	assert_non_null(strstr(in.name, "a.unmoved-"));
	only(f, 0, (const char *const[]){"a", in.name, "b", NULL});
	object_is(f, 0, in.name, "one");
	file_is(f, f->aws, in.name, "one");
	file_is(f, f->aws, "a", "new");
	assert_int_equal(lookup(f, f->aws, in.name, &now), 0);
	assert_int_equal(now, ino);
	assert_int_equal(unlink_in(f, f->aws, in.name), 0);
}

static void empty_again(struct fix *f)
{
	static const char *const names[] = {"a", "b", "c"};
	uint64_t e = 0;

	for (unsigned i = 0; i < 3; i++) {
		(void)unlink_in(f, f->aws, names[i]);
		(void)unlink_in(f, f->gcp, names[i]);
	}
	if (lookup(f, f->aws, "e", &e) == 0) {
		assert_int_equal(unlink_in(f, e, "a"), 0);
		assert_int_equal(unlink_in(f, e, "b"), 0);
		assert_int_equal(rmdir_in(f, f->aws, "e"), 0);
	}
	all_done(f);
	none_there(f, 0);
	none_there(f, 1);
	nothing_is_recorded(f);
}

static void each(struct fix *f, void (*run)(struct fix *f))
{
	/* With ASTRA_FEW, for slow builds, not each of them. */
	const char *few = getenv("ASTRA_FEW");
	unsigned n = 0, step = few != NULL && *few != '\0' ? 3 : 1;

	over = false;
	do {
		make_text(f, f->aws, "a", "one");
		make_text(f, f->aws, "b", "two");
		(void)lookup(f, f->gcp, "c", NULL); /* it is listed */
		sync_all(f);
		all_done(f);
		atomic_store(&skip, n);
		fail_commits(f, 1 + n % 2, is_due, NULL, 0); /* with the next one, now and then */
		n += step;
		run(f);
		empty_again(f);
	} while (atomic_load(&fails.n) == 0 && !over);
	fail_commits(f, 0, is_due, NULL, 0);
	check_clean(f->m);
	assert_true(n > 2);
}

#define EACH(fn)                                                                                   \
	static void test_##fn(void **state)                                                        \
	{                                                                                          \
		each(*state, fn);                                                                  \
	}
EACH(renamed)
EACH(moved)
EACH(replaced)
EACH(exchanged)
EACH(directory)
EACH(rewritten)
EACH(taken_back)
EACH(exchange_taken_back)
EACH(changed_and_renamed)
EACH(changed_and_moved)
EACH(removed)
EACH(in_a_tier)
EACH(archived_and_new)
EACH(archived_over)
EACH(archived_and_replaced)
EACH(archived_in_directory)
EACH(name_reused)

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_failing, teardown_failing)
	const struct CMUnitTest tests[] = {T(test_source_is_removed_once), T(test_upload),
		T(test_upload_and_gone), T(test_cancelled), T(test_turned), T(test_renamed),
		T(test_moved), T(test_replaced), T(test_exchanged), T(test_directory),
		T(test_rewritten), T(test_taken_back), T(test_exchange_taken_back),
		T(test_changed_and_renamed), T(test_changed_and_moved), T(test_removed),
		T(test_in_a_tier), T(test_archived_and_new), T(test_archived_over),
		T(test_archived_and_replaced), T(test_archived_in_directory), T(test_name_reused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
