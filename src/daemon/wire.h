/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_WIRE_H
#define DAEMON_WIRE_H

#include "astra/base_err.h"
#include "options.h"

struct wire;

struct wire_conf {
	struct options *o;
	const char *place;	  /* the mount point; NULL: without FUSE, ctl and engine */
	void (*ready)(void *arg); /* the mount is usable */
	void *arg;
};

/* The sections that other rooms read, before anything is made. */
errint_t wire_check(const struct options *o, struct err *err);
/* Builds all rooms and mounts. -EINVAL is an error of the configuration. */
errint_t wire_up(const struct wire_conf *conf, struct wire **ret, struct err *err);
/* Serves until unmounted, then drains. */
errint_t wire_serve(struct wire *w, struct err *err);
/* Asks for the end: 1 = detach, serve what is open, drain; 2 = at once, the journal keeps the
 * rest. From the signal thread. */
void wire_stop(struct wire *w, unsigned nth);
/* Called every 100 ms after wire_stop: enforces its deadline. */
void wire_stop_tick(struct wire *w);
void wire_down(struct wire *w); /* NULL is fine */

struct jobs *wire_jobs(struct wire *w);
struct meta *wire_meta(struct wire *w);

#endif
