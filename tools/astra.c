/* SPDX-License-Identifier: MIT */
/*
 * astra(1): looks at and steers a mounted astrafs. The verbs are one table, which also makes the
 * help. --mount, --json and --help are taken from anywhere in front of "--".
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra.h"

#include "astra/base_cleanup.h"
#include "astra/base_conf.h"

const struct cmd app_cmds[] = {
	{"status", "[--wait-clean [--timeout DURATION]]",
		"remotes and their health, jobs, staged bytes, the age of the oldest change",
		"astra status\nastra status --wait-clean --timeout 5m\nastra --json status",
		cmd_status},
	{"sync", "[--timeout DURATION] [PATH]",
		"return when all (below PATH) is in the clouds and verified",
		"astra sync\nastra sync --timeout 10m /aws/project", cmd_sync},
	{"umount", "", "unmount, finish the jobs, stop the daemon; status 6 when some are left",
		"astra umount\nastra --mount ~/clouds umount", cmd_umount},
	{"doctor", "", "check the set-up", "astra doctor", cmd_doctor},
	{"ls", "[-l] [PATH]", "list; with -l also tier, cost a month, accesses, state",
		"astra ls /aws\nastra ls -l ~/clouds/aws/project", cmd_ls},
	{"explain", "FILE", "the verdict for one file: each factor, each tier's cost, the decision",
		"astra explain /aws/backup_archive.zip\nastra explain backup_archive.zip",
		cmd_explain},
	{"tier", "FILE HOT|WARM|COLD|ARCHIVE|AUTO",
		"move a file to a tier and pin it there; AUTO gives it back to the engine",
		"astra tier /aws/logs.tar COLD\nastra tier /aws/logs.tar AUTO", cmd_tier},
	{"restore", "FILE [DURATION]", "bring an archived file back for a while (7d)",
		"astra restore /aws/old.tar\nastra restore /aws/old.tar 30d", cmd_restore},
	{"mv", "SOURCE DESTINATION",
		"move inside or between clouds, with progress until it is done",
		"astra mv /aws/video.mkv /gcp/\nastra mv ~/clouds/aws/dir ~/clouds/azure/dir",
		cmd_mv},
	{"cost", "[PATH]", "what is stored where and what it costs a month, against all in HOT",
		"astra cost\nastra --json cost /aws", cmd_cost},
	{"engine", "run [--dry-run] [PATH]",
		"judge every file and move what should move; --dry-run only prints",
		"astra engine run --dry-run\nastra engine run /aws/project", cmd_engine},
	{"jobs",
		"[list [--all]|watch|wait [--timeout DURATION] [ID...]|cancel ID...|cancel "
		"--held|retry ID...]",
		"jobs with state, progress, speed and time left; the last 10 that ended, or --all",
		"astra jobs\nastra jobs --all\nastra jobs watch\nastra jobs wait\n"
		"astra jobs wait --timeout 10m 17\nastra jobs cancel 17\nastra jobs retry 17\n"
		"astra jobs cancel --held",
		cmd_jobs},
	{"db", "check|dump|load|rebuild [-c FILE] [--state DIR]",
		"check the index; write or read it as text; make it anew from the clouds",
		"astra db check\nastra db dump > index.jsonl\n"
		"astra db rebuild --state ~/.local/state/astrafs/home-me-clouds",
		cmd_db},
	{"init-cloud", "", "make sure that the remotes and their buckets exist and answer",
		"astra init-cloud", cmd_init_cloud},
	{"ingest-sample", "", "put five sample files of 25 GB in all into /aws (they take no disk)",
		"astra ingest-sample", cmd_ingest_sample},
	{"show-dashboard", "", "files with tier, accesses and last access; totals, tiers, costs",
		"astra show-dashboard", cmd_show_dashboard},
	{"run-engine", "[--dry-run] [PATH]", "as engine run", "astra run-engine", cmd_run_engine},
	{"age-file", "--filename F --days N", "shift the history of F by N days into the past",
		"astra age-file --filename backup_archive.zip --days 100", cmd_age_file},
	{"simulate-access", "--filename F --count N", "count N accesses of F, now",
		"astra simulate-access --filename customer_data.csv --count 15",
		cmd_simulate_access},
	{"debug", "fault REMOTE RULES", "make requests to a remote fail on purpose; \"\" ends it",
		"astra debug fault aws 'put:p=0.5:error=EIO'\nastra debug fault aws ''", cmd_debug},
};
const size_t app_ncmds = ARRAY_SIZE(app_cmds);

static void help_all(FILE *to)
{
	(void)fprintf(to,
		"usage: astra [--mount DIR] [--json] VERB [ARGUMENT...]\n"
		"       astra --help | --version | help [VERB] | VERB --help\n\nVerbs:\n");
	for (size_t i = 0; i < app_ncmds; i++)
		(void)fprintf(to, "  %-16s %s\n", app_cmds[i].name, app_cmds[i].what);
	(void)fprintf(to,
		"\nExit status: 0 done; 1 failed; 2 wrong usage; 3 no mount, or its daemon does "
		"not\n"
		"answer; 4 several mounts, or several files of a bare name; 5 time is over.\n");
}

static void help_one(const struct cmd *c)
{
	(void)printf("usage: astra [--mount DIR] [--json] %s%s%s\n\n%s\n", c->name,
		*c->args ? " " : "", c->args, c->what);
	if (!c->examples)
		return;
	(void)printf("\nExamples:\n");
	for (const char *s = c->examples; *s;) {
		size_t n = strcspn(s, "\n");

		(void)printf("    %.*s\n", (int)n, s);
		s += n + (s[n] == '\n');
	}
}

static const struct cmd *find(const char *name)
{
	for (size_t i = 0; i < app_ncmds; i++) {
		if (!strcmp(app_cmds[i].name, name))
			return &app_cmds[i];
	}
	return NULL;
}

static int unknown(const char *name)
{
	const char *names[64], *near;

	if (*name == '-') {
		(void)fprintf(stderr, "astra: unknown switch '%s' (see astra --help)\n", name);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < app_ncmds; i++)
		names[i] = app_cmds[i].name;
	near = nearest_name(name, names, app_ncmds);
	(void)fprintf(stderr, "astra: unknown verb '%s'%s%s%s (see astra --help)\n", name,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	return EXIT_USAGE;
}

/* "help", "help VERB": as with --help. */
static void help_words(int *argc, char **argv, bool *ret_help)
{
	if (*argc < 2 || strcmp(argv[1], "help") != 0)
		return;
	*ret_help = true;
	memmove(&argv[1], &argv[2], (size_t)(*argc - 1) * sizeof(*argv));
	--*argc;
}

int main(int argc, char **argv)
{
	struct app a = {.m.fd = -1};
	const char *mount;
	bool help, version;
	int code;

	(void)signal(SIGPIPE, SIG_DFL);
	mount = app_option(&a, &argc, argv, "mount");
	a.json = app_flag(&argc, argv, "json");
	help = app_flag(&argc, argv, "help") || app_flag(&argc, argv, "h");
	version = app_flag(&argc, argv, "version") || app_flag(&argc, argv, "V");
	help_words(&argc, argv, &help);
	a.bar = !a.json && isatty(STDERR_FILENO);
	if (version) {
		(void)printf("astra %s\n", ASTRA_VERSION);
		return EXIT_DONE;
	}
	if (a.no_value && !help) {
		(void)fprintf(stderr, "astra: --%s needs a value\n", a.no_value);
		return EXIT_USAGE;
	}
	if (argc < 2) {
		help_all(help ? stdout : stderr);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	a.cmd = find(argv[1]);
	if (!a.cmd)
		return unknown(argv[1]);
	if (help) {
		help_one(a.cmd);
		return EXIT_DONE;
	}
	if (mount) {
		a.mount = app_mount(mount);
		if (!a.mount)
			return app_fail(&a, -ENOMEM, NULL);
	}
	argv++;
	argc--;
	code = a.cmd->run(&a, argc, argv);
	app_bar(&a, NULL);
	if (a.connected)
		ctl_mount_done(&a.m);
	free(a.mount);
	if (fflush(stdout) != 0 && code == EXIT_DONE) {
		(void)fprintf(stderr, "astra: cannot write: %m\n");
		code = EXIT_FAILED;
	}
	return code;
}
