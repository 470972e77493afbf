/* SPDX-License-Identifier: MIT */
/*
 * Staging under random operations, compared with plain memory: over closes, ends without one, kill
 * -9 at any moment, power cuts (what is clean goes), and with many threads on a small quota.
 *
 * ASTRA_SEED and ASTRA_ROUNDS repeat a run or make it longer. The model is in shared memory, since
 * the stage lives in a child that does not live long.
 */
#include "stage_help.h"

/* ---- the model ---- */

#define MODEL_MAX (700 * 1024u)
#define INO	  77

enum op { OP_NONE, OP_WRITE, OP_TRUNC, OP_PUNCH, OP_ALLOC, OP_RESET, OP_CLEAN, OP_BASE };

/* In shared memory: what the child did is known to the parent after it was killed. */
struct model {
	unsigned rng;
	unsigned etag; /* number of the base in use, 0 = none */
	uint64_t size, base_size, steps;
	enum op op; /* under way */
	uint64_t new_size, new_base_size;
	unsigned new_etag;
	char cur[MODEL_MAX], base[MODEL_MAX];
	char new_cur[MODEL_MAX], new_base[MODEL_MAX];
};

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: step %" PRIu64 " (op %d): %s\n", __FILE__,         \
				__LINE__, m->steps, (int)m->op, #x);                               \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static unsigned rnd(struct model *m, unsigned n)
{
	m->rng = m->rng * 1664525 + 1013904223;
	return (unsigned)((uint64_t)(m->rng >> 4) * n >> 28);
}

static void etag_name(unsigned n, char ret[32])
{
	ret[0] = 0;
	if (n)
		snprintf(ret, 32, "etag%u", n);
}

static void model_fill(struct model *m, struct stage_file *f, uint64_t off, uint64_t len)
{
	char etag[32];

	CHECK(off % STAGE_GRAIN == 0 && len && off + len <= m->base_size);
	CHECK((off + len) % STAGE_GRAIN == 0 || off + len <= m->base_size);
	etag_name(m->etag, etag);
	/* Sometimes more than was asked for, as a window does. */
	if (rnd(m, 2)) {
		off = off / STAGE_CHUNK * STAGE_CHUNK;
		len = m->base_size - off < 3 * STAGE_CHUNK ? m->base_size - off : 3 * STAGE_CHUNK;
	}
	CHECK(stage_fill(f, etag, off, m->base + off, len) == 0);
}

static size_t model_read(struct model *m, struct stage_file *f, uint64_t off, char *p, size_t len)
{
	uint64_t mo, ml;
	size_t n = 0;
	int r;

	while ((r = rd(f, off, p, len, &n, &mo, &ml)) == -ENODATA)
		model_fill(m, f, mo, ml);
	CHECK(r == 0);
	return n;
}

static void model_compare(struct model *m, struct stage_file *f, uint64_t off, size_t len)
{
	cleanup_free char *p = malloc(len + 1);
	size_t n = model_read(m, f, off, p, len);
	uint64_t left = off < m->size ? m->size - off : 0;

	CHECK(stage_size(f) == m->size);
	CHECK(n == (left < len ? left : len));
	for (size_t i = 0; i < n; i++) {
		if (p[i] == m->cur[off + i])
			continue;
		fprintf(stderr,
			"at %" PRIu64 ": %02x, not %02x; size %" PRIu64 " base %" PRIu64 "\n",
			off + i, p[i] & 0xff, m->cur[off + i] & 0xff, m->size, m->base_size);
		CHECK(!"content");
	}
}

static uint64_t rnd_off(struct model *m, uint64_t max)
{
	uint64_t v = rnd(m, (unsigned)max + 1);

	switch (rnd(m, 4)) {
	case 0:
		return v / STAGE_GRAIN * STAGE_GRAIN;
	case 1:
		return v / STAGE_CHUNK * STAGE_CHUNK;
	default:
		return v;
	}
}

static void model_range(struct model *m, uint64_t *off, uint64_t *len)
{
	uint64_t max = MODEL_MAX - 1;

	*off = rnd_off(m, rnd(m, 8) && m->size ? m->size : max);
	*len = 1 + (rnd(m, 3) ? rnd(m, 9000) : rnd_off(m, 200000));
	if (*off >= max)
		*off = max - 1;
	if (*len > max - *off)
		*len = max - *off;
}

/* The base as the upload would make it: dirty runs over the old base. Must be what a user sees. */
static void model_upload(struct model *m, struct stage_file *f, char *obj)
{
	uint64_t size = stage_size(f), pos = 0, o, n;

	memset(obj, 0, MODEL_MAX);
	memcpy(obj, m->base, MIN_OF(m->base_size, size));
	while (stage_next_dirty(f, pos, &o, &n)) {
		CHECK(o >= pos && n && o + n <= size);
		CHECK(model_read(m, f, o, obj + o, n) == n);
		pos = o + n;
	}
	CHECK(size == m->size && !memcmp(obj, m->cur, size));
}

static void model_plan(struct model *m, enum op op)
{
	memcpy(m->new_cur, m->cur, MODEL_MAX);
	m->new_size = m->size;
	m->new_etag = m->etag;
	m->new_base_size = m->base_size;
	memcpy(m->new_base, m->base, MODEL_MAX);
	__atomic_store_n(&m->op, op, __ATOMIC_SEQ_CST);
}

static void model_done(struct model *m)
{
	memcpy(m->cur, m->new_cur, MODEL_MAX);
	memcpy(m->base, m->new_base, MODEL_MAX);
	m->size = m->new_size;
	m->etag = m->new_etag;
	m->base_size = m->new_base_size;
	__atomic_store_n(&m->op, OP_NONE, __ATOMIC_SEQ_CST);
}

static void model_write(struct model *m, struct stage_file *f)
{
	uint64_t off, len, mo, ml;
	int r;

	model_range(m, &off, &len);
	model_plan(m, OP_WRITE);
	pattern(m->new_cur + off, len, rnd(m, 1u << 30));
	m->new_size = MAX_OF(m->size, off + len);
	while ((r = stage_write(f, off, m->new_cur + off, len, &mo, &ml)) == -ENODATA)
		model_fill(m, f, mo, ml);
	CHECK(r == 0);
	model_done(m);
}

static void model_trunc(struct model *m, struct stage_file *f)
{
	uint64_t size = rnd_off(m, rnd(m, 2) ? (uint64_t)m->size : (uint64_t)(MODEL_MAX - 1)), mo,
		 ml;
	int r;

	model_plan(m, OP_TRUNC);
	if (size < m->size)
		memset(m->new_cur + size, 0, MODEL_MAX - size);
	m->new_size = size;
	while ((r = stage_truncate(f, size, &mo, &ml)) == -ENODATA)
		model_fill(m, f, mo, ml);
	CHECK(r == 0);
	model_done(m);
}

static void model_punch(struct model *m, struct stage_file *f)
{
	uint64_t off, len, mo, ml;
	int r;

	model_range(m, &off, &len);
	model_plan(m, OP_PUNCH);
	memset(m->new_cur + off, 0, len);
	while ((r = stage_punch(f, off, len, &mo, &ml)) == -ENODATA)
		model_fill(m, f, mo, ml);
	CHECK(r == 0);
	model_done(m);
}

static void model_alloc(struct model *m, struct stage_file *f)
{
	uint64_t off, len;
	bool keep = rnd(m, 2);

	model_range(m, &off, &len);
	model_plan(m, OP_ALLOC);
	if (!keep)
		m->new_size = MAX_OF(m->size, off + len);
	CHECK(stage_allocate(f, off, len, keep) == 0);
	model_done(m);
}

static void model_reset(struct model *m, struct stage_file *f)
{
	model_plan(m, OP_RESET);
	memset(m->new_cur, 0, MODEL_MAX);
	m->new_size = m->new_base_size = m->new_etag = 0;
	CHECK(stage_reset(f) == 0);
	model_done(m);
}

static void model_clean(struct model *m, struct stage_file *f)
{
	cleanup_free char *obj = malloc(MODEL_MAX);
	uint64_t seq = stage_seq(f), size = m->size;
	bool again = rnd(m, 3) == 0;
	char etag[32];
	int r;

	if (!stage_dirty(f))
		return;
	if (rnd(m, 4)) {
		CHECK(stage_spans_watch(f) == 0);
		seq = stage_seq(f);
	}
	model_upload(m, f, obj);
	/* Changed while it travelled. */
	for (unsigned n = again ? 1 + rnd(m, 3) : 0; n; n--) {
		if (rnd(m, 2))
			model_write(m, f);
		else if (rnd(m, 4))
			model_trunc(m, f);
		else
			model_punch(m, f);
	}
	again = stage_seq(f) != seq;
	model_plan(m, OP_CLEAN);
	m->new_etag = m->etag + 1 + rnd(m, 3);
	m->new_base_size = size;
	memcpy(m->new_base, obj, MODEL_MAX);
	etag_name(m->new_etag, etag);
	r = stage_clean(f, seq, etag, size);
	CHECK(r == (again ? -EAGAIN : 0));
	CHECK(stage_dirty(f) == again);
	model_done(m);
}

static void model_base(struct model *m, struct stage_file *f)
{
	char etag[32];

	if (stage_dirty(f))
		return;
	model_plan(m, OP_BASE);
	m->new_etag = m->etag + 1;
	m->new_base_size = m->new_size = rnd_off(m, MODEL_MAX - 1);
	memset(m->new_base, 0, MODEL_MAX);
	pattern(m->new_base, m->new_size, rnd(m, 1u << 30));
	memcpy(m->new_cur, m->new_base, MODEL_MAX);
	etag_name(m->new_etag, etag);
	CHECK(stage_base(f, etag, m->new_base_size) == 0);
	model_done(m);
}

static void model_step(struct model *m, struct stage *s, struct stage_file **f)
{
	uint64_t off, len, total;
	struct stage_stat st;

	m->steps++;
	switch (rnd(m, 21)) {
	case 0 ... 6:
		model_range(m, &off, &len);
		model_compare(m, *f, off, len);
		break;
	case 7 ... 11:
		model_write(m, *f);
		break;
	case 12:
		model_trunc(m, *f);
		break;
	case 13:
	case 14:
		model_punch(m, *f);
		break;
	case 15:
		model_alloc(m, *f);
		break;
	case 16:
	case 17:
		model_clean(m, *f);
		break;
	case 18:
		if (rnd(m, 3))
			model_base(m, *f);
		else
			model_reset(m, *f);
		break;
	case 19:
		stage_put(*f);
		CHECK(stage_get(s, INO, false, f) == 0);
		break;
	case 20: /* others need the room: what is clean goes while it is open */
		stage_stat(s, &st);
		CHECK(stage_make_room(s, st.quota_bytes - st.dirty_bytes) == 0);
		stage_stat(s, &st);
		CHECK(st.clean_bytes == 0);
		break;
	}
	stage_stat(s, &st);
	total = st.clean_bytes + st.dirty_bytes;
	CHECK(total <= MODEL_MAX + 2 * STAGE_GRAIN && total % STAGE_GRAIN == 0);
	CHECK(stage_dirty(*f) || st.dirty_bytes == 0);
}

/* After a kill inside an operation: each byte from before or after; the rest as it was. */
static void model_settle(struct model *m, struct stage_file *f)
{
	cleanup_free char *p = calloc(1, MODEL_MAX);
	char etag[128], name[32];
	uint64_t size, base_size;

	stage_base_get(f, etag, &base_size);
	etag_name(m->new_etag, name);
	if (m->op == OP_CLEAN || m->op == OP_BASE || m->op == OP_RESET) {
		if (!strcmp(etag, name)) {
			m->etag = m->new_etag;
			m->base_size = m->new_base_size;
			memcpy(m->base, m->new_base, MODEL_MAX);
			if (m->op == OP_BASE) {
				memcpy(m->cur, m->new_cur, MODEL_MAX);
				m->size = m->new_size;
			}
		}
	}
	size = stage_size(f);
	CHECK(size == m->size || size == m->new_size);
	CHECK(model_read(m, f, 0, p, MODEL_MAX) == size);
	for (uint64_t i = 0; i < size; i++)
		CHECK(p[i] == m->cur[i] || p[i] == m->new_cur[i]);
	/* A size is never new with old bytes behind the old end, nor old with a cut tail. */
	if (m->op == OP_TRUNC)
		CHECK(!memcmp(p, size == m->size ? m->cur : m->new_cur, size));
	memcpy(m->cur, p, MODEL_MAX);
	m->size = size;
	m->op = OP_NONE;
}

static void model_child(struct model *m, unsigned steps, bool power_cut, bool close)
{
	span = STAGE_CHUNK;
	struct stage *s = open_with(100 * M, 0, power_cut);
	struct stage_file *f = NULL;

	CHECK(stage_get(s, INO, true, &f) == 0);
	if (m->op != OP_NONE)
		model_settle(m, f);
	/* As an open does: what is clean may be gone, with its file. */
	if (!stage_dirty(f)) {
		char etag[32];

		etag_name(m->etag, etag);
		CHECK(m->size == m->base_size && !memcmp(m->cur, m->base, m->size));
		CHECK(stage_base(f, etag, m->base_size) == 0);
	}
	model_compare(m, f, 0, MODEL_MAX - 1);
	for (unsigned i = 0; i < steps; i++)
		model_step(m, s, &f);
	if (close) {
		stage_put(f);
		stage_close(s);
	}
	_exit(0);
}

static void model_run(unsigned seed, unsigned runs, unsigned steps, bool kills)
{
	struct model *m =
		mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(m != MAP_FAILED);
	m->rng = seed;
	for (unsigned i = 0; i < runs; i++) {
		bool power_cut = i && rnd(m, 5) == 0 && !kills;
		bool close = rnd(m, 3) == 0;
		unsigned wait_us = 2000 + rnd(m, 40000);
		int status = 0;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid)
			model_child(m, kills ? 1000000 : steps, power_cut, close);
		if (kills) {
			usleep(wait_us);
			kill(pid, SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!(kills && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) && status) {
			fprintf(stderr, "seed %u, run %u: status %x\n", seed, i, status);
			fail();
		}
	}
	munmap(m, sizeof(*m));
}

static unsigned seed_of(unsigned dflt)
{
	const char *s = getenv("ASTRA_SEED");

	return s ? (unsigned)strtoul(s, NULL, 0) : dflt;
}

static unsigned rounds_of(unsigned dflt)
{
	const char *s = getenv("ASTRA_ROUNDS");

	return s ? (unsigned)strtoul(s, NULL, 0) : dflt;
}

static void test_model(void **state)
{
	(void)state;
	model_run(seed_of(1), rounds_of(30), 150, false);
}

static void test_model_killed(void **state)
{
	(void)state;
	model_run(seed_of(2), rounds_of(40), 0, true);
}

/* ---- threads ---- */

struct crowd {
	struct stage *s;
	char *base;
	unsigned id;
	bool failed;
};

static void *crowd_main(void *arg)
{
	struct crowd *c = arg;
	unsigned rng = c->id;
	char *p = malloc(256 * K);

	for (unsigned i = 0; i < 150 && !c->failed; i++) {
		struct stage_file *f = NULL;
		uint64_t off, mo, ml;
		size_t n = 0;
		int r;

		rng = rng * 1664525 + 1013904223;
		r = stage_get(c->s, 1 + (rng >> 8) % 4, true, &f);
		if (!r)
			r = stage_base(f, "e", 256 * K);
		off = (rng >> 12) % (192 * K);
		for (unsigned k = 0; !r && k < 100; k++) {
			r = stage_read(f, off, p, 64 * K, &n, &mo, &ml);
			if (r != -ENODATA)
				break;
			r = stage_fill(f, "e", mo, c->base + mo, ml);
			/* The quota holds two of the four. */
			if (r == -EDQUOT)
				break;
		}
		if (r == 0 && (n != 64 * K || memcmp(p, c->base + off, n)))
			c->failed = true;
		if (r && r != -EDQUOT)
			c->failed = true;
		/* The same bytes: readers beside us see no difference. */
		if (i % 8 == 0 && f) {
			r = stage_write(f, off & ~UINT64_C(4095), c->base + (off & ~UINT64_C(4095)),
				4096, &mo, &ml);
			if (r == 0)
				(void)stage_clean(f, stage_seq(f), "e", 256 * K);
		}
		if (i % 16 == 0)
			(void)stage_sync_all(c->s, NULL);
		stage_put(f);
	}
	free(p);
	return NULL;
}

static void test_threads(void **state)
{
	struct stage *s = open_with(600 * K, 0, false);
	struct crowd c[4];
	pthread_t t[4];
	char *base = malloc(256 * K);
	struct stage_stat st;

	(void)state;
	pattern(base, 256 * K, 9);
	for (unsigned i = 0; i < 4; i++) {
		c[i] = (struct crowd){.s = s, .base = base, .id = i + 1};
		assert_int_equal(pthread_create(&t[i], NULL, crowd_main, &c[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_false(c[i].failed);
	}
	stage_stat(s, &st);
	assert_true(st.clean_bytes + st.dirty_bytes <= 600 * K);
	for (uint64_t i = 1; i <= 4; i++)
		stage_drop(s, i);
	stage_stat(s, &st);
	assert_int_equal(st.clean_bytes + st.dirty_bytes + st.files, 0);
	stage_close(s);
	free(base);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(model),
		T(model_killed),
		T(threads),
	};

	return cmocka_run_group_tests_name("stage model", tests, NULL, NULL);
}
