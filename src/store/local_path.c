/* SPDX-License-Identifier: MIT */
/*
 * Keys and paths of the local driver, its directories, and its locks.
 *
 * Each component of a key is a file name as it is, except:
 *	""              %_          (keys like a//b)
 *	"." ".."        %2E %2E%2E
 *	.astra...       %2Eastra... (that name is ours)
 *	too long        first bytes, "%~", 32 digits of its SHA-256; LOCAL_XATTR_NAME has all of it
 *	%41 %~ ...%obj  the % as %25, so that what is a mark here is never a user's
 * A key that ends with '/' is a directory with a record, or, when it has bytes, the file %_ in it.
 * An object whose name is needed for a directory is NAME%obj, and stays there.
 *
 * Lock order: tree, then one stripe. Each is a mutex for the threads and, under it, a byte of the
 * lock file (open-file-description locks) for other processes on the same root.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define NAME_PLAIN_MAX 251 /* and "%obj" */
#define NAME_CUT       200

/* ---- names ---- */

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static bool percent_is_mark(const char *s, size_t len, size_t i)
{
	size_t rest = len - i - 1;
	const char *n = s + i + 1;

	if (rest >= 2 && is_hex(n[0]) && is_hex(n[1]))
		return true;
	if (rest >= 1 && n[0] == '~')
		return true;
	if (rest == 3 && !memcmp(n, "obj", 3))
		return true;
	return rest == 1 && n[0] == '_' && i == 0;
}

size_t lname_encode(const char *s, size_t len, char ret[LNAME_MAX], bool *ret_hashed)
{
	char full[3 * (STORE_KEY_MAX + 2)];
	uint8_t sum[32];
	size_t n = 0;

	assert(len <= STORE_KEY_MAX);
	*ret_hashed = false;
	if (!len) {
		memcpy(ret, "%_", 3);
		return 2;
	}
	for (size_t i = 0; i < len; i++) {
		bool dots = s[0] == '.' && (len == 1 || (len == 2 && s[1] == '.'));
		bool ours = i == 0 && len >= 6 && !memcmp(s, LOCAL_PRIVATE, 6);

		if (dots || ours) {
			memcpy(full + n, "%2E", 3);
			n += 3;
		} else if (s[i] == '%' && percent_is_mark(s, len, i)) {
			memcpy(full + n, "%25", 3);
			n += 3;
		} else {
			full[n++] = s[i];
		}
	}
	full[n] = 0;
	if (n > NAME_PLAIN_MAX) {
		*ret_hashed = true;
		n = NAME_CUT;
		/* Not through the middle of an escape or of a UTF-8 character: the hash makes it
		 * unique, the cut only has to look well. */
		while (n > NAME_CUT - 4 && ((full[n] & 0xc0) == 0x80 || full[n - 1] == '%' ||
						   (n >= 2 && full[n - 2] == '%')))
			n--;
		sha256(s, len, sum);
		memcpy(full + n, "%~", 2);
		hex_encode(sum, 16, full + n + 2);
		n += 2 + 32;
	}
	memcpy(ret, full, n + 1);
	return n;
}

int lname_decode(const char *name, char *ret, bool *ret_alt)
{
	size_t len = strlen(name), n = 0;
	char again[LNAME_MAX];
	bool hashed;

	*ret_alt = len > 4 && !memcmp(name + len - 4, "%obj", 4);
	if (*ret_alt)
		len -= 4;
	if (len > 34 && !memcmp(name + len - 34, "%~", 2))
		return -2;
	if (len == 2 && !memcmp(name, "%_", 2))
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (name[i] == '%' && i + 2 < len + 0 && is_hex(name[i + 1]) &&
			is_hex(name[i + 2])) {
			char hex[3] = {name[i + 1], name[i + 2], 0};

			if (hex_decode(hex, ret + n, 1))
				return -1;
			n++;
			i += 2;
		} else {
			ret[n++] = name[i];
		}
	}
	/* A name that somebody made and that reads as another one's escape has no key. */
	if (lname_encode(ret, n, again, &hashed) != len || memcmp(again, name, len))
		return -1;
	return (int)n;
}

/* ---- paths ---- */

uint64_t lkey_hash(const char *key, size_t len)
{
	return hash64(key, len, 0x617374726166736bULL);
}

void lpath_set(const struct local *l, struct store_obj o, struct lpath *ret)
{
	size_t n = (size_t)snprintf(ret->p, sizeof(ret->p), "%s/%s", l->root, o.bucket);
	const char *s = o.key;
	bool hashed;

	ret->bucket_len = n;
	ret->marker = false;
	for (;;) {
		size_t len = strcspn(s, "/");

		/* The empty component behind the last '/' is no name but the marker itself. */
		if (!len && !s[0] && s > o.key) {
			ret->marker = true;
			break;
		}
		assert(n + 1 + LNAME_MAX < sizeof(ret->p));
		ret->p[n++] = '/';
		n += lname_encode(s, len, ret->p + n, &hashed);
		if (!s[len])
			break;
		s += len + 1;
	}
}

bool lpath_place(const struct lpath *lp, unsigned i, char ret[LOCAL_PATH_MAX])
{
	static const char *const file[] = {"", "%obj"}, *const marker[] = {"", "/%_", "/%_%obj"};
	size_t n = strlen(lp->p);

	if (i >= (lp->marker ? ARRAY_SIZE(marker) : ARRAY_SIZE(file)))
		return false;
	assert(n + 8 < LOCAL_PATH_MAX);
	memcpy(ret, lp->p, n);
	strcpy(ret + n, lp->marker ? marker[i] : file[i]);
	return true;
}

void lpath_private(
	const struct local *l, const char *bucket, const char *name, char ret[LOCAL_PATH_MAX])
{
	int n = snprintf(ret, LOCAL_PATH_MAX, "%s/%s/" LOCAL_PRIVATE "/%s", l->root, bucket, name);

	assert(n < LOCAL_PATH_MAX);
}

void lpath_sidecar(
	const struct local *l, const char *bucket, const char *etag, char ret[LOCAL_PATH_MAX])
{
	int n = snprintf(ret, LOCAL_PATH_MAX, "%s/%s/" LOCAL_PRIVATE "/crc/%.2s/%s", l->root,
		bucket, etag, etag);

	assert(n < LOCAL_PATH_MAX);
}

void lpath_up(char *p)
{
	char *slash = strrchr(p, '/');

	assert(slash);
	*slash = 0;
}

/* ---- errors, durability ---- */

errint_t local_fail(errint_t r, const char *what, const char *path, struct err *err)
{
	enum err_kind kind = ERR_FINAL;

	assert(r < 0);
	if (r == -EACCES || r == -EPERM)
		kind = ERR_AUTH;
	else if (r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EAGAIN || r == -ETXTBSY)
		kind = ERR_RETRY;
	return err_set(err, r, kind, "%s %.200s: %s", what, path, strerror(-r));
}

errint_t local_fsync_dir(const struct local *l, const char *dir, struct err *err)
{
	cleanup_fd int fd = -1;

	if (!l->sync)
		return 0;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Removed meanwhile, by one who syncs what is above it; an object may have its name now. */
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 || fsync(fd))
		return local_fail(-errno, "cannot sync", dir, err);
	return 0;
}

/* ---- locks ---- */

static void process_lock(struct local *l, int byte, short type)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	/* Fails only without memory for the lock; the mutex above it still holds for us. */
	while (fcntl(l->lock_fd, type == F_UNLCK ? F_OFD_SETLK : F_OFD_SETLKW, &fl) &&
		errno == EINTR)
		;
}

unsigned local_lock(struct local *l, const char *bucket, const char *key, size_t len)
{
	uint64_t h = hash64(key, len, hash64(bucket, strlen(bucket), 1));
	unsigned i = (unsigned)(h % LOCAL_STRIPES);

	lock_take(&l->stripes[i]);
	process_lock(l, 1 + (int)i, F_WRLCK);
	return i;
}

void local_unlock(struct local *l, unsigned stripe)
{
	process_lock(l, 1 + (int)stripe, F_UNLCK);
	lock_drop(&l->stripes[stripe]);
}

void local_tree_lock(struct local *l)
{
	lock_take(&l->tree);
	process_lock(l, 0, F_WRLCK);
}

void local_tree_unlock(struct local *l)
{
	process_lock(l, 0, F_UNLCK);
	lock_drop(&l->tree);
}

/* ---- directories ---- */

static errint_t sync_parent(const struct local *l, const char *path, struct err *err)
{
	char up[LOCAL_PATH_MAX];

	if (!l->sync)
		return 0;
	snprintf(up, sizeof(up), "%s", path);
	lpath_up(up);
	return local_fsync_dir(l, up, err);
}

/* Makes one directory; comp is the component and key[0..key_len) the key up to it. */
static errint_t make_one_locked(struct local *l, struct store_obj o, const char *dir,
	const char *comp, size_t comp_len, size_t key_len, struct err *err)
{
	char aside[LOCAL_PATH_MAX + 8], name[LNAME_MAX];
	bool hashed, made = false;
	struct stat sb;

	lock_assert_held(&l->tree);
	for (unsigned tries = 0; tries < 3; tries++) {
		unsigned stripe;
		int r;

		made = !mkdir(dir, 0777);
		if (made)
			break;
		if (errno != EEXIST)
			return -errno;
		if (lstat(dir, &sb))
			return -errno;
		if (S_ISDIR(sb.st_mode))
			break;
		/* An object (or somebody's file) has this name: it steps aside. Its writers hold
		 * its stripe, so it is not replaced at this moment. */
		snprintf(aside, sizeof(aside), "%s%%obj", dir);
		stripe = local_lock(l, o.bucket, o.key, key_len);
		r = rename(dir, aside) ? -errno : 0;
		local_unlock(l, stripe);
		if (r && r != -ENOENT)
			return r;
	}
	(void)lname_encode(comp, comp_len, name, &hashed);
	if (hashed && lsetxattr(dir, LOCAL_XATTR_NAME, comp, comp_len, 0))
		return -errno;
	return made ? sync_parent(l, dir, err) : 0;
}

errint_t local_parents(struct local *l, struct store_obj o, const struct lpath *lp,
	const char *path, struct err *err)
{
	char dir[LOCAL_PATH_MAX];
	size_t at = lp->bucket_len, key = 0;
	errint_t r = 0;

	lock_assert_held(&l->tree);
	memcpy(dir, path, strlen(path) + 1);
	while (!r) {
		char *slash = strchr(dir + at + 1, '/');
		size_t comp = strcspn(o.key + key, "/");

		if (!slash)
			break;
		*slash = 0;
		err_clear(err);
		r = make_one_locked(l, o, dir, o.key + key, comp, key + comp, err);
		if (r == -ENOENT && at == lp->bucket_len)
			return err_set(err, r, ERR_NOT_FOUND, "no bucket '%s'", o.bucket);
		if (r)
			return local_fail(r, "cannot make the directory", dir, err);
		at = (size_t)(slash - dir);
		key += comp + 1;
		*slash = '/';
	}
	return r;
}

void local_prune(struct local *l, const struct lpath *lp, char *dir)
{
	while (strlen(dir) > lp->bucket_len) {
		bool gone = false;

		/* Not a directory that is an object; under the lock, because a marker may come. */
		local_tree_lock(l);
		if (lgetxattr(dir, LOCAL_XATTR, NULL, 0) < 0 && errno == ENODATA)
			gone = !rmdir(dir);
		else if (errno == ENOENT)
			gone = true;
		local_tree_unlock(l);
		if (!gone)
			return;
		lpath_up(dir);
	}
}

errint_t local_private_make(struct local *l, const char *bucket, struct err *err)
{
	static const char *const names[] = {"", "tmp", "crc", "uploads"};
	char path[LOCAL_PATH_MAX];

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		lpath_private(l, bucket, names[i], path);
		if (!mkdir(path, 0777) || errno == EEXIST)
			continue;
		if (errno == ENOENT)
			return err_set(err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", bucket);
		return local_fail(-errno, "cannot make the directory", path, err);
	}
	lpath_private(l, bucket, "", path);
	if (!l->sync)
		return 0;
	errint_t r = local_fsync_dir(l, path, err);

	path[strlen(path) - 1] = 0; /* the '/' */
	return r ? r : sync_parent(l, path, err);
}
