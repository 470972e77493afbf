/* SPDX-License-Identifier: MIT */
/*
 * Staging: one sparse local file per inode that holds both what was written and has no cloud yet
 * (dirty) and what was fetched (clean: the cache), with a memory-mapped map at its head that says
 * which is which. Two states per 4 KiB grain, and per 64 KiB chunk a CRC-32C of its clean bytes.
 *
 * Map: one 4 KiB header, then 8 bytes a chunk { present:16, dirty:16, crc32c:32 }, MAP_SHARED, so
 * that it survives kill -9 without a system call per write. What does not fit into one page of
 * entries (files above 32 MiB) is in a sidecar. Order of a write: data, then bits, then the answer.
 * The header's size and mtime are the truth for a dirty file.
 *
 * After a power cut (stage_conf.power_cut): clean grains are dropped, dirty ones are kept.
 *
 * Ranges at or beyond the base object's size read as zeros without being present.
 *
 * Disk is accounted before it is written: clean files are evicted, least recently used first, and
 * where these are not enough for what is changed, clean bytes of files that are open; dirty data
 * never; then -ENOSPC.
 *
 * Threads: any; a file's own lock (RANK_STAGE_F) is held across local pread/pwrite of one call.
 */
#ifndef ASTRA_STAGE_H
#define ASTRA_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "astra/base_err.h"

#define STAGE_GRAIN 4096u
#define STAGE_CHUNK 65536u

#define STAGE_PATH_MAX 1280u /* with the NUL */

struct stage;
struct stage_file; /* reference counted; one per inode at a time */

struct stage_conf {
	const char *dir;	 /* created 0700 when missing */
	uint64_t quota_bytes;	 /* clean + dirty */
	uint64_t min_free_bytes; /* of the file system, kept free */
	bool power_cut;
	uint64_t span; /* bytes, whole chunks; 0 = STAGE_SPAN */
};

errint_t stage_open(const struct stage_conf *conf, struct stage **ret, struct err *err);
void stage_close(struct stage *s); /* no file may be referenced; NULL is fine */

/* The staging file of ino, opened or created (create) with a reference; -ENOENT. A header that
 * cannot be read is -EBADMSG when it had dirty data, else it is dropped. */
errint_t stage_get(struct stage *s, uint64_t ino, bool create, struct stage_file **ret);
struct stage_file *stage_ref(struct stage_file *f);
void stage_put(struct stage_file *f); /* NULL is fine */
/* Removes an inode's staging, also while referenced: then it vanishes at the last put, and until
 * then stage_get still gives it. Not undone by writing: the inode is dead. */
void stage_drop(struct stage *s, uint64_t ino);
/* True when staging of ino exists, without opening it. */
bool stage_has(struct stage *s, uint64_t ino);
/* True when it has bytes or changes; else reading the object is as good. */
bool stage_holds(struct stage *s, uint64_t ino);

/* Binds the file to a base object: when etag or size differ from what it holds, its clean grains
 * are dropped (dirty ones stay). base NULL or "" = no base: nothing outside dirty grains is known,
 * all else is zeros. */
errint_t stage_base(struct stage_file *f, const char *etag, uint64_t base_size);
void stage_base_get(struct stage_file *f, char ret_etag[128], uint64_t *ret_size);

uint64_t stage_size(struct stage_file *f); /* of the file as a user sees it */
int64_t stage_mtime(struct stage_file *f); /* ns; 0 until first written or set */
void stage_mtime_set(struct stage_file *f, int64_t ns);
bool stage_dirty(struct stage_file *f);
/* Another one after each change of what a read may show: of content, size or base, never by a fill
 * or an eviction; changed before the bytes are. Takes no lock. */
uint64_t stage_stamp(struct stage_file *f);
uint64_t stage_seq(struct stage_file *f); /* grows with every change of content or size */

/* Reads what is here: *ret_len bytes (short only at end of file). -ENODATA when something in the
 * range must be fetched first: *ret_miss_off/len = the first missing run, grain-aligned, cut at the
 * base's size. A chunk whose checksum does not match is dropped and reported as missing. */
errint_t stage_read(struct stage_file *f, uint64_t off, void *p, size_t len, size_t *ret_len,
	uint64_t *ret_miss_off, uint64_t *ret_miss_len);
/* The same, with what is missing from get(): all of a range, or an error. Without a lock. */
errint_t stage_read_with(struct stage_file *f, uint64_t off, void *p, size_t len, size_t *ret_len,
	errint_t (*get)(void *arg, uint64_t off, void *p, size_t len), void *arg);
/* First missing run in [off, off+len); false when none. */
bool stage_missing(
	struct stage_file *f, uint64_t off, uint64_t len, uint64_t *ret_off, uint64_t *ret_len);
/* Writes, marks dirty, extends. -ENODATA when a grain is written in part, is not present and lies
 * in the base: fetch [*ret_miss_off, +len) first and call again. -EDQUOT: the quota is full of
 * what cannot go now; -ENOSPC: the disk is full; -EFBIG. */
errint_t stage_write(struct stage_file *f, uint64_t off, const void *p, size_t len,
	uint64_t *ret_miss_off, uint64_t *ret_miss_len);
/* Stores fetched bytes of base version etag: only into grains neither present nor dirty. Bytes of
 * another version are ignored with -ESTALE. off is grain-aligned; len too unless it ends at the
 * base's size (or at the end of a run that was told as missing). -EDQUOT, -ENOSPC: not kept. */
errint_t stage_fill(
	struct stage_file *f, const char *etag, uint64_t off, const void *p, size_t len);
/* Shrinks or grows (zeros). Needs nothing fetched (today; callers handle -ENODATA as for
 * stage_write). */
errint_t stage_truncate(
	struct stage_file *f, uint64_t size, uint64_t *ret_miss_off, uint64_t *ret_miss_len);
/* Zeros a range (FALLOC_FL_PUNCH_HOLE, keep size). Edge grains as for stage_write. */
errint_t stage_punch(struct stage_file *f, uint64_t off, uint64_t len, uint64_t *ret_miss_off,
	uint64_t *ret_miss_len);
/* fallocate: reserves, extends the size unless keep_size. -EDQUOT, -ENOSPC as stage_write. */
errint_t stage_allocate(struct stage_file *f, uint64_t off, uint64_t len, bool keep_size);
/* SEEK_DATA / SEEK_HOLE; what is not present counts as data. -ENXIO. */
errint_t stage_seek(struct stage_file *f, uint64_t off, bool hole, uint64_t *ret);

/* Next dirty run at or after off (grain-aligned, cut at size). Outside the runs, and below the
 * base's size, all bytes are the base's; so without a base a dirty file is one run, and what a
 * truncate cut off and grew again, or grew beyond the base, is in a run. A run may have missing
 * grains only where the base's end lies inside a grain. */
bool stage_next_dirty(struct stage_file *f, uint64_t off, uint64_t *ret_off, uint64_t *ret_len);
/* After an upload: when nothing changed since seq, dirty grains become clean grains of the new
 * base (etag, size) and 0 is returned; else -EAGAIN: it stays dirty, but the base becomes the new
 * one (what was uploaded is what the next upload overwrites), and where changes are watched
 * (stage_spans_watch() before seq) the spans without one are clean. */
errint_t stage_clean(struct stage_file *f, uint64_t seq, const char *etag, uint64_t size);
/* As an open with O_TRUNC: size 0, no base, dirty. */
errint_t stage_reset(struct stage_file *f);
/* A file that stage_reset() made, unchanged since seq, becomes a clean one of that base: somebody
 * else put its content there. -EAGAIN when it was changed. */
errint_t stage_adopt(struct stage_file *f, uint64_t seq, const char *etag, uint64_t size);

/* Undoes a truncation to whole grains: of a file that was not changed since seq, the base's bytes
 * up to size show again, and *ret_seq is the number now. -EAGAIN when that is not so. */
errint_t stage_regrow(struct stage_file *f, uint64_t seq, uint64_t size, uint64_t *ret_seq);

/* For uploads that begin while the file is still written. From here on, and while f is referenced,
 * it is known when each span was last changed; called again when the file has grown. -ENOMEM. */
#define STAGE_SPAN (4u << 20)
errint_t stage_spans_watch(struct stage_file *f);
/* What stage_seq() was after the last change within the spans of [off, off+len), or one before;
 * UINT64_MAX when that is not known. len > 0. */
uint64_t stage_span_seq(struct stage_file *f, uint64_t off, uint64_t len);

/* An object whose content is, byte for byte, that of a file: it was copied from it here. */
struct stage_twin {
	uint32_t remote;
	char path[STAGE_PATH_MAX]; /* below the remote */
	char etag[128];
};
/* Remembered until the content changes (it is forgotten already when it did since seq), across
 * kills, but not across power cuts, which may take bytes of the copy away. */
void stage_twin_set(struct stage_file *f, uint64_t seq, const struct stage_twin *twin);
bool stage_twin_get(struct stage_file *f, struct stage_twin *ret);

/* Makes it durable, with its name. */
errint_t stage_sync(struct stage_file *f, struct err *err);
/* The same for all that changed since the last call: by file when few, by syncfs(2) when many. */
errint_t stage_sync_all(struct stage *s, struct err *err);

/* Evicts what is clean until `need` more bytes fit; -EDQUOT or -ENOSPC. Used by the calls above. */
errint_t stage_make_room(struct stage *s, uint64_t need);
/* From here on, and while f is referenced, nothing of it is evicted. */
void stage_keep(struct stage_file *f);
struct stage_stat {
	uint64_t files, clean_bytes, dirty_bytes, quota_bytes;
};
void stage_stat(struct stage *s, struct stage_stat *ret);
/* Every inode that has staging: for recovery and check. */
errint_t stage_each(struct stage *s, int (*fn)(void *arg, uint64_t ino), void *arg);

#endif
