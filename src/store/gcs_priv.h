/* SPDX-License-Identifier: MIT */
/*
 * Inside the Google Cloud Storage driver. docs/design/gcs.md tells how the seam maps to its JSON
 * API.
 *
 *	gcs_conf.c    the section of the configuration
 *	gcs_cred.c    the access token in use;  gcs_token.c  where tokens come from
 *	gcs_req.c     a request: address, identity, answer, and what an error means
 *	gcs_obj.c     an object's resource as JSON, both ways
 *	gcs_up.c      bytes on their way up: insert, resumable session
 *	gcs.c         objects;  gcs_copy.c  rewrites;  gcs_parts.c  uploads in parts
 *	gcs_list.c    listings of keys;  gcs_bucket.c  buckets
 *	gcs_xml.c     all of that by the XML API, for HMAC keys
 */
#ifndef STORE_GCS_PRIV_H
#define STORE_GCS_PRIV_H

#include "astra/base_buf.h"
#include "astra/base_json.h"
#include "astra/base_lock.h"
#include "astra/net.h"
#include "astra/store.h"
#include "aws_cred.h"
#include "gcs_cred.h"
#include "layer.h"
#include "sigv4.h"

#define GCS_URL_MAX	  (32u << 10)
#define GCS_BODY_MAX	  (64u << 20) /* of an answer's JSON: a page of entries with metadata */
#define GCS_GEN_MAX	  20	      /* digits of a generation */
#define GCS_BUCKETS_KNOWN 32
#define GCS_UPLOADS_KNOWN 64
#define GCS_UPLOAD_ID	  32   /* hex digits: 16 of chance, 16 of the key */
#define GCS_META_MAX	  6500 /* Google takes 8192, with those of ours for an upload in parts */
#define GCS_META_ALL	  8192
#define GCS_COMPOSE_MAX	  32	     /* sources of one compose */
#define GCS_PARTS_MAX	  10000	     /* three levels of them */
#define GCS_ONLINE	  "STANDARD" /* the class of what is there for a moment */
#define GCS_PARAMS	  8	     /* of a request of the XML API */

/* Where one request may take its time before the first byte of an answer. */
#define GCS_SLOW_NS (90 * NS_PER_S)

struct gcs_conf {	      /* strings borrowed for the call of store_gcs_new */
	const char *endpoint; /* "https://storage.googleapis.com", no '/' at the end */
	const char *project, *user_project, *kms_key, *location, *bucket;
	bool has_customer_key;
	bool read_metadata; /* with an HMAC key: of what a LIST finds, by a HEAD each */
	uint8_t customer_key[32];
	uint64_t insert_max; /* bytes of one insert; more go by a resumable session; 0 = default */
	struct remote_class classes[TIER_N];
};

enum gcs_known { GCS_UNKNOWN, GCS_NO, GCS_YES };

struct gcs_bucket { /* what matters of a bucket */
	char name[STORE_BUCKET_MAX + 1];
	int64_t asked_mono_ns;
	enum gcs_known autoclass, versioning, soft_delete;
};

struct gcs_upload { /* one that was found to exist a moment ago */
	char id[GCS_UPLOAD_ID + 1];
	char bucket[STORE_BUCKET_MAX + 1];
	int64_t seen_mono_ns;
};

struct gcs {
	struct store store;
	struct gcs_conf conf;			  /* strings owned, but for bucket, which is NULL */
	struct net *net;			  /* owned */
	struct gcs_cred *cred;			  /* owned; NULL = anonymous, or: */
	struct aws_cred *hmac;			  /* owned; with it all goes by the XML API */
	_Atomic int64_t skew_ns;		  /* with it: the server's clock less ours */
	struct net_fields customer, customer_src; /* fields with the customer's key */
	struct lock lock;			  /* RANK_STORE_D */
	struct {
		struct gcs_bucket bucket[GCS_BUCKETS_KNOWN];
		struct gcs_upload upload[GCS_UPLOADS_KNOWN];
		unsigned upload_next;
		/* of any bucket asked about */
		bool versioning, soft_delete, auto_tier;
	} shared; /* lock */
};

/* Takes net and what is given of cred and hmac, also when it fails. Neither = anonymous. */
errint_t store_gcs_new(const struct gcs_conf *conf, struct net *net, struct gcs_cred *cred,
	struct aws_cred *hmac, struct store **ret, struct err *err);

/* ---- requests (gcs_req.c) ---- */

struct gcs_req {
	struct gcs *g;
	const struct store_call *c;
	const char *what;   /* "get", for messages */
	struct store_obj o; /* for messages; key may be NULL */
	struct buf url;
	struct net_fields fields;
	struct net_req q;		  /* url, fields, deadline, cancel are set by gcs_req_run */
	char *body;			  /* owned; of gcs_req_body */
	bool elsewhere;			  /* the URL was given to us: nothing is added to it */
	bool xml;			  /* of the XML API: signed, conditions are fields */
	struct sigv4_param p[GCS_PARAMS]; /* then: the query, borrowed until it was run */
	unsigned np;
	bool changes; /* a lost answer may have done it */
	bool absent;  /* the condition is that there is none: what fails is -EEXIST */
	int also;     /* a status that is no error either; 0 = none */
	struct net_answer a;
	json_t *json; /* of a 2xx answer, NULL when it has no body or went elsewhere; not xml */
};

/* The root of an address: "/storage/v1" or "/upload/storage/v1". */
void gcs_req_init(struct gcs_req *r, struct gcs *g, const struct store_call *c, const char *what,
	const char *method, const char *root);
void gcs_req_done(struct gcs_req *r);
#define cleanup_gcs_req __attribute__((cleanup(gcs_req_done)))
/* Appends "/b/BUCKET", "/b/BUCKET/o/KEY", and what the messages name. */
void gcs_req_bucket(struct gcs_req *r, const char *bucket);
void gcs_req_obj(struct gcs_req *r, struct store_obj o);
void gcs_req_param(struct gcs_req *r, const char *name, const char *value);
/* ifGenerationMatch (or another name): a version of ours, or "0" for none_match. -ESTALE,
 * ERR_STALE for what cannot be a generation: that version is not there. */
errint_t gcs_req_cond(struct gcs_req *r, const char *name, const char *if_match,
	const char *if_none_match, struct err *err);
/* A JSON body; takes it. */
errint_t gcs_req_body(struct gcs_req *r, json_t *body, struct err *err);
/* Sends it: 2xx and r->also are success. A refused token is renewed once. */
errint_t gcs_req_run(struct gcs_req *r, struct err *err);
/* The answer is not what was agreed on: -EBADMSG, of the kind that fits. */
errint_t gcs_req_bad(struct gcs_req *r, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
errint_t gcs_no_memory(struct err *err);
/* True for digits that do not start with 0. */
bool gcs_gen_ok(const char *s);
/* -EILSEQ, ERR_FINAL for a key that Google does not take. */
errint_t gcs_key_check(const char *key, struct err *err);

/* ---- resources (gcs_obj.c) ---- */

/* A number that may come as a string of digits. */
bool gcs_json_u64(const json_t *j, const char *name, uint64_t *ret);
bool gcs_json_time(const json_t *j, const char *name, int64_t *ret_ns);
/* base64 of a big-endian CRC-32C, as Google writes it. */
bool gcs_crc_parse(const char *text, uint32_t *ret);
void gcs_crc_format(uint32_t crc, char ret[9]);
/* False when the resource is not whole (it has no size or generation), or without memory. */
bool gcs_stat_read(const json_t *j, struct store_stat *ret);
/* Puts the pairs into j. -EILSEQ, ERR_FINAL for what is not UTF-8. */
errint_t gcs_meta_json(const struct store_meta *m, unsigned n, json_t *j, struct err *err);
/* A resource with name, class and metadata, those that are not NULL; decref it. -EILSEQ, ERR_FINAL
 * for metadata that is not UTF-8. */
errint_t gcs_resource(const char *key, const char *class_name, const struct store_meta *m,
	unsigned n, json_t **ret, struct err *err);

/* ---- objects (gcs.c) ---- */

/* The whole resource of an object, with what a rewrite has to restate; decref it. */
errint_t gcs_object(struct gcs *g, const struct store_call *c, struct store_obj o, json_t **ret,
	struct err *err);
errint_t gcs_remove_version(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *generation, struct err *err);

/* ---- on the way up (gcs_up.c) ---- */

struct gcs_up { /* one object to be written from memory */
	struct store_obj o;
	const char *class_name; /* NULL = the bucket's */
	const struct store_meta *meta;
	unsigned nmeta;
	const char *if_match, *if_none_match;
	const char *type; /* NULL = application/octet-stream */
	uint32_t crc32c;
};
errint_t gcs_up(struct gcs *g, const struct store_call *c, const struct gcs_up *up, const void *p,
	size_t len, struct store_stat *ret, struct err *err);

/* ---- rewrites (gcs_copy.c) ---- */

struct gcs_rewrite {
	struct store_obj src, dst;
	const char *src_generation;	      /* pinned */
	const char *if_match, *if_none_match; /* of dst */
	json_t *resource;		      /* of dst, borrowed */
	const json_t *source; /* of src: what came must have its size and checksum */
};
errint_t gcs_rewrite(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	struct store_stat *ret, struct err *err);
/* Everything of a source that is not its content, with another class and metadata; decref it. */
errint_t gcs_restate(
	const json_t *source, const char *class_name, json_t *meta, json_t **ret, struct err *err);
errint_t gcs_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret,
	struct err *err);
errint_t gcs_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err);

/* ---- lists (gcs_list.c) ---- */

errint_t gcs_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err);
/* Each object below prefix, in order, with its resource; ends early when fn returns non-zero. */
errint_t gcs_each(struct gcs *g, const struct store_call *c, const char *bucket, const char *prefix,
	char delimiter, errint_t (*fn)(void *arg, const json_t *item, struct err *err), void *arg,
	struct err *err);

/* ---- buckets (gcs_bucket.c) ---- */

errint_t gcs_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err);
errint_t gcs_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err);
errint_t gcs_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err);
errint_t gcs_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err);
errint_t gcs_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err);
/* What is known about a bucket, asked for when it is not or was long ago; all GCS_UNKNOWN when it
 * may not be asked. */
struct gcs_bucket gcs_bucket_get(struct gcs *g, const struct store_call *c, const char *bucket);

/* ---- the XML API (gcs_xml.c); resources as the JSON API has them, decref them ---- */

void gcs_xml_init(struct gcs_req *r, struct gcs *g, const struct store_call *c, const char *what,
	const char *method, struct store_obj o);
/* Adds the signature over all that f has. access: of the key that was used. */
errint_t gcs_xml_sign(struct gcs_req *r, struct net_fields *f, char access[132], struct err *err);
/* Whether the refusal tells how to do it right: by another clock, or a key that was replaced. */
bool gcs_xml_mend(struct gcs_req *r, const char *access);
/* Code and words of an error. */
void gcs_xml_error(const struct net_answer *a, char reason[64], char *text, size_t size,
	const char *otherwise);
/* generation NULL = the present one. */
errint_t gcs_xml_head(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *what, const char *generation, json_t **ret, struct err *err);
errint_t gcs_xml_put(struct gcs *g, const struct store_call *c, const struct gcs_up *up,
	const json_t *resource, const void *p, size_t len, json_t **ret, struct err *err);
errint_t gcs_xml_copy(struct gcs *g, const struct store_call *c, const struct gcs_rewrite *w,
	json_t **ret, struct err *err);
errint_t gcs_xml_compose(struct gcs *g, const struct store_call *c, struct store_obj to,
	const char *if_match, const char *if_none_match, const json_t *resource,
	const json_t *sources, json_t **ret, struct err *err);
errint_t gcs_xml_remove(struct gcs *g, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *generation, struct err *err);
/* A page: after is a name, token (NULL = none) goes on where it ended. */
errint_t gcs_xml_list(struct gcs *g, const struct store_call *c, const char *bucket,
	const char *prefix, const char *delimiter, const char *after, const char *token,
	const char *max, json_t **ret, struct err *err);
errint_t gcs_xml_buckets(struct gcs *g, const struct store_call *c, json_t **ret, struct err *err);
errint_t gcs_xml_bucket_create(
	struct gcs *g, const struct store_call *c, const char *bucket, struct err *err);
errint_t gcs_xml_bucket_remove(
	struct gcs *g, const struct store_call *c, const char *bucket, struct err *err);
/* -EOPNOTSUPP: that is not to be had this way. */
errint_t gcs_xml_not(const char *what, struct err *err);

/* ---- uploads (gcs_parts.c) ---- */

errint_t gcs_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err);
errint_t gcs_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err);
errint_t gcs_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err);
errint_t gcs_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err);
errint_t gcs_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err);
errint_t gcs_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err);

#endif
