/* SPDX-License-Identifier: MIT */
/*
 * Requests at a time, found out: as many as the way there holds, without tuning, and no more than
 * the remote bears.
 *
 * Up: while somebody waits for his turn and requests are answered, it grows by one each round trip;
 * at the start, until the first sign of trouble, it doubles. So it does not grow beyond what is
 * used.
 *
 * Refused ("slow down"): it is halved, once for all that were sent before. What was under way when
 * the refused one was sent was too much: from one below that on, the ceiling, it grows slowly, for
 * each try beyond it costs refusals. Once the ceiling was passed unharmed it is forgotten.
 *
 * Slower: latency of small requests, by that of the shortest lately seen of their kind (bodies take
 * their own time, so that nothing is said while some are under way). At HELD times that it does not
 * grow. When a period's mean is SLOW times that (or HELD times, for long), and the period brought
 * no more answers a second than the one before, the limit is made smaller by an eighth, and the
 * next period shows whether it was of use: when as many answers came, requests only waited in a
 * queue over there, and it is left so. When fewer came, the time is the remote's own: the limit is
 * given back, and this latency is the measure from then on. So neither a shortest time that was
 * luck nor a remote that is slow for others can take it down step by step; nor does latency make it
 * smaller than it begins.
 *
 * Not by averages over all time: a remote that has more to give is found out within seconds.
 */
#include "adapt.h"

#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define START	      16
#define CALM	      19   /* latency makes smaller only what is as much, by an eighth */
#define SLOW	      4.0  /* times the shortest */
#define HELD	      3.0  /* such times: it grows no more */
#define HELD_MAX      8	   /* periods; then it is found out whether that is our doing */
#define SLOW_OVER     32   /* answers */
#define FULL	      0.8  /* of the limit: it is used */
#define LESS	      0.94 /* of the answers a second: fewer came */
#define PERIOD_NS     (1 * NS_PER_S)
#define PERIOD_OLD_NS (10 * NS_PER_S) /* what goes so slowly says nothing of the limit */
#define LEAST_NS      (300 * NS_PER_S)
#define ABOVE_ROUNDS  16 /* for one more above the ceiling */
#define ABOVE_LEAST   64 /* answers, at least */
#define RESTS_MAX     64

unsigned adapt_limit(const struct adapt *a)
{
	return a->limit < 1 ? 1 : (unsigned)a->limit;
}

static void period_begin(struct adapt *a, int64_t now_ns)
{
	memset(&a->period, 0, sizeof(a->period));
	a->period.start_ns = now_ns;
	a->period.limit = a->limit;
	a->period.bulk = a->bulk > 0;
}

void adapt_init(struct adapt *a, unsigned max, int64_t now_ns)
{
	*a = (struct adapt){.max = max, .steep = true, .least_since_ns = now_ns};
	a->limit = MIN_OF(max, (unsigned)START);
	period_begin(a, now_ns);
}

void adapt_sent(struct adapt *a, struct adapt_call *c, enum adapt_kind kind, unsigned beside,
	int64_t now_ns)
{
	*c = (struct adapt_call){.start_ns = now_ns, .beside = beside, .kind = kind};
	a->bulk += kind == ADAPT_BULK;
	a->period.bulk |= a->bulk > 0;
}

/* ---- refused ---- */

static void cut(struct adapt *a, const struct adapt_call *c, int64_t now_ns)
{
	double flight = MIN_OF((double)c->beside, a->limit);

	if (c->start_ns < a->cut_ns)
		return; /* sent before the last one was told */
	a->cut_ns = now_ns;
	a->steep = false;
	a->tried = 0;
	a->rate = 0;
	a->ceiling = MAX_OF((double)(unsigned)flight - 1, 1.0);
	a->limit = MAX_OF(flight / 2, 1.0);
	period_begin(a, now_ns);
}

/* ---- answered ---- */

static void grow(struct adapt *a)
{
	if (!a->steep && !a->bulk && a->slow > HELD && a->limit >= CALM)
		return; /* more would only wait longer */
	if (a->steep)
		a->limit += 1;
	else if (a->ceiling > 0 && a->limit >= a->ceiling)
		a->limit += 1 / MAX_OF(ABOVE_ROUNDS * a->limit, (double)ABOVE_LEAST);
	else
		a->limit += 1 / a->limit;
	if (a->limit >= a->ceiling + 2)
		a->ceiling = 0;
	a->limit = MIN_OF(a->limit, (double)a->max);
}

/* How much longer than the shortest it took. */
static double stretch(struct adapt *a, enum adapt_kind kind, int64_t took_ns)
{
	int64_t least;

	took_ns = MAX_OF(took_ns, (int64_t)1);
	if (!a->least[kind].now || took_ns < a->least[kind].now)
		a->least[kind].now = took_ns;
	least = a->least[kind].now;
	if (a->least[kind].before)
		least = MIN_OF(least, a->least[kind].before);
	return (double)took_ns / (double)least;
}

static void least_forget(struct adapt *a, int64_t now_ns)
{
	if (now_ns - a->least_since_ns < LEAST_NS)
		return;
	a->least_since_ns = now_ns;
	for (unsigned i = 0; i < ADAPT_BULK; i++) {
		if (!a->least[i].now)
			continue;
		a->least[i].before = a->least[i].now;
		a->least[i].now = 0;
	}
}

/* It is slow by itself: what it takes now is the measure. */
static void least_set(struct adapt *a)
{
	for (unsigned i = 0; i < ADAPT_BULK; i++) {
		if (!a->period.kind[i].n)
			continue;
		a->least[i].now = a->period.kind[i].ns / a->period.kind[i].n;
		a->least[i].before = 0;
	}
}

/* The limit was made smaller before this period. */
static void tried(struct adapt *a, double rate)
{
	if (rate < a->rate * LESS) {
		a->limit = a->tried;
		a->slow = 1;
		a->rests = MIN_OF(MAX_OF(2 * a->rests, 8u), (unsigned)RESTS_MAX);
		a->rest = a->rests;
		least_set(a);
	} else {
		a->rests = 0;
	}
	a->tried = 0;
}

/* The end of a period in which the limit was used by small requests alone. */
static void look(struct adapt *a, double slow, double rate)
{
	double grown = a->rate > 0 ? a->period.limit / a->rate_limit : 1;

	a->held = slow > HELD ? a->held + 1 : 0;
	if (a->tried > 0)
		tried(a, rate);
	else if (a->rest)
		a->rest--;
	else if ((slow > SLOW || a->held >= HELD_MAX) && a->rate > 0 && a->limit >= CALM &&
		 rate < a->rate * (1 + MAX_OF(grown - 1, 0.1) / 2)) {
		a->steep = false;
		a->held = 0;
		a->tried = a->limit;
		a->limit = a->limit * 7 / 8;
	}
	a->rate = rate;
	a->rate_limit = a->period.limit;
}

/* A period that says nothing of the limit. */
static void look_away(struct adapt *a, bool slow)
{
	a->rate = 0;
	if (a->tried > 0)
		a->limit = MAX_OF(a->limit, a->tried);
	a->tried = 0;
	if (slow) /* it was found out when more was wanted; what is used now says more */
		a->limit = MIN_OF(a->limit, MAX_OF((double)a->period.most, (double)CALM));
}

static void period_end(struct adapt *a, int64_t now_ns)
{
	int64_t took = now_ns - a->period.start_ns;
	unsigned n = a->period.n, enough = 4 * MIN_OF(adapt_limit(a), a->period.most);
	double slow = a->period.stretch / n;

	if (took < PERIOD_NS || (n < enough && took < PERIOD_OLD_NS))
		return;
	if (n < enough || a->period.bulk)
		look_away(a, false);
	else if (a->period.n_full < n / 2)
		look_away(a, slow > SLOW);
	else
		look(a, slow, n * (double)NS_PER_S / (double)took);
	period_begin(a, now_ns);
}

static void done(struct adapt *a, const struct adapt_call *c, bool wanted, int64_t now_ns)
{
	double slow;

	if (wanted && a->tried <= 0)
		grow(a);
	if (c->kind == ADAPT_BULK)
		return;
	slow = stretch(a, c->kind, now_ns - c->start_ns);
	if (!a->bulk)
		a->slow += (slow - a->slow) / SLOW_OVER;
	a->period.n++;
	a->period.n_full += c->beside >= FULL * adapt_limit(a);
	a->period.most = MAX_OF(a->period.most, c->beside);
	a->period.stretch += slow;
	a->period.kind[c->kind].n++;
	a->period.kind[c->kind].ns += now_ns - c->start_ns;
	least_forget(a, now_ns);
	period_end(a, now_ns);
}

void adapt_answered(struct adapt *a, const struct adapt_call *c, enum adapt_end end, bool wanted,
	int64_t now_ns)
{
	a->bulk -= c->kind == ADAPT_BULK;
	if (end == ADAPT_REFUSED)
		cut(a, c, now_ns);
	else if (end == ADAPT_DONE)
		done(a, c, wanted, now_ns);
}
