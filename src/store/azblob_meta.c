/* SPDX-License-Identifier: MIT */
/*
 * Names, metadata and properties: what the seam says and what Blob Storage can hold.
 *
 * Metadata names are C# identifiers there, and case does not count. Ours are of [a-z0-9-]: '-'
 * becomes '_', and a name whose first character besides '-' is a digit gets one '_' more in front,
 * which makes it an identifier and keeps both ways unambiguous. Values travel in header fields: one
 * that is not printable ASCII, has a blank at an end, or looks like it, goes as =?UTF-8?B?...?=,
 * the form that S3 uses too.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "azblob_priv.h"
#include "driver.h"

#define SEGMENTS_MAX 254
#define VALUE_MAX    (16u << 10)
#define META_PREFIX  "x-ms-meta-"
#define ENCODED	     "=?UTF-8?B?"
#define ENCODED_END  "?="

/* ---- names ---- */

static bool utf8(const char *s)
{
	cleanup_json json_t *j = json_string(s);

	return j;
}

/* The service drops dots at the end of a segment and resolves "." and "..", and takes no control
 * characters. */
bool azblob_key_ok(const char *key)
{
	unsigned segments = 1;

	for (const unsigned char *s = (const unsigned char *)key; *s; s++) {
		if (*s < 0x20 || *s == 0x7f)
			return false;
		if (*s == '.' && (!s[1] || s[1] == '/'))
			return false;
		segments += *s == '/';
	}
	return segments <= SEGMENTS_MAX && utf8(key);
}

bool azblob_bucket_ok(const char *bucket)
{
	size_t n = strlen(bucket);

	if (bucket[0] == '$') /* $root, $web, $logs */
		return n > 1 && strspn(bucket + 1, "abcdefghijklmnopqrstuvwxyz") == n - 1;
	return n >= 3 && n <= 63 && bucket[0] != '-' && bucket[n - 1] != '-' &&
	       !strstr(bucket, "--") &&
	       strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

errint_t azblob_obj_check(struct store_obj o, struct err *err)
{
	if (!azblob_bucket_ok(o.bucket))
		return err_set(err, -EINVAL, ERR_FINAL,
			"'%s' cannot name a container: 3 to 63 of a-z, 0-9 and single '-'",
			o.bucket);
	if (!azblob_key_ok(o.key))
		return err_set(err, -EILSEQ, ERR_FINAL,
			"Azure cannot hold the name '%.100s': no segment may end with a dot, no "
			"control characters, UTF-8, at most %d segments",
			o.key, SEGMENTS_MAX);
	return 0;
}

/* ---- metadata ---- */

errint_t azblob_meta_name(struct buf *b, const char *key)
{
	if (isdigit((unsigned char)key[strspn(key, "-")]))
		(void)buf_adds(b, "_");
	for (; *key; key++)
		(void)buf_add(b, *key == '-' || *key == '.' ? "_" : key, 1);
	return b->failed;
}

bool azblob_meta_key(const char *name, char *ret)
{
	size_t n = strlen(name), dash = strspn(name, "_");

	if (!n || n > STORE_KEY_MAX)
		return false;
	if (dash && isdigit((unsigned char)name[dash]))
		name++;
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c != '_' && !(isalnum(c) && c < 0x80))
			return false;
		*ret++ = c == '_' ? '-' : (char)tolower(c);
	}
	*ret = 0;
	return true;
}

static bool plain(const char *v)
{
	size_t n = strlen(v);

	if (n && (isspace((unsigned char)v[0]) || isspace((unsigned char)v[n - 1])))
		return false;
	for (const unsigned char *s = (const unsigned char *)v; *s; s++)
		if (*s < 0x20 || *s >= 0x7f)
			return false;
	return n && strncmp(v, ENCODED, sizeof(ENCODED) - 1) != 0;
}

errint_t azblob_meta_value(struct buf *b, const char *value)
{
	size_t n = strlen(value);
	cleanup_free char *text = NULL;

	if (plain(value))
		return buf_adds(b, value);
	text = malloc(BASE64_LEN(n) + 1);
	if (!text)
		return b->failed = -ENOMEM;
	base64_encode(value, n, text);
	return buf_addf(b, ENCODED "%s" ENCODED_END, text);
}

errint_t azblob_meta_plain(struct buf *b, const char *value)
{
	size_t head = sizeof(ENCODED) - 1, tail = sizeof(ENCODED_END) - 1, n = strlen(value), got;
	cleanup_free char *text = NULL, *data = NULL;

	if (n < head + tail || strncasecmp(value, ENCODED, head) != 0 ||
		strcmp(value + n - tail, ENCODED_END) != 0)
		return buf_adds(b, value);
	text = strndup(value + head, n - head - tail);
	data = malloc(n);
	if (!text || !data)
		return b->failed = -ENOMEM;
	if (base64_decode(text, data, n, &got) || memchr(data, 0, got))
		return buf_adds(b, value); /* somebody's own text */
	return buf_add(b, data, got);
}

void azblob_meta_add(struct net_fields *f, const struct store_meta *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		cleanup_buf struct buf name = BUF_INIT(VALUE_MAX), value = BUF_INIT(VALUE_MAX);

		(void)buf_adds(&name, META_PREFIX);
		if (azblob_meta_name(&name, m[i].key) || azblob_meta_value(&value, m[i].value))
			f->failed = -ENOMEM;
		else
			(void)net_field_add(f, name.p, value.p);
	}
}

bool azblob_meta_take(struct store_stat *st, const char *name, const char *value)
{
	cleanup_buf struct buf text = BUF_INIT(VALUE_MAX);
	char key[STORE_KEY_MAX + 1];

	if (st->nmeta == STORE_META_MAX || !azblob_meta_key(name, key) || store_stat_meta(st, key))
		return true;
	(void)buf_adds(&text, "");
	return !azblob_meta_plain(&text, value) && driver_stat_meta(st, key, text.p ? text.p : "");
}

/* ---- properties ---- */

errint_t azblob_etag(const char *value, char ret[STORE_ETAG_MAX])
{
	size_t n = value ? strlen(value) : 0;

	if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
		value++;
		n -= 2;
	}
	if (!n || n >= STORE_ETAG_MAX || memchr(value, '"', n))
		return -EBADMSG;
	memcpy(ret, value, n);
	ret[n] = 0;
	return 0;
}

void azblob_tier(struct azblob *d, const char *tier, const char *status, bool inferred,
	struct store_stat *st)
{
	/* None: another kind of account or blob, always online. */
	snprintf(st->class_name, sizeof(st->class_name), "%s",
		tier && *tier ? tier : driver_class_default(d->conf.classes));
	st->archived = !strcmp(st->class_name, AZ_ARCHIVE);
	st->restoring = st->archived && status && !strncmp(status, "rehydrate-pending", 17);
	for (unsigned i = 0; inferred && i < TIER_N; i++)
		if (!strcmp(d->conf.classes[i].name, st->class_name))
			atomic_store(&d->inferred, i);
}

static errint_t time_of(const struct net_answer *a, int64_t *ret)
{
	const char *v = net_field_get(&a->fields, "last-modified");

	return v ? net_date_parse(v, ret) : -EBADMSG;
}

static errint_t meta_of(const struct net_answer *a, struct store_stat *st, bool *ret_dir)
{
	size_t skip = sizeof(META_PREFIX) - 1;

	for (unsigned i = 0; i < a->fields.n; i++) {
		const struct net_field *f = &a->fields.v[i];

		if (strncasecmp(f->name, META_PREFIX, skip) != 0)
			continue;
		if (!strcasecmp(f->name + skip, "hdi_isfolder"))
			*ret_dir = !strcasecmp(f->value, "true");
		else if (!azblob_meta_take(st, f->name + skip, f->value))
			return -ENOMEM;
	}
	return 0;
}

static errint_t bad(const struct net_answer *a, const char *what, struct err *err)
{
	errint_t r = err_set(err, -EBADMSG, ERR_RETRY, "the answer has no usable %s", what);

	err->http_status = a->status;
	return r;
}

errint_t azblob_stat(struct azblob *d, const struct net_answer *a, struct store_obj o,
	bool has_size, struct store_stat *ret, struct err *err)
{
	const struct net_fields *f = &a->fields;
	const char *size = net_field_get(f, "content-length");
	const char *inferred = net_field_get(f, "x-ms-access-tier-inferred");
	const uint64_t most = AZ_BLOCK_MAX * AZ_BLOCKS_MAX;
	struct store_stat st = {0};
	bool dir = false;

	if (azblob_etag(net_field_get(f, "etag"), st.etag))
		return bad(a, "ETag", err);
	if (time_of(a, &st.mtime_ns))
		return bad(a, "time", err);
	if (has_size) {
		if (!size || !*size || strspn(size, "0123456789") != strlen(size))
			return bad(a, "length", err);
		st.size = strtoull(size, NULL, 10); /* the largest there is for one beyond */
		if (st.size > most)
			return bad(a, "length", err);
	}
	azblob_tier(d, net_field_get(f, "x-ms-access-tier"),
		net_field_get(f, "x-ms-archive-status"), inferred && !strcmp(inferred, "true"),
		&st);
	if (meta_of(a, &st, &dir)) {
		store_stat_done(&st);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	/* A directory of an account that has them is the object "x/", never "x". */
	if (dir && o.key[strlen(o.key) - 1] != '/' && atomic_load(&d->hns) == 1) {
		store_stat_done(&st);
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "%s/%s is a directory", o.bucket, o.key);
	}
	*ret = st;
	return 0;
}

errint_t azblob_stat_written(struct azblob *d, const struct net_answer *a, struct store_obj o,
	uint64_t size, const char *class_name, const struct store_meta *m, unsigned nmeta,
	struct store_stat *ret, struct err *err)
{
	struct store_stat st = {.size = size};

	/* It was done, but which version it made is not known. */
	if (azblob_etag(net_field_get(&a->fields, "etag"), st.etag) || time_of(a, &st.mtime_ns))
		return err_set(err, -EBADMSG, ERR_UNKNOWN,
			"%s/%s: the answer has no usable ETag and time", o.bucket, o.key);
	if (!class_name)
		class_name = d->conf.classes[atomic_load(&d->inferred)].name;
	azblob_tier(d, class_name, NULL, false, &st);
	for (unsigned i = 0; i < nmeta; i++)
		if (!driver_stat_meta(&st, m[i].key, m[i].value)) {
			store_stat_done(&st);
			return err_set(err, -ENOMEM, ERR_UNKNOWN, "no memory");
		}
	*ret = st;
	return 0;
}
