/* SPDX-License-Identifier: MIT */
/* Calls that wait: clouds that hang, deadlines, interrupts, archives, versions that are replaced,
 * a full staging area, and the end with calls parked. Two workers, two buffers. */
#include <sys/prctl.h>

#include "vfs_help.h"

#include "astra/base_count.h"

#define MANY 64

static char big[3u << 20];

static uint64_t foreign(struct fix *f, unsigned remote, uint64_t top, const char *name, size_t len)
{
	uint64_t ino;

	for (size_t i = 0; i < len; i++)
		big[i] = (char)(i * 7 + i / 65536);
	object_put(&f->remotes[remote], name, big, len);
	assert_int_equal(lookup(f, top, name, &ino), 0);
	return ino;
}

static void await_parked(struct fix *f, uint64_t want)
{
	struct vfs_stat st;

	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		vfs_stat(f->v, &st);
		if (st.parked >= want)
			return;
		usleep(1000);
	}
	fail_msg("%llu of %llu calls are parked", (unsigned long long)st.parked,
		(unsigned long long)want);
}

/* One cloud hangs with many readers: the other one answers, and theirs end at the deadline. */
static void test_hung_cloud(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "h", sizeof(big)), other;
	struct ask *asks[MANY];
	struct vfs_handle *h, *ho;
	char buf[64];

	fix_down(f);
	f->vc.io_deadline_ns = 2 * NS_PER_S;
	fix_up(f);
	other = foreign(f, 1, f->gcp, "o", 1000);
	assert_int_equal(lookup(f, f->aws, "h", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	fault(f, 0, "get,list:hang");
	for (unsigned i = 0; i < MANY; i++) {
		asks[i] = ask_new();
		vfs_read(f->v, &asks[i]->c, h, (uint64_t)i * 40000, 4096);
	}
	await_parked(f, MANY);
	assert_int_equal(open_ino(f, other, O_RDONLY, &ho), 0);
	assert_int_equal(get(f, ho, 0, buf, 64), 64);
	assert_int_equal(attr(f, ino).st_size, sizeof(big));
	close_h(f, ho);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(ask_wait(asks[i]), -EIO);
		ask_free(asks[i]);
	}
	fault(f, 0, "");
	assert_int_equal(get(f, h, 0, buf, 64), 64);
	close_h(f, h);
}

/* A read that joins a fetch shortly before its end has all of its own time. */
static void test_late_reader_of_a_hung_fetch(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "l", sizeof(big));
	struct ask *first = ask_new(), *late = ask_new();
	struct vfs_handle *h;

	fix_down(f);
	f->vc.io_deadline_ns = NS_PER_S;
	fix_up(f);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	fault(f, 0, "get:hang:n=1");
	vfs_read(f->v, &first->c, h, 0, 4096);
	await_parked(f, 1);
	usleep(700000);
	vfs_read(f->v, &late->c, h, 0, 4096);
	(void)ask_wait(first);
	assert_int_equal(ask_wait(late), 0);
	assert_int_equal(late->len, 4096);
	assert_memory_equal(late->data, big, 4096);
	close_h(f, h);
	ask_free(first);
	ask_free(late);
}

static void test_lookup_waits_for_a_list(void **state)
{
	struct fix *f = *state;
	struct ask *a[3];
	uint64_t ino;

	object_put(&f->remotes[0], "there", "x", 1);
	fault(f, 0, "list:delay=100");
	for (int i = 0; i < 3; i++) {
		a[i] = ask_new();
		vfs_lookup(f->v, &a[i]->c, f->aws, i ? "there" : "absent");
	}
	assert_int_equal(ask_wait(a[0]), -ENOENT);
	assert_int_equal(ask_wait(a[1]), 0);
	assert_int_equal(ask_wait(a[2]), 0);
	fault(f, 0, "list:error=EIO");
	assert_int_equal(lookup(f, f->aws, "there", &ino), 0); /* known */
	assert_int_equal(lookup(f, f->gcp, "x", NULL), -ENOENT);
	for (int i = 0; i < 3; i++)
		ask_free(a[i]);
}

static void test_cloud_down(void **state)
{
	struct fix *f = *state;
	uint64_t ino;
	struct vfs_handle *h;

	fault(f, 0, "list:error=EIO/retry");
	assert_int_equal(lookup(f, f->aws, "x", NULL), -EIO);
	fault(f, 0, "");
	ino = foreign(f, 0, f->aws, "c", 5000);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	fault(f, 0, "get:cut");
	assert_int_equal(get(f, h, 0, big, 100), -EIO); /* never wrong bytes */
	fault(f, 0, "");
	close_h(f, h);
}

static void test_interrupt(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = create_in(f, f->aws, "i", NULL);
	struct ask *a = ask_new();

	fault(f, 0, "put:error=EIO/retry");
	assert_int_equal(put(f, h, 0, "x", 1), 0);
	vfs_fsync(f->v, &a->c, h, false);
	await_parked(f, 1);
	atomic_store(&a->c.interrupted, true);
	vfs_interrupt(f->v, &a->c);
	assert_int_equal(ask_wait(a), -EINTR);
	fault(f, 0, "");
	assert_int_equal(fsync_h(f, h), 0); /* the job went on */
	close_h(f, h);
	ask_free(a);
}

static void test_rename_does_not_wait_long(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "r", 2u << 20);
	char buf[16];

	fix_down(f);
	f->vc.migrate_wait_ns = 50 * NS_PER_MS;
	fix_up(f);
	assert_int_equal(lookup(f, f->aws, "r", &ino), 0);
	fault(f, 1, "put,parts_begin,part_put:delay=300");
	assert_int_equal(rename_to(f, f->aws, "r", f->gcp, "r", 0), 0);
	assert_int_equal(lookup(f, f->aws, "r", NULL), -ENOENT);
	assert_int_equal(lookup(f, f->gcp, "r", &ino), 0);
	assert_string_equal(getx(f, ino, "user.astra.state"), "moving");
	assert_string_equal(getx(f, ino, "user.astra.cloud"), "aws"); /* where the bytes are */
	fault(f, 1, "");
	sync_all(f);
	assert_int_equal(object_get(&f->remotes[1], "r", buf, 16), 16);
	assert_int_equal(object_get(&f->remotes[0], "r", buf, 16), -ENOENT);
}

static void test_archived(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "z", 1000);
	struct vfs_handle *h;
	struct ask *a;
	char buf[16];

	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	sync_all(f);
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), -EIO);
	assert_int_equal(rename_to(f, f->aws, "z", f->gcp, "z", 0), -EIO);
	/* by order */
	assert_int_equal(setx(f, ino, "user.astra.restore", "soon"), -EINVAL);
	assert_int_equal(setx(f, ino, "user.astra.restore", "1d"), 0);
	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, 16), 16);
	close_h(f, h);
	/* by waiting */
	object_put(&f->remotes[0], "z2", big, 1000);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(lookup(f, f->aws, "z2", &ino), 0);
	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	sync_all(f);
	fix_down(f);
	f->vc.recall = RECALL_BLOCK;
	fix_up(f);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), -EIO); /* nobody known asks */
	a = ask_new();
	a->c.pid = getpid();
	assert_int_equal(CALL(a, vfs_open, ino, O_RDONLY), 0);
	h = a->c.handle;
	assert_int_equal(get(f, h, 0, buf, 16), 16);
	close_h(f, h);
	ask_free(a);
}

/* A program that is not to restore anything opens an archived file, right after what it was before
 * opened another one. */
static void test_who_restores_is_asked(void **state)
{
	static const char *const never[] = {"restores-never", NULL};
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "z", 1000), plain = make(f, f->aws, "p", "p", 1);
	struct ask *a = ask_new();
	char name[16];

	assert_int_equal(setx(f, ino, "user.astra.tier", "ARCHIVE"), 0);
	sync_all(f);
	fix_down(f);
	f->vc.recall = RECALL_REQUEST;
	f->vc.no_recall = never;
	fix_up(f);
	a->c.pid = getpid();
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	assert_int_equal(CALL(a, vfs_open, plain, O_RDONLY), 0);
	close_h(f, a->c.handle);
	assert_int_equal(prctl(PR_SET_NAME, never[0]), 0);
	assert_int_equal(CALL(a, vfs_open, ino, O_RDONLY), -EIO);
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	assert_string_equal(getx(f, ino, "user.astra.state"), "archived");
	ask_free(a);
}

/* A name is taken by another file while the old one is read: it is read to its end. */
static void test_replaced_while_read(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "v", sizeof(big));
	char *want = malloc(sizeof(big)), *buf = malloc(1 << 17);
	struct vfs_handle *h;

	memcpy(want, big, sizeof(big));
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, 4096), 4096);
	(void)make(f, f->aws, "new", "new", 3);
	assert_int_equal(rename_to(f, f->aws, "new", f->aws, "v", 0), 0);
	sync_all(f); /* it is overwritten, once all of the old one is here */
	assert_int_equal(object_get(&f->remotes[0], "v", buf, 100), 3);
	for (size_t at = 0; at < sizeof(big); at += 1 << 17) {
		assert_int_equal(get(f, h, at, buf, 1 << 17), 1 << 17);
		assert_memory_equal(buf, want + at, 1 << 17);
	}
	close_h(f, h);
	free(want);
	free(buf);
}

/* Somebody else writes the object while it is open: the next read shows theirs, not a mixture. */
static void test_changed_outside(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "w", 500000);
	struct vfs_handle *h;
	unsigned notes;
	char buf[100];

	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	assert_int_equal(get(f, h, 0, buf, 100), 100);
	notes = atomic_load(&f->notes);
	object_put(&f->remotes[0], "w", "theirs", 6);
	assert_int_equal(get(f, h, 300000, buf, 100), 0); /* it has 6 bytes now */
	assert_int_equal(get(f, h, 0, buf, 100), 6);
	assert_memory_equal(buf, "theirs", 6);
	assert_int_equal(attr(f, ino).st_size, 6);
	for (int i = 0; i < 5000 && atomic_load(&f->notes) == notes; i++)
		usleep(1000);
	assert_int_not_equal(atomic_load(&f->notes), notes);
	close_h(f, h);
	/* gone: an error, not an empty file */
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	object_put(&f->remotes[0], "w", big, 9000);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(
		store_remove(f->remotes[0].st, NULL, (struct store_obj){"b", "w"}, NULL, NULL), 0);
	assert_int_equal(get(f, h, 0, buf, 100), -ESTALE);
	close_h(f, h);
}

#define SMALL_QUOTA (4u << 20)
#define FATTER	    (SMALL_QUOTA - (512u << 10))

/* A staging area that one uploaded file fills, which somebody still holds. */
static struct stage_file *full_and_held(struct fix *f, int64_t io_deadline_ns)
{
	struct stage_file *sf = NULL;
	static char bytes[FATTER];
	uint64_t ino;

	fix_down(f);
	f->quota = SMALL_QUOTA;
	f->buf_size = 8u << 20;
	f->vc.io_deadline_ns = io_deadline_ns;
	fix_up(f);
	ino = make(f, f->aws, "held", bytes, sizeof(bytes));
	assert_int_equal(stage_get(f->stage, ino, false, &sf), 0);
	stage_keep(sf);
	sync_all(f);
	return sf;
}

/* The call waits for room, and has it when sf is let go. */
static void goes_on(struct fix *f, struct ask *a, struct stage_file *sf, struct vfs_handle *h)
{
	await_parked(f, 1);
	assert_int_equal(atomic_load(&a->answers), 0);
	stage_put(sf);
	assert_int_equal(ask_wait(a), 0);
	ask_free(a);
	fault(f, 1, "");
	close_h(f, h);
	sync_all(f);
}

/* All is uploaded, and a job that ends holds it for a moment: no change is left to wait for, and
 * yet there will be room. */
static void test_full_until_a_job_ends(void **state)
{
	struct fix *f = *state;
	struct stage_file *sf = full_and_held(f, 3600 * NS_PER_S);
	struct ask *a = ask_new();
	struct stage_stat st;
	struct vfs_handle *h;

	fault(f, 1, "put:hang");
	(void)make(f, f->gcp, "empty", "", 0); /* a job, and no bytes */
	h = create_in(f, f->aws, "more", NULL);
	stage_stat(f->stage, &st);
	assert_int_equal(st.dirty_bytes, 0);
	vfs_write(f->v, &a->c, h, 0, big, 1 << 20, false);
	goes_on(f, a, sf, h);
}

/* What holds it is open, and nothing is on its way: there is nothing to wait for. */
static void test_full_of_what_is_open(void **state)
{
	struct fix *f = *state;
	struct stage_file *sf = full_and_held(f, 3600 * NS_PER_S);
	struct vfs_handle *h = create_in(f, f->aws, "more", NULL);

	assert_int_equal(put(f, h, 0, big, 1 << 20), -ENOSPC);
	stage_put(sf);
	assert_int_equal(put(f, h, 0, big, 1 << 20), 0);
	close_h(f, h);
	sync_all(f);
}

/* No byte goes for longer than io_deadline, because the user wants it so. */
static void test_full_and_slow(void **state)
{
	struct fix *f = *state;
	static char bytes[FATTER];
	char name[8];

	fix_down(f);
	remotes_destroy(f->remotes, f->nremotes);
	conf_destroy(f->conf);
	fix_remotes(f, "[remote aws]\ntype=mem\nprovider=aws\nbucket=b\nretries=0\nbandwidth=600K\n"
		       "[remote gcp]\ntype=mem\nprovider=gcp\nbucket=b\nretries=0\nfault=\n"
		       "[remote multi]\ntype=mem\nprovider=azure\nretries=0\n");
	f->quota = SMALL_QUOTA;
	f->buf_size = 8u << 20;
	f->vc.io_deadline_ns = 3 * NS_PER_S; /* of twice that long waits */
	fix_up(f);
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		(void)make(f, f->aws, name, bytes, sizeof(bytes));
	}
}

/* A copy inside, and room that is asked for, wait as writes do. */
static void test_full_for_others(void **state)
{
	struct fix *f = *state;
	struct stage_file *sf = full_and_held(f, 3600 * NS_PER_S);
	struct ask *a = ask_new();
	struct vfs_handle *h;

	fault(f, 1, "put:hang");
	(void)make(f, f->gcp, "empty", "", 0);
	h = create_in(f, f->aws, "more", NULL);
	vfs_fallocate(f->v, &a->c, h, 0, 0, 1 << 20);
	goes_on(f, a, sf, h);
}

/* What must not go fills the staging area: writes say so, reads go on. */
static void test_staging_full(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 1, f->gcp, "read", sizeof(big));
	uint64_t fat;
	struct vfs_handle *h = create_in(f, f->aws, "fat", &fat), *r;
	struct ask *a;
	char buf[4096], want[4096];
	errint_t e = 0;
	uint64_t at = 0;

	memcpy(want, big + 8192, sizeof(want));
	fault(f, 0, "put,parts_begin:error=EIO/retry");
	memset(big, 'f', 1 << 17);
	for (; !e && at < (80u << 20); at += 1 << 17)
		e = put(f, h, at, big, 1 << 17);
	assert_int_equal(e, -ENOSPC);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &r), 0);
	assert_int_equal(get(f, r, 8192, buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, want, sizeof(buf));
	close_h(f, r);
	a = ask_new();
	assert_int_equal(CALL(a, vfs_setattr, fat, h, &(struct stat){0}, VFS_SET_SIZE), 0);
	ask_free(a);
	fault(f, 0, "");
	close_h(f, h);
}

static void test_stop_answers_what_is_parked(void **state)
{
	struct fix *f = *state;
	uint64_t ino = foreign(f, 0, f->aws, "s", sizeof(big));
	struct vfs_handle *h;
	struct ask *a[4];

	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	fault(f, 0, "get:hang");
	for (int i = 0; i < 4; i++) {
		a[i] = ask_new();
		vfs_read(f->v, &a[i]->c, h, (uint64_t)i << 19, 100);
	}
	await_parked(f, 4);
	fix_down(f);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(ask_wait(a[i]), -EIO);
		ask_free(a[i]);
	}
	fault(f, 0, "");
	fix_up(f);
}

static void test_close_waits(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h;
	char buf[16];

	fix_down(f);
	f->vc.durability = DURABLE_CLOSE;
	fix_up(f);
	h = create_in(f, f->aws, "c", NULL);
	assert_int_equal(put(f, h, 0, "close", 5), 0);
	close_h(f, h);
	assert_int_equal(object_get(&f->remotes[0], "c", buf, 16), 5);
	fix_down(f);
	f->vc.durability = DURABLE_LOCAL;
	fix_up(f);
	fault(f, 0, "put:error=EIO/retry");
	h = create_in(f, f->aws, "l", NULL);
	assert_int_equal(put(f, h, 0, "local", 5), 0);
	assert_int_equal(fsync_h(f, h), 0);
	close_h(f, h);
	fault(f, 0, "");
}

/* A full queue of jobs slows down what would make it longer, and does not stop it. */
static void test_full_queue_slows_down(void **state)
{
	struct fix *f = *state;
	char name[8];
	uint64_t before;

	fix_down(f);
	f->queue_max = 4;
	fix_up(f);
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "q%d", i);
		make(f, f->aws, name, "x", 1);
		sync_all(f);
	}
	fault(f, 0, "remove,remove_many:error=EIO/retry");
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "q%d", i);
		assert_int_equal(unlink_in(f, f->aws, name), 0);
	}
	before = count_get(COUNT_fuse_parked);
	assert_int_equal(unlink_in(f, f->aws, "q4"), 0);
	assert_true(count_get(COUNT_fuse_parked) - before > 10);
	fault(f, 0, "");
	sync_all(f);
	before = count_get(COUNT_fuse_parked);
	make(f, f->aws, "q5", "x", 1);
	assert_int_equal(unlink_in(f, f->aws, "q5"), 0);
	assert_int_equal(count_get(COUNT_fuse_parked), before);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_hung_cloud),
		T(test_late_reader_of_a_hung_fetch),
		T(test_lookup_waits_for_a_list),
		T(test_cloud_down),
		T(test_interrupt),
		T(test_rename_does_not_wait_long),
		T(test_archived),
		T(test_who_restores_is_asked),
		T(test_replaced_while_read),
		T(test_changed_outside),
		T(test_staging_full),
		T(test_full_until_a_job_ends),
		T(test_full_of_what_is_open),
		T(test_full_and_slow),
		T(test_full_for_others),
		T(test_stop_answers_what_is_parked),
		T(test_close_waits),
		T(test_full_queue_slows_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
