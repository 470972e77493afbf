/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. A target is one fuzz_TARGET.c with LLVMFuzzerTestOneInput(): it may
 * crash, leak, hang or break a CHECK() only where the code under test is wrong. With clang and
 * -Dfuzz=true libFuzzer drives it; otherwise main.c gives it the files of its corpus once.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A directory of this process, removed at its end. */
const char *fuzz_dir(void);
void fuzz_remove(const char *path); /* and what is below */
/* The input as a file; its name holds until the next call. */
const char *fuzz_file(const void *p, size_t n);
/* The input as a string: cut at the first NUL. Freed by the caller. */
char *fuzz_text(const uint8_t *p, size_t n);
/* Takes up to `want` bytes off the front, the rest of ret is zeroed. */
void fuzz_take(const uint8_t **p, size_t *n, void *ret, size_t want);
/* Nothing but errors is logged, and these to nowhere. */
void fuzz_quiet(void);

#endif
