/* SPDX-License-Identifier: MIT */
/* What is left in the clouds and in the tree after requests failed: nothing half-done, nothing of
 * ours that looks like somebody else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "vfs_help.h"

static size_t pending(struct fix *f, const char *bucket)
{
	struct store_upload *u = NULL;
	size_t n = 0;

	assert_int_equal(store_parts_pending(f->remotes[0].st, NULL, bucket, &u, &n, NULL), 0);
	free(u);
	return n;
}

static void test_stale_uploads(void **state)
{
	struct fix *f = *state;
	struct store_obj o = {"b", "somebodys"};
	char id[STORE_UPLOAD_MAX];
	struct err err;

	assert_int_equal(store_parts_begin(f->remotes[0].st, NULL, o, NULL, id, &err), 0);
	uploads_sweep(f->jobs);
	assert_int_equal(pending(f, "b"), 1); /* somebody may be at it */
	clock_skew_add(8 * 86400 * NS_PER_S);
	uploads_sweep(f->jobs);
	clock_skew_add(-8 * 86400 * NS_PER_S);
	assert_int_equal(pending(f, "b"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stale_uploads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
