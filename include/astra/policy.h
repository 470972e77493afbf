/* SPDX-License-Identifier: MIT */
/*
 * Rules, price books, the verdict. Pure: nothing here reads a clock, disk, network or lock, and
 * policy_decide() allocates nothing, so every function may be called from any thread as long as
 * the structs it is given are not being changed. Logs nothing.
 *
 * Default rules (policy "astra"): reads and writes of the last 30 days: >= 10 HOT, 5-9 WARM;
 * fewer: by the days since the last access (creation if never) [0,30) HOT, [30,90) WARM,
 * [90,180) COLD, else ARCHIVE, or the tier of the first matching name pattern where that is
 * colder; a HOT pattern holds in HOT. Act when the storage bill falls by more than the threshold.
 * So only moves that lower the storage bill are ever made: what deserves a warmer tier gets it as
 * the recommendation and stays (reason no-saving). The cost guard vetoes what does not pay.
 */
#ifndef ASTRA_POLICY_H
#define ASTRA_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_buf.h"
#include "astra/base_conf.h"
#include "astra/base_money.h"
#include "astra/base_tier.h"

/* ---- price books ---- */

struct price_class {			 /* one tier of one provider */
	char name[32];			 /* the provider's word */
	char first_byte[16];		 /* "instant", "minutes", "hours" */
	money_t storage;		 /* per byte and month */
	money_t retrieval;		 /* per byte read out of it */
	money_t write, read, transition; /* per request; per object that changes into it */
	unsigned min_days;		 /* billed at least this long */
	uint64_t min_size;		 /* billed as if at least this large */
	uint64_t overhead, overhead_hot; /* bytes billed on top, at its own rate and at HOT's */
};

enum { PRICE_PROVIDERS = 4 }; /* aws, gcp, azure, local */

struct price_provider {
	char name[16];
	money_t egress; /* per byte that leaves the cloud */
	struct price_class tiers[TIER_N];
};

struct price_book {
	char name[32], date[16]; /* date: YYYY-MM-DD of the prices */
	struct price_provider providers[PRICE_PROVIDERS];
};

/* The demo's book: storage prices only, everything else 0; "local" is free. Static. */
const struct price_book *price_book_astra(void);
/* *ret = the book called name: "astra" with the keys of section [prices NAME] laid over it:
 *   PROVIDER.TIER.storage|retrieval ($ per GB, 10^9)   .write|read|transition ($ per 1,000)
 *   .min_days  .min_size|overhead|overhead_hot (sizes)  .class  .first_byte
 *   PROVIDER.egress ($ per GB)  PROVIDER.gb=GB|GiB (what this section's prices count in)  date=
 * Checks all [prices ...] sections; errors name file, line and the nearest known word. */
errint_t price_book_parse(
	const struct conf *c, const char *name, struct price_book *ret, struct err *err);
const struct price_provider *price_find(const struct price_book *b, const char *provider);

/* One month of storing size bytes, minimum size and overhead included. */
money_t price_month(const struct price_provider *p, enum tier t, uint64_t size);
/* Reading all of it now, from outside the cloud: request, retrieval, egress. */
money_t price_read(const struct price_provider *p, enum tier t, uint64_t size);

struct price_move {				/* the question, then the answer */
	const struct price_provider *from, *to; /* the same one: a change of class */
	enum tier from_tier, to_tier;
	uint64_t size;
	unsigned parts; /* requests a copy takes; 0 counts as 1; not used inside one cloud */
	int64_t held_s; /* seconds it has been in from_tier; < 0 = not known, as if 0 */
	unsigned retained_days; /* the old version stays billed that long after the move */
	money_t requests, retrieval, early, egress, retained, total; /* paid once */
	money_t saving; /* a month, storage only; may be negative */
};
void price_move_cost(struct price_move *m);
/* Whole months until fees are earned back, rounded up: 0 without fees; UINT_MAX = never, as where
 * nothing is saved, but more paid. */
unsigned price_payback_months(money_t fees, money_t saving);

/* ---- rules ---- */

enum { POLICY_RULES_MAX = 128 };

struct policy_rule {
	char name[48], match[128]; /* glob on the name, or on the path when it has a '/' */
	char why[64];
	enum tier tier;
	int64_t order;
	bool builtin;
};

struct policy_rules {
	char name[32], prices[32];	   /* "astra"; the price book to use */
	money_t threshold;		   /* a month */
	int64_t window_ns, age_ns[TIER_N]; /* age_ns[t]: t from this age on; [TIER_HOT] = 0 */
	int64_t horizon_ns;		   /* fees must be earned back in this time */
	uint64_t hot_accesses, warm_accesses;
	unsigned nrules;
	struct policy_rule rules[POLICY_RULES_MAX]; /* in matching order */
};

void policy_rules_default(struct policy_rules *ret);
/* The defaults with [policy] (name prices threshold window hot_accesses warm_accesses age_warm
 * age_cold age_archive horizon) and the [rule NAME] sections (match= tier= order= reason=; in
 * front of the built-in patterns, by order, then as written). also: keys of [policy] that belong
 * to another room. -EINVAL names file and line. */
errint_t policy_rules_parse(const struct conf *c, const char *const *also, size_t nalso,
	struct policy_rules *ret, struct err *err);
/* '*', '?', '[a-z]', '[!a]', '\x' on bytes; '*' also crosses '/'. */
bool policy_glob(const char *pattern, const char *s);

/* ---- the verdict ---- */

struct policy_facts { /* strings borrowed; zero-initialised = unknown */
	const char *name,
		*path;		/* last component, never NULL; "aws/a/b" below the mount, or NULL */
	const char *cloud;	/* the remote's name, for print; NULL = provider */
	const char *provider;	/* "aws" ...; which prices apply */
	const char *class_name; /* the class it is in; NULL = the book's word for tier */
	const char *const *classes; /* TIER_N names of the remote, "" or NULL = not offered; NULL
				     * = all offered, under the book's names */
	uint64_t size;
	enum tier tier, pin; /* pin: the tier forced by the user, if pinned */
	bool pinned;
	bool unknown; /* nobody knows its class: tier and class_name mean nothing */
	int64_t created_ns, last_access_ns, tier_since_ns; /* 0 = not known, never */
	uint64_t accesses_window, accesses_total;	   /* in the last rules.window_ns; ever */
	uint64_t bytes_window;	/* fetched from the cloud in the window */
	unsigned retained_days; /* versioning, soft delete: see struct price_move */
	bool archived;		/* its class cannot be changed before a restore */
	bool open, busy;	/* has open handles; dirty, not settled or with a job under way */
	bool managed, locked;	/* the provider's auto-tier has it; object lock */
};

/* clang-format off */
#define POLICY_REASON_LIST(X) \
	X(PINNED, "pinned") X(COUNT_HIGH, "count-high") X(COUNT_MID, "count-mid") \
	X(RECENT, "recent") X(AGE, "age") X(COUNT_LOW, "count-low") \
	X(PATTERN, "pattern") X(HELD_HOT, "held-hot") X(NOT_OFFERED, "not-offered") \
	X(COST, "cost") X(OPTIMAL, "optimal") X(NO_SAVING, "no-saving") \
	X(THRESHOLD, "below-threshold") X(UNPRICED, "unpriced") X(V_BUSY, "busy") \
	X(V_OPEN, "open") X(V_ARCHIVED, "archived") X(V_LOCKED, "locked") \
	X(V_MANAGED, "managed") X(V_MIN_SIZE, "min-size") X(V_READS, "reads") \
	X(V_FEES, "fees") X(V_EARLY, "min-days") X(UNKNOWN, "class-unknown")
enum policy_reason {
#define X(id, name) REASON_##id,
	POLICY_REASON_LIST(X)
#undef X
	REASON_N
};
/* clang-format on */
const char *policy_reason_name(enum policy_reason r); /* "count-high": for JSON; never NULL */

enum policy_action { POLICY_KEEP, POLICY_MOVE, POLICY_VETO, POLICY_PINNED };
const char *policy_action_name(enum policy_action a); /* "keep" ... */

enum { POLICY_REASONS_MAX = 8 };

struct verdict {
	enum policy_action action;
	enum tier tier;	      /* recommended (pinned: the pin), also where nothing is to be done */
	enum tier count_tier; /* by number of accesses; TIER_N = too few, age and name decided */
	enum tier age_tier;
	const struct policy_rule *rule;	      /* the pattern that matched, of rules, or NULL */
	int64_t age_days;		      /* whole days since the last access, or creation */
	money_t cost_now, cost_after, saving; /* a month, in the tiers facts.tier and tier; 0
					       * where that is not known */
	money_t reads_extra;	 /* a month: what the reads of the window would cost more there */
	struct price_move move;	 /* fees of the move; zero unless it was considered */
	unsigned payback_months; /* of fees against saving - reads_extra */
	unsigned nreasons;
	enum policy_reason reasons[POLICY_REASONS_MAX]; /* in print order */
};

/* Judges one object. Move: change it to v->tier. Veto: the rules say move, the guard or a state
 * of the file says not now. Pinned: the user's word, nothing to do for the engine. Where the class
 * is unknown it is kept. */
void policy_decide(const struct policy_rules *r, const struct price_book *b,
	const struct policy_facts *f, int64_t now_ns, struct verdict *v);
/* f's class is unknown: there is one with which the verdict would be to move it. */
bool policy_needs_class(const struct policy_rules *r, const struct price_book *b,
	const struct policy_facts *f, int64_t now_ns);

/* ---- print ---- */

/* Reason i of v as a line without newline: "Age factor: 120 days -> Suggests COLD". */
errint_t policy_reason_text(struct buf *out, const struct policy_rules *r,
	const struct policy_facts *f, const struct verdict *v, unsigned i);
/* "Migrate to GLACIER", "Keep in HOT tier (optimal)", ... without newline. */
errint_t policy_decision_text(struct buf *out, const struct price_book *b,
	const struct policy_facts *f, const struct verdict *v);
/* The engine's print for one file: heading, state, analysis, decision, saving. */
errint_t policy_report_file(struct buf *out, const struct policy_rules *r,
	const struct price_book *b, const struct policy_facts *f, const struct verdict *v);

struct policy_cell {
	uint64_t files, bytes;
	money_t cost;
};

struct policy_totals { /* zero-initialise; then set dry_run and time_ns */
	uint64_t files, bytes, accesses;
	uint64_t unknown_files,
		unknown_bytes; /* of these, of no known class: in no cost, no cell */
	uint64_t moves, optimal, vetoed, pinned, failed;
	money_t before, after, all_hot;
	struct policy_cell cells[PRICE_PROVIDERS][TIER_N]; /* as it is afterwards */
	bool dry_run;
	int64_t time_ns;
};
/* Counts one object. v NULL: only as it is now (dashboard). done: the move that v asks for was
 * made (or, in a dry run, would be); else it counts as failed. */
void policy_totals_add(struct policy_totals *t, const struct price_book *b,
	const struct policy_facts *f, const struct verdict *v, bool done);
errint_t policy_report_summary(struct buf *out, const struct policy_totals *t);
/* "Total Files: 4" ... tier distribution, cost against all-HOT, savings. */
errint_t policy_report_dashboard(
	struct buf *out, const struct price_book *b, const struct policy_totals *t);
/* What lies in cold tiers against the other clouds' and the same cloud's best tier, with egress
 * and pay-back. Nothing is printed when nothing is there. */
errint_t policy_report_cross_cloud(
	struct buf *out, const struct price_book *b, const struct policy_totals *t);

/* ---- a migration between clouds ---- */

struct policy_bill { /* of one object that moved, or of many */
	money_t requests, retrieval, early, egress, total; /* paid once */
	money_t month_from, month_to;			   /* storage, in either place */
	bool unpriced;					   /* something has no prices */
};
/* Adds the move that m asks about. */
void policy_bill_add(struct policy_bill *b, struct price_move *m);

struct policy_migration { /* strings borrowed */
	const char *path; /* below the mount */
	bool dir;
	uint64_t size, files; /* files: of a directory, what is below it */
	const char *src_cloud, *src_region, *dst_cloud, *dst_region; /* the remotes' names */
	const char *src_provider, *dst_provider;
	enum tier src_tier, dst_tier; /* of a file */
	/* before */
	const char *src_trouble, *dst_trouble; /* NULL: it is there, it answers */
	uint64_t speed; /* bytes a second that moved this way lately; 0 = not known */
	/* after */
	const char *failure; /* NULL: all is well */
	int64_t time_ns;
	uint64_t parts, part_size, retries; /* part_size 0: in one piece */
	int64_t held_s;			    /* it had been in src_tier; < 0 = not known */
	struct policy_bill bill; /* of a directory given, of a file by policy_migration_cost() */
	/* by policy_migration_cost() */
	bool priced;
	unsigned payback_gross, payback_months; /* against month_from; against the net saving */
};
void policy_migration_cost(const struct price_book *b, struct policy_migration *m);
/* Source, destination, checks, estimate. */
errint_t policy_report_plan(struct buf *out, const struct policy_migration *m);
/* Time, speed, chunks, retries, cost, pay-back. */
errint_t policy_report_migration(struct buf *out, const struct policy_migration *m);

#endif
