/* SPDX-License-Identifier: MIT */
/*
 * One request on one lane: options, the loop that watches deadline, stall and cancel flag, the
 * answer as it comes, and what a failure means for the caller.
 *
 * Sent or not: curl says "about to send" (prereq) once the connection stands. Nothing sent is
 * ERR_RETRY whatever happened. On a connection that dies before the first byte of the answer curl
 * would send again by itself; the second "about to send" of a request that changes something is
 * refused, for the first one may have been done.
 */
#include "net_priv.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_lock.h"

#define CANCEL_POLL_NS	 (50 * NS_PER_MS)
#define POLL_NS_MAX	 (1 * NS_PER_S)
#define HEAD_BYTES_MAX	 (128u << 10)
#define HEAD_FIELDS_MAX	 256
#define BODY_DEFAULT	 (1u << 20)
#define EXPECT_MS	 1000L
#define CURL_BUFFER	 (128L << 10)
#define CURL_BUFFER_LONG (256L << 10)
#define LOW_NS		 (NS_PER_S / 2)
#define LOW_BYTES	 (256 << 10) /* that have to be there before we are woken, of a long body */

struct transfer {
	const struct net_req *q;
	struct net_answer *a;
	struct err *err;
	CURL *easy;
	bool reads;	/* GET or HEAD */
	unsigned sends; /* times it was about to be sent */
	bool resent;	/* a second send was refused */
	bool head_done;
	size_t head_bytes;
	errint_t failed; /* ours, in a callback; err is set */
	int64_t started_mono_ns, deadline, stall_ns;
	bool low;	/* the socket wakes us for LOW_BYTES only */
	size_t body_at; /* of before, body and after, where they are sent in pieces */
	uint64_t up;	/* bytes of them that were sent, as counted */
	char error[CURL_ERROR_SIZE];
};

/* ---- the answer ---- */

static errint_t fail(struct transfer *t, errint_t r, enum err_kind kind, const char *what)
{
	t->failed = err_set(t->err, r, kind, "%s", what);
	return r;
}

static enum err_kind kind_lost(const struct transfer *t)
{
	return t->reads || !t->sends ? ERR_RETRY : ERR_UNKNOWN;
}

static void head_end(struct transfer *t)
{
	struct net_answer *a = t->a;

	if (a->status < 200)
		return; /* another head follows */
	t->head_done = true;
	answer_times(a);
	if (a->status / 100 == 2 && (t->q->into || t->q->take) && t->q->accept)
		t->failed = t->q->accept(t->q->arg, a, t->err);
}

static errint_t head_field(struct transfer *t, char *line)
{
	char *value = strchr(line, ':');

	if (!value || value == line)
		return fail(t, -EBADMSG, kind_lost(t), "the answer's head is not HTTP");
	*value++ = 0;
	value += strspn(value, " \t");
	if (t->a->fields.n >= HEAD_FIELDS_MAX)
		return fail(t, -EBADMSG, kind_lost(t), "the answer's head has too many fields");
	if (net_field_add(&t->a->fields, line, value))
		return fail(t, -ENOMEM, kind_lost(t), "no memory for the answer");
	return 0;
}

static size_t on_head(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;
	cleanup_free char *line = NULL;

	if (t->head_done) /* trailers */
		return len;
	t->head_bytes += len;
	if (t->head_bytes > HEAD_BYTES_MAX) {
		fail(t, -EBADMSG, kind_lost(t), "the answer's head is too long");
		return 0;
	}
	line = strndup(p, len);
	if (!line) {
		fail(t, -ENOMEM, kind_lost(t), "no memory for the answer");
		return 0;
	}
	for (size_t k = strlen(line); k && strchr(" \t\r\n", line[k - 1]);)
		line[--k] = 0;
	if (!strncasecmp(line, "HTTP/", 5)) { /* of the answer, after those of 100s */
		const char *s = strchr(line, ' ');

		net_fields_done(&t->a->fields);
		t->a->status = s ? atoi(s) : 0;
	} else if (line[0]) {
		(void)head_field(t, line);
	} else {
		head_end(t);
	}
	return t->failed ? 0 : len;
}

static void low_set(struct transfer *t, bool low)
{
	int bytes = low ? LOW_BYTES : 1;
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (low == t->low || curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd) ||
		fd == CURL_SOCKET_BAD)
		return;
	t->low = low;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* Of a long body that is taken as it comes we are woken for much at a time, which spares most of
 * the wakeups; never for more than is still to come. */
static void wake_for_much(struct transfer *t, size_t len)
{
	curl_off_t all = -1; /* it did not say */

	(void)curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &all);
	low_set(t, all - (curl_off_t)(t->a->got + len) >= 2 * LOW_BYTES);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	struct net_answer *a = t->a;
	size_t len = size * n;

	if (a->status / 100 != 2 || (!t->q->into && !t->q->take)) {
		if (!buf_add(&a->body, p, len))
			return len;
		fail(t, a->body.failed == -ENOMEM ? -ENOMEM : -EBADMSG, kind_lost(t),
			"the answer is longer than what is allowed");
		return 0;
	}
	if (len > t->q->into_max - a->got) {
		fail(t, -EBADMSG, kind_lost(t), "the answer is longer than what was asked for");
		return 0;
	}
	if (t->q->take)
		wake_for_much(t, len);
	if (t->q->take && !t->q->take(t->q->arg, p, len)) {
		fail(t, -ECANCELED, ERR_CANCELLED, "no more of the answer is wanted");
		return 0;
	}
	if (t->q->into)
		memcpy((char *)t->q->into + a->got, p, len);
	a->got += len;
	if (t->q->filled)
		t->q->filled(t->q->arg, a->got);
	return len;
}

static int on_send(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct transfer *t = arg;

	if (t->sends && !t->reads) {
		t->resent = true;
		return CURL_PREREQFUNC_ABORT;
	}
	t->sends++;
	return CURL_PREREQFUNC_OK;
}

/* ---- the body ---- */

static size_t body_total(const struct net_req *q)
{
	return q->before_len + q->body_len + q->after_len;
}

/* A body with a frame around it, so that nobody has to copy the large part into one piece. */
static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct net_req *q = t->q;
	const void *const piece[] = {q->before, q->body, q->after};
	const size_t len[] = {q->before_len, q->body_len, q->after_len};
	size_t room = size * n, begin = 0, done = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(piece); begin += len[i++]) {
		size_t in = t->body_at - begin, part;

		if (t->body_at < begin || in >= len[i])
			continue;
		part = MIN_OF(len[i] - in, room - done);
		memcpy(to + done, (const char *)piece[i] + in, part);
		t->body_at += part;
		done += part;
	}
	return done;
}

static int on_seek(void *arg, curl_off_t off, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || off < 0 || (size_t)off > body_total(t->q))
		return CURL_SEEKFUNC_FAIL;
	t->body_at = (size_t)off;
	return CURL_SEEKFUNC_OK;
}

/* ---- options ---- */

#define SET(opt, value) r = r ? r : curl_easy_setopt(c, CURLOPT_##opt, value)

static bool token_ok(const char *s)
{
	size_t n = strlen(s);

	return n &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == n;
}

/* A failure can only be memory; curl_slist_append then leaves the list as it is. */
static bool line_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return false;
	*list = more;
	return true;
}

static errint_t fields_list(const struct net_req *q, struct curl_slist **ret, struct err *err)
{
	const struct net_fields *f = q->fields;
	bool ok = true, type = false;

	for (unsigned i = 0; f && i < f->n && ok; i++) {
		cleanup_free char *line = NULL;
		const char *value = f->v[i].value;

		if (!token_ok(f->v[i].name) || strpbrk(value, "\r\n"))
			return err_set(err, -EINVAL, ERR_FINAL,
				"header field '%.60s' cannot be sent: not one line of text",
				f->v[i].name);
		type |= !strcasecmp(f->v[i].name, "content-type");
		if (asprintf(&line, value[0] ? "%s: %s" : "%s;", f->v[i].name, value) < 0) {
			line = NULL;
			ok = false;
		}
		ok = ok && line_add(ret, line);
		if (line)
			explicit_bzero(line, strlen(line));
	}
	ok = ok && (!f || !f->failed);
	ok = ok && (type || line_add(ret, "Content-Type:")); /* curl would say: a form */
	ok = ok && line_add(ret, q->expect && body_total(q) ? "Expect: 100-continue" : "Expect:");
	ok = ok && line_add(ret, "Accept:");
	return ok ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request");
}

static void list_done(struct curl_slist *list)
{
	for (struct curl_slist *l = list; l; l = l->next)
		explicit_bzero(l->data, strlen(l->data));
	curl_slist_free_all(list);
}

static CURLcode set_body(CURL *c, struct transfer *t)
{
	const struct net_req *q = t->q;
	CURLcode r = curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_total(q));

	if (!q->before_len && !q->after_len)
		return r ? r : curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body_len ? q->body : "");
	SET(POST, 1L);
	SET(READFUNCTION, on_read);
	SET(READDATA, t);
	SET(SEEKFUNCTION, on_seek);
	SET(SEEKDATA, t);
	return r;
}

static CURLcode set_method(CURL *c, struct transfer *t)
{
	const struct net_req *q = t->q;
	CURLcode r = CURLE_OK;

	if (!strcmp(q->method, "HEAD"))
		return curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	if (body_total(q) || !strcmp(q->method, "PUT") || !strcmp(q->method, "POST") ||
		!strcmp(q->method, "PATCH"))
		r = set_body(c, t);
	return r ? r : curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
}

/* What is the same for all requests of a struct net. */
static CURLcode set_common(CURL *c, struct net *n, const struct net_req *q)
{
	const struct net_conf *conf = net_conf_of(n);
	CURLcode r = CURLE_OK;

	/* Refused while a buffer is left from a request that found no connection: no harm. */
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, q->take ? CURL_BUFFER_LONG : CURL_BUFFER);
	SET(SHARE, net_share_of(n));
	SET(NOSIGNAL, 1L);
	SET(QUICK_EXIT, 1L); /* a name server that hangs is not waited for */
	SET(PROTOCOLS_STR, "http,https");
	SET(HTTP_VERSION, CURL_HTTP_VERSION_1_1); /* parallel requests, parallel connections */
	SET(PATH_AS_IS, 1L);
	SET(FOLLOWLOCATION, 0L);
	SET(USERAGENT, "astrafs/" ASTRA_VERSION);
	SET(TCP_KEEPALIVE, 1L);
	SET(SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	SET(EXPECT_100_TIMEOUT_MS, EXPECT_MS);
	SET(UPLOAD_BUFFERSIZE, CURL_BUFFER);
	SET(SUPPRESS_CONNECT_HEADERS, 1L);
	if (conf->ca_file)
		SET(CAINFO, conf->ca_file);
	if (q->direct)
		SET(PROXY, "");
	else if (conf->proxy)
		SET(PROXY, conf->proxy);
	return r;
}

static CURLcode set_transfer(CURL *c, struct transfer *t, struct curl_slist *lines)
{
	CURLcode r = CURLE_OK;

	SET(URL, t->q->url);
	SET(HTTPHEADER, lines);
	SET(ERRORBUFFER, t->error);
	SET(HEADERFUNCTION, on_head);
	SET(HEADERDATA, t);
	SET(WRITEFUNCTION, on_body);
	SET(WRITEDATA, t);
	SET(PREREQFUNCTION, on_send);
	SET(PREREQDATA, t);
#undef SET
	return r ? r : set_method(c, t);
}

/* ---- the loop ---- */

/* Time is over, or somebody called it off. */
static errint_t ended(struct transfer *t, int64_t now, int64_t moved_mono_ns)
{
	enum err_kind kind = kind_lost(t) == ERR_UNKNOWN ? ERR_UNKNOWN : ERR_CANCELLED;

	if (t->q->cancel && atomic_load_explicit(t->q->cancel, memory_order_relaxed))
		return fail(t, -ECANCELED, kind, "cancelled");
	if (t->deadline && now >= t->deadline)
		return fail(t, -ETIMEDOUT, kind, "no whole answer within the deadline");
	if (t->sends && now - moved_mono_ns >= t->stall_ns)
		return fail(t, -ETIMEDOUT, kind_lost(t), "the connection stalled");
	return 0;
}

static int wait_ms(const struct transfer *t, int64_t now, int64_t moved_mono_ns)
{
	int64_t ns = POLL_NS_MAX;

	if (t->q->cancel)
		ns = CANCEL_POLL_NS;
	if (t->deadline)
		ns = MIN_OF(ns, t->deadline - now);
	if (t->sends)
		ns = MIN_OF(ns, moved_mono_ns + t->stall_ns - now);
	return (int)(MAX_OF(ns, 0) / NS_PER_MS) + 1;
}

static curl_off_t bytes_moved(CURL *c, const struct transfer *t)
{
	curl_off_t up = 0, down = 0;

	(void)curl_easy_getinfo(c, CURLINFO_SIZE_UPLOAD_T, &up);
	(void)curl_easy_getinfo(c, CURLINFO_SIZE_DOWNLOAD_T, &down);
	return up + down + (curl_off_t)t->head_bytes + t->sends;
}

/* While they go: a part may take minutes. */
static void count_up(CURL *c, struct transfer *t)
{
	curl_off_t up = 0;

	(void)curl_easy_getinfo(c, CURLINFO_SIZE_UPLOAD_T, &up);
	if ((uint64_t)up <= t->up)
		return; /* none, or again from the beginning */
	count_add(net_bytes_out, (uint64_t)up - t->up);
	t->up = (uint64_t)up;
}

/* CURLE_OK with t->failed when we ended it. */
static CURLcode run(struct lane *l, struct transfer *t)
{
	int64_t moved_at = clock_mono_ns();
	curl_off_t moved = 0;
	int running = 1, left;
	CURLcode r = CURLE_OK;
	CURLMcode m = curl_multi_add_handle(l->multi, l->easy);

	if (m)
		return CURLE_OUT_OF_MEMORY;
	while (!m && !t->failed) {
		CURLMsg *msg;
		int64_t now;

		m = curl_multi_perform(l->multi, &running);
		count_up(l->easy, t);
		msg = curl_multi_info_read(l->multi, &left);
		if (msg) {
			r = msg->data.result;
			break;
		}
		now = clock_mono_ns();
		if (bytes_moved(l->easy, t) != moved) {
			moved = bytes_moved(l->easy, t);
			moved_at = now;
		}
		if (m || t->failed || ended(t, now, moved_at))
			break;
		if (now - moved_at > LOW_NS)
			low_set(t, false); /* it trickles: that is no stall */
		m = curl_multi_poll(l->multi, NULL, 0, wait_ms(t, now, moved_at), NULL);
	}
	(void)curl_multi_remove_handle(l->multi, l->easy);
	return m ? CURLE_OUT_OF_MEMORY : r;
}

/* ---- what it means ---- */

static errint_t explain(struct transfer *t, CURLcode c)
{
	enum err_kind kind = kind_lost(t);
	const char *text = t->error[0] ? t->error : curl_easy_strerror(c);
	errint_t r = -EIO;

	if (t->resent)
		text = "the connection ended before an answer came";
	switch (c) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		r = -EHOSTUNREACH;
		break;
	case CURLE_COULDNT_CONNECT:
		r = -ECONNREFUSED;
		break;
	case CURLE_OPERATION_TIMEDOUT:
		r = -ETIMEDOUT;
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		r = -EPROTO;
		kind = ERR_FINAL;
		break;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL: /* also what came is not HTTP */
		r = t->sends ? -EBADMSG : -EINVAL;
		kind = t->sends ? kind : ERR_FINAL;
		break;
	case CURLE_OUT_OF_MEMORY:
		r = -ENOMEM;
		break;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		r = -EBADMSG;
		break;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		r = -ECONNRESET;
		break;
	default:
		break;
	}
	return err_set(t->err, r, kind, "%s", text);
}

/* "https://host:port" of a URL: what a connection belongs to. */
static errint_t origin_of(const char *url, char ret[NET_ORIGIN_MAX], struct err *err)
{
	const char *host = strstr(url, "://");
	size_t len = host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;

	if (!len || len >= NET_ORIGIN_MAX)
		return err_set(err, -EINVAL, ERR_FINAL, "'%.100s' is no URL", url);
	memcpy(ret, url, len);
	ret[len] = 0;
	return 0;
}

static errint_t perform(struct net *n, struct transfer *t, const char *origin)
{
	struct lane *l = lane_take(n, origin);
	struct curl_slist *lines = NULL;
	const struct net_conf *conf = net_conf_of(n);
	int64_t connect = t->q->connect_ns ? t->q->connect_ns : conf->connect_ns;
	errint_t r = fields_list(t->q, &lines, t->err);
	long opened = 0;
	CURLcode c;

	if (!l || r) {
		list_done(lines);
		if (l)
			lane_give(n, l);
		return r ? r : err_set(t->err, -ENOMEM, ERR_RETRY, "no memory for a request");
	}
	curl_easy_reset(l->easy);
	t->easy = l->easy;
	c = set_common(l->easy, n, t->q);
	c = c ? c
	      : curl_easy_setopt(
			l->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)MAX_OF(connect / NS_PER_MS, 1));
	c = c ? c : set_transfer(l->easy, t, lines);
	c = c ? c : run(l, t);
	if (!curl_easy_getinfo(l->easy, CURLINFO_NUM_CONNECTS, &opened) && opened > 0)
		count_add(net_connections, (uint64_t)opened);
	count_inc(net_requests);
	r = t->failed;
	if (!r && c)
		r = explain(t, c);
	if (t->up && (r || t->a->status >= 400))
		count_add(net_bytes_vain, t->up);
	(void)curl_easy_setopt(l->easy, CURLOPT_HTTPHEADER, NULL);
	(void)curl_easy_setopt(l->easy, CURLOPT_ERRORBUFFER, NULL);
	list_done(lines);
	lane_give(n, l);
	return r;
}

static errint_t perform_once(
	struct net *n, const struct net_req *q, struct net_answer *ret, struct err *err)
{
	static atomic_uint numbers;
	char origin[NET_ORIGIN_MAX];
	struct transfer t = {.q = q,
		.a = ret,
		.err = err,
		.reads = !strcmp(q->method, "GET") || !strcmp(q->method, "HEAD"),
		.started_mono_ns = clock_mono_ns(),
		.deadline = q->deadline_mono_ns,
		.stall_ns = q->stall_ns ? q->stall_ns : net_conf_of(n)->stall_ns};
	unsigned number = atomic_fetch_add(&numbers, 1);
	errint_t r;

	err_clear(err);
	*ret = (struct net_answer){.body = BUF_INIT(q->body_max ? q->body_max : BODY_DEFAULT)};
	wire_request(q, number);
	r = origin_of(q->url, origin, err);
	r = r ? r : ended(&t, t.started_mono_ns, t.started_mono_ns);
	r = r ? r : perform(n, &t, origin);
	if (r)
		err->http_status = ret->status;
	wire_answer(q, number, ret, r, err, clock_mono_ns() - t.started_mono_ns);
	return r;
}

errint_t net_perform(
	struct net *n, const struct net_req *q, struct net_answer *ret, struct err *err)
{
	struct net_req plain = *q;
	struct err own;
	errint_t r;

	assert(n && q->method && q->url && (q->body || !q->body_len));
	assert((q->before || !q->before_len) && (q->after || !q->after_len));
	assert(q->into || q->take || !q->into_max);
	assert(!q->into || !q->take);
	lock_assert_none();
	err = err ? err : &own;
	r = perform_once(n, q, ret, err);
	if (r || ret->status != 417 || !q->expect)
		return r;
	/* It does not know Expect, so it did nothing. */
	net_answer_done(ret);
	plain.expect = false;
	return perform_once(n, &plain, ret, err);
}
