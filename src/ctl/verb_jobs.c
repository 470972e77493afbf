/* SPDX-License-Identifier: MIT */
/*
 * Verbs about jobs, and about the index of the live mount.
 */
#include "ctl_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define LIST_MAX  1000 /* jobs in one answer */
#define POLL_MS	  30
#define PULSE_MS  200
#define IDS_MAX	  1000
#define CANCEL_MS 2000 /* so long one that was cancelled may take to end */

/* ---- list ---- */

struct list {
	struct ctl_conn *c;
	json_t *array;
	bool live_only;
	uint64_t ended_max, ended; /* so many of those that ended */
	uint64_t more;
};

static int on_job(void *arg, const struct job_info *i)
{
	struct list *l = arg;

	if (i->ended_ns && (l->live_only || l->ended++ == l->ended_max))
		return 1;
	if (json_array_size(l->array) >= LIST_MAX)
		l->more++;
	else
		(void)json_array_append_new(l->array, item_job(l->c, i));
	return 0;
}

errint_t verb_jobs(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	struct list l = {.c = c,
		.array = json_array(),
		.live_only = json_is_true(json_object_get(req, "live")),
		.ended_max = UINT64_MAX};
	struct jobs_stat js;
	errint_t r = 0;

	if (!l.array)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (json_object_get(req, "ended"))
		r = ctl_u64(req, "ended", 0, UINT32_MAX, &l.ended_max, err);
	if (r) {
		json_decref(l.array);
		return r;
	}
	job_each(c->ctl->conf.jobs, on_job, &l);
	jobs_stat(c->ctl->conf.jobs, &js);
	*ret_data = json_pack("{s:o, s:I, s:o}", "jobs", l.array, "more", (json_int_t)l.more,
		"stat", item_jobs_stat(&js));
	return *ret_data ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

/* ---- wait ---- */

struct wait_ids {
	uint64_t id[IDS_MAX];
	unsigned n;
	uint64_t ino; /* or: all jobs of this inode; id[0]: one of them that may have ended */
	bool all;
	uint64_t asked; /* of ino: the one that is to end; 0 = none */
	bool archived;	/* the last of ino waits for a restore, as note says */
	bool parked;	/* of all: those that are left go on when somebody does something */
	char note[sizeof(((struct job_info *)NULL)->note)];
	uint64_t failed_before; /* or cancelled */
	struct job_info info;
};

static errint_t ids_of(const json_t *req, struct wait_ids *w, struct err *err)
{
	const json_t *ids = json_object_get(req, "ids"), *v;
	size_t i;

	if (json_array_size(ids) > IDS_MAX)
		return err_set(err, -E2BIG, ERR_FINAL, "more than %d jobs", IDS_MAX);
	json_array_foreach (ids, i, v) {
		if (!json_is_integer(v) || json_integer_value(v) <= 0)
			return err_set(err, -EINVAL, ERR_FINAL, "a job's id is a number");
		w->id[w->n++] = (uint64_t)json_integer_value(v);
	}
	return 0;
}

static bool has_failed(const struct job_info *i)
{
	return i->state == JOB_FAILED || i->state == JOB_CANCELLED;
}

/* All of a file: it may have several, one behind the other, and the last one tells, but not before
 * the one that was asked for has ended. What waits for a restore may never end. */
static void look_at_file(struct ctl_conn *c, struct wait_ids *w, struct list *l, bool *ret_done,
	unsigned *ret_failed)
{
	struct jobs *jobs = c->ctl->conf.jobs;

	*ret_done = !job_live(jobs, w->ino);
	w->archived = false;
	if (job_info_ino(jobs, w->ino, &w->info)) {
		w->id[0] = w->info.id;
		w->n = 1;
		w->archived = w->info.archived;
		*ret_done |= w->archived;
		(void)snprintf(w->note, sizeof(w->note), "%s", w->info.note);
		(void)json_array_append_new(l->array, item_job(c, &w->info));
	}
	for (unsigned i = 0; i < w->n && *ret_done; i++)
		*ret_failed += job_info_get(jobs, w->id[i], &w->info) && has_failed(&w->info);
	if (*ret_failed || !w->asked || !job_info_get(jobs, w->asked, &w->info))
		return;
	w->archived = !w->info.ended_ns && w->info.archived;
	*ret_done &= w->info.ended_ns != 0 || w->archived;
	*ret_failed += *ret_done && has_failed(&w->info);
}

/* Live jobs that are waited for, as items; *ret_failed of those that ended. */
static json_t *look(struct ctl_conn *c, struct wait_ids *w, bool *ret_done, unsigned *ret_failed)
{
	struct jobs *jobs = c->ctl->conf.jobs;
	struct list l = {.c = c, .array = json_array(), .live_only = true};
	struct jobs_stat js;

	*ret_failed = 0;
	if (!l.array)
		return NULL;
	if (w->all) {
		jobs_stat(jobs, &js);
		w->parked = js.live != 0 && js.stuck == js.live && !js.coming;
		*ret_done = js.live == 0 || w->parked;
		*ret_failed = (unsigned)(js.failed + js.cancelled - w->failed_before);
		job_each(jobs, on_job, &l);
		return l.array;
	}
	if (w->ino) {
		look_at_file(c, w, &l, ret_done, ret_failed);
		return l.array;
	}
	*ret_done = true;
	for (unsigned i = 0; i < w->n; i++) {
		if (!job_info_get(jobs, w->id[i], &w->info))
			continue; /* ended long ago */
		if (w->info.ended_ns) {
			*ret_failed += has_failed(&w->info);
		} else {
			*ret_done = false;
			(void)json_array_append_new(l.array, item_job(c, &w->info));
		}
	}
	return l.array;
}

static errint_t say_parked(struct jobs *jobs, unsigned failed, struct err *err)
{
	char parked[PARKED_TEXT_MAX], ended[64] = "";
	struct jobs_stat js;

	jobs_stat(jobs, &js);
	if (failed)
		(void)snprintf(ended, sizeof(ended), "%u failed, or cancelled; ", failed);
	return err_set(err, -EBUSY, ERR_FINAL, "%s%s; see 'astra jobs'", ended,
		ctl_parked_text(jobs, &js, parked));
}

static errint_t wait_for(struct ctl_conn *c, struct wait_ids *w, json_t **ret_data, struct err *err)
{
	int64_t pulse = clock_mono_ns() + PULSE_MS * NS_PER_MS;
	unsigned failed = 0;
	bool done = false;

	for (;;) {
		cleanup_json json_t *live = look(c, w, &done, &failed);
		errint_t r = 0;

		if (!live)
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		if (done)
			break;
		if (ctl_cancelled(c))
			return err_set(err, -ECANCELED, ERR_CANCELLED, "the daemon is ending");
		if (clock_mono_ns() >= pulse) {
			r = ctl_send(c, "progress", json_pack("{s:O}", "jobs", live));
			pulse = clock_mono_ns() + PULSE_MS * NS_PER_MS;
		}
		if (r)
			return r;
		ctl_pause(POLL_MS);
	}
	if (w->parked)
		return say_parked(c->ctl->conf.jobs, failed, err);
	bool archived = !failed && w->archived;

	*ret_data = json_pack("{s:i, s:o, s:b}", "failed", (int)failed, "note",
		json_text(archived	      ? w->note
			  : failed && !w->all ? w->info.note
					      : ""),
		"archived", archived);
	return *ret_data ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

errint_t verb_jobs_wait(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct wait_ids *w = calloc(1, sizeof(*w));
	struct jobs_stat js;
	errint_t r = w ? ids_of(req, w, err) : err_set(err, -ENOMEM, ERR_RETRY, "no memory");

	if (!r && (json_object_get(req, "path") || json_object_get(req, "path_hex")))
		r = ctl_path(c, req, "path", false, &w->ino, NULL, err);
	/* From here on, one that is not known has ended, and many others since. */
	for (unsigned i = 0; !r && !w->ino && i < w->n; i++) {
		if (!job_info_get(c->ctl->conf.jobs, w->id[i], &w->info))
			r = err_set(err, -ENOENT, ERR_FINAL,
				"there is no job %llu, or it ended long ago",
				(unsigned long long)w->id[i]);
	}
	if (r)
		return r;
	w->all = !w->n && !w->ino;
	w->asked = w->ino && w->n ? w->id[0] : 0;
	jobs_stat(c->ctl->conf.jobs, &js);
	w->failed_before = js.failed + js.cancelled;
	return wait_for(c, w, ret_data, err);
}

/* ---- cancel, retry ---- */

static errint_t ids_given(const json_t *req, struct wait_ids **ret, struct err *err)
{
	struct wait_ids *w = calloc(1, sizeof(*w));
	errint_t r = w ? ids_of(req, w, err) : err_set(err, -ENOMEM, ERR_RETRY, "no memory");

	*ret = w;
	if (!r && !w->n)
		r = err_set(err, -EINVAL, ERR_FINAL, "no job is named");
	return r;
}

/* What came of it: cancelled, on its way back, or an error that says why it goes on; then nothing
 * has changed. */
static errint_t cancel_result(struct ctl_conn *c, uint64_t id, struct job_info *i, struct err *err)
{
	struct jobs *jobs = c->ctl->conf.jobs;
	int64_t until = clock_mono_ns() + CANCEL_MS * NS_PER_MS;
	const char *why = NULL;

	while (job_info_get(jobs, id, i) && !i->ended_ns && clock_mono_ns() < until &&
		!ctl_cancelled(c))
		ctl_pause(POLL_MS);
	bool stands = ctl_cancelled(c) || job_cancel_stands(jobs, id);

	(void)job_info_get(jobs, id, i); /* it may have ended since */
	if (i->state == JOB_DONE)
		why = "it was done before";
	else if (i->state == JOB_FAILED || (!i->ended_ns && !stands))
		why = i->note[0] ? i->note : "it ends what it has begun";
	return why ? err_set(err, -EBUSY, ERR_FINAL, "job %llu cannot be cancelled now: %s",
			     (unsigned long long)id, why)
		   : 0;
}

static errint_t cancel_one(struct ctl_conn *c, uint64_t id, struct job_info *i, struct err *err)
{
	errint_t r = job_cancel(c->ctl->conf.jobs, id);

	if (r)
		return err_set(err, r, ERR_FINAL, "job %llu cannot be cancelled: %s",
			(unsigned long long)id,
			r == -ENOENT	 ? "there is no such live job"
			: r == -EALREADY ? "it is past its commit and goes on"
					 : err_text(NULL, r));
	r = cancel_result(c, id, i, err);
	if (r)
		return r;
	return ctl_send(c, "item",
		json_pack("{s:I, s:b, s:o}", "id", (json_int_t)id, "ended", i->ended_ns != 0,
			"note",
			json_text(i->ended_ns				  ? ""
				  : i->state == JOB_QUEUED && !i->note[0] ? "it waits for others"
									  : i->note)));
}

/* Each is told of when it is done: a later one may be refused. */
static errint_t cancel_each(struct ctl_conn *c, const json_t *req, struct err *err)
{
	cleanup_free struct wait_ids *w = NULL;
	errint_t r = ids_given(req, &w, err);

	for (unsigned i = 0; !r && i < w->n; i++) {
		/* As long as nobody knows better: so many have ended since. */
		w->info = (struct job_info){.state = JOB_CANCELLED, .ended_ns = 1};
		r = cancel_one(c, w->id[i], &w->info, err);
	}
	return r;
}

struct held {
	uint64_t *id; /* owned */
	size_t n, cap;
	errint_t r;
};

static int on_held(void *arg, const struct job_info *i)
{
	struct held *h = arg;

	if (i->ended_ns)
		return 1;
	if (!i->held)
		return 0;
	if (h->n == h->cap) {
		size_t cap = h->cap ? h->cap * 2 : 64;
		uint64_t *p = realloc(h->id, cap * sizeof(*p));

		if (!p) {
			h->r = -ENOMEM;
			return 1;
		}
		h->id = p;
		h->cap = cap;
	}
	h->id[h->n++] = i->id;
	return 0;
}

/* All removals that the delete guard holds; one that is just going is let go. */
static errint_t cancel_held(struct ctl_conn *c, json_t **ret_data, struct err *err)
{
	struct jobs *jobs = c->ctl->conf.jobs;
	uint64_t done = 0, round;
	errint_t r = 0;

	do { /* a look sees so many at most */
		struct held h = {0};

		round = 0;
		job_each(jobs, on_held, &h);
		for (size_t i = 0; i < h.n; i++)
			round += job_cancel(jobs, h.id[i]) == 0;
		for (size_t i = 0; i < h.n; i++) {
			while (job_info_held(jobs, h.id[i]) && !ctl_cancelled(c))
				ctl_pause(POLL_MS);
		}
		r = h.r;
		free(h.id);
		done += round;
	} while (!r && round && !ctl_cancelled(c));
	if (r)
		return err_set(err, r, ERR_RETRY, "no memory");
	*ret_data = json_pack("{s:I}", "taken_back", (json_int_t)done);
	return *ret_data ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

errint_t verb_jobs_cancel(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	if (json_is_true(json_object_get(req, "held")))
		return cancel_held(c, ret_data, err);
	return cancel_each(c, req, err);
}

/* Each is told of when it is done: a later one may be refused. */
errint_t verb_jobs_retry(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	cleanup_free struct wait_ids *w = NULL;
	errint_t r = ids_given(req, &w, err);

	(void)ret_data;
	for (unsigned i = 0; !r && i < w->n; i++) {
		struct err why = {0};
		uint64_t as = 0;

		r = job_retry(c->ctl->conf.jobs, w->id[i], &as, &why);
		if (r)
			return err_set(err, r, why.kind, "job %llu cannot be tried again: %s",
				(unsigned long long)w->id[i], err_text(&why, r));
		r = ctl_send(c, "item",
			json_pack("{s:I, s:I}", "id", (json_int_t)w->id[i], "as", (json_int_t)as));
	}
	return r;
}

/* ---- the index ---- */

static void on_violation(void *arg, const char *line)
{
	struct ctl_conn *c = arg;

	(void)ctl_send(c, "item", json_pack("{s:o}", "fault", json_text(line)));
}

errint_t verb_db_check(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	struct meta *m = c->ctl->conf.meta;
	int n;

	(void)req;
	if (meta_damaged(m)) /* looking at all of it may end the mount */
		return err_set(err, -EBADMSG, ERR_FINAL, "the index is damaged: " META_DAMAGE_HELP);
	n = meta_check(m, on_violation, c);
	if (n < 0)
		return err_set(
			err, n, ERR_FINAL, "the index cannot be checked: %s", err_text(NULL, n));
	*ret_data = json_pack("{s:i}", "faults", n);
	return *ret_data ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

/* The dump's own lines go out as they are: none of them has "ok". */
errint_t verb_db_dump(struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err)
{
	(void)req;
	(void)ret_data;
	return meta_dump(c->ctl->conf.meta, c->fd, err);
}
