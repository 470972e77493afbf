/* SPDX-License-Identifier: MIT */
/*
 * Where Google's access tokens come from: files of credentials of the kinds that Google's tools
 * write, and the metadata server. Each source is one exchange over HTTP, or two. No state.
 *
 * Addresses in such a file get secrets sent to them, so they must be https, or this machine.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "gcs_cred.h"

#define FILE_MAX	   (64u << 10)
#define ANSWER_MAX	   (64u << 10)
#define FORM_MAX	   (64u << 10)
#define URI_DEFAULT	   "https://oauth2.googleapis.com/token"
#define JWT_SECONDS	   3600
#define SKEW_MIN_NS	   (30 * NS_PER_S)
#define MACHINE_CONNECT_NS (3 * NS_PER_S) /* there is none: say so soon */
#define EXPIRES_DEFAULT	   300

/* ---- memory that held secrets ---- */

static void secret_free(char **s)
{
	if (*s)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}
#define cleanup_secret __attribute__((cleanup(secret_free)))

/* A document's strings go with it, but jansson does not wipe them. */
static void json_wipe(json_t *j)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_string(j)) {
		explicit_bzero((char *)json_string_value(j), json_string_length(j));
	} else if (json_is_object(j)) {
		json_object_foreach (j, key, v)
			json_wipe(v);
	} else if (json_is_array(j)) {
		json_array_foreach (j, i, v)
			json_wipe(v);
	}
}

static void secret_json_p(json_t **j)
{
	if (*j)
		json_wipe(*j);
	json_decref(*j);
}
#define cleanup_secret_json __attribute__((cleanup(secret_json_p)))

void gcs_token_wipe(struct gcs_token *t)
{
	explicit_bzero(t, sizeof(*t));
}

void gcs_source_done(struct gcs_source *s)
{
	char **all[] = {&s->file, &s->email, &s->key_id, &s->private_key, &s->client_id,
		&s->client_secret, &s->refresh, &s->audience, &s->subject_type, &s->token_url,
		&s->subject_file, &s->subject_url, &s->subject_field, &s->impersonation_url,
		&s->token_uri, &s->project};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		secret_free(all[i]);
	net_fields_done(&s->subject_fields);
	*s = (struct gcs_source){0};
}

/* ---- files ---- */

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

/* A small file as text, malloced. */
static errint_t file_read(const char *file, char **ret, struct err *err)
{
	cleanup_fd int fd = open(file, O_RDONLY | O_CLOEXEC);
	cleanup_secret char *p = calloc(1, FILE_MAX + 1);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return err_set(
			err, -EACCES, ERR_AUTH, "cannot read '%s': %s", file, strerror(errno));
	if (!p)
		return no_memory(err);
	while (len < FILE_MAX && (n = read(fd, p + len, FILE_MAX - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return err_set(
			err, -EACCES, ERR_AUTH, "cannot read '%s': %s", file, strerror(errno));
	if (len == FILE_MAX || strlen(p) != len)
		return err_set(err, -EACCES, ERR_AUTH, "'%s' is no text of less than %u bytes",
			file, FILE_MAX);
	*ret = steal_ptr(&p);
	return 0;
}

struct member { /* of a file, and where it goes */
	const char *name;
	char **to;
	bool needed;
};

static errint_t members(
	const json_t *j, const char *file, const struct member *m, unsigned n, struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		const char *v = json_string_value(json_object_get(j, m[i].name));

		if ((!v || !*v) && m[i].needed)
			return err_set(
				err, -EACCES, ERR_AUTH, "'%s' has no \"%s\"", file, m[i].name);
		if (!v || !*v)
			continue;
		secret_free(m[i].to);
		*m[i].to = strdup(v);
		if (!*m[i].to)
			return no_memory(err);
	}
	return 0;
}

/* https, or http to this machine. */
static errint_t uri_check(const char *uri, const char *file, struct err *err)
{
	/* a path and a query, which net_url_parse takes for no endpoint */
	size_t len = strcspn(uri, "?#");
	cleanup_free char *plain = strndup(uri, len);
	struct net_url u;
	errint_t r = plain ? net_url_parse(plain, &u, err) : no_memory(err);

	if (r)
		return err_wrap(err, r, "'%s'", file);
	if (u.tls || !strcmp(u.host, "localhost") || !strncmp(u.host, "127.", 4) ||
		!strcmp(u.host, "::1") || !strcmp(u.host, "169.254.169.254"))
		return 0;
	return err_set(err, -EACCES, ERR_AUTH,
		"'%s': secrets are not sent to '%.100s': it is not https", file, uri);
}

static errint_t load_service(struct gcs_source *s, const json_t *j, struct err *err)
{
	const struct member m[] = {{"client_email", &s->email, true},
		{"private_key", &s->private_key, true}, {"private_key_id", &s->key_id, false},
		{"token_uri", &s->token_uri, false}, {"project_id", &s->project, false}};

	s->kind = GCS_SERVICE;
	return members(j, s->file, m, ARRAY_SIZE(m), err);
}

static errint_t load_user(struct gcs_source *s, const json_t *j, struct err *err)
{
	const struct member m[] = {{"client_id", &s->client_id, true},
		{"client_secret", &s->client_secret, true}, {"refresh_token", &s->refresh, true},
		{"token_uri", &s->token_uri, false}, {"account", &s->email, false},
		{"quota_project_id", &s->project, false}};

	s->kind = GCS_USER;
	return members(j, s->file, m, ARRAY_SIZE(m), err);
}

static errint_t load_external(struct gcs_source *s, const json_t *j, struct err *err)
{
	json_t *from = json_object_get(j, "credential_source");
	json_t *format = json_object_get(from, "format");
	json_t *fields = json_object_get(from, "headers");
	const char *type = json_string_value(json_object_get(format, "type"));
	const struct member m[] = {{"audience", &s->audience, true},
		{"subject_token_type", &s->subject_type, true}, {"token_url", &s->token_url, true},
		{"service_account_impersonation_url", &s->impersonation_url, false},
		{"quota_project_id", &s->project, false}};
	const struct member source[] = {
		{"file", &s->subject_file, false}, {"url", &s->subject_url, false}};
	const struct member field[] = {{"subject_token_field_name", &s->subject_field, true}};
	const char *name;
	json_t *v;
	errint_t r;

	s->kind = GCS_EXTERNAL;
	r = members(j, s->file, m, ARRAY_SIZE(m), err);
	r = r ? r : members(from, s->file, source, ARRAY_SIZE(source), err);
	if (!r && type && !strcmp(type, "json"))
		r = members(format, s->file, field, ARRAY_SIZE(field), err);
	if (!r && !s->subject_file == !s->subject_url)
		return err_set(err, -EACCES, ERR_AUTH,
			"'%s': only credential_source with \"file\" or \"url\" is supported",
			s->file);
	json_object_foreach (fields, name, v)
		if (!r && json_is_string(v))
			r = net_field_add(&s->subject_fields, name, json_string_value(v));
	r = r ? r : uri_check(s->token_url, s->file, err);
	if (!r && s->impersonation_url)
		r = uri_check(s->impersonation_url, s->file, err);
	return r;
}

errint_t gcs_source_load(struct gcs_source *s, const char *file, struct err *err)
{
	static const struct {
		const char *type;
		errint_t (*load)(struct gcs_source *s, const json_t *j, struct err *err);
	} kinds[] = {{"service_account", load_service}, {"authorized_user", load_user},
		{"external_account", load_external}};
	cleanup_secret char *text = NULL;
	cleanup_secret_json json_t *j = NULL;
	const char *type;
	json_error_t e;
	errint_t r;

	gcs_source_done(s);
	r = file_read(file, &text, err);
	if (r)
		return r;
	s->file = strdup(file);
	s->token_uri = strdup(URI_DEFAULT);
	if (!s->file || !s->token_uri)
		return no_memory(err);
	j = json_loads(text, JSON_REJECT_DUPLICATES, &e);
	if (!j) /* e.text may quote a secret */
		return err_set(err, -EACCES, ERR_AUTH, "'%s' is not JSON: line %d", file, e.line);
	type = json_string_value(json_object_get(j, "type"));
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!type || strcmp(kinds[i].type, type) != 0)
			continue;
		r = kinds[i].load(s, j, err);
		return r ? r : uri_check(s->token_uri, file, err);
	}
	return err_set(err, -EACCES, ERR_AUTH,
		"'%s' has credentials of type '%.40s'; known: service_account, authorized_user, "
		"external_account",
		file, type ? type : "");
}

/* gcloud's application default file, malloced, or NULL. */
static char *gcloud_file(void)
{
	static const char name[] = "application_default_credentials.json";
	const char *dir = getenv("CLOUDSDK_CONFIG"), *home = getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (dir && *dir)
		n = asprintf(&path, "%s/%s", dir, name);
	else if (home && *home)
		n = asprintf(&path, "%s/.config/gcloud/%s", home, name);
	if (n < 0)
		return NULL;
	if (access(path, F_OK)) {
		free(path);
		return NULL;
	}
	return path;
}

errint_t gcs_source_find(struct gcs_source *s, const struct gcs_cred_conf *conf, struct err *err)
{
	const char *env = getenv("GOOGLE_APPLICATION_CREDENTIALS");
	cleanup_free char *gcloud = NULL;

	gcs_source_done(s);
	if (!conf->metadata_only) {
		if (conf->file)
			return gcs_source_load(s, conf->file, err);
		if (env && *env) {
			errint_t r = gcs_source_load(s, env, err);

			return r ? err_wrap(err, r, "GOOGLE_APPLICATION_CREDENTIALS") : 0;
		}
		gcloud = gcloud_file();
		if (gcloud)
			return gcs_source_load(s, gcloud, err);
	}
	s->kind = GCS_MACHINE;
	return 0;
}

/* ---- assertions ---- */

/* base64url without padding, appended. */
static void add_base64url(struct buf *b, const void *p, size_t len)
{
	cleanup_free char *text = malloc(BASE64_LEN(len) + 1);
	size_t n;

	if (!text) {
		b->failed = -ENOMEM;
		return;
	}
	base64_encode(p, len, text);
	n = strcspn(text, "=");
	for (size_t i = 0; i < n; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	(void)buf_add(b, text, n);
}

static EVP_PKEY *key_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *k = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;

	BIO_free(bio);
	if (k && EVP_PKEY_get_base_id(k) != EVP_PKEY_RSA) {
		EVP_PKEY_free(k);
		k = NULL;
	}
	return k;
}

errint_t gcs_rs256(const char *pem, const char *text, char **ret, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT(FORM_MAX);
	uint8_t sig[1024]; /* a key of 8192 bits */
	EVP_PKEY *k = key_read(pem);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len = sizeof(sig);
	bool ok = k && ctx && EVP_PKEY_get_size(k) <= (int)sizeof(sig) &&
		  EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k) == 1 &&
		  EVP_DigestSign(ctx, sig, &len, (const void *)text, strlen(text)) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(k);
	if (!ok)
		return err_set(err, -EACCES, ERR_AUTH, "the private key is not one of RSA");
	add_base64url(&b, sig, len);
	if (b.failed)
		return no_memory(err);
	*ret = steal_ptr(&b.p);
	return 0;
}

errint_t gcs_jwt(
	const struct gcs_source *s, const char *scope, int64_t now_s, char **ret, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT(FORM_MAX);
	cleanup_json json_t *head =
		json_pack("{s:s, s:s, s:s*}", "alg", "RS256", "typ", "JWT", "kid", s->key_id);
	cleanup_json json_t *claims = json_pack("{s:s, s:s, s:s, s:I, s:I}", "iss", s->email,
		"scope", scope, "aud", s->token_uri, "iat", (json_int_t)now_s, "exp",
		(json_int_t)(now_s + JWT_SECONDS));
	cleanup_free char *h = head ? json_dumps(head, JSON_COMPACT) : NULL;
	cleanup_free char *c = claims ? json_dumps(claims, JSON_COMPACT) : NULL;
	cleanup_secret char *sig = NULL;
	errint_t r;

	if (!h || !c)
		return no_memory(err);
	add_base64url(&b, h, strlen(h));
	(void)buf_adds(&b, ".");
	add_base64url(&b, c, strlen(c));
	if (b.failed)
		return no_memory(err);
	r = gcs_rs256(s->private_key, b.p, &sig, err);
	if (r)
		return err_wrap(err, r, "'%s'", s->file ? s->file : "");
	(void)buf_adds(&b, ".");
	(void)buf_adds(&b, sig);
	if (b.failed)
		return no_memory(err);
	*ret = steal_ptr(&b.p);
	return 0;
}

/* ---- exchanges ---- */

struct ask { /* one request for a token */
	struct net *net;
	const struct gcs_source *s;
	int64_t deadline;
	const atomic_bool *cancel;
	const char *what; /* for messages */
};

/* What refused: {"error": "code", "error_description": "..."} or {"error": {"message": ...}}. */
static errint_t refusal(const struct ask *k, const struct net_answer *a, struct err *err)
{
	cleanup_secret_json json_t *j =
		a->body.p ? json_loadb(a->body.p, a->body.len, 0, NULL) : NULL;
	json_t *e = json_object_get(j, "error");
	const char *code = json_string_value(json_is_object(e) ? json_object_get(e, "status") : e);
	const char *text =
		json_string_value(json_is_object(e) ? json_object_get(e, "message")
						    : json_object_get(j, "error_description"));
	bool later = a->status == 429 || a->status / 100 == 5;
	errint_t r = later ? -EIO : -EACCES;

	(void)err_set(err, r,
		a->status == 429 ? ERR_THROTTLE
		: later		 ? ERR_RETRY
				 : ERR_AUTH,
		"%s gave no access token: HTTP %d%s%.60s%s%.200s", k->what, a->status,
		code ? ", " : "", code ? code : "", text ? ": " : "", text ? text : "");
	err->http_status = a->status;
	err->retry_after_ms = a->retry_after_ms;
	(void)snprintf(err->code, sizeof(err->code), "%.60s", code ? code : "");
	return r;
}

static errint_t exchange(const struct ask *k, const struct net_req *q, json_t **ret,
	int64_t *skew_ns, struct err *err)
{
	struct net_req own = *q;
	struct net_answer a;
	errint_t r;

	own.deadline_mono_ns = k->deadline;
	own.cancel = k->cancel;
	own.body_max = ANSWER_MAX;
	r = net_perform(k->net, &own, &a, err);
	if (r) {
		/* A token too many harms nobody: it may be asked for again. */
		if (err->kind == ERR_UNKNOWN)
			err->kind = ERR_RETRY;
		r = err_wrap(err, r, "%s", k->what);
	} else {
		if (skew_ns && a.has_date)
			*skew_ns = a.skew_ns;
		if (a.status / 100 != 2)
			r = refusal(k, &a, err);
	}
	if (!r) {
		*ret = json_loadb(a.body.p ? a.body.p : "", a.body.len, 0, NULL);
		if (!*ret)
			r = err_set(
				err, -EBADMSG, ERR_RETRY, "%s: the answer is not JSON", k->what);
	}
	net_answer_done(&a);
	return r;
}

static errint_t token_set(const struct ask *k, const char *value, int64_t seconds,
	struct gcs_token *ret, struct err *err)
{
	if (!value || !*value || strlen(value) > GCS_TOKEN_MAX || strpbrk(value, " \t\r\n") != NULL)
		return err_set(
			err, -EBADMSG, ERR_RETRY, "%s: the answer has no access token", k->what);
	memcpy(ret->value, value, strlen(value) + 1);
	seconds = seconds > 0 ? MIN_OF(seconds, INT64_C(43200)) : EXPIRES_DEFAULT;
	ret->expires_mono_ns = clock_mono_ns() + seconds * NS_PER_S;
	return 0;
}

static errint_t token_read(
	const struct ask *k, const json_t *j, struct gcs_token *ret, struct err *err)
{
	return token_set(k, json_string_value(json_object_get(j, "access_token")),
		json_integer_value(json_object_get(j, "expires_in")), ret, err);
}

static void form_add(struct buf *b, const char *name, const char *value)
{
	(void)buf_adds(b, b->len ? "&" : "");
	(void)buf_adds(b, name);
	(void)buf_adds(b, "=");
	(void)net_url_add(b, value, "");
}

/* POSTs a form and reads the token in the answer. Wipes the form. */
static errint_t form_post(const struct ask *k, const char *url, struct buf *form, int64_t *skew_ns,
	struct gcs_token *ret, struct err *err)
{
	struct net_fields f = {0};
	struct net_req q = {
		.method = "POST", .url = url, .fields = &f, .body = form->p, .body_len = form->len};
	cleanup_secret_json json_t *j = NULL;
	errint_t r = form->failed ? no_memory(err) : 0;

	(void)net_field_add(&f, "Content-Type", "application/x-www-form-urlencoded");
	r = r ? r : exchange(k, &q, &j, skew_ns, err);
	r = r ? r : token_read(k, j, ret, err);
	net_fields_done(&f);
	if (form->p)
		explicit_bzero(form->p, form->len);
	buf_done(form);
	return r;
}

static errint_t service_once(const struct ask *k, const char *scope, int64_t now_s,
	int64_t *skew_ns, struct gcs_token *ret, struct err *err)
{
	struct buf form = BUF_INIT(FORM_MAX);
	cleanup_secret char *jwt = NULL;
	errint_t r = gcs_jwt(k->s, scope, now_s, &jwt, err);

	if (r)
		return r;
	form_add(&form, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
	form_add(&form, "assertion", jwt);
	return form_post(k, k->s->token_uri, &form, skew_ns, ret, err);
}

/* An assertion tells the time: with a clock that is wrong it is refused, and the refusal's Date
 * says what the time is. */
static errint_t from_service(const struct ask *k, const char *scope, int64_t *skew_ns,
	struct gcs_token *ret, struct err *err)
{
	int64_t seen = *skew_ns;
	errint_t r =
		service_once(k, scope, (clock_now_ns() + *skew_ns) / NS_PER_S, &seen, ret, err);

	if (!r || err->kind != ERR_AUTH || llabs(seen - *skew_ns) < SKEW_MIN_NS)
		return r;
	*skew_ns = seen;
	return service_once(k, scope, (clock_now_ns() + *skew_ns) / NS_PER_S, NULL, ret, err);
}

static errint_t from_user(const struct ask *k, struct gcs_token *ret, struct err *err)
{
	struct buf form = BUF_INIT(FORM_MAX);

	form_add(&form, "grant_type", "refresh_token");
	form_add(&form, "client_id", k->s->client_id);
	form_add(&form, "client_secret", k->s->client_secret);
	form_add(&form, "refresh_token", k->s->refresh);
	return form_post(k, k->s->token_uri, &form, NULL, ret, err);
}

static errint_t from_machine(const struct ask *k, struct gcs_token *ret, struct err *err)
{
	const char *host = getenv("GCE_METADATA_HOST");
	struct buf url = BUF_INIT(1024);
	struct net_fields f = {0};
	struct net_req q = {.method = "GET", .fields = &f, .direct = true};
	cleanup_secret_json json_t *j = NULL;
	errint_t r;

	(void)buf_addf(&url, "http://%s/computeMetadata/v1/instance/service-accounts/default/token",
		host && *host ? host : "metadata.google.internal");
	(void)net_field_add(&f, "Metadata-Flavor", "Google");
	q.url = url.p;
	q.connect_ns = MACHINE_CONNECT_NS;
	r = url.failed ? no_memory(err) : exchange(k, &q, &j, NULL, err);
	r = r ? r : token_read(k, j, ret, err);
	if (r && (r == -EHOSTUNREACH || r == -ECONNREFUSED) && !(host && *host))
		r = err_set(err, -EACCES, ERR_AUTH,
			"no Google credentials: no file is configured, "
			"GOOGLE_APPLICATION_CREDENTIALS is not set, gcloud has left none, and "
			"there is no metadata server");
	net_fields_done(&f);
	buf_done(&url);
	return r;
}

/* ---- workload identity federation ---- */

/* The token of another identity provider, from a file or an address; malloced. */
static errint_t subject_get(const struct ask *k, char **ret, struct err *err)
{
	const struct gcs_source *s = k->s;
	cleanup_secret char *text = NULL;
	cleanup_secret_json json_t *j = NULL;
	errint_t r = 0;

	if (s->subject_file) {
		r = file_read(s->subject_file, &text, err);
	} else {
		struct net_req q = {.method = "GET",
			.url = s->subject_url,
			.fields = &s->subject_fields,
			.deadline_mono_ns = k->deadline,
			.cancel = k->cancel,
			.body_max = ANSWER_MAX};
		struct net_answer a;

		r = net_perform(k->net, &q, &a, err);
		if (!r && a.status / 100 != 2)
			r = err_set(err, -EACCES, ERR_AUTH, "'%s' gave no token: HTTP %d",
				s->subject_url, a.status);
		text = r ? NULL : strdup(a.body.p ? a.body.p : "");
		net_answer_done(&a);
	}
	if (r)
		return r;
	if (text && s->subject_field) {
		j = json_loads(text, 0, NULL);
		secret_free(&text);
		const char *v = json_string_value(json_object_get(j, s->subject_field));

		text = v ? strdup(v) : NULL;
	}
	for (size_t n = text ? strlen(text) : 0; n && strchr(" \t\r\n", text[n - 1]);)
		text[--n] = 0;
	if (!text || !*text)
		return err_set(err, -EACCES, ERR_AUTH, "'%s' has no token",
			s->subject_file ? s->subject_file : s->subject_url);
	*ret = steal_ptr(&text);
	return 0;
}

/* Seconds from now to "2026-01-02T03:04:05Z"; 0 when it cannot be read. */
static int64_t seconds_to(const char *text, int64_t skew_ns)
{
	struct tm tm = {0};
	const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

	return end ? timegm(&tm) - (clock_now_ns() + skew_ns) / NS_PER_S : 0;
}

static errint_t impersonate(const struct ask *k, const char *scope, int64_t skew_ns,
	struct gcs_token *token, struct err *err)
{
	struct net_fields f = {0};
	struct net_req q = {.method = "POST", .url = k->s->impersonation_url, .fields = &f};
	cleanup_json json_t *body = json_pack("{s:[s], s:s}", "scope", scope, "lifetime", "3600s");
	cleanup_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	cleanup_secret_json json_t *j = NULL;
	errint_t r = text ? 0 : no_memory(err);

	(void)net_field_add(&f, "Content-Type", "application/json");
	(void)net_field_addf(&f, "Authorization", "Bearer %s", token->value);
	q.body = text;
	q.body_len = text ? strlen(text) : 0;
	r = r ? r : exchange(k, &q, &j, NULL, err);
	if (!r)
		r = token_set(k, json_string_value(json_object_get(j, "accessToken")),
			seconds_to(json_string_value(json_object_get(j, "expireTime")), skew_ns),
			token, err);
	net_fields_done(&f);
	return r;
}

static errint_t from_external(const struct ask *k, const char *scope, int64_t *skew_ns,
	struct gcs_token *ret, struct err *err)
{
	struct buf form = BUF_INIT(FORM_MAX);
	cleanup_secret char *subject = NULL;
	errint_t r = subject_get(k, &subject, err);

	if (r)
		return r;
	form_add(&form, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
	form_add(&form, "requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
	form_add(&form, "audience", k->s->audience);
	form_add(&form, "scope",
		k->s->impersonation_url ? "https://www.googleapis.com/auth/cloud-platform" : scope);
	form_add(&form, "subject_token_type", k->s->subject_type);
	form_add(&form, "subject_token", subject);
	r = form_post(k, k->s->token_url, &form, skew_ns, ret, err);
	if (!r && k->s->impersonation_url)
		r = impersonate(k, scope, *skew_ns, ret, err);
	return r;
}

errint_t gcs_source_token(const struct gcs_source *s, struct net *net, const char *scope,
	int64_t deadline_mono_ns, const atomic_bool *cancel, int64_t *skew_ns,
	struct gcs_token *ret, struct err *err)
{
	struct ask k = {.net = net, .s = s, .deadline = deadline_mono_ns, .cancel = cancel};

	switch (s->kind) {
	case GCS_SERVICE:
		k.what = s->email;
		return from_service(&k, scope, skew_ns, ret, err);
	case GCS_USER:
		k.what = "the refresh token";
		return from_user(&k, ret, err);
	case GCS_EXTERNAL:
		k.what = s->audience;
		return from_external(&k, scope, skew_ns, ret, err);
	case GCS_MACHINE:
		k.what = "the metadata server";
		return from_machine(&k, ret, err);
	case GCS_NO_SOURCE:
		break;
	}
	return err_set(err, -EACCES, ERR_AUTH, "no Google credentials");
}
