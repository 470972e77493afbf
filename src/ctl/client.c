/* SPDX-License-Identifier: MIT */
/*
 * The other side of the socket: finds mounts, asks, reads answers. No state; any thread, one per
 * descriptor.
 */
#include "astra/ctl.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "astra/base_cleanup.h"

#define MOUNTS_MAX   256
#define CTL_DIR_HINT "; ASTRA_RUNTIME_DIR or XDG_RUNTIME_DIR can name another place"

/* ---- where the sockets are ---- */

#define DIRS_MAX 3

struct dirs {
	char path[DIRS_MAX][256];
	size_t n;
};

static void dirs_add(struct dirs *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void dirs_add(struct dirs *d, const char *fmt, ...)
{
	va_list ap;
	int n;

	assert(d->n < DIRS_MAX);
	va_start(ap, fmt);
	n = vsnprintf(d->path[d->n], sizeof(d->path[d->n]), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(d->path[d->n]))
		return;
	for (size_t i = 0; i < d->n; i++) {
		if (!strcmp(d->path[i], d->path[d->n]))
			return;
	}
	d->n++;
}

/* Where they may be, best first: a mount that cron made has no session, and who asks it may have
 * one. The name of the last one is anybody's to take, so it is only used when it is ours. */
static errint_t dirs_get(struct dirs *d, struct err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *own = getenv("ASTRA_RUNTIME_DIR");
	unsigned long uid = geteuid();

	d->n = 0;
	if (own && *own == '/') {
		dirs_add(d, "%s", own);
	} else if (uid == 0) {
		/* root's session has an XDG_RUNTIME_DIR that a mount at boot has not */
		dirs_add(d, "/run/astrafs");
	} else {
		if (runtime && *runtime == '/')
			dirs_add(d, "%s/astrafs", runtime);
		dirs_add(d, "/run/user/%lu/astrafs", uid);
		dirs_add(d, "/tmp/astrafs-%lu", uid);
	}
	return d->n ? 0
		    : err_set(err, -ENAMETOOLONG, ERR_FINAL,
			      "the runtime directory has too long a name: %s", own ? own : "");
}

/* It is there and nobody else's: no link, no other owner, no rights of others. */
static bool dir_is_private(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & 077);
}

/* It is there, or can be made. */
static errint_t dir_usable(const char *path, struct err *err)
{
	char parent[256];
	struct stat st;
	errint_t r;

	if (lstat(path, &st) == 0)
		return dir_is_private(path)
			       ? 0
			       : err_set(err, -EPERM, ERR_FINAL,
					 "%s, for the control socket, must be a directory of its "
					 "user alone (mode 0700)" CTL_DIR_HINT,
					 path);
	(void)snprintf(parent, sizeof(parent), "%s", path);
	*strrchr(parent, '/') = '\0';
	if (faccessat(AT_FDCWD, *parent ? parent : "/", W_OK | X_OK, AT_EACCESS) == 0)
		return 0;
	r = -errno;
	return err_set(err, r, ERR_FINAL, "cannot make %s for the control socket: %s" CTL_DIR_HINT,
		path, err_text(NULL, r));
}

errint_t ctl_dir(char *ret, size_t size, struct err *err)
{
	struct dirs d;
	errint_t r = dirs_get(&d, err);

	for (size_t i = 0; i < d.n; i++) {
		(void)snprintf(ret, size, "%s", d.path[i]);
		r = dir_usable(d.path[i], err);
		if (!r)
			break;
	}
	return r;
}

int ctl_connect(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return steal_fd(&fd);
}

errint_t ctl_ask(int fd, const json_t *request, int (*fn)(void *arg, const json_t *line), void *arg,
	json_t **ret, struct err *err)
{
	errint_t r = json_write_line(fd, request);

	if (ret)
		*ret = NULL;
	if (r)
		return err_set(
			err, r, ERR_UNKNOWN, "the daemon does not listen: %s", err_text(NULL, r));
	for (;;) {
		cleanup_json json_t *line = NULL;
		const json_t *ok;
		const char *text;

		r = json_read_line(fd, CTL_LINE_MAX, &line, err);
		if (r)
			return err_wrap(err, r, "the daemon's answer");
		ok = json_object_get(line, "ok");
		if (!ok) {
			if (fn && fn(arg, line))
				return err_set(err, -ECANCELED, ERR_CANCELLED, "stopped");
			continue;
		}
		if (json_is_true(ok)) {
			if (ret)
				*ret = json_incref(json_object_get(line, "data"));
			return 0;
		}
		r = -(errint_t)json_integer_value(json_object_get(line, "errno"));
		text = json_string_value(json_object_get(line, "error"));
		return err_set(err, r < 0 ? r : -EPROTO, ERR_FINAL, "%s",
			text ? text : "the daemon says that it failed");
	}
}

void ctl_mount_done(struct ctl_mount *m)
{
	if (m->fd >= 0)
		(void)close(m->fd);
	free(m->mountpoint);
	free(m->socket);
	*m = (struct ctl_mount){.fd = -1};
}

/* False: nobody answers there. */
static bool mount_ask(const char *path, struct ctl_mount *ret)
{
	const struct timeval wait = {.tv_sec = 10};
	cleanup_json json_t *req = json_pack("{s:s}", "verb", "hello"), *data = NULL;
	const char *mountpoint;

	*ret = (struct ctl_mount){.fd = ctl_connect(path)};
	if (ret->fd < 0 || !req)
		return false;
	/* A daemon that hangs must not hang us while we look for another one. */
	(void)setsockopt(ret->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (ctl_ask(ret->fd, req, NULL, NULL, &data, NULL))
		return false;
	(void)setsockopt(ret->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){0}, sizeof(wait));
	mountpoint = json_string_value(json_object_get(data, "mountpoint"));
	ret->mountpoint = mountpoint ? strdup(mountpoint) : NULL;
	ret->socket = strdup(path);
	return ret->mountpoint && ret->socket;
}

/* Adds those of one directory. */
static errint_t mounts_in(const char *dir, struct ctl_mount *all, size_t *n, struct err *err)
{
	char path[600];
	const struct dirent *de;
	DIR *d = opendir(dir);

	if (!d && errno != ENOENT && errno != ENOTDIR) {
		errint_t r = -errno;

		return err_set(err, r, ERR_FINAL, "cannot read %s: %s", dir, err_text(NULL, r));
	}
	while (d && *n < MOUNTS_MAX && (de = readdir(d))) {
		size_t len = strlen(de->d_name);

		if (len < 6 || strcmp(de->d_name + len - 5, ".sock") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		if (mount_ask(path, &all[*n]))
			++*n;
		else
			ctl_mount_done(&all[*n]);
	}
	if (d)
		(void)closedir(d);
	return 0;
}

errint_t ctl_mounts(struct ctl_mount **ret, size_t *ret_n, struct err *err)
{
	struct dirs d;
	errint_t r = dirs_get(&d, err), bad;

	*ret = NULL;
	*ret_n = 0;
	if (r)
		return r;
	*ret = calloc(MOUNTS_MAX, sizeof(**ret));
	if (!*ret)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (size_t i = 0; i < d.n; i++) {
		/* One of several that is not ours has none of ours. */
		if (d.n > 1 && !dir_is_private(d.path[i]))
			continue;
		bad = mounts_in(d.path[i], *ret, ret_n, err);
		r = r ? r : bad;
	}
	return *ret_n ? 0 : r;
}
