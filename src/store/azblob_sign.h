/* SPDX-License-Identifier: MIT */
/* Signatures of Azure Storage: Shared Key on requests, and shared access signatures (SAS) of URLs.
 * Pure functions of what they are given. */
#ifndef STORE_AZBLOB_SIGN_H
#define STORE_AZBLOB_SIGN_H

#include "astra/net.h"

#define AZ_ACCOUNT_MAX 64
#define AZ_KEY_MAX     128 /* bytes, decoded; the service's have 64 */

struct azblob_key {
	char account[AZ_ACCOUNT_MAX];
	uint8_t key[AZ_KEY_MAX];
	size_t len;
};

/*
 * Adds Authorization to f, which must have all other fields of the request, x-ms-date among them.
 * url as it goes out. text, when given, gets what was signed: the service shows its own version of
 * it when the two differ. Range is not signed (x-ms-range is), so it must not be sent.
 */
errint_t azblob_sign(const struct azblob_key *k, const char *method, const char *url,
	size_t body_len, struct net_fields *f, struct buf *text);

/* What a service SAS permits; names as they are, not encoded; times as YYYY-MM-DDThh:mm:ssZ. */
struct azblob_sas {
	const char *container, *blob; /* blob NULL: all of the container */
	const char *permissions;      /* "r", "rl", ... */
	const char *start, *expiry;   /* start NULL: at once */
	const char *version;	      /* of the service: x-ms-version */
};
/* Appends the query of a URL, without '?'. */
errint_t azblob_sas(const struct azblob_key *k, const struct azblob_sas *s, struct buf *ret);

#endif
