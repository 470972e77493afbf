/* SPDX-License-Identifier: MIT */
#include "pattern.h"

#include <string.h>

#include "astra/base_cleanup.h"

#define SLACK (UINT64_C(1) << 20) /* the kernel's read-ahead comes a little out of order */
#define SLACK_NEW                                                                                  \
	(UINT64_C(64) << 10) /* behind one read of which it is not known that it goes on */
#define WINDOW_MIN (UINT64_C(256) << 10)
#define BEGIN_MIN  (UINT64_C(256) << 10) /* with so much a file is begun that is read on */
#define BACK_MAX   (UINT64_C(8) << 20)
#define STEPS_MAX  (UINT64_C(16) << 20) /* bytes ahead by steps */
#define TAIL	   (UINT64_C(256) << 10)
#define TAIL_NEAR  (UINT64_C(64) << 10) /* such a read is about the end */
#define OLD	   64			/* reads: what goes on somewhere may be forgotten */

/* That ends where the read begins. */
static struct pattern_stream *find_next(struct pattern *p, uint64_t off)
{
	for (unsigned i = 0; i < PATTERN_STREAMS; i++) {
		if (p->s[i].end && p->s[i].end == off)
			return &p->s[i];
	}
	return NULL;
}

static uint64_t distance(const struct pattern_stream *s, uint64_t off, uint64_t end)
{
	if (off > s->end)
		return off - s->end;
	return end < s->end ? s->end - end : 0;
}

/* That ends, or was read, not far from it; behind one read alone what is not far is less. */
static struct pattern_stream *find_near(struct pattern *p, uint64_t off, uint64_t len)
{
	struct pattern_stream *best = NULL;
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < PATTERN_STREAMS; i++) {
		struct pattern_stream *s = &p->s[i];
		uint64_t far = distance(s, off, off + len);

		if (!s->end || s->backs || s->steps > 1 || (!s->window && off < s->end))
			continue;
		if (far > (s->window ? SLACK : SLACK_NEW) || far >= least)
			continue;
		least = far;
		best = s;
	}
	return best;
}

static struct pattern_stream *find_step(struct pattern *p, uint64_t off)
{
	for (unsigned i = 0; i < PATTERN_STREAMS; i++) {
		struct pattern_stream *s = &p->s[i];

		if (s->end && s->step && !s->window && off == s->off + (uint64_t)s->step)
			return s;
	}
	return NULL;
}

static struct pattern_stream *find_back(struct pattern *p, uint64_t off, uint64_t len)
{
	for (unsigned i = 0; i < PATTERN_STREAMS; i++) {
		struct pattern_stream *s = &p->s[i];

		if (s->end && !s->window && off < s->off && off + len <= s->off &&
			s->off - (off + len) < MIN_OF(len, SLACK_NEW))
			return s;
	}
	return NULL;
}

/* Those that go nowhere are forgotten first. */
static struct pattern_stream *oldest(struct pattern *p)
{
	struct pattern_stream *best = &p->s[0];
	uint64_t most = 0;

	for (unsigned i = 0; i < PATTERN_STREAMS; i++) {
		struct pattern_stream *s = &p->s[i];
		bool goes = s->window || s->backs;
		uint64_t age = s->end ? p->reads - s->used + (goes ? 0 : OLD) : UINT64_MAX;

		if (age <= most)
			continue;
		most = age;
		best = s;
	}
	return best;
}

static void range_add(struct pattern_plan *plan, uint64_t off, uint64_t end, uint64_t size)
{
	end = MIN_OF(end, size);
	if (off >= end || plan->n == PATTERN_RANGES)
		return;
	plan->range[plan->n].off = off;
	plan->range[plan->n++].end = end;
}

static void goes_forward(
	struct pattern_stream *s, uint64_t off, uint64_t len, struct pattern_plan *plan)
{
	if (off + len > s->end)
		s->window = s->window ? MIN_OF(2 * s->window, PATTERN_WINDOW_MAX)
				      : MAX_OF(WINDOW_MIN, MIN_OF(4 * len, PATTERN_WINDOW_MAX));
	s->off = off;
	s->end = MAX_OF(s->end, off + len);
	s->step = 0;
	s->steps = s->backs = 0;
	plan->window = s->window;
}

/* s takes one step further from where `from` is, which stays: from there somebody may go on. */
static void goes_by_steps(struct pattern_stream *s, struct pattern_stream from, uint64_t off,
	uint64_t len, uint64_t size, struct pattern_plan *plan)
{
	uint64_t k, back = from.step < 0 ? (uint64_t)-from.step : 0;

	*s = (struct pattern_stream){
		.off = off, .end = off + len, .step = from.step, .steps = from.steps + 1};
	if (s->steps < 2)
		return;
	k = MIN_OF((uint64_t)PATTERN_RANGES, UINT64_C(1) << MIN_OF(s->steps, 8u));
	k = MIN_OF(k, STEPS_MAX / MAX_OF(len, UINT64_C(1)));
	for (uint64_t i = 1; i <= k; i++) {
		if (back ? off < i * back : off + i * (uint64_t)s->step >= size)
			break;
		range_add(
			plan, off + i * (uint64_t)s->step, off + i * (uint64_t)s->step + len, size);
	}
}

static void goes_back(struct pattern_stream *s, uint64_t off, uint64_t len, uint64_t size,
	struct pattern_plan *plan)
{
	uint64_t window, from;

	if (!s->backs++)
		s->asked = off;
	s->off = off;
	s->end = off + len;
	s->step = 0;
	if (s->backs < 2)
		return;
	window = MIN_OF(MAX_OF(WINDOW_MIN, 4 * len) << MIN_OF(s->backs - 2, 8u), BACK_MAX);
	s->asked = MIN_OF(s->asked, off);
	if (off - s->asked >= window / 2)
		return;
	from = off > window ? off - window : 0;
	range_add(plan, from, s->asked, size);
	s->asked = from;
}

static void begins(struct pattern *p, struct pattern_stream *s, uint64_t off, uint64_t len,
	uint64_t size, struct pattern_plan *plan)
{
	bool first = p->reads == 1;

	memset(s, 0, sizeof(*s));
	s->off = off;
	s->end = off + len;
	plan->begins = true;
	if (!first)
		s->step = (int64_t)(off - p->last);
	p->last = off;
	if (!off && len >= BEGIN_MIN)
		plan->window = s->window = MIN_OF(8 * len, PATTERN_WINDOW_MAX);
	else if (first && off && size > TAIL && off + TAIL_NEAR >= size)
		range_add(plan, size - TAIL, size, size);
}

void pattern_read(
	struct pattern *p, uint64_t off, uint64_t len, uint64_t size, struct pattern_plan *ret)
{
	struct pattern_stream *s;

	memset(ret, 0, sizeof(*ret));
	p->reads++;
	if ((s = find_next(p, off))) {
		goes_forward(s, off, len, ret);
	} else if ((s = find_step(p, off))) {
		struct pattern_stream from = *s;

		s = oldest(p);
		goes_by_steps(s, from, off, len, size, ret);
		p->last = off;
	} else if ((s = find_near(p, off, len))) {
		goes_forward(s, off, len, ret);
	} else if ((s = find_back(p, off, len))) {
		goes_back(s, off, len, size, ret);
	} else {
		s = oldest(p);
		begins(p, s, off, len, size, ret);
	}
	s->used = p->reads;
	ret->stream = s;
}
