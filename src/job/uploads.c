/* SPDX-License-Identifier: MIT */
/*
 * Multipart uploads that were begun and neither finished nor aborted: no listing shows them, and
 * they are paid for. A job's record names the one that it has begun, before the first part goes up:
 * the next step ends it, also one of a later run. Where the store tells write marks, a job ends
 * those of its earlier attempts as well, whose answers were lost. What no job is left to end (a
 * lost state directory, a kill before the answer came) is aborted when it is stale, unless a live
 * job has its key.
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define PARTS_LATE_NS (2 * NS_PER_S) /* a part that a kill left on its way comes within it */
#define FIRST_NS      (60 * NS_PER_S)
#define EVERY_NS      (6 * 3600 * NS_PER_S)
#define STALE_NS      (7 * 86400 * NS_PER_S)

void uploads_abort_own(struct job *job, const struct objref *dst)
{
	struct store_call call;
	struct store_upload *u = NULL;
	size_t n = 0;
	char mark[64];

	call_init(&call, job);
	mark_make(job, mark, sizeof(mark));
	size_t head = (size_t)(strrchr(mark, '.') - mark) + 1;

	if (store_parts_pending(dst->st, &call, dst->o.bucket, &u, &n, NULL) < 0)
		return; /* they become stale */
	for (size_t i = 0; i < n; i++)
		if (strcmp(u[i].key, dst->o.key) == 0 && strncmp(u[i].mark, mark, head) == 0)
			(void)store_parts_abort(dst->st, &call, dst->o, u[i].id, NULL);
	free(u);
}

errint_t uploads_begun(
	struct job *job, uint32_t remote, const char *path, const char *id, struct err *err)
{
	struct begun *b = calloc(1, sizeof(*b));

	if (b == NULL || (b->path = strdup(path)) == NULL) {
		free(b);
		return err_set(err, -ENOMEM, ERR_RETRY, "out of memory");
	}
	b->remote = remote;
	(void)snprintf(b->id, sizeof(b->id), "%s", id);
	uploads_ended(job);
	job->own.begun = b;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	(void)journal_put(t, job);
	errint_t r = meta_commit(t);

	return r < 0 ? err_set(err, r, ERR_RETRY, "index: %s", strerror(-r)) : 0;
}

void uploads_ended(struct job *job)
{
	if (job->own.begun != NULL)
		free(job->own.begun->path);
	free(job->own.begun);
	job->own.begun = NULL;
}

int64_t uploads_end_at(const struct job *job)
{
	const struct begun *b = job->own.begun;

	return b != NULL && b->restored ? job->jobs->opened_ns + PARTS_LATE_NS : 0;
}

errint_t uploads_end(struct job *job, const atomic_bool *cancel, struct err *err)
{
	struct store_call call = {.cancel = cancel};
	const struct begun *b = job->own.begun;
	struct objref o;

	/* A remote that was taken out of the configuration may come back. */
	if (b == NULL || objref_make(job->jobs, b->remote, b->path, &o, NULL) < 0)
		return 0;
	errint_t r = store_parts_abort(o.st, &call, o.o, b->id, err);

	if (r < 0 && err->kind != ERR_NOT_FOUND) {
		if (!err_is_final(r, err))
			return r;
		log_notice("job", "'%s': an upload that was not finished stays for now: %s",
			b->path, err_text(err, r));
	}
	uploads_ended(job);
	return 0;
}

static void sweep_bucket(struct jobs *j, const struct remote *r, const char *bucket)
{
	struct store_call call = {.cancel = &j->stopping};
	struct store_upload *u = NULL;
	size_t n = 0, pre = strlen(r->prefix);
	char path[META_PATH_MAX + 1];
	int64_t before = clock_now_ns() - STALE_NS;

	if (store_parts_pending(r->st, &call, bucket, &u, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		struct store_obj o = {bucket, u[i].key};
		bool live = false;

		if (u[i].started_ns >= before || strncmp(u[i].key, r->prefix, pre) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%.255s%s%.1023s",
			r->bucket[0] == '\0' ? bucket : "", r->bucket[0] == '\0' ? "/" : "",
			u[i].key + pre);
		{
			LOCKED(&j->g.lock);
			live = graph_claimed(j, r->id, path, NULL);
		}
		if (!live && store_parts_abort(r->st, &call, o, u[i].id, NULL) == 0)
			log_notice("job", "/%s/%s: an upload that was never finished is removed",
				r->name, path);
	}
	free(u);
}

static void sweep_remote(struct jobs *j, const struct remote *r)
{
	struct store_call call = {.cancel = &j->stopping};
	char **names = NULL;
	size_t n = 0;

	if (r->bucket[0] != '\0') {
		sweep_bucket(j, r, r->bucket);
		return;
	}
	if (store_bucket_list(r->st, &call, &names, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		sweep_bucket(j, r, names[i]);
		free(names[i]);
	}
	free(names);
}

void uploads_sweep(struct jobs *j)
{
	for (size_t i = 0; i < j->conf.nremotes; i++)
		sweep_remote(j, &j->conf.remotes[i]);
}

static void sweep_task(struct pool_task *t)
{
	struct jobs *j = container_of(t, struct jobs, sweep);

	lock_take(&j->g.lock);
	if (!j->g.running) {
		lock_drop(&j->g.lock);
		return;
	}
	j->g.steps++; /* jobs_stop waits */
	lock_drop(&j->g.lock);
	uploads_sweep(j);
	lock_take(&j->g.lock);
	if (j->g.running)
		pool_post_at(j->conf.pool, t, clock_mono_ns() + EVERY_NS);
	if (--j->g.steps == 0)
		(void)pthread_cond_broadcast(&j->idle);
	lock_drop(&j->g.lock);
}

void uploads_init(struct jobs *j)
{
	pool_task_init(&j->sweep, LANE_BACKGROUND, sweep_task);
	/* A cloud that hangs holds up the sweep, and the sweep nothing else. */
	pool_task_share(&j->sweep, pool_share_new(j->conf.pool, 1));
}

void uploads_start(struct jobs *j)
{
	if (!j->conf.ro)
		pool_post_at(j->conf.pool, &j->sweep, clock_mono_ns() + FIRST_NS);
}

void uploads_stop(struct jobs *j)
{
	(void)pool_cancel(j->conf.pool, &j->sweep);
}
