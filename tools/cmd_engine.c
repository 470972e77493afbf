/* SPDX-License-Identifier: MIT */
/* Verbs about tiers and money over many files: engine run, cost, show-dashboard. */
#include "astra.h"

#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"

#define RULER "======================================================================\n"

static int engine_run(struct app *a, int argc, char **argv)
{
	bool dry = app_flag(&argc, argv, "dry-run");
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 1);

	if (code != EXIT_DONE)
		return code;
	req = app_request_path(a, "engine-run", argc > 1 ? argv[1] : NULL, &code);
	if (!req)
		return code;
	if (dry)
		(void)json_object_set_new(req, "dry_run", json_true());
	if (a->json)
		(void)json_object_set_new(req, "items", json_true());
	return app_show(a, req, NULL, NULL);
}

int cmd_run_engine(struct app *a, int argc, char **argv)
{
	return engine_run(a, argc, argv);
}

int cmd_engine(struct app *a, int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "run") != 0)
		return app_usage(a, argc < 2 ? "what should it do?" : "'%s' is not known",
			argc < 2 ? "" : argv[1]);
	return engine_run(a, argc - 1, argv + 1);
}

static int survey(struct app *a, const char *verb, int argc, char **argv,
	void (*fn)(struct app *a, const json_t *item))
{
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 1);

	if (code != EXIT_DONE)
		return code;
	req = app_request_path(a, verb, argc > 1 ? argv[1] : NULL, &code);
	if (!req)
		return code;
	if (fn && !a->json)
		(void)printf(RULER "INTELLIGENT STORAGE DASHBOARD\n" RULER "\n%-40s %-9s %8s  %s\n"
				   "------------------------------------------------------------"
				   "----------\n",
			"FILE NAME", "TIER", "ACCESSES", "LAST ACCESS");
	return app_show(a, req, fn, NULL);
}

int cmd_cost(struct app *a, int argc, char **argv)
{
	return survey(a, "cost", argc, argv, NULL);
}

static void print_row(struct app *a, const json_t *i)
{
	char when[32];
	bool known = !json_is_null(json_object_get(i, "tier"));

	(void)a;
	app_puts(app_str(i, "path"), 40);
	(void)printf(" %-9s %8lld  %s\n", known ? app_str(i, "tier") : "?",
		(long long)app_int(i, "accesses"),
		app_time(when, json_object_get(i, "last_access")));
}

int cmd_show_dashboard(struct app *a, int argc, char **argv)
{
	return survey(a, "dashboard", argc, argv, print_row);
}
