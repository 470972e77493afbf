/* SPDX-License-Identifier: MIT */
/* Names of the tiers. Pure; any thread. */
#include "astra/base_tier.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

static const char *const names[TIER_N] = {
	[TIER_HOT] = "HOT",
	[TIER_WARM] = "WARM",
	[TIER_COLD] = "COLD",
	[TIER_ARCHIVE] = "ARCHIVE",
};

const char *tier_name(enum tier t)
{
	return (unsigned)t < TIER_N ? names[t] : "?";
}

errint_t tier_parse(const char *s, enum tier *ret)
{
	for (unsigned t = 0; t < TIER_N; t++) {
		if (strcasecmp(s, names[t]))
			continue;
		/* The letters match; mixed case is likelier a typing error than a tier. */
		for (const char *p = s; *p; p++) {
			if (!isupper((unsigned char)*p) != !isupper((unsigned char)*s))
				return -EINVAL;
		}
		*ret = (enum tier)t;
		return 0;
	}
	return -EINVAL;
}
