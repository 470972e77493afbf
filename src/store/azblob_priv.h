/* SPDX-License-Identifier: MIT */
/* Inside the Azure Blob driver. docs/design/azblob.md tells how the seam maps to its REST. */
#ifndef STORE_AZBLOB_PRIV_H
#define STORE_AZBLOB_PRIV_H

#include <sys/queue.h>

#include "astra/base_buf.h"
#include "astra/base_hash.h"
#include "astra/base_lock.h"
#include "astra/net.h"
#include "astra/store.h"
#include "azblob_cred.h"

/* Cold needs 2021-12-02, errors in HEAD and names escaped in lists 2021-02-12. */
#define AZ_API_VERSION "2025-07-05"

#define AZ_BLOCK_MAX  (UINT64_C(4000) << 20)
#define AZ_BLOCKS_MAX 50000
#define AZ_BLOCK_ID   64   /* bytes of an id, before base64 */
#define AZ_META_MAX   4096 /* bytes of metadata: 8 KiB there, some of it escaped */
#define AZ_META_ALL   8192
#define AZ_URL_MAX    (16u << 10)
#define AZ_LIST_MAX   (32u << 20) /* bytes of an answer's XML */
#define AZ_ARCHIVE    "Archive"	  /* the class that is offline */

enum azblob_sum { AZ_SUM_AUTO, AZ_SUM_CRC64, AZ_SUM_MD5, AZ_SUM_OFF };

struct azblob_conf {
	char name[64];	/* of the remote: for messages */
	char base[600]; /* "https://x.blob.core.windows.net", a path possible, no '/' at the end */
	char dfs[600];	/* likewise, of the Data Lake interface; "" = there is none */
	bool tls;
	struct remote_class classes[TIER_N];
	enum azblob_sum sum; /* what blocks and blobs carry on their way up */
	bool verify;	     /* ask for a checksum of what is read */
	bool rehydrate_high;
	bool delete_snapshots;
	int hns; /* hierarchical name space: 0, 1, or -1 to be asked */
	struct net_conf net;
};

struct azblob_block {
	char id[BASE64_LEN(AZ_BLOCK_ID) + 1]; /* as the service has it */
	uint64_t size;
	bool committed; /* in a list to commit: where it is taken from */
};
struct azblob_blocks {
	struct azblob_block *committed, *waiting; /* owned */
	size_t ncommitted, nwaiting;
	char etag[STORE_ETAG_MAX]; /* of what is committed; "" = nothing is */
};

struct azblob_upload {
	LIST_ENTRY(azblob_upload) link;
	char id[STORE_UPLOAD_MAX], mark[64];
	char *bucket, *key; /* owned */
	int64_t started_ns;
	unsigned puts; /* blocks sent so far, for their sequence numbers */
	/* What its parts are copied from, as last seen. */
	uint64_t src; /* hash of the name; with the ETag */
	char src_etag[STORE_ETAG_MAX];
	uint64_t src_size;
	bool has_base;
	struct azblob_blocks base; /* of the blob itself, when it copies its own */
};

struct azblob {
	struct store store;
	struct azblob_conf conf;
	struct net *net;	  /* owned */
	struct azblob_cred *cred; /* owned */
	_Atomic int64_t skew_ns;  /* of the service's clock */
	atomic_int hns;
	_Atomic int64_t rename_mono_ns; /* not before: it was refused, or nobody answered there */
	atomic_uint range_sum;		/* enum azblob_sum of ranges read: what the service knows */
	atomic_uint inferred; /* enum tier of blobs that were given none: learnt from answers */
	struct lock lock;     /* RANK_STORE_D */
	struct {
		LIST_HEAD(, azblob_upload) uploads; /* of this process, the newest first */
		unsigned n;
	} shared; /* lock */
};

/* ---- azblob_req.c: one request ---- */

struct azblob_req {
	const char *op, *method; /* op: for messages */
	struct store_obj o;	 /* likewise; both may be NULL */
	struct buf url;
	struct net_fields f;
	struct net_req q; /* body, into, accept, ...: what net is to have beyond that */
};
/* Appends "/BUCKET/KEY", encoded. */
void azblob_path(struct store_obj o, struct buf *ret);
/* URL of a bucket's or an object's (bucket, key NULL: of the account's) resource. */
void azblob_url(const struct azblob *d, struct store_obj o, struct buf *ret);
void azblob_req_init(const struct azblob *d, struct azblob_req *r, const char *op,
	const char *method, struct store_obj o);
void azblob_req_done(struct azblob_req *r);
/* Sends it, authorised; again once after a refused token or a clock found wrong. A status other
 * than 2xx is an error. a must be given to net_answer_done on any return. */
errint_t azblob_send(struct azblob *d, const struct store_call *c, struct azblob_req *r,
	struct net_answer *a, struct err *err);
/* Puts the remote, the operation and the object before err's message; returns e. */
errint_t azblob_named(
	const struct azblob *d, const struct azblob_req *r, errint_t e, struct err *err);
/* What an answer with an error says; never 0. reads: the request changes nothing. */
errint_t azblob_error(const struct net_answer *a, bool reads, struct err *err);
/* Wall clock of the service. */
int64_t azblob_now_ns(const struct azblob *d);
/* Adds If-Match and If-None-Match; etag without quotes. */
void azblob_if(struct net_fields *f, const char *if_match, const char *if_none_match);
/* Whether this account has directories of its own. */
errint_t azblob_hns(struct azblob *d, const struct store_call *c, bool *ret, struct err *err);

/* ---- azblob_meta.c: names, metadata, properties ---- */

/* Whether a blob can have that name. */
bool azblob_key_ok(const char *key);
bool azblob_bucket_ok(const char *bucket);
errint_t azblob_obj_check(struct store_obj o, struct err *err);
/* Metadata names: lower case, digits and '-' here; C# identifiers there. */
errint_t azblob_meta_name(struct buf *b, const char *key);
/* False: none that we could have. ret has STORE_KEY_MAX + 1 bytes. */
bool azblob_meta_key(const char *name, char *ret);
/* Values: any UTF-8 here, printable ASCII there. */
errint_t azblob_meta_value(struct buf *b, const char *value);
errint_t azblob_meta_plain(struct buf *b, const char *value);
void azblob_meta_add(struct net_fields *f, const struct store_meta *m, unsigned n);
/* Appends a pair as it came to st; pairs that cannot be ours are left out. False: no memory. */
bool azblob_meta_take(struct store_stat *st, const char *name, const char *value);
/* ETag without quotes; -EBADMSG when it is none. */
errint_t azblob_etag(const char *value, char ret[STORE_ETAG_MAX]);
/* Class, archived, restoring from a tier and an archive status, either NULL. */
void azblob_tier(struct azblob *d, const char *tier, const char *status, bool inferred,
	struct store_stat *st);
/* The properties in the fields of an answer about a blob; size only where has_size. */
errint_t azblob_stat(struct azblob *d, const struct net_answer *a, struct store_obj o,
	bool has_size, struct store_stat *ret, struct err *err);
/* ETag and time of a blob just written, and of what the request said about it. */
errint_t azblob_stat_written(struct azblob *d, const struct net_answer *a, struct store_obj o,
	uint64_t size, const char *class_name, const struct store_meta *m, unsigned nmeta,
	struct store_stat *ret, struct err *err);

/* ---- azblob.c ---- */

/* "x/" of an account with directories is its directory x: then *o becomes x (in name). */
errint_t azblob_marker(struct azblob *d, const struct store_call *c, struct store_obj *o,
	char name[STORE_KEY_MAX + 1], bool *ret_dir, struct err *err);
/* fields, where given, is emptied into by the answer's: to be freed by the caller. */
errint_t azblob_head_if(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *if_match, struct store_stat *ret, struct net_fields *ret_fields,
	struct err *err);

/* Whether a write was refused because what it would overwrite is offline. */
bool azblob_in_the_way(const struct err *err);
/* Removes that, if the write's conditions hold for it; it is then to be written if absent. */
errint_t azblob_make_way(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *if_none_match, struct err *err);

/* ---- azblob_get.c ---- */

errint_t azblob_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err);

/* ---- azblob_list.c ---- */

errint_t azblob_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err);
errint_t azblob_bucket_list(
	struct store *s, const struct store_call *c, char ***ret, size_t *ret_n, struct err *err);
errint_t azblob_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err);
errint_t azblob_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err);

/* ---- azblob_block.c: block ids and block lists ---- */

void azblob_blocks_done(struct azblob_blocks *b);
/* A blob that is not there has neither: 0 with *ret empty, unless its container is missing. */
errint_t azblob_blocks_get(struct azblob *d, const struct store_call *c, struct store_obj o,
	struct azblob_blocks *ret, struct err *err);

/* What an id of ours says. */
struct azblob_block_id {
	uint64_t random;   /* of the upload */
	unsigned len;	   /* bytes of the id */
	uint32_t index;	   /* of the block */
	bool has_crc;	   /* the id has room for the rest */
	uint32_t crc32c;   /* of the block's bytes */
	uint16_t sequence; /* the later of two for one index is the higher */
};
#define AZ_ID_LEN     18 /* bytes: 8 random, 4 index, 4 CRC, 2 sequence */
#define AZ_ID_LEN_MIN 6	 /* 4 random, 2 index */
void azblob_id_make(const struct azblob_block_id *id, char ret[BASE64_LEN(AZ_BLOCK_ID) + 1]);
/* False: not of this upload (random and len of id are given). */
bool azblob_id_read(const char *text, struct azblob_block_id *id);
/* Sends one block, or has the service copy it from src. */
errint_t azblob_block_put(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *id, const void *p, size_t len, struct err *err);
errint_t azblob_block_copy(struct azblob *d, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj o, const char *id,
	struct err *err);
/* The length of ids that go with what lies there. */
errint_t azblob_id_len(const struct azblob_blocks *b, unsigned *ret, struct err *err);
/*
 * Put Blob and copies may refuse to write if absent (refused: -EEXIST) where there are only blocks
 * that nobody committed, as a killed upload leaves them: no blob, but to Azurite its name is taken.
 * 0 where that is so, and a commit, whose condition looks at blobs alone, can do the same; refused,
 * and err as it was, when a blob is there. *ret_id_len: as azblob_id_len.
 */
errint_t azblob_blocks_alone(struct azblob *d, const struct store_call *c, struct store_obj o,
	errint_t refused, unsigned *ret_id_len, struct err *err);
/* Put Block List with further fields f: conditions, tier, metadata. a: net_answer_done. */
errint_t azblob_commit(struct azblob *d, const struct store_call *c, struct store_obj o,
	const struct azblob_block *v, size_t n, const struct net_fields *f, struct net_answer *a,
	struct err *err);
/* Whether version etag consists of these blocks; ERR_UNKNOWN when it does not or cannot be told. */
errint_t azblob_commit_check(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *etag, const struct azblob_block *v, size_t n, struct err *err);

/* ---- azblob_parts.c, azblob_copy.c: operations of the seam ---- */

errint_t azblob_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err);
errint_t azblob_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc32c,
	struct store_part *ret, struct err *err);
errint_t azblob_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err);
errint_t azblob_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err);
errint_t azblob_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err);
errint_t azblob_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err);
errint_t azblob_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err);
void azblob_uploads_done(struct azblob *d);
errint_t azblob_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret,
	struct err *err);

/* ---- azblob_rename.c ---- */

errint_t azblob_rename(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_rename *opt, struct store_stat *ret,
	struct err *err);

/* Takes cred (also when it fails). */
errint_t store_azblob_new(const struct azblob_conf *conf, struct azblob_cred_conf *cred,
	struct store **ret, struct err *err);

#endif
