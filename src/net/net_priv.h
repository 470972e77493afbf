/* SPDX-License-Identifier: MIT */
/* Inside the room: lanes (a curl handle with its connections) and the wire log. */
#ifndef NET_PRIV_H
#define NET_PRIV_H

#include <sys/queue.h>

#include <curl/curl.h>

#include "astra/net.h"

#define NET_ORIGIN_MAX 300

/* One transfer at a time, with the connection it left open. */
struct lane {
	TAILQ_ENTRY(lane) link; /* the idle list's, under its lock */
	CURL *easy;
	CURLM *multi;
	char origin[NET_ORIGIN_MAX]; /* of its connection: "https://host:port" */
	int64_t used_mono_ns;
};

/* A lane that was last used for origin, else a new one; NULL without memory. */
struct lane *lane_take(struct net *n, const char *origin);
/* Back to the idle ones; those over the limit or idle for long are closed. */
void lane_give(struct net *n, struct lane *l);
void lane_drop(struct lane *l);

const struct net_conf *net_conf_of(const struct net *n);
CURLSH *net_share_of(struct net *n);

/* What the Date and Retry-After fields of an answer say; left out where that cannot be. */
void answer_times(struct net_answer *a);

/* The wire log: one line each way, secrets and bodies left out. */
bool wire_on(void);
void wire_request(const struct net_req *q, unsigned number);
void wire_answer(const struct net_req *q, unsigned number, const struct net_answer *a, errint_t r,
	const struct err *err, int64_t took_ns);
/* Of tests: a field's value or a URL as the log shows it. */
void wire_field(struct buf *b, const char *name, const char *value);
void wire_url(struct buf *b, const char *url);

#endif
