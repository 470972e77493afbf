/* SPDX-License-Identifier: MIT */
/*
 * The design on one page: builds every room in the order of the arrows, and takes all down in
 * reverse.
 *
 *	pool, bufs	workers and transfer buffers, shared by all
 *	remotes		stacks of layers over drivers
 *	meta		the index; asks stage to be durable before each sync point
 *	stage		staging and cache files
 *	vfs <-> jobs	the vfs posts jobs; jobs tell the vfs through hooks
 *	tier, ctl	the engine; the socket
 *	front		the kernel
 *
 * The end: detach (new opens fail, what is open is served on), until the kernel closes the
 * connection; then everything dirty is posted and jobs run until none is left or drain_timeout is
 * over (drain.c); the journal keeps the rest, and whoever asked for the end is told. Last, a sync
 * point and the clean mark.
 */
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_log.h"
#include "astra/base_pool.h"
#include "astra/ctl.h"
#include "astra/fuse.h"
#include "astra/job.h"
#include "astra/meta.h"
#include "astra/policy.h"
#include "astra/stage.h"
#include "astra/store.h"
#include "astra/tier.h"
#include "astra/vfs.h"
#include "drain.h"
#include "known.h"
#include "state.h"

#define BUF_BYTES    (UINT64_C(8) << 20)
#define BUFS_MAX     UINT64_C(1024)
#define MIN_FREE_MAX (UINT64_C(256) << 20)

struct wire {
	const struct options *o;
	char *place;				/* owned; NULL = without a mount */
	char *index_dir, *stage_dir, *data_dir; /* owned */

	bool power_cut; /* the index was put back */

	struct policy_rules *rules; /* owned */
	struct price_book *book;    /* owned */
	struct tier_conf tier_conf;

	struct known known;
	struct pool *pool;
	struct bufs *bufs;
	struct remote *remotes;
	size_t nremotes;
	struct store_budget *budget; /* NULL = none */
	struct meta *meta;
	_Atomic(struct stage *) stage; /* the index's sync thread may ask before it is there */
	struct vfs *vfs;
	struct jobs *jobs;
	bool jobs_run, vfs_run;
	struct tier_engine *tier;
	struct ctl *ctl;
	struct fuse_front *front;

	atomic_bool stopping, hurry, asked;
	_Atomic int64_t stop_until_ns; /* monotonic */
};

/* ---- up ---- */

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t paths_make(struct wire *w, struct err *err)
{
	const struct options *o = w->o;
	errint_t r;

	if (asprintf(&w->index_dir, "%s/index", o->state) < 0 ||
		asprintf(&w->stage_dir, "%s/stage", o->state) < 0)
		return no_memory(err);
	w->data_dir = options_data_dir(o);
	if (!w->data_dir)
		return no_memory(err);
	r = state_mkdir(w->index_dir, err);
	if (!r)
		r = state_mkdir(w->data_dir, err);
	return r;
}

static errint_t money_up(struct wire *w, struct err *err)
{
	errint_t r;

	w->rules = calloc(1, sizeof(*w->rules));
	w->book = calloc(1, sizeof(*w->book));
	if (!w->rules || !w->book)
		return no_memory(err);
	r = policy_rules_parse(w->o->conf, tier_keys, tier_nkeys, w->rules, err);
	if (!r)
		r = price_book_parse(w->o->conf, w->rules->prices, w->book, err);
	if (!r)
		r = tier_conf_parse(w->o->conf, &w->tier_conf, err);
	return r;
}

errint_t wire_check(const struct options *o, struct err *err)
{
	struct wire w = {.o = o};
	errint_t r = money_up(&w, err);

	if (!r)
		r = remotes_conf_check(o->conf, err);
	if (!r)
		r = known_moved(o, err);
	free(w.rules);
	free(w.book);
	return r;
}

static errint_t transfer_up(struct wire *w, struct err *err)
{
	const struct options *o = w->o;
	uint64_t count = o->buffers ? o->buffers : o->memory_limit / 2 / BUF_BYTES;

	count = MIN_OF(MAX_OF(count, UINT64_C(2)), BUFS_MAX);
	w->pool = pool_new((unsigned)o->workers, "worker");
	w->bufs = bufs_new((unsigned)count, BUF_BYTES);
	return w->pool && w->bufs ? 0 : no_memory(err);
}

static void budget_told(void *arg, bool day)
{
	(void)arg;
	log_warn("daemon", "the request budget of this %s is used up: requests wait for the next",
		day ? "day" : "minute");
}

static errint_t budget_up(struct wire *w, struct err *err)
{
	struct store_budget_conf conf = w->o->budget;

	if (!conf.per_minute && !conf.per_day && !conf.money_per_day)
		return 0;
	conf.tell = budget_told;
	w->budget = store_budget_new(&conf);
	if (!w->budget)
		return no_memory(err);
	for (size_t i = 0; i < w->nremotes; i++) {
		const struct price_provider *p = price_find(w->book, w->remotes[i].provider);

		store_budget_join(w->remotes[i].st, w->budget, p ? p->tiers[TIER_HOT].read : 0,
			p ? p->tiers[TIER_HOT].write : 0);
	}
	return 0;
}

static errint_t before_sync(void *arg)
{
	struct wire *w = arg;
	struct stage *s = atomic_load(&w->stage);
	struct err err;

	return s ? stage_sync_all(s, &err) : 0;
}

/* What the file system of the state keeps free: cached bytes are dropped before. On a small one as
 * much as the index wants, which would else refuse to make a file while the cache has it all. */
static uint64_t min_free(const char *dir)
{
	struct statvfs sv;
	uint64_t size, part;

	if (statvfs(dir, &sv) < 0)
		return MIN_FREE_MAX;
	size = (uint64_t)sv.f_blocks * sv.f_frsize;
	part = MIN_OF(size / 50, MIN_FREE_MAX);
	return MIN_OF(MAX_OF(part, META_DISK_ROOM), size / 2);
}

/* After a power cut the clouds may be ahead of the index: no earlier listing is believed. */
static errint_t forget_listings(struct wire *w, struct err *err)
{
	int64_t now = clock_now_ns();
	struct meta_txn *t = meta_begin(w->meta);
	errint_t r;

	(void)meta_kv_put(t, "listed_epoch", &now, sizeof(now));
	r = meta_commit(t);
	return r < 0 ? err_set(err, r, ERR_FINAL, "index: %s", strerror(-r)) : 0;
}

static errint_t index_up(struct wire *w, struct err *err)
{
	struct meta_conf mc = {
		.dir = w->index_dir, .before_sync = before_sync, .before_sync_arg = w};
	struct stage_conf sc = {.dir = w->stage_dir,
		.quota_bytes = w->o->cache_size,
		.min_free_bytes = min_free(w->o->state)};
	struct stage *stage = NULL;
	char boot_id[64];
	errint_t r = state_boot_id(boot_id, err);

	if (r)
		return r;
	mc.boot_id = boot_id;
	r = meta_open(&mc, &w->meta, &sc.power_cut, err);
	if (r)
		return r;
	if (sc.power_cut)
		log_warn("daemon", "the machine went down while mounted; the index is as of its "
				   "last sync point");
	r = stage_open(&sc, &stage, err);
	if (r)
		return r;
	atomic_store(&w->stage, stage);
	w->power_cut = sc.power_cut;
	if (sc.power_cut && (r = forget_listings(w, err)) < 0)
		return r;
	return meta_recovered(w->meta, err);
}

struct lost { /* a remote of an earlier mount */
	struct wire *w;
	struct meta_txn *t;
	uint64_t top, dirty;
};

static int count_lost(void *arg, uint64_t ino)
{
	struct lost *l = arg;

	l->dirty += meta_is_below(l->t, ino, l->top);
	return 0;
}

static int hide_lost(void *arg, const char *name, uint32_t id, uint64_t ino)
{
	struct lost *l = arg;
	errint_t r;

	(void)id;
	for (size_t i = 0; i < l->w->nremotes; i++) {
		if (!strcmp(l->w->remotes[i].name, name))
			return 0;
	}
	l->top = ino;
	l->dirty = 0;
	r = meta_dirty_each(l->t, count_lost, l);
	if (!r)
		r = meta_hide(l->w->meta, ino);
	if (r)
		return r;
	if (l->dirty)
		log_warn("daemon",
			"remote '%s' of an earlier mount is not in the configuration: it is not "
			"shown, %llu changed file%s of it wait%s (uploaded when it is back)",
			name, (unsigned long long)l->dirty, l->dirty == 1 ? "" : "s",
			l->dirty == 1 ? "s" : "");
	else
		log_warn("daemon",
			"remote '%s' of an earlier mount is not in the configuration: it is not "
			"shown",
			name);
	return 0;
}

/* What the index has of remotes that were taken out of the configuration stays, and is not shown.
 */
static errint_t remotes_hide(struct wire *w, struct err *err)
{
	struct lost l = {.w = w, .t = meta_begin_read(w->meta)};
	errint_t r = meta_remotes_each(l.t, hide_lost, &l), end = meta_commit(l.t);

	r = r ? r : end;
	return r ? err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r)) : 0;
}

/* Names become directories of the mount, and numbers that jobs remember. */
static errint_t remotes_name_txn(struct wire *w, struct meta_txn *t)
{
	errint_t r = 0, end;

	for (size_t i = 0; !r && i < w->nremotes; i++) {
		uint64_t ino;
		uint32_t id = 0;

		r = meta_remote(t, w->remotes[i].name, w->o->uid, w->o->gid, &id, &ino);
		w->remotes[i].id = id;
	}
	end = meta_commit(t);
	return r ? r : end;
}

/* Writes only when there is something new: the disk may be full. */
static errint_t remotes_name(struct wire *w, struct err *err)
{
	errint_t r = remotes_name_txn(w, meta_begin_read(w->meta));

	if (r == -ENOENT)
		r = remotes_name_txn(w, meta_begin(w->meta));
	return r ? err_set(err, r, ERR_FINAL, "cannot write the index: %s", err_text(NULL, r)) : 0;
}

static errint_t known_up(struct wire *w, struct err *err)
{
	errint_t r = known_read(w->o, &w->known, err);

	return r ? r : known_check(&w->known, err);
}

static errint_t known_keep(struct wire *w, struct err *err)
{
	errint_t r = known_write(&w->known, w->meta);

	return r ? err_set(err, r, ERR_FINAL, "cannot write the index: %s", err_text(NULL, r)) : 0;
}

static errint_t vfs_up(struct wire *w, struct err *err)
{
	const struct options *o = w->o;
	struct vfs_conf vc = {
		.meta = w->meta,
		.stage = w->stage,
		.pool = w->pool,
		.bufs = w->bufs,
		.remotes = w->remotes,
		.nremotes = w->nremotes,
		.rules = w->rules,
		.prices = w->book,
		.durability = o->durability,
		.recall = o->recall,
		.recall_block_ns = o->recall_block_ns,
		.migrate_wait_ns = o->migrate_wait_ns,
		.upload_delay_ns = o->upload_delay_ns,
		.metadata_ttl_ns = o->metadata_ttl_ns,
		.io_deadline_ns = o->io_deadline_ns,
		.uid = o->uid,
		.gid = o->gid,
		.umask = o->umask,
		.ro = o->ro,
		.no_count = o->no_count,
		.no_recall = o->no_recall,
		.no_list = o->no_list,
		.inval_inode = w->front ? fuse_front_inval_inode : NULL,
		.inval_entry = w->front ? fuse_front_inval_entry : NULL,
		.inval_arg = w->front,
	};
	struct jobs_conf jc = {
		.meta = w->meta,
		.stage = w->stage,
		.remotes = w->remotes,
		.nremotes = w->nremotes,
		.prices = w->book,
		.pool = w->pool,
		.bufs = w->bufs,
		.upload_delay_ns = o->upload_delay_ns,
		.open_grace_ns = o->open_grace_ns,
		.metadata_ttl_ns = o->metadata_ttl_ns,
		.uid = o->uid,
		.gid = o->gid,
		.umask = o->umask,
		.conflict_overwrite = o->conflict_overwrite,
		.delete_guard = o->delete_guard,
		.undo_window_ns = o->undo_window_ns,
		.power_cut = w->power_cut,
		.ro = o->ro,
	};
	errint_t r;

	(void)gethostname(jc.host, sizeof(jc.host) - 1);
	r = vfs_new(&vc, &w->vfs, err);
	if (r)
		return r;
	jc.hooks = vfs_job_hooks(w->vfs);
	r = jobs_open(&jc, &w->jobs, err);
	if (r)
		return r;
	r = vfs_start(w->vfs, w->jobs, err);
	if (r)
		return r;
	w->vfs_run = true;
	jobs_start(w->jobs);
	w->jobs_run = true;
	w->tier_conf.is_open = jc.hooks.is_open;
	w->tier_conf.is_open_arg = jc.hooks.arg;
	return 0;
}

static errint_t tier_up(struct wire *w, struct err *err)
{
	w->tier_conf.meta = w->meta;
	w->tier_conf.jobs = w->jobs;
	w->tier_conf.remotes = w->remotes;
	w->tier_conf.nremotes = w->nremotes;
	w->tier_conf.rules = w->rules;
	w->tier_conf.prices = w->book;
	w->tier_conf.ro = w->o->ro;
	return tier_engine_new(&w->tier_conf, &w->tier, err);
}

/* As if by a signal: the signal thread does it. But who asks again only waits. */
static void stop_by_ctl(void *arg)
{
	struct wire *w = arg;

	if (!atomic_exchange(&w->asked, true) && !atomic_load(&w->stopping))
		(void)kill(getpid(), SIGTERM);
}

static errint_t ctl_up(struct wire *w, struct err *err)
{
	char name[256];
	struct ctl_conf cc = {
		.name = name,
		.mountpoint = w->place,
		.state = w->o->state,
		.version = ASTRA_VERSION,
		.vfs = w->vfs,
		.jobs = w->jobs,
		.tier = w->tier,
		.meta = w->meta,
		.stage = w->stage,
		.bufs = w->bufs,
		.remotes = w->remotes,
		.nremotes = w->nremotes,
		.budget = w->budget,
		.rules = w->rules,
		.prices = w->book,
		.uid = w->o->uid,
		.gid = w->o->gid,
		.ro = w->o->ro,
		.drain_ns = w->o->drain_ns,
		.stop = stop_by_ctl,
		.stop_arg = w,
	};

	options_name_of(w->place, name);
	return ctl_open(&cc, &w->ctl, err);
}

static errint_t front_new(struct wire *w, const struct wire_conf *conf, struct err *err)
{
	struct fuse_front_conf fc = {
		.mountpoint = conf->place,
		.fsname = w->o->fsname,
		.flags = w->o->mount_flags,
		.ro = w->o->ro,
		.allow_other = w->o->allow_other,
		.ready = conf->ready,
		.ready_arg = conf->arg,
	};

	return fuse_front_new(&fc, &w->front, err);
}

static errint_t rooms_up(struct wire *w, const struct wire_conf *conf, struct err *err)
{
	errint_t r = money_up(w, err);

	if (!r)
		r = known_up(w, err); /* before anything is made */
	if (!r)
		r = paths_make(w, err);
	if (!r)
		r = transfer_up(w, err);
	if (!r)
		r = remotes_build(w->o->conf, w->data_dir, &w->remotes, &w->nremotes, err);
	if (!r)
		r = budget_up(w, err);
	if (!r)
		r = index_up(w, err);
	if (!r)
		r = remotes_name(w, err);
	if (!r)
		r = known_keep(w, err);
	if (!r)
		r = remotes_hide(w, err);
	if (!r && conf->place)
		r = front_new(w, conf, err);
	if (!r)
		r = vfs_up(w, err);
	if (!r && conf->place)
		r = tier_up(w, err);
	if (!r && conf->place)
		r = ctl_up(w, err);
	if (!r && conf->place)
		r = fuse_front_mount(w->front, w->vfs, err);
	return r;
}

errint_t wire_up(const struct wire_conf *conf, struct wire **ret, struct err *err)
{
	struct wire *w = calloc(1, sizeof(*w));
	errint_t r = 0;

	assert(conf->o->state);
	*ret = NULL;
	if (!w)
		return no_memory(err);
	w->o = conf->o;
	if (conf->place) {
		w->place = strdup(conf->place);
		if (!w->place)
			r = no_memory(err);
	}
	if (!r)
		r = rooms_up(w, conf, err);
	if (r) {
		wire_down(w);
		return r;
	}
	*ret = w;
	return 0;
}

/* ---- serving, and the end of it ---- */

/* Everything dirty is posted, and jobs run, until none is left or drain_timeout is over. */
static void drain(struct wire *w)
{
	const struct drain d = {
		.vfs = w->vfs,
		.jobs = w->jobs,
		.max_ns = w->o->drain_ns,
		.hurry = &w->hurry,
	};
	struct ctl_end end;

	drain_run(&d, &end);
	if (end.jobs || end.files)
		log_warn("daemon",
			"%llu jobs and %llu changed files are left for the next mount of %s: %s",
			(unsigned long long)end.jobs, (unsigned long long)end.files, w->o->state,
			end.why);
	ctl_drained(w->ctl, &end);
}

errint_t wire_serve(struct wire *w, struct err *err)
{
	errint_t r = fuse_front_loop(w->front, err);

	log_notice("daemon", "%s is unmounted", w->place);
	ctl_unmounted(w->ctl);
	/* The engine would only make more work. */
	tier_engine_stop(w->tier);
	drain(w);
	return r;
}

void wire_stop(struct wire *w, unsigned nth)
{
	struct err err;

	if (nth == 1) {
		atomic_store(&w->stop_until_ns, clock_mono_ns() + w->o->drain_ns);
		atomic_store(&w->stopping, true);
		if (!fuse_front_detach(w->front, &err))
			return;
		log_error("daemon", "%s; ending the session instead", err.msg);
	} else {
		atomic_store(&w->hurry, true);
	}
	fuse_front_exit(w->front);
}

void wire_stop_tick(struct wire *w)
{
	if (atomic_load(&w->stopping) &&
		(atomic_load(&w->hurry) || clock_mono_ns() >= atomic_load(&w->stop_until_ns)))
		fuse_front_exit(w->front);
}

struct jobs *wire_jobs(struct wire *w)
{
	return w->jobs;
}

struct meta *wire_meta(struct wire *w)
{
	return w->meta;
}

void wire_down(struct wire *w)
{
	if (!w)
		return;
	ctl_close(w->ctl);
	tier_engine_destroy(w->tier);
	if (w->jobs_run)
		jobs_stop(w->jobs);
	if (w->vfs_run)
		vfs_stop(w->vfs);
	/* Its thread calls jobs and staging; the clean mark comes last of all that is written. */
	meta_close(w->meta);
	/* Its threads may be in the last lines of a task of these. */
	pool_destroy(w->pool);
	jobs_close(w->jobs);
	if (w->vfs)
		vfs_destroy(w->vfs);
	fuse_front_destroy(w->front);
	stage_close(w->stage);
	remotes_destroy(w->remotes, w->nremotes);
	store_budget_destroy(w->budget);
	bufs_destroy(w->bufs);
	free(w->rules);
	free(w->book);
	known_done(&w->known);
	free(w->index_dir);
	free(w->stage_dir);
	free(w->data_dir);
	free(w->place);
	free(w);
}
