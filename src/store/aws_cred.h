/* SPDX-License-Identifier: MIT */
/*
 * AWS credentials, wherever they come from: kept, refreshed before they expire and read again when
 * asked to. Threads share one; a refresh is done by one of them while the others go on with what
 * is still valid. Secrets are wiped when replaced and on destroy, and never formatted.
 *
 * Without a fixed key the sources are, in the order of AWS's own tools: the environment, a web
 * identity token, the profile in ~/.aws/config and credentials (keys, assumed roles, web identity,
 * SSO, a process), a container's endpoint, an instance's metadata (IMDSv2).
 */
#ifndef STORE_AWS_CRED_H
#define STORE_AWS_CRED_H

#include "astra/net.h"

struct aws_cred; /* opaque */

struct aws_key {
	char access[132], secret[260], token[4100]; /* token "" = none */
	int64_t expires_ns;			    /* wall clock; 0 = does not */
};
void aws_key_wipe(struct aws_key *k);
#define cleanup_aws_key __attribute__((cleanup(aws_key_wipe)))

struct aws_cred_conf {				    /* strings borrowed for the call */
	const char *access_key_id, *secret, *token; /* a fixed key; secret with it */
	const char *secret_file; /* instead of secret: read again after a refusal */
	const char *profile;	 /* NULL = AWS_PROFILE or "default"; given: no environment keys */
	const char *role_arn;	 /* assumed with what was found */
	const char *external_id, *session_name;
	const char *region;	  /* of STS */
	const char *sts_endpoint; /* NULL = AWS's, or AWS_ENDPOINT_URL_STS */
};

/* NULL without memory. The net is borrowed and outlives it. */
struct aws_cred *aws_cred_new(const struct aws_cred_conf *conf, struct net *net);
struct aws_cred *aws_cred_destroy(struct aws_cred *c); /* NULL is fine */
/* The key to sign with. -EACCES, ERR_AUTH when no source has one, with what was tried. */
errint_t aws_cred_get(
	struct aws_cred *c, int64_t deadline_mono_ns, struct aws_key *ret, struct err *err);
/* The server did not take the key with this access id: the next get looks again. sure: it said
 * that it is the key. False when it was looked up a moment ago, or cannot change. */
bool aws_cred_refused(struct aws_cred *c, const char *access, bool sure);
/* Appends which key is in use, for people: "the key AKIA... of profile 'x'". */
void aws_cred_describe(struct aws_cred *c, struct buf *ret);
/* AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set. */
bool aws_cred_in_environment(void);

#endif
