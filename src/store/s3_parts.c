/* SPDX-License-Identifier: MIT */
/*
 * Multipart uploads. With CRC-32C the upload is begun as FULL_OBJECT: each part is checked as it
 * comes, and the checksum of the whole, combined here from those of the parts, when it is finished.
 * A part's checksum is only given on when the server stated it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "s3_priv.h"

#define LIST_BODY_MAX (8u << 20)
#define UPLOADS_MAX   100000

static struct s3_req request(
	const char *what, const char *method, struct store_obj o, const struct store_call *c)
{
	return (struct s3_req){
		.what = what, .method = method, .bucket = o.bucket, .key = o.key, .c = c};
}

/* ---- begin ---- */

/* CRC-64/NVME needs no word: S3 takes it where none was said. */
static void sum_announce(const struct s3 *d, struct net_fields *f)
{
	if (atomic_load(&d->sum) != S3_SUM_CRC32C)
		return;
	(void)net_field_add(f, "x-amz-checksum-algorithm", "CRC32C");
	(void)net_field_add(f, "x-amz-checksum-type", "FULL_OBJECT");
}

struct begin {
	const char *class_name;
	const struct store_meta *meta;
	unsigned nmeta;
	const struct net_fields *more;
	bool sums;
};

static errint_t begin_try(struct s3 *d, const struct store_call *c, struct store_obj o,
	const struct begin *x, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	struct s3_req q = request("parts_begin", "POST", o, c);
	cleanup_xml struct xml doc = {0};
	struct net_answer a = {0};
	const char *id;
	errint_t r = s3_fields_new(d, &q.fields, x->class_name, x->meta, x->nmeta, err);

	for (unsigned i = 0; x->more && i < x->more->n; i++)
		(void)net_field_add(&q.fields, x->more->v[i].name, x->more->v[i].value);
	s3_fields_sse(d, &q.fields);
	if (x->sums)
		sum_announce(d, &q.fields);
	s3_param(&q, "uploads", "");
	r = r ? r : s3_send(d, &q, &a, err);
	r = r ? r : s3_xml(d, &q, &a, "InitiateMultipartUploadResult", &doc, err);
	if (!r) {
		id = xml_child_text(doc.root, "UploadId");
		if (!id || !*id || strlen(id) >= STORE_UPLOAD_MAX)
			r = s3_bad(&q, err, "the answer has no usable upload id");
		else
			memcpy(ret_id, id, strlen(id) + 1);
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

errint_t s3_begin_fields(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *class_name, const struct net_fields *more, bool sums,
	char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	struct begin x = {.class_name = class_name, .more = more, .sums = sums};
	errint_t r;

	do
		r = begin_try(d, c, o, &x, ret_id, err);
	while (s3_sum_fall(d, r, err));
	return r;
}

errint_t s3_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct begin x = {.sums = s3_sums_hold(d, c, o.bucket)};
	errint_t r;

	if (opt) {
		x.class_name = opt->class_name;
		x.meta = opt->meta;
		x.nmeta = opt->nmeta;
	}
	do
		r = begin_try(d, c, o, &x, ret_id, err);
	while (s3_sum_fall(d, r, err));
	return r;
}

/* ---- parts ---- */

static errint_t part_try(struct s3 *d, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct s3_req q = request("part_put", "PUT", o, c);
	struct net_answer a = {0};
	char n[16];
	errint_t r;

	snprintf(n, sizeof(n), "%u", number);
	s3_param(&q, "partNumber", n);
	s3_param(&q, "uploadId", id);
	q.body = p;
	q.body_len = len;
	q.data = true;
	s3_fields_sum(d, &q.fields, p, len, crc);
	s3_fields_customer(d, &q.fields, false);
	r = s3_send(d, &q, &a, err);
	if (!r && s3_etag(net_field_get(&a.fields, "etag"), ret->etag))
		r = s3_bad(&q, err, "the answer has no version");
	if (!r) {
		ret->number = number;
		ret->size = len;
		ret->has_crc32c = s3_crc32c_parse(
			net_field_get(&a.fields, "x-amz-checksum-crc32c"), &ret->crc32c);
		if (ret->has_crc32c && ret->crc32c != crc)
			r = s3_bad(&q, err, "the part has another checksum than what was sent");
		else if (ret->has_crc32c)
			atomic_store(&d->sums_stated, true);
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

errint_t s3_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	errint_t r;

	do {
		r = s3_crc_check(d, p, len, crc, err);
		if (r)
			return r;
		r = part_try(d, c, o, id, number, p, len, crc, ret, err);
	} while (s3_sum_fall(d, r, err));
	return r;
}

/* "/bucket/key" as the name of a source. */
errint_t s3_source_field(struct net_fields *f, struct store_obj src)
{
	cleanup_buf struct buf b = BUF_INIT(8192);

	(void)buf_addf(&b, "/%s/", src.bucket);
	if (net_url_add(&b, src.key, "/"))
		return f->failed = b.failed;
	return net_field_add(f, "x-amz-copy-source", b.p);
}

/* Asked for more than there is: S3 says InvalidRange or InvalidArgument. */
static errint_t copy_error(errint_t r, struct err *err)
{
	if (!strcmp(err->code, "InvalidRange")) {
		err->kind = ERR_FINAL;
		return -EINVAL;
	}
	return r;
}

errint_t s3_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = request("part_copy", "PUT", dst, c);
	cleanup_xml struct xml x = {0};
	struct net_answer a = {0};
	char n[16];
	errint_t r;

	snprintf(n, sizeof(n), "%u", number);
	s3_param(&q, "partNumber", n);
	s3_param(&q, "uploadId", id);
	q.slow = true;
	(void)s3_source_field(&q.fields, src);
	if (src_if_match)
		s3_field_etag(&q.fields, "x-amz-copy-source-if-match", src_if_match);
	if (len)
		(void)net_field_addf(&q.fields, "x-amz-copy-source-range", "bytes=%llu-%llu",
			(unsigned long long)off, (unsigned long long)(off + len - 1));
	s3_fields_customer(d, &q.fields, false);
	s3_fields_customer(d, &q.fields, true);
	r = s3_send(d, &q, &a, err);
	r = r ? copy_error(r, err) : s3_xml(d, &q, &a, "CopyPartResult", &x, err);
	if (!r && s3_etag(xml_child_text(x.root, "ETag"), ret->etag))
		r = s3_bad(&q, err, "the answer has no version");
	if (!r) {
		ret->number = number;
		ret->size = len;
		ret->has_crc32c =
			s3_crc32c_parse(xml_child_text(x.root, "ChecksumCRC32C"), &ret->crc32c);
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* ---- listing the parts of one ---- */

struct parts {
	struct store_part *v; /* owned */
	size_t n;
	int64_t last_ns; /* when the last one came */
	char marker[24];
	bool more;
};

static struct store_part *part_add(struct parts *v)
{
	if (v->n % 256 == 0) {
		struct store_part *p = reallocarray(v->v, v->n + 256, sizeof(*p));

		if (!p)
			return NULL;
		v->v = p;
	}
	return &v->v[v->n++];
}

/* False when it makes no sense. Some servers also list what a later part of the number replaced. */
static bool part_read(const struct _xmlNode *e, struct parts *v, bool *no_memory)
{
	struct store_part *last = v->n ? &v->v[v->n - 1] : NULL, *to, p = {0};
	int64_t came_ns = s3_time(xml_child_text(e, "LastModified"));
	uint64_t number;

	if (xml_child_u64(e, "PartNumber", &number) || number < 1 || number > S3_PARTS_MAX ||
		(last && number < last->number) || xml_child_u64(e, "Size", &p.size) ||
		s3_etag(xml_child_text(e, "ETag"), p.etag))
		return false;
	p.number = (unsigned)number;
	p.has_crc32c = s3_crc32c_parse(xml_child_text(e, "ChecksumCRC32C"), &p.crc32c);
	if (last && number == last->number) {
		if (came_ns < v->last_ns)
			return true;
		to = last;
	} else {
		to = part_add(v);
	}
	*no_memory = !to;
	if (!to)
		return false;
	*to = p;
	v->last_ns = came_ns;
	return true;
}

static errint_t parts_page(
	const struct s3_req *q, const struct xml *x, struct parts *v, struct err *err)
{
	const char *next = xml_child_text(x->root, "NextPartNumberMarker");
	bool no_memory = false;

	for (const struct _xmlNode *e = xml_child(x->root, "Part"); e; e = xml_next(e, "Part"))
		if (!part_read(e, v, &no_memory))
			return no_memory
				       ? err_set(err, -ENOMEM, ERR_RETRY, "%s: no memory", q->what)
				       : s3_bad(q, err, "a part in the answer makes no sense");
	v->more = xml_child_true(x->root, "IsTruncated");
	if (!v->more)
		return 0;
	if (!next || !*next || strlen(next) >= sizeof(v->marker) || !strcmp(next, v->marker))
		return s3_bad(q, err, "the answer does not say where it goes on");
	memcpy(v->marker, next, strlen(next) + 1);
	return 0;
}

static bool same_text(const char *a, const char *b)
{
	return a && !strcmp(a, b);
}

/* The name of the document differs between servers. */
errint_t s3_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct parts v = {0};
	errint_t r;

	do {
		struct s3_req q = request("parts_list", "GET", o, c);
		cleanup_xml struct xml x = {0};
		struct net_answer a = {0};

		s3_param(&q, "uploadId", id);
		if (v.marker[0])
			s3_param(&q, "part-number-marker", v.marker);
		q.body_max = LIST_BODY_MAX;
		s3_fields_customer(d, &q.fields, false);
		r = s3_send(d, &q, &a, err);
		r = r ? r : s3_xml(d, &q, &a, NULL, &x, err);
		if (!r && !same_text(xml_child_text(x.root, "UploadId"), id))
			r = s3_bad(&q, err, "the answer is about another upload");
		r = r ? r : parts_page(&q, &x, &v, err);
		net_answer_done(&a);
		s3_req_done(&q);
	} while (!r && v.more);
	if (r) {
		free(v.v);
		return r;
	}
	*ret = v.v;
	*ret_n = v.n;
	return 0;
}

/* ---- finish ---- */

/* The list of parts; their size, and their checksum where all stated theirs. */
static errint_t finish_body(const struct store_part *parts, size_t n, struct buf *b, uint64_t *size,
	bool *sum, uint32_t *crc)
{
	*size = 0;
	*crc = 0;
	(void)buf_adds(b, "<CompleteMultipartUpload xmlns=\"" S3_XMLNS "\">");
	for (size_t i = 0; i < n; i++) {
		const struct store_part *p = &parts[i];
		char text[9];

		(void)buf_addf(b, "<Part><PartNumber>%u</PartNumber><ETag>&quot;", p->number);
		(void)xml_add(b, NULL, p->etag);
		(void)buf_adds(b, "&quot;</ETag>");
		if (*sum && p->has_crc32c) {
			s3_crc32c_text(p->crc32c, text);
			(void)xml_add(b, "ChecksumCRC32C", text);
		}
		(void)buf_adds(b, "</Part>");
		*sum = *sum && p->has_crc32c;
		*crc = crc32c_combine(*crc, p->crc32c, p->size);
		*size += p->size;
	}
	(void)buf_adds(b, "</CompleteMultipartUpload>");
	return b->failed;
}

/* The version of an object is made of those of its parts, MD5s by which each was put (S3 User
 * Guide, "Checking object integrity": the MD5 of the parts' MD5s, a dash, their number). Not where
 * the server encrypts with keys of others. */
static bool made_of(const char *etag, const struct store_part *parts, size_t n)
{
	uint8_t all[16], *sums = malloc(n * 16);
	char want[48];
	bool ok = sums;

	for (size_t i = 0; ok && i < n; i++)
		ok = !hex_decode(parts[i].etag, &sums[i * 16], 16);
	if (ok) {
		md5(sums, n * 16, all);
		hex_encode(all, sizeof(all), want);
		snprintf(want + 32, sizeof(want) - 32, "-%zu", n);
		ok = !strcmp(etag, want);
	}
	free(sums);
	return ok;
}

/* sum: the checksum went along. A server that states none of the whole has one all the same when it
 * confirmed that of each part, and its version says that these are what the object is made of. */
static errint_t finish_answer(const struct s3 *d, const struct s3_req *q,
	const struct net_answer *a, bool sum, const struct store_part *parts, size_t n,
	uint32_t crc, struct store_stat *ret, struct err *err)
{
	bool known = true;
	cleanup_xml struct xml x = {0};
	const char *date = net_field_get(&a->fields, "date"), *type;
	errint_t r = s3_xml(d, q, a, "CompleteMultipartUploadResult", &x, err);

	if (r)
		return r;
	if (s3_etag(xml_child_text(x.root, "ETag"), ret->etag))
		return s3_bad(q, err, "the answer has no version");
	if (!date || net_date_parse(date, &ret->mtime_ns))
		ret->mtime_ns = clock_now_ns() + atomic_load(&d->skew_ns);
	type = xml_child_text(x.root, "ChecksumType");
	ret->has_crc32c = s3_crc32c_parse(xml_child_text(x.root, "ChecksumCRC32C"), &ret->crc32c) &&
			  !(type && !strcmp(type, "COMPOSITE"));
	if (sum && ret->has_crc32c && ret->crc32c != crc)
		return s3_bad(q, err, "the object has another checksum than its parts");
	for (size_t i = 0; i < n; i++)
		known = known && parts[i].has_crc32c;
	if (!ret->has_crc32c && known && made_of(ret->etag, parts, n)) {
		ret->has_crc32c = true;
		ret->crc32c = crc;
	}
	return 0;
}

errint_t s3_finish(struct s3 *d, const struct store_call *c, struct store_obj o, const char *id,
	const struct store_part *parts, size_t n, bool sum, struct net_fields *cond,
	struct store_stat *ret, struct err *err)
{
	struct s3_req q = request("parts_finish", "POST", o, c);
	cleanup_buf struct buf b = BUF_INIT(8u << 20);
	struct net_answer a = {0};
	uint64_t size;
	uint32_t crc;
	char text[9];
	errint_t r = finish_body(parts, n, &b, &size, &sum, &crc);

	q.fields = *cond;
	*cond = (struct net_fields){0};
	if (r) {
		s3_req_done(&q);
		return err_set(err, r, ERR_RETRY, "parts_finish: no memory");
	}
	s3_param(&q, "uploadId", id);
	q.body = b.p;
	q.body_len = b.len;
	q.slow = true;
	(void)net_field_add(&q.fields, "Content-Type", "application/xml");
	(void)net_field_addf(&q.fields, "x-amz-mp-object-size", "%llu", (unsigned long long)size);
	if (sum) {
		s3_crc32c_text(crc, text);
		(void)net_field_add(&q.fields, "x-amz-checksum-crc32c", text);
		(void)net_field_add(&q.fields, "x-amz-checksum-type", "FULL_OBJECT");
	}
	s3_fields_customer(d, &q.fields, false);
	r = s3_send(d, &q, &a, err);
	if (!r) {
		ret->size = size;
		r = finish_answer(d, &q, &a, sum, parts, n, crc, ret, err);
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

/* What the codes of Complete mean for an upload. */
static errint_t finish_error(const struct store_put *cond, errint_t r, struct err *err)
{
	/* A conflicting change while it was completed: S3 wants all parts again, so that asking
	 * once more is of no use. The caller looks, and starts anew. */
	if (!strcmp(err->code, "ConditionalRequestConflict")) {
		err->kind = ERR_UNKNOWN;
		return -EAGAIN;
	}
	if (!strcmp(err->code, "InvalidPart") || !strcmp(err->code, "InvalidPartOrder") ||
		!strcmp(err->code, "EntityTooSmall")) {
		err->kind = ERR_FINAL;
		return -EINVAL;
	}
	return s3_cond_error(
		cond ? cond->if_match : NULL, cond ? cond->if_none_match : NULL, r, err);
}

errint_t s3_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct net_fields f = {0};
	errint_t r = s3_cond(d, c, o, S3_HOLDS_FINISH, cond ? cond->if_match : NULL,
		cond ? cond->if_none_match : NULL, &f, err);

	if (r) {
		net_fields_done(&f);
		return r;
	}
	r = s3_finish(d, c, o, id, parts, n, s3_sums_hold(d, c, o.bucket), &f, ret, err);
	if (r)
		return finish_error(cond, r, err);
	s3_stat_class(d, ret, cond && cond->class_name ? cond->class_name : s3_class_default(d),
		NULL, NULL);
	if (cond && !s3_stat_meta_add(ret, cond->meta, cond->nmeta)) {
		store_stat_done(ret);
		return err_set(err, -ENOMEM, ERR_UNKNOWN, "parts_finish: no memory");
	}
	return 0;
}

errint_t s3_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	struct s3_req q = request("parts_abort", "DELETE", o, c);

	s3_param(&q, "uploadId", id);
	return s3_send_only((struct s3 *)s, &q, err);
}

/* ---- uploads that were begun ---- */

struct uploads {
	struct store_upload *v; /* owned */
	size_t n;
	char key[STORE_KEY_MAX + 1], id[STORE_UPLOAD_MAX]; /* where to go on */
	bool more;
};

/* A key of a listing, as it is: decoded where the answer says that it is encoded. */
errint_t s3_listed(const char *s, bool encoded, struct buf *to)
{
	cleanup_free char *copy = NULL;

	buf_reset(to);
	(void)buf_adds(to, "");
	if (!s)
		return -EBADMSG;
	if (!encoded)
		return buf_adds(to, s);
	copy = strdup(s);
	if (!copy)
		return -ENOMEM;
	for (char *p = copy; *p; p++)
		if (*p == '+')
			*p = ' ';
	return net_url_decode(to, copy, strlen(copy));
}

static bool copy_text(char *to, size_t size, const char *s)
{
	if (!s || strlen(s) >= size)
		return false;
	memcpy(to, s, strlen(s) + 1);
	return true;
}

static errint_t uploads_page(
	const struct s3_req *q, const struct xml *x, struct uploads *v, struct err *err)
{
	const char *enc = xml_child_text(x->root, "EncodingType");
	bool encoded = enc && !strcmp(enc, "url");
	cleanup_buf struct buf key = BUF_INIT(8192);
	const struct _xmlNode *e;

	for (e = xml_child(x->root, "Upload"); e && v->n < UPLOADS_MAX; e = xml_next(e, "Upload")) {
		struct store_upload *u;

		if (v->n % 64 == 0) {
			u = reallocarray(v->v, v->n + 64, sizeof(*u));
			if (!u)
				return err_set(err, -ENOMEM, ERR_RETRY, "%s: no memory", q->what);
			v->v = u;
		}
		u = &v->v[v->n];
		*u = (struct store_upload){.started_ns = s3_time(xml_child_text(e, "Initiated"))};
		if (s3_listed(xml_child_text(e, "Key"), encoded, &key) ||
			!copy_text(u->key, sizeof(u->key), key.p) ||
			!copy_text(u->id, sizeof(u->id), xml_child_text(e, "UploadId")) ||
			!u->key[0] || !u->id[0])
			return s3_bad(q, err, "an upload in the answer makes no sense");
		v->n++;
	}
	v->more = xml_child_true(x->root, "IsTruncated") && v->n < UPLOADS_MAX;
	if (!v->more)
		return 0;
	if (s3_listed(xml_child_text(x->root, "NextKeyMarker"), encoded, &key) || !key.len ||
		(same_text(xml_child_text(x->root, "NextUploadIdMarker"), v->id) &&
			!strcmp(key.p, v->key)) ||
		!copy_text(v->key, sizeof(v->key), key.p) ||
		!copy_text(v->id, sizeof(v->id), xml_child_text(x->root, "NextUploadIdMarker")))
		return s3_bad(q, err, "the answer does not say where it goes on");
	return 0;
}

errint_t s3_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct uploads v = {0};
	errint_t r;

	do {
		struct s3_req q =
			request("parts_pending", "GET", (struct store_obj){bucket, NULL}, c);
		cleanup_xml struct xml x = {0};
		struct net_answer a = {0};

		s3_param(&q, "uploads", "");
		s3_param(&q, "encoding-type", "url");
		if (v.key[0]) {
			s3_param(&q, "key-marker", v.key);
			s3_param(&q, "upload-id-marker", v.id);
		}
		q.body_max = LIST_BODY_MAX;
		r = s3_send(d, &q, &a, err);
		r = r ? r : s3_xml(d, &q, &a, "ListMultipartUploadsResult", &x, err);
		r = r ? r : uploads_page(&q, &x, &v, err);
		net_answer_done(&a);
		s3_req_done(&q);
	} while (!r && v.more);
	if (r) {
		free(v.v);
		return r;
	}
	*ret = v.v;
	*ret_n = v.n;
	return 0;
}
