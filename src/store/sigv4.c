/* SPDX-License-Identifier: MIT */
/*
 * AWS Signature Version 4. Canonical request: method, path, sorted query, sorted fields, payload
 * hash; its hash with time and scope is signed by a key derived from the secret.
 */
#include "sigv4.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"

#define TEXT_MAX   (256u << 10)
#define FIELDS_MAX 96
#define PARAMS_MAX 32
#define ALGORITHM  "AWS4-HMAC-SHA256"

struct words {
	const char *algorithm, *secret, *request, *date;
};

static const struct words amazons = {ALGORITHM, "AWS4", "aws4_request", "X-Amz-Date"};
static const struct words googles = {"GOOG4-HMAC-SHA256", "GOOG4", "goog4_request", "X-Goog-Date"};

/* ---- query ---- */

struct pair {
	char *name, *value; /* encoded */
};

static int pair_cmp(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : strcmp(x->value, y->value);
}

static char *encoded(const char *s)
{
	struct buf b = BUF_INIT(TEXT_MAX);

	(void)buf_adds(&b, "");
	if (net_url_add(&b, s, "")) {
		buf_done(&b);
		return NULL;
	}
	return b.p;
}

errint_t sigv4_query(struct buf *b, const struct sigv4_param *params, unsigned n)
{
	struct pair v[PARAMS_MAX] = {0};
	errint_t r = n > PARAMS_MAX ? -E2BIG : 0;

	for (unsigned i = 0; i < n && !r; i++) {
		v[i].name = encoded(params[i].name);
		v[i].value = encoded(params[i].value);
		if (!v[i].name || !v[i].value)
			r = -ENOMEM;
	}
	if (!r)
		qsort(v, n, sizeof(v[0]), pair_cmp);
	for (unsigned i = 0; i < n && i < PARAMS_MAX; i++) {
		if (!r)
			r = buf_addf(b, "%s%s=%s", i ? "&" : "", v[i].name, v[i].value);
		free(v[i].name);
		free(v[i].value);
	}
	return r;
}

/* ---- fields ---- */

static int name_cmp(const char *a, const char *b)
{
	for (; *a && tolower((unsigned char)*a) == tolower((unsigned char)*b); a++, b++)
		;
	return tolower((unsigned char)*a) - tolower((unsigned char)*b);
}

/* By name; those of one name stay in their order. */
static unsigned sorted(const struct net_fields *f, const char *host, struct net_field *ret)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= (f ? f->n : 0); i++) {
		struct net_field x = i == (f ? f->n : 0)
					     ? (struct net_field){(char *)"host", (char *)host}
					     : f->v[i];
		unsigned at = n++;

		for (; at && name_cmp(ret[at - 1].name, x.name) > 0; at--)
			ret[at] = ret[at - 1];
		ret[at] = x;
	}
	return n;
}

static void add_lower(struct buf *b, const char *s)
{
	for (; *s; s++) {
		char c = (char)tolower((unsigned char)*s);

		(void)buf_add(b, &c, 1);
	}
}

/* Outer blanks go, inner ones become one. */
static void add_value(struct buf *b, const char *s)
{
	bool blank = false, any = false;

	for (; *s; s++) {
		if (isspace((unsigned char)*s)) {
			blank = any;
			continue;
		}
		if (blank)
			(void)buf_add(b, " ", 1);
		blank = false;
		any = true;
		(void)buf_add(b, s, 1);
	}
}

/* "a:1\nb:2,3\n" to lines, "a;b" to names. */
static errint_t fields_add(
	const struct net_fields *f, const char *host, struct buf *lines, struct buf *names)
{
	struct net_field v[FIELDS_MAX];
	unsigned n;

	if (f && f->n >= FIELDS_MAX)
		return -E2BIG;
	n = sorted(f, host, v);
	for (unsigned i = 0; i < n; i++) {
		if (i && !name_cmp(v[i - 1].name, v[i].name)) {
			(void)buf_adds(lines, ",");
		} else {
			(void)buf_adds(lines, i ? "\n" : "");
			(void)buf_adds(names, i ? ";" : "");
			add_lower(lines, v[i].name);
			add_lower(names, v[i].name);
			(void)buf_adds(lines, ":");
		}
		add_value(lines, v[i].value);
	}
	(void)buf_adds(lines, "\n");
	return lines->failed ? lines->failed : names->failed;
}

/* ---- signing ---- */

struct stamp {
	const struct words *words;
	char time[17]; /* 20260102T030405Z */
	char date[9];
	char scope[200];
};

static errint_t stamp_make(
	const struct sigv4_key *k, const struct sigv4_request *q, struct stamp *ret)
{
	time_t t = (time_t)(q->now_ns / NS_PER_S);
	struct tm tm;
	int n;

	ret->words = q->google ? &googles : &amazons;
	(void)gmtime_r(&t, &tm);
	if (!strftime(ret->time, sizeof(ret->time), "%Y%m%dT%H%M%SZ", &tm))
		return -EINVAL;
	memcpy(ret->date, ret->time, 8);
	ret->date[8] = 0;
	n = snprintf(ret->scope, sizeof(ret->scope), "%s/%s/%s/%s", ret->date, k->region,
		k->service, ret->words->request);
	return n < (int)sizeof(ret->scope) ? 0 : -E2BIG;
}

static errint_t signature(const struct sigv4_key *k, const struct stamp *st, const char *canonical,
	size_t len, char ret[65])
{
	const struct words *w = st->words;
	const char *parts[] = {st->date, k->region, k->service, w->request};
	cleanup_buf struct buf text = BUF_INIT(4096), first = BUF_INIT(4096);
	uint8_t key[32], hash[32];
	char hex[65];

	sha256(canonical, len, hash);
	hex_encode(hash, 32, hex);
	(void)buf_addf(&text, "%s\n%s\n%s\n%s", w->algorithm, st->time, st->scope, hex);
	(void)buf_addf(&first, "%s%s", w->secret, k->secret);
	if (text.failed || first.failed)
		return text.failed ? text.failed : first.failed;
	hmac_sha256(first.p, first.len, parts[0], strlen(parts[0]), key);
	explicit_bzero(first.p, first.len);
	for (unsigned i = 1; i < ARRAY_SIZE(parts); i++)
		hmac_sha256(key, 32, parts[i], strlen(parts[i]), key);
	hmac_sha256(key, 32, text.p, text.len, hash);
	explicit_bzero(key, sizeof(key));
	hex_encode(hash, 32, ret);
	return 0;
}

static errint_t canonical_make(const struct sigv4_request *q, const char *query,
	const struct buf *lines, const struct buf *names, struct buf *ret)
{
	return buf_addf(ret, "%s\n%s\n%s\n%s\n%s\n%s", q->method, q->path, query, lines->p,
		names->p, q->payload);
}

errint_t sigv4_sign(const struct sigv4_key *k, const struct sigv4_request *q, struct net_fields *f,
	struct buf *explain)
{
	cleanup_buf struct buf lines = BUF_INIT(TEXT_MAX), names = BUF_INIT(TEXT_MAX),
			       query = BUF_INIT(TEXT_MAX), canonical = BUF_INIT(4 * TEXT_MAX);
	struct stamp st;
	char sig[65];
	errint_t r = stamp_make(k, q, &st);

	(void)net_field_add(f, st.words->date, st.time);
	if (k->token && k->token[0])
		(void)net_field_add(f, "X-Amz-Security-Token", k->token);
	(void)buf_adds(&query, "");
	r = r ? r : sigv4_query(&query, q->params, q->nparams);
	r = r ? r : fields_add(f, q->host, &lines, &names);
	r = r ? r : canonical_make(q, query.p, &lines, &names, &canonical);
	r = r ? r : signature(k, &st, canonical.p, canonical.len, sig);
	if (!r && explain)
		(void)buf_add(explain, canonical.p, canonical.len);
	if (!r)
		(void)net_field_addf(f, "Authorization",
			"%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", st.words->algorithm,
			k->access, st.scope, names.p, sig);
	if (lines.p)
		explicit_bzero(lines.p, lines.len); /* tokens, SSE-C keys */
	if (canonical.p)
		explicit_bzero(canonical.p, canonical.len);
	return r ? r : f->failed;
}

errint_t sigv4_presign(const struct sigv4_key *k, const struct sigv4_request *q,
	const struct net_fields *f, unsigned expires_s, struct buf *ret_query)
{
	cleanup_buf struct buf lines = BUF_INIT(TEXT_MAX), names = BUF_INIT(TEXT_MAX),
			       query = BUF_INIT(TEXT_MAX), canonical = BUF_INIT(4 * TEXT_MAX);
	struct sigv4_param params[PARAMS_MAX];
	unsigned n = q->nparams;
	char credential[512], expires[16], sig[65];
	struct stamp st;
	errint_t r = stamp_make(k, q, &st);

	r = r ? r : fields_add(f, q->host, &lines, &names);
	if (!r && n + 6 > PARAMS_MAX)
		r = -E2BIG;
	if (r)
		return r;
	memcpy(params, q->params, n * sizeof(params[0]));
	snprintf(credential, sizeof(credential), "%s/%s", k->access, st.scope);
	snprintf(expires, sizeof(expires), "%u", expires_s);
	params[n++] = (struct sigv4_param){"X-Amz-Algorithm", ALGORITHM};
	params[n++] = (struct sigv4_param){"X-Amz-Credential", credential};
	params[n++] = (struct sigv4_param){"X-Amz-Date", st.time};
	params[n++] = (struct sigv4_param){"X-Amz-Expires", expires};
	params[n++] = (struct sigv4_param){"X-Amz-SignedHeaders", names.p};
	if (k->token && k->token[0])
		params[n++] = (struct sigv4_param){"X-Amz-Security-Token", k->token};
	r = sigv4_query(&query, params, n);
	r = r ? r : canonical_make(q, query.p, &lines, &names, &canonical);
	r = r ? r : signature(k, &st, canonical.p, canonical.len, sig);
	return r ? r : buf_addf(ret_query, "%s&X-Amz-Signature=%s", query.p, sig);
}
