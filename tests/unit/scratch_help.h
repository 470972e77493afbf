/* SPDX-License-Identifier: MIT */
/* Names of what tests make on the disk: below TMPDIR, which the test run removes in the end. */
#ifndef TEST_SCRATCH_HELP_H
#define TEST_SCRATCH_HELP_H

#include <stdio.h>
#include <stdlib.h>

/* For mkdtemp and mkstemp. */
static inline void scratch_name(char *ret, size_t size, const char *name)
{
	const char *tmp = getenv("TMPDIR");
	int n = snprintf(ret, size, "%s/astra-%s-XXXXXX", tmp != NULL ? tmp : "/tmp", name);

	if (n < 0 || (size_t)n >= size) {
		(void)fprintf(stderr, "TMPDIR is too long for the tests: %s\n", tmp);
		abort();
	}
}

#endif
