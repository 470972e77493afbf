/* SPDX-License-Identifier: MIT */
/* Objects whose listing did not tell their class (caps.head_class): who needs it asks, once, in all
 * other ways it is not known; nothing takes it for HOT, nor loses what is there. */
#include "vfs_help.h"

#include "astra/base_count.h"

/* Objects of others, as a bare listing shows them. The class of each is to be known by its key:
 * those that begin with 'h' are in that of HOT, the others in that of WARM. */
static void theirs(struct fix *f, const char *const *keys, uint64_t *ino)
{
	struct store_meta m[] = {{"mode", "33024"}, {"xattr", "{\"user.theirs\":\"dg==\"}"}};
	struct store_put opt = {.meta = m, .nmeta = 2};
	struct meta_inode in;
	struct meta_txn *t;

	f->remotes[0].caps.list_meta = false;
	f->remotes[0].caps.head_class = true;
	for (unsigned i = 0; keys[i]; i++) {
		opt.class_name = keys[i][0] == 'h' ? "STANDARD" : "STANDARD_IA";
		assert_int_equal(store_put(f->remotes[0].st, NULL, (struct store_obj){"b", keys[i]},
					 "content", 7, &opt, NULL, NULL),
			0);
	}
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	for (unsigned i = 0; keys[i]; i++)
		assert_int_equal(lookup(f, f->aws, keys[i], &ino[i]), 0);
	t = meta_begin(f->m);
	for (unsigned i = 0; keys[i]; i++) {
		assert_int_equal(meta_inode_get(t, ino[i], &in), 0);
		in.class_name[0] = '\0';
		in.tier = TIER_HOT;
		in.mode = S_IFREG | 0644;
		in.flags |= META_F_FOREIGN;
		assert_int_equal(meta_inode_put(t, &in), 0);
		assert_int_equal(meta_xattr_del(t, ino[i], "user.theirs"), 0);
	}
	assert_int_equal(meta_commit(t), 0);
}

#define THEIRS(ino, ...) theirs(f, (const char *const[]){__VA_ARGS__, NULL}, ino)

static uint64_t asked(void)
{
	return count_get(COUNT_class_asks);
}

static struct store_stat head(struct fix *f, const char *key)
{
	struct store_stat st;

	assert_int_equal(
		store_head(f->remotes[0].st, NULL, (struct store_obj){"b", key}, &st, NULL), 0);
	return st;
}

static bool class_is(struct fix *f, const char *key, const char *class_name)
{
	struct store_stat st = head(f, key);
	bool is = !strcmp(st.class_name, class_name);

	store_stat_done(&st);
	return is;
}

static void set_mode(struct fix *f, uint64_t ino, mode_t mode)
{
	struct stat st = {.st_mode = mode};
	struct ask *a = ask_new();

	assert_int_equal(CALL(a, vfs_setattr, ino, NULL, &st, VFS_SET_MODE), 0);
	ask_free(a);
}

/* The answer of a list of names has this one. */
static bool lists(struct fix *f, uint64_t ino, const char *name)
{
	struct ask *a = ask_new();
	bool has = false;

	assert_int_equal(CALL(a, vfs_listxattr, ino, 0), 0);
	for (size_t at = 0; at < a->len; at += strlen(a->data + at) + 1)
		has |= !strcmp(a->data + at, name);
	ask_free(a);
	return has;
}

static void test_asked_once(void **state)
{
	struct fix *f = *state;
	uint64_t ino, before = asked();

	THEIRS(&ino, "a");
	/* names, attributes and bytes ask for nothing */
	fault(f, 0, "head:error=EIO");
	assert_true(lists(f, ino, "user.astra.storage_class") && lists(f, ino, "user.astra.cost"));
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0644);
	assert_string_equal(getx(f, ino, "user.astra.state"), "settled");
	assert_string_equal(getx(f, f->aws, "user.astra.bytes.HOT"), "0");
	/* nobody knows, and nobody guesses */
	assert_null(getx(f, ino, "user.astra.storage_class"));
	assert_null(getx(f, ino, "user.astra.tier"));
	assert_null(getx(f, ino, "user.astra.cost"));
	fault(f, 0, "");
	assert_int_equal(asked() - before, 3);
	assert_string_equal(getx(f, ino, "user.astra.tier"), "WARM");
	/* once, and the rest came along */
	fault(f, 0, "head:error=EIO");
	assert_string_equal(getx(f, ino, "user.astra.storage_class"), "STANDARD_IA");
	assert_int_equal(asked() - before, 4);
	assert_int_equal(attr(f, ino).st_mode, S_IFREG | 0400);
	assert_string_equal(getx(f, ino, "user.theirs"), "v");
	fault(f, 0, "");
}

/* Somebody's newer version, or none, is what a listing tells. */
static void test_another_version(void **state)
{
	struct fix *f = *state;
	char etag[META_ETAG_MAX];
	uint64_t ino[2];

	THEIRS(ino, "a", "b");
	(void)snprintf(etag, sizeof(etag), "%s", getx(f, ino[0], "user.astra.etag"));
	object_put(&f->remotes[0], "a", "other", 5);
	assert_int_equal(
		store_remove(f->remotes[0].st, NULL, (struct store_obj){"b", "b"}, NULL, NULL), 0);
	assert_null(getx(f, ino[0], "user.astra.tier"));
	assert_null(getx(f, ino[1], "user.astra.tier"));
	assert_string_equal(getx(f, ino[0], "user.astra.etag"), etag);
}

/* A cloud that hangs: an interrupt ends the wait, the deadline does, and so does the end. */
static void test_hung(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new(), *b = ask_new();
	uint64_t ino;

	fix_down(f);
	f->vc.io_deadline_ns = NS_PER_S;
	fix_up(f);
	THEIRS(&ino, "a");
	fault(f, 0, "head:hang");
	vfs_getxattr(f->v, &a->c, ino, "user.astra.tier", 100);
	vfs_getxattr(f->v, &b->c, ino, "user.astra.cost", 100);
	usleep(50000);
	atomic_store(&a->c.interrupted, true);
	vfs_interrupt(f->v, &a->c);
	assert_int_equal(ask_wait(a), -EINTR);
	assert_int_equal(ask_wait(b), -EIO);
	fault(f, 0, "");
	assert_string_equal(getx(f, ino, "user.astra.tier"), "WARM");
	ask_free(a);
	ask_free(b);
	/* teardown comes while one is under way */
	THEIRS(&ino, "c");
	fault(f, 0, "head:delay=200");
	a = ask_new();
	vfs_getxattr(f->v, &a->c, ino, "user.astra.tier", 100);
	fix_down(f);
	(void)ask_wait(a);
	ask_free(a);
	fix_up(f);
}

/* A tier is set by who has looked first: what is there already is not made again. */
static void test_tier_is_set(void **state)
{
	struct fix *f = *state;
	uint64_t ino[3];

	THEIRS(ino, "hot", "warm", "stays");
	const uint64_t hot = ino[0], warm = ino[1], stays = ino[2];
	fault(f, 0, "set_tier:key=hot:error=EIO/final;set_tier:key=stays:error=EIO/final");
	assert_int_equal(setx(f, hot, "user.astra.tier", "HOT"), 0);
	assert_int_equal(setx(f, warm, "user.astra.tier", "HOT"), 0);
	assert_int_equal(setx(f, stays, "user.astra.tier", "WARM"), 0);
	sync_all(f);
	assert_true(class_is(f, "hot", "STANDARD") && class_is(f, "warm", "STANDARD"));
	assert_string_equal(getx(f, warm, "user.astra.storage_class"), "STANDARD");
	assert_string_equal(getx(f, stays, "user.astra.storage_class"), "STANDARD_IA");
	assert_string_equal(getx(f, hot, "user.astra.state"), "settled");
	assert_string_equal(getx(f, stays, "user.astra.state"), "settled");
	fault(f, 0, "");
}

/* A move to another cloud takes tier and attributes along; inside one a copy keeps them. */
static void test_moves(void **state)
{
	struct fix *f = *state;
	struct ask *ask = ask_new();
	uint64_t ino[2], d;

	THEIRS(ino, "a", "b");
	const uint64_t a = ino[0], b = ino[1];
	assert_int_equal(rename_to(f, f->aws, "a", f->gcp, "a", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "b", f->aws, "c", 0), 0);
	sync_all(f);
	assert_string_equal(getx(f, a, "user.astra.storage_class"), "NEARLINE");
	assert_int_equal(attr(f, a).st_mode, S_IFREG | 0400);
	assert_string_equal(getx(f, a, "user.theirs"), "v");
	assert_true(class_is(f, "c", "STANDARD_IA"));
	assert_int_equal(attr(f, b).st_mode, S_IFREG | 0400);
	assert_string_equal(getx(f, b, "user.theirs"), "v");
	assert_string_equal(getx(f, b, "user.astra.tier"), "WARM");
	/* with their directory */
	assert_int_equal(CALL(ask, vfs_mkdir, f->aws, "d", 0755), 0);
	ask_free(ask);
	assert_int_equal(lookup(f, f->aws, "d", &d), 0);
	sync_all(f);
	THEIRS(ino, "e");
	assert_int_equal(rename_to(f, f->aws, "e", d, "e", 0), 0);
	assert_int_equal(rename_to(f, f->aws, "d", f->gcp, "d", 0), 0);
	sync_all(f);
	assert_string_equal(getx(f, ino[0], "user.astra.storage_class"), "NEARLINE");
}

/* A change of attributes that copies the object looks first: it is not made of a cold one, and what
 * others put there stays. */
static void test_attributes(void **state)
{
	struct fix *f = *state;
	struct store_stat st;
	uint64_t ino[3];

	THEIRS(ino, "hot", "warm", "h1");
	const uint64_t hot = ino[0], warm = ino[1], one = ino[2];
	f->remotes[0].caps.set_meta = false;
	f->remotes[0].caps.meta_copy = 1000;
	fault(f, 0, "set_meta:key=warm:error=EIO/final");
	set_mode(f, hot, 0600);
	set_mode(f, warm, 0600);
	assert_int_equal(setx(f, one, "user.mine", "m"), 0);
	sync_all(f);
	st = head(f, "hot");
	assert_string_equal(store_stat_meta(&st, "mode"), "33152");
	assert_string_equal(store_stat_meta(&st, "xattr"), "{\"user.theirs\":\"dg==\"}");
	store_stat_done(&st);
	st = head(f, "h1");
	assert_string_equal(store_stat_meta(&st, "mode"), "33024");
	assert_non_null(strstr(store_stat_meta(&st, "xattr"), "user.theirs"));
	assert_non_null(strstr(store_stat_meta(&st, "xattr"), "user.mine"));
	store_stat_done(&st);
	assert_int_equal(attr(f, one).st_mode, S_IFREG | 0400);
	assert_string_equal(getx(f, warm, "user.astra.state"), "meta-local");
	assert_string_equal(getx(f, warm, "user.astra.storage_class"), "STANDARD_IA");
	assert_int_equal(attr(f, warm).st_mode, S_IFREG | 0600);
	fault(f, 0, "");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_asked_once),
		T(test_another_version),
		T(test_hung),
		T(test_tier_is_set),
		T(test_moves),
		T(test_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
