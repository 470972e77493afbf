/* SPDX-License-Identifier: MIT */
/* Staging: each promise of its face, one by one. */
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "stage_help.h"

#define HEAD 8192 /* what comes before the bytes */

static void path_of(uint64_t ino, const char *suffix, char ret[128])
{
	snprintf(ret, 128, "%s/%02x/%" PRIu64 "%s", dir, (unsigned)(ino & 0xff), ino, suffix);
}

static void poke_head(uint64_t ino, off_t off, const void *p, size_t len)
{
	char path[128];
	int fd;

	path_of(ino, "", path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, p, len, off), len);
	close(fd);
}

static void poke(uint64_t ino, off_t off, const void *p, size_t len)
{
	poke_head(ino, HEAD + off, p, len);
}

static int wr(struct stage_file *f, uint64_t off, const void *p, size_t len)
{
	uint64_t mo, ml;

	return stage_write(f, off, p, len, &mo, &ml);
}

static int trunc_to(struct stage_file *f, uint64_t size)
{
	uint64_t mo, ml;

	return stage_truncate(f, size, &mo, &ml);
}

static struct stage_file *get(struct stage *s, uint64_t ino)
{
	struct stage_file *f = NULL;

	assert_int_equal(stage_get(s, ino, true, &f), 0);
	return f;
}

static void expect(struct stage_file *f, uint64_t off, const void *p, size_t len)
{
	cleanup_free char *got = malloc(len + 1);
	uint64_t mo, ml;
	size_t n = 0;

	assert_int_equal(rd(f, off, got, len, &n, &mo, &ml), 0);
	assert_int_equal(n, len);
	assert_memory_equal(got, p, len);
}

static void expect_miss(
	struct stage_file *f, uint64_t off, size_t len, uint64_t miss_off, uint64_t miss_len)
{
	cleanup_free char *got = malloc(len);
	uint64_t mo, ml;
	size_t n;

	assert_int_equal(rd(f, off, got, len, &n, &mo, &ml), -ENODATA);
	assert_int_equal(mo, miss_off);
	assert_int_equal(ml, miss_len);
}

/* ---- single promises ---- */

static int each_count(void *arg, uint64_t ino)
{
	*(uint64_t *)arg += ino;
	return 0;
}

static void test_basics(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = NULL, *g;
	uint64_t sum = 0, mo, ml;
	char b[16];
	size_t n = 9;

	(void)state;
	assert_int_equal(stage_get(s, 7, false, &f), -ENOENT);
	assert_false(stage_has(s, 7));
	f = get(s, 7);
	assert_true(stage_has(s, 7));
	assert_int_equal(stage_size(f), 0);
	assert_false(stage_dirty(f));
	assert_int_equal(stage_mtime(f), 0);
	assert_int_equal(rd(f, 0, b, 5, &n, &mo, &ml), 0);
	assert_int_equal(n, 0);
	assert_int_equal(wr(f, 3, "hello", 5), 0);
	assert_true(stage_dirty(f));
	assert_true(stage_mtime(f) > 0);
	expect(f, 0, "\0\0\0hello", 8);
	assert_int_equal(rd(f, 6, b, 16, &n, &mo, &ml), 0);
	assert_int_equal(n, 2);
	assert_int_equal(stage_get(s, 7, false, &g), 0);
	assert_ptr_equal(f, g);
	stage_put(stage_ref(g));
	stage_put(g);
	stage_mtime_set(f, 12345);
	stage_put(f);
	stage_put(get(s, 9));
	assert_int_equal(stage_each(s, each_count, &sum), 0);
	assert_int_equal(sum, 16);
	stage_close(s);

	s = open_with(100 * M, 0, false);
	f = get(s, 7);
	assert_int_equal(stage_mtime(f), 12345);
	expect(f, 0, "\0\0\0hello", 8);
	assert_int_equal(wr(f, UINT64_MAX - 1, b, 8), -EFBIG);
	stage_drop(s, 7);
	assert_true(stage_has(s, 7));
	expect(f, 3, "hello", 5);
	stage_put(f);
	assert_false(stage_has(s, 7));
	stage_drop(s, 9);
	assert_false(stage_has(s, 9));
	stage_close(s);
	stage_close(NULL);
	stage_put(NULL);
}

static void test_base(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 1);
	cleanup_free char *base = malloc(300 * K), *want = malloc(300 * K);
	uint64_t mo, ml, size;
	char etag[128];

	(void)state;
	pattern(base, 300 * K, 1);
	memcpy(want, base, 300 * K);
	assert_int_equal(stage_base(f, "e1", 100 * K + 10), 0);
	assert_int_equal(stage_size(f), 100 * K + 10);
	assert_false(stage_dirty(f));
	expect_miss(f, 5000, 4000, 4096, 8192);
	assert_int_equal(stage_fill(f, "e0", 0, base, 4096), -ESTALE);
	assert_int_equal(stage_fill(f, "e1", 4096, base + 4096, 8192), 0);
	expect(f, 5000, base + 5000, 4000);
	assert_true(stage_missing(f, 0, 200 * K, &mo, &ml));
	assert_int_equal(mo, 0);
	assert_int_equal(ml, 4096);
	assert_true(stage_missing(f, 4096, 200 * K, &mo, &ml));
	assert_int_equal(mo, 12288);
	assert_int_equal(ml, 100 * K + 10 - 12288);
	/* In part, not here: miss. Whole grains, or the whole end of the base: none. */
	assert_int_equal(stage_write(f, 20000, "xy", 2, &mo, &ml), -ENODATA);
	assert_int_equal(mo, 16384);
	assert_int_equal(ml, 4096);
	assert_int_equal(stage_write(f, 32768, want + 200 * K, 8192, &mo, &ml), 0);
	memcpy(want + 32768, want + 200 * K, 8192);
	assert_int_equal(stage_write(f, 100 * K, want + 200 * K, 10, &mo, &ml), 0);
	memcpy(want + 100 * K, want + 200 * K, 10);
	/* A fill leaves what was written. */
	assert_int_equal(stage_fill(f, "e1", 0, base, 100 * K + 10), 0);
	assert_false(stage_missing(f, 0, UINT64_MAX, &mo, &ml));
	expect(f, 0, want, 100 * K + 10);
	/* Another base: clean goes, dirty stays, the size is ours. */
	assert_int_equal(stage_base(f, "e2", 90 * K), 0);
	assert_int_equal(stage_size(f), 100 * K + 10);
	expect(f, 32768, want + 32768, 8192);
	expect_miss(f, 0, 4096, 0, 4096);
	stage_base_get(f, etag, &size);
	assert_string_equal(etag, "e2");
	assert_int_equal(size, 90 * K);
	assert_int_equal(stage_reset(f), 0);
	assert_int_equal(stage_size(f), 0);
	assert_true(stage_dirty(f));
	stage_base_get(f, etag, &size);
	assert_string_equal(etag, "");
	memset(etag, 'x', 128);
	stage_put(f);
	stage_close(s);
}

static void test_sizes(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	cleanup_free char *base = malloc(200 * K), *want = calloc(1, 300 * K);
	uint64_t o, n;

	(void)state;
	pattern(base, 200 * K, 3);
	assert_int_equal(stage_base(f, "e", 200 * K), 0);
	assert_int_equal(trunc_to(f, 70000), 0);
	assert_int_equal(trunc_to(f, 300 * K), 0);
	/* The shown part of the base may be fetched; what was cut is zeros and dirty. */
	assert_true(stage_missing(f, 65536, 300 * K, &o, &n));
	assert_int_equal(o, 65536);
	assert_int_equal(n, 70000 - 65536);
	assert_true(stage_next_dirty(f, 0, &o, &n));
	assert_int_equal(o, 69632);
	assert_int_equal(n, 300 * K - 69632);
	assert_int_equal(stage_fill(f, "e", 0, base, 200 * K), 0);
	memcpy(want, base, 70000);
	expect(f, 0, want, 300 * K);
	assert_int_equal(stage_seek(f, 0, true, &o), 0);
	assert_int_equal(o, 73728);
	assert_int_equal(wr(f, 250000, "abc", 3), 0);
	assert_int_equal(stage_seek(f, 80000, false, &o), 0);
	assert_int_equal(o, 249856);
	assert_int_equal(stage_seek(f, 250000, true, &o), 0);
	assert_int_equal(o, 253952);
	assert_int_equal(stage_seek(f, 260000, false, &o), -ENXIO);
	assert_int_equal(stage_seek(f, 300 * K, true, &o), -ENXIO);
	memcpy(want + 250000, "abc", 3);
	assert_int_equal(stage_punch(f, 100, 9000, &o, &n), 0);
	memset(want + 100, 0, 9000);
	assert_int_equal(stage_punch(f, 250001, 1, &o, &n), 0);
	want[250001] = 0;
	expect(f, 0, want, 300 * K);
	assert_int_equal(stage_allocate(f, 290 * K, 100 * K, true), 0);
	assert_int_equal(stage_size(f), 300 * K);
	assert_int_equal(stage_allocate(f, 290 * K, 100 * K, false), 0);
	assert_int_equal(stage_size(f), 390 * K);
	expect(f, 0, want, 300 * K);
	/* Bytes cut in the middle of a grain never come back. */
	assert_int_equal(trunc_to(f, 250001), 0);
	assert_int_equal(trunc_to(f, 260000), 0);
	memset(want + 250001, 0, 9999);
	expect(f, 0, want, 260000);
	stage_put(f);
	stage_close(s);
}

static void test_clean(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	cleanup_free char *p = malloc(3 * M);
	struct stage_stat st;
	uint64_t seq, o, n;

	(void)state;
	pattern(p, 3 * M, 4);
	for (int large = 0; large < 2; large++) {
		size_t len = large ? 3 * M - 5 : 50000;

		assert_int_equal(stage_reset(f), 0);
		assert_int_equal(wr(f, 0, p, len), 0);
		stage_stat(s, &st);
		assert_int_equal(st.dirty_bytes, (len + 4095) / 4096 * 4096);
		assert_int_equal(st.clean_bytes, 0);
		seq = stage_seq(f);
		assert_int_equal(wr(f, 1, p + 1, 1), 0);
		assert_int_equal(stage_clean(f, seq, "a", len), -EAGAIN);
		assert_true(stage_dirty(f));
		assert_int_equal(stage_clean(f, stage_seq(f), "b", len + 1), -EINVAL);
		assert_int_equal(stage_clean(f, stage_seq(f), "b", len), 0);
		assert_false(stage_dirty(f));
		assert_false(stage_next_dirty(f, 0, &o, &n));
		expect(f, 0, p, len);
		stage_stat(s, &st);
		assert_int_equal(st.dirty_bytes, 0);
		assert_int_equal(st.clean_bytes, (len + 4095) / 4096 * 4096);
		assert_int_equal(stage_base(f, "b", len), 0);
		expect(f, 0, p, len);
	}
	/* Only the changed part of a large file is dirty then. */
	assert_int_equal(wr(f, 2 * M + 5, p + 2 * M + 5, 10), 0);
	assert_true(stage_next_dirty(f, 0, &o, &n));
	assert_int_equal(o, 2 * M);
	assert_int_equal(n, 4096);
	assert_false(stage_next_dirty(f, o + n, &o, &n));
	stage_put(f);
	stage_close(s);
}

static void test_damage(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	cleanup_free char *p = malloc(200 * K);
	uint64_t before = count_get(COUNT_stage_damaged), mo, ml;

	(void)state;
	pattern(p, 200 * K, 5);
	assert_int_equal(stage_base(f, "e", 200 * K), 0);
	assert_int_equal(stage_fill(f, "e", 0, p, 40 * K), 0);
	assert_int_equal(stage_fill(f, "e", 40 * K, p + 40 * K, 160 * K), 0);
	stage_put(f);
	poke(2, 65536 + 777, "damage", 6);
	poke(2, 3 * 65536 + 5, "damage", 6);
	f = get(s, 2);
	expect(f, 0, p, 65536);
	expect_miss(f, 0, 140 * K, 65536, 65536);
	assert_int_equal(count_get(COUNT_stage_damaged), before + 1);
	assert_int_equal(stage_fill(f, "e", 65536, p + 65536, 65536), 0);
	expect(f, 0, p, 150 * K);
	/* A write in part does not make damage trusted. */
	assert_int_equal(stage_write(f, 192 * K + 4096 + 1, "x", 1, &mo, &ml), -ENODATA);
	assert_int_equal(mo, 192 * K + 4096);
	assert_int_equal(stage_write(f, 192 * K + 4096, p + 192 * K + 4096, 4096, &mo, &ml), 0);
	expect_miss(f, 0, 200 * K, 192 * K, 4096);
	/* Bytes that are gone: clean can be had again, dirty is an error. */
	{
		char path[128];

		path_of(2, "", path);
		assert_int_equal(truncate(path, HEAD), 0);
	}
	expect_miss(f, 0, 4096, 0, 4096);
	{
		char b[4096];
		size_t n;

		assert_int_equal(rd(f, 192 * K + 4096, b, 4096, &n, &mo, &ml), -EIO);
	}
	stage_put(f);
	stage_close(s);
}

static void test_bad_head(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f;
	char junk[512];

	(void)state;
	memset(junk, 0x5a, sizeof(junk));
	f = get(s, 3); /* dirty, its base record broken */
	assert_int_equal(wr(f, 0, "abc", 3), 0);
	stage_put(f);
	poke_head(3, 200, junk, 200);
	assert_int_equal(stage_get(s, 3, false, &f), -EBADMSG);
	assert_int_equal(stage_get(s, 3, true, &f), -EBADMSG);
	f = get(s, 4); /* clean */
	assert_int_equal(stage_base(f, "e", 5), 0);
	assert_int_equal(stage_fill(f, "e", 0, "abcde", 5), 0);
	stage_put(f);
	poke_head(4, 72, junk, 300);
	assert_int_equal(stage_get(s, 4, false, &f), -ENOENT);
	assert_false(stage_has(s, 4));
	f = get(s, 4);
	assert_int_equal(stage_size(f), 0);
	stage_put(f);
	stage_put(get(s, 5));
	poke_head(5, 0, junk, 8);
	stage_close(s);

	s = open_with(100 * M, 0, false);
	assert_int_equal(stage_get(s, 3, false, &f), -EBADMSG);
	assert_int_equal(stage_get(s, 5, false, &f), -EBADMSG);
	stage_drop(s, 3);
	assert_false(stage_has(s, 3));
	stage_close(s);
}

static void test_quota(void **state)
{
	struct stage *s = open_with(1 * M, 0, false);
	cleanup_free char *p = malloc(2 * M);
	struct stage_file *f, *g;
	struct stage_stat st;
	uint64_t mo, ml;

	(void)state;
	pattern(p, 2 * M, 6);
	for (uint64_t i = 1; i <= 4; i++) {
		f = get(s, i);
		assert_int_equal(stage_base(f, "e", 200 * K), 0);
		assert_int_equal(stage_fill(f, "e", 0, p, 200 * K), 0);
		stage_put(f);
	}
	stage_stat(s, &st);
	assert_int_equal(st.clean_bytes, 800 * K);
	assert_int_equal(st.files, 4);
	g = get(s, 1);
	stage_keep(g); /* 2 is the oldest now */
	f = get(s, 10);
	assert_int_equal(wr(f, 0, p, 300 * K), 0);
	assert_false(stage_has(s, 2));
	assert_true(stage_has(s, 3));
	stage_stat(s, &st);
	assert_int_equal(st.clean_bytes, 600 * K);
	assert_int_equal(st.dirty_bytes, 300 * K);
	/* In vain: nothing is evicted. */
	assert_int_equal(wr(f, 300 * K, p, 1 * M), -EDQUOT);
	assert_true(stage_has(s, 3) && stage_has(s, 4));
	assert_int_equal(stage_size(f), 300 * K);
	assert_int_equal(wr(f, 300 * K, p, 524 * K), 0);
	assert_false(stage_has(s, 3) || stage_has(s, 4));
	/* Full of dirty and kept: no more, but what is there can be written over. */
	assert_int_equal(wr(f, 900 * K, p, 1), -EDQUOT);
	assert_int_equal(wr(f, 5, p, 500 * K), 0);
	assert_int_equal(stage_allocate(f, 824 * K, 1, false), -EDQUOT);
	assert_int_equal(stage_punch(f, 0, 100 * K, &mo, &ml), 0);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 724 * K);
	assert_int_equal(wr(f, 900 * K, p, 1), 0);
	assert_int_equal(trunc_to(f, 10), 0);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 0);
	expect(g, 0, p, 200 * K);
	stage_put(g);
	assert_int_equal(stage_make_room(s, 1 * M), 0);
	assert_false(stage_has(s, 1));
	stage_drop(s, 10);
	stage_put(f);
	stage_stat(s, &st);
	assert_int_equal(st.clean_bytes + st.dirty_bytes + st.files, 0);
	/* Reserved room is real. */
	f = get(s, 11);
	assert_int_equal(stage_allocate(f, 0, 1 * M, false), 0);
	g = get(s, 12);
	assert_int_equal(wr(g, 0, p, 1), -EDQUOT);
	assert_int_equal(wr(f, 0, p, 1 * M), 0);
	stage_put(f);
	stage_put(g);
	stage_close(s);

	/* Found again, and counted. */
	s = open_with(1 * M, 0, false);
	f = get(s, 11);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 1 * M);
	assert_int_equal(st.clean_bytes, 0);
	stage_put(f);
	stage_close(s);

	s = open_with(100 * M, UINT64_MAX / 8, false);
	f = get(s, 13);
	assert_int_equal(wr(f, 0, p, 1), -ENOSPC);
	stage_put(f);
	stage_close(s);
}

struct obj {
	const char *p;
	unsigned asked;
};

static errint_t obj_get(void *arg, uint64_t off, void *p, size_t len)
{
	struct obj *o = arg;

	memcpy(p, o->p + off, len);
	o->asked++;
	return 0;
}

static errint_t obj_away(void *arg, uint64_t off, void *p, size_t len)
{
	(void)arg, (void)off, (void)p, (void)len;
	return -EIO;
}

/* Of a file that is changed while it goes up the rest is clean then, and makes room while it is
 * open: it comes from the object. */
static void test_clean_in_part(void **state)
{
	cleanup_free char *p = malloc(2 * M), *q = malloc(2 * M), *up = malloc(2 * M);
	struct stage *s;
	struct stage_file *f;
	struct stage_stat st;
	struct obj obj = {.p = up};
	uint64_t seq, off, len;
	size_t n;

	(void)state;
	span = STAGE_CHUNK;
	s = open_with(3 * M, 0, false);
	f = get(s, 1);
	pattern(p, 2 * M, 7);
	assert_int_equal(wr(f, 0, p, 2 * M), 0);
	memcpy(up, p, 2 * M);
	/* Nobody watches: all of it stays dirty. */
	seq = stage_seq(f);
	assert_int_equal(wr(f, M, "now", 3), 0);
	memcpy(p + M, "now", 3);
	assert_int_equal(stage_clean(f, seq, "e1", 2 * M), -EAGAIN);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 2 * M);
	assert_int_equal(stage_make_room(s, 2 * M), -EDQUOT);
	memcpy(up, p, 2 * M);
	/* Somebody does. */
	assert_int_equal(stage_spans_watch(f), 0);
	seq = stage_seq(f);
	assert_int_equal(wr(f, M + 10, "then", 4), 0);
	memcpy(p + M + 10, "then", 4);
	assert_int_equal(stage_clean(f, seq, "e2", 2 * M), -EAGAIN);
	assert_true(stage_dirty(f));
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, STAGE_CHUNK);
	assert_true(stage_next_dirty(f, 0, &off, &len));
	assert_true(off == M && len == STAGE_CHUNK);
	assert_false(stage_next_dirty(f, off + len, &off, &len));
	expect(f, 0, p, 2 * M);
	/* Others need the room. */
	assert_int_equal(stage_make_room(s, 3 * M - STAGE_CHUNK), 0);
	stage_stat(s, &st);
	assert_int_equal(st.clean_bytes, 0);
	assert_int_equal(st.dirty_bytes, STAGE_CHUNK);
	assert_true(stage_missing(f, 0, 2 * M, &off, &len) && off == 0 && len == M);
	assert_int_equal(wr(f, 5, p, 1), -ENODATA);
	assert_int_equal(stage_read_with(f, 100, q, 2 * M, &n, obj_get, &obj), 0);
	assert_int_equal(n, 2 * M - 100);
	assert_memory_equal(q, p + 100, n);
	assert_int_equal(obj.asked, 2);
	assert_int_equal(stage_read_with(f, M, q, 100, &n, obj_away, NULL), 0);
	assert_int_equal(stage_read_with(f, M - 1, q, 100, &n, obj_away, NULL), -EIO);
	/* Its object may go: it stays. */
	assert_int_equal(stage_fill(f, "e2", 0, up, M), 0);
	stage_keep(f);
	assert_int_equal(stage_make_room(s, 2 * M), -EDQUOT);
	expect(f, 0, p, M + STAGE_CHUNK);
	stage_put(f);
	stage_close(s);
	span = 0;
}

static void test_huge(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	uint64_t far = (UINT64_C(1) << 43) + 12345, o, n;

	(void)state;
	assert_int_equal(stage_base(f, "e", UINT64_C(1) << 42), 0);
	expect_miss(f, UINT64_C(1) << 41, 100, UINT64_C(1) << 41, 4096);
	assert_int_equal(wr(f, far, "far", 3), 0);
	assert_int_equal(stage_size(f), far + 3);
	expect(f, far - 2, "\0\0far", 5);
	assert_int_equal(stage_seek(f, UINT64_C(1) << 42, false, &o), 0);
	assert_int_equal(o, far / 4096 * 4096);
	assert_true(stage_missing(f, 0, far, &o, &n));
	assert_int_equal(n, UINT64_C(1) << 42);
	assert_true(stage_next_dirty(f, 0, &o, &n));
	assert_int_equal(o, UINT64_C(1) << 42);
	assert_int_equal(o + n, far + 3);
	stage_put(f);
	stage_close(s);
	s = open_with(100 * M, 0, false);
	f = get(s, 2);
	expect(f, far, "far", 3);
	assert_int_equal(trunc_to(f, 5), 0);
	assert_int_equal(trunc_to(f, UINT64_C(1) << 60), -EFBIG);
	stage_put(f);
	stage_close(s);
}

static void test_sync(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f;
	struct err err;

	(void)state;
	for (unsigned count = 1; count < 100; count *= 5) {
		for (uint64_t i = 0; i < count; i++) {
			f = get(s, 100 + i);
			assert_int_equal(wr(f, 0, &i, sizeof(i)), 0);
			if (i == 0)
				assert_int_equal(stage_sync(f, &err), 0);
			stage_put(f);
		}
		assert_int_equal(stage_sync_all(s, &err), 0);
		assert_int_equal(stage_sync_all(s, &err), 0);
	}
	f = get(s, 100);
	assert_int_equal(wr(f, 0, "x", 1), 0);
	stage_drop(s, 100);
	stage_put(f);
	assert_int_equal(stage_sync_all(s, &err), 0);
	stage_close(s);
}

/* Ends without closing. */
static void in_killed_child(void (*fn)(struct stage *s), bool close)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		struct stage *s = open_with(100 * M, 0, false);

		fn(s);
		if (close)
			stage_close(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static char mixed_base[256 * 1024];

static void make_mixed(struct stage *s)
{
	struct stage_file *f = NULL;
	uint64_t mo, ml;

	/* chunk 0 complete, 1 in part, 2 dirty and clean, 3 missing */
	if (stage_get(s, 5, true, &f) || stage_base(f, "e", 256 * K) ||
		stage_fill(f, "e", 0, mixed_base, 80 * K) ||
		stage_fill(f, "e", 128 * K, mixed_base + 128 * K, 64 * K) ||
		stage_write(f, 130 * K, "dirty", 5, &mo, &ml))
		_exit(1);
	stage_put(f);
	/* a wholly clean one */
	if (stage_get(s, 6, true, &f) || stage_base(f, "e", 256 * K) ||
		stage_fill(f, "e", 0, mixed_base, 256 * K))
		_exit(1);
	stage_put(f);
}

static void touch_nothing(struct stage *s)
{
	(void)s;
}

static void test_killed(void **state)
{
	struct stage *s;
	struct stage_file *f;

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	in_killed_child(make_mixed, true);
	s = open_with(100 * M, 0, false);
	f = get(s, 5);
	expect(f, 0, mixed_base, 80 * K);
	expect(f, 128 * K, mixed_base + 128 * K, 2 * K);
	stage_put(f);
	stage_close(s);

	teardown(NULL);
	in_killed_child(make_mixed, false);
	/* A run that does not look at it and closes does not make it trusted. */
	in_killed_child(touch_nothing, true);
	s = open_with(100 * M, 0, false);
	f = get(s, 5);
	expect(f, 0, mixed_base, 64 * K);
	expect_miss(f, 64 * K, 4096, 64 * K, 4096);
	expect_miss(f, 136 * K, 4096, 136 * K, 4096);
	expect(f, 130 * K, "dirty", 5);
	stage_put(f);
	f = get(s, 6);
	expect(f, 0, mixed_base, 256 * K);
	stage_put(f);
	stage_close(s);
}

static void make_dirty(struct stage *s)
{
	struct stage_file *f = NULL;

	if (stage_get(s, 8, true, &f) || wr(f, 0, mixed_base, 128 * K))
		_exit(1);
}

static bool there(uint64_t ino, const char *suffix)
{
	char path[128];

	path_of(ino, suffix, path);
	return access(path, F_OK) == 0;
}

static void make_long(struct stage *s)
{
	struct stage_file *f = NULL;

	/* Before the border of what one page of entries speaks for, and then across it. */
	if (stage_get(s, 9, true, &f) || wr(f, 0, mixed_base, 100 * K) || there(9, ".map") ||
		wr(f, 32 * M - 70 * K, mixed_base, 140 * K) || !there(9, ".map") ||
		stage_sync(f, NULL))
		_exit(1);
}

static void expect_long(struct stage_file *f)
{
	char zeros[4096] = {0};

	assert_int_equal(stage_size(f), 32 * M + 70 * K);
	expect(f, 0, mixed_base, 100 * K);
	expect(f, 20 * M, zeros, sizeof(zeros));
	expect(f, 32 * M - 70 * K, mixed_base, 140 * K);
}

/* Files above 32 MiB: what tells what is here is in two places. */
static void test_sidecar(void **state)
{
	char path[128], zeros[4096] = {0};
	struct stage_file *f;
	struct stage *s;

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	in_killed_child(make_long, false);
	s = open_with(100 * M, 0, false);
	f = get(s, 9);
	expect_long(f);
	assert_int_equal(wr(f, 64 * M - 2, "abcd", 4), 0); /* once more larger */
	expect(f, 32 * M - 70 * K, mixed_base, 140 * K);
	expect(f, 64 * M - 4, "\0\0abcd", 6);
	assert_int_equal(trunc_to(f, 32 * M + 70 * K), 0);
	expect_long(f);
	assert_int_equal(stage_clean(f, stage_seq(f), "e", 32 * M + 70 * K), 0);
	stage_put(f);
	f = get(s, 9);
	expect(f, 0, mixed_base, 100 * K);
	expect(f, 32 * M - 70 * K, mixed_base, 140 * K);
	expect_miss(f, 20 * M, 4096, 20 * M, 4096);
	stage_put(f);
	assert_int_equal(stage_sync_all(s, NULL), 0);
	stage_drop(s, 9);
	assert_false(there(9, "") || there(9, ".map"));
	stage_close(s);

	/* A power cut took its name, which nobody had synced: the part that is known stays. */
	in_killed_child(make_long, false);
	path_of(9, ".map", path);
	assert_int_equal(unlink(path), 0);
	s = open_with(100 * M, 0, true);
	f = get(s, 9);
	assert_int_equal(stage_size(f), 32 * M + 70 * K);
	expect(f, 32 * M - 70 * K, mixed_base, 70 * K);
	expect(f, 32 * M, zeros, sizeof(zeros));
	stage_put(f);
	stage_drop(s, 9);
	stage_close(s);

	/* Without one that took changes along. */
	in_killed_child(make_long, false);
	assert_int_equal(unlink(path), 0);
	s = open_with(100 * M, 0, false);
	assert_int_equal(stage_get(s, 9, false, &f), -EBADMSG);
	stage_drop(s, 9);
	stage_close(s);

	/* Alone it is nothing. */
	in_killed_child(make_long, false);
	path_of(9, "", path);
	assert_int_equal(unlink(path), 0);
	s = open_with(100 * M, 0, false);
	assert_false(stage_has(s, 9) || there(9, ".map"));
	stage_close(s);
}

/* What an earlier version left is not taken for damage, and not touched. */
static void test_old_form(void **state)
{
	struct stage_conf conf = {.dir = dir, .quota_bytes = M};
	const char old[40] = "STSTATE1";
	char path[128], now[40];
	struct stage *s = NULL;
	struct err err = {0};
	int fd;

	(void)state;
	path_of(9, "", path);
	path[strlen(path) - 2] = '\0';
	assert_int_equal(mkdir(path, 0700), 0);
	path_of(9, "", path);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "unsent work", 11), 11);
	close(fd);
	snprintf(path, sizeof(path), "%s/state", dir);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, old, sizeof(old)), sizeof(old));
	assert_int_equal(stage_open(&conf, &s, &err), -EMEDIUMTYPE);
	assert_non_null(strstr(err.msg, "earlier version"));
	assert_true(there(9, ""));
	assert_int_equal(pread(fd, now, sizeof(now), 0), sizeof(now));
	assert_memory_equal(now, old, sizeof(old));
	close(fd);
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
	char cmd[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		_exit(1);
}

/* Uploaded, and its few dirty marks kept: in the sidecar, which is put by. */
static struct stage_file *make_lazy(struct stage *s)
{
	struct stage_file *f = NULL;
	char path[128];

	if (stage_get(s, 9, true, &f) || stage_base(f, "e1", 40 * M) ||
		wr(f, 36 * M, mixed_base, 4096) || stage_clean(f, stage_seq(f), "e2", 40 * M) ||
		stage_sync(f, NULL))
		_exit(1);
	path_of(9, ".map", path);
	shell("cp %s %s/saved", path, dir);
	return f;
}

static void make_rebased(struct stage *s)
{
	struct stage_file *f = make_lazy(s);

	if (stage_base(f, "e3", 40 * M) || wr(f, 0, mixed_base, 4096) || stage_sync(f, NULL))
		_exit(1);
}

static void make_second_life(struct stage *s)
{
	struct stage_file *f = make_lazy(s);

	stage_put(f);
	stage_drop(s, 9);
	if (stage_get(s, 9, true, &f) || stage_base(f, "e3", 40 * M) ||
		wr(f, 0, mixed_base, 4096) || stage_sync(f, NULL))
		_exit(1);
}

static void old_sidecar_after(void (*fn)(struct stage *s))
{
	struct stage_file *f;
	struct stage *s;
	char path[128];

	in_killed_child(fn, false);
	path_of(9, ".map", path);
	shell("cp %s/saved %s", dir, path);
	s = open_with(100 * M, 0, true);
	f = get(s, 9);
	assert_true(stage_dirty(f));
	expect(f, 0, mixed_base, 4096);
	expect_miss(f, 36 * M, 4096, 36 * M, 4096);
	stage_put(f);
	stage_drop(s, 9);
	stage_close(s);
}

static void make_rebased_small(struct stage *s)
{
	struct stage_file *f = NULL;
	char path[128];

	if (stage_get(s, 9, true, &f) || stage_base(f, "e1", 256 * K) ||
		wr(f, 64 * K, mixed_base, 4096) || stage_clean(f, stage_seq(f), "e2", 256 * K) ||
		stage_sync(f, NULL))
		_exit(1);
	path_of(9, "", path);
	shell("dd if=%s of=%s/saved bs=4096 skip=1 count=1 status=none", path, dir);
	if (stage_base(f, "e3", 256 * K) || wr(f, 128 * K, mixed_base, 4096))
		_exit(1);
	shell("dd if=%s/saved of=%s bs=4096 seek=1 count=1 conv=notrunc status=none", dir, path);
}

/* A power cut kept the header that became dirty once more, and an older page of entries: their
 * dirty marks are of bytes that have gone to the cloud, and would put zeros over what others wrote.
 */
static void test_old_entries(void **state)
{
	struct stage_file *f;
	struct stage *s;

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	old_sidecar_after(make_rebased);
	old_sidecar_after(make_second_life);
	in_killed_child(make_rebased_small, false);
	s = open_with(100 * M, 0, true);
	f = get(s, 9);
	expect_miss(f, 64 * K, 4096, 64 * K, 4096);
	stage_put(f);
	stage_close(s);
}

/* What was used last is evicted last, also after it was looked at when the stage was opened. */
static void test_order_kept(void **state)
{
	struct stage *s = open_with(M, 0, false);
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	char path[128];

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	for (uint64_t ino = 2; ino <= 3; ino++) {
		struct stage_file *f = get(s, ino);

		assert_int_equal(stage_base(f, "e", 256 * K), 0);
		assert_int_equal(stage_fill(f, "e", 0, mixed_base, 256 * K), 0);
		stage_put(f);
	}
	stage_close(s);
	path_of(3, "", path);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	s = open_with(M, 0, false);
	stage_close(s);
	s = open_with(M, 0, false);
	assert_int_equal(stage_make_room(s, 600 * K), 0);
	assert_true(stage_has(s, 2));
	assert_false(stage_has(s, 3));
	stage_close(s);
}

/* Somebody removed what had bytes that are nowhere else. */
static void test_gone(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 9);
	char path[128];

	(void)state;
	assert_int_equal(wr(f, 0, "acknowledged", 12), 0);
	stage_put(f);
	path_of(9, "", path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(stage_get(s, 9, true, &f), -EBADMSG);
	stage_drop(s, 9);
	stage_close(s);
}

/* Killed in a truncate, just after the size was stored: nothing behind it may come back. */
static void test_killed_shrink(void **state)
{
	const uint64_t size = 5000;
	char zeros[65536] = {0};
	struct stage_stat st;
	struct stage_file *f;
	struct stage *s;

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	in_killed_child(make_dirty, false);
	poke_head(8, 32, &size, sizeof(size));
	s = open_with(100 * M, 0, false);
	f = get(s, 8);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 8192);
	assert_int_equal(trunc_to(f, 100 * K), 0);
	expect(f, 0, mixed_base, 5000);
	expect(f, 5000, zeros, 65536);
	stage_put(f);
	stage_close(s);
}

/* What a checksum covers changes with the base, and where a write begins and ends. */
static void test_checksums_move(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	uint64_t before = count_get(COUNT_stage_damaged);

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	assert_int_equal(stage_base(f, "e", 100 * K), 0);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 100 * K), 0);
	assert_int_equal(trunc_to(f, 150 * K), 0);
	assert_int_equal(stage_clean(f, stage_seq(f), "e2", 150 * K), 0);
	stage_put(f);
	f = get(s, 2);
	expect(f, 0, mixed_base, 100 * K);
	assert_int_equal(count_get(COUNT_stage_damaged), before);
	stage_put(f);

	f = get(s, 3);
	assert_int_equal(stage_base(f, "e", 256 * K), 0);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 256 * K), 0);
	stage_put(f);
	poke(3, 5, "damage", 6);
	poke(3, 3 * 65536 - 9, "damage", 6);
	f = get(s, 3);
	assert_int_equal(wr(f, 60 * K, mixed_base, 72 * K), 0);
	expect_miss(f, 0, 4096, 0, 4096);
	expect_miss(f, 132 * K, 60 * K, 132 * K, 60 * K);
	stage_put(f);
	stage_close(s);
}

static void test_power_cut(void **state)
{
	struct stage *s;
	struct stage_file *f;
	struct stage_stat st;
	uint64_t off, len, size;
	char etag[128];

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 8);
	in_killed_child(make_mixed, false);
	stage_close(open_with(100 * M, 0, true));
	s = open_with(100 * M, 0, false);
	/* Clean: not a byte is left, but which version it was. */
	assert_true(stage_has(s, 6));
	f = get(s, 6);
	assert_false(stage_dirty(f));
	stage_base_get(f, etag, &size);
	assert_string_equal(etag, "e");
	assert_true(stage_missing(f, 0, size, &off, &len) && off == 0 && len == size);
	stage_put(f);
	f = get(s, 5);
	stage_stat(s, &st);
	assert_int_equal(st.dirty_bytes, 4096);
	assert_int_equal(st.clean_bytes, 0);
	expect_miss(f, 0, 256 * K, 0, 128 * K);
	expect(f, 130 * K, "dirty", 5);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 256 * K), 0);
	memcpy(mixed_base + 130 * K, "dirty", 5);
	expect(f, 0, mixed_base, 256 * K);
	stage_put(f);
	stage_close(s);
}

/* Somebody else gives an empty file its content. */
static void test_adopt(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	uint64_t seq;

	(void)state;
	assert_int_equal(wr(f, 0, "old", 3), 0);
	assert_int_equal(stage_adopt(f, stage_seq(f), "e", 100 * K), -EAGAIN); /* not empty */
	assert_int_equal(stage_reset(f), 0);
	seq = stage_seq(f);
	assert_int_equal(wr(f, 0, "new", 3), 0);
	assert_int_equal(stage_adopt(f, seq, "e", 100 * K), -EAGAIN);
	expect(f, 0, "new", 3);
	assert_int_equal(stage_reset(f), 0);
	assert_true(stage_holds(s, 2)); /* that it is empty */
	assert_int_equal(stage_adopt(f, stage_seq(f), "e", 100 * K), 0);
	assert_false(stage_dirty(f));
	assert_true(stage_has(s, 2) && !stage_holds(s, 2));
	assert_int_equal(stage_size(f), 100 * K);
	expect_miss(f, 0, 100 * K, 0, 100 * K);
	stage_put(f);
	assert_false(stage_holds(s, 2));
	f = get(s, 2);
	expect_miss(f, 0, 100 * K, 0, 100 * K);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 4096), 0);
	assert_true(stage_holds(s, 2));
	stage_put(f);
	assert_true(stage_holds(s, 2));
	stage_close(s);
}

/* What a truncation hid shows again, if nothing else happened. */
static void test_regrow(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 2);
	uint64_t seq, a, b;

	(void)state;
	pattern(mixed_base, sizeof(mixed_base), 9);
	assert_int_equal(stage_base(f, "e", 256 * K), 0);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 256 * K), 0);
	assert_int_equal(trunc_to(f, 100 * K), 0);
	seq = stage_seq(f);
	assert_int_equal(stage_regrow(f, seq, 257 * K, &seq), -EAGAIN);
	assert_int_equal(stage_regrow(f, seq + 1, 256 * K, &seq), -EAGAIN);
	assert_int_equal(stage_regrow(f, seq, 200 * K, &seq), 0);
	assert_int_equal(stage_size(f), 200 * K);
	assert_int_equal(stage_regrow(f, seq, 256 * K, &seq), 0);
	assert_false(stage_next_dirty(f, 0, &a, &b));
	/* What had been here was cut off. */
	expect(f, 0, mixed_base, 100 * K);
	expect_miss(f, 0, 256 * K, 100 * K, 156 * K);
	assert_int_equal(stage_fill(f, "e", 0, mixed_base, 256 * K), 0);
	expect(f, 0, mixed_base, 256 * K);
	assert_int_equal(trunc_to(f, 50000), 0); /* not whole grains */
	seq = stage_seq(f);
	assert_int_equal(stage_regrow(f, seq, 256 * K, &seq), -EAGAIN);
	assert_int_equal(trunc_to(f, 4096), 0);
	seq = stage_seq(f);
	assert_int_equal(wr(f, 0, "x", 1), 0);
	assert_int_equal(stage_regrow(f, seq, 256 * K, &seq), -EAGAIN);
	stage_put(f);
	stage_close(s);
}

static const struct stage_twin twin = {.remote = 3, .path = "a/b", .etag = "e7"};

static void make_twin(struct stage *s)
{
	struct stage_file *f = NULL;
	uint64_t mo, ml;

	if (stage_get(s, 5, true, &f) || stage_write(f, 0, "copied", 6, &mo, &ml))
		_exit(1);
	stage_twin_set(f, stage_seq(f), &twin);
	stage_put(f);
}

static bool has_twin(struct stage *s)
{
	struct stage_file *f = get(s, 5);
	struct stage_twin t;
	bool has = stage_twin_get(f, &t);

	if (has) {
		assert_int_equal(t.remote, 3);
		assert_string_equal(t.path, "a/b");
		assert_string_equal(t.etag, "e7");
	}
	expect(f, 0, "copied", 6);
	stage_put(f);
	return has;
}

static void test_twin(void **state)
{
	struct stage *s;
	struct stage_file *f;
	struct stage_twin t;

	(void)state;
	in_killed_child(make_twin, false);
	s = open_with(100 * M, 0, false);
	assert_true(has_twin(s)); /* a kill leaves it */
	f = get(s, 5);
	stage_mtime_set(f, 77);
	assert_true(stage_twin_get(f, &t));
	stage_twin_set(f, stage_seq(f) - 1, &twin); /* written since: as it was */
	assert_true(stage_twin_get(f, &t));
	assert_int_equal(wr(f, 0, "C", 1), 0);
	assert_false(stage_twin_get(f, &t));
	assert_int_equal(wr(f, 0, "c", 1), 0);
	assert_false(stage_twin_get(f, &t));
	stage_put(f);
	stage_close(s);
	in_killed_child(make_twin, false);
	s = open_with(100 * M, 0, true);
	assert_false(has_twin(s)); /* a power cut does not: who knows what it took */
	stage_close(s);
}

enum { SPANS = 5, SHOWN = SPANS * STAGE_SPAN };

static char span_base[SHOWN], span_now[SHOWN];

/* What a reader sees, zeros behind the end. */
static uint64_t shown(struct stage_file *f, char *p)
{
	uint64_t mo, ml;
	size_t n = 0;
	int r;

	while ((r = rd(f, 0, p, SHOWN, &n, &mo, &ml)) == -ENODATA)
		assert_int_equal(stage_fill(f, "e", mo, span_base + mo, ml), 0);
	assert_int_equal(r, 0);
	memset(p + n, 0, SHOWN - n);
	return n;
}

static void change_at_random(struct stage_file *f)
{
	uint64_t off = (uint64_t)random() % SHOWN, mo, ml;
	uint64_t len = (uint64_t)random() % (random() % 2 ? 5000 : SHOWN) + 1;
	char byte = (char)random();

	len = len > SHOWN - off ? SHOWN - off : len;
	(void)shown(f, span_now); /* all is here */
	switch (random() % 8) {
	case 0:
	case 1:
	case 2:
		assert_int_equal(wr(f, off, &byte, 1), 0);
		break;
	case 3:
		assert_int_equal(trunc_to(f, off), 0);
		break;
	case 4:
		assert_int_equal(stage_punch(f, off, len, &mo, &ml), 0);
		break;
	case 5:
		assert_int_equal(stage_allocate(f, off, len, random() % 2), 0);
		break;
	case 6:
		memcpy(span_base, span_now, SHOWN);
		(void)stage_clean(f, stage_seq(f) - (uint64_t)(random() % 2), "e",
			stage_size(f)); /* no byte is another then */
		break;
	default:
		if (random() % 8 == 0)
			assert_int_equal(stage_reset(f), 0);
	}
}

/* Whatever was done: a span that shows something else than when it was seen says so. */
static void test_spans(void **state)
{
	struct stage *s = open_with(100 * M, 0, false);
	struct stage_file *f = get(s, 3);
	cleanup_free char *was = malloc(SHOWN), *is = malloc(SHOWN);
	uint64_t seq, had, has, same = 0;

	(void)state;
	assert_int_equal(stage_span_seq(f, 0, 1), UINT64_MAX); /* nobody watches */
	for (int i = 0; i < 150; i++) {
		seq = stage_seq(f);
		had = shown(f, was);
		assert_int_equal(stage_spans_watch(f), 0);
		for (int k = 0; k <= i % 3; k++)
			change_at_random(f);
		has = shown(f, is);
		for (uint64_t k = 0; k < SPANS; k++) {
			uint64_t at = k * STAGE_SPAN;
			bool told = stage_span_seq(f, at, STAGE_SPAN) > seq;
			uint64_t a = had > at ? had - at : 0, b = has > at ? has - at : 0;

			same += !told && at < had;
			/* Also when only its end is another. */
			if (memcmp(was + at, is + at, STAGE_SPAN) ||
				(a != b && (a < STAGE_SPAN || b < STAGE_SPAN)))
				assert_true(told);
		}
	}
	assert_true(same > 50);
	assert_true(stage_span_seq(f, 0, SHOWN + 1) >= stage_span_seq(f, STAGE_SPAN, 1));
	stage_put(f);
	f = get(s, 3);
	assert_int_equal(stage_span_seq(f, 0, 1), UINT64_MAX);
	stage_put(f);
	stage_close(s);
}

/* Without a journal ext4 looks through the inodes that went lately, in the group where all buckets
 * would be: there each has one of its own. */
static void test_spread(void **state)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char path[128], task[16] = "";
	struct stat st;
	struct statfs fs;
	int flags = 0;
	FILE *in;

	(void)state;
	assert_int_equal(fstatfs(fd, &fs), 0);
	assert_int_equal(fstat(fd, &st), 0);
	stage_close(open_with(100 * M, 0, false));
	if (fs.f_type != EXT4_SUPER_MAGIC)
		return;
	snprintf(path, sizeof(path),
		"cat /sys/fs/ext4/$(basename $(readlink /sys/dev/block/%u:%u))/journal_task",
		major(st.st_dev), minor(st.st_dev));
	in = popen(path, "r");
	assert_non_null(in);
	if (!fgets(task, sizeof(task), in))
		task[0] = 0;
	pclose(in);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	assert_int_equal((flags & FS_TOPDIR_FL) != 0, !strncmp(task, "<none>", 6));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(basics),
		T(base),
		T(sizes),
		T(clean),
		T(damage),
		T(bad_head),
		T(old_form),
		T(old_entries),
		T(order_kept),
		T(gone),
		T(sidecar),
		T(quota),
		T(clean_in_part),
		T(huge),
		T(sync),
		T(killed),
		T(killed_shrink),
		T(checksums_move),
		T(power_cut),
		T(adopt),
		T(regrow),
		T(twin),
		T(spans),
		T(spread),
	};

	return cmocka_run_group_tests_name("stage", tests, NULL, NULL);
}
