/* SPDX-License-Identifier: MIT */
/*
 * Money, price books, rules from the configuration, and the cost guard under a book that has fees.
 */
#include "policy_help.h"

#include <stdio.h>
#include <string.h>

/* ---- money ---- */

static void test_money_digits(void **state)
{
	static const struct {
		const char *exact, *month;
	} t[] = {
		/* every figure that the worked examples print */
		{"0.23", "$0.230"},
		{"0.0575", "$0.058"},
		{"0.0115", "$0.0115"},
		{"0.00625", "$0.006"},
		{"0.0023", "$0.0023"},
		{"0.000099", "$0.0001"},
		{"0.04", "$0.040"},
		{"0.19", "$0.190"},
		{"0.002201", "$0.0022"},
		{"0.285", "$0.285"},
		{"0.345", "$0.345"},
		{"0.3013", "$0.301"},
		{"0.103849", "$0.104"},
		{"0.197451", "$0.197"},
		{"125.5", "$125.50"},
		/* and what lies around them */
		{"0", "$0.000"},
		{"0.001", "$0.001"},
		{"0.9996", "$1.000"},
		{"1", "$1.00"},
		{"1.005", "$1.01"},
		{"0.0125", "$0.013"},
		{"0.0000004", "<$0.000001"},
		{"0.0000005", "$0.000001"},
		{"0.0000123", "$0.000012"},
		{"999999999", "$999999999.00"},
	};
	char text[MONEY_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		assert_string_equal(money_format(text, usd(t[i].exact), MONEY_MONTH), t[i].month);
		assert_string_equal(money_format(text, usd(t[i].exact), MONEY_EXACT), t[i].exact);
	}
	assert_money(-usd("0.19"), MONEY_MONTH, "-$0.190");
	assert_money(-usd("0.0125"), MONEY_EXACT, "-0.0125");
	assert_money(-usd("0.0000004"), MONEY_MONTH, ">-$0.000001");
	assert_money(-usd("0.0000006"), MONEY_MONTH, "-$0.000001");
	assert_money(usd("2.369412"), MONEY_ONCE, "$2.37");
	assert_money(usd("0.3"), MONEY_ONCE, "$0.30");
	assert_money(usd("0.0264"), MONEY_ONCE, "$0.026");
	assert_money(0, MONEY_ONCE, "$0.00");
	assert_string_equal(money_format(text, 1, MONEY_EXACT), "0.000000000000000000001");
}

static void test_money_parse(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", ".5", "1.", "1e3", "1,5", " 1", "1 ",
		"0x1", "1000000000", "0.0000000000001", "nan", "1.2.3", "99999999999999999999999"};
	money_t m;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(money_parse(bad[i], &m), -EINVAL);
	assert_true(usd("0.000000000001") == 1000000000);
}

static void test_percent_and_size(void **state)
{
	char t[MONEY_TEXT_MAX];

	assert_string_equal(percent_format(t, usd("0.19"), usd("0.23")), "82.6");
	assert_string_equal(percent_format(t, usd("0.197451"), usd("0.3013")), "65.5");
	assert_string_equal(percent_format(t, usd("0.285"), usd("0.345")), "82.6");
	assert_string_equal(percent_format(t, 0, 0), "0.0");
	assert_string_equal(percent_format(t, -1, 4), "-25.0");
	assert_string_equal(percent_format(t, 1, 1), "100.0");
	assert_string_equal(percent_format(t, 1, 2000), "0.1");
	assert_string_equal(size_format(t, GB_BYTES(10)), "10 GB");
	assert_string_equal(size_format(t, GB_BYTES(2.5)), "2.5 GB");
	assert_string_equal(size_format(t, GB_BYTES(0.5)), "0.5 GB");
	assert_string_equal(size_format(t, GB_BYTES(0.1)), "0.1 GB");
	assert_string_equal(size_format(t, GB_BYTES(13.1)), "13.1 GB");
	assert_string_equal(size_format(t, GB_BYTES(10.1)), "10.1 GB");
	assert_string_equal(size_format(t, GB_BYTES(87.3)), "87.3 GB");
	assert_string_equal(size_format(t, GB_BYTES(0.15)), "0.15 GB");
	assert_string_equal(size_format(t, 64000000), "64 MB");
	assert_string_equal(size_format(t, 999), "999 bytes");
	assert_string_equal(size_format(t, 1500), "1.5 kB");
	assert_string_equal(size_format(t, 0), "0 bytes");
	assert_string_equal(size_format(t, GB_BYTES(2500)), "2.5 TB");
	assert_string_equal(size_format(t, UINT64_MAX), "18446.7 PB");
}

/* ---- configuration ---- */

static void test_glob(void **state)
{
	static const struct {
		const char *pattern, *s;
		bool match;
	} t[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "abc", true},
		{"**", "abc", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*c", "acb", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"*a*b*c*", "xxaxxbxxcxx", true},
		{"*a*b*c*", "xxaxxcxxbxx", false},
		{"[a-c]x", "bx", true},
		{"[a-c]x", "dx", false},
		{"[!a-c]x", "dx", true},
		{"[!a-c]x", "ax", false},
		{"[]]x", "]x", true},
		{"[!]]x", "]x", false},
		{"[a-]x", "-x", true},
		{"[a", "a", false},
		{"[", "[", false},
		{"\\*", "*", true},
		{"\\*", "a", false},
		{"a\\", "a", false},
		{"*.log", "x.log", true},
		{"logs/*", "logs/a/b", true},
		{"[\x80-\xff]*", "\xc3\xa4", true},
		{"*\xff*",
			"a\xff"
			"b",
			true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(policy_glob(t[i].pattern, t[i].s), t[i].match);
	/* Many stars against a long name stay quick. */
	char name[256];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_false(policy_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

struct pair {
	const char *section, *key, *value;
};

static struct conf *conf_of(const struct pair *p, size_t n)
{
	struct conf *c = conf_new();

	assert_non_null(c);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(conf_set(c, p[i].section, p[i].key, p[i].value), 0);
	return c;
}

static void test_rules_parse(void **state)
{
	static const struct pair p[] = {
		{"remote aws", "type", "local"}, /* not ours */
		{"policy", "threshold", "0.5"},
		{"policy", "mode", "act"}, /* another room's */
		{"policy", "hot_accesses", "100"},
		{"policy", "warm_accesses", "50"},
		{"policy", "age_warm", "7d"},
		{"policy", "age_cold", "2w"},
		{"policy", "age_archive", "21d"},
		{"policy", "window", "7d"},
		{"policy", "prices", "mine"},
		{"policy", "name", "astra"},
		{"rule late", "match", "*.iso"},
		{"rule late", "tier", "COLD"},
		{"rule late", "order", "5"},
		{"rule photos", "match", "photos/*"},
		{"rule photos", "tier", "warm"},
		{"rule photos", "reason", "seldom looked at"},
		{"rule keep", "tier", "HOT"},
		{"rule keep", "match", "backup_live*"},
	};
	static const char *const also[] = {"mode", "interval"};
	struct conf *c = conf_of(p, ARRAY_SIZE(p));
	struct policy_facts f;
	struct verdict v;
	struct err err;

	assert_int_equal(policy_rules_parse(c, also, ARRAY_SIZE(also), &rules, &err), 0);
	assert_true(rules.threshold == usd("0.5"));
	assert_string_equal(rules.prices, "mine");
	assert_int_equal(rules.nrules, 3 + 10);
	assert_string_equal(rules.rules[0].name, "photos");
	assert_string_equal(rules.rules[1].name, "keep");
	assert_string_equal(rules.rules[2].name, "late");
	assert_string_equal(rules.rules[3].match, "*.log");
	assert_int_equal(rules.window_ns, 7 * DAY);
	assert_int_equal(rules.age_ns[TIER_ARCHIVE], 21 * DAY);
	f = facts_of("backup_live.db", 100, 3, 20); /* in front of backup_* */
	assert_int_equal(decided(&f).tier, TIER_HOT);
	f = facts_of("x.log", 100, 3, 0);
	f.path = "photos/2024/x.log";
	v = decided(&f);
	assert_int_equal(v.tier, TIER_WARM);

	struct buf out cleanup_buf = BUF_INIT(4096);

	assert_int_equal(policy_reason_text(&out, &rules, &f, &v, 2), 0);
	assert_string_equal(
		out.p, "Rule photos: \"photos/*\" -> WARM tier optimal (seldom looked at)");
	f.path = NULL;
	assert_int_equal(decided(&f).tier, TIER_COLD);
	f = facts_of("plain", 100, 60, 0);
	assert_int_equal(decided(&f).tier, TIER_WARM);
	conf_destroy(c);
}

static void test_rules_parse_bad(void **state)
{
	static const struct {
		struct pair p;
		const char *word; /* that the message has */
	} t[] = {
		{{"policy", "treshold", "1"}, "threshold"},
		{{"policy", "intervall", "1"}, "interval"},
		{{"policy", "name", "cost"}, "astra"},
		{{"policy", "threshold", "-1"}, "-1"},
		{{"policy", "threshold", "1 dollar"}, "1 dollar"},
		{{"policy", "window", "36h"}, "30d"},
		{{"policy", "window", "31d"}, "30d"},
		{{"policy", "hot_accesses", "0"}, "hot_accesses"},
		{{"policy", "hot_accesses", "5"}, "warm_accesses"},
		{{"policy", "warm_accesses", "10"}, "warm_accesses"},
		{{"policy", "age_warm", "90d"}, "age_warm"},
		{{"policy", "age_cold", "soon"}, "age_cold"},
		{{"policy", "age_archive", "90d"}, "age_archive"},
		{{"policy", "horizon", "1h"}, "horizon"},
		{{"policy", "prices", ""}, "price book"},
		{{"rule x", "match", "*.a"}, "no tier="},
		{{"rule x", "tier", "COLD"}, "no match="},
		{{"rule x", "tier", "LUKEWARM"}, "ARCHIVE"},
		{{"rule x", "matsch", "*.a"}, "match"},
		{{"rule x", "match", ""}, "pattern"},
		{{"rule x", "match", "[a"}, "]"},
		{{"rule x", "match", "a\\"}, "backslash"},
		{{"rule x", "order", "first"}, "order"},
		{{"rule ", "match", "*"}, "name of a rule"},
	};
	static const char *const also[] = {"interval"};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct conf *c = conf_of(&t[i].p, 1);
		struct err err = {0};

		assert_int_equal(
			policy_rules_parse(c, also, ARRAY_SIZE(also), &rules, &err), -EINVAL);
		if (!strstr(err.msg, t[i].word))
			fail_msg("'%s' does not say '%s'", err.msg, t[i].word);
		assert_int_equal(
			policy_rules_parse(c, also, ARRAY_SIZE(also), &rules, NULL), -EINVAL);
		conf_destroy(c);
	}
	/* One rule too many is refused, not overrun. */
	struct conf *c = conf_new();
	struct err err;

	for (int i = 0; i < POLICY_RULES_MAX; i++) {
		char section[32];

		snprintf(section, sizeof(section), "rule r%d", i);
		assert_int_equal(conf_set(c, section, "match", "*"), 0);
		assert_int_equal(conf_set(c, section, "tier", "HOT"), 0);
	}
	assert_int_equal(policy_rules_parse(c, NULL, 0, &rules, &err), -EINVAL);
	conf_destroy(c);
}

static void test_prices_parse(void **state)
{
	static const struct pair p[] = {
		{"prices mine", "date", "2026-01-31"},
		{"prices mine", "aws.WARM.storage", "0.0100"},
		{"prices mine", "aws.WARM.retrieval", "0.01"},
		{"prices mine", "aws.WARM.write", "0.01"},
		{"prices mine", "aws.WARM.min_days", "30"},
		{"prices mine", "aws.WARM.min_size", "128K"},
		{"prices mine", "aws.COLD.overhead", "32K"},
		{"prices mine", "aws.COLD.overhead_hot", "8K"},
		{"prices mine", "aws.COLD.class", "GLACIER_IR"},
		{"prices mine", "gcp.HOT.storage", "0.02"},
		{"prices mine", "gcp.gb", "GiB"},
		{"prices mine", "aws.egress", "0.09"},
		{"prices other", "aws.hot.storage", "1"},
	};
	struct conf *c = conf_of(p, ARRAY_SIZE(p));
	const struct price_provider *aws, *gcp;
	struct price_book b;
	struct err err;

	assert_int_equal(price_book_parse(c, "mine", &b, &err), 0);
	assert_string_equal(b.name, "mine");
	assert_string_equal(b.date, "2026-01-31");
	aws = price_find(&b, "aws");
	gcp = price_find(&b, "gcp");
	assert_money(price_month(aws, TIER_WARM, GB_BYTES(1)), MONEY_EXACT, "0.01");
	assert_true(price_month(aws, TIER_WARM, 1) == price_month(aws, TIER_WARM, 131072));
	assert_true(price_month(aws, TIER_COLD, 0) ==
		    32768 * usd("0.004") / 1000000000 + 8192 * usd("0.023") / 1000000000);
	assert_string_equal(aws->tiers[TIER_COLD].name, "GLACIER_IR");
	assert_money(price_month(aws, TIER_HOT, GB_BYTES(1)), MONEY_EXACT, "0.023");
	/* $0.01/1,000 + 1 GB x $0.09 egress + $0.01 retrieval, to the last digit */
	assert_money(price_read(aws, TIER_WARM, GB_BYTES(1)), MONEY_EXACT, "0.1");
	assert_true(aws->tiers[TIER_WARM].write == usd("0.00001"));
	assert_money(price_month(gcp, TIER_HOT, UINT64_C(1) << 30), MONEY_MONTH, "$0.020");
	assert_money(price_month(gcp, TIER_HOT, GB_BYTES(1)), MONEY_MONTH, "$0.019");
	assert_int_equal(price_book_parse(c, "other", &b, &err), 0);
	assert_money(
		price_month(price_find(&b, "aws"), TIER_HOT, GB_BYTES(1)), MONEY_MONTH, "$1.00");
	assert_int_equal(price_book_parse(c, "astra", &b, &err), 0);
	assert_memory_equal(&b, price_book_astra(), sizeof(b));
	assert_int_equal(price_book_parse(c, "mime", &b, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "'mine'"));
	assert_null(price_find(&b, "ibm"));
	conf_destroy(c);
}

static void test_prices_parse_bad(void **state)
{
	static const struct {
		struct pair p;
		const char *word;
	} t[] = {
		{{"prices x", "awss.HOT.storage", "1"}, "aws"},
		{{"prices x", "aws.WARN.storage", "1"}, "WARM"},
		{{"prices x", "aws.HOT.storaje", "1"}, "storage"},
		{{"prices x", "aws.HOT.storage", "cheap"}, "dollars per GB"},
		{{"prices x", "aws.HOT.storage", "-0.1"}, "dollars per GB"},
		{{"prices x", "aws.HOT.storage", "101"}, "100"},
		{{"prices x", "aws.HOT.write", "1001"}, "1000"},
		{{"prices x", "aws.HOT.min_days", "9999"}, "min_days"},
		{{"prices x", "aws.HOT.min_size", "2T"}, "1 TiB"},
		{{"prices x", "aws.HOT", "1"}, "aws.HOT.storage"},
		{{"prices x", "aws", "1"}, "PROVIDER"},
		{{"prices x", "aws.gb", "gib"}, "GiB"},
		{{"prices x", "aws.egres", "1"}, "egress"},
		{{"prices x", "date", "yesterday"}, "YYYY-MM-DD"},
		{{"prices x", "aws.HOT.class", ""}, "empty"},
		{{"prices ", "date", "2026-01-01"}, "name of a price book"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct conf *c = conf_of(&t[i].p, 1);
		struct price_book b;
		struct err err = {0};

		/* also when the book is not in use */
		assert_int_equal(price_book_parse(c, "astra", &b, &err), -EINVAL);
		if (!strstr(err.msg, t[i].word))
			fail_msg("'%s' does not say '%s'", err.msg, t[i].word);
		assert_int_equal(price_book_parse(c, "x", &b, NULL), -EINVAL);
		conf_destroy(c);
	}
}

/* ---- the guard, with a book that has fees ---- */

static const struct pair fee_book[] = {
	{"prices fees", "aws.WARM.retrieval", "0.01"},
	{"prices fees", "aws.WARM.read", "0.001"},
	{"prices fees", "aws.WARM.transition", "0.01"},
	{"prices fees", "aws.WARM.min_days", "30"},
	{"prices fees", "aws.WARM.min_size", "128K"},
	{"prices fees", "aws.COLD.retrieval", "0.03"},
	{"prices fees", "aws.COLD.transition", "0.03"},
	{"prices fees", "aws.COLD.min_days", "90"},
	{"prices fees", "aws.COLD.overhead", "32K"},
	{"prices fees", "aws.COLD.overhead_hot", "8K"},
	{"prices fees", "aws.ARCHIVE.transition", "0.05"},
};

static void test_guard(void **state)
{
	struct conf *c = conf_of(fee_book, ARRAY_SIZE(fee_book));
	struct buf out cleanup_buf = BUF_INIT(4096);
	struct policy_facts f;
	struct price_book b;
	struct verdict v;
	struct err err;

	assert_int_equal(price_book_parse(c, "fees", &b, &err), 0);
	conf_destroy(c);
#define DECIDE() policy_decide(&rules, &b, &f, NOW, &v)
#define DECIDE_VETO(r)                                                                             \
	do {                                                                                       \
		DECIDE();                                                                          \
		assert_int_equal(v.action, POLICY_VETO);                                           \
		assert_int_equal(v.reasons[v.nreasons - 1], (r));                                  \
		buf_reset(&out);                                                                   \
		assert_int_equal(policy_reason_text(&out, &rules, &f, &v, v.nreasons - 1), 0);     \
	} while (0)
	/* A large cold file pays. */
	f = facts_of("plain", 10, 0, 45);
	DECIDE();
	assert_int_equal(v.action, POLICY_MOVE);
	assert_true(v.move.total == usd("0.00001"));
	assert_int_equal(v.payback_months, 1);
	/* Read twice a month in full, it does not: retrieval eats the saving. */
	f.bytes_window = 2 * f.size;
	DECIDE_VETO(REASON_V_READS);
	assert_non_null(strstr(out.p, "$0.200/month more, the saving is $0.105"));
	rules.window_ns = 15 * DAY; /* the same in half the time is twice as much a month */
	DECIDE_VETO(REASON_V_READS);
	assert_non_null(strstr(out.p, "$0.400/month more"));
	policy_rules_default(&rules);
	/* Small files are billed as 128 KiB. */
	rules.threshold = 0;
	f = facts_of("plain", 0, 0, 45);
	f.size = 4096;
	DECIDE_VETO(REASON_V_MIN_SIZE);
	assert_true(v.saving < 0);
	/* Overhead, 120 days: COLD bills 40 KiB more. */
	f = facts_of("plain", 0, 0, 120);
	f.size = 8192;
	DECIDE_VETO(REASON_V_MIN_SIZE);
	/* Large enough for its bill to fall, too small to earn the transition back in a year. */
	f = facts_of("plain", 0, 0, 45);
	f.size = 80000;
	DECIDE_VETO(REASON_V_FEES);
	assert_non_null(strstr(out.p, "(requests $0.00001), earned back after 50 months"));
	f.size = 75000000;
	DECIDE();
	assert_int_equal(v.action, POLICY_MOVE);
	f.size = 131072;
	DECIDE();
	assert_int_equal(v.action, POLICY_MOVE); /* 7.3 months */
	assert_int_equal(v.payback_months, 8);
	rules.horizon_ns = 180 * DAY;
	DECIDE_VETO(REASON_V_FEES);
	assert_non_null(strstr(out.p, "earned back after 8 months"));
	policy_rules_default(&rules);
	/* A second move before the minimum has passed, unless it still pays. */
	f = facts_of("plain", 10, 0, 120);
	f.tier = TIER_WARM;
	f.tier_since_ns = NOW - 2 * DAY;
	DECIDE();
	assert_int_equal(v.action, POLICY_MOVE); /* 0.117 once against 0.085 a month */
	assert_true(v.move.early == price_month(v.move.from, TIER_WARM, f.size) * 28 / 30);
	assert_money(v.move.retrieval, MONEY_EXACT, "0.1");
	assert_true(v.move.total == v.move.early + usd("0.1") + usd("0.00003"));
	rules.horizon_ns = 30 * DAY;
	DECIDE_VETO(REASON_V_EARLY);
	f.tier_since_ns = NOW - 31 * DAY;
	rules.horizon_ns = 60 * DAY;
	DECIDE();
	assert_int_equal(v.action, POLICY_MOVE);
	assert_true(v.move.early == 0);
	f.tier_since_ns = 0; /* not known: as if today */
	DECIDE();
	assert_true(v.move.early == price_month(v.move.from, TIER_WARM, f.size));
	/* What versioning keeps is paid twice for a while. */
	policy_rules_default(&rules);
	f = facts_of("plain", 10, 0, 45);
	f.retained_days = 3650;
	DECIDE_VETO(REASON_V_FEES);
	assert_non_null(strstr(out.p, "old version"));
	/* The same facts under the book without fees pass. */
	f.retained_days = 0;
	f.bytes_window = 100 * f.size;
	assert_int_equal(decided(&f).action, POLICY_MOVE);
}

/* The largest figures stay inside the integers (UBSan watches). */
static void test_extremes(void **state)
{
	static const char *const keys[] = {"storage", "retrieval", "write", "read", "transition",
		"min_days", "min_size", "overhead", "overhead_hot"};
	struct buf out cleanup_buf = BUF_INIT(65536);
	struct policy_totals t = {0};
	struct conf *c = conf_new();
	struct policy_facts f = facts_of("plain", 0, UINT32_MAX, 10000);
	struct price_book b;
	struct verdict v;
	struct err err;

	for (int tier = 0; tier < TIER_N; tier++) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
			char key[64];

			snprintf(
				key, sizeof(key), "aws.%s.%s", tier_name((enum tier)tier), keys[i]);
			assert_int_equal(conf_set(c, "prices max", key,
						 i < 2		     ? tier == 3 && !i ? "1" : "100"
						 : i < 5	     ? "1000"
						 : keys[i][4] == 'd' ? "3650"
								     : "1T"),
				0);
		}
	}
	assert_int_equal(conf_set(c, "prices max", "aws.egress", "100"), 0);
	assert_int_equal(price_book_parse(c, "max", &b, &err), 0);
	conf_destroy(c);
	f.size = f.bytes_window = INT64_MAX;
	f.retained_days = 3650;
	f.tier = TIER_WARM;
	rules.horizon_ns = 36500 * DAY;
	rules.window_ns = DAY;
	for (int i = 0; i < 2; i++) {
		policy_decide(&rules, &b, &f, NOW, &v);
		policy_totals_add(&t, &b, &f, &v, true);
		assert_int_equal(policy_report_file(&out, &rules, &b, &f, &v), 0);
		f.bytes_window = 0;
	}
	assert_int_equal(policy_report_summary(&out, &t), 0);
	assert_int_equal(policy_report_dashboard(&out, &b, &t), 0);
	assert_int_equal(policy_report_cross_cloud(&out, &b, &t), 0);
	policy_rules_default(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_money_digits, setup),
		cmocka_unit_test_setup(test_money_parse, setup),
		cmocka_unit_test_setup(test_percent_and_size, setup),
		cmocka_unit_test_setup(test_glob, setup),
		cmocka_unit_test_setup(test_rules_parse, setup),
		cmocka_unit_test_setup(test_rules_parse_bad, setup),
		cmocka_unit_test_setup(test_prices_parse, setup),
		cmocka_unit_test_setup(test_prices_parse_bad, setup),
		cmocka_unit_test_setup(test_guard, setup),
		cmocka_unit_test_setup(test_extremes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
