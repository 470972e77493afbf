/* SPDX-License-Identifier: MIT */
/*
 * Verdicts: every worked example to its printed digit, the edges of the default rules, pins and
 * obstacles, the reports. `test_policy --bench [N]` times policy_decide.
 */
#include "policy_help.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_clock.h"

/* ---- the worked examples ---- */

static void test_example_backup_database(void **state)
{
	struct policy_facts f = facts_of("backup_database_2023.zip", 15, 2, 120);
	struct verdict v = decided(&f);
	char t[MONEY_TEXT_MAX];

	assert_int_equal(v.action, POLICY_MOVE);
	assert_int_equal(v.tier, TIER_COLD);
	assert_int_equal(v.age_tier, TIER_COLD);
	assert_int_equal(v.age_days, 120);
	assert_int_equal(v.rule->tier, TIER_WARM);
	assert_true(v.saving == usd("0.285"));
	assert_money(v.saving, MONEY_MONTH, "$0.285");
	assert_string_equal(percent_format(t, v.saving, v.cost_now), "82.6");
	assert_int_equal(v.saving * 100 / v.cost_now, 82);
}

struct row {
	const char *name;
	double gb;
	uint64_t accesses;
	double days;
	enum policy_action action;
	enum tier tier;
	const char *before, *after, *saves;
};

static const struct row demo[] = {
	{"backup_archive.zip", 10, 0, 120, POLICY_MOVE, TIER_COLD, "$0.230", "$0.040", "$0.190"},
	{"customer_data.csv", 2.5, 15, 2, POLICY_KEEP, TIER_HOT, "$0.058", "$0.058", "$0.000"},
	{"monthly_report_2024.pdf", 0.5, 3, 45, POLICY_MOVE, TIER_WARM, "$0.0115", "$0.006",
		"$0.0053"},
	{"temp_logs.log", 0.1, 0, 220, POLICY_MOVE, TIER_ARCHIVE, "$0.0023", "$0.0001", "$0.0022"},
};

static void test_example_demo(void **state)
{
	struct policy_totals t = {0};
	struct buf out cleanup_buf = BUF_INIT(65536);
	char text[MONEY_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(demo); i++) {
		const struct row *d = &demo[i];
		struct policy_facts f = facts_of(d->name, d->gb, d->accesses, d->days);
		struct verdict v = decided(&f);

		assert_int_equal(v.action, d->action);
		assert_int_equal(v.tier, d->tier);
		assert_money(v.cost_now, MONEY_MONTH, d->before);
		assert_money(v.cost_after, MONEY_MONTH, d->after);
		assert_money(v.saving, MONEY_MONTH, d->saves);
		if (i == 0)
			assert_string_equal(percent_format(text, v.saving, v.cost_now), "82.6");
		policy_totals_add(&t, price_book_astra(), &f, &v, true);
	}
	t.time_ns = INT64_C(3200000000);
	assert_int_equal(policy_report_summary(&out, &t), 0);
	assert_string_equal(out.p,
		"======================================================================\n"
		"TIERING ENGINE SUMMARY\n"
		"======================================================================\n"
		"Files Analyzed: 4\n"
		"Migrations Performed: 3\n"
		"Files Optimized: 3\n"
		"Files Already Optimal: 1\n"
		"\n"
		"Cost Impact:\n"
		"   Previous Monthly Cost: $0.301\n"
		"   New Monthly Cost: $0.104\n"
		"   Total Savings: $0.197/month (65.5% reduction)\n"
		"   Annual Savings: $2.37\n"
		"\n"
		"Execution Time: 3.2 seconds\n"
		"======================================================================\n");
	buf_reset(&out);
	assert_int_equal(policy_report_dashboard(&out, price_book_astra(), &t), 0);
	assert_string_equal(out.p,
		"======================================================================\n"
		"STORAGE STATISTICS\n"
		"======================================================================\n"
		"Total Files: 4\n"
		"Total Size: 13.1 GB\n"
		"Total Accesses: 18\n"
		"\n"
		"Tier Distribution:\n"
		"   HOT (STANDARD):           1 file (2.5 GB) - $0.058/month\n"
		"   WARM (STANDARD_IA):       1 file (0.5 GB) - $0.006/month\n"
		"   COLD (GLACIER):           1 file (10 GB) - $0.040/month\n"
		"   ARCHIVE (DEEP_ARCHIVE):   1 file (0.1 GB) - $0.0001/month\n"
		"\n"
		"Total Monthly Cost: $0.104 (vs $0.301 in all-HOT)\n"
		"Monthly Savings: $0.197 (65.5% reduction)\n"
		"======================================================================\n");
	buf_reset(&out);
	assert_int_equal(policy_report_cross_cloud(&out, price_book_astra(), &t), 0);
	assert_non_null(strstr(out.p, "Files in archive tiers: 2 files (10.1 GB)\n"));
	assert_non_null(strstr(out.p, "GCP COLDLINE: $0.004/GB, the same\n"));
	assert_non_null(strstr(out.p, "GCP ARCHIVE: $0.0012/GB, costs "));
	assert_non_null(
		strstr(out.p, "same cloud: AWS DEEP_ARCHIVE: $0.00099/GB, saves $0.030/month"));
	assert_non_null(
		strstr(out.p, "Recommendation: AWS DEEP_ARCHIVE, $0.36 in the first year\n"));
}

/* The print that the demo's PDF was in WARM before: two migrations, two optimal. */
static void test_example_pdf_in_warm(void **state)
{
	struct policy_totals t = {0};

	for (size_t i = 0; i < ARRAY_SIZE(demo); i++) {
		struct policy_facts f =
			facts_of(demo[i].name, demo[i].gb, demo[i].accesses, demo[i].days);
		struct verdict v;

		f.tier = i == 2 ? TIER_WARM : TIER_HOT;
		v = decided(&f);
		policy_totals_add(&t, price_book_astra(), &f, &v, true);
	}
	assert_int_equal(t.moves, 2);
	assert_int_equal(t.optimal, 2);
	assert_int_equal(t.accesses, 18);
	assert_money(t.after, MONEY_MONTH, "$0.104");
	assert_money(t.all_hot, MONEY_MONTH, "$0.301");
}

static void test_example_prints(void **state)
{
	struct policy_facts f = facts_of("backup_archive.zip", 10, 0, 120);
	struct buf out cleanup_buf = BUF_INIT(65536);
	struct verdict v = decided(&f);

	assert_int_equal(policy_report_file(&out, &rules, price_book_astra(), &f, &v), 0);
	assert_string_equal(out.p,
		"backup_archive.zip\n"
		"   Cloud: AWS\n"
		"   Current Tier: HOT (STANDARD) - $0.230/month\n"
		"   Access Stats: 0 accesses, 120 days since last access\n"
		"   File Size: 10 GB\n"
		"\n"
		"   Analysis:\n"
		"      Age factor: 120 days -> Suggests COLD\n"
		"      Access count: 0 -> Low usage confirms COLD\n"
		"      Filename heuristic: \"*archive*\" -> COLD tier optimal (rarely accessed "
		"archives)\n"
		"      Cost impact: $0.230 -> $0.040/month (82.6% savings)\n"
		"\n"
		"   Decision: Migrate to GLACIER\n"
		"   Monthly savings: $0.190\n");
	buf_reset(&out);
	f = facts_of("customer_data.csv", 2.5, 15, 2);
	v = decided(&f);
	assert_int_equal(policy_report_file(&out, &rules, price_book_astra(), &f, &v), 0);
	assert_string_equal(out.p, "customer_data.csv\n"
				   "   Cloud: AWS\n"
				   "   Current Tier: HOT (STANDARD) - $0.058/month\n"
				   "   Access Stats: 15 accesses, 2 days since last access\n"
				   "   File Size: 2.5 GB\n"
				   "\n"
				   "   Analysis:\n"
				   "      Access count: 15 -> High usage detected\n"
				   "      Recent access: 2 days ago -> Active file\n"
				   "      Business critical pattern detected: \"customer_*\"\n"
				   "\n"
				   "   Decision: Keep in HOT tier (optimal)\n"
				   "   No changes needed\n");
	buf_reset(&out);
	f = facts_of("temp_logs.log", 0.1, 0, 220);
	v = decided(&f);
	assert_int_equal(policy_report_file(&out, &rules, price_book_astra(), &f, &v), 0);
	assert_string_equal(out.p,
		"temp_logs.log\n"
		"   Cloud: AWS\n"
		"   Current Tier: HOT (STANDARD) - $0.0023/month\n"
		"   Access Stats: 0 accesses, 220 days since last access\n"
		"   File Size: 0.1 GB\n"
		"\n"
		"   Analysis:\n"
		"      Age factor: 220 days -> Suggests ARCHIVE\n"
		"      Access count: 0 -> Low usage confirms ARCHIVE\n"
		"      Filename heuristic: \"*.log\" -> COLD or colder (rarely accessed logs)\n"
		"      Cost impact: $0.0023 -> $0.0001/month (95.7% savings)\n"
		"\n"
		"   Decision: Migrate to DEEP_ARCHIVE\n"
		"   Monthly savings: $0.0022\n");
	buf_reset(&out);
	f = facts_of("monthly_report_2024.pdf", 0.5, 3, 45);
	v = decided(&f);
	assert_int_equal(policy_report_file(&out, &rules, price_book_astra(), &f, &v), 0);
	assert_non_null(strstr(out.p, "Access Stats: 3 accesses, 45 days since last access\n"));
	assert_non_null(strstr(
		out.p, "Access count: 3 (0 in the last 30 days) -> Low usage confirms WARM\n"));
	assert_non_null(strstr(out.p, "Cost impact: $0.0115 -> $0.006/month"));
	assert_non_null(strstr(out.p, "Decision: Migrate to STANDARD_IA\n"));
}

/* Fresh files, two of them aged by hand. */
static void test_example_ageing(void **state)
{
	static const struct {
		double aged;
		enum policy_action action;
		enum tier tier;
	} want[] = {
		{100, POLICY_MOVE, TIER_COLD},
		{0, POLICY_KEEP, TIER_HOT},
		{0, POLICY_MOVE, TIER_WARM},
		{200, POLICY_MOVE, TIER_ARCHIVE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(demo); i++) {
		struct policy_facts f = facts_of(demo[i].name, demo[i].gb, 1, want[i].aged);
		struct verdict v = decided(&f);

		assert_int_equal(v.action, want[i].action);
		assert_int_equal(v.tier, want[i].tier);
	}
}

/* Five fresh files, 25 GB: logs to COLD, backups to WARM, active files stay. */
static void test_example_sample_data(void **state)
{
	static const struct {
		const char *name;
		double gb;
		uint64_t accesses;
		enum tier tier;
	} sample[] = {
		{"application_server.log", 2, 0, TIER_COLD},
		{"access.log", 3, 0, TIER_COLD},
		{"backup_database.zip", 15, 1, TIER_WARM},
		{"customer_data.csv", 2.5, 15, TIER_HOT},
		{"transaction_2024.db", 2.5, 3, TIER_HOT},
	};
	uint64_t bytes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sample); i++) {
		struct policy_facts f =
			facts_of(sample[i].name, sample[i].gb, sample[i].accesses, 0);
		struct verdict v = decided(&f);

		bytes += f.size;
		assert_int_equal(v.tier, sample[i].tier);
		assert_int_equal(v.action, sample[i].tier == TIER_HOT ? POLICY_KEEP : POLICY_MOVE);
	}
	assert_int_equal(bytes, GB_BYTES(25));
}

/* A migration's figures: 15 GB leave for $0.30 and pay back within the first month. */
static void test_example_migration(void **state)
{
	struct price_book b = *price_book_astra();
	struct price_move m = {.size = GB_BYTES(15), .parts = 3000, .held_s = -1};

	m.from = price_find(&b, "aws");
	m.to = price_find(&b, "gcp");
	price_move_cost(&m);
	assert_true(m.total == 0); /* the book has no egress */
	assert_money(price_month(m.from, TIER_HOT, m.size), MONEY_MONTH, "$0.345");
	assert_int_equal(price_payback_months(m.total, m.saving), 0);
	assert_int_equal((m.size + 4999999) / 5000000, m.parts);
	b.providers[0].egress = usd("0.02") / 1000000000;
	price_move_cost(&m);
	assert_money(m.egress, MONEY_ONCE, "$0.30");
	assert_money(m.total, MONEY_ONCE, "$0.30");
	assert_int_equal(price_payback_months(m.total, price_month(m.from, TIER_HOT, m.size)), 1);
	assert_money(m.saving, MONEY_MONTH, "$0.045");
	assert_int_equal(price_payback_months(m.total, m.saving), 7);
	assert_int_equal(price_payback_months(1, 0), UINT_MAX);
	assert_int_equal(price_payback_months(0, 0), 0);
	assert_int_equal(price_payback_months(0, -1), UINT_MAX);
	assert_int_equal(price_payback_months(10, 5), 2);
	assert_int_equal(price_payback_months(11, 5), 3);
}

static void test_migration_report(void **state)
{
	struct price_book b = *price_book_astra();
	cleanup_buf struct buf out = BUF_INIT(65536);
	struct policy_migration m = {
		.path = "aws/backup_database.zip",
		.size = GB_BYTES(15),
		.files = 1,
		.src_cloud = "aws",
		.src_region = "us-east-1",
		.src_provider = "aws",
		.dst_cloud = "gcp",
		.dst_region = "us-central1",
		.dst_provider = "gcp",
		.speed = 12500000,
		.time_ns = INT64_C(1934) * 1000000000,
		.parts = 2862,
		.part_size = 5 << 20,
		.held_s = -1,
	};

	assert_int_equal(policy_report_plan(&out, &m), 0);
	assert_non_null(strstr(out.p, "Source: AWS (us-east-1)\nDestination: GCP (us-central1)\n"
				      "File: aws/backup_database.zip (15 GB)\n\n"
				      "Pre-Migration Analysis:\n"
				      "   Source exists: yes\n"
				      "   Destination accessible: yes\n"
				      "   Estimated transfer time: about 20 minutes 0 seconds\n"
				      "   Bandwidth: 12.5 MB/s, as of the last moves\n"));
	b.providers[0].egress = usd("0.02") / 1000000000;
	policy_migration_cost(&b, &m);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_string_equal(out.p,
		"Transfer complete\nIntegrity verified (CRC-32C match)\nSource cleanup "
		"completed\n\n"
		"Migration Statistics:\n"
		"   Transfer Time: 32 minutes 14 seconds\n"
		"   Average Speed: 7.8 MB/s\n"
		"   Chunks Transferred: 2862 of 5120 KiB\n"
		"   Retries: 0\n"
		"   Success Rate: 100%\n\n"
		"Cost Analysis:\n"
		"   Transfer Cost: $0.30 (requests $0.00, retrieval $0.00, egress $0.30, early "
		"removal "
		"$0.00)\n"
		"   AWS Storage Savings: $0.345/month\n"
		"   GCP Storage Cost: $0.300/month\n"
		"   Net Savings: $0.045/month\n"
		"   Pay-back: after 1 month of AWS's bill, 7 months net\n"
		"======================================================================\n"
		"MIGRATION SUCCESSFUL\n"
		"======================================================================\n");
	/* The other way it never pays, with fees or without; what failed says why. */
	m.src_provider = "gcp";
	m.dst_provider = "aws";
	b.providers[1].egress = usd("0.01") / 1000000000;
	m.retries = 3;
	policy_migration_cost(&b, &m);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_non_null(strstr(out.p, "   Success Rate: 99.9%\n"));
	assert_non_null(strstr(out.p, "   Net Savings: -$0.045/month\n"));
	assert_non_null(strstr(out.p, ", never net\n"));
	m.failure = "the disk is full";
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_non_null(strstr(out.p, "Transfer failed: the disk is full\n"));
	m.failure = NULL;
	b.providers[1].egress = 0;
	policy_migration_cost(&b, &m);
	assert_int_equal(m.payback_months, UINT_MAX);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_non_null(strstr(out.p, "   Transfer Cost: $0.00\n"));
	assert_non_null(strstr(out.p, "   Net Savings: -$0.045/month\n   Pay-back: never\n"));
	/* From what cost nothing. */
	m.src_provider = "local";
	b.providers[3].egress = 1;
	policy_migration_cost(&b, &m);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_non_null(strstr(out.p, "   Pay-back: never\n"));
}

/* A directory's bill is that of its files, whatever their tiers; one file makes it no file. */
static void test_directory_report(void **state)
{
	struct price_book b = *price_book_astra();
	cleanup_buf struct buf out = BUF_INIT(65536);
	struct price_move cold = {.from = price_find(&b, "aws"),
		.to = price_find(&b, "gcp"),
		.from_tier = TIER_COLD,
		.to_tier = TIER_COLD,
		.size = GB_BYTES(100)};
	struct price_move hot = {.from = cold.from, .to = cold.to, .size = GB_BYTES(15)};
	struct policy_migration m = {.path = "aws/d",
		.dir = true,
		.size = GB_BYTES(15),
		.files = 1,
		.src_cloud = "aws",
		.dst_cloud = "gcp",
		.src_provider = "aws",
		.dst_provider = "gcp"};

	(void)state;
	assert_int_equal(policy_report_plan(&out, &m), 0);
	assert_non_null(strstr(out.p, "\nDirectory: aws/d (1 file, 15 GB)\n"));
	b.providers[0].egress = usd("0.02") / 1000000000;
	policy_bill_add(&m.bill, &hot);
	policy_migration_cost(&b, &m);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_non_null(strstr(out.p, "   Files Transferred: 1\n"));
	assert_non_null(strstr(out.p, "   Transfer Cost: $0.30 "));
	assert_non_null(strstr(out.p, "   AWS Storage Savings: $0.345/month\n"
				      "   GCP Storage Cost: $0.300/month\n"
				      "   Net Savings: $0.045/month\n"
				      "   Pay-back: after 1 month of AWS's bill, 7 months net\n"));
	m.files = 2;
	m.size += cold.size;
	policy_bill_add(&m.bill, &cold);
	policy_migration_cost(&b, &m);
	assert_true(m.bill.month_from == price_month(hot.from, TIER_HOT, hot.size) +
						 price_month(cold.from, TIER_COLD, cold.size));
	assert_true(m.bill.total == hot.total + cold.total);
	m.bill.unpriced = true;
	policy_migration_cost(&b, &m);
	buf_reset(&out);
	assert_int_equal(policy_report_migration(&out, &m), 0);
	assert_null(strstr(out.p, "Cost Analysis"));
	assert_non_null(strstr(out.p, "   Files Transferred: 2\n"));
}

/* ---- edges of the rules ---- */

static void test_age_edges(void **state)
{
	static const struct {
		int64_t days;
		enum tier tier;
	} t[] = {{0, TIER_HOT}, {29, TIER_HOT}, {30, TIER_WARM}, {31, TIER_WARM}, {89, TIER_WARM},
		{90, TIER_COLD}, {91, TIER_COLD}, {179, TIER_COLD}, {180, TIER_ARCHIVE},
		{181, TIER_ARCHIVE}, {10000, TIER_ARCHIVE}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy_facts f = facts_of("plain.bin", 10, 0, 0);
		struct verdict v;

		f.last_access_ns = NOW - t[i].days * DAY;
		v = decided(&f);
		assert_int_equal(v.tier, t[i].tier);
		assert_int_equal(v.age_days, t[i].days);
		if (t[i].days && t[i].tier != TIER_HOT) { /* a nanosecond less than the day */
			f.last_access_ns++;
			assert_int_equal(decided(&f).age_days, t[i].days - 1);
		}
	}
}

static void test_age_sources(void **state)
{
	struct policy_facts f = facts_of("plain.bin", 10, 0, 0);

	f.last_access_ns = 0; /* never: creation counts */
	f.created_ns = NOW - 95 * DAY;
	assert_int_equal(decided(&f).tier, TIER_COLD);
	f.last_access_ns = NOW - DAY;
	assert_int_equal(decided(&f).tier, TIER_HOT);
	f.last_access_ns = NOW + 5 * DAY; /* a clock that was ahead */
	assert_int_equal(decided(&f).age_days, 0);
	f.last_access_ns = f.created_ns = 0; /* nothing known: nothing moves */
	assert_int_equal(decided(&f).action, POLICY_KEEP);
	assert_int_equal(decided(&f).tier, TIER_HOT);
}

static void test_count_edges(void **state)
{
	static const struct {
		uint64_t n;
		enum tier tier, count_tier;
	} t[] = {{0, TIER_COLD, TIER_N}, {4, TIER_COLD, TIER_N}, {5, TIER_WARM, TIER_WARM},
		{9, TIER_WARM, TIER_WARM}, {10, TIER_HOT, TIER_HOT},
		{UINT64_MAX, TIER_HOT, TIER_HOT}};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy_facts f = facts_of("plain.bin", 10, t[i].n, 100);
		struct verdict v;

		f.accesses_window = t[i].n;
		v = decided(&f);
		assert_int_equal(v.tier, t[i].tier);
		assert_int_equal(v.count_tier, t[i].count_tier);
	}
	/* Lifetime accesses decide nothing. */
	struct policy_facts f = facts_of("plain.bin", 10, 1000, 100);

	assert_int_equal(decided(&f).tier, TIER_COLD);
}

static void test_patterns(void **state)
{
	static const struct {
		const char *name;
		double days;
		enum tier tier;
	} t[] = {
		{"server.log", 0, TIER_COLD},
		{"my_archive_1.tar", 0, TIER_COLD},
		{"backup_x", 0, TIER_WARM},
		{"a_report_b", 0, TIER_WARM},
		{"monthly_x", 0, TIER_WARM},
		{"quarterly_x", 0, TIER_WARM},
		{"temp_x", 0, TIER_COLD},
		{"cache_x", 0, TIER_COLD},
		{"customer_x", 0, TIER_HOT},
		{"transaction_x", 0, TIER_HOT},
		{"plain", 0, TIER_HOT},
		/* the colder of age and name */
		{"backup_x", 100, TIER_COLD},
		{"temp_x", 45, TIER_COLD},
		{"temp_x", 200, TIER_ARCHIVE},
		/* a HOT name holds whatever the age */
		{"customer_x", 1000, TIER_HOT},
		{"transaction_x", 200, TIER_HOT},
		/* the first match wins */
		{"backup_archive.zip", 0, TIER_COLD},
		{"customer_events.log", 0, TIER_COLD},
		{"backup_customer_x", 0, TIER_WARM},
		{"monthly_report_2024.pdf", 0, TIER_WARM},
		{"temp_report_x", 0, TIER_WARM},
		{"temp_logs.log", 0, TIER_COLD},
		/* nearly */
		{"log", 0, TIER_HOT},
		{"a.log.gz", 0, TIER_HOT},
		{"mybackup_x", 0, TIER_HOT},
		{"report_x", 0, TIER_HOT},
		{"Temp_x", 0, TIER_HOT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct policy_facts f = facts_of(t[i].name, 1, 4, t[i].days);

		assert_int_equal(decided(&f).tier, t[i].tier);
	}
	/* Enough accesses: the name has no say. */
	struct policy_facts f = facts_of("server.log", 1, 10, 1);

	assert_int_equal(decided(&f).tier, TIER_HOT);
	f = facts_of("customer_x", 1, 7, 1);
	assert_int_equal(decided(&f).tier, TIER_WARM);
}

static void test_threshold_and_promotion(void **state)
{
	struct policy_facts f = facts_of("plain", 0, 0, 45);
	struct verdict v;

	/* HOT -> WARM saves 0.0105 $/GB: 0.001 at 95,238,095.2 bytes. */
	f.size = 95238095;
	v = decided(&f);
	assert_int_equal(v.action, POLICY_KEEP);
	assert_int_equal(v.tier, TIER_WARM);
	assert_true(has_reason(&v, REASON_THRESHOLD));
	f.size = 95238096;
	assert_int_equal(decided(&f).action, POLICY_MOVE);
	f.size = GB_BYTES(10); /* just the threshold is not above it */
	rules.threshold = usd("0.105");
	assert_int_equal(decided(&f).action, POLICY_KEEP);
	rules.threshold--;
	assert_int_equal(decided(&f).action, POLICY_MOVE);
	rules.threshold = 0;
	f.size = 1;
	assert_int_equal(decided(&f).action, POLICY_MOVE);
	f.size = 0; /* nothing to save */
	v = decided(&f);
	assert_int_equal(v.action, POLICY_KEEP);
	assert_true(has_reason(&v, REASON_NO_SAVING));
	policy_rules_default(&rules);
	/* Warmer costs more, so it is recommended and not done. */
	f = facts_of("plain", 10, 12, 1);
	f.tier = TIER_COLD;
	v = decided(&f);
	assert_int_equal(v.tier, TIER_HOT);
	assert_int_equal(v.action, POLICY_KEEP);
	assert_true(v.saving == -usd("0.19"));
	assert_true(has_reason(&v, REASON_NO_SAVING));

	struct buf out cleanup_buf = BUF_INIT(4096);

	assert_int_equal(policy_decision_text(&out, price_book_astra(), &f, &v), 0);
	assert_string_equal(out.p, "Keep in COLD tier (HOT would cost more)");
}

static void test_pinned_and_obstacles(void **state)
{
	struct policy_facts f = facts_of("plain", 10, 0, 200), g;
	struct verdict v;

	f.pinned = true;
	f.pin = TIER_COLD;
	v = decided(&f);
	assert_int_equal(v.action, POLICY_PINNED);
	assert_int_equal(v.tier, TIER_COLD);
	assert_true(has_reason(&v, REASON_PINNED));
	assert_money(v.saving, MONEY_MONTH, "$0.190");
	f.pinned = false;
#define VETO(field, reason)                                                                        \
	do {                                                                                       \
		g = f;                                                                             \
		g.field = true;                                                                    \
		v = decided(&g);                                                                   \
		assert_int_equal(v.action, POLICY_VETO);                                           \
		assert_int_equal(v.tier, TIER_ARCHIVE);                                            \
		assert_true(has_reason(&v, (reason)));                                             \
	} while (0)
	VETO(open, REASON_V_OPEN);
	VETO(busy, REASON_V_BUSY);
	VETO(archived, REASON_V_ARCHIVED);
	VETO(locked, REASON_V_LOCKED);
	VETO(managed, REASON_V_MANAGED);
	/* An open file may go where reading stays instant, and never to ARCHIVE. */
	g = facts_of("plain", 10, 0, 45);
	g.open = true;
	assert_int_equal(decided(&g).action, POLICY_MOVE);
	g = f;
	g.open = true;
	g.provider = "gcp";
	assert_int_equal(decided(&g).action, POLICY_VETO);
}

static void test_classes_and_providers(void **state)
{
	static const char *const no_archive[TIER_N] = {"STD", "IA", "ICE", ""};
	static const char *const only_warm[TIER_N] = {NULL, "IA", NULL, NULL};
	struct buf out cleanup_buf = BUF_INIT(4096);
	struct policy_facts f = facts_of("plain", 10, 0, 200);
	struct verdict v;

	f.classes = no_archive;
	v = decided(&f);
	assert_int_equal(v.tier, TIER_COLD);
	assert_true(has_reason(&v, REASON_NOT_OFFERED));
	assert_int_equal(policy_decision_text(&out, price_book_astra(), &f, &v), 0);
	assert_string_equal(out.p, "Migrate to ICE");
	f.classes = only_warm;
	f.tier = TIER_WARM;
	assert_int_equal(decided(&f).action, POLICY_KEEP);
	f = facts_of("plain", 10, 12, 0);
	f.classes = only_warm;
	assert_int_equal(decided(&f).tier, TIER_WARM);
	/* No prices: advice only. A free store: nothing to save. */
	f = facts_of("plain", 10, 0, 200);
	f.provider = "elsewhere";
	v = decided(&f);
	assert_int_equal(v.action, POLICY_KEEP);
	assert_true(has_reason(&v, REASON_UNPRICED));
	f.provider = "local";
	assert_int_equal(decided(&f).action, POLICY_KEEP);
	f.provider = NULL;
	assert_int_equal(decided(&f).action, POLICY_KEEP);
	f.provider = "azure";
	v = decided(&f);
	assert_money(v.cost_now, MONEY_MONTH, "$0.208");
	assert_money(v.cost_after, MONEY_MONTH, "$0.020");
	f.provider = "gcp";
	v = decided(&f);
	assert_money(v.cost_after, MONEY_MONTH, "$0.012");
}

static void test_report_limits(void **state)
{
	struct policy_facts f = facts_of("backup_archive.zip", 10, 0, 120);
	struct buf out cleanup_buf = BUF_INIT(64);
	struct verdict v = decided(&f);
	struct policy_totals t = {.dry_run = true};

	assert_int_equal(policy_report_file(&out, &rules, price_book_astra(), &f, &v), -ENOBUFS);

	struct buf big cleanup_buf = BUF_INIT(65536);

	policy_totals_add(&t, price_book_astra(), &f, &v, false);
	policy_totals_add(&t, price_book_astra(), &f, NULL, false);
	f.pinned = true;
	v = decided(&f);
	policy_totals_add(&t, price_book_astra(), &f, &v, false);
	assert_int_equal(t.files, 3);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.pinned, 1);
	assert_true(t.before == t.after);
	assert_int_equal(policy_report_summary(&big, &t), 0);
	assert_non_null(strstr(big.p, "Migrations Planned: 0\nFiles To Be Optimized: 0\n"));
	assert_non_null(strstr(big.p, "Moves Not Made: 1\n"));
	assert_non_null(strstr(big.p, "Files Pinned: 1\n"));
	buf_reset(&big);
	assert_int_equal(policy_report_cross_cloud(&big, price_book_astra(), &t), 0);
	assert_int_equal(big.len, 0);
	assert_string_equal(policy_reason_name(REASON_COUNT_HIGH), "count-high");
	assert_string_equal(policy_action_name(POLICY_VETO), "veto");
}

static void test_tiers(void **state)
{
	enum tier t = TIER_N;

	assert_int_equal(tier_parse("COLD", &t), 0);
	assert_int_equal(t, TIER_COLD);
	assert_int_equal(tier_parse("archive", &t), 0);
	assert_int_equal(t, TIER_ARCHIVE);
	assert_int_equal(tier_parse("Cold", &t), -EINVAL);
	assert_int_equal(tier_parse("", &t), -EINVAL);
	assert_int_equal(tier_parse("HOT ", &t), -EINVAL);
	assert_string_equal(tier_name(TIER_WARM), "WARM");
	assert_string_equal(tier_name(TIER_N), "?");
}

/* ---- benchmark ---- */

static int bench(uint64_t n)
{
	static const char *const names[] = {"IMG_20240131_120000.jpg", "backup_2024.tar.zst",
		"access.log", "customer_4711.json", "part-00042.parquet", "temp_17", "README.md"};
	uint64_t moves = 0;
	int64_t t0;

	policy_rules_default(&rules);
	t0 = clock_mono_ns();
	for (uint64_t i = 0; i < n; i++) {
		struct policy_facts f = {
			.name = names[i % ARRAY_SIZE(names)],
			.provider = "aws",
			.size = i * 4096,
			.last_access_ns = NOW - (int64_t)(i % 300) * DAY,
			.accesses_window = i % 12,
		};
		struct verdict v;

		policy_decide(&rules, price_book_astra(), &f, NOW, &v);
		moves += v.action == POLICY_MOVE;
	}
	t0 = clock_mono_ns() - t0;
	printf("policy_decide: %llu objects in %.3f s, %.0f ns each, %llu moves\n",
		(unsigned long long)n, (double)t0 / 1e9, (double)t0 / (double)n,
		(unsigned long long)moves);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tiers),
		cmocka_unit_test_setup(test_example_backup_database, setup),
		cmocka_unit_test_setup(test_example_demo, setup),
		cmocka_unit_test_setup(test_example_pdf_in_warm, setup),
		cmocka_unit_test_setup(test_example_prints, setup),
		cmocka_unit_test_setup(test_example_ageing, setup),
		cmocka_unit_test_setup(test_example_sample_data, setup),
		cmocka_unit_test_setup(test_example_migration, setup),
		cmocka_unit_test(test_migration_report),
		cmocka_unit_test(test_directory_report),
		cmocka_unit_test_setup(test_age_edges, setup),
		cmocka_unit_test_setup(test_age_sources, setup),
		cmocka_unit_test_setup(test_count_edges, setup),
		cmocka_unit_test_setup(test_patterns, setup),
		cmocka_unit_test_setup(test_threshold_and_promotion, setup),
		cmocka_unit_test_setup(test_pinned_and_obstacles, setup),
		cmocka_unit_test_setup(test_classes_and_providers, setup),
		cmocka_unit_test_setup(test_report_limits, setup),
	};

	if (argc > 1 && !strcmp(argv[1], "--bench"))
		return bench(argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
