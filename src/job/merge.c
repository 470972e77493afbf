/* SPDX-License-Identifier: MIT */
/*
 * What LIST pages say, into the index.
 *
 * Each listing carries the local sequence of its request; a job that ends leaves a stamp for its
 * keys. A merge ignores what a page says, or fails to say, about keys that are claimed or were
 * stamped later. Absence counts only inside the name range of a page that came completely.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "merge.h"

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

errint_t merge_left(struct merge *m)
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

void merge_left_done(struct merge *m)
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

static bool stamped_locked(struct merge *m, const char *name)
{
	struct stamp *s = NULL;

	HASH_FIND_STR(m->j->g.stamps, name, s);
	return s != NULL && s->seq > m->seq;
}

/* Jobs that ended since the LIST was asked had the key, or moved a directory above it. */
bool merge_stamped_locked(struct merge *m, const char *path)
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
bool merge_hands_off(struct merge *m, const char *path)
{
	struct jobs *j = m->j;
	struct stamp *s = NULL;
	char name[META_PATH_MAX + 32];

	LOCKED(&j->g.lock);
	if (graph_claimed(j, m->remote, path, m->but) || merge_stamped_locked(m, path))
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

bool merge_is_link(const struct store_entry *e)
{
	for (unsigned i = 0; i < e->nmeta; i++)
		if (strcmp(e->meta[i].key, "mode") == 0)
			return S_ISLNK(attrs_mode(e->meta[i].value));
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

errint_t merge_dir(struct merge *m, const char *name)
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
bool merge_name(struct merge *m, const struct store_entry *e, char path[META_PATH_MAX + 1],
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

/* Of a file whose name another one has, which lies beside its key: the job of that one removes it,
 * and may have to wait. */
static bool is_of_victim(struct merge *m, const char *path)
{
	struct job *job = NULL;
	struct meta_inode v;

	if (!path_is_beside(path))
		return false;
	LOCKED(&m->j->g.lock);
	TAILQ_FOREACH (job, &m->j->g.all, link)
		if (job->victim != 0 && meta_inode_get(m->t, job->victim, &v) == 0 &&
			(v.flags & META_F_OBJECT) != 0 && v.loc.remote == m->remote &&
			strcmp(v.loc.path, path) == 0)
			return true;
	return false;
}

errint_t merge_entry(struct merge *m, const struct store_entry *e)
{
	char path[META_PATH_MAX + 1], name[META_NAME_MAX + 1];
	bool alias = false;
	uint64_t ino = 0;
	struct meta_inode in;

	if (!merge_name(m, e, path, name, &alias) || merge_hands_off(m, path))
		return 0;
	errint_t r = meta_lookup(m->t, m->dir, name, &ino);

	if (r == -ENOENT && (left_has(m, path) || is_of_victim(m, path)))
		return 0;
	if (r == -ENOENT && e->is_prefix)
		return merge_dir(m, name);
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
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t key_hash(const struct absent *a, const char *key)
{
	return hash64(key, strlen(key), a->seed);
}

static int look_absent(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct absent *a = arg;
	struct merge *m = a->m;
	char path[META_PATH_MAX + 1], part[META_NAME_MAX + 1];
	uint64_t key = 0;

	count_inc(list_compared);
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
	if (strncmp(path, m->prefix, strlen(m->prefix)) != 0 || merge_hands_off(m, path))
		return 0;
	key = key_hash(a, path + strlen(m->prefix));
	if (a->n != 0 && bsearch(&key, a->keys, a->n, sizeof(*a->keys), key_cmp) != NULL)
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

errint_t merge_absent(struct merge *m, struct absent *a)
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

errint_t merge_note(struct absent *a, struct merge *m, const struct store_page *p)
{
	for (size_t i = 0; i < p->n; i++) {
		if (a->n == a->cap) {
			size_t cap = a->cap != 0 ? 2 * a->cap : 1024;
			uint64_t *k = realloc(a->keys, cap * sizeof(*k));

			if (k == NULL)
				return -ENOMEM;
			a->keys = k;
			a->cap = cap;
		}
		a->keys[a->n++] = key_hash(a, p->e[i].key + m->prefix_len);
	}
	return 0;
}
