/* SPDX-License-Identifier: MIT */
/* Money, percentages and sizes as people read them. Pure; any thread. */
#include "astra/base_money.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "astra/base_cleanup.h"

#define MONEY_DECIMALS 21
#define USD_MAX	       INT64_C(1000000000) /* of money_parse */

static money_t pow10_of(unsigned n)
{
	money_t r = 1;

	while (n--)
		r *= 10;
	return r;
}

/* Digits with at most so many decimals. */
static errint_t parse(const char *s, unsigned decimals, money_t *ret)
{
	money_t whole = 0, unit = MONEY_USD, frac = 0;
	const char *p = s;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		whole = whole * 10 + (*p - '0');
		if (whole >= USD_MAX)
			return -EINVAL;
	}
	if (*p == '.') {
		unsigned n = 0;

		for (p++; *p >= '0' && *p <= '9'; p++) {
			if (++n > decimals)
				return -EINVAL;
			unit /= 10;
			frac += (*p - '0') * unit;
		}
		if (!n)
			return -EINVAL;
	}
	if (*p)
		return -EINVAL;
	*ret = whole * MONEY_USD + frac;
	return 0;
}

errint_t money_parse(const char *s, money_t *ret)
{
	return parse(s, 12, ret);
}

errint_t money_read(const char *s, money_t *ret)
{
	bool minus = *s == '-';
	errint_t r = parse(s + minus, MONEY_DECIMALS, ret);

	if (!r && minus)
		*ret = -*ret;
	return r;
}

/* m in units of 10^-decimals dollars, half away from zero; m >= 0. */
static money_t rounded(money_t m, unsigned decimals)
{
	money_t unit = pow10_of(MONEY_DECIMALS - decimals);

	return (m + unit / 2) / unit;
}

/* True when the figure with so many decimals lies within 4 % of m: the worked examples
 * print $0.0115 and $0.0023 but $0.058 and $0.006, and this rule yields all of their digits. */
static bool near_enough(money_t m, unsigned decimals)
{
	money_t off = rounded(m, decimals) * pow10_of(MONEY_DECIMALS - decimals) - m;

	return (off < 0 ? -off : off) * 25 <= m;
}

static void money_exact(char *out, money_t m, const char *sign)
{
	char frac[MONEY_DECIMALS + 1];
	money_t rest = m % MONEY_USD;
	int n = MONEY_DECIMALS;

	for (int i = MONEY_DECIMALS - 1; i >= 0; i--) {
		frac[i] = (char)('0' + (int)(rest % 10));
		rest /= 10;
	}
	while (n > 0 && frac[n - 1] == '0')
		n--;
	snprintf(out, MONEY_TEXT_MAX, "%s%lld%s%.*s", sign, (long long)(m / MONEY_USD),
		n ? "." : "", n, frac);
}

char *money_format(char out[MONEY_TEXT_MAX], money_t m, enum money_style style)
{
	const char *sign = m < 0 ? "-" : "";
	unsigned decimals = style == MONEY_MONTH ? 3 : 2;
	money_t r;

	if (m < 0)
		m = -m;
	if (style == MONEY_EXACT) {
		money_exact(out, m, sign);
		return out;
	}
	if (m >= MONEY_USD)
		decimals = 2;
	while (decimals < 6 && !near_enough(m, decimals))
		decimals++;
	r = rounded(m, decimals);
	if (!r && m) {
		snprintf(out, MONEY_TEXT_MAX, *sign ? ">-$0.000001" : "<$0.000001");
		return out;
	}
	snprintf(out, MONEY_TEXT_MAX, "%s$%lld.%0*lld", sign, (long long)(r / pow10_of(decimals)),
		(int)decimals, (long long)(r % pow10_of(decimals)));
	return out;
}

char *percent_format(char out[MONEY_TEXT_MAX], money_t part, money_t whole)
{
	const char *sign = (part < 0) != (whole < 0) && part ? "-" : "";
	money_t tenths = 0;

	part = part < 0 ? -part : part;
	whole = whole < 0 ? -whole : whole;
	if (whole)
		tenths = (part * 1000 + whole / 2) / whole;
	if (!tenths)
		sign = "";
	snprintf(out, MONEY_TEXT_MAX, "%s%lld.%d", sign, (long long)(tenths / 10),
		(int)(tenths % 10));
	return out;
}

char *size_format(char out[MONEY_TEXT_MAX], uint64_t bytes)
{
	static const struct {
		const char *unit;
		uint64_t one, from; /* GB from 0.1 on, as people compare */
	} units[] = {
		{"PB", UINT64_C(1000000000000000), UINT64_C(1000000000000000)},
		{"TB", UINT64_C(1000000000000), UINT64_C(1000000000000)},
		{"GB", 1000000000, 100000000},
		{"MB", 1000000, 100000},
		{"kB", 1000, 1000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t one = units[i].one, tenths, off;

		if (bytes < units[i].from)
			continue;
		/* Reduced to 1/1000 of the unit, so that nothing overflows; then one decimal, or
		 * two where one would be off by more than 4 %. */
		uint64_t milli = bytes / (one / 1000);

		tenths = (milli + 50) / 100;
		off = tenths * 100 > milli ? tenths * 100 - milli : milli - tenths * 100;
		if (off * 25 > milli) {
			uint64_t hundredths = (milli + 5) / 10;

			snprintf(out, MONEY_TEXT_MAX, "%llu.%02llu %s",
				(unsigned long long)(hundredths / 100),
				(unsigned long long)(hundredths % 100), units[i].unit);
		} else if (tenths % 10) {
			snprintf(out, MONEY_TEXT_MAX, "%llu.%llu %s",
				(unsigned long long)(tenths / 10),
				(unsigned long long)(tenths % 10), units[i].unit);
		} else {
			snprintf(out, MONEY_TEXT_MAX, "%llu %s", (unsigned long long)(tenths / 10),
				units[i].unit);
		}
		return out;
	}
	snprintf(out, MONEY_TEXT_MAX, "%llu byte%s", (unsigned long long)bytes,
		bytes == 1 ? "" : "s");
	return out;
}
