/* SPDX-License-Identifier: MIT */
/*
 * Batch layer, outermost: removals of one bucket that are asked for side by side travel together,
 * where the store takes many in one request (caps.remove_batch). Below it such a request is one
 * call: counted, limited and paid for as one.
 *
 * Nobody waits for company. A removal goes at once, alone, while fewer than BESIDE requests are
 * under way; several, for a server works through a batch one by one. What is asked for meanwhile
 * queues, and goes with the next: who ends a request gives its place to one of those who wait, and
 * that one takes along all that there are. Who waits is told when it is done, or is to lead
 * (store_remove_or_wait): so more go together than there are threads.
 *
 * A condition goes into a batch only where the driver knows that it holds there. A batch tells of
 * each key that it is gone, was not there, or is another version. Whatever else is said of a key,
 * its caller asks again by itself, so that repeats, reasons and troubles are those of a single
 * removal. When the whole request fails, that is the failure of all; a store that does not know
 * such requests gets no more of them, another none for a while.
 *
 * A server works through what it has read, whether or not somebody still waits for the answer. So a
 * removal whose answer was lost may come later, by as long as all those take that went with it, and
 * may meet a new object of the same bytes, whose ETag is the same. Therefore
 *  - such a request has more time than a single removal, and is not sent twice;
 *  - who gets ERR_UNKNOWN from it, with STORE_CODE_MANY, lets nothing new come to that key before
 *    the server must be through (src/job/remove.c), nor after a restart;
 *  - so only those take part who can do that: store_remove is a request of its own.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "astra/base_lock.h"
#include "astra/base_log.h"
#include "layer.h"

#define BESIDE	  4   /* requests under way */
#define MOST	  100 /* removals of one: a slow server shall be through in time */
#define QUEUE_MAX 4000
#define PAUSE_NS  (30 * NS_PER_S)  /* after a batch that failed as a whole */
#define LEAD_NS	  (30 * NS_PER_S)  /* of a request whose leader has no deadline */
#define MANY_NS	  (120 * NS_PER_S) /* of one that carries several, at least: src/job/remove.c */

enum place { QUEUED, LEADS, SENT, DONE };

struct load;

struct news { /* told without the lock */
	TAILQ_ENTRY(news) link;
	store_wake_fn wake;
	void *arg;
	uint64_t id;
	bool first;
};
TAILQ_HEAD(news_list, news);

struct waiter {
	TAILQ_ENTRY(waiter) link; /* QUEUED */
	struct news *news;	  /* until it is told: owned */
	struct store_obj o;
	const char *if_match;
	uint64_t hash; /* of the key */
	enum place place;
	struct load *load; /* SENT: where it is, and as which */
	size_t at;
	errint_t r; /* DONE */
	struct err *err;
	bool alone; /* it goes by itself now */
};

struct load { /* what one request carries; at the end of a mount waiters go before it ends */
	size_t n;
	struct waiter **who;	 /* owned; NULL: nobody waits for that one any more */
	struct store_removal *v; /* owned, with its strings in text */
	char *text;		 /* owned */
};

struct batch {
	struct store store;
	struct lock lock;
	struct {
		TAILQ_HEAD(, waiter) queue; /* empty, unless BESIDE are under way */
		unsigned queued, under_way;
		bool worked, off; /* one was answered; there will be no more */
		int64_t pause_until;
	} s; /* lock */
};

struct store_wait {
	struct batch *batch;
	struct waiter w;
	struct err err;
	char text[]; /* bucket, key, if_match */
};

/* ---- the queue ---- */

static void enqueue(struct batch *t, struct waiter *w)
{
	w->place = QUEUED;
	TAILQ_INSERT_TAIL(&t->s.queue, w, link);
	t->s.queued++;
}

static void unqueue(struct batch *t, struct waiter *w)
{
	TAILQ_REMOVE(&t->s.queue, w, link);
	t->s.queued--;
}

/* It has its outcome, or leads: whoever waits is to see that. */
static void place_set(struct waiter *w, enum place place, struct news_list *out)
{
	struct news *n = w->news;

	w->place = place;
	w->news = NULL;
	assert(n);
	n->first = place == LEADS;
	if (n->first)
		TAILQ_INSERT_HEAD(out, n, link);
	else
		TAILQ_INSERT_TAIL(out, n, link);
}

static void tell(struct news_list *out)
{
	struct news *n;

	while ((n = TAILQ_FIRST(out))) {
		TAILQ_REMOVE(out, n, link);
		n->wake(n->arg, n->id, n->first);
		free(n);
	}
}

static bool batches(const struct batch *t)
{
	return !t->s.off && clock_mono_ns() >= t->s.pause_until;
}

/* ---- what goes together ---- */

static void load_free(struct load *l)
{
	if (!l)
		return;
	free(l->who);
	free(l->v);
	free(l->text);
	free(l);
}

static bool has(const struct load *l, const struct waiter *w)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->who[i]->hash == w->hash)
			return true;
	return false;
}

static size_t text_len(const struct waiter *w)
{
	return strlen(w->o.key) + 1 + (w->if_match ? strlen(w->if_match) + 1 : 0);
}

static const char *text_add(char **to, const char *s)
{
	char *at = *to;
	size_t len = s ? strlen(s) + 1 : 0;

	if (!s)
		return NULL;
	memcpy(at, s, len);
	*to += len;
	return at;
}

/* Strings of who[] as removals. */
static bool load_fill(struct load *l)
{
	size_t text = 0;
	char *to;

	for (size_t i = 0; i < l->n; i++)
		text += text_len(l->who[i]);
	l->text = to = malloc(text);
	l->v = calloc(l->n, sizeof(*l->v));
	if (!l->text || !l->v)
		return false;
	for (size_t i = 0; i < l->n; i++) {
		l->v[i].key = text_add(&to, l->who[i]->o.key);
		l->v[i].if_match = text_add(&to, l->who[i]->if_match);
		l->v[i].r = -EIO;
		l->v[i].kind = ERR_UNKNOWN;
	}
	return true;
}

/* The leader's removal and those that can go along; each key once, for an answer names keys. NULL:
 * it is alone, or memory is short. */
static struct load *load_make(struct batch *t, struct waiter *lead, size_t most)
{
	struct load *l = t->s.queued ? calloc(1, sizeof(*l)) : NULL;
	struct waiter *w;

	lock_assert_held(&t->lock);
	if (!l)
		return NULL;
	l->who = calloc(MIN_OF(t->s.queued + 1, most), sizeof(struct waiter *));
	if (!l->who) {
		load_free(l);
		return NULL;
	}
	l->who[l->n++] = lead;
	TAILQ_FOREACH (w, &t->s.queue, link) {
		if (l->n == most)
			break;
		if (!strcmp(w->o.bucket, lead->o.bucket) && !has(l, w))
			l->who[l->n++] = w;
	}
	if (l->n == 1 || !load_fill(l)) {
		load_free(l);
		return NULL;
	}
	for (size_t i = 1; i < l->n; i++) {
		w = l->who[i];
		unqueue(t, w);
		w->place = SENT;
		w->load = l;
		w->at = i;
	}
	return l;
}

/* ---- what became of it ---- */

/* It may still come. */
static void in_doubt(struct err *err)
{
	(void)snprintf(err->code, sizeof(err->code), "%s", STORE_CODE_MANY);
}

/* Of one key, in an answer. */
static void told(struct waiter *w, const struct store_removal *v)
{
	const char *words = v->kind == ERR_NOT_FOUND ? "it is not there"
			    : v->kind == ERR_STALE   ? "another version is there"
			    : v->kind == ERR_UNKNOWN ? "the answer for many does not tell"
						     : NULL;

	w->r = v->r;
	w->alone = v->r && !words;
	if (!v->r || !words)
		return;
	err_set(w->err, v->r, v->kind, "remove %s/%s: %s", w->o.bucket, w->o.key, words);
	if (v->kind == ERR_UNKNOWN)
		in_doubt(w->err);
}

/* Of all, when there is none. The caller's end is not that of the others. */
static void failed(struct waiter *w, errint_t r, const struct err *err)
{
	enum err_kind kind = r == -EDQUOT ? ERR_RETRY : err->kind; /* they share the budget, too */

	switch (kind) {
	case ERR_CANCELLED:
		w->r = err_set(w->err, -EAGAIN, ERR_RETRY,
			"remove %s/%s: the request that it was to go with was called off",
			w->o.bucket, w->o.key);
		break;
	case ERR_UNKNOWN:
	case ERR_RETRY:
	case ERR_THROTTLE:
		*w->err = *err; /* and its code, where it may still come */
		w->r = r == -ECANCELED || r == -ETIMEDOUT ? -EIO : r;
		break;
	default: /* it may be for the request, not for what it is about */
		w->alone = true;
	}
}

/* Whether an answer says what became of any key. */
static bool settles(const struct load *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!l->v[i].r || l->v[i].kind != ERR_UNKNOWN)
			return true;
	return false;
}

/* What a whole request says about those to come. An answer that settles nothing is a refusal. */
static void learn(struct batch *t, const struct load *l, errint_t r, const struct err *err)
{
	bool refused = r == -EOPNOTSUPP || (err->kind == ERR_FINAL && err->http_status) ||
		       (!r && !settles(l));

	lock_assert_held(&t->lock);
	if (!r && !refused) {
		t->s.worked = true;
	} else if (refused && !t->s.worked) {
		if (!t->s.off)
			log_info("store",
				"bucket %s: objects are removed one by one, for the store does not "
				"take many at once: %s",
				l->who[0]->o.bucket,
				r ? err_text(err, r) : "an answer that tells nothing");
		t->s.off = true;
	} else if (!r || (err->kind == ERR_UNKNOWN && r != -ECANCELED) ||
		   (err->http_status && err->kind != ERR_THROTTLE)) {
		t->s.pause_until = clock_mono_ns() + PAUSE_NS;
	}
}

/* Hands out what became of each. The leader's own failure is in r and its err already. */
static void share(struct batch *t, const struct load *l, errint_t r, struct news_list *out)
{
	struct waiter *lead = l->who[0];

	lock_assert_held(&t->lock);
	learn(t, l, r, lead->err);
	if (r && lead->err->kind == ERR_UNKNOWN)
		in_doubt(lead->err);
	for (size_t i = 1; i < l->n; i++) {
		struct waiter *w = l->who[i];

		if (!w)
			continue;
		if (r)
			failed(w, r, lead->err);
		else
			told(w, &l->v[i]);
		place_set(w, DONE, out);
	}
	lead->r = r;
	if (!r)
		told(lead, &l->v[0]);
	else
		lead->alone = lead->err->kind != ERR_CANCELLED && lead->err->kind != ERR_UNKNOWN &&
			      lead->err->kind != ERR_RETRY && lead->err->kind != ERR_THROTTLE;
}

/* A place is free. The one that came last leads on: it has the most time left; of the bucket of the
 * one that came first, so that each has its turn. */
static void pass_on(struct batch *t, struct news_list *out)
{
	struct waiter *w, *lead;

	lock_assert_held(&t->lock);
	if (!batches(t)) { /* nobody waits for a place then */
		while ((w = TAILQ_FIRST(&t->s.queue))) {
			unqueue(t, w);
			w->alone = true;
			place_set(w, DONE, out);
		}
	}
	lead = TAILQ_FIRST(&t->s.queue);
	if (!lead) {
		assert(t->s.under_way);
		t->s.under_way--;
		return;
	}
	TAILQ_FOREACH (w, &t->s.queue, link)
		if (!strcmp(w->o.bucket, lead->o.bucket))
			lead = w;
	unqueue(t, lead);
	place_set(lead, LEADS, out);
}

/* ---- a removal ---- */

static size_t most_of(const struct store_caps *caps)
{
	return MIN_OF(caps->remove_batch, MOST);
}

/* Whether it may go with others at all. */
static bool may_gather(struct batch *t, const struct store_call *c, const char *if_match)
{
	struct store_caps caps;

	store_pass_caps(&t->store, &caps);
	return !c->once && most_of(&caps) > 1 && (!if_match || caps.remove_batch_cond);
}

static errint_t send_many(
	struct batch *t, const struct store_call *c, struct waiter *w, const struct load *l)
{
	struct store_call own = *c;

	own.deadline_mono_ns = MAX_OF(c->deadline_mono_ns, clock_mono_ns() + MANY_NS);
	count_add(store_batched, l->n);
	return store_pass_remove_many(&t->store, &own, w->o.bucket, l->v, l->n, w->err);
}

/* Sends its own and what goes along, and gives the place on. */
static void lead(struct batch *t, const struct store_call *c, struct waiter *w)
{
	struct news_list out = TAILQ_HEAD_INITIALIZER(out);
	struct store_caps caps;
	struct load *l = NULL;
	errint_t r = call_check(c, w->err);

	store_pass_caps(&t->store, &caps);
	if (!r) {
		LOCKED(&t->lock);
		if (batches(t))
			l = load_make(t, w, most_of(&caps));
	}
	if (l)
		r = send_many(t, c, w, l);
	else if (!r)
		r = store_pass_remove(&t->store, c, w->o, w->if_match, w->err);
	{
		LOCKED(&t->lock);
		w->r = r;
		if (l)
			share(t, l, r, &out);
		pass_on(t, &out);
		load_free(l);
	}
	tell(&out);
}

/* It goes alone, or leads, or queues; the lock is held. */
static void enter(struct batch *t, struct waiter *w)
{
	lock_assert_held(&t->lock);
	w->hash = hash64(w->o.key, strlen(w->o.key), 0);
	if (!batches(t)) {
		w->alone = true;
		w->place = DONE;
	} else if (t->s.under_way < BESIDE) {
		t->s.under_way++;
		w->place = LEADS;
	} else {
		enqueue(t, w);
	}
}

/* Before its end. What is on its way may happen. */
static void leave(struct batch *t, struct waiter *w, struct news_list *out)
{
	lock_assert_held(&t->lock);
	if (w->place == QUEUED)
		unqueue(t, w);
	else if (w->place == LEADS)
		pass_on(t, out);
	else if (w->place == SENT)
		w->load->who[w->at] = NULL;
}

/* ---- the layer ---- */

static void batch_destroy(struct store *s)
{
	struct batch *t = (struct batch *)s;

	assert(!t->s.under_way && !t->s.queued);
	lock_done(&t->lock);
	free(t);
}

static const struct store_ops batch_ops = {
	.name = "batch",
	.caps = store_pass_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = store_pass_##opn,
	STORE_OPS(X)
#undef X
		.destroy = batch_destroy,
};

struct store *store_batch_new(struct store *inner)
{
	struct batch *t = calloc(1, sizeof(*t));

	assert(inner);
	if (!t)
		return store_destroy(inner);
	t->store = (struct store){&batch_ops, inner};
	TAILQ_INIT(&t->s.queue);
	lock_init(&t->lock, RANK_STORE, "batch");
	return &t->store;
}

/* ---- who asks ---- */

static struct store_wait *wait_new(struct batch *t, struct store_obj o, const char *if_match)
{
	size_t n = strlen(o.bucket) + strlen(o.key) + 2 + (if_match ? strlen(if_match) + 1 : 0);
	struct store_wait *x = calloc(1, sizeof(*x) + n);
	char *to;

	if (!x)
		return NULL;
	to = x->text;
	x->batch = t;
	x->w.o.bucket = text_add(&to, o.bucket);
	x->w.o.key = text_add(&to, o.key);
	x->w.if_match = text_add(&to, if_match);
	x->w.err = &x->err;
	x->w.news = calloc(1, sizeof(*x->w.news));
	if (!x->w.news) {
		free(x);
		return NULL;
	}
	return x;
}

static void wait_free(struct store_wait *x)
{
	free(x->w.news);
	free(x);
}

errint_t store_remove_or_wait(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, store_wake_fn wake, void *arg, uint64_t id, struct store_wait **ret,
	struct err *err)
{
	struct batch *t = (struct batch *)store_layer_find(s, &batch_ops);
	struct store_call own = call_fill(c, LEAD_NS);
	struct store_wait *x = NULL;
	enum place place;

	*ret = NULL;
	if (t && !store_obj_check(o, err) && may_gather(t, &own, if_match))
		x = wait_new(t, o, if_match);
	if (!x)
		return store_remove(s, c, o, if_match, err);
	*x->w.news = (struct news){.wake = wake, .arg = arg, .id = id};
	lock_take(&t->lock);
	if (t->s.queued >= QUEUE_MAX) {
		lock_drop(&t->lock);
		wait_free(x);
		return store_remove(s, c, o, if_match, err);
	}
	enter(t, &x->w);
	place = x->w.place; /* who waits may be told from here on */
	lock_drop(&t->lock);
	if (place != QUEUED)
		return store_remove_end(x, c, err);
	*ret = x;
	return -EINPROGRESS;
}

errint_t store_remove_end(struct store_wait *x, const struct store_call *c, struct err *err)
{
	struct store_call own = call_fill(c, LEAD_NS);
	struct batch *t = x->batch;
	enum place place;
	struct err none;
	errint_t r;

	err = err ? err : &none;
	lock_take(&t->lock);
	place = x->w.place;
	lock_drop(&t->lock);
	if (place == QUEUED || place == SENT)
		return -EINPROGRESS;
	if (place == LEADS)
		lead(t, &own, &x->w);
	*err = x->err;
	r = x->w.r;
	if (x->w.alone) {
		err_clear(err);
		r = store_pass_remove(&t->store, &own, x->w.o, x->w.if_match, err);
	}
	wait_free(x);
	if (r && err->kind == ERR_NONE)
		err->kind = ERR_FINAL;
	return r;
}

void store_remove_leave(struct store_wait *x)
{
	struct news_list out = TAILQ_HEAD_INITIALIZER(out);
	struct batch *t;

	if (!x)
		return;
	t = x->batch;
	{
		LOCKED(&t->lock);
		leave(t, &x->w, &out);
	}
	wait_free(x);
	tell(&out);
}
