/* SPDX-License-Identifier: MIT */
/*
 * Header fields of S3: what they say of an object, and what an object is to have. Metadata values
 * that a field cannot carry travel as words of RFC 2047, as S3 itself hands them out. No state.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

#define WORD_B "=?UTF-8?B?"

/* Classes that S3 has; others may be configured. */
static const struct {
	const char *name;
	bool offline;
} known_classes[] = {{"STANDARD", false}, {"STANDARD_IA", false}, {"ONEZONE_IA", false},
	{"INTELLIGENT_TIERING", false}, {"GLACIER_IR", false}, {"GLACIER", true},
	{"DEEP_ARCHIVE", true}, {"REDUCED_REDUNDANCY", false}, {"EXPRESS_ONEZONE", false},
	{"OUTPOSTS", false}, {"SNOW", false}};

/* ---- classes ---- */

errint_t s3_class_check(const struct s3 *d, const char *class_name, struct err *err)
{
	if (!class_name || driver_class(d->conf.classes, class_name))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(known_classes); i++)
		if (!strcmp(known_classes[i].name, class_name))
			return 0;
	return err_set(err, -EINVAL, ERR_FINAL, "no storage class '%s' on S3", class_name);
}

bool s3_class_offline(const struct s3 *d, const char *class_name)
{
	const struct remote_class *k = driver_class(d->conf.classes, class_name);

	for (unsigned i = 0; !k && i < ARRAY_SIZE(known_classes); i++)
		if (!strcmp(known_classes[i].name, class_name))
			return known_classes[i].offline;
	return k && k->offline;
}

const char *s3_class_default(const struct s3 *d)
{
	return driver_class_default(d->conf.classes);
}

/* ---- metadata values ---- */

static bool plain(const char *s)
{
	size_t n = strlen(s);

	if (n && (s[0] == ' ' || s[n - 1] == ' '))
		return false;
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e || (*s == ' ' && s[1] == ' ') || !strncmp(s, "=?", 2))
			return false;
	return true;
}

bool s3_meta_encode(const char *value, char **ret)
{
	size_t n = strlen(value);

	if (plain(value)) {
		*ret = strdup(value);
		return *ret;
	}
	*ret = malloc(sizeof(WORD_B) + BASE64_LEN(n) + 2);
	if (!*ret)
		return false;
	memcpy(*ret, WORD_B, sizeof(WORD_B) - 1);
	base64_encode(value, n, *ret + sizeof(WORD_B) - 1);
	strcat(*ret, "?=");
	return true;
}

/* The bytes of one word's text; the number of them, or -1. */
static int word_bytes(char code, const char *text, size_t len, char *to, size_t room)
{
	cleanup_free char *copy = strndup(text, len);
	size_t n = 0;

	if (!copy)
		return -1;
	if (code == 'b')
		return base64_decode(copy, to, room, &n) ? -1 : (int)n;
	for (const char *s = copy; *s; s++) {
		uint8_t c = (uint8_t)*s;

		if (c == '=') {
			char hex[3] = {s[1], s[1] ? s[2] : 0, 0};

			if (hex_decode(hex, &c, 1))
				return -1;
			s += 2;
		} else if (c == '_') {
			c = ' ';
		}
		if (n == room)
			return -1;
		to[n++] = (char)c;
	}
	return (int)n;
}

/* "=?UTF-8?B?...?=" at s: its length, and its bytes in to; 0 when there is none. */
static size_t word(const char *s, char *to, size_t room, size_t *ret_n)
{
	const char *text, *end;
	int n;
	char code;

	if (strncasecmp(s, "=?utf-8?", 8) != 0 || !s[8] || s[9] != '?')
		return 0;
	code = (char)tolower((unsigned char)s[8]);
	text = s + 10;
	end = strstr(text, "?=");
	if (!end || (code != 'b' && code != 'q'))
		return 0;
	n = word_bytes(code, text, (size_t)(end - text), to, room);
	if (n < 0)
		return 0;
	*ret_n = (size_t)n;
	return (size_t)(end + 2 - s);
}

bool s3_meta_decode(const char *value, char **ret)
{
	size_t len = strlen(value), n = 0;
	char *to = malloc(len + 1);

	if (!to)
		return false;
	for (const char *s = value; *s;) {
		size_t got = 0, used = word(s, to + n, len - n, &got);

		n += got;
		if (!used) {
			to[n++] = *s++;
			continue;
		}
		s += used;
		/* Blanks between words are no part of them. */
		if (*s == ' ' && !strncasecmp(s + strspn(s, " "), "=?utf-8?", 8))
			s += strspn(s, " ");
	}
	to[n] = 0;
	if (memchr(to, 0, n)) { /* nothing that a string can hold: as it came */
		memcpy(to, value, len + 1);
	}
	*ret = to;
	return true;
}

/* ---- fields to send ---- */

void s3_field_etag(struct net_fields *f, const char *name, const char *etag)
{
	(void)net_field_addf(f, name, "\"%s\"", etag);
}

void s3_fields_cond(struct net_fields *f, const char *if_match, const char *if_none_match)
{
	if (if_match)
		s3_field_etag(f, "If-Match", if_match);
	if (if_none_match)
		(void)net_field_add(f, "If-None-Match", "*");
}

void s3_fields_payer(const struct s3 *d, struct net_fields *f)
{
	if (d->conf.requester_pays)
		(void)net_field_add(f, "x-amz-request-payer", "requester");
}

void s3_fields_sse(const struct s3 *d, struct net_fields *f)
{
	switch (d->conf.sse) {
	case S3_SSE_NONE:
		break;
	case S3_SSE_S3:
		(void)net_field_add(f, "x-amz-server-side-encryption", "AES256");
		break;
	case S3_SSE_KMS:
		(void)net_field_add(f, "x-amz-server-side-encryption", "aws:kms");
		if (d->conf.kms_key[0])
			(void)net_field_add(
				f, "x-amz-server-side-encryption-aws-kms-key-id", d->conf.kms_key);
		break;
	case S3_SSE_CUSTOMER:
		s3_fields_customer(d, f, false);
		break;
	}
}

void s3_fields_customer(const struct s3 *d, struct net_fields *f, bool copy)
{
	static const char *const names[2][3] = {
		{"x-amz-server-side-encryption-customer-algorithm",
			"x-amz-server-side-encryption-customer-key",
			"x-amz-server-side-encryption-customer-key-MD5"},
		{"x-amz-copy-source-server-side-encryption-customer-algorithm",
			"x-amz-copy-source-server-side-encryption-customer-key",
			"x-amz-copy-source-server-side-encryption-customer-key-MD5"}};
	char key[BASE64_LEN(32) + 1], sum[BASE64_LEN(16) + 1];
	uint8_t hash[16];

	if (d->conf.sse != S3_SSE_CUSTOMER)
		return;
	base64_encode(d->conf.customer_key, sizeof(d->conf.customer_key), key);
	md5(d->conf.customer_key, sizeof(d->conf.customer_key), hash);
	base64_encode(hash, sizeof(hash), sum);
	(void)net_field_add(f, names[copy][0], "AES256");
	(void)net_field_add(f, names[copy][1], key);
	(void)net_field_add(f, names[copy][2], sum);
	explicit_bzero(key, sizeof(key));
}

errint_t s3_fields_new(const struct s3 *d, struct net_fields *f, const char *class_name,
	const struct store_meta *meta, unsigned n, struct err *err)
{
	errint_t r = s3_class_check(d, class_name, err);

	r = r ? r : driver_meta_check(meta, n, S3_META_MAX, err);
	if (r)
		return r;
	class_name = class_name ? class_name : s3_class_default(d);
	if (strcmp(class_name, "STANDARD") != 0)
		(void)net_field_add(f, "x-amz-storage-class", class_name);
	for (unsigned i = 0; i < n; i++) {
		char name[256];
		cleanup_free char *value = NULL;

		snprintf(name, sizeof(name), S3_META "%s", meta[i].key);
		if (!s3_meta_encode(meta[i].value, &value))
			f->failed = -ENOMEM;
		else
			(void)net_field_add(f, name, value);
	}
	return 0; /* a failure of f is told when it is sent */
}

/* ---- checksums ---- */

void s3_crc32c_text(uint32_t crc, char ret[9])
{
	uint8_t b[4] = {
		(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};

	base64_encode(b, 4, ret);
}

bool s3_crc32c_parse(const char *s, uint32_t *ret)
{
	uint8_t b[4];
	size_t n;

	if (!s || base64_decode(s, b, sizeof(b), &n) || n != 4) /* "...-3": one of parts */
		return false;
	*ret = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return true;
}

static void crc64_text(const void *p, size_t len, char ret[13])
{
	uint64_t crc = crc64nvme(0, p, len);
	uint8_t b[8];

	for (unsigned i = 0; i < 8; i++)
		b[i] = (uint8_t)(crc >> (56 - 8 * i));
	base64_encode(b, 8, ret);
}

void s3_fields_sum(
	const struct s3 *d, struct net_fields *f, const void *p, size_t len, uint32_t crc)
{
	char text[25];
	uint8_t hash[16];

	switch ((enum s3_sum)atomic_load(&d->sum)) {
	case S3_SUM_AUTO:
	case S3_SUM_CRC32C:
		s3_crc32c_text(crc, text);
		(void)net_field_add(f, "x-amz-sdk-checksum-algorithm", "CRC32C");
		(void)net_field_add(f, "x-amz-checksum-crc32c", text);
		break;
	case S3_SUM_CRC64:
		crc64_text(p, len, text);
		(void)net_field_add(f, "x-amz-sdk-checksum-algorithm", "CRC64NVME");
		(void)net_field_add(f, "x-amz-checksum-crc64nvme", text);
		break;
	case S3_SUM_MD5:
		md5(p, len, hash);
		base64_encode(hash, sizeof(hash), text);
		(void)net_field_add(f, "Content-MD5", text);
		break;
	case S3_SUM_OFF:
		break;
	}
}

errint_t s3_crc_check(const struct s3 *d, const void *p, size_t len, uint32_t crc, struct err *err)
{
	if (atomic_load(&d->sums_stated) && atomic_load(&d->sum) == S3_SUM_CRC32C)
		return 0;
	if (crc32c(0, p, len) == crc)
		return 0;
	return err_set(err, -EBADMSG, ERR_RETRY, "the bytes do not have the checksum given");
}

bool s3_sum_fall(struct s3 *d, errint_t r, const struct err *err)
{
	int now = atomic_load(&d->sum);

	if (!r || d->conf.sum != S3_SUM_AUTO || now == S3_SUM_OFF)
		return false;
	if (!(err->http_status == 501 ||
		    (err->http_status == 400 && strcasestr(err->msg, "checksum"))))
		return false;
	if (err->kind != ERR_FINAL)
		return false; /* a checksum that was understood and did not hold, too */
	(void)atomic_compare_exchange_strong(
		&d->sum, &now, now == S3_SUM_MD5 ? S3_SUM_OFF : S3_SUM_MD5);
	return true;
}

/* ---- fields that came ---- */

errint_t s3_etag(const char *v, char ret[STORE_ETAG_MAX])
{
	size_t n;

	if (v && !strncmp(v, "W/", 2))
		v += 2;
	n = v ? strlen(v) : 0;
	if (n >= 2 && v[0] == '"' && v[n - 1] == '"') {
		v++;
		n -= 2;
	}
	if (!n || n >= STORE_ETAG_MAX)
		return -EBADMSG;
	memcpy(ret, v, n);
	ret[n] = 0;
	return 0;
}

/* ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT" */
static void restore_parse(const char *v, struct store_stat *st, int64_t *until)
{
	const char *date = strstr(v, "expiry-date=\"");
	char text[64];

	st->restoring = strstr(v, "ongoing-request=\"true\"");
	*until = 0;
	if (!date)
		return;
	snprintf(text, sizeof(text), "%.*s", (int)strcspn(date + 13, "\""), date + 13);
	if (net_date_parse(text, until))
		*until = 0;
}

void s3_stat_class(const struct s3 *d, struct store_stat *st, const char *class_name,
	const char *restore, const char *archive_status)
{
	int64_t until = 0;

	snprintf(st->class_name, sizeof(st->class_name), "%s", class_name);
	st->restoring = false;
	st->restored_until_ns = 0;
	st->archived = s3_class_offline(d, st->class_name) || (archive_status && *archive_status);
	if (restore)
		restore_parse(restore, st, &until);
	if (!st->archived) {
		st->restoring = false;
		return;
	}
	if (st->restoring || !restore)
		return;
	/* A copy is there, until it is not. */
	st->archived = until && until <= clock_now_ns() + atomic_load(&d->skew_ns);
	st->restored_until_ns = st->archived ? 0 : until;
}

static bool meta_keep(struct store_stat *st, const char *key, const char *value)
{
	cleanup_free char *text = NULL;

	if (!s3_meta_decode(value, &text))
		return false;
	if (st->nmeta == STORE_META_MAX - 1 && strcmp(key, STORE_META_WRITE) != 0)
		return true; /* more than we use; copies keep them all */
	return st->nmeta == STORE_META_MAX || driver_stat_meta(st, key, text);
}

bool s3_stat_meta_add(struct store_stat *st, const struct store_meta *meta, unsigned n)
{
	for (unsigned i = 0; i < n && st->nmeta < STORE_META_MAX; i++)
		if (!driver_stat_meta(st, meta[i].key, meta[i].value))
			return false;
	return true;
}

static bool meta_read(const struct net_fields *f, struct store_stat *st)
{
	for (unsigned i = 0; i < f->n; i++) {
		char key[256];
		size_t n;

		if (strncasecmp(f->v[i].name, S3_META, strlen(S3_META)) != 0)
			continue;
		n = (size_t)snprintf(key, sizeof(key), "%s", f->v[i].name + strlen(S3_META));
		if (!n || n >= sizeof(key))
			continue;
		for (char *s = key; *s; s++)
			*s = (char)tolower((unsigned char)*s);
		if (!meta_keep(st, key, f->v[i].value))
			return false;
	}
	return true;
}

errint_t s3_stat(const struct s3 *d, const struct net_answer *a, struct store_stat *ret)
{
	const struct net_fields *f = &a->fields;
	const char *class_name = net_field_get(f, "x-amz-storage-class");
	const char *date = net_field_get(f, "last-modified");
	const char *type = net_field_get(f, "x-amz-checksum-type");

	if (s3_etag(net_field_get(f, "etag"), ret->etag))
		return -EBADMSG;
	date = date ? date : net_field_get(f, "date"); /* an answer to PUT */
	if (!date || net_date_parse(date, &ret->mtime_ns))
		ret->mtime_ns = clock_now_ns() + atomic_load(&d->skew_ns);
	s3_stat_class(d, ret, class_name ? class_name : "STANDARD",
		net_field_get(f, "x-amz-restore"), net_field_get(f, "x-amz-archive-status"));
	ret->has_crc32c =
		s3_crc32c_parse(net_field_get(f, "x-amz-checksum-crc32c"), &ret->crc32c) &&
		!(type && !strcasecmp(type, "COMPOSITE"));
	if (!meta_read(f, ret)) {
		store_stat_done(ret);
		return -ENOMEM;
	}
	return 0;
}

int64_t s3_time(const char *s)
{
	struct tm tm = {0};
	const char *end = s ? strptime(s, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t ns = 0, digit = NS_PER_S / 10;

	if (!end)
		return 0;
	if (*end == '.')
		for (end++; isdigit((unsigned char)*end); end++, digit /= 10)
			ns += (*end - '0') * digit;
	return clock_ns_of(timegm(&tm)) + ns;
}
