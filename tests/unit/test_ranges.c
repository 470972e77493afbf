/* SPDX-License-Identifier: MIT */
/* Listings whose pages are asked for side by side: whatever the names, the guesses, the store's
 * order and what it makes of the place to begin at, they give what one page after the other would
 * give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_hash.h"
#include "jobs_help.h"

#include "vfs/vfs_priv.h"

#include "job/guess.h"
#include "job/merge.h"

#define NAMES 4000

/* ---- a store of one directory ---- */

enum odd {
	GOOD,	 /* in the order of bytes */
	DIRS,	 /* a directory is where its name is without the slash */
	NONE,	 /* no order at all */
	IGNORES, /* begins at the beginning */
	REFUSES, /* does not begin anywhere else */
	FAILS,	 /* ... for other reasons */
	LATE,	 /* begins one name too late */
	ODDS
};

struct dir {
	struct store store;
	enum odd odd;
	struct lock lock; /* RANK_STORE */
	struct {
		char *v[NAMES]; /* keys, and directories with their slash, in the store's order */
		size_t n;
		unsigned asked, most, lists,
			ranges;	 /* under way, at most; requests, ranges begun */
		unsigned change; /* after each request something is added or removed */
		unsigned fail;	 /* the so many-th request fails; 0 = none */
	} at;			 /* lock */
	unsigned delay_us;
};

static enum odd order; /* of what is sorted */

static int name_cmp(const char *a, const char *b)
{
	char x[200], y[200];
	uint64_t p = hash64(a, strlen(a), 7), q = hash64(b, strlen(b), 7);

	if (order == NONE)
		return (p > q) - (p < q);
	if (order != DIRS)
		return strcmp(a, b);
	(void)snprintf(x, sizeof(x), "%s", a);
	(void)snprintf(y, sizeof(y), "%s", b);
	x[strcspn(x + 2, "/") + 2] = '\0';
	y[strcspn(y + 2, "/") + 2] = '\0';
	return strcmp(x, y) != 0 ? strcmp(x, y) : strcmp(a, b);
}

static int ptr_cmp(const void *a, const void *b)
{
	return name_cmp(*(char *const *)a, *(char *const *)b);
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct store_entry *)a)->key, ((const struct store_entry *)b)->key);
}

static size_t place_locked(struct dir *d, const char *after, const char *token)
{
	const char *behind = token[0] != '\0' ? token : after;
	size_t i = 0;

	lock_assert_held(&d->lock);
	if (behind[0] == '\0' || (token[0] == '\0' && d->odd == IGNORES))
		return 0;
	while (i < d->at.n && name_cmp(d->at.v[i], behind) <= 0)
		i++;
	/* "d/x" is no name of a directory that has the slash, but for who orders them so */
	if (d->odd == DIRS && token[0] == '\0')
		while (i < d->at.n && !strncmp(d->at.v[i], behind, strlen(behind)) &&
			!strcmp(d->at.v[i] + strlen(behind), "/"))
			i++;
	return token[0] == '\0' && d->odd == LATE && i < d->at.n ? i + 1 : i;
}

static void fill_locked(struct dir *d, size_t at, unsigned max, struct store_page *ret)
{
	size_t bytes = 0;

	lock_assert_held(&d->lock);
	ret->n = MIN_OF((size_t)max, d->at.n - at);
	ret->e = calloc(ret->n + 1, sizeof(*ret->e));
	for (size_t i = 0; i < ret->n; i++)
		bytes += strlen(d->at.v[at + i]) + 1;
	char *p = ret->mem = malloc(bytes + 1);

	assert_true(ret->e != NULL && p != NULL);
	for (size_t i = 0; i < ret->n; i++) {
		size_t n = strlen(d->at.v[at + i]);

		ret->e[i].key = memcpy(p, d->at.v[at + i], n + 1);
		ret->e[i].is_prefix = p[n - 1] == '/';
		p += n + 1;
	}
	ret->truncated = at + ret->n < d->at.n;
	if (ret->truncated)
		(void)snprintf(ret->next, sizeof(ret->next), "%s", ret->e[ret->n - 1].key);
	if (ret->n != 0)
		qsort(ret->e, ret->n, sizeof(*ret->e), entry_cmp);
}

/* A file goes that was there, or one comes: "d/~..." or between others. */
static void change_locked(struct dir *d)
{
	char name[64];
	size_t i = (size_t)rand() % (d->at.n + 1);

	lock_assert_held(&d->lock);
	if (d->at.n > 1 && i < d->at.n && strstr(d->at.v[i], "new") != NULL) {
		free(d->at.v[i]);
		memmove(d->at.v + i, d->at.v + i + 1, (--d->at.n - i) * sizeof(char *));
	} else if (d->at.n < NAMES) {
		(void)snprintf(name, sizeof(name), "d/%c%c%cnew%u", "0a~f"[rand() % 4],
			"08f"[rand() % 3], "0123456789"[rand() % 10], d -> at.change++);
		d->at.v[d->at.n++] = strdup(name);
		qsort(d->at.v, d->at.n, sizeof(char *), ptr_cmp);
	}
}

static errint_t far_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	struct dir *d = container_of(s, struct dir, store);
	bool begins = after[0] != '\0' && token[0] == '\0', breaks = false;
	unsigned us = d->delay_us;

	assert_true(!strcmp(prefix, "d/") && delimiter == '/');
	{
		LOCKED(&d->lock);
		d->at.lists++;
		d->at.ranges += begins;
		d->at.asked++;
		d->at.most = MAX_OF(d->at.most, d->at.asked);
		breaks = d->at.lists == d->at.fail;
		us = us < 1000 ? us * (unsigned)(rand() % 4) : us;
	}
	if (us != 0)
		usleep(us);
	LOCKED(&d->lock);
	d->at.asked--;
	if (breaks || (begins && (d->odd == REFUSES || d->odd == FAILS)))
		return err_set(err, d->odd == REFUSES ? -EOPNOTSUPP : -EIO, ERR_FINAL, "no");
	fill_locked(d, place_locked(d, after, token), max, ret);
	if (d->at.change != 0)
		change_locked(d);
	return 0;
}

static const struct store_ops dir_ops = {.name = "dir", .list = far_list};

static struct dir *dir_new(enum odd odd, unsigned delay_us)
{
	struct dir *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->store = (struct store){.ops = &dir_ops};
	d->odd = odd;
	d->delay_us = delay_us;
	lock_init(&d->lock, RANK_STORE, "dir");
	return d;
}

static void dir_add(struct dir *d, const char *name)
{
	char key[300];

	(void)snprintf(key, sizeof(key), "d/%s", name);
	assert_true(d->at.n < NAMES);
	d->at.v[d->at.n++] = strdup(key);
}

static void dir_sort(struct dir *d)
{
	size_t n = 0;

	order = d->odd;
	qsort(d->at.v, d->at.n, sizeof(char *), ptr_cmp);
	for (size_t i = 0; i < d->at.n; i++) {
		if (n != 0 && !strcmp(d->at.v[n - 1], d->at.v[i]))
			free(d->at.v[i]);
		else
			d->at.v[n++] = d->at.v[i];
	}
	d->at.n = n;
}

static void dir_free(struct dir *d)
{
	for (size_t i = 0; i < d->at.n; i++)
		free(d->at.v[i]);
	lock_done(&d->lock);
	free(d);
}

/* ---- listings of it ---- */

struct got {
	char *v[3 * NAMES];
	size_t n;
	errint_t r;
};

static void got_free(struct got *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->v[i]);
	free(g);
}

static struct got *listed_as(struct fix *f, struct dir *d, unsigned page, uint64_t known)
{
	struct objref o = {.st = &d->store, .o = {"b", "d/"}};
	struct merge m = {.j = f->jobs,
		.dir = known,
		.remote = f->remotes[0].id,
		.first = known == 0,
		.prefix = "d/",
		.prefix_len = 2};
	struct pages *g = pages_new(&m, &o, &(struct pages_conf){.page = page, .slow_ns = 0});
	struct got *ret = calloc(1, sizeof(*ret));
	struct err err = {0};
	bool more = true;

	assert_true(g != NULL && ret != NULL);
	while (more && ret->r == 0) {
		struct store_page p = {0};

		ret->r = pages_next(g, &p, &err);
		if (ret->r < 0)
			break;
		for (size_t i = 0; i < p.n; i++) {
			assert_true(ret->n < ARRAY_SIZE(ret->v));
			ret->v[ret->n++] = strdup(p.e[i].key);
		}
		more = p.truncated;
		store_page_done(&p);
	}
	pages_free(g);
	assert_int_equal(atomic_load(&f->jobs->pages_held), 0);
	assert_int_equal(d->at.asked, 0);
	return ret;
}

static int text_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void got_once(struct got *g)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		if (n != 0 && !strcmp(g->v[n - 1], g->v[i]))
			free(g->v[i]);
		else
			g->v[n++] = g->v[i];
	}
	g->n = n;
}

static void is_all(struct got *g, struct dir *d, unsigned seed)
{
	assert_int_equal(g->r, 0);
	order = GOOD;
	if (d->odd == DIRS || d->odd == NONE) { /* pages are sorted, and no more */
		qsort(g->v, g->n, sizeof(char *), text_cmp);
		qsort(d->at.v, d->at.n, sizeof(char *), text_cmp);
		got_once(g); /* the index takes a name again */
	}
	for (size_t i = 0; i < g->n || i < d->at.n; i++)
		if (i >= g->n || i >= d->at.n || strcmp(g->v[i], d->at.v[i]) != 0)
			fail_msg("seed %u, store %d: %zu of %zu: '%s', not '%s'", seed, (int)d->odd,
				i, d->at.n, i < g->n ? g->v[i] : "(end)",
				i < d->at.n ? d->at.v[i] : "(end)");
}

static const char *const bits[] = {"a", "b", "-", ".", "!", " ", "%", "0", "00", "~", "ab", "z",
	"\xc3\xa4", "\xe4\xb8\xad", "\xf0\x9f\x98\x80", "x", "1", "9", "A", "_", "\x7f", "\x01"};

static void some_name(unsigned shape, unsigned i, char *ret, size_t size)
{
	unsigned a = (unsigned)rand(), b = (unsigned)rand();

	switch (shape) {
	case 0:
		(void)snprintf(ret, size, "f%05u", i);
		return;
	case 1:
		(void)snprintf(ret, size, "file%u.txt", i);
		return;
	case 2:
		(void)snprintf(ret, size, "%08x%08x", a, b);
		return;
	case 3:
		(void)snprintf(ret, size, "%04x%04x-%04x-4%03x", a & 0xffff, b & 0xffff, a >> 16,
			b >> 16 & 0xfff);
		return;
	case 4:
		(void)snprintf(ret, size, "20%02u-%02u-%02uT%02u", i / 8000, i / 700 % 12 + 1,
			i / 24 % 28 + 1, i % 24);
		return;
	case 5:
		(void)snprintf(ret, size, "%04u-part", i * (a % 7 ? 1 : 3));
		return;
	case 6:
		(void)snprintf(ret, size,
			"the same beginning for all of them, longer than what is "
			"looked at: %05u",
			i);
		return;
	default:
		ret[0] = '\0';
		if (shape == 7) /* all begin alike */
			(void)snprintf(ret, size, "%s", a % 3 ? "eq" : "ab");
		for (unsigned k = 0; k <= b % 5; k++) {
			a = a * 1103515245 + 12345;
			(void)strcat(ret, bits[(a >> 8) % ARRAY_SIZE(bits)]);
		}
		return;
	}
}

enum { SHAPES = 9 };

static struct dir *some_dir(enum odd odd, unsigned seed)
{
	struct dir *d = dir_new(odd, seed % 3 ? 0 : 50);
	char name[200];
	unsigned shape, n;

	srand(seed);
	shape = (unsigned)rand() % SHAPES;
	n = 1 + (unsigned)rand() % (seed % 5 ? 600 : 3000);
	for (unsigned i = 0; i < n; i++) {
		unsigned k = (unsigned)rand();

		/* now and then another kind */
		some_name(k % 50 ? shape : k / 50 % SHAPES, i, name, sizeof(name));
		if (k % 11 == 0)
			strcat(name, "/");
		else if (k % 13 == 0) /* beside the directory of the name */
			strcat(name, (const char *[]){"!", "-x", ".", "0"}[k / 13 % 4]);
		dir_add(d, name);
		if (k % 37 == 0 && name[strlen(name) - 1] != '/' && d->at.n < NAMES) {
			strcat(name, "/"); /* an object and a directory */
			dir_add(d, name);
		}
	}
	dir_sort(d);
	return d;
}

static void each_as_page_by_page(struct fix *f, enum odd odd, unsigned from, unsigned seeds)
{
	for (unsigned seed = from; seed < from + seeds; seed++) {
		struct dir *d = some_dir(odd, seed);
		unsigned page = 1 + (unsigned)rand() % 30;
		size_t n = d->at.n;
		struct got *g = listed_as(f, d, page, 0);

		is_all(g, d, seed);
		/* Each range costs one request more than its names need. */
		if (odd == GOOD)
			assert_true(d->at.lists <= (n + page - 1) / page + d->at.ranges);
		if (n <= 3 * page)
			assert_int_equal(d->at.ranges, 0);
		got_free(g);
		dir_free(d);
	}
}

static void test_all_names_once_and_in_order(void **state)
{
	each_as_page_by_page(*state, GOOD, 1, 700);
}

static void test_stores_that_do_otherwise(void **state)
{
	for (enum odd odd = GOOD + 1; odd < ODDS; odd++)
		each_as_page_by_page(*state, odd, 10000 * odd, 100);
}

static struct dir *counted(unsigned n, unsigned delay_us)
{
	struct dir *d = dir_new(GOOD, delay_us);
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "f%05u", i);
		dir_add(d, name);
	}
	dir_sort(d);
	return d;
}

static void test_pages_come_side_by_side(void **state)
{
	struct fix *f = *state;
	struct dir *d = counted(NAMES, 5000);
	struct got *g = listed_as(f, d, 40, 0);

	is_all(g, d, 0);
	assert_in_range(d->at.most, 3, 8);
	assert_in_range(d->at.lists, 100, 100 + d->at.ranges);
	assert_in_range(d->at.ranges, 10, 25);
	got_free(g);
	dir_free(d);
}

/* The index knows where names are that nobody would guess. */
static void test_what_the_index_had(void **state)
{
	struct fix *f = *state;
	struct dir *d = dir_new(GOOD, 5000);
	uint64_t dir = 0;
	char name[80];
	unsigned few = 0;

	for (unsigned known = 0; known < 2; known++) {
		for (unsigned i = 0; i < 2000 && known == 0; i++) {
			(void)snprintf(name, sizeof(name), "\xe4\xb8%c\xe4\xb8%c",
				0x80 + (int)i / 50, 0x80 + (int)i % 50);
			dir_add(d, name);
		}
		dir_sort(d);
		if (known != 0) {
			struct meta_txn *t = meta_begin(f->m);
			struct meta_inode in = {.kind = META_DIR, .mode = S_IFDIR | 0755};

			dir = in.ino = meta_ino_next(t);
			assert_int_equal(meta_link(t, &in, f->aws, "d"), 0);
			for (size_t i = 0; i < d->at.n; i += 1 + (i % 3 == 0)) {
				struct meta_inode one = {.kind = META_FILE, .mode = S_IFREG | 0644};

				one.ino = meta_ino_next(t);
				assert_int_equal(meta_link(t, &one, dir, d->at.v[i] + 2), 0);
			}
			assert_int_equal(meta_commit(t), 0);
		}
		d->at.most = d->at.lists = d->at.ranges = 0;
		struct got *g = listed_as(f, d, 20, dir);

		is_all(g, d, known);
		if (known == 0)
			few = d->at.most;
		got_free(g);
	}
	assert_int_equal(few, 1);
	assert_in_range(d->at.most, 3, 8);
	assert_in_range(d->at.lists, 100, 100 + d->at.ranges);
	dir_free(d);
}

/* What is there all the time is in it once, and in order. */
static void test_changes_on_the_way(void **state)
{
	struct fix *f = *state;

	for (unsigned seed = 1; seed <= 60; seed++) {
		struct dir *d = counted(1000 + seed, seed % 2 ? 100 : 0);
		char name[32];
		size_t i = 0;

		srand(seed);
		d->at.change = 1;
		order = GOOD;
		struct got *g = listed_as(f, d, 7 + seed % 20, 0);

		assert_int_equal(g->r, 0);
		for (size_t k = 0; k < g->n; k++) {
			(void)snprintf(name, sizeof(name), "d/f%05zu", i);
			if (strstr(g->v[k], "new") == NULL) {
				assert_string_equal(g->v[k], name);
				i++;
			}
		}
		assert_int_equal(i, 1000 + seed);
		got_free(g);
		dir_free(d);
	}
}

/* A range that does not begin is done without; any other failure is that of the listing. */
static void test_failures(void **state)
{
	struct fix *f = *state;
	unsigned failed = 0;

	for (unsigned n = 1; n <= 60; n++) {
		struct dir *d = counted(1000, n % 2 ? 0 : 50);

		d->at.fail = n;
		struct got *g = listed_as(f, d, 20, 0);

		failed += g->r != 0;
		if (g->r == 0)
			is_all(g, d, n);
		else
			assert_int_equal(g->r, -EIO);
		if (n <= 3)
			assert_int_equal(g->r, -EIO);
		got_free(g);
		dir_free(d);
	}
	assert_in_range(failed, 20, 58);
}

/* ---- guesses ---- */

static void guess_is(
	const char *const *names, size_t n, const char *from, double far, const char *want)
{
	struct guess g = {0};
	struct store_entry e[8] = {{0}};
	char key[8][100], got[GUESS_PLACES + 1] = "";

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(key[i], sizeof(key[i]), "p/%s", names[i]);
		e[i].key = key[i];
		e[i].is_prefix = key[i][strlen(key[i]) - 1] == '/';
	}
	guess_page(&g, &(struct store_page){.e = e, .n = n}, 2);
	if (!guess_after(&g, from, far, got))
		(void)strcpy(got, "nobody knows");
	assert_string_equal(got, want);
}

static void test_guesses(void **state)
{
	static const char
		*const count[] = {"f0100", "f0101", "f0102", "f0103", "f0104"},
		       *const hex[] = {"0a3c", "1fd0", "24b7", "3e91", "40c5"},
		       *const dirs[] = {"a1/", "a2/", "a3/", "a4/"},
		       *const day[] = {"2024-01-01", "2024-01-12", "2024-01-23", "2024-02-04"},
		       *const odd[] = {"\xc3\xa4", "\xc3\xb6", "\xc3\xbc"}, *const one[] = {"only"};

	guess_is(count, 5, "f0104", 2000, "f210");
	guess_is(count, 5, "f0104", 9000, "f91");
	guess_is(count, 5, "f0104", 10000, "nobody knows");
	guess_is(count, 5, "g", 10, "nobody knows");
	guess_is(hex, 5, "40c5", 4, "774");
	guess_is(hex, 5, "40c5", 100, "nobody knows");
	guess_is(dirs, 4, "a4", 3, "a7");
	guess_is(day, 4, "2024-02-04", 60, "2024-22-6");
	guess_is(odd, 3, "\xc3\xbc", 10, "nobody knows");
	guess_is(one, 1, "only", 10, "nobody knows");
	guess_is(one, 0, "", 10, "nobody knows");
}

static int setup_wide(void **state)
{
	int r = setup(state);
	struct fix *f = *state;

	fix_down(f);
	f->workers = 16;
	fix_up(f);
	return r;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_wide, teardown)
	const struct CMUnitTest tests[] = {T(test_all_names_once_and_in_order),
		T(test_stores_that_do_otherwise), T(test_pages_come_side_by_side),
		T(test_what_the_index_had), T(test_changes_on_the_way), T(test_failures),
		cmocka_unit_test(test_guesses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
