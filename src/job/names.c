/* SPDX-License-Identifier: MIT */
/* Small helpers of the job room: places, write marks. No locks. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

const struct remote *remote_of(struct jobs *j, uint32_t id)
{
	for (size_t i = 0; i < j->conf.nremotes; i++)
		if (j->conf.remotes[i].id == id)
			return &j->conf.remotes[i];
	return NULL;
}

struct remote *job_remote(struct jobs *j, uint32_t id)
{
	for (size_t i = 0; i < j->conf.nremotes; i++)
		if (j->conf.remotes[i].id == id)
			return &j->conf.remotes[i];
	return NULL;
}

errint_t objref_make(
	struct jobs *j, uint32_t remote, const char *path, struct objref *ret, struct err *err)
{
	const struct remote *r = remote_of(j, remote);

	if (r == NULL)
		return err_set(err, -ENODEV, ERR_RETRY,
			"the remote of '%s' is not in the configuration: add it again, or cancel "
			"the job",
			path);
	ret->st = r->st;
	errint_t e = remote_obj(r, path, ret->buf, &ret->o);

	if (e < 0)
		return err_set(
			err, e, ERR_FINAL, "/%s/%s: name too long for the store", r->name, path);
	return 0;
}

const char *class_of(struct jobs *j, uint32_t remote, enum tier t)
{
	const struct remote *r = remote_of(j, remote);

	return r == NULL || t >= TIER_N ? "" : r->classes[t].name;
}

const char *class_online(struct jobs *j, uint32_t remote, enum tier t)
{
	const struct remote *r = remote_of(j, remote);

	if (t >= TIER_ARCHIVE ||
		(r != NULL && (r->classes[t].name[0] == '\0' || r->classes[t].offline)))
		t = TIER_HOT;
	return class_of(j, remote, t);
}

errint_t job_path_ok(struct jobs *j, uint32_t remote, const char *path)
{
	const struct remote *r = remote_of(j, remote);
	size_t len = strlen(path) + (r != NULL ? strlen(r->prefix) : 0);

	if (r == NULL)
		return -ENODEV;
	if (r->bucket[0] == '\0') { /* the first component is the bucket */
		const char *slash = strchr(path, '/');

		if (slash == NULL)
			return len > STORE_BUCKET_MAX ? -ENAMETOOLONG : 0;
		len -= (size_t)(slash - path) + 1;
	}
	if (len > (r->caps.key_max != 0 ? r->caps.key_max : STORE_KEY_MAX))
		return -ENAMETOOLONG;
	if (r->caps.key_bad != NULL && strpbrk(path, r->caps.key_bad) != NULL)
		return -EILSEQ;
	if (r->caps.key_ok != NULL && !r->caps.key_ok(path))
		return -EILSEQ;
	if (r->caps.key_utf8) {
		json_t *text = json_string(path);

		if (text == NULL)
			return -EILSEQ;
		json_decref(text);
	}
	return 0;
}

static bool is_about_file(enum job_kind kind)
{
	return kind == JOB_UPLOAD || kind == JOB_TRANSITION || kind == JOB_RESTORE ||
	       kind == JOB_ATTR;
}

bool job_file(struct jobs *j, enum job_kind kind, uint64_t ino, struct job_file *ret)
{
	struct meta_inode in;
	uint32_t remote = 0;

	if (!is_about_file(kind))
		return false;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	bool named = meta_inode_get(t, ino, &in) == 0 && (in.flags & META_F_ORPHAN) == 0 &&
		     meta_path(t, ino, ret->path, sizeof(ret->path)) == 0;

	if (named && (in.flags & META_F_OBJECT) != 0 &&
		meta_desired(t, ino, &remote, ret->key) == 0 &&
		(remote != in.loc.remote || strcmp(ret->key, in.loc.path) != 0))
		(void)snprintf(ret->key, sizeof(ret->key), "%s", in.loc.path);
	else
		ret->key[0] = '\0';
	meta_abort(t);
	return named;
}

const char *job_words(struct job *job, char ret[JOB_WORDS_MAX])
{
	struct job_file f;

	if (job_file(job->jobs, job->kind, job->ino, &f))
		(void)snprintf(ret, JOB_WORDS_MAX, "'%s'%s%s%s", f.path,
			f.key[0] != '\0' ? " (object '" : "", f.key, f.key[0] != '\0' ? "')" : "");
	else if (job->src[0] != '\0' && job->dst[0] != '\0')
		(void)snprintf(ret, JOB_WORDS_MAX, "'%s' -> '%s'", job->src, job->dst);
	else
		(void)snprintf(
			ret, JOB_WORDS_MAX, "'%s'", job->src[0] != '\0' ? job->src : job->dst);
	return ret;
}

void mark_make(const struct job *job, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%016llx.%llu.%u", (unsigned long long)job->nonce,
		(unsigned long long)(job->of != 0 ? job->of : job->id), job->attempts);
}

enum mark_owner mark_check(const struct job *job, const struct store_stat *st)
{
	const char *m = store_stat_meta(st, STORE_META_WRITE);
	char now[64];

	if (m == NULL)
		return MARK_OTHER;
	mark_make(job, now, sizeof(now));
	if (strcmp(m, now) == 0)
		return MARK_NOW;
	size_t head = (size_t)(strrchr(now, '.') - now) + 1;

	return strncmp(m, now, head) == 0 ? MARK_EARLIER : MARK_OTHER;
}

void call_init(struct store_call *c, struct job *job)
{
	*c = (struct store_call){.cancel = &job->cancel,
		.front = job->task.lane != LANE_BACKGROUND,
		.repeats = &job->repeats};
}

static const char *const kind_names[JOB_KIND_N] = {
	[JOB_UPLOAD] = "upload",
	[JOB_RELOCATE] = "relocate",
	[JOB_REMOVE] = "remove",
	[JOB_DIRMOVE] = "dirmove",
	[JOB_TRANSITION] = "transition",
	[JOB_RESTORE] = "restore",
	[JOB_MARK] = "mark",
	[JOB_UNMARK] = "unmark",
	[JOB_ATTR] = "attr",
	[JOB_EXCHANGE] = "exchange",
	[JOB_LOOK] = "look",
};
static const char *const state_names[JOB_STATE_N] = {
	[JOB_QUEUED] = "queued",
	[JOB_RUNNING] = "running",
	[JOB_VERIFYING] = "verifying",
	[JOB_COMMITTING] = "committing",
	[JOB_CLEANING] = "cleaning",
	[JOB_WAITING] = "waiting",
	[JOB_ROLLING_BACK] = "rolling-back",
	[JOB_DONE] = "done",
	[JOB_FAILED] = "failed",
	[JOB_CANCELLED] = "cancelled",
};

const char *job_kind_name(enum job_kind k)
{
	return k > 0 && k < JOB_KIND_N ? kind_names[k] : "?";
}

const char *job_state_name(enum job_state s)
{
	return s < JOB_STATE_N ? state_names[s] : "?";
}
