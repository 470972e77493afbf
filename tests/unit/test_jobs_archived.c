/* SPDX-License-Identifier: MIT */
/* Directories that are renamed with archived files in them: the rest follows at once, these when
 * they are restored, and nobody else waits for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "jobs_help.h"

static bool is_there(struct fix *f, unsigned remote, const char *key)
{
	struct store_stat st = {0};
	errint_t r =
		store_head(f->remotes[remote].st, NULL, (struct store_obj){"b", key}, &st, NULL);

	store_stat_done(&st);
	assert_true(r == 0 || r == -ENOENT);
	return r == 0;
}

/* Keys below prefix that are beside another one; the last of them. */
static unsigned besides_get(struct fix *f, const char *prefix, char ret[STORE_KEY_MAX + 1])
{
	struct store_page p = {0};
	unsigned n = 0;

	assert_int_equal(
		store_list(f->remotes[0].st, NULL, "b", prefix, '/', "", 1000, &p, NULL), 0);
	for (size_t i = 0; i < p.n; i++) {
		if (strstr(p.e[i].key, ".later-") == NULL)
			continue;
		(void)snprintf(ret, STORE_KEY_MAX + 1, "%s", p.e[i].key);
		n++;
	}
	store_page_done(&p);
	return n;
}

static unsigned besides(struct fix *f, const char *prefix)
{
	char key[STORE_KEY_MAX + 1];

	return besides_get(f, prefix, key);
}

/* One object lies beside the key of an archived one, with this text. */
static void beside_is(struct fix *f, const char *prefix, const char *want)
{
	char key[STORE_KEY_MAX + 1];

	assert_int_equal(besides_get(f, prefix, key), 1);
	object_is(f, 0, key, want);
}

/* Its bytes are in the cloud only, and archived there. */
static void archive(struct fix *f, uint64_t ino)
{
	struct vfs_handle *h = NULL;

	sync_all(f);
	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	sync_all(f);
	stage_drop(f->stage, ino);
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), -EIO);
}

/* All live jobs wait for a restore, or behind one that does; there are n. */
static void only_stuck(struct fix *f, unsigned n)
{
	struct jobs_stat st = {0};

	for (int i = 0; i < 10000 && (st.live == 0 || st.live != st.stuck || st.active != 0); i++) {
		usleep(1000);
		jobs_stat(f->jobs, &st);
	}
	for (int i = 0; i < 1000 && st.live != n; i++) {
		usleep(1000);
		jobs_stat(f->jobs, &st);
	}
	assert_int_equal(st.live, n);
}

/* d with an archived x, and y, and s/z. */
static uint64_t tree(struct fix *f, uint64_t *ret_x)
{
	uint64_t d = 0, s = 0;

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(mkdir_in(f, d, "s", &s), 0);
	*ret_x = make_text(f, d, "x", "cold");
	make_text(f, d, "y", "one");
	make_text(f, s, "z", "two");
	archive(f, *ret_x);
	return d;
}

static uint64_t job_of(struct fix *f, uint64_t ino, enum job_kind kind)
{
	struct job_info i;

	assert_true(job_info_ino(f->jobs, ino, &i));
	assert_int_equal(i.kind, kind);
	return i.id;
}

static void restore(struct fix *f, uint64_t ino)
{
	assert_int_equal(setx(f, ino, "user.astra.restore", "1d"), 0);
}

/* Inside a cloud the copy is archived as well. */
static void read_it(struct fix *f, uint64_t dir, const char *name, uint64_t ino)
{
	struct vfs_handle *h = NULL;

	if (open_ino(f, ino, O_RDONLY, &h) == -EIO) {
		restore(f, ino);
		sync_all(f);
	} else {
		close_h(f, h);
	}
	file_is(f, dir, name, "cold");
}

static void moved(struct fix *f, unsigned remote, uint64_t d, uint64_t x)
{
	assert_true(is_there(f, remote, "e/x"));
	assert_false(is_there(f, 0, "d/x"));
	read_it(f, d, "x", x);
	object_is(f, remote, "e/x", "cold");
}

static void rest_has_moved(struct fix *f, unsigned remote, uint64_t d, uint64_t x)
{
	uint64_t s = 0, ino = 0;
	struct vfs_handle *h = NULL;

	only_stuck(f, 1);
	object_is(f, remote, "e/y", "one");
	object_is(f, remote, "e/s/z", "two");
	assert_false(is_there(f, 0, "d/y"));
	assert_false(is_there(f, 0, "d/s/z"));
	assert_true(is_there(f, 0, "d/x"));
	file_is(f, d, "y", "one");
	assert_int_equal(lookup(f, d, "s", &s), 0);
	file_is(f, s, "z", "two");
	assert_int_equal(lookup(f, d, "x", &ino), 0);
	assert_int_equal(ino, x);
	assert_int_equal(attr(f, x).st_size, 4);
	assert_int_equal(open_ino(f, x, O_RDONLY, &h), -EIO);
	assert_string_equal(getx(f, x, "user.astra.state"), "renamed-here-only");
}

static void follows(struct fix *f, bool across)
{
	uint64_t x = 0, d = tree(f, &x), to = across ? f->gcp : f->aws;
	unsigned remote = across ? 1 : 0;
	struct vfs_handle *h = NULL;

	assert_int_equal(rename_to(f, f->aws, "d", to, "e", 0), 0);
	rest_has_moved(f, remote, d, x);
	/* what is made there does not wait */
	h = create_in(f, d, "new", NULL);
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	object_is(f, remote, "e/new", "new");
	fix_down(f);
	fix_up(f);
	rest_has_moved(f, remote, d, x);
	sync_all(f); /* nobody waits for it */
	assert_true(is_there(f, 0, "d/x"));
	restore(f, x);
	all_done(f);
	moved(f, remote, d, x);
}

static void test_inside(void **state)
{
	follows(*state, false);
}

static void test_across(void **state)
{
	follows(*state, true);
}

/* Who waited for the directory before it was known does not wait for the archived file. */
static void test_waited_for(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x);
	struct ask *a = ask_new();

	fault(f, 0, "copy:delay=100");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	vfs_sync(f->v, &a->c, d);
	assert_int_equal(ask_wait(a), 0);
	ask_free(a);
	fault(f, 0, "");
	rest_has_moved(f, 0, d, x);
	restore(f, x);
	all_done(f);
	moved(f, 0, d, x);
}

static void test_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x), old = 0, ino = 0;

	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	rest_has_moved(f, 0, d, x);
	assert_int_equal(job_cancel(f->jobs, job_of(f, x, JOB_RELOCATE)), 0);
	for (int i = 0; i < 5000 && job_live(f->jobs, x); i++)
		usleep(1000);
	assert_int_equal(lookup(f, d, "x", NULL), -ENOENT);
	assert_int_equal(lookup(f, f->aws, "d", &old), 0);
	assert_int_equal(lookup(f, old, "x", &ino), 0);
	assert_int_equal(ino, x);
	sync_all(f);
	assert_true(is_there(f, 0, "d/x"));
	assert_false(is_there(f, 0, "e/x"));
	object_is(f, 0, "e/y", "one");
	restore(f, x);
	sync_all(f);
	file_is(f, old, "x", "cold");
}

/* The old name is another file's by now: that one's object lies beside its key. */
static uint64_t name_taken(struct fix *f, uint64_t x)
{
	uint64_t d = 0;

	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	make_text(f, d, "x", "new");
	only_stuck(f, 2);
	fault(f, 0, "");
	assert_false(is_there(f, 0, "d/y"));
	object_is(f, 0, "e/y", "one");
	assert_true(is_there(f, 0, "d/x"));
	beside_is(f, "d/x", "new");
	return d;
}

static void test_name_taken(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, e = tree(f, &x), d = name_taken(f, x);

	restore(f, x);
	all_done(f);
	assert_true(is_there(f, 0, "e/x"));
	object_is(f, 0, "d/x", "new");
	read_it(f, e, "x", x);
	file_is(f, d, "x", "new");
	assert_int_equal(besides(f, "d/"), 0);
}

/* Cancelled then, it gets a name beside the other, and leaves the key when it can. */
static void test_name_taken_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, e = tree(f, &x), d = name_taken(f, x), id = job_of(f, x, JOB_RELOCATE);

	assert_int_equal(job_cancel(f->jobs, id), 0);
	for (int i = 0; i < 5000 && lookup(f, e, "x", NULL) == 0; i++)
		usleep(1000);
	assert_int_equal(lookup(f, e, "x", NULL), -ENOENT);
	assert_true(job_cancel_stands(f->jobs, id)); /* it is no refusal */
	file_is(f, e, "y", "one");
	only_stuck(f, 2);
	restore(f, x);
	all_done(f);
	restore(f, x);
	sync_all(f);
	object_is(f, 0, "d/x", "new");
	file_is(f, d, "x", "new");
	struct vfs_handle *h = NULL;
	char got[8];

	assert_int_equal(open_ino(f, x, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, got, 8), 4);
	assert_memory_equal(got, "cold", 4);
	close_h(f, h);
}

/* A directory is on its way back for a while: that is no refusal either. */
static void test_dir_cancelled(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, e = tree(f, &x), d = 0, id = 0;
	struct job_info i = {0};

	fault(f, 0, "copy:key=[de]/y:error=EIO;head:key=[de]/y:error=EIO");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	id = job_of(f, e, JOB_DIRMOVE);
	while (job_info_get(f->jobs, id, &i) && i.retries == 0)
		usleep(1000);
	assert_int_equal(job_cancel(f->jobs, id), 0);
	usleep(300000);
	assert_true(job_info_get(f->jobs, id, &i));
	assert_int_equal(i.ended_ns, 0);
	assert_true(job_cancel_stands(f->jobs, id));
	fault(f, 0, "");
	while (job_info_get(f->jobs, id, &i) && i.ended_ns == 0)
		usleep(1000);
	assert_int_equal(i.state, JOB_CANCELLED);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	file_is(f, d, "y", "one");
	text_is(f, "d/y", "one");
}

/* What is refused goes on, and does not come to an end later that nobody was told of. */
static void test_cancel_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = 0, id = 0;
	struct job_info i = {0};

	fix_down(f);
	f->vc.migrate_wait_ns = 1;
	fix_up(f);
	ino = make_text(f, f->aws, "a", "one");
	sync_all(f);
	fault(f, 1, "put:error=EIO");
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "b", 0), 0);
	id = job_of(f, ino, JOB_RELOCATE);
	while (job_info_get(f->jobs, id, &i) && i.retries == 0)
		usleep(1000);
	jobs_stop(f->jobs); /* all are called off, and none of them takes a step */
	assert_false(job_cancel_stands(f->jobs, id));
	assert_true(job_info_get(f->jobs, id, &i));
	assert_int_equal(i.ended_ns, 0);
	fix_down(f);
	fix_up(f);
	fault(f, 1, "");
	all_done(f);
	object_is(f, 1, "b", "one");
	file_is(f, f->gcp, "b", "one");
}

/* Unlinked while it waits: its object goes without having followed, and the key is free. */
static void unlinked(struct fix *f, bool taken)
{
	uint64_t x = 0, e = tree(f, &x), d = 0;

	if (taken) {
		d = name_taken(f, x);
	} else {
		assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
		only_stuck(f, 1);
	}
	assert_int_equal(unlink_in(f, e, "x"), 0);
	all_done(f);
	assert_false(is_there(f, 0, "e/x"));
	if (taken)
		object_is(f, 0, "d/x", "new");
	else
		assert_false(is_there(f, 0, "d/x"));
	if (taken)
		file_is(f, d, "x", "new");
	object_is(f, 0, "e/y", "one");
}

static void test_unlinked(void **state)
{
	unlinked(*state, false);
}

static void test_unlinked_name_taken(void **state)
{
	unlinked(*state, true);
}

/* Another file takes its new name while the directory moves: one in another cloud, one in the same,
 * and one that is not in a cloud yet. The archived one is removed where it was. */
static void replaced_in_moved(struct fix *f, unsigned how, bool taken)
{
	uint64_t x = 0, q = 0, e = tree(f, &x), d = 0, from = how == 0 ? f->gcp : f->aws;

	q = make_text(f, from, "q", "new");
	if (how != 2)
		sync_all(f);
	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(rename_to(f, from, "q", e, "x", 0), 0);
	if (taken) {
		assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
		make_text(f, d, "x", "other");
	}
	all_done(f);
	fault(f, 0, "");
	object_is(f, 0, "e/x", "new");
	object_is(f, 0, "e/y", "one");
	object_is(f, 0, "e/s/z", "two");
	assert_false(is_there(f, 0, "d/y"));
	assert_false(is_there(f, how == 0 ? 1 : 0, "q"));
	file_is(f, e, "x", "new");
	assert_false(job_live(f->jobs, q));
	if (taken)
		object_is(f, 0, "d/x", "other");
	else
		assert_false(is_there(f, 0, "d/x"));
	assert_int_equal(besides(f, "d/"), 0);
	assert_int_equal(besides(f, "e/"), 0);
}

static void test_moved_and_replaced_across(void **state)
{
	replaced_in_moved(*state, 0, false);
}

static void test_moved_and_replaced(void **state)
{
	replaced_in_moved(*state, 1, false);
}

static void test_moved_and_replaced_by_new(void **state)
{
	replaced_in_moved(*state, 2, false);
}

/* And something else has its old key by then. */
static void test_moved_and_replaced_taken(void **state)
{
	replaced_in_moved(*state, 0, true);
}

static void test_moved_and_replaced_by_new_taken(void **state)
{
	replaced_in_moved(*state, 2, true);
}

/* The other cannot come: the archived file has a name again, which is that of its key. */
static void test_moved_and_replacer_fails(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, e = tree(f, &x), d = 0, now = 0;

	make_text(f, f->gcp, "q", "new");
	sync_all(f);
	fault(f, 0, "put:error=EIO/final");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	(void)rename_to(f, f->gcp, "q", e, "x", 0);
	all_done(f);
	fault(f, 0, "");
	file_is(f, f->gcp, "q", "new");
	file_is(f, e, "y", "one");
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	assert_int_equal(lookup(f, d, "x", &now), 0);
	assert_int_equal(now, x);
	assert_string_equal(getx(f, x, "user.astra.state"), "archived");
	assert_true(is_there(f, 0, "d/x"));
}

/* A file that was archived as x and is called y: its move waits for the restore. */
static uint64_t renamed_archived(struct fix *f)
{
	uint64_t ino = make_text(f, f->aws, "x", "cold");

	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	only_stuck(f, 1);
	return ino;
}

/* With other content, and open for writing. */
static struct vfs_handle *written_anew(struct fix *f, uint64_t ino)
{
	struct vfs_handle *h = NULL;

	assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	return h;
}

/* It gets other content under its new name, and another file takes the old one: neither waits for a
 * restore. */
static void test_emptied(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = written_anew(f, renamed_archived(f));

	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	object_is(f, 0, "y", "new");
	assert_false(is_there(f, 0, "x"));
	make_text(f, f->aws, "x", "other");
	sync_all(f);
	object_is(f, 0, "x", "other");
	file_is(f, f->aws, "y", "new");
}

/* Another file replaces it under its new name: one that is in the cloud, and one that is not yet.
 */
static void test_replaced(void **state)
{
	struct fix *f = *state;

	for (int there = 0; there < 2; there++) {
		renamed_archived(f);
		make_text(f, f->aws, "q", "new");
		if (there)
			usleep(200000);
		assert_int_equal(rename_to(f, f->aws, "q", f->aws, "y", 0), 0);
		sync_all(f);
		object_is(f, 0, "y", "new");
		assert_false(is_there(f, 0, "x"));
		assert_false(is_there(f, 0, "q"));
		assert_int_equal(unlink_in(f, f->aws, "y"), 0);
		sync_all(f);
	}
}

/* The file that replaces it cannot come: what was to be replaced is where it was, and is seen. */
static void test_replacer_fails(void **state)
{
	struct fix *f = *state;
	uint64_t ino = 0, now = 0;

	make_text(f, f->gcp, "q", "new");
	ino = renamed_archived(f);
	fault(f, 0, "put:error=EIO/final");
	(void)rename_to(f, f->gcp, "q", f->aws, "y", 0);
	all_done(f);
	fault(f, 0, "");
	file_is(f, f->gcp, "q", "new");
	assert_true(is_there(f, 0, "x"));
	assert_int_equal(lookup(f, f->aws, "x", &now), 0);
	assert_int_equal(now, ino);
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
}

/* New content of it cannot come: the old object stays until it can. */
static void test_emptied_and_refused(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = NULL;
	uint64_t ino = renamed_archived(f);

	fault(f, 0, "put:error=EACCES/auth");
	h = written_anew(f, ino);
	assert_int_equal(fsync_h(f, h), -EACCES);
	assert_true(is_there(f, 0, "x"));
	fault(f, 0, "");
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	object_is(f, 0, "y", "new");
	assert_false(is_there(f, 0, "x"));
}

/* Out of the directory, while that moves. */
static void test_renamed_on(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x);

	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(rename_to(f, d, "x", f->aws, "w", 0), 0);
	only_stuck(f, 1);
	fault(f, 0, "");
	object_is(f, 0, "e/s/z", "two");
	for (int i = 0; i < 100 && job_live(f->jobs, x); i++) { /* each place is an archive */
		restore(f, x);
		usleep(200000);
	}
	sync_all(f);
	assert_true(is_there(f, 0, "w"));
	assert_false(is_there(f, 0, "d/x"));
	assert_false(is_there(f, 0, "e/x"));
	read_it(f, f->aws, "w", x);
}

/* ---- others do not wait for one that is archived ---- */

static errint_t write_at(struct fix *f, uint64_t ino, uint64_t off, const char *text)
{
	struct vfs_handle *h = NULL;
	errint_t r;

	assert_int_equal(open_ino(f, ino, O_WRONLY, &h), 0);
	r = put(f, h, off, text, strlen(text));
	if (r == 0)
		r = fsync_h(f, h);
	close_h(f, h);
	return r;
}

static uint64_t make_synced(struct fix *f, uint64_t dir, const char *name, const char *text)
{
	uint64_t ino = 0;
	struct vfs_handle *h = create_in(f, dir, name, &ino);

	assert_int_equal(put(f, h, 0, text, strlen(text)), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	return ino;
}

/* An archived x is called y, and a new file x. */
static uint64_t rotated(struct fix *f, uint64_t *ret_new)
{
	uint64_t old = renamed_archived(f);

	*ret_new = make_synced(f, f->aws, "x", "new");
	only_stuck(f, 2);
	return old;
}

static void notes_say(struct fix *f, uint64_t ino, const char *want)
{
	struct job_info i;

	for (int n = 0; n < 5000; n++) {
		assert_true(job_info_ino(f->jobs, ino, &i));
		if (i.archived && strcmp(i.note, want) == 0)
			return;
		usleep(1000);
	}
	assert_string_equal(i.note, want);
}

/* The new file is in the cloud, beside its key, and goes there when the archived one has left. */
static void test_new_file(void **state)
{
	struct fix *f = *state;
	uint64_t new = 0, old = rotated(f, &new);

	beside_is(f, "", "new");
	assert_true(is_there(f, 0, "x"));
	notes_say(f, old, "waiting for restore of /aws/y (archived)");
	notes_say(f, new, "waiting for restore of /aws/y (archived)");
	assert_int_equal(write_at(f, new, 3, " and more"), 0);
	beside_is(f, "", "new and more");
	fix_down(f);
	fix_up(f);
	only_stuck(f, 2);
	assert_int_equal(write_at(f, new, 0, "NEW"), 0);
	beside_is(f, "", "NEW and more");
	file_is(f, f->aws, "x", "NEW and more");
	assert_string_equal(getx(f, old, "user.astra.state"), "renamed-here-only");
	restore(f, old);
	all_done(f);
	object_is(f, 0, "x", "NEW and more");
	assert_true(is_there(f, 0, "y"));
	assert_int_equal(besides(f, ""), 0);
	read_it(f, f->aws, "y", old);
}

/* It goes on as any other file: it is removed, renamed, replaced. */
static void test_new_file_goes_on(void **state)
{
	struct fix *f = *state;
	uint64_t new = 0, old = rotated(f, &new);

	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "w", 0), 0);
	only_stuck(f, 1);
	object_is(f, 0, "w", "new");
	assert_int_equal(besides(f, ""), 0);
	make_synced(f, f->aws, "x", "next");
	beside_is(f, "", "next");
	make_synced(f, f->aws, "tmp", "over");
	assert_int_equal(rename_to(f, f->aws, "tmp", f->aws, "x", 0), 0);
	only_stuck(f, 2);
	beside_is(f, "", "over");
	file_is(f, f->aws, "x", "over");
	assert_int_equal(unlink_in(f, f->aws, "x"), 0);
	only_stuck(f, 1);
	assert_int_equal(besides(f, ""), 0);
	assert_false(is_there(f, 0, "tmp"));
	restore(f, old);
	all_done(f);
	assert_true(is_there(f, 0, "y"));
	assert_false(is_there(f, 0, "x"));
	object_is(f, 0, "w", "new");
}

/* Nobody waits for what lies beside the key of a removal that the delete guard holds. */
static void test_removal_held(void **state)
{
	struct fix *f = *state;
	uint64_t new = 0;
	struct job_info i;

	fix_down(f);
	f->delete_guard = 1;
	fix_up(f);
	make_synced(f, f->aws, "n", "first");
	assert_int_equal(unlink_in(f, f->aws, "n"), 0);
	uint64_t old = rotated(f, &new);

	assert_int_equal(unlink_in(f, f->aws, "y"), 0);
	sync_all(f);
	beside_is(f, "", "new");
	assert_int_equal(job_cancel(f->jobs, job_of(f, old, JOB_REMOVE)), 0);
	for (int n = 0; n < 5000; n++) {
		usleep(1000);
		if (job_info_ino(f->jobs, old, &i) && i.kind == JOB_RELOCATE)
			break;
	}
	assert_int_equal(i.kind, JOB_RELOCATE);
	only_stuck(f, 2);
	file_is(f, f->aws, "x", "new");
	restore(f, old);
	all_done(f);
	object_is(f, 0, "x", "new");
	assert_int_equal(besides(f, ""), 0);
}

/* Logs that are rotated, the older ones archived: each name and what it stands for. */
static void test_rotation(void **state)
{
	static const char *const names[] = {"log", "log.1", "log.2", "log.3", "log.4", "log.5"};
	struct fix *f = *state;
	uint64_t ino[6] = {0};
	char text[16];

	for (unsigned i = 1; i < 4; i++) {
		ino[i] = make_text(f, f->aws, names[i], "cold");
		archive(f, ino[i]);
	}
	make_synced(f, f->aws, "log", "0");
	for (unsigned round = 1; round < 3; round++) {
		for (unsigned i = 2 + round; i > 0; i--)
			assert_int_equal(
				rename_to(f, f->aws, names[i], f->aws, names[i + 1], 0), 0);
		assert_int_equal(rename_to(f, f->aws, "log", f->aws, "log.1", 0), 0);
		(void)snprintf(text, sizeof(text), "%u", round);
		make_synced(f, f->aws, "log", text);
		sync_all(f);
	}
	file_is(f, f->aws, "log", "2");
	file_is(f, f->aws, "log.1", "1");
	file_is(f, f->aws, "log.2", "0");
	for (unsigned i = 1; i < 4; i++)
		restore(f, ino[i]);
	all_done(f);
	object_is(f, 0, "log", "2");
	object_is(f, 0, "log.1", "1");
	object_is(f, 0, "log.2", "0");
	assert_int_equal(besides(f, ""), 0);
	for (unsigned i = 1; i < 4; i++)
		assert_true(is_there(f, 0, names[i + 2]));
}

/* What it replaces under its new name is removed; it may be replaced itself, and the name be new.
 */
static void test_over_another(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "x", "cold"), other = 0;

	make_synced(f, f->aws, "y", "old");
	archive(f, ino);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	only_stuck(f, 1);
	sync_all(f);
	assert_false(is_there(f, 0, "y"));
	make_synced(f, f->aws, "z", "other");
	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "z", 0), 0);
	only_stuck(f, 1);
	other = make_synced(f, f->aws, "x", "new");
	make_synced(f, f->aws, "y", "newer");
	assert_int_equal(write_at(f, other, 0, "N"), 0);
	only_stuck(f, 2);
	object_is(f, 0, "y", "newer");
	assert_false(is_there(f, 0, "z"));
	restore(f, ino);
	all_done(f);
	assert_true(is_there(f, 0, "z"));
	object_is(f, 0, "x", "New");
	read_it(f, f->aws, "z", ino);
}

/* The same with one that is restored, and gets new content at once. */
static void test_over_another_anew(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = NULL;
	uint64_t ino = 0;

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	ino = make_text(f, f->aws, "x", "cold");
	make_synced(f, f->aws, "y", "old");
	archive(f, ino);
	restore(f, ino);
	sync_all(f);
	h = written_anew(f, ino);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	all_done(f);
	object_is(f, 0, "y", "new");
	assert_false(is_there(f, 0, "x"));
	assert_int_equal(lookup(f, f->aws, "x", NULL), -ENOENT);
}

static void test_there_and_back(void **state)
{
	struct fix *f = *state;
	uint64_t ino = renamed_archived(f);

	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "z", 0), 0);
	only_stuck(f, 1);
	assert_int_equal(rename_to(f, f->aws, "z", f->aws, "x", 0), 0);
	all_done(f);
	assert_true(is_there(f, 0, "x"));
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
}

/* It takes its first name back from the new file: that one's object goes, where it is. */
static void test_back_over_new(void **state)
{
	struct fix *f = *state;
	uint64_t new = 0, old = rotated(f, &new);

	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "x", 0), 0);
	all_done(f);
	assert_int_equal(besides(f, ""), 0);
	assert_true(is_there(f, 0, "x"));
	assert_string_equal(getx(f, old, "user.astra.state"), "archived");
	fix_down(f);
	fix_up(f);
	assert_int_equal(lookup(f, f->aws, "y", NULL), -ENOENT);
	read_it(f, f->aws, "x", old);
}

/* It goes straight to its last name. */
static void test_twice(void **state)
{
	struct fix *f = *state;
	uint64_t ino = renamed_archived(f);

	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "z", 0), 0);
	only_stuck(f, 1);
	make_synced(f, f->aws, "y", "new");
	only_stuck(f, 1);
	object_is(f, 0, "y", "new");
	fix_down(f);
	fix_up(f);
	only_stuck(f, 1);
	restore(f, ino);
	all_done(f);
	assert_true(is_there(f, 0, "z"));
	assert_false(is_there(f, 0, "x"));
	object_is(f, 0, "y", "new");
	read_it(f, f->aws, "z", ino);
}

/* What is appended needs the rest: told at once, and kept here until it can be had. */
static void test_appended(void **state)
{
	struct fix *f = *state;
	uint64_t ino = renamed_archived(f);

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "z", 0), 0);
	assert_int_equal(write_at(f, ino, 4, "er"), -EIO);
	assert_true(is_there(f, 0, "x"));
	restore(f, ino);
	for (int i = 0; i < 100 && write_at(f, ino, 4, "er") != 0; i++)
		usleep(50000);
	all_done(f);
	object_is(f, 0, "z", "colder");
	assert_false(is_there(f, 0, "x"));
	file_is(f, f->aws, "z", "colder");
}

static bool is_dirty(struct fix *f, uint64_t ino)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	return (in.flags & META_F_DIRTY) != 0;
}

/* Then nothing of it stays: the file is clean, and its object goes to its name when it can. */
static void test_append_fails(void **state)
{
	struct fix *f = *state;
	uint64_t ino = renamed_archived(f), failures = job_failures(f);

	assert_int_equal(write_at(f, ino, 4, "er"), -EIO);
	for (int i = 0; i < 5000 && is_dirty(f, ino); i++)
		usleep(1000);
	assert_false(is_dirty(f, ino));
	only_stuck(f, 1);
	assert_int_equal(job_failures(f), failures);
	fix_down(f);
	fix_up(f);
	only_stuck(f, 1);
	restore(f, ino);
	all_done(f);
	assert_true(is_there(f, 0, "y"));
	assert_false(is_there(f, 0, "x"));
	read_it(f, f->aws, "y", ino);
}

/* A directory with an archived file is renamed again: neither it nor what is made in it waits. */
static void test_directory_twice(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x);

	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	rest_has_moved(f, 0, d, x);
	assert_int_equal(rename_to(f, f->aws, "e", f->aws, "g", 0), 0);
	make_synced(f, d, "new", "new");
	object_is(f, 0, "g/new", "new");
	only_stuck(f, 1);
	object_is(f, 0, "g/y", "one");
	object_is(f, 0, "g/s/z", "two");
	assert_false(is_there(f, 0, "e/y"));
	assert_true(is_there(f, 0, "d/x"));
	assert_int_equal(rename_to(f, f->aws, "g", f->aws, "d", 0), 0);
	all_done(f);
	object_is(f, 0, "d/y", "one");
	object_is(f, 0, "d/new", "new");
	assert_string_equal(getx(f, x, "user.astra.state"), "archived");
}

/* At once, also to another cloud in the end, and when another takes the name in between. */
static void test_directory_twice_at_once(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, o = 0;

	for (int far = 0; far < 2; far++) {
		uint64_t d = tree(f, &x);

		assert_int_equal(mkdir_in(f, f->aws, "o", &o), 0);
		make_synced(f, o, "x", "other");
		fault(f, 0, "copy:delay=200");
		assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
		assert_int_equal(rename_to(f, f->aws, "e", far ? f->gcp : f->aws, "g", 0), 0);
		assert_int_equal(rename_to(f, f->aws, "o", f->aws, "e", 0), 0);
		fault(f, 0, "");
		only_stuck(f, 1);
		object_is(f, far, "g/y", "one");
		object_is(f, far, "g/s/z", "two");
		object_is(f, 0, "e/x", "other");
		assert_true(is_there(f, 0, "d/x"));
		restore(f, x);
		all_done(f);
		assert_true(is_there(f, far, "g/x"));
		assert_false(is_there(f, 0, "d/x"));
		read_it(f, d, "x", x);
		assert_int_equal(unlink_in(f, o, "x"), 0);
		assert_int_equal(rmdir_in(f, f->aws, "e"), 0);
		assert_int_equal(
			rename_to(f, far ? f->gcp : f->aws, "g", f->aws, far ? "o1" : "o0", 0), 0);
		all_done(f);
	}
	assert_int_equal(job_failures(f), 0);
}

/* Another directory takes the name of one whose archived file has not left: what would get its key
 * goes beside it. */
static void name_of_parked(struct fix *f, bool at_once)
{
	uint64_t x = 0, d = tree(f, &x), g = 0, s = 0;

	assert_int_equal(mkdir_in(f, f->aws, "g", &g), 0);
	make_text(f, g, "x", "new");
	make_text(f, g, "more", "more");
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	if (!at_once)
		rest_has_moved(f, 0, d, x);
	assert_int_equal(rename_to(f, f->aws, "g", f->aws, "d", 0), 0);
	only_stuck(f, 2);
	assert_int_equal(lookup(f, f->aws, "d", &s), 0);
	assert_int_equal(s, g);
	file_is(f, g, "x", "new");
	object_is(f, 0, "d/more", "more");
	beside_is(f, "d/", "new");
	assert_false(is_there(f, 0, "g/x"));
	fix_down(f);
	fix_up(f);
	only_stuck(f, 2);
	assert_int_equal(job_failures(f), 0);
	restore(f, x);
	all_done(f);
	assert_true(is_there(f, 0, "e/x"));
	read_it(f, d, "x", x);
	object_is(f, 0, "d/x", "new");
	assert_int_equal(besides(f, "d/"), 0);
	file_is(f, g, "x", "new");
}

static void test_name_of_parked(void **state)
{
	name_of_parked(*state, false);
}

static void test_name_of_parked_at_once(void **state)
{
	name_of_parked(*state, true);
}

/* The same, from another cloud; and what is beside goes on. */
static void test_name_of_parked_across(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x), g = 0;

	assert_int_equal(mkdir_in(f, f->gcp, "g", &g), 0);
	make_text(f, g, "x", "new");
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(rename_to(f, f->gcp, "g", f->aws, "d", 0), 0);
	only_stuck(f, 2);
	beside_is(f, "d/", "new");
	assert_int_equal(rename_to(f, g, "x", f->aws, "w", 0), 0);
	only_stuck(f, 1);
	object_is(f, 0, "w", "new");
	assert_int_equal(besides(f, "d/"), 0);
	assert_int_equal(rename_to(f, f->aws, "w", g, "x", 0), 0);
	only_stuck(f, 2);
	assert_int_equal(rename_to(f, f->aws, "d", f->gcp, "h", 0), 0);
	only_stuck(f, 1);
	object_is(f, 1, "h/x", "new");
	assert_int_equal(job_failures(f), 0);
	restore(f, x);
	all_done(f);
	assert_true(is_there(f, 0, "e/x"));
	read_it(f, d, "x", x);
}

/* The archived file had another name than its key before; a new one of the old name is there. */
static void test_directory_above(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x);

	assert_int_equal(rename_to(f, d, "x", d, "w", 0), 0);
	only_stuck(f, 1);
	make_synced(f, d, "x", "new");
	only_stuck(f, 2);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	make_synced(f, d, "more", "more");
	object_is(f, 0, "e/more", "more");
	sync_all(f);
	object_is(f, 0, "e/y", "one");
	file_is(f, d, "x", "new");
	restore(f, x);
	all_done(f);
	object_is(f, 0, "e/x", "new");
	assert_true(is_there(f, 0, "e/w"));
	assert_false(is_there(f, 0, "d/x"));
	assert_int_equal(besides(f, "d/"), 0);
	assert_int_equal(besides(f, "e/"), 0);
	read_it(f, d, "w", x);
}

/* Another file, which goes beside its key, has a change of tier behind it: it comes to its name all
 * the same. */
static void test_beside_changes_tier(void **state)
{
	struct fix *f = *state;
	uint64_t old = renamed_archived(f), n = make_synced(f, f->aws, "n", "new");

	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "x", 0), 0);
	assert_int_equal(setx(f, n, "user.astra.tier", "WARM"), 0);
	only_stuck(f, 2);
	assert_int_equal(besides(f, ""), 1);
	restore(f, old);
	all_done(f);
	object_is(f, 0, "x", "new");
	assert_int_equal(besides(f, ""), 0);
}

/* It is brought back for good while its move waits, and another waits for what it replaced. */
static void test_hot_again(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_text(f, f->aws, "x", "cold");

	archive(f, x);
	make_synced(f, f->aws, "y", "other");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	assert_int_equal(setx(f, x, "user.astra.tier", "HOT"), 0);
	all_done(f);
	object_is(f, 0, "y", "cold");
	assert_false(is_there(f, 0, "x"));
	file_is(f, f->aws, "y", "cold");
}

/* It replaces one, is replaced itself, and something else is to get the key of the first. */
static void test_replaced_in_turn(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_text(f, f->aws, "x", "cold");

	archive(f, x);
	make_synced(f, f->aws, "y", "one");
	make_synced(f, f->aws, "z", "two");
	make_synced(f, f->aws, "n", "three");
	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "y", f->aws, "w", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "z", f->aws, "y", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "w", 0), 0);
	fault(f, 0, "");
	all_done(f);
	object_is(f, 0, "y", "two");
	object_is(f, 0, "w", "three");
	assert_false(is_there(f, 0, "x"));
	assert_int_equal(besides(f, ""), 0);
	assert_int_equal(job_failures(f), 0);
}

/* What replaces it comes late, and a new file has its key in mind: that waits, also after a
 * restart.
 */
static void test_replaced_and_restart(void **state)
{
	struct fix *f = *state;

	make_synced(f, f->aws, "n", "three");
	(void)renamed_archived(f);
	fault(f, 0, "copy:delay=1000");
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "y", 0), 0);
	usleep(300000);
	make_text(f, f->aws, "x", "other");
	usleep(100000);
	assert_true(is_there(f, 0, "x"));
	fix_down(f);
	fix_up(f);
	all_done(f);
	object_is(f, 0, "y", "three");
	object_is(f, 0, "x", "other");
	file_is(f, f->aws, "x", "other");
	assert_int_equal(besides(f, ""), 0);
	assert_int_equal(job_failures(f), 0);
}

/* What replaces it, and was in no cloud, cannot come for now. */
static void test_replacer_refused(void **state)
{
	struct fix *f = *state;

	(void)renamed_archived(f);
	fault(f, 0, "put:key=y:error=EACCES/auth");
	make_text(f, f->aws, "n", "three");
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "y", 0), 0);
	usleep(300000);
	make_text(f, f->aws, "x", "other");
	usleep(300000);
	fault(f, 0, "");
	all_done(f);
	object_is(f, 0, "y", "three");
	object_is(f, 0, "x", "other");
	file_is(f, f->aws, "x", "other");
	assert_int_equal(besides(f, ""), 0);
}

/* What replaces it is removed before it has come, and a new file has its key in mind. */
static void test_replacer_removed(void **state)
{
	struct fix *f = *state;

	for (int there = 0; there < 2; there++) {
		(void)renamed_archived(f);
		make_text(f, f->aws, "n", "three");
		if (there)
			sync_all(f);
		fault(f, 0, "put:key=y:error=EAGAIN;copy:key=y:error=EAGAIN");
		assert_int_equal(rename_to(f, f->aws, "n", f->aws, "y", 0), 0);
		usleep(300000);
		make_text(f, f->aws, "x", "other");
		usleep(100000);
		assert_int_equal(unlink_in(f, f->aws, "y"), 0);
		all_done(f);
		fault(f, 0, "");
		object_is(f, 0, "x", "other");
		file_is(f, f->aws, "x", "other");
		assert_false(is_there(f, 0, "y"));
		assert_false(is_there(f, 0, "n"));
		assert_int_equal(besides(f, ""), 0);
		assert_int_equal(job_failures(f), 0);
		assert_int_equal(unlink_in(f, f->aws, "x"), 0);
		all_done(f);
	}
}

/* What replaces it does not come after all, and its old name is another file's. */
static void test_replacer_fails_name_taken(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0;

	make_text(f, f->gcp, "q", "new");
	sync_all(f);
	x = renamed_archived(f);
	fault(f, 0, "put:key=y:delay=600:error=EIO/final");
	fix_down(f);
	f->vc.migrate_wait_ns = 1;
	fix_up(f);
	assert_int_equal(rename_to(f, f->gcp, "q", f->aws, "y", 0), 0);
	make_text(f, f->aws, "x", "other");
	for (int i = 0; i < 5000 && lookup(f, f->gcp, "q", NULL) != 0; i++)
		usleep(1000);
	fault(f, 0, "");
	file_is(f, f->gcp, "q", "new");
	file_is(f, f->aws, "x", "other");
	sync_all(f);
	restore(f, x);
	all_done(f);
	restore(f, x);
	sync_all(f);
	object_is(f, 0, "x", "other");
	assert_int_equal(besides(f, ""), 0);
}

/* Renamed, it gets new content, which is not uploaded yet: a new file of its old name waits. */
static void test_new_content_and_name(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_text(f, f->aws, "x", "cold");

	archive(f, x);
	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	struct vfs_handle *h = written_anew(f, x);

	usleep(300000);
	make_synced(f, f->aws, "x", "other");
	object_is(f, 0, "x", "other");
	close_h(f, h);
	all_done(f);
	fault(f, 0, "");
	file_is(f, f->aws, "x", "other");
	object_is(f, 0, "x", "other");
	object_is(f, 0, "y", "new");
	assert_int_equal(job_failures(f), 0);
}

/* As a log that is rotated, and begun anew at once, under the name that an archived one has left.
 */
static void test_beside_and_written(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_text(f, f->aws, "x", "cold"), n = 0;

	archive(f, x);
	n = make_synced(f, f->aws, "n", "new");
	fault(f, 0, "copy:delay=300");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "x", 0), 0);
	close_h(f, written_anew(f, n));
	usleep(300000);
	fault(f, 0, "");
	restore(f, x);
	all_done(f);
	object_is(f, 0, "x", "new");
	assert_int_equal(besides(f, ""), 0);
	assert_int_equal(job_failures(f), 0);
}

/* It is to be brought back for good as soon as its directory has another name: that works where it
 * is, and the rest does not wait. */
static void test_tier_in_moved_directory(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x);

	fault(f, 0, "copy:delay=200");
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	assert_int_equal(setx(f, x, "user.astra.tier", "HOT"), 0);
	fault(f, 0, "");
	make_synced(f, d, "new", "new");
	object_is(f, 0, "e/new", "new");
	all_done(f);
	moved(f, 0, d, x);
	assert_string_equal(getx(f, x, "user.astra.tier"), "HOT");
	assert_int_equal(job_failures(f), 0);
}

/* Its mode was changed meanwhile: that goes to the cloud when the object can take it. */
static void test_attributes_when_hot_again(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_text(f, f->aws, "x", "cold");
	struct ask *a = ask_new();
	struct stat st = {.st_mode = S_IFREG | 0600};

	archive(f, x);
	assert_int_equal(CALL(a, vfs_setattr, x, NULL, &st, VFS_SET_MODE), 0);
	ask_free(a);
	assert_int_equal(setx(f, x, "user.astra.tier", "HOT"), 0);
	all_done(f);
	assert_string_equal(getx(f, x, "user.astra.state"), "settled");
}

/* Directories are exchanged around it. */
static void test_exchange_of_directories(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x), o = 0;

	assert_int_equal(mkdir_in(f, f->aws, "o", &o), 0);
	make_text(f, o, "x", "other");
	make_text(f, o, "w", "third");
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "o", RENAME_EXCHANGE), 0);
	only_stuck(f, 2); /* its own, and that of the one that gets its key */
	object_is(f, 0, "o/y", "one");
	object_is(f, 0, "o/s/z", "two");
	object_is(f, 0, "d/w", "third");
	beside_is(f, "d/", "other");
	restore(f, x);
	all_done(f);
	object_is(f, 0, "d/x", "other");
	assert_true(is_there(f, 0, "o/x"));
	read_it(f, d, "x", x);
	assert_int_equal(job_failures(f), 0);
}

static bool posts_a_second(struct meta_txn *t)
{
	return records(t) == 2;
}

/* What it is to overwrite is forgotten when the removal of that is recorded, and not before. */
static void test_victim_not_recorded(void **state)
{
	struct fix *f = *state;
	uint64_t x = make_synced(f, f->aws, "x", "cold");

	make_synced(f, f->aws, "y", "over");
	archive(f, x);
	fail_commits(f, 2, posts_a_second, NULL, 0);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	commits_have_failed();
	for (int i = 0; i < 5000 && is_there(f, 0, "y"); i++)
		usleep(1000);
	assert_false(is_there(f, 0, "y"));
	only_stuck(f, 1);
	restore(f, x);
	all_done(f);
	assert_false(is_there(f, 0, "x"));
	read_it(f, f->aws, "y", x);
}

/* ---- names exchanged ---- */

static void exchange_refused(struct fix *f, const char *a, const char *b)
{
	assert_int_equal(rename_to(f, f->aws, a, f->aws, b, RENAME_EXCHANGE), -EIO);
	assert_int_equal(rename_to(f, f->aws, b, f->aws, a, RENAME_EXCHANGE), -EIO);
}

/* One that is archived, or restored just now, keeps its name. */
static void test_exchange_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "x", "cold"), d = 0;

	archive(f, ino);
	make_synced(f, f->aws, "w", "other");
	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	exchange_refused(f, "x", "w");
	exchange_refused(f, "x", "d");
	restore(f, ino);
	sync_all(f);
	assert_string_equal(getx(f, ino, "user.astra.state"), "restored");
	exchange_refused(f, "x", "w");
	all_done(f);
	file_is(f, f->aws, "x", "cold");
	object_is(f, 0, "w", "other");
}

/* Nor one that goes there, or whose move waits. */
static void test_exchange_refused_behind(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "x", "cold");

	make_synced(f, f->aws, "w", "other");
	sync_all(f);
	fault(f, 0, "set_tier:delay=300");
	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	exchange_refused(f, "x", "w");
	fault(f, 0, "");
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	exchange_refused(f, "y", "w");
	only_stuck(f, 1);
	exchange_refused(f, "y", "w");
}

/* What has replaced it, and is not uploaded yet, has nothing to wait for. */
static void test_exchange_of_replacer(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "x", "cold");

	archive(f, ino);
	make_synced(f, f->aws, "w", "other");
	make_text(f, f->aws, "n", "new");
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "x", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "w", RENAME_EXCHANGE), 0);
	all_done(f);
	object_is(f, 0, "w", "new");
	object_is(f, 0, "x", "other");
	assert_int_equal(job_failures(f), 0);
}

/* Its cloud archives what is at key meanwhile. */
static void cloud_archives(struct fix *f, const char *key)
{
	struct store_stat st = {0};
	struct store_obj o = {"b", key};

	assert_int_equal(store_set_tier(f->remotes[0].st, NULL, o,
				 f->remotes[0].classes[TIER_ARCHIVE].name, NULL, &st, NULL),
		0);
	store_stat_done(&st);
}

/* x and w are exchanged, and x, or both, are archived before their objects are. */
static void exchanged_and_archived(struct fix *f, bool both, uint64_t ret[2])
{
	ret[0] = make_synced(f, f->aws, "x", "cold");
	ret[1] = make_synced(f, f->aws, "w", "other");
	fault(f, 0, "copy:error=EAGAIN");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "w", RENAME_EXCHANGE), 0);
	cloud_archives(f, "x");
	if (both)
		cloud_archives(f, "w");
	fault(f, 0, "");
	only_stuck(f, 1);
}

/* Who waits is told, and the job says for what. */
static void test_exchanged(void **state)
{
	struct fix *f = *state;
	uint64_t in[2];
	struct ask *a = ask_new();

	exchanged_and_archived(f, false, in);
	assert_int_equal(CALL(a, vfs_sync, META_ROOT_INO), -EIO);
	ask_free(a);
	notes_say(f, in[0], "waiting for restore of /aws/w (archived)");
	assert_int_equal(write_at(f, in[1], 0, "O"), -EIO);
	for (int i = 0; i < 100 && job_live(f->jobs, in[0]); i++) { /* each place is an archive */
		restore(f, in[0]);
		usleep(100000);
	}
	all_done(f);
	object_is(f, 0, "x", "Other");
	assert_true(is_there(f, 0, "w"));
}

/* The archived one is removed, or replaced: nobody can restore it, and nobody has to. */
static void test_exchanged_and_removed(void **state)
{
	struct fix *f = *state;
	uint64_t in[2];

	for (int how = 0; how < 4; how++) {
		exchanged_and_archived(f, how & 1, in);
		if (how & 2) {
			make_text(f, f->aws, "n", "new");
			assert_int_equal(rename_to(f, f->aws, "n", f->aws, "w", 0), 0);
		} else {
			assert_int_equal(unlink_in(f, f->aws, "w"), 0);
		}
		if (how & 1) { /* the other's move waits, as any of an archived file */
			only_stuck(f, how & 2 ? 2 : 1);
			restore(f, in[1]);
		}
		all_done(f);
		if (how & 2)
			object_is(f, 0, "w", "new");
		assert_int_equal(is_there(f, 0, "w"), (how & 2) != 0);
		assert_true(is_there(f, 0, "x"));
		assert_int_equal(besides(f, ""), 0);
		if (how & 2)
			assert_int_equal(unlink_in(f, f->aws, "w"), 0);
		assert_int_equal(unlink_in(f, f->aws, "x"), 0);
		all_done(f);
	}
}

/* The same, while a new file waits for the key of what was replaced. */
static void exchanged_and_key_wanted(struct fix *f, bool slow)
{
	uint64_t in[2];

	exchanged_and_archived(f, false, in);
	make_text(f, f->aws, "n", "new");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "z", 0), 0);
	make_text(f, f->aws, "x", "again");
	usleep(100000);
	if (slow)
		fault(f, 0, "copy:times=1:delay=600");
	assert_int_equal(rename_to(f, f->aws, "n", f->aws, "w", 0), 0);
	all_done(f);
	fault(f, 0, "");
	object_is(f, 0, "w", "new");
	object_is(f, 0, "x", "again");
	object_is(f, 0, "z", "other");
	assert_int_equal(besides(f, ""), 0);
	assert_int_equal(job_failures(f), 0);
}

static void test_exchanged_and_key_wanted(void **state)
{
	exchanged_and_key_wanted(*state, false);
}

/* The other has a move of its own behind, which takes a while. */
static void test_exchanged_and_key_wanted_slow(void **state)
{
	exchanged_and_key_wanted(*state, true);
}

/* Wherever its object is. */
static void cloud_archives_it(struct fix *f, uint64_t ino)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	cloud_archives(f, in.loc.path);
}

/* The cloud archives one when the other has left its place. What was copied from there is not left
 * behind. */
static void test_exchanged_half(void **state)
{
	struct fix *f = *state;
	uint64_t in[2];

	for (int how = 0; how < 4; how++) {
		in[0] = make_synced(f, f->aws, "x", "one");
		in[1] = make_synced(f, f->aws, "w", "two");
		fault(f, 0, how & 1 ? "copy:n=3:delay=700" : "copy:n=2:delay=700");
		assert_int_equal(rename_to(f, f->aws, "x", f->aws, "w", RENAME_EXCHANGE), 0);
		usleep(300000);
		cloud_archives_it(f, in[how & 1 ? 0 : 1]);
		if (how & 2) {
			make_text(f, f->aws, "n", "new");
			assert_int_equal(
				rename_to(f, f->aws, "n", f->aws, how & 1 ? "w" : "x", 0), 0);
		} else {
			assert_int_equal(unlink_in(f, f->aws, how & 1 ? "w" : "x"), 0);
		}
		fault(f, 0, "");
		all_done(f);
		assert_int_equal(is_there(f, 0, "w"), how != 1);
		assert_int_equal(is_there(f, 0, "x"), how != 0);
		if (how != 1)
			object_is(f, 0, "w", how == 3 ? "new" : "one");
		if (how != 0)
			object_is(f, 0, "x", how == 2 ? "new" : "two");
		if (how != 1)
			assert_int_equal(unlink_in(f, f->aws, "w"), 0);
		if (how != 0)
			assert_int_equal(unlink_in(f, f->aws, "x"), 0);
		all_done(f);
		assert_false(is_there(f, 0, "w") || is_there(f, 0, "x"));
	}
}

/* The last job of ino has been tried again so often. */
static void is_tried(struct fix *f, uint64_t ino, unsigned n)
{
	struct job_info i = {0};

	for (int k = 0; k < 20000 && i.retries < n; k++) {
		usleep(1000);
		assert_true(job_info_ino(f->jobs, ino, &i));
	}
	assert_true(i.retries >= n);
}

/* The same on the way back, which is not given up. */
static void test_exchanged_back(void **state)
{
	struct fix *f = *state;
	char rules[200];
	uint64_t in[2];

	for (int how = 0; how < 2; how++) {
		in[0] = make_synced(f, f->aws, "x", "one");
		in[1] = make_synced(f, f->aws, "w", "two");
		/* The third copy replaces what the second came from, and is not known to; the
		 * next one fails. So the way back needs copies, of which the last one fails. */
		(void)snprintf(rules, sizeof(rules),
			"copy:n=3:lost;head:key=w:n=1:error=EIO;copy:n=3:error=EIO/final;"
			"copy:after=%d:error=EAGAIN",
			how + 2);
		fault(f, 0, rules);
		assert_int_equal(rename_to(f, f->aws, "x", f->aws, "w", RENAME_EXCHANGE), 0);
		is_tried(f, in[0], 10); /* more than the rules above it take: the last one is */
		cloud_archives_it(f, in[1 - how]);
		fault(f, 0, "");
		only_stuck(f, 1);
		assert_true(job_live(f->jobs, in[0]));
		assert_int_equal(unlink_in(f, f->aws, how == 0 ? "x" : "w"), 0);
		all_done(f);
		assert_int_equal(is_there(f, 0, "x"), how == 1);
		assert_int_equal(is_there(f, 0, "w"), how == 0);
		object_is(f, 0, how == 0 ? "w" : "x", how == 0 ? "one" : "two");
		file_is(f, f->aws, how == 0 ? "w" : "x", how == 0 ? "one" : "two");
		assert_int_equal(unlink_in(f, f->aws, how == 0 ? "w" : "x"), 0);
		all_done(f);
		assert_false(is_there(f, 0, "w") || is_there(f, 0, "x"));
	}
}

/* ---- somebody has restored it, to read it ---- */

static void stays_restored(struct fix *f, uint64_t ino, const char *name)
{
	struct job_info i;
	struct err err = {0};
	uint64_t id = 0;

	usleep(300000);
	for (int k = 0; k < 5000 && strcmp(getx(f, ino, "user.astra.state"), "moving") == 0; k++)
		usleep(1000); /* its move has not looked yet */
	file_is(f, f->aws, name, "cold");
	assert_true(is_there(f, 0, "x"));
	assert_string_equal(getx(f, ino, "user.astra.state"), "restored");
	assert_true(job_info_ino(f->jobs, ino, &i));
	assert_non_null(strstr(i.note, "is restored and can be read: its object follows at 20"));
	sync_all(f);
	assert_int_equal(job_retry(f->jobs, i.id, &id, &err), 0);
	all_done(f);
	assert_true(is_there(f, 0, name));
	assert_false(is_there(f, 0, "x"));
}

static void test_restored(void **state)
{
	struct fix *f = *state;
	uint64_t ino;

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	ino = renamed_archived(f);
	restore(f, ino);
	sync_all(f);
	stage_drop(f->stage, ino);
	stays_restored(f, ino, "y");
}

static int64_t until_of(struct fix *f, uint64_t ino)
{
	struct meta_inode in;

	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	return in.restored_until_ns;
}

/* The cloud takes no longer wish while a restore is under way: it is told afterwards. */
static void test_restored_for_longer(void **state)
{
	struct fix *f = *state;
	int64_t day = 86400 * NS_PER_S, from = clock_now_ns();
	uint64_t ino = make_text(f, f->aws, "x", "cold");

	archive(f, ino);
	assert_int_equal(setx(f, ino, "user.astra.restore", "1d"), 0);
	assert_int_equal(setx(f, ino, "user.astra.restore", "10d"), 0);
	sync_all(f);
	for (int k = 0; k < 20000 && until_of(f, ino) < from + 9 * day; k++)
		usleep(1000);
	assert_true(until_of(f, ino) >= from + 9 * day);
}

/* Restored again it stays longer, never shorter. */
static void test_restored_again(void **state)
{
	struct fix *f = *state;
	int64_t day = 86400 * NS_PER_S, until;
	uint64_t ino;
	struct job_info i;

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	ino = renamed_archived(f);
	restore(f, ino);
	sync_all(f);
	until = until_of(f, ino);
	assert_true(until > clock_now_ns());
	assert_int_equal(setx(f, ino, "user.astra.restore", "10d"), 0);
	for (int k = 0; k < 5000 && until_of(f, ino) <= until + 8 * day; k++)
		usleep(1000);
	assert_true(until_of(f, ino) > until + 8 * day);
	until = until_of(f, ino);
	do /* the row knows a moment before the job ends */
		assert_true(job_info_ino(f->jobs, ino, &i));
	while (i.kind == JOB_RESTORE);
	restore(f, ino);
	assert_true(job_info_ino(f->jobs, ino, &i));
	assert_int_equal(i.kind, JOB_RELOCATE);
	assert_true(until_of(f, ino) == until);
	stays_restored(f, ino, "y");
}

static void test_restored_before(void **state)
{
	struct fix *f = *state;
	uint64_t ino = 0;

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	ino = make_text(f, f->aws, "x", "cold");
	archive(f, ino);
	restore(f, ino);
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	stays_restored(f, ino, "y");
}

/* One that is replaced needs no restore, nor its end. */
static void test_restored_and_replaced(void **state)
{
	struct fix *f = *state;
	uint64_t ino;

	f->keep_restored = true;
	fix_down(f);
	fix_up(f);
	make_synced(f, f->aws, "o", "other");
	ino = renamed_archived(f);
	restore(f, ino);
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "o", f->aws, "y", 0), 0);
	sync_all(f);
	all_done(f);
	object_is(f, 0, "y", "other");
	assert_false(is_there(f, 0, "x"));
	assert_false(is_there(f, 0, "o"));
}

static void count_heads(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
	uint64_t total_us)
{
	if (strcmp(op, "head") == 0)
		*(uint64_t *)arg = calls;
}

/* The cloud is not asked each time: what it would say is in the row. */
static void test_few_requests(void **state)
{
	struct fix *f = *state;
	uint64_t x = 0, d = tree(f, &x), before = 0, after = 0;

	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "e", 0), 0);
	rest_has_moved(f, 0, d, x);
	store_stats_each(f->remotes[0].st, count_heads, &before);
	usleep(1500000); /* it has looked 30 times */
	store_stats_each(f->remotes[0].st, count_heads, &after);
	assert_true(before > 0);
	assert_in_range(after - before, 0, 6);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define F(fn) cmocka_unit_test_setup_teardown(fn, setup_failing, teardown_failing)
	const struct CMUnitTest tests[] = {F(test_victim_not_recorded), T(test_inside),
		T(test_across), T(test_waited_for), T(test_cancelled), T(test_name_taken),
		T(test_name_taken_cancelled), T(test_dir_cancelled), T(test_cancel_refused),
		T(test_unlinked), T(test_unlinked_name_taken), T(test_moved_and_replaced_across),
		T(test_moved_and_replaced), T(test_moved_and_replaced_by_new),
		T(test_moved_and_replaced_taken), T(test_moved_and_replaced_by_new_taken),
		T(test_moved_and_replacer_fails), T(test_emptied), T(test_replaced),
		T(test_replacer_fails), T(test_emptied_and_refused), T(test_renamed_on),
		T(test_few_requests), T(test_new_file), T(test_new_file_goes_on), T(test_rotation),
		T(test_over_another), T(test_over_another_anew), T(test_there_and_back),
		T(test_back_over_new), T(test_twice), T(test_appended), T(test_append_fails),
		T(test_directory_twice), T(test_directory_twice_at_once),
		T(test_exchange_of_directories), T(test_tier_in_moved_directory),
		T(test_attributes_when_hot_again), T(test_name_of_parked),
		T(test_name_of_parked_at_once), T(test_name_of_parked_across),
		T(test_directory_above), T(test_beside_changes_tier), T(test_hot_again),
		T(test_replaced_in_turn), T(test_new_content_and_name), T(test_beside_and_written),
		T(test_exchange_of_replacer), T(test_exchange_refused),
		T(test_exchange_refused_behind), T(test_exchanged), T(test_exchanged_and_removed),
		T(test_restored), T(test_restored_again), T(test_restored_for_longer),
		T(test_restored_before), T(test_restored_and_replaced),
		T(test_replaced_and_restart), T(test_replacer_refused), T(test_replacer_removed),
		T(test_replacer_fails_name_taken), T(test_exchanged_and_key_wanted),
		T(test_exchanged_and_key_wanted_slow), T(test_exchanged_half),
		T(test_exchanged_back), T(test_removal_held)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
