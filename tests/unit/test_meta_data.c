/* SPDX-License-Identifier: MIT */
/* The index: access history, dump and load. */
#include "meta_help.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>

static char dir[64], dir2[64];
static struct meta *m;

static int setup(void **state)
{
	scratch_make(dir);
	scratch_make(dir2);
	m = open_index(dir, "boot-1", NULL);
	return 0;
}

static int teardown(void **state)
{
	meta_close(m);
	scratch_remove(dir);
	scratch_remove(dir2);
	return 0;
}

/* ---- access history ---- */

#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define NOON   (INT64_C(19737) * DAY_NS + DAY_NS / 2) /* 2024-01-15 */

static struct meta_access get(uint64_t ino, errint_t want)
{
	struct meta_txn *t = meta_begin_read(m);
	struct meta_access a;

	memset(&a, 0xaa, sizeof(a));
	assert_int_equal(meta_access_get(m, t, ino, &a), want);
	assert_int_equal(meta_commit(t), 0);
	return a;
}

static void bump(uint64_t ino, int64_t when, uint32_t reads, uint32_t writes, uint64_t cloud)
{
	const struct meta_bump b = {.ino = ino,
		.when_ns = when,
		.reads = reads,
		.writes = writes,
		.bytes_read = 100ull * reads,
		.bytes_written = 10ull * writes,
		.cloud_bytes = cloud};

	meta_access_bump(m, &b);
}

static void test_access(void **state)
{
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 1);
	struct meta_access a, b;
	struct meta_txn *old;

	a = get(f, -ENOENT);
	assert_int_equal(a.reads + a.writes + a.first_seen_ns, 0);
	bump(f, NOON, 1, 0, 1000);
	bump(f, NOON + NS_PER_S, 0, 1, 0);
	bump(f, NOON - 3 * DAY_NS, 5, 0, 0);
	bump(f, NOON - 100 * DAY_NS, 7, 0, 0); /* too old for the days, not for the months */
	a = get(f, 0);			       /* from memory */
	old = meta_begin_read(m);
	assert_int_equal(meta_access_flush(m), 0);
	b = get(f, 0); /* from the index: the same */
	assert_memory_equal(&a, &b, sizeof(a));
	/* A snapshot from before the flush does not lose what was known then. */
	assert_int_equal(meta_access_get(m, old, f, &b), 0);
	meta_abort(old);
	assert_memory_equal(&a, &b, sizeof(a));

	assert_int_equal(a.reads, 13);
	assert_int_equal(a.writes, 1);
	assert_int_equal(a.bytes_read, 1300);
	assert_int_equal(a.bytes_written, 10);
	assert_int_equal(a.cloud_bytes, 1000);
	assert_true(a.first_seen_ns == NOON - 100 * DAY_NS && a.last_read_ns == NOON &&
		    a.last_write_ns == NOON + NS_PER_S);
	assert_int_equal(a.day0, 19737);
	assert_int_equal(a.day[0], 2);
	assert_int_equal(a.day[3], 5);
	assert_int_equal(a.month0, 54 * 12);
	assert_int_equal(a.month[0], 7);
	assert_int_equal(a.month[3], 7); /* October */
	assert_int_equal(meta_access_window(&a, NOON, 1), 2);
	assert_int_equal(meta_access_window(&a, NOON, 3), 2);
	assert_int_equal(meta_access_window(&a, NOON, 4), 7);
	assert_int_equal(meta_access_window(&a, NOON + 27 * DAY_NS, 30), 2);
	assert_int_equal(meta_access_window(&a, NOON + 30 * DAY_NS, 30), 0);
	assert_int_equal(
		meta_access_window(&a, NOON - DAY_NS, 30), 5); /* nothing from the future */
	/* Heat halves in a week. */
	bump(f, NOON + 7 * DAY_NS, 1, 0, 100);
	b = get(f, 0);
	assert_true(fabs(b.heat - 600) < 0.1);
	assert_int_equal(meta_access_heat(&b, b.heat_at_ns), (uint64_t)b.heat);
	assert_in_range(meta_access_heat(&b, b.heat_at_ns + 7 * 86400 * NS_PER_S), 299, 300);
	assert_int_equal(b.day[7], 2);
	bump(f, NOON + 4000 * DAY_NS, 1, 0, 0);
	b = get(f, 0);
	assert_int_equal(b.day[0], 1);
	assert_int_equal(meta_access_window(&b, NOON + 4000 * DAY_NS, 30), 1);
	check_clean(m);
}

static void test_access_gone(void **state)
{
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 1);
	struct meta_inode in;
	struct meta_txn *t;

	bump(f, NOON, 1, 0, 0);
	t = meta_begin(m);
	assert_int_equal(meta_inode_get(t, f, &in), 0);
	assert_int_equal(meta_unlink(t, &in), 0);
	assert_int_equal(meta_inode_del(t, f), 0);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(meta_access_flush(m), 0);
	(void)get(f, -ENOENT);
	check_clean(m); /* no history without an inode */
}

static void test_access_put(void **state)
{
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 1);
	struct meta_access a = {.last_read_ns = 5, .reads = 3, .day0 = -1, .heat = 1.5};
	struct meta_access b;
	struct meta_txn *t = meta_begin(m);

	a.day[29] = UINT32_MAX;
	assert_int_equal(meta_access_put(t, f, &a), 0);
	assert_int_equal(meta_commit(t), 0);
	b = get(f, 0);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* Counts are kept over a remount without a call to flush, and many at once are no problem. */
static void test_access_many(void **state)
{
	uint64_t first = 0, last = 0;
	char name[16];
	struct meta_txn *t = meta_begin(m);
	struct meta_inode in;

	for (int i = 0; i < 12000; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		inode_init(&in, last = meta_ino_next(t), META_FILE, 1);
		first = first == 0 ? last : first;
		(void)meta_link(t, &in, META_ROOT_INO, name);
	}
	assert_int_equal(meta_commit(t), 0);
	for (uint64_t ino = first; ino <= last; ino++)
		bump(ino, NOON, 1, 0, 0);
	meta_close(m);
	m = open_index(dir, "boot-1", NULL);
	for (uint64_t ino = first; ino <= last; ino += 100)
		assert_int_equal(get(ino, 0).reads, 1);
	check_clean(m);
}

/* ---- dump and load ---- */

static char *dump_text(struct meta *from, size_t *ret_len)
{
	char path[128];
	cleanup_fd int fd = -1;
	struct err err = {0};
	struct stat st;
	char *p;

	(void)snprintf(path, sizeof(path), "%s/dump", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	if (meta_dump(from, fd, &err) != 0)
		fail_msg("dump: %s", err.msg);
	assert_int_equal(fstat(fd, &st), 0);
	p = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(pread(fd, p, (size_t)st.st_size, 0), st.st_size);
	*ret_len = (size_t)st.st_size;
	return p;
}

static errint_t load_text(struct meta *into, const char *text, size_t len, struct err *err)
{
	char path[128];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/load", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, len, 0), len);
	return meta_load(into, fd, err);
}

/* A bit of everything. */
static void populate(void)
{
	uint64_t d = create(m, META_ROOT_INO, "dir \"x\"\n\xc3\xa9", META_DIR, 0), top, f;
	struct meta_access a = {.reads = 3, .day0 = 5, .month0 = 7, .heat = 1.0 / 3.0};
	struct meta_txn *t;
	struct meta_inode in;
	uint32_t id;
	char name[16];

	(void)create(m, d, "\xff\xfe not text", META_FILE, 77);
	for (int i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		(void)create(m, d, name, META_FILE, (uint64_t)i);
	}
	t = meta_begin(m);
	assert_int_equal(meta_remote(t, "aws", 0, 0, &id, &top), 0);
	f = meta_ino_next(t);
	inode_init(&in, f, META_FILE, UINT64_C(1) << 42);
	in.flags = META_F_OBJECT | META_F_DIRTY | META_F_BASE;
	in.loc.remote = id;
	strcpy(in.loc.path, "k/\x80");
	strcpy(in.loc.etag, "\"etag\"");
	in.tier = TIER_ARCHIVE;
	in.crc32c = 0xdeadbeef;
	in.has_crc32c = true;
	in.btime_ns = INT64_MIN;
	in.version = UINT64_MAX;
	(void)meta_link(t, &in, top, "f");
	a.day[3] = 9;
	(void)meta_access_put(t, f, &a);
	(void)meta_xattr_set(t, f, "user.\xff", "\0\1\2", 3, 0);
	(void)meta_xattr_set(t, f, "user.empty", "", 0, 0);
	(void)meta_job_put(t, meta_job_next(t), "{job}", 5);
	(void)meta_kv_put(t, "policy", "p=1\n", 4);
	inode_init(&in, meta_ino_next(t), META_FILE, 5); /* an orphan */
	(void)meta_inode_put(t, &in);
	inode_init(&in, meta_ino_next(t), META_SYMLINK, 3);
	strcpy(in.symlink, "../\xf0");
	(void)meta_link(t, &in, d, "link");
	assert_int_equal(meta_commit(t), 0);
}

static void test_dump_load(void **state)
{
	struct meta *other = open_index(dir2, "boot-1", NULL);
	cleanup_free char *before = NULL, *after = NULL;
	size_t before_len, after_len;
	struct err err = {0};
	struct meta_txn *t;
	uint64_t ino;

	populate();
	totals_settle(m);
	before = dump_text(m, &before_len);
	if (load_text(other, before, before_len, &err) != 0)
		fail_msg("load: %s", err.msg);
	check_clean(other);
	after = dump_text(other, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	/* Numbers go on where they were. */
	t = meta_begin(other);
	ino = meta_ino_next(t);
	meta_abort(t);
	t = meta_begin_read(m);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "aws", &ino), 0);
	meta_abort(t);
	assert_int_equal(load_text(other, before, before_len, &err), -ENOTEMPTY);
	meta_close(other);
	other = open_index(dir2, "boot-1", NULL);
	check_clean(other);
	(void)create(other, META_ROOT_INO, "new", META_FILE, 1);
	check_clean(other);
	meta_close(other);
}

static void test_load_refuses(void **state)
{
	struct meta *other = open_index(dir2, "boot-1", NULL);
	cleanup_free char *text = NULL;
	struct err err = {0};
	bool cut;
	size_t len;

	(void)create(m, META_ROOT_INO, "f", META_FILE, 1);
	text = dump_text(m, &len);
	/* Without its last line; the index is then not to be used. */
	assert_int_equal(load_text(other, text, len - 4, &err), -EBADMSG);
	meta_close(other);
	assert_int_equal(try_open(dir2, "boot-1", &other, &cut, &err), -EBADMSG);
	assert_null(other);
	assert_non_null(strstr(err.msg, "interrupted"));

#define HEAD "{\"t\":\"head\",\"schema\":1}\n"
	static const char *const bad[] = {
		"",
		"{}\n",
		"nonsense\n",
		"{\"t\":\"head\",\"schema\":99}\n",
		(HEAD "{\"t\":\"inode\",\"ino\":-1,\"kind\":\"file\"}\n"),
		(HEAD "{\"t\":\"inode\",\"ino\":50,\"kind\":\"pipe\"}\n"),
		(HEAD "{\"t\":\"inode\",\"ino\":50,\"kind\":\"file\",\"tier\":9}\n"),
		(HEAD "{\"t\":\"job\",\"id\":1,\"record\":\"xyz\"}\n"),
		(HEAD "{\"t\":\"end\",\"lines\":7}\n"),
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		scratch_remove(dir2);
		scratch_make(dir2);
		other = open_index(dir2, "boot-1", NULL);
		if (load_text(other, bad[i], strlen(bad[i]), &err) >= 0)
			fail_msg("loaded: %s", bad[i]);
		assert_true(err.msg[0] != '\0');
		meta_close(other);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_access),
		T(test_access_gone),
		T(test_access_put),
		T(test_access_many),
		T(test_dump_load),
		T(test_load_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
