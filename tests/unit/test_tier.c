/* SPDX-License-Identifier: MIT */
/*
 * The tiering engine over a real index and a stand-in for the job room that makes each transition
 * true at once (or refuses it): facts, walks, runs, what is left alone.
 */
#include "meta_help.h"

#include <errno.h>
#include <pthread.h>

#include "astra/tier.h"

#define DAY (86400 * NS_PER_S)
#define GB  UINT64_C(1000000000)

/* ---- the stand-in ---- */

struct jobs {
	uint64_t live; /* an inode that has some job */
	unsigned posted;
	errint_t refuse;
	bool by_engine; /* the last one */
	unsigned asked; /* for their class */
	errint_t vain;
	struct meta *m;
};

static struct jobs fake;
static uint64_t open_ino;

bool job_live(struct jobs *j, uint64_t ino)
{
	return j->live == ino;
}

bool job_full(struct jobs *j)
{
	return false;
}

bool job_wait_id(struct jobs *j, uint64_t id, struct job_waiter *w)
{
	return false;
}

bool job_wait_cancel(struct jobs *j, struct job_waiter *w)
{
	return true;
}

errint_t job_tier(struct jobs *j, struct meta_txn *t, const struct meta_inode *in, enum tier tier,
	bool by_engine, uint64_t *ret_job, struct err *err)
{
	struct meta_inode now = *in;

	if (j->refuse)
		return err_set(err, j->refuse, ERR_FINAL, "refused");
	j->by_engine = by_engine;
	now.tier = (uint8_t)tier;
	*ret_job = ++j->posted;
	return meta_inode_put(t, &now);
}

/* An empty class is one that its listing did not tell; GLACIER is what it turns out to be. */
bool job_class_unknown(struct jobs *j, const struct meta_inode *in)
{
	return (in->flags & META_F_OBJECT) && !*in->class_name;
}

void job_class_ask(struct jobs *j, const struct meta_inode *in, bool front, struct job_waiter *w)
{
	struct meta_inode now = *in;
	struct meta_txn *t;

	assert_false(front);
	j->asked++;
	if (!j->vain) {
		t = meta_begin(j->m);
		strcpy(now.class_name, "GLACIER");
		now.tier = TIER_COLD;
		assert_int_equal(meta_inode_put(t, &now), 0);
		assert_int_equal(meta_commit(t), 0);
	}
	w->fn(w, j->vain);
}

bool job_info_get(struct jobs *j, uint64_t id, struct job_info *ret)
{
	return false;
}

static bool is_open(void *arg, uint64_t ino)
{
	return ino == open_ino;
}

/* ---- a small cloud ---- */

struct fix {
	char dir[64];
	struct meta *m;
	struct remote aws;
	struct policy_rules rules;
	struct tier_conf conf;
	struct tier_engine *e;
	uint64_t top;
};

static uint64_t object(struct fix *f, uint64_t dir, const char *name, uint64_t size,
	uint64_t accesses, int64_t days)
{
	uint64_t ino = create(f->m, dir, name, META_FILE, size);
	struct meta_txn *t = meta_begin(f->m);
	struct meta_access a = {0};
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.flags |= META_F_OBJECT | META_F_BASE;
	in.loc.remote = f->aws.id;
	(void)snprintf(in.loc.path, sizeof(in.loc.path), "%s", name);
	(void)snprintf(in.loc.etag, sizeof(in.loc.etag), "v1");
	(void)snprintf(in.class_name, sizeof(in.class_name), "STANDARD");
	in.btime_ns = clock_now_ns() - days * DAY;
	assert_int_equal(meta_inode_put(t, &in), 0);
	if (accesses) {
		a.reads = accesses;
		a.last_read_ns = a.first_seen_ns = clock_now_ns() - days * DAY;
		a.day0 = (int32_t)((clock_now_ns() - days * DAY) / DAY);
		a.day[0] = (uint32_t)accesses;
		assert_int_equal(meta_access_put(t, ino, &a), 0);
	}
	assert_int_equal(meta_commit(t), 0);
	return ino;
}

static int setup(void **state)
{
	static const char *const classes[] = {"STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE"};
	struct fix *f = calloc(1, sizeof(*f));
	struct err err = {0};
	struct meta_txn *t;
	uint32_t id;
	bool cut;

	fake = (struct jobs){0};
	open_ino = 0;
	scratch_make(f->dir);
	f->m = fake.m = open_index(f->dir, "boot", &cut);
	t = meta_begin(f->m);
	assert_int_equal(meta_remote(t, "aws", 0, 0, &id, &f->top), 0);
	assert_int_equal(meta_commit(t), 0);
	f->aws = (struct remote){.name = "aws", .provider = "aws", .id = id};
	for (unsigned i = 0; i < TIER_N; i++) {
		(void)snprintf(f->aws.classes[i].name, STORE_CLASS_MAX, "%s", classes[i]);
		f->aws.classes[i].offline = i >= TIER_COLD;
	}
	policy_rules_default(&f->rules);
	f->conf = (struct tier_conf){
		.meta = f->m,
		.jobs = &fake,
		.remotes = &f->aws,
		.nremotes = 1,
		.rules = &f->rules,
		.prices = price_book_astra(),
		.is_open = is_open,
		.interval_ns = 3600 * NS_PER_S,
		.pin_delay_ns = DAY,
	};
	assert_int_equal(tier_engine_new(&f->conf, &f->e, &err), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	tier_engine_destroy(f->e);
	meta_close(f->m);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

static enum tier tier_of(struct fix *f, uint64_t ino)
{
	struct meta_txn *t = meta_begin_read(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	assert_int_equal(meta_commit(t), 0);
	return in.tier;
}

static void change(struct fix *f, uint64_t ino, uint32_t flags, enum tier forced)
{
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.flags |= flags;
	in.forced_tier = (uint8_t)forced;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
}

static int add_text(void *arg, const char *p, size_t len)
{
	return buf_add(arg, p, len);
}

static void run(struct fix *f, struct tier_run *r, uint64_t ino, bool dry, struct buf *out)
{
	struct err err = {0};
	errint_t res;

	*r = (struct tier_run){
		.ino = ino, .dry_run = dry, .text = out ? add_text : NULL, .arg = out};
	res = tier_run(f->e, r, &err);
	if (res)
		fail_msg("%s", err_text(&err, res));
}

/* ---- tests ---- */

static void make_demo(struct fix *f, uint64_t ino[4])
{
	ino[0] = object(f, f->top, "backup_archive.zip", 10 * GB, 0, 120);
	ino[1] = object(f, f->top, "customer_data.csv", 5 * GB / 2, 15, 2);
	ino[2] = object(f, f->top, "monthly_report_2024.pdf", GB / 2, 3, 45);
	ino[3] = object(f, f->top, "temp_logs.log", GB / 10, 0, 220);
}

static void test_demo(void **state)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	struct fix *f = *state;
	struct tier_run r;
	uint64_t ino[4];

	make_demo(f, ino);
	run(f, &r, META_ROOT_INO, true, &out);
	assert_int_equal(fake.posted, 0);
	assert_non_null(strstr(out.p, "Migrations Planned: 3\n"));
	assert_non_null(strstr(out.p, "Decision: Migrate to GLACIER\n"));
	buf_reset(&out);
	run(f, &r, META_ROOT_INO, false, &out);
	assert_int_equal(tier_of(f, ino[0]), TIER_COLD);
	assert_int_equal(tier_of(f, ino[1]), TIER_HOT);
	assert_int_equal(tier_of(f, ino[2]), TIER_WARM);
	assert_int_equal(tier_of(f, ino[3]), TIER_ARCHIVE);
	assert_int_equal(r.totals.files, 4);
	assert_int_equal(r.totals.accesses, 18);
	assert_int_equal(r.totals.moves, 3);
	assert_int_equal(r.totals.optimal, 1);
	assert_non_null(strstr(out.p, "Cost impact: $0.230 -> $0.040/month (82.6% savings)"));
	assert_non_null(strstr(out.p, "Total Savings: $0.197/month (65.5% reduction)\n"));
	assert_non_null(strstr(out.p, "Annual Savings: $2.37\n"));
	/* Nothing is left to do. */
	run(f, &r, META_ROOT_INO, false, NULL);
	assert_int_equal(r.totals.moves, 0);
	assert_int_equal(fake.posted, 3);
}

static void test_left_alone(void **state)
{
	struct fix *f = *state;
	struct tier_run r;
	uint64_t pinned = object(f, f->top, "backup_a.zip", GB, 0, 120);
	uint64_t dirty = object(f, f->top, "backup_b.zip", GB, 0, 120);
	uint64_t opened = object(f, f->top, "x.log", GB, 0, 120);
	uint64_t busy = object(f, f->top, "y.log", GB, 0, 120);

	change(f, pinned, META_F_PINNED, TIER_HOT);
	change(f, dirty, META_F_DIRTY, 0);
	open_ino = opened;
	fake.live = busy;
	run(f, &r, META_ROOT_INO, false, NULL);
	assert_int_equal(fake.posted, 0);
	assert_int_equal(r.totals.pinned, 1);
	assert_int_equal(r.totals.vetoed, 3);
	/* An open file may go to an online tier. */
	open_ino = object(f, f->top, "backup_c.zip", GB, 0, 10);
	run(f, &r, open_ino, false, NULL);
	assert_int_equal(tier_of(f, open_ino), TIER_WARM);
}

static void test_refused(void **state)
{
	struct fix *f = *state;
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	uint64_t ino = object(f, f->top, "x.log", GB, 0, 0);
	struct tier_run r;

	fake.refuse = -EOPNOTSUPP;
	run(f, &r, META_ROOT_INO, false, &out);
	assert_non_null(strstr(out.p, "aws/x.log: not moved to COLD: refused\n"));
	assert_int_equal(r.totals.failed, 1);
	assert_int_equal(r.totals.moves, 0);
	assert_int_equal(tier_of(f, ino), TIER_HOT);
}

static void forget_class(struct fix *f, uint64_t ino)
{
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.class_name[0] = '\0';
	in.tier = TIER_HOT;
	in.tier_since_ns = clock_now_ns() - 200 * DAY;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
}

/* A class that no listing told is asked for when the verdict hangs on it, once, and is never taken
 * for that of HOT. */
static void test_class_unknown(void **state)
{
	struct fix *f = *state;
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	struct tier_run r;
	uint64_t cold = object(f, f->top, "backup_archive.zip", 10 * GB, 0, 120);
	uint64_t used = object(f, f->top, "customer_data.csv", 5 * GB / 2, 15, 2);
	uint64_t colder = object(f, f->top, "temp_logs.log", 10 * GB, 0, 220);
	uint64_t pinned = object(f, f->top, "pinned.log", GB, 0, 220);

	change(f, pinned, META_F_PINNED, TIER_WARM);
	const uint64_t all[] = {cold, used, colder, pinned};
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		forget_class(f, all[i]);
	/* a cloud that does not answer: nothing moves */
	fake.vain = -EIO;
	run(f, &r, META_ROOT_INO, false, &out);
	assert_int_equal(fake.asked, 2);
	assert_int_equal(fake.posted, 0);
	assert_int_equal(r.totals.unknown_files, 4);
	assert_int_equal(r.totals.optimal, 0);
	assert_true(r.totals.before == 0 && r.totals.after == 0 && r.totals.all_hot == 0);
	assert_non_null(strstr(out.p, "   Current Tier: not known\n"));
	assert_non_null(strstr(out.p, "Decision: Keep (class not known)\n"));
	assert_non_null(strstr(out.p, "Files Of Unknown Class: 4\n"));
	/* in COLD is where one of them is to be; what is read much would cost more elsewhere */
	fake.vain = 0;
	fake.asked = 0;
	run(f, &r, META_ROOT_INO, false, NULL);
	assert_int_equal(fake.asked, 2);
	assert_int_equal(fake.posted, 1);
	assert_int_equal(tier_of(f, cold), TIER_COLD);
	assert_int_equal(tier_of(f, colder), TIER_ARCHIVE);
	assert_int_equal(r.totals.unknown_files, 2);
	run(f, &r, META_ROOT_INO, false, NULL);
	assert_int_equal(fake.asked, 2);
	assert_int_equal(fake.posted, 1);
}

static int count_file(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	++*(unsigned *)arg;
	return 0;
}

static int stop_at_ten(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	return ++*(unsigned *)arg == 10 ? -ECANCELED : 0;
}

static void test_walk(void **state)
{
	struct fix *f = *state;
	uint64_t d = create(f->m, f->top, "d", META_DIR, 0), sub[30], one = 0;
	unsigned n = 0;
	char name[32];

	/* More than a slice, with directories on both sides of its edge. */
	for (unsigned i = 0; i < 30; i++) {
		(void)snprintf(name, sizeof(name), "sub%u", i);
		sub[i] = create(f->m, d, name, META_DIR, 0);
		one = create(f->m, sub[i], "inside", META_FILE, 1);
		for (unsigned k = 0; k < 90; k++) {
			(void)snprintf(name, sizeof(name), "f%u.%u", i, k);
			(void)create(f->m, d, name, META_FILE, 1);
		}
	}
	(void)create(f->m, f->top, "outside", META_FILE, 1);
	assert_int_equal(tier_walk(f->e, d, count_file, NULL, &n), 0);
	assert_int_equal(n, 30 * 91);
	n = 0;
	assert_int_equal(tier_walk(f->e, META_ROOT_INO, count_file, NULL, &n), 0);
	assert_int_equal(n, 30 * 91 + 1);
	n = 0;
	assert_int_equal(tier_walk(f->e, one, count_file, NULL, &n), 0);
	assert_int_equal(n, 1);
	n = 0;
	assert_int_equal(tier_walk(f->e, d, stop_at_ten, NULL, &n), -ECANCELED);
	assert_int_equal(n, 10);
	n = 0;
	assert_int_equal(tier_walk(f->e, META_ROOT_INO, stop_at_ten, NULL, &n), -ECANCELED);
	assert_int_equal(n, 10);
	assert_int_equal(tier_walk(f->e, 999999, count_file, NULL, &n), -ENOENT);
}

static void test_scope(void **state)
{
	struct fix *f = *state;
	uint64_t d = create(f->m, f->top, "d", META_DIR, 0);
	uint64_t in = object(f, d, "x.log", GB, 0, 0), out = object(f, f->top, "y.log", GB, 0, 0);
	struct tier_run r;

	run(f, &r, d, false, NULL);
	assert_int_equal(r.totals.files, 1);
	assert_int_equal(tier_of(f, in), TIER_COLD);
	assert_int_equal(tier_of(f, out), TIER_HOT);
}

static void test_facts(void **state)
{
	struct fix *f = *state;
	uint64_t ino = object(f, f->top, "r.pdf", GB, 7, 3);
	struct tier_facts tf;
	struct meta_inode in;
	struct meta_txn *t;

	change(f, ino, META_F_ARCHIVED | META_F_PINNED, TIER_COLD);
	t = meta_begin_read(f->m);
	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	assert_int_equal(tier_facts(f->e, t, &in, clock_now_ns(), &tf), 0);
	assert_string_equal(tf.f.name, "r.pdf");
	assert_string_equal(tf.f.path, "aws/r.pdf");
	assert_string_equal(tf.f.cloud, "aws");
	assert_string_equal(tf.f.class_name, "STANDARD");
	assert_string_equal(tf.f.classes[TIER_COLD], "GLACIER");
	assert_int_equal(tf.f.accesses_window, 7);
	assert_int_equal(tf.f.accesses_total, 7);
	assert_true(tf.f.archived && tf.f.pinned && !tf.f.busy && !tf.f.open);
	assert_int_equal(tf.f.pin, TIER_COLD);
	/* What is no file of a configured remote has none. */
	assert_int_equal(meta_inode_get(t, f->top, &in), 0);
	assert_int_equal(tier_facts(f->e, t, &in, clock_now_ns(), &tf), -EINVAL);
	assert_int_equal(meta_commit(t), 0);
}

static void test_thread(void **state)
{
	struct fix *f = *state;
	uint64_t ino = object(f, f->top, "x.log", GB, 0, 0);
	struct tier_stat st;

	tier_engine_kick(f->e);
	for (unsigned i = 0; i < 500; i++) {
		struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};

		tier_stat(f->e, &st);
		if (st.passes)
			break;
		(void)nanosleep(&ts, NULL);
	}
	assert_int_equal(st.passes, 1);
	assert_int_equal(st.files, 1);
	assert_int_equal(st.moves, 1);
	assert_int_equal(tier_of(f, ino), TIER_COLD);
	tier_engine_stop(f->e);
	tier_engine_stop(f->e); /* again is fine */
}

static void wait_pass(struct fix *f, uint64_t passes)
{
	const struct timespec ts = {.tv_nsec = 10 * 1000 * 1000};
	struct tier_stat st;

	tier_engine_kick(f->e);
	for (unsigned i = 0; i < 500; i++) {
		tier_stat(f->e, &st);
		if (st.passes >= passes)
			return;
		(void)nanosleep(&ts, NULL);
	}
	fail_msg("no pass");
}

static void rested(struct fix *f, uint64_t ino, int64_t ns)
{
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.ctime_ns = clock_now_ns() - ns;
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
}

/* A pass brings pinned files to their tiers, the far ones after a day of rest, in every mode. */
static void test_pins(void **state)
{
	struct fix *f = *state;
	uint64_t warm = object(f, f->top, "a", GB, 20, 0), cold = object(f, f->top, "b", GB, 20, 0);
	uint64_t opened = object(f, f->top, "c", GB, 20, 0),
		 x = object(f, f->top, "x.log", GB, 0, 99);
	struct err err = {0};

	tier_engine_destroy(f->e);
	f->conf.mode = TIER_OFF;
	assert_int_equal(tier_engine_new(&f->conf, &f->e, &err), 0);
	change(f, warm, META_F_PINNED, TIER_WARM);
	change(f, cold, META_F_PINNED, TIER_ARCHIVE);
	change(f, opened, META_F_PINNED, TIER_COLD);
	rested(f, warm, 0);
	rested(f, cold, DAY - 60 * NS_PER_S);
	rested(f, opened, 2 * DAY);
	open_ino = opened;
	wait_pass(f, 1);
	assert_int_equal(fake.posted, 1);
	assert_false(fake.by_engine);
	assert_int_equal(tier_of(f, warm), TIER_WARM);
	open_ino = 0;
	rested(f, cold, DAY + NS_PER_S);
	wait_pass(f, 2);
	assert_int_equal(tier_of(f, cold), TIER_ARCHIVE);
	assert_int_equal(tier_of(f, opened), TIER_COLD);
	assert_int_equal(tier_of(f, x), TIER_HOT); /* that is the engine's, and it is off */
	wait_pass(f, 3);
	assert_int_equal(fake.posted, 3);
}

/* A pass asks for what it may act on, and for pins. */
static void test_class_unknown_pass(void **state)
{
	struct fix *f = *state;
	uint64_t x = object(f, f->top, "x.log", GB, 0, 99), y = object(f, f->top, "y", GB, 20, 0);
	struct err err = {0};

	change(f, y, META_F_PINNED, TIER_COLD);
	rested(f, y, 2 * DAY);
	forget_class(f, x);
	forget_class(f, y);
	fake.vain = -EACCES;
	f->aws.real = true;
	for (unsigned given = 0; given < 2; given++) {
		tier_engine_destroy(f->e);
		f->conf.mode = TIER_ACT;
		f->conf.mode_given = given;
		assert_int_equal(tier_engine_new(&f->conf, &f->e, &err), 0);
		fake.asked = 0;
		wait_pass(f, 1);
		assert_int_equal(fake.asked, 1 + given);
		assert_int_equal(fake.posted, 0);
	}
	fake.vain = 0;
	wait_pass(f, 2);
	assert_int_equal(fake.asked, 4);
	wait_pass(f, 3);
	assert_int_equal(fake.asked, 4);
	assert_int_equal(fake.posted, 0); /* they are there */
}

/* Nobody's money is spent unasked: on a real cloud the engine advises until told to act. */
static void test_real_clouds(void **state)
{
	struct fix *f = *state;
	uint64_t x = object(f, f->top, "x.log", GB, 0, 99);
	struct remote both[2] = {0};
	struct tier_conf conf;
	struct tier_stat st;
	struct err err = {0};

	for (unsigned given = 0; given < 2; given++) {
		tier_engine_destroy(f->e);
		f->aws.real = true;
		f->conf.mode = TIER_ACT;
		f->conf.mode_given = given;
		assert_int_equal(tier_engine_new(&f->conf, &f->e, &err), 0);
		wait_pass(f, 1);
		assert_int_equal(fake.posted, given);
		assert_int_equal(tier_of(f, x), given ? TIER_COLD : TIER_HOT);
		tier_stat(f->e, &st);
		assert_int_equal(st.mode, given ? TIER_ACT : TIER_ADVISE);
		assert_int_equal(st.mode_real, given ? TIER_ACT : TIER_ADVISE);
	}
	/* where both are, it is told of each */
	tier_engine_destroy(f->e);
	both[0] = f->aws;
	both[1].name[0] = 'x';
	conf = f->conf;
	conf.mode_given = false;
	conf.remotes = both;
	conf.nremotes = 2;
	assert_int_equal(tier_engine_new(&conf, &f->e, &err), 0);
	tier_stat(f->e, &st);
	assert_int_equal(st.mode, TIER_ACT);
	assert_int_equal(st.mode_real, TIER_ADVISE);
	tier_engine_destroy(f->e);
	f->e = NULL;
}

static errint_t parse(const char *key, const char *value, struct tier_conf *ret)
{
	struct conf *c = conf_new();
	struct err err;
	errint_t r;

	assert_int_equal(conf_set(c, "policy", key, value), 0);
	r = tier_conf_parse(c, ret, &err);
	conf_destroy(c);
	return r;
}

static void test_conf(void **state)
{
	struct tier_conf c = {0};

	assert_int_equal(parse("hours", "22:30-06:00", &c), 0);
	assert_int_equal(c.from_min, 22 * 60 + 30);
	assert_int_equal(c.until_min, 6 * 60);
	assert_int_equal(c.mode, TIER_ACT);
	assert_int_equal(parse("mode", "advise", &c), 0);
	assert_int_equal(c.mode, TIER_ADVISE);
	assert_int_equal(parse("interval", "10m", &c), 0);
	assert_true(c.interval_ns == 600 * NS_PER_S);
	assert_true(c.pin_delay_ns == DAY);
	assert_int_equal(parse("pin_delay", "2h", &c), 0);
	assert_true(c.pin_delay_ns == 7200 * NS_PER_S);
	assert_int_equal(parse("pin_delay", "later", &c), -EINVAL);
	assert_int_equal(parse("hours", "22-06", &c), -EINVAL);
	assert_int_equal(parse("hours", "25:00-06:00", &c), -EINVAL);
	assert_int_equal(parse("hours", "22:00-06:00x", &c), -EINVAL);
	assert_int_equal(parse("mode", "on", &c), -EINVAL);
	assert_int_equal(parse("interval", "10ms", &c), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_demo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_class_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_class_unknown_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scope, setup, teardown),
		cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real_clouds, setup, teardown),
		cmocka_unit_test(test_conf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
