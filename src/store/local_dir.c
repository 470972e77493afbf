/* SPDX-License-Identifier: MIT */
/*
 * Sorted names of directories, for paged listing. The order is that of keys: a directory d sorts
 * as "d/". The last few are kept and used again as long as the directory's mtime is the same; one
 * changed less than RACY_NS before it was read is not kept, since a further change might not show
 * in its mtime. Very large directories are read as windows of names, so that memory is bounded.
 *
 * struct ldir never changes once it is made and is counted; the list of kept ones has a lock.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/xattr.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "local_priv.h"

#define KEPT_MAX       8
#define KEPT_BYTES_MAX (16u << 20)
#define WINDOW_BYTES   (8u << 20)
#define RACY_NS	       (50 * NS_PER_MS)
#define SLOT(len)      (sizeof(struct name) + (len))

struct name { /* in the arena, unaligned */
	uint16_t len;
	uint8_t kind;
	char s[];
} __attribute__((packed));

struct ldir {
	TAILQ_ENTRY(ldir) link; /* local_dirs.lock */
	atomic_uint refs;
	char *path; /* owned */
	char *from; /* owned; names before it are left out */
	size_t from_len;
	int64_t mtime_ns;
	ino_t ino;
	char *arena; /* owned: struct name after struct name */
	size_t arena_len, arena_cap;
	uint32_t *off; /* owned: sorted */
	size_t n, cap;
	bool more; /* names behind the last were left out */
};

struct local_dirs {
	struct lock lock;
	TAILQ_HEAD(ldir_list, ldir) kept; /* used last first */
	unsigned n;
	size_t bytes;
};

struct local_dirs *local_dirs_new(void)
{
	struct local_dirs *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	lock_init(&d->lock, RANK_STORE_D, "local.dirs");
	TAILQ_INIT(&d->kept);
	return d;
}

void ldir_put(struct ldir *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	free(d->path);
	free(d->from);
	free(d->arena);
	free(d->off);
	free(d);
}

static size_t ldir_bytes(const struct ldir *d)
{
	return d->arena_cap + 4 * d->cap + sizeof(*d);
}

static void drop_locked(struct local_dirs *k, struct ldir *d)
{
	TAILQ_REMOVE(&k->kept, d, link);
	k->n--;
	k->bytes -= ldir_bytes(d);
	ldir_put(d);
}

struct local_dirs *local_dirs_destroy(struct local_dirs *d)
{
	if (!d)
		return NULL;
	while (!TAILQ_EMPTY(&d->kept))
		drop_locked(d, TAILQ_FIRST(&d->kept));
	lock_done(&d->lock);
	free(d);
	return NULL;
}

/* ---- order ---- */

static int cmp(const char *a, size_t alen, const char *b, size_t blen)
{
	int d = memcmp(a, b, MIN_OF(alen, blen));

	return d ? d : (alen > blen) - (alen < blen);
}

static const struct name *name_at(const struct ldir *d, uint32_t off)
{
	return (const struct name *)(d->arena + off);
}

static int name_cmp(const void *a, const void *b, void *arg)
{
	const struct name *x = name_at(arg, *(const uint32_t *)a);
	const struct name *y = name_at(arg, *(const uint32_t *)b);
	int d = cmp(x->s, x->len, y->s, y->len);

	return d ? d : (int)x->kind - (int)y->kind;
}

size_t ldir_count(const struct ldir *d)
{
	return d->n;
}

struct ldir_name ldir_at(const struct ldir *d, size_t i)
{
	const struct name *e = name_at(d, d->off[i]);

	assert(i < d->n);
	return (struct ldir_name){e->s, e->len, e->kind};
}

size_t ldir_lower(const struct ldir *d, const char *s, size_t len)
{
	size_t lo = 0, hi = d->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct name *e = name_at(d, d->off[mid]);

		if (cmp(e->s, e->len, s, len) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool ldir_more(const struct ldir *d)
{
	return d->more;
}

/* ---- reading ---- */

/* Sorts, and drops the alternate name of what has its own name too. */
static void sort(struct ldir *d)
{
	size_t n = 0;

	if (d->n)
		qsort_r(d->off, d->n, sizeof(*d->off), name_cmp, d);
	for (size_t i = 0; i < d->n; i++) {
		const struct name *e = name_at(d, d->off[i]);
		const struct name *last = n ? name_at(d, d->off[n - 1]) : NULL;

		if (last && !cmp(last->s, last->len, e->s, e->len))
			continue;
		d->off[n++] = d->off[i];
	}
	d->n = n;
}

/* The arena is too large: keeps the lower half of the names. */
static errint_t halve(struct ldir *d)
{
	char *arena;
	size_t at = 0;

	sort(d);
	d->n /= 2;
	d->more = true;
	arena = malloc(d->arena_cap);
	if (!arena)
		return -ENOMEM;
	for (size_t i = 0; i < d->n; i++) {
		const struct name *e = name_at(d, d->off[i]);
		size_t len = SLOT(e->len);

		memcpy(arena + at, e, len);
		d->off[i] = (uint32_t)at;
		at += len;
	}
	free(d->arena);
	d->arena = arena;
	d->arena_len = at;
	return 0;
}

static errint_t add(struct ldir *d, const char *s, size_t len, enum ldir_kind kind)
{
	struct name *e;

	if (cmp(s, len, d->from, d->from_len) < 0)
		return 0;
	if (d->more && d->n) { /* behind the window; its highest name is not always the last */
		const struct name *top = name_at(d, d->off[0]);

		if (cmp(s, len, top->s, top->len) > 0)
			return 0;
	}
	if (d->arena_len + SLOT(len) > d->arena_cap) {
		size_t cap = d->arena_cap ? 2 * d->arena_cap : 4096;
		void *p = realloc(d->arena, cap);

		if (!p)
			return -ENOMEM;
		d->arena = p;
		d->arena_cap = cap;
	}
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 128;
		void *p = reallocarray(d->off, cap, sizeof(*d->off));

		if (!p)
			return -ENOMEM;
		d->off = p;
		d->cap = cap;
	}
	e = (struct name *)(d->arena + d->arena_len);
	e->len = (uint16_t)len;
	e->kind = (uint8_t)kind;
	memcpy(e->s, s, len);
	d->off[d->n++] = (uint32_t)d->arena_len;
	d->arena_len += SLOT(len);
	if (d->arena_len > WINDOW_BYTES) {
		errint_t r = halve(d);

		if (r)
			return r;
		/* add() compares with off[0]: put the highest name there; sort() mends it. */
		uint32_t top = d->off[d->n - 1];

		d->off[d->n - 1] = d->off[0];
		d->off[0] = top;
	}
	return 0;
}

static int kind_of(DIR *dir, const struct dirent *e)
{
	struct stat sb;

	if (e->d_type == DT_DIR)
		return S_IFDIR;
	if (e->d_type == DT_REG)
		return S_IFREG;
	if (e->d_type != DT_UNKNOWN || fstatat(dirfd(dir), e->d_name, &sb, AT_SYMLINK_NOFOLLOW))
		return 0;
	return (int)(sb.st_mode & S_IFMT);
}

static bool hidden(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..") ||
	       !strncmp(name, LOCAL_PRIVATE, strlen(LOCAL_PRIVATE));
}

static errint_t add_entry(struct ldir *d, DIR *dir, const struct dirent *e)
{
	char comp[STORE_KEY_MAX + 2], path[LOCAL_PATH_MAX];
	int kind = kind_of(dir, e), len;
	bool alt;

	if (kind != S_IFDIR && kind != S_IFREG)
		return 0; /* links and devices are no objects */
	len = lname_decode(e->d_name, comp, &alt);
	if (len == -2) {
		if (snprintf(path, sizeof(path), "%s/%s", d->path, e->d_name) >= LOCAL_PATH_MAX)
			return 0;
		len = (int)lgetxattr(path, LOCAL_XATTR_NAME, comp, STORE_KEY_MAX);
	}
	if (len < 0 || (alt && kind == S_IFDIR))
		return 0;
	if (kind == S_IFDIR)
		comp[len++] = '/';
	return add(d, comp, (size_t)len, kind == S_IFDIR ? LDIR_DIR : alt ? LDIR_ALT : LDIR_FILE);
}

/* Gives back what growing took too much. */
static void trim(struct ldir *d)
{
	void *p = d->arena_len ? realloc(d->arena, d->arena_len) : NULL;

	if (p) {
		d->arena = p;
		d->arena_cap = d->arena_len;
	}
	p = d->n ? reallocarray(d->off, d->n, sizeof(*d->off)) : NULL;
	if (p) {
		d->off = p;
		d->cap = d->n;
	}
}

static errint_t fill(struct ldir *d, int64_t *ret_age_ns)
{
	struct timespec now;
	struct dirent *e;
	struct stat sb;
	errint_t r = 0;
	DIR *dir = opendir(d->path);

	if (!dir)
		return -errno;
	/* Before reading: what changes meanwhile makes this one old. */
	if (fstat(dirfd(dir), &sb)) {
		r = -errno;
	} else {
		d->mtime_ns = (int64_t)sb.st_mtim.tv_sec * NS_PER_S + sb.st_mtim.tv_nsec;
		d->ino = sb.st_ino;
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	*ret_age_ns = (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec - d->mtime_ns;
	while (!r) {
		errno = 0;
		e = readdir(dir);
		if (!e) {
			r = -errno;
			break;
		}
		if (!hidden(e->d_name))
			r = add_entry(d, dir, e);
	}
	(void)closedir(dir);
	if (!r) {
		sort(d);
		trim(d);
	}
	return r;
}

/* ---- kept ones ---- */

static struct ldir *kept_get(struct local_dirs *k, const char *path, const struct stat *sb,
	const char *from, size_t from_len)
{
	int64_t mtime = (int64_t)sb->st_mtim.tv_sec * NS_PER_S + sb->st_mtim.tv_nsec;
	struct ldir *d, *next;

	LOCKED(&k->lock);
	for (d = TAILQ_FIRST(&k->kept); d; d = next) {
		next = TAILQ_NEXT(d, link);
		if (strcmp(d->path, path))
			continue;
		if (d->mtime_ns != mtime || d->ino != sb->st_ino) {
			drop_locked(k, d);
			continue;
		}
		if (cmp(from, from_len, d->from, d->from_len) < 0)
			continue;
		if (d->more && ldir_lower(d, from, from_len) == d->n)
			continue;
		TAILQ_REMOVE(&k->kept, d, link);
		TAILQ_INSERT_HEAD(&k->kept, d, link);
		atomic_fetch_add(&d->refs, 1);
		return d;
	}
	return NULL;
}

static void keep(struct local_dirs *k, struct ldir *d)
{
	LOCKED(&k->lock);
	if (ldir_bytes(d) > KEPT_BYTES_MAX)
		return;
	atomic_fetch_add(&d->refs, 1);
	TAILQ_INSERT_HEAD(&k->kept, d, link);
	k->n++;
	k->bytes += ldir_bytes(d);
	while (k->n > KEPT_MAX || k->bytes > KEPT_BYTES_MAX)
		drop_locked(k, TAILQ_LAST(&k->kept, ldir_list));
}

errint_t ldir_get(struct local_dirs *k, const char *path, const char *from, size_t from_len,
	struct ldir **ret)
{
	struct stat sb;
	struct ldir *d;
	int64_t age = 0;
	errint_t r;

	if (lstat(path, &sb))
		return -errno;
	if (!S_ISDIR(sb.st_mode))
		return -ENOTDIR;
	*ret = kept_get(k, path, &sb, from, from_len);
	if (*ret)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	atomic_init(&d->refs, 1);
	d->path = strdup(path);
	d->from = malloc(from_len + 1);
	if (!d->path || !d->from) {
		ldir_put(d);
		return -ENOMEM;
	}
	memcpy(d->from, from, from_len);
	d->from_len = from_len;
	r = fill(d, &age);
	if (r) {
		ldir_put(d);
		return r;
	}
	if (age > RACY_NS)
		keep(k, d);
	*ret = d;
	return 0;
}

/* ---- emptiness ---- */

static bool any(char *path, size_t len, unsigned depth)
{
	bool found = false;
	struct dirent *e;
	DIR *dir;

	if (lgetxattr(path, LOCAL_XATTR, NULL, 0) > 0)
		return true;
	dir = opendir(path);
	if (!dir)
		return errno != ENOENT && errno != ENOTDIR; /* cannot look: say yes */
	while (!found && (e = readdir(dir))) {
		char comp[STORE_KEY_MAX + 2];
		int kind;
		bool alt;

		if (hidden(e->d_name) || lname_decode(e->d_name, comp, &alt) == -1)
			continue;
		kind = kind_of(dir, e);
		if (kind == S_IFREG) {
			found = true;
		} else if (kind == S_IFDIR && len + strlen(e->d_name) + 2 < LOCAL_PATH_MAX &&
			   depth < STORE_KEY_MAX) {
			size_t n = len;

			path[n++] = '/';
			memcpy(path + n, e->d_name, strlen(e->d_name) + 1);
			found = any(path, n + strlen(e->d_name), depth + 1);
			path[len] = 0;
		}
	}
	(void)closedir(dir);
	return found;
}

bool ldir_any(const char *path)
{
	char own[LOCAL_PATH_MAX];
	size_t len = strlen(path);

	memcpy(own, path, len + 1);
	return any(own, len, 0);
}
