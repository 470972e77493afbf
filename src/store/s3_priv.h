/* SPDX-License-Identifier: MIT */
/*
 * Inside the S3 driver.
 *
 *	s3_conf.c    the section of the configuration
 *	s3_send.c    one request: address, signature, what mends itself, errors
 *	s3_head.c    header fields <-> struct store_stat, metadata, checksums
 *	s3.c         head, get, put, remove, restore; the table
 *	s3_copy.c    copy, class and metadata changes
 *	s3_parts.c   multipart uploads
 *	s3_list.c    listings of keys, buckets and uploads
 *	s3_bucket.c  buckets and their life cycle rules
 *	s3_probe.c   whether an endpoint that is not AWS's holds conditions; what it said before
 */
#ifndef STORE_S3_PRIV_H
#define STORE_S3_PRIV_H

#include <stdatomic.h>

#include "astra/base_lock.h"
#include "astra/net.h"
#include "aws_cred.h"
#include "driver.h"
#include "layer.h"
#include "sigv4.h"
#include "xml.h"

#define S3_XMLNS     "http://s3.amazonaws.com/doc/2006-03-01/"
#define S3_PART_MIN  (UINT64_C(5) << 20)
#define S3_PART_MAX  (UINT64_C(5) << 30)
#define S3_PARTS_MAX 10000
#define S3_META_MAX  2048 /* bytes of all user metadata */
#define S3_BATCH_MAX 1000
#define S3_PARAMS    10
#define S3_META	     "x-amz-meta-"

enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_VIRTUAL };
enum s3_sum { S3_SUM_AUTO, S3_SUM_CRC64, S3_SUM_CRC32C, S3_SUM_MD5, S3_SUM_OFF };
enum s3_sse { S3_SSE_NONE, S3_SSE_S3, S3_SSE_KMS, S3_SSE_CUSTOMER };
enum s3_payload { S3_PAYLOAD_AUTO, S3_PAYLOAD_SIGNED, S3_PAYLOAD_UNSIGNED };
enum s3_cond { S3_COND_AUTO, S3_COND_YES, S3_COND_NO };

struct s3_conf {
	char name[64]; /* the remote's, for messages */
	bool aws;      /* AWS itself, which is taken at its word */
	bool dualstack;
	struct net_url endpoint; /* host "" = AWS's, by region */
	char region[64];
	enum s3_style style;
	enum s3_sum sum;
	enum s3_cond cond; /* whether the endpoint holds conditions; AUTO = ask it once */
	enum s3_sse sse;
	char kms_key[256];
	uint8_t customer_key[32]; /* of S3_SSE_CUSTOMER */
	enum s3_payload payload;  /* hashed into the signature; AUTO: what others may change */
	bool requester_pays;
	bool read_metadata;	/* of what a LIST finds, by a HEAD each */
	bool unsafe_transition; /* class changes by a copy that may revert a concurrent write */
	char restore_tier[16];
	struct remote_class classes[TIER_N];
};

#define S3_REGIONS 32

struct s3 {
	struct store store;
	struct s3_conf conf;
	struct net *net;	      /* owned */
	bool stays_here;	      /* requests do not leave this machine */
	struct aws_cred *cred;	      /* owned; NULL = requests are not signed */
	_Atomic int64_t skew_ns;      /* the server's clock less ours */
	_Atomic int64_t bare_told_ns; /* mono; an object without ETag was told; 0 = none seen */
	_Atomic int sum;	      /* enum s3_sum in use; only ever falls */
	atomic_bool sums_stated;      /* the CRC-32C of what was put: it is compared there */
	atomic_bool copy_cond_not;    /* CopyObject refused a condition */
	_Atomic unsigned holds;	      /* S3_HOLDS_*, and S3_ASKED() of what was asked */
	atomic_bool recalled;	      /* some of it by an earlier mount */
	struct lock lock;	      /* RANK_STORE_D */
	struct {
		struct {
			char bucket[64], region[64];
		} place[S3_REGIONS]; /* of buckets elsewhere than conf.region */
		unsigned next;
		/* What the endpoint holds: one asks, the others wait for it. */
		struct s3_ask {
			bool asking;
			unsigned failed;  /* times */
			int64_t until_ns; /* not asked again before (mono) ... */
			errint_t r;	  /* ... for it failed so; 0 = we may not */
			struct err err;
			int as; /* what we go by then */
		} ask[STORE_READY_N];
		int64_t asked_s; /* when, at the earliest; wall clock */
		uint32_t server; /* what called itself so was asked */
	} shared;		 /* lock */
	pthread_cond_t asked;	 /* lock */
};

/* ---- requests ---- */

struct s3_req {
	const char *what, *method;
	const char *bucket, *key; /* NULL: the service; the bucket */
	struct sigv4_param q[S3_PARAMS];
	unsigned nq;
	struct net_fields fields; /* owned; all are signed */
	const void *body;
	size_t body_len;
	bool data; /* the body is an object's: may go unsigned, with its checksum */
	bool slow; /* may take minutes until the first byte of an answer */
	const struct store_call *c;
	void *into; /* these six as in struct net_req */
	size_t into_max;
	errint_t (*accept)(void *arg, const struct net_answer *a, struct err *err);
	void (*filled)(void *arg, size_t have);
	bool (*take)(void *arg, const void *p, size_t n);
	void *arg;
	size_t body_max;
};

void s3_param(struct s3_req *q, const char *name, const char *value);
/* 0: a is an answer of 2xx. Otherwise err has it all. net_answer_done(a) on any return. */
errint_t s3_send(struct s3 *d, struct s3_req *q, struct net_answer *a, struct err *err);
void s3_req_done(struct s3_req *q);
/* As s3_send for requests whose answer says nothing; q is done. */
errint_t s3_send_only(struct s3 *d, struct s3_req *q, struct err *err);
/* Maps <Error> in a body of any status, or a status without one; status 2xx: as a 500. */
errint_t s3_error(
	const struct s3 *d, const struct s3_req *q, const struct net_answer *a, struct err *err);
/* The document of an answer; an <Error> in it is an error, what is no XML -EBADMSG (UNKNOWN for
 * requests that change something). root NULL: of any name. */
errint_t s3_xml(const struct s3 *d, const struct s3_req *q, const struct net_answer *a,
	const char *root, struct xml *ret, struct err *err);
/* -EBADMSG of the kind that fits the request. */
errint_t s3_bad(const struct s3_req *q, struct err *err, const char *what);

/* ---- fields ---- */

void s3_field_etag(struct net_fields *f, const char *name, const char *etag);
void s3_fields_cond(struct net_fields *f, const char *if_match, const char *if_none_match);
void s3_fields_payer(const struct s3 *d, struct net_fields *f);
/* Server-side encryption of what is written. */
void s3_fields_sse(const struct s3 *d, struct net_fields *f);
/* The customer's key, for what is read or written; copy: for the source of a copy. */
void s3_fields_customer(const struct s3 *d, struct net_fields *f, bool copy);
/* Class and metadata of a new object; checks both. class NULL = the store's default. */
errint_t s3_fields_new(const struct s3 *d, struct net_fields *f, const char *class_name,
	const struct store_meta *meta, unsigned n, struct err *err);
errint_t s3_class_check(const struct s3 *d, const char *class_name, struct err *err);
const char *s3_class_default(const struct s3 *d);
/* The checksum of a body in the way in use. */
void s3_fields_sum(
	const struct s3 *d, struct net_fields *f, const void *p, size_t len, uint32_t crc);
/* -EBADMSG unless crc is that of p, or the server finds out: it is told, and compares. */
errint_t s3_crc_check(const struct s3 *d, const void *p, size_t len, uint32_t crc, struct err *err);
/* After an error: the endpoint does not know our checksum and another is used from now on. */
bool s3_sum_fall(struct s3 *d, errint_t r, const struct err *err);
/* Big-endian base64 of a CRC-32C, and back. */
void s3_crc32c_text(uint32_t crc, char ret[9]);
bool s3_crc32c_parse(const char *s, uint32_t *ret);

/* Copies an ETag without its quotes; -EBADMSG for none or one that is too long. */
errint_t s3_etag(const char *v, char ret[STORE_ETAG_MAX]);
/* What the fields of an answer to HEAD, GET or PUT say; not the size. */
errint_t s3_stat(const struct s3 *d, const struct net_answer *a, struct store_stat *ret);
/* Class, restore and archive status. */
void s3_stat_class(const struct s3 *d, struct store_stat *st, const char *class_name,
	const char *restore, const char *archive_status);
bool s3_class_offline(const struct s3 *d, const char *class_name);
/* "2026-01-02T03:04:05.678Z" of listings; 0 for anything else. */
int64_t s3_time(const char *s);
/* Metadata values that are not plain text travel as RFC 2047 words. false without memory. */
bool s3_meta_encode(const char *value, char **ret);
bool s3_meta_decode(const char *value, char **ret);
/* Adds copies of pairs to st. */
bool s3_stat_meta_add(struct store_stat *st, const struct store_meta *meta, unsigned n);

/* ---- whether conditions hold ---- */

#define S3_HOLDS_PUT	1u
#define S3_HOLDS_FINISH 2u
#define S3_HOLDS_REMOVE 4u
#define S3_HOLDS_SUMS	8u /* the checksum of a copied range is that of the range */
#define S3_ASKED(w)	(256u << (w))
#define S3_ASKED_ALL	(256u * ((1u << STORE_READY_N) - 1))
/* Whether uploads may state checksums; asks the endpoint with an object of ours in bucket, once. */
bool s3_sums_hold(struct s3 *d, const struct store_call *c, const char *bucket);
/* store_learned, store_recall */
void s3_learned(struct s3 *d, struct buf *ret);
void s3_recall(struct s3 *d, const char *text);
/* Of each answer while d->recalled. */
void s3_look_server(struct s3 *d, const struct net_answer *a);
/* The endpoint as URL, or "AWS". */
void s3_endpoint_text(const struct s3 *d, struct buf *ret);
/* The next best thing: asks, and says what the server would have said. */
errint_t s3_cond_by_head(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *if_none_match, struct err *err);
/* Adds the conditions to f, or checks them by itself where the endpoint would not. */
errint_t s3_cond(struct s3 *d, const struct store_call *c, struct store_obj o, unsigned what,
	const char *if_match, const char *if_none_match, struct net_fields *f, struct err *err);
/* What a failed condition is called: -EEXIST or -ESTALE. A key that is not there fails If-Match. */
errint_t s3_cond_error(
	const char *if_match, const char *if_none_match, errint_t r, struct err *err);

/* ---- operations in other files ---- */

errint_t s3_head_raw(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *if_match, struct net_answer *a, struct store_stat *ret, struct err *err);
errint_t s3_put_fields(struct s3 *d, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, const struct store_put *opt, const struct net_fields *more,
	struct store_stat *ret, struct err *err);

#define S3_OP(name) errint_t s3_##name(struct store *s, const struct store_call *c,
S3_OP(copy) struct store_obj src, struct store_obj dst, const struct store_copy *opt,
	struct store_stat *ret, struct err *err);
S3_OP(set_tier) struct store_obj o, const char *class_name, const char *if_match,
	struct store_stat *ret, struct err *err);
S3_OP(set_meta) struct store_obj o, const char *if_match, const struct store_meta *meta,
	unsigned nmeta, struct store_stat *ret, struct err *err);
S3_OP(parts_begin) struct store_obj o, const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX],
	struct err *err);
S3_OP(part_put) struct store_obj o, const char *id, unsigned number, const void *p, size_t len,
	uint32_t crc, struct store_part *ret, struct err *err);
S3_OP(part_copy) struct store_obj src, const char *src_if_match, uint64_t off, uint64_t len,
	struct store_obj dst, const char *id, unsigned number, struct store_part *ret,
	struct err *err);
S3_OP(parts_list) struct store_obj o, const char *id, struct store_part **ret, size_t *ret_n,
	struct err *err);
S3_OP(parts_finish) struct store_obj o, const char *id, const struct store_part *parts, size_t n,
	const struct store_put *cond, struct store_stat *ret, struct err *err);
S3_OP(parts_abort) struct store_obj o, const char *id, struct err *err);
S3_OP(parts_pending) const char *bucket, struct store_upload **ret, size_t *ret_n,
	struct err *err);
S3_OP(list) const char *bucket, const char *prefix, char delimiter, const char *after,
	const char *token, unsigned max, struct store_page *ret, struct err *err);
S3_OP(bucket_list) char ***ret, size_t *ret_n, struct err *err);
S3_OP(bucket_create) const char *bucket, struct err *err);
S3_OP(bucket_remove) const char *bucket, struct err *err);
S3_OP(lifecycle_get) const char *bucket, char **ret_json, struct err *err);
S3_OP(lifecycle_put) const char *bucket, const char *json, struct err *err);
S3_OP(ready) const char *bucket, enum store_ready what, struct err *err);
#undef S3_OP

/* parts_begin with fields instead of metadata: what a copy keeps. sums: with checksums. */
errint_t s3_begin_fields(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *class_name, const struct net_fields *more, bool sums,
	char ret_id[STORE_UPLOAD_MAX], struct err *err);

/* "/bucket/key", encoded, as the field that names the source of a copy. */
errint_t s3_source_field(struct net_fields *f, struct store_obj src);
/* A key of a listing as it is: decoded where the answer says that it is encoded. -EBADMSG. */
errint_t s3_listed(const char *s, bool encoded, struct buf *to);
/* parts_finish with the fields of its condition, which it takes. sum: the upload has checksums. */
errint_t s3_finish(struct s3 *d, const struct store_call *c, struct store_obj o, const char *id,
	const struct store_part *parts, size_t n, bool sum, struct net_fields *cond,
	struct store_stat *ret, struct err *err);

/* Takes net and cred, also when it fails. */
errint_t store_s3_new(const struct s3_conf *conf, struct net *net, struct aws_cred *cred,
	struct store **ret, struct err *err);

#endif
