/* SPDX-License-Identifier: MIT */
/*
 * Multipart uploads as blocks. The service knows no uploads: an upload is a random number, which
 * its block ids begin with. This process remembers those it began; one of an earlier process is
 * found by the blocks that it left, which are all that is needed to go on.
 *
 * Blocks that nobody commits are dropped by the service a week after the last one came, or when the
 * blob is written: so aborting is forgetting, and there is nothing stale to look for.
 *
 * What is offline cannot be overwritten, nor get blocks. An upload over it is committed as a hidden
 * blob, then takes the place of the one removed for it, by a copy of the service.
 *
 * A part that copies whole blocks of the very blob it goes to is no request at all: the commit
 * names those blocks again ("keep FIRST COUNT ETAG" as the part's ETag), under the condition that
 * the blob is still that version. So appending to a large blob sends only what is new.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "azblob_priv.h"
#include "driver.h"

#define UPLOADS_MAX 4096 /* remembered; the oldest is forgotten first */
#define ID_FORMAT   "%016" PRIx64 "-%02x-%" PRIx64
#define ID_VIA	    "-via" /* behind the id of an upload that goes to another blob first */
#define KEEP	    "keep "

/* ---- uploads of this process ---- */

static void upload_free(struct azblob *d, struct azblob_upload *u)
{
	LIST_REMOVE(u, link);
	d->shared.n--;
	azblob_blocks_done(&u->base);
	free(u->bucket);
	free(u->key);
	free(u);
}

void azblob_uploads_done(struct azblob *d)
{
	while (!LIST_EMPTY(&d->shared.uploads))
		upload_free(d, LIST_FIRST(&d->shared.uploads));
}

static struct azblob_upload *find_locked(struct azblob *d, struct store_obj o, const char *id)
{
	struct azblob_upload *u;

	lock_assert_held(&d->lock);
	LIST_FOREACH (u, &d->shared.uploads, link)
		if (!strcmp(u->id, id) && !strcmp(u->bucket, o.bucket) && !strcmp(u->key, o.key))
			return u;
	return NULL;
}

static errint_t remember(struct azblob *d, struct store_obj o, const char *id, const char *mark,
	int64_t started_ns, struct err *err)
{
	struct azblob_upload *u = calloc(1, sizeof(*u)), *last = NULL, *each;

	if (u) {
		u->bucket = strdup(o.bucket);
		u->key = strdup(o.key);
	}
	if (!u || !u->bucket || !u->key) {
		if (u)
			free(u->bucket);
		free(u);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	snprintf(u->id, sizeof(u->id), "%s", id);
	snprintf(u->mark, sizeof(u->mark), "%s", mark ? mark : "");
	u->started_ns = started_ns;
	LOCKED(&d->lock);
	LIST_INSERT_HEAD(&d->shared.uploads, u, link);
	if (++d->shared.n > UPLOADS_MAX) {
		LIST_FOREACH (each, &d->shared.uploads, link)
			last = each;
		upload_free(d, last);
	}
	return 0;
}

static bool forget(struct azblob *d, struct store_obj o, const char *id)
{
	struct azblob_upload *u;

	LOCKED(&d->lock);
	u = find_locked(d, o, id);
	if (u)
		upload_free(d, u);
	return u;
}

static errint_t no_upload(struct store_obj o, const char *id, struct err *err)
{
	return err_set(err, -ENOENT, ERR_NOT_FOUND, "no upload %s of %s/%s", id, o.bucket, o.key);
}

/* An upload as its id tells it. */
struct upload {
	struct azblob_block_id id; /* what every block id of it begins with */
	int64_t started_ns;
	bool via;
	char via_key[64];
	struct store_obj to; /* the blob that has the blocks */
};

static bool id_parse(const char *text, struct store_obj o, struct upload *ret)
{
	uint64_t random, s;
	unsigned len;
	int end = 0;

	if (sscanf(text, "%16" SCNx64 "-%2x-%16" SCNx64 "%n", &random, &len, &s, &end) != 3 ||
		(text[end] && strcmp(text + end, ID_VIA) != 0) || len < AZ_ID_LEN_MIN ||
		len > AZ_BLOCK_ID)
		return false;
	*ret = (struct upload){.id = {.random = random, .len = len},
		.started_ns = (int64_t)s * NS_PER_S,
		.via = text[end],
		.to = o};
	if (ret->via) {
		snprintf(
			ret->via_key, sizeof(ret->via_key), STORE_TMP_PREFIX "%016" PRIx64, random);
		ret->to.key = ret->via_key;
	}
	return true;
}

/* The upload is known, or is there by its blocks. */
static errint_t upload_get(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *id, struct upload *ret, struct err *err)
{
	struct azblob_blocks b;
	bool found = false;
	errint_t r;

	if (!id_parse(id, o, ret))
		return no_upload(o, id, err);
	{
		LOCKED(&d->lock);
		if (find_locked(d, o, id))
			return 0;
	}
	r = azblob_blocks_get(d, c, ret->to, &b, err);
	if (r)
		return r;
	for (size_t i = 0; i < b.nwaiting && !found; i++) {
		struct azblob_block_id one = ret->id;

		found = azblob_id_read(b.waiting[i].id, &one);
	}
	azblob_blocks_done(&b);
	return found ? remember(d, o, id, NULL, ret->started_ns, err) : no_upload(o, id, err);
}

/* Whether it would overwrite what is offline. */
static errint_t needs_way(struct azblob *d, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, bool *ret, struct err *err)
{
	struct store_stat st = {0};
	errint_t r;

	*ret = false;
	if (opt->if_none_match)
		return 0;
	r = azblob_head_if(d, c, o, NULL, &st, NULL, err);
	store_stat_done(&st);
	*ret = !r && st.archived;
	if (r && err->kind == ERR_NOT_FOUND && strcmp(err->code, "ContainerNotFound") != 0) {
		r = 0;
		err_clear(err);
	}
	return r;
}

errint_t azblob_parts_begin(struct store *s, const struct store_call *c, struct store_obj o,
	const struct store_put *opt, char ret_id[STORE_UPLOAD_MAX], struct err *err)
{
	static const struct store_put none;
	struct azblob *d = (struct azblob *)s;
	const char *mark = NULL;
	struct azblob_blocks b = {0};
	int64_t now = clock_now_ns();
	unsigned len = 0;
	bool via = false;
	errint_t r = azblob_obj_check(o, err);

	opt = opt ? opt : &none;
	r = r ? r : driver_class_check(d->conf.classes, opt->class_name, err);
	r = r ? r : driver_meta_check(opt->meta, opt->nmeta, AZ_META_MAX, err);
	r = r ? r : needs_way(d, c, o, opt, &via, err);
	if (!r && !via)
		r = azblob_blocks_get(d, c, o, &b, err);
	r = r ? r : azblob_id_len(&b, &len, err);
	azblob_blocks_done(&b);
	if (r)
		return r;
	for (unsigned i = 0; i < opt->nmeta; i++)
		if (!strcmp(opt->meta[i].key, STORE_META_WRITE))
			mark = opt->meta[i].value;
	snprintf(ret_id, STORE_UPLOAD_MAX, ID_FORMAT "%s", random_u64(), len,
		(uint64_t)(now / NS_PER_S), via ? ID_VIA : "");
	return remember(d, o, ret_id, mark, now, err);
}

/* ---- parts ---- */

static uint16_t next_sequence(struct azblob *d, struct store_obj o, const char *id)
{
	struct azblob_upload *u;

	LOCKED(&d->lock);
	u = find_locked(d, o, id);
	return u ? (uint16_t)++u->puts : 0;
}

static void part_out(const char *etag, unsigned number, uint64_t size, struct store_part *ret)
{
	*ret = (struct store_part){.number = number, .size = size};
	snprintf(ret->etag, sizeof(ret->etag), "%s", etag);
}

errint_t azblob_part_put(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, unsigned number, const void *p, size_t len, uint32_t crc,
	struct store_part *ret, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	char text[BASE64_LEN(AZ_BLOCK_ID) + 1];
	struct upload u;
	errint_t r = upload_get(d, c, o, id, &u, err);

	if (r)
		return r;
	if (!len)
		return err_set(err, -EINVAL, ERR_FINAL, "%s/%s: part %u is empty", o.bucket, o.key,
			number);
	if (crc32c(0, p, len) != crc)
		return err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: part %u damaged on the way",
			o.bucket, o.key, number);
	u.id.index = number;
	u.id.crc32c = crc;
	u.id.sequence = next_sequence(d, o, id);
	azblob_id_make(&u.id, text);
	r = azblob_block_put(d, c, u.to, text, p, len, err);
	if (r)
		return r;
	part_out(text, number, len, ret);
	ret->has_crc32c = true;
	ret->crc32c = crc;
	return 0;
}

/* ---- parts that are copied ---- */

/* Remembered with the upload, so that a thousand parts of one source ask once. */
static errint_t source_size(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *id, struct store_obj src, const char *etag, uint64_t *ret, struct err *err)
{
	struct azblob_upload *u;
	struct store_stat st = {0};
	uint64_t of = hash64(src.key, strlen(src.key), hash64(src.bucket, strlen(src.bucket), 0));
	errint_t r;

	if (etag) {
		LOCKED(&d->lock);
		u = find_locked(d, o, id);
		if (u && u->src == of && !strcmp(u->src_etag, etag)) {
			*ret = u->src_size;
			return 0;
		}
	}
	r = azblob_head_if(d, c, src, etag, &st, NULL, err);
	store_stat_done(&st);
	if (!r && st.archived)
		r = err_set(err, -EIO, ERR_ARCHIVED, "%s/%s is in the offline class %s", src.bucket,
			src.key, AZ_ARCHIVE);
	if (r)
		return r;
	*ret = st.size;
	LOCKED(&d->lock);
	u = find_locked(d, o, id);
	if (u) {
		u->src = of;
		u->src_size = st.size;
		snprintf(u->src_etag, sizeof(u->src_etag), "%s", st.etag);
	}
	return 0;
}

/* The blocks of version etag of the blob itself, read once for the upload. */
static errint_t base_get(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *id, const char *etag, struct err *err)
{
	struct azblob_blocks b;
	struct azblob_upload *u;
	errint_t r;
	{
		LOCKED(&d->lock);
		u = find_locked(d, o, id);
		if (!u || (u->has_base && !strcmp(u->base.etag, etag)))
			return 0;
	}
	r = azblob_blocks_get(d, c, o, &b, err);
	if (r)
		return r;
	LOCKED(&d->lock);
	u = find_locked(d, o, id);
	if (u) {
		azblob_blocks_done(&u->base);
		u->base = b;
		u->has_base = true;
	} else {
		azblob_blocks_done(&b);
	}
	return 0;
}

/* [off, off+len) is whole blocks of version etag, with ids like ours. */
static bool keeps(struct azblob *d, struct store_obj o, const char *id, const char *etag,
	uint64_t off, uint64_t len, unsigned id_len, size_t *ret_first, size_t *ret_n)
{
	const struct azblob_upload *u;
	uint64_t at = 0;
	size_t i = 0, first;

	LOCKED(&d->lock);
	u = find_locked(d, o, id);
	if (!u || strcmp(u->base.etag, etag) != 0)
		return false;
	for (; i < u->base.ncommitted && at < off; i++)
		at += u->base.committed[i].size;
	first = i;
	if (at != off)
		return false;
	for (; i < u->base.ncommitted && at < off + len; i++) {
		const char *name = u->base.committed[i].id;

		if (strlen(name) != BASE64_LEN(id_len))
			return false;
		at += u->base.committed[i].size;
	}
	*ret_first = first;
	*ret_n = i - first;
	return at == off + len && i > first;
}

errint_t azblob_part_copy(struct store *s, const struct store_call *c, struct store_obj src,
	const char *src_if_match, uint64_t off, uint64_t len, struct store_obj dst, const char *id,
	unsigned number, struct store_part *ret, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	bool itself = !strcmp(src.bucket, dst.bucket) && !strcmp(src.key, dst.key);
	char text[STORE_ETAG_MAX];
	struct upload u;
	uint64_t size = 0;
	size_t first, n;
	errint_t r = azblob_obj_check(src, err);

	r = r ? r : upload_get(d, c, dst, id, &u, err);
	r = r ? r : source_size(d, c, dst, id, src, src_if_match, &size, err);
	if (!r && (!len || off > size || len > size - off))
		r = err_set(err, -EINVAL, ERR_FINAL, "part_copy: range behind the end of %s/%s",
			src.bucket, src.key);
	if (!r && itself && src_if_match)
		r = base_get(d, c, dst, id, src_if_match, err);
	if (r)
		return r;
	if (itself && src_if_match &&
		keeps(d, dst, id, src_if_match, off, len, u.id.len, &first, &n) &&
		snprintf(text, sizeof(text), KEEP "%zu %zu %s", first, n, src_if_match) <
			(int)sizeof(text)) {
		part_out(text, number, len, ret);
		return 0;
	}
	u.id.index = number;
	u.id.sequence = next_sequence(d, dst, id);
	azblob_id_make(&u.id, text);
	r = azblob_block_copy(d, c, src, src_if_match, off, len, u.to, text, err);
	if (!r)
		part_out(text, number, len, ret);
	return r;
}

/* ---- listing ---- */

static int part_cmp(const void *a, const void *b)
{
	const struct store_part *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

struct seen { /* the latest block of a part */
	struct azblob_block_id id;
	const struct azblob_block *block;
};

static bool later(const struct seen *a, const struct seen *b)
{
	return (int16_t)(a->id.sequence - b->id.sequence) > 0;
}

static int seen_cmp(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	if (x->id.index != y->id.index)
		return x->id.index < y->id.index ? -1 : 1;
	return later(x, y) - later(y, x);
}

errint_t azblob_parts_list(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct store_part **ret, size_t *ret_n, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	cleanup_free struct seen *v = NULL;
	struct azblob_blocks b;
	struct upload u;
	size_t n = 0, out = 0;
	errint_t r = upload_get(d, c, o, id, &u, err);

	r = r ? r : azblob_blocks_get(d, c, u.to, &b, err);
	if (r)
		return r;
	v = calloc(b.nwaiting + 1, sizeof(*v));
	*ret = calloc(b.nwaiting + 1, sizeof(**ret));
	for (size_t i = 0; v && *ret && i < b.nwaiting; i++) {
		v[n] = (struct seen){u.id, &b.waiting[i]};
		n += azblob_id_read(b.waiting[i].id, &v[n].id) && v[n].id.index >= 1 &&
		     v[n].id.index <= AZ_BLOCKS_MAX;
	}
	if (n)
		qsort(v, n, sizeof(*v), seen_cmp);
	for (size_t i = 0; i < n; i++) {
		struct store_part *p = &(*ret)[out];

		if (i + 1 < n && v[i + 1].id.index == v[i].id.index)
			continue; /* sent again later */
		part_out(v[i].block->id, v[i].id.index, v[i].block->size, p);
		p->has_crc32c = v[i].id.has_crc;
		p->crc32c = v[i].id.crc32c;
		out++;
	}
	azblob_blocks_done(&b);
	if (!v || !*ret) {
		free(*ret);
		*ret = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	qsort(*ret, out, sizeof(**ret), part_cmp);
	*ret_n = out;
	return 0;
}

/* ---- the end ---- */

struct commit {			/* the list of blocks that the parts are */
	struct azblob_block *v; /* owned */
	size_t n, max;
	char keep_etag[STORE_ETAG_MAX]; /* "" = nothing is kept */
	struct azblob_blocks base;
	uint64_t size;
	bool has_crc;
	uint32_t crc;
};

static errint_t bad_part(struct store_obj o, const struct store_part *p, struct err *err)
{
	return err_set(err, -EINVAL, ERR_FINAL, "%s/%s: part %u is not there or not the one named",
		o.bucket, o.key, p->number);
}

/* Appends the blocks of one part. */
static errint_t commit_part(struct commit *m, struct store_obj o, const struct store_part *p,
	const struct azblob_block_id *of, struct err *err)
{
	struct azblob_block_id id = *of;
	size_t first, n;
	int end = 0;

	m->size += p->size;
	m->has_crc = m->has_crc && p->has_crc32c;
	m->crc = crc32c_combine(m->crc, p->crc32c, p->size);
	if (sscanf(p->etag, KEEP "%zu %zu %n", &first, &n, &end) == 2 && end) {
		if (strcmp(p->etag + end, m->keep_etag) != 0 || first > m->base.ncommitted ||
			n > m->base.ncommitted - first || n > m->max - m->n)
			return bad_part(o, p, err);
		for (size_t i = first; i < first + n; i++) {
			m->v[m->n] = m->base.committed[i];
			m->v[m->n++].committed = true;
		}
		return 0;
	}
	if (!azblob_id_read(p->etag, &id) || id.index != p->number || m->n == m->max)
		return bad_part(o, p, err);
	memcpy(m->v[m->n].id, p->etag, strlen(p->etag) + 1);
	m->v[m->n++].size = p->size;
	return 0;
}

/* All blocks, and the version that kept ones are of. */
static errint_t commit_make(struct azblob *d, const struct store_call *c, struct store_obj o,
	const struct store_part *parts, size_t n, const struct azblob_block_id *of,
	const struct store_put *cond, struct commit *m, struct err *err)
{
	errint_t r = 0;
	int end = 0;

	for (size_t i = 0; i < n && !m->keep_etag[0]; i++)
		if (sscanf(parts[i].etag, KEEP "%*u %*u %n", &end) == 0 && end)
			snprintf(m->keep_etag, sizeof(m->keep_etag), "%s", parts[i].etag + end);
	if (m->keep_etag[0]) {
		r = azblob_blocks_get(d, c, o, &m->base, err);
		if (!r && (strcmp(m->base.etag, m->keep_etag) != 0 || cond->if_none_match ||
				  (cond->if_match && strcmp(cond->if_match, m->keep_etag) != 0)))
			r = err_set(err, -ESTALE, ERR_STALE, "%s/%s is not version %s any more",
				o.bucket, o.key, m->keep_etag);
	}
	if (r)
		return r;
	m->has_crc = true;
	m->max = MIN_OF(n + m->base.ncommitted, (size_t)AZ_BLOCKS_MAX);
	m->v = calloc(m->max, sizeof(*m->v));
	if (!m->v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a list of blocks");
	for (size_t i = 0; i < n && !r; i++)
		r = commit_part(m, o, &parts[i], of, err);
	return r;
}

static errint_t commit_send(struct azblob *d, const struct store_call *c, struct store_obj o,
	const struct commit *m, const struct store_put *cond, struct store_stat *ret,
	struct err *err)
{
	struct net_fields f = {0};
	struct net_answer a;
	errint_t r;

	azblob_if(&f, m->keep_etag[0] ? m->keep_etag : cond->if_match, cond->if_none_match);
	(void)net_field_add(&f, "x-ms-blob-content-type", "application/octet-stream");
	if (cond->class_name)
		(void)net_field_add(&f, "x-ms-access-tier", cond->class_name);
	azblob_meta_add(&f, cond->meta, cond->nmeta);
	r = azblob_commit(d, c, o, m->v, m->n, &f, &a, err);
	r = r ? r
	      : azblob_stat_written(
			d, &a, o, m->size, cond->class_name, cond->meta, cond->nmeta, ret, err);
	net_answer_done(&a);
	net_fields_done(&f);
	return r;
}

/* Committed as one blob under the conditions of cond, and looked at. */
static errint_t commit(struct azblob *d, const struct store_call *c, const struct upload *u,
	const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	struct commit m = {0};
	errint_t r = commit_make(d, c, u->to, parts, n, &u->id, cond, &m, err);

	r = r ? r : commit_send(d, c, u->to, &m, cond, ret, err);
	if (!r) {
		r = azblob_commit_check(d, c, u->to, ret->etag, m.v, m.n, err);
		if (r)
			store_stat_done(ret);
		/* Each block was compared with a checksum when it came. */
		ret->has_crc32c = m.has_crc && d->conf.sum != AZ_SUM_OFF;
		ret->crc32c = m.crc;
	}
	azblob_blocks_done(&m.base);
	free(m.v);
	return r;
}

/* What was committed beside it takes the place of what is offline. */
static errint_t take_place(struct azblob *d, const struct store_call *c, struct store_obj from,
	struct store_obj o, const struct store_put *cond, struct store_stat *ret, struct err *err)
{
	struct store_copy opt = {.src_if_match = ret->etag, .class_name = cond->class_name};
	struct store_stat st = {0};
	struct err gone = {0};
	errint_t r = azblob_make_way(d, c, o, cond->if_match, cond->if_none_match, err);

	opt.dst_if_none_match = STORE_IF_ABSENT;
	if (r == -EAGAIN) { /* online again: overwritten like any other */
		r = 0;
		opt.dst_if_none_match = NULL;
		opt.dst_if_match = cond->if_match;
	}
	r = r ? r : d->store.ops->copy(&d->store, c, from, o, &opt, &st, err);
	if (!r && st.size != ret->size) {
		store_stat_done(&st);
		r = err_set(err, -EBADMSG, ERR_UNKNOWN,
			"%s/%s: the copy does not have the bytes of its parts", o.bucket, o.key);
	}
	if (r)
		return r;
	(void)d->store.ops->remove(&d->store, c, from, ret->etag, &gone);
	st.has_crc32c = ret->has_crc32c;
	st.crc32c = ret->crc32c;
	store_stat_done(ret);
	*ret = st;
	return 0;
}

errint_t azblob_parts_finish(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, const struct store_part *parts, size_t n, const struct store_put *cond,
	struct store_stat *ret, struct err *err)
{
	static const struct store_put none;
	struct azblob *d = (struct azblob *)s;
	struct store_put beside;
	struct upload u;
	errint_t r;

	cond = cond ? cond : &none;
	beside = (struct store_put){.meta = cond->meta, .nmeta = cond->nmeta};
	r = driver_class_check(d->conf.classes, cond->class_name, err);
	r = r ? r : driver_meta_check(cond->meta, cond->nmeta, AZ_META_MAX, err);
	r = r ? r : upload_get(d, c, o, id, &u, err);
	r = r ? r : commit(d, c, &u, parts, n, u.via ? &beside : cond, ret, err);
	if (!r && u.via) {
		r = take_place(d, c, u.to, o, cond, ret, err);
		if (r)
			store_stat_done(ret);
	}
	if (!r || err->kind == ERR_NOT_FOUND)
		(void)forget(d, o, id);
	return r;
}

errint_t azblob_parts_abort(struct store *s, const struct store_call *c, struct store_obj o,
	const char *id, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	struct err gone = {0};
	struct upload u;
	errint_t r = upload_get(d, c, o, id, &u, err);

	if (r)
		return r;
	if (u.via) /* if it came so far */
		(void)d->store.ops->remove(&d->store, c, u.to, NULL, &gone);
	(void)forget(d, o, id);
	return 0;
}

errint_t azblob_parts_pending(struct store *s, const struct store_call *c, const char *bucket,
	struct store_upload **ret, size_t *ret_n, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	const struct azblob_upload *u;
	struct store_upload *v;
	size_t n = 0;

	LOCKED(&d->lock);
	v = calloc(d->shared.n + 1, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	LIST_FOREACH (u, &d->shared.uploads, link) {
		if (strcmp(u->bucket, bucket) != 0)
			continue;
		snprintf(v[n].key, sizeof(v[n].key), "%s", u->key);
		snprintf(v[n].id, sizeof(v[n].id), "%s", u->id);
		snprintf(v[n].mark, sizeof(v[n].mark), "%s", u->mark);
		v[n++].started_ns = u->started_ns;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}
