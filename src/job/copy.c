/* SPDX-License-Identifier: MIT */
/*
 * Copies inside one cloud: the store copies, no byte comes here. Two ways lead to it, both end in
 * an upload whose body is a copy (upload.c):
 *
 *	job_copy   the bytes are not here, or too many: the caller waits for the store. Until it has
 *		   answered the file is empty, as it was; a kill leaves it so, because the journal's
 *		   record is that of a plain upload, which knows what this one left behind as its
 *own. a twin     the bytes were copied here as well, so the caller was answered at once, and
 *staging remembers which object has the same ones (stage_twin_get). When that object cannot be
 *copied any more the bytes are sent.
 *
 * Either way the source is asked for by its version: another version is not copied.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

struct job_copy {
	struct stage_twin from;
	uint64_t seq; /* of the empty file's staging */
};

static bool store_copies(struct jobs *j, uint32_t remote)
{
	const struct remote *r = remote_of(j, remote);

	return r != NULL && r->caps.copy && r->caps.conditional_copy;
}

static bool is_settled_object(const struct meta_inode *in)
{
	const uint32_t is = META_F_OBJECT | META_F_BASE;
	const uint32_t not = META_F_DIRTY | META_F_ARCHIVED | META_F_RESTORING;

	return in->kind == META_FILE && (in->flags & (is | not )) == is;
}

void job_twin_of(const struct meta_inode *in, struct stage_twin *ret)
{
	static_assert(STAGE_PATH_MAX > META_PATH_MAX && sizeof(ret->etag) == META_ETAG_MAX, "");
	memset(ret, 0, sizeof(*ret));
	if (!is_settled_object(in))
		return;
	ret->remote = in->loc.remote;
	(void)snprintf(ret->path, sizeof(ret->path), "%s", in->loc.path);
	memcpy(ret->etag, in->loc.etag, sizeof(ret->etag));
}

errint_t job_copy(struct jobs *j, struct meta_txn *t, const struct meta_inode *from,
	const struct meta_inode *to, uint64_t seq, uint64_t *ret_job)
{
	char path[META_PATH_MAX + 1];
	uint32_t remote = 0;
	bool busy = false;

	if (!is_settled_object(from) || (to->flags & META_F_DIRTY) == 0 ||
		(to->flags & (META_F_BASE | META_F_ORPHAN)) != 0)
		return -EOPNOTSUPP;
	errint_t r = meta_desired(t, to->ino, &remote, path);

	if (r < 0)
		return r;
	if (remote != from->loc.remote || !store_copies(j, remote) ||
		((to->flags & META_F_OBJECT) != 0 &&
			(to->loc.remote != remote || strcmp(to->loc.path, path) != 0)))
		return -EOPNOTSUPP;
	{
		LOCKED(&j->g.lock);
		busy = graph_last_of(j, from->ino) != NULL || graph_last_of(j, to->ino) != NULL ||
		       graph_claimed(j, remote, from->loc.path, NULL);
	}
	if (busy)
		return -EOPNOTSUPP;
	struct job *job = job_alloc(j, JOB_UPLOAD, to->ino);

	if (job != NULL)
		job->own.copy = calloc(1, sizeof(*job->own.copy));
	if (job == NULL || job->own.copy == NULL || job_set_dst(job, remote, path) < 0 ||
		job_set_src(job, remote, from->loc.path) < 0) {
		job_free(job);
		return -ENOMEM;
	}
	job_twin_of(from, &job->own.copy->from);
	job->own.copy->seq = seq;
	job->own.size = from->size;
	job->g.soon = job->g.copies = true;
	return job_post(j, t, job, ret_job);
}

static errint_t copy_object(struct job *job, const struct stage_twin *from,
	const struct meta_inode *in, const char *etag, struct store_stat *st, struct err *err)
{
	struct move_spec spec = {.src_remote = from->remote,
		.src = from->path,
		.src_etag = from->etag,
		.dst_remote = job->dst_remote,
		.dst = job->dst,
		.if_match = etag[0] != '\0' ? etag : NULL,
		.attrs = in,
		.size = job->own.size,
		.fresh = true};

	upload_class(job, in, &spec);
	return move_object(job, &spec, st, err);
}

bool copy_wanted(struct job *job, struct stage_file *f)
{
	if (job->own.copy != NULL && job->own.copy->seq == stage_seq(f))
		return true;
	copy_drop(job); /* written meanwhile */
	return false;
}

errint_t copy_body(struct job *job, const struct meta_inode *in, const char *etag,
	struct store_stat *st, struct err *err)
{
	return copy_object(job, &job->own.copy->from, in, etag, st, err);
}

void copy_drop(struct job *job)
{
	if (job->own.copy == NULL)
		return;
	free(job->own.copy);
	job->own.copy = NULL;
	{
		LOCKED(&job->jobs->g.lock);
		job->g.copies = false;
	}
	wait_release(job, -EOPNOTSUPP);
}

/* Nothing has happened at the destination, for sure. */
static bool is_plain_no(const struct err *err)
{
	switch (err->kind) {
	case ERR_FINAL:
	case ERR_AUTH:
	case ERR_STALE:
	case ERR_ARCHIVED:
	case ERR_NOT_FOUND:
		return true;
	default:
		return false;
	}
}

/* The caller copies otherwise. What is to be uploaded then is said by the vfs; only an attempt that
 * may have left something is followed up by this job, as a plain upload. */
enum step copy_failed(struct job *job, errint_t r, const struct err *err)
{
	struct jobs *j = job->jobs;

	log_info("job", "'%s' is not copied by its store: %s", job->src, err_text(err, r));
	if (!is_plain_no(err) || r == -EAGAIN || job->attempts > 1) {
		copy_drop(job);
		job->own.wake_mono_ns = clock_mono_ns() + j->conf.upload_delay_ns;
		return STEP_LATER;
	}
	enum step s = job_finish_alone(job, 0, NULL);

	if (s == STEP_DONE && j->conf.hooks.dirty_again != NULL)
		j->conf.hooks.dirty_again(j->conf.hooks.arg, job->ino, 0);
	return s;
}

bool copy_twin(struct job *job, const struct meta_inode *in, struct stage_file *f, const char *etag,
	struct store_stat *st, struct err *err, errint_t *ret)
{
	struct stage_twin twin;

	if (!stage_twin_get(f, &twin) || twin.remote != job->dst_remote ||
		!store_copies(job->jobs, twin.remote))
		return false;
	*ret = copy_object(job, &twin, in, etag, st, err);
	if (*ret == 0 || *ret == -EAGAIN || !is_plain_no(err))
		return true;
	log_info("job", "'%s' is not copied by its store: %s", twin.path, err_text(err, *ret));
	err_clear(err);
	return false;
}
