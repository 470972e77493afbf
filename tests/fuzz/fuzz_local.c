/* SPDX-License-Identifier: MIT */
/*
 * What the local driver reads from its disk: records (pure, and as the attribute of a file) and
 * checksum sidecars. Whatever they say, a get answers the object's bytes or an error.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "astra/base_hash.h"
#include "store/local_priv.h"

#define SMALL 1000u
#define LARGE ((LOCAL_SUMS_INLINE + 8) * LOCAL_CHUNK)

static struct store *st;
static char small_path[300], side_path[400];
static uint8_t *large, *side, record[LOCAL_REC_MAX];
static size_t side_len, record_len;

static void put_large(void)
{
	struct store_obj o = {"b", "large"};
	struct store_stat stat = {0};
	struct err err = {0};

	large = calloc(1, LARGE);
	CHECK(large);
	for (size_t i = 0; i < LARGE; i += 50000)
		large[i] = (uint8_t)(i >> 3);
	CHECK(!store_put(st, NULL, o, large, LARGE, NULL, &stat, &err));
	(void)snprintf(side_path, sizeof(side_path), "%s/root/b/.astra/crc/%.2s/%s", fuzz_dir(),
		stat.etag, stat.etag);
	store_stat_done(&stat);
}

static void start(void)
{
	struct store_local_conf lc = {.verify = true};
	struct store_obj o = {"b", "small"};
	struct err err = {0};
	char root[200];
	ssize_t n;
	int fd;

	(void)snprintf(root, sizeof(root), "%s/root", fuzz_dir());
	lc.root = root;
	for (unsigned t = 0; t < TIER_N; t++)
		(void)snprintf(lc.classes[t].name, sizeof(lc.classes[t].name), "C%u", t);
	lc.classes[TIER_ARCHIVE].offline = true;
	CHECK(!store_local_new(&lc, &st, &err));
	CHECK(!store_bucket_create(st, NULL, "b", &err));
	put_large();
	CHECK(!store_put(st, NULL, o, large, SMALL, NULL, NULL, &err));
	(void)snprintf(small_path, sizeof(small_path), "%s/b/small", root);
	n = getxattr(small_path, LOCAL_XATTR, record, sizeof(record));
	CHECK(n > 0);
	record_len = (size_t)n;
	fd = open(side_path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	side_len = (size_t)lseek(fd, 0, SEEK_END);
	side = malloc(side_len);
	CHECK(side && pread(fd, side, side_len, 0) == (ssize_t)side_len);
	(void)close(fd);
}

static void stop(void)
{
	store_destroy(st);
	free(large);
	free(side);
}

/* Makes the record one that is believed: its checksum and, for the file, its key's hash. */
static void mend(uint8_t *p, size_t n, const char *key)
{
	uint64_t hash = key ? htole64(lkey_hash(key, strlen(key))) : 0;
	uint32_t crc;

	if (n < 16)
		return;
	p[0] = 'A';
	p[1] = 'O';
	p[2] = 1;
	if (key)
		memcpy(p + 8, &hash, 8);
	crc = htole32(crc32c(crc32c(0, p, 4), p + 8, n - 8));
	memcpy(p + 4, &crc, 4);
}

static void decode(const uint8_t *p, size_t n)
{
	static struct lrec a, b;
	size_t len;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memcpy(a.raw, p, n);
	if (lrec_decode(&a, n))
		return;
	/* Strings with a NUL inside come back shorter. */
	if (lrec_encode(&a, b.raw, &len))
		return;
	CHECK(!lrec_decode(&b, len));
	CHECK(a.size == b.size && a.keyhash == b.keyhash && a.mtime_ns == b.mtime_ns);
	CHECK(!strcmp(a.etag, b.etag) && !strcmp(a.class_name, b.class_name));
	CHECK(a.nmeta == b.nmeta && a.nsums == b.nsums && a.crc == b.crc);
}

static void get(const char *key, uint64_t off, size_t len, size_t size)
{
	struct store_obj o = {"b", key};
	static uint8_t back[4 * LOCAL_CHUNK];
	struct err err = {0};
	size_t got = 0;

	CHECK(len <= sizeof(back));
	if (store_get(st, NULL, o, NULL, off, back, len, &got, &err)) {
		CHECK(*err.msg);
		return;
	}
	CHECK(off + got <= size && !memcmp(back, large + off, got));
	CHECK(got == len || off + got == size);
}

static void as_attribute(const uint8_t *p, size_t n)
{
	struct store_obj o = {"b", "small"}, to = {"b", "copy"};
	struct store_copy how = {0};
	struct store_stat stat = {0};
	struct store_page page = {0};
	struct err err = {0};

	CHECK(setxattr(small_path, LOCAL_XATTR, p, n, 0) == 0);
	if (!store_head(st, NULL, o, &stat, &err))
		CHECK(*stat.etag);
	store_stat_done(&stat);
	get("small", 0, SMALL, SMALL);
	get("small", 500, 100, SMALL);
	if (!store_list(st, NULL, "b", "", '/', NULL, 100, &page, &err))
		store_page_done(&page);
	if (!store_copy(st, NULL, o, to, &how, NULL, &err))
		get("copy", 0, SMALL, SMALL);
	(void)store_set_tier(st, NULL, o, "C1", NULL, NULL, &err);
	(void)store_restore(st, NULL, o, 1, &err);
	CHECK(setxattr(small_path, LOCAL_XATTR, record, record_len, 0) == 0);
}

static void sidecar_write(const void *p, size_t n, off_t off, bool cut)
{
	int fd = open(side_path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && pwrite(fd, p, n, off) == (ssize_t)n);
	CHECK(!cut || ftruncate(fd, off + (off_t)n) == 0);
	(void)close(fd);
}

static void as_sidecar(const uint8_t *p, size_t n)
{
	uint16_t off;
	uint8_t cut;

	fuzz_take(&p, &n, &off, sizeof(off));
	fuzz_take(&p, &n, &cut, 1);
	sidecar_write(p, n, off % side_len, cut & 1);
	get("large", 0, 3 * LOCAL_CHUNK, LARGE);
	get("large", (uint64_t)(off % 200) * LOCAL_CHUNK + 77, LOCAL_CHUNK, LARGE);
	get("large", LARGE - 1000, 4000, LARGE);
	sidecar_write(side, side_len, 0, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	uint8_t rec[LOCAL_REC_MAX];
	uint8_t how;

	if (!st) {
		start();
		CHECK(atexit(stop) == 0);
	}
	fuzz_take(&p, &n, &how, 1);
	if ((how & 3) == 3) {
		as_sidecar(p, n < 4096 ? n : 4096);
		return 0;
	}
	n = n < sizeof(rec) ? n : sizeof(rec);
	memcpy(rec, p, n);
	if (how & 4)
		mend(rec, n, how & 1 ? "small" : NULL);
	if (how & 1)
		as_attribute(rec, n);
	else
		decode(rec, n);
	return 0;
}
