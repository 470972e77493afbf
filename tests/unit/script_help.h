/* SPDX-License-Identifier: MIT */
/*
 * A server that follows a script: each step says how the next request must begin and what is
 * answered. What came is kept, so that a test can look at fields and bodies afterwards. cmocka.
 */
#ifndef SCRIPT_HELP_H
#define SCRIPT_HELP_H

#include "net_help.h"

/* Steps leave out what they do not need. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SCRIPT_MAX 64

struct step {
	const char *want; /* "PUT /bucket/key?a=1", or a part of it from the left */
	int status;
	const char *lines; /* "Name: value\r\n..." or NULL */
	const char *body;  /* NULL = none */
	const char *raw;   /* instead of all that: bytes as they go out, then the connection ends */
};

static struct script {
	struct web web;
	pthread_mutex_t lock; /* all below; held while a request is answered */
	const struct step *steps;
	unsigned n;
	atomic_uint at;
	char fault[4200]; /* of the first request that was not the one wanted */
	struct {
		char head[16384], body[16384];
	} seen[SCRIPT_MAX];
} script = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool script_answer(struct web_request *q)
{
	unsigned at = atomic_fetch_add(&script.at, 1);
	const struct step *s = at < script.n ? &script.steps[at] : NULL;
	char got[2200];

	snprintf(got, sizeof(got), "%s %s ", q->method, q->path);
	if (!s || strncmp(got, s->want, strlen(s->want)) != 0) {
		if (!script.fault[0])
			snprintf(script.fault, sizeof(script.fault), "request %u is '%s', not '%s'",
				at, got, s ? s->want : "(none)");
		return web_answer(q->fd, 599, "", "", 0);
	}
	snprintf(script.seen[at].head, sizeof(script.seen[at].head), "%s", q->head);
	snprintf(script.seen[at].body, sizeof(script.seen[at].body), "%s", q->body);
	if (s->raw) {
		web_write(q->fd, s->raw, strlen(s->raw));
		return false;
	}
	if (!strcmp(q->method, "HEAD")) { /* Content-Length is among the lines, if anywhere */
		char head[4096];
		int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\n%s\r\n", s->status,
			s->lines ? s->lines : "");

		return web_write(q->fd, head, (size_t)n);
	}
	return web_answer(q->fd, s->status, s->lines ? s->lines : "", s->body ? s->body : "",
		s->body ? strlen(s->body) : 0);
}

static bool script_serve(struct web *w, struct web_request *q)
{
	bool r;

	pthread_mutex_lock(&script.lock);
	r = script_answer(q);
	pthread_mutex_unlock(&script.lock);
	return r;
}

static void script_set(const struct step *steps, unsigned n)
{
	pthread_mutex_lock(&script.lock);
	script.steps = steps;
	script.n = n;
	script.fault[0] = 0;
	atomic_store(&script.at, 0);
	pthread_mutex_unlock(&script.lock);
}
#define SCRIPT(...)                                                                                \
	static const struct step steps_[] = {__VA_ARGS__};                                         \
	script_set(steps_, sizeof(steps_) / sizeof(steps_[0]))

/* All steps were taken, and no other request came; what the steps are made of is free again. */
static void script_done(void)
{
	pthread_mutex_lock(&script.lock);
	pthread_mutex_unlock(&script.lock);
	if (script.fault[0])
		fail_msg("%s", script.fault);
	assert_int_equal(atomic_load(&script.at), script.n);
}

/* Value of a field of request at, or NULL; good until the next call. */
static const char *script_field(unsigned at, const char *name)
{
	static char value[8192];
	struct web_request *q = calloc(1, sizeof(*q));
	bool found;

	snprintf(q->head, sizeof(q->head), "%s", script.seen[at].head);
	found = web_field(q, name, value, sizeof(value));
	free(q);
	return found ? value : NULL;
}

#endif
