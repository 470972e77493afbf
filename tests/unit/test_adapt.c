/* SPDX-License-Identifier: MIT */
/* How many requests at a time, against stores that are computed: time is virtual, nothing waits. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "store/adapt.h"
#include "store/layer.h"

#define MS     NS_PER_MS
#define FLIGHT 512

struct sim {
	struct adapt a;
	int64_t now;
	unsigned pool; /* as many are wanted at any time */
	uint64_t random;
	/* The store: when what comes now ends. False: it refuses, at once but for the way. */
	bool (*serve)(struct sim *s, int64_t *ret_end);
	int64_t way;	 /* there and back */
	unsigned most;	 /* that it takes */
	double capacity; /* requests at a time, or a second */
	int64_t busy_until;
	unsigned serving, running;
	struct {
		struct adapt_call c;
		int64_t end;
		bool refused;
	} flight[FLIGHT];
	uint64_t ended, refused;
};

static double chance(struct sim *s)
{
	s->random = s->random * 6364136223846793005u + 1442695040888963407u;
	return (double)(s->random >> 40) / (double)(1 << 24);
}

static int64_t way(struct sim *s)
{
	return (int64_t)((double)s->way * (0.9 + 0.2 * chance(s)));
}

/* ---- stores ---- */

static bool any_number(struct sim *s, int64_t *ret_end)
{
	*ret_end = s->now + way(s);
	return true;
}

static bool up_to_most(struct sim *s, int64_t *ret_end)
{
	*ret_end = s->now + way(s);
	return s->serving < s->most;
}

/* Each one takes longer by those beside it. */
static bool slower_by_each(struct sim *s, int64_t *ret_end)
{
	*ret_end = s->now + (int64_t)((double)way(s) * (1 + s->serving / s->capacity));
	return true;
}

/* One after another, so many a second. */
static bool in_a_queue(struct sim *s, int64_t *ret_end)
{
	s->busy_until = MAX_OF(s->busy_until, s->now) + (int64_t)(NS_PER_S / s->capacity);
	*ret_end = s->busy_until + way(s);
	return true;
}

/* ---- the caller ---- */

static struct sim sim(bool (*serve)(struct sim *s, int64_t *ret_end), int64_t way_ns)
{
	struct sim s = {.serve = serve, .way = way_ns, .pool = 64, .random = 7, .now = NS_PER_S};

	adapt_init(&s.a, 128, s.now);
	return s;
}

static void send_one(struct sim *s)
{
	unsigned i = s->running++;

	assert_true(i < FLIGHT);
	s->flight[i].refused = !s->serve(s, &s->flight[i].end);
	s->serving += !s->flight[i].refused;
	adapt_sent(&s->a, &s->flight[i].c, ADAPT_WRITE, s->running, s->now);
}

static void answer_one(struct sim *s)
{
	unsigned first = 0;

	for (unsigned i = 1; i < s->running; i++)
		if (s->flight[i].end < s->flight[first].end)
			first = i;
	s->now = MAX_OF(s->now, s->flight[first].end);
	adapt_answered(&s->a, &s->flight[first].c,
		s->flight[first].refused ? ADAPT_REFUSED : ADAPT_DONE, s->running < s->pool,
		s->now);
	s->ended++;
	s->refused += s->flight[first].refused;
	s->serving -= !s->flight[first].refused;
	s->flight[first] = s->flight[--s->running];
}

static void run_for(struct sim *s, int64_t ns)
{
	int64_t until = s->now + ns;

	while (s->now < until) {
		while (s->running < MIN_OF(adapt_limit(&s->a), s->pool))
			send_one(s);
		answer_one(s);
	}
}

/* Answers that were no refusals, a second. */
static double rate(struct sim *s, int64_t ns)
{
	uint64_t ended = s->ended, refused = s->refused;
	int64_t start = s->now;

	run_for(s, ns);
	return (double)(s->ended - ended - (s->refused - refused)) * NS_PER_S /
	       (double)(s->now - start);
}

/* ---- tests ---- */

/* The way is filled within a few round trips, however long it is. */
static void a_long_way_is_filled(void **state)
{
	static const int64_t ways[] = {1 * MS, 20 * MS, 200 * MS, 1000 * MS};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		struct sim s = sim(any_number, ways[i]);

		assert_int_equal(adapt_limit(&s.a), 16);
		run_for(&s, 4 * ways[i]);
		assert_true(adapt_limit(&s.a) >= s.pool);
		run_for(&s, 60 * NS_PER_S);
		assert_true(adapt_limit(&s.a) >= s.pool);
		assert_true(s.running >= s.pool - 1);
		assert_true(adapt_limit(&s.a) <= 128);
	}
}

static void what_is_not_used_does_not_grow(void **state)
{
	struct sim s = sim(any_number, 20 * MS);

	s.pool = 8;
	run_for(&s, 60 * NS_PER_S);
	assert_int_equal(adapt_limit(&s.a), 16);
}

static void it_settles_where_it_is_refused(void **state)
{
	static const unsigned most[] = {1, 2, 4, 8, 20, 50};
	static const int64_t ways[] = {20 * MS, 200 * MS};

	for (unsigned i = 0; i < ARRAY_SIZE(most); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(ways); k++) {
			struct sim s = sim(up_to_most, ways[k]);
			double best, got;
			uint64_t ended, refused;

			s.most = most[i];
			best = s.most * (double)NS_PER_S / (double)ways[k];
			run_for(&s, 200 * ways[k]);
			ended = s.ended;
			refused = s.refused;
			got = rate(&s, 5000 * ways[k]);
			if (got < best * 0.8 ||
				(double)(s.refused - refused) > 0.03 * (double)(s.ended - ended))
				fail_msg("%u at a time: %.1f of %.1f/s, %llu refused of %llu",
					s.most, got, best,
					(unsigned long long)(s.refused - refused),
					(unsigned long long)(s.ended - ended));
		}
	}
}

/* More than it was is found out within seconds. */
static void more_room_is_found(void **state)
{
	struct sim s = sim(up_to_most, 20 * MS);

	s.most = 4;
	run_for(&s, 20 * NS_PER_S);
	assert_true(adapt_limit(&s.a) <= 5);
	s.most = 1000;
	run_for(&s, 10 * NS_PER_S);
	assert_true(adapt_limit(&s.a) >= s.pool);
}

/* Those that were sent before a refusal was told are refused for the same reason. */
static void once_a_round_trip(void **state)
{
	struct adapt_call c[16];
	struct adapt a;

	adapt_init(&a, 128, 1);
	for (unsigned i = 0; i < 16; i++)
		adapt_sent(&a, &c[i], ADAPT_READ, i + 1, 100 + i);
	adapt_answered(&a, &c[15], ADAPT_REFUSED, true, 200);
	assert_int_equal(adapt_limit(&a), 8);
	for (unsigned i = 0; i < 15; i++)
		adapt_answered(&a, &c[i], ADAPT_REFUSED, true, 201 + i);
	assert_int_equal(adapt_limit(&a), 8);
	for (unsigned i = 0; i < 2; i++) {
		adapt_sent(&a, &c[0], ADAPT_READ, 8, 300 + 10 * i);
		adapt_answered(&a, &c[0], ADAPT_REFUSED, true, 301 + 10 * i);
		assert_int_equal(adapt_limit(&a), 4 >> i);
	}
	for (unsigned i = 0; i < 20; i++) {
		adapt_sent(&a, &c[0], ADAPT_READ, 1, 400 + 10 * i);
		adapt_answered(&a, &c[0], ADAPT_REFUSED, true, 401 + 10 * i);
	}
	assert_int_equal(adapt_limit(&a), 1);
}

/* What waits in a queue over there brings nothing: less is sent, as much is answered. */
static void a_queue_is_not_filled(void **state)
{
	struct sim s = sim(in_a_queue, 20 * MS);

	s.capacity = 200; /* four at a time, on the way */
	run_for(&s, 3 * NS_PER_S);
	assert_true(adapt_limit(&s.a) > 32); /* it had to be found out */
	run_for(&s, 60 * NS_PER_S);
	assert_true(adapt_limit(&s.a) < 32);
	assert_true(rate(&s, 300 * NS_PER_S) > 0.97 * s.capacity);
	assert_true(adapt_limit(&s.a) < 32);
}

static void slower_by_each_does_not_collapse(void **state)
{
	for (double capacity = 2; capacity < 100; capacity *= 2) {
		struct sim s = sim(slower_by_each, 20 * MS);
		double best =
			s.pool * (double)NS_PER_S / ((double)s.way * (1 + (s.pool - 1) / capacity));

		s.capacity = capacity;
		run_for(&s, 60 * NS_PER_S);
		if (rate(&s, 600 * NS_PER_S) < 0.7 * best)
			fail_msg("at %.0f: %u at a time", capacity, adapt_limit(&s.a));
		assert_true(adapt_limit(&s.a) >= 16);
	}
}

/* Neither one answer that came by luck nor a bad hour make it small for long. */
static void luck_and_bad_hours(void **state)
{
	struct sim s = sim(any_number, 1 * MS);

	run_for(&s, 2 * MS);
	s.way = 40 * MS;
	assert_true(rate(&s, 120 * NS_PER_S) > 0.9 * s.pool * NS_PER_S / (double)s.way);
	s.way = 400 * MS;
	assert_true(rate(&s, 3600 * NS_PER_S) > 0.9 * s.pool * NS_PER_S / (double)s.way);
	s.way = 20 * MS;
	run_for(&s, 10 * NS_PER_S);
	assert_true(adapt_limit(&s.a) >= s.pool);
}

/* The same, by as much as just holds it, after a refusal has made it small. */
static void luck_after_a_refusal(void **state)
{
	for (unsigned times = 2; times < 12; times++) {
		struct sim s = sim(any_number, 20 * MS / times);

		run_for(&s, s.way / 2);
		s.serve = up_to_most;
		s.most = 4;
		run_for(&s, 40 * MS);
		s.serve = any_number;
		s.way = 20 * MS;
		run_for(&s, 60 * NS_PER_S);
		if (adapt_limit(&s.a) < s.pool)
			fail_msg("%u times the shortest: %u at a time", times, adapt_limit(&s.a));
	}
}

/* So many a second, now more, now less, for reasons of its own. */
static bool as_it_likes(struct sim *s, int64_t *ret_end)
{
	uint64_t second = (uint64_t)(s->now / NS_PER_S) * 2654435761u;
	double mood = 0.5 + (double)(second >> 8 & 1023) / 1023;

	s->busy_until = MAX_OF(s->busy_until, s->now) +
			(int64_t)(2 * chance(s) * NS_PER_S / (s->capacity * mood));
	*ret_end = s->busy_until + way(s);
	return true;
}

static void moods_do_not_make_it_slow(void **state)
{
	for (double capacity = 100; capacity < 4000; capacity *= 2) {
		struct sim s = sim(as_it_likes, 20 * MS), fixed = sim(as_it_likes, 20 * MS);
		double got, best;

		s.capacity = fixed.capacity = capacity;
		fixed.a.max = 64;
		fixed.a.limit = 64;
		fixed.a.rest = 1u << 30; /* nothing is tried */
		run_for(&s, 60 * NS_PER_S);
		run_for(&fixed, 60 * NS_PER_S);
		got = rate(&s, 600 * NS_PER_S);
		best = rate(&fixed, 600 * NS_PER_S);
		if (got < 0.9 * best)
			fail_msg("at %.0f/s: %.0f, %.0f with 64 at a time", capacity, got, best);
	}
}

/* Beside transfers of much, nothing is said of what takes long. */
static void bodies_are_not_measured(void **state)
{
	struct sim s = sim(in_a_queue, 20 * MS);
	struct adapt_call c;
	unsigned was;

	s.capacity = 200;
	run_for(&s, 1 * NS_PER_S);
	adapt_sent(&s.a, &c, ADAPT_BULK, s.running, s.now);
	was = adapt_limit(&s.a);
	run_for(&s, 60 * NS_PER_S);
	assert_true(adapt_limit(&s.a) >= was);
	adapt_answered(&s.a, &c, ADAPT_DONE, false, s.now);
	run_for(&s, 60 * NS_PER_S);
	assert_true(adapt_limit(&s.a) < was);
}

/* ---- the layer ---- */

static struct {
	struct store store;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool hold;    /* calls stay until it is false ... */
	unsigned let; /* ... but for so many */
	unsigned most, running, highest;
	uint64_t calls, refused;
	char order[64]; /* keys in the order in which they came */
} far = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static errint_t far_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	bool refused;

	pthread_mutex_lock(&far.lock);
	far.calls++;
	if (far.calls < sizeof(far.order))
		far.order[far.calls - 1] = o.key[0];
	refused = far.running >= far.most;
	far.refused += refused;
	far.running += !refused;
	far.highest = MAX_OF(far.highest, far.running);
	if (far.hold && !refused) {
		while (far.hold && !far.let)
			pthread_cond_wait(&far.cond, &far.lock);
		far.let -= far.hold;
	} else {
		pthread_mutex_unlock(&far.lock);
		usleep(1000);
		pthread_mutex_lock(&far.lock);
	}
	far.running -= !refused;
	pthread_mutex_unlock(&far.lock);
	strcpy(ret->etag, "e");
	return refused ? err_set(err, -EAGAIN, ERR_THROTTLE, "slow down") : 0;
}

static void far_caps(struct store *s, struct store_caps *ret)
{
	*ret = (struct store_caps){.key_max = STORE_KEY_MAX};
}

static void far_destroy(struct store *s)
{
}

static const struct store_ops far_ops = {
	.name = "far", .caps = far_caps, .head = far_head, .destroy = far_destroy};

static struct store *far_stack(unsigned most, const struct store_limit_conf *limit)
{
	struct store_retry_conf retry = {.retries = 100, .delay_ns = 1 * MS};

	far.store = (struct store){&far_ops, NULL};
	far.hold = false;
	far.most = most;
	far.highest = 0;
	far.calls = far.refused = 0;
	memset(far.order, 0, sizeof(far.order));
	return store_retry_new(store_limit_new(&far.store, limit), &retry);
}

struct caller {
	pthread_t thread;
	struct store *s;
	const char *key;
	bool front;
	unsigned calls;
};

static void *call(void *arg)
{
	struct caller *c = arg;
	struct store_call sc = {.front = c->front};
	struct store_stat st;
	struct err err;

	for (unsigned i = 0; i < c->calls; i++)
		if (store_head(c->s, &sc, (struct store_obj){"b", c->key}, &st, &err))
			return "failed";
	return NULL;
}

static void start(struct caller *c)
{
	assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

static void join(struct caller *c)
{
	void *ret;

	pthread_join(c->thread, &ret);
	assert_null(ret);
}

/* Waits until so many wait for their turn, and so many are under way. */
static void until(struct store *s, unsigned running, unsigned waiting)
{
	struct store_flow f;

	for (unsigned i = 0; i < 10000; i++) {
		store_flow(s, &f);
		if (f.running == running && f.waiting == waiting)
			return;
		usleep(1000);
	}
	fail_msg("%u under way, %u wait", f.running, f.waiting);
}

/* The store has seen so many; the key of the last. */
static char came(uint64_t n)
{
	uint64_t calls = 0;
	char last = 0;

	for (unsigned i = 0; i < 10000 && calls < n; i++) {
		usleep(1000);
		pthread_mutex_lock(&far.lock);
		calls = far.calls;
		last = far.order[n - 1];
		pthread_mutex_unlock(&far.lock);
	}
	assert_int_equal(calls, n);
	return last;
}

static void let_go(bool all)
{
	pthread_mutex_lock(&far.lock);
	far.hold = !all;
	far.let += !all;
	pthread_cond_broadcast(&far.cond);
	pthread_mutex_unlock(&far.lock);
}

/* Many callers, a store that takes eight: all of them come through, few are refused. */
static void callers_of_a_store_that_refuses(void **state)
{
	struct store_limit_conf conf = {.name = "far", .adapts = true, .max_requests = 128};
	struct store *s = far_stack(8, &conf);
	struct caller callers[32];
	struct store_flow f;

	for (unsigned i = 0; i < 32; i++) {
		callers[i] = (struct caller){.s = s, .key = "k", .front = i == 0, .calls = 200};
		start(&callers[i]);
	}
	for (unsigned i = 0; i < 32; i++)
		join(&callers[i]);
	store_flow(s, &f);
	assert_int_equal(far.calls, 32 * 200 + far.refused);
	assert_int_equal(f.refused, far.refused);
	assert_int_equal(f.running, 0);
	assert_true(f.limit <= 12);
	if (far.refused > far.calls / 20)
		fail_msg("%llu refused of %llu", (unsigned long long)far.refused,
			(unsigned long long)far.calls);
	store_destroy(s);
}

/* What is configured is the most, also for those whom somebody waits for; these go first. */
static void what_is_configured_holds(void **state)
{
	struct store_limit_conf conf = {.adapts = true, .max_requests = 4};
	struct store *s = far_stack(100, &conf);
	struct caller back = {.s = s, .key = "b", .calls = 1}, all[4 + 3];
	struct caller front = {.s = s, .key = "f", .front = true, .calls = 1};

	far.hold = true;
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		all[i] = back;
		start(&all[i]);
	}
	until(s, 4, 3);
	start(&front);
	until(s, 4, 4);
	(void)came(4);
	let_go(false);
	assert_int_equal(came(5), 'f');
	let_go(true);
	join(&front);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		join(&all[i]);
	assert_int_equal(far.highest, 4);
	assert_int_equal(far.calls, 8);
	store_destroy(s);
}

/* A reader gets in when uploads have taken all; and one upload when readers have. */
static void neither_keeps_the_other_out(void **state)
{
	struct store_limit_conf conf = {.adapts = true, .max_requests = 128};

	for (unsigned front = 0; front < 2; front++) {
		struct store *s = far_stack(1000, &conf);
		unsigned most = front ? 20 : 16; /* with the reserve */
		struct caller one = {.s = s, .key = "o", .front = !front, .calls = 1}, all[30];

		far.hold = true;
		for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
			all[i] = (struct caller){.s = s, .key = "a", .front = front, .calls = 1};
			start(&all[i]);
		}
		until(s, most, 30 - most);
		(void)came(most);
		start(&one);
		assert_int_equal(came(most + 1), 'o');
		let_go(true);
		join(&one);
		for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
			join(&all[i]);
		store_destroy(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_way_is_filled),
		cmocka_unit_test(what_is_not_used_does_not_grow),
		cmocka_unit_test(it_settles_where_it_is_refused),
		cmocka_unit_test(more_room_is_found),
		cmocka_unit_test(once_a_round_trip),
		cmocka_unit_test(a_queue_is_not_filled),
		cmocka_unit_test(slower_by_each_does_not_collapse),
		cmocka_unit_test(luck_and_bad_hours),
		cmocka_unit_test(luck_after_a_refusal),
		cmocka_unit_test(moods_do_not_make_it_slow),
		cmocka_unit_test(bodies_are_not_measured),
		cmocka_unit_test(callers_of_a_store_that_refuses),
		cmocka_unit_test(what_is_configured_holds),
		cmocka_unit_test(neither_keeps_the_other_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
