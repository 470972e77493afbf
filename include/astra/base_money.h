/* SPDX-License-Identifier: MIT */
/*
 * Money as an exact integer, and figures as text: the only places that round. Any thread.
 */
#ifndef ASTRA_BASE_MONEY_H
#define ASTRA_BASE_MONEY_H

#include <stdint.h>

#include "astra/base_err.h"

/* 10^-21 dollars: a price per GB of up to 12 decimals times a number of bytes is exact. Rounded
 * only by money_format(). Good for 10^16 dollars. */
typedef __int128 money_t;
#define MONEY_USD ((money_t)1000000000000 * 1000000000)

enum money_style {
	MONEY_MONTH, /* 3 decimals, 2 from a dollar on */
	MONEY_ONCE,  /* 2 decimals: fees, yearly sums */
	MONEY_EXACT, /* all that are not 0, no '$': rates, attributes, JSON */
};
#define MONEY_TEXT_MAX 48
/* "$0.230" into out, rounded half away from zero. More decimals (to 6) where the rounded figure
 * would be off by more than 4 %; "<$0.000001" below that, ">-$0.000001" of what is lost; "-" first
 * when negative. Returns out. */
char *money_format(char out[MONEY_TEXT_MAX], money_t m, enum money_style style);
/* "12", "0.0125": digits with at most 12 decimals, below 10^9; -EINVAL. */
errint_t money_parse(const char *s, money_t *ret);
/* What MONEY_EXACT wrote. */
errint_t money_read(const char *s, money_t *ret);
/* 100 * part / whole with one decimal and no '%': "82.6"; "0.0" when whole is 0. Returns out. */
char *percent_format(char out[MONEY_TEXT_MAX], money_t part, money_t whole);
/* "10 GB", "0.1 GB", "2.5 TB", "64 MB": decimal units, at most two decimals. Returns out. */
char *size_format(char out[MONEY_TEXT_MAX], uint64_t bytes);

#endif
