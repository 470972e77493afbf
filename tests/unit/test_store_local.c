/* SPDX-License-Identifier: MIT */
/* What is particular to the local driver: files as people find and leave them, damage, holes,
 * crashes, several processes. What every store must do is in the conformance suite. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/store.h"

struct world {
	char dir[64];
	struct remote *rm;
	size_t n;
	struct store *st;
};

static struct store_obj obj(const char *key)
{
	return (struct store_obj){"b", key};
}

static errint_t open_world(struct world *w, const char *extra_key, const char *extra)
{
	struct conf *c = conf_new();
	struct err err;
	errint_t r;

	conf_set(c, "remote r", "type", "local");
	conf_set(c, "remote r", "bucket", "b");
	conf_set(c, "remote r", "offline", "ARCHIVE");
	if (extra_key)
		conf_set(c, "remote r", extra_key, extra);
	r = remotes_build(c, w->dir, &w->rm, &w->n, &err);
	if (r)
		print_error("%s\n", err_text(&err, r));
	conf_destroy(c);
	w->st = r ? NULL : w->rm[0].st;
	return r;
}

static int remove_entry(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->dir, "/tmp/astra-local-XXXXXX");
	*state = w;
	return mkdtemp(w->dir) ? open_world(w, NULL, NULL) : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;

	remotes_destroy(w->rm, w->n);
	(void)nftw(w->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
	return 0;
}

static const char *path_of(struct world *w, const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/r/b/%s", w->dir, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void put(struct world *w, const char *key, const void *p, size_t len)
{
	struct err err;
	errint_t r = store_put(w->st, NULL, obj(key), p, len, NULL, NULL, &err);

	if (r)
		fail_msg("put %s: %s", key, err_text(&err, r));
}

static size_t count_files(const char *path)
{
	char cmd[600], out[32] = "";
	FILE *f;

	snprintf(cmd, sizeof(cmd), "find '%s' -type f 2>/dev/null | wc -l", path);
	f = popen(cmd, "r");
	assert_non_null(fgets(out, sizeof(out), f));
	pclose(f);
	return (size_t)atol(out);
}

static void test_native(void **state)
{
	struct world *w = *state;
	struct stat sb;

	put(w, "a/b.csv", "hello", 5);
	assert_int_equal(stat(path_of(w, "a/b.csv"), &sb), 0);
	assert_int_equal(sb.st_size, 5);
	put(w, "a", "x", 1);
	assert_int_equal(stat(path_of(w, "a%obj"), &sb), 0);
	assert_int_equal(store_remove(w->st, NULL, obj("a/b.csv"), NULL, NULL), 0);
	assert_int_equal(stat(path_of(w, "a"), &sb), -1); /* empty directories go */
	assert_int_equal(store_remove(w->st, NULL, obj("a"), NULL, NULL), 0);
	put(w, "d/e/", "", 0);
	assert_int_equal(stat(path_of(w, "d/e"), &sb), 0);
	assert_true(S_ISDIR(sb.st_mode));
	put(w, "d/e/f", "x", 1);
	assert_int_equal(store_remove(w->st, NULL, obj("d/e/f"), NULL, NULL), 0);
	assert_int_equal(stat(path_of(w, "d/e"), &sb), 0); /* it is an object */
	assert_int_equal(store_remove(w->st, NULL, obj("d/e/"), NULL, NULL), 0);
	assert_int_equal(stat(path_of(w, "d"), &sb), -1);
}

static void test_foreign(void **state)
{
	struct world *w = *state;
	struct store_page page;
	struct store_stat st, st2;
	struct err err;
	char b[64];
	size_t n;

	assert_int_equal(mkdir(path_of(w, "mine"), 0755), 0);
	assert_int_equal(mkdir(path_of(w, "empty"), 0755), 0);
	write_file(path_of(w, "mine/file 1"), "by hand");
	assert_int_equal(symlink("/etc/passwd", path_of(w, "mine/link")), 0);
	assert_int_equal(store_list(w->st, NULL, "b", "", '/', "", 10, &page, &err), 0);
	assert_int_equal(page.n, 1); /* an empty directory is nothing */
	assert_string_equal(page.e[0].key, "mine/");
	store_page_done(&page);
	assert_int_equal(store_list(w->st, NULL, "b", "", 0, "", 10, &page, &err), 0);
	assert_int_equal(page.n, 1); /* nor is a link */
	assert_int_equal(page.e[0].size, 7);
	store_page_done(&page);
	assert_int_equal(store_head(w->st, NULL, obj("mine/link"), &st, &err), -ENOENT);
	assert_int_equal(store_head(w->st, NULL, obj("mine/file 1"), &st, &err), 0);
	assert_false(st.has_crc32c);
	assert_int_equal(
		store_get(w->st, NULL, obj("mine/file 1"), st.etag, 0, b, sizeof(b), &n, &err), 0);
	assert_int_equal(n, 7);
	write_file(path_of(w, "mine/file 1"), "changed by hand");
	assert_int_equal(
		store_get(w->st, NULL, obj("mine/file 1"), st.etag, 0, b, sizeof(b), &n, &err),
		-ESTALE);
	/* it gets a record, which holds until the next change by hand */
	assert_int_equal(
		store_set_tier(w->st, NULL, obj("mine/file 1"), "COLD", NULL, &st, &err), 0);
	assert_string_equal(st.class_name, "COLD");
	assert_int_equal(store_head(w->st, NULL, obj("mine/file 1"), &st2, &err), 0);
	assert_string_equal(st.etag, st2.etag);
	assert_string_equal(st2.class_name, "COLD");
	assert_int_equal(
		store_copy(w->st, NULL, obj("mine/file 1"), obj("copy"), NULL, &st, &err), 0);
	assert_true(st.has_crc32c && st.crc32c == crc32c(0, "changed by hand", 15));
	write_file(path_of(w, "mine/file 1"), "again");
	assert_int_equal(store_head(w->st, NULL, obj("mine/file 1"), &st2, &err), 0);
	assert_string_equal(st2.class_name, "HOT");
	assert_int_equal(
		store_get(w->st, NULL, obj("mine/file 1"), NULL, 0, b, sizeof(b), &n, &err), 0);
	assert_int_equal(n, 5);
	/* a copy by hand takes the attributes along; it is another object */
	assert_int_equal(rename(path_of(w, "copy"), "/tmp/astra-moved"), 0);
	char to[512];

	snprintf(to, sizeof(to), "%s", path_of(w, "moved"));
	assert_int_equal(rename("/tmp/astra-moved", to), 0);
	assert_int_equal(store_head(w->st, NULL, obj("moved"), &st2, &err), 0);
	assert_false(st2.has_crc32c);
}

static void test_damage(void **state)
{
	static const size_t sizes[] = {10, 200000, 20 << 20};
	struct world *w = *state;
	uint8_t *a = malloc(20 << 20);
	struct store_page page;
	struct err err;
	size_t n;

	memset(a, 7, 20 << 20);
	for (unsigned i = 0; i < 3; i++) {
		size_t at = sizes[i] / 2;
		int fd;

		put(w, "d", a, sizes[i]);
		fd = open(path_of(w, "d"), O_RDWR);
		assert_int_equal(pwrite(fd, "X", 1, (off_t)at), 1);
		assert_int_equal(
			store_get(w->st, NULL, obj("d"), NULL, 0, a, sizes[i], &n, &err), -EIO);
		assert_int_equal(err.kind, ERR_FINAL);
		assert_non_null(strstr(err.msg, "/r/b/d"));
		assert_int_equal(n, 0);
		if (i) /* elsewhere it is good */
			assert_int_equal(
				store_get(w->st, NULL, obj("d"), NULL, 0, a, 100, &n, &err), 0);
		memset(a, 7, 20 << 20);
		assert_int_equal(ftruncate(fd, (off_t)at), 0);
		close(fd);
		assert_int_equal(store_get(w->st, NULL, obj("d"), NULL, 0, a, 1, &n, &err), -EIO);
		/* a damaged object can be replaced */
		put(w, "d", a, sizes[i]);
		assert_int_equal(
			store_get(w->st, NULL, obj("d"), NULL, 0, a, sizes[i], &n, &err), 0);
	}
	assert_int_equal(setxattr(path_of(w, "d"), "user.astra.obj", "rubbish", 7, 0), 0);
	assert_int_equal(store_get(w->st, NULL, obj("d"), NULL, 0, a, 1, &n, &err), -EIO);
	assert_int_equal(store_list(w->st, NULL, "b", "", 0, "", 10, &page, &err), 0);
	assert_int_equal(page.n, 1);
	store_page_done(&page);
	put(w, "d", "x", 1);
	assert_int_equal(store_get(w->st, NULL, obj("d"), NULL, 0, a, 1, &n, &err), 0);
	assert_int_equal(count_files(path_of(w, ".astra/crc")), 1); /* of the damaged record */
	free(a);
}

static void test_sparse(void **state)
{
	struct world *w = *state;
	const uint64_t part = 1 << 30, total = 10 * part;
	struct store_part p[10];
	char id[STORE_UPLOAD_MAX];
	struct store_stat st;
	struct stat sb;
	struct err err;
	uint8_t *b = calloc(1, 8 << 20);
	size_t n;

	/* 1 GiB of zeros once, then copied on the server */
	assert_int_equal(store_parts_begin(w->st, NULL, obj("zero"), NULL, id, &err), 0);
	for (unsigned i = 0; i < 128; i++) {
		static struct store_part v[128];

		assert_int_equal(store_part_put(w->st, NULL, obj("zero"), id, i + 1, b, 8 << 20,
					 crc32c_zeros(0, 8 << 20), &v[i], &err),
			0);
		if (i == 127)
			assert_int_equal(store_parts_finish(w->st, NULL, obj("zero"), id, v, 128,
						 NULL, NULL, &err),
				0);
	}
	assert_int_equal(store_parts_begin(w->st, NULL, obj("big"), NULL, id, &err), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(store_part_copy(w->st, NULL, obj("zero"), NULL, 0, part,
					 obj("big"), id, i + 1, &p[i], &err),
			0);
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj("big"), id, p, 10, NULL, &st, &err), 0);
	assert_true(st.size == total && st.crc32c == crc32c_zeros(0, total));
	assert_int_equal(stat(path_of(w, "big"), &sb), 0);
	assert_true(sb.st_size == (off_t)total && sb.st_blocks < 64);
	assert_int_equal(store_copy(w->st, NULL, obj("big"), obj("big2"), NULL, &st, &err), 0);
	assert_int_equal(stat(path_of(w, "big2"), &sb), 0);
	assert_true(sb.st_size == (off_t)total && sb.st_blocks < 64);
	assert_int_equal(
		store_get(w->st, NULL, obj("big2"), NULL, total - 100, b, 4096, &n, &err), 0);
	assert_int_equal(n, 100);
	/* removed, nothing stays but the two directories of checksums */
	assert_int_equal(store_remove(w->st, NULL, obj("zero"), NULL, &err), 0);
	put(w, "big", "x", 1);
	assert_int_equal(store_remove(w->st, NULL, obj("big2"), NULL, &err), 0);
	assert_int_equal(count_files(path_of(w, ".astra")), 0);
	free(b);
}

static void test_no_leftovers(void **state)
{
	struct world *w = *state;
	uint8_t *a = malloc(20 << 20);
	struct store_put cond = {.if_match = "no"};
	char id[STORE_UPLOAD_MAX];
	struct store_part p[5];
	struct err err;

	memset(a, 1, 20 << 20);
	put(w, "x", a, 20 << 20);
	assert_int_equal(store_put(w->st, NULL, obj("x"), a, 20 << 20, &cond, NULL, &err), -ESTALE);
	assert_int_equal(count_files(path_of(w, ".astra")), 1);
	put(w, "x", a, 19 << 20);
	assert_int_equal(count_files(path_of(w, ".astra")), 1);
	assert_int_equal(store_parts_begin(w->st, NULL, obj("x"), NULL, id, &err), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(store_part_put(w->st, NULL, obj("x"), id, i + 1, a, 4 << 20,
					 crc32c(0, a, 4 << 20), &p[i], &err),
			0);
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj("x"), id, p, 5, &cond, NULL, &err), -ESTALE);
	assert_int_equal(store_parts_finish(w->st, NULL, obj("x"), id, p, 5, NULL, NULL, &err), 0);
	assert_int_equal(count_files(path_of(w, ".astra")), 1);
	assert_int_equal(store_remove(w->st, NULL, obj("x"), NULL, &err), 0);
	assert_int_equal(count_files(path_of(w, ".astra")), 0);
	free(a);
}

/* A child writes and dies; what it was told is there, what it was not is old or new and whole. */
static void test_kill(void **state)
{
	struct world *w = *state;
	size_t len = 17 << 20; /* with a sidecar */
	uint8_t *a = malloc(len);
	struct err err;

	for (unsigned round = 0; round < 12; round++) {
		uint64_t seed = hash64(&round, 4, 4711);
		struct world again;
		int fds[2], acked = -1, status;
		struct store_stat st;
		size_t n;
		pid_t pid;

		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (!pid) {
			struct world mine = *w;

			close(fds[0]);
			if (open_world(&mine, NULL, NULL))
				_exit(1);
			for (int i = 0; i < 200; i++) {
				memset(a, i + 1, len);
				if (store_put(mine.st, NULL, obj("k"), a, len, NULL, NULL, NULL) ||
					write(fds[1], &i, sizeof(i)) != sizeof(i))
					_exit(1);
			}
			_exit(0);
		}
		close(fds[1]);
		usleep((useconds_t)(60000 + seed % 150000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		while (read(fds[0], &acked, sizeof(acked)) == sizeof(acked))
			;
		close(fds[0]);
		again = *w;
		assert_int_equal(open_world(&again, NULL, NULL), 0);
		errint_t r = store_head(again.st, NULL, obj("k"), &st, &err);

		if (acked >= 0)
			assert_int_equal(r, 0);
		if (!r) {
			assert_int_equal(
				store_get(again.st, NULL, obj("k"), st.etag, 0, a, len, &n, &err),
				0);
			assert_int_equal(n, len);
			if (acked >= 0)
				assert_true(a[0] == acked + 1 || a[0] == acked + 2);
			assert_memory_equal(a, a + 1, len - 1);
		}
		/* nothing of the dead stays: one sidecar per object, no temporary file */
		assert_int_equal(count_files(path_of(w, ".astra/tmp")), 0);
		assert_int_equal(count_files(path_of(w, ".astra/crc")), r ? 0 : 1);
		if (!r)
			assert_int_equal(store_remove(again.st, NULL, obj("k"), NULL, &err), 0);
		remotes_destroy(again.rm, again.n);
	}
	free(a);
}

/* An upload survives the process; parts that a power cut spoiled are not believed. */
static void test_resume(void **state)
{
	struct world *w = *state;
	size_t len = 1 << 20, n;
	uint8_t *a = malloc(len);
	struct store_part p[3], *have;
	char id[STORE_UPLOAD_MAX], path[512];
	struct err err;
	int fd;

	memset(a, 3, len);
	assert_int_equal(store_parts_begin(w->st, NULL, obj("k"), NULL, id, &err), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(store_part_put(w->st, NULL, obj("k"), id, i + 1, a, len,
					 crc32c(0, a, len), &p[i], &err),
			0);
	remotes_destroy(w->rm, w->n);
	snprintf(path, sizeof(path), ".astra/uploads/%s/data", id);
	fd = open(path_of(w, path), O_RDWR);
	assert_int_equal(pwrite(fd, "XX", 2, (off_t)len + 5), 2);
	close(fd);
	assert_int_equal(open_world(w, NULL, NULL), 0);
	assert_int_equal(
		store_parts_finish(w->st, NULL, obj("k"), id, p, 3, NULL, NULL, &err), -EBADMSG);
	assert_int_equal(store_parts_list(w->st, NULL, obj("k"), id, &have, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(have[1].number, 3);
	free(have);
	assert_int_equal(store_part_put(w->st, NULL, obj("k"), id, 2, a, len, crc32c(0, a, len),
				 &p[1], &err),
		0);
	assert_int_equal(store_parts_finish(w->st, NULL, obj("k"), id, p, 3, NULL, NULL, &err), 0);
	free(a);
}

static void test_processes(void **state)
{
	struct world *w = *state;
	char b[16] = "";
	pid_t pid[2];
	struct err err;
	size_t n;

	put(w, "n", "0", 1);
	for (unsigned k = 0; k < 2; k++) {
		pid[k] = fork();
		if (pid[k])
			continue;

		struct world mine = *w;

		if (open_world(&mine, NULL, NULL))
			_exit(1);
		for (unsigned i = 0; i < 30;) {
			struct store_stat st;
			struct store_put opt = {.if_match = st.etag};
			char t[16] = "";
			errint_t r = store_head(mine.st, NULL, obj("n"), &st, NULL);

			r = r ? r : store_get(mine.st, NULL, obj("n"), st.etag, 0, t, 15, &n, NULL);
			snprintf(t, sizeof(t), "%d", atoi(t) + 1);
			r = r ? r
			      : store_put(mine.st, NULL, obj("n"), t, strlen(t), &opt, NULL, NULL);
			if (r && r != -ESTALE)
				_exit(2);
			i += !r;
		}
		_exit(0);
	}
	for (unsigned k = 0; k < 2; k++) {
		int status;

		waitpid(pid[k], &status, 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(store_get(w->st, NULL, obj("n"), NULL, 0, b, 15, &n, &err), 0);
	assert_string_equal(b, "60");
}

static void test_large_directory(void **state)
{
	struct world *w = *state;
	char key[300], path[512], token[STORE_TOKEN_MAX] = "", last[300] = "";
	struct store_page page;
	struct err err;
	size_t seen = 0;

	/* Names long enough for several windows of local_dir.c. */
	assert_int_equal(mkdir(path_of(w, "d"), 0755), 0);
	for (unsigned i = 0; i < 60000; i++) {
		snprintf(key, sizeof(key), "d/%0190u", i * 7919 % 60000);
		snprintf(path, sizeof(path), "%s", path_of(w, key));
		int fd = open(path, O_WRONLY | O_CREAT, 0644);

		assert_true(fd >= 0);
		close(fd);
	}
	struct timespec pause = {0, 100000000};

	nanosleep(&pause, NULL); /* so that the names can be kept */
	do {
		assert_int_equal(
			store_list(w->st, NULL, "b", "d/", '/', token, 1000, &page, &err), 0);
		for (size_t i = 0; i < page.n; i++) {
			assert_true(strcmp(last, page.e[i].key) < 0);
			snprintf(last, sizeof(last), "%s", page.e[i].key);
		}
		seen += page.n;
		memcpy(token, page.next, sizeof(token));
		store_page_done(&page);
	} while (token[0]);
	assert_int_equal(seen, 60000);
}

static void test_refused(void **state)
{
	struct world *w = *state, other = *w;

	if (access("/sys/fs/cgroup", W_OK) == 0 || access("/proc/self", R_OK) == 0) {
		struct conf *c = conf_new();
		struct err err;
		struct remote *rm;
		size_t n;

		conf_set(c, "remote x", "path", "/proc/self/store");
		assert_true(remotes_build(c, other.dir, &rm, &n, &err) < 0);
		assert_non_null(strstr(err.msg, "remote 'x'"));
		conf_destroy(c);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_native), T(test_foreign), T(test_damage),
		T(test_sparse), T(test_no_leftovers), T(test_kill), T(test_resume),
		T(test_processes), T(test_large_directory), T(test_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
