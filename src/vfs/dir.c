/* SPDX-License-Identifier: MIT */
/*
 * Directories: listing them from their clouds when needed, reading them, waiting for them.
 *
 * A directory that was never listed makes the call wait for a LIST, unless it asks for a name that
 * is known; one whose listing is older than metadata_ttl is served as it is and listed again behind
 * the caller's back, one at a time for each directory and not again for a while after a failure.
 *
 * The offset of an entry is its inode number (1 and 2: "." and ".."), so it survives removals. What
 * a listing finds gets higher numbers than all that is there: who reads a directory of which
 * nothing was known gets its names as the pages come. Where some are known, they may be gone, and
 * all wait for the end of the listing, unless an earlier one is still believed.
 *
 * Attributes with the names (READDIRPLUS) spare a LOOKUP for each, which costs ten times as much as
 * they do; for who wants none they are three times what the names cost, and the kernel keeps an
 * inode for each. Its own guess is the first page of a directory, and the next one when a name of
 * the last was looked at; programs that first read all names and then look at them (find, du,
 * anything that uses fts) pay for each one. So the first ROWS_FIRST names have attributes, and
 * further ones when who asks has looked names up before, after it had listed them without.
 */
#include "vfs_priv.h"

#define OFF_DOT	   1
#define OFF_DOTDOT 2

#define LOOK_LISTS_MAX 1000 /* names: about a page of a listing */

/* How a listing that is under way wakes who reads the directory: an error where that has failed by
 * the time the call runs. */
#define LIST_GOES_ON (-EAGAIN)

/* ---- listing ---- */

static errint_t list_error(errint_t r)
{
	switch (r) {
	case 0:
	case -ENOENT:
	case -EACCES:
	case -ENOTDIR:
	case -ESTALE:
	case -ENOMEM:
	case -ENOSPC:
		return r;
	default:
		return -EIO; /* the cloud does not answer */
	}
}

static void calls_take_locked(struct listing *l, bool all, struct call_list *to)
{
	struct vfs_call *c, *more;

	for (c = TAILQ_FIRST(&l->calls); c; c = more) {
		more = TAILQ_NEXT(c, own.fetch);
		if (!all && !c->own.reads)
			continue;
		TAILQ_REMOVE(&l->calls, c, own.fetch);
		c->own.in_list = false;
		TAILQ_INSERT_TAIL(to, c, own.fetch);
	}
}

static void calls_wake(struct call_list *woken, errint_t r)
{
	struct vfs_call *c;

	while ((c = TAILQ_FIRST(woken))) {
		TAILQ_REMOVE(woken, c, own.fetch);
		call_wake(c, r);
	}
}

void dir_listed_more(struct vfs *v, uint64_t dir)
{
	struct call_list woken = TAILQ_HEAD_INITIALIZER(woken);
	struct listing *l;

	lock_take(&v->lock);
	HASH_FIND(hh, v->s.listings, &dir, sizeof(dir), l);
	if (l && l->first) {
		l->pages++;
		calls_take_locked(l, false, &woken);
	}
	lock_drop(&v->lock);
	calls_wake(&woken, LIST_GOES_ON);
}

static void listing_done(struct job_waiter *w, errint_t r)
{
	struct listing *l = container_of(w, struct listing, waiter);
	struct call_list woken = TAILQ_HEAD_INITIALIZER(woken);
	struct vfs *v = l->v;

	lock_take(&v->lock);
	calls_take_locked(l, true, &woken);
	l->running = false;
	l->retry_ns = clock_mono_ns() + (r ? LIST_RETRY_NS : 0);
	if (!r || v->s.stopping) {
		HASH_DEL(v->s.listings, l);
		free(l);
	}
	lock_drop(&v->lock);
	calls_wake(&woken, r);
	/* Last: vfs_stop waits for this. */
	lock_take(&v->lock);
	v->s.nlistings_running--;
	lock_drop(&v->lock);
}

static struct listing *listing_new_locked(struct vfs *v, uint64_t dir)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->ino = dir;
	l->v = v;
	TAILQ_INIT(&l->calls);
	HASH_ADD(hh, v->s.listings, ino, sizeof(dir), l);
	return l;
}

static void listing_run_locked(struct vfs *v, struct listing *l, bool first)
{
	memset(&l->waiter, 0, sizeof(l->waiter));
	l->waiter.fn = listing_done;
	l->running = true;
	l->first = first;
	l->pages = 0;
	v->s.nlistings_running++;
}

int dir_list(struct vfs_call *c, uint64_t dir)
{
	const struct call_wait w = {.kind = WAIT_LIST, .on_timeout = -EIO};
	struct vfs *v = c->own.v;
	struct meta_inode in;
	struct listing *l;
	bool start = false, first = !row_get(v, dir, &in) && !in.listed_at_ns && !in.nchild;

	c->own.listed = dir;
	if (!call_arm(c, &w))
		return DIR_PARKED;
	lock_take(&v->lock);
	HASH_FIND(hh, v->s.listings, &dir, sizeof(dir), l);
	if (!l)
		l = listing_new_locked(v, dir);
	if (l) {
		TAILQ_INSERT_TAIL(&l->calls, c, own.fetch);
		c->own.in_list = true;
		start = !l->running;
		if (start)
			listing_run_locked(v, l, first);
	}
	lock_drop(&v->lock);
	if (!l) {
		call_disarm(c);
		return -ENOMEM;
	}
	if (start)
		job_list(v->jobs, dir, &l->waiter);
	call_armed(c);
	return DIR_PARKED;
}

bool dir_list_cancel_locked(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct listing *l;

	lock_assert_held(&v->lock);
	if (!c->own.in_list)
		return false;
	HASH_FIND(hh, v->s.listings, &c->own.listed, sizeof(c->own.listed), l);
	assert(l);
	TAILQ_REMOVE(&l->calls, c, own.fetch);
	c->own.in_list = false;
	return true;
}

int dir_ready(struct vfs_call *c, uint64_t dir)
{
	struct vfs *v = c->own.v;
	struct meta_inode in;
	errint_t r;

	if (dir == META_ROOT_INO)
		return DIR_READY;
	r = row_get(v, dir, &in);
	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (in.kind != META_DIR)
		return -ENOTDIR;
	if (in.listed_at_ns > v->listed_epoch_ns) {
		if (clock_now_ns() - in.listed_at_ns > v->conf.metadata_ttl_ns)
			dir_list_background(v, dir);
		return DIR_READY;
	}
	if (in.flags & META_F_ORPHAN)
		return DIR_READY;
	if (c->own.listed == dir)
		return list_error(c->own.r); /* it was tried for this call */
	return dir_list(c, dir);
}

static void listings_purge_locked(struct vfs *v, int64_t now)
{
	struct listing *l, *more;

	HASH_ITER (hh, v->s.listings, l, more) {
		if (l->running || l->retry_ns > now)
			continue;
		HASH_DEL(v->s.listings, l);
		free(l);
	}
}

static struct listing *background_take(struct vfs *v, uint64_t dir)
{
	int64_t now = clock_mono_ns();
	struct listing *l;
	LOCKED(&v->lock);

	if (v->s.stopping)
		return NULL;
	HASH_FIND(hh, v->s.listings, &dir, sizeof(dir), l);
	if (l && (l->running || l->retry_ns > now))
		return NULL;
	if (!l) {
		if (HASH_COUNT(v->s.listings) >= LISTINGS_MAX)
			listings_purge_locked(v, now);
		/* Too many at once: the next look at the directory asks again. */
		if (HASH_COUNT(v->s.listings) >= LISTINGS_MAX)
			return NULL;
		l = listing_new_locked(v, dir);
	}
	if (l)
		listing_run_locked(v, l, false);
	return l;
}

void dir_list_background(struct vfs *v, uint64_t dir)
{
	struct listing *l = background_take(v, dir);

	if (l)
		job_list(v->jobs, dir, &l->waiter);
}

void listings_done(struct vfs *v)
{
	struct listing *l, *more;

	lock_take(&v->lock);
	while (v->s.nlistings_running)
		(void)cond_wait_until(&v->idle, &v->lock, clock_mono_ns() + 10 * NS_PER_MS);
	HASH_ITER (hh, v->s.listings, l, more) {
		HASH_DEL(v->s.listings, l);
		free(l);
	}
	lock_drop(&v->lock);
}

/* ---- opendir, readdir ---- */

static void run_opendir(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_handle *h;
	struct meta_inode in;
	errint_t r = row_get(v, c->own.ino, &in);

	if (!r && in.kind != META_DIR)
		r = -ENOTDIR;
	h = r ? NULL : calloc(1, sizeof(*h));
	if (!r && !h)
		r = -ENOMEM;
	if (!r) {
		h->ino = c->own.ino;
		c->handle = h;
		lock_take(&v->open.lock);
		v->open.handles++;
		lock_drop(&v->open.lock);
	}
	call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_opendir(struct vfs *v, struct vfs_call *c, uint64_t ino)
{
	call_begin(v, c, run_opendir);
	c->own.ino = ino;
	run_opendir(c);
}

void vfs_releasedir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h)
{
	call_begin(v, c, run_opendir);
	lock_take(&v->open.lock);
	v->open.handles--;
	lock_drop(&v->open.lock);
	free(h);
	call_done(c, 0);
}

static mode_t kind_mode(enum meta_kind kind)
{
	return kind == META_DIR ? S_IFDIR : kind == META_SYMLINK ? S_IFLNK : S_IFREG;
}

#define LISTER_LOOKS (UINT64_C(1) << 63)

/* A slot by thread: whether it looks, its id (22 bits at most), the directory it listed last. */
static _Atomic uint64_t *lister_of(struct vfs_call *c, uint64_t dir, uint64_t *ret_word)
{
	*ret_word = (uint64_t)(uint32_t)c->pid << 40 | (dir & ((UINT64_C(1) << 40) - 1));
	return &c->own.v->listers[(unsigned)c->pid % LISTERS];
}

/* What others change is to be seen where nobody reads the directory, too: its names are known, and
 * only looked at. Of a large one that would be more than one request each time. */
static void refresh(struct vfs *v, uint64_t dir)
{
	struct meta_inode in;

	if (dir == META_ROOT_INO || row_get(v, dir, &in) || in.kind != META_DIR ||
		(in.flags & META_F_ORPHAN) || in.nchild > LOOK_LISTS_MAX)
		return;
	if (clock_now_ns() - in.listed_at_ns > v->conf.metadata_ttl_ns)
		dir_list_background(v, dir);
}

void dir_looked_up(struct vfs_call *c, uint64_t dir)
{
	uint64_t word;
	_Atomic uint64_t *lister = lister_of(c, dir, &word);

	(void)atomic_compare_exchange_strong(lister, &word, word | LISTER_LOOKS);
	refresh(c->own.v, dir);
}

/* Whether the next names go with attributes. */
static bool rows_wanted(struct vfs_call *c)
{
	uint64_t word, is;
	_Atomic uint64_t *lister = lister_of(c, c->own.ino, &word);
	unsigned first = c->own.v->conf.rows_first ? c->own.v->conf.rows_first : ROWS_FIRST;

	if (c->plain)
		return false;
	if (!c->own.off)
		atomic_store(&c->own.h->given, 0);
	is = atomic_load(lister);
	if (atomic_load(&c->own.h->given) < first ||
		((is & LISTER_LOOKS) && (is & ~LISTER_LOOKS) >> 40 == word >> 40))
		return true;
	atomic_store(lister, word);
	c->plain = true;
	return false;
}

static int readdir_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct vfs_call *c = arg;
	struct vfs_attr a;

	if (!full) {
		memset(&a, 0, sizeof(a));
		a.st.st_ino = ino;
		a.st.st_mode = kind_mode(kind);
	} else {
		(void)attr_answer(c, full);
		a = c->attr;
	}
	if (c->fill(c, name, &a, ino))
		return 1;
	c->own.given++;
	atomic_fetch_add_explicit(&c->own.h->given, 1, memory_order_relaxed);
	return 0;
}

/* "." and "..": true when full. */
static bool readdir_dots(struct vfs_call *c, struct meta_txn *t, const struct meta_inode *dir)
{
	struct meta_inode up;
	struct vfs_attr a;

	attr_of(c->own.v, dir, &a);
	if (c->own.off < OFF_DOT && c->fill(c, ".", &a, OFF_DOT))
		return true;
	if (c->own.off < OFF_DOTDOT) {
		c->own.given++;
		if (dir->parent && !meta_inode_get(t, dir->parent, &up))
			attr_of(c->own.v, &up, &a);
		return c->fill(c, "..", &a, OFF_DOTDOT);
	}
	return false;
}

static errint_t readdir_fill(struct vfs_call *c)
{
	bool rows = rows_wanted(c);
	struct meta_txn *t = meta_begin_read(c->own.v->conf.meta);
	struct meta_inode dir;
	errint_t r = meta_inode_get(t, c->own.ino, &dir);

	c->own.given = 0;
	if (!r && !readdir_dots(c, t, &dir))
		r = meta_children(t, c->own.ino, MAX_OF(c->own.off, (uint64_t)OFF_DOTDOT), rows,
			readdir_child, c);
	meta_abort(t);
	return r == -ENOENT ? 0 : r; /* removed while open: empty */
}

/* Its first listing is under way, and so many pages of it are in the index. */
static bool dir_comes(struct vfs *v, uint64_t dir, unsigned *ret_pages)
{
	struct listing *l;
	LOCKED(&v->lock);

	HASH_FIND(hh, v->s.listings, &dir, sizeof(dir), l);
	*ret_pages = l && l->running && l->first ? l->pages : 0;
	return *ret_pages != 0;
}

/* Waits for more than these pages. False: there is more, or it has ended. */
static bool dir_await(struct vfs_call *c, uint64_t dir, unsigned pages)
{
	const struct call_wait w = {.kind = WAIT_LIST, .on_timeout = -EIO};
	struct vfs *v = c->own.v;
	struct listing *l;

	if (!call_arm(c, &w))
		return true; /* it was answered */
	lock_take(&v->lock);
	HASH_FIND(hh, v->s.listings, &dir, sizeof(dir), l);
	if (l && l->running && l->pages == pages) {
		c->own.listed = dir;
		c->own.in_list = true;
		TAILQ_INSERT_TAIL(&l->calls, c, own.fetch);
	} else {
		l = NULL;
	}
	lock_drop(&v->lock);
	if (l)
		call_armed(c);
	else
		call_disarm(c);
	return l;
}

static void run_readdir(struct vfs_call *c)
{
	struct vfs *v = c->own.v;
	struct vfs_handle *h = c->own.h;
	unsigned pages = 0;
	bool comes;
	errint_t r;
	int w;

	do {
		/* Later pages go on with what the first one showed. */
		bool ready = c->own.off && !atomic_load(&h->coming);

		comes = !ready && dir_comes(v, c->own.ino, &pages);
		w = ready || comes ? DIR_READY : dir_ready(c, c->own.ino);
		if (w == DIR_PARKED)
			return;
		if (w < 0) {
			call_done(c, w == -ENOENT ? -EIO : w);
			return;
		}
		r = readdir_fill(c);
		if (comes && !r && !c->own.given && dir_await(c, c->own.ino, pages))
			return;
	} while (comes && !r && !c->own.given);
	atomic_store(&h->coming, comes);
	call_done(c, r);
}

void vfs_readdir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h, uint64_t off)
{
	assert(h && !h->n && c->fill);
	call_begin(v, c, run_readdir);
	c->own.h = h;
	c->own.ino = h->ino;
	c->own.off = off;
	c->own.reads = true;
	run_readdir(c);
}

void vfs_fsyncdir(struct vfs *v, struct vfs_call *c, struct vfs_handle *h)
{
	assert(h && !h->n);
	call_begin(v, c, sync_run);
	c->own.ino = h->ino;
	c->own.off = 0; /* one level */
	c->own.what = v->conf.durability == DURABLE_LOCAL;
	sync_run(c);
}
