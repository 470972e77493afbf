/* SPDX-License-Identifier: MIT */
/*
 * One object to another place, or staged bytes to an object: in parts of JOB_PART_SIZE (parts.c), a
 * CRC-32C of each on the way, the whole compared with what the destination states (or read back
 * where it states none). Nothing is visible at the destination before the commit.
 *
 * Stores take so and so many parts: of a file that is larger than these parts are as large as need
 * be, in several buffers side by side. One such file is on its way at a time.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "move_priv.h"

#define PART_GRAIN  (256u << 10)
#define RUN_POLL_US 20000
#define RUN_WAIT_NS (10 * NS_PER_S)
#define SMALL_MAX   (512u << 10) /* needs no transfer buffer: a bounded number of steps run */

/* Buffers of the pool that the transfers of one share may hold. */
static unsigned share_buffers(const struct jobs *j)
{
	return MAX_OF(bufs_count(j->conf.bufs) * 3 / 8, 1u);
}

/* Not malloc: what it frees of this size it keeps, for each thread. */
static void *own_buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A buffer of the pool, of which readers are left one; when there is none, one of its own for the
 * first of the share, so that a cloud that hangs with all of the pool's stops nobody else; when
 * the share has one at work, its end is waited for. NULL when memory is lacking. */
static void *buffer_take(struct job *job, bool *ret_own)
{
	struct jobs *j = job->jobs;
	struct share *s = job->g.share; /* it is active: that stays */
	void *p = NULL;
	LOCKED(&j->g.lock);

	for (;;) {
		if (s->nbuffers < share_buffers(j))
			p = bufs_try_take(j->conf.bufs, true);
		*ret_own = p == NULL;
		if (p == NULL && s->nbuffers == 0)
			p = own_buffer(bufs_size(j->conf.bufs));
		if (p != NULL)
			s->nbuffers++;
		if (p != NULL || s->nbuffers == 0)
			return p;
		s->nwaiting++;
		cond_wait(&s->buffer_back, &j->g.lock);
		s->nwaiting--;
	}
}

/* Others, and reads, may need one at all. */
static bool plenty_locked(const struct job *job)
{
	const struct bufs *bufs = job->jobs->conf.bufs;
	const struct share *s = job->g.share;

	lock_assert_held(&job->jobs->g.lock);
	return s->nwaiting == 0 && s->nbuffers < share_buffers(job->jobs) &&
	       bufs_free(bufs) > bufs_count(bufs) / 2;
}

bool buffers_plenty(struct job *job)
{
	LOCKED(&job->jobs->g.lock);

	return plenty_locked(job);
}

void *buffer_more(struct job *job)
{
	void *p = NULL;
	LOCKED(&job->jobs->g.lock);

	if (plenty_locked(job))
		p = bufs_try_take(job->jobs->conf.bufs, true);
	job->g.share->nbuffers += p != NULL;
	return p;
}

void buffer_give(struct job *job, void *p, bool own)
{
	struct jobs *j = job->jobs;

	if (own)
		(void)munmap(p, bufs_size(j->conf.bufs));
	else
		bufs_give(j->conf.bufs, p);
	LOCKED(&j->g.lock);
	job->g.share->nbuffers--;
	(void)pthread_cond_broadcast(&job->g.share->buffer_back);
}

uint64_t move_part_size(uint64_t size, uint64_t usual, const struct store_caps *caps)
{
	uint64_t max = caps->parts_max != 0 ? MIN_OF(caps->parts_max, (unsigned)STORE_PARTS_MAX)
					    : STORE_PARTS_MAX;
	uint64_t p = MAX_OF(usual, caps->part_min), need = size / max + (size % max != 0);

	if (p < need)
		p = (need + PART_GRAIN - 1) / PART_GRAIN * PART_GRAIN;
	return (caps->part_max != 0 && p > caps->part_max) ||
			       (caps->object_max != 0 && size > caps->object_max)
		       ? 0
		       : p;
}

/* For parts that are larger than a buffer: several in a row. They come together while others give
 * theirs back, for RUN_WAIT_NS at most: a cloud that hangs with one must not have this file keep
 * all the others. Other such files come later, without a worker that waits. */
static errint_t take_run(struct parts *x, struct err *err)
{
	struct job *job = x->job;
	struct bufs *bufs = job->jobs->conf.bufs;
	size_t most = bufs_run_max(bufs);
	int64_t until = clock_mono_ns() + RUN_WAIT_NS;

	if (x->part_size > most)
		return err_set(err, -EFBIG, ERR_FINAL,
			"%llu bytes need parts of %llu, the buffers hold %zu: mount with a larger "
			"memory_limit",
			(unsigned long long)x->spec->size, (unsigned long long)x->part_size, most);
	for (;;) {
		void *run = NULL;
		errint_t r = bufs_try_run(bufs, (size_t)x->part_size, x, &run);

		x->buf = run;
		if (r == 0)
			return 0;
		if (r == -EBUSY)
			return err_set(err, -EAGAIN, ERR_RETRY,
				"another file with parts of many buffers is on its way");
		if (atomic_load(&job->cancel) || clock_mono_ns() > until) {
			bufs_give_run(bufs, x);
			return atomic_load(&job->cancel)
				       ? err_set(err, -ECANCELED, ERR_CANCELLED, "stopped")
				       : err_set(err, -EAGAIN, ERR_RETRY,
						 "it needs %llu bytes of buffers side by side, "
						 "which others use",
						 (unsigned long long)x->part_size);
		}
		(void)usleep(RUN_POLL_US); /* others end a unit of their work, and give one back */
	}
}

static errint_t take_memory(struct parts *x, struct err *err)
{
	const struct move_spec *s = x->spec;

	if (s->size > JOB_PART_SIZE) {
		x->part_size = x->ahead != NULL && x->ahead->begun
				       ? x->ahead->part_size
				       : move_part_size(s->size,
						 x->staged != NULL ? JOB_PART_SIZE : JOB_MOVE_PART,
						 &x->caps);
		if (x->part_size == 0)
			return err_set(err, -EFBIG, ERR_FINAL,
				"the store does not take objects of %llu bytes",
				(unsigned long long)s->size);
		if (x->part_size > bufs_size(x->job->jobs->conf.bufs))
			return take_run(x, err);
	}
	x->buf = s->size <= SMALL_MAX ? malloc(MAX_OF(s->size, UINT64_C(1)))
				      : buffer_take(x->job, &x->own);
	return x->buf != NULL ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "out of memory");
}

static void give_memory(struct parts *x)
{
	struct bufs *bufs = x->job->jobs->conf.bufs;

	if (x->part_size > bufs_size(bufs))
		bufs_give_run(bufs, x);
	else if (x->spec->size <= SMALL_MAX)
		free(x->buf);
	else
		buffer_give(x->job, x->buf, x->own);
}

/* What the source says of itself: its checksum, and the metadata that others gave it. */
static errint_t source_look(struct parts *x, struct err *err)
{
	if (x->staged != NULL || !x->has_src)
		return 0;
	errint_t r = store_head(x->src.st, &x->call, x->src.o, &x->from, err);

	if (r == 0 && strcmp(x->from.etag, x->spec->src_etag) != 0)
		return err_set(err, -ESTALE, ERR_STALE, "'%s' was changed meanwhile", x->spec->src);
	if (r == 0 && meta_set_others(&x->meta, &x->from, x->caps.meta_max, x->spec->src)) {
		x->job->own.attrs_left = true;
		attrs_left_log(x->spec->dst);
	}
	return r;
}

/* Its checksum against what was read from it: a store, or the way from it, that hands out other
 * bytes must not have them accepted at the destination. */
static errint_t source_check(struct parts *x, struct err *err)
{
	const struct meta_inode *row = x->spec->attrs;
	struct store_caps caps;
	uint32_t want = x->from.crc32c;

	if (x->staged != NULL || !x->has_crc || !x->has_src)
		return 0;
	store_caps(x->src.st, &caps);
	if (!caps.checksums || !x->from.has_crc32c) { /* it states none: who wrote it knew */
		if (!row->has_crc32c || strcmp(row->loc.etag, x->spec->src_etag) != 0)
			return 0;
		want = row->crc32c;
	}
	if (want == x->crc)
		return 0;
	return err_set(err, -EIO, ERR_RETRY, "'%s' gives other bytes than its checksum says",
		x->spec->src);
}

/* What others see is about to happen, and the record comes before the deed. It mostly is durable:
 * only parts are sent before (upload.c), and a file may have become smaller than one since. */
static errint_t commit_begin(struct job *job, struct err *err)
{
	struct meta *m = job->jobs->conf.meta;
	errint_t r = meta_synced(m) < job->g.post_txn ? meta_sync(m, err) : 0;

	if (r == 0)
		job_state_set(job, JOB_COMMITTING);
	return r;
}

static void ahead_progress(struct parts *x)
{
	struct ahead *a = x->ahead;
	uint64_t bytes = 0, n = 0;

	for (unsigned i = 0; i < a->n; i++)
		if (a->sums[i].there) {
			bytes += a->sums[i].len;
			n++;
		}
	atomic_store(&x->job->bytes_done, bytes);
	atomic_store(&x->job->parts_done, n);
	if (a->begun && ahead_meta_stays(x)) {
		x->job->own.attrs_sum = a->attrs_sum;
		x->job->own.attrs_left = a->attrs_left;
	}
}

static errint_t by_parts(struct parts *x, struct store_stat *ret, struct err *err)
{
	x->end = x->ahead != NULL && !x->ahead->last
			 ? ahead_written(x->ahead, x->spec->size, x->part_size)
			 : x->spec->size;
	if (x->ahead != NULL)
		ahead_progress(x);
	errint_t r = parts_send(x, err);

	if (x->ahead != NULL)
		x->ahead->sent_ns = clock_mono_ns();
	if (r == 0 && x->end < x->spec->size)
		r = err_set(err, -EINPROGRESS, ERR_RETRY, "it is still written");
	if (r == 0)
		r = source_check(x, err);
	if (r == 0)
		r = commit_begin(x->job, err);
	if (r == 0) {
		x->sent = true;
		r = parts_gone(x,
			store_parts_finish(x->dst.st, &x->call, x->dst.o, x->id, x->parts,
				x->nparts, &x->put, ret, err),
			err);
	}
	if (ahead_keeps(x, r, err))
		return r;
	/* When the answer to finish was lost the upload may be gone: then this is not found. */
	if (r == 0)
		uploads_ended(x->job);
	else if (err->kind != ERR_UNKNOWN)
		(void)uploads_end(x->job, NULL, &(struct err){0});
	if (x->ahead == NULL) {
		free(x->parts);
		free(x->sums);
	}
	ahead_drop(x->job);
	return r;
}

static errint_t single(struct parts *x, struct store_stat *ret, struct err *err)
{
	size_t len = (size_t)x->spec->size;
	errint_t r = len == 0 ? 0 : parts_fill(x, &x->call, 0, x->buf, len, err);

	if (r < 0)
		return r;
	x->crc = crc32c(0, x->buf, len);
	x->put.has_crc32c = true;
	x->put.crc32c = x->crc;
	r = source_check(x, err);
	if (r == 0)
		r = commit_begin(x->job, err);
	if (r < 0)
		return r;
	x->sent = true;
	ahead_drop(x->job); /* it has become so small since */
	x->ahead = NULL;
	r = store_put(x->dst.st, &x->call, x->dst.o, x->buf, len, &x->put, ret, err);
	if (r == 0) {
		atomic_store(&x->job->bytes_done, x->job->own.bytes_before + len);
		atomic_store(&x->job->parts_done, x->job->own.parts_before + 1);
	}
	return r;
}

/* The destination as it stands after the commit: by its checksum, or byte by byte. */
static errint_t verify(struct parts *x, const struct store_stat *st, struct err *err)
{
	uint32_t crc = 0;

	job_state_set(x->job, JOB_VERIFYING);
	if (st->size != x->spec->size)
		return err_set(err, -EIO, ERR_RETRY, "'%s' has %llu bytes, %llu were sent",
			x->spec->dst, (unsigned long long)st->size,
			(unsigned long long)x->spec->size);
	if (st->has_crc32c && x->has_crc)
		return st->crc32c == x->crc ? 0
					    : err_set(err, -EIO, ERR_RETRY,
						      "'%s' does not have the bytes that were sent",
						      x->spec->dst);
	if (!x->has_crc)
		return 0; /* parts copied by the server, which vouches for them */
	for (uint64_t off = 0; off < st->size;) {
		size_t got = 0, want = (size_t)MIN_OF((uint64_t)JOB_PART_SIZE, st->size - off);
		errint_t r = store_get(
			x->dst.st, &x->call, x->dst.o, st->etag, off, x->buf, want, &got, err);

		if (r < 0)
			return r;
		if (got == 0)
			break;
		crc = crc32c(crc, x->buf, got);
		off += got;
	}
	return crc == x->crc
		       ? 0
		       : err_set(err, -EIO, ERR_RETRY, "'%s' reads back other bytes", x->spec->dst);
}

/* The commit's answer was lost, or its condition failed: was it ours? Then *ret is filled. */
static errint_t settle_doubt(struct parts *x, errint_t r, struct store_stat *ret, struct err *err)
{
	struct err herr = {0};

	if (err->kind != ERR_UNKNOWN && err->kind != ERR_STALE)
		return r;
	x->job->own.doubt |= err->kind == ERR_UNKNOWN;
	errint_t h = store_head(x->dst.st, &x->call, x->dst.o, ret, &herr);

	if (h == 0) {
		enum mark_owner owner = mark_check(x->job, ret);

		if (owner == MARK_OTHER && late_mark(x->job, ret))
			owner = MARK_EARLIER; /* to be overwritten as well */
		else
			x->job->own.landed |= owner == MARK_EARLIER;
		/* A power cut takes back numbers of attempts: then one of this number and of
		 * other bytes may be there, which only a checksum tells. */
		if (owner == MARK_NOW && x->sent &&
			(x->has_crc || x->job->nonce == x->job->jobs->nonce)) {
			err_clear(err);
			return 0;
		}
		/* An attempt of ours, maybe of this number, which a power cut took back: the caller
		 * takes it as its base. When it did, it is the source that is not as expected. */
		if (owner != MARK_OTHER &&
			(x->spec->if_match == NULL || strcmp(ret->etag, x->spec->if_match) != 0))
			r = err_set(err, -EAGAIN, ERR_STALE, "%s", ret->etag);
		store_stat_done(ret);
		return r;
	}
	if (herr.kind == ERR_NOT_FOUND && err->kind == ERR_UNKNOWN)
		return err_set(err, -EIO, ERR_RETRY, "the answer was lost; it had not happened");
	return err->kind == ERR_UNKNOWN ? err_set(err, -EIO, ERR_RETRY, "%s", herr.msg) : r;
}

/* An earlier attempt of this job is at its destination. False: that was known, and did not help, so
 * it is to be tried again later and not at once. */
bool job_earlier(struct job *job, const struct err *err)
{
	if (strcmp(job->own.dst_etag, err->msg) == 0)
		return false;
	(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%.127s", err->msg);
	return true;
}

static errint_t transfer(struct parts *x, struct store_stat *ret, struct err *err)
{
	char mark[64];
	struct jobs *j = x->job->jobs;
	const struct move_spec *s = x->spec;
	errint_t r = objref_make(j, s->dst_remote, s->dst, &x->dst, err);

	if (r == 0 && s->src[0] != '\0') {
		r = objref_make(j, s->src_remote, s->src, &x->src, err);
		x->has_src = true;
	}
	if (r < 0)
		return r;
	call_init(&x->call, x->job);
	store_caps(x->dst.st, &x->caps);
	mark_make(x->job, mark, sizeof(mark));
	r = attrs_sent(x->job, &x->meta, s->dst_remote, s->attrs, mark, err);
	if (r == 0)
		r = source_look(x, err);
	if (r < 0)
		return r;
	x->put = (struct store_put){.if_match = s->if_match,
		.if_none_match = s->if_match == NULL ? STORE_IF_ABSENT : NULL,
		.class_name =
			s->class_name != NULL && s->class_name[0] != '\0' ? s->class_name : NULL,
		.meta = x->meta.m,
		.nmeta = x->meta.n};
	x->has_crc = true;
	job_state_set(x->job, JOB_RUNNING);
	if (x->job->kind != JOB_DIRMOVE) {
		LOCKED(&j->g.lock);
		x->job->g.bytes_total = MAX_OF(x->job->g.bytes_total, s->size);
	}
	atomic_store(&x->job->bytes_done, x->job->own.bytes_before);
	atomic_store(&x->job->parts_done, x->job->own.parts_before);
	r = take_memory(x, err);
	if (r < 0)
		return r;
	r = s->size > JOB_PART_SIZE ? by_parts(x, ret, err) : single(x, ret, err);
	if (r < 0)
		r = settle_doubt(x, r, ret, err);
	if (r == 0) /* a server that died meanwhile may have made the object and kept the parts */
		(void)uploads_end(x->job, NULL, &(struct err){0});
	x->job->own.wrote = r == 0;
	if (r == 0) {
		r = verify(x, ret, err);
		if (r < 0) {
			x->job->own.doubt = true; /* it is there, whatever it is */
			store_stat_done(ret);
		}
	}
	give_memory(x);
	return r;
}

static errint_t copy_inside(
	struct job *job, const struct move_spec *s, struct store_stat *ret, struct err *err)
{
	struct parts x = {.job = job, .spec = s, .has_crc = false};
	char mark[64];
	errint_t r = objref_make(job->jobs, s->src_remote, s->src, &x.src, err);

	if (r == 0)
		r = objref_make(job->jobs, s->dst_remote, s->dst, &x.dst, err);
	if (r < 0)
		return r;
	call_init(&x.call, job);
	mark_make(job, mark, sizeof(mark));
	struct store_copy opt = {.src_if_match = s->src_etag,
		.dst_if_match = s->if_match,
		.dst_if_none_match = s->if_match == NULL ? STORE_IF_ABSENT : NULL,
		.write_mark = s->fresh ? NULL : mark};

	if (s->fresh) {
		r = attrs_sent(job, &x.meta, s->dst_remote, s->attrs, mark, err);
		if (r < 0) {
			meta_set_done(&x.meta);
			return r;
		}
		opt.replace_meta = true;
		opt.meta = x.meta.m;
		opt.nmeta = x.meta.n;
		opt.class_name = s->class_name;
	}

	r = commit_begin(job, err);
	if (r == 0) {
		x.sent = true;
		r = store_copy(x.dst.st, &x.call, x.src.o, x.dst.o, &opt, ret, err);
	}
	if (r < 0)
		r = settle_doubt(&x, r, ret, err);
	job->own.wrote = r == 0;
	if (r == 0) {
		r = verify(&x, ret, err);
		if (r < 0)
			store_stat_done(ret);
	}
	meta_set_done(&x.meta);
	return r;
}

errint_t move_object(
	struct job *job, const struct move_spec *spec, struct store_stat *ret, struct err *err)
{
	const struct remote *src = remote_of(job->jobs, spec->src_remote);

	job->own.attrs_known = false; /* a copy has the source's */
	if (spec->src_remote == spec->dst_remote && src != NULL && src->caps.copy &&
		src->caps.conditional_copy)
		return copy_inside(job, spec, ret, err);
	struct parts x = {.job = job, .spec = spec};
	errint_t r = transfer(&x, ret, err);

	store_stat_done(&x.from);
	meta_set_done(&x.meta);
	return r;
}

errint_t move_staged(struct job *job, struct stage_file *f, const struct move_spec *spec,
	struct store_stat *ret, struct err *err)
{
	struct parts x = {.job = job, .spec = spec, .staged = f, .ahead = job->own.ahead};
	errint_t r = transfer(&x, ret, err);

	store_stat_done(&x.from);
	meta_set_done(&x.meta);
	return r;
}
