/* SPDX-License-Identifier: MIT */
/*
 * What the verbs share: asking the daemon, progress, words, the command line.
 */
#include "astra.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_conf.h"
#include "astra/base_hash.h"

#define PLAIN_NS (2 * NS_PER_S) /* between lines of progress without a terminal */

/* ---- errors ---- */

int app_usage(const struct app *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "astra %s: ", a->cmd->name);
	(void)vfprintf(stderr, fmt, ap);
	(void)fprintf(stderr, "\nusage: astra %s%s%s\n", a->cmd->name, *a->cmd->args ? " " : "",
		a->cmd->args);
	va_end(ap);
	return EXIT_USAGE;
}

int app_fail(const struct app *a, errint_t r, const struct err *err)
{
	(void)fprintf(stderr, "astra %s: %s\n", a->cmd->name, err_text(err, r));
	switch (r) {
	case -ENOTUNIQ:
		return EXIT_AMBIGUOUS;
	case -ECONNRESET:
	case -EPIPE:
	case -ECONNREFUSED:
		return EXIT_NO_MOUNT;
	case -ETIMEDOUT:
		return EXIT_TIMEOUT;
	default:
		return EXIT_FAILED;
	}
}

/* ---- asking ---- */

json_t *app_request(const char *verb)
{
	json_t *req = json_pack("{s:s}", "verb", verb);

	if (!req) {
		(void)fprintf(stderr, "astra: no memory\n");
		exit(EXIT_FAILED);
	}
	return req;
}

int app_add_path(json_t *req, const char *key, const char *path)
{
	json_t *text = json_string(path); /* NULL for bytes that are not UTF-8 */
	cleanup_free char *hex = NULL;
	char hex_key[64];

	if (text)
		return json_object_set_new(req, key, text);
	hex = malloc(strlen(path) * 2 + 1);
	if (!hex)
		return -1;
	hex_encode(path, strlen(path), hex);
	(void)snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	return json_object_set_new(req, hex_key, json_string(hex));
}

json_t *app_request_path(struct app *a, const char *verb, const char *given, int *ret_code)
{
	cleanup_free char *path = NULL;
	json_t *req;

	*ret_code = app_connect(a, given);
	if (*ret_code == EXIT_DONE && given)
		*ret_code = app_tree(a, given, &path);
	if (*ret_code != EXIT_DONE)
		return NULL;
	req = app_request(verb);
	if (path)
		(void)app_add_path(req, "path", path);
	return req;
}

struct asking {
	struct app *app;
	void (*fn)(struct app *a, const json_t *item);
	json_t *items; /* owned; NULL: not collected */
};

static int on_line(void *arg, const json_t *line)
{
	struct asking *k = arg;
	struct app *a = k->app;
	const json_t *item = json_object_get(line, "item");
	const json_t *progress = json_object_get(line, "progress");
	const char *text = json_string_value(json_object_get(line, "text"));

	if (progress) {
		app_progress(a, progress);
		return 0;
	}
	app_bar(a, NULL);
	if (text && !a->json)
		(void)fputs(text, stdout);
	if (item && k->items)
		(void)json_array_append(k->items, (json_t *)item);
	else if (item && k->fn)
		k->fn(a, item);
	return 0;
}

static int ask(struct app *a, json_t *req, void (*fn)(struct app *a, const json_t *item),
	json_t *items, json_t **ret_data)
{
	struct asking k = {.app = a, .fn = fn, .items = items};
	struct err err = {0};
	errint_t r = ctl_ask(a->m.fd, req, on_line, &k, ret_data, &err);

	json_decref(req);
	app_bar(a, NULL);
	return r ? app_fail(a, r, &err) : EXIT_DONE;
}

int app_ask(struct app *a, json_t *req, void (*fn)(struct app *a, const json_t *item),
	json_t **ret_data)
{
	return ask(a, req, fn, NULL, ret_data);
}

void app_print_json(const json_t *j)
{
	(void)json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	(void)fputc('\n', stdout);
}

int app_show(struct app *a, json_t *req, void (*fn)(struct app *a, const json_t *item),
	void (*done)(struct app *a, const json_t *data))
{
	cleanup_json json_t *data = NULL, *items = a->json ? json_array() : NULL;
	int code = ask(a, req, fn, items, &data);

	if (code != EXIT_DONE)
		return code;
	if (!a->json) {
		if (done && data)
			done(a, data);
		return code;
	}
	if (!data)
		data = json_object();
	if (data && (fn || json_array_size(items)))
		(void)json_object_set(data, "items", items);
	app_print_json(data);
	return code;
}

int app_wait_path(struct app *a, const char *tree, const json_t *job, json_t **ret_data)
{
	json_t *req = app_request("jobs-wait");
	int code;

	(void)app_add_path(req, "path", tree);
	if (job)
		(void)json_object_set_new(req, "ids", json_pack("[O]", json_object_get(job, "id")));
	code = app_ask(a, req, NULL, ret_data);
	if (code == EXIT_DONE && app_int(*ret_data, "failed")) {
		(void)fprintf(stderr, "astra %s: it failed: %s\n", a->cmd->name,
			app_str(*ret_data, "note"));
		code = EXIT_FAILED;
	}
	return code;
}

/* ---- the other program ---- */

/* In the child: astrafs beside this program, or in PATH. */
static _Noreturn void exec_astrafs(char *const argv[])
{
	char self[PATH_MAX], beside[PATH_MAX + 16];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			(void)snprintf(beside, sizeof(beside), "%s/astrafs", self);
			(void)execv(beside, argv);
		}
	}
	(void)execvp("astrafs", argv);
	_exit(127);
}

static void collect(int fd, json_t *lines)
{
	FILE *f = fdopen(fd, "r");
	cleanup_free char *line = NULL;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		(void)json_array_append_new(lines, json_text(line));
	}
	if (f)
		(void)fclose(f);
	else
		(void)close(fd);
}

int app_astrafs(const struct app *a, char *const argv[], json_t *lines)
{
	int fds[2] = {-1, -1}, status = 0;
	pid_t pid;

	(void)fflush(NULL);
	if (lines && pipe2(fds, O_CLOEXEC) < 0)
		return app_fail(a, -errno, NULL);
	pid = fork();
	if (pid == 0) {
		if (lines && (dup2(fds[1], STDOUT_FILENO) < 0 || dup2(fds[1], STDERR_FILENO) < 0))
			_exit(127);
		exec_astrafs(argv);
	}
	if (lines)
		(void)close(fds[1]);
	if (lines && pid > 0)
		collect(fds[0], lines);
	else if (lines)
		(void)close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return app_fail(a, -errno, NULL);
	}
	if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 127)
		return WEXITSTATUS(status);
	(void)fprintf(stderr, "astra %s: astrafs cannot be started\n", a->cmd->name);
	return EXIT_FAILED;
}

/* ---- progress ---- */

void app_bar(struct app *a, const char *text)
{
	struct winsize ws;
	int width = 79;

	if (!a->bar)
		return;
	if (!text) {
		if (a->bar_width)
			(void)fprintf(stderr, "\r\033[K");
		a->bar_width = 0;
		return;
	}
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 10)
		width = ws.ws_col - 1;
	(void)fprintf(stderr, "\r\033[K%.*s", width, text);
	(void)fflush(stderr);
	a->bar_width = strlen(text);
}

/* By bytes, which is fairer than by files, where there are any. */
static int job_percent(const json_t *job)
{
	int64_t bytes = app_int(job, "bytes");

	return bytes ? app_percent(app_int(job, "bytes_done"), bytes)
		     : app_percent(app_int(job, "files_done"), app_int(job, "files"));
}

/* "  51 %  3 of 7 GB  120 MB/s  33 s left  running /aws/a" */
static void job_text(char *text, size_t room, const json_t *job, size_t more)
{
	char done[32], total[32], speed[48] = "", left[48] = "", num[32];
	int64_t bytes = app_int(job, "bytes"), have = app_int(job, "bytes_done");
	int64_t files = app_int(job, "files");
	const char *place = app_str(job, "source");
	size_t n;

	if (!*place)
		place = app_str(job, "destination");
	if (app_num(job, "speed") > 0)
		(void)snprintf(speed, sizeof(speed), "  %s/s",
			app_size(num, (uint64_t)app_num(job, "speed")));
	if (app_num(job, "left_s") > 0)
		(void)snprintf(
			left, sizeof(left), "  %s left", app_span(num, app_num(job, "left_s")));
	if (files > 0)
		(void)snprintf(text, room, "%3d %%  %lld of %lld file%s, %s of %s%s%s  %s %s",
			job_percent(job), (long long)app_int(job, "files_done"), (long long)files,
			app_plural(files), app_size(done, (uint64_t)have),
			app_size(total, (uint64_t)bytes), speed, left, app_str(job, "state"),
			place);
	else if (bytes > 0)
		(void)snprintf(text, room, "%3d %%  %s of %s%s%s  %s %s", app_percent(have, bytes),
			app_size(done, (uint64_t)have), app_size(total, (uint64_t)bytes), speed,
			left, app_str(job, "state"), place);
	else
		(void)snprintf(text, room, "%s %s  %s", app_str(job, "kind"), app_str(job, "state"),
			place);
	n = strlen(text);
	if (json_is_true(json_object_get(job, "archived")))
		n += (size_t)snprintf(text + n, room - n, "  (%s)", app_str(job, "note"));
	n = MIN_OF(n, room - 1);
	if (more)
		(void)snprintf(text + n, room - n, "  and %zu more", more);
	for (; *text; text++) {
		if (iscntrl((unsigned char)*text))
			*text = '?';
	}
}

const char *app_plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

int app_percent(int64_t have, int64_t of)
{
	return of > 0 ? (int)MIN_OF((double)have * 100 / (double)of, 100.0) : 0;
}

/* Where there is no terminal: a line now and then. */
static void plain_line(struct app *a, const char *text)
{
	int64_t now = clock_mono_ns();

	if (now < a->plain_next_ns)
		return;
	a->plain_next_ns = now + PLAIN_NS;
	(void)fprintf(stderr, "%s\n", text);
}

static void show_job(struct app *a, const json_t *job, size_t more)
{
	int percent = job_percent(job);
	char bar[21], words[900], text[1024];

	job_text(words, sizeof(words), job, more);
	if (!a->bar) {
		plain_line(a, words);
		return;
	}
	for (int i = 0; i < 20; i++)
		bar[i] = i < percent / 5 ? '=' : i == percent / 5 ? '>' : ' ';
	bar[20] = '\0';
	(void)snprintf(text, sizeof(text), "[%s] %s", bar, words);
	app_bar(a, text);
}

/* Of many jobs: how many, or what the one is that they wait for. */
static void show_wait(struct app *a, const json_t *progress)
{
	const json_t *jobs = json_object_get(progress, "jobs");
	int64_t waits = app_int(progress, "waits"), live = app_int(jobs, "live");
	int64_t dirty = app_int(progress, "dirty");
	char text[1024];

	if (*a->waits_for)
		(void)snprintf(text, sizeof(text), "waits for %lld job%s: %s", (long long)waits,
			app_plural(waits), a->waits_for);
	else
		(void)snprintf(text, sizeof(text), "%lld job%s, %lld changed file%s to go",
			(long long)live, app_plural(live), (long long)dirty, app_plural(dirty));
	if (a->bar)
		app_bar(a, text);
	else
		plain_line(a, text);
}

void app_progress(struct app *a, const json_t *progress)
{
	const json_t *jobs = json_object_get(progress, "jobs");
	const json_t *job = json_object_get(progress, "job");
	size_t n = json_array_size(jobs);
	int64_t others = MAX_OF(app_int(progress, "waits"), app_int(jobs, "live")) - 1;

	(void)snprintf(a->waits_for, sizeof(a->waits_for), "%s", app_str(progress, "for"));
	if (a->json || (json_is_array(jobs) && !n))
		return;
	if (json_is_array(jobs))
		show_job(a, json_array_get(jobs, 0), n - 1);
	else if (app_int(job, "files") || app_int(job, "bytes"))
		show_job(a, job, (size_t)MAX_OF(others, (int64_t)0));
	else
		show_wait(a, progress);
}

/* ---- time is over ---- */

static const char *alarm_text, *alarm_what; /* what the one command of this process says then */

static void say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n;
}

static void on_alarm(int sig)
{
	(void)sig;
	say(alarm_text);
	if (*alarm_what) {
		say("; it waits for ");
		say(alarm_what);
	}
	say("\n");
	_exit(EXIT_TIMEOUT);
}

int app_timeout(struct app *a, const char *timeout, const char *text)
{
	int64_t ns = 0;

	if (!timeout)
		return EXIT_DONE;
	if (parse_duration(timeout, &ns))
		return app_usage(a, "'%s' is not a duration, like 30s or 5m", timeout);
	alarm_text = text;
	alarm_what = a->waits_for;
	(void)signal(SIGALRM, on_alarm);
	(void)alarm((unsigned)MIN_OF(MAX_OF(ns / NS_PER_S, 1), 1000000000));
	return EXIT_DONE;
}

/* ---- words ---- */

const char *app_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int64_t app_int(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

double app_num(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

const char *app_size(char out[32], uint64_t bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
	double v = (double)bytes;
	unsigned u = 0;

	if (bytes == 1)
		return memcpy(out, "1 byte", 7);
	for (; v >= 999.5 && u + 1 < ARRAY_SIZE(units); u++)
		v /= 1000;
	if (!u || v >= 99.95)
		(void)snprintf(out, 32, "%.0f %s", v, units[u]);
	else
		(void)snprintf(out, 32, "%.*f %s", v >= 9.995 ? 1 : 2, v, units[u]);
	return out;
}

const char *app_money(char out[MONEY_TEXT_MAX], const json_t *dollars)
{
	const char *s = json_string_value(dollars);
	money_t m = 0;

	if (json_is_null(dollars) || (s && money_read(s, &m)))
		return memcpy(out, "?", 2);
	return money_format(out, m, MONEY_MONTH);
}

const char *app_time(char out[32], const json_t *seconds)
{
	time_t t = (time_t)json_number_value(seconds);
	struct tm tm;

	if (!json_is_number(seconds) || !t || !localtime_r(&t, &tm) ||
		!strftime(out, 32, "%Y-%m-%d %H:%M", &tm))
		memcpy(out, "-", 2);
	return out;
}

const char *app_span(char out[32], double seconds)
{
	static const struct {
		double above, unit;
		const char *name;
	} units[] = {{172800, 86400, "days"}, {7200, 3600, "h"}, {120, 60, "min"}, {0, 1, "s"}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (seconds < units[i].above)
			continue;
		(void)snprintf(out, 32, "%.0f %s", seconds / units[i].unit, units[i].name);
		break;
	}
	return out;
}

void app_puts(const char *s, int width)
{
	int n = 0;

	for (; *s; s++, n++) {
		if (iscntrl((unsigned char)*s))
			n += printf("\\x%02x", (unsigned char)*s) - 1;
		else
			(void)putchar(*s);
		n -= ((unsigned char)*s & 0xc0) == 0x80; /* within a character */
	}
	for (; n < width; n++)
		(void)putchar(' ');
}

/* ---- the command line ---- */

static void take_out(int *argc, char **argv, int at, int n)
{
	memmove(&argv[at], &argv[at + n], (size_t)(*argc - at - n + 1) * sizeof(*argv));
	*argc -= n;
}

const char *app_option(struct app *a, int *argc, char **argv, const char *name)
{
	size_t len = strlen(name);
	const char *value;

	for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		const char *s = argv[i];

		if (s[0] != '-' || s[1] != '-' || strncmp(s + 2, name, len) != 0)
			continue;
		if (s[len + 2] == '=') {
			value = s + len + 3;
			take_out(argc, argv, i, 1);
			return value;
		}
		if (s[len + 2])
			continue;
		value = i + 1 < *argc && strncmp(argv[i + 1], "--", 2) != 0 ? argv[i + 1] : NULL;
		a->no_value = value ? a->no_value : name;
		take_out(argc, argv, i, value ? 2 : 1);
		return value;
	}
	return NULL;
}

/* "-x" for a name of one letter, else "--name". */
bool app_flag(int *argc, char **argv, const char *name)
{
	char full[64];

	(void)snprintf(full, sizeof(full), "%s%s", name[1] ? "--" : "-", name);
	for (int i = 1; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], full) != 0)
			continue;
		take_out(argc, argv, i, 1);
		return true;
	}
	return false;
}

bool app_number(const char *s, uint64_t *ret)
{
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*ret = strtoull(s, &end, 10);
	return !*end && !errno;
}

int app_words(struct app *a, int *argc, char **argv, int min, int max)
{
	bool dashes = false;

	if (a->no_value)
		return app_usage(a, "--%s needs a value", a->no_value);
	for (int i = 1; i < *argc; i++) {
		if (dashes || argv[i][0] != '-' || !argv[i][1])
			continue;
		if (strcmp(argv[i], "--") != 0)
			return app_usage(a, "unknown switch '%s'", argv[i]);
		take_out(argc, argv, i--, 1);
		dashes = true;
	}
	if (*argc - 1 < min)
		return app_usage(a, "something is missing");
	if (*argc - 1 > max)
		return app_usage(a, "'%s' is too much", argv[max + 1]);
	return EXIT_DONE;
}
