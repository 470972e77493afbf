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

/* p, as somebody else made it, for reading and writing. */
static struct vfs_handle *open_foreign(
	struct fix *f, const void *bytes, size_t len, uint64_t *ret_ino)
{
	struct vfs_handle *h = NULL;

	object_put(&f->remotes[0], "p", bytes, len);
	assert_int_equal(lookup(f, f->aws, "p", ret_ino), 0);
	assert_int_equal(open_ino(f, *ret_ino, O_RDWR, &h), 0);
	return h;
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
	h = open_foreign(f, p, len, &ino);
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
	uint64_t ino;
	struct vfs_handle *h = open_foreign(f, "old", 3, &ino);

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

/* The credentials run out right after a write whose answer was lost: it fails, and says so; when
 * they are good again the file is what was written, without a conflict copy of our own. */
static void test_lost_then_refused(void **state)
{
	struct fix *f = *state;
	uint64_t ino;
	struct vfs_handle *h = open_foreign(f, "old", 3, &ino);

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

/* p, new, is in the cloud and nobody knows, since then everything is refused. */
static void refused(struct fix *f)
{
	struct vfs_handle *h;
	uint64_t ino;

	h = create_in(f, f->aws, "p", &ino);
	fault(f, 0,
		"put:n=1:lost;head:n=1:error=EIO;put:error=EACCES/auth;head:error=EACCES/auth;" COPY
		":error=EACCES/auth");
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	assert_int_equal(fsync_h(f, h), -EACCES);
	close_h(f, h);
}

static void test_refused_and_unlinked(void **state)
{
	struct fix *f = *state;

	refused(f);
	assert_int_equal(unlink_in(f, f->aws, "p"), 0);
	fault(f, 0, "");
	all_done(f);
	only_objects(f, 0, (const char *const[]){NULL});
}

/* By one that is still here only, and by one that is in the cloud. */
static void test_refused_and_replaced(void **state)
{
	struct fix *f = *state;

	for (int there = 0; there < 2; there++) {
		make_text(f, f->aws, "q", "other");
		if (there)
			sync_all(f);
		refused(f);
		assert_int_equal(rename_to(f, f->aws, "q", f->aws, "p", 0), 0);
		fault(f, 0, "");
		all_done(f);
		sync_all(f);
		only_objects(f, 0, (const char *const[]){"p", NULL});
		text_is(f, "p", "other");
		file_is(f, f->aws, "p", "other");
		assert_int_equal(unlink_in(f, f->aws, "p"), 0);
		all_done(f);
	}
}

static void test_refused_and_renamed(void **state)
{
	struct fix *f = *state;

	refused(f);
	assert_int_equal(rename_to(f, f->aws, "p", f->aws, "p2", 0), 0);
	fault(f, 0, "");
	all_done(f);
	only_objects(f, 0, (const char *const[]){"p2", NULL});
	text_is(f, "p2", "new");
}

/* Its name goes on, and is given to a new file, as editors do: who waits for that is told. */
static void test_refused_and_name_taken(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;

	refused(f);
	assert_int_equal(rename_to(f, f->aws, "p", f->aws, "p~", 0), 0);
	h = create_in(f, f->aws, "p", NULL);
	assert_int_equal(put(f, h, 0, "next", 4), 0);
	assert_int_equal(fsync_h(f, h), -EACCES);
	fault(f, 0, "");
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	sync_all(f);
	only_objects(f, 0, (const char *const[]){"p", "p~", NULL});
	text_is(f, "p", "next");
	text_is(f, "p~", "new");
}

/* It was to replace another one, which the next try still knows; its old object goes. */
static void test_refused_victim(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	uint64_t ino = make_text(f, f->aws, "p", "pppp");

	make_text(f, f->aws, "q", "victim");
	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	fault(f, 0, "put:key=q:n=1:error=EACCES/auth");
	assert_int_equal(put(f, h, 0, "newp", 4), 0);
	assert_int_equal(rename_to(f, f->aws, "p", f->aws, "q", 0), 0);
	assert_int_equal(fsync_h(f, h), -EACCES);
	fault(f, 0, "");
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	all_done(f);
	only_objects(f, 0, (const char *const[]){"q", NULL});
	text_is(f, "q", "newp");
}

static void test_refused_and_restarted(void **state)
{
	struct fix *f = *state;

	refused(f);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	all_done(f);
	only_objects(f, 0, (const char *const[]){"p", NULL});
}

/* The job that was posted last, while it does not run: then it may be changed. */
static struct job *last_job_locked(struct fix *f)
{
	struct job *job = NULL;
	uint64_t id = f->jobs->g.last_id;

	for (int i = 0; i < 10000; i++) {
		HASH_FIND(hh, f->jobs->g.by_id, &id, sizeof(id), job);
		assert_non_null(job);
		if (!job->g.active)
			return job;
		lock_drop(&f->jobs->g.lock);
		usleep(500);
		lock_take(&f->jobs->g.lock);
	}
	fail_msg("it runs all the time");
	return NULL;
}

/* A power cut came, and took back the number of its attempt. */
static uint64_t job_forgets(struct fix *f)
{
	LOCKED(&f->jobs->g.lock);
	struct job *job = last_job_locked(f);

	job->attempts = 0;
	f->jobs->nonce++; /* of the run after it */
	return job->nonce;
}

static void put_marked_as(struct fix *f, const char *key, const char *text, uint64_t nonce)
{
	char mark[64];
	struct err err;
	struct store_meta meta = {STORE_META_WRITE, mark};
	struct store_put p = {.meta = &meta, .nmeta = 1};

	(void)snprintf(mark, sizeof(mark), "%016llx.%llu.1", (unsigned long long)nonce,
		(unsigned long long)f->jobs->g.last_id);
	assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", key}, text,
				 strlen(text), &p, NULL, &err),
		0);
}

/* An object with the write mark of the job that was posted last. */
static void put_marked(struct fix *f, const char *key, const char *text)
{
	put_marked_as(f, key, text, f->jobs->nonce);
}

/* The write takes effect only after it was looked for. */
static void test_lost_and_late(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	uint64_t ino;

	h = create_in(f, f->aws, "p", &ino);
	fault(f, 0, "put:n=1:error=EIO/unknown;put:error=EACCES/auth");
	assert_int_equal(put(f, h, 0, "new", 3), 0);
	assert_int_equal(fsync_h(f, h), -EACCES);
	fault(f, 0, "");
	put_marked(f, "p", "new");
	close_h(f, h);
	all_done(f);
	sync_all(f);
	only_objects(f, 0, (const char *const[]){"p", NULL});
}

/* The bytes that staging lacks are in an object that somebody replaced: it fails, is kept, and says
 * so; it does not try for ever. */
static void test_base_elsewhere_changes(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = calloc(1, len);
	uint64_t ino;
	struct vfs_handle *h = open_foreign(f, p, len, &ino);

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

/* The same bytes there under another version: they are what was meant. */
static void test_base_elsewhere_same_bytes(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = calloc(1, len);
	struct vfs_handle *h;
	uint64_t ino = make(f, f->aws, "p", p, len);

	sync_all(f);
	stage_drop(f->stage, ino);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 200001, "XYZ", 3), 0);
	assert_int_equal(rename_to(f, f->aws, "p", f->aws, "q", 0), 0);
	object_put(&f->remotes[0], "p", p, len);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	free(p);
}

/* The same at its own key, whichever look at it fails. */
static void test_same_bytes(void **state)
{
	struct fix *f = *state;
	char rules[64];

	for (int n = 1; n < 6; n++) {
		struct vfs_handle *h;
		uint64_t ino = make_text(f, f->aws, "p", "old");

		sync_all(f);
		assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
		object_put(&f->remotes[0], "p", "old", 3);
		(void)snprintf(rules, sizeof(rules), "head:key=p:n=%d:error=EIO", n);
		fault(f, 0, rules);
		assert_int_equal(put(f, h, 0, "new", 3), 0);
		assert_int_equal(fsync_h(f, h), 0);
		fault(f, 0, "");
		close_h(f, h);
		all_done(f);
		only_objects(f, 0, (const char *const[]){"p", NULL});
		text_is(f, "p", "new");
		assert_int_equal(unlink_in(f, f->aws, "p"), 0);
		all_done(f);
	}
}

/* An open file is replaced by one that is unlinked before it came. */
static void test_replaced_while_read(void **state)
{
	struct fix *f = *state;
	size_t len = 6000000;
	char *p = malloc(len), got[1000];
	struct vfs_handle *h, *g;
	uint64_t v, a;

	memset(p, 'v', len);
	object_put(&f->remotes[0], "v", p, len);
	a = make_text(f, f->aws, "a", "aaaa");
	sync_all(f);
	assert_int_equal(lookup(f, f->aws, "v", &v), 0);
	assert_int_equal(open_ino(f, v, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, got, 100), 100);
	assert_int_equal(open_ino(f, a, O_RDWR, &g), 0);
	assert_int_equal(put(f, g, 0, "newp", 4), 0);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "v", 0), 0);
	close_h(f, g);
	fault(f, 0, "get:key=v:delay=100");
	assert_int_equal(unlink_in(f, f->aws, "v"), 0);
	all_done(f);
	fault(f, 0, "");
	assert_int_equal(get(f, h, 5000000, got, sizeof(got)), sizeof(got));
	assert_int_equal(got[0], 'v');
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
 * other bytes: not taken for the copy of now, whose refusal is heard, or lost as well. */
static void test_number_comes_twice(void **state)
{
	static const char *const rules[] = {
		"put:key=a:delay=300", "put:key=a:delay=300;" COPY ":n=1:error=EIO/unknown"};
	struct fix *f = *state;

	for (int i = 0; i < 2; i++) {
		fault(f, 0, rules[i]);
		make_text(f, f->aws, "a", "one");
		usleep(150000);
		assert_int_equal(rename_to(f, f->aws, "a", f->aws, "b", 0), 0);
		put_marked_as(f, "b", "two", job_forgets(f));
		all_done(f);
		text_is(f, "b", "one");
		absent(f, "a");
		assert_int_equal(unlink_in(f, f->aws, "b"), 0);
		all_done(f);
	}
}

/* The same, of an attempt that overwrote something, and then the move is cancelled: what is there
 * is not called what was there before. */
static void test_number_is_lost(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make_text(f, f->aws, "a", "one"), id;
	struct vfs_handle *h;

	make_text(f, f->gcp, "b", "old");
	sync_all(f);
	fault(f, 1, "put:n=1:lost;head:error=EIO");
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "b", 0), 0);
	appears(f, 1, "b", "one");
	id = f->jobs->g.last_id;
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 0, "ONE", 3), 0); /* its size is to be asked for */
	fault(f, 0, "head:error=EIO");
	usleep(100000);
	(void)job_forgets(f);
	assert_int_equal(job_cancel(f->jobs, id), 0);
	usleep(200000);
	fault(f, 1, "");
	fault(f, 0, "");
	close_h(f, h);
	all_done(f);
	sync_all(f);
	if (lookup(f, f->gcp, "b", &ino) == 0)
		object_is(f, 1, "b", "ONE");
	else
		only_objects(f, 1, (const char *const[]){NULL});
}

/* ---- what was taken back, and moves again ---- */

/* dir/name failed to go to the other cloud, and is there again. */
static void taken_back(struct fix *f, uint64_t dir, const char *name)
{
	make_text(f, dir, name, "one");
	sync_all(f);
	fault(f, 1, "put:n=1:error=EIO/final");
	(void)rename_to(f, dir, name, f->gcp, name, 0);
	all_done(f);
	file_is(f, dir, name, "one");
}

static void emptied(struct fix *f, uint64_t dir, const char *name)
{
	struct vfs_handle *h = NULL;
	uint64_t ino = 0;

	assert_int_equal(lookup(f, dir, name, &ino), 0);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_TRUNC, &h), 0);
	assert_int_equal(put(f, h, 0, "two", 3), 0);
	close_h(f, h);
}

/* With its directory: of a few files, and of many. */
static void test_emptied_in_directory_move(void **state)
{
	struct fix *f = *state;
	char name[8];

	for (int n = 0; n < 81; n += 80) {
		uint64_t d = 0;

		assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
		for (int i = 0; i < n; i++) {
			(void)snprintf(name, sizeof(name), "f%02d", i);
			make_text(f, d, name, "x");
		}
		taken_back(f, d, "a");
		fault(f, 1, "put:key=d/a:n=1:delay=400");
		assert_int_equal(rename_to(f, f->aws, "d", f->gcp, "d", 0), 0);
		usleep(150000);
		emptied(f, d, "a");
		all_done(f);
		sync_all(f);
		file_is(f, d, "a", "two");
		object_is(f, 1, "d/a", "two");
		only_objects(f, 0, (const char *const[]){NULL});
		assert_int_equal(unlink_in(f, d, "a"), 0);
		for (int i = 0; i < n; i++) {
			(void)snprintf(name, sizeof(name), "f%02d", i);
			assert_int_equal(unlink_in(f, d, name), 0);
		}
		assert_int_equal(rmdir_in(f, f->gcp, "d"), 0);
		all_done(f);
		only_objects(f, 1, (const char *const[]){NULL});
	}
}

static void test_emptied_in_exchange(void **state)
{
	struct fix *f = *state;

	make_text(f, f->aws, "x", "xxx");
	taken_back(f, f->aws, "a");
	fault(f, 0, COPY ":n=1:delay=400");
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "a", RENAME_EXCHANGE), 0);
	usleep(150000);
	emptied(f, f->aws, "x");
	all_done(f);
	sync_all(f);
	file_is(f, f->aws, "x", "two");
	file_is(f, f->aws, "a", "xxx");
	text_is(f, "x", "two");
	text_is(f, "a", "xxx");
	only_objects(f, 0, (const char *const[]){"a", "x", NULL});
}

/* ---- what is said about objects ---- */

/* The mode is changed, which makes another version, and nobody hears of it; then the file is
 * written, moved, or unlinked. */
static void test_lost_attributes(void **state)
{
	struct fix *f = *state;

	for (int how = 0; how < 3; how++) {
		struct stat st = {.st_mode = 0600};
		struct ask *a = ask_new();
		uint64_t ino = make_text(f, f->aws, "a", "one");

		sync_all(f);
		fault(f, 0, "set_meta:n=1:delay=300:error=EIO/unknown");
		assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_MODE), 0);
		ask_free(a);
		usleep(150000);
		put_marked(f, "a", "one");
		if (how == 0)
			emptied(f, f->aws, "a");
		else if (how == 1)
			assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
		else
			assert_int_equal(unlink_in(f, f->aws, "a"), 0);
		all_done(f);
		sync_all(f);
		if (how == 0) {
			text_is(f, "a", "two");
			only_objects(f, 0, (const char *const[]){"a", NULL});
			assert_int_equal(unlink_in(f, f->aws, "a"), 0);
			all_done(f);
		}
		only_objects(f, 0, (const char *const[]){NULL});
		if (how == 1)
			object_is(f, 1, "a", "one");
	}
}

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

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_quick, teardown)
	const struct CMUnitTest tests[] = {T(test_earlier_attempt_is_the_base),
		T(test_lost_upload_is_removed), T(test_lost_upload_is_replaced),
		T(test_lost_then_refused), T(test_refused_and_unlinked),
		T(test_refused_and_replaced), T(test_refused_and_renamed),
		T(test_refused_and_name_taken), T(test_refused_victim),
		T(test_refused_and_restarted), T(test_lost_and_late),
		T(test_base_elsewhere_changes), T(test_base_elsewhere_same_bytes),
		T(test_same_bytes), T(test_replaced_while_read), T(test_row_went_on),
		T(test_last_copy_stays), T(test_moved_again_and_replaced),
		T(test_number_comes_twice), T(test_number_is_lost),
		T(test_emptied_in_directory_move), T(test_emptied_in_exchange),
		T(test_lost_attributes), T(test_others_keys)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
