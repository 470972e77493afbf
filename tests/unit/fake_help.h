/* SPDX-License-Identifier: MIT */
/*
 * Servers of tests/fake, started by a test and told what to do wrong. They print their port and end
 * with their standard input, so none outlives its test.
 */
#ifndef FAKE_HELP_H
#define FAKE_HELP_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "astra/net.h"

struct fake {
	pid_t pid;
	int in; /* its standard input */
	char url[64];
	struct net *net; /* to talk to it as a test */
};

/* False without python3. args: behind the script, NULL-terminated, at most 12. */
static inline bool fake_start(struct fake *f, const char *script, const char *const *args)
{
	const char *argv[16] = {"python3", script};
	int in[2], out[2];
	char port[16] = "";
	size_t n = 0;

	*f = (struct fake){0};
	for (unsigned i = 0; args && args[i] && i < 12; i++)
		argv[2 + i] = args[i];
	if (pipe(in) || pipe(out))
		return false;
	f->pid = fork();
	if (!f->pid) {
		(void)dup2(in[0], 0);
		(void)dup2(out[1], 1);
		for (int fd = 3; fd < 64; fd++)
			(void)close(fd);
		(void)execvp("python3", (char *const *)argv);
		_exit(127);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	f->in = in[1];
	while (n + 1 < sizeof(port) && read(out[0], port + n, 1) == 1 && port[n] != '\n')
		n++;
	(void)close(out[0]);
	(void)snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d", atoi(port));
	f->net = net_new(NULL, NULL);
	return atoi(port) > 0 && f->net;
}

static inline void fake_stop(struct fake *f)
{
	int status;

	if (f->pid <= 0)
		return;
	(void)close(f->in);
	if (waitpid(f->pid, &status, 0) != f->pid)
		(void)kill(f->pid, SIGKILL);
	net_destroy(f->net);
	f->pid = 0;
}

/* What it answers, malloced. */
static inline char *fake_say(struct fake *f, const char *method, const char *path, const char *body)
{
	char url[512], *text = NULL;
	struct net_req q = {.method = method,
		.url = url,
		.body = body,
		.body_len = body ? strlen(body) : 0,
		.body_max = 16 << 20};
	struct net_answer a;

	(void)snprintf(url, sizeof(url), "%s%s", f->url, path);
	if (!net_perform(f->net, &q, &a, NULL) && a.status / 100 == 2)
		text = strdup(a.body.p ? a.body.p : "");
	net_answer_done(&a);
	return text;
}

/* How many of the requests since the log was emptied have all of the words in their line. */
static inline unsigned fake_count(struct fake *f, const char *word, const char *other)
{
	char *log = fake_say(f, "GET", "/fake/log", NULL), *at = log;
	unsigned n = 0;

	for (char *line; (line = strsep(&at, "\n"));)
		n += strstr(line, word) && (!other || strstr(line, other));
	free(log);
	return n;
}

#endif
