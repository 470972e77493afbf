/* SPDX-License-Identifier: MIT */
/*
 * cutfs: a disk that can lose power. Tests only.
 *
 * A FUSE filesystem that passes everything through to a backing directory and remembers what is
 * not yet durable there. The backing directory always holds the newest state; what a power cut
 * could take back is kept as undo information:
 *
 *   data     the old content of each 4 KiB page changed since the last fsync, fdatasync or msync
 *            of its file, and the file's size then. Pages past that size need no copy.
 *   attrs    mode, owner and times, and the old value of each changed extended attribute, until
 *            an fsync of the file.
 *   names    an ordered log of create, mkdir, symlink, link, unlink, rmdir, rename. As on ext4,
 *            whose journal is committed as a whole, any fsync (and an fdatasync that has a size
 *            or a creation to record) makes all of the log durable, and so does fsync of a
 *            directory. What is unlinked or replaced waits in a trash directory until then.
 *
 * Writing "SEED" to the file /.cutfs-cut cuts the power: from then on every operation is EIO, and
 * the backing directory is turned into one state that a disk could be in, chosen by SEED: a prefix
 * of the name log; each unsynced page old or new; each size old or new; each attribute set old or
 * new. "SEED N" does so instead of the N-th changing operation from now on. Reading the file tells
 * what is pending. The write returns when the backing directory is ready to be used directly.
 *
 * Threads: libfuse's; one lock over everything that changes; reads take it only to see whether the
 * power is on. Locks (flock, fcntl) are the kernel's own, O_TMPFILE and copy_file_range are left
 * out on purpose (the kernel says EOPNOTSUPP or copies by itself).
 */
#define FUSE_USE_VERSION 34

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#define PAGE	  4096
#define TRASH	  ".cutfs-trash"
#define CTL	  ".cutfs-cut"
#define CTL_INO	  ((fuse_ino_t)2) /* no node lives at this address */
#define TIMEOUT_S 3600.0	  /* nobody else changes the backing directory */
#define PROC_LEN  32

struct page { /* what a page held when its file was last synced */
	uint64_t no;
	UT_hash_handle hh;
	char data[PAGE];
};

struct oldattr { /* what an xattr was when its file was last synced */
	LIST_ENTRY(oldattr) link;
	char *name;
	bool existed;
	size_t len;
	char value[];
};

struct node { /* a file or directory of the backing directory that somebody knows */
	ino_t ino;
	UT_hash_handle hh;
	int fd;		  /* O_PATH */
	uint64_t lookups; /* the kernel's */
	unsigned logged;  /* log entries that name it */
	unsigned trashed; /* links of it that lie in the trash */
	bool dirty;	  /* data may be taken back: old_size and pages say to what */
	bool born;	  /* its creation is still in the log */
	uint64_t old_size;
	struct page *pages;
	bool meta_dirty; /* attributes may be taken back */
	struct stat old_st;
	LIST_HEAD(, oldattr) attrs;
};

enum op_kind { OP_MAKE, OP_LINK, OP_REMOVE, OP_RENAME, OP_EXCHANGE };

struct op { /* one line of the name log */
	TAILQ_ENTRY(op) t;
	enum op_kind kind;
	struct node *dir, *dir2; /* dir2: a rename's target */
	char *name, *name2;
	struct node *victim; /* what was removed or replaced, or NULL */
	unsigned trash;	     /* its name in the trash */
	struct node *made;   /* OP_MAKE */
};

static struct {
	pthread_mutex_t lock; /* over everything below */
	bool dead;
	struct node *nodes;
	struct node *root;
	TAILQ_HEAD(oplog, op) log;
	unsigned nlog, ntrash;
	int trash_fd;
	uint64_t changes; /* changing operations so far */
	uint64_t cut_at;  /* 0, or cut instead of the change of this number */
	uint64_t cut_seed;
	uint64_t rng;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- small helpers ---- */

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static uint64_t rnd(void) /* splitmix64 */
{
	uint64_t z = (g.rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool chance(unsigned percent)
{
	return rnd() % 100 < percent;
}

static const char *proc_path(int fd, char buf[PROC_LEN])
{
	snprintf(buf, PROC_LEN, "/proc/self/fd/%d", fd);
	return buf;
}

static int node_open(const struct node *n, int flags)
{
	char buf[PROC_LEN];

	return open(proc_path(n->fd, buf), flags | O_CLOEXEC);
}

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? g.root : (struct node *)(uintptr_t)ino;
}

static int node_stat(const struct node *n, struct stat *st)
{
	if (fstatat(n->fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	st->st_nlink -= n->trashed < st->st_nlink ? n->trashed : st->st_nlink;
	return 0;
}

/* ---- undo information of one node ---- */

static void pages_drop(struct node *n)
{
	struct page *p, *tmp;

	HASH_ITER (hh, n->pages, p, tmp) {
		HASH_DEL(n->pages, p);
		free(p);
	}
	n->dirty = false;
}

static void attrs_drop(struct node *n)
{
	struct oldattr *a;

	while ((a = LIST_FIRST(&n->attrs))) {
		LIST_REMOVE(a, link);
		free(a->name);
		free(a);
	}
	n->meta_dirty = false;
}

/* A node goes when neither the kernel, nor the log, nor a power cut could ask for it. What has no
 * name left, for good, is nothing that a cut could bring back. */
static void node_put_locked(struct node *n)
{
	struct stat st;

	if (n == g.root || n->lookups || n->logged)
		return;
	if (n->dirty || n->meta_dirty) {
		if (fstatat(n->fd, "", &st, AT_EMPTY_PATH) < 0 || st.st_nlink > 0)
			return;
		pages_drop(n);
		attrs_drop(n);
	}
	HASH_DEL(g.nodes, n);
	close(n->fd);
	free(n);
}

static void node_synced_locked(struct node *n, bool meta)
{
	pages_drop(n);
	if (meta)
		attrs_drop(n);
}

/* Before anything of the data changes. Without this, a page has nothing to go back to. */
static int data_begin_locked(struct node *n)
{
	struct stat st;
	int r;

	if (n->dirty)
		return 0;
	r = node_stat(n, &st);
	if (r < 0)
		return r;
	n->dirty = true;
	n->old_size = (uint64_t)st.st_size;
	return 0;
}

static int meta_begin_locked(struct node *n)
{
	if (n->meta_dirty)
		return 0;
	if (fstatat(n->fd, "", &n->old_st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	n->meta_dirty = true;
	return 0;
}

static int page_save_locked(struct node *n, int fd, uint64_t no)
{
	struct page *p;
	uint64_t off = no * PAGE;
	ssize_t k;

	if (off >= n->old_size)
		return 0;
	HASH_FIND(hh, n->pages, &no, sizeof no, p);
	if (p)
		return 0;
	p = must(calloc(1, sizeof *p));
	k = pread(fd, p->data, PAGE, (off_t)off);
	if (k < 0) {
		int r = -errno;

		free(p);
		return r;
	}
	p->no = no;
	HASH_ADD(hh, n->pages, no, sizeof p->no, p);
	return 0;
}

/* Keeps the pages that touch [off, end) as they are now, where they were not kept before. */
static int data_save_locked(struct node *n, int fd, uint64_t off, uint64_t end)
{
	int r = data_begin_locked(n);

	if (end > n->old_size)
		end = n->old_size;
	for (uint64_t no = off / PAGE; r == 0 && no * PAGE < end; no++)
		r = page_save_locked(n, fd, no);
	return r;
}

static int truncate_locked(struct node *n, uint64_t size)
{
	struct stat st;
	int fd, r;

	fd = node_open(n, O_RDWR);
	if (fd < 0)
		return -errno;
	r = node_stat(n, &st);
	if (r == 0 && size < (uint64_t)st.st_size)
		r = data_save_locked(n, fd, size, (uint64_t)st.st_size);
	else if (r == 0 && size > (uint64_t)st.st_size)
		r = data_begin_locked(n);
	if (r == 0 && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* ---- the name log ---- */

static const char *trash_name(unsigned no, char buf[PROC_LEN])
{
	snprintf(buf, PROC_LEN, "%u", no);
	return buf;
}

static struct op *op_new_locked(enum op_kind kind, struct node *dir, const char *name)
{
	struct op *o = must(calloc(1, sizeof *o));

	o->kind = kind;
	o->dir = dir;
	dir->logged++;
	o->name = must(strdup(name));
	TAILQ_INSERT_TAIL(&g.log, o, t);
	g.nlog++;
	return o;
}

static void op_free_locked(struct op *o)
{
	struct node *held[] = {o->dir, o->dir2, o->victim, o->made};

	TAILQ_REMOVE(&g.log, o, t);
	g.nlog--;
	for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
		if (!held[i])
			continue;
		held[i]->logged--;
		node_put_locked(held[i]);
	}
	free(o->name);
	free(o->name2);
	free(o);
}

/* Everything in the log is on the disk now. */
static void log_commit_locked(void)
{
	struct op *o;
	char buf[PROC_LEN];

	while ((o = TAILQ_FIRST(&g.log))) {
		if (o->made)
			o->made->born = false;
		if (o->victim) {
			const char *t = trash_name(o->trash, buf);

			if (unlinkat(g.trash_fd, t, 0) < 0)
				unlinkat(g.trash_fd, t, AT_REMOVEDIR);
			o->victim->trashed--;
		}
		op_free_locked(o);
	}
}

/* Brings a trashed name back; dir and name are free at this point of the undoing. */
static void untrash_locked(struct op *o, struct node *dir, const char *name)
{
	char buf[PROC_LEN];

	if (!o->victim)
		return;
	if (renameat(g.trash_fd, trash_name(o->trash, buf), dir->fd, name) < 0)
		fprintf(stderr, "cutfs: cannot undo removal of %s: %m\n", name);
	o->victim->trashed--;
	o->victim->logged--;
	o->victim = NULL;
}

static void op_undo_locked(struct op *o)
{
	int r = 0;

	switch (o->kind) {
	case OP_MAKE:
	case OP_LINK:
		r = unlinkat(o->dir->fd, o->name, 0);
		if (r < 0 && errno == EISDIR)
			r = unlinkat(o->dir->fd, o->name, AT_REMOVEDIR);
		break;
	case OP_REMOVE:
		untrash_locked(o, o->dir, o->name);
		break;
	case OP_RENAME:
		r = renameat(o->dir2->fd, o->name2, o->dir->fd, o->name);
		untrash_locked(o, o->dir2, o->name2);
		break;
	case OP_EXCHANGE:
		r = renameat2(o->dir2->fd, o->name2, o->dir->fd, o->name, RENAME_EXCHANGE);
		break;
	}
	if (r < 0)
		fprintf(stderr, "cutfs: cannot undo kind %d of %s: %m\n", o->kind, o->name);
	op_free_locked(o);
}

/* ---- the cut ---- */

static void page_lose(int fd, const struct page *p, uint64_t no, uint64_t size)
{
	uint64_t off = no * PAGE;
	size_t len = size - off < PAGE ? size - off : PAGE;

	if (p) {
		if (pwrite(fd, p->data, len, (off_t)off) != (ssize_t)len)
			fprintf(stderr, "cutfs: cannot restore a page: %m\n");
	} else if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, PAGE) <
		   0) {
		fprintf(stderr, "cutfs: cannot lose a page: %m\n");
	}
}

static void cut_data_locked(struct node *n)
{
	static const unsigned moods[] = {0, 100, 5, 50, 50, 95};
	unsigned lose = moods[rnd() % (sizeof moods / sizeof moods[0])];
	bool size_old = lose == 100 || (lose > 0 && chance(50));
	uint64_t now, size;
	struct stat st;
	int fd = node_open(n, O_RDWR);

	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "cutfs: cannot open a file for the cut: %m\n");
		if (fd >= 0)
			close(fd);
		return;
	}
	now = (uint64_t)st.st_size;
	size = size_old ? n->old_size : now;
	if (ftruncate(fd, (off_t)size) < 0)
		fprintf(stderr, "cutfs: cannot set a size back: %m\n");
	for (uint64_t no = 0; no * PAGE < n->old_size && no * PAGE < size; no++) {
		struct page *p;

		HASH_FIND(hh, n->pages, &no, sizeof no, p);
		/* what truncate cut off comes back with the size, whole */
		if (p && (no * PAGE >= now || chance(lose)))
			page_lose(fd, p, no, size);
	}
	for (uint64_t no = (n->old_size + PAGE - 1) / PAGE; no * PAGE < size; no++)
		if (chance(lose))
			page_lose(fd, NULL, no, size);
	close(fd);
}

static void cut_meta_locked(struct node *n)
{
	struct timespec ts[2] = {n->old_st.st_atim, n->old_st.st_mtim};
	char buf[PROC_LEN];
	const char *path = proc_path(n->fd, buf);
	struct oldattr *a;

	if (S_ISLNK(n->old_st.st_mode) || chance(50))
		return;
	LIST_FOREACH (a, &n->attrs, link) {
		if (a->existed)
			setxattr(path, a->name, a->value, a->len, 0);
		else
			removexattr(path, a->name);
	}
	if (chmod(path, n->old_st.st_mode & 07777) < 0 ||
		chown(path, n->old_st.st_uid, n->old_st.st_gid) < 0 ||
		utimensat(AT_FDCWD, path, ts, 0) < 0)
		fprintf(stderr, "cutfs: cannot set attributes back: %m\n");
}

static int by_ino(struct node *a, struct node *b)
{
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static void cut_locked(uint64_t seed)
{
	unsigned keep, all = g.nlog, files = 0;
	struct node *n, *tmp;

	if (g.dead)
		return;
	g.dead = true;
	g.rng = seed;
	keep = chance(30) ? all : chance(30) ? 0 : (unsigned)(rnd() % (all + 1));
	while (g.nlog > keep)
		op_undo_locked(TAILQ_LAST(&g.log, oplog));
	log_commit_locked();
	HASH_SORT(g.nodes, by_ino); /* so that a seed means the same twice */
	HASH_ITER (hh, g.nodes, n, tmp) {
		files += n->dirty;
		if (n->dirty)
			cut_data_locked(n);
		if (n->meta_dirty)
			cut_meta_locked(n);
	}
	unlinkat(g.root->fd, TRASH, AT_REMOVEDIR);
	fprintf(stderr, "cutfs: cut with seed %llu: %u of %u name changes kept, %u dirty files\n",
		(unsigned long long)seed, keep, all, files);
}

/* Takes the lock for a changing operation; -EIO (and no lock) when the power is off. */
static int change_begin(void)
{
	pthread_mutex_lock(&g.lock);
	g.changes++;
	if (g.cut_at && g.changes >= g.cut_at)
		cut_locked(g.cut_seed);
	if (!g.dead)
		return 0;
	pthread_mutex_unlock(&g.lock);
	return -EIO;
}

static bool power_on(void)
{
	bool on;

	pthread_mutex_lock(&g.lock);
	on = !g.dead;
	pthread_mutex_unlock(&g.lock);
	return on;
}

static int change_end(int r)
{
	pthread_mutex_unlock(&g.lock);
	return r;
}

/* Checks that a non-changing request may be answered; replies and returns false if not. */
static bool alive(fuse_req_t req)
{
	if (power_on())
		return true;
	fuse_reply_err(req, EIO);
	return false;
}

/* ---- nodes and the kernel ---- */

static bool hidden(const struct node *dir, const char *name)
{
	return dir == g.root && (!strcmp(name, TRASH) || !strcmp(name, CTL));
}

static int node_get_locked(struct node *dir, const char *name, struct node **ret)
{
	struct stat st;
	struct node *n;
	int fd = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	HASH_FIND(hh, g.nodes, &st.st_ino, sizeof st.st_ino, n);
	if (n) {
		close(fd);
	} else {
		n = must(calloc(1, sizeof *n));
		n->ino = st.st_ino;
		n->fd = fd;
		LIST_INIT(&n->attrs);
		HASH_ADD(hh, g.nodes, ino, sizeof n->ino, n);
	}
	*ret = n;
	return 0;
}

static int entry_locked(struct node *dir, const char *name, struct fuse_entry_param *e)
{
	struct node *n;
	int r = node_get_locked(dir, name, &n);

	if (r < 0)
		return r;
	memset(e, 0, sizeof *e);
	r = node_stat(n, &e->attr);
	if (r < 0) {
		node_put_locked(n);
		return r;
	}
	n->lookups++;
	e->ino = (fuse_ino_t)(uintptr_t)n;
	e->attr_timeout = e->entry_timeout = TIMEOUT_S;
	return 0;
}

static void ctl_stat(struct stat *st)
{
	memset(st, 0, sizeof *st);
	st->st_ino = CTL_INO;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
}

static void reply_entry(fuse_req_t req, int r, const struct fuse_entry_param *e)
{
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_entry(req, e);
}

static void c_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {0};
	struct node *dir = node_of(parent);
	int r;

	if (dir == g.root && !strcmp(name, CTL)) {
		ctl_stat(&e.attr);
		e.ino = CTL_INO;
		fuse_reply_entry(req, &e);
		return;
	}
	if (!alive(req))
		return;
	pthread_mutex_lock(&g.lock);
	r = hidden(dir, name) ? -ENOENT : entry_locked(dir, name, &e);
	pthread_mutex_unlock(&g.lock);
	reply_entry(req, r, &e);
}

static void forget_one(fuse_ino_t ino, uint64_t nlookup)
{
	struct node *n = node_of(ino);

	if (ino == CTL_INO || n == g.root)
		return;
	pthread_mutex_lock(&g.lock);
	n->lookups -= nlookup < n->lookups ? nlookup : n->lookups;
	node_put_locked(n);
	pthread_mutex_unlock(&g.lock);
}

static void c_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	forget_one(ino, nlookup);
	fuse_reply_none(req);
}

static void c_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
	for (size_t i = 0; i < count; i++)
		forget_one(f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

static void c_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int r;

	if (ino == CTL_INO) {
		ctl_stat(&st);
		fuse_reply_attr(req, &st, 0);
		return;
	}
	if (!alive(req))
		return;
	pthread_mutex_lock(&g.lock);
	r = node_stat(node_of(ino), &st);
	pthread_mutex_unlock(&g.lock);
	if (r < 0)
		fuse_reply_err(req, -r);
	else /* times and sizes change only through the kernel, link counts too */
		fuse_reply_attr(req, &st, 1.0);
}

static int setattr_locked(struct node *n, const struct stat *want, int set)
{
	char buf[PROC_LEN];
	const char *path = proc_path(n->fd, buf);
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
	int r = set & ~FUSE_SET_ATTR_SIZE ? meta_begin_locked(n) : 0;

	if (r == 0 && set & FUSE_SET_ATTR_SIZE)
		r = truncate_locked(n, (uint64_t)want->st_size);
	if (r == 0 && set & FUSE_SET_ATTR_MODE && chmod(path, want->st_mode) < 0)
		r = -errno;
	if (r == 0 && set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) &&
		fchownat(n->fd, "", set & FUSE_SET_ATTR_UID ? want->st_uid : (uid_t)-1,
			set & FUSE_SET_ATTR_GID ? want->st_gid : (gid_t)-1, AT_EMPTY_PATH) < 0)
		r = -errno;
	if (set & FUSE_SET_ATTR_ATIME)
		ts[0] = want->st_atim;
	if (set & FUSE_SET_ATTR_MTIME)
		ts[1] = want->st_mtim;
	if (set & FUSE_SET_ATTR_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	if (r == 0 && (ts[0].tv_nsec != UTIME_OMIT || ts[1].tv_nsec != UTIME_OMIT) &&
		utimensat(AT_FDCWD, path, ts, 0) < 0)
		r = -errno;
	return r;
}

static void c_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *want, int set, struct fuse_file_info *fi)
{
	struct stat st;
	int r;

	if (ino == CTL_INO) {
		ctl_stat(&st);
		fuse_reply_attr(req, &st, 0);
		return;
	}
	r = change_begin();
	if (r == 0) {
		r = setattr_locked(node_of(ino), want, set);
		if (r == 0)
			r = node_stat(node_of(ino), &st);
		change_end(0);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, 1.0);
}

static void c_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char buf[PATH_MAX + 1];
	ssize_t k;

	if (!alive(req))
		return;
	k = readlinkat(node_of(ino)->fd, "", buf, PATH_MAX);
	if (k < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	buf[k] = '\0';
	fuse_reply_readlink(req, buf);
}

/* ---- names ---- */

/* Notes that name was made in dir; the new thing itself starts as not durable. */
static int made_locked(struct node *dir, const char *name, struct fuse_entry_param *e)
{
	struct op *o = op_new_locked(OP_MAKE, dir, name);
	int r = entry_locked(dir, name, e);

	if (r < 0)
		return r;
	o->made = node_of(e->ino);
	o->made->logged++;
	o->made->born = true;
	if (S_ISREG(e->attr.st_mode))
		r = data_begin_locked(o->made);
	return r;
}

static void c_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_entry_param e;
	struct node *dir = node_of(parent);
	int r = hidden(dir, name) ? -EPERM : change_begin();

	if (r == 0) {
		r = mkdirat(dir->fd, name, mode) < 0 ? -errno : made_locked(dir, name, &e);
		change_end(0);
	}
	reply_entry(req, r, &e);
}

static void c_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fuse_entry_param e;
	struct node *dir = node_of(parent);
	int r = hidden(dir, name) ? -EPERM : change_begin();

	if (r == 0) {
		r = mknodat(dir->fd, name, mode, rdev) < 0 ? -errno : made_locked(dir, name, &e);
		change_end(0);
	}
	reply_entry(req, r, &e);
}

static void c_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	struct node *dir = node_of(parent);
	int r = hidden(dir, name) ? -EPERM : change_begin();

	if (r == 0) {
		r = symlinkat(target, dir->fd, name) < 0 ? -errno : made_locked(dir, name, &e);
		change_end(0);
	}
	reply_entry(req, r, &e);
}

static void c_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	struct node *dir = node_of(parent);
	char buf[PROC_LEN];
	int r = hidden(dir, name) ? -EPERM : change_begin();

	if (r == 0) {
		if (linkat(AT_FDCWD, proc_path(node_of(ino)->fd, buf), dir->fd, name,
			    AT_SYMLINK_FOLLOW) < 0) {
			r = -errno;
		} else {
			op_new_locked(OP_LINK, dir, name);
			r = entry_locked(dir, name, &e);
		}
		change_end(0);
	}
	reply_entry(req, r, &e);
}

static int dir_is_empty(const struct node *n)
{
	int fd = node_open(n, O_RDONLY | O_DIRECTORY), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = -ENOTEMPTY;
	closedir(d);
	return r;
}

/* Moves dir/name to the trash, where it waits for a sync; the caller logs it. */
static int trash_locked(struct node *dir, const char *name, struct node *victim, unsigned *ret)
{
	char buf[PROC_LEN];

	*ret = ++g.ntrash;
	if (renameat(dir->fd, name, g.trash_fd, trash_name(*ret, buf)) < 0)
		return -errno;
	victim->trashed++;
	victim->logged++;
	return 0;
}

static int remove_locked(struct node *dir, const char *name, bool is_dir)
{
	struct node *n;
	struct stat st;
	struct op *o;
	unsigned trash;
	int r = node_get_locked(dir, name, &n);

	if (r == 0)
		r = node_stat(n, &st);
	if (r == 0 && S_ISDIR(st.st_mode) != is_dir)
		r = is_dir ? -ENOTDIR : -EISDIR;
	if (r == 0 && is_dir)
		r = dir_is_empty(n);
	if (r == 0)
		r = trash_locked(dir, name, n, &trash);
	if (r < 0)
		return r;
	o = op_new_locked(OP_REMOVE, dir, name);
	o->victim = n;
	o->trash = trash;
	return 0;
}

static void remove_common(fuse_req_t req, fuse_ino_t parent, const char *name, bool is_dir)
{
	int r = hidden(node_of(parent), name) ? -EPERM : change_begin();

	if (r == 0)
		r = change_end(remove_locked(node_of(parent), name, is_dir));
	fuse_reply_err(req, -r);
}

static void c_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_common(req, parent, name, false);
}

static void c_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_common(req, parent, name, true);
}

/* What rename(2) itself would refuse must be refused before the victim goes to the trash. */
static int may_replace(const struct node *src, const struct node *victim)
{
	struct stat a, b;

	if (node_stat(src, &a) < 0 || node_stat(victim, &b) < 0)
		return -EIO;
	if (S_ISDIR(a.st_mode) && !S_ISDIR(b.st_mode))
		return -ENOTDIR;
	if (!S_ISDIR(a.st_mode) && S_ISDIR(b.st_mode))
		return -EISDIR;
	return S_ISDIR(b.st_mode) ? dir_is_empty(victim) : 0;
}

static int rename_locked(
	struct node *d1, const char *n1, struct node *d2, const char *n2, unsigned flags)
{
	struct node *src, *victim = NULL;
	unsigned trash = 0;
	char buf[PROC_LEN];
	struct op *o;
	int r = node_get_locked(d1, n1, &src);

	if (r < 0)
		return r;
	r = node_get_locked(d2, n2, &victim);
	if (r < 0 && r != -ENOENT)
		return r;
	if (victim == src && !(flags & RENAME_NOREPLACE))
		return 0; /* two links of one file, or itself */
	if (victim && !flags) {
		r = may_replace(src, victim);
		if (r == 0)
			r = trash_locked(d2, n2, victim, &trash);
		if (r < 0)
			return r;
	}
	if (renameat2(d1->fd, n1, d2->fd, n2, flags) < 0) {
		r = -errno;
		if (trash && renameat(g.trash_fd, trash_name(trash, buf), d2->fd, n2) < 0)
			abort();
		if (trash) {
			victim->trashed--;
			victim->logged--;
		}
		return r;
	}
	o = op_new_locked(flags & RENAME_EXCHANGE ? OP_EXCHANGE : OP_RENAME, d1, n1);
	o->dir2 = d2;
	d2->logged++;
	o->name2 = must(strdup(n2));
	o->victim = trash ? victim : NULL;
	o->trash = trash;
	return 0;
}

static void c_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned flags)
{
	struct node *d1 = node_of(parent), *d2 = node_of(newparent);
	int r = flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? -EINVAL : 0;

	if (hidden(d1, name) || hidden(d2, newname))
		r = -EPERM;
	if (r == 0)
		r = change_begin();
	if (r == 0)
		r = change_end(rename_locked(d1, name, d2, newname, flags));
	fuse_reply_err(req, -r);
}

/* ---- open files ---- */

/* The backing file is opened for reading too (old pages are read back), and never with O_APPEND
 * (the kernel says where to write). */
static int backing_flags(int flags)
{
	int keep = flags & ~(O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_TRUNC | O_CREAT | O_EXCL |
				   O_ACCMODE | O_NOFOLLOW);

	return keep | ((flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR);
}

static void c_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd;

	if (ino == CTL_INO) {
		fi->direct_io = 1;
		fuse_reply_open(req, fi);
		return;
	}
	if (!alive(req))
		return;
	fd = node_open(node_of(ino), backing_flags(fi->flags));
	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	if (fuse_reply_open(req, fi) == -ENOENT)
		close(fd);
}

static int create_locked(struct node *dir, const char *name, mode_t mode, struct fuse_file_info *fi,
	struct fuse_entry_param *e)
{
	int fd = openat(dir->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode), r;

	if (fd >= 0) {
		fi->fh = (uint64_t)fd;
		r = made_locked(dir, name, e);
	} else if (errno == EEXIST && !(fi->flags & O_EXCL)) {
		r = entry_locked(dir, name, e);
		if (r == 0 && fi->flags & O_TRUNC)
			r = truncate_locked(node_of(e->ino), 0);
		fd = r < 0 ? -1 : node_open(node_of(e->ino), backing_flags(fi->flags));
		if (r == 0 && fd < 0)
			r = -errno;
		fi->fh = (uint64_t)fd;
	} else {
		r = -errno;
	}
	if (r < 0 && fd >= 0)
		close(fd);
	return r;
}

static void c_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	int r = hidden(node_of(parent), name) ? -EPERM : change_begin();

	if (r == 0)
		r = change_end(create_locked(node_of(parent), name, mode, fi, &e));
	fi->keep_cache = 1;
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (fuse_reply_create(req, &e, fi) == -ENOENT)
		close((int)fi->fh);
}

static void c_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino != CTL_INO)
		close((int)fi->fh);
	fuse_reply_err(req, 0);
}

static void c_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	char *buf, text[128];
	ssize_t k;

	if (ino == CTL_INO) {
		pthread_mutex_lock(&g.lock);
		snprintf(text, sizeof text, "%s changes=%llu names=%u\n", g.dead ? "cut" : "live",
			(unsigned long long)g.changes, g.nlog);
		pthread_mutex_unlock(&g.lock);
		k = (ssize_t)strlen(text);
		fuse_reply_buf(req, text, off ? 0 : (size_t)k < size ? (size_t)k : size);
		return;
	}
	if (!alive(req))
		return;
	buf = must(malloc(size));
	k = pread((int)fi->fh, buf, size, off);
	if (k < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, buf, (size_t)k);
	free(buf);
}

static void ctl_write(fuse_req_t req, const char *buf, size_t size)
{
	char text[64] = "";
	unsigned long long seed, n = 0;
	int got;

	memcpy(text, buf, size < sizeof text ? size : sizeof text - 1);
	got = sscanf(text, "%llu %llu", &seed, &n);
	if (got < 1) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	pthread_mutex_lock(&g.lock);
	g.cut_seed = seed;
	g.cut_at = n ? g.changes + n : 0;
	if (!n)
		cut_locked(seed);
	pthread_mutex_unlock(&g.lock);
	fuse_reply_write(req, size);
}

static void c_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	ssize_t k = 0;
	int r;

	if (ino == CTL_INO) {
		ctl_write(req, buf, size);
		return;
	}
	r = change_begin();
	if (r == 0) {
		r = data_save_locked(n, (int)fi->fh, (uint64_t)off, (uint64_t)off + size);
		if (r == 0) {
			k = pwrite((int)fi->fh, buf, size, off);
			r = k < 0 ? -errno : 0;
		}
		change_end(0);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_write(req, (size_t)k);
}

/* With CUTFS_THROUGH set, a sync goes on to the backing directory (which may be another cutfs). */
static int through(struct node *n)
{
	int fd, r;

	if (!getenv("CUTFS_THROUGH"))
		return 0;
	fd = node_open(n, O_RDONLY);
	r = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return r;
}

static void c_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	struct stat st;
	bool commit = !datasync;
	int r = ino == CTL_INO ? 0 : change_begin();

	if (r == 0 && ino != CTL_INO) {
		r = node_stat(n, &st);
		/* fdatasync writes the journal only when reading the data back needs it */
		if (r == 0 && (n->born || (n->dirty && (uint64_t)st.st_size != n->old_size)))
			commit = true;
		if (r == 0)
			r = through(n);
		if (r == 0)
			node_synced_locked(n, !datasync);
		if (r == 0 && commit)
			log_commit_locked();
		change_end(0);
	}
	fuse_reply_err(req, -r);
}

static void c_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	int r = change_begin();

	if (r == 0) {
		r = through(node_of(ino));
		if (r == 0) {
			log_commit_locked();
			node_synced_locked(node_of(ino), true);
		}
		change_end(0);
	}
	fuse_reply_err(req, -r);
}

static int fallocate_locked(struct node *n, int fd, int mode, off_t off, off_t len)
{
	int r;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	r = data_begin_locked(n);
	if (r == 0 && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		r = data_save_locked(n, fd, (uint64_t)off, (uint64_t)(off + len));
	if (r == 0 && fallocate(fd, mode, off, len) < 0)
		r = -errno;
	return r;
}

static void c_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	int r = change_begin();

	if (r == 0)
		r = change_end(fallocate_locked(node_of(ino), (int)fi->fh, mode, off, len));
	fuse_reply_err(req, -r);
}

static void c_lseek(
	fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	off_t r;

	if (!alive(req))
		return;
	r = lseek((int)fi->fh, off, whence);
	if (r < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_lseek(req, r);
}

/* ---- directories ---- */

static void c_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd;
	DIR *d;

	if (!alive(req))
		return;
	fd = node_open(node_of(ino), O_RDONLY | O_DIRECTORY);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		fuse_reply_err(req, errno);
		if (fd >= 0)
			close(fd);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)d;
	if (fuse_reply_open(req, fi) == -ENOENT)
		closedir(d);
}

static void c_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	DIR *d = (DIR *)(uintptr_t)fi->fh;
	struct dirent *e;
	size_t used = 0;
	char *buf;
	int err;

	if (!alive(req))
		return;
	buf = must(malloc(size));
	pthread_mutex_lock(&g.lock); /* a directory stream has one reader at a time */
	if (off == 0)
		rewinddir(d);
	else
		seekdir(d, off);
	for (errno = 0; (e = readdir(d)); errno = 0) {
		struct stat st = {.st_ino = e->d_ino, .st_mode = (mode_t)e->d_type << 12};
		size_t k;

		if (hidden(node_of(ino), e->d_name))
			continue;
		k = fuse_add_direntry(req, buf + used, size - used, e->d_name, &st, e->d_off);
		if (k > size - used)
			break;
		used += k;
	}
	err = e ? 0 : errno;
	pthread_mutex_unlock(&g.lock);
	if (err && !used)
		fuse_reply_err(req, err);
	else
		fuse_reply_buf(req, buf, used);
	free(buf);
}

static void c_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	closedir((DIR *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void c_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	if (fstatvfs(g.trash_fd, &st) < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

/* ---- extended attributes ---- */

static int attr_save_locked(struct node *n, const char *name)
{
	char buf[PROC_LEN];
	const char *path = proc_path(n->fd, buf);
	struct oldattr *a;
	ssize_t k;
	int r = meta_begin_locked(n);

	if (r < 0)
		return r;
	LIST_FOREACH (a, &n->attrs, link) {
		if (!strcmp(a->name, name))
			return 0;
	}
	a = must(malloc(sizeof *a + XATTR_SIZE_MAX));
	k = getxattr(path, name, a->value, XATTR_SIZE_MAX);
	if (k < 0 && errno != ENODATA) {
		r = -errno;
		free(a);
		return r;
	}
	a->existed = k >= 0;
	a->len = k < 0 ? 0 : (size_t)k;
	a = must(realloc(a, sizeof *a + a->len));
	a->name = must(strdup(name));
	LIST_INSERT_HEAD(&n->attrs, a, link);
	return 0;
}

static void c_setxattr(
	fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	char buf[PROC_LEN];
	int r = ino == CTL_INO ? -EPERM : change_begin();

	if (r == 0) {
		struct node *n = node_of(ino);

		r = attr_save_locked(n, name);
		if (r == 0 && setxattr(proc_path(n->fd, buf), name, value, size, flags) < 0)
			r = -errno;
		change_end(0);
	}
	fuse_reply_err(req, -r);
}

static void c_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	char buf[PROC_LEN];
	int r = ino == CTL_INO ? -EPERM : change_begin();

	if (r == 0) {
		struct node *n = node_of(ino);

		r = attr_save_locked(n, name);
		if (r == 0 && removexattr(proc_path(n->fd, buf), name) < 0)
			r = -errno;
		change_end(0);
	}
	fuse_reply_err(req, -r);
}

static void reply_attr_bytes(fuse_req_t req, ssize_t k, const char *value, size_t size)
{
	if (k < 0)
		fuse_reply_err(req, errno);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)k);
	else
		fuse_reply_buf(req, value, (size_t)k);
}

static void c_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char buf[PROC_LEN], *value;
	ssize_t k;

	/* the kernel asks for security.capability before every write */
	if (ino == CTL_INO || !strncmp(name, "security.", 9)) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	if (!alive(req))
		return;
	value = size ? must(malloc(size)) : NULL;
	k = getxattr(proc_path(node_of(ino)->fd, buf), name, value, size);
	reply_attr_bytes(req, k, value, size);
	free(value);
}

static void c_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char buf[PROC_LEN], *value;
	ssize_t k;

	if (ino == CTL_INO) {
		fuse_reply_xattr(req, 0);
		return;
	}
	if (!alive(req))
		return;
	value = size ? must(malloc(size)) : NULL;
	k = listxattr(proc_path(node_of(ino)->fd, buf), value, size);
	reply_attr_bytes(req, k, value, size);
	free(value);
}

static void c_init(void *data, struct fuse_conn_info *conn)
{
	/* every truncate is to come as one; our own writes are not to drop the page cache */
	conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA |
				  FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_write = 1 << 20;
	conn->max_background = 64;
}

static const struct fuse_lowlevel_ops ops = {
	.init = c_init,
	.lookup = c_lookup,
	.forget = c_forget,
	.forget_multi = c_forget_multi,
	.getattr = c_getattr,
	.setattr = c_setattr,
	.readlink = c_readlink,
	.mknod = c_mknod,
	.mkdir = c_mkdir,
	.symlink = c_symlink,
	.link = c_link,
	.unlink = c_unlink,
	.rmdir = c_rmdir,
	.rename = c_rename,
	.open = c_open,
	.create = c_create,
	.read = c_read,
	.write = c_write,
	.release = c_release,
	.fsync = c_fsync,
	.fsyncdir = c_fsyncdir,
	.fallocate = c_fallocate,
	.lseek = c_lseek,
	.opendir = c_opendir,
	.readdir = c_readdir,
	.releasedir = c_releasedir,
	.statfs = c_statfs,
	.setxattr = c_setxattr,
	.getxattr = c_getxattr,
	.listxattr = c_listxattr,
	.removexattr = c_removexattr,
};

/* ---- main ---- */

static int backing_open(const char *path)
{
	struct rlimit lim;
	struct stat st;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	g.root = must(calloc(1, sizeof *g.root));
	LIST_INIT(&g.root->attrs);
	g.root->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (g.root->fd < 0 || fstatat(g.root->fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	g.root->ino = st.st_ino;
	HASH_ADD(hh, g.nodes, ino, sizeof g.root->ino, g.root);
	if (mkdirat(g.root->fd, TRASH, 0700) < 0)
		return -errno;
	g.trash_fd = openat(g.root->fd, TRASH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return g.trash_fd < 0 ? -errno : 0;
}

static int take_backing(void *data, const char *arg, int key, struct fuse_args *out)
{
	const char **backing = data;

	if (key != FUSE_OPT_KEY_NONOPT || *backing)
		return 1;
	*backing = arg;
	return 0;
}

/* Without a cut, an unmount is a clean one: everything in the trash is gone for good. */
static void power_down(void)
{
	pthread_mutex_lock(&g.lock);
	if (!g.dead) {
		log_commit_locked();
		unlinkat(g.root->fd, TRASH, AT_REMOVEDIR);
	}
	pthread_mutex_unlock(&g.lock);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts opts;
	struct fuse_loop_config loop = {.clone_fd = 0, .max_idle_threads = 10};
	struct fuse_session *se;
	const char *backing = NULL;
	int r;

	umask(0);
	if (fuse_opt_parse(&args, &backing, NULL, take_backing) < 0 ||
		fuse_parse_cmdline(&args, &opts) < 0 || !backing || !opts.mountpoint) {
		fprintf(stderr, "usage: cutfs BACKING MOUNTPOINT [-f] [-d] [-o OPT,...]\n");
		return 2;
	}
	TAILQ_INIT(&g.log);
	r = backing_open(backing);
	if (r < 0) {
		fprintf(stderr, "cutfs: %s: %s\n", backing, strerror(-r));
		return 1;
	}
	se = fuse_session_new(&args, &ops, sizeof ops, NULL);
	if (!se || fuse_set_signal_handlers(se) < 0 || fuse_session_mount(se, opts.mountpoint) < 0)
		return 1;
	if (fuse_daemonize(opts.foreground) < 0)
		return 1;
	r = fuse_session_loop_mt(se, &loop);
	fuse_session_unmount(se);
	fuse_remove_signal_handlers(se);
	fuse_session_destroy(se);
	power_down();
	fuse_opt_free_args(&args);
	free(opts.mountpoint);
	return r < 0 ? 1 : 0;
}
