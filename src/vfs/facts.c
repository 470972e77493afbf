/* SPDX-License-Identifier: MIT */
/*
 * What policy_decide() is told about a file, gathered in one place for the attributes, the engine
 * and the reports. From the index and from memory only: no store is asked.
 */
#include "vfs_priv.h"

#define DAY_NS	  (86400 * NS_PER_S)
#define KEPT_DAYS 7 /* soft delete: how long what was deleted is billed */

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
	/* Below the mount, without the first slash: as rules match it. */
	ret->path = meta_path(t, in->ino, path, sizeof(path)) ? NULL : path + 1;
	ret->provider = "";
	if (remote) {
		ret->cloud = remote->name;
		ret->provider = remote->provider;
		ret->classes = class_names(remote);
		ret->retained_days =
			remote->caps.versioning || remote->caps.soft_delete ? KEPT_DAYS : 0;
	}
	ret->class_name = *in->class_name ? in->class_name : NULL;
	ret->size = in->size;
	ret->tier = (enum tier)in->tier;
	ret->unknown = v->jobs && job_class_unknown(v->jobs, in);
	ret->pinned = in->flags & META_F_PINNED;
	ret->pin = ret->pinned ? (enum tier)in->forced_tier : TIER_HOT;
	ret->created_ns = in->btime_ns ? in->btime_ns : in->mtime_ns;
	ret->last_access_ns = MAX_OF(a.last_read_ns, a.last_write_ns);
	ret->tier_since_ns = in->tier_since_ns;
	ret->accesses_window = meta_access_window(
		&a, now, (unsigned)MIN_OF(MAX_OF(days, INT64_C(1)), INT64_C(30)));
	ret->accesses_total = a.reads + a.writes;
	ret->bytes_window = meta_access_fetched(&a, now, window);
	ret->archived = in->flags & META_F_ARCHIVED;
	ret->open = vfs_job_hooks(v).is_open(v, in->ino);
	ret->busy = !(in->flags & META_F_OBJECT) || (in->flags & META_F_DIRTY) ||
		    (v->jobs && job_live(v->jobs, in->ino));
	return 0;
}
