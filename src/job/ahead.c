/* SPDX-License-Identifier: MIT */
/*
 * Uploads that begin while their file is still written. Of a large new file the parts that are
 * written go up at once, side by side, so that its close begins with most of it sent. The job
 * sleeps for a moment when there is nothing more, and makes an end when nobody writes any more, or
 * somebody waits: what was changed since it was sent is sent again (stage_span_seq), the rest
 * follows, and the commit is that of any upload. Nobody sees anything before.
 *
 * A part that fails is tried again by the next step, of which the others need nothing. Where what
 * was sent is of no use any more (the file was cut short, the store has lost it) it begins anew, as
 * soon as the file is large enough: nobody is to see half of a file because of that. What such an
 * upload sent is forgotten when the process ends; the record names it, and the next run ends it.
 *
 * It is bound to its key: files whose names say that they are temporary do not get one, and neither
 * do changes of an object, of which the parts that stay are copied by the cloud.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "move_priv.h"

#define AHEAD_MIN (UINT64_C(64) << 20)
#define REST_NS	  (30 * NS_PER_MS) /* a fast writer has a few more parts by then */
#define IDLE_NS	  (30 * NS_PER_S)  /* nothing more to send for so long: the end */
#define AGE_NS	  (600 * NS_PER_S) /* its bytes are to be in the cloud at some time */

static const char *const temp_names[] = {
	".*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.download"};

bool job_name_is_temp(const char *path)
{
	const char *slash = strrchr(path, '/');

	for (size_t i = 0; i < ARRAY_SIZE(temp_names); i++)
		if (fnmatch(temp_names[i], slash != NULL ? slash + 1 : path, FNM_CASEFOLD) == 0)
			return true;
	return false;
}

static bool suits(struct jobs *j, const struct meta_inode *in, uint32_t remote, const char *path)
{
	const struct remote *r = remote_of(j, remote);

	return in->kind == META_FILE && (in->flags & (META_F_BASE | META_F_ORPHAN)) == 0 &&
	       r != NULL && r->real && r->caps.parts_max != 1 && !job_name_is_temp(path);
}

uint64_t job_ahead_min(const struct jobs *j)
{
	return j->conf.ahead_min != 0 ? j->conf.ahead_min : AHEAD_MIN;
}

bool job_goes_ahead(struct jobs *j, uint64_t ino)
{
	char path[META_PATH_MAX + 1];
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	struct meta_inode in;
	uint32_t remote = 0;
	bool may = meta_inode_get(t, ino, &in) == 0 && meta_desired(t, ino, &remote, path) == 0 &&
		   suits(j, &in, remote, path);

	meta_abort(t);
	return may;
}

bool is_written(const struct job *job)
{
	const struct job_hooks *h = &job->jobs->conf.hooks;

	return h->is_written != NULL && h->is_written(h->arg, job->ino);
}

void ahead_drop(struct job *job)
{
	struct ahead *a = job->own.ahead;

	job->own.ahead = NULL;
	if (a == NULL)
		return;
	{
		LOCKED(&job->jobs->g.lock);
		job->g.ahead = false;
	}
	ahead_free(a);
}

void ahead_free(struct ahead *a)
{
	if (a == NULL)
		return;
	stage_put(a->f);
	free(a->parts);
	free(a->sums);
	free(a);
}

/* False: it is sent when it is due, as others. */
static bool start(struct job *job, const struct meta_inode *in, struct stage_file *f)
{
	if (job->attempts != 0 || job->own.copy != NULL || job->victim != 0 ||
		stage_size(f) < job_ahead_min(job->jobs) ||
		!suits(job->jobs, in, job->dst_remote, job->dst) || !is_written(job) ||
		stage_spans_watch(f) < 0)
		return false;
	unsigned most = remote_of(job->jobs, job->dst_remote)->caps.parts_max;
	struct ahead *a = calloc(1, sizeof(*a));
	LOCKED(&job->jobs->g.lock);

	if (a == NULL || job->g.soon || job->g.ndependents != 0) {
		free(a);
		return false;
	}
	a->f = stage_ref(f);
	a->most = most != 0 ? MIN_OF(most, STORE_PARTS_MAX + 0u) : STORE_PARTS_MAX;
	a->since_ns = a->sent_ns = clock_mono_ns();
	job->own.ahead = a;
	job->g.ahead = true;
	return true;
}

/* From here on what is written comes too late for it. */
static bool ends(struct job *job)
{
	struct ahead *a = job->own.ahead;
	int64_t now = clock_mono_ns();
	int64_t idle = job->jobs->conf.ahead_idle_ns;
	bool over = a->last || now - a->sent_ns > (idle != 0 ? idle : IDLE_NS) ||
		    now - a->since_ns > AGE_NS || atomic_load(&job->cancel) ||
		    cache_is_full(job->jobs) || !is_written(job);
	LOCKED(&job->jobs->g.lock);

	a->last = over || job->g.soon || job->g.ndependents != 0;
	job->g.ahead = !a->last;
	return a->last;
}

/* It is an upload like others after all; also where it has more parts than the store takes, which
 * need to be larger. */
static bool is_over(const struct job *job, const struct meta_inode *in, uint64_t size)
{
	const struct ahead *a = job->own.ahead;
	const struct remote *r = remote_of(job->jobs, job->dst_remote);

	if ((in->flags & META_F_BASE) != 0 || job->own.copy != NULL || r == NULL)
		return true;
	return a->begun && a->last && (size + a->part_size - 1) / a->part_size > a->most;
}

/* What was sent is of no use for what is to be sent. */
static bool is_in_vain(const struct ahead *a, uint64_t size)
{
	return a->begun &&
	       (size <= JOB_PART_SIZE || a->n > (size + a->part_size - 1) / a->part_size);
}

/* The next step ends what was begun. */
static void anew(struct ahead *a)
{
	a->begun = false;
	a->part_size = 0;
	a->n = 0;
}

/* What of a file that is still written can be sent: whole parts, but for the last of them. */
uint64_t ahead_written(const struct ahead *a, uint64_t size, uint64_t part_size)
{
	uint64_t whole = size / part_size, n = whole - MIN_OF(whole, UINT64_C(1));

	return MIN_OF(n, (uint64_t)a->most) * part_size;
}

/* Whatever has come since, also during a step of minutes, was no pause. */
static bool has_more(struct job *job, uint64_t size)
{
	struct ahead *a = job->own.ahead;
	bool more = !a->begun && size >= job_ahead_min(job->jobs);
	uint64_t n = a->begun ? ahead_written(a, size, a->part_size) / a->part_size : 0;

	for (uint64_t i = 0; i < n && !more; i++)
		more = i >= a->n || !a->sums[i].there;
	if (more)
		a->sent_ns = clock_mono_ns();
	return more;
}

enum ahead_turn ahead_turn(struct job *job, const struct meta_inode *in, struct stage_file *f)
{
	if (job->own.ahead == NULL && !start(job, in, f))
		return AHEAD_NOT;
	(void)has_more(job, stage_size(f));
	bool last = ends(job);

	job->own.seq = stage_seq(f);
	uint64_t size = job->own.size = stage_size(f);

	if (is_over(job, in, size) || stage_spans_watch(f) < 0) {
		ahead_drop(job);
		return AHEAD_AGAIN;
	}
	if (is_in_vain(job->own.ahead, size)) {
		anew(job->own.ahead);
		return AHEAD_AGAIN;
	}
	if (last)
		return AHEAD_LAST;
	job_note(job, "sent while it is written");
	return has_more(job, size) ? AHEAD_MORE : AHEAD_REST;
}

bool ahead_goes_on(const struct job *job)
{
	return job->own.ahead != NULL && job->own.ahead->begun;
}

enum step ahead_rest(struct job *job)
{
	if (job->own.tries != 0) /* it goes: the next failure is a first one */
		job->own.tries = 0;
	job->own.wake_mono_ns = clock_mono_ns() + REST_NS;
	return STEP_LATER;
}

errint_t ahead_fit(struct ahead *a, unsigned n)
{
	if (n <= a->n)
		return 0;
	if (n > a->cap) {
		unsigned cap = MAX_OF(n, a->cap * 2);
		void *parts = reallocarray(a->parts, cap, sizeof(*a->parts));

		if (parts != NULL)
			a->parts = parts;
		void *sums = parts == NULL ? NULL : reallocarray(a->sums, cap, sizeof(*a->sums));

		if (sums == NULL)
			return -ENOMEM;
		a->sums = sums;
		a->cap = cap;
	}
	memset(&a->parts[a->n], 0, (n - a->n) * sizeof(*a->parts));
	memset(&a->sums[a->n], 0, (n - a->n) * sizeof(*a->sums));
	a->n = n;
	return 0;
}

bool ahead_meta_stays(const struct parts *x)
{
	const struct remote *r = remote_of(x->job->jobs, x->spec->dst_remote);

	return r != NULL && r->caps.meta_at_begin;
}

bool ahead_keeps(struct parts *x, errint_t r, const struct err *err)
{
	if (x->ahead == NULL || x->sent || r == 0 || err_is_final(r, err) ||
		atomic_load(&x->job->cancel))
		return false;
	if (atomic_load(&x->gone))
		anew(x->ahead);
	return true;
}
