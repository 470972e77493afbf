/* SPDX-License-Identifier: MIT */
/* Names and key components (src/meta/name.c): inverse to each other wherever both fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/meta.h"

static void shown_as(const char *component, const char *name)
{
	char got[META_NAME_MAX + 1], back[META_NAME_MAX + 1];
	bool alias = true;

	meta_name_encode(component, strlen(component), got, &alias);
	assert_string_equal(got, name);
	assert_false(alias);
	meta_name_decode(got, back);
	assert_string_equal(back, component);
}

static void test_plain(void **state)
{
	shown_as("a", "a");
	shown_as("a.txt", "a.txt");
	shown_as("...", "...");
	shown_as("100%", "100%");
	shown_as("%", "%");
	shown_as("%%", "%%");
	shown_as("a%2E", "a%2E");
	shown_as("%2e", "%2e");
	shown_as("%25", "%25");
	shown_as("%2525", "%2525");
	shown_as("%41", "%41");
	shown_as("\xff\xfe", "\xff\xfe");
	shown_as(" ", " ");
}

static void test_odd(void **state)
{
	shown_as("", "%00");
	shown_as(".", "%2E");
	shown_as("..", "%2E%2E");
	shown_as("%00", "%2500");
	shown_as("%2E", "%252E");
	shown_as("%252E", "%25252E");
	shown_as("%2E%2E", "%252E%2E");
	shown_as("%252E%2E", "%25252E%2E");
}

/* Every user's name comes back from a listing as itself, every component as itself: all strings of
 * up to five pieces that could make an escape. */
static void test_inverse(void **state)
{
	static const char *const piece[] = {"%", "2", "5", "E", "0", "."};
	char s[8], a[META_NAME_MAX + 1], b[META_NAME_MAX + 1];
	unsigned n = 6;
	bool alias;

	for (unsigned i = 0; i < n * n * n * n * n * n; i++) {
		unsigned x = i;

		s[0] = '\0';
		for (int k = 0; k < 6; k++, x /= n)
			strcat(s, piece[x % n]);
		for (int cut = 0; cut <= 6; cut++) {
			const char *t = s + cut;

			meta_name_encode(t, strlen(t), a, &alias);
			assert_false(alias);
			assert_true(a[0] != '\0' && strcmp(a, ".") != 0 && strcmp(a, "..") != 0);
			meta_name_decode(a, b);
			assert_string_equal(b, t);
			if (t[0] == '\0' || strcmp(t, ".") == 0 || strcmp(t, "..") == 0)
				continue;
			meta_name_decode(t, a);
			meta_name_encode(a, strlen(a), b, &alias);
			assert_false(alias);
			assert_string_equal(b, t);
		}
	}
}

static void test_long(void **state)
{
	char c[1024], a[META_NAME_MAX + 1], b[META_NAME_MAX + 1];
	bool alias;

	memset(c, 'x', sizeof(c));
	meta_name_encode(c, 255, a, &alias);
	assert_false(alias);
	assert_int_equal(strlen(a), 255);
	meta_name_encode(c, 256, a, &alias);
	assert_true(alias);
	assert_int_equal(strlen(a), 255);
	assert_memory_equal(a + 237, "%~", 2);
	c[1000] = 'y';
	meta_name_encode(c, 1023, a, &alias);
	c[1000] = 'z';
	meta_name_encode(c, 1023, b, &alias);
	assert_true(alias);
	assert_string_not_equal(a, b); /* differ only far behind */
	/* Not cut inside a character. */
	memset(c, 'x', 236);
	memcpy(c + 236, "\xe2\x82\xac", 3);
	meta_name_encode(c, 400, a, &alias);
	assert_true(alias);
	assert_memory_equal(a + 235, "x%~", 3);
	assert_int_equal(strlen(a), 254);
	/* An escape that would not fit, a NUL. */
	c[0] = '%';
	for (int i = 1; i < 251; i += 2)
		memcpy(c + i, "25", 2);
	memcpy(c + 251, "2E", 3);
	meta_name_encode(c, 253, a, &alias);
	assert_false(alias);
	assert_int_equal(strlen(a), 255);
	memcpy(c + 251, "252E", 5);
	meta_name_encode(c, 255, a, &alias);
	assert_true(alias);
	meta_name_encode("a\0b", 3, a, &alias);
	assert_true(alias);
	assert_memory_equal(a, "a_b%~", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_inverse),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
