/* SPDX-License-Identifier: MIT */
/*
 * Azure Blob Storage over its REST: objects that travel in one request, tiers, metadata. Reading
 * is in azblob_get.c, listing and containers in azblob_list.c, blocks in azblob_block.c and
 * azblob_parts.c, copies in azblob_copy.c. Life cycle rules belong to the management plane, which
 * is another service with other credentials: not supported here.
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
#include "layer.h"

#define META_RACES 4 /* changes of metadata by somebody else in between */

static void azblob_caps(struct store *s, struct store_caps *ret)
{
	const struct azblob *d = (const struct azblob *)s;

	*ret = (struct store_caps){
		.key_max = STORE_KEY_MAX,
		.key_utf8 = true,
		.key_ok = azblob_key_ok,
		.meta_max = AZ_META_MAX,
		.conditional_put = true,
		.conditional_remove = true,
		.conditional_copy = true,
		.list_meta = true,
		.meta_dates = true,
		.set_meta = true,
		.part_copy = true,
		.copy = true,
		.rename = d->conf.dfs[0] && atomic_load(&d->hns) != 0,
		.archive = true,
		.restore_moves = true,
		.part_min = 1,
		.part_max = AZ_BLOCK_MAX,
		.object_max = AZ_BLOCK_MAX * AZ_BLOCKS_MAX,
		.parts_max = AZ_BLOCKS_MAX,
	};
}

/* ---- head ---- */

errint_t azblob_marker(struct azblob *d, const struct store_call *c, struct store_obj *o,
	char name[STORE_KEY_MAX + 1], bool *ret_dir, struct err *err)
{
	size_t n = strlen(o->key);
	bool hns;
	errint_t r;

	*ret_dir = false;
	if (o->key[n - 1] != '/')
		return 0;
	r = azblob_hns(d, c, &hns, err);
	if (r || !hns)
		return r;
	while (n > 1 && o->key[n - 1] == '/')
		n--;
	memcpy(name, o->key, n);
	name[n] = 0;
	o->key = name;
	*ret_dir = true;
	return 0;
}

errint_t azblob_head_if(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *if_match, struct store_stat *ret, struct net_fields *ret_fields,
	struct err *err)
{
	char name[STORE_KEY_MAX + 1];
	struct store_obj as = o;
	struct azblob_req r;
	struct net_answer a;
	bool dir;
	errint_t e = azblob_obj_check(o, err);

	e = e ? e : azblob_marker(d, c, &as, name, &dir, err);
	if (e)
		return e;
	azblob_req_init(d, &r, "head", "HEAD", as);
	azblob_if(&r.f, if_match, NULL);
	e = azblob_send(d, c, &r, &a, err);
	if (!e) {
		e = azblob_stat(d, &a, o, true, ret, err);
		e = e ? azblob_named(d, &r, e, err) : 0;
	}
	if (!e && ret_fields) {
		*ret_fields = a.fields;
		a.fields = (struct net_fields){0};
	}
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

static errint_t azblob_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	return azblob_head_if((struct azblob *)s, c, o, NULL, ret, NULL, err);
}

/* ---- put ---- */

static void sum_add(const struct azblob *d, struct net_fields *f, const void *p, size_t len)
{
	char text[BASE64_LEN(16) + 1];
	uint8_t sum[16];

	if (d->conf.sum == AZ_SUM_OFF)
		return;
	/* MD5 even where blocks have a CRC: the service keeps it as a property that others check.
	 */
	md5(p, len, sum);
	base64_encode(sum, sizeof(sum), text);
	(void)net_field_add(f, "Content-MD5", text);
}

/*
 * The service overwrites no blob that is offline. Its bytes can be read no more than those of one
 * that was removed, so removing it, under the condition of the write, is what makes way; should the
 * write then not come through, the job that wanted it still has its bytes.
 */
errint_t azblob_make_way(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *if_match, const char *if_none_match, struct err *err)
{
	struct store_stat st = {0};
	errint_t e = azblob_head_if(d, c, o, NULL, &st, NULL, err);

	if (e)
		return e;
	store_stat_done(&st);
	e = driver_cond(st.etag, if_match, if_none_match, o, err);
	if (!e && !st.archived)
		e = err_set(err, -EAGAIN, ERR_RETRY, "%s/%s is online again", o.bucket, o.key);
	return e ? e : d->store.ops->remove(&d->store, c, o, st.etag, err);
}

bool azblob_in_the_way(const struct err *err)
{
	return !strcmp(err->code, "BlobArchived") || !strcmp(err->code, "BlobBeingRehydrated");
}

struct put {
	struct store_obj o, as; /* as: its name in an account with directories */
	bool dir;
	const void *p;
	size_t len;
	const struct store_put *opt;
};

static errint_t put_send(struct azblob *d, const struct store_call *c, const struct put *x,
	const char *if_match, const char *if_none_match, struct store_stat *ret, struct err *err)
{
	const struct store_put *opt = x->opt;
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, "put", "PUT", x->as);
	azblob_if(&r.f, if_match, if_none_match);
	(void)net_field_add(&r.f, "x-ms-blob-type", "BlockBlob");
	(void)net_field_add(&r.f, "Content-Type", "application/octet-stream");
	if (x->dir)
		(void)net_field_add(&r.f, "x-ms-meta-hdi_isfolder", "true");
	if (opt->class_name)
		(void)net_field_add(&r.f, "x-ms-access-tier", opt->class_name);
	azblob_meta_add(&r.f, opt->meta, opt->nmeta);
	sum_add(d, &r.f, x->p, x->len);
	r.q.body = x->p;
	r.q.body_len = x->len;
	e = azblob_send(d, c, &r, &a, err);
	e = e ? e
	      : azblob_stat_written(
			d, &a, x->o, x->len, opt->class_name, opt->meta, opt->nmeta, ret, err);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

/* The same as one block and its commit. */
static errint_t put_as_block(struct azblob *d, const struct store_call *c, const struct put *x,
	unsigned id_len, struct store_stat *ret, struct err *err)
{
	struct azblob_block_id id = {.random = random_u64(),
		.len = id_len,
		.index = 1,
		.crc32c = crc32c(0, x->p, x->len)};
	struct azblob_block one = {.size = x->len};
	char text[BASE64_LEN(16) + 1];
	const struct store_put *opt = x->opt;
	struct net_fields f = {0};
	struct net_answer a;
	uint8_t sum[16];
	errint_t e = 0;

	azblob_id_make(&id, one.id);
	if (x->len)
		e = azblob_block_put(d, c, x->o, one.id, x->p, x->len, err);
	if (e) {
		if (err->kind == ERR_UNKNOWN)
			err->kind = ERR_RETRY; /* nothing is committed */
		return e;
	}
	azblob_if(&f, opt->if_match, opt->if_none_match);
	(void)net_field_add(&f, "x-ms-blob-content-type", "application/octet-stream");
	if (d->conf.sum != AZ_SUM_OFF) {
		md5(x->p, x->len, sum);
		base64_encode(sum, sizeof(sum), text);
		(void)net_field_add(&f, "x-ms-blob-content-md5", text);
	}
	if (opt->class_name)
		(void)net_field_add(&f, "x-ms-access-tier", opt->class_name);
	azblob_meta_add(&f, opt->meta, opt->nmeta);
	e = azblob_commit(d, c, x->o, &one, x->len ? 1 : 0, &f, &a, err);
	e = e ? e
	      : azblob_stat_written(
			d, &a, x->o, x->len, opt->class_name, opt->meta, opt->nmeta, ret, err);
	net_answer_done(&a);
	net_fields_done(&f);
	if (e && !strcmp(err->code, "InvalidBlockList")) { /* another's commit dropped it */
		err->kind = ERR_RETRY;
		return -EAGAIN;
	}
	return e;
}

static errint_t azblob_put(struct store *s, const struct store_call *c, struct store_obj o,
	const void *p, size_t len, const struct store_put *opt, struct store_stat *ret,
	struct err *err)
{
	static const struct store_put none;
	struct azblob *d = (struct azblob *)s;
	char name[STORE_KEY_MAX + 1];
	struct put x = {.o = o, .as = o, .p = p, .len = len};
	unsigned id_len;
	errint_t e = azblob_obj_check(o, err);

	x.opt = opt = opt ? opt : &none;
	e = e ? e : driver_class_check(d->conf.classes, opt->class_name, err);
	e = e ? e : driver_meta_check(opt->meta, opt->nmeta, AZ_META_MAX, err);
	if (!e && opt->has_crc32c && crc32c(0, p, len) != opt->crc32c)
		e = err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: bytes damaged on the way", o.bucket,
			o.key);
	e = e ? e : azblob_marker(d, c, &x.as, name, &x.dir, err);
	e = e ? e : put_send(d, c, &x, opt->if_match, opt->if_none_match, ret, err);
	if (e && azblob_in_the_way(err)) {
		e = azblob_make_way(d, c, o, opt->if_match, opt->if_none_match, err);
		e = e ? e : put_send(d, c, &x, NULL, STORE_IF_ABSENT, ret, err);
	} else if (e == -EEXIST && opt->if_none_match && !x.dir) {
		e = azblob_blocks_alone(d, c, o, e, &id_len, err);
		e = e ? e : put_as_block(d, c, &x, id_len, ret, err);
	}
	if (!e && opt->has_crc32c && d->conf.sum != AZ_SUM_OFF) {
		ret->has_crc32c = true; /* the service has just compared them */
		ret->crc32c = opt->crc32c;
	}
	return e;
}

/* ---- remove ---- */

/* A condition does not hold of what is gone, and of another version. */
static errint_t stale_or_gone(struct azblob *d, const struct store_call *c, struct store_obj o,
	errint_t e, struct err *err)
{
	struct store_stat st = {0};
	struct err look = {0};
	errint_t r = azblob_head_if(d, c, o, NULL, &st, NULL, &look);

	store_stat_done(&st);
	if (!r || look.kind != ERR_NOT_FOUND)
		return e;
	*err = look;
	return r;
}

static errint_t azblob_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	char name[STORE_KEY_MAX + 1];
	struct azblob_req r;
	struct net_answer a;
	bool dir;
	errint_t e = azblob_obj_check(o, err);

	e = e ? e : azblob_marker(d, c, &o, name, &dir, err);
	if (e)
		return e;
	azblob_req_init(d, &r, "remove", "DELETE", o);
	azblob_if(&r.f, if_match, NULL);
	if (d->conf.delete_snapshots)
		(void)net_field_add(&r.f, "x-ms-delete-snapshots", "include");
	e = azblob_send(d, c, &r, &a, err);
	if (e && if_match && err->kind == ERR_STALE && !dir)
		e = stale_or_gone(d, c, o, e, err);
	if (e && dir && !strcmp(err->code, "DirectoryIsNotEmpty")) {
		e = 0; /* no marker of ours: it stays as long as something is in it */
		err_clear(err);
	}
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

static errint_t azblob_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct err one = {0};

		ret_each[i] = azblob_remove(s, c, (struct store_obj){bucket, keys[i]}, NULL, &one);
		/* What one name is refused for says nothing about the others. */
		if (ret_each[i] && one.kind != ERR_NOT_FOUND && one.kind != ERR_FINAL) {
			*err = one;
			return ret_each[i];
		}
	}
	return 0;
}

/* ---- tiers ---- */

static errint_t tier_put(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *class_name, bool archived, const char *op, struct err *err)
{
	struct azblob_req r;
	struct net_answer a;
	errint_t e;

	azblob_req_init(d, &r, op, "PUT", o);
	(void)net_url_param(&r.url, "comp", "tier");
	(void)net_field_add(&r.f, "x-ms-access-tier", class_name);
	if (archived && strcmp(class_name, AZ_ARCHIVE) != 0)
		(void)net_field_add(&r.f, "x-ms-rehydrate-priority",
			d->conf.rehydrate_high ? "High" : "Standard");
	e = azblob_send(d, c, &r, &a, err);
	net_answer_done(&a);
	azblob_req_done(&r);
	return e;
}

static errint_t offline(const struct store_stat *st, struct store_obj o, struct err *err)
{
	return err_set(err, -EIO, ERR_ARCHIVED, "%s/%s is in the offline class %s%s", o.bucket,
		o.key, AZ_ARCHIVE, st->restoring ? " and being rehydrated" : "");
}

/*
 * Set Blob Tier keeps content and ETag, so it can revert nothing; it takes no condition either, so
 * the version is looked at before and behind it. Out of Archive it is what starts a rehydration
 * right into the wanted class: asked again once that is done, it says so.
 */
static errint_t azblob_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	struct store_stat st = {0};
	errint_t e = driver_class_check(d->conf.classes, class_name, err);

	e = e ? e : azblob_head_if(d, c, o, if_match, &st, NULL, err);
	if (e)
		return e;
	if (!strcmp(st.class_name, class_name)) {
		*ret = st;
		return 0;
	}
	store_stat_done(&st);
	if (st.restoring)
		return offline(&st, o, err);
	e = tier_put(d, c, o, class_name, st.archived, "set tier", err);
	e = e ? e : azblob_head_if(d, c, o, if_match, ret, NULL, err);
	if (!e && ret->archived && strcmp(class_name, AZ_ARCHIVE) != 0) {
		store_stat_done(ret);
		e = offline(ret, o, err);
	}
	return e;
}

/* No copy for some days, as elsewhere: the blob itself moves to the first online class. */
static errint_t azblob_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	struct store_stat st = {0};
	errint_t e = azblob_head_if(d, c, o, NULL, &st, NULL, err);

	if (e)
		return e;
	store_stat_done(&st);
	if (!st.archived)
		return err_set(err, -EINVAL, ERR_FINAL,
			"%s/%s is in class %s, which needs no restore", o.bucket, o.key,
			st.class_name);
	if (st.restoring)
		return 0;
	e = tier_put(d, c, o, driver_class_default(d->conf.classes), true, "restore", err);
	if (e && !strcmp(err->code, "BlobBeingRehydrated")) {
		e = 0;
		err_clear(err);
	}
	return e;
}

/* ---- metadata ---- */

/* What the blob has and the change does not name, as it came; then what the change says. */
static errint_t meta_fields(const struct net_fields *had, const struct store_meta *meta,
	unsigned nmeta, struct net_fields *to, struct err *err)
{
	struct store_meta keep[STORE_META_MAX];
	size_t skip = strlen("x-ms-meta-"), bytes = 0;
	char key[STORE_KEY_MAX + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < had->n; i++) {
		const struct net_field *v = &had->v[i];

		if (strncasecmp(v->name, "x-ms-meta-", skip) != 0 ||
			(azblob_meta_key(v->name + skip, key) &&
				driver_meta_find(meta, nmeta, key)))
			continue;
		(void)net_field_add(to, v->name, v->value);
		bytes += strlen(v->name + skip) + strlen(v->value);
	}
	for (unsigned i = 0; i < nmeta; i++)
		if (meta[i].value)
			keep[n++] = meta[i];
	azblob_meta_add(to, keep, n);
	if (to->failed)
		return err_set(err, to->failed, ERR_RETRY, "no memory");
	for (unsigned i = 0; i < n; i++)
		bytes += strlen(keep[i].key) + strlen(keep[i].value);
	return bytes > AZ_META_ALL ? err_set(err, -E2BIG, ERR_FINAL,
					     "more metadata than the %d bytes that a blob can have",
					     AZ_META_ALL)
				   : 0;
}

/* What is known of the blob after the change: what was known, with what was sent. */
static errint_t meta_stat(const struct net_answer *a, const struct net_fields *sent,
	struct store_stat *st, struct store_obj o, struct err *err)
{
	const char *date = net_field_get(&a->fields, "last-modified");
	size_t skip = strlen("x-ms-meta-");

	if (azblob_etag(net_field_get(&a->fields, "etag"), st->etag))
		return err_set(err, -EBADMSG, ERR_UNKNOWN, "%s/%s: the answer has no usable ETag",
			o.bucket, o.key);
	if (date)
		(void)net_date_parse(date, &st->mtime_ns);
	store_stat_done(st); /* its metadata alone */
	for (unsigned i = 0; i < sent->n; i++)
		if (!strncasecmp(sent->v[i].name, "x-ms-meta-", skip) &&
			strcasecmp(sent->v[i].name + skip, "hdi_isfolder") != 0 &&
			!azblob_meta_take(st, sent->v[i].name + skip, sent->v[i].value))
			return err_set(err, -ENOMEM, ERR_UNKNOWN, "no memory");
	return 0;
}

/* Set Blob Metadata replaces all of it: so what is there comes first, of one version. */
static errint_t set_meta_once(struct azblob *d, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	char name[STORE_KEY_MAX + 1];
	struct net_fields had = {0};
	struct store_obj as = o;
	struct azblob_req r;
	struct net_answer a = {0};
	bool dir;
	errint_t e = azblob_head_if(d, c, o, if_match, ret, &had, err);

	if (e)
		return e;
	e = azblob_marker(d, c, &as, name, &dir, err);
	azblob_req_init(d, &r, "set metadata", "PUT", as);
	(void)net_url_param(&r.url, "comp", "metadata");
	azblob_if(&r.f, ret->etag, NULL);
	e = e ? e : meta_fields(&had, meta, nmeta, &r.f, err);
	if (!e) {
		e = azblob_send(d, c, &r, &a, err);
		e = e ? e : meta_stat(&a, &r.f, ret, o, err);
		net_answer_done(&a);
	}
	azblob_req_done(&r);
	net_fields_done(&had);
	if (e)
		store_stat_done(ret);
	return e;
}

static errint_t azblob_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	struct azblob *d = (struct azblob *)s;
	errint_t e = azblob_obj_check(o, err);

	e = e ? e : driver_meta_check(meta, nmeta, AZ_META_MAX, err);
	for (unsigned i = 0; !e; i++) {
		e = set_meta_once(d, c, o, if_match, meta, nmeta, ret, err);
		/* Somebody was quicker: where no version in particular is meant it is tried again.
		 */
		if (!e || if_match || err->kind != ERR_STALE || i == META_RACES)
			return e;
		*ret = (struct store_stat){0};
		e = call_check(c, err);
	}
	return e;
}

/* ---- the store ---- */

static void azblob_destroy(struct store *s)
{
	struct azblob *d = (struct azblob *)s;

	azblob_uploads_done(d);
	azblob_cred_destroy(d->cred);
	net_destroy(d->net);
	lock_done(&d->lock);
	free(d);
}

static void azblob_describe(struct store *s, struct buf *ret)
{
	const struct azblob *d = (const struct azblob *)s;

	(void)buf_addf(ret, "%s, with ", d->conf.base);
	azblob_cred_describe(d->cred, ret);
	if (atomic_load(&d->hns) == 1)
		(void)buf_addf(ret, "; it has directories, renames %s%s",
			d->conf.dfs[0] ? "by " : "are copies: no dfs_endpoint", d->conf.dfs);
}

static const struct store_ops azblob_ops = {
	.name = "azure",
	.caps = azblob_caps,
	.describe = azblob_describe,
	.head = azblob_head,
	.get = azblob_get,
	.put = azblob_put,
	.remove = azblob_remove,
	.remove_many = azblob_remove_many,
	.list = azblob_list,
	.copy = azblob_copy,
	.rename = azblob_rename,
	.set_tier = azblob_set_tier,
	.restore = azblob_restore,
	.parts_begin = azblob_parts_begin,
	.part_put = azblob_part_put,
	.part_copy = azblob_part_copy,
	.parts_list = azblob_parts_list,
	.parts_finish = azblob_parts_finish,
	.parts_abort = azblob_parts_abort,
	.parts_pending = azblob_parts_pending,
	.set_meta = azblob_set_meta,
	.bucket_list = azblob_bucket_list,
	.bucket_create = azblob_bucket_create,
	.bucket_remove = azblob_bucket_remove,
	.destroy = azblob_destroy,
};

errint_t store_azblob_new(const struct azblob_conf *conf, struct azblob_cred_conf *cred,
	struct store **ret, struct err *err)
{
	struct azblob *d = calloc(1, sizeof(*d));
	errint_t r = 0;

	if (!d) {
		azblob_cred_conf_done(cred);
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	d->store.ops = &azblob_ops;
	d->conf = *conf;
	d->conf.net = (struct net_conf){0};
	atomic_init(&d->hns, conf->hns);
	atomic_init(&d->range_sum, conf->sum == AZ_SUM_AUTO ? AZ_SUM_CRC64 : conf->sum);
	for (unsigned i = 0; i < TIER_N; i++)
		if (!strcmp(conf->classes[i].name, driver_class_default(conf->classes)))
			atomic_init(&d->inferred, i);
	lock_init(&d->lock, RANK_STORE_D, "azblob");
	LIST_INIT(&d->shared.uploads);
	d->net = net_new(&conf->net, err);
	if (d->net)
		r = azblob_cred_new(cred, d->net, &d->cred, err);
	else
		azblob_cred_conf_done(cred);
	if (!d->net || r) {
		azblob_destroy(&d->store);
		return r ? r : -EINVAL;
	}
	*ret = &d->store;
	return 0;
}
