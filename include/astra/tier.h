/* SPDX-License-Identifier: MIT */
/*
 * The tiering engine: gathers facts from the index, lets policy_decide() judge, and posts
 * transitions. A thread of its own makes a pass each interval; a run on demand does the same for a
 * part of the tree, prints what it thinks, and waits for its jobs.
 *
 * Never touched: files that are dirty or under some job; an open file is not taken offline. A
 * pinned file is not judged, but brought to where it is pinned, whatever the mode is: that is the
 * user's order, and what is written into a pinned directory lands in HOT first. What was judged is
 * looked at again in the transaction that posts the job.
 */
#ifndef ASTRA_TIER_H
#define ASTRA_TIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "astra/base_buf.h"
#include "astra/job.h"
#include "astra/meta.h"
#include "astra/policy.h"
#include "astra/store.h"

struct tier_engine;

enum tier_mode { TIER_ACT, TIER_ADVISE, TIER_OFF };

struct tier_conf {
	struct meta *meta;
	struct jobs *jobs;
	struct remote *remotes;
	size_t nremotes;
	const struct policy_rules *rules;
	const struct price_book *prices;
	bool ro; /* the mount is read-only: only advise */
	/* Some handle has ino open; called inside index transactions. May be NULL. */
	bool (*is_open)(void *arg, uint64_t ino);
	void *is_open_arg;
	/* of [policy], by tier_conf_parse() */
	enum tier_mode mode;
	bool mode_given; /* in the configuration: real clouds are acted on only then */
	int64_t interval_ns;
	int64_t pin_delay_ns; /* COLD and ARCHIVE pins apply so long after the last change */
	unsigned from_min, until_min; /* minutes of the local day; equal = always */
};

/* Keys of [policy] that are the engine's; for policy_rules_parse(). */
extern const char *const tier_keys[];
extern const size_t tier_nkeys;
/* Reads mode, interval, hours and pin_delay; the rest of ret is left alone. */
errint_t tier_conf_parse(const struct conf *c, struct tier_conf *ret, struct err *err);
const char *tier_mode_name(enum tier_mode m);

/* Starts the thread. */
errint_t tier_engine_new(const struct tier_conf *conf, struct tier_engine **ret, struct err *err);
void tier_engine_kick(struct tier_engine *e); /* a pass now, also outside of the hours */
/* Ends the pass under way and the thread; runs on demand may go on. */
void tier_engine_stop(struct tier_engine *e);
/* Stops; runs on demand must have ended. NULL is fine. */
void tier_engine_destroy(struct tier_engine *e);

struct tier_stat {
	enum tier_mode mode;	  /* on embedded clouds, if there are any */
	enum tier_mode mode_real; /* on real ones, if there are any; else the same */
	bool running;
	uint64_t passes;
	int64_t last_start_ns, last_end_ns, next_ns; /* wall clock; 0 = never */
	uint64_t files, moves, failed; /* of the last pass, or the last tier_run of all files */
	money_t saving;		       /* a month, of what the last pass moved */
};
void tier_stat(struct tier_engine *e, struct tier_stat *ret);

/* Facts of one file with the strings they refer to. */
struct tier_facts {
	struct policy_facts f;
	char path[4096], name[META_NAME_MAX + 1], class_name[META_CLASS_MAX];
	const char *classes[TIER_N];
	bool real; /* moves cost somebody money */
};
/* -EINVAL for what is no file of a configured remote. */
errint_t tier_facts(struct tier_engine *e, struct meta_txn *t, const struct meta_inode *in,
	int64_t now_ns, struct tier_facts *ret);

struct tier_run {
	/* what */
	uint64_t ino; /* a file, or a directory for all below */
	bool dry_run;
	const atomic_bool *cancel; /* may be NULL */
	/* Text of the print as it is made: not NUL-terminated. Non-zero ends the run. May be NULL.
	 */
	int (*text)(void *arg, const char *p, size_t len);
	/* Each file judged; may be NULL. */
	int (*file)(void *arg, uint64_t ino, const struct policy_facts *f, const struct verdict *v);
	void *arg;
	/* answers */
	struct policy_totals totals;
};
/* Judges, prints, moves, waits. Runs in the caller's thread; several may. */
errint_t tier_run(struct tier_engine *e, struct tier_run *run, struct err *err);

/* Every file at or below ino, in slices. fn is called inside a short read transaction and must be
 * quick; between (may be NULL) after each slice, without one. Either ends the walk by returning
 * non-zero, which is the result when negative. A tree that changes meanwhile is seen as it is when
 * its turn comes. */
errint_t tier_walk(struct tier_engine *e, uint64_t ino,
	int (*fn)(void *arg, struct meta_txn *t, const struct meta_inode *in),
	int (*between)(void *arg), void *arg);

#endif
