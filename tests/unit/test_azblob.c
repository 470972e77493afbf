/* SPDX-License-Identifier: MIT */
/* The Azure driver against answers that real servers seldom give, and against those of bad ones. */
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
#include "store/azblob_priv.h"

#define ID	"x-ms-request-id: R1\r\n"
#define TIME	"Last-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n"
#define E1	ID "ETag: \"e1\"\r\n" TIME
#define E2	ID "ETag: \"e2\"\r\n" TIME
#define HEAD_OK E1 "Content-Length: 5\r\nx-ms-access-tier: Hot\r\n"
#define CODE(c) ID "x-ms-error-code: " c "\r\n"
#define HELLO	"/acc/bucket/key"
#define XML	"<?xml version=\"1.0\" encoding=\"utf-8\"?>"
#define BLOCKS(committed, waiting)                                                                 \
	"\xef\xbb\xbf" XML "<BlockList><CommittedBlocks>" committed "</CommittedBlocks>"           \
	"<UncommittedBlocks>" waiting "</UncommittedBlocks></BlockList>"
#define BLOCK(id, size) "<Block><Name>" id "</Name><Size>" size "</Size></Block>"

static const struct store_obj key = {"bucket", "key"};
static char dir[64], key_file[80], secret_file[80];
static struct err err;

static void file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* ---- a driver ---- */

static struct azblob_conf plain_conf(void)
{
	static const char *const classes[] = {"Hot", "Cool", "Cold", "Archive"};
	struct azblob_conf c = {.name = "r", .verify = true};

	snprintf(c.base, sizeof(c.base), "http://127.0.0.1:%u/acc", script.web.port);
	for (unsigned i = 0; i < TIER_N; i++)
		snprintf(c.classes[i].name, sizeof(c.classes[i].name), "%s", classes[i]);
	c.classes[TIER_ARCHIVE].offline = true;
	return c;
}

static struct store *driver_with(struct azblob_cred_conf cred)
{
	struct azblob_conf c = plain_conf();
	struct store *s = NULL;

	assert_int_equal(store_azblob_new(&c, &cred, &s, &err), 0);
	return s;
}

static struct store *driver(void)
{
	return driver_with((struct azblob_cred_conf){
		.auth = AZ_AUTH_KEY, .account = strdup("acc"), .key = {.file = strdup(key_file)}});
}

static errint_t get(
	struct store *s, const char *match, uint64_t off, char *p, size_t len, size_t *n)
{
	return store_get(s, NULL, key, match, off, p, len, n, &err);
}

static void end(struct store *s)
{
	store_destroy(s);
	script_done();
}

/* ---- errors ---- */

static const struct {
	const char *method;
	struct step step;
	errint_t r;
	enum err_kind kind;
} errors[] = {
	{"GET", {"GET", 404, CODE("BlobNotFound")}, -ENOENT, ERR_NOT_FOUND},
	{"GET", {"GET", 404, ID}, -ENOENT, ERR_NOT_FOUND},
	{"GET", {"GET", 404, NULL, "<html>not here</html>"}, -EIO, ERR_FINAL},
	{"GET", {"GET", 404, NULL, XML "<Error><Code>ContainerNotFound</Code></Error>"}, -ENOENT,
		ERR_NOT_FOUND},
	{"GET", {"GET", 403, CODE("AuthorizationPermissionMismatch")}, -EACCES, ERR_AUTH},
	{"GET", {"GET", 401, CODE("InvalidAuthenticationInfo")}, -EACCES, ERR_AUTH},
	{"GET", {"GET", 412, CODE("ConditionNotMet")}, -ESTALE, ERR_STALE},
	{"GET", {"GET", 409, CODE("BlobArchived")}, -EIO, ERR_ARCHIVED},
	{"GET", {"GET", 500, CODE("InternalError")}, -EIO, ERR_RETRY},
	{"GET", {"GET", 502, NULL, "bad gateway"}, -EIO, ERR_RETRY},
	{"GET", {"GET", 503, CODE("ServerBusy")}, -EBUSY, ERR_THROTTLE},
	{"GET", {"GET", 429, NULL}, -EBUSY, ERR_THROTTLE},
	{"GET", {"GET", 307, "Location: http://127.0.0.1:1/\r\n"}, -EIO, ERR_FINAL},
	{"PUT", {"PUT", 500, CODE("OperationTimedOut")}, -EIO, ERR_UNKNOWN},
	{"PUT", {"PUT", 500, ID}, -EIO, ERR_UNKNOWN},
	{"PUT", {"PUT", 503, "Retry-After: 3\r\n" CODE("ServerBusy")}, -EBUSY, ERR_THROTTLE},
	{"PUT", {"PUT", 409, CODE("BlobAlreadyExists")}, -EEXIST, ERR_STALE},
	{"PUT", {"PUT", 400, CODE("Md5Mismatch")}, -EBADMSG, ERR_RETRY},
	{"PUT", {"PUT", 400, CODE("InvalidHeaderValue")}, -EINVAL, ERR_FINAL},
	{"PUT", {"PUT", 413, CODE("RequestBodyTooLarge")}, -EFBIG, ERR_FINAL},
	{"PUT", {"PUT", 412, CODE("LeaseIdMissing")}, -EBUSY, ERR_RETRY},
	{"PUT", {"PUT", 409, CODE("BlobImmutableDueToPolicy")}, -EPERM, ERR_FINAL},
	{"PUT", {"PUT", 501, CODE("NotImplemented")}, -EOPNOTSUPP, ERR_FINAL},
	/* done, but by whom, or which version it made, is not told */
	{"PUT", {"PUT", 201, "ETag: \"e\"\r\n" TIME}, -EBADMSG, ERR_UNKNOWN},
	{"PUT", {"PUT", 201, ID TIME}, -EBADMSG, ERR_UNKNOWN},
	{"PUT", {"PUT", 201, ID "ETag: \"\"\r\n" TIME}, -EBADMSG, ERR_UNKNOWN},
	{"PUT", {.want = "PUT", .raw = "HTTP/1.1 201 X\r\nContent-"}, -EBADMSG, ERR_UNKNOWN},
	{"PUT", {.want = "PUT", .raw = ""}, -ECONNRESET, ERR_UNKNOWN},
	{"DELETE", {"DELETE", 409, CODE("SnapshotsPresent")}, -EBUSY, ERR_FINAL},
	{"DELETE", {"DELETE", 409, CODE("SomethingNew")}, -EIO, ERR_FINAL},
};

static void errors_have_a_meaning(void **state)
{
	struct store *s = driver();
	char b[8];
	size_t n;

	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		errint_t r;

		script_set(&errors[i].step, 1);
		if (errors[i].method[0] == 'G')
			r = get(s, NULL, 0, b, sizeof(b), &n);
		else if (errors[i].method[0] == 'P')
			r = store_put(s, NULL, key, "hello", 5, NULL, NULL, &err);
		else
			r = store_remove(s, NULL, key, NULL, &err);
		script_done();
		if (err.kind != errors[i].kind ||
			(r != errors[i].r && errors[i].r != -EBADMSG && errors[i].r != -ECONNRESET))
			fail_msg("case %u: %d, %s: %s", i, r, err_kind_name(err.kind), err.msg);
	}
	store_destroy(s);
}

static void errors_tell_where(void **state)
{
	SCRIPT({"PUT", 503, "Retry-After: 3\r\n" CODE("ServerBusy"),
		XML "<Error><Code>ServerBusy</Code><Message>Too much.\nTime: x</Message></Error>"});
	struct store *s = driver();

	(void)store_put(s, NULL, key, "x", 1, NULL, NULL, &err);
	assert_int_equal(err.retry_after_ms, 3000);
	assert_string_equal(err.code, "ServerBusy");
	assert_string_equal(err.request_id, "R1");
	assert_string_equal(err.msg, "r: put bucket/key: 503 ServerBusy: Too much. (request R1)");
	end(s);
}

/* ---- reading ---- */

static void bad_ranges(void **state)
{
	static const struct step bad[] = {
		{"GET", 206, E1 "Content-Range: bytes 1-5/9\r\n", "hello"},
		{"GET", 206, E1 "Content-Range: bytes 0-5/9\r\n", "hello!"},
		{"GET", 206, E1 "Content-Range: bytes 0-3/9\r\n", "hell"},
		{"GET", 206, E1 "Content-Range: bytes 0-4/*\r\n", "hello"},
		{"GET", 206, E1 "Content-Range: pages 0-4/5\r\n", "hello"},
		{"GET", 206, E1, "hello"},
		{"GET", 206, E2 "Content-Range: bytes 0-4/9\r\n", "hello"},
		{"GET", 206, ID TIME "Content-Range: bytes 0-4/9\r\n", "hello"},
		{"GET", 206, E1 "Content-Range: bytes 0-4/9\r\n", "hell"},
		{"GET", 200, E1, "hello world, more than was asked for"},
		{"GET", 206,
			E1
			"Content-Range: bytes 0-4/5\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
			"hello"},
		{"GET", 206, E1 "Content-Range: bytes 0-4/5\r\nContent-MD5: hello\r\n", "hello"},
		{"GET", 206,
			E1 "Content-Range: bytes 0-4/5\r\nx-ms-content-crc64: AAAAAAAAAAA=\r\n",
			"hello"},
		{.want = "GET",
			.raw = "HTTP/1.1 206 X\r\n" E1
			       "Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhe"},
	};
	struct store *s = driver();

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char b[8];
		size_t n;
		errint_t r;

		script_set(&bad[i], 1);
		r = get(s, "e1", 0, b, 5, &n);
		script_done();
		if (!r || n || err.kind != ERR_RETRY)
			fail_msg("answer %u was taken: %d %s", i, r, err.msg);
	}
	store_destroy(s);
}

static void good_ranges(void **state)
{
	SCRIPT({"GET", 206,
		       E1 "Content-Range: bytes 0-4/5\r\nContent-MD5: XUFAKrxLKna5cZ2REBfFkg==\r\n",
		       "hello"},
		{"GET", 200, E1, "hello"}, {"GET", 416, CODE("InvalidRange")},
		{"GET", 206, E1 "Content-Range: bytes 5-4/5\r\n"});
	struct store *s = driver();
	char b[8];
	size_t n;

	assert_int_equal(get(s, "e1", 0, b, 5, &n), 0);
	assert_int_equal(n, 5);
	assert_string_equal(script_field(0, "if-match"), "\"e1\"");
	assert_string_equal(script_field(0, "x-ms-range"), "bytes=0-4");
	assert_int_equal(get(s, NULL, 0, b, 8, &n), 0);
	assert_int_equal(n, 5);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(get(s, NULL, 5, b, 8, &n), 0);
		assert_int_equal(n, 0);
	}
	end(s);
}

static void unknown_checksums_are_given_up(void **state)
{
	SCRIPT({"GET", 400, CODE("UnsupportedHeader")}, {"GET", 400, CODE("UnsupportedHeader")},
		{"GET", 200, E1, "hello"}, {"GET", 200, E1, "hello"});
	struct store *s = driver();
	char b[8];
	size_t n;

	assert_int_equal(get(s, NULL, 0, b, 8, &n), 0);
	assert_int_equal(get(s, NULL, 0, b, 8, &n), 0);
	assert_string_equal(script_field(0, "x-ms-range-get-content-crc64"), "true");
	assert_string_equal(script_field(1, "x-ms-range-get-content-md5"), "true");
	assert_null(script_field(3, "x-ms-range-get-content-md5"));
	end(s);
}

/* ---- listing ---- */

#define PAGE(blobs, next)                                                                          \
	XML "<EnumerationResults><Blobs>" blobs "</Blobs><NextMarker>" next "</NextMarker>"        \
	    "</EnumerationResults>"
#define ONE(name, more)                                                                            \
	"<Blob><Name>" name "</Name><Properties><Last-Modified>Fri, 02 Jan 2026 03:04:05 GMT"      \
	"</Last-Modified><Etag>0x1</Etag><Content-Length>3</Content-Length>" more                  \
	"</Properties></Blob>"
#define LIST "GET /acc/bucket?restype=container&comp=list"

static void bad_lists(void **state)
{
	static const char *const bad[] = {"", "hello", XML "<Other/>", XML "<EnumerationResults/>",
		"<!DOCTYPE x [<!ENTITY e \"x\">]><EnumerationResults><Blobs/></EnumerationResults>",
		PAGE("<Blob/>", ""), PAGE("<Blob><Name>a</Name></Blob>", ""), PAGE(ONE("", ""), ""),
		PAGE(ONE("b", ""), ""),				     /* the prefix is a */
		PAGE(ONE("a1", "") ONE("a2", "") ONE("a3", ""), ""), /* two were asked for */
		PAGE("<BlobPrefix><Name>a</Name></BlobPrefix>", ""),
		PAGE("<BlobPrefix><Name>ab</Name></BlobPrefix>", ""),
		PAGE("<Blob><Name Encoded=\"true\">a%zz</Name></Blob>", ""),
		PAGE(ONE("a1", ""), "m") "x"};
	struct store *s = driver();

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct step step = {LIST, 200, ID, bad[i]};
		struct store_page page;
		errint_t r;

		script_set(&step, 1);
		r = store_list(s, NULL, "bucket", "a", '/', "", 2, &page, &err);
		script_done();
		if (!r || err.kind != ERR_RETRY)
			fail_msg("list %u was taken: %d %s", i, r, err.msg);
	}
	store_destroy(s);
}

static void lists_in_circles_end(void **state)
{
	SCRIPT({LIST, 200, ID, PAGE("", "m")}, {LIST, 200, ID, PAGE("", "m")},
		{"GET /acc/?comp=list ", 200, ID,
			XML "<EnumerationResults><Containers/><NextMarker>c</NextMarker>"
			    "</EnumerationResults>"},
		{"GET /acc/?comp=list&marker=c ", 200, ID,
			XML "<EnumerationResults><Containers/><NextMarker>c</NextMarker>"
			    "</EnumerationResults>"});
	struct store *s = driver();
	struct store_page page;
	char **names;
	size_t n;

	assert_int_equal(store_list(s, NULL, "bucket", "a", '/', "", 2, &page, &err), -EBADMSG);
	assert_int_equal(store_bucket_list(s, NULL, &names, &n, &err), -EBADMSG);
	end(s);
}

static void lists_tell_all(void **state)
{
	SCRIPT({LIST, 200, ID, PAGE("", "next!")},
		{LIST, 200, ID,
			"\xef\xbb\xbf" PAGE("<BlobPrefix><Name>a/z/</Name></BlobPrefix>" ONE("a/b",
						    "<AccessTier>Archive</"
						    "AccessTier><ArchiveStatus>"
						    "rehydrate-pending-to-cool</"
						    "ArchiveStatus>") "<Blob><Name "
								      "Encoded=\"true\">a/"
								      "%EF%BF%BE</"
								      "Name><Properties>"
								      "<Last-Modified>Fri, "
								      "02 Jan 2026 03:04:05 "
								      "GMT</Last-Modified>"
								      "<Etag>\"0x2\"</"
								      "Etag><Content-Length>"
								      "0</Content-Length>"
								      "<AccessTier>Cool</"
								      "AccessTier></"
								      "Properties><Metadata>"
								      "<Astra_Write>1.2</"
								      "Astra_Write><x-ms-"
								      "invalid-name>q"
								      "</"
								      "x-ms-invalid-name></"
								      "Metadata></Blob>" ONE("a/y",
									      "<ResourceType"
									      ">directory</"
									      "ResourceType"
									      ">"),
				"more")});
	struct store *s = driver();
	struct store_page page;

	assert_int_equal(store_list(s, NULL, "bucket", "a/", '/', "", 9, &page, &err), 0);
	assert_int_equal(page.n, 4);
	assert_string_equal(page.e[0].key, "a/b");
	assert_true(page.e[0].archived && page.e[0].restoring);
	assert_string_equal(page.e[0].etag, "0x1");
	assert_true(page.e[1].is_prefix && !strcmp(page.e[1].key, "a/y/"));
	assert_true(page.e[2].is_prefix && !strcmp(page.e[2].key, "a/z/"));
	assert_string_equal(page.e[3].key, "a/\xef\xbf\xbe");
	assert_string_equal(page.e[3].class_name, "Cool");
	assert_int_equal(page.e[3].nmeta, 1);
	assert_string_equal(page.e[3].meta[0].key, "astra-write");
	assert_true(page.truncated && !strcmp(page.next, "mmore"));
	store_page_done(&page);
	end(s);
}

/* What was in it has gone, and it stays where the account has directories. */
static void the_hidden_directory_is_not_listed(void **state)
{
	SCRIPT({LIST, 200, ID,
		PAGE(ONE(".astra-tmp", "<ResourceType>directory</ResourceType>") ONE("a", ""),
			"")});
	struct store *s = driver();
	struct store_page page;

	assert_int_equal(store_list(s, NULL, "bucket", "", '/', "", 9, &page, &err), 0);
	assert_int_equal(page.n, 1);
	assert_string_equal(page.e[0].key, "a");
	store_page_done(&page);
	end(s);
}

/* ---- tiers ---- */

static void tier_of_another_version(void **state)
{
	SCRIPT({"HEAD", 200, HEAD_OK}, {"PUT " HELLO "?comp=tier ", 200, ID},
		{"HEAD", 412, CODE("ConditionNotMet")}, {"HEAD", 412, CODE("ConditionNotMet")});
	struct store *s = driver();

	assert_int_equal(store_set_tier(s, NULL, key, "Cool", "e1", NULL, &err), -ESTALE);
	assert_string_equal(script_field(1, "x-ms-access-tier"), "Cool");
	assert_int_equal(store_set_tier(s, NULL, key, "Cool", "e1", NULL, &err), -ESTALE);
	end(s);
}

#define COLD   E1 "Content-Length: 5\r\nx-ms-access-tier: Archive\r\n"
#define WAKING COLD "x-ms-archive-status: rehydrate-pending-to-cool\r\n"

static void rehydration(void **state)
{
	SCRIPT({"HEAD", 200, COLD}, {"PUT " HELLO "?comp=tier ", 202, ID}, {"HEAD", 200, WAKING},
		{"HEAD", 200, WAKING}, {"HEAD", 200, WAKING}, {"HEAD", 200, COLD},
		{"PUT " HELLO "?comp=tier ", 409, CODE("BlobBeingRehydrated")});
	struct store *s = driver();

	assert_int_equal(store_set_tier(s, NULL, key, "Cool", "e1", NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_string_equal(script_field(1, "x-ms-rehydrate-priority"), "Standard");
	assert_int_equal(store_set_tier(s, NULL, key, "Cool", "e1", NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_ARCHIVED);
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0); /* under way */
	assert_int_equal(store_restore(s, NULL, key, 3, &err), 0);
	end(s);
}

static void overwriting_what_is_offline(void **state)
{
	SCRIPT({"PUT " HELLO " ", 409, CODE("BlobArchived")}, {"HEAD", 200, COLD},
		{"DELETE " HELLO " ", 202, ID}, {"PUT " HELLO " ", 201, E2},
		/* another version is there by now: nothing is removed */
		{"PUT " HELLO " ", 409, CODE("BlobArchived")}, {"HEAD", 200, COLD},
		/* absent was asked for */
		{"PUT " HELLO " ", 409, CODE("BlobArchived")}, {"HEAD", 200, COLD});
	struct store *s = driver();
	struct store_put match = {.if_match = "e1"}, other = {.if_match = "e0"},
			 absent = {.if_none_match = STORE_IF_ABSENT};

	assert_int_equal(store_put(s, NULL, key, "x", 1, &match, NULL, &err), 0);
	assert_string_equal(script_field(2, "if-match"), "\"e1\"");
	assert_string_equal(script_field(3, "if-none-match"), "*");
	assert_int_equal(store_put(s, NULL, key, "x", 1, &other, NULL, &err), -ESTALE);
	assert_int_equal(store_put(s, NULL, key, "x", 1, &absent, NULL, &err), -EEXIST);
	end(s);
}

/* The service says of a version that is gone that the condition does not hold, as of another one.
 */
static void removed_already(void **state)
{
	SCRIPT({"DELETE " HELLO " ", 412, CODE("ConditionNotMet")},
		{"HEAD " HELLO " ", 404, CODE("BlobNotFound")},
		{"DELETE " HELLO " ", 412, CODE("ConditionNotMet")},
		{"HEAD " HELLO " ", 200, HEAD_OK},
		{"DELETE " HELLO " ", 412, CODE("ConditionNotMet")},
		{"HEAD " HELLO " ", 503, CODE("ServerBusy")});
	struct store *s = driver();

	assert_int_equal(store_remove(s, NULL, key, "e0", &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(store_remove(s, NULL, key, "e0", &err), -ESTALE);
		assert_int_equal(err.kind, ERR_STALE);
	}
	end(s);
}

/* ---- blocks ---- */

#define LIST_BLOCKS "GET " HELLO "?comp=blocklist&blocklisttype=all "
#define COMMIT	    "PUT " HELLO "?comp=blocklist "
#define TWO	    BLOCK("AAAAAAAAAAAAAAAAAAAAAAAA", "100") BLOCK("BAAAAAAAAAAAAAAAAAAAAAAA", "100")

static void lost_blocks_are_not_found(void **state)
{
	SCRIPT({LIST_BLOCKS, 404, CODE("BlobNotFound")}, {"PUT " HELLO "?comp=block&", 201, ID},
		{COMMIT, 400, CODE("InvalidBlockList")}, {LIST_BLOCKS, 404, CODE("BlobNotFound")});
	struct store_put put = {.if_none_match = STORE_IF_ABSENT};
	struct store *s = driver();
	char id[STORE_UPLOAD_MAX];
	struct store_part p;

	assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), 0);
	assert_int_equal(
		store_part_put(s, NULL, key, id, 1, "x", 1, crc32c(0, "x", 1), &p, &err), 0);
	assert_int_equal(store_parts_finish(s, NULL, key, id, &p, 1, &put, NULL, &err), -ENOENT);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(store_parts_abort(s, NULL, key, id, &err), -ENOENT);
	end(s);
}

static void blocks_of_others_are_waited_for(void **state)
{
	SCRIPT({LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAA", "7"))},
		{LIST_BLOCKS, 404, CODE("ContainerNotFound")},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("====", "7"))},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAA", "-7"))});
	struct store_put put = {.if_none_match = STORE_IF_ABSENT};
	struct store *s = driver();
	char id[STORE_UPLOAD_MAX];

	assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), -EBUSY);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), -ENOENT);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), -EBADMSG);
	end(s);
}

static void a_commit_is_looked_at(void **state)
{
	SCRIPT({LIST_BLOCKS, 404, CODE("BlobNotFound")}, {"PUT " HELLO "?comp=block&", 201, ID},
		{COMMIT, 201, E2}, {LIST_BLOCKS, 200, E2, BLOCKS(TWO, "")});
	struct store_put put = {.if_none_match = STORE_IF_ABSENT};
	struct store *s = driver();
	char id[STORE_UPLOAD_MAX];
	struct store_part p;

	assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), 0);
	assert_int_equal(
		store_part_put(s, NULL, key, id, 1, "x", 1, crc32c(0, "x", 1), &p, &err), 0);
	assert_int_equal(store_parts_finish(s, NULL, key, id, &p, 1, &put, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN); /* done, with something else in it */
	end(s);
}

#define TAKEN "PUT " HELLO " ", 409, CODE("BlobAlreadyExists")

/* A killed upload left blocks: where they alone make a name taken, a commit decides. What is left
 * open is not for a conflict. */
static void a_name_with_blocks_is_free(void **state)
{
	SCRIPT({TAKEN}, {"HEAD " HELLO " ", 404, CODE("BlobNotFound")},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAAAAAAAAAA", "7"))},
		{"PUT " HELLO "?comp=block&", 201, ID}, {COMMIT, 201, E2},
		/* no byte, no block */
		{TAKEN}, {"HEAD " HELLO " ", 404, CODE("BlobNotFound")},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAAAAAAAAAA", "7"))}, {COMMIT, 201, E2},
		/* somebody else's came meanwhile */
		{TAKEN}, {"HEAD " HELLO " ", 404, CODE("BlobNotFound")},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAAAAAAAAAA", "7"))},
		{"PUT " HELLO "?comp=block&", 201, ID}, {COMMIT, 409, CODE("BlobAlreadyExists")},
		/* and its blocks took ours along */
		{TAKEN}, {"HEAD " HELLO " ", 404, CODE("BlobNotFound")},
		{LIST_BLOCKS, 200, ID, BLOCKS("", BLOCK("AAAAAAAAAAAA", "7"))},
		{"PUT " HELLO "?comp=block&", 201, ID}, {COMMIT, 400, CODE("InvalidBlockList")},
		/* there is a blob */
		{TAKEN}, {"HEAD " HELLO " ", 200, HEAD_OK},
		/* there may be one */
		{TAKEN}, {"HEAD " HELLO " ", 503, CODE("ServerBusy")});
	static const struct {
		size_t len;
		errint_t r;
		enum err_kind kind;
	} want[] = {{5, 0, ERR_NONE}, {0, 0, ERR_NONE}, {5, -EEXIST, ERR_STALE},
		{5, -EAGAIN, ERR_RETRY}, {5, -EEXIST, ERR_STALE}, {5, -EBUSY, ERR_THROTTLE}};
	struct store_meta meta = {"a", "b"};
	struct store_put put = {
		.if_none_match = STORE_IF_ABSENT, .class_name = "Cool", .meta = &meta, .nmeta = 1};
	struct store *s = driver();
	struct store_stat st;

	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		errint_t r = store_put(s, NULL, key, "hello", want[i].len, &put, &st, &err);

		assert_int_equal(r, want[i].r);
		if (r) {
			assert_int_equal(err.kind, want[i].kind);
			continue;
		}
		assert_int_equal(st.size, want[i].len);
		assert_string_equal(st.etag, "e2");
		store_stat_done(&st);
	}
	assert_string_equal(script_field(4, "if-none-match"), "*");
	assert_string_equal(script_field(4, "x-ms-access-tier"), "Cool");
	assert_string_equal(script_field(4, "x-ms-meta-a"), "b");
	assert_string_equal(script_field(4, "x-ms-blob-content-md5"), "XUFAKrxLKna5cZ2REBfFkg==");
	assert_null(strstr(script.seen[8].body, "Uncommitted"));
	end(s);
}

/* Whole blocks of the blob itself are named again; others are copied. */
static void own_blocks_are_kept(void **state)
{
	SCRIPT({"HEAD", 200, E1 "Content-Length: 200\r\n"}, /* is it offline? */
		{LIST_BLOCKS, 200, E1, BLOCKS(TWO, "")},
		{"HEAD", 200, E1 "Content-Length: 200\r\n"}, /* how long is it? */
		{LIST_BLOCKS, 200, E1, BLOCKS(TWO, "")}, {"PUT " HELLO "?comp=block&", 201, ID},
		{LIST_BLOCKS, 200, E1, BLOCKS(TWO, "")}, {COMMIT, 201, E2},
		{LIST_BLOCKS, 200, "x-ms-request-id: R1\r\nETag: \"e3\"\r\n" TIME, BLOCKS("", "")});
	struct store_put put = {.if_match = "e1"};
	struct store *s = driver();
	struct store_part p[3];
	char id[STORE_UPLOAD_MAX];
	struct store_stat st;

	assert_int_equal(store_parts_begin(s, NULL, key, &put, id, &err), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(store_part_copy(s, NULL, key, "e1", 100 * i, 100, key, id, i + 1,
					 &p[i], &err),
			0);
	assert_int_equal(store_part_copy(s, NULL, key, "e1", 50, 100, key, id, 3, &p[2], &err), 0);
	assert_non_null(strstr(script_field(4, "x-ms-copy-source"), HELLO "?st="));
	assert_string_equal(script_field(4, "x-ms-source-range"), "bytes=50-149");
	assert_int_equal(store_parts_finish(s, NULL, key, id, p, 3, &put, &st, &err), 0);
	assert_int_equal(st.size, 300);
	assert_non_null(strstr(script.seen[6].body,
		"<BlockList><Committed>AAAAAAAAAAAAAAAAAAAAAAAA</Committed><Committed>"
		"BAAAAAAAAAAAAAAAAAAAAAAA</Committed><Uncommitted>"));
	assert_string_equal(script_field(6, "if-match"), "\"e1\"");
	end(s);
}

/* A large copy goes on with the blocks that an earlier try left. */
static void copies_go_on(void **state)
{
	static char lines[200], xml[400], id[100];
	struct store_obj to = {"bucket", "to"};
	struct store *s = driver();
	struct step first[] = {{"HEAD", 200, lines},
		{"GET /acc/bucket/to?comp=blocklist", 404, CODE("BlobNotFound")},
		{"PUT /acc/bucket/to?comp=block&", 201, ID},
		{"PUT /acc/bucket/to?comp=block&", 500, CODE("InternalError")}};
	struct step second[] = {{"HEAD", 200, lines},
		{"GET /acc/bucket/to?comp=blocklist", 200, ID, xml},
		{"PUT /acc/bucket/to?comp=block&", 201, ID},
		{"PUT /acc/bucket/to?comp=blocklist ", 412, CODE("ConditionNotMet")}};
	const char *at;

	snprintf(lines, sizeof(lines), E1 "Content-Length: %u\r\n", 300u << 20);
	script_set(first, 4);
	assert_int_equal(store_copy(s, NULL, key, to, NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY); /* nothing was committed */
	script_done();
	at = strstr(script.seen[2].head, "blockid=") + 8;
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, " "), at);
	{
		cleanup_buf struct buf plain = BUF_INIT(100);

		assert_int_equal(net_url_decode(&plain, id, strlen(id)), 0);
		snprintf(xml, sizeof(xml),
			XML "<BlockList><UncommittedBlocks><Block><Name>%s</Name><Size>%u</Size>"
			    "</Block></UncommittedBlocks></BlockList>",
			plain.p, 256u << 20);
	}
	script_set(second, 4);
	assert_int_equal(store_copy(s, NULL, key, to, NULL, NULL, &err), -ESTALE);
	assert_string_equal(script_field(2, "x-ms-source-range"), "bytes=268435456-314572799");
	end(s);
}

/* ---- containers ---- */

static void full_containers_stay(void **state)
{
	SCRIPT({LIST, 200, ID, PAGE(ONE("a", ""), "")}, {LIST, 200, ID, PAGE("", "m")},
		{LIST, 200, ID, "nonsense"}, {LIST, 200, ID, PAGE("", "")},
		{"DELETE /acc/bucket?restype=container ", 202, ID});
	struct store *s = driver();

	assert_int_equal(store_bucket_remove(s, NULL, "bucket", &err), -ENOTEMPTY);
	assert_int_equal(store_bucket_remove(s, NULL, "bucket", &err), -ENOTEMPTY);
	assert_int_equal(store_bucket_remove(s, NULL, "bucket", &err), -EBADMSG);
	assert_int_equal(store_bucket_remove(s, NULL, "bucket", &err), 0);
	end(s);
}

/* ---- authorisation ---- */

#define TOKEN(t, s) "{\"access_token\":\"" t "\",\"expires_in\":" s "}"
#define ASK	    "POST /ten/oauth2/v2.0/token "

static struct store *driver_client(void)
{
	struct azblob_cred_conf c = {.auth = AZ_AUTH_CLIENT,
		.tenant = strdup("ten"),
		.client = strdup("cli"),
		.client_secret = {.file = strdup(secret_file)}};

	assert_true(asprintf(&c.authority, "http://127.0.0.1:%u", script.web.port) > 0);
	return driver_with(c);
}

static errint_t head(struct store *s)
{
	struct store_stat st;
	errint_t r = store_head(s, NULL, key, &st, &err);

	store_stat_done(&st);
	return r;
}

static void tokens_are_kept_and_renewed(void **state)
{
	SCRIPT({ASK, 200, NULL, TOKEN("T1", "3600")}, {"HEAD", 200, HEAD_OK},
		{"HEAD", 401, CODE("InvalidAuthenticationInfo")},
		{ASK, 200, NULL, TOKEN("T2", "\"3600\"")}, {"HEAD", 200, HEAD_OK},
		{"HEAD", 401, CODE("InvalidAuthenticationInfo")},
		{ASK, 200, NULL, TOKEN("T3", "3600")}, {"HEAD", 401, CODE("Nonsense")});
	struct store *s = driver_client();

	assert_int_equal(head(s), 0);
	assert_string_equal(script_field(1, "authorization"), "Bearer T1");
	assert_string_equal(script.seen[0].body,
		"grant_type=client_credentials&client_id=cli&scope=https%3A%2F%2Fstorage.azure.com"
		"%2F.default&client_secret=s%263%2B");
	assert_int_equal(head(s), 0);
	assert_string_equal(script_field(4, "authorization"), "Bearer T2");
	assert_int_equal(head(s), -EACCES); /* once is enough */
	assert_int_equal(err.kind, ERR_AUTH);
	end(s);
}

static void tokens_that_do_not_come(void **state)
{
	SCRIPT({ASK, 401, NULL,
		"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: no."
		"\\nTrace ID\"}"});
	static const struct step bad[] = {{ASK, 500, NULL}, {ASK, 429, "Retry-After: 2\r\n"},
		{ASK, 200, NULL, "{}"}, {ASK, 200, NULL, "nonsense"},
		{ASK, 200, NULL, TOKEN("a\\nb", "60")}, {.want = ASK, .raw = ""}};
	struct store *s = driver_client();

	assert_int_equal(head(s), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_non_null(strstr(err.msg, "invalid_client: AADSTS7000215: no."));
	assert_null(strstr(err.msg, "Trace"));
	assert_null(strstr(err.msg, "s&3+"));
	assert_int_equal(head(s), -EACCES); /* told again for a second, not asked */
	end(s);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		s = driver_client();
		script_set(&bad[i], 1);
		assert_true(head(s) < 0);
		assert_int_equal(err.kind, ERR_RETRY);
		end(s);
	}
}

static void a_token_that_has_ended(void **state)
{
	SCRIPT({ASK, 200, NULL, TOKEN("T", "0")});
	struct store *s = driver_client();

	assert_int_equal(head(s), -EACCES);
	end(s);
}

static void a_changed_key_is_read(void **state)
{
	SCRIPT({"HEAD", 200, HEAD_OK}, {"HEAD", 200, HEAD_OK});
	struct store *s = driver();
	char first[300];

	assert_int_equal(head(s), 0);
	snprintf(first, sizeof(first), "%s", script_field(0, "authorization"));
	assert_true(!strncmp(first, "SharedKey acc:", 14));
	file_write(key_file, "b3RoZXI=\n");
	assert_int_equal(head(s), 0);
	assert_string_not_equal(first, script_field(1, "authorization"));
	file_write(key_file, "#private#");
	assert_int_equal(head(s), -EACCES);
	assert_int_equal(err.kind, ERR_AUTH);
	assert_null(strstr(err.msg, "private"));
	file_write(key_file, "");
	assert_int_equal(head(s), -EACCES);
	unlink(key_file);
	assert_int_equal(head(s), -ENOENT);
	assert_int_equal(err.kind, ERR_AUTH);
	file_write(key_file, "c2VjcmV0");
	end(s);
}

static void a_wrong_clock_is_corrected(void **state)
{
	SCRIPT({"HEAD", 403,
		       "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n" CODE("AuthenticationFailed")},
		{"HEAD", 200, HEAD_OK}, {"HEAD", 200, HEAD_OK});
	struct store *s = driver();

	assert_int_equal(head(s), 0);
	assert_int_equal(head(s), 0);
	for (unsigned i = 1; i < 3; i++)
		assert_true(!strncmp(script_field(i, "x-ms-date"), "Fri, 02 Jan 2026 03:04:", 23));
	end(s);
}

/* ---- renames ---- */

static const struct store_obj renamed = {"bucket", "d/b c"};

static struct store *dfs_driver(void)
{
	struct azblob_cred_conf cred = {
		.auth = AZ_AUTH_SAS, .sas = {.value = strdup("?sv=1&sig=a%2Fb")}};
	struct azblob_conf c = plain_conf();
	struct store *s = NULL;

	c.hns = 1;
	snprintf(c.dfs, sizeof(c.dfs), "http://127.0.0.1:%u/dfs/acc", script.web.port);
	assert_int_equal(store_azblob_new(&c, &cred, &s, &err), 0);
	return s;
}

static errint_t give_name(struct store *s, const char *over, struct store_stat *st)
{
	struct store_rename opt = {.src_if_match = "e1",
		.dst_if_match = over,
		.dst_if_none_match = over ? NULL : STORE_IF_ABSENT};

	return store_rename(s, NULL, (struct store_obj){"bucket", "a+%"}, renamed, &opt, st, &err);
}

static void renames_are_asked_of_the_data_lake(void **state)
{
	SCRIPT({"PUT /dfs/acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 201, ID},
		{"HEAD /acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 200, HEAD_OK},
		{"PUT /dfs/acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 201, ID},
		{"HEAD /acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 200, HEAD_OK});
	struct store *s = dfs_driver();
	struct store_stat st;

	assert_int_equal(give_name(s, NULL, &st), 0);
	assert_string_equal(st.etag, "e1");
	assert_int_equal(st.size, 5);
	store_stat_done(&st);
	assert_string_equal(
		script_field(0, "x-ms-rename-source"), "/bucket/a%2B%25?sv=1&sig=a%2Fb");
	assert_string_equal(script_field(0, "x-ms-source-if-match"), "\"e1\"");
	assert_string_equal(script_field(0, "if-none-match"), "*");
	assert_int_equal(give_name(s, "e9", NULL), 0);
	assert_string_equal(script_field(2, "if-match"), "\"e9\"");
	end(s);
}

static const struct {
	struct step step;
	errint_t r;
	enum err_kind kind;
	bool off; /* it is not asked again at once */
} rename_errors[] = {
	{{"PUT", 404, CODE("SourcePathNotFound")}, -ENOENT, ERR_NOT_FOUND},
	{{"PUT", 409, CODE("PathAlreadyExists")}, -EEXIST, ERR_STALE},
	{{"PUT", 412, CODE("ConditionNotMet")}, -EEXIST, ERR_STALE},
	{{"PUT", 412, CODE("SourceConditionNotMet")}, -ESTALE, ERR_STALE},
	{{"PUT", 409, CODE("InvalidSourceOrDestinationResourceType")}, -EOPNOTSUPP, ERR_FINAL},
	{{"PUT", 400, CODE("UnsupportedHeader")}, -EOPNOTSUPP, ERR_FINAL},
	{{"PUT", 503, CODE("ServerBusy")}, -EBUSY, ERR_THROTTLE},
	{{"PUT", 500, CODE("InternalError")}, -EIO, ERR_UNKNOWN},
	{{.want = "PUT", .raw = ""}, -ECONNRESET, ERR_UNKNOWN},
	{{"PUT", 403, CODE("AuthorizationPermissionMismatch")}, -EOPNOTSUPP, ERR_FINAL, true},
};

static void renames_that_fail(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rename_errors); i++) {
		struct store *s = dfs_driver();

		script_set(&rename_errors[i].step, 1);
		assert_int_equal(give_name(s, NULL, NULL), rename_errors[i].r);
		assert_int_equal(err.kind, rename_errors[i].kind);
		if (rename_errors[i].off) /* a request would be one too many for the script */
			assert_int_equal(give_name(s, NULL, NULL), -EOPNOTSUPP);
		end(s);
	}
}

/* A directory that is not there is made, with those above it. */
static void renames_make_directories(void **state)
{
	SCRIPT({"PUT /dfs/acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 404,
		       CODE("RenameDestinationParentPathNotFound")},
		{"PUT /dfs/acc/bucket/d?resource=directory&sv=1&sig=a%2Fb ", 201, ID},
		{"PUT /dfs/acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 201, ID},
		{"HEAD /acc/bucket/d/b%20c?sv=1&sig=a%2Fb ", 200, HEAD_OK},
		{"PUT", 404, CODE("RenameDestinationParentPathNotFound")},
		{"PUT", 409, CODE("PathAlreadyExists")}, {"PUT", 201, ID}, {"HEAD", 200, HEAD_OK},
		{"PUT", 404, CODE("RenameDestinationParentPathNotFound")},
		{"PUT", 403, CODE("AuthorizationPermissionMismatch")});
	struct store *s = dfs_driver();

	assert_int_equal(give_name(s, NULL, NULL), 0);
	assert_string_equal(script_field(1, "if-none-match"), "*");
	assert_null(script_field(1, "x-ms-rename-source"));
	assert_int_equal(give_name(s, NULL, NULL), 0);
	assert_int_equal(give_name(s, NULL, NULL), -EOPNOTSUPP);
	assert_int_equal(err.kind, ERR_FINAL);
	end(s);
}

/* What is there is not what was renamed, or cannot be seen: that is not for us to say. */
static void renames_in_doubt(void **state)
{
	static const struct step looks[] = {{"HEAD", 200, E2 "Content-Length: 5\r\n"},
		{"HEAD", 404, CODE("BlobNotFound")}, {"HEAD", 503, CODE("ServerBusy")}};

	for (unsigned i = 0; i < ARRAY_SIZE(looks); i++) {
		const struct step steps[] = {{"PUT", 201, ID}, looks[i]};
		struct store *s = dfs_driver();

		script_set(steps, 2);
		assert_true(give_name(s, NULL, NULL) < 0);
		assert_int_equal(err.kind, ERR_UNKNOWN);
		end(s);
	}
}

static bool renames_at(const char *endpoint, const char *dfs)
{
	struct conf *c = conf_new();
	struct remote *r = NULL;
	size_t n = 0;
	bool can;

	assert_int_equal(conf_set(c, "remote az", "type", "azure"), 0);
	assert_int_equal(conf_set(c, "remote az", "endpoint", endpoint), 0);
	assert_int_equal(conf_set(c, "remote az", "credentials", "none"), 0);
	if (dfs)
		assert_int_equal(conf_set(c, "remote az", "dfs_endpoint", dfs), 0);
	if (remotes_build(c, dir, &r, &n, &err))
		fail_msg("%s", err.msg);
	can = r->caps.rename;
	remotes_destroy(r, n);
	conf_destroy(c);
	return can;
}

static void endpoints_of_renames(void **state)
{
	assert_true(renames_at("https://acc.blob.core.windows.net", NULL));
	assert_true(renames_at("https://acc.z01.blob.storage.azure.net/", NULL));
	assert_false(renames_at("https://acc.blob.core.windows.net/path", NULL));
	assert_false(renames_at("https://files.example.com", NULL));
	assert_false(renames_at("http://127.0.0.1:10000/acc", NULL));
	assert_true(renames_at("http://127.0.0.1:10000/acc", "http://127.0.0.1:10001/acc/"));
}

/* ---- configuration ---- */

static errint_t configured(const char *const lines[][2], unsigned n, const char *string)
{
	struct conf *c = conf_new();
	struct remote *r;
	struct store_stat st;
	size_t count;
	errint_t e;

	assert_int_equal(conf_set(c, "remote az", "type", "azure"), 0);
	assert_int_equal(conf_set(c, "remote az", "retries", "0"), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(conf_set(c, "remote az", lines[i][0], lines[i][1]), 0);
	if (string) {
		file_write(secret_file, string);
		assert_int_equal(
			conf_set(c, "remote az", "connection_string_file", secret_file), 0);
	}
	e = remotes_build(c, dir, &r, &count, &err);
	if (!e) {
		e = store_head(r->st, NULL, key, &st, &err);
		store_stat_done(&st);
		remotes_destroy(r, count);
	}
	conf_destroy(c);
	file_write(secret_file, "s&3+");
	return e;
}

static void connection_strings(void **state)
{
	SCRIPT({"HEAD /acc/bucket/key ", 200, HEAD_OK},
		{"HEAD /bucket/key?sv=1&sp=r&sig=a%2Fb%3D ", 200, HEAD_OK});
	char text[300];

	snprintf(text, sizeof(text),
		" DefaultEndpointsProtocol=https; accountname=acc;AccountKey=c2VjcmV0==;"
		"BlobEndpoint=http://127.0.0.1:%u/acc/;;\n",
		script.web.port);
	assert_int_equal(configured(NULL, 0, text), -EACCES); /* a bad key is told, without it */
	assert_null(strstr(err.msg, "c2Vj"));
	snprintf(text, sizeof(text),
		"AccountName=acc;AccountKey=c2VjcmV0;BlobEndpoint=http://127.0.0.1:%u/acc",
		script.web.port);
	assert_int_equal(configured(NULL, 0, text), 0);
	assert_true(!strncmp(script_field(0, "authorization"), "SharedKey acc:", 14));
	snprintf(text, sizeof(text),
		"BlobEndpoint=http://127.0.0.1:%u;SharedAccessSignature=?sv=1&sp=r&sig=a%%2Fb%%3D",
		script.web.port);
	assert_int_equal(configured(NULL, 0, text), 0);
	assert_null(script_field(1, "authorization"));
	script_done();
	assert_int_equal(configured(NULL, 0, "AccountKey=x"), -EINVAL);
	assert_int_equal(
		configured(NULL, 0, "BlobEndpoint=ftp://x;AccountName=a;AccountKey=x"), -EINVAL);
}

/* The emulator's account and key, at its port; the proxy shows where that is. */
static void the_emulator_by_its_name(void **state)
{
	SCRIPT({"HEAD http://127.0.0.1:10000/devstoreaccount1/bucket/key ", 200, HEAD_OK},
		{"HEAD http://emulator:10000/devstoreaccount1/bucket/key ", 200, HEAD_OK},
		{"HEAD http://[::2]:10000/devstoreaccount1/bucket/key ", 200, HEAD_OK},
		{"HEAD /acc/bucket/key ", 200, HEAD_OK});
	static const char *const texts[] = {"UseDevelopmentStorage=true",
		"usedevelopmentstorage=True;DevelopmentStorageProxyUri=http://emulator/;",
		"DevelopmentStorageProxyUri=http://[::2]:8888;UseDevelopmentStorage=true"};
	char proxy[40], text[200];
	const char *const lines[][2] = {{"proxy", proxy}};

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", script.web.port);
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		if (configured(lines, 1, texts[i]))
			fail_msg("%s: %s; %s", texts[i], err.msg, script.fault);
		assert_true(!strncmp(
			script_field(i, "authorization"), "SharedKey devstoreaccount1:", 27));
	}
	/* not that one */
	snprintf(text, sizeof(text),
		"UseDevelopmentStorage=false;AccountName=acc;AccountKey=c2VjcmV0;"
		"BlobEndpoint=http://127.0.0.1:%u/acc",
		script.web.port);
	assert_int_equal(configured(NULL, 0, text), 0);
	script_done();
	assert_int_equal(configured(NULL, 0,
				 "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=emulator"),
		-EINVAL);
}

static void bad_sections(void **state)
{
	static const struct {
		const char *lines[3][2];
		const char *says;
	} bad[] = {
		{{{"account", "acc"}, {"credentials", "key"}}, "'key' need account_key_file"},
		{{{"account", "acc"}, {"credentials", "cle"}}, "'cle' is not known"},
		{{{"credentials", "none"}}, "no account"},
		{{{"account", "Acc"}, {"credentials", "none"}}, "cannot be an account"},
		{{{"account", "acc"}, {"endpoint", "ftp://x"}, {"credentials", "none"}}, "ftp://x"},
		{{{"account", "acc"}, {"account_key_env", "NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE"},
		{{{"endpoint", "http://example.com"}, {"credentials", "machine"}}, "not https"},
		{{{"account", "acc"}, {"rehydrate", "fast"}}, "allowed: standard, high"},
		{{{"account", "acc"}, {"acount", "acc"}}, "did you mean 'account'"},
		{{{"account", "acc"}, {"ca_file", "/no/such"}, {"credentials", "none"}}, "CA file"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned n = 0;
		errint_t r;

		while (n < 3 && bad[i].lines[n][0])
			n++;
		r = configured(bad[i].lines, n, NULL);
		if (!r || !strstr(err.msg, bad[i].says))
			fail_msg("section %u: %d %s", i, r, err.msg);
	}
}

static int group_setup(void **state)
{
	static const char *const mine[] = {"AZURE_STORAGE_CONNECTION_STRING",
		"AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN",
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET",
		"AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT",
		"IDENTITY_HEADER", "http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"};

	for (unsigned i = 0; i < ARRAY_SIZE(mine); i++)
		unsetenv(mine[i]);
	scratch_name(dir, sizeof(dir), "azblob");
	if (!mkdtemp(dir))
		return 1;
	snprintf(key_file, sizeof(key_file), "%s/key", dir);
	snprintf(secret_file, sizeof(secret_file), "%s/secret", dir);
	file_write(key_file, " c2VjcmV0\n");
	file_write(secret_file, "s&3+");
	return web_start(&script.web, AF_INET, script_serve) ? 0 : 1;
}

static int group_teardown(void **state)
{
	web_stop(&script.web);
	unlink(key_file);
	unlink(secret_file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(errors_have_a_meaning),
		cmocka_unit_test(errors_tell_where), cmocka_unit_test(bad_ranges),
		cmocka_unit_test(good_ranges), cmocka_unit_test(unknown_checksums_are_given_up),
		cmocka_unit_test(bad_lists), cmocka_unit_test(lists_in_circles_end),
		cmocka_unit_test(lists_tell_all),
		cmocka_unit_test(the_hidden_directory_is_not_listed),
		cmocka_unit_test(tier_of_another_version), cmocka_unit_test(rehydration),
		cmocka_unit_test(overwriting_what_is_offline), cmocka_unit_test(removed_already),
		cmocka_unit_test(lost_blocks_are_not_found),
		cmocka_unit_test(blocks_of_others_are_waited_for),
		cmocka_unit_test(a_commit_is_looked_at), cmocka_unit_test(own_blocks_are_kept),
		cmocka_unit_test(a_name_with_blocks_is_free), cmocka_unit_test(copies_go_on),
		cmocka_unit_test(full_containers_stay),
		cmocka_unit_test(tokens_are_kept_and_renewed),
		cmocka_unit_test(tokens_that_do_not_come), cmocka_unit_test(a_token_that_has_ended),
		cmocka_unit_test(a_changed_key_is_read),
		cmocka_unit_test(a_wrong_clock_is_corrected), cmocka_unit_test(connection_strings),
		cmocka_unit_test(renames_are_asked_of_the_data_lake),
		cmocka_unit_test(renames_that_fail), cmocka_unit_test(renames_in_doubt),
		cmocka_unit_test(renames_make_directories), cmocka_unit_test(endpoints_of_renames),
		cmocka_unit_test(the_emulator_by_its_name), cmocka_unit_test(bad_sections)};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
