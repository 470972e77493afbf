/* SPDX-License-Identifier: MIT */
/*
 * LIST pages into the index. Not journaled: a listing that a crash ends is asked again.
 *
 * Each listing carries the local sequence of its request; a job that ends leaves a stamp for its
 * keys. A merge ignores what a page says, or fails to say, about keys that are claimed or were
 * stamped later. Absence counts only inside the name range of a page that came completely.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define DIR_GONE_MAX 4096 /* rows removed in one transaction */

struct listing {
	UT_hash_handle hh; /* g.lock */
	uint64_t dir;
	TAILQ_HEAD(, job_waiter) waiters; /* g.lock */
	struct pool_task task;
	struct jobs *jobs;
};

struct merge {
	struct jobs *j;
	const struct job *but;
	uint64_t dir, seq;
	uint32_t remote;
	bool list_meta; /* pages say what attributes objects have */
	bool head_meta; /* or objects are asked for them */
	char prefix[META_PATH_MAX + 1];
	size_t prefix_len; /* of keys in pages (bucket and hidden prefix included) */
	const struct store_page *page;
	char **targets; /* owned array of owned: of the page's symbolic links, where they are needed
			 */
	struct left *left; /* owned */
	struct meta_txn *t;
};

/* A directory move lists what it is to move (merge.but). What has another name since, by jobs that
 * come behind it, lies there too, and is no news: the move takes it along. */
struct left {
	UT_hash_handle hh;
	char name[]; /* REMOTE:PATH of an object, or of a directory with its '/' */
};

static errint_t left_add(struct merge *m, uint32_t remote, const char *path)
{
	char name[META_PATH_MAX + 32];
	struct left *l = NULL;

	(void)snprintf(name, sizeof(name), "%u:%s", remote, path);
	HASH_FIND_STR(m->left, name, l);
	if (l != NULL)
		return 0;
	l = calloc(1, sizeof(*l) + strlen(name) + 1);
	if (l == NULL)
		return -ENOMEM;
	memcpy(l->name, name, strlen(name) + 1);
	HASH_ADD_STR(m->left, name, l);
	return 0;
}

static errint_t left_collect(struct merge *m)
{
	uint64_t *inos = NULL;
	size_t n = 0;
	uint32_t remote = 0;
	char path[META_PATH_MAX + 1];
	struct meta_inode in;
	errint_t r = m->but != NULL ? graph_later_inos(m->j, m->but, &inos, &n) : 0;

	if (n == 0) {
		free(inos);
		return r;
	}
	struct meta_txn *t = meta_begin_read(m->j->conf.meta);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (meta_inode_get(t, inos[i], &in) < 0)
			continue;
		if (in.kind != META_DIR && (in.flags & META_F_OBJECT) != 0)
			r = left_add(m, in.loc.remote, in.loc.path);
		else if (in.kind == META_DIR && meta_dir_prefix(t, in.ino, &remote, path) == 0)
			r = left_add(m, remote, path);
	}
	meta_abort(t);
	free(inos);
	return r;
}

static void left_done(struct merge *m)
{
	struct left *l = NULL, *next = NULL;

	HASH_ITER (hh, m->left, l, next) {
		HASH_DEL(m->left, l);
		free(l);
	}
}

static bool left_has(struct merge *m, const char *path)
{
	char name[META_PATH_MAX + 32];
	struct left *l = NULL;

	(void)snprintf(name, sizeof(name), "%u:%s", m->remote, path);
	HASH_FIND_STR(m->left, name, l);
	return l != NULL;
}

void list_stamp_locked(struct jobs *j, uint32_t remote, const char *path)
{
	lock_assert_held(&j->g.lock);
	j->g.seq++;
	if (j->g.nlistings == 0)
		return; /* no LIST is under way that could be older */
	char name[META_PATH_MAX + 32];
	struct stamp *s = NULL;

	(void)snprintf(name, sizeof(name), "%u:%s", remote, path);
	HASH_FIND_STR(j->g.stamps, name, s);
	if (s == NULL) {
		s = calloc(1, sizeof(*s) + strlen(name) + 1);
		if (s == NULL)
			abort(); /* a forgotten stamp could lose a file from the tree */
		memcpy(s->name, name, strlen(name) + 1);
		HASH_ADD_STR(j->g.stamps, name, s);
	}
	s->seq = j->g.seq;
}

static void stamps_clear_locked(struct jobs *j)
{
	struct stamp *s = NULL, *next = NULL;

	HASH_ITER (hh, j->g.stamps, s, next) {
		HASH_DEL(j->g.stamps, s);
		free(s);
	}
}

static uint64_t listing_begin(struct jobs *j)
{
	LOCKED(&j->g.lock);
	j->g.nlistings++;
	return j->g.seq;
}

static void listing_end(struct jobs *j)
{
	LOCKED(&j->g.lock);
	if (--j->g.nlistings == 0) {
		stamps_clear_locked(j);
		(void)pthread_cond_broadcast(&j->idle);
	}
}

static bool stamped_locked(struct merge *m, const char *name)
{
	struct stamp *s = NULL;

	HASH_FIND_STR(m->j->g.stamps, name, s);
	return s != NULL && s->seq > m->seq;
}

/* Jobs that ended since the LIST was asked had the key, or moved a directory above it. */
static bool key_stamped_locked(struct merge *m, const char *path)
{
	char name[META_PATH_MAX + 32];

	(void)snprintf(name, sizeof(name), "%u:%s", m->remote, path);
	if (stamped_locked(m, name))
		return true;
	for (char *p = name + strlen(name); --p > name;)
		if (*p == '/' || *p == ':') {
			char keep = p[1];

			p[1] = '\0';
			if (keep != '\0' && stamped_locked(m, name))
				return true;
			p[1] = keep;
		}
	return false;
}

/* The key belongs to jobs, or did since the LIST was asked. */
static bool hands_off(struct merge *m, const char *path)
{
	struct jobs *j = m->j;
	struct stamp *s = NULL;
	char name[META_PATH_MAX + 32];

	LOCKED(&j->g.lock);
	if (graph_claimed(j, m->remote, path, m->but) || key_stamped_locked(m, path))
		return true;
	(void)snprintf(name, sizeof(name), "%u:%s", m->remote, path);
	size_t n = strlen(path);

	/* a directory: anything at or below it */
	if (n != 0 && path[n - 1] == '/') {
		if (graph_claimed_below(j, m->remote, path, m->but))
			return true;
		for (s = j->g.stamps; s != NULL; s = s->hh.next)
			if (s->seq > m->seq && strncmp(s->name, name, strlen(name)) == 0)
				return true;
	}
	return false;
}

static void loc_from_entry(
	struct merge *m, struct meta_inode *in, const char *path, const struct store_entry *e)
{
	struct store_stat st = {.size = e->size,
		.mtime_ns = e->mtime_ns,
		.archived = e->archived,
		.restoring = e->restoring,
		.restored_until_ns = e->restored_until_ns};

	(void)snprintf(st.etag, sizeof(st.etag), "%s", e->etag != NULL ? e->etag : "");
	(void)snprintf(st.class_name, sizeof(st.class_name), "%s",
		e->class_name != NULL ? e->class_name : "");
	job_loc_set(in, m->j, m->remote, path, &st);
	in->flags |= META_F_OBJECT | META_F_BASE;
	in->size = e->size;
}

static bool is_link(const struct store_entry *e)
{
	for (unsigned i = 0; i < e->nmeta; i++)
		if (strcmp(e->meta[i].key, "mode") == 0)
			return S_ISLNK(strtoul(e->meta[i].value, NULL, 10));
	return false;
}

/* A link whose target could not be had is shown as what it is: an object with some bytes. */
static void set_target(struct merge *m, struct meta_inode *in, const struct store_entry *e)
{
	const char *target = m->targets[e - m->page->e];

	in->symlink[0] = '\0';
	if (in->kind != META_SYMLINK)
		return;
	if (target == NULL) {
		in->kind = META_FILE;
		in->mode = S_IFREG | (0666 & ~m->j->conf.umask);
		return;
	}
	(void)snprintf(in->symlink, sizeof(in->symlink), "%s", target);
	in->mode = S_IFLNK | 0777;
}

static errint_t new_file(struct merge *m, const char *path, const char *name, bool alias,
	const struct store_entry *e)
{
	struct meta_inode in = {.kind = META_FILE};

	attrs_read(m->j, &in, e->mtime_ns, e->meta, e->nmeta);
	loc_from_entry(m, &in, path, e);
	set_target(m, &in, e);
	if (alias)
		in.flags |= META_F_ALIAS;
	in.atime_ns = in.ctime_ns = in.mtime_ns;
	in.btime_ns = e->mtime_ns;
	in.ino = meta_ino_next(m->t);
	errint_t r = meta_link(m->t, &in, m->dir, name);

	return r < 0 || in.kind != META_FILE ? r : attrs_take(m->t, in.ino, e->meta, e->nmeta);
}

static errint_t forget(struct merge *m, uint64_t ino, unsigned depth);

static errint_t replaced_file(
	struct merge *m, uint64_t ino, const char *path, const struct store_entry *e)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(m->t, ino, &in);

	if (r == 0)
		r = forget(m, ino, 0);
	return r < 0 ? r : new_file(m, path, in.name, (in.flags & META_F_ALIAS) != 0, e);
}

static errint_t changed_file(
	struct merge *m, struct meta_inode *in, const char *path, const struct store_entry *e)
{
	bool same = (in->flags & META_F_OBJECT) != 0 && in->loc.remote == m->remote &&
		    strcmp(in->loc.path, path) == 0 && e->etag != NULL &&
		    strcmp(in->loc.etag, e->etag) == 0;
	bool archived = (in->flags & META_F_ARCHIVED) != 0;

	if (same && e->archived == archived &&
		(e->class_name == NULL || strcmp(in->class_name, e->class_name) == 0))
		return 0;
	if ((in->flags & META_F_DIRTY) != 0 || (in->flags & META_F_OBJECT) == 0 ||
		in->loc.remote != m->remote || strcmp(in->loc.path, path) != 0)
		return 0; /* ours is newer, or lies elsewhere: its upload will meet theirs */
	if (!same) {
		enum meta_kind was = in->kind;

		in->kind = META_FILE;
		attrs_read(m->j, in, e->mtime_ns, e->meta, e->nmeta);
		set_target(m, in, e);
		if (in->kind != was) /* the kernel keeps an inode's kind: another one */
			return replaced_file(m, in->ino, path, e);
		in->ctime_ns = clock_now_ns();
		in->version++;
		in->flags &= ~(uint32_t)META_F_ATTR_LOCAL; /* theirs, as it is now */
	}
	loc_from_entry(m, in, path, e);
	errint_t r = meta_inode_put(m->t, in);

	if (r == 0 && !same && in->kind == META_FILE && m->list_meta)
		r = attrs_take(m->t, in->ino, e->meta, e->nmeta);

	if (r == 0)
		m->j->conf.hooks.inode_changed(m->j->conf.hooks.arg, in->ino, !same);
	return r;
}

static errint_t new_dir(struct merge *m, const char *name)
{
	struct meta_inode in = {.kind = META_DIR};

	in.ino = meta_ino_next(m->t);
	in.mode = S_IFDIR | (0777 & ~m->j->conf.umask);
	in.flags = META_F_FOREIGN;
	in.uid = m->j->conf.uid;
	in.gid = m->j->conf.gid;
	in.mtime_ns = in.ctime_ns = in.atime_ns = in.btime_ns = clock_now_ns();
	return meta_link(m->t, &in, m->dir, name);
}

/* Path below the remote of an entry's key, its last component's name. False: not to be shown. */
static bool entry_name(struct merge *m, const struct store_entry *e, char path[META_PATH_MAX + 1],
	char name[META_NAME_MAX + 1], bool *alias)
{
	const char *rest = e->key + m->prefix_len;
	size_t len = strlen(rest);

	if (e->is_prefix && len > 0)
		len--;
	if (len == 0 && !e->is_prefix)
		return false; /* the directory's own marker */
	if (snprintf(path, META_PATH_MAX + 1, "%s%s", m->prefix, rest) > META_PATH_MAX)
		return false;
	meta_name_encode(rest, len, name, alias);
	return true;
}

static errint_t merge_entry(struct merge *m, const struct store_entry *e)
{
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	uint64_t ino = 0;
	struct meta_inode in;

	if (!entry_name(m, e, path, name, &alias) || hands_off(m, path))
		return 0;
	errint_t r = meta_lookup(m->t, m->dir, name, &ino);

	if (r == -ENOENT && left_has(m, path))
		return 0;
	if (r == -ENOENT && e->is_prefix)
		return new_dir(m, name);
	if (r == -ENOENT)
		return new_file(m, path, name, alias, e);
	if (r == 0)
		r = meta_inode_get(m->t, ino, &in);
	if (r < 0)
		return r;
	if (e->is_prefix != (in.kind == META_DIR)) {
		/* object and prefix of one name: the object is shown with a suffix */
		if (e->is_prefix || strlen(name) + 2 > META_NAME_MAX)
			return 0;
		strcat(name, "%.");
		r = meta_lookup(m->t, m->dir, name, &ino);
		if (r == -ENOENT)
			return new_file(m, path, name, true, e);
		if (r == 0)
			r = meta_inode_get(m->t, ino, &in);
		return r < 0 ? r : changed_file(m, &in, path, e);
	}
	return in.kind == META_DIR ? 0 : changed_file(m, &in, path, e);
}

/* ---- absence ---- */

struct absent {
	struct merge *m;
	char **keys; /* owned: all keys of all pages, sorted */
	size_t n, cap;
	uint64_t gone[DIR_GONE_MAX];
	size_t ngone;
};

static bool unsettled_below(struct merge *m, uint64_t dir, unsigned depth);

static int child_unsettled(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct merge *m = arg;

	if (kind == META_DIR)
		return unsettled_below(m, ino, 1) ? -EBUSY : 0;
	return (full->flags & META_F_DIRTY) != 0 || (full->flags & META_F_OBJECT) == 0 ||
			       job_live(m->j, ino)
		       ? -EBUSY
		       : 0;
}

static bool unsettled_below(struct merge *m, uint64_t dir, unsigned depth)
{
	return job_live(m->j, dir) || meta_children(m->t, dir, 0, true, child_unsettled, m) != 0;
}

static int key_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int look_absent(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct absent *a = arg;
	struct merge *m = a->m;
	char path[META_PATH_MAX + 1], part[META_NAME_MAX + 1];
	const char *p = path;

	if (kind == META_DIR) {
		meta_name_decode(name, part);
		if ((full->flags & (META_F_ROOT | META_F_BUCKET | META_F_PREFIX)) != 0 ||
			snprintf(path, sizeof(path), "%s%s/", m->prefix, part) > META_PATH_MAX)
			return 0;
		if (full->ctime_ns > clock_now_ns() - 60 * NS_PER_S &&
			(full->flags & META_F_MARKER) == 0)
			return 0; /* made here a moment ago: its marker is on its way */
	} else {
		if ((full->flags & META_F_DIRTY) != 0 || (full->flags & META_F_OBJECT) == 0 ||
			full->loc.remote != m->remote)
			return 0;
		(void)snprintf(path, sizeof(path), "%s", full->loc.path);
	}
	if (strncmp(path, m->prefix, strlen(m->prefix)) != 0 || hands_off(m, path))
		return 0;
	p += strlen(m->prefix);
	if (a->n != 0 && bsearch(&p, a->keys, a->n, sizeof(*a->keys), key_cmp) != NULL)
		return 0;
	if (kind == META_DIR ? unsettled_below(m, ino, 0) : job_live(m->j, ino))
		return 0;
	a->gone[a->ngone++] = ino;
	return a->ngone == DIR_GONE_MAX;
}

struct forget_arg {
	struct merge *m;
	unsigned depth;
	uint64_t ino[256];
	size_t n;
};

static int forget_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct forget_arg *f = arg;

	f->ino[f->n++] = ino;
	return f->n == ARRAY_SIZE(f->ino);
}

/* Takes a name (and a directory's, with all below) out of the index: it is gone in the cloud. */
static errint_t forget(struct merge *m, uint64_t ino, unsigned depth)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(m->t, ino, &in);

	if (r < 0 || depth > 64)
		return r < 0 ? r : -ELOOP;
	if (in.kind == META_DIR) {
		struct forget_arg *f = calloc(1, sizeof(*f));

		if (f == NULL)
			return -ENOMEM;
		f->m = m;
		do {
			f->n = 0;
			r = meta_children(m->t, ino, 0, false, forget_child, f);
			for (size_t i = 0; r == 0 && i < f->n; i++)
				r = forget(m, f->ino[i], depth + 1);
		} while (r == 0 && f->n != 0);
		free(f);
		if (r < 0)
			return r;
		r = meta_inode_get(m->t, ino, &in);
		if (r < 0)
			return r;
	}
	uint64_t parent = in.parent;
	char name[META_NAME_MAX + 1];

	(void)snprintf(name, sizeof(name), "%s", in.name);
	r = meta_unlink(m->t, &in);
	if (r == 0)
		r = orphan_sweep(m->j, m->t, ino, NULL);
	m->j->conf.hooks.entry_changed(m->j->conf.hooks.arg, parent, name);
	return r;
}

static errint_t drop_absent(struct merge *m, struct absent *a)
{
	if (a->n != 0)
		qsort(a->keys, a->n, sizeof(*a->keys), key_cmp);
	do {
		a->ngone = 0;
		m->t = meta_begin(m->j->conf.meta);
		errint_t r = meta_children(m->t, m->dir, 0, true, look_absent, a);

		for (size_t i = 0; r >= 0 && i < a->ngone; i++)
			r = forget(m, a->gone[i], 0);
		if (r < 0 && r != -ENOENT)
			meta_txn_fail(m->t, r);
		r = meta_commit(m->t);
		m->t = NULL;
		if (r < 0)
			return r;
	} while (a->ngone == DIR_GONE_MAX);
	return 0;
}

/* ---- pages ---- */

static errint_t note_keys(struct absent *a, struct merge *m, const struct store_page *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (a->n == a->cap) {
			size_t cap = a->cap != 0 ? 2 * a->cap : 1024;
			char **k = realloc(a->keys, cap * sizeof(*k));

			if (k == NULL)
				return -ENOMEM;
			a->keys = k;
			a->cap = cap;
		}
		a->keys[a->n] = strdup(p->e[i].key + m->prefix_len);
		if (a->keys[a->n] == NULL)
			return -ENOMEM;
		a->n++;
	}
	return 0;
}

/* The index has this link as the page says it is. */
static bool link_known(struct merge *m, struct meta_txn *t, const struct store_entry *e)
{
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	uint64_t ino = 0;
	struct meta_inode in;

	return entry_name(m, e, path, name, &alias) && meta_lookup(t, m->dir, name, &ino) == 0 &&
	       meta_inode_get(t, ino, &in) == 0 && in.kind == META_SYMLINK && e->etag != NULL &&
	       strcmp(in.loc.etag, e->etag) == 0;
}

/* A symbolic link's target is its content; NULL when that cannot be a target. Read before the
 * transaction: a store may take long. */
static errint_t read_target(
	struct merge *m, const struct store_entry *e, char **ret, struct err *err)
{
	struct objref o;
	struct store_call call = {0};
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	size_t got = 0;

	*ret = NULL;
	if (e->size == 0 || e->size > META_SYMLINK_MAX || !entry_name(m, e, path, name, &alias))
		return 0;
	cleanup_free char *target = calloc(1, (size_t)e->size + 1);

	if (target == NULL)
		return -ENOMEM;
	errint_t r = objref_make(m->j, m->remote, path, &o, err);

	if (r == 0)
		r = store_get(o.st, &call, o.o, e->etag, 0, target, (size_t)e->size, &got, err);
	if (r < 0) /* gone or changed since: the next listing knows better */
		return err->kind == ERR_NOT_FOUND || err->kind == ERR_STALE ? 0 : r;
	if (got == e->size && memchr(target, '\0', got) == NULL)
		*ret = steal_ptr(&target);
	return 0;
}

static void targets_done(struct merge *m)
{
	for (size_t i = 0; m->targets != NULL && i < m->page->n; i++)
		free(m->targets[i]);
	free(m->targets);
	m->targets = NULL;
}

static errint_t targets_read(struct merge *m, const struct store_page *p, struct err *err)
{
	errint_t r = 0;

	m->page = p;
	m->targets = calloc(p->n + 1, sizeof(*m->targets));
	if (m->targets == NULL)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		if (p->e[i].is_prefix || strlen(p->e[i].key) < m->prefix_len || !is_link(&p->e[i]))
			continue;
		struct meta_txn *t = meta_begin_read(m->j->conf.meta);
		bool known = link_known(m, t, &p->e[i]);

		meta_abort(t);
		if (!known)
			r = read_target(m, &p->e[i], &m->targets[i], err);
	}
	return r;
}

static errint_t merge_page(struct merge *m, const struct store_page *p, struct err *err)
{
	errint_t r = targets_read(m, p, err);

	if (r < 0) {
		targets_done(m);
		return r;
	}
	m->t = meta_begin(m->j->conf.meta);
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		if (strlen(p->e[i].key) < m->prefix_len)
			r = -EBADMSG;
		else
			r = merge_entry(m, &p->e[i]);
		if (r == -ENAMETOOLONG || r == -EEXIST)
			r = 0; /* an odd key never breaks a listing */
	}
	if (r < 0)
		meta_txn_fail(m->t, r);
	r = meta_commit(m->t);
	m->t = NULL;
	targets_done(m);
	return r < 0 ? err_set(err, r, ERR_RETRY, "index: %s", strerror(-r)) : 0;
}

/* The marker that the LIST found is dir's: not of one that had the name before, which takes it
 * along, or whose removal is on its way. */
static bool marker_is_own(struct merge *m, const struct meta_inode *dir)
{
	LOCKED(&m->j->g.lock);
	return !key_stamped_locked(m, m->prefix) &&
	       !graph_marker_wanted(m->j, m->remote, m->prefix, dir->moves_before, m->but);
}

static errint_t listed(struct merge *m, bool marker)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin(m->j->conf.meta);

	if (meta_inode_get(t, m->dir, &in) == 0) {
		in.listed_at_ns = clock_now_ns();
		if (marker && marker_is_own(m, &in))
			in.flags |= META_F_MARKER;
		(void)meta_inode_put(t, &in);
	}
	return meta_commit(t);
}

/* The index has this very version. */
static bool version_known(struct merge *m, struct meta_txn *t, const struct store_entry *e,
	const char *path, const char *name)
{
	uint64_t ino = 0;
	struct meta_inode in;

	return meta_lookup(t, m->dir, name, &ino) == 0 && meta_inode_get(t, ino, &in) == 0 &&
	       (in.flags & META_F_OBJECT) != 0 && in.loc.remote == m->remote &&
	       strcmp(in.loc.path, path) == 0 && e->etag != NULL &&
	       strcmp(in.loc.etag, e->etag) == 0;
}

/* The metadata of an object that the index does not know in this version; st stays empty where it
 * cannot be had: then it is shown as one that has none. */
static errint_t head_read(
	struct merge *m, const struct store_entry *e, struct store_stat *st, struct err *err)
{
	struct objref o;
	struct store_call call = {0};
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;

	if (e->is_prefix || strlen(e->key) < m->prefix_len || !entry_name(m, e, path, name, &alias))
		return 0;
	struct meta_txn *t = meta_begin_read(m->j->conf.meta);
	bool known = version_known(m, t, e, path, name);

	meta_abort(t);
	if (known || hands_off(m, path))
		return 0;
	errint_t r = objref_make(m->j, m->remote, path, &o, err);

	if (r == 0)
		r = store_head(o.st, &call, o.o, st, err);
	if (r < 0 &&
		(err->kind == ERR_NOT_FOUND || err->kind == ERR_FINAL || err->kind == ERR_AUTH)) {
		if (err->kind != ERR_NOT_FOUND)
			log_info("job", "'%s': its metadata cannot be read: %s", path,
				err_text(err, r));
		err_clear(err);
		return 0;
	}
	if (r == 0 && (e->etag == NULL || strcmp(st->etag, e->etag) != 0))
		store_stat_done(st); /* of another version: the next listing sees that one */
	return r;
}

/* Gives the entries of p the metadata that the LIST does not have. *ret is owned by the caller. */
static errint_t heads_read(
	struct merge *m, struct store_page *p, struct store_stat **ret, struct err *err)
{
	errint_t r = 0;

	*ret = NULL;
	if (!m->head_meta)
		return 0;
	struct store_stat *st = calloc(p->n + 1, sizeof(*st));

	if (st == NULL)
		return err_set(err, -ENOMEM, ERR_RETRY, "out of memory");
	for (size_t i = 0; r == 0 && i < p->n; i++) {
		r = head_read(m, &p->e[i], &st[i], err);
		p->e[i].meta = st[i].meta;
		p->e[i].nmeta = st[i].nmeta;
	}
	*ret = st;
	return r;
}

static void heads_done(const struct store_page *p, struct store_stat *st)
{
	for (size_t i = 0; st != NULL && i < p->n; i++)
		store_stat_done(&st[i]);
	free(st);
}

static errint_t list_objects(struct merge *m, struct err *err)
{
	struct objref o;
	struct store_call call = {0};
	char token[STORE_TOKEN_MAX] = "";
	bool marker = false, more = true;
	struct absent *a = calloc(1, sizeof(*a));
	errint_t r = objref_make(m->j, m->remote, m->prefix, &o, err);

	if (a == NULL)
		r = -ENOMEM;
	else
		a->m = m;
	m->prefix_len = r == 0 ? strlen(o.o.key) : 0;
	while (r == 0 && more) {
		struct store_page p = {0};
		struct store_stat *heads = NULL;

		count_inc(list_pages);
		r = store_list(
			o.st, &call, o.o.bucket, o.o.key, '/', token, STORE_PAGE_MAX, &p, err);
		if (r < 0)
			break;
		marker |= p.n != 0 && m->prefix_len != 0 && strcmp(p.e[0].key, o.o.key) == 0;
		r = heads_read(m, &p, &heads, err);
		if (r == 0)
			r = merge_page(m, &p, err);
		heads_done(&p, heads);
		if (r == 0)
			r = note_keys(a, m, &p);
		more = p.truncated;
		(void)snprintf(token, sizeof(token), "%s", p.next);
		store_page_done(&p);
	}
	if (r == 0)
		r = drop_absent(m, a);
	if (r == 0)
		r = listed(m, marker);
	for (size_t i = 0; a != NULL && i < a->n; i++)
		free(a->keys[i]);
	if (a != NULL)
		free(a->keys);
	free(a);
	return r;
}

/* The top of a remote without bucket: its buckets are directories. */
static errint_t list_buckets(struct merge *m, const struct remote *r, struct err *err)
{
	struct store_call call = {0};
	char **names = NULL;
	size_t n = 0;
	errint_t e = store_bucket_list(r->st, &call, &names, &n, err);

	if (e < 0)
		return e;
	m->t = meta_begin(m->j->conf.meta);
	for (size_t i = 0; e == 0 && i < n; i++) {
		uint64_t ino = 0;
		char path[META_PATH_MAX + 1];
		struct meta_inode in;

		(void)snprintf(path, sizeof(path), "%s/", names[i]);
		if (meta_lookup(m->t, m->dir, names[i], &ino) == 0 || hands_off(m, path))
			continue;
		e = new_dir(m, names[i]);
		if (e == 0 && meta_lookup(m->t, m->dir, names[i], &ino) == 0 &&
			meta_inode_get(m->t, ino, &in) == 0) {
			in.flags |= META_F_BUCKET;
			e = meta_inode_put(m->t, &in);
		}
	}
	if (e < 0)
		meta_txn_fail(m->t, e);
	e = meta_commit(m->t);
	m->t = NULL;
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
	return e == 0 ? listed(m, false) : e;
}

static errint_t list_dir(struct merge *m, struct err *err)
{
	struct jobs *j = m->j;
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	errint_t r = meta_inode_get(t, m->dir, &in);

	if (r == 0 && (in.flags & META_F_ORPHAN) != 0)
		r = -ESTALE; /* what is at its prefix is not its own */
	if (r == 0)
		r = meta_dir_prefix(t, m->dir, &m->remote, m->prefix);
	meta_abort(t);
	if (r < 0)
		return err_set(err, r, ERR_FINAL, "directory: %s", strerror(-r));
	const struct remote *rem = remote_of(j, m->remote);

	if (rem == NULL)
		return err_set(err, -ENODEV, ERR_FINAL, "its remote is not configured");
	m->list_meta = rem->caps.list_meta || rem->caps.head_meta;
	m->head_meta = m->list_meta && !rem->caps.list_meta;
	return (in.flags & META_F_ROOT) != 0 && rem->bucket[0] == '\0' ? list_buckets(m, rem, err)
								       : list_objects(m, err);
}

errint_t list_now(struct jobs *j, uint64_t dir, const struct job *but, struct err *err)
{
	struct merge m = {.j = j, .but = but, .dir = dir};

	m.seq = listing_begin(j); /* before its prefix is read: a move may end right after that */
	errint_t r = left_collect(&m);

	r = r < 0 ? err_set(err, r, ERR_RETRY, "out of memory") : list_dir(&m, err);
	left_done(&m);
	listing_end(j);
	return r;
}

static void listing_task(struct pool_task *task)
{
	struct listing *l = container_of(task, struct listing, task);
	struct jobs *j = l->jobs;
	struct job_waiter *w = NULL;
	struct err err = {0};
	errint_t r = list_now(j, l->dir, NULL, &err);

	if (r < 0)
		log_debug("job", "listing inode %llu: %s", (unsigned long long)l->dir,
			err_text(&err, r));
	lock_take(&j->g.lock);
	HASH_DEL(j->g.listings, l);
	lock_drop(&j->g.lock);
	while ((w = TAILQ_FIRST(&l->waiters)) != NULL) {
		TAILQ_REMOVE(&l->waiters, w, link);
		w->armed = false;
		w->fn(w, r);
	}
	free(l);
	listing_end(j); /* the one of job_list: jobs_stop waits for it */
}

void job_list(struct jobs *j, uint64_t dir, struct job_waiter *w)
{
	struct meta_txn *t = meta_begin_read(j->conf.meta);
	char prefix[META_PATH_MAX + 1];
	struct listing *l = NULL;
	uint32_t remote = 0;
	bool post = false;

	if (meta_dir_prefix(t, dir, &remote, prefix) < 0)
		remote = 0; /* the task finds out, and says so */
	meta_abort(t);
	lock_take(&j->g.lock);
	HASH_FIND(hh, j->g.listings, &dir, sizeof(dir), l);
	if (l == NULL) {
		l = calloc(1, sizeof(*l));
		if (l == NULL) {
			lock_drop(&j->g.lock);
			w->fn(w, -ENOMEM);
			return;
		}
		l->dir = dir;
		l->jobs = j;
		TAILQ_INIT(&l->waiters);
		pool_task_init(&l->task, LANE_FOREGROUND, listing_task);
		pool_task_share(
			&l->task, share_get_locked(j, SHARE_LISTINGS, remote, remote)->pool);
		HASH_ADD(hh, j->g.listings, dir, sizeof(l->dir), l);
		j->g.nlistings++;
		post = true;
	}
	w->ino = dir;
	w->armed = false; /* listings end by themselves: not to be cancelled */
	TAILQ_INSERT_TAIL(&l->waiters, w, link);
	lock_drop(&j->g.lock);
	if (post)
		(void)pool_post(j->conf.pool, &l->task);
}

void listing_free_all(struct jobs *j)
{
	LOCKED(&j->g.lock);
	assert(j->g.listings == NULL);
	stamps_clear_locked(j);
}
