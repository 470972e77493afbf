/* SPDX-License-Identifier: MIT */
/*
 * What a handle's reads will probably ask for next. Pure: told of each read, in the order in which
 * they came, it says what to have on its way. Callers serialise (the node's lock).
 *
 * A handle is read by up to PATTERN_STREAMS streams: threads that each read a part, or one that
 * goes to and fro. A stream goes forward, backward, or by equal steps; one read alone says nothing,
 * but for a large one at the start of the file (it is read on) and one at its end (an archive or a
 * Parquet file tells there what is where).
 */
#ifndef VFS_PATTERN_H
#define VFS_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#define PATTERN_STREAMS	   8
#define PATTERN_RANGES	   16
#define PATTERN_WINDOW_MAX (UINT64_C(64) << 20)

struct pattern_stream {
	uint64_t off, end;     /* of its last read; end 0: unused. The furthest, forward */
	uint64_t window;       /* forward, and then `asked` is how far it was looked after */
	uint64_t asked;	       /* backward: from where on it is on its way */
	int64_t step;	       /* from one read to the next; 0: not known */
	unsigned steps, backs; /* that were equal, that joined */
	uint64_t used;	       /* number of its last read */
};

struct pattern {
	struct pattern_stream s[PATTERN_STREAMS];
	uint64_t reads;
	uint64_t last; /* offset of the last read that went nowhere known */
};

struct pattern_plan {
	struct pattern_stream *stream;
	bool begins;	 /* it goes nowhere known */
	uint64_t window; /* bytes behind the read to keep on their way; 0: none */
	unsigned n;	 /* ranges to fetch beside it */
	struct {
		uint64_t off, end;
	} range[PATTERN_RANGES];
};

/* A read of [off, off+len) of a file of `size` bytes. */
void pattern_read(
	struct pattern *p, uint64_t off, uint64_t len, uint64_t size, struct pattern_plan *ret);

#endif
