/* SPDX-License-Identifier: MIT */
/*
 * Totals: files and bytes below each directory, per tier.
 *
 * A create must not rewrite the row of every ancestor. So a change adds its difference to the
 * delta row of the parent, in its own transaction, and the flusher carries deltas upwards: for a
 * directory D with delta d it adds d to the totals in D's row and to the delta of D's parent.
 * Invariants, at every commit:
 *
 *	totals(D) + delta(D) = sum of what D's children contribute
 *	a linked file contributes {1, size} in its tier, or in none, when the class of its object is
 *	not known; a directory its totals(D); others nothing
 *
 * What the parent has got from D is thus always totals(D), no more and no less, and moving or
 * unlinking D takes exactly that along (catalog.c); a delta still at D follows later to whatever
 * parent D has then.
 */
#include "db.h"

#include <assert.h>
#include <errno.h>

#include "astra/base_cleanup.h"
#include "row.h"

#define FLUSH_MAX 4096u

bool totals_zero(const struct meta_totals *d)
{
	int64_t any = d->files | d->bytes;

	for (int i = 0; i < TIER_N; i++)
		any |= d->tier_files[i] | d->tier_bytes[i];
	return any == 0;
}

void totals_sum(struct meta_totals *to, const struct meta_totals *d, int sign)
{
	assert(sign == 1 || sign == -1);
	to->files += sign * d->files;
	to->bytes += sign * d->bytes;
	for (int i = 0; i < TIER_N; i++) {
		to->tier_files[i] += sign * d->tier_files[i];
		to->tier_bytes[i] += sign * d->tier_bytes[i];
	}
}

void totals_of(const struct meta_inode *in, struct meta_totals *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (in->kind == META_DIR) {
		*ret = in->totals;
	} else if (in->kind == META_FILE) {
		ret->files = 1;
		ret->bytes = (int64_t)in->size;
		if ((in->flags & META_F_OBJECT) != 0 && in->class_name[0] == '\0')
			return; /* a listing did not tell */
		ret->tier_files[in->tier] = 1;
		ret->tier_bytes[in->tier] = (int64_t)in->size;
	}
}

errint_t totals_delta_get(struct meta_txn *t, uint64_t dir, struct meta_totals *ret)
{
	uint8_t key[8];
	MDB_val v;
	errint_t r;

	memset(ret, 0, sizeof(*ret));
	db_u64(key, dir);
	r = db_get(t, T_DELTA, key, sizeof(key), &v);
	if (r != 0)
		return r == -ENOENT ? 0 : r;
	r = row_totals_decode(v.mv_data, v.mv_size, ret);
	return r == 0 ? 0 : db_fail(t, r);
}

errint_t totals_add(struct meta_txn *t, uint64_t dir, const struct meta_totals *d, int sign)
{
	struct meta_totals sum;
	uint8_t key[8], row[ROW_TOTALS_MAX];
	errint_t r;

	assert(dir != 0);
	if (t->failed != 0 || totals_zero(d))
		return t->failed;
	r = totals_delta_get(t, dir, &sum);
	if (r != 0)
		return r;
	totals_sum(&sum, d, sign);
	db_u64(key, dir);
	if (totals_zero(&sum)) {
		r = db_del(t, T_DELTA, key, sizeof(key));
		return r == -ENOENT ? 0 : r;
	}
	t->deltas = true;
	return db_put(t, T_DELTA, key, sizeof(key), row, row_totals_encode(&sum, row));
}

/* ---- carrying upwards ---- */

struct flush {
	uint64_t dir[FLUSH_MAX];
	unsigned n, max;
};

static int flush_note(void *arg, const uint8_t *key, size_t key_len, const void *val, size_t len)
{
	struct flush *f = arg;

	if (key_len != 8)
		return -EBADMSG;
	if (f->n == f->max)
		return 1;
	f->dir[f->n++] = db_u64_of(key);
	return 0;
}

static void flush_one(struct meta_txn *t, uint64_t dir)
{
	struct meta_inode in;
	struct meta_totals d;
	uint8_t key[8];
	errint_t r;

	if (totals_delta_get(t, dir, &d) != 0)
		return;
	db_u64(key, dir);
	(void)db_del(t, T_DELTA, key, sizeof(key));
	r = meta_inode_get(t, dir, &in);
	if (r == -ENOENT || totals_zero(&d))
		return;
	if (r == 0 && in.kind != META_DIR)
		r = db_fail(t, -EBADMSG);
	if (r != 0)
		return;
	totals_sum(&in.totals, &d, 1);
	(void)catalog_row_put(t, &in);
	if (in.parent != 0)
		(void)totals_add(t, in.parent, &d, 1);
}

int meta_totals_flush(struct meta *m, unsigned max)
{
	static_assert(sizeof(struct flush) < 40000, "lives on the stack");
	struct flush f = {.max = MIN_OF(max, FLUSH_MAX)};
	struct meta_txn *t;
	errint_t r;

	t = meta_begin(m);
	(void)db_walk(t, T_DELTA, "", 0, 0, flush_note, &f);
	/* Deepest last seen, mostly highest number: going down the list carries a delta through
	 * several levels in one call, as children are mostly younger than their parents. */
	for (unsigned i = f.n; i > 0; i--)
		flush_one(t, f.dir[i - 1]);
	if (f.n == 0 && meta_txn_failed(t) == 0) {
		meta_abort(t);
		return 0;
	}
	r = meta_commit(t);
	return r == 0 ? (int)f.n : r;
}
