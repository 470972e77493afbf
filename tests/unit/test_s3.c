/* SPDX-License-Identifier: MIT */
/* The S3 driver against answers that real servers seldom give, and against those of bad ones. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "scratch_help.h"
#include "script_help.h"
#include "store/s3_priv.h"

#define ETAG	"ETag: \"e1\"\r\n"
#define HEAD_OK ETAG "Content-Length: 5\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n"
#define ERROR(code, more)                                                                          \
	"<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>why</Message>" more           \
	"<RequestId>R1</RequestId></Error>"

static const struct store_obj key = {"bucket", "key"};
static char secret_file[64];
static struct err err;

/* ---- a driver ---- */

static struct s3_conf plain_conf(void)
{
	struct s3_conf c = {.name = "r", .aws = true, .region = "us-east-1"};
	static const char *const classes[] = {"STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE"};

	strcpy(c.endpoint.host, "127.0.0.1");
	c.endpoint.port = script.web.port;
	c.endpoint.port_given = true;
	for (unsigned i = 0; i < TIER_N; i++) {
		strcpy(c.classes[i].name, classes[i]);
		c.classes[i].offline = i >= TIER_COLD;
	}
	return c;
}

static struct store *driver(const struct s3_conf *conf)
{
	struct s3_conf c = conf ? *conf : plain_conf();
	struct net *net = net_new(NULL, &err);
	struct aws_cred_conf cc = {.access_key_id = "AK", .secret_file = secret_file};
	struct store *s = NULL;

	assert_non_null(net);
	assert_int_equal(store_s3_new(&c, net, aws_cred_new(&cc, net), &s, &err), 0);
	return s;
}

static errint_t get(
	struct store *s, const char *match, uint64_t off, char *p, size_t len, size_t *n)
{
	return store_get(s, NULL, key, match, off, p, len, n, &err);
}

/* ---- what mends itself ---- */

static void another_region_is_learned(void **state)
{
	SCRIPT({"HEAD /bucket/key", 301, "x-amz-bucket-region: eu-west-1\r\n"},
		{"HEAD /bucket/key", 200, HEAD_OK}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"GET /other?", 400, NULL,
			ERROR("AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>")},
		{"GET /other?", 404, NULL, ERROR("NoSuchBucket", "")},
		{"GET /third?", 301, NULL,
			ERROR("PermanentRedirect", "<Endpoint>evil</Endpoint>")});
	struct store *s = driver(NULL);
	struct store_stat st;
	struct store_page page;

	assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
	assert_non_null(strstr(script_field(0, "authorization"), "/us-east-1/s3/aws4_request"));
	assert_non_null(strstr(script_field(1, "authorization"), "/eu-west-1/s3/aws4_request"));
	assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
	assert_non_null(strstr(script_field(2, "authorization"), "/eu-west-1/s3/aws4_request"));
	assert_int_equal(store_list(s, NULL, "other", "", 0, "", 10, &page, &err), -ENOENT);
	assert_non_null(strstr(script_field(4, "authorization"), "/eu-north-1/s3/aws4_request"));
	/* to elsewhere we do not go */
	assert_int_equal(store_list(s, NULL, "third", "", 0, "", 10, &page, &err), -EIO);
	assert_int_equal(err.kind, ERR_FINAL);
	script_done();
	store_destroy(s);
}

/* In the host name where it can be one's label, else in the path. */
static void the_bucket_has_its_place(void **state)
{
	static const struct {
		const char *bucket, *host;
	} t[] = {{"bucket", "bucket.s3.localhost"}, {"with.dots", "with.dots.s3.localhost"},
		{"Large_one", "s3.localhost"}, {"ab", "s3.localhost"}};
	SCRIPT({"HEAD /key", 200, HEAD_OK}, {"HEAD /key", 200, HEAD_OK},
		{"HEAD /Large_one/key", 200, HEAD_OK}, {"HEAD /ab/key", 200, HEAD_OK},
		{"HEAD /bucket/key", 200, HEAD_OK});
	struct s3_conf c = plain_conf();
	struct store_stat st;
	struct store *s;
	char want[100];

	strcpy(c.endpoint.host, "s3.localhost");
	c.style = S3_STYLE_VIRTUAL;
	s = driver(&c);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct store_obj o = {t[i].bucket, "key"};

		assert_int_equal(store_head(s, NULL, o, &st, &err), 0);
		snprintf(want, sizeof(want), "%s:%u", t[i].host, script.web.port);
		assert_string_equal(script_field(i, "host"), want);
	}
	store_destroy(s);
	c.style = S3_STYLE_AUTO; /* somebody's own endpoint: in the path */
	s = driver(&c);
	assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
	script_done();
	store_destroy(s);
}

static void a_wrong_clock_is_corrected(void **state)
{
	static const char date[] = "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n";

	SCRIPT({"GET /bucket/key", 403, date, ERROR("RequestTimeTooSkewed", "")},
		{"GET /bucket/key", 404, date, ERROR("NoSuchKey", "")},
		{"GET /bucket/key", 404, date, ERROR("NoSuchKey", "")});
	struct store *s = driver(NULL);
	char b[10];
	size_t n;

	assert_int_equal(get(s, NULL, 0, b, 10, &n), -ENOENT);
	assert_true(strncmp(script_field(0, "x-amz-date"), "20260102", 8) != 0);
	assert_true(!strncmp(script_field(1, "x-amz-date"), "20260102T0304", 13));
	assert_int_equal(get(s, NULL, 0, b, 10, &n), -ENOENT);
	assert_true(!strncmp(script_field(2, "x-amz-date"), "20260102T0304", 13));
	script_done();
	store_destroy(s);
}

/* HEAD cannot say why, but its date does. */
static void a_wrong_clock_without_words(void **state)
{
	SCRIPT({"HEAD /bucket/key", 403, "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n"},
		{"HEAD /bucket/key", 200, HEAD_OK});
	struct store *s = driver(NULL);
	struct store_stat st;

	assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
	script_done();
	store_destroy(s);
}

static void write_secret(const char *text)
{
	FILE *f = fopen(secret_file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void a_secret_that_changed_is_read_again(void **state)
{
	SCRIPT({"GET /bucket/key", 404, NULL, ERROR("NoSuchKey", "")},
		{"GET /bucket/key", 403, NULL, ERROR("SignatureDoesNotMatch", "")},
		{"GET /bucket/key", 404, NULL, ERROR("NoSuchKey", "")});
	struct store *s;
	char b[10], first[4000];
	size_t n;

	write_secret("old\n");
	s = driver(NULL);
	assert_int_equal(get(s, NULL, 0, b, 10, &n), -ENOENT);
	write_secret("new\n");
	usleep(1100000); /* not more often than that */
	assert_int_equal(get(s, NULL, 0, b, 10, &n), -ENOENT);
	snprintf(first, sizeof(first), "%s", script_field(1, "authorization"));
	assert_string_not_equal(first, script_field(2, "authorization"));
	script_done();
	store_destroy(s);
}

/* ---- errors ---- */

static void errors_have_their_kinds(void **state)
{
	static const struct {
		int status;
		const char *code;
		errint_t r;
		enum err_kind kind;
	} t[] = {
		{404, "NoSuchKey", -ENOENT, ERR_NOT_FOUND},
		{404, "NoSuchBucket", -ENOENT, ERR_NOT_FOUND},
		{403, "AccessDenied", -EACCES, ERR_AUTH},
		{403, "SomethingNew", -EACCES, ERR_AUTH},
		{403, "InvalidObjectState", -EIO, ERR_ARCHIVED},
		{503, "SlowDown", -EAGAIN, ERR_THROTTLE},
		{429, "Whatever", -EAGAIN, ERR_THROTTLE},
		{500, "InternalError", -EIO, ERR_RETRY},
		{502, "Whatever", -EIO, ERR_RETRY},
		{400, "RequestTimeout", -ETIMEDOUT, ERR_RETRY},
		{400, "Whatever", -EINVAL, ERR_FINAL},
		{501, "NotImplemented", -EOPNOTSUPP, ERR_FINAL},
		{507, "Whatever", -ENOSPC, ERR_FINAL},
	};
	struct store *s = driver(NULL);
	char body[300], b[10];
	size_t n;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct step step[] = {{"GET /bucket/key", t[i].status,
			"Retry-After: 3\r\nx-amz-request-id: R2\r\n", body}};

		snprintf(body, sizeof(body), "<Error><Code>%s</Code><Message>why</Message></Error>",
			t[i].code);
		script_set(step, 1);
		assert_int_equal(get(s, NULL, 0, b, 10, &n), t[i].r);
		assert_int_equal(err.kind, t[i].kind);
		assert_int_equal(err.http_status, t[i].status);
		assert_string_equal(err.code, t[i].code);
		assert_string_equal(err.request_id, "R2");
		assert_int_equal(err.retry_after_ms, 3000);
		assert_non_null(strstr(err.msg, "r: get bucket/key: "));
		assert_non_null(strstr(err.msg, t[i].code));
		script_done();
	}
	store_destroy(s);
}

/* A gateway over a file system has the marker of a directory as that directory. */
static void a_directory_may_not_be_empty(void **state)
{
	static const struct {
		int status;
		const char *body, *key;
		errint_t r;
		enum err_kind kind;
	} t[] = {{400, ERROR("ErrDirectoryNotEmpty", ""), "d/", -ENOTEMPTY, ERR_FINAL},
		{409, ERROR("Unheard", ""), "d/", -ENOTEMPTY, ERR_FINAL},
		{409, NULL, "d/", -ENOTEMPTY, ERR_FINAL},
		{409, ERROR("OperationAborted", ""), "d/", -EAGAIN, ERR_RETRY},
		{409, ERROR("Unheard", ""), "d", -EAGAIN, ERR_RETRY},
		{400, ERROR("Unheard", ""), "d/", -EINVAL, ERR_FINAL}};
	struct store *s = driver(NULL);

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct step step[] = {{"DELETE /bucket/d", t[i].status, NULL, t[i].body}};
		struct store_obj o = {"bucket", t[i].key};

		script_set(step, 1);
		assert_int_equal(store_remove(s, NULL, o, NULL, &err), t[i].r);
		assert_int_equal(err.kind, t[i].kind);
		script_done();
	}
	store_destroy(s);
}

/* Nor has it a place for an object where it has a directory, or below an object. */
static void an_object_may_have_no_place(void **state)
{
	static const struct {
		int status;
		const char *code;
		errint_t r;
	} t[] = {{409, "ExistingObjectIsDirectory", -EISDIR}, {409, "ObjectParentIsFile", -ENOTDIR},
		{409, "ExistingObjectIsFile", -ENOTDIR},
		{409, "XMinioObjectExistsAsDirectory", -EISDIR},
		{400, "XMinioParentIsObject", -ENOTDIR}};
	struct store *s = driver(NULL);
	char body[200];

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct step step[] = {{"PUT /bucket/d", t[i].status, NULL, body}};
		struct store_obj o = {"bucket", "d"};
		struct store_put put = {0};

		snprintf(body, sizeof(body), ERROR("%s", ""), t[i].code);
		script_set(step, 1);
		assert_int_equal(store_put(s, NULL, o, "x", 1, &put, NULL, &err), t[i].r);
		assert_int_equal(err.kind, ERR_FINAL);
		assert_string_equal(err.code, t[i].code);
		script_done();
	}
	store_destroy(s);
}

/* "Not there" is what S3 says, not what somebody on the way says. */
static void a_strange_404_is_no_absence(void **state)
{
	static const char html[] = "Content-Type: text/html\r\n";

	SCRIPT({"GET /bucket/key", 404, html, "<html>no such page</html>"},
		{"GET /bucket/key", 404, NULL, ""},
		{"HEAD /bucket/key", 404, "Content-Type: text/html\r\nContent-Length: 9\r\n"},
		{"GET /bucket/key", 404, html, "<html>no such page</html>"},
		{"HEAD /bucket/key", 404, "Content-Type: text/html\r\nContent-Length: 9\r\n"},
		{"GET /bucket/key", 404, NULL, ERROR("NoSuchKey", "")},
		{"DELETE /bucket/key", 404, html, "<html>"});
	struct store *s = driver(NULL);
	struct store_stat st;
	char b[10];
	size_t n;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get(s, NULL, 0, b, 10, &n), -EIO);
		assert_int_equal(err.kind, ERR_RETRY);
	}
	assert_int_equal(store_head(s, NULL, key, &st, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(store_head(s, NULL, key, &st, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_remove(s, NULL, key, NULL, &err), -EIO);
	script_done();
	store_destroy(s);
}

static void lost_writes_are_unknown(void **state)
{
	static const struct step steps[] = {{"PUT /bucket/key", .raw = ""},
		{"PUT /bucket/key", 500, NULL, ERROR("InternalError", "")},
		{"PUT /bucket/key", 200, NULL, NULL}, /* no ETag */
		{"PUT /bucket/key",
			.raw = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 9\r\n\r\n"}};
	struct store *s = driver(NULL);

	script_set(steps, ARRAY_SIZE(steps));
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		assert_true(store_put(s, NULL, key, "x", 1, NULL, NULL, &err) < 0);
		assert_int_equal(err.kind, ERR_UNKNOWN);
	}
	script_done();
	store_destroy(s);
}

/* ---- bytes that are not the ones ---- */

static void wrong_bytes_are_never_returned(void **state)
{
	static const struct {
		int status;
		const char *lines, *body;
		errint_t r;
	} t[] = {
		{206, ETAG "Content-Range: bytes 10-14/20\r\n", "hello", 0},
		{206, ETAG "Content-Range: bytes 11-15/20\r\n", "hello", -EBADMSG},
		{206, ETAG "Content-Range: bytes 10-13/20\r\n", "hell", -EBADMSG},
		{206, ETAG "Content-Range: bytes 10-14/14\r\n", "hello", -EBADMSG},
		{206, ETAG "Content-Range: bytes 10-14/20\r\n", "hello!", -EBADMSG},
		{206, ETAG "Content-Range: bytes 10-14/20\r\n", "hell", -EBADMSG},
		{206, ETAG "Content-Range: bytes 10-14/-1\r\n", "hello", -EBADMSG},
		{206, ETAG, "hello", -EBADMSG},
		{206, "Content-Range: bytes 10-14/20\r\n", "hello", -EBADMSG},
		{206, "ETag: \"other\"\r\nContent-Range: bytes 10-14/20\r\n", "hello", -ESTALE},
		{200, ETAG, "hello", -EBADMSG}, /* the whole, not from 10 */
		{204, ETAG, "", -EBADMSG},
		{416, "Content-Range: bytes */9\r\n", ERROR("InvalidRange", ""), 0},
		{416, "Content-Range: bytes */20\r\n", ERROR("InvalidRange", ""), -EBADMSG},
		{412, NULL, ERROR("PreconditionFailed", ""), -ESTALE},
	};
	struct store *s = driver(NULL);
	char b[6];
	size_t n;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct step step[] = {{"GET /bucket/key", t[i].status, t[i].lines, t[i].body}};
		errint_t r;

		script_set(step, 1);
		r = get(s, "e1", 10, b, 5, &n);
		if (r != t[i].r)
			fail_msg("answer %u: %d %s", i, r, err_text(&err, r));
		assert_int_equal(n, !r && t[i].status == 206 ? 5 : 0);
		script_done();
		assert_string_equal(script_field(0, "range"), "bytes=10-14");
		assert_string_equal(script_field(0, "if-match"), "\"e1\"");
	}
	store_destroy(s);
}

static void whole_objects_are_checked(void **state)
{
	static const char *const lines[] = {
		"x-amz-checksum-crc32c: mnG7TA==\r\n",					 /* right */
		"x-amz-checksum-crc32c: mnG7TQ==\r\n",					 /* wrong */
		"x-amz-checksum-crc32c: mnG7TQ==\r\nx-amz-checksum-type: COMPOSITE\r\n", /* of parts
											  */
		"x-amz-checksum-crc32c: mnG7TQ==-3\r\n",      /* of parts */
		"x-amz-checksum-crc64nvme: M3eFcAZSQlc=\r\n", /* right */
		"x-amz-checksum-crc64nvme: M3eFcAZSQlg=\r\n", /* wrong */
	};
	static const bool good[] = {true, false, true, true, true, false};
	struct store *s = driver(NULL);
	struct store_progress progress = {.have = 0};
	struct store_call call = {.progress = &progress};
	char b[20], all[300];
	size_t n;

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct step step[] = {{"GET /bucket/key", 206, all, "hello"}};
		errint_t r;

		snprintf(all, sizeof(all), ETAG "Content-Range: bytes 0-4/5\r\n%s", lines[i]);
		script_set(step, 1);
		r = store_get(s, &call, key, NULL, 0, b, 20, &n, &err);
		if (r != (good[i] ? 0 : -EBADMSG))
			fail_msg("checksum %u: %d %s", i, r, err_text(&err, r));
		script_done();
		/* and nobody was shown anything that does not hold */
		assert_int_equal(atomic_load(&progress.have), good[i] ? 5 : 0);
		assert_string_equal(script_field(0, "x-amz-checksum-mode"), "ENABLED");
	}
	store_destroy(s);
}

/* ---- writing ---- */

static void a_put_says_it_all(void **state)
{
	SCRIPT({"PUT /bucket/a%20b/%C3%A4%2B", 200,
		ETAG
		"x-amz-checksum-crc32c: mnG7TA==\r\nx-amz-meta-mode: 7\r\nx-amz-meta-b: 1\r\n"});
	struct s3_conf c = plain_conf();
	struct store_meta meta[] = {{"mode", "0644"}, {"name", "\xc3\xa4  b"}, {"empty", ""}};
	struct store_put opt = {
		.if_match = "e0", .class_name = "STANDARD_IA", .meta = meta, .nmeta = 3};
	struct store_stat st;
	struct store *s;

	c.sse = S3_SSE_KMS;
	strcpy(c.kms_key, "arn:aws:kms:k");
	c.requester_pays = true;
	s = driver(&c);
	assert_int_equal(store_put(s, NULL, (struct store_obj){"bucket", "a b/\xc3\xa4+"}, "hello",
				 5, &opt, &st, &err),
		0);
	script_done();
	assert_string_equal(script_field(0, "if-match"), "\"e0\"");
	assert_string_equal(script_field(0, "x-amz-storage-class"), "STANDARD_IA");
	assert_string_equal(script_field(0, "x-amz-meta-mode"), "0644");
	assert_string_equal(script_field(0, "x-amz-meta-name"), "=?UTF-8?B?w6QgIGI=?=");
	assert_string_equal(script_field(0, "x-amz-meta-empty"), "");
	assert_string_equal(script_field(0, "x-amz-server-side-encryption"), "aws:kms");
	assert_string_equal(
		script_field(0, "x-amz-server-side-encryption-aws-kms-key-id"), "arn:aws:kms:k");
	assert_string_equal(script_field(0, "x-amz-request-payer"), "requester");
	assert_string_equal(script_field(0, "x-amz-checksum-crc32c"), "mnG7TA==");
	assert_string_equal(st.etag, "e1");
	assert_true(st.has_crc32c && st.size == 5 && st.nmeta == 3);
	assert_string_equal(st.class_name, "STANDARD_IA");
	store_stat_done(&st);
	store_destroy(s);
}

static void a_customers_key_goes_with_everything(void **state)
{
	static const char name[] = "x-amz-server-side-encryption-customer-key";

	SCRIPT({"PUT /bucket/key", 200, ETAG}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"GET /bucket/key", 206, ETAG "Content-Range: bytes 0-4/5\r\n", "hello"});
	struct s3_conf c = plain_conf();
	struct store_stat st;
	struct store *s;
	char b[5];
	size_t n;

	c.sse = S3_SSE_CUSTOMER;
	memset(c.customer_key, 'k', 32);
	s = driver(&c);
	assert_int_equal(store_put(s, NULL, key, "hello", 5, NULL, NULL, &err), 0);
	assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
	assert_int_equal(get(s, NULL, 0, b, 5, &n), 0);
	script_done();
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(
			script_field(i, name), "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=");
	store_destroy(s);
}

static void conditions_fail_in_their_ways(void **state)
{
	SCRIPT({"PUT /bucket/key", 412, NULL, ERROR("PreconditionFailed", "")},
		{"PUT /bucket/key", 412, NULL, ERROR("PreconditionFailed", "")},
		{"PUT /bucket/key", 404, NULL, ERROR("NoSuchKey", "")},
		{"PUT /bucket/key", 404, NULL, ERROR("NoSuchBucket", "")},
		{"PUT /bucket/key", 409, NULL, ERROR("ConditionalRequestConflict", "")});
	struct store_put match = {.if_match = "e"}, absent = {.if_none_match = STORE_IF_ABSENT};
	struct store *s = driver(NULL);

	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &absent, NULL, &err), -EEXIST);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -EAGAIN);
	assert_int_equal(err.kind, ERR_RETRY); /* nothing was done */
	script_done();
	store_destroy(s);
}

/* Without TLS the bytes are in the signature, unless they do not leave this machine, or somebody
 * does not want that. */
static void bytes_are_signed(void **state)
{
	static const struct {
		enum s3_payload how;
		const char *host;
		bool proxy, hashed;
	} cases[] = {{S3_PAYLOAD_AUTO, "s3.invalid", true, true},
		{S3_PAYLOAD_AUTO, "127.0.0.1", true, true},
		{S3_PAYLOAD_AUTO, "127.0.0.1", false, false},
		{S3_PAYLOAD_AUTO, "localhost", false, false},
		{S3_PAYLOAD_SIGNED, "s3.invalid", true, true},
		{S3_PAYLOAD_SIGNED, "127.0.0.1", false, true},
		{S3_PAYLOAD_UNSIGNED, "s3.invalid", true, false},
		{S3_PAYLOAD_UNSIGNED, "127.0.0.1", false, false}};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[100], proxy[64];
		const struct step steps[] = {{want, 200, "ETag: \"e\"\r\n"}};
		struct s3_conf c = plain_conf();
		struct store_stat st = {0};
		struct store *s = NULL;
		uint8_t hash[32];
		char hex[65];

		snprintf(want, sizeof(want), "PUT /bucket/key");
		snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", script.web.port);
		if (cases[i].proxy) {
			snprintf(want, sizeof(want), "PUT http://%s:%u/bucket/key", cases[i].host,
				script.web.port);
			setenv("http_proxy", proxy, 1);
		}
		script_set(steps, 1);
		strcpy(c.endpoint.host, cases[i].host);
		c.payload = cases[i].how;
		s = driver(&c);
		sha256("hello", 5, hash);
		hex_encode(hash, sizeof(hash), hex);
		assert_int_equal(store_put(s, NULL, key, "hello", 5, NULL, &st, &err), 0);
		assert_string_equal(script_field(0, "x-amz-content-sha256"),
			cases[i].hashed ? hex : "UNSIGNED-PAYLOAD");
		assert_non_null(script_field(0, "x-amz-checksum-crc32c"));
		store_stat_done(&st);
		script_done();
		store_destroy(s);
		unsetenv("http_proxy");
	}
}

/* A server that states the checksum of what came compares it: from then on nobody reads the bytes
 * for it once more here. */
static void the_server_compares(void **state)
{
	SCRIPT({"PUT /bucket/key?partNumber=1&", 200, ETAG},
		{"PUT /bucket/key?partNumber=2&", 200, ETAG "x-amz-checksum-crc32c: mnG7TA==\r\n"},
		{"PUT /bucket/key?partNumber=3&", 400, NULL, ERROR("BadDigest", "")},
		{"PUT /bucket/key", 400, NULL, ERROR("BadDigest", "")},
		{"PUT /bucket/key?partNumber=4&", 501, NULL, ERROR("NotImplemented", "")});
	const uint32_t right = crc32c(0, "hello", 5), wrong = right ^ 1;
	struct store_put wrongly = {.has_crc32c = true, .crc32c = wrong};
	struct store *s = driver(NULL);
	struct store_part part;

	assert_int_equal(store_part_put(s, NULL, key, "u", 1, "hello", 5, right, &part, &err), 0);
	assert_int_equal(
		store_part_put(s, NULL, key, "u", 2, "hello", 5, wrong, &part, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(store_part_put(s, NULL, key, "u", 2, "hello", 5, right, &part, &err), 0);
	assert_int_equal(
		store_part_put(s, NULL, key, "u", 3, "hello", 5, wrong, &part, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(store_put(s, NULL, key, "hello", 5, &wrongly, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	/* it does not know them any more: what is sent next would say nothing of them */
	assert_int_equal(
		store_part_put(s, NULL, key, "u", 4, "hello", 5, wrong, &part, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	script_done();
	store_destroy(s);
}

static void checksums_fall_back(void **state)
{
	SCRIPT({"PUT /bucket/key", 400, NULL,
		       "<Error><Code>InvalidRequest</Code><Message>unknown "
		       "checksum</Message></Error>"},
		{"PUT /bucket/key", 200, ETAG}, {"PUT /bucket/key", 200, ETAG},
		{"PUT /bucket/key", 400, NULL,
			"<Error><Code>BadDigest</Code><Message>the checksum is "
			"wrong</Message></Error>"});
	struct store *s = driver(NULL);

	assert_int_equal(store_put(s, NULL, key, "hello", 5, NULL, NULL, &err), 0);
	assert_non_null(script_field(0, "x-amz-checksum-crc32c"));
	assert_null(script_field(1, "x-amz-checksum-crc32c"));
	assert_string_equal(script_field(1, "content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
	assert_int_equal(store_put(s, NULL, key, "hello", 5, NULL, NULL, &err), 0);
	assert_string_equal(script_field(2, "content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
	/* one that does not hold is another matter */
	assert_int_equal(store_put(s, NULL, key, "hello", 5, NULL, NULL, &err), -EBADMSG);
	script_done();
	store_destroy(s);
}

/* ---- multipart and copies ---- */

#define BEGIN                                                                                      \
	"<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>"
#define PART "<CopyPartResult><ETag>\"p1\"</ETag></CopyPartResult>"
#define DONE "<CompleteMultipartUploadResult><ETag>\"e2-1\"</ETag></CompleteMultipartUploadResult>"
#define COPIED                                                                                     \
	"<CopyObjectResult><ETag>\"e2\"</ETag><LastModified>2026-01-02T03:04:05Z</LastModified></" \
	"CopyObjectResult>"

#define MADE(e)                                                                                    \
	"<CompleteMultipartUploadResult><ETag>\"" e "\"</ETag></CompleteMultipartUploadResult>"

/* A server that confirms each part's checksum and states none of the whole: its version says that
 * the parts are what the object is made of. */
static void version_tells_the_parts(void **state)
{
	SCRIPT({"POST /bucket/key?uploadId=U", 200, NULL,
		       MADE("96e024ba2074fe77e8e965ba43a704be-2")},
		{"POST /bucket/key?uploadId=U", 200, NULL,
			MADE("96e024ba2074fe77e8e965ba43a704bf-2")},
		{"POST /bucket/key?uploadId=U", 200, NULL,
			MADE("96e024ba2074fe77e8e965ba43a704be-2")});
	struct store_part parts[2] = {{.number = 1, .size = 1, .has_crc32c = true},
		{.number = 2, .size = 1, .has_crc32c = true}};
	struct store *s = driver(NULL);
	struct store_stat st;

	for (unsigned i = 0; i < 2; i++) {
		uint8_t sum[16];

		md5(i ? "b" : "a", 1, sum);
		hex_encode(sum, sizeof(sum), parts[i].etag);
		parts[i].crc32c = crc32c(0, i ? "b" : "a", 1);
	}
	assert_int_equal(store_parts_finish(s, NULL, key, "U", parts, 2, NULL, &st, &err), 0);
	assert_true(st.has_crc32c);
	assert_int_equal(st.crc32c, crc32c(0, "ab", 2));
	store_stat_done(&st);
	/* Of other parts, or one is not confirmed: nothing is known. */
	assert_int_equal(store_parts_finish(s, NULL, key, "U", parts, 2, NULL, &st, &err), 0);
	assert_false(st.has_crc32c);
	store_stat_done(&st);
	parts[1].has_crc32c = false;
	assert_int_equal(store_parts_finish(s, NULL, key, "U", parts, 2, NULL, &st, &err), 0);
	assert_false(st.has_crc32c);
	store_stat_done(&st);
	script_done();
	store_destroy(s);
}

static void errors_hide_in_a_200(void **state)
{
	SCRIPT({"POST /bucket/key?uploadId=U", 200, NULL, ERROR("InternalError", "")},
		{"POST /bucket/key?uploadId=U", 200, NULL, ERROR("SlowDown", "")},
		{"POST /bucket/key?uploadId=U", 200, NULL, "   \n"},
		{"POST /bucket/key?uploadId=U", 409, NULL, ERROR("ConditionalRequestConflict", "")},
		{"POST /bucket/key?uploadId=U", 200, NULL, "  \n" DONE},
		{"HEAD /bucket/key", 200, HEAD_OK},
		{"PUT /bucket/to", 200, NULL, ERROR("InternalError", "")});
	struct store_part part = {.number = 1, .size = 5, .etag = "p1"};
	struct store *s = driver(NULL);
	struct store_stat st;

	assert_int_equal(store_parts_finish(s, NULL, key, "U", &part, 1, NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(
		store_parts_finish(s, NULL, key, "U", &part, 1, NULL, NULL, &err), -EAGAIN);
	assert_int_equal(err.kind, ERR_THROTTLE);
	assert_int_equal(
		store_parts_finish(s, NULL, key, "U", &part, 1, NULL, NULL, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_true(store_parts_finish(s, NULL, key, "U", &part, 1, NULL, NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_UNKNOWN); /* not asked again: all parts are wanted anew */
	assert_int_equal(store_parts_finish(s, NULL, key, "U", &part, 1, NULL, &st, &err), 0);
	assert_string_equal(st.etag, "e2-1");
	assert_int_equal(
		store_copy(s, NULL, key, (struct store_obj){"bucket", "to"}, NULL, NULL, &err),
		-EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	script_done();
	store_destroy(s);
}

static void a_copy_keeps_what_it_is_not_told(void **state)
{
	SCRIPT({"HEAD /bucket/key", 200,
		       HEAD_OK
		       "Content-Type: text/x\r\nCache-Control: no-cache\r\n"
		       "x-amz-storage-class: STANDARD_IA\r\nx-amz-meta-a: 1\r\n"
		       "x-amz-meta-astra-write: 1.1\r\nx-amz-meta-odd: =?UTF-8?B?w6Q=?=\r\n"},
		{"PUT /bucket/to", 200, NULL, COPIED});
	struct store_copy opt = {.src_if_match = "e1", .write_mark = "2.1"};
	struct store *s = driver(NULL);
	struct store_stat st;

	assert_int_equal(
		store_copy(s, NULL, key, (struct store_obj){"bucket", "to"}, &opt, &st, &err), 0);
	script_done();
	assert_string_equal(script_field(1, "x-amz-copy-source"), "/bucket/key");
	assert_string_equal(script_field(1, "x-amz-copy-source-if-match"), "\"e1\"");
	assert_string_equal(script_field(1, "x-amz-metadata-directive"), "REPLACE");
	assert_string_equal(script_field(1, "content-type"), "text/x");
	assert_string_equal(script_field(1, "cache-control"), "no-cache");
	assert_string_equal(script_field(1, "x-amz-storage-class"), "STANDARD_IA");
	assert_string_equal(script_field(1, "x-amz-meta-a"), "1");
	assert_string_equal(script_field(1, "x-amz-meta-odd"), "=?UTF-8?B?w6Q=?=");
	assert_string_equal(script_field(1, "x-amz-meta-astra-write"), "2.1");
	assert_string_equal(store_stat_meta(&st, "odd"), "\xc3\xa4");
	assert_string_equal(store_stat_meta(&st, "astra-write"), "2.1");
	assert_int_equal(st.nmeta, 3);
	assert_string_equal(st.class_name, "STANDARD_IA");
	store_stat_done(&st);
	store_destroy(s);
}

/* A class change must not revert a write that came between: never a plain copy onto itself. */
static void classes_change_under_a_condition(void **state)
{
	SCRIPT({"HEAD /bucket/key", 200, HEAD_OK "x-amz-tagging-count: 1\r\n"},
		{"HEAD /bucket/key", 200, HEAD_OK "x-amz-tagging-count: 1\r\n"},
		{"PUT /bucket/key", 501, NULL, ERROR("NotImplemented", "")},
		{"GET /bucket/key?tagging=", 200, NULL,
			"<Tagging><TagSet><Tag><Key>a "
			"b</Key><Value>&amp;</Value></Tag></TagSet></Tagging>"},
		{"POST /bucket/key?uploads=", 200, NULL, BEGIN},
		{"PUT /bucket/key?partNumber=1&uploadId=U", 200, NULL, PART},
		{"POST /bucket/key?uploadId=U", 200, NULL, DONE},
		/* the next time CopyObject is not tried; and the class may have been set already */
		{"HEAD /bucket/key", 200, HEAD_OK}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"GET /bucket/key?tagging=", 403, NULL, ERROR("AccessDenied", "")},
		{"POST /bucket/key?uploads=", 200, NULL, BEGIN},
		{"PUT /bucket/key?partNumber=1&uploadId=U", 200, NULL, PART},
		{"POST /bucket/key?uploadId=U", 412, NULL, ERROR("PreconditionFailed", "")},
		{"DELETE /bucket/key?uploadId=U", 204},
		{"HEAD /bucket/key", 200, HEAD_OK "x-amz-storage-class: STANDARD_IA\r\n"});
	struct store *s = driver(NULL);
	struct store_stat st;

	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", "e1", &st, &err), 0);
	assert_string_equal(st.etag, "e2-1");
	assert_string_equal(st.class_name, "STANDARD_IA");
	assert_string_equal(script_field(2, "if-match"), "\"e1\"");
	assert_string_equal(script_field(4, "x-amz-tagging"), "a%20b=%26");
	assert_string_equal(script_field(4, "x-amz-storage-class"), "STANDARD_IA");
	assert_string_equal(script_field(5, "x-amz-copy-source-if-match"), "\"e1\"");
	assert_string_equal(script_field(6, "if-match"), "\"e1\"");
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", NULL, &st, &err), -ESTALE);
	assert_string_equal(script_field(12, "if-match"), "\"e1\"");
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", NULL, &st, &err), 0);
	script_done();
	store_destroy(s);
}

#define HEAD_OF(size)                                                                              \
	ETAG "Content-Length: " size                                                               \
	     "\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\nx-amz-tagging-count: 0\r\n"

/* By the user's word: one plain copy. Not where that saves nothing, and not for metadata. */
static void classes_change_by_the_users_word(void **state)
{
	SCRIPT({"HEAD /bucket/key", 200, HEAD_OK}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"PUT /bucket/key", 200, NULL, COPIED},
		/* somebody wrote before the copy: it is the source's condition that tells */
		{"HEAD /bucket/key", 200, HEAD_OK}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"PUT /bucket/key", 412, NULL, ERROR("PreconditionFailed", "")},
		/* an empty object is written anew */
		{"HEAD /bucket/key", 200, HEAD_OF("0")}, {"HEAD /bucket/key", 200, HEAD_OF("0")},
		{"PUT /bucket/key", 412, NULL, ERROR("PreconditionFailed", "")},
		/* metadata */
		{"HEAD /bucket/key", 200, HEAD_OK}, {"HEAD /bucket/key", 200, HEAD_OK},
		{"PUT /bucket/key", 200, NULL, COPIED});
	struct store_meta change[] = {{"mode", "2"}};
	struct s3_conf c = plain_conf();
	struct store_stat st;
	struct store *s;

	c.unsafe_transition = true;
	s = driver(&c);
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", "e1", &st, &err), 0);
	assert_string_equal(st.etag, "e2");
	assert_string_equal(st.class_name, "STANDARD_IA");
	store_stat_done(&st);
	assert_string_equal(script_field(0, "if-match"), "\"e1\"");
	assert_null(script_field(2, "if-match"));
	assert_string_equal(script_field(2, "x-amz-copy-source-if-match"), "\"e1\"");
	assert_string_equal(script_field(2, "x-amz-storage-class"), "STANDARD_IA");
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", "e1", &st, &err), -ESTALE);
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", "e1", &st, &err), -ESTALE);
	assert_string_equal(script_field(8, "if-match"), "\"e1\"");
	assert_int_equal(store_set_meta(s, NULL, key, "e1", change, 1, &st, &err), 0);
	store_stat_done(&st);
	assert_string_equal(script_field(11, "if-match"), "\"e1\"");
	script_done();
	store_destroy(s);
}

#define FIVE_PARTS(to)                                                                             \
	{"POST /bucket/" to "?uploads=", 200, NULL, BEGIN},                                        \
		{"PUT /bucket/" to "?partNumber=1&uploadId=U", 200, NULL, PART},                   \
		{"PUT /bucket/" to "?partNumber=2&uploadId=U", 200, NULL, PART},                   \
		{"PUT /bucket/" to "?partNumber=3&uploadId=U", 200, NULL, PART},                   \
		{"PUT /bucket/" to "?partNumber=4&uploadId=U", 200, NULL, PART},                   \
	{                                                                                          \
		"PUT /bucket/" to "?partNumber=5&uploadId=U", 200, NULL, PART                      \
	}

/* CopyObject takes 5 GiB. A byte more is copied by ranges. */
static void large_copies_go_by_parts(void **state)
{
	SCRIPT({"HEAD /bucket/key", 200, HEAD_OF("5368709120")},
		{"PUT /bucket/to ", 200, NULL, COPIED},
		{"HEAD /bucket/key", 200, HEAD_OF("5368709121") "x-amz-meta-a: 1\r\n"},
		FIVE_PARTS("to"), {"PUT /bucket/to?partNumber=6&uploadId=U", 200, NULL, PART},
		{"POST /bucket/to?uploadId=U", 200, NULL, DONE},
		/* a part that fails ends it: nothing is left */
		{"HEAD /bucket/key", 200, HEAD_OF("5368709121")}, FIVE_PARTS("to"),
		{"PUT /bucket/to?partNumber=6&uploadId=U", 412, NULL,
			ERROR("PreconditionFailed", "")},
		{"DELETE /bucket/to?uploadId=U", 204},
		/* onto itself, also where a plain copy is allowed */
		{"HEAD /bucket/key", 200, HEAD_OF("5368709121")},
		{"HEAD /bucket/key", 200, HEAD_OF("5368709121")}, FIVE_PARTS("key"),
		{"PUT /bucket/key?partNumber=6&uploadId=U", 200, NULL, PART},
		{"POST /bucket/key?uploadId=U", 200, NULL, DONE});
	struct store_obj to = {"bucket", "to"};
	struct s3_conf c = plain_conf();
	struct store_stat st;
	struct store *s;

	c.unsafe_transition = true;
	s = driver(&c);
	assert_int_equal(store_copy(s, NULL, key, to, NULL, &st, &err), 0);
	assert_int_equal(st.size, UINT64_C(5368709120));
	assert_int_equal(store_copy(s, NULL, key, to, NULL, &st, &err), 0);
	assert_int_equal(st.size, UINT64_C(5368709121));
	assert_string_equal(st.etag, "e2-1");
	assert_string_equal(script_field(3, "x-amz-meta-a"), "1");
	assert_string_equal(script_field(4, "x-amz-copy-source"), "/bucket/key");
	assert_string_equal(script_field(4, "x-amz-copy-source-if-match"), "\"e1\"");
	assert_string_equal(script_field(4, "x-amz-copy-source-range"), "bytes=0-1073741823");
	assert_string_equal(
		script_field(8, "x-amz-copy-source-range"), "bytes=4294967296-5368709119");
	assert_string_equal(
		script_field(9, "x-amz-copy-source-range"), "bytes=5368709120-5368709120");
	assert_non_null(strstr(script.seen[10].body, "<PartNumber>6</PartNumber>"));
	store_stat_done(&st);
	assert_int_equal(store_copy(s, NULL, key, to, NULL, &st, &err), -ESTALE);
	assert_int_equal(store_set_tier(s, NULL, key, "STANDARD_IA", "e1", &st, &err), 0);
	assert_string_equal(script_field(22, "x-amz-storage-class"), "STANDARD_IA");
	assert_string_equal(script_field(29, "if-match"), "\"e1\"");
	store_stat_done(&st);
	script_done();
	store_destroy(s);
}

/* Metadata changes by a copy onto itself, which keeps the rest, or does nothing. */
static void metadata_changes_by_a_copy(void **state)
{
#define THEIRS                                                                                     \
	HEAD_OK "Content-Type: text/x\r\nx-amz-storage-class: STANDARD_IA\r\n"                     \
		"x-amz-server-side-encryption: aws:kms\r\n"                                        \
		"x-amz-server-side-encryption-aws-kms-key-id: arn:k\r\n"                           \
		"x-amz-tagging-count: 1\r\nx-amz-meta-Theirs: =?UTF-8?B?w6Q=?=\r\n"                \
		"x-amz-meta-mode: 1\r\nx-amz-meta-xattr: x\r\n"
	SCRIPT({"HEAD /bucket/key", 200, THEIRS}, {"HEAD /bucket/key", 200, THEIRS},
		{"PUT /bucket/key", 501, NULL, ERROR("NotImplemented", "")},
		{"GET /bucket/key?tagging=", 200, NULL,
			"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></"
			"Tagging>"},
		{"POST /bucket/key?uploads=", 200, NULL, BEGIN},
		{"PUT /bucket/key?partNumber=1&uploadId=U", 200, NULL, PART},
		{"POST /bucket/key?uploadId=U", 200, NULL, DONE},
		/* another version is there */
		{"HEAD /bucket/key", 412},
		/* no room beside theirs */
		{"HEAD /bucket/key", 200, THEIRS}, {"HEAD /bucket/key", 200, THEIRS});
	static char big[2040];
	struct store_meta change[] = {{"mode", "2"}, {"uid", "7"}, {"xattr", NULL}, {"no", NULL}};
	struct store *s = driver(NULL);
	struct store_stat st;

	assert_int_equal(store_set_meta(s, NULL, key, "e1", change, 4, &st, &err), 0);
	assert_string_equal(st.etag, "e2-1");
	assert_string_equal(st.class_name, "STANDARD_IA");
	assert_int_equal(st.nmeta, 3);
	assert_string_equal(store_stat_meta(&st, "theirs"), "\xc3\xa4");
	store_stat_done(&st);
	for (unsigned i = 2; i <= 4; i += 2) { /* the copy that was tried, and the upload */
		assert_string_equal(script_field(i, "x-amz-meta-theirs"), "=?UTF-8?B?w6Q=?=");
		assert_string_equal(script_field(i, "x-amz-meta-mode"), "2");
		assert_string_equal(script_field(i, "x-amz-meta-uid"), "7");
		assert_null(script_field(i, "x-amz-meta-xattr"));
		assert_string_equal(script_field(i, "content-type"), "text/x");
		assert_string_equal(script_field(i, "x-amz-storage-class"), "STANDARD_IA");
		assert_string_equal(script_field(i, "x-amz-server-side-encryption"), "aws:kms");
		assert_string_equal(
			script_field(i, "x-amz-server-side-encryption-aws-kms-key-id"), "arn:k");
	}
	assert_string_equal(script_field(2, "if-match"), "\"e1\"");
	assert_string_equal(script_field(4, "x-amz-tagging"), "a=b");
	assert_string_equal(script_field(6, "if-match"), "\"e1\"");
	assert_int_equal(store_set_meta(s, NULL, key, "e1", change, 4, &st, &err), -ESTALE);
	memset(big, 'b', sizeof(big) - 1);
	change[0].value = big;
	assert_int_equal(store_set_meta(s, NULL, key, "e1", change, 1, &st, &err), -E2BIG);
	script_done();
	store_destroy(s);
#undef THEIRS
}

#define PROBE_MADE                                                                                 \
	{                                                                                          \
		"PUT /bucket/.astra-tmp/probe-", 200, ETAG "Server: one\r\n"                       \
	}
#define PROBE_GONE                                                                                 \
	{                                                                                          \
		"DELETE /bucket/.astra-tmp/probe-", 204, "Server: one\r\n"                         \
	}
#define PROBE_HELD                                                                                 \
	{                                                                                          \
		"PUT /bucket/.astra-tmp/probe-", 412, NULL, ERROR("PreconditionFailed", "")        \
	}

static struct store *own_endpoint(void)
{
	struct s3_conf c = plain_conf();

	c.aws = false;
	return driver(&c);
}

/* An endpoint that ignores conditions is found out, and looked at before each write. */
static void conditions_that_do_not_hold(void **state)
{
	SCRIPT(PROBE_MADE, PROBE_MADE, /* in spite of If-Match */
		PROBE_GONE,
		/* the put itself */
		{"HEAD /bucket/key", 200, HEAD_OK}, {"PUT /bucket/key", 200, ETAG},
		{"HEAD /bucket/key", 200, HEAD_OK}, PROBE_MADE,
		PROBE_GONE, /* in spite of If-Match */
		{"HEAD /bucket/key", 404, NULL}, PROBE_MADE,
		{"POST /bucket/.astra-tmp/probe-", 200, NULL, BEGIN},
		{"PUT /bucket/.astra-tmp/probe-", 200, NULL,
			"<CopyPartResult><ETag>\"p\"</ETag><ChecksumCRC32C>AAAAAA==</"
			"ChecksumCRC32C>"
			"</CopyPartResult>"}, /* no checksum of "x" */
		{"POST /bucket/.astra-tmp/probe-", 412, NULL, ERROR("PreconditionFailed", "")},
		{"DELETE /bucket/.astra-tmp/probe-", 204}, /* the upload */
		{"DELETE /bucket/.astra-tmp/probe-", 204}, /* the object */
		{"POST /bucket/key?uploads=", 200, NULL, BEGIN},
		{"POST /bucket/key?uploadId=U", 200, NULL, DONE});
	struct store_put match = {.if_match = "e1"}, absent = {.if_none_match = STORE_IF_ABSENT};
	struct store_part part = {.number = 1, .size = 1, .etag = "p", .has_crc32c = true};
	char id[STORE_UPLOAD_MAX];
	struct store *s = own_endpoint();

	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(1, "if-match"), "\"00000000000000000000000000000000\"");
	assert_null(script_field(4, "if-match"));
	assert_int_equal(store_put(s, NULL, key, "x", 1, &absent, NULL, &err), -EEXIST);
	assert_int_equal(store_remove(s, NULL, key, "e1", &err), -ESTALE);
	/* where checksums of copies lie, uploads have none; finishing holds its condition */
	assert_int_equal(store_parts_begin(s, NULL, key, NULL, id, &err), 0);
	assert_null(script_field(15, "x-amz-checksum-algorithm"));
	assert_int_equal(store_parts_finish(s, NULL, key, id, &part, 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(16, "if-match"), "\"e1\"");
	assert_null(script_field(16, "x-amz-checksum-crc32c"));
	script_done();
	store_destroy(s);
}

/* AWS is not asked, whatever is done, nor is an endpoint of which the configuration says it. */
static void aws_is_not_asked(void **state)
{
	SCRIPT({"PUT /bucket/key", 200, ETAG}, {"DELETE /bucket/key", 204},
		{"PUT /bucket/key", 200, ETAG});
	struct store_put match = {.if_match = "e1"};
	struct s3_conf c = plain_conf();
	struct store_caps caps;
	struct store *s = driver(NULL);

	store_caps(s, &caps);
	assert_false(caps.asks);
	for (unsigned i = 0; i < STORE_READY_N; i++)
		assert_int_equal(store_ready(s, NULL, "bucket", i, &err), 0);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(0, "if-match"), "\"e1\"");
	assert_int_equal(store_remove(s, NULL, key, "e1", &err), 0);
	assert_string_equal(script_field(1, "if-match"), "\"e1\"");
	store_destroy(s);
	c.aws = false;
	c.cond = S3_COND_YES;
	s = driver(&c);
	assert_int_equal(store_ready(s, NULL, "bucket", STORE_READY_PUT, &err), 0);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(2, "if-match"), "\"e1\"");
	script_done();
	store_destroy(s);
}

/* Asked ahead, a write sends itself alone. */
static void asked_ahead(void **state)
{
	SCRIPT(PROBE_MADE, PROBE_HELD, PROBE_GONE, {"PUT /bucket/key", 200, ETAG});
	struct store_put match = {.if_match = "e1"};
	struct store *s = own_endpoint();
	struct store_caps caps;

	store_caps(s, &caps);
	assert_true(caps.asks);
	assert_int_equal(store_ready(s, NULL, "bucket", STORE_READY_PUT, &err), 0);
	assert_int_equal(store_ready(s, NULL, "bucket", STORE_READY_PUT, &err), 0);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(3, "if-match"), "\"e1\"");
	script_done();
	store_destroy(s);
}

/* A question that failed is no answer: neither that conditions hold nor that they do not. */
static void a_failed_question_is_no_answer(void **state)
{
	SCRIPT({"PUT /bucket/.astra-tmp/probe-", 500, NULL, ERROR("InternalError", "")}, PROBE_GONE,
		PROBE_MADE, {"PUT /bucket/.astra-tmp/probe-", 503, NULL, ERROR("SlowDown", "")},
		PROBE_GONE, PROBE_MADE, PROBE_HELD, PROBE_GONE, {"PUT /bucket/key", 200, ETAG});
	struct store_put match = {.if_match = "e1"};
	struct store *s = own_endpoint();

	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY); /* nothing was written, for sure */
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -EIO); /* too soon */
	assert_int_equal(err.kind, ERR_RETRY);
	usleep(250000);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -EAGAIN);
	assert_int_equal(err.kind, ERR_THROTTLE);
	usleep(250000);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(8, "if-match"), "\"e1\"");
	script_done();
	store_destroy(s);
}

/* Where nothing of ours may be written, each write looks, and has its condition as well. */
static void where_we_may_not_ask(void **state)
{
	SCRIPT({"PUT /bucket/.astra-tmp/probe-", 403, NULL, ERROR("AccessDenied", "")}, PROBE_GONE,
		{"HEAD /bucket/key", 200, HEAD_OK}, {"PUT /bucket/key", 200, ETAG},
		{"HEAD /bucket/key", 404, NULL});
	struct store_put match = {.if_match = "e1"};
	struct store *s = own_endpoint();

	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(3, "if-match"), "\"e1\"");
	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), -ESTALE);
	script_done();
	store_destroy(s);
}

/* A server that has only errors for a condition does not hold any. */
static void only_errors_for_conditions(void **state)
{
#define ODD PROBE_MADE, {"PUT /bucket/.astra-tmp/probe-", 409, NULL, NULL}, PROBE_GONE
	SCRIPT(ODD, ODD, ODD, ODD, ODD, {"HEAD /bucket/key", 200, HEAD_OK},
		{"PUT /bucket/key", 200, ETAG});
	struct store_put match = {.if_match = "e1"};
	struct store *s = own_endpoint();
	struct buf text = BUF_INIT(4096);
	unsigned tries = 0;

	while (tries < 20 && store_put(s, NULL, key, "x", 1, &match, NULL, &err)) {
		assert_int_equal(err.kind, ERR_RETRY);
		usleep(250000);
		tries++;
	}
	assert_int_equal(tries, 4);
	assert_null(script_field(16, "if-match"));
	store_learned(s, &text); /* nor is that remembered */
	assert_int_equal(text.len, 0);
	script_done();
	buf_done(&text);
	store_destroy(s);
#undef ODD
}

/* What an earlier mount found out is believed, but for another address, for too long, or of another
 * server. */
static void answers_are_remembered(void **state)
{
	SCRIPT(PROBE_MADE, PROBE_HELD, PROBE_GONE, {"PUT /bucket/key", 200, ETAG},  /* remembered */
		PROBE_MADE, PROBE_HELD, PROBE_GONE, {"PUT /bucket/key", 200, ETAG}, /* too old */
		PROBE_MADE, PROBE_HELD, PROBE_GONE, {"PUT /bucket/key", 200, ETAG}, /* elsewhere */
		{"HEAD /bucket/key", 200, HEAD_OK "Server: two\r\n"}, PROBE_MADE, PROBE_HELD,
		PROBE_GONE, {"PUT /bucket/key", 200, ETAG}); /* another server */
	struct store_put match = {.if_match = "e1"};
	struct buf text = BUF_INIT(4096), other = BUF_INIT(4096);
	struct store *s = own_endpoint();
	struct store_stat st;

	store_learned(s, &text);
	assert_int_equal(text.len, 0);
	assert_int_equal(store_ready(s, NULL, "bucket", STORE_READY_PUT, &err), 0);
	store_learned(s, &text);
	assert_true(text.len > 0);
	assert_null(strstr(text.p, "AK"));
	store_destroy(s);
	for (unsigned i = 0; i < 4; i++) {
		const char *was = text.p;

		s = own_endpoint();
		if (i == 1)
			clock_skew_add(8 * 86400 * NS_PER_S);
		if (i == 2) {
			(void)buf_addf(&other, "%.*s/%s", (int)(strstr(text.p, "127.") - text.p),
				text.p, strstr(text.p, "127."));
			was = other.p;
		}
		store_recall(s, was);
		clock_skew_add(i == 1 ? -8 * 86400 * NS_PER_S : 0);
		if (i == 3) {
			assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
			store_stat_done(&st);
		}
		assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
		store_destroy(s);
	}
	assert_string_equal(script_field(3, "if-match"), "\"e1\"");
	script_done();
	buf_done(&text);
	buf_done(&other);
}

/* ---- archives ---- */

static void archives_tell_their_state(void **state)
{
	static const struct {
		const char *lines;
		bool archived, restoring, until;
	} t[] = {
		{"x-amz-storage-class: GLACIER\r\n", true, false, false},
		{"x-amz-storage-class: GLACIER_IR\r\n", false, false, false},
		{"x-amz-storage-class: DEEP_ARCHIVE\r\nx-amz-restore: ongoing-request=\"true\"\r\n",
			true, true, false},
		{"x-amz-storage-class: GLACIER\r\nx-amz-restore: ongoing-request=\"false\", "
		 "expiry-date=\"Fri, 21 Dec 2040 00:00:00 GMT\"\r\n",
			false, false, true},
		{"x-amz-storage-class: GLACIER\r\nx-amz-restore: ongoing-request=\"false\", "
		 "expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"\r\n",
			true, false, false},
		{"x-amz-storage-class: INTELLIGENT_TIERING\r\n", false, false, false},
		{"x-amz-storage-class: INTELLIGENT_TIERING\r\nx-amz-archive-status: "
		 "ARCHIVE_ACCESS\r\n",
			true, false, false},
		{"x-amz-storage-class: INTELLIGENT_TIERING\r\nx-amz-archive-status: "
		 "DEEP_ARCHIVE_ACCESS\r\nx-amz-restore: ongoing-request=\"true\"\r\n",
			true, true, false},
		{"x-amz-restore: rubbish\r\n", false, false, false},
	};
	struct store *s = driver(NULL);
	char lines[500];

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		struct step step[] = {{"HEAD /bucket/key", 200, lines}};
		struct store_stat st;

		snprintf(lines, sizeof(lines), HEAD_OK "%s", t[i].lines);
		script_set(step, 1);
		assert_int_equal(store_head(s, NULL, key, &st, &err), 0);
		script_done();
		if (st.archived != t[i].archived || st.restoring != t[i].restoring ||
			(st.restored_until_ns != 0) != t[i].until)
			fail_msg("state %u: %d %d", i, st.archived, st.restoring);
		store_stat_done(&st);
	}
	store_destroy(s);
}

static void restores_are_asked_for(void **state)
{
	SCRIPT({"HEAD /bucket/key", 200, HEAD_OK "x-amz-storage-class: DEEP_ARCHIVE\r\n"},
		{"POST /bucket/key?restore=", 202, NULL, ""},
		{"HEAD /bucket/key", 200, HEAD_OK "x-amz-storage-class: GLACIER\r\n"},
		{"POST /bucket/key?restore=", 409, NULL, ERROR("RestoreAlreadyInProgress", "")},
		{"HEAD /bucket/key", 200,
			HEAD_OK "x-amz-storage-class: INTELLIGENT_TIERING\r\n"
				"x-amz-archive-status: ARCHIVE_ACCESS\r\n"},
		{"POST /bucket/key?restore=", 202, NULL, ""},
		{"HEAD /bucket/key", 200,
			HEAD_OK "x-amz-storage-class: GLACIER\r\n"
				"x-amz-restore: ongoing-request=\"true\"\r\n"},
		{"HEAD /bucket/key", 200, HEAD_OK});
	struct s3_conf c = plain_conf();
	struct store *s;

	strcpy(c.restore_tier, "Expedited");
	s = driver(&c);
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0);
	assert_non_null(strstr(script.seen[1].body, "<Days>3</Days>"));
	assert_non_null(strstr(script.seen[1].body, "<Tier>Standard</Tier>")); /* not for DEEP */
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0);
	assert_non_null(strstr(script.seen[3].body, "<Tier>Expedited</Tier>"));
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0);
	assert_null(strstr(script.seen[5].body, "<Days>"));
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0); /* under way: not asked again */
	assert_int_equal(store_restore(s, NULL, key, 3, &err), -EINVAL);
	script_done();
	store_destroy(s);
}

/* What is restored for two days stays longer when that is asked for, and never shorter. */
static void restores_are_lengthened(void **state)
{
	char date[NET_DATE_LEN + 1], lines[300];
	struct step step[] = {{"HEAD /bucket/key", 200, lines},
		{"POST /bucket/key?restore=", 200, NULL, ""}, {"HEAD /bucket/key", 200, lines}};
	struct store *s = driver(NULL);

	net_date_format(clock_now_ns() + 2 * 86400 * NS_PER_S, date);
	snprintf(lines, sizeof(lines),
		HEAD_OK "x-amz-storage-class: GLACIER\r\n"
			"x-amz-restore: ongoing-request=\"false\", expiry-date=\"%s\"\r\n",
		date);
	script_set(step, ARRAY_SIZE(step));
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0);
	assert_non_null(strstr(script.seen[1].body, "<Days>3</Days>"));
	assert_int_equal(store_restore(s, NULL, key, 1, &err), 0);
	script_done();
	store_destroy(s);
}

/* ---- listings ---- */

#define LIST(more)                                                                                 \
	"<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" more                \
	"</ListBucketResult>"
#define ENTRY(k, more)                                                                             \
	"<Contents><Key>" k "</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"          \
	"<ETag>&quot;e&quot;</ETag><Size>7</Size>" more "</Contents>"

static void a_page_has_everything(void **state)
{
	SCRIPT({"GET /bucket?delimiter=%2F&encoding-type=url&list-type=2&max-keys=10&prefix=p%2F",
		       200, NULL,
		       LIST("<IsTruncated>true</IsTruncated><NextContinuationToken>T</"
			    "NextContinuationToken>"
			    "<EncodingType>url</EncodingType>" ENTRY("p/z",
				    "<StorageClass>GLACIER</StorageClass>"
				    "<RestoreStatus><IsRestoreInProgress>false</"
				    "IsRestoreInProgress>"
				    "<RestoreExpiryDate>2040-01-02T00:00:00.000Z</"
				    "RestoreExpiryDate></RestoreStatus>") ENTRY("p/a+b%2Bc%0A",
				    "<StorageClass>DEEP_ARCHIVE</StorageClass><RestoreStatus>"
				    "<IsRestoreInProgress>true</IsRestoreInProgress></"
				    "RestoreStatus>") ENTRY("p/m",
				    "<StorageClass>GLACIER</StorageClass>") ENTRY("elsewhere",
				    "") "<CommonPrefixes><Prefix>p/d%2F</Prefix></CommonPrefixes>"
					"<CommonPrefixes><Prefix>p/b/</Prefix></CommonPrefixes>")},
		{"GET /bucket?continuation-token=T&", 200, NULL,
			LIST("<IsTruncated>false</IsTruncated>" ENTRY(".astra-tmp/x", "")
					ENTRY("a+b", "") "<CommonPrefixes><Prefix>.astra-tmp/</"
							 "Prefix></CommonPrefixes>")});
	struct store *s = driver(NULL);
	struct store_page p;

	assert_int_equal(store_list(s, NULL, "bucket", "p/", '/', "", 10, &p, &err), 0);
	assert_int_equal(p.n, 5);
	assert_string_equal(p.e[0].key, "p/a b+c\n");
	assert_true(p.e[0].archived && p.e[0].restoring && p.e[0].size == 7);
	assert_true(p.e[0].mtime_ns == INT64_C(1767323045678000000));
	assert_string_equal(p.e[0].etag, "e");
	assert_true(p.e[1].is_prefix && p.e[2].is_prefix);
	assert_string_equal(p.e[1].key, "p/b/");
	assert_string_equal(p.e[2].key, "p/d/");
	assert_true(p.e[3].archived && !p.e[3].restoring);
	assert_true(!p.e[4].archived && p.e[4].restored_until_ns > 0);
	assert_true(p.truncated && !strcmp(p.next, "T"));
	assert_string_equal(script_field(0, "x-amz-optional-object-attributes"), "RestoreStatus");
	store_page_done(&p);
	/* not encoded, and ours hidden */
	assert_int_equal(store_list(s, NULL, "bucket", "", '/', "T", 10, &p, &err), 0);
	assert_int_equal(p.n, 1);
	assert_string_equal(p.e[0].key, "a+b");
	assert_false(p.truncated);
	store_page_done(&p);
	script_done();
	store_destroy(s);
}

static void list_behind_a_name(void **state)
{
	SCRIPT({"GET /bucket?delimiter=%2F&encoding-type=url&list-type=2&max-keys=10&prefix=p%2F&"
		"start-after=p%2Fm%20%C3%A4",
		       200, NULL,
		       LIST("<IsTruncated>true</IsTruncated><NextContinuationToken>T</"
			    "NextContinuationToken>"
			    "<EncodingType>url</EncodingType>" ENTRY("p/z", ""))},
		{"GET /bucket?delimiter", 200, NULL,
			LIST("<IsTruncated>false</IsTruncated>" ENTRY("p/a", "") ENTRY("p/z", ""))},
		{"GET /bucket?delimiter", 200, NULL, LIST("<IsTruncated>false</IsTruncated>")});
	struct store *s = driver(NULL);
	struct store_page p;

	assert_int_equal(
		store_list_after(s, NULL, "bucket", "p/", '/', "p/m \xc3\xa4", 10, &p, &err), 0);
	assert_int_equal(p.n, 1);
	assert_true(p.truncated && !strcmp(p.next, "T"));
	store_page_done(&p);
	/* one that begins at the beginning */
	assert_int_equal(
		store_list_after(s, NULL, "bucket", "p/", '/', "p/m", 10, &p, &err), -EOPNOTSUPP);
	assert_true(err.kind == ERR_FINAL && p.n == 0 && p.e == NULL);
	assert_int_equal(store_list_after(s, NULL, "bucket", "p/", '/', "p/m", 10, &p, &err), 0);
	assert_int_equal(p.n, 0);
	store_page_done(&p);
	/* buckets of one zone have no order; nor is this a place */
	assert_int_equal(
		store_list_after(s, NULL, "b--use1-az5--x-s3", "p/", '/', "p/m", 10, &p, &err),
		-EOPNOTSUPP);
	assert_int_equal(
		store_list_after(s, NULL, "bucket", "p/", '/', "p/m/n", 10, &p, &err), -EINVAL);
	script_done();
	store_destroy(s);
}

/* As a gateway lists what was put into its directory: the others are there all the same. */
static void what_has_no_version_is_not_shown(void **state)
{
	SCRIPT({"GET /bucket?", 200, NULL,
		LIST(ENTRY("a", "") "<Contents><Key>b</Key><Size>1</Size><ETag></ETag></Contents>"
				    "<Contents><Key>d/</Key><Size>0</Size><ETag/></Contents>" ENTRY(
					    "c", ""))});
	struct store *s = driver(NULL);
	struct store_page p;

	assert_int_equal(store_list(s, NULL, "bucket", "", 0, "", 10, &p, &err), 0);
	assert_int_equal(p.n, 2);
	assert_string_equal(p.e[0].key, "a");
	assert_string_equal(p.e[1].key, "c");
	store_page_done(&p);
	script_done();
	store_destroy(s);
}

/* A gateway takes what was put into its directory by hand for absent, and would overwrite it. */
static void what_has_no_version_is_not_overwritten(void **state)
{
	SCRIPT({"PUT /bucket/key", 200, ETAG},
		{"GET /bucket?", 200, NULL,
			LIST("<Contents><Key>key</Key><Size>5</Size><ETag></ETag></Contents>")},
		{"HEAD /bucket/key", 200, "ETag: \r\nContent-Length: 5\r\n"},
		{"HEAD /bucket/key", 200, "Content-Length: 5\r\n"}, {"HEAD /bucket/key", 404, NULL},
		{"PUT /bucket/key", 200, ETAG});
	struct store_put absent = {.if_none_match = STORE_IF_ABSENT};
	struct s3_conf c = plain_conf();
	struct store_page p;
	struct store_stat st;
	struct store *s;

	c.aws = false;
	c.cond = S3_COND_YES;
	s = driver(&c);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &absent, NULL, &err), 0);
	assert_int_equal(store_list(s, NULL, "bucket", "", 0, "", 10, &p, &err), 0);
	assert_int_equal(p.n, 0);
	store_page_done(&p);
	for (unsigned i = 0; i < 2; i++) {
		if (i)
			assert_int_equal(store_head(s, NULL, key, &st, &err), -EIO);
		else
			assert_int_equal(
				store_put(s, NULL, key, "x", 1, &absent, NULL, &err), -EIO);
		assert_int_equal(err.kind, ERR_FINAL);
		assert_non_null(strstr(err.msg, "bucket/key is there, and has no ETag"));
	}
	assert_int_equal(store_put(s, NULL, key, "x", 1, &absent, NULL, &err), 0);
	assert_string_equal(script_field(5, "if-none-match"), "*");
	script_done();
	store_destroy(s);
}

static void bad_pages_are_refused(void **state)
{
	static const char *const bad[] = {"", "hello", "{}", "<html/>", LIST("") "x",
		"<ListBucketResult><IsTruncated>fal", LIST("<IsTruncated>true</IsTruncated>"),
		LIST("<Contents><Size>1</Size></Contents>"),
		LIST("<Contents><Key>k</Key><Size>-1</Size><ETag>e</ETag></Contents>"),
		LIST("<Contents><Key>k</Key><Size>99999999999999999999</Size><ETag>e</ETag></"
		     "Contents>"),
		LIST("<Contents><Key>k</Key><Size>1</Size></Contents>"),
		LIST("<EncodingType>url</EncodingType>" ENTRY("%", "")),
		LIST("<EncodingType>url</EncodingType>" ENTRY("a%00b", "")),
		LIST(ENTRY("a", "") ENTRY("b", "") ENTRY("c", "")), /* two were asked for */
		"<!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]>" LIST(ENTRY("&y;", "")),
		LIST("<CommonPrefixes/>")};
	struct store *s = driver(NULL);
	struct store_page p;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct step step[] = {{"GET /bucket?", 200, NULL, bad[i]}};
		errint_t r;

		script_set(step, 1);
		r = store_list(s, NULL, "bucket", "", '/', "", 2, &p, &err);
		if (r != -EBADMSG)
			fail_msg("page %u: %d %s", i, r, err_text(&err, r));
		assert_int_equal(err.kind, ERR_RETRY);
		script_done();
	}
	store_destroy(s);
}

static void uploads_and_buckets_come_in_pages(void **state)
{
	SCRIPT({"GET /bucket?encoding-type=url&uploads=", 200, NULL,
		       "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
		       "<EncodingType>url</EncodingType><NextKeyMarker>a%2Bb</NextKeyMarker>"
		       "<NextUploadIdMarker>U1</NextUploadIdMarker><Upload><Key>a%2Bb</Key>"
		       "<UploadId>U1</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></"
		       "Upload>"
		       "</ListMultipartUploadsResult>"},
		{"GET /bucket?encoding-type=url&key-marker=a%2Bb&upload-id-marker=U1&uploads=", 200,
			NULL,
			"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
			"<Upload><Key>c</Key><UploadId>U2</UploadId></Upload></"
			"ListMultipartUploadsResult>"},
		{"GET / ", 200, NULL,
			"<ListAllMyBucketsResult><Buckets><Bucket><Name>b1</Name></Bucket></"
			"Buckets>"
			"<ContinuationToken>T</ContinuationToken></ListAllMyBucketsResult>"},
		{"GET /?continuation-token=T", 200, NULL,
			"<ListAllMyBucketsResult><Buckets><Bucket><Name>b2</Name></Bucket></"
			"Buckets>"
			"</ListAllMyBucketsResult>"},
		{"GET /bucket/key?uploadId=U", 200, NULL,
			"<ListPartsResult><UploadId>U</UploadId><IsTruncated>true</IsTruncated>"
			"<NextPartNumberMarker>1</NextPartNumberMarker><Part><PartNumber>1</"
			"PartNumber>"
			"<Size>5</Size><ETag>\"p\"</ETag><ChecksumCRC32C>mnG7TA==</"
			"ChecksumCRC32C></Part>"
			"</ListPartsResult>"},
		{"GET /bucket/key?part-number-marker=1&uploadId=U", 200, NULL,
			"<ListPartsResult><UploadId>U</UploadId><Part><PartNumber>7</PartNumber>"
			"<LastModified>2026-01-02T03:04:06.000Z</LastModified>"
			"<Size>2</Size><ETag>\"q\"</ETag></Part><Part><PartNumber>7</PartNumber>"
			"<LastModified>2026-01-02T03:04:05.000Z</LastModified>"
			"<Size>3</Size><ETag>\"old\"</ETag></Part></ListPartsResult>"},
		{"GET /bucket/key?uploadId=U", 200, NULL,
			"<ListPartsResult><UploadId>other</UploadId></ListPartsResult>"});
	struct store *s = driver(NULL);
	struct store_upload *u;
	struct store_part *p;
	char **names;
	size_t n;

	assert_int_equal(store_parts_pending(s, NULL, "bucket", &u, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(u[0].key, "a+b");
	assert_string_equal(u[1].id, "U2");
	assert_true(u[0].started_ns == INT64_C(1767323045) * NS_PER_S);
	free(u);
	assert_int_equal(store_bucket_list(s, NULL, &names, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(names[1], "b2");
	free(names[0]);
	free(names[1]);
	free(names);
	assert_int_equal(store_parts_list(s, NULL, key, "U", &p, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_true(p[0].has_crc32c && p[0].crc32c == 0x9a71bb4c && !p[1].has_crc32c);
	assert_true(p[1].number == 7 && p[1].size == 2); /* not what it replaced */
	free(p);
	assert_int_equal(store_parts_list(s, NULL, key, "U", &p, &n, &err), -EBADMSG);
	script_done();
	store_destroy(s);
}

/* Nothing could be asked about these: buckets that no call takes, an upload without an id. */
static void unusable_names_are_not_listed(void **state)
{
	SCRIPT({"GET / ", 200, NULL,
		       "<ListAllMyBucketsResult><Buckets><Bucket><Name>a/b</Name></Bucket>"
		       "<Bucket><Name>ok</Name></Bucket><Bucket><Name>..</Name></Bucket>"
		       "</Buckets></ListAllMyBucketsResult>"},
		{"GET /bucket?encoding-type=url&uploads=", 200, NULL,
			"<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId></UploadId>"
			"</Upload></ListMultipartUploadsResult>"});
	struct store *s = driver(NULL);
	struct store_upload *u;
	char **names;
	size_t n;

	assert_int_equal(store_bucket_list(s, NULL, &names, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_string_equal(names[0], "ok");
	free(names[0]);
	free(names);
	assert_int_equal(store_parts_pending(s, NULL, "bucket", &u, &n, &err), -EBADMSG);
	script_done();
	store_destroy(s);
}

static void removals_come_in_batches(void **state)
{
	SCRIPT({"POST /bucket?delete=", 200, NULL,
		       "<DeleteResult><Deleted><Key>a&amp;b</Key></Deleted><Error><Key>c</Key>"
		       "<Code>AccessDenied</Code></Error></DeleteResult>"},
		{"DELETE /bucket/%01", 204});
	static const char *const keys[] = {"a&b", "\x01", "c", "d"};
	errint_t each[4];
	struct store *s = driver(NULL);

	assert_int_equal(store_remove_many(s, NULL, "bucket", keys, 4, each, &err), 0);
	assert_int_equal(each[0], 0);
	assert_int_equal(each[1], 0); /* XML cannot hold it */
	assert_int_equal(each[2], -EACCES);
	assert_int_equal(each[3], -EIO); /* not mentioned */
	assert_non_null(strstr(script.seen[0].body, "<Key>a&amp;b</Key>"));
	assert_non_null(script_field(0, "content-md5"));
	script_done();
	store_destroy(s);
}

static void buckets_are_made_where_they_belong(void **state)
{
	SCRIPT({"PUT /bucket ", 200},
		{"PUT /bucket ", 409, NULL, ERROR("BucketAlreadyOwnedByYou", "")});
	struct s3_conf c = plain_conf();
	struct store *s = driver(NULL);

	assert_int_equal(store_bucket_create(s, NULL, "bucket", &err), 0);
	assert_string_equal(script.seen[0].body, "");
	store_destroy(s);
	strcpy(c.region, "eu-west-1");
	s = driver(&c);
	assert_int_equal(store_bucket_create(s, NULL, "bucket", &err), -EEXIST);
	assert_non_null(
		strstr(script.seen[1].body, "<LocationConstraint>eu-west-1</LocationConstraint>"));
	script_done();
	store_destroy(s);
}

static void life_cycles_are_json_here(void **state)
{
	static const char json[] =
		"{\"Rules\":[{\"ID\":\"r\",\"Filter\":{\"And\":{\"Prefix\":\"a/"
		"\",\"Tags\":[{\"Key\":\"k\","
		"\"Value\":\"v\"},{\"Key\":\"l\",\"Value\":\"&\"}]}},\"Status\":\"Enabled\","
		"\"Transitions\":[{\"Days\":30,\"StorageClass\":\"GLACIER\"}],"
		"\"AbortIncompleteMultipartUpload\":{\"DaysAfterInitiation\":7}}]}";
	static const char xml[] =
		"<LifecycleConfiguration xmlns=\"" S3_XMLNS "\"><Rule><ID>r</ID><Filter><And>"
		"<Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</"
		"Key><Value>&amp;"
		"</Value></Tag></And></Filter><Status>Enabled</Status><Transition><Days>30</Days>"
		"<StorageClass>GLACIER</StorageClass></Transition><AbortIncompleteMultipartUpload>"
		"<DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></"
		"Rule>"
		"</LifecycleConfiguration>";
	static const char *const bad[] = {
		"[]", "{\"a b\":1}", "{\"A\":null}", "{\"A\":1.5}", "{\"A\":\"\\u0001\"}"};
	static const struct step steps[] = {
		{"PUT /bucket?lifecycle=", 200}, {"GET /bucket?lifecycle=", 200, NULL, xml}};
	struct store *s = driver(NULL);
	char *got;

	script_set(steps, 2);
	assert_int_equal(store_lifecycle_put(s, NULL, "bucket", json, &err), 0);
	assert_string_equal(script.seen[0].body, xml);
	assert_int_equal(store_lifecycle_get(s, NULL, "bucket", &got, &err), 0);
	assert_string_equal(got, json);
	free(got);
	script_done();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(store_lifecycle_put(s, NULL, "bucket", bad[i], &err), -EINVAL);
	store_destroy(s);
}

/* ---- values ---- */

static void metadata_survives_the_header(void **state)
{
	static const char *const texts[] = {"", "plain", " lead", "trail ", "two  blanks",
		"\xc3\xa4", "=?UTF-8?B?eA==?=", "line\nbreak", "\x7f", "tab\t"};
	static const char *const foreign[][2] = {{"=?UTF-8?Q?a_=C3=A4?=", "a \xc3\xa4"},
		{"=?utf-8?b?eA==?= =?UTF-8?Q?y?=", "xy"}, {"=?UTF-8?B?%%%?=", "=?UTF-8?B?%%%?="},
		{"=?ISO-8859-1?Q?=E4?=", "=?ISO-8859-1?Q?=E4?="},
		{"=?UTF-8?Q?=0?=", "=?UTF-8?Q?=0?="}, {"=?UTF-8?", "=?UTF-8?"},
		{"=?UTF-8?Q?=00?=", "=?UTF-8?Q?=00?="}};

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		char *to, *back;

		assert_true(s3_meta_encode(texts[i], &to));
		for (const char *c = to; *c; c++)
			assert_true(*c >= 0x20 && *c < 0x7f);
		assert_true(s3_meta_decode(to, &back));
		assert_string_equal(back, texts[i]);
		free(to);
		free(back);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(foreign); i++) {
		char *back;

		assert_true(s3_meta_decode(foreign[i][0], &back));
		assert_string_equal(back, foreign[i][1]);
		free(back);
	}
}

static int setup(void **state)
{
	int fd;

	scratch_name(secret_file, sizeof(secret_file), "secret");
	fd = mkstemp(secret_file);
	if (fd < 0 || write(fd, "secret\n", 7) != 7 || close(fd))
		return -1;
	return web_start(&script.web, AF_INET, script_serve) ? 0 : -1;
}

static int teardown(void **state)
{
	web_stop(&script.web);
	return unlink(secret_file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_region_is_learned),
		cmocka_unit_test(the_bucket_has_its_place),
		cmocka_unit_test(a_wrong_clock_is_corrected),
		cmocka_unit_test(a_wrong_clock_without_words),
		cmocka_unit_test(a_secret_that_changed_is_read_again),
		cmocka_unit_test(errors_have_their_kinds),
		cmocka_unit_test(a_directory_may_not_be_empty),
		cmocka_unit_test(an_object_may_have_no_place),
		cmocka_unit_test(a_strange_404_is_no_absence),
		cmocka_unit_test(lost_writes_are_unknown),
		cmocka_unit_test(wrong_bytes_are_never_returned),
		cmocka_unit_test(whole_objects_are_checked),
		cmocka_unit_test(a_put_says_it_all),
		cmocka_unit_test(a_customers_key_goes_with_everything),
		cmocka_unit_test(conditions_fail_in_their_ways),
		cmocka_unit_test(bytes_are_signed),
		cmocka_unit_test(the_server_compares),
		cmocka_unit_test(checksums_fall_back),
		cmocka_unit_test(version_tells_the_parts),
		cmocka_unit_test(errors_hide_in_a_200),
		cmocka_unit_test(a_copy_keeps_what_it_is_not_told),
		cmocka_unit_test(classes_change_under_a_condition),
		cmocka_unit_test(classes_change_by_the_users_word),
		cmocka_unit_test(large_copies_go_by_parts),
		cmocka_unit_test(metadata_changes_by_a_copy),
		cmocka_unit_test(conditions_that_do_not_hold),
		cmocka_unit_test(aws_is_not_asked),
		cmocka_unit_test(asked_ahead),
		cmocka_unit_test(a_failed_question_is_no_answer),
		cmocka_unit_test(where_we_may_not_ask),
		cmocka_unit_test(only_errors_for_conditions),
		cmocka_unit_test(answers_are_remembered),
		cmocka_unit_test(archives_tell_their_state),
		cmocka_unit_test(restores_are_asked_for),
		cmocka_unit_test(restores_are_lengthened),
		cmocka_unit_test(a_page_has_everything),
		cmocka_unit_test(list_behind_a_name),
		cmocka_unit_test(bad_pages_are_refused),
		cmocka_unit_test(what_has_no_version_is_not_shown),
		cmocka_unit_test(what_has_no_version_is_not_overwritten),
		cmocka_unit_test(uploads_and_buckets_come_in_pages),
		cmocka_unit_test(unusable_names_are_not_listed),
		cmocka_unit_test(removals_come_in_batches),
		cmocka_unit_test(buckets_are_made_where_they_belong),
		cmocka_unit_test(life_cycles_are_json_here),
		cmocka_unit_test(metadata_survives_the_header),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
