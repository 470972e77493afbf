/* SPDX-License-Identifier: MIT */
/*
 * Staging, inside: a file's form, the table entry, the file, and who may touch what.
 *
 * A file: one page of header, the first page of entries (8 bytes a chunk), and from STAGE_HEAD on
 * the bytes; both pages are mapped. Entries of chunks beyond that page are in a sidecar, made when
 * the file grows so far, at the offsets that they have in the mapping.
 *
 * Locks: stage.shared.lock (RANK_STAGE) guards the table; it is never held across a system call on
 * a file. An entry that is being opened, closed or removed is `busy`; others wait for it. A file's
 * lock (RANK_STAGE_F) is held by changers for the whole of a call, pwrite included; readers only
 * count themselves in and out under it, so that reads of one file run side by side.
 * Quota is kept in atomics, since it is charged under file locks.
 *
 * A grain's two bits:
 *	present dirty
 *	0	0	not here: below base.end the base's bytes, else zeros
 *	1	0	clean: the data file holds the base's bytes (zeros from base.end on)
 *	1	1	dirty: the data file holds what was written
 *	0	1	dirty hole: zeros, whatever the data file holds
 * Only `present` grains are charged. While head.dirty is 0 a set dirty bit means nothing: files
 *with few keep theirs after an upload (see stage_clean). A power cut may leave the header that
 *became dirty again and an older page of entries: there only marks of the header's generation
 *count, and what has others is the base's, or was.
 *
 * base.end <= base.size is how much of the base still shows: a truncate lowers it, so that growing
 * again shows zeros, without a bit being touched. base.end <= head.size always.
 */
#ifndef STAGE_PRIV_H
#define STAGE_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "astra/base_err.h"
#include "astra/base_lock.h"
#include "astra/stage.h"

#define MAP_MAGIC	  UINT64_C(0x3250414d41525453) /* "STRAMAP2" */
#define MAP_VERSION	  2u
#define MAP_HEAD_SIZE	  4096u
#define MAP_CHUNKS_MIN	  512u /* one page of entries: 32 MiB of file */
#define STAGE_HEAD	  (MAP_HEAD_SIZE + MAP_CHUNKS_MIN * 8)
#define MAP_CHUNKS_SPARSE 65536u /* from here on holes are looked for */
#define STAGE_SIZE_MAX	  (UINT64_C(1) << 46)
#define GRAINS_PER_CHUNK  (STAGE_CHUNK / STAGE_GRAIN)

struct map_base {
	char etag[128];
	uint64_t size;
	uint64_t end; /* not under crc: lowered in place */
	uint32_t crc; /* of etag and size */
	uint32_t zero;
};

struct map_twin {
	uint64_t seq, epoch; /* of the head and the stage when it was said */
	struct stage_twin at;
	uint32_t crc; /* of all before, but for padding; stored last */
};

/* Every change is one aligned store, or is made in the idle slot and switched in by `which`: a
 * kill, or a page written out at any moment, sees a state from before or after. */
struct map_head {
	uint64_t magic; /* stored last when made */
	uint32_t version;
	uint32_t which; /* base slot in use */
	uint64_t ino;
	uint64_t epoch; /* of the stage when it was last opened for the first time of a run */
	uint64_t size;
	int64_t mtime;
	uint64_t seq;
	uint32_t dirty;
	uint32_t gen;	  /* of the dirty marks that count: another each time it becomes dirty */
	uint32_t sidecar; /* 1: there is one */
	uint32_t zero;
	struct map_base base[2];
	struct map_twin twin;
};

struct map {
	union {
		struct map_head h;
		char page[MAP_HEAD_SIZE];
	};
	uint64_t chunk[]; /* present:16, dirty:16, and 32: gen if any is dirty, else crc (0 = none)
			   */
};

struct entry {
	uint64_t ino;
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) lru;	  /* while in_lru */
	TAILQ_ENTRY(entry) sync;  /* while unsynced */
	TAILQ_ENTRY(entry) open;  /* while f is set */
	struct stage_file *f;	  /* while referenced */
	uint64_t present, ndirty; /* grains, while not referenced; an estimate until seen */
	atomic_bool unsynced;	  /* set under the table's lock, read by anyone */
	bool in_lru, busy, dropped;
	bool seen;  /* opened in this run */
	bool dirty; /* while not referenced */
};

TAILQ_HEAD(entry_list, entry);

struct stage {
	int dirfd;
	bool on_fuse; /* there syncfs(2) does not reach the server */
	char *dir;
	uint64_t quota, min_free;
	uint64_t span;	/* bytes of a file of which is known when they were last changed */
	uint64_t epoch; /* of this run; the same as the last one's when that one closed cleanly */
	uint64_t cut;	/* files whose epoch is smaller saw a power cut */
	struct {
		struct lock lock;
		pthread_cond_t changed; /* some entry is no longer busy, or syncing ended */
		bool syncing;		/* a stage_sync_all is under way */
		struct entry *table;
		struct entry_list lru;	    /* clean, not referenced; oldest first */
		struct entry_list unsynced; /* changed since the last stage_sync_all */
		struct entry_list open;	    /* referenced */
		uint64_t lru_bytes, count, nunsynced;
		/* Entries whose last reference was just put, or that are being removed: each may
		 * make room when it is done. And how many were. */
		uint64_t nleaving, nleft;
	} shared;
	atomic_uint_fast64_t used;  /* bytes of present grains, and what is reserved */
	atomic_uint_fast64_t dirty; /* of these, in dirty grains */
	atomic_int_fast64_t free_ns, free_bytes;
	/* Bucket directories: files made in them, and how many of these are known to be durable. */
	atomic_uint_fast64_t made[256], made_synced[256];
};

struct stage_file {
	struct stage *s;
	struct entry *e;
	uint64_t ino;
	unsigned refs; /* stage.shared.lock */
	int fd;
	int map_fd; /* of the sidecar, -1 when there is none */
	struct {
		struct lock lock;
		pthread_cond_t idle;
		unsigned readers, writers_waiting;
	} rw;
	/* The rest: read by readers, changed by the one changer. */
	struct map *map;
	uint64_t map_chunks;		 /* entries that the mapping has */
	uint64_t map_page;		 /* page of entries known to have disk blocks, beside 0 */
	unsigned char *verified;	 /* a bit a chunk: checksum compared since opened */
	uint64_t present, ndirty;	 /* grains; ndirty counts present && dirty */
	uint64_t charged, charged_dirty; /* bytes, as in stage.used and stage.dirty */
	bool cut_pending; /* the file may hold bytes beyond size that are not zeros */
	bool kept;	  /* stage_keep() */
	/* Base records switched in since it was opened, and the one that is known to be durable:
	 * 0, that of the file as it was found, is not. */
	uint64_t bases, bases_durable;
	uint64_t evict_at;	    /* chunk; those before it were let go last */
	atomic_uint_fast64_t clean; /* bytes, for who looks without the lock */
	atomic_uint_fast64_t stamp; /* stage_stamp() */
	struct {
		uint64_t
			*seq; /* owned; head.seq as of the last change of each; NULL: not watched */
		uint64_t n, beyond; /* of all behind them */
	} spans;
};

/* ---- bits ---- */

static inline uint16_t ent_present(uint64_t e)
{
	return (uint16_t)e;
}
static inline uint16_t ent_dirty(uint64_t e)
{
	return (uint16_t)(e >> 16);
}
static inline uint32_t ent_gen(uint64_t e)
{
	return ent_dirty(e) ? (uint32_t)(e >> 32) : 0;
}
static inline uint32_t ent_crc(uint64_t e)
{
	return ent_dirty(e) ? 0 : (uint32_t)(e >> 32);
}
static inline uint64_t ent_make(
	const struct stage_file *f, uint16_t present, uint16_t dirty, uint32_t crc)
{
	uint32_t high = dirty ? f->map->h.gen : crc;

	return (uint64_t)present | (uint64_t)dirty << 16 | (uint64_t)high << 32;
}
static inline uint64_t round_down(uint64_t v, uint64_t to)
{
	return v / to * to;
}
static inline uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* Grains of chunk c that [off, end) touches, and those that it covers whole. */
uint16_t mask_touch(uint64_t c, uint64_t off, uint64_t end);
uint16_t mask_whole(uint64_t c, uint64_t off, uint64_t end);

static inline struct map_base *file_base(const struct stage_file *f)
{
	return &f->map->h.base[f->map->h.which];
}
static inline uint64_t file_entry(const struct stage_file *f, uint64_t c)
{
	return c < f->map_chunks ? __atomic_load_n(&f->map->chunk[c], __ATOMIC_RELAXED) : 0;
}
/* Stores an entry and keeps the counts. c < map_chunks. */
void file_entry_set(struct stage_file *f, uint64_t c, uint64_t e);

/* c, or when the sidecar is large and sparse: the next c that can have an entry. */
uint64_t file_entry_next(const struct stage_file *f, uint64_t c);

enum run_kind { RUN_MISSING, RUN_DIRTY, RUN_DATA, RUN_HOLE };
/* First run of grains of a kind that touches [off, end): aligned, not cut. */
bool file_run(const struct stage_file *f, enum run_kind kind, uint64_t off, uint64_t end,
	uint64_t *ret_off, uint64_t *ret_end);

/* ---- file.c ---- */

void file_read_begin(struct stage_file *f);
void file_read_end(struct stage_file *f);
void file_change_begin(struct stage_file *f);
void file_change_end(struct stage_file *f); /* also puts the file on the list to sync */
void file_quiet_end(struct stage_file *f);  /* the same when nothing needs syncing */

/* Lets the mapping have chunks [0, n), and the pages of entries of [first, n) disk blocks. */
errint_t file_map_need(struct stage_file *f, uint64_t first, uint64_t n);
/* Marks head dirty and counts the change of [off, end), before the data is touched. */
void file_touch(struct stage_file *f, uint64_t off, uint64_t end);
/* Brings stage.used and stage.dirty up to the counts; gives back what was reserved. */
void file_account(struct stage_file *f, uint64_t reserved);
/* Switches the base record. */
void file_base_set(struct stage_file *f, const char *etag, uint64_t size, uint64_t end);
/* Drops the clean grains of chunk c, bits first. Returns how many. */
unsigned file_drop_clean(struct stage_file *f, uint64_t c);
/* Lets clean chunks of a file in use go, `want` bytes or more if there are so many. Takes the
 * file's lock. How many bytes went. */
uint64_t file_evict(struct stage_file *f, uint64_t want);
/* Chunk c is about to be changed in part: its checksum goes, compared once more before. */
void file_forget_crc(struct stage_file *f, uint64_t c);
/* Clears every bit of grains at or beyond size. */
void file_clear_beyond(struct stage_file *f, uint64_t size);
/* Gives disk blocks back; what a read shows is decided by bits, so failing is harmless. */
void file_punch(struct stage_file *f, uint64_t c, uint16_t mask);

/* The data's size, as the disk has it, and cutting it. */
errint_t file_data_size(const struct stage_file *f, uint64_t *ret);
errint_t file_data_cut(const struct stage_file *f, uint64_t size);

/* ---- load.c ---- */

struct file_name {
	char data[32], map[36];
};
void file_name(uint64_t ino, struct file_name *ret);
enum head_state { HEAD_GOOD, HEAD_NOTHING, HEAD_BAD };
/* Judges a header: nothing = may be dropped, bad = may have had dirty data. */
enum head_state head_check(const struct map_head *h, uint64_t ino);
errint_t file_make(struct stage *s, struct entry *e, struct stage_file **ret);
/* -EBADMSG; -ENODATA when there is nothing worth keeping: remove it. */
errint_t file_load(struct stage *s, struct entry *e, struct stage_file **ret);
void file_unload(struct stage_file *f); /* counts go to the entry */
/* Maps that many entries, instead of those before; beyond the first page needs the sidecar. */
errint_t file_map(struct stage_file *f, uint64_t chunks);
errint_t file_sidecar_make(struct stage_file *f);
void file_remove(struct stage *s, uint64_t ino);

/* ---- spans.c ---- */

/* head.seq has moved on: [off, end) may show other bytes. By the one changer. */
void spans_touch(struct stage_file *f, uint64_t off, uint64_t end);
/* stage_span_seq(), by who has the file's lock. */
uint64_t spans_seq(const struct stage_file *f, uint64_t off, uint64_t len);

/* ---- stage.c ---- */

/* stage_make_room(); open: also of files that are in use. */
errint_t stage_room(struct stage *s, uint64_t need, bool open);
/* Takes quota if it is there now. */
bool stage_reserve(struct stage *s, uint64_t bytes);
void stage_mark_unsynced(struct stage *s, struct entry *e);

/* ---- data.c ---- */

/* Compares the checksum of chunk c if it has one and was not compared yet. */
bool file_verify(struct stage_file *f, uint64_t c);

/* ---- spread.c ---- */

/* Before the first bucket is made. */
void stage_spread(int dirfd);

/* ---- sync.c ---- */

errint_t stage_sync_fs(struct stage *s);

#endif
