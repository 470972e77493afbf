/* SPDX-License-Identifier: MIT */
/*
 * The one error convention: a negative errno, and a struct err on the caller's stack that explains
 * it. Messages are formatted aside first, so that the old message may be an argument of the new
 * one. No state, any thread.
 */
#include "astra/base_err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"

/* A message that does not fit ends in "..." so that nobody takes the stump for the whole. */
static void mark_cut(char *s, size_t size, int wanted)
{
	if (wanted >= 0 && (size_t)wanted >= size)
		memcpy(s + size - 4, "...", 4);
}

errint_t err_set(struct err *err, errint_t r, enum err_kind kind, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;
	int n;

	assert(r < 0);
	assert(kind != ERR_NONE);
	if (!err)
		return r;
	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		msg[0] = '\0';
	mark_cut(msg, sizeof(msg), n);
	memset(err, 0, sizeof(*err));
	err->kind = kind;
	memcpy(err->msg, msg, sizeof(msg));
	err->msg[sizeof(err->msg) - 1] = '\0';
	return r;
}

errint_t err_wrap(struct err *err, errint_t r, const char *fmt, ...)
{
	char msg[sizeof(err->msg)];
	va_list ap;
	int n, m;

	if (!err)
		return r;
	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		return r;
	if ((size_t)n < sizeof(msg)) {
		m = snprintf(msg + n, sizeof(msg) - (size_t)n, ": %s", err_text(err, r));
		if (m > 0)
			n += m;
	}
	mark_cut(msg, sizeof(msg), n);
	memcpy(err->msg, msg, strlen(msg) + 1);
	return r;
}

void err_clear(struct err *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}

const char *err_kind_name(enum err_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",
		[ERR_FINAL] = "final",
		[ERR_RETRY] = "retry",
		[ERR_THROTTLE] = "throttle",
		[ERR_AUTH] = "auth",
		[ERR_STALE] = "stale",
		[ERR_ARCHIVED] = "archived",
		[ERR_NOT_FOUND] = "not-found",
		[ERR_UNKNOWN] = "unknown",
		[ERR_CANCELLED] = "cancelled",
	};

	return (size_t)kind < ARRAY_SIZE(names) ? names[kind] : "invalid";
}

const char *err_text(const struct err *err, errint_t r)
{
	const char *s;

	if (err && err->msg[0])
		return err->msg;
	s = strerrordesc_np(r < 0 ? -r : r);
	return s ? s : "unknown error";
}
