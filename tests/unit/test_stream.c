/* SPDX-License-Identifier: MIT */
/* A large file that is read in sequence: what has come is given to the reader while the rest of the
 * same answer is on its way; what is fetched ahead goes on by whole units, and each byte once. */
#include "vfs_help.h"

#include "store/layer.h"

enum { SIZE = 24 << 20, STEP = 1 << 17, PIECE = 1 << 20 };

/* A layer whose first get of a whole PIECE or more stays half done until it may go on. */
struct half {
	struct store store;
	sem_t go;
	atomic_bool taken, held;
	_Atomic uint64_t end; /* of what is there meanwhile */
	_Atomic uint64_t bytes, gets;
};

static errint_t half_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct half *h = (struct half *)s;
	struct store_call quiet = *c;
	errint_t r;

	quiet.progress = NULL;
	r = store_pass_get(s, &quiet, o, if_match, off, p, len, ret_len, err);
	atomic_fetch_add(&h->bytes, *ret_len);
	atomic_fetch_add(&h->gets, 1);
	if (r || *ret_len < PIECE || atomic_exchange(&h->taken, true))
		return r;
	atomic_store(&h->end, off + *ret_len / 2);
	atomic_store(&h->held, true);
	store_progressed(c->progress, *ret_len / 2);
	while (sem_wait(&h->go))
		;
	atomic_store(&h->held, false);
	return r;
}

static void half_destroy(struct store *s)
{
	struct half *h = (struct half *)s;

	(void)sem_destroy(&h->go);
	free(h);
}

static const struct store_ops half_ops = {
	.name = "half",
	.caps = store_pass_caps,
	.describe = store_pass_describe,
#define X(opn, key, want, done, cond, params, args) .opn = store_pass_##opn,
	STORE_OPS_OTHER(X)
#undef X
		.get = half_get,
	.put = store_pass_put,
	.part_put = store_pass_part_put,
	.destroy = half_destroy,
};

static struct half *half_add(struct remote *r)
{
	struct half *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->store = (struct store){&half_ops, r->st};
	assert_int_equal(sem_init(&h->go, 0, 0), 0);
	r->st = &h->store;
	return h;
}

static void test_bytes_are_given_as_they_come(void **state)
{
	struct fix *f = *state;
	struct half *half = half_add(&f->remotes[0]);
	char *content = malloc(SIZE), *buf = malloc(STEP);
	struct vfs_handle *h;
	unsigned meanwhile = 0;
	uint64_t ino;

	assert_true(content && buf);
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (char)(i * 7 + i / 65536);
	fix_down(f);
	f->workers = 4;
	f->buffers = 8;
	fix_up(f);
	object_put(&f->remotes[0], "big", content, SIZE);
	assert_int_equal(lookup(f, f->aws, "big", &ino), 0);
	assert_int_equal(open_ino(f, ino, O_RDONLY, &h), 0);
	for (uint64_t off = 0; off < SIZE; off += STEP) {
		if (atomic_load(&half->held)) {
			if (off + STEP > atomic_load(&half->end))
				assert_int_equal(sem_post(&half->go), 0);
			else
				meanwhile++;
		}
		assert_int_equal(get(f, h, off, buf, STEP), STEP);
		assert_memory_equal(buf, content + off, STEP);
	}
	assert_true(meanwhile > 0);
	assert_int_equal(atomic_load(&half->bytes), SIZE);
	assert_true(atomic_load(&half->gets) <= SIZE / PIECE + 16);
	close_h(f, h);
	free(content);
	free(buf);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bytes_are_given_as_they_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
