/* SPDX-License-Identifier: MIT */
/*
 * Conditions (If-Match, If-None-Match) and whether they hold. AWS holds them or says that it does
 * not, and is not asked. Other servers may ignore them silently, and then a write that should have
 * failed overwrites somebody's: so an endpoint of its own is asked once, before the first condition
 * matters, with objects under our temporary prefix. Where it does not hold them we look first
 * (HEAD), which leaves a moment in which others can write: docs/SEMANTICS.md says so.
 *
 * Three things are asked, each with an object of its own, so that all may be asked beside each
 * other, and nobody waits for what he does not need: a put, a removal, and an upload of parts,
 * where it is also asked whether the checksum of a copied range is that of the range (where it is
 * that of the whole source, uploads state no checksum, for readers would find the object damaged).
 * Whoever is about to write asks ahead (s3_ready), so that the answers are mostly there in time.
 *
 * Why no condition is sent to a store that would ignore it:
 *  - what was not asked yet is asked by the write itself, or waited for, before it goes on;
 *  - a question that failed for a reason that may pass is no answer: the write fails as the
 * question did, nothing was sent of it, and it is tried again (a server that has only errors for a
 *    condition counts as one that does not hold it, for a while);
 *  - where we may not ask (no right to write there), we look first and send the condition as well;
 *  - where a listing had objects without an ETag we look too before we write what should be new:
 *    for the server these are not there, and it would overwrite them;
 *  - answers are remembered for a week (store_learned), of the same URL, by the same version of
 *    astrafs, and dropped when the server calls itself something else than when it was asked. A
 *    mount that stays up believes them for longer.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

#define NO_SUCH_ETAG "00000000000000000000000000000000"
#define ASK_POLL_NS  (50 * NS_PER_MS)  /* how soon a call that waits sees its end */
#define FAILED_NS    (200 * NS_PER_MS) /* so long a question that failed is not put again */
#define FAILED_MAX   5		       /* such times; then it is taken for a no, for REFUSED_NS */
#define REFUSED_NS   (600 * NS_PER_S)  /* so long one that we may not put */
#define CLEAN_NS     (5 * NS_PER_S)
#define REMEMBER_S   (7 * 86400)

errint_t s3_cond_error(const char *if_match, const char *if_none_match, errint_t r, struct err *err)
{
	bool no_key = err->kind == ERR_NOT_FOUND && strcmp(err->code, "NoSuchBucket") != 0 &&
		      strcmp(err->code, "NoSuchUpload") != 0;

	if (!r || !(if_match || if_none_match))
		return r;
	if (if_match && no_key)
		err->kind = ERR_STALE;
	if (err->kind == ERR_STALE)
		r = if_none_match ? -EEXIST : -ESTALE;
	return r;
}

errint_t s3_cond_by_head(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *if_none_match, struct err *err)
{
	struct store_stat st = {0};
	struct net_answer a = {0};
	errint_t r = s3_head_raw(d, c, o, NULL, &a, &st, err);

	net_answer_done(&a);
	store_stat_done(&st);
	if (r && err->kind != ERR_NOT_FOUND)
		return r;
	err_clear(err);
	return driver_cond(r ? NULL : st.etag, if_match, if_none_match, o, err);
}

/* ---- asking ---- */

struct probe {
	struct s3 *d;
	const struct store_call *c;
	struct store_obj o;
	struct err err;
	unsigned holds;
	uint32_t server;
	bool made;  /* the object was */
	bool there; /* and still is, most likely */
};

static uint32_t server_of(const struct net_answer *a)
{
	const char *v = net_field_get(&a->fields, "server");

	return v ? crc32c(0, v, strlen(v)) : 0;
}

/* One request about the probe's object. */
static errint_t probe_send(struct probe *p, const char *method, bool cond)
{
	bool put = !strcmp(method, "PUT");
	struct s3_req q = {.what = "probe",
		.method = method,
		.bucket = p->o.bucket,
		.key = p->o.key,
		.body = put ? "xy" : NULL,
		.body_len = put ? 2 : 0,
		.c = p->c};
	struct net_answer a = {0};
	errint_t r;

	if (put) { /* what a copy must not take for the checksum of its range */
		s3_fields_sum(p->d, &q.fields, "xy", 2, crc32c(0, "xy", 2));
		s3_fields_sse(p->d, &q.fields);
		p->there = true;
	}
	if (cond)
		s3_field_etag(&q.fields, "If-Match", NO_SUCH_ETAG);
	err_clear(&p->err);
	r = s3_send(p->d, &q, &a, &p->err);
	if (!r)
		p->server = server_of(&a);
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

static errint_t make(struct probe *p)
{
	errint_t r;

	do
		r = probe_send(p, "PUT", false);
	while (s3_sum_fall(p->d, r, &p->err));
	p->made = !r;
	return r;
}

/* A request was done, refused for its condition, or is one that the endpoint does not know: all of
 * these are answers. Else its error. */
static errint_t answer(const struct probe *p, errint_t r)
{
	switch (r ? p->err.kind : ERR_NONE) {
	case ERR_NONE:
	case ERR_STALE:
	case ERR_NOT_FOUND:
	case ERR_FINAL:
		return 0;
	default:
		return r;
	}
}

static bool refused(const struct probe *p, errint_t r)
{
	return r && p->err.kind == ERR_STALE;
}

static errint_t ask_put(struct probe *p)
{
	errint_t r = make(p);

	if (r)
		return r;
	r = probe_send(p, "PUT", true);
	if (refused(p, r))
		p->holds |= S3_HOLDS_PUT;
	return answer(p, r);
}

static errint_t ask_remove(struct probe *p)
{
	errint_t r = make(p);

	if (r)
		return r;
	r = probe_send(p, "DELETE", true);
	if (refused(p, r))
		p->holds |= S3_HOLDS_REMOVE;
	p->there = r;
	return answer(p, r);
}

/* An upload over the object of its own first byte, finished with a condition that fails. */
static errint_t ask_parts(struct probe *p)
{
	struct store *s = &p->d->store;
	char id[STORE_UPLOAD_MAX];
	struct store_part part = {0};
	struct net_fields f = {0};
	struct store_stat st = {0};
	struct err ignored;
	errint_t r = make(p);

	if (r)
		return r;
	r = s3_begin_fields(p->d, p->c, p->o, NULL, NULL, true, id, &p->err);
	if (r)
		return answer(p, r);
	r = s3_part_copy(s, p->c, p->o, NULL, 0, 1, p->o, id, 1, &part, &p->err);
	if (!r) {
		if (!part.has_crc32c || part.crc32c == crc32c(0, "x", 1))
			p->holds |= S3_HOLDS_SUMS;
		s3_field_etag(&f, "If-Match", NO_SUCH_ETAG);
		r = s3_finish(p->d, p->c, p->o, id, &part, 1, false, &f, &st, &p->err);
		if (refused(p, r))
			p->holds |= S3_HOLDS_FINISH;
	}
	store_stat_done(&st);
	if (r)
		(void)s3_parts_abort(s, p->c, p->o, id, &ignored);
	return answer(p, r);
}

enum known { KNOWN_NO, KNOWN_YES, KNOWN_NOT };

/* A question without an answer. Its error when it is to be put again soon; else 0, and what to take
 * for the answer meanwhile. */
static errint_t not_told_locked(
	struct s3 *d, enum store_ready w, errint_t r, const struct probe *p, enum known *ret)
{
	struct s3_ask *a = &d->shared.ask[w];
	bool said = p->made && p->err.http_status && p->err.kind != ERR_THROTTLE;

	if (p->err.kind == ERR_CANCELLED) /* the caller's own affair */
		return r;
	*ret = KNOWN_NOT;
	a->until_ns = clock_mono_ns() + FAILED_NS;
	a->err = p->err;
	a->r = r;
	switch (p->err.kind) {
	case ERR_UNKNOWN: /* of the question; what it was put for was not sent */
		a->err.kind = ERR_RETRY;
		break;
	case ERR_RETRY:
	case ERR_THROTTLE:
	case ERR_NOT_FOUND: /* the bucket */
		break;
	default:
		said = false;
		a->until_ns += REFUSED_NS;
		a->r = 0;
	}
	if (said && ++a->failed >= FAILED_MAX) { /* it never says more to a condition */
		a->until_ns += REFUSED_NS;
		a->r = 0;
		*ret = KNOWN_NO;
	}
	a->as = (int)*ret;
	return a->r;
}

static errint_t ask_ended(
	struct s3 *d, enum store_ready w, errint_t r, struct probe *p, enum known *ret)
{
	struct s3_ask *a = &d->shared.ask[w];
	LOCKED(&d->lock);

	a->asking = false;
	(void)pthread_cond_broadcast(&d->asked);
	if (r) {
		r = not_told_locked(d, w, r, p, ret);
		if (r && p->err.kind != ERR_CANCELLED)
			p->err = a->err;
		return r;
	}
	if (!(atomic_load(&d->holds) & S3_ASKED_ALL))
		d->shared.asked_s = clock_now_ns() / NS_PER_S;
	d->shared.server = p->server;
	(void)atomic_fetch_or(&d->holds, p->holds | S3_ASKED(w));
	return 0;
}

/* Those who wait go on before it is tidied up. */
static errint_t ask(struct s3 *d, const struct store_call *c, const char *bucket,
	enum store_ready w, enum known *ret, struct err *err)
{
	static errint_t (*const fns[])(struct probe *) = {
		[STORE_READY_PUT] = ask_put,
		[STORE_READY_REMOVE] = ask_remove,
		[STORE_READY_PARTS] = ask_parts,
	};
	char key[64];
	struct probe p = {.d = d, .c = c, .o = {bucket, key}};
	struct store_call quiet = {0};
	errint_t r;

	snprintf(key, sizeof(key), STORE_TMP_PREFIX "probe-%016llx",
		(unsigned long long)random_u64());
	r = fns[w](&p);
	r = ask_ended(d, w, r, &p, ret);
	if (r)
		*err = p.err;
	quiet.deadline_mono_ns = clock_mono_ns() + CLEAN_NS;
	p.c = &quiet;
	if (p.there)
		(void)probe_send(&p, "DELETE", false);
	return r;
}

/* Many begin together: one of them asks, for all of them. When it is not told, 0 and *ret. */
static errint_t ask_once(struct s3 *d, const struct store_call *c, const char *bucket,
	enum store_ready w, enum known *ret, struct err *err)
{
	struct s3_ask *a = &d->shared.ask[w];
	errint_t r = 0;
	bool mine = false;

	lock_take(&d->lock);
	while (a->asking && !(r = call_check(c, err)))
		(void)cond_wait_until(&d->asked, &d->lock, clock_mono_ns() + ASK_POLL_NS);
	if (!r && !(atomic_load(&d->holds) & S3_ASKED(w))) {
		if (clock_mono_ns() < a->until_ns) {
			*ret = (enum known)a->as;
			r = a->r;
			if (r)
				*err = a->err;
		} else {
			mine = a->asking = true;
		}
	}
	lock_drop(&d->lock);
	return mine ? ask(d, c, bucket, w, ret, err) : r;
}

/* ---- what is known ---- */

static errint_t know(struct s3 *d, const struct store_call *c, const char *bucket, unsigned what,
	enum known *ret, struct err *err)
{
	enum store_ready w = what == S3_HOLDS_PUT      ? STORE_READY_PUT
			     : what == S3_HOLDS_REMOVE ? STORE_READY_REMOVE
						       : STORE_READY_PARTS;
	unsigned holds;
	errint_t r = 0;

	*ret = KNOWN_YES;
	if (what != S3_HOLDS_SUMS && d->conf.cond != S3_COND_AUTO) {
		*ret = d->conf.cond == S3_COND_YES ? KNOWN_YES : KNOWN_NO;
		return 0;
	}
	if (d->conf.aws)
		return 0;
	*ret = KNOWN_NOT;
	if (!(atomic_load(&d->holds) & S3_ASKED(w)))
		r = ask_once(d, c, bucket, w, ret, err);
	holds = atomic_load(&d->holds);
	if (holds & S3_ASKED(w))
		*ret = holds & what ? KNOWN_YES : KNOWN_NO;
	return r;
}

bool s3_sums_hold(struct s3 *d, const struct store_call *c, const char *bucket)
{
	enum known k;
	struct err ignored;

	return know(d, c, bucket, S3_HOLDS_SUMS, &k, &ignored) || k != KNOWN_NO;
}

errint_t s3_cond(struct s3 *d, const struct store_call *c, struct store_obj o, unsigned what,
	const char *if_match, const char *if_none_match, struct net_fields *f, struct err *err)
{
	enum known k;
	errint_t r;

	if (!if_match && !if_none_match)
		return 0;
	r = know(d, c, o.bucket, what, &k, err);
	if (!r && (k != KNOWN_YES || (if_none_match && atomic_load(&d->bare_told_ns))))
		r = s3_cond_by_head(d, c, o, if_match, if_none_match, err);
	if (!r && k != KNOWN_NO)
		s3_fields_cond(f, if_match, if_none_match);
	return r;
}

errint_t s3_ready(struct store *s, const struct store_call *c, const char *bucket,
	enum store_ready w, struct err *err)
{
	static const unsigned what[] = {
		[STORE_READY_PUT] = S3_HOLDS_PUT,
		[STORE_READY_REMOVE] = S3_HOLDS_REMOVE,
		[STORE_READY_PARTS] = S3_HOLDS_SUMS,
	};
	enum known k;

	return know((struct s3 *)s, c, bucket, what[w], &k, err);
}

/* ---- what is remembered ---- */

/* What an answer belongs to, as the beginning of a text. */
static void whose(const struct s3 *d, struct buf *b)
{
	(void)buf_adds(b, ASTRA_VERSION "\n");
	s3_endpoint_text(d, b);
	(void)buf_adds(b, "\n");
}

void s3_learned(struct s3 *d, struct buf *ret)
{
	unsigned holds;
	LOCKED(&d->lock);

	holds = atomic_load(&d->holds);
	if (d->conf.aws || !holds)
		return;
	whose(d, ret);
	(void)buf_addf(ret, "%x %lld %x\n", d->shared.server, (long long)d->shared.asked_s, holds);
}

void s3_recall(struct s3 *d, const char *text)
{
	cleanup_buf struct buf b = BUF_INIT(8192);
	int64_t now_s = clock_now_ns() / NS_PER_S;
	unsigned server, holds;
	long long asked_s;

	whose(d, &b);
	if (d->conf.aws || b.failed || strncmp(text, b.p, b.len) != 0 ||
		sscanf(text + b.len, "%x %lld %x", &server, &asked_s, &holds) != 3 ||
		asked_s > now_s || now_s - asked_s > REMEMBER_S)
		return;
	LOCKED(&d->lock);
	if (atomic_load(&d->holds))
		return;
	d->shared.server = server;
	d->shared.asked_s = asked_s;
	atomic_store(&d->holds, holds);
	atomic_store(&d->recalled, holds != 0);
}

/* An answer of another server than the one that was asked in an earlier mount: it is asked anew. */
void s3_look_server(struct s3 *d, const struct net_answer *a)
{
	uint32_t server = server_of(a);
	LOCKED(&d->lock);

	if (!atomic_load(&d->recalled) || server == d->shared.server)
		return;
	atomic_store(&d->recalled, false);
	atomic_store(&d->holds, 0);
}
