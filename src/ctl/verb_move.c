/* SPDX-License-Identifier: MIT */
/*
 * What a migration between clouds looks like before it, and what came of it. The move itself is a
 * rename(2) by whoever asks.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define PRINT_MAX  65536
#define SPEED_JOBS 8 /* the last so many moves tell the speed */

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the answer");
}

static const struct remote *remote_named(const struct ctl_conf *conf, const char *name, size_t len)
{
	for (size_t i = 0; i < conf->nremotes; i++) {
		const struct remote *r = &conf->remotes[i];

		if (strlen(r->name) == len && !memcmp(r->name, name, len))
			return r;
	}
	return NULL;
}

static const struct remote *remote_by_id(const struct ctl_conf *conf, uint32_t id)
{
	for (size_t i = 0; i < conf->nremotes; i++) {
		if (conf->remotes[i].id == id)
			return &conf->remotes[i];
	}
	return NULL;
}

/* The remote that a path as the mount sees it begins with; NULL at the root. */
static const struct remote *remote_of_path(const struct ctl_conf *conf, const char *path)
{
	path += *path == '/';
	return remote_named(conf, path, strcspn(path, "/"));
}

/* ---- before ---- */

struct lately {
	uint32_t src, dst;
	unsigned n;
	double bytes, seconds;
};

static int on_job(void *arg, const struct job_info *i)
{
	struct lately *l = arg;

	if ((i->kind != JOB_RELOCATE && i->kind != JOB_DIRMOVE) || i->state != JOB_DONE ||
		i->src_remote != l->src || i->dst_remote != l->dst || !i->bytes_total ||
		i->ended_ns <= i->started_ns)
		return 0;
	l->bytes += (double)i->bytes_total;
	l->seconds += (double)(i->ended_ns - i->started_ns) / 1e9;
	return ++l->n == SPEED_JOBS; /* ended ones come newest first */
}

static uint64_t speed_lately(struct ctl_conn *c, const struct remote *src, const struct remote *dst)
{
	struct lately l = {.src = src->id, .dst = dst->id};

	job_each(c->ctl->conf.jobs, on_job, &l);
	return l.seconds > 0 ? (uint64_t)(l.bytes / l.seconds) : 0;
}

struct plan {
	struct policy_migration m;
	struct meta_inode in;
	char path[4096], to[4096], src_why[600], dst_why[600];
};

static void check_source(struct ctl_conn *c, const struct remote *src, struct plan *p)
{
	char names[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	struct store_stat st = {0};
	struct store_obj o;
	struct err why = {0};
	errint_t r;

	(void)c;
	if (p->in.kind != META_FILE || !(p->in.flags & META_F_OBJECT) ||
		(p->in.flags & META_F_DIRTY))
		return; /* here, or in many objects */
	if (p->in.flags & META_F_ARCHIVED) {
		(void)snprintf(p->src_why, sizeof(p->src_why),
			"yes, but %s is archived: restore it first", p->in.class_name);
		p->m.src_trouble = p->src_why;
		return;
	}
	r = remote_obj(src, p->in.loc.path, names, &o);
	if (!r)
		r = store_head(src->st, NULL, o, &st, &why);
	store_stat_done(&st);
	if (r) {
		(void)snprintf(p->src_why, sizeof(p->src_why), "no, %.500s", err_text(&why, r));
		p->m.src_trouble = p->src_why;
	}
}

static void check_destination(const struct remote *dst, struct plan *p)
{
	struct err why = {0};
	errint_t r = ctl_remote_probe(dst, &why);

	if (r) {
		(void)snprintf(p->dst_why, sizeof(p->dst_why), "no, %.500s", err_text(&why, r));
		p->m.dst_trouble = p->dst_why;
	}
}

static json_t *plan_json(const struct policy_migration *m)
{
	return json_pack("{s:b, s:o, s:I, s:I, s:{s:s, s:s, s:b}, s:{s:s, s:s, s:b}, s:o}",
		"across", 1, "path", json_text(m->path), "size", (json_int_t)m->size, "files",
		(json_int_t)m->files, "source", "cloud", m->src_cloud, "region", m->src_region,
		"ok", m->src_trouble == NULL, "destination", "cloud", m->dst_cloud, "region",
		m->dst_region, "ok", m->dst_trouble == NULL, "estimate_s",
		m->speed ? json_real((double)m->size / (double)m->speed) : json_null());
}

static int on_file(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	struct policy_migration *m = arg;

	(void)t;
	m->files++;
	m->size += in->size;
	return 0;
}

/* The totals in the row of a directory come behind what happens below it. */
static errint_t plan_count(struct ctl_conn *c, struct plan *p, struct err *err)
{
	errint_t r;

	p->m.dir = p->in.kind == META_DIR;
	if (!p->m.dir) {
		p->m.files = 1;
		p->m.size = p->in.size;
		return 0;
	}
	r = tier_walk(c->ctl->conf.tier, p->in.ino, on_file, NULL, &p->m);
	return r ? err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r)) : 0;
}

/* What cannot be, before anything is looked at or printed. */
static errint_t plan_refuse(
	const struct plan *p, const struct remote *src, const struct remote *dst, struct err *err)
{
	size_t len = strlen(p->path);

	if (!src || p->in.flags & (META_F_ROOT | META_F_BUCKET))
		return err_set(err, -EBUSY, ERR_FINAL,
			"%s cannot be moved, only what is in it: it is a %s", p->path,
			!src			      ? "mount"
			: p->in.flags & META_F_BUCKET ? "bucket"
						      : "remote");
	if (!dst)
		return err_set(err, -EINVAL, ERR_FINAL, "%s: there is no remote '%.*s'", p->to,
			(int)strcspn(p->to + 1, "/"), p->to + 1);
	if (!strncmp(p->to, p->path, len) && p->to[len] == '/')
		return err_set(err, -EINVAL, ERR_FINAL, "%s cannot be moved into itself, as %s",
			p->path, p->to);
	return 0;
}

static errint_t plan_make(
	struct ctl_conn *c, struct plan *p, uint64_t ino, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	const struct remote *src = remote_of_path(conf, p->path);
	const struct remote *dst = remote_of_path(conf, p->to);
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);
	struct meta_txn *t;
	errint_t r;

	t = meta_begin_read(conf->meta);
	r = meta_inode_get(t, ino, &p->in);
	(void)meta_commit(t);
	if (r)
		return err_set(err, r, ERR_FINAL, "%s: %s", p->path, err_text(NULL, r));
	r = plan_refuse(p, src, dst, err);
	if (r)
		return r;
	if (src == dst) {
		*ret_data = json_pack("{s:b}", "across", 0);
		return *ret_data ? 0 : no_memory(err);
	}
	r = plan_count(c, p, err);
	if (r)
		return r;
	p->m.path = p->path + 1;
	p->m.src_cloud = src->name;
	p->m.src_region = src->region;
	p->m.dst_cloud = dst->name;
	p->m.dst_region = dst->region;
	p->m.speed = speed_lately(c, src, dst);
	check_source(c, src, p);
	check_destination(dst, p);
	r = policy_report_plan(&out, &p->m);
	if (!r)
		r = ctl_text(c, out.p, out.len);
	*ret_data = plan_json(&p->m);
	return r	   ? err_set(err, r, ERR_FINAL, "%s", err_text(NULL, r))
	       : *ret_data ? 0
			   : no_memory(err);
}

errint_t verb_migrate_plan(
	struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct plan *p = calloc(1, sizeof(*p));
	uint64_t ino;
	errint_t r = p ? ctl_path(c, req, "path", false, &ino, p->path, err) : no_memory(err);

	if (!r)
		r = ctl_string(req, "to", p->to, sizeof(p->to), err);
	return r ? r : plan_make(c, p, ino, ret_data, err);
}

/* ---- after ---- */

struct find {
	uint64_t ino;
	bool found;
	struct job_info info;
};

static int on_move(void *arg, const struct job_info *i)
{
	struct find *f = arg;

	if (i->ino != f->ino || (i->kind != JOB_RELOCATE && i->kind != JOB_DIRMOVE) ||
		i->src_remote == i->dst_remote)
		return 0;
	f->info = *i;
	f->found = true;
	return 1;
}

static json_t *report_json(const struct policy_migration *m)
{
	json_t *o = json_pack("{s:b, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:o}", "moved",
		m->failure == NULL, "time_s", (double)m->time_ns / 1e9, "speed",
		m->time_ns > 0 ? (double)m->size / ((double)m->time_ns / 1e9) : 0.0, "files",
		(json_int_t)m->files, "size", (json_int_t)m->size, "parts", (json_int_t)m->parts,
		"part_size", (json_int_t)m->part_size, "retries", (json_int_t)m->retries, "note",
		json_text(m->failure ? m->failure : ""));

	if (o && m->priced)
		(void)json_object_set_new(o, "cost",
			json_pack("{s:o, s:o, s:o, s:o, s:o}", "transfer",
				item_money(m->bill.total), "egress", item_money(m->bill.egress),
				"storage_before", item_money(m->bill.month_from), "storage_after",
				item_money(m->bill.month_to), "payback_months",
				m->payback_months == UINT32_MAX
					? json_null()
					: json_integer((json_int_t)m->payback_months)));
	return o;
}

static errint_t report_make(
	struct ctl_conn *c, const struct job_info *i, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	const struct remote *src = remote_by_id(conf, i->src_remote);
	const struct remote *dst = remote_by_id(conf, i->dst_remote);
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);
	struct policy_migration m = {
		.path = i->src + (*i->src == '/'),
		.dir = i->kind == JOB_DIRMOVE,
		.size = i->kind == JOB_DIRMOVE ? i->bytes_done : i->bytes_total,
		.files = i->kind == JOB_DIRMOVE ? i->files_done : 1,
		.bill = i->bill,
		.src_tier = i->tier_from,
		.dst_tier = i->tier_to,
		.failure = i->state == JOB_DONE ? NULL
			   : *i->note		? i->note
						: job_state_name(i->state),
		.time_ns = i->ended_ns - i->started_ns,
		.parts = i->parts_done,
		.part_size = i->part_size,
		.retries = i->retries,
		.held_s = -1,
	};
	errint_t r;

	if (!src || !dst)
		return err_set(err, -ENODEV, ERR_FINAL, "the remote is not configured any more");
	m.src_cloud = src->name;
	m.dst_cloud = dst->name;
	m.src_provider = src->provider;
	m.dst_provider = dst->provider;
	policy_migration_cost(conf->prices, &m);
	r = policy_report_migration(&out, &m);
	if (!r)
		r = ctl_text(c, out.p, out.len);
	*ret_data = report_json(&m);
	return r	   ? err_set(err, r, ERR_FINAL, "%s", err_text(NULL, r))
	       : *ret_data ? 0
			   : no_memory(err);
}

errint_t verb_migrate_report(
	struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct find *f = calloc(1, sizeof(*f));
	errint_t r = f ? ctl_path(c, req, "path", false, &f->ino, NULL, err) : no_memory(err);

	if (r)
		return r;
	job_each(c->ctl->conf.jobs, on_move, f);
	if (f->found && f->info.ended_ns)
		return report_make(c, &f->info, ret_data, err);
	/* It had been in no cloud, and is uploaded to where it is now. */
	*ret_data = json_pack("{s:b}", "moved", f->found ? 0 : 1);
	return *ret_data ? 0 : no_memory(err);
}
