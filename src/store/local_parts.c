/* SPDX-License-Identifier: MIT */
/*
 * Multipart uploads of the local driver. ROOT/BUCKET/.astra/uploads/ID/ has
 *
 *	info    record (class, metadata, time begun), then the key
 *	parts   one head and one struct slot per part number; also the lock of the upload: shared
 *	        by those who write parts, exclusive for finish and abort
 *	data    part n at (n - 1) * P, where P is the size of the first part that came
 *	sums    checksums of data, where P is a multiple of the chunk
 *	p.N     a part larger than P
 *
 * When the parts lie in data as the object needs them, which is the rule, finishing renames data
 * to its place; else the object is put together from them, checked on the way.
 *
 * Parts are not synced: that happens once, at the end. So a part that another process wrote, maybe
 * before a power cut, is read and checked before it is believed. A part is forgotten before its
 * bytes are overwritten, so a slot always tells the truth about completed writes.
 *
 * Order of locks: the upload, then a stripe.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define SLOT_MAGIC  0x31504f41u /* "AOP1" */
#define HEAD_MAGIC  0x3148554fu
#define DATA_MAX    (UINT64_C(1) << 42) /* offsets that every file system has */
#define UPLOADS_MAX 100000

struct head {
	uint32_t magic, pad;
	uint64_t part_size; /* P */
	uint8_t zero[48];
};

struct slot {
	uint32_t magic, self; /* self: CRC of all behind it */
	uint32_t number, crc;
	uint64_t size;
	char etag[DRIVER_ETAG_LEN];
	char owner[8]; /* of the process that wrote it */
	uint8_t apart; /* in p.N, not in data */
	uint8_t zero[7];
};
_Static_assert(sizeof(struct head) == 64 && sizeof(struct slot) == 64, "slots of 64 bytes");

struct upload { /* an upload that is open and locked */
	char dir[LOCAL_PATH_MAX];
	int fd; /* parts; holds the lock */
	uint64_t part_size;
};

static void cleanup_upload(struct upload *u)
{
	if (u->fd >= 0)
		(void)close(u->fd);
}
#define UPLOAD __attribute__((cleanup(cleanup_upload))) struct upload

static void file_of(const struct upload *u, const char *name, char ret[LOCAL_PATH_MAX])
{
	int n = snprintf(ret, LOCAL_PATH_MAX, "%.*s/%s", LOCAL_PATH_MAX - 64, u->dir, name);

	assert(n < LOCAL_PATH_MAX);
}

static void file_of_part(const struct upload *u, unsigned number, char ret[LOCAL_PATH_MAX])
{
	char name[24];

	snprintf(name, sizeof(name), "p.%u", number);
	file_of(u, name, ret);
}

/* ---- info ---- */

static errint_t info_read(const char *dir, struct lrec *rec, char key[STORE_KEY_MAX + 1])
{
	uint8_t raw[2 + LOCAL_REC_MAX + STORE_KEY_MAX];
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	size_t got, n;
	errint_t r;

	snprintf(path, sizeof(path), "%.*s/info", LOCAL_PATH_MAX - 8, dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = lio_read(fd, 0, raw, sizeof(raw), &got);
	if (r)
		return r;
	n = got < 2 ? 0 : raw[0] | (size_t)raw[1] << 8;
	if (got < 2 || n > LOCAL_REC_MAX || got <= 2 + n || got - 2 - n > STORE_KEY_MAX)
		return -EBADMSG;
	memcpy(rec->raw, raw + 2, n);
	memcpy(key, raw + 2 + n, got - 2 - n);
	key[got - 2 - n] = 0;
	return lrec_decode(rec, n);
}

static errint_t info_write(const char *dir, const struct lrec *rec, const char *key)
{
	uint8_t raw[2 + LOCAL_REC_MAX + STORE_KEY_MAX];
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	size_t n;
	errint_t r = lrec_encode(rec, raw + 2, &n);

	if (r)
		return r;
	raw[0] = (uint8_t)(n & 0xff);
	raw[1] = (uint8_t)(n >> 8);
	memcpy(raw + 2 + n, key, strlen(key));
	snprintf(path, sizeof(path), "%.*s/info", LOCAL_PATH_MAX - 8, dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : lio_write(fd, 0, raw, 2 + n + strlen(key));
}

/* ---- opening ---- */

static errint_t no_upload(struct store_obj o, const char *id, struct err *err)
{
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "no upload %s of %s/%s", id, o.bucket, o.key);
}

static errint_t upload_open(struct local *l, struct store_obj o, const char *id, bool exclusive,
	struct upload *ret, struct lrec *info, struct err *err)
{
	char name[STORE_UPLOAD_MAX + 16], path[LOCAL_PATH_MAX], key[STORE_KEY_MAX + 1];
	struct head h;
	struct stat sb;
	size_t got;
	errint_t r;

	snprintf(name, sizeof(name), "uploads/%s", id);
	lpath_private(l, o.bucket, name, ret->dir);
	r = info_read(ret->dir, info, key);
	if (r == -ENOENT || r == -ENOTDIR || (!r && strcmp(key, o.key)))
		return no_upload(o, id, err);
	if (r)
		return local_fail(r, "cannot read the upload", ret->dir, err);
	file_of(ret, "parts", path);
	ret->fd = open(path, O_RDWR | O_CLOEXEC);
	if (ret->fd < 0)
		return errno == ENOENT ? no_upload(o, id, err)
				       : local_fail(-errno, "cannot open", path, err);
	while (flock(ret->fd, exclusive ? LOCK_EX : LOCK_SH))
		if (errno != EINTR)
			return local_fail(-errno, "cannot lock", path, err);
	/* Finished or aborted while we waited. */
	if (fstat(ret->fd, &sb) || !sb.st_nlink)
		return no_upload(o, id, err);
	r = lio_read(ret->fd, 0, &h, sizeof(h), &got);
	if (r)
		return local_fail(r, "cannot read", path, err);
	ret->part_size = got == sizeof(h) && h.magic == HEAD_MAGIC ? h.part_size : 0;
	return 0;
}

/* P is what parts_begin was told, else the size of the first part that comes; there may be several
 * first ones. */
static errint_t part_size_settle(
	struct local *l, struct store_obj o, const char *id, struct upload *u, uint64_t len)
{
	struct head h;
	unsigned stripe;
	size_t got;
	errint_t r;

	if (u->part_size || !len)
		return 0;
	stripe = local_lock(l, o.bucket, id, strlen(id));
	r = lio_read(u->fd, 0, &h, sizeof(h), &got);
	if (!r && (got != sizeof(h) || h.magic != HEAD_MAGIC)) {
		h = (struct head){.magic = HEAD_MAGIC, .part_size = len};
		r = lio_write(u->fd, 0, &h, sizeof(h));
	}
	local_unlock(l, stripe);
	u->part_size = h.part_size;
	return r;
}

/* ---- slots ---- */

static uint32_t slot_self(const struct slot *s)
{
	return crc32c(0, &s->number, sizeof(*s) - 8);
}

/* False when there is no such part. */
static bool slot_read(const struct upload *u, unsigned number, struct slot *ret)
{
	size_t got;

	return !lio_read(u->fd, 64 * (uint64_t)number, ret, sizeof(*ret), &got) &&
	       got == sizeof(*ret) && ret->magic == SLOT_MAGIC && ret->number == number &&
	       ret->self == slot_self(ret);
}

static errint_t slot_write(const struct upload *u, struct slot *s)
{
	s->magic = SLOT_MAGIC;
	s->self = slot_self(s);
	return lio_write(u->fd, 64 * (uint64_t)s->number, s, sizeof(*s));
}

static errint_t slot_clear(const struct upload *u, unsigned number)
{
	struct slot s = {0};
	size_t got;
	errint_t r = lio_read(u->fd, 64 * (uint64_t)number, &s, sizeof(s), &got);

	if (r || !got || !s.magic)
		return r;
	memset(&s, 0, sizeof(s));
	return lio_write(u->fd, 64 * (uint64_t)number, &s, sizeof(s));
}

static void slot_out(const struct slot *s, struct store_part *ret)
{
	*ret = (struct store_part){
		.number = s->number, .size = s->size, .crc32c = s->crc, .has_crc32c = true};
	memcpy(ret->etag, s->etag, sizeof(s->etag));
}

/* ---- begin, abort, pending ---- */

errint_t local_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	static const struct store_put none;
	struct local *l = (struct local *)s;
	struct head head = {.magic = HEAD_MAGIC};
	struct ltmp id = LTMP_INIT;
	char name[64], dir[LOCAL_PATH_MAX], path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	struct lrec rec;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(l->classes, opt->class_name, err);
	r = r ? r : driver_meta_check(opt->meta, opt->nmeta, DRIVER_META_BYTES_MAX, err);
	r = r ? r : local_private_make(l, o.bucket, err);
	if (r)
		return r;
	driver_etag(id.etag);
	head.part_size = opt->part_size;
	ltmp_rec(l, o, &id, opt->class_name, opt->meta, opt->nmeta, &rec);
	snprintf(name, sizeof(name), "uploads/%s", id.etag);
	lpath_private(l, o.bucket, name, dir);
	if (mkdir(dir, 0777))
		return local_fail(-errno, "cannot make the directory", dir, err);
	snprintf(path, sizeof(path), "%.*s/parts", LOCAL_PATH_MAX - 8, dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	r = fd < 0 ? -errno : 0;
	if (!r && head.part_size)
		r = lio_write(fd, 0, &head, sizeof(head));
	r = r ? r : info_write(dir, &rec, o.key);
	if (r) {
		(void)unlink(path);
		(void)rmdir(dir);
		return local_fail(r, "cannot begin the upload", dir, err);
	}
	snprintf(ret_id, STORE_UPLOAD_MAX, "%s", id.etag);
	return 0;
}

/* Removes the directory; info first, so that what is left of it is no upload. */
static errint_t upload_remove(struct local *l, const char *bucket, const char *dir)
{
	char path[LOCAL_PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "%.*s/info", LOCAL_PATH_MAX - 8, dir);
	if (unlink(path) && errno != ENOENT)
		return -errno;
	snprintf(path, sizeof(path), "%.*s/data", LOCAL_PATH_MAX - 8, dir);
	local_tmp_remove(l, bucket, path); /* with the sidecar of a finish that failed */
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	(void)closedir(d);
	return rmdir(dir) && errno != ENOENT ? -errno : 0;
}

errint_t local_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	struct local *l = (struct local *)s;
	UPLOAD u = {.fd = -1};
	struct lrec info;
	errint_t r = upload_open(l, o, id, true, &u, &info, err);

	if (r)
		return r;
	r = upload_remove(l, o.bucket, u.dir);
	return r ? local_fail(r, "cannot remove the upload", u.dir, err) : 0;
}

errint_t local_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	struct local *l = (struct local *)s;
	struct store_upload *v = NULL;
	char up[LOCAL_PATH_MAX], dir[LOCAL_PATH_MAX];
	size_t n = 0, cap = 0;
	struct dirent *e;
	struct lrec rec;
	errint_t r = 0;
	DIR *d;

	r = local_private_make(l, bucket, err); /* also: is there such a bucket */
	if (r)
		return r;
	lpath_private(l, bucket, "uploads", up);
	d = opendir(up);
	if (!d)
		return local_fail(-errno, "cannot list", up, err);
	while (!r && (e = readdir(d)) && n < UPLOADS_MAX) {
		if (e->d_name[0] == '.' || strlen(e->d_name) >= STORE_UPLOAD_MAX)
			continue;
		if (n == cap) {
			void *p = reallocarray(v, cap ? 2 * cap : 16, sizeof(*v));

			if (!p) {
				r = err_set(err, -ENOMEM, ERR_RETRY, "no memory");
				break;
			}
			v = p;
			cap = cap ? 2 * cap : 16;
		}
		snprintf(dir, sizeof(dir), "%.*s/%.200s", LOCAL_PATH_MAX - 256, up, e->d_name);
		if (info_read(dir, &rec, v[n].key))
			continue;
		snprintf(v[n].id, sizeof(v[n].id), "%.254s", e->d_name);
		v[n].mark[0] = 0;
		for (unsigned i = 0; i < rec.nmeta; i++)
			if (!strcmp(rec.meta[i].key, STORE_META_WRITE))
				snprintf(v[n].mark, sizeof(v[n].mark), "%s", rec.meta[i].value);
		v[n++].started_ns = rec.mtime_ns;
	}
	(void)closedir(d);
	if (r) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* ---- parts ---- */

struct dest { /* where a part's bytes go */
	int fd;
	uint64_t off;
	bool apart, sums;
};

static errint_t dest_open(
	const struct upload *u, unsigned number, uint64_t len, struct dest *ret, struct err *err)
{
	uint64_t off = (number - 1) * u->part_size;
	char path[LOCAL_PATH_MAX];
	int flags = O_RDWR | O_CREAT | O_CLOEXEC;

	ret->apart = len > u->part_size || off > DATA_MAX || len > DATA_MAX;
	ret->sums = !ret->apart && u->part_size % LOCAL_CHUNK == 0;
	ret->off = ret->apart ? 0 : off;
	if (ret->apart)
		file_of_part(u, number, path);
	else
		file_of(u, "data", path);
	ret->fd = open(path, ret->apart ? flags | O_TRUNC : flags, 0666);
	return ret->fd < 0 ? local_fail(-errno, "cannot open", path, err) : 0;
}

static errint_t sums_put(const struct upload *u, const struct dest *d, const uint32_t *sums,
	size_t n, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	errint_t r;

	if (!d->sums || !n)
		return 0;
	file_of(u, "sums", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	r = fd < 0 ? -errno : lio_write(fd, 4 * (d->off / LOCAL_CHUNK), sums, 4 * n);
	return r ? local_fail(r, "cannot write", path, err) : 0;
}

/* Says that the part is there, and starts its way to the disk. */
static errint_t part_done(const struct local *l, const struct upload *u, const struct dest *d,
	unsigned number, uint64_t len, uint32_t crc, struct store_part *ret, struct err *err)
{
	struct slot s = {.number = number, .crc = crc, .size = len, .apart = d->apart};
	char etag[DRIVER_ETAG_LEN + 1];
	errint_t r;

	if (l->sync && len)
		(void)sync_file_range(d->fd, (off_t)d->off, (off_t)len, SYNC_FILE_RANGE_WRITE);
	driver_etag(etag);
	memcpy(s.etag, etag, sizeof(s.etag));
	memcpy(s.owner, l->owner, sizeof(s.owner));
	r = slot_write(u, &s);
	if (r)
		return local_fail(r, "cannot write the parts of", u->dir, err);
	slot_out(&s, ret);
	return 0;
}

errint_t local_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct local *l = (struct local *)s;
	cleanup_free uint32_t *sums = malloc(4 * lsum_count(len) + 1);
	UPLOAD u = {.fd = -1};
	struct dest d = {.fd = -1};
	struct lrec info;
	uint32_t have = 0;
	errint_t r;

	if (!sums)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = upload_open(l, o, id, false, &u, &info, err);
	if (r)
		return r;
	r = part_size_settle(l, o, id, &u, len);
	r = r ? r : slot_clear(&u, number);
	if (r)
		return local_fail(r, "cannot write the parts of", u.dir, err);
	r = dest_open(&u, number, len, &d, err);
	if (!r) {
		r = lsum_write(d.fd, d.off, p, len, false, sums, &have);
		if (r)
			r = local_fail(r, "cannot write a part of", u.dir, err);
	}
	if (!r && have != crc)
		r = err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: part %u damaged on the way", o.bucket,
			o.key, number);
	r = r ? r : sums_put(&u, &d, sums, lsum_count(len), err);
	r = r ? r : part_done(l, &u, &d, number, len, crc, ret, err);
	if (d.fd >= 0)
		(void)close(d.fd);
	return r;
}

/* Checksums come along: no byte passes through us. -EAGAIN: they do not fit the new places. */
static errint_t part_copy_sums(struct local *l, const struct store_call *c, struct store_obj src,
	int fd, const struct lrec *from, uint64_t off, uint64_t len, const struct upload *u,
	const struct dest *d, uint32_t *crc, struct err *err)
{
	size_t n = lsum_count(len);
	cleanup_free uint32_t *sums = malloc(4 * n + 1);
	errint_t r;

	if (from->foreign || from->adopted || !d->sums || !len || off % LOCAL_CHUNK ||
		(len % LOCAL_CHUNK && off + len != from->size))
		return -EAGAIN;
	if (!sums)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = lsum_get(l, src, from, (size_t)(off / LOCAL_CHUNK), n, sums, err);
	if (r)
		return r == -ENOENT ? -EAGAIN : r;
	for (size_t i = 0; i < n; i++) {
		size_t k = (size_t)MIN_OF(len - i * LOCAL_CHUNK, (uint64_t)LOCAL_CHUNK);

		*crc = crc32c_combine(*crc, sums[i] ^ lsum_zeros(k), k);
	}
	r = lio_copy(c, fd, off, d->fd, d->off, len, false, err);
	return r ? r : sums_put(u, d, sums, n, err);
}

/* Reads, checked where it can be, and writes. */
static errint_t part_copy_bytes(struct local *l, const struct store_call *c, struct store_obj src,
	const struct lrec *from, uint64_t off, uint64_t len, const struct upload *u,
	const struct dest *d, uint32_t *crc, struct err *err)
{
	struct store_call quiet = {.deadline_mono_ns = c->deadline_mono_ns, .cancel = c->cancel};
	cleanup_free uint8_t *buf = malloc(LOCAL_IO);
	uint32_t sums[LOCAL_IO / LOCAL_CHUNK];
	errint_t r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (uint64_t at = 0; !r && at < len;) {
		size_t n = (size_t)MIN_OF((uint64_t)LOCAL_IO, len - at), got = 0;
		struct dest here = {d->fd, d->off + at, d->apart, d->sums};
		uint32_t piece = 0;

		r = local_get(&l->store, &quiet, src, from->etag, off + at, buf, n, &got, err);
		if (!r && got != n)
			r = err_set(
				err, -ESTALE, ERR_STALE, "%s/%s got shorter", src.bucket, src.key);
		if (!r && (r = lsum_write(d->fd, here.off, buf, n, false, sums, &piece)))
			r = local_fail(r, "cannot write a part of", u->dir, err);
		*crc = crc32c_combine(*crc, piece, n);
		r = r ? r : sums_put(u, &here, sums, lsum_count(n), err);
		at += n;
	}
	return r;
}

errint_t local_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX];
	struct dest d = {.fd = -1};
	UPLOAD u = {.fd = -1};
	cleanup_fd int fd = -1;
	struct lrec from, info;
	uint32_t crc = 0;
	errint_t r = local_open_src(l, src, src_if_match, &fd, &from, path, err);

	if (!r && (off > from.size || len > from.size - off))
		r = err_set(err, -EINVAL, ERR_FINAL, "part_copy: range behind the end of %s/%s",
			src.bucket, src.key);
	r = r ? r : upload_open(l, dst, id, false, &u, &info, err);
	if (r)
		return r;
	r = part_size_settle(l, dst, id, &u, len);
	r = r ? r : slot_clear(&u, number);
	if (r)
		return local_fail(r, "cannot write the parts of", u.dir, err);
	r = dest_open(&u, number, len, &d, err);
	r = r ? r : part_copy_sums(l, c, src, fd, &from, off, len, &u, &d, &crc, err);
	if (r == -EAGAIN) {
		crc = 0;
		r = part_copy_bytes(l, c, src, &from, off, len, &u, &d, &crc, err);
	}
	r = r ? r : lrec_still(&from, fd, path, err);
	r = r ? r : part_done(l, &u, &d, number, len, crc, ret, err);
	if (d.fd >= 0)
		(void)close(d.fd);
	return r;
}

/* ---- checking and listing ---- */

/* Calls fn for the bytes of a part, a piece at a time, and checks them. -EBADMSG: not what was
 * put there. */
static errint_t part_each(const struct store_call *c, const struct upload *u, const struct slot *s,
	struct ltmp *into, struct err *err)
{
	cleanup_free uint8_t *buf = malloc(LOCAL_IO);
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	uint64_t off = s->apart ? 0 : (s->number - 1) * u->part_size;
	uint32_t crc = 0;
	errint_t r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (s->apart)
		file_of_part(u, s->number, path);
	else
		file_of(u, "data", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (uint64_t at = 0; !r && at < s->size;) {
		size_t n = (size_t)MIN_OF((uint64_t)LOCAL_IO, s->size - at), got = 0;

		r = call_check(c, err);
		if (!r && fd >= 0 && (r = lio_read(fd, off + at, buf, n, &got)))
			r = local_fail(r, "cannot read", path, err);
		if (!r && got < n) /* a hole at the end of data is not in it */
			memset(buf + got, 0, n - got);
		crc = crc32c(crc, buf, n);
		if (!r && into)
			r = ltmp_append(into, buf, n, err);
		at += n;
	}
	if (!r && crc != s->crc)
		r = err_set(err, -EBADMSG, ERR_FINAL,
			"part %u is not what was sent (a crash?): send it again", s->number);
	return r;
}

/* Believes a part of this process, checks one of another and forgets it when it is damaged. */
static errint_t part_trust(const struct local *l, const struct store_call *c,
	const struct upload *u, struct slot *s, struct err *err)
{
	errint_t r;

	if (!memcmp(s->owner, l->owner, sizeof(s->owner)))
		return 0;
	r = part_each(c, u, s, NULL, err);
	if (r == -EBADMSG)
		(void)slot_clear(u, s->number);
	if (r)
		return r;
	memcpy(s->owner, l->owner, sizeof(s->owner));
	r = slot_write(u, s);
	return r ? local_fail(r, "cannot write the parts of", u->dir, err) : 0;
}

errint_t local_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	struct local *l = (struct local *)s;
	cleanup_free struct store_part *v = NULL;
	UPLOAD u = {.fd = -1};
	struct lrec info;
	struct stat sb;
	size_t n = 0, max;
	errint_t r = upload_open(l, o, id, true, &u, &info, err);

	if (r)
		return r;
	if (fstat(u.fd, &sb))
		return local_fail(-errno, "cannot stat the parts of", u.dir, err);
	max = (size_t)MIN_OF((uint64_t)sb.st_size / 64, (uint64_t)LOCAL_PARTS_MAX + 1);
	v = calloc(max + 1, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (unsigned i = 1; i < max; i++) {
		struct slot slot;

		if (!slot_read(&u, i, &slot))
			continue;
		r = part_trust(l, c, &u, &slot, err);
		if (!r)
			slot_out(&slot, &v[n++]);
		else if (r != -EBADMSG)
			return r;
	}
	*ret = steal_ptr(&v);
	*ret_n = n;
	return 0;
}

/* ---- finish ---- */

struct plan {		    /* of a finish */
	struct slot *slots; /* owned */
	size_t n;
	uint64_t size;
	uint32_t crc;
	bool in_place; /* data is the object */
};

static errint_t plan_make(const struct local *l, const struct store_call *c, struct store_obj o,
	const struct upload *u, const struct store_part *parts, size_t n, struct plan *ret,
	struct err *err)
{
	errint_t r = 0;

	ret->slots = calloc(n, sizeof(*ret->slots));
	ret->n = n;
	ret->in_place = u->part_size && u->part_size % LOCAL_CHUNK == 0;
	if (!ret->slots)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (size_t i = 0; i < n && !r; i++) {
		struct slot *s = &ret->slots[i];

		if (!slot_read(u, parts[i].number, s) || strlen(parts[i].etag) != sizeof(s->etag) ||
			memcmp(s->etag, parts[i].etag, sizeof(s->etag)))
			return err_set(err, -EINVAL, ERR_FINAL,
				"%s/%s: part %u is not there or not the one named", o.bucket, o.key,
				parts[i].number);
		if (s->apart || (s->number - 1) * u->part_size != ret->size)
			ret->in_place = false;
		ret->size += s->size;
		ret->crc = crc32c_combine(ret->crc, s->crc, s->size);
	}
	/* Putting it together checks them anyway. */
	for (size_t i = 0; i < n && !r && ret->in_place; i++)
		r = part_trust(l, c, u, &ret->slots[i], err);
	return r;
}

/* data becomes the new version; what the writer would know comes from the parts. */
static errint_t finish_in_place(
	const struct upload *u, const struct plan *p, struct ltmp *t, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	size_t n = lsum_count(p->size), got;
	errint_t r;

	file_of(u, "data", t->path);
	t->fd = open(t->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (t->fd < 0 || ftruncate(t->fd, (off_t)p->size))
		return local_fail(-errno, "cannot size", t->path, err);
	driver_etag(t->etag);
	t->size = p->size;
	t->crc = p->crc;
	t->sums = calloc(n + 1, 4);
	t->nsums = t->cap = n;
	if (!t->sums)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for checksums");
	file_of(u, "sums", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? (n ? -errno : 0) : lio_read(fd, 0, t->sums, 4 * n, &got);
	return r ? local_fail(r, "cannot read", path, err) : 0;
}

static errint_t finish_joined(struct local *l, const struct store_call *c, struct store_obj o,
	const struct upload *u, const struct plan *p, struct ltmp *t, struct err *err)
{
	errint_t r = ltmp_new(l, o.bucket, t, err);

	for (size_t i = 0; i < p->n && !r; i++) {
		r = part_each(c, u, &p->slots[i], t, err);
		if (r == -EBADMSG)
			(void)slot_clear(u, p->slots[i].number);
	}
	return r ? r : ltmp_end(t, err);
}

/* The object of an upload without bytes whose key ends with '/' is a directory. */
static errint_t finish_marker(struct local *l, const struct store_call *c, struct store_obj o,
	const struct store_put *cond, const struct lrec *rec, struct store_stat *ret,
	struct err *err)
{
	struct store_put put = {.if_match = cond->if_match,
		.if_none_match = cond->if_none_match,
		.class_name = rec->class_name,
		.meta = rec->meta,
		.nmeta = rec->nmeta};

	return local_put(&l->store, c, o, NULL, 0, &put, ret, err);
}

static errint_t finish_plan(struct local *l, const struct store_call *c, struct store_obj o,
	const struct upload *u, const struct lrec *info, const struct plan *p,
	const struct store_put *cond, struct store_stat *ret, struct err *err)
{
	struct ltmp t = LTMP_INIT;
	struct lpath lp;
	struct lrec rec;
	errint_t r;

	lpath_set(l, o, &lp);
	ltmp_rec(l, o, &t, cond->class_name ? cond->class_name : info->class_name,
		cond->nmeta ? cond->meta : info->meta, cond->nmeta ? cond->nmeta : info->nmeta,
		&rec);
	if (lp.marker && !p->size)
		return finish_marker(l, c, o, cond, &rec, ret, err);
	r = p->in_place ? finish_in_place(u, p, &t, err) : finish_joined(l, c, o, u, p, &t, err);
	memcpy(rec.etag, t.etag, sizeof(t.etag));
	r = r ? r : ltmp_sums(l, o.bucket, &t, &rec, err);
	if (!r)
		r = ltmp_commit(l, o, &lp, &t, &rec, cond->if_match, cond->if_none_match, ret, err);
	ltmp_done(l, o.bucket, &t);
	return r;
}

errint_t local_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	static const struct store_put none;
	struct local *l = (struct local *)s;
	struct plan p = {0};
	UPLOAD u = {.fd = -1};
	struct lrec info;
	errint_t r;

	cond = cond ? cond : &none;
	r = driver_class_check(l->classes, cond->class_name, err);
	r = r ? r : driver_meta_check(cond->meta, cond->nmeta, DRIVER_META_BYTES_MAX, err);
	r = r ? r : upload_open(l, o, id, true, &u, &info, err);
	r = r ? r : plan_make(l, c, o, &u, parts, n, &p, err);
	r = r ? r : finish_plan(l, c, o, &u, &info, &p, cond, ret, err);
	free(p.slots);
	/* The object stands; what cannot be removed now is no upload any more or can be aborted. */
	if (!r)
		(void)upload_remove(l, o.bucket, u.dir);
	return r;
}
