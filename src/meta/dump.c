/* SPDX-License-Identifier: MIT */
/*
 * The index as text, one JSON object a line, and back. What can be derived is not written: names
 * and directory order follow from the inode rows, the sets of dirty inodes and orphans from their
 * flags; load makes them again.
 *
 *	{"t":"head","schema":1}
 *	{"t":"inode","ino":17,"parent":16,"name":"a.txt","kind":"file", ...}
 *	{"t":"access","ino":17, ...}		{"t":"delta","ino":16, ...}
 *	{"t":"xattr","ino":17,"name":"user.x","value":"hex"}
 *	{"t":"job","id":3,"record":"hex"}
 *	{"t":"kv","key":"...","value":"hex"}	{"t":"sys","key":"...","value":"hex"}
 *	{"t":"end","lines":N}
 *
 * Zero and empty fields are left out. Text that is not UTF-8 is written in hexadecimal under the
 * key with "_hex" behind it. A dump without its last line is refused: it is not whole. Load works
 * in several transactions; while it runs, T_SYS "loading" keeps the index from being used.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "row.h"

#define LOAD_BATCH 4096u

/* ---- fields: one table for both directions ---- */

enum field_type { F_U64, F_I64, F_U32, F_U8, F_STR, F_BOOL, F_I32 };

struct field {
	const char *key;
	enum field_type type;
	size_t off, size;
};

#define FIELD(s, type, member)                                                                     \
	{                                                                                          \
#member, type, offsetof(struct s, member), sizeof(((struct s *)0)->member)         \
	}

static const struct field inode_fields[] = {
	FIELD(meta_inode, F_U64, parent),
	FIELD(meta_inode, F_STR, name),
	FIELD(meta_inode, F_U32, flags),
	FIELD(meta_inode, F_U32, mode),
	FIELD(meta_inode, F_U32, uid),
	FIELD(meta_inode, F_U32, gid),
	FIELD(meta_inode, F_U32, nlink),
	FIELD(meta_inode, F_U64, size),
	FIELD(meta_inode, F_I64, atime_ns),
	FIELD(meta_inode, F_I64, mtime_ns),
	FIELD(meta_inode, F_I64, ctime_ns),
	FIELD(meta_inode, F_I64, btime_ns),
	FIELD(meta_inode, F_U64, version),
	FIELD(meta_inode, F_U32, loc.remote),
	FIELD(meta_inode, F_STR, loc.path),
	FIELD(meta_inode, F_STR, loc.etag),
	FIELD(meta_inode, F_STR, class_name),
	FIELD(meta_inode, F_U8, tier),
	FIELD(meta_inode, F_U8, forced_tier),
	FIELD(meta_inode, F_I64, tier_since_ns),
	FIELD(meta_inode, F_I64, restored_until_ns),
	FIELD(meta_inode, F_U32, crc32c),
	FIELD(meta_inode, F_BOOL, has_crc32c),
	FIELD(meta_inode, F_I64, listed_at_ns),
	FIELD(meta_inode, F_U64, moves_before),
	FIELD(meta_inode, F_U32, nchild),
	FIELD(meta_inode, F_STR, last_error),
	FIELD(meta_inode, F_STR, symlink),
};

static const struct field access_fields[] = {
	FIELD(meta_access, F_I64, first_seen_ns),
	FIELD(meta_access, F_I64, last_read_ns),
	FIELD(meta_access, F_I64, last_write_ns),
	FIELD(meta_access, F_U64, reads),
	FIELD(meta_access, F_U64, writes),
	FIELD(meta_access, F_U64, bytes_read),
	FIELD(meta_access, F_U64, bytes_written),
	FIELD(meta_access, F_U64, cloud_bytes),
	FIELD(meta_access, F_I32, day0),
	FIELD(meta_access, F_I32, month0),
	FIELD(meta_access, F_I64, heat_at_ns),
};

static const char *const kind_name[] = {NULL, "file", "dir", "symlink"};

/* NULL (no memory) is found when the line is written: json_object_set_new refuses it. */
static int text_set(json_t *j, const char *key, const void *p, size_t len)
{
	json_t *s = memchr(p, '\0', len) == NULL ? json_stringn(p, len) : NULL;
	cleanup_free char *hex = NULL;
	char hex_key[64];

	if (s != NULL)
		return json_object_set_new(j, key, s);
	hex = malloc(2 * len + 1);
	if (hex == NULL)
		return -1;
	hex_encode(p, len, hex);
	(void)snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	return json_object_set_new(j, hex_key, json_string(hex));
}

static int bytes_set(json_t *j, const char *key, const void *p, size_t len)
{
	cleanup_free char *hex = malloc(2 * len + 1);

	if (hex == NULL)
		return -1;
	hex_encode(p, len, hex);
	return json_object_set_new(j, key, json_string(hex));
}

static int field_set(json_t *j, const struct field *f, const void *from)
{
	const char *p = (const char *)from + f->off;
	uint64_t u = 0;

	switch (f->type) {
	case F_STR:
		return *p != '\0' ? text_set(j, f->key, p, strlen(p)) : 0;
	case F_U64:
	case F_I64:
		memcpy(&u, p, 8);
		break;
	case F_U32:
		u = *(const uint32_t *)(const void *)p;
		break;
	case F_I32:
		u = (uint64_t)(int64_t) * (const int32_t *)(const void *)p;
		break;
	case F_U8:
		u = *(const uint8_t *)p;
		break;
	case F_BOOL:
		u = *(const bool *)(const void *)p;
		break;
	}
	return u != 0 ? json_object_set_new(j, f->key, json_integer((json_int_t)u)) : 0;
}

static int fields_set(json_t *j, const struct field *f, size_t n, const void *from)
{
	int bad = 0;

	for (size_t i = 0; i < n; i++)
		bad |= field_set(j, &f[i], from);
	return bad;
}

static int numbers_set(json_t *j, const char *key, const void *p, size_t n, bool wide)
{
	json_t *a = json_array();
	int bad = 0;

	for (size_t i = 0; i < n; i++)
		bad |= json_array_append_new(
			a, json_integer(wide ? ((const int64_t *)p)[i]
					     : (json_int_t)((const uint32_t *)p)[i]));
	bad |= json_object_set_new(j, key, a);
	return bad;
}

static int totals_set(json_t *j, const struct meta_totals *d)
{
	if (totals_zero(d))
		return 0;
	static_assert(sizeof(*d) == (2 + 2 * TIER_N) * sizeof(int64_t), "an array in disguise");
	return numbers_set(j, "totals", d, sizeof(*d) / sizeof(int64_t), true);
}

/* ---- dump ---- */

struct dump {
	FILE *f;
	uint64_t lines;
	const char *table;
};

static int dump_line(struct dump *d, json_t *j, int bad)
{
	if (bad != 0)
		return -ENOMEM;
	if (json_dumpf(j, d->f, JSON_COMPACT) != 0 || putc('\n', d->f) == EOF)
		return errno != 0 ? -errno : -EIO;
	d->lines++;
	return 0;
}

static json_t *line_new(const char *type)
{
	json_t *j = json_object();

	if (j != NULL && json_object_set_new(j, "t", json_string(type)) != 0) {
		json_decref(j);
		j = NULL;
	}
	return j;
}

static int dump_inode(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	cleanup_json json_t *j = line_new("inode");
	struct meta_inode in;
	int bad = j == NULL;

	if (key_len != 8 || row_inode_decode(db_u64_of(key), val, len, &in) != 0)
		return -EBADMSG;
	bad |= json_object_set_new(j, "ino", json_integer((json_int_t)in.ino));
	bad |= json_object_set_new(j, "kind", json_string(kind_name[in.kind]));
	bad |= fields_set(j, inode_fields, ARRAY_SIZE(inode_fields), &in);
	bad |= totals_set(j, &in.totals);
	return dump_line(arg, j, bad);
}

static int dump_access(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	cleanup_json json_t *j = line_new("access");
	struct meta_access a;
	int bad = j == NULL;

	if (key_len != 8 || row_access_decode(val, len, &a) != 0)
		return -EBADMSG;
	bad |= json_object_set_new(j, "ino", json_integer((json_int_t)db_u64_of(key)));
	bad |= fields_set(j, access_fields, ARRAY_SIZE(access_fields), &a);
	bad |= numbers_set(j, "day", a.day, ARRAY_SIZE(a.day), false);
	bad |= numbers_set(j, "month", a.month, ARRAY_SIZE(a.month), false);
	bad |= json_object_set_new(j, "heat", json_real(a.heat));
	return dump_line(arg, j, bad);
}

static int dump_delta(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	cleanup_json json_t *j = line_new("delta");
	struct meta_totals d;
	int bad = j == NULL;

	if (key_len != 8 || row_totals_decode(val, len, &d) != 0)
		return -EBADMSG;
	bad |= json_object_set_new(j, "ino", json_integer((json_int_t)db_u64_of(key)));
	bad |= totals_set(j, &d);
	return dump_line(arg, j, bad);
}

static int dump_xattr(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	cleanup_json json_t *j = line_new("xattr");
	int bad = j == NULL;

	if (key_len < 9)
		return -EBADMSG;
	bad |= json_object_set_new(j, "ino", json_integer((json_int_t)db_u64_of(key)));
	bad |= text_set(j, "name", key + 8, key_len - 8);
	bad |= bytes_set(j, "value", val, len);
	return dump_line(arg, j, bad);
}

static int dump_job(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	cleanup_json json_t *j = line_new("job");
	int bad = j == NULL;

	if (key_len != 8)
		return -EBADMSG;
	bad |= json_object_set_new(j, "id", json_integer((json_int_t)db_u64_of(key)));
	bad |= bytes_set(j, "record", val, len);
	return dump_line(arg, j, bad);
}

static int dump_named(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct dump *d = arg;
	cleanup_json json_t *j = line_new(d->table);
	int bad = j == NULL;

	bad |= text_set(j, "key", key, key_len);
	bad |= bytes_set(j, "value", val, len);
	return dump_line(d, j, bad);
}

/* The first and the last line. */
static int dump_frame(struct dump *d, const char *type, const char *key, uint64_t v)
{
	cleanup_json json_t *j = line_new(type);

	return dump_line(
		d, j, j == NULL || json_object_set_new(j, key, json_integer((json_int_t)v)) != 0);
}

errint_t meta_dump(struct meta *m, int fd, struct err *err)
{
	static const struct {
		enum db_table tab;
		db_row_fn fn;
	} tables[] = {{T_SYS, dump_named}, {T_INODE, dump_inode}, {T_ACCESS, dump_access},
		{T_DELTA, dump_delta}, {T_XATTR, dump_xattr}, {T_JOB, dump_job},
		{T_KV, dump_named}};
	struct dump d = {0};
	struct meta_txn *t;
	errint_t r;
	int own = dup(fd);

	d.f = own >= 0 ? fdopen(own, "w") : NULL;
	if (d.f == NULL) {
		r = -errno;
		if (own >= 0)
			(void)close(own);
		return err_set(err, r, ERR_FINAL, "dump: %s", strerror(-r));
	}
	t = meta_begin_read(m);
	r = meta_txn_failed(t);
	if (r == 0)
		r = dump_frame(&d, "head", "schema", META_SCHEMA);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tables); i++) {
		d.table = db_table_name[tables[i].tab];
		r = db_walk(t, tables[i].tab, "", 0, 0, tables[i].fn, &d);
	}
	if (r == 0)
		r = dump_frame(&d, "end", "lines", d.lines);
	meta_abort(t);
	if (fclose(d.f) != 0 && r == 0)
		r = -errno;
	return r == 0 ? 0 : err_set(err, r, ERR_FINAL, "dump: %s", strerror(-r));
}

/* ---- load ---- */

struct load {
	struct meta_txn *t;
	uint64_t lines, max_ino, max_job;
	bool head, end;
};

/* key or key_hex, at most max bytes, into malloced memory (NUL-terminated). Absent: NULL and 0. */
static errint_t text_get(const json_t *j, const char *key, size_t max, char **ret, size_t *ret_len)
{
	const json_t *v = json_object_get(j, key);
	char hex_key[64];
	errint_t r = 0;

	*ret = NULL;
	*ret_len = 0;
	if (v != NULL) {
		*ret_len = json_string_length(v);
		if (!json_is_string(v) || *ret_len > max)
			return -EBADMSG;
		*ret = malloc(*ret_len + 1);
		if (*ret != NULL)
			memcpy(*ret, json_string_value(v), *ret_len + 1);
		return *ret != NULL ? 0 : -ENOMEM;
	}
	(void)snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	v = json_object_get(j, hex_key);
	if (v == NULL)
		return 0;
	*ret_len = json_string_length(v) / 2;
	if (!json_is_string(v) || *ret_len > max)
		return -EBADMSG;
	*ret = malloc(*ret_len + 1);
	if (*ret == NULL)
		return -ENOMEM;
	(*ret)[*ret_len] = '\0';
	r = hex_decode(json_string_value(v), *ret, *ret_len);
	return r == 0 ? 0 : -EBADMSG;
}

/* Hexadecimal under key; must be there. */
static errint_t bytes_get(const json_t *j, const char *key, char **ret, size_t *ret_len)
{
	const json_t *v = json_object_get(j, key);

	*ret = NULL;
	if (!json_is_string(v))
		return -EBADMSG;
	*ret_len = json_string_length(v) / 2;
	*ret = malloc(*ret_len + 1);
	if (*ret == NULL)
		return -ENOMEM;
	return hex_decode(json_string_value(v), *ret, *ret_len) == 0 ? 0 : -EBADMSG;
}

static errint_t field_get(const json_t *j, const struct field *f, void *to)
{
	const json_t *v = json_object_get(j, f->key);
	char *p = (char *)to + f->off;
	json_int_t i;

	if (f->type == F_STR) {
		cleanup_free char *s = NULL;
		size_t len;
		errint_t r = text_get(j, f->key, f->size - 1, &s, &len);

		if (r == 0 && s != NULL && memchr(s, '\0', len) != NULL)
			r = -EBADMSG;
		if (r == 0 && s != NULL)
			memcpy(p, s, len + 1);
		return r;
	}
	if (v == NULL)
		return 0;
	i = json_integer_value(v);
	if (!json_is_integer(v) || (f->type == F_U32 && (i < 0 || i > UINT32_MAX)) ||
		(f->type == F_U8 && (i < 0 || i >= TIER_N)) ||
		(f->type == F_BOOL && (i < 0 || i > 1)) ||
		(f->type == F_I32 && (i < INT32_MIN || i > INT32_MAX)))
		return -EBADMSG;
	switch (f->size) {
	case 8:
		memcpy(p, &i, 8);
		break;
	case 4:
		*(uint32_t *)(void *)p = (uint32_t)i;
		break;
	default:
		*(uint8_t *)p = (uint8_t)i;
		break;
	}
	return 0;
}

static errint_t fields_get(const json_t *j, const struct field *f, size_t n, void *to)
{
	errint_t r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = field_get(j, &f[i], to);
	return r;
}

static errint_t numbers_get(const json_t *j, const char *key, void *p, size_t n, bool wide)
{
	const json_t *a = json_object_get(j, key);

	if (a == NULL)
		return 0;
	if (!json_is_array(a) || json_array_size(a) != n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(a, i);
		json_int_t x = json_integer_value(v);

		if (!json_is_integer(v) || (!wide && (x < 0 || x > UINT32_MAX)))
			return -EBADMSG;
		if (wide)
			((int64_t *)p)[i] = x;
		else
			((uint32_t *)p)[i] = (uint32_t)x;
	}
	return 0;
}

static errint_t number_get(const json_t *j, const char *key, uint64_t *ret)
{
	const json_t *v = json_object_get(j, key);

	if (!json_is_integer(v) || json_integer_value(v) <= 0)
		return -EBADMSG;
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

static errint_t load_inode(struct load *l, const json_t *j)
{
	const char *kind = json_string_value(json_object_get(j, "kind"));
	struct meta_inode in;
	errint_t r;

	memset(&in, 0, sizeof(in));
	for (enum meta_kind k = META_FILE; kind != NULL && k <= META_SYMLINK; k++)
		if (strcmp(kind, kind_name[k]) == 0)
			in.kind = k;
	r = in.kind != 0 ? number_get(j, "ino", &in.ino) : -EBADMSG;
	if (r == 0)
		r = fields_get(j, inode_fields, ARRAY_SIZE(inode_fields), &in);
	if (r == 0)
		r = numbers_get(j, "totals", &in.totals, sizeof(in.totals) / sizeof(int64_t), true);
	if (r == 0 && (in.parent != 0) != (in.name[0] != '\0'))
		r = -EBADMSG;
	if (r != 0)
		return r;
	l->max_ino = MAX_OF(l->max_ino, in.ino);
	if (in.flags & META_F_DIRTY)
		(void)catalog_flag_row(l->t, T_DIRTY, in.ino, true);
	if (in.flags & META_F_ORPHAN)
		(void)catalog_flag_row(l->t, T_ORPHAN, in.ino, true);
	if (in.parent != 0)
		(void)catalog_dentry_put(l->t, in.parent, in.name, in.ino, in.kind);
	return catalog_row_put(l->t, &in);
}

static errint_t load_access(struct load *l, const json_t *j)
{
	const json_t *heat = json_object_get(j, "heat");
	struct meta_access a;
	uint64_t ino = 0;
	errint_t r;

	memset(&a, 0, sizeof(a));
	r = number_get(j, "ino", &ino);
	if (r == 0)
		r = fields_get(j, access_fields, ARRAY_SIZE(access_fields), &a);
	if (r == 0)
		r = numbers_get(j, "day", a.day, ARRAY_SIZE(a.day), false);
	if (r == 0)
		r = numbers_get(j, "month", a.month, ARRAY_SIZE(a.month), false);
	if (r == 0 && heat != NULL) {
		a.heat = json_number_value(heat);
		r = json_is_number(heat) && a.heat >= 0 ? 0 : -EBADMSG;
	}
	return r == 0 ? meta_access_put(l->t, ino, &a) : r;
}

static errint_t load_delta(struct load *l, const json_t *j)
{
	struct meta_totals d = {0};
	uint64_t ino = 0;
	errint_t r = number_get(j, "ino", &ino);

	if (r == 0)
		r = numbers_get(j, "totals", &d, sizeof(d) / sizeof(int64_t), true);
	return r == 0 ? totals_add(l->t, ino, &d, 1) : r;
}

static errint_t load_xattr(struct load *l, const json_t *j)
{
	cleanup_free char *name = NULL, *val = NULL;
	size_t len, val_len;
	uint64_t ino = 0;
	errint_t r = number_get(j, "ino", &ino);

	if (r == 0)
		r = text_get(j, "name", 255, &name, &len);
	if (r == 0)
		r = name != NULL ? bytes_get(j, "value", &val, &val_len) : -EBADMSG;
	return r == 0 ? meta_xattr_set(l->t, ino, name, val, val_len, 0) : r;
}

static errint_t load_job(struct load *l, const json_t *j)
{
	cleanup_free char *val = NULL;
	size_t len;
	uint64_t id = 0;
	errint_t r = number_get(j, "id", &id);

	if (r == 0)
		r = bytes_get(j, "record", &val, &len);
	l->max_job = MAX_OF(l->max_job, id);
	return r == 0 ? meta_job_put(l->t, id, val, len) : r;
}

static errint_t load_named(struct load *l, const json_t *j, enum db_table tab)
{
	cleanup_free char *key = NULL, *val = NULL;
	size_t len, val_len;
	errint_t r = text_get(j, "key", 255, &key, &len);

	if (r == 0)
		r = len > 0 ? bytes_get(j, "value", &val, &val_len) : -EBADMSG;
	/* The schema is that of what we write. */
	if (r == 0 && tab == T_SYS && (strcmp(key, "schema") == 0 || strcmp(key, "loading") == 0))
		return 0;
	return r == 0 ? db_put(l->t, tab, key, len, val, val_len) : r;
}

static errint_t load_line(struct load *l, const json_t *j)
{
	const char *type = json_string_value(json_object_get(j, "t"));
	uint64_t n = 0;

	if (type == NULL || l->end || (!l->head && strcmp(type, "head") != 0))
		return -EBADMSG;
	if (strcmp(type, "inode") == 0)
		return load_inode(l, j);
	if (strcmp(type, "access") == 0)
		return load_access(l, j);
	if (strcmp(type, "delta") == 0)
		return load_delta(l, j);
	if (strcmp(type, "xattr") == 0)
		return load_xattr(l, j);
	if (strcmp(type, "job") == 0)
		return load_job(l, j);
	if (strcmp(type, "kv") == 0)
		return load_named(l, j, T_KV);
	if (strcmp(type, "sys") == 0)
		return load_named(l, j, T_SYS);
	if (strcmp(type, "head") == 0 && !l->head) {
		l->head = true;
		if (number_get(j, "schema", &n) != 0)
			return -EBADMSG;
		return n <= META_SCHEMA ? 0 : -EPROTO;
	}
	if (strcmp(type, "end") == 0) {
		l->end = true;
		return number_get(j, "lines", &n) == 0 && n == l->lines ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

static errint_t load_file(struct meta *m, struct load *l, FILE *f, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t cap = 0;
	ssize_t len;
	errint_t r = 0;

	while (r == 0 && (len = getline(&text, &cap, f)) > 0) {
		cleanup_json json_t *j = json_loadb(text, (size_t)len, JSON_ALLOW_NUL, NULL);

		if (l->lines % LOAD_BATCH == LOAD_BATCH - 1) {
			r = meta_commit(l->t);
			l->t = meta_begin(m);
		}
		if (r == 0)
			r = j != NULL ? load_line(l, j) : -EBADMSG;
		if (r == -EPROTO)
			return err_set(err, r, ERR_FINAL, "load: the dump is of a newer schema");
		if (r != 0)
			return err_set(err, r, ERR_FINAL, "load: line %llu: %s",
				(unsigned long long)l->lines + 1,
				r == -EBADMSG ? "not a line of a dump" : strerror(-r));
		l->lines++;
	}
	if (ferror(f))
		return err_set(err, -EIO, ERR_FINAL, "load: cannot read");
	if (r == 0 && !l->end)
		return err_set(err, -EBADMSG, ERR_FINAL, "load: the dump is cut short");
	return r;
}

/* The last word: numbers beyond all that came, and the index may be used again. */
static void load_finish(struct meta *m, struct load *l)
{
	const struct {
		struct db_counter *c;
		uint64_t most;
	} counters[2] = {{&m->w.ino, l->max_ino}, {&m->w.job, l->max_job}};

	for (int i = 0; i < 2; i++) {
		uint64_t v = counters[i].c->first;

		(void)db_sys_get(l->t, counters[i].c->key, &v);
		(void)db_sys_put(l->t, counters[i].c->key,
			MAX_OF(MAX_OF(v, counters[i].most + 1), counters[i].c->bound));
		counters[i].c->next = counters[i].c->bound = 0;
	}
	(void)db_del(l->t, T_SYS, "loading", strlen("loading"));
}

static bool load_may(struct meta_txn *t)
{
	uint64_t inodes = 0, other = 0, n;

	(void)db_count(t, T_INODE, &inodes);
	for (int tab = 0; tab < T_N; tab++) {
		if (tab == T_INODE || tab == T_SYS || db_count(t, (enum db_table)tab, &n) != 0)
			continue;
		other += n;
	}
	return inodes <= 1 && other == 0;
}

errint_t meta_load(struct meta *m, int fd, struct err *err)
{
	struct load l = {0};
	FILE *f = NULL;
	errint_t r;
	int own;

	l.t = meta_begin(m);
	if (meta_txn_failed(l.t) == 0 && !load_may(l.t)) {
		meta_abort(l.t);
		return err_set(err, -ENOTEMPTY, ERR_FINAL,
			"load: the index is not empty; load into a new state directory");
	}
	(void)db_sys_put(l.t, "loading", 1);
	r = meta_commit(l.t);
	if (r != 0)
		return err_set(err, r, ERR_FINAL, "load: %s", strerror(-r));
	l.t = meta_begin(m);
	own = dup(fd);
	f = own >= 0 ? fdopen(own, "r") : NULL;
	r = f != NULL ? load_file(m, &l, f, err)
		      : err_set(err, -errno, ERR_FINAL, "load: %s", strerror(errno));
	if (f != NULL)
		(void)fclose(f);
	else if (own >= 0)
		(void)close(own);
	if (r != 0) {
		meta_abort(l.t);
		return r;
	}
	load_finish(m, &l);
	r = meta_commit(l.t);
	return r == 0 ? 0 : err_set(err, r, ERR_FINAL, "load: %s", strerror(-r));
}
