/* SPDX-License-Identifier: MIT */
/* Verbs about the mount as a whole: status, sync, umount, doctor, debug. */
#include "astra.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_conf.h"

#define UMOUNT_QUIET_NS NS_PER_S

/* ---- status ---- */

static double since(const json_t *error)
{
	double s = (double)(clock_now_ns() / NS_PER_S) - app_num(error, "when");

	return MAX_OF(s, 0.0);
}

static void print_remotes(const json_t *remotes)
{
	const json_t *r;
	char ago[32];
	size_t i;

	json_array_foreach (remotes, i, r) {
		const char *breaker = app_str(r, "breaker");
		const json_t *error = json_object_get(r, "error");
		const char *health = !strcmp(breaker, "closed") ? error ? "failing" : "healthy"
				     : !strcmp(breaker, "open") ? "FAILING: requests are held back"
								: "failing, being tried again";

		(void)printf("  %-10s %-6s %-20s %s\n", app_str(r, "name"), app_str(r, "provider"),
			*app_str(r, "bucket") ? app_str(r, "bucket") : "(all buckets)", health);
		if (!error)
			continue;
		(void)printf("             %s ago: %s%s", app_span(ago, since(error)),
			app_str(error, "op"), *app_str(error, "key") ? " " : "");
		app_puts(app_str(error, "key"), 0);
		(void)fputs(": ", stdout);
		app_puts(app_str(error, "text"), 0);
		(void)putchar('\n');
	}
}

static void print_engine(const json_t *e)
{
	char last[32], next[32], saving[MONEY_TEXT_MAX];
	const char *mode = app_str(e, "mode"), *real = app_str(e, "mode_real");
	bool differ = *real && strcmp(mode, real) != 0;

	(void)printf("Engine:     %s%s%s; last pass %s, next %s; %lld file%s, %lld move%s (%s a "
		     "month)\n",
		mode, differ ? " on embedded clouds, on real ones " : "", differ ? real : "",
		app_time(last, json_object_get(e, "last")),
		app_time(next, json_object_get(e, "next")), (long long)app_int(e, "files"),
		app_plural(app_int(e, "files")), (long long)app_int(e, "moves"),
		app_plural(app_int(e, "moves")), app_money(saving, json_object_get(e, "saving")));
}

static void print_status(struct app *a, const json_t *d)
{
	const json_t *jobs = json_object_get(d, "jobs"), *stage = json_object_get(d, "stage");
	const json_t *age = json_object_get(jobs, "oldest_age_s");
	char since[32], dirty[32], clean[32], quota[32], span[32];

	(void)a;
	(void)printf("Mount:      %s%s, since %s, version %s, process %lld\n",
		app_str(d, "mountpoint"),
		json_is_true(json_object_get(d, "ro")) ? " (read-only)" : "",
		app_time(since, json_object_get(d, "since")), app_str(d, "version"),
		(long long)app_int(d, "pid"));
	(void)printf("State:      %s\n", app_str(d, "state"));
	if (app_int(json_object_get(d, "index"), "damaged"))
		(void)printf("Index:      DAMAGED, last met %s: see 'astra doctor'\n",
			app_time(since, json_object_get(json_object_get(d, "index"), "damaged")));
	(void)printf("Remotes:\n");
	print_remotes(json_object_get(d, "remotes"));
	(void)printf(
		"Jobs:       %lld live (%lld queued, %lld running, %lld waiting; %lld parked), "
		"%lld done, %lld failed, %lld cancelled\n",
		(long long)app_int(jobs, "live"), (long long)app_int(jobs, "queued"),
		(long long)app_int(jobs, "active"), (long long)app_int(jobs, "waiting"),
		(long long)app_int(jobs, "parked"), (long long)app_int(jobs, "done"),
		(long long)app_int(jobs, "failed"), (long long)app_int(jobs, "cancelled"));
	(void)printf("Changed:    %lld file%s not yet queued; %s staged, %s cached, of %s\n",
		(long long)app_int(d, "dirty"), app_plural(app_int(d, "dirty")),
		app_size(dirty, (uint64_t)app_int(stage, "dirty_bytes")),
		app_size(clean, (uint64_t)app_int(stage, "clean_bytes")),
		app_size(quota, (uint64_t)app_int(stage, "quota_bytes")));
	print_engine(json_object_get(d, "engine"));
	if (json_is_true(json_object_get(d, "clean")))
		(void)printf("The clouds are as the tree is.\n");
	else if (json_is_number(age))
		(void)printf("The oldest change that is not in the clouds is %s old.\n",
			app_span(span, json_number_value(age)));
	else
		(void)printf("There are changes that are not in the clouds.\n");
}

int cmd_status(struct app *a, int argc, char **argv)
{
	bool wait = app_flag(&argc, argv, "wait-clean");
	const char *timeout = app_option(a, &argc, argv, "timeout");
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 0);

	if (code == EXIT_DONE && timeout && !wait)
		code = app_usage(a, "--timeout is for --wait-clean");
	if (code == EXIT_DONE)
		code = app_timeout(a, timeout, "astra status: not clean when the time was over");
	if (code == EXIT_DONE)
		code = app_connect(a, NULL);
	if (code != EXIT_DONE)
		return code;
	req = app_request("status");
	if (wait)
		(void)json_object_set_new(req, "wait_clean", json_true());
	/* A script that waits wants no page of text. */
	if (wait && !a->json)
		return app_ask(a, req, NULL, NULL);
	return app_show(a, req, NULL, print_status);
}

/* ---- sync, umount ---- */

int cmd_sync(struct app *a, int argc, char **argv)
{
	const char *timeout = app_option(a, &argc, argv, "timeout");
	json_t *req;
	int code = app_words(a, &argc, argv, 0, 1);

	if (code == EXIT_DONE)
		code = app_timeout(a, timeout,
			"astra sync: not everything was in the clouds when the time was over");
	if (code != EXIT_DONE)
		return code;
	req = app_request_path(a, "sync", argc > 1 ? argv[1] : NULL, &code);
	return req ? app_ask(a, req, NULL, NULL) : code;
}

static bool is_below(const char *path, const char *mountpoint)
{
	size_t len = strlen(mountpoint);

	return !strncmp(path, mountpoint, len) && (!path[len] || path[len] == '/');
}

static bool leads_below(const char *pid, const char *link, const char *mountpoint)
{
	char path[300], at[PATH_MAX];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/%.30s", pid, link);
	n = readlink(path, at, sizeof(at) - 1);
	at[n > 0 ? n : 0] = '\0';
	return is_below(at, mountpoint);
}

static bool has_open(const char *pid, const char *mountpoint)
{
	const struct dirent *de;
	char path[300];
	bool found = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	d = opendir(path);
	while (d && !found && (de = readdir(d))) {
		(void)snprintf(path, sizeof(path), "fd/%.20s", de->d_name);
		found = leads_below(pid, path, mountpoint);
	}
	if (d)
		(void)closedir(d);
	return found;
}

/* A mapping outlives the descriptor that it was made of. */
static bool has_mapped(const char *pid, const char *mountpoint)
{
	cleanup_free char *line = NULL;
	char path[300];
	bool found = false;
	size_t cap = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/maps", pid);
	f = fopen(path, "re");
	while (f && !found && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		found = strchr(line, '/') && is_below(strchr(line, '/'), mountpoint);
	}
	if (f)
		(void)fclose(f);
	return found;
}

/* How the process keeps the mount busy, besides by an open file; NULL: it does not. */
static const char *use_of(const char *pid, const char *mountpoint)
{
	if (has_open(pid, mountpoint))
		return "";
	if (leads_below(pid, "cwd", mountpoint) || leads_below(pid, "root", mountpoint))
		return ", current directory";
	return has_mapped(pid, mountpoint) ? ", mapped file" : NULL;
}

/* "python3 (123), bash (77, current directory)": who keeps the mount busy, of those that we may
 * look at. */
static void users_of(const char *mountpoint, char *text, size_t size)
{
	DIR *d = opendir("/proc");
	const struct dirent *de;
	size_t len = 0;

	*text = '\0';
	while (d && (de = readdir(d))) {
		char path[300], name[64] = "";
		const char *use = NULL;
		cleanup_fd int fd = -1;

		if (de->d_name[0] >= '1' && de->d_name[0] <= '9' &&
			strtol(de->d_name, NULL, 10) != getpid())
			use = use_of(de->d_name, mountpoint);
		if (!use)
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%.20s/comm", de->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		len += (size_t)snprintf(text + len, size - len, "%s%s (%.20s%s)", len ? ", " : "",
			name, de->d_name, use);
		if (len + 100 > size) {
			(void)snprintf(text + len, size - len, ", ...");
			break;
		}
	}
	if (d)
		(void)closedir(d);
}

struct umount { /* what is told while it goes on */
	struct app *app;
	char users[400];
	int64_t quiet_ns; /* monotonic: until then nothing is */
	bool said;
};

/* Once it has taken longer than one expects: what it waits for. Whom we may not look at, and who
 * has it in another name space, is not seen. */
static void say_waiting(struct umount *u, const json_t *p)
{
	const char *place = u->app->m.mountpoint;
	long long handles = app_int(p, "handles"), drain = app_int(p, "drain_s");

	if (!json_is_true(json_object_get(p, "busy")))
		(void)fprintf(stderr, "astra umount: jobs are being finished");
	else if (handles)
		(void)fprintf(stderr, "astra umount: %s is busy: %lld open %s%s%s", place, handles,
			handles == 1 ? "file or directory" : "files or directories",
			*u->users ? ", by " : "", u->users);
	else if (*u->users)
		(void)fprintf(stderr, "astra umount: %s is busy: in use by %s", place, u->users);
	else
		(void)fprintf(stderr,
			"astra umount: %s is busy: no file is open; it is a current directory, or "
			"mounted in another place as well",
			place);
	(void)fprintf(stderr, "; waiting up to %lld s (drain_timeout)\n", drain);
}

static int on_umount_line(void *arg, const json_t *line)
{
	struct umount *u = arg;
	const json_t *p = json_object_get(line, "progress");
	char text[128];

	if (!p || u->app->json || clock_mono_ns() < u->quiet_ns)
		return 0;
	if (!u->said)
		say_waiting(u, p);
	u->said = true;
	if (app_int(p, "handles"))
		(void)snprintf(
			text, sizeof(text), "busy: %lld open", (long long)app_int(p, "handles"));
	else if (json_is_true(json_object_get(p, "busy")))
		(void)snprintf(text, sizeof(text), "busy: in use");
	else
		(void)snprintf(text, sizeof(text), "%lld job%s, %lld changed file%s to go",
			(long long)app_int(p, "jobs"), app_plural(app_int(p, "jobs")),
			(long long)app_int(p, "files"), app_plural(app_int(p, "files")));
	app_bar(u->app, text);
	return 0;
}

static int say_left(struct app *a, const json_t *data)
{
	int64_t jobs = app_int(data, "jobs"), files = app_int(data, "files");

	if (a->json)
		app_print_json(data);
	if (!jobs && !files)
		return EXIT_DONE;
	(void)fprintf(stderr,
		"astra umount: unmounted, but not all is in the clouds: %lld job%s and %lld "
		"changed file%s are left (%s); they are kept in %s and go on at the next mount\n",
		(long long)jobs, app_plural(jobs), (long long)files, app_plural(files),
		app_str(data, "why"), app_str(data, "state"));
	return EXIT_LEFT;
}

int cmd_umount(struct app *a, int argc, char **argv)
{
	cleanup_json json_t *req = NULL, *data = NULL;
	struct umount u = {.app = a};
	struct err err = {0};
	int code = app_words(a, &argc, argv, 0, 0);
	char buf[64];
	ssize_t n;
	errint_t r;

	if (code == EXIT_DONE)
		code = app_connect(a, NULL);
	if (code != EXIT_DONE)
		return code;
	users_of(a->m.mountpoint, u.users, sizeof(u.users)); /* while they have its path */
	u.quiet_ns = clock_mono_ns() + UMOUNT_QUIET_NS;
	req = app_request("umount");
	r = ctl_ask(a->m.fd, req, on_umount_line, &u, &data, &err);
	app_bar(a, NULL);
	if (r)
		return app_fail(a, r, &err);
	/* The end of file is the end of the daemon. */
	do
		n = read(a->m.fd, buf, sizeof(buf));
	while (n > 0 || (n < 0 && errno == EINTR));
	return say_left(a, data);
}

/* ---- doctor ---- */

static int worst; /* exit status of the findings so far */

static void print_finding(struct app *a, const json_t *f)
{
	const char *level = app_str(f, "level");

	(void)a;
	(void)printf("%-8s %-18s ", level, app_str(f, "check"));
	app_puts(app_str(f, "text"), 0);
	(void)putchar('\n');
}

static json_t *doctor_list; /* --json: ours and the daemon's */

static void on_finding(struct app *a, const json_t *f)
{
	if (!a->json)
		print_finding(a, f);
	else
		(void)json_array_append(doctor_list, (json_t *)f);
	if (!strcmp(app_str(f, "level"), "error"))
		worst = EXIT_FAILED;
}

static void finding(
	struct app *a, json_t *list, const char *level, const char *check, const char *text)
{
	json_t *f = json_pack("{s:s, s:s, s:s}", "level", level, "check", check, "text", text);

	doctor_list = list;
	on_finding(a, f);
	json_decref(f);
}

static bool in_path(const char *name)
{
	const char *path = getenv("PATH");
	cleanup_free char *copy = strdup(path ? path : "/usr/bin:/bin");
	char *save = NULL, full[4096];

	for (char *d = copy ? strtok_r(copy, ":", &save) : NULL; d;
		d = strtok_r(NULL, ":", &save)) {
		if (snprintf(full, sizeof(full), "%s/%s", d, name) < (int)sizeof(full) &&
			access(full, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_local(struct app *a, json_t *list)
{
	char dir[256], text[400];
	struct err err = {0};
	bool fuse = access("/dev/fuse", R_OK | W_OK) == 0;

	finding(a, list, fuse ? "ok" : "error", "/dev/fuse",
		fuse ? "is there and usable"
		     : "cannot be used: load it by 'modprobe fuse', or ask for access to it");
	if (in_path("fusermount3"))
		finding(a, list, "ok", "fusermount3", "is installed");
	else
		finding(a, list, geteuid() ? "error" : "warning", "fusermount3",
			"is missing (apt install fuse3): no mounts by users, no auto_unmount");
	if (ctl_dir(dir, sizeof(dir), &err)) {
		finding(a, list, "error", "runtime directory", err.msg);
	} else {
		(void)snprintf(text, sizeof(text), "sockets go to %s, which %s", dir,
			access(dir, F_OK) == 0 ? "is yours alone" : "can be made");
		finding(a, list, "ok", "runtime directory", text);
	}
}

static void check_conf(struct app *a, json_t *list)
{
	char *const argv[] = {"astrafs", "--conf", NULL};
	cleanup_json json_t *lines = json_array();
	int code = app_astrafs(a, argv, lines);
	const char *last = json_string_value(
		json_array_get(lines, json_array_size(lines) ? json_array_size(lines) - 1 : 0));

	finding(a, list, code == EXIT_DONE ? "ok" : "error", "configuration",
		last ? last : "cannot be checked");
}

int cmd_doctor(struct app *a, int argc, char **argv)
{
	cleanup_json json_t *list = json_array();
	struct ctl_mount *all = NULL;
	struct err err = {0};
	size_t n = 0;
	int code = app_words(a, &argc, argv, 0, 0);

	if (code != EXIT_DONE)
		return code;
	check_local(a, list);
	check_conf(a, list);
	if (!a->mount && !ctl_mounts(&all, &n, &err)) {
		for (size_t i = 0; i < n; i++)
			ctl_mount_done(&all[i]);
		free(all);
		if (!n)
			finding(a, list, "warning", "mounts",
				"nothing is mounted: the rest cannot be checked");
	}
	if (n || a->mount) {
		code = app_connect(a, NULL);
		if (code == EXIT_DONE)
			code = app_ask(a, app_request("doctor"), on_finding, NULL);
	}
	if (a->json && code == EXIT_DONE)
		app_print_json(list);
	return code != EXIT_DONE ? code : worst;
}

/* ---- debug ---- */

#define FAULT_RULES                                                                                \
	"allowed: OPERATIONS[:WHEN]...:ACTION[;...], as 'get,put:p=0.5:error=EIO' (see "           \
	"astrafs.conf(5))"

int cmd_debug(struct app *a, int argc, char **argv)
{
	struct err err = {0};
	json_t *req;
	errint_t r;
	int code = app_words(a, &argc, argv, 3, 3);

	if (code != EXIT_DONE)
		return code;
	if (strcmp(argv[1], "fault") != 0)
		return app_usage(a, "'%s' is not known; allowed: fault", argv[1]);
	code = app_connect(a, NULL);
	if (code != EXIT_DONE)
		return code;
	req = app_request("debug-fault");
	(void)json_object_set_new(req, "remote", json_string(argv[2]));
	(void)json_object_set_new(req, "rules", json_string(argv[3]));
	r = ctl_ask(a->m.fd, req, NULL, NULL, NULL, &err);
	json_decref(req);
	if (r == -EINVAL) {
		(void)fprintf(stderr, "astra debug: %s; " FAULT_RULES "\n", err_text(&err, r));
		return EXIT_USAGE;
	}
	return r ? app_fail(a, r, &err) : EXIT_DONE;
}
