/* SPDX-License-Identifier: MIT */
/*
 * Where ext4 puts the bucket directories, and with them the files. Without a journal it gives no
 * inode out that was removed within the last minutes, and to make a file looks through all of these
 * in the group of its directory, one after another: after some thousand files were let go, that
 * takes ten times as long as the rest of it. Directories go to the group of the one above, so that
 * all buckets share theirs. Below one that counts as the top of a hierarchy each goes to another.
 * With a journal there is no such search, and it stays as it is.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "stage_priv.h"

#define NO_JOURNAL "<none>"

/* What the kernel says of the file system on that device; false where it does not say. */
static bool lacks_journal(dev_t dev)
{
	char link[64], to[256], path[320], task[16] = "";
	const char *name;
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	n = readlink(link, to, sizeof(to) - 1);
	if (n <= 0)
		return false;
	to[n] = 0;
	name = strrchr(to, '/');
	if (!name)
		return false;
	(void)snprintf(path, sizeof(path), "/sys/fs/ext4%s/journal_task", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, task, sizeof(task) - 1) > 0 &&
	       !strncmp(task, NO_JOURNAL, strlen(NO_JOURNAL));
}

void stage_spread(int dirfd)
{
	struct statfs fs;
	struct stat st;
	int flags = 0;

	if (fstatfs(dirfd, &fs) < 0 || fs.f_type != EXT4_SUPER_MAGIC || fstat(dirfd, &st) < 0 ||
		!lacks_journal(st.st_dev) || ioctl(dirfd, FS_IOC_GETFLAGS, &flags) < 0 ||
		(flags & FS_TOPDIR_FL))
		return;
	flags |= FS_TOPDIR_FL;
	(void)ioctl(dirfd, FS_IOC_SETFLAGS, &flags); /* refused: slower, and no worse */
}
