/* SPDX-License-Identifier: MIT */
/*
 * A migration as people read it: what is known before it, and what came of it and what that costs.
 * Pure; any thread. Errors are those of the buffer and stick to it.
 */
#include "astra/policy.h"

#include <assert.h>
#include <limits.h>

#include "astra/base_cleanup.h"
#include "report.h"

#define SECOND INT64_C(1000000000)

/* "0.4 seconds", "32 minutes 14 seconds", "3 hours 5 minutes". */
static void add_span(struct buf *out, int64_t ns)
{
	int64_t tenths = (ns + SECOND / 20) / (SECOND / 10), s = (ns + SECOND / 2) / SECOND;

	if (tenths < 600)
		(void)buf_addf(out, "%lld.%lld seconds", (long long)(tenths / 10),
			(long long)(tenths % 10));
	else if (s < 3600)
		(void)buf_addf(out, "%lld minute%s %lld second%s", (long long)(s / 60),
			report_plural((uint64_t)s / 60), (long long)(s % 60),
			report_plural((uint64_t)s % 60));
	else
		(void)buf_addf(out, "%lld hour%s %lld minute%s", (long long)(s / 3600),
			report_plural((uint64_t)s / 3600), (long long)(s / 60 % 60),
			report_plural((uint64_t)s / 60 % 60));
}

/* "7.8 MB/s", "216 MB/s", "1.25 GB/s" */
static void add_speed(struct buf *out, uint64_t bytes_per_s)
{
	uint64_t tenths = (bytes_per_s + 50000) / 100000;

	if (tenths < 1 || tenths >= 10000)
		(void)buf_addf(out, "%s/s", SIZE(bytes_per_s));
	else if (tenths < 1000)
		(void)buf_addf(out, "%llu.%llu MB/s", (unsigned long long)(tenths / 10),
			(unsigned long long)(tenths % 10));
	else
		(void)buf_addf(out, "%llu MB/s", (unsigned long long)((tenths + 5) / 10));
}

static void add_place(struct buf *out, const char *label, const char *cloud, const char *region)
{
	(void)buf_addf(out, "%s: %s", label, report_cloud(cloud));
	(void)buf_addf(out, region && *region ? " (%s)\n" : "\n", region);
}

static void add_check(struct buf *out, const char *what, const char *trouble)
{
	(void)buf_addf(out, "   %s: %s\n", what, trouble ? trouble : "yes");
}

errint_t policy_report_plan(struct buf *out, const struct policy_migration *m)
{
	(void)buf_adds(out, RULER "CROSS-CLOUD MIGRATION\n" RULER);
	add_place(out, "Source", m->src_cloud, m->src_region);
	add_place(out, "Destination", m->dst_cloud, m->dst_region);
	if (!m->dir)
		(void)buf_addf(out, "File: %s (%s)\n\n", m->path, SIZE(m->size));
	else
		(void)buf_addf(out, "Directory: %s (%llu file%s, %s)\n\n", m->path,
			(unsigned long long)m->files, report_plural(m->files), SIZE(m->size));
	(void)buf_adds(out, "Pre-Migration Analysis:\n");
	add_check(out, "Source exists", m->src_trouble);
	add_check(out, "Destination accessible", m->dst_trouble);
	(void)buf_adds(out, "   Estimated transfer time: ");
	if (m->speed) {
		(void)buf_adds(out, "about ");
		add_span(out, (int64_t)((double)m->size / (double)m->speed * 1e9));
		(void)buf_adds(out, "\n   Bandwidth: ");
		add_speed(out, m->speed);
		(void)buf_adds(out, ", as of the last moves\n\n");
	} else {
		(void)buf_adds(out, "not known\n   Bandwidth: nothing was moved this way yet\n\n");
	}
	return out->failed;
}

void policy_bill_add(struct policy_bill *b, struct price_move *m)
{
	price_move_cost(m);
	b->requests += m->requests;
	b->retrieval += m->retrieval;
	b->early += m->early;
	b->egress += m->egress;
	b->total += m->total;
	b->month_from += price_month(m->from, m->from_tier, m->size);
	b->month_to += price_month(m->to, m->to_tier, m->size);
}

/* A directory's files have moved one by one, and were added up. */
static void file_bill(const struct price_book *b, struct policy_migration *m)
{
	struct price_move move = {
		.from = price_find(b, m->src_provider),
		.to = price_find(b, m->dst_provider),
		.from_tier = m->src_tier,
		.to_tier = m->dst_tier,
		.size = m->size,
		.parts = (unsigned)MIN_OF(m->parts, (uint64_t)UINT_MAX),
		.held_s = m->held_s,
	};

	m->bill = (struct policy_bill){.unpriced = !move.from || !move.to};
	if (!m->bill.unpriced)
		policy_bill_add(&m->bill, &move);
}

void policy_migration_cost(const struct price_book *b, struct policy_migration *m)
{
	assert((unsigned)m->src_tier < TIER_N && (unsigned)m->dst_tier < TIER_N);
	if (!m->dir)
		file_bill(b, m);
	m->priced = !m->bill.unpriced;
	m->payback_gross = price_payback_months(m->bill.total, m->bill.month_from);
	m->payback_months =
		price_payback_months(m->bill.total, m->bill.month_from - m->bill.month_to);
}

static void add_payback(struct buf *out, const struct policy_migration *m)
{
	(void)buf_adds(out, "   Pay-back: ");
	if (!m->bill.total) {
		(void)buf_adds(out, m->payback_months ? "never\n" : "at once\n");
		return;
	}
	if (m->payback_gross == UINT_MAX) { /* what was free before */
		(void)buf_adds(out, "never\n");
		return;
	}
	(void)buf_addf(out, "after %u month%s of %s's bill, ", m->payback_gross,
		report_plural(m->payback_gross), report_cloud(m->src_cloud));
	if (m->payback_months == UINT_MAX)
		(void)buf_adds(out, "never net\n");
	else
		(void)buf_addf(out, "%u month%s net\n", m->payback_months,
			report_plural(m->payback_months));
}

static void add_cost(struct buf *out, const struct policy_migration *m)
{
	const struct policy_bill *p = &m->bill;

	(void)buf_adds(out, "\nCost Analysis:\n");
	(void)buf_addf(out, "   Transfer Cost: %s", ONCE(p->total));
	if (p->total)
		(void)buf_addf(out, " (requests %s, retrieval %s, egress %s, early removal %s)",
			ONCE(p->requests), ONCE(p->retrieval), ONCE(p->egress), ONCE(p->early));
	(void)buf_addf(out, "\n   %s Storage Savings: %s/month\n", report_cloud(m->src_cloud),
		MONTHLY(p->month_from));
	(void)buf_addf(out, "   %s Storage Cost: %s/month\n", report_cloud(m->dst_cloud),
		MONTHLY(p->month_to));
	(void)buf_addf(out, "   Net Savings: %s/month\n", MONTHLY(p->month_from - p->month_to));
	add_payback(out, m);
}

static void add_statistics(struct buf *out, const struct policy_migration *m)
{
	uint64_t tries = m->parts + m->retries;

	(void)buf_adds(out, "Migration Statistics:\n   Transfer Time: ");
	add_span(out, m->time_ns);
	(void)buf_adds(out, "\n   Average Speed: ");
	add_speed(out, m->time_ns > 0 ? (uint64_t)((double)m->size / (double)m->time_ns * 1e9) : 0);
	(void)buf_adds(out, "\n");
	if (m->dir)
		(void)buf_addf(out, "   Files Transferred: %llu\n", (unsigned long long)m->files);
	else if (m->part_size)
		(void)buf_addf(out, "   Chunks Transferred: %llu of %llu KiB\n",
			(unsigned long long)m->parts, (unsigned long long)m->part_size / 1024);
	else
		(void)buf_addf(out, "   Chunks Transferred: %llu\n", (unsigned long long)m->parts);
	(void)buf_addf(out, "   Retries: %llu\n", (unsigned long long)m->retries);
	(void)buf_addf(out, "   Success Rate: %s%%\n",
		m->retries ? PERCENT((money_t)m->parts, (money_t)MAX_OF(tries, UINT64_C(1)))
			   : "100");
}

errint_t policy_report_migration(struct buf *out, const struct policy_migration *m)
{
	if (m->failure) {
		(void)buf_addf(out, "Transfer failed: %s\n", m->failure);
		(void)buf_adds(out, RULER "MIGRATION FAILED\n" RULER);
		return out->failed;
	}
	(void)buf_adds(out, "Transfer complete\nIntegrity verified (CRC-32C match)\n"
			    "Source cleanup completed\n\n");
	add_statistics(out, m);
	if (m->priced)
		add_cost(out, m);
	(void)buf_adds(out, RULER "MIGRATION SUCCESSFUL\n" RULER);
	return out->failed;
}
