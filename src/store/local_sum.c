/* SPDX-License-Identifier: MIT */
/*
 * Checksums and plain I/O of the local driver. An object is checked in chunks of 64 KiB. Their
 * CRC-32Cs are in the record for small objects, else in a sidecar file of 4 bytes per chunk; one
 * chunk needs none, its checksum is the object's. A value is stored as difference to the checksum
 * of as many zeros, so that a hole has the value 0 and the sidecar of a sparse object is sparse.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define COPY_STEP (64u << 20) /* between two looks at the cancel flag */

static uint32_t zeros_chunk;
static pthread_once_t zeros_once = PTHREAD_ONCE_INIT;

static void zeros_init(void)
{
	zeros_chunk = crc32c_zeros(0, LOCAL_CHUNK);
}

uint32_t lsum_zeros(size_t len)
{
	(void)pthread_once(&zeros_once, zeros_init);
	return len == LOCAL_CHUNK ? zeros_chunk : crc32c_zeros(0, len);
}

static bool all_zeros(const uint8_t *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

errint_t lio_write(int fd, uint64_t off, const void *p, size_t len)
{
	const uint8_t *at = p;

	while (len) {
		ssize_t n = pwrite(fd, at, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

errint_t lio_read(int fd, uint64_t off, void *p, size_t len, size_t *ret_len)
{
	uint8_t *at = p;

	*ret_len = 0;
	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
		*ret_len += (size_t)n;
	}
	return 0;
}

static errint_t punch(int fd, uint64_t off, size_t len)
{
	static const uint8_t zeros[LOCAL_CHUNK];

	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	for (size_t n; len; off += n, len -= n) {
		n = MIN_OF(len, sizeof(zeros));
		errint_t r = lio_write(fd, off, zeros, n);

		if (r)
			return r;
	}
	return 0;
}

errint_t lsum_write(
	int fd, uint64_t off, const void *p, size_t len, bool fresh, uint32_t *sums, uint32_t *crc)
{
	const uint8_t *b = p;
	size_t run = 0; /* start of the run that is not written yet */
	bool run_zero = false;
	errint_t r = 0;

	for (size_t at = 0; at < len && !r;) {
		size_t n = MIN_OF(len - at, LOCAL_CHUNK);
		uint32_t z = lsum_zeros(n);
		bool zero = all_zeros(b + at, n);
		uint32_t v = zero ? z : crc32c(0, b + at, n);

		*sums++ = v ^ z;
		*crc = off + at ? crc32c_combine(*crc, v, n) : v;
		if (at > run && zero != run_zero) {
			if (!run_zero)
				r = lio_write(fd, off + run, b + run, at - run);
			else if (!fresh)
				r = punch(fd, off + run, at - run);
			run = at;
		}
		run_zero = zero;
		at += n;
	}
	if (r || run == len)
		return r;
	if (!run_zero)
		return lio_write(fd, off + run, b + run, len - run);
	return fresh ? 0 : punch(fd, off + run, len - run);
}

/* ---- checked reading ---- */

static errint_t sidecar_get(const struct local *l, struct store_obj o, const struct lrec *rec,
	size_t first, size_t n, uint32_t *ret, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	size_t got;
	errint_t r;

	lpath_sidecar(l, o.bucket, rec->etag, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : local_fail(-errno, "cannot open", path, err);
	r = lio_read(fd, 4 * (uint64_t)first, ret, 4 * n, &got);
	if (r)
		return local_fail(r, "cannot read", path, err);
	if (got != 4 * n)
		return err_set(err, -EIO, ERR_FINAL,
			"%s/%s is damaged: the file of its checksums is cut short", o.bucket,
			o.key);
	return 0;
}

errint_t lsum_get(const struct local *l, struct store_obj o, const struct lrec *rec, size_t first,
	size_t n, uint32_t *ret, struct err *err)
{
	errint_t r = 0;

	assert(!rec->foreign && !rec->adopted);
	if (first + n > lsum_count(rec->size))
		return err_set(err, -EBADMSG, ERR_FINAL, "range behind the checksums");
	if (rec->sidecar) {
		r = sidecar_get(l, o, rec, first, n, ret, err);
		if (r)
			return r;
	} else if (lsum_count(rec->size) == 1) {
		ret[0] = rec->crc ^ lsum_zeros((size_t)rec->size);
		return 0;
	} else if (first + n > rec->nsums) {
		return err_set(err, -EIO, ERR_FINAL, "%s/%s is damaged: its record lacks checksums",
			o.bucket, o.key);
	} else {
		memcpy(ret, rec->sums + 4 * first, 4 * n);
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = le32toh(ret[i]);
	return r;
}

/* Checks len bytes at p, which start a chunk. */
static errint_t check(const uint8_t *p, size_t len, const uint32_t *sums, const char *path,
	uint64_t off, struct err *err)
{
	for (size_t at = 0; at < len; at += LOCAL_CHUNK, sums++) {
		size_t n = MIN_OF(len - at, LOCAL_CHUNK);
		bool good = *sums ? (crc32c(0, p + at, n) ^ lsum_zeros(n)) == *sums
				  : all_zeros(p + at, n);

		if (!good)
			return err_set(err, -EIO, ERR_FINAL,
				"%.200s is damaged: the checksum of its bytes %llu to %llu does "
				"not "
				"hold",
				path, (unsigned long long)(off + at),
				(unsigned long long)(off + at + n - 1));
	}
	return 0;
}

struct reader { /* one lsum_read: what its pieces have in common */
	int fd;
	const struct lrec *rec;
	const char *path;
	const uint32_t *sums; /* from chunk first on */
	size_t first;
	uint8_t *scratch; /* one chunk, made when needed */
};

/* Reads and checks whole chunks [off, off + len) into p. */
static errint_t read_whole(struct reader *rd, uint64_t off, void *p, size_t len, struct err *err)
{
	size_t got;
	errint_t r = lio_read(rd->fd, off, p, len, &got);

	if (r)
		return err_set(
			err, -EIO, ERR_FINAL, "cannot read %.200s: %s", rd->path, strerror(-r));
	if (got != len)
		return err_set(err, -EIO, ERR_FINAL, "%.200s is damaged: cut short", rd->path);
	return check(p, len, rd->sums + (off / LOCAL_CHUNK - rd->first), rd->path, off, err);
}

/* The part [off, off + len) of one chunk. */
static errint_t read_piece(struct reader *rd, uint64_t off, void *p, size_t len, struct err *err)
{
	uint64_t start = off - off % LOCAL_CHUNK;
	size_t whole = (size_t)MIN_OF((uint64_t)LOCAL_CHUNK, rd->rec->size - start);
	errint_t r;

	if (!rd->scratch)
		rd->scratch = malloc(LOCAL_CHUNK);
	if (!rd->scratch)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = read_whole(rd, start, rd->scratch, whole, err);
	if (!r)
		memcpy(p, rd->scratch + (off - start), len);
	return r;
}

errint_t lsum_read(const struct local *l, const struct store_call *c, struct store_obj o, int fd,
	const struct lrec *rec, const char *path, uint64_t off, void *p, size_t len,
	struct err *err)
{
	size_t first = (size_t)(off / LOCAL_CHUNK), done = 0;
	size_t n = len ? (size_t)((off + len - 1) / LOCAL_CHUNK) - first + 1 : 0;
	cleanup_free uint32_t *sums = malloc(4 * n + 1);
	struct reader rd = {fd, rec, path, sums, first, NULL};
	errint_t r;

	assert(off + len <= rec->size);
	if (!sums)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = n ? lsum_get(l, o, rec, first, n, sums, err) : 0;
	while (!r && done < len) {
		uint64_t at = off + done;
		size_t step = len - done, in = (size_t)(at % LOCAL_CHUNK);

		r = call_check(c, err);
		if (r)
			break;
		if (in || (step < LOCAL_CHUNK && at + step < rec->size)) {
			step = MIN_OF(step, LOCAL_CHUNK - in);
			r = read_piece(&rd, at, (uint8_t *)p + done, step, err);
		} else {
			step = MIN_OF(step, LOCAL_IO);
			/* Whole chunks only, but for the one at the object's end. */
			if (at + step < rec->size)
				step -= step % LOCAL_CHUNK;
			r = read_whole(&rd, at, (uint8_t *)p + done, step, err);
		}
		done += step;
		if (!r)
			store_progressed(c->progress, done);
	}
	free(rd.scratch);
	return r;
}

/* ---- copying ---- */

static errint_t copy_bytes(int src, uint64_t so, int dst, uint64_t to, uint64_t len)
{
	uint8_t buf[16384];

	while (len) {
		size_t n = (size_t)MIN_OF(len, (uint64_t)sizeof(buf)), got;
		errint_t r = lio_read(src, so, buf, n, &got);

		r = r ? r : got != n ? -EIO : lio_write(dst, to, buf, n);
		if (r)
			return r;
		so += n;
		to += n;
		len -= n;
	}
	return 0;
}

static errint_t copy_extent(const struct store_call *c, int src, uint64_t so, int dst, uint64_t to,
	uint64_t len, struct err *err)
{
	while (len) {
		off_t in = (off_t)so, out = (off_t)to;
		errint_t r = call_check(c, err);
		ssize_t n;

		if (r)
			return r;
		n = copy_file_range(src, &in, dst, &out, MIN_OF(len, COPY_STEP), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == EINVAL ||
				     errno == ENOSYS)) {
			n = (ssize_t)MIN_OF(len, COPY_STEP);
			r = copy_bytes(src, so, dst, to, (uint64_t)n);
			if (r)
				return local_fail(r, "cannot copy", "the bytes", err);
		} else if (n <= 0) {
			return local_fail(n ? -errno : -EIO, "cannot copy", "the bytes", err);
		}
		so += (uint64_t)n;
		to += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

errint_t lio_copy(const struct store_call *c, int src, uint64_t src_off, int dst, uint64_t dst_off,
	uint64_t len, bool fresh, struct err *err)
{
	uint64_t at = 0;
	errint_t r = 0;

	if (!fresh && len)
		r = punch(dst, dst_off, len);
	if (r)
		return local_fail(r, "cannot punch", "a hole", err);
	while (!r && at < len) {
		off_t data = lseek(src, (off_t)(src_off + at), SEEK_DATA), hole;
		uint64_t end;

		if (data < 0)
			return errno == ENXIO ? 0 : local_fail(-errno, "cannot seek", "", err);
		if ((uint64_t)data >= src_off + len)
			return 0;
		hole = lseek(src, data, SEEK_HOLE);
		if (hole < 0)
			return local_fail(-errno, "cannot seek", "", err);
		end = MIN_OF((uint64_t)hole, src_off + len) - src_off;
		at = (uint64_t)data - src_off;
		r = copy_extent(c, src, src_off + at, dst, dst_off + at, end - at, err);
		at = end;
	}
	return r;
}
