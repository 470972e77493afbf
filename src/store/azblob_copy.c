/* SPDX-License-Identifier: MIT */
/*
 * Copies inside the account, by the service. Up to 256 MiB one request does it (Copy Blob From
 * URL); larger ones are copied block by block and committed, so that nothing is seen of them before
 * they are whole. Those blocks have ids that depend on the source's version alone: a copy that was
 * interrupted goes on with what is there, and two that copy the same cannot disturb each other.
 *
 * Metadata is passed on field by field, also what the seam could not say.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "azblob_priv.h"
#include "driver.h"
#include "xml.h"

#define ONE_MAX	      (UINT64_C(256) << 20)
#define BLOCK	      (UINT64_C(256) << 20)
#define COPY_STALL_NS (300 * NS_PER_S)
#define TAGS_MAX      (64u << 10)

struct copy {
	struct azblob *d;
	const struct store_call *c;
	struct store_obj src, dst;
	const struct store_copy *opt;
	struct store_stat st;			    /* of the source */
	struct net_fields fields;		    /* the source's properties */
	const char *class_name;			    /* to ask for; NULL = what the account gives */
	struct store_meta meta[STORE_META_MAX + 1]; /* what the copy has, for the caller */
	unsigned nmeta;
};

static void meta_choose(struct copy *x)
{
	const struct store_copy *opt = x->opt;

	for (unsigned i = 0; opt->replace_meta && i < opt->nmeta; i++)
		x->meta[x->nmeta++] = opt->meta[i];
	for (unsigned i = 0; !opt->replace_meta && i < x->st.nmeta; i++)
		if (!opt->write_mark || strcmp(x->st.meta[i].key, STORE_META_WRITE) != 0)
			x->meta[x->nmeta++] =
				(struct store_meta){x->st.meta[i].key, x->st.meta[i].value};
	if (opt->write_mark && x->nmeta < STORE_META_MAX)
		x->meta[x->nmeta++] = (struct store_meta){STORE_META_WRITE, opt->write_mark};
}

static errint_t source_look(struct copy *x, struct err *err)
{
	const char *inferred;
	errint_t r =
		azblob_head_if(x->d, x->c, x->src, x->opt->src_if_match, &x->st, &x->fields, err);

	if (r)
		return r;
	if (x->st.archived)
		return err_set(err, -EIO, ERR_ARCHIVED, "%s/%s is in the offline class %s%s",
			x->src.bucket, x->src.key, AZ_ARCHIVE,
			x->st.restoring ? " and being rehydrated" : "");
	inferred = net_field_get(&x->fields, "x-ms-access-tier-inferred");
	x->class_name = x->opt->class_name;
	if (!x->class_name && net_field_get(&x->fields, "x-ms-access-tier") &&
		!(inferred && !strcmp(inferred, "true")))
		x->class_name = x->st.class_name;
	meta_choose(x);
	return driver_meta_check(x->opt->replace_meta ? x->meta : NULL,
		x->opt->replace_meta ? x->nmeta : 0, AZ_META_MAX, err);
}

/* Class and metadata of the destination. */
static void fields_make(const struct copy *x, struct net_fields *f)
{
	const struct store_meta mark = {STORE_META_WRITE, x->opt->write_mark};
	char key[STORE_KEY_MAX + 1];
	size_t skip = strlen("x-ms-meta-");

	if (x->class_name)
		(void)net_field_add(f, "x-ms-access-tier", x->class_name);
	if (x->opt->replace_meta) {
		azblob_meta_add(f, x->meta, x->nmeta);
		return;
	}
	for (unsigned i = 0; i < x->fields.n; i++) {
		const struct net_field *v = &x->fields.v[i];

		if (strncasecmp(v->name, "x-ms-meta-", skip) != 0 ||
			(mark.value && azblob_meta_key(v->name + skip, key) &&
				!strcmp(key, STORE_META_WRITE)))
			continue;
		(void)net_field_add(f, v->name, v->value);
	}
	if (mark.value)
		azblob_meta_add(f, &mark, 1);
}

/* ---- in one request ---- */

static errint_t one_send(struct copy *x, const char *if_match, const char *if_none_match,
	struct store_stat *ret, struct err *err)
{
	cleanup_buf struct buf url = BUF_INIT(AZ_URL_MAX);
	const char *tags = net_field_get(&x->fields, "x-ms-tag-count"), *status;
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(x->d, &r, "copy", "PUT", x->dst);
	azblob_if(&r.f, if_match, if_none_match);
	fields_make(x, &r.f);
	azblob_url(x->d, x->src, &url);
	e = azblob_cred_source(x->d->cred, x->c, azblob_now_ns(x->d), x->src, &url, &r.f, err);
	if (!e && url.failed)
		e = err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request");
	if (!e) {
		(void)net_field_add(&r.f, "x-ms-copy-source", url.p);
		(void)net_field_add(&r.f, "x-ms-requires-sync", "true");
		(void)net_field_addf(&r.f, "x-ms-source-if-match", "\"%s\"", x->st.etag);
		if (tags && strcmp(tags, "0") != 0)
			(void)net_field_add(&r.f, "x-ms-copy-source-tag-option", "COPY");
		r.q.stall_ns = COPY_STALL_NS;
		e = azblob_send(x->d, x->c, &r, &a, err);
		status = e ? NULL : net_field_get(&a.fields, "x-ms-copy-status");
		if (!e && (!status || strcmp(status, "success") != 0))
			e = azblob_named(x->d, &r,
				err_set(err, -EIO, ERR_UNKNOWN, "the copy's state is '%s'",
					status ? status : "not told"),
				err);
		e = e ? e
		      : azblob_stat_written(x->d, &a, x->dst, x->st.size, x->class_name, x->meta,
				x->nmeta, ret, err);
		net_answer_done(&a);
	}
	azblob_req_done(&r);
	return e;
}

/* ---- in blocks ---- */

static void properties_pass(const struct copy *x, struct net_fields *f)
{
	static const char *const names[][2] = {{"content-type", "x-ms-blob-content-type"},
		{"content-encoding", "x-ms-blob-content-encoding"},
		{"content-language", "x-ms-blob-content-language"},
		{"content-disposition", "x-ms-blob-content-disposition"},
		{"cache-control", "x-ms-blob-cache-control"},
		{"content-md5", "x-ms-blob-content-md5"}};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *v = net_field_get(&x->fields, names[i][0]);

		if (v)
			(void)net_field_add(f, names[i][1], v);
	}
}

/* Index tags do not come with properties. */
static errint_t tags_pass(const struct copy *x, struct net_fields *f, struct err *err)
{
	const char *count = net_field_get(&x->fields, "x-ms-tag-count");
	cleanup_buf struct buf text = BUF_INIT(TAGS_MAX);
	cleanup_xml struct xml doc = {0};
	const struct _xmlNode *t;
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	if (!count || !strcmp(count, "0"))
		return 0;
	azblob_req_init(x->d, &r, "tags", "GET", x->src);
	(void)net_url_param(&r.url, "comp", "tags");
	e = azblob_send(x->d, x->c, &r, &a, err);
	e = e ? e : xml_parse(&doc, a.body.p, a.body.len, "Tags", err);
	t = xml_child(xml_child(doc.root, "TagSet"), "Tag");
	for (; !e && t; t = xml_next(t, "Tag")) {
		const char *key = xml_child_text(t, "Key"), *value = xml_child_text(t, "Value");

		if (!key || !value)
			e = err_set(err, -EBADMSG, ERR_RETRY, "an unusable tag");
		(void)buf_adds(&text, text.len ? "&" : "");
		(void)net_url_add(&text, key ? key : "", "");
		(void)buf_adds(&text, "=");
		(void)net_url_add(&text, value ? value : "", "");
	}
	if (!e && text.len)
		(void)net_field_add(f, "x-ms-tags", text.p);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

static uint64_t block_size(uint64_t size)
{
	uint64_t least = (size + AZ_BLOCKS_MAX - 1) / AZ_BLOCKS_MAX, mib = UINT64_C(1) << 20;

	return MAX_OF(BLOCK, (least + mib - 1) / mib * mib);
}

static errint_t random_of(const struct copy *x, uint64_t block, uint64_t *ret, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT(8192);
	uint8_t sum[32];

	(void)buf_addf(&b, "%s/%s\n%s\n%llu", x->src.bucket, x->src.key, x->st.etag,
		(unsigned long long)block);
	if (b.failed)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	sha256(b.p, b.len, sum);
	memcpy(ret, sum, sizeof(*ret));
	return 0;
}

static bool waits(const struct azblob_blocks *b, const struct azblob_block *one)
{
	for (size_t i = 0; i < b->nwaiting; i++)
		if (!strcmp(b->waiting[i].id, one->id))
			return b->waiting[i].size == one->size;
	return false;
}

/* Copies what is not there yet; *ret (owned) lists all. */
static errint_t blocks_copy(
	struct copy *x, struct azblob_block **ret, size_t *ret_n, struct err *err)
{
	uint64_t size = block_size(x->st.size);
	struct azblob_block_id id = {0};
	struct azblob_blocks there;
	size_t n = (size_t)((x->st.size + size - 1) / size);
	errint_t r = azblob_blocks_get(x->d, x->c, x->dst, &there, err);

	if (r)
		return r;
	r = azblob_id_len(&there, &id.len, err);
	r = r ? r : random_of(x, size, &id.random, err);
	*ret = r ? NULL : calloc(n, sizeof(**ret));
	if (!r && !*ret)
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory for %zu blocks", n);
	for (size_t i = 0; i < n && !r; i++) {
		struct azblob_block *b = &(*ret)[i];

		id.index = (uint32_t)i + 1;
		azblob_id_make(&id, b->id);
		b->size = MIN_OF(size, x->st.size - i * size);
		if (!waits(&there, b))
			r = azblob_block_copy(x->d, x->c, x->src, x->st.etag, i * size, b->size,
				x->dst, b->id, err);
	}
	azblob_blocks_done(&there);
	*ret_n = n;
	return r;
}

static errint_t blocks_send(struct copy *x, const char *if_match, const char *if_none_match,
	struct store_stat *ret, struct err *err)
{
	cleanup_free struct azblob_block *v = NULL;
	struct net_fields f = {0};
	struct net_answer a;
	size_t n = 0;
	errint_t r = blocks_copy(x, &v, &n, err);

	azblob_if(&f, if_match, if_none_match);
	fields_make(x, &f);
	properties_pass(x, &f);
	r = r ? r : tags_pass(x, &f, err);
	if (r) {
		/* Nothing is committed: whatever may have happened changed nothing. */
		if (err->kind == ERR_UNKNOWN)
			err->kind = ERR_RETRY;
		net_fields_done(&f);
		return r;
	}
	r = azblob_commit(x->d, x->c, x->dst, v, n, &f, &a, err);
	r = r ? r
	      : azblob_stat_written(
			x->d, &a, x->dst, x->st.size, x->class_name, x->meta, x->nmeta, ret, err);
	net_answer_done(&a);
	net_fields_done(&f);
	if (r && !strcmp(err->code, "InvalidBlockList")) { /* another's commit dropped them */
		err->kind = ERR_RETRY;
		return -EAGAIN;
	}
	if (r)
		return r;
	r = azblob_commit_check(x->d, x->c, x->dst, ret->etag, v, n, err);
	if (r)
		store_stat_done(ret);
	return r;
}

/* ---- the operation ---- */

static errint_t copy_send(struct copy *x, const char *if_match, const char *if_none_match,
	struct store_stat *ret, struct err *err)
{
	return x->st.size <= ONE_MAX ? one_send(x, if_match, if_none_match, ret, err)
				     : blocks_send(x, if_match, if_none_match, ret, err);
}

/* A directory of an account that has them is made, not copied. */
static errint_t directory(struct copy *x, struct store_stat *ret, struct err *err)
{
	struct store_put put = {.if_match = x->opt->dst_if_match,
		.if_none_match = x->opt->dst_if_none_match,
		.meta = x->meta,
		.nmeta = x->nmeta};

	return x->d->store.ops->put(&x->d->store, x->c, x->dst, "", 0, &put, ret, err);
}

errint_t azblob_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_copy none;
	struct copy x = {
		.d = (struct azblob *)s, .c = c, .src = src, .dst = dst, .opt = opt ? opt : &none};
	bool hns = false;
	unsigned id_len;
	errint_t r = azblob_obj_check(dst, err);

	r = r ? r : driver_class_check(x.d->conf.classes, x.opt->class_name, err);
	r = r ? r : source_look(&x, err);
	if (!r && dst.key[strlen(dst.key) - 1] == '/')
		r = azblob_hns(x.d, c, &hns, err);
	if (!r && hns)
		r = directory(&x, ret, err);
	else if (!r)
		r = copy_send(&x, x.opt->dst_if_match, x.opt->dst_if_none_match, ret, err);
	if (r && err->kind == ERR_ARCHIVED && azblob_in_the_way(err)) {
		r = azblob_make_way(
			x.d, c, dst, x.opt->dst_if_match, x.opt->dst_if_none_match, err);
		r = r ? r : copy_send(&x, NULL, STORE_IF_ABSENT, ret, err);
	} else if (r == -EEXIST && x.opt->dst_if_none_match && !hns) {
		r = azblob_blocks_alone(x.d, c, dst, r, &id_len, err);
		r = r ? r : blocks_send(&x, NULL, STORE_IF_ABSENT, ret, err);
	}
	net_fields_done(&x.fields);
	store_stat_done(&x.st);
	return r;
}
