/* SPDX-License-Identifier: MIT */
/*
 * INI configuration, read once into a list that remembers file and line of every value, so that a
 * bad one can be named. Sections are "name" or "kind name" ([remote aws]).
 */
#ifndef ASTRA_BASE_CONF_H
#define ASTRA_BASE_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_err.h"

struct conf; /* opaque */

struct conf_item {
	const char *section;	 /* "" before the first header */
	const char *key, *value; /* a section's header is an item, with both empty */
	const char *file;	 /* "-o" for the command line */
	int line;		 /* 0 for the command line */
};

struct conf *conf_new(void);
struct conf *conf_destroy(struct conf *c);
/* Appends a file's items. -EINVAL names file:line; -ENOENT when it is not there. Comments start
 * with ; or # at the start of a line or behind a blank; no quotes, no continued lines. */
errint_t conf_load(struct conf *c, const char *path, struct err *err);
/* Appends one item, as -o key=value does. Later items win. */
errint_t conf_set(struct conf *c, const char *section, const char *key, const char *value);
size_t conf_count(const struct conf *c);
const struct conf_item *conf_at(const struct conf *c, size_t i);
/* Last value, or NULL. */
const struct conf_item *conf_get(const struct conf *c, const char *section, const char *key);

/* -EINVAL with "FILE:LINE: KEY: WHAT: 'VALUE' is not ...; allowed: ..." */
errint_t conf_err(const struct conf_item *it, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Values as people write them. Each refuses trailing text and says what is allowed. */
/* yes no true false 1 0 on off */
errint_t conf_bool(const struct conf_item *it, bool *ret, struct err *err);
errint_t conf_u64(
	const struct conf_item *it, uint64_t min, uint64_t max, uint64_t *ret, struct err *err);
/* 512, 64K, 10M, 5GiB: powers of 1024; 10GB: of 1000 */
errint_t conf_size(const struct conf_item *it, uint64_t *ret, struct err *err);
/* 200ms 1s 30m 12h 7d 2w; a bare number is seconds */
errint_t conf_duration(const struct conf_item *it, int64_t *ret_ns, struct err *err);
/* The same parsers on bare strings (xattr values, command lines): -EINVAL or 0. */
errint_t parse_size(const char *s, uint64_t *ret);
errint_t parse_duration(const char *s, int64_t *ret_ns);

/* The entry of names[0..n) nearest to s by edit distance, or NULL when none is near. */
const char *nearest_name(const char *s, const char *const *names, size_t n);

#endif
