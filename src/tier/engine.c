/* SPDX-License-Identifier: MIT */
/*
 * The engine's thread: an inbox (kick, stop) and a deadline, the next pass. When the last pass was
 * is kept in the index, so that mounts which last shorter than the interval get their passes too.
 */
#include "tier_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define INTERVAL_DEFAULT_NS (3600 * NS_PER_S)
#define INTERVAL_MIN_NS	    NS_PER_S
#define PIN_DELAY_NS	    (24 * 3600 * NS_PER_S)
#define SETTLE_NS	    (60 * NS_PER_S) /* after a mount, before an overdue pass */
#define LAST_PASS_KEY	    "tier.last_pass"

const char *const tier_keys[] = {"mode", "interval", "hours", "pin_delay"};
const size_t tier_nkeys = ARRAY_SIZE(tier_keys);

static const char *const mode_names[] = {
	[TIER_ACT] = "act", [TIER_ADVISE] = "advise", [TIER_OFF] = "off"};

const char *tier_mode_name(enum tier_mode m)
{
	assert((size_t)m < ARRAY_SIZE(mode_names));
	return mode_names[m];
}

/* ---- configuration ---- */

static errint_t parse_hours(const struct conf_item *it, struct tier_conf *c, struct err *err)
{
	unsigned h1, m1, h2, m2;
	char end;

	if (sscanf(it->value, "%2u:%2u-%2u:%2u%c", &h1, &m1, &h2, &m2, &end) != 4 || h1 > 24 ||
		h2 > 24 || m1 > 59 || m2 > 59 || (h1 == 24 && m1) || (h2 == 24 && m2))
		return conf_err(it, err, "'%s' is not HH:MM-HH:MM, like 22:00-06:00", it->value);
	c->from_min = h1 * 60 + m1;
	c->until_min = h2 * 60 + m2;
	return 0;
}

static errint_t parse_mode(const struct conf_item *it, struct tier_conf *c, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_names); i++) {
		if (!strcmp(it->value, mode_names[i])) {
			c->mode = (enum tier_mode)i;
			return 0;
		}
	}
	return conf_err(it, err, "'%s' is not known; allowed: act, advise, off", it->value);
}

errint_t tier_conf_parse(const struct conf *c, struct tier_conf *ret, struct err *err)
{
	const struct conf_item *it;
	errint_t r;

	ret->mode = TIER_ACT; /* on embedded clouds */
	ret->interval_ns = INTERVAL_DEFAULT_NS;
	ret->pin_delay_ns = PIN_DELAY_NS;
	ret->from_min = ret->until_min = 0;
	it = conf_get(c, "policy", "mode");
	ret->mode_given = it;
	r = it ? parse_mode(it, ret, err) : 0;
	it = conf_get(c, "policy", "interval");
	if (!r && it)
		r = conf_duration(it, &ret->interval_ns, err);
	if (!r && it && ret->interval_ns < INTERVAL_MIN_NS)
		r = conf_err(it, err, "'%s' is too short; allowed: 1s or more", it->value);
	it = conf_get(c, "policy", "pin_delay");
	if (!r && it)
		r = conf_duration(it, &ret->pin_delay_ns, err);
	it = conf_get(c, "policy", "hours");
	if (!r && it)
		r = parse_hours(it, ret, err);
	return r;
}

/* ---- when ---- */

/* The first moment not before `when` that lies in the hours. */
static int64_t next_in_hours(const struct tier_conf *c, int64_t when_ns)
{
	time_t when = (time_t)(when_ns / NS_PER_S);
	struct tm tm;
	unsigned now;

	if (c->from_min == c->until_min || !localtime_r(&when, &tm))
		return when_ns;
	now = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
	if (c->from_min < c->until_min ? now >= c->from_min && now < c->until_min
				       : now >= c->from_min || now < c->until_min)
		return when_ns;
	tm.tm_hour = (int)c->from_min / 60;
	tm.tm_min = (int)c->from_min % 60;
	tm.tm_sec = 0;
	tm.tm_mday += now >= c->from_min; /* today it is over */
	tm.tm_isdst = -1;
	when = mktime(&tm);
	return when == (time_t)-1 ? when_ns : (int64_t)when * NS_PER_S;
}

static int64_t last_pass_get(struct tier_engine *e)
{
	struct meta_txn *t = meta_begin_read(e->conf.meta);
	int64_t ns = 0;
	size_t len = 0;
	errint_t r = meta_kv_get(t, LAST_PASS_KEY, &ns, sizeof(ns), &len);

	(void)meta_commit(t);
	return r || len != sizeof(ns) ? 0 : ns;
}

static void last_pass_put(struct tier_engine *e, int64_t ns)
{
	struct meta_txn *t;
	errint_t r;

	if (e->conf.ro)
		return;
	t = meta_begin(e->conf.meta);
	(void)meta_kv_put(t, LAST_PASS_KEY, &ns, sizeof(ns));
	r = meta_commit(t);
	if (r)
		log_warn("tier", "cannot remember the time of the pass: %s", err_text(NULL, r));
}

/* ---- the thread ---- */

static void pass(struct tier_engine *e)
{
	int64_t start = clock_now_ns();
	struct tier_pass p;
	char text[MONEY_TEXT_MAX];
	errint_t r;

	lock_take(&e->lock);
	e->s.stat.running = true;
	e->s.stat.last_start_ns = start;
	lock_drop(&e->lock);

	r = tier_pass_run(e, &p);
	count_inc(engine_passes);
	if (r && r != -ECANCELED)
		log_error("tier", "the pass ended early: %s", err_text(NULL, r));
	if (p.moves || p.failed)
		log_notice("tier", "judged %llu files, moving %llu (%s a month), %llu not now",
			(unsigned long long)p.files, (unsigned long long)p.moves,
			money_format(text, p.saving, MONEY_MONTH), (unsigned long long)p.failed);
	last_pass_put(e, start);

	lock_take(&e->lock);
	e->s.stat.running = false;
	e->s.stat.last_end_ns = clock_now_ns();
	e->s.stat.passes++;
	e->s.stat.files = p.files;
	e->s.stat.moves = p.moves;
	e->s.stat.failed = p.failed;
	e->s.stat.saving = p.saving;
	lock_drop(&e->lock);
}

void engine_ran(struct tier_engine *e, int64_t start_ns, const struct policy_totals *t)
{
	LOCKED(&e->lock);

	e->s.stat.last_start_ns = start_ns;
	e->s.stat.last_end_ns = clock_now_ns();
	e->s.stat.passes++;
	e->s.stat.files = t->files;
	e->s.stat.moves = t->moves;
	e->s.stat.failed = t->failed;
	e->s.stat.saving = t->before - t->after;
}

static void *engine_main(void *arg)
{
	struct tier_engine *e = arg;

	(void)pthread_setname_np(pthread_self(), "tier");
	lock_take(&e->lock);
	while (!e->s.stop) {
		int64_t now = clock_now_ns();

		/* Pins are seen to in every mode. */
		if (e->s.stat.next_ns > now && !e->s.kick) {
			/* The wall clock may jump: look at it at least each minute. */
			int64_t left = MIN_OF(e->s.stat.next_ns - now, 60 * NS_PER_S);

			(void)cond_wait_until(&e->wake, &e->lock, clock_mono_ns() + left);
			continue;
		}
		e->s.kick = false;
		lock_drop(&e->lock);
		pass(e);
		lock_take(&e->lock);
		e->s.stat.next_ns = next_in_hours(&e->conf, clock_now_ns() + e->conf.interval_ns);
	}
	lock_drop(&e->lock);
	return NULL;
}

/* What is done where, as run.c does it. */
static void modes_tell(const struct tier_conf *c, struct tier_stat *ret)
{
	size_t real = 0;

	for (size_t i = 0; i < c->nremotes; i++)
		real += c->remotes[i].real;
	ret->mode = ret->mode_real = c->ro && c->mode == TIER_ACT ? TIER_ADVISE : c->mode;
	if (real && !c->mode_given && ret->mode == TIER_ACT)
		ret->mode_real = TIER_ADVISE;
	if (real == c->nremotes)
		ret->mode = ret->mode_real;
}

/* ---- life ---- */

errint_t tier_engine_new(const struct tier_conf *conf, struct tier_engine **ret, struct err *err)
{
	struct tier_engine *e = calloc(1, sizeof(*e));
	int64_t now = clock_now_ns(), last, next;
	int rc;

	assert(conf->meta && conf->jobs && conf->rules && conf->prices);
	*ret = NULL;
	if (!e)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the engine");
	e->conf = *conf;
	lock_init(&e->lock, RANK_TIER, "tier");
	cond_init(&e->wake);
	last = last_pass_get(e);
	if (!last || last > now) {
		last = now;
		last_pass_put(e, last);
	}
	next = MAX_OF(last + conf->interval_ns, now + MIN_OF(SETTLE_NS, conf->interval_ns));
	modes_tell(conf, &e->s.stat);
	e->s.stat.next_ns = next_in_hours(conf, next);
	rc = pthread_create(&e->thread, NULL, engine_main, e);
	if (rc) {
		tier_engine_destroy(e);
		return err_set(err, -rc, ERR_RETRY, "cannot start the engine's thread: %s",
			err_text(NULL, -rc));
	}
	e->has_thread = true;
	*ret = e;
	return 0;
}

void tier_engine_kick(struct tier_engine *e)
{
	LOCKED(&e->lock);

	e->s.kick = true;
	(void)pthread_cond_signal(&e->wake);
}

void tier_engine_stop(struct tier_engine *e)
{
	if (!e->has_thread)
		return;
	atomic_store(&e->cancel, true);
	lock_take(&e->lock);
	e->s.stop = true;
	(void)pthread_cond_signal(&e->wake);
	lock_drop(&e->lock);
	(void)pthread_join(e->thread, NULL);
	e->has_thread = false;
}

void tier_engine_destroy(struct tier_engine *e)
{
	if (!e)
		return;
	tier_engine_stop(e);
	(void)pthread_cond_destroy(&e->wake);
	lock_done(&e->lock);
	free(e);
}

void tier_stat(struct tier_engine *e, struct tier_stat *ret)
{
	LOCKED(&e->lock);

	*ret = e->s.stat;
}
