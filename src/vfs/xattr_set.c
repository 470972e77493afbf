/* SPDX-License-Identifier: MIT */
/*
 * The writable attributes: tier, restore, refresh, migrate. Each reads its value, and posts a job
 * in the transaction that changes the row. A bad value is EINVAL, and the log tells the reason.
 *
 * Programs that copy attributes (cp -a, rsync -X, tar --xattrs) set what they found elsewhere:
 * `tier` from such a program is no order. On a file that it writes it is a hint for the class of
 * the upload, and never takes it offline; on any other file it is ignored.
 */
#include "vfs_priv.h"

#include <stdarg.h>
#include <stdio.h>

#define RESTORE_DAYS 7
#define NEW_NS	     (60 * NS_PER_S) /* a file or directory younger than this is being made */
#define DAY_NS	     (86400 * NS_PER_S)

/* ---- refusals ---- */

static int refuse(struct vfs_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct vfs_call *c, const char *fmt, ...)
{
	struct meta_txn *t = meta_begin_read(c->own.v->conf.meta);
	char path[META_PATH_MAX + 66] = "?", why[300];
	va_list ap;

	(void)meta_path(t, c->own.ino, path, sizeof(path));
	(void)meta_commit(t);
	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_warn("vfs", "%s: %s: %s", path, c->own.name, why);
	return -EINVAL;
}

int xattr_refuse(struct vfs_call *c, const char *why)
{
	return refuse(c, "%s", why);
}

int xattr_bad_value(struct vfs_call *c, const char *value, const char *allowed)
{
	return refuse(c, "'%.80s' is not allowed; allowed: %s", value, allowed);
}

bool xattr_by_copier(const struct vfs_call *c)
{
	const char *const *list = c->own.v->conf.no_list;
	struct who w;

	if (!list || !*list || c->pid <= 0)
		return false;
	who_get(c->pid, &w);
	return who_in(&w, list);
}

bool xattr_is_copy(const struct vfs_call *c, const struct meta_inode *in, bool known)
{
	if (known && ((in->flags & META_F_DIRTY) || clock_now_ns() - in->btime_ns < NEW_NS))
		return true;
	return xattr_by_copier(c); /* also what another version of ours knows */
}

/* ---- tier ---- */

/* What a program that copies brings along. */
static errint_t hint_tier(struct meta_txn *t, struct meta_inode *in, bool automatic, enum tier tier)
{
	if (automatic || !(in->flags & META_F_DIRTY) || (in->flags & META_F_PINNED))
		return 0;
	in->flags |= META_F_TIER_HINT;
	in->forced_tier = (uint8_t)tier;
	return meta_inode_put(t, in);
}

static errint_t pin_tier(struct vfs_call *c, struct meta_txn *t, struct meta_inode *in,
	bool automatic, enum tier tier)
{
	struct vfs *v = c->own.v;
	bool dirty = in->flags & META_F_DIRTY;
	struct err err = {0};
	uint64_t job;
	errint_t r;

	in->flags &= ~(uint32_t)(META_F_PINNED | META_F_TIER_HINT);
	if (!automatic)
		in->flags |= META_F_PINNED;
	/* The upload goes to an online class first; this one follows it. */
	if (!automatic && dirty && in->kind == META_FILE)
		in->flags |= META_F_TIER_HINT;
	in->forced_tier = (uint8_t)tier;
	in->ctime_ns = clock_now_ns();
	r = meta_inode_put(t, in);
	if (r || automatic || in->kind != META_FILE || dirty || (in->flags & META_F_ORPHAN) ||
		!(in->flags & META_F_OBJECT))
		return r;
	r = job_tier(v->jobs, t, in, tier, false, &job, &err);
	if (r)
		log_warn("vfs", "'%s' cannot be moved to %s: %s", in->name, tier_name(tier),
			err_text(&err, r));
	return r;
}

int xattr_set_tier(struct vfs_call *c, const char *value)
{
	struct vfs *v = c->own.v;
	bool automatic = !strcmp(value, "AUTO") || !strcmp(value, "auto");
	bool copy = xattr_by_copier(c);
	struct meta_inode in;
	enum tier tier = TIER_HOT;
	struct meta_txn *t;
	errint_t r;

	if (!automatic && tier_parse(value, &tier))
		return xattr_bad_value(c, value, "HOT, WARM, COLD, ARCHIVE, AUTO");
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, c->own.ino, &in);
	if (!r && copy && in.kind == META_FILE)
		r = hint_tier(t, &in, automatic, tier);
	else if (!r)
		r = pin_tier(c, t, &in, automatic, tier);
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

/* ---- restore, refresh, migrate ---- */

int xattr_set_restore(struct vfs_call *c, const char *value)
{
	struct vfs *v = c->own.v;
	int64_t ns = RESTORE_DAYS * DAY_NS;
	uint64_t job;
	struct meta_inode in;
	struct err err = {0};
	struct meta_txn *t;
	errint_t r;

	if (*value && (parse_duration(value, &ns) || ns <= 0 || ns > 3650 * DAY_NS))
		return xattr_bad_value(c, value, "a duration up to 3650d, for example 7d");
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, c->own.ino, &in);
	if (!r && ((in.flags & META_F_ARCHIVED) || in.restored_until_ns)) {
		r = job_restore(
			v->jobs, t, &in, (unsigned)((ns + DAY_NS - 1) / DAY_NS), &job, &err);
		if (r)
			log_warn("vfs", "'%s' cannot be restored: %s", in.name, err_text(&err, r));
		else if (!job)
			log_info("vfs", "'%s' can be read for longer than that already", in.name);
	}
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

int xattr_set_refresh(struct vfs_call *c, const char *value)
{
	struct meta_inode in;
	errint_t r = row_get(c->own.v, c->own.ino, &in);

	(void)value;
	if (r)
		return r;
	if (c->own.phase == 1)
		return c->own.r;
	c->own.phase = 1;
	if (in.ino == META_ROOT_INO || (in.kind != META_DIR && !in.parent))
		return 0;
	return dir_list(c, in.kind == META_DIR ? in.ino : in.parent);
}

int xattr_set_migrate(struct vfs_call *c, const char *value)
{
	int r = rename_migrate(c, value);

	return r == -ENODEV ? xattr_bad_value(c, value, "the name of a remote") : r;
}
