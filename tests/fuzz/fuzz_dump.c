/* SPDX-License-Identifier: MIT */
/* `astra db load`: what is taken is dumped and loaded again as the same, and can be checked. */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "astra/meta.h"

/* The open files are all that is needed of an index. */
static struct meta *open_new(void)
{
	struct meta_conf conf = {
		.map_size = 1 << 26, .boot_id = "fuzz", .sync_interval_ms = 1000000};
	struct meta *m = NULL;
	struct err err = {0};
	char dir[256];
	bool cut;

	(void)snprintf(dir, sizeof(dir), "%s/index", fuzz_dir());
	CHECK(mkdir(dir, 0700) == 0);
	conf.dir = dir;
	CHECK(!meta_open(&conf, &m, &cut, &err));
	fuzz_remove(dir);
	return m;
}

static void report(void *arg, const char *line)
{
	(void)arg, (void)line;
}

static char *dump(struct meta *m, size_t *ret_len)
{
	int fd = memfd_create("dump", MFD_CLOEXEC);
	struct err err = {0};
	off_t len;
	char *p;

	CHECK(fd >= 0 && !meta_dump(m, fd, &err));
	len = lseek(fd, 0, SEEK_END);
	p = malloc((size_t)len + 1);
	CHECK(p && pread(fd, p, (size_t)len, 0) == len);
	(void)close(fd);
	*ret_len = (size_t)len;
	return p;
}

static errint_t load(struct meta *m, const void *p, size_t n)
{
	int fd = open(fuzz_file(p, n), O_RDONLY | O_CLOEXEC);
	struct err err = {0};
	errint_t r;

	CHECK(fd >= 0);
	r = meta_load(m, fd, &err);
	CHECK(!r || *err.msg);
	(void)close(fd);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct meta *a = open_new(), *b;
	char *first, *second;
	size_t len, len2;

	if (!load(a, p, n)) {
		(void)meta_check(a, report, NULL);
		first = dump(a, &len);
		b = open_new();
		CHECK(!load(b, first, len));
		second = dump(b, &len2);
		CHECK(len == len2 && !memcmp(first, second, len));
		meta_close(b);
		free(first);
		free(second);
	}
	meta_close(a);
	return 0;
}
