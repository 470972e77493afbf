/* SPDX-License-Identifier: MIT */
/*
 * The batch layer over a driver that does as it is told: what goes together, what each caller is
 * told, who may leave when, and how a request is counted.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "store/layer.h"

#define ASKS_MAX 64
#define BESIDE	 4 /* as in batch.c */

/* ---- a driver ---- */

static struct fake {
	struct store store;
	pthread_mutex_t lock; /* all below */
	bool cond;	      /* conditions hold in batches */
	bool closed;	      /* requests wait until it is not */
	unsigned looked;      /* how often somebody asked what it can do: before a removal queues */
	unsigned inside;      /* requests that wait */
	unsigned singles, manys, keys;
	size_t last, largest; /* keys of batches */
	int64_t left_ns;      /* until the deadline of the last one, when it came */
	errint_t many_r;      /* what batches fail with, as a whole */
	enum err_kind many_kind;
	bool mute; /* an answer speaks of no key */
	bool mixed,
		twice; /* what must not be: another bucket's key, or one that is there already */
	char order[4000];
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fake_caps(struct store *s, struct store_caps *ret)
{
	pthread_mutex_lock(&fake.lock);
	*ret = (struct store_caps){.key_max = 1000,
		.parts_max = 1,
		.remove_batch = 1000,
		.remove_batch_cond = fake.cond};
	fake.looked++;
	pthread_mutex_unlock(&fake.lock);
}

/* Until the gate is open; the caller's end comes as in a request that was sent. */
static errint_t gate(const struct store_call *c, struct err *err)
{
	errint_t r = 0;

	pthread_mutex_lock(&fake.lock);
	fake.inside++;
	while (fake.closed && !r) {
		pthread_mutex_unlock(&fake.lock);
		usleep(1000);
		r = call_check(c, err);
		pthread_mutex_lock(&fake.lock);
	}
	fake.inside--;
	if (r)
		err->kind = ERR_UNKNOWN;
	pthread_mutex_unlock(&fake.lock);
	return r;
}

/* By the key's first letters: what becomes of it. */
static errint_t outcome(const char *key, const char *if_match, bool many, enum err_kind *ret)
{
	static const struct {
		const char *key;
		errint_t r;
		enum err_kind kind;
		bool many_only;
	} t[] = {{"gone", -ENOENT, ERR_NOT_FOUND, false}, {"other", -ESTALE, ERR_STALE, false},
		{"deny", -EACCES, ERR_AUTH, false}, {"slow", -EAGAIN, ERR_THROTTLE, true},
		{"silent", -EIO, ERR_UNKNOWN, true}};

	*ret = ERR_NONE;
	if (if_match && !strcmp(if_match, "old")) {
		*ret = ERR_STALE;
		return -ESTALE;
	}
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		if (strncmp(key, t[i].key, strlen(t[i].key)) != 0 || (t[i].many_only && !many))
			continue;
		*ret = t[i].kind;
		return t[i].r;
	}
	return 0;
}

static errint_t fake_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	errint_t r = gate(c, err);
	enum err_kind kind;

	if (r)
		return r;
	pthread_mutex_lock(&fake.lock);
	fake.singles++;
	fake.keys++;
	r = outcome(o.key, if_match, false, &kind);
	pthread_mutex_unlock(&fake.lock);
	return r ? err_set(err, r, kind, "single %s", o.key) : 0;
}

static errint_t fake_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	struct store_removal *v, size_t n, struct err *err)
{
	errint_t r;

	pthread_mutex_lock(&fake.lock);
	fake.manys++;
	fake.last = n;
	fake.left_ns = c->deadline_mono_ns - clock_mono_ns();
	fake.largest = MAX_OF(fake.largest, n);
	for (size_t i = 0; i < n; i++) {
		fake.mixed |= strchr(v[i].key, '@') && strcmp(strchr(v[i].key, '@') + 1, bucket);
		for (size_t k = 0; k < i; k++)
			fake.twice |= !strcmp(v[i].key, v[k].key);
	}
	pthread_mutex_unlock(&fake.lock);
	r = gate(c, err);
	if (r)
		return r;
	pthread_mutex_lock(&fake.lock);
	r = fake.many_r;
	fake.keys += r ? 0 : (unsigned)n;
	if (r)
		err_set(err, r, fake.many_kind, "whole");
	for (size_t i = 0; i < n && !r && !fake.mute; i++) /* the strings are still there */
		v[i].r = outcome(v[i].key, v[i].if_match, true, &v[i].kind);
	pthread_mutex_unlock(&fake.lock);
	return r;
}

static void fake_destroy(struct store *s)
{
}

static const struct store_ops fake_ops = {.name = "fake",
	.caps = fake_caps,
	.remove = fake_remove,
	.remove_many = fake_remove_many,
	.destroy = fake_destroy};

static struct store *stack(void)
{
	struct store *s;

	fake = (struct fake){
		.store = {&fake_ops, NULL}, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = true};
	s = store_batch_new(store_stats_new(&fake.store));
	assert_non_null(s);
	return s;
}

static void set_closed(bool closed)
{
	pthread_mutex_lock(&fake.lock);
	fake.closed = closed;
	pthread_mutex_unlock(&fake.lock);
}

static unsigned get(const unsigned *at)
{
	unsigned v;

	pthread_mutex_lock(&fake.lock);
	v = *at;
	pthread_mutex_unlock(&fake.lock);
	return v;
}

static void wait_for(const unsigned *at, unsigned want)
{
	for (unsigned i = 0; get(at) != want; i++) {
		if (i > 20000)
			fail_msg("%u, and never %u", get(at), want);
		usleep(1000);
	}
}

/* ---- those who ask ---- */

struct ask {
	pthread_t thread;
	struct store *s;
	struct store_obj o;
	const char *if_match;
	struct store_call c;
	atomic_bool cancel, told;
	bool joined;
	errint_t r;
	struct err err;
	char key[64];
};
static struct ask asks[ASKS_MAX];
static unsigned nasks;
static bool plain; /* they call store_remove */

static void ask_wake(void *arg, uint64_t id, bool first)
{
	atomic_store(&((struct ask *)arg)->told, true);
}

/* A thread that does as a job does: it is told, or leaves. */
static errint_t remove_it(struct ask *a, const struct store_call *c)
{
	struct store_wait *w = NULL;
	errint_t r;

	atomic_store(&a->told, false);
	r = store_remove_or_wait(a->s, c, a->o, a->if_match, ask_wake, a, 0, &w, &a->err);
	while (r == -EINPROGRESS) {
		while (!atomic_load(&a->told) && !atomic_load(c->cancel))
			usleep(500);
		if (!atomic_load(&a->told)) {
			store_remove_leave(w);
			return err_set(&a->err, -ECANCELED, ERR_CANCELLED, "left");
		}
		r = store_remove_end(w, c, &a->err);
	}
	return r;
}

static void *asker(void *arg)
{
	struct ask *a = arg;

	a->r = plain ? store_remove(a->s, &a->c, a->o, a->if_match, &a->err) : remove_it(a, &a->c);
	memset(a->key, '#', sizeof(a->key) - 1); /* nobody needs it any more */
	return NULL;
}

static struct ask *ask(struct store *s, const char *bucket, const char *name, const char *if_match)
{
	struct ask *a = &asks[nasks++];
	unsigned looked = get(&fake.looked);

	*a = (struct ask){.s = s, .if_match = if_match};
	(void)snprintf(a->key, sizeof(a->key), "%s", name);
	a->o = (struct store_obj){bucket, a->key};
	a->c.cancel = &a->cancel;
	assert_int_equal(pthread_create(&a->thread, NULL, asker, a), 0);
	for (unsigned i = 0; !plain && get(&fake.looked) == looked && i < 20000; i++)
		usleep(100);
	return a;
}

/* All places taken, by removals that wait at the gate. */
static void fill(struct store *s)
{
	nasks = 0;
	set_closed(true);
	for (unsigned i = 0; i < BESIDE; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "first%u", i);
		(void)ask(s, "b", name, "e");
	}
	wait_for(&fake.inside, BESIDE);
	assert_int_equal(get(&fake.manys), 0);
}

/* What was asked is in the queue, as good as surely. */
static void queued(void)
{
	usleep(50000);
}

static void join(struct ask *a)
{
	if (!a->joined)
		assert_int_equal(pthread_join(a->thread, NULL), 0);
	a->joined = true;
}

static void finish(void)
{
	set_closed(false);
	for (unsigned i = 0; i < nasks; i++)
		join(&asks[i]);
	assert_false(fake.mixed);
	assert_false(fake.twice);
}

/* ---- who is told ---- */

static struct {
	pthread_mutex_t lock;
	unsigned told[200];
	unsigned n, first;
} news = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note(void *arg, uint64_t id, bool first)
{
	assert_ptr_equal(arg, &news);
	pthread_mutex_lock(&news.lock);
	news.told[id]++;
	news.n++;
	news.first += first;
	pthread_mutex_unlock(&news.lock);
}

static unsigned told(uint64_t id)
{
	unsigned n;

	pthread_mutex_lock(&news.lock);
	n = news.told[id];
	pthread_mutex_unlock(&news.lock);
	return n;
}

static errint_t wait_for_turn(
	struct store *s, const char *key, uint64_t id, struct store_wait **ret, struct err *e)
{
	char own[32]; /* it keeps what it needs */
	errint_t r;

	(void)snprintf(own, sizeof(own), "%s", key);
	r = store_remove_or_wait(
		s, NULL, (struct store_obj){"b", own}, "e", note, &news, id, ret, e);
	memset(own, '#', sizeof(own));
	return r;
}

/* ---- tests ---- */

static void one_by_itself_is_single(void **state)
{
	struct store *s = stack();
	struct store_wait *w;
	struct err err;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(wait_for_turn(s, "k", 0, &w, &err), 0);
	assert_int_equal(wait_for_turn(s, "deny", 0, &w, &err), -EACCES);
	assert_string_equal(err.msg, "single deny");
	assert_int_equal(fake.singles, 11);
	assert_int_equal(fake.manys, 0);
	store_destroy(s);
}

static void calls_add(
	void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes, uint64_t us)
{
	*(uint64_t *)arg += calls;
}

static void what_waits_goes_together(void **state)
{
	struct store *s = stack();
	uint64_t calls = 0, batched = count_get(COUNT_store_batched);
	uint64_t requests = count_get(COUNT_store_requests);

	fill(s);
	for (unsigned i = 0; i < 40; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		(void)ask(s, "b", name, i % 2 ? "e" : NULL);
	}
	queued();
	finish();
	for (unsigned i = 0; i < nasks; i++)
		assert_int_equal(asks[i].r, 0);
	assert_int_equal(fake.keys, 44);
	assert_in_range(fake.manys, 1, 4);
	assert_in_range(fake.largest, 10, 40);
	/* a batch is one request */
	store_stats_each(s, calls_add, &calls);
	assert_int_equal(calls, fake.singles + fake.manys);
	assert_int_equal(count_get(COUNT_store_requests) - requests, calls);
	assert_in_range(count_get(COUNT_store_batched) - batched, 37, 40);
	store_destroy(s);
}

static void each_has_its_own_outcome(void **state)
{
	static const struct {
		const char *key, *if_match;
		errint_t r;
		enum err_kind kind;
		bool single; /* it was asked for again, by itself */
	} t[] = {{"fine", "e", 0, ERR_NONE, false}, {"gone", "e", -ENOENT, ERR_NOT_FOUND, false},
		{"other", "e", -ESTALE, ERR_STALE, false},
		{"fine2", "old", -ESTALE, ERR_STALE, false}, {"deny", "e", -EACCES, ERR_AUTH, true},
		{"slow", NULL, 0, ERR_NONE, true}, {"silent", "e", -EIO, ERR_UNKNOWN, false},
		{"fine3", NULL, 0, ERR_NONE, false}};
	struct store *s = stack();
	unsigned singles;

	fill(s);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		(void)ask(s, "b", t[i].key, t[i].if_match);
	queued();
	finish();
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct ask *a = &asks[BESIDE + i];

		if (t[i].kind == ERR_UNKNOWN && !a->r)
			continue; /* it was the one that went alone */
		assert_int_equal(a->r, t[i].r);
		if (t[i].r)
			assert_int_equal(a->err.kind, t[i].kind);
		if (t[i].r == -EACCES)
			assert_string_equal(a->err.msg, "single deny");
	}
	singles = fake.singles;
	assert_in_range(fake.manys, 1, 3);
	assert_in_range(singles, BESIDE + 2, BESIDE + 2 + 3);
	store_destroy(s);
}

static void buckets_and_doubles_stay_apart(void **state)
{
	struct store *s = stack();

	fill(s);
	for (unsigned i = 0; i < 10; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%u@b", i);
		(void)ask(s, "b", name, "e");
		(void)snprintf(name, sizeof(name), "%u@c", i);
		(void)ask(s, "c", name, "e");
		(void)ask(s, "b", "same@b", i ? "old" : "e");
	}
	queued();
	finish();
	for (unsigned i = 0; i < nasks; i++)
		assert_int_equal(asks[i].r, asks[i].if_match[0] == 'o' ? -ESTALE : 0);
	assert_true(fake.largest >= 3);
	store_destroy(s);
}

/* What the store would not hold goes by itself, with nobody to wait for. */
static void conditions_that_would_be_lost(void **state)
{
	struct store *s = stack();

	fill(s);
	pthread_mutex_lock(&fake.lock);
	fake.cond = false;
	pthread_mutex_unlock(&fake.lock);
	for (unsigned i = 0; i < 20; i++)
		(void)ask(s, "b", "x", "e");
	wait_for(&fake.inside, BESIDE + 20);
	for (unsigned i = 0; i < 20; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		(void)ask(s, "b", name, NULL);
	}
	queued();
	assert_int_equal(get(&fake.inside), BESIDE + 20);
	finish();
	assert_in_range(fake.manys, 1, 4);
	assert_int_equal(fake.keys, 44);
	store_destroy(s);
}

static void who_waits_may_leave(void **state)
{
	struct store *s = stack();
	struct ask *a;

	fill(s);
	/* in the queue: nothing was sent */
	a = ask(s, "b", "left", "e");
	queued();
	atomic_store(&a->cancel, true);
	join(a);
	assert_int_equal(a->r, -ECANCELED);
	assert_int_equal(a->err.kind, ERR_CANCELLED);
	finish();
	assert_int_equal(fake.keys, BESIDE);
	store_destroy(s);

	/* on its way: it may happen, and here it does */
	s = stack();
	fill(s);
	for (unsigned i = 0; i < 8; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		(void)ask(s, "b", name, "e");
	}
	queued();
	/* the first one ends, and gives its place to the last that came, which takes all along */
	atomic_store(&asks[0].cancel, true);
	wait_for(&fake.manys, 1);
	wait_for(&fake.inside, BESIDE);
	assert_int_equal(fake.last, 8);
	a = &asks[BESIDE + 2];
	atomic_store(&a->cancel, true);
	join(a);
	assert_int_equal(a->r, -ECANCELED);
	finish();
	for (unsigned i = 1; i < nasks; i++)
		assert_int_equal(asks[i].r, &asks[i] == a ? -ECANCELED : 0);
	assert_int_equal(asks[0].r, -ECANCELED);
	assert_int_equal(fake.keys, BESIDE - 1 + 8); /* also that of the one that left */
	store_destroy(s);
}

/* A server goes through many in turn, and what it has read it does: whoever leads has the time for
 * that, not only for a removal of his own. */
static void many_have_more_time(void **state)
{
	struct store *s = stack();

	fill(s);
	for (unsigned i = 0; i < 8; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		ask(s, "b", name, "e")->c.deadline_mono_ns = clock_mono_ns() + 20 * NS_PER_S;
	}
	queued();
	finish();
	assert_true(fake.manys > 0);
	assert_true(fake.left_ns > 110 * NS_PER_S);
	assert_true(fake.left_ns <= 120 * NS_PER_S);
	store_destroy(s);
}

/* Who cannot keep the key from what comes later goes by himself. */
static void who_only_removes_goes_alone(void **state)
{
	struct store *s = stack();

	fill(s);
	plain = true;
	for (unsigned i = 0; i < 8; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		(void)ask(s, "b", name, "e");
	}
	wait_for(&fake.inside, BESIDE + 8);
	finish();
	plain = false;
	assert_int_equal(fake.manys, 0);
	assert_int_equal(fake.singles, BESIDE + 8);
	store_destroy(s);
}

/* A server that answers, and says nothing of any key, does not do it as it should. */
static void an_answer_that_tells_nothing(void **state)
{
	struct store *s = stack();
	unsigned unsure = 0;

	fake.mute = true;
	for (unsigned round = 0; round < 2; round++) {
		fake.manys = 0;
		fill(s);
		for (unsigned i = 0; i < 12; i++) {
			char name[16];

			(void)snprintf(name, sizeof(name), "k%u", i);
			(void)ask(s, "b", name, "e");
		}
		queued();
		finish();
		for (unsigned i = BESIDE; i < nasks; i++) {
			unsure += asks[i].r != 0;
			if (!asks[i].r)
				continue;
			assert_int_equal(asks[i].err.kind, ERR_UNKNOWN);
			assert_string_equal(asks[i].err.code, STORE_CODE_MANY);
		}
	}
	assert_in_range(unsure, 2, 12);
	assert_int_equal(fake.manys, 0); /* of the second round */
	store_destroy(s);
}

/* The leader's end is the end of the request, not that of the others. */
static void a_leader_may_be_called_off(void **state)
{
	struct store *s = stack();

	fill(s);
	for (unsigned i = 0; i < 5; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "k%u", i);
		(void)ask(s, "b", name, "e");
		usleep(20000);
	}
	queued();
	atomic_store(&asks[0].cancel, true);
	wait_for(&fake.manys, 1);
	wait_for(&fake.inside, BESIDE);
	atomic_store(&asks[BESIDE + 4].cancel, true); /* the one that came last */
	for (unsigned i = 0; i < 5; i++) {
		struct ask *a = &asks[BESIDE + i];

		join(a);
		assert_int_equal(a->r, i == 4 ? -ECANCELED : -EIO);
		assert_int_equal(a->err.kind, ERR_UNKNOWN);
		assert_string_equal(a->err.code, STORE_CODE_MANY);
	}
	finish();
	store_destroy(s);
}

/* All fail as the request does: with a lost answer, or with none of them done. */
static void a_whole_request_fails(void **state)
{
	static const struct {
		errint_t r;
		enum err_kind kind;
		errint_t want;
		enum err_kind want_kind;
		bool batches; /* and others after it */
	} t[] = {{-EIO, ERR_UNKNOWN, -EIO, ERR_UNKNOWN, false},
		{-ECONNREFUSED, ERR_RETRY, -ECONNREFUSED, ERR_RETRY, true},
		{-EAGAIN, ERR_THROTTLE, -EAGAIN, ERR_THROTTLE, true},
		{-EDQUOT, ERR_CANCELLED, -EDQUOT, ERR_CANCELLED, true},
		{-EACCES, ERR_AUTH, 0, ERR_NONE, true},
		{-EOPNOTSUPP, ERR_FINAL, 0, ERR_NONE, false}};

	for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
		struct store *s = stack();
		unsigned manys, failed;

		fake.many_r = t[k].r;
		fake.many_kind = t[k].kind;
		for (unsigned round = 0; round < 2; round++) {
			manys = fake.manys;
			failed = 0;
			fill(s);
			for (unsigned i = 0; i < 12; i++) {
				char name[16];

				(void)snprintf(name, sizeof(name), "k%u", i);
				(void)ask(s, "b", name, "e");
			}
			queued();
			finish();
			if (round && !t[k].batches) {
				assert_int_equal(fake.manys, manys);
				continue;
			}
			assert_true(fake.manys > manys);
			for (unsigned i = 0; i < 12; i++) { /* some led on, alone */
				struct ask *a = &asks[BESIDE + i];

				failed += a->r == t[k].want && a->err.kind == t[k].want_kind;
				if (a->r && a->err.kind == ERR_UNKNOWN) /* it may come late */
					assert_string_equal(a->err.code, STORE_CODE_MANY);
				else if (a->r)
					assert_string_equal(a->err.code, "");
				assert_true(a->r == t[k].want || a->r == 0);
			}
			assert_in_range(failed, 2, 12);
			fake.manys = manys = 0;
		}
		store_destroy(s);
	}
}

static void one_thread_for_many(void **state)
{
	struct store *s = stack();
	struct store_wait *w[200] = {NULL};
	struct err e;
	unsigned ended = 0, led = 0;

	memset(news.told, 0, sizeof(news.told));
	news.n = news.first = 0;
	/* a place is free: it goes at once */
	assert_int_equal(wait_for_turn(s, "gone", 0, &w[0], &e), -ENOENT);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_null(w[0]);
	fill(s);
	for (unsigned i = 0; i < 200; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), i == 7 ? "other" : i == 8 ? "deny" : "k%u", i);
		assert_int_equal(wait_for_turn(s, name, i, &w[i], &e), -EINPROGRESS);
		assert_non_null(w[i]);
	}
	assert_int_equal(store_remove_end(w[3], NULL, &e), -EINPROGRESS);
	store_remove_leave(w[4]); /* it does not want to any more */
	finish();
	/* Each that is told goes on: one that leads sends for all, which are told then. */
	while (ended < 199) {
		for (unsigned i = 0; i < 200; i++) {
			struct store_wait *x = w[i];
			unsigned manys = fake.manys;
			errint_t r;

			if (i == 4 || !x || !told(i))
				continue;
			r = store_remove_end(x, NULL, &e);
			led += fake.manys > manys;
			assert_int_equal(r, i == 7 ? -ESTALE : i == 8 ? -EACCES : 0);
			w[i] = NULL;
			ended++;
		}
	}
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(told(i), i != 4);
	assert_in_range(led, 2, 4);
	assert_in_range(news.first, 2, 5);
	assert_in_range(fake.largest, 75, 100);
	assert_int_equal(fake.manys, led);
	store_destroy(s);
}

/* The place of one that was told to lead, and left, is the next one's. */
static void who_is_to_lead_may_leave(void **state)
{
	struct store *s = stack();
	struct store_wait *w[6];
	struct err e;

	memset(news.told, 0, sizeof(news.told));
	news.n = news.first = 0;
	fill(s);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(wait_for_turn(s, i % 2 ? "x" : "y", i, &w[i], &e), -EINPROGRESS);
	finish(); /* four places, for the last four */
	assert_int_equal(news.n, 4);
	assert_int_equal(news.first, 4);
	for (unsigned i = 0; i < 6; i++)
		store_remove_leave(w[5 - i]);
	assert_int_equal(news.n, 6);
	assert_int_equal(fake.keys, BESIDE);
	store_destroy(s);
}

/* ---- many, for long ---- */

static atomic_uint done, unsure, off;

static void *churner(void *arg)
{
	struct ask *a = arg;

	for (unsigned i = 0; i < 400; i++) {
		atomic_bool cancel = false;
		struct store_call c = {.cancel = &cancel};
		uint64_t x = random_u64();
		errint_t r;

		(void)snprintf(a->key, sizeof(a->key), "%s%u", x % 7 ? "k" : "gone",
			(unsigned)(x >> 32) % 50);
		if (x % 11 == 0)
			atomic_store(&cancel, true);
		if (x % 13 == 0)
			c.deadline_mono_ns = clock_mono_ns() + (int64_t)(x >> 40) % (2 * NS_PER_MS);
		a->o = (struct store_obj){x % 3 ? "b" : "c", a->key};
		a->if_match = x % 5 ? "e" : NULL;
		r = remove_it(a, &c);
		if (!r || a->err.kind == ERR_NOT_FOUND)
			(void)atomic_fetch_add(&done, 1);
		else if (a->err.kind == ERR_UNKNOWN || a->err.kind == ERR_RETRY)
			(void)atomic_fetch_add(&unsure, 1);
		else if (a->err.kind == ERR_CANCELLED)
			(void)atomic_fetch_add(&off, 1);
		memset(a->key, '#', sizeof(a->key) - 1);
	}
	return NULL;
}

static void many_for_long(void **state)
{
	struct store *s = stack();

	for (unsigned i = 0; i < 32; i++) {
		asks[i] = (struct ask){.s = s};
		assert_int_equal(pthread_create(&asks[i].thread, NULL, churner, &asks[i]), 0);
	}
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(pthread_join(asks[i].thread, NULL), 0);
	assert_int_equal(atomic_load(&done) + atomic_load(&unsure) + atomic_load(&off), 32 * 400);
	assert_true(fake.keys >= atomic_load(&done));
	assert_false(fake.twice);
	store_destroy(s); /* which looks whether a place was lost */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_itself_is_single),
		cmocka_unit_test(what_waits_goes_together),
		cmocka_unit_test(each_has_its_own_outcome),
		cmocka_unit_test(buckets_and_doubles_stay_apart),
		cmocka_unit_test(conditions_that_would_be_lost),
		cmocka_unit_test(who_waits_may_leave),
		cmocka_unit_test(many_have_more_time),
		cmocka_unit_test(who_only_removes_goes_alone),
		cmocka_unit_test(an_answer_that_tells_nothing),
		cmocka_unit_test(a_leader_may_be_called_off),
		cmocka_unit_test(a_whole_request_fails),
		cmocka_unit_test(one_thread_for_many),
		cmocka_unit_test(who_is_to_lead_may_leave),
		cmocka_unit_test(many_for_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
