/* SPDX-License-Identifier: MIT */
/*
 * Verbs about the mount as a whole: who it is, how it is, sync, umount, the set-up's health.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define CLEAN_POLL_MS 20
#define PULSE_MS      500
#define WAITS_TEXT_MAX                                                                             \
	(sizeof(((struct job_info *)NULL)->src) + sizeof(((struct job_info *)NULL)->note) + 8)

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the answer");
}

errint_t verb_hello(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;

	(void)req;
	*ret_data = json_pack("{s:o, s:o, s:s, s:i}", "mountpoint", json_text(conf->mountpoint),
		"state", json_text(conf->state), "version", conf->version, "pid", (int)getpid());
	return *ret_data ? 0 : no_memory(err);
}

/* ---- status ---- */

static void add_op(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
	uint64_t total_us)
{
	json_t *ops = arg;

	if (calls)
		(void)json_object_set_new(ops, op,
			json_pack("{s:I, s:I, s:I, s:I}", "calls", (json_int_t)calls, "errors",
				(json_int_t)errors, "bytes", (json_int_t)bytes, "total_us",
				(json_int_t)total_us));
}

static json_t *flow_json(const struct store_flow *f)
{
	return json_pack("{s:i, s:i, s:i, s:I}", "limit", (int)f->limit, "running", (int)f->running,
		"waiting", (int)f->waiting, "refused", (json_int_t)f->refused);
}

static json_t *remotes_json(const struct ctl_conf *conf)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < conf->nremotes; i++) {
		const struct remote *r = &conf->remotes[i];
		json_t *ops = json_object(), *error = NULL;
		struct store_trouble tr;
		struct store_flow flow;

		store_flow(r->st, &flow);
		store_trouble(r->st, &tr);
		if (tr.r)
			error = json_pack("{s:s, s:o, s:o, s:i, s:I}", "op", tr.op, "key",
				json_text(tr.key), "text", json_text(tr.text), "errno", -tr.r,
				"when", (json_int_t)(tr.when_ns / NS_PER_S));
		if (ops)
			store_stats_each(r->st, add_op, ops);
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o*, s:o*, s:o*}", "name",
				      r->name, "provider", r->provider, "bucket", r->bucket,
				      "region", r->region, "breaker", store_breaker_state(r->st),
				      "requests", flow_json(&flow), "error", error, "ops", ops));
	}
	return list;
}

static json_t *counters_json(void)
{
	json_t *o = json_object();

	for (unsigned i = 0; o && i < COUNT_N; i++)
		(void)json_object_set_new(o, count_name((enum count_id)i),
			json_integer((json_int_t)count_get((enum count_id)i)));
	return o;
}

static json_t *engine_json(struct tier_engine *e)
{
	struct tier_stat st;

	tier_stat(e, &st);
	return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "mode",
		tier_mode_name(st.mode), "mode_real", tier_mode_name(st.mode_real), "running",
		st.running, "passes", (json_int_t)st.passes, "last",
		(json_int_t)(st.last_start_ns / NS_PER_S), "next",
		(json_int_t)(st.mode == TIER_OFF ? 0 : st.next_ns / NS_PER_S), "files",
		(json_int_t)st.files, "moves", (json_int_t)st.moves, "failed",
		(json_int_t)st.failed, "saving", item_money(st.saving));
}

static json_t *index_json(struct meta *m)
{
	json_int_t damaged = (json_int_t)(meta_damaged(m) / NS_PER_S);
	struct meta_stat st;

	if (meta_stat(m, &st))
		return json_pack("{s:I}", "damaged", damaged);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "damaged", damaged, "inodes",
		(json_int_t)st.inodes, "names", (json_int_t)st.dentries, "used_bytes",
		(json_int_t)st.used_bytes, "file_bytes", (json_int_t)st.file_bytes, "map_bytes",
		(json_int_t)st.map_bytes, "last_txn", (json_int_t)st.last_txn, "synced_txn",
		(json_int_t)st.synced_txn);
}

static json_t *budget_json(struct store_budget *b)
{
	struct store_budget_used used;

	if (!b)
		return NULL;
	store_budget_used(b, &used);
	return json_pack("{s:I, s:I, s:o}", "minute", (json_int_t)used.in_minute, "day",
		(json_int_t)used.in_day, "money_today", item_money(used.money_today));
}

struct clean {
	struct jobs_stat js;
	struct vfs_stat vs;
};

/* Nothing is to be done for the clouds to be as the tree is. */
static bool is_clean(const struct ctl_conf *conf, struct clean *ret)
{
	uint64_t dirty;

	/* What is dirty becomes a job, and a job may make something dirty again before it ends. */
	vfs_stat(conf->vfs, &ret->vs);
	dirty = ret->vs.dirty;
	jobs_stat(conf->jobs, &ret->js);
	vfs_stat(conf->vfs, &ret->vs);
	return !dirty && !ret->vs.dirty && ret->js.live == ret->js.looks;
}

static json_t *status_json(struct ctl_conn *c)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	struct stage_stat ss;
	struct clean cl;
	bool clean = is_clean(conf, &cl);

	stage_stat(conf->stage, &ss);
	return json_pack(
		"{s:o, s:o, s:s, s:i, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:o*, s:o*, s:o, s:o*, "
		"s:o*, s:o*, s:o*, s:o*}",
		"mountpoint", json_text(conf->mountpoint), "state", json_text(conf->state),
		"version", conf->version, "pid", (int)getpid(), "since",
		(json_int_t)(c->ctl->since_ns / NS_PER_S), "ro", conf->ro, "clean", clean,
		"handles", (json_int_t)cl.vs.handles, "dirty", (json_int_t)cl.vs.dirty, "held",
		(json_int_t)cl.vs.held, "parked", (json_int_t)cl.vs.parked, "remotes",
		remotes_json(conf), "jobs", item_jobs_stat(&cl.js), "stage",
		json_pack("{s:I, s:I, s:I, s:I}", "files", (json_int_t)ss.files, "clean_bytes",
			(json_int_t)ss.clean_bytes, "dirty_bytes", (json_int_t)ss.dirty_bytes,
			"quota_bytes", (json_int_t)ss.quota_bytes),
		"buffers",
		json_pack("{s:I, s:I, s:I}", "count", (json_int_t)bufs_count(conf->bufs), "free",
			(json_int_t)bufs_free(conf->bufs), "bytes",
			(json_int_t)bufs_size(conf->bufs)),
		"budget", budget_json(conf->budget), "index", index_json(conf->meta), "engine",
		engine_json(conf->tier), "counters", counters_json());
}

static errint_t say_parked(struct jobs *jobs, const struct clean *cl, struct err *err)
{
	char parked[PARKED_TEXT_MAX];

	return err_set(err, -EBUSY, ERR_FINAL,
		"%s; files with a conflict: %llu; see 'astra jobs' and 'astra ls -l'",
		ctl_parked_text(jobs, &cl->js, parked), (unsigned long long)cl->vs.held);
}

/* How many jobs are waited for; the one that says most of why, "" = none. */
static unsigned waits_for(
	struct jobs *jobs, uint64_t ino, struct job_info *i, char *text, size_t size)
{
	unsigned n = job_wait_reason(jobs, ino, i);
	struct job_file f;

	*text = '\0';
	if (n)
		(void)snprintf(text, size, "%s%s%s",
			job_file(jobs, i->kind, i->ino, &f) ? f.path
			: *i->dst			    ? i->dst
							    : i->src,
			*i->note ? ": " : "", i->note);
	return n;
}

/* Queued work needs no reason: how much of it there is says more. */
static errint_t clean_pulse(struct ctl_conn *c, const struct clean *cl, struct job_info *i)
{
	struct jobs *jobs = c->ctl->conf.jobs;
	char text[WAITS_TEXT_MAX];
	unsigned n = waits_for(jobs, META_ROOT_INO, i, text, sizeof(text));

	if (!n || !*i->note)
		*text = '\0';
	return ctl_send(c, "progress",
		json_pack("{s:o, s:I, s:I, s:o, s:o*}", "jobs", item_jobs_stat(&cl->js), "dirty",
			(json_int_t)cl->vs.dirty, "waits", (json_int_t)n, "for", json_text(text),
			"job", job_info_largest(jobs, i) ? item_job(c, i) : NULL));
}

static errint_t wait_clean(struct ctl_conn *c, struct err *err)
{
	int64_t pulse = clock_mono_ns() + PULSE_MS * NS_PER_MS;
	cleanup_free struct job_info *i = malloc(sizeof(*i));
	struct clean cl;
	errint_t r = i ? 0 : no_memory(err);

	while (!r && !is_clean(&c->ctl->conf, &cl)) {
		if (cl.vs.dirty == cl.vs.held && !cl.js.coming &&
			cl.js.stuck + cl.js.looks == cl.js.live)
			return say_parked(c->ctl->conf.jobs, &cl, err);
		if (ctl_cancelled(c))
			return err_set(err, -ECANCELED, ERR_CANCELLED, "the daemon is ending");
		if (clock_mono_ns() >= pulse) {
			r = clean_pulse(c, &cl, i);
			pulse = clock_mono_ns() + PULSE_MS * NS_PER_MS;
		}
		ctl_pause(CLEAN_POLL_MS);
	}
	return r;
}

errint_t verb_status(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	errint_t r = 0;

	if (json_is_true(json_object_get(req, "wait_clean")))
		r = wait_clean(c, err);
	if (r)
		return r;
	*ret_data = status_json(c);
	return *ret_data ? 0 : no_memory(err);
}

/* ---- sync, umount ---- */

static void sync_pulse(struct ctl_conn *c)
{
	struct clean cl;
	struct job_info i = {0};

	char text[WAITS_TEXT_MAX];
	unsigned n = waits_for(c->ctl->conf.jobs, c->sync_ino, &i, text, sizeof(text));

	(void)is_clean(&c->ctl->conf, &cl);
	(void)ctl_send(c, "progress",
		json_pack("{s:o, s:I, s:I, s:o, s:o*}", "jobs", item_jobs_stat(&cl.js), "dirty",
			(json_int_t)cl.vs.dirty, "waits", (json_int_t)n, "for", json_text(text),
			"job", n ? item_job(c, &i) : NULL));
}

/* What a sync that ended well left out, as those who wait for it do: archived files. */
static errint_t say_archived(struct ctl_conn *c, uint64_t ino, const char *path, struct err *err)
{
	struct job_info i = {0};

	if (!job_wait_reason(c->ctl->conf.jobs, ino, &i) || !i.archived)
		return 0;
	return err_set(err, -EBUSY, ERR_FINAL,
		"%s: not everything has its key in the clouds yet: %s; "
		"'astra restore' brings back what is archived; see 'astra jobs'",
		path, i.note);
}

errint_t verb_sync(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_wait struct ctl_wait *w = NULL;
	char path[4096], lost[200] = "";
	uint64_t ino;
	errint_t r = ctl_path(c, req, "path", true, &ino, path, err);

	(void)ret_data;
	if (r)
		return r;
	w = ctl_wait_new(c, err);
	if (!w)
		return -ENOMEM;
	c->sync_ino = ino;
	vfs_sync(c->ctl->conf.vfs, &w->call, ino);
	r = ctl_wait_end(w, PULSE_MS, sync_pulse);
	if (!r || r == -EIO) {
		errint_t e = say_archived(c, ino, path, err);

		if (!r || e)
			return e;
	}
	if (r == -ENODEV)
		jobs_lost_text(c->ctl->conf.jobs, lost, sizeof(lost));
	return r ? err_set(err, r, ERR_FINAL,
			   "%s: not everything reached its cloud: %s; see 'astra jobs'", path,
			   *lost ? lost : err_text(NULL, r))
		 : 0;
}

/* What the end waits for: who uses it, then what is to be done. */
static void umount_pulse(struct ctl_conn *c)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	struct clean cl;

	(void)is_clean(conf, &cl);
	(void)ctl_send(c, "progress",
		json_pack("{s:b, s:I, s:I, s:I, s:I}", "busy", !atomic_load(&c->ctl->unmounted),
			"handles", (json_int_t)cl.vs.handles, "jobs",
			(json_int_t)(cl.js.live - cl.js.looks), "files", (json_int_t)cl.vs.dirty,
			"drain_s", (json_int_t)(conf->drain_ns / NS_PER_S)));
}

errint_t verb_umount(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	struct ctl *s = c->ctl;
	int64_t pulse = 0;

	(void)req;
	/* Whoever asked may wait for the end of file, which is the end of the process. */
	c->hold = true;
	s->conf.stop(s->conf.stop_arg);
	while (!atomic_load(&s->drained)) {
		if (ctl_cancelled(c))
			return err_set(err, -ECANCELED, ERR_CANCELLED, "the daemon is ending");
		if (clock_mono_ns() >= pulse) {
			umount_pulse(c);
			pulse = clock_mono_ns() + PULSE_MS * NS_PER_MS;
		}
		ctl_pause(CLEAN_POLL_MS);
	}
	*ret_data = json_pack("{s:I, s:I, s:o, s:o}", "jobs", (json_int_t)s->end.jobs, "files",
		(json_int_t)s->end.files, "why", json_text(s->end.why), "state",
		json_text(s->conf.state));
	return *ret_data ? 0 : no_memory(err);
}

/* ---- doctor, init-cloud ---- */

static errint_t finding(struct ctl_conn *c, const char *level, const char *what, const char *fmt,
	...) __attribute__((format(printf, 4, 5)));

static errint_t finding(
	struct ctl_conn *c, const char *level, const char *what, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return ctl_send(c, "item",
		json_pack("{s:s, s:o, s:o}", "level", level, "check", json_text(what), "text",
			json_text(text)));
}

static errint_t check_space(struct ctl_conn *c)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	struct statvfs sv;
	char size[MONEY_TEXT_MAX];
	uint64_t free_bytes;

	if (statvfs(conf->state, &sv) < 0)
		return finding(c, "error", "state", "%s: %s", conf->state, err_text(NULL, -errno));
	free_bytes = (uint64_t)sv.f_bavail * sv.f_frsize;
	return finding(c, free_bytes < (1u << 30) ? "warning" : "ok", "state",
		"%s has %s free on its disk", conf->state, size_format(size, free_bytes));
}

static errint_t check_index(struct ctl_conn *c)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	char have[MONEY_TEXT_MAX], floor[MONEY_TEXT_MAX];
	uint64_t free_bytes, floor_bytes;

	if (meta_damaged(conf->meta))
		return finding(c, "error", "index", "is damaged: " META_DAMAGE_HELP);
	if (meta_has_room(conf->meta))
		return finding(c, "ok", "index", "has room");
	if (!meta_disk_low(conf->meta, &free_bytes, &floor_bytes))
		return finding(c, "error", "index", "is full: nothing can be created");
	return finding(c, "error", "index",
		"the disk of %s is nearly full: %s free; until it has %s, nothing can be created",
		conf->state, size_format(have, free_bytes), size_format(floor, floor_bytes));
}

static errint_t check_remote(struct ctl_conn *c, const struct remote *rm)
{
	cleanup_buf struct buf where = BUF_INIT(1000);
	struct err why = {0};
	errint_t bad = ctl_remote_probe(rm, &why);
	char what[80];

	store_describe(rm->st, &where); /* after the call, which looked for credentials */
	(void)snprintf(what, sizeof(what), "remote %s", rm->name);
	if (where.failed)
		return -ENOMEM;
	if (bad)
		return finding(c, "error", what, "%s (%s): does not answer as it should: %s",
			rm->provider, (char *)where.p, err_text(&why, bad));
	return finding(c, "ok", what, "%s %s (%s): answers", rm->provider,
		*rm->bucket ? rm->bucket : "(all buckets)", (char *)where.p);
}

errint_t verb_doctor(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	struct stage_stat ss;
	struct jobs_stat js;
	errint_t r = check_space(c);

	(void)req;
	(void)ret_data;
	(void)err;
	for (size_t i = 0; !r && i < conf->nremotes; i++)
		r = check_remote(c, &conf->remotes[i]);
	stage_stat(conf->stage, &ss);
	if (!r)
		r = finding(c, ss.dirty_bytes > ss.quota_bytes / 10 * 9 ? "warning" : "ok",
			"staging", "%llu bytes wait for their upload, of %llu allowed",
			(unsigned long long)ss.dirty_bytes, (unsigned long long)ss.quota_bytes);
	jobs_stat(conf->jobs, &js);
	if (!r)
		r = finding(c, js.failed ? "warning" : "ok", "jobs",
			"%llu under way, %llu failed since the mount", (unsigned long long)js.live,
			(unsigned long long)js.failed);
	if (!r)
		r = check_index(c);
	return r;
}

errint_t verb_init_cloud(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	errint_t r = ctl_may_change(c, err), first = 0;

	(void)req;
	(void)ret_data;
	for (size_t i = 0; !r && i < conf->nremotes; i++) {
		const struct remote *rm = &conf->remotes[i];
		struct err why = {0};
		errint_t made = -EEXIST, bad;

		if (*rm->bucket)
			made = store_bucket_create(rm->st, NULL, rm->bucket, &why);
		bad = made && made != -EEXIST && made != -EOPNOTSUPP ? made
								     : ctl_remote_probe(rm, &why);
		if (bad && !first)
			first = err_set(
				err, bad, ERR_FINAL, "%s: %s", rm->name, err_text(&why, bad));
		r = ctl_send(c, "item",
			json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "name", rm->name, "provider",
				rm->provider, "region", rm->region, "bucket", rm->bucket, "ok",
				bad == 0, "text",
				json_text(bad	  ? err_text(&why, bad)
					  : !made ? "bucket made"
						  : "ready")));
	}
	return r ? r : first;
}

errint_t verb_debug_fault(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	const struct ctl_conf *conf = &c->ctl->conf;
	const char *name = json_string_value(json_object_get(req, "remote"));
	const char *rules = json_string_value(json_object_get(req, "rules"));
	errint_t r;

	(void)ret_data;
	if (!name || !rules)
		return err_set(err, -EINVAL, ERR_FINAL, "a remote and rules are needed");
	for (size_t i = 0; i < conf->nremotes; i++) {
		if (strcmp(conf->remotes[i].name, name) != 0)
			continue;
		r = store_fault_set(conf->remotes[i].st, rules, err);
		if (!r)
			log_notice("ctl", "fault rules of %s: '%s'", name, rules);
		return r;
	}
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "there is no remote '%s'", name);
}
