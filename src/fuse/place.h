/* SPDX-License-Identifier: MIT */
#ifndef FUSE_PLACE_H
#define FUSE_PLACE_H

#include <stdbool.h>

#include "astra/base_err.h"

struct place_mount {
	unsigned dev_major, dev_minor;
	char type[64];
};

/* What is mounted at exactly this path, the topmost. Sends no request to any file system. */
bool place_mount_find(const char *mountpoint, struct place_mount *ret);
/* Its daemon has gone: whoever uses it gets ENOTCONN. */
bool place_dead(const char *mountpoint, const struct place_mount *m);
errint_t place_detach(const char *mountpoint);

#endif
