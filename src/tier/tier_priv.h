/* SPDX-License-Identifier: MIT */
/* Inside the tier room: engine.c (thread, hours), scan.c (facts, walks), run.c (judge and act),
 * ask.c (classes that nobody knows). */
#ifndef TIER_PRIV_H
#define TIER_PRIV_H

#include <pthread.h>

#include "astra/base_lock.h"
#include "astra/tier.h"

#define TIER_SLICE 1024 /* files between two short transactions */
#define TIER_ASKS  16	/* at a time */

struct tier_engine {
	struct tier_conf conf; /* constant */
	atomic_bool cancel;    /* ends the pass under way */
	pthread_t thread;
	bool has_thread;

	struct lock lock; /* RANK_TIER */
	pthread_cond_t wake;
	struct {
		bool stop, kick;
		struct tier_stat stat;
	} s; /* lock */
};

/* A pass of the engine's thread: judges everything, posts and does not wait. */
struct tier_pass {
	uint64_t files, moves, failed;
	money_t saving;
};
errint_t tier_pass_run(struct tier_engine *e, struct tier_pass *ret);

struct tier_asks { /* of one thread */
	struct jobs *jobs;
	const atomic_bool *cancel; /* may be NULL */
	struct lock lock;	   /* RANK_TIER */
	pthread_cond_t ended;
	struct tier_asking {
		struct job_waiter waiter;
		struct tier_asks *of;
		bool busy;
	} one[TIER_ASKS];      /* lock */
	unsigned nbusy, nvain; /* lock */
};
void tier_asks_init(struct tier_asks *s, struct jobs *jobs, const atomic_bool *cancel);
/* Asks for the class of in's object, behind the back of the caller. */
void tier_ask(struct tier_asks *s, const struct meta_inode *in);
void tier_asks_wait(struct tier_asks *s);
void tier_asks_done(struct tier_asks *s); /* after that */

/* A run on demand of all files has ended: the last pass, for who asks. */
void engine_ran(struct tier_engine *e, int64_t start_ns, const struct policy_totals *t);

#endif
