/* SPDX-License-Identifier: MIT */
/*
 * What tests/bench compares with: the least that a FUSE filesystem can do. Every request is passed
 * to the directory below. What the kernel knows is found by a hash of device and number: of a
 * directory a descriptor, of a file its directory and name, so that a lookup is one system call.
 * Kernel caches live as long as those of astrafs; no extended attributes, so that the kernel does
 * not ask for them, unless it is told to have them: then it has none; no links. libfuse's example
 * passthrough_ll is no rival: it keeps inodes in a list.
 *
 *	through [-x] SOURCE MOUNTPOINT      in the foreground, until unmounted; -x: with attributes
 */
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <uthash.h>

#define TIMEOUT 10.0

struct id {
	dev_t dev;
	ino_t ino;
};

struct node {
	UT_hash_handle hh;
	struct id id;
	uint64_t lookups;
	int fd;		     /* of a directory */
	struct node *parent; /* of a file: under lock */
	char name[256];
};

static struct node root = {.fd = -1}, *nodes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct node *of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static void place(struct node *n, struct node *parent, const char *name)
{
	n->parent = parent;
	snprintf(n->name, sizeof(n->name), "%s", name);
}

static struct node *find_locked(const struct stat *st)
{
	struct node *n = NULL;
	struct id id;

	memset(&id, 0, sizeof(id));
	id.dev = st->st_dev;
	id.ino = st->st_ino;
	HASH_FIND(hh, nodes, &id, sizeof(id), n);
	return n;
}

static struct node *add_locked(const struct stat *st, int dir, const char *name)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->id.dev = st->st_dev;
	n->id.ino = st->st_ino;
	n->fd = S_ISDIR(st->st_mode) ? openat(dir, name, O_PATH | O_CLOEXEC) : -1;
	HASH_ADD(hh, nodes, id, sizeof(n->id), n);
	return n;
}

static int entry(fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	struct node *n;

	memset(e, 0, sizeof(*e));
	if (fstatat(of(parent)->fd, name, &e->attr, AT_SYMLINK_NOFOLLOW))
		return errno;
	pthread_mutex_lock(&lock);
	n = find_locked(&e->attr);
	if (!n)
		n = add_locked(&e->attr, of(parent)->fd, name);
	if (n) {
		place(n, of(parent), name);
		n->lookups++;
	}
	pthread_mutex_unlock(&lock);
	e->ino = (fuse_ino_t)(uintptr_t)n;
	e->attr_timeout = e->entry_timeout = TIMEOUT;
	return n ? 0 : ENOMEM;
}

/* Where ino is: a directory by its descriptor alone. */
static int where(fuse_ino_t ino, char name[256])
{
	struct node *n = of(ino);
	int fd = n->fd;

	name[0] = '\0';
	if (fd >= 0)
		return fd;
	pthread_mutex_lock(&lock);
	memcpy(name, n->name, sizeof(n->name));
	fd = n->parent->fd;
	pthread_mutex_unlock(&lock);
	return fd;
}

static int open_node(fuse_ino_t ino, int flags)
{
	char name[256];
	int dir = where(ino, name);

	return openat(dir, *name ? name : ".", flags | O_CLOEXEC);
}

static void forget_one(fuse_ino_t ino, uint64_t count)
{
	struct node *n = of(ino);

	if (n == &root)
		return;
	pthread_mutex_lock(&lock);
	n->lookups -= count;
	if (!n->lookups) {
		HASH_DEL(nodes, n);
		if (n->fd >= 0)
			close(n->fd);
		free(n);
	}
	pthread_mutex_unlock(&lock);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e;
	int r = entry(parent, name, &e);

	if (r)
		fuse_reply_err(req, r);
	else
		fuse_reply_entry(req, &e);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget_one(ino, count);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *f)
{
	for (size_t i = 0; i < n; i++)
		forget_one(f[i].ino, f[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	char name[256];
	struct stat st;
	int dir = where(ino, name);

	(void)fi;
	if (fstatat(dir, name, &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		fuse_reply_err(req, errno);
	else
		fuse_reply_attr(req, &st, TIMEOUT);
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int what, struct fuse_file_info *fi)
{
	bool cut = what & FUSE_SET_ATTR_SIZE;
	int fd = open_node(ino, cut ? O_WRONLY : O_RDONLY);

	if (fd < 0 || ((what & FUSE_SET_ATTR_MODE) && fchmod(fd, st->st_mode)) ||
		(cut && ftruncate(fd, st->st_size)))
		fuse_reply_err(req, errno);
	else
		op_getattr(req, ino, fi);
	if (fd >= 0)
		close(fd);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	if (mkdirat(of(parent)->fd, name, mode))
		fuse_reply_err(req, errno);
	else
		op_lookup(req, parent, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, unlinkat(of(parent)->fd, name, 0) ? errno : 0);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, unlinkat(of(parent)->fd, name, AT_REMOVEDIR) ? errno : 0);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
	const char *new_name, unsigned flags)
{
	struct node *n;
	struct stat st;
	int r = flags ? EINVAL : renameat(of(parent)->fd, name, of(to)->fd, new_name) ? errno : 0;

	if (!r && !fstatat(of(to)->fd, new_name, &st, AT_SYMLINK_NOFOLLOW)) {
		pthread_mutex_lock(&lock);
		n = find_locked(&st);
		if (n)
			place(n, of(to), new_name);
		pthread_mutex_unlock(&lock);
	}
	fuse_reply_err(req, r);
}

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	int fd =
		openat(of(parent)->fd, name, (fi->flags | O_CREAT | O_CLOEXEC) & ~O_NOFOLLOW, mode);
	struct fuse_entry_param e;
	int r = fd < 0 ? errno : entry(parent, name, &e);

	if (r) {
		fuse_reply_err(req, r);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	fuse_reply_create(req, &e, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd = open_node(ino, fi->flags & ~O_NOFOLLOW);

	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_bufvec b = FUSE_BUFVEC_INIT(size);

	(void)ino;
	b.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	b.buf[0].fd = (int)fi->fh;
	b.buf[0].pos = off;
	fuse_reply_data(req, &b, FUSE_BUF_NO_SPLICE);
}

static void op_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t off,
	struct fuse_file_info *fi)
{
	struct fuse_bufvec out = FUSE_BUFVEC_INIT(fuse_buf_size(in));
	ssize_t n;

	(void)ino;
	out.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	out.buf[0].fd = (int)fi->fh;
	out.buf[0].pos = off;
	n = fuse_buf_copy(&out, in, 0);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fuse_reply_err(req, close(dup((int)fi->fh)) ? errno : 0);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close((int)fi->fh);
	fuse_reply_err(req, 0);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd = open_node(ino, O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)d;
	fuse_reply_open(req, fi);
}

static size_t add(
	fuse_req_t req, fuse_ino_t ino, char *at, size_t room, const struct dirent *de, bool plus)
{
	struct fuse_entry_param e = {.attr = {.st_ino = de->d_ino, .st_mode = DTTOIF(de->d_type)}};
	size_t n;

	if (!plus)
		return fuse_add_direntry(req, at, room, de->d_name, &e.attr, de->d_off);
	if (strcmp(de->d_name, ".") && strcmp(de->d_name, "..") && entry(ino, de->d_name, &e))
		return 0; /* just removed */
	n = fuse_add_direntry_plus(req, at, room, de->d_name, &e, de->d_off);
	if (n > room && e.ino)
		forget_one(e.ino, 1);
	return n;
}

static void readdir_any(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, DIR *d, bool plus)
{
	char *buf = malloc(size);
	struct dirent *de;
	size_t used = 0;

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (off != telldir(d))
		seekdir(d, off);
	while ((de = readdir(d))) {
		size_t n = add(req, ino, buf + used, size - used, de, plus);

		if (n > size - used)
			break;
		used += n;
		off = de->d_off;
	}
	if (de)
		seekdir(d, off);
	fuse_reply_buf(req, buf, used);
	free(buf);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, (DIR *)(uintptr_t)fi->fh, false);
}

static void op_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, (DIR *)(uintptr_t)fi->fh, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	closedir((DIR *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	fuse_reply_err(req, (datasync ? fdatasync((int)fi->fh) : fsync((int)fi->fh)) ? errno : 0);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;

	if (fstatvfs(of(ino)->fd, &st))
		fuse_reply_err(req, errno);
	else
		fuse_reply_statfs(req, &st);
}

/* Of a filesystem that has any the kernel asks for a file's capabilities before it is written. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino;
	(void)name;
	(void)size;
	fuse_reply_err(req, ENODATA);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	/* Pipes cost more than they save, also for large requests: measured. */
	conn->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_background = 256;
	conn->congestion_threshold = 192;
}

static struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.create = op_create,
	.open = op_open,
	.read = op_read,
	.write_buf = op_write_buf,
	.flush = op_flush,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsync = op_fsync,
	.statfs = op_statfs,
};

int main(int argc, char **argv)
{
	char *opts[] = {argv[0], "-o", "default_permissions,nosuid,nodev,fsname=through"};
	struct fuse_args args = FUSE_ARGS_INIT(3, opts);
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	struct fuse_session *se;
	int r;

	if (argc == 4 && !strcmp(argv[1], "-x")) {
		ops.getxattr = op_getxattr;
		argc--;
		argv++;
	}
	if (argc != 3 || !cfg)
		errx(2, "usage: through [-x] SOURCE MOUNTPOINT");
	root.fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root.fd < 0)
		err(1, "%s", argv[1]);
	umask(0);
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!se || fuse_set_signal_handlers(se) || fuse_session_mount(se, argv[2]))
		return 1;
	r = fuse_session_loop_mt(se, cfg);
	fuse_session_unmount(se);
	fuse_session_destroy(se);
	fuse_loop_cfg_destroy(cfg);
	return r ? 1 : 0;
}
