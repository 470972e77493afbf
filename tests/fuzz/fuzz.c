/* SPDX-License-Identifier: MIT */
/* Help for the fuzz targets. */
#include "fuzz.h"

#include <ftw.h>
#include <sys/mman.h>
#include <unistd.h>

#include "astra/base_log.h"

static char dir[128];
static pid_t owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

void fuzz_remove(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void dir_remove(void)
{
	if (getpid() == owner)
		fuzz_remove(dir);
}

const char *fuzz_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (!*dir) {
		(void)snprintf(dir, sizeof(dir), "%.90s/astra-fuzz-XXXXXX", tmp ? tmp : "/tmp");
		CHECK(mkdtemp(dir));
		owner = getpid();
		CHECK(atexit(dir_remove) == 0);
	}
	return dir;
}

const char *fuzz_file(const void *p, size_t n)
{
	static int fd = -1;
	static char path[32];

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, p, n, 0) == (ssize_t)n);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

char *fuzz_text(const uint8_t *p, size_t n)
{
	char *s = malloc(n + 1);

	CHECK(s);
	if (n)
		memcpy(s, p, n);
	s[n] = '\0';
	return s;
}

void fuzz_take(const uint8_t **p, size_t *n, void *ret, size_t want)
{
	size_t k = want < *n ? want : *n;

	memset(ret, 0, want);
	if (k)
		memcpy(ret, *p, k);
	*p += k;
	*n -= k;
}

void fuzz_quiet(void)
{
	static bool done;

	if (!done)
		CHECK(log_open(LOG_LVL_ERROR, "/dev/null", NULL) == 0);
	done = true;
}
