/* SPDX-License-Identifier: MIT */
/*
 * One HTTP request as data, by libcurl, which no other room sees. A call blocks its thread; any
 * number of threads may use one struct net, which keeps connections per origin, names looked up
 * and TLS sessions for all of them. Requests go out as they are given: nothing is retried,
 * redirected, signed, decompressed or normalised here. HTTP/1.1; proxies from the environment.
 *
 * How a driver uses it:
 *
 *	struct net_req q = {.method = "PUT", .url = url, .fields = &fields, .body = p,
 *		.body_len = len, .deadline_mono_ns = c->deadline_mono_ns, .cancel = c->cancel};
 *	struct net_answer a;
 *	errint_t r = net_perform(d->net, &q, &a, err);
 *
 *	if (!r && a.status / 100 != 2)
 *		r = map_error(&a, err);		(the driver's one function for that)
 *	net_answer_done(&a);
 *
 * A get passes .into and .into_max: the body of a 2xx answer goes there and nowhere else. Its
 * .accept sees the head of that answer first (is the range the one asked for? the version?) and
 * can refuse it; .filled is told how many bytes are in place, so that whoever waits for the first
 * ones need not wait for all. With .take instead of .into the bytes are handed over as they come,
 * wherever they go then. Bodies of other answers, and of requests with neither, come in answer.body
 * and have a limit.
 */
#ifndef ASTRA_NET_H
#define ASTRA_NET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "astra/base_buf.h"
#include "astra/base_err.h"

/* ---- header fields ---- */

struct net_field {
	char *name, *value; /* owned by the list */
};

struct net_fields { /* zero-initialised = empty */
	struct net_field *v;
	unsigned n;
	errint_t failed; /* sticky: -ENOMEM; net_perform returns it */
};

/* Appends copies. Names are as they go out; values without CR, LF (else net_perform refuses). */
errint_t net_field_add(struct net_fields *f, const char *name, const char *value);
errint_t net_field_addf(struct net_fields *f, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Value of the first field of that name, in any case, or NULL. */
const char *net_field_get(const struct net_fields *f, const char *name);
void net_fields_done(struct net_fields *f); /* wipes values: they may be credentials */

/* ---- URLs ---- */

/* Appends s with all but A-Z a-z 0-9 - . _ ~ and the bytes of keep as %XX. */
errint_t net_url_add(struct buf *b, const char *s, const char *keep);
/* Appends ?name=value, or &name=value where b has a '?', both encoded; value NULL = only ?name. */
errint_t net_url_param(struct buf *b, const char *name, const char *value);
/* Appends s[0..len) with %XX turned back (and '+' kept); -EINVAL for a bad escape or a NUL. */
errint_t net_url_decode(struct buf *b, const char *s, size_t len);

struct net_url { /* SCHEME://HOST[:PORT][/PATH] */
	bool tls;
	char host[256]; /* without the brackets of an IPv6 address */
	bool ipv6;
	unsigned port;	 /* 443 or 80 when none was given */
	bool port_given; /* and is not the scheme's own */
	char path[512];	 /* "" or "/x", never ending in '/' */
};
/* -EINVAL with what is wrong: an endpoint of a configuration. Queries and users are refused. */
errint_t net_url_parse(const char *url, struct net_url *ret, struct err *err);
/* Appends HOST or HOST:PORT as a Host field has it. */
errint_t net_url_host(struct buf *b, const struct net_url *u);

/* "Fri, 02 Jan 2026 03:04:05 GMT" and the other forms of HTTP; -EINVAL. */
errint_t net_date_parse(const char *s, int64_t *ret_ns);
/* The first form; ret has NET_DATE_LEN + 1 bytes. */
#define NET_DATE_LEN 29
void net_date_format(int64_t ns, char ret[NET_DATE_LEN + 1]);

/* ---- requests ---- */

struct net; /* opaque */

struct net_conf {	     /* zero-initialised = the defaults */
	const char *ca_file; /* PEM of further or other authorities; NULL = the system's */
	const char *proxy;   /* NULL = from the environment; "" = none */
	int64_t connect_ns;  /* names, TCP and TLS together; 0 = 10 s */
	int64_t stall_ns;    /* no byte in either direction; 0 = 20 s */
	unsigned idle_max;   /* connections kept for later; 0 = 64 */
};

/* NULL with err when the CA file cannot be read or memory is lacking. */
struct net *net_new(const struct net_conf *conf, struct err *err);
/* What is sent to u does not leave this machine: a loopback address, or the name of it, and no
 * proxy that the connections may take. */
bool net_stays_here(const struct net *n, const struct net_url *u);
struct net *net_destroy(struct net *n); /* nobody may be in a call; NULL is fine; returns NULL */

struct net_answer {
	int status;
	struct net_fields fields;
	struct buf body;	 /* NUL-terminated; what did not go into the caller's buffer */
	size_t got;		 /* bytes in the caller's buffer, or taken */
	bool has_date;		 /* of the Date field: */
	int64_t skew_ns;	 /* what to add to our wall clock to have the server's */
	unsigned retry_after_ms; /* 0 = it did not say */
};

struct net_req {
	const char *method;		 /* GET and HEAD are taken to change nothing */
	const char *url;		 /* encoded; goes out byte for byte */
	const struct net_fields *fields; /* Host and Content-Length are added; may be NULL */
	const void *body;		 /* borrowed for the call */
	size_t body_len;		 /* 0 with PUT and POST: Content-Length: 0 */
	const void *before, *after;	 /* what frames the body, sent around it; may be NULL */
	size_t before_len, after_len;
	bool expect; /* send the body after 100 Continue, or 1 s: saves sending it in vain */
	bool direct; /* never by a proxy: metadata servers */

	void *into; /* of the body of a 2xx answer; NULL = to answer.body */
	size_t into_max;
	/* Instead of .into: is given the bytes of that body, into_max of them at most, in order, by
	 * the thread of net_perform. As long as it does not return nothing more is read, and
	 * neither deadline nor cancel flag is looked at; the stall limit counts from then on.
	 * False: it ends with -ECANCELED/ERR_CANCELLED, and the connection with it. */
	bool (*take)(void *arg, const void *p, size_t n);
	/* Called once when the head of a 2xx answer is there and .into or .take is given; anything
	 * but 0 ends the request with it. */
	errint_t (*accept)(void *arg, const struct net_answer *a, struct err *err);
	/* into[0..have) holds the body's first bytes. Called by the thread of net_perform. */
	void (*filled)(void *arg, size_t have);
	void *arg;
	size_t body_max; /* of answer.body; 0 = 1 MiB */

	int64_t deadline_mono_ns;     /* 0 = none but the stall limit */
	int64_t connect_ns, stall_ns; /* 0 = the conf's */
	const atomic_bool *cancel;    /* seen within 50 ms; may be NULL */
};

/*
 * 0 when an answer came whole, whatever its status. ret is filled as far as it came and must be
 * given to net_answer_done on any return. Otherwise err->kind says:
 *
 *  ERR_RETRY      nothing was sent, or it was GET or HEAD: may be repeated
 *  ERR_UNKNOWN    another method, and its answer did not come whole: it may have happened. Such a
 *                 request is never sent twice, also not by libcurl on a dead connection.
 *  ERR_CANCELLED  -ECANCELED or -ETIMEDOUT by the caller's flag or deadline, with nothing sent or
 *                 GET or HEAD
 *  ERR_FINAL      bad arguments, a certificate that does not hold
 *
 * -EBADMSG (RETRY or UNKNOWN): the answer is longer than its buffer or limit, or is not HTTP.
 */
errint_t net_perform(
	struct net *n, const struct net_req *q, struct net_answer *ret, struct err *err);
void net_answer_done(struct net_answer *a);

#endif
