/* SPDX-License-Identifier: MIT */
/* Where AWS credentials come from, inside aws_cred.c. Each source fills a key or says why not, in
 * err, which is never NULL here. */
#ifndef STORE_AWS_PRIV_H
#define STORE_AWS_PRIV_H

#include "aws_cred.h"

/* -ENODATA, ERR_AUTH: this source has nothing, ask the next. */
#define AWS_NOTHING (-ENODATA)

struct aws_ask { /* of one look-up */
	struct net *net;
	const char *region, *sts_endpoint;
	int64_t deadline_mono_ns;
	char source[96]; /* where it was found */
};

/* Copies s where it fits: -EINVAL, ERR_AUTH when not. */
errint_t aws_text(char *to, size_t size, const char *s, const char *what, struct err *err);
/* Reads a small file; freed with aws_text_free, which wipes. NULL and errno. */
char *aws_file(const char *path);
void aws_text_free(char **text);
#define cleanup_aws_text __attribute__((cleanup(aws_text_free)))

/* ---- profiles (aws_profile.c) ---- */

struct aws_profile; /* the two files, read once for a look-up */

/* Never NULL but without memory; files that are not there have nothing. */
struct aws_profile *aws_profile_load(void);
void aws_profile_done(struct aws_profile *p);
/* Value of a key of a profile, the credentials file first; NULL = none. */
const char *aws_profile_get(const struct aws_profile *p, const char *profile, const char *key);
bool aws_profile_has(const struct aws_profile *p, const char *profile);
/* A key of [sso-session NAME]. */
const char *aws_profile_session(const struct aws_profile *p, const char *name, const char *key);

/* ---- sources (aws_source.c) ---- */

struct aws_role {
	const char *arn, *external_id, *session_name; /* names NULL = ours */
};
errint_t aws_assume_role(struct aws_ask *q, const struct aws_key *by, const struct aws_role *role,
	struct aws_key *ret, struct err *err);
errint_t aws_web_identity(struct aws_ask *q, const char *token_file, const struct aws_role *role,
	struct aws_key *ret, struct err *err);
errint_t aws_container(struct aws_ask *q, struct aws_key *ret, struct err *err);
errint_t aws_instance(struct aws_ask *q, struct aws_key *ret, struct err *err);
errint_t aws_process(struct aws_ask *q, const char *command, struct aws_key *ret, struct err *err);
struct aws_sso {
	const char *session, *start_url, *region, *account, *role;
};
errint_t aws_sso(
	struct aws_ask *q, const struct aws_sso *sso, struct aws_key *ret, struct err *err);

#endif
