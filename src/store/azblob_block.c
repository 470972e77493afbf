/* SPDX-License-Identifier: MIT */
/*
 * Block ids, blocks and block lists.
 *
 * All writers of a blob put their uncommitted blocks into one heap, by id, and a commit names ids:
 * ids of ours have 8 random bytes of the upload, so that no block of somebody else can be taken for
 * one, and say which block it is, what its CRC-32C is and in which order it was sent, so that what
 * lies there is all that is needed to go on after a crash.
 *
 *	random 8 | index 4 | CRC-32C 4 | sequence 2 | zeros
 *
 * All ids of one blob must have the same length. Where others have left blocks with shorter ids,
 * ours shrink: first CRC and sequence go, then index and random get 2 and at least 4 bytes.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "azblob_priv.h"
#include "xml.h"

#define COPY_STALL_NS	(300 * NS_PER_S) /* the service copies and says nothing meanwhile */
#define BLOCKS_READ_MAX 100000		 /* uncommitted ones of all writers */

/* ---- ids ---- */

struct layout {
	unsigned random, index; /* bytes */
	bool crc;
};

static struct layout layout_of(unsigned len)
{
	assert(len >= AZ_ID_LEN_MIN && len <= AZ_BLOCK_ID);
	if (len >= AZ_ID_LEN)
		return (struct layout){8, 4, true};
	if (len >= 12)
		return (struct layout){8, 4, false};
	return (struct layout){MIN_OF(len - 2, 8u), 2, false};
}

static void put_be(uint8_t *p, unsigned bytes, uint64_t v)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t get_be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t cut(uint64_t v, unsigned bytes)
{
	return bytes >= 8 ? v : v >> (8 * (8 - bytes));
}

void azblob_id_make(const struct azblob_block_id *id, char ret[BASE64_LEN(AZ_BLOCK_ID) + 1])
{
	struct layout l = layout_of(id->len);
	uint8_t b[AZ_BLOCK_ID] = {0};

	put_be(b, l.random, cut(id->random, l.random));
	put_be(b + l.random, l.index, id->index);
	if (l.crc) {
		put_be(b + 12, 4, id->crc32c);
		put_be(b + 16, 2, id->sequence);
	}
	base64_encode(b, id->len, ret);
}

bool azblob_id_read(const char *text, struct azblob_block_id *id)
{
	struct layout l = layout_of(id->len);
	uint8_t b[AZ_BLOCK_ID];
	size_t n;

	if (base64_decode(text, b, sizeof(b), &n) || n != id->len ||
		get_be(b, l.random) != cut(id->random, l.random))
		return false;
	id->index = (uint32_t)get_be(b + l.random, l.index);
	id->has_crc = l.crc;
	id->crc32c = l.crc ? (uint32_t)get_be(b + 12, 4) : 0;
	id->sequence = l.crc ? (uint16_t)get_be(b + 16, 2) : 0;
	for (size_t i = l.crc ? AZ_ID_LEN : l.random + l.index; i < n; i++)
		if (b[i])
			return false;
	return true;
}

/* ---- what lies there ---- */

void azblob_blocks_done(struct azblob_blocks *b)
{
	free(b->committed);
	free(b->waiting);
	*b = (struct azblob_blocks){0};
}

static errint_t blocks_read(
	const struct _xmlNode *list, struct azblob_block **ret, size_t *ret_n, struct err *err)
{
	const struct _xmlNode *n;
	size_t count = 0;

	for (n = xml_child(list, "Block"); n; n = xml_next(n, "Block"))
		count++;
	if (!count)
		return 0;
	*ret = count > BLOCKS_READ_MAX ? NULL : calloc(count, sizeof(**ret));
	if (!*ret)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for %zu blocks", count);
	for (n = xml_child(list, "Block"); n; n = xml_next(n, "Block")) {
		struct azblob_block *b = &(*ret)[*ret_n];
		const char *id = xml_child_text(n, "Name");
		uint8_t raw[AZ_BLOCK_ID];
		size_t len;

		if (!id || strlen(id) >= sizeof(b->id) ||
			base64_decode(id, raw, sizeof(raw), &len) ||
			xml_child_u64(n, "Size", &b->size))
			return err_set(
				err, -EBADMSG, ERR_RETRY, "the list of blocks has an unusable one");
		memcpy(b->id, id, strlen(id) + 1);
		++*ret_n;
	}
	return 0;
}

static errint_t blocks_parse(const struct net_answer *a, struct azblob_blocks *ret, struct err *err)
{
	cleanup_xml struct xml x = {0};
	const char *etag = net_field_get(&a->fields, "etag");
	errint_t r = xml_parse(&x, a->body.p, a->body.len, "BlockList", err);

	r = r ? r
	      : blocks_read(xml_child(x.root, "CommittedBlocks"), &ret->committed, &ret->ncommitted,
			err);
	r = r ? r
	      : blocks_read(
			xml_child(x.root, "UncommittedBlocks"), &ret->waiting, &ret->nwaiting, err);
	/* A blob without anything committed may have none. */
	if (!r && etag && azblob_etag(etag, ret->etag))
		r = err_set(err, -EBADMSG, ERR_RETRY, "the list of blocks has an unusable ETag");
	return r;
}

errint_t azblob_blocks_get(struct azblob *d, const struct store_call *c, struct store_obj o,
	struct azblob_blocks *ret, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	*ret = (struct azblob_blocks){0};
	azblob_req_init(d, &r, "list blocks", "GET", o);
	(void)net_url_param(&r.url, "comp", "blocklist");
	(void)net_url_param(&r.url, "blocklisttype", "all");
	r.q.body_max = AZ_LIST_MAX;
	e = azblob_send(d, c, &r, &a, err);
	if (e && !strcmp(err->code, "BlobNotFound")) {
		e = 0;
		err_clear(err);
	} else if (!e) {
		e = blocks_parse(&a, ret, err);
		e = e ? azblob_named(d, &r, e, err) : 0;
	}
	net_answer_done(&a);
	azblob_req_done(&r);
	if (e)
		azblob_blocks_done(ret);
	return e;
}

/* ---- blocks ---- */

static void block_url(struct azblob_req *r, const char *id)
{
	(void)net_url_param(&r->url, "comp", "block");
	(void)net_url_param(&r->url, "blockid", id);
}

errint_t azblob_block_put(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *id, const void *p, size_t len, struct err *err)
{
	char text[BASE64_LEN(16) + 1];
	uint8_t sum[16];
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, "put block", "PUT", o);
	block_url(&r, id);
	if (d->conf.sum == AZ_SUM_MD5) {
		md5(p, len, sum);
		base64_encode(sum, sizeof(sum), text);
		(void)net_field_add(&r.f, "Content-MD5", text);
	} else if (d->conf.sum != AZ_SUM_OFF) {
		uint64_t crc = crc64nvme(0, p, len);

		for (unsigned i = 0; i < 8; i++)
			sum[i] = (uint8_t)(crc >> (8 * i));
		base64_encode(sum, 8, text);
		(void)net_field_add(&r.f, "x-ms-content-crc64", text);
	}
	r.q.body = p;
	r.q.body_len = len;
	e = azblob_send(d, c, &r, &a, err);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

errint_t azblob_block_copy(struct azblob *d, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj o, const char *id,
	struct err *err)
{
	cleanup_buf struct buf url = BUF_INIT(AZ_URL_MAX);
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, "copy block", "PUT", o);
	block_url(&r, id);
	azblob_url(d, src, &url);
	e = azblob_cred_source(d->cred, c, azblob_now_ns(d), src, &url, &r.f, err);
	if (!e && url.failed)
		e = err_set(err, -ENOMEM, ERR_RETRY, "no memory for a request");
	if (!e) {
		(void)net_field_add(&r.f, "x-ms-copy-source", url.p);
		(void)net_field_addf(&r.f, "x-ms-source-range", "bytes=%llu-%llu",
			(unsigned long long)off, (unsigned long long)(off + len - 1));
		if (src_if_match)
			(void)net_field_addf(&r.f, "x-ms-source-if-match", "\"%s\"", src_if_match);
		r.q.stall_ns = COPY_STALL_NS;
		e = azblob_send(d, c, &r, &a, err);
		net_answer_done(&a);
	}
	azblob_req_done(&r);
	return e;
}

/* ---- committing ---- */

errint_t azblob_id_len(const struct azblob_blocks *b, unsigned *ret, struct err *err)
{
	const struct azblob_block *like = b->nwaiting ? b->waiting : b->committed;
	uint8_t raw[AZ_BLOCK_ID];
	size_t len = 0;

	*ret = AZ_ID_LEN;
	if (!b->nwaiting && !b->ncommitted)
		return 0;
	if (base64_decode(like->id, raw, sizeof(raw), &len) || len < AZ_ID_LEN_MIN) {
		if (!b->nwaiting)
			return 0; /* all of it will be replaced */
		return err_set(err, -EBUSY, ERR_RETRY,
			"somebody else's upload to this blob is under way, with block ids of %zu "
			"bytes, where ours need %d; what it left goes after a week",
			len, AZ_ID_LEN_MIN);
	}
	*ret = (unsigned)len;
	return 0;
}

errint_t azblob_blocks_alone(struct azblob *d, const struct store_call *c, struct store_obj o,
	errint_t refused, unsigned *ret_id_len, struct err *err)
{
	struct store_stat st = {0};
	struct azblob_blocks b;
	struct err look = {0};
	errint_t r = azblob_head_if(d, c, o, NULL, &st, NULL, &look);

	store_stat_done(&st);
	if (!r)
		return refused;
	if (look.kind == ERR_NOT_FOUND) {
		r = azblob_blocks_get(d, c, o, &b, &look);
		if (!r && !b.nwaiting) { /* it went meanwhile */
			azblob_blocks_done(&b);
			return refused;
		}
		r = r ? r : azblob_id_len(&b, ret_id_len, &look);
		azblob_blocks_done(&b);
	}
	*err = look;
	return r;
}

errint_t azblob_commit(struct azblob *d, const struct store_call *c, struct store_obj o,
	const struct azblob_block *v, size_t n, const struct net_fields *f, struct net_answer *a,
	struct err *err)
{
	cleanup_buf struct buf xml = BUF_INIT((AZ_BLOCKS_MAX + 1) * (AZ_BLOCK_ID * 2));
	char text[BASE64_LEN(16) + 1];
	uint8_t sum[16];
	struct azblob_req r;
	errint_t e;

	(void)buf_adds(&xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
	for (size_t i = 0; i < n; i++) {
		const char *kind = v[i].committed ? "Committed" : "Uncommitted";

		(void)buf_addf(&xml, "<%s>%s</%s>", kind, v[i].id, kind);
	}
	(void)buf_adds(&xml, "</BlockList>");
	*a = (struct net_answer){0};
	if (xml.failed)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a list of blocks");
	azblob_req_init(d, &r, "commit blocks", "PUT", o);
	(void)net_url_param(&r.url, "comp", "blocklist");
	for (unsigned i = 0; i < f->n; i++)
		(void)net_field_add(&r.f, f->v[i].name, f->v[i].value);
	r.f.failed = r.f.failed ? r.f.failed : f->failed;
	md5(xml.p, xml.len, sum);
	base64_encode(sum, sizeof(sum), text);
	(void)net_field_add(&r.f, "Content-MD5", text);
	(void)net_field_add(&r.f, "Content-Type", "application/xml");
	r.q.body = xml.p;
	r.q.body_len = xml.len;
	r.q.stall_ns = COPY_STALL_NS;
	e = azblob_send(d, c, &r, a, err);
	azblob_req_done(&r);
	return e;
}

errint_t azblob_commit_check(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *etag, const struct azblob_block *v, size_t n, struct err *err)
{
	struct azblob_blocks b;
	errint_t r = azblob_blocks_get(d, c, o, &b, err);
	bool same;

	if (r)
		goto unknown;
	same = b.ncommitted == n;
	for (size_t i = 0; i < n && same; i++)
		same = !strcmp(b.committed[i].id, v[i].id) && b.committed[i].size == v[i].size;
	if (!same && !strcmp(b.etag, etag))
		r = err_set(err, -EIO, ERR_UNKNOWN,
			"%s/%s does not consist of the blocks that were sent", o.bucket, o.key);
	azblob_blocks_done(&b);
	if (!r)
		return 0; /* or there is another version already */
unknown:
	err->kind = ERR_UNKNOWN; /* it was committed; what it holds is to be looked at */
	return r;
}
