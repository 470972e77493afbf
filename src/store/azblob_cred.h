/* SPDX-License-Identifier: MIT */
/*
 * What authorises requests to Azure Storage: an account key, a SAS, or a token of Microsoft's
 * identity service, got with a client's secret, a federated token file, or the identity that the
 * machine has. Secrets may lie in files, which are read again when they change.
 */
#ifndef STORE_AZBLOB_CRED_H
#define STORE_AZBLOB_CRED_H

#include "astra/net.h"
#include "astra/store.h"

enum azblob_auth {
	AZ_AUTH_KEY,
	AZ_AUTH_SAS,
	AZ_AUTH_CLIENT,	   /* client secret */
	AZ_AUTH_FEDERATED, /* workload identity: a token file */
	AZ_AUTH_APP,	   /* managed identity of an App Service and the like */
	AZ_AUTH_MACHINE,   /* managed identity of a virtual machine */
	AZ_AUTH_NONE,	   /* public containers */
};

/* Either the value or the file that has it. */
struct azblob_secret {
	char *value, *file; /* owned */
};

#define AZ_SECRET_MAX (64u << 10)
void azblob_secret_wipe(struct buf *b);
#define cleanup_secret __attribute__((cleanup(azblob_secret_wipe)))
/* Appends a file's text without the white space around it. */
errint_t azblob_secret_read(const char *path, struct buf *ret, struct err *err);

struct azblob_cred_conf { /* all strings owned; NULL = not given */
	enum azblob_auth auth;
	char *account;
	struct azblob_secret key, sas, client_secret;
	char *tenant, *client;
	char *token_file;			   /* federated */
	char *authority;			   /* https://login.microsoftonline.com */
	char *identity_endpoint, *identity_header; /* of the App Service */
	char *machine_endpoint;			   /* http://169.254.169.254 */
};
void azblob_cred_conf_done(struct azblob_cred_conf *c); /* wipes */

struct azblob_cred; /* opaque */

/* Takes what conf holds, also when it fails; net is borrowed. */
errint_t azblob_cred_new(
	struct azblob_cred_conf *conf, struct net *net, struct azblob_cred **ret, struct err *err);
struct azblob_cred *azblob_cred_destroy(struct azblob_cred *c); /* NULL is fine; returns NULL */

/* Adds to the request (whose fields are complete) what authorises it; url may grow. *ret_number is
 * for azblob_cred_refused. */
errint_t azblob_cred_apply(struct azblob_cred *c, const struct store_call *call, const char *method,
	struct buf *url, size_t body_len, struct net_fields *f, unsigned *ret_number,
	struct err *err);
/* The service did not take it; true when another try may have something better. */
bool azblob_cred_refused(struct azblob_cred *c, unsigned number);
/* Makes a source of a copy readable for the service, whose clock shows now_ns: url (of the blob o)
 * grows, or f gets a field. */
errint_t azblob_cred_source(struct azblob_cred *c, const struct store_call *call, int64_t now_ns,
	struct store_obj o, struct buf *url, struct net_fields *f, struct err *err);
/* Where a SAS authorises, also the source of a rename has it: url, its path there, grows. */
errint_t azblob_cred_rename(const struct azblob_cred *c, struct buf *url, struct err *err);
/* "the key of account x": for people; nothing secret. */
void azblob_cred_describe(const struct azblob_cred *c, struct buf *ret);

#endif
