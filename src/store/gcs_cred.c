/* SPDX-License-Identifier: MIT */
/*
 * The token in use. One thread at a time asks for a new one, holding no lock; while the old one is
 * good for a while longer the others use it, else they wait for the one who asks. A failure is
 * told to all who waited, and to those that come in the next second, so that a wrong key is not
 * tried by each of hundreds of requests.
 */
#include "gcs_cred.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"

#define EARLY_NS	 (300 * NS_PER_S) /* a new token is got so long before the old one ends */
#define USABLE_NS	 (20 * NS_PER_S)  /* and the old one is used up to here */
#define FAILED_NS	 (1 * NS_PER_S)	  /* a failure is told again for so long; with a token */
#define FAILED_USABLE_NS (30 * NS_PER_S)  /* that is still good, nobody asks for so long */
#define ASK_NS		 (20 * NS_PER_S)
#define CANCEL_POLL_NS	 (50 * NS_PER_MS)
#define FILE_CHECK_NS	 (10 * NS_PER_S)

struct file_mark { /* tells whether a file changed */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct gcs_cred {
	struct net *net; /* borrowed */
	char *file, *scope;
	bool metadata_only;
	struct {
		struct gcs_source source; /* of the thread that asks */
		int64_t skew_ns;
	} asking;
	struct lock lock;    /* RANK_STORE_D */
	pthread_cond_t cond; /* the asking ended */
	struct {
		bool asks;		/* somebody does */
		struct gcs_token token; /* value "" = none */
		char identity[400], project[128];
		char path[1024]; /* the file it came from, "" = none */
		struct file_mark mark;
		int64_t checked_mono_ns;
		unsigned rounds; /* of asking that ended */
		errint_t failed; /* how the last one did */
		struct err why;
		int64_t failed_mono_ns;
	} shared; /* lock */
};

static void mark_read(const char *path, struct file_mark *ret)
{
	struct stat sb;

	*ret = (struct file_mark){0};
	if (!path[0] || stat(path, &sb))
		return;
	ret->dev = sb.st_dev;
	ret->ino = sb.st_ino;
	ret->size = sb.st_size;
	ret->mtime = sb.st_mtim;
	ret->ctime = sb.st_ctim;
}

static bool mark_same(const struct file_mark *a, const struct file_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
	       a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

struct gcs_cred *gcs_cred_new(const struct gcs_cred_conf *conf, struct net *net)
{
	struct gcs_cred *c = calloc(1, sizeof(*c));

	assert(net && conf->scope);
	if (!c)
		return NULL;
	c->net = net;
	c->metadata_only = conf->metadata_only;
	c->file = conf->file ? strdup(conf->file) : NULL;
	c->scope = strdup(conf->scope);
	lock_init(&c->lock, RANK_STORE_D, "gcs.cred");
	cond_init(&c->cond);
	return c->scope && !c->file == !conf->file ? c : gcs_cred_destroy(c);
}

struct gcs_cred *gcs_cred_destroy(struct gcs_cred *c)
{
	if (!c)
		return NULL;
	gcs_source_done(&c->asking.source);
	gcs_token_wipe(&c->shared.token);
	(void)pthread_cond_destroy(&c->cond);
	lock_done(&c->lock);
	free(c->file);
	free(c->scope);
	free(c);
	return NULL;
}

/* ---- asking ---- */

static const char *identity_of(const struct gcs_source *s)
{
	if (s->kind == GCS_MACHINE)
		return "the machine's service account";
	if (s->kind == GCS_EXTERNAL)
		return s->audience;
	return s->email ? s->email : "a user";
}

/* The file is read each time: a key that was replaced is found. */
static errint_t ask(struct gcs_cred *c, int64_t deadline, const atomic_bool *cancel,
	struct gcs_token *ret, struct file_mark *mark, struct err *err)
{
	struct gcs_cred_conf conf = {
		.file = c->file, .metadata_only = c->metadata_only, .scope = c->scope};
	struct gcs_source *s = &c->asking.source;
	int64_t limit = clock_mono_ns() + ASK_NS;
	errint_t r = gcs_source_find(s, &conf, err);

	mark_read(s->file ? s->file : "", mark);
	deadline = deadline ? MIN_OF(deadline, limit) : limit;
	if (r)
		return r;
	return gcs_source_token(
		s, c->net, c->scope, deadline, cancel, &c->asking.skew_ns, ret, err);
}

static void asked_locked(struct gcs_cred *c, errint_t r, const struct err *err,
	const struct gcs_token *fresh, const struct file_mark *mark)
{
	const struct gcs_source *s = &c->asking.source;

	lock_assert_held(&c->lock);
	(void)snprintf(c->shared.path, sizeof(c->shared.path), "%s", s->file ? s->file : "");
	c->shared.mark = *mark;
	c->shared.checked_mono_ns = clock_mono_ns();
	(void)snprintf(c->shared.identity, sizeof(c->shared.identity), "%.200s%s%.150s%s",
		s->kind ? identity_of(s) : "", s->file ? " (" : "", s->file ? s->file : "",
		s->file ? ")" : "");
	(void)snprintf(
		c->shared.project, sizeof(c->shared.project), "%s", s->project ? s->project : "");
	if (fresh->value[0])
		c->shared.token = *fresh;
	c->shared.failed = r;
	c->shared.why = *err;
	c->shared.failed_mono_ns = clock_mono_ns();
	gcs_source_done(&c->asking.source);
	c->shared.rounds++;
	c->shared.asks = false;
	(void)pthread_cond_broadcast(&c->cond);
}

static void ask_and_tell(struct gcs_cred *c, int64_t deadline, const atomic_bool *cancel)
{
	cleanup_gcs_token struct gcs_token fresh = {0};
	struct file_mark mark = {0};
	struct err err = {0};
	errint_t r = ask(c, deadline, cancel, &fresh, &mark, &err);

	/* A caller who gave up says nothing about the credentials. */
	if ((cancel && atomic_load(cancel)) || (deadline && clock_mono_ns() >= deadline))
		r = 0;
	LOCKED(&c->lock);
	asked_locked(c, r, &err, &fresh, &mark);
}

/* ---- using ---- */

static void look_at_file_locked(struct gcs_cred *c, int64_t now)
{
	struct file_mark mark;

	if (!c->shared.path[0] || now - c->shared.checked_mono_ns < FILE_CHECK_NS)
		return;
	c->shared.checked_mono_ns = now;
	mark_read(c->shared.path, &mark);
	if (!mark_same(&mark, &c->shared.mark))
		gcs_token_wipe(&c->shared.token);
}

/* How long the token lasts; less than 0: there is none. */
static int64_t left_locked(const struct gcs_cred *c, int64_t now)
{
	return c->shared.token.value[0] ? c->shared.token.expires_mono_ns - now : -1;
}

enum turn { TURN_USE, TURN_ASK, TURN_WAIT, TURN_FAIL };

static enum turn turn_locked(struct gcs_cred *c, unsigned waited_for)
{
	int64_t now = clock_mono_ns(), left;
	bool failed;

	look_at_file_locked(c, now);
	left = left_locked(c, now);
	failed = c->shared.failed &&
		 now - c->shared.failed_mono_ns < (left > USABLE_NS ? FAILED_USABLE_NS : FAILED_NS);
	if (left > EARLY_NS || (left > USABLE_NS && (failed || c->shared.asks)))
		return TURN_USE;
	if (c->shared.asks)
		return TURN_WAIT;
	if (failed)
		return TURN_FAIL;
	if (c->shared.rounds != waited_for && left > 0) /* short-lived ones */
		return TURN_USE;
	return TURN_ASK;
}

errint_t gcs_cred_get(struct gcs_cred *c, int64_t deadline_mono_ns, const atomic_bool *cancel,
	struct gcs_token *ret, struct err *err)
{
	bool first = true;
	unsigned waited_for = 0;

	for (;; first = false) {
		int64_t now = clock_mono_ns();
		enum turn turn;

		if (cancel && atomic_load(cancel))
			return err_set(err, -ECANCELED, ERR_CANCELLED, "cancelled");
		if (deadline_mono_ns && now >= deadline_mono_ns)
			return err_set(err, -ETIMEDOUT, ERR_CANCELLED,
				"no access token within the deadline");
		{
			LOCKED(&c->lock);
			if (first)
				waited_for = c->shared.rounds;
			turn = turn_locked(c, waited_for);
			if (turn == TURN_USE) {
				*ret = c->shared.token;
				return 0;
			}
			if (turn == TURN_FAIL) {
				if (err)
					*err = c->shared.why;
				return c->shared.failed;
			}
			if (turn == TURN_ASK)
				c->shared.asks = true;
			else
				(void)cond_wait_until(&c->cond, &c->lock, now + CANCEL_POLL_NS);
		}
		if (turn == TURN_ASK)
			ask_and_tell(c, deadline_mono_ns, cancel);
	}
}

void gcs_cred_refused(struct gcs_cred *c, const char *value)
{
	LOCKED(&c->lock);
	if (!strcmp(c->shared.token.value, value))
		gcs_token_wipe(&c->shared.token);
}

void gcs_cred_identity(struct gcs_cred *c, char *ret, size_t size)
{
	LOCKED(&c->lock);
	(void)snprintf(ret, size, "%s", c->shared.identity);
}

void gcs_cred_project(struct gcs_cred *c, char *ret, size_t size)
{
	LOCKED(&c->lock);
	(void)snprintf(ret, size, "%s", c->shared.project);
}
