/* SPDX-License-Identifier: MIT */
/*
 * The rules of the tiering policy: the defaults, the parser of [policy] and [rule NAME], and the
 * matcher of name patterns. Pure; any thread.
 *
 * The matcher is our own because fnmatch() depends on the locale (names are bytes here) and
 * allocates; this one is a loop with one remembered star, so a pattern takes at most
 * length(pattern) * length(name) steps.
 */
#include "astra/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"

#define DAY_NS INT64_C(86400000000000)

/* ---- defaults ---- */

static const struct {
	const char *match;
	enum tier tier;
	const char *why;
} patterns[] = {
	{"*.log", TIER_COLD, "rarely accessed logs"},
	{"*archive*", TIER_COLD, "rarely accessed archives"},
	{"backup_*", TIER_WARM, "periodic access"},
	{"*_report_*", TIER_WARM, "periodic access"},
	{"monthly_*", TIER_WARM, "regular intervals"},
	{"quarterly_*", TIER_WARM, "regular intervals"},
	{"temp_*", TIER_COLD, "temporary storage"},
	{"cache_*", TIER_COLD, "temporary storage"},
	{"customer_*", TIER_HOT, "business critical"},
	{"transaction_*", TIER_HOT, "business critical"},
};

/* User rules that still leave room for the built-in ones. */
#define USER_RULES_MAX (POLICY_RULES_MAX - ARRAY_SIZE(patterns))

static void patterns_add(struct policy_rules *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		struct policy_rule *rule = &r->rules[r->nrules++];

		assert(r->nrules <= POLICY_RULES_MAX);
		*rule = (struct policy_rule){.tier = patterns[i].tier, .builtin = true};
		snprintf(rule->name, sizeof(rule->name), "%s", patterns[i].match);
		snprintf(rule->match, sizeof(rule->match), "%s", patterns[i].match);
		snprintf(rule->why, sizeof(rule->why), "%s", patterns[i].why);
	}
}

static void numbers_default(struct policy_rules *r)
{
	money_t milli = 0;
	errint_t e = money_parse("0.001", &milli);

	assert(!e);
	(void)e;
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "astra");
	snprintf(r->prices, sizeof(r->prices), "astra");
	r->threshold = milli;
	r->window_ns = 30 * DAY_NS;
	r->age_ns[TIER_WARM] = 30 * DAY_NS;
	r->age_ns[TIER_COLD] = 90 * DAY_NS;
	r->age_ns[TIER_ARCHIVE] = 180 * DAY_NS;
	r->horizon_ns = 365 * DAY_NS;
	r->hot_accesses = 10;
	r->warm_accesses = 5;
}

void policy_rules_default(struct policy_rules *ret)
{
	numbers_default(ret);
	patterns_add(ret);
}

/* ---- [policy] ---- */

enum key_kind { NAME, BOOK, DOLLARS, COUNT, AGE, WINDOW, HORIZON };

static const struct {
	const char *key;
	enum key_kind kind;
	size_t offset; /* in struct policy_rules */
} keys[] = {
	{"name", NAME, offsetof(struct policy_rules, name)},
	{"prices", BOOK, offsetof(struct policy_rules, prices)},
	{"threshold", DOLLARS, offsetof(struct policy_rules, threshold)},
	{"window", WINDOW, offsetof(struct policy_rules, window_ns)},
	{"hot_accesses", COUNT, offsetof(struct policy_rules, hot_accesses)},
	{"warm_accesses", COUNT, offsetof(struct policy_rules, warm_accesses)},
	{"age_warm", AGE, offsetof(struct policy_rules, age_ns[TIER_WARM])},
	{"age_cold", AGE, offsetof(struct policy_rules, age_ns[TIER_COLD])},
	{"age_archive", AGE, offsetof(struct policy_rules, age_ns[TIER_ARCHIVE])},
	{"horizon", HORIZON, offsetof(struct policy_rules, horizon_ns)},
};

static errint_t unknown_key(
	const struct conf_item *it, const char *const *also, size_t nalso, struct err *err)
{
	const char *names[ARRAY_SIZE(keys) + 64], *near;
	size_t n = 0;

	for (; n < ARRAY_SIZE(keys); n++)
		names[n] = keys[n].key;
	for (size_t i = 0; i < nalso && n < ARRAY_SIZE(names); i++)
		names[n++] = also[i];
	near = nearest_name(it->key, names, n);
	return conf_err(it, err, "unknown key%s%s%s", near ? "; did you mean '" : "",
		near ? near : "", near ? "'?" : "");
}

/* Text into a field of the rules; what names it in the error. */
static errint_t conf_text(
	const struct conf_item *it, char *ret, size_t len, const char *what, struct err *err)
{
	if (!*it->value || strlen(it->value) >= len)
		return conf_err(it, err, "%s: empty or longer than %zu bytes", what, len - 1);
	memcpy(ret, it->value, strlen(it->value) + 1);
	return 0;
}

static errint_t policy_key_set(
	const struct conf_item *it, enum key_kind kind, void *field, struct err *err)
{
	int64_t ns;
	errint_t r;

	switch (kind) {
	case NAME:
		if (strcmp(it->value, "astra"))
			return conf_err(it, err, "'%s' is not a policy; allowed: astra", it->value);
		return 0;
	case BOOK:
		return conf_text(it, field, sizeof(((struct policy_rules *)0)->prices),
			"name of a price book", err);
	case DOLLARS:
		if (money_parse(it->value, field))
			return conf_err(it, err,
				"'%s' is not dollars a month; allowed: as in 0.001", it->value);
		return 0;
	case COUNT:
		return conf_u64(it, 1, UINT32_MAX, field, err);
	case AGE:
	case HORIZON:
	case WINDOW:
		r = conf_duration(it, &ns, err);
		if (r)
			return r;
		/* Daily counts are kept for 30 days. */
		if (kind == WINDOW && (ns < DAY_NS || ns > 30 * DAY_NS || ns % DAY_NS))
			return conf_err(it, err, "'%s' is not a number of days; allowed: 1d to 30d",
				it->value);
		if (kind == HORIZON && (ns < DAY_NS || ns > 36500 * DAY_NS))
			return conf_err(
				it, err, "'%s' is out of range; allowed: 1d to 36500d", it->value);
		if (ns < 0)
			return conf_err(it, err, "'%s' is negative", it->value);
		*(int64_t *)field = ns;
		return 0;
	}
	return -EINVAL;
}

static errint_t policy_item(const struct conf_item *it, const char *const *also, size_t nalso,
	struct policy_rules *r, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(it->key, keys[i].key))
			return policy_key_set(it, keys[i].kind, (char *)r + keys[i].offset, err);
	}
	for (size_t i = 0; i < nalso; i++) {
		if (!strcmp(it->key, also[i]))
			return 0;
	}
	return unknown_key(it, also, nalso, err);
}

/* Blames the one of two keys that was written, the second if both were. */
static errint_t order_err(const struct conf *c, const char *smaller, const char *larger,
	const char *what, struct err *err)
{
	const struct conf_item *it = conf_get(c, "policy", larger);

	if (!it)
		it = conf_get(c, "policy", smaller);
	assert(it); /* the defaults are in order */
	return conf_err(it, err, "%s: %s must be more than %s", what, larger, smaller);
}

static errint_t order_check(const struct conf *c, const struct policy_rules *r, struct err *err)
{
	if (r->hot_accesses <= r->warm_accesses)
		return order_err(c, "warm_accesses", "hot_accesses", "numbers of accesses", err);
	if (r->age_ns[TIER_COLD] <= r->age_ns[TIER_WARM])
		return order_err(c, "age_warm", "age_cold", "ages", err);
	if (r->age_ns[TIER_ARCHIVE] <= r->age_ns[TIER_COLD])
		return order_err(c, "age_cold", "age_archive", "ages", err);
	return 0;
}

/* ---- [rule NAME] ---- */

struct draft { /* a rule while its section is read */
	const struct conf_item *first;
	bool has_tier;
};

static errint_t pattern_check(const struct conf_item *it, struct err *err)
{
	for (const char *p = it->value; *p; p++) {
		if (*p == '\\' && !*++p)
			return conf_err(it, err, "pattern: '%s' ends with a backslash", it->value);
		if (*p != '[')
			continue;
		p += p[1] == '!' ? 2 : 1;
		p = *p ? strchr(p + 1, ']') : NULL; /* a ']' that comes first is a member */
		if (!p)
			return conf_err(it, err, "pattern: '%s' has a '[' without ']'", it->value);
	}
	return 0;
}

static errint_t rule_item(
	const struct conf_item *it, struct policy_rule *rule, struct draft *d, struct err *err)
{
	static const char *const names[] = {"match", "tier", "order", "reason"};
	const char *near;
	uint64_t n;
	errint_t r;

	if (!strcmp(it->key, "match")) {
		r = conf_text(it, rule->match, sizeof(rule->match), "pattern", err);
		return r ? r : pattern_check(it, err);
	}
	if (!strcmp(it->key, "reason"))
		return conf_text(it, rule->why, sizeof(rule->why), "reason", err);
	if (!strcmp(it->key, "tier")) {
		if (tier_parse(it->value, &rule->tier))
			return conf_err(it, err,
				"'%s' is not a tier; allowed: HOT, WARM, COLD, ARCHIVE", it->value);
		d->has_tier = true;
		return 0;
	}
	if (!strcmp(it->key, "order")) {
		r = conf_u64(it, 0, 1000000, &n, err);
		if (!r)
			rule->order = (int64_t)n;
		return r;
	}
	near = nearest_name(it->key, names, ARRAY_SIZE(names));
	return conf_err(it, err, "unknown key%s%s%s", near ? "; did you mean '" : "",
		near ? near : "", near ? "'?" : "");
}

/* The rule that the item's section defines, made at its first key. */
static errint_t rule_of(const struct conf_item *it, const char *name, struct policy_rules *r,
	struct draft *drafts, unsigned *ret_i, struct err *err)
{
	for (unsigned i = 0; i < r->nrules; i++) {
		if (!strcmp(r->rules[i].name, name)) {
			*ret_i = i;
			return 0;
		}
	}
	if (!*name || strlen(name) >= sizeof(r->rules[0].name))
		return conf_err(it, err, "name of a rule: '%s' is empty or longer than %zu bytes",
			name, sizeof(r->rules[0].name) - 1);
	if (r->nrules == USER_RULES_MAX)
		return conf_err(it, err, "rule '%s': more than %zu rules", name, USER_RULES_MAX);
	r->rules[r->nrules] = (struct policy_rule){.tier = TIER_HOT};
	memcpy(r->rules[r->nrules].name, name, strlen(name) + 1);
	drafts[r->nrules].first = it;
	*ret_i = r->nrules++;
	return 0;
}

/* "kind NAME" or, without a name, "kind", which is told as a bad name. */
static bool section_is(const char *section, const char *kind, const char **ret_name)
{
	size_t len = strlen(kind);

	if (strncmp(section, kind, len) || (section[len] && section[len] != ' '))
		return false;
	*ret_name = section + len + strspn(section + len, " ");
	return true;
}

/* By order, then as written: insertion keeps equals in place. */
static void rules_sort(struct policy_rules *r)
{
	for (unsigned i = 1; i < r->nrules; i++) {
		struct policy_rule moving = r->rules[i];
		unsigned k = i;

		for (; k > 0 && r->rules[k - 1].order > moving.order; k--)
			r->rules[k] = r->rules[k - 1];
		r->rules[k] = moving;
	}
}

errint_t policy_rules_parse(const struct conf *c, const char *const *also, size_t nalso,
	struct policy_rules *ret, struct err *err)
{
	struct draft drafts[POLICY_RULES_MAX] = {{0}};
	errint_t r;

	numbers_default(ret);
	for (size_t i = 0; i < conf_count(c); i++) {
		const struct conf_item *it = conf_at(c, i);
		const char *name;
		unsigned k = 0;

		r = 0;
		if (!strcmp(it->section, "policy")) {
			r = *it->key ? policy_item(it, also, nalso, ret, err) : 0;
		} else if (section_is(it->section, "rule", &name)) {
			r = rule_of(it, name, ret, drafts, &k, err);
			if (!r && *it->key)
				r = rule_item(it, &ret->rules[k], &drafts[k], err);
		}
		if (r)
			return r;
	}
	for (unsigned i = 0; i < ret->nrules; i++) {
		if (!*ret->rules[i].match || !drafts[i].has_tier)
			return conf_err(drafts[i].first, err,
				"rule '%s' has no %s=", ret->rules[i].name,
				drafts[i].has_tier ? "match" : "tier");
	}
	r = order_check(c, ret, err);
	if (r)
		return r;
	rules_sort(ret);
	patterns_add(ret);
	return 0;
}

/* ---- patterns ---- */

/* One "[...]" at p against c: where the pattern goes on, or NULL when it does not match or is
 * not closed. */
static const char *set_match(const char *p, unsigned char c)
{
	bool negated = p[1] == '!', in = false;

	p += negated ? 2 : 1;
	for (bool first = true; *p && (first || *p != ']'); first = false) {
		unsigned char lo = (unsigned char)*p++, hi = lo;

		if (*p == '-' && p[1] && p[1] != ']') {
			hi = (unsigned char)p[1];
			p += 2;
		}
		if (lo <= c && c <= hi)
			in = true;
	}
	return *p == ']' && in != negated ? p + 1 : NULL;
}

/* One non-star pattern element against c: the rest of the pattern, or NULL. */
static const char *one_match(const char *p, char c)
{
	switch (*p) {
	case '\0':
		return NULL;
	case '?':
		return p + 1;
	case '[':
		return set_match(p, (unsigned char)c);
	case '\\':
		return p[1] && p[1] == c ? p + 2 : NULL;
	default:
		return *p == c ? p + 1 : NULL;
	}
}

bool policy_glob(const char *pattern, const char *s)
{
	const char *star = NULL, *resume = NULL, *p = pattern;

	while (*s) {
		if (*p == '*') {
			star = ++p;
			resume = s;
			if (!*p)
				return true;
			continue;
		}

		const char *next = one_match(p, *s);

		if (next) {
			p = next;
			s++;
		} else if (star) { /* let the last star take one byte more */
			p = star;
			s = ++resume;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}
