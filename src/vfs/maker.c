/* SPDX-License-Identifier: MIT */
/*
 * Programs that make many files: cp -r, tar x, git checkout. What upload_delay is for does not
 * happen to these: they are written once, keep the name that they were made with, and stay. So once
 * a thread has made MAKER_RUN of them in a row, each rests a fifth of upload_delay only (dirty.c):
 * the ones before, too, since it has gone on to others. Most of that they rest as jobs, so that the
 * sync point that an upload waits for passes meanwhile. By thread, so that compilers and scripts,
 * which make a few files each that soon go again, are none of these.
 *
 * A file of theirs that is changed again, gets another name or goes while it would rest, or would
 * have, shows that its maker is another kind of program (rsync, git add): for SPOILT_NS all that it
 * makes rests as others do. So does what has the name of a temporary file. Renaming a directory
 * says that of all who have just made files.
 */
#include "vfs_priv.h"

#define GAP_NS	  (1 * NS_PER_S) /* longer, and it is no row */
#define SPOILT_NS (10 * NS_PER_S)

static struct maker *maker_find_locked(struct vfs *v, int tid)
{
	lock_assert_held(&v->lock);
	for (unsigned i = 0; i < ARRAY_SIZE(v->s.makers); i++)
		if (v->s.makers[i].tid == tid)
			return &v->s.makers[i];
	return NULL;
}

/* A new one in the place of who has made nothing for longest. */
static struct maker *maker_get_locked(struct vfs *v, int tid)
{
	struct maker *m = maker_find_locked(v, tid), *old = v->s.makers;

	if (m)
		return m;
	for (unsigned i = 1; i < ARRAY_SIZE(v->s.makers); i++)
		if (v->s.makers[i].at_ns < old->at_ns)
			old = &v->s.makers[i];
	*old = (struct maker){.tid = tid};
	return old;
}

static bool is_far(struct vfs *v, uint64_t dir)
{
	char prefix[META_PATH_MAX + 1];
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	const struct remote *remote = NULL;
	uint32_t id = 0;

	if (!meta_dir_prefix(t, dir, &id, prefix))
		remote = remote_by_id(v, id);
	meta_abort(t);
	return remote && !remote->caps.near;
}

/* Whether the cloud of dir is, which mostly is that of the file before. */
static bool asks_far(struct vfs *v, int tid, uint64_t dir)
{
	struct maker *m;
	bool far = false, known;
	{
		LOCKED(&v->lock);
		m = maker_find_locked(v, tid);
		known = m && m->dir == dir;
		if (known)
			far = m->far;
	}
	return known ? far : is_far(v, dir);
}

void maker_made(struct vfs *v, int tid, uint64_t dir, const char *name, uint64_t ino)
{
	int64_t now = clock_mono_ns();
	struct maker *m;
	bool far;

	if (tid <= 0 || job_name_is_temp(name))
		return;
	far = asks_far(v, tid, dir);
	LOCKED(&v->lock);
	m = maker_get_locked(v, tid);
	if (now - m->at_ns > GAP_NS)
		m->made = 0;
	m->at_ns = now;
	m->dir = dir;
	m->far = far;
	if (!far || now < m->not_ns)
		return;
	dirty_made_locked(v, ino, tid);
	if (m->made < MAKER_RUN)
		m->first[m->made++] = ino;
	else
		dirty_brief_locked(v, ino, tid);
	if (m->made < MAKER_RUN)
		return;
	for (unsigned i = 0; i < MAKER_RUN; i++) {
		if (m->first[i])
			dirty_brief_locked(v, m->first[i], tid);
		m->first[i] = 0;
	}
}

static void spoil_locked(struct vfs *v, struct maker *m)
{
	if (m->made == MAKER_RUN)
		dirty_rest_locked(v, m->tid);
	m->made = 0;
	m->not_ns = clock_mono_ns() + SPOILT_NS;
}

void maker_spoilt_locked(struct vfs *v, int tid)
{
	struct maker *m = maker_find_locked(v, tid);

	if (tid && m)
		spoil_locked(v, m);
}

void maker_dir_moved(struct vfs *v)
{
	int64_t now = clock_mono_ns();
	LOCKED(&v->lock);

	for (unsigned i = 0; i < ARRAY_SIZE(v->s.makers); i++)
		if (v->s.makers[i].tid && now - v->s.makers[i].at_ns < GAP_NS)
			spoil_locked(v, &v->s.makers[i]);
}

void maker_gone_locked(struct vfs *v, uint64_t ino, int tid)
{
	struct brief *b = &v->s.briefs[v->s.nbriefs++ % ARRAY_SIZE(v->s.briefs)];

	lock_assert_held(&v->lock);
	*b = (struct brief){.ino = ino, .tid = tid, .at_ns = clock_mono_ns()};
}

void maker_again_locked(struct vfs *v, uint64_t ino)
{
	int64_t now = clock_mono_ns();
	unsigned n = MIN_OF(v->s.nbriefs, (unsigned)ARRAY_SIZE(v->s.briefs));

	lock_assert_held(&v->lock);
	for (unsigned i = 0; i < n; i++) {
		struct brief *b = &v->s.briefs[i];

		if (b->ino != ino || now - b->at_ns >= v->conf.upload_delay_ns)
			continue;
		job_upload_rest(v->jobs, ino, now + v->conf.upload_delay_ns);
		maker_spoilt_locked(v, b->tid);
	}
}
