/* SPDX-License-Identifier: MIT */
/*
 * One staging file: its lock, its bits, its base, and what is known of it without its bytes.
 *
 * Order of stores into the mapping is what makes kill -9 harmless: see each caller. Bits are 64-bit
 * entries stored whole; the header's fields one by one, dirty before anything that it speaks for.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "astra/base_cleanup.h"
#include "stage_priv.h"

/* ---- the lock: many readers, one changer ---- */

void file_read_begin(struct stage_file *f)
{
	lock_take(&f->rw.lock);
	while (f->rw.writers_waiting)
		cond_wait(&f->rw.idle, &f->rw.lock);
	f->rw.readers++;
	lock_drop(&f->rw.lock);
}

void file_read_end(struct stage_file *f)
{
	bool wake;

	lock_take(&f->rw.lock);
	assert(f->rw.readers);
	wake = --f->rw.readers == 0 && f->rw.writers_waiting;
	lock_drop(&f->rw.lock);
	if (wake)
		(void)pthread_cond_broadcast(&f->rw.idle);
}

void file_change_begin(struct stage_file *f)
{
	lock_take(&f->rw.lock);
	f->rw.writers_waiting++;
	while (f->rw.readers)
		cond_wait(&f->rw.idle, &f->rw.lock);
	f->rw.writers_waiting--;
}

void file_quiet_end(struct stage_file *f)
{
	lock_drop(&f->rw.lock);
	(void)pthread_cond_broadcast(&f->rw.idle);
}

void file_change_end(struct stage_file *f)
{
	file_quiet_end(f);
	/* After the change: a sync that took the mark away before this line saw all of it. */
	stage_mark_unsynced(f->s, f->e);
}

/* ---- bits ---- */

static uint16_t mask_between(unsigned a, unsigned b)
{
	return a >= b ? 0 : (uint16_t)((UINT32_C(1) << b) - (UINT32_C(1) << a));
}

uint16_t mask_touch(uint64_t c, uint64_t off, uint64_t end)
{
	uint64_t cs = c * STAGE_CHUNK;
	unsigned a, b;

	if (off >= end || off >= cs + STAGE_CHUNK || end <= cs)
		return 0;
	a = off > cs ? (unsigned)((off - cs) / STAGE_GRAIN) : 0;
	b = end < cs + STAGE_CHUNK ? (unsigned)(round_up(end - cs, STAGE_GRAIN) / STAGE_GRAIN)
				   : GRAINS_PER_CHUNK;
	return mask_between(a, b);
}

uint16_t mask_whole(uint64_t c, uint64_t off, uint64_t end)
{
	uint64_t cs = c * STAGE_CHUNK;
	unsigned a, b;

	if (off >= end || off >= cs + STAGE_CHUNK || end <= cs)
		return 0;
	a = off > cs ? (unsigned)(round_up(off - cs, STAGE_GRAIN) / STAGE_GRAIN) : 0;
	b = end < cs + STAGE_CHUNK ? (unsigned)((end - cs) / STAGE_GRAIN) : GRAINS_PER_CHUNK;
	return mask_between(a, b);
}

static unsigned grains_dirty(uint64_t e)
{
	return (unsigned)__builtin_popcount(ent_present(e) & ent_dirty(e));
}

void file_entry_set(struct stage_file *f, uint64_t c, uint64_t e)
{
	uint64_t old = file_entry(f, c);

	assert(c < f->map_chunks);
	if (old == e)
		return;
	f->present += (uint64_t)__builtin_popcount(ent_present(e));
	f->present -= (uint64_t)__builtin_popcount(ent_present(old));
	f->ndirty += grains_dirty(e);
	f->ndirty -= grains_dirty(old);
	__atomic_store_n(&f->map->chunk[c], e, __ATOMIC_RELEASE);
}

static uint16_t run_mask(const struct stage_file *f, enum run_kind kind, uint64_t c)
{
	const struct map_base *b = file_base(f);
	uint64_t e = file_entry(f, c);
	uint16_t p = ent_present(e), d = ent_dirty(e);
	uint16_t in_base = mask_touch(c, 0, b->end);
	uint16_t hole = (uint16_t)(~p & (d | ~in_base));

	switch (kind) {
	case RUN_MISSING:
		return (uint16_t)(in_base & ~(p | d));
	case RUN_DIRTY:
		if (!f->map->h.dirty)
			return 0;
		/* What lies beyond the shown part of the base is not the base's either. */
		if (f->map->h.size > b->end)
			d |= mask_touch(c, round_down(b->end, STAGE_GRAIN), f->map->h.size);
		return d;
	case RUN_HOLE:
		return hole;
	case RUN_DATA:
		return (uint16_t)~hole;
	}
	return 0;
}

uint64_t file_entry_next(const struct stage_file *f, uint64_t c)
{
	off_t off;

	if (f->map_chunks < MAP_CHUNKS_SPARSE || c % MAP_CHUNKS_MIN || !c || c >= f->map_chunks)
		return c;
	off = lseek(f->map_fd, (off_t)(MAP_HEAD_SIZE + c * 8), SEEK_DATA);
	if (off < 0)
		return errno == ENXIO ? f->map_chunks : c;
	return MAX_OF(c, (round_down((uint64_t)off, 4096) - MAP_HEAD_SIZE) / 8);
}

/* Chunks without an entry look alike on each side of base.end: no need to walk them all. */
static uint64_t run_next(const struct stage_file *f, uint64_t c, uint64_t end)
{
	uint64_t border = file_base(f)->end / STAGE_CHUNK, next;

	if (c == border || file_entry(f, c))
		return c + 1;
	next = c < f->map_chunks ? file_entry_next(f, c + 1) : end / STAGE_CHUNK + 1;
	return c < border ? MIN_OF(next, border) : next;
}

bool file_run(const struct stage_file *f, enum run_kind kind, uint64_t off, uint64_t end,
	uint64_t *ret_off, uint64_t *ret_end)
{
	bool found = false;

	for (uint64_t c = off / STAGE_CHUNK; c * STAGE_CHUNK < end; c = run_next(f, c, end)) {
		uint16_t m = run_mask(f, kind, c) & mask_touch(c, off, end);
		uint16_t stop = (uint16_t)~m;

		if (!found) {
			unsigned g;

			if (!m)
				continue;
			g = (unsigned)__builtin_ctz(m);
			*ret_off = c * STAGE_CHUNK + (uint64_t)g * STAGE_GRAIN;
			found = true;
			stop &= (uint16_t)(UINT32_C(0xffff) << g);
		}
		if (stop) {
			*ret_end = c * STAGE_CHUNK + (uint64_t)__builtin_ctz(stop) * STAGE_GRAIN;
			return true;
		}
	}
	if (found)
		*ret_end = round_up(end, STAGE_GRAIN);
	return found;
}

/* A store into a hole of a full disk would be SIGBUS. The first page was written. */
static errint_t pages_allocate(struct stage_file *f, uint64_t page0, uint64_t page1)
{
	page0 = MAX_OF(page0, 1);
	if (page1 < page0 || (page0 == page1 && page0 == f->map_page))
		return 0;
	if (fallocate(f->map_fd, 0, (off_t)(MAP_HEAD_SIZE + page0 * 4096),
		    (off_t)((page1 - page0 + 1) * 4096)) < 0 &&
		errno != EOPNOTSUPP)
		return -errno;
	f->map_page = page1;
	return 0;
}

errint_t file_map_need(struct stage_file *f, uint64_t first, uint64_t n)
{
	const uint64_t per_page = 4096 / sizeof(uint64_t);
	uint64_t page0 = first / per_page, page1 = (n - 1) / per_page;

	assert(first < n && n <= STAGE_SIZE_MAX / STAGE_CHUNK);
	if (n > f->map_chunks) {
		uint64_t want = MAX_OF(f->map_chunks, MAP_CHUNKS_MIN);
		unsigned char *v;
		errint_t r;

		while (want < n)
			want *= 2;
		r = f->map_fd < 0 ? file_sidecar_make(f) : 0;
		if (r)
			return r;
		/* Fresh zero pages, which cost nothing until touched. */
		v = calloc(1, want / 8);
		if (!v)
			return -ENOMEM;
		if (f->map_chunks)
			memcpy(v, f->verified, f->map_chunks / 8);
		free(f->verified);
		f->verified = v;
		if (ftruncate(f->map_fd, (off_t)(MAP_HEAD_SIZE + want * 8)) < 0)
			return -errno;
		r = pages_allocate(f, page0, page1);
		if (r == 0)
			r = file_map(f, want);
		return r;
	}
	return pages_allocate(f, page0, page1);
}

static void seq_next(struct stage_file *f, uint64_t off, uint64_t end)
{
	__atomic_store_n(&f->map->h.seq, f->map->h.seq + 1, __ATOMIC_RELEASE);
	spans_touch(f, off, end);
}

void file_touch(struct stage_file *f, uint64_t off, uint64_t end)
{
	struct map_head *h = &f->map->h;

	if (!h->dirty)
		__atomic_store_n(&h->gen, h->gen + 1, __ATOMIC_RELEASE);
	atomic_fetch_add(&f->stamp, 1);
	/* Both before the bytes: a killed write is at worst an upload too many. */
	seq_next(f, off, end);
	__atomic_store_n(&h->dirty, 1, __ATOMIC_RELEASE);
}

void file_account(struct stage_file *f, uint64_t reserved)
{
	uint64_t used = f->present * STAGE_GRAIN;
	uint64_t dirty = f->map->h.dirty ? f->ndirty * STAGE_GRAIN : 0;

	/* Unsigned wrap-around is meant. */
	atomic_fetch_add(&f->s->used, used - f->charged - reserved);
	atomic_fetch_add(&f->s->dirty, dirty - f->charged_dirty);
	f->charged = used;
	f->charged_dirty = dirty;
	atomic_store(&f->clean, f->kept ? 0 : used - dirty);
}

void file_base_set(struct stage_file *f, const char *etag, uint64_t size, uint64_t end)
{
	struct map_head *h = &f->map->h;
	uint32_t which = !h->which;
	struct map_base *b = &h->base[which];

	assert(end <= size);
	memset(b, 0, sizeof(*b));
	memcpy(b->etag, etag, strnlen(etag, sizeof(b->etag) - 1));
	b->size = size;
	b->end = end;
	b->crc = crc32c(crc32c(0, b->etag, sizeof(b->etag)), &b->size, sizeof(b->size));
	__atomic_store_n(&h->which, which, __ATOMIC_RELEASE);
	f->bases++;
	atomic_fetch_add(&f->stamp, 1);
}

void file_punch(struct stage_file *f, uint64_t c, uint16_t mask)
{
	while (mask) {
		unsigned a = (unsigned)__builtin_ctz(mask);
		unsigned n = (unsigned)__builtin_ctz(~((uint32_t)mask >> a));

		(void)fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)(STAGE_HEAD + c * STAGE_CHUNK + (uint64_t)a * STAGE_GRAIN),
			(off_t)n * STAGE_GRAIN);
		mask &= (uint16_t)~mask_between(a, a + n);
	}
}

unsigned file_drop_clean(struct stage_file *f, uint64_t c)
{
	uint64_t e = file_entry(f, c);
	uint16_t d = f->map->h.dirty ? ent_dirty(e) : 0;
	uint16_t gone = ent_present(e) & (uint16_t)~d;

	if (!e)
		return 0;
	file_entry_set(f, c, ent_make(f, ent_present(e) & d, d, 0));
	file_punch(f, c, gone);
	return (unsigned)__builtin_popcount(gone);
}

/* The header alone, by a mapping of its own: a writer may replace the other meanwhile. */
static errint_t head_msync(const struct stage_file *f)
{
	void *p = mmap(NULL, MAP_HEAD_SIZE, PROT_READ, MAP_SHARED, f->fd, 0);
	errint_t r;

	if (p == MAP_FAILED)
		return -errno;
	r = msync(p, MAP_HEAD_SIZE, MS_SYNC) < 0 ? -errno : 0;
	(void)munmap(p, MAP_HEAD_SIZE);
	return r;
}

/* The base that is in use becomes durable. Lets the file's lock go meanwhile. -EAGAIN: by then it
 * is another one. */
static errint_t base_sync(struct stage_file *f)
{
	uint64_t n = f->bases;
	errint_t r;

	if (n && f->bases_durable == n)
		return 0;
	file_quiet_end(f);
	r = head_msync(f);
	file_change_begin(f);
	if (!r)
		f->bases_durable = MAX_OF(f->bases_durable, n);
	return r ? r : f->bases == n ? 0 : -EAGAIN;
}

/* What has no mark is the base's: a power cut must not leave that below a header that names an
 * older base, which may show less. */
uint64_t file_evict(struct stage_file *f, uint64_t want)
{
	uint64_t gone = 0, at;
	bool may;

	file_change_begin(f);
	may = !base_sync(f);
	at = f->evict_at < f->map_chunks ? f->evict_at : 0;
	for (unsigned round = 0; round < 2 && gone < want && may && !f->kept; round++, at = 0) {
		while (gone < want && (at = file_entry_next(f, at)) < f->map_chunks)
			gone += (uint64_t)file_drop_clean(f, at++) * STAGE_GRAIN;
		f->evict_at = at;
	}
	file_account(f, 0);
	file_quiet_end(f);
	atomic_fetch_add(&f->s->free_bytes, (int_fast64_t)gone);
	count_add(stage_let_go, gone);
	return gone;
}

void stage_keep(struct stage_file *f)
{
	file_change_begin(f);
	f->kept = true;
	file_account(f, 0);
	file_quiet_end(f);
}

errint_t file_data_size(const struct stage_file *f, uint64_t *ret)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	*ret = (uint64_t)MAX_OF(st.st_size, (off_t)STAGE_HEAD) - STAGE_HEAD;
	return 0;
}

errint_t file_data_cut(const struct stage_file *f, uint64_t size)
{
	return ftruncate(f->fd, (off_t)(STAGE_HEAD + size)) < 0 ? -errno : 0;
}

void file_forget_crc(struct stage_file *f, uint64_t c)
{
	uint64_t e = file_entry(f, c);

	if (!ent_crc(e))
		return;
	/* After this nothing would tell that it is damaged. */
	if (!file_verify(f, c))
		(void)file_drop_clean(f, c);
	else
		file_entry_set(f, c, ent_make(f, ent_present(e), ent_dirty(e), 0));
}

void file_clear_beyond(struct stage_file *f, uint64_t size)
{
	for (uint64_t c = size / STAGE_CHUNK; (c = file_entry_next(f, c)) < f->map_chunks; c++) {
		uint64_t e = file_entry(f, c);
		uint16_t keep = mask_touch(c, 0, size);
		uint16_t p = ent_present(e) & keep, d = ent_dirty(e) & keep;

		if (p != ent_present(e) || d != ent_dirty(e))
			file_entry_set(f, c, ent_make(f, p, d, 0));
	}
}

/* ---- the face: base, size, times ---- */

static void size_set(struct stage_file *f, uint64_t size)
{
	__atomic_store_n(&f->map->h.size, size, __ATOMIC_RELEASE);
}

/* Bits go first: a clean grain under the wrong etag would be wrong bytes, and checksums would not
 * find them. */
static void drop_all_clean(struct stage_file *f)
{
	for (uint64_t c = 0; (c = file_entry_next(f, c)) < f->map_chunks; c++) {
		if (f->map->h.dirty)
			(void)file_drop_clean(f, c);
		else
			file_entry_set(f, c, 0);
	}
	if (!f->map->h.dirty && file_data_cut(f, 0))
		f->cut_pending = true;
}

errint_t stage_base(struct stage_file *f, const char *etag, uint64_t base_size)
{
	const struct map_base *b;
	struct map_head *h;

	assert(f);
	if (!etag || !*etag) {
		etag = "";
		base_size = 0;
	}
	if (strlen(etag) >= sizeof(b->etag))
		return -EBADMSG;
	if (base_size > STAGE_SIZE_MAX)
		return -EFBIG;
	file_change_begin(f);
	b = file_base(f);
	h = &f->map->h;
	if (!strcmp(b->etag, etag) && b->size == base_size) {
		file_quiet_end(f);
		return 0;
	}
	drop_all_clean(f);
	seq_next(f, 0, UINT64_MAX);
	if (h->dirty) {
		file_base_set(f, etag, base_size, MIN_OF(b->end, base_size));
	} else {
		/* Killed in between: opening a clean file takes the base's size. */
		file_base_set(f, etag, base_size, base_size);
		size_set(f, base_size);
	}
	file_account(f, 0);
	if (h->dirty)
		file_change_end(f);
	else
		file_quiet_end(f);
	return 0;
}

void stage_base_get(struct stage_file *f, char ret_etag[128], uint64_t *ret_size)
{
	LOCKED(&f->rw.lock);

	memcpy(ret_etag, file_base(f)->etag, 128);
	*ret_size = file_base(f)->size;
}

uint64_t stage_size(struct stage_file *f)
{
	LOCKED(&f->rw.lock);

	return f->map->h.size;
}

int64_t stage_mtime(struct stage_file *f)
{
	LOCKED(&f->rw.lock);

	return f->map->h.mtime;
}

void stage_mtime_set(struct stage_file *f, int64_t ns)
{
	lock_take(&f->rw.lock);
	__atomic_store_n(&f->map->h.mtime, ns, __ATOMIC_RELEASE);
	lock_drop(&f->rw.lock);
	stage_mark_unsynced(f->s, f->e);
}

uint64_t stage_stamp(struct stage_file *f)
{
	return atomic_load(&f->stamp);
}

bool stage_dirty(struct stage_file *f)
{
	LOCKED(&f->rw.lock);

	return f->map->h.dirty != 0;
}

uint64_t stage_seq(struct stage_file *f)
{
	LOCKED(&f->rw.lock);

	return f->map->h.seq;
}

bool stage_next_dirty(struct stage_file *f, uint64_t off, uint64_t *ret_off, uint64_t *ret_len)
{
	LOCKED(&f->rw.lock);
	uint64_t size = f->map->h.size, a, b;

	if (off >= size || !file_run(f, RUN_DIRTY, off, size, &a, &b))
		return false;
	*ret_off = a;
	*ret_len = MIN_OF(b, size) - a;
	return true;
}

bool stage_missing(
	struct stage_file *f, uint64_t off, uint64_t len, uint64_t *ret_off, uint64_t *ret_len)
{
	LOCKED(&f->rw.lock);
	uint64_t size = f->map->h.size, end = len > size || off > size - len ? size : off + len;
	uint64_t a, b;

	if (off >= end || !file_run(f, RUN_MISSING, off, end, &a, &b))
		return false;
	*ret_off = a;
	*ret_len = MIN_OF(b, file_base(f)->end) - a;
	return true;
}

errint_t stage_seek(struct stage_file *f, uint64_t off, bool hole, uint64_t *ret)
{
	LOCKED(&f->rw.lock);
	uint64_t size = f->map->h.size, a, b;

	if (off >= size)
		return -ENXIO;
	if (file_run(f, hole ? RUN_HOLE : RUN_DATA, off, size, &a, &b)) {
		*ret = MAX_OF(a, off);
		return 0;
	}
	if (!hole)
		return -ENXIO;
	*ret = size;
	return 0;
}

/* Every dirty grain becomes clean; a dirty hole has no clean form: it is fetched when read. */
static void clean_bits(struct stage_file *f)
{
	for (uint64_t c = 0; (c = file_entry_next(f, c)) < f->map_chunks; c++) {
		uint64_t e = file_entry(f, c);

		if (ent_dirty(e))
			file_entry_set(f, c, ent_make(f, ent_present(e), 0, 0));
	}
}

/* Files with no more dirty grains than this keep their bits after an upload. */
static bool is_lazy(const struct stage_file *f)
{
	return f->ndirty <= f->s->span / 4 / STAGE_GRAIN;
}

/* How much of a new base of `size` bytes may show, of which [0, border) does already: what was
 * changed since seq has to have bits that say so. Zeros that nobody wrote have none. */
static uint64_t shows_until(
	const struct stage_file *f, uint64_t seq, uint64_t border, uint64_t size)
{
	uint64_t end = MIN_OF(size, f->map->h.size);

	for (uint64_t at = border; f->spans.seq && at < end;) {
		uint64_t to = MIN_OF(round_down(at, f->s->span) + f->s->span, end);

		for (uint64_t c = at / STAGE_CHUNK;
			spans_seq(f, at, to - at) > seq && c * STAGE_CHUNK < to; c++) {
			uint64_t e = file_entry(f, c);

			if (mask_touch(c, at, to) & (uint16_t) ~(ent_present(e) | ent_dirty(e)))
				return MAX_OF(MIN_OF(border, size), round_down(at, f->s->span));
		}
		at = to;
	}
	return f->spans.seq ? MAX_OF(end, MIN_OF(border, size)) : MIN_OF(border, size);
}

/* Dirty grains of [0, end) that were not changed since seq become clean. */
static void clean_unchanged(struct stage_file *f, uint64_t seq, uint64_t end)
{
	const uint64_t chunks = f->s->span / STAGE_CHUNK;

	for (uint64_t c = 0; (c = file_entry_next(f, c)) < f->map_chunks; c++) {
		uint64_t e = file_entry(f, c), span = c / chunks * f->s->span;

		if (span >= end)
			break;
		if (spans_seq(f, span, f->s->span) > seq)
			c = (c / chunks + 1) * chunks - 1;
		else if (ent_dirty(e))
			file_entry_set(f, c, ent_make(f, ent_present(e), 0, 0));
	}
}

/* It was changed since seq, and has the new base. Where it is known what was changed, the rest is
 * clean, in the same order as in stage_clean(). */
static void clean_rest(struct stage_file *f, uint64_t seq)
{
	if (!f->spans.seq || is_lazy(f) || base_sync(f))
		return;
	clean_unchanged(f, seq, file_base(f)->end);
	count_inc(stage_cleaned);
}

/*
 * The base is switched first, and only then the dirty marks go: a page of the map may reach the
 * disk without the other, and clean bits (dropped after a power cut) below a header that still
 * names the old base would lose the content. Where they are many the header is therefore made
 * durable in between; one with few just keeps its dirty bits, which mean nothing while head.dirty
 * is 0 and only cost it being uploaded whole after the next write, as it would be anyway.
 */
errint_t stage_clean(struct stage_file *f, uint64_t seq, const char *etag, uint64_t size)
{
	struct map_head *h;
	errint_t r = -EAGAIN;
	uint64_t border;

	assert(f && etag);
	if (!*etag || strlen(etag) >= sizeof(file_base(f)->etag) || size > STAGE_SIZE_MAX)
		return -EBADMSG;
	file_change_begin(f);
	h = &f->map->h;
	border = file_base(f)->end;
	if (h->seq != seq) {
		/* What is not dirty is the same in both; other zeros beyond base.end stay zeros. */
		uint64_t end = shows_until(f, seq, border, size);

		if (border < end)
			file_forget_crc(f, border / STAGE_CHUNK);
		file_base_set(f, etag, size, end);
		clean_rest(f, seq);
		file_account(f, 0);
		goto out;
	}
	if (h->size != size) {
		r = -EINVAL;
		goto out;
	}
	/* The checksum of the chunk where the base ended spoke of fewer bytes. */
	if (border != size)
		file_forget_crc(f, border / STAGE_CHUNK);
	file_base_set(f, etag, size, size);
	if (!is_lazy(f)) {
		r = base_sync(f);
		h = &f->map->h;
		if (r == 0 && h->seq != seq)
			r = -EAGAIN;
		if (r)
			goto out;
		clean_bits(f);
		count_inc(stage_cleaned);
	}
	__atomic_store_n(&h->dirty, 0, __ATOMIC_RELEASE);
	file_account(f, 0);
	r = 0;
out:
	file_change_end(f);
	return r;
}

errint_t stage_reset(struct stage_file *f)
{
	assert(f);
	file_change_begin(f);
	file_touch(f, 0, UINT64_MAX);
	/* From here on it is empty; the rest can be done again when opened. */
	size_set(f, 0);
	file_base_set(f, "", 0, 0);
	file_clear_beyond(f, 0);
	f->cut_pending = file_data_cut(f, 0) != 0;
	__atomic_store_n(&f->map->h.mtime, clock_now_ns(), __ATOMIC_RELEASE);
	file_account(f, 0);
	file_change_end(f);
	return 0;
}

errint_t stage_adopt(struct stage_file *f, uint64_t seq, const char *etag, uint64_t size)
{
	struct map_head *h;
	errint_t r = -EAGAIN;

	assert(f && etag && *etag);
	if (strlen(etag) >= sizeof(file_base(f)->etag) || size > STAGE_SIZE_MAX)
		return -EBADMSG;
	file_change_begin(f);
	h = &f->map->h;
	if (h->seq == seq && h->dirty && !h->size && !f->present) {
		/* Killed in between: it is empty, as before, or a clean file that was opened. */
		__atomic_store_n(&h->dirty, 0, __ATOMIC_RELEASE);
		seq_next(f, 0, UINT64_MAX);
		file_base_set(f, etag, size, size);
		size_set(f, size);
		count_inc(stage_cleaned);
		r = 0;
	}
	file_account(f, 0);
	file_change_end(f);
	return r;
}

errint_t stage_regrow(struct stage_file *f, uint64_t seq, uint64_t size, uint64_t *ret_seq)
{
	struct map_base *b;
	uint64_t border;
	errint_t r = -EAGAIN;

	file_change_begin(f);
	b = file_base(f);
	border = b->end;
	if (f->map->h.seq == seq && border == f->map->h.size && border % STAGE_GRAIN == 0 &&
		size >= border && size <= b->size && !f->cut_pending) {
		file_touch(f, 0, UINT64_MAX);
		file_forget_crc(f, border / STAGE_CHUNK); /* it spoke of fewer bytes */
		/* Killed in between: opening it takes the end back to the size. */
		__atomic_store_n(&b->end, size, __ATOMIC_RELEASE);
		f->bases++;
		atomic_fetch_add(&f->stamp, 1);
		size_set(f, size);
		*ret_seq = f->map->h.seq;
		r = 0;
	}
	file_account(f, 0);
	file_change_end(f);
	return r;
}

/* ---- twins ---- */

static uint32_t twin_crc(const struct map_twin *t)
{
	uint32_t crc = crc32c(0, &t->seq, sizeof(t->seq));

	crc = crc32c(crc, &t->epoch, sizeof(t->epoch));
	crc = crc32c(crc, &t->at.remote, sizeof(t->at.remote));
	crc = crc32c(crc, t->at.path, sizeof(t->at.path));
	return crc32c(crc, t->at.etag, sizeof(t->at.etag));
}

void stage_twin_set(struct stage_file *f, uint64_t seq, const struct stage_twin *twin)
{
	struct map_twin *t;

	assert(f && twin->remote && *twin->etag);
	file_change_begin(f);
	t = &f->map->h.twin;
	if (f->map->h.seq == seq) {
		__atomic_store_n(&t->seq, 0, __ATOMIC_RELEASE); /* no longer the old one */
		memset(&t->at, 0, sizeof(t->at));
		t->at.remote = twin->remote;
		memcpy(t->at.path, twin->path, strnlen(twin->path, sizeof(twin->path) - 1));
		memcpy(t->at.etag, twin->etag, strnlen(twin->etag, sizeof(twin->etag) - 1));
		t->epoch = f->s->epoch;
		t->seq = seq;
		t->crc = twin_crc(t);
	}
	file_change_end(f);
}

bool stage_twin_get(struct stage_file *f, struct stage_twin *ret)
{
	LOCKED(&f->rw.lock);
	const struct map_twin *t = &f->map->h.twin;

	if (!t->at.remote || t->seq != f->map->h.seq || t->epoch < f->s->cut ||
		t->crc != twin_crc(t))
		return false;
	*ret = t->at;
	return true;
}
