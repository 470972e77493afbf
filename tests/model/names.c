/* SPDX-License-Identifier: MIT */
/*
 * Names test: creates, rewrites, unlinks, renames and swaps over four names (in one or more
 * clouds) without waiting for the jobs they post, so that jobs on one key pile up and overtake
 * each other if they can. The caller makes jobs slow (fault layer, upload_delay). After each
 * round the --settle command waits until everything is true in the stores, and then both the
 * mount and the stores' own directories must hold exactly the model: for each name its bytes, and
 * nothing else.
 *
 * With --archive the files go to ARCHIVE and back at random; what then needs their bytes may fail
 * with EIO, and changes nothing. Before the stores are compared all are brought back to HOT.
 *
 * A store's directory is DATA/ROOT/astra-ROOT, or what --native says with %s for the root.
 * Entries that --ignore matches (fnmatch, default ".astra*") are the driver's own. One thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define NAMES	   4
#define ROOTS_MAX  4
#define PATH_BYTES 4096
#define BODY_MAX   (256 * 1024)
#define TRAIL	   64

static struct {
	uint64_t seed, rounds;
	unsigned ops, pause_ms;
	const char *mnt, *data, *settle, *native, *ignore;
	char *roots[ROOTS_MAX];
	size_t nroots;
	bool archive, verbose;
} opt = {.seed = 1, .rounds = 10, .ops = 24, .pause_ms = 15, .ignore = ".astra*"};

static struct file {
	bool exists;
	uint64_t version; /* the seed of its bytes */
	size_t size;
} model[ROOTS_MAX][NAMES];

static const char *const names[NAMES] = {"log", "log.1", "log.2", "b c"};
static uint64_t rng, versions, step;
static char trail[TRAIL][128];
static unsigned char body[BODY_MAX], got[BODY_MAX + 1];

static uint64_t rnd(void) /* splitmix64 */
{
	uint64_t z = (rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
	return n ? rnd() % n : 0;
}

static void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
	char *line = trail[step++ % TRAIL];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof trail[0], fmt, ap);
	va_end(ap);
	if (opt.verbose)
		fprintf(stderr, "%s\n", line);
}

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "the last steps were:\n");
	for (uint64_t i = step > TRAIL ? step - TRAIL : 0; i < step; i++)
		fprintf(stderr, "  %s\n", trail[i % TRAIL]);
	fprintf(stderr, "FAILED with seed %llu: ", (unsigned long long)opt.seed);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

/* ---- the operations ---- */

static void path_of(char p[PATH_BYTES], size_t root, size_t name)
{
	snprintf(p, PATH_BYTES, "%s/%s/%s", opt.mnt, opt.roots[root], names[name]);
}

/* The bytes of a version, the same wherever it goes. */
static void body_make(uint64_t version, size_t size)
{
	uint64_t kept = rng;

	rng = version * UINT64_C(0x2545f4914f6cdd1d);
	for (size_t i = 0; i < size; i += 8) {
		uint64_t v = rnd();

		memcpy(body + i, &v, size - i < 8 ? size - i : 8);
	}
	rng = kept;
}

static void write_out(const char *path, int flags, const unsigned char *p, size_t size)
{
	int fd = open(path, O_WRONLY | flags, 0644);

	if (fd < 0)
		fail("open %s: %s", path, strerror(errno));
	while (size) {
		ssize_t n = write(fd, p, size);

		if (n <= 0)
			fail("write %s: %s", path, strerror(errno));
		p += n;
		size -= (size_t)n;
	}
	if (close(fd) < 0)
		fail("close %s: %s", path, strerror(errno));
}

static void op_write(size_t r, size_t i)
{
	struct file *f = &model[r][i];
	char p[PATH_BYTES];

	path_of(p, r, i);
	*f = (struct file){true, ++versions, below(10) ? below(9000) : below(BODY_MAX)};
	note("write %s/%s version %llu, %zu bytes", opt.roots[r], names[i],
		(unsigned long long)f->version, f->size);
	body_make(f->version, f->size);
	write_out(p, O_CREAT | O_TRUNC, body, f->size);
}

static void op_unlink(size_t r, size_t i)
{
	char p[PATH_BYTES];

	path_of(p, r, i);
	note("unlink %s/%s", opt.roots[r], names[i]);
	if ((unlink(p) < 0 ? errno : 0) != (model[r][i].exists ? 0 : ENOENT))
		fail("unlink %s, which %s", p, model[r][i].exists ? "exists" : "does not exist");
	model[r][i].exists = false;
}

static void op_rename(size_t r, size_t i, size_t r2, size_t i2, unsigned flags)
{
	struct file *f = &model[r][i], *g = &model[r2][i2], was = *g;
	char p[PATH_BYTES], q[PATH_BYTES];
	int want = 0, got_errno;

	path_of(p, r, i);
	path_of(q, r2, i2);
	note("rename%s %s/%s -> %s/%s", flags == RENAME_EXCHANGE ? " exchange" : "", opt.roots[r],
		names[i], opt.roots[r2], names[i2]);
	if (!f->exists || (flags == RENAME_EXCHANGE && !g->exists))
		want = ENOENT;
	got_errno = renameat2(AT_FDCWD, p, AT_FDCWD, q, flags) < 0 ? errno : 0;
	if (opt.archive && got_errno == EIO && (r != r2 || flags == RENAME_EXCHANGE))
		return; /* one of them is archived */
	if (got_errno != want)
		fail("rename %s to %s: %s, expected %s", p, q, strerror(got_errno), strerror(want));
	if (want || f == g)
		return;
	*g = *f;
	if (flags == RENAME_EXCHANGE)
		*f = was;
	else
		f->exists = false;
}

/* As cp: by the file system where it can, else by hand. */
static void op_copy(size_t r, size_t i, size_t r2, size_t i2)
{
	struct file *f = &model[r][i], *g = &model[r2][i2];
	char p[PATH_BYTES], q[PATH_BYTES];
	int in, out;
	size_t done = 0;
	ssize_t n;

	if (!f->exists || f == g)
		return;
	path_of(p, r, i);
	path_of(q, r2, i2);
	note("copy %s/%s -> %s/%s", opt.roots[r], names[i], opt.roots[r2], names[i2]);
	in = open(p, O_RDONLY);
	if (in < 0 && opt.archive && errno == EIO)
		return;
	*g = *f;
	out = open(q, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (in < 0 || out < 0)
		fail("copy %s to %s: %s", p, q, strerror(errno));
	while ((n = copy_file_range(in, NULL, out, NULL, 1 << 30, 0)) > 0)
		done += (size_t)n;
	if (n < 0 &&
		(done || (errno != EOPNOTSUPP && errno != EXDEV && !(opt.archive && errno == EIO))))
		fail("copy_file_range %s to %s: %s", p, q, strerror(errno));
	if (n == 0 && done != f->size)
		fail("copy_file_range %s to %s: %zu of %zu bytes", p, q, done, f->size);
	if (close(in) < 0 || close(out) < 0)
		fail("close %s or %s: %s", p, q, strerror(errno));
	if (n < 0) {
		body_make(f->version, f->size);
		write_out(q, 0, body, f->size);
	}
}

static void tier_set(size_t r, size_t i, const char *tier)
{
	char p[PATH_BYTES];

	path_of(p, r, i);
	note("tier %s/%s %s", opt.roots[r], names[i], tier);
	if (setxattr(p, "user.astra.tier", tier, strlen(tier), 0) < 0)
		fail("tier %s of %s: %s", tier, p, strerror(errno));
}

static void op_tier(size_t r, size_t i)
{
	if (model[r][i].exists)
		tier_set(r, i, below(4) ? "ARCHIVE" : "HOT");
}

static void one_op(void)
{
	size_t r = below(opt.nroots), r2 = below(3) ? r : below(opt.nroots);
	size_t i = below(NAMES), i2 = below(NAMES);

	if (opt.archive && below(4) == 0) {
		op_tier(r, i);
		return;
	}
	switch (below(12)) {
	case 10:
	case 11:
		op_copy(r, i, r2, i2);
		break;
	case 0 ... 2:
		op_write(r, i);
		break;
	case 3:
		op_unlink(r, i);
		break;
	case 4: /* logrotate */
		if (model[r][1].exists)
			op_rename(r, 1, r, 2, 0);
		if (model[r][0].exists)
			op_rename(r, 0, r, 1, 0);
		op_write(r, 0);
		break;
	case 5: /* unlink and create at once */
		op_unlink(r, i);
		op_write(r, i);
		break;
	case 6:
	case 7:
		op_rename(r, i, r2, i2, RENAME_EXCHANGE);
		break;
	default:
		op_rename(r, i, r2, i2, 0);
	}
	if (below(3) == 0 && opt.pause_ms) {
		uint64_t ms = below(opt.pause_ms) + 1;

		nanosleep(&(struct timespec){0, (long)ms * 1000000}, NULL);
	}
}

/* ---- the comparison ---- */

static void same_body(const char *path, const struct file *f, const char *where, bool settled)
{
	int fd = open(path, O_RDONLY);
	size_t n = 0;
	ssize_t k;

	if (fd < 0 && opt.archive && !settled && errno == EIO)
		return;
	if (fd < 0)
		fail("%s: cannot open %s: %s", where, path, strerror(errno));
	while (n < sizeof got && (k = read(fd, got + n, sizeof got - n)) != 0) {
		if (k < 0)
			fail("%s: cannot read %s: %s", where, path, strerror(errno));
		n += (size_t)k;
	}
	close(fd);
	body_make(f->version, f->size);
	if (n != f->size)
		fail("%s: %s has %zu bytes, expected %zu of version %llu", where, path, n, f->size,
			(unsigned long long)f->version);
	if (memcmp(got, body, n))
		fail("%s: %s has other bytes than version %llu", where, path,
			(unsigned long long)f->version);
}

/* dir must hold the existing names of root r and nothing else. */
static void same_dir(const char *dir, size_t r, bool native, bool settled)
{
	const char *where = native ? "store" : "mount";
	bool seen[NAMES] = {false};
	char p[PATH_BYTES * 2];
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		fail("%s: cannot list %s: %s", where, dir, strerror(errno));
	while ((e = readdir(d))) {
		size_t i = 0;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (native && fnmatch(opt.ignore, e->d_name, 0) == 0)
			continue;
		while (i < NAMES && strcmp(e->d_name, names[i]))
			i++;
		if (i == NAMES || !model[r][i].exists)
			fail("%s: %s/%s should not be there", where, dir, e->d_name);
		seen[i] = true;
		snprintf(p, sizeof p, "%s/%s", dir, e->d_name);
		same_body(p, &model[r][i], where, settled);
	}
	closedir(d);
	for (size_t i = 0; i < NAMES; i++)
		if (model[r][i].exists && !seen[i])
			fail("%s: %s/%s (version %llu) is missing", where, dir, names[i],
				(unsigned long long)model[r][i].version);
}

static void compare(bool settled)
{
	char p[PATH_BYTES], sub[PATH_BYTES];

	for (size_t r = 0; r < opt.nroots; r++) {
		snprintf(p, sizeof p, "%s/%s", opt.mnt, opt.roots[r]);
		same_dir(p, r, false, settled);
		if (!settled || !opt.data)
			continue;
		if (opt.native)
			snprintf(sub, sizeof sub, opt.native, opt.roots[r]);
		else
			snprintf(sub, sizeof sub, "%s/astra-%s", opt.roots[r], opt.roots[r]);
		if (snprintf(p, sizeof p, "%s/%s", opt.data, sub) < (int)sizeof p)
			same_dir(p, r, true, true);
	}
}

/* Nothing is archived, or on its way there, or has to be. */
static bool all_hot(void)
{
	char p[PATH_BYTES], tier[32];
	bool hot = true;

	for (size_t r = 0; r < opt.nroots; r++)
		for (size_t i = 0; i < NAMES; i++) {
			ssize_t n;

			if (!model[r][i].exists)
				continue;
			path_of(p, r, i);
			n = getxattr(p, "user.astra.tier", tier, sizeof tier - 1);
			if (n < 0)
				fail("tier of %s: %s", p, strerror(errno));
			tier[n] = '\0';
			if (strcmp(tier, "HOT"))
				hot = false;
			tier_set(r, i, "HOT");
		}
	return hot;
}

static void settle(uint64_t round)
{
	for (unsigned tries = 0;; tries++) {
		bool hot = !opt.archive || all_hot();

		if (system(opt.settle) != 0)
			fail("round %llu: '%s' failed", (unsigned long long)round, opt.settle);
		if (hot)
			return;
		if (tries == 20)
			fail("round %llu: files are still archived", (unsigned long long)round);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: names --mount MNT --data DIR --settle COMMAND [--roots aws,gcp]\n"
			"  [--seed S] [--rounds N] [--ops N] [--pause MS] [--native FORMAT]\n"
			"  [--ignore PATTERN] [--archive] [--verbose]\n");
	exit(2);
}

static void args_read(int argc, char **argv)
{
	static const struct option longs[] = {{"mount", 1, NULL, 'm'}, {"data", 1, NULL, 'd'},
		{"settle", 1, NULL, 'c'}, {"roots", 1, NULL, 'r'}, {"seed", 1, NULL, 's'},
		{"rounds", 1, NULL, 'n'}, {"ops", 1, NULL, 'o'}, {"pause", 1, NULL, 'p'},
		{"native", 1, NULL, 'N'}, {"ignore", 1, NULL, 'i'}, {"archive", 0, NULL, 'a'},
		{"verbose", 0, NULL, 'v'}, {0}};
	char *roots = NULL, *t;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		const char **text = c == 'm'   ? &opt.mnt
				    : c == 'd' ? &opt.data
				    : c == 'c' ? &opt.settle
				    : c == 'N' ? &opt.native
				    : c == 'i' ? &opt.ignore
					       : NULL;
		uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (text)
			*text = optarg;
		else if (c == 'r')
			roots = optarg;
		else if (c == 's')
			opt.seed = v;
		else if (c == 'n')
			opt.rounds = v;
		else if (c == 'o')
			opt.ops = (unsigned)v;
		else if (c == 'p')
			opt.pause_ms = (unsigned)v;
		else if (c == 'a')
			opt.archive = true;
		else if (c == 'v')
			opt.verbose = true;
		else
			usage();
	}
	if (!opt.mnt || !opt.settle)
		usage();
	if (!roots)
		roots = strdup("aws,gcp");
	while (roots && (t = strsep(&roots, ",")))
		if (opt.nroots < ROOTS_MAX)
			opt.roots[opt.nroots++] = t;
}

int main(int argc, char **argv)
{
	args_read(argc, argv);
	rng = opt.seed;
	versions = opt.seed << 20;
	note("at the start all must be empty");
	compare(true);
	for (uint64_t round = 0; round < opt.rounds; round++) {
		note("round %llu", (unsigned long long)round);
		for (unsigned i = (unsigned)below(opt.ops) + 1; i > 0; i--)
			one_op();
		compare(false);
		settle(round);
		compare(true);
	}
	printf("names: seed %llu, %llu rounds, stores and mount as expected\n",
		(unsigned long long)opt.seed, (unsigned long long)opt.rounds);
	return 0;
}
