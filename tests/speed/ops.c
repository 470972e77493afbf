/* SPDX-License-Identifier: MIT */
/*
 * What tests/bench times: one simple loop of system calls, in C so that the caller is not the
 * bottleneck. Prints "NANOSECONDS COUNT BYTES" of the loop alone; any failure ends it.
 *
 *	ops create DIR N SIZE     N new files f0... of SIZE bytes: open, write, close
 *	ops create-sync ...       the same with fsync before close
 *	ops stat DIR N            lstat of each name
 *	ops list DIR              readdir, names only           ops list-l DIR   and lstat of each
 *	ops read DIR N            open, read to the end, close
 *	ops write DIR N SIZE      open, write SIZE other bytes from 0 on, close
 *	ops delete DIR N          unlink each
 *	ops seq-write FILE BYTES  in blocks of 1 MiB, then close
 *	ops seq-read FILE BYTES   in blocks of 1 MiB; less than BYTES is a failure
 *	ops rename OLD NEW        one rename(2)
 *	ops fill DIR DIRS N       DIRS directories with N empty files each
 *	ops forget PATH           the page cache drops the file, or all files of a directory
 */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1u << 20)

static uint8_t block[BLOCK];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Bytes that are not zeros, nor the same from block to block. */
static void scramble(uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < sizeof(block); i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(block + i, &x, sizeof(x));
	}
}

static void vary(uint64_t n)
{
	for (size_t i = 0; i < sizeof(block); i += 4096)
		memcpy(block + i, &n, sizeof(n));
}

static int open_ok(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "open %s", name);
	return fd;
}

static void write_all(int fd, size_t len, const char *name)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, block + done, len - done);

		if (n <= 0)
			err(1, "write %s", name);
		done += (size_t)n;
	}
}

static uint64_t read_all(int fd, const char *name)
{
	uint64_t sum = 0;
	ssize_t n;

	while ((n = read(fd, block, BLOCK)) > 0)
		sum += (uint64_t)n;
	if (n < 0)
		err(1, "read %s", name);
	return sum;
}

static void close_ok(int fd, const char *name)
{
	if (close(fd))
		err(1, "close %s", name);
}

/* ---- many small files ---- */

enum what { CREATE, STAT, READ, WRITE, DELETE, CREATE_SYNC };

static uint64_t one_file(enum what what, int dir, uint64_t i, size_t size)
{
	uint64_t bytes = size;
	struct stat st;
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "f%" PRIu64, i);
	switch (what) {
	case STAT:
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
			err(1, "stat %s", name);
		return 0;
	case DELETE:
		if (unlinkat(dir, name, 0))
			err(1, "unlink %s", name);
		return 0;
	case READ:
		fd = open_ok(dir, name, O_RDONLY);
		bytes = read_all(fd, name);
		break;
	default:
		fd = open_ok(dir, name, what == WRITE ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL);
		memcpy(block, &i, sizeof(i));
		write_all(fd, size, name);
		if (what == CREATE_SYNC && fsync(fd))
			err(1, "fsync %s", name);
	}
	close_ok(fd, name);
	return bytes;
}

static void files(enum what what, const char *path, uint64_t n, size_t size, uint64_t *ret_bytes)
{
	int dir = open_ok(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);

	if (size > BLOCK)
		errx(2, "small files have at most %u bytes", BLOCK);
	for (uint64_t i = 0; i < n; i++)
		*ret_bytes += one_file(what, dir, i, size);
	close(dir);
}

static uint64_t list(const char *path, bool with_stat)
{
	DIR *d = opendir(path);
	struct dirent *de;
	struct stat st;
	uint64_t n = 0;

	if (!d)
		err(1, "opendir %s", path);
	while ((de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		n++;
		if (with_stat && fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW))
			err(1, "stat %s", de->d_name);
	}
	closedir(d);
	return n;
}

/* ---- one large file ---- */

static void seq_write(const char *path, uint64_t bytes)
{
	int fd = open_ok(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC);

	for (uint64_t off = 0; off < bytes; off += BLOCK) {
		vary(off);
		write_all(fd, bytes - off < BLOCK ? (size_t)(bytes - off) : BLOCK, path);
	}
	close_ok(fd, path);
}

static void seq_read(const char *path, uint64_t bytes)
{
	int fd = open_ok(AT_FDCWD, path, O_RDONLY);
	uint64_t got = read_all(fd, path);

	if (got != bytes)
		errx(1, "%s has %" PRIu64 " bytes, not %" PRIu64, path, got, bytes);
	close_ok(fd, path);
}

/* ---- before and between ---- */

static void fill(const char *path, uint64_t dirs, uint64_t n)
{
	int top = open_ok(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);

	for (uint64_t d = 0; d < dirs; d++) {
		char name[32];
		int dir;

		snprintf(name, sizeof(name), "d%04" PRIu64, d);
		if (mkdirat(top, name, 0755))
			err(1, "mkdir %s", name);
		dir = open_ok(top, name, O_RDONLY | O_DIRECTORY);
		for (uint64_t i = 0; i < n; i++) {
			snprintf(name, sizeof(name), "f%06" PRIu64, i);
			if (mknodat(dir, name, S_IFREG | 0644, 0))
				err(1, "mknod %s", name);
		}
		close(dir);
	}
	close(top);
}

static void forget_file(int dir, const char *name)
{
	int fd = open_ok(dir, name, O_RDONLY | O_NOFOLLOW);

	(void)fdatasync(fd); /* dirty pages would stay */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static void forget(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;

	if (!d) {
		forget_file(AT_FDCWD, path);
		return;
	}
	while ((de = readdir(d))) {
		if (de->d_type == DT_REG)
			forget_file(dirfd(d), de->d_name);
	}
	closedir(d);
}

static uint64_t number(const char *s)
{
	char *end;
	uint64_t n = strtoull(s, &end, 10);

	if (!*s || *end)
		errx(2, "'%s' is not a number", s);
	return n;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
	} verbs[] = {{"create", 3}, {"stat", 2}, {"read", 2}, {"write", 3}, {"delete", 2},
		{"list", 1}, {"list-l", 1}, {"seq-write", 2}, {"seq-read", 2}, {"rename", 2},
		{"fill", 3}, {"forget", 1}, {"create-sync", 3}};
	const enum what whats[] = {CREATE, STAT, READ, WRITE, DELETE};
	uint64_t t, count = 1, bytes = 0, a, b;
	size_t v;

	for (v = 0; v < sizeof(verbs) / sizeof(*verbs); v++) {
		if (argc > 1 && !strcmp(argv[1], verbs[v].name) && argc == verbs[v].args + 2)
			break;
	}
	if (v == sizeof(verbs) / sizeof(*verbs))
		errx(2, "wrong words; see the head of tests/speed/ops.c");
	a = argc > 3 && v != 9 ? number(argv[3]) : 0;
	b = argc > 4 ? number(argv[4]) : 0;
	scramble(now_ns());
	t = now_ns();
	if (v < 5) {
		files(whats[v], argv[2], a, b, &bytes);
		count = a;
	} else if (v == 5 || v == 6) {
		count = list(argv[2], v == 6);
	} else if (v == 7) {
		seq_write(argv[2], a);
		bytes = a;
	} else if (v == 8) {
		seq_read(argv[2], a);
		bytes = a;
	} else if (v == 9) {
		if (rename(argv[2], argv[3]))
			err(1, "rename %s", argv[2]);
	} else if (v == 10) {
		fill(argv[2], a, b);
		count = a * b;
	} else if (v == 11) {
		forget(argv[2]);
	} else {
		files(CREATE_SYNC, argv[2], a, b, &bytes);
		count = a;
	}
	t = now_ns() - t;
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", t, count, bytes);
	return 0;
}
