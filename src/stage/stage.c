/* SPDX-License-Identifier: MIT */
/*
 * The table of staging files: references, quota, least recently used, eviction, and what is found
 * on disk when the stage is opened.
 *
 * Every file on disk has an entry. An entry has a stage_file while it is referenced. Work on disk
 * for an entry (opening, closing, removing) is done with the entry busy and the table unlocked.
 *
 * DIR/state says in which epoch we are, when power was last cut, and whether the last run closed.
 * A new epoch begins with every run after one that did not close, so that each file, whenever it is
 * first opened, can tell what may have happened to it (load.c).
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "stage_priv.h"

/* Entries cost memory: above the first number of files each new one evicts a clean one if there is
 * any, above the second no more are made. */
#define FILES_SOFT (UINT64_C(1) << 17)
#define FILES_HARD (UINT64_C(1) << 20)

#define FREE_CHECK_NS (100 * NS_PER_MS)

/* Of a file in use so much goes at a time, that not each write has to ask. */
#define EVICT_MIN (UINT64_C(4) << 20)

/* ---- the table ---- */

static struct entry *entry_find(struct stage *s, uint64_t ino)
{
	struct entry *e;

	lock_assert_held(&s->shared.lock);
	HASH_FIND(hh, s->shared.table, &ino, sizeof(ino), e);
	return e;
}

static struct entry *entry_add_locked(struct stage *s, uint64_t ino)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->ino = ino;
	HASH_ADD(hh, s->shared.table, ino, sizeof(e->ino), e);
	s->shared.count++;
	return e;
}

static uint64_t entry_bytes(const struct entry *e)
{
	return e->present * STAGE_GRAIN;
}

static void lru_remove_locked(struct stage *s, struct entry *e)
{
	if (!e->in_lru)
		return;
	TAILQ_REMOVE(&s->shared.lru, e, lru);
	s->shared.lru_bytes -= entry_bytes(e);
	e->in_lru = false;
}

static void lru_add_locked(struct stage *s, struct entry *e)
{
	assert(!e->in_lru && !e->f && !e->dirty);
	TAILQ_INSERT_TAIL(&s->shared.lru, e, lru);
	s->shared.lru_bytes += entry_bytes(e);
	e->in_lru = true;
}

/* Its files are gone. */
static void entry_free_locked(struct stage *s, struct entry *e)
{
	lru_remove_locked(s, e);
	if (atomic_load(&e->unsynced)) {
		TAILQ_REMOVE(&s->shared.unsynced, e, sync);
		s->shared.nunsynced--;
	}
	atomic_fetch_sub(&s->used, entry_bytes(e));
	if (e->dirty)
		atomic_fetch_sub(&s->dirty, e->ndirty * STAGE_GRAIN);
	atomic_fetch_add(&s->free_bytes, (int_fast64_t)entry_bytes(e));
	HASH_DEL(s->shared.table, e);
	s->shared.count--;
	free(e);
}

static void entry_ready_locked(struct stage *s, struct entry *e)
{
	e->busy = false;
	(void)pthread_cond_broadcast(&s->shared.changed);
}

static void leave_ended_locked(struct stage *s)
{
	s->shared.nleaving--;
	s->shared.nleft++;
	(void)pthread_cond_broadcast(&s->shared.changed);
}

/* Removes the files of an entry that nobody references. Lets the lock go meanwhile. */
static void entry_remove_locked(struct stage *s, struct entry *e)
{
	uint64_t ino = e->ino;

	assert(!e->busy && !e->f);
	lru_remove_locked(s, e);
	e->busy = true;
	s->shared.nleaving++;
	lock_drop(&s->shared.lock);
	file_remove(s, ino);
	lock_take(&s->shared.lock);
	entry_free_locked(s, e);
	leave_ended_locked(s);
}

void stage_mark_unsynced(struct stage *s, struct entry *e)
{
	if (atomic_load(&e->unsynced))
		return;
	LOCKED(&s->shared.lock);
	if (atomic_load(&e->unsynced))
		return;
	TAILQ_INSERT_TAIL(&s->shared.unsynced, e, sync);
	s->shared.nunsynced++;
	atomic_store(&e->unsynced, true);
}

/* ---- quota ---- */

/* Bytes free on the file system above min_free; asked for at most every FREE_CHECK_NS. */
static int64_t free_above_min(struct stage *s)
{
	int_fast64_t then = atomic_load(&s->free_ns);
	int64_t now = clock_mono_ns();
	struct statvfs v;

	if ((!then || now - then > FREE_CHECK_NS) &&
		atomic_compare_exchange_strong(&s->free_ns, &then, now) && !fstatvfs(s->dirfd, &v))
		atomic_store(&s->free_bytes, (int_fast64_t)((uint64_t)v.f_bavail * v.f_frsize));
	return (int64_t)atomic_load(&s->free_bytes) - (int64_t)s->min_free;
}

static bool free_enough(struct stage *s, uint64_t bytes, uint64_t evictable)
{
	if (!s->min_free)
		return true;
	return bytes < INT64_MAX / 4 && free_above_min(s) + (int64_t)evictable >= (int64_t)bytes;
}

bool stage_reserve(struct stage *s, uint64_t bytes)
{
	uint_fast64_t used = atomic_load(&s->used);

	if (!free_enough(s, bytes, 0))
		return false;
	do {
		if (bytes > s->quota || used > s->quota - bytes)
			return false;
	} while (!atomic_compare_exchange_weak(&s->used, &used, used + bytes));
	atomic_fetch_sub(&s->free_bytes, (int_fast64_t)bytes);
	return true;
}

/* Nobody's files are not enough: clean bytes of those in use can be had again as well; of the one
 * that has most. Lets the lock go meanwhile. False: there are none. */
static bool evict_open_locked(struct stage *s, uint64_t need)
{
	struct stage_file *f = NULL;
	uint64_t most = 0, gone;
	struct entry *e;

	TAILQ_FOREACH (e, &s->shared.open, open) {
		uint64_t clean = atomic_load(&e->f->clean);

		if (clean > most) {
			most = clean;
			f = e->f;
		}
	}
	if (!f)
		return false;
	f->refs++;
	lock_drop(&s->shared.lock);
	gone = file_evict(f, MAX_OF(need, EVICT_MIN));
	stage_put(f);
	lock_take(&s->shared.lock);
	return gone != 0;
}

/* What could go, at most. */
static uint64_t evictable_locked(struct stage *s, uint64_t used, bool open)
{
	uint64_t lru = MIN_OF(s->shared.lru_bytes, used), dirty = atomic_load(&s->dirty);

	return open ? MAX_OF(lru, used - MIN_OF(dirty, used)) : lru;
}

errint_t stage_room(struct stage *s, uint64_t need, bool open)
{
	uint64_t until = 0;
	LOCKED(&s->shared.lock);

	for (;;) {
		uint64_t used = atomic_load(&s->used), can = evictable_locked(s, used, open);
		struct entry *e = TAILQ_FIRST(&s->shared.lru);
		bool disk = free_enough(s, need, can);

		if (need <= s->quota && used <= s->quota - need && free_enough(s, need, 0))
			return 0;
		if (need <= s->quota && used - can <= s->quota - need && disk) {
			if (e) {
				count_inc(stage_evicted);
				entry_remove_locked(s, e);
				continue;
			}
			if (open && evict_open_locked(s, need))
				continue;
		}
		/* In vain: nothing is evicted. But what others are just letting go may be enough:
		 * so many as there are now are waited for. */
		if (!until)
			until = s->shared.nleft + s->shared.nleaving;
		if (!s->shared.nleaving || s->shared.nleft >= until)
			return disk ? -EDQUOT : -ENOSPC;
		cond_wait(&s->shared.changed, &s->shared.lock);
	}
}

errint_t stage_make_room(struct stage *s, uint64_t need)
{
	return stage_room(s, need, true);
}

/* ---- references ---- */

/* Opens or makes the file of a busy entry, the table unlocked. */
static errint_t entry_open(
	struct stage *s, struct entry *e, bool fresh, bool create, struct stage_file **ret)
{
	errint_t r = -ENODATA;

	if (!fresh)
		r = file_load(s, e, ret);
	if (r == -ENODATA && !fresh && e->dirty)
		return -EBADMSG; /* it was there: somebody removed or cut it */
	if (r != -ENODATA)
		return r;
	if (!fresh) {
		/* Nothing worth keeping: what was charged for it goes. */
		file_remove(s, e->ino);
		atomic_fetch_sub(&s->used, entry_bytes(e));
		e->present = e->ndirty = 0;
	}
	return create ? file_make(s, e, ret) : -ENOENT;
}

/* The entry of ino, not busy; a new one (busy) when create. Lets the lock go meanwhile. */
static errint_t entry_get_locked(
	struct stage *s, uint64_t ino, bool create, struct entry **ret, bool *ret_fresh)
{
	bool evicted = false;

	for (;;) {
		struct entry *e = entry_find(s, ino);

		if (e && e->busy) {
			cond_wait(&s->shared.changed, &s->shared.lock);
			continue;
		}
		*ret_fresh = !e;
		*ret = e;
		if (e)
			return 0;
		if (!create)
			return -ENOENT;
		if (s->shared.count >= FILES_SOFT && !evicted) {
			evicted = true;
			e = TAILQ_FIRST(&s->shared.lru);
			if (e) {
				count_inc(stage_evicted);
				entry_remove_locked(s, e);
				continue;
			}
		}
		if (s->shared.count >= FILES_HARD)
			return -ENOSPC;
		*ret = entry_add_locked(s, ino);
		return *ret ? 0 : -ENOMEM;
	}
}

errint_t stage_get(struct stage *s, uint64_t ino, bool create, struct stage_file **ret)
{
	struct stage_file *f = NULL;
	struct entry *e = NULL;
	bool fresh = false;
	errint_t r;

	assert(s && ret);
	LOCKED(&s->shared.lock);
	r = entry_get_locked(s, ino, create, &e, &fresh);
	if (r)
		return r;
	if (e->f) {
		e->f->refs++;
		*ret = e->f;
		return 0;
	}
	lru_remove_locked(s, e);
	e->busy = true;
	lock_drop(&s->shared.lock);
	r = entry_open(s, e, fresh, create, &f);
	lock_take(&s->shared.lock);
	if (!r) {
		f->refs = 1;
		e->f = f;
		TAILQ_INSERT_TAIL(&s->shared.open, e, open);
		e->seen = true;
		*ret = f;
	} else if (fresh || r == -ENOENT) {
		entry_free_locked(s, e);
		(void)pthread_cond_broadcast(&s->shared.changed);
		return r;
	} else if (!e->dirty && r != -EBADMSG) {
		lru_add_locked(s, e);
	}
	entry_ready_locked(s, e);
	return r;
}

struct stage_file *stage_ref(struct stage_file *f)
{
	LOCKED(&f->s->shared.lock);

	assert(f->refs);
	f->refs++;
	return f;
}

void stage_put(struct stage_file *f)
{
	struct stage *s;
	struct entry *e;

	if (!f)
		return;
	s = f->s;
	e = f->e;
	LOCKED(&s->shared.lock);
	assert(f->refs && e->f == f);
	if (--f->refs)
		return;
	e->busy = true;
	e->f = NULL;
	TAILQ_REMOVE(&s->shared.open, e, open);
	s->shared.nleaving++;
	lock_drop(&s->shared.lock);
	file_unload(f);
	lock_take(&s->shared.lock);
	entry_ready_locked(s, e);
	if (e->dropped)
		entry_remove_locked(s, e);
	else if (!e->dirty)
		lru_add_locked(s, e);
	leave_ended_locked(s);
}

void stage_drop(struct stage *s, uint64_t ino)
{
	struct entry *e;

	assert(s);
	LOCKED(&s->shared.lock);
	while ((e = entry_find(s, ino)) && e->busy)
		cond_wait(&s->shared.changed, &s->shared.lock);
	if (!e)
		return;
	if (e->f)
		e->dropped = true;
	else
		entry_remove_locked(s, e);
}

bool stage_has(struct stage *s, uint64_t ino)
{
	assert(s);
	LOCKED(&s->shared.lock);

	return entry_find(s, ino) != NULL;
}

bool stage_holds(struct stage *s, uint64_t ino)
{
	struct entry *e;
	LOCKED(&s->shared.lock);

	e = entry_find(s, ino);
	if (!e || e->busy)
		return e != NULL;
	if (!e->f)
		return e->dirty || e->present;
	LOCKED(&e->f->rw.lock);
	return e->f->map->h.dirty || e->f->present;
}

void stage_stat(struct stage *s, struct stage_stat *ret)
{
	uint64_t used = atomic_load(&s->used), dirty = atomic_load(&s->dirty);

	ret->dirty_bytes = dirty;
	/* They are not read at one moment. */
	ret->clean_bytes = used > dirty ? used - dirty : 0;
	ret->quota_bytes = s->quota;
	LOCKED(&s->shared.lock);
	ret->files = s->shared.count;
}

errint_t stage_each(struct stage *s, int (*fn)(void *arg, uint64_t ino), void *arg)
{
	cleanup_free uint64_t *inos = NULL;
	uint64_t n = 0;
	struct entry *e;

	assert(s && fn);
	lock_take(&s->shared.lock);
	inos = malloc(MAX_OF(s->shared.count, 1) * sizeof(*inos));
	for (e = inos ? s->shared.table : NULL; e; e = e->hh.next)
		inos[n++] = e->ino;
	lock_drop(&s->shared.lock);
	if (!inos)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++) {
		int r = fn(arg, inos[i]);

		if (r)
			return r;
	}
	return 0;
}

/* ---- the state file ---- */

struct state {
	uint64_t magic;
	uint64_t epoch, cut;
	uint32_t clean;
	uint32_t crc; /* of all before */
};
#define STATE_MAGIC UINT64_C(0x3245544154535453) /* "STSTATE2" */
#define STATE_MAGIC_OLD                                                                            \
	UINT64_C(0x3145544154535453) /* a file had a header beside it, not in it                   \
				      */

static bool state_read(struct stage *s, struct state *st)
{
	cleanup_fd int fd = openat(s->dirfd, "state", O_RDONLY | O_CLOEXEC);

	return fd >= 0 && pread(fd, st, sizeof(*st), 0) == (ssize_t)sizeof(*st) &&
	       st->magic == STATE_MAGIC && st->crc == crc32c(0, st, offsetof(struct state, crc));
}

static errint_t state_write(struct stage *s, bool clean)
{
	struct state st = {.magic = STATE_MAGIC, .epoch = s->epoch, .cut = s->cut, .clean = clean};
	/* The two change places, so that there is one to write over when the disk is full. */
	cleanup_fd int fd =
		openat(s->dirfd, "state.new", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t k;

	if (fd < 0)
		return -errno;
	st.crc = crc32c(0, &st, offsetof(struct state, crc));
	k = pwrite(fd, &st, sizeof(st), 0);
	if (k != (ssize_t)sizeof(st))
		return k < 0 ? -errno : -EIO;
	if (fsync(fd) < 0)
		return -errno;
	if (renameat2(s->dirfd, "state.new", s->dirfd, "state", RENAME_EXCHANGE) < 0 &&
		renameat(s->dirfd, "state.new", s->dirfd, "state") < 0)
		return -errno;
	if (fsync(s->dirfd) < 0)
		return -errno;
	return 0;
}

static errint_t state_begin(struct stage *s, bool power_cut)
{
	struct state st = {0};
	bool known = state_read(s, &st);

	/* Before anything is touched: what lies there is not what we would take it for. */
	if (st.magic == STATE_MAGIC_OLD)
		return -EMEDIUMTYPE;
	s->epoch = known ? st.epoch : 0;
	s->cut = known ? st.cut : 0;
	if (!known || !st.clean || power_cut) {
		/* The clock only matters when the file was lost: later than any epoch before. */
		s->epoch = MAX_OF(s->epoch + 1, (uint64_t)clock_now_ns());
		if (!known || power_cut)
			s->cut = s->epoch;
	}
	return state_write(s, false);
}

/* ---- what is there when the stage is opened ---- */

struct found {
	uint64_t ino, bytes;
	int64_t used_ns;
	bool dirty;
};

struct scan {
	struct found *v; /* owned */
	size_t n, cap;
};

static bool name_ino(const char *name, unsigned bucket, uint64_t *ret_ino, bool *ret_map)
{
	char *end;

	if (*name < '0' || *name > '9')
		return false;
	errno = 0;
	*ret_ino = strtoull(name, &end, 10);
	*ret_map = !strcmp(end, ".map");
	return !errno && (!*end || *ret_map) && (*ret_ino & 0xff) == bucket;
}

static errint_t scan_add(struct scan *sc, const struct found *fo)
{
	if (sc->n == sc->cap) {
		size_t cap = sc->cap ? sc->cap * 2 : 256;
		struct found *v = reallocarray(sc->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		sc->v = v;
		sc->cap = cap;
	}
	sc->v[sc->n++] = *fo;
	return 0;
}

/* One file: drops what is nothing. What is clean loses its grains after a power cut (file_first),
 * but goes on saying which version it was: the index may have been taken back to before it knew. */
static errint_t scan_file(struct stage *s, struct scan *sc, uint64_t ino)
{
	struct found fo = {.ino = ino};
	struct map_head h = {0};
	struct file_name n;
	cleanup_fd int fd = -1;
	enum head_state state;
	struct stat st;
	ssize_t k;

	file_name(ino, &n);
	/* A look is no use of it: its time says when it is evicted. */
	fd = openat(s->dirfd, n.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
	if (fd < 0 && errno == EPERM)
		fd = openat(s->dirfd, n.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	k = pread(fd, &h, sizeof(h), 0);
	if (k < 0)
		return -errno;
	state = st.st_size < (off_t)STAGE_HEAD ? HEAD_NOTHING : head_check(&h, ino);
	if (state == HEAD_NOTHING) {
		file_remove(s, ino);
		return 0;
	}
	/* An unreadable one counts as dirty: never evicted. */
	fo.dirty = state == HEAD_BAD || h.dirty;
	fo.bytes = (uint64_t)MAX_OF(st.st_blocks * 512, (blkcnt_t)STAGE_HEAD) - STAGE_HEAD;
	fo.used_ns = MAX_OF(st.st_atim.tv_sec * NS_PER_S + st.st_atim.tv_nsec,
		st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec);
	return scan_add(sc, &fo);
}

/* A sidecar without its file goes. */
static void scan_sidecar(struct stage *s, uint64_t ino)
{
	struct file_name n;

	file_name(ino, &n);
	if (faccessat(s->dirfd, n.data, F_OK, 0) < 0 && errno == ENOENT)
		(void)unlinkat(s->dirfd, n.map, 0);
}

static errint_t scan_bucket(struct stage *s, struct scan *sc, unsigned bucket)
{
	char name[16];
	struct dirent *d;
	errint_t r = 0;
	DIR *dir;
	int fd;

	(void)snprintf(name, sizeof(name), "%02x", bucket);
	fd = openat(s->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (!r && (errno = 0, d = readdir(dir))) {
		uint64_t ino;
		bool map;

		if (!name_ino(d->d_name, bucket, &ino, &map))
			continue;
		if (map)
			scan_sidecar(s, ino);
		else
			r = scan_file(s, sc, ino);
	}
	if (!r && errno)
		r = -errno;
	(void)closedir(dir);
	return r;
}

static int found_cmp(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

static errint_t scan_all(struct stage *s)
{
	struct scan sc = {0};
	errint_t r = 0;

	for (unsigned i = 0; i < 256 && !r; i++)
		r = scan_bucket(s, &sc, i);
	if (!r && sc.n)
		qsort(sc.v, sc.n, sizeof(*sc.v), found_cmp);
	LOCKED(&s->shared.lock);
	for (size_t i = 0; i < sc.n && !r; i++) {
		const struct found *fo = &sc.v[i];
		struct entry *e = entry_add_locked(s, fo->ino);

		if (!e) {
			r = -ENOMEM;
			break;
		}
		/* An estimate; exact once opened. */
		e->present = round_up(fo->bytes, STAGE_GRAIN) / STAGE_GRAIN;
		e->dirty = fo->dirty;
		e->ndirty = fo->dirty ? e->present : 0;
		atomic_fetch_add(&s->used, entry_bytes(e));
		atomic_fetch_add(&s->dirty, e->ndirty * STAGE_GRAIN);
		if (!e->dirty)
			lru_add_locked(s, e);
	}
	free(sc.v);
	return r;
}

/* ---- open and close ---- */

static void stage_free(struct stage *s)
{
	struct entry *e, *next;

	HASH_ITER (hh, s->shared.table, e, next) {
		HASH_DEL(s->shared.table, e);
		free(e);
	}
	if (s->dirfd >= 0)
		(void)close(s->dirfd);
	(void)pthread_cond_destroy(&s->shared.changed);
	lock_done(&s->shared.lock);
	free(s->dir);
	free(s);
}

errint_t stage_open(const struct stage_conf *conf, struct stage **ret, struct err *err)
{
	struct stage *s = calloc(1, sizeof(*s));
	struct statfs fs;
	errint_t r = 0;

	assert(conf && conf->dir && ret);
	if (!s)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the staging table");
	s->dirfd = -1;
	s->dir = strdup(conf->dir);
	s->quota = conf->quota_bytes;
	s->min_free = conf->min_free_bytes;
	s->span = conf->span ? conf->span : STAGE_SPAN;
	assert(s->span % STAGE_CHUNK == 0);
	lock_init(&s->shared.lock, RANK_STAGE, "stage");
	cond_init(&s->shared.changed);
	TAILQ_INIT(&s->shared.lru);
	TAILQ_INIT(&s->shared.unsynced);
	TAILQ_INIT(&s->shared.open);
	if (!s->dir)
		r = -ENOMEM;
	else if (mkdir(conf->dir, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (!r) {
		s->dirfd = open(conf->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = s->dirfd < 0 || fstatfs(s->dirfd, &fs) < 0 ? -errno : 0;
		s->on_fuse = !r && fs.f_type == FUSE_SUPER_MAGIC;
	}
	if (!r)
		stage_spread(s->dirfd);
	if (!r && STAGE_HEAD % (unsigned long)sysconf(_SC_PAGESIZE) != 0)
		r = -ENOSYS;
	if (!r)
		r = state_begin(s, conf->power_cut);
	if (!r)
		(void)free_above_min(s);
	if (!r)
		r = scan_all(s);
	if (r) {
		(void)err_set(err, r, ERR_FINAL, "cannot open the staging directory %s: %s",
			conf->dir,
			r == -EMEDIUMTYPE ? "it is of an earlier version; mount once with that "
					    "one, 'astra sync' and unmount, then remove it"
			: r == -ENOSYS	  ? "pages of memory larger than 8 KiB are not supported"
					  : strerrordesc_np(-r));
		stage_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void stage_close(struct stage *s)
{
	struct entry *e;

	if (!s)
		return;
	for (e = s->shared.table; e; e = e->hh.next)
		assert(!e->f && !e->busy);
	/* Without the mark the next run trusts less: that is all that failing here costs. */
	if (!stage_sync_fs(s))
		(void)state_write(s, true);
	stage_free(s);
}
