/* SPDX-License-Identifier: MIT */
/* What the tests of jobs share: files and objects by their text, and the end of all jobs. */
#ifndef TEST_JOBS_HELP_H
#define TEST_JOBS_HELP_H

#include <string.h>

#include "vfs_help.h"

static inline void object_is(struct fix *f, unsigned remote, const char *key, const char *want)
{
	char got[64] = "";
	ssize_t n = object_get(&f->remotes[remote], key, got, sizeof(got) - 1);

	if (n < 0)
		fail_msg("object %s: %s", key, strerrorname_np((int)-n));
	got[n] = '\0';
	assert_string_equal(got, want);
}

static inline void text_is(struct fix *f, const char *key, const char *want)
{
	object_is(f, 0, key, want);
}

static inline void absent(struct fix *f, const char *key)
{
	char got[64];

	assert_int_equal(object_get(&f->remotes[0], key, got, sizeof(got)), -ENOENT);
}

static inline uint64_t make_text(struct fix *f, uint64_t dir, const char *name, const char *text)
{
	return make(f, dir, name, text, strlen(text));
}

static inline void all_done(struct fix *f)
{
	struct jobs_stat st;

	do {
		struct ask *a = ask_new();

		(void)CALL(a, vfs_sync, META_ROOT_INO); /* what failed is told here as well */
		ask_free(a);
		jobs_stat(f->jobs, &st);
	} while (st.live != 0);
}

static inline uint64_t job_failures(struct fix *f)
{
	struct jobs_stat st;

	jobs_stat(f->jobs, &st);
	return st.failed;
}

static inline void file_is(struct fix *f, uint64_t dir, const char *name, const char *want)
{
	char got[64] = "";
	struct vfs_handle *h = NULL;
	uint64_t ino = 0;

	if (lookup(f, dir, name, &ino) != 0)
		fail_msg("there is no file %s", name);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	ssize_t n = get(f, h, 0, got, sizeof(got) - 1);

	assert_true(n >= 0);
	got[n] = '\0';
	close_h(f, h);
	assert_string_equal(got, want);
}

/* ---- an index that cannot be written ---- */

/* The next n commits for which is() says so fail, then() being called before. The fixture is to be
 * made by setup_failing, and unmade by teardown_failing. */
struct fails {
	struct fix *f;
	bool (*is)(struct meta_txn *t);
	void (*then)(struct fix *f);
	uint64_t ino; /* for is() */
	_Atomic unsigned n;
};

static struct fails fails; /* with the index's writer */

static inline errint_t fails_commit(struct meta_txn *t)
{
	if (atomic_load(&fails.n) == 0 || !fails.is(t))
		return 0;
	if (fails.then != NULL)
		fails.then(fails.f);
	atomic_fetch_sub(&fails.n, 1);
	return -EIO;
}

static inline void fail_commits(struct fix *f, unsigned n, bool (*is)(struct meta_txn *t),
	void (*then)(struct fix *f), uint64_t ino)
{
	struct meta_txn *t = meta_begin(f->m);

	fails.f = f;
	fails.is = is;
	fails.then = then;
	fails.ino = ino;
	atomic_store(&fails.n, n);
	meta_abort(t);
}

static inline void commits_have_failed(void)
{
	for (int i = 0; i < 10000 && atomic_load(&fails.n) != 0; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&fails.n), 0);
}

static inline int count_record(void *arg, uint64_t id, const void *p, size_t len)
{
	++*(unsigned *)arg;
	return 0;
}

/* Jobs in the journal. */
static inline unsigned records(struct meta_txn *t)
{
	unsigned n = 0;

	(void)meta_job_each(t, count_record, &n);
	return n;
}

static inline bool ends_the_last(struct meta_txn *t)
{
	return records(t) == 0;
}

static inline int setup_failing(void **state)
{
	atomic_store(&fails.n, 0);
	help_before_commit = fails_commit;
	return setup(state);
}

static inline int teardown_failing(void **state)
{
	help_before_commit = NULL;
	return teardown(state);
}

/* With renames that do not wait for their jobs. */
static inline int setup_quick(void **state)
{
	struct fix *f;
	int r = setup(state);

	f = *state;
	fix_down(f);
	f->vc.migrate_wait_ns = 1;
	fix_up(f);
	return r;
}

#endif
