/* SPDX-License-Identifier: MIT */
/*
 * A new version of an object on its way: written to a file of its own with its checksums and its
 * record, made durable, and then renamed to its place, which is the commit. A crash before leaves
 * a file that the next start removes (its name says whose it was); a crash after leaves at most
 * the old version there, because one that has a sidecar is exchanged, not replaced.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define COMMIT_TRIES 50 /* against somebody who removes the directories we make */

errint_t ltmp_new(struct local *l, const char *bucket, struct ltmp *t, struct err *err)
{
	char name[64];

	assert(t->fd < 0);
	driver_etag(t->etag);
	snprintf(name, sizeof(name), "tmp/%s.%s", l->owner, t->etag);
	lpath_private(l, bucket, name, t->path);
	for (unsigned tries = 0; tries < 2; tries++) {
		errint_t r;

		t->fd = open(t->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (t->fd >= 0) {
			t->made = true;
			return 0;
		}
		if (errno != ENOENT)
			break;
		r = local_private_make(l, bucket, err);
		if (r)
			return r;
	}
	return local_fail(-errno, "cannot make", t->path, err);
}

static bool sums_room(struct ltmp *t, size_t more)
{
	size_t cap = t->cap ? t->cap : 64;
	uint32_t *p;

	if (t->nsums + more <= t->cap)
		return true;
	while (cap < t->nsums + more)
		cap *= 2;
	p = reallocarray(t->sums, cap, sizeof(*p));
	if (!p)
		return false;
	t->sums = p;
	t->cap = cap;
	return true;
}

/* len is whole chunks, or the last bytes. */
static errint_t append_chunks(struct ltmp *t, const void *p, size_t len, struct err *err)
{
	size_t n = lsum_count(len);
	errint_t r;

	assert(t->size % LOCAL_CHUNK == 0);
	if (!sums_room(t, n))
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for checksums");
	r = lsum_write(t->fd, t->size, p, len, true, t->sums + t->nsums, &t->crc);
	if (r)
		return local_fail(r, "cannot write", t->path, err);
	t->nsums += n;
	t->size += len;
	return 0;
}

errint_t ltmp_append(struct ltmp *t, const void *p, size_t len, struct err *err)
{
	const uint8_t *b = p;
	errint_t r = 0;

	while (len && !r) {
		size_t n;

		if (!t->fill && len >= LOCAL_CHUNK) {
			n = len - len % LOCAL_CHUNK;
			r = append_chunks(t, b, n, err);
		} else {
			if (!t->part && !(t->part = malloc(LOCAL_CHUNK)))
				return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
			n = MIN_OF(len, LOCAL_CHUNK - t->fill);
			memcpy(t->part + t->fill, b, n);
			t->fill += n;
			if (t->fill == LOCAL_CHUNK) {
				t->fill = 0;
				r = append_chunks(t, t->part, LOCAL_CHUNK, err);
			}
		}
		b += n;
		len -= n;
	}
	return r;
}

errint_t ltmp_end(struct ltmp *t, struct err *err)
{
	errint_t r = t->fill ? append_chunks(t, t->part, t->fill, err) : 0;

	t->fill = 0;
	/* Zeros at the end were not written. */
	if (!r && t->nsums && !t->sums[t->nsums - 1] && ftruncate(t->fd, (off_t)t->size))
		r = local_fail(-errno, "cannot size", t->path, err);
	return r;
}

/* A file that has no bytes where the values are 0. */
static errint_t sidecar_write(int fd, const uint32_t *sums, size_t n)
{
	uint32_t le[1024];
	errint_t r = 0;

	if (ftruncate(fd, (off_t)(4 * n)))
		return -errno;
	for (size_t at = 0; at < n && !r; at += ARRAY_SIZE(le)) {
		size_t k = MIN_OF(n - at, ARRAY_SIZE(le));
		uint32_t any = 0;

		for (size_t i = 0; i < k; i++) {
			le[i] = htole32(sums[at + i]);
			any |= le[i];
		}
		if (any)
			r = lio_write(fd, 4 * (uint64_t)at, le, 4 * k);
	}
	return r;
}

static errint_t sidecar_make(struct local *l, const char *bucket, struct ltmp *t, struct err *err)
{
	char path[LOCAL_PATH_MAX], dir[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	errint_t r;

	lpath_sidecar(l, bucket, t->etag, path);
	memcpy(dir, path, strlen(path) + 1);
	lpath_up(dir);
	if (mkdir(dir, 0777) && errno != EEXIST)
		return local_fail(-errno, "cannot make the directory", dir, err);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return local_fail(-errno, "cannot make", path, err);
	t->sidecar = true;
	r = sidecar_write(fd, t->sums, t->nsums);
	if (!r && l->sync && fsync(fd))
		r = -errno;
	if (r)
		return local_fail(r, "cannot write", path, err);
	r = local_fsync_dir(l, dir, err);
	lpath_up(dir);
	return r ? r : local_fsync_dir(l, dir, err);
}

errint_t ltmp_sums(
	struct local *l, const char *bucket, struct ltmp *t, struct lrec *rec, struct err *err)
{
	errint_t r = 0;

	rec->size = t->size;
	rec->crc = t->crc;
	rec->has_crc = true;
	rec->nsums = 0;
	if (t->nsums > LOCAL_SUMS_INLINE) {
		r = sidecar_make(l, bucket, t, err);
		rec->sidecar = true;
	} else if (t->nsums > 1) {
		for (size_t i = 0; i < t->nsums; i++)
			t->sums[i] = htole32(t->sums[i]);
		rec->sums = (const uint8_t *)t->sums;
		rec->nsums = (unsigned)t->nsums;
	}
	return r;
}

void ltmp_rec(const struct local *l, struct store_obj o, const struct ltmp *t,
	const char *class_name, const struct store_meta *meta, unsigned nmeta, struct lrec *ret)
{
	assert(nmeta <= STORE_META_MAX);
	ret->keyhash = lkey_hash(o.key, strlen(o.key));
	ret->mtime_ns = clock_now_ns();
	ret->file_mtime_ns = 0;
	ret->cold = (struct driver_cold){0};
	ret->has_crc = ret->sidecar = ret->adopted = ret->foreign = false;
	ret->left[0] = 0;
	ret->nsums = 0;
	ret->size = 0;
	ret->crc = 0;
	snprintf(ret->etag, sizeof(ret->etag), "%s", t->etag);
	snprintf(ret->class_name, sizeof(ret->class_name), "%s",
		class_name ? class_name : driver_class_default(l->classes));
	ret->nmeta = nmeta;
	for (unsigned i = 0; i < nmeta; i++)
		ret->meta[i] = meta[i];
}

static errint_t name_xattr(struct store_obj o, struct ltmp *t, struct err *err)
{
	const char *s = strrchr(o.key, '/');
	char name[LNAME_MAX];
	bool hashed;

	s = s ? s + 1 : o.key;
	(void)lname_encode(s, strlen(s), name, &hashed);
	if (!hashed || !fsetxattr(t->fd, LOCAL_XATTR_NAME, s, strlen(s), 0))
		return 0;
	return local_fail(-errno, "cannot name", t->path, err);
}

/* Renames the file to place; *ret_swapped: the old version has our name now. */
static errint_t swap(const char *tmp, const char *place, bool keep_old, bool *ret_swapped)
{
	*ret_swapped = false;
	if (keep_old) {
		if (!renameat2(AT_FDCWD, tmp, AT_FDCWD, place, RENAME_EXCHANGE)) {
			*ret_swapped = true;
			return 0;
		}
		if (errno != EINVAL && errno != ENOSYS && errno != ENOENT)
			return -errno;
	}
	return rename(tmp, place) ? -errno : 0;
}

/* One attempt, under the key's stripe. -ENOENT, -ENOTDIR: directories are missing. *ret_old_sums:
 * of the version that was replaced, "" = it has no sidecar. */
static errint_t commit_locked(struct local *l, struct store_obj o, const struct lpath *lp,
	struct ltmp *t, const char *if_match, const char *if_none_match, char *place,
	char *ret_old_sums, struct err *err)
{
	struct lrec old;
	bool swapped = false, exists, known, stay;
	errint_t r = local_find(l, o, lp, &old, place, err);

	ret_old_sums[0] = 0;
	/* An object whose record is damaged exists, in no known version, and can be replaced. */
	if (r && r != -ENOENT && r != -EIO)
		return r;
	exists = r != -ENOENT;
	known = !r;
	err_clear(err);
	r = driver_cond(
		exists ? known ? old.etag : "damaged" : NULL, if_match, if_none_match, o, err);
	if (r)
		return r;
	if (known)
		snprintf(ret_old_sums, STORE_ETAG_MAX, "%s", old.sidecar ? old.etag : old.left);
	/* Its own place, else the first that can hold a file. */
	stay = exists && !(lp->marker && !strcmp(place, lp->p));
	for (unsigned i = lp->marker ? 1 : 0;;) {
		if (!stay && !lpath_place(lp, i++, place))
			return -EISDIR;
		r = swap(t->path, place, ret_old_sums[0], &swapped);
		if (r != -EISDIR && r != -ENOTEMPTY && r != -EEXIST)
			break;
		stay = false; /* a directory has that name: the next place */
	}
	if (r)
		return r;
	t->made = swapped;
	return 0;
}

static errint_t commit_tries(struct local *l, struct store_obj o, const struct lpath *lp,
	struct ltmp *t, const char *if_match, const char *if_none_match, char *place,
	char *ret_old_sums, struct err *err)
{
	for (unsigned tries = 0; tries < COMMIT_TRIES; tries++) {
		unsigned stripe = local_lock(l, o.bucket, o.key, strlen(o.key));
		errint_t r = commit_locked(
			l, o, lp, t, if_match, if_none_match, place, ret_old_sums, err);

		local_unlock(l, stripe);
		if (r == -ESTALE || (r == -EEXIST && if_none_match))
			return r;
		if (r != -ENOENT && r != -ENOTDIR)
			return r ? local_fail(r, "cannot put", place, err) : 0;
		local_tree_lock(l);
		r = local_parents(l, o, lp, place, err);
		local_tree_unlock(l);
		if (r)
			return r;
	}
	return err_set(err, -EAGAIN, ERR_RETRY, "%.200s: its directories keep going away", place);
}

/* The file gets the object's time, and the record the file's, as far as the file system can keep
 * it: whoever changes the file later changes that. */
static errint_t time_set(struct ltmp *t, struct lrec *rec, struct err *err)
{
	struct timespec to[2] = {{.tv_nsec = UTIME_OMIT},
		{.tv_sec = rec->mtime_ns / NS_PER_S, .tv_nsec = rec->mtime_ns % NS_PER_S}};
	struct stat sb;

	if (futimens(t->fd, to) || fstat(t->fd, &sb))
		return local_fail(-errno, "cannot set the time of", t->path, err);
	rec->file_mtime_ns = stat_mtime(&sb);
	return 0;
}

errint_t ltmp_commit(struct local *l, struct store_obj o, const struct lpath *lp, struct ltmp *t,
	struct lrec *rec, const char *if_match, const char *if_none_match, struct store_stat *ret,
	struct err *err)
{
	char place[LOCAL_PATH_MAX], old_sums[STORE_ETAG_MAX] = "";
	errint_t r = time_set(t, rec, err);

	r = r ? r : lrec_save(rec, t->path, t->fd, err);
	r = r ? r : name_xattr(o, t, err);
	/* Data, size and record, before the name can be durable. */
	if (!r && l->sync && fsync(t->fd))
		r = local_fail(-errno, "cannot sync", t->path, err);
	r = r ? r : lrec_stat(l, rec, ret, err);
	if (r)
		return r;
	r = commit_tries(l, o, lp, t, if_match, if_none_match, place, old_sums, err);
	if (r) {
		store_stat_done(ret);
		return r;
	}
	t->sidecar = false;
	/* It stands. A directory that is this object too (d/ with and without bytes) gives way. */
	if (lp->marker && lremovexattr(lp->p, LOCAL_XATTR) && errno != ENODATA)
		r = local_fail(-errno, "cannot clear", lp->p, err);
	lpath_up(place);
	r = r ? r : local_fsync_dir(l, place, err);
	if (old_sums[0]) {
		lpath_sidecar(l, o.bucket, old_sums, place);
		(void)unlink(place);
	}
	if (r) {
		store_stat_done(ret);
		if (err)
			err->kind = ERR_UNKNOWN; /* it is there, but perhaps not for long */
	}
	return r;
}

void ltmp_done(struct local *l, const char *bucket, struct ltmp *t)
{
	if (t->fd >= 0)
		(void)close(t->fd);
	if (t->made)
		(void)unlink(t->path);
	if (t->sidecar) {
		lpath_sidecar(l, bucket, t->etag, t->path);
		(void)unlink(t->path);
	}
	free(t->sums);
	free(t->part);
	*t = (struct ltmp)LTMP_INIT;
}

void local_tmp_remove(struct local *l, const char *bucket, const char *path)
{
	char side[LOCAL_PATH_MAX];
	const char *dot = strrchr(path, '.');
	struct lrec rec;
	ssize_t n = lgetxattr(path, LOCAL_XATTR, rec.raw, sizeof(rec.raw));

	/* After an exchange the file is an old version, and its name is that of the new one. */
	if (n > 0 && !lrec_decode(&rec, (size_t)n))
		lpath_sidecar(l, bucket, rec.etag, side);
	else if (dot && strlen(dot + 1) == DRIVER_ETAG_LEN)
		lpath_sidecar(l, bucket, dot + 1, side);
	else
		side[0] = 0;
	if (side[0])
		(void)unlink(side);
	(void)unlink(path);
}
