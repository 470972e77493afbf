/* SPDX-License-Identifier: MIT */
/*
 * An upload meets an object that is not the one it was based on. Theirs keeps the name, ours
 * becomes NAME.conflict-HOST-TIME, open handles follow ours. Somebody else who writes the same name
 * all the time (two machines that append to one log) would leave a copy at each close: after a few
 * within an hour nothing more is committed, the staged content stays, and the file says so, until
 * the hour is over, or it gets another name.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "job_priv.h"

#define HOUR_NS (3600 * NS_PER_S)

/* name.conflict-HOST-TIME, cut so that it fits. */
static void conflict_name(const struct jobs *j, const char *name, char ret[META_NAME_MAX + 1])
{
	char tail[128], when[32];
	time_t now = (time_t)(clock_now_ns() / NS_PER_S);
	struct tm tm;

	(void)gmtime_r(&now, &tm);
	(void)strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	(void)snprintf(tail, sizeof(tail), ".conflict-%s-%s", j->conf.host, when);
	(void)snprintf(
		ret, META_NAME_MAX + 1, "%.*s%s", (int)(META_NAME_MAX - strlen(tail)), name, tail);
}

/* Enters a conflict of a name; 0, or how long it is to be left alone because it has had its share.
 * The names are few: of too many the one that was quiet for longest is forgotten. stopped: it had
 * had its share before a remount. */
static int64_t share_take(struct jobs *j, uint64_t parent, const char *name, bool stopped)
{
	uint64_t hash = hash64(name, strlen(name), parent);
	int64_t now = clock_mono_ns();
	struct quarrel *q = NULL, *old = &j->g.quarrels[0];
	LOCKED(&j->g.lock);

	for (unsigned i = 0; i < JOB_QUARRELS && q == NULL; i++) {
		struct quarrel *at = &j->g.quarrels[i];

		if (at->hash == hash)
			q = at;
		if (at->at_ns[0] < old->at_ns[0])
			old = at;
	}
	if (q == NULL) {
		q = old;
		*q = (struct quarrel){.hash = hash};
		for (unsigned i = 0; i < JOB_QUARREL_MAX && stopped; i++)
			q->at_ns[i] = now;
	}
	/* at_ns[0] is the newest. */
	int64_t oldest = q->at_ns[JOB_QUARREL_MAX - 1];

	if (oldest != 0 && now - oldest < HOUR_NS)
		return oldest + HOUR_NS - now;
	memmove(&q->at_ns[1], &q->at_ns[0], (JOB_QUARREL_MAX - 1) * sizeof(q->at_ns[0]));
	q->at_ns[0] = now;
	return 0;
}

static enum step stop(struct job *job, struct meta_txn *t, struct meta_inode *in, int64_t pause_ns)
{
	struct jobs *j = job->jobs;

	in->flags |= META_F_FAILED | META_F_CONFLICT;
	(void)snprintf(in->last_error, sizeof(in->last_error),
		"somebody else keeps changing it: ours waits here for %lld minutes, or for another "
		"name",
		(long long)(pause_ns / (60 * NS_PER_S)) + 1);
	(void)meta_inode_put(t, in);
	job->own.result = -ESTALE;
	(void)snprintf(job->own.why, sizeof(job->own.why), "%s", in->last_error);
	enum step s = job_finish(job, t);

	if (s == STEP_DONE)
		j->conf.hooks.dirty_again(j->conf.hooks.arg, job->ino, pause_ns);
	return s;
}

/* Ours gets the other name, a row for theirs the old one; st is their object. */
static enum step give_way(
	struct job *job, struct meta_txn *t, struct meta_inode *in, const struct store_stat *st)
{
	struct jobs *j = job->jobs;
	struct meta_inode theirs = {.kind = META_FILE};
	char name[META_NAME_MAX + 1], old[META_NAME_MAX + 1];
	uint64_t parent = in->parent;

	(void)snprintf(old, sizeof(old), "%s", in->name);
	conflict_name(j, in->name, name);
	in->flags &= ~(uint32_t)META_F_CONFLICT;
	if (in->loc.remote == job->dst_remote && strcmp(in->loc.path, job->dst) == 0) {
		in->flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
		in->loc = (struct meta_loc){0};
		in->has_crc32c = false;
	}
	(void)meta_move(t, in, parent, name);
	theirs.ino = meta_ino_next(t);
	theirs.mode = S_IFREG | (0666 & ~j->conf.umask);
	theirs.uid = j->conf.uid;
	theirs.gid = j->conf.gid;
	theirs.flags = META_F_OBJECT | META_F_BASE | META_F_FOREIGN;
	theirs.size = st->size;
	theirs.atime_ns = theirs.mtime_ns = theirs.ctime_ns = theirs.btime_ns = st->mtime_ns;
	job_loc_set(&theirs, j, job->dst_remote, job->dst, st);
	(void)meta_link(t, &theirs, parent, old);
	count_inc(job_conflicts);
	job->own.result = -ESTALE;
	(void)snprintf(job->own.why, sizeof(job->own.why),
		"the object was changed by somebody else: theirs keeps the name, ours is now "
		"'%.100s'",
		name);
	enum step s = job_finish(job, t);

	if (s != STEP_DONE)
		return s;
	j->conf.hooks.entry_changed(j->conf.hooks.arg, parent, old);
	j->conf.hooks.entry_changed(j->conf.hooks.arg, parent, name);
	j->conf.hooks.dirty_again(j->conf.hooks.arg, job->ino, 0);
	return STEP_DONE;
}

static errint_t look(struct job *job, struct store_stat *st, struct err *err)
{
	struct objref o;
	struct store_call call;
	errint_t r = objref_make(job->jobs, job->dst_remote, job->dst, &o, err);

	call_init(&call, job);
	return r < 0 ? r : store_head(o.st, &call, o.o, st, err);
}

int upload_as_expected(struct job *job, const char *etag, struct err *err)
{
	struct store_stat st = {0};
	errint_t r = look(job, &st, err);
	bool there = r == 0;

	if (r < 0 && err->kind == ERR_NOT_FOUND)
		r = 0;
	bool as = there ? strcmp(st.etag, etag) == 0 : etag[0] == '\0';

	store_stat_done(&st);
	return r < 0 ? r : as;
}

/* Somebody removed what was to be overwritten: the key is free, and the next attempt says so. Bytes
 * of it that nobody else has are lost, which that attempt finds out. */
static enum step removed_outside(struct job *job)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(job->jobs->conf.meta);

	if (meta_inode_get(t, job->ino, &in) == 0 && (in.flags & META_F_OBJECT) != 0 &&
		in.loc.remote == job->dst_remote && strcmp(in.loc.path, job->dst) == 0) {
		in.flags &= ~(uint32_t)(META_F_OBJECT | META_F_BASE);
		in.has_crc32c = false;
		(void)meta_inode_put(t, &in);
	}
	job_victim_gone(job, t);
	job->own.dst_etag[0] = '\0';
	errint_t r = meta_commit(t);

	return job_trouble(job, r < 0 ? r : -EAGAIN, &(struct err){.kind = ERR_RETRY});
}

/* 1: the bytes there are those that the row knows: nobody's work is overwritten. */
static int said_otherwise(struct job *job, struct err *err)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	bool here = meta_inode_get(t, job->ino, &in) == 0 && in.loc.remote == job->dst_remote &&
		    strcmp(in.loc.path, job->dst) == 0;

	meta_abort(t);
	int r = here ? row_follow(job, &in, err) : 0;

	if (r > 0)
		job->own.dst_etag[0] = '\0';
	return r;
}

enum step upload_conflict(struct job *job)
{
	struct jobs *j = job->jobs;
	struct meta_inode in;
	struct store_stat st = {0};
	struct err err = {0};
	char path[META_PATH_MAX + 1];
	uint32_t remote = 0;
	enum step s;
	errint_t r = look(job, &st, &err);

	if (r < 0 && err.kind == ERR_NOT_FOUND)
		return removed_outside(job);
	if (r == 0)
		r = said_otherwise(job, &err);
	if (r != 0) {
		store_stat_done(&st);
		return r > 0 ? STEP_AGAIN : upload_failed(job, r, &err);
	}
	struct meta_txn *t = meta_begin(j->conf.meta);

	r = meta_inode_get(t, job->ino, &in);
	if (r < 0 || (in.flags & META_F_ORPHAN) != 0) {
		meta_abort(t);
		s = job_finish_alone(job, 0, NULL);
	} else if (meta_desired(t, job->ino, &remote, path) < 0 || remote != job->dst_remote ||
		   strcmp(path, job->dst) != 0) {
		/* Renamed meanwhile: its content goes elsewhere, and the key is theirs alone. */
		meta_abort(t);
		s = job_finish_alone(job, 0, NULL);
		if (s == STEP_DONE)
			j->conf.hooks.dirty_again(j->conf.hooks.arg, job->ino, 0);
	} else if (strstr(in.name, ".conflict-") != NULL || j->conf.conflict_overwrite) {
		/* a conflict copy makes no further copy: it overwrites */
		(void)snprintf(job->own.dst_etag, sizeof(job->own.dst_etag), "%s", st.etag);
		meta_abort(t);
		s = STEP_AGAIN;
	} else {
		int64_t pause_ns =
			share_take(j, in.parent, in.name, (in.flags & META_F_CONFLICT) != 0);

		s = pause_ns != 0 ? stop(job, t, &in, pause_ns) : give_way(job, t, &in, &st);
	}
	store_stat_done(&st);
	return s;
}
