/* SPDX-License-Identifier: MIT */
/*
 * The LIST requests of a listing. While a page goes into the index the next one is asked for, by a
 * task of the share that asks about single objects: listings never wait for each other in it.
 * Nobody waits for a task that gets no worker: it is taken back, and the listing's own task asks.
 */
#include <stdlib.h>
#include <string.h>

#include "merge.h"

struct pages {
	struct merge *m;
	const struct objref *o;
	struct pool_task task;
	bool posted;
	struct lock lock; /* RANK_JOB_PARTS */
	pthread_cond_t over;
	struct {
		bool over; /* the task is */
	} at;		   /* lock */
	/* The task's while it is posted: */
	char token[STORE_TOKEN_MAX];
	struct store_page page;
	errint_t r;
	struct err err;
};

static void ask(struct pages *g)
{
	struct jobs *j = g->m->j;
	struct store_call call = {.cancel = &j->stopping, .front = g->m->but == NULL};

	g->page = (struct store_page){0};
	err_clear(&g->err);
	g->r = store_list(g->o->st, &call, g->o->o.bucket, g->o->o.key, '/', g->token,
		STORE_PAGE_MAX, &g->page, &g->err);
}

static void page_task(struct pool_task *t)
{
	struct pages *g = container_of(t, struct pages, task);

	ask(g);
	LOCKED(&g->lock);
	g->at.over = true;
	(void)pthread_cond_signal(&g->over);
}

static void ask_ahead(struct pages *g)
{
	struct jobs *j = g->m->j;
	struct pool_share *share = NULL;
	{
		LOCKED(&j->g.lock);
		share = share_get_locked(j, SHARE_ASKS, g->m->remote, g->m->remote)->pool;
	}
	pool_task_init(&g->task, g->m->but == NULL ? LANE_FOREGROUND : LANE_BACKGROUND, page_task);
	pool_task_share(&g->task, share);
	g->at.over = false; /* no task has it */
	g->posted = true;
	(void)pool_post(j->conf.pool, &g->task);
}

/* False: the task has not begun, and will not. */
static bool ahead_done(struct pages *g)
{
	if (!g->posted)
		return false;
	g->posted = false;
	if (pool_cancel(g->m->j->conf.pool, &g->task))
		return false;
	LOCKED(&g->lock);
	while (!g->at.over)
		cond_wait(&g->over, &g->lock);
	return true;
}

struct pages *pages_new(struct merge *m, const struct objref *o)
{
	struct pages *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->m = m;
	g->o = o;
	lock_init(&g->lock, RANK_JOB_PARTS, "job.pages");
	cond_init(&g->over);
	return g;
}

errint_t pages_next(struct pages *g, struct store_page *ret, struct err *err)
{
	if (!ahead_done(g))
		ask(g);
	*ret = g->page;
	g->page = (struct store_page){0};
	if (g->r < 0) {
		*err = g->err;
		return g->r;
	}
	memcpy(g->token, ret->next, sizeof(g->token));
	if (ret->truncated)
		ask_ahead(g);
	return 0;
}

void pages_free(struct pages *g)
{
	if (g == NULL)
		return;
	if (ahead_done(g) && g->r == 0)
		store_page_done(&g->page);
	(void)pthread_cond_destroy(&g->over);
	lock_done(&g->lock);
	free(g);
}
