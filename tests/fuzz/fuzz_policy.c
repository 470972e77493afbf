/* SPDX-License-Identifier: MIT */
/* Policy rules and price books from a configuration; then a verdict, with its prints. */
#include "fuzz.h"

#include <errno.h>

#include "astra/base_clock.h"
#include "astra/policy.h"

#define YEAR_NS (365 * 86400 * NS_PER_S)

/* The same facts for the same input: made from its bytes. */
static void judge(
	const struct policy_rules *rules, const struct price_book *book, const uint8_t *p, size_t n)
{
	static const char *const names[] = {"temp_logs.log", "a/b/backup.zip", "x", "report.pdf"};
	static const char *const providers[] = {"aws", "gcp", "azure", "local"};
	struct policy_totals totals = {.time_ns = 3 * YEAR_NS};
	struct buf out = BUF_INIT(1 << 20);
	struct policy_facts f = {0};
	struct verdict v;
	uint64_t x[4];
	uint8_t b[8];

	fuzz_take(&p, &n, x, sizeof(x));
	fuzz_take(&p, &n, b, sizeof(b));
	f.name = names[b[0] % 4];
	f.path = b[0] & 4 ? f.name : NULL;
	f.provider = providers[b[1] % 4];
	f.tier = (enum tier)(b[2] % TIER_N);
	f.pin = (enum tier)(b[3] % TIER_N);
	f.pinned = b[3] & 128;
	f.size = x[0] >> (b[4] % 64);
	f.accesses_window = x[1] >> (b[5] % 64);
	f.accesses_total = x[1];
	f.last_access_ns = (int64_t)(x[2] % (2 * YEAR_NS));
	f.created_ns = (int64_t)(x[3] % (2 * YEAR_NS));
	f.tier_since_ns = f.created_ns;
	f.bytes_window = x[2] >> (b[6] % 64);
	f.archived = b[7] & 1;
	f.open = b[7] & 2;
	f.busy = b[7] & 4;
	f.retained_days = b[7] >> 4;
	policy_decide(rules, book, &f, 3 * YEAR_NS, &v);
	CHECK(v.nreasons <= POLICY_REASONS_MAX && v.tier < TIER_N);
	CHECK(v.action != POLICY_MOVE || (v.tier != f.tier && v.saving > 0));
	CHECK(!f.pinned || v.action == POLICY_PINNED);
	CHECK(!policy_report_file(&out, rules, book, &f, &v));
	policy_totals_add(&totals, book, &f, &v, true);
	CHECK(!policy_report_summary(&out, &totals));
	CHECK(!policy_report_dashboard(&out, book, &totals));
	CHECK(!policy_report_cross_cloud(&out, book, &totals));
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct policy_rules rules;
	static struct price_book book;
	struct conf *c = conf_new();
	struct err err = {0};
	errint_t r;

	CHECK(c);
	if (!conf_load(c, fuzz_file(p, n), &err)) {
		r = policy_rules_parse(c, NULL, 0, &rules, &err);
		CHECK(!r || *err.msg);
		if (r)
			policy_rules_default(&rules);
		r = price_book_parse(c, rules.prices, &book, &err);
		CHECK(!r || *err.msg);
		judge(&rules, r ? price_book_astra() : &book, p, n);
	}
	conf_destroy(c);
	return 0;
}
