/* SPDX-License-Identifier: MIT */
/* The index: transactions, names, totals, paths, journal, xattrs, check; and a random run against
 * a model. What concerns sync points and power cuts is in test_meta_sync.c, history and dumps in
 * test_meta_data.c. */
#include "meta_help.h"

#include <errno.h>
#include <pthread.h>
#include <sys/xattr.h>

/* The private face too: to plant damage, and to see how large rows are. */
#include "../../src/meta/db.h"
#include "../../src/meta/row.h"

static char dir[64];
static struct meta *m;

static int setup(void **state)
{
	bool cut = true;

	scratch_make(dir);
	m = open_index(dir, "boot-1", &cut);
	assert_false(cut);
	return 0;
}

static int teardown(void **state)
{
	meta_close(m);
	m = NULL;
	scratch_remove(dir);
	return 0;
}

static void reopen(void)
{
	meta_close(m);
	m = open_index(dir, "boot-1", NULL);
}

/* ---- transactions ---- */

struct seen {
	int n, committed[8], order[8];
};

static struct seen seen;

static void hook(void *arg, bool committed)
{
	seen.committed[seen.n] = committed;
	seen.order[seen.n++] = (int)(intptr_t)arg;
}

static void test_txn_sticky(void **state)
{
	struct meta_txn *t = meta_begin(m);
	struct meta_inode in;
	uint64_t ino;

	memset(&seen, 0, sizeof(seen));
	inode_init(&in, meta_ino_next(t), META_FILE, 5);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "a", &ino), -ENOENT);
	assert_int_equal(meta_txn_failed(t), 0); /* an answer */
	assert_int_equal(meta_link(t, &in, META_ROOT_INO, "a"), 0);
	meta_txn_hook(t, hook, (void *)1);
	in.ino = meta_ino_next(t);
	in.parent = 0;
	assert_int_equal(meta_link(t, &in, META_ROOT_INO, "a"), -EEXIST);
	assert_int_equal(meta_txn_failed(t), -EEXIST);
	meta_txn_fail(t, -EIO); /* the first stays */
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "a", &ino), -EEXIST);
	assert_int_equal(meta_kv_put(t, "k", "v", 1), -EEXIST);
	assert_int_equal(meta_ino_next(t), 0);
	meta_txn_hook(t, hook, (void *)2);
	assert_int_equal(meta_commit(t), -EEXIST);
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.order[0], 1);
	assert_int_equal(seen.order[1], 2);
	assert_int_equal(seen.committed[0] + seen.committed[1], 0);

	t = meta_begin_read(m);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "a", &ino), -ENOENT);
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);
}

static void test_txn_hooks(void **state)
{
	struct meta_txn *t = meta_begin(m);
	uint64_t id = meta_txn_id(t);

	memset(&seen, 0, sizeof(seen));
	meta_txn_hook(t, hook, (void *)7);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.committed[0], 1);
	/* Even an empty transaction has the number that it named. */
	assert_int_equal(meta_sync(m, NULL), 0);
	assert_true(meta_synced(m) >= id);

	{
		cleanup_txn struct meta_txn *a = meta_begin(m);

		meta_txn_hook(a, hook, (void *)8);
		(void)meta_kv_put(a, "k", "v", 1);
	}
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.committed[1], 0);
	t = meta_begin_read(m);
	assert_int_equal(meta_kv_get(t, "k", NULL, 0, NULL), -ENOENT);
	meta_abort(t);
}

static void test_txn_snapshot(void **state)
{
	struct meta_txn *r = meta_begin_read(m), *t = meta_begin(m);
	size_t len = 0;
	char buf[8];

	(void)meta_kv_put(t, "k", "abc", 3);
	assert_int_equal(meta_kv_get(t, "k", buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 3);
	assert_int_equal(meta_kv_get(t, "k", buf, 2, &len), -ERANGE);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(meta_kv_get(r, "k", buf, sizeof(buf), &len), -ENOENT);
	meta_abort(r);
	r = meta_begin_read(m);
	assert_int_equal(meta_kv_get(r, "k", NULL, 0, &len), 0);
	assert_int_equal(len, 3);
	meta_abort(r);
}

static void test_numbers(void **state)
{
	uint64_t last_ino = 0, last_job = 0;

	for (int i = 0; i < 2000; i++) {
		struct meta_txn *t = meta_begin(m);
		uint64_t ino = meta_ino_next(t), job = meta_job_next(t);

		assert_true(ino > last_ino && job > last_job);
		last_ino = ino;
		last_job = job;
		if (i % 3 == 0)
			meta_abort(t); /* what was given stays given */
		else
			assert_int_equal(meta_commit(t), 0);
		if (i % 500 == 499)
			reopen();
	}
	assert_true(last_ino < 5000); /* and few are lost */
}

/* ---- rows ---- */

static void fill(struct meta_inode *in)
{
	inode_init(in, 4711, META_FILE, UINT64_C(5) << 40);
	in->flags = META_F_OBJECT | META_F_BASE | META_F_DIRTY | META_F_PINNED | META_F_FOREIGN;
	in->uid = 1000;
	in->gid = UINT32_MAX;
	in->nlink = 2;
	in->atime_ns = -1;
	in->ctime_ns = INT64_MAX;
	in->btime_ns = INT64_MIN;
	in->version = UINT64_MAX;
	in->loc.remote = 3;
	memset(in->loc.path, 'p', META_PATH_MAX);
	memset(in->loc.etag, 'e', META_ETAG_MAX - 1);
	strcpy(in->class_name, "STANDARD_IA");
	in->tier = TIER_WARM;
	in->forced_tier = TIER_ARCHIVE;
	in->tier_since_ns = 1;
	in->restored_until_ns = -5;
	in->crc32c = 0;
	in->has_crc32c = true;
	in->listed_at_ns = 77;
	in->moves_before = 78;
	memset(in->last_error, 'r', sizeof(in->last_error) - 1);
	memset(in->symlink, 's', META_SYMLINK_MAX);
}

static void test_row_inode(void **state)
{
	struct meta_inode in, out;
	uint8_t row[ROW_INODE_MAX];
	size_t len;

	fill(&in);
	memset(in.name, 'n', META_NAME_MAX);
	in.parent = 1;
	in.totals.files = -3;
	in.totals.tier_bytes[TIER_ARCHIVE] = INT64_MIN;
	in.nchild = UINT32_MAX;
	len = row_inode_encode(&in, row);
	memset(&out, 0xaa, sizeof(out));
	assert_int_equal(row_inode_decode(4711, row, len, &out), 0);
	assert_memory_equal(out.symlink, in.symlink, sizeof(in.symlink));
	assert_string_equal(out.name, in.name);
	assert_string_equal(out.loc.path, in.loc.path);
	assert_string_equal(out.last_error, in.last_error);
	assert_true(memcmp(&out.totals, &in.totals, sizeof(in.totals)) == 0);
	assert_true(out.ctime_ns == INT64_MAX && out.btime_ns == INT64_MIN && out.atime_ns == -1);
	assert_true(out.version == UINT64_MAX && out.has_crc32c && out.restored_until_ns == -5);
	/* Cut anywhere: refused, never read beyond. */
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *p = malloc(cut + 1);

		memcpy(p, row, cut);
		assert_int_equal(row_inode_decode(4711, p, cut, &out), -EBADMSG);
		free(p);
	}
	/* Any byte changed: decoded or refused, nothing worse. */
	for (size_t i = 0; i < len; i++) {
		row[i] ^= (uint8_t)(1 + i % 255);
		(void)row_inode_decode(4711, row, len, &out);
		row[i] ^= (uint8_t)(1 + i % 255);
	}
	/* A settled file is small; the object's name is not stored twice. */
	inode_init(&in, 10000001, META_FILE, 123456789);
	in.flags = META_F_OBJECT | META_F_BASE;
	in.parent = 9000000;
	strcpy(in.name, "report-2024-01-15.parquet");
	in.loc.remote = 1;
	strcpy(in.loc.path, "warehouse/sales/report-2024-01-15.parquet");
	strcpy(in.loc.etag, "9b2cf535f27731c974343645a3985328");
	strcpy(in.class_name, "STANDARD");
	in.tier_since_ns = in.mtime_ns;
	in.version = 1;
	in.uid = in.gid = 1000;
	len = row_inode_encode(&in, row);
	assert_true(len < 140);
	assert_int_equal(row_inode_decode(in.ino, row, len, &out), 0);
	assert_string_equal(out.loc.path, in.loc.path);
}

static void test_inode_put(void **state)
{
	struct meta_txn *t = meta_begin(m);
	struct meta_inode in, out, stale;

	fill(&in);
	in.ino = meta_ino_next(t);
	in.parent = 99; /* not ours to set */
	strcpy(in.name, "lie");
	in.nchild = 5;
	assert_int_equal(meta_inode_get(t, in.ino, &out), -ENOENT);
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_inode_get(t, in.ino, &out), 0);
	assert_int_equal(out.parent, 0);
	assert_string_equal(out.name, "");
	assert_int_equal(out.nchild, 0);
	assert_true(out.flags == (in.flags | META_F_ORPHAN));
	stale = out;
	assert_int_equal(meta_link(t, &out, META_ROOT_INO, "real"), 0);
	assert_false(out.flags & META_F_ORPHAN);
	stale.size = 9; /* a copy from before the link cannot undo it */
	assert_int_equal(meta_inode_put(t, &stale), 0);
	assert_int_equal(meta_inode_get(t, in.ino, &out), 0);
	assert_string_equal(out.name, "real");
	assert_int_equal(out.size, 9);
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);

	t = meta_begin(m);
	assert_int_equal(meta_inode_del(t, in.ino), -EBUSY); /* has a name */
	meta_abort(t);
	t = meta_begin(m);
	assert_int_equal(meta_inode_del(t, 12345), -ENOENT);
	(void)meta_xattr_set(t, in.ino, "user.a", "1", 1, 0);
	assert_int_equal(meta_unlink(t, &out), 0);
	assert_int_equal(meta_inode_del(t, in.ino), 0);
	assert_int_equal(meta_commit(t), 0);
	check_clean(m); /* no row about it is left */
}

/* ---- names ---- */

struct listing {
	int n, stop_at;
	uint64_t ino[2000];
	char name[2000][16];
	struct meta_txn *remove_in;
};

static int list_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct listing *l = arg;

	assert_true(full == NULL || (full->ino == ino && strcmp(full->name, name) == 0));
	l->ino[l->n] = ino;
	(void)snprintf(l->name[l->n++], 16, "%s", name);
	if (l->remove_in != NULL) {
		struct meta_inode in;

		assert_int_equal(meta_inode_get(l->remove_in, ino, &in), 0);
		assert_int_equal(meta_unlink(l->remove_in, &in), 0);
		assert_int_equal(meta_inode_del(l->remove_in, ino), 0);
	}
	return l->n == l->stop_at;
}

static void test_children(void **state)
{
	uint64_t d = create(m, META_ROOT_INO, "d", META_DIR, 0), e;
	struct listing l = {0};
	struct meta_inode in;
	struct meta_txn *t;
	char name[16];

	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "%03d", 999 - i);
		(void)create(m, d, name, META_FILE, 1);
	}
	e = create(m, META_ROOT_INO, "e", META_DIR, 0);
	(void)create(m, e, "x", META_FILE, 1);
	t = meta_begin_read(m);
	assert_int_equal(meta_children(t, d, 0, true, list_child, &l), 0);
	assert_int_equal(l.n, 1000);
	assert_string_equal(l.name[0], "999");
	for (int i = 1; i < l.n; i++)
		assert_true(l.ino[i] > l.ino[i - 1]);
	e = l.ino[499];
	l.n = 0;
	l.stop_at = 10;
	assert_int_equal(meta_children(t, d, e, false, list_child, &l), 0);
	assert_int_equal(l.n, 10);
	assert_string_equal(l.name[0], "499");
	l.n = 0;
	assert_int_equal(meta_children_by_name(t, d, "0985", list_child, &l), 0);
	assert_string_equal(l.name[0], "099");
	l.n = l.stop_at = 0;
	assert_int_equal(meta_children_by_name(t, d, "995", list_child, &l), 0);
	assert_int_equal(l.n, 5); /* does not run into the next directory */
	assert_int_equal(meta_children(t, META_ROOT_INO, UINT64_MAX, false, list_child, &l), 0);
	meta_abort(t);
	/* Removing what is being walked over. */
	l.n = 0;
	t = l.remove_in = meta_begin(m);
	assert_int_equal(meta_children(t, d, 0, true, list_child, &l), 0);
	assert_int_equal(l.n, 1000);
	assert_int_equal(meta_inode_get(t, d, &in), 0);
	assert_int_equal(in.nchild, 0);
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);
}

static void expect_move(uint64_t ino, uint64_t parent, const char *name, errint_t want)
{
	struct meta_txn *t = meta_begin(m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	assert_int_equal(meta_move(t, &in, parent, name), want);
	assert_int_equal(meta_commit(t), want);
}

static unsigned links(uint64_t ino)
{
	struct meta_txn *t = meta_begin_read(m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	return in.nlink;
}

static void test_move(void **state)
{
	uint64_t a = create(m, META_ROOT_INO, "a", META_DIR, 0);
	uint64_t b = create(m, a, "b", META_DIR, 0), c = create(m, b, "c", META_DIR, 0);
	uint64_t f = create(m, c, "f", META_FILE, 10),
		 g = create(m, META_ROOT_INO, "g", META_FILE, 1);
	char longname[300], path[64];
	struct meta_inode in;
	struct meta_txn *t;
	uint64_t ino;

	assert_int_equal(links(a), 3);
	assert_int_equal(links(c), 2); /* a file has no link to its directory */
	assert_int_equal(links(f), 1);
	memset(longname, 'x', 299);
	longname[299] = '\0';
	expect_move(a, c, "a", -EINVAL); /* below itself */
	expect_move(a, a, "a", -EINVAL);
	expect_move(f, META_ROOT_INO, "g", -EEXIST);
	expect_move(f, g, "x", -ENOTDIR);
	expect_move(f, 999999, "x", -ENOENT);
	expect_move(f, META_ROOT_INO, "", -EINVAL);
	expect_move(f, META_ROOT_INO, "..", -EINVAL);
	expect_move(f, META_ROOT_INO, "x/y", -EINVAL);
	expect_move(f, META_ROOT_INO, longname, -ENAMETOOLONG);
	longname[255] = '\0';
	expect_move(f, META_ROOT_INO, longname, 0);
	expect_move(f, c, "f", 0);
	expect_move(f, c, "f", 0); /* to itself */
	expect_move(b, META_ROOT_INO, "b2", 0);
	assert_int_equal(links(a), 2);
	assert_int_equal(links(b), 3);
	assert_int_equal(links(META_ROOT_INO), 4);
	check_clean(m);
	t = meta_begin_read(m);
	assert_int_equal(meta_path(t, f, path, sizeof(path)), 0);
	assert_string_equal(path, "/b2/c/f");
	assert_int_equal(meta_path(t, f, path, 8), 0);
	assert_int_equal(meta_path(t, f, path, 7), -ENAMETOOLONG);
	assert_int_equal(meta_path(t, META_ROOT_INO, path, 2), 0);
	assert_string_equal(path, "/");
	assert_int_equal(meta_resolve(t, "/b2//c/f", &ino), 0);
	assert_int_equal(ino, f);
	assert_int_equal(meta_resolve(t, "", &ino), 0);
	assert_int_equal(ino, META_ROOT_INO);
	assert_int_equal(meta_resolve(t, "/b2/c/f/g", &ino), -ENOTDIR);
	assert_int_equal(meta_resolve(t, "/b2/d/f/g", &ino), -ENOENT);
	assert_true(meta_is_below(t, f, b));
	assert_true(meta_is_below(t, b, b));
	assert_false(meta_is_below(t, b, f));
	assert_false(meta_is_below(t, b, a));
	meta_abort(t);
	/* EXCHANGE: a directory with children against a file. */
	t = meta_begin(m);
	assert_int_equal(meta_inode_get(t, b, &in), 0);
	assert_int_equal(meta_unlink(t, &in), 0);
	assert_int_equal(meta_path(t, f, path, sizeof(path)), -ESTALE);
	{
		struct meta_inode other;

		assert_int_equal(meta_inode_get(t, g, &other), 0);
		assert_int_equal(meta_move(t, &other, META_ROOT_INO, "b2"), 0);
	}
	assert_int_equal(meta_link(t, &in, META_ROOT_INO, "g"), 0);
	assert_int_equal(meta_path(t, f, path, sizeof(path)), 0);
	assert_string_equal(path, "/g/c/f");
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);
}

/* ---- clouds ---- */

static void desired_is(struct meta_txn *t, uint64_t ino, uint32_t want_remote, const char *want)
{
	char path[META_PATH_MAX + 1];
	uint32_t remote = 0;

	assert_int_equal(meta_desired(t, ino, &remote, path), 0);
	assert_string_equal(path, want);
	assert_int_equal(remote, want_remote);
}

static void prefix_is(struct meta_txn *t, uint64_t ino, uint32_t want_remote, const char *want)
{
	char path[META_PATH_MAX + 1];
	uint32_t remote = 0;

	assert_int_equal(meta_dir_prefix(t, ino, &remote, path), 0);
	assert_string_equal(path, want);
	assert_int_equal(remote, want_remote);
}

static int remote_gather(void *arg, const char *name, uint32_t id, uint64_t ino)
{
	char *text = arg;

	assert_true(ino > 0);
	(void)sprintf(text + strlen(text), "%s=%u ", name, id);
	return 0;
}

static void test_clouds(void **state)
{
	struct meta_txn *t = meta_begin(m);
	uint64_t aws, gcp, again, d, e, f, odd;
	char path[META_PATH_MAX + 1], text[64] = "";
	struct meta_inode in;
	uint32_t id1, id2, id3;
	size_t longest;

	assert_int_equal(meta_remote(t, "aws", 1, 2, &id1, &aws), 0);
	assert_int_equal(meta_remote(t, "gcp", 1, 2, &id2, &gcp), 0);
	assert_int_equal(meta_remote(t, "aws", 1, 2, &id3, &again), 0);
	assert_int_equal(meta_remotes_each(t, remote_gather, text), 0);
	assert_string_equal(text, "aws=1 gcp=2 ");
	assert_true(id1 == id3 && aws == again && id1 != id2 && id1 != 0);
	assert_int_equal(meta_commit(t), 0);
	reopen();
	d = create(m, aws, "d", META_DIR, 0);
	e = create(m, d, "e", META_DIR, 0);
	f = create(m, e, "f", META_FILE, 1);
	odd = create(m, e, "%2E%2E", META_FILE, 1);
	t = meta_begin(m);
	assert_int_equal(meta_remote(t, "aws", 1, 2, &id3, &again), 0);
	assert_true(id1 == id3 && aws == again);
	assert_int_equal(meta_inode_get(t, aws, &in), 0);
	assert_true((in.flags & META_F_ROOT) && in.uid == 1 && in.gid == 2 &&
		    in.mode == (S_IFDIR | 0755));
	desired_is(t, f, id1, "d/e/f");
	desired_is(t, e, id1, "d/e/");
	desired_is(t, aws, id1, "");
	desired_is(t, odd, id1, "d/e/..");
	prefix_is(t, aws, id1, "");
	prefix_is(t, e, id1, "d/e/");
	assert_int_equal(meta_desired(t, META_ROOT_INO, &id3, path), -EINVAL);
	/* d moves to the other cloud; its objects are still where they were. */
	assert_int_equal(meta_inode_get(t, d, &in), 0);
	in.flags |= META_F_PREFIX;
	in.loc.remote = id1;
	strcpy(in.loc.path, "d/");
	assert_int_equal(meta_move(t, &in, gcp, "new"), 0);
	desired_is(t, f, id2, "new/e/f");
	prefix_is(t, e, id1, "d/e/");
	prefix_is(t, gcp, id2, "");
	strcpy(in.loc.path, "old"); /* without its '/' */
	assert_int_equal(meta_inode_put(t, &in), 0);
	prefix_is(t, e, id1, "old/e/");
	strcpy(in.loc.path, "");
	assert_int_equal(meta_inode_put(t, &in), 0);
	prefix_is(t, e, id1, "e/");
	assert_int_equal(meta_longest_below(t, gcp, &longest), 0);
	assert_int_equal(longest, strlen("new/e/%2E%2E"));
	/* An alias is what the object's path says, until a user renames it. */
	assert_int_equal(meta_inode_get(t, f, &in), 0);
	in.flags |= META_F_ALIAS;
	strcpy(in.loc.path, "d/e/");
	memset(in.loc.path + 4, 'L', 300);
	assert_int_equal(meta_move(t, &in, e, "LLL%~0123456789abcdef"), 0);
	assert_false(in.flags & META_F_ALIAS);
	in.flags |= META_F_ALIAS;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_desired(t, f, &id3, path), 0);
	assert_int_equal(strlen(path), strlen("new/e/") + 300);
	assert_int_equal(meta_longest_below(t, gcp, &longest), 0);
	assert_int_equal(longest, strlen("new/e/") + 300);
	assert_int_equal(meta_move(t, &in, aws, "short"), 0);
	desired_is(t, f, id1, "short");
	assert_int_equal(meta_unlink(t, &in), 0);
	assert_int_equal(meta_desired(t, f, &id3, path), -ESTALE);
	/* A removed directory has no name; where its marker is is known when it says so itself. */
	assert_int_equal(meta_inode_get(t, e, &in), 0);
	while (in.nchild != 0 && meta_lookup(t, e, "%2E%2E", &odd) == 0) {
		struct meta_inode child;

		assert_int_equal(meta_inode_get(t, odd, &child), 0);
		assert_int_equal(meta_unlink(t, &child), 0);
		assert_int_equal(meta_inode_get(t, e, &in), 0);
	}
	assert_int_equal(meta_unlink(t, &in), 0);
	assert_int_equal(meta_dir_prefix(t, e, &id3, path), -ESTALE);
	in.flags |= META_F_PREFIX;
	in.loc.remote = id1;
	strcpy(in.loc.path, "d/e/");
	assert_int_equal(meta_inode_put(t, &in), 0);
	prefix_is(t, e, id1, "d/e/");
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);
}

static int name_gather(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	(void)strcat(arg, name);
	return 0;
}

static void test_hidden(void **state)
{
	struct meta_txn *t = meta_begin(m);
	char order[64] = "", names[64] = "";
	uint64_t aws, gcp, f, ino;
	uint32_t id;

	assert_int_equal(meta_remote(t, "aws", 1, 2, &id, &aws), 0);
	assert_int_equal(meta_remote(t, "gcp", 1, 2, &id, &gcp), 0);
	assert_int_equal(meta_commit(t), 0);
	f = create(m, gcp, "f", META_FILE, 1);
	assert_int_equal(meta_hide(m, gcp), 0);
	t = meta_begin_read(m);
	assert_int_equal(meta_lookup(t, META_ROOT_INO, "gcp", &ino), -ENOENT);
	assert_int_equal(meta_resolve(t, "/gcp/f", &ino), -ENOENT);
	assert_int_equal(meta_children(t, META_ROOT_INO, 0, false, name_gather, order), 0);
	assert_int_equal(meta_children_by_name(t, META_ROOT_INO, "", name_gather, names), 0);
	assert_string_equal(order, "aws");
	assert_string_equal(names, "aws");
	/* All is there for who has its number. */
	assert_int_equal(meta_lookup(t, gcp, "f", &ino), 0);
	assert_true(ino == f);
	desired_is(t, f, id, "f");
	assert_int_equal(meta_commit(t), 0);
	reopen();
	t = meta_begin_read(m);
	assert_int_equal(meta_resolve(t, "/gcp/f", &ino), 0);
	assert_int_equal(meta_commit(t), 0);
}

static void test_deep(void **state)
{
	char path[META_PATH_MAX + 1], name[201];
	uint64_t dirino, top;
	struct meta_txn *t;
	uint32_t id;

	t = meta_begin(m);
	assert_int_equal(meta_remote(t, "r", 0, 0, &id, &top), 0);
	assert_int_equal(meta_commit(t), 0);
	memset(name, 'n', 200);
	name[200] = '\0';
	dirino = top;
	for (int i = 0; i < 7; i++)
		dirino = create(m, dirino, name, META_DIR, 0);
	t = meta_begin_read(m);
	assert_int_equal(meta_desired(t, dirino, &id, path), -ENAMETOOLONG);
	assert_int_equal(meta_dir_prefix(t, dirino, &id, path), -ENAMETOOLONG);
	assert_int_equal(meta_txn_failed(t), 0);
	meta_abort(t);
}

/* ---- totals ---- */

static void totals_are(uint64_t ino, int64_t files, int64_t bytes, int64_t cold_files)
{
	struct meta_txn *t = meta_begin_read(m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	meta_abort(t);
	assert_int_equal(in.totals.files, files);
	assert_int_equal(in.totals.bytes, bytes);
	assert_int_equal(in.totals.tier_files[TIER_COLD], cold_files);
}

static void test_totals(void **state)
{
	uint64_t a = create(m, META_ROOT_INO, "a", META_DIR, 0),
		 z = create(m, META_ROOT_INO, "z", META_DIR, 0);
	uint64_t b = create(m, a, "b", META_DIR, 0), f = create(m, b, "f", META_FILE, 100);
	struct meta_inode in;
	struct meta_txn *t;

	(void)create(m, b, "s", META_SYMLINK, 7); /* does not count */
	totals_settle(m);
	totals_are(META_ROOT_INO, 1, 100, 0);
	t = meta_begin(m);
	assert_int_equal(meta_inode_get(t, f, &in), 0);
	in.size = 40;
	in.tier = TIER_COLD;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
	expect_move(b, z, "b", 0); /* while the delta of f is on its way */
	check_clean(m);
	totals_settle(m);
	check_clean(m);
	totals_are(a, 0, 0, 0);
	totals_are(z, 1, 40, 1);
	totals_are(META_ROOT_INO, 1, 40, 1);
	t = meta_begin(m);
	assert_int_equal(meta_inode_get(t, f, &in), 0);
	in.size = 1000; /* changed and unlinked in one: what it gave is taken */
	assert_int_equal(meta_unlink(t, &in), 0);
	in.size = 2000; /* orphans give nothing */
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
	totals_settle(m);
	totals_are(META_ROOT_INO, 0, 0, 0);
	check_clean(m);
}

/* ---- a random run against a model ---- */

#define MODEL_N 120

struct model {
	uint64_t ino;
	int parent; /* index; -1 = orphan; -2 = none */
	bool is_dir, dirty;
	uint64_t size;
	unsigned tier;
	char name[8];
};

static struct model model[MODEL_N]; /* [0] is the root */

static uint64_t rng;

static unsigned rnd(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng % n);
}

static int model_find(int parent, const char *name)
{
	for (int i = 1; i < MODEL_N; i++)
		if (model[i].parent == parent && strcmp(model[i].name, name) == 0)
			return i;
	return -1;
}

static bool model_below(int i, int anc)
{
	for (; i > 0; i = model[i].parent)
		if (i == anc)
			return true;
	return i == anc;
}

static int model_children(int d)
{
	int n = 0;

	for (int i = 1; i < MODEL_N; i++)
		n += model[i].parent == d;
	return n;
}

static int model_dir(void)
{
	int d = 0;

	for (int tries = 0; tries < 5; tries++) {
		d = (int)rnd(MODEL_N);
		if (d == 0 || (model[d].parent != -2 && model[d].is_dir))
			return d;
	}
	return 0;
}

static void model_put(struct meta_txn *t, struct model *x, struct meta_inode *in)
{
	x->size = rnd(10000);
	x->tier = rnd(TIER_N);
	x->dirty = !x->is_dir && rnd(2);
	in->size = x->size;
	in->tier = (uint8_t)x->tier;
	in->flags = (in->flags & ~(uint32_t)META_F_DIRTY) | (x->dirty ? META_F_DIRTY : 0);
}

static void model_step(struct meta_txn *t)
{
	int i = 1 + (int)rnd(MODEL_N - 1), d = model_dir();
	struct model *x = &model[i];
	struct meta_inode in;
	char name[8];

	(void)snprintf(name, sizeof(name), "n%u", rnd(12));
	if (x->parent == -2) {
		if (model_find(d, name) >= 0)
			return;
		*x = (struct model){.parent = d, .is_dir = rnd(4) == 0};
		strcpy(x->name, name);
		x->ino = meta_ino_next(t);
		inode_init(&in, x->ino, x->is_dir ? META_DIR : META_FILE, 0);
		model_put(t, x, &in);
		assert_int_equal(meta_link(t, &in, model[d].ino, name), 0);
		return;
	}
	assert_int_equal(meta_inode_get(t, x->ino, &in), 0);
	switch (rnd(5)) {
	case 0:
		if (x->parent >= 0) {
			assert_int_equal(meta_unlink(t, &in), 0);
			x->parent = -1;
		} else if (model_children(i) == 0) {
			assert_int_equal(meta_inode_del(t, x->ino), 0);
			x->parent = -2;
		}
		break;
	case 1:
		model_put(t, x, &in);
		assert_int_equal(meta_inode_put(t, &in), 0);
		break;
	case 2:
		x->dirty = !x->is_dir && rnd(2);
		assert_int_equal(meta_dirty_set(t, x->ino, x->dirty), 0);
		break;
	default:
		if (model_find(d, name) >= 0 || model_below(d, i))
			break;
		if (x->parent < 0)
			assert_int_equal(meta_link(t, &in, model[d].ino, name), 0);
		else
			assert_int_equal(meta_move(t, &in, model[d].ino, name), 0);
		x->parent = d;
		strcpy(x->name, name);
		break;
	}
}

static int count_one(void *arg, uint64_t ino)
{
	++*(int *)arg;
	return 0;
}

static void model_compare(void)
{
	struct meta_txn *t = meta_begin_read(m);
	int dirty = 0, orphans = 0, got;
	struct meta_inode in;

	for (int i = 0; i < MODEL_N; i++) {
		const struct model *x = &model[i];
		int64_t files = 0, bytes = 0;

		if (i > 0 && x->parent == -2)
			continue;
		assert_int_equal(meta_inode_get(t, x->ino, &in), 0);
		dirty += x->dirty;
		orphans += x->parent == -1;
		assert_true(in.parent == (x->parent >= 0 ? model[x->parent].ino : 0));
		if (x->parent >= 0)
			assert_string_equal(in.name, x->name);
		if (!x->is_dir)
			continue;
		assert_int_equal(in.nchild, model_children(i));
		for (int k = 1; k < MODEL_N; k++) {
			if (model[k].parent != -2 && !model[k].is_dir && model[k].parent >= 0 &&
				model_below(k, i)) {
				files++;
				bytes += (int64_t)model[k].size;
			}
		}
		assert_int_equal(in.totals.files, files);
		assert_int_equal(in.totals.bytes, bytes);
	}
	got = 0;
	assert_int_equal(meta_dirty_each(t, count_one, &got), 0);
	assert_int_equal(got, dirty);
	got = 0;
	assert_int_equal(meta_orphans_each(t, count_one, &got), 0);
	assert_int_equal(got, orphans);
	meta_abort(t);
}

static void test_model(void **state)
{
	const char *env = getenv("ASTRA_TEST_SEED");

	rng = env != NULL ? strtoull(env, NULL, 10) | 1 : UINT64_C(88172645463325252);
	for (int i = 0; i < MODEL_N; i++)
		model[i] = (struct model){.parent = -2};
	model[0] = (struct model){.ino = META_ROOT_INO, .parent = -3, .is_dir = true};
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 100; i++) {
			struct meta_txn *t = meta_begin(m);

			for (unsigned k = rnd(5) + 1; k > 0; k--)
				model_step(t);
			assert_int_equal(meta_commit(t), 0);
			if (rnd(20) == 0)
				assert_true(meta_totals_flush(m, 1 + rnd(5)) >= 0);
		}
		check_clean(m);
		totals_settle(m);
		check_clean(m);
		model_compare();
		if (round % 10 == 9)
			reopen();
	}
}

/* ---- journal, xattrs ---- */

static int job_forget(void *arg, uint64_t id, const void *p, size_t len)
{
	struct meta_txn *t = arg;
	uint64_t body;

	assert_int_equal(len, 8);
	memcpy(&body, p, 8);
	assert_int_equal(body, id);
	return id % 2 == 0 ? meta_job_del(t, id) : 0;
}

static int job_count(void *arg, uint64_t id, const void *p, size_t len)
{
	++*(int *)arg;
	return id == 0 ? -EBADMSG : 0;
}

static int job_fails(void *arg, uint64_t id, const void *p, size_t len)
{
	return -EPIPE;
}

static void test_jobs(void **state)
{
	struct meta_txn *t = meta_begin(m);
	uint64_t id = 0;
	int n = 0;

	for (int i = 0; i < 100; i++) {
		id = meta_job_next(t);
		assert_int_equal(meta_job_put(t, id, &id, sizeof(id)), 0);
	}
	assert_int_equal(meta_commit(t), 0);
	t = meta_begin(m);
	assert_int_equal(meta_job_each(t, job_forget, t), 0);
	assert_int_equal(meta_job_del(t, 9999), -ENOENT);
	assert_int_equal(meta_commit(t), 0);
	t = meta_begin_read(m);
	assert_int_equal(meta_job_each(t, job_count, &n), 0);
	assert_int_equal(n, 50);
	assert_int_equal(meta_job_each(t, job_fails, NULL), -EPIPE);
	meta_abort(t);
	check_clean(m);
}

static int xattr_count(void *arg, const char *name, const void *p, size_t len)
{
	++*(int *)arg;
	assert_memory_equal(name, "user.", 5);
	return 0;
}

static void test_xattrs(void **state)
{
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 0);
	cleanup_free char *big = malloc(META_XATTR_MAX + 1), *out = malloc(META_XATTR_MAX);
	struct meta_txn *t;
	char longname[300];
	size_t len;
	int n = 0;

	memset(big, 'b', META_XATTR_MAX + 1);
	memset(longname, 'u', 299);
	longname[255] = '\0';
	t = meta_begin(m);
	assert_int_equal(meta_xattr_set(t, f, "user.big", big, META_XATTR_MAX, XATTR_CREATE), 0);
	assert_int_equal(meta_xattr_set(t, f, "user.empty", "", 0, 0), 0);
	assert_int_equal(meta_xattr_set(t, f, "user.r", "1", 1, 0), 0);
	assert_int_equal(meta_xattr_set(t, f, "user.r", "22", 2, XATTR_REPLACE), 0);
	assert_int_equal(meta_xattr_set(t, f + 1, "user.other", "x", 1, 0), 0);
	assert_int_equal(meta_xattr_get(t, f, "user.r", out, 1, &len), -ERANGE);
	assert_int_equal(meta_xattr_get(t, f, "user.r", NULL, 0, &len), 0);
	assert_int_equal(len, 2);
	assert_int_equal(meta_xattr_get(t, f, "user.none", NULL, 0, &len), -ENODATA);
	assert_int_equal(meta_xattr_del(t, f, "user.none"), -ENODATA);
	assert_int_equal(meta_xattr_get(t, f, "user.empty", out, 10, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(meta_xattr_get(t, f, "user.big", out, META_XATTR_MAX, &len), 0);
	assert_int_equal(len, META_XATTR_MAX);
	assert_memory_equal(out, big, META_XATTR_MAX);
	assert_int_equal(meta_xattr_each(t, f, xattr_count, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(meta_xattr_del(t, f + 1, "user.other"), 0);
	assert_int_equal(meta_xattr_set(t, f, longname, "x", 1, 0), 0);
	assert_int_equal(meta_xattr_del(t, f, longname), 0);
	assert_int_equal(meta_commit(t), 0);
	check_clean(m);

	const struct {
		const char *name;
		size_t len;
		int flags;
		errint_t want;
	} bad[] = {{"user.r", 1, XATTR_CREATE, -EEXIST}, {"user.q", 1, XATTR_REPLACE, -ENODATA},
		{"user.r", META_XATTR_MAX + 1, 0, -E2BIG}, {"", 1, 0, -ERANGE}};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		t = meta_begin(m);
		assert_int_equal(meta_xattr_set(t, f, bad[i].name, big, bad[i].len, bad[i].flags),
			bad[i].want);
		assert_int_equal(meta_commit(t), bad[i].want);
	}
}

/* ---- scan ---- */

struct scanned {
	int n, stop_after;
	uint64_t last;
};

static int scan_one(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	struct scanned *s = arg;

	assert_int_equal(in->kind, META_FILE);
	assert_true(in->ino > s->last);
	s->last = in->ino;
	return ++s->n == s->stop_after;
}

static void test_scan(void **state)
{
	struct scanned s = {0};
	uint64_t next = 0;
	char name[16];
	int slices = 0;

	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		(void)create(m, META_ROOT_INO, name, i % 4 == 0 ? META_DIR : META_FILE, 1);
	}
	do {
		assert_int_equal(meta_scan(m, next, 10, &next, scan_one, &s), 0);
		slices++;
	} while (next != 0);
	assert_int_equal(s.n, 75);
	assert_true(slices >= 8);
	s = (struct scanned){.stop_after = 3};
	assert_int_equal(meta_scan(m, 0, 1000, &next, scan_one, &s), 0);
	assert_int_equal(next, s.last);
}

/* ---- damage ---- */

static void quiet(void *arg, const char *line)
{
}

static void test_check_finds(void **state)
{
	uint64_t d = create(m, META_ROOT_INO, "d", META_DIR, 0),
		 f = create(m, d, "f", META_FILE, 5);
	uint8_t key[32], ino8[8], row[ROW_INODE_MAX];
	struct meta_inode in;
	struct meta_txn *t;

	check_clean(m);
	for (int i = 0; i < 12; i++) {
		t = meta_begin(m);
		db_u64(ino8, f);
		db_u64(key, d);
		assert_int_equal(meta_inode_get(t, i == 1 || i == 2 || i >= 10 ? d : f, &in), 0);
		switch (i) {
		case 0: /* no order */
			db_u64(key + 8, f);
			assert_int_equal(db_del(t, T_ORDER, key, 16), 0);
			break;
		case 1: /* wrong number of children */
			in.nchild++;
			assert_int_equal(catalog_row_put(t, &in), 0);
			break;
		case 2: /* wrong totals */
			in.totals.bytes++;
			assert_int_equal(catalog_row_put(t, &in), 0);
			break;
		case 3: /* a size behind the totals' back */
			in.size++;
			assert_int_equal(catalog_row_put(t, &in), 0);
			break;
		case 4: /* a name to nothing */
			assert_int_equal(catalog_dentry_put(t, d, "ghost", 4711, META_FILE), 0);
			break;
		case 5:
			assert_int_equal(db_put(t, T_DIRTY, ino8, 8, "", 0), 0);
			break;
		case 6:
			assert_int_equal(db_put(t, T_ORPHAN, ino8, 8, "", 0), 0);
			break;
		case 7: /* history of nobody */
			db_u64(ino8, 4711);
			assert_int_equal(db_put(t, T_ACCESS, ino8, 8, "\1", 1), 0);
			break;
		case 8: /* a damaged row */
			assert_int_equal(
				db_put(t, T_INODE, ino8, 8, row, row_inode_encode(&in, row) - 1),
				0);
			break;
		case 9: /* a number that will be given again */
			assert_int_equal(db_sys_put(t, "next_ino", 3), 0);
			break;
		case 10: /* a loop */
			db_u64(ino8, d);
			in.parent = d;
			assert_int_equal(catalog_row_put(t, &in), 0);
			break;
		case 11: /* wrong number of links */
			in.nlink++;
			assert_int_equal(catalog_row_put(t, &in), 0);
			break;
		}
		assert_int_equal(meta_commit(t), 0);
		if (meta_check(m, quiet, NULL) <= 0)
			fail_msg("damage %d was not found", i);
		teardown(NULL); /* and anew */
		setup(NULL);
		d = create(m, META_ROOT_INO, "d", META_DIR, 0);
		f = create(m, d, "f", META_FILE, 5);
	}
}

/* A damaged row fails its transaction, and only that. */
static void test_damaged_row(void **state)
{
	uint64_t f = create(m, META_ROOT_INO, "f", META_FILE, 5);
	struct meta_inode in;
	struct meta_txn *t;
	uint8_t ino8[8];

	db_u64(ino8, f);
	t = meta_begin(m);
	assert_int_equal(db_put(t, T_INODE, ino8, 8, "\1\1\377\377\377", 5), 0);
	assert_int_equal(meta_commit(t), 0);
	t = meta_begin(m);
	assert_int_equal(meta_inode_get(t, f, &in), -EBADMSG);
	assert_int_equal(meta_kv_put(t, "x", "y", 1), -EBADMSG);
	assert_int_equal(meta_commit(t), -EBADMSG);
	(void)create(m, META_ROOT_INO, "g", META_FILE, 5);
}

/* ---- threads ---- */

#define THREADS 4

static void *writer(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	char name[32];

	for (int i = 0; i < 150; i++) {
		struct meta_txn *t = meta_begin(m), *r;
		struct meta_bump b = {.reads = 1, .when_ns = clock_now_ns()};
		struct meta_inode in, back;
		struct meta_access a;

		(void)snprintf(name, sizeof(name), "t%u-%d", self, i);
		inode_init(&in, meta_ino_next(t), META_FILE, 10);
		b.ino = in.ino;
		(void)meta_link(t, &in, META_ROOT_INO, name);
		if (i % 10 == 9)
			meta_abort(t);
		else if (meta_commit(t) != 0)
			return (void *)1;
		meta_access_bump(m, &b);
		r = meta_begin_read(m);
		if (i % 10 != 9 && meta_inode_get(r, in.ino, &back) != 0)
			return (void *)2;
		if (meta_access_get(m, r, in.ino, &a) != 0 && i % 10 != 9)
			return (void *)3;
		meta_abort(r);
		if (i % 25 == 0 && meta_sync(m, NULL) != 0)
			return (void *)4;
		if (i % 25 == 12 && meta_access_flush(m) != 0)
			return (void *)5;
		if (i % 25 == 20)
			(void)meta_totals_flush(m, 10);
		(void)meta_has_room(m);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t th[THREADS];
	struct meta_stat st;
	void *res;

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&th[i], NULL, writer, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(th[i], &res), 0);
		assert_null(res);
	}
	totals_settle(m);
	totals_are(META_ROOT_INO, THREADS * 135, THREADS * 1350, 0);
	assert_int_equal(meta_access_flush(m), 0);
	assert_int_equal(meta_stat(m, &st), 0);
	assert_int_equal(st.inodes, THREADS * 135 + 1);
	assert_int_equal(st.dentries, THREADS * 135);
	assert_true(st.used_bytes > 0 && st.file_bytes >= st.used_bytes && st.map_bytes == MAP);
	check_clean(m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_txn_sticky),
		T(test_txn_hooks),
		T(test_txn_snapshot),
		T(test_numbers),
		cmocka_unit_test(test_row_inode),
		T(test_inode_put),
		T(test_children),
		T(test_move),
		T(test_clouds),
		T(test_hidden),
		T(test_deep),
		T(test_totals),
		T(test_model),
		T(test_jobs),
		T(test_xattrs),
		T(test_scan),
		T(test_check_finds),
		T(test_damaged_row),
		T(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
