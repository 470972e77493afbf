/* SPDX-License-Identifier: MIT */
/*
 * The store seam: everything that astrafs asks of a cloud. A store is a driver (local, mem, later
 * s3, gcs, azure) under layers (fault, limit, retry, stats), each with a struct store first in its
 * own struct. Callers use only the store_*() functions below, which check arguments and results.
 *
 * Every call blocks, is thread-safe, has a deadline, can be cancelled, and moves at most one
 * bounded buffer that the caller owns. Streaming is composition above this room.
 *
 * Errors: 0 or -errno, and err->kind says what can be done about it (base_err.h). A conditional
 * write whose answer was lost returns ERR_UNKNOWN and is never repeated by the retry layer: the
 * caller asks (store_head) whether its write mark is there.
 */
#ifndef ASTRA_STORE_H
#define ASTRA_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "astra/base_buf.h"
#include "astra/base_conf.h"
#include "astra/base_err.h"
#include "astra/base_money.h"
#include "astra/base_tier.h"

#define STORE_KEY_MAX	 1024 /* bytes, without the NUL */
#define STORE_BUCKET_MAX 255
#define STORE_ETAG_MAX	 128
#define STORE_CLASS_MAX	 32
#define STORE_TOKEN_MAX	 6144
#define STORE_UPLOAD_MAX 256
#define STORE_META_MAX	 32    /* metadata pairs */
#define STORE_PARTS_MAX	 50000 /* of any store; each has its own */
#define STORE_PAGE_MAX	 1000  /* entries of a LIST page */

/* Keys under this prefix are ours for a moment (swaps, parts): hidden from listings. */
#define STORE_TMP_PREFIX ".astra-tmp/"
/* Metadata key of the write mark, value "JOB.ATTEMPT". */
#define STORE_META_WRITE "astra-write"

/* How far a get has come. */
struct store_progress {
	_Atomic uint64_t have; /* bytes valid at the buffer's start so far; they stay */
	/* It has grown; NULL = nobody wants to know. By the thread that is in the call, within it:
	 * it may use those bytes, calls no store, and holds nobody up. */
	void (*grown)(struct store_progress *p, uint64_t have);
};

/*
 * Where the bytes of a get go as they come, in order, instead of into a buffer: for more than what
 * any buffer holds. What has been taken is not taken back; a checksum of the whole, where there is
 * one, can only be compared at the end.
 */
struct store_sink {
	/* By the thread that is in the call, within it; calls no store. It may wait for room, as
	 * long as a server bears it (seconds). False: no more is wanted, and the get ends with
	 * -ECANCELED/ERR_CANCELLED. */
	bool (*take)(struct store_sink *s, const void *bytes, size_t n);
	uint64_t taken; /* bytes so far: store_sink_take() */
	bool stopped;	/* it returned false */
};

/* For drivers. */
static inline bool store_sink_take(struct store_sink *s, const void *bytes, size_t n)
{
	if (s->stopped || !s->take(s, bytes, n)) {
		s->stopped = true;
		return false;
	}
	s->taken += n;
	return true;
}

/* Conditions and limits of one call; zero-initialised = none. */
struct store_call {
	int64_t deadline_mono_ns;	 /* 0 = 30 s, and a second for each 64 KiB to be moved */
	const atomic_bool *cancel;	 /* polled; may be NULL */
	struct store_progress *progress; /* of a get; may be NULL */
	struct store_sink *sink;	 /* of a get, where caps.sinks: p is NULL, progress too */
	bool front; /* somebody waits in a system call: goes before what nobody waits for */
	bool once;  /* not repeated, and never waits its turn: the caller has another way */
	_Atomic uint64_t *repeats; /* grows by what the retry layer sends again; may be NULL */
};

/* For drivers and layers. p may be NULL: nothing may be used before the call has ended. */
static inline void store_progressed(struct store_progress *p, uint64_t have)
{
	if (!p)
		return;
	atomic_store_explicit(&p->have, have, memory_order_release);
	if (p->grown)
		p->grown(p, have);
}

struct store_obj { /* names an object; strings borrowed for the call */
	const char *bucket, *key;
};

struct store_pair {
	char *key, *value; /* owned; a metadata key that can be written: store_meta_key_ok */
};

/* What a store knows about an object. Strings inside the struct; meta is owned. */
struct store_stat {
	uint64_t size;
	int64_t mtime_ns;		  /* when it was put */
	char etag[STORE_ETAG_MAX];	  /* opaque version; changes with every change of content */
	char class_name[STORE_CLASS_MAX]; /* the provider's word */
	bool archived;	/* in an offline class and not restored: get fails with ERR_ARCHIVED */
	bool restoring; /* a restore was asked for and is under way */
	int64_t restored_until_ns; /* 0 = not a restored copy */
	bool has_crc32c;
	uint32_t crc32c; /* of the whole object, where the store states it */
	unsigned nmeta;
	struct store_pair meta[STORE_META_MAX];
};
void store_stat_done(struct store_stat *st); /* frees meta; safe on a zeroed or done struct */
/* Value of a metadata key or NULL. */
const char *store_stat_meta(const struct store_stat *st, const char *key);

/* Every store takes such a key: up to STORE_META_KEY_MAX of a-z, 0-9 and "-_.", not none. Azure
 * makes
 * '-' of the last two. */
#define STORE_META_KEY_MAX 200
bool store_meta_key_ok(const char *key);

struct store_meta {		 /* metadata to write; borrowed */
	const char *key, *value; /* store_set_meta: value NULL = the key goes */
};

#define STORE_IF_ABSENT "*" /* as if_none_match: the key must not exist */

struct store_put {
	const char *if_match;	   /* ETag or NULL */
	const char *if_none_match; /* STORE_IF_ABSENT or NULL */
	const char *class_name;	   /* NULL = the store's default class */
	const struct store_meta *meta;
	unsigned nmeta;
	bool has_crc32c; /* the store verifies the bytes against it: -EBADMSG, ERR_RETRY when not */
	uint32_t crc32c; /* of the buffer */
	uint64_t part_size; /* parts_begin: of all but the last, in whatever order they come; 0 =
			       not known */
};

struct store_copy {
	const char *src_if_match, *dst_if_match, *dst_if_none_match;
	const char *class_name; /* NULL = keep (same class as the source) */
	bool replace_meta;	/* else the source's metadata is kept, but for write_mark */
	const struct store_meta *meta;
	unsigned nmeta;
	const char *write_mark; /* value of STORE_META_WRITE on the new object; NULL = none */
};

struct store_rename {
	const char *src_if_match;		      /* must be given: no other version goes */
	const char *dst_if_match, *dst_if_none_match; /* one of them must be given */
};

struct store_entry {	 /* one line of a LIST page */
	const char *key; /* in the page's memory */
	bool is_prefix;	 /* a common prefix; key ends with the delimiter, nothing below is set */
	uint64_t size;
	int64_t mtime_ns;
	const char *etag, *class_name; /* class NULL = it did not say: caps.head_class */
	bool archived;
	bool restoring;
	int64_t restored_until_ns;
	const struct store_pair *meta; /* where caps.list_meta */
	unsigned nmeta;
};

struct store_page {
	struct store_entry *e; /* owned, sorted by key bytes, each key once */
	size_t n;
	bool truncated; /* more to come: pass next */
	char next[STORE_TOKEN_MAX];
	void *mem; /* owned */
};
void store_page_done(struct store_page *p);

struct store_part {
	unsigned number; /* from 1, ascending */
	uint64_t size;
	char etag[STORE_ETAG_MAX];
	uint32_t crc32c;
	bool has_crc32c;
};

struct store_upload { /* one stale upload, of parts_pending */
	char key[STORE_KEY_MAX + 1];
	char id[STORE_UPLOAD_MAX];
	char mark[64]; /* STORE_META_WRITE of parts_begin; "" = none, or the store does not say */
	int64_t started_ns;
};

struct store_caps {
	unsigned key_max;
	bool key_utf8;	     /* keys must be UTF-8; others: -EILSEQ */
	const char *key_bad; /* bytes that no key may have, as "\r\n": -EILSEQ; NULL = none */
	unsigned meta_max;   /* bytes of all metadata keys and values of an object */
	bool (*key_ok)(const char *key); /* what else a name must be like; NULL = nothing */
	bool conditional_put, conditional_remove, conditional_copy;
	bool etag_of_bytes;   /* the same bytes may have the same ETag, also in another class */
	bool silent_remove;   /* removing what is not there may succeed */
	bool list_after;      /* may have store_list_after; a call says whether it does */
	bool list_meta;	      /* LIST carries metadata */
	bool meta_at_begin;   /* parts_finish takes no metadata but that of parts_begin */
	bool head_meta;	      /* else: the user wants a HEAD of what is new in a LIST */
	bool head_class;      /* LIST tells no class: that is NULL there, and known by a HEAD */
	bool meta_dates;      /* mtime as a date and mode in octal, as rclone has them there */
	bool set_meta;	      /* metadata can be changed in place, free of fees */
	uint64_t meta_copy;   /* else set_meta copies the object onto itself, up to so many bytes */
	bool part_copy, copy; /* server side */
	bool rename;	      /* may have store_rename; a call says whether it does */
	bool archive;	      /* has offline classes */
	bool restore_moves;   /* a restore changes the class for good: days mean nothing */
	bool checksums;	      /* states crc32c of whole objects */
	bool versioning, soft_delete, auto_tier;
	bool asks;  /* the endpoint is asked what it holds before something is written (store_ready)
		     */
	bool near;  /* reading it is like reading a file here: a copy in the cache gains nothing */
	bool sinks; /* store_call.sink may be used */
	uint64_t part_min, part_max, object_max; /* bytes */
	unsigned parts_max;
};

/* What may first have to be found out about an endpoint: whether it holds the conditions of ... */
enum store_ready { STORE_READY_PUT, STORE_READY_REMOVE, STORE_READY_PARTS, STORE_READY_N };

struct store;

/* The table a driver or layer fills. A layer passes an operation through by naming the matching
 * store_pass_* function, never by leaving NULL: NULL is "not supported" and a static check in
 * store.c counts the members, so that a new operation makes every table fail to compile until it
 * was looked at. */
struct store_ops {
	const char *name;
	void (*caps)(struct store *s, struct store_caps *ret);
	errint_t (*head)(struct store *s, const struct store_call *c, struct store_obj o,
		struct store_stat *ret, struct err *err);
	errint_t (*get)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len,
		struct err *err);
	errint_t (*put)(struct store *s, const struct store_call *c, struct store_obj o,
		const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
		struct err *err);
	errint_t (*remove)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *if_match, struct err *err);
	errint_t (*remove_many)(struct store *s, const struct store_call *c, const char *bucket,
		const char *const *keys, size_t n, errint_t *ret_each, struct err *err);
	errint_t (*list)(struct store *s, const struct store_call *c, const char *bucket,
		const char *prefix, char delimiter, const char *after, const char *token,
		unsigned max, struct store_page *ret, struct err *err);
	errint_t (*copy)(struct store *s, const struct store_call *c, struct store_obj src,
		struct store_obj dst, const struct store_copy *opt, struct store_stat *ret,
		struct err *err);
	errint_t (*rename)(struct store *s, const struct store_call *c, struct store_obj src,
		struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
		struct err *err);
	errint_t (*set_tier)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *class_name, const char *if_match, struct store_stat *ret,
		struct err *err);
	errint_t (*restore)(struct store *s, const struct store_call *c, struct store_obj o,
		unsigned days, struct err *err);
	errint_t (*parts_begin)(struct store *s, const struct store_call *c, struct store_obj o,
		const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err);
	errint_t (*part_put)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *id, unsigned number, const void *p, size_t len, uint32_t crc32c,
		struct store_part *ret, struct err *err);
	errint_t (*part_copy)(struct store *s, const struct store_call *c, struct store_obj src,
		const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst,
		const char *id, unsigned number, struct store_part *ret, struct err *err);
	errint_t (*parts_list)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *id, struct store_part **ret, size_t *ret_n, struct err *err);
	errint_t (*parts_finish)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *id, const struct store_part *parts, size_t n,
		const struct store_put *cond, struct store_stat *ret, struct err *err);
	errint_t (*parts_abort)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *id, struct err *err);
	errint_t (*parts_pending)(struct store *s, const struct store_call *c, const char *bucket,
		struct store_upload **ret, size_t *ret_n, struct err *err);
	errint_t (*set_meta)(struct store *s, const struct store_call *c, struct store_obj o,
		const char *if_match, const struct store_meta *meta, unsigned nmeta,
		struct store_stat *ret, struct err *err);
	errint_t (*bucket_list)(struct store *s, const struct store_call *c, char ***ret,
		size_t *ret_n, struct err *err);
	errint_t (*bucket_create)(
		struct store *s, const struct store_call *c, const char *bucket, struct err *err);
	errint_t (*bucket_remove)(
		struct store *s, const struct store_call *c, const char *bucket, struct err *err);
	errint_t (*lifecycle_get)(struct store *s, const struct store_call *c, const char *bucket,
		char **ret_json, struct err *err);
	errint_t (*lifecycle_put)(struct store *s, const struct store_call *c, const char *bucket,
		const char *json, struct err *err);
	errint_t (*ready)(struct store *s, const struct store_call *c, const char *bucket,
		enum store_ready what, struct err *err);
	void (*describe)(struct store *s, struct buf *ret);
	void (*destroy)(struct store *s); /* this one only; store_destroy walks the stack */
};

struct store { /* embedded first in each driver's or layer's own struct */
	const struct store_ops *ops;
	struct store *inner; /* owned by the layer; NULL in a driver */
};

/* ---- checked entries: the only way to call a store ---- */

void store_caps(struct store *s, struct store_caps *ret);
/* -ENOENT with ERR_NOT_FOUND only when the store said so. ret is filled on 0; store_stat_done. */
errint_t store_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err);
/* Reads [off, off+len) into p; *ret_len < len only at the object's end. if_match NULL = any
 * version; -ESTALE/ERR_STALE when another version is there. -EIO/ERR_ARCHIVED when offline.
 * Wrong bytes (a checksum that does not hold, an answer that cannot be) are an error, never
 * returned: -EIO/ERR_FINAL where they lie, -EBADMSG/ERR_RETRY where another try may help. With a
 * sink *ret_len is what it took, also when the call fails. */
errint_t store_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err);
/* -ESTALE (if_match) or -EEXIST (if_none_match), both ERR_STALE, when the condition fails.
 * ret may be NULL. The object is durable when this returns 0. */
errint_t store_put(struct store *s, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, const struct store_put *opt, struct store_stat *ret, struct err *err);
/* Not there: -ENOENT/ERR_NOT_FOUND, or 0 where caps.silent_remove. -ENOTEMPTY/ERR_FINAL: a key that
 * ends in '/', of a store that keeps objects as files, with something below it. */
errint_t store_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err);
errint_t store_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err);
/* delimiter 0 = all keys below prefix. token NULL or "" = from the start. */
errint_t store_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *token, unsigned max, struct store_page *ret,
	struct err *err);
/*
 * Where caps.list_after: the page that begins behind a name in the order of bytes, which need not
 * be there; store_list goes on with its token. -EOPNOTSUPP/ERR_FINAL: not here.
 * after begins with prefix and has no delimiter behind it (-EINVAL), so that no group has keys on
 * both sides: such a name never begins with a group's, which ends with the delimiter; where they
 * differ all keys of the group differ in the same way.
 */
errint_t store_list_after(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, unsigned max, struct store_page *ret,
	struct err *err);
errint_t store_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret,
	struct err *err);
/*
 * Gives an object another key in its bucket, where caps.rename: in one step, which is whole or not
 * at all. Bytes, metadata (with the write mark of whoever put it), class and ETag go with it;
 * nobody can see both keys or neither. ret says what is at the new key.
 *	-ESTALE/ERR_STALE	the source, or what was to be overwritten, has another version
 *	-EEXIST/ERR_STALE	dst_if_none_match, and something is there
 *	-ENOENT/ERR_NOT_FOUND	no source
 *	-EOPNOTSUPP/ERR_FINAL	not these two, or not here, or not now: nothing was changed, and
 *				store_copy with store_remove may do it
 *	ERR_UNKNOWN		the answer was lost, or what is at dst now is not what src was:
 *				never repeated. It is done when src is gone and dst has the ETag
 *				that src had; it is not when src has it. The caller looks at both.
 * For objects: markers of directories ("x/") and other buckets are -EOPNOTSUPP.
 */
errint_t store_rename(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
	struct err *err);
/* Changes the class in place where the store can; never reverts a concurrent write. The new
 * version is in ret (the ETag may stay). Out of an offline class: ERR_ARCHIVED unless restored. */
errint_t store_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err);
/* Starts bringing an offline object back for days days; 0 also when already under way. One that is
 * restored stays so long from now on, where that is longer. */
errint_t store_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err);
errint_t store_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err);
errint_t store_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc32c,
	struct store_part *ret, struct err *err);
errint_t store_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err);
/* *ret is malloced. An upload that is not there: -ENOENT/ERR_NOT_FOUND. */
errint_t store_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err);
/* cond carries if_match / if_none_match and, again, the metadata and class of parts_begin, or where
 * caps.meta_at_begin is not set others, which replace them. */
errint_t store_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err);
errint_t store_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err);
errint_t store_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err);
/* Changes the pairs that are named. Others stay, with everything else that the object has: pairs
 * that this seam cannot say, content type, tags, class. -E2BIG/ERR_FINAL when all of it together
 * is too much, and nothing is changed. */
errint_t store_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err);
errint_t store_bucket_list(struct store *s, const struct store_call *c, char ***ret, size_t *ret_n,
	struct err *err); /* free each and the array */
errint_t store_bucket_create(struct store *s, const struct store_call *c, const char *bucket,
	struct err *err); /* there already: -EEXIST */
errint_t store_bucket_remove(struct store *s, const struct store_call *c, const char *bucket,
	struct err *err); /* not empty: -ENOTEMPTY */
errint_t store_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err);
errint_t store_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err);
/* Where caps.asks: finds out what the first such change would else have to wait for, by objects of
 * ours in bucket that go again. At once when it is known. */
errint_t store_ready(struct store *s, const struct store_call *c, const char *bucket,
	enum store_ready what, struct err *err);
/* Appends what was found out so far as a text to be kept, nothing secret; nothing when that is
 * nothing. */
void store_learned(struct store *s, struct buf *ret);
/* Tells it the text of an earlier mount, before anything else is asked. It knows what of it to
 * believe. */
void store_recall(struct store *s, const char *text);
/* Appends for people where it is and as whom it is asked, nothing secret: "https://..., region x,
 * with the key AKIA... of the environment". Complete after a first call. Asks nobody. */
void store_describe(struct store *s, struct buf *ret);
/* Destroys the whole stack; NULL is fine; returns NULL. */
struct store *store_destroy(struct store *s);

/* ---- remotes: configured stacks with a place in the tree ---- */

struct remote_class {
	char name[STORE_CLASS_MAX]; /* provider's word; "" = this tier is not offered */
	bool offline;		    /* reading needs a restore */
	int64_t restore_delay_ns;   /* embedded clouds: how long a restore takes */
};

#define STORE_REMOTE_MAX 63

struct remote {
	char name[STORE_REMOTE_MAX + 1]; /* directory below the mount's root */
	unsigned id;	  /* 1.., stable for a name across mounts (the index assigns it) */
	struct store *st; /* owned; outermost layer */
	char bucket[STORE_BUCKET_MAX + 1]; /* "" = every bucket is a directory */
	char prefix[STORE_KEY_MAX + 1];	   /* "" or ends with '/'; hidden from the tree */
	char provider[16]; /* "aws", "gcp", "azure", "local": which price book applies */
	char region[64];
	char service[320]; /* whose buckets they are: account or host, no port; "" = the only ones
			    */
	bool real;	   /* a provider's: what happens there is paid for */
	struct remote_class classes[TIER_N];
	struct store_caps caps;
};

/* Builds the remotes of a configuration: every [remote NAME] section, or, when there is none, aws,
 * gcp and azure: real where the environment has credentials for one, else embedded under data_dir.
 * Keys of a section:
 *   type=local|mem|...  provider=aws|gcp|azure|local  bucket=  prefix=  region=
 *   class.HOT= class.WARM= class.COLD= class.ARCHIVE=   offline= (classes, comma separated)
 *   restore_delay= (duration; restore_delay.TIER= overrides)
 *   create_bucket=yes|no (default: embedded ones)
 *   retries= retry_delay= (retry)  max_requests= bandwidth= requests_per_second= (limit)
 *   fault= (fault layer; the syntax is at the head of fault.c)
 *   local: path= verify=yes|no sync=yes|no   mem: max_bytes= (default 1G)
 *   others: at the head of their *_conf.c, and in astrafs.conf(5)
 * Unknown keys are errors that name the nearest known one. *ret is an owned array. */
errint_t remotes_build(const struct conf *c, const char *data_dir, struct remote **ret,
	size_t *ret_n, struct err *err);
void remotes_destroy(struct remote *r, size_t n);

#define STORE_ROOT_MAX (2048 + 1024)
struct remote_ident {
	char name[STORE_REMOTE_MAX + 1];
	char root[STORE_ROOT_MAX + 1]; /* its directory, absolute; "" = not on this machine */
	/* For people, and to be kept: "local DIR, bucket B, prefix P/", "s3 of HOST, bucket B". As
	 * long as it is the same, the objects are. It holds nothing secret, and nothing that may
	 * change while they stay: scheme, port, region, credentials; DIR is relative when it is
	 * below home. */
	char is[STORE_ROOT_MAX + STORE_BUCKET_MAX + STORE_KEY_MAX + 400];
};
/* Of those remotes, making nothing; home: a directory that its owner may move, state. *ret is an
 * owned array. */
errint_t remotes_conf_ident(const struct conf *c, const char *data_dir, const char *home,
	struct remote_ident **ret, size_t *ret_n, struct err *err);
/* The same errors of a configuration, making nothing. */
errint_t remotes_conf_check(const struct conf *c, struct err *err);

/* Which tier a class of this remote is; TIER_HOT for an unknown one, and *ret_known false. */
enum tier remote_tier(const struct remote *r, const char *class_name, bool *ret_known);

/* A path below the remote ("bucket/a/b" or "a/b") as bucket and key, the prefix added; out must
 * have STORE_KEY_MAX + STORE_BUCKET_MAX + 2 bytes and holds both strings. -ENAMETOOLONG. */
errint_t remote_obj(const struct remote *r, const char *path, char *out, struct store_obj *ret);

/* The fault layer found in a stack, for tests and `astra` debugging; see fault.c. Replaces its
 * rules; "" removes all. -ENOENT when the stack has none. */
errint_t store_fault_set(struct store *s, const char *rules, struct err *err);

/* A request budget over all remotes; 0 in a field = no such limit. */
struct store_budget;
struct store_budget_conf {
	uint64_t per_minute, per_day;
	money_t money_per_day;
	/* It is used up, of the day or of the minute: once each. Must not block. May be NULL. */
	void (*tell)(void *arg, bool day);
	void *tell_arg;
};
struct store_budget_used {
	uint64_t in_minute, in_day;
	money_t money_today;
};
/* "600/min", "50000/day", "$2/day", joined by '+'. -EINVAL. */
errint_t store_budget_parse(const char *s, struct store_budget_conf *ret);
struct store_budget *store_budget_new(const struct store_budget_conf *conf);
/* err->code of a call that made no request, for the remote does not answer (ERR_RETRY):
 * retry_after_ms says when it is asked again, 0 = it is being asked. */
#define STORE_CODE_BREAKER "breaker"

/* A stack's requests draw on b, which outlives it, at so much each. */
void store_budget_join(struct store *s, struct store_budget *b, money_t read, money_t write);
void store_budget_used(struct store_budget *b, struct store_budget_used *ret);
void store_budget_destroy(struct store_budget *b); /* NULL is fine */

/* Counters of the stats layer as "NAME VALUE" pairs through fn. */
void store_stats_each(struct store *s,
	void (*fn)(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
		uint64_t total_us),
	void *arg);
/* The last failure that says something of the remote, not of one object, until an operation of the
 * same kind succeeds: it does not answer, or not to us, or its bucket is not there. */
struct store_trouble {
	errint_t r;	 /* 0 = none */
	int64_t when_ns; /* wall clock */
	const char *op;
	char key[256], text[400]; /* the key may be cut */
};
void store_trouble(struct store *s, struct store_trouble *ret);
/* Something that is to be sent waits for the remote's own limits (bandwidth, requests), and the
 * remote has no trouble: it goes on by itself. */
bool store_is_slowed(struct store *s);
/* Requests of a remote now. */
struct store_flow {
	unsigned limit; /* at a time: found out, or configured; 0 = none */
	unsigned running, waiting;
	uint64_t refused; /* so far: "slow down" */
};
void store_flow(struct store *s, struct store_flow *ret);
/* "closed" (healthy), "open" (failing fast) or "half-open", of the retry layer's breaker. */
const char *store_breaker_state(struct store *s);

#endif
