/* SPDX-License-Identifier: MIT */
/* The four tiers, coldest last, so that a colder tier compares greater. */
#ifndef ASTRA_BASE_TIER_H
#define ASTRA_BASE_TIER_H

#include "astra/base_err.h"

enum tier { TIER_HOT, TIER_WARM, TIER_COLD, TIER_ARCHIVE, TIER_N };

const char *tier_name(enum tier t);		    /* "HOT" ...; "?" for anything else */
errint_t tier_parse(const char *s, enum tier *ret); /* all upper or all lower case; or -EINVAL */

#endif
