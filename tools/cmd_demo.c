/* SPDX-License-Identifier: MIT */
/* The verbs of the demonstration: init-cloud, ingest-sample, age-file, simulate-access. */
#include "astra.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"

static void print_cloud(struct app *a, const json_t *i)
{
	(void)a;
	(void)printf("%-10s %-6s %-14s %-20s ", app_str(i, "name"), app_str(i, "provider"),
		app_str(i, "region"),
		*app_str(i, "bucket") ? app_str(i, "bucket") : "(all buckets)");
	app_puts(app_str(i, "text"), 0);
	(void)putchar('\n');
}

int cmd_init_cloud(struct app *a, int argc, char **argv)
{
	int code = app_words(a, &argc, argv, 0, 0);

	if (code == EXIT_DONE)
		code = app_connect(a, NULL);
	return code != EXIT_DONE ? code : app_show(a, app_request("init-cloud"), print_cloud, NULL);
}

/* ---- ingest-sample ---- */

/* 25 GB in all. The rules put logs to COLD and backups to WARM; customers' data stays HOT. */
static const struct {
	const char *name;
	int64_t bytes;
} samples[] = {
	{"application_server.log", INT64_C(3000000000)},
	{"backup_database_2024.zip", INT64_C(10000000000)},
	{"backup_media_2024.tar", INT64_C(7000000000)},
	{"customer_data.csv", INT64_C(2500000000)},
	{"transaction_history.csv", INT64_C(2500000000)},
};

static int make_sample(struct app *a, const char *dir, size_t i)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;
	char size[32];

	if (asprintf(&path, "%s/%s", dir, samples[i].name) < 0) {
		path = NULL;
		return app_fail(a, -ENOMEM, NULL);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	/* All holes: it takes no disk, here or in an embedded cloud. */
	if (fd < 0 || ftruncate(fd, samples[i].bytes) < 0 || close(steal_fd(&fd)) < 0) {
		(void)fprintf(stderr, "astra ingest-sample: %s: %s\n", path, strerror(errno));
		return EXIT_FAILED;
	}
	if (!a->json)
		(void)printf("%-30s %10s\n", samples[i].name,
			app_size(size, (uint64_t)samples[i].bytes));
	return EXIT_DONE;
}

int cmd_ingest_sample(struct app *a, int argc, char **argv)
{
	cleanup_free char *dir = NULL;
	cleanup_json json_t *out = json_array();
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 0);

	if (code == EXIT_DONE)
		code = app_connect(a, NULL);
	if (code != EXIT_DONE)
		return code;
	dir = app_local(a, "/aws");
	for (size_t i = 0; i < ARRAY_SIZE(samples) && code == EXIT_DONE; i++) {
		code = make_sample(a, dir, i);
		(void)json_array_append_new(out, json_pack("{s:s, s:I}", "name", samples[i].name,
							 "size", (json_int_t)samples[i].bytes));
	}
	if (code != EXIT_DONE)
		return code;
	/* In the cloud when this returns, so that the engine can judge them at once. */
	req = app_request("sync");
	(void)app_add_path(req, "path", "/aws");
	code = app_ask(a, req, NULL, NULL);
	if (code == EXIT_DONE && a->json)
		app_print_json(out);
	else if (code == EXIT_DONE)
		(void)printf("%zu files, 25 GB in all, are in /aws\n", ARRAY_SIZE(samples));
	return code;
}

/* ---- history ---- */

static int history(struct app *a, const char *verb, const char *option, int argc, char **argv)
{
	const char *file = app_option(a, &argc, argv, "filename");
	const char *number = app_option(a, &argc, argv, option);
	bool days = !strcmp(option, "days");
	uint64_t min = days ? 0 : 1, max = days ? CTL_DAYS_MAX : CTL_COUNT_MAX;
	cleanup_json json_t *data = NULL;
	uint64_t n = 0;
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 0);

	if (code != EXIT_DONE)
		return code;
	if (!file || !number)
		return app_usage(a, "--filename and --%s are needed", option);
	if (!app_number(number, &n) || n < min || n > max)
		return app_usage(a, "--%s: '%s' is not a whole number from %llu to %llu", option,
			number, (unsigned long long)min, (unsigned long long)max);
	req = app_request_path(a, verb, file, &code);
	if (!req)
		return code;
	(void)json_object_set_new(req, option, json_integer((json_int_t)n));
	code = app_ask(a, req, NULL, &data);
	if (code != EXIT_DONE)
		return code;
	if (a->json)
		app_print_json(data);
	else if (days)
		(void)printf("%s is %llu day%s older now\n", app_str(data, "path"),
			(unsigned long long)n, app_plural((int64_t)n));
	else
		(void)printf("%s has %llu access%s more\n", app_str(data, "path"),
			(unsigned long long)n, n == 1 ? "" : "es");
	return code;
}

int cmd_age_file(struct app *a, int argc, char **argv)
{
	return history(a, "age-file", "days", argc, argv);
}

int cmd_simulate_access(struct app *a, int argc, char **argv)
{
	return history(a, "simulate-access", "count", argc, argv);
}
