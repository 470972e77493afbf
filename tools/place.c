/* SPDX-License-Identifier: MIT */
/*
 * Places: which mount is meant, and what a path means in it. A mount whose daemon died or hangs
 * must not keep us: of its own root nothing is asked here but whether it is a symbolic link, which
 * the kernel knows.
 */
#include "astra.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "astra/base_cleanup.h"

#define LINKS_MAX 40
#define ASK_MS	  2000

/* ---- paths ---- */

/* Absolute, without ".", ".." and doubled slashes, by the letters alone. */
static char *lexical(const char *path)
{
	cleanup_free char *cwd = *path == '/' ? strdup("") : getcwd(NULL, 0), *whole = NULL;
	char *out, *save = NULL;
	size_t n = 0;

	if (!cwd || asprintf(&whole, "%s/%s", cwd, path) < 0) {
		whole = NULL;
		return NULL;
	}
	out = malloc(strlen(whole) + 2);
	if (!out)
		return NULL;
	for (char *w = strtok_r(whole, "/", &save); w; w = strtok_r(NULL, "/", &save)) {
		if (!strcmp(w, "."))
			continue;
		if (!strcmp(w, "..")) {
			while (n && out[--n] != '/')
				;
			continue;
		}
		out[n++] = '/';
		memcpy(out + n, w, strlen(w));
		n += strlen(w);
	}
	if (!n)
		out[n++] = '/';
	out[n] = '\0';
	return out;
}

/* What lies behind the mount point in an absolute path, "/" for the mount point itself; NULL when
 * the path is elsewhere. */
static const char *behind(const char *abs, const char *mountpoint)
{
	size_t len = strlen(mountpoint);

	if (strncmp(abs, mountpoint, len) != 0)
		return NULL;
	if (!abs[len])
		return "/";
	return abs[len] == '/' ? abs + len : NULL;
}

/* Through symbolic links of the way to it, but not its own. */
static char *physical(const char *abs)
{
	cleanup_free char *dir = strdup(abs), *real = NULL;
	char *slash = dir ? strrchr(dir, '/') : NULL, *out = NULL;

	if (!slash)
		return NULL;
	*slash = '\0';
	real = realpath(*dir ? dir : "/", NULL);
	if (!real)
		return NULL;
	if (asprintf(&out, "%s/%s", strcmp(real, "/") ? real : "", slash + 1) < 0)
		return NULL;
	return out;
}

/* The part of a local path below a mount, owned; NULL when it is not below it. */
static char *below_mount(const char *given, const char *mountpoint)
{
	cleanup_free char *abs = lexical(given), *real = NULL;
	const char *rest = abs ? behind(abs, mountpoint) : NULL;

	if (!rest && abs) {
		real = physical(abs);
		rest = real ? behind(real, mountpoint) : NULL;
	}
	return rest ? strdup(rest) : NULL;
}

/* "/aws" for "aws", where that is a remote; else NULL. */
static char *remote_path(const struct app *a, const char *name)
{
	cleanup_free char *local = NULL;
	char *tree = NULL;

	if (asprintf(&tree, "/%s", name) < 0)
		return NULL;
	local = app_local(a, tree);
	if (*name && local && access(local, F_OK) == 0)
		return tree;
	free(tree);
	return NULL;
}

char *app_path(const struct app *a, const char *given)
{
	char *below = NULL, *out = NULL;

	/* A bare name is a file here, if here is in the mount; or a remote; or looked for. */
	if (!strchr(given, '/') && strcmp(given, ".") != 0 && strcmp(given, "..") != 0) {
		below = access(given, F_OK) == 0 ? below_mount(given, a->m.mountpoint) : NULL;
		if (!below)
			below = remote_path(a, given);
		return below ? below : strdup(given);
	}
	below = below_mount(given, a->m.mountpoint);
	if (below)
		return below;
	if (*given == '/')
		return lexical(given);
	/* "aws/x": from the mount's root. */
	if (asprintf(&out, "/%s", given) < 0)
		return NULL;
	below = lexical(out);
	free(out);
	return below;
}

/* A path that does not lie below the mount point is one as the mount sees it. When the mount has
 * nothing of its first name it was meant otherwise. */
static int check_place(const struct app *a, const char *given, const char *tree)
{
	cleanup_free char *below = below_mount(given, a->m.mountpoint), *local = NULL;
	int len = 1 + (int)strcspn(tree + 1, "/");
	cleanup_free char *top = strndup(tree, (size_t)len);
	struct stat st;

	if (below || len == 1)
		return EXIT_DONE;
	local = top ? app_local(a, top) : NULL;
	if (!local)
		return app_fail(a, -ENOMEM, NULL);
	if (lstat(local, &st) == 0 || errno != ENOENT)
		return EXIT_DONE;
	if (lstat(given, &st) == 0)
		(void)fprintf(stderr, "astra %s: %s is not in the mount at %s\n", a->cmd->name,
			given, a->m.mountpoint);
	else
		(void)fprintf(stderr, "astra %s: %s: there is no remote '%s' in the mount at %s\n",
			a->cmd->name, given, top + 1, a->m.mountpoint);
	return EXIT_FAILED;
}

int app_tree(const struct app *a, const char *given, char **ret)
{
	int code;

	*ret = app_path(a, given);
	if (!*ret)
		return app_fail(a, -ENOMEM, NULL);
	code = **ret == '/' ? check_place(a, given, *ret) : EXIT_DONE;
	if (code != EXIT_DONE) {
		free(*ret);
		*ret = NULL;
	}
	return code;
}

char *app_local(const struct app *a, const char *tree)
{
	char *out = NULL;

	if (asprintf(&out, "%s%s", strcmp(a->m.mountpoint, "/") ? a->m.mountpoint : "", tree) < 0)
		return NULL;
	return out;
}

/* ---- the mount ---- */

/* One component more of where a mount is: its last one is read as a symbolic link, and nothing else
 * is asked of it. NULL: it is no link, and *path is its real path; or nothing is known. */
static char *mount_step(char **path)
{
	cleanup_free char *abs = lexical(*path), *real = abs ? physical(abs) : NULL;
	char to[PATH_MAX], *out = NULL;
	ssize_t n = real ? readlink(real, to, sizeof(to) - 1) : -1;

	if (real) {
		free(*path);
		*path = steal_ptr(&real);
	}
	if (n < 0)
		return NULL;
	to[n] = '\0';
	if (*to == '/')
		return strdup(to);
	return asprintf(&out, "%s/../%s", *path, to) < 0 ? NULL : out;
}

char *app_mount(const char *given)
{
	char *path = lexical(given), *next;

	for (unsigned i = 0; path && i < LINKS_MAX && (next = mount_step(&path)); i++) {
		free(path);
		path = next;
	}
	return path;
}

/* The one that the hint, or else the working directory, lies in; n when there is none. */
static size_t choose_by_place(const struct ctl_mount *all, size_t n, const char *hint)
{
	const char *const places[] = {hint && strchr(hint, '/') ? hint : NULL, "."};

	for (size_t k = 0; k < ARRAY_SIZE(places); k++) {
		for (size_t i = 0; places[k] && i < n; i++) {
			cleanup_free char *rest = below_mount(places[k], all[i].mountpoint);

			if (rest)
				return i;
		}
	}
	return n;
}

/* What statfs(2) says, of a mount whose daemon may hang: whoever asks that cannot be interrupted,
 * so it is a child, which is left alone after two seconds. */
static errint_t ask_mount(const char *mount)
{
	struct pollfd p = {.events = POLLIN};
	cleanup_fd int out = -1, in = -1;
	struct statfs sf;
	int fds[2], r = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	p.fd = in = fds[0];
	out = fds[1];
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		/* Who reads our output waits for its end, not for that of the child. */
		for (int fd = 0; fd <= STDERR_FILENO; fd++)
			(void)close(fd);
		r = statfs(mount, &sf) < 0 ? errno : 0;
		_exit(write(out, &r, sizeof(r)) != sizeof(r));
	}
	if (pid < 0)
		return -errno;
	if (poll(&p, 1, ASK_MS) <= 0) {
		(void)kill(pid, SIGKILL);
		return -ETIMEDOUT;
	}
	if (read(in, &r, sizeof(r)) != sizeof(r))
		r = EIO;
	(void)waitpid(pid, NULL, 0);
	return -r;
}

/* No daemon of ours says that it serves this mount; err: what one of them says instead, "" none. */
static int none_there(const char *mount, const struct err *err)
{
	errint_t r = ask_mount(mount);

	if (r == -ENOTCONN || r == -ECONNABORTED)
		(void)fprintf(stderr,
			"astra: the daemon of the mount at %s has died; 'astrafs %s' mounts it "
			"anew, 'fusermount3 -u %s' only unmounts\n",
			mount, mount, mount);
	else if (r == -ETIMEDOUT)
		(void)fprintf(stderr, "astra: the mount at %s does not answer\n", mount);
	else if (*err->msg)
		(void)fprintf(stderr, "astra: the mount at %s: %s\n", mount, err->msg);
	else
		(void)fprintf(stderr, "astra: no astrafs of yours is mounted at %s\n", mount);
	return EXIT_NO_MOUNT;
}

static int choose(struct app *a, const struct ctl_mount *all, size_t n, const char *hint,
	size_t *ret, const struct err *err)
{
	if (a->mount) {
		for (*ret = 0; *ret < n && strcmp(all[*ret].mountpoint, a->mount) != 0;)
			++*ret;
		return *ret < n ? EXIT_DONE : none_there(a->mount, err);
	}
	if (!n) {
		(void)fprintf(stderr, "astra: no astrafs of yours is mounted; mount one by "
				      "'astrafs MOUNTPOINT'\n");
		return EXIT_NO_MOUNT;
	}
	*ret = n == 1 ? 0 : choose_by_place(all, n, hint);
	if (*ret < n)
		return EXIT_DONE;
	(void)fprintf(stderr, "astra: there are several mounts; choose one by --mount:\n");
	for (size_t i = 0; i < n; i++)
		(void)fprintf(stderr, "    %s\n", all[i].mountpoint);
	return EXIT_AMBIGUOUS;
}

int app_connect(struct app *a, const char *hint)
{
	struct ctl_mount *all = NULL;
	struct err err = {0};
	size_t n = 0, mine = 0;
	errint_t r;
	int code;

	if (a->connected)
		return EXIT_DONE;
	r = ctl_mounts(&all, &n, &err);
	code = r ? app_fail(a, r, &err) : choose(a, all, n, hint, &mine, &err);
	for (size_t i = 0; i < n; i++) {
		if (code == EXIT_DONE && i == mine)
			a->m = all[i];
		else
			ctl_mount_done(&all[i]);
	}
	free(all);
	a->connected = code == EXIT_DONE;
	return code;
}
