/* SPDX-License-Identifier: MIT */
/*
 * The last jobs of a mount, and what is told of those that are left. One thread, the one that
 * served the kernel before.
 */
#include "drain.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "astra/base_clock.h"
#include "astra/base_log.h"
#include "astra/ctl.h"
#include "astra/job.h"
#include "astra/vfs.h"

#define POLL_NS	  (10 * NS_PER_MS)
#define REPORT_NS (5 * NS_PER_S)

/* ---- is it over ---- */

struct waits {		  /* is every live job one that cannot go on before the drain's end? */
	int64_t until_ns; /* wall clock */
	bool all;
};

static int look_at_job(void *arg, const struct job_info *i)
{
	struct waits *ws = arg;

	if (i->ended_ns)
		return 1; /* live ones come first */
	if (i->state != JOB_WAITING || i->next_ns <= ws->until_ns)
		ws->all = false;
	return !ws->all;
}

static bool drained(
	const struct drain *d, int64_t until_mono_ns, struct jobs_stat *js, struct vfs_stat *vs)
{
	struct waits ws = {.all = true};

	/* In this order: what stops being dirty is a job before. */
	vfs_stat(d->vfs, vs);
	jobs_stat(d->jobs, js);
	if (vs->dirty == vs->held && js->stuck + js->looks == js->live)
		return true;
	if (vs->dirty > vs->held || js->active)
		return false;
	ws.until_ns = clock_now_ns() + (until_mono_ns - clock_mono_ns());
	job_each(d->jobs, look_at_job, &ws);
	return ws.all;
}

/* ---- what is left, and why ---- */

static void add(struct ctl_end *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct ctl_end *e, const char *fmt, ...)
{
	size_t len = strlen(e->why);
	va_list ap;

	if (len && len + 3 < sizeof(e->why))
		len += (size_t)snprintf(e->why + len, sizeof(e->why) - len, "; ");
	va_start(ap, fmt);
	(void)vsnprintf(e->why + len, sizeof(e->why) - len, fmt, ap);
	va_end(ap);
}

static int look_for_failed(void *arg, const struct job_info *i)
{
	if (!i->ended_ns || i->state != JOB_FAILED || !*i->note)
		return 0;
	*(struct job_info *)arg = *i;
	return 1;
}

/* One that speaks for those that are left. */
static bool example(const struct drain *d, bool files, struct job_info *ret)
{
	if (job_wait_reason(d->jobs, META_ROOT_INO, ret))
		return true;
	ret->id = 0;
	if (files) /* changed, and no job's: their uploads failed, and are put off */
		job_each(d->jobs, look_for_failed, ret);
	return ret->id;
}

static void end_of(const struct drain *d, const struct jobs_stat *js, const struct vfs_stat *vs,
	struct ctl_end *e)
{
	uint64_t stuck = js->stuck - js->lost;
	const char *place;
	struct job_file f;
	struct job_info i;
	char lost[200];

	*e = (struct ctl_end){.jobs = js->live - js->looks, .files = vs->dirty};
	if (!e->jobs && !e->files)
		return;
	if (atomic_load(d->hurry))
		add(e, "it was told to end at once");
	else if (e->jobs > js->stuck || e->files > vs->held)
		add(e, "drain_timeout (%lld s) was too short", (long long)(d->max_ns / NS_PER_S));
	if (stuck)
		add(e, "%llu wait%s for archived objects or the delete guard",
			(unsigned long long)stuck, stuck == 1 ? "s" : "");
	if (vs->held)
		add(e, "%llu changed file%s in conflict", (unsigned long long)vs->held,
			vs->held == 1 ? " is" : "s are");
	jobs_lost_text(d->jobs, lost, sizeof(lost));
	if (*lost)
		add(e, "%s", lost);
	if (!example(d, e->files > vs->held, &i))
		return;
	place = job_file(d->jobs, i.kind, i.ino, &f) ? f.path : *i.dst ? i.dst : i.src;
	if (*i.note)
		add(e, "%s: %s", place, i.note);
	else
		add(e, "%s: %s, %s", place, job_kind_name(i.kind), job_state_name(i.state));
}

void drain_run(const struct drain *d, struct ctl_end *ret)
{
	int64_t now = clock_mono_ns(), until = now + d->max_ns, report = now;
	const struct timespec poll = {.tv_nsec = POLL_NS};
	struct jobs_stat js;
	struct vfs_stat vs;

	if (!atomic_load(d->hurry)) {
		vfs_flush_all(d->vfs);
		job_hurry(d->jobs, META_ROOT_INO);
	}
	while (!drained(d, until, &js, &vs)) {
		now = clock_mono_ns();
		if (now >= until || atomic_load(d->hurry))
			break;
		if (now >= report + REPORT_NS) {
			log_notice("daemon", "finishing: %llu jobs, %llu changed files to go",
				(unsigned long long)js.live, (unsigned long long)vs.dirty);
			report = now;
		}
		(void)nanosleep(&poll, NULL);
	}
	end_of(d, &js, &vs, ret);
}
