/* SPDX-License-Identifier: MIT */
/* The size of parts: of every provider, for files of every size that it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "meta_help.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const char conf_text[] =
	"[remote s3]\ntype=s3\nbucket=b\nregion=us-east-1\n"
	"[remote gcs]\ntype=gcs\nbucket=bbb\nendpoint=http://127.0.0.1:1\ncredentials=none\n"
	"[remote azure]\ntype=azure\nbucket=bbb\nendpoint=http://127.0.0.1:1/a\naccount=abc\n"
	"account_key_env=A_KEY\n"
	"[remote local]\ntype=local\nprovider=aws\nbucket=b\n";

struct fix {
	char dir[64];
	struct conf *conf;
	struct remote *remotes;
	size_t n;
};

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct err err = {0};
	char path[128];

	scratch_make(f->dir);
	(void)snprintf(path, sizeof(path), "%s/conf", f->dir);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(conf_text, file);
	fclose(file);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(setenv("A_KEY", "c2VjcmV0", 1), 0);
	f->conf = conf_new();
	if (conf_load(f->conf, path, &err) ||
		remotes_build(f->conf, f->dir, &f->remotes, &f->n, &err))
		fail_msg("%s", err.msg);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	remotes_destroy(f->remotes, f->n);
	conf_destroy(f->conf);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static void size_ok(const struct remote *r, const struct store_caps *caps, uint64_t size)
{
	for (int move = 0; move < 2; move++) {
		uint64_t usual = move ? JOB_MOVE_PART : JOB_PART_SIZE;
		uint64_t p = move_part_size(size, usual, caps);
		uint64_t n = p ? (size + p - 1) / p : 0;

		if (p < usual || p < caps->part_min || p > caps->part_max || n > caps->parts_max)
			fail_msg("%s: %llu bytes in %llu parts of %llu", r->name,
				(unsigned long long)size, (unsigned long long)n,
				(unsigned long long)p);
		/* no larger than need be */
		assert_true(p == usual || (p - 256 * KIB) * caps->parts_max < size);
	}
}

static void test_all(void **state)
{
	struct fix *f = *state;

	assert_int_equal(f->n, 4);
	for (size_t i = 0; i < f->n; i++) {
		struct store_caps caps;

		store_caps(f->remotes[i].st, &caps);
		uint64_t most = MIN_OF(caps.object_max, 5 * TIB);

		assert_true(most >= 4 * TIB);
		for (uint64_t size = JOB_PART_SIZE + 1; size < most; size += size / 7 + 1)
			size_ok(&f->remotes[i], &caps, size);
		for (uint64_t p = 5 * MIB; p * caps.parts_max <= most; p += MIB)
			for (int d = -1; d <= 1; d++)
				size_ok(&f->remotes[i], &caps, p * caps.parts_max + (uint64_t)d);
		size_ok(&f->remotes[i], &caps, most);
		assert_int_equal(move_part_size(caps.object_max + 1, JOB_PART_SIZE, &caps), 0);
	}
}

static void test_known(void **state)
{
	struct store_caps s3 = {.part_min = 5 * MIB,
		.part_max = 5 * GIB,
		.parts_max = 10000,
		.object_max = 50 * TIB};

	assert_int_equal(move_part_size(80000 * MIB, 8 * MIB, &s3), 8 * MIB);
	assert_int_equal(move_part_size(80000 * MIB + 1, 8 * MIB, &s3), 8 * MIB + 256 * KIB);
	assert_int_equal(move_part_size(5 * TIB, 8 * MIB, &s3), 524 * MIB + 512 * KIB);
	s3.part_max = 100 * MIB;
	assert_int_equal(move_part_size(5 * TIB, 8 * MIB, &s3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all, setup, teardown),
		cmocka_unit_test(test_known)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
