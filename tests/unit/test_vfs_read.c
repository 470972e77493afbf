/* SPDX-License-Identifier: MIT */
/* What reading fetches, and when: windows, requests and bytes, told by counters. Sixteen workers
 * and transfer buffers of 8 MiB, as a mount has. */
#include "vfs_help.h"

#include "astra/base_count.h"

#define MIB  (UINT64_C(1) << 20)
#define READ (UINT64_C(1) << 17)
#define LEN  (96 * MIB)
#define FAR  "get:delay=12" /* farther than what is read by one long request */
#define CALM 200	    /* ms without a byte: nothing is on its way */

static char *bytes;

static int up(void **state)
{
	struct fix *f;

	(void)setup(state);
	f = *state;
	fix_down(f);
	f->workers = f->buffers = 16;
	f->buf_size = 8 * MIB;
	f->quota = 512 * MIB;
	fix_up(f);
	if (!bytes)
		bytes = malloc(LEN);
	for (size_t i = 0; i < LEN; i += 8)
		memcpy(bytes + i, &(uint64_t){i * UINT64_C(0x9e3779b97f4a7c15)}, 8);
	return 0;
}

/* Its stores are near, however slow the machine is. */
static int up_near(void **state)
{
	struct fix *f;

	(void)up(state);
	f = *state;
	fix_down(f);
	f->near_ns = 60 * NS_PER_S;
	fix_up(f);
	return 0;
}

static struct vfs_handle *opened_as(struct fix *f, const char *name, uint64_t *ret_ino)
{
	struct vfs_handle *h;

	object_put(&f->remotes[0], name, bytes, LEN);
	assert_int_equal(lookup(f, f->aws, name, ret_ino), 0);
	assert_int_equal(open_ino(f, *ret_ino, O_RDWR, &h), 0);
	return h;
}

static struct vfs_handle *opened(struct fix *f, uint64_t *ret_ino)
{
	return opened_as(f, "o", ret_ino);
}

static void is_read(struct fix *f, struct vfs_handle *h, uint64_t off, uint64_t len)
{
	char buf[READ];

	assert_int_equal(get(f, h, off, buf, len), len);
	assert_memory_equal(buf, bytes + off, len);
}

static uint64_t fetched(void)
{
	return count_get(COUNT_store_bytes_in);
}

static uint64_t calm(void)
{
	uint64_t n;

	do {
		n = fetched();
		usleep(CALM * 1000);
	} while (n != fetched());
	return n;
}

/* Each byte once, in few requests, and most of them given without a look at staging. */
static void test_in_order(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked, given;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	asked = count_get(COUNT_store_requests);
	given = count_get(COUNT_memory_hits);
	for (uint64_t at = 0; at < LEN; at += READ)
		is_read(f, h, at, READ);
	assert_int_equal(calm() - got, LEN);
	assert_in_range(count_get(COUNT_store_requests) - asked, LEN / (16 * MIB), 48);
	assert_in_range(count_get(COUNT_memory_hits) - given, LEN / READ / 4, LEN / READ);
	close_h(f, h);
}

/* Where a request is soon done the next ones ask for more each; a busy machine may be too slow. */
static void test_large_requests(void **state)
{
	struct fix *f = *state;
	char name[] = "l0";
	const uint64_t most = 33; /* 35 without */
	uint64_t ino, asked, took = UINT64_MAX;

	for (; name[1] < '3'; name[1]++)
		object_put(&f->remotes[0], name, bytes, LEN);
	for (name[1] = '0'; name[1] < '3' && took > most; name[1]++) {
		struct vfs_handle *h;

		assert_int_equal(lookup(f, f->aws, name, &ino), 0);
		assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
		asked = count_get(COUNT_store_requests);
		for (uint64_t at = 0; at < LEN; at += READ)
			is_read(f, h, at, READ);
		took = count_get(COUNT_store_requests) - asked;
		close_h(f, h);
	}
	assert_in_range(took, LEN / (16 * MIB), most);
}

/* The link does not wait for the reader, up to the window, and no further. */
static void test_window(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got;
	struct vfs_handle *h = opened(f, &ino);

	fault(f, 0, FAR);
	got = fetched();
	for (uint64_t at = 0; at < 16 * READ; at += READ)
		is_read(f, h, at, READ);
	for (unsigned i = 0; i < 300 && fetched() - got < 60 * MIB; i++)
		usleep(100000);
	assert_in_range(calm() - got, 60 * MIB, 16 * READ + 64 * MIB);
	close_h(f, h);
}

/* Who begins with much reads on: several requests at once. Who begins with little may not. */
static void test_begin(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got;
	struct vfs_handle *h = opened(f, &ino);
	struct ask *a = ask_new();

	fault(f, 0, FAR);
	got = fetched();
	is_read(f, h, 0, 4096);
	assert_in_range(calm() - got, 4096, 32768);
	got = fetched();
	assert_int_equal(CALL(a, vfs_read, h, 0, MIB), 0);
	assert_int_equal(a->len, MIB);
	assert_in_range(calm() - got, 4 * MIB, 9 * MIB);
	ask_free(a);
	close_h(f, h);
}

static void test_random(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	asked = count_get(COUNT_store_requests);
	for (uint64_t i = 1; i <= 20; i++)
		is_read(f, h, i * 7919 * 4096 % LEN, 4096);
	assert_in_range(calm() - got, UINT64_C(20) * 4096, UINT64_C(20) * 32768);
	assert_int_equal(count_get(COUNT_store_requests) - asked, 20);
	close_h(f, h);
}

/* The end of an archive comes at once, and what is near it. */
static void test_tail(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	asked = count_get(COUNT_store_requests);
	is_read(f, h, LEN - 100, 100);
	is_read(f, h, LEN - 60000, 20000);
	assert_in_range(calm() - got, 250 << 10, 300 << 10);
	assert_in_range(count_get(COUNT_store_requests) - asked, 1, 2);
	close_h(f, h);
}

/* Backward, and by equal steps: what comes next is there when it is asked for. */
static void test_backward_and_steps(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked, missed;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	asked = count_get(COUNT_store_requests);
	for (uint64_t at = 40 * MIB; at > 20 * MIB; at -= READ)
		is_read(f, h, at - READ, READ);
	assert_in_range(calm() - got, 20 * MIB, 29 * MIB);
	assert_in_range(count_get(COUNT_store_requests) - asked, 1, 24);
	got = fetched();
	for (uint64_t i = 0; i < 16; i++) {
		missed = count_get(COUNT_stage_misses);
		is_read(f, h, 50 * MIB + i * (2 * MIB + 4096), 64 << 10);
		if (i > 2 && i % 4 == 0)
			assert_int_equal(count_get(COUNT_stage_misses), missed);
		(void)calm();
	}
	assert_in_range(fetched() - got, 16 * (64 << 10), 33 * (80 << 10));
	close_h(f, h);
}

/* What is on its way comes; nothing more begins for who has gone elsewhere, or has closed it. */
static void test_seek(void **state)
{
	struct fix *f = *state;

	object_put(&f->remotes[0], "closed", bytes, LEN); /* before it is listed */
	for (int closes = 0; closes < 2; closes++) {
		uint64_t ino, got, begun;
		struct vfs_handle *h = opened_as(f, closes ? "closed" : "left", &ino);

		fault(f, 0, "get:delay=50");
		for (uint64_t at = 0; at < 12 * READ; at += READ)
			is_read(f, h, at, READ);
		begun = count_get(COUNT_store_requests);
		got = fetched();
		if (!closes)
			is_read(f, h, LEN - MIB, 4096);
		else
			close_h(f, h);
		assert_in_range(calm() - got, 4096, 33 * MIB);
		assert_in_range(count_get(COUNT_store_requests) - begun, 0, 9);
		fault(f, 0, "");
		if (!closes)
			close_h(f, h);
	}
}

/* Who begins somewhere else, or goes, by a handle of his own stops nobody's reading ahead; and no
 * byte comes twice. */
static void test_two_handles(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got;
	struct vfs_handle *h = opened(f, &ino), *other;

	assert_int_equal(open_ino(f, ino, O_RDONLY, &other), 0);
	got = fetched();
	fault(f, 0, "get:delay=50");
	for (uint64_t at = 0; at < 12 * READ; at += READ)
		is_read(f, h, at, READ);
	is_read(f, other, LEN - MIB, 4096);
	is_read(f, other, LEN - 2 * MIB, 4096);
	close_h(f, other);
	assert_in_range(calm() - got, 58 * MIB, 66 * MIB);
	fault(f, 0, "");
	for (uint64_t at = 12 * READ; at < LEN; at += READ)
		is_read(f, h, at, READ);
	assert_int_equal(calm() - got, LEN);
	close_h(f, h);
}

/* Bytes of which staging has the first and a fetch that is on its way the others are given when
 * they are here, not when that fetch is over. */
static void test_from_both(void **state)
{
	enum { AT = 32 * 1024 * 1024, BEHIND = 600 * 1024 };
	struct fix *f = *state;
	struct ask *all = ask_new(), *edge = ask_new();
	uint64_t ino;
	struct vfs_handle *h = opened(f, &ino);

	is_read(f, h, AT - 16384, 4096);
	(void)calm();
	fault(f, 0, "get:delay=300:halt");
	vfs_read(f->v, &all->c, h, AT, BEHIND);
	vfs_read(f->v, &edge->c, h, AT - 4096, 8192);
	assert_int_equal(ask_wait(edge), 0);
	assert_int_equal(edge->len, 8192);
	assert_int_equal(atomic_load(&all->answers), 0);
	fault(f, 0, "");
	assert_int_equal(ask_wait(all), 0);
	ask_free(all);
	ask_free(edge);
	close_h(f, h);
}

/* Many files at once share the buffers: each goes on, and no byte comes twice. */
static void test_many(void **state)
{
	enum { N = 8 };
	const uint64_t len = 12 * MIB;
	struct fix *f = *state;
	struct vfs_handle *h[N];
	uint64_t ino, got;
	char name[] = "m0";

	for (unsigned i = 0; i < N; i++) {
		name[1] = (char)('0' + i);
		object_put(&f->remotes[0], name, bytes, len);
	}
	for (unsigned i = 0; i < N; i++) {
		name[1] = (char)('0' + i);
		assert_int_equal(lookup(f, f->aws, name, &ino), 0);
		assert_int_equal(open_ino(f, ino, O_RDONLY, &h[i]), 0);
	}
	got = fetched();
	for (uint64_t at = 0; at < len; at += READ) {
		for (unsigned i = 0; i < N; i++)
			is_read(f, h[i], at, READ);
	}
	assert_int_equal(calm() - got, N * len);
	for (unsigned i = 0; i < N; i++)
		close_h(f, h[i]);
}

/* ---- long requests ---- */

/* A store that is near is asked seldom, and for each byte once. */
static void test_stream(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	asked = count_get(COUNT_store_requests);
	for (uint64_t at = 0; at < LEN; at += READ)
		is_read(f, h, at, READ);
	close_h(f, h);
	assert_int_equal(calm() - got, LEN);
	assert_in_range(count_get(COUNT_store_requests) - asked, 4, 20);
}

/* It is no further ahead of the reader than what its buffer holds, waits for him for a while, goes
 * on with him, and ends with him: by a close at once, else by itself. */
static void test_stream_waits(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got, asked;
	struct vfs_handle *h = opened(f, &ino);
	struct timespec then, now;

	got = fetched();
	for (uint64_t at = 0; at < 8 * MIB; at += READ)
		is_read(f, h, at, READ);
	usleep(500000);
	asked = count_get(COUNT_store_requests);
	for (uint64_t at = 8 * MIB; at < 16 * MIB; at += READ)
		is_read(f, h, at, READ);
	assert_in_range(count_get(COUNT_store_requests) - asked, 0, 1); /* the same one */
	sleep(4);
	assert_int_equal(bufs_free(f->bufs), f->buffers);
	assert_in_range(fetched() - got, 16 * MIB, 26 * MIB);
	for (uint64_t at = 16 * MIB; at < 40 * MIB; at += READ)
		is_read(f, h, at, READ);
	(void)clock_gettime(CLOCK_MONOTONIC, &then);
	close_h(f, h);
	while (bufs_free(f->bufs) != f->buffers)
		usleep(1000);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	assert_in_range(now.tv_sec - then.tv_sec, 0, 2);
	assert_in_range(calm() - got, 40 * MIB, 51 * MIB);
}

/* Who jumps gets what he asks for at once, ahead in it as well as elsewhere, and may come back. */
static void test_stream_jumps(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got;
	struct vfs_handle *h = opened(f, &ino);

	got = fetched();
	for (uint64_t at = 0; at < 12 * MIB; at += READ)
		is_read(f, h, at, READ);
	is_read(f, h, 40 * MIB, 4096);
	is_read(f, h, 90 * MIB, 4096);
	assert_in_range(calm() - got, 0, 1 * MIB + 12 * MIB); /* the long one is under way */
	for (uint64_t at = 12 * MIB; at < 60 * MIB; at += READ)
		is_read(f, h, at, READ);
	assert_int_equal(stage_make_room(f->stage, f->quota), 0); /* all is evicted */
	is_read(f, h, 59 * MIB, 4096);
	is_read(f, h, 20 * MIB, 4096);
	for (uint64_t at = 0; at < 12 * MIB; at += READ)
		is_read(f, h, at, READ);
	close_h(f, h);
	assert_in_range(calm() - got, 60 * MIB, 120 * MIB);
}

/* Ends before its own: who reads gets what is right, or an error where there is no other try. */
static void test_stream_breaks(void **state)
{
	struct fix *f = *state;
	char buf[READ];
	uint64_t ino, asked;
	struct vfs_handle *h = opened(f, &ino);

	asked = count_get(COUNT_store_requests);
	fault(f, 0, "get:every=2:cut");
	for (uint64_t at = 0; at < LEN; at += READ) {
		unsigned tries = 0;

		while (get(f, h, at, buf, READ) != (int64_t)READ)
			assert_in_range(++tries, 1, 8);
		assert_memory_equal(buf, bytes + at, READ);
	}
	assert_in_range(count_get(COUNT_store_requests) - asked, 8, 80);
	fault(f, 0, "");
	close_h(f, h);
}

struct jumper {
	struct fix *f;
	struct vfs_handle *h;
	atomic_bool stop;
};

static void *jumper_run(void *arg)
{
	struct jumper *k = arg;

	for (uint64_t i = 0; !atomic_load(&k->stop); i++)
		is_read(k->f, k->h, 90 * MIB + i * 7919 % 16 * 65536, 4096);
	return NULL;
}

/* Who waits for a long request is not held up by who reads elsewhere, nor is that request ended. */
static void test_stream_beside_jumps(void **state)
{
	struct fix *f = *state;
	struct jumper k = {.f = f};
	struct ask *a = ask_new();
	uint64_t ino, asked;
	pthread_t t;
	struct vfs_handle *h = opened(f, &ino);

	assert_int_equal(open_ino(f, ino, O_RDONLY, &k.h), 0);
	for (uint64_t i = 0; i < 16; i++)
		is_read(f, k.h, 90 * MIB + i * 65536, 4096);
	asked = count_get(COUNT_store_requests);
	assert_int_equal(pthread_create(&t, NULL, jumper_run, &k), 0);
	for (uint64_t at = 0; at < 80 * MIB; at += MIB) {
		assert_int_equal(CALL(a, vfs_read, h, at, MIB), 0);
		assert_int_equal(a->len, MIB);
	}
	atomic_store(&k.stop, true);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_in_range(count_get(COUNT_store_requests) - asked, 2, 24);
	ask_free(a);
	close_h(f, k.h);
	close_h(f, h);
}

struct reader {
	struct fix *f;
	struct vfs_handle *h;
	unsigned us;
	uint64_t step;
};

static void *reader_run(void *arg)
{
	struct reader *r = arg;

	for (uint64_t at = 0; at < 64 * MIB; at += r->step) {
		is_read(r->f, r->h, at, MIN_OF(r->step, READ));
		if (r->us && at % MIB == 0)
			usleep(r->us);
	}
	return NULL;
}

/* Fast and slow readers of one file, and one who skips: what is given to one is not written over
 * for another. */
static void test_stream_readers(void **state)
{
	enum { N = 4 };
	struct fix *f = *state;
	struct reader r[N];
	pthread_t t[N];
	uint64_t ino;
	struct vfs_handle *h = opened(f, &ino);

	for (unsigned i = 0; i < N; i++) {
		r[i] = (struct reader){
			.f = f, .us = i * 3000, .step = i == 3 ? 3 * READ - 4096 : READ - i * 4096};
		assert_int_equal(open_ino(f, ino, O_RDONLY, &r[i].h), 0);
		assert_int_equal(pthread_create(&t[i], NULL, reader_run, &r[i]), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		close_h(f, r[i].h);
	}
	close_h(f, h);
}

/* What is held in memory is not given once the file is another: written, cut short, replaced. */
static void test_changed(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new();
	uint64_t ino;
	struct vfs_handle *h = opened(f, &ino);
	struct stat st = {.st_size = (off_t)(6 * MIB + 5)};
	char buf[64];

	for (uint64_t at = 0; at < 16 * READ; at += READ)
		is_read(f, h, at, READ);
	(void)calm();
	assert_int_equal(put(f, h, 5 * MIB + 10, "mine", 4), 0);
	assert_int_equal(get(f, h, 5 * MIB + 8, buf, 8), 8);
	assert_memory_equal(buf + 2, "mine", 4);
	assert_memory_equal(buf, bytes + 5 * MIB + 8, 2);
	assert_int_equal(CALL(a, vfs_setattr, ino, h, &st, VFS_SET_SIZE), 0);
	assert_int_equal(get(f, h, 6 * MIB, buf, 64), 5);
	st.st_size = (off_t)(7 * MIB);
	assert_int_equal(CALL(a, vfs_setattr, ino, h, &st, VFS_SET_SIZE), 0);
	assert_int_equal(get(f, h, 6 * MIB + 4, buf, 4), 4);
	assert_memory_equal(buf + 1, "\0\0\0", 3);
	close_h(f, h);
	sync_all(f);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	for (uint64_t at = 0; at < 16 * READ; at += READ)
		assert_int_equal(get(f, h, at, bytes, READ), READ);
	object_put(&f->remotes[0], "o", "theirs", 6);
	assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
	assert_int_equal(get(f, h, 16 * READ, buf, 64), 0);
	assert_int_equal(get(f, h, 0, buf, 64), 6);
	close_h(f, h);
	ask_free(a);
}

/* What is in memory, and not in staging any more, is no help to who changes a part of a grain. */
static void test_change_of_held(void **state)
{
	struct fix *f = *state;
	uint64_t ino, parked;
	struct vfs_handle *h = opened(f, &ino);

	for (uint64_t at = 0; at < 16 * READ; at += READ)
		is_read(f, h, at, READ);
	sleep(1); /* nothing of it is on its way any more */
	(void)calm();
	assert_int_equal(stage_make_room(f->stage, f->quota), 0); /* all is evicted */
	parked = count_get(COUNT_fuse_parked);
	assert_int_equal(put(f, h, 5 * MIB + 10, "mine", 4), 0);
	assert_in_range(count_get(COUNT_fuse_parked) - parked, 0, 2);
	close_h(f, h);
}

struct changer {
	struct fix *f;
	struct vfs_handle *h;
	unsigned us;
};

static void *changer_run(void *arg)
{
	struct changer *k = arg;
	char buf[4096] = {0};
	struct ask *a = ask_new();
	struct fix *f = k->f;

	usleep(k->us);
	assert_int_equal(CALL(a, vfs_write, k->h, 47 * MIB, buf, sizeof(buf), false), 0);
	ask_free(a);
	return NULL;
}

/* Given from two fetches, when somebody changes the file in between. */
static void test_change_while_given(void **state)
{
	struct fix *f = *state;
	struct ask *a = ask_new();
	char name[16];

	for (unsigned i = 0; i < 40; i++) {
		struct changer k = {.f = f, .us = i * 53 % 40 * 20};
		uint64_t ino;
		pthread_t t;

		(void)snprintf(name, sizeof(name), "c%u", i);
		object_put(&f->remotes[0], name, bytes, 48 * MIB);
		assert_int_equal(setx(f, f->aws, "user.astra.refresh", "1"), 0);
		assert_int_equal(lookup(f, f->aws, name, &ino), 0);
		assert_int_equal(open_ino(f, ino, O_RDWR, &k.h), 0);
		for (uint64_t at = 0; at < 16 * READ; at += READ)
			is_read(f, k.h, at, READ);
		usleep(50000);
		assert_int_equal(pthread_create(&t, NULL, changer_run, &k), 0);
		for (uint64_t n = 0; n < 40; n++) {
			assert_int_equal(
				CALL(a, vfs_read, k.h, (8 + n % 8 * 4) * MIB - MIB / 2, MIB), 0);
			assert_int_equal(a->len, MIB);
		}
		assert_int_equal(pthread_join(t, NULL), 0);
		close_h(f, k.h);
		assert_int_equal(unlink_in(f, f->aws, name), 0);
	}
	ask_free(a);
}

/* Who stops reading keeps no buffers from others. */
static void test_idle(void **state)
{
	struct fix *f = *state;
	uint64_t ino;
	struct vfs_handle *h = opened(f, &ino);

	for (uint64_t at = 0; at < 16 * READ; at += READ)
		is_read(f, h, at, READ);
	for (unsigned i = 0; i < 300 && bufs_free(f->bufs) < f->buffers; i++)
		usleep(50000);
	assert_int_equal(bufs_free(f->bufs), f->buffers);
	close_h(f, h);
}

/* Who waits has a fetch that wakes him, however many others there are. */
static void test_beside_others(void **state)
{
	enum { N = 10 };
	struct fix *f = *state;
	struct ask *a[N];
	uint64_t ino;
	struct vfs_handle *h = opened(f, &ino);

	assert_int_equal(put(f, h, MIB + 4096, bytes, 4096), 0); /* a hole in what is missing */
	fault(f, 0, "get:delay=1000");
	for (unsigned i = 0; i < N; i++) {
		uint64_t at = i < 8 ? (8 + i * i + i) * MIB : i == 8 ? MIB : MIB + 8192;

		a[i] = ask_new();
		vfs_read(f->v, &a[i]->c, h, at, 4096);
	}
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(ask_wait(a[i]), 0);
		ask_free(a[i]);
	}
	fault(f, 0, "");
	close_h(f, h);
}

/* No fetch is larger than a buffer. */
static void test_small_buffers(void **state)
{
	struct fix *f = *state;
	uint64_t ino, asked;
	struct vfs_handle *h;

	fix_down(f);
	f->buf_size = MIB;
	fix_up(f);
	h = opened(f, &ino);
	asked = count_get(COUNT_store_requests);
	for (uint64_t at = 40 * MIB; at > 20 * MIB; at -= READ)
		is_read(f, h, at - READ, READ);
	(void)calm();
	assert_in_range(count_get(COUNT_store_requests) - asked, 20, 100);
	close_h(f, h);
}

/* A cache that is full of changes: nothing is read ahead, for it would come again and again. */
static void test_full(void **state)
{
	struct fix *f = *state;
	uint64_t ino, got;
	struct vfs_handle *h, *w;

	fix_down(f);
	f->quota = 8 * MIB;
	fix_up(f);
	h = opened(f, &ino);
	fault(f, 0, "put,parts_begin,part_put:error=EIO");
	w = create_in(f, f->aws, "w", NULL);
	for (uint64_t at = 0; at < 7 * MIB; at += READ)
		assert_int_equal(put(f, w, at, bytes, READ), 0);
	got = fetched();
	for (uint64_t at = 0; at < 32 * MIB; at += READ)
		is_read(f, h, at, READ);
	assert_in_range(calm() - got, 32 * MIB, 128 * MIB);
	close_h(f, h);
	fault(f, 0, "");
	close_h(f, w);
}

#define T(fn)	   cmocka_unit_test_setup_teardown(fn, up, teardown)
#define T_NEAR(fn) cmocka_unit_test_setup_teardown(fn, up_near, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_in_order),
		T(test_large_requests),
		T(test_window),
		T(test_begin),
		T(test_random),
		T(test_tail),
		T(test_backward_and_steps),
		T(test_seek),
		T(test_two_handles),
		T(test_from_both),
		T(test_many),
		T_NEAR(test_stream),
		T_NEAR(test_stream_waits),
		T_NEAR(test_stream_jumps),
		T_NEAR(test_stream_breaks),
		T_NEAR(test_stream_beside_jumps),
		T_NEAR(test_stream_readers),
		T(test_changed),
		T(test_change_of_held),
		T(test_change_while_given),
		T(test_idle),
		T(test_beside_others),
		T(test_small_buffers),
		T(test_full),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	free(bytes);
	return r;
}
