/* SPDX-License-Identifier: MIT */
/*
 * A token that somebody hands out for a while, kept until shortly before it ends. One thread
 * fetches a new one; the others go on with the old while it holds, or wait. Thread-safe; no lock
 * is held while it is fetched.
 */
#ifndef STORE_TOKEN_H
#define STORE_TOKEN_H

#include "astra/base_buf.h"
#include "astra/base_lock.h"
#include "astra/store.h"

struct token {
	char *text;	       /* owned */
	int64_t until_mono_ns; /* when it ends */
};
void token_done(struct token *t); /* wipes; safe on a zeroed one */

struct token_cache {
	/* Called by one thread at a time. */
	errint_t (*fetch)(
		void *arg, const struct store_call *c, struct token *ret, struct err *err);
	void *arg;
	struct lock lock; /* RANK_STORE_D */
	pthread_cond_t changed;
	struct {
		struct token now;
		unsigned number; /* of the token: 1, 2, ... */
		int64_t from_mono_ns;
		bool fetching, refused;
		struct err failed; /* why there is none, told again until ... */
		errint_t failed_r;
		int64_t failed_until_ns;
	} shared; /* lock */
};
void token_cache_init(struct token_cache *t,
	errint_t (*fetch)(
		void *arg, const struct store_call *c, struct token *ret, struct err *err),
	void *arg);
void token_cache_done(struct token_cache *t);

/* Appends the token; *ret_number says which, for token_refused. */
errint_t token_get(struct token_cache *t, const struct store_call *c, struct buf *ret,
	unsigned *ret_number, struct err *err);
/* The service did not take it: the next call has a new one. */
void token_refused(struct token_cache *t, unsigned number);

#endif
