/* SPDX-License-Identifier: MIT */
/*
 * When each part of a file was last changed, for uploads that begin while it is still written: what
 * was sent and not changed since need not be sent again. In memory only, and only of files that
 * somebody watches.
 *
 * It must never say too little: whatever moves `seq` names the range that it changes, and what is
 * not known counts as changed.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "astra/base_cleanup.h"
#include "stage_priv.h"

void spans_touch(struct stage_file *f, uint64_t off, uint64_t end)
{
	uint64_t seq = f->map->h.seq;

	if (!f->spans.seq)
		return;
	for (uint64_t i = off / f->s->span; i < f->spans.n && i * f->s->span < end; i++)
		f->spans.seq[i] = seq;
	if (end > f->spans.n * f->s->span)
		f->spans.beyond = seq;
}

errint_t stage_spans_watch(struct stage_file *f)
{
	errint_t r = 0;
	uint64_t n, *p;

	assert(f);
	file_change_begin(f);
	n = f->map->h.size / f->s->span + 1;
	if (!f->spans.seq)
		f->spans.beyond = f->map->h.seq;
	if (n > f->spans.n || !f->spans.seq) {
		n = MAX_OF(n, f->spans.n + f->spans.n / 2);
		p = reallocarray(f->spans.seq, n, sizeof(*p));
		r = p ? 0 : -ENOMEM;
		for (uint64_t i = f->spans.n; !r && i < n; i++)
			p[i] = f->spans.beyond;
		if (!r) {
			f->spans.seq = p;
			f->spans.n = n;
		}
	}
	file_quiet_end(f);
	return r;
}

uint64_t spans_seq(const struct stage_file *f, uint64_t off, uint64_t len)
{
	uint64_t seq = 0;

	assert(len && off <= UINT64_MAX - len);
	if (!f->spans.seq)
		return UINT64_MAX;
	for (uint64_t i = off / f->s->span; i < f->spans.n && i * f->s->span < off + len; i++)
		seq = MAX_OF(seq, f->spans.seq[i]);
	if (off + len > f->spans.n * f->s->span)
		seq = MAX_OF(seq, f->spans.beyond);
	return seq;
}

uint64_t stage_span_seq(struct stage_file *f, uint64_t off, uint64_t len)
{
	LOCKED(&f->rw.lock);

	return spans_seq(f, off, len);
}
