/* SPDX-License-Identifier: MIT */
/*
 * The pool of transfer buffers: one mapping, cut into equal pieces whose pages come into being
 * when they are first touched.
 *
 * Free buffers form a stack, so that the warmest is taken first and those at the bottom rest.
 * A buffer that rested gives its pages back to the kernel: on some later bufs_give, or by
 * bufs_trim. While that happens it is out of the stack, and comes back the way a taken one does.
 *
 * Background callers never take the last free buffer. Nobody waits here: who finds none goes on
 * with less, or waits for one of his own.
 *
 * Any thread.
 */
#include "astra/base_buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"

#define REST_NS NS_PER_S

struct slot {
	int64_t given_mono_ns;
	bool taken;
	bool cold;	      /* has no pages, as far as we know */
	bool run;	      /* taken, and the run's */
	unsigned char halves; /* taken as such: 1 the lower, 2 the upper */
};

struct bufs {
	struct lock lock; /* RANK_BUFS */
	struct {
		struct slot *slots; /* owned */
		unsigned *stack;    /* owned; indices of free slots, warmest last */
		unsigned free;
		struct {
			const void *owner; /* NULL = there is none */
			unsigned n, have;
		} run;
	} shared;  /* lock */
	char *map; /* constant, as all below */
	size_t size, stride;
	unsigned count;
};

struct bufs *bufs_new(unsigned count, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), total;
	struct bufs *b;

	assert(count >= 2);
	assert(size > 0);
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->count = count;
	b->size = size;
	b->shared.slots = calloc(count, sizeof(*b->shared.slots));
	b->shared.stack = calloc(count, sizeof(*b->shared.stack));
	if (!b->shared.slots || !b->shared.stack || __builtin_add_overflow(size, page - 1, &total))
		goto fail;
	b->stride = total / page * page;
	if (__builtin_mul_overflow(b->stride, (size_t)count, &total))
		goto fail;
	b->map = mmap(NULL, total, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->map == MAP_FAILED)
		goto fail;
	for (unsigned i = 0; i < count; i++) {
		b->shared.slots[i].cold = true;
		b->shared.stack[i] = count - 1 - i;
	}
	b->shared.free = count;
	lock_init(&b->lock, RANK_BUFS, "bufs");
	return b;
fail:
	free(b->shared.stack);
	free(b->shared.slots);
	free(b);
	return NULL;
}

void bufs_destroy(struct bufs *b)
{
	if (!b)
		return;
	assert(b->shared.free == b->count);
	(void)munmap(b->map, b->stride * b->count);
	lock_done(&b->lock);
	free(b->shared.stack);
	free(b->shared.slots);
	free(b);
}

size_t bufs_size(const struct bufs *b)
{
	return b->size;
}

unsigned bufs_count(const struct bufs *b)
{
	return b->count;
}

unsigned bufs_free(const struct bufs *b)
{
	/* The lock is not part of what const promises. */
	LOCKED((struct lock *)&b->lock);
	return b->shared.free;
}

void *bufs_try_take(struct bufs *b, bool background)
{
	unsigned i;

	LOCKED(&b->lock);
	if (b->shared.free < (background ? 2 : 1)) /* background work leaves the last one */
		return NULL;
	i = b->shared.stack[--b->shared.free];
	assert(!b->shared.slots[i].taken);
	b->shared.slots[i].taken = true;
	b->shared.slots[i].cold = false;
	return b->map + b->stride * i;
}

/* A slot of which one half is taken; count = there is none. */
static unsigned half_find_locked(const struct bufs *b)
{
	unsigned i = 0;

	while (i < b->count && b->shared.slots[i].halves != 1 && b->shared.slots[i].halves != 2)
		i++;
	return i;
}

size_t bufs_half(const struct bufs *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return b->size / 2 / page * page;
}

void *bufs_try_half(struct bufs *b, bool other)
{
	unsigned i;
	bool upper;

	LOCKED(&b->lock);
	i = half_find_locked(b);
	if (i < b->count) {
		upper = b->shared.slots[i].halves == 1;
		b->shared.slots[i].halves = 3;
		return b->map + b->stride * i + (upper ? bufs_half(b) : 0);
	}
	if (other || !b->shared.free)
		return NULL;
	i = b->shared.stack[--b->shared.free];
	assert(!b->shared.slots[i].taken && !b->shared.slots[i].halves);
	b->shared.slots[i].taken = true;
	b->shared.slots[i].cold = false;
	b->shared.slots[i].halves = 1;
	return b->map + b->stride * i;
}

/* The lower one of the first two that are free and adjacent; count = there are none. */
static unsigned two_find_locked(const struct bufs *b)
{
	unsigned i = 0;

	while (i + 1 < b->count && (b->shared.slots[i].taken || b->shared.slots[i + 1].taken))
		i++;
	return i + 1 < b->count ? i : b->count;
}

void *bufs_try_two(struct bufs *b)
{
	unsigned i, kept = 0;

	if (b->stride != b->size) /* there are gaps between them */
		return NULL;
	LOCKED(&b->lock);
	i = two_find_locked(b);
	if (i == b->count)
		return NULL;
	for (unsigned k = 0; k < b->shared.free; k++) {
		if (b->shared.stack[k] != i && b->shared.stack[k] != i + 1)
			b->shared.stack[kept++] = b->shared.stack[k];
	}
	assert(kept + 2 == b->shared.free);
	b->shared.free = kept;
	b->shared.slots[i].taken = b->shared.slots[i + 1].taken = true;
	b->shared.slots[i].cold = b->shared.slots[i + 1].cold = false;
	return b->map + b->stride * i;
}

/* Nothing of slot i is taken any more. */
static bool half_given(struct bufs *b, unsigned i, bool upper)
{
	struct slot *s = &b->shared.slots[i];
	LOCKED(&b->lock);

	if (!s->halves) {
		assert(!upper);
		return true;
	}
	assert(s->halves & (upper ? 2 : 1));
	s->halves &= (unsigned char)~(upper ? 2 : 1);
	return !s->halves;
}

size_t bufs_run_max(const struct bufs *b)
{
	unsigned leave = MAX_OF(b->count / 4, 2u);

	if (b->stride != b->size) /* there are gaps between them */
		return 0;
	return b->count > leave ? (b->count - leave) * b->size : 0;
}

static void run_begin_locked(struct bufs *b, unsigned n, const void *owner)
{
	unsigned kept = 0;

	lock_assert_held(&b->lock);
	b->shared.run.owner = owner;
	b->shared.run.n = n;
	b->shared.run.have = 0;
	for (unsigned k = 0; k < b->shared.free; k++) {
		unsigned i = b->shared.stack[k];

		if (i < b->count - n) {
			b->shared.stack[kept++] = i;
			continue;
		}
		b->shared.slots[i].taken = b->shared.slots[i].run = true;
		b->shared.run.have++;
	}
	b->shared.free = kept;
}

errint_t bufs_try_run(struct bufs *b, size_t bytes, const void *owner, void **ret)
{
	unsigned n = (unsigned)((bytes + b->size - 1) / b->size);

	assert(owner && bytes > 0 && bytes <= bufs_run_max(b));
	LOCKED(&b->lock);
	if (!b->shared.run.owner)
		run_begin_locked(b, n, owner);
	if (b->shared.run.owner != owner)
		return -EBUSY;
	assert(b->shared.run.n == n);
	if (b->shared.run.have != n)
		return -EAGAIN;
	for (unsigned i = b->count - n; i < b->count; i++)
		b->shared.slots[i].cold = false;
	*ret = b->map + b->stride * (b->count - n);
	return 0;
}

/* Puts slot i back: on top of the stack when warm, at the bottom when its pages went. */
static void put_back(struct bufs *b, unsigned i, bool cold)
{
	LOCKED(&b->lock);

	assert(b->shared.slots[i].taken && b->shared.free < b->count);
	if (b->shared.run.owner && i >= b->count - b->shared.run.n) {
		assert(!b->shared.slots[i].run);
		b->shared.slots[i].run = true;
		b->shared.slots[i].cold = cold;
		b->shared.run.have++;
		return;
	}
	b->shared.slots[i].taken = false;
	b->shared.slots[i].cold = cold;
	b->shared.slots[i].given_mono_ns = clock_mono_ns();
	if (cold) {
		for (unsigned k = b->shared.free; k > 0; k--)
			b->shared.stack[k] = b->shared.stack[k - 1];
		b->shared.stack[0] = i;
	} else {
		b->shared.stack[b->shared.free] = i;
	}
	b->shared.free++;
}

/* Takes the buffer that rested longest, at least idle_ns, out of the stack; false when none did. */
static bool take_rested(struct bufs *b, int64_t idle_ns, unsigned *ret)
{
	int64_t now = clock_mono_ns();

	LOCKED(&b->lock);
	for (unsigned k = 0; k < b->shared.free; k++) {
		unsigned i = b->shared.stack[k];

		if (b->shared.slots[i].cold)
			continue;
		/* Given earlier means lower in the stack: all above rested less. */
		if (now - b->shared.slots[i].given_mono_ns < idle_ns)
			return false;
		for (; k + 1 < b->shared.free; k++)
			b->shared.stack[k] = b->shared.stack[k + 1];
		b->shared.free--;
		b->shared.slots[i].taken = true;
		*ret = i;
		return true;
	}
	return false;
}

/* Takes the pages of one rested buffer away. False when there was none. */
static bool trim_one(struct bufs *b, int64_t idle_ns)
{
	unsigned i;
	bool cold;

	if (!take_rested(b, idle_ns, &i))
		return false;
	cold = madvise(b->map + b->stride * i, b->stride, MADV_DONTNEED) == 0;
	put_back(b, i, cold);
	return cold;
}

void bufs_trim(struct bufs *b, int64_t idle_ns)
{
	for (unsigned n = 0; n < b->count && trim_one(b, idle_ns); n++)
		;
}

void bufs_give(struct bufs *b, void *p)
{
	size_t off = (size_t)((char *)p - b->map);

	unsigned i = (unsigned)(off / b->stride);
	bool upper = off % b->stride != 0;

	assert(p && (char *)p >= b->map && i < b->count);
	assert(!upper || off % b->stride == bufs_half(b));
	if (!half_given(b, i, upper))
		return;
	put_back(b, i, false);
	(void)trim_one(b, REST_NS);
}

void bufs_give_run(struct bufs *b, const void *owner)
{
	int64_t now = clock_mono_ns();

	LOCKED(&b->lock);
	if (!owner || b->shared.run.owner != owner)
		return;
	for (unsigned i = b->count - b->shared.run.n; i < b->count; i++) {
		struct slot *s = &b->shared.slots[i];

		if (!s->run) /* it gave up before this one came back */
			continue;
		s->run = s->taken = false;
		s->given_mono_ns = now;
		b->shared.stack[b->shared.free++] = i;
	}
	b->shared.run.owner = NULL;
	b->shared.run.n = b->shared.run.have = 0;
}
