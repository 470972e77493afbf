/* SPDX-License-Identifier: MIT */
/* Cleanup attributes for what lives no longer than a function. */
#ifndef ASTRA_BASE_CLEANUP_H
#define ASTRA_BASE_CLEANUP_H

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_p(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fd_p(int *fd)
{
	if (*fd >= 0) {
		int keep = errno;

		(void)close(*fd);
		errno = keep;
		*fd = -1;
	}
}

#define cleanup_free __attribute__((cleanup(cleanup_free_p)))
#define cleanup_fd   __attribute__((cleanup(cleanup_fd_p)))

/* Moves ownership out of a cleanup variable: return steal_ptr(&p); */
static inline void *steal_ptr_(void *pp)
{
	void *p = *(void **)pp;

	*(void **)pp = NULL;
	return p;
}
#define steal_ptr(pp) ((__typeof__(*(pp)))steal_ptr_(pp))

static inline int steal_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

#define ARRAY_SIZE(a)		      (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b)		      ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b)		      ((a) > (b) ? (a) : (b))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#endif
