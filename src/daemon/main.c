/* SPDX-License-Identifier: MIT */
/*
 * astrafs(8): reads the options, becomes a daemon, mounts, serves.
 *
 * The fork comes before any thread, the lock and the index (LMDB must not be carried over a fork).
 * The parent waits on a pipe for one message: the mount is usable, or one line that says why not.
 * Until then the child may also print to the terminal that it waits for something.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_log.h"
#include "astra/fuse.h"
#include "known.h"
#include "modes.h"
#include "options.h"
#include "signals.h"
#include "state.h"
#include "wire.h"

struct message { /* child to parent, once; at most PIPE_BUF, so in one piece */
	int status;
	char text[512];
};

struct start {
	struct options *o;
	char *place;	      /* owned */
	int lock_fd, pipe_fd; /* pipe_fd -1: foreground, or told already */
	struct fuse_watch watch;
};

static int exit_status(errint_t r)
{
	return r == -EINVAL ? 2 : r ? 1 : 0;
}

static int complain(const struct err *err, errint_t r)
{
	(void)fprintf(stderr, "astrafs: %s\n", err_text(err, r));
	return exit_status(r);
}

/* ---- child ---- */

static void say(void *arg, const char *line)
{
	(void)arg;
	(void)fprintf(stderr, "astrafs: %s\n", line);
}

static void tell_parent(struct start *s, int status, const char *text)
{
	struct message m = {.status = status};

	if (s->pipe_fd < 0)
		return;
	(void)snprintf(m.text, sizeof(m.text), "%s", text);
	if (write(s->pipe_fd, &m, sizeof(m)) != sizeof(m))
		log_warn("daemon", "the starting process has gone");
	(void)close(s->pipe_fd);
	s->pipe_fd = -1;
}

static void leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR);

	for (int i = 0; fd >= 0 && i <= STDERR_FILENO; i++)
		(void)dup2(fd, i);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

/* From a thread of the FUSE loop. */
static void on_ready(void *arg)
{
	struct start *s = arg;

	log_notice("daemon", "%s is mounted, version %s", s->place, ASTRA_VERSION);
	if (s->pipe_fd < 0)
		return;
	leave_terminal();
	tell_parent(s, 0, "");
}

static errint_t log_up(const struct options *o, struct err *err)
{
	const char *path = o->log_file;

	if (!path && !o->foreground)
		path = "syslog";
	if (o->debug)
		path = NULL;
	log_rooms_set(o->debug_rooms);
	return log_open(o->log_level, path, err);
}

static errint_t build(struct start *s, struct wire **ret, struct err *err)
{
	struct wire_conf wc = {.o = s->o, .place = s->place, .ready = on_ready, .arg = s};
	errint_t r;

	r = log_up(s->o, err);
	if (!r)
		r = state_lock(s->o->state, s->o->lock_wait_ns, say, NULL, &s->lock_fd, err);
	if (!r)
		r = fuse_front_free(s->place, true, err);
	if (!r)
		r = fuse_watch_start(s->place, s->lock_fd, &s->watch, err);
	if (r)
		return r;
	r = wire_up(&wc, ret, err);
	if (!r)
		r = signals_start(*ret, err);
	return r;
}

static int serve(struct start *s)
{
	struct wire *w = NULL;
	struct err err = {0};
	errint_t r = build(s, &w, &err);

	if (r) {
		if (s->pipe_fd < 0)
			(void)complain(&err, r);
		tell_parent(s, exit_status(r), err_text(&err, r));
	} else {
		if (chdir("/") < 0)
			log_warn("daemon", "cannot leave for /: %s", err_text(NULL, -errno));
		r = wire_serve(w, &err);
		if (r) {
			log_error("daemon", "%s", err_text(&err, r));
			tell_parent(s, exit_status(r), err_text(&err, r));
		}
		/* Unmounted before it was ready. */
		tell_parent(s, 1, "unmounted before it was usable");
	}
	signals_end();
	wire_down(w);
	if (w)
		log_notice("daemon", "ended");
	log_close();
	/* The lock goes with the process. */
	fuse_watch_end(&s->watch);
	return exit_status(r);
}

/* ---- parent ---- */

static int wait_for_child(pid_t child, int fd)
{
	struct message m;
	ssize_t n;
	int status = 0;

	do
		n = read(fd, &m, sizeof(m));
	while (n < 0 && errno == EINTR);
	if (n == sizeof(m)) {
		m.text[sizeof(m.text) - 1] = '\0';
		if (m.status)
			(void)fprintf(stderr, "astrafs: %s\n", m.text);
		return m.status;
	}
	(void)waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		(void)fprintf(stderr, "astrafs: the daemon was ended by signal %d (%s)\n",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)fprintf(stderr, "astrafs: the daemon ended without a word (status %d)\n",
			WEXITSTATUS(status));
	return 1;
}

static int in_background(struct start *s)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		(void)fprintf(stderr, "astrafs: cannot make a pipe: %s\n", strerror(errno));
		return 1;
	}
	(void)fflush(NULL);
	child = fork();
	if (child < 0) {
		(void)fprintf(stderr, "astrafs: cannot fork: %s\n", strerror(errno));
		return 1;
	}
	if (child > 0) {
		(void)close(fds[1]);
		return wait_for_child(child, fds[0]);
	}
	(void)close(fds[0]);
	(void)setsid();
	s->pipe_fd = fds[1];
	return serve(s);
}

static errint_t apart(const struct options *o, const char *place, struct err *err)
{
	cleanup_known struct known k = {0};
	errint_t r = known_read(o, &k, err);

	return r ? r : known_apart(&k, place, err);
}

static int mount_run(struct options *o)
{
	struct start s = {.o = o, .lock_fd = -1, .pipe_fd = -1, .watch = FUSE_WATCH_NONE};
	struct err err = {0};
	errint_t r;
	int status;

	/* What can be said at once is said before anything is made or forked. A dead mount of ours
	 * is cleaned under the lock. */
	r = wire_check(o, &err);
	if (!r)
		r = fuse_front_usable(&err);
	if (!r)
		r = fuse_front_place(o->mountpoint, &s.place, &err);
	if (!r)
		r = fuse_front_free(s.place, false, &err);
	if (!r)
		r = options_state_default(o, s.place, &err);
	if (!r)
		r = apart(o, s.place, &err);
	if (r) {
		free(s.place);
		return complain(&err, r == -EINVAL ? r : -EIO);
	}
	if (o->fake) {
		free(s.place);
		return 0;
	}
	signals_block();
	status = o->foreground ? serve(&s) : in_background(&s);
	free(s.place);
	return status;
}

/* What options_parse() did not look at: the sections of other rooms. */
static int conf_run(const struct options *o)
{
	struct err err = {0};
	errint_t r = wire_check(o, &err);

	if (r)
		return complain(&err, r);
	(void)printf("the configuration is in order\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o;
	struct err err = {0};
	errint_t r;
	int status;

	(void)setlocale(LC_CTYPE, "");
	for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = open("/dev/null", O_RDWR)) {
		/* 0, 1 and 2 must not become somebody's file. */
		if (fd > STDERR_FILENO) {
			(void)close(fd);
			break;
		}
	}
	r = options_parse(&o, argc, argv, &err);
	if (r) {
		status = complain(&err, r);
	} else if (o.mode == RUN_HELP) {
		options_help(stdout, "astrafs");
		status = 0;
	} else if (o.mode == RUN_VERSION) {
		(void)printf("astrafs %s\n", ASTRA_VERSION);
		status = 0;
	} else if (o.mode == RUN_CONF) {
		status = conf_run(&o);
	} else if (o.mode != RUN_MOUNT) {
		status = modes_run(&o);
	} else {
		status = mount_run(&o);
	}
	options_done(&o);
	return status;
}
