/* SPDX-License-Identifier: MIT */
/*
 * What a directory move takes along: all that lies below its old prefix.
 *
 * First every directory is listed and entered, parents before what is in them, so that the index
 * has all objects. Then their files come in slices, ordered by inode, so that names may come and go
 * in between: what a file's row says when it is its turn decides. After the directories come the
 * inodes that left them by jobs behind this one, or that are to be tried again.
 *
 * Nothing is moved here, and no row changes but for what LIST requests find. What becomes of a
 * file, or of a listing that fails, is for dirmove.c to say.
 */
#include <stdio.h>
#include <string.h>

#include "walk.h"

#define DIRS_MAX 1000000

errint_t inos_add(uint64_t **p, size_t *n, size_t *cap, uint64_t ino)
{
	if (*n == *cap) {
		size_t more = *cap != 0 ? 2 * *cap : 64;
		uint64_t *q = realloc(*p, more * sizeof(*q));

		if (q == NULL)
			return -ENOMEM;
		*p = q;
		*cap = more;
	}
	(*p)[(*n)++] = ino;
	return 0;
}

static errint_t add_dir(struct walk *w, uint64_t ino)
{
	return w->ndirs == DIRS_MAX ? -E2BIG : inos_add(&w->dirs, &w->ndirs, &w->capdirs, ino);
}

errint_t walk_begin(struct walk *w, struct job *job)
{
	bool more = false;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = add_dir(w, job->ino);

	if (r == 0)
		r = walk_take_left(w, job, t, NULL, 0, &more);
	meta_abort(t);
	return r;
}

void walk_done(struct walk *w)
{
	free(w->dirs);
	free(w->left);
}

bool walk_concerns(const struct job *job, const struct meta_inode *dir)
{
	return dir->moves_before < job->id;
}

errint_t walk_target(
	const struct job *job, uint32_t remote, const char *path, char ret[META_PATH_MAX + 1])
{
	size_t n = strlen(job->src);

	if (remote != job->src_remote || strncmp(path, job->src, n) != 0)
		return -ESTALE;
	return snprintf(ret, META_PATH_MAX + 1, "%s%s", job->dst, path + n) > META_PATH_MAX
		       ? -ENAMETOOLONG
		       : 0;
}

/* ---- directories ---- */

static bool is_removed(struct job *job, uint64_t dir)
{
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, dir, &in);

	meta_abort(t);
	return r == -ENOENT || (r == 0 && (in.flags & META_F_ORPHAN) != 0);
}

errint_t walk_list(struct walk *w, struct job *job, struct err *err)
{
	uint64_t dir = w->dirs[w->next];
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_inode_get(t, dir, &in);

	meta_abort(t);
	if (r == 0 && walk_concerns(job, &in) && (in.flags & META_F_ORPHAN) == 0 &&
		in.listed_at_ns <= job->jobs->listed_epoch_ns)
		r = list_now(job->jobs, dir, job, err);
	return r < 0 && is_removed(job, dir) ? 0 : r;
}

struct look {
	const struct job *job;
	struct walk *walk;
};

static int take_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	const struct look *l = arg;
	char path[META_PATH_MAX + 1];

	if (kind == META_DIR)
		return add_dir(l->walk, ino);
	if ((full->flags & META_F_OBJECT) == 0 ||
		walk_target(l->job, full->loc.remote, full->loc.path, path) < 0)
		return 0;
	l->walk->nfound++;
	l->walk->bytes_found += full->size;
	return 0;
}

errint_t walk_enter(struct walk *w, struct job *job)
{
	struct look l = {.job = job, .walk = w};
	struct meta_txn *t = meta_begin_read(job->jobs->conf.meta);
	errint_t r = meta_children(t, w->dirs[w->next], 0, true, take_child, &l);

	meta_abort(t);
	if (r < 0 && r != -ENOENT)
		return r;
	w->next++;
	return 0;
}

/* ---- files ---- */

void walk_rewind(struct walk *w)
{
	w->next = 1;
	w->cookie = 0;
}

static int take_file(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct walk *w = arg;

	w->cookie = ino;
	if (kind != META_DIR)
		w->files[w->nfiles++] = ino;
	return w->nfiles == WALK_SLICE_MAX;
}

int walk_more(struct walk *w, struct jobs *j)
{
	if (w->at < w->nfiles)
		return 1;
	w->at = w->nfiles = 0;
	for (; w->next <= w->ndirs; w->next++, w->cookie = 0) {
		struct meta_txn *t = meta_begin_read(j->conf.meta);
		errint_t r = meta_children(t, w->dirs[w->next - 1], w->cookie, false, take_file, w);

		meta_abort(t);
		if (w->nfiles != 0)
			return 1;
		if (r < 0 && r != -ENOENT)
			return r;
	}
	while (w->left_at < w->nleft && w->nfiles < WALK_SLICE_MAX)
		w->files[w->nfiles++] = w->left[w->left_at++];
	return w->nfiles != 0;
}

bool walk_ended(const struct walk *w)
{
	return w->next > w->ndirs && w->left_at == w->nleft && w->at == w->nfiles;
}

void walk_again(struct walk *w, uint64_t *inos, size_t n)
{
	free(w->left);
	w->left = inos;
	w->nleft = n;
	w->left_at = 0;
}

static bool inos_have(const uint64_t *p, size_t n, uint64_t ino)
{
	size_t i = 0;

	while (i < n && p[i] != ino)
		i++;
	return i < n;
}

errint_t walk_take_left(struct walk *w, struct job *job, struct meta_txn *t, const uint64_t *but,
	size_t nbut, bool *ret_more)
{
	struct meta_inode in;
	char path[META_PATH_MAX + 1], to[META_PATH_MAX + 1];
	uint64_t *inos = NULL;
	size_t n = 0;
	errint_t r = graph_later_inos(job->jobs, job, &inos, &n);

	*ret_more = false;
	if (r < 0)
		return r;
	walk_again(w, inos, 0);
	for (size_t i = 0; r == 0 && i < n; i++) {
		uint32_t remote = 0;

		if (meta_inode_get(t, inos[i], &in) < 0)
			continue;
		if (in.kind != META_DIR) {
			if ((in.flags & META_F_OBJECT) == 0 || inos_have(but, nbut, in.ino) ||
				walk_target(job, in.loc.remote, in.loc.path, to) < 0)
				continue;
			w->left[w->nleft++] = in.ino;
			*ret_more = true;
			continue;
		}
		if (!walk_concerns(job, &in) || meta_dir_prefix(t, in.ino, &remote, path) < 0 ||
			walk_target(job, remote, path, to) < 0)
			continue;
		if (inos_have(w->dirs, w->ndirs, in.ino))
			continue;
		*ret_more = true;
		r = add_dir(w, in.ino);
	}
	return r;
}
