/* SPDX-License-Identifier: MIT */
/*
 * The index: sync points, power cuts, crashes, full disks, damaged files.
 *
 * A power cut is simulated by a worst-case disk: what was there at the last fdatasync is there;
 * of what was written since, each 4 KiB page is the old or the new one at random. From these a
 * state directory is made, opened under another boot id, checked, and its dump compared with the
 * dump of the last sync point.
 */
#include "meta_help.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "astra/base_count.h"

#include "../../src/meta/db.h"

#define PAGE 4096

static char dir[64], dir2[64];
static uint64_t rng = UINT64_C(0x9e3779b97f4a7c15);

static int setup(void **state)
{
	const char *env = getenv("ASTRA_TEST_SEED");

	if (env != NULL)
		rng = strtoull(env, NULL, 10) | 1;
	scratch_make(dir);
	scratch_make(dir2);
	return 0;
}

static int teardown(void **state)
{
	scratch_remove(dir);
	scratch_remove(dir2);
	return 0;
}

static unsigned rnd(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng % n);
}

/* ---- files ---- */

struct bytes {
	uint8_t *p;
	size_t len;
};

static void bytes_done(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){0};
}

static struct bytes file_read(const char *in, const char *name)
{
	cleanup_fd int fd = -1;
	struct bytes b = {0};
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", in, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	b.len = (size_t)st.st_size;
	b.p = malloc(b.len + 1);
	assert_int_equal(pread(fd, b.p, b.len, 0), b.len);
	return b;
}

static void file_write(const char *in, const char *name, const struct bytes *b)
{
	cleanup_fd int fd = -1;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", in, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, b->p, b->len, 0), b->len);
}

static void file_remove(const char *in, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", in, name);
	assert_int_equal(unlink(path), 0);
}

static bool file_exists(const char *in, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", in, name);
	return access(path, F_OK) == 0;
}

/* Each page old or new; also the length is the old or the new one, or between. */
static struct bytes mix(const struct bytes *old, const struct bytes *now, unsigned grain)
{
	struct bytes b = {.len = now->len};

	b.p = malloc(b.len + 1);
	for (size_t at = 0; at < b.len; at += grain) {
		size_t n = MIN_OF(grain, b.len - at);

		if (rnd(2) == 0)
			memcpy(b.p + at, now->p + at, n);
		else if (at + n <= old->len)
			memcpy(b.p + at, old->p + at, n);
		else
			memset(b.p + at, 0, n);
	}
	if (b.len > old->len && rnd(2) == 0) /* grown, but not on disk yet */
		b.len = old->len + rnd((unsigned)(b.len - old->len)) / PAGE * PAGE;
	return b;
}

/* ---- the workload ---- */

static struct bytes dump_of(struct meta *m)
{
	cleanup_fd int fd = memfd_create("dump", 0);
	struct bytes b = {0};
	struct err err = {0};
	struct stat st;

	if (meta_dump(m, fd, &err) != 0)
		fail_msg("dump: %s", err.msg);
	assert_int_equal(fstat(fd, &st), 0);
	b.len = (size_t)st.st_size;
	b.p = calloc(1, b.len + 1);
	assert_int_equal(pread(fd, b.p, b.len, 0), b.len);
	return b;
}

/* Without the lines about counters, which a power cut moves on purpose. */
static bool same_dump(const struct bytes *a, const struct bytes *b, bool tell)
{
	const char *p[2] = {(const char *)a->p, (const char *)b->p};

	for (;;) {
		for (int i = 0; i < 2; i++)
			while (strncmp(p[i], "{\"t\":\"sys\"", 10) == 0)
				p[i] = strchr(p[i], '\n') + 1;
		if (*p[0] == '\0' || *p[1] == '\0')
			break;
		size_t n = strcspn(p[0], "\n"), n1 = strcspn(p[1], "\n");

		/* The last line counts the others. */
		if (strncmp(p[0], "{\"t\":\"end\"", 10) != 0 &&
			(n != n1 || memcmp(p[0], p[1], n) != 0)) {
			if (tell)
				print_error("expected %.*s\nfound    %.*s\n", (int)n, p[0], (int)n1,
					p[1]);
			return false;
		}
		p[0] += n + 1;
		p[1] += n1 + 1;
	}
	return *p[0] == '\0' && *p[1] == '\0';
}

static int pick_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	*(uint64_t *)arg = ino;
	return 1;
}

static uint64_t some_child(struct meta_txn *t)
{
	uint64_t ino = 0, from = META_INO_LOW + rnd(3000);

	(void)meta_children(t, META_ROOT_INO, from, false, pick_child, &ino);
	return ino;
}

/* Creates, rewrites, removes, with values of one page and of many, so that pages are freed and
 * used again all the time. */
static void work(struct meta *m, int commits)
{
	static uint8_t big[13000];
	static unsigned serial;

	for (int i = 0; i < commits; i++) {
		struct meta_txn *t = meta_begin(m);

		for (unsigned k = rnd(4) + 1; k > 0; k--) {
			uint64_t ino = some_child(t);
			struct meta_inode in;
			char name[32];

			memset(big, (int)rnd(256), 64);
			if (ino == 0 || rnd(7) < 2) {
				(void)snprintf(
					name, sizeof(name), "file-%08x", serial++ * 2654435761u);
				inode_init(&in, meta_ino_next(t), META_FILE, rnd(100));
				(void)meta_link(t, &in, META_ROOT_INO, name);
				(void)meta_xattr_set(t, in.ino, "user.v", big,
					rnd(4) == 0 ? rnd(sizeof(big)) : rnd(300), 0);
				(void)meta_dirty_set(t, in.ino, rnd(2));
				continue;
			}
			assert_int_equal(meta_inode_get(t, ino, &in), 0);
			if (rnd(2) == 0) {
				(void)meta_unlink(t, &in);
				(void)meta_inode_del(t, ino);
			} else {
				in.size = rnd(1000);
				in.version++;
				(void)meta_inode_put(t, &in);
				(void)meta_xattr_set(t, ino, "user.v", big, rnd(6000), 0);
			}
		}
		(void)meta_kv_put(t, "serial", &serial, sizeof(serial));
		assert_int_equal(meta_commit(t), 0);
	}
}

/* ---- power cuts ---- */

struct disk { /* what surely is there */
	struct bytes data, pin, boot, dump;
};

static void disk_done(struct disk *d)
{
	bytes_done(&d->data);
	bytes_done(&d->pin);
	bytes_done(&d->boot);
	bytes_done(&d->dump);
}

static void settle(struct meta *m)
{
	totals_settle(m);
	assert_int_equal(meta_sync(m, NULL), 0);
}

static struct disk disk_of(struct meta *m)
{
	return (struct disk){file_read(dir, META_FILE_DATA), file_read(dir, META_FILE_PIN),
		file_read(dir, META_FILE_BOOT), dump_of(m)};
}

static struct meta *slow_open(const char *in, const char *boot, bool *ret_cut)
{
	struct meta_conf conf = {
		.dir = in, .map_size = MAP, .boot_id = boot, .sync_interval_ms = 3600000};
	struct meta *m = NULL;
	struct err err = {0};
	errint_t r = meta_open(&conf, &m, ret_cut, &err);

	if (r != 0)
		fail_msg("open: %s", err_text(&err, r));
	return m;
}

/* Opens what a power cut left; the state must be exactly that of one of the dumps. */
static void expect_cut(const struct bytes *data, const struct bytes *pin, const struct bytes *boot,
	const struct disk *one, const struct disk *other)
{
	struct bytes dump;
	struct meta *m;
	bool cut = false;

	scratch_remove(dir2);
	assert_int_equal(mkdir(dir2, 0700), 0);
	file_write(dir2, META_FILE_DATA, data);
	file_write(dir2, META_FILE_PIN, pin);
	file_write(dir2, META_FILE_BOOT, boot);
	m = slow_open(dir2, "boot-2", &cut);
	assert_true(cut);
	check_clean(m);
	dump = dump_of(m);
	if (other == NULL || !same_dump(&other->dump, &dump, false))
		assert_true(same_dump(&one->dump, &dump, true));
	work(m, 30); /* and it can be worked with */
	totals_settle(m);
	check_clean(m);
	bytes_done(&dump);
	meta_close(m);
}

static void test_power_cuts(void **state)
{
	struct meta *m = slow_open(dir, "boot-1", NULL);
	const char *few = getenv("ASTRA_FEW");
	const int rounds = few && *few ? 7 : 20;
	int cuts = 0;

	work(m, 200);
	for (int round = 0; round < rounds; round++) {
		struct disk safe, next;
		struct bytes now, data, pin;

		settle(m);
		safe = disk_of(m);
		work(m, 20 + (int)rnd(150));
		/* Between sync points, and during fdatasync. */
		now = file_read(dir, META_FILE_DATA);
		for (int k = 0; k < 2; k++, cuts++) {
			data = mix(&safe.data, &now, PAGE);
			expect_cut(&data, &safe.pin, &safe.boot, &safe, NULL);
			bytes_done(&data);
		}
		/* While the slot is written: all data is there, the slot perhaps torn. */
		settle(m);
		next = disk_of(m);
		pin = mix(&safe.pin, &next.pin, 512);
		pin.len = next.pin.len;
		expect_cut(&next.data, &pin, &safe.boot, &next, &safe);
		cuts++;
		bytes_done(&pin);
		bytes_done(&now);
		disk_done(&safe);
		disk_done(&next);
	}
	assert_int_equal(cuts, 3 * rounds);
	meta_close(m);
}

/* The same adversary without putting the meta pages back: if nothing goes wrong here, the test
 * above shows nothing. In a child, as LMDB may abort on such files. */
static void test_cuts_bite(void **state)
{
	struct meta *m = slow_open(dir, "boot-1", NULL);
	int wrong = 0;

	work(m, 200);
	for (int round = 0; round < 6; round++) {
		struct bytes now, data;
		struct disk safe;
		int status = 0;
		pid_t pid;

		settle(m);
		safe = disk_of(m);
		work(m, 100);
		now = file_read(dir, META_FILE_DATA);
		data = mix(&safe.data, &now, PAGE);
		scratch_remove(dir2);
		assert_int_equal(mkdir(dir2, 0700), 0);
		file_write(dir2, META_FILE_DATA, &data);
		file_write(dir2, META_FILE_PIN, &safe.pin);
		file_write(dir2, META_FILE_BOOT, &safe.boot);
		pid = fork();
		if (pid == 0) {
			struct meta *bad;
			int fd = open("/dev/null", O_WRONLY);

			(void)dup2(fd, 2);
			(void)alarm(20);
			if (try_open(dir2, "boot-1", &bad, NULL, NULL) != 0)
				_exit(1);
			_exit(meta_check(bad, NULL, NULL) != 0);
		}
		assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
		wrong += status != 0;
		bytes_done(&data);
		bytes_done(&now);
		disk_done(&safe);
	}
	assert_true(wrong > 0);
	meta_close(m);
}

/* ---- what open makes of what it finds ---- */

static void test_boot(void **state)
{
	struct bytes none = {NULL, 0}, pin;
	struct err err = {0};
	struct meta *m;
	uint64_t before, after;
	struct meta_txn *t;
	bool cut = true;

	m = open_index(dir, "boot-1", &cut);
	assert_false(cut);
	before = create(m, META_ROOT_INO, "a", META_FILE, 1);
	meta_close(m);
	/* A clean end: another boot is no power cut. */
	m = open_index(dir, "boot-2", &cut);
	assert_false(cut);
	assert_int_equal(meta_sync(m, NULL), 0);
	{ /* a power cut: as it is now, under the next boot id */
		struct disk d = disk_of(m);

		meta_close(m);
		file_write(dir, META_FILE_DATA, &d.data);
		file_write(dir, META_FILE_PIN, &d.pin);
		file_write(dir, META_FILE_BOOT, &d.boot);
		disk_done(&d);
	}
	m = open_index(dir, "boot-3", &cut);
	assert_true(cut);
	after = create(m, META_ROOT_INO, "b", META_FILE, 1);
	assert_true(after > before + (1 << 20)); /* numbers given in the lost second stay given */
	{ /* a crash before anybody could care for what the cut asks */
		struct bytes boot = file_read(dir, META_FILE_BOOT);

		meta_close(m);
		file_write(dir, META_FILE_BOOT, &boot);
		bytes_done(&boot);
	}
	m = open_index(dir, "boot-3", &cut);
	assert_true(cut);
	t = meta_begin_read(m);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "b", &after), 0); /* not put back again */
	meta_abort(t);
	assert_int_equal(meta_recovered(m, &err), 0);
	{
		struct bytes boot = file_read(dir, META_FILE_BOOT);

		meta_close(m);
		file_write(dir, META_FILE_BOOT, &boot);
		bytes_done(&boot);
	}
	m = open_index(dir, "boot-3", &cut);
	assert_false(cut);
	check_clean(m);
	meta_close(m);
	/* A damaged boot file: put back, to be sure. No slots: say so. */
	file_write(dir, META_FILE_BOOT, &none);
	m = open_index(dir, "boot-3", &cut);
	assert_true(cut);
	meta_close(m);
	pin = file_read(dir, META_FILE_PIN);
	file_write(dir, META_FILE_PIN, &none);
	file_write(dir, META_FILE_BOOT, &none);
	assert_int_equal(try_open(dir, "boot-4", &m, &cut, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "rebuild"));
	file_write(dir, META_FILE_PIN, &pin);
	bytes_done(&pin);
	/* Neither: a copy by hand is taken as it is. */
	file_remove(dir, META_FILE_BOOT);
	file_remove(dir, META_FILE_PIN);
	m = open_index(dir, "boot-5", &cut);
	assert_false(cut);
	check_clean(m);
	meta_close(m);
}

static void test_open_errors(void **state)
{
	struct bytes junk = {malloc(3 * PAGE), 3 * PAGE}, data;
	struct err err = {0};
	struct meta_txn *t;
	struct meta *m;
	struct meta_conf ro = {.dir = dir, .map_size = MAP, .boot_id = "b", .read_only = true};

	assert_int_equal(try_open("/proc/nonexistent/x", "b", &m, NULL, &err), -ENOENT);
	assert_int_equal(try_open(dir, "", &m, NULL, &err), -EINVAL);
	assert_int_equal(meta_open(&ro, &m, NULL, &err), -ENOENT);
	m = open_index(dir, "b", NULL);
	(void)create(m, META_ROOT_INO, "f", META_FILE, 1);
	t = meta_begin(m);
	(void)db_sys_put(t, "schema", META_SCHEMA + 1);
	assert_int_equal(meta_commit(t), 0);
	meta_close(m);
	assert_int_equal(try_open(dir, "b", &m, NULL, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "newer"));
	/* Junk, and a file cut short. */
	data = file_read(dir, META_FILE_DATA);
	memset(junk.p, 0x5a, junk.len);
	file_write(dir, META_FILE_DATA, &junk);
	assert_int_equal(try_open(dir, "b", &m, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "rebuild"));
	data.len = 2 * PAGE;
	file_write(dir, META_FILE_DATA, &data);
	assert_int_equal(try_open(dir, "b", &m, NULL, &err), -EBADMSG);
	assert_null(m);
	bytes_done(&data);
	bytes_done(&junk);
}

static void test_read_only(void **state)
{
	struct meta_conf ro = {.dir = dir, .map_size = MAP, .boot_id = "b", .read_only = true};
	struct meta *m = open_index(dir, "b", NULL);
	struct meta_txn *t;
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 1), ino;

	meta_close(m);
	assert_int_equal(meta_open(&ro, &m, NULL, NULL), 0);
	check_clean(m);
	t = meta_begin_read(m);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "f", &ino), 0);
	assert_int_equal(ino, f);
	meta_abort(t);
	t = meta_begin(m);
	assert_int_equal(meta_kv_put(t, "a", "b", 1), -EROFS);
	assert_int_equal(meta_commit(t), -EROFS);
	assert_int_equal(meta_sync(m, NULL), 0);
	assert_false(meta_has_room(m));
	meta_close(m);
	m = open_index(dir, "other", NULL); /* the clean mark is still there */
	meta_close(m);
}

/* ---- crashes: everything acknowledged is there ---- */

static void test_kill(void **state)
{
	for (int round = 0; round < 8; round++) {
		int pipefd[2], status, n = 0, got;
		struct meta_txn *t;
		struct meta *m;
		uint64_t ino;
		char name[16];
		bool cut;
		pid_t pid;

		assert_int_equal(pipe(pipefd), 0);
		pid = fork();
		if (pid == 0) {
			struct meta_conf conf = {
				.dir = dir, .map_size = MAP, .boot_id = "b", .sync_interval_ms = 5};

			if (meta_open(&conf, &m, NULL, NULL) != 0)
				_exit(1);
			for (int i = 0;; i++) {
				struct meta_inode in;

				t = meta_begin(m);
				(void)snprintf(name, sizeof(name), "%d-%d", round, i);
				inode_init(&in, meta_ino_next(t), META_FILE, 1);
				(void)meta_link(t, &in, META_ROOT_INO, name);
				if (meta_commit(t) != 0 || write(pipefd[1], &i, 4) != 4)
					_exit(1);
			}
		}
		(void)close(pipefd[1]);
		for (int stop = 50 + (int)rnd(500); n < stop; n++)
			assert_int_equal(read(pipefd[0], &got, 4), 4);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		while (read(pipefd[0], &got, 4) == 4)
			n++;
		(void)close(pipefd[0]);
		m = open_index(dir, "b", &cut);
		assert_false(cut);
		check_clean(m);
		t = meta_begin_read(m);
		for (int i = 0; i < n; i++) {
			(void)snprintf(name, sizeof(name), "%d-%d", round, i);
			assert_int_equal(meta_lookup(t, META_ROOT_INO, name, &ino), 0);
		}
		meta_abort(t);
		meta_close(m);
	}
}

/* ---- the thread ---- */

struct watch {
	struct meta *m;
	_Atomic int before, after;
	_Atomic errint_t fail;
	_Atomic uint64_t synced_before; /* meta_synced while before_sync ran */
};

static errint_t before_sync(void *arg)
{
	struct watch *w = arg;

	if (w->m != NULL)
		w->synced_before = meta_synced(w->m);
	w->before++;
	return w->fail;
}

static void after_sync(void *arg)
{
	((struct watch *)arg)->after++;
}

static void nap(int ms)
{
	(void)usleep((useconds_t)ms * 1000);
}

static uint64_t put_something(struct meta *m)
{
	struct meta_txn *t = meta_begin(m);
	uint64_t id = meta_txn_id(t);

	(void)meta_kv_put(t, "k", &id, sizeof(id));
	assert_int_equal(meta_commit(t), 0);
	return id;
}

static void test_thread(void **state)
{
	struct watch w = {0};
	struct meta_conf conf = {.dir = dir,
		.map_size = MAP,
		.boot_id = "b",
		.sync_interval_ms = 30,
		.before_sync = before_sync,
		.before_sync_arg = &w};
	struct err err = {0};
	uint64_t id, points;
	struct meta *m;
	int before;

	assert_int_equal(meta_open(&conf, &m, NULL, &err), 0);
	meta_on_sync(m, after_sync, &w);
	w.m = m;
	/* By itself, after a change. */
	id = put_something(m);
	for (int i = 0; i < 500 && (meta_synced(m) < id || w.after == 0); i++)
		nap(10);
	assert_true(meta_synced(m) >= id && w.after > 0 && w.synced_before < id);
	/* Not without one. */
	nap(100);
	points = count_get(COUNT_meta_sync_points);
	before = w.before;
	nap(200);
	assert_int_equal(count_get(COUNT_meta_sync_points), points);
	assert_int_equal(w.before, before);
	/* Asked for: staging is seen to even when the index did not change. */
	meta_sync_soon(m);
	for (int i = 0; i < 500 && w.before == before; i++)
		nap(10);
	assert_true(w.before > before);
	/* Staging that cannot be made durable: nothing counts as synced, and it is told. */
	w.fail = -EIO;
	id = put_something(m);
	assert_int_equal(meta_sync(m, &err), -EIO);
	assert_non_null(strstr(err.msg, "staging"));
	assert_true(meta_synced(m) < id);
	w.fail = 0;
	assert_int_equal(meta_sync(m, &err), 0);
	assert_true(meta_synced(m) >= id);
	assert_int_equal(meta_sync(m, &err), 0); /* nothing to wait for */
	/* The last one fails: no clean mark. */
	w.fail = -EIO;
	(void)put_something(m);
	meta_close(m);
	w.fail = 0;
	w.m = NULL;
	bool cut;
	m = open_index(dir, "other-boot", &cut);
	assert_true(cut);
	meta_close(m);
}

/* The file grows by what changes between two points: many changes bring the next one, long before
 * the interval is over, and before it is so many that all have to wait for it. */
static void test_many_changes(void **state)
{
	struct meta_conf conf = {
		.dir = dir, .map_size = MAP, .boot_id = "b", .sync_interval_ms = 3600000};
	struct err err = {0};
	struct meta *m;
	uint64_t id;

	assert_int_equal(meta_open(&conf, &m, NULL, &err), 0);
	id = put_something(m);
	for (int i = 0; i < 2000; i++)
		(void)put_something(m);
	for (int i = 0; i < 1000 && meta_synced(m) < id; i++)
		nap(10);
	assert_true(meta_synced(m) >= id);
	meta_close(m);
}

static errint_t slow_before_sync(void *arg)
{
	if (!atomic_load((atomic_bool *)arg))
		nap(300);
	return 0;
}

/* Sync points that take long: changes come slower, rather than that the file grows without end. */
static void test_growth_is_bounded(void **state)
{
	enum { LIMIT = 1 << 20, SIZE = 60000 };
	int64_t began = clock_mono_ns(), waits;
	atomic_bool quick = false;
	struct meta_conf conf = {.dir = dir,
		.map_size = 64 * MAP,
		.grow_max = LIMIT,
		.boot_id = "b",
		.sync_interval_ms = 10,
		.before_sync = slow_before_sync,
		.before_sync_arg = &quick};
	static uint8_t value[SIZE];
	struct meta_stat st;
	struct err err = {0};
	struct meta *m;

	assert_int_equal(meta_open(&conf, &m, NULL, &err), 0);
	for (int i = 0; i < 120; i++) {
		struct meta_txn *t = meta_begin(m);

		memset(value, i, sizeof(value));
		assert_int_equal(meta_kv_put(t, "k", value, sizeof(value)), 0);
		assert_int_equal(meta_commit(t), 0);
	}
	assert_int_equal(meta_stat(m, &st), 0);
	/* Twice: what came before a point is free only after the next. THROTTLE_TXNS go at once.
	 * Beyond them a change waits 100 ms for a point, however long the disk takes for one. */
	waits = (clock_mono_ns() - began) / (NS_PER_S / 10);
	assert_true(st.file_bytes < 3 * LIMIT + (uint64_t)(16 + waits) * SIZE);
	atomic_store(&quick, true);
	meta_close(m);
}

/* After a failed fdatasync all pages are written again, beside running transactions. */
static void test_rewrite(void **state)
{
	struct meta *m = slow_open(dir, "boot-1", NULL);
	struct bytes before, after;

	for (int i = 0; i < 5; i++) {
		work(m, 100);
		totals_settle(m);     /* else the flusher changes rows between the dumps */
		m->sy.rewrite = true; /* the sync thread sleeps for an hour */
		before = dump_of(m);
		assert_int_equal(meta_sync(m, NULL), 0);
		assert_false(m->sy.rewrite);
		after = dump_of(m);
		assert_true(same_dump(&before, &after, true));
		check_clean(m);
		bytes_done(&before);
		bytes_done(&after);
	}
	meta_close(m);
}

static _Atomic bool stop_writers;

static void *sync_often(void *arg)
{
	struct meta *m = arg;

	for (int i = 0; i < 50; i++) {
		uint64_t id = put_something(m);

		if (meta_sync(m, NULL) != 0 || meta_synced(m) < id)
			return (void *)1;
	}
	return NULL;
}

/* No further ahead of the disk than the map has room for: its pages are not used again before. */
static void *write_always(void *arg)
{
	while (!stop_writers) {
		uint64_t id = put_something(arg);

		while (!stop_writers && id > meta_synced(arg) + 2000)
			nap(1);
	}
	return NULL;
}

static void test_shared(void **state)
{
	struct meta *m = slow_open(dir, "b", NULL);
	pthread_t th[8], wr;
	uint64_t points = count_get(COUNT_meta_sync_points);
	void *res;

	assert_int_equal(pthread_create(&wr, NULL, write_always, m), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&th[i], NULL, sync_often, m), 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(th[i], &res), 0);
		assert_null(res);
	}
	stop_writers = true;
	assert_int_equal(pthread_join(wr, NULL), 0);
	assert_true(count_get(COUNT_meta_sync_points) - points < 8 * 50);
	check_clean(m);
	meta_close(m);
}

/* ---- a full disk ---- */

static void test_full_disk(void **state)
{
	static uint8_t big[META_XATTR_MAX];
	struct err err = {0};
	struct meta_txn *t;
	struct meta_inode in;
	struct meta *m;
	errint_t r = 0;
	char name[32];
	uint64_t ino;
	int n, room_at = -1;

	if (mount("tmpfs", dir2, "tmpfs", 0, "size=80m") != 0)
		skip();
	memset(big, 7, sizeof(big));
	m = open_index(dir2, "b", NULL);
	assert_true(meta_has_room(m) && file_exists(dir2, META_FILE_RESERVE));
	for (n = 0; n < 5000 && r == 0; n++) {
		if (room_at < 0 && n % 16 == 0) {
			nap(5);
			db_room_update(m);
			if (!meta_has_room(m))
				room_at = n;
		}
		t = meta_begin(m);
		(void)snprintf(name, sizeof(name), "%d", n);
		inode_init(&in, meta_ino_next(t), META_FILE, 1);
		(void)meta_link(t, &in, META_ROOT_INO, name);
		(void)meta_xattr_set(t, in.ino, "user.big", big, sizeof(big), 0);
		r = meta_commit(t);
	}
	n--;
	assert_int_equal(r, -ENOSPC);
	assert_true(room_at > 0 && room_at < n); /* said so before */
	assert_false(meta_has_room(m));
	assert_false(file_exists(dir2, META_FILE_RESERVE));
	/* What failed was not done; deletes work; then there is room again. */
	for (int i = 0; i < n; i++) {
		t = meta_begin(m);
		(void)snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(meta_lookup(t, META_ROOT_INO, name, &ino), 0);
		assert_int_equal(meta_inode_get(t, ino, &in), 0);
		(void)meta_unlink(t, &in);
		(void)meta_inode_del(t, ino);
		assert_int_equal(meta_commit(t), 0);
	}
	totals_settle(m);
	check_clean(m);
	if (meta_sync(m, &err) != 0)
		fail_msg("sync: %s", err.msg);
	meta_close(m);
	m = open_index(dir2, "b", NULL);
	check_clean(m);
	meta_close(m);
	assert_int_equal(umount(dir2), 0);
}

/* The map: creates stop at 95 %, deletes go on and bring room. */
static void test_full_map(void **state)
{
	static uint8_t big[1900]; /* one page: longer values need neighbours */
	struct meta_conf conf = {.dir = dir, .map_size = 8 << 20, .boot_id = "b"};
	struct meta_inode in;
	struct meta_txn *t;
	struct meta *m;
	uint64_t ino;
	char name[32];
	int n = 0;

	assert_int_equal(meta_open(&conf, &m, NULL, NULL), 0);
	for (db_room_update(m); meta_has_room(m) && n < 10000; n++, db_room_update(m)) {
		t = meta_begin(m);
		(void)snprintf(name, sizeof(name), "%d", n);
		inode_init(&in, meta_ino_next(t), META_FILE, 1);
		(void)meta_link(t, &in, META_ROOT_INO, name);
		(void)meta_xattr_set(t, in.ino, "user.big", big, sizeof(big), 0);
		assert_int_equal(meta_commit(t), 0);
	}
	assert_true(n > 1000 && n < 9000);
	for (int i = 0; i < n; i++) {
		t = meta_begin(m);
		(void)snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(meta_lookup(t, META_ROOT_INO, name, &ino), 0);
		assert_int_equal(meta_inode_get(t, ino, &in), 0);
		(void)meta_unlink(t, &in);
		(void)meta_inode_del(t, ino);
		assert_int_equal(meta_commit(t), 0);
	}
	db_room_update(m);
	assert_true(meta_has_room(m));
	totals_settle(m);
	check_clean(m);
	meta_close(m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_power_cuts),
		T(test_cuts_bite),
		T(test_boot),
		T(test_open_errors),
		T(test_read_only),
		T(test_kill),
		T(test_thread),
		T(test_many_changes),
		T(test_growth_is_bounded),
		T(test_rewrite),
		T(test_shared),
		T(test_full_disk),
		T(test_full_map),
	};

	cmocka_set_test_filter(getenv("ASTRA_TEST_FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
