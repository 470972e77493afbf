/* SPDX-License-Identifier: MIT */
/* What the index remembers of each remote, by its name: which store it is. */
#ifndef DAEMON_KNOWN_H
#define DAEMON_KNOWN_H

#include "astra/base_err.h"
#include "astra/meta.h"
#include "options.h"

struct known { /* the remotes of the configuration */
	const struct options *o;
	struct remote_ident *ident; /* owned */
	size_t n;
};

/* The state directory of o is known. -EINVAL is an error of the configuration. */
errint_t known_read(const struct options *o, struct known *ret, struct err *err);
void known_done(struct known *k);
#define cleanup_known __attribute__((cleanup(known_done)))

/* -EINVAL: the state, the data directory or a local remote is at or below the mount point, of
 * fuse_front_place(). Makes nothing. */
errint_t known_apart(const struct known *k, const char *place, struct err *err);
/* -EINVAL: moved= names a remote that the configuration does not have. Makes nothing. */
errint_t known_moved(const struct options *o, struct err *err);
/* The index of a stopped mount. read_only: it is not changed; -ENOENT. */
errint_t known_index(const struct options *o, bool read_only, struct meta **ret, struct err *err);
/* -EPERM: one of them was another store when the index last had it, and is not one of moved=; says
 * what it was and what to do. Changes nothing; without an index all is well. */
errint_t known_check(const struct known *k, struct err *err);
errint_t known_check_index(const struct known *k, struct meta *m, struct err *err);
/* Remembers those that are new, moved or of before this was remembered. */
errint_t known_write(const struct known *k, struct meta *m);

#endif
