/* SPDX-License-Identifier: MIT */
/*
 * The local driver as it lies on the disk: objects under their own names, files that somebody put
 * there by hand, damage, holes, classes that survive a restart, and crashes. What every driver does
 * is in the conformance test.
 */
#include <dirent.h>
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/store.h"
#include "scratch_help.h"
#include "store/local_priv.h"

#define KEYS  5	 /* of the kill runs */
#define KILLS 60 /* runs */

static char root[96]; /* with the bucket "b"; made anew for each test */
static struct store *st;

static struct store *open_store(void)
{
	struct store_local_conf lc = {.root = root, .verify = true};
	static const char *const names[] = {"HOT", "WARM", "COLD", "ARCH"};
	struct store *s = NULL;
	struct err err = {0};

	for (unsigned t = 0; t < TIER_N; t++)
		(void)snprintf(lc.classes[t].name, sizeof(lc.classes[t].name), "%s", names[t]);
	lc.classes[TIER_ARCHIVE].offline = true;
	lc.classes[TIER_ARCHIVE].restore_delay_ns = 5 * NS_PER_S;
	if (store_local_new(&lc, &s, &err))
		fail_msg("%s", err.msg);
	return s;
}

static int remove_one(const char *path, const struct stat *sb, int type, struct FTW *at)
{
	return remove(path);
}

static int setup(void **state)
{
	scratch_name(root, sizeof(root), "local");
	assert_non_null(mkdtemp(root));
	st = open_store();
	assert_int_equal(store_bucket_create(st, NULL, "b", NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	st = store_destroy(st);
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void reopen(void)
{
	st = store_destroy(st);
	st = open_store();
}

/* ---- shorthand ---- */

static struct store_obj obj(const char *key)
{
	return (struct store_obj){"b", key};
}

static const char *path_of(const char *key)
{
	static char path[2048];

	(void)snprintf(path, sizeof(path), "%s/b/%s", root, key);
	return path;
}

static void put(const char *key, const void *p, size_t len)
{
	struct err err = {0};

	if (store_put(st, NULL, obj(key), p, len, NULL, NULL, &err))
		fail_msg("put '%s': %s", key, err.msg);
}

static void put_text(const char *key, const char *text)
{
	put(key, text, strlen(text));
}

static void check(const char *key, const void *p, size_t len)
{
	cleanup_free char *buf = malloc(len + 10);
	struct err err = {0};
	size_t n = 0;

	assert_non_null(buf);
	if (store_get(st, NULL, obj(key), NULL, 0, buf, len + 10, &n, &err))
		fail_msg("get '%s': %s", key, err.msg);
	assert_int_equal(n, len);
	if (len)
		assert_memory_equal(buf, p, len);
}

static void check_text(const char *key, const char *text)
{
	check(key, text, strlen(text));
}

static void write_by_hand(const char *key, const char *text)
{
	FILE *f = fopen(path_of(key), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* What a disk does to a file leaves its time alone: these bytes change, and this is its size, when
 * it is not 0. */
static void spoil(const char *path, off_t off, const void *p, size_t len, off_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	struct stat sb;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &sb), 0);
	assert_int_equal(pwrite(fd, p, len, off), len);
	assert_int_equal(size ? ftruncate(fd, size) : 0, 0);
	assert_int_equal(futimens(fd, (struct timespec[2]){sb.st_atim, sb.st_mtim}), 0);
	assert_int_equal(close(fd), 0);
}

static void poke(const char *path, off_t off, const void *p, size_t len)
{
	spoil(path, off, p, len, 0);
}

/* What a person does to it changes that. */
static void append_by_hand(const char *key, const char *text)
{
	FILE *f = fopen(path_of(key), "a");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void etag_of(const char *key, char ret[STORE_ETAG_MAX])
{
	struct store_stat s;

	assert_int_equal(store_head(st, NULL, obj(key), &s, NULL), 0);
	memcpy(ret, s.etag, STORE_ETAG_MAX);
	store_stat_done(&s);
}

/* All keys, each followed by a blank. */
static void check_keys(const char *want)
{
	struct store_page page;
	char got[4096] = "";

	assert_int_equal(store_list(st, NULL, "b", "", 0, NULL, 1000, &page, NULL), 0);
	for (size_t i = 0; i < page.n; i++) {
		strcat(got, page.e[i].key);
		strcat(got, " ");
	}
	store_page_done(&page);
	assert_string_equal(got, want);
}

/* A get of [off, off+len) fails for ever, and says what. */
static void check_damaged(const char *key, uint64_t off, size_t len)
{
	cleanup_free char *buf = malloc(len);
	struct err err = {0};
	size_t n = 0;

	assert_non_null(buf);
	assert_int_equal(store_get(st, NULL, obj(key), NULL, off, buf, len, &n, &err), -EIO);
	assert_int_equal(err.kind, ERR_FINAL);
	if (!strstr(err.msg, key) || !strstr(err.msg, "damaged"))
		fail_msg("'%s' does not say enough", err.msg);
}

static unsigned files_below(const char *name)
{
	char path[256];
	unsigned n = 0;
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/b/.astra/%s", root, name);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		(void)closedir(d);
	return n;
}

/* ---- names ---- */

static void test_own_names(void **state)
{
	struct stat sb;

	put_text("a/b c.csv", "one");
	put_text("\xff\xfe", "two");
	put_text("x", "three");
	put_text("x/y", "four");
	put_text("dir/", "");
	assert_int_equal(stat(path_of("a/b c.csv"), &sb), 0);
	assert_int_equal(sb.st_size, 3);
	assert_int_equal(access(path_of("\xff\xfe"), F_OK), 0);
	assert_int_equal(access(path_of("x%obj"), F_OK), 0);
	assert_int_equal(access(path_of("x/y"), F_OK), 0);
	assert_int_equal(stat(path_of("dir"), &sb), 0);
	assert_true(S_ISDIR(sb.st_mode));
	check_text("x", "three");
	check_text("x/y", "four");
	check_keys("a/b c.csv dir/ x x/y \xff\xfe ");
	/* The directory goes with its last object, and an x made then has its name. */
	assert_int_equal(store_remove(st, NULL, obj("x/y"), NULL, NULL), 0);
	assert_int_equal(store_remove(st, NULL, obj("x"), NULL, NULL), 0);
	put_text("x", "five");
	assert_int_equal(stat(path_of("x"), &sb), 0);
	assert_true(S_ISREG(sb.st_mode));
	check_keys("a/b c.csv dir/ x \xff\xfe ");
}

/* Nothing that a key says leads out of its bucket, and all of it can be had again. */
static void test_any_key(void **state)
{
	static const char *const keys[] = {"../astra-out", "../../astra-out", "/abs", "a//b", ".",
		"..", "a/../../astra-out", "./a", ".astra/tmp/x", ".astra", "%2E", "%obj", "a%obj",
		"nl\nnl", "trail/", "/", "//", "a/%_", "b%~0123456789abcdef0123456789abcdef"};
	char longest[STORE_KEY_MAX + 1], *before, *after;
	struct stat sb;

	assert_int_equal(asprintf(&before, "%s/../astra-out", root) > 0, 1);
	assert_int_equal(asprintf(&after, "%s/astra-out", root) > 0, 1);
	memset(longest, 'k', STORE_KEY_MAX);
	longest[STORE_KEY_MAX] = '\0';
	put_text(longest, longest);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		put_text(keys[i], keys[i]);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		check_text(keys[i], keys[i]);
	check_text(longest, longest);
	assert_int_equal(stat(before, &sb), -1);
	assert_int_equal(stat(after, &sb), -1);
	reopen();
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert_int_equal(store_remove(st, NULL, obj(keys[i]), NULL, NULL), 0);
	assert_int_equal(store_remove(st, NULL, obj(longest), NULL, NULL), 0);
	check_keys("");
	assert_int_equal(store_bucket_remove(st, NULL, "b", NULL), 0);
	free(before);
	free(after);
}

/* ---- files placed by hand ---- */

static void test_foreign_files(void **state)
{
	char one[STORE_ETAG_MAX], two[STORE_ETAG_MAX], cmd[512];
	struct store_put match = {.if_match = one};
	struct stat sb;

	assert_int_equal(mkdir(path_of("in"), 0755), 0);
	write_by_hand("in/file.txt", "by hand");
	check_text("in/file.txt", "by hand");
	check_keys("in/file.txt ");
	etag_of("in/file.txt", one);
	/* A change is another version. */
	write_by_hand("in/file.txt", "changed by hand");
	etag_of("in/file.txt", two);
	assert_string_not_equal(one, two);
	assert_int_equal(
		store_put(st, NULL, obj("in/file.txt"), "x", 1, &match, NULL, NULL), -ESTALE);
	check_text("in/file.txt", "changed by hand");
	/* It may get a class, and is still the owner's file. */
	assert_int_equal(store_set_tier(st, NULL, obj("in/file.txt"), "COLD", NULL, NULL, NULL), 0);
	write_by_hand("in/file.txt", "and changed again");
	check_text("in/file.txt", "and changed again");
	/* A copy of an object takes the record along: it is not this key's. */
	put_text("ours", "our bytes");
	(void)snprintf(cmd, sizeof(cmd),
		"cp -a '%s/b/ours' '%s/b/copy' && mv '%s/b/ours' '%s/b/moved'", root, root, root,
		root);
	assert_int_equal(system(cmd), 0);
	check_text("copy", "our bytes");
	check_text("moved", "our bytes");
	check_keys("copy in/file.txt moved ");
	/* What is no file is no object, and is left alone. */
	assert_int_equal(symlink("/etc/passwd", path_of("link")), 0);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	check_keys("copy in/file.txt moved ");
	assert_int_equal(store_head(st, NULL, obj("link"), &(struct store_stat){0}, NULL), -ENOENT);
	assert_int_equal(store_head(st, NULL, obj("fifo"), &(struct store_stat){0}, NULL), -ENOENT);
	assert_int_equal(store_remove(st, NULL, obj("in/file.txt"), NULL, NULL), 0);
	assert_int_equal(lstat(path_of("link"), &sb), 0);
}

/* An object of ours that somebody changed in place: another version, not damage. */
static void test_edited_objects(void **state)
{
	struct store_meta meta[] = {{"colour", "red"}};
	struct store_put opt = {.class_name = "COLD", .meta = meta, .nmeta = 1};
	char one[STORE_ETAG_MAX], two[STORE_ETAG_MAX];
	struct store_stat s;
	size_t n;
	char b[16];

	assert_int_equal(store_put(st, NULL, obj("f"), "ours", 4, &opt, NULL, NULL), 0);
	etag_of("f", one);
	append_by_hand("f", " and theirs");
	check_text("f", "ours and theirs");
	etag_of("f", two);
	assert_string_not_equal(one, two);
	assert_int_equal(store_get(st, NULL, obj("f"), one, 0, b, 4, &n, NULL), -ESTALE);
	assert_int_equal(store_head(st, NULL, obj("f"), &s, NULL), 0);
	assert_int_equal(s.size, 15);
	assert_int_equal(s.nmeta, 0);
	assert_false(s.has_crc32c);
	store_stat_done(&s);
	check_keys("f ");
	/* The same size; and it was given a time before. */
	put_text("g", "abc");
	etag_of("g", one);
	write_by_hand("g", "abd");
	assert_int_equal(utimensat(AT_FDCWD, path_of("g"),
				 (struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0),
		0);
	check_text("g", "abd");
	/* What was based on ours does not go over theirs, nor is theirs removed for ours. */
	opt.if_match = one;
	assert_int_equal(store_put(st, NULL, obj("g"), "x", 1, &opt, NULL, NULL), -ESTALE);
	assert_int_equal(store_remove(st, NULL, obj("g"), one, NULL), -ESTALE);
	assert_int_equal(store_copy(st, NULL, obj("g"), obj("h"), NULL, NULL, NULL), 0);
	check_text("h", "abd");
	/* Ours again, and checked again. */
	put_text("g", "abc");
	check_text("g", "abc");
	poke(path_of("g"), 0, "b", 1);
	check_damaged("g", 0, 3);
	reopen();
	check_text("f", "ours and theirs");
}

/* Edited while it is read: what came after that is shown to nobody. */
struct watched {
	struct store_progress progress;
	unsigned grown;
	uint64_t most;
};

static void edit_meanwhile(struct store_progress *p, uint64_t have)
{
	struct watched *w = container_of(p, struct watched, progress);

	w->most = have;
	if (w->grown++ == 0)
		append_by_hand("f", "theirs");
}

static void test_edited_while_read(void **state)
{
	const size_t len = 3 * (size_t)LOCAL_IO;
	struct store_meta meta = {"colour", "red"};
	struct watched w = {.progress.grown = edit_meanwhile};
	struct store_call call = {.progress = &w.progress};
	cleanup_free char *p = calloc(1, len);
	char etag[STORE_ETAG_MAX];
	struct err err = {0};
	size_t n;

	assert_non_null(p);
	write_by_hand("f", "");
	assert_int_equal(truncate(path_of("f"), (off_t)len), 0);
	etag_of("f", etag);
	assert_int_equal(store_set_meta(st, NULL, obj("f"), etag, &meta, 1, NULL, &err), 0);
	etag_of("f", etag);
	assert_int_equal(store_get(st, &call, obj("f"), etag, 0, p, len, &n, &err), -ESTALE);
	assert_int_equal(w.grown, 1);
	assert_int_equal(w.most, LOCAL_IO);
}

/* The checksums that a large one had go when something else happens to it. */
static void test_edited_large(void **state)
{
	size_t len = (LOCAL_SUMS_INLINE + 3) * (size_t)LOCAL_CHUNK;
	cleanup_free char *p = calloc(1, len + 1);
	char etag[STORE_ETAG_MAX], side[256];
	struct stat sb;

	assert_non_null(p);
	for (unsigned how = 0; how < 3; how++) {
		put("big", p, len);
		etag_of("big", etag);
		(void)snprintf(side, sizeof(side), "%s/b/.astra/crc/%.2s/%s", root, etag, etag);
		assert_int_equal(stat(side, &sb), 0);
		append_by_hand("big", "x");
		p[len] = 'x';
		check("big", p, len + 1);
		p[len] = 0;
		if (how == 0)
			put_text("big", "new");
		else if (how == 1)
			assert_int_equal(
				store_set_tier(st, NULL, obj("big"), "COLD", NULL, NULL, NULL), 0);
		else
			assert_int_equal(store_remove(st, NULL, obj("big"), NULL, NULL), 0);
		assert_int_equal(stat(side, &sb), -1);
		assert_int_equal(files_below("tmp"), 0);
	}
}

/* ---- damage ---- */

static void test_damaged_bytes(void **state)
{
	size_t len = 5 * LOCAL_CHUNK + 100;
	cleanup_free uint8_t *p = malloc(len);
	uint8_t bad;

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / 300);
	put("d", p, len);
	bad = p[2 * LOCAL_CHUNK + 5] ^ 1;
	poke(path_of("d"), 2 * LOCAL_CHUNK + 5, &bad, 1);
	check_damaged("d", 0, len);
	check_damaged("d", 2 * LOCAL_CHUNK + 6, 1); /* its neighbour cannot be trusted either */
	for (unsigned chunk = 0; chunk < 6; chunk++) {
		uint8_t b[10];
		size_t n;
		errint_t r = store_get(
			st, NULL, obj("d"), NULL, chunk * LOCAL_CHUNK, b, sizeof(b), &n, NULL);

		assert_int_equal(r, chunk == 2 ? -EIO : 0);
	}
	/* A copy does not make wrong bytes right. */
	if (!store_copy(st, NULL, obj("d"), obj("e"), NULL, NULL, NULL))
		check_damaged("e", 0, len);
	/* Writing it anew mends it. */
	put("d", p, len);
	check("d", p, len);
	spoil(path_of("d"), 0, NULL, 0, 1000);
	check_damaged("d", 0, 10);
	spoil(path_of("d"), 0, NULL, 0, (off_t)len);
	check_damaged("d", LOCAL_CHUNK, 10);
}

static void test_damaged_record(void **state)
{
	char raw[LOCAL_REC_MAX];
	struct err err = {0};
	struct store_stat s;
	ssize_t n;

	put_text("r", "content");
	put_text("s", "other");
	n = getxattr(path_of("r"), LOCAL_XATTR, raw, sizeof(raw));
	assert_true(n > 0);
	raw[20] ^= 1;
	assert_int_equal(setxattr(path_of("r"), LOCAL_XATTR, raw, (size_t)n, 0), 0);
	/* The others are listed and read. */
	check_text("s", "other");
	check_keys("r s ");
	check_damaged("r", 0, 7);
	assert_int_equal(store_head(st, NULL, obj("r"), &s, &err), -EIO);
	assert_non_null(strstr(err.msg, "is damaged"));
	/* The way out that the message names. */
	assert_non_null(strstr(err.msg, LOCAL_XATTR));
	assert_int_equal(removexattr(path_of("r"), LOCAL_XATTR), 0);
	check_text("r", "content");
}

/* A record that somebody made, whose version would name a file elsewhere. */
static void test_made_up_record(void **state)
{
	struct lrec rec = {.keyhash = lkey_hash("r", 1),
		.size = 7,
		.sidecar = true,
		.etag = "../../victim",
		.class_name = "STANDARD"};
	char victim[256];
	struct stat sb;
	FILE *f;

	(void)snprintf(victim, sizeof(victim), "%s/victim", root);
	f = fopen(victim, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	put_text("r", "content");
	assert_int_equal(lrec_save(&rec, path_of("r"), -1, NULL), 0);
	check_damaged("r", 0, 7);
	assert_int_equal(store_remove(st, NULL, obj("r"), NULL, NULL), 0);
	assert_int_equal(stat(victim, &sb), 0);
}

/* Checksums of a large object lie in a file of their own: without it nothing is believed. */
static void test_damaged_sidecar(void **state)
{
	size_t len = (LOCAL_SUMS_INLINE + 3) * (size_t)LOCAL_CHUNK;
	cleanup_free uint8_t *p = calloc(1, len);
	char etag[STORE_ETAG_MAX], side[256], zeros[64] = "";

	assert_non_null(p);
	for (size_t i = 0; i < len; i += 1000)
		p[i] = (uint8_t)(i / 1000);
	put("big", p, len);
	check("big", p, len);
	etag_of("big", etag);
	(void)snprintf(side, sizeof(side), "%s/b/.astra/crc/%.2s/%s", root, etag, etag);
	poke(side, 100, zeros, sizeof(zeros));
	check_damaged("big", 0, len);
	assert_int_equal(truncate(side, 10), 0);
	check_damaged("big", 0, len);
	assert_int_equal(unlink(side), 0);
	check_damaged("big", 0, 100);
	put("big", p, len);
	check("big", p, len);
	assert_int_equal(store_remove(st, NULL, obj("big"), NULL, NULL), 0);
	assert_int_equal(files_below("tmp"), 0);
}

/* ---- holes ---- */

static void test_sparse(void **state)
{
	size_t len = 64u << 20;
	cleanup_free char *p = calloc(1, len);
	struct store_copy how = {.class_name = "WARM"};
	struct stat sb;

	assert_non_null(p);
	memcpy(p + (32u << 20), "in the middle", 13);
	put("sparse", p, len);
	assert_int_equal(stat(path_of("sparse"), &sb), 0);
	assert_int_equal(sb.st_size, len);
	assert_true(sb.st_blocks * 512 <= 1 << 20);
	check("sparse", p, len);
	assert_int_equal(store_copy(st, NULL, obj("sparse"), obj("copy"), &how, NULL, NULL), 0);
	assert_int_equal(stat(path_of("copy"), &sb), 0);
	assert_true(sb.st_blocks * 512 <= 1 << 20);
	check("copy", p, len);
	/* All zeros, and nothing at all. */
	put("zeros", p, 1 << 20);
	check("zeros", p, 1 << 20);
	put("empty", p, 0);
	check("empty", p, 0);
}

/* ---- classes ---- */

static void test_restore_outlives_restart(void **state)
{
	struct err err = {0};
	struct store_stat s;
	char b[8];
	size_t n;

	put_text("k", "frozen");
	assert_int_equal(store_set_tier(st, NULL, obj("k"), "ARCH", NULL, &s, &err), 0);
	assert_true(s.archived);
	store_stat_done(&s);
	reopen();
	assert_int_equal(store_get(st, NULL, obj("k"), NULL, 0, b, 8, &n, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_int_equal(store_restore(st, NULL, obj("k"), 2, &err), 0);
	reopen();
	assert_int_equal(store_head(st, NULL, obj("k"), &s, &err), 0);
	assert_true(s.archived && s.restoring);
	assert_string_equal(s.class_name, "ARCH");
	store_stat_done(&s);
	clock_skew_add(6 * NS_PER_S);
	check_text("k", "frozen");
	reopen();
	assert_int_equal(store_head(st, NULL, obj("k"), &s, &err), 0);
	assert_true(!s.archived && !s.restoring && s.restored_until_ns > clock_now_ns());
	store_stat_done(&s);
	clock_skew_add(3 * 86400 * NS_PER_S);
	assert_int_equal(store_get(st, NULL, obj("k"), NULL, 0, b, 8, &n, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
}

/* ---- several processes ---- */

static void test_two_stores_of_one_root(void **state)
{
	struct store *other = open_store();
	struct store_put absent = {.if_none_match = STORE_IF_ABSENT};
	struct store_obj o = obj("new");

	assert_int_equal(store_put(st, NULL, o, "first", 5, &absent, NULL, NULL), 0);
	assert_int_equal(store_put(other, NULL, o, "second", 6, &absent, NULL, NULL), -EEXIST);
	check_text("new", "first");
	/* The other one is alive: what it has begun is not swept away. */
	write_by_hand(".astra/tmp/0123456789abcdef.0123456789abcdef01234567", "of a dead one");
	put_text("k", "v");
	other = store_destroy(other);
	assert_int_equal(files_below("tmp"), 1);
	reopen();
	assert_int_equal(files_below("tmp"), 0);
	check_text("k", "v");
}

static void test_uploads_outlive_restart(void **state)
{
	char id[STORE_UPLOAD_MAX];
	struct store_upload *up;
	struct store_part parts[2], *list;
	struct err err = {0};
	size_t n;

	assert_int_equal(store_parts_begin(st, NULL, obj("m/up"), NULL, id, &err), 0);
	assert_int_equal(store_part_put(st, NULL, obj("m/up"), id, 1, "abc", 3, crc32c(0, "abc", 3),
				 &parts[0], &err),
		0);
	reopen();
	check_keys("");
	assert_int_equal(store_parts_pending(st, NULL, "b", &up, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_string_equal(up[0].key, "m/up");
	assert_string_equal(up[0].id, id);
	free(up);
	assert_int_equal(store_parts_list(st, NULL, obj("m/up"), id, &list, &n, &err), 0);
	assert_int_equal(n, 1);
	parts[0] = list[0];
	free(list);
	assert_int_equal(store_part_put(st, NULL, obj("m/up"), id, 2, "de", 2, crc32c(0, "de", 2),
				 &parts[1], &err),
		0);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("m/up"), id, parts, 2, NULL, NULL, &err), 0);
	check_text("m/up", "abcde");
	assert_int_equal(files_below("uploads"), 0);
	assert_int_equal(store_parts_begin(st, NULL, obj("gone"), NULL, id, &err), 0);
	assert_int_equal(store_parts_abort(st, NULL, obj("gone"), id, &err), 0);
	assert_int_equal(files_below("uploads"), 0);
}

/* Side by side the last part, which is short, comes first: the others have their places all the
 * same, and nothing is copied at the end. */
static void test_last_part_first(void **state)
{
	const struct store_put opt = {.part_size = 2 * LOCAL_CHUNK};
	uint8_t bytes[2 * LOCAL_CHUNK + 3], got[sizeof(bytes)];
	char id[STORE_UPLOAD_MAX], path[400];
	struct store_part parts[2];
	struct err err = {0};
	size_t n;

	memset(bytes, 7, sizeof(bytes));
	for (unsigned i = 2; i-- > 0;) {
		const uint8_t *p = bytes + i * opt.part_size;
		size_t len = i ? 3 : opt.part_size;

		if (i)
			assert_int_equal(store_parts_begin(st, NULL, obj("up"), &opt, id, &err), 0);
		assert_int_equal(store_part_put(st, NULL, obj("up"), id, i + 1, p, len,
					 crc32c(0, p, len), &parts[i], &err),
			0);
	}
	(void)snprintf(path, sizeof(path), "%s/b/.astra/uploads/%s/p.1", root, id);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(
		store_parts_finish(st, NULL, obj("up"), id, parts, 2, NULL, NULL, &err), 0);
	assert_int_equal(store_get(st, NULL, obj("up"), NULL, 0, got, sizeof(got), &n, &err), 0);
	assert_int_equal(n, sizeof(bytes));
	assert_memory_equal(got, bytes, sizeof(bytes));
}

/* ---- crashes ---- */

/* Content that says what it is: key number, version, size, and a pattern of these. */
static size_t content(unsigned key, uint32_t version, uint8_t *p)
{
	size_t len = version % 7 == 3	? (LOCAL_SUMS_INLINE + 2) * (size_t)LOCAL_CHUNK
		     : version % 3 == 1 ? 3 * LOCAL_CHUNK + version % 1000
					: 8 + version % 500;

	memset(p, (int)(key * 31 + version), len);
	memcpy(p, &key, 4);
	memcpy(p + 4, &version, 4);
	return len;
}

static const char *const kill_keys[KEYS] = {"k", "k/below", "d/one", "d/two", "e/"};

static void write_parts(unsigned k, const uint8_t *p, size_t len)
{
	char id[STORE_UPLOAD_MAX];
	struct store_part parts[2];
	size_t half = len / 2;

	if (store_parts_begin(st, NULL, obj(kill_keys[k]), NULL, id, NULL) ||
		store_part_put(st, NULL, obj(kill_keys[k]), id, 1, p, half, crc32c(0, p, half),
			&parts[0], NULL) ||
		store_part_put(st, NULL, obj(kill_keys[k]), id, 2, p + half, len - half,
			crc32c(0, p + half, len - half), &parts[1], NULL) ||
		store_parts_finish(st, NULL, obj(kill_keys[k]), id, parts, 2, NULL, NULL, NULL))
		_exit(3);
}

struct said { /* what the writer was told */
	uint32_t key, version;
	bool removed;
};

/* Writes until it is killed; each version that was acknowledged goes into the pipe. */
static void writer(int to, uint32_t first)
{
	uint8_t *p = malloc((LOCAL_SUMS_INLINE + 2) * (size_t)LOCAL_CHUNK);

	st = open_store();
	for (uint32_t version = first;; version++) {
		struct said said = {.key = version % KEYS, .version = version};
		unsigned k = said.key;
		bool marker = kill_keys[k][strlen(kill_keys[k]) - 1] == '/';
		size_t len = marker ? 0 : content(k, version, p);

		if (version % 11 == 10 && !marker) {
			write_parts(k, p, len);
		} else if (version % 13 == 12) {
			errint_t r = store_remove(st, NULL, obj(kill_keys[k]), NULL, NULL);

			if (r && r != -ENOENT)
				_exit(2);
			said.removed = true;
		} else if (store_put(st, NULL, obj(kill_keys[k]), p, len, NULL, NULL, NULL)) {
			_exit(1);
		}
		if (write(to, &said, sizeof(said)) != sizeof(said))
			_exit(4);
	}
}

/* What is there is whole, and not older than what was acknowledged. */
static void check_key(unsigned k, struct said *acked, bool begun)
{
	size_t max = (LOCAL_SUMS_INLINE + 2) * (size_t)LOCAL_CHUNK, n = 0;
	cleanup_free uint8_t *got = malloc(max + 1), *want = malloc(max);
	struct err err = {0};
	uint32_t version;
	errint_t r = store_get(st, NULL, obj(kill_keys[k]), NULL, 0, got, max + 1, &n, &err);

	if (r == -ENOENT) {
		/* Never written, removed, or the removal was under way. */
		if (acked->version && !acked->removed && !begun)
			fail_msg("%s: version %u is lost", kill_keys[k], acked->version);
		acked->removed = true;
		return;
	}
	if (r)
		fail_msg("%s: %s", kill_keys[k], err.msg);
	if (kill_keys[k][strlen(kill_keys[k]) - 1] == '/')
		return;
	assert_true(n >= 8);
	memcpy(&version, got + 4, 4);
	assert_int_equal(content(k, version, want), n);
	assert_memory_equal(got, want, n);
	if (version < acked->version + acked->removed)
		fail_msg("%s: version %u, but %u was %s", kill_keys[k], version, acked->version,
			acked->removed ? "removed" : "written");
}

static void check_after_kill(struct said acked[KEYS], uint32_t last)
{
	struct store_upload *up;
	struct store_page page;
	size_t n;

	reopen();
	assert_int_equal(files_below("tmp"), 0);
	for (unsigned k = 0; k < KEYS; k++)
		check_key(k, &acked[k], (last + 1) % KEYS == k && (last + 1) % 13 == 12);
	assert_int_equal(store_list(st, NULL, "b", "", 0, NULL, 100, &page, NULL), 0);
	for (size_t i = 0; i < page.n; i++) {
		struct store_stat s;

		assert_int_equal(store_head(st, NULL, obj(page.e[i].key), &s, NULL), 0);
		assert_string_equal(s.etag, page.e[i].etag);
		store_stat_done(&s);
	}
	store_page_done(&page);
	assert_int_equal(store_parts_pending(st, NULL, "b", &up, &n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(store_parts_abort(st, NULL, obj(up[i].key), up[i].id, NULL), 0);
	free(up);
}

static void test_kills(void **state)
{
	struct said acked[KEYS] = {0}, said;
	uint32_t last = 0;

	for (unsigned run = 0; run < KILLS; run++) {
		int fd[2], status;
		pid_t pid;

		assert_int_equal(pipe(fd), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			(void)close(fd[0]);
			writer(fd[1], last + 1);
		}
		(void)close(fd[1]);
		usleep((useconds_t)(5000 + run * 7919 % 40000));
		(void)kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		while (read(fd[0], &said, sizeof(said)) == sizeof(said)) {
			acked[said.key] = said;
			last = said.version;
		}
		(void)close(fd[0]);
		check_after_kill(acked, last);
		/* The version under way may have been made. */
		last++;
	}
	print_message("%u versions written\n", last);
}

/* ---- what is durable ---- */

static char others_dir[160]; /* "" or: when this is synced next, somebody else takes it away */
static ino_t watched;
static unsigned watched_syncs;

/* In place of the C library's. */
int fsync(int fd)
{
	struct stat sb;
	char path[256];

	if (others_dir[0] && !fstat(fd, &sb) && S_ISDIR(sb.st_mode)) {
		(void)snprintf(path, sizeof(path), "%s/b", others_dir);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(rmdir(others_dir), 0);
		others_dir[0] = '\0';
	}
	if (!fstat(fd, &sb) && sb.st_ino == watched)
		watched_syncs++;
	return (int)syscall(SYS_fsync, fd);
}

/* Two objects of a directory are removed at a time; the other one takes the directory away, and has
 * not synced that yet: what this one removed must not come back with it. */
static void test_removed_is_durable(void **state)
{
	struct store_local_conf lc = {.root = root, .sync = true};
	struct stat sb;

	(void)snprintf(lc.classes[0].name, sizeof(lc.classes[0].name), "HOT");
	st = store_destroy(st);
	assert_int_equal(store_local_new(&lc, &st, NULL), 0);
	put_text("d/a", "one");
	put_text("d/b", "two");
	(void)snprintf(others_dir, sizeof(others_dir), "%s/b/d", root);
	assert_int_equal(stat(path_of(""), &sb), 0);
	watched = sb.st_ino;
	watched_syncs = 0;
	assert_int_equal(store_remove(st, NULL, obj("d/a"), NULL, NULL), 0);
	assert_int_equal(others_dir[0], '\0');
	assert_true(watched_syncs > 0);
	watched = 0;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_own_names),
		T(test_any_key),
		T(test_foreign_files),
		T(test_edited_objects),
		T(test_edited_while_read),
		T(test_edited_large),
		T(test_damaged_bytes),
		T(test_damaged_record),
		T(test_made_up_record),
		T(test_damaged_sidecar),
		T(test_sparse),
		T(test_restore_outlives_restart),
		T(test_two_stores_of_one_root),
		T(test_uploads_outlive_restart),
		T(test_last_part_first),
		T(test_removed_is_durable),
		T(test_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
