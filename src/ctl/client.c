/* SPDX-License-Identifier: MIT */
/*
 * The other side of the socket: finds mounts, asks, reads answers. No state; any thread, one per
 * descriptor.
 */
#include "astra/ctl.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "astra/base_cleanup.h"

#define MOUNTS_MAX 256

errint_t ctl_dir(char *ret, size_t size, struct err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *own = getenv("ASTRA_RUNTIME_DIR");
	int n;

	/* root's session has an XDG_RUNTIME_DIR that a mount at boot has not: not for root. */
	if (own && *own == '/')
		n = snprintf(ret, size, "%s", own);
	else if (geteuid() == 0)
		n = snprintf(ret, size, "/run/astrafs");
	else if (runtime && *runtime == '/')
		n = snprintf(ret, size, "%s/astrafs", runtime);
	else if (access("/run/user", X_OK) == 0)
		n = snprintf(ret, size, "/run/user/%lu/astrafs", (unsigned long)geteuid());
	else
		n = snprintf(ret, size, "/tmp/astrafs-%lu", (unsigned long)geteuid());
	if (n < 0 || (size_t)n >= size)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL,
			"the runtime directory has too long a name: %s",
			own	  ? own
			: runtime ? runtime
				  : "");
	return 0;
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

errint_t ctl_mounts(struct ctl_mount **ret, size_t *ret_n, struct err *err)
{
	char dir[256], path[600];
	const struct dirent *de;
	errint_t r = ctl_dir(dir, sizeof(dir), err);
	DIR *d;

	*ret = NULL;
	*ret_n = 0;
	if (r)
		return r;
	d = opendir(dir);
	if (!d && errno == ENOENT)
		return 0;
	if (!d) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "cannot read %s: %s", dir, err_text(NULL, r));
	}
	*ret = calloc(MOUNTS_MAX, sizeof(**ret));
	if (!*ret)
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	while (!r && *ret_n < MOUNTS_MAX && (de = readdir(d))) {
		size_t len = strlen(de->d_name);

		if (len < 6 || strcmp(de->d_name + len - 5, ".sock") != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, de->d_name);
		if (mount_ask(path, &(*ret)[*ret_n]))
			(*ret_n)++;
		else
			ctl_mount_done(&(*ret)[*ret_n]);
	}
	(void)closedir(d);
	return r;
}
