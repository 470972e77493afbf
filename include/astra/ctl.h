/* SPDX-License-Identifier: MIT */
/*
 * Control: verbs over a UNIX socket that only its owner (and root) can use. One JSON line asks,
 * one or more answer:
 *
 *	-> {"verb":"ls","path":"/aws"}
 *	<- {"item":{...}}			any number of these
 *	<- {"text":"..."}			what a person reads, to be printed as it is
 *	<- {"progress":{...}}			as often as something changed
 *	<- {"ok":true,"data":{...}}		the last line; or
 *	<- {"ok":false,"errno":2,"error":"/aws/x: no such file"}
 *
 * The sockets of all mounts of a user lie in one directory: for root /run/astrafs, for others the
 * first of $XDG_RUNTIME_DIR/astrafs, /run/user/UID/astrafs and /tmp/astrafs-UID that can be used;
 * astra looks in all of these. $ASTRA_RUNTIME_DIR replaces them. The face has two halves: the
 * server, for the daemon, and the client, for astra.
 */
#ifndef ASTRA_CTL_H
#define ASTRA_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "astra/base_err.h"
#include "astra/base_json.h"

/* ---- server ---- */

struct ctl;
struct vfs;
struct jobs;
struct tier_engine;
struct meta;
struct stage;
struct bufs;
struct remote;
struct store_budget;
struct policy_rules;
struct price_book;

struct ctl_conf {
	const char *name; /* of the socket: one file name, see options_name_of() */
	const char *mountpoint, *state, *version;
	struct vfs *vfs;
	struct jobs *jobs;
	struct tier_engine *tier;
	struct meta *meta;
	struct stage *stage;
	struct bufs *bufs;
	struct remote *remotes;
	size_t nremotes;
	struct store_budget *budget; /* NULL = none */
	const struct policy_rules *rules;
	const struct price_book *prices;
	uint32_t uid; /* of files made here */
	uint32_t gid;
	bool ro;
	int64_t drain_ns;	 /* how long the end may take */
	void (*stop)(void *arg); /* asks the daemon to end; returns at once */
	void *stop_arg;
};

/* Copies conf and its strings, binds the socket, starts the thread that accepts. */
errint_t ctl_open(const struct ctl_conf *conf, struct ctl **ret, struct err *err);

/* What the end of a mount left: the journal keeps it. */
struct ctl_end {
	uint64_t jobs, files; /* files: changed, and not yet a job's */
	char why[800];	      /* "" when nothing is left */
};
/* Nobody uses the mount any more: jobs are being finished. s may be NULL. */
void ctl_unmounted(struct ctl *s);
/* The jobs have ended, or will not before the next mount: tells those who asked for the end. At
 * most once, before ctl_close; s may be NULL. */
void ctl_drained(struct ctl *s, const struct ctl_end *end);

/* Ends all verbs (they answer ECANCELED) and their threads. NULL is fine. Connections that asked
 * for the end of the daemon stay open until the process ends: that is their answer. */
void ctl_close(struct ctl *c);

/* ---- client ---- */

#define CTL_LINE_MAX (1u << 20)

/* What age-file and simulate-access take. */
#define CTL_DAYS_MAX  36500
#define CTL_COUNT_MAX 1000000

/* Where a new socket goes, in a directory that is the user's alone or not there yet. An error says
 * what hinders, and what to do; ret then has the last one tried. */
errint_t ctl_dir(char *ret, size_t size, struct err *err);

struct ctl_mount {	  /* one that answers */
	int fd;		  /* connected, nothing asked; owned */
	char *mountpoint; /* owned */
	char *socket;	  /* owned */
};
void ctl_mount_done(struct ctl_mount *m);
/* All mounts that answer. *ret is an owned array. 0 with err filled: one that has no room for us is
 * not among them. */
errint_t ctl_mounts(struct ctl_mount **ret, size_t *ret_n, struct err *err);

/* Connects to a socket; the descriptor or -errno. -EAGAIN: at that moment (monotonic) it still had
 * no room for another one. */
int ctl_connect(const char *path, int64_t until_ns);
/* Sends a request and calls fn for each line but the last, whose "data" (or NULL) is *ret. An error
 * that the other side tells is its errno with err filled. fn returns non-zero to stop (-ECANCELED).
 */
errint_t ctl_ask(int fd, const json_t *request, int (*fn)(void *arg, const json_t *line), void *arg,
	json_t **ret, struct err *err);

#endif
