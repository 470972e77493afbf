/* SPDX-License-Identifier: MIT */
/*
 * Configuration: INI files by inih, kept as a flat list with the place of every value, and the
 * parsers of values. One thread (start-up and reload).
 *
 * inih as distributions build it hands no line number to its handler, cuts section names at 49
 * bytes and passes over text behind "]". So it reads through our reader, which counts lines and
 * refuses what inih would bend silently. Its settings are process-wide variables: set on each
 * load. Lines that begin with blanks are no continuations; " ;" and " #" start a comment.
 */
#include "astra/base_conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define LINE_BYTES_MAX	  4096
#define SECTION_BYTES_MAX 49	 /* inih's own limit */
#define ITEMS_MAX	  100000 /* a file larger than this is no configuration */

struct conf {
	struct conf_item **items; /* owned, as their strings; stable addresses */
	size_t count, cap;
};

struct conf *conf_new(void)
{
	return calloc(1, sizeof(struct conf));
}

static void item_free(struct conf_item *it)
{
	if (!it)
		return;
	free((char *)it->section);
	free((char *)it->key);
	free((char *)it->value);
	free((char *)it->file);
	free(it);
}

struct conf *conf_destroy(struct conf *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		item_free(c->items[i]);
	free(c->items);
	free(c);
	return NULL;
}

/* A copy with blanks at the ends cut and runs of them made one: "[ remote   aws ]". */
static char *dup_section(const char *s)
{
	char *copy = strdup(s), *to = copy;

	if (!copy)
		return NULL;
	for (; *s; s++) {
		if (!isblank((unsigned char)*s))
			*to++ = *s;
		else if (to > copy && to[-1] != ' ')
			*to++ = ' ';
	}
	if (to > copy && to[-1] == ' ')
		to--;
	*to = '\0';
	return copy;
}

static errint_t conf_append(struct conf *c, const char *section, const char *key, const char *value,
	const char *file, int line)
{
	struct conf_item *it;

	if (c->count >= ITEMS_MAX)
		return -E2BIG;
	if (c->count == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 32;
		struct conf_item **p = realloc(c->items, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		c->items = p;
		c->cap = cap;
	}
	it = calloc(1, sizeof(*it));
	if (!it)
		return -ENOMEM;
	it->section = dup_section(section);
	it->key = strdup(key);
	it->value = strdup(value);
	it->file = strdup(file);
	it->line = line;
	if (!it->section || !it->key || !it->value || !it->file) {
		item_free(it);
		return -ENOMEM;
	}
	c->items[c->count++] = it;
	return 0;
}

errint_t conf_set(struct conf *c, const char *section, const char *key, const char *value)
{
	assert(c && section && key && value);
	return conf_append(c, section, key, value, "-o", 0);
}

/* ---- reading a file ---- */

struct load {
	struct conf *conf;
	FILE *f;
	const char *path;
	int line; /* of the text that inih looks at */
	errint_t r;
	struct err *err;
};

__attribute__((format(printf, 2, 3))) static void load_fail(struct load *l, const char *fmt, ...)
{
	char msg[300];
	va_list ap;

	if (l->r)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	l->r = err_set(l->err, -EINVAL, ERR_FINAL, "%s:%d: %s", l->path, l->line, msg);
}

/* The last item is a header: in one file it is the only one of its name, since what a copy that was
 * not edited says would be mixed with the rest. Another file may add to it. */
static void check_twice(struct load *l)
{
	const struct conf_item *now = l->conf->items[l->conf->count - 1];

	for (size_t i = 0; i + 1 < l->conf->count; i++) {
		const struct conf_item *it = l->conf->items[i];

		if (*it->key == '\0' && strcmp(it->section, now->section) == 0 &&
			strcmp(it->file, now->file) == 0)
			load_fail(l, "section [%s] once more; it is in line %d already",
				now->section, it->line);
	}
}

/* The header as an item: inih tells of a section only with its keys. */
static void add_header(struct load *l, const char *name, size_t len)
{
	cleanup_free char *section = strndup(name, len);
	errint_t r = section ? conf_append(l->conf, section, "", "", l->path, l->line) : -ENOMEM;

	if (r == -E2BIG)
		load_fail(l, "more than %d values", ITEMS_MAX);
	else if (r && !l->r)
		l->r = err_set(l->err, r, ERR_RETRY, "%s: %s", l->path, err_text(NULL, r));
	else if (r == 0)
		check_twice(l);
}

/* What inih would take in silence. */
static void check_header(struct load *l, const char *s)
{
	const char *end = strchr(s, ']'), *at;

	if (!end) {
		load_fail(l, "section without ']'");
		return;
	}
	if (end - s - 1 > SECTION_BYTES_MAX) {
		load_fail(l, "section name of more than %d bytes", SECTION_BYTES_MAX);
		return;
	}
	for (at = s + 1; at < end && isspace((unsigned char)*at); at++)
		;
	if (at == end) {
		load_fail(l, "section without a name");
		return;
	}
	for (at = end + 1; isspace((unsigned char)*at); at++)
		;
	if (*at && *at != ';' && *at != '#')
		load_fail(l, "text behind the section's ']'");
	else
		add_header(l, s + 1, (size_t)(end - s - 1));
}

/* fgets() that counts. A NULL ends inih's work, and load.r says why. */
static char *read_line(char *to, int room, void *arg)
{
	struct load *l = arg;
	const char *s = to;
	size_t len;

	assert(to && room > 1);
	if (l->r)
		return NULL;
	/* So that a NUL within the line can be told from its end. */
	memset(to, '\n', (size_t)room);
	l->line++;
	if (!fgets(to, room, l->f)) {
		if (ferror(l->f)) {
			int keep = errno ? errno : EIO;

			l->r = err_set(
				l->err, -keep, ERR_FINAL, "%s: %s", l->path, err_text(NULL, -keep));
		}
		return NULL;
	}
	len = strlen(to);
	/* fgets wrote one NUL, at the end; behind it is still what memset left. */
	if (len == 0 || (to[len - 1] != '\n' && len + 1 < (size_t)room &&
				(!feof(l->f) || to[len + 1] != '\n'))) {
		load_fail(l, "a NUL byte");
		return NULL;
	}
	/* Without its newline, also when that is missing because there was no room for it. */
	if (len - (to[len - 1] == '\n') > LINE_BYTES_MAX) {
		load_fail(l, "line of more than %d bytes", LINE_BYTES_MAX);
		return NULL;
	}
	if (l->line == 1 && strncmp(s, "\xef\xbb\xbf", 3) == 0)
		s += 3;
	while (isspace((unsigned char)*s))
		s++;
	if (*s == '[')
		check_header(l, s);
	return l->r ? NULL : to;
}

static int on_item(void *arg, const char *section, const char *name, const char *value)
{
	struct load *l = arg;
	errint_t r;

	if (!name || !*name) {
		load_fail(l, "a value without a key");
		return 0;
	}
	r = conf_append(l->conf, section, name, value ? value : "", l->path, l->line);
	if (r == -E2BIG)
		load_fail(l, "more than %d values", ITEMS_MAX);
	else if (r)
		l->r = err_set(l->err, r, ERR_RETRY, "%s: %s", l->path, err_text(NULL, r));
	return r == 0;
}

errint_t conf_load(struct conf *c, const char *path, struct err *err)
{
	static char comments[] = ";#";
	struct load l = {.conf = c, .path = path, .err = err};
	struct stat st;
	int rc;

	assert(c && path);
	l.f = fopen(path, "re");
	if (l.f && fstat(fileno(l.f), &st) == 0 && S_ISDIR(st.st_mode)) {
		(void)fclose(l.f);
		l.f = NULL;
		errno = EISDIR;
	}
	if (!l.f) {
		rc = -errno;
		return err_set(err, rc, rc == -ENOENT ? ERR_NOT_FOUND : ERR_FINAL,
			"cannot read the configuration '%s': %s", path, err_text(NULL, rc));
	}
	ini_use_stack = true;
	ini_max_line = LINE_BYTES_MAX + 2;
	ini_allow_multiline = false;
	ini_allow_no_value = false;
	ini_allow_bom = true;
	ini_stop_on_first_error = true;
	ini_allow_inline_comments = true;
	ini_inline_comment_prefixes = comments;
	ini_start_comment_prefixes = comments;
	rc = ini_parse_stream(read_line, &l, on_item, &l);
	if (rc && !l.r)
		load_fail(&l, "neither 'key = value' nor '[section]' nor a comment");
	(void)fclose(l.f);
	return l.r;
}

/* ---- looking up ---- */

size_t conf_count(const struct conf *c)
{
	return c->count;
}

const struct conf_item *conf_at(const struct conf *c, size_t i)
{
	assert(i < c->count);
	return c->items[i];
}

const struct conf_item *conf_get(const struct conf *c, const char *section, const char *key)
{
	for (size_t i = c->count; i-- > 0;) {
		const struct conf_item *it = c->items[i];

		if (strcmp(it->key, key) == 0 && strcmp(it->section, section) == 0)
			return it;
	}
	return NULL;
}

errint_t conf_err(const struct conf_item *it, struct err *err, const char *fmt, ...)
{
	char msg[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (it->line == 0)
		return err_set(err, -EINVAL, ERR_FINAL, "%s %s: %s", it->file, it->key, msg);
	if (!*it->key)
		return err_set(err, -EINVAL, ERR_FINAL, "%s:%d: [%s]: %s", it->file, it->line,
			it->section, msg);
	return err_set(err, -EINVAL, ERR_FINAL, "%s:%d: %s: %s", it->file, it->line, it->key, msg);
}

/* ---- values ---- */

errint_t conf_bool(const struct conf_item *it, bool *ret, struct err *err)
{
	static const struct {
		const char *name;
		bool value;
	} words[] = {
		{"yes", true},
		{"no", false},
		{"true", true},
		{"false", false},
		{"1", true},
		{"0", false},
		{"on", true},
		{"off", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(it->value, words[i].name) == 0) {
			*ret = words[i].value;
			return 0;
		}
	}
	return conf_err(it, err,
		"'%s' is not a yes or no; allowed: yes, no, true, false, on, off, 1, 0", it->value);
}

/* Decimal digits at *s, which moves behind them. -EINVAL when there are none, -ERANGE. */
static errint_t take_number(const char **s, uint64_t *ret)
{
	const char *at = *s;
	uint64_t v = 0;

	if (!isdigit((unsigned char)*at))
		return -EINVAL;
	for (; isdigit((unsigned char)*at); at++) {
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
			__builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return -ERANGE;
	}
	*s = at;
	*ret = v;
	return 0;
}

errint_t conf_u64(
	const struct conf_item *it, uint64_t min, uint64_t max, uint64_t *ret, struct err *err)
{
	const char *s = it->value;
	uint64_t v = 0;
	errint_t r = take_number(&s, &v);

	if (r == -EINVAL || *s)
		return conf_err(it, err,
			"'%s' is not a whole number; allowed: %" PRIu64 " to %" PRIu64, it->value,
			min, max);
	if (r || v < min || v > max)
		return conf_err(it, err, "'%s' is out of range; allowed: %" PRIu64 " to %" PRIu64,
			it->value, min, max);
	*ret = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* Number, blanks, unit. -EINVAL for anything else, and for what does not fit. */
static errint_t parse_units(const char *s, const struct unit *units, size_t n, uint64_t *ret)
{
	uint64_t v;

	assert(s && ret);
	if (take_number(&s, &v))
		return -EINVAL;
	while (isblank((unsigned char)*s))
		s++;
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(s, units[i].name) != 0)
			continue;
		if (__builtin_mul_overflow(v, units[i].factor, &v))
			return -EINVAL;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

errint_t parse_size(const char *s, uint64_t *ret)
{
	static const struct unit units[] = {
		{"", 1},
		{"B", 1},
#define UNIT(letter, bits, thousands)                                                              \
	{letter, UINT64_C(1) << (bits)}, {letter "iB", UINT64_C(1) << (bits)},                     \
		{letter "B", UINT64_C(thousands)}
		UNIT("K", 10, 1000),
		UNIT("M", 20, 1000000),
		UNIT("G", 30, 1000000000),
		UNIT("T", 40, 1000000000000),
		UNIT("P", 50, 1000000000000000),
#undef UNIT
	};

	return parse_units(s, units, ARRAY_SIZE(units), ret);
}

errint_t parse_duration(const char *s, int64_t *ret_ns)
{
	static const struct unit units[] = {
		{"", NS_PER_S},
		{"ms", NS_PER_MS},
		{"s", NS_PER_S},
		{"m", 60 * NS_PER_S},
		{"h", 3600 * NS_PER_S},
		{"d", 86400 * NS_PER_S},
		{"w", 7 * 86400 * NS_PER_S},
	};
	uint64_t v;

	if (parse_units(s, units, ARRAY_SIZE(units), &v) || v > INT64_MAX)
		return -EINVAL;
	*ret_ns = (int64_t)v;
	return 0;
}

errint_t conf_size(const struct conf_item *it, uint64_t *ret, struct err *err)
{
	if (parse_size(it->value, ret))
		return conf_err(it, err,
			"'%s' is not a size; allowed: a whole number with K, M, G, T, P (powers of "
			"1024), KiB.. (the same), KB.. (powers of 1000) or nothing (bytes)",
			it->value);
	return 0;
}

errint_t conf_duration(const struct conf_item *it, int64_t *ret_ns, struct err *err)
{
	if (parse_duration(it->value, ret_ns))
		return conf_err(it, err,
			"'%s' is not a duration; allowed: a whole number with ms, s, m, h, d, w or "
			"nothing (seconds)",
			it->value);
	return 0;
}

/* ---- the nearest name ---- */

#define NAME_MAX_ 63

/* Edit distance in which swapping two neighbours costs one. Case counts nothing. */
static unsigned distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned rows[3][NAME_MAX_ + 1];
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];

	assert(na <= NAME_MAX_ && nb <= NAME_MAX_);
	for (size_t k = 0; k <= nb; k++)
		last[k] = (unsigned)k;
	for (size_t i = 1; i <= na; i++) {
		unsigned *swap = before;

		now[0] = (unsigned)i;
		for (size_t k = 1; k <= nb; k++) {
			int ca = tolower((unsigned char)a[i - 1]);
			int cb = tolower((unsigned char)b[k - 1]);
			unsigned d = last[k - 1] + (ca != cb);

			d = MIN_OF(d, last[k] + 1);
			d = MIN_OF(d, now[k - 1] + 1);
			if (i > 1 && k > 1 && ca == tolower((unsigned char)b[k - 2]) &&
				cb == tolower((unsigned char)a[i - 2]))
				d = MIN_OF(d, before[k - 2] + 1);
			now[k] = d;
		}
		before = last;
		last = now;
		now = swap;
	}
	return last[nb];
}

const char *nearest_name(const char *s, const char *const *names, size_t n)
{
	size_t len = strlen(s);
	const char *best = NULL;
	/* A third of the letters wrong is a slip; more is another word. */
	unsigned least = (unsigned)MAX_OF(len / 3, (size_t)1) + 1;

	if (len > NAME_MAX_)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t m = strlen(names[i]);
		unsigned d = m > NAME_MAX_ ? least : distance(s, len, names[i], m);

		if (d < least) {
			least = d;
			best = names[i];
		}
	}
	return best;
}
