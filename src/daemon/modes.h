/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_MODES_H
#define DAEMON_MODES_H

#include "options.h"

/* --check, --dump, --load, --rebuild: work on the index of a stopped mount. Takes the lock of the
 * state directory. The process's exit status. */
int modes_run(struct options *o);

#endif
