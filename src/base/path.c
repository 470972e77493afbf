/* SPDX-License-Identifier: MIT */
#include "astra/base_path.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"

static char *joined(const char *real, const char *rest)
{
	char *ret = NULL;

	if (!*rest)
		return strdup(real);
	return asprintf(&ret, "%s%s", real[1] ? real : "", rest) < 0 ? NULL : ret;
}

char *path_real(const char *path)
{
	cleanup_free char *text = strdup(path);
	size_t n = text ? strlen(text) : 0;

	assert(*path == '/');
	if (!text)
		return NULL;
	while (n > 1 && text[n - 1] == '/')
		text[--n] = '\0';
	/* The longest head that is there, and the words behind it. */
	while (n > 1) {
		char keep = text[n];
		cleanup_free char *real = NULL;

		text[n] = '\0';
		real = realpath(text, NULL);
		text[n] = keep;
		if (real)
			return joined(real, text + n);
		while (text[n - 1] != '/')
			n--;
		while (n > 1 && text[n - 1] == '/')
			n--;
	}
	return strdup(text);
}

const char *path_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 1) /* "/" */
		return path + 1;
	if (strncmp(path, dir, n) != 0 || (path[n] && path[n] != '/'))
		return NULL;
	return path[n] ? path + n + 1 : path + n;
}
