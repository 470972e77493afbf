/* SPDX-License-Identifier: MIT */
/*
 * Names of large directories mostly count (f00001), are hashes or times: read as a number whose
 * places have the characters that were seen there, they lie about evenly. What is seen in a page
 * says how far apart, and so where a name some thousand names further on would be.
 *
 * Of a place more characters are to be expected than were seen, as in the first ones of a number
 * that counts: where one digit was all are, and of letters a-f or a-z by what places with many
 * have. A place where all names have the same one, of another kind than those, stays as it is.
 */
#include <string.h>

#include "guess.h"

#define MANY	4    /* characters at a place, which then says of what kind all are */
#define BEFORE	1e6  /* numbers of the places that all names of a page share */
#define NUMBERS 1e15 /* of all places together: a double has them */
#define FINE	64.0 /* places that make less than this part of the way do not matter */

static bool has(const uint64_t set[2], unsigned c)
{
	return (set[c / 64] >> (c % 64) & 1) != 0;
}

static void add_run(uint64_t set[2], char from, char to)
{
	for (unsigned c = (unsigned)from; c <= (unsigned)to; c++)
		set[c / 64] |= UINT64_C(1) << (c % 64);
}

static bool meets(const uint64_t set[2], char from, char to)
{
	for (unsigned c = (unsigned)from; c <= (unsigned)to; c++)
		if (has(set, c))
			return true;
	return false;
}

static unsigned count(const uint64_t set[2])
{
	return (unsigned)(__builtin_popcountll(set[0]) + __builtin_popcountll(set[1]));
}

/* All characters of the kinds that are in it. */
static void complete(uint64_t set[2])
{
	if (meets(set, '0', '9'))
		add_run(set, '0', '9');
	if (meets(set, 'g', 'z'))
		add_run(set, 'a', 'z');
	else if (meets(set, 'a', 'f'))
		add_run(set, 'a', 'f');
	if (meets(set, 'G', 'Z'))
		add_run(set, 'A', 'Z');
	else if (meets(set, 'A', 'F'))
		add_run(set, 'A', 'F');
}

void guess_page(struct guess *g, const struct store_page *p, size_t prefix_len)
{
	g->n = 0;
	for (size_t i = 0; i < p->n; i++) {
		size_t len = strlen(p->e[i].key) - p->e[i].is_prefix;
		const char *name = p->e[i].key + prefix_len;

		len = len > prefix_len ? len - prefix_len : 0;
		len = len < GUESS_PLACES ? len : GUESS_PLACES;
		if (len == 0)
			continue;
		for (size_t k = 0; k < len; k++) {
			unsigned c = (unsigned char)name[k];

			if (c < 128)
				g->at[k].seen[c / 64] |= UINT64_C(1) << (c % 64);
			else
				g->at[k].other = true;
		}
		memcpy(g->hi, name, len);
		g->hi[len] = '\0';
		if (g->n++ == 0)
			memcpy(g->lo, g->hi, len + 1);
	}
}

/* The places that are read as a number: from first on, up to end. */
struct number {
	size_t first, end;
	unsigned n[GUESS_PLACES];    /* characters of each */
	char set[GUESS_PLACES][128]; /* these, in order */
	double all;		     /* numbers there are */
};

/* What places with many characters have. */
static void kinds(const struct guess *g, uint64_t ret[2])
{
	for (unsigned least = MANY; least >= 2 && (ret[0] | ret[1]) == 0; least -= 2)
		for (size_t i = 0; i < GUESS_PLACES; i++)
			if (count(g->at[i].seen) >= least) {
				ret[0] |= g->at[i].seen[0];
				ret[1] |= g->at[i].seen[1];
			}
	complete(ret);
}

static void place(const struct guess *g, const uint64_t kind[2], size_t i, struct number *ret)
{
	uint64_t set[2] = {g->at[i].seen[0], g->at[i].seen[1]};
	uint64_t alnum[2] = {0, 0};

	add_run(alnum, '0', '9');
	add_run(alnum, 'a', 'z');
	add_run(alnum, 'A', 'Z');
	if (((set[0] & kind[0] & alnum[0]) | (set[1] & kind[1] & alnum[1])) != 0) {
		set[0] |= kind[0] & alnum[0];
		set[1] |= kind[1] & alnum[1];
	}
	if (count(set) > 1)
		complete(set);
	ret->n[i] = 0;
	for (unsigned c = 1; c < 128; c++)
		if (has(set, c) && c != '/')
			ret->set[i][ret->n[i]++] = (char)c;
}

static bool is_place(const struct guess *g, size_t i)
{
	return i < GUESS_PLACES && !g->at[i].other && (g->at[i].seen[0] | g->at[i].seen[1]) != 0;
}

/* False: the names of the page differ in what cannot be read so. */
static bool number_of(const struct guess *g, struct number *ret)
{
	uint64_t kind[2] = {0, 0};
	size_t differ = 0;

	while (g->lo[differ] != '\0' && g->lo[differ] == g->hi[differ])
		differ++;
	if (!is_place(g, differ))
		return false;
	kinds(g, kind);
	ret->all = 1;
	for (ret->first = differ; ret->first > 0 && is_place(g, ret->first - 1); ret->first--) {
		place(g, kind, ret->first - 1, ret);
		if (ret->n[ret->first - 1] == 0 || ret->all * ret->n[ret->first - 1] > BEFORE)
			break;
		ret->all *= ret->n[ret->first - 1];
	}
	for (ret->end = differ; is_place(g, ret->end); ret->end++) {
		place(g, kind, ret->end, ret);
		if (ret->n[ret->end] == 0 || ret->all * ret->n[ret->end] > NUMBERS)
			break;
		ret->all *= ret->n[ret->end];
	}
	return ret->end > differ;
}

/* A place that a name does not have counts as its first character, one that is not known as the
 * next. */
static double value(const struct number *n, const char *name)
{
	double v = 0;
	bool over = false;

	for (size_t i = n->first; i < n->end; i++) {
		unsigned d = 0;

		over = over || name[i] == '\0';
		while (!over && d + 1 < n->n[i] &&
			(unsigned char)n->set[i][d] < (unsigned char)name[i])
			d++;
		v = v * n->n[i] + d;
	}
	return v;
}

bool guess_after(const struct guess *g, const char *name, double names, char ret[GUESS_PLACES + 1])
{
	struct number n;

	if (g->n < 2 || !number_of(g, &n) || strncmp(name, g->lo, n.first) != 0)
		return false;
	double way = (value(&n, g->hi) - value(&n, g->lo)) / (g->n - 1) * names;
	double at = value(&n, name) + way, weight = n.all;
	size_t i = n.first;

	if (way < 1 || at >= n.all)
		return false;
	memcpy(ret, g->lo, n.first);
	do {
		weight /= n.n[i];
		unsigned d = (unsigned)(at / weight);

		d = d < n.n[i] ? d : n.n[i] - 1;
		at -= d * weight;
		ret[i] = n.set[i][d];
	} while (++i < n.end && weight > way / FINE);
	ret[i] = '\0';
	return strcmp(ret, name) > 0;
}
