/* SPDX-License-Identifier: MIT */
/* Life of the room; seeing and steering jobs. */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

static int load_record(void *arg, uint64_t id, const void *p, size_t len)
{
	struct jobs *j = arg;
	struct job *job = job_alloc(j, JOB_UPLOAD, 1);
	struct err err = {0};

	if (job == NULL)
		return -ENOMEM;
	errint_t r = journal_decode(p, len, job, &err);

	if (r < 0) {
		log_error("job", "journal record %llu: %s", (unsigned long long)id, err.msg);
		job_free(job);
		return r;
	}
	job->id = id;
	job->own.before = job->attempts;
	if (job->attempts != 0 && (job->kind == JOB_RELOCATE || job->kind == JOB_DIRMOVE))
		atomic_store(&j->copies_until_ns, j->opened_ns + late_ns(j));
	LOCKED(&j->g.lock);
	job->g.committed = true;
	return graph_insert(j, job);
}

/* Staging whose row is gone: its removal waited for a sync point when the daemon ended. And after a
 * power cut staging whose row is clean: what was written after the last sync point is there in part
 * at best, and the object has all that came before. */
static int drop_unknown(void *arg, uint64_t ino)
{
	struct jobs *j = arg;
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, ino, &in);

	meta_abort(t);
	if (r == -ENOENT || (r == 0 && j->conf.power_cut && (in.flags & META_F_DIRTY) == 0))
		stage_drop(j->conf.stage, ino);
	return 0;
}

errint_t jobs_open(const struct jobs_conf *conf, struct jobs **ret, struct err *err)
{
	struct jobs *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return err_set(err, -ENOMEM, ERR_FINAL, "out of memory");
	j->conf = *conf;
	if (j->conf.active_max == 0)
		j->conf.active_max = 64;
	if (j->conf.queue_max == 0)
		j->conf.queue_max = 16000;
	if (j->conf.host[0] == '\0')
		(void)gethostname(j->conf.host, sizeof(j->conf.host) - 1);
	for (char *p = j->conf.host; *p != '\0'; p++)
		if (*p == '/')
			*p = '_';
	j->nonce = random_u64();
	j->opened_ns = clock_mono_ns();
	lock_init(&j->g.lock, RANK_JOB, "jobs.graph");
	cond_init(&j->idle);
	foreground_init(j);
	TAILQ_INIT(&j->g.all);
	TAILQ_INIT(&j->g.moves);
	sched_init(j);
	TAILQ_INIT(&j->g.ended);
	TAILQ_INIT(&j->g.waiters);
	errint_t r = ready_open(j);
	struct meta_txn *t = meta_begin_read(conf->meta);
	size_t len = 0;

	if (r == 0)
		r = meta_job_each(t, load_record, j);
	if (r == 0)
		r = keys_hand_over_again(j, t);
	if (meta_kv_get(t, "listed_epoch", &j->listed_epoch_ns, sizeof(j->listed_epoch_ns), &len) <
		0)
		j->listed_epoch_ns = 0;
	meta_abort(t);
	if (r == 0)
		r = stage_each(conf->stage, drop_unknown, j);
	if (r < 0) {
		jobs_close(j);
		return err_set(err, r, ERR_FINAL,
			"the journal cannot be read (%s): run `astrafs --check`", strerror(-r));
	}
	*ret = j;
	return 0;
}

void jobs_close(struct jobs *j)
{
	struct job *job = NULL;
	struct ended *e = NULL;
	struct drop *d = NULL;

	if (j == NULL)
		return;
	listing_free_all(j);
	lock_take(&j->g.lock);
	while ((d = TAILQ_FIRST(&j->g.drops)) != NULL) { /* the next start sees to them */
		TAILQ_REMOVE(&j->g.drops, d, link);
		free(d);
	}
	while ((job = TAILQ_FIRST(&j->g.all)) != NULL) {
		graph_remove(j, job);
		job_free(job);
	}
	lock_drop(&j->g.lock);
	while ((e = TAILQ_FIRST(&j->g.ended)) != NULL) {
		TAILQ_REMOVE(&j->g.ended, e, link);
		free(e);
	}
	sched_done(j);
	setbacks_free(j);
	ready_close(j);
	lock_done(&j->g.lock);
	(void)pthread_cond_destroy(&j->idle);
	foreground_done(j);
	free(j);
}

bool job_full(struct jobs *j)
{
	LOCKED(&j->g.lock);
	return j->g.nlive >= j->conf.queue_max;
}

static void place_text(struct jobs *j, uint32_t remote, const char *path, char *ret, size_t size)
{
	const struct remote *r = remote_of(j, remote);

	ret[0] = '\0';
	if (remote != 0)
		(void)snprintf(ret, size, "/%s/%s", r != NULL ? r->name : "?", path);
}

static enum job_state shown_state(const struct job *job)
{
	return !job->g.begun ? JOB_QUEUED : !job->g.active ? JOB_WAITING : job->g.state;
}

void info_of_locked(struct jobs *j, struct job *job, struct job_info *i)
{
	memset(i, 0, sizeof(*i));
	i->id = job->id;
	i->ino = job->ino;
	i->kind = job->kind;
	i->state = shown_state(job);
	place_text(j, job->src_remote, job->src, i->src, sizeof(i->src));
	place_text(j, job->dst_remote, job->dst, i->dst, sizeof(i->dst));
	i->tier = job->tier;
	i->bytes_total = job->g.bytes_total;
	i->bytes_done = atomic_load(&job->bytes_done);
	i->parts_done = atomic_load(&job->parts_done);
	i->parts_total = job->g.parts_total;
	i->files_total = job->g.files_total;
	i->files_done = atomic_load(&job->files_done);
	if (job->kind == JOB_DIRMOVE) { /* with what has left the directory since */
		i->files_total = MAX_OF(i->files_total, i->files_done);
		i->bytes_total = MAX_OF(i->bytes_total, i->bytes_done);
	}
	i->part_size = job->g.part_size;
	i->retries = atomic_load(&job->repeats);
	i->src_remote = job->src_remote;
	i->dst_remote = job->dst_remote;
	i->tier_from = job->g.tier_from;
	i->tier_to = job->g.tier_to;
	i->bill = job->g.bill;
	i->attempts = job->attempts;
	i->created_ns = job->created_ns;
	i->started_ns = job->g.started_ns;
	i->next_ns = job->g.sleeping ? job->g.next_ns : 0;
	/* As of the last graph_stuck_locked: a job that waits for none is behind nobody. */
	const struct job *cold = job->g.archived ? job : job->g.ndeps != 0 ? job->g.cold : NULL;
	const char *note = cold != NULL ? cold->g.note : job->g.note;

	i->archived = cold != NULL;
	(void)snprintf(i->note, sizeof(i->note), "%s", note != NULL ? note : "");
	i->by_engine = job->by_engine;
	i->held = job->held && job->g.state != JOB_CLEANING;
	if (job->kind == JOB_REMOVE)
		i->dst[0] = '\0';
}

void job_each(struct jobs *j, int (*fn)(void *arg, const struct job_info *i), void *arg)
{
	struct job_info *all = NULL;
	struct job *job = NULL;
	struct ended *e = NULL;
	size_t n = 0;

	lock_take(&j->g.lock);
	all = calloc(MIN_OF(j->g.nlive, 10000u) + j->g.nended + 1, sizeof(*all));
	if (all != NULL) {
		graph_stuck_locked(j);
		TAILQ_FOREACH (job, &j->g.all, link) {
			if (n == 10000)
				break;
			info_of_locked(j, job, &all[n++]);
		}
		TAILQ_FOREACH (e, &j->g.ended, link)
			all[n++] = e->info;
	}
	lock_drop(&j->g.lock);
	for (size_t i = 0; i < n; i++)
		if (fn(arg, &all[i]) != 0)
			break;
	free(all);
}

bool job_info_get(struct jobs *j, uint64_t id, struct job_info *ret)
{
	struct job *job = NULL;
	struct ended *e = NULL;

	LOCKED(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	if (job != NULL) {
		if (job->g.ndeps != 0)
			graph_stuck_locked(j);
		info_of_locked(j, job, ret);
		return true;
	}
	TAILQ_FOREACH (e, &j->g.ended, link)
		if (e->info.id == id) {
			*ret = e->info;
			return true;
		}
	return false;
}

bool job_info_held(struct jobs *j, uint64_t id)
{
	struct job *job = NULL;

	LOCKED(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	return job != NULL && job->held && job->g.state != JOB_CLEANING;
}

bool job_info_ino(struct jobs *j, uint64_t ino, struct job_info *ret)
{
	LOCKED(&j->g.lock);
	struct job *job = graph_last_of(j, ino);

	if (job != NULL && job->g.ndeps != 0)
		graph_stuck_locked(j);
	if (job != NULL)
		info_of_locked(j, job, ret);
	return job != NULL;
}

static uint64_t size_of(const struct job *job)
{
	return MAX_OF(job->g.bytes_total, job->g.files_total);
}

bool job_info_largest(struct jobs *j, struct job_info *ret)
{
	struct job *job = NULL, *best = NULL;

	LOCKED(&j->g.lock);
	TAILQ_FOREACH (job, &j->g.all, link)
		if (job->g.begun && (best == NULL || size_of(job) > size_of(best)))
			best = job;
	if (best != NULL)
		info_of_locked(j, best, ret);
	return best != NULL;
}

bool job_info_since(struct jobs *j, uint64_t ino, int64_t since_ns, struct job_info *ret)
{
	struct ended *e = NULL;
	bool found = job_info_ino(j, ino, ret);

	LOCKED(&j->g.lock);
	TAILQ_FOREACH (e, &j->g.ended, link) {
		if (e->info.ended_ns < since_ns)
			break;
		if (e->info.ino == ino && (!found || e->info.id > ret->id)) {
			*ret = e->info;
			found = true;
		}
	}
	return found;
}

errint_t job_cancel(struct jobs *j, uint64_t id)
{
	struct job *job = NULL;

	lock_take(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	if (job == NULL) {
		lock_drop(&j->g.lock);
		return -ENOENT;
	}
	if (job->g.state == JOB_CLEANING || job->firm ||
		(job->kind == JOB_REMOVE && (!job->held || job->g.ndependents != 0)) ||
		job->kind == JOB_UNMARK || job->kind == JOB_UPLOAD || job->kind == JOB_LOOK) {
		lock_drop(&j->g.lock);
		return -EALREADY;
	}
	if (!job->g.back) {
		atomic_store(&job->cancel, true);
		sched_hurry_locked(j, job);
	}
	lock_drop(&j->g.lock);
	sched_pump(j);
	return 0;
}

bool job_cancel_stands(struct jobs *j, uint64_t id)
{
	struct job *job = NULL;

	LOCKED(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	if (job == NULL || job->g.back || (!job->g.begun && atomic_load(&job->cancel)))
		return true;
	atomic_store(&job->cancel, false);
	return false;
}

void jobs_stat(struct jobs *j, struct jobs_stat *ret)
{
	struct job *job = NULL;

	LOCKED(&j->g.lock);
	*ret = (struct jobs_stat){.live = j->g.nlive,
		.active = j->g.nactive,
		.failed = j->g.nfailed,
		.cancelled = j->g.ncancelled,
		.done = j->g.ndone};
	graph_stuck_locked(j);
	TAILQ_FOREACH (job, &j->g.all, link) {
		ret->queued += shown_state(job) == JOB_QUEUED;
		ret->waiting += shown_state(job) == JOB_WAITING;
		ret->stuck += job->g.stuck;
		ret->lost += job->g.lost;
		ret->archived += job->g.cold != NULL;
		ret->coming += job->g.comes && !job->g.lost;
		ret->looks += job->kind == JOB_LOOK && !job->g.stuck;
	}
	job = TAILQ_FIRST(&j->g.all);
	while (job != NULL && job->kind == JOB_LOOK)
		job = TAILQ_NEXT(job, link);
	if (job != NULL)
		ret->oldest_ns = job->created_ns;
}

struct lost { /* names of remotes that jobs wait for in vain */
	struct jobs *j;
	struct buf names;
	unsigned n;
};

static int lost_name(void *arg, const char *name, uint32_t id, uint64_t ino)
{
	struct lost *l = arg;
	struct job *job = NULL;

	(void)ino;
	if (remote_of(l->j, id) != NULL)
		return 0;
	LOCKED(&l->j->g.lock);
	TAILQ_FOREACH (job, &l->j->g.all, link)
		if (job->src_remote == id || job->dst_remote == id)
			break;
	if (job != NULL)
		(void)buf_addf(&l->names, "%s'%s'", l->n++ != 0 ? ", " : "", name);
	return 0;
}

void jobs_lost_text(struct jobs *j, char *ret, size_t size)
{
	struct lost l = {.j = j, .names = BUF_INIT(4000)};
	struct jobs_stat st;

	ret[0] = '\0';
	jobs_stat(j, &st);
	if (st.lost == 0)
		return;
	struct meta_txn *t = meta_begin_read(j->conf.meta);

	(void)meta_remotes_each(t, lost_name, &l);
	meta_abort(t);
	(void)snprintf(ret, size, "%llu job%s for remote%s %s, which %s not in the configuration",
		(unsigned long long)st.lost, st.lost == 1 ? " waits" : "s wait",
		l.n == 1 ? "" : "s", l.n != 0 ? (char *)l.names.p : "", l.n == 1 ? "is" : "are");
	buf_done(&l.names);
}
