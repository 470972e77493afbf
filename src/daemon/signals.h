/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_SIGNALS_H
#define DAEMON_SIGNALS_H

#include "astra/base_err.h"
#include "wire.h"

/* Blocks what the signal thread takes; before any thread exists. */
void signals_block(void);
/* Starts the thread that turns SIGTERM and SIGINT into wire_stop() and SIGHUP into a new log. */
errint_t signals_start(struct wire *w, struct err *err);
/* Ends it; before wire_down(). Fine when it was not started. */
void signals_end(void);

#endif
