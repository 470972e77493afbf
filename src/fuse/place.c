/* SPDX-License-Identifier: MIT */
/*
 * Mount points: found by path, looked up in the kernel's mount table, cleaned of what a crash left
 * behind. No state; any thread.
 *
 * A dead FUSE mount answers ENOTCONN to everything, and ECONNABORTED to what was asked while it
 * died, so its path is resolved by its parent.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "place.h"

#include "astra/base_cleanup.h"
#include "astra/base_log.h"
#include "astra/fuse.h"

#define FSTYPE "fuse.astrafs"

/* ---- the mount table ---- */

/* "\040" and the like, in place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* One line of mountinfo: ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS
 */
static bool parse_line(char *line, char **ret_at, struct place_mount *ret)
{
	char *save = NULL, *word;
	unsigned n = 0;
	bool dash = false;

	memset(ret, 0, sizeof(*ret));
	for (word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save), n++) {
		if (n == 2) {
			if (sscanf(word, "%u:%u", &ret->dev_major, &ret->dev_minor) != 2)
				return false;
		} else if (n == 4) {
			unescape(word);
			*ret_at = word;
		} else if (n > 5 && dash) {
			(void)snprintf(ret->type, sizeof(ret->type), "%s", word);
			return true;
		} else if (n > 5 && !strcmp(word, "-")) {
			dash = true;
		}
	}
	return false;
}

bool place_mount_find(const char *mountpoint, struct place_mount *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t cap = 0;
	bool found = false;

	if (!f)
		return false;
	/* The last one is on top. */
	while (getline(&line, &cap, f) > 0) {
		struct place_mount m;
		char *at = NULL;

		if (parse_line(line, &at, &m) && !strcmp(at, mountpoint)) {
			*ret = m;
			found = true;
		}
	}
	(void)fclose(f);
	return found;
}

static bool is_dead(int error)
{
	return error == ENOTCONN || error == ECONNABORTED;
}

/* The kernel goes on answering stat(2) from its cache for a while after the daemon's death; it
 * keeps no answers to statfs(2). */
bool place_dead(const char *mountpoint, const struct place_mount *m)
{
	struct statfs sf;
	struct stat st;

	if (!strcmp(m->type, FSTYPE))
		return statfs(mountpoint, &sf) < 0 && is_dead(errno);
	return stat(mountpoint, &st) < 0 && is_dead(errno);
}

/* ---- paths ---- */

/* As realpath(), for a path whose last component is a dead mount. */
static char *dead_realpath(const char *path)
{
	cleanup_free char *copy = strdup(path), *parent = NULL;
	char *ret = NULL, *slash;
	size_t len;

	if (!copy)
		return NULL;
	len = strlen(copy);
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (slash == copy)
		return strdup(copy);
	if (slash)
		*slash = '\0';
	parent = realpath(slash ? copy : ".", NULL);
	if (!parent)
		return NULL;
	if (asprintf(&ret, "%s/%s", strcmp(parent, "/") ? parent : "", slash ? slash + 1 : copy) <
		0)
		return NULL;
	return ret;
}

errint_t fuse_front_place(const char *path, char **ret, struct err *err)
{
	cleanup_free char *real = realpath(path, NULL);
	struct stat st;
	int r;

	*ret = NULL;
	if (!real && is_dead(errno))
		real = dead_realpath(path);
	if (!real) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "mount point %s: %s", path, err_text(NULL, r));
	}
	if (stat(real, &st) < 0 && !is_dead(errno)) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "mount point %s: %s", path, err_text(NULL, r));
	}
	if (stat(real, &st) == 0 && !S_ISDIR(st.st_mode))
		return err_set(
			err, -ENOTDIR, ERR_FINAL, "mount point %s: it is not a directory", path);
	*ret = steal_ptr(&real);
	return 0;
}

/* ---- unmounting ---- */

static errint_t run(char *const argv[])
{
	extern char **environ;
	posix_spawn_file_actions_t fa;
	pid_t pid = 0;
	int status = 0, rc;

	if (posix_spawn_file_actions_init(&fa))
		return -ENOMEM;
	(void)posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (rc)
		return -rc;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

errint_t place_detach(const char *mountpoint)
{
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)mountpoint, NULL};

	if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return run(argv);
}

errint_t fuse_front_free(const char *mountpoint, bool clean_dead, struct err *err)
{
	struct place_mount m;
	errint_t r;

	/* A crash may have left several on top of each other. */
	for (unsigned i = 0; i < 16; i++) {
		if (!place_mount_find(mountpoint, &m))
			return 0;
		if (!place_dead(mountpoint, &m)) {
			/* Its watching process may have been quicker. */
			if (!place_mount_find(mountpoint, &m))
				continue;
			return err_set(err, -EBUSY, ERR_FINAL,
				"mount point %s is in use: %s is mounted there", mountpoint,
				!strcmp(m.type, FSTYPE) ? "another astrafs" : m.type);
		}
		if (strcmp(m.type, FSTYPE) != 0)
			return err_set(err, -EBUSY, ERR_FINAL,
				"mount point %s is in use: a dead %s is mounted there; unmount it "
				"with 'umount -l %s'",
				mountpoint, m.type, mountpoint);
		if (!clean_dead)
			return 0;
		log_notice("fuse", "%s: unmounting what a crash left behind", mountpoint);
		r = place_detach(mountpoint);
		/* Its watching process may have been quicker. */
		if (r && place_mount_find(mountpoint, &m) && place_dead(mountpoint, &m))
			return err_set(err, r, ERR_FINAL,
				"cannot unmount the dead mount at %s: %s; try 'umount -l %s'",
				mountpoint, err_text(NULL, r), mountpoint);
	}
	return err_set(
		err, -EBUSY, ERR_FINAL, "mount point %s: mounted many times over", mountpoint);
}
