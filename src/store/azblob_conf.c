/* SPDX-License-Identifier: MIT */
/*
 * [remote NAME] type=azure: the keys of a section, a connection string, and the environment.
 *
 *   endpoint=URL account=NAME                where (default https://NAME.blob.core.windows.net)
 *   credentials=auto|key|sas|client|federated|app|machine|none
 *   account_key_file= account_key_env=       key
 *   sas_file= sas_env=                       sas
 *   connection_string_file= connection_string_env=   account, endpoint, and key or sas
 *   tenant_id= client_id= client_secret_file= client_secret_env=   client
 *   federated_token_file=                    federated, with tenant_id and client_id
 *   dfs_endpoint=URL                         for renames (default: endpoint's, .blob. being .dfs.)
 *   checksum=auto|crc64nvme|md5|off verify=yes|no rehydrate=standard|high
 *   delete_snapshots=yes|no hierarchical=auto|yes|no ca_file= proxy=
 *
 * Secrets never stand in the configuration: *_file names the file that holds one, *_env the
 * variable. What the section does not give comes from AZURE_STORAGE_CONNECTION_STRING,
 * AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN (all unless the section names
 * another account), and AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET,
 * AZURE_FEDERATED_TOKEN_FILE, AZURE_AUTHORITY_HOST, IDENTITY_ENDPOINT, IDENTITY_HEADER,
 * AZURE_POD_IDENTITY_AUTHORITY_HOST.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "azblob_priv.h"
#include "azblob_sign.h"
#include "remote.h"

#define AUTHORITY "https://login.microsoftonline.com"
#define MACHINE	  "http://169.254.169.254"
#define SUFFIX	  "core.windows.net"
/* Of the emulator; published, the same everywhere. */
#define DEV_ACCOUNT "devstoreaccount1"
#define DEV_HOST    "http://127.0.0.1"
#define DEV_PATH    ":10000/" DEV_ACCOUNT
#define DEV_KEY                                                                                    \
	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

static const char *const keys[] = {"endpoint", "account", "credentials", "account_key_file",
	"account_key_env", "sas_file", "sas_env", "connection_string_file", "connection_string_env",
	"tenant_id", "client_id", "client_secret_file", "client_secret_env", "federated_token_file",
	"checksum", "verify", "rehydrate", "delete_snapshots", "hierarchical", "dfs_endpoint",
	"ca_file", "proxy", NULL};

static const char *const auth_words[] = {
	"key", "sas", "client", "federated", "app", "machine", "none", "auto", NULL};
#define AUTH_AUTO 7u

struct plan {
	struct azblob_conf conf;
	struct azblob_cred_conf cred; /* owned */
	char *endpoint;		      /* owned */
	unsigned auth;		      /* enum azblob_auth, or AUTH_AUTO */
	bool key_given, sas_given;    /* by section, string or environment */
};

static void plan_done(struct plan *p)
{
	azblob_cred_conf_done(&p->cred);
	free(p->endpoint);
}

/* Takes a copy of the first value given; what is there already stays. */
static errint_t keep(char **to, const char *v, struct err *err)
{
	if (*to || !v || !*v)
		return 0;
	*to = strdup(v);
	return *to ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

/* ---- connection strings ---- */

struct conn { /* its parts, in the text */
	const char *v;
	size_t len;
};

/* "Name=value;Name=value": values may hold '=', names have no case. */
static bool conn_find(const char *s, const char *name, struct conn *ret)
{
	size_t n = strlen(name);

	while (*s) {
		size_t all = strcspn(s, ";"), eq;

		s += strspn(s, " \t");
		all = strcspn(s, ";");
		eq = strcspn(s, "=;");
		if (eq == n && s[eq] == '=' && !strncasecmp(s, name, n)) {
			*ret = (struct conn){s + n + 1, all - n - 1};
			return ret->len;
		}
		s += all + (s[all] == ';');
	}
	return false;
}

static errint_t conn_keep(const char *s, const char *name, char **to, struct err *err)
{
	cleanup_free char *v = NULL;
	struct conn at;
	errint_t r;

	if (!conn_find(s, name, &at))
		return 0;
	v = strndup(at.v, at.len);
	r = v ? keep(to, v, err) : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (v)
		explicit_bzero(v, at.len);
	return r;
}

/* On this machine, or where DevelopmentStorageProxyUri says: a scheme and a host, the port is the
 * emulator's in each case. */
static errint_t conn_emulator(const char *s, struct plan *p, struct err *err)
{
	cleanup_free char *proxy = NULL, *url = NULL;
	struct net_url u;
	errint_t r = conn_keep(s, "DevelopmentStorageProxyUri", &proxy, err);
	bool six;

	r = r ? r : keep(&p->cred.account, DEV_ACCOUNT, err);
	r = r ? r : keep(&p->cred.key.value, DEV_KEY, err);
	r = r || !proxy ? r : net_url_parse(proxy, &u, err);
	if (r || !proxy)
		return r ? r : keep(&p->endpoint, DEV_HOST DEV_PATH, err);
	six = strchr(u.host, ':');
	if (asprintf(&url, "http%s://%s%s%s" DEV_PATH, u.tls ? "s" : "", six ? "[" : "", u.host,
		    six ? "]" : "") < 0) {
		url = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	return keep(&p->endpoint, url, err);
}

static errint_t conn_read(const char *s, struct plan *p, struct err *err)
{
	cleanup_free char *protocol = NULL, *suffix = NULL, *dev = NULL, *url = NULL;
	errint_t r = conn_keep(s, "UseDevelopmentStorage", &dev, err);

	if (!r && dev && !strcasecmp(dev, "true"))
		return conn_emulator(s, p, err);
	r = r ? r : conn_keep(s, "AccountName", &p->cred.account, err);
	r = r ? r : conn_keep(s, "AccountKey", &p->cred.key.value, err);
	r = r ? r : conn_keep(s, "SharedAccessSignature", &p->cred.sas.value, err);
	r = r ? r : conn_keep(s, "BlobEndpoint", &p->endpoint, err);
	r = r ? r : conn_keep(s, "DefaultEndpointsProtocol", &protocol, err);
	r = r ? r : conn_keep(s, "EndpointSuffix", &suffix, err);
	if (r || p->endpoint)
		return r;
	if (!p->cred.account)
		return err_set(err, -EINVAL, ERR_FINAL,
			"the connection string has neither AccountName nor BlobEndpoint");
	if (asprintf(&url, "%s://%s.blob.%s", protocol ? protocol : "https", p->cred.account,
		    suffix ? suffix : SUFFIX) < 0) {
		url = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	return keep(&p->endpoint, url, err);
}

/* ---- section and environment ---- */

/* The value of the variable that a key names. */
static errint_t variable(const struct section *s, const char *key, char **to, struct err *err)
{
	const struct conf_item *it = section_item(s, key);
	const char *v = it ? getenv(it->value) : NULL;

	if (it && (!v || !*v))
		return conf_err(it, err, "there is no variable '%s' in the environment", it->value);
	return keep(to, v, err);
}

static errint_t section_read(const struct section *s, struct plan *p, struct err *err)
{
	static const char *const sums[] = {"auto", "crc64nvme", "md5", "off", NULL};
	static const char *const speeds[] = {"standard", "high", NULL};
	static const char *const hns[] = {"no", "yes", "auto", NULL};
	const struct {
		const char *key;
		char **to;
		bool env; /* the value names a variable that has it */
	} texts[] = {{"endpoint", &p->endpoint, false}, {"account", &p->cred.account, false},
		{"account_key_file", &p->cred.key.file, false},
		{"account_key_env", &p->cred.key.value, true},
		{"sas_file", &p->cred.sas.file, false}, {"sas_env", &p->cred.sas.value, true},
		{"tenant_id", &p->cred.tenant, false}, {"client_id", &p->cred.client, false},
		{"client_secret_file", &p->cred.client_secret.file, false},
		{"client_secret_env", &p->cred.client_secret.value, true},
		{"federated_token_file", &p->cred.token_file, false}};
	unsigned sum = AZ_SUM_AUTO, speed = 0, tree = 2;
	errint_t r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(texts) && !r; i++)
		r = texts[i].env ? variable(s, texts[i].key, texts[i].to, err)
				 : keep(texts[i].to, section_value(s, texts[i].key), err);
	p->auth = AUTH_AUTO;
	r = r ? r : section_word(s, "credentials", auth_words, &p->auth, err);
	r = r ? r : section_word(s, "checksum", sums, &sum, err);
	r = r ? r : section_word(s, "rehydrate", speeds, &speed, err);
	r = r ? r : section_word(s, "hierarchical", hns, &tree, err);
	p->conf.verify = true;
	r = r ? r : section_flag(s, "verify", &p->conf.verify, err);
	r = r ? r : section_flag(s, "delete_snapshots", &p->conf.delete_snapshots, err);
	p->conf.sum = sum;
	p->conf.rehydrate_high = speed;
	p->conf.hns = tree == 2 ? -1 : (int)tree;
	(void)snprintf(p->conf.dfs, sizeof(p->conf.dfs), "%s",
		section_value(s, "dfs_endpoint") ? section_value(s, "dfs_endpoint") : "");
	p->conf.net.ca_file = section_value(s, "ca_file");
	p->conf.net.proxy = section_value(s, "proxy");
	return r;
}

static errint_t conn_given(const struct conf_item *it, bool file, struct plan *p, struct err *err)
{
	cleanup_secret struct buf text = BUF_INIT(AZ_SECRET_MAX);
	const char *v = file ? NULL : getenv(it->value);
	errint_t r = 0;

	if (file)
		r = azblob_secret_read(it->value, &text, err);
	else if (!v || !*v)
		return conf_err(it, err, "there is no variable '%s' in the environment", it->value);
	r = r ? r : conn_read(file ? text.p : v, p, err);
	return r ? conf_err(it, err, "%s", err_text(err, r)) : 0;
}

/* What names an account is taken as a whole: the section's, else the string's, else the rest. */
static errint_t account_read(const struct section *s, struct plan *p, struct err *err)
{
	const struct conf_item *it = section_item(s, "connection_string_env");
	const struct conf_item *file = section_item(s, "connection_string_file");
	const char *env = getenv("AZURE_STORAGE_CONNECTION_STRING");
	const char *account = getenv("AZURE_STORAGE_ACCOUNT");
	bool secret =
		p->cred.key.value || p->cred.key.file || p->cred.sas.value || p->cred.sas.file;
	bool other = p->auth > AZ_AUTH_SAS && p->auth != AUTH_AUTO;
	struct conn at;
	errint_t r = 0;

	if (it || file)
		return conn_given(it ? it : file, !it, p, err);
	if (secret || other)
		return keep(&p->cred.account, account, err);
	if (env && *env &&
		(!p->cred.account ||
			(conn_find(env, "AccountName", &at) && at.len == strlen(p->cred.account) &&
				!strncmp(at.v, p->cred.account, at.len)))) {
		r = conn_read(env, p, err);
		return r ? err_wrap(err, r, "AZURE_STORAGE_CONNECTION_STRING") : 0;
	}
	if (p->cred.account && account && strcmp(p->cred.account, account) != 0)
		return 0;
	r = keep(&p->cred.account, account, err);
	r = r ? r : keep(&p->cred.key.value, getenv("AZURE_STORAGE_KEY"), err);
	return r ? r : keep(&p->cred.sas.value, getenv("AZURE_STORAGE_SAS_TOKEN"), err);
}

static errint_t identity_read(struct plan *p, struct err *err)
{
	struct azblob_cred_conf *f = &p->cred;
	const struct {
		const char *name;
		char **to;
	} texts[] = {{"AZURE_TENANT_ID", &f->tenant}, {"AZURE_CLIENT_ID", &f->client},
		{"AZURE_FEDERATED_TOKEN_FILE", &f->token_file},
		{"AZURE_AUTHORITY_HOST", &f->authority},
		{"IDENTITY_ENDPOINT", &f->identity_endpoint},
		{"IDENTITY_HEADER", &f->identity_header},
		{"AZURE_POD_IDENTITY_AUTHORITY_HOST", &f->machine_endpoint}};
	errint_t r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(texts) && !r; i++)
		r = keep(texts[i].to, getenv(texts[i].name), err);
	if (!f->client_secret.file)
		r = r ? r : keep(&f->client_secret.value, getenv("AZURE_CLIENT_SECRET"), err);
	r = r ? r : keep(&f->authority, AUTHORITY, err);
	r = r ? r : keep(&f->machine_endpoint, MACHINE, err);
	for (size_t n = f->authority ? strlen(f->authority) : 0; n && f->authority[n - 1] == '/';)
		f->authority[--n] = 0;
	return r;
}

/* ---- choosing ---- */

static bool has(const struct azblob_secret *s)
{
	return s->value || s->file;
}

static unsigned auth_choose(const struct azblob_cred_conf *f)
{
	if (has(&f->key))
		return AZ_AUTH_KEY;
	if (has(&f->sas))
		return AZ_AUTH_SAS;
	if (f->tenant && f->client && has(&f->client_secret))
		return AZ_AUTH_CLIENT;
	if (f->tenant && f->client && f->token_file)
		return AZ_AUTH_FEDERATED;
	if (f->identity_endpoint && f->identity_header)
		return AZ_AUTH_APP;
	return AZ_AUTH_MACHINE;
}

static const char *lacks(const struct azblob_cred_conf *f)
{
	bool client = f->tenant && f->client;

	switch (f->auth) {
	case AZ_AUTH_KEY:
		return !has(&f->key) ? "account_key_file" : f->account ? NULL : "account";
	case AZ_AUTH_SAS:
		return has(&f->sas) ? NULL : "sas_file";
	case AZ_AUTH_CLIENT:
		return client && has(&f->client_secret)
			       ? NULL
			       : "tenant_id, client_id and client_secret_file";
	case AZ_AUTH_FEDERATED:
		return client && f->token_file ? NULL
					       : "tenant_id, client_id and federated_token_file";
	case AZ_AUTH_APP:
		return f->identity_endpoint && f->identity_header
			       ? NULL
			       : "IDENTITY_ENDPOINT and IDENTITY_HEADER in the environment";
	default:
		return NULL;
	}
}

static bool loopback(const struct net_url *u)
{
	return !strcmp(u->host, "localhost") || !strcmp(u->host, "::1") ||
	       !strncmp(u->host, "127.", 4);
}

static errint_t secret_safe(const struct conf_item *it, const struct plan *p,
	const struct net_url *u, const char *url, struct err *err)
{
	if (u->tls || loopback(u) || p->cred.auth == AZ_AUTH_KEY || p->cred.auth == AZ_AUTH_NONE)
		return 0;
	return conf_err(it, err,
		"'%s' is not https: a token or a shared access signature would be readable on the "
		"way",
		url);
}

/*
 * The Data Lake interface of the same account has the service's name in its host's place of "blob"
 * (Microsoft: "Storage account overview", endpoints). A host of another form tells nothing of it:
 * then it is what the section says, or none.
 */
static errint_t dfs_check(
	const struct section *s, struct plan *p, const struct net_url *blob, struct err *err)
{
	const struct conf_item *it = section_item(s, "dfs_endpoint");
	struct azblob_conf *f = &p->conf;
	const char *at = strstr(f->base, ".blob.");
	struct net_url u;
	errint_t r;

	if (!it) {
		if (at && !blob->path[0] && !strstr(at + 1, ".blob."))
			(void)snprintf(f->dfs, sizeof(f->dfs), "%.*s.dfs.%s", (int)(at - f->base),
				f->base, at + strlen(".blob."));
		return 0;
	}
	r = net_url_parse(f->dfs, &u, err);
	if (r)
		return conf_err(it, err, "%s", err_text(err, r));
	while (f->dfs[strlen(f->dfs) - 1] == '/')
		f->dfs[strlen(f->dfs) - 1] = 0;
	return secret_safe(it, p, &u, f->dfs, err);
}

static errint_t endpoint_check(const struct section *s, struct plan *p, struct err *err)
{
	const struct conf_item *it = section_item(s, "endpoint");
	struct azblob_conf *f = &p->conf;
	struct net_url u;
	errint_t r;

	it = it ? it : section_any(s);
	if (!p->endpoint && !p->cred.account)
		return conf_err(it, err,
			"no account: set account or connection_string_file, or "
			"AZURE_STORAGE_ACCOUNT in "
			"the environment");
	if (p->endpoint)
		snprintf(f->base, sizeof(f->base), "%s", p->endpoint);
	else
		snprintf(f->base, sizeof(f->base), "https://%s.blob." SUFFIX, p->cred.account);
	r = net_url_parse(f->base, &u, err);
	if (r)
		return conf_err(it, err, "%s", err_text(err, r));
	while (f->base[strlen(f->base) - 1] == '/')
		f->base[strlen(f->base) - 1] = 0;
	f->tls = u.tls;
	r = secret_safe(it, p, &u, f->base, err);
	return r ? r : dfs_check(s, p, &u, err);
}

static errint_t plan_read(
	const struct section *s, const struct remote *r, struct plan *p, struct err *err)
{
	const struct conf_item *it = section_item(s, "credentials");
	const char *missing;
	errint_t e = section_read(s, p, err);

	snprintf(p->conf.name, sizeof(p->conf.name), "%s", r->name);
	memcpy(p->conf.classes, r->classes, sizeof(p->conf.classes));
	e = e ? e : account_read(s, p, err);
	e = e ? e : identity_read(p, err);
	if (e)
		return e;
	p->cred.auth = p->auth == AUTH_AUTO ? auth_choose(&p->cred) : p->auth;
	missing = lacks(&p->cred);
	if (missing)
		return conf_err(it ? it : section_any(s), err, "credentials '%s' need %s",
			auth_words[p->cred.auth], missing);
	if (p->cred.account &&
		(strlen(p->cred.account) >= AZ_ACCOUNT_MAX ||
			strspn(p->cred.account, "abcdefghijklmnopqrstuvwxyz"
						"0123456789-") != strlen(p->cred.account)))
		return conf_err(section_any(s), err, "'%.80s' cannot be an account: a-z, 0-9",
			p->cred.account);
	return endpoint_check(s, p, err);
}

/* The account; with the host where that does not name it. */
static void service_set(const struct plan *p, struct remote *r)
{
	const char *account = p->cred.account ? p->cred.account : "";
	size_t n = strlen(account);
	struct net_url u;

	if (net_url_parse(p->conf.base, &u, NULL))
		return; /* it was checked */
	if (!n && strstr(u.host, ".blob." SUFFIX))
		n = strcspn(u.host, ".");
	if (n && u.host[n] == '.' && (!*account || !strncmp(u.host, account, n)))
		(void)snprintf(r->service, sizeof(r->service), "%.*s", (int)n, u.host);
	else
		(void)snprintf(
			r->service, sizeof(r->service), "%s%s%s", account, n ? " at " : "", u.host);
}

static errint_t azure_make(const struct section *s, struct remote *r, const char *data_dir,
	struct store **ret, struct err *err)
{
	struct plan p = {0};
	errint_t e = plan_read(s, r, &p, err);

	if (!e)
		service_set(&p, r);
	if (!e && ret)
		e = store_azblob_new(&p.conf, &p.cred, ret, err);
	plan_done(&p);
	return e;
}

static bool in_environment(void)
{
	const char *c = getenv("AZURE_STORAGE_CONNECTION_STRING");
	const char *a = getenv("AZURE_STORAGE_ACCOUNT");

	return (c && *c) || (a && *a);
}

const struct remote_type remote_type_azure = {
	.name = "azure",
	.keys = keys,
	.provider = "azure",
	.same_service = (const char *const[]){"account", "endpoint", "connection_string_file",
		"connection_string_env", NULL},
	.real = true,
	.in_environment = in_environment,
	.make = azure_make,
};
