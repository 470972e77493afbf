/* SPDX-License-Identifier: MIT */
/* AWS credentials: each source, the order of them, refresh and refusal. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "scratch_help.h"
#include "script_help.h"
#include "store/aws_priv.h"

static char home[64];
static struct net *net;
static struct err err;

/* ---- helpers ---- */

static char *in_home(const char *name)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/%s", home, name);
	return path;
}

static void put_file(const char *name, const char *text)
{
	FILE *f = fopen(in_home(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* "http://127.0.0.1:PORT/path" */
static char *url(const char *path)
{
	static char s[600];

	snprintf(s, sizeof(s), "http://127.0.0.1:%u%s", script.web.port, path);
	return s;
}

static char *when(int64_t in_s)
{
	static char s[4][40];
	static unsigned at;
	time_t t = (time_t)(clock_now_ns() / NS_PER_S + in_s);
	char *to = s[at++ % 4];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(to, 40, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return to;
}

static int clean(void **state)
{
	static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SSO",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	setenv("HOME", home, 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	unlink(in_home(".aws/credentials"));
	unlink(in_home(".aws/config"));
	script_set(NULL, 0);
	return 0;
}

static struct aws_key get_key(struct aws_cred *c)
{
	struct aws_key k;
	errint_t r = aws_cred_get(c, 0, &k, &err);

	if (r)
		fail_msg("%s", err_text(&err, r));
	return k;
}

/* The access key id that conf leads to, once. */
static void check_key(const struct aws_cred_conf *conf, const char *access, const char *token)
{
	static const struct aws_cred_conf none;
	struct aws_cred *c = aws_cred_new(conf ? conf : &none, net);
	struct aws_key k = get_key(c);

	assert_string_equal(k.access, access);
	assert_string_equal(k.token, token);
	aws_cred_destroy(c);
	script_done();
}

static void check_none(const struct aws_cred_conf *conf, const char *words)
{
	static const struct aws_cred_conf none;
	struct aws_cred *c = aws_cred_new(conf ? conf : &none, net);
	struct aws_key k;

	assert_true(aws_cred_get(c, 0, &k, &err) < 0);
	assert_int_equal(err.kind, ERR_AUTH);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
	aws_cred_destroy(c);
	script_done();
}

/* ---- sources ---- */

static void keys_at_hand(void **state)
{
	struct aws_cred_conf fixed = {.access_key_id = "FIXED", .secret = "s"};
	struct aws_cred_conf profile = {.profile = "other"};

	check_none(NULL, "no AWS credentials");
	put_file(".aws/credentials", "# mine\n[default]\naws_access_key_id = DEFAULT\n"
				     "aws_secret_access_key=s3 #k ; no\n\n[other]\n"
				     "aws_access_key_id=OTHER\r\naws_secret_access_key = s\n"
				     "aws_session_token = T\nrubbish\n  indented = x\n");
	check_key(NULL, "DEFAULT", "");
	setenv("AWS_PROFILE", "other", 1);
	check_key(NULL, "OTHER", "T");
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	check_key(NULL, "OTHER", "T"); /* half a key is none */
	setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
	setenv("AWS_SESSION_TOKEN", "E", 1);
	check_key(NULL, "ENV", "E");
	check_key(&profile, "OTHER", "T");
	check_key(&fixed, "FIXED", "");
	profile.profile = "missing";
	check_none(&profile, "missing");
	put_file("creds", "[x]\naws_access_key_id=X\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE", in_home("creds"), 1);
	profile.profile = "x";
	check_none(&profile, "the secret is missing");
}

#define STS(action, access, until)                                                                 \
	"<" action "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" action         \
	"Result><Credentials><AccessKeyId>" access                                                 \
	"</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>ST</SessionToken>"        \
	"<Expiration>" until "</Expiration></Credentials></" action "Result></" action "Response>"

static void roles_are_assumed(void **state)
{
	SCRIPT({"POST / ", 200, NULL, STS("AssumeRole", "ROLE1", "2100-01-01T00:00:00Z")},
		{"POST / ", 200, NULL, STS("AssumeRole", "ROLE2", "2100-01-01T00:00:00Z")},
		{"POST / ", 403, NULL,
			"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></"
			"Error>"
			"</ErrorResponse>"});
	struct aws_cred_conf conf = {.profile = "chain", .region = "eu-west-1"};

	setenv("AWS_ENDPOINT_URL_STS", url(""), 1);
	put_file(".aws/credentials", "[base]\naws_access_key_id=BASE\naws_secret_access_key=s\n");
	put_file(".aws/config", "[profile middle]\nrole_arn = arn:middle\nsource_profile = base\n"
				"[profile chain]\nrole_arn=arn:chain\nsource_profile=middle\n"
				"external_id = e x\nrole_session_name=me\n"
				"[profile loop]\nrole_arn=arn:l\nsource_profile=loop2\n"
				"[profile loop2]\nrole_arn=arn:l\nsource_profile=loop\n");
	{
		struct aws_cred *c = aws_cred_new(&conf, net);
		struct aws_key k = get_key(c);

		assert_string_equal(k.access, "ROLE2");
		assert_true(k.expires_ns > clock_now_ns());
		assert_non_null(strstr(script_field(0, "authorization"), "Credential=BASE/"));
		assert_non_null(strstr(script_field(1, "authorization"), "Credential=ROLE1/"));
		assert_non_null(strstr(script_field(1, "authorization"), "/eu-west-1/sts/"));
		assert_string_equal(script_field(1, "x-amz-security-token"), "ST");
		assert_non_null(strstr(script.seen[0].body, "RoleArn=arn%3Amiddle"));
		assert_non_null(strstr(script.seen[1].body, "ExternalId=e%20x"));
		assert_non_null(strstr(script.seen[1].body, "RoleSessionName=me"));
		aws_cred_destroy(c);
	}
	conf.profile = "middle";
	check_none(&conf, "AccessDenied: no");
	conf.profile = "loop";
	check_none(&conf, "without end");
}

static void web_identities_need_no_key(void **state)
{
	SCRIPT({"POST / ", 200, NULL,
		STS("AssumeRoleWithWebIdentity", "WEB", "2100-01-01T00:00:00Z")});

	put_file("token", "eyJ.token\n");
	setenv("AWS_ENDPOINT_URL_STS", url("/"), 1);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", in_home("token"), 1);
	setenv("AWS_ROLE_ARN", "arn:web", 1);
	check_key(NULL, "WEB", "ST");
	assert_null(script_field(0, "authorization"));
	assert_non_null(strstr(script.seen[0].body, "WebIdentityToken=eyJ.token"));
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", in_home("no-token"), 1);
	script_set(NULL, 0);
	check_none(NULL, "no-token");
}

#define JSON_KEY(access, token)                                                                    \
	"{\"Version\":1,\"AccessKeyId\":\"" access "\",\"SecretAccessKey\":\"s\",\"" token         \
	"\":\"JT\",\"Expiration\":\"2100-01-01T00:00:00Z\"}"

static void containers_have_an_endpoint(void **state)
{
	SCRIPT({"GET /creds?id=1", 200, NULL, JSON_KEY("CONT", "Token")},
		{"GET /creds?id=1", 200, NULL, "{}"});

	put_file("token", "bearer x\n");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/creds?id=1"), 1);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", in_home("token"), 1);
	{
		struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){0}, net);

		assert_string_equal(get_key(c).access, "CONT");
		assert_string_equal(script_field(0, "authorization"), "bearer x");
		aws_cred_destroy(c);
	}
	check_none(NULL, "the access key id is missing");
	/* not to just anybody */
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/creds", 1);
	check_none(NULL, "neither https nor near");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/creds", 1);
	check_none(NULL, "neither https nor near");
}

static void instances_ask_with_a_token(void **state)
{
	SCRIPT({"PUT /latest/api/token", 200, NULL, "TOK"},
		{"GET /latest/meta-data/iam/security-credentials/ ", 200, NULL, "my-role\n"},
		{"GET /latest/meta-data/iam/security-credentials/my-role ", 200, NULL,
			JSON_KEY("INST", "Token")},
		{"PUT /latest/api/token", 200, NULL, "TOK"},
		{"GET /latest/meta-data/iam/security-credentials/ ", 404, NULL, ""});
	struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){0}, net);

	unsetenv("AWS_EC2_METADATA_DISABLED");
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url("/"), 1);
	assert_string_equal(get_key(c).access, "INST");
	assert_string_equal(script_field(0, "x-aws-ec2-metadata-token-ttl-seconds"), "21600");
	assert_string_equal(script_field(1, "x-aws-ec2-metadata-token"), "TOK");
	assert_string_equal(script_field(2, "x-aws-ec2-metadata-token"), "TOK");
	aws_cred_destroy(c);
	check_none(NULL, "no AWS credentials");
	/* nobody there */
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	script_set(NULL, 0);
	check_none(NULL, "no AWS credentials");
}

static void processes_print_a_key(void **state)
{
	struct aws_cred_conf conf = {.profile = "p"};

	put_file("out", JSON_KEY("PROC", "SessionToken"));
	put_file(".aws/config", "[profile p]\ncredential_process = cat \"$HOME/out\"\n"
				"[profile fails]\ncredential_process = exit 3\n"
				"[profile rubbish]\ncredential_process = echo hello\n"
				"[profile much]\ncredential_process = yes\n");
	check_key(&conf, "PROC", "JT");
	conf.profile = "fails";
	check_none(&conf, "status 3");
	conf.profile = "rubbish";
	check_none(&conf, "no JSON");
	conf.profile = "much";
	check_none(&conf, "credential_process");
}

static void sso_takes_the_token_that_login_left(void **state)
{
	SCRIPT({"GET /federation/credentials?role_name=r&account_id=123", 200, NULL,
		"{\"roleCredentials\":{\"accessKeyId\":\"SSO\",\"secretAccessKey\":\"s\","
		"\"sessionToken\":\"T\",\"expiration\":4102444800000}}"});
	struct aws_cred_conf conf = {.profile = "s"};
	char name[100], text[300];

	setenv("AWS_ENDPOINT_URL_SSO", url(""), 1);
	put_file(".aws/config", "[sso-session corp]\nsso_start_url=https://x/start\n"
				"sso_region=eu-west-1\n[profile s]\nsso_session = corp\n"
				"sso_account_id=123\nsso_role_name=r\n");
	script_set(NULL, 0);
	check_none(&conf, "aws sso login");
	script_set(steps_, 1);
	/* the SHA-1 of "corp" */
	snprintf(name, sizeof(name), ".aws/sso/cache/%s.json",
		"ee0bfd2552fbd840c02cc48b6e823320543c450f");
	snprintf(text, sizeof(text), "{\"accessToken\":\"AT\",\"expiresAt\":\"%s\"}", when(600));
	put_file(name, text);
	check_key(&conf, "SSO", "T");
	assert_string_equal(script_field(0, "x-amz-sso_bearer_token"), "AT");
	snprintf(text, sizeof(text), "{\"accessToken\":\"AT\",\"expiresAt\":\"%s\"}", when(-60));
	put_file(name, text);
	script_set(NULL, 0);
	check_none(&conf, "has expired");
}

/* No number of milliseconds makes a time of it that is another one. */
static void sso_answers_any_time(void **state)
{
	SCRIPT({"GET /federation/credentials?role_name=r&account_id=123", 200, NULL,
		"{\"roleCredentials\":{\"accessKeyId\":\"SSO\",\"secretAccessKey\":\"s\","
		"\"sessionToken\":\"T\",\"expiration\":9223372036854775807}}"});
	struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){.profile = "s"}, net);
	char text[300];

	setenv("AWS_ENDPOINT_URL_SSO", url(""), 1);
	put_file(".aws/config", "[profile s]\nsso_start_url=corp\nsso_region=eu-west-1\n"
				"sso_account_id=123\nsso_role_name=r\n");
	snprintf(text, sizeof(text), "{\"accessToken\":\"AT\",\"expiresAt\":\"%s\"}", when(600));
	put_file(".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json", text);
	assert_string_equal(get_key(c).access, "SSO");
	assert_string_equal(get_key(c).access, "SSO"); /* kept: its end is far */
	script_done();
	aws_cred_destroy(c);
}

/* ---- the key in use ---- */

static void container(const char *name, const char *expires, char *to, size_t size)
{
	snprintf(to, size,
		"{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\","
		"\"Expiration\":\"%s\"}",
		name, expires);
}

static void keys_are_replaced_before_they_expire(void **state)
{
	static char a[300], b[300];
	static const struct step steps[] = {
		{"GET /c", 200, NULL, a}, {"GET /c", 500, NULL, ""}, {"GET /c", 200, NULL, b}};
	struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){0}, net);

	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/c"), 1);
	container("A", when(1000), a, sizeof(a));
	script_set(steps, 3);
	assert_string_equal(get_key(c).access, "A");
	assert_string_equal(get_key(c).access, "A");
	assert_int_equal(atomic_load(&script.at), 1); /* kept */
	clock_skew_add(800 * NS_PER_S);
	/* due, but it cannot be had: the old one is still good, and not asked for at once again */
	assert_string_equal(get_key(c).access, "A");
	assert_string_equal(get_key(c).access, "A");
	assert_int_equal(atomic_load(&script.at), 2);
	/* over: it must be had */
	clock_skew_add(300 * NS_PER_S);
	container("B", when(3600), b, sizeof(b));
	assert_string_equal(get_key(c).access, "B");
	script_done();
	aws_cred_destroy(c);
	clock_skew_add(-1100 * NS_PER_S);
}

/* By our clock, which may be wrong: who gave it out and who gets it know better. It is asked for
 * once each time, not on and on. */
static void a_key_that_has_ended_is_tried(void **state)
{
	static char a[300];
	static const struct step steps[] = {{"GET /c", 200, NULL, a}, {"GET /c", 200, NULL, a}};
	struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){0}, net);

	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/c"), 1);
	container("A", when(-7200), a, sizeof(a));
	script_set(steps, 2);
	assert_string_equal(get_key(c).access, "A");
	assert_int_equal(atomic_load(&script.at), 1);
	assert_string_equal(get_key(c).access, "A");
	script_done();
	aws_cred_destroy(c);
}

static void a_refused_key_is_looked_up_again(void **state)
{
	struct aws_cred_conf profile = {.profile = "p"},
			     fixed = {.access_key_id = "F", .secret = "s"};
	struct aws_cred *c = aws_cred_new(&profile, net);
	cleanup_buf struct buf who = BUF_INIT(500);

	put_file(".aws/credentials", "[p]\naws_access_key_id=OLD\naws_secret_access_key=s\n");
	assert_false(aws_cred_refused(c, "OLD", true)); /* there is none */
	assert_string_equal(get_key(c).access, "OLD");
	put_file(".aws/credentials", "[p]\naws_access_key_id=NEW\naws_secret_access_key=s\n");
	assert_false(aws_cred_refused(c, "OLD", true)); /* a moment ago */
	usleep(1100000);
	assert_false(aws_cred_refused(c, "OLD", false)); /* not sure: not so soon */
	assert_true(aws_cred_refused(c, "OLD", true));
	assert_string_equal(get_key(c).access, "NEW");
	assert_true(aws_cred_refused(c, "OLD", true)); /* another is there already */
	aws_cred_describe(c, &who);
	assert_string_equal(who.p, "the key NEW of profile 'p'");
	aws_cred_destroy(c);
	c = aws_cred_new(&fixed, net);
	assert_string_equal(get_key(c).access, "F");
	usleep(1100000);
	assert_false(aws_cred_refused(c, "F", true)); /* it cannot change */
	aws_cred_destroy(c);
}

static void *asks(void *arg)
{
	struct aws_key k;

	return aws_cred_get(arg, 0, &k, NULL) || strcmp(k.access, "A") != 0 ? "wrong" : NULL;
}

static void one_looks_the_others_wait(void **state)
{
	static char a[300];
	static const struct step steps[] = {{"GET /c", 200, NULL, a}};
	struct aws_cred *c = aws_cred_new(&(struct aws_cred_conf){0}, net);
	pthread_t t[8];

	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url("/c"), 1);
	container("A", when(1000), a, sizeof(a));
	script_set(steps, 1);
	for (unsigned i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, asks, c);
	for (unsigned i = 0; i < 8; i++) {
		void *r;

		pthread_join(t[i], &r);
		assert_null(r);
	}
	script_done();
	aws_cred_destroy(c);
}

static int setup(void **state)
{
	scratch_name(home, sizeof(home), "aws");
	if (!mkdtemp(home))
		return -1;
	mkdir(in_home(".aws"), 0700);
	mkdir(in_home(".aws/sso"), 0700);
	mkdir(in_home(".aws/sso/cache"), 0700);
	net = net_new(NULL, &err);
	return net && web_start(&script.web, AF_INET, script_serve) ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[200];

	web_stop(&script.web);
	net = net_destroy(net);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", home);
	return system(cmd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, clean)
	const struct CMUnitTest tests[] = {
		T(keys_at_hand),
		T(roles_are_assumed),
		T(web_identities_need_no_key),
		T(containers_have_an_endpoint),
		T(instances_ask_with_a_token),
		T(processes_print_a_key),
		T(sso_takes_the_token_that_login_left),
		T(sso_answers_any_time),
		T(keys_are_replaced_before_they_expire),
		T(a_key_that_has_ended_is_tried),
		T(a_refused_key_is_looked_up_again),
		T(one_looks_the_others_wait),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
