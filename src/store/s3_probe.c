/* SPDX-License-Identifier: MIT */
/*
 * Conditions (If-Match, If-None-Match) and whether they hold. AWS holds them or says that it does
 * not. Other servers may ignore them silently, and then a write that should have failed overwrites
 * somebody's: so an endpoint of its own is asked once, before the first condition matters, with an
 * object under our temporary prefix. Where it does not hold them we look first (HEAD), which
 * leaves a moment in which others can write: docs/SEMANTICS.md says so.
 *
 * Asked in passing: whether the checksum of a copied range is that of the range. Where it is that
 * of the whole source, uploads state no checksum, for readers would find the object damaged.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

#define NO_SUCH_ETAG "00000000000000000000000000000000"
#define ASK_POLL_NS  (50 * NS_PER_MS) /* how soon a call that waits sees its end */

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
};

/* One request about the probe's object; whether it was refused for its condition. */
static bool refused(struct probe *p, const char *method, bool cond, errint_t *ret)
{
	bool put = !strcmp(method, "PUT");
	struct s3_req q = {.what = "probe",
		.method = method,
		.bucket = p->o.bucket,
		.key = p->o.key,
		.body = put ? "xy" : NULL,
		.body_len = put ? 2 : 0,
		.c = p->c};

	if (put) { /* what a copy must not take for the checksum of its range */
		s3_fields_sum(p->d, &q.fields, "xy", 2, crc32c(0, "xy", 2));
		s3_fields_sse(p->d, &q.fields);
	}
	if (cond)
		s3_field_etag(&q.fields, "If-Match", NO_SUCH_ETAG);
	err_clear(&p->err);
	*ret = s3_send_only(p->d, &q, &p->err);
	return *ret && p->err.kind == ERR_STALE;
}

/* An upload over the object of its own first byte, finished with a condition that fails. */
static void ask_parts(struct probe *p)
{
	char id[STORE_UPLOAD_MAX];
	struct store_part part = {0};
	struct net_fields f = {0};
	struct store_stat st = {0};
	struct store *s = &p->d->store;
	errint_t r = s3_begin_fields(p->d, p->c, p->o, NULL, NULL, true, id, &p->err);

	if (r)
		return;
	r = s3_part_copy(s, p->c, p->o, NULL, 0, 1, p->o, id, 1, &part, &p->err);
	if (!r && (!part.has_crc32c || part.crc32c == crc32c(0, "x", 1)))
		p->holds |= S3_HOLDS_SUMS;
	s3_field_etag(&f, "If-Match", NO_SUCH_ETAG);
	if (r) {
		net_fields_done(&f);
	} else {
		r = s3_finish(p->d, p->c, p->o, id, &part, 1, false, &f, &st, &p->err);
		if (r && p->err.kind == ERR_STALE)
			p->holds |= S3_HOLDS_FINISH;
	}
	store_stat_done(&st);
	if (r)
		(void)s3_parts_abort(s, p->c, p->o, id, &p->err);
}

/* S3_HOLDS_*, or 0 when it could not be asked. */
static unsigned ask(struct s3 *d, const struct store_call *c, const char *bucket)
{
	char key[64];
	struct probe p = {.d = d, .c = c, .o = {bucket, key}, .holds = S3_HOLDS_ASKED};
	errint_t r;

	snprintf(key, sizeof(key), STORE_TMP_PREFIX "probe-%016llx",
		(unsigned long long)random_u64());
	do
		(void)refused(&p, "PUT", false, &r);
	while (s3_sum_fall(d, r, &p.err));
	if (r)
		return 0;
	if (refused(&p, "PUT", true, &r))
		p.holds |= S3_HOLDS_PUT;
	ask_parts(&p);
	if (refused(&p, "DELETE", true, &r))
		p.holds |= S3_HOLDS_REMOVE;
	(void)refused(&p, "DELETE", false, &r);
	return p.holds;
}

/* Uploads begin together: one of them asks, for all of them, also when it gets no answer. */
static unsigned ask_once(struct s3 *d, const struct store_call *c, const char *bucket)
{
	unsigned holds;
	bool other;

	lock_take(&d->lock);
	other = d->shared.asking;
	while (d->shared.asking && !call_check(c, NULL))
		(void)cond_wait_until(&d->asked, &d->lock, clock_mono_ns() + ASK_POLL_NS);
	holds = atomic_load(&d->holds);
	if (!other && !holds)
		d->shared.asking = true;
	lock_drop(&d->lock);
	if (other || holds)
		return holds;
	holds = ask(d, c, bucket);
	LOCKED(&d->lock);
	atomic_store(&d->holds, holds);
	d->shared.asking = false;
	(void)pthread_cond_broadcast(&d->asked);
	return holds;
}

bool s3_holds(struct s3 *d, const struct store_call *c, const char *bucket, unsigned what)
{
	unsigned holds;

	if (what != S3_HOLDS_SUMS && d->conf.cond != S3_COND_AUTO)
		return d->conf.cond == S3_COND_YES;
	if (d->conf.aws)
		return true;
	holds = atomic_load(&d->holds);
	if (!holds)
		holds = ask_once(d, c, bucket);
	return !holds || (holds & what);
}

errint_t s3_cond(struct s3 *d, const struct store_call *c, struct store_obj o, unsigned what,
	const char *if_match, const char *if_none_match, struct net_fields *f, struct err *err)
{
	if (!if_match && !if_none_match)
		return 0;
	if (!s3_holds(d, c, o.bucket, what))
		return s3_cond_by_head(d, c, o, if_match, if_none_match, err);
	s3_fields_cond(f, if_match, if_none_match);
	return 0;
}
