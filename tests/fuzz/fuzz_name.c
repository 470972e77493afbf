/* SPDX-License-Identifier: MIT */
/* Key components as file names, in the tree and in the local driver: reversible, and never a name
 * that no file can have. */
#include "fuzz.h"

#include "astra/meta.h"
#include "store/local_priv.h"

static bool is_file_name(const char *s)
{
	return *s && strcmp(s, ".") && strcmp(s, "..") && !strchr(s, '/') && strlen(s) <= 255;
}

static void tree_name(const char *s, size_t len)
{
	char name[META_NAME_MAX + 1], back[META_NAME_MAX + 1], key[META_NAME_MAX + 1];
	bool alias, again;

	meta_name_encode(s, len, name, &alias);
	CHECK(is_file_name(name));
	meta_name_decode(name, back);
	if (!alias)
		CHECK(strlen(back) == len && !memcmp(back, s, len));
	/* And a name that a user gives comes back from a listing. */
	if (len > META_NAME_MAX || memchr(s, '\0', len) || !is_file_name(s))
		return;
	meta_name_decode(s, key);
	meta_name_encode(key, strlen(key), back, &again);
	CHECK(again || !strcmp(back, s));
}

static void driver_name(const char *s, size_t len)
{
	char name[LNAME_MAX], back[3 * LNAME_MAX];
	bool hashed, alt;
	int n;

	if (len > STORE_KEY_MAX || memchr(s, '\0', len))
		return;
	CHECK(lname_encode(s, len, name, &hashed) == strlen(name));
	CHECK(is_file_name(name) && strncmp(name, LOCAL_PRIVATE, strlen(LOCAL_PRIVATE)));
	n = lname_decode(name, back, &alt);
	CHECK(hashed ? n == -2 : n == (int)len && !memcmp(back, s, len) && !alt);
	/* Any file that somebody made. */
	if (is_file_name(s)) {
		n = lname_decode(s, back, &alt);
		CHECK(n >= -2 && n <= 255);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *s = fuzz_text(p, n);

	/* Components have no slash. */
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '/')
			s[i] = '%';
	}
	tree_name(s, n);
	driver_name(s, n);
	free(s);
	return 0;
}
