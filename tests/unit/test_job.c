/* SPDX-License-Identifier: MIT */
/*
 * Jobs before they run: the order that claims give, what changes of names become, the journal and
 * its damage, and that a restart finds the same order again. What jobs do when they run is in the
 * tests of the vfs. The jobs of this test are posted and never started.
 */
#include <errno.h>

#include "meta_help.h"

#include "astra/base_buf.h"
#include "astra/base_conf.h"
#include "astra/base_pool.h"
#include "job/job_priv.h"

struct fix {
	char dir[64], stage_dir[80];
	struct conf *conf;
	struct remote *remotes;
	size_t nremotes;
	struct meta *m;
	struct stage *stage;
	struct pool *pool;
	struct bufs *bufs;
	struct jobs *jobs;
	uint64_t aws; /* top directory of remote 1 */
};

static errint_t try_jobs(struct fix *f)
{
	struct jobs_conf jc = {.meta = f->m,
		.stage = f->stage,
		.remotes = f->remotes,
		.nremotes = f->nremotes,
		.pool = f->pool,
		.bufs = f->bufs,
		.upload_delay_ns = NS_PER_S};
	struct err err = {0};
	errint_t r = jobs_open(&jc, &f->jobs, &err);

	assert_true(!r || *err.msg);
	return r;
}

static void up(struct fix *f)
{
	struct stage_conf sc = {.dir = f->stage_dir, .quota_bytes = 1 << 20};
	struct meta_txn *t;
	bool cut;

	f->m = open_index(f->dir, "boot", &cut);
	assert_int_equal(stage_open(&sc, &f->stage, NULL), 0);
	t = meta_begin(f->m);
	for (size_t i = 0; i < f->nremotes; i++) {
		uint64_t top;
		uint32_t id;

		assert_int_equal(meta_remote(t, f->remotes[i].name, 0, 0, &id, &top), 0);
		f->remotes[i].id = id;
		if (i == 0)
			f->aws = top;
	}
	assert_int_equal(meta_commit(t), 0);
	f->pool = pool_new(2, "t");
	f->bufs = bufs_new(2, 1 << 20);
}

static void down(struct fix *f)
{
	meta_close(f->m);
	f->pool = pool_destroy(f->pool);
	jobs_close(f->jobs);
	f->jobs = NULL;
	stage_close(f->stage);
	bufs_destroy(f->bufs);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct err err = {0};

	scratch_make(f->dir);
	(void)snprintf(f->stage_dir, sizeof(f->stage_dir), "%s/stage", f->dir);
	f->conf = conf_new();
	for (unsigned i = 0; i < 2; i++) {
		const char *section = i ? "remote gcp" : "remote aws";

		assert_int_equal(conf_set(f->conf, section, "type", "mem"), 0);
		assert_int_equal(conf_set(f->conf, section, "provider", "local"), 0);
		assert_int_equal(conf_set(f->conf, section, "bucket", "b"), 0);
	}
	if (remotes_build(f->conf, f->dir, &f->remotes, &f->nremotes, &err))
		fail_msg("%s", err.msg);
	up(f);
	assert_int_equal(try_jobs(f), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	down(f);
	remotes_destroy(f->remotes, f->nremotes);
	conf_destroy(f->conf);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

/* ---- shorthand ---- */

static struct job *make(struct fix *f, enum job_kind kind, uint64_t ino, uint32_t src_remote,
	const char *src, uint32_t dst_remote, const char *dst)
{
	struct job *job = job_alloc(f->jobs, kind, ino);

	assert_non_null(job);
	if (src_remote)
		assert_int_equal(job_set_src(job, src_remote, src), 0);
	if (dst_remote)
		assert_int_equal(job_set_dst(job, dst_remote, dst), 0);
	return job;
}

static uint64_t post_job(struct fix *f, struct job *job)
{
	struct meta_txn *t = meta_begin(f->m);
	uint64_t id = 0;

	assert_int_equal(job_post(f->jobs, t, job, &id), 0);
	assert_int_equal(meta_commit(t), 0);
	return id;
}

static uint64_t post(struct fix *f, enum job_kind kind, uint64_t ino, uint32_t src_remote,
	const char *src, uint32_t dst_remote, const char *dst)
{
	return post_job(f, make(f, kind, ino, src_remote, src, dst_remote, dst));
}

static struct job *live(struct fix *f, uint64_t id)
{
	struct job *job = NULL;

	LOCKED(&f->jobs->g.lock);
	HASH_FIND(hh, f->jobs->g.by_id, &id, sizeof(id), job);
	return job;
}

/* How many jobs it waits for. */
static unsigned waits(struct fix *f, uint64_t id)
{
	struct job *job = live(f, id);

	assert_non_null(job);
	return job->g.ndeps;
}

static void end(struct fix *f, uint64_t id)
{
	struct job *job = live(f, id);

	assert_non_null(job);
	lock_take(&f->jobs->g.lock);
	graph_remove(f->jobs, job);
	lock_drop(&f->jobs->g.lock);
	job_free(job);
}

static uint64_t njobs(struct fix *f)
{
	struct jobs_stat st;

	jobs_stat(f->jobs, &st);
	return st.live;
}

/* ---- order ---- */

static void test_order_by_key(void **state)
{
	struct fix *f = *state;
	uint64_t a = post(f, JOB_UPLOAD, 100, 0, NULL, 1, "log");
	uint64_t b = post(f, JOB_RELOCATE, 101, 1, "log", 1, "log.1");
	uint64_t c = post(f, JOB_UPLOAD, 102, 0, NULL, 1, "log");
	uint64_t other = post(f, JOB_UPLOAD, 103, 0, NULL, 2, "log");
	uint64_t near = post(f, JOB_UPLOAD, 104, 0, NULL, 1, "log2");
	uint64_t d = post(f, JOB_RELOCATE, 100, 1, "x", 1, "log.1");

	assert_int_equal(waits(f, a), 0);
	assert_int_equal(waits(f, b), 1); /* a has its key */
	assert_int_equal(waits(f, c), 2); /* both before it */
	assert_int_equal(waits(f, other), 0);
	assert_int_equal(waits(f, near), 0);
	assert_int_equal(waits(f, d), 2); /* a by the inode, b by the key */
	end(f, a);
	assert_int_equal(waits(f, b), 0);
	assert_int_equal(waits(f, c), 1);
	assert_int_equal(waits(f, d), 1);
	end(f, b);
	assert_int_equal(waits(f, c), 0);
	assert_int_equal(waits(f, d), 0);
}

static void test_victim_is_claimed(void **state)
{
	struct fix *f = *state;
	struct job *job = make(f, JOB_RELOCATE, 100, 1, "new", 1, "v");
	uint64_t a = post(f, JOB_UPLOAD, 200, 0, NULL, 1, "elsewhere"), b;

	job->victim = 200;
	b = post_job(f, job);
	assert_int_equal(waits(f, b), 1);
	end(f, a);
	assert_int_equal(waits(f, b), 0);
}

static void test_directory_moves_claim_prefixes(void **state)
{
	struct fix *f = *state;
	uint64_t in = post(f, JOB_UPLOAD, 100, 0, NULL, 1, "d/a");
	uint64_t near = post(f, JOB_UPLOAD, 101, 0, NULL, 1, "dx");
	uint64_t move = post(f, JOB_DIRMOVE, 50, 1, "d/", 1, "e/");
	uint64_t old = post(f, JOB_UPLOAD, 102, 0, NULL, 1, "d/b");
	uint64_t new = post(f, JOB_UPLOAD, 103, 0, NULL, 1, "e/deep/b");
	uint64_t away = post(f, JOB_UPLOAD, 104, 0, NULL, 2, "e/b");
	uint64_t sub = post(f, JOB_DIRMOVE, 51, 1, "e/s/", 1, "t/");
	uint64_t over = post(f, JOB_DIRMOVE, 52, 1, "x/", 1, "y/");

	assert_int_equal(waits(f, near), 0);
	assert_int_equal(waits(f, move), 1);
	assert_int_equal(waits(f, old), 1);
	assert_int_equal(waits(f, new), 1);
	assert_int_equal(waits(f, away), 0);
	assert_int_equal(waits(f, sub), 1);
	assert_int_equal(waits(f, over), 0);
	end(f, in);
	assert_int_equal(waits(f, move), 0);
	end(f, move);
	assert_int_equal(waits(f, old), 0);
	assert_int_equal(waits(f, new), 0);
	assert_int_equal(waits(f, sub), 0);
}

static void test_aborted_transaction_leaves_nothing(void **state)
{
	struct fix *f = *state;
	uint64_t a = post(f, JOB_UPLOAD, 100, 0, NULL, 1, "k"), gone = 0;
	struct job *job = make(f, JOB_UPLOAD, 101, 0, NULL, 1, "k");
	struct meta_txn *t = meta_begin(f->m);
	uint64_t c;

	assert_int_equal(job_post(f->jobs, t, job, &gone), 0);
	meta_abort(t);
	assert_null(live(f, gone));
	assert_int_equal(live(f, a)->g.ndependents, 0);
	c = post(f, JOB_UPLOAD, 102, 0, NULL, 1, "k");
	assert_int_equal(waits(f, c), 1);
	assert_int_equal(njobs(f), 2);
}

/* ---- the journal ---- */

static int one_record(void *arg, uint64_t id, const void *p, size_t len)
{
	return buf_add(arg, p, len);
}

/* The record of job as it is written. */
static char *record_of(struct fix *f, struct job *job)
{
	struct buf b = BUF_INIT(1 << 20);
	struct meta_txn *t = meta_begin(f->m);
	errint_t r;

	job->id = 1;
	(void)journal_put(t, job);
	r = meta_job_each(t, one_record, &b);
	meta_abort(t);
	assert_int_equal(r, 0);
	return b.p;
}

static void test_records_come_back(void **state)
{
	static const struct {
		enum job_kind kind;
		const char *src, *dst;
	} rows[] = {{JOB_UPLOAD, "", "a/b"}, {JOB_RELOCATE, "a\xff\xfe", "b \"quoted\"\n"},
		{JOB_DIRMOVE, "d/", "e/"}, {JOB_REMOVE, "x", ""}};
	struct fix *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct job *a = make(f, rows[i].kind, 77, 1, rows[i].src, 2, rows[i].dst);
		struct job *b = job_alloc(f->jobs, JOB_UPLOAD, 1);
		struct err err = {0};
		char *text;

		a->victim = 5;
		a->tier = TIER_COLD;
		a->days = 7;
		a->attempts = 3;
		a->by_engine = true;
		a->firm = true;
		strcpy(a->own.etag, "\"etag\"");
		text = record_of(f, a);
		assert_int_equal(journal_decode(text, strlen(text), b, &err), 0);
		assert_int_equal(b->kind, rows[i].kind);
		assert_int_equal(b->ino, 77);
		assert_int_equal(b->victim, 5);
		assert_true(a->nonce == b->nonce && a->created_ns == b->created_ns);
		assert_int_equal(b->src_remote, 1);
		assert_int_equal(b->dst_remote, 2);
		assert_string_equal(b->src, rows[i].src);
		assert_string_equal(b->dst, rows[i].dst);
		assert_int_equal(b->tier, TIER_COLD);
		assert_int_equal(b->days, 7);
		assert_int_equal(b->attempts, 3);
		assert_true(b->by_engine && b->firm);
		assert_string_equal(b->own.etag, "\"etag\"");
		free(text);
		job_free(a);
		job_free(b);
	}
}

#define RECORD(more)                                                                               \
	"{\"kind\":1,\"ino\":7,\"victim\":0,\"nonce\":\"1f\",\"src_remote\":0,\"src\":\"\","       \
	"\"dst_remote\":1,\"dst\":\"a\",\"tier\":0,\"days\":0,\"attempts\":0,\"by_engine\":false," \
	"\"created\":1,\"etag\":\"\"" more "}"

static errint_t decode(struct fix *f, const char *text, size_t len)
{
	struct job *job = job_alloc(f->jobs, JOB_UPLOAD, 1);
	struct err err = {0};
	errint_t r = journal_decode(text, len, job, &err);

	assert_true(!r || *err.msg);
	job_free(job);
	return r;
}

/* One change at a time makes a record damaged, or not. */
static void test_damaged_records(void **state)
{
	static const struct {
		const char *from, *to;
		errint_t r;
	} rows[] = {
		{"\"kind\":1", "\"kind\":0", -EBADMSG},
		{"\"kind\":1", "\"kind\":99", -EBADMSG},
		{"\"kind\":1", "\"kind\":\"1\"", -EBADMSG},
		{"\"ino\":7", "\"ino\":0", -EBADMSG},
		{"\"ino\":7", "\"ino\":-1", -EBADMSG},
		{"\"victim\":0,", "", -EBADMSG},
		{"\"dst\":\"a\"", "\"dst\":7", -EBADMSG},
		{"\"dst\":\"a\"", "\"dst\":{\"hex\":\"6\"}", -EBADMSG},
		{"\"dst\":\"a\"", "\"dst\":{\"hex\":\"zz\"}", -EBADMSG},
		{"\"dst\":\"a\"", "\"dst\":{\"hex\":\"6100\"}", -EBADMSG},
		{"\"dst\":\"a\"", "\"dst\":{\"hex\":\"ff\"}", 0},
		{"\"dst_remote\":1", "\"dst_remote\":-1", -EBADMSG},
		{"\"tier\":0", "\"tier\":4", -EBADMSG},
		{"\"days\":0", "\"days\":-1", -EBADMSG},
		{"\"etag\":\"\"", "\"etag\":\"\",\"sources\":{}", -EBADMSG},
		{"\"etag\":\"\"", "\"etag\":\"\",\"sources\":[1]", -EBADMSG},
		{"\"etag\":\"\"", "\"etag\":\"\",\"new\":\"of a later version\"", 0},
		{"\"created\":1", "\"created\":1.5", -EBADMSG},
	};
	static const char good[] = RECORD("");
	struct fix *f = *state;
	char text[4096], longest[2000];

	assert_int_equal(decode(f, good, strlen(good)), 0);
	for (size_t len = 0; len < strlen(good); len++)
		assert_int_equal(decode(f, good, len), -EBADMSG);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *at = strstr(good, rows[i].from);

		assert_non_null(at);
		(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, rows[i].to,
			at + strlen(rows[i].from));
		if (decode(f, text, strlen(text)) != rows[i].r)
			fail_msg("%s", text);
	}
	/* No job was ever posted with a path that no object can have. */
	memset(longest, 'k', sizeof(longest));
	longest[META_PATH_MAX + 1] = '\0';
	(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(strstr(good, "\"a\"") - good + 1),
		good, longest, strstr(good, "\"a\"") + 2);
	assert_int_equal(decode(f, text, strlen(text)), -EBADMSG);
}

static void test_restart_keeps_the_order(void **state)
{
	struct fix *f = *state;
	uint64_t a = post(f, JOB_UPLOAD, create(f->m, f->aws, "a", META_FILE, 0), 0, NULL, 1, "k");
	uint64_t b = post(f, JOB_RELOCATE, 500, 1, "k", 2, "k2");
	uint64_t c = post(f, JOB_DIRMOVE, 501, 2, "", 2, "d/");
	uint64_t next;

	down(f);
	up(f);
	assert_int_equal(try_jobs(f), 0);
	assert_int_equal(njobs(f), 3);
	assert_int_equal(waits(f, a), 0);
	assert_int_equal(waits(f, b), 1);
	assert_int_equal(waits(f, c), 1);
	assert_string_equal(live(f, b)->dst, "k2");
	next = post(f, JOB_UPLOAD, 502, 0, NULL, 1, "z");
	assert_true(next > c);
}

/* A journal that cannot be read is told, not run in part. */
static void test_damaged_journal(void **state)
{
	struct fix *f = *state;
	struct meta_txn *t;

	(void)post(f, JOB_UPLOAD, 100, 0, NULL, 1, "k");
	down(f);
	up(f);
	t = meta_begin(f->m);
	assert_int_equal(meta_job_put(t, 4711, "{\"kind\":1}", 10), 0);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(try_jobs(f), -EBADMSG);
	assert_null(f->jobs);
	t = meta_begin(f->m);
	assert_int_equal(meta_job_del(t, 4711), 0);
	assert_int_equal(meta_commit(t), 0);
	assert_int_equal(try_jobs(f), 0);
	assert_int_equal(njobs(f), 1);
}

/* ---- what changes of names become ---- */

/* An inode whose content is in the cloud under its name. */
static uint64_t settled(struct fix *f, const char *name)
{
	uint64_t ino = create(f->m, f->aws, name, META_FILE, 3);
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in;

	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	in.flags |= META_F_OBJECT | META_F_BASE;
	in.loc.remote = 1;
	strcpy(in.loc.path, name);
	strcpy(in.loc.etag, "e");
	assert_int_equal(meta_inode_put(t, &in), 0);
	assert_int_equal(meta_commit(t), 0);
	return ino;
}

static uint64_t dirty(struct fix *f, const char *name)
{
	uint64_t ino = create(f->m, f->aws, name, META_FILE, 3);
	struct meta_txn *t = meta_begin(f->m);

	assert_int_equal(meta_dirty_set(t, ino, true), 0);
	assert_int_equal(meta_commit(t), 0);
	return ino;
}

/* rename(2) of ino to name, over victim (or 0): the job's id or 0. */
static uint64_t rename_to(struct fix *f, uint64_t ino, const char *name, uint64_t victim)
{
	struct meta_txn *t = meta_begin(f->m);
	struct meta_inode in, old;
	uint64_t id = 0;

	if (victim) {
		assert_int_equal(meta_inode_get(t, victim, &old), 0);
		assert_int_equal(meta_unlink(t, &old), 0);
	}
	assert_int_equal(meta_inode_get(t, ino, &in), 0);
	assert_int_equal(meta_move(t, &in, f->aws, name), 0);
	assert_int_equal(job_moved(f->jobs, t, &in, victim ? &old : NULL, &id), 0);
	assert_int_equal(meta_commit(t), 0);
	return id;
}

static uint64_t upload(struct fix *f, uint64_t ino)
{
	struct meta_txn *t = meta_begin(f->m);
	struct job *last;

	assert_int_equal(job_upload(f->jobs, t, ino, false), 0);
	assert_int_equal(meta_commit(t), 0);
	lock_take(&f->jobs->g.lock);
	last = graph_last_of(f->jobs, ino);
	lock_drop(&f->jobs->g.lock);
	assert_non_null(last);
	return last->id;
}

/* A queued upload that has not begun goes to the new name; nothing else is posted. */
static void test_queued_upload_is_retargeted(void **state)
{
	struct fix *f = *state;
	uint64_t ino = dirty(f, "tmp"), id = upload(f, ino);

	assert_int_equal(upload(f, ino), id); /* one is enough */
	assert_int_equal(rename_to(f, ino, "final", 0), id);
	assert_string_equal(live(f, id)->dst, "final");
	assert_int_equal(njobs(f), 1);
	/* The old key is free for others, the new one is not. */
	assert_int_equal(waits(f, post(f, JOB_UPLOAD, 900, 0, NULL, 1, "tmp")), 0);
	assert_int_equal(waits(f, post(f, JOB_UPLOAD, 901, 0, NULL, 1, "final")), 1);
}

/* Somebody waits behind it for its key: then the new place is a job of its own. */
static void test_upload_with_dependents_stays(void **state)
{
	struct fix *f = *state;
	uint64_t ino = dirty(f, "log"), id = upload(f, ino), move;
	uint64_t behind = post(f, JOB_UPLOAD, 900, 0, NULL, 1, "log");

	move = rename_to(f, ino, "log.1", 0);
	assert_int_not_equal(move, id);
	assert_string_equal(live(f, id)->dst, "log");
	assert_string_equal(live(f, move)->src, "log");
	assert_string_equal(live(f, move)->dst, "log.1");
	assert_int_equal(waits(f, move), 2); /* the upload, and who took the name */
	assert_int_equal(waits(f, behind), 1);
}

/* Save by rename: a file that no cloud has yet takes a name. Its upload overwrites. */
static void test_save_by_rename_adopts(void **state)
{
	struct fix *f = *state;
	uint64_t old = settled(f, "doc"), new = dirty(f, ".doc.tmp");
	struct meta_txn *t;
	struct meta_inode in;

	assert_int_equal(rename_to(f, new, "doc", old), 0);
	assert_int_equal(njobs(f), 0);
	t = meta_begin_read(f->m);
	assert_int_equal(meta_inode_get(t, new, &in), 0);
	assert_int_equal(in.flags & (META_F_OBJECT | META_F_BASE), META_F_OBJECT);
	assert_string_equal(in.loc.path, "doc");
	assert_string_equal(in.loc.etag, "e");
	assert_int_equal(meta_inode_get(t, old, &in), -ENOENT);
	meta_abort(t);
}

/* Over a file with an object, by one that has another: the victim is the job's. */
static void test_move_over_a_victim(void **state)
{
	struct fix *f = *state;
	uint64_t old = settled(f, "a"), new = settled(f, "b"), id = rename_to(f, new, "a", old);
	struct job *job = live(f, id);

	assert_non_null(job);
	assert_int_equal(job->kind, JOB_RELOCATE);
	assert_int_equal(job->victim, old);
	assert_string_equal(job->src, "b");
	assert_string_equal(job->dst, "a");
	/* There and back again is nothing new. */
	new = settled(f, "c");
	id = rename_to(f, new, "c2", 0);
	assert_int_not_equal(id, 0);
	assert_int_not_equal(rename_to(f, new, "c", 0), 0); /* the first may have begun */
	new = dirty(f, "never-uploaded");
	assert_int_equal(rename_to(f, new, "n2", 0), 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_order_by_key),
		T(test_victim_is_claimed),
		T(test_directory_moves_claim_prefixes),
		T(test_aborted_transaction_leaves_nothing),
		T(test_records_come_back),
		T(test_damaged_records),
		T(test_restart_keeps_the_order),
		T(test_damaged_journal),
		T(test_queued_upload_is_retargeted),
		T(test_upload_with_dependents_stays),
		T(test_save_by_rename_adopts),
		T(test_move_over_a_victim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
