/* SPDX-License-Identifier: MIT */
/*
 * The LIST requests of a listing. While a page goes into the index the next one is asked for, by a
 * task of the share that asks about single objects: listings never wait for each other in it.
 * Nobody waits for a task that gets no worker: it is taken back, and the listing's own task asks.
 *
 * A page says where the next one begins, so one comes after the other. Where pages are waited for,
 * and the store begins anywhere (caps.list_after), what is left of a large directory is cut into
 * ranges of some pages, which are asked for side by side and given in order. A range has the names
 * behind `after`, up to `end`, which is where the next one begins; where that is is a guess, by
 * what the index had or by what came so far (guess.c), and may be a bad one: a range is read until
 * a page goes beyond its end, and if nothing was in it that was one request. One or two at a time
 * are begun that may be beyond all names.
 *
 * The last page of a range is given as a whole. One of its names that lie beyond the end must be
 * in the first page of the next range. Then no name is between the two: in whatever order the store
 * has its names, that one comes before the place where this range has ended, and not before that
 * where the next one has begun. So what is there all the time is in the one or in the other, and
 * the next one goes on without the names that were given. Else (the store does not begin where it
 * was told to, or these very names have gone) the next one is forgotten, and this one goes on
 * through its names by its own pages, as if it had not been cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_buf.h"
#include "guess.h"
#include "merge.h"

#define WHOLE_PAGES  3 /* of what has no more, nothing is cut */
#define LANES	     4 /* ranges that are asked for at a time; where a page takes FAR_NS: */
#define LANES_FAR    8
#define FAR_NS	     (40 * NS_PER_MS)
#define FIRST_PAGES  4u	 /* in one of the first ranges, as guessed */
#define RANGE_PAGES  8u	 /* in a range */
#define HELD	     64	 /* pages before their turn, of one listing ... */
#define HELD_ALL     128 /* ... and of all */
#define HELD_RANGE   12
#define STOP_LOOK_NS (50 * NS_PER_MS)
#define DOUBTS	     2 /* ranges that do not follow: then nothing is cut any more */
#define SEAM_MAX     ((size_t)2 * STORE_PAGE_MAX * (STORE_KEY_MAX + 1))
#define KNOWN_LEAST  4	 /* pages of names in the index that say where others are */
#define KNOWN_MAX    256 /* places that are kept of them */

struct held {
	STAILQ_ENTRY(held) link;
	struct store_page page;
};

struct range {
	TAILQ_ENTRY(range) link;
	struct pages *g;
	struct pool_task task;
	char after[STORE_KEY_MAX + 1]; /* constant; "" = from the start */
	double want;		       /* names that it shall have; of the listing's task */
	char token[STORE_TOKEN_MAX];   /* of who asks */
	atomic_bool stop;	       /* its task's request is not needed any more */
	struct {
		bool asked; /* the task is posted, or the listing's task is at it */
		bool come;  /* its first page, or failure */
		bool over;  /* nothing more is to be asked for */
		char end[STORE_KEY_MAX + 1];  /* "" = none */
		char last[STORE_KEY_MAX + 1]; /* that came; "" = none yet */
		STAILQ_HEAD(, held) pages;
		unsigned n;
		errint_t r;
		struct err err;
	} at; /* g->lock */
};

TAILQ_HEAD(range_list, range);

struct pages {
	struct merge *m;
	const struct objref *o;
	struct pages_conf conf;
	struct lock lock; /* RANK_JOB_PARTS */
	pthread_cond_t came;
	struct {
		unsigned held, good, vain; /* pages; ranges that had names, and that had none */
		bool ended;		   /* a range has come to the end of the directory */
		struct guess guess;
		char guessed[STORE_KEY_MAX + 1]; /* the last key that it knows */
	} at;					 /* lock */
	/* The listing's task's: */
	struct range_list ranges; /* in order, the first is given; changed with the lock, too */
	unsigned given, begun, doubts;
	int64_t waited_ns; /* for pages but the first */
	bool whole;	   /* is not cut, any more; changed with the lock, too */
	unsigned lanes;	   /* ranges at a time; 0 = it does not take long enough */
	char **known;	   /* owned, and each: keys of the index, in order */
	size_t nknown, next_known;
	struct buf seam; /* keys given beyond the end of a range, in order, each with its NUL */
	bool trims;	 /* the first range has such names */
};

/* ---- asking ---- */

static errint_t ask(
	struct range *r, const atomic_bool *cancel, struct store_page *ret, struct err *err)
{
	struct pages *g = r->g;
	struct store_call call = {.cancel = cancel, .front = g->m->but == NULL};

	if (r->after[0] != '\0' && r->token[0] == '\0')
		return store_list_after(g->o->st, &call, g->o->o.bucket, g->o->o.key, '/', r->after,
			g->conf.page, ret, err);
	return store_list(g->o->st, &call, g->o->o.bucket, g->o->o.key, '/', r->token, g->conf.page,
		ret, err);
}

/* What a page says of its range and of the others. */
static void learn_locked(struct range *r, const struct store_page *p)
{
	struct pages *g = r->g;
	const char *first = p->n != 0 ? p->e[0].key : NULL, *last = NULL;

	lock_assert_held(&g->lock);
	if (!r->at.come && r->after[0] != '\0') {
		bool good =
			first != NULL && (r->at.end[0] == '\0' || strcmp(first, r->at.end) <= 0);

		g->at.good += good;
		g->at.vain += !good;
	}
	if (p->n != 0) {
		last = p->e[p->n - 1].key;
		(void)snprintf(r->at.last, sizeof(r->at.last), "%s", last);
	}
	r->at.over |= !p->truncated || (r->at.end[0] != '\0' && strcmp(r->at.last, r->at.end) > 0);
	g->at.ended |= !p->truncated;
	if (!g->whole && p->n >= g->conf.page / 2 && strcmp(last, g->at.guessed) > 0 &&
		strlen(first) >= g->m->prefix_len) {
		guess_page(&g->at.guess, p, g->m->prefix_len);
		(void)snprintf(g->at.guessed, sizeof(g->at.guessed), "%s", last);
	}
}

/* Asks for one page of a range, without the lock, and puts it there. */
static void ask_one(struct range *r, const atomic_bool *cancel)
{
	struct pages *g = r->g;
	struct err err = {0};
	struct held *h = calloc(1, sizeof(*h));
	errint_t e = h != NULL ? ask(r, cancel, &h->page, &err)
			       : err_set(&err, -ENOMEM, ERR_RETRY, "out of memory");
	LOCKED(&g->lock);

	if (e == 0) {
		memcpy(r->token, h->page.next, sizeof(r->token));
		learn_locked(r, &h->page);
		STAILQ_INSERT_TAIL(&r->at.pages, h, link);
		r->at.n++;
		g->at.held++;
		(void)atomic_fetch_add(&g->m->j->pages_held, 1);
	} else {
		free(h);
		r->at.r = e;
		r->at.err = err;
		r->at.over = true;
	}
	r->at.come = true;
	(void)pthread_cond_signal(&g->came);
}

/* One page ahead in any case; more while there is room. */
static bool is_wanted_locked(const struct range *r)
{
	const struct pages *g = r->g;

	lock_assert_held(&g->lock);
	if (r->at.over || r->at.n == 0)
		return !r->at.over;
	return g->begun != 0 && r->at.n < HELD_RANGE && g->at.held < HELD &&
	       atomic_load(&g->m->j->pages_held) < HELD_ALL;
}

static void range_task(struct pool_task *t)
{
	struct range *r = container_of(t, struct range, task);
	struct pages *g = r->g;

	ask_one(r, &r->stop);
	LOCKED(&g->lock);
	if (is_wanted_locked(r)) { /* behind the other tasks of the share */
		(void)pool_post(g->m->j->conf.pool, &r->task);
		return;
	}
	r->at.asked = false;
	(void)pthread_cond_signal(&g->came);
}

/* Those that may have more pages and are not asked for any. */
static void ask_ahead(struct pages *g)
{
	struct range *r = NULL;
	LOCKED(&g->lock);

	TAILQ_FOREACH (r, &g->ranges, link) {
		if (r->at.asked || !is_wanted_locked(r))
			continue;
		r->at.asked = true;
		(void)pool_post(g->m->j->conf.pool, &r->task);
	}
}

/* Until something has come; the end of the daemon is not waited for either. */
static void came_wait_locked(struct pages *g)
{
	struct range *r = NULL;

	(void)cond_wait_until(&g->came, &g->lock, clock_mono_ns() + STOP_LOOK_NS);
	if (!atomic_load(&g->m->j->stopping))
		return;
	TAILQ_FOREACH (r, &g->ranges, link)
		atomic_store(&r->stop, true);
}

/* Waits until the range has a page, or can have none. */
static void page_wait(struct range *r)
{
	struct pages *g = r->g;

	lock_take(&g->lock);
	while (r->at.n == 0 && !r->at.over) {
		if (r->at.asked && !pool_cancel(g->m->j->conf.pool, &r->task)) {
			came_wait_locked(g);
			continue;
		}
		r->at.asked = true;
		lock_drop(&g->lock);
		ask_one(r, &g->m->j->stopping);
		lock_take(&g->lock);
		r->at.asked = false;
	}
	lock_drop(&g->lock);
}

/* ---- ranges ---- */

static struct range *range_new(struct pages *g, const char *after)
{
	struct jobs *j = g->m->j;
	struct pool_share *share = NULL;
	struct range *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	{
		LOCKED(&j->g.lock);
		share = share_get_locked(j, SHARE_ASKS, g->m->remote, g->m->remote)->pool;
	}
	r->g = g;
	(void)snprintf(r->after, sizeof(r->after), "%s", after);
	STAILQ_INIT(&r->at.pages);
	pool_task_init(&r->task, g->m->but == NULL ? LANE_FOREGROUND : LANE_BACKGROUND, range_task);
	pool_task_share(&r->task, share);
	return r;
}

static bool page_take_locked(struct range *r, struct store_page *ret)
{
	struct held *h = STAILQ_FIRST(&r->at.pages);

	lock_assert_held(&r->g->lock);
	if (h == NULL)
		return false;
	STAILQ_REMOVE_HEAD(&r->at.pages, link);
	r->at.n--;
	r->g->at.held--;
	(void)atomic_fetch_sub(&r->g->m->j->pages_held, 1);
	*ret = h->page;
	free(h);
	return true;
}

/* What is under way is called off: who lists must not wait for pages that nobody needs. */
static void range_drop(struct range *r)
{
	struct pages *g = r->g;
	struct store_page p;

	lock_take(&g->lock);
	r->at.over = true;
	atomic_store(&r->stop, true);
	while (r->at.asked && !pool_cancel(g->m->j->conf.pool, &r->task))
		came_wait_locked(g);
	TAILQ_REMOVE(&g->ranges, r, link);
	while (page_take_locked(r, &p))
		store_page_done(&p);
	lock_drop(&g->lock);
	free(r);
}

/* ---- where to cut ---- */

struct known {
	struct pages *g;
	size_t step, n;
};

static int known_add(void *arg, uint64_t ino, enum meta_kind kind, const char *name,
	const struct meta_inode *full)
{
	struct known *k = arg;
	struct pages *g = k->g;
	char part[META_NAME_MAX + 1], path[META_PATH_MAX + 1], key[STORE_KEY_MAX + 1];

	if (++k->n % k->step != 0)
		return 0;
	meta_name_decode(name, part);
	if (part[0] == '\0' || strchr(part, '/') != NULL ||
		snprintf(path, sizeof(path), "%s%s", g->m->prefix, part) > META_PATH_MAX ||
		job_path_ok(g->m->j, g->m->remote, path) < 0 ||
		snprintf(key, sizeof(key), "%s%s", g->o->o.key, part) > STORE_KEY_MAX)
		return 0;
	if (g->nknown != 0 && strcmp(g->known[g->nknown - 1], key) >= 0)
		return 0;
	g->known[g->nknown] = strdup(key);
	g->nknown += g->known[g->nknown] != NULL;
	return g->nknown == KNOWN_MAX;
}

/* What the index has of an earlier listing. */
static void known_read(struct pages *g)
{
	struct known k = {.g = g};
	struct meta_inode in;
	struct meta_txn *t = meta_begin_read(g->m->j->conf.meta);

	if (meta_inode_get(t, g->m->dir, &in) == 0 && in.nchild >= KNOWN_LEAST * g->conf.page)
		g->known = calloc(KNOWN_MAX, sizeof(*g->known));
	if (g->known != NULL) {
		size_t pages = in.nchild / g->conf.page / LANES;

		pages = MIN_OF(MAX_OF(pages, (size_t)2), (size_t)RANGE_PAGES);
		/* a little less: the page that goes beyond the end is its last one */
		k.step = pages * g->conf.page - g->conf.page / 10;
		(void)meta_children_by_name(t, g->m->dir, "", known_add, &k);
	}
	meta_abort(t);
}

/* A key between what was seen of the last range and all beyond. */
static bool cut_known_locked(struct pages *g, const struct range *tail, char ret[STORE_KEY_MAX + 1])
{
	const char *least = strcmp(tail->at.last, tail->after) > 0 ? tail->at.last : tail->after;

	lock_assert_held(&g->lock);
	while (g->next_known < g->nknown && strcmp(g->known[g->next_known], least) <= 0)
		g->next_known++;
	if (g->next_known == g->nknown)
		return false;
	(void)snprintf(ret, STORE_KEY_MAX + 1, "%s", g->known[g->next_known++]);
	return true;
}

static bool cut_guess_locked(struct pages *g, const struct range *tail, char ret[STORE_KEY_MAX + 1])
{
	size_t n = g->m->prefix_len;
	char name[GUESS_PLACES + 1] = "";
	const char *from = tail->after[0] != '\0' ? tail->after : tail->at.last;

	lock_assert_held(&g->lock);
	if (strlen(from) < n || n > STORE_KEY_MAX - GUESS_PLACES)
		return false;
	if (!guess_after(&g->at.guess, from + n, tail->want, name))
		return false;
	(void)snprintf(ret, STORE_KEY_MAX + 1, "%.*s%s", (int)n, from, name);
	if (strcmp(ret, tail->at.last) > 0)
		return true;
	/* It has more names than was thought, and is there already. */
	from = tail->at.last;
	if (strlen(from) < n || !guess_after(&g->at.guess, from + n, tail->want, name))
		return false;
	(void)snprintf(ret, STORE_KEY_MAX + 1, "%.*s%s", (int)n, from, name);
	return strcmp(ret, tail->at.last) > 0;
}

/* Not many at a time that may prove to be beyond the end of the directory. */
static bool may_begin_locked(const struct pages *g)
{
	const struct range *r = NULL;
	unsigned busy = 0, all = 0, doubtful = 0;

	lock_assert_held(&g->lock);
	if (g->at.ended || g->at.vain > 1 + g->given / 8)
		return false;
	TAILQ_FOREACH (r, &g->ranges, link) {
		busy += !r->at.over;
		doubtful += !r->at.come;
		all++;
	}
	return busy < g->lanes && all < 2 * g->lanes &&
	       (g->nknown != 0 || doubtful < (g->at.good < 2 ? 1 : g->lanes / LANES));
}

/* Cuts the last range in two; false: not, or not now. */
static bool cut(struct pages *g)
{
	struct range *tail = TAILQ_LAST(&g->ranges, range_list), *r = range_new(g, "");
	bool is_cut = false;

	if (r == NULL)
		return false;
	{
		LOCKED(&g->lock);
		is_cut = may_begin_locked(g) &&
			 (g->nknown != 0 ? cut_known_locked(g, tail, r->after)
					 : cut_guess_locked(g, tail, r->after));
		if (is_cut) {
			memcpy(tail->at.end, r->after, sizeof(tail->at.end));
			r->want = MIN_OF(FIRST_PAGES << g->begun / 3, RANGE_PAGES) * g->conf.page;
			g->begun++;
			TAILQ_INSERT_TAIL(&g->ranges, r, link);
		}
	}
	if (!is_cut)
		free(r);
	return is_cut;
}

/* Names that the index has say what there is, else a third page does. */
static bool is_worth(struct pages *g)
{
	int64_t each = g->given > 1 ? g->waited_ns / (int64_t)(g->given - 1) : 0;

	if (each < g->conf.slow_ns || (g->m->first && g->given < WHOLE_PAGES))
		return false;
	if (!g->m->first && g->known == NULL)
		known_read(g);
	if (g->nknown == 0 && g->given < WHOLE_PAGES)
		return false;
	g->lanes = each < FAR_NS ? LANES : LANES_FAR;
	return true;
}

static void cut_more(struct pages *g)
{
	if (g->whole || (g->lanes == 0 && !is_worth(g)))
		return;
	while (cut(g))
		;
}

/* ---- where one range goes on as the next ---- */

/* Keeps what of the keys beyond the last page's range is beyond end. */
static void seam_cut(struct pages *g, const char *end)
{
	size_t off = 0;

	while (off < g->seam.len && strcmp(g->seam.p + off, end) <= 0)
		off += strlen(g->seam.p + off) + 1;
	if (off == 0)
		return;
	memmove(g->seam.p, g->seam.p + off, g->seam.len - off);
	g->seam.len -= off;
}

/* Whether a key is of the seam; of such that are asked about in order, from *off on. */
static bool seam_has(const struct pages *g, size_t *off, const char *key)
{
	while (*off < g->seam.len && strcmp(g->seam.p + *off, key) < 0)
		*off += strlen(g->seam.p + *off) + 1;
	return *off < g->seam.len && strcmp(g->seam.p + *off, key) == 0;
}

/* The range's first page has one of the names that were given beyond its beginning. */
static bool seam_holds(struct pages *g, const struct range *r)
{
	size_t off = 0;
	LOCKED(&g->lock);
	const struct held *h = STAILQ_FIRST(&r->at.pages);

	for (size_t i = 0; h != NULL && i < h->page.n; i++)
		if (seam_has(g, &off, h->page.e[i].key))
			return true;
	return false;
}

/* Takes away what the range before has given of a page. */
static void page_trim(struct pages *g, struct store_page *p)
{
	size_t n = 0, off = 0;

	for (size_t i = 0; i < p->n; i++)
		if (!seam_has(g, &off, p->e[i].key))
			p->e[n++] = p->e[i];
	p->n = n;
}

/* Leaves of a page of the first range what was not given, and keeps what is beyond its end. */
static void page_join(struct pages *g, struct store_page *p, const char *end)
{
	struct buf beyond = BUF_INIT(SEAM_MAX);
	const char *last = p->n != 0 ? p->e[p->n - 1].key : "";
	bool is_last = end[0] != '\0' && strcmp(last, end) > 0;

	for (size_t i = 0; is_last && i < p->n; i++)
		if (strcmp(p->e[i].key, end) > 0)
			(void)buf_add(&beyond, p->e[i].key, strlen(p->e[i].key) + 1);
	if (g->trims) {
		page_trim(g, p);
		g->trims = p->n == 0;
		seam_cut(g, last);
		if (is_last && g->seam.len != 0) /* the range before went on beyond this one's */
			(void)buf_add(&beyond, g->seam.p, g->seam.len);
	}
	if (is_last) {
		buf_done(&g->seam);
		g->seam = beyond;
	}
}

/* The first range is over, the second takes its place; or the first goes on through its names. */
static void join(struct pages *g)
{
	struct range *r = TAILQ_FIRST(&g->ranges), *next = TAILQ_NEXT(r, link);

	page_wait(next);
	g->trims = seam_holds(g, next);
	if (g->trims) {
		range_drop(r);
		return;
	}
	log_debug("job", "%s: what is behind '%s' does not follow", g->o->o.key, next->after);
	{
		LOCKED(&g->lock);
		g->whole = ++g->doubts >= DOUBTS;
		const struct range *upto = g->whole ? TAILQ_LAST(&g->ranges, range_list) : next;

		memcpy(r->at.end, upto->at.end, sizeof(r->at.end));
		r->at.over = r->at.end[0] != '\0' && strcmp(r->at.last, r->at.end) > 0;
	}
	seam_cut(g, r->at.end);
	do
		range_drop(TAILQ_NEXT(r, link));
	while (g->whole && TAILQ_NEXT(r, link) != NULL);
}

/* ---- the pages, in order ---- */

struct pages *pages_new(struct merge *m, const struct objref *o, const struct pages_conf *c)
{
	struct pages *g = calloc(1, sizeof(*g));
	struct range *r = NULL;

	if (g == NULL)
		return NULL;
	g->m = m;
	g->o = o;
	g->conf = *c;
	g->whole = !remote_of(m->j, m->remote)->caps.list_after;
	g->seam = (struct buf)BUF_INIT(SEAM_MAX);
	lock_init(&g->lock, RANK_JOB_PARTS, "job.pages");
	cond_init(&g->came);
	TAILQ_INIT(&g->ranges);
	r = range_new(g, "");
	if (r == NULL) {
		pages_free(g);
		return NULL;
	}
	r->want = 3 * c->page;
	TAILQ_INSERT_TAIL(&g->ranges, r, link);
	return g;
}

/* The next page of the first range; 1: it has come to its end. */
static errint_t page_next(struct pages *g, struct store_page *ret, struct err *err)
{
	struct range *r = TAILQ_FIRST(&g->ranges);
	int64_t since = clock_mono_ns();

	page_wait(r);
	g->waited_ns += g->given != 0 ? clock_mono_ns() - since : 0;
	{
		LOCKED(&g->lock);
		if (!page_take_locked(r, ret)) {
			*err = r->at.err;
			return r->at.r < 0 ? r->at.r : 1;
		}
	}
	page_join(g, ret, r->at.end);
	return 0;
}

errint_t pages_next(struct pages *g, struct store_page *ret, struct err *err)
{
	errint_t r = 0;

	while ((r = page_next(g, ret, err)) != 0 || (ret->n == 0 && ret->truncated)) {
		if (r < 0)
			return r;
		if (r > 0)
			join(g);
		else
			store_page_done(ret);
	}
	g->given++;
	if (ret->truncated) {
		cut_more(g);
		ask_ahead(g);
	}
	return 0;
}

void pages_free(struct pages *g)
{
	struct range *r = NULL;

	if (g == NULL)
		return;
	TAILQ_FOREACH (r, &g->ranges, link)
		atomic_store(&r->stop, true);
	while ((r = TAILQ_FIRST(&g->ranges)) != NULL)
		range_drop(r);
	for (size_t i = 0; i < g->nknown; i++)
		free(g->known[i]);
	free(g->known);
	buf_done(&g->seam);
	(void)pthread_cond_destroy(&g->came);
	lock_done(&g->lock);
	free(g);
}
