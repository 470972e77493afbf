/* SPDX-License-Identifier: MIT */
/* Verbs about files: ls, explain, tier, restore, mv. */
#include "astra.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_conf.h"

#define RESTORE_MAX_NS (3650 * 86400 * NS_PER_S)

/* ---- ls ---- */

static void print_name(struct app *a, const json_t *i)
{
	(void)a;
	app_puts(app_str(i, "name"), 0);
	(void)printf("%s\n", !strcmp(app_str(i, "kind"), "dir") ? "/" : "");
}

/* "HOT    *" is pinned there, "HOT>COLD" is pinned to COLD and not there yet, "?" not known. */
static const char *tier_word(const json_t *i, char ret[32])
{
	const char *tier = app_str(i, "tier"), *pin = app_str(i, "pin");

	if (json_is_null(json_object_get(i, "tier")))
		tier = "?";
	if (*pin && strcmp(tier, pin) != 0)
		(void)snprintf(ret, 32, "%s>%s", tier, pin);
	else
		(void)snprintf(ret, 32, "%-7s%s", tier, *pin ? "*" : "");
	return ret;
}

static void print_long(struct app *a, const json_t *i)
{
	char word[32], size[32] = "-", cost[MONEY_TEXT_MAX], when[32];
	bool dir = !strcmp(app_str(i, "kind"), "dir");
	const json_t *bytes = json_object_get(i, dir ? "bytes" : "size");

	(void)a;
	(void)printf("%-8s %-14s %10s ", dir ? "" : tier_word(i, word),
		dir ? "" : app_str(i, "class"),
		json_is_null(bytes) ? size : app_size(size, (uint64_t)json_integer_value(bytes)));
	if (json_is_null(bytes))
		(void)printf("%10s %6s %-5s ", "", "-", "files");
	else if (dir)
		(void)printf("%10s %6lld %-5s ", "", (long long)app_int(i, "files"),
			app_int(i, "files") == 1 ? "file" : "files");
	else
		(void)printf("%10s %6lld %-5s ", app_money(cost, json_object_get(i, "cost")),
			(long long)app_int(i, "accesses"),
			app_int(i, "accesses") == 1 ? "time" : "times");
	(void)printf(
		"%-10s %-16s ", app_str(i, "state"), app_time(when, json_object_get(i, "mtime")));
	app_puts(app_str(i, "name"), 0);
	(void)printf("%s", dir ? "/" : "");
	if (json_object_get(i, "restored_until"))
		(void)printf("  (can be read until %s)",
			app_time(when, json_object_get(i, "restored_until")));
	(void)putchar('\n');
}

int cmd_ls(struct app *a, int argc, char **argv)
{
	bool wide = app_flag(&argc, argv, "l");
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 1);

	if (code != EXIT_DONE)
		return code;
	/* Here, as ls does; outside the mount that is its top. */
	req = app_request_path(a, "ls", argc > 1 ? argv[1] : ".", &code);
	return req ? app_show(a, req, wide ? print_long : print_name, NULL) : code;
}

/* ---- one file ---- */

int cmd_explain(struct app *a, int argc, char **argv)
{
	int code = app_words(a, &argc, argv, 1, 1);
	json_t *req;

	if (code != EXIT_DONE)
		return code;
	req = app_request_path(a, "explain", argv[1], &code);
	return req ? app_show(a, req, NULL, NULL) : code;
}

/* The jobs of a path wait for a restore, which may never come: they were not waited for. */
static bool is_archived(const json_t *end)
{
	return json_is_true(json_object_get(end, "archived"));
}

/* Sends it and follows the job that it started, if any; then says what came of it. */
static int and_wait(struct app *a, json_t *req,
	void (*say)(struct app *a, const json_t *data, const char *word), const char *word)
{
	cleanup_json json_t *data = NULL, *end = NULL;
	int code = app_ask(a, req, NULL, &data);
	const json_t *job = json_object_get(data, "job");

	if (code == EXIT_DONE && job)
		code = app_wait_path(a, app_str(data, "path"), job, &end);
	if (code == EXIT_DONE && !strcmp(a->cmd->name, "tier") && is_archived(end)) {
		(void)fprintf(stderr, "astra tier: not yet: %s\n", app_str(end, "note"));
		code = EXIT_FAILED;
	}
	if (code != EXIT_DONE)
		return code;
	if (a->json) {
		app_print_json(data);
		return code;
	}
	app_puts(app_str(data, "path"), 0);
	(void)printf(": ");
	say(a, data, word);
	(void)putchar('\n');
	return code;
}

static void say_tier(struct app *a, const json_t *data, const char *tier)
{
	bool automatic = !strcmp(tier, "AUTO");

	(void)a;
	if (!strcmp(app_str(data, "kind"), "dir"))
		(void)printf("what is made in it from now on %s%s; what is in it stays as it is",
			automatic ? "is the engine's" : "goes to ", automatic ? "" : tier);
	else if (automatic)
		(void)printf("the engine decides");
	else if (json_is_true(json_object_get(data, "dirty")))
		(void)printf("goes to %s when it is uploaded, and stays there", tier);
	else
		(void)printf("in %s, and stays there", tier);
}

static double until_before; /* of the file that is restored: 0 = it could not be read */

static void print_until(struct app *a, const json_t *item)
{
	const json_t *until = json_object_get(item, "restored_until");
	char when[32];

	(void)a;
	if (until)
		(void)printf(" until %s%s", app_time(when, until),
			json_number_value(until) == until_before
				? ", as before: that is longer than was asked for"
				: "");
}

static void say_restored(struct app *a, const json_t *data, const char *asked)
{
	cleanup_json json_t *now = NULL;
	json_t *req = app_request("ls");
	int64_t ns = 0;

	until_before = app_num(data, "restored_until");
	(void)printf("can be read");
	(void)app_add_path(req, "path", app_str(data, "path"));
	(void)app_ask(a, req, print_until, &now);
	if (!parse_duration(asked, &ns) && ns % (86400 * NS_PER_S))
		(void)printf(" (clouds count whole days)");
}

int cmd_tier(struct app *a, int argc, char **argv)
{
	static const char *const tiers[] = {"HOT", "WARM", "COLD", "ARCHIVE", "AUTO"};
	json_t *req;
	size_t i;
	int code = app_words(a, &argc, argv, 2, 2);

	if (code != EXIT_DONE)
		return code;
	for (i = 0; i < ARRAY_SIZE(tiers) && strcasecmp(argv[2], tiers[i]) != 0; i++)
		;
	if (i == ARRAY_SIZE(tiers))
		return app_usage(
			a, "'%s' is no tier; allowed: HOT, WARM, COLD, ARCHIVE, AUTO", argv[2]);
	req = app_request_path(a, "tier", argv[1], &code);
	if (!req)
		return code;
	(void)json_object_set_new(req, "tier", json_string(tiers[i]));
	return and_wait(a, req, say_tier, tiers[i]);
}

int cmd_restore(struct app *a, int argc, char **argv)
{
	int code = app_words(a, &argc, argv, 1, 2);
	int64_t ns = 0;
	json_t *req;

	if (code != EXIT_DONE)
		return code;
	if (argc > 2 && (parse_duration(argv[2], &ns) || ns <= 0 || ns > RESTORE_MAX_NS))
		return app_usage(a, "'%s' is not a duration, like 7d, up to 3650d", argv[2]);
	req = app_request_path(a, "restore", argv[1], &code);
	if (!req)
		return code;
	(void)json_object_set_new(req, "for", json_string(argc > 2 ? argv[2] : "7d"));
	return and_wait(a, req, say_restored, argc > 2 ? argv[2] : "7d");
}

/* ---- mv ---- */

/* The destination as rename(2) wants it: into a directory that is there, under the same name. */
static char *destination(const char *src, const char *dst)
{
	cleanup_free char *copy = strdup(src);
	size_t len = strlen(dst);
	struct stat st;
	char *out = NULL;

	if (stat(dst, &st) < 0 || !S_ISDIR(st.st_mode))
		return strdup(dst);
	if (!copy || asprintf(&out, "%s%s%s", dst, len && dst[len - 1] == '/' ? "" : "/",
			     basename(copy)) < 0)
		return NULL;
	return out;
}

/* A bare name may be looked for: the daemon knows where it is. */
static char *tree_path(struct app *a, const char *given, int *ret_code)
{
	cleanup_free char *path = NULL;
	cleanup_json json_t *data = NULL;
	json_t *req;

	*ret_code = app_tree(a, given, &path);
	if (*ret_code != EXIT_DONE)
		return NULL;
	if (*path == '/')
		return steal_ptr(&path);
	req = app_request("resolve");
	(void)app_add_path(req, "path", path);
	*ret_code = app_ask(a, req, NULL, &data);
	return *ret_code == EXIT_DONE ? strdup(app_str(data, "path")) : NULL;
}

struct move {
	char *src, *dst;   /* owned; as the mount sees them */
	char *from, *to;   /* owned; in the local file system */
	json_t *plan;	   /* owned; of the daemon */
	json_t *report;	   /* owned */
	json_t *end;	   /* owned; what its jobs came to */
	const char *trail; /* of to, as the mount sees it */
};

static void move_done(struct move *m)
{
	free(m->src);
	free(m->dst);
	free(m->from);
	free(m->to);
	json_decref(m->plan);
	json_decref(m->report);
	json_decref(m->end);
}

/* From the words to four paths. An exit code. */
static int move_paths(struct app *a, char **argv, struct move *m)
{
	cleanup_free char *into = NULL;
	int code;

	m->src = tree_path(a, argv[1], &code);
	if (!m->src)
		return code;
	code = app_tree(a, argv[2], &m->dst);
	if (code != EXIT_DONE)
		return code;
	if (*m->dst != '/') {
		/* A bare name: beside where we are is not in the mount, so beside the source. */
		cleanup_free char *copy = strdup(m->src);

		free(m->dst);
		if (!copy || asprintf(&m->dst, "%s/%s", dirname(copy), argv[2]) < 0)
			m->dst = NULL;
	}
	m->from = app_local(a, m->src);
	into = m->dst ? app_local(a, m->dst) : NULL;
	m->to = m->from && into ? destination(m->from, into) : NULL;
	if (!m->to)
		return app_fail(a, -ENOMEM, NULL);
	m->trail = m->to + strlen(a->m.mountpoint) * (strcmp(a->m.mountpoint, "/") != 0);
	return EXIT_DONE;
}

/* rename(2) would do nothing, and be content; there are no hard links here. */
static int not_itself(const struct app *a, const struct move *m)
{
	struct stat from, to;

	if (lstat(m->from, &from) < 0 || lstat(m->to, &to) < 0 || from.st_dev != to.st_dev ||
		from.st_ino != to.st_ino)
		return EXIT_DONE;
	(void)fprintf(stderr, "astra %s: %s is %s already\n", a->cmd->name, m->src, m->trail);
	return EXIT_FAILED;
}

static bool is_empty(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *de;
	bool empty = true;

	while (d && empty && (de = readdir(d)))
		empty = !strcmp(de->d_name, ".") || !strcmp(de->d_name, "..");
	if (d)
		(void)closedir(d);
	return empty;
}

/* What rename(2) would say about the destination, once all else is done. */
static errint_t no_place(const struct move *m)
{
	cleanup_free char *copy = strdup(m->to);
	const char *parent = copy ? dirname(copy) : NULL;
	struct stat from, to;

	if (!parent)
		return -ENOMEM;
	if (stat(parent, &to) < 0)
		return -errno;
	if (!S_ISDIR(to.st_mode))
		return -ENOTDIR;
	if (lstat(m->from, &from) < 0 || lstat(m->to, &to) < 0)
		return 0; /* what is not there to move is said by the daemon */
	if (S_ISDIR(from.st_mode) != S_ISDIR(to.st_mode))
		return S_ISDIR(to.st_mode) ? -EISDIR : -ENOTDIR;
	return S_ISDIR(to.st_mode) && !is_empty(m->to) ? -ENOTEMPTY : 0;
}

static int has_place(const struct app *a, const struct move *m)
{
	errint_t r = no_place(m);

	if (!r)
		return EXIT_DONE;
	(void)fprintf(stderr, "astra %s: %s -> %s: %s\n", a->cmd->name, m->src, m->trail,
		err_text(NULL, r));
	return EXIT_FAILED;
}

static bool is_there(const json_t *plan, const char *side)
{
	return json_is_true(json_object_get(json_object_get(plan, side), "ok"));
}

/* The checks before a migration; printed. Inside a cloud there are none. */
static int move_plan(struct app *a, struct move *m)
{
	json_t *req = app_request("migrate-plan");
	int code;

	(void)app_add_path(req, "path", m->src);
	(void)app_add_path(req, "to", m->trail);
	code = app_ask(a, req, NULL, &m->plan);
	if (code != EXIT_DONE || !json_is_true(json_object_get(m->plan, "across")))
		return code;
	if (is_there(m->plan, "source") && is_there(m->plan, "destination"))
		return EXIT_DONE;
	(void)fprintf(stderr, "astra mv: %s -> %s: not begun: the %s\n", m->src, m->trail,
		is_there(m->plan, "source") ? "destination does not answer"
					    : "source cannot be read");
	return EXIT_FAILED;
}

static int move_report(struct app *a, struct move *m)
{
	json_t *req = app_request("migrate-report");

	(void)app_add_path(req, "path", m->trail);
	return app_ask(a, req, NULL, &m->report);
}

static bool has_report(const struct move *m)
{
	return json_object_get(m->report, "time_s") != NULL;
}

/* What was in no cloud has no job before its upload is due, so that there was nothing to wait for.
 */
static int upload_now(struct app *a, const struct move *m)
{
	json_t *req = app_request("sync");

	(void)app_add_path(req, "path", m->trail);
	return app_ask(a, req, NULL, NULL);
}

/* What the report does not count. */
static void print_others(const struct move *m)
{
	int64_t n = app_int(m->plan, "files") - app_int(m->report, "files");

	if (!has_report(m))
		(void)printf("It was in no cloud yet, and has been uploaded to its new place.\n");
	else if (n > 0)
		(void)printf("Not moved with it: %lld file%s (in no cloud yet, or archived)\n",
			(long long)n, app_plural(n));
}

static void print_moved(const struct move *m)
{
	(void)printf("%s -> %s\n", m->src, m->trail);
	if (is_archived(m->end))
		(void)printf("The name has moved; its object follows later: %s\n",
			app_str(m->end, "note"));
}

static int move(struct app *a, char **argv, struct move *m)
{
	int code = move_paths(a, argv, m);
	bool across;

	if (code == EXIT_DONE)
		code = not_itself(a, m);
	if (code == EXIT_DONE)
		code = has_place(a, m);
	if (code == EXIT_DONE)
		code = move_plan(a, m);
	if (code != EXIT_DONE)
		return code;
	across = json_is_true(json_object_get(m->plan, "across"));
	(void)fflush(stdout);
	if (rename(m->from, m->to) < 0) {
		(void)fprintf(stderr, "astra mv: %s -> %s: %s\n", m->from, m->to, strerror(errno));
		return EXIT_FAILED;
	}
	code = app_wait_path(a, m->trail, NULL, &m->end);
	across &= !is_archived(m->end); /* there is no end of it to report */
	if (code == EXIT_DONE && across)
		code = move_report(a, m);
	if (code == EXIT_DONE && across && !has_report(m))
		code = upload_now(a, m);
	if (code == EXIT_DONE && !a->json && !across)
		print_moved(m);
	else if (code == EXIT_DONE && !a->json && across)
		print_others(m);
	return code;
}

int cmd_mv(struct app *a, int argc, char **argv)
{
	struct move m = {0};
	int code = app_words(a, &argc, argv, 2, 2);

	if (code == EXIT_DONE)
		code = app_connect(a, argv[1]);
	if (code == EXIT_DONE)
		code = move(a, argv, &m);
	if (code == EXIT_DONE && a->json) {
		cleanup_json json_t *out = json_pack("{s:o, s:o, s:O*, s:O*, s:O*}", "source",
			json_text(m.src), "destination", json_text(m.trail), "plan", m.plan,
			"report", m.report, "waits",
			is_archived(m.end) ? json_object_get(m.end, "note") : NULL);

		app_print_json(out);
	}
	move_done(&m);
	return code;
}
