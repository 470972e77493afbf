/* SPDX-License-Identifier: MIT */
/*
 * Verbs about money and tiers over many files: the engine's run on demand, what is stored where
 * and what it costs, the dashboard.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define PRINT_MAX 65536
#define ITEMS_MAX 1024 /* of a slice; see tier_walk() */

/* ---- engine run ---- */

static int run_text(void *arg, const char *p, size_t len)
{
	return ctl_text(arg, p, len);
}

static int run_file(void *arg, uint64_t ino, const struct policy_facts *f, const struct verdict *v)
{
	struct ctl_conn *c = arg;
	json_t *reasons = json_array();

	for (unsigned i = 0; reasons && i < v->nreasons; i++)
		(void)json_array_append_new(
			reasons, json_string(policy_reason_name(v->reasons[i])));
	return ctl_send(c, "item",
		json_pack("{s:o, s:I, s:o, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o*}", "path",
			json_text(f->path ? f->path : f->name), "ino", (json_int_t)ino, "tier",
			item_tier(f), "recommendation", tier_name(v->tier), "action",
			policy_action_name(v->action), "cost", item_cost(f, v->cost_now),
			"cost_after", item_cost(f, v->cost_after), "saving",
			item_cost(f, v->saving), "size", (json_int_t)f->size, "accesses",
			(json_int_t)f->accesses_total, "age_days", (json_int_t)v->age_days,
			"reasons", reasons));
}

errint_t verb_engine_run(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	struct tier_run *run = calloc(1, sizeof(*run));
	errint_t r;

	if (!run)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = ctl_path(c, req, "path", true, &run->ino, NULL, err);
	run->dry_run = json_is_true(json_object_get(req, "dry_run"));
	if (!r && !run->dry_run)
		r = ctl_may_change(c, err);
	run->cancel = &c->cancel;
	run->text = run_text;
	/* The print is for people, the items for --json: not both. */
	if (json_is_true(json_object_get(req, "items"))) {
		run->text = NULL;
		run->file = run_file;
	}
	run->arg = c;
	if (!r)
		r = tier_run(c->ctl->conf.tier, run, err);
	if (!r)
		*ret_data = item_totals(c->ctl->conf.prices, &run->totals);
	free(run);
	return r;
}

/* ---- cost, dashboard ---- */

struct survey {
	struct ctl_conn *c;
	struct tier_facts facts;
	struct policy_totals totals;
	bool rows; /* send one for each file */
	struct row {
		char name[META_NAME_MAX + 1], path[512], cloud[64], class_name[META_CLASS_MAX];
		enum tier tier;
		bool unknown;
		uint64_t size, accesses;
		int64_t last_ns;
		money_t cost;
	} * row; /* owned; of the slice */
	unsigned nrows;
};

static int on_file(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	struct survey *s = arg;
	const struct ctl_conf *conf = &s->c->ctl->conf;
	const struct policy_facts *f = &s->facts.f;
	const struct price_provider *p;
	struct row *row;

	if (in->flags & META_F_ORPHAN || tier_facts(conf->tier, t, in, clock_now_ns(), &s->facts))
		return 0;
	policy_totals_add(&s->totals, conf->prices, f, NULL, false);
	if (!s->rows || s->nrows == ITEMS_MAX)
		return 0;
	row = &s->row[s->nrows++];
	p = price_find(conf->prices, f->provider);
	*row = (struct row){.tier = f->tier,
		.unknown = f->unknown,
		.size = f->size,
		.accesses = f->accesses_total,
		.last_ns = f->last_access_ns,
		.cost = p ? price_month(p, f->tier, f->size) : 0};
	(void)snprintf(row->name, sizeof(row->name), "%s", f->name);
	(void)snprintf(row->path, sizeof(row->path), "%s", f->path ? f->path : f->name);
	(void)snprintf(row->cloud, sizeof(row->cloud), "%s", f->cloud);
	(void)snprintf(
		row->class_name, sizeof(row->class_name), "%s", f->class_name ? f->class_name : "");
	return 0;
}

static int on_slice(void *arg)
{
	struct survey *s = arg;
	errint_t r = 0;

	for (unsigned i = 0; i < s->nrows && !r; i++) {
		const struct row *row = &s->row[i];

		r = ctl_send(s->c, "item",
			json_pack("{s:o, s:o, s:s, s:o, s:s, s:I, s:I, s:o, s:o}", "name",
				json_text(row->name), "path", json_text(row->path), "cloud",
				row->cloud, "tier",
				row->unknown ? json_null() : json_string(tier_name(row->tier)),
				"class", row->class_name, "size", (json_int_t)row->size, "accesses",
				(json_int_t)row->accesses, "last_access",
				row->last_ns ? json_real((double)row->last_ns / 1e9) : json_null(),
				"cost", row->unknown ? json_null() : item_money(row->cost)));
	}
	s->nrows = 0;
	return r ? r : ctl_cancelled(s->c) ? -ECANCELED : 0;
}

static errint_t survey(
	struct ctl_conn *c, const json_t *req, bool rows, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);
	struct survey *s = calloc(1, sizeof(*s));
	uint64_t ino = 0;
	errint_t r = ctl_path(c, req, "path", true, &ino, NULL, err);

	if (s && rows)
		s->row = calloc(ITEMS_MAX, sizeof(*s->row));
	if (!s || (rows && !s->row)) {
		free(s);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	s->c = c;
	s->rows = rows;
	if (!r) {
		r = tier_walk(conf->tier, ino, on_file, on_slice, s);
		if (r)
			(void)err_set(err, r, ERR_FINAL, "it ended early: %s", err_text(NULL, r));
	}
	if (!r) {
		r = policy_report_dashboard(&out, conf->prices, &s->totals);
		if (!r)
			r = policy_report_cross_cloud(&out, conf->prices, &s->totals);
		if (!r)
			r = ctl_text(c, out.p, out.len);
	}
	if (!r)
		*ret_data = item_totals(conf->prices, &s->totals);
	free(s->row);
	free(s);
	return r;
}

errint_t verb_cost(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	return survey(c, req, false, ret_data, err);
}

errint_t verb_dashboard(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	return survey(c, req, true, ret_data, err);
}
