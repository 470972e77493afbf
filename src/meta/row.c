/* SPDX-License-Identifier: MIT */
/*
 * Rows as bytes: inode, access history, totals.
 *
 * An inode row is a format byte, the kind, a bitmap of the fields that differ from their default,
 * and those fields as varints and counted strings. A settled file takes about a hundred bytes:
 * times are stored as differences from mtime, and the last component of the object's path is left
 * out when it is the name. A new field takes a new bit, so that old rows stay readable; a change
 * of meaning takes a new format byte.
 *
 * What is read back was written by us but may have been damaged by the disk: every decode checks
 * bounds and ranges and answers -EBADMSG. Pure functions.
 */
#include "row.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ROW_FORMAT 1

enum inode_bit {
	B_PARENT = 1 << 0,
	B_NAME = 1 << 1,
	B_FLAGS = 1 << 2,
	B_OWNER = 1 << 3,
	B_NLINK = 1 << 4, /* not 1 */
	B_SIZE = 1 << 5,
	B_ATIME = 1 << 6, /* not mtime; so with the next two */
	B_CTIME = 1 << 7,
	B_BTIME = 1 << 8,
	B_VERSION = 1 << 9,
	B_LOC = 1 << 10,
	B_LOC_NAME = 1 << 11, /* loc.path ends with name: only what precedes it is stored */
	B_ETAG = 1 << 12,
	B_CLASS = 1 << 13,
	B_TIER = 1 << 14,
	B_TIER_SINCE = 1 << 15,
	B_RESTORED = 1 << 16,
	B_CRC = 1 << 17,
	B_LISTED = 1 << 18,
	B_NCHILD = 1 << 19,
	B_TOTALS = 1 << 20,
	B_ERROR = 1 << 21,
	B_SYMLINK = 1 << 22,
	B_MOVES = 1 << 23,
	B_ALL = (1 << 24) - 1,
};

/* ---- bytes ---- */

struct enc {
	uint8_t *p, *end;
};

struct dec {
	const uint8_t *p, *end;
	bool bad;
};

static void enc_byte(struct enc *e, uint8_t b)
{
	assert(e->p < e->end);
	*e->p++ = b;
}

static void enc_u(struct enc *e, uint64_t v)
{
	while (v >= 0x80) {
		enc_byte(e, (uint8_t)(v | 0x80));
		v >>= 7;
	}
	enc_byte(e, (uint8_t)v);
}

static void enc_i(struct enc *e, int64_t v)
{
	enc_u(e, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

static void enc_bytes(struct enc *e, const void *p, size_t len)
{
	enc_u(e, len);
	assert(len <= (size_t)(e->end - e->p));
	memcpy(e->p, p, len);
	e->p += len;
}

static void enc_str(struct enc *e, const char *s, size_t size)
{
	size_t len = strnlen(s, size);

	assert(len < size);
	enc_bytes(e, s, len);
}

static uint8_t dec_byte(struct dec *d)
{
	if (d->p >= d->end) {
		d->bad = true;
		return 0;
	}
	return *d->p++;
}

static uint64_t dec_u(struct dec *d)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b = dec_byte(d);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	d->bad = true;
	return 0;
}

static uint32_t dec_u32(struct dec *d)
{
	uint64_t v = dec_u(d);

	d->bad |= v > UINT32_MAX;
	return (uint32_t)v;
}

static int64_t dec_i(struct dec *d)
{
	uint64_t v = dec_u(d);

	return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

/* Into a char array of size bytes, NUL-terminated. Our strings hold no NUL themselves. */
static void dec_str(struct dec *d, char *ret, size_t size)
{
	uint64_t len = dec_u(d);

	ret[0] = '\0';
	if (d->bad || len >= size || len > (size_t)(d->end - d->p) ||
		memchr(d->p, '\0', len) != NULL) {
		d->bad = true;
		return;
	}
	memcpy(ret, d->p, len);
	ret[len] = '\0';
	d->p += len;
}

/* Differences wrap: any two times can be stored. */
static int64_t time_diff(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t time_sum(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

static void enc_double(struct enc *e, double v)
{
	uint64_t u;

	memcpy(&u, &v, sizeof(u));
	for (int i = 0; i < 8; i++)
		enc_byte(e, (uint8_t)(u >> (8 * i)));
}

static double dec_double(struct dec *d)
{
	uint64_t u = 0;
	double v;

	for (int i = 0; i < 8; i++)
		u |= (uint64_t)dec_byte(d) << (8 * i);
	memcpy(&v, &u, sizeof(v));
	return v;
}

/* ---- totals ---- */

#define TOTALS_FIELDS (2 + 2 * TIER_N)

static int64_t totals_field(const struct meta_totals *d, int i)
{
	if (i == 0)
		return d->files;
	if (i == 1)
		return d->bytes;
	i -= 2;
	return i < TIER_N ? d->tier_files[i] : d->tier_bytes[i - TIER_N];
}

static void enc_totals(struct enc *e, const struct meta_totals *d)
{
	uint64_t have = 0;

	for (int i = 0; i < TOTALS_FIELDS; i++)
		have |= (uint64_t)(totals_field(d, i) != 0) << i;
	enc_u(e, have);
	for (int i = 0; i < TOTALS_FIELDS; i++)
		if (have >> i & 1)
			enc_i(e, totals_field(d, i));
}

static void dec_totals(struct dec *d, struct meta_totals *ret)
{
	uint64_t have = dec_u(d);
	int64_t v[TOTALS_FIELDS];

	d->bad |= have >> TOTALS_FIELDS != 0;
	for (int i = 0; i < TOTALS_FIELDS; i++)
		v[i] = have >> i & 1 ? dec_i(d) : 0;
	ret->files = v[0];
	ret->bytes = v[1];
	for (int i = 0; i < TIER_N; i++) {
		ret->tier_files[i] = v[2 + i];
		ret->tier_bytes[i] = v[2 + TIER_N + i];
	}
}

static bool totals_any(const struct meta_totals *d)
{
	for (int i = 0; i < TOTALS_FIELDS; i++)
		if (totals_field(d, i) != 0)
			return true;
	return false;
}

size_t row_totals_encode(const struct meta_totals *d, uint8_t buf[ROW_TOTALS_MAX])
{
	struct enc e = {buf, buf + ROW_TOTALS_MAX};

	enc_totals(&e, d);
	return (size_t)(e.p - buf);
}

errint_t row_totals_decode(const void *p, size_t len, struct meta_totals *ret)
{
	struct dec d = {p, (const uint8_t *)p + len, false};

	dec_totals(&d, ret);
	return d.bad || d.p != d.end ? -EBADMSG : 0;
}

/* ---- inodes ---- */

/* Length of what precedes name in path when path is name or ends with "/name"; else the length. */
static size_t loc_head(const struct meta_inode *in, bool *ret_is_name)
{
	size_t path = strlen(in->loc.path), name = strlen(in->name);

	*ret_is_name = name > 0 && path >= name &&
		       memcmp(in->loc.path + path - name, in->name, name) == 0 &&
		       (path == name || in->loc.path[path - name - 1] == '/');
	return *ret_is_name ? path - name : path;
}

static uint32_t inode_have(const struct meta_inode *in, bool loc_is_name)
{
	uint32_t have = 0;
	bool loc = in->loc.remote != 0 || in->loc.path[0] != '\0';

	have |= in->parent != 0 ? B_PARENT : 0;
	have |= in->name[0] != '\0' ? B_NAME : 0;
	have |= in->flags != 0 ? B_FLAGS : 0;
	have |= in->uid != 0 || in->gid != 0 ? B_OWNER : 0;
	have |= in->nlink != 1 ? B_NLINK : 0;
	have |= in->size != 0 ? B_SIZE : 0;
	have |= in->atime_ns != in->mtime_ns ? B_ATIME : 0;
	have |= in->ctime_ns != in->mtime_ns ? B_CTIME : 0;
	have |= in->btime_ns != in->mtime_ns ? B_BTIME : 0;
	have |= in->version != 0 ? B_VERSION : 0;
	have |= loc ? B_LOC : 0;
	have |= loc && loc_is_name ? B_LOC_NAME : 0;
	have |= in->loc.etag[0] != '\0' ? B_ETAG : 0;
	have |= in->class_name[0] != '\0' ? B_CLASS : 0;
	have |= in->tier != 0 || in->forced_tier != 0 ? B_TIER : 0;
	have |= in->tier_since_ns != 0 ? B_TIER_SINCE : 0;
	have |= in->restored_until_ns != 0 ? B_RESTORED : 0;
	have |= in->has_crc32c ? B_CRC : 0;
	have |= in->listed_at_ns != 0 ? B_LISTED : 0;
	have |= in->nchild != 0 ? B_NCHILD : 0;
	have |= totals_any(&in->totals) ? B_TOTALS : 0;
	have |= in->last_error[0] != '\0' ? B_ERROR : 0;
	have |= in->symlink[0] != '\0' ? B_SYMLINK : 0;
	have |= in->moves_before != 0 ? B_MOVES : 0;
	return have;
}

static void inode_encode_plain(struct enc *e, const struct meta_inode *in, uint32_t have)
{
	if (have & B_PARENT)
		enc_u(e, in->parent);
	if (have & B_NAME)
		enc_str(e, in->name, sizeof(in->name));
	if (have & B_FLAGS)
		enc_u(e, in->flags);
	enc_u(e, in->mode);
	if (have & B_OWNER) {
		enc_u(e, in->uid);
		enc_u(e, in->gid);
	}
	if (have & B_NLINK)
		enc_u(e, in->nlink);
	if (have & B_SIZE)
		enc_u(e, in->size);
	enc_i(e, in->mtime_ns);
	if (have & B_ATIME)
		enc_i(e, time_diff(in->atime_ns, in->mtime_ns));
	if (have & B_CTIME)
		enc_i(e, time_diff(in->ctime_ns, in->mtime_ns));
	if (have & B_BTIME)
		enc_i(e, time_diff(in->btime_ns, in->mtime_ns));
	if (have & B_VERSION)
		enc_u(e, in->version);
}

size_t row_inode_encode(const struct meta_inode *in, uint8_t buf[ROW_INODE_MAX])
{
	struct enc e = {buf, buf + ROW_INODE_MAX};
	bool loc_is_name;
	size_t head = loc_head(in, &loc_is_name);
	uint32_t have = inode_have(in, loc_is_name);

	enc_byte(&e, ROW_FORMAT);
	enc_byte(&e, (uint8_t)in->kind);
	enc_u(&e, have);
	inode_encode_plain(&e, in, have);
	if (have & B_LOC) {
		enc_u(&e, in->loc.remote);
		enc_bytes(&e, in->loc.path, head);
	}
	if (have & B_ETAG)
		enc_str(&e, in->loc.etag, sizeof(in->loc.etag));
	if (have & B_CLASS)
		enc_str(&e, in->class_name, sizeof(in->class_name));
	if (have & B_TIER)
		enc_byte(&e, (uint8_t)(in->tier | in->forced_tier << 4));
	if (have & B_TIER_SINCE)
		enc_i(&e, time_diff(in->tier_since_ns, in->mtime_ns));
	if (have & B_RESTORED)
		enc_i(&e, in->restored_until_ns);
	if (have & B_CRC)
		for (int i = 0; i < 4; i++)
			enc_byte(&e, (uint8_t)(in->crc32c >> (8 * i)));
	if (have & B_LISTED)
		enc_i(&e, in->listed_at_ns);
	if (have & B_NCHILD)
		enc_u(&e, in->nchild);
	if (have & B_TOTALS)
		enc_totals(&e, &in->totals);
	if (have & B_ERROR)
		enc_str(&e, in->last_error, sizeof(in->last_error));
	if (have & B_SYMLINK)
		enc_str(&e, in->symlink, sizeof(in->symlink));
	if (have & B_MOVES)
		enc_u(&e, in->moves_before);
	return (size_t)(e.p - buf);
}

static void inode_decode_plain(struct dec *d, struct meta_inode *ret, uint32_t have)
{
	if (have & B_PARENT)
		ret->parent = dec_u(d);
	if (have & B_NAME)
		dec_str(d, ret->name, sizeof(ret->name));
	if (have & B_FLAGS)
		ret->flags = dec_u32(d);
	ret->mode = dec_u32(d);
	if (have & B_OWNER) {
		ret->uid = dec_u32(d);
		ret->gid = dec_u32(d);
	}
	ret->nlink = have & B_NLINK ? dec_u32(d) : 1;
	if (have & B_SIZE)
		ret->size = dec_u(d);
	ret->mtime_ns = dec_i(d);
	ret->atime_ns = have & B_ATIME ? time_sum(dec_i(d), ret->mtime_ns) : ret->mtime_ns;
	ret->ctime_ns = have & B_CTIME ? time_sum(dec_i(d), ret->mtime_ns) : ret->mtime_ns;
	ret->btime_ns = have & B_BTIME ? time_sum(dec_i(d), ret->mtime_ns) : ret->mtime_ns;
	if (have & B_VERSION)
		ret->version = dec_u(d);
}

static void inode_decode_loc(struct dec *d, struct meta_inode *ret, uint32_t have)
{
	size_t path, name;

	ret->loc.remote = dec_u32(d);
	dec_str(d, ret->loc.path, sizeof(ret->loc.path));
	if (!(have & B_LOC_NAME))
		return;
	path = strlen(ret->loc.path);
	name = strlen(ret->name);
	if (path + name > META_PATH_MAX) {
		d->bad = true;
		return;
	}
	memcpy(ret->loc.path + path, ret->name, name + 1);
}

static void inode_decode_state(struct dec *d, struct meta_inode *ret, uint32_t have)
{
	uint8_t b;

	if (have & B_TIER) {
		b = dec_byte(d);
		ret->tier = b & 15;
		ret->forced_tier = b >> 4;
		d->bad |= ret->tier >= TIER_N || ret->forced_tier >= TIER_N;
	}
	if (have & B_TIER_SINCE)
		ret->tier_since_ns = time_sum(dec_i(d), ret->mtime_ns);
	if (have & B_RESTORED)
		ret->restored_until_ns = dec_i(d);
	if (have & B_CRC) {
		ret->has_crc32c = true;
		for (int i = 0; i < 4; i++)
			ret->crc32c |= (uint32_t)dec_byte(d) << (8 * i);
	}
	if (have & B_LISTED)
		ret->listed_at_ns = dec_i(d);
	if (have & B_NCHILD)
		ret->nchild = dec_u32(d);
	if (have & B_TOTALS)
		dec_totals(d, &ret->totals);
	if (have & B_ERROR)
		dec_str(d, ret->last_error, sizeof(ret->last_error));
	if (have & B_SYMLINK)
		dec_str(d, ret->symlink, sizeof(ret->symlink));
	if (have & B_MOVES)
		ret->moves_before = dec_u(d);
}

errint_t row_inode_decode(uint64_t ino, const void *p, size_t len, struct meta_inode *ret)
{
	struct dec d = {p, (const uint8_t *)p + len, false};
	uint64_t have;

	memset(ret, 0, offsetof(struct meta_inode, symlink)); /* the last 4 KiB are seldom used */
	ret->symlink[0] = '\0';
	ret->ino = ino;
	ret->kind = row_inode_kind(p, len);
	if (ret->kind == 0)
		return -EBADMSG;
	d.p += 2;
	have = dec_u(&d);
	if (d.bad || (have & ~(uint64_t)B_ALL) != 0)
		return -EBADMSG;
	inode_decode_plain(&d, ret, (uint32_t)have);
	if (have & B_LOC)
		inode_decode_loc(&d, ret, (uint32_t)have);
	if (have & B_ETAG)
		dec_str(&d, ret->loc.etag, sizeof(ret->loc.etag));
	if (have & B_CLASS)
		dec_str(&d, ret->class_name, sizeof(ret->class_name));
	inode_decode_state(&d, ret, (uint32_t)have);
	return d.bad || d.p != d.end || strchr(ret->name, '/') != NULL ? -EBADMSG : 0;
}

enum meta_kind row_inode_kind(const void *p, size_t len)
{
	const uint8_t *b = p;

	if (len < 3 || b[0] != ROW_FORMAT || b[1] < META_FILE || b[1] > META_SYMLINK)
		return 0;
	return b[1];
}

/* ---- access history ---- */

static void enc_counts(struct enc *e, const uint32_t *v, unsigned n)
{
	uint64_t have = 0;

	for (unsigned i = 0; i < n; i++)
		have |= (uint64_t)(v[i] != 0) << i;
	enc_u(e, have);
	for (unsigned i = 0; i < n; i++)
		if (v[i] != 0)
			enc_u(e, v[i]);
}

static void dec_counts(struct dec *d, uint32_t *v, unsigned n)
{
	uint64_t have = dec_u(d);

	d->bad |= have >> n != 0;
	for (unsigned i = 0; i < n; i++)
		v[i] = have >> i & 1 ? dec_u32(d) : 0;
}

size_t row_access_encode(const struct meta_access *a, uint8_t buf[ROW_ACCESS_MAX])
{
	struct enc e = {buf, buf + ROW_ACCESS_MAX};

	enc_byte(&e, ROW_FORMAT);
	enc_i(&e, a->first_seen_ns);
	enc_i(&e, a->last_read_ns);
	enc_i(&e, a->last_write_ns);
	enc_u(&e, a->reads);
	enc_u(&e, a->writes);
	enc_u(&e, a->bytes_read);
	enc_u(&e, a->bytes_written);
	enc_u(&e, a->cloud_bytes);
	enc_i(&e, a->day0);
	enc_counts(&e, a->day, 30);
	enc_i(&e, a->month0);
	enc_counts(&e, a->month, 24);
	enc_byte(&e, a->heat != 0);
	if (a->heat != 0) {
		enc_double(&e, a->heat);
		enc_i(&e, a->heat_at_ns);
	}
	return (size_t)(e.p - buf);
}

errint_t row_access_decode(const void *p, size_t len, struct meta_access *ret)
{
	struct dec d = {p, (const uint8_t *)p + len, false};
	int64_t day0, month0;

	memset(ret, 0, sizeof(*ret));
	d.bad |= dec_byte(&d) != ROW_FORMAT;
	ret->first_seen_ns = dec_i(&d);
	ret->last_read_ns = dec_i(&d);
	ret->last_write_ns = dec_i(&d);
	ret->reads = dec_u(&d);
	ret->writes = dec_u(&d);
	ret->bytes_read = dec_u(&d);
	ret->bytes_written = dec_u(&d);
	ret->cloud_bytes = dec_u(&d);
	day0 = dec_i(&d);
	dec_counts(&d, ret->day, 30);
	month0 = dec_i(&d);
	dec_counts(&d, ret->month, 24);
	if (dec_byte(&d) != 0) {
		ret->heat = dec_double(&d);
		ret->heat_at_ns = dec_i(&d);
	}
	d.bad |= day0 < INT32_MIN || day0 > INT32_MAX || month0 < INT32_MIN || month0 > INT32_MAX;
	ret->day0 = (int32_t)day0;
	ret->month0 = (int32_t)month0;
	d.bad |= !(ret->heat >= 0 && ret->heat < 1e300); /* also NaN */
	return d.bad || d.p != d.end ? -EBADMSG : 0;
}
