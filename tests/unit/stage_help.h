/* SPDX-License-Identifier: MIT */
/* What the tests of staging share: a directory of their own per test, and a stage in it. */
#ifndef STAGE_HELP_H
#define STAGE_HELP_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_count.h"
#include "astra/stage.h"
#include "scratch_help.h"

#define K UINT64_C(1024)
#define M (K * K)

static char dir[64];
static uint64_t span; /* of stages opened from here on; 0 = the usual */

static inline struct stage *open_with(uint64_t quota, uint64_t min_free, bool power_cut)
{
	struct stage_conf c = {.dir = dir,
		.quota_bytes = quota,
		.min_free_bytes = min_free,
		.span = span,
		.power_cut = power_cut};
	struct stage *s = NULL;
	struct err err;

	if (stage_open(&c, &s, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	return s;
}

static inline int setup(void **state)
{
	(void)state;
	scratch_name(dir, sizeof(dir), "stage");
	return mkdtemp(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static inline void pattern(char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (char)(seed >> 24);
	}
}

static inline int rd(struct stage_file *f, uint64_t off, void *p, size_t len, size_t *n,
	uint64_t *mo, uint64_t *ml)
{
	*mo = *ml = 0;
	return stage_read(f, off, p, len, n, mo, ml);
}

#endif
