/* SPDX-License-Identifier: MIT */
/*
 * AWS credentials: the key in use, its refresh, and the order of the sources.
 *
 * A key that expires is replaced REFRESH_NS before. One thread looks it up; those who come
 * meanwhile take the old key while it is valid, else they wait. A look-up that fails is not
 * repeated for AGAIN_NS while the old key is valid.
 */
#include "aws_cred.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "aws_priv.h"

#define REFRESH_NS	(300 * NS_PER_S)
#define AGAIN_NS	(30 * NS_PER_S)
#define SURE_AFTER_NS	(1 * NS_PER_S) /* least age of a key that is looked up again */
#define UNSURE_AFTER_NS (60 * NS_PER_S)
#define LOOKUP_NS	(30 * NS_PER_S)
#define FILE_MAX	(256u << 10)
#define PROFILES_MAX	5 /* in a chain of source_profile */

struct aws_cred {
	struct net *net;	   /* borrowed */
	struct aws_cred_conf conf; /* strings owned */
	struct lock lock;	   /* RANK_STORE_D */
	pthread_cond_t cond;
	struct {
		struct aws_key key;
		char source[96];
		bool have, refused, looking;
		int64_t looked_mono_ns, again_mono_ns;
	} shared; /* lock */
};

void aws_key_wipe(struct aws_key *k)
{
	explicit_bzero(k, sizeof(*k));
}

void aws_text_free(char **text)
{
	if (*text) {
		explicit_bzero(*text, strlen(*text));
		free(*text);
		*text = NULL;
	}
}

errint_t aws_text(char *to, size_t size, const char *s, const char *what, struct err *err)
{
	if (!s || !*s || strlen(s) >= size)
		return err_set(err, -EINVAL, ERR_AUTH, "AWS credentials: %s is %s", what,
			s && *s ? "too long" : "missing");
	memcpy(to, s, strlen(s) + 1);
	return 0;
}

char *aws_file(const char *path)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : calloc(1, FILE_MAX + 1);
	ssize_t got = 1;
	size_t n = 0;

	while (text && n <= FILE_MAX && got > 0) {
		got = read(fd, text + n, FILE_MAX + 1 - n);
		n += got > 0 ? (size_t)got : 0;
	}
	if (text && (got < 0 || n > FILE_MAX || memchr(text, 0, n))) {
		explicit_bzero(text, n);
		free(text);
		text = NULL;
		errno = got < 0 ? errno : EBADMSG;
	}
	return text;
}

/* ---- the order of the sources ---- */

static errint_t nothing(struct err *err)
{
	return err_set(err, AWS_NOTHING, ERR_AUTH, "nothing there");
}

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

bool aws_cred_in_environment(void)
{
	return env("AWS_ACCESS_KEY_ID") && env("AWS_SECRET_ACCESS_KEY");
}

static errint_t key_set(struct aws_key *k, const char *access, const char *secret,
	const char *token, struct err *err)
{
	errint_t r = aws_text(k->access, sizeof(k->access), access, "the access key id", err);

	r = r ? r : aws_text(k->secret, sizeof(k->secret), secret, "the secret", err);
	if (!r && token && *token)
		r = aws_text(k->token, sizeof(k->token), token, "the session token", err);
	return r;
}

static errint_t from_conf(
	const struct aws_cred_conf *conf, struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	cleanup_aws_text char *text = NULL;
	const char *secret = conf->secret;

	snprintf(q->source, sizeof(q->source), "the configuration");
	if (conf->secret_file) {
		text = aws_file(conf->secret_file);
		if (!text)
			return err_set(err, -EACCES, ERR_AUTH, "cannot read the secret in '%s': %s",
				conf->secret_file, strerror(errno));
		text[strcspn(text, "\r\n")] = 0;
		secret = text;
	}
	return key_set(ret, conf->access_key_id, secret, conf->token, err);
}

static errint_t from_environment(struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	const char *file = env("AWS_WEB_IDENTITY_TOKEN_FILE"), *arn = env("AWS_ROLE_ARN");
	struct aws_role role = {.arn = arn, .session_name = env("AWS_ROLE_SESSION_NAME")};

	if (aws_cred_in_environment()) {
		snprintf(q->source, sizeof(q->source), "the environment");
		return key_set(ret, env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"),
			env("AWS_SESSION_TOKEN"), err);
	}
	if (!file || !arn)
		return nothing(err);
	snprintf(q->source, sizeof(q->source), "the web identity token of the environment");
	return aws_web_identity(q, file, &role, ret, err);
}

static errint_t profile_key(struct aws_ask *q, const struct aws_profile *p, const char *name,
	unsigned depth, struct aws_key *ret, struct err *err);

static errint_t by_source(struct aws_ask *q, const char *name, struct aws_key *ret, struct err *err)
{
	if (!strcmp(name, "Environment"))
		return from_environment(q, ret, err);
	if (!strcmp(name, "EcsContainer"))
		return aws_container(q, ret, err);
	if (!strcmp(name, "Ec2InstanceMetadata"))
		return aws_instance(q, ret, err);
	return err_set(err, -EINVAL, ERR_AUTH, "credential_source '%s' is not known", name);
}

static errint_t static_key(
	const struct aws_profile *p, const char *name, struct aws_key *ret, struct err *err)
{
	const char *access = aws_profile_get(p, name, "aws_access_key_id");

	if (!access)
		return nothing(err);
	return key_set(ret, access, aws_profile_get(p, name, "aws_secret_access_key"),
		aws_profile_get(p, name, "aws_session_token"), err);
}

static errint_t profile_role(struct aws_ask *q, const struct aws_profile *p, const char *name,
	unsigned depth, struct aws_key *ret, struct err *err)
{
	struct aws_role role = {.arn = aws_profile_get(p, name, "role_arn"),
		.external_id = aws_profile_get(p, name, "external_id"),
		.session_name = aws_profile_get(p, name, "role_session_name")};
	const char *source = aws_profile_get(p, name, "source_profile");
	const char *where = aws_profile_get(p, name, "credential_source");
	const char *file = aws_profile_get(p, name, "web_identity_token_file");
	cleanup_aws_key struct aws_key by = {0};
	errint_t r;

	if (file)
		return aws_web_identity(q, file, &role, ret, err);
	if (!source && !where)
		return nothing(err);
	if (source && !strcmp(source, name))
		r = static_key(p, name, &by, err);
	else
		r = source ? profile_key(q, p, source, depth + 1, &by, err)
			   : by_source(q, where, &by, err);
	return r ? r : aws_assume_role(q, &by, &role, ret, err);
}

static errint_t profile_sso(struct aws_ask *q, const struct aws_profile *p, const char *name,
	struct aws_key *ret, struct err *err)
{
	const char *session = aws_profile_get(p, name, "sso_session");
	struct aws_sso sso = {.session = session,
		.start_url = session ? aws_profile_session(p, session, "sso_start_url")
				     : aws_profile_get(p, name, "sso_start_url"),
		.region = session ? aws_profile_session(p, session, "sso_region")
				  : aws_profile_get(p, name, "sso_region"),
		.account = aws_profile_get(p, name, "sso_account_id"),
		.role = aws_profile_get(p, name, "sso_role_name")};

	if (!sso.start_url && !session)
		return nothing(err);
	return aws_sso(q, &sso, ret, err);
}

static errint_t profile_key(struct aws_ask *q, const struct aws_profile *p, const char *name,
	unsigned depth, struct aws_key *ret, struct err *err)
{
	const char *process = aws_profile_get(p, name, "credential_process");
	errint_t r = AWS_NOTHING;

	if (depth >= PROFILES_MAX)
		return err_set(err, -ELOOP, ERR_AUTH, "profiles name each other without end");
	if (!aws_profile_has(p, name))
		return depth ? err_set(err, -ENOENT, ERR_AUTH, "there is no profile '%s'", name)
			     : nothing(err);
	if (aws_profile_get(p, name, "role_arn"))
		r = profile_role(q, p, name, depth, ret, err);
	if (r == AWS_NOTHING)
		r = static_key(p, name, ret, err);
	if (r == AWS_NOTHING)
		r = profile_sso(q, p, name, ret, err);
	if (r == AWS_NOTHING && process)
		r = aws_process(q, process, ret, err);
	if (!r)
		snprintf(q->source, sizeof(q->source), "profile '%.60s'", name);
	return r;
}

static errint_t from_profile(
	struct aws_ask *q, const char *name, struct aws_key *ret, struct err *err)
{
	struct aws_profile *p = aws_profile_load();
	errint_t r;

	if (!p)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	r = profile_key(q, p, name, 0, ret, err);
	aws_profile_done(p);
	return r;
}

static errint_t from_chain(
	const struct aws_cred_conf *conf, struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	const char *profile = env("AWS_PROFILE");
	errint_t r;

	if (conf->profile) {
		r = from_profile(q, conf->profile, ret, err);
		return r == AWS_NOTHING ? err_set(err, -EACCES, ERR_AUTH,
						  "profile '%s' has no credentials", conf->profile)
					: r;
	}
	r = from_environment(q, ret, err);
	if (r == AWS_NOTHING)
		r = from_profile(q, profile ? profile : "default", ret, err);
	if (r == AWS_NOTHING)
		r = aws_container(q, ret, err);
	if (r == AWS_NOTHING)
		r = aws_instance(q, ret, err);
	if (r == AWS_NOTHING)
		return err_set(err, -EACCES, ERR_AUTH,
			"no AWS credentials: not in the environment, not in profile '%s', "
			"no container, no instance role",
			profile ? profile : "default");
	return r;
}

static errint_t look_up(struct aws_cred *c, struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	struct aws_role role = {c->conf.role_arn, c->conf.external_id, c->conf.session_name};
	cleanup_aws_key struct aws_key by = {0};
	errint_t r = c->conf.access_key_id ? from_conf(&c->conf, q, ret, err)
					   : from_chain(&c->conf, q, ret, err);

	if (r || !role.arn)
		return r;
	by = *ret;
	aws_key_wipe(ret);
	return aws_assume_role(q, &by, &role, ret, err);
}

/* ---- the key in use ---- */

static bool valid_locked(const struct aws_cred *c, int64_t margin_ns)
{
	return c->shared.have && !c->shared.refused &&
	       (!c->shared.key.expires_ns || c->shared.key.expires_ns > clock_now_ns() + margin_ns);
}

/* Looks it up with the lock dropped; what came, or did not, is shared. */
static errint_t refresh_locked(struct aws_cred *c, int64_t deadline, struct err *err)
{
	struct aws_ask q = {.net = c->net,
		.region = c->conf.region,
		.sts_endpoint = c->conf.sts_endpoint,
		.deadline_mono_ns = clock_mono_ns() + LOOKUP_NS};
	cleanup_aws_key struct aws_key key = {0};
	errint_t r;

	if (deadline)
		q.deadline_mono_ns = MIN_OF(q.deadline_mono_ns, deadline);
	c->shared.looking = true;
	lock_drop(&c->lock);
	r = look_up(c, &q, &key, err);
	lock_take(&c->lock);
	c->shared.looking = false;
	c->shared.looked_mono_ns = clock_mono_ns();
	c->shared.again_mono_ns = r ? c->shared.looked_mono_ns + AGAIN_NS : 0;
	if (!r) {
		aws_key_wipe(&c->shared.key);
		c->shared.key = key;
		c->shared.have = true;
		c->shared.refused = false;
		memcpy(c->shared.source, q.source, sizeof(q.source));
	}
	(void)pthread_cond_broadcast(&c->cond);
	return r;
}

errint_t aws_cred_get(
	struct aws_cred *c, int64_t deadline_mono_ns, struct aws_key *ret, struct err *err)
{
	int64_t until = deadline_mono_ns ? deadline_mono_ns : clock_mono_ns() + LOOKUP_NS;
	struct err own;
	errint_t r = 0;

	err = err ? err : &own;

	LOCKED(&c->lock);
	while (!valid_locked(c, REFRESH_NS)) {
		bool valid = valid_locked(c, 0);

		if (valid && (c->shared.looking || clock_mono_ns() < c->shared.again_mono_ns))
			break;
		if (c->shared.looking) {
			if (!cond_wait_until(&c->cond, &c->lock, until))
				return err_set(err, -ETIMEDOUT, ERR_CANCELLED,
					"AWS credentials did not come within the deadline");
			continue;
		}
		r = refresh_locked(c, deadline_mono_ns, err);
		if (r && !valid)
			return r;
		/* What just came is taken as it is: it may be short-lived by itself, and one that
		 * has ended already has done so by our clock, which may be wrong. */
		if (!r)
			break;
	}
	if (r)
		err_clear(err);
	*ret = c->shared.key;
	return 0;
}

bool aws_cred_refused(struct aws_cred *c, const char *access, bool sure)
{
	int64_t age;

	LOCKED(&c->lock);
	age = clock_mono_ns() - c->shared.looked_mono_ns;
	if (!c->shared.have)
		return false;
	if (strcmp(c->shared.key.access, access) != 0)
		return true; /* another one is there already */
	if (c->conf.access_key_id && !c->conf.secret_file && !c->conf.role_arn)
		return false;
	if (age < (sure ? SURE_AFTER_NS : UNSURE_AFTER_NS))
		return false;
	c->shared.refused = true;
	return true;
}

void aws_cred_describe(struct aws_cred *c, struct buf *ret)
{
	LOCKED(&c->lock);
	if (*c->shared.key.access)
		(void)buf_addf(ret, "the key %s of %s", c->shared.key.access, c->shared.source);
	else
		(void)buf_adds(ret, "a key that was not looked for yet");
}

/* ---- birth and death ---- */

#define CONF_STRINGS(X)                                                                            \
	X(access_key_id)                                                                           \
	X(secret)                                                                                  \
	X(token)                                                                                   \
	X(secret_file)                                                                             \
	X(profile) X(role_arn) X(external_id) X(session_name) X(region) X(sts_endpoint)

struct aws_cred *aws_cred_new(const struct aws_cred_conf *conf, struct net *net)
{
	struct aws_cred *c = calloc(1, sizeof(*c));
	bool ok = true;

	assert(net);
	if (!c)
		return NULL;
	c->net = net;
	lock_init(&c->lock, RANK_STORE_D, "aws");
	cond_init(&c->cond);
#define X(name)                                                                                    \
	c->conf.name = conf->name ? strdup(conf->name) : NULL;                                     \
	ok = ok && !conf->name == !c->conf.name;
	CONF_STRINGS(X)
#undef X
	return ok ? c : aws_cred_destroy(c);
}

struct aws_cred *aws_cred_destroy(struct aws_cred *c)
{
	if (!c)
		return NULL;
#define X(name)                                                                                    \
	if (c->conf.name) {                                                                        \
		explicit_bzero((char *)c->conf.name, strlen(c->conf.name));                        \
		free((char *)c->conf.name);                                                        \
	}
	CONF_STRINGS(X)
#undef X
	aws_key_wipe(&c->shared.key);
	(void)pthread_cond_destroy(&c->cond);
	lock_done(&c->lock);
	free(c);
	return NULL;
}
