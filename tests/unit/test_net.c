/* SPDX-License-Identifier: MIT */
/* HTTP requests against a server that behaves and misbehaves; URLs, fields, the wire log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_log.h"
#include "astra/net.h"
#include "net/net_priv.h"
#include "net_help.h"
#include "scratch_help.h"

static struct web web, web6;
static struct net *net;

/* ---- the server's tricks, by path ---- */

static bool trick_bytes(struct web_request *q)
{
	size_t len = strtoul(strrchr(q->path, '/') + 1, NULL, 10);
	char *p = malloc(len + 1);
	bool ok;

	for (size_t i = 0; i < len; i++)
		p[i] = (char)(i * 7 + i / 251);
	ok = web_answer(q->fd, 200, "ETag: \"e\"\r\n", p, len);
	free(p);
	return ok;
}

static bool trick_drip(struct web_request *q)
{
	web_write(q->fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", 39);
	for (unsigned i = 0; i < 50; i++) {
		usleep(10000);
		if (!web_write(q->fd, "x", 1))
			return false;
	}
	return true;
}

static bool trick_endless(struct web_request *q)
{
	char chunk[1024 + 8];

	memset(chunk, 'x', sizeof(chunk));
	memcpy(chunk, "400\r\n", 5);
	memcpy(chunk + 5 + 1024, "\r\n", 2);
	web_write(q->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);
	while (web_write(q->fd, chunk, 5 + 1024 + 2))
		;
	return false;
}

static bool trick_head(struct web_request *q)
{
	bool many = strstr(q->path, "many");

	web_write(q->fd, "HTTP/1.1 200 OK\r\n", 17);
	for (unsigned i = 0; i < (many ? 1000 : 4000); i++)
		if (!web_write(q->fd, many ? "A: b\r\n" : "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
			    many ? 6 : 36))
			return false;
	return web_write(q->fd, "Content-Length: 0\r\n\r\n", 21);
}

static bool serve(struct web *w, struct web_request *q)
{
	const char *p = q->path;
	char text[32768];

#define IS(name) (!strncmp(p, name, strlen(name)))
	if (IS("/bytes/"))
		return trick_bytes(q);
	if (IS("/drip"))
		return trick_drip(q);
	if (IS("/endless"))
		return trick_endless(q);
	if (IS("/head"))
		return trick_head(q);
	if (IS("/hang")) {
		while (!atomic_load(&w->stop) && recv(q->fd, text, 1, MSG_DONTWAIT) < 0)
			usleep(5000);
		return false;
	}
	if (IS("/cut")) {
		web_write(q->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", 43);
		return false;
	}
	if (IS("/nothing"))
		return false;
	if (IS("/second-nothing")) /* the first request of a connection is answered */
		return q->number == 0 && web_answer(q->fd, 200, "", "ok", 2);
	if (IS("/not-http")) {
		web_write(q->fd, "hello, this is no HTTP\r\n\r\n", 26);
		return false;
	}
	if (IS("/redirect"))
		return web_answer(q->fd, 302, "Location: /bytes/5\r\n", "moved", 5);
	if (IS("/slow-down"))
		return web_answer(q->fd, 503, "Retry-After: 7\r\n", "busy", 4);
	if (IS("/date"))
		return web_answer(q->fd, 200, "Date: Fri, 02 Jan 2026 03:04:05 GMT\r\n", "", 0);
	if (IS("/no-clock"))
		return web_answer(q->fd, 200, "Date: Sat, 01 Jan 1600 00:00:00 GMT\r\n", "", 0);
	if (IS("/no-content"))
		return web_write(q->fd, "HTTP/1.1 204 No Content\r\n\r\n", 27);
	if (IS("/moves"))
		return web_answer(q->fd, IS("/moves-in-vain") ? 500 : 200, "", "", 0);
	if (strstr(p, "echo"))
		return web_answer(q->fd, 200, "", q->body, q->body_len);
	snprintf(text, sizeof(text), "%s\n%s", q->head, q->body);
	return web_answer(q->fd, 200, "", text, strlen(text));
}

static atomic_bool moved_early;

/* Not a byte of the body is read before some are counted. */
static bool expect_moves(struct web_request *q)
{
	uint64_t before = count_get(COUNT_net_bytes_out);

	(void)web_write(q->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	for (unsigned i = 0; i < 10000 && count_get(COUNT_net_bytes_out) == before; i++)
		(void)usleep(1000);
	atomic_store(&moved_early, count_get(COUNT_net_bytes_out) > before);
	return true;
}

static bool expect_answer(struct web *w, struct web_request *q)
{
	if (!strncmp(q->path, "/moves", 6))
		return expect_moves(q);
	if (!strncmp(q->path, "/expect-no", 10)) {
		web_answer(q->fd, 403, "Connection: close\r\n", "no", 2);
		shutdown(q->fd, SHUT_WR);
		return false;
	}
	if (!strncmp(q->path, "/expect-what", 12)) {
		web_answer(q->fd, 417, "Connection: close\r\n", "", 0);
		return false;
	}
	return web_write(q->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* ---- helpers ---- */

static char *at(const char *path)
{
	static char url[3000];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", web.port, path);
	return url;
}

static errint_t simple(const char *method, const char *path, struct net_answer *a, struct err *err)
{
	struct net_req q = {.method = method, .url = at(path)};

	return net_perform(net, &q, a, err);
}

/* ---- requests ---- */

static void what_is_sent_is_what_was_given(void **state)
{
	struct net_fields f = {0};
	struct net_req q = {.method = "PUT", .fields = &f, .body = "the body", .body_len = 8};
	struct net_answer a;
	struct err err;

	net_field_add(&f, "X-One", "1");
	net_field_add(&f, "x-empty", "");
	net_field_addf(&f, "X-Two", "%d  %s", 2, "spaces");
	q.url = at("/a//b/../c%2Fd/./e?x=%20&y");
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.body.p, "PUT /a//b/../c%2Fd/./e?x=%20&y HTTP/1.1\r\n"));
	assert_non_null(strstr(a.body.p, "X-One: 1\r\n"));
	assert_non_null(strstr(a.body.p, "x-empty:\r\n"));
	assert_non_null(strstr(a.body.p, "X-Two: 2  spaces\r\n"));
	assert_non_null(strstr(a.body.p, "Content-Length: 8\r\n"));
	assert_non_null(strstr(a.body.p, "User-Agent: astrafs/" ASTRA_VERSION "\r\n"));
	assert_null(strstr(a.body.p, "Content-Type"));
	assert_null(strstr(a.body.p, "Expect"));
	assert_null(strstr(a.body.p, "Accept"));
	assert_non_null(strstr(a.body.p, "\nthe body"));
	net_answer_done(&a);
	net_fields_done(&f);
}

static void methods_have_their_bodies(void **state)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "DELETE", "PATCH"};
	struct net_answer a;
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
		assert_int_equal(simple(methods[i], "/", &a, &err), 0);
		assert_true(!strncmp(a.body.p, methods[i], strlen(methods[i])));
		assert_int_equal(
			methods[i][0] == 'P', strstr(a.body.p, "Content-Length: 0\r\n") != NULL);
		net_answer_done(&a);
	}
	assert_int_equal(simple("HEAD", "/bytes/0", &a, &err), 0);
	assert_string_equal(net_field_get(&a.fields, "etag"), "\"e\"");
	assert_int_equal(a.body.len, 0);
	net_answer_done(&a);
	assert_int_equal(simple("DELETE", "/no-content", &a, &err), 0);
	assert_int_equal(a.status, 204);
	net_answer_done(&a);
}

/* What is sent is counted while it goes, and what was sent in vain. */
static void bytes_are_counted_on_their_way(void **state)
{
	static char body[8 << 20];
	struct net_req q = {
		.method = "PUT", .body = body, .body_len = sizeof(body), .expect = true};
	struct net_answer a;
	struct err err;

	for (unsigned fails = 0; fails < 2; fails++) {
		uint64_t out = count_get(COUNT_net_bytes_out),
			 vain = count_get(COUNT_net_bytes_vain);

		q.url = at(fails ? "/moves-in-vain" : "/moves");
		assert_int_equal(net_perform(net, &q, &a, &err), 0);
		assert_int_equal(a.status, fails ? 500 : 200);
		net_answer_done(&a);
		assert_true(atomic_load(&moved_early));
		assert_int_equal(count_get(COUNT_net_bytes_out) - out, sizeof(body));
		assert_int_equal(count_get(COUNT_net_bytes_vain) - vain, fails ? sizeof(body) : 0);
	}
}

static void a_frame_goes_around_the_body(void **state)
{
	static char body[3 << 20];
	struct net_req q = {.method = "POST",
		.body = body,
		.body_len = sizeof(body) - 1,
		.before = "<<",
		.before_len = 2,
		.after = ">>",
		.after_len = 2,
		.body_max = 16 << 20};
	struct net_answer a;
	struct err err;

	memset(body, 'b', sizeof(body) - 1);
	for (unsigned expect = 0; expect < 3; expect++) {
		q.url = at(expect == 2 ? "/expect-what-echo" : "/expect-yes-echo");
		q.expect = expect > 0;
		assert_int_equal(net_perform(net, &q, &a, &err), 0);
		assert_int_equal(a.status, 200);
		assert_int_equal(a.body.len, sizeof(body) - 1 + 4);
		assert_memory_equal(a.body.p, "<<b", 3);
		assert_memory_equal(a.body.p + 2, body, sizeof(body) - 1);
		assert_string_equal(a.body.p + a.body.len - 3, "b>>");
		net_answer_done(&a);
	}
	q.body_len = 0;
	q.expect = false;
	q.method = "PUT";
	q.url = at("/echo");
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_string_equal(a.body.p, "<<>>");
	net_answer_done(&a);
}

static void connections_are_used_again(void **state)
{
	unsigned before = atomic_load(&web.connections);
	uint64_t opened = count_get(COUNT_net_connections);
	struct net_answer a;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(simple("GET", "/bytes/1000", &a, NULL), 0);
		net_answer_done(&a);
	}
	assert_true(atomic_load(&web.connections) - before <= 1);
	assert_true(count_get(COUNT_net_connections) - opened <= 1);
}

struct seen {
	size_t calls, last, accepted;
	errint_t refuse;
};

static void filled(void *arg, size_t have)
{
	struct seen *s = arg;

	assert_true(have > s->last && s->accepted == 1);
	s->calls++;
	s->last = have;
}

static errint_t accept_head(void *arg, const struct net_answer *a, struct err *err)
{
	struct seen *s = arg;

	assert_int_equal(a->status, 200);
	s->accepted++;
	return s->refuse ? err_set(err, s->refuse, ERR_STALE, "refused") : 0;
}

struct taken {
	size_t n, most;
	bool wrong;
};

static bool take(void *arg, const void *p, size_t n)
{
	struct taken *t = arg;
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		t->wrong |= b[i] != (uint8_t)((t->n + i) * 7 + (t->n + i) / 251);
	t->n += n;
	return t->n <= t->most;
}

/* The end, for which the socket does not wake who waits for much, comes as well. */
static void a_get_hands_its_bytes_over(void **state)
{
	const size_t len = (5 << 20) + 1;
	struct net_req q = {.method = "GET", .into_max = 2 * len, .take = take};
	struct net_answer a;
	struct err err;

	q.url = at("/bytes/5242881");
	for (unsigned i = 0; i < 4; i++) { /* by one connection: with another mark left on it */
		struct taken t = {.most = len};

		q.arg = &t;
		assert_int_equal(net_perform(net, &q, &a, &err), 0);
		assert_int_equal(a.got, len);
		assert_int_equal(t.n, len);
		assert_false(t.wrong);
		net_answer_done(&a);
	}
	struct taken some = {.most = 1 << 20};

	q.arg = &some;
	assert_int_equal(net_perform(net, &q, &a, &err), -ECANCELED);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_in_range(some.n, some.most + 1, 2 << 20);
	assert_false(some.wrong);
	net_answer_done(&a);
	/* more than asked for */
	struct taken all = {.most = len};

	q.arg = &all;
	q.into_max = 1000;
	assert_int_equal(net_perform(net, &q, &a, &err), -EBADMSG);
	assert_in_range(all.n, 0, 1000);
	net_answer_done(&a);
}

static void a_get_fills_its_buffer_bit_by_bit(void **state)
{
	size_t len = 5 << 20;
	uint8_t *p = malloc(len);
	struct seen s = {0};
	struct net_req q = {.method = "GET",
		.into = p,
		.into_max = len,
		.accept = accept_head,
		.filled = filled,
		.arg = &s};
	struct net_answer a;
	struct err err;

	q.url = at("/bytes/5242880");
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(a.got, len);
	assert_int_equal(s.last, len);
	assert_true(s.calls > 10);
	for (size_t i = 0; i < len; i++)
		assert_true(p[i] == (uint8_t)(i * 7 + i / 251));
	net_answer_done(&a);
	/* nothing at all is accepted too */
	s = (struct seen){0};
	q.url = at("/bytes/0");
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(s.accepted, 1);
	net_answer_done(&a);
	/* a head that is refused leaves the buffer alone */
	s = (struct seen){.refuse = -ESTALE};
	memset(p, 0xee, len);
	q.url = at("/bytes/5242880");
	assert_int_equal(net_perform(net, &q, &a, &err), -ESTALE);
	assert_int_equal(err.kind, ERR_STALE);
	assert_int_equal(p[0], 0xee);
	net_answer_done(&a);
	/* more than asked for */
	s = (struct seen){0};
	q.into_max = 1000;
	assert_int_equal(net_perform(net, &q, &a, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(p[1000], 0xee);
	net_answer_done(&a);
	/* the body of another status is no data */
	s = (struct seen){0};
	q.url = at("/slow-down");
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(a.status, 503);
	assert_int_equal(a.got, 0);
	assert_int_equal(a.retry_after_ms, 7000);
	assert_string_equal(a.body.p, "busy");
	net_answer_done(&a);
	free(p);
}

static void broken_answers_are_errors(void **state)
{
	static const struct {
		const char *path;
		errint_t r;
	} t[] = {{"/cut", -ECONNRESET}, {"/nothing", -ECONNRESET}, {"/endless", -EBADMSG},
		{"/not-http", 1}, {"/head-long", -EBADMSG}, {"/head-many", -EBADMSG}};
	struct net_answer a;
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		for (unsigned k = 0; k < 2; k++) {
			errint_t r = simple(k ? "POST" : "GET", t[i].path, &a, &err);

			assert_true(t[i].r == 1 ? r < 0 : r == t[i].r);
			assert_int_equal(err.kind, k ? ERR_UNKNOWN : ERR_RETRY);
			assert_true(err.msg[0]);
			net_answer_done(&a);
		}
	}
	assert_int_equal(simple("GET", "/cut", &a, &err), -ECONNRESET);
	assert_int_equal(err.http_status, 200);
	net_answer_done(&a);
}

/* libcurl repeats by itself what died on a reused connection; a change must not be. */
static void a_change_is_never_sent_twice(void **state)
{
	static const char *const methods[] = {"PUT", "POST", "DELETE"};
	struct net_answer a;
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
		unsigned before;

		assert_int_equal(simple("GET", "/second-nothing", &a, &err), 0);
		net_answer_done(&a);
		before = atomic_load(&web.requests);
		assert_int_equal(simple(methods[i], "/second-nothing", &a, &err) < 0, true);
		assert_int_equal(err.kind, ERR_UNKNOWN);
		net_answer_done(&a);
		assert_int_equal(atomic_load(&web.requests) - before, 1);
	}
	/* a question may be asked again */
	assert_int_equal(simple("GET", "/second-nothing", &a, &err), 0);
	net_answer_done(&a);
	assert_int_equal(simple("GET", "/second-nothing", &a, &err), 0);
	net_answer_done(&a);
}

static void nobody_listens(void **state)
{
	struct net_req q = {.method = "PUT", .url = "http://127.0.0.1:1/x"};
	struct net_answer a;
	struct err err;

	assert_int_equal(net_perform(net, &q, &a, &err), -ECONNREFUSED);
	assert_int_equal(err.kind, ERR_RETRY);
	net_answer_done(&a);
	q.url = "http://no-such-host.invalid/x";
	for (unsigned i = 0; i < 3; i++) { /* the same each time */
		assert_int_equal(net_perform(net, &q, &a, &err), -EHOSTUNREACH);
		assert_int_equal(err.kind, ERR_RETRY);
		net_answer_done(&a);
	}
	q.url = "file:///etc/passwd";
	assert_int_equal(net_perform(net, &q, &a, &err), -EINVAL);
	assert_int_equal(err.kind, ERR_FINAL);
	net_answer_done(&a);
}

static void a_redirect_is_an_answer(void **state)
{
	unsigned before = atomic_load(&web.requests);
	struct net_answer a;

	assert_int_equal(simple("GET", "/redirect", &a, NULL), 0);
	assert_int_equal(a.status, 302);
	assert_string_equal(net_field_get(&a.fields, "LOCATION"), "/bytes/5");
	assert_int_equal(atomic_load(&web.requests) - before, 1);
	net_answer_done(&a);
}

static void waits_end(void **state)
{
	struct net_answer a;
	struct err err;
	char buf[100];
	struct net_req q = {.into = buf, .into_max = sizeof(buf)};

	for (unsigned k = 0; k < 2; k++) {
		q.method = k ? "PUT" : "GET";
		q.url = at("/hang");
		q.deadline_mono_ns = clock_mono_ns() + 100 * NS_PER_MS;
		assert_int_equal(net_perform(net, &q, &a, &err), -ETIMEDOUT);
		assert_int_equal(err.kind, k ? ERR_UNKNOWN : ERR_CANCELLED);
		net_answer_done(&a);
		q.deadline_mono_ns = 0;
		q.stall_ns = 100 * NS_PER_MS;
		assert_int_equal(net_perform(net, &q, &a, &err), -ETIMEDOUT);
		assert_int_equal(err.kind, k ? ERR_UNKNOWN : ERR_RETRY);
		net_answer_done(&a);
	}
	/* slow is not stalled */
	q.method = "GET";
	q.url = at("/drip");
	q.stall_ns = 400 * NS_PER_MS;
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(a.got, 50);
	net_answer_done(&a);
	/* over before it began */
	q.method = "PUT";
	q.deadline_mono_ns = 1;
	assert_int_equal(net_perform(net, &q, &a, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_CANCELLED);
	net_answer_done(&a);
}

static void *set_later(void *arg)
{
	usleep(100000);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

static void a_flag_calls_it_off(void **state)
{
	atomic_bool cancel = false;
	struct net_req q = {.method = "GET", .cancel = &cancel};
	int64_t start = clock_mono_ns();
	struct net_answer a;
	struct err err;
	pthread_t t;

	q.url = at("/hang");
	pthread_create(&t, NULL, set_later, &cancel);
	assert_int_equal(net_perform(net, &q, &a, &err), -ECANCELED);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_true(clock_mono_ns() - start < 5 * NS_PER_S);
	pthread_join(t, NULL);
	net_answer_done(&a);
}

static void the_body_waits_for_leave(void **state)
{
	static char body[3 << 20];
	struct net_req q = {
		.method = "PUT", .body = body, .body_len = sizeof(body), .expect = true};
	struct net_answer a;
	struct err err;
	errint_t r;

	q.body_max = 16 << 20;
	q.url = at("/expect-yes");
	memset(body, 'b', sizeof(body) - 1);
	r = net_perform(net, &q, &a, &err);
	assert_int_equal(r, 0);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.body.p, "Expect: 100-continue\r\n"));
	net_answer_done(&a);
	q.url = at("/expect-no");
	r = net_perform(net, &q, &a, &err);
	assert_int_equal(r, 0);
	assert_int_equal(a.status, 403);
	net_answer_done(&a);
	/* a server that does not know Expect gets it again without */
	q.url = at("/expect-what");
	r = net_perform(net, &q, &a, &err);
	assert_int_equal(r, 0);
	assert_int_equal(a.status, 200);
	assert_null(strstr(a.body.p, "Expect: 100"));
	net_answer_done(&a);
}

static void clocks_are_compared(void **state)
{
	int64_t want = INT64_C(1767323045) * NS_PER_S;
	struct net_answer a;

	assert_int_equal(simple("GET", "/date", &a, NULL), 0);
	assert_true(a.has_date);
	assert_in_range(clock_now_ns() + a.skew_ns, want, want + 2 * NS_PER_S);
	net_answer_done(&a);
	assert_int_equal(simple("GET", "/", &a, NULL), 0);
	assert_false(a.has_date);
	net_answer_done(&a);
	assert_int_equal(simple("GET", "/no-clock", &a, NULL), 0); /* their difference overflows */
	assert_false(a.has_date);
	net_answer_done(&a);
}

static void fields_cannot_smuggle(void **state)
{
	static const char *const bad[][2] = {
		{"x", "a\r\nEvil: 1"}, {"x", "a\nb"}, {"x y", "a"}, {"", "a"}, {"x:", "a"}};
	struct net_answer a;
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct net_fields f = {0};
		struct net_req q = {.method = "GET", .url = at("/"), .fields = &f};

		net_field_add(&f, bad[i][0], bad[i][1]);
		assert_int_equal(net_perform(net, &q, &a, &err), -EINVAL);
		assert_int_equal(err.kind, ERR_FINAL);
		net_answer_done(&a);
		net_fields_done(&f);
	}
}

static void proxies_are_used(void **state)
{
	char proxy[64];
	struct net_conf conf = {.proxy = proxy};
	struct net_req q = {.method = "GET", .url = "http://example.invalid/a//b?c"};
	struct net *n;
	struct net_answer a;
	struct err err;

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", web.port);
	n = net_new(&conf, &err);
	assert_int_equal(net_perform(n, &q, &a, &err), 0);
	assert_non_null(strstr(a.body.p, "GET http://example.invalid/a//b?c HTTP/1.1\r\n"));
	net_answer_done(&a);
	q.direct = true;
	assert_int_equal(net_perform(n, &q, &a, &err), -EHOSTUNREACH);
	net_answer_done(&a);
	net_destroy(n);
	/* from the environment */
	setenv("http_proxy", proxy, 1);
	n = net_new(NULL, &err);
	q.direct = false;
	assert_int_equal(net_perform(n, &q, &a, &err), 0);
	net_answer_done(&a);
	unsetenv("http_proxy");
	net_destroy(n);
}

static void what_stays_here(void **state)
{
	static const struct {
		const char *url;
		bool here;
	} t[] = {{"http://127.0.0.1:9000", true}, {"http://127.8.9.10", true},
		{"http://[::1]:9000", true}, {"http://LocalHost", true}, {"http://10.0.0.1", false},
		{"http://128.0.0.1", false}, {"http://[::2]", false}, {"http://[fe80::1]", false},
		{"http://localhost.example", false}, {"http://127.0.0.1.example", false},
		{"http://example.com", false}};
	static const char *const vars[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
	struct net_conf proxy = {.proxy = "http://10.0.0.1:8080"}, none = {.proxy = ""};
	struct net *by_proxy = net_new(&proxy, NULL), *direct = net_new(&none, NULL);
	struct net_url u;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		assert_int_equal(net_url_parse(t[i].url, &u, NULL), 0);
		assert_int_equal(net_stays_here(net, &u), t[i].here);
		assert_int_equal(net_stays_here(direct, &u), t[i].here);
		assert_false(net_stays_here(by_proxy, &u));
	}
	assert_int_equal(net_url_parse("http://127.0.0.1", &u, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(vars); i++) {
		setenv(vars[i], "http://10.0.0.1:8080", 1);
		assert_false(net_stays_here(net, &u));
		assert_true(net_stays_here(direct, &u));
		unsetenv(vars[i]);
	}
	net_destroy(by_proxy);
	net_destroy(direct);
}

static void ipv6_works(void **state)
{
	char url[64];
	struct net_req q = {.method = "GET", .url = url};
	struct net_answer a;
	struct err err;

	if (!web6.port)
		skip(); /* no ::1 here */
	snprintf(url, sizeof(url), "http://[::1]:%u/x", web6.port);
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	assert_int_equal(a.status, 200);
	net_answer_done(&a);
}

static void *many(void *arg)
{
	for (unsigned i = 0; i < 50; i++) {
		size_t len = 1 + (i * 7919) % 60000;
		char path[64], *p = malloc(len);
		struct net_req q = {.method = "GET", .into = p, .into_max = len};
		char url[128];
		struct net_answer a;

		snprintf(path, sizeof(path), "/bytes/%zu", len);
		snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", web.port, path);
		q.url = url;
		if (net_perform(net, &q, &a, NULL) || a.got != len)
			return "failed";
		net_answer_done(&a);
		free(p);
	}
	return NULL;
}

static void threads_share_it(void **state)
{
	unsigned before = atomic_load(&web.connections);
	pthread_t t[8];

	for (unsigned i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, many, NULL);
	for (unsigned i = 0; i < 8; i++) {
		void *r;

		pthread_join(t[i], &r);
		assert_null(r);
	}
	assert_true(atomic_load(&web.connections) - before <= 8);
}

/* ---- URLs and text ---- */

static void urls_are_encoded(void **state)
{
	cleanup_buf struct buf b = BUF_INIT(1000), c = BUF_INIT(1000);

	net_url_add(&b, "/a b/ä+~%", "/");
	assert_string_equal(b.p, "/a%20b/%C3%A4%2B~%25");
	net_url_param(&b, "list-type", "2");
	net_url_param(&b, "prefix", "a/b&c");
	net_url_param(&b, "uploads", NULL);
	assert_string_equal(b.p, "/a%20b/%C3%A4%2B~%25?list-type=2&prefix=a%2Fb%26c&uploads");
	assert_int_equal(net_url_decode(&c, "a%2fb+%C3%A4", 12), 0);
	assert_string_equal(c.p, "a/b+ä");
	buf_reset(&c);
	assert_int_equal(net_url_decode(&c, "%41", 3), 0);
	assert_string_equal(c.p, "A");
	assert_int_equal(net_url_decode(&c, "%4", 2), -EINVAL);
	assert_int_equal(net_url_decode(&c, "%", 1), -EINVAL);
	assert_int_equal(net_url_decode(&c, "%zz", 3), -EINVAL);
	assert_int_equal(net_url_decode(&c, "a%00", 4), -EINVAL);
}

static void urls_are_taken_apart(void **state)
{
	static const char *const bad[] = {"", "host", "ftp://h", "http://", "http://:80",
		"http://h:0", "http://h:65536", "http://h:x", "http://u@h", "http://h/?q",
		"http://h#f", "http://[::1", "http://a b", "https://h\\x"};
	struct net_url u;
	struct err err;

	assert_int_equal(net_url_parse("https://s3.eu-west-1.amazonaws.com", &u, &err), 0);
	assert_true(u.tls && u.port == 443 && !u.port_given && !u.path[0]);
	assert_string_equal(u.host, "s3.eu-west-1.amazonaws.com");
	assert_int_equal(net_url_parse("http://[::1]:8080/a/b/", &u, &err), 0);
	assert_true(!u.tls && u.port == 8080 && u.port_given && u.ipv6);
	assert_string_equal(u.host, "::1");
	assert_string_equal(u.path, "/a/b");
	assert_int_equal(net_url_parse("http://h:80/", &u, &err), 0);
	assert_true(!u.port_given && !u.path[0]);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(net_url_parse(bad[i], &u, &err), -EINVAL);
}

static void dates_go_both_ways(void **state)
{
	char s[NET_DATE_LEN + 1];
	int64_t ns;

	net_date_format(INT64_C(1767323045) * NS_PER_S, s);
	assert_string_equal(s, "Fri, 02 Jan 2026 03:04:05 GMT");
	assert_int_equal(net_date_parse(s, &ns), 0);
	assert_true(ns == INT64_C(1767323045) * NS_PER_S);
	assert_int_equal(net_date_parse("tomorrow", &ns), -EINVAL);
}

static void secrets_stay_out_of_the_log(void **state)
{
	cleanup_buf struct buf b = BUF_INIT(1000);

	wire_url(&b, "http://h/k?X-Amz-Signature=abc&prefix=p&sig=s%3D&X-Amz-Security-Token=t&x");
	assert_string_equal(b.p, "http://h/k?X-Amz-Signature=(removed)&prefix=p&sig=(removed)&"
				 "X-Amz-Security-Token=(removed)&x");
	buf_reset(&b);
	wire_field(&b, "Authorization", "AWS4 secret");
	wire_field(&b, "x-ms-copy-source", "https://h/c?sv=1&sig=secret");
	wire_field(&b, "x-amz-server-side-encryption-customer-key", "secret");
	wire_field(&b, "X-aws-ec2-metadata-token", "secret");
	wire_field(&b, "X-IDENTITY-HEADER", "secret");
	wire_field(&b, "Location", "https://h/upload/b/o?uploadType=r&upload_id=secret");
	wire_field(&b, "ETag", "\"e\"");
	assert_null(strstr(b.p, "secret"));
	assert_non_null(strstr(b.p, "\"e\""));
}

static void the_wire_log_is_opted_into(void **state)
{
	char path[64], text[20000];
	int fd;
	unsigned rooms;
	struct net_fields f = {0};
	struct net_req q = {.method = "GET", .url = at("/bytes/3?sig=hidden"), .fields = &f};
	struct net_answer a;
	struct err err;
	ssize_t n;

	scratch_name(path, sizeof(path), "wire");
	fd = mkstemp(path);
	net_field_add(&f, "Authorization", "hidden");
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, &err), 0);
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	net_answer_done(&a);
	assert_int_equal(read(fd, text, sizeof(text)), 0);
	assert_int_equal(log_rooms_parse("nett", &rooms, &err), -EINVAL);
	assert_int_equal(log_rooms_parse("net:store", &rooms, &err), 0);
	log_rooms_set(rooms);
	assert_int_equal(net_perform(net, &q, &a, &err), 0);
	net_answer_done(&a);
	log_rooms_set(0);
	log_close();
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = 0;
	assert_non_null(strstr(text, "> GET http://127.0.0.1"));
	assert_non_null(strstr(text, "< 200 in"));
	assert_non_null(strstr(text, "ETag"));
	assert_null(strstr(text, "hidden"));
	close(fd);
	unlink(path);
	net_fields_done(&f);
}

static void a_bad_ca_file_is_told(void **state)
{
	struct net_conf conf = {.ca_file = "/no/such/file"};
	struct err err;

	assert_null(net_new(&conf, &err));
	assert_non_null(strstr(err.msg, "/no/such/file"));
}

static int setup(void **state)
{
	struct err err;

	web.expect = web6.expect = expect_answer;
	net = net_new(NULL, &err);
	if (!web_start(&web6, AF_INET6, serve))
		web6.port = 0;
	return net && web_start(&web, AF_INET, serve) ? 0 : -1;
}

static int teardown(void **state)
{
	net = net_destroy(net);
	web_stop(&web);
	if (web6.port)
		web_stop(&web6);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_sent_is_what_was_given),
		cmocka_unit_test(methods_have_their_bodies),
		cmocka_unit_test(a_frame_goes_around_the_body),
		cmocka_unit_test(bytes_are_counted_on_their_way),
		cmocka_unit_test(connections_are_used_again),
		cmocka_unit_test(a_get_fills_its_buffer_bit_by_bit),
		cmocka_unit_test(broken_answers_are_errors),
		cmocka_unit_test(a_change_is_never_sent_twice),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_redirect_is_an_answer),
		cmocka_unit_test(waits_end),
		cmocka_unit_test(a_flag_calls_it_off),
		cmocka_unit_test(the_body_waits_for_leave),
		cmocka_unit_test(clocks_are_compared),
		cmocka_unit_test(fields_cannot_smuggle),
		cmocka_unit_test(proxies_are_used),
		cmocka_unit_test(what_stays_here),
		cmocka_unit_test(ipv6_works),
		cmocka_unit_test(threads_share_it),
		cmocka_unit_test(urls_are_encoded),
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(dates_go_both_ways),
		cmocka_unit_test(secrets_stay_out_of_the_log),
		cmocka_unit_test(a_get_hands_its_bytes_over),
		cmocka_unit_test(the_wire_log_is_opted_into),
		cmocka_unit_test(a_bad_ca_file_is_told),
	};

	/* Nothing of the machine's is to be in the way. */
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	return cmocka_run_group_tests(tests, setup, teardown);
}
