/* SPDX-License-Identifier: MIT */
/* Drives a fuzz target where libFuzzer is not there: every file that is named, or that lies in a
 * directory that is named, is one input. Arguments that begin with '-' are libFuzzer's. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX (1u << 20)

static unsigned count;

static void run_file(const char *path)
{
	FILE *f = fopen(path, "r");
	uint8_t *p = malloc(INPUT_MAX);
	size_t n;

	CHECK(f && p);
	n = fread(p, 1, INPUT_MAX, f);
	(void)fclose(f);
	/* To its very end: a sanitizer sees the first byte too far. */
	p = realloc(p, n ? n : 1);
	CHECK(p);
	(void)LLVMFuzzerTestOneInput(p, n);
	free(p);
	count++;
}

static void run_dir(const char *path)
{
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);
	char full[4096];

	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.') {
			(void)snprintf(full, sizeof(full), "%s/%s", path, list[i]->d_name);
			run_file(full);
		}
		free(list[i]);
	}
	free(list);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-')
			continue;
		if (stat(argv[i], &st) < 0) {
			perror(argv[i]);
			return 2;
		}
		if (S_ISDIR(st.st_mode))
			run_dir(argv[i]);
		else
			run_file(argv[i]);
	}
	/* A target must also take nothing. */
	(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	printf("%u inputs\n", count);
	return 0;
}
