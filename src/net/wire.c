/* SPDX-License-Identifier: MIT */
/*
 * The wire log (-o debug=net): a line for each request and each answer, with their fields, at
 * level debug. What may hold a secret is replaced: fields and query parameters by their names,
 * URLs in values like URLs. Bodies are never shown, only their sizes.
 */
#include "net_priv.h"

#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_log.h"

#define LINE_BYTES_MAX 1800
#define REMOVED	       "(removed)"

/* Parts of names; whatever has one is not shown. Google's upload_id is all one needs to write. */
static const char *const secret_words[] = {"auth", "token", "secret", "signature", "credential",
	"cookie", "password", "customer-key", "encryption-key", "sig", "assertion", "accesskey",
	"apikey", "api-key", "identity-header", "upload_id"};

static bool name_secret(const char *name, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(secret_words); i++) {
		size_t w = strlen(secret_words[i]);

		for (size_t at = 0; at + w <= len; at++)
			if (!strncasecmp(name + at, secret_words[i], w))
				return true;
	}
	return false;
}

void wire_url(struct buf *b, const char *url)
{
	size_t n = strcspn(url, "?");

	(void)buf_add(b, url, n);
	while (url[n]) {
		const char *p = url + n + 1;
		size_t name = strcspn(p, "=&"), all = strcspn(p, "&");

		(void)buf_add(b, url + n, 1);
		(void)buf_add(b, p, name);
		if (name < all && name_secret(p, name))
			(void)buf_adds(b, "=" REMOVED);
		else
			(void)buf_add(b, p + name, all - name);
		n += 1 + all;
	}
}

void wire_field(struct buf *b, const char *name, const char *value)
{
	if (name_secret(name, strlen(name)))
		(void)buf_adds(b, REMOVED);
	else
		wire_url(b, value);
}

static void fields_add(struct buf *b, const struct net_fields *f)
{
	for (unsigned i = 0; f && i < f->n; i++) {
		(void)buf_addf(b, "; %s: ", f->v[i].name);
		wire_field(b, f->v[i].name, f->v[i].value);
	}
}

bool wire_on(void)
{
	return log_room_on("net");
}

void wire_request(const struct net_req *q, unsigned number)
{
	cleanup_buf struct buf b = BUF_INIT(64u << 10);

	if (!wire_on())
		return;
	(void)buf_addf(&b, "#%u > %s ", number, q->method);
	wire_url(&b, q->url);
	(void)buf_addf(&b, " body %zu", q->before_len + q->body_len + q->after_len);
	fields_add(&b, q->fields);
	log_debug("net", "%.*s", LINE_BYTES_MAX, b.p ? b.p : "");
}

void wire_answer(const struct net_req *q, unsigned number, const struct net_answer *a, errint_t r,
	const struct err *err, int64_t took_ns)
{
	cleanup_buf struct buf b = BUF_INIT(256u << 10);

	if (!wire_on())
		return;
	(void)buf_addf(&b, "#%u < %d in %lld ms, body %zu", number, a->status,
		(long long)(took_ns / NS_PER_MS), a->got + a->body.len);
	if (r)
		(void)buf_addf(&b, ", failed (%s): %s", err_kind_name(err->kind), err_text(err, r));
	fields_add(&b, &a->fields);
	log_debug("net", "%.*s", LINE_BYTES_MAX, b.p ? b.p : "");
}
