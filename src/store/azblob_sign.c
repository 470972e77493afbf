/* SPDX-License-Identifier: MIT */
/*
 * Shared Key: HMAC-SHA256 over the method, eleven standard fields, the x-ms- fields in the order
 * in which the service sorts them, the path and the query. SAS: the same over the properties of
 * the permission, as parameters of a URL.
 */
#include "azblob_sign.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"

#define TEXT_MAX    (128u << 10)
#define FIELDS_MAX  256
#define PARAMS_MAX  32
#define HMAC_LEN    32
#define PREFIX	    "x-ms-"
#define WEIGHT_NONE 0

/* ---- the service's order of field names ---- */

/*
 * It sorts like words, not bytes: '-' counts only between names that are equal without it, then
 * come the end of a name, '_', digits, letters.
 */
static unsigned weight(char c)
{
	if (!c)
		return 1;
	if (c == '-')
		return WEIGHT_NONE;
	if (isdigit((unsigned char)c))
		return 0x200u + (unsigned char)c;
	if (isalpha((unsigned char)c))
		return 0x300u + (unsigned char)tolower((unsigned char)c);
	return 0x100u + (unsigned char)c;
}

static int name_cmp(const char *a, const char *b)
{
	const char *x = a, *y = b;

	while (*x || *y) {
		unsigned w = weight(*x), v = weight(*y);

		if (w == WEIGHT_NONE || v == WEIGHT_NONE) {
			x += w == WEIGHT_NONE;
			y += v == WEIGHT_NONE;
		} else if (w != v) {
			return w < v ? -1 : 1;
		} else {
			x++;
			y++;
		}
	}
	/* The same but for '-': the one that has it first is the later. */
	while (*a && *b && (*a == '-') == (*b == '-')) {
		a++;
		b++;
	}
	return (*a == '-') - (*b == '-');
}

static int field_cmp(const void *a, const void *b)
{
	return name_cmp((*(const struct net_field *const *)a)->name,
		(*(const struct net_field *const *)b)->name);
}

/* ---- what is signed ---- */

static void add_lower(struct buf *b, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = (char)tolower((unsigned char)s[i]);

		(void)buf_add(b, &c, 1);
	}
}

static void add_standard(
	struct buf *b, const char *method, size_t body_len, const struct net_fields *f)
{
	static const char *const names[] = {"content-encoding", "content-language", NULL,
		"content-md5", "content-type", "date", "if-modified-since", "if-match",
		"if-none-match", "if-unmodified-since"};

	(void)buf_addf(b, "%s\n", method);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *v = names[i] ? net_field_get(f, names[i]) : NULL;

		if (!names[i] && body_len) /* a length of 0 is signed as none */
			(void)buf_addf(b, "%zu", body_len);
		else if (v)
			(void)buf_adds(b, v);
		(void)buf_adds(b, "\n");
	}
	(void)buf_adds(b, "\n"); /* Range, which is never sent */
}

static void add_x_ms(struct buf *b, const struct net_fields *f)
{
	const struct net_field *v[FIELDS_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < f->n; i++) {
		if (strncasecmp(f->v[i].name, PREFIX, sizeof(PREFIX) - 1) != 0)
			continue;
		assert(n < FIELDS_MAX);
		v[n++] = &f->v[i];
	}
	qsort(v, n, sizeof(v[0]), field_cmp);
	for (size_t i = 0; i < n; i++) {
		add_lower(b, v[i]->name, strlen(v[i]->name));
		(void)buf_addf(b, ":%s\n", v[i]->value);
	}
}

struct param {
	const char *s; /* "name=value", both encoded */
	size_t name, all;
};

static int param_cmp(const void *a, const void *b)
{
	const struct param *x = a, *y = b;
	int d = strncasecmp(x->s, y->s, MIN_OF(x->name, y->name));

	return d ? d : (x->name > y->name) - (x->name < y->name);
}

static void add_resource(struct buf *b, const char *account, const char *url)
{
	const char *path = strstr(url, "://"), *query;
	struct param v[PARAMS_MAX];
	size_t n = 0;

	assert(path);
	path += 3;
	path += strcspn(path, "/?");
	query = path + strcspn(path, "?");
	(void)buf_addf(b, "/%s", account);
	(void)buf_add(b, path, (size_t)(query - path));
	while (*query) {
		const char *s = query + 1;

		assert(n < PARAMS_MAX);
		v[n] = (struct param){s, strcspn(s, "=&"), strcspn(s, "&")};
		query = s + v[n++].all;
	}
	qsort(v, n, sizeof(v[0]), param_cmp);
	for (size_t i = 0; i < n; i++) {
		size_t value = MIN_OF(v[i].name + 1, v[i].all);

		(void)buf_adds(b, "\n");
		add_lower(b, v[i].s, v[i].name);
		(void)buf_adds(b, ":");
		if (net_url_decode(b, v[i].s + value, v[i].all - value) && !b->failed)
			b->failed = -EINVAL;
	}
}

static void signature(
	const struct azblob_key *k, const struct buf *text, char ret[BASE64_LEN(HMAC_LEN) + 1])
{
	uint8_t mac[HMAC_LEN];

	hmac_sha256(k->key, k->len, text->p, text->len, mac);
	base64_encode(mac, sizeof(mac), ret);
}

errint_t azblob_sign(const struct azblob_key *k, const char *method, const char *url,
	size_t body_len, struct net_fields *f, struct buf *text)
{
	cleanup_buf struct buf own = BUF_INIT(TEXT_MAX);
	char mac[BASE64_LEN(HMAC_LEN) + 1];

	text = text ? text : &own;
	if (f->failed)
		return f->failed;
	add_standard(text, method, body_len, f);
	add_x_ms(text, f);
	add_resource(text, k->account, url);
	if (text->failed)
		return text->failed;
	signature(k, text, mac);
	return net_field_addf(f, "Authorization", "SharedKey %s:%s", k->account, mac);
}

/* ---- SAS ---- */

errint_t azblob_sas(const struct azblob_key *k, const struct azblob_sas *s, struct buf *ret)
{
	cleanup_buf struct buf text = BUF_INIT(TEXT_MAX);
	const char *resource = s->blob ? "b" : "c";
	char mac[BASE64_LEN(HMAC_LEN) + 1];
	const char *const params[][2] = {{"st", s->start}, {"se", s->expiry},
		{"sp", s->permissions}, {"sv", s->version}, {"sr", resource}, {"sig", mac}};

	(void)buf_addf(&text, "%s\n%s\n%s\n", s->permissions, s->start ? s->start : "", s->expiry);
	(void)buf_addf(&text, "/blob/%s/%s%s%s\n", k->account, s->container, s->blob ? "/" : "",
		s->blob ? s->blob : "");
	/* Stored policy, addresses and protocol; version; resource; snapshot, encryption scope and
	 * five fields of the answer. */
	(void)buf_addf(&text, "\n\n\n%s\n%s\n\n\n\n\n\n\n", s->version, resource);
	if (text.failed)
		return text.failed;
	signature(k, &text, mac);
	for (unsigned i = 0; i < ARRAY_SIZE(params); i++) {
		if (!params[i][1])
			continue;
		(void)buf_addf(ret, "%s%s=", i && (i > 1 || s->start) ? "&" : "", params[i][0]);
		(void)net_url_add(ret, params[i][1], "/");
	}
	return ret->failed;
}
