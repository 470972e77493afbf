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
errint_t place_detach(const char *mountpoint);
bool place_has_fusermount(void);

#endif
