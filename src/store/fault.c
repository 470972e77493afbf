/* SPDX-License-Identifier: MIT */
/*
 * Fault layer, innermost: makes the store below it fail as told, for tests and demonstrations.
 *
 *	RULES  = RULE { ';' RULE }            e.g.  put:n=3:error=EIO; *:p=0.05:seed=7:delay=20
 *	RULE   = OPS { ':' WHEN } ':' ACTION { ':' ACTION }
 *	OPS    = '*' or names joined by ',': head get put remove remove_many list copy rename
 *	         set_tier restore parts_begin part_put part_copy parts_list parts_finish
 *	         parts_abort parts_pending set_meta bucket_list bucket_create bucket_remove
 *	         lifecycle_get lifecycle_put
 * WHEN, all must hold; calls that match OPS and key are counted from 1, per rule:
 *	n=N        the Nth call only
 *	after=N    calls behind the Nth
 *	every=N    each Nth call
 *	p=F        with this probability, 0 to 1, by a generator started with
 *	seed=N     (default 1): the same calls in the same order fail again
 *	times=N    at most N times in all
 *	key=GLOB   keys that match (fnmatch; for list the prefix)
 * ACTION:
 *	delay=MS          wait first; goes with the others
 *	error=E[/KIND]    fail without effect; E: EIO, ENOSPC ... KIND: final retry throttle auth
 *	                  stale archived not-found unknown; the default is by E, mostly retry
 *	throttle[=MS]     fail without effect, asked to come back after MS
 *	timeout[=MS]      wait MS (default: to the deadline), then fail with ETIMEDOUT, not done;
 *	                  ERR_RETRY when nothing could change, else ERR_UNKNOWN
 *	hang              wait for the deadline, the cancel flag, or other rules; then go on
 *	short             get: done, but half of the bytes are missing and nobody says so;
 *	                  others: as error=EIO
 *	halt              get: half of the bytes, the others when there are other rules; other
 *	                  operations: as error=EIO
 *	cut               get: half of the bytes, then the connection ends; others: as error=EIO
 *	corrupt           one bit of what is read, or written, is wrong
 *	lost              done, but the answer is lost: ERR_UNKNOWN
 * The first rule that applies acts, but for a pure delay, which adds to what follows.
 */
#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "layer.h"

#define RULES_MAX 64
#define TEXT_MAX  8192

enum action {
	ACT_NONE,
	ACT_ERROR,
	ACT_TIMEOUT,
	ACT_HANG,
	ACT_SHORT,
	ACT_CUT,
	ACT_HALT,
	ACT_CORRUPT,
	ACT_LOST
};

struct rule {
	bool ops[OP_N];
	uint64_t n, after, every, times; /* 0 = not given */
	double p;			 /* < 0 = not given */
	uint64_t random;		 /* generator */
	char key[128];			 /* "" = any */
	int64_t delay_ns;
	enum action action;
	int error; /* positive */
	enum err_kind kind;
	unsigned after_ms; /* of throttle, timeout */
	uint64_t seen, hits;
};

struct fault {
	struct store store;
	struct lock lock;   /* rules */
	struct rule *rules; /* owned */
	size_t n;
	_Atomic uint64_t version; /* of the rules: wakes what hangs */
};

/* What is to happen to one call. */
struct verdict {
	enum action action;
	int64_t delay_ns;
	int error;
	enum err_kind kind;
	unsigned after_ms;
	uint64_t version;
};

/* ---- rules as text ---- */

struct word { /* a slice of the text */
	const char *s;
	size_t len;
};

static struct word cut(struct word *from, char at)
{
	const char *e = memchr(from->s, at, from->len);
	struct word w = {from->s, e ? (size_t)(e - from->s) : from->len};
	size_t used = w.len + (e != NULL);

	from->s += used;
	from->len -= used;
	while (w.len && (*w.s == ' ' || *w.s == '\t' || *w.s == '\n')) {
		w.s++;
		w.len--;
	}
	while (w.len && (w.s[w.len - 1] == ' ' || w.s[w.len - 1] == '\t' || w.s[w.len - 1] == '\n'))
		w.len--;
	return w;
}

static bool is(struct word w, const char *s)
{
	return w.len == strlen(s) && !memcmp(w.s, s, w.len);
}

static errint_t bad(struct word w, const char *what, struct err *err)
{
	return err_set(err, -EINVAL, ERR_FINAL, "fault rules: '%.*s': %s",
		(int)MIN_OF(w.len, (size_t)80), w.s, what);
}

static errint_t number(struct word w, uint64_t min, uint64_t *ret, struct err *err)
{
	uint64_t v = 0;

	if (!w.len || w.len > 18)
		return bad(w, "not a number", err);
	for (size_t i = 0; i < w.len; i++) {
		if (w.s[i] < '0' || w.s[i] > '9')
			return bad(w, "not a number", err);
		v = 10 * v + (uint64_t)(w.s[i] - '0');
	}
	if (v < min)
		return bad(w, "too small", err);
	*ret = v;
	return 0;
}

static errint_t millis(struct word w, uint64_t *ret, struct err *err)
{
	errint_t r = number(w, 0, ret, err);

	return r ? r : *ret > 86400000 ? bad(w, "more than a day", err) : 0;
}

static errint_t probability(struct word w, double *ret, struct err *err)
{
	char own[32], *end;

	if (!w.len || w.len >= sizeof(own))
		return bad(w, "not a probability", err);
	memcpy(own, w.s, w.len);
	own[w.len] = 0;
	*ret = strtod(own, &end);
	return *end || !(*ret >= 0 && *ret <= 1) ? bad(w, "not between 0 and 1", err) : 0;
}

static const struct {
	const char *name;
	int error;
	enum err_kind kind;
} errors[] = {
	{"EIO", EIO, ERR_RETRY},
	{"ETIMEDOUT", ETIMEDOUT, ERR_RETRY},
	{"ECONNRESET", ECONNRESET, ERR_RETRY},
	{"ECONNREFUSED", ECONNREFUSED, ERR_RETRY},
	{"EHOSTUNREACH", EHOSTUNREACH, ERR_RETRY},
	{"EAGAIN", EAGAIN, ERR_RETRY},
	{"EBUSY", EBUSY, ERR_THROTTLE},
	{"EBADMSG", EBADMSG, ERR_RETRY},
	{"ENOSPC", ENOSPC, ERR_FINAL},
	{"EDQUOT", EDQUOT, ERR_FINAL},
	{"EROFS", EROFS, ERR_FINAL},
	{"EINVAL", EINVAL, ERR_FINAL},
	{"EACCES", EACCES, ERR_AUTH},
	{"EPERM", EPERM, ERR_AUTH},
	{"ENOENT", ENOENT, ERR_NOT_FOUND},
	{"ESTALE", ESTALE, ERR_STALE},
	{"EEXIST", EEXIST, ERR_STALE},
	{"ENOTEMPTY", ENOTEMPTY, ERR_FINAL},
	{"EISDIR", EISDIR, ERR_FINAL},
	{"ENOTDIR", ENOTDIR, ERR_FINAL},
	{"EOPNOTSUPP", EOPNOTSUPP, ERR_FINAL},
};

static errint_t error_parse(struct word w, struct rule *ret, struct err *err)
{
	struct word e = cut(&w, '/');

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		if (is(e, errors[i].name)) {
			ret->error = errors[i].error;
			ret->kind = errors[i].kind;
		}
	}
	if (!ret->error)
		return bad(e, "no such error", err);
	if (!w.len)
		return 0;
	for (enum err_kind k = ERR_FINAL; k <= ERR_UNKNOWN; k++) {
		if (is(w, err_kind_name(k))) {
			ret->kind = k;
			return 0;
		}
	}
	return bad(w, "no such kind of error", err);
}

static errint_t when_parse(
	struct word k, struct word v, struct rule *ret, bool *known, struct err *err)
{
	*known = true;
	if (is(k, "n"))
		return number(v, 1, &ret->n, err);
	if (is(k, "after"))
		return number(v, 1, &ret->after, err);
	if (is(k, "every"))
		return number(v, 1, &ret->every, err);
	if (is(k, "times"))
		return number(v, 1, &ret->times, err);
	if (is(k, "seed"))
		return number(v, 0, &ret->random, err);
	if (is(k, "p"))
		return probability(v, &ret->p, err);
	if (is(k, "key")) {
		if (!v.len || v.len >= sizeof(ret->key))
			return bad(v, "not a pattern", err);
		memcpy(ret->key, v.s, v.len);
		ret->key[v.len] = 0;
		return 0;
	}
	*known = false;
	return 0;
}

static errint_t action_parse(struct word k, struct word v, struct rule *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum action action;
	} plain[] = {{"hang", ACT_HANG}, {"short", ACT_SHORT}, {"cut", ACT_CUT}, {"halt", ACT_HALT},
		{"corrupt", ACT_CORRUPT}, {"lost", ACT_LOST}};
	uint64_t ms = 0;
	errint_t r = 0;

	if (is(k, "delay")) {
		r = millis(v, &ms, err);
		ret->delay_ns = (int64_t)ms * NS_PER_MS;
		return r;
	}
	if (ret->action)
		return bad(k, "a rule has one action (and delay)", err);
	if (is(k, "error")) {
		ret->action = ACT_ERROR;
		return error_parse(v, ret, err);
	}
	if (is(k, "throttle") || is(k, "timeout")) {
		ret->action = is(k, "timeout") ? ACT_TIMEOUT : ACT_ERROR;
		ret->error = is(k, "timeout") ? ETIMEDOUT : EBUSY;
		ret->kind = ERR_THROTTLE;
		r = v.s ? millis(v, &ms, err) : 0;
		ret->after_ms = (unsigned)ms;
		return r;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++)
		if (is(k, plain[i].name))
			ret->action = plain[i].action;
	if (!ret->action)
		return bad(k, "neither a condition nor an action", err);
	return v.s ? bad(v, "this action takes no value", err) : 0;
}

static errint_t ops_parse(struct word w, struct rule *ret, struct err *err)
{
	if (!w.len)
		return bad(w, "no operation", err);
	while (w.len) {
		struct word one = cut(&w, ',');
		enum store_op op;

		if (is(one, "*")) {
			for (unsigned i = 0; i < OP_N; i++)
				ret->ops[i] = true;
		} else if (!store_op_parse(one.s, one.len, &op)) {
			ret->ops[op] = true;
		} else {
			return bad(one, "no such operation", err);
		}
	}
	return 0;
}

static errint_t rule_parse(struct word w, struct rule *ret, struct err *err)
{
	struct word whole = w;
	errint_t r;

	*ret = (struct rule){.p = -1, .random = 1};
	r = ops_parse(cut(&w, ':'), ret, err);
	while (!r && w.len) {
		struct word v = cut(&w, ':'), k = cut(&v, '=');
		bool known;

		if (k.s + k.len == v.s && !v.len)
			v.s = NULL; /* no '=' at all */
		r = when_parse(k, v, ret, &known, err);
		if (!r && !known)
			r = action_parse(k, v, ret, err);
	}
	if (!r && !ret->action && !ret->delay_ns)
		r = bad(whole, "says nothing to do", err);
	/* A generator of this kind must not start at 0. */
	ret->random = ret->random * 0x9e3779b97f4a7c15ULL + 0x632be59bd9b4e019ULL;
	return r;
}

static errint_t rules_parse(const char *text, struct rule **ret, size_t *ret_n, struct err *err)
{
	struct word w = {text, strlen(text)};
	struct rule *v;
	size_t n = 0;
	errint_t r = 0;

	*ret = NULL;
	*ret_n = 0;
	if (w.len > TEXT_MAX)
		return err_set(
			err, -EINVAL, ERR_FINAL, "fault rules: more than %d bytes", TEXT_MAX);
	v = calloc(RULES_MAX, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	while (!r && w.len) {
		struct word one = cut(&w, ';');

		if (!one.len)
			continue;
		r = n == RULES_MAX ? bad(one, "too many rules", err)
				   : rule_parse(one, &v[n++], err);
	}
	if (r) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* ---- deciding ---- */

static double random_unit(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (double)(*x >> 11) / 9007199254740992.0;
}

static bool rule_applies(struct rule *r, enum store_op op, const char *key)
{
	if (!r->ops[op] || (r->key[0] && fnmatch(r->key, key, 0)))
		return false;
	r->seen++;
	if (r->n && r->seen != r->n)
		return false;
	if (r->after && r->seen <= r->after)
		return false;
	if (r->every && r->seen % r->every)
		return false;
	if (r->times && r->hits >= r->times)
		return false;
	if (r->p >= 0 && random_unit(&r->random) >= r->p)
		return false;
	r->hits++;
	return true;
}

static struct verdict decide(struct fault *f, enum store_op op, const char *key)
{
	struct verdict v = {0};

	LOCKED(&f->lock);
	v.version = atomic_load(&f->version);
	for (size_t i = 0; i < f->n && !v.action; i++) {
		struct rule *r = &f->rules[i];

		if (!rule_applies(r, op, key))
			continue;
		v.delay_ns += r->delay_ns;
		v.action = r->action;
		v.error = r->error;
		v.kind = r->kind;
		v.after_ms = r->after_ms;
	}
	return v;
}

/* Waits for the caller's end or for other rules. */
static errint_t hang(
	struct fault *f, const struct store_call *c, const struct verdict *v, struct err *err)
{
	while (atomic_load(&f->version) == v->version) {
		errint_t r = call_sleep_until(c, clock_mono_ns() + 20 * NS_PER_MS, err);

		if (r)
			return r;
	}
	return 0;
}

static errint_t timed_out(enum store_op op, struct err *err)
{
	return err_set(err, -ETIMEDOUT, store_op_reads(op) ? ERR_RETRY : ERR_UNKNOWN,
		"fault: %s timed out", store_op_name(op));
}

/* Before the call: a failure, or 0 to go on. */
static errint_t before(struct fault *f, const struct store_call *c, enum store_op op,
	const struct verdict *v, struct err *err)
{
	errint_t r = 0;

	if (v->delay_ns)
		r = call_sleep_until(c, clock_mono_ns() + v->delay_ns, err);
	if (r)
		return r;
	switch (v->action) {
	case ACT_ERROR:
		r = err_set(err, -v->error, v->kind, "fault: %s fails", store_op_name(op));
		if (err && v->kind == ERR_THROTTLE)
			err->retry_after_ms = v->after_ms;
		return r;
	case ACT_TIMEOUT:
		r = call_sleep_until(c,
			v->after_ms ? clock_mono_ns() + (int64_t)v->after_ms * NS_PER_MS
				    : INT64_MAX,
			err);
		return r == -ECANCELED ? r : timed_out(op, err);
	case ACT_HANG:
		return hang(f, c, v, err);
	case ACT_SHORT:
	case ACT_CUT:
	case ACT_HALT:
		if (op != OP_get)
			return err_set(err, -EIO, ERR_RETRY, "fault: %s: connection cut",
				store_op_name(op));
		return 0;
	default:
		return 0;
	}
}

static errint_t lost(enum store_op op, struct err *err)
{
	return err_set(err, -EIO, store_op_reads(op) ? ERR_RETRY : ERR_UNKNOWN,
		"fault: the answer of %s was lost", store_op_name(op));
}

/* ---- operations ---- */

/* What a successful call left in its out-parameters goes when its answer is lost. */
static void drop_none(void *p)
{
}
static void drop_stat(struct store_stat *st)
{
	store_stat_done(st);
}
static void drop_page(struct store_page *p)
{
	store_page_done(p);
}
static void drop_parts(struct store_part **p)
{
	free(*p);
	*p = NULL;
}
static void drop_uploads(struct store_upload **p)
{
	free(*p);
	*p = NULL;
}
static void drop_text(char **p)
{
	free(*p);
	*p = NULL;
}
#define DROP(p)                                                                                    \
	_Generic((p), struct store_stat *: drop_stat, struct store_page *: drop_page,              \
		struct store_part **: drop_parts, struct store_upload **: drop_uploads,            \
		char **: drop_text, default: drop_none)(p)
#define DROP_head	   ret
#define DROP_get	   NULL
#define DROP_put	   ret
#define DROP_remove	   NULL
#define DROP_remove_many   NULL
#define DROP_list	   ret
#define DROP_copy	   ret
#define DROP_rename	   ret
#define DROP_set_tier	   ret
#define DROP_restore	   NULL
#define DROP_parts_begin   NULL
#define DROP_part_put	   NULL
#define DROP_part_copy	   NULL
#define DROP_parts_list	   ret
#define DROP_parts_finish  ret
#define DROP_parts_abort   NULL
#define DROP_parts_pending ret
#define DROP_set_meta	   ret
#define DROP_bucket_list   NULL
#define DROP_bucket_create NULL
#define DROP_bucket_remove NULL
#define DROP_lifecycle_get ret_json
#define DROP_lifecycle_put NULL
#define DROP_ready	   NULL

#define X(opn, key, want, done, cond, params, args)                                                \
	static errint_t fault_plain_##opn(struct store *s, const struct store_call *c, UNP params, \
		struct verdict *v, struct err *err)                                                \
	{                                                                                          \
		errint_t r = before((struct fault *)s, c, OP_##opn, v, err);                       \
                                                                                                   \
		/* A list of names is an array of arrays: better not asked for than dropped. */    \
		if (!r && v->action == ACT_LOST && OP_##opn == OP_bucket_list)                     \
			return lost(OP_##opn, err);                                                \
		r = r ? r : store_pass_##opn(s, c, UNP args, err);                                 \
		if (r || v->action != ACT_LOST)                                                    \
			return r;                                                                  \
		DROP(DROP_##opn);                                                                  \
		return lost(OP_##opn, err);                                                        \
	}
STORE_OPS(X)
#undef X

#define X(opn, key, want, done, cond, params, args)                                                \
	static errint_t fault_##opn(                                                               \
		struct store *s, const struct store_call *c, UNP params, struct err *err)          \
	{                                                                                          \
		struct verdict v = decide((struct fault *)s, OP_##opn, key);                       \
                                                                                                   \
		return fault_plain_##opn(s, c, UNP args, &v, err);                                 \
	}
STORE_OPS_OTHER(X)
#undef X

/* The second half, once the rules have changed. */
static errint_t get_rest(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len,
	const struct verdict *v, struct err *err)
{
	size_t got = 0;
	errint_t r;

	store_progressed(c->progress, *ret_len);
	r = hang((struct fault *)s, c, v, err);
	if (!r)
		r = fault_plain_get(s,
			&(struct store_call){
				.deadline_mono_ns = c->deadline_mono_ns, .cancel = c->cancel},
			o, if_match, off + *ret_len, (uint8_t *)p + *ret_len, len - *ret_len, &got,
			&(struct verdict){0}, err);
	*ret_len = r ? 0 : *ret_len + got;
	return r;
}

/* A copy of the caller's bytes with one bit wrong; NULL without memory. */
static void *spoiled(const void *p, size_t len)
{
	uint8_t *q = malloc(len + 1);

	if (q && len) {
		memcpy(q, p, len);
		q[len / 2] ^= 1;
	}
	return q;
}

/* What lies between a store and a sink: from `at` on the bytes are spoiled, or come no
 * more. */
struct spoil {
	struct store_sink sink;
	struct store_sink *to;
	struct fault *f;
	const struct store_call *c;
	const struct verdict *v;
	uint64_t at;
};

static bool spoil_take(struct store_sink *s, const void *bytes, size_t n)
{
	struct spoil *sp = container_of(s, struct spoil, sink);
	cleanup_free uint8_t *wrong = NULL;
	uint64_t at;
	size_t before;

	if (sp->at - s->taken >= n)
		return store_sink_take(sp->to, bytes, n);
	at = sp->at;
	sp->at = UINT64_MAX; /* once is enough */
	if (sp->v->action == ACT_CORRUPT) {
		wrong = spoiled(bytes, n);
		return store_sink_take(sp->to, wrong ? wrong : bytes, n);
	}
	before = (size_t)(at - s->taken);
	return store_sink_take(sp->to, bytes, before) && sp->v->action == ACT_HALT &&
	       !hang(sp->f, sp->c, sp->v, NULL) &&
	       store_sink_take(sp->to, (const uint8_t *)bytes + before, n - before);
}

static errint_t get_spoiled(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, size_t len, size_t *ret_len, struct verdict *v,
	struct err *err)
{
	struct spoil sp = {.sink.take = spoil_take,
		.to = c->sink,
		.f = (struct fault *)s,
		.c = c,
		.v = v,
		.at = len / 2};
	uint64_t taken = c->sink->taken;
	struct store_call call = *c;
	errint_t r;

	call.sink = &sp.sink;
	r = fault_plain_get(s, &call, o, if_match, off, NULL, len, ret_len, v, err);
	*ret_len = (size_t)(c->sink->taken - taken);
	if (!r || c->sink->stopped || !sp.sink.stopped)
		return r;
	err_clear(err);
	return v->action == ACT_SHORT ? 0
				      : err_set(err, -ECONNRESET, ERR_RETRY,
						"fault: connection cut after %zu bytes", *ret_len);
}

static errint_t fault_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct verdict v = decide((struct fault *)s, OP_get, o.key);
	size_t ask = v.action == ACT_CUT || v.action == ACT_HALT ? len / 2 : len;
	struct store_call quiet = *c;
	errint_t r;

	if (c->sink && (v.action == ACT_CORRUPT || v.action == ACT_SHORT || v.action == ACT_CUT ||
			       v.action == ACT_HALT))
		return get_spoiled(s, c, o, if_match, off, len, ret_len, &v, err);
	/* Bytes are spoiled after they came: nobody must see them before. */
	if (v.action == ACT_CORRUPT || v.action == ACT_SHORT || v.action == ACT_HALT)
		quiet.progress = NULL;
	r = fault_plain_get(s, &quiet, o, if_match, off, p, ask, ret_len, &v, err);
	if (r)
		return r;
	if (v.action == ACT_HALT && *ret_len == ask)
		return get_rest(s, c, o, if_match, off, p, len, ret_len, &v, err);
	if (v.action == ACT_CORRUPT && *ret_len)
		((uint8_t *)p)[*ret_len / 2] ^= 1;
	if (v.action == ACT_SHORT)
		*ret_len /= 2;
	if (v.action == ACT_CUT)
		return err_set(err, -ECONNRESET, ERR_RETRY, "fault: connection cut after %zu bytes",
			*ret_len);
	return 0;
}

static errint_t fault_put(struct store *s, const struct store_call *c, struct store_obj o,
	const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	struct verdict v = decide((struct fault *)s, OP_put, o.key);
	cleanup_free void *wrong = v.action == ACT_CORRUPT ? spoiled(p, len) : NULL;

	return fault_plain_put(s, c, o, wrong ? wrong : p, len, opt, ret, &v, err);
}

static errint_t fault_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct verdict v = decide((struct fault *)s, OP_part_put, o.key);
	cleanup_free void *wrong = v.action == ACT_CORRUPT ? spoiled(p, len) : NULL;

	return fault_plain_part_put(s, c, o, id, number, wrong ? wrong : p, len, crc, ret, &v, err);
}

/* What fails, or takes its time, is not like a file here. */
static void fault_caps(struct store *s, struct store_caps *ret)
{
	store_pass_caps(s, ret);
	ret->near = false;
}

static void fault_destroy(struct store *s)
{
	struct fault *f = (struct fault *)s;

	lock_done(&f->lock);
	free(f->rules);
	free(f);
}

static const struct store_ops fault_ops = {
	.name = "fault",
	.caps = fault_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = fault_##opn,
	STORE_OPS(X)
#undef X
		.destroy = fault_destroy,
};

errint_t store_fault_set(struct store *s, const char *rules, struct err *err)
{
	struct fault *f = (struct fault *)store_layer_find(s, &fault_ops);
	struct rule *v, *old;
	size_t n;
	errint_t r;

	if (!f)
		return err_set(err, -ENOENT, ERR_FINAL, "this remote has no fault layer");
	r = rules_parse(rules, &v, &n, err);
	if (r)
		return r;
	{
		LOCKED(&f->lock);
		old = f->rules;
		f->rules = v;
		f->n = n;
		atomic_fetch_add(&f->version, 1);
	}
	free(old);
	return 0;
}

struct store *store_fault_new(struct store *inner, const char *rules, struct err *err)
{
	struct fault *f = calloc(1, sizeof(*f));

	assert(inner);
	if (!f)
		return store_destroy(inner);
	f->store = (struct store){&fault_ops, inner};
	lock_init(&f->lock, RANK_STORE, "fault");
	if (store_fault_set(&f->store, rules, err))
		return store_destroy(&f->store);
	return &f->store;
}
