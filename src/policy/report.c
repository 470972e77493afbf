/* SPDX-License-Identifier: MIT */
/*
 * Verdicts and totals as people read them: the engine's print per file, its summary, the
 * dashboard's totals, the comparison of clouds. Text is built only here and only on demand, so
 * that a pass over millions of objects formats nothing. Pure; any thread. Errors are those of the
 * buffer and stick to it, so that a function adds all its lines and looks once at the end.
 */
#include "astra/policy.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "report.h"

#define GB 1000000000

const char *report_cloud(const char *name)
{
	static const struct {
		const char *name, *title;
	} titles[] = {{"aws", "AWS"}, {"gcp", "GCP"}, {"azure", "Azure"}};

	for (size_t i = 0; i < ARRAY_SIZE(titles); i++) {
		if (!strcmp(name, titles[i].name))
			return titles[i].title;
	}
	return name;
}

/* The word for tier t where the file lives. */
static const char *class_word(const struct price_book *b, const struct policy_facts *f, enum tier t)
{
	const struct price_provider *p = price_find(b, f->provider);

	if (t == f->tier && f->class_name && *f->class_name)
		return f->class_name;
	if (f->classes && f->classes[t] && *f->classes[t])
		return f->classes[t];
	return p ? p->tiers[t].name : tier_name(t);
}

/* ---- one verdict ---- */

/* "3 (0 in the last 30 days)": all accesses, and those that decided where they differ. */
static void add_count(struct buf *out, const struct policy_rules *r, const struct policy_facts *f)
{
	int days = (int)(r->window_ns / INT64_C(86400000000000));

	(void)buf_addf(out, "Access count: %llu", (unsigned long long)f->accesses_total);
	if (f->accesses_total != f->accesses_window)
		(void)buf_addf(out, " (%llu in the last %d day%s)",
			(unsigned long long)f->accesses_window, days, days == 1 ? "" : "s");
	(void)buf_adds(out, " -> ");
}

static void add_pattern(struct buf *out, const struct verdict *v)
{
	const struct policy_rule *rule = v->rule;

	if (rule->builtin)
		(void)buf_addf(out, "Filename heuristic: \"%s\" -> ", rule->match);
	else
		(void)buf_addf(out, "Rule %s: \"%s\" -> ", rule->name, rule->match);
	if (rule->tier == v->tier)
		(void)buf_addf(out, "%s tier optimal", tier_name(rule->tier));
	else
		(void)buf_addf(out, "%s or colder", tier_name(rule->tier));
	if (*rule->why)
		(void)buf_addf(out, " (%s)", rule->why);
}

static void add_held_hot(struct buf *out, const struct verdict *v)
{
	if (v->rule->builtin)
		(void)buf_addf(out, "Business critical pattern detected: \"%s\"", v->rule->match);
	else
		(void)buf_addf(out, "Rule %s: \"%s\" holds it in HOT%s%s%s", v->rule->name,
			v->rule->match, *v->rule->why ? " (" : "", v->rule->why,
			*v->rule->why ? ")" : "");
}

static void add_fees(struct buf *out, const struct verdict *v)
{
	const struct price_move *m = &v->move;
	const struct {
		const char *what;
		money_t fee;
	} fees[] = {{"requests", m->requests}, {"retrieval", m->retrieval},
		{"early removal", m->early}, {"egress", m->egress}, {"old version", m->retained}};
	const char *sep = " (";

	(void)buf_addf(out, "Vetoed: moving costs %s", ONCE(m->total));
	for (size_t i = 0; i < ARRAY_SIZE(fees); i++) {
		if (!fees[i].fee)
			continue;
		(void)buf_addf(out, "%s%s %s", sep, fees[i].what, ONCE(fees[i].fee));
		sep = ", ";
	}
	(void)buf_adds(out, *sep == ',' ? ")" : "");
	if (v->payback_months == UINT_MAX)
		(void)buf_adds(out, ", never earned back");
	else
		(void)buf_addf(out, ", earned back after %u month%s", v->payback_months,
			report_plural(v->payback_months));
}

static void add_veto(struct buf *out, const struct policy_facts *f, const struct verdict *v,
	enum policy_reason reason)
{
	switch (reason) {
	case REASON_V_BUSY:
		(void)buf_adds(out, "Vetoed: it is being written or moved");
		return;
	case REASON_V_OPEN:
		(void)buf_adds(out, "Vetoed: the file is open");
		return;
	case REASON_V_ARCHIVED:
		(void)buf_adds(out, "Vetoed: archived; its class cannot change before a restore");
		return;
	case REASON_V_LOCKED:
		(void)buf_adds(out, "Vetoed: held by an object lock");
		return;
	case REASON_V_MANAGED:
		(void)buf_adds(out, "Vetoed: the provider's automatic tiering has it");
		return;
	case REASON_V_MIN_SIZE:
		(void)buf_addf(out, "Vetoed: with billed minimums %s is %s/month, %s is %s/month",
			tier_name(v->tier), MONTHLY(v->cost_after), tier_name(f->tier),
			MONTHLY(v->cost_now));
		return;
	case REASON_V_READS:
		(void)buf_addf(out, "Vetoed: its reads would cost %s/month more, the saving is %s",
			MONTHLY(v->reads_extra), MONTHLY(v->saving));
		return;
	default:
		add_fees(out, v);
	}
}

static void add_no_saving(struct buf *out, const struct policy_facts *f, const struct verdict *v)
{
	(void)buf_addf(out, "Cost impact: %s suits it, but saves nothing (%s -> %s/month)",
		tier_name(v->tier), MONTHLY(v->cost_now), MONTHLY(v->cost_after));
}

errint_t policy_reason_text(struct buf *out, const struct policy_rules *r,
	const struct policy_facts *f, const struct verdict *v, unsigned i)
{
	assert(i < v->nreasons);
	switch (v->reasons[i]) {
	case REASON_PINNED:
		(void)buf_addf(out, "Pinned to %s by the user", tier_name(f->pin));
		break;
	case REASON_COUNT_HIGH:
		add_count(out, r, f);
		(void)buf_adds(out, "High usage detected");
		break;
	case REASON_COUNT_MID:
		add_count(out, r, f);
		(void)buf_adds(out, "Moderate usage suggests WARM");
		break;
	case REASON_COUNT_LOW:
		add_count(out, r, f);
		if (v->tier == TIER_HOT)
			(void)buf_adds(out, "Low usage");
		else
			(void)buf_addf(out, "Low usage confirms %s", tier_name(v->tier));
		break;
	case REASON_RECENT:
		(void)buf_addf(out, "Recent access: %lld day%s ago -> Active file",
			(long long)v->age_days, report_plural((uint64_t)v->age_days));
		break;
	case REASON_AGE:
		(void)buf_addf(out, "Age factor: %lld day%s -> Suggests %s", (long long)v->age_days,
			report_plural((uint64_t)v->age_days), tier_name(v->age_tier));
		break;
	case REASON_PATTERN:
		add_pattern(out, v);
		break;
	case REASON_HELD_HOT:
		add_held_hot(out, v);
		break;
	case REASON_NOT_OFFERED:
		(void)buf_addf(
			out, "The tier wanted is not offered here -> %s", tier_name(v->tier));
		break;
	case REASON_COST:
		(void)buf_addf(out, "Cost impact: %s -> %s/month (%s%% savings)",
			MONTHLY(v->cost_now), MONTHLY(v->cost_after),
			PERCENT(v->saving, v->cost_now));
		break;
	case REASON_OPTIMAL:
		(void)buf_adds(out, "Already in its recommended tier");
		break;
	case REASON_NO_SAVING:
		add_no_saving(out, f, v);
		break;
	case REASON_THRESHOLD:
		(void)buf_addf(out, "Saving %s/month is not above the threshold of $%s",
			MONTHLY(v->saving), RATE(r->threshold));
		break;
	case REASON_UNPRICED:
		(void)buf_addf(
			out, "No prices for provider \"%s\"", f->provider ? f->provider : "");
		break;
	case REASON_UNKNOWN:
		(void)buf_adds(out, "Its class is not known: the listing does not tell it");
		break;
	default:
		add_veto(out, f, v, v->reasons[i]);
	}
	return out->failed;
}

errint_t policy_decision_text(struct buf *out, const struct price_book *b,
	const struct policy_facts *f, const struct verdict *v)
{
	enum policy_reason last = v->nreasons ? v->reasons[v->nreasons - 1] : REASON_OPTIMAL;

	if (v->action == POLICY_MOVE)
		return buf_addf(out, "Migrate to %s", class_word(b, f, v->tier));
	if (f->unknown)
		return buf_addf(out, "Keep (class not known%s)",
			v->action == POLICY_PINNED ? ", pinned" : "");
	(void)buf_addf(out, "Keep in %s tier ", tier_name(f->tier));
	if (v->action == POLICY_PINNED && f->tier != f->pin)
		(void)buf_addf(out, "(pinned to %s, not there yet)", tier_name(f->pin));
	else if (v->action == POLICY_PINNED)
		(void)buf_adds(out, "(pinned)");
	else if (v->action == POLICY_VETO)
		(void)buf_addf(out, "(vetoed: %s)", policy_reason_name(last));
	else if (last == REASON_NO_SAVING)
		(void)buf_addf(out, "(%s would %s)", tier_name(v->tier),
			v->saving < 0 ? "cost more" : "save nothing");
	else if (last == REASON_THRESHOLD)
		(void)buf_adds(out, "(saving below the threshold)");
	else if (last == REASON_UNPRICED)
		(void)buf_adds(out, "(no prices)");
	else
		(void)buf_adds(out, "(optimal)");
	return out->failed;
}

errint_t policy_report_file(struct buf *out, const struct policy_rules *r,
	const struct price_book *b, const struct policy_facts *f, const struct verdict *v)
{
	const char *cloud = f->cloud ? f->cloud : f->provider ? f->provider : "?";

	(void)buf_addf(out, "%s\n", f->path && *f->path ? f->path : f->name);
	(void)buf_addf(out, "   Cloud: %s\n", report_cloud(cloud));
	if (f->unknown)
		(void)buf_adds(out, "   Current Tier: not known\n");
	else
		(void)buf_addf(out, "   Current Tier: %s (%s) - %s/month\n", tier_name(f->tier),
			class_word(b, f, f->tier), MONTHLY(v->cost_now));
	(void)buf_addf(out, "   Access Stats: %llu access%s, %lld day%s since %s\n",
		(unsigned long long)f->accesses_total, f->accesses_total == 1 ? "" : "es",
		(long long)v->age_days, report_plural((uint64_t)v->age_days),
		f->last_access_ns ? "last access" : "creation");
	(void)buf_addf(out, "   File Size: %s\n\n   Analysis:\n", SIZE(f->size));
	for (unsigned i = 0; i < v->nreasons; i++) {
		if (v->reasons[i] == REASON_OPTIMAL)
			continue; /* the decision says it */
		(void)buf_adds(out, "      ");
		(void)policy_reason_text(out, r, f, v, i);
		(void)buf_adds(out, "\n");
	}
	(void)buf_adds(out, "\n   Decision: ");
	(void)policy_decision_text(out, b, f, v);
	(void)buf_adds(out, "\n");
	if (v->action == POLICY_MOVE)
		(void)buf_addf(out, "   Monthly savings: %s\n", MONTHLY(v->saving));
	else if (v->action != POLICY_VETO)
		(void)buf_adds(out, "   No changes needed\n");
	return out->failed;
}

/* ---- totals ---- */

void policy_totals_add(struct policy_totals *t, const struct price_book *b,
	const struct policy_facts *f, const struct verdict *v, bool done)
{
	const struct price_provider *p = f->unknown ? NULL : price_find(b, f->provider);
	bool moved = v && v->action == POLICY_MOVE && done;
	enum tier tier = moved ? v->tier : f->tier;
	money_t now = p ? price_month(p, f->tier, f->size) : 0;
	money_t after = p ? price_month(p, tier, f->size) : 0;

	t->files++;
	t->bytes += f->size;
	t->accesses += f->accesses_total;
	t->unknown_files += f->unknown;
	t->unknown_bytes += f->unknown ? f->size : 0;
	t->before += now;
	t->after += after;
	t->all_hot += p ? price_month(p, TIER_HOT, f->size) : 0;
	if (p) {
		struct policy_cell *cell = &t->cells[p - b->providers][tier];

		cell->files++;
		cell->bytes += f->size;
		cell->cost += after;
	}
	if (!v)
		return;
	t->moves += moved;
	t->failed += v->action == POLICY_MOVE && !done;
	t->optimal += v->action == POLICY_KEEP && !f->unknown;
	t->vetoed += v->action == POLICY_VETO;
	t->pinned += v->action == POLICY_PINNED;
}

static void add_counter(struct buf *out, const char *label, uint64_t n)
{
	if (n)
		(void)buf_addf(out, "%s: %llu\n", label, (unsigned long long)n);
}

errint_t policy_report_summary(struct buf *out, const struct policy_totals *t)
{
	money_t saved = t->before - t->after;
	int64_t tenths = (t->time_ns + 50000000) / 100000000;

	(void)buf_adds(out, RULER "TIERING ENGINE SUMMARY\n" RULER);
	(void)buf_addf(out, "Files Analyzed: %llu\n", (unsigned long long)t->files);
	(void)buf_addf(out, "Migrations %s: %llu\n", t->dry_run ? "Planned" : "Performed",
		(unsigned long long)t->moves);
	(void)buf_addf(out, "Files %sOptimized: %llu\n", t->dry_run ? "To Be " : "",
		(unsigned long long)t->moves);
	(void)buf_addf(out, "Files Already Optimal: %llu\n", (unsigned long long)t->optimal);
	add_counter(out, "Files Pinned", t->pinned);
	add_counter(out, "Moves Vetoed", t->vetoed);
	add_counter(out, "Moves Not Made", t->failed);
	add_counter(out, "Files Of Unknown Class", t->unknown_files);
	(void)buf_addf(out, "\nCost Impact:\n   Previous Monthly Cost: %s\n", MONTHLY(t->before));
	(void)buf_addf(out, "   New Monthly Cost: %s\n", MONTHLY(t->after));
	(void)buf_addf(out, "   Total Savings: %s/month (%s%% reduction)\n", MONTHLY(saved),
		PERCENT(saved, t->before));
	(void)buf_addf(out, "   Annual Savings: %s\n\n", ONCE(saved * 12));
	(void)buf_addf(out, "Execution Time: %lld.%lld seconds\n" RULER, (long long)(tenths / 10),
		(long long)(tenths % 10));
	return out->failed;
}

/* "HOT (STANDARD, Hot): 3 files (2.5 GB) - $0.058/month": all providers that have files there. */
static void add_tier_line(
	struct buf *out, const struct price_book *b, const struct policy_totals *t, enum tier tier)
{
	struct policy_cell sum = {0};
	const char *seen[PRICE_PROVIDERS];
	size_t start = out->len, nseen = 0, k;

	(void)buf_addf(out, "   %s", tier_name(tier));
	for (unsigned i = 0; i < PRICE_PROVIDERS; i++) {
		const struct policy_cell *cell = &t->cells[i][tier];
		const char *word = b->providers[i].tiers[tier].name;

		sum.files += cell->files;
		sum.bytes += cell->bytes;
		sum.cost += cell->cost;
		if (!cell->files)
			continue;
		for (k = 0; k < nseen && strcmp(seen[k], word); k++)
			;
		if (k < nseen)
			continue;
		(void)buf_addf(out, "%s%s", nseen ? ", " : " (", word);
		seen[nseen++] = word;
	}
	(void)buf_adds(out, nseen ? "):" : ":");
	(void)buf_addf(out, "%*s %llu file%s (%s) - %s/month\n",
		(int)(out->len - start < 28 ? 28 - (out->len - start) : 0), "",
		(unsigned long long)sum.files, report_plural(sum.files), SIZE(sum.bytes),
		MONTHLY(sum.cost));
}

errint_t policy_report_dashboard(
	struct buf *out, const struct price_book *b, const struct policy_totals *t)
{
	money_t saved = t->all_hot - t->after;

	(void)buf_adds(out, RULER "STORAGE STATISTICS\n" RULER);
	(void)buf_addf(out, "Total Files: %llu\nTotal Size: %s\nTotal Accesses: %llu\n\n",
		(unsigned long long)t->files, SIZE(t->bytes), (unsigned long long)t->accesses);
	(void)buf_adds(out, "Tier Distribution:\n");
	for (unsigned i = 0; i < TIER_N; i++)
		add_tier_line(out, b, t, (enum tier)i);
	if (t->unknown_files)
		(void)buf_addf(out,
			"   Not known:                %llu file%s (%s) - not in the costs below\n",
			(unsigned long long)t->unknown_files, report_plural(t->unknown_files),
			SIZE(t->unknown_bytes));
	(void)buf_addf(out, "\nTotal Monthly Cost: %s (vs %s in all-HOT)\n", MONTHLY(t->after),
		MONTHLY(t->all_hot));
	(void)buf_addf(out, "Monthly Savings: %s (%s%% reduction)\n" RULER, MONTHLY(saved),
		PERCENT(saved, t->all_hot));
	return out->failed;
}

/* ---- clouds compared ---- */

struct option { /* a place that the bytes of one cell could go to */
	struct price_move move;
	unsigned months;
	money_t first_year; /* what twelve months save, fees taken off */
};

static struct option option_of(const struct policy_cell *cell, const struct price_provider *from,
	enum tier from_tier, const struct price_provider *to, enum tier to_tier)
{
	struct option o = {
		.move =
			{
				.from = from,
				.to = to,
				.from_tier = from_tier,
				.to_tier = to_tier,
				.size = cell->bytes,
				.held_s = INT64_MAX, /* long enough: what an advice for many can
							assume */
			},
	};

	price_move_cost(&o.move);
	o.months = price_payback_months(o.move.total, o.move.saving);
	o.first_year = o.move.saving * 12 - o.move.total;
	return o;
}

static void add_option(struct buf *out, const char *label, const struct option *o)
{
	const struct price_class *to = &o->move.to->tiers[o->move.to_tier];

	(void)buf_addf(out, "      %s%s %s: $%s/GB, ", label, report_cloud(o->move.to->name),
		to->name, RATE(to->storage * GB));
	if (!o->move.saving) {
		(void)buf_adds(out, "the same\n");
		return;
	}
	if (o->move.saving < 0) {
		(void)buf_addf(out, "costs %s/month more\n", MONTHLY(-o->move.saving));
		return;
	}
	(void)buf_addf(
		out, "saves %s/month, fees %s, ", MONTHLY(o->move.saving), ONCE(o->move.total));
	if (!o->months)
		(void)buf_addf(out, "pays at once, access in: %s\n", to->first_byte);
	else
		(void)buf_addf(out, "pays back after %u month%s, access in: %s\n", o->months,
			report_plural(o->months), to->first_byte);
}

/* One provider's files of one tier: the own cloud's cheapest tier, the other clouds' same tier,
 * and the best of all these in the first year. */
static void add_cell_options(struct buf *out, const struct price_book *b,
	const struct policy_totals *t, unsigned provider, enum tier tier)
{
	const struct policy_cell *cell = &t->cells[provider][tier];
	const struct price_provider *from = &b->providers[provider];
	enum tier cheapest = tier;
	struct option best, o;

	(void)buf_addf(out, "   %s %s: %s at $%s/GB, %s/month\n", report_cloud(from->name),
		from->tiers[tier].name, SIZE(cell->bytes), RATE(from->tiers[tier].storage * GB),
		MONTHLY(cell->cost));
	for (unsigned i = 0; i < TIER_N; i++) {
		if (from->tiers[i].storage < from->tiers[cheapest].storage)
			cheapest = (enum tier)i;
	}
	best = option_of(cell, from, tier, from, cheapest);
	if (cheapest != tier)
		add_option(out, "same cloud: ", &best);
	for (unsigned i = 0; i < PRICE_PROVIDERS; i++) {
		/* "local" has no list price to compare with. */
		if (i == provider || !b->providers[i].tiers[TIER_HOT].storage)
			continue;
		o = option_of(cell, from, tier, &b->providers[i], tier);
		add_option(out, "", &o);
		if (o.first_year > best.first_year)
			best = o;
	}
	if (best.first_year <= 0)
		(void)buf_adds(out, "      Recommendation: stay\n");
	else
		(void)buf_addf(out, "      Recommendation: %s %s, %s in the first year\n",
			report_cloud(best.move.to->name),
			best.move.to->tiers[best.move.to_tier].name, ONCE(best.first_year));
}

errint_t policy_report_cross_cloud(
	struct buf *out, const struct price_book *b, const struct policy_totals *t)
{
	uint64_t files = 0, bytes = 0;

	for (unsigned i = 0; i < PRICE_PROVIDERS; i++) {
		for (unsigned k = TIER_COLD; k < TIER_N; k++) {
			files += t->cells[i][k].files;
			bytes += t->cells[i][k].bytes;
		}
	}
	if (!files)
		return out->failed;
	(void)buf_adds(out, RULER "CROSS-CLOUD OPTIMIZATION ANALYSIS\n" RULER);
	(void)buf_addf(out, "Files in archive tiers: %llu file%s (%s)\n", (unsigned long long)files,
		report_plural(files), SIZE(bytes));
	for (unsigned i = 0; i < PRICE_PROVIDERS; i++) {
		for (unsigned k = TIER_COLD; k < TIER_N; k++) {
			if (t->cells[i][k].files)
				add_cell_options(out, b, t, i, (enum tier)k);
		}
	}
	return out->failed;
}
