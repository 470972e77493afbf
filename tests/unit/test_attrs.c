/* SPDX-License-Identifier: MIT */
/* Attributes as metadata: there and back, what others write, and what cannot be read. */
#include <errno.h>

#include "meta_help.h"

#include "astra/base_buf.h"
#include "job/job_priv.h"
#include "job/merge.h"

#define INO 7

struct fix {
	char dir[64];
	struct meta *m;
};

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct meta_inode in;
	struct meta_txn *t;
	bool cut;

	scratch_make(f->dir);
	f->m = open_index(f->dir, "boot", &cut);
	t = meta_begin(f->m);
	inode_init(&in, INO, META_FILE, 1);
	(void)meta_link(t, &in, META_ROOT_INO, "f");
	assert_int_equal(meta_commit(t), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	meta_close(f->m);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static void set(struct fix *f, const char *name, const void *p, size_t len)
{
	struct meta_txn *t = meta_begin(f->m);

	(void)meta_xattr_set(t, INO, name, p, len, 0);
	assert_int_equal(meta_commit(t), 0);
}

/* -errno or the length. */
static int value(struct fix *f, const char *name, char *to, size_t size)
{
	struct meta_txn *t = meta_begin_read(f->m);
	size_t len = 0;
	errint_t r = meta_xattr_get(t, INO, name, to, size, &len);

	meta_abort(t);
	return r ? r : (int)len;
}

static char *text_of(struct fix *f)
{
	struct buf b = BUF_INIT(1u << 20);
	struct meta_txn *t = meta_begin_read(f->m);

	assert_int_equal(attrs_text(t, INO, &b), 0);
	meta_abort(t);
	return b.p ? b.p : strdup("");
}

static void take(struct fix *f, const char *text)
{
	struct store_pair pairs[] = {{"mode", "33188"}, {"xattr", (char *)text}};
	struct meta_txn *t = meta_begin(f->m);

	assert_int_equal(attrs_take(t, INO, pairs, text != NULL ? 2 : 1), 0);
	assert_int_equal(meta_commit(t), 0);
}

static int count(void *arg, const char *name, const void *p, size_t len)
{
	++*(int *)arg;
	return 0;
}

static int attributes(struct fix *f)
{
	struct meta_txn *t = meta_begin_read(f->m);
	int n = 0;

	assert_int_equal(meta_xattr_each(t, INO, count, &n), 0);
	meta_abort(t);
	return n;
}

static void there_and_back(void **state)
{
	static const char odd[] = "user.odd \xff\xe9\x01%41\\\",:{}\n+/=\\u0041";
	struct fix *f = *state;
	char longest[256], bytes[256], got[300], *text, *again;

	memset(longest, 'n', 255);
	memcpy(longest, "user.", 5);
	longest[255] = '\0';
	for (int i = 0; i < 256; i++)
		bytes[i] = (char)i;
	text = text_of(f);
	assert_string_equal(text, "");
	free(text);
	set(f, odd, bytes, sizeof(bytes));
	set(f, longest, "", 0);
	set(f, "user.a", "a value", 7);
	set(f, "trusted.a", "of this machine", 15);
	text = text_of(f);
	/* a field of a request can have it, and no other place has the machine's own */
	for (char *s = text; *s; s++)
		assert_true(*s > ' ' && *s < 0x7f);
	assert_null(strstr(text, "trusted"));
	take(f, NULL);
	assert_int_equal(attributes(f), 1);
	assert_int_equal(value(f, "trusted.a", got, sizeof(got)), 15);
	take(f, text);
	assert_int_equal(attributes(f), 4);
	assert_int_equal(value(f, odd, got, sizeof(got)), 256);
	assert_memory_equal(got, bytes, 256);
	assert_int_equal(value(f, longest, got, sizeof(got)), 0);
	assert_int_equal(value(f, "user.a", got, sizeof(got)), 7);
	again = text_of(f);
	assert_string_equal(again, text);
	free(again);
	free(text);
}

static void the_form_of_s3fs(void **state)
{
	struct fix *f = *state;
	char got[100], *text;

	set(f, "user.a", "hello", 5);
	set(f, "user.b", "", 0);
	text = text_of(f);
	assert_string_equal(text, "{\"user.a\":\"aGVsbG8=\",\"user.b\":\"\"}");
	free(text);
	/* as it writes it: all of it escaped */
	take(f, "%7B%22user.c%22%3A%22aGVsbG8%3D%22%2C%22user.%C3%A4%22%3A%22%22%7D");
	assert_int_equal(attributes(f), 2);
	assert_int_equal(value(f, "user.c", got, sizeof(got)), 5);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(value(f, "user.\xc3\xa4", got, sizeof(got)), 0);
	/* as a program with a library for JSON would */
	take(f, " { \"user.\\u00e4\\/\\\"\" : \"aGVsbG8=\" , \"user.\\u20ac\" : \"\" } ");
	assert_int_equal(value(f, "user.\xc3\xa4/\"", got, sizeof(got)), 5);
	assert_int_equal(value(f, "user.\xe2\x82\xac", got, sizeof(got)), 0);
	assert_int_equal(attributes(f), 2);
	take(f, "{}");
	assert_int_equal(attributes(f), 0);
}

/* What is not for this machine to believe is kept, unseen, for those whose it is. */
static void others_among_them(void **state)
{
	static const char theirs[] = "{\"security.selinux\":\"aGVsbG8=\",\"user.a\":\"\","
				     "\"trusted.x\":\"eA==\",\"user.astra.tier\":\"eA==\"}";
	struct fix *f = *state;
	char got[100], *text;

	take(f, theirs);
	assert_int_equal(value(f, "trusted.x", got, sizeof(got)), -ENODATA);
	assert_int_equal(value(f, "security.selinux", got, sizeof(got)), -ENODATA);
	assert_int_equal(value(f, "user.astra.tier", got, sizeof(got)), -ENODATA);
	assert_int_equal(value(f, "user.a", got, sizeof(got)), 0);
	set(f, "user.b", "x", 1);
	text = text_of(f);
	assert_non_null(strstr(text, "\"security.selinux\":\"aGVsbG8=\""));
	assert_non_null(strstr(text, "\"trusted.x\":\"eA==\""));
	assert_non_null(strstr(text, "\"user.astra.tier\":\"eA==\""));
	assert_non_null(strstr(text, "\"user.b\":\"eA==\""));
	free(text);
	/* and go when the object does not have them any more */
	take(f, "{\"user.a\":\"\"}");
	assert_int_equal(attributes(f), 1);
}

static void text_is_empty(struct fix *f)
{
	char *text = text_of(f);

	assert_string_equal(text, "");
	free(text);
}

/* All of it or none. */
static void what_cannot_be_read(void **state)
{
	static const char *const bad[] = {"", "x", "{", "{\"user.a\"}", "{\"user.a\":}",
		"{\"user.a\":\"\"", "{\"user.a\":\"\",}", "{\"user.a\":\"\" \"user.b\":\"\"}",
		"{\"user.a\":\"=\"}", "{\"user.a\":\"aGVsbG8\"}", "{user.a:\"\"}",
		"{\"user.ok\":\"\",\"user.a\\u0000\":\"\"}",
		"{\"user.ok\":\"\",\"user.\\ud800\":\"\"}",
		"{\"user.ok\":\"\",\"user.\\u12\":\"\"}", "{\"user.ok\":\"\",\"user.\\x\":\"\"}",
		"{\"user.ok\":\"\",\"\":\"\"}", "{\"user.ok\":\"\",\"%01user.a\":\"\"}",
		"{\"user.ok\":\"\",\"user.a", "{\"user.ok\":\"\",\"user.a\\"};
	struct fix *f = *state;
	char big[400], text[500];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		set(f, "user.old", "x", 1);
		take(f, bad[i]);
		text_is_empty(f);
		if (attributes(f) != 1) /* only that there is something */
			fail_msg("'%s' was taken", bad[i]);
	}
	memset(big, 'n', 300);
	big[300] = '\0';
	(void)snprintf(text, sizeof(text), "{\"user.ok\":\"\",\"user.%s\":\"\"}", big);
	take(f, text);
	assert_int_equal(attributes(f), 1);
	text_is_empty(f);
	take(f, "{}");
	assert_int_equal(attributes(f), 0);
}

static void mode_owner_and_time(void **state)
{
	static const struct {
		const char *mtime, *mode;
		int64_t ns;
		uint32_t want;
	} table[] = {{"1.5", "33188", 1500000000, S_IFREG | 0644},
		{"1", "35309", NS_PER_S, S_IFREG | 0755}, /* set-id bits are not believed */
		{"-1.500000000", "33152", -1500000000, S_IFREG | 0600},
		{"0.000000001", "rw", 1, S_IFREG | 0644}, {"x", "", 9 * NS_PER_S, S_IFREG | 0644},
		{"99999999999999", "16877", 9 * NS_PER_S, S_IFREG | 0644},
		/* as rclone: a date where it is not Amazon's, and octal */
		{"1970-01-01T00:00:01.5Z", "100640", 1500000000, S_IFREG | 0640},
		{"1970-01-01T02:00:01.000000001+02:00", "104755", 1000000001, S_IFREG | 0755},
		{"1969-12-31T23:59:58.75Z", "40755", -1250000000, S_IFREG | 0644},
		{"1969-12-31T22:59:58-01:00", "188888", -2 * NS_PER_S, S_IFREG | 0644},
		{"2001-02-03", "", 9 * NS_PER_S, S_IFREG | 0644},
		{"2001-02-03T04:05:06", "", 9 * NS_PER_S, S_IFREG | 0644},
		{"5000-01-01T00:00:00Z", "", 9 * NS_PER_S, S_IFREG | 0644}};
	struct jobs *j = calloc(1, sizeof(*j));

	j->conf.umask = 022;
	j->conf.uid = 5;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct store_pair pairs[] = {{"mtime", (char *)table[i].mtime},
			{"mode", (char *)table[i].mode}, {"uid", "77"}, {"gid", "x"}};
		struct meta_inode in = {.kind = META_FILE};

		attrs_read(j, &in, 9 * NS_PER_S, pairs, 4);
		assert_int_equal(in.mtime_ns, table[i].ns);
		assert_int_equal(in.mode, table[i].want);
		assert_int_equal(in.uid, 77);
		assert_int_equal(in.flags, 0);
		attrs_read(j, &in, 9 * NS_PER_S, NULL, 0);
		assert_int_equal(in.flags, META_F_FOREIGN);
		assert_int_equal(in.uid, 5);
	}
	free(j);
}

static void check_made(struct jobs *j, int64_t ns, mode_t mode, const char *mtime, const char *text)
{
	struct meta_inode in = {.kind = META_SYMLINK, .mode = mode, .mtime_ns = ns};
	struct meta_inode back = {.kind = META_FILE};
	struct store_pair pairs[2];
	struct meta_set s;

	assert_int_equal(meta_set_make(&s, j, NULL, 3, &in, NULL), 0);
	assert_string_equal(s.m[0].key, "mtime");
	assert_string_equal(s.m[0].value, mtime);
	assert_string_equal(s.m[1].key, "mode");
	assert_string_equal(s.m[1].value, text);
	for (int i = 0; i < 2; i++)
		pairs[i] = (struct store_pair){(char *)s.m[i].key, (char *)s.m[i].value};
	struct store_entry e = {.meta = pairs, .nmeta = 2};

	attrs_read(j, &back, 0, pairs, 2);
	assert_int_equal(merge_is_link(&e), S_ISLNK(mode));
	assert_int_equal(back.mtime_ns, ns);
	assert_int_equal(back.kind, S_ISLNK(mode) ? META_SYMLINK : META_FILE);
	meta_set_done(&s);
}

static void the_forms_of_rclone(void **state)
{
	struct remote r = {.id = 3};
	struct jobs *j = calloc(1, sizeof(*j));

	j->conf.remotes = &r;
	j->conf.nremotes = 1;
	check_made(j, -1500000000, S_IFREG | 0640, "-1.500000000", "33184");
	check_made(j, 1, S_IFLNK | 0777, "0.000000001", "41471");
	r.caps.meta_dates = true;
	check_made(
		j, 981173106123456789, S_IFREG | 0640, "2001-02-03T04:05:06.123456789Z", "100640");
	check_made(j, -1250000000, S_IFREG | 0600, "1969-12-31T23:59:58.750000000Z", "100600");
	check_made(j, 1, S_IFLNK | 0777, "1970-01-01T00:00:00.000000001Z", "120777");
	check_made(
		j, -2000000000 * NS_PER_S, S_IFREG | 0, "1906-08-16T20:26:40.000000000Z", "100000");
	free(j);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(there_and_back),
		T(the_form_of_s3fs),
		T(others_among_them),
		T(what_cannot_be_read),
		T(mode_owner_and_time),
		T(the_forms_of_rclone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
