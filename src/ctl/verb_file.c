/* SPDX-License-Identifier: MIT */
/*
 * Verbs about one file or directory: what it is, what the engine thinks of it, its tier; and the
 * demonstration's verbs that change its history.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define SLICE  256
#define DAY_NS (86400 * NS_PER_S)

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the answer");
}

static errint_t index_error(errint_t r, struct err *err)
{
	return err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r));
}

/* ---- ls ---- */

static bool skip_fill(
	struct vfs_call *c, const char *name, const struct vfs_attr *attr, uint64_t next_off)
{
	(void)c;
	(void)name;
	(void)attr;
	(void)next_off;
	return true; /* only that the listing is fresh matters */
}

/* As opening it does: lists it in its cloud when that is due. */
static errint_t refresh(struct ctl_conn *c, uint64_t dir, const char *path, struct err *err)
{
	cleanup_wait struct ctl_wait *w = ctl_wait_new(c, err);
	struct vfs_handle *h;
	errint_t r;

	if (!w)
		return -ENOMEM;
	vfs_opendir(c->ctl->conf.vfs, &w->call, dir);
	r = ctl_wait_end(w, 0, NULL);
	if (r)
		return err_set(err, r, ERR_FINAL, "%s: %s", path, err_text(NULL, r));
	h = w->call.handle;
	w->call.fill = skip_fill;
	w->call.plain = true;
	vfs_readdir(c->ctl->conf.vfs, &w->call, h, 0);
	r = ctl_wait_end(w, 0, NULL);
	vfs_releasedir(c->ctl->conf.vfs, &w->call, h);
	(void)ctl_wait_end(w, 0, NULL);
	return r ? err_set(err, r, ERR_FINAL, "%s: %s", path, err_text(NULL, r)) : 0;
}

struct listing {
	struct ctl_conn *c;
	struct meta_txn *t;
	struct meta_inode in;
	json_t *items[SLICE];
	unsigned n;
	char from[META_NAME_MAX + 2]; /* where the next slice begins */
	bool full;
};

static int on_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct listing *l = arg;

	(void)kind;
	(void)full;
	if (l->n == SLICE) {
		(void)snprintf(l->from, sizeof(l->from), "%s", name);
		l->full = true;
		return 1;
	}
	if (meta_inode_get(l->t, ino, &l->in))
		return 0;
	l->items[l->n] = item_file(l->c, l->t, &l->in, NULL);
	if (!l->items[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

static errint_t list_dir(struct ctl_conn *c, uint64_t dir, struct err *err)
{
	struct listing *l = calloc(1, sizeof(*l));
	errint_t r = l ? 0 : no_memory(err);

	if (!l)
		return r;
	l->c = c;
	do {
		l->full = false;
		l->n = 0;
		l->t = meta_begin_read(c->ctl->conf.meta);
		r = meta_children_by_name(l->t, dir, l->from, on_child, l);
		r = MIN_OF(r, 0);
		if (r)
			(void)meta_abort(l->t);
		else
			r = meta_commit(l->t);
		if (r)
			(void)index_error(r, err);
		/* What was made is sent, or at least freed. */
		for (unsigned i = 0; i < l->n; i++) {
			if (r)
				json_decref(l->items[i]);
			else
				r = ctl_send(c, "item", l->items[i]);
		}
	} while (!r && l->full && !ctl_cancelled(c));
	free(l);
	return r;
}

errint_t verb_ls(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	char path[4096];
	struct meta_inode in;
	struct meta_txn *t;
	json_t *item = NULL;
	uint64_t ino;
	errint_t r = ctl_path(c, req, "path", true, &ino, path, err);

	(void)ret_data;
	if (r)
		return r;
	t = meta_begin_read(c->ctl->conf.meta);
	r = meta_inode_get(t, ino, &in);
	if (!r && in.kind != META_DIR)
		item = item_file(c, t, &in, NULL);
	(void)meta_commit(t);
	if (r)
		return index_error(r, err);
	if (in.kind != META_DIR)
		return ctl_send(c, "item", item);
	r = refresh(c, ino, path, err);
	return r ? r : list_dir(c, ino, err);
}

errint_t verb_resolve(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	char path[4096];
	uint64_t ino;
	errint_t r = ctl_path(c, req, "path", false, &ino, path, err);

	if (r)
		return r;
	*ret_data = json_pack("{s:I, s:o}", "ino", (json_int_t)ino, "path", json_text(path));
	return *ret_data ? 0 : no_memory(err);
}

/* ---- explain ---- */

static errint_t add_restored(struct buf *out, const struct meta_inode *in)
{
	time_t until = (time_t)(vfs_restored_until(in) / NS_PER_S);
	char when[32];
	struct tm tm;

	if (until && gmtime_r(&until, &tm) && strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm))
		(void)buf_addf(out, "\n   Restored: can be read until %s UTC\n", when);
	return out->failed;
}

/* What each tier would cost. */
static errint_t add_tiers(
	struct buf *out, const struct ctl_conf *conf, const struct policy_facts *f, json_t *list)
{
	const struct price_provider *p = price_find(conf->prices, f->provider);
	char now[MONEY_TEXT_MAX], read[MONEY_TEXT_MAX];

	if (!p)
		return 0;
	(void)buf_adds(out, "\n   Tiers here:\n");
	for (unsigned i = 0; i < TIER_N; i++) {
		const char *class_name = p->tiers[i].name;
		money_t cost = price_month(p, (enum tier)i, f->size);

		if (f->classes && f->classes[i]) {
			class_name = f->classes[i];
			if (!*class_name)
				continue; /* not offered */
		}
		(void)buf_addf(out, "      %-8s %-14s %10s/month, reading it once %s, %s\n",
			tier_name((enum tier)i), class_name, money_format(now, cost, MONEY_MONTH),
			money_format(read, price_read(p, (enum tier)i, f->size), MONEY_ONCE),
			p->tiers[i].first_byte);
		if (json_array_append_new(list,
			    json_pack("{s:s, s:s, s:o, s:o}", "tier", tier_name((enum tier)i),
				    "class", class_name, "cost", item_money(cost), "cost_read",
				    item_money(price_read(p, (enum tier)i, f->size)))))
			return -ENOMEM;
	}
	return out->failed;
}

static json_t *reasons_json(
	const struct ctl_conf *conf, const struct policy_facts *f, const struct verdict *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < v->nreasons; i++) {
		cleanup_buf struct buf text = BUF_INIT(4096);

		if (policy_reason_text(&text, conf->rules, f, v, i))
			continue;
		(void)json_array_append_new(
			list, json_pack("{s:s, s:o}", "reason", policy_reason_name(v->reasons[i]),
				      "text", json_text(text.p ? text.p : "")));
	}
	return list;
}

static errint_t explain(struct ctl_conn *c, const struct meta_inode *in, struct tier_facts *tf,
	json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	cleanup_buf struct buf out = BUF_INIT(65536);
	cleanup_json json_t *tiers = json_array();
	struct meta_txn *t = meta_begin_read(conf->meta);
	struct verdict v;
	errint_t r = tier_facts(conf->tier, t, in, clock_now_ns(), tf);

	if (!r) {
		policy_decide(conf->rules, conf->prices, &tf->f, clock_now_ns(), &v);
		*ret_data = item_file(c, t, in, &v);
		r = *ret_data && tiers ? 0 : -ENOMEM;
	}
	(void)meta_commit(t);
	if (!r)
		r = policy_report_file(&out, conf->rules, conf->prices, &tf->f, &v);
	if (!r)
		r = add_restored(&out, in);
	if (!r)
		r = add_tiers(&out, conf, &tf->f, tiers);
	if (r)
		return err_set(err, r, ERR_FINAL, "it cannot be judged: %s",
			r == -EINVAL ? "it is not a file of a configured remote"
				     : err_text(NULL, r));
	(void)json_object_set(*ret_data, "tiers", tiers);
	(void)json_object_set_new(*ret_data, "reasons", reasons_json(conf, &tf->f, &v));
	return ctl_text(c, out.p, out.len);
}

/* The row of a request's file. */
static errint_t file_of(struct ctl_conn *c, const json_t *req, bool file_only,
	struct meta_inode *ret, char *path, struct err *err)
{
	struct meta_txn *t;
	uint64_t ino;
	errint_t r = ctl_path(c, req, "path", false, &ino, path, err);

	if (r)
		return r;
	t = meta_begin_read(c->ctl->conf.meta);
	r = meta_inode_get(t, ino, ret);
	(void)meta_commit(t);
	if (r)
		return index_error(r, err);
	if (file_only && ret->kind != META_FILE)
		return err_set(err, ret->kind == META_DIR ? -EISDIR : -EINVAL, ERR_FINAL,
			"%s: it is not a file", path);
	return 0;
}

/* Its listing did not tell the class: whoever reads the attribute asks for it. */
static errint_t class_ask(
	struct ctl_conn *c, struct meta_inode *in, const char *path, struct err *err)
{
	cleanup_wait struct ctl_wait *w = ctl_wait_new(c, err);
	struct meta_txn *t;
	errint_t r;

	if (!w)
		return -ENOMEM;
	vfs_getxattr(c->ctl->conf.vfs, &w->call, in->ino, "user.astra.storage_class", 0);
	r = ctl_wait_end(w, 0, NULL);
	if (r && r != -ENODATA)
		return err_set(err, r, ERR_FINAL, "%s: its class cannot be asked for: %s", path,
			err_text(NULL, r));
	t = meta_begin_read(c->ctl->conf.meta);
	r = meta_inode_get(t, in->ino, in);
	(void)meta_commit(t);
	return r ? index_error(r, err) : 0;
}

errint_t verb_explain(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct meta_inode *in = malloc(sizeof(*in));
	cleanup_free struct tier_facts *tf = malloc(sizeof(*tf));
	char path[4096];
	errint_t r = in && tf ? file_of(c, req, true, in, path, err) : no_memory(err);

	if (!r && job_class_unknown(c->ctl->conf.jobs, in))
		r = class_ask(c, in, path, err);
	return r ? r : explain(c, in, tf, ret_data, err);
}

/* ---- tier, restore: as setfattr does ---- */

static errint_t set_xattr(struct ctl_conn *c, const struct meta_inode *in, const char *path,
	const char *name, const char *value, json_t **ret_data, struct err *err)
{
	cleanup_wait struct ctl_wait *w = ctl_wait_new(c, err);
	cleanup_free struct job_info *ji = malloc(sizeof(*ji));
	int64_t since = clock_now_ns();
	errint_t r;

	if (!w || !ji)
		return no_memory(err);
	vfs_setxattr(c->ctl->conf.vfs, &w->call, in->ino, name, value, strlen(value), 0);
	r = ctl_wait_end(w, 0, NULL);
	if (r)
		return err_set(err, r, ERR_FINAL, "%s: %s cannot be set to '%s': %s", path, name,
			value, err_text(NULL, r));
	/* dirty: what is to be done follows its upload */
	*ret_data = json_pack("{s:o, s:s, s:b}", "path", json_text(path), "kind",
		in->kind == META_DIR ? "dir" : "file", "dirty", (in->flags & META_F_DIRTY) != 0);
	if (*ret_data && vfs_restored_until(in))
		(void)json_object_set_new(*ret_data, "restored_until",
			json_real((double)in->restored_until_ns / 1e9));
	if (*ret_data && job_info_since(c->ctl->conf.jobs, in->ino, since, ji))
		(void)json_object_set_new(*ret_data, "job", item_job(c, ji));
	return *ret_data ? 0 : no_memory(err);
}

static errint_t xattr_verb(struct ctl_conn *c, const json_t *req, const char *key, const char *name,
	bool file_only, json_t **ret_data, struct err *err)
{
	cleanup_free struct meta_inode *in = malloc(sizeof(*in));
	const char *value = json_string_value(json_object_get(req, key));
	char path[4096];
	errint_t r = ctl_may_change(c, err);

	if (r)
		return r;
	if (!value || strlen(value) > 64)
		return err_set(err, -EINVAL, ERR_FINAL, "'%s' is missing or too long", key);
	r = in ? file_of(c, req, file_only, in, path, err) : no_memory(err);
	if (!r && in->ino == META_ROOT_INO)
		return err_set(err, -EINVAL, ERR_FINAL,
			"nothing is made in %s itself: name a file, or a directory below it", path);
	return r ? r : set_xattr(c, in, path, name, value, ret_data, err);
}

errint_t verb_tier(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	return xattr_verb(c, req, "tier", "user.astra.tier", false, ret_data, err);
}

errint_t verb_restore(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	return xattr_verb(c, req, "for", "user.astra.restore", true, ret_data, err);
}

/* ---- the demonstration: history made to order ---- */

static void age_access(struct meta_access *a, unsigned days)
{
	int64_t by = (int64_t)days * DAY_NS;
	int64_t *const times[] = {&a->first_seen_ns, &a->last_read_ns, &a->last_write_ns};

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		if (*times[i])
			*times[i] -= by;
	}
	a->day0 -= (int32_t)days;
	a->month0 -= (int32_t)(days / 30);
	a->heat_at_ns -= a->heat_at_ns ? by : 0;
}

static errint_t age(struct ctl_conn *c, uint64_t ino, unsigned days)
{
	struct meta *m = c->ctl->conf.meta;
	cleanup_free struct meta_inode *in = malloc(sizeof(*in));
	struct meta_access a;
	struct meta_txn *t;
	errint_t r = in ? meta_access_flush(m) : -ENOMEM;

	if (r)
		return r;
	t = meta_begin(m);
	r = meta_inode_get(t, ino, in);
	if (!r) {
		if (meta_access_get(m, t, ino, &a) == 0) {
			age_access(&a, days);
			(void)meta_access_put(t, ino, &a);
		}
		/* Not the content's time: that would be a change. */
		in->btime_ns = (in->btime_ns ? in->btime_ns : in->mtime_ns) - days * DAY_NS;
		in->atime_ns -= days * DAY_NS;
		(void)meta_inode_put(t, in);
	}
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

errint_t verb_age_file(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct meta_inode *in = malloc(sizeof(*in));
	char path[4096];
	uint64_t days = 0;
	errint_t r = in ? ctl_may_change(c, err) : no_memory(err);

	if (!r)
		r = ctl_u64(req, "days", 0, CTL_DAYS_MAX, &days, err);
	if (!r)
		r = file_of(c, req, true, in, path, err);
	if (r)
		return r;
	r = age(c, in->ino, (unsigned)days);
	if (r)
		return err_set(
			err, r, ERR_FINAL, "%s: the index refuses: %s", path, err_text(NULL, r));
	*ret_data = json_pack("{s:o, s:I}", "path", json_text(path), "days", (json_int_t)days);
	return *ret_data ? 0 : no_memory(err);
}

errint_t verb_simulate_access(
	struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct meta_inode *in = malloc(sizeof(*in));
	struct meta_bump b = {.when_ns = clock_now_ns()};
	char path[4096];
	uint64_t count = 0;
	errint_t r = in ? ctl_may_change(c, err) : no_memory(err);

	if (!r)
		r = ctl_u64(req, "count", 1, CTL_COUNT_MAX, &count, err);
	if (!r)
		r = file_of(c, req, true, in, path, err);
	if (r)
		return r;
	b.ino = in->ino;
	b.reads = (uint32_t)count;
	meta_access_bump(c->ctl->conf.meta, &b);
	r = meta_access_flush(c->ctl->conf.meta);
	if (r)
		return err_set(
			err, r, ERR_FINAL, "%s: the index refuses: %s", path, err_text(NULL, r));
	*ret_data = json_pack("{s:o, s:I}", "path", json_text(path), "count", (json_int_t)count);
	return *ret_data ? 0 : no_memory(err);
}
