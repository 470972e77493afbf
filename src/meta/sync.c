/* SPDX-License-Identifier: MIT */
/*
 * Sync points: what makes the index survive a power cut without an fsync for each commit.
 *
 * Commits are written with MDB_NOSYNC: after kill -9 the page cache has them all, after a power cut
 * the disk has any subset of the pages written since the last fdatasync. LMDB never writes over a
 * page that the newest snapshot uses, but it does reuse pages of older ones. So a sync point keeps
 * one snapshot S whole on disk, and enough to find it:
 *
 *  1. under the writer mutex (no commit can come between): begin a read transaction at the newest
 *     state S (the pin), and copy both meta pages;
 *  2. before_sync(): what transactions refer to (staging) becomes durable;
 *  3. fdatasync of the data file: every page of S is on disk now;
 *  4. write the copied meta pages into index.meta, two checksummed slots in turn; fdatasync;
 *  5. end the pin of the sync point before; S is what a power cut comes back to.
 *
 * Why this order. Pages reachable from S are pinned from the moment that S is named (1), so commits
 * during 2-4 cannot write over them; the old pin is held until the new slot is durable (4), so at
 * each moment the newest readable slot names a snapshot of which no page was reused. Should slot
 * (4) fail half-way, it may or may not be on disk; the old pin then stays, and it protects the new
 * snapshot too: LMDB reuses only pages freed by transactions older than the oldest reader.
 * before_sync runs after the pin, not before it: a transaction that commits between before_sync
 * and the pin would be in S while the staging that it refers to is not durable. Staging newer than
 * S does no harm: nothing in S refers to it. The data file then holds pages of newer transactions
 * too, which step 3 writes needlessly; S does not use them.
 *
 * At open (meta_open): same boot id, or clean mark: the file is used as it is. Otherwise both meta
 * pages of the best slot are put back into the data file, which makes S the newest state again.
 * The clean mark and the boot id live in `boot`, replaced by rename, written when the first pin is
 * in place and after the last sync point.
 *
 * A failed fdatasync leaves pages that are clean in memory and not on disk: the next attempt first
 * writes the whole file over itself, so that they are dirty again.
 *
 * Threads: one sync thread; it sleeps without a deadline while nothing changes.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "astra/base_log.h"

#define SLOT_MAGIC     UINT64_C(0x61737472616d6574)
#define SLOT_VERSION   1u
#define SLOT_HEAD      4096u
#define SLOT_PAGE      32768u /* the largest page that LMDB uses */
#define SLOT_SIZE      (SLOT_HEAD + 2 * SLOT_PAGE)
#define CHUNK	       (1u << 20)
#define WANTED_REST_NS (50 * NS_PER_MS)
#define WANTED_SHARE   4 /* times as long as the last point took, up to this or that time */
#define WANTED_LONG_NS (150 * NS_PER_MS)
#define UNSYNCED_SOON  1024
#define UNSYNCED_MAX   4096
#define THROTTLE_TXNS  8

/* ---- files ---- */

static errint_t write_all(int fd, const void *p, size_t len, off_t off)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p = (const uint8_t *)p + n;
		len -= (size_t)n;
		off += n;
	}
	return 0;
}

/* Exactly len bytes; -ENODATA when the file ends before. */
static errint_t read_all(int fd, void *p, size_t len, off_t off)
{
	while (len > 0) {
		ssize_t n = pread(fd, p, len, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p = (uint8_t *)p + n;
		len -= (size_t)n;
		off += n;
	}
	return 0;
}

/* ---- the boot file: "astrafs-boot 1 BOOT_ID CLEAN PENDING CRC\n" ---- */

errint_t sync_boot_read(struct meta *m, enum boot_state *ret, bool *ret_pending, struct err *err)
{
	char text[256] = "", id[65];
	unsigned clean, pending, crc;
	cleanup_fd int fd = -1;
	ssize_t n;
	int body = 0;

	*ret = BOOT_NONE;
	*ret_pending = false;
	fd = openat(m->dir_fd, META_FILE_BOOT, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return err_set(err, -errno, ERR_FINAL, "%s/" META_FILE_BOOT ": %s", m->dir,
			strerror(errno));
	/* Damaged: we cannot know; putting back is the safe side. */
	*ret = BOOT_CUT;
	if (sscanf(text, "astrafs-boot 1 %64s %u %u%n %x", id, &clean, &pending, &body, &crc) !=
			4 ||
		crc32c(0, text, (size_t)body) != crc)
		return 0;
	*ret_pending = pending != 0;
	if (clean)
		*ret = BOOT_CLEAN;
	else if (strcmp(id, m->boot_id) == 0)
		*ret = BOOT_SAME;
	return 0;
}

errint_t sync_boot_write(struct meta *m, bool clean, bool pending, struct err *err)
{
	char text[256];
	cleanup_fd int fd = -1;
	errint_t r;
	int n;

	n = snprintf(text, 128, "astrafs-boot 1 %s %d %d", m->boot_id, clean, pending);
	assert(n > 0 && n < 128);
	n += snprintf(text + n, 32, " %08x\n", crc32c(0, text, (size_t)n));
	/* The two change places, so that there is one to write over when the disk is full. */
	fd = openat(m->dir_fd, META_FILE_BOOT ".new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : write_all(fd, text, (size_t)n, 0);
	if (r == 0 && (ftruncate(fd, n) != 0 || fsync(fd) != 0))
		r = -errno;
	if (r == 0 &&
		renameat2(m->dir_fd, META_FILE_BOOT ".new", m->dir_fd, META_FILE_BOOT,
			RENAME_EXCHANGE) != 0 &&
		renameat(m->dir_fd, META_FILE_BOOT ".new", m->dir_fd, META_FILE_BOOT) != 0)
		r = -errno;
	if (r == 0 && fsync(m->dir_fd) != 0)
		r = -errno;
	if (r != 0)
		return err_set(
			err, r, ERR_FINAL, "%s/" META_FILE_BOOT ": %s", m->dir, strerror(-r));
	return 0;
}

/* ---- slots ----
 * offset 0 magic, 8 sequence, 16 transaction, 24 version and page size (32 bits each), 32 CRC-32C
 * of bytes 0-31 and both pages; the pages from SLOT_HEAD on. Big-endian. */

static uint32_t slot_crc(const uint8_t *slot, unsigned page)
{
	return crc32c(crc32c(0, slot, 32), slot + SLOT_HEAD, (size_t)2 * page);
}

static void slot_fill(uint8_t *slot, uint64_t seq, uint64_t txn, unsigned page)
{
	db_u64(slot, SLOT_MAGIC);
	db_u64(slot + 8, seq);
	db_u64(slot + 16, txn);
	db_u64(slot + 24, (uint64_t)SLOT_VERSION << 32 | page);
	db_u64(slot + 32, slot_crc(slot, page));
}

/* 0 when slot i of fd is whole. */
static errint_t slot_read(int fd, unsigned i, uint8_t *slot, uint64_t *ret_seq, unsigned *ret_page)
{
	errint_t r = read_all(fd, slot, SLOT_SIZE, (off_t)i * SLOT_SIZE);
	uint64_t shape;

	if (r != 0)
		return r;
	shape = db_u64_of(slot + 24);
	*ret_page = (unsigned)shape;
	*ret_seq = db_u64_of(slot + 8);
	if (db_u64_of(slot) != SLOT_MAGIC || shape >> 32 != SLOT_VERSION || *ret_page < 256 ||
		*ret_page > SLOT_PAGE || db_u64_of(slot + 32) != slot_crc(slot, *ret_page))
		return -EBADMSG;
	return 0;
}

/* Leaves the newest whole slot in `slot`; -ENOENT when there is none. */
static errint_t slot_best(int fd, uint8_t *slot, uint64_t *ret_seq, unsigned *ret_page)
{
	uint64_t seq[2] = {0, 0};
	bool good[2];
	unsigned best;

	for (unsigned i = 0; i < 2; i++)
		good[i] = slot_read(fd, i, slot, &seq[i], ret_page) == 0;
	if (!good[0] && !good[1])
		return -ENOENT;
	best = good[1] && (!good[0] || seq[1] > seq[0]);
	*ret_seq = seq[best];
	return slot_read(fd, best, slot, ret_seq, ret_page);
}

errint_t sync_restore(struct meta *m, struct err *err)
{
	cleanup_fd int pin = -1, data = -1;
	cleanup_free uint8_t *slot = malloc(SLOT_SIZE);
	uint64_t seq;
	unsigned page;
	errint_t r;

	if (slot == NULL)
		return err_set(err, -ENOMEM, ERR_FINAL, "no memory");
	pin = openat(m->dir_fd, META_FILE_PIN, O_RDONLY | O_CLOEXEC);
	if (pin < 0 && errno == ENOENT)
		return -ENOENT;
	if (pin < 0)
		return err_set(err, -errno, ERR_FINAL, "%s/" META_FILE_PIN ": %s", m->dir,
			strerror(errno));
	r = slot_best(pin, slot, &seq, &page);
	if (r == -ENOENT)
		return r;
	if (r == 0) {
		data = openat(m->dir_fd, META_FILE_DATA, O_RDWR | O_CLOEXEC);
		r = data < 0 ? -errno : write_all(data, slot + SLOT_HEAD, (size_t)2 * page, 0);
	}
	if (r == 0 && fsync(data) != 0)
		r = -errno;
	/* Of another boot, and perhaps torn; LMDB makes it anew. */
	if (r == 0 && unlinkat(m->dir_fd, META_FILE_DATA "-lock", 0) != 0 && errno != ENOENT)
		r = -errno;
	if (r != 0)
		return err_set(err, r, ERR_FINAL,
			"%s: cannot put the index back to its last sync point: %s", m->dir,
			strerror(-r));
	return 0;
}

/* ---- one sync point ---- */

static void pin_end(struct meta_pin *pin)
{
	if (pin->txn != NULL)
		mdb_txn_abort(pin->txn);
	*pin = (struct meta_pin){0};
}

/* Step 1. */
static errint_t pin_take(struct meta *m, struct meta_pin *ret)
{
	mdb_filehandle_t fd;
	errint_t r = 0;
	MDB_envinfo info;
	int rc;

	LOCKED(&m->w.lock);
	rc = mdb_txn_begin(m->env, NULL, MDB_RDONLY, &ret->txn);
	if (rc != 0) {
		ret->txn = NULL;
		return db_err(rc);
	}
	ret->id = mdb_txn_id(ret->txn);
	(void)mdb_env_info(m->env, &info);
	ret->pages = (uint64_t)info.me_last_pgno + 1;
	rc = mdb_env_get_fd(m->env, &fd);
	r = rc != 0 ? db_err(rc)
		    : read_all(fd, m->sy.slot + SLOT_HEAD, (size_t)2 * m->page_size, 0);
	if (r != 0)
		pin_end(ret);
	return r == -ENODATA ? -EBADMSG : r;
}

/* Makes every page dirty again, in pieces, each out of the writers' way. */
static errint_t data_rewrite(struct meta *m)
{
	cleanup_free uint8_t *p = malloc(CHUNK);
	mdb_filehandle_t fd;
	errint_t r = 0;
	ssize_t n = 0;

	if (p == NULL)
		return -ENOMEM;
	if (mdb_env_get_fd(m->env, &fd) != 0)
		return -EIO;
	for (off_t off = 0; r == 0; off += n) {
		LOCKED(&m->w.lock);
		n = pread(fd, p, CHUNK, off);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = write_all(fd, p, (size_t)n, off);
	}
	return r;
}

/* Step 3. */
static errint_t data_sync(struct meta *m)
{
	errint_t r = m->sy.rewrite ? data_rewrite(m) : 0;
	int rc;

	if (r != 0)
		return r;
	rc = mdb_env_sync(m->env, 1);
	m->sy.rewrite = rc != 0;
	return db_err(rc);
}

/* Step 4. A slot that failed is written again at the same place. */
static errint_t slot_write(struct meta *m, uint64_t txn)
{
	uint64_t seq = m->sy.seq + 1;
	errint_t r;

	slot_fill(m->sy.slot, seq, txn, m->page_size);
	r = write_all(m->sy.pin_fd, m->sy.slot, SLOT_SIZE, (off_t)(seq & 1) * SLOT_SIZE);
	if (r == 0 && fdatasync(m->sy.pin_fd) != 0)
		r = -errno;
	if (r == 0)
		m->sy.seq = seq;
	return r;
}

errint_t sync_point(struct meta *m, struct err *err)
{
	bool changed = m->sy.pin.txn == NULL || atomic_load(&m->last_txn) != m->sy.pin.id;
	struct meta_pin pin = {0};
	errint_t r;

	if (changed) {
		r = pin_take(m, &pin);
		if (r != 0)
			return err_set(err, r, ERR_RETRY, "index: cannot take a snapshot: %s",
				strerror(-r));
	}
	r = m->sy.before != NULL ? m->sy.before(m->sy.before_arg) : 0;
	if (r != 0) {
		pin_end(&pin);
		return err_set(
			err, r, ERR_RETRY, "staging cannot be made durable: %s", strerror(-r));
	}
	if (!changed)
		return 0;
	r = data_sync(m);
	if (r == 0)
		r = slot_write(m, pin.id);
	if (r != 0) {
		pin_end(&pin);
		return err_set(
			err, r, ERR_RETRY, "index: cannot make it durable: %s", strerror(-r));
	}
	pin_end(&m->sy.pin);
	m->sy.pin = pin;
	atomic_store(&m->sync.synced_pages, pin.pages);
	atomic_store(&m->sync.synced, pin.id);
	count_inc(meta_sync_points);
	return 0;
}

/* ---- the thread ---- */

static bool sync_behind(struct meta *m)
{
	return atomic_load(&m->last_txn) != atomic_load(&m->sync.synced);
}

/* When the next point is due: at its interval, or sooner when somebody waits for one, but so that
 * the disk has most of the time for others. */
static int64_t sync_due_locked(struct meta *m)
{
	int64_t due = m->sy.begun_ns + m->sy.interval_ns;
	int64_t rest = MIN_OF(WANTED_SHARE * m->sy.took_ns, MAX_OF(WANTED_LONG_NS, m->sy.took_ns));

	return m->sync.wanted
		       ? MIN_OF(due, m->sy.begun_ns + m->sy.took_ns + MAX_OF(WANTED_REST_NS, rest))
		       : due;
}

/* Sleeps until there is something to do; true at the end. */
static bool sync_sleep_locked(struct meta *m)
{
	lock_assert_held(&m->sync.lock);
	while (!m->sync.stop && !m->sync.asked) {
		atomic_store(&m->sync.idle, true); /* before looking: see sync_changed */
		if (!sync_behind(m)) {
			cond_wait(&m->sync.wake, &m->sync.lock);
			continue;
		}
		atomic_store(&m->sync.idle, false);
		if (clock_mono_ns() >= sync_due_locked(m))
			break;
		(void)cond_wait_until(&m->sync.wake, &m->sync.lock, sync_due_locked(m));
	}
	atomic_store(&m->sync.idle, false);
	return m->sync.stop;
}

static void *sync_main(void *arg)
{
	struct meta *m = arg;
	void (*fn)(void *fn_arg);
	void *fn_arg;
	struct err err;
	errint_t r;
	bool stop;

	lock_take(&m->sync.lock);
	m->sy.begun_ns = clock_mono_ns();
	do {
		stop = sync_sleep_locked(m);
		m->sync.asked = m->sync.wanted = false;
		m->sync.begun++;
		lock_drop(&m->sync.lock);
		m->sy.begun_ns = clock_mono_ns();
		err_clear(&err);
		r = sync_point(m, &err);
		if (r != 0)
			log_debug("meta", "sync point: %s", err_text(&err, r));
		m->sy.took_ns = clock_mono_ns() - m->sy.begun_ns;
		db_room_update(m);
		lock_take(&m->sync.lock);
		m->sync.ended = m->sync.begun;
		m->sync.result = r;
		m->sync.err = err;
		(void)pthread_cond_broadcast(&m->sync.done);
		fn = m->sync.on_sync;
		fn_arg = m->sync.on_sync_arg;
		if (fn != NULL && r == 0) {
			lock_drop(&m->sync.lock);
			fn(fn_arg);
			lock_take(&m->sync.lock);
		}
	} while (!stop);
	lock_drop(&m->sync.lock);
	return NULL;
}

void sync_changed(struct meta *m)
{
	/* The thread sets idle and then looks at last_txn; we set last_txn and then look at idle:
	 * one of the two sees the other. */
	uint64_t behind = atomic_load(&m->last_txn) - atomic_load(&m->sync.synced);

	if (!atomic_load(&m->sync.idle) && behind < UNSYNCED_SOON)
		return;
	LOCKED(&m->sync.lock);
	/* Pages freed since the pin wait for the next one, so that the file grows with each
	 * commit, and never shrinks: under load sync points come sooner than each second, as
	 * often as somebody who waits for them would have them, and in the end at once. */
	if (m->sync.begun == m->sync.ended) {
		m->sync.wanted |= behind >= UNSYNCED_SOON;
		m->sync.asked |= behind >= UNSYNCED_MAX;
	}
	(void)pthread_cond_signal(&m->sync.wake);
}

/* Pages freed since the pin are used again only after the next sync point. When that takes long
 * (many staged files, a slow disk) the file would grow by gigabytes under a flood of changes. */
bool sync_grown(struct meta *m)
{
	uint64_t base = atomic_load(&m->sync.synced_pages), now;
	MDB_envinfo info;

	(void)mdb_env_info(m->env, &info);
	now = (uint64_t)info.me_last_pgno + 1;
	return now > base && (now - base) * m->page_size > m->grow_max;
}

void sync_throttle(struct meta *m, int64_t wait_ns)
{
	int64_t until = clock_mono_ns() + wait_ns;
	uint64_t synced = atomic_load(&m->sync.synced);

	if (!m->sync.has_thread || pthread_equal(pthread_self(), m->sync.thread) ||
		atomic_load(&m->last_txn) - synced < THROTTLE_TXNS)
		return;
	LOCKED(&m->sync.lock);
	while (atomic_load(&m->sync.synced) == synced) {
		m->sync.asked = true;
		(void)pthread_cond_signal(&m->sync.wake);
		if (!cond_wait_until(&m->sync.done, &m->sync.lock, until))
			break; /* staging is slow or locked by our caller: rather go on */
	}
}

errint_t sync_start(struct meta *m, struct err *err)
{
	unsigned page;
	errint_t r;

	m->sy.slot = calloc(1, SLOT_SIZE);
	if (m->sy.slot == NULL)
		return err_set(err, -ENOMEM, ERR_FINAL, "no memory");
	m->sy.pin_fd = openat(m->dir_fd, META_FILE_PIN, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->sy.pin_fd < 0)
		return err_set(err, -errno, ERR_FINAL, "%s/" META_FILE_PIN ": %s", m->dir,
			strerror(errno));
	if (slot_best(m->sy.pin_fd, m->sy.slot, &m->sy.seq, &page) != 0)
		m->sy.seq = 0;
	memset(m->sy.slot, 0, SLOT_SIZE);
	/* Room for both slots now, so that a full disk cannot stop sync points later. */
	r = -posix_fallocate(m->sy.pin_fd, 0, 2 * SLOT_SIZE);
	if (r == 0)
		r = sync_point(m, err);
	else
		(void)err_set(err, r, ERR_FINAL, "%s/" META_FILE_PIN ": %s", m->dir, strerror(-r));
	if (r == 0 && fsync(m->dir_fd) != 0)
		r = err_set(err, -errno, ERR_FINAL, "%s: fsync: %s", m->dir, strerror(errno));
	return r;
}

errint_t sync_thread_start(struct meta *m, struct err *err)
{
	errint_t r = db_thread(&m->sync.thread, "meta-sync", sync_main, m);

	m->sync.has_thread = r == 0;
	return r == 0 ? 0 : err_set(err, r, ERR_FINAL, "cannot start a thread: %s", strerror(-r));
}

errint_t sync_stop(struct meta *m)
{
	if (!m->sync.has_thread)
		return 0;
	lock_take(&m->sync.lock);
	m->sync.stop = true;
	(void)pthread_cond_signal(&m->sync.wake);
	lock_drop(&m->sync.lock);
	(void)pthread_join(m->sync.thread, NULL);
	m->sync.has_thread = false;
	return m->sync.result;
}

void sync_done(struct meta *m)
{
	pin_end(&m->sy.pin);
	if (m->sy.pin_fd >= 0)
		(void)close(m->sy.pin_fd);
	m->sy.pin_fd = -1;
	free(m->sy.slot);
	m->sy.slot = NULL;
}

/* ---- the face ---- */

uint64_t meta_synced(struct meta *m)
{
	return atomic_load(&m->sync.synced);
}

errint_t meta_sync(struct meta *m, struct err *err)
{
	uint64_t want = atomic_load(&m->last_txn), attempt;

	if (m->read_only)
		return 0;
	LOCKED(&m->sync.lock);
	attempt = m->sync.begun + 1; /* the first that begins after now */
	while (atomic_load(&m->sync.synced) < want) {
		if (m->sync.ended >= attempt && m->sync.result != 0) {
			if (err != NULL)
				*err = m->sync.err;
			return m->sync.result;
		}
		/* One that runs already may cover us: ask for another only when it did not. */
		if (m->sync.begun == m->sync.ended) {
			m->sync.asked = true;
			(void)pthread_cond_signal(&m->sync.wake);
		}
		cond_wait(&m->sync.done, &m->sync.lock);
	}
	return 0;
}

void meta_sync_soon(struct meta *m)
{
	if (m->read_only)
		return;
	LOCKED(&m->sync.lock);
	m->sync.asked = true;
	(void)pthread_cond_signal(&m->sync.wake);
}

void meta_on_sync(struct meta *m, void (*fn)(void *arg), void *arg)
{
	LOCKED(&m->sync.lock);
	m->sync.on_sync = fn;
	m->sync.on_sync_arg = arg;
}

void meta_sync_wanted(struct meta *m)
{
	if (m->read_only)
		return;
	LOCKED(&m->sync.lock);
	if (m->sync.wanted)
		return;
	m->sync.wanted = true;
	(void)pthread_cond_signal(&m->sync.wake);
}
