/* SPDX-License-Identifier: MIT */
/*
 * The verdict on one object: what its accesses, age and name say, what that costs or saves, and
 * whether the guard lets it happen. Pure and free of allocation: it runs over millions of objects
 * in a pass, and tables of facts test it.
 *
 *	accesses of the window     >= hot: HOT    >= warm: WARM    fewer: colder of age and name
 *	  -> recommended tier -> saving > threshold ? -> states of the file -> cost guard -> move
 *
 * The guard compares what is really billed (minimum size, overhead, the reads to be expected, the
 * fees of moving). With a book without fees it never speaks.
 */
#include "astra/policy.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "astra/base_cleanup.h"

#define DAY_NS	       INT64_C(86400000000000)
#define DAYS_PER_MONTH 30

static const char *const reason_names[REASON_N] = {
#define X(id, name) [REASON_##id] = name,
	POLICY_REASON_LIST(X)
#undef X
};

const char *policy_reason_name(enum policy_reason r)
{
	return (unsigned)r < REASON_N ? reason_names[r] : "?";
}

const char *policy_action_name(enum policy_action a)
{
	static const char *const names[] = {"keep", "move", "veto", "pinned"};

	return (unsigned)a < ARRAY_SIZE(names) ? names[a] : "?";
}

static void reason_add(struct verdict *v, enum policy_reason r)
{
	assert(v->nreasons < POLICY_REASONS_MAX);
	if (v->nreasons < POLICY_REASONS_MAX)
		v->reasons[v->nreasons++] = r;
}

static bool offered(const struct policy_facts *f, enum tier t)
{
	return !f->classes || (f->classes[t] && *f->classes[t]);
}

static int64_t age_ns(const struct policy_facts *f, int64_t now_ns)
{
	int64_t since = f->last_access_ns ? f->last_access_ns : f->created_ns;

	/* Not known, or from a clock that was ahead: as if just used, which moves nothing. */
	return since > 0 && since < now_ns ? now_ns - since : 0;
}

static const struct policy_rule *rule_match(
	const struct policy_rules *r, const struct policy_facts *f)
{
	for (unsigned i = 0; i < r->nrules; i++) {
		const struct policy_rule *rule = &r->rules[i];
		/* Built-in patterns have no '/'; looking is cheap. */
		bool on_path = !rule->builtin && strchr(rule->match, '/');
		const char *s = on_path ? f->path : f->name;

		if (s && policy_glob(rule->match, s))
			return rule;
	}
	return NULL;
}

/* By number of accesses: v->count_tier, or TIER_N when there are too few. */
static enum tier tier_by_count(const struct policy_rules *r, const struct policy_facts *f)
{
	if (f->accesses_window >= r->hot_accesses)
		return TIER_HOT;
	if (f->accesses_window >= r->warm_accesses)
		return TIER_WARM;
	return TIER_N;
}

static enum tier tier_by_age(const struct policy_rules *r, int64_t age)
{
	enum tier t = TIER_ARCHIVE;

	while (t > TIER_HOT && age < r->age_ns[t])
		t--;
	return t;
}

/* What accesses, age and name ask for, with the reasons in print order. */
static enum tier tier_wanted(
	const struct policy_rules *r, const struct policy_facts *f, struct verdict *v)
{
	enum tier t = v->age_tier;

	if (v->count_tier != TIER_N) {
		reason_add(v, v->count_tier == TIER_HOT ? REASON_COUNT_HIGH : REASON_COUNT_MID);
		if (v->age_tier == TIER_HOT)
			reason_add(v, REASON_RECENT);
		if (v->count_tier == TIER_HOT && v->rule && v->rule->tier == TIER_HOT)
			reason_add(v, REASON_HELD_HOT);
		return v->count_tier;
	}
	reason_add(v, REASON_AGE);
	reason_add(v, REASON_COUNT_LOW);
	if (v->rule && v->rule->tier == TIER_HOT) {
		reason_add(v, REASON_HELD_HOT);
		return TIER_HOT;
	}
	if (v->rule) {
		reason_add(v, REASON_PATTERN);
		t = MAX_OF(t, v->rule->tier);
	}
	return t;
}

/* The wanted tier, or the next warmer one that the remote has, or else the next colder. */
static enum tier tier_available(const struct policy_facts *f, enum tier want)
{
	for (int t = (int)want; t >= TIER_HOT; t--) {
		if (offered(f, (enum tier)t))
			return (enum tier)t;
	}
	for (int t = (int)want + 1; t < TIER_N; t++) {
		if (offered(f, (enum tier)t))
			return (enum tier)t;
	}
	return f->tier;
}

/* What stands in the way now, whatever it costs; REASON_N = nothing. */
static enum policy_reason obstacle(
	const struct price_provider *p, const struct policy_facts *f, enum tier to)
{
	if (f->managed)
		return REASON_V_MANAGED;
	if (f->locked)
		return REASON_V_LOCKED;
	if (f->busy)
		return REASON_V_BUSY;
	if (f->archived)
		return REASON_V_ARCHIVED;
	/* A reader must not lose the bytes under its feet. */
	if (f->open && (to == TIER_ARCHIVE || strcmp(p->tiers[to].first_byte, "instant")))
		return REASON_V_OPEN;
	return REASON_N;
}

/* Whether the move pays by everything that the book knows; REASON_N = it does. Fills v->move,
 * v->reads_extra and v->payback_months. */
static enum policy_reason guard(const struct policy_rules *r, const struct price_provider *p,
	const struct policy_facts *f, int64_t now_ns, struct verdict *v)
{
	const struct price_class *from = &p->tiers[f->tier], *to = &p->tiers[v->tier];
	int64_t window_days = MAX_OF(r->window_ns / DAY_NS, 1), horizon = r->horizon_ns / DAY_NS;
	int64_t held_s = -1;
	money_t net;

	if (f->tier_since_ns > 0)
		held_s = f->tier_since_ns < now_ns ? (now_ns - f->tier_since_ns) / 1000000000 : 0;
	v->move = (struct price_move){
		.from = p,
		.to = p,
		.from_tier = f->tier,
		.to_tier = v->tier,
		.size = f->size,
		.held_s = held_s,
		.retained_days = f->retained_days,
	};
	price_move_cost(&v->move);
	v->reads_extra = ((money_t)f->bytes_window * (to->retrieval - from->retrieval) +
				 (money_t)f->accesses_window * (to->read - from->read)) *
			 DAYS_PER_MONTH / window_days;
	net = v->saving - v->reads_extra;
	v->payback_months = price_payback_months(v->move.total, net);
	if (v->saving <= r->threshold)
		return REASON_V_MIN_SIZE;
	if (v->reads_extra > 0 && net <= r->threshold)
		return REASON_V_READS;
	if (v->move.total * DAYS_PER_MONTH > net * horizon)
		return v->move.early * 2 > v->move.total ? REASON_V_EARLY : REASON_V_FEES;
	return REASON_N;
}

/* From the recommended tier to the action. */
static void act_decide(const struct policy_rules *r, const struct price_provider *p,
	const struct policy_facts *f, int64_t now_ns, struct verdict *v)
{
	/* The rule asks by bytes and price alone; the guard then by what is billed. */
	money_t listed = (money_t)f->size * (p->tiers[f->tier].storage - p->tiers[v->tier].storage);
	enum policy_reason veto;

	v->action = POLICY_KEEP;
	if (v->tier == f->tier) {
		reason_add(v, REASON_OPTIMAL);
		return;
	}
	if (listed <= 0) {
		reason_add(v, REASON_NO_SAVING);
		return;
	}
	reason_add(v, REASON_COST);
	if (listed <= r->threshold) {
		reason_add(v, REASON_THRESHOLD);
		return;
	}
	v->action = POLICY_VETO;
	veto = obstacle(p, f, v->tier);
	if (veto == REASON_N)
		veto = guard(r, p, f, now_ns, v);
	if (veto == REASON_N)
		v->action = POLICY_MOVE;
	else
		reason_add(v, veto);
}

void policy_decide(const struct policy_rules *r, const struct price_book *b,
	const struct policy_facts *f, int64_t now_ns, struct verdict *v)
{
	const struct price_provider *p = price_find(b, f->provider);
	int64_t age = age_ns(f, now_ns);
	enum tier want;

	assert(f->name && (unsigned)f->tier < TIER_N && (unsigned)f->pin < TIER_N);
	memset(v, 0, sizeof(*v));
	v->age_days = age / DAY_NS;
	v->age_tier = tier_by_age(r, age);
	v->count_tier = tier_by_count(r, f);
	v->rule = rule_match(r, f);
	if (f->pinned) {
		reason_add(v, REASON_PINNED);
		v->action = POLICY_PINNED;
		v->tier = f->pin;
	} else {
		want = tier_wanted(r, f, v);
		v->tier = tier_available(f, want);
		if (v->tier != want)
			reason_add(v, REASON_NOT_OFFERED);
	}
	if (p && !f->unknown) {
		v->cost_now = price_month(p, f->tier, f->size);
		v->cost_after = price_month(p, v->tier, f->size);
		v->saving = v->cost_now - v->cost_after;
	}
	if (f->unknown)
		reason_add(v, REASON_UNKNOWN);
	if (f->pinned || f->unknown)
		return;
	if (!p) {
		v->action = POLICY_KEEP;
		reason_add(v, v->tier == f->tier ? REASON_OPTIMAL : REASON_UNPRICED);
		return;
	}
	act_decide(r, p, f, now_ns, v);
}

bool policy_needs_class(const struct policy_rules *r, const struct price_book *b,
	const struct policy_facts *f, int64_t now_ns)
{
	struct policy_facts as = *f;
	struct verdict v;

	as.unknown = false;
	for (unsigned i = 0; i < TIER_N; i++) {
		as.tier = (enum tier)i;
		if (!offered(f, as.tier))
			continue;
		policy_decide(r, b, &as, now_ns, &v);
		if (v.action == POLICY_MOVE)
			return true;
	}
	return false;
}
