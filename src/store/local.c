/* SPDX-License-Identifier: MIT */
/*
 * The local driver: a directory that behaves like a cloud, and whose objects are plain files under
 * their own names (local_priv.h shows the lay-out). Here: the store itself, its start and stop,
 * its buckets.
 *
 * Several processes may use one root. Each has an owner file that it keeps locked; temporary files
 * bear the owner's name, so that the next start can remove those of the dead.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define OWNER_PREFIX	"owner."
#define DEAD_PREFIX	"dead."
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#define UPLOAD_BLANK_S	3600 /* an upload directory without info that is older was never begun */
#define LIFECYCLE_BYTES (1u << 20)

static void local_caps(struct store *s, struct store_caps *ret)
{
	struct local *l = (struct local *)s;

	*ret = (struct store_caps){
		.key_max = STORE_KEY_MAX,
		.meta_max = DRIVER_META_BYTES_MAX,
		.conditional_put = true,
		.conditional_remove = true,
		.conditional_copy = true,
		.list_after = true,
		.list_meta = true,
		.set_meta = true,
		.part_copy = true,
		.copy = true,
		.archive = driver_has_offline(l->classes),
		.checksums = true,
		.near = l->near,
		.part_min = 1,
		.part_max = UINT64_C(5) << 30,
		.object_max = UINT64_C(1) << 42,
		.parts_max = LOCAL_PARTS_MAX,
	};
}

/* ---- buckets ---- */

static void bucket_dir(const struct local *l, const char *bucket, char ret[LOCAL_PATH_MAX])
{
	snprintf(ret, LOCAL_PATH_MAX, "%s/%s", l->root, bucket);
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

errint_t local_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX], **v = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;
	struct stat sb;
	DIR *d = opendir(l->root);
	errint_t r = 0;

	if (!d)
		return local_fail(-errno, "cannot list", l->root, err);
	while (!r && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		bucket_dir(l, e->d_name, path);
		if (lstat(path, &sb) || !S_ISDIR(sb.st_mode))
			continue;
		if (n == cap) {
			char **p = reallocarray(v, cap ? 2 * cap : 16, sizeof(*v));

			if (p) {
				v = p;
				cap = cap ? 2 * cap : 16;
			}
		}
		if (n == cap || !(v[n] = strdup(e->d_name)))
			r = err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		else
			n++;
	}
	(void)closedir(d);
	if (r) {
		while (n)
			free(v[--n]);
		free(v);
		return r;
	}
	if (n)
		qsort(v, n, sizeof(*v), name_cmp);
	*ret = v;
	*ret_n = n;
	return 0;
}

errint_t local_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX];
	errint_t r;

	bucket_dir(l, bucket, path);
	if (mkdir(path, 0777)) {
		if (errno == EEXIST)
			return err_set(err, -EEXIST, ERR_FINAL, "bucket '%s' exists", bucket);
		return local_fail(-errno, "cannot make the directory", path, err);
	}
	r = local_private_make(l, bucket, err);
	return r ? r : local_fsync_dir(l, l->root, err);
}

static int remove_entry(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
	return (type == FTW_DP || type == FTW_DNR ? rmdir(path) : unlink(path)) ? -1 : 0;
}

errint_t local_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX], dead[LOCAL_PATH_MAX];
	errint_t r = 0;

	bucket_dir(l, bucket, path);
	if (access(path, F_OK))
		return err_set(err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", bucket);
	if (ldir_any(path))
		goto not_empty;
	/* Out of sight at once, so that nothing new can come; then look again. */
	snprintf(dead, sizeof(dead), "%s/" LOCAL_PRIVATE "/" DEAD_PREFIX "%016llx", l->root,
		(unsigned long long)random_u64());
	if (rename(path, dead))
		return local_fail(-errno, "cannot remove", path, err);
	if (ldir_any(dead) && !rename(dead, path))
		goto not_empty;
	r = local_fsync_dir(l, l->root, err);
	(void)nftw(dead, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return r;
not_empty:
	return err_set(err, -ENOTEMPTY, ERR_FINAL, "bucket '%s' is not empty", bucket);
}

errint_t local_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err)
{
	struct local *l = (struct local *)s;
	cleanup_free char *json = NULL;
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	struct stat sb;
	size_t got;
	errint_t r;

	bucket_dir(l, bucket, path);
	if (access(path, F_OK))
		return err_set(err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", bucket);
	lpath_private(l, bucket, "lifecycle.json", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "bucket '%s' has no life cycle rules", bucket);
	if (fd < 0 || fstat(fd, &sb))
		return local_fail(-errno, "cannot open", path, err);
	if (sb.st_size > LIFECYCLE_BYTES)
		return err_set(err, -EBADMSG, ERR_FINAL, "%.200s is too large", path);
	json = calloc(1, (size_t)sb.st_size + 1);
	if (!json)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = lio_read(fd, 0, json, (size_t)sb.st_size, &got);
	if (r)
		return local_fail(r, "cannot read", path, err);
	*ret_json = steal_ptr(&json);
	return 0;
}

errint_t local_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err)
{
	struct local *l = (struct local *)s;
	struct ltmp t = LTMP_INIT;
	char path[LOCAL_PATH_MAX];
	errint_t r = driver_lifecycle_check(json, err);

	r = r ? r : ltmp_new(l, bucket, &t, err);
	if (r)
		return r;
	lpath_private(l, bucket, "lifecycle.json", path);
	r = lio_write(t.fd, 0, json, strlen(json));
	if (!r && l->sync && fsync(t.fd))
		r = -errno;
	if (!r && rename(t.path, path))
		r = -errno;
	t.made = t.made && r;
	if (r)
		r = local_fail(r, "cannot write", path, err);
	ltmp_done(l, bucket, &t);
	if (r)
		return r;
	lpath_up(path);
	return local_fsync_dir(l, path, err);
}

/* There is nobody to be asked. */
errint_t local_ready(struct store *s, const struct store_call *c, const char *bucket,
	enum store_ready what, struct err *err)
{
	return 0;
}

/* ---- what the dead left behind ---- */

static bool owner_lives(const struct local *l, const char *owner)
{
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;

	if (!strcmp(owner, l->owner))
		return true;
	snprintf(path, sizeof(path), "%s/" LOCAL_PRIVATE "/" OWNER_PREFIX "%.16s", l->root, owner);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno != ENOENT;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return true;
	(void)unlink(path);
	return false;
}

static void clean_tmp(struct local *l, const char *bucket)
{
	char dir[LOCAL_PATH_MAX], path[LOCAL_PATH_MAX], last[17] = "", now[17];
	bool lives = false;
	struct dirent *e;
	DIR *d;

	lpath_private(l, bucket, "tmp", dir);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (strlen(e->d_name) != 17 + DRIVER_ETAG_LEN || e->d_name[16] != '.')
			continue;
		snprintf(now, sizeof(now), "%.16s", e->d_name);
		if (strcmp(now, last))
			lives = owner_lives(l, now);
		memcpy(last, now, sizeof(last));
		snprintf(path, sizeof(path), "%.*s/%s", LOCAL_PATH_MAX - 260, dir, e->d_name);
		if (!lives)
			local_tmp_remove(l, bucket, path);
	}
	if (d)
		(void)closedir(d);
}

/* Upload directories of which nobody was told: made, but not begun. */
static void clean_uploads(struct local *l, const char *bucket)
{
	char dir[LOCAL_PATH_MAX], path[LOCAL_PATH_MAX], info[LOCAL_PATH_MAX];
	struct dirent *e;
	struct stat sb;
	DIR *d;

	lpath_private(l, bucket, "uploads", dir);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%.*s/%s", LOCAL_PATH_MAX - 260, dir, e->d_name);
		snprintf(info, sizeof(info), "%.*s/info", LOCAL_PATH_MAX - 6, path);
		if (!access(info, F_OK) || stat(path, &sb) ||
			sb.st_mtim.tv_sec > time(NULL) - UPLOAD_BLANK_S)
			continue;
		(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	}
	if (d)
		(void)closedir(d);
}

static void clean_root(struct local *l)
{
	char dir[LOCAL_PATH_MAX], path[LOCAL_PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/" LOCAL_PRIVATE, l->root);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		size_t own = strlen(OWNER_PREFIX), dead = strlen(DEAD_PREFIX);

		if (!strncmp(e->d_name, DEAD_PREFIX, dead)) {
			snprintf(path, sizeof(path), "%.*s/%s", LOCAL_PATH_MAX - 260, dir,
				e->d_name);
			if (!ldir_any(path))
				(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
		} else if (!strncmp(e->d_name, OWNER_PREFIX, own)) {
			(void)owner_lives(l, e->d_name + own);
		}
	}
	if (d)
		(void)closedir(d);
}

static void clean(struct local *l)
{
	char **buckets;
	size_t n;

	if (local_bucket_list(&l->store, NULL, &buckets, &n, NULL))
		return; /* the first call that needs the root says why */
	for (size_t i = 0; i < n; i++) {
		clean_tmp(l, buckets[i]);
		clean_uploads(l, buckets[i]);
		free(buckets[i]);
	}
	free(buckets);
	clean_root(l);
}

/* ---- start and stop ---- */

static void local_destroy(struct store *s)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX];

	if (l->owner_fd >= 0) {
		snprintf(path, sizeof(path), "%s/" LOCAL_PRIVATE "/" OWNER_PREFIX "%s", l->root,
			l->owner);
		(void)unlink(path);
		(void)close(l->owner_fd);
	}
	if (l->lock_fd >= 0)
		(void)close(l->lock_fd);
	local_dirs_destroy(l->dirs);
	for (unsigned i = 0; i < LOCAL_STRIPES; i++)
		lock_done(&l->stripes[i]);
	lock_done(&l->tree);
	free(l->root);
	free(l);
}

static void local_describe(struct store *s, struct buf *ret)
{
	(void)buf_addf(ret, "embedded, in %s", ((const struct local *)s)->root);
}

/* Acts like most clouds. */
#define local_rename NULL
static const struct store_ops local_ops = {
	.name = "local",
	.caps = local_caps,
	.describe = local_describe,
#define X(opn, key, want, done, cond, params, args) .opn = local_##opn,
	STORE_OPS(X)
#undef X
		.destroy = local_destroy,
};

static errint_t make_path(char *path, struct err *err)
{
	for (char *p = path + 1;; p++) {
		char was = *p;

		if (was && was != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0777) && errno != EEXIST)
			return local_fail(-errno, "cannot make the directory", path, err);
		*p = was;
		if (!was)
			return 0;
	}
}

/* Takes the root's lock for a moment, so that nobody takes a new owner file for a dead one. */
static errint_t owner_make(struct local *l, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	uint8_t id[8];
	errint_t r = 0;

	snprintf(path, sizeof(path), "%s/" LOCAL_PRIVATE "/lock", l->root);
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (l->lock_fd < 0)
		return local_fail(-errno, "cannot open", path, err);
	local_tree_lock(l);
	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), l->owner);
	snprintf(path, sizeof(path), "%s/" LOCAL_PRIVATE "/" OWNER_PREFIX "%s", l->root, l->owner);
	l->owner_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (l->owner_fd < 0 || flock(l->owner_fd, LOCK_EX | LOCK_NB))
		r = local_fail(-errno, "cannot lock", path, err);
	else if (fsetxattr(l->owner_fd, LOCAL_XATTR, "?", 1, 0))
		r = err_set(err, -errno, ERR_FINAL,
			"%.200s: the file system there has no extended user attributes (%s); "
			"choose a directory on ext4, xfs, btrfs or tmpfs of Linux 6.6",
			l->root, strerror(errno));
	if (!r)
		clean(l);
	local_tree_unlock(l);
	return r;
}

/* Not on a network file system, nor on another FUSE mount: those can hang. */
static bool is_near(const char *path)
{
	static const unsigned long kinds[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
		F2FS_SUPER_MAGIC, TMPFS_MAGIC, ZFS_SUPER_MAGIC};
	struct statfs st;

	if (statfs(path, &st))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if ((unsigned long)st.f_type == kinds[i])
			return true;
	}
	return false;
}

errint_t store_local_new(const struct store_local_conf *conf, struct store **ret, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	struct local *l;
	errint_t r;

	assert(conf->root && conf->root[0] == '/');
	*ret = NULL;
	if (strlen(conf->root) > LOCAL_ROOT_MAX)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL,
			"the path of a local store is longer than %d bytes", LOCAL_ROOT_MAX);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	l->store.ops = &local_ops;
	l->lock_fd = l->owner_fd = -1;
	memcpy(l->classes, conf->classes, sizeof(l->classes));
	l->sync = conf->sync;
	l->verify = conf->verify;
	lock_init(&l->tree, RANK_STORE, "local.tree");
	for (unsigned i = 0; i < LOCAL_STRIPES; i++)
		lock_init(&l->stripes[i], RANK_STORE_D, "local.stripe");
	l->root = strdup(conf->root);
	l->dirs = local_dirs_new();
	r = l->root && l->dirs ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (!r) {
		snprintf(path, sizeof(path), "%s/" LOCAL_PRIVATE, l->root);
		r = make_path(path, err);
	}
	r = r ? r : owner_make(l, err);
	l->near = !r && is_near(l->root);
	if (r) {
		local_destroy(&l->store);
		return r;
	}
	*ret = &l->store;
	return 0;
}
