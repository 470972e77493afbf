/* SPDX-License-Identifier: MIT */
/*
 * [remote NAME] type=gcs: its section read and checked, the driver made of it. Keys:
 *
 *	endpoint=             default https://storage.googleapis.com, or STORAGE_EMULATOR_HOST
 *	credentials=          auto (default), machine (the metadata server's), none
 *	credentials_file=     else GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's
 *	hmac_access_id=       GOOG1E...: the XML API, with hmac_secret_file= or hmac_secret_env=
 *	read_metadata=        with it: of what listings find, by a HEAD each
 *	project=              of buckets that are listed and made; else GOOGLE_CLOUD_PROJECT, or the
 *	                      one that the credentials name
 *	billing_project=      pays, where the bucket says "requester pays"
 *	kms_key=              projects/P/locations/L/keyRings/R/cryptoKeys/K: of what is written
 *	customer_key_file=    base64 of 32 bytes: of all that is written and read
 *	ca_file=  proxy=      of the connections
 *
 * region= is the location of buckets that are made.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "gcs_priv.h"
#include "remote.h"

#define ENDPOINT "https://storage.googleapis.com"
#define SCOPE	 "https://www.googleapis.com/auth/devstorage.full_control"

enum credentials { CRED_AUTO, CRED_MACHINE, CRED_NONE };

struct plan {
	struct gcs_conf gcs;
	struct gcs_cred_conf cred;
	struct aws_cred_conf hmac; /* access_key_id NULL = none */
	struct net_conf net;
	unsigned credentials;
	char endpoint[700];
};

static bool to_this_machine(const struct net_url *u)
{
	return !strcmp(u->host, "localhost") || !strncmp(u->host, "127.", 4) ||
	       !strcmp(u->host, "::1");
}

/* All its endpoints show the same buckets. */
static bool is_google(const char *host)
{
	static const char tail[] = ".googleapis.com";
	size_t n = strlen(host), t = sizeof(tail) - 1;

	return n > t && !strcmp(host + n - t, tail);
}

/* The address as it goes before every path. An emulator's may lack its scheme. */
static errint_t endpoint_read(
	const struct section *s, struct remote *r, struct plan *p, struct err *err)
{
	const struct conf_item *it = section_item(s, "endpoint");
	const char *env = getenv("STORAGE_EMULATOR_HOST"), *url = it ? it->value : ENDPOINT;
	bool emulator = !it && env && *env;
	struct err why = {0};
	struct net_url u;
	errint_t e;
	int n;

	if (emulator)
		url = env;
	n = snprintf(p->endpoint, sizeof(p->endpoint), "%s%s",
		emulator && !strstr(url, "://") ? "http://" : "", url);
	e = n < 0 || (size_t)n >= sizeof(p->endpoint)
		    ? err_set(&why, -EINVAL, ERR_FINAL, "too long")
		    : net_url_parse(p->endpoint, &u, &why);
	if (e)
		return it ? conf_err(it, err, "%s", why.msg)
			  : err_set(err, e, ERR_FINAL, "STORAGE_EMULATOR_HOST: %s", why.msg);
	while (p->endpoint[strlen(p->endpoint) - 1] == '/')
		p->endpoint[strlen(p->endpoint) - 1] = 0;
	p->gcs.endpoint = p->endpoint;
	if (!is_google(u.host))
		(void)snprintf(r->service, sizeof(r->service), "%s", u.host);
	/* As Google's own clients: an emulator is given no credentials that nobody named. */
	if (emulator && p->credentials == CRED_AUTO && !section_item(s, "credentials_file") &&
		!p->hmac.access_key_id)
		p->credentials = CRED_NONE;
	if (u.tls || to_this_machine(&u) || p->credentials == CRED_NONE)
		return 0;
	return conf_err(it ? it : section_any(s), err,
		"credentials do not go over plain http to '%s': use https, or credentials=none",
		u.host);
}

static errint_t customer_key_read(const struct section *s, struct plan *p, struct err *err)
{
	const struct conf_item *it = section_item(s, "customer_key_file");
	char text[128] = "";
	size_t n = 0;
	FILE *f;

	if (!it)
		return 0;
	if (p->gcs.kms_key)
		return conf_err(it, err, "either kms_key or customer_key_file");
	f = fopen(it->value, "re");
	if (!f)
		return conf_err(it, err, "cannot read '%s': %s", it->value, strerror(errno));
	setvbuf(f, NULL, _IONBF, 0); /* no copy of the key in a buffer */
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	(void)fclose(f);
	text[strcspn(text, "\r\n")] = 0;
	p->gcs.has_customer_key = !base64_decode(text, p->gcs.customer_key, 32, &n) && n == 32;
	explicit_bzero(text, sizeof(text));
	if (p->gcs.has_customer_key)
		return 0;
	return conf_err(it, err, "'%s' does not hold the base64 of 32 bytes", it->value);
}

/* An interoperability key. Its secret stands elsewhere, as all do. */
static errint_t hmac_read(const struct section *s, struct plan *p, struct err *err)
{
	const struct conf_item *id = section_item(s, "hmac_access_id");
	const struct conf_item *file = section_item(s, "hmac_secret_file");
	const struct conf_item *var = section_item(s, "hmac_secret_env");
	const struct conf_item *meta = section_item(s, "read_metadata");

	if (!id && !file && !var && meta)
		return conf_err(meta, err,
			"only with hmac_access_id: listings with other credentials have it");
	if (!id)
		return file || var ? conf_err(file ? file : var, err, "needs hmac_access_id") : 0;
	if (!file == !var)
		return conf_err(id, err, "needs one of hmac_secret_file and hmac_secret_env");
	if (section_item(s, "credentials") || section_item(s, "credentials_file"))
		return conf_err(id, err, "either an HMAC key or other credentials");
	if (!id->value[0] || strlen(id->value) > 128)
		return conf_err(id, err, "'%.40s' is no access ID", id->value);
	if (var && !getenv(var->value))
		return conf_err(
			var, err, "there is no variable '%s' in the environment", var->value);
	p->hmac = (struct aws_cred_conf){.access_key_id = id->value,
		.secret = var ? getenv(var->value) : NULL,
		.secret_file = file ? file->value : NULL};
	return section_flag(s, "read_metadata", &p->gcs.read_metadata, err);
}

static errint_t plan_read(
	const struct section *s, struct remote *r, struct plan *p, struct err *err)
{
	static const char *const words[] = {"auto", "machine", "none", NULL};
	const struct conf_item *file = section_item(s, "credentials_file");
	const char *env = getenv("GOOGLE_CLOUD_PROJECT");
	errint_t e = section_word(s, "credentials", words, &p->credentials, err);

	e = e ? e : hmac_read(s, p, err);
	e = e ? e : endpoint_read(s, r, p, err);
	if (e)
		return e;
	if (file && p->credentials != CRED_AUTO)
		return conf_err(file, err, "only with credentials=auto");
	for (unsigned i = 0; i < TIER_N; i++)
		if (r->classes[i].offline)
			return conf_err(section_any(s), err,
				"class '%s' cannot be offline: all of Google's can be read at once",
				r->classes[i].name);
	p->cred = (struct gcs_cred_conf){.file = file ? file->value : NULL,
		.metadata_only = p->credentials == CRED_MACHINE,
		.scope = SCOPE};
	p->gcs.project = section_value(s, "project");
	if (!p->gcs.project && env && *env)
		p->gcs.project = env;
	p->gcs.user_project = section_value(s, "billing_project");
	p->gcs.kms_key = section_value(s, "kms_key");
	p->gcs.location = section_item(s, "region") ? r->region : NULL;
	p->gcs.bucket = r->bucket;
	memcpy(p->gcs.classes, r->classes, sizeof(p->gcs.classes));
	p->net.ca_file = section_value(s, "ca_file");
	p->net.proxy = section_value(s, "proxy");
	return customer_key_read(s, p, err);
}

static errint_t gcs_make(const struct section *s, struct remote *r, const char *data_dir,
	struct store **ret, struct err *err)
{
	struct plan p = {0};
	struct gcs_cred *cred = NULL;
	struct aws_cred *hmac = NULL;
	struct net *net = NULL;
	errint_t e = plan_read(s, r, &p, err);

	if (!e && ret) {
		net = net_new(&p.net, err);
		e = net ? 0 : -EINVAL;
		if (!e && p.hmac.access_key_id)
			hmac = aws_cred_new(&p.hmac, net);
		else if (!e && p.credentials != CRED_NONE)
			cred = gcs_cred_new(&p.cred, net);
		if (!e && !cred && !hmac && (p.hmac.access_key_id || p.credentials != CRED_NONE)) {
			e = gcs_no_memory(err);
			net_destroy(net);
		}
		e = e ? e : store_gcs_new(&p.gcs, net, cred, hmac, ret, err);
	}
	explicit_bzero(&p, sizeof(p));
	return e;
}

static bool in_environment(void)
{
	const char *const names[] = {"GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (getenv(names[i]) && *getenv(names[i]))
			return true;
	return false;
}

const struct remote_type remote_type_gcs = {
	.name = "gcs",
	.keys = (const char *const[]){"endpoint", "credentials", "credentials_file",
		"hmac_access_id", "hmac_secret_file", "hmac_secret_env", "read_metadata", "project",
		"billing_project", "kms_key", "customer_key_file", "ca_file", "proxy", NULL},
	.provider = "gcp",
	.same_service = (const char *const[]){"endpoint", NULL},
	.same_account = (const char *const[]){"project", NULL},
	.real = true,
	.in_environment = in_environment,
	.make = gcs_make,
};
