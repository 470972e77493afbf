/* SPDX-License-Identifier: MIT */
/*
 * Google credentials: access tokens, wherever they come from; kept, refreshed before they expire,
 * got anew when the server refuses one or the file behind them changed. Threads share one; a
 * refresh is done by one of them while the others go on with what is still valid. Secrets are
 * wiped when replaced and on destroy, and never formatted.
 *
 * Sources, in the order of Google's own tools: the file given or GOOGLE_APPLICATION_CREDENTIALS,
 * gcloud's application default file, the metadata server of the machine.
 */
#ifndef STORE_GCS_CRED_H
#define STORE_GCS_CRED_H

#include "astra/net.h"

struct gcs_cred; /* opaque */

#define GCS_TOKEN_MAX 4096 /* bytes of an access token; Google says up to 2048 */

struct gcs_cred_conf {	    /* strings borrowed for the call */
	const char *file;   /* NULL = look in the places above */
	bool metadata_only; /* the machine's own identity, whatever files there are */
	const char *scope;
};

struct gcs_token {
	char value[GCS_TOKEN_MAX + 1];
	int64_t expires_mono_ns;
};
void gcs_token_wipe(struct gcs_token *t);
#define cleanup_gcs_token __attribute__((cleanup(gcs_token_wipe)))

/* NULL without memory. The net is borrowed and outlives it. Asks nobody. */
struct gcs_cred *gcs_cred_new(const struct gcs_cred_conf *conf, struct net *net);
struct gcs_cred *gcs_cred_destroy(struct gcs_cred *c); /* NULL is fine */
/* A token that is good for a while. -EACCES, ERR_AUTH when no source has one, or it was refused;
 * other kinds when the one to ask did not answer. */
errint_t gcs_cred_get(struct gcs_cred *c, int64_t deadline_mono_ns, const atomic_bool *cancel,
	struct gcs_token *ret, struct err *err);
/* The server did not take this token: the next get asks for another. */
void gcs_cred_refused(struct gcs_cred *c, const char *value);
/* Who that is, for people: "x@y.iam.gserviceaccount.com (/path)"; "" before the first get. ret has
 * size bytes. */
void gcs_cred_identity(struct gcs_cred *c, char *ret, size_t size);
/* The project that the credentials name, "" when none or before the first get. */
void gcs_cred_project(struct gcs_cred *c, char *ret, size_t size);

/* ---- where tokens come from (gcs_token.c); also of tests ---- */

enum gcs_source_kind { GCS_NO_SOURCE, GCS_SERVICE, GCS_USER, GCS_EXTERNAL, GCS_MACHINE };

struct gcs_source { /* a credentials file, read; strings owned, wiped */
	enum gcs_source_kind kind;
	char *file;
	char *email, *key_id, *private_key;	   /* service account */
	char *client_id, *client_secret, *refresh; /* a user, as gcloud leaves it */
	char *audience, *subject_type, *token_url; /* workload identity federation */
	char *subject_file, *subject_url, *subject_field, *impersonation_url;
	struct net_fields subject_fields;
	char *token_uri, *project;
};

/* Reads a file of any of the kinds. -EACCES, ERR_AUTH with what is wrong and where. */
errint_t gcs_source_load(struct gcs_source *s, const char *file, struct err *err);
/* Finds what there is (above). */
errint_t gcs_source_find(struct gcs_source *s, const struct gcs_cred_conf *conf, struct err *err);
void gcs_source_done(struct gcs_source *s);
/* Asks for a token. *skew_ns is what to add to our clock, learnt when a first try is refused. */
errint_t gcs_source_token(const struct gcs_source *s, struct net *net, const char *scope,
	int64_t deadline_mono_ns, const atomic_bool *cancel, int64_t *skew_ns,
	struct gcs_token *ret, struct err *err);
/* A signed assertion (RFC 7523), RS256; *ret is malloced: wipe it. -EACCES for a key that is none.
 */
errint_t gcs_jwt(
	const struct gcs_source *s, const char *scope, int64_t now_s, char **ret, struct err *err);
/* RS256 of a text, base64url without padding; malloced. */
errint_t gcs_rs256(const char *pem, const char *text, char **ret, struct err *err);

#endif
