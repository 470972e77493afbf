/* SPDX-License-Identifier: MIT */
/*
 * How many requests at a time a remote takes: found out from its answers. See adapt.c. No clock and
 * no lock of its own; the caller has both.
 */
#ifndef STORE_ADAPT_H
#define STORE_ADAPT_H

#include <stdbool.h>
#include <stdint.h>

/* Requests that take alike, by their own; bulk = with a body, or with more to be done than
 * another: nothing is learned from how long these take. */
enum adapt_kind { ADAPT_READ, ADAPT_WRITE, ADAPT_REMOVE, ADAPT_BULK, ADAPT_KINDS };
enum adapt_end { ADAPT_DONE, ADAPT_REFUSED, ADAPT_FAILED };

struct adapt {
	unsigned max;	/* constant */
	double limit;	/* at a time */
	bool steep;	/* until the first sign of trouble it doubles with each round trip */
	double ceiling; /* above it, it was too much, and is tried seldom; 0 = none is known */
	int64_t cut_ns; /* when it was last refused; mono, as all here */
	unsigned bulk;	/* under way */
	struct {	/* the shortest, in this stretch of time and the one before it; 0 = none */
		int64_t now, before;
	} least[ADAPT_BULK];
	int64_t least_since_ns;
	double slow; /* how much longer than the shortest, lately; with nothing of much under way */
	struct {     /* what is looked at together */
		int64_t start_ns;
		unsigned n, n_full; /* answers; of requests that were sent near the limit */
		unsigned most;	    /* that were under way */
		bool bulk;
		double limit;
		double stretch; /* sum of how much longer than the shortest */
		struct {
			unsigned n;
			int64_t ns;
		} kind[ADAPT_BULK];
	} period;
	double rate;	   /* answers a second in the last period; 0 = it says nothing */
	double rate_limit; /* the limit then */
	double tried; /* the limit before it was made smaller to see what happens; 0 = it was not */
	unsigned rest, rests; /* periods until that is tried again */
	unsigned held;	      /* periods in which it did not grow for that */
};

struct adapt_call {
	int64_t start_ns;
	unsigned beside; /* under way when it was sent, with it */
	enum adapt_kind kind;
};

void adapt_init(struct adapt *a, unsigned max, int64_t now_ns);
/* A request is sent, the beside-th of those under way. */
void adapt_sent(struct adapt *a, struct adapt_call *c, enum adapt_kind kind, unsigned beside,
	int64_t now_ns);
/* wanted: others wait for their turn. */
void adapt_answered(struct adapt *a, const struct adapt_call *c, enum adapt_end end, bool wanted,
	int64_t now_ns);
/* How many may be under way; at least 1. */
unsigned adapt_limit(const struct adapt *a);

#endif
