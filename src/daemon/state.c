/* SPDX-License-Identifier: MIT */
/*
 * The state directory: made, locked, and the id of this boot, which tells whether the machine went
 * down since the index was last written. The lock is a flock(2) on STATE/lock, so it goes away with
 * the process however that ends; the file holds the owner's process id for messages.
 */
#include "state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define POLL_NS (50 * NS_PER_MS)

errint_t state_mkdir(const char *path, struct err *err)
{
	cleanup_free char *copy = strdup(path);
	errint_t r;

	assert(*path == '/');
	if (!copy)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a path");
	for (char *s = copy + 1;; s++) {
		char keep = *s;

		if (keep && keep != '/')
			continue;
		*s = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST && (errno != EROFS || !keep)) {
			r = -errno;
			return err_set(err, r, ERR_FINAL, "cannot make the directory %s: %s", copy,
				err_text(NULL, r));
		}
		*s = keep;
		if (!keep)
			return 0;
	}
}

static long owner_of(int fd)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return strtol(text, NULL, 10);
}

static errint_t wait_for(int fd, const char *dir, int64_t wait_ns,
	void (*on_wait)(void *arg, const char *line), void *arg, struct err *err)
{
	int64_t until = clock_mono_ns() + wait_ns;
	struct timespec poll = {.tv_nsec = POLL_NS};
	bool said = false;
	sigset_t stop;
	char line[512];

	(void)sigemptyset(&stop);
	(void)sigaddset(&stop, SIGTERM);
	(void)sigaddset(&stop, SIGINT);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		errint_t r = -errno;

		if (r == -EINTR)
			continue;
		if (r != -EWOULDBLOCK)
			return err_set(err, r, ERR_FINAL, "cannot lock %s/lock: %s", dir,
				err_text(NULL, r));
		if (clock_mono_ns() >= until)
			return err_set(err, -EBUSY, ERR_FINAL,
				"the state directory %s is in use by another astrafs (process %ld)",
				dir, owner_of(fd));
		/* A daemon that is just ending is not worth a line, nor is a short wait. */
		if (!said && wait_ns >= NS_PER_S &&
			clock_mono_ns() > until - wait_ns + 4 * POLL_NS) {
			(void)snprintf(line, sizeof(line),
				"waiting up to %lld s for another astrafs (process %ld) that uses "
				"%s",
				(long long)(wait_ns / NS_PER_S), owner_of(fd), dir);
			on_wait(arg, line);
			said = true;
		}
		if (sigtimedwait(&stop, NULL, &poll) > 0)
			return err_set(err, -EINTR, ERR_FINAL, "ended while waiting for %s", dir);
	}
	return 0;
}

errint_t state_lock(const char *dir, int64_t wait_ns, void (*on_wait)(void *arg, const char *line),
	void *arg, int *ret_fd, struct err *err)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;
	struct stat st;
	char text[32];
	ssize_t k;
	errint_t r;
	int n;

	*ret_fd = -1;
	r = state_mkdir(dir, err);
	if (r)
		return r;
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(
			err, -ENOTDIR, ERR_FINAL, "the state directory %s is no directory", dir);
	if (asprintf(&path, "%s/lock", dir) < 0) {
		path = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a path");
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "cannot open %s: %s", path, err_text(NULL, r));
	}
	r = wait_for(fd, dir, wait_ns, on_wait, arg, err);
	if (r)
		return r;
	n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	/* Over what is there, as the disk may be full. Only messages need it: then it goes without.
	 */
	k = pwrite(fd, text, (size_t)n, 0);
	if (k < 0 && (errno == ENOSPC || errno == EDQUOT))
		k = n = 0;
	if (k != n || ftruncate(fd, n) < 0) {
		r = k >= 0 && k < n ? -EIO : -errno;
		return err_set(err, r, ERR_FINAL, "cannot write %s: %s", path, err_text(NULL, r));
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}

errint_t state_boot_id(char ret[64], struct err *err)
{
	const char *path = getenv("ASTRA_BOOT_ID_FILE");
	cleanup_fd int fd = -1;
	ssize_t n;
	errint_t r;

	if (!path || !*path)
		path = "/proc/sys/kernel/random/boot_id";
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret, 63);
	if (n < 0) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "cannot read the boot id from %s: %s", path,
			err_text(NULL, r));
	}
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	if (!*ret)
		return err_set(err, -EBADMSG, ERR_FINAL, "%s holds no boot id", path);
	return 0;
}
