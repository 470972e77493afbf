/* SPDX-License-Identifier: MIT */
/* The astra command's own words: paths, numbers for people, the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra.h"
#include "scratch_help.h"

static char top[64];

static int setup(void **state)
{
	char path[128];

	(void)state;
	scratch_name(top, sizeof(top), "app");
	assert_non_null(mkdtemp(top));
	(void)snprintf(path, sizeof(path), "%s/mnt", top);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/mnt/aws", top);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/mnt/aws/here", top);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/link", top);
	assert_int_equal(symlink("mnt", path), 0);
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	(void)snprintf(cmd, sizeof(cmd), "rm -r %s", top);
	return chdir("/") || system(cmd);
}

static void check_path(const char *cwd, const char *given, const char *want)
{
	struct app a = {.m.fd = -1};
	char dir[128], mnt[128], full[256], *got;

	(void)snprintf(mnt, sizeof(mnt), "%s/mnt", top);
	(void)snprintf(dir, sizeof(dir), "%s/%s", top, cwd);
	assert_int_equal(chdir(dir), 0);
	a.m.mountpoint = mnt;
	/* "@" stands for the directory of the test. */
	(void)snprintf(full, sizeof(full), "%s%s", *given == '@' ? top : "",
		*given == '@' ? given + 1 : given);
	got = app_path(&a, full);
	assert_string_equal(got, want);
	free(got);
}

static void test_path(void **state)
{
	(void)state;
	check_path(".", "@/mnt/aws/a b", "/aws/a b");
	check_path(".", "@/mnt", "/");
	check_path(".", "@/mnt/", "/");
	check_path(".", "@/mnt/aws/../gcp//x/.", "/gcp/x");
	check_path(".", "mnt/aws/x", "/aws/x");
	check_path(".", "@/link/aws/x", "/aws/x");
	check_path("mnt/aws", "x/y", "/aws/x/y");
	check_path("mnt/aws", "../gcp/z", "/gcp/z");
	check_path("mnt/aws", ".", "/aws");
	check_path("mnt/aws", "here", "/aws/here");
	check_path("mnt/aws", "not-here", "not-here"); /* looked for by its name */
	check_path(".", "report.pdf", "report.pdf");
	check_path(".", "/aws/x", "/aws/x"); /* as the mount sees it */
	check_path(".", "aws/x", "/aws/x");
	check_path(".", "aws", "/aws"); /* a remote, wherever one is */
	check_path(".", "/aws/./x/../y", "/aws/y");
}

static void test_money(void **state)
{
	static const struct {
		const char *dollars, *want;
	} rows[] = {
		{"0", "$0.000"},
		{"0.23", "$0.230"},
		{"0.0575", "$0.058"},
		{"0.00625", "$0.006"},
		{"0.0001", "$0.0001"},
		{"0.0023", "$0.0023"},
		{"12.345", "$12.35"},
		{"-0.5", "-$0.500"},
		{"0.0875", "$0.088"}, /* as the engine rounds, not as binary fractions do */
		{"0.0735", "$0.074"},
		{"0.000000000000000000001", "<$0.000001"},
		{"12.3456789012345678901234", "?"},
	};
	char out[MONEY_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *j = json_string(rows[i].dollars);

		assert_string_equal(app_money(out, j), rows[i].want);
		json_decref(j);
	}
}

static void test_size(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(app_size(out, 0), "0 bytes");
	assert_string_equal(app_size(out, 999), "999 bytes");
	assert_string_equal(app_size(out, 1000), "1.00 kB");
	assert_string_equal(app_size(out, 2500000000), "2.50 GB");
	assert_string_equal(app_size(out, 15000000000), "15.0 GB");
	assert_string_equal(app_size(out, UINT64_MAX), "18.4 EB");
}

static void test_options(void **state)
{
	char *words[] = {"astra", "--mount", "/m", "ls", "--json", "--", "--mount", "x", NULL};
	struct app a = {.cmd = &(struct cmd){.name = "ls", .args = ""}};
	int argc = 8;

	(void)state;
	assert_string_equal(app_option(&a, &argc, words, "mount"), "/m");
	assert_true(app_flag(&argc, words, "json"));
	assert_false(app_flag(&argc, words, "json"));
	/* What is behind the dashes is no option. */
	assert_null(app_option(&a, &argc, words, "mount"));
	assert_null(a.no_value);
	assert_int_equal(argc, 5);
	assert_int_equal(app_words(&a, &argc, words, 0, 9), EXIT_DONE);
	assert_int_equal(argc, 4);
	assert_string_equal(words[2], "--mount");
	assert_null(words[4]);
}

/* An option without its value is none, and is complained of by its name. */
static void test_no_value(void **state)
{
	static const struct {
		const char *words[6];
		int argc;
		const char *value;
		int left;
	} rows[] = {
		{{"sync", "--timeout"}, 2, NULL, 1},
		{{"sync", "--timeout", "--", "f"}, 4, NULL, 3},
		{{"sync", "--timeout", "--json"}, 3, NULL, 2},
		{{"sync", "--timeout", "-5"}, 3, "-5", 1},
		{{"sync", "--timeout=", "f"}, 3, "", 2},
		{{"sync", "--timeout=--x"}, 2, "--x", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct app a = {.cmd = &(struct cmd){.name = "sync", .args = ""}};
		int argc = rows[i].argc;
		char *words[6];
		const char *value;

		memcpy(words, rows[i].words, sizeof(words));
		value = app_option(&a, &argc, words, "timeout");
		assert_int_equal(argc, rows[i].left);
		if (rows[i].value) {
			assert_string_equal(value, rows[i].value);
			assert_null(a.no_value);
			continue;
		}
		assert_null(value);
		assert_string_equal(a.no_value, "timeout");
		assert_int_equal(app_words(&a, &argc, words, 0, 9), EXIT_USAGE);
	}
}

static void test_number(void **state)
{
	uint64_t n;

	(void)state;
	assert_true(app_number("120", &n));
	assert_int_equal(n, 120);
	assert_false(app_number("", &n));
	assert_false(app_number("-1", &n));
	assert_false(app_number("1x", &n));
	assert_false(app_number("99999999999999999999", &n));
	assert_false(app_number(NULL, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_money),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_no_value),
		cmocka_unit_test(test_number),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
