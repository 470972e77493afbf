/* SPDX-License-Identifier: MIT */
/*
 * The request budget: a brake on bills, shared by the limit layers of all remotes. So many requests
 * a minute, so many a day, so many dollars a day; what is over waits for the next minute or day. A
 * call with a deadline waits for it here; one without would hold a worker, and is sent back to its
 * job soon, which waits without one.
 *
 * Minutes and days are those of the wall clock (UTC). What was used is not remembered over a
 * restart.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "layer.h"

#define MINUTE_NS   (60 * NS_PER_S)
#define DAY_NS	    (86400 * NS_PER_S)
#define WAIT_NS_MAX (1 * NS_PER_S) /* of a call without a deadline */

struct store_budget {
	struct store_budget_conf conf;
	struct lock lock; /* all below */
	int64_t minute, day;
	struct store_budget_used used;
	bool told_minute, told_day;
};

/* ---- "600/min+50000/day+$2/day" ---- */

static errint_t part_parse(char *s, struct store_budget_conf *ret)
{
	char *slash = strchr(s, '/'), *end;
	unsigned long long n;

	if (!slash)
		return -EINVAL;
	*slash++ = '\0';
	if (*s == '$')
		return strcmp(slash, "day") ? -EINVAL : money_parse(s + 1, &ret->money_per_day);
	if (*s < '1' || *s > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (*end || errno || n > 1000000000)
		return -EINVAL;
	if (!strcmp(slash, "min"))
		ret->per_minute = n;
	else if (!strcmp(slash, "day"))
		ret->per_day = n;
	else
		return -EINVAL;
	return 0;
}

errint_t store_budget_parse(const char *s, struct store_budget_conf *ret)
{
	char copy[128], *save = NULL, *part;
	errint_t r = 0;

	*ret = (struct store_budget_conf){0};
	if (!*s || strlen(s) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, s, strlen(s) + 1);
	for (part = strtok_r(copy, "+", &save); part && !r; part = strtok_r(NULL, "+", &save))
		r = part_parse(part, ret);
	return r;
}

/* ---- spending ---- */

static bool is_over(const struct store_budget *b, money_t cost, bool *ret_day)
{
	const struct store_budget_conf *c = &b->conf;

	*ret_day = (c->per_day && b->used.in_day >= c->per_day) ||
		   (c->money_per_day && b->used.money_today + cost > c->money_per_day);
	return *ret_day || (c->per_minute && b->used.in_minute >= c->per_minute);
}

/* 0: taken. Else the wall clock's time at which to ask again; *ret_tell when somebody is to be
 * told, once a minute or day. */
static int64_t take(struct store_budget *b, money_t cost, bool *ret_day, bool *ret_tell)
{
	int64_t now = clock_now_ns();
	bool *told;
	LOCKED(&b->lock);

	if (now / DAY_NS != b->day) {
		b->used.in_day = 0;
		b->used.money_today = 0;
		b->told_day = false;
		b->day = now / DAY_NS;
	}
	if (now / MINUTE_NS != b->minute) {
		b->used.in_minute = 0;
		b->told_minute = false;
		b->minute = now / MINUTE_NS;
	}
	if (!is_over(b, cost, ret_day)) {
		b->used.in_minute++;
		b->used.in_day++;
		b->used.money_today += cost;
		return 0;
	}
	told = *ret_day ? &b->told_day : &b->told_minute;
	*ret_tell = !*told;
	*told = true;
	return *ret_day ? (b->day + 1) * DAY_NS : (b->minute + 1) * MINUTE_NS;
}

errint_t budget_spend(
	struct store_budget *b, const struct store_call *c, money_t cost, struct err *err)
{
	int64_t give_up = c->deadline_mono_ns ? c->deadline_mono_ns : clock_mono_ns() + WAIT_NS_MAX;

	for (;;) {
		bool day = false, tell = false;
		int64_t at = take(b, cost, &day, &tell), until;
		errint_t r;

		if (!at)
			return 0;
		if (tell && b->conf.tell)
			b->conf.tell(b->conf.tell_arg, day);
		until = clock_mono_ns() + (at - clock_now_ns());
		r = call_sleep_until(c, MIN_OF(until, give_up), err);
		if (r && c->cancel && atomic_load(c->cancel))
			return r;
		if (until >= give_up) {
			(void)err_set(err, -EDQUOT, ERR_CANCELLED,
				"the request budget of this %s is used up", day ? "day" : "minute");
			return -EDQUOT;
		}
	}
}

/* ---- life ---- */

struct store_budget *store_budget_new(const struct store_budget_conf *conf)
{
	struct store_budget *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->conf = *conf;
	lock_init(&b->lock, RANK_STORE, "budget");
	return b;
}

void store_budget_used(struct store_budget *b, struct store_budget_used *ret)
{
	LOCKED(&b->lock);

	*ret = b->used;
}

void store_budget_destroy(struct store_budget *b)
{
	if (!b)
		return;
	lock_done(&b->lock);
	free(b);
}
