/* SPDX-License-Identifier: MIT */
/*
 * The LMDB environment: opening and closing, transactions with sticky errors, rows.
 *
 * Flags: MDB_NOSYNC (durability is made by sync.c), no WRITEMAP (so that a stray pointer cannot
 * damage the file, and meta pages are only written by commits), MDB_NOTLS (a read transaction
 * belongs to its struct, not to a thread). The map is 1 TiB of address space over a file that
 * grows as needed.
 *
 * Writers: w.lock is taken in meta_begin and dropped at the end of the transaction, after the
 * hooks; what a hook sees is thus in commit order. LMDB has a writer mutex of its own, which is
 * never contended inside the process.
 *
 * Readers: a finished read transaction is reset and kept for the next one, because taking a reader
 * slot needs a lock that all readers share.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_count.h"
#include "astra/base_log.h"

#define GROW_DEFAULT (UINT64_C(256) << 20)
#define MAP_DEFAULT  (UINT64_C(1) << 40)
#define MAP_LEAST    (UINT64_C(64) << 20)
#define READERS_MAX  512
#define POOL_MAX     64
/* Numbers skipped after a power cut: more than can be given in the time that it takes back. */
#define COUNTER_SKIP (UINT64_C(1) << 24)
#define SHORT_MAX    (UINT64_C(4) << 20)

const char *const db_table_name[T_N] = {"inode", "dentry", "dirorder", "access", "xattr", "job",
	"dirty", "orphan", "delta", "kv", "sys"};

/* ---- errors ---- */

errint_t db_err(int rc)
{
	if (rc > 0)
		return -rc;
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -ENOENT;
	case MDB_MAP_FULL:
		return -ENOSPC;
	case MDB_TXN_FULL:
		return -E2BIG;
	case MDB_READERS_FULL:
		return -EBUSY;
	case MDB_BAD_VALSIZE:
		return -EINVAL;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
		return -EBADMSG;
	default: /* MDB_PANIC and what cannot happen with our flags */
		return -EIO;
	}
}

/* Whoever meets damage has only an errno, and may be anybody: it is told here. Before a mount has
 * begun, and to those who look for it, the caller tells. Returns r. */
static errint_t met(struct meta *m, errint_t r)
{
	if (r != -EBADMSG || !m->started)
		return r;
	atomic_store(&m->damaged_ns, clock_now_ns());
	if (log_seldom("index damaged"))
		log_error("meta", "the index %s/" META_FILE_DATA " is damaged: " META_DAMAGE_HELP,
			m->dir);
	return r;
}

int64_t meta_damaged(struct meta *m)
{
	return atomic_load(&m->damaged_ns);
}

static errint_t fail(struct meta_txn *t, errint_t r)
{
	assert(r < 0);
	if (t->failed == 0 && !t->is_shared)
		t->failed = r;
	return t->failed;
}

errint_t db_fail(struct meta_txn *t, errint_t r)
{
	return fail(t, t->is_shared ? r : met(t->m, r));
}

errint_t meta_txn_failed(const struct meta_txn *t)
{
	return t->failed;
}

void meta_txn_fail(struct meta_txn *t, errint_t r)
{
	(void)fail(t, r);
}

uint64_t meta_txn_id(const struct meta_txn *t)
{
	return t->id;
}

/* ---- rows ---- */

errint_t db_get(struct meta_txn *t, enum db_table tab, const void *key, size_t len, MDB_val *ret)
{
	MDB_val k = {len, (void *)key};
	int rc;

	assert(tab < T_N && len > 0 && len <= META_KEY_MAX);
	if (t->failed != 0)
		return t->failed;
	rc = mdb_get(t->txn, t->m->dbi[tab], &k, ret);
	if (rc == MDB_NOTFOUND)
		return -ENOENT;
	return rc == 0 ? 0 : db_fail(t, db_err(rc));
}

errint_t db_put(struct meta_txn *t, enum db_table tab, const void *key, size_t len, const void *val,
	size_t val_len)
{
	MDB_val k = {len, (void *)key}, v = {val_len, (void *)val};
	int rc;

	assert(tab < T_N && len > 0 && len <= META_KEY_MAX);
	assert(t->write || t->failed != 0);
	if (t->failed != 0)
		return t->failed;
	rc = mdb_put(t->txn, t->m->dbi[tab], &k, &v, 0);
	if (rc != 0)
		return db_fail(t, db_err(rc));
	t->wrote = true;
	return 0;
}

errint_t db_del(struct meta_txn *t, enum db_table tab, const void *key, size_t len)
{
	MDB_val k = {len, (void *)key};
	int rc;

	assert(tab < T_N && len > 0 && len <= META_KEY_MAX);
	assert(t->write || t->failed != 0);
	if (t->failed != 0)
		return t->failed;
	rc = mdb_del(t->txn, t->m->dbi[tab], &k, NULL);
	if (rc == MDB_NOTFOUND)
		return -ENOENT;
	if (rc != 0)
		return db_fail(t, db_err(rc));
	t->wrote = true;
	return 0;
}

struct walk {
	MDB_cursor *c;
	uint8_t key[META_KEY_MAX + 1]; /* the row before; from that on a 0 byte leads to the next */
	size_t key_len;
	void *val; /* owned: a copy, as fn may change the page under it */
	size_t val_cap;
};

static void walk_done(struct walk *w)
{
	if (w->c != NULL)
		mdb_cursor_close(w->c);
	free(w->val);
}

/* In a write transaction: copies the row out of reach of fn's changes. */
static errint_t walk_copy(struct walk *w, MDB_val *k, MDB_val *v)
{
	if (k->mv_size > META_KEY_MAX)
		return -EBADMSG;
	memcpy(w->key, k->mv_data, k->mv_size);
	w->key[k->mv_size] = 0;
	w->key_len = k->mv_size;
	if (v->mv_size > w->val_cap || w->val == NULL) {
		size_t cap = MAX_OF(v->mv_size, 256);
		void *p = realloc(w->val, cap);

		if (p == NULL)
			return -ENOMEM;
		w->val = p;
		w->val_cap = cap;
	}
	memcpy(w->val, v->mv_data, v->mv_size);
	k->mv_data = w->key;
	v->mv_data = w->val;
	return 0;
}

errint_t db_walk(struct meta_txn *t, enum db_table tab, const void *from, size_t from_len,
	size_t prefix_len, db_row_fn fn, void *arg)
{
	__attribute__((cleanup(walk_done))) struct walk w = {0};
	MDB_val k = {from_len, (void *)from}, v;
	MDB_cursor_op op = from_len > 0 ? MDB_SET_RANGE : MDB_FIRST;
	int rc, r;

	assert(tab < T_N && from_len <= META_KEY_MAX && prefix_len <= from_len);
	if (t->failed != 0)
		return t->failed;
	rc = mdb_cursor_open(t->txn, t->m->dbi[tab], &w.c);
	if (rc != 0)
		return db_fail(t, db_err(rc));
	for (;;) {
		rc = mdb_cursor_get(w.c, &k, &v, op);
		if (rc == MDB_NOTFOUND)
			return 0;
		if (rc != 0)
			return db_fail(t, db_err(rc));
		if (k.mv_size < prefix_len || memcmp(k.mv_data, from, prefix_len) != 0)
			return 0;
		r = t->write ? walk_copy(&w, &k, &v) : 0;
		if (r == 0)
			r = fn(arg, k.mv_data, k.mv_size, v.mv_data, v.mv_size);
		if (t->failed != 0)
			return t->failed;
		if (r != 0)
			return r < 0 ? db_fail(t, r) : 0;
		op = MDB_NEXT;
		if (t->write) { /* fn may have moved or removed the row: find the place anew */
			op = MDB_SET_RANGE;
			k.mv_data = w.key;
			k.mv_size = w.key_len + 1;
		}
	}
}

errint_t db_count(struct meta_txn *t, enum db_table tab, uint64_t *ret)
{
	MDB_stat st;
	int rc;

	*ret = 0;
	if (t->failed != 0)
		return t->failed;
	rc = mdb_stat(t->txn, t->m->dbi[tab], &st);
	if (rc != 0)
		return db_fail(t, db_err(rc));
	*ret = st.ms_entries;
	return 0;
}

errint_t db_free_pages(struct meta_txn *t, uint64_t below, uint64_t *ret)
{
	MDB_cursor *c;
	MDB_val k, v;
	int rc;

	*ret = 0;
	if (t->failed != 0)
		return t->failed;
	rc = mdb_cursor_open(t->txn, 0, &c); /* table 0 is LMDB's list of free pages */
	if (rc != 0)
		return db_fail(t, db_err(rc));
	while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
		size_t n, id;

		if (v.mv_size < sizeof(n) || k.mv_size != sizeof(id)) {
			rc = MDB_CORRUPTED;
			break;
		}
		memcpy(&id, k.mv_data, sizeof(id));
		if (id >= below)
			break;
		memcpy(&n, v.mv_data, sizeof(n));
		*ret += n;
	}
	mdb_cursor_close(c);
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : db_fail(t, db_err(rc));
}

/* ---- read transactions ---- */

/* Handed out when there is no memory for another: every call on it answers -ENOMEM. */
static struct meta_txn no_memory_txn = {.failed = -ENOMEM, .is_shared = true};

struct meta_txn *meta_begin_read(struct meta *m)
{
	struct meta_txn *t;
	int rc;

	lock_take(&m->pool.lock);
	t = m->pool.free;
	if (t != NULL) {
		m->pool.free = t->next_free;
		m->pool.count--;
	}
	lock_drop(&m->pool.lock);
	if (t == NULL) {
		t = calloc(1, sizeof(*t));
		if (t == NULL)
			return &no_memory_txn;
		t->m = m;
		rc = mdb_txn_begin(m->env, NULL, MDB_RDONLY, &t->txn);
		if (rc != 0)
			t->txn = NULL;
	} else {
		t->next_free = NULL;
		rc = mdb_txn_renew(t->txn);
	}
	if (rc != 0)
		t->failed = met(m, db_err(rc));
	else
		t->id = mdb_txn_id(t->txn);
	return t;
}

static void read_end(struct meta_txn *t)
{
	struct meta *m = t->m;

	if (t->is_shared)
		return;
	if (t->failed == 0 && t->txn != NULL) {
		mdb_txn_reset(t->txn);
		lock_take(&m->pool.lock);
		if (m->pool.count < POOL_MAX) {
			t->next_free = m->pool.free;
			m->pool.free = t;
			m->pool.count++;
			t = NULL;
		}
		lock_drop(&m->pool.lock);
	}
	if (t != NULL) {
		if (t->txn != NULL)
			mdb_txn_abort(t->txn);
		free(t);
	}
}

/* ---- write transactions ---- */

struct meta_txn *meta_begin(struct meta *m)
{
	struct meta_txn *t = &m->w.txn;
	int rc;

	/* Short of space, or when the file grows fast, pages that changes free must come back into
	 * use soon: not before the next sync point. */
	if (atomic_load(&m->room.disk_low) || atomic_load(&m->room.map_tight))
		sync_throttle(m, NS_PER_S);
	else if (sync_grown(m))
		sync_throttle(m, NS_PER_S / 10); /* others wait behind our caller */
	lock_take(&m->w.lock);
	memset(t, 0, sizeof(*t));
	t->m = m;
	t->write = true;
	t->hooks = m->w.hooks;
	if (m->read_only) {
		t->failed = -EROFS;
		return t;
	}
	rc = mdb_txn_begin(m->env, NULL, 0, &t->txn);
	if (rc != 0) {
		t->txn = NULL;
		t->failed = met(m, db_err(rc));
	} else {
		t->id = mdb_txn_id(t->txn);
	}
	return t;
}

void meta_txn_hook(struct meta_txn *t, void (*fn)(void *arg, bool committed), void *arg)
{
	assert(t->write && t->hook_count < META_HOOK_MAX);
	t->hooks[t->hook_count++] = (struct meta_hook){fn, arg};
}

static errint_t write_end(struct meta_txn *t, bool commit)
{
	struct meta *m = t->m;
	bool wrote = t->wrote, deltas;
	errint_t r;

	if (commit && t->failed == 0 && m->w.before_commit != NULL)
		t->failed = m->w.before_commit(t);
	/* LMDB gives an empty commit no number; callers may wait for the one that we named. */
	if (commit && t->failed == 0 && !wrote) {
		(void)db_sys_put(t, "empty", 0);
		wrote = true;
	}
	r = commit ? t->failed : -ECANCELED;
	if (r == 0)
		r = met(m, db_err(mdb_txn_commit(t->txn)));
	else if (t->txn != NULL)
		mdb_txn_abort(t->txn);
	t->txn = NULL;
	if (r == -ENOSPC || r == -EIO)
		r = db_room_lost(m, r);
	if (r == 0 && wrote) {
		atomic_store(&m->last_txn, t->id);
		count_inc(meta_commits);
	}
	db_counter_end(&m->w.ino, r == 0);
	db_counter_end(&m->w.job, r == 0);
	deltas = r == 0 && t->deltas;
	for (unsigned i = 0; i < t->hook_count; i++)
		t->hooks[i].fn(t->hooks[i].arg, r == 0);
	lock_drop(&m->w.lock);
	if (r == 0 && wrote)
		sync_changed(m);
	if (deltas)
		access_deltas(m);
	return r;
}

errint_t meta_commit(struct meta_txn *t)
{
	errint_t r;

	if (t->write)
		return write_end(t, true);
	r = t->failed;
	read_end(t);
	return r;
}

void meta_abort(struct meta_txn *t)
{
	if (t->write)
		(void)write_end(t, false);
	else
		read_end(t);
}

/* ---- opening ---- */

errint_t db_thread(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	rc = pthread_create(ret, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		(void)pthread_setname_np(*ret, name);
	return -rc;
}

static uint64_t map_size_wish(const struct meta_conf *conf)
{
	uint64_t size = conf->map_size != 0 ? conf->map_size : MAP_DEFAULT;
	struct rlimit lim;

	if (getrlimit(RLIMIT_AS, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY)
		size = MIN_OF(size, (uint64_t)lim.rlim_cur / 4);
	size = MAX_OF(size, conf->map_size != 0 ? UINT64_C(1) << 20 : MAP_LEAST);
	return size & ~((UINT64_C(1) << 20) - 1);
}

/* LMDB found a page that cannot be, and ends the process; what only looks at the index does so with
 * an exit status. */
static void on_assert(MDB_env *env, const char *what)
{
	const struct meta *m = mdb_env_get_userctx(env);

	log_error("meta",
		"the index %s/" META_FILE_DATA " is damaged (%s): unmounted, 'astra db "
		"rebuild' makes it anew from the clouds",
		m->dir, what);
	if (!m->read_only)
		return;
	(void)fflush(NULL);
	_exit(EXIT_FAILURE);
}

/* Opens m->env over the file `name`, with a smaller map when the address space is short. */
static errint_t env_open(struct meta *m, const char *name, uint64_t map, struct err *err)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOTLS | (m->read_only ? MDB_RDONLY : 0);
	char path[PATH_MAX];
	MDB_stat st;
	int rc;

	if (snprintf(path, sizeof(path), "%s/%s", m->dir, name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, ERR_FINAL, "%s: path too long", m->dir);
	for (;; map /= 2) {
		rc = mdb_env_create(&m->env);
		if (rc != 0)
			break;
		(void)mdb_env_set_userctx(m->env, m);
		(void)mdb_env_set_assert(m->env, on_assert);
		(void)mdb_env_set_maxdbs(m->env, T_N);
		(void)mdb_env_set_maxreaders(m->env, READERS_MAX);
		rc = mdb_env_set_mapsize(m->env, map);
		if (rc == 0)
			rc = mdb_env_open(m->env, path, flags, 0600);
		if (rc == 0)
			break;
		mdb_env_close(m->env);
		m->env = NULL;
		if (rc != ENOMEM || map / 2 < MAP_LEAST)
			break;
	}
	if (rc == 0) {
		(void)mdb_env_stat(m->env, &st);
		m->page_size = st.ms_psize;
		m->map_size = map;
		return 0;
	}
	if (db_err(rc) == -EBADMSG)
		return err_set(err, -EBADMSG, ERR_FINAL,
			"%s is damaged: %s; load a dump with 'astra db load' or rebuild it from "
			"the "
			"clouds with 'astra db rebuild'",
			path, mdb_strerror(rc));
	return err_set(err, db_err(rc), ERR_FINAL, "cannot open %s: %s", path, mdb_strerror(rc));
}

static errint_t tables_open(struct meta *m, bool create, struct err *err)
{
	MDB_txn *txn;
	int rc;

	rc = mdb_txn_begin(m->env, NULL, create ? 0 : MDB_RDONLY, &txn);
	for (int i = 0; rc == 0 && i < T_N; i++)
		rc = mdb_dbi_open(txn, db_table_name[i], create ? MDB_CREATE : 0, &m->dbi[i]);
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	else if (txn != NULL)
		mdb_txn_abort(txn);
	if (rc == 0)
		return 0;
	return err_set(err, rc == MDB_NOTFOUND ? -EBADMSG : db_err(rc), ERR_FINAL,
		"%s/" META_FILE_DATA
		": cannot open its tables: %s; 'astra db rebuild' makes it anew "
		"from the clouds",
		m->dir, mdb_strerror(rc));
}

/* A file that is shorter than what its tables refer to would end in SIGBUS: look first. */
static errint_t length_check(struct meta *m, struct err *err)
{
	MDB_envinfo info;
	mdb_filehandle_t fd;
	struct stat st;
	uint64_t want;

	(void)mdb_env_info(m->env, &info);
	if (mdb_env_get_fd(m->env, &fd) != 0 || fstat(fd, &st) != 0)
		return err_set(err, -EIO, ERR_FINAL, "%s/" META_FILE_DATA ": cannot stat", m->dir);
	want = ((uint64_t)info.me_last_pgno + 1) * m->page_size;
	if ((uint64_t)st.st_size >= want)
		return 0;
	if (want - (uint64_t)st.st_size > SHORT_MAX)
		return err_set(err, -EBADMSG, ERR_FINAL,
			"%s/" META_FILE_DATA " is cut short: %lld bytes, expected %llu; 'astra db "
			"rebuild' makes it anew from the clouds",
			m->dir, (long long)st.st_size, (unsigned long long)want);
	/* LMDB does not write pages that were freed in the transaction that added them. Zeros in
	 * their place are harmless, and found out as damage where they are not. */
	if (!m->read_only && ftruncate(fd, (off_t)want) != 0)
		return err_set(err, -errno, ERR_FINAL, "%s/" META_FILE_DATA ": %s", m->dir,
			strerror(errno));
	return 0;
}

static errint_t sync_dir(struct meta *m, struct err *err)
{
	if (fsync(m->dir_fd) == 0)
		return 0;
	return err_set(err, -errno, ERR_FINAL, "%s: fsync: %s", m->dir, strerror(errno));
}

/* A new index is made under another name and renamed when it is on disk, so that whatever is
 * called index.mdb was once whole. */
static errint_t create_new(struct meta *m, uint64_t map, struct err *err)
{
	struct meta_txn *t;
	errint_t r;
	int rc;

	(void)unlinkat(m->dir_fd, META_FILE_NEW, 0);
	(void)unlinkat(m->dir_fd, META_FILE_NEW "-lock", 0);
	(void)unlinkat(m->dir_fd, META_FILE_PIN, 0); /* of an index that was removed */
	r = env_open(m, META_FILE_NEW, map, err);
	if (r != 0)
		return r;
	r = tables_open(m, true, err);
	if (r == 0) {
		t = meta_begin(m);
		(void)db_sys_put(t, "schema", META_SCHEMA);
		(void)catalog_root_create(t);
		r = meta_commit(t);
		if (r == 0 && (rc = mdb_env_sync(m->env, 1)) != 0)
			r = db_err(rc);
		if (r != 0)
			(void)err_set(err, r, ERR_FINAL, "%s: cannot create the index: %s", m->dir,
				strerror(-r));
	}
	mdb_env_close(m->env);
	m->env = NULL;
	if (r != 0)
		return r;
	if (renameat(m->dir_fd, META_FILE_NEW, m->dir_fd, META_FILE_DATA) != 0)
		return err_set(err, -errno, ERR_FINAL, "%s: rename: %s", m->dir, strerror(errno));
	(void)unlinkat(m->dir_fd, META_FILE_NEW "-lock", 0);
	return sync_dir(m, err);
}

static errint_t schema_check(struct meta *m, struct err *err)
{
	struct meta_txn *t = meta_begin_read(m);
	uint64_t v = 0, loading;
	errint_t r = db_sys_get(t, "schema", &v);

	if (r == 0 && db_sys_get(t, "loading", &loading) == 0)
		r = err_set(err, -EBADMSG, ERR_FINAL,
			"%s: a 'db load' was interrupted; remove the index files and load again",
			m->dir);
	else if (r == 0 && v > META_SCHEMA)
		r = err_set(err, -EPROTO, ERR_FINAL,
			"%s: the index has schema %llu, this astrafs knows %u: use the newer "
			"astrafs",
			m->dir, (unsigned long long)v, META_SCHEMA);
	else if (r != 0 || v == 0)
		r = err_set(err, r == 0 || r == -ENOENT ? -EBADMSG : r, ERR_FINAL,
			"%s: the index has no schema version; 'astra db rebuild' makes it anew",
			m->dir);
	meta_abort(t);
	return r;
}

static errint_t counters_skip(struct meta *m, struct err *err)
{
	struct db_counter *c[2] = {&m->w.ino, &m->w.job};
	struct meta_txn *t = meta_begin(m);
	errint_t r;

	for (int i = 0; i < 2; i++) {
		uint64_t v = c[i]->first;

		if (db_sys_get(t, c[i]->key, &v) == -ENOENT)
			v = c[i]->first;
		(void)db_sys_put(t, c[i]->key, v + COUNTER_SKIP);
	}
	r = meta_commit(t);
	return r == 0 ? 0 : err_set(err, r, ERR_FINAL, "%s: %s", m->dir, strerror(-r));
}

static errint_t fs_check(struct meta *m, struct err *err)
{
	struct statfs sf;

	if (fstatfs(m->dir_fd, &sf) != 0)
		return err_set(err, -errno, ERR_FINAL, "%s: statfs: %s", m->dir, strerror(errno));
	switch ((unsigned long)sf.f_type) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case V9FS_MAGIC:
		return err_set(err, -EOPNOTSUPP, ERR_FINAL,
			"%s is on a network file system, where locks and memory maps do not hold: "
			"use state=DIR on a local disk",
			m->dir);
	default:
		return 0;
	}
}

static struct meta *meta_new(const struct meta_conf *conf)
{
	struct meta *m = calloc(1, sizeof(*m));
	unsigned ms = conf->sync_interval_ms != 0 ? conf->sync_interval_ms : 1000;

	if (m == NULL)
		return NULL;
	m->dir = strdup(conf->dir);
	m->dir_fd = m->sy.pin_fd = -1;
	m->read_only = conf->read_only;
	memcpy(m->boot_id, conf->boot_id, strlen(conf->boot_id) + 1);
	m->w.before_commit = conf->before_commit;
	m->sy.before = conf->before_sync;
	m->sy.before_arg = conf->before_sync_arg;
	m->sy.interval_ns = (int64_t)ms * NS_PER_MS;
	m->grow_max = conf->grow_max != 0 ? conf->grow_max : GROW_DEFAULT;
	m->w.ino = (struct db_counter){.key = "next_ino", .first = META_INO_LOW};
	m->w.job = (struct db_counter){.key = "next_job", .first = 1};
	lock_init(&m->w.lock, RANK_META_W, "meta.w");
	lock_init(&m->pool.lock, RANK_META, "meta.pool");
	lock_init(&m->sync.lock, RANK_META, "meta.sync");
	lock_init(&m->acc.lock, RANK_META, "meta.access");
	cond_init(&m->sync.wake);
	cond_init(&m->sync.done);
	cond_init(&m->acc.wake);
	return m;
}

/* Half-built ones too. */
static void meta_free(struct meta *m)
{
	struct meta_txn *t;

	while ((t = m->pool.free) != NULL) {
		m->pool.free = t->next_free;
		mdb_txn_abort(t->txn);
		free(t);
	}
	access_done(m);
	sync_done(m);
	if (m->env != NULL)
		mdb_env_close(m->env);
	if (m->dir_fd >= 0)
		(void)close(m->dir_fd);
	lock_done(&m->w.lock);
	lock_done(&m->pool.lock);
	lock_done(&m->sync.lock);
	lock_done(&m->acc.lock);
	(void)pthread_cond_destroy(&m->sync.wake);
	(void)pthread_cond_destroy(&m->sync.done);
	(void)pthread_cond_destroy(&m->acc.wake);
	free(m->hidden);
	free(m->dir);
	free(m);
}

/* Brings the data file into a state that LMDB may open; *ret_cut: it was put back. */
static errint_t data_prepare(
	struct meta *m, uint64_t map, bool *ret_cut, bool *ret_pending, struct err *err)
{
	enum boot_state boot;
	errint_t r;

	*ret_cut = false;
	m->dir_fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->dir_fd < 0)
		return err_set(err, -errno, ERR_FINAL, "%s: %s", m->dir, strerror(errno));
	r = fs_check(m, err);
	if (r == 0 && !m->read_only)
		db_room_open(m);
	if (r == 0)
		r = sync_boot_read(m, &boot, ret_pending, err);
	if (r != 0)
		return r;
	if (faccessat(m->dir_fd, META_FILE_DATA, F_OK, 0) != 0) {
		if (m->read_only)
			return err_set(err, -ENOENT, ERR_FINAL, "%s: there is no index", m->dir);
		return create_new(m, map, err);
	}
	if (boot == BOOT_CLEAN || boot == BOOT_SAME)
		return 0;
	r = sync_restore(m, err);
	if (r == -ENOENT && boot == BOOT_NONE) {
		err_clear(err);
		return 0; /* made moments ago, or a copy by hand: as it is */
	}
	if (r == -ENOENT)
		return err_set(err, -EBADMSG, ERR_FINAL,
			"%s: the machine stopped without warning and " META_FILE_PIN
			" is missing or damaged; 'astra db rebuild' makes the index anew",
			m->dir);
	*ret_cut = r == 0 && boot == BOOT_CUT;
	return r;
}

static errint_t open_steps(struct meta *m, uint64_t map, bool *ret_power_cut, struct err *err)
{
	bool cut, pending;
	MDB_envinfo info;
	errint_t r;

	r = data_prepare(m, map, &cut, &pending, err);
	if (r == 0)
		r = env_open(m, META_FILE_DATA, map, err);
	if (r == 0)
		r = length_check(m, err);
	if (r == 0)
		r = tables_open(m, false, err);
	if (r == 0)
		r = schema_check(m, err);
	if (r != 0)
		return r;
	*ret_power_cut = cut || pending;
	(void)mdb_env_info(m->env, &info);
	atomic_store(&m->last_txn, info.me_last_txnid);
	atomic_store(&m->sync.synced, info.me_last_txnid);
	if (m->read_only)
		return 0;
	(void)mdb_reader_check(m->env, NULL);
	/* From the first sync point on its pages are pinned: only then may anything be written.
	 * The boot file comes last: until then a crash leads through all this once more. */
	r = sync_start(m, err);
	if (r == 0 && cut)
		r = counters_skip(m, err);
	if (r == 0 && cut)
		r = sync_point(m, err);
	if (r == 0)
		r = sync_boot_write(m, false, *ret_power_cut, err);
	if (r != 0)
		return r;
	m->started = true;
	db_room_update(m);
	r = sync_thread_start(m, err);
	return r == 0 ? access_thread_start(m, err) : r;
}

/* *ret_again: the disk was full, and the reserve has been given up. */
static errint_t open_once(const struct meta_conf *conf, struct meta **ret, bool *ret_power_cut,
	bool *ret_again, struct err *err)
{
	struct meta *m = meta_new(conf);
	errint_t r;

	if (m == NULL || m->dir == NULL) {
		if (m != NULL)
			meta_free(m);
		return err_set(err, -ENOMEM, ERR_FINAL, "no memory for the index");
	}
	r = open_steps(m, map_size_wish(conf), ret_power_cut, err);
	if (r != 0) {
		access_stop(m);
		(void)sync_stop(m);
		*ret_again = (r == -ENOSPC || r == -EDQUOT) && !m->read_only && db_reserve_give(m);
		meta_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

errint_t meta_open(
	const struct meta_conf *conf, struct meta **ret, bool *ret_power_cut, struct err *err)
{
	struct meta *m;
	bool cut = false, again = false;
	errint_t r;

	assert(conf->dir != NULL && conf->boot_id != NULL);
	*ret = NULL;
	if (ret_power_cut != NULL)
		*ret_power_cut = false;
	if (conf->boot_id[0] == '\0' || strlen(conf->boot_id) >= sizeof(m->boot_id) ||
		strpbrk(conf->boot_id, " \n") != NULL)
		return err_set(err, -EINVAL, ERR_FINAL, "bad boot id '%s'", conf->boot_id);
	r = open_once(conf, &m, &cut, &again, err);
	if (r != 0 && again) {
		err_clear(err);
		r = open_once(conf, &m, &cut, &again, err);
	}
	if (r != 0)
		return r;
	log_debug("meta", "%s open: map %llu MiB, txn %llu%s", m->dir,
		(unsigned long long)(m->map_size >> 20),
		(unsigned long long)atomic_load(&m->last_txn),
		cut ? ", put back to the last sync point" : "");
	if (ret_power_cut != NULL)
		*ret_power_cut = cut;
	*ret = m;
	return 0;
}

errint_t meta_recovered(struct meta *m, struct err *err)
{
	return m->read_only ? 0 : sync_boot_write(m, false, false, err);
}

void meta_close(struct meta *m)
{
	struct err err = {0};
	errint_t r;

	if (m == NULL)
		return;
	access_stop(m);
	r = sync_stop(m);
	if (r == 0 && m->started && !m->read_only)
		r = sync_boot_write(m, true, false, &err);
	if (r != 0)
		log_debug("meta", "%s: closed without a clean mark: %s", m->dir, strerror(-r));
	meta_free(m);
}
