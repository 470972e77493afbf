/* SPDX-License-Identifier: MIT */
/* Counters of the process, one X-macro: what cannot be timed on a noisy machine is counted.
 * Relaxed atomics; read by status, tests and (later) /metrics. */
#ifndef ASTRA_BASE_COUNT_H
#define ASTRA_BASE_COUNT_H

#include <stdint.h>

#define COUNT_LIST(X)                                                                              \
	X(fuse_requests, "FUSE requests received")                                                 \
	X(fuse_parked, "FUSE requests that had to wait")                                           \
	X(store_requests, "requests sent to stores")                                               \
	X(store_errors, "store requests that failed")                                              \
	X(store_retries, "store requests repeated")                                                \
	X(store_refused, "store requests refused for being too many")                              \
	X(store_bytes_in, "bytes fetched from stores")                                             \
	X(store_bytes_out, "bytes sent to stores")                                                 \
	X(net_requests, "HTTP requests sent")                                                      \
	X(net_connections, "HTTP connections opened")                                              \
	X(net_bytes_out, "bytes of request bodies sent over HTTP")                                 \
	X(net_bytes_vain, "of these, bytes of requests that failed")                               \
	X(list_pages, "LIST pages asked for")                                                      \
	X(list_compared, "known names looked for in a whole listing")                              \
	X(class_asks, "objects asked for the class that listings do not tell")                     \
	X(meta_commits, "index transactions committed")                                            \
	X(meta_sync_points, "index sync points")                                                   \
	X(jobs_posted, "jobs posted")                                                              \
	X(jobs_done, "jobs finished")                                                              \
	X(jobs_failed, "jobs given up")                                                            \
	X(jobs_retried, "job attempts repeated")                                                   \
	X(job_conflicts, "conflict copies made")                                                   \
	X(stage_hits, "reads answered from staging or cache")                                      \
	X(memory_hits, "reads answered from what a fetch still held")                              \
	X(stage_misses, "reads that had to fetch")                                                 \
	X(stage_damaged, "cache chunks whose checksum did not match")                              \
	X(stage_evicted, "cache files evicted")                                                    \
	X(stage_let_go, "bytes of files in use that were dropped from the cache")                  \
	X(stage_cleaned, "changed files whose upload is done")                                     \
	X(notifies, "kernel invalidations sent")                                                   \
	X(engine_passes, "engine passes")                                                          \
	X(engine_moves, "tier changes posted by the engine")

enum count_id {
#define X(name, help) COUNT_##name,
	COUNT_LIST(X)
#undef X
		COUNT_N
};

void count_add_(enum count_id id, uint64_t n);
uint64_t count_get(enum count_id id);
const char *count_name(enum count_id id);
const char *count_help(enum count_id id);
#define count_add(name, n) count_add_(COUNT_##name, (n))
#define count_inc(name)	   count_add_(COUNT_##name, 1)

#endif
