/* SPDX-License-Identifier: MIT */
/*
 * Judging and acting. A walk collects inode numbers; between its slices each file is read again,
 * judged, printed, and where the verdict says so a transition is posted, in a transaction that
 * first looks whether the file is still the one that was judged.
 *
 * A run on demand waits for its jobs, so that its summary says what was done; the engine's own
 * pass posts and goes on, stopping where the queue is full.
 */
#include "tier_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define PENDING_MAX 64 /* jobs of a run that are waited for at once */
#define POLL_NS	    (50 * NS_PER_MS)
#define PRINT_MAX   65536

struct pending {
	uint64_t ino, job;
	char *path;	       /* owned; NULL without memory */
	struct policy_facts f; /* without its strings that do not last */
	struct verdict v;
};

struct act {
	struct tier_engine *e;
	struct tier_run *run;	/* on demand; NULL in a pass */
	struct tier_pass *pass; /* ... */
	int64_t now_ns;
	uint64_t inos[TIER_SLICE];
	bool unknown[TIER_SLICE]; /* their classes */
	unsigned ninos;
	struct tier_asks asks;
	struct pending pending[PENDING_MAX];
	unsigned npending;
	struct tier_facts facts;
	struct meta_inode in;
	errint_t failed; /* of the walk itself */
};

static bool cancelled(const struct act *a)
{
	return a->run ? a->run->cancel && atomic_load(a->run->cancel) : atomic_load(&a->e->cancel);
}

/* ---- waiting for a job ---- */

struct waiting {
	struct job_waiter waiter;
	struct lock lock; /* RANK_TIER */
	pthread_cond_t cond;
	bool done; /* lock */
};

static void on_job(struct job_waiter *jw, errint_t r)
{
	struct waiting *w = container_of(jw, struct waiting, waiter);
	LOCKED(&w->lock);

	(void)r; /* the index tells what came of it */
	w->done = true;
	(void)pthread_cond_broadcast(&w->cond);
}

static void wait_job(struct act *a, uint64_t id)
{
	struct waiting w = {.waiter.fn = on_job};

	lock_init(&w.lock, RANK_TIER, "tier wait");
	cond_init(&w.cond);
	if (job_wait_id(a->e->conf.jobs, id, &w.waiter)) {
		lock_take(&w.lock);
		while (!w.done) {
			(void)cond_wait_until(&w.cond, &w.lock, clock_mono_ns() + POLL_NS);
			if (w.done || !cancelled(a))
				continue;
			lock_drop(&w.lock);
			w.done = job_wait_cancel(a->e->conf.jobs, &w.waiter);
			lock_take(&w.lock);
			/* Not cancelled: it is about to be called. */
		}
		lock_drop(&w.lock);
	}
	(void)pthread_cond_destroy(&w.cond);
	lock_done(&w.lock);
}

static bool is_in_tier(struct act *a, uint64_t ino, enum tier tier)
{
	struct meta_txn *t = meta_begin_read(a->e->conf.meta);
	errint_t r = meta_inode_get(t, ino, &a->in);

	(void)meta_commit(t);
	return !r && a->in.tier == tier;
}

static void say_not_moved(struct act *a, const char *path, enum tier to, const char *why)
{
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);

	if (!a->run->text ||
		buf_addf(&out, "%s: not moved to %s: %s\n\n", path, tier_name(to), why))
		return;
	(void)a->run->text(a->run->arg, out.p, out.len);
}

static void settle_one(struct act *a, struct pending *p)
{
	cleanup_free struct job_info *ji = malloc(sizeof(*ji));
	bool done;

	wait_job(a, p->job);
	done = is_in_tier(a, p->ino, p->v.tier);
	if (!done)
		say_not_moved(a, p->path ? p->path : "?", p->v.tier,
			ji && job_info_get(a->e->conf.jobs, p->job, ji) && *ji->note
				? ji->note
				: "see 'astra jobs'");
	policy_totals_add(&a->run->totals, a->e->conf.prices, &p->f, &p->v, done);
	free(p->path);
}

static void settle_pending(struct act *a)
{
	for (unsigned i = 0; i < a->npending; i++)
		settle_one(a, &a->pending[i]);
	a->npending = 0;
}

/* ---- acting ---- */

/* The file that was judged, unchanged and free. */
static bool still_so(
	struct act *a, const struct meta_inode *judged, const struct meta_inode *now, enum tier to)
{
	struct tier_engine *e = a->e;

	if ((now->flags & META_F_PINNED) && now->forced_tier != to)
		return false;
	if (now->flags & (META_F_DIRTY | META_F_ORPHAN) || !(now->flags & META_F_OBJECT) ||
		now->tier != judged->tier || now->loc.remote != judged->loc.remote ||
		strcmp(now->loc.etag, judged->loc.etag) != 0)
		return false;
	if (job_live(e->conf.jobs, now->ino))
		return false;
	for (size_t i = 0; i < e->conf.nremotes; i++) {
		const struct remote *r = &e->conf.remotes[i];

		if (r->id == now->loc.remote && r->classes[to].offline && e->conf.is_open &&
			e->conf.is_open(e->conf.is_open_arg, now->ino))
			return false;
	}
	return true;
}

/* 0 with *ret_job (0: it is there already), or what stood in the way. a->in is the judged row. */
static errint_t post(struct act *a, enum tier to, uint64_t *ret_job, struct err *err)
{
	cleanup_free struct meta_inode *now = malloc(sizeof(*now));
	struct meta_txn *t;
	errint_t r, end;

	*ret_job = 0;
	if (!now)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	t = meta_begin(a->e->conf.meta);
	r = meta_inode_get(t, a->in.ino, now);
	if (!r && !still_so(a, &a->in, now, to))
		r = err_set(err, -ESTALE, ERR_STALE, "it has changed since it was judged");
	if (!r)
		r = job_tier(
			a->e->conf.jobs, t, now, to, !(now->flags & META_F_PINNED), ret_job, err);
	if (r) {
		meta_abort(t);
		return r;
	}
	end = meta_commit(t);
	return end ? err_set(err, end, ERR_RETRY, "the index refuses: %s", err_text(NULL, end)) : 0;
}

/* The verdict says move. True when it was posted or is there already. */
static bool act(struct act *a, const struct verdict *v, uint64_t *ret_job)
{
	const char *path = a->facts.f.path ? a->facts.f.path : a->facts.f.name;
	struct err err = {0};
	errint_t r = post(a, v->tier, ret_job, &err);

	if (r) {
		log_info("tier", "%s: not moved to %s: %s", path, tier_name(v->tier),
			err_text(&err, r));
		if (a->run)
			say_not_moved(a, path, v->tier, err_text(&err, r));
		return false;
	}
	if (*ret_job) {
		count_inc(engine_moves);
		log_info("tier", "%s: %s -> %s", path, tier_name(a->facts.f.tier),
			tier_name(v->tier));
	}
	return true;
}

/* ---- one file ---- */

static int print_file(struct act *a, const struct verdict *v)
{
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);
	errint_t r;

	if (!a->run->text)
		return 0;
	r = policy_report_file(&out, a->e->conf.rules, a->e->conf.prices, &a->facts.f, v);
	if (!r)
		r = buf_adds(&out, "\n");
	return r ? r : a->run->text(a->run->arg, out.p, out.len);
}

static int demand_one(struct act *a, const struct verdict *v)
{
	struct tier_run *run = a->run;
	uint64_t job = 0;
	bool done = run->dry_run;
	int r = print_file(a, v);

	if (!r && run->file)
		r = run->file(run->arg, a->in.ino, &a->facts.f, v);
	if (r)
		return r;
	if (v->action == POLICY_MOVE && !run->dry_run)
		done = act(a, v, &job);
	if (!job) {
		policy_totals_add(&run->totals, a->e->conf.prices, &a->facts.f, v, done);
		return 0;
	}
	a->pending[a->npending] = (struct pending){.ino = a->in.ino,
		.job = job,
		.path = a->facts.f.path ? strdup(a->facts.f.path) : NULL,
		.f = a->facts.f,
		.v = *v};
	a->pending[a->npending].f.name = "";
	a->pending[a->npending].f.path = NULL;
	a->pending[a->npending].f.class_name = NULL;
	a->pending[a->npending].f.classes = NULL;
	if (++a->npending == PENDING_MAX)
		settle_pending(a);
	return 0;
}

/* To where the user wants it; what is far from now has been at rest for long enough. */
static bool pin_due(const struct act *a)
{
	const struct policy_facts *f = &a->facts.f;
	int64_t rest = a->now_ns - a->in.ctime_ns;

	return (f->unknown || f->tier != f->pin) && !a->e->conf.ro && !f->busy && !f->archived &&
	       !f->open && (f->pin < TIER_COLD || rest >= a->e->conf.pin_delay_ns);
}

static int pass_one(struct act *a, const struct verdict *v)
{
	struct tier_pass *p = a->pass;
	uint64_t job = 0;

	p->files++;
	if (v->action == POLICY_PINNED && pin_due(a) && !a->facts.f.unknown) {
		p->failed += !act(a, v, &job);
		return job_full(a->e->conf.jobs);
	}
	if (v->action != POLICY_MOVE || a->e->conf.mode == TIER_OFF)
		return 0;
	if (a->e->conf.mode != TIER_ACT || a->e->conf.ro ||
		(a->facts.real && !a->e->conf.mode_given)) {
		log_info("tier", "%s: %s suits it better than %s",
			a->facts.f.path ? a->facts.f.path : a->facts.f.name, tier_name(v->tier),
			tier_name(a->facts.f.tier));
		return 0;
	}
	if (!act(a, v, &job)) {
		p->failed++;
	} else if (job) {
		p->moves++;
		p->saving += v->saving;
	}
	return job_full(a->e->conf.jobs); /* the rest in the next pass */
}

/* 1: gone meanwhile */
static int look(struct act *a, uint64_t ino)
{
	struct meta_txn *t = meta_begin_read(a->e->conf.meta);
	errint_t r = meta_inode_get(t, ino, &a->in);

	if (!r)
		r = tier_facts(a->e, t, &a->in, a->now_ns, &a->facts);
	(void)meta_commit(t);
	return r == -ENOENT || r == -EINVAL ? 1 : r;
}

/* What is to be decided about the file hangs on its class. */
static bool needs_class(struct act *a)
{
	const struct tier_conf *conf = &a->e->conf;
	const struct policy_facts *f = &a->facts.f;

	if (!f->unknown)
		return false;
	if (f->pinned)
		return a->pass && pin_due(a);
	/* Nobody has asked for advice about real clouds where no mode is given. */
	if (a->pass && (conf->mode == TIER_OFF || (a->facts.real && !conf->mode_given)))
		return false;
	return policy_needs_class(conf->rules, conf->prices, f, a->now_ns);
}

/* Once for each version: the index keeps the answers. */
static int ask_classes(struct act *a)
{
	int r = 0;

	for (unsigned i = 0; i < a->ninos && r >= 0; i++) {
		if (!a->unknown[i])
			continue;
		r = cancelled(a) ? -ECANCELED : look(a, a->inos[i]);
		if (!r && needs_class(a))
			tier_ask(&a->asks, &a->in);
	}
	tier_asks_wait(&a->asks);
	return MIN_OF(r, 0);
}

static int judge(struct act *a, uint64_t ino)
{
	struct tier_engine *e = a->e;
	struct verdict v;
	int r = look(a, ino);

	if (r)
		return MIN_OF(r, 0);
	policy_decide(e->conf.rules, e->conf.prices, &a->facts.f, a->now_ns, &v);
	return a->run ? demand_one(a, &v) : pass_one(a, &v);
}

/* ---- the walk ---- */

static int on_file(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	struct act *a = arg;

	(void)t;
	if (in->flags & META_F_ORPHAN)
		return 0;
	/* meta_scan may give a few more than asked for. */
	if (a->ninos == TIER_SLICE)
		return -EOVERFLOW;
	a->unknown[a->ninos] = job_class_unknown(a->e->conf.jobs, in);
	a->inos[a->ninos++] = in->ino;
	return 0;
}

static int on_slice(void *arg)
{
	struct act *a = arg;
	int r = ask_classes(a);

	for (unsigned i = 0; i < a->ninos && !r; i++)
		r = cancelled(a) ? -ECANCELED : judge(a, a->inos[i]);
	a->ninos = 0;
	return r;
}

static struct act *act_new(struct tier_engine *e, const atomic_bool *cancel)
{
	struct act *a = calloc(1, sizeof(*a));

	if (a) {
		a->e = e;
		a->now_ns = clock_now_ns();
		tier_asks_init(&a->asks, e->conf.jobs, cancel);
	}
	return a;
}

static void act_free(struct act *a)
{
	tier_asks_done(&a->asks);
	free(a);
}

errint_t tier_pass_run(struct tier_engine *e, struct tier_pass *ret)
{
	struct act *a = act_new(e, &e->cancel);
	errint_t r;

	*ret = (struct tier_pass){0};
	if (!a)
		return -ENOMEM;
	a->pass = ret;
	r = tier_walk(e, META_ROOT_INO, on_file, on_slice, a);
	act_free(a);
	return r;
}

static errint_t print_text(struct tier_run *run, const char *s)
{
	return run->text ? run->text(run->arg, s, strlen(s)) : 0;
}

static errint_t print_summary(struct tier_engine *e, struct tier_run *run)
{
	cleanup_buf struct buf out = BUF_INIT(PRINT_MAX);
	errint_t r = policy_report_summary(&out, &run->totals);

	if (!r)
		r = policy_report_cross_cloud(&out, e->conf.prices, &run->totals);
	if (r || !run->text)
		return r;
	return run->text(run->arg, out.p, out.len);
}

errint_t tier_run(struct tier_engine *e, struct tier_run *run, struct err *err)
{
	static const char head[] =
		"======================================================================\n"
		"INTELLIGENT TIERING ENGINE\n"
		"======================================================================\n\n";
	struct act *a = act_new(e, run->cancel);
	int64_t start = clock_mono_ns(), wall = clock_now_ns();
	errint_t r;

	if (!a)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	a->run = run;
	run->dry_run |= e->conf.ro;
	memset(&run->totals, 0, sizeof(run->totals));
	run->totals.dry_run = run->dry_run;
	r = print_text(run, head);
	if (!r)
		r = tier_walk(e, run->ino, on_file, on_slice, a);
	settle_pending(a);
	act_free(a);
	run->totals.time_ns = clock_mono_ns() - start;
	if (!r)
		r = print_summary(e, run);
	count_inc(engine_passes);
	if (!r && !run->dry_run && run->ino == META_ROOT_INO)
		engine_ran(e, wall, &run->totals);
	if (r == -ENOENT)
		return err_set(err, r, ERR_NOT_FOUND, "there is no such file");
	return r ? err_set(err, r, ERR_FINAL, "the run ended early: %s", err_text(NULL, r)) : 0;
}
