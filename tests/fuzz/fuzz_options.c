/* SPDX-License-Identifier: MIT */
/* The command line's -o (the first line of the input), a configuration file (the rest), and the
 * remotes that it describes. */
#include "fuzz.h"

#include <unistd.h>

#include "astra/store.h"
#include "options.h"

static void build(const struct conf *c)
{
	struct remote *remotes = NULL;
	struct err err = {0};
	size_t count = 0;
	errint_t r = remotes_build(c, fuzz_dir(), &remotes, &count, &err);

	CHECK(!r || *err.msg);
	if (r)
		return;
	for (size_t i = 0; i < count; i++)
		CHECK(*remotes[i].name && !strchr(remotes[i].name, '/') && remotes[i].st);
	remotes_destroy(remotes, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *line = n ? memchr(p, '\n', n) : NULL;
	size_t first = line ? (size_t)(line - p) : n;
	char *words = fuzz_text(p, first), *file = fuzz_text(p + first, n - first);
	char *argv[] = {
		"astrafs", "-o", words, "-c", strdup(fuzz_file(file, n - first)), "/mnt", NULL};
	struct options o;
	struct err err = {0};
	char name[256];
	errint_t r;

	if (setenv("XDG_CONFIG_HOME", "/proc/nonexistent", 1) < 0)
		abort();
	optind = 0;
	r = options_parse(&o, 6, argv, &err);
	CHECK(!r || *err.msg);
	if (!r) {
		CHECK(o.mountpoint && o.buffers != 1 && o.workers != 1);
		/* A store elsewhere is not for a test. */
		if (!strstr(file, "path"))
			build(o.conf);
	}
	options_done(&o);
	options_name_of(*words == '/' ? words : "/", name);
	CHECK(*name && !strchr(name, '/'));
	free(argv[4]);
	free(words);
	free(file);
	return 0;
}
