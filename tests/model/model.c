/* SPDX-License-Identifier: MIT */
/*
 * Model test: the same random operations on a mount (side A) and on a plain directory (side B),
 * which is the model. After each operation both results must be the same: return value, errno,
 * bytes, attributes. At the end, and at every --every steps, the complete trees are compared.
 *
 * Everything random comes from --seed, so a failing step can be repeated; nothing that side A
 * answers steers what is done next. Differences that are allowed: where A says EOPNOTSUPP for
 * fallocate, B does not do it; SEEK_DATA and SEEK_HOLE of A may be coarser, but must be true;
 * link counts and sizes of directories are a file system's own affair; times of change only have
 * to be near each other, but times that were set have to be exact. Names below user.astra. are
 * not listed. One thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "model_priv.h"

#define SLOTS 8

static struct slot {
	int fd[2];
	ino_t ino; /* A's, which must not change while the file is open */
} slots[SLOTS];
static unsigned char noise[2 * CHUNK_MAX];

/* ---- operations on names ---- */

static void op_mkdir(void)
{
	char p[PATH_BYTES];
	long r[2];

	path_pick_as(p, chance(15));
	note("mkdir %s", p);
	for (int s = A; s <= B; s++)
		r[s] = ret(mkdirat(top[s], p, 0755));
	same(r[A], r[B]);
}

static void op_remove(void)
{
	char p[PATH_BYTES];
	int flags = chance(30) ? AT_REMOVEDIR : 0;
	long r[2];

	path_pick_as(p, !flags);
	note("%s %s", flags ? "rmdir" : "unlink", p);
	for (int s = A; s <= B; s++)
		r[s] = ret(unlinkat(top[s], p, flags));
	same(r[A], r[B]);
}

static void op_rename(void)
{
	static const unsigned kinds[] = {0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flags = kinds[below(6)], d1, d2;
	char p[PATH_BYTES], q[PATH_BYTES];
	bool dirs = chance(30);
	struct stat st, sq;
	long r[2];

	path_pick_as(p, !dirs);
	path_pick_as(q, !dirs);
	d1 = depth_of(p);
	d2 = depth_of(q);
	/* directories never move down, so that no path becomes longer than a key may be */
	if (fstatat(top[B], p, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) && d2 > d1)
		flags = UINT32_MAX;
	if (flags == RENAME_EXCHANGE && d1 > d2 &&
		fstatat(top[B], q, &sq, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(sq.st_mode))
		flags = UINT32_MAX;
	if (flags == UINT32_MAX) {
		note("no rename");
		return;
	}
	note("rename%s %s -> %s",
		flags == 0		   ? ""
		: flags == RENAME_EXCHANGE ? " exchange"
					   : " noreplace",
		p, q);
	for (int s = A; s <= B; s++)
		r[s] = ret(renameat2(top[s], p, top[s], q, flags));
	same(r[A], r[B]);
}

static void op_symlink(void)
{
	char p[PATH_BYTES], target[PATH_BYTES] = "";
	long r[2];

	path_pick(p);
	name_add(target, true); /* beside the link: no target can leave the tree */
	note("symlink %s -> %s", p, target);
	for (int s = A; s <= B; s++)
		r[s] = ret(symlinkat(target, top[s], p));
	same(r[A], r[B]);
}

static void op_readlink(void)
{
	char p[PATH_BYTES];
	long r[2];

	path_pick(p);
	note("readlink %s", p);
	for (int s = A; s <= B; s++)
		r[s] = ret(readlinkat(top[s], p, (char *)got[s], CHUNK_MAX));
	same(r[A], r[B]);
	if (r[A] > 0)
		same_bytes((size_t)r[A], 0, "link");
}

static void op_stat(void)
{
	char p[PATH_BYTES];
	int flags = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	struct stat st[2];
	long r[2];

	path_pick(p);
	note("stat %s", p);
	for (int s = A; s <= B; s++)
		r[s] = ret(fstatat(top[s], p, &st[s], flags));
	same(r[A], r[B]);
	if (r[A] == 0)
		same_stat(&st[A], &st[B], p);
}

static void op_chmod(void)
{
	char p[PATH_BYTES];
	mode_t mode = (mode_t)(below(01000) | 0400);
	struct stat st;
	long r[2];

	path_pick(p);
	if (opt.suid && fstatat(top[B], p, &st, 0) == 0 && S_ISREG(st.st_mode) && chance(10))
		mode |= S_ISUID;
	note("chmod %o %s", mode, p);
	for (int s = A; s <= B; s++)
		r[s] = ret(fchmodat(top[s], p, mode, 0));
	same(r[A], r[B]);
}

static void op_chown(void)
{
	char p[PATH_BYTES];
	uid_t uid = chance(30) ? (uid_t)-1 : (uid_t)below(3);
	gid_t gid = chance(30) ? (gid_t)-1 : (gid_t)below(3);
	int flags = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	long r[2];

	path_pick(p);
	note("chown %d:%d %s", (int)uid, (int)gid, p);
	for (int s = A; s <= B; s++)
		r[s] = ret(fchownat(top[s], p, uid, gid, flags));
	same(r[A], r[B]);
}

static void op_utimens(void)
{
	char p[PATH_BYTES];
	struct timespec ts[2] = {{(time_t)below(4000000000), (long)below(1000000000)},
		{(time_t)below(4000000000), (long)below(1000000000)}};
	int flags = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	struct stat st;
	long r[2];

	path_pick(p);
	note("utimens %s %lld", p, (long long)ts[1].tv_sec);
	for (int s = A; s <= B; s++) {
		r[s] = ret(utimensat(top[s], p, ts, flags));
		if (r[s] == 0 && fstatat(top[s], p, &st, flags) == 0 &&
			(memcmp(&st.st_mtim, &ts[1], sizeof ts[1]) ||
				memcmp(&st.st_atim, &ts[0], sizeof ts[0])))
			fail("times were not kept on %c", "AB"[s]);
	}
	same(r[A], r[B]);
}

static void op_truncate(void)
{
	char p[PATH_BYTES], full[PATH_BYTES * 2];
	off_t size = (off_t)below(opt.max_size);
	long r[2];

	path_pick(p);
	note("truncate %s %lld", p, (long long)size);
	for (int s = A; s <= B; s++) {
		snprintf(full, sizeof full, "%s/%s", opt.dir[s], p);
		r[s] = ret(truncate(full, size));
	}
	same(r[A], r[B]);
}

static void op_readdir(void)
{
	struct list l[2] = {{0}};
	char p[PATH_BYTES];
	unsigned hop = chance(30) ? (unsigned)below(4) : 0;
	long r[2];

	dir_pick(p);
	note("readdir %s", p);
	for (int s = A; s <= B; s++)
		r[s] = dir_read(s, p, &l[s], hop);
	same(r[A], r[B]);
	if (opt.nroots && !strcmp(p, "."))
		list_done(&l[A]), list_done(&l[B]);
	else
		list_same(l, p);
}

static void op_xattr(void)
{
	char p[PATH_BYTES], full[PATH_BYTES * 2], name[32];
	unsigned kind = (unsigned)below(5);
	size_t len = below(XATTR_MAX);
	const unsigned char *value = noise + below(CHUNK_MAX);
	int flags = (int)(below(6) > 3 ? below(2) + 1 : 0); /* XATTR_CREATE, XATTR_REPLACE */
	long r[2];

	path_pick(p);
	snprintf(name, sizeof name, "user.x%u", (unsigned)below(4));
	note("xattr %s %s %s", kind < 2 ? "set" : kind < 4 ? "get" : "remove", p, name);
	for (int s = A; s <= B; s++) {
		snprintf(full, sizeof full, "%s/%s", opt.dir[s], p);
		if (kind < 2)
			r[s] = ret(lsetxattr(full, name, value, len, flags));
		else if (kind < 4)
			r[s] = ret(lgetxattr(full, name, got[s], below(2) ? XATTR_MAX : XATTR_MAX));
		else
			r[s] = ret(lremovexattr(full, name));
	}
	same(r[A], r[B]);
	if (kind >= 2 && kind < 4 && r[A] > 0)
		same_bytes((size_t)r[A], 0, name);
	else if (r[A] == 0 && chance(20))
		same_xattrs(p);
}

/* ---- operations on open files ---- */

static void slot_close(struct slot *f)
{
	long r[2];

	if (f->fd[B] < 0)
		return;
	for (int s = A; s <= B; s++) {
		r[s] = ret(close(f->fd[s]));
		f->fd[s] = -1;
	}
	same(r[A], r[B]);
}

static void op_open(void)
{
	struct slot *f = &slots[below(SLOTS)];
	static const int extra[] = {0, 0, O_CREAT, O_CREAT, O_CREAT, O_CREAT | O_EXCL,
		O_CREAT | O_TRUNC, O_TRUNC, O_NOFOLLOW, O_CREAT | O_APPEND};
	int flags = extra[below(sizeof extra / sizeof extra[0])] | (int)below(3);
	char p[PATH_BYTES];
	struct stat st;
	long r[2];

	if (chance(50))
		flags = (flags & ~O_ACCMODE) | O_RDWR;
	path_pick(p);
	note("open %s flags %o in slot %d", p, flags, (int)(f - slots));
	slot_close(f);
	for (int s = A; s <= B; s++) {
		f->fd[s] = openat(top[s], p, flags | O_CLOEXEC, 0644);
		r[s] = f->fd[s] < 0 ? -errno : 0;
	}
	same(r[A], r[B]);
	if (r[B] == 0 && fstat(f->fd[A], &st) == 0)
		f->ino = st.st_ino;
}

static struct slot *slot_pick(void)
{
	struct slot *f = NULL;

	for (int i = 0; i < 8 && (!f || f->fd[B] < 0); i++)
		f = &slots[below(SLOTS)];
	return f;
}

static uint64_t off_pick(void)
{
	return chance(40)   ? 0
	       : chance(40) ? below(opt.max_size) & ~UINT64_C(4095)
			    : below(opt.max_size);
}

static size_t len_pick(void)
{
	size_t n = chance(50) ? below(200) : chance(80) ? below(8192) : below(CHUNK_MAX);

	return n > opt.max_size ? (size_t)opt.max_size : n;
}

static void op_write(void)
{
	struct slot *f = slot_pick();
	uint64_t off = off_pick();
	size_t len = len_pick();
	const unsigned char *p = noise + below(CHUNK_MAX);
	bool append = chance(20);
	struct stat st;
	long r[2];

	if (fstat(f->fd[B], &st) == 0 && (uint64_t)st.st_size > 2 * opt.max_size)
		append = false; /* an O_APPEND file that grew enough is cut below */
	note("%s slot %d at %llu, %zu bytes", append ? "append" : "write", (int)(f - slots),
		(unsigned long long)off, len);
	for (int s = A; s <= B; s++) {
		if (append)
			off = (uint64_t)lseek(f->fd[s], 0, SEEK_END);
		r[s] = ret(append ? write(f->fd[s], p, len) : pwrite(f->fd[s], p, len, (off_t)off));
	}
	same(r[A], r[B]);
}

static void op_read(void)
{
	struct slot *f = slot_pick();
	uint64_t off = off_pick();
	size_t len = chance(30) ? CHUNK_MAX : len_pick();
	long r[2];

	note("read slot %d at %llu, %zu bytes", (int)(f - slots), (unsigned long long)off, len);
	for (int s = A; s <= B; s++)
		r[s] = ret(pread(f->fd[s], got[s], len, (off_t)off));
	same(r[A], r[B]);
	if (r[A] > 0 && memcmp(got[A], got[B], (size_t)r[A]))
		same_bytes((size_t)r[A], off, "read");
}

static void op_read_all(void)
{
	struct slot *f = slot_pick();

	note("read all of slot %d", (int)(f - slots));
	same_content(f->fd[A], f->fd[B], "content");
}

static void op_fstat(void)
{
	struct slot *f = slot_pick();
	struct stat st[2];
	long r[2];

	note("fstat slot %d", (int)(f - slots));
	for (int s = A; s <= B; s++)
		r[s] = ret(fstat(f->fd[s], &st[s]));
	same(r[A], r[B]);
	if (r[A] < 0)
		return;
	same_stat(&st[A], &st[B], "open file");
	if (st[A].st_ino != f->ino)
		fail("the inode number changed from %llu to %llu", (unsigned long long)f->ino,
			(unsigned long long)st[A].st_ino);
}

static void op_ftruncate(void)
{
	struct slot *f = slot_pick();
	off_t size = (off_t)off_pick();
	long r[2];

	note("ftruncate slot %d to %lld", (int)(f - slots), (long long)size);
	for (int s = A; s <= B; s++)
		r[s] = ret(ftruncate(f->fd[s], size));
	same(r[A], r[B]);
}

static void op_fallocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
	struct slot *f = slot_pick();
	int mode = modes[below(5)];
	off_t off = (off_t)off_pick(), len = (off_t)len_pick();
	long r[2];

	note("fallocate slot %d mode %d at %lld, %lld", (int)(f - slots), mode, (long long)off,
		(long long)len);
	r[A] = ret(fallocate(f->fd[A], mode, off, len));
	if (r[A] == -EOPNOTSUPP)
		return;
	r[B] = ret(fallocate(f->fd[B], mode, off, len));
	same(r[A], r[B]);
}

static bool zeros(int fd, off_t from, off_t to)
{
	while (from < to) {
		size_t want = to - from < CHUNK_MAX ? (size_t)(to - from) : CHUNK_MAX;
		ssize_t n = pread(fd, got[B], want, from);

		if (n <= 0)
			return true;
		for (ssize_t i = 0; i < n; i++)
			if (got[B][i])
				return false;
		from += n;
	}
	return true;
}

static void op_lseek(void)
{
	struct slot *f = slot_pick();
	int whence = (int)below(5);
	off_t off = (off_t)off_pick(), size;
	struct stat st;
	long r[2];

	note("lseek slot %d to %lld whence %d", (int)(f - slots), (long long)off, whence);
	if (fstat(f->fd[B], &st) == 0 && S_ISDIR(st.st_mode))
		return; /* an offset in a directory means nothing to others */
	for (int s = A; s <= B; s++)
		r[s] = ret(lseek(f->fd[s], off, whence));
	size = lseek(f->fd[B], 0, SEEK_END);
	if (whence <= SEEK_END || off >= size || size < 0) {
		same(r[A], r[B]);
	} else if (whence == SEEK_DATA) {
		if (!(r[A] >= off && r[A] < size) && r[A] != -ENXIO)
			fail("data at %ld of %lld", r[A], (long long)size);
		if (!zeros(f->fd[B], off, r[A] < 0 ? size : r[A]))
			fail("data before %ld, where A says it starts", r[A]);
	} else if (r[A] < off || r[A] > size || !zeros(f->fd[B], r[A], r[A] + (r[A] < size))) {
		fail("no hole at %ld of %lld", r[A], (long long)size);
	}
	for (int s = A; s <= B; s++)
		lseek(f->fd[s], off, SEEK_SET);
}

static void op_mmap(void)
{
	struct slot *f = slot_pick();
	unsigned char *m[2] = {MAP_FAILED, MAP_FAILED};
	struct stat st;
	size_t off, len, size = fstat(f->fd[B], &st) < 0 ? 0 : (size_t)st.st_size;
	int prot = chance(60) ? PROT_READ | PROT_WRITE : PROT_READ;
	long r[2];

	off = below(size);
	len = len_pick();
	len = len > size - off ? size - off : len;
	note("mmap slot %d, %s %zu bytes at %zu", (int)(f - slots),
		prot & PROT_WRITE ? "write" : "read", len, off);
	for (int s = A; s <= B; s++) {
		m[s] = mmap(NULL, size ? size : 4096, prot, MAP_SHARED, f->fd[s], 0);
		r[s] = m[s] == MAP_FAILED ? -errno : 0;
	}
	same(r[A], r[B]);
	if (r[B] < 0)
		return;
	if (size && memcmp(m[A], m[B], size))
		fail("mapped bytes differ");
	for (int s = A; s <= B && prot & PROT_WRITE && len; s++) {
		memcpy(m[s] + off, noise + step % CHUNK_MAX, len);
		if (s == A && !opt.no_fsync && chance(50))
			r[s] = ret(msync(m[s], size, MS_SYNC));
		else /* out of the page cache, or A cannot know that its time changed */
			r[s] = ret(sync_file_range(f->fd[s], 0, 0,
				s == B ? 0
				       : SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
						 SYNC_FILE_RANGE_WAIT_AFTER));
	}
	same(r[A], r[B]);
	for (int s = A; s <= B; s++)
		munmap(m[s], size ? size : 4096);
}

static void op_copy_range(void)
{
	struct slot *f = slot_pick(), *g = slot_pick();
	uint64_t from = off_pick(), to = off_pick();
	size_t len = len_pick();
	long r[2];

	note("copy_file_range slot %d at %llu to slot %d at %llu, %zu", (int)(f - slots),
		(unsigned long long)from, (int)(g - slots), (unsigned long long)to, len);
	for (int s = A; s <= B; s++) {
		off64_t i = (off64_t)from, o = (off64_t)to;
		long n = 0;

		r[s] = 0;
		do {
			n = ret(copy_file_range(f->fd[s], &i, g->fd[s], &o, len - (size_t)r[s], 0));
			r[s] = n > 0 ? r[s] + n : r[s] ? r[s] : n;
		} while (n > 0 && (size_t)r[s] < len);
	}
	same(r[A], r[B]);
}

/* All of a file into an emptied one, as cp does. */
static void op_copy_whole(void)
{
	struct slot *f = slot_pick(), *g = slot_pick();
	long r[2];

	if (f == g)
		return;
	note("copy all of slot %d to slot %d", (int)(f - slots), (int)(g - slots));
	for (int s = A; s <= B; s++) {
		off64_t i = 0, o = 0;
		long n = ret(ftruncate(g->fd[s], 0));

		r[s] = 0;
		while (n == 0 || n > 0) {
			n = ret(copy_file_range(f->fd[s], &i, g->fd[s], &o, 1 << 30, 0));
			if (n <= 0)
				break;
			r[s] += n;
		}
		if (n < 0)
			r[s] = n;
	}
	same(r[A], r[B]);
}

/* Only A has something to prove here, and B is not to cost disk time. */
static void op_fsync(void)
{
	struct slot *f = slot_pick();

	note("fsync slot %d", (int)(f - slots));
	if (!opt.no_fsync && f->fd[B] >= 0)
		same(ret(chance(50) ? fsync(f->fd[A]) : fdatasync(f->fd[A])), 0);
}

static void op_close(void)
{
	struct slot *f = slot_pick();

	note("close slot %d", (int)(f - slots));
	slot_close(f);
}

static void op_fchmod(void)
{
	struct slot *f = slot_pick();
	mode_t mode = (mode_t)(below(01000) | 0400);
	long r[2];

	note("fchmod slot %d %o", (int)(f - slots), mode);
	for (int s = A; s <= B; s++)
		r[s] = ret(fchmod(f->fd[s], mode));
	same(r[A], r[B]);
}

/* ---- the run ---- */

static const struct {
	void (*fn)(void);
	unsigned weight;
} ops[] = {
	{op_open, 220},
	{op_close, 40},
	{op_write, 160},
	{op_read, 100},
	{op_read_all, 20},
	{op_fstat, 40},
	{op_ftruncate, 30},
	{op_fallocate, 25},
	{op_lseek, 30},
	{op_mmap, 30},
	{op_copy_range, 10},
	{op_copy_whole, 6},
	{op_fsync, 2},
	{op_fchmod, 10},
	{op_mkdir, 45},
	{op_remove, 60},
	{op_rename, 110},
	{op_symlink, 10},
	{op_readlink, 10},
	{op_stat, 60},
	{op_chmod, 15},
	{op_chown, 8},
	{op_utimens, 15},
	{op_truncate, 20},
	{op_readdir, 40},
	{op_xattr, 60},
};
#define OPS (sizeof ops / sizeof ops[0])

static void checkpoint(void)
{
	for (int i = 0; i < SLOTS; i++)
		slot_close(&slots[i]);
	for (int s = A; s <= B; s++)
		if (top[s] >= 0)
			close(top[s]);
	if (opt.run && system(opt.run) != 0)
		fail("%s failed", opt.run);
	for (int s = A; s <= B; s++) {
		top[s] = open(opt.dir[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (top[s] < 0)
			fail("cannot open %s: %m", opt.dir[s]);
	}
	same_tree(".", 0);
}

static void remove_below(int dirfd)
{
	int fd = dup(dirfd);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		fail("cannot clean: %m");
	rewinddir(d);
	while ((e = readdir(d))) {
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(dirfd, e->d_name, 0) == 0 || errno != EISDIR)
			continue;
		sub = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY);
		remove_below(sub);
		close(sub);
		unlinkat(dirfd, e->d_name, AT_REMOVEDIR);
	}
	closedir(d);
}

/* Opens both sides; makes the roots on B (and, on a plain directory, on A); they must be empty. */
static void sides_open(void)
{
	struct list l = {0};

	for (int s = A; s <= B; s++) {
		top[s] = open(opt.dir[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (top[s] < 0)
			fail("cannot open %s: %m", opt.dir[s]);
		for (size_t i = 0; i < (opt.nroots ? opt.nroots : 1); i++) {
			const char *root = opt.nroots ? opt.roots[i] : ".";
			int fd;

			if (opt.nroots && mkdirat(top[s], root, 0755) < 0 && errno != EEXIST)
				fail("cannot make %s/%s: %m", opt.dir[s], root);
			fd = openat(top[s], root, O_RDONLY | O_DIRECTORY);
			if (fd >= 0 && opt.clean)
				remove_below(fd);
			close(fd);
			if (dir_read(s, root, &l, 0) < 0 || l.n)
				fail("%s/%s is not an empty directory", opt.dir[s], root);
		}
	}
}

static void usage(void)
{
	fprintf(stderr,
		"usage: model --dir-a MOUNT --dir-b PLAIN [--seed S] [--steps N] [--roots "
		"A,B,...]\n"
		"  [--dirs N] [--names N] [--max-size BYTES]\n"
		"  [--every N [--run COMMAND]]  close all, run COMMAND (a remount), compare trees\n"
		"  [--time-slack SECONDS]  how far times of change may be apart; 0: not compared\n"
		"  [--clean] empties both sides first [--no-fsync] [--verbose]\n"
		"  [--suid] also sets that bit (root's writes keep it on a plain directory)\n");
	exit(2);
}

static void args_read(int argc, char **argv)
{
	static const struct option longs[] = {{"steps", 1, NULL, 'n'}, {"seed", 1, NULL, 's'},
		{"dir-a", 1, NULL, 'a'}, {"dir-b", 1, NULL, 'b'}, {"roots", 1, NULL, 'r'},
		{"dirs", 1, NULL, 'd'}, {"names", 1, NULL, 'N'}, {"max-size", 1, NULL, 'm'},
		{"every", 1, NULL, 'e'}, {"run", 1, NULL, 'R'}, {"time-slack", 1, NULL, 't'},
		{"clean", 0, NULL, 'c'}, {"no-fsync", 0, NULL, 'f'}, {"verbose", 0, NULL, 'v'},
		{0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t v = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (c) {
		case 'n':
			opt.steps = v;
			break;
		case 's':
			opt.seed = v;
			break;
		case 'a':
			opt.dir[A] = optarg;
			break;
		case 'b':
			opt.dir[B] = optarg;
			break;
		case 'd':
			opt.dirs = (unsigned)v;
			break;
		case 'N':
			opt.names = (unsigned)v;
			break;
		case 'm':
			opt.max_size = v;
			break;
		case 'e':
			opt.every = v;
			break;
		case 'R':
			opt.run = optarg;
			break;
		case 't':
			opt.time_slack_s = (int)v;
			break;
		case 'c':
			opt.clean = true;
			break;
		case 'f':
			opt.no_fsync = true;
			break;
		case 'S':
			opt.suid = true;
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'r':
			for (char *t, *list = strdup(optarg); (t = strsep(&list, ","));)
				if (opt.nroots < ROOTS_MAX)
					opt.roots[opt.nroots++] = t;
			break;
		default:
			usage();
		}
	}
	if (!opt.dir[A] || !opt.dir[B] || !opt.dirs || !opt.names || !opt.max_size)
		usage();
}

int main(int argc, char **argv)
{
	unsigned total = 0;
	double t0, secs;

	opt.argc = argc;
	opt.argv = argv;
	args_read(argc, argv);
	umask(022);
	rng = opt.seed;
	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (unsigned char)rnd();
	for (size_t i = 0; i < OPS; i++)
		total += ops[i].weight;
	for (int i = 0; i < SLOTS; i++)
		slots[i].fd[A] = slots[i].fd[B] = -1;
	sides_open();
	t0 = now_s();
	for (step = 0; step < opt.steps; step++) {
		unsigned w = (unsigned)below(total);
		size_t i = 0;

		while (w >= ops[i].weight)
			w -= ops[i++].weight;
		double begun = now_s();

		ops[i].fn();
		step_took(now_s() - begun);
		if (opt.every && step % opt.every == opt.every - 1)
			checkpoint();
	}
	step = step ? step - 1 : 0;
	checkpoint();
	secs = now_s() - t0;
	printf("model: seed %llu, %llu steps without a difference, %.0f steps/s, the slowest %.1f "
	       "s: %s\n",
		(unsigned long long)opt.seed, (unsigned long long)opt.steps,
		(double)opt.steps / (secs > 0 ? secs : 1), slowest_s, slowest_what);
	return 0;
}
