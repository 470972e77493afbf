/* SPDX-License-Identifier: MIT */
/*
 * Making staging durable: a file, its sidecar when it has one, and a new file's directory. Mapped
 * pages are written by fdatasync of their descriptor. In which order pages reach the disk before
 * that is the kernel's affair: load.c judges what a power cut left.
 *
 * No lock is held while the disk works, except around the list of changed files.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "stage_priv.h"

/* More changed files than this are synced by one syncfs. */
#define SYNC_FILES_MAX 16

static errint_t dir_sync(struct stage *s, const char *name)
{
	cleanup_fd int fd = openat(s->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Counters instead of flags: a thread that finds the work begun by another would answer early. */
static errint_t bucket_sync(struct stage *s, unsigned bucket)
{
	static const char hex[] = "0123456789abcdef";
	const char name[3] = {hex[bucket >> 4], hex[bucket & 15], 0};
	uint_fast64_t made = atomic_load(&s->made[bucket]);
	uint_fast64_t done = atomic_load(&s->made_synced[bucket]);
	errint_t r;

	if (done >= made)
		return 0;
	r = dir_sync(s, name);
	if (!r)
		r = dir_sync(s, ".");
	while (!r && done < made &&
		!atomic_compare_exchange_weak(&s->made_synced[bucket], &done, made))
		;
	return r;
}

static errint_t sync_failed(struct err *err, errint_t r, uint64_t ino)
{
	return err_set(err, r, ERR_RETRY, "staging of inode %" PRIu64 " cannot be synced: %s", ino,
		strerrordesc_np(-r));
}

errint_t stage_sync(struct stage_file *f, struct err *err)
{
	errint_t r = 0;
	int map_fd;

	assert(f);
	lock_take(&f->rw.lock);
	map_fd = f->map_fd; /* stays open while we refer to f */
	lock_drop(&f->rw.lock);
	if (fdatasync(f->fd) < 0 || (map_fd >= 0 && fdatasync(map_fd) < 0))
		r = -errno;
	if (!r)
		r = bucket_sync(f->s, f->ino & 0xff);
	return r ? sync_failed(err, r, f->ino) : 0;
}

/* By name: it need not be open. Gone is fine. */
static errint_t ino_sync(struct stage *s, uint64_t ino)
{
	struct file_name n;
	cleanup_fd int fd = -1, map = -1;

	file_name(ino, &n);
	fd = openat(s->dirfd, n.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fdatasync(fd) < 0)
		return -errno;
	map = openat(s->dirfd, n.map, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (map < 0 && errno != ENOENT)
		return -errno;
	if (map >= 0 && fdatasync(map) < 0)
		return -errno;
	return bucket_sync(s, ino & 0xff);
}

errint_t stage_sync_fs(struct stage *s)
{
	uint_fast64_t made[256];

	for (unsigned i = 0; i < 256; i++)
		made[i] = atomic_load(&s->made[i]);
	if (syncfs(s->dirfd) < 0)
		return -errno;
	for (unsigned i = 0; i < 256; i++) {
		uint_fast64_t done = atomic_load(&s->made_synced[i]);

		while (done < made[i] &&
			!atomic_compare_exchange_weak(&s->made_synced[i], &done, made[i]))
			;
	}
	return 0;
}

/* Takes the marks off before syncing: what changes from now on is marked again. */
static uint64_t unsynced_take(struct stage *s, uint64_t **ret_inos)
{
	LOCKED(&s->shared.lock);
	uint64_t n = 0, count = s->shared.nunsynced;
	struct entry *e;

	if (!count)
		return 0;
	*ret_inos = malloc(count * sizeof(**ret_inos));
	if (!*ret_inos)
		return UINT64_MAX;
	while ((e = TAILQ_FIRST(&s->shared.unsynced))) {
		TAILQ_REMOVE(&s->shared.unsynced, e, sync);
		atomic_store(&e->unsynced, false);
		(*ret_inos)[n++] = e->ino;
	}
	s->shared.nunsynced = 0;
	assert(n == count);
	return n;
}

static void unsynced_back(struct stage *s, const uint64_t *inos, uint64_t n)
{
	LOCKED(&s->shared.lock);

	for (uint64_t i = 0; i < n; i++) {
		struct entry *e;

		HASH_FIND(hh, s->shared.table, &inos[i], sizeof(inos[i]), e);
		if (!e || atomic_load(&e->unsynced))
			continue;
		TAILQ_INSERT_TAIL(&s->shared.unsynced, e, sync);
		s->shared.nunsynced++;
		atomic_store(&e->unsynced, true);
	}
}

static errint_t sync_taken(struct stage *s, const uint64_t *inos, uint64_t n, struct err *err)
{
	errint_t r = 0;

	if (n > SYNC_FILES_MAX && !s->on_fuse) {
		r = stage_sync_fs(s);
		return r ? err_set(err, r, ERR_RETRY, "the staging in %s cannot be synced: %s",
				   s->dir, strerrordesc_np(-r))
			 : 0;
	}
	for (uint64_t i = 0; !r && i < n; i++) {
		r = ino_sync(s, inos[i]);
		if (r)
			(void)sync_failed(err, r, inos[i]);
	}
	return r;
}

/* One at a time: what another call has taken off the list is not durable until that call ends. */
static void syncing_begin(struct stage *s)
{
	LOCKED(&s->shared.lock);

	while (s->shared.syncing)
		cond_wait(&s->shared.changed, &s->shared.lock);
	s->shared.syncing = true;
}

static void syncing_end(struct stage *s)
{
	lock_take(&s->shared.lock);
	s->shared.syncing = false;
	lock_drop(&s->shared.lock);
	(void)pthread_cond_broadcast(&s->shared.changed);
}

errint_t stage_sync_all(struct stage *s, struct err *err)
{
	cleanup_free uint64_t *inos = NULL;
	uint64_t n;
	errint_t r = 0;

	assert(s);
	syncing_begin(s);
	n = unsynced_take(s, &inos);
	if (n == UINT64_MAX)
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory to sync the staging");
	else if (n)
		r = sync_taken(s, inos, n, err);
	if (r && n != UINT64_MAX)
		unsynced_back(s, inos, n);
	syncing_end(s);
	return r;
}
