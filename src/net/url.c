/* SPDX-License-Identifier: MIT */
/* Header fields, URLs and dates of HTTP: data, and nothing that sends it. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "net_priv.h"

#define FIELDS_ADD	16
#define RETRY_AFTER_MAX 3600					/* s */
#define SKEW_NS_MAX	(INT64_C(100) * 365 * 86400 * NS_PER_S) /* more is no clock */

/* ---- fields ---- */

errint_t net_field_add(struct net_fields *f, const char *name, const char *value)
{
	if (f->failed)
		return f->failed;
	if (f->n % FIELDS_ADD == 0) {
		void *p = reallocarray(f->v, f->n + FIELDS_ADD, sizeof(*f->v));

		if (!p)
			return f->failed = -ENOMEM;
		f->v = p;
	}

	struct net_field *at = &f->v[f->n];

	at->name = strdup(name);
	at->value = strdup(value);
	if (!at->name || !at->value) {
		free(at->name);
		free(at->value);
		return f->failed = -ENOMEM;
	}
	f->n++;
	return 0;
}

errint_t net_field_addf(struct net_fields *f, const char *name, const char *fmt, ...)
{
	cleanup_free char *value = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&value, fmt, ap);
	va_end(ap);
	if (n < 0) {
		value = NULL;
		return f->failed = -ENOMEM;
	}
	return net_field_add(f, name, value);
}

const char *net_field_get(const struct net_fields *f, const char *name)
{
	for (unsigned i = 0; i < f->n; i++)
		if (!strcasecmp(f->v[i].name, name))
			return f->v[i].value;
	return NULL;
}

void net_fields_done(struct net_fields *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		explicit_bzero(f->v[i].value, strlen(f->v[i].value));
		free(f->v[i].name);
		free(f->v[i].value);
	}
	free(f->v);
	*f = (struct net_fields){0};
}

void net_answer_done(struct net_answer *a)
{
	net_fields_done(&a->fields);
	if (a->body.p)
		explicit_bzero(a->body.p, a->body.len);
	buf_done(&a->body);
}

/* ---- encoding ---- */

static bool unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

errint_t net_url_add(struct buf *b, const char *s, const char *keep)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		char e[3] = {'%', hex[c >> 4], hex[c & 15]};
		bool plain = unreserved(c) || strchr(keep, c);

		if (plain ? buf_add(b, s, 1) : buf_add(b, e, 3))
			break;
	}
	return b->failed;
}

errint_t net_url_param(struct buf *b, const char *name, const char *value)
{
	bool more = b->p && memchr(b->p, '?', b->len);

	(void)buf_adds(b, more ? "&" : "?");
	(void)net_url_add(b, name, "");
	if (value) {
		(void)buf_adds(b, "=");
		(void)net_url_add(b, value, "");
	}
	return b->failed;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

errint_t net_url_decode(struct buf *b, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '%') {
			int hi = i + 2 < len ? hex_digit(s[i + 1]) : -1;
			int lo = i + 2 < len ? hex_digit(s[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EINVAL;
			c = (char)(hi << 4 | lo);
			i += 2;
		}
		if (!c)
			return -EINVAL;
		if (buf_add(b, &c, 1))
			return b->failed;
	}
	return b->failed;
}

/* ---- taking apart ---- */

static bool host_ok(const char *s, size_t len, bool ipv6)
{
	if (!len || len >= sizeof(((struct net_url *)NULL)->host))
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (ipv6 ? !isxdigit(c) && c != ':' && c != '.'
			 : !isalnum(c) && c != '-' && c != '.' && c != '_')
			return false;
	}
	return true;
}

errint_t net_url_parse(const char *url, struct net_url *ret, struct err *err)
{
	struct net_url u = {0};
	const char *s, *host, *end;
	size_t len;

	if (!strncasecmp(url, "https://", 8))
		u.tls = true;
	else if (strncasecmp(url, "http://", 7) != 0)
		return err_set(err, -EINVAL, ERR_FINAL,
			"'%.100s' does not start with http:// or https://", url);
	host = s = url + (u.tls ? 8 : 7);
	if (*s == '[') {
		u.ipv6 = true;
		host = s + 1;
		len = strcspn(host, "]/");
		s = host + len + (host[len] == ']');
	} else {
		len = strcspn(host, ":/");
		s = host + len;
	}
	if (!host_ok(host, len, u.ipv6) || (u.ipv6 && s[-1] != ']'))
		return err_set(err, -EINVAL, ERR_FINAL, "'%.100s' has no usable host name", url);
	memcpy(u.host, host, len);
	u.port = u.tls ? 443 : 80;
	if (*s == ':') {
		unsigned long port = strtoul(s + 1, (char **)&end, 10);

		if (!isdigit((unsigned char)s[1]) || port < 1 || port > 65535)
			return err_set(err, -EINVAL, ERR_FINAL,
				"'%.100s': the port is not in 1..65535", url);
		u.port_given = port != u.port;
		u.port = (unsigned)port;
		s = end;
	}
	len = strlen(s);
	if ((*s && *s != '/') || strpbrk(s, "?#@ \\") || len >= sizeof(u.path))
		return err_set(
			err, -EINVAL, ERR_FINAL, "'%.100s' is more than a host and a path", url);
	while (len && s[len - 1] == '/')
		len--;
	memcpy(u.path, s, len);
	*ret = u;
	return 0;
}

errint_t net_url_host(struct buf *b, const struct net_url *u)
{
	(void)buf_addf(b, u->ipv6 ? "[%s]" : "%s", u->host);
	if (u->port_given)
		(void)buf_addf(b, ":%u", u->port);
	return b->failed;
}

/* ---- dates ---- */

errint_t net_date_parse(const char *s, int64_t *ret_ns)
{
	time_t t = curl_getdate(s, NULL);

	if (t == -1)
		return -EINVAL;
	*ret_ns = clock_ns_of(t);
	return 0;
}

void net_date_format(int64_t ns, char ret[NET_DATE_LEN + 1])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)(ns / NS_PER_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	(void)snprintf(ret, NET_DATE_LEN + 1, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
		days + 3 * tm.tm_wday, (unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon,
		(unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
		(unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
}

/* ---- times of an answer ---- */

static unsigned retry_after(const char *v)
{
	int64_t at, now = clock_now_ns();
	char *end;
	unsigned long s = strtoul(v, &end, 10);

	if (end == v || *end) {
		if (net_date_parse(v, &at) || at <= now)
			return 0;
		s = (unsigned long)((at - now) / NS_PER_S) + 1;
	}
	return (unsigned)MIN_OF(s, (unsigned long)RETRY_AFTER_MAX) * 1000;
}

void answer_times(struct net_answer *a)
{
	const char *date = net_field_get(&a->fields, "date");
	const char *after = net_field_get(&a->fields, "retry-after");
	int64_t at, skew;

	if (date && !net_date_parse(date, &at) &&
		!__builtin_sub_overflow(at, clock_now_ns(), &skew) && skew < SKEW_NS_MAX &&
		skew > -SKEW_NS_MAX) {
		a->has_date = true;
		a->skew_ns = skew;
	}
	if (after)
		a->retry_after_ms = retry_after(after);
}
