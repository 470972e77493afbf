/* SPDX-License-Identifier: MIT */
/*
 * What policy_decide() is told about a file, gathered in one place for the attributes, the engine
 * and the reports. From the index and from memory only: no store is asked.
 */
#include "vfs_priv.h"

#define DAY_NS (86400 * NS_PER_S)
/* At a steady rate of r bytes a day, heat with a half-life of 7 days settles at 7 r / ln 2, and 30
 * days have 30 r. */
#define HEAT_TO_30_DAYS 2.97
#define HEAT_HALF_LIFE	(7.0 * 86400.0)

/* 2^-x without libm, to within 2 %: more than heat is worth. */
static double half_power(double x)
{
	double r = 1.0;

	if (x > 60)
		return 0;
	for (; x >= 1; x -= 1)
		r /= 2;
	return r * (1 - x * 0.5 * (1.36 - 0.36 * x));
}

/* Bytes fetched from the cloud in the window, as far as heat tells. */
static uint64_t bytes_window(const struct meta_access *a, int64_t now, int64_t window)
{
	double age = (double)(now - a->heat_at_ns) / (double)NS_PER_S;
	double est;

	if (!a->cloud_bytes || a->last_read_ns < now - window)
		return 0;
	est = a->heat * half_power(age > 0 ? age / HEAT_HALF_LIFE : 0) * HEAT_TO_30_DAYS;
	return est < (double)a->cloud_bytes ? (uint64_t)est : a->cloud_bytes;
}

static const char *const *class_names(const struct remote *r)
{
	static _Thread_local const char *names[TIER_N];

	for (int t = 0; t < TIER_N; t++)
		names[t] = r->classes[t].name;
	return names;
}

errint_t vfs_facts(
	struct vfs *v, struct meta_txn *t, const struct meta_inode *in, struct policy_facts *ret)
{
	static _Thread_local char path[META_PATH_MAX + 66];
	static _Thread_local char place[META_PATH_MAX + 1];
	int64_t window = v->conf.rules ? v->conf.rules->window_ns : 30 * DAY_NS;
	int64_t days = window / DAY_NS, now = clock_now_ns();
	const struct remote *remote;
	struct meta_access a;
	uint32_t id = in->loc.remote;
	errint_t r;

	memset(ret, 0, sizeof(*ret));
	r = meta_access_get(v->conf.meta, t, in->ino, &a);
	if (r && r != -ENOENT)
		return r;
	if (r)
		memset(&a, 0, sizeof(a));
	if (!(in->flags & META_F_OBJECT) && meta_desired(t, in->ino, &id, place))
		id = 0;
	remote = remote_by_id(v, id);
	ret->name = in->name;
	ret->path = meta_path(t, in->ino, path, sizeof(path)) ? NULL : path;
	ret->provider = "";
	if (remote) {
		ret->cloud = remote->name;
		ret->provider = remote->provider;
		ret->classes = class_names(remote);
	}
	ret->class_name = *in->class_name ? in->class_name : NULL;
	ret->size = in->size;
	ret->tier = (enum tier)in->tier;
	ret->pinned = in->flags & META_F_PINNED;
	ret->pin = ret->pinned ? (enum tier)in->forced_tier : TIER_HOT;
	ret->created_ns = in->btime_ns ? in->btime_ns : in->mtime_ns;
	ret->last_access_ns = MAX_OF(a.last_read_ns, a.last_write_ns);
	ret->tier_since_ns = in->tier_since_ns;
	ret->accesses_window = meta_access_window(
		&a, now, (unsigned)MIN_OF(MAX_OF(days, INT64_C(1)), INT64_C(30)));
	ret->accesses_total = a.reads + a.writes;
	ret->bytes_window = bytes_window(&a, now, window);
	ret->archived = in->flags & META_F_ARCHIVED;
	ret->open = vfs_job_hooks(v).is_open(v, in->ino);
	ret->busy = (in->flags & META_F_DIRTY) || (v->jobs && job_live(v->jobs, in->ino));
	return 0;
}
