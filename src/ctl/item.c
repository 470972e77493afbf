/* SPDX-License-Identifier: MIT */
/*
 * Files, jobs and totals as JSON. Money is text in dollars, exact; times are seconds since 1970.
 * Functions return a new reference, or NULL without memory.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "astra/base_clock.h"

json_t *item_money(money_t m)
{
	char text[MONEY_TEXT_MAX];

	return json_string(money_format(text, m, MONEY_EXACT));
}

json_t *item_tier(const struct policy_facts *f)
{
	return f->unknown ? json_null() : json_string(tier_name(f->tier));
}

json_t *item_cost(const struct policy_facts *f, money_t m)
{
	return f->unknown ? json_null() : item_money(m);
}

static json_t *seconds(int64_t ns)
{
	return ns ? json_real((double)ns / 1e9) : json_null();
}

static errint_t add_facts(struct ctl_conn *c, struct meta_txn *t, const struct meta_inode *in,
	const struct verdict *given, json_t *o)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	struct tier_facts *tf = malloc(sizeof(*tf));
	int64_t now = clock_now_ns();
	struct verdict v;
	errint_t r = tf ? tier_facts(conf->tier, t, in, now, tf) : -ENOMEM;

	if (!r) {
		if (given)
			v = *given;
		else
			policy_decide(conf->rules, conf->prices, &tf->f, now, &v);
		if (json_object_set_new(o, "cloud", json_text(tf->f.cloud)) ||
			json_object_set_new(o, "tier", item_tier(&tf->f)) ||
			json_object_set_new(o, "pinned", json_boolean(tf->f.pinned)) ||
			(tf->f.pinned &&
				json_object_set_new(o, "pin", json_string(tier_name(tf->f.pin)))) ||
			json_object_set_new(
				o, "accesses", json_integer((json_int_t)tf->f.accesses_total)) ||
			json_object_set_new(o, "accesses_window",
				json_integer((json_int_t)tf->f.accesses_window)) ||
			json_object_set_new(o, "last_access", seconds(tf->f.last_access_ns)) ||
			json_object_set_new(o, "cost", item_cost(&tf->f, v.cost_now)) ||
			json_object_set_new(
				o, "action", json_string(policy_action_name(v.action))) ||
			json_object_set_new(o, "recommendation", json_string(tier_name(v.tier))) ||
			json_object_set_new(o, "saving", item_cost(&tf->f, v.saving)) ||
			json_object_set_new(o, "age_days", json_integer((json_int_t)v.age_days)))
			r = -ENOMEM;
	}
	free(tf);
	return r == -EINVAL ? 0 : r; /* of no configured remote: without these */
}

/* Of a directory that was not listed yet nobody knows what is in it. */
static json_t *total(const struct meta_inode *in, int64_t n)
{
	return in->listed_at_ns ? json_integer((json_int_t)n) : json_null();
}

static errint_t add_totals(const struct meta_inode *in, json_t *o)
{
	return json_object_set_new(o, "files", total(in, in->totals.files)) ||
			       json_object_set_new(o, "bytes", total(in, in->totals.bytes))
		       ? -ENOMEM
		       : 0;
}

json_t *item_file(struct ctl_conn *c, struct meta_txn *t, const struct meta_inode *in,
	const struct verdict *v)
{
	static const char *const kinds[] = {
		[META_FILE] = "file", [META_DIR] = "dir", [META_SYMLINK] = "symlink"};
	json_t *o = json_pack("{s:o, s:s, s:I, s:o, s:I, s:s}", "name", json_text(in->name), "kind",
		kinds[in->kind], "size", (json_int_t)in->size, "mtime", seconds(in->mtime_ns),
		"mode", (json_int_t)(in->mode & 07777), "state",
		in->kind == META_DIR ? "" : vfs_state_word(c->ctl->conf.vfs, in));
	errint_t r = o ? 0 : -ENOMEM;
	char path[4096];

	if (!r && !meta_path(t, in->ino, path, sizeof(path)))
		r = json_object_set_new(o, "path", json_text(path)) ? -ENOMEM : 0;
	if (!r && in->kind == META_FILE && *in->class_name)
		r = json_object_set_new(o, "class", json_string(in->class_name)) ? -ENOMEM : 0;
	if (!r && vfs_restored_until(in))
		r = json_object_set_new(o, "restored_until", seconds(in->restored_until_ns))
			    ? -ENOMEM
			    : 0;
	if (!r && *in->last_error)
		r = json_object_set_new(o, "error", json_text(in->last_error)) ? -ENOMEM : 0;
	if (!r && in->kind == META_FILE)
		r = add_facts(c, t, in, v, o);
	if (!r && in->kind == META_DIR)
		r = add_totals(in, o);
	if (r) {
		json_decref(o);
		return NULL;
	}
	return o;
}

/* Users know names; a file's object may have another key. What has ended did so where it was. */
static void add_place(struct ctl_conn *c, const struct job_info *i, json_t *o)
{
	struct job_file f;
	bool upload = i->kind == JOB_UPLOAD;

	if (upload && i->ended_ns) {
		(void)json_object_set_new(o, "source", json_text(i->dst));
	} else if (job_file(c->ctl->conf.jobs, i->kind, i->ino, &f)) {
		(void)json_object_set_new(o, "source", json_text(f.path));
		if (*f.key && !upload)
			(void)json_object_set_new(o, "object", json_text(f.key));
	}
}

json_t *item_job(struct ctl_conn *c, const struct job_info *i)
{
	int64_t now = clock_now_ns();
	json_t *o = json_pack(
		"{s:I, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o, s:o, "
		"s:o, s:b, s:I, s:b, s:b}",
		"id", (json_int_t)i->id, "kind", job_kind_name(i->kind), "state",
		job_state_name(i->state), "source", json_text(i->src), "destination",
		json_text(i->dst), "bytes", (json_int_t)i->bytes_total, "bytes_done",
		(json_int_t)i->bytes_done, "parts", (json_int_t)i->parts_total, "parts_done",
		(json_int_t)i->parts_done, "files", (json_int_t)i->files_total, "files_done",
		(json_int_t)i->files_done, "attempts", (int)i->attempts, "created",
		seconds(i->created_ns), "started", seconds(i->started_ns), "ended",
		seconds(i->ended_ns), "next", seconds(i->next_ns), "note", json_text(i->note),
		"by_engine", i->by_engine, "retries", (json_int_t)i->retries, "held", i->held,
		"archived", i->archived);
	int64_t end = i->ended_ns ? i->ended_ns : now;

	if (!o)
		return NULL;
	add_place(c, i, o);
	if (i->kind == JOB_TRANSITION && i->tier < TIER_N)
		(void)json_object_set_new(o, "tier", json_string(tier_name(i->tier)));
	/* Since it began; a resumed job was faster before. */
	if (i->started_ns && end > i->started_ns && i->bytes_done) {
		double speed = (double)i->bytes_done / ((double)(end - i->started_ns) / 1e9);

		(void)json_object_set_new(o, "speed", json_real(speed));
		if (!i->ended_ns && i->bytes_total >= i->bytes_done && speed > 0)
			(void)json_object_set_new(o, "left_s",
				json_real((double)(i->bytes_total - i->bytes_done) / speed));
	}
	return o;
}

json_t *item_jobs_stat(const struct jobs_stat *s)
{
	int64_t now = clock_now_ns();

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "live",
		(json_int_t)s->live, "active", (json_int_t)s->active, "queued",
		(json_int_t)s->queued, "waiting", (json_int_t)s->waiting, "parked",
		(json_int_t)s->stuck, "failed", (json_int_t)s->failed, "cancelled",
		(json_int_t)s->cancelled, "done", (json_int_t)s->done, "oldest_age_s",
		s->oldest_ns ? json_real((double)(now - s->oldest_ns) / 1e9) : json_null());
}

json_t *item_totals(const struct price_book *b, const struct policy_totals *t)
{
	json_t *cells = json_array(), *o;

	for (unsigned p = 0; cells && p < PRICE_PROVIDERS; p++) {
		for (unsigned k = 0; k < TIER_N; k++) {
			const struct policy_cell *cell = &t->cells[p][k];

			if (!cell->files)
				continue;
			(void)json_array_append_new(cells,
				json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "provider",
					b->providers[p].name, "tier", tier_name((enum tier)k),
					"class", b->providers[p].tiers[k].name, "files",
					(json_int_t)cell->files, "bytes", (json_int_t)cell->bytes,
					"cost", item_money(cell->cost)));
		}
	}
	o = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b, "
		"s:f, s:o*}",
		"files", (json_int_t)t->files, "bytes", (json_int_t)t->bytes, "accesses",
		(json_int_t)t->accesses, "unknown_files", (json_int_t)t->unknown_files,
		"unknown_bytes", (json_int_t)t->unknown_bytes, "moves", (json_int_t)t->moves,
		"optimal", (json_int_t)t->optimal, "vetoed", (json_int_t)t->vetoed, "pinned",
		(json_int_t)t->pinned, "failed", (json_int_t)t->failed, "cost_before",
		item_money(t->before), "cost", item_money(t->after), "cost_all_hot",
		item_money(t->all_hot), "saving", item_money(t->before - t->after),
		"saving_all_hot", item_money(t->all_hot - t->after), "dry_run", t->dry_run,
		"time_s", (double)t->time_ns / 1e9, "cells", cells);
	return o;
}
