/* SPDX-License-Identifier: MIT */
/*
 * Bytes: read, write, fill, truncate, punch, allocate.
 *
 * What a read shows is decided by the bits, never by what happens to lie in the data file: a grain
 * that is not present is zeros (or missing), so a process killed between data and bits leaves
 * nothing behind that could show. Hence a grain that becomes present is always written whole, the
 * rest of it as zeros, in the same pwritev; and bytes of the last grain beyond the size are zeros.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "stage_priv.h"

/* Rounds of making room and of dropping damage before a call gives up. */
#define TRIES 8

static const char zeros[STAGE_GRAIN];

/* ---- local I/O ---- */

/* Up to len bytes; *ret_n is short only at the end of the file. */
static errint_t data_read(
	const struct stage_file *f, void *p, size_t len, uint64_t off, size_t *ret_n)
{
	size_t n = 0;

	while (n < len) {
		ssize_t k = pread(f->fd, (char *)p + n, len - n, (off_t)(STAGE_HEAD + off + n));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (k == 0)
			break;
		n += (size_t)k;
	}
	*ret_n = n;
	return 0;
}

/* head zeros, p[0..len), tail zeros; off is where p goes. */
static errint_t data_write(const struct stage_file *f, const void *p, size_t len, uint64_t off,
	size_t head, size_t tail)
{
	struct iovec iov[3] = {{(void *)zeros, head}, {(void *)p, len}, {(void *)zeros, tail}};
	struct iovec *v = iov;
	int left = 3;

	assert(head < STAGE_GRAIN && tail < STAGE_GRAIN);
	off += STAGE_HEAD - head;
	while (left) {
		ssize_t k;

		if (!v->iov_len) {
			v++;
			left--;
			continue;
		}
		k = pwritev(f->fd, v, left, (off_t)off);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k ? -errno : -EIO;
		off += (uint64_t)k;
		while (k > 0) {
			size_t take = MIN_OF((size_t)k, v->iov_len);

			v->iov_base = (char *)v->iov_base + take;
			v->iov_len -= take;
			k -= (ssize_t)take;
			if (!v->iov_len) {
				v++;
				left--;
			}
		}
	}
	return 0;
}

/* ---- checksums ---- */

static bool verified_get(const struct stage_file *f, uint64_t c)
{
	return __atomic_load_n(&f->verified[c / 8], __ATOMIC_RELAXED) >> (c % 8) & 1;
}

/* Readers may be several. */
static void verified_set(struct stage_file *f, uint64_t c)
{
	__atomic_fetch_or(&f->verified[c / 8], (unsigned char)(1u << (c % 8)), __ATOMIC_RELAXED);
}

static uint64_t chunk_base_end(const struct stage_file *f, uint64_t c)
{
	return MIN_OF((c + 1) * STAGE_CHUNK, file_base(f)->end);
}

static errint_t chunk_crc(const struct stage_file *f, uint64_t c, uint32_t *ret)
{
	cleanup_free char *p = malloc(STAGE_CHUNK);
	uint64_t off = c * STAGE_CHUNK, end = chunk_base_end(f, c);
	size_t n = 0;
	errint_t r;

	if (!p)
		return -ENOMEM;
	if (end <= off)
		return -ENODATA;
	r = data_read(f, p, end - off, off, &n);
	if (r)
		return r;
	if (n != end - off)
		return -ENODATA;
	*ret = crc32c(0, p, n);
	return 0;
}

bool file_verify(struct stage_file *f, uint64_t c)
{
	uint64_t e = file_entry(f, c);
	uint32_t crc = 0;

	if (!ent_crc(e) || verified_get(f, c))
		return true;
	if (chunk_crc(f, c, &crc) || crc != ent_crc(e))
		return false;
	verified_set(f, c);
	return true;
}

/* A chunk that just became complete and clean gets its checksum. p: its bytes when at hand. */
static void chunk_seal(struct stage_file *f, uint64_t c, const void *p)
{
	uint64_t e = file_entry(f, c), off = c * STAGE_CHUNK;
	uint16_t need = mask_touch(c, 0, file_base(f)->end);
	uint32_t crc = 0;

	if (!need || (ent_present(e) & need) != need || ent_dirty(e))
		return;
	if (p)
		crc = crc32c(0, p, chunk_base_end(f, c) - off);
	else if (chunk_crc(f, c, &crc))
		return; /* none: then it is dropped when the process starts again */
	verified_set(f, c);
	file_entry_set(f, c, ent_make(f, ent_present(e), 0, crc));
}

/* Drops clean grains in the chunks of a range: all of them, or where the checksum is wrong. */
static unsigned drop_damaged(struct stage_file *f, uint64_t off, uint64_t end, bool all)
{
	unsigned n = 0;

	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end && c < f->map_chunks; c++) {
		unsigned k = 0;

		if (all || !file_verify(f, c))
			k = file_drop_clean(f, c);
		if (k)
			count_inc(stage_damaged);
		n += k;
	}
	file_account(f, 0);
	return n;
}

/* ---- read ---- */

struct miss {
	uint64_t off, len;
};

static bool miss_find(const struct stage_file *f, uint64_t off, uint64_t end, struct miss *m)
{
	uint64_t a, b;

	if (!file_run(f, RUN_MISSING, off, end, &a, &b))
		return false;
	m->off = a;
	m->len = MIN_OF(b, file_base(f)->end) - a;
	return true;
}

/* Zeros in p what is not present; true if anything that is present begins at or after eof. */
static bool read_holes(
	const struct stage_file *f, uint64_t off, uint64_t end, uint64_t eof, char *p)
{
	bool lost = false;

	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c++) {
		uint16_t in = mask_touch(c, off, end), have = ent_present(file_entry(f, c));
		uint16_t hole = in & (uint16_t)~have;

		lost |= (in & have & mask_touch(c, round_up(eof, STAGE_GRAIN), end)) != 0;
		while (hole) {
			uint64_t g = c * STAGE_CHUNK + (uint64_t)__builtin_ctz(hole) * STAGE_GRAIN;
			uint64_t a = MAX_OF(g, off), b = MIN_OF(g + STAGE_GRAIN, end);

			memset(p + (a - off), 0, b - a);
			hole &= (uint16_t)(hole - 1);
		}
	}
	return lost;
}

/* -EUCLEAN: some checksum is wrong. -EIO: the local disk failed or lost bytes. */
static errint_t read_shared(
	struct stage_file *f, uint64_t off, void *p, size_t len, size_t *ret_len, struct miss *m)
{
	uint64_t size = f->map->h.size, end;
	size_t n = 0;
	errint_t r;

	*ret_len = 0;
	if (off >= size || !len)
		return 0;
	end = len > size - off ? size : off + len;
	if (miss_find(f, off, end, m))
		return -ENODATA;
	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c++) {
		if (!file_verify(f, c))
			return -EUCLEAN;
	}
	r = data_read(f, p, end - off, off, &n);
	if (r)
		return -EIO;
	if (n < end - off)
		memset((char *)p + n, 0, end - off - n);
	if (read_holes(f, off, end, off + n, p))
		return -EIO;
	*ret_len = end - off;
	return 0;
}

errint_t stage_read(struct stage_file *f, uint64_t off, void *p, size_t len, size_t *ret_len,
	uint64_t *ret_miss_off, uint64_t *ret_miss_len)
{
	struct miss m = {0};
	errint_t r = -EIO;

	assert(f && (p || !len) && ret_len);
	for (unsigned i = 0; i < TRIES; i++) {
		unsigned dropped;

		file_read_begin(f);
		r = read_shared(f, off, p, len, ret_len, &m);
		file_read_end(f);
		if (r != -EUCLEAN && r != -EIO)
			break;
		/* Clean bytes can be had again; dirty ones only from here. */
		file_change_begin(f);
		dropped = drop_damaged(
			f, off, len > UINT64_MAX - off ? UINT64_MAX : off + len, r == -EIO);
		file_quiet_end(f);
		/* None the first time: another reader may have been faster. */
		if (!dropped && r == -EIO && i)
			break;
	}
	if (r == -ENODATA) {
		*ret_miss_off = m.off;
		*ret_miss_len = m.len;
		count_inc(stage_misses);
	} else if (!r) {
		count_inc(stage_hits);
	}
	return r == -EUCLEAN ? -EIO : r;
}

errint_t stage_read_with(struct stage_file *f, uint64_t off, void *p, size_t len, size_t *ret_len,
	errint_t (*get)(void *arg, uint64_t off, void *p, size_t len), void *arg)
{
	uint64_t at = off, end = off + len, miss = 0, miss_len = 0;
	errint_t r = 0;

	while (at < end) {
		size_t got = 0;

		r = stage_read(
			f, at, (char *)p + (at - off), (size_t)(end - at), &got, &miss, &miss_len);
		if (r == -ENODATA && miss > at) /* what is before the gap */
			r = stage_read(f, at, (char *)p + (at - off), (size_t)(miss - at), &got,
				&miss, &miss_len);
		if (r == -ENODATA && miss > at)
			continue; /* another gap by now */
		if (r == -ENODATA) {
			/* The run may begin below `at` (runs are grains), and ends where the base
			 * ends; the rest of that grain is zeros that nobody has. */
			uint64_t to = MIN_OF(miss + miss_len, end);
			uint64_t zero_to = MIN_OF(round_up(miss + miss_len, STAGE_GRAIN), end);

			r = to > at ? get(arg, at, (char *)p + (at - off), (size_t)(to - at)) : 0;
			to = MAX_OF(to, at);
			memset((char *)p + (to - off), 0, (size_t)(zero_to - to));
			got = (size_t)(zero_to - at);
		}
		if (r || !got)
			break;
		at += got;
	}
	*ret_len = (size_t)(at - off);
	return r;
}

/* ---- what all changes share ---- */

/* The range may be changed in part in this grain: false, with the miss, when the base's bytes
 * around it are not here. */
static bool edge_known(
	const struct stage_file *f, uint64_t grain, uint64_t off, uint64_t end, struct miss *m)
{
	uint64_t base_end = MIN_OF(grain + STAGE_GRAIN, file_base(f)->end);

	if (grain >= base_end || (off <= grain && end >= base_end))
		return true;
	return !miss_find(f, grain, grain + STAGE_GRAIN, m);
}

static errint_t edges_known(struct stage_file *f, uint64_t off, uint64_t end, struct miss *m)
{
	uint64_t g0 = round_down(off, STAGE_GRAIN), g1 = round_down(end - 1, STAGE_GRAIN);

	/* Damage has to be found before the checksum goes. */
	if (mask_whole(off / STAGE_CHUNK, off, end) != 0xffff)
		file_forget_crc(f, off / STAGE_CHUNK);
	if (mask_whole((end - 1) / STAGE_CHUNK, off, end) != 0xffff)
		file_forget_crc(f, (end - 1) / STAGE_CHUNK);
	if (!edge_known(f, g0, off, end, m) || !edge_known(f, g1, off, end, m))
		return -ENODATA;
	return 0;
}

/* Grains of a range that have no data yet, times their size. */
static uint64_t room_needed(const struct stage_file *f, uint64_t off, uint64_t end, bool fill)
{
	uint64_t n = 0;

	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c++) {
		uint64_t e = file_entry(f, c);
		uint16_t have = ent_present(e) | (fill ? ent_dirty(e) : 0);

		n += (uint64_t)__builtin_popcount(mask_touch(c, off, end) & (uint16_t)~have);
	}
	return n * STAGE_GRAIN;
}

/* Marks grains that were written whole or were present. */
static void mark_written(struct stage_file *f, uint64_t off, uint64_t end)
{
	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c++) {
		uint64_t e = file_entry(f, c);
		uint16_t m = mask_touch(c, off, end);

		file_entry_set(f, c, ent_make(f, ent_present(e) | m, ent_dirty(e) | m, 0));
	}
}

/* A write that failed half-way: what was here before may be half-way, too, and is ours now. */
static void mark_torn(struct stage_file *f, uint64_t off, uint64_t end)
{
	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c++) {
		uint64_t e = file_entry(f, c);
		uint16_t m = mask_touch(c, off, end) & ent_present(e);

		if (m)
			file_entry_set(f, c, ent_make(f, ent_present(e), ent_dirty(e) | m, 0));
	}
	f->cut_pending = true;
}

/* Before the size grows: no old bytes may appear behind its end. */
static errint_t grow_prepare(struct stage_file *f)
{
	uint64_t there;
	errint_t r;

	if (!f->cut_pending)
		return 0;
	r = file_data_size(f, &there);
	if (!r && there > f->map->h.size)
		r = file_data_cut(f, f->map->h.size);
	f->cut_pending = r != 0;
	return r;
}

static void size_store(struct stage_file *f, uint64_t size)
{
	__atomic_store_n(&f->map->h.size, size, __ATOMIC_RELEASE);
}

static void changed_now(struct stage_file *f)
{
	__atomic_store_n(&f->map->h.mtime, clock_now_ns(), __ATOMIC_RELEASE);
}

static bool grain_present(const struct stage_file *f, uint64_t grain)
{
	uint64_t c = grain / STAGE_CHUNK;

	return (mask_touch(c, grain, grain + 1) & ent_present(file_entry(f, c))) != 0;
}

/* Writes bytes of one range and marks them. The room for `reserved` bytes was taken. */
static errint_t write_range(
	struct stage_file *f, uint64_t off, uint64_t end, const void *p, uint64_t reserved)
{
	uint64_t g0 = round_down(off, STAGE_GRAIN), g1 = round_down(end - 1, STAGE_GRAIN);
	size_t head = 0, tail = 0;
	errint_t r;

	if (!grain_present(f, g0))
		head = (size_t)(off - g0);
	if (!grain_present(f, g1))
		tail = (size_t)(g1 + STAGE_GRAIN - end);
	file_touch(f, MIN_OF(off, f->map->h.size), end); /* what is between becomes zeros */
	r = data_write(f, p, (size_t)(end - off), off, head, tail);
	if (r) {
		mark_torn(f, off, end);
	} else {
		mark_written(f, off, end);
		if (end > f->map->h.size)
			size_store(f, end);
	}
	changed_now(f);
	file_account(f, reserved);
	return r;
}

/* ---- write ---- */

/* -EDQUOT: no room for *ret_need bytes now. */
static errint_t write_locked(struct stage_file *f, uint64_t off, uint64_t end, const void *p,
	struct miss *m, uint64_t *ret_need)
{
	errint_t r;

	r = edges_known(f, off, end, m);
	if (r)
		return r;
	*ret_need = room_needed(f, off, end, false);
	if (*ret_need && !stage_reserve(f->s, *ret_need))
		return -EDQUOT;
	r = file_map_need(f, off / STAGE_CHUNK, (end - 1) / STAGE_CHUNK + 1);
	if (!r && end > f->map->h.size)
		r = grow_prepare(f);
	if (r) {
		file_account(f, *ret_need);
		return r;
	}
	return write_range(f, off, end, p, *ret_need);
}

errint_t stage_write(struct stage_file *f, uint64_t off, const void *p, size_t len,
	uint64_t *ret_miss_off, uint64_t *ret_miss_len)
{
	struct miss m = {0};
	errint_t r = 0;

	assert(f && (p || !len));
	if (off > STAGE_SIZE_MAX || len > STAGE_SIZE_MAX - off)
		return -EFBIG;
	for (unsigned i = 0; len && i < TRIES; i++) {
		uint64_t need = 0;

		file_change_begin(f);
		r = write_locked(f, off, off + len, p, &m, &need);
		file_change_end(f);
		if (r != -EDQUOT)
			break;
		r = stage_make_room(f->s, need);
		if (r)
			return r;
		r = -EDQUOT; /* somebody was faster, so far */
	}
	if (r == -ENODATA) {
		*ret_miss_off = m.off;
		*ret_miss_len = m.len;
	}
	return r;
}

/* ---- fill ---- */

/* Fills the part of chunk c in [off, end) that is neither present nor dirty. */
static errint_t fill_chunk(
	struct stage_file *f, uint64_t c, uint64_t off, uint64_t end, const char *p)
{
	uint64_t e = file_entry(f, c), cs = c * STAGE_CHUNK, base_end = file_base(f)->end;
	uint64_t stop = end == base_end ? round_up(end, STAGE_GRAIN) : end;
	uint16_t want = mask_whole(c, off, stop) & (uint16_t) ~(ent_present(e) | ent_dirty(e));
	bool all;

	if (!want)
		return 0;
	for (uint16_t left = want; left;) {
		unsigned a = (unsigned)__builtin_ctz(left);
		unsigned n = (unsigned)__builtin_ctz(~((uint32_t)left >> a));
		uint64_t from = cs + (uint64_t)a * STAGE_GRAIN;
		uint64_t full = from + (uint64_t)n * STAGE_GRAIN, to = MIN_OF(full, end);
		errint_t r;

		r = data_write(
			f, p + (from - off), (size_t)(to - from), from, 0, (size_t)(full - to));
		if (r)
			return r;
		left &= (uint16_t) ~(((UINT32_C(1) << n) - 1) << a);
	}
	file_entry_set(f, c, ent_make(f, ent_present(e) | want, ent_dirty(e), 0));
	all = off <= cs && end >= chunk_base_end(f, c) && want == mask_touch(c, 0, base_end);
	chunk_seal(f, c, all ? p + (cs - off) : NULL);
	return 0;
}

/* Several whole chunks of which nothing is here: one pwrite. Returns the first chunk after. */
static uint64_t fill_fresh(
	struct stage_file *f, uint64_t c, uint64_t off, uint64_t end, const char *p, errint_t *ret)
{
	uint64_t n = c;

	while ((n + 1) * STAGE_CHUNK <= end && n * STAGE_CHUNK >= off && !file_entry(f, n))
		n++;
	if (n < c + 2)
		return c;
	*ret = data_write(f, p + (c * STAGE_CHUNK - off), (size_t)((n - c) * STAGE_CHUNK),
		c * STAGE_CHUNK, 0, 0);
	if (*ret)
		return c;
	for (; c < n; c++) {
		file_entry_set(f, c, ent_make(f, 0xffff, 0, 0));
		chunk_seal(f, c, p + (c * STAGE_CHUNK - off));
	}
	return n;
}

static errint_t fill_locked(struct stage_file *f, const char *etag, uint64_t off, uint64_t end,
	const char *p, uint64_t *ret_need)
{
	const struct map_base *b = file_base(f);
	errint_t r;

	if (!*etag || strcmp(b->etag, etag))
		return -ESTALE;
	end = MIN_OF(end, b->end);
	if (end != b->end)
		end = round_down(end, STAGE_GRAIN);
	if (off >= end)
		return 0;
	*ret_need = room_needed(f, off, end, true);
	if (!*ret_need)
		return 0;
	if (!stage_reserve(f->s, *ret_need))
		return -EDQUOT;
	r = file_map_need(f, off / STAGE_CHUNK, (end - 1) / STAGE_CHUNK + 1);
	for (uint64_t c = off / STAGE_CHUNK; !r && c * STAGE_CHUNK < end;) {
		uint64_t next = fill_fresh(f, c, off, end, p, &r);

		if (!r && next == c)
			r = fill_chunk(f, next++, off, end, p);
		c = next;
	}
	file_account(f, *ret_need);
	return r;
}

errint_t stage_fill(struct stage_file *f, const char *etag, uint64_t off, const void *p, size_t len)
{
	errint_t r = 0;

	assert(f && (p || !len) && off % STAGE_GRAIN == 0);
	if (off > STAGE_SIZE_MAX || len > STAGE_SIZE_MAX - off)
		return -EFBIG;
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t need = 0;
		bool dirty;

		file_change_begin(f);
		r = fill_locked(f, etag ? etag : "", off, off + len, p, &need);
		dirty = f->map->h.dirty;
		file_quiet_end(f);
		if (r != -EDQUOT)
			break;
		/* What readers fetch must not push out what others of them just fetched; what is
		 * changed here cannot be read past the cache. */
		r = stage_room(f->s, need, dirty);
		if (r)
			break;
		r = -EDQUOT; /* somebody was faster, so far */
	}
	return r;
}

/* ---- truncate, punch, allocate ---- */

static void shrink_locked(struct stage_file *f, uint64_t size)
{
	struct map_base *b = file_base(f);
	uint64_t there;

	if (b->end > size && size % STAGE_CHUNK)
		file_forget_crc(f, size / STAGE_CHUNK);
	file_touch(f, size, UINT64_MAX);
	/* This store is the deed; opening the file does the rest again. */
	size_store(f, size);
	if (b->end > size)
		__atomic_store_n(&b->end, size, __ATOMIC_RELEASE);
	file_clear_beyond(f, size);
	if (file_data_size(f, &there) || (there > size && file_data_cut(f, size)))
		f->cut_pending = true;
}

/* Never misses: a cut grain that is not here stays so, base.end tells how much of it shows. */
errint_t stage_truncate(
	struct stage_file *f, uint64_t size, uint64_t *ret_miss_off, uint64_t *ret_miss_len)
{
	errint_t r = 0;

	assert(f);
	(void)ret_miss_off;
	(void)ret_miss_len;
	if (size > STAGE_SIZE_MAX)
		return -EFBIG;
	file_change_begin(f);
	if (size < f->map->h.size) {
		shrink_locked(f, size);
	} else if (size > f->map->h.size) {
		r = grow_prepare(f);
		if (!r) {
			file_touch(f, f->map->h.size, size);
			size_store(f, size);
		}
	}
	if (!r)
		changed_now(f);
	file_account(f, 0);
	file_change_end(f);
	return r;
}

/* Zeros part of one grain. One that is not here either shows zeros already or holds no byte of the
 * base but those to be zeroed. */
static errint_t punch_edge(struct stage_file *f, uint64_t off, uint64_t end)
{
	uint64_t c = off / STAGE_CHUNK, e = file_entry(f, c);
	uint16_t m = mask_touch(c, off, end);

	if (!m)
		return 0;
	if (m & ent_present(e))
		return write_range(f, off, end, zeros, 0);
	if (m & mask_touch(c, 0, file_base(f)->end))
		file_entry_set(f, c, ent_make(f, ent_present(e), ent_dirty(e) | m, 0));
	return 0;
}

static errint_t punch_locked(struct stage_file *f, uint64_t off, uint64_t end, struct miss *m)
{
	uint64_t size = f->map->h.size, base_end = file_base(f)->end;
	uint64_t from = round_up(off, STAGE_GRAIN);
	/* Behind the end there is nothing to keep. */
	uint64_t to = end == size ? round_up(end, STAGE_GRAIN) : round_down(end, STAGE_GRAIN);
	errint_t r;

	r = edges_known(f, off, end, m);
	if (r)
		return r;
	/* Grains that are not here and not the base's are zeros: no bits, no sidecar. */
	if (off < base_end) {
		r = file_map_need(
			f, off / STAGE_CHUNK, (MIN_OF(end, base_end) - 1) / STAGE_CHUNK + 1);
		if (r)
			return r;
	}
	file_touch(f, off, end);
	r = punch_edge(f, off, MIN_OF(from, end));
	if (!r && to >= from)
		r = punch_edge(f, MAX_OF(to, off), end);
	for (uint64_t c = from / STAGE_CHUNK; !r && c * STAGE_CHUNK < to && c < f->map_chunks;
		c++) {
		uint64_t e = file_entry(f, c);
		uint16_t set = mask_touch(c, from, to) &
			       (ent_present(e) | ent_dirty(e) | mask_touch(c, 0, base_end));

		if (!set)
			continue;
		file_entry_set(
			f, c, ent_make(f, ent_present(e) & (uint16_t)~set, ent_dirty(e) | set, 0));
		file_punch(f, c, ent_present(e) & set);
	}
	changed_now(f);
	file_account(f, 0);
	return r;
}

errint_t stage_punch(struct stage_file *f, uint64_t off, uint64_t len, uint64_t *ret_miss_off,
	uint64_t *ret_miss_len)
{
	struct miss m = {0};
	errint_t r = 0;
	uint64_t size;

	assert(f);
	file_change_begin(f);
	size = f->map->h.size;
	if (off < size && len)
		r = punch_locked(f, off, len > size - off ? size : off + len, &m);
	file_change_end(f);
	if (r == -ENODATA) {
		*ret_miss_off = m.off;
		*ret_miss_len = m.len;
	}
	return r;
}

static errint_t allocate_run(struct stage_file *f, uint64_t off, uint64_t end)
{
	errint_t r = 0;

	/* Old bytes there must not show. */
	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(STAGE_HEAD + off),
		    (off_t)(end - off)) < 0 ||
		fallocate(f->fd, 0, (off_t)(STAGE_HEAD + off), (off_t)(end - off)) < 0)
		r = -errno;
	if (r != -EOPNOTSUPP)
		return r;
	for (r = 0; !r && off < end; off += STAGE_GRAIN)
		r = data_write(f, zeros, STAGE_GRAIN, off, 0, 0);
	return r;
}

/* Grains that show zeros get disk blocks of their own, so that writing them cannot fail. */
static errint_t allocate_locked(struct stage_file *f, uint64_t off, uint64_t end)
{
	uint64_t a, b;
	errint_t r;

	r = file_map_need(f, off / STAGE_CHUNK, (end - 1) / STAGE_CHUNK + 1);
	while (!r && off < end && file_run(f, RUN_HOLE, off, end, &a, &b)) {
		r = allocate_run(f, a, b);
		if (r)
			break;
		file_forget_crc(f, a / STAGE_CHUNK);
		file_forget_crc(f, (b - 1) / STAGE_CHUNK);
		mark_written(f, a, b);
		off = b;
	}
	return r;
}

static errint_t allocate_reserved(struct stage_file *f, uint64_t off, uint64_t end, bool keep_size)
{
	uint64_t size = f->map->h.size;
	errint_t r;

	if (keep_size || end <= size) {
		/* A clean file stays clean: the room is only known to be there. */
		end = f->map->h.dirty ? MIN_OF(end, size) : 0;
		return off < end ? allocate_locked(f, off, end) : 0;
	}
	r = grow_prepare(f);
	if (r)
		return r;
	file_touch(f, size, end);
	/* Bits beyond the size are dropped by whoever opens the file after a kill here. */
	r = allocate_locked(f, off, end);
	if (r) {
		file_clear_beyond(f, size);
		f->cut_pending = true;
		return r;
	}
	size_store(f, end);
	changed_now(f);
	return 0;
}

errint_t stage_allocate(struct stage_file *f, uint64_t off, uint64_t len, bool keep_size)
{
	errint_t r = -EDQUOT;

	assert(f);
	if (off > STAGE_SIZE_MAX || len > STAGE_SIZE_MAX - off)
		return -EFBIG;
	if (!len)
		return -EINVAL;
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t need;
		bool fits;

		file_change_begin(f);
		need = room_needed(f, off, off + len, false);
		fits = !need || stage_reserve(f->s, need);
		if (fits) {
			r = allocate_reserved(f, off, off + len, keep_size);
			file_account(f, need);
		}
		file_change_end(f);
		if (fits)
			return r;
		r = stage_make_room(f->s, need);
		if (r)
			return r;
		r = -EDQUOT; /* somebody was faster, so far */
	}
	return r;
}
