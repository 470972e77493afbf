/* SPDX-License-Identifier: MIT */
/*
 * Opening, making and removing the file of an inode and its sidecar, and what a first opening in a
 * run has to put right: a killed process may have left bits beyond the size, bytes beyond the size,
 * and clean grains that it had begun to overwrite; a power cut any clean grain without its bytes.
 *
 * Runs on a busy entry, without any lock: nobody else has the file.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "stage_priv.h"

static_assert(sizeof(struct map_head) <= MAP_HEAD_SIZE, "header page");
static_assert(STAGE_HEAD % 4096 == 0 && STAGE_HEAD % STAGE_GRAIN == 0, "pages, also of bytes");
static_assert(offsetof(struct map, chunk) == MAP_HEAD_SIZE, "entries follow the header page");

void file_name(uint64_t ino, struct file_name *ret)
{
	(void)snprintf(ret->data, sizeof(ret->data), "%02x/%" PRIu64, (unsigned)(ino & 0xff), ino);
	(void)snprintf(ret->map, sizeof(ret->map), "%s.map", ret->data);
}

enum head_state head_check(const struct map_head *h, uint64_t ino)
{
	const struct map_base *b;
	enum head_state bad = h->dirty ? HEAD_BAD : HEAD_NOTHING;

	/* The magic is stored last, so without it nothing was ever answered. */
	if (!h->magic)
		return HEAD_NOTHING;
	if (h->magic != MAP_MAGIC || h->version != MAP_VERSION)
		return HEAD_BAD;
	if (h->ino != ino || h->which > 1 || h->size > STAGE_SIZE_MAX)
		return bad;
	b = &h->base[h->which];
	if (b->etag[sizeof(b->etag) - 1] || b->size > STAGE_SIZE_MAX || b->end > b->size ||
		b->crc != crc32c(crc32c(0, b->etag, sizeof(b->etag)), &b->size, sizeof(b->size)))
		return bad;
	return HEAD_GOOD;
}

static struct stage_file *file_alloc(struct stage *s, struct entry *e)
{
	struct stage_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->s = s;
	f->e = e;
	f->ino = e->ino;
	f->fd = f->map_fd = -1;
	lock_init(&f->rw.lock, RANK_STAGE_F, "stage file");
	cond_init(&f->rw.idle);
	return f;
}

static void file_free(struct stage_file *f)
{
	if (f->map)
		(void)munmap(f->map, MAP_HEAD_SIZE + f->map_chunks * 8);
	if (f->fd >= 0)
		(void)close(f->fd);
	if (f->map_fd >= 0)
		(void)close(f->map_fd);
	(void)pthread_cond_destroy(&f->rw.idle);
	lock_done(&f->rw.lock);
	free(f->verified);
	free(f->spans.seq);
	free(f);
}

errint_t file_map(struct stage_file *f, uint64_t chunks)
{
	const int rw = PROT_READ | PROT_WRITE;
	size_t size = MAP_HEAD_SIZE + chunks * 8;
	char *p;

	if (size == STAGE_HEAD) {
		p = mmap(NULL, size, rw, MAP_SHARED, f->fd, 0);
		if (p == MAP_FAILED)
			return -errno;
	} else {
		p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return -errno;
		if (mmap(p, STAGE_HEAD, rw, MAP_SHARED | MAP_FIXED, f->fd, 0) == MAP_FAILED ||
			mmap(p + STAGE_HEAD, size - STAGE_HEAD, rw, MAP_SHARED | MAP_FIXED,
				f->map_fd, STAGE_HEAD) == MAP_FAILED) {
			errint_t r = -errno;

			(void)munmap(p, size);
			return r;
		}
	}
	if (f->map)
		(void)munmap(f->map, MAP_HEAD_SIZE + f->map_chunks * 8);
	f->map = (struct map *)p;
	f->map_chunks = chunks;
	return 0;
}

/* O_CREAT in a bucket directory that may not be there yet. */
static int open_make(struct stage *s, const char *name)
{
	const int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(s->dirfd, name, flags, 0600);

	if (fd < 0 && errno == ENOENT) {
		char dir[3] = {name[0], name[1], 0};

		if (mkdirat(s->dirfd, dir, 0700) < 0 && errno != EEXIST)
			return -errno;
		fd = openat(s->dirfd, name, flags, 0600);
	}
	return fd < 0 ? -errno : fd;
}

errint_t file_sidecar_make(struct stage_file *f)
{
	struct file_name n;
	errint_t r;

	file_name(f->ino, &n);
	r = open_make(f->s, n.map);
	if (r < 0)
		return r;
	f->map_fd = r;
	atomic_fetch_add(&f->s->made[f->ino & 0xff], 1); /* its name, too, is synced */
	__atomic_store_n(&f->map->h.sidecar, 1, __ATOMIC_RELEASE);
	return 0;
}

/* Written, not allocated: a store into the mapping finds room, and the bytes that follow lie next
 * to them. */
static errint_t head_make(struct stage_file *f)
{
	static const char zeros[STAGE_HEAD];
	ssize_t n = pwrite(f->fd, zeros, sizeof(zeros), 0);

	if (n != (ssize_t)sizeof(zeros))
		return n < 0 ? -errno : -ENOSPC;
	f->verified = calloc(1, MAP_CHUNKS_MIN / 8);
	return f->verified ? file_map(f, MAP_CHUNKS_MIN) : -ENOMEM;
}

errint_t file_make(struct stage *s, struct entry *e, struct stage_file **ret)
{
	struct stage_file *f = file_alloc(s, e);
	int64_t now = clock_now_ns();
	struct file_name n;
	errint_t r;

	if (!f)
		return -ENOMEM;
	file_name(e->ino, &n);
	r = f->fd = open_make(s, n.data);
	if (r >= 0)
		r = head_make(f);
	if (r) {
		file_free(f);
		file_remove(s, e->ino);
		return r;
	}
	f->map->h.version = MAP_VERSION;
	f->map->h.ino = e->ino;
	f->map->h.epoch = s->epoch;
	f->map->h.seq = 1;
	f->map->h.gen =
		crc32c((uint32_t)e->ino, &now, sizeof(now)); /* not that of an earlier life */
	file_base_set(f, "", 0, 0);
	__atomic_store_n(&f->map->h.magic, MAP_MAGIC, __ATOMIC_RELEASE);
	atomic_fetch_add(&s->made[e->ino & 0xff], 1);
	*ret = f;
	return 0;
}

/* ---- the first opening in a run ---- */

enum trust {
	TRUST_ALL,   /* nothing happened since it was closed */
	TRUST_CRC,   /* killed: clean grains without a checksum may be half overwritten */
	TRUST_DIRTY, /* power cut: clean grains may lack their bytes */
};

static enum trust file_trust(const struct stage_file *f)
{
	uint64_t epoch = f->map->h.epoch;

	if (epoch == f->s->epoch)
		return TRUST_ALL;
	return epoch < f->s->epoch && epoch >= f->s->cut ? TRUST_CRC : TRUST_DIRTY;
}

/* What an entry may keep; data_size: of the data file. */
static uint64_t entry_fix(
	const struct stage_file *f, uint64_t c, uint64_t e, enum trust trust, uint64_t data_size)
{
	const struct map_head *h = &f->map->h;
	uint16_t p = ent_present(e), d = ent_dirty(e), keep = mask_touch(c, 0, h->size);
	uint32_t crc = ent_crc(e);

	/* Left over from before an upload. Holes have no clean form. */
	if (!h->dirty || ent_gen(e) != h->gen)
		d = 0;
	if ((p | d) & (uint16_t)~keep)
		crc = 0;
	p &= keep;
	d &= keep;
	if (d)
		crc = 0;
	if (trust == TRUST_DIRTY || (trust == TRUST_CRC && !crc)) {
		p &= d;
		crc = 0;
	}
	/* The page of bits reached the disk, the bytes did not: nobody had synced them. */
	if (trust == TRUST_DIRTY)
		p &= mask_touch(c, 0, data_size);
	return ent_make(f, p, d, crc);
}

static errint_t file_first(struct stage_file *f, uint64_t data_size)
{
	struct map_head *h = &f->map->h;
	struct map_base *b = &h->base[h->which];
	enum trust trust = file_trust(f);

	if (h->dirty) {
		if (b->end > h->size)
			__atomic_store_n(&b->end, h->size, __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&h->size, b->size, __ATOMIC_RELEASE);
		__atomic_store_n(&b->end, b->size, __ATOMIC_RELEASE);
	}
	f->present = f->ndirty = 0;
	for (uint64_t c = file_entry_next(f, 0); c < f->map_chunks; c = file_entry_next(f, c + 1)) {
		uint64_t e = file_entry(f, c), now;

		if (!e)
			continue;
		now = entry_fix(f, c, e, trust, data_size);
		if (now != e)
			__atomic_store_n(&f->map->chunk[c], now, __ATOMIC_RELEASE);
		file_punch(f, c, ent_present(e) & (uint16_t)~ent_present(now));
		f->present += (uint64_t)__builtin_popcount(ent_present(now));
		f->ndirty += (uint64_t)__builtin_popcount(ent_present(now) & ent_dirty(now));
	}
	/* Bytes of a killed write beyond the size would show when it grows. */
	if (data_size > h->size) {
		errint_t r = file_data_cut(f, h->size);

		if (r)
			return r;
	}
	__atomic_store_n(&h->epoch, f->s->epoch, __ATOMIC_RELEASE);
	return 0;
}

/* Maps what the sidecar has, too. One that is gone takes changes along, which only a power cut may
 * do, and what was clean, which can be had again. */
static errint_t sidecar_load(struct stage_file *f, const char *name)
{
	const struct map_head *h = &f->map->h;
	uint64_t chunks;
	struct stat st;

	f->map_fd = openat(f->s->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->map_fd < 0 && errno == ENOENT)
		return h->dirty && file_trust(f) != TRUST_DIRTY ? -EBADMSG : 0;
	if (f->map_fd < 0 || fstat(f->map_fd, &st) < 0)
		return -errno;
	if (st.st_size <= (off_t)STAGE_HEAD)
		return 0;
	chunks = ((uint64_t)st.st_size - MAP_HEAD_SIZE) / 8;
	chunks = MIN_OF(round_down(chunks, MAP_CHUNKS_MIN), STAGE_SIZE_MAX / STAGE_CHUNK);
	free(f->verified);
	f->verified = calloc(1, chunks / 8);
	return f->verified ? file_map(f, chunks) : -ENOMEM;
}

static errint_t load_map(struct stage_file *f, uint64_t *ret_data_size)
{
	struct file_name n;
	struct stat st;
	errint_t r;

	file_name(f->ino, &n);
	f->fd = openat(f->s->dirfd, n.data, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0)
		return errno == ENOENT ? -ENODATA : -errno;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	/* Made, and nothing was answered of it yet; or cut short: entry_open knows. */
	if (st.st_size < (off_t)STAGE_HEAD)
		return -ENODATA;
	*ret_data_size = (uint64_t)st.st_size - STAGE_HEAD;
	f->verified = calloc(1, MAP_CHUNKS_MIN / 8);
	r = f->verified ? file_map(f, MAP_CHUNKS_MIN) : -ENOMEM;
	if (r)
		return r;
	switch (head_check(&f->map->h, f->ino)) {
	case HEAD_GOOD:
		return f->map->h.sidecar ? sidecar_load(f, n.map) : 0;
	case HEAD_NOTHING:
		return -ENODATA;
	case HEAD_BAD:
		break;
	}
	return -EBADMSG;
}

errint_t file_load(struct stage *s, struct entry *e, struct stage_file **ret)
{
	struct stage_file *f = file_alloc(s, e);
	uint64_t data_size = 0;
	errint_t r;

	if (!f)
		return -ENOMEM;
	r = load_map(f, &data_size);
	/* What the entry said so far is charged. */
	f->present = e->present;
	f->ndirty = e->ndirty;
	f->charged = e->present * STAGE_GRAIN;
	f->charged_dirty = e->dirty ? e->ndirty * STAGE_GRAIN : 0;
	if (!r && !e->seen)
		r = file_first(f, data_size);
	if (r) {
		file_free(f);
		return r;
	}
	/* A shrink whose ftruncate failed is not remembered elsewhere. */
	f->cut_pending = data_size > f->map->h.size;
	file_account(f, 0);
	*ret = f;
	return 0;
}

void file_unload(struct stage_file *f)
{
	f->e->present = f->present;
	f->e->ndirty = f->ndirty;
	f->e->dirty = f->map->h.dirty != 0;
	file_free(f);
}

void file_remove(struct stage *s, uint64_t ino)
{
	struct file_name n;

	file_name(ino, &n);
	/* The sidecar last: alone it is nothing, and goes when the stage is opened. */
	(void)unlinkat(s->dirfd, n.data, 0);
	(void)unlinkat(s->dirfd, n.map, 0);
}
