/* SPDX-License-Identifier: MIT */
/* The last jobs of a mount. */
#ifndef DAEMON_DRAIN_H
#define DAEMON_DRAIN_H

#include <stdatomic.h>
#include <stdint.h>

struct ctl_end;
struct jobs;
struct vfs;

struct drain {
	struct vfs *vfs; /* without its kernel: nothing changes any more */
	struct jobs *jobs;
	int64_t max_ns;
	const atomic_bool *hurry; /* from another thread: not a moment longer */
};

/* Posts everything dirty and lets jobs run until none is left, none of those that are can go on
 * by itself, or the time is over. *ret is what the journal keeps. */
void drain_run(const struct drain *d, struct ctl_end *ret);

#endif
