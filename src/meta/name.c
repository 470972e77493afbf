/* SPDX-License-Identifier: MIT */
/*
 * Key components as file names. Nearly every component is its own name. The few that no file can
 * have are escaped:
 *
 *	""   -> %00		"." -> %2E	 ".." -> %2E%2E
 *
 * and a component that reads like one of these escapes has its first '%' escaped in turn: the
 * object "%2E" is shown as %252E, "%252E" as %25252E. So '%' changes only where the name would be
 * read as an escape, and encode and decode are inverse to each other on everything that fits:
 * a name that a user gives comes back from a listing as that name.
 *
 * What does not fit (over 255 bytes) is shown as its beginning, "%~" and 16 hex digits of a hash;
 * so is a component with a NUL byte in it. Such names are aliases: only the inode row knows the
 * component. Pure functions.
 */
#include "astra/meta.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"

#define ALIAS_TAIL 18u /* "%~" and 16 digits */

static const struct {
	const char *component, *escape;
} odd[] = {{"", "%00"}, {".", "%2E"}, {"..", "%2E%2E"}};

/* How often '%' was escaped when s (len bytes) is of the family %, %25, %2525 ... + the rest of an
 * escape; -1 when it is not. *ret_odd: which. */
static int family(const char *s, size_t len, unsigned *ret_odd)
{
	size_t skip = 1;
	int n = 0;

	if (len == 0 || s[0] != '%')
		return -1;
	for (;; n++, skip += 2) {
		for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
			size_t rest = strlen(odd[i].escape) - 1;

			if (len - skip == rest && memcmp(s + skip, odd[i].escape + 1, rest) == 0) {
				*ret_odd = i;
				return n;
			}
		}
		if (len - skip < 2 || memcmp(s + skip, "25", 2) != 0)
			return -1;
	}
}

static void alias(const char *component, size_t len, char ret[META_NAME_MAX + 1])
{
	size_t keep = MIN_OF(len, META_NAME_MAX - ALIAS_TAIL);
	unsigned back = 0;

	/* Not in the middle of a UTF-8 character. */
	while (keep < len && keep > 0 && back++ < 3 && (component[keep] & 0xc0) == 0x80)
		keep--;
	for (size_t i = 0; i < keep; i++)
		ret[i] = component[i] != '\0' ? component[i] : '_';
	(void)snprintf(ret + keep, ALIAS_TAIL + 1, "%%~%016llx",
		(unsigned long long)hash64(component, len, 0));
}

void meta_name_encode(
	const char *component, size_t len, char ret[META_NAME_MAX + 1], bool *ret_alias)
{
	unsigned which;

	assert(len == 0 || memchr(component, '/', len) == NULL);
	*ret_alias = false;
	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		if (len == strlen(odd[i].component) &&
			(len == 0 || memcmp(component, odd[i].component, len) == 0)) {
			(void)snprintf(ret, META_NAME_MAX + 1, "%s", odd[i].escape);
			return;
		}
	}
	if (len <= META_NAME_MAX - 2 && family(component, len, &which) >= 0) {
		memcpy(ret, "%25", 3);
		memcpy(ret + 3, component + 1, len - 1);
		ret[len + 2] = '\0';
		return;
	}
	if (len > META_NAME_MAX || memchr(component, '\0', len) != NULL ||
		family(component, len, &which) >= 0) {
		*ret_alias = true;
		alias(component, len, ret);
		return;
	}
	memcpy(ret, component, len);
	ret[len] = '\0';
}

void meta_name_decode(const char *name, char ret[META_NAME_MAX + 1])
{
	size_t len = strnlen(name, META_NAME_MAX);
	unsigned which;
	int n = family(name, len, &which);

	if (n == 0) {
		(void)snprintf(ret, META_NAME_MAX + 1, "%s", odd[which].component);
		return;
	}
	if (n > 0) {
		ret[0] = '%';
		name += 3;
		len -= 3;
		memcpy(ret + 1, name, len);
		ret[len + 1] = '\0';
		return;
	}
	memcpy(ret, name, len);
	ret[len] = '\0';
}
