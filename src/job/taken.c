/* SPDX-License-Identifier: MIT */
/*
 * Stores that keep objects as files have no place for an object where they have a directory with
 * something in it (-EISDIR), nor below what is an object (-ENOTDIR). What is in the way may be
 * ours, and on its way out of there: that is waited for. What others put there is not: after some
 * time the refusal is as any other.
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define LOOK_MIN_NS (200 * NS_PER_MS)
#define LOOK_MAX_NS (2 * NS_PER_S)
/* No job of ours waits for another that long, whatever waits for whom. */
#define OURS_MAX_NS (600 * NS_PER_S)

static uint32_t place_of(const struct job *job, const char **ret)
{
	bool dst = job->dst_remote != 0;

	*ret = dst ? job->dst : job->src;
	return dst ? job->dst_remote : job->src_remote;
}

static bool writes(const struct job *job)
{
	return job->kind != JOB_REMOVE && job->kind != JOB_UNMARK && job->kind != JOB_LOOK;
}

static bool is_refusal(const struct job *job, errint_t r, const struct err *err)
{
	return (r == -EISDIR || r == -ENOTDIR) && err->kind == ERR_FINAL && writes(job) &&
	       job->own.follow_until_ns == 0;
}

/* Others who gave up log it themselves. A file that is tried again now and then is told once. */
static void tell(struct job *job, errint_t r, const struct err *err)
{
	const struct remote *remote = NULL;
	const char *path = NULL;

	if (job->own.told ||
		(job->kind != JOB_UPLOAD && job->kind != JOB_RELOCATE && job->kind != JOB_MARK))
		return;
	remote = remote_of(job->jobs, place_of(job, &path));
	job->own.told = true;
	if (setback_is(job->jobs, job->ino))
		return;
	log_warn("job", "remote %s: there is no place for '%s': %s; %s%s",
		remote != NULL ? remote->name : "?", path, err_text(err, r),
		job->kind == JOB_UPLOAD ? "what it is to hold stays here, and is tried again: "
					: "",
		r == -EISDIR
			? "rename it, or remove what the directory of that name has in it there"
			: "rename it, or remove the object there that its path goes through");
}

bool taken_waits(struct job *job, errint_t r, const struct err *err)
{
	int64_t now = clock_mono_ns(), after = 0;
	const char *path = NULL;
	bool ours = false;

	if (!is_refusal(job, r, err))
		return false;
	uint32_t remote = place_of(job, &path);

	if (job->own.taken_ns == 0)
		job->own.taken_ns = now;
	{
		LOCKED(&job->jobs->g.lock);
		ours = graph_leaves(job->jobs, job, remote, path, r == -ENOTDIR);
	}
	/* One that has failed before has had its time: whoever waits for this try is told at once.
	 */
	if (ours && now - job->own.taken_ns < OURS_MAX_NS)
		job->own.taken_until_ns = now + job_follow_ns(job->jobs, r);
	else if (job->own.taken_until_ns == 0)
		job->own.taken_until_ns =
			now + (setback_is(job->jobs, job->ino) ? 0 : job_follow_ns(job->jobs, r));
	if (now >= job->own.taken_until_ns) {
		tell(job, r, err);
		return false;
	}
	if (ours)
		job_note(job, "what is at its place goes first: %s", err_text(err, r));
	else
		job_note(job, "its place is taken there, and it is tried for %lld s more: %s",
			(long long)((job->own.taken_until_ns - now) / NS_PER_S), err_text(err, r));
	(void)atomic_fetch_add(&job->repeats, 1);
	after = MIN_OF(MAX_OF((now - job->own.taken_ns) / 2, LOOK_MIN_NS), LOOK_MAX_NS);
	job->own.wake_mono_ns = MIN_OF(now + after, job->own.taken_until_ns);
	return true;
}
