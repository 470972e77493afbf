/* SPDX-License-Identifier: MIT */
/*
 * Which program asks. The kernel gives a thread's id; the program is the executable of its thread
 * group, the script that an interpreter runs, or, where /proc does not say, its 15-byte name.
 */
#include "vfs_priv.h"

#include <stdio.h>

static bool in_list(const char *const *list, const char *name)
{
	for (; list && *list; list++) {
		if (!strcmp(*list, name))
			return true;
	}
	return false;
}

static const char *base_name(const char *path)
{
	const char *s = strrchr(path, '/');

	return s ? s + 1 : path;
}

static ssize_t proc_read(int pid, const char *what, char *buf, size_t size)
{
	char path[64];
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

static int thread_group(int tid)
{
	char buf[1024], *s;

	if (proc_read(tid, "status", buf, sizeof(buf)) < 0)
		return tid;
	s = strstr(buf, "\nTgid:");
	return s ? atoi(s + 6) : tid;
}

void who_get(int tid, struct who *w)
{
	static const char *const interpreters[] = {"python", "perl", "ruby", "bash", "sh", "dash"};
	char path[64], buf[4096], *s;
	int pid = tid; /* its threads have one executable and one command line */
	ssize_t n;

	memset(w, 0, sizeof(*w));
	(void)snprintf(path, sizeof(path), "/proc/%d/exe", tid);
	n = readlink(path, buf, sizeof(buf) - 1);
	if (n > 0) {
		buf[n] = '\0';
		s = strstr(buf, " (deleted)");
		if (s)
			*s = '\0';
		(void)snprintf(w->exe, sizeof(w->exe), "%.255s", base_name(buf));
	} else {
		pid = thread_group(tid); /* its name is all there is */
	}
	n = proc_read(pid, "comm", buf, sizeof(buf));
	if (n > 0) {
		buf[strcspn(buf, "\n")] = '\0';
		(void)snprintf(w->comm, sizeof(w->comm), "%.15s", buf);
	}
	for (size_t i = 0; i < ARRAY_SIZE(interpreters); i++) {
		if (strncmp(w->exe, interpreters[i], strlen(interpreters[i])))
			continue;
		n = proc_read(pid, "cmdline", buf, sizeof(buf));
		s = n > 0 ? memchr(buf, '\0', (size_t)n) : NULL;
		if (s && s + 1 < buf + n)
			(void)snprintf(w->script, sizeof(w->script), "%.255s", base_name(s + 1));
		break;
	}
}

bool who_in(const struct who *w, const char *const *list)
{
	if (in_list(list, w->exe) || (*w->script && in_list(list, w->script)))
		return true;
	for (; list && *list; list++) {
		if (*w->comm && !strncmp(*list, w->comm, 15) && strlen(*list) >= 15)
			return true;
		if (*w->comm && !strcmp(*list, w->comm))
			return true;
	}
	return false;
}
