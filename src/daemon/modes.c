/* SPDX-License-Identifier: MIT */
/*
 * What is done to the index of a stopped mount: check, dump, load, rebuild. One thread, but for
 * rebuild, which runs jobs to list the clouds.
 */
#include "modes.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "astra/fuse.h"
#include "astra/job.h"
#include "astra/meta.h"
#include "astra/store.h"
#include "known.h"
#include "state.h"
#include "wire.h"

static void say(void *arg, const char *line)
{
	(void)arg;
	(void)fprintf(stderr, "astrafs: %s\n", line);
}

static void on_violation(void *arg, const char *line)
{
	(void)arg;
	(void)printf("%s\n", line);
}

static errint_t check(const struct options *o, struct err *err)
{
	struct meta *m = NULL;
	errint_t r = known_index(o, true, &m, err);
	int bad;

	if (r)
		return r;
	bad = meta_check(m, on_violation, NULL);
	meta_close(m);
	if (bad == -EBADMSG)
		return err_set(err, bad, ERR_FINAL,
			"the index in %s is damaged: 'astra db rebuild' makes it anew from the "
			"clouds",
			o->state);
	if (bad < 0)
		return err_set(err, bad, ERR_FINAL, "the index in %s cannot be checked: %s",
			o->state, err_text(NULL, bad));
	if (bad)
		return err_set(err, -EBADMSG, ERR_FINAL,
			"the index in %s has %d faults; 'astra db rebuild' makes it anew from the "
			"clouds",
			o->state, bad);
	(void)printf("the index is in order\n");
	return 0;
}

static errint_t dump(const struct options *o, struct err *err)
{
	struct meta *m = NULL;
	errint_t r = known_index(o, true, &m, err);

	if (r)
		return r;
	r = meta_dump(m, STDOUT_FILENO, err);
	meta_close(m);
	return r;
}

static errint_t load(const struct options *o, struct err *err)
{
	struct meta *m = NULL;
	errint_t r = known_index(o, false, &m, err);

	if (r)
		return r;
	r = meta_load(m, STDIN_FILENO, err);
	if (!r)
		r = meta_recovered(m, err);
	meta_close(m);
	return r;
}

/* ---- rebuild ---- */

struct unlisted { /* remotes of the index that the configuration does not have */
	const struct known *known;
	char list[160]; /* their names; cut when there are more */
	size_t n;
};

static int name_unlisted(void *arg, const char *name, uint32_t id, uint64_t ino)
{
	struct unlisted *u = arg;

	(void)id;
	(void)ino;
	for (size_t i = 0; i < u->known->n; i++) {
		if (!strcmp(u->known->ident[i].name, name))
			return 0;
	}
	u->n += (size_t)snprintf(
		u->list + u->n, sizeof(u->list) - u->n, "%s'%s'", u->n ? ", " : "", name);
	return u->n >= sizeof(u->list);
}

static errint_t all_listed(const struct known *k, struct meta *m, struct err *err)
{
	struct unlisted u = {.known = k};
	struct meta_txn *t = meta_begin_read(m);
	errint_t r = meta_remotes_each(t, name_unlisted, &u), end = meta_commit(t);

	r = r < 0 ? r : end;
	if (r || !u.n)
		return r;
	if (u.n >= sizeof(u.list))
		memcpy(u.list + sizeof(u.list) - 4, "...", 4);
	return err_set(err, -EPERM, ERR_FINAL,
		"the index in %s knows remotes that the configuration does not have: %s; give the "
		"configuration of the mount by -c FILE, or move %s/index away if they are to go",
		k->o->state, u.list, k->o->state);
}

/* What speaks against it goes to fd. */
static errint_t refusal_write(const struct known *k, int fd)
{
	struct meta *m = NULL;
	struct err err = {0};
	errint_t r = known_index(k->o, true, &m, &err);

	if (r)
		return r;
	r = all_listed(k, m, &err);
	if (!r)
		r = known_check_index(k, m, &err);
	if (r == -EPERM && write(fd, err.msg, strlen(err.msg)) < 0)
		return -ENOMEM;
	return r == -EPERM ? 0 : r;
}

/* In a process of its own: an index that is damaged badly may end who reads it. One that cannot be
 * read knows nothing: *ret is "". */
static errint_t refusal_read(const struct known *k, char *ret, size_t size, struct err *err)
{
	int fds[2], status = 0;
	ssize_t got = 0;
	pid_t child;
	errint_t r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, ERR_RETRY, "cannot make a pipe: %s", strerror(errno));
	(void)fflush(NULL);
	child = fork();
	if (child == 0) {
		(void)close(fds[0]);
		r = refusal_write(k, fds[1]);
		_exit(r == -ENOMEM || r == -EMFILE || r == -ENFILE ? 2 : r ? 1 : 0);
	}
	r = child < 0 ? -errno : 0;
	(void)close(fds[1]);
	/* At most PIPE_BUF, so in one piece. */
	while (!r && (got = read(fds[0], ret, size - 1)) < 0) {
		if (errno != EINTR)
			r = -errno;
	}
	(void)close(fds[0]);
	ret[got > 0 ? got : 0] = '\0';
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!r && WIFEXITED(status) && WEXITSTATUS(status) == 2)
		r = -ENOMEM;
	return r ? err_set(err, r, ERR_RETRY, "the index cannot be looked at: %s",
			   err_text(NULL, r))
		 : 0;
}

/* An index that knows more remotes than the configuration, or others of their names, is another
 * mount's, or that of a mount with another configuration: its clouds are not those that would be
 * listed. */
static errint_t remotes_match(const struct options *o, struct err *err)
{
	cleanup_known struct known k = {0};
	char text[sizeof(err->msg)];
	errint_t r = known_moved(o, err);

	if (!r)
		r = known_read(o, &k, err);
	if (!r)
		r = refusal_read(&k, text, sizeof(text), err);
	if (r || !*text)
		return r;
	return err_set(err, -EPERM, ERR_FINAL, "%s", text);
}

/* A new STATE/old-TIME, or one with a number when there was a rebuild in the same second. */
static errint_t old_make(const char *state, char **ret, struct err *err)
{
	time_t now = (time_t)(clock_now_ns() / NS_PER_S);
	char stamp[32], nth[16] = "";
	struct tm tm;
	errint_t r;

	gmtime_r(&now, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	for (unsigned n = 2;; n++) {
		cleanup_free char *old = NULL;

		if (asprintf(&old, "%s/old-%s%s", state, stamp, nth) < 0) {
			old = NULL;
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		}
		if (mkdir(old, 0700) == 0) {
			*ret = steal_ptr(&old);
			return 0;
		}
		r = -errno;
		if (r != -EEXIST)
			return err_set(err, r, ERR_FINAL, "cannot make the directory %s: %s", old,
				err_text(NULL, r));
		(void)snprintf(nth, sizeof(nth), "-%u", n);
	}
}

/* Moves index and staging there. */
static errint_t put_aside(const struct options *o, struct err *err)
{
	static const char *const parts[] = {"index", "stage"};
	cleanup_free char *old = NULL;
	bool any = false;
	errint_t r = old_make(o->state, &old, err);

	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		cleanup_free char *from = NULL, *to = NULL;

		if (asprintf(&from, "%s/%s", o->state, parts[i]) < 0 ||
			asprintf(&to, "%s/%s", old, parts[i]) < 0)
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		if (rename(from, to) == 0) {
			any = true;
		} else if (errno != ENOENT) {
			r = -errno;
			return err_set(err, r, ERR_FINAL, "cannot move %s to %s: %s", from, to,
				err_text(NULL, r));
		}
	}
	if (any)
		(void)fprintf(stderr,
			"astrafs: the old index and what was not yet in the clouds are in %s\n",
			old);
	else
		(void)rmdir(old);
	return 0;
}

struct listed { /* waits for one listing */
	struct job_waiter waiter;
	struct lock lock;
	pthread_cond_t cond;
	bool done; /* lock */
	errint_t r;
};

static void on_listed(struct job_waiter *w, errint_t r)
{
	struct listed *l = container_of(w, struct listed, waiter);
	LOCKED(&l->lock);

	l->r = r;
	l->done = true;
	(void)pthread_cond_broadcast(&l->cond);
}

static errint_t list_dir(struct jobs *j, uint64_t dir)
{
	struct listed l = {.waiter.fn = on_listed};

	lock_init(&l.lock, RANK_CTL, "listed");
	cond_init(&l.cond);
	job_list(j, dir, &l.waiter);
	lock_take(&l.lock);
	while (!l.done)
		cond_wait(&l.cond, &l.lock);
	lock_drop(&l.lock);
	(void)pthread_cond_destroy(&l.cond);
	lock_done(&l.lock);
	return l.r;
}

struct todo {
	uint64_t *dirs; /* owned */
	size_t n, cap;
	uint64_t files, done;
};

static errint_t todo_add(struct todo *td, uint64_t dir)
{
	if (td->n == td->cap) {
		size_t cap = td->cap ? td->cap * 2 : 256;
		uint64_t *p = realloc(td->dirs, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		td->dirs = p;
		td->cap = cap;
	}
	td->dirs[td->n++] = dir;
	return 0;
}

static int on_child(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct todo *td = arg;

	(void)name;
	(void)full;
	td->files += kind != META_DIR;
	return kind == META_DIR ? todo_add(td, ino) : 0;
}

static errint_t children_add(struct meta *m, uint64_t dir, struct todo *td)
{
	struct meta_txn *t = meta_begin_read(m);
	errint_t r = meta_children(t, dir, 0, false, on_child, td), end = meta_commit(t);

	return r < 0 ? r : end;
}

/* One directory after the other; a listing runs its own pages side by side. */
static errint_t list_all(struct jobs *j, struct meta *m, struct err *err)
{
	struct todo td = {0};
	errint_t r = children_add(m, META_ROOT_INO, &td);

	while (!r && td.n) {
		uint64_t dir = td.dirs[--td.n];
		char path[4096] = "?";
		struct meta_txn *t;

		r = list_dir(j, dir);
		if (r) {
			t = meta_begin_read(m);
			(void)meta_path(t, dir, path, sizeof(path));
			(void)meta_commit(t);
			(void)err_set(err, r, ERR_RETRY, "cannot list %s: %s; run it again", path,
				err_text(NULL, r));
			break;
		}
		r = children_add(m, dir, &td);
		td.done++;
	}
	free(td.dirs);
	if (r && !*err->msg)
		return err_set(err, r, ERR_FINAL, "cannot read the index: %s", err_text(NULL, r));
	if (!r)
		(void)fprintf(stderr, "astrafs: %llu director%s and %llu file%s\n",
			(unsigned long long)td.done, td.done == 1 ? "y" : "ies",
			(unsigned long long)td.files, td.files == 1 ? "" : "s");
	return r;
}

static errint_t rebuild(struct options *o, struct err *err)
{
	struct wire_conf conf = {.o = o};
	struct wire *w = NULL;
	errint_t r = remotes_match(o, err);

	if (!r)
		r = put_aside(o, err);
	if (!r)
		r = wire_up(&conf, &w, err);
	if (!r)
		r = list_all(wire_jobs(w), wire_meta(w), err);
	if (!r)
		(void)fprintf(stderr,
			"astrafs: pins, the access history, and mode, owner, times and extended "
			"attributes of directories are in no cloud: they begin anew\n");
	wire_down(w);
	return r;
}

/* ---- */

/* Nothing is made where no mount has been: the state that is meant lies elsewhere. Only what is
 * loaded may go to a new place, when that was named. A lost index leaves the lock. */
static errint_t state_there(const struct options *o, bool named, struct err *err)
{
	cleanup_free char *lock = NULL;
	struct stat st;

	if (o->mode == RUN_LOAD && named)
		return 0;
	if (asprintf(&lock, "%s/lock", o->state) < 0) {
		lock = NULL;
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	if (stat(lock, &st) == 0)
		return 0;
	return err_set(err, -errno, ERR_FINAL,
		"no state directory at %s (%s): give the one of the mount, by --state or -o "
		"state=, or by -c its configuration",
		o->state, strerrordesc_np(errno));
}

static errint_t in_use(errint_t r, struct err *err)
{
	char who[sizeof(err->msg)];

	memcpy(who, err->msg, sizeof(who));
	return err_set(err, r, err->kind,
		"%s: end that first ('astra umount'); 'astra db check' and 'dump' without --state "
		"also ask a mount that runs",
		who);
}

static errint_t prepare(struct options *o, int *ret_lock, struct err *err)
{
	cleanup_free char *place = NULL;
	bool named = o->state != NULL;
	errint_t r;

	if (!named && !o->mountpoint)
		return err_set(err, -EINVAL, ERR_FINAL,
			"say which index: -o state=DIR, or the mount point");
	if (o->mountpoint) {
		r = fuse_front_place(o->mountpoint, &place, err);
		if (!r)
			r = options_state_default(o, place, err);
		if (r)
			return r;
	}
	r = state_there(o, named, err);
	if (r)
		return r;
	r = state_lock(o->state, o->lock_wait_ns, say, NULL, ret_lock, err);
	return r == -EBUSY ? in_use(r, err) : r;
}

int modes_run(struct options *o)
{
	struct err err = {0};
	int lock = -1;
	errint_t r = log_open(o->log_level, NULL, &err);

	if (!r)
		r = prepare(o, &lock, &err);
	if (r)
		goto out;
	switch (o->mode) {
	case RUN_CHECK:
		r = check(o, &err);
		break;
	case RUN_DUMP:
		r = dump(o, &err);
		break;
	case RUN_LOAD:
		r = load(o, &err);
		break;
	default:
		assert(o->mode == RUN_REBUILD);
		r = rebuild(o, &err);
	}
out:
	if (lock >= 0)
		(void)close(lock);
	if (r)
		(void)fprintf(stderr, "astrafs: %s\n", err_text(&err, r));
	return r == -EINVAL ? 2 : r ? 1 : 0;
}
