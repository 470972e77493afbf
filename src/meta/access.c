/* SPDX-License-Identifier: MIT */
/*
 * Access history. Handles leave bumps in a table in memory, one entry per inode and day; the
 * flusher thread writes them once a second, or when 10,000 have come together, in key order and in
 * one transaction. The same thread carries totals upwards (totals.c).
 *
 * `pending` is what came since the last flush, `flushed` the batch of the last one, kept until the
 * next: a reader whose snapshot is older than the batch's transaction adds it to the row it sees,
 * a newer one finds it there. A snapshot that is older than a batch already forgotten is not used;
 * so nothing is ever counted twice or missed. acc.lock guards both; a flush swaps them while it
 * holds the writer mutex, so that there is one flush at a time.
 *
 * Bounded: 65,536 entries; while the flusher cannot write, bumps of further inodes are dropped and
 * counted (history is a statistic, never worth blocking a close). kill -9 loses up to a second.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "astra/base_cleanup.h"
#include "astra/base_log.h"
#include "row.h"

/* No memory is a bump dropped, not the end of the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define PEND_MAX      65536u
#define PEND_FLUSH    10000u
#define FLUSH_NS      NS_PER_S
#define DAY_S	      INT64_C(86400)
#define HALF_LIFE_NS  (7.0 * 86400.0 * 1e9)
#define TOTALS_BATCH  1024u
#define TOTALS_ROUNDS 64u

/* One inode on one day; the hash holds one entry per inode, further days hang on it. */
struct meta_access_pend {
	uint64_t ino;
	int64_t day;
	struct meta_access_pend *other_day;
	int64_t first_ns, last_ns; /* of all bumps */
	int64_t last_read_ns, last_write_ns;
	uint64_t reads, writes, bytes_read, bytes_written, cloud_bytes;
	UT_hash_handle hh;
};

/* ---- time ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t day_of(int64_t ns)
{
	return floor_div(ns, DAY_S * NS_PER_S);
}

static int32_t month_of(int64_t ns)
{
	time_t s = (time_t)floor_div(ns, NS_PER_S);
	struct tm tm;

	if (gmtime_r(&s, &tm) == NULL)
		return 0;
	return (tm.tm_year - 70) * 12 + tm.tm_mon;
}

/* Adds n to the count of period `at`; v[0] is period *at0, v[1] the one before. A newer period
 * moves all along; one too old to be kept is lost. */
static void history_add(uint32_t *v, unsigned size, int32_t *at0, int64_t at, uint64_t n)
{
	int64_t by = at - *at0;
	uint64_t sum;

	if (by > 0) {
		for (int64_t i = (int64_t)size - 1; i >= 0; i--)
			v[i] = i >= by ? v[i - by] : 0;
		*at0 = (int32_t)at;
		by = 0;
	}
	if (-by >= (int64_t)size)
		return;
	sum = v[-by] + n;
	v[-by] = sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
}

static double heat_at(double heat, int64_t from_ns, int64_t to_ns)
{
	if (heat <= 0 || to_ns <= from_ns)
		return heat;
	heat *= exp2(-((double)to_ns - (double)from_ns) / HALF_LIFE_NS);
	return heat < 1e-9 ? 0 : heat;
}

/* ---- one row ---- */

static void access_apply(struct meta_access *a, const struct meta_access_pend *p)
{
	uint64_t n = p->reads + p->writes;

	if (a->first_seen_ns == 0 || p->first_ns < a->first_seen_ns)
		a->first_seen_ns = p->first_ns;
	a->last_read_ns = MAX_OF(a->last_read_ns, p->last_read_ns);
	a->last_write_ns = MAX_OF(a->last_write_ns, p->last_write_ns);
	a->reads += p->reads;
	a->writes += p->writes;
	a->bytes_read += p->bytes_read;
	a->bytes_written += p->bytes_written;
	a->cloud_bytes += p->cloud_bytes;
	if (n > 0) {
		history_add(a->day, ARRAY_SIZE(a->day), &a->day0, p->day, n);
		history_add(a->month, ARRAY_SIZE(a->month), &a->month0, month_of(p->last_ns), n);
	}
	if (p->cloud_bytes > 0) {
		int64_t now = MAX_OF(a->heat_at_ns, p->last_ns);

		a->heat = heat_at(a->heat, a->heat_at_ns, now) +
			  heat_at((double)p->cloud_bytes, p->last_ns, now);
		a->heat_at_ns = now;
	}
}

static errint_t access_row_get(struct meta_txn *t, uint64_t ino, struct meta_access *ret)
{
	uint8_t key[8];
	MDB_val v;
	errint_t r;

	memset(ret, 0, sizeof(*ret));
	db_u64(key, ino);
	r = db_get(t, T_ACCESS, key, sizeof(key), &v);
	if (r != 0)
		return r;
	r = row_access_decode(v.mv_data, v.mv_size, ret);
	return r == 0 ? 0 : db_fail(t, r);
}

errint_t meta_access_put(struct meta_txn *t, uint64_t ino, const struct meta_access *a)
{
	uint8_t key[8], row[ROW_ACCESS_MAX];

	assert(ino != 0 && a->heat >= 0);
	db_u64(key, ino);
	return db_put(t, T_ACCESS, key, sizeof(key), row, row_access_encode(a, row));
}

uint64_t meta_access_window(const struct meta_access *a, int64_t now_ns, unsigned days)
{
	int64_t today = day_of(now_ns);
	uint64_t sum = 0;

	assert(days >= 1 && days <= 30);
	for (int i = 0; i < 30; i++) {
		int64_t age = today - ((int64_t)a->day0 - i);

		if (age >= 0 && age < (int64_t)days)
			sum += a->day[i];
	}
	return sum;
}

uint64_t meta_access_heat(const struct meta_access *a, int64_t now_ns)
{
	return (uint64_t)MIN_OF(heat_at(a->heat, a->heat_at_ns, now_ns), 1e18);
}

/* At a steady rate heat settles at rate * half-life / ln 2. */
uint64_t meta_access_fetched(const struct meta_access *a, int64_t now_ns, int64_t window_ns)
{
	double bytes;

	if (a->cloud_bytes == 0 || now_ns - a->first_seen_ns <= window_ns)
		return a->cloud_bytes;
	bytes = heat_at(a->heat, a->heat_at_ns, now_ns) * (double)window_ns * M_LN2 / HALF_LIFE_NS;
	return bytes >= (double)a->cloud_bytes ? a->cloud_bytes : (uint64_t)bytes;
}

/* ---- in memory ---- */

static void pend_merge(struct meta_access_pend *to, const struct meta_access_pend *p)
{
	to->first_ns = MIN_OF(to->first_ns, p->first_ns);
	to->last_ns = MAX_OF(to->last_ns, p->last_ns);
	to->last_read_ns = MAX_OF(to->last_read_ns, p->last_read_ns);
	to->last_write_ns = MAX_OF(to->last_write_ns, p->last_write_ns);
	to->reads += p->reads;
	to->writes += p->writes;
	to->bytes_read += p->bytes_read;
	to->bytes_written += p->bytes_written;
	to->cloud_bytes += p->cloud_bytes;
}

static void pend_add_locked(struct meta *m, const struct meta_access_pend *add)
{
	struct meta_access_pend *p, *same;

	lock_assert_held(&m->acc.lock);
	HASH_FIND(hh, m->acc.pending, &add->ino, sizeof(add->ino), same);
	for (p = same; p != NULL; p = p->other_day) {
		if (p->day == add->day) {
			pend_merge(p, add);
			return;
		}
	}
	p = m->acc.count < PEND_MAX ? malloc(sizeof(*p)) : NULL;
	if (p != NULL) {
		*p = *add;
		p->other_day = NULL;
		memset(&p->hh, 0, sizeof(p->hh));
	}
	if (p != NULL && same != NULL) {
		p->other_day = same->other_day;
		same->other_day = p;
	} else if (p != NULL) {
		HASH_ADD(hh, m->acc.pending, ino, sizeof(p->ino), p);
		if (p->hh.tbl == NULL) { /* uthash had no memory */
			free(p);
			p = NULL;
		}
	}
	if (p != NULL)
		m->acc.count++;
	else
		m->acc.dropped++;
}

static void pend_free(struct meta_access_pend **head)
{
	struct meta_access_pend *p, *next, *day;

	HASH_ITER (hh, *head, p, next) {
		HASH_DEL(*head, p);
		while ((day = p->other_day) != NULL) {
			p->other_day = day->other_day;
			free(day);
		}
		free(p);
	}
}

void meta_access_bump(struct meta *m, const struct meta_bump *b)
{
	struct meta_access_pend add = {.first_ns = b->when_ns, .last_ns = b->when_ns};
	bool first;

	assert(b->ino != 0);
	if (m->read_only)
		return;
	add.ino = b->ino;
	add.day = day_of(b->when_ns);
	add.last_read_ns = b->reads > 0 ? b->when_ns : 0;
	add.last_write_ns = b->writes > 0 ? b->when_ns : 0;
	add.reads = b->reads;
	add.writes = b->writes;
	add.bytes_read = b->bytes_read;
	add.bytes_written = b->bytes_written;
	add.cloud_bytes = b->cloud_bytes;
	LOCKED(&m->acc.lock);
	first = m->acc.pending == NULL;
	pend_add_locked(m, &add);
	m->acc.full = m->acc.count >= PEND_FLUSH;
	if (first || m->acc.full)
		(void)pthread_cond_signal(&m->acc.wake);
}

static int pend_order(struct meta_access_pend *a, struct meta_access_pend *b)
{
	return (a->ino > b->ino) - (a->ino < b->ino);
}

/* Makes pending the batch to write; false when there is none. Under the writer mutex. */
static bool flush_take(struct meta *m, uint64_t id)
{
	LOCKED(&m->acc.lock);
	if (m->acc.pending == NULL)
		return false;
	if (m->acc.flushed != NULL)
		m->acc.gone_id = m->acc.flushed_id;
	pend_free(&m->acc.flushed);
	m->acc.flushed = m->acc.pending;
	m->acc.flushed_id = id;
	m->acc.pending = NULL;
	m->acc.count = 0;
	m->acc.full = false;
	HASH_SORT(m->acc.flushed, pend_order);
	return true;
}

/* A batch that could not be written waits again. */
static void flush_ended(void *arg, bool committed)
{
	struct meta *m = arg;
	struct meta_access_pend *p, *day;

	if (committed)
		return;
	LOCKED(&m->acc.lock);
	for (p = m->acc.flushed; p != NULL; p = p->hh.next)
		for (day = p; day != NULL; day = day->other_day)
			pend_add_locked(m, day);
	pend_free(&m->acc.flushed);
}

errint_t meta_access_flush(struct meta *m)
{
	struct meta_access_pend *p, *day;
	struct meta_access a;
	struct meta_txn *t;
	MDB_val v;
	uint8_t key[8];

	if (m->read_only)
		return 0;
	t = meta_begin(m);
	if (meta_txn_failed(t) != 0 || !flush_take(m, meta_txn_id(t))) {
		errint_t r = meta_txn_failed(t);

		meta_abort(t);
		return r;
	}
	meta_txn_hook(t, flush_ended, m);
	/* Nobody changes the batch while the writer mutex is held; others only read it. */
	for (p = m->acc.flushed; p != NULL; p = p->hh.next) {
		db_u64(key, p->ino);
		if (db_get(t, T_INODE, key, sizeof(key), &v) == -ENOENT)
			continue; /* gone meanwhile: no history without an inode */
		(void)access_row_get(t, p->ino, &a);
		for (day = p; day != NULL; day = day->other_day)
			access_apply(&a, day);
		if (meta_access_put(t, p->ino, &a) != 0)
			break;
	}
	return meta_commit(t);
}

static void pend_apply(
	struct meta_access_pend *head, uint64_t ino, struct meta_access *ret, errint_t *found)
{
	struct meta_access_pend *p;

	HASH_FIND(hh, head, &ino, sizeof(ino), p);
	for (; p != NULL; p = p->other_day) {
		access_apply(ret, p);
		*found = 0;
	}
}

/* 1: the snapshot of t is too old to tell. */
static int access_get(struct meta *m, struct meta_txn *t, uint64_t ino, struct meta_access *ret)
{
	errint_t r = access_row_get(t, ino, ret);

	if (r != 0 && r != -ENOENT)
		return r;
	LOCKED(&m->acc.lock);
	if (meta_txn_id(t) < m->acc.gone_id)
		return 1;
	if (m->acc.flushed != NULL && meta_txn_id(t) < m->acc.flushed_id)
		pend_apply(m->acc.flushed, ino, ret, &r);
	pend_apply(m->acc.pending, ino, ret, &r);
	return r;
}

errint_t meta_access_get(struct meta *m, struct meta_txn *t, uint64_t ino, struct meta_access *ret)
{
	int r = access_get(m, t, ino, ret);

	while (r == 1) {
		struct meta_txn *fresh = meta_begin_read(m);

		r = access_get(m, fresh, ino, ret);
		meta_abort(fresh);
	}
	return r;
}

/* ---- the thread ---- */

void access_deltas(struct meta *m)
{
	LOCKED(&m->acc.lock);
	if (!m->acc.deltas)
		(void)pthread_cond_signal(&m->acc.wake);
	m->acc.deltas = true;
}

static void access_work(struct meta *m, bool deltas)
{
	errint_t r = meta_access_flush(m);
	int n = 0;

	if (r != 0)
		log_debug("meta", "access history: %s", strerror(-r));
	for (unsigned i = 0; deltas && i < TOTALS_ROUNDS; i++) {
		n = meta_totals_flush(m, TOTALS_BATCH);
		if (n <= 0)
			break;
	}
	if (n < 0)
		log_debug("meta", "totals: %s", strerror(-n));
	if (n != 0) { /* not all of them: go on in a second */
		LOCKED(&m->acc.lock);
		m->acc.deltas = true;
	}
}

static void *access_main(void *arg)
{
	struct meta *m = arg;
	int64_t next;
	bool deltas;

	lock_take(&m->acc.lock);
	while (!m->acc.stop) {
		if (m->acc.pending == NULL && !m->acc.deltas) {
			cond_wait(&m->acc.wake, &m->acc.lock);
			continue;
		}
		/* Something has come: more of it may come for a second. */
		next = clock_mono_ns() + FLUSH_NS;
		while (!m->acc.stop && !m->acc.full &&
			cond_wait_until(&m->acc.wake, &m->acc.lock, next))
			;
		deltas = m->acc.deltas;
		m->acc.deltas = false;
		lock_drop(&m->acc.lock);
		access_work(m, deltas);
		lock_take(&m->acc.lock);
	}
	lock_drop(&m->acc.lock);
	return NULL;
}

errint_t access_thread_start(struct meta *m, struct err *err)
{
	errint_t r;

	m->acc.deltas = true; /* perhaps left by the last run */
	r = db_thread(&m->acc.thread, "meta-flush", access_main, m);
	m->acc.has_thread = r == 0;
	return r == 0 ? 0 : err_set(err, r, ERR_FINAL, "cannot start a thread: %s", strerror(-r));
}

void access_stop(struct meta *m)
{
	if (!m->acc.has_thread)
		return;
	lock_take(&m->acc.lock);
	m->acc.stop = true;
	(void)pthread_cond_signal(&m->acc.wake);
	lock_drop(&m->acc.lock);
	(void)pthread_join(m->acc.thread, NULL);
	m->acc.has_thread = false;
	access_work(m, true);
}

void access_done(struct meta *m)
{
	pend_free(&m->acc.pending);
	pend_free(&m->acc.flushed);
}
