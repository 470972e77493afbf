/* SPDX-License-Identifier: MIT */
/* Model test, its base: random choice, reports, paths, and the comparison of both sides. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "model_priv.h"

#define TRAIL	  24 /* operations told when one fails */
#define DEPTH_MAX 3

struct options opt = {
	.steps = 10000, .seed = 1, .dirs = 3, .names = 8, .max_size = 200000, .time_slack_s = 10};
int top[2];
uint64_t step, rng;
unsigned char got[2][CHUNK_MAX];
static char trail[TRAIL][256];

/* ---- random choice and reporting ---- */

uint64_t rnd(void) /* splitmix64 */
{
	uint64_t z = (rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t below(uint64_t n)
{
	return n ? rnd() % n : 0;
}

bool chance(unsigned percent)
{
	return below(100) < percent;
}

void note(const char *fmt, ...)
{
	char *line = trail[step % TRAIL];
	va_list ap;
	int n = snprintf(line, sizeof trail[0], "%llu: ", (unsigned long long)step);

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof trail[0] - (size_t)n, fmt, ap);
	va_end(ap);
	if (opt.verbose)
		fprintf(stderr, "%s\n", line);
}

double slowest_s;
char slowest_what[256];

double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void step_took(double s)
{
	if (s <= slowest_s)
		return;
	slowest_s = s;
	(void)snprintf(slowest_what, sizeof(slowest_what), "%s", trail[step % TRAIL]);
}

void fail(const char *fmt, ...)
{
	va_list ap;
	uint64_t first = step >= TRAIL ? step - TRAIL + 1 : 0;

	fprintf(stderr, "the last steps were:\n");
	for (uint64_t i = first; i <= step; i++)
		fprintf(stderr, "  %s\n", trail[i % TRAIL]);
	fprintf(stderr, "the slowest step took %.1f s: %s\n", slowest_s, slowest_what);
	fprintf(stderr, "FAILED at step %llu of seed %llu: ", (unsigned long long)step,
		(unsigned long long)opt.seed);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nrepeat with empty directories:");
	for (int i = 0; i < opt.argc; i++)
		fprintf(stderr, " %s", opt.argv[i]);
	fprintf(stderr, " --seed %llu --steps %llu --verbose\n", (unsigned long long)opt.seed,
		(unsigned long long)step + 1);
	exit(1);
}

long ret(long r)
{
	return r < 0 ? -errno : r;
}

static const char *say(long r)
{
	return r < 0 ? strerrorname_np((int)-r) : "ok";
}

void same(long a, long b)
{
	if (a != b)
		fail("A: %ld (%s), B: %ld (%s)", a, say(a), b, say(b));
}

/* ---- paths ---- */

static const char *const odd_names[] = {
	"with space",
	"\xc3\xa4\xc3\xb6\xc3\xbc \xe2\x82\xac",
	".hidden",
	"a%41b",
	"save.tmp",
	"tail~",
	"\xff\xfe not utf8",
	"-dash",
	"back\\slash",
	"quote'\"$(x)",
	"line\nfeed",
	"long-01234567890123456789012345678901234567890123456789012345678901234567890123456789-end",
};
#define ODD (sizeof odd_names / sizeof odd_names[0])

void name_add(char *path, bool leaf)
{
	size_t n = strlen(path);
	unsigned i;

	if (n)
		path[n++] = '/';
	if (!leaf || chance(8)) {
		snprintf(path + n, PATH_BYTES - n, "d%u", (unsigned)below(opt.dirs));
		return;
	}
	i = (unsigned)below(opt.names);
	if (i % 4 == 3)
		snprintf(path + n, PATH_BYTES - n, "%s", odd_names[i / 4 % ODD]);
	else
		snprintf(path + n, PATH_BYTES - n, "n%u", i);
}

unsigned depth_of(const char *path)
{
	unsigned n = 0;

	for (; *path; path++)
		n += *path == '/';
	return n;
}

void path_pick_as(char path[PATH_BYTES], bool leaf)
{
	for (int tries = 0; tries < 3; tries++) {
		unsigned depth = (unsigned)below(DEPTH_MAX + 1);
		struct stat st;

		path[0] = '\0';
		if (opt.nroots)
			strcpy(path, opt.roots[below(opt.nroots)]);
		for (unsigned i = 0; i < depth; i++)
			name_add(path, false);
		if (!path[0] || fstatat(top[B], path, &st, 0) == 0)
			break;
	}
	name_add(path, leaf);
}

void path_pick(char path[PATH_BYTES])
{
	path_pick_as(path, true);
}

void dir_pick(char path[PATH_BYTES])
{
	char *slash;

	path_pick(path);
	slash = strrchr(path, '/');
	if (slash && chance(80))
		*slash = '\0';
	else if (!slash)
		strcpy(path, ".");
}

/* ---- comparing ---- */

void same_stat(const struct stat *a, const struct stat *b, const char *what)
{
	int64_t dt = (int64_t)a->st_mtim.tv_sec - b->st_mtim.tv_sec;
	int64_t slack = opt.time_slack_s + (int64_t)slowest_s; /* B is changed after A */

	if (a->st_mode != b->st_mode)
		fail("%s: mode A %o, B %o", what, a->st_mode, b->st_mode);
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		fail("%s: owner A %u:%u, B %u:%u", what, a->st_uid, a->st_gid, b->st_uid,
			b->st_gid);
	if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
		fail("%s: size A %lld, B %lld", what, (long long)a->st_size, (long long)b->st_size);
	if (!S_ISDIR(a->st_mode) && a->st_nlink != b->st_nlink)
		fail("%s: links A %lu, B %lu", what, (unsigned long)a->st_nlink,
			(unsigned long)b->st_nlink);
	if (opt.time_slack_s && (dt > slack || dt < -slack))
		fail("%s: mtime A %lld, B %lld", what, (long long)a->st_mtim.tv_sec,
			(long long)b->st_mtim.tv_sec);
}

void same_bytes(size_t n, uint64_t off, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (got[A][i] != got[B][i])
			fail("%s: byte %llu is %02x on A, %02x on B", what,
				(unsigned long long)(off + i), got[A][i], got[B][i]);
}

void same_content(int a, int b, const char *what)
{
	for (uint64_t off = 0;; off += CHUNK_MAX) {
		long n = ret(pread(a, got[A], CHUNK_MAX, (off_t)off));

		same(n, ret(pread(b, got[B], CHUNK_MAX, (off_t)off)));
		if (n > 0 && memcmp(got[A], got[B], (size_t)n))
			same_bytes((size_t)n, off, what);
		if (n < CHUNK_MAX)
			return;
	}
}

static int str_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_add(struct list *l, const char *s)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 16;
		l->s = realloc(l->s, l->room * sizeof *l->s);
		if (!l->s)
			abort();
	}
	l->s[l->n] = strdup(s);
	if (!l->s[l->n++])
		abort();
}

void list_done(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->s[i]);
	free(l->s);
	*l = (struct list){0};
}

void list_same(struct list *l, const char *what)
{
	for (int s = A; s <= B; s++)
		if (l[s].n)
			qsort(l[s].s, l[s].n, sizeof *l[s].s, str_cmp);
	for (size_t i = 0; i < l[A].n || i < l[B].n; i++) {
		const char *a = i < l[A].n ? l[A].s[i] : NULL, *b = i < l[B].n ? l[B].s[i] : NULL;

		if (!a || (b && strcmp(a, b) > 0))
			fail("%s: %s is missing on A", what, b);
		if (!b || strcmp(a, b))
			fail("%s: %s is on A only", what, a);
	}
	list_done(&l[A]);
	list_done(&l[B]);
}

long dir_read(int s, const char *path, struct list *l, unsigned hop)
{
	int fd = openat(top[s], path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	char line[300];

	if (!d)
		return -errno;
	for (unsigned i = 0; (e = readdir(d)); i++) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
			snprintf(line, sizeof line, "%s %u", e->d_name, e->d_type);
			list_add(l, line);
		}
		if (hop && i == hop) {
			long pos = telldir(d);

			rewinddir(d);
			readdir(d);
			seekdir(d, pos);
		}
	}
	closedir(d);
	return 0;
}

static long xattr_names(int s, const char *path, struct list *l)
{
	char full[PATH_BYTES * 2], names[8192];
	ssize_t n;

	snprintf(full, sizeof full, "%s/%s", opt.dir[s], path);
	n = llistxattr(full, names, sizeof names);
	for (const char *p = names; p < names + (n < 0 ? 0 : n); p += strlen(p) + 1)
		if (!strncmp(p, "user.", 5) && strncmp(p, "user.astra.", 11))
			list_add(l, p);
	return ret(n < 0 ? n : 0);
}

void same_xattrs(const char *path)
{
	struct list l[2] = {{0}};
	char full[PATH_BYTES * 2];
	long r[2], n[2];

	for (int s = A; s <= B; s++)
		r[s] = xattr_names(s, path, &l[s]);
	same(r[A], r[B]);
	for (size_t i = 0; i < l[B].n; i++) {
		for (int s = A; s <= B; s++) {
			snprintf(full, sizeof full, "%s/%s", opt.dir[s], path);
			n[s] = ret(lgetxattr(full, l[B].s[i], got[s], XATTR_MAX));
		}
		same(n[A], n[B]);
		if (n[B] > 0)
			same_bytes((size_t)n[B], 0, "xattr");
	}
	list_same(l, path);
}

void same_tree(const char *path, unsigned level)
{
	struct list l[2] = {{0}}, all = {0};
	char sub[PATH_BYTES];
	struct stat st[2];

	for (int s = A; s <= B; s++) {
		same(dir_read(s, path, &l[s], 0), 0);
		for (size_t i = 0; s == B && i < l[s].n; i++)
			list_add(&all, l[s].s[i]);
	}
	if (level || !opt.nroots)
		list_same(l, path);
	list_done(&l[A]);
	list_done(&l[B]);
	for (size_t i = 0; i < all.n; i++) {
		*strrchr(all.s[i], ' ') = '\0';
		snprintf(sub, sizeof sub, "%s/%s", path, all.s[i]);
		for (int s = A; s <= B; s++)
			if (fstatat(top[s], sub, &st[s], AT_SYMLINK_NOFOLLOW) < 0)
				fail("%s: no stat on %c: %m", sub, "AB"[s]);
		if (level || !opt.nroots) {
			same_stat(&st[A], &st[B], sub);
			same_xattrs(sub);
		}
		if (S_ISDIR(st[B].st_mode)) {
			same_tree(sub, level + 1);
		} else if (S_ISREG(st[B].st_mode)) {
			int a = openat(top[A], sub, O_RDONLY), b = openat(top[B], sub, O_RDONLY);

			if (a < 0 || b < 0)
				fail("%s: cannot open on %c: %m", sub, a < 0 ? 'A' : 'B');
			same_content(a, b, sub);
			close(a);
			close(b);
		}
	}
	list_done(&all);
}
