/* SPDX-License-Identifier: MIT */
/*
 * Jobs that are to be tried again because somebody says so. One that lives goes on at once. One
 * that ended without its deed is in no journal any more: where the file still needs it, a new job
 * is posted. What was taken back has its old name, and only who gave it the new one can want that
 * again.
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

static errint_t no(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static errint_t no(struct err *err, const char *fmt, ...)
{
	char why[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(err, -EINVAL, ERR_FINAL, "%s", why);
}

/* It is not a job's to rename. */
static errint_t moved_no(struct meta_txn *t, const struct job_info *i, struct err *err)
{
	char path[META_PATH_MAX + 66];
	size_t len = meta_path(t, i->ino, path, sizeof(path)) == 0 ? strlen(path) : 0;

	if (i->kind != JOB_EXCHANGE && len != 0 && strncmp(path, i->dst, len) == 0 &&
		(i->dst[len] == '\0' || i->dst[len] == '/'))
		return no(err,
			"what it moved is there; what could not be removed at %.180s is a "
			"file of its own: remove that",
			i->src);
	return no(err, "what could not follow has its old name again: move that anew");
}

static errint_t upload_again(
	struct jobs *j, struct meta_txn *t, const struct meta_inode *in, struct err *err)
{
	if ((in->flags & META_F_DIRTY) == 0)
		return no(err, "the file has been uploaded since");
	return job_upload(j, t, in->ino, true);
}

static errint_t tier_again(struct jobs *j, struct meta_txn *t, const struct meta_inode *in,
	const struct job_info *i, struct err *err)
{
	uint64_t id = 0;

	if ((in->flags & META_F_DIRTY) != 0)
		return no(err, "the file was changed since, and is uploaded first: set its tier "
			       "again when it is");
	if ((in->flags & META_F_PINNED) != 0 && (enum tier)in->forced_tier != i->tier)
		return no(err, "the file is pinned to %s since",
			tier_name((enum tier)in->forced_tier));
	errint_t r = job_tier(j, t, in, i->tier, i->by_engine, &id, err);

	return r == 0 && id == 0 ? no(err, "the file is in %s", tier_name(i->tier)) : r;
}

static errint_t restore_again(struct jobs *j, struct meta_txn *t, const struct meta_inode *in,
	unsigned days, struct err *err)
{
	bool readable =
		(in->flags & META_F_ARCHIVED) == 0 && in->restored_until_ns > clock_now_ns();
	uint64_t id = 0;
	errint_t r = readable ? 0 : job_restore(j, t, in, days, &id, err);

	return r == 0 && id == 0 ? no(err, "the file can be read") : r;
}

/* The same for what the row says now. */
static errint_t again(struct jobs *j, struct meta_txn *t, const struct job_info *i, unsigned days,
	struct err *err)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, i->ino, &in);

	if (i->kind == JOB_REMOVE || i->kind == JOB_UNMARK)
		return no(err, "what it could not remove shows up again: remove that");
	if (r == -ENOENT || (r == 0 && (in.flags & META_F_ORPHAN) != 0))
		return no(err, "the file has been removed");
	if (r < 0)
		return err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	switch (i->kind) {
	case JOB_UPLOAD:
		return upload_again(j, t, &in, err);
	case JOB_TRANSITION:
		return tier_again(j, t, &in, i, err);
	case JOB_RESTORE:
		return restore_again(j, t, &in, days, err);
	case JOB_ATTR:
		return job_attr(j, t, &in);
	case JOB_MARK:
		return job_emptied_dir(j, t, i->ino);
	default:
		return moved_no(t, i, err);
	}
}

/* *ret_id is the last job of ino behind `after`; 0 = nothing was posted. */
static uint64_t newest(struct jobs *j, uint64_t ino, uint64_t after)
{
	LOCKED(&j->g.lock);
	struct job *job = graph_last_of(j, ino);

	return job != NULL && job->id > after ? job->id : 0;
}

static errint_t ended_again(
	struct jobs *j, const struct job_info *i, unsigned days, uint64_t *ret_id, struct err *err)
{
	if (i->state == JOB_DONE)
		return no(err, "it is done");
	if (j->conf.ro)
		return err_set(err, -EROFS, ERR_FINAL, "the mount is read-only");
	struct meta_txn *t = meta_begin(j->conf.meta);
	errint_t r = again(j, t, i, days, err);

	if (r < 0) {
		meta_abort(t);
		return r;
	}
	r = meta_commit(t);
	if (r < 0)
		return err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	*ret_id = newest(j, i->ino, i->id);
	if (*ret_id == 0)
		return no(err, "there is nothing left to do for it");
	return 0;
}

errint_t job_retry(struct jobs *j, uint64_t id, uint64_t *ret_id, struct err *err)
{
	struct job *job = NULL;
	struct ended *e = NULL;
	struct job_info i;
	unsigned days = 0;

	*ret_id = id;
	lock_take(&j->g.lock);
	HASH_FIND(hh, j->g.by_id, &id, sizeof(id), job);
	if (job != NULL) {
		job->g.pressed = true;
		job->g.archived = job->g.outside = false; /* it looks again */
		sched_hurry_locked(j, job);
	}
	TAILQ_FOREACH (e, &j->g.ended, link)
		if (e->info.id == id)
			break;
	if (e != NULL) {
		i = e->info;
		days = e->days;
	}
	lock_drop(&j->g.lock);
	if (job != NULL)
		sched_pump(j);
	else if (e != NULL)
		return ended_again(j, &i, days, ret_id, err);
	else
		return err_set(err, -ENOENT, ERR_NOT_FOUND,
			"it is not known, or ended too long ago to be remembered");
	return 0;
}
