/* SPDX-License-Identifier: MIT */
/*
 * Work that nobody waits for stands back while somebody works. A job of a small file costs the
 * processor, the index and a local store's disk as much as the change that it follows: beside each
 * other, `cp -r` and `rm -r` take twice the time. So while many files a second are changed, uploads
 * and removals wait for a pause, each for STAND_BACK_NS at most; what somebody waits for does not,
 * and neither does anything when the graph or the cache fill up.
 *
 * Nothing follows a removal that could be spared, so that a pause of GAP_NS is enough for one. When
 * it looks like one, the sync point that comes before them is asked for already.
 */
#include "job_priv.h"

#define WINDOW_NS     (100 * NS_PER_MS)
#define MANY	      30 /* changes within a window */
#define STAND_BACK_NS (8 * NS_PER_S)
#define GAP_NS	      (50 * NS_PER_MS) /* without a change */
#define LIKELY_NS     (15 * NS_PER_MS) /* the same: it may be one */
#define LOOK_NS	      (20 * NS_PER_MS) /* how soon a pause is seen */
#define FULL_NS	      (1 * NS_PER_S)   /* so long a full cache counts as one */
#define TRY_NS	      (10 * NS_PER_S)  /* between tries of what rests, while it is */

void job_foreground(struct jobs *j)
{
	int64_t window = clock_mono_ns() / WINDOW_NS;
	LOCKED(&j->front.lock);

	if (window > j->front.window) {
		j->front.busy = window == j->front.window + 1 && j->front.n >= MANY;
		j->front.window = window;
		j->front.n = 0;
	}
	j->front.n++;
	j->front.last_ns = MAX_OF(j->front.last_ns, clock_mono_ns());
}

static int64_t quiet_ns(struct jobs *j)
{
	LOCKED(&j->front.lock);

	return clock_mono_ns() - j->front.last_ns;
}

int64_t job_stand_back(struct jobs *j)
{
	int64_t window = clock_mono_ns() / WINDOW_NS;
	LOCKED(&j->front.lock);

	if (clock_mono_ns() < j->front.full_ns)
		return 0;
	if (j->front.n >= MANY)
		return window - j->front.window <= 1 ? STAND_BACK_NS : 0;
	return j->front.busy && window == j->front.window ? STAND_BACK_NS : 0;
}

bool foreground_holds_locked(struct jobs *j, const struct job *job)
{
	int64_t back = 0, now = clock_mono_ns(), quiet = 0;

	lock_assert_held(&j->g.lock);
	if (j->g.nlive < j->conf.queue_max / 2)
		back = job_stand_back(j);
	if (back == 0 || now - job->g.ready_ns >= back)
		return false;
	quiet = quiet_ns(j);
	if (quiet >= GAP_NS)
		return false;
	if (quiet >= LIKELY_NS)
		meta_sync_wanted(j->conf.meta);
	if (now >= j->g.look_ns) { /* not for each change */
		j->g.look_ns = now + LOOK_NS;
		pool_post_at(j->conf.pool, &j->front.task, j->g.look_ns);
	}
	return true;
}

/* After failures a job rests for minutes: longer than somebody waits for room. A few of them tell
 * whether their cloud is back; those that it is not wait behind the others. And what only rests
 * because its file may change again is what fills the cache. */
static void try_resting(struct jobs *j)
{
	struct job *job = NULL, *next = NULL;
	unsigned left = j->conf.active_max;
	LOCKED(&j->g.lock);

	for (job = TAILQ_FIRST(&j->g.asleep); job != NULL && left != 0; job = next) {
		next = TAILQ_NEXT(job, ready);
		if ((job->own.tries == 0 && !job->g.beside) || job->kind != JOB_UPLOAD)
			continue;
		sched_unlist_locked(j, job);
		sched_make_ready_locked(j, job);
		left--;
	}
}

void job_cache_full(struct jobs *j)
{
	int64_t now = clock_mono_ns();
	bool begins = false, tries = false;
	{
		LOCKED(&j->front.lock);
		begins = now >= j->front.full_ns;
		tries = now - j->front.tried_ns >= TRY_NS || j->front.tried_ns == 0;
		j->front.full_ns = now + FULL_NS;
		if (tries)
			j->front.tried_ns = now;
	}
	if (tries)
		try_resting(j);
	if (begins || tries)
		sched_pump(j);
}

bool cache_is_full(struct jobs *j)
{
	LOCKED(&j->front.lock);

	return clock_mono_ns() < j->front.full_ns;
}

static void pause_task(struct pool_task *t)
{
	struct jobs *j = container_of(t, struct jobs, front.task);

	lock_take(&j->g.lock);
	j->g.look_ns = 0; /* whoever is still held back asks for the next one */
	lock_drop(&j->g.lock);
	sched_pump(j);
}

void foreground_init(struct jobs *j)
{
	lock_init(&j->front.lock, RANK_JOB_FRONT, "jobs.front");
	pool_task_init(&j->front.task, LANE_SYNC, pause_task);
}

void foreground_done(struct jobs *j)
{
	lock_done(&j->front.lock);
}
