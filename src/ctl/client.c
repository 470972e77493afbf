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
#include "astra/base_clock.h"

#define MOUNTS_MAX   256
#define HELLO_NS     (10 * NS_PER_S)
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

/* Of what waits in a call of this socket; 0 = for ever. */
static void timeout_set(int fd, int option, int64_t ns)
{
	struct timeval wait = {
		.tv_sec = ns / NS_PER_S, .tv_usec = ns % NS_PER_S / (NS_PER_MS / 1000)};

	(void)setsockopt(fd, SOL_SOCKET, option, &wait, sizeof(wait));
}

int ctl_connect(const char *path, int64_t until_ns)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	cleanup_fd int fd = -1;

	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* While nobody accepts, and too many wait for that, it would not return. */
	timeout_set(fd, SO_SNDTIMEO, MAX_OF(until_ns - clock_mono_ns(), NS_PER_MS));
	while (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		if (errno != EINTR)
			return -errno;
		timeout_set(fd, SO_SNDTIMEO, MAX_OF(until_ns - clock_mono_ns(), NS_PER_MS));
	}
	timeout_set(fd, SO_SNDTIMEO, 0);
	return steal_fd(&fd);
}

static errint_t get_answer(
	int fd, int (*fn)(void *arg, const json_t *line), void *arg, json_t **ret, struct err *err)
{
	errint_t r;

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

errint_t ctl_ask(int fd, const json_t *request, int (*fn)(void *arg, const json_t *line), void *arg,
	json_t **ret, struct err *err)
{
	errint_t r = json_write_line(fd, request), said;

	if (ret)
		*ret = NULL;
	if (!r)
		return get_answer(fd, fn, arg, ret, err);
	/* It has closed the connection, and mostly said why before. */
	if (r == -EPIPE || r == -ECONNRESET) {
		said = get_answer(fd, NULL, NULL, NULL, err);
		if (said && said != -ECONNRESET)
			return said;
	}
	return err_set(err, r, ERR_UNKNOWN, "the daemon does not listen: %s", err_text(NULL, r));
}

void ctl_mount_done(struct ctl_mount *m)
{
	if (m->fd >= 0)
		(void)close(m->fd);
	free(m->mountpoint);
	free(m->socket);
	*m = (struct ctl_mount){.fd = -1};
}

/* Asks who is there, and does not wait for the answer. False: nobody listens. Who has no room for
 * us is there (fd -1, but a socket), and asked last. */
static bool mount_ask(const char *path, int64_t until_ns, struct ctl_mount *ret)
{
	cleanup_json json_t *req = json_pack("{s:s}", "verb", "hello");

	*ret = (struct ctl_mount){.fd = ctl_connect(path, until_ns)};
	if ((ret->fd < 0 && ret->fd != -EAGAIN) || !req)
		return false;
	if (ret->fd >= 0)
		(void)json_write_line(ret->fd, req); /* if not, it may have said why */
	ret->socket = strdup(path);
	return ret->socket;
}

/* A daemon that hangs must not hang us while we look for another one: until then it may take. What
 * is here already is read later as well. */
static errint_t mount_answer(struct ctl_mount *m, int64_t until_ns, struct err *err)
{
	cleanup_json json_t *data = NULL;
	const char *mountpoint;
	errint_t r;

	if (m->fd < 0) {
		cleanup_free char *path = steal_ptr(&m->socket);

		if (!mount_ask(path, until_ns, m) || m->fd < 0)
			return err_set(
				err, -ETIMEDOUT, ERR_CANCELLED, "%s: it takes no connection", path);
	}
	timeout_set(m->fd, SO_RCVTIMEO, MAX_OF(until_ns - clock_mono_ns(), NS_PER_MS));
	r = get_answer(m->fd, NULL, NULL, &data, err);
	if (r)
		return err_wrap(err, r, "%s", m->socket);
	timeout_set(m->fd, SO_RCVTIMEO, 0);
	mountpoint = json_string_value(json_object_get(data, "mountpoint"));
	m->mountpoint = mountpoint ? strdup(mountpoint) : NULL;
	return m->mountpoint ? 0 : err_set(err, -EPROTO, ERR_FINAL, "%s: no mount", m->socket);
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
		if (mount_ask(path, 0, &all[*n]))
			++*n;
		else
			ctl_mount_done(&all[*n]);
	}
	if (d)
		(void)closedir(d);
	return 0;
}

/* Those that are still to be asked wait for nobody but themselves. */
static void full_last(struct ctl_mount *all, size_t n)
{
	for (size_t i = 0, k = 0; i < n; i++) {
		struct ctl_mount m = all[i];

		if (m.fd < 0)
			continue;
		all[i] = all[k];
		all[k++] = m;
	}
}

/* All were asked at once, and have the same time: a connection that waits while others are asked
 * one by one would be closed as idle. Those that answer stay. One that has no room for us is there,
 * which is an error when no other one is. */
static errint_t mounts_answer(struct ctl_mount *all, size_t *n, struct err *err)
{
	int64_t until_ns = clock_mono_ns() + HELLO_NS;
	size_t asked = *n;
	errint_t r = 0;

	full_last(all, asked);
	*n = 0;
	for (size_t i = 0; i < asked; i++) {
		struct ctl_mount m = all[i];
		struct err one = {0};
		errint_t bad = mount_answer(&m, until_ns, &one);

		all[i] = (struct ctl_mount){.fd = -1};
		if (!bad) {
			all[(*n)++] = m;
			continue;
		}
		if (bad == -EAGAIN) {
			r = bad;
			if (err)
				*err = one;
		}
		ctl_mount_done(&m);
	}
	return r;
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
	bad = mounts_answer(*ret, ret_n, err);
	r = bad ? bad : r;
	return *ret_n ? 0 : r;
}
