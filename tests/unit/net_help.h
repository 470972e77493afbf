/* SPDX-License-Identifier: MIT */
/*
 * An HTTP server for tests, on a port of its own: reads requests (head and body by length), calls
 * a function for each, which writes the answer's bytes as it likes. A thread per connection.
 */
#ifndef NET_HELP_H
#define NET_HELP_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

struct web_request {
	int fd;
	char method[16], path[2048];
	char head[16384]; /* all of it */
	char *body;
	size_t body_len;
	unsigned number; /* on this connection, from 0 */
};

struct web {
	int fd;
	unsigned port;
	pthread_t thread;
	atomic_uint connections, requests;
	atomic_bool stop;
	/* false: close the connection. Answers what it likes, also nothing. */
	bool (*serve)(struct web *w, struct web_request *q);
	/* true: the head's Expect is answered with 100 (or by expect itself) */
	bool (*expect)(struct web *w, struct web_request *q);
	void *arg;
};

struct web_conn {
	struct web *w;
	int fd;
};

static inline bool web_write(int fd, const void *p, size_t len)
{
	for (size_t off = 0; off < len;) {
		ssize_t n = send(fd, (const char *)p + off, len - off, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		off += (size_t)n;
	}
	return true;
}

/* Status line, Content-Length and further lines ("A: b\r\n..."), body. */
static inline bool web_answer(int fd, int status, const char *lines, const void *p, size_t len)
{
	char head[4096];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n",
		status, lines, len);

	return web_write(fd, head, (size_t)n) && web_write(fd, p, len);
}

/* Value of a field of the head in ret, or false. */
static inline bool web_field(const struct web_request *q, const char *name, char *ret, size_t size)
{
	size_t n = strlen(name);

	for (const char *s = strstr(q->head, "\r\n"); s && s[2]; s = strstr(s + 2, "\r\n")) {
		if (!strncasecmp(s + 2, name, n) && s[2 + n] == ':') {
			const char *v = s + 3 + n + strspn(s + 3 + n, " ");

			snprintf(ret, size, "%.*s", (int)strcspn(v, "\r"), v);
			return true;
		}
	}
	return false;
}

static inline bool web_read(struct web *w, struct web_request *q)
{
	size_t len = 0, want = 0;
	char v[64];

	q->head[0] = 0;
	while (!strstr(q->head, "\r\n\r\n")) {
		ssize_t n = len + 1 < sizeof(q->head) ? recv(q->fd, q->head + len, 1, 0) : -1;

		if (n <= 0)
			return false;
		q->head[++len] = 0;
	}
	if (sscanf(q->head, "%15s %2047s", q->method, q->path) != 2)
		return false;
	if (web_field(q, "content-length", v, sizeof(v)))
		want = strtoul(v, NULL, 10);
	if (web_field(q, "expect", v, sizeof(v)) && w->expect && !w->expect(w, q))
		return false;
	q->body = malloc(want + 1);
	for (q->body_len = 0; q->body_len < want;) {
		ssize_t n = recv(q->fd, q->body + q->body_len, want - q->body_len, 0);

		if (n <= 0)
			break;
		q->body_len += (size_t)n;
	}
	q->body[q->body_len] = 0;
	if (q->body_len == want)
		return true;
	free(q->body);
	return false;
}

static void *web_talk(void *arg)
{
	struct web_conn *c = arg;
	struct web_request *q = calloc(1, sizeof(*q));
	bool more = true;

	q->fd = c->fd;
	while (more && !atomic_load(&c->w->stop) && web_read(c->w, q)) {
		atomic_fetch_add(&c->w->requests, 1);
		more = c->w->serve(c->w, q);
		free(q->body);
		q->number++;
	}
	close(c->fd);
	free(q);
	free(c);
	return NULL;
}

static void *web_loop(void *arg)
{
	struct web *w = arg;

	while (!atomic_load(&w->stop)) {
		struct pollfd p = {w->fd, POLLIN, 0};
		struct web_conn *c;
		pthread_t t;
		int fd;

		if (poll(&p, 1, 50) <= 0)
			continue;
		fd = accept(w->fd, NULL, NULL);
		if (fd < 0)
			continue;
		atomic_fetch_add(&w->connections, 1);
		c = malloc(sizeof(*c));
		*c = (struct web_conn){w, fd};
		pthread_create(&t, NULL, web_talk, c);
		pthread_detach(t);
	}
	return NULL;
}

static inline bool web_start(
	struct web *w, int family, bool (*serve)(struct web *w, struct web_request *q))
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = family == AF_INET ? sizeof(a4) : sizeof(a6);
	void *a = family == AF_INET ? (void *)&a4 : (void *)&a6;

	w->serve = serve;
	w->fd = socket(family, SOCK_STREAM, 0);
	if (w->fd < 0 || bind(w->fd, a, len) || listen(w->fd, 64) || getsockname(w->fd, a, &len))
		return false;
	w->port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
	return !pthread_create(&w->thread, NULL, web_loop, w);
}

static inline void web_stop(struct web *w)
{
	atomic_store(&w->stop, true);
	pthread_join(w->thread, NULL);
	close(w->fd);
}

#endif
