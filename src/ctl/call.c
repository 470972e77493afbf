/* SPDX-License-Identifier: MIT */
/*
 * What verbs share: lines to the client, the path of a request, and vfs operations that are waited
 * for. Each connection's thread works alone.
 */
#include "ctl_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"

#define PATH_BYTES 4096
#define TEXT_CHUNK 32768

bool ctl_cancelled(const struct ctl_conn *c)
{
	return atomic_load(&c->cancel) || atomic_load(&c->ctl->stop);
}

void ctl_pause(unsigned ms)
{
	const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	(void)nanosleep(&ts, NULL);
}

errint_t ctl_send(struct ctl_conn *c, const char *key, json_t *value)
{
	cleanup_json json_t *line = NULL;
	errint_t r;

	if (!value)
		return -ENOMEM;
	line = json_pack("{s:o}", key, value);
	if (!line)
		return -ENOMEM;
	r = json_write_line(c->fd, line);
	if (r)
		atomic_store(&c->cancel, true);
	return r;
}

/* A JSON string must be UTF-8: a chunk does not end within a character. */
static size_t chunk_of(const char *p, size_t len)
{
	size_t n = MIN_OF(len, (size_t)TEXT_CHUNK);

	while (n < len && n > TEXT_CHUNK - 4 && ((unsigned char)p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

errint_t ctl_text(struct ctl_conn *c, const char *p, size_t len)
{
	errint_t r = 0;

	while (len && !r) {
		size_t n = chunk_of(p, len);
		cleanup_free char *copy = strndup(p, n);

		r = copy ? ctl_send(c, "text", json_text(copy)) : -ENOMEM;
		p += n;
		len -= n;
	}
	return r;
}

const char *ctl_parked_text(
	struct jobs *jobs, const struct jobs_stat *js, char ret[PARKED_TEXT_MAX])
{
	char lost[200];
	struct job_info i = {0};
	bool archived = job_wait_reason(jobs, META_ROOT_INO, &i) && i.archived;

	jobs_lost_text(jobs, lost, sizeof(lost));
	(void)snprintf(ret, PARKED_TEXT_MAX,
		"%s%sjobs that wait for archived objects or the delete guard: %llu%s%s%s", lost,
		*lost ? "; " : "", (unsigned long long)(js->stuck - js->lost), archived ? " (" : "",
		archived ? i.note : "",
		archived ? "; 'astra restore' brings back what is archived)" : "");
	return ret;
}

/* ---- waiting for the vfs ---- */

static void on_done(struct vfs_call *call, errint_t r)
{
	struct ctl_wait *w = container_of(call, struct ctl_wait, call);
	LOCKED(&w->lock);

	w->r = r;
	w->done = true;
	(void)pthread_cond_signal(&w->cond);
}

struct ctl_wait *ctl_wait_new(struct ctl_conn *c, struct err *err)
{
	struct ctl_wait *w = calloc(1, sizeof(*w));

	if (!w) {
		(void)err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		return NULL;
	}
	w->c = c;
	lock_init(&w->lock, RANK_CTL, "ctl wait");
	cond_init(&w->cond);
	w->call.done = on_done;
	w->call.uid = c->ctl->conf.uid;
	w->call.gid = c->ctl->conf.gid;
	return w;
}

errint_t ctl_wait_end(struct ctl_wait *w, unsigned pulse_ms, void (*pulse)(struct ctl_conn *c))
{
	int64_t next = clock_mono_ns() + pulse_ms * NS_PER_MS;
	bool interrupted = false;
	errint_t r;

	lock_take(&w->lock);
	while (!w->done) {
		(void)cond_wait_until(&w->cond, &w->lock, clock_mono_ns() + 100 * NS_PER_MS);
		if (w->done)
			break;
		lock_drop(&w->lock);
		if (ctl_cancelled(w->c) && !interrupted) {
			atomic_store(&w->call.interrupted, true);
			vfs_interrupt(w->c->ctl->conf.vfs, &w->call);
			interrupted = true;
		} else if (pulse && clock_mono_ns() >= next) {
			pulse(w->c);
			next = clock_mono_ns() + pulse_ms * NS_PER_MS;
		}
		lock_take(&w->lock);
	}
	w->done = false; /* it may be used again */
	r = w->r;
	lock_drop(&w->lock);
	return r;
}

void ctl_wait_free(struct ctl_wait *w)
{
	(void)pthread_cond_destroy(&w->cond);
	lock_done(&w->lock);
	free(w);
}

/* ---- paths ---- */

/* A string of the request; bytes that are not UTF-8 come in hex under KEY_hex. */
static errint_t text_of(const json_t *req, const char *key, char *ret, size_t size, struct err *err)
{
	const char *s = json_string_value(json_object_get(req, key));
	char hex_key[64];
	size_t len;

	if (s) {
		if (strlen(s) >= size)
			return err_set(err, -ENAMETOOLONG, ERR_FINAL, "the path is too long");
		memcpy(ret, s, strlen(s) + 1);
		return 0;
	}
	(void)snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	s = json_string_value(json_object_get(req, hex_key));
	if (!s)
		return -ENODATA;
	len = strlen(s) / 2;
	if (len >= size || hex_decode(s, ret, len))
		return err_set(err, -EINVAL, ERR_FINAL, "the path is too long or no hex");
	ret[len] = '\0';
	return memchr(ret, '\0', len) ? err_set(err, -EINVAL, ERR_FINAL, "a NUL in the path") : 0;
}

errint_t ctl_string(const json_t *req, const char *key, char *ret, size_t size, struct err *err)
{
	errint_t r = text_of(req, key, ret, size, err);

	return r == -ENODATA ? err_set(err, -EINVAL, ERR_FINAL, "'%s' is missing", key) : r;
}

struct bare {
	const char *name;
	uint64_t ino;
	unsigned n;
};

static int on_bare(void *arg, struct meta_txn *t, const struct meta_inode *in)
{
	struct bare *b = arg;

	(void)t;
	if (strcmp(in->name, b->name) != 0 || in->flags & META_F_ORPHAN)
		return 0;
	b->ino = in->ino;
	return ++b->n > 1;
}

static errint_t bare_find(struct ctl_conn *c, const char *name, uint64_t *ret, struct err *err)
{
	struct bare b = {.name = name};
	errint_t r = tier_walk(c->ctl->conf.tier, META_ROOT_INO, on_bare, NULL, &b);

	if (r)
		return err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r));
	if (b.n > 1)
		return err_set(err, -ENOTUNIQ, ERR_FINAL,
			"there are several files called '%s': name one by its path", name);
	if (!b.n)
		return err_set(
			err, -ENOENT, ERR_NOT_FOUND, "no file in the mount is called '%s'", name);
	*ret = b.ino;
	return 0;
}

/* Component by component through the vfs, which lists what it does not know. */
static errint_t walk_vfs(struct ctl_conn *c, const char *path, uint64_t *ret, struct err *err)
{
	cleanup_free char *copy = strdup(path);
	cleanup_wait struct ctl_wait *w = ctl_wait_new(c, err);
	char *save = NULL;
	uint64_t ino = META_ROOT_INO;
	errint_t r = copy && w ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");

	for (char *name = r ? NULL : strtok_r(copy, "/", &save); name && !r;
		name = strtok_r(NULL, "/", &save)) {
		if (!strcmp(name, "."))
			continue;
		if (strlen(name) > META_NAME_MAX) {
			r = -ENAMETOOLONG;
		} else {
			vfs_lookup(c->ctl->conf.vfs, &w->call, ino, name);
			r = ctl_wait_end(w, 0, NULL);
			ino = w->call.attr.st.st_ino;
			if (!r && !ino)
				r = -ENOENT;
		}
		if (r)
			(void)err_set(err, r, r == -ENOENT ? ERR_NOT_FOUND : ERR_FINAL, "%s: %s",
				path, err_text(NULL, r));
	}
	*ret = ino;
	return r;
}

errint_t ctl_path(struct ctl_conn *c, const json_t *req, const char *key, bool optional,
	uint64_t *ret_ino, char *ret_path, struct err *err)
{
	char path[PATH_BYTES];
	struct meta_txn *t;
	errint_t r = text_of(req, key, path, sizeof(path), err);

	*ret_ino = META_ROOT_INO;
	if (r == -ENODATA && !optional)
		return err_set(err, -EINVAL, ERR_FINAL, "'%s' is missing", key);
	if (r == -ENODATA)
		memcpy(path, "/", 2);
	else if (r)
		return r;
	if (*path == '/')
		r = walk_vfs(c, path, ret_ino, err);
	else
		r = bare_find(c, path, ret_ino, err);
	if (r || !ret_path)
		return r;
	t = meta_begin_read(c->ctl->conf.meta);
	r = meta_path(t, *ret_ino, ret_path, PATH_BYTES);
	(void)meta_commit(t);
	return r ? err_set(err, r, ERR_FINAL, "%s: %s", path, err_text(NULL, r)) : 0;
}

errint_t ctl_u64(const json_t *req, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
	struct err *err)
{
	const json_t *v = json_object_get(req, key);
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return err_set(err, -EINVAL, ERR_FINAL,
			"'%s' must be a whole number from %llu to %llu", key,
			(unsigned long long)min, (unsigned long long)max);
	*ret = (uint64_t)n;
	return 0;
}

errint_t ctl_may_change(const struct ctl_conn *c, struct err *err)
{
	if (c->ctl->conf.ro)
		return err_set(err, -EROFS, ERR_FINAL, "the mount is read-only");
	return 0;
}

errint_t ctl_remote_probe(const struct remote *r, struct err *err)
{
	struct store_page page = {0};
	char **buckets = NULL;
	size_t n = 0;
	errint_t res;

	if (*r->bucket) {
		res = store_list(r->st, NULL, r->bucket, r->prefix, '/', NULL, 1, &page, err);
		store_page_done(&page);
		return res;
	}
	res = store_bucket_list(r->st, NULL, &buckets, &n, err);
	for (size_t i = 0; !res && i < n; i++)
		free(buckets[i]);
	free(buckets);
	return res;
}
