/* SPDX-License-Identifier: MIT */
/*
 * Inside the astra command: astra.c (table of verbs, help), place.c (the mount, paths), app.c
 * (asking, progress, text), cmd_*.c (the verbs).
 */
#ifndef ASTRA_TOOL_H
#define ASTRA_TOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_err.h"
#include "astra/base_json.h"
#include "astra/base_money.h"
#include "astra/ctl.h"

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_MOUNT = 3,
	EXIT_AMBIGUOUS = 4,
	EXIT_TIMEOUT = 5,
	EXIT_LEFT = 6, /* unmounted; the state directory keeps what is not done */
};

struct cmd;

struct app {
	const struct cmd *cmd;
	char *mount;	      /* --mount, resolved; owned */
	const char *no_value; /* an option that came without one; app_words() complains */
	bool json;
	bool bar;	    /* standard error is a terminal, and not --json */
	struct ctl_mount m; /* connected by app_connect() */
	bool connected;
	size_t bar_width;      /* of the bar that is on the screen */
	int64_t plain_next_ns; /* when the next line of progress is due, without a bar */
	char waits_for[800];   /* as the daemon said last */
};

struct cmd {
	const char *name, *args, *what, *examples;	  /* examples: lines, may be NULL */
	int (*run)(struct app *a, int argc, char **argv); /* argv[0] is the verb */
};

/* ---- place.c ---- */

/* The real path of what --mount names, also when its daemon does not answer; NULL without memory.
 */
char *app_mount(const char *given);
/* Finds the mount (by --mount, or by where hints lie) and connects; an exit code. hint may be NULL.
 */
int app_connect(struct app *a, const char *hint);
/* A path as given -> as the mount sees it ("/aws/x"), or a bare name. NULL without memory. */
char *app_path(const struct app *a, const char *given);
/* The same where it must be a place in this mount, or a bare name: *ret is owned. An exit code. */
int app_tree(const struct app *a, const char *given, char **ret);
/* The path in the local file system for a path that the mount sees. */
char *app_local(const struct app *a, const char *tree);

/* ---- app.c ---- */

int app_usage(const struct app *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int app_fail(const struct app *a, errint_t r, const struct err *err);

/* A request of a verb; app_add_path() puts a path in, whatever its bytes. */
json_t *app_request(const char *verb);
int app_add_path(json_t *req, const char *key, const char *path);
/* Connects, and asks about the path that was given (NULL = none); NULL after *ret_code was set. */
json_t *app_request_path(struct app *a, const char *verb, const char *given, int *ret_code);
/* Asks; text lines go to standard output (not with --json), progress to the bar, items to fn or
 * into *ret_items (--json; may be NULL). An exit code; what failed was said. */
int app_ask(struct app *a, json_t *req, void (*fn)(struct app *a, const json_t *item),
	json_t **ret_data);
/* The same, and with --json prints one document: data, with "items" where there are any. */
int app_show(struct app *a, json_t *req, void (*fn)(struct app *a, const json_t *item),
	void (*done)(struct app *a, const json_t *data));
void app_print_json(const json_t *j);

void app_bar(struct app *a, const char *text); /* NULL takes it off the screen */
/* "[=====>    ]  51 %  3 of 7 GB  120 MB/s  33 s left  running /aws/a" on a terminal, else a line
 * of it every two seconds; with --json nothing. */
void app_progress(struct app *a, const json_t *progress);
int app_percent(int64_t have, int64_t of);
const char *app_plural(int64_t n); /* "", or "s" */

const char *app_size(char out[32], uint64_t bytes); /* "2.5 GB" */
/* "$0.023", as the engine prints */
const char *app_money(char out[MONEY_TEXT_MAX], const json_t *dollars);
const char *app_time(char out[32], const json_t *seconds); /* local "2024-11-08 14:23"; "-" */
const char *app_span(char out[32], double seconds);	   /* "3 min" */
const char *app_str(const json_t *o, const char *key);
int64_t app_int(const json_t *o, const char *key);
double app_num(const json_t *o, const char *key);
/* Text as it may go to a terminal: control characters as \xNN. */
void app_puts(const char *s, int width);

/* After timeout, NULL = never, the process ends with text on standard error. An exit code. */
int app_timeout(struct app *a, const char *timeout, const char *text);
/* Waits for the jobs of a path, with progress; an exit code. job: one of them, which may have ended
 * already; NULL = none is known. "archived" in *ret_data, owned: not for what waits for a restore,
 * as its "note" says. */
int app_wait_path(struct app *a, const char *tree, const json_t *job, json_t **ret_data);

/* Runs astrafs with these words and returns its exit status; lines: what it prints is collected
 * there (NULL = not). */
int app_astrafs(const struct app *a, char *const argv[], json_t *lines);

/* Takes "--NAME VALUE" or "--NAME=VALUE" out of argv; NULL when it is not there, or without value:
 * what begins with "--" is one only behind '='. */
const char *app_option(struct app *a, int *argc, char **argv, const char *name);
bool app_flag(int *argc, char **argv, const char *name);
/* After the switches: words only, so many of them; "--" goes. An exit code. */
int app_words(struct app *a, int *argc, char **argv, int min, int max);
bool app_number(const char *s, uint64_t *ret);

extern const struct cmd app_cmds[];
extern const size_t app_ncmds;

/* clang-format off */
#define APP_CMDS(X) \
	X(status) X(sync) X(umount) X(doctor) X(ls) X(explain) X(tier) X(restore) X(mv) X(cost) \
	X(engine) X(jobs) X(db) X(init_cloud) X(ingest_sample) X(show_dashboard) X(run_engine) \
	X(age_file) X(simulate_access) X(debug)
/* clang-format on */
#define X(id) int cmd_##id(struct app *a, int argc, char **argv);
APP_CMDS(X)
#undef X

#endif
