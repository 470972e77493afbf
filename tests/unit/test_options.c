/* SPDX-License-Identifier: MIT */
/* The daemon's options: command line, configuration file, what mount(8) passes, names of states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>

#include <cmocka.h>

#include "astra/base_clock.h"
#include "options.h"
#include "scratch_help.h"

static char conf_file[80];

static int setup(void **state)
{
	char dir[64];

	(void)state;
	/* No configuration of this machine. */
	scratch_name(dir, sizeof(dir), "options");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
	(void)snprintf(conf_file, sizeof(conf_file), "%s/c.conf", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(conf_file);
	*strrchr(conf_file, '/') = '\0';
	return rmdir(conf_file);
}

/* Parses words of a command line; NULL ends them. */
static errint_t parse(struct options *o, struct err *err, const char *name, ...)
{
	char *argv[16] = {strdup(name)};
	int argc = 1;
	const char *w;
	errint_t r;
	va_list ap;

	va_start(ap, name);
	while ((w = va_arg(ap, const char *)))
		argv[argc++] = strdup(w);
	va_end(ap);
	*err = (struct err){0};
	r = options_parse(o, argc, argv, err);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return r;
}

static void write_conf(const char *text)
{
	FILE *f = fopen(conf_file, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void test_defaults(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	assert_int_equal(parse(&o, &err, "astrafs", "/mnt", NULL), 0);
	assert_string_equal(o.mountpoint, "/mnt");
	assert_int_equal(o.durability, DURABLE_FSYNC);
	assert_int_equal(o.recall, RECALL_ERROR);
	assert_true(o.migrate_wait_ns == 200 * NS_PER_MS);
	assert_true(o.upload_delay_ns == NS_PER_S);
	assert_true(o.drain_ns == 30 * NS_PER_S);
	assert_true(o.cache_size == UINT64_C(10) << 30);
	assert_false(o.ro || o.foreground || o.allow_other);
	assert_string_equal(o.no_count[0], "updatedb");
	assert_null(o.state);
	options_done(&o);
}

static void test_words(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	assert_int_equal(parse(&o, &err, "astrafs", "-f", "-o",
				 "state=/s,ro,recall=block:90s,durability=close,umask=027", "-o",
				 "no_count=a:b,data=/d\\,e,log_level=warn", "/mnt", NULL),
		0);
	assert_true(o.foreground && o.ro);
	assert_string_equal(o.state, "/s");
	assert_string_equal(o.data, "/d,e");
	assert_int_equal(o.recall, RECALL_BLOCK);
	assert_true(o.recall_block_ns == 90 * NS_PER_S);
	assert_int_equal(o.durability, DURABLE_CLOSE);
	assert_int_equal(o.umask, 027);
	assert_int_equal(o.log_level, LOG_LVL_WARNING);
	assert_string_equal(o.no_count[1], "b");
	assert_null(o.no_count[2]);
	options_done(&o);
}

static void test_mount_words(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	assert_int_equal(parse(&o, &err, "/sbin/mount.astrafs", "clouds", "/mnt", "-n", "-o",
				 "ro,dev,suid,noatime,_netdev,x-systemd.automount,user,rw", NULL),
		0);
	assert_string_equal(o.fsname, "clouds");
	assert_string_equal(o.mountpoint, "/mnt");
	assert_string_equal(o.mount_flags, "noatime");
	assert_false(o.ro); /* the last one wins */
	options_done(&o);
	/* Sloppy, as mount -s asks. */
	assert_int_equal(
		parse(&o, &err, "mount.astrafs", "x", "/mnt", "-s", "-o", "quux", NULL), 0);
	options_done(&o);
	/* -f is "fake" there, not foreground. */
	assert_int_equal(parse(&o, &err, "mount.astrafs", "x", "/mnt", "-f", NULL), 0);
	assert_true(o.fake && !o.foreground);
	options_done(&o);
}

static void test_file(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	write_conf("upload_delay = 5s\nrecall = request\n[astrafs]\nworkers = 3\n"
		   "[remote aws]\ntype = local\n[policy]\nmode = off\n");
	assert_int_equal(
		parse(&o, &err, "astrafs", "-c", conf_file, "-o", "recall=error", "/mnt", NULL), 0);
	assert_true(o.upload_delay_ns == 5 * NS_PER_S);
	assert_int_equal(o.recall, RECALL_ERROR); /* the command line wins */
	assert_int_equal(o.workers, 3);
	options_done(&o);
}

static void check_error(const char *conf, const char *word, const char *part)
{
	struct options o;
	struct err err;
	errint_t r;

	if (conf) {
		write_conf(conf);
		r = parse(&o, &err, "astrafs", "-c", conf_file, "/mnt", NULL);
	} else {
		r = parse(&o, &err, "astrafs", "-o", word, "/mnt", NULL);
	}
	assert_int_equal(r, -EINVAL);
	if (!strstr(err.msg, part))
		fail_msg("'%s' lacks '%s'", err.msg, part);
	if (conf)
		assert_non_null(strstr(err.msg, "c.conf:"));
	options_done(&o);
}

static void test_errors(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	check_error("\nuplod_delay = 5s\n", NULL,
		":2: uplod_delay: unknown key; did you mean "
		"'upload_delay'?");
	check_error("[polcy]\nmode = off\n", NULL, "did you mean [policy]?");
	check_error("[engine]\nmode = off\n", NULL,
		":1: unknown section [engine]; allowed: [astrafs], [policy], [remote NAME], [rule "
		"NAME], [prices NAME]");
	check_error("[policy]\nmode = off\nupload_delay = 2s\n", NULL,
		":3: upload_delay: this is a general key: it belongs in front of the first "
		"section, here it is one of [policy]");
	check_error("[remote x]\ntype = mem\nro = yes\n", NULL, "one of [remote x]");
	check_error("[remote]\ntype = mem\n", NULL, "needs a name");
	check_error("workers = 1\n", NULL, "2 to 512");
	check_error(NULL, "recal=error", "did you mean 'recall'?");
	check_error(NULL, "state", "a value is missing");
	check_error(NULL, "recall=block", "allowed: error, request, block:DURATION");
	check_error(NULL, "umask=8", "not octal");
	check_error(NULL, "cache_size=much", "not a size");
	check_error(NULL, "delete_guard=0", "allowed: 1 to");
	check_error(NULL, "request_budget=5", "no budget; allowed: N/min, N/day, $N/day");
	check_error(NULL, "request_budget=0/min", "no budget");
	check_error(NULL, "request_budget=$2/min", "no budget");
	check_error(NULL, "cache_size=4K", "allowed: 1M or more");
	check_error(NULL, "memory_limit=1", "'1' is too small; allowed: 32M or more");
	check_error(NULL, "uid=nobody-of-this-name", "no user of this name, nor a whole number");
	check_error(NULL, "gid=nobody-of-this-name", "no group of this name, nor a whole number");
	check_error(NULL, "uid=4294967295", "out of range");
	assert_int_equal(parse(&o, &err, "astrafs", NULL), -EINVAL);
	options_done(&o);
	assert_int_equal(parse(&o, &err, "astrafs", "-x", "/mnt", NULL), -EINVAL);
	options_done(&o);
	assert_int_equal(parse(&o, &err, "astrafs", "a", "b", "c", NULL), -EINVAL);
	options_done(&o);
	assert_int_equal(
		parse(&o, &err, "astrafs", "-c", "/proc/nonexistent", "/mnt", NULL), -EINVAL);
	options_done(&o);
}

static void test_modes(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	assert_int_equal(parse(&o, &err, "astrafs", "--check", "-o", "state=/s", NULL), 0);
	assert_int_equal(o.mode, RUN_CHECK);
	options_done(&o);
	assert_int_equal(parse(&o, &err, "astrafs", "-h", NULL), 0);
	assert_int_equal(o.mode, RUN_HELP);
	options_done(&o);
}

static void test_names(void **state)
{
	char name[256], other[256], path[5000];

	(void)state;
	options_name_of("/mnt/clouds", name);
	assert_string_equal(name, "mnt-clouds");
	options_name_of("/mnt-clouds", name);
	assert_string_equal(name, "mnt%2Dclouds");
	options_name_of("/", name);
	assert_string_equal(name, "root");
	options_name_of("/a b/.c", name);
	assert_string_equal(name, "a%20b-.c");
	options_name_of("/.c", name);
	assert_string_equal(name, "%2Ec");
	/* Long ones differ, and fit. */
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[4000] = '\0';
	options_name_of(path, name);
	path[3999] = 'y';
	options_name_of(path, other);
	assert_string_not_equal(name, other);
	assert_in_range(strlen(name), 1, 240);
	memset(path + 1, '\xff', 3000);
	options_name_of(path, name);
	assert_in_range(strlen(name), 1, 240);
}

static void test_state(void **state)
{
	struct options o;
	struct err err;

	(void)state;
	assert_int_equal(setenv("XDG_STATE_HOME", "/x", 1), 0);
	assert_int_equal(parse(&o, &err, "astrafs", "/mnt", NULL), 0);
	assert_int_equal(options_state_default(&o, "/mnt", &err), 0);
	assert_string_equal(o.state, "/x/astrafs/mnt");
	options_done(&o);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
	assert_int_equal(setenv("HOME", "/h", 1), 0);
	assert_int_equal(parse(&o, &err, "astrafs", "/mnt", NULL), 0);
	assert_int_equal(options_state_default(&o, "/mnt", &err), 0);
	assert_string_equal(o.state, "/h/.local/state/astrafs/mnt");
	options_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_mount_words),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
