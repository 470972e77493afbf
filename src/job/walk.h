/* SPDX-License-Identifier: MIT */
/* What a directory move takes along: walk.c finds it, dirmove.c moves it. */
#ifndef ASTRA_JOB_WALK_H
#define ASTRA_JOB_WALK_H

#include "job_priv.h"

#define WALK_SLICE_MAX 512

struct walk {
	uint64_t *dirs; /* owned; found so far, the first is the top */
	size_t ndirs, capdirs;
	size_t next; /* while directories are listed: dirs[next] is; then files are of the one
			before */
	uint64_t files[WALK_SLICE_MAX]; /* of dirs[next - 1], from cookie on, or of left */
	size_t nfiles, at;
	uint64_t cookie;
	uint64_t *left; /* owned; inodes that come after all directories */
	size_t nleft, left_at;
	uint64_t nfound, bytes_found; /* files that are to move */
};

/* From job->ino and what left it. The walk is zeroed, and to be walk_done in any case. */
errint_t walk_begin(struct walk *w, struct job *job);
void walk_done(struct walk *w);

/* Asks the cloud of dirs[next], where the index does not know all of it yet. A directory that is
 * removed has nothing. */
errint_t walk_list(struct walk *w, struct job *job, struct err *err);
/* Takes what the index has in dirs[next], and goes on to the next. */
errint_t walk_enter(struct walk *w, struct job *job);

/* All are listed: their files, from the first. */
void walk_rewind(struct walk *w);
/* 1: files[at] is the next one; 0: that was all; or what reading the index said. */
int walk_more(struct walk *w, struct jobs *j);
/* The end is known, without a look at the index. */
bool walk_ended(const struct walk *w);
/* After the end: these inodes once more. Takes inos. */
void walk_again(struct walk *w, uint64_t *inos, size_t n);

/* What left the directory after it moved, and whose jobs come behind this one: it lies below the
 * old prefix, and somebody may count on its being empty. Files into left; directories are walked
 * as if they were here still. but: files that need not be taken. *ret_more: there is something that
 * was not taken yet. */
errint_t walk_take_left(struct walk *w, struct job *job, struct meta_txn *t, const uint64_t *but,
	size_t nbut, bool *ret_more);

/* A directory that was made after this move was posted may lie below job->src by its name: its
 * objects come, or have come, by later jobs. */
bool walk_concerns(const struct job *job, const struct meta_inode *dir);
/* Where a place below job->src goes: history is replayed, whatever the name is by now. -ESTALE: it
 * is not of this move, and has jobs of its own. */
errint_t walk_target(
	const struct job *job, uint32_t remote, const char *path, char ret[META_PATH_MAX + 1]);

/* To a growing array. */
errint_t inos_add(uint64_t **p, size_t *n, size_t *cap, uint64_t ino);

#endif
