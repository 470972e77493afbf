/* SPDX-License-Identifier: MIT */
/*
 * What the two halves of the model test share: model_base.c chooses at random, reports and
 * compares; model.c has the operations and the run. One thread, so plain globals.
 */
#ifndef MODEL_PRIV_H
#define MODEL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define A	   0
#define B	   1
#define PATH_BYTES 2048
#define CHUNK_MAX  (64 * 1024)
#define ROOTS_MAX  8
#define XATTR_MAX  512

struct options {
	uint64_t steps, seed, every;
	const char *dir[2], *run;
	char *roots[ROOTS_MAX];
	size_t nroots;
	unsigned dirs, names;
	uint64_t max_size;
	int time_slack_s;
	bool clean, verbose, no_fsync, suid;
	int argc; /* as given, for the report */
	char **argv;
};

extern struct options opt;
extern int top[2]; /* directory descriptors of both sides */
extern uint64_t step, rng;
extern unsigned char got[2][CHUNK_MAX]; /* what was read from each side */

uint64_t rnd(void);
uint64_t below(uint64_t n);
bool chance(unsigned percent);

/* Says what this step does; kept for the report of a failure. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
double now_s(void);
extern double slowest_s; /* step so far, the mount's side of it included */
extern char slowest_what[256];
void step_took(double s);
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
long ret(long r); /* a system call's result as it is, or -errno */
void same(long a, long b);

/* A path of the pool; most times one whose directory is there. Never one of the roots. */
void path_pick_as(char path[PATH_BYTES], bool leaf);
void path_pick(char path[PATH_BYTES]);
/* A directory to list: any path, or the parent of one. */
void dir_pick(char path[PATH_BYTES]);
void name_add(char *path, bool leaf); /* one more component */
unsigned depth_of(const char *path);

struct list {
	char **s;
	size_t n, room;
};
void list_done(struct list *l);
/* Both sides' lists must be the same as sets; empties them. */
void list_same(struct list *l, const char *what);
/* Reads a directory; with hop, leaves and comes back by telldir/seekdir after some entries. */
long dir_read(int s, const char *path, struct list *l, unsigned hop);

void same_stat(const struct stat *a, const struct stat *b, const char *what);
void same_bytes(size_t n, uint64_t off, const char *what); /* of got */
void same_content(int a, int b, const char *what);
void same_xattrs(const char *path);
void same_tree(const char *path, unsigned level);

#endif
