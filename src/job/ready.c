/* SPDX-License-Identifier: MIT */
/*
 * An endpoint that may not hold conditions is asked before the first of them matters (store_ready),
 * which takes a few round trips. So it is asked when something is opened for writing or a job is
 * posted, not when the first upload is due, and all of it side by side. A mount that only reads
 * asks nothing. What is found out goes into the index, as value "learned:NAME", for later mounts;
 * the store knows what of it to believe, and for how long.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define AGAIN_NS (30 * NS_PER_S) /* after a failure; whoever writes meanwhile asks for himself */
#define KEY_MAX	 (STORE_REMOTE_MAX + 16)
#define TEXT_MAX 8192

struct ready { /* of one remote */
	struct jobs *j;
	const struct remote *remote;
	atomic_bool begun;
	atomic_bool failed;
	atomic_uint left;	/* tasks that have not ended */
	_Atomic int64_t not_ns; /* mono: not begun again before */
	char bucket[STORE_BUCKET_MAX + 1];
	struct question {
		struct pool_task task;
		struct ready *of;
	} ask[STORE_READY_N];
};

static void key_of(const struct ready *y, char ret[KEY_MAX])
{
	(void)snprintf(ret, KEY_MAX, "learned:%s", y->remote->name);
}

/* What the index has, "" when nothing. */
static void kept(struct ready *y, char ret[TEXT_MAX])
{
	struct meta_txn *t = meta_begin_read(y->j->conf.meta);
	char key[KEY_MAX];
	size_t len = 0;

	key_of(y, key);
	if (meta_kv_get(t, key, ret, TEXT_MAX - 1, &len) < 0)
		len = 0;
	ret[len] = '\0';
	meta_abort(t);
}

/* Only what is new is written. When it cannot be, the next mount asks again. */
static void keep(struct ready *y)
{
	cleanup_buf struct buf b = BUF_INIT(TEXT_MAX - 1);
	cleanup_free char *was = malloc(TEXT_MAX);
	char key[KEY_MAX];

	store_learned(y->remote->st, &b);
	if (was == NULL || b.failed < 0 || b.len == 0)
		return;
	kept(y, was);
	if (strcmp(was, b.p) == 0)
		return;
	struct meta_txn *t = meta_begin(y->j->conf.meta);

	key_of(y, key);
	(void)meta_kv_put(t, key, b.p, b.len);
	errint_t r = meta_commit(t);

	if (r < 0)
		log_debug("job", "%s is not kept: %s", key, strerror(-r));
}

static void ready_task(struct pool_task *task)
{
	struct question *q = container_of(task, struct question, task);
	struct ready *y = q->of;
	struct jobs *j = y->j;
	struct store_call call = {.cancel = &j->stopping};
	struct err err = {0};
	errint_t r =
		store_ready(y->remote->st, &call, y->bucket, (enum store_ready)(q - y->ask), &err);

	if (r < 0) {
		log_debug("job", "remote %s: what it holds is not known yet: %s", y->remote->name,
			err_text(&err, r));
		atomic_store(&y->failed, true);
	}
	if (atomic_fetch_sub(&y->left, 1) == 1) {
		keep(y);
		if (atomic_load(&y->failed)) {
			atomic_store(&y->not_ns, clock_mono_ns() + AGAIN_NS);
			atomic_store(&y->begun, false);
		}
	}
	LOCKED(&j->g.lock);
	if (--j->g.nready == 0)
		(void)pthread_cond_broadcast(&j->idle);
}

static void begin(struct ready *y, const char *path)
{
	struct jobs *j = y->j;
	size_t len = y->remote->bucket[0] != '\0' ? 0 : strcspn(path, "/");
	LOCKED(&j->g.lock);

	if (!j->g.running || (y->remote->bucket[0] == '\0' && len == 0) || len > STORE_BUCKET_MAX) {
		atomic_store(&y->begun, false);
		return;
	}
	if (len == 0)
		(void)snprintf(y->bucket, sizeof(y->bucket), "%s", y->remote->bucket);
	else
		(void)snprintf(y->bucket, sizeof(y->bucket), "%.*s", (int)len, path);
	atomic_store(&y->failed, false);
	atomic_store(&y->left, STORE_READY_N);
	struct share *s = share_get_locked(j, SHARE_JOBS, y->remote->id, y->remote->id);

	for (unsigned i = 0; i < STORE_READY_N; i++) {
		struct question *q = &y->ask[i];

		pool_task_share(&q->task, s->pool);
		j->g.nready++;
		(void)pool_post(j->conf.pool, &q->task);
	}
}

void ready_begin(struct jobs *j, uint32_t remote, const char *path)
{
	struct ready *y = NULL;

	for (size_t i = 0; i < j->conf.nremotes && y == NULL; i++)
		if (j->conf.remotes[i].id == remote)
			y = &j->ready[i];
	if (y == NULL || atomic_load(&y->begun) || clock_mono_ns() < atomic_load(&y->not_ns) ||
		atomic_exchange(&y->begun, true))
		return;
	begin(y, path);
}

void job_will_write(struct jobs *j, const struct meta_inode *in)
{
	char prefix[META_PATH_MAX + 1];
	uint32_t remote = in->loc.remote;
	const char *path = in->loc.path;
	bool any = false;

	for (size_t i = 0; i < j->conf.nremotes && !any; i++)
		any = !atomic_load(&j->ready[i].begun);
	if (!any)
		return;
	if ((in->flags & META_F_OBJECT) == 0) {
		struct meta_txn *t = meta_begin_read(j->conf.meta);

		if (meta_dir_prefix(t, in->parent, &remote, prefix) < 0)
			remote = 0;
		meta_abort(t);
		path = prefix;
	}
	if (remote != 0)
		ready_begin(j, remote, path);
}

errint_t ready_open(struct jobs *j)
{
	cleanup_free char *text = malloc(TEXT_MAX);

	j->ready = calloc(j->conf.nremotes + 1, sizeof(*j->ready));
	if (j->ready == NULL || text == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < j->conf.nremotes; i++) {
		struct ready *y = &j->ready[i];

		y->j = j;
		y->remote = &j->conf.remotes[i];
		for (unsigned k = 0; k < STORE_READY_N; k++) {
			pool_task_init(&y->ask[k].task, LANE_SYNC, ready_task);
			y->ask[k].of = y;
		}
		if (!y->remote->caps.asks || j->conf.ro) {
			atomic_store(&y->begun, true);
			continue;
		}
		kept(y, text);
		store_recall(y->remote->st, text);
	}
	return 0;
}

void ready_close(struct jobs *j)
{
	free(j->ready);
}
