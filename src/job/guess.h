/* SPDX-License-Identifier: MIT */
/* Where the names of a directory lie of which some pages were seen. Pure; see guess.c. */
#ifndef ASTRA_JOB_GUESS_H
#define ASTRA_JOB_GUESS_H

#include "astra/store.h"

#define GUESS_PLACES 64 /* characters of a name that are looked at */

struct guess {
	struct {
		uint64_t seen[2]; /* a bit for each ASCII character that a name had here */
		bool other;	  /* a name had another one */
	} at[GUESS_PLACES];
	/* Of the page that is farthest behind: */
	char lo[GUESS_PLACES + 1], hi[GUESS_PLACES + 1]; /* its first and last name, cut */
	unsigned n;					 /* names from lo to hi */
};

/* A page of a directory whose keys begin with prefix_len other bytes. */
void guess_page(struct guess *g, const struct store_page *p, size_t prefix_len);
/* A name about so many names behind one, in the order of bytes: ASCII but for what all names of
 * the page have, with no '/'. False: nobody knows, or none can be so far behind. */
bool guess_after(const struct guess *g, const char *name, double names, char ret[GUESS_PLACES + 1]);

#endif
