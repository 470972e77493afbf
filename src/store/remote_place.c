/* SPDX-License-Identifier: MIT */
/*
 * Where the objects of a section are: directories of local ones, what tells them from others, and
 * that no two sections show the same objects. Everything here runs once, at the start.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_path.h"
#include "remote.h"

/* ---- directories ---- */

/* One that is not absolute is ours to make, so it stays where ours are. */
static errint_t below_check(const struct conf_item *it, struct err *err)
{
	const char *v = it ? it->value : "";

	while (*v && *v != '/') {
		size_t len = strcspn(v, "/");

		if ((len == 1 && v[0] == '.') || (len == 2 && v[0] == '.' && v[1] == '.'))
			return conf_err(it, err,
				"'%s' leads out of the data directory; allowed: an absolute path, "
				"or one below it, without '.' and '..'",
				it->value);
		v += len;
		v += strspn(v, "/");
	}
	return 0;
}

/* What somebody names must be there: made anew it would be an empty directory where a disk was to
 * be mounted, and fill the one below. Ours are those below data_dir. */
static errint_t named_check(const struct conf_item *it, const char *root, struct err *err)
{
	struct stat st;

	if (!it || it->value[0] != '/')
		return 0;
	if (stat(root, &st) < 0)
		return conf_err(it, err, "the directory '%s' cannot be used: %s", root,
			err_text(NULL, -errno));
	return S_ISDIR(st.st_mode) ? 0 : conf_err(it, err, "'%s' is no directory", root);
}

errint_t remote_root(const struct section *s, const char *name, const char *data_dir, char *ret,
	size_t size, struct err *err)
{
	const struct conf_item *it = section_item(s, "path");
	const char *v = it ? it->value : NULL;
	char cwd[2048] = "";
	errint_t r = below_check(it, err);
	int n;

	if (r)
		return r;
	if (v && v[0] == '/') {
		n = snprintf(ret, size, "%s", v);
	} else {
		if (!data_dir || !data_dir[0])
			return err_set(err, -EINVAL, ERR_FINAL,
				"remote '%s' has no path and there is no data directory", name);
		if (data_dir[0] != '/' && !getcwd(cwd, sizeof(cwd)))
			return err_set(err, -errno, ERR_FINAL, "cannot tell the directory: %s",
				strerror(errno));
		n = snprintf(ret, size, "%s%s%s/%s", cwd, cwd[0] ? "/" : "", data_dir,
			v && v[0] ? v : name);
	}
	if (n < 0 || (size_t)n >= size)
		return err_set(err, -ENAMETOOLONG, ERR_FINAL, "remote '%s': path too long", name);
	while (n > 1 && ret[n - 1] == '/')
		ret[--n] = 0;
	return named_check(it, ret, err);
}

/* ---- the same objects twice ---- */

static bool values_alike(const struct section *a, const struct section *b, const char *const *keys)
{
	for (; keys && *keys; keys++) {
		const char *va = section_value(a, *keys), *vb = section_value(b, *keys);

		if (strcmp(va ? va : "", vb ? vb : "") != 0)
			return false;
	}
	return true;
}

/* What it shows of its service, as a path that ends in '/'. */
static errint_t tree_of(
	const struct remote_place *p, const char *data_dir, char **ret, struct err *err)
{
	char root[STORE_ROOT_MAX] = "", real[PATH_MAX];
	const struct remote *r = p->r;
	errint_t e = p->type->on_disk
			     ? remote_root(p->s, r->name, data_dir, root, sizeof(root), err)
			     : 0;

	*ret = NULL;
	if (e)
		return e;
	if (asprintf(ret, "%s/%s%s%s", root[0] && realpath(root, real) ? real : root, r->bucket,
		    r->bucket[0] ? "/" : "", r->prefix) < 0)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	return 0;
}

static bool overlap(const char *a, const char *b)
{
	return strncmp(a, b, MIN_OF(strlen(a), strlen(b))) == 0;
}

static bool same_store(const struct remote_place *a, const struct remote_place *b)
{
	bool all = !a->r->bucket[0] || !b->r->bucket[0];

	if (a->type != b->type || !(a->type->on_disk || a->type->same_service))
		return false;
	return values_alike(a->s, b->s, a->type->same_service) &&
	       (!all || values_alike(a->s, b->s, a->type->same_account));
}

static errint_t pair_check(const struct remote_place *a, const struct remote_place *b,
	const char *data_dir, struct err *err)
{
	cleanup_free char *ta = NULL, *tb = NULL;
	errint_t e = same_store(a, b) ? tree_of(a, data_dir, &ta, err) : 0;

	if (e || !ta)
		return e;
	e = tree_of(b, data_dir, &tb, err);
	if (e || !overlap(ta, tb))
		return e;
	return conf_err(section_any(b->s), err,
		"[remote %s] and [remote %s] show the same objects: give them different %s, "
		"buckets "
		"or prefixes",
		a->r->name, b->r->name, a->type->on_disk ? "paths" : "accounts");
}

errint_t remotes_apart(
	const struct remote_place *p, size_t n, const char *data_dir, struct err *err)
{
	errint_t e = 0;

	for (size_t i = 0; i < n && !e; i++) {
		for (size_t k = 0; k < i && !e; k++)
			e = pair_check(&p[k], &p[i], data_dir, err);
	}
	return e;
}

/* ---- what it is ---- */

errint_t remote_ident(const struct remote_place *p, const char *data_dir, const char *home,
	struct remote_ident *ret, struct err *err)
{
	const struct remote *r = p->r;
	cleanup_free char *root = NULL, *top = path_real(home);
	const char *dir = "";
	errint_t e = 0;

	(void)snprintf(ret->name, sizeof(ret->name), "%s", r->name);
	if (p->type->on_disk)
		e = remote_root(p->s, r->name, data_dir, ret->root, STORE_ROOT_MAX, err);
	if (e)
		return e;
	root = ret->root[0] ? path_real(ret->root) : strdup("");
	if (!root || !top)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	if (*root) {
		dir = path_below(root, top);
		dir = dir ? dir : root;
	}
	(void)snprintf(ret->is, sizeof(ret->is), "%s%s%s%s%s%s%s%s%s", p->type->name,
		*dir ? " " : "", dir, r->service[0] ? " of " : "", r->service,
		r->bucket[0] ? ", bucket " : "", r->bucket, r->prefix[0] ? ", prefix " : "",
		r->prefix);
	return 0;
}
