/* SPDX-License-Identifier: MIT */
/* Journal records: what is taken is written and read again as the same job. */
#include "fuzz.h"

#include <errno.h>

#include "job/job_priv.h"

static struct meta *m;
static struct jobs jobs; /* what a decoder looks at: nothing */

static void start(void)
{
	struct meta_conf conf = {.dir = fuzz_dir(), .map_size = 1 << 28, .boot_id = "fuzz"};
	struct err err = {0};
	bool cut;

	CHECK(!meta_open(&conf, &m, &cut, &err));
}

static void stop(void)
{
	meta_close(m);
}

static int again(void *arg, uint64_t id, const void *p, size_t len)
{
	const struct job *a = arg;
	struct job *b = job_alloc(&jobs, JOB_UPLOAD, 1);
	struct err err = {0};

	(void)id;
	CHECK(b && !journal_decode(p, len, b, &err));
	CHECK(a->kind == b->kind && a->ino == b->ino && a->victim == b->victim);
	CHECK(a->nonce == b->nonce && a->tier == b->tier && a->days == b->days);
	CHECK(a->src_remote == b->src_remote && !strcmp(a->src, b->src));
	CHECK(a->dst_remote == b->dst_remote && !strcmp(a->dst, b->dst));
	CHECK(a->attempts == b->attempts && a->by_engine == b->by_engine);
	CHECK(a->created_ns == b->created_ns && !strcmp(a->own.etag, b->own.etag));
	CHECK(!a->own.begun == !b->own.begun);
	CHECK(!a->own.begun || (a->own.begun->remote == b->own.begun->remote &&
				       !strcmp(a->own.begun->path, b->own.begun->path) &&
				       !strcmp(a->own.begun->id, b->own.begun->id)));
	job_free(b);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct job *job = job_alloc(&jobs, JOB_UPLOAD, 1);
	struct err err = {0};
	errint_t r;

	if (!m) {
		start();
		CHECK(atexit(stop) == 0);
	}
	CHECK(job);
	r = journal_decode(p, n, job, &err);
	CHECK(!r || *err.msg);
	if (!r) {
		struct meta_txn *t = meta_begin(m);

		job->id = 1;
		CHECK(!journal_put(t, job));
		CHECK(!meta_job_each(t, again, job));
		meta_abort(t);
	}
	job_free(job);
	return 0;
}
