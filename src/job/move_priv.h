/* SPDX-License-Identifier: MIT */
/* One transfer of move.c, and its parts: parts.c. */
#ifndef ASTRA_MOVE_PRIV_H
#define ASTRA_MOVE_PRIV_H

#include "job_priv.h"

#define PART_LANES 6 /* parts of a transfer that are under way at a time */

struct parts;

struct lane { /* one part after another; the first is the job's step itself */
	struct pool_task task;
	struct parts *x;
	struct store_call call;
	char *buf;
	bool posted; /* x->lock; counted in x->at.busy */
};

struct sum { /* of a part */
	uint32_t crc;
	bool known;
	bool there; /* it was sent, so long, and read when staging was at seq */
	uint64_t len, seq;
};

struct ahead {		      /* what the steps of one upload leave to each other */
	struct stage_file *f; /* a reference: while it lasts staging knows what was changed */
	char id[STORE_UPLOAD_MAX];
	bool begun, last;	   /* the upload, its last step */
	uint64_t part_size;	   /* 0 = not begun */
	struct store_part *parts;  /* owned; n of cap, as sums */
	struct sum *sums;	   /* owned */
	unsigned n, cap, most;	   /* most: parts that the store takes */
	int64_t since_ns, sent_ns; /* mono; since when, and when something was last to be sent */
	uint32_t attrs_sum;	   /* as own.attrs_sum and own.attrs_left, of the beginning */
	bool attrs_left;
	char class_name[META_CLASS_MAX]; /* the same of put.class_name; "" = NULL */
};

struct parts { /* one transfer under way */
	struct job *job;
	const struct move_spec *spec;
	struct stage_file *staged; /* NULL: from the source object */
	struct objref src, dst;
	bool has_src;
	struct store_call call;
	struct meta_set meta;
	struct store_stat from; /* owned; of the source, when bytes come from it */
	struct store_put put;
	struct store_caps caps;
	uint64_t part_size;
	uint32_t crc; /* of all; valid with has_crc */
	bool has_crc;
	char *buf;
	struct ahead *ahead; /* the job's; NULL = all is sent by one step */
	uint64_t end;	     /* what this step sends */
	bool own;	     /* buf is not the pool's */
	bool sent;	     /* the commit was asked for */
	atomic_bool gone;    /* the store does not know the upload any more */

	/* by parts */
	char id[STORE_UPLOAD_MAX];
	struct store_part *parts; /* by number, as sums; owned, or ahead's */
	struct sum *sums;
	unsigned nparts;
	struct lane lanes[PART_LANES];
	struct lock lock; /* RANK_JOB_PARTS */
	struct {
		uint64_t next;	 /* offset of the first part that nobody has taken */
		unsigned busy;	 /* lanes posted and not over */
		unsigned queued; /* of these, those that have not begun */
		errint_t r;	 /* the first failure; then no more is taken */
		struct err err;
	} at;		     /* lock */
	pthread_cond_t over; /* lock */
};

/* Bytes [off, off + len) of what is sent, into p. */
errint_t parts_fill(struct parts *x, const struct store_call *c, uint64_t off, char *p, size_t len,
	struct err *err);
/* Sends the parts of x.part_size up to x.end that are not there yet, in as many lanes as there are
 * buffers for, but does not commit: x.parts, and of a whole object x.crc. x.id is the upload's, ""
 * when none was begun. */
errint_t parts_send(struct parts *x, struct err *err);
/* The parts went: another's write of the key took them along, or they were left for too long. Sent
 * again from the start. */
errint_t parts_gone(struct parts *x, errint_t r, struct err *err);

/* ahead.c */
uint64_t ahead_written(const struct ahead *a, uint64_t size, uint64_t part_size);
errint_t ahead_fit(struct ahead *a, unsigned n); /* room for so many parts: -ENOMEM */
bool ahead_meta_stays(const struct parts *x);	 /* as it was at the beginning */
/* The next step goes on: with what is there, or from the start when that is gone. */
bool ahead_keeps(struct parts *x, errint_t r, const struct err *err);

/* move.c: a further buffer of the pool for a transfer that goes on without, if the share may have
 * more, nobody of it waits for one, and more than half are free; NULL = no. */
void *buffer_more(struct job *job);
bool buffers_plenty(struct job *job); /* there would be one */
void buffer_give(struct job *job, void *p, bool own);

#endif
