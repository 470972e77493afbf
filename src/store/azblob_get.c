/* SPDX-License-Identifier: MIT */
/*
 * Reading ranges. The service states a checksum of a range of up to 4 MiB when it is asked to.
 * What nobody waits for byte by byte is read in such pieces, and each piece is given out when it
 * was checked. A reader who waits gets longer ranges in one stream, as they come, for which TLS
 * vouches; over plain HTTP all is read in pieces.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "azblob_priv.h"

#define CHECKED_MAX (4u << 20)

struct range { /* one request */
	const struct store_call *c;
	struct store_obj o;
	char etag[STORE_ETAG_MAX]; /* "" = any, then the one that came */
	uint64_t off;
	uint8_t *p;
	size_t len;
	bool checked;
	enum azblob_sum sum; /* how, when it is */
	uint64_t before;     /* bytes in place in front of it, for progress */
	uint64_t total;	     /* of the blob, once known */
	size_t expect;	     /* bytes of this answer */
};

static errint_t lies(const char *what, struct err *err)
{
	return err_set(err, -EBADMSG, ERR_RETRY, "the answer is not what was asked: %s", what);
}

/* "bytes FIRST-LAST/TOTAL"; an empty range has LAST = FIRST - 1. */
static bool content_range(const char *v, uint64_t *first, uint64_t *count, uint64_t *total)
{
	unsigned long long a, b, n;
	int end = 0;

	if (!v || sscanf(v, "bytes %llu-%llu/%llu%n", &a, &b, &n, &end) != 3 || v[end] ||
		strchr(v, '+') || strchr(v + 6, ' ') || b + 1 < a || b >= n + (b + 1 == a))
		return false;
	*first = a;
	*count = b + 1 - a;
	*total = n;
	return true;
}

/* Before a byte of it is in the caller's buffer. */
static errint_t range_accept(void *arg, const struct net_answer *a, struct err *err)
{
	struct range *g = arg;
	const char *length = net_field_get(&a->fields, "content-length");
	char etag[STORE_ETAG_MAX];
	uint64_t first = 0, count = 0;

	if (azblob_etag(net_field_get(&a->fields, "etag"), etag))
		return lies("no ETag", err);
	if (g->etag[0] && strcmp(g->etag, etag) != 0)
		return lies("another version", err);
	if (a->status == 206 || net_field_get(&a->fields, "content-range")) {
		if (!content_range(
			    net_field_get(&a->fields, "content-range"), &first, &count, &g->total))
			return lies("no usable range", err);
	} else if (length && *length && strspn(length, "0123456789") == strlen(length)) {
		g->total = count = strtoull(length, NULL, 10);
	} else {
		return lies("no length", err);
	}
	if (first != g->off ||
		count != MIN_OF((uint64_t)g->len, g->total - MIN_OF(g->off, g->total)))
		return lies("another range", err);
	memcpy(g->etag, etag, sizeof(etag));
	g->expect = (size_t)count;
	return 0;
}

static void range_filled(void *arg, size_t have)
{
	struct range *g = arg;

	if (!g->checked)
		store_progressed(g->c->progress, g->before + have);
}

static errint_t range_check(const struct range *g, const struct net_answer *a, struct err *err)
{
	const char *crc = net_field_get(&a->fields, "x-ms-content-crc64");
	const char *sum = net_field_get(&a->fields, "content-md5");
	uint8_t want[16], have[16];
	uint64_t v;
	size_t n;

	if (a->got != g->expect)
		return lies("it ended early", err);
	if (!g->checked || (!crc && !sum))
		return 0;
	if (crc) {
		v = crc64nvme(0, g->p, a->got);
		for (unsigned i = 0; i < 8; i++)
			have[i] = (uint8_t)(v >> (8 * i));
	} else {
		md5(g->p, a->got, have);
	}
	if (base64_decode(crc ? crc : sum, want, sizeof(want), &n) || n != (crc ? 8 : 16))
		return lies("its checksum is none", err);
	if (memcmp(want, have, n) != 0)
		return err_set(err, -EIO, ERR_RETRY, "the bytes do not match their checksum");
	return 0;
}

static errint_t range_get(struct azblob *d, struct range *g, size_t *ret_got, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, "get", "GET", g->o);
	azblob_if(&r.f, g->etag[0] ? g->etag : NULL, NULL);
	(void)net_field_addf(&r.f, "x-ms-range", "bytes=%llu-%llu", (unsigned long long)g->off,
		(unsigned long long)(g->off + g->len - 1));
	if (g->checked && g->sum != AZ_SUM_OFF)
		(void)net_field_add(&r.f,
			g->sum == AZ_SUM_MD5 ? "x-ms-range-get-content-md5"
					     : "x-ms-range-get-content-crc64",
			"true");
	r.q.into = g->p;
	r.q.into_max = g->len;
	r.q.accept = range_accept;
	r.q.filled = range_filled;
	r.q.arg = g;
	e = azblob_send(d, g->c, &r, &a, err);
	if (!e) {
		e = range_check(g, &a, err);
		e = e ? azblob_named(d, &r, e, err) : 0;
	}
	*ret_got = e ? 0 : a.got;
	if (e && a.status == 416) { /* it begins at or behind the end */
		e = 0;
		err_clear(err);
		g->total = g->off;
	}
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

/* Others than the service itself may not know all kinds of checksums: then the next one. */
static bool other_sum(struct azblob *d, struct range *g, const struct err *err)
{
	bool unknown = !strcmp(err->code, "FeatureNotSupported") ||
		       !strcmp(err->code, "UnsupportedHeader");

	if (!unknown || !g->checked || g->sum == AZ_SUM_OFF)
		return false;
	g->sum = g->sum == AZ_SUM_CRC64 ? AZ_SUM_MD5 : AZ_SUM_OFF;
	atomic_store(&d->range_sum, g->sum);
	return true;
}

errint_t azblob_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	bool pieces = d->conf.verify && (!c->progress || !d->conf.tls || len <= CHECKED_MAX);
	struct range g = {.c = c,
		.o = o,
		.checked = pieces,
		.sum = (enum azblob_sum)atomic_load(&d->range_sum)};
	char name[STORE_KEY_MAX + 1];
	struct store_obj as = o;
	struct store_stat st = {0};
	bool dir;
	errint_t e = azblob_obj_check(o, err);

	if (if_match)
		snprintf(g.etag, sizeof(g.etag), "%s", if_match);
	e = e ? e : azblob_marker(d, c, &as, name, &dir, err);
	if (!e && (!len || dir)) { /* a range that cannot be asked for */
		e = azblob_head_if(d, c, o, if_match, &st, NULL, err);
		store_stat_done(&st);
		return e;
	}
	for (size_t at = 0, got = 0; !e && at < len; at += got) {
		g.off = off + at;
		g.p = (uint8_t *)p + at;
		g.len = pieces ? MIN_OF(len - at, (size_t)CHECKED_MAX) : len - at;
		g.before = at;
		do
			e = range_get(d, &g, &got, err);
		while (e && other_sum(d, &g, err));
		if (e)
			break;
		*ret_len = at + got;
		store_progressed(c->progress, *ret_len);
		if (!got || g.off + got >= g.total)
			break;
	}
	return e;
}
