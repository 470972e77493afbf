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
