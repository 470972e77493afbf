/* SPDX-License-Identifier: MIT */
/*
 * Records of the local driver: what is known of an object, as the value of one extended attribute,
 * and finding the file of a key with its record.
 *
 * Layout, little endian: magic 'A' 'O', version, flags, CRC-32C of all that follows; key hash,
 * size, mtime, file mtime, restore ready, restore until (8 bytes each); crc (4), number of sums
 * (2), lengths of etag and class (1 each), pairs (1), pad (3); etag, class; key NUL value NUL ...;
 * sums. The key hash tells a record that came along when somebody copied or moved the file.
 *
 * A file without a record is somebody's: an object whose version is made from inode, time and
 * size, and whose bytes cannot be checked. So is one that somebody changed in place: its time is
 * not the one in the record. Damage is what leaves the time alone.
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

#define REC_VERSION 1
#define REC_HEAD    68 /* up to the etag */
#define FLAG_CRC    1
#define FLAG_SIDE   2
#define FLAG_ADOPT  4

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

errint_t lrec_encode(const struct lrec *rec, uint8_t ret[LOCAL_REC_MAX], size_t *ret_len)
{
	size_t el = strlen(rec->etag), cl = strlen(rec->class_name), n = REC_HEAD;
	size_t need = n + el + cl + 4 * (size_t)rec->nsums;

	assert(el && el < STORE_ETAG_MAX && cl < STORE_CLASS_MAX);
	assert(rec->nmeta <= STORE_META_MAX && rec->nsums <= LOCAL_SUMS_INLINE);
	for (unsigned i = 0; i < rec->nmeta; i++)
		need += strlen(rec->meta[i].key) + strlen(rec->meta[i].value) + 2;
	if (need > LOCAL_REC_MAX)
		return -E2BIG;
	memset(ret, 0, REC_HEAD);
	ret[0] = 'A';
	ret[1] = 'O';
	ret[2] = REC_VERSION;
	ret[3] = (uint8_t)((rec->has_crc ? FLAG_CRC : 0) | (rec->sidecar ? FLAG_SIDE : 0) |
			   (rec->adopted ? FLAG_ADOPT : 0));
	put64(ret + 8, rec->keyhash);
	put64(ret + 16, rec->size);
	put64(ret + 24, (uint64_t)rec->mtime_ns);
	put64(ret + 32, (uint64_t)rec->file_mtime_ns);
	put64(ret + 40, (uint64_t)rec->cold.ready_ns);
	put64(ret + 48, (uint64_t)rec->cold.until_ns);
	put32(ret + 56, rec->crc);
	ret[60] = (uint8_t)(rec->nsums & 0xff);
	ret[61] = (uint8_t)(rec->nsums >> 8);
	ret[62] = (uint8_t)el;
	ret[63] = (uint8_t)cl;
	ret[64] = (uint8_t)rec->nmeta;
	memcpy(ret + n, rec->etag, el);
	memcpy(ret + n + el, rec->class_name, cl);
	n += el + cl;
	for (unsigned i = 0; i < rec->nmeta; i++) {
		const char *kv[2] = {rec->meta[i].key, rec->meta[i].value};

		for (unsigned k = 0; k < 2; k++) {
			size_t len = strlen(kv[k]) + 1;

			memcpy(ret + n, kv[k], len);
			n += len;
		}
	}
	if (rec->nsums)
		memcpy(ret + n, rec->sums, 4 * (size_t)rec->nsums);
	put32(ret + 4, crc32c(crc32c(0, ret, 4), ret + 8, need - 8));
	*ret_len = need;
	return 0;
}

errint_t lrec_decode(struct lrec *rec, size_t len)
{
	const uint8_t *b = rec->raw;
	size_t n = REC_HEAD, el, cl;

	if (len < REC_HEAD || b[0] != 'A' || b[1] != 'O' || b[2] != REC_VERSION ||
		get32(b + 4) != crc32c(crc32c(0, b, 4), b + 8, len - 8))
		return -EBADMSG;
	rec->foreign = false;
	rec->has_crc = b[3] & FLAG_CRC;
	rec->sidecar = b[3] & FLAG_SIDE;
	rec->adopted = b[3] & FLAG_ADOPT;
	rec->keyhash = get64(b + 8);
	rec->size = get64(b + 16);
	rec->mtime_ns = (int64_t)get64(b + 24);
	rec->file_mtime_ns = (int64_t)get64(b + 32);
	rec->cold.ready_ns = (int64_t)get64(b + 40);
	rec->cold.until_ns = (int64_t)get64(b + 48);
	rec->crc = get32(b + 56);
	rec->nsums = b[60] | (unsigned)b[61] << 8;
	el = b[62];
	cl = b[63];
	rec->nmeta = b[64];
	if (!el || el >= STORE_ETAG_MAX || cl >= STORE_CLASS_MAX || rec->nmeta > STORE_META_MAX ||
		rec->nsums > LOCAL_SUMS_INLINE || n + el + cl > len || memchr(b + n, 0, el + cl) ||
		memchr(b + n, '/', el)) /* it names a file that is read, and removed */
		return -EBADMSG;
	memcpy(rec->etag, b + n, el);
	rec->etag[el] = 0;
	memcpy(rec->class_name, b + n + el, cl);
	rec->class_name[cl] = 0;
	n += el + cl;
	for (unsigned i = 0; i < rec->nmeta; i++) {
		const char **kv[2] = {&rec->meta[i].key, &rec->meta[i].value};

		for (unsigned k = 0; k < 2; k++) {
			const uint8_t *nul = memchr(b + n, 0, len - n);

			if (!nul)
				return -EBADMSG;
			*kv[k] = (const char *)b + n;
			n = (size_t)(nul - b) + 1;
		}
	}
	if (len - n != 4 * (size_t)rec->nsums)
		return -EBADMSG;
	rec->sums = b + n;
	return 0;
}

bool lrec_changed(const struct lrec *rec, const struct stat *sb)
{
	bool theirs = rec->adopted || rec->foreign;

	if (!theirs && !rec->file_mtime_ns)
		return false;
	return stat_mtime(sb) != rec->file_mtime_ns ||
	       (theirs && (uint64_t)sb->st_size != rec->size);
}

errint_t lrec_still(const struct lrec *rec, int fd, const char *path, struct err *err)
{
	struct stat sb;

	if (fstat(fd, &sb))
		return local_fail(-errno, "cannot stat", path, err);
	if (!lrec_changed(rec, &sb))
		return 0;
	return err_set(err, -ESTALE, ERR_STALE, "%.200s was changed while it was read", path);
}

errint_t lrec_load(const char *path, int fd, uint64_t keyhash, struct lrec *ret)
{
	ssize_t n = fd < 0 ? lgetxattr(path, LOCAL_XATTR, ret->raw, sizeof(ret->raw))
			   : fgetxattr(fd, LOCAL_XATTR, ret->raw, sizeof(ret->raw));
	struct stat sb;
	errint_t r;

	ret->left[0] = 0;
	if (n < 0)
		return errno == ERANGE ? -EBADMSG : errno == EPERM ? -ENODATA : -errno;
	r = lrec_decode(ret, (size_t)n);
	if (r)
		return r;
	if (ret->keyhash != keyhash)
		return -ENODATA;
	if (fd < 0 ? lstat(path, &sb) : fstat(fd, &sb))
		return -errno;
	if (!lrec_changed(ret, &sb))
		return 0;
	if (ret->sidecar)
		snprintf(ret->left, sizeof(ret->left), "%.*s", DRIVER_ETAG_LEN, ret->etag);
	return -ENODATA;
}

errint_t lrec_save(const struct lrec *rec, const char *path, int fd, struct err *err)
{
	uint8_t raw[LOCAL_REC_MAX];
	size_t len;
	errint_t r = lrec_encode(rec, raw, &len);

	if (!r)
		r = (fd < 0 ? lsetxattr(path, LOCAL_XATTR, raw, len, 0)
			    : fsetxattr(fd, LOCAL_XATTR, raw, len, 0))
			    ? -errno
			    : 0;
	if (r == -E2BIG || (r == -ENOSPC && len > 1024))
		return err_set(err, r, ERR_FINAL,
			"%.200s: the metadata does not fit an extended attribute of this "
			"file system",
			path);
	return r ? local_fail(r, "cannot write the record of", path, err) : 0;
}

void lrec_foreign(const struct local *l, const struct stat *sb, struct lrec *ret)
{
	ret->foreign = true;
	ret->has_crc = ret->sidecar = ret->adopted = false;
	ret->nmeta = ret->nsums = 0;
	ret->cold = (struct driver_cold){0};
	ret->size = (uint64_t)sb->st_size;
	ret->mtime_ns = ret->file_mtime_ns = stat_mtime(sb);
	snprintf(ret->etag, sizeof(ret->etag), "f%llx-%llx-%llx", (unsigned long long)sb->st_ino,
		(unsigned long long)ret->mtime_ns, (unsigned long long)ret->size);
	snprintf(ret->class_name, sizeof(ret->class_name), "%s", driver_class_default(l->classes));
}

void lrec_cold(const struct local *l, const struct lrec *rec, struct store_stat *ret)
{
	snprintf(ret->class_name, sizeof(ret->class_name), "%s", rec->class_name);
	driver_cold_stat(l->classes, &rec->cold, ret);
}

errint_t lrec_stat(
	const struct local *l, const struct lrec *rec, struct store_stat *ret, struct err *err)
{
	*ret = (struct store_stat){.size = rec->size,
		.mtime_ns = rec->mtime_ns,
		.has_crc32c = rec->has_crc,
		.crc32c = rec->crc};
	snprintf(ret->etag, sizeof(ret->etag), "%s", rec->etag);
	lrec_cold(l, rec, ret);
	for (unsigned i = 0; i < rec->nmeta; i++) {
		if (!driver_stat_meta(ret, rec->meta[i].key, rec->meta[i].value)) {
			store_stat_done(ret);
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		}
	}
	return 0;
}

static errint_t damaged(const char *path, struct err *err)
{
	return err_set(err, -EIO, ERR_FINAL,
		"%.200s: the record (" LOCAL_XATTR ") is damaged; removing that attribute makes it "
		"a plain file",
		path);
}

static errint_t not_found(const struct local *l, struct store_obj o, struct err *err)
{
	char dir[LOCAL_PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/%s", l->root, o.bucket);
	if (access(dir, F_OK))
		return errno == ENOENT
			       ? err_set(err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", o.bucket)
			       : local_fail(-errno, "cannot reach", dir, err);
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "no object %s/%s", o.bucket, o.key);
}

/* Looks at one place. -ENODATA: nothing of this key. With ret_fd the file is opened. */
static errint_t look(const struct local *l, const char *path, bool marker_dir, uint64_t keyhash,
	int *ret_fd, struct lrec *rec)
{
	cleanup_fd int fd = -1;
	struct stat sb;
	errint_t r;

	if (ret_fd) {
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ||
					       errno == ENXIO
				       ? -ENODATA
				       : -errno;
	}
	r = lrec_load(path, fd, keyhash, rec);
	if (r == -ENOENT || r == -ENOTDIR)
		return -ENODATA;
	if (r == -ENODATA) {
		if (fd < 0 ? lstat(path, &sb) : fstat(fd, &sb))
			return errno == ENOENT || errno == ENOTDIR ? -ENODATA : -errno;
		if (marker_dir || !S_ISREG(sb.st_mode))
			return -ENODATA;
		lrec_foreign(l, &sb, rec);
		rec->keyhash = keyhash;
		r = 0;
	}
	if (!r && ret_fd)
		*ret_fd = steal_fd(&fd);
	return r;
}

static errint_t find(const struct local *l, struct store_obj o, const struct lpath *lp, int *ret_fd,
	struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err)
{
	uint64_t hash = lkey_hash(o.key, strlen(o.key));

	for (unsigned i = 0; lpath_place(lp, i, ret_path); i++) {
		errint_t r = look(l, ret_path, lp->marker && i == 0, hash, ret_fd, rec);

		if (r == -EBADMSG)
			return damaged(ret_path, err);
		if (!r)
			return 0;
		if (r != -ENODATA)
			return local_fail(r, "cannot read", ret_path, err);
	}
	return not_found(l, o, err);
}

errint_t local_find(const struct local *l, struct store_obj o, const struct lpath *lp,
	struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err)
{
	return find(l, o, lp, NULL, rec, ret_path, err);
}

errint_t local_open(const struct local *l, struct store_obj o, const struct lpath *lp, int *ret_fd,
	struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err)
{
	return find(l, o, lp, ret_fd, rec, ret_path, err);
}

errint_t local_open_src(const struct local *l, struct store_obj o, const char *if_match,
	int *ret_fd, struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err)
{
	cleanup_fd int fd = -1;
	struct store_stat st = {0};
	struct lpath lp;
	struct stat sb;
	errint_t r;

	lpath_set(l, o, &lp);
	r = local_open(l, o, &lp, &fd, rec, ret_path, err);
	if (r)
		return r;
	r = driver_cond(rec->etag, if_match, NULL, o, err);
	lrec_cold(l, rec, &st);
	r = r ? r : driver_readable(&st, o, err);
	if (r)
		return r;
	if (fstat(fd, &sb))
		return local_fail(-errno, "cannot stat", ret_path, err);
	if (!S_ISDIR(sb.st_mode) && !rec->foreign && (uint64_t)sb.st_size != rec->size)
		return err_set(err, -EIO, ERR_FINAL,
			"%.200s is damaged: %lld bytes instead of %llu", ret_path,
			(long long)sb.st_size, (unsigned long long)rec->size);
	*ret_fd = steal_fd(&fd);
	return 0;
}
