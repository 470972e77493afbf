/* SPDX-License-Identifier: MIT */
/*
 * The session: mount, loop, invalidations, and the orderly end.
 *
 * The loop runs in the thread that calls fuse_front_loop(). libfuse's main loop thread sleeps on a
 * semaphore and looks at the session's exit flag only when something wakes it, so
 * fuse_front_exit() sets the flag and interrupts it by SIGUSR2, as often as it takes.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front.h"
#include "place.h"

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define READ_AHEAD_KB 1024
#define WAKE_SIGNAL   SIGUSR2

static void on_wake(int sig)
{
	(void)sig;
}

/* libfuse prints to standard error, which is /dev/null in a daemon. */
static void on_fuse_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t len;

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	len = strlen(text);
	if (len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("fuse", "%s", text);
	else
		log_info("fuse", "%s", text);
}

errint_t fuse_front_new(
	const struct fuse_front_conf *conf, struct fuse_front **ret, struct err *err)
{
	struct fuse_front *f = calloc(1, sizeof(*f));

	assert(conf->mountpoint && *conf->mountpoint == '/');
	*ret = NULL;
	if (!f)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the FUSE session");
	f->mountpoint = strdup(conf->mountpoint);
	f->fsname = strdup(conf->fsname && *conf->fsname ? conf->fsname : "astrafs");
	f->flags = strdup(conf->flags ? conf->flags : "");
	f->ro = conf->ro;
	f->allow_other = conf->allow_other;
	f->threads = conf->threads ? conf->threads : 10;
	f->ready = conf->ready;
	f->ready_arg = conf->ready_arg;
	if (!f->mountpoint || !f->fsname || !f->flags) {
		fuse_front_destroy(f);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the FUSE session");
	}
	*ret = f;
	return 0;
}

/* The option string of the mount. A comma or backslash in the name is escaped for libfuse. */
static errint_t options_of(const struct fuse_front *f, struct buf *out)
{
	(void)buf_adds(out, "default_permissions,nosuid,nodev,subtype=astrafs,fsname=");
	for (const char *s = f->fsname; *s; s++)
		(void)buf_addf(out, *s == ',' || *s == '\\' ? "\\%c" : "%c", *s);
	if (f->ro)
		(void)buf_adds(out, ",ro");
	if (f->allow_other)
		(void)buf_adds(out, ",allow_other");
	if (*f->flags)
		(void)buf_addf(out, ",%s", f->flags);
	return out->failed;
}

static errint_t session_new(struct fuse_front *f, struct err *err)
{
	cleanup_buf struct buf opts = BUF_INIT(65536);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);

	if (options_of(f, &opts) || fuse_opt_add_arg(&args, "astrafs") ||
		fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, opts.p)) {
		fuse_opt_free_args(&args);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the FUSE session");
	}
	f->se = fuse_session_new(&args, &fuse_front_ops, sizeof(fuse_front_ops), f);
	fuse_opt_free_args(&args);
	if (!f->se)
		return err_set(
			err, -EINVAL, ERR_FINAL, "libfuse refuses the mount options '%s'", opts.p);
	return 0;
}

void fuse_front_tune(struct fuse_front *f)
{
	struct place_mount m;
	char path[96], text[16];
	cleanup_fd int fd = -1;
	int n;

	if (!place_mount_find(f->mountpoint, &m)) {
		log_info("fuse", "%s is not in the mount table: read-ahead stays as it is",
			f->mountpoint);
		return;
	}
	(void)snprintf(
		path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", m.dev_major, m.dev_minor);
	n = snprintf(text, sizeof(text), "%d\n", READ_AHEAD_KB);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		log_info("fuse", "cannot raise %s to %d: %s", path, READ_AHEAD_KB,
			err_text(NULL, -errno));
}

errint_t fuse_front_usable(struct err *err)
{
	errint_t r;

	if (access("/dev/fuse", R_OK | W_OK) == 0)
		return 0;
	r = -errno;
	return err_set(err, r, ERR_FINAL, "no usable /dev/fuse: %s; load it with 'modprobe fuse'%s",
		err_text(NULL, r), r == -EACCES ? ", or ask for access to it" : "");
}

errint_t fuse_front_mount(struct fuse_front *f, struct vfs *v, struct err *err)
{
	struct sigaction sa = {.sa_handler = on_wake}; /* no SA_RESTART: it is to interrupt */
	errint_t r;

	assert(!f->se);
	fuse_set_log_func(on_fuse_log);
	(void)sigaction(WAKE_SIGNAL, &sa, NULL);
	f->vfs = v;
	r = session_new(f, err);
	if (r)
		return r;
	r = fuse_session_mount(f->se, f->mountpoint);
	if (r) {
		fuse_session_destroy(f->se);
		f->se = NULL;
		return err_set(err, -EPERM, ERR_FINAL,
			"cannot mount at %s: /dev/fuse is there, but mounting was refused%s",
			f->mountpoint,
			f->allow_other ? " (allow_other needs user_allow_other in /etc/fuse.conf)"
				       : "");
	}
	atomic_store(&f->mounted, true);
	return 0;
}

/* Ends the kernel's side although files are open: whoever waits in a request gets ENOTCONN. Else
 * an invalidation that waits for such a request would never return. */
static void connection_abort(struct fuse_front *f)
{
	char path[64];
	cleanup_fd int fd = -1;
	unsigned minor = atomic_load(&f->dev_minor);

	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor);
	fd = minor ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd >= 0 && write(fd, "1", 1) == 1)
		return;
	/* Without that file system: the last descriptor's close does the same, but for a call
	 * that is within it. */
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0 || dup3(fd, fuse_session_fd(f->se), O_CLOEXEC) < 0)
		log_warn("fuse", "cannot end the kernel's connection: %s", err_text(NULL, -errno));
}

errint_t fuse_front_loop(struct fuse_front *f, struct err *err)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	sigset_t wake;
	int r;

	assert(f->se);
	if (!cfg)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the FUSE loop");
	fuse_loop_cfg_set_idle_threads(cfg, f->threads);
	fuse_loop_cfg_set_max_threads(cfg, f->threads);
	fuse_loop_cfg_set_clone_fd(cfg, 0);
	(void)sigemptyset(&wake);
	(void)sigaddset(&wake, WAKE_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	f->loop_thread = pthread_self();
	atomic_store(&f->looping, true);
	/* fuse_front_exit() may have come before. */
	r = atomic_load(&f->exit) ? 0 : fuse_session_loop_mt(f->se, cfg);
	atomic_store(&f->looping, false);
	fuse_loop_cfg_destroy(cfg);
	if (atomic_load(&f->exit))
		connection_abort(f);
	if (r && !atomic_load(&f->exit))
		return err_set(err, r < 0 ? r : -EINTR, ERR_FINAL, "the FUSE loop ended: %s",
			err_text(NULL, r < 0 ? r : -EINTR));
	return 0;
}

errint_t fuse_front_detach(struct fuse_front *f, struct err *err)
{
	struct place_mount m;
	errint_t r;

	if (!place_mount_find(f->mountpoint, &m) || strncmp(m.type, "fuse", 4) != 0)
		return 0; /* somebody else was quicker */
	r = place_detach(f->mountpoint);
	if (r)
		return err_set(err, r, ERR_FINAL, "cannot unmount %s: %s", f->mountpoint,
			err_text(NULL, r));
	atomic_store(&f->detached, true);
	return 0;
}

void fuse_front_exit(struct fuse_front *f)
{
	atomic_store(&f->exit, true);
	if (!atomic_load(&f->looping))
		return;
	fuse_session_exit(f->se);
	(void)pthread_kill(f->loop_thread, WAKE_SIGNAL);
}

/* Gives back what the mount took. After a detach another mount may be at that place by now; libfuse
 * leaves it alone when its descriptor tells that the connection has ended, as that of a pipe that
 * nobody reads does. */
static void session_unmount(struct fuse_front *f)
{
	int p[2], r;

	if (atomic_load(&f->detached)) {
		if (pipe2(p, O_CLOEXEC) < 0)
			return;
		r = dup3(p[1], fuse_session_fd(f->se), O_CLOEXEC);
		(void)close(p[0]);
		(void)close(p[1]);
		if (r < 0)
			return;
	}
	fuse_session_unmount(f->se);
}

void fuse_front_destroy(struct fuse_front *f)
{
	if (!f)
		return;
	if (f->se) {
		atomic_store(&f->mounted, false);
		session_unmount(f);
		fuse_session_destroy(f->se);
	}
	free(f->mountpoint);
	free(f->fsname);
	free(f->flags);
	free(f);
}

/* Failures are of no interest: what the kernel does not know needs no invalidation. */
void fuse_front_inval_inode(void *arg, uint64_t ino, bool data)
{
	struct fuse_front *f = arg;

	if (!atomic_load(&f->mounted))
		return;
	count_inc(notifies);
	(void)fuse_lowlevel_notify_inval_inode(f->se, ino, data ? 0 : -1, 0);
}

void fuse_front_inval_entry(void *arg, uint64_t parent, const char *name)
{
	struct fuse_front *f = arg;

	if (!atomic_load(&f->mounted))
		return;
	count_inc(notifies);
	(void)fuse_lowlevel_notify_inval_entry(f->se, parent, name, strlen(name));
}
