/* SPDX-License-Identifier: MIT */
/* A net whose answers are the input: takes the place of the one that sends. */
#include "fuzz_net.h"

#include <errno.h>

#include "net/net_priv.h"

#define REQUESTS_MAX 40		  /* of an input: some operations go on while the server says so */
#define STACK_MAX    (256u << 10) /* below an input: no answer makes calls that nest without end */
#define ANSWER_END   0x1e

struct net {
	int none;
};

void (*fuzz_net_look)(const struct net_req *q);

static struct {
	const uint8_t *p;
	size_t n;
	unsigned asked;
	const char *stack;
} the;

void fuzz_net_answers(const uint8_t *p, size_t n)
{
	the.p = p;
	the.n = n;
	the.asked = 0;
	the.stack = __builtin_frame_address(0);
}

struct net *net_new(const struct net_conf *conf, struct err *err)
{
	(void)conf, (void)err;
	return calloc(1, sizeof(struct net));
}

bool net_stays_here(const struct net *n, const struct net_url *u)
{
	(void)n, (void)u;
	return false;
}

struct net *net_destroy(struct net *n)
{
	free(n);
	return NULL;
}

static const char *line(const uint8_t **p, size_t *n, size_t *len)
{
	const uint8_t *s = *p, *end = memchr(s, '\n', *n);

	*len = end ? (size_t)(end - s) : *n;
	*p += *len + (end != NULL);
	*n -= *len + (end != NULL);
	return (const char *)s;
}

static void status_read(struct net_answer *a, const uint8_t **p, size_t *n)
{
	size_t len;
	const char *s = line(p, n, &len);

	for (size_t i = 0; i < len && i < 3; i++)
		a->status = a->status * 10 + (s[i] & 15) % 10;
	a->status = a->status < 200 || a->status > 599 ? 200 : a->status;
}

static void head_read(struct net_answer *a, const uint8_t **p, size_t *n)
{
	status_read(a, p, n);
	while (*n) {
		char name[256], value[2048];
		size_t len;
		const char *s = line(p, n, &len), *colon = memchr(s, ':', len);

		if (!len)
			break;
		if (!colon || (size_t)(colon - s) >= sizeof(name) || len >= sizeof(value))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(colon - s), s);
		snprintf(value, sizeof(value), "%.*s", (int)(len - (size_t)(colon - s) - 1),
			colon + 1);
		net_field_add(&a->fields, name, value + strspn(value, " "));
	}
	answer_times(a);
}

/* The answer to the next request. */
static void answer_find(const uint8_t **p, size_t *n)
{
	const uint8_t *end = the.n ? memchr(the.p, ANSWER_END, the.n) : NULL;

	*p = the.p;
	*n = end ? (size_t)(end - the.p) : the.n;
	if (!end)
		return;
	the.n -= *n + 1;
	the.p = end + 1;
}

errint_t net_perform(
	struct net *n, const struct net_req *q, struct net_answer *ret, struct err *err)
{
	const char *here = __builtin_frame_address(0);
	const uint8_t *p;
	size_t left;

	(void)n;
	*ret = (struct net_answer){.body = BUF_INIT(q->body_max ? q->body_max : 1 << 20)};
	CHECK((size_t)(the.stack - here) < STACK_MAX);
	if (fuzz_net_look)
		fuzz_net_look(q);
	if (the.asked++ == REQUESTS_MAX)
		return err_set(err, -EIO, ERR_RETRY, "enough");
	answer_find(&p, &left);
	head_read(ret, &p, &left);
	if (ret->status / 100 == 2 && q->into) {
		errint_t r = q->accept ? q->accept(q->arg, ret, err) : 0;

		if (r)
			return r;
		if (left > q->into_max)
			return err_set(err, -EBADMSG, ERR_RETRY, "too long");
		memcpy(q->into, p, left);
		ret->got = left;
		if (left && q->filled)
			q->filled(q->arg, left);
		return 0;
	}
	if (buf_add(&ret->body, p, left))
		return err_set(err, -EBADMSG, ERR_RETRY, "too long");
	return 0;
}
