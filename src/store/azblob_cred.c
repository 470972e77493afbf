/* SPDX-License-Identifier: MIT */
/*
 * Credentials of Azure Storage. A key signs each request (azblob_sign.c), a SAS is appended to its
 * URL, tokens go into Authorization and are cached (token.c). Secrets are copied out for a call
 * and wiped behind it.
 */
#include "azblob_cred.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "azblob_priv.h"
#include "azblob_sign.h"
#include "token.h"

#define TOKEN_MAX	(64u << 10)
#define SOURCE_LIFE_S	3600 /* of the SAS for the source of a copy */
#define SOURCE_EARLY_S	600  /* clocks differ */
#define MACHINE_CONN_NS (2 * NS_PER_S)
#define RESOURCE	"https://storage.azure.com/"

struct azblob_cred {
	struct azblob_cred_conf conf; /* owned */
	struct net *net;	      /* borrowed */
	struct token_cache tokens;
};

/* ---- secrets ---- */

static void secret_free(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void azblob_secret_wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	buf_done(b);
}

void azblob_cred_conf_done(struct azblob_cred_conf *c)
{
	char **const all[] = {&c->account, &c->key.value, &c->key.file, &c->sas.value, &c->sas.file,
		&c->client_secret.value, &c->client_secret.file, &c->tenant, &c->client,
		&c->token_file, &c->authority, &c->identity_endpoint, &c->identity_header,
		&c->machine_endpoint};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		secret_free(all[i]);
}

errint_t azblob_secret_read(const char *path, struct buf *ret, struct err *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char part[4096];
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, part, sizeof(part))) > 0)
		if (buf_add(ret, part, (size_t)n))
			break;
	explicit_bzero(part, sizeof(part));
	if (n < 0 || ret->failed)
		return err_set(err, n < 0 ? -errno : ret->failed, ERR_AUTH,
			"cannot read the credentials in '%s': %s", path,
			n < 0 ? strerror(errno) : "too long");
	while (ret->len && strchr(" \t\r\n", ret->p[ret->len - 1]))
		ret->p[--ret->len] = 0;
	n = ret->p ? (ssize_t)strspn(ret->p, " \t\r\n") : 0;
	if (n) {
		ret->len -= (size_t)n;
		memmove(ret->p, ret->p + n, ret->len + 1);
	}
	if (!ret->len)
		return err_set(
			err, -EACCES, ERR_AUTH, "the file of credentials '%s' is empty", path);
	return 0;
}

/* Files are small and in the page cache: read each time, so that a change is never missed. */
static errint_t secret_get(const struct azblob_secret *s, struct buf *ret, struct err *err)
{
	if (s->file)
		return azblob_secret_read(s->file, ret, err);
	assert(s->value);
	return buf_adds(ret, s->value) ? err_set(err, -ENOMEM, ERR_RETRY, "no memory") : 0;
}

static errint_t key_get(const struct azblob_cred *c, struct azblob_key *ret, struct err *err)
{
	cleanup_secret struct buf text = BUF_INIT(AZ_SECRET_MAX);
	errint_t r = secret_get(&c->conf.key, &text, err);

	if (r)
		return r;
	snprintf(ret->account, sizeof(ret->account), "%s", c->conf.account);
	if (base64_decode(text.p, ret->key, sizeof(ret->key), &ret->len) || !ret->len)
		return err_set(err, -EACCES, ERR_AUTH,
			"the key of account '%s' is not base64 of at most %d bytes", ret->account,
			AZ_KEY_MAX);
	return 0;
}

/* ---- tokens ---- */

static errint_t answer_error(const struct net_answer *a, const char *from, struct err *err)
{
	cleanup_json json_t *j = json_loadb(a->body.p ? a->body.p : "", a->body.len, 0, NULL);
	const char *code = json_string_value(json_object_get(j, "error"));
	const char *text = json_string_value(json_object_get(j, "error_description"));
	bool later = a->status == 429 || a->status >= 500 || a->status == 410 || a->status == 404;

	err_set(err, later ? -EIO : -EACCES, later ? ERR_RETRY : ERR_AUTH,
		"%s gave no token: %d %s%s%.*s", from, a->status, code ? code : "",
		text ? ": " : "", text ? (int)strcspn(text, "\r\n") : 0, text ? text : "");
	if (err) {
		err->http_status = a->status;
		err->retry_after_ms = a->retry_after_ms;
		snprintf(err->code, sizeof(err->code), "%s", code ? code : "");
	}
	return later ? -EIO : -EACCES;
}

/* Seconds, as a number or in a string. */
static bool seconds(const json_t *j, const char *key, int64_t *ret)
{
	const json_t *v = json_object_get(j, key);
	const char *s = json_string_value(v);
	char *end;

	if (json_is_integer(v)) {
		*ret = json_integer_value(v);
		return *ret > 0;
	}
	if (!s || !*s)
		return false;
	*ret = strtoll(s, &end, 10);
	return !*end && *ret > 0;
}

static errint_t answer_token(
	const struct net_answer *a, const char *from, struct token *ret, struct err *err)
{
	cleanup_json json_t *j = json_loadb(a->body.p ? a->body.p : "", a->body.len, 0, NULL);
	const char *text = json_string_value(json_object_get(j, "access_token"));
	int64_t life = 0, at;

	if (!text || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				  "-._~+/=") != strlen(text))
		return err_set(
			err, -EBADMSG, ERR_RETRY, "%s answered without a usable token", from);
	if (!seconds(j, "expires_in", &life) && seconds(j, "expires_on", &at))
		life = at - clock_now_ns() / NS_PER_S;
	life = MIN_OF(MAX_OF(life, 0), INT64_C(86400) * 7);
	ret->text = strdup(text);
	ret->until_mono_ns = clock_mono_ns() + life * NS_PER_S;
	return ret->text ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t ask(struct azblob_cred *c, const struct store_call *call, struct net_req *q,
	const char *from, struct token *ret, struct err *err)
{
	struct net_answer a;
	errint_t r;

	q->deadline_mono_ns = call->deadline_mono_ns;
	q->cancel = call->cancel;
	q->body_max = TOKEN_MAX;
	r = net_perform(c->net, q, &a, err);
	if (r && err->kind == ERR_UNKNOWN)
		err->kind = ERR_RETRY; /* a token more changes nothing */
	if (r)
		r = err_wrap(err, r, "%s", from);
	else if (a.status != 200)
		r = answer_error(&a, from, err);
	else
		r = answer_token(&a, from, ret, err);
	net_answer_done(&a);
	return r;
}

static void form_add(struct buf *b, const char *name, const char *value)
{
	(void)buf_addf(b, "%s%s=", b->len ? "&" : "", name);
	(void)net_url_add(b, value, "");
}

/* OAuth 2 client credentials, with a secret or with somebody else's assertion. */
static errint_t fetch_client(
	struct azblob_cred *c, const struct store_call *call, struct token *ret, struct err *err)
{
	const struct azblob_cred_conf *f = &c->conf;
	cleanup_secret struct buf form = BUF_INIT(AZ_SECRET_MAX * 3),
				  secret = BUF_INIT(AZ_SECRET_MAX);
	cleanup_buf struct buf url = BUF_INIT(4096);
	struct net_fields fields = {0};
	struct net_req q = {.method = "POST", .fields = &fields};
	errint_t r = f->auth == AZ_AUTH_CLIENT ? secret_get(&f->client_secret, &secret, err)
					       : azblob_secret_read(f->token_file, &secret, err);

	if (r)
		return r;
	(void)buf_addf(&url, "%s/", f->authority);
	(void)net_url_add(&url, f->tenant, "");
	(void)buf_adds(&url, "/oauth2/v2.0/token");
	form_add(&form, "grant_type", "client_credentials");
	form_add(&form, "client_id", f->client);
	form_add(&form, "scope", RESOURCE ".default");
	if (f->auth == AZ_AUTH_FEDERATED)
		form_add(&form, "client_assertion_type",
			"urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
	form_add(&form, f->auth == AZ_AUTH_CLIENT ? "client_secret" : "client_assertion", secret.p);
	(void)net_field_add(&fields, "Content-Type", "application/x-www-form-urlencoded");
	if (url.failed || form.failed)
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory for a token request");
	q.url = url.p;
	q.body = form.p;
	q.body_len = form.len;
	r = r ? r : ask(c, call, &q, "the identity service", ret, err);
	net_fields_done(&fields);
	return r;
}

static errint_t fetch_managed(
	struct azblob_cred *c, const struct store_call *call, struct token *ret, struct err *err)
{
	const struct azblob_cred_conf *f = &c->conf;
	bool app = f->auth == AZ_AUTH_APP;
	cleanup_buf struct buf url = BUF_INIT(4096);
	struct net_fields fields = {0};
	struct net_req q = {.method = "GET", .fields = &fields, .direct = true};
	errint_t r;

	(void)buf_adds(&url, app ? f->identity_endpoint : f->machine_endpoint);
	if (!app)
		(void)buf_adds(&url, "/metadata/identity/oauth2/token");
	(void)net_url_param(&url, "api-version", app ? "2019-08-01" : "2018-02-01");
	(void)net_url_param(&url, "resource", RESOURCE);
	if (f->client)
		(void)net_url_param(&url, "client_id", f->client);
	if (app)
		(void)net_field_add(&fields, "X-IDENTITY-HEADER", f->identity_header);
	else
		(void)net_field_add(&fields, "Metadata", "true");
	q.url = url.p;
	q.connect_ns = MACHINE_CONN_NS;
	r = url.failed ? err_set(err, -ENOMEM, ERR_RETRY, "no memory for a token request") : 0;
	r = r ? r
	      : ask(c, call, &q,
			app ? "the App Service's identity" : "this machine's managed identity", ret,
			err);
	net_fields_done(&fields);
	return r;
}

static errint_t fetch(void *arg, const struct store_call *call, struct token *ret, struct err *err)
{
	struct azblob_cred *c = arg;

	if (c->conf.auth == AZ_AUTH_CLIENT || c->conf.auth == AZ_AUTH_FEDERATED)
		return fetch_client(c, call, ret, err);
	return fetch_managed(c, call, ret, err);
}

/* ---- requests ---- */

static errint_t sas_append(const struct azblob_cred *c, struct buf *url, struct err *err)
{
	cleanup_secret struct buf sas = BUF_INIT(AZ_SECRET_MAX);
	errint_t r = secret_get(&c->conf.sas, &sas, err);
	const char *s = sas.p;

	if (r)
		return r;
	s += *s == '?';
	(void)buf_addf(url, "%c%s", memchr(url->p, '?', url->len) ? '&' : '?', s);
	return url->failed ? err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request") : 0;
}

static errint_t bearer_add(struct azblob_cred *c, const struct store_call *call,
	struct net_fields *f, const char *name, unsigned *ret_number, struct err *err)
{
	cleanup_secret struct buf text = BUF_INIT(TOKEN_MAX);
	errint_t r;

	(void)buf_adds(&text, "Bearer ");
	r = token_get(&c->tokens, call, &text, ret_number, err);
	if (!r && net_field_add(f, name, text.p))
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request");
	return r;
}

errint_t azblob_cred_apply(struct azblob_cred *c, const struct store_call *call, const char *method,
	struct buf *url, size_t body_len, struct net_fields *f, unsigned *ret_number,
	struct err *err)
{
	struct azblob_key key;
	errint_t r;

	*ret_number = 0;
	switch (c->conf.auth) {
	case AZ_AUTH_NONE:
		return 0;
	case AZ_AUTH_SAS:
		return sas_append(c, url, err);
	case AZ_AUTH_KEY:
		r = key_get(c, &key, err);
		if (!r && azblob_sign(&key, method, url->p, body_len, f, NULL))
			r = err_set(err, -ENOMEM, ERR_RETRY, "no memory to sign a request");
		explicit_bzero(&key, sizeof(key));
		return r;
	default:
		return bearer_add(c, call, f, "Authorization", ret_number, err);
	}
}

bool azblob_cred_refused(struct azblob_cred *c, unsigned number)
{
	if (!number)
		return false;
	token_refused(&c->tokens, number);
	return true;
}

static void sas_time(int64_t ns, char ret[32])
{
	time_t t = (time_t)(ns / NS_PER_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	(void)strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

errint_t azblob_cred_source(struct azblob_cred *c, const struct store_call *call, int64_t now_ns,
	struct store_obj o, struct buf *url, struct net_fields *f, struct err *err)
{
	char start[32], expiry[32];
	struct azblob_sas sas = {.container = o.bucket,
		.blob = o.key,
		.permissions = "r",
		.start = start,
		.expiry = expiry,
		.version = AZ_API_VERSION};
	struct azblob_key key;
	unsigned number;
	errint_t r;

	switch (c->conf.auth) {
	case AZ_AUTH_NONE:
		return 0;
	case AZ_AUTH_SAS:
		return sas_append(c, url, err);
	case AZ_AUTH_KEY:
		sas_time(now_ns - SOURCE_EARLY_S * NS_PER_S, start);
		sas_time(now_ns + SOURCE_LIFE_S * NS_PER_S, expiry);
		r = key_get(c, &key, err);
		(void)buf_adds(url, "?");
		if (!r && azblob_sas(&key, &sas, url))
			r = err_set(err, -ENOMEM, ERR_RETRY, "no memory to sign a request");
		explicit_bzero(&key, sizeof(key));
		return r;
	default:
		return bearer_add(c, call, f, "x-ms-copy-source-authorization", &number, err);
	}
}

errint_t azblob_cred_rename(const struct azblob_cred *c, struct buf *url, struct err *err)
{
	return c->conf.auth == AZ_AUTH_SAS ? sas_append(c, url, err) : 0;
}

void azblob_cred_describe(const struct azblob_cred *c, struct buf *ret)
{
	const struct azblob_cred_conf *f = &c->conf;
	const char *account = f->account ? f->account : "?";

	switch (f->auth) {
	case AZ_AUTH_KEY:
		(void)buf_addf(ret, "the key of account %s%s%s", account, f->key.file ? " in " : "",
			f->key.file ? f->key.file : "");
		break;
	case AZ_AUTH_SAS:
		(void)buf_addf(ret, "a shared access signature%s%s", f->sas.file ? " in " : "",
			f->sas.file ? f->sas.file : "");
		break;
	case AZ_AUTH_CLIENT:
		(void)buf_addf(ret, "client %s of tenant %s, by its secret", f->client, f->tenant);
		break;
	case AZ_AUTH_FEDERATED:
		(void)buf_addf(ret, "client %s of tenant %s, by the token in %s", f->client,
			f->tenant, f->token_file);
		break;
	case AZ_AUTH_APP:
	case AZ_AUTH_MACHINE:
		(void)buf_addf(ret, "the managed identity of this %s%s%s",
			f->auth == AZ_AUTH_APP ? "application" : "machine",
			f->client ? ", client " : "", f->client ? f->client : "");
		break;
	case AZ_AUTH_NONE:
		(void)buf_adds(ret, "nobody (public access)");
		break;
	}
}

/* ---- making ---- */

errint_t azblob_cred_new(
	struct azblob_cred_conf *conf, struct net *net, struct azblob_cred **ret, struct err *err)
{
	struct azblob_cred *c = calloc(1, sizeof(*c));

	if (!c) {
		azblob_cred_conf_done(conf);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	c->conf = *conf;
	*conf = (struct azblob_cred_conf){0};
	c->net = net;
	token_cache_init(&c->tokens, fetch, c);
	*ret = c;
	return 0;
}

struct azblob_cred *azblob_cred_destroy(struct azblob_cred *c)
{
	if (!c)
		return NULL;
	token_cache_done(&c->tokens);
	azblob_cred_conf_done(&c->conf);
	free(c);
	return NULL;
}
