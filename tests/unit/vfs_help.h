/* SPDX-License-Identifier: MIT */
/* What the tests of the vfs share: all rooms below it for real, mem clouds, 2 workers, 2 buffers,
 * and every operation as a call that waits for its answer. */
#ifndef TEST_VFS_HELP_H
#define TEST_VFS_HELP_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/xattr.h>

#include "meta_help.h"

#include "astra/base_buf.h"
#include "astra/base_conf.h"
#include "astra/base_pool.h"
#include "astra/job.h"
#include "astra/stage.h"
#include "astra/store.h"
#include "astra/vfs.h"

#define PATIENCE_S 60
#define BUF_SIZE   (1u << 20)

struct fix {
	char dir[64], stage_dir[80];
	struct conf *conf;
	struct remote *remotes;
	size_t nremotes;
	struct meta *m;
	struct stage *stage;
	struct pool *pool;
	struct bufs *bufs;
	size_t buf_size;	   /* 0 = BUF_SIZE */
	unsigned workers, buffers; /* 0 = 2; as of the next fix_up, as buf_size and quota */
	uint64_t quota;		   /* of staging; 0 = 64 MiB */
	uint64_t ahead_min;	   /* 0 = 64 MiB; as of the next fix_up */
	int64_t ahead_idle_ns;	   /* 0 = 30 s; as of the next fix_up */
	int64_t late_ns;	   /* 0 = a second; as of the next fix_up */
	int64_t near_ns;	   /* 0 = as a mount has it; as of the next fix_up */
	struct policy_rules rules;
	struct vfs_conf vc;
	struct vfs *v;
	struct jobs *jobs;
	uint64_t aws, gcp, multi;
	_Atomic unsigned notes;
	unsigned queue_max; /* of jobs */
	uint64_t delete_guard;
	bool power_cut;	    /* as of the next fix_up, as keep_restored */
	bool keep_restored; /* moves leave what somebody has restored, to read it */
};

struct ask { /* one call and its answer */
	struct vfs_call c;
	sem_t sem;
	errint_t r;
	_Atomic int answers;
	char data[1 << 17]; /* copied in done(): the call's own memory goes */
	size_t len;
	struct {
		char names[4096];
		unsigned count, max;
		uint64_t last;
	} dir;
};

static inline void ask_done(struct vfs_call *c, errint_t r)
{
	struct ask *a = container_of(c, struct ask, c);

	a->r = r;
	a->len = r ? 0 : c->len;
	if (!r && c->data && c->len <= sizeof(a->data))
		memcpy(a->data, c->data, c->len);
	atomic_fetch_add(&a->answers, 1);
	sem_post(&a->sem);
}

static inline struct ask *ask_new(void)
{
	struct ask *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	sem_init(&a->sem, 0, 0);
	a->c.done = ask_done;
	a->c.uid = 1000;
	a->c.gid = 1000;
	return a;
}

static inline errint_t ask_wait(struct ask *a)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += PATIENCE_S;
	while (sem_timedwait(&a->sem, &ts) < 0) {
		if (errno != EINTR)
			fail_msg("a call was never answered");
	}
	assert_int_equal(atomic_load(&a->answers), 1);
	return a->r;
}

static inline void ask_free(struct ask *a)
{
	sem_destroy(&a->sem);
	free(a);
}

/* CALL(r, a, vfs_x, args...): runs it and waits. */
#define CALL(a, fn, ...)                                                                           \
	({                                                                                         \
		atomic_store(&(a)->answers, 0);                                                    \
		(a)->c.data = NULL;                                                                \
		fn(f->v, &(a)->c, __VA_ARGS__);                                                    \
		ask_wait(a);                                                                       \
	})

/* ---- the fixture ---- */

static inline void note_inode_cb(void *arg, uint64_t ino, bool data)
{
	atomic_fetch_add(&((struct fix *)arg)->notes, 1);
}

static inline void note_entry_cb(void *arg, uint64_t parent, const char *name)
{
	atomic_fetch_add(&((struct fix *)arg)->notes, 1);
}

static inline void fix_up(struct fix *f)
{
	struct stage_conf sc = {
		.dir = f->stage_dir, .quota_bytes = f->quota != 0 ? f->quota : 64u << 20};
	struct jobs_conf jc = {.upload_delay_ns = 20 * NS_PER_MS,
		.open_grace_ns = 5 * NS_PER_S,
		.retry_max_ns = 50 * NS_PER_MS,
		.late_ns = f->late_ns != 0 ? f->late_ns : NS_PER_S,
		.ahead_min = f->ahead_min,
		.ahead_idle_ns = f->ahead_idle_ns,
		.queue_max = f->queue_max,
		.delete_guard = f->delete_guard,
		.undo_window_ns = 600 * NS_PER_S,
		.leave_ns = f->keep_restored ? 0 : 864000 * NS_PER_S,
		.power_cut = f->power_cut,
		.prices = price_book_astra(),
		.umask = 022};
	struct err err = {0};
	struct meta_txn *t;
	uint64_t *top[] = {&f->aws, &f->gcp, &f->multi};
	bool cut;

	f->m = open_index(f->dir, "boot", &cut);
	assert_int_equal(stage_open(&sc, &f->stage, &err), 0);
	assert_int_equal(meta_recovered(f->m, &err), 0);
	t = meta_begin(f->m);
	for (size_t i = 0; i < f->nremotes; i++) {
		uint32_t id;

		assert_int_equal(meta_remote(t, f->remotes[i].name, 0, 0, &id, top[i]), 0);
		f->remotes[i].id = id;
	}
	assert_int_equal(meta_commit(t), 0);
	f->pool = pool_new(f->workers ? f->workers : 2, "t");
	f->bufs = bufs_new(f->buffers ? f->buffers : 2, f->buf_size != 0 ? f->buf_size : BUF_SIZE);
	f->vc.meta = jc.meta = f->m;
	f->vc.stage = jc.stage = f->stage;
	f->vc.pool = jc.pool = f->pool;
	f->vc.bufs = jc.bufs = f->bufs;
	f->vc.remotes = jc.remotes = f->remotes;
	f->vc.nremotes = jc.nremotes = f->nremotes;
	f->vc.near_ns = f->near_ns;
	assert_int_equal(vfs_new(&f->vc, &f->v, &err), 0);
	jc.hooks = vfs_job_hooks(f->v);
	assert_int_equal(jobs_open(&jc, &f->jobs, &err), 0);
	assert_int_equal(vfs_start(f->v, f->jobs, &err), 0);
	jobs_start(f->jobs);
}

static inline void fix_down(struct fix *f)
{
	jobs_stop(f->jobs);
	vfs_stop(f->v);
	meta_close(f->m);
	pool_destroy(f->pool);
	jobs_close(f->jobs);
	vfs_destroy(f->v);
	stage_close(f->stage);
	bufs_destroy(f->bufs);
}

#ifdef RENAMES
#define MEM  "type=mem\nrenames=yes\n"
#define COPY "rename" /* what moves a file inside a remote, for fault() */
#else
#define MEM  "type=mem\n"
#define COPY "copy"
#endif

static const char fix_conf[] = "[remote aws]\n" MEM "provider=aws\nbucket=b\nretries=0\n"
			       "restore_delay=100ms\nfault=head:n=999999999:error=EIO\n"
			       "[remote gcp]\n" MEM "provider=gcp\nbucket=b\nretries=0\n"
			       "fault=head:n=999999999:error=EIO\n"
			       "[remote multi]\ntype=mem\nprovider=azure\nretries=0\n";

static inline void fix_remotes(struct fix *f, const char *conf)
{
	struct err err = {0};
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/conf", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(conf, file);
	fclose(file);
	f->conf = conf_new();
	if (conf_load(f->conf, path, &err) ||
		remotes_build(f->conf, f->dir, &f->remotes, &f->nremotes, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < 2; i++) {
		errint_t r = store_bucket_create(f->remotes[i].st, NULL, "b", &err);

		assert_true(r == 0 || r == -EEXIST);
	}
}

static inline int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	scratch_make(f->dir);
	(void)snprintf(f->stage_dir, sizeof(f->stage_dir), "%s/stage", f->dir);
	fix_remotes(f, fix_conf);
	policy_rules_default(&f->rules);
	f->vc = (struct vfs_conf){
		.rules = &f->rules,
		.prices = price_book_astra(),
		.durability = DURABLE_FSYNC,
		.recall = RECALL_ERROR,
		.recall_block_ns = 20 * NS_PER_S,
		.migrate_wait_ns = 5 * NS_PER_S,
		.upload_delay_ns = 20 * NS_PER_MS,
		.metadata_ttl_ns = 3600 * NS_PER_S,
		.io_deadline_ns = 20 * NS_PER_S,
		.uid = 1000,
		.gid = 1000,
		.umask = 022,
		.inval_inode = note_inode_cb,
		.inval_entry = note_entry_cb,
		.inval_arg = f,
	};
	fix_up(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fix *f = *state;

	fix_down(f);
	remotes_destroy(f->remotes, f->nremotes);
	conf_destroy(f->conf);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

/* ---- shorthand ---- */

static inline errint_t lookup(struct fix *f, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_lookup, parent, name);

	if (ret_ino)
		*ret_ino = r ? 0 : (uint64_t)a->c.attr.st.st_ino;
	ask_free(a);
	return r;
}

static inline struct stat attr(struct fix *f, uint64_t ino)
{
	struct ask *a = ask_new();
	struct stat st;

	assert_int_equal(CALL(a, vfs_getattr, ino, NULL), 0);
	st = a->c.attr.st;
	ask_free(a);
	return st;
}

static inline struct vfs_handle *create_in(
	struct fix *f, uint64_t parent, const char *name, uint64_t *ret_ino)
{
	struct ask *a = ask_new();
	struct vfs_handle *h;
	errint_t r = CALL(a, vfs_create, parent, name, 0644, O_RDWR | O_CREAT);

	if (r)
		fail_msg("create %s: %s", name, strerrorname_np(-r));
	h = a->c.handle;
	if (ret_ino)
		*ret_ino = (uint64_t)a->c.attr.st.st_ino;
	ask_free(a);
	return h;
}

static inline errint_t open_ino(struct fix *f, uint64_t ino, int flags, struct vfs_handle **ret)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_open, ino, flags);

	*ret = r ? NULL : a->c.handle;
	ask_free(a);
	return r;
}

static inline errint_t put(
	struct fix *f, struct vfs_handle *h, uint64_t off, const void *p, size_t len)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_write, h, off, p, len, false);

	if (!r)
		assert_int_equal(a->len, len);
	ask_free(a);
	return r;
}

/* Bytes read or -errno. */
static inline ssize_t get(struct fix *f, struct vfs_handle *h, uint64_t off, void *p, size_t len)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_read, h, off, len);
	ssize_t n = r ? r : (ssize_t)a->len;

	if (n > 0)
		memcpy(p, a->data, (size_t)n);
	ask_free(a);
	return n;
}

static inline errint_t fsync_h(struct fix *f, struct vfs_handle *h)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_fsync, h, false);

	ask_free(a);
	return r;
}

static inline void close_h(struct fix *f, struct vfs_handle *h)
{
	struct ask *a = ask_new();

	assert_int_equal(CALL(a, vfs_flush, h), 0);
	assert_int_equal(CALL(a, vfs_release, h), 0);
	ask_free(a);
}

static inline void sync_all(struct fix *f)
{
	struct ask *a = ask_new();

	assert_int_equal(CALL(a, vfs_sync, META_ROOT_INO), 0);
	ask_free(a);
}

static inline uint64_t make(
	struct fix *f, uint64_t parent, const char *name, const void *p, size_t len)
{
	uint64_t ino;
	struct vfs_handle *h = create_in(f, parent, name, &ino);

	for (size_t at = 0; at < len; at += 1 << 17)
		assert_int_equal(
			put(f, h, at, (const char *)p + at, MIN_OF(len - at, 1u << 17)), 0);
	close_h(f, h);
	return ino;
}

/* An object made by somebody else. */
static inline void object_put(struct remote *r, const char *key, const void *p, size_t len)
{
	struct store_obj o = {"b", key};
	struct err err = {0};
	errint_t e = store_put(r->st, NULL, o, p, len, NULL, NULL, &err);

	if (e)
		fail_msg("put %s: %s", key, err.msg);
}

static inline ssize_t object_get(struct remote *r, const char *key, void *p, size_t len)
{
	struct store_obj o = {"b", key};
	size_t got = 0;
	errint_t e = store_get(r->st, NULL, o, NULL, 0, p, len, &got, NULL);

	return e ? e : (ssize_t)got;
}

static inline errint_t rename_to(struct fix *f, uint64_t from, const char *name, uint64_t to,
	const char *new_name, unsigned flags)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_rename, from, name, to, new_name, flags);

	ask_free(a);
	return r;
}

static inline errint_t unlink_in(struct fix *f, uint64_t parent, const char *name)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_unlink, parent, name);

	ask_free(a);
	return r;
}

static inline errint_t rmdir_in(struct fix *f, uint64_t parent, const char *name)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_rmdir, parent, name);

	ask_free(a);
	return r;
}

static inline errint_t mkdir_in(struct fix *f, uint64_t parent, const char *name, uint64_t *ret)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_mkdir, parent, name, 0755);

	if (ret)
		*ret = r ? 0 : (uint64_t)a->c.attr.st.st_ino;
	ask_free(a);
	return r;
}

static inline errint_t setx(struct fix *f, uint64_t ino, const char *name, const char *value)
{
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_setxattr, ino, name, value, strlen(value), 0);

	ask_free(a);
	return r;
}

/* Static; NULL when there is none. */
static inline const char *getx(struct fix *f, uint64_t ino, const char *name)
{
	static char value[4096];
	struct ask *a = ask_new();
	errint_t r = CALL(a, vfs_getxattr, ino, name, sizeof(value) - 1);

	if (!r) {
		memcpy(value, a->data, a->len);
		value[a->len] = '\0';
	}
	ask_free(a);
	return r ? NULL : value;
}

static inline void fault(struct fix *f, unsigned remote, const char *rules)
{
	struct err err = {0};

	if (store_fault_set(f->remotes[remote].st, rules, &err))
		fail_msg("%s", err.msg);
}

#endif
