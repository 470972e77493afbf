/* SPDX-License-Identifier: MIT */
/*
 * Operations on a store of a cloud, whose answers are the input (fuzz_net.h), and what must hold of
 * their outcome whatever these were. The bits of `more` are options. Where a cloud has its own word
 * for a version, a class or a place in a list, the target says it.
 */
#ifndef TEST_FUZZ_STORE_H
#define TEST_FUZZ_STORE_H

#include "fuzz_net.h"

#include "astra/store.h"

extern const struct store_obj fuzz_key;
extern const char fuzz_body[8];

/* For fuzz_net_look: every byte that is sent is there. */
void fuzz_look_body(const struct net_req *q);

/* What an operation returned, with r; done with it. */
void fuzz_stat_check(errint_t r, struct store_stat *st);
void fuzz_get(struct store *s, uint8_t more, const char *etag);
/* Up to max of what begins with prefix. */
void fuzz_list(struct store *s, const char *prefix, char delimiter, const char *from, size_t max);
/* The same by `more`: from is a place in the list, if any. */
void fuzz_list_any(struct store *s, uint8_t more, const char *from);
/* To that object, of no more than size_max bytes. */
void fuzz_copy(struct store *s, uint8_t more, const char *etag, const char *class_name,
	struct store_obj to, uint64_t size_max);
void fuzz_set_meta(struct store *s, const char *etag);
/* `last` is the third key of three. */
void fuzz_remove_many(struct store *s, const char *last);
void fuzz_parts_list(struct store *s, const char *id);
void fuzz_parts_pending(struct store *s);
void fuzz_buckets(struct store *s);

#endif
