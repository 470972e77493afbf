/* SPDX-License-Identifier: MIT */
/*
 * A remote is found by its name: directories of the index, jobs and staged files belong to it. So a
 * name that suddenly means another bucket would show the files of the old one, and carry out on the
 * new one what was asked for those. Values "ident:NAME" of the index hold what each was.
 *
 * One thread, before any job runs.
 */
#include "known.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "astra/base_buf.h"
#include "astra/base_cleanup.h"
#include "astra/base_path.h"
#include "astra/store.h"
#include "state.h"

#define KEY_FORMAT "ident:%s"
#define KEY_MAX	   (STORE_REMOTE_MAX + 8)

errint_t known_read(const struct options *o, struct known *ret, struct err *err)
{
	cleanup_free char *data = options_data_dir(o);

	*ret = (struct known){.o = o};
	if (!data)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return remotes_conf_ident(o->conf, data, o->state, &ret->ident, &ret->n, err);
}

void known_done(struct known *k)
{
	free(k->ident);
	k->ident = NULL;
}

static errint_t apart(
	const char *dir, const char *what, const char *name, const char *place, struct err *err)
{
	cleanup_free char *real = path_real(dir);

	if (!real)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (!path_below(real, place))
		return 0;
	return err_set(err, -EINVAL, ERR_FINAL,
		"%s%s, %.120s, is at or below the mount point %.120s, which would hide it: name a "
		"directory elsewhere",
		what, name, dir, place);
}

errint_t known_apart(const struct known *k, const char *place, struct err *err)
{
	errint_t r = apart(k->o->state, "the state directory", "", place, err);

	if (!r && k->o->data)
		r = apart(k->o->data, "the data directory", "", place, err);
	for (size_t i = 0; !r && i < k->n; i++) {
		if (k->ident[i].root[0])
			r = apart(k->ident[i].root, "the directory of remote ", k->ident[i].name,
				place, err);
	}
	return r;
}

errint_t known_index(const struct options *o, bool read_only, struct meta **ret, struct err *err)
{
	cleanup_free char *dir = NULL;
	struct meta_conf mc = {.read_only = read_only};
	struct stat st;
	char boot_id[64];
	bool power_cut;
	errint_t r = state_boot_id(boot_id, err);

	if (r)
		return r;
	if (asprintf(&dir, "%s/index", o->state) < 0) {
		dir = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	if (read_only && stat(dir, &st) < 0)
		return err_set(err, -ENOENT, ERR_NOT_FOUND, "there is no index in %s", o->state);
	if (!read_only) {
		r = state_mkdir(dir, err);
		if (r)
			return r;
	}
	mc.dir = dir;
	mc.boot_id = boot_id;
	return meta_open(&mc, ret, &power_cut, err);
}

/* Where the value of a general key comes from: the last one wins. */
static const struct conf_item *item_of(const struct options *o, const char *key)
{
	const struct conf_item *last = NULL;

	for (size_t i = 0; i < conf_count(o->conf); i++) {
		const struct conf_item *it = conf_at(o->conf, i);

		if ((!*it->section || !strcmp(it->section, "astrafs")) && !strcmp(it->key, key))
			last = it;
	}
	return last;
}

static bool is_remote(const struct remote_ident *ident, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(ident[i].name, name))
			return true;
	}
	return false;
}

errint_t known_moved(const struct options *o, struct err *err)
{
	const struct conf_item *it = item_of(o, "moved");
	cleanup_free struct remote_ident *ident = NULL;
	cleanup_buf struct buf names = BUF_INIT(200);
	size_t n = 0;
	errint_t r = it ? remotes_conf_ident(o->conf, "/", "/", &ident, &n, err) : 0;

	for (size_t i = 0; !r && i < n; i++)
		(void)buf_addf(&names, "%s%s", i ? ", " : "", ident[i].name);
	for (const char **m = o->moved; !r && it && m && *m; m++) {
		if (!is_remote(ident, n, *m))
			r = conf_err(it, err, "there is no remote '%.80s'; allowed: %s%s", *m,
				names.p ? names.p : "", names.failed ? ", ..." : "");
	}
	return r;
}

/* ret as is of struct remote_ident; -ENOENT. */
static errint_t was_get(struct meta_txn *t, const char *name, char *ret, size_t size)
{
	char key[KEY_MAX];
	size_t len = 0;
	errint_t r;

	(void)snprintf(key, sizeof(key), KEY_FORMAT, name);
	r = meta_kv_get(t, key, ret, size - 1, &len);
	ret[r ? 0 : len] = '\0';
	return r;
}

static bool has_moved(const struct options *o, const char *name)
{
	for (const char **m = o->moved; m && *m; m++) {
		if (!strcmp(*m, name))
			return true;
	}
	return false;
}

static errint_t one_check(
	const struct known *k, struct meta_txn *t, const struct remote_ident *i, struct err *err)
{
	char was[sizeof(i->is)];
	errint_t r = was_get(t, i->name, was, sizeof(was));

	if (r)
		return r == -ENOENT ? 0 : r;
	if (!strcmp(was, i->is) || has_moved(k->o, i->name))
		return 0;
	return err_set(err, -EPERM, ERR_FINAL,
		"remote '%s' was '%.90s' in this state directory and is '%.90s' now: give it "
		"another name, or another state=DIR; moved=%s if it is the same objects at another "
		"place",
		i->name, was, i->is, i->name);
}

errint_t known_check_index(const struct known *k, struct meta *m, struct err *err)
{
	struct meta_txn *t = meta_begin_read(m);
	errint_t r = 0, end;

	for (size_t i = 0; !r && i < k->n; i++)
		r = one_check(k, t, &k->ident[i], err);
	end = meta_commit(t);
	r = r ? r : end;
	return r && r != -EPERM
		       ? err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r))
		       : r;
}

errint_t known_check(const struct known *k, struct err *err)
{
	struct meta *m = NULL;
	errint_t r = known_index(k->o, true, &m, err);

	if (r) {
		if (r == -ENOENT)
			err_clear(err);
		return r == -ENOENT ? 0 : r;
	}
	r = known_check_index(k, m, err);
	meta_close(m);
	return r;
}

static bool is_written(struct meta_txn *t, const struct remote_ident *i)
{
	char was[sizeof(i->is)];

	return !was_get(t, i->name, was, sizeof(was)) && !strcmp(was, i->is);
}

/* Writes only when there is something new: the disk may be full. */
errint_t known_write(const struct known *k, struct meta *m)
{
	struct meta_txn *t = meta_begin_read(m);
	bool all = true;
	errint_t r;

	for (size_t i = 0; i < k->n; i++)
		all = all && is_written(t, &k->ident[i]);
	r = meta_commit(t);
	if (r || all)
		return r;
	t = meta_begin(m);
	for (size_t i = 0; i < k->n; i++) {
		const struct remote_ident *id = &k->ident[i];
		char key[KEY_MAX];

		(void)snprintf(key, sizeof(key), KEY_FORMAT, id->name);
		if (!is_written(t, id))
			(void)meta_kv_put(t, key, id->is, strlen(id->is));
	}
	return meta_commit(t);
}
