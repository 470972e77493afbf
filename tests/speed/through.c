/* SPDX-License-Identifier: MIT */
/*
 * What tests/bench compares with: the least that a FUSE filesystem can do. Every request is passed
 * to the directory below, by one O_PATH descriptor for each inode that the kernel knows, found by
 * a hash of device and number. Kernel caches live as long as those of astrafs; no extended
 * attributes, so that the kernel does not ask for them; no hard links, no symbolic ones.
 *
 *	through SOURCE MOUNTPOINT      in the foreground, until unmounted
 */
#define FUSE_USE_VERSION 34
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
#include <sys/resource.h>
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
	int fd;
};

static struct node root = {.fd = -1}, *nodes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct node *of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static void proc(char ret[64], fuse_ino_t ino)
{
	snprintf(ret, 64, "/proc/self/fd/%d", of(ino)->fd);
}

static int entry(fuse_ino_t parent, const char *name, struct fuse_entry_param *e)
{
	int fd = openat(of(parent)->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct node *n = NULL;
	struct id id;

	memset(e, 0, sizeof(*e));
	memset(&id, 0, sizeof(id));
	if (fd < 0 || fstatat(fd, "", &e->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return errno;
	id.dev = e->attr.st_dev;
	id.ino = e->attr.st_ino;
	pthread_mutex_lock(&lock);
	HASH_FIND(hh, nodes, &id, sizeof(id), n);
	if (n) {
		close(fd);
	} else if ((n = calloc(1, sizeof(*n)))) {
		n->id = id;
		n->fd = fd;
		HASH_ADD(hh, nodes, id, sizeof(id), n);
	}
	if (n)
		n->lookups++;
	pthread_mutex_unlock(&lock);
	e->ino = (fuse_ino_t)(uintptr_t)n;
	e->attr_timeout = e->entry_timeout = TIMEOUT;
	return n ? 0 : ENOMEM;
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
	struct stat st;

	(void)fi;
	if (fstatat(of(ino)->fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		fuse_reply_err(req, errno);
	else
		fuse_reply_attr(req, &st, TIMEOUT);
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int what, struct fuse_file_info *fi)
{
	char path[64];
	int r = 0;

	proc(path, ino);
	if (what & FUSE_SET_ATTR_MODE)
		r = chmod(path, st->st_mode);
	if (!r && (what & FUSE_SET_ATTR_SIZE))
		r = truncate(path, st->st_size);
	if (r)
		fuse_reply_err(req, errno);
	else
		op_getattr(req, ino, fi);
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
	int r = flags ? EINVAL : renameat(of(parent)->fd, name, of(to)->fd, new_name) ? errno : 0;

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
	char path[64];
	int fd;

	proc(path, ino);
	fd = open(path, (fi->flags & ~O_NOFOLLOW) | O_CLOEXEC);
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
	fuse_reply_data(req, &b, FUSE_BUF_SPLICE_MOVE);
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
	int fd = openat(of(ino)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	conn->want |= conn->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_background = 256;
	conn->congestion_threshold = 192;
}

static const struct fuse_lowlevel_ops ops = {
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
	struct rlimit files = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	struct fuse_session *se;
	int r;

	if (argc != 3 || !cfg)
		errx(2, "usage: through SOURCE MOUNTPOINT");
	root.fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root.fd < 0)
		err(1, "%s", argv[1]);
	if (setrlimit(RLIMIT_NOFILE, &files))
		warn("only a few files can be known at once");
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
