/* SPDX-License-Identifier: MIT */
/*
 * The class of an object, where a LIST does not tell it (caps.head_class): asked for when somebody
 * needs it, by one HEAD for each version, and kept in the row, with the metadata, which comes
 * along. Until then nobody may take it for that of HOT.
 */
#include <string.h>

#include "job_priv.h"

struct ask {
	UT_hash_handle hh; /* g.lock */
	uint64_t ino;
	TAILQ_HEAD(, job_waiter) waiters; /* g.lock */
	struct pool_task task;
	struct jobs *jobs;
	bool front;
};

bool job_class_unknown(struct jobs *j, const struct meta_inode *in)
{
	const struct remote *r = NULL;

	if (in->kind != META_FILE || (in->flags & META_F_OBJECT) == 0 || in->class_name[0] != '\0')
		return false;
	r = remote_of(j, in->loc.remote);
	return r != NULL && r->caps.head_class;
}

static bool same_version(const struct meta_inode *a, const struct meta_inode *b)
{
	return a->loc.remote == b->loc.remote && strcmp(a->loc.path, b->loc.path) == 0 &&
	       strcmp(a->loc.etag, b->loc.etag) == 0;
}

/* What st says, into the row of the version that was asked for; *in is the row as it is then. */
static errint_t learn(struct jobs *j, struct meta_inode *in, const struct store_stat *st)
{
	struct meta_txn *t = meta_begin(j->conf.meta);
	struct meta_inode now;
	errint_t r = meta_inode_get(t, in->ino, &now);
	bool is = r == 0 && job_class_unknown(j, &now) && same_version(&now, in);

	if (is) {
		int64_t since = now.tier_since_ns; /* it was in that tier before it was asked */

		r = attrs_learn(j, t, &now, st);
		job_loc_set(&now, j, now.loc.remote, NULL, st);
		now.tier_since_ns = since;
		r = r == 0 ? meta_inode_put(t, &now) : r;
	}
	if (r < 0 && r != -ENOENT)
		meta_txn_fail(t, r);
	bool same = r == 0 && same_version(&now, in);

	r = meta_commit(t);
	if (r < 0)
		return r;
	if (same)
		*in = now;
	if (is)
		j->conf.hooks.inode_changed(j->conf.hooks.arg, in->ino, false);
	return 0;
}

errint_t class_ask(
	struct jobs *j, const struct store_call *call, struct meta_inode *in, struct err *err)
{
	struct store_stat st = {0};
	struct objref o;
	errint_t r = objref_make(j, in->loc.remote, in->loc.path, &o, err);

	count_inc(class_asks);
	if (r == 0)
		r = store_head(o.st, call, o.o, &st, err);
	if (r < 0)
		return r;
	if (strcmp(st.etag, in->loc.etag) != 0)
		r = err_set(err, -ESTALE, ERR_STALE, "it was changed by somebody else");
	else if ((r = learn(j, in, &st)) < 0)
		(void)err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	store_stat_done(&st);
	return r;
}

errint_t class_need(struct job *job, struct meta_inode *in, struct err *err)
{
	struct store_call call;

	if (!job_class_unknown(job->jobs, in))
		return 0;
	call_init(&call, job);
	errint_t r = class_ask(job->jobs, &call, in, err);

	if (r < 0 && (err->kind == ERR_STALE || err->kind == ERR_NOT_FOUND)) {
		err_clear(err); /* as the request says that comes next */
		return 0;
	}
	return r;
}

errint_t class_for(struct job *job, struct meta_inode *in, uint32_t remote, struct err *err)
{
	const struct remote *r = remote_of(job->jobs, remote);

	/* A copy inside a cloud has the class of its source, whatever that is. */
	if (remote == in->loc.remote && r != NULL && r->caps.copy && r->caps.conditional_copy)
		return 0;
	return class_need(job, in, err);
}

void copy_set(struct meta_inode *in, struct jobs *j, struct meta_txn *t, uint32_t remote,
	const char *path, const struct store_stat *st)
{
	bool unknown = job_class_unknown(j, in);
	errint_t r = unknown ? attrs_learn(j, t, in, st) : 0;

	if (r < 0)
		meta_txn_fail(t, r);
	job_loc_set(in, j, remote, path, st);
	if (unknown)
		j->conf.hooks.inode_changed(j->conf.hooks.arg, in->ino, false);
}

/* ---- for others ---- */

static errint_t ask_now(struct ask *a)
{
	struct jobs *j = a->jobs;
	struct store_call call = {.cancel = &j->stopping, .front = a->front};
	struct meta_inode in;
	struct err err = {0};
	char path[META_PATH_MAX + 66] = "?";
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, a->ino, &in);

	(void)meta_path(t, a->ino, path, sizeof(path));
	meta_abort(t);
	if (r < 0 || !job_class_unknown(j, &in))
		return r;
	r = class_ask(j, &call, &in, &err);
	if (r < 0 && (err.kind == ERR_STALE || err.kind == ERR_NOT_FOUND))
		return -ENODATA; /* the next listing knows better */
	if (r < 0 && !atomic_load(&j->stopping) &&
		log_seldom("ask %u %d %d %s", in.loc.remote, r, (int)err.kind, err.code))
		log_warn("job", "%s: its class cannot be asked for: %s", path, err_text(&err, r));
	return r;
}

static void ask_task(struct pool_task *task)
{
	struct ask *a = container_of(task, struct ask, task);
	struct jobs *j = a->jobs;
	TAILQ_HEAD(, job_waiter) told = TAILQ_HEAD_INITIALIZER(told);
	struct job_waiter *w = NULL;
	errint_t r = ask_now(a);

	lock_take(&j->g.lock);
	HASH_DEL(j->g.asks, a);
	while ((w = TAILQ_FIRST(&a->waiters)) != NULL) {
		TAILQ_REMOVE(&a->waiters, w, link);
		w->armed = false;
		w->ask = NULL;
		TAILQ_INSERT_TAIL(&told, w, link);
	}
	lock_drop(&j->g.lock);
	while ((w = TAILQ_FIRST(&told)) != NULL) {
		TAILQ_REMOVE(&told, w, link);
		w->fn(w, r);
	}
	free(a);
	LOCKED(&j->g.lock);
	if (--j->g.nasks == 0)
		(void)pthread_cond_broadcast(&j->idle);
}

static struct ask *ask_new_locked(struct jobs *j, const struct meta_inode *in, bool front)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->ino = in->ino;
	a->jobs = j;
	a->front = front;
	TAILQ_INIT(&a->waiters);
	pool_task_init(&a->task, front ? LANE_FOREGROUND : LANE_BACKGROUND, ask_task);
	pool_task_share(
		&a->task, share_get_locked(j, SHARE_ASKS, in->loc.remote, in->loc.remote)->pool);
	HASH_ADD(hh, j->g.asks, ino, sizeof(a->ino), a);
	j->g.nasks++;
	return a;
}

void job_class_ask(struct jobs *j, const struct meta_inode *in, bool front, struct job_waiter *w)
{
	struct ask *a = NULL;
	bool post = false;

	lock_take(&j->g.lock);
	HASH_FIND(hh, j->g.asks, &in->ino, sizeof(in->ino), a);
	if (a == NULL) {
		a = ask_new_locked(j, in, front);
		post = a != NULL;
	}
	if (a != NULL) {
		w->ino = in->ino;
		w->ask = a;
		w->armed = true;
		TAILQ_INSERT_TAIL(&a->waiters, w, link);
	}
	lock_drop(&j->g.lock);
	if (a == NULL)
		w->fn(w, -ENOMEM);
	else if (post)
		(void)pool_post(j->conf.pool, &a->task);
}

void ask_leave_locked(struct job_waiter *w)
{
	TAILQ_REMOVE(&w->ask->waiters, w, link);
	w->ask = NULL;
}
