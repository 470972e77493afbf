/* SPDX-License-Identifier: MIT */
/*
 * Inodes with content that no cloud has, and when each is due for upload: upload_delay after the
 * last FLUSH or at the last RELEASE of a writer, whichever is later, HELD_OPEN_NS after the first
 * change for files that stay open, and at once for those whose upload may begin meanwhile. An
 * unlink or rename before that costs no request. Files of a program that makes many (maker.c) are
 * due after a fifth of upload_delay.
 *
 * The list is a cache of the index's own dirty list, which is what survives. One pool timer serves
 * all. An inode leaves the list when its upload is posted, and comes back with the next change.
 */
#include "vfs_priv.h"

#define BRIEF_PART 5 /* of upload_delay */

bool dirty_has_writers(struct vfs *v, uint64_t ino)
{
	struct vfs_node *n;
	LOCKED(&v->open.lock);

	HASH_FIND(hh, v->open.nodes, &ino, sizeof(ino), n);
	return n && n->writers;
}

static void timer_locked(struct vfs *v, int64_t due)
{
	if (v->s.stopping || v->s.flushing)
		return;
	if (v->s.dirty_timer_ns && v->s.dirty_timer_ns <= due)
		return;
	v->s.dirty_timer_ns = due;
	pool_post_at(v->conf.pool, &v->dirty_task, due);
}

static struct dirty *entry_locked(struct vfs *v, uint64_t ino, int64_t now, bool *ret_new)
{
	struct dirty *d;

	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	*ret_new = !d;
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->ino = ino;
	d->first_ns = d->flush_ns = now;
	HASH_ADD(hh, v->s.dirty, ino, sizeof(ino), d);
	return d;
}

static void hold_locked(struct vfs *v, struct dirty *d, bool held)
{
	lock_assert_held(&v->lock);
	if (d->held != held)
		v->s.nheld += held ? 1 : -1u;
	d->held = held;
}

static int64_t rest_ns(const struct vfs *v, const struct dirty *d)
{
	return d->brief ? v->conf.upload_delay_ns / BRIEF_PART : v->conf.upload_delay_ns;
}

/* When its upload is to be posted. */
static int64_t look_ns(const struct dirty *d)
{
	int64_t tick = MIN_OF(d->due_ns, d->flush_ns + DIRTY_TICK_NS); /* not each alone */

	return d->brief && d->closed ? MAX_OF(d->due_ns - DIRTY_EARLY_NS, tick) : d->due_ns;
}

static void spoil_locked(struct vfs *v, struct dirty *d)
{
	int maker = d->maker;

	lock_assert_held(&v->lock);
	d->maker = 0;
	d->brief = false;
	maker_spoilt_locked(v, maker);
}

void dirty_event(struct vfs *v, uint64_t ino, enum dirty_event ev)
{
	int64_t now = clock_mono_ns();
	struct dirty *d;
	bool is_new;
	LOCKED(&v->lock);

	if (ev == DIRTY_FLUSH || ev == DIRTY_RELEASE || ev == DIRTY_AHEAD) {
		/* Of what is not dirty these say nothing. */
		HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
		is_new = false;
	} else {
		d = entry_locked(v, ino, now, &is_new);
	}
	if (!d) {
		if (ev != DIRTY_FLUSH && ev != DIRTY_RELEASE && ev != DIRTY_AHEAD)
			log_error("vfs",
				"no memory to remember that inode %llu is dirty; it is "
				"uploaded after the next mount",
				(unsigned long long)ino);
		return;
	}
	if (ev != DIRTY_FLUSH)
		hold_locked(v, d, false);
	if (is_new)
		job_foreground(v->jobs);
	if (is_new && ev != DIRTY_AGAIN)
		maker_again_locked(v, ino);
	else if (d->maker && (ev == DIRTY_CHANGE || (ev == DIRTY_RELEASE && d->closed)))
		spoil_locked(v, d);
	switch (ev) {
	case DIRTY_WRITE:
		if (!is_new)
			return;
		d->due_ns = now + HELD_OPEN_NS;
		break;
	case DIRTY_FLUSH:
		d->flush_ns = now;
		return;
	case DIRTY_RELEASE:
		d->closed = true;
		d->due_ns = MAX_OF(now, d->flush_ns + rest_ns(v, d));
		break;
	case DIRTY_AHEAD:
		d->due_ns = 1; /* nor does it stand back */
		break;
	case DIRTY_CHANGE:
	case DIRTY_AGAIN:
		d->flush_ns = now;
		d->due_ns = dirty_has_writers(v, ino) ? d->first_ns + HELD_OPEN_NS
						      : now + v->conf.upload_delay_ns;
		break;
	}
	timer_locked(v, look_ns(d));
}

void dirty_defer(struct vfs *v, uint64_t ino, int64_t delay_ns, bool held)
{
	struct dirty *d;
	LOCKED(&v->lock);

	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (!d)
		return;
	d->due_ns = clock_mono_ns() + delay_ns;
	hold_locked(v, d, held);
}

bool dirty_soon(struct vfs *v, uint64_t ino)
{
	struct dirty *d;
	LOCKED(&v->lock);

	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (!d)
		return false;
	d->due_ns = 1; /* nor does it stand back */
	timer_locked(v, d->due_ns);
	return true;
}

void dirty_forget(struct vfs *v, uint64_t ino)
{
	struct dirty *d;
	LOCKED(&v->lock);

	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (d) {
		hold_locked(v, d, false);
		HASH_DEL(v->s.dirty, d);
		free(d);
	}
}

void dirty_made_locked(struct vfs *v, uint64_t ino, int maker)
{
	struct dirty *d;

	lock_assert_held(&v->lock);
	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (d)
		d->maker = maker;
}

void dirty_brief_locked(struct vfs *v, uint64_t ino, int maker)
{
	struct dirty *d;

	lock_assert_held(&v->lock);
	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (!d || d->maker != maker)
		return;
	d->brief = true;
	if (!d->closed)
		return;
	d->due_ns = MIN_OF(d->due_ns, d->flush_ns + rest_ns(v, d));
	timer_locked(v, look_ns(d));
}

void dirty_rest_locked(struct vfs *v, int maker)
{
	struct dirty *d, *more;

	lock_assert_held(&v->lock);
	HASH_ITER (hh, v->s.dirty, d, more) {
		if (!d->brief || d->maker != maker)
			continue;
		d->brief = false;
		if (d->closed && d->due_ns > 1) /* else it is wanted */
			d->due_ns = MAX_OF(d->due_ns, d->flush_ns + rest_ns(v, d));
	}
}

void dirty_turned(struct vfs *v, uint64_t ino)
{
	struct dirty *d;
	LOCKED(&v->lock);

	HASH_FIND(hh, v->s.dirty, &ino, sizeof(ino), d);
	if (!d) {
		maker_again_locked(v, ino);
		return;
	}
	if (!d->maker)
		return;
	if (d->brief && d->closed && d->due_ns > 1)
		d->due_ns = MAX_OF(d->due_ns, d->flush_ns + v->conf.upload_delay_ns);
	spoil_locked(v, d);
}

void dirty_hurry(struct vfs *v)
{
	int64_t now = clock_mono_ns();
	struct dirty *d, *more;
	LOCKED(&v->lock);

	HASH_ITER (hh, v->s.dirty, d, more) {
		d->due_ns = 1; /* long ago: nor do they stand back */
	}
	timer_locked(v, now);
}

/* ---- posting ---- */

struct due {
	uint64_t ino;
	int64_t from_ns; /* its upload does not begin before; 0 = now */
};

static errint_t post_one(struct vfs *v, struct meta_txn *t, const struct due *d, bool soon)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, d->ino, &in);

	if (r)
		return r == -ENOENT ? 0 : r;
	if (!(in.flags & META_F_DIRTY) || (in.flags & META_F_ORPHAN))
		return 0;
	return d->from_ns ? job_upload_at(v->jobs, t, d->ino, d->from_ns)
			  : job_upload(v->jobs, t, d->ino, soon);
}

static errint_t post_txn(struct vfs *v, const struct due *due, size_t n, bool soon)
{
	struct meta_txn *t = meta_begin(v->conf.meta);
	errint_t r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = post_one(v, t, &due[i], soon);
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

/* What cannot be posted now stays on the list. */
static errint_t post_batch(struct vfs *v, const struct due *due, size_t n, bool soon)
{
	errint_t r = post_txn(v, due, n, soon), first = 0;

	for (size_t i = 0; r && i < n; i++) {
		errint_t one = n == 1 ? r : post_txn(v, &due[i], 1, soon);

		if (!one)
			continue;
		log_warn("vfs", "inode %llu cannot be posted for upload: %s; tried again",
			(unsigned long long)due[i].ino, strerrordesc_np(-one));
		dirty_event(v, due[i].ino, DIRTY_AGAIN);
		if (!first)
			first = one;
	}
	return first;
}

/* Takes what is due from the list; *ret_next = when to look again, 0 = none is left. What rests
 * briefly is posted before, and rests on as a job, so that the sync point that its upload waits for
 * passes meanwhile; it does not stand back then (job_upload_at). */
static size_t take_due(struct vfs *v, struct due due[DIRTY_BATCH], int64_t now, int64_t *ret_next)
{
	int64_t back = job_stand_back(v->jobs);
	struct dirty *d, *more;
	size_t n = 0;
	int64_t brief = INT64_MAX, other = INT64_MAX;
	LOCKED(&v->lock);

	HASH_ITER (hh, v->s.dirty, d, more) {
		if (n < DIRTY_BATCH && look_ns(d) + (d->brief ? 0 : back) <= now) {
			due[n++] = (struct due){d->ino, d->brief && d->due_ns > 1 ? d->due_ns : 0};
			if (d->brief)
				maker_gone_locked(v, d->ino, d->maker);
			hold_locked(v, d, false);
			HASH_DEL(v->s.dirty, d);
			free(d);
		} else if (d->brief) {
			brief = MIN_OF(brief, look_ns(d));
		} else {
			other = MIN_OF(other, d->due_ns);
		}
	}
	if (back && other != INT64_MAX) /* a pause is seen soon */
		other = MAX_OF(other, now + DIRTY_LOOK_NS);
	*ret_next = MIN_OF(brief, other) == INT64_MAX ? 0 : MIN_OF(brief, other);
	v->s.posting += n;
	return n;
}

void dirty_run(struct pool_task *t)
{
	struct vfs *v = container_of(t, struct vfs, dirty_task);
	struct due due[DIRTY_BATCH];
	int64_t now = clock_mono_ns(), next;
	size_t n = 0;

	lock_take(&v->lock);
	v->s.dirty_timer_ns = 0;
	if (v->s.stopping || v->s.flushing) {
		lock_drop(&v->lock);
		return;
	}
	atomic_fetch_add(&v->background, 1);
	lock_drop(&v->lock);
	if (job_full(v->jobs)) {
		next = now + NS_PER_S / 2;
	} else {
		n = take_due(v, due, now, &next);
		if (n)
			(void)post_batch(v, due, n, false);
		if (n)
			meta_sync_wanted(v->conf.meta);
	}
	lock_take(&v->lock);
	v->s.posting -= n;
	if (next)
		timer_locked(v, MAX_OF(next, now + DIRTY_TICK_NS));
	lock_drop(&v->lock);
	atomic_fetch_sub(&v->background, 1);
}

struct inos {
	uint64_t *p; /* owned */
	size_t n, cap;
};

static int inos_add(void *arg, uint64_t ino)
{
	struct inos *a = arg;

	if (a->n == a->cap) {
		size_t cap = a->cap ? a->cap * 2 : 256;
		uint64_t *p = reallocarray(a->p, cap, sizeof(*p));

		if (!p)
			return -ENOMEM;
		a->p = p;
		a->cap = cap;
	}
	a->p[a->n++] = ino;
	return 0;
}

static void posting_add(struct vfs *v, int n)
{
	LOCKED(&v->lock);

	v->s.posting += (size_t)n;
}

/* A batch of those that want() likes; flushes what staging knows better first. */
static errint_t post_wanted(struct vfs *v, const struct inos *a, size_t from,
	bool (*want)(struct vfs *v, struct meta_txn *t, const struct meta_inode *in, uint64_t arg),
	uint64_t arg, bool soon)
{
	struct due due[DIRTY_BATCH];
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	struct meta_inode in;
	size_t n = 0;
	errint_t r;

	for (size_t i = from; i < a->n && i < from + DIRTY_BATCH; i++) {
		if (!meta_inode_get(t, a->p[i], &in) && (!want || want(v, t, &in, arg)))
			due[n++] = (struct due){.ino = a->p[i]};
	}
	meta_abort(t);
	posting_add(v, (int)n);
	for (size_t i = 0; i < n; i++) {
		struct vfs_node *node = node_get(v, due[i].ino);

		if (!node)
			continue;
		(void)node_flush(v, node); /* the upload tells the row, too */
		node_put(v, node);
		dirty_forget(v, due[i].ino);
	}
	r = n ? post_batch(v, due, n, soon) : 0;
	posting_add(v, -(int)n);
	return r;
}

errint_t dirty_post(struct vfs *v,
	bool (*want)(struct vfs *v, struct meta_txn *t, const struct meta_inode *in, uint64_t arg),
	uint64_t arg, bool soon)
{
	struct inos a = {0};
	struct meta_txn *t;
	errint_t r, first;

	vfs_catch_up(v); /* in few transactions */
	t = meta_begin_read(v->conf.meta);
	r = meta_dirty_each(t, inos_add, &a);
	meta_abort(t);
	for (size_t i = 0; i < a.n && !r; i += DIRTY_BATCH) {
		first = post_wanted(v, &a, i, want, arg, soon);
		if (first)
			r = first;
	}
	free(a.p);
	return r;
}

/* ---- recovery ---- */

/* An upload had made staging clean, and a kill came before the row was: what the object has. */
static errint_t recover_clean(struct meta_txn *t, struct stage_file *sf, struct meta_inode *in)
{
	char etag[META_ETAG_MAX];
	uint64_t size;

	stage_base_get(sf, etag, &size);
	if (!(in->flags & META_F_BASE) || strcmp(etag, in->loc.etag) || size == in->size)
		return 0;
	in->size = size;
	if (stage_mtime(sf))
		in->mtime_ns = stage_mtime(sf);
	return meta_inode_put(t, in);
}

/* Rows of files that were open at a crash: size and time are in the staging. */
static errint_t recover_row(struct vfs *v, struct meta_txn *t, uint64_t ino)
{
	struct stage_file *sf = NULL;
	struct meta_inode in;
	errint_t r = meta_inode_get(t, ino, &in);

	if (r || in.kind != META_FILE)
		return r == -ENOENT ? 0 : r;
	r = stage_get(v->conf.stage, ino, false, &sf);
	if (r == -ENOENT && !in.size && !(in.flags & META_F_BASE)) {
		/* Created, and killed before its staging was made. */
		r = stage_get(v->conf.stage, ino, true, &sf);
		if (!r)
			r = stage_reset(sf);
	} else if (!r && !stage_dirty(sf) && !in.size && !(in.flags & META_F_BASE)) {
		r = stage_reset(sf); /* it was emptied, and a kill came in between */
	} else if (!r && !stage_dirty(sf)) {
		r = recover_clean(t, sf, &in);
	} else if (!r) {
		in.size = stage_size(sf);
		if (stage_mtime(sf))
			in.mtime_ns = stage_mtime(sf);
		r = meta_inode_put(t, &in);
	}
	stage_put(sf);
	if (r && !meta_txn_failed(t)) {
		log_error("vfs", "inode %llu: staged content cannot be read: %s",
			(unsigned long long)ino, strerrordesc_np(-r));
		r = 0; /* the others are not to suffer */
	}
	return r;
}

static errint_t recover_orphan(struct vfs *v, struct meta_txn *t, uint64_t ino)
{
	return job_orphan_closed(v->jobs, t, ino);
}

static errint_t recover_each(struct vfs *v, const struct inos *a,
	errint_t (*fn)(struct vfs *v, struct meta_txn *t, uint64_t ino))
{
	for (size_t i = 0; i < a->n;) {
		struct meta_txn *t = meta_begin(v->conf.meta);
		errint_t r = 0;

		for (size_t k = 0; k < DIRTY_BATCH && i < a->n && !r; k++)
			r = fn(v, t, a->p[i++]);
		if (r) {
			meta_abort(t);
			return r;
		}
		r = meta_commit(t);
		if (r)
			return r;
	}
	return 0;
}

errint_t dirty_recover(struct vfs *v, struct err *err)
{
	struct inos dirty = {0}, orphans = {0};
	struct meta_txn *t = meta_begin_read(v->conf.meta);
	errint_t r = meta_dirty_each(t, inos_add, &dirty);

	if (!r)
		r = meta_orphans_each(t, inos_add, &orphans);
	meta_abort(t);
	if (!r && !v->conf.ro)
		r = recover_each(v, &dirty, recover_row);
	if (!r && !v->conf.ro)
		r = recover_each(v, &orphans, recover_orphan);
	for (size_t i = 0; i < dirty.n && !r; i++)
		dirty_event(v, dirty.p[i], DIRTY_AGAIN);
	if (r)
		(void)err_set(err, r, ERR_FINAL, "recovering the list of changed files: %s",
			strerrordesc_np(-r));
	else if (dirty.n)
		log_notice("vfs", "%zu changed files are still to be uploaded", dirty.n);
	free(dirty.p);
	free(orphans.p);
	return r;
}

void vfs_flush_all(struct vfs *v)
{
	lock_take(&v->lock);
	v->s.flushing = true;
	lock_drop(&v->lock);
	(void)dirty_post(v, NULL, 0, true); /* logged; what failed is in the index */
}

void dirty_done(struct vfs *v)
{
	struct dirty *d, *more;

	HASH_ITER (hh, v->s.dirty, d, more) {
		HASH_DEL(v->s.dirty, d);
		free(d);
	}
}
