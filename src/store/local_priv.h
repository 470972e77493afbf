/* SPDX-License-Identifier: MIT */
/*
 * The local driver's inside, shared by local*.c. What lies on the disk:
 *
 *	ROOT/BUCKET/a/b.csv                  the object a/b.csv, a plain file with a record (below)
 *	ROOT/BUCKET/d/                       implied by the objects in it; with a record: object d/
 *	ROOT/BUCKET/a%obj                    the object a, when a/... exists too
 *	ROOT/BUCKET/.astra/tmp/OWNER.ETAG    not yet, or no longer, an object
 *	ROOT/BUCKET/.astra/crc/xx/ETAG       checksums of a large object
 *	ROOT/BUCKET/.astra/uploads/ID/       an unfinished multipart upload
 *	ROOT/BUCKET/.astra/lifecycle.json
 *	ROOT/.astra/lock                     byte ranges of it are the locks between processes
 *	ROOT/.astra/owner.OWNER              locked by a living process
 *
 * The record is one extended attribute, set before the rename that makes the object, so that an
 * object and what is known of it appear together.
 */
#ifndef STORE_LOCAL_PRIV_H
#define STORE_LOCAL_PRIV_H

#include <sys/stat.h>

#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "driver.h"
#include "layer.h"

#define LOCAL_CHUNK	  65536u /* bytes per checksum */
#define LOCAL_REC_MAX	  3500	 /* bytes of a record: fits the attribute block of ext4 */
#define LOCAL_SUMS_INLINE 192	 /* as many checksums fit into the record beside full metadata */
#define LOCAL_XATTR	  "user.astra.obj"
#define LOCAL_XATTR_NAME  "user.astra.name" /* true name of a component shortened by a hash */
#define LOCAL_STRIPES	  64
#define LOCAL_PARTS_MAX	  10000 /* as S3 */
#define LOCAL_PATH_MAX	  4096
#define LOCAL_ROOT_MAX	  700 /* so that every path made from it fits LOCAL_PATH_MAX */
#define LOCAL_IO	  (1u << 20)
#define LOCAL_PRIVATE	  ".astra"

struct local_dirs; /* local_dir.c: sorted names of directories listed lately */

struct local {
	struct store store;
	char *root; /* owned */
	struct remote_class classes[TIER_N];
	bool sync, verify;
	bool near; /* root is on a file system of this machine */
	int lock_fd, owner_fd;
	char owner[17];
	struct lock tree;		    /* directories come and go; taken before a stripe */
	struct lock stripes[LOCAL_STRIPES]; /* writes to a key */
	struct local_dirs *dirs;
};

/* ---- local_path.c ---- */

struct lpath {
	char p[LOCAL_PATH_MAX];
	size_t bucket_len; /* of ROOT/BUCKET */
	bool marker;	   /* key ends with '/': p is a directory */
};
void lpath_set(const struct local *l, struct store_obj o, struct lpath *ret);
/* The i-th place where the object of this key can be; false when there is none. */
bool lpath_place(const struct lpath *lp, unsigned i, char ret[LOCAL_PATH_MAX]);
void lpath_private(
	const struct local *l, const char *bucket, const char *name, char ret[LOCAL_PATH_MAX]);
void lpath_sidecar(
	const struct local *l, const char *bucket, const char *etag, char ret[LOCAL_PATH_MAX]);
uint64_t lkey_hash(const char *key, size_t len);
#define LNAME_MAX 256
/* A key's component as a file name; *ret_hashed: it was shortened. Returns the length. */
size_t lname_encode(const char *s, size_t len, char ret[LNAME_MAX], bool *ret_hashed);
/* A file name as a component: its length, -1 for a name that no component has, -2 when it is
 * shortened and LOCAL_XATTR_NAME has to tell. *ret_alt: it ended in "%obj". */
int lname_decode(const char *name, char *ret, bool *ret_alt);
/* Makes the directories of path (of o, or its ancestors); objects in the way step aside. */
errint_t local_parents(struct local *l, struct store_obj o, const struct lpath *lp,
	const char *path, struct err *err);
/* Removes empty directories upward from dir, which is shortened to the lowest one that stays. */
void local_prune(struct local *l, const struct lpath *lp, char *dir);
/* Cuts the last component off. */
void lpath_up(char *p);
errint_t local_private_make(struct local *l, const char *bucket, struct err *err);

/* The lock of a key, against threads and processes. */
unsigned local_lock(struct local *l, const char *bucket, const char *key, size_t len);
void local_unlock(struct local *l, unsigned stripe);
void local_tree_lock(struct local *l);
void local_tree_unlock(struct local *l);

/* errno r of a system call on path, as an error of the store. */
errint_t local_fail(errint_t r, const char *what, const char *path, struct err *err);
errint_t local_fsync_dir(const struct local *l, const char *dir, struct err *err);

/* ---- local_rec.c ---- */

static inline int64_t stat_mtime(const struct stat *sb)
{
	return (int64_t)sb->st_mtim.tv_sec * NS_PER_S + sb->st_mtim.tv_nsec;
}

struct lrec {
	uint64_t keyhash, size;
	int64_t mtime_ns;
	int64_t file_mtime_ns; /* of the file when the record was made; 0 = not known */
	struct driver_cold cold;
	uint32_t crc;
	bool has_crc;
	bool sidecar; /* checksums are in a file of their own */
	bool adopted; /* somebody's file that got a record later: not checked */
	bool foreign; /* no record that holds; never on disk */
	/* Never on disk: whose checksums are still there, of a file that was changed; "" = none. */
	char left[DRIVER_ETAG_LEN + 1];
	char etag[STORE_ETAG_MAX];
	char class_name[STORE_CLASS_MAX];
	unsigned nmeta;
	struct store_meta meta[STORE_META_MAX]; /* borrowed, or in raw */
	const uint8_t *sums;			/* borrowed, or in raw; 4 bytes each */
	unsigned nsums;
	uint8_t raw[LOCAL_REC_MAX];
};
errint_t lrec_encode(const struct lrec *rec, uint8_t ret[LOCAL_REC_MAX], size_t *ret_len);
errint_t lrec_decode(struct lrec *rec, size_t len); /* from raw; -EBADMSG */
/* Of fd, or of path when fd < 0. -ENODATA: none, another key's, or somebody changed the file since
 * (then left tells); -EBADMSG: damaged. */
errint_t lrec_load(const char *path, int fd, uint64_t keyhash, struct lrec *ret);
errint_t lrec_save(const struct lrec *rec, const char *path, int fd, struct err *err);
/* Somebody changed the file of the record since it was made. */
bool lrec_changed(const struct lrec *rec, const struct stat *sb);
/* The same of one that is being read: -ESTALE. */
errint_t lrec_still(const struct lrec *rec, int fd, const char *path, struct err *err);
/* What lrec_load() found no record for; left stays. */
void lrec_foreign(const struct local *l, const struct stat *sb, struct lrec *ret);
errint_t lrec_stat(
	const struct local *l, const struct lrec *rec, struct store_stat *ret, struct err *err);
/* archived and the like of rec, without metadata. */
void lrec_cold(const struct local *l, const struct lrec *rec, struct store_stat *ret);
/* The object's record and path. -ENOENT/ERR_NOT_FOUND. */
errint_t local_find(const struct local *l, struct store_obj o, const struct lpath *lp,
	struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err);
/* Opens the object for reading: the record belongs to the very file. */
errint_t local_open(const struct local *l, struct store_obj o, const struct lpath *lp, int *ret_fd,
	struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err);
/* Opens it and checks class, condition and size: what reads and copies need. */
errint_t local_open_src(const struct local *l, struct store_obj o, const char *if_match,
	int *ret_fd, struct lrec *rec, char ret_path[LOCAL_PATH_MAX], struct err *err);

/* ---- local_sum.c ---- */

/* A checksum is stored as difference to that of zeros, so that holes have the value 0. */
uint32_t lsum_zeros(size_t len);
static inline size_t lsum_count(uint64_t size)
{
	return (size_t)((size + LOCAL_CHUNK - 1) / LOCAL_CHUNK);
}
/* Writes p at off in chunks from off on, leaving holes for zeros (punched unless fresh), and sets
 * their values in sums; *crc is continued. */
errint_t lsum_write(
	int fd, uint64_t off, const void *p, size_t len, bool fresh, uint32_t *sums, uint32_t *crc);
/* Reads and checks [off, off + len) of an object. */
errint_t lsum_read(const struct local *l, const struct store_call *c, struct store_obj o, int fd,
	const struct lrec *rec, const char *path, uint64_t off, void *p, size_t len,
	struct err *err);
/* n values from the first-th on of an object with sums. */
errint_t lsum_get(const struct local *l, struct store_obj o, const struct lrec *rec, size_t first,
	size_t n, uint32_t *ret, struct err *err);
errint_t lio_write(int fd, uint64_t off, const void *p, size_t len);
/* *ret_len < len only at the end of the file. */
errint_t lio_read(int fd, uint64_t off, void *p, size_t len, size_t *ret_len);
/* Copies data and holes. fresh: the destination is a hole so far. */
errint_t lio_copy(const struct store_call *c, int src, uint64_t src_off, int dst, uint64_t dst_off,
	uint64_t len, bool fresh, struct err *err);

/* ---- local_tmp.c: a new version on its way ---- */

struct ltmp {
	int fd;
	char path[LOCAL_PATH_MAX];
	char etag[DRIVER_ETAG_LEN + 1];
	bool made;    /* path is ours to remove */
	bool sidecar; /* made, and not yet anybody's */
	/* the writer */
	uint64_t size;
	uint32_t crc;
	uint32_t *sums; /* owned */
	size_t nsums, cap;
	uint8_t *part; /* owned: the chunk that is not full yet */
	size_t fill;
};
#define LTMP_INIT                                                                                  \
	{                                                                                          \
		.fd = -1                                                                           \
	}
errint_t ltmp_new(struct local *l, const char *bucket, struct ltmp *t, struct err *err);
errint_t ltmp_append(struct ltmp *t, const void *p, size_t len, struct err *err);
errint_t ltmp_end(struct ltmp *t, struct err *err); /* after the last append */
/* Sets size, checksums and crc of rec from the writer; makes the sidecar where one is needed. */
errint_t ltmp_sums(
	struct local *l, const char *bucket, struct ltmp *t, struct lrec *rec, struct err *err);
/* Record, durability, conditions, rename. The new version stands when this returns 0. */
errint_t ltmp_commit(struct local *l, struct store_obj o, const struct lpath *lp, struct ltmp *t,
	struct lrec *rec, const char *if_match, const char *if_none_match, struct store_stat *ret,
	struct err *err);
void ltmp_done(struct local *l, const char *bucket, struct ltmp *t);
/* A record for a new version, but for size and checksums. */
void ltmp_rec(const struct local *l, struct store_obj o, const struct ltmp *t,
	const char *class_name, const struct store_meta *meta, unsigned nmeta, struct lrec *ret);
/* Removes a file of the tmp directory with what belongs to it. */
void local_tmp_remove(struct local *l, const char *bucket, const char *path);

/* ---- operations, by file ---- */

#define X(opn, key, want, done, cond, params, args)                                                \
	errint_t local_##opn(                                                                      \
		struct store *s, const struct store_call *c, UNP params, struct err *err);
STORE_OPS(X)
#undef X

/* ---- local_dir.c: sorted names ---- */

enum ldir_kind { LDIR_FILE, LDIR_ALT, LDIR_DIR };
struct ldir_name {
	const char *s; /* true component, with '/' behind a directory */
	size_t len;
	enum ldir_kind kind;
};
struct ldir; /* names of one directory, or of a range of them; counted, immutable */
struct local_dirs *local_dirs_new(void);
struct local_dirs *local_dirs_destroy(struct local_dirs *d);
/* Names from `from` (inclusive) on. -ENOENT, -ENOTDIR. */
errint_t ldir_get(struct local_dirs *d, const char *path, const char *from, size_t from_len,
	struct ldir **ret);
void ldir_put(struct ldir *d);
size_t ldir_count(const struct ldir *d);
struct ldir_name ldir_at(const struct ldir *d, size_t i);
size_t ldir_lower(const struct ldir *d, const char *s, size_t len); /* first name >= s */
bool ldir_more(const struct ldir *d); /* there are names behind the last */
/* Whether any object is at or below path. */
bool ldir_any(const char *path);

#endif
