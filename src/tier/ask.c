/* SPDX-License-Identifier: MIT */
/*
 * Classes that listings did not tell, of files about which a pass is to decide: asked for side by
 * side, a bounded number at a time. A cloud that does not answer is not asked again in that pass.
 */
#include "tier_priv.h"

#include <errno.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define POLL_NS	 (50 * NS_PER_MS)
#define VAIN_MAX 16

static void on_answer(struct job_waiter *w, errint_t r)
{
	struct tier_asking *one = container_of(w, struct tier_asking, waiter);
	struct tier_asks *s = one->of;
	LOCKED(&s->lock);

	one->busy = false;
	s->nbusy--;
	/* Some may not be asked, or are gone: others may. */
	s->nvain += r && r != -ENODATA && r != -ENOENT && r != -EACCES;
	(void)pthread_cond_broadcast(&s->ended);
}

void tier_asks_init(struct tier_asks *s, struct jobs *jobs, const atomic_bool *cancel)
{
	memset(s, 0, sizeof(*s));
	s->jobs = jobs;
	s->cancel = cancel;
	lock_init(&s->lock, RANK_TIER, "tier asks");
	cond_init(&s->ended);
}

void tier_asks_done(struct tier_asks *s)
{
	(void)pthread_cond_destroy(&s->ended);
	lock_done(&s->lock);
}

/* Those that have not ended are left alone. */
static void leave_all(struct tier_asks *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(s->one); i++) {
		bool busy;

		lock_take(&s->lock);
		busy = s->one[i].busy;
		lock_drop(&s->lock);
		if (!busy || !job_wait_cancel(s->jobs, &s->one[i].waiter))
			continue; /* it is about to be called */
		lock_take(&s->lock);
		s->one[i].busy = false;
		s->nbusy--;
		lock_drop(&s->lock);
	}
}

/* Until at most so many are under way. */
static void wait_for(struct tier_asks *s, unsigned most)
{
	lock_take(&s->lock);
	while (s->nbusy > most) {
		(void)cond_wait_until(&s->ended, &s->lock, clock_mono_ns() + POLL_NS);
		if (s->nbusy <= most || !s->cancel || !atomic_load(s->cancel))
			continue;
		lock_drop(&s->lock);
		leave_all(s);
		lock_take(&s->lock);
	}
	lock_drop(&s->lock);
}

void tier_ask(struct tier_asks *s, const struct meta_inode *in)
{
	struct tier_asking *one = s->one;

	wait_for(s, TIER_ASKS - 1);
	lock_take(&s->lock);
	if (s->nvain >= VAIN_MAX || (s->cancel && atomic_load(s->cancel))) {
		lock_drop(&s->lock);
		return;
	}
	while (one->busy)
		one++;
	memset(one, 0, sizeof(*one));
	one->of = s;
	one->waiter.fn = on_answer;
	one->busy = true;
	s->nbusy++;
	lock_drop(&s->lock);
	job_class_ask(s->jobs, in, false, &one->waiter);
}

void tier_asks_wait(struct tier_asks *s)
{
	wait_for(s, 0);
}
