/* SPDX-License-Identifier: MIT */
/* Configuration files, good and bad, and the parsers of values. */
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

#include "astra/base_cleanup.h"
#include "astra/base_conf.h"
#include "scratch_help.h"

static char path[64];

static errint_t load_bytes(struct conf *c, const void *p, size_t len, struct err *err)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	return conf_load(c, path, err);
}

static errint_t load_text(struct conf *c, const char *text, struct err *err)
{
	return load_bytes(c, text, strlen(text), err);
}

static void check_item(const struct conf *c, size_t i, const char *section, const char *key,
	const char *value, int line)
{
	const struct conf_item *it = conf_at(c, i);

	assert_string_equal(it->section, section);
	assert_string_equal(it->key, key);
	assert_string_equal(it->value, value);
	assert_string_equal(it->file, path);
	assert_int_equal(it->line, line);
}

static void files_become_items_with_lines(void **state)
{
	struct conf *c = conf_new();
	struct err e;

	assert_int_equal(load_text(c,
				 "\xef\xbb\xbf# head\n"
				 "state = /a b/c\n"
				 "\n"
				 "  ; more\n"
				 "[ remote \t  aws ]  # here\n"
				 "type=local\r\n"
				 "\tbucket :  b#1;2  ; the bucket\n"
				 "empty =\n"
				 "[policy]\n"
				 "type = x",
				 &e),
		0);
	assert_int_equal(conf_count(c), 7);
	check_item(c, 0, "", "state", "/a b/c", 2);
	check_item(c, 1, "remote aws", "", "", 5);
	check_item(c, 2, "remote aws", "type", "local", 6);
	check_item(c, 3, "remote aws", "bucket", "b#1;2", 7);
	check_item(c, 4, "remote aws", "empty", "", 8);
	check_item(c, 5, "policy", "", "", 9);
	check_item(c, 6, "policy", "type", "x", 10);
	conf_destroy(c);
}

static void later_values_win(void **state)
{
	struct conf *c = conf_new();
	const struct conf_item *it;

	assert_int_equal(load_text(c, "a = 1\na = 2\n[s]\na = 3\n", NULL), 0);
	it = conf_get(c, "", "a");
	assert_string_equal(it->value, "2");
	for (int i = 0; i < 200; i++)
		assert_int_equal(conf_set(c, "", "a", "4"), 0);
	assert_string_equal(it->value, "2"); /* addresses are stable */
	it = conf_get(c, "", "a");
	assert_string_equal(it->value, "4");
	assert_string_equal(it->file, "-o");
	assert_int_equal(it->line, 0);
	assert_string_equal(conf_get(c, "s", "a")->value, "3");
	assert_null(conf_get(c, "t", "a"));
	assert_null(conf_get(c, "s", "b"));
	conf_destroy(c);
	assert_null(conf_destroy(NULL));
}

static void bad_files_are_named_by_line(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"a = 1\nnonsense\nb = 2\n", ":2: neither"},
		{"a = 1\n\n[s\nb = 2\n", ":3: section without ']'"},
		{"[]\n", ":1: section without a name"},
		{"[a b]\nk=1\n[c]\n[ a  b ]\n",
			":4: section [a b] once more; it is in line 1 already"},
		{"\n[  ]\n", ":2: section without a name"},
		{"[a] b = 1\n", ":1: text behind"},
		{"[0123456789012345678901234567890123456789012345678901]\n", ":1: section name of"},
		{"a=1\n = 3\n", ":2: a value without a key"},
		{"a = 1\n  goes on\n", ":2: neither"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct conf *c = conf_new();
		struct err e = {0};

		assert_int_equal(load_text(c, cases[i].text, &e), -EINVAL);
		assert_memory_equal(e.msg, path, strlen(path));
		if (!strstr(e.msg, cases[i].want))
			fail_msg("'%s' lacks '%s'", e.msg, cases[i].want);
		assert_int_equal(e.kind, ERR_FINAL);
		conf_destroy(c);
	}
}

static void odd_bytes_are_refused(void **state)
{
	static const struct {
		const char *p;
		size_t len;
		int line;
	} cases[] = {
		{"a = 1\nb = \0 2\n", 14, 2},
		{"\0\n", 2, 1},
		{"\0", 1, 1},
		{"a=1\0", 4, 1},
		{"a=1\0b", 5, 1},
		{"a=1\0\n", 5, 1},
	};
	char want[100];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct conf *c = conf_new();
		struct err e = {0};

		assert_int_equal(load_bytes(c, cases[i].p, cases[i].len, &e), -EINVAL);
		(void)snprintf(want, sizeof(want), "%s:%d: a NUL byte", path, cases[i].line);
		assert_string_equal(e.msg, want);
		conf_destroy(c);
	}
}

static void long_lines(void **state)
{
	cleanup_free char *s = malloc(20000);
	struct err e = {0};

	assert_non_null(s);
	/* The longest that fits, with and without a newline, then one byte more. */
	for (size_t len = 4090; len < 4110; len++) {
		struct conf *c = conf_new();
		size_t end;

		for (int newline = 0; newline < 2; newline++) {
			memset(s, 'x', 20000);
			memcpy(s, "k=", 2);
			end = len;
			if (newline)
				s[end++] = '\n';
			assert_int_equal(load_bytes(c, s, end, &e), len <= 4096 ? 0 : -EINVAL);
			if (len <= 4096)
				assert_int_equal(strlen(conf_get(c, "", "k")->value), len - 2);
			else
				assert_non_null(strstr(e.msg, ":1: line of more than 4096"));
		}
		conf_destroy(c);
	}
}

static void missing_files(void **state)
{
	struct conf *c = conf_new();
	struct err e = {0};

	assert_int_equal(conf_load(c, "/proc/nonexistent/astra.conf", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/proc/nonexistent/astra.conf"));
	assert_int_equal(conf_load(c, "/tmp", &e), -EISDIR);
	conf_destroy(c);
}

static const struct conf_item *item(const char *value)
{
	static struct conf_item it;

	it = (struct conf_item){
		.section = "", .key = "key", .value = value, .file = "f.conf", .line = 12};
	return &it;
}

static void values_of_all_kinds(void **state)
{
	struct err e;
	bool b = false;
	uint64_t u = 0;
	int64_t ns = 0;

	assert_int_equal(conf_bool(item("Yes"), &b, &e), 0);
	assert_true(b);
	assert_int_equal(conf_bool(item("off"), &b, &e), 0);
	assert_false(b);
	assert_int_equal(conf_bool(item("maybe"), &b, &e), -EINVAL);
	assert_string_equal(e.msg, "f.conf:12: key: 'maybe' is not a yes or no; allowed: yes, no, "
				   "true, false, on, off, 1, 0");
	assert_int_equal(conf_bool(item(""), &b, &e), -EINVAL);

	assert_int_equal(conf_u64(item("10"), 1, 10, &u, &e), 0);
	assert_int_equal(u, 10);
	assert_int_equal(conf_u64(item("11"), 1, 10, &u, &e), -EINVAL);
	assert_string_equal(e.msg, "f.conf:12: key: '11' is out of range; allowed: 1 to 10");
	assert_int_equal(conf_u64(item("18446744073709551615"), 0, UINT64_MAX, &u, &e), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(conf_u64(item("18446744073709551616"), 0, UINT64_MAX, &u, &e), -EINVAL);
	for (size_t i = 0; i < 6; i++) {
		static const char *const bad[] = {"", "-1", "+1", "1 ", "1x", "0x10"};

		assert_int_equal(conf_u64(item(bad[i]), 0, 100, &u, &e), -EINVAL);
	}

	assert_int_equal(conf_size(item("4 MiB"), &u, &e), 0);
	assert_int_equal(u, 4 << 20);
	assert_int_equal(conf_size(item("4 miles"), &u, &e), -EINVAL);
	assert_int_equal(conf_duration(item("2w"), &ns, &e), 0);
	assert_true(ns == INT64_C(14) * 86400 * 1000000000);
	assert_int_equal(conf_duration(item("soon"), &ns, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "'soon' is not a duration; allowed: "));
}

static void command_line_errors_name_the_option(void **state)
{
	struct conf *c = conf_new();
	struct err e;

	assert_int_equal(conf_set(c, "", "umask", "x"), 0);
	assert_int_equal(conf_err(conf_at(c, 0), &e, "'%s' is wrong", "x"), -EINVAL);
	assert_string_equal(e.msg, "-o umask: 'x' is wrong");
	conf_destroy(c);
}

static void sizes(void **state)
{
	static const struct {
		const char *s;
		uint64_t want;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"512B", 512},
		{"64K", 65536},
		{"10M", 10 << 20},
		{"10m", 10 << 20},
		{"5GiB", UINT64_C(5) << 30},
		{"10GB", UINT64_C(10000000000)},
		{"3KB", 3000},
		{"3KiB", 3072},
		{"2T", UINT64_C(2) << 40},
		{"1PB", UINT64_C(1000000000000000)},
		{"16383P", UINT64_C(16383) << 50},
	};
	static const char *const bad[] = {"", "K", "-1", "1.5G", "1Q", "1KK", "1 K x", "16384P",
		"99999999999999999999", " 1"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].s, &v), 0);
		assert_true(v == good[i].want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_size(bad[i], &v), -EINVAL);
}

static void durations(void **state)
{
	static const struct {
		const char *s;
		int64_t ms;
	} good[] = {
		{"0", 0},
		{"5", 5000},
		{"200ms", 200},
		{"1s", 1000},
		{"30m", 1800000},
		{"12h", 43200000},
		{"7d", 604800000},
		{"2w", 1209600000},
		{"1 h", 3600000},
	};
	static const char *const bad[] = {
		"", "s", "-1s", "1.5s", "1y", "1h30m", "9999999999s", "99999999w"};
	int64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_duration(good[i].s, &v), 0);
		assert_true(v == good[i].ms * 1000000);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_duration(bad[i], &v), -EINVAL);
}

static void nearest_names(void **state)
{
	static const char *const names[] = {"cache_size", "log_level", "log_file", "ro", "uid"};
	char big[100];

	assert_string_equal(nearest_name("cachesize", names, 5), "cache_size");
	assert_string_equal(nearest_name("cache_szie", names, 5), "cache_size");
	assert_string_equal(nearest_name("Log_Level", names, 5), "log_level");
	assert_string_equal(nearest_name("log_fil", names, 5), "log_file");
	assert_string_equal(nearest_name("gid", names, 5), "uid");
	assert_string_equal(nearest_name("or", names, 5), "ro");
	assert_null(nearest_name("bucket", names, 5));
	assert_null(nearest_name("x", names, 0));
	assert_null(nearest_name("", names, 5));
	memset(big, 'a', 99);
	big[99] = '\0';
	assert_null(nearest_name(big, names, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_become_items_with_lines),
		cmocka_unit_test(later_values_win),
		cmocka_unit_test(bad_files_are_named_by_line),
		cmocka_unit_test(odd_bytes_are_refused),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(missing_files),
		cmocka_unit_test(values_of_all_kinds),
		cmocka_unit_test(command_line_errors_name_the_option),
		cmocka_unit_test(sizes),
		cmocka_unit_test(durations),
		cmocka_unit_test(nearest_names),
	};
	int fd, r;

	scratch_name(path, sizeof(path), "conf");
	fd = mkstemp(path);
	if (fd < 0)
		return 1;
	close(fd);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return r;
}
