/* SPDX-License-Identifier: MIT */
/* What the reports share: figures and words. */
#ifndef POLICY_REPORT_H
#define POLICY_REPORT_H

#include "astra/policy.h"

#define RULER "======================================================================\n"

#define MONTHLY(m)    money_format((char[MONEY_TEXT_MAX]){0}, (m), MONEY_MONTH)
#define ONCE(m)	      money_format((char[MONEY_TEXT_MAX]){0}, (m), MONEY_ONCE)
#define RATE(m)	      money_format((char[MONEY_TEXT_MAX]){0}, (m), MONEY_EXACT)
#define PERCENT(a, b) percent_format((char[MONEY_TEXT_MAX]){0}, (a), (b))
#define SIZE(n)	      size_format((char[MONEY_TEXT_MAX]){0}, (n))

static inline const char *report_plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* "AWS" for aws: as the providers write themselves; any other name as it is. */
const char *report_cloud(const char *name);

#endif
