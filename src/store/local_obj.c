/* SPDX-License-Identifier: MIT */
/*
 * Objects of the local driver: reading, writing, removing and changing one, by the parts made in
 * local_tmp.c, local_rec.c and local_sum.c. Writes to a key hold its stripe; readers hold nothing:
 * they open one file, and record and bytes of that file belong together for ever.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "local_priv.h"

#define GET_TRIES 8 /* versions that come and go while one reader wants the checksums of one */

errint_t local_head(struct store *s, const struct store_call *c, struct store_obj o,
	struct store_stat *ret, struct err *err)
{
	struct local *l = (struct local *)s;
	char path[LOCAL_PATH_MAX];
	struct lpath lp;
	struct lrec rec;
	errint_t r;

	lpath_set(l, o, &lp);
	r = local_find(l, o, &lp, &rec, path, err);
	return r ? r : lrec_stat(l, &rec, ret, err);
}

/* ---- get ---- */

/* Bytes that nothing vouches for: read, and see that the file was not changed meanwhile, before
 * anybody is shown them. */
static errint_t get_plain(const struct store_call *c, int fd, const struct lrec *rec,
	const char *path, uint64_t off, void *p, size_t len, struct err *err)
{
	size_t done = 0;

	while (done < len) {
		size_t step = MIN_OF(len - done, LOCAL_IO), got;
		errint_t r = call_check(c, err);

		r = r ? r : lio_read(fd, off + done, (uint8_t *)p + done, step, &got);
		if (r)
			return r == -ECANCELED || r == -ETIMEDOUT
				       ? r
				       : err_set(err, -EIO, ERR_FINAL, "cannot read %.200s: %s",
						 path, strerror(-r));
		if (got != step)
			return err_set(
				err, -EIO, ERR_RETRY, "%.200s was cut while it was read", path);
		r = lrec_still(rec, fd, path, err);
		if (r)
			return r;
		done += step;
		store_progressed(c->progress, done);
	}
	return 0;
}

errint_t local_get(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, uint64_t off, void *p, size_t len, size_t *ret_len, struct err *err)
{
	struct local *l = (struct local *)s;

	for (unsigned tries = 0; tries < GET_TRIES; tries++) {
		char path[LOCAL_PATH_MAX];
		cleanup_fd int fd = -1;
		struct lrec rec;
		size_t n;
		errint_t r = local_open_src(l, o, if_match, &fd, &rec, path, err);

		if (r)
			return r;
		n = off >= rec.size ? 0 : (size_t)MIN_OF((uint64_t)len, rec.size - off);
		if (!n)
			r = 0;
		else if (rec.foreign || rec.adopted || !l->verify)
			r = get_plain(c, fd, &rec, path, off, p, n, err);
		else
			r = lsum_read(l, c, o, fd, &rec, path, off, p, n, err);
		if (r == -EIO && lrec_still(&rec, fd, path, err) == -ESTALE)
			return -ESTALE; /* no damage: somebody writes to it */
		if (!r)
			*ret_len = n;
		if (r != -ENOENT)
			return r;
		/* The checksums went away: with a version that was replaced, or for real. */
	}
	return err_set(err, -EIO, ERR_FINAL,
		"%s/%s is damaged: the file of its checksums is gone (verify=no reads without)",
		o.bucket, o.key);
}

/* ---- put ---- */

/* Object "d/" without bytes: the record goes to the directory. */
static errint_t put_marker(struct local *l, struct store_obj o, const struct lpath *lp,
	struct lrec *rec, const struct store_put *opt, struct store_stat *ret, struct err *err)
{
	char place[LOCAL_PATH_MAX], inside[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	struct lrec old;
	unsigned stripe;
	errint_t r;

	snprintf(inside, sizeof(inside), "%.*s/x", LOCAL_PATH_MAX - 3, lp->p);
	local_tree_lock(l);
	r = local_parents(l, o, lp, inside, err);
	stripe = local_lock(l, o.bucket, o.key, strlen(o.key));
	if (!r) {
		r = local_find(l, o, lp, &old, place, err);
		if (r != -ENOENT && r != -EIO && r)
			goto out;
		r = driver_cond(r == -ENOENT ? NULL
				: r	     ? "damaged"
					     : old.etag,
			opt->if_match, opt->if_none_match, o, err);
	}
	r = r ? r : lrec_stat(l, rec, ret, err);
	r = r ? r : lrec_save(rec, lp->p, -1, err);
	for (unsigned i = 1; !r && lpath_place(lp, i, place); i++)
		(void)unlink(place); /* its form with bytes */
out:
	local_unlock(l, stripe);
	local_tree_unlock(l);
	if (!r && l->sync) {
		fd = open(lp->p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			r = local_fail(-errno, "cannot sync", lp->p, err);
	}
	if (r)
		store_stat_done(ret);
	return r;
}

errint_t local_put(struct store *s, const struct store_call *c, struct store_obj o, const void *p,
	size_t len, const struct store_put *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_put none;
	struct local *l = (struct local *)s;
	struct ltmp t = LTMP_INIT;
	struct lpath lp;
	struct lrec rec;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(l->classes, opt->class_name, err);
	r = r ? r : driver_meta_check(opt->meta, opt->nmeta, DRIVER_META_BYTES_MAX, err);
	if (r)
		return r;
	lpath_set(l, o, &lp);
	if (lp.marker && !len) {
		r = local_private_make(l, o.bucket, err);
		driver_etag(t.etag);
		ltmp_rec(l, o, &t, opt->class_name, opt->meta, opt->nmeta, &rec);
		rec.has_crc = true;
		return r ? r : put_marker(l, o, &lp, &rec, opt, ret, err);
	}
	r = ltmp_new(l, o.bucket, &t, err);
	r = r ? r : ltmp_append(&t, p, len, err);
	r = r ? r : ltmp_end(&t, err);
	if (!r && opt->has_crc32c && opt->crc32c != t.crc)
		r = err_set(err, -EBADMSG, ERR_RETRY, "%s/%s: bytes damaged on the way", o.bucket,
			o.key);
	if (!r) {
		ltmp_rec(l, o, &t, opt->class_name, opt->meta, opt->nmeta, &rec);
		r = ltmp_sums(l, o.bucket, &t, &rec, err);
	}
	if (!r)
		r = ltmp_commit(l, o, &lp, &t, &rec, opt->if_match, opt->if_none_match, ret, err);
	ltmp_done(l, o.bucket, &t);
	return r;
}

/* ---- remove ---- */

/* Opened before what is in it goes: another may take the directory away then, and a third make it
 * anew, before what is above it is synced. -1: not needed, or not to be had. */
static int dir_open(const struct local *l, const char *path)
{
	char dir[LOCAL_PATH_MAX];

	if (!l->sync)
		return -1;
	snprintf(dir, sizeof(dir), "%s", path);
	lpath_up(dir);
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What was removed from dir, which fd is, or from what was pruned below it, stays away. */
static errint_t removed_sync(
	const struct local *l, const struct lpath *lp, int fd, char *dir, struct err *err)
{
	struct stat st;
	errint_t r;

	if (!l->sync)
		return 0;
	if (fd >= 0 && fsync(fd))
		return local_fail(-errno, "cannot sync", dir, err);
	r = fd >= 0 ? 0 : local_fsync_dir(l, dir, err);
	if (fd >= 0 ? !fstat(fd, &st) && st.st_nlink : !lstat(dir, &st))
		return r;
	while (!r && strlen(dir) > lp->bucket_len) {
		lpath_up(dir);
		r = local_fsync_dir(l, dir, err);
	}
	return r;
}

/* Takes the object away; dir gets the directory it was in, *ret_fd the same. With a sidecar the
 * file becomes a temporary one, tmp, which goes when that is durable: a crash leaves no checksums
 * behind that nobody knows, and no object without them. */
static errint_t remove_one(struct local *l, struct store_obj o, const struct lpath *lp,
	const char *if_match, char dir[LOCAL_PATH_MAX], int *ret_fd, char tmp[LOCAL_PATH_MAX],
	struct err *err)
{
	char name[64], etag[DRIVER_ETAG_LEN + 1];
	struct lrec rec;
	unsigned stripe = local_lock(l, o.bucket, o.key, strlen(o.key));
	errint_t r = local_find(l, o, lp, &rec, dir, err);
	bool damaged = r == -EIO, is_dir = lp->marker && !strcmp(dir, lp->p);

	tmp[0] = 0;
	*ret_fd = (!r || damaged) && !is_dir ? dir_open(l, dir) : -1;
	if (!r || damaged)
		r = driver_cond(damaged ? "damaged" : rec.etag, if_match, NULL, o, err);
	if (!r && is_dir) {
		r = lremovexattr(dir, LOCAL_XATTR) ? -errno : 0;
	} else if (!r && !damaged && (rec.sidecar || rec.left[0])) {
		driver_etag(etag);
		snprintf(name, sizeof(name), "tmp/%s.%s", l->owner, etag);
		lpath_private(l, o.bucket, name, tmp);
		r = rename(dir, tmp) ? -errno : 0;
	} else if (!r) {
		r = unlink(dir) ? -errno : 0;
	}
	if (r && r != -ENOENT && r != -ESTALE)
		r = local_fail(r, "cannot remove", dir, err);
	local_unlock(l, stripe);
	if (!r && !is_dir)
		lpath_up(dir);
	return r;
}

errint_t local_remove(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, struct err *err)
{
	struct local *l = (struct local *)s;
	char dir[LOCAL_PATH_MAX], tmp[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	struct lpath lp;
	size_t len;
	errint_t r;

	lpath_set(l, o, &lp);
	r = remove_one(l, o, &lp, if_match, dir, &fd, tmp, err);
	if (r)
		return r;
	len = strlen(dir);
	local_prune(l, &lp, dir);
	r = removed_sync(l, &lp, strlen(dir) == len ? fd : -1, dir, err);
	if (!r && tmp[0]) /* else the next start removes it */
		local_tmp_remove(l, o.bucket, tmp);
	return r;
}

errint_t local_remove_many(struct store *s, const struct store_call *c, const char *bucket,
	const char *const *keys, size_t n, errint_t *ret_each, struct err *err)
{
	struct err one;
	errint_t r = 0;

	for (size_t i = 0; i < n && !r; i++) {
		r = call_check(c, err);
		if (!r)
			ret_each[i] =
				local_remove(s, c, (struct store_obj){bucket, keys[i]}, NULL, &one);
	}
	return r;
}

/* ---- changes in place ---- */

/* Writes a changed record back, durably; the caller holds the stripe. */
static errint_t record_change(const struct local *l, const char *bucket, struct lrec *rec,
	const char *path, struct store_stat *ret, struct err *err)
{
	char side[LOCAL_PATH_MAX];
	cleanup_fd int fd = -1;
	errint_t r;

	if (rec->foreign) { /* from now on a file with a record, which holds until it is changed */
		rec->foreign = false;
		rec->adopted = true;
	}
	r = lrec_save(rec, path, -1, err);
	if (!r && l->sync) {
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fsync(fd))
			r = local_fail(-errno, "cannot sync", path, err);
	}
	if (!r && rec->left[0]) { /* the record that named them is gone */
		lpath_sidecar(l, bucket, rec->left, side);
		(void)unlink(side);
	}
	return r ? r : ret ? lrec_stat(l, rec, ret, err) : 0;
}

struct change { /* what set_tier, restore and set_meta do to the record */
	const char *class_name;
	unsigned days;
	const struct store_meta *meta;
	unsigned nmeta;
	bool set_meta;
};

static errint_t change_apply(const struct local *l, struct store_obj o, const struct change *ch,
	struct lrec *rec, bool *ret_changed, struct err *err)
{
	struct store_stat st = {0};
	errint_t r = 0;

	*ret_changed = true;
	lrec_cold(l, rec, &st);
	if (ch->set_meta) {
		struct store_meta all[STORE_META_MAX];

		r = driver_meta_merge(rec->meta, rec->nmeta, ch->meta, ch->nmeta,
			DRIVER_META_BYTES_MAX, all, &rec->nmeta, err);
		if (!r)
			memcpy(rec->meta, all, rec->nmeta * sizeof(all[0]));
	} else if (ch->days) {
		r = driver_restore(l->classes, &st, ch->days, &rec->cold, o, err);
	} else if (!strcmp(rec->class_name, ch->class_name)) {
		*ret_changed = false;
	} else {
		r = driver_readable(&st, o, err);
		snprintf(rec->class_name, sizeof(rec->class_name), "%s", ch->class_name);
		rec->cold = (struct driver_cold){0};
	}
	return r;
}

static errint_t change(struct local *l, struct store_obj o, const char *if_match,
	const struct change *ch, struct store_stat *ret, struct err *err)
{
	char path[LOCAL_PATH_MAX];
	struct lpath lp;
	struct lrec rec;
	unsigned stripe;
	bool changed;
	errint_t r;

	lpath_set(l, o, &lp);
	stripe = local_lock(l, o.bucket, o.key, strlen(o.key));
	r = local_find(l, o, &lp, &rec, path, err);
	r = r ? r : driver_cond(rec.etag, if_match, NULL, o, err);
	r = r ? r : change_apply(l, o, ch, &rec, &changed, err);
	if (!r && changed)
		r = record_change(l, o.bucket, &rec, path, ret, err);
	else if (!r && ret)
		r = lrec_stat(l, &rec, ret, err);
	local_unlock(l, stripe);
	return r;
}

errint_t local_set_tier(struct store *s, const struct store_call *c, struct store_obj o,
	const char *class_name, const char *if_match, struct store_stat *ret, struct err *err)
{
	struct local *l = (struct local *)s;
	struct change ch = {.class_name = class_name};
	errint_t r = driver_class_check(l->classes, class_name, err);

	return r ? r : change(l, o, if_match, &ch, ret, err);
}

errint_t local_restore(struct store *s, const struct store_call *c, struct store_obj o,
	unsigned days, struct err *err)
{
	struct change ch = {.days = days};

	return change((struct local *)s, o, NULL, &ch, NULL, err);
}

errint_t local_set_meta(struct store *s, const struct store_call *c, struct store_obj o,
	const char *if_match, const struct store_meta *meta, unsigned nmeta, struct store_stat *ret,
	struct err *err)
{
	struct change ch = {.meta = meta, .nmeta = nmeta, .set_meta = true};
	errint_t r = driver_meta_check(meta, nmeta, DRIVER_META_BYTES_MAX, err);

	return r ? r : change((struct local *)s, o, if_match, &ch, ret, err);
}

/* ---- copy ---- */

/* Bytes with their checksums; no byte passes through us. */
static errint_t copy_sums(struct local *l, const struct store_call *c, struct store_obj src, int fd,
	const struct lrec *from, const char *bucket, struct ltmp *t, struct err *err)
{
	size_t n = lsum_count(from->size);
	errint_t r = 0;

	t->sums = malloc(4 * n + 1);
	if (!t->sums)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for checksums");
	t->nsums = t->cap = n;
	if (n)
		r = lsum_get(l, src, from, 0, n, t->sums, err);
	if (r)
		return r == -ENOENT ? err_set(err, -EAGAIN, ERR_RETRY, "%s/%s was replaced",
					      src.bucket, src.key)
				    : r;
	t->size = from->size;
	t->crc = from->crc;
	if (!t->size || !ioctl(t->fd, FICLONE, fd))
		return 0;
	if (ftruncate(t->fd, (off_t)from->size))
		return local_fail(-errno, "cannot size", t->path, err);
	return lio_copy(c, fd, 0, t->fd, 0, from->size, true, err);
}

/* Bytes without checksums: they get some on the way. */
static errint_t copy_plain(const struct store_call *c, int fd, const struct lrec *from,
	const char *path, struct ltmp *t, struct err *err)
{
	struct store_call quiet = {.deadline_mono_ns = c->deadline_mono_ns, .cancel = c->cancel};
	cleanup_free uint8_t *buf = malloc(LOCAL_IO);
	errint_t r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (uint64_t at = 0; !r && at < from->size;) {
		size_t n = (size_t)MIN_OF((uint64_t)LOCAL_IO, from->size - at);

		r = get_plain(&quiet, fd, from, path, at, buf, n, err);
		r = r ? r : ltmp_append(t, buf, n, err);
		at += n;
	}
	return r ? r : ltmp_end(t, err);
}

static unsigned copy_meta(const struct store_copy *opt, const struct lrec *from,
	struct store_meta meta[STORE_META_MAX])
{
	const struct store_meta *m = opt->replace_meta ? opt->meta : from->meta;
	unsigned have = opt->replace_meta ? opt->nmeta : from->nmeta, n = 0;

	for (unsigned i = 0; i < have && n < STORE_META_MAX - 1; i++)
		if (!opt->write_mark || strcmp(m[i].key, STORE_META_WRITE))
			meta[n++] = m[i];
	if (opt->write_mark)
		meta[n++] = (struct store_meta){STORE_META_WRITE, opt->write_mark};
	return n;
}

errint_t local_copy(struct store *s, const struct store_call *c, struct store_obj src,
	struct store_obj dst, const struct store_copy *opt, struct store_stat *ret, struct err *err)
{
	static const struct store_copy none;
	struct local *l = (struct local *)s;
	struct store_meta meta[STORE_META_MAX];
	struct ltmp t = LTMP_INIT;
	cleanup_fd int fd = -1;
	char path[LOCAL_PATH_MAX];
	struct lrec from, rec;
	struct lpath lp;
	unsigned nmeta;
	errint_t r;

	opt = opt ? opt : &none;
	r = driver_class_check(l->classes, opt->class_name, err);
	r = r ? r : local_open_src(l, src, opt->src_if_match, &fd, &from, path, err);
	if (r)
		return r;
	nmeta = copy_meta(opt, &from, meta);
	r = driver_meta_check(meta, nmeta, DRIVER_META_BYTES_MAX, err);
	if (r)
		return r;
	lpath_set(l, dst, &lp);
	if (lp.marker && !from.size) {
		struct store_put put = {.if_match = opt->dst_if_match,
			.if_none_match = opt->dst_if_none_match,
			.class_name = opt->class_name ? opt->class_name : from.class_name,
			.meta = meta,
			.nmeta = nmeta};

		return local_put(s, c, dst, NULL, 0, &put, ret, err);
	}
	r = ltmp_new(l, dst.bucket, &t, err);
	if (!r && (from.foreign || from.adopted))
		r = copy_plain(c, fd, &from, path, &t, err);
	else if (!r)
		r = copy_sums(l, c, src, fd, &from, dst.bucket, &t, err);
	r = r ? r : lrec_still(&from, fd, path, err);
	if (!r) {
		ltmp_rec(l, dst, &t, opt->class_name ? opt->class_name : from.class_name, meta,
			nmeta, &rec);
		r = ltmp_sums(l, dst.bucket, &t, &rec, err);
	}
	if (!r)
		r = ltmp_commit(
			l, dst, &lp, &t, &rec, opt->dst_if_match, opt->dst_if_none_match, ret, err);
	ltmp_done(l, dst.bucket, &t);
	return r;
}
