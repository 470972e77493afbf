/* SPDX-License-Identifier: MIT */
/*
 * LIST of the local driver: a walk over directories in the order of keys, from the token or the
 * prefix on, so that a page costs what it shows, plus reading each directory once (local_dir.c).
 * What comes and goes while walking is shown or not; what stays is shown exactly once.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "local_priv.h"

struct walk {
	struct local *l;
	const struct store_call *c;
	struct driver_page g;
	const char *start; /* keys before it are of no interest */
	size_t start_len;
	struct err *err;
	bool full;
	char path[LOCAL_PATH_MAX];
	size_t path_len;
	char key[STORE_KEY_MAX + 1];
	size_t key_len;
};

/* ---- one entry ---- */

/* A record, a plain file, or a damaged record, which must not spoil the listing: the read says
 * what is wrong. False when it went away. */
static bool entry_stat(struct walk *w, struct store_stat *st, struct lrec *rec, bool is_dir)
{
	errint_t r = lrec_load(w->path, -1, lkey_hash(w->key, w->key_len), rec);
	struct stat sb;

	if (r && is_dir)
		return false;
	if (r) {
		if (lstat(w->path, &sb) || !S_ISREG(sb.st_mode))
			return false;
		lrec_foreign(w->l, &sb, rec);
	}
	*st = (struct store_stat){.size = rec->size, .mtime_ns = rec->mtime_ns};
	memcpy(st->etag, rec->etag, strlen(rec->etag) + 1);
	lrec_cold(w->l, rec, st);
	st->nmeta = rec->nmeta;
	for (unsigned i = 0; i < rec->nmeta; i++)
		st->meta[i] =
			(struct store_pair){(char *)rec->meta[i].key, (char *)rec->meta[i].value};
	return true;
}

static void emit(struct walk *w, bool is_dir)
{
	struct store_stat st;
	struct lrec rec;
	size_t group;

	if (!driver_page_wants(&w->g, w->key, w->key_len, &group))
		return;
	if (group)
		w->full = !driver_page_add_group(&w->g, w->key, group);
	else if (entry_stat(w, &st, &rec, is_dir))
		w->full = !driver_page_add(&w->g, w->key, &st);
}

/* ---- walk ---- */

static errint_t walk_dir(struct walk *w);

static errint_t visit_dir(struct walk *w)
{
	size_t group = 0, tmp = strlen(STORE_TMP_PREFIX);
	bool wanted = driver_page_wants(&w->g, w->key, w->key_len, &group);

	if (!w->g.show_tmp && w->key_len >= tmp && !memcmp(w->key, STORE_TMP_PREFIX, tmp))
		return 0;
	if (group) {
		if (wanted && ldir_any(w->path))
			w->full = !driver_page_add_group(&w->g, w->key, group);
		return 0;
	}
	if (w->g.after_group && w->key_len >= w->g.after_len &&
		!memcmp(w->key, w->g.after, w->g.after_len))
		return 0;
	if (wanted)
		emit(w, true);
	return w->full ? 0 : walk_dir(w);
}

/* Adds a component to path and key; false when the key would be too long. */
static bool push(struct walk *w, struct ldir_name n)
{
	size_t len = n.kind == LDIR_DIR ? n.len - 1 : n.len;
	bool hashed;

	if (w->key_len + n.len > STORE_KEY_MAX || w->path_len + LNAME_MAX + 8 > LOCAL_PATH_MAX)
		return false;
	memcpy(w->key + w->key_len, n.s, n.len);
	w->key_len += n.len;
	w->key[w->key_len] = 0;
	w->path[w->path_len++] = '/';
	w->path_len += lname_encode(n.s, len, w->path + w->path_len, &hashed);
	if (n.kind == LDIR_ALT) {
		memcpy(w->path + w->path_len, "%obj", 5);
		w->path_len += 4;
	}
	return true;
}

/* One name of the directory at path. False: nothing behind it is of interest. */
static bool visit(struct walk *w, struct ldir_name n, errint_t *r)
{
	size_t path_len = w->path_len, key_len = w->key_len, cut;
	bool go = true;
	int d;

	/* "d/" with bytes is the file %_ in d; the record of d itself comes first. */
	if (!n.len && key_len && lgetxattr(w->path, LOCAL_XATTR, NULL, 0) > 0)
		return true;
	if (!push(w, n))
		return true;
	cut = MIN_OF(w->key_len, w->g.prefix_len);
	d = memcmp(w->key, w->g.prefix, cut);
	if (d > 0)
		go = false;
	else if (d == 0 && w->key_len >= w->g.prefix_len)
		n.kind == LDIR_DIR ? (void)(*r = visit_dir(w)) : emit(w, false);
	w->path[w->path_len = path_len] = 0;
	w->key[w->key_len = key_len] = 0;
	return go && !w->full && !*r;
}

static errint_t walk_dir(struct walk *w)
{
	const char *from = "";
	char next[STORE_KEY_MAX + 3];
	size_t from_len = 0;
	bool go = true;
	errint_t r = 0;

	if (w->start_len > w->key_len && !memcmp(w->start, w->key, w->key_len)) {
		from = w->start + w->key_len;
		from_len = strcspn(from, "/");
		from_len += from[from_len] == '/';
	}
	while (go && !r) {
		struct ldir *d;

		r = ldir_get(w->l->dirs, w->path, from, from_len, &d);
		if (r == -ENOENT || r == -ENOTDIR)
			return 0;
		if (r)
			return local_fail(r, "cannot list", w->path, w->err);
		for (size_t i = ldir_lower(d, from, from_len); i < ldir_count(d) && go && !r; i++) {
			r = i % 64 ? 0 : call_check(w->c, w->err);
			go = !r && visit(w, ldir_at(d, i), &r);
		}
		go = go && ldir_more(d) && ldir_count(d);
		if (go) { /* the next window starts right behind the last name */
			struct ldir_name last = ldir_at(d, ldir_count(d) - 1);

			memcpy(next, last.s, last.len);
			next[last.len] = 0;
			from = next;
			from_len = last.len + 1;
		}
		ldir_put(d);
	}
	return r;
}

/* Goes straight to the directory that the prefix names. */
static errint_t walk_from_prefix(struct walk *w, const char *bucket)
{
	const char *slash = strrchr(w->g.prefix, '/');
	struct lpath lp;
	struct stat sb;

	snprintf(w->path, sizeof(w->path), "%s/%s", w->l->root, bucket);
	if (lstat(w->path, &sb)) {
		if (errno == ENOENT)
			return err_set(w->err, -ENOENT, ERR_NOT_FOUND, "no bucket '%s'", bucket);
		return local_fail(-errno, "cannot list", w->path, w->err);
	}
	if (slash) {
		w->key_len = (size_t)(slash - w->g.prefix) + 1;
		memcpy(w->key, w->g.prefix, w->key_len);
		w->key[w->key_len] = 0;
		lpath_set(w->l, (struct store_obj){bucket, w->key}, &lp);
		memcpy(w->path, lp.p, strlen(lp.p) + 1);
	}
	w->path_len = strlen(w->path);
	/* The prefix itself may be an object, "d/". */
	if (w->key_len && w->key_len == w->g.prefix_len)
		emit(w, true);
	return w->full ? 0 : walk_dir(w);
}

errint_t local_list(struct store *s, const struct store_call *c, const char *bucket,
	const char *prefix, char delimiter, const char *after, const char *token, unsigned max,
	struct store_page *ret, struct err *err)
{
	cleanup_free struct walk *w = calloc(1, sizeof(*w));
	errint_t r;

	if (!w)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	w->l = (struct local *)s;
	w->c = c;
	w->err = err;
	r = driver_page_begin(&w->g, prefix, delimiter, after, token, max, err);
	if (r)
		return r;
	w->start = w->g.after_len && strcmp(w->g.after, prefix) > 0 ? w->g.after : prefix;
	w->start_len = strlen(w->start);
	r = walk_from_prefix(w, bucket);
	r = r ? r : driver_page_end(&w->g, ret, err);
	driver_page_done(&w->g);
	return r;
}
