/* SPDX-License-Identifier: MIT */
/* The vfs over real rooms and mem clouds: names, content, attributes. */
#include <unistd.h>

#include "vfs_help.h"

#include "astra/base_count.h"

static char *pattern(size_t len)
{
	char *p = malloc(len);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 31 + i / 4096);
	return p;
}

static void test_write_reaches_the_cloud(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "hello", 5);
	char buf[64];

	assert_int_equal(attr(f, ino).st_size, 5);
	assert_int_equal(attr(f, ino).st_blocks, 1);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "a", buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	assert_string_equal(getx(f, ino, "user.astra.writes"), "1");
	assert_string_equal(getx(f, ino, "user.astra.key"), "a");
}

static void test_fsync_is_in_the_cloud(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = create_in(f, f->aws, "s", NULL);
	char buf[64];

	assert_int_equal(put(f, h, 0, "12345", 5), 0);
	assert_int_equal(fsync_h(f, h), 0);
	assert_int_equal(object_get(&f->remotes[0], "s", buf, sizeof(buf)), 5);
	/* under its current name */
	assert_int_equal(rename_to(f, f->aws, "s", f->aws, "t", 0), 0);
	assert_int_equal(fsync_h(f, h), 0);
	assert_int_equal(object_get(&f->remotes[0], "t", buf, sizeof(buf)), 5);
	assert_int_equal(object_get(&f->remotes[0], "s", buf, sizeof(buf)), -ENOENT);
	close_h(f, h);
}

static void test_foreign_objects_are_read(void **state)
{
	struct fix *f = *state;
	size_t len = 5u << 20;
	char *p = pattern(len), *buf = malloc(len);
	struct vfs_handle *h;
	uint64_t dir, ino;

	object_put(&f->remotes[0], "d/big", p, len);
	assert_int_equal(lookup(f, f->aws, "none", NULL), -ENOENT);
	assert_int_equal(lookup(f, f->aws, "d", &dir), 0);
	assert_int_equal(lookup(f, dir, "big", &ino), 0);
	assert_int_equal(attr(f, ino).st_size, len);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 3 << 20, buf, 100), 100); /* at random first */
	assert_memory_equal(buf, p + (3 << 20), 100);
	for (size_t at = 0; at < len; at += 1 << 17)
		assert_int_equal(get(f, h, at, buf + at, 1 << 17), 1 << 17);
	assert_memory_equal(buf, p, len);
	assert_int_equal(get(f, h, len - 10, buf, 100), 10);
	assert_int_equal(get(f, h, len + 10, buf, 100), 0);
	close_h(f, h);
	assert_string_equal(getx(f, ino, "user.astra.reads"), "1");
	assert_string_equal(getx(f, ino, "user.astra.tier"), "HOT");
	free(p);
	free(buf);
}

/* What is near is not copied into the cache, until somebody changes it. */
static void test_near_objects_are_not_cached(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = pattern(len), *buf = malloc(len);
	struct vfs_handle *h, *w;
	uint64_t ino;

	f->remotes[0].caps.near = true;
	object_put(&f->remotes[0], "near", p, len);
	assert_int_equal(lookup(f, f->aws, "near", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	for (size_t at = 0; at < len; at += 1 << 17)
		assert_true(get(f, h, at, buf + at, 1 << 17) > 0);
	assert_memory_equal(buf, p, len);
	assert_int_equal(get(f, h, len + 10, buf, 100), 0);
	assert_false(stage_has(f->stage, ino));
	assert_int_equal(open_ino(f, ino, O_RDWR, &w), 0);
	assert_int_equal(put(f, w, 100001, "XYZ", 3), 0);
	memcpy(p + 100001, "XYZ", 3);
	assert_int_equal(get(f, h, 99990, buf, 100), 100);
	assert_memory_equal(buf, p + 99990, 100);
	assert_true(stage_has(f->stage, ino));
	close_h(f, w);
	close_h(f, h);
	free(p);
	free(buf);
}

/* One that moves while it is read is found again; one that is gone is told, by way of staging. */
static void test_near_objects_move_and_go(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	char buf[16];
	uint64_t ino;

	f->remotes[0].caps.near = f->remotes[1].caps.near = true;
	object_put(&f->remotes[0], "from", "bytes", 5);
	assert_int_equal(lookup(f, f->aws, "from", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, 16), 5);
	assert_int_equal(rename_to(f, f->aws, "from", f->gcp, "to", 0), 0);
	sync_all(f);
	assert_int_equal(get(f, h, 0, buf, 16), 5);
	assert_memory_equal(buf, "bytes", 5);
	assert_false(stage_has(f->stage, ino));
	object_put(&f->remotes[1], "to", "other bytes", 11);
	assert_true(get(f, h, 0, buf, 16) != 5);
	close_h(f, h);
}

static void test_partial_write_of_an_uncached_file(void **state)
{
	struct fix *f = *state;
	size_t len = 300000;
	char *p = pattern(len), *buf = malloc(len + 10);
	struct vfs_handle *h;
	uint64_t ino;

	object_put(&f->remotes[0], "p", p, len);
	assert_int_equal(lookup(f, f->aws, "p", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 100001, "XYZ", 3), 0);
	memcpy(p + 100001, "XYZ", 3);
	assert_int_equal(put(f, h, len - 1, "end", 3), 0);
	assert_int_equal(attr(f, ino).st_size, len + 2);
	assert_int_equal(fsync_h(f, h), 0);
	assert_int_equal(object_get(&f->remotes[0], "p", buf, len + 10), len + 2);
	assert_memory_equal(buf, p, len - 1);
	assert_memory_equal(buf + len - 1, "end", 3);
	close_h(f, h);
	free(p);
	free(buf);
}

static void set_size(struct fix *f, uint64_t ino, struct vfs_handle *h, off_t size)
{
	struct ask *a = ask_new();
	struct stat st = {.st_size = size};

	assert_int_equal(CALL(a, vfs_setattr, ino, h, &st, VFS_SET_SIZE), 0);
	assert_int_equal(a->c.attr.st.st_size, size);
	ask_free(a);
}

static void test_truncate_append_holes(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h, *app;
	struct ask *a = ask_new();
	char buf[20000];
	uint64_t ino;

	h = create_in(f, f->aws, "t", &ino);
	assert_int_equal(put(f, h, 0, "0123456789", 10), 0);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_APPEND, &app), 0);
	assert_int_equal(put(f, app, 10, "abc", 3), 0);
	assert_int_equal(get(f, h, 0, buf, 100), 13);
	assert_memory_equal(buf, "0123456789abc", 13);
	set_size(f, ino, h, 4);
	set_size(f, ino, NULL, 8);
	assert_int_equal(get(f, h, 0, buf, 100), 8);
	assert_memory_equal(buf, "0123\0\0\0\0", 8);
	assert_int_equal(CALL(a, vfs_fallocate, h, 0, 0, 16384), 0);
	assert_int_equal(attr(f, ino).st_size, 16384);
	assert_int_equal(
		CALL(a, vfs_fallocate, h, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2), 0);
	assert_int_equal(get(f, h, 0, buf, 4), 4);
	assert_memory_equal(buf,
		"\0\0"
		"23",
		4);
	assert_int_equal(CALL(a, vfs_fallocate, h, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -EOPNOTSUPP);
	assert_int_equal(CALL(a, vfs_lseek, h, 0, SEEK_DATA), 0);
	assert_int_equal(CALL(a, vfs_lseek, h, 1 << 20, SEEK_HOLE), -ENXIO);
	set_size(f, ino, h, 0);
	close_h(f, app);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "t", buf, 100), 0);
	ask_free(a);
}

static void test_copy_range(void **state)
{
	struct fix *f = *state;
	uint64_t a_ino = make(f, f->aws, "from", "0123456789", 10);
	struct vfs_handle *in, *out = create_in(f, f->aws, "to", NULL);
	struct ask *a = ask_new();
	char buf[64];

	assert_int_equal(open_ino(f, a_ino, O_RDONLY, &in), 0);
	assert_int_equal(CALL(a, vfs_copy_range, in, 2, out, 0, 100), 0);
	assert_int_equal(a->len, 8);
	assert_int_equal(get(f, out, 0, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "23456789", 8);
	close_h(f, in);
	close_h(f, out);
	ask_free(a);
}

static void test_names(void **state)
{
	struct fix *f = *state;
	uint64_t d, e, ino;
	char name[300];
	struct vfs_handle *h;
	struct ask *a = ask_new();

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(mkdir_in(f, f->aws, "d", NULL), -EEXIST);
	assert_int_equal(mkdir_in(f, d, "e", &e), 0);
	assert_int_equal(attr(f, d).st_nlink, 3);
	assert_int_equal(attr(f, d).st_mode, S_IFDIR | 0755);
	ino = make(f, e, "x", "x", 1);
	assert_int_equal(rmdir_in(f, f->aws, "d"), -ENOTEMPTY);
	assert_int_equal(unlink_in(f, d, "e"), -EISDIR);
	assert_int_equal(rmdir_in(f, e, "x"), -ENOTDIR);
	assert_int_equal(mkdir_in(f, META_ROOT_INO, "new", NULL), -EPERM);
	assert_int_equal(rmdir_in(f, META_ROOT_INO, "aws"), -EPERM);
	memset(name, 'n', 256);
	name[256] = '\0';
	assert_int_equal(mkdir_in(f, d, name, NULL), -ENAMETOOLONG);
	/* the whole key, not only the name */
	name[255] = '\0';
	for (int i = 0; i < 3; i++)
		assert_int_equal(mkdir_in(f, d, name, &d), 0);
	assert_int_equal(mkdir_in(f, d, name, NULL), -ENAMETOOLONG);
	assert_int_equal(rename_to(f, e, "x", d, name, 0), -ENAMETOOLONG);
	assert_int_equal(CALL(a, vfs_symlink, "some/where", e, "link"), 0);
	assert_int_equal(CALL(a, vfs_readlink, (uint64_t)a->c.attr.st.st_ino), 0);
	assert_int_equal(a->len, 10);
	assert_memory_equal(a->data, "some/where", 10);
	assert_int_equal(unlink_in(f, e, "link"), 0);
	/* unlinked while open */
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(unlink_in(f, e, "x"), 0);
	assert_int_equal(lookup(f, e, "x", NULL), -ENOENT);
	assert_int_equal(attr(f, ino).st_nlink, 0);
	assert_int_equal(put(f, h, 0, "yy", 2), 0);
	assert_int_equal(get(f, h, 0, name, 10), 2);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	sync_all(f); /* its upload may have been under way when the name went */
	assert_int_equal(CALL(a, vfs_getattr, ino, NULL), -ESTALE);
	ask_free(a);
}

static void test_rename_rules(void **state)
{
	struct fix *f = *state;
	uint64_t d, e, x, y;
	char buf[16];

	assert_int_equal(mkdir_in(f, f->aws, "d", &d), 0);
	assert_int_equal(mkdir_in(f, d, "e", &e), 0);
	x = make(f, f->aws, "x", "xx", 2);
	y = make(f, f->aws, "y", "yyy", 3);
	assert_int_equal(rename_to(f, f->aws, "d", e, "d", 0), -EINVAL);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "d", 0), -EISDIR);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "x", 0), -ENOTDIR);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "x", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "z", f->aws, "x", 0), -ENOENT);
	assert_int_equal(rename_to(f, META_ROOT_INO, "aws", f->gcp, "x", 0), -EBUSY);
	assert_int_equal(rename_to(f, f->aws, "x", META_ROOT_INO, "x", 0), -EPERM);
	assert_int_equal(rename_to(f, f->aws, "x", f->multi, "x", 0), -EPERM);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "x", RENAME_EXCHANGE), 0);
	assert_int_equal(lookup(f, f->aws, "d", &x), 0);
	assert_int_equal(attr(f, x).st_size, 2);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "x", RENAME_EXCHANGE), 0);
	assert_int_equal(rename_to(f, f->aws, "x", f->aws, "y", 0), 0);
	assert_int_equal(lookup(f, f->aws, "y", &y), 0);
	assert_int_equal(y, x);
	assert_int_equal(rename_to(f, f->aws, "y", e, "y", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "d", f->aws, "d2", 0), 0);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "d2/e/y", buf, sizeof(buf)), 2);
	assert_int_equal(object_get(&f->remotes[0], "y", buf, sizeof(buf)), -ENOENT);
	assert_int_equal(object_get(&f->remotes[0], "x", buf, sizeof(buf)), -ENOENT);
}

static void test_move_to_another_cloud(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "m", "moved", 5), again, dir;
	struct vfs_handle *h;
	char buf[16];

	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(rename_to(f, f->aws, "m", f->gcp, "m", 0), 0);
	assert_int_equal(lookup(f, f->gcp, "m", &again), 0);
	assert_int_equal(again, ino);
	assert_int_equal(get(f, h, 0, buf, 16), 5);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[1], "m", buf, sizeof(buf)), 5);
	assert_int_equal(object_get(&f->remotes[0], "m", buf, sizeof(buf)), -ENOENT);
	assert_string_equal(getx(f, ino, "user.astra.cloud"), "gcp");
	close_h(f, h);
	/* the same by attribute, into a directory that is not there */
	assert_int_equal(mkdir_in(f, f->gcp, "deep", &dir), 0);
	assert_int_equal(rename_to(f, f->gcp, "m", dir, "m", 0), 0);
	assert_int_equal(setx(f, ino, "user.astra.migrate", "nowhere"), -EINVAL);
	assert_int_equal(setx(f, ino, "user.astra.migrate", "aws"), 0);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "deep/m", buf, sizeof(buf)), 5);
	assert_string_equal(getx(f, ino, "user.astra.cloud"), "aws");
}

static void test_attributes(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "x", 1);
	struct stat st = {.st_mode = 0640, .st_uid = 7, .st_mtim = {1577934245, 123456789}};
	struct ask *a = ask_new();

	assert_int_equal(
		CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_MODE | VFS_SET_UID | VFS_SET_MTIME),
		0);
	st = attr(f, ino);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_uid, 7);
	assert_int_equal(st.st_mtim.tv_sec, 1577934245);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	sync_all(f);
	st = attr(f, ino);
	assert_int_equal(st.st_mtim.tv_sec, 1577934245);
	assert_int_equal(CALL(a, vfs_getattr, 999999, NULL), -ESTALE);
	assert_int_equal(CALL(a, vfs_statfs, META_ROOT_INO), 0);
	assert_true(a->c.statvfs.f_bavail > 0);
	ask_free(a);
}

/* As if it had been made two days ago. */
static void grow_old(struct fix *f, uint64_t ino)
{
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.btime_ns -= 2 * 86400 * NS_PER_S;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
}

static void test_xattrs(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "x", 1), dir, in_dir;
	struct ask *a = ask_new();

	assert_null(getx(f, ino, "user.mine"));
	assert_int_equal(setx(f, ino, "user.mine", "v"), 0);
	assert_string_equal(getx(f, ino, "user.mine"), "v");
	assert_int_equal(CALL(a, vfs_getxattr, ino, "user.mine", 0), 0);
	assert_int_equal(a->len, 1);
	assert_int_equal(CALL(a, vfs_setxattr, ino, "user.mine", "", 0, XATTR_CREATE), -EEXIST);
	assert_int_equal(CALL(a, vfs_getxattr, ino, "security.selinux", 0), -EOPNOTSUPP);
	assert_int_equal(CALL(a, vfs_getxattr, ino, "system.posix_acl_access", 0), -EOPNOTSUPP);
	assert_int_equal(setx(f, ino, "user.astra.cost", "1"), 0); /* new: ignored */
	sync_all(f);
	assert_int_equal(setx(f, ino, "user.astra.cost", "1"), 0); /* settled, but still new */
	grow_old(f, ino);
	assert_int_equal(setx(f, ino, "user.astra.cost", "1"), -EPERM);
	assert_int_equal(setx(f, ino, "user.astra.tier", "LUKEWARM"), -EINVAL);
	assert_int_equal(setx(f, ino, "user.astra.nonsense", "1"), -EINVAL);
	assert_int_equal(setx(f, ino, "user.astra.tier", "COLD"), 0);
	sync_all(f);
	assert_string_equal(getx(f, ino, "user.astra.tier"), "COLD");
	assert_non_null(getx(f, ino, "user.astra.recommendation"));
	assert_non_null(getx(f, ino, "user.astra.reason"));
	assert_non_null(getx(f, ino, "user.astra.cost_if.WARM"));
	assert_null(getx(f, ino, "user.astra.files"));
	assert_int_equal(CALL(a, vfs_listxattr, ino, 0), 0);
	assert_true(a->len > 100);
	assert_int_equal(CALL(a, vfs_listxattr, ino, 10), -ERANGE);
	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.mine"), 0);
	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.mine"), -ENODATA);
	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.astra.cost"), -EPERM);
	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.astra.none"), -ENODATA);
	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.astra.tier"), 0);
	/* inherited */
	assert_int_equal(mkdir_in(f, f->aws, "cold", &dir), 0);
	assert_int_equal(setx(f, dir, "user.astra.tier", "WARM"), 0);
	in_dir = make(f, dir, "x", "x", 1);
	sync_all(f);
	assert_string_equal(getx(f, in_dir, "user.astra.tier"), "WARM");
	assert_int_equal(setx(f, dir, "user.astra.refresh", "1"), 0);
	while (meta_totals_flush(f->m, 100) > 0)
		;
	assert_string_equal(getx(f, dir, "user.astra.files"), "1");
	assert_string_equal(getx(f, dir, "user.astra.bytes.WARM"), "1");
	ask_free(a);
}

static void set_mode(struct fix *f, uint64_t ino, mode_t mode)
{
	struct stat st = {.st_mode = mode};
	struct ask *a = ask_new();

	assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_MODE), 0);
	ask_free(a);
}

static struct store_stat head_at(struct fix *f, unsigned remote, const char *key)
{
	struct store_stat st;

	assert_int_equal(
		store_head(f->remotes[remote].st, NULL, (struct store_obj){"b", key}, &st, NULL),
		0);
	return st;
}

static struct store_stat head(struct fix *f, const char *key)
{
	return head_at(f, 0, key);
}

static void set_theirs(struct fix *f, const char *key, const char *name, const char *value)
{
	struct store_meta m = {name, value};

	assert_int_equal(store_set_meta(f->remotes[0].st, NULL, (struct store_obj){"b", key}, NULL,
				 &m, 1, NULL, NULL),
		0);
}

/* Attributes of the user's, and what others say about the same object. */
/* Until when a restored copy can be read; and when that is over nobody tells. */
static void test_restored_until(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "hello", 5);
	struct meta_inode in;
	struct meta_txn *t;

	sync_all(f);
	assert_null(getx(f, ino, "user.astra.restored_until"));
	for (int hour = 1; hour >= -1; hour -= 2) {
		t = meta_begin(f->m);
		assert_int_equal(meta_inode_get(t, ino, &in), 0);
		in.restored_until_ns = clock_now_ns() + hour * 3600 * NS_PER_S;
		(void)meta_inode_put(t, &in);
		assert_int_equal(meta_commit(t), 0);
		assert_string_equal(
			getx(f, ino, "user.astra.state"), hour > 0 ? "restored" : "archived");
		assert_int_equal(!getx(f, ino, "user.astra.restored_until"), hour < 0);
	}
}

static void test_attributes_and_others(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "x", 1);
	char big[1601], fill_up[301];
	struct store_stat st;

	memset(big, 'b', 1600);
	big[1600] = '\0';
	memset(fill_up, 'f', 300);
	fill_up[300] = '\0';
	assert_int_equal(setx(f, ino, "user.mine", "v"), 0);
	sync_all(f);
	st = head(f, "a");
	assert_string_equal(store_stat_meta(&st, "xattr"), "{\"user.mine\":\"dg==\"}");
	store_stat_done(&st);
	set_theirs(f, "a", "their-key", "theirs");
	set_mode(f, ino, 0600);
	sync_all(f);
	st = head(f, "a");
	assert_string_equal(store_stat_meta(&st, "their-key"), "theirs");
	assert_string_equal(store_stat_meta(&st, "mode"), "33152");
	assert_non_null(store_stat_meta(&st, "xattr"));
	store_stat_done(&st);
	/* what would fit alone, but not beside theirs, stays here; the rest goes */
	set_theirs(f, "a", "their-key", fill_up);
	assert_int_equal(setx(f, ino, "user.mine", big), 0);
	set_mode(f, ino, 0640);
	sync_all(f);
	st = head(f, "a");
	assert_string_equal(store_stat_meta(&st, "their-key"), fill_up);
	assert_string_equal(store_stat_meta(&st, "mode"), "33184");
	store_stat_done(&st);
	assert_string_equal(getx(f, ino, "user.astra.state"), "meta-local");
	assert_string_equal(getx(f, ino, "user.mine"), big);
	/* and follows when there is room */
	set_theirs(f, "a", "their-key", NULL);
	set_mode(f, ino, 0600);
	sync_all(f);
	st = head(f, "a");
	assert_true(strlen(store_stat_meta(&st, "xattr")) > 2000);
	store_stat_done(&st);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	/* the last one goes from the object, too */
	assert_int_equal(setx(f, ino, "user.many", big), -ENOSPC);
	struct ask *a = ask_new();

	assert_int_equal(CALL(a, vfs_removexattr, ino, "user.mine"), 0);
	ask_free(a);
	sync_all(f);
	st = head(f, "a");
	assert_null(store_stat_meta(&st, "xattr"));
	store_stat_done(&st);
}

/* Somebody put another object there: it keeps its attributes, and the next listing has them. */
static void test_attributes_of_another_version(void **state)
{
	struct store_meta m[] = {{"mode", "33024"}, {"xattr", "{\"user.theirs\":\"dg==\"}"}};
	struct store_put opt = {.meta = m, .nmeta = 2};
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "a", "x", 1);
	struct store_stat st;

	assert_int_equal(setx(f, ino, "user.mine", "v"), 0);
	sync_all(f);
	assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", "a"}, "other", 5,
				 &opt, NULL, NULL),
		0);
	set_mode(f, ino, 0640);
	sync_all(f);
	st = head(f, "a");
	assert_string_equal(store_stat_meta(&st, "mode"), "33024");
	store_stat_done(&st);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0400);
	assert_int_equal(attr(f, ino).st_size, 5);
	assert_string_equal(getx(f, ino, "user.theirs"), "v");
	assert_null(getx(f, ino, "user.mine"));
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
}

static bool mode_is(struct fix *f, const char *key, const char *mode)
{
	struct store_stat st = head(f, key);
	bool is = !strcmp(store_stat_meta(&st, "mode"), mode);

	store_stat_done(&st);
	return is;
}

/* What others have put on an object goes with it to another cloud, ours goes as far as it fits. */
static void test_attributes_move(void **state)
{
	struct fix *f = *state;
	struct store_stat st;
	char big[2001], mine[801];
	uint64_t ino = make(f, f->aws, "a", "x", 1);

	memset(big, 'f', 2000);
	big[2000] = '\0';
	memset(mine, 'm', 800);
	mine[800] = '\0';
	assert_int_equal(setx(f, ino, "user.mine", "v"), 0);
	sync_all(f);
	set_theirs(f, "a", "their-key", "theirs");
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "b", 0), 0);
	sync_all(f);
	st = head_at(f, 1, "b");
	assert_string_equal(store_stat_meta(&st, "their-key"), "theirs");
	assert_string_equal(store_stat_meta(&st, "xattr"), "{\"user.mine\":\"dg==\"}");
	store_stat_done(&st);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	/* both do not fit: nobody else has theirs */
	assert_int_equal(rename_to(f, f->gcp, "b", f->aws, "a", 0), 0);
	sync_all(f);
	set_theirs(f, "a", "their-key", big);
	assert_int_equal(setx(f, ino, "user.mine", mine), 0);
	sync_all(f);
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "b", 0), 0);
	sync_all(f);
	st = head_at(f, 1, "b");
	assert_string_equal(store_stat_meta(&st, "their-key"), big);
	assert_null(store_stat_meta(&st, "xattr"));
	store_stat_done(&st);
	assert_string_equal(getx(f, ino, "user.mine"), mine);
	assert_string_equal(getx(f, ino, "user.astra.state"), "meta-local");
	/* nor does ours where there is less room */
	ino = make(f, f->aws, "small", "x", 1);
	assert_int_equal(setx(f, ino, "user.mine", mine), 0);
	sync_all(f);
	f->remotes[1].caps.meta_max = 600;
	assert_int_equal(rename_to(f, f->aws, "small", f->gcp, "small", 0), 0);
	sync_all(f);
	assert_string_equal(getx(f, ino, "user.astra.state"), "meta-local");
	assert_string_equal(getx(f, ino, "user.mine"), mine);
	assert_int_equal(rename_to(f, f->gcp, "small", f->aws, "small", 0), 0);
	sync_all(f);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
}

/* Where a change of metadata copies the object it is made when it is worth that, and late. */
static void test_attributes_by_copy(void **state)
{
	struct fix *f = *state;
	static char data[2000];
	uint64_t a, warm, large;
	struct vfs_handle *h;
	int64_t start;

	f->remotes[0].caps.set_meta = false;
	f->remotes[0].caps.meta_copy = 1000;
	a = make(f, f->aws, "a", "x", 1);
	warm = make(f, f->aws, "warm", "x", 1);
	large = make(f, f->aws, "large", data, sizeof(data));
	sync_all(f);
	assert_int_equal(setx(f, warm, "user.astra.tier", "WARM"), 0);
	sync_all(f);
	set_mode(f, a, 0600);
	set_mode(f, warm, 0600);
	set_mode(f, large, 0600);
	/* an fsync of the file does not wait for it, nor make it */
	start = clock_mono_ns();
	assert_int_equal(open_ino(f, a, O_RDWR, &h), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	assert_true(mode_is(f, "a", "33188"));
	assert_string_equal(getx(f, a, "user.astra.state"), "meta-local");
	/* one of all does; elsewhere than in HOT, and for large ones, it stays here */
	sync_all(f);
	assert_true(mode_is(f, "a", "33152"));
	assert_string_equal(getx(f, a, "user.astra.state"), "settled");
	assert_true(mode_is(f, "warm", "33188") && mode_is(f, "large", "33188"));
	assert_string_equal(getx(f, warm, "user.astra.state"), "meta-local");
	assert_string_equal(getx(f, large, "user.astra.state"), "meta-local");
	/* until the next write */
	assert_int_equal(open_ino(f, large, O_RDWR, &h), 0);
	assert_int_equal(put(f, h, 0, "y", 1), 0);
	close_h(f, h);
	sync_all(f);
	assert_true(mode_is(f, "large", "33152"));
	assert_string_equal(getx(f, large, "user.astra.state"), "settled");
	/* nobody waits a minute behind it */
	set_mode(f, a, 0640);
	assert_int_equal(rename_to(f, f->aws, "a", f->aws, "c", 0), 0);
	for (struct store_stat st;; (void)usleep(10000)) {
		if (!store_head(f->remotes[0].st, NULL, (struct store_obj){"b", "c"}, &st, NULL)) {
			store_stat_done(&st);
			break;
		}
		assert_true(clock_mono_ns() - start < 30 * NS_PER_S);
	}
	assert_true(mode_is(f, "c", "33184"));
	assert_int_equal(rename_to(f, f->aws, "c", f->aws, "a", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "b", 0), 0);
	sync_all(f);
	assert_int_equal(attr(f, a).st_mode, S_IFREG | 0640);
	set_mode(f, large, 0640);
	assert_int_equal(unlink_in(f, f->aws, "large"), 0);
	sync_all(f);
	assert_true(clock_mono_ns() - start < 30 * NS_PER_S);
}

/* Where listings have no metadata the objects are asked, each version once. */
static void test_attributes_by_head(void **state)
{
	struct store_meta m[] = {{"mode", "33024"}, {"xattr", "{\"user.theirs\":\"dg==\"}"}};
	struct store_put opt = {.meta = m, .nmeta = 2};
	static const char *const keys[] = {"a", "bad", "gone"};
	struct fix *f = *state;
	uint64_t ino;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", keys[i]},
					 "x", 1, &opt, NULL, NULL),
			0);
	f->remotes[0].caps.list_meta = false;
	f->remotes[0].caps.head_meta = true;
	/* one that may not be asked, or is gone when it is, breaks no listing; one that does not
	 * answer does, and nothing wrong is kept */
	fault(f, 0, "head:key=a:error=EIO");
	assert_int_equal(lookup(f, f->aws, "a", NULL), -EIO);
	fault(f, 0, "head:key=bad:error=EACCES;head:key=gone:error=ENOENT");
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, f->aws, "bad", &ino), 0);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0644);
	assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0400);
	assert_string_equal(getx(f, ino, "user.theirs"), "v");
	/* what is known is not asked again, nor what we wrote */
	(void)make(f, f->aws, "ours", "x", 1);
	sync_all(f);
	fault(f, 0, "head:error=EIO");
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0400);
	/* a new version is */
	m[0].value = "33152";
	fault(f, 0, "");
	opt.nmeta = 1;
	assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", "a"}, "y", 1,
				 &opt, NULL, NULL),
		0);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0600);
	assert_null(getx(f, ino, "user.theirs"));
}

/* They are asked side by side, and no more of them when one does not answer. */
static void test_heads_side_by_side(void **state)
{
	enum { N = 40 };
	struct store_meta m[] = {{"mode", "33024"}};
	struct store_put opt = {.meta = m, .nmeta = 1};
	struct fix *f = *state;
	uint64_t ino, before;
	int64_t start;
	char key[16];

	for (unsigned i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "f%u", i);
		assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", key},
					 "x", 1, &opt, NULL, NULL),
			0);
	}
	f->remotes[0].real = true;
	f->remotes[0].caps.list_meta = false;
	f->remotes[0].caps.head_meta = true;
	fault(f, 0, "head:n=10:error=EIO;head:delay=50");
	before = count_get(COUNT_store_requests);
	assert_int_equal(lookup(f, f->aws, "f0", NULL), -EIO);
	assert_in_range(count_get(COUNT_store_requests) - before, 11, 11 + 14);
	fault(f, 0, "head:delay=50");
	start = clock_mono_ns();
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_true(clock_mono_ns() - start < N * 40 * NS_PER_MS);
	before = count_get(COUNT_store_requests);
	for (unsigned i = 0; i < N; i++) {
		snprintf(key, sizeof(key), "f%u", i);
		assert_int_equal(lookup(f, f->aws, key, &ino), 0);
		assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0400);
	}
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(count_get(COUNT_store_requests) - before, 1);
}

/* What is changed while the bytes are on their way is not lost on them. */
static void test_attributes_during_an_upload(void **state)
{
	struct fix *f = *state;
	struct store_stat st;
	uint64_t ino;

	fault(f, 0, "put:delay=400");
	ino = make(f, f->aws, "a", "x", 1);
	(void)usleep(200000);
	assert_string_equal(getx(f, ino, "user.astra.state"), "uploading");
	assert_int_equal(setx(f, ino, "user.late", "v"), 0);
	set_mode(f, ino, 0600);
	sync_all(f);
	st = head(f, "a");
	assert_string_equal(store_stat_meta(&st, "mode"), "33152");
	assert_non_null(store_stat_meta(&st, "xattr"));
	store_stat_done(&st);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
}

static bool fill(struct vfs_call *c, const char *name, const struct vfs_attr *at, uint64_t next)
{
	struct ask *a = container_of(c, struct ask, c);

	if (a->dir.count == a->dir.max)
		return true;
	a->dir.count++;
	a->dir.last = next;
	if (strlen(a->dir.names) + strlen(name) + 2 < sizeof(a->dir.names)) {
		strcat(a->dir.names, name);
		strcat(a->dir.names, " ");
	}
	return false;
}

static void test_readdir(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	struct ask *a = ask_new();
	unsigned total = 0;
	char name[32];

	object_put(&f->remotes[0], "old", "x", 1);
	for (int i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		(void)make(f, f->aws, name, "", 0);
	}
	a->c.fill = fill;
	assert_int_equal(CALL(a, vfs_opendir, f->aws), 0);
	h = a->c.handle;
	for (unsigned n = 1; n;) {
		a->dir.count = 0;
		a->dir.max = 7;
		assert_int_equal(CALL(a, vfs_readdir, h, a->dir.last), 0);
		n = a->dir.count;
		total += n;
		/* what is read goes: the place in the directory stays */
		if (total == 21)
			assert_int_equal(unlink_in(f, f->aws, "f3"), 0);
	}
	assert_int_equal(total, 53);
	assert_non_null(strstr(a->dir.names, " old "));
	assert_non_null(strstr(a->dir.names, " f49 "));
	assert_int_equal(CALL(a, vfs_fsyncdir, h), 0);
	assert_int_equal(CALL(a, vfs_releasedir, h), 0);
	ask_free(a);
}

/* Lists dir as thread pid; returns how many names came with attributes. */
static unsigned list_as(struct fix *f, uint64_t dir, int pid)
{
	struct ask *a = ask_new();
	struct vfs_handle *h;
	unsigned rows = 0;

	a->c.fill = fill;
	a->c.pid = pid;
	assert_int_equal(CALL(a, vfs_opendir, dir), 0);
	h = a->c.handle;
	for (unsigned n = 1; n;) {
		a->dir.count = 0;
		a->dir.max = 100;
		a->c.plain = false;
		assert_int_equal(CALL(a, vfs_readdir, h, a->dir.last), 0);
		n = a->dir.count;
		rows += a->c.plain ? 0 : n;
	}
	assert_int_equal(CALL(a, vfs_releasedir, h), 0);
	ask_free(a);
	return rows;
}

/* The first names of a directory come with attributes; all of them for who looks at them. */
static void test_readdir_attributes(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new();
	char name[32];
	uint64_t dir, ino;

	fix_down(f);
	f->vc.rows_first = 1024;
	fix_up(f);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(name, sizeof(name), "d/f%d", i);
		object_put(&f->remotes[0], name, "x", 1);
	}
	assert_int_equal(lookup(f, f->aws, "d", &dir), 0);
	assert_int_equal(lookup(f, dir, "f0", &ino), 0);
	assert_int_equal(list_as(f, dir, 7), 1100);
	assert_int_equal(list_as(f, dir, 7), 1100);
	a->c.pid = 7;
	assert_int_equal(CALL(a, vfs_lookup, dir, "f1499"), 0);
	assert_int_equal(list_as(f, dir, 7), 1502);
	assert_int_equal(list_as(f, dir, 8), 1100); /* somebody else */
	assert_int_equal(lookup(f, dir, "f1499", &ino), 0);
	a->c.pid = 8;
	assert_int_equal(CALL(a, vfs_getattr, ino, NULL), 0);
	assert_int_equal(list_as(f, dir, 8), 1502);
	ask_free(a);
}

static void test_buckets(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new();
	uint64_t b;

	assert_int_equal(mkdir_in(f, f->multi, "box", &b), 0);
	assert_int_equal(CALL(a, vfs_create, f->multi, "file", 0644, O_RDWR), -EPERM);
	(void)make(f, b, "x", "x", 1);
	assert_int_equal(rmdir_in(f, f->multi, "box"), -ENOTEMPTY);
	assert_int_equal(unlink_in(f, b, "x"), 0);
	assert_int_equal(rmdir_in(f, f->multi, "box"), 0);
	assert_int_equal(store_bucket_remove(f->remotes[2].st, NULL, "box", NULL), -ENOENT);
	assert_int_equal(lookup(f, f->multi, "box", NULL), -ENOENT);
	ask_free(a);
}

static void test_restart_keeps_what_is_dirty(void **state)
{
	struct fix *f = *state;
	uint64_t ino, again;
	char buf[16];
	struct vfs_handle *h;

	fault(f, 0, "put,parts_begin:error=EIO/retry");
	ino = make(f, f->aws, "keep", "kept", 4);
	fix_down(f);
	fault(f, 0, "");
	fix_up(f);
	assert_int_equal(lookup(f, f->aws, "keep", &again), 0);
	assert_int_equal(again, ino);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, 16), 4);
	assert_memory_equal(buf, "kept", 4);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "keep", buf, sizeof(buf)), 4);
}

/* Somebody makes another version, and we know before the kernel does, which appends where the old
 * one ended: it goes behind theirs, not into it. */
static void test_append_to_what_others_made_longer(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new();
	struct vfs_handle *h;
	uint64_t ino = make(f, f->aws, "both", "base\n", 5);
	char buf[32];

	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_WRONLY | O_APPEND, &h), 0);
	object_put(&f->remotes[0], "both", "base\ntheirs\n", 12);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(attr(f, ino).st_size, 12);
	assert_int_equal(CALL(a, vfs_write, h, 5, "ours\n", 5, true), 0);
	assert_int_equal(a->c.len, 5);
	ask_free(a);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[0], "both", buf, sizeof(buf)), 17);
	assert_memory_equal(buf, "base\ntheirs\nours\n", 17);
}

/* The row learns of another version just before the first write marks it, and the open file did not
 * hear of it yet: what is uploaded is theirs with our change, not ours in its place. */
static void test_mark_after_another_version(void **state)
{
	struct fix *f = *state;
	struct remote *r = &f->remotes[0];
	struct store_stat st = {0};
	struct meta_inode in;
	struct vfs_handle *h;
	uint64_t ino = make(f, f->aws, "m", "base", 4);
	struct meta_txn *t;
	struct err err = {0};
	char buf[16];

	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_RDWR, &h), 0);
	assert_int_equal(get(f, h, 0, buf, sizeof(buf)), 4);
	assert_int_equal(store_put(r->st, NULL, (struct store_obj){r->bucket, "m"}, "theirs", 6,
				 NULL, &st, &err),
		0);
	t = meta_begin(f->m);
	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	(void)snprintf(in.loc.etag, sizeof(in.loc.etag), "%s", st.etag);
	in.size = 6;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
	store_stat_done(&st);
	assert_int_equal(put(f, h, 0, "X", 1), 0);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(object_get(r, "m", buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "Xheirs", 6);
}

static uint64_t row_size(struct fix *f, uint64_t ino)
{
	struct meta_txn *t = meta_begin_read(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	return in.size;
}

static sem_t blocked, go_on;

static void block(struct pool_task *t)
{
	(void)t;
	sem_post(&blocked);
	(void)sem_wait(&go_on);
}

/* Files that are closed one after another cost a transaction each, not two; whoever asks is told
 * what they are, and so is who reads rows once he said so. Nothing of that is told by the pool
 * here, which would do so the more often the longer it takes. */
static void test_closes_are_told_together(void **state)
{
	struct fix *f = *state;
	struct pool_task busy[2];
	uint64_t ino[200], before;
	char name[16];

	fix_down(f);
	f->vc.upload_delay_ns = 3600 * NS_PER_S;
	fix_up(f);
	(void)make(f, f->aws, "first", "hello", 5); /* the directory is listed: a call that waits */
	vfs_catch_up(f->v);
	assert_int_equal(pool_threads(f->pool), ARRAY_SIZE(busy));
	sem_init(&blocked, 0, 0);
	sem_init(&go_on, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
		pool_task_init(&busy[i], LANE_FOREGROUND, block);
		assert_true(pool_post(f->pool, &busy[i]));
	}
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
		(void)sem_wait(&blocked);
	before = count_get(COUNT_meta_commits);
	for (size_t i = 0; i < ARRAY_SIZE(ino); i++) {
		(void)snprintf(name, sizeof(name), "f%zu", i);
		ino[i] = make(f, f->aws, name, "hello", 5);
		assert_int_equal(attr(f, ino[i]).st_size, 5);
	}
	assert_int_equal(count_get(COUNT_meta_commits) - before, ARRAY_SIZE(ino));
	vfs_catch_up(f->v);
	assert_true(count_get(COUNT_meta_commits) - before <= ARRAY_SIZE(ino) + 2);
	for (size_t i = 0; i < ARRAY_SIZE(busy); i++)
		sem_post(&go_on);
	for (size_t i = 0; i < ARRAY_SIZE(ino); i++)
		assert_int_equal(row_size(f, ino[i]), 5);
	/* A tenth of a second later by itself; and at the end. */
	ino[0] = make(f, f->aws, "late", "hello", 5);
	for (unsigned i = 0; row_size(f, ino[0]) != 5 && i < PATIENCE_S * 100; i++)
		(void)usleep(10000);
	assert_int_equal(row_size(f, ino[0]), 5);
	ino[1] = make(f, f->aws, "last", "hello", 5);
	vfs_stop(f->v);
	assert_int_equal(row_size(f, ino[1]), 5);
}

/* Who asks for rows to be told while others tell them waits until they are. */
static void *catch_up_size(void *arg)
{
	struct fix *f = arg;
	static uint64_t size;
	uint64_t ino;

	assert_int_equal(lookup(f, f->aws, "f", &ino), 0);
	vfs_catch_up(f->v);
	size = row_size(f, ino);
	return &size;
}

static void test_catching_up_waits(void **state)
{
	struct fix *f = *state;
	struct meta_txn *t;
	pthread_t th;
	void *size;

	fix_down(f);
	f->vc.upload_delay_ns = 3600 * NS_PER_S;
	fix_up(f);
	(void)make(f, f->aws, "f", "hello", 5);
	t = meta_begin(f->m);
	(void)usleep(300000); /* now the pool tells, and waits */
	assert_int_equal(pthread_create(&th, NULL, catch_up_size, f), 0);
	(void)usleep(100000);
	meta_abort(t);
	assert_int_equal(pthread_join(th, &size), 0);
	assert_int_equal(*(uint64_t *)size, 5);
}

/* An index that is full: who asks for the file is told its size all the same. */
static void test_rows_that_cannot_be_told(void **state)
{
	struct fix *f = *state;
	struct meta_txn *old, *t;
	char key[32], pad[1 << 16] = "";
	size_t len = sizeof(pad), n = 0;
	uint64_t ino;
	errint_t r;

	fix_down(f);
	f->vc.upload_delay_ns = 3600 * NS_PER_S;
	help_map = 4 << 20;
	fix_up(f);
	help_map = MAP;
	ino = make(f, f->aws, "f", "hello", 5);
	old = meta_begin_read(f->m); /* nothing is used again */
	while (len) {
		(void)snprintf(key, sizeof(key), "pad%zu", n++);
		t = meta_begin(f->m);
		r = meta_kv_put(t, key, pad, len);
		if (r)
			meta_abort(t);
		else
			r = meta_commit(t);
		if (r)
			len /= 2;
	}
	vfs_catch_up(f->v);
	assert_int_equal(attr(f, ino).st_size, 5);
	meta_abort(old);
}

/* A kill between what an upload does to staging and to the row, which was behind. */
static void test_killed_while_an_upload_settles(void **state)
{
	struct fix *f = *state;
	uint64_t ino = make(f, f->aws, "f", "hello", 5);
	struct meta_inode in;
	struct meta_txn *t;

	sync_all(f);
	t = meta_begin(f->m);
	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.size = 0;
	in.flags |= META_F_DIRTY;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_dirty_set(t, ino, true), 0);
	assert_int_equal(meta_commit(t), 0);
	fix_down(f);
	f->vc.upload_delay_ns = 3600 * NS_PER_S;
	fix_up(f);
	assert_int_equal(attr(f, ino).st_size, 5);
}

static void *read_f(void *arg)
{
	struct fix *f = arg;
	struct vfs_handle *h;
	char buf[8];
	uint64_t ino;

	assert_int_equal(lookup(f, f->aws, "f", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, sizeof(buf)), 5);
	close_h(f, h);
	return NULL;
}

static void *size_of_f(void *arg)
{
	static off_t size;
	struct fix *f = arg;
	uint64_t ino;

	assert_int_equal(lookup(f, f->aws, "f", &ino), 0);
	size = attr(f, ino).st_size;
	return &size;
}

/* A file that is marked as changed, whose staging begins anew just now, is not empty meanwhile. */
static void test_staging_that_begins(void **state)
{
	struct fix *f = *state;
	uint64_t ino;
	struct meta_txn *t;
	pthread_t reads, asks;
	void *size;

	fix_down(f);
	f->vc.upload_delay_ns = 3600 * NS_PER_S;
	fix_up(f);
	object_put(&f->remotes[0], "f", "hello", 5);
	assert_int_equal(lookup(f, f->aws, "f", &ino), 0);
	t = meta_begin(f->m);
	assert_int_equal(meta_dirty_set(t, ino, true), 0);
	assert_int_equal(meta_commit(t), 0);
	t = meta_begin(f->m);
	assert_int_equal(pthread_create(&reads, NULL, read_f, f), 0);
	(void)usleep(200000); /* now it waits for the writer */
	assert_int_equal(pthread_create(&asks, NULL, size_of_f, f), 0);
	assert_int_equal(pthread_join(asks, &size), 0);
	meta_abort(t);
	assert_int_equal(pthread_join(reads, NULL), 0);
	assert_int_equal(*(off_t *)size, 5);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* A new file with holes is uploaded and unlinked while it is open: before and after its upload, and
 * after its object got another version. What staging has not got stays to be had. */
static void test_holes_of_an_orphan(void **state)
{
	struct fix *f = *state;
	char got[8];

	for (int how = 0; how < 3; how++) {
		uint64_t ino;
		struct vfs_handle *h = create_in(f, f->aws, "holes", &ino);

		assert_int_equal(put(f, h, 200000, "end", 3), 0);
		if (how == 0)
			fault(f, 0, "put:delay=100");
		else
			assert_int_equal(fsync_h(f, h), 0);
		if (how == 2) {
			assert_int_equal(setx(f, ino, "user.astra.tier", "WARM"), 0);
			sync_all(f);
		}
		usleep(60000);
		assert_int_equal(unlink_in(f, f->aws, "holes"), 0);
		usleep(200000);
		sync_all(f);
		assert_int_equal(put(f, h, 5, "abc", 3), 0);
		assert_int_equal(get(f, h, 4, got, 5), 5);
		assert_memory_equal(got, "\0abc\0", 5);
		assert_int_equal(get(f, h, 199998, got, 5), 5);
		assert_memory_equal(got, "\0\0end", 5);
		close_h(f, h);
		sync_all(f);
		assert_int_equal(object_get(&f->remotes[0], "holes", got, 1), -ENOENT);
		fault(f, 0, "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_write_reaches_the_cloud),
		T(test_fsync_is_in_the_cloud),
		T(test_foreign_objects_are_read),
		T(test_near_objects_are_not_cached),
		T(test_near_objects_move_and_go),
		T(test_partial_write_of_an_uncached_file),
		T(test_truncate_append_holes),
		T(test_holes_of_an_orphan),
		T(test_copy_range),
		T(test_names),
		T(test_rename_rules),
		T(test_move_to_another_cloud),
		T(test_attributes),
		T(test_xattrs),
		T(test_restored_until),
		T(test_attributes_and_others),
		T(test_attributes_of_another_version),
		T(test_attributes_during_an_upload),
		T(test_attributes_move),
		T(test_attributes_by_copy),
		T(test_attributes_by_head),
		T(test_heads_side_by_side),
		T(test_readdir),
		T(test_readdir_attributes),
		T(test_buckets),
		T(test_restart_keeps_what_is_dirty),
		T(test_closes_are_told_together),
		T(test_append_to_what_others_made_longer),
		T(test_mark_after_another_version),
		T(test_catching_up_waits),
		T(test_rows_that_cannot_be_told),
		T(test_killed_while_an_upload_settles),
		T(test_staging_that_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
