/* SPDX-License-Identifier: MIT */
/*
 * One error convention for all rooms.
 *
 * A function that can fail returns errint_t: 0 or -errno. Where the caller can act on more than
 * the number, the last argument is a struct err on the caller's stack: what kind of failure it
 * was, and one sentence that says what happened, where, and what to do. err may always be NULL.
 */
#ifndef ASTRA_BASE_ERR_H
#define ASTRA_BASE_ERR_H

#include <stddef.h>

typedef int errint_t;

enum err_kind {
	ERR_NONE,
	ERR_FINAL,     /* repeating it gives the same answer */
	ERR_RETRY,     /* may work later; the request had no effect */
	ERR_THROTTLE,  /* as RETRY, and the other side asked us to slow down */
	ERR_AUTH,      /* credentials missing, wrong or not sufficient */
	ERR_STALE,     /* a condition (if-match, if-none-match) did not hold: -ESTALE or -EEXIST */
	ERR_ARCHIVED,  /* bytes are in an offline class: restore first */
	ERR_NOT_FOUND, /* the store answered that it is not there; never "could not ask" */
	ERR_UNKNOWN,   /* the answer was lost: the request may or may not have happened */
	ERR_CANCELLED, /* the caller's cancel flag or deadline ended it: -ECANCELED / -ETIMEDOUT */
};

struct err {
	enum err_kind kind;
	int http_status;	 /* 0 when there was none */
	unsigned retry_after_ms; /* 0 when the other side did not say */
	char code[64];		 /* the provider's own code, "" when none */
	char request_id[80];
	char msg[400];
};

/* Sets all of *err and returns r, so that failing is one statement. r must be negative. */
errint_t err_set(struct err *err, errint_t r, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "prefix: " before the message, keeps all else; returns r unchanged. */
errint_t err_wrap(struct err *err, errint_t r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void err_clear(struct err *err);

/* "final", "retry", ...: for logs, JSON and tests. */
const char *err_kind_name(enum err_kind kind);

/* The message, or strerror(-r) when none was set. Never NULL; valid while err is. */
const char *err_text(const struct err *err, errint_t r);

#endif
