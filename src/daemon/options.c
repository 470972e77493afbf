/* SPDX-License-Identifier: MIT */
/*
 * The command line and the configuration file. Everything is a struct conf_item with its place,
 * whether it came from -o or from a file, and is read by the one table of options.h; later items
 * win. Also takes what mount(8) passes to a helper. One thread, at start.
 */
#include "options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"

#define CACHE_MIN  (UINT64_C(1) << 20)
#define MEMORY_MIN (UINT64_C(32) << 20)

static const char *const crawlers[] = {"updatedb", "updatedb.mlocate", "updatedb.plocate",
	"tracker-miner-fs", "tracker-miner-fs-3", "tracker-extract", "tracker-extract-3",
	"baloo_file", "baloo_file_extractor", "localsearch-3", "localsearch-extractor-3",
	"tumblerd", "recollindex", "clamscan", "clamd", "freshclam"};

static const char *const copiers[] = {"rsync", "cp", "mv", "install", "tar", "bsdtar"};

struct option_row;
typedef errint_t (*option_read)(const struct conf_item *it, void *to, struct err *err);

/* ---- values ---- */

static errint_t no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the options");
}

/* Relative paths are relative to where the command was given: the daemon moves to "/". */
static errint_t read_PATH(const struct conf_item *it, void *to, struct err *err)
{
	char **path = to, *text = NULL;
	cleanup_free char *cwd = NULL;

	if (!*it->value)
		return conf_err(it, err, "a path is expected");
	if (*it->value == '/' || !strcmp(it->value, "syslog")) {
		text = strdup(it->value);
	} else if (it->value[0] == '~' && it->value[1] == '/' && getenv("HOME")) {
		if (asprintf(&text, "%s%s", getenv("HOME"), it->value + 1) < 0)
			text = NULL;
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return conf_err(it, err, "relative to a directory that cannot be found: %s",
				err_text(NULL, -errno));
		if (asprintf(&text, "%s/%s", cwd, it->value) < 0)
			text = NULL;
	}
	if (!text)
		return no_memory(err);
	free(*path);
	*path = text;
	return 0;
}

static errint_t read_BOOL(const struct conf_item *it, void *to, struct err *err)
{
	return conf_bool(it, to, err);
}

static errint_t size_from(
	const struct conf_item *it, uint64_t least, uint64_t *ret, struct err *err)
{
	uint64_t n = 0;
	errint_t r = conf_size(it, &n, err);

	if (!r && n < least)
		return conf_err(it, err, "'%s' is too small; allowed: %lluM or more", it->value,
			(unsigned long long)(least >> 20));
	if (!r)
		*ret = n;
	return r;
}

/* With less nothing could be written. */
static errint_t read_CACHE(const struct conf_item *it, void *to, struct err *err)
{
	return size_from(it, CACHE_MIN, to, err);
}

/* Half of it is for buffers, of which there are two at least. */
static errint_t read_MEMORY(const struct conf_item *it, void *to, struct err *err)
{
	return size_from(it, MEMORY_MIN, to, err);
}

static errint_t read_DURATION(const struct conf_item *it, void *to, struct err *err)
{
	return conf_duration(it, to, err);
}

static errint_t read_BUFFERS(const struct conf_item *it, void *to, struct err *err)
{
	return conf_u64(it, 2, 4096, to, err);
}

static errint_t read_WORKERS(const struct conf_item *it, void *to, struct err *err)
{
	return conf_u64(it, 2, 512, to, err);
}

static errint_t read_id(const struct conf_item *it, bool found, uint32_t id, const char *what,
	void *to, struct err *err)
{
	uint64_t n = id;
	errint_t r = 0;

	if (!found && !isdigit((unsigned char)*it->value))
		return conf_err(
			it, err, "'%s' is no %s of this name, nor a whole number", it->value, what);
	if (!found)
		r = conf_u64(it, 0, UINT32_MAX - 1, &n, err);
	if (!r)
		*(uint32_t *)to = (uint32_t)n;
	return r;
}

static errint_t read_USER(const struct conf_item *it, void *to, struct err *err)
{
	const struct passwd *pw = isdigit((unsigned char)*it->value) ? NULL : getpwnam(it->value);

	return read_id(it, pw != NULL, pw ? pw->pw_uid : 0, "user", to, err);
}

static errint_t read_GROUP(const struct conf_item *it, void *to, struct err *err)
{
	const struct group *gr = isdigit((unsigned char)*it->value) ? NULL : getgrnam(it->value);

	return read_id(it, gr != NULL, gr ? gr->gr_gid : 0, "group", to, err);
}

static errint_t read_OCTAL(const struct conf_item *it, void *to, struct err *err)
{
	char *end;
	unsigned long v = strtoul(it->value, &end, 8);

	if (!isdigit((unsigned char)*it->value) || *end || v > 0777)
		return conf_err(it, err, "'%s' is not octal; allowed: 0 to 777", it->value);
	*(uint32_t *)to = (uint32_t)v;
	return 0;
}

static errint_t read_DURABILITY(const struct conf_item *it, void *to, struct err *err)
{
	static const char *const names[] = {
		[DURABLE_LOCAL] = "local", [DURABLE_FSYNC] = "fsync", [DURABLE_CLOSE] = "close"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(it->value, names[i])) {
			*(enum vfs_durability *)to = (enum vfs_durability)i;
			return 0;
		}
	}
	return conf_err(it, err, "'%s' is not known; allowed: local, fsync, close", it->value);
}

static errint_t read_RECALL(const struct conf_item *it, void *to, struct err *err)
{
	struct options *o = container_of(to, struct options, recall);

	if (!strcmp(it->value, "error")) {
		o->recall = RECALL_ERROR;
	} else if (!strcmp(it->value, "request")) {
		o->recall = RECALL_REQUEST;
	} else if (!strncmp(it->value, "block:", 6) &&
		   !parse_duration(it->value + 6, &o->recall_block_ns)) {
		o->recall = RECALL_BLOCK;
	} else {
		return conf_err(it, err,
			"'%s' is not known; allowed: error, request, block:DURATION", it->value);
	}
	return 0;
}

static errint_t read_CONFLICT(const struct conf_item *it, void *to, struct err *err)
{
	bool overwrite = !strcmp(it->value, "overwrite");

	if (!overwrite && strcmp(it->value, "keep") != 0)
		return conf_err(it, err, "'%s' is not known; allowed: keep, overwrite", it->value);
	*(bool *)to = overwrite;
	return 0;
}

static errint_t read_GUARD(const struct conf_item *it, void *to, struct err *err)
{
	return conf_u64(it, 1, 1000000000, to, err);
}

static errint_t read_BUDGET(const struct conf_item *it, void *to, struct err *err)
{
	if (store_budget_parse(it->value, to))
		return conf_err(it, err,
			"'%s' is no budget; allowed: N/min, N/day, $N/day, joined by '+'",
			it->value);
	return 0;
}

static errint_t read_LEVEL(const struct conf_item *it, void *to, struct err *err)
{
	const char *name = !strcmp(it->value, "warn") ? "warning" : it->value;

	if (log_level_parse(name, to))
		return conf_err(it, err,
			"'%s' is not known; allowed: error, warn, notice, info, debug", it->value);
	return 0;
}

static errint_t read_ROOMS(const struct conf_item *it, void *to, struct err *err)
{
	struct err own;

	if (log_rooms_parse(it->value, to, &own))
		return conf_err(it, err, "%s", own.msg);
	return 0;
}

static void list_free(const char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free((char *)list[i]);
	free(list);
}

/* Replaces the list: a value says all of it. */
static errint_t read_LIST(const struct conf_item *it, void *to, struct err *err)
{
	const char ***list = to;
	const char **made = calloc(NAMES_MAX + 1, sizeof(*made));
	cleanup_free char *copy = strdup(it->value);
	char *save = NULL;
	size_t n = 0;

	if (!made || !copy) {
		free(made);
		return no_memory(err);
	}
	for (char *w = strtok_r(copy, ",: \t", &save); w; w = strtok_r(NULL, ",: \t", &save)) {
		if (n == NAMES_MAX) {
			list_free(made);
			return conf_err(it, err, "more than %d names", NAMES_MAX);
		}
		made[n] = strdup(w);
		if (!made[n++]) {
			list_free(made);
			return no_memory(err);
		}
	}
	list_free(*list);
	*list = made;
	return 0;
}

/* ---- the table ---- */

static const struct option_row {
	const char *name;
	option_read read;
	size_t offset;
	bool is_bool;
	const char *argument, *fallback, *help;
} rows[] = {
#define IS_BOOL_(a) ((a) == NULL)
#define X(name_, kind, member, argument_, fallback_, help_)                                        \
	{.name = #name_,                                                                           \
		.read = read_##kind,                                                               \
		.offset = offsetof(struct options, member),                                        \
		.is_bool = IS_BOOL_(argument_),                                                    \
		.argument = argument_,                                                             \
		.fallback = fallback_,                                                             \
		.help = help_},
	OPTION_LIST(X)
#undef X
};

static const struct option_row *row_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	}
	return NULL;
}

static const char *row_nearest(const char *name)
{
	const char *names[ARRAY_SIZE(rows)];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		names[i] = rows[i].name;
	return nearest_name(name, names, ARRAY_SIZE(names));
}

void options_help(FILE *to, const char *name)
{
	(void)fprintf(to,
		"usage: %s [-c FILE] [-o OPT,...] [-f] [-d] MOUNTPOINT\n"
		"       %s --conf [-c FILE] [-o OPT,...]\n"
		"       %s --check|--dump|--load [-o state=DIR] [MOUNTPOINT]\n"
		"       %s --rebuild [-c FILE] [-o state=DIR] [MOUNTPOINT]\n"
		"       %s -V | -h\n\n"
		"Mounts clouds as one tree of files. Without a configuration file there are three\n"
		"embedded clouds, aws, gcp and azure, in local directories.\n\n"
		"  -c FILE    read this configuration instead of the usual files\n"
		"  -o OPT,... options, below\n"
		"  -f         stay in the foreground, log to standard error\n"
		"  -d         as -f, with debug messages\n"
		"  -V, -h     version, this help\n"
		"  --conf     check the configuration only\n"
		"  --check    check the index of a stopped mount; --dump and --load write and "
		"read\n"
		"             it as text; --rebuild makes it anew from the clouds of the\n"
		"             configuration\n\n"
		"Options, also keys of the configuration file:\n",
		name, name, name, name, name);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "%s%s%s", rows[i].name,
			rows[i].argument ? "=" : "", rows[i].argument ? rows[i].argument : "");
		(void)fprintf(to, "  %-32s %s (%s)\n", left, rows[i].help, rows[i].fallback);
	}
	(void)fprintf(to, "\nSee astrafs(8), astrafs.conf(5). To look at a mount: astra(1).\n");
}

/* ---- mount(8)'s words ---- */

/* Options of the kernel or of mount(8) that are taken: 'p' passed on, ' ' without effect here
 * (nosuid and nodev always hold). */
static const struct {
	const char *name;
	char what;
} kernel_words[] = {
	{"rw", 'w'},
	{"noexec", 'p'},
	{"exec", 'p'},
	{"noatime", 'p'},
	{"atime", 'p'},
	{"nodiratime", 'p'},
	{"diratime", 'p'},
	{"relatime", 'p'},
	{"norelatime", 'p'},
	{"strictatime", 'p'},
	{"nosuid", ' '},
	{"suid", ' '},
	{"nodev", ' '},
	{"dev", ' '},
	{"async", ' '},
	{"default_permissions", ' '},
	{"auto_unmount", ' '},
	{"_netdev", ' '},
	{"user", ' '},
	{"users", ' '},
	{"nouser", ' '},
	{"owner", ' '},
	{"group", ' '},
	{"auto", ' '},
	{"noauto", ' '},
	{"nofail", ' '},
	{"defaults", ' '},
};

/* relatime and the like are unknown to libfuse's own table of flags. */
static bool libfuse_knows(const char *word)
{
	static const char *const known[] = {
		"noexec", "exec", "noatime", "atime", "nodiratime", "diratime"};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strcmp(word, known[i]))
			return true;
	}
	return false;
}

/* True when the word was one of these. */
static bool take_kernel_word(struct options *o, const char *word, errint_t *ret_r)
{
	static const char *const prefixes[] = {
		"x-", "X-", "comment=", "subtype=", "uhelper=", "helper=", "user="};
	size_t len = strlen(o->mount_flags);

	*ret_r = 0;
	if (!strncmp(word, "fsname=", 7)) {
		free(o->fsname);
		o->fsname = strdup(word + 7);
		*ret_r = o->fsname ? 0 : -ENOMEM;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (!strncmp(word, prefixes[i], strlen(prefixes[i])))
			return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kernel_words); i++) {
		if (strcmp(word, kernel_words[i].name) != 0)
			continue;
		if (kernel_words[i].what == 'w')
			*ret_r = conf_set(o->conf, "", "ro", "no");
		if (kernel_words[i].what == 'p' && libfuse_knows(word) &&
			len + strlen(word) + 2 < sizeof(o->mount_flags))
			(void)snprintf(o->mount_flags + len, sizeof(o->mount_flags) - len, "%s%s",
				len ? "," : "", word);
		return true;
	}
	return false;
}

/* ---- -o ---- */

static errint_t take_word(struct options *o, char *word, bool sloppy, struct err *err)
{
	char *eq = strchr(word, '=');
	const struct option_row *row;
	const char *near;
	errint_t r;

	if (!*word)
		return 0;
	if (take_kernel_word(o, word, &r))
		return r ? no_memory(err) : 0;
	if (eq)
		*eq = '\0';
	row = row_find(word);
	if (!row) {
		if (sloppy)
			return 0;
		near = row_nearest(word);
		return err_set(err, -EINVAL, ERR_FINAL, "-o %s: unknown option%s%s%s", word,
			near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	}
	if (!eq && !row->is_bool)
		return err_set(err, -EINVAL, ERR_FINAL, "-o %s: a value is missing: %s=%s", word,
			word, row->argument);
	return conf_set(o->conf, "", word, eq ? eq + 1 : "yes") ? no_memory(err) : 0;
}

/* Commas separate; "\," is a comma, "\\" a backslash. */
static errint_t take_words(struct options *o, const char *text, bool sloppy, struct err *err)
{
	cleanup_free char *word = malloc(strlen(text) + 1);
	size_t n = 0;
	errint_t r;

	if (!word)
		return no_memory(err);
	for (const char *s = text;; s++) {
		if (*s == '\\' && (s[1] == ',' || s[1] == '\\')) {
			word[n++] = *++s;
			continue;
		}
		if (*s && *s != ',') {
			word[n++] = *s;
			continue;
		}
		word[n] = '\0';
		n = 0;
		r = take_word(o, word, sloppy, err);
		if (r || !*s)
			return r;
	}
}

/* ---- the configuration file ---- */

static bool section_is(const char *section, const char *kind)
{
	size_t len = strlen(kind);

	return !strncmp(section, kind, len) && section[len] == ' ' && section[len + 1];
}

/* Sections of other rooms are checked by these. */
static errint_t check_section(const struct conf_item *it, struct err *err)
{
	static const char *const plain[] = {"astrafs", "policy"};
	static const char *const kinds[] = {"remote", "rule", "prices"};
	static const char *const all[] = {"astrafs", "policy", "remote", "rule", "prices"};
	cleanup_free char *first = NULL;
	const char *near;

	if (!*it->section)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		if (!strcmp(it->section, plain[i]))
			return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (section_is(it->section, kinds[i]))
			return 0;
		if (!strcmp(it->section, kinds[i]))
			return err_set(err, -EINVAL, ERR_FINAL,
				"%s:%d: section [%s] needs a name: [%s NAME]", it->file, it->line,
				kinds[i], kinds[i]);
	}
	first = strdup(it->section);
	if (!first)
		return no_memory(err);
	first[strcspn(first, " ")] = '\0';
	near = nearest_name(first, all, ARRAY_SIZE(all));
	if (near)
		return err_set(err, -EINVAL, ERR_FINAL,
			"%s:%d: unknown section [%s]; did you mean [%s]?", it->file, it->line,
			it->section, near);
	return err_set(err, -EINVAL, ERR_FINAL,
		"%s:%d: unknown section [%s]; allowed: [astrafs], [policy], [remote NAME], "
		"[rule NAME], [prices NAME]",
		it->file, it->line, it->section);
}

static errint_t take_items(struct options *o, struct err *err)
{
	for (size_t i = 0; i < conf_count(o->conf); i++) {
		const struct conf_item *it = conf_at(o->conf, i);
		const struct option_row *row;
		const char *near;
		errint_t r = check_section(it, err);

		if (r)
			return r;
		if (!*it->key)
			continue;
		row = row_find(it->key);
		if (*it->section && strcmp(it->section, "astrafs") != 0) {
			if (row) /* no other section has a key of that name */
				return conf_err(it, err,
					"this is a general key: it belongs in front of the first "
					"section, here it is one of [%s]",
					it->section);
			continue;
		}
		if (!row) {
			near = row_nearest(it->key);
			return conf_err(it, err, "unknown key%s%s%s",
				near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
		}
		r = row->read(it, (char *)o + row->offset, err);
		if (r)
			return r;
	}
	return 0;
}

static errint_t load_if_there(struct options *o, const char *path, struct err *err)
{
	errint_t r = conf_load(o->conf, path, err);

	if (r == -ENOENT || r == -ENOTDIR) {
		err_clear(err);
		return 0;
	}
	return r;
}

static errint_t load_files(struct options *o, struct err *err)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	cleanup_free char *path = NULL;
	errint_t r;

	if (o->conf_path) /* one that was asked for and cannot be read is a wrong command line */
		return conf_load(o->conf, o->conf_path, err) ? -EINVAL : 0;
	r = load_if_there(o, "/etc/astrafs/astrafs.conf", err);
	if (r)
		return r;
	if (xdg && *xdg == '/')
		r = asprintf(&path, "%s/astrafs/astrafs.conf", xdg);
	else if (home && *home == '/')
		r = asprintf(&path, "%s/.config/astrafs/astrafs.conf", home);
	else
		return 0;
	return r < 0 ? no_memory(err) : load_if_there(o, path, err);
}

/* ---- the whole ---- */

/* A copy of names, NULL-terminated; NULL without memory. */
static const char **list_of(const char *const *names, size_t n)
{
	const char **list = calloc(n + 1, sizeof(char *));

	for (size_t i = 0; list && i < n; i++) {
		list[i] = strdup(names[i]);
		if (!list[i]) {
			list_free(list);
			return NULL;
		}
	}
	return list;
}

static errint_t defaults(struct options *o, struct err *err)
{
	mode_t mask = umask(0);

	(void)umask(mask);
	memset(o, 0, sizeof(*o));
	o->uid = getuid();
	o->gid = getgid();
	o->umask = mask & 0777;
	o->durability = DURABLE_FSYNC;
	o->recall = RECALL_ERROR;
	o->migrate_wait_ns = 200 * NS_PER_MS;
	o->metadata_ttl_ns = 60 * NS_PER_S;
	o->upload_delay_ns = 1 * NS_PER_S;
	o->drain_ns = 30 * NS_PER_S;
	o->lock_wait_ns = 30 * NS_PER_S;
	o->io_deadline_ns = 30 * NS_PER_S;
	o->open_grace_ns = 60 * NS_PER_S;
	o->undo_window_ns = 600 * NS_PER_S;
	o->cache_size = UINT64_C(10) << 30;
	o->memory_limit = UINT64_C(256) << 20;
	o->workers = 16;
	o->log_level = LOG_LVL_NOTICE;
	o->conf = conf_new();
	if (!o->conf)
		return no_memory(err);
	o->no_count = list_of(crawlers, ARRAY_SIZE(crawlers));
	o->no_recall = list_of(crawlers, ARRAY_SIZE(crawlers));
	o->no_list = list_of(copiers, ARRAY_SIZE(copiers));
	return o->no_count && o->no_recall && o->no_list ? 0 : no_memory(err);
}

static errint_t usage(struct err *err, const char *what, const char *word)
{
	return err_set(
		err, -EINVAL, ERR_FINAL, "%s%s%s (see astrafs -h)", what, *word ? ": " : "", word);
}

/* MOUNTPOINT, or, when mount(8) asks, SOURCE MOUNTPOINT. */
static errint_t take_places(struct options *o, char **args, int n, bool by_mount, struct err *err)
{
	if (n > 1 + by_mount)
		return usage(err, "more than one mount point", args[1 + by_mount]);
	if (n == 2) {
		free(o->fsname);
		o->fsname = strdup(args[0]);
		if (!o->fsname)
			return no_memory(err);
	}
	if (n) {
		o->mountpoint = strdup(args[n - 1]);
		if (!o->mountpoint)
			return no_memory(err);
	}
	return 0;
}

static errint_t take_switch(
	struct options *o, int c, char **argv, bool helper, char **words, struct err *err)
{
	char *more = NULL;

	switch (c) {
	case 'c':
		free(o->conf_path);
		o->conf_path = strdup(optarg);
		return o->conf_path ? 0 : no_memory(err);
	case 'o':
		if (asprintf(&more, "%s%s%s", *words ? *words : "", *words ? "," : "", optarg) < 0)
			return no_memory(err);
		free(*words);
		*words = more;
		return 0;
	case 'f':
		o->foreground = !helper;
		o->fake = helper;
		return 0;
	case 'd':
		o->foreground = o->debug = true;
		return 0;
	case 'r':
		return conf_set(o->conf, "", "ro", "yes") ? no_memory(err) : 0;
	case 'v':
	case 'n':
	case 's':
	case 'w':
	case 't':
	case 'N':
		return helper || c == 'v' ? 0 : usage(err, "unknown switch", argv[optind - 1]);
	case 'h':
		o->mode = RUN_HELP;
		return 0;
	case 'V':
		o->mode = RUN_VERSION;
		return 0;
	case ':':
		return usage(err, "a value is missing behind", argv[optind - 1]);
	case '?':
		return usage(err, "unknown switch", argv[optind - 1]);
	default:
		o->mode = (enum run_mode)(c - 1000);
		return 0;
	}
}

errint_t options_parse(struct options *o, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"conf", no_argument, NULL, 1000 + RUN_CONF},
		{"check", no_argument, NULL, 1000 + RUN_CHECK},
		{"dump", no_argument, NULL, 1000 + RUN_DUMP},
		{"load", no_argument, NULL, 1000 + RUN_LOAD},
		{"rebuild", no_argument, NULL, 1000 + RUN_REBUILD},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"config", required_argument, NULL, 'c'},
		{"foreground", no_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
	/* mount(8): SOURCE DIR [-sfnv] [-N NS] [-o OPTIONS] [-t TYPE] */
	bool helper = !strncmp(name, "mount.", 6), sloppy = false;
	bool places_first = argc > 3 && *argv[1] != '-' && *argv[2] != '-';
	cleanup_free char *words = NULL;
	errint_t r = defaults(o, err);
	int c;

	optind = 0;
	while (!r && (c = getopt_long(argc, argv, ":c:o:fdhVrvnswt:N:", longs, NULL)) != -1) {
		sloppy |= c == 's';
		r = take_switch(o, c, argv, helper, &words, err);
	}
	if (r || o->mode == RUN_HELP || o->mode == RUN_VERSION)
		return r;
	/* mount.fuse(8) and its like call by this name: SOURCE DIR -o OPTIONS. */
	r = take_places(o, argv + optind, argc - optind, helper || (places_first && words), err);
	if (!r && !o->mountpoint && o->mode == RUN_MOUNT)
		r = usage(err, "no mount point", "");
	/* One that is mounted does not end by itself, as one that is replaced. */
	if (o->mode != RUN_MOUNT)
		o->lock_wait_ns = 2 * NS_PER_S;
	/* Files first, so that the command line wins. */
	if (!r)
		r = load_files(o, err);
	if (!r && words)
		r = take_words(o, words, sloppy, err);
	if (!r)
		r = take_items(o, err);
	if (!r && o->debug)
		o->log_level = LOG_LVL_DEBUG;
	return r;
}

void options_done(struct options *o)
{
	free(o->conf_path);
	free(o->mountpoint);
	free(o->fsname);
	free(o->state);
	free(o->data);
	free(o->log_file);
	list_free(o->no_count);
	list_free(o->no_recall);
	list_free(o->no_list);
	list_free(o->moved);
	conf_destroy(o->conf);
	memset(o, 0, sizeof(*o));
}

/* ---- where things are ---- */

void options_name_of(const char *place, char ret[256])
{
	size_t n = 0;
	uint64_t h;

	assert(*place == '/');
	for (const char *s = place + 1; *s && n < 200; s++) {
		if (*s == '/')
			ret[n++] = '-';
		else if (isalnum((unsigned char)*s) || *s == '_' || (*s == '.' && n))
			ret[n++] = *s;
		else
			n += (size_t)snprintf(ret + n, 4, "%%%02X", (unsigned char)*s);
		if (n >= 190) { /* the rest as a hash */
			h = hash64(place, strlen(place), 0);
			n += (size_t)snprintf(ret + n, 32, "-%016llx", (unsigned long long)h);
			break;
		}
	}
	ret[n] = '\0';
	if (!n)
		memcpy(ret, "root", 5);
}

errint_t options_state_default(struct options *o, const char *place, struct err *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char name[256];
	int r;

	if (o->state)
		return 0;
	options_name_of(place, name);
	if (!home || *home != '/') {
		const struct passwd *pw = getpwuid(getuid());

		home = pw ? pw->pw_dir : NULL;
	}
	if (xdg && *xdg == '/')
		r = asprintf(&o->state, "%s/astrafs/%s", xdg, name);
	else if (home && *home == '/')
		r = asprintf(&o->state, "%s/.local/state/astrafs/%s", home, name);
	else
		return err_set(err, -EINVAL, ERR_FINAL,
			"no home directory: say where the state is kept by -o state=DIR");
	if (r < 0) {
		o->state = NULL;
		return no_memory(err);
	}
	return 0;
}

char *options_data_dir(const struct options *o)
{
	char *ret = NULL;

	assert(o->state);
	if (o->data)
		return strdup(o->data);
	return asprintf(&ret, "%s/data", o->state) < 0 ? NULL : ret;
}
