/* SPDX-License-Identifier: MIT */
/* jobs list, watch, wait, cancel, retry. */
#include "astra.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"

#define WATCH_MS  500
#define ENDED_MAX 10 /* without --all */

static void print_job(const json_t *j)
{
	char done[32], total[32], speed[32], left[32];
	int64_t bytes = app_int(j, "bytes"), files = app_int(j, "files");
	const char *note = app_str(j, "note");

	(void)printf("%6lld  %-10s %-12s ", (long long)app_int(j, "id"), app_str(j, "kind"),
		app_str(j, "state"));
	if (files > 0)
		(void)printf("%lld of %lld file%s, %s of %s  ", (long long)app_int(j, "files_done"),
			(long long)files, app_plural(files),
			app_size(done, (uint64_t)app_int(j, "bytes_done")),
			app_size(total, (uint64_t)bytes));
	else if (bytes)
		(void)printf("%s of %s  ", app_size(done, (uint64_t)app_int(j, "bytes_done")),
			app_size(total, (uint64_t)bytes));
	if (app_num(j, "left_s") > 0)
		(void)printf("%s/s, %s left  ", app_size(speed, (uint64_t)app_num(j, "speed")),
			app_span(left, app_num(j, "left_s")));
	app_puts(app_str(j, "source"), 0);
	if (*app_str(j, "object")) {
		(void)printf(" (object ");
		app_puts(app_str(j, "object"), 0);
		(void)printf(")");
	}
	if (*app_str(j, "destination") &&
		strcmp(app_str(j, "source"), app_str(j, "destination")) != 0) {
		(void)printf(" -> ");
		app_puts(app_str(j, "destination"), 0);
	}
	if (*app_str(j, "tier"))
		(void)printf(" -> %s", app_str(j, "tier"));
	if (*note) {
		(void)printf("  (");
		app_puts(note, 0);
		(void)printf(")");
	}
	(void)putchar('\n');
}

static void print_jobs(struct app *a, const json_t *data)
{
	const json_t *jobs = json_object_get(data, "jobs"), *j;
	size_t i;

	(void)a;
	if (json_array_size(jobs) && isatty(STDOUT_FILENO))
		(void)printf("%6s  %-10s %-12s %s\n", "ID", "KIND", "STATE",
			"PROGRESS  FROM -> TO  (NOTE)");
	json_array_foreach (jobs, i, j)
		print_job(j);
	if (app_int(data, "more"))
		(void)printf("and %lld more\n", (long long)app_int(data, "more"));
	if (!json_array_size(jobs))
		(void)printf("no jobs\n");
}

static int list(struct app *a, bool all)
{
	int code = app_connect(a, NULL);
	json_t *req;

	if (code != EXIT_DONE)
		return code;
	req = app_request("jobs");
	if (!all)
		(void)json_object_set_new(req, "ended", json_integer(ENDED_MAX));
	return app_show(a, req, NULL, print_jobs);
}

/* Drops those that ended up to then; the number of live ones. */
static size_t keep_since(json_t *jobs, double since)
{
	size_t live = 0;

	for (size_t i = json_array_size(jobs); i--;) {
		const json_t *j = json_array_get(jobs, i);

		live += app_num(j, "ended") == 0;
		if (app_num(j, "ended") > 0 && app_num(j, "ended") <= since)
			(void)json_array_remove(jobs, i);
	}
	return live;
}

static double last_end(const json_t *jobs, double since)
{
	const json_t *j;
	size_t i;

	json_array_foreach (jobs, i, j)
		since = MAX_OF(since, app_num(j, "ended"));
	return since;
}

/* Until there is no live one; drawn again on a terminal, with all that ended meanwhile, else as
 * lines of what changed. */
static int watch(struct app *a)
{
	const struct timespec pause = {.tv_nsec = WATCH_MS * 1000000L};
	bool screen = isatty(STDOUT_FILENO) && !a->json;
	cleanup_json json_t *before = NULL;
	double since = (double)clock_now_ns() / 1e9;
	int code = app_connect(a, NULL);
	size_t live = 1;

	while (code == EXIT_DONE && live) {
		cleanup_json json_t *data = NULL;
		json_t *jobs;

		code = app_ask(a, app_request("jobs"), NULL, &data);
		if (code != EXIT_DONE)
			break;
		jobs = json_object_get(data, "jobs");
		live = keep_since(jobs, since);
		if (!screen)
			since = last_end(jobs, since);
		if (screen)
			(void)printf("\033[H\033[J");
		if (a->json)
			app_print_json(data);
		else if (screen || !before || !json_equal(json_object_get(before, "jobs"), jobs))
			print_jobs(a, data);
		(void)fflush(stdout);
		json_decref(before);
		before = json_incref(data);
		if (live)
			(void)nanosleep(&pause, NULL);
	}
	return code;
}

/* Everything that the delete guard holds. */
static int cancel_held(struct app *a, int argc, char **argv)
{
	cleanup_json json_t *data = NULL;
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 0);

	if (code == EXIT_DONE)
		code = app_connect(a, NULL);
	if (code != EXIT_DONE)
		return code;
	req = app_request("jobs-cancel");
	(void)json_object_set_new(req, "held", json_true());
	code = app_ask(a, req, NULL, &data);
	if (code == EXIT_DONE && a->json)
		app_print_json(data);
	else if (code == EXIT_DONE)
		(void)printf("%lld removal%s taken back\n", (long long)app_int(data, "taken_back"),
			app_int(data, "taken_back") == 1 ? " is" : "s are");
	return code;
}

/* A request about the jobs whose numbers these are; NULL after *ret_code was set. */
static json_t *request_ids(
	struct app *a, const char *verb, int argc, char **argv, int min, int *ret_code)
{
	json_t *req, *ids = json_array();
	uint64_t id;

	*ret_code = app_words(a, &argc, argv, min, 1000);
	for (int i = 1; i < argc && *ret_code == EXIT_DONE; i++) {
		if (!app_number(argv[i], &id) || !id || id > INT64_MAX)
			*ret_code = app_usage(a, "'%s' is not the number of a job", argv[i]);
		else
			(void)json_array_append_new(ids, json_integer((json_int_t)id));
	}
	if (*ret_code == EXIT_DONE)
		*ret_code = app_connect(a, NULL);
	if (*ret_code != EXIT_DONE) {
		json_decref(ids);
		return NULL;
	}
	req = app_request(verb);
	(void)json_object_set_new(req, "ids", ids);
	return req;
}

static int wait_ids(struct app *a, int argc, char **argv)
{
	cleanup_json json_t *data = NULL;
	const char *timeout = app_option(a, &argc, argv, "timeout");
	int code = app_timeout(
		a, timeout, "astra jobs: not all of them had ended when the time was over");
	json_t *req = code == EXIT_DONE ? request_ids(a, "jobs-wait", argc, argv, 0, &code) : NULL;

	if (!req)
		return code;
	code = app_ask(a, req, NULL, &data);
	if (code == EXIT_DONE && a->json && data)
		app_print_json(data);
	if (code == EXIT_DONE && app_int(data, "failed")) {
		(void)fprintf(stderr, "astra jobs: %lld failed, or cancelled\n",
			(long long)app_int(data, "failed"));
		code = EXIT_FAILED;
	}
	return code;
}

static void print_cancelled(struct app *a, const json_t *i)
{
	bool ended = json_is_true(json_object_get(i, "ended"));

	(void)a;
	(void)printf("job %lld is %s", (long long)app_int(i, "id"),
		ended ? "cancelled" : "being taken back");
	if (!ended && *app_str(i, "note")) {
		(void)printf(": ");
		app_puts(app_str(i, "note"), 0);
	}
	(void)putchar('\n');
}

static int cancel(struct app *a, int argc, char **argv)
{
	int code;
	json_t *req = request_ids(a, "jobs-cancel", argc, argv, 1, &code);

	return req ? app_show(a, req, print_cancelled, NULL) : code;
}

static void print_again(struct app *a, const json_t *i)
{
	long long id = app_int(i, "id"), as = app_int(i, "as");

	(void)a;
	if (id == as)
		(void)printf("job %lld is tried again now\n", id);
	else
		(void)printf("job %lld is tried again, as job %lld\n", id, as);
}

static int retry(struct app *a, int argc, char **argv)
{
	int code;
	json_t *req = request_ids(a, "jobs-retry", argc, argv, 1, &code);

	return req ? app_show(a, req, print_again, NULL) : code;
}

int cmd_jobs(struct app *a, int argc, char **argv)
{
	bool lists = argc < 2 || argv[1][0] == '-' || !strcmp(argv[1], "list");
	bool all = lists && app_flag(&argc, argv, "all");
	const char *what = argc > 1 ? argv[1] : "list";

	if (!strcmp(what, "wait"))
		return wait_ids(a, argc - 1, argv + 1);
	if (!strcmp(what, "cancel") && app_flag(&argc, argv, "held"))
		return cancel_held(a, argc - 1, argv + 1);
	if (!strcmp(what, "cancel"))
		return cancel(a, argc - 1, argv + 1);
	if (!strcmp(what, "retry"))
		return retry(a, argc - 1, argv + 1);
	if (argc > 2)
		return app_usage(a, "'%s' is too much", argv[2]);
	if (!strcmp(what, "list"))
		return list(a, all);
	if (!strcmp(what, "watch"))
		return watch(a);
	return app_usage(a, "'%s' is not known", what);
}
