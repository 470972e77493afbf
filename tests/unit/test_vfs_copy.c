/* SPDX-License-Identifier: MIT */
/* copy_file_range inside one cloud: no byte passes through us, and nothing is lost when the store
 * does not play along. Mem clouds with faults, 2 workers, 2 buffers. */
#include "vfs_help.h"

#include "astra/base_count.h"

#define BIG 900000u

static char *bytes; /* BIG of them */

static char *pattern_new(size_t len)
{
	char *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 7 + i / 251);
	return p;
}

struct moved {
	uint64_t in, out, conflicts;
};

static struct moved moved_now(void)
{
	return (struct moved){count_get(COUNT_store_bytes_in), count_get(COUNT_store_bytes_out),
		count_get(COUNT_job_conflicts)};
}

static void nothing_moved(struct moved before)
{
	struct moved now = moved_now();

	assert_int_equal(now.in - before.in, 0);
	assert_int_equal(now.out - before.out, 0);
	assert_int_equal(now.conflicts - before.conflicts, 0);
}

/* As cp: opens both, copies what it is given, says how it went. */
static errint_t copy(
	struct fix *f, uint64_t from, struct vfs_handle *out, uint64_t len, size_t *ret_len)
{
	struct ask *a = ask_new();
	struct vfs_handle *in;
	errint_t r;

	assert_int_equal(open_ino(f, from, O_RDONLY, &in), 0);
	r = CALL(a, vfs_copy_range, in, 0, out, 0, len);
	*ret_len = a->len;
	close_h(f, in);
	ask_free(a);
	return r;
}

static void file_is(struct fix *f, uint64_t ino, const char *p, size_t len)
{
	char *buf = malloc(len + 1);
	struct vfs_handle *h;

	assert_int_equal(attr(f, ino).st_size, len);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	for (size_t at = 0; at < len; at += 1 << 17)
		assert_int_equal(get(f, h, at, buf + at, 1 << 17), MIN_OF(len - at, 1u << 17));
	assert_memory_equal(buf, p, len);
	close_h(f, h);
	free(buf);
}

static void object_is(struct fix *f, const char *key, const char *p, size_t len)
{
	char *buf = malloc(len + 1);

	assert_int_equal(object_get(&f->remotes[0], key, buf, len + 1), len);
	assert_memory_equal(buf, p, len);
	free(buf);
}

/* The same of `bytes` with text at off. */
static void both_are(
	struct fix *f, uint64_t ino, const char *key, size_t off, const char *text, size_t len)
{
	char *p = malloc(len);

	memcpy(p, bytes, MIN_OF(len, (size_t)BIG));
	memcpy(p + off, text, strlen(text));
	object_is(f, key, p, len);
	file_is(f, ino, p, len);
	free(p);
}

/* A file that only its cloud has. */
static uint64_t foreign(struct fix *f, const char *name)
{
	uint64_t ino;

	object_put(&f->remotes[0], name, bytes, BIG);
	assert_int_equal(lookup(f, f->aws, name, &ino), 0);
	return ino;
}

static void test_the_store_copies(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to;
	struct vfs_handle *h = create_in(f, f->aws, "to", &to);
	struct moved before = moved_now();
	size_t n;

	assert_int_equal(copy(f, from, h, UINT64_C(1) << 40, &n), 0);
	assert_int_equal(n, BIG);
	nothing_moved(before);
	assert_string_equal(getx(f, to, "user.astra.state"), "settled");
	close_h(f, h);
	sync_all(f);
	nothing_moved(before);
	file_is(f, to, bytes, BIG);
	object_is(f, "to", bytes, BIG);
	/* From here on they are two. */
	assert_int_equal(open_ino(f, to, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, BIG - 1, "xy", 2), 0);
	close_h(f, h);
	assert_int_equal(open_ino(f, from, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 0, "FROM", 4), 0);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(attr(f, to).st_size, BIG + 1);
	both_are(f, from, "from", 0, "FROM", BIG);
	both_are(f, to, "to", BIG - 1, "xy", BIG + 1);
}

/* A copy that takes long: the file is due as one that is held open, and nothing is to be sent. */
static void test_due_while_it_is_copied(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to, posted;
	struct vfs_handle *in, *h = create_in(f, f->aws, "to", &to);
	struct ask *a = ask_new();
	struct meta_txn *t;

	store_fault_set(f->remotes[0].st, "copy:delay=500", NULL);
	assert_int_equal(open_ino(f, from, O_RDONLY, &in), 0);
	posted = count_get(COUNT_jobs_posted);
	vfs_copy_range(f->v, &a->c, in, 0, h, 0, UINT64_C(1) << 40);
	usleep(200000);
	t = meta_begin(f->m);
	assert_int_equal(job_upload(f->jobs, t, to, false), 0);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(ask_wait(a), 0);
	assert_int_equal(a->len, BIG);
	close_h(f, in);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(count_get(COUNT_jobs_posted) - posted, 1);
	object_is(f, "to", bytes, BIG);
	ask_free(a);
}

static void test_over_an_existing_file(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to = make(f, f->aws, "to", "old content", 11);
	struct vfs_handle *h;
	struct moved before;
	size_t n;

	sync_all(f);
	before = moved_now();
	assert_int_equal(open_ino(f, to, O_WRONLY | O_TRUNC, &h), 0);
	assert_int_equal(copy(f, from, h, UINT64_MAX / 4, &n), 0);
	assert_int_equal(n, BIG);
	close_h(f, h);
	sync_all(f);
	nothing_moved(before);
	file_is(f, to, bytes, BIG);
	object_is(f, "to", bytes, BIG);
}

static void test_small_ones_are_copied_twice(void **state)
{
	struct fix *f = *state;
	uint64_t from = make(f, f->aws, "from", bytes, 70000), to, other, third;
	struct vfs_handle *h;
	struct moved before;
	size_t n;

	sync_all(f);
	h = create_in(f, f->aws, "to", &to);
	before = moved_now();
	assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
	assert_int_equal(n, 70000);
	file_is(f, to, bytes, 70000);
	close_h(f, h);
	sync_all(f);
	nothing_moved(before);
	object_is(f, "to", bytes, 70000);
	/* Changed after it was copied, or copied from what is not in the cloud yet: sent. */
	h = create_in(f, f->aws, "other", &other);
	assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
	assert_int_equal(put(f, h, 0, "!", 1), 0);
	close_h(f, h);
	assert_int_equal(open_ino(f, from, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 1, "?", 1), 0);
	close_h(f, h);
	h = create_in(f, f->aws, "third", &third);
	assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
	close_h(f, h);
	sync_all(f);
	both_are(f, other, "other", 0, "!", 70000);
	both_are(f, third, "third", 1, "?", 70000);
	both_are(f, from, "from", 1, "?", 70000);
}

/* The source's bytes are here: they are sent when the store does not copy. */
static void test_a_twin_is_only_a_hint(void **state)
{
	static const char *const faults[] = {"copy:error=EIO/final", "copy:error=EIO/retry:times=2",
		"copy:lost:times=1", "copy:error=ENOENT/not-found", "copy:timeout=10:times=1"};
	struct fix *f = *state;
	uint64_t from = make(f, f->aws, "from", bytes, 30000), to;
	struct vfs_handle *h;
	struct moved before;
	char name[16];
	size_t n;

	sync_all(f);
	before = moved_now();
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		(void)snprintf(name, sizeof(name), "to%zu", i);
		fault(f, 0, faults[i]);
		h = create_in(f, f->aws, name, &to);
		assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
		close_h(f, h);
		sync_all(f);
		fault(f, 0, "");
		file_is(f, to, bytes, 30000);
		object_is(f, name, bytes, 30000);
		assert_string_equal(getx(f, to, "user.astra.state"), "settled");
	}
	assert_int_equal(moved_now().conflicts, before.conflicts);
}

/* It is copied, nobody hears of it, and then it changes: the bytes are sent over the copy. */
static void test_a_twin_changes_after_a_lost_copy(void **state)
{
	struct fix *f = *state;
	uint64_t from = make(f, f->aws, "from", bytes, 30000), to;
	struct vfs_handle *h = create_in(f, f->aws, "to", &to);
	size_t n;

	sync_all(f);
	fault(f, 0, "copy:n=1:lost;head:n=1:error=EIO;copy:n=2:delay=300");
	assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
	close_h(f, h);
	usleep(250000);
	object_put(&f->remotes[0], "from", "other", 5);
	sync_all(f);
	object_is(f, "to", bytes, 30000);
	assert_string_equal(getx(f, to, "user.astra.state"), "settled");
}

/* They are not: then the caller is told, and copies itself. */
static void test_when_the_store_does_not_copy(void **state)
{
	static const struct {
		const char *rule;
		errint_t want;
	} faults[] = {{"copy:error=EIO/final", -EOPNOTSUPP}, {"copy:error=EIO/retry", -EOPNOTSUPP},
		{"copy:error=EIO/unknown:times=1", -EOPNOTSUPP}, {"copy:lost:times=1", 0},
		{"copy:error=EIO/archived", -EOPNOTSUPP}, {"copy:timeout=10:times=1", -EOPNOTSUPP},
		{"copy:lost:times=1; head:error=EIO/retry:times=1", -EOPNOTSUPP}};
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to;
	struct moved before = moved_now();
	struct vfs_handle *h;
	char name[16];
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		(void)snprintf(name, sizeof(name), "to%zu", i);
		fault(f, 0, faults[i].rule);
		h = create_in(f, f->aws, name, &to);
		assert_int_equal(copy(f, from, h, 1 << 30, &n), faults[i].want);
		if (faults[i].want) {
			assert_int_equal(attr(f, to).st_size, 0);
			if (i % 2) /* the follow-up of what may have been left may come first */
				usleep(100000);
			assert_int_equal(put(f, h, 0, "by hand", 7), 0);
		}
		close_h(f, h);
		sync_all(f);
		fault(f, 0, "");
		if (faults[i].want) {
			file_is(f, to, "by hand", 7);
			object_is(f, name, "by hand", 7);
		} else {
			file_is(f, to, bytes, BIG);
			object_is(f, name, bytes, BIG);
		}
	}
	assert_int_equal(moved_now().conflicts, before.conflicts);
}

static void test_another_version_is_not_copied(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to;
	struct vfs_handle *h = create_in(f, f->aws, "to", &to);
	size_t n;

	object_put(&f->remotes[0], "from", "another", 7);
	assert_int_equal(copy(f, from, h, 1 << 30, &n), -EOPNOTSUPP);
	assert_int_equal(attr(f, to).st_size, 0);
	close_h(f, h);
	sync_all(f);
	object_is(f, "to", "", 0);
}

static void test_what_is_not_a_whole_copy(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to;
	struct vfs_handle *h = create_in(f, f->aws, "to", &to),
			  *g = create_in(f, f->gcp, "g", NULL);
	size_t n;

	assert_int_equal(copy(f, from, h, BIG - 1, &n), -EOPNOTSUPP);
	assert_int_equal(copy(f, from, g, BIG, &n), -EOPNOTSUPP); /* another cloud */
	assert_int_equal(put(f, h, 0, "x", 1), 0);
	assert_int_equal(copy(f, from, h, BIG, &n), -EOPNOTSUPP);
	close_h(f, h);
	close_h(f, g);
	sync_all(f);
	object_is(f, "to", "x", 1);
}

static void test_a_twin_survives_a_restart(void **state)
{
	struct fix *f = *state;
	uint64_t from = make(f, f->aws, "from", bytes, 30000), to;
	struct vfs_handle *h;
	struct moved before;
	size_t n;

	sync_all(f);
	before = moved_now();
	fault(f, 0, "copy,put:error=EIO/retry");
	h = create_in(f, f->aws, "to", &to);
	assert_int_equal(copy(f, from, h, 1 << 20, &n), 0);
	close_h(f, h);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	sync_all(f);
	nothing_moved(before);
	object_is(f, "to", bytes, 30000);
	file_is(f, to, bytes, 30000);
}

/* A writer and a reader of the source while it is copied; the copy unlinked before it is due. */
static void test_others_meanwhile(void **state)
{
	struct fix *f = *state;
	uint64_t from = foreign(f, "from"), to;
	struct vfs_handle *w, *h = create_in(f, f->aws, "to", &to), *in;
	struct ask *a = ask_new();
	struct moved before;
	size_t n;

	fault(f, 0, "copy:delay=200");
	assert_int_equal(open_ino(f, from, O_RDONLY, &in), 0);
	assert_int_equal(open_ino(f, from, O_WRONLY, &w), 0);
	atomic_store(&a->answers, 0);
	vfs_copy_range(f->v, &a->c, in, 0, h, 0, BIG);
	usleep(50000);
	assert_int_equal(put(f, w, 0, "FROM", 4), 0);
	close_h(f, w);
	assert_int_equal(rename_to(f, f->aws, "to", f->aws, "renamed", 0), 0);
	assert_int_equal(ask_wait(a), 0);
	assert_int_equal(a->len, BIG);
	close_h(f, in);
	close_h(f, h);
	sync_all(f);
	fault(f, 0, "");
	file_is(f, to, bytes, BIG);
	object_is(f, "renamed", bytes, BIG);
	both_are(f, from, "from", 0, "FROM", BIG);
	h = create_in(f, f->aws, "gone", &to);
	before = moved_now();
	assert_int_equal(copy(f, make(f, f->aws, "small", "s", 1), h, 9, &n), 0);
	assert_int_equal(unlink_in(f, f->aws, "gone"), 0);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(moved_now().out - before.out, 1); /* "small" */
	ask_free(a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_store_copies),
		T(due_while_it_is_copied),
		T(over_an_existing_file),
		T(small_ones_are_copied_twice),
		T(a_twin_is_only_a_hint),
		T(a_twin_changes_after_a_lost_copy),
		T(when_the_store_does_not_copy),
		T(another_version_is_not_copied),
		T(what_is_not_a_whole_copy),
		T(a_twin_survives_a_restart),
		T(others_meanwhile),
	};
	int r;

	bytes = pattern_new(BIG);
	r = cmocka_run_group_tests_name("vfs_copy", tests, NULL, NULL);
	free(bytes);
	return r;
}
