/* SPDX-License-Identifier: MIT */
/* err, buf, clock, count and path. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_buf.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_err.h"
#include "astra/base_path.h"
#include "scratch_help.h"

static void seconds_beyond_the_range_are_its_end(void **state)
{
	assert_int_equal(clock_ns_of(-7), -7 * NS_PER_S);
	assert_true(clock_ns_of(INT64_MAX) > INT64_C(250) * 365 * 86400 * NS_PER_S);
	assert_true(clock_ns_of(INT64_MAX) < INT64_MAX - NS_PER_S);
	assert_int_equal(clock_ns_of(INT64_MIN), -clock_ns_of(INT64_MAX));
}

static void dates_there_and_back(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {{"2001-02-03T04:05:06.123456789Z", 981173106123456789},
		{"2001-02-03T04:05:06.1234567899Z", 981173106123456789},
		{"2001-02-03T05:35:06.5+01:30", 981173106500000000},
		{"2001-02-03T03:05:06-01:00", 981173106000000000},
		{"1901-01-01T00:00:00.25Z", -2177452799750000000},
		{"2259-12-31T23:59:59.999999999Z", 9151487999999999999}};
	static const char *const bad[] = {"", "981173106", "2001-02-03", "2001-02-03T04:05:06",
		"2001-02-03T04:05:06z", "2001-02-03T04:05:06Z ", "2001-02-03T04:05:06+01",
		"2001-02-03T04:05:06+01:00Z", "2001-02-30 04:05:06Z", "1900-12-31T23:59:59Z",
		"2260-01-01T00:00:00Z", "2001-13-03T04:05:06Z"};
	static const int64_t all[] = {INT64_MIN, -NS_PER_S - 1, -1, 0, 1, INT64_MAX};
	char text[CLOCK_DATE_LEN];
	int64_t ns = 5;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(clock_date_parse(good[i].text, &ns));
		assert_int_equal(ns, good[i].ns);
		clock_date_format(ns, text);
		assert_true(clock_date_parse(text, &ns));
		assert_int_equal(ns, good[i].ns);
	}
	ns = 5;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(clock_date_parse(bad[i], &ns));
	assert_int_equal(ns, 5);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		clock_date_format(all[i], text);
		assert_int_equal(strlen(text), CLOCK_DATE_LEN - 1);
	}
	assert_string_equal(text, "2262-04-11T23:47:16.854775807Z");
}

static void err_says_what_and_where(void **state)
{
	struct err e = {.http_status = 404, .retry_after_ms = 3, .code = "x"};

	assert_int_equal(err_set(&e, -EIO, ERR_RETRY, "part %d", 7), -EIO);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.http_status, 0);
	assert_string_equal(e.code, "");
	assert_string_equal(e.msg, "part 7");
	e.http_status = 500;
	assert_int_equal(err_wrap(&e, -EIO, "get '%s'", "k"), -EIO);
	assert_string_equal(e.msg, "get 'k': part 7");
	assert_int_equal(e.http_status, 500);
	assert_int_equal(e.kind, ERR_RETRY);
	/* The old message may be an argument of the new one. */
	err_set(&e, -EIO, ERR_FINAL, "twice %s %s", e.msg, e.msg);
	assert_string_equal(e.msg, "twice get 'k': part 7 get 'k': part 7");
	err_clear(&e);
	assert_string_equal(err_text(&e, -ENOENT), "No such file or directory");
	err_wrap(&e, -ENOENT, "open");
	assert_string_equal(e.msg, "open: No such file or directory");
}

static void err_may_be_null(void **state)
{
	assert_int_equal(err_set(NULL, -EPERM, ERR_AUTH, "x"), -EPERM);
	assert_int_equal(err_wrap(NULL, -EPERM, "x"), -EPERM);
	err_clear(NULL);
	assert_string_equal(err_text(NULL, -EPERM), "Operation not permitted");
	assert_string_equal(err_text(NULL, -99999), "unknown error");
}

static void err_marks_what_it_cuts(void **state)
{
	struct err e;
	char big[1000];

	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, -EIO, ERR_FINAL, "%s", big);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	assert_string_equal(e.msg + sizeof(e.msg) - 5, "a...");
	err_set(&e, -EIO, ERR_FINAL, "%.*s", 395, big);
	err_wrap(&e, -EIO, "wrapped");
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	assert_string_equal(e.msg + sizeof(e.msg) - 5, "a...");
	err_wrap(&e, -EIO, "%s", big);
	assert_string_equal(e.msg + sizeof(e.msg) - 5, "a...");
}

static void err_kinds_have_names(void **state)
{
	for (int k = ERR_NONE; k <= ERR_CANCELLED; k++)
		assert_true(err_kind_name(k)[0]);
	assert_string_equal(err_kind_name(ERR_THROTTLE), "throttle");
	assert_string_equal(err_kind_name(ERR_NOT_FOUND), "not-found");
}

static void buf_grows_to_its_maximum(void **state)
{
	cleanup_buf struct buf b = BUF_INIT(10);

	assert_int_equal(buf_adds(&b, "hello"), 0);
	assert_int_equal(buf_addf(&b, "%d", 12345), 0);
	assert_string_equal(b.p, "hello12345");
	assert_int_equal(b.len, 10);
	assert_int_equal(buf_add(&b, "x", 1), -ENOBUFS);
	/* Sticky, and what was there stays. */
	assert_int_equal(buf_add(&b, "", 0), -ENOBUFS);
	assert_string_equal(b.p, "hello12345");
	buf_reset(&b);
	assert_string_equal(b.p, "");
	assert_int_equal(buf_addf(&b, "%s", "01234567890"), -ENOBUFS);
	assert_string_equal(b.p, "");
	buf_reset(&b);
	assert_int_equal(buf_add(&b, "a\0b", 3), 0);
	assert_memory_equal(b.p, "a\0b", 4);
	buf_done(&b);
	assert_null(b.p);
	assert_int_equal(buf_add(&b, NULL, 0), 0);
	assert_string_equal(b.p, "");
}

static void buf_takes_many_lines(void **state)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_addf(&b, "%04d%*s\n", i, i % 200, ""), 0);
	assert_memory_equal(b.p + b.len - 200 - 5, "\n0999", 5);
	assert_int_equal(strlen(b.p), b.len);
}

static void clock_can_be_moved(void **state)
{
	int64_t t = clock_now_ns(), m = clock_mono_ns();

	clock_skew_add(30 * 86400 * NS_PER_S);
	assert_true(clock_now_ns() - t >= 30 * 86400 * NS_PER_S);
	assert_true(clock_mono_ns() - m < 3600 * NS_PER_S);
	clock_skew_add(-30 * 86400 * NS_PER_S);
	assert_true(clock_now_ns() - t < 3600 * NS_PER_S);
}

static void random_is_not_constant(void **state)
{
	unsigned char a[300] = {0}, zero[300] = {0};

	random_bytes(a, sizeof(a));
	assert_memory_not_equal(a, zero, sizeof(a));
	assert_int_not_equal(random_u64(), random_u64());
	random_bytes(a, 0);
}

static void counters_count(void **state)
{
	uint64_t had = count_get(COUNT_store_retries);

	count_inc(store_retries);
	count_add(store_retries, 5);
	assert_int_equal(count_get(COUNT_store_retries), had + 6);
	for (int i = 0; i < COUNT_N; i++) {
		assert_true(count_name(i)[0]);
		assert_true(count_help(i)[0]);
	}
	assert_string_equal(count_name(COUNT_fuse_requests), "fuse_requests");
}

static void path_is(const char *path, const char *want)
{
	char *real = path_real(path);

	assert_string_equal(real, want);
	free(real);
}

static void paths_are_real_as_far_as_they_are_there(void **state)
{
	char dir[64], link[80], text[128], want[128];

	scratch_name(dir, sizeof(dir), "path");
	assert_non_null(mkdtemp(dir));
	(void)snprintf(link, sizeof(link), "%s/link", dir);
	assert_int_equal(symlink(dir, link), 0);
	path_is(dir, dir);
	path_is(link, dir);
	(void)snprintf(text, sizeof(text), "%s//link/link/no/where//", dir);
	(void)snprintf(want, sizeof(want), "%s/no/where", dir);
	path_is(text, want);
	path_is("/", "/");
	path_is("//", "/");
	path_is("/is-not-there/x", "/is-not-there/x");
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void paths_are_below_others(void **state)
{
	assert_string_equal(path_below("/a/b/c", "/a"), "b/c");
	assert_string_equal(path_below("/a", "/a"), "");
	assert_string_equal(path_below("/a", "/"), "a");
	assert_null(path_below("/ab", "/a"));
	assert_null(path_below("/a", "/a/b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seconds_beyond_the_range_are_its_end),
		cmocka_unit_test(dates_there_and_back),
		cmocka_unit_test(err_says_what_and_where),
		cmocka_unit_test(err_may_be_null),
		cmocka_unit_test(err_marks_what_it_cuts),
		cmocka_unit_test(err_kinds_have_names),
		cmocka_unit_test(buf_grows_to_its_maximum),
		cmocka_unit_test(buf_takes_many_lines),
		cmocka_unit_test(clock_can_be_moved),
		cmocka_unit_test(random_is_not_constant),
		cmocka_unit_test(counters_count),
		cmocka_unit_test(paths_are_real_as_far_as_they_are_there),
		cmocka_unit_test(paths_are_below_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
