/* SPDX-License-Identifier: MIT */
/* What an endpoint holds is asked when somebody begins to write there, once, and not before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "job/job_priv.h"
#include "jobs_help.h"
#include "store/layer.h"

enum { AWS, MULTI = 2 };

/* A layer over a remote whose endpoint has to be asked. */
struct asked {
	struct store store;
	atomic_uint n, of[STORE_READY_N], waits;
	atomic_bool holds_on, fails;
	char bucket[16];
};

static struct store_ops asked_ops;
static struct asked *layers[3];

static errint_t asked_ready(struct store *s, const struct store_call *c, const char *bucket,
	enum store_ready what, struct err *err)
{
	struct asked *a = (struct asked *)s;

	atomic_fetch_add(&a->of[what], 1);
	if (!atomic_fetch_add(&a->n, 1))
		(void)snprintf(a->bucket, sizeof(a->bucket), "%s", bucket);
	atomic_fetch_add(&a->waits, 1);
	while (atomic_load(&a->holds_on) && !atomic_load(c->cancel))
		usleep(1000);
	atomic_fetch_sub(&a->waits, 1);
	return atomic_load(&a->fails) ? err_set(err, -EIO, ERR_RETRY, "not now") : 0;
}

static void asked_destroy(struct store *s)
{
	free(s);
}

static int setup_asked(void **state)
{
	static const unsigned at[] = {AWS, MULTI};
	int r = setup_quick(state);
	struct fix *f = *state;

	asked_ops = (struct store_ops){
		.name = "asked",
		.caps = store_pass_caps,
		.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = store_pass_##opn,
		STORE_OPS(X)
#undef X
			.destroy = asked_destroy,
	};
	asked_ops.ready = asked_ready;
	fix_down(f);
	for (unsigned i = 0; i < 2; i++) {
		struct remote *rem = &f->remotes[at[i]];
		struct asked *a = calloc(1, sizeof(*a));

		assert_non_null(a);
		a->store = (struct store){&asked_ops, rem->st};
		layers[at[i]] = a;
		rem->st = &a->store;
		rem->caps.asks = rem->real = true;
	}
	fix_up(f);
	return r;
}

static void asked_once(const struct asked *a, const char *bucket)
{
	for (int i = 0; i < 10000 && atomic_load(&a->n) < STORE_READY_N; i++)
		usleep(1000);
	usleep(20000);
	for (unsigned i = 0; i < STORE_READY_N; i++)
		assert_int_equal(atomic_load(&a->of[i]), 1);
	assert_string_equal(a->bucket, bucket);
}

static void forget(struct asked *a)
{
	atomic_store(&a->n, 0);
	for (unsigned i = 0; i < STORE_READY_N; i++)
		atomic_store(&a->of[i], 0);
}

static void test_who_writes_asks_once(void **state)
{
	struct fix *f = *state;
	uint64_t ino;

	assert_int_equal(lookup(f, f->aws, "none", &ino), -ENOENT);
	make_text(f, f->gcp, "other", "one");
	sync_all(f);
	file_is(f, f->gcp, "other", "one");
	assert_int_equal(atomic_load(&layers[AWS]->n), 0);
	make_text(f, f->aws, "a", "one");
	asked_once(layers[AWS], "b");
	make_text(f, f->aws, "b", "two");
	sync_all(f);
	assert_int_equal(unlink_in(f, f->aws, "a"), 0);
	all_done(f);
	asked_once(layers[AWS], "b");
	assert_int_equal(atomic_load(&layers[MULTI]->n), 0);
}

/* A later mount that reads, removes, or opens what is there for writing. */
static void test_who_reads_does_not_ask(void **state)
{
	struct fix *f = *state;
	struct vfs_handle *h = NULL;
	uint64_t ino = 0;

	make_text(f, f->aws, "a", "one");
	all_done(f);
	asked_once(layers[AWS], "b");
	for (unsigned i = 0; i < 2; i++) {
		fix_down(f);
		forget(layers[AWS]);
		fix_up(f);
		file_is(f, f->aws, "a", "one");
		usleep(20000);
		assert_int_equal(atomic_load(&layers[AWS]->n), 0);
		if (i) {
			assert_int_equal(unlink_in(f, f->aws, "a"), 0);
		} else {
			assert_int_equal(lookup(f, f->aws, "a", &ino), 0);
			assert_int_equal(open_ino(f, ino, O_WRONLY, &h), 0);
			close_h(f, h);
		}
		asked_once(layers[AWS], "b");
	}
}

static void test_a_bucket_of_many(void **state)
{
	struct fix *f = *state;
	uint64_t box = 0;

	assert_int_equal(mkdir_in(f, f->multi, "box", &box), 0);
	usleep(20000);
	assert_int_equal(atomic_load(&layers[MULTI]->n), 0);
	make_text(f, box, "a", "one");
	asked_once(layers[MULTI], "box");
}

/* Nobody is kept waiting by a question without an answer, nor is the end. */
static void test_no_answer(void **state)
{
	struct fix *f = *state;

	atomic_store(&layers[AWS]->holds_on, true);
	make_text(f, f->aws, "a", "one");
	all_done(f);
	text_is(f, "a", "one");
	asked_once(layers[AWS], "b");
	assert_int_equal(atomic_load(&layers[AWS]->waits), STORE_READY_N);
	fix_down(f);
	assert_int_equal(atomic_load(&layers[AWS]->waits), 0);
	forget(layers[AWS]);
	atomic_store(&layers[AWS]->holds_on, false);
	atomic_store(&layers[AWS]->fails, true);
	fix_up(f);
	make_text(f, f->aws, "b", "two");
	make_text(f, f->aws, "c", "three");
	all_done(f);
	text_is(f, "c", "three");
	asked_once(layers[AWS], "b"); /* not at once again */
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup_asked, teardown)
	const struct CMUnitTest tests[] = {T(test_who_writes_asks_once),
		T(test_who_reads_does_not_ask), T(test_a_bucket_of_many), T(test_no_answer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
