/* SPDX-License-Identifier: MIT */
/*
 * auto_unmount: a process of our own that waits for the daemon's end and then unmounts what it
 * left. fusermount3 has such a helper too, but for users who are not root it looks by stat(2)
 * whether the mount is dead, which the kernel answers from its cache, and leaves it.
 *
 * The daemon holds the writing end of a pipe that nobody writes to; its end, however it comes, is
 * the end of file here. After an orderly end nothing is mounted any more, and nothing is done.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "place.h"

#include "astra/base_cleanup.h"
#include "astra/fuse.h"

#define CLEAN_S 10 /* a mount that cannot be looked at in this time is left alone */

static void stdio_close(void)
{
	int fd = open("/dev/null", O_RDWR);

	for (int i = 0; fd >= 0 && i <= STDERR_FILENO; i++)
		(void)dup2(fd, i);
}

/* What it inherits is closed but for these two: as 3 and, when there is one, 4. */
static void descriptors_keep(int pipe_fd, int keep_fd)
{
	int a = fcntl(pipe_fd, F_DUPFD, 10), b = keep_fd < 0 ? -1 : fcntl(keep_fd, F_DUPFD, 10);

	stdio_close();
	(void)dup2(a, 3);
	if (b >= 0)
		(void)dup2(b, 4);
	(void)close_range(b < 0 ? 4 : 5, ~0u, 0);
}

static _Noreturn void watch(const char *mountpoint, int pipe_fd, int keep_fd)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct place_mount m;
	char c;
	ssize_t n;

	/* Neither the terminal's nor the service manager's signals end it before the daemon. */
	(void)setsid();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	(void)prctl(PR_SET_NAME, "astrafs-watch");
	descriptors_keep(pipe_fd, keep_fd);
	if (chdir("/") < 0)
		_exit(1);
	do
		n = read(3, &c, 1);
	while (n > 0 || (n < 0 && errno == EINTR));
	(void)alarm(CLEAN_S);
	/* A crash may have left several on top of each other; one that lives is another's. */
	for (unsigned i = 0;
		i < 16 && place_mount_find(mountpoint, &m) && place_dead(mountpoint, &m); i++) {
		if (place_detach(mountpoint))
			break;
	}
	_exit(0);
}

errint_t fuse_watch_start(
	const char *mountpoint, int keep_fd, struct fuse_watch *ret, struct err *err)
{
	int fds[2];
	errint_t r;

	*ret = FUSE_WATCH_NONE;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		r = -errno;
		return err_set(err, r, ERR_RETRY, "cannot make a pipe: %s", err_text(NULL, r));
	}
	ret->pid = fork();
	if (ret->pid == 0) {
		(void)close(fds[1]);
		watch(mountpoint, fds[0], keep_fd);
	}
	r = -errno;
	(void)close(fds[0]);
	if (ret->pid < 0) {
		(void)close(fds[1]);
		return err_set(err, r, ERR_RETRY, "cannot start the watching process: %s",
			err_text(NULL, r));
	}
	ret->fd = fds[1];
	return 0;
}

void fuse_watch_end(struct fuse_watch *w)
{
	int status;

	if (w->fd < 0)
		return;
	(void)close(w->fd);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	*w = FUSE_WATCH_NONE;
}
