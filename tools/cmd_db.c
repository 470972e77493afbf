/* SPDX-License-Identifier: MIT */
/*
 * db check, dump, load, rebuild. On a mount that runs, the daemon does it; else astrafs itself is
 * started in the mode of that name, on the state directory that --state, --mount or a configuration
 * names.
 */
#include "astra.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra/base_cleanup.h"

/* astrafs in the mode, on the state directory or on that of --mount. */
static int run_astrafs(struct app *a, const char *mode, const char *conf, const char *state)
{
	char opt[PATH_MAX + 16], *argv[8];
	cleanup_json json_t *lines = json_array();
	bool quiet = a->json && !strcmp(mode, "--check");
	int k = 0, code;

	argv[k++] = "astrafs";
	argv[k++] = (char *)mode;
	if (conf) {
		argv[k++] = "-c";
		argv[k++] = (char *)conf;
	}
	if (state) {
		if (snprintf(opt, sizeof(opt), "state=%s", state) >= (int)sizeof(opt) ||
			strchr(state, ','))
			return app_usage(a, "--state: too long, or with a comma");
		argv[k++] = "-o";
		argv[k++] = opt;
	} else if (a->mount) {
		argv[k++] = a->mount;
	}
	argv[k] = NULL;
	code = app_astrafs(a, argv, quiet ? lines : NULL);
	if (quiet && (code == EXIT_DONE || code == EXIT_FAILED)) {
		/* The last line is the word of praise. */
		cleanup_json json_t *out = json_pack("{s:I, s:O}", "faults",
			(json_int_t)json_array_size(lines) - (code == EXIT_DONE), "lines", lines);

		app_print_json(out);
	}
	return code;
}

static void print_fault(struct app *a, const json_t *item)
{
	(void)a;
	(void)printf("%s\n", app_str(item, "fault"));
}

static int check_live(struct app *a)
{
	cleanup_json json_t *data = NULL;
	int code = app_ask(a, app_request("db-check"), print_fault, &data);

	if (code != EXIT_DONE)
		return code;
	if (a->json)
		app_print_json(data);
	else
		(void)printf(app_int(data, "faults") ? "the index has %lld fault%s\n"
						     : "the index is in order\n",
			(long long)app_int(data, "faults"), app_plural(app_int(data, "faults")));
	return app_int(data, "faults") ? EXIT_FAILED : EXIT_DONE;
}

static int on_dump_line(void *arg, const json_t *line)
{
	(void)arg;
	return json_dumpf(line, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF;
}

static int dump_live(struct app *a)
{
	struct err err = {0};
	cleanup_json json_t *req = app_request("db-dump");
	errint_t r = ctl_ask(a->m.fd, req, on_dump_line, NULL, NULL, &err);

	return r ? app_fail(a, r, &err) : EXIT_DONE;
}

/* Is a mount there that --mount means, or the only one? Says nothing when not. */
static bool is_live(struct app *a)
{
	struct ctl_mount *all = NULL;
	struct err err = {0};
	size_t n = 0;
	bool live;

	if (ctl_mounts(&all, &n, &err))
		return false;
	live = n == 1 && !a->mount;
	for (size_t i = 0; i < n; i++) {
		live |= a->mount && !strcmp(a->mount, all[i].mountpoint);
		live |= n > 1 && !a->mount;
		ctl_mount_done(&all[i]);
	}
	free(all);
	return live;
}

/* -c FILE, taken out of the words; *ret is NULL when it is not there, "" without FILE. */
static void conf_option(int *argc, char **argv, const char **ret)
{
	*ret = NULL;
	for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		int n = i + 1 < *argc ? 2 : 1;

		if (strcmp(argv[i], "-c") != 0)
			continue;
		*ret = n == 2 ? argv[i + 1] : "";
		memmove(&argv[i], &argv[i + n], (size_t)(*argc - i - n + 1) * sizeof(*argv));
		*argc -= n;
		return;
	}
}

int cmd_db(struct app *a, int argc, char **argv)
{
	static const char *const modes[] = {"--check", "--dump", "--load", "--rebuild"};
	const char *state = app_option(a, &argc, argv, "state");
	const char *conf;
	size_t i;
	int code;

	conf_option(&argc, argv, &conf);
	if (conf && !*conf)
		return app_usage(a, "-c needs a value");
	code = app_words(a, &argc, argv, 1, 1);
	if (code != EXIT_DONE)
		return code;
	for (i = 0; i < ARRAY_SIZE(modes) && strcmp(argv[1], modes[i] + 2) != 0; i++)
		;
	if (i == ARRAY_SIZE(modes))
		return app_usage(a, "'%s' is not known", argv[1]);
	if (!state && (!conf || i >= 2) && is_live(a)) {
		if (i >= 2)
			return app_usage(
				a, "%s works on a stopped mount: 'astra umount' first", argv[1]);
		code = app_connect(a, NULL);
		if (code != EXIT_DONE)
			return code;
		return i == 0 ? check_live(a) : dump_live(a);
	}
	if (!state && !a->mount && !conf) {
		(void)fprintf(stderr, "astra db: nothing is mounted: say which index by "
				      "--state DIR, --mount DIR or -c FILE\n");
		return EXIT_NO_MOUNT;
	}
	return run_astrafs(a, modes[i], conf, state);
}
