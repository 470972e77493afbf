/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include <stdint.h>

#include "astra/base_err.h"

/* mkdir -p with mode 0700; what is there stays as it is. */
errint_t state_mkdir(const char *path, struct err *err);
/* Takes the lock of a state directory (made when missing), waiting up to wait_ns for another
 * astrafs that still drains; on_wait is called once, with a line that says so, before the wait.
 * SIGTERM and SIGINT, blocked by the caller, end the wait. */
errint_t state_lock(const char *dir, int64_t wait_ns, void (*on_wait)(void *arg, const char *line),
	void *arg, int *ret_fd, struct err *err);
/* The id of this boot, without newline; ASTRA_BOOT_ID_FILE names another file to read it from. */
errint_t state_boot_id(char ret[64], struct err *err);

#endif
