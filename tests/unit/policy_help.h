/* SPDX-License-Identifier: MIT */
/* What the tests of the policy room share: facts by the day and the gigabyte, money as text. */
#ifndef POLICY_HELP_H
#define POLICY_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "astra/base_cleanup.h"
#include "astra/policy.h"

#define DAY	    INT64_C(86400000000000)
#define NOW	    (INT64_C(20000) * DAY)
#define GB_BYTES(x) ((uint64_t)((x)*1e9 + 0.5))

static struct policy_rules rules; /* set anew for each test */

__attribute__((unused)) static int setup(void **state)
{
	policy_rules_default(&rules);
	return 0;
}

__attribute__((unused)) static struct policy_facts facts_of(
	const char *name, double gb, uint64_t accesses, double days)
{
	return (struct policy_facts){
		.name = name,
		.path = name,
		.cloud = "aws",
		.provider = "aws",
		.size = GB_BYTES(gb),
		.tier = TIER_HOT,
		.created_ns = NOW - 400 * DAY,
		.last_access_ns = NOW - (int64_t)(days * (double)DAY),
		.accesses_window = days < 30 ? accesses : 0,
		.accesses_total = accesses,
	};
}

__attribute__((unused)) static struct verdict decided(const struct policy_facts *f)
{
	struct verdict v;

	policy_decide(&rules, price_book_astra(), f, NOW, &v);
	return v;
}

__attribute__((unused)) static bool has_reason(const struct verdict *v, enum policy_reason r)
{
	for (unsigned i = 0; i < v->nreasons; i++) {
		if (v->reasons[i] == r)
			return true;
	}
	return false;
}

#define assert_money(m, style, text)                                                               \
	do {                                                                                       \
		char t_[MONEY_TEXT_MAX];                                                           \
		assert_string_equal(money_format(t_, (m), (style)), (text));                       \
	} while (0)

__attribute__((unused)) static money_t usd(const char *s)
{
	money_t m = 0;

	assert_int_equal(money_parse(s, &m), 0);
	return m;
}

#endif
