/* SPDX-License-Identifier: MIT */
/*
 * Sources of AWS credentials that somebody else answers: STS, a container's or an instance's
 * metadata, SSO, a process. Each gives a key that expires. Nothing here keeps state.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "aws_priv.h"
#include "sigv4.h"
#include "xml.h"

#define META_CONNECT_NS (1 * NS_PER_S) /* metadata servers are near, or not there */
#define META_NS		(5 * NS_PER_S)
#define ANSWER_MAX	(64u << 10)
#define PROCESS_NS	(60 * NS_PER_S)
#define ROLE_SECONDS	"3600"
#define SESSION_NAME	"astrafs"

extern char **environ;

/* ---- shared ---- */

static errint_t time_parse(const char *s, int64_t *ret_ns)
{
	struct tm tm = {0};
	const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t off = 0;
	int h, m;

	if (!end)
		return -EINVAL;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if ((*end == '+' || *end == '-') && sscanf(end + 1, "%2d:%2d", &h, &m) == 2)
		off = (*end == '+' ? 1 : -1) * (h * 3600 + m * 60);
	else if (strcmp(end, "Z") != 0 && strcmp(end, "UTC") != 0)
		return -EINVAL;
	*ret_ns = clock_ns_of(timegm(&tm) - off);
	return 0;
}

static errint_t key_fill(struct aws_key *k, const char *access, const char *secret,
	const char *token, const char *expires, struct err *err)
{
	errint_t r = aws_text(k->access, sizeof(k->access), access, "the access key id", err);

	r = r ? r : aws_text(k->secret, sizeof(k->secret), secret, "the secret", err);
	if (!r && token && *token)
		r = aws_text(k->token, sizeof(k->token), token, "the session token", err);
	if (!r && expires && time_parse(expires, &k->expires_ns))
		r = err_set(
			err, -EBADMSG, ERR_AUTH, "AWS credentials: '%.40s' is no time", expires);
	return r;
}

static const char *str(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

/* {"AccessKeyId": ..., "SecretAccessKey": ..., "Token" or "SessionToken": ..., "Expiration": ...}
 */
static errint_t key_json(
	struct aws_key *k, const char *text, size_t len, const char *who, struct err *err)
{
	cleanup_json json_t *j = json_loadb(text, len, 0, NULL);
	const char *token = str(j, "SessionToken") ? str(j, "SessionToken") : str(j, "Token");
	errint_t r;

	if (!json_is_object(j))
		return err_set(err, -EBADMSG, ERR_AUTH, "%s: the answer is no JSON", who);
	r = key_fill(k, str(j, "AccessKeyId"), str(j, "SecretAccessKey"), token,
		str(j, "Expiration"), err);
	return r ? err_wrap(err, r, "%s", who) : 0;
}

/* One request of a source; 0 only for an answer of 200. */
static errint_t ask(struct aws_ask *q, const struct net_req *req, const char *who,
	struct net_answer *a, struct err *err)
{
	struct net_req r = *req;
	errint_t e;

	r.deadline_mono_ns = r.deadline_mono_ns ? MIN_OF(r.deadline_mono_ns, q->deadline_mono_ns)
						: q->deadline_mono_ns;
	r.body_max = ANSWER_MAX;
	e = net_perform(q->net, &r, a, err);
	if (e)
		return err_wrap(err, e, "%s", who);
	if (a->status == 200)
		return 0;
	err_set(err, a->status / 100 == 5 ? -EIO : -EACCES,
		a->status / 100 == 5 ? ERR_RETRY : ERR_AUTH, "%s: %d", who, a->status);
	err->http_status = a->status;
	return a->status / 100 == 5 ? -EIO : -EACCES;
}

/* ---- STS ---- */

static errint_t sts_url(const struct aws_ask *q, struct buf *url, struct buf *host, struct err *err)
{
	const char *given = q->sts_endpoint ? q->sts_endpoint : getenv("AWS_ENDPOINT_URL_STS");
	const char *region = q->region && *q->region ? q->region : "us-east-1";
	struct net_url u;
	errint_t r;

	if (!given || !*given) {
		(void)buf_addf(host, "sts.%s.amazonaws.com%s", region,
			!strncmp(region, "cn-", 3) ? ".cn" : "");
		return buf_addf(url, "https://%s/", host->p);
	}
	r = net_url_parse(given, &u, err);
	if (r)
		return err_wrap(err, r, "the endpoint of STS");
	(void)net_url_host(host, &u);
	return buf_addf(url, "%s://%s%s/", u.tls ? "https" : "http", host->p, u.path);
}

static errint_t sts_answer(
	const struct net_answer *a, const char *action, struct aws_key *ret, struct err *err)
{
	const struct _xmlNode *c, *e;
	cleanup_xml struct xml x = {0};
	char name[64];
	errint_t r = xml_parse(&x, a->body.p ? a->body.p : "", a->body.len, NULL, err);

	if (a->status != 200) {
		e = r ? NULL : xml_child(x.root, "Error");
		err_set(err, -EACCES, ERR_AUTH, "STS %s: %d %s: %s", action, a->status,
			e && xml_child_text(e, "Code") ? xml_child_text(e, "Code") : "",
			e && xml_child_text(e, "Message") ? xml_child_text(e, "Message") : "");
		if (a->status / 100 == 5 || a->status == 429)
			err->kind = ERR_RETRY;
		return -EACCES;
	}
	if (r)
		return err_wrap(err, r, "STS %s", action);
	snprintf(name, sizeof(name), "%sResult", action);
	c = xml_child(xml_child(x.root, name), "Credentials");
	r = key_fill(ret, xml_child_text(c, "AccessKeyId"), xml_child_text(c, "SecretAccessKey"),
		xml_child_text(c, "SessionToken"), xml_child_text(c, "Expiration"), err);
	return r ? err_wrap(err, r, "STS %s", action) : 0;
}

static void form_add(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	(void)buf_addf(b, "%s%s=", b->len ? "&" : "", name);
	(void)net_url_add(b, value, "");
}

/* by NULL: not signed, the token speaks for itself. */
static errint_t sts(struct aws_ask *q, const char *action, const struct aws_key *by,
	const struct aws_role *role, const char *token, struct aws_key *ret, struct err *err)
{
	cleanup_buf struct buf url = BUF_INIT(2000), host = BUF_INIT(1000), body = BUF_INIT(65536);
	struct net_fields f = {0};
	struct net_answer a = {0};
	struct net_url u;
	char payload[65], path[600];
	uint8_t hash[32];
	errint_t r = sts_url(q, &url, &host, err);

	if (r)
		return r;
	form_add(&body, "Action", action);
	form_add(&body, "Version", "2011-06-15");
	form_add(&body, "RoleArn", role->arn ? role->arn : "");
	form_add(&body, "RoleSessionName", role->session_name ? role->session_name : SESSION_NAME);
	form_add(&body, "DurationSeconds", ROLE_SECONDS);
	form_add(&body, "ExternalId", by ? role->external_id : NULL);
	form_add(&body, "WebIdentityToken", token);
	(void)net_field_add(&f, "Content-Type", "application/x-www-form-urlencoded");
	if (by && !net_url_parse(url.p, &u, err)) {
		snprintf(path, sizeof(path), "%s/", u.path);
		sha256(body.p, body.len, hash);
		hex_encode(hash, 32, payload);
		r = sigv4_sign(&(struct sigv4_key){by->access, by->secret, by->token,
				       q->region && *q->region ? q->region : "us-east-1", "sts"},
			&(struct sigv4_request){.method = "POST",
				.host = host.p,
				.path = path,
				.payload = payload,
				.now_ns = clock_now_ns()},
			&f, NULL);
	}
	r = r ? r : body.failed;
	if (r) {
		err_set(err, r, ERR_RETRY, "STS %s: no memory", action);
	} else {
		struct net_req req = {.method = "POST",
			.url = url.p,
			.fields = &f,
			.body = body.p,
			.body_len = body.len};

		req.deadline_mono_ns = q->deadline_mono_ns;
		req.body_max = ANSWER_MAX;
		r = net_perform(q->net, &req, &a, err);
		if (r)
			err_wrap(err, r, "STS %s", action);
		else
			r = sts_answer(&a, action, ret, err);
	}
	if (body.p)
		explicit_bzero(body.p, body.len);
	net_answer_done(&a);
	net_fields_done(&f);
	return r;
}

errint_t aws_assume_role(struct aws_ask *q, const struct aws_key *by, const struct aws_role *role,
	struct aws_key *ret, struct err *err)
{
	return sts(q, "AssumeRole", by, role, NULL, ret, err);
}

errint_t aws_web_identity(struct aws_ask *q, const char *token_file, const struct aws_role *role,
	struct aws_key *ret, struct err *err)
{
	cleanup_aws_text char *token = aws_file(token_file);

	if (!token)
		return err_set(err, -EACCES, ERR_AUTH,
			"cannot read the web identity token in '%s': %s", token_file,
			strerror(errno));
	token[strcspn(token, "\r\n")] = 0;
	return sts(q, "AssumeRoleWithWebIdentity", NULL, role, token, ret, err);
}

/* ---- containers ---- */

/* http only where nobody else listens: this machine, and the addresses of ECS and EKS. */
static bool container_url_ok(const char *url)
{
	static const char *const near[] = {
		"127.0.0.1", "localhost", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
	cleanup_buf struct buf base = BUF_INIT(1000);
	const char *host = strstr(url, "://");
	struct net_url u;

	if (!host)
		return false;
	(void)buf_add(&base, url, (size_t)(host + 3 - url) + strcspn(host + 3, "/?"));
	if (!base.p || net_url_parse(base.p, &u, NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(near) && !u.tls; i++)
		if (!strcmp(near[i], u.host))
			return true;
	return u.tls;
}

errint_t aws_container(struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *token = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	const char *file = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	cleanup_aws_text char *text = NULL;
	cleanup_buf struct buf url = BUF_INIT(2000);
	struct net_fields f = {0};
	struct net_answer a = {0};
	errint_t r;

	if (relative && *relative)
		(void)buf_addf(&url, "http://169.254.170.2%s", relative);
	else if (full && *full)
		(void)buf_adds(&url, full);
	else
		return err_set(err, AWS_NOTHING, ERR_AUTH, "no container");
	snprintf(q->source, sizeof(q->source), "the container's role");
	if (url.failed || !container_url_ok(url.p))
		return err_set(err, -EINVAL, ERR_AUTH,
			"AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor near");
	if (file && *file) {
		text = aws_file(file);
		if (!text)
			return err_set(err, -EACCES, ERR_AUTH,
				"cannot read the container's token in '%s': %s", file,
				strerror(errno));
		text[strcspn(text, "\r\n")] = 0;
		token = text;
	}
	if (token && *token)
		(void)net_field_add(&f, "Authorization", token);
	r = ask(q,
		&(struct net_req){.method = "GET",
			.url = url.p,
			.fields = &f,
			.direct = true,
			.connect_ns = META_CONNECT_NS,
			.deadline_mono_ns = clock_mono_ns() + META_NS},
		"the container's credentials", &a, err);
	if (!r)
		r = key_json(ret, a.body.p ? a.body.p : "", a.body.len,
			"the container's credentials", err);
	net_answer_done(&a);
	net_fields_done(&f);
	return r;
}

/* ---- instances: IMDSv2 ---- */

static errint_t imds(struct aws_ask *q, const char *method, const char *path, const char *name,
	const char *value, struct net_answer *a, struct err *err)
{
	const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	cleanup_buf struct buf url = BUF_INIT(2000);
	struct net_fields f = {0};
	errint_t r;

	base = base && *base ? base : "http://169.254.169.254";
	(void)buf_addf(
		&url, "%.*s%s", (int)(strlen(base) - (base[strlen(base) - 1] == '/')), base, path);
	(void)net_field_add(&f, name, value);
	r = ask(q,
		&(struct net_req){.method = method,
			.url = url.p,
			.fields = &f,
			.direct = true,
			.connect_ns = META_CONNECT_NS,
			.deadline_mono_ns = clock_mono_ns() + META_NS},
		"the instance's metadata", a, err);
	net_fields_done(&f);
	return r;
}

static errint_t imds_key(struct aws_ask *q, const char *token, struct aws_key *ret, struct err *err)
{
#define ROLES "/latest/meta-data/iam/security-credentials/"
	static const char field[] = "X-aws-ec2-metadata-token";
	struct net_answer a = {0}, b = {0};
	cleanup_buf struct buf path = BUF_INIT(1000);
	errint_t r = imds(q, "GET", ROLES, field, token, &a, err);

	if (r && a.status == 404)
		r = err_set(err, AWS_NOTHING, ERR_AUTH, "the instance has no role");
	if (!r) {
		(void)buf_addf(&path, ROLES "%.*s", (int)strcspn(a.body.p ? a.body.p : "", "\r\n"),
			a.body.p ? a.body.p : "");
		r = imds(q, "GET", path.p, field, token, &b, err);
		if (!r)
			r = key_json(ret, b.body.p ? b.body.p : "", b.body.len,
				"the instance's credentials", err);
	}
	net_answer_done(&a);
	net_answer_done(&b);
	return r;
}

errint_t aws_instance(struct aws_ask *q, struct aws_key *ret, struct err *err)
{
	const char *off = getenv("AWS_EC2_METADATA_DISABLED");
	struct net_answer a = {0};
	errint_t r;

	if (off && !strcasecmp(off, "true"))
		return err_set(err, AWS_NOTHING, ERR_AUTH, "instance metadata is disabled");
	r = imds(q, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21600", &a,
		err);
	if (r && !a.status) /* nobody there: not on an instance */
		r = err_set(err, AWS_NOTHING, ERR_AUTH, "no instance metadata");
	else if (!r && (!a.body.p || !a.body.len))
		r = err_set(err, -EBADMSG, ERR_AUTH, "the instance's metadata gives no token");
	if (!r) {
		snprintf(q->source, sizeof(q->source), "the instance's role");
		r = imds_key(q, a.body.p, ret, err);
	}
	net_answer_done(&a);
	return r;
}

/* ---- a process ---- */

/* Reads to the end of fd, or the deadline. */
static errint_t read_all(int fd, int64_t deadline, char *to, size_t size, size_t *ret_len)
{
	size_t n = 0;

	for (;;) {
		struct pollfd p = {fd, POLLIN, 0};
		int64_t left = (deadline - clock_mono_ns()) / NS_PER_MS;
		ssize_t got;

		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)MIN_OF(left, 1000)) <= 0)
			continue;
		got = read(fd, to + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			*ret_len = n;
			return got < 0 ? -errno : 0;
		}
		n += (size_t)got;
		if (n == size)
			return -EMSGSIZE;
	}
}

static errint_t spawn(const char *command, pid_t *ret_pid, int *ret_fd)
{
	char *const argv[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
	posix_spawn_file_actions_t fa;
	int fd[2], e;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	(void)posix_spawn_file_actions_init(&fa);
	(void)posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&fa, fd[1], 1);
	(void)posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	e = posix_spawn(ret_pid, "/bin/sh", &fa, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	close(fd[1]);
	*ret_fd = fd[0];
	if (e)
		close(fd[0]);
	return -e;
}

errint_t aws_process(struct aws_ask *q, const char *command, struct aws_key *ret, struct err *err)
{
	int64_t deadline = MIN_OF(clock_mono_ns() + PROCESS_NS, q->deadline_mono_ns);
	char *text = calloc(1, ANSWER_MAX);
	int status = 0, fd = -1;
	size_t n = 0;
	pid_t pid = 0;
	errint_t r = text ? spawn(command, &pid, &fd) : -ENOMEM;

	if (r) {
		free(text);
		return err_set(err, r, ERR_AUTH, "credential_process: %s", strerror(-r));
	}
	r = read_all(fd, deadline, text, ANSWER_MAX, &n);
	close(fd);
	if (r)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r)
		err_set(err, r, ERR_AUTH, "credential_process: %s", strerror(-r));
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		r = err_set(err, -EACCES, ERR_AUTH, "credential_process failed with status %d",
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	else
		r = key_json(ret, text, n, "credential_process", err);
	explicit_bzero(text, ANSWER_MAX);
	free(text);
	return r;
}

/* ---- SSO ---- */

/* The token that 'aws sso login' left, by the SHA-1 of the session's name or the start URL. */
static errint_t sso_token(const struct aws_sso *sso, json_t **ret, struct err *err)
{
	const char *name = sso->session ? sso->session : sso->start_url, *home = getenv("HOME");
	cleanup_aws_text char *text = NULL;
	char path[1200], hex[41];
	uint8_t hash[20];
	unsigned n = 0;
	int64_t expires;

	if (EVP_Digest(name, strlen(name), hash, &n, EVP_sha1(), NULL) != 1)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	hex_encode(hash, sizeof(hash), hex);
	snprintf(path, sizeof(path), "%s/.aws/sso/cache/%s.json", home ? home : "", hex);
	text = aws_file(path);
	*ret = text ? json_loads(text, 0, NULL) : NULL;
	if (!json_is_object(*ret) || !str(*ret, "accessToken"))
		return err_set(err, -EACCES, ERR_AUTH,
			"there is no SSO token in %s: run 'aws sso login'", path);
	if (time_parse(str(*ret, "expiresAt"), &expires) || expires <= clock_now_ns())
		return err_set(
			err, -EACCES, ERR_AUTH, "the SSO token has expired: run 'aws sso login'");
	return 0;
}

errint_t aws_sso(struct aws_ask *q, const struct aws_sso *sso, struct aws_key *ret, struct err *err)
{
	const char *base = getenv("AWS_ENDPOINT_URL_SSO");
	cleanup_json json_t *token = NULL, *j = NULL;
	cleanup_buf struct buf url = BUF_INIT(4000);
	struct net_fields f = {0};
	struct net_answer a = {0};
	const json_t *c;
	int64_t ms;
	errint_t r;

	if (!sso->start_url || !sso->region || !sso->account || !sso->role)
		return err_set(err, -EINVAL, ERR_AUTH,
			"the profile's SSO settings lack start URL, region, account or role");
	r = sso_token(sso, &token, err);
	if (r)
		return r;
	if (base && *base)
		(void)buf_adds(&url, base);
	else
		(void)buf_addf(&url, "https://portal.sso.%s.amazonaws.com", sso->region);
	(void)buf_adds(&url, "/federation/credentials");
	(void)net_url_param(&url, "role_name", sso->role);
	(void)net_url_param(&url, "account_id", sso->account);
	(void)net_field_add(&f, "x-amz-sso_bearer_token", str(token, "accessToken"));
	r = ask(q, &(struct net_req){.method = "GET", .url = url.p, .fields = &f}, "SSO", &a, err);
	if (!r) {
		j = json_loadb(a.body.p ? a.body.p : "", a.body.len, 0, NULL);
		c = json_object_get(j, "roleCredentials");
		r = key_fill(ret, str(c, "accessKeyId"), str(c, "secretAccessKey"),
			str(c, "sessionToken"), NULL, err);
		ms = json_integer_value(json_object_get(c, "expiration"));
		ret->expires_ns = clock_ns_of(ms / 1000) + ms % 1000 * NS_PER_MS;
		if (r)
			err_wrap(err, r, "SSO");
	}
	net_answer_done(&a);
	net_fields_done(&f);
	return r;
}
