/* SPDX-License-Identifier: MIT */
/*
 * A file to another key of its bucket in one step, where the store has that: nothing is copied, and
 * nobody sees both keys or neither.
 *
 * The object keeps its write mark, so no mark tells that it was done. Its version does, which stays
 * as well: it was done when the version that the row names is at the destination, and not at the
 * source any more. Where an account changes versions all the same, the bytes tell.
 *
 * For the same reason versions come back: a file that goes to b and back again has at its old key
 * the very version that it had there, and a request that was sent before, and takes effect late
 * (late.c), would take it to b once more. So where such a request may be under way no file is
 * renamed, but copied, which gives it another version; and a job that has asked for one is not
 * taken back before that time is over.
 */
#include <string.h>

#include "job_priv.h"

static bool may(struct jobs *j, uint32_t src_remote, uint32_t dst_remote)
{
	const struct remote *r = src_remote == dst_remote ? remote_of(j, src_remote) : NULL;
	struct store_caps caps;

	if (r == NULL)
		return false;
	store_caps(r->st, &caps); /* as they are by now: a driver may have to ask */
	return caps.rename;
}

/* What the rows say of versions must not be older, after a power cut, than what is done. */
static errint_t rows_durable(struct job *job, struct err *err)
{
	struct meta *m = job->jobs->conf.meta;

	return meta_synced(m) < job->own.rename_txn ? meta_sync(m, err) : 0;
}

static errint_t try_rename(
	struct job *job, const struct move_spec *spec, struct store_stat *ret, struct err *err)
{
	struct objref src, dst;
	struct store_call call;
	struct store_rename opt = {.src_if_match = spec->src_etag,
		.dst_if_match = spec->if_match,
		.dst_if_none_match = spec->if_match == NULL ? STORE_IF_ABSENT : NULL};

	/* Who reads it goes on at its old key, so long. */
	if (clock_mono_ns() < atomic_load(&job->jobs->copies_until_ns) ||
		spec->src_etag[0] == '\0' || !may(job->jobs, spec->src_remote, spec->dst_remote) ||
		job_is_read(job, spec->src_remote, spec->src, spec->src_etag))
		return -EOPNOTSUPP;
	errint_t r = objref_make(job->jobs, spec->src_remote, spec->src, &src, err);

	if (r == 0)
		r = objref_make(job->jobs, spec->dst_remote, spec->dst, &dst, err);
	if (r == 0 && strcmp(src.o.bucket, dst.o.bucket) != 0)
		return -EOPNOTSUPP;
	if (r == 0)
		r = rows_durable(job, err);
	if (r < 0)
		return r;
	call_init(&call, job);
	job_state_set(job, JOB_COMMITTING);
	r = store_rename(src.st, &call, src.o, dst.o, &opt, ret, err);
	if (r == -EEXIST) /* maybe a copy of ours: who copies knows that by its mark */
		r = -EOPNOTSUPP;
	return r;
}

/* 1: what the row names is at the destination, *ret. 0: it is not. */
static errint_t has_arrived(
	struct job *job, const struct move_spec *spec, struct store_stat *ret, struct err *err)
{
	struct store_stat src = {0};
	errint_t r = object_look(job, spec->dst_remote, spec->dst, ret, err);

	if (r <= 0)
		return r;
	bool same = strcmp(ret->etag, spec->src_etag) == 0;

	if (same || row_same_bytes(job, spec->attrs, ret)) {
		r = object_look(job, spec->src_remote, spec->src, &src, err);
		if (r == 0 || (r > 0 && same && strcmp(src.etag, spec->src_etag) != 0)) {
			store_stat_done(&src);
			return 1;
		}
		store_stat_done(&src);
	}
	store_stat_done(ret);
	return MIN_OF(r, 0);
}

errint_t rename_settle(struct job *job, const struct move_spec *spec, errint_t r,
	struct store_stat *ret, struct err *err)
{
	bool unknown = err->kind == ERR_UNKNOWN;
	struct err why = {0};

	if (!may(job->jobs, spec->src_remote, spec->dst_remote) || job_untried(job) ||
		(!unknown && err->kind != ERR_STALE && err->kind != ERR_NOT_FOUND &&
			err->kind != ERR_CANCELLED))
		return r;
	errint_t h = has_arrived(job, spec, ret, &why);

	if (h > 0) {
		job_state_set(
			job, JOB_COMMITTING); /* which was done before, maybe by another run */
		job_state_set(job, JOB_VERIFYING);
		err_clear(err);
		return 0;
	}
	if (h < 0 && !unknown) {
		*err = why; /* nothing follows from what it said, as long as that is not known */
		return h;
	}
	if (unknown) {
		job->own.rename_until_ns = clock_mono_ns() + late_ns(job->jobs);
		atomic_store(&job->jobs->copies_until_ns, job->own.rename_until_ns);
		return err_set(err, -EIO, ERR_RETRY, "the answer to a rename was lost");
	}
	return r;
}

errint_t relocate_object(struct job *job, const struct move_spec *spec, bool *ret_renamed,
	struct store_stat *ret, struct err *err)
{
	struct move_spec with = *spec;
	errint_t r = try_rename(job, spec, ret, err);

	*ret_renamed = r == 0;
	job->own.attrs_known = false; /* it has those that it had */
	if (r == -EOPNOTSUPP) {
		err_clear(err);
		r = row_has_object_size(spec->attrs)
			    ? 0
			    : object_size(job, &spec->attrs->loc, &with.size, err);
		if (r == 0)
			r = move_object(job, &with, ret, err);
		if (r == 0)
			return 0;
	}
	if (r == 0)
		return 0;
	r = rename_settle(job, spec, r, ret, err);
	*ret_renamed = r == 0;
	return r;
}

bool rename_is_at(struct job *job, const struct store_stat *st)
{
	return job->kind == JOB_RELOCATE && job->own.etag[0] != '\0' &&
	       strcmp(st->etag, job->own.etag) == 0 &&
	       may(job->jobs, job->src_remote, job->dst_remote);
}

bool rename_asked(const struct job *job)
{
	return job->own.before != 0 || job->own.rename_until_ns != 0;
}

bool rename_hides(const struct job *job)
{
	return rename_asked(job) && may(job->jobs, job->src_remote, job->dst_remote);
}

bool rename_waits(struct job *job)
{
	int64_t until = job->own.rename_until_ns, now = clock_mono_ns();

	if (job->own.before != 0)
		until = MAX_OF(until, job->jobs->opened_ns + late_ns(job->jobs));
	if (now >= until || !may(job->jobs, job->src_remote, job->dst_remote))
		return false;
	job_note(job, "a rename that was asked for may take effect yet");
	job->own.wake_mono_ns = until;
	return true;
}
