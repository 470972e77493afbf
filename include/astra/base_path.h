/* SPDX-License-Identifier: MIT */
/* Paths of this machine, whether or not what they name is there yet. No state; any thread. */
#ifndef ASTRA_BASE_PATH_H
#define ASTRA_BASE_PATH_H

/* An absolute path with its links resolved as far as it is there, and without a '/' at its end; the
 * rest keeps its words. Dead mounts count as not there. free() it; NULL without memory. */
char *path_real(const char *path);
/* What path has below dir: "" when it is dir itself, NULL when it is elsewhere. Both as
 * path_real() gives them; points into path. */
const char *path_below(const char *path, const char *dir);

#endif
