/* SPDX-License-Identifier: MIT */
/*
 * A token is renewed when a fifth of its time is left, at the latest 5 minutes before its end; who
 * finds it so fetches, and all others go on with it. When fetching fails and the old one has
 * ended, that failure is everybody's for a second: a dead token service is asked once a second,
 * not by each request.
 */
#include "token.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "layer.h"

#define EARLY_NS_MAX (300 * NS_PER_S)
#define FAILED_NS    (1 * NS_PER_S)
#define WAIT_POLL_NS (100 * NS_PER_MS)

void token_done(struct token *t)
{
	if (t->text)
		explicit_bzero(t->text, strlen(t->text));
	free(t->text);
	*t = (struct token){0};
}

void token_cache_init(struct token_cache *t,
	errint_t (*fetch)(
		void *arg, const struct store_call *c, struct token *ret, struct err *err),
	void *arg)
{
	*t = (struct token_cache){.fetch = fetch, .arg = arg};
	lock_init(&t->lock, RANK_STORE_D, "token");
	cond_init(&t->changed);
}

void token_cache_done(struct token_cache *t)
{
	token_done(&t->shared.now);
	lock_done(&t->lock);
	(void)pthread_cond_destroy(&t->changed);
}

static bool holds_locked(const struct token_cache *t, int64_t now)
{
	return t->shared.now.text && !t->shared.refused && now < t->shared.now.until_mono_ns;
}

static bool due_locked(const struct token_cache *t, int64_t now)
{
	int64_t life = t->shared.now.until_mono_ns - t->shared.from_mono_ns;

	return now >= t->shared.now.until_mono_ns - MIN_OF(life / 5, EARLY_NS_MAX);
}

static void fetch_locked(struct token_cache *t, const struct store_call *c)
{
	struct token fresh = {0};
	struct err err = {0};
	errint_t r;

	t->shared.fetching = true;
	lock_drop(&t->lock);
	r = t->fetch(t->arg, c, &fresh, &err);
	assert(r || fresh.text);
	if (!r && fresh.until_mono_ns <= clock_mono_ns())
		r = err_set(&err, -EACCES, ERR_AUTH, "the token that came has ended already");
	lock_take(&t->lock);
	t->shared.fetching = false;
	if (r) {
		token_done(&fresh);
		/* One caller's end of patience is nothing that the service said. */
		t->shared.failed_until_ns =
			err.kind == ERR_CANCELLED ? 0 : clock_mono_ns() + FAILED_NS;
		t->shared.failed = err;
		t->shared.failed_r = r;
	} else {
		token_done(&t->shared.now);
		t->shared.now = fresh;
		t->shared.from_mono_ns = clock_mono_ns();
		t->shared.number++;
		t->shared.refused = false;
		t->shared.failed_until_ns = 0;
	}
	(void)pthread_cond_broadcast(&t->changed);
}

errint_t token_get(struct token_cache *t, const struct store_call *c, struct buf *ret,
	unsigned *ret_number, struct err *err)
{
	bool asked = false;

	LOCKED(&t->lock);
	for (;;) {
		int64_t now = clock_mono_ns();
		errint_t r;

		if (holds_locked(t, now)) {
			bool again = due_locked(t, now) && !t->shared.fetching && !asked &&
				     now >= t->shared.failed_until_ns;

			if (!again) {
				*ret_number = t->shared.number;
				return buf_adds(ret, t->shared.now.text);
			}
		} else if (now < t->shared.failed_until_ns) {
			if (err)
				*err = t->shared.failed;
			return t->shared.failed_r;
		} else if (t->shared.fetching) {
			r = call_check(c, err);
			if (r)
				return r;
			(void)cond_wait_until(&t->changed, &t->lock, now + WAIT_POLL_NS);
			continue;
		}
		asked = true;
		fetch_locked(t, c);
		r = call_check(c, err);
		if (r)
			return r;
	}
}

void token_refused(struct token_cache *t, unsigned number)
{
	LOCKED(&t->lock);
	if (t->shared.number == number)
		t->shared.refused = true;
}
