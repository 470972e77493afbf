/* SPDX-License-Identifier: MIT */
/*
 * AWS Signature Version 4: what S3 and STS want to see on a request, and Google's form of it, which
 * is the same in other words. Pure; the key is never written anywhere but into the MAC.
 */
#ifndef STORE_SIGV4_H
#define STORE_SIGV4_H

#include "astra/net.h"

#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct sigv4_key {			     /* borrowed */
	const char *access, *secret, *token; /* token NULL or "" = none */
	const char *region, *service;
};

struct sigv4_param { /* of the query, not yet encoded */
	const char *name, *value;
};

struct sigv4_request {
	const char *method, *host; /* host as the Host field has it */
	const char *path;	   /* as it goes out: encoded once, for S3 never normalised */
	const struct sigv4_param *params;
	unsigned nparams;
	const char *payload; /* hex SHA-256 of the body, or SIGV4_UNSIGNED */
	int64_t now_ns;	     /* the server's clock */
	bool google;	     /* GOOG4-HMAC-SHA256 and X-Goog-Date; there is no token */
};

/* Appends the query in canonical form, "a=1&b=", without '?': what goes out is what was signed. */
errint_t sigv4_query(struct buf *b, const struct sigv4_param *params, unsigned n);

/* Adds X-Amz-Date (X-Goog-Date), X-Amz-Security-Token and Authorization to f; all that f has is
 * signed. explain, if not NULL, gets the canonical request, to be compared with what a refusing
 * server shows. */
errint_t sigv4_sign(const struct sigv4_key *k, const struct sigv4_request *q, struct net_fields *f,
	struct buf *explain);
/* Appends the whole query of a URL that is good for expires_s; f (may be NULL) must be sent along.
 */
errint_t sigv4_presign(const struct sigv4_key *k, const struct sigv4_request *q,
	const struct net_fields *f, unsigned expires_s, struct buf *ret_query);

#endif
