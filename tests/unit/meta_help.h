/* SPDX-License-Identifier: MIT */
/* What the tests of the index share: a scratch directory, opening, small inodes. */
#ifndef TEST_META_HELP_H
#define TEST_META_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/meta.h"
#include "scratch_help.h"

#define MAP (UINT64_C(1) << 30) /* sanitizers do not like a TiB */

static inline void scratch_make(char dir[64])
{
	scratch_name(dir, 64, "meta");
	assert_non_null(mkdtemp(dir));
}

static inline void scratch_remove(const char *dir)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	assert_int_equal(system(cmd), 0);
}

/* Of indexes that are opened from here on; a test sets it, and takes it back. */
static errint_t (*help_before_sync)(void *arg);

static errint_t (*help_before_commit)(struct meta_txn *t); /* the same */

static uint64_t help_map = MAP; /* the same */

static inline errint_t try_open(
	const char *dir, const char *boot, struct meta **ret, bool *ret_cut, struct err *err)
{
	struct meta_conf conf = {.dir = dir,
		.map_size = help_map,
		.boot_id = boot,
		.before_sync = help_before_sync,
		.before_commit = help_before_commit};

	return meta_open(&conf, ret, ret_cut, err);
}

static inline struct meta *open_index(const char *dir, const char *boot, bool *ret_cut)
{
	struct meta *m = NULL;
	struct err err = {0};
	errint_t r = try_open(dir, boot, &m, ret_cut, &err);

	if (r != 0)
		print_error("open: %s\n", err_text(&err, r));
	assert_int_equal(r, 0);
	return m;
}

static inline void print_line(void *arg, const char *line)
{
	print_error("check: %s\n", line);
}

static inline void check_clean(struct meta *m)
{
	assert_int_equal(meta_check(m, print_line, NULL), 0);
}

static inline void inode_init(
	struct meta_inode *in, uint64_t ino, enum meta_kind kind, uint64_t size)
{
	memset(in, 0, sizeof(*in));
	in->ino = ino;
	in->kind = kind;
	in->mode = kind == META_DIR    ? S_IFDIR | 0755
		   : kind == META_FILE ? S_IFREG | 0644
				       : S_IFLNK | 0777;
	in->size = size;
	in->mtime_ns = in->atime_ns = in->ctime_ns = in->btime_ns = INT64_C(1700000000123456789);
}

/* Creates parent/name in a transaction of its own. */
static inline uint64_t create(
	struct meta *m, uint64_t parent, const char *name, enum meta_kind kind, uint64_t size)
{
	struct meta_txn *t = meta_begin(m);
	struct meta_inode in;

	inode_init(&in, meta_ino_next(t), kind, size);
	assert_int_equal(meta_link(t, &in, parent, name), 0);
	assert_int_equal(meta_commit(t), 0);
	return in.ino;
}

static inline void totals_settle(struct meta *m)
{
	int n;

	while ((n = meta_totals_flush(m, 100)) > 0)
		;
	assert_int_equal(n, 0);
}

#endif
