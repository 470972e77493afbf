/* SPDX-License-Identifier: MIT */
/*
 * Inside the ctl room: server.c (socket, connections), call.c (what verbs share), verb_*.c (the
 * verbs, by subject), client.c (the other side).
 */
#ifndef CTL_PRIV_H
#define CTL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "astra/base_lock.h"
#include "astra/ctl.h"
#include "astra/job.h"
#include "astra/meta.h"
#include "astra/policy.h"
#include "astra/stage.h"
#include "astra/store.h"
#include "astra/tier.h"
#include "astra/vfs.h"

#define CTL_CONNS_MAX	32
#define CTL_REQUEST_MAX 65536
#define CTL_IDLE_S	30 /* a connection that asks nothing, or does not read, is closed */

struct ctl_conn {
	struct ctl *ctl;
	int fd;
	pthread_t thread;
	bool used;	    /* by the accepting thread only */
	bool hold;	    /* the descriptor stays open until the process ends */
	atomic_bool ended;  /* the thread is about to end */
	atomic_bool cancel; /* the client has gone, or the server ends */
	uint64_t sync_ino;  /* what `sync` waits for */
};

struct ctl {
	struct ctl_conf conf;
	char *path; /* of the socket; owned */
	uint64_t path_dev, path_ino;
	int64_t since_ns; /* wall clock */
	int fd, wake_fd;  /* listening; eventfd */
	pthread_t thread;
	bool has_thread;
	atomic_bool stop;
	atomic_bool unmounted;
	struct ctl_end end; /* written once, before drained */
	atomic_bool drained;
	struct ctl_conn conns[CTL_CONNS_MAX]; /* the accepting thread's */
};

/* ---- call.c ---- */

/* One line to the client: {"KEY": value}; value's reference is taken. -EPIPE and the like end the
 * verb. */
errint_t ctl_send(struct ctl_conn *c, const char *key, json_t *value);
errint_t ctl_text(struct ctl_conn *c, const char *p, size_t len);
bool ctl_cancelled(const struct ctl_conn *c);
void ctl_pause(unsigned ms);

/* The inode that a request names under key: "/aws/a" as the mount sees it, looked up in the
 * cloud where the index does not know it; or a bare name that is unique. Missing: the root when
 * optional. path (4096 bytes) may be NULL. */
errint_t ctl_path(struct ctl_conn *c, const json_t *req, const char *key, bool optional,
	uint64_t *ret_ino, char *ret_path, struct err *err);
/* Text of the request: -EINVAL when it is missing. */
errint_t ctl_string(const json_t *req, const char *key, char *ret, size_t size, struct err *err);
errint_t ctl_u64(const json_t *req, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
	struct err *err);
/* Does it answer, with the bucket that the configuration names? */
errint_t ctl_remote_probe(const struct remote *r, struct err *err);
/* -EROFS on a read-only mount. */
errint_t ctl_may_change(const struct ctl_conn *c, struct err *err);

/* Of jobs of which nothing goes on by itself: what is left, and why. */
#define PARKED_TEXT_MAX 600
const char *ctl_parked_text(
	struct jobs *jobs, const struct jobs_stat *js, char ret[PARKED_TEXT_MAX]);

/* A vfs operation, waited for. The client's going away interrupts it. */
struct ctl_wait {
	struct vfs_call call; /* first */
	struct ctl_conn *c;
	struct lock lock; /* RANK_CTL */
	pthread_cond_t cond;
	bool done; /* lock */
	errint_t r;
};
struct ctl_wait *ctl_wait_new(struct ctl_conn *c, struct err *err);
/* Each pulse_ms pulse() is called, when not NULL. */
errint_t ctl_wait_end(struct ctl_wait *w, unsigned pulse_ms, void (*pulse)(struct ctl_conn *c));
void ctl_wait_free(struct ctl_wait *w);
static inline void ctl_wait_free_p(struct ctl_wait **w)
{
	if (*w)
		ctl_wait_free(*w);
}
#define cleanup_wait __attribute__((cleanup(ctl_wait_free_p)))

/* ---- item.c: things as JSON ---- */

json_t *item_money(money_t m);
/* null where the class, and so what it costs, is not known */
json_t *item_tier(const struct policy_facts *f);
json_t *item_cost(const struct policy_facts *f, money_t m);
json_t *item_file(struct ctl_conn *c, struct meta_txn *t, const struct meta_inode *in,
	const struct verdict *v);
json_t *item_job(struct ctl_conn *c, const struct job_info *i);
json_t *item_jobs_stat(const struct jobs_stat *s);
json_t *item_totals(const struct price_book *b, const struct policy_totals *t);

/* ---- verbs ---- */

typedef errint_t (*ctl_verb)(
	struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err);

/* clang-format off */
#define CTL_VERBS(X) \
	X(hello, "hello") X(status, "status") X(sync, "sync") X(umount, "umount") \
	X(doctor, "doctor") X(init_cloud, "init-cloud") X(debug_fault, "debug-fault") \
	X(ls, "ls") X(explain, "explain") X(tier, "tier") X(restore, "restore") \
	X(resolve, "resolve") X(age_file, "age-file") X(simulate_access, "simulate-access") \
	X(migrate_plan, "migrate-plan") X(migrate_report, "migrate-report") \
	X(engine_run, "engine-run") X(cost, "cost") X(dashboard, "dashboard") \
	X(jobs, "jobs") X(jobs_wait, "jobs-wait") X(jobs_cancel, "jobs-cancel") \
	X(jobs_retry, "jobs-retry") X(db_check, "db-check") X(db_dump, "db-dump")
/* clang-format on */
#define X(id, name)                                                                                \
	errint_t verb_##id(                                                                        \
		struct ctl_conn *c, const json_t *req, json_t **ret_data, struct err *err);
CTL_VERBS(X)
#undef X

#endif
