/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes. user.astra.* is a table of what the index knows of a file or directory;
 * other names of the user. and trusted. name spaces are kept in the index. security.* and system.*
 * are answered before anything else: the kernel asks for them with every write. They are not
 * supported, rather than absent: `ls -l` asks a file system that has them of each file.
 *
 * No attribute asks a store, but those that need the class of an object whose listing did not tell
 * it: reading one of these waits for a HEAD, once for each version. Listing names asks for nothing.
 * The writable ones are in xattr_set.c. Setting one of the others is
 * ignored where a program copies attributes, and removing any always is: cp -a, rsync -X and tar
 * bring along what they found elsewhere.
 */
#include "vfs_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <time.h>

#include "astra/base_buf.h"

#define ASTRA	  "user.astra."
#define ASTRA_LEN (sizeof(ASTRA) - 1)
#define VALUE_MAX 4096
#define DAY_NS	  (86400 * NS_PER_S)

/* OF_CLASS: a file's needs the class of its object, which may have to be asked. */
enum { ON_FILE = 1, ON_DIR = 2, OF_CLASS = 4 };

struct ask { /* one look at an inode */
	struct vfs *v;
	struct meta_txn *t;
	struct meta_inode in;
	const struct remote *remote;  /* NULL: the root, or not configured any more */
	char path[META_PATH_MAX + 1]; /* below the remote */
	struct meta_access access;
	struct policy_facts facts;
	struct verdict verdict;
	bool has_access, has_verdict;
	const char *name; /* of the attribute, after "user.astra." */
	bool unknown;	  /* its class is: what needs that has some value */
};

struct attr {
	const char *name;
	unsigned on;
	errint_t (*get)(struct ask *a, struct buf *out);
	int (*set)(struct vfs_call *c, const char *value); /* NULL = read-only */
};

/* ---- what the getters share ---- */

static errint_t put_time(struct buf *out, int64_t ns)
{
	time_t s = (time_t)(ns / NS_PER_S);
	struct tm tm;
	char text[40];

	if (ns <= 0 || !gmtime_r(&s, &tm))
		return -ENODATA;
	if (!strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return -ENODATA;
	return buf_adds(out, text);
}

static errint_t put_money(struct buf *out, money_t m)
{
	char text[MONEY_TEXT_MAX];

	return buf_adds(out, money_format(text, m, MONEY_EXACT));
}

static const struct price_provider *prices_of(const struct ask *a)
{
	if (!a->v->conf.prices || !a->remote)
		return NULL;
	return price_find(a->v->conf.prices, a->remote->provider);
}

static struct meta_access *access_of(struct ask *a)
{
	if (!a->has_access && meta_access_get(a->v->conf.meta, a->t, a->in.ino, &a->access))
		memset(&a->access, 0, sizeof(a->access));
	a->has_access = true;
	return &a->access;
}

static const struct verdict *verdict_of(struct ask *a)
{
	if (!a->v->conf.rules || !a->v->conf.prices)
		return NULL;
	if (!a->has_verdict) {
		if (vfs_facts(a->v, a->t, &a->in, &a->facts))
			return NULL;
		policy_decide(a->v->conf.rules, a->v->conf.prices, &a->facts, clock_now_ns(),
			&a->verdict);
		a->has_verdict = true;
	}
	return &a->verdict;
}

static bool settled(const struct ask *a)
{
	return a->in.flags & META_F_OBJECT;
}

/* ---- getters: place ---- */

static errint_t get_cloud(struct ask *a, struct buf *out)
{
	return a->remote ? buf_adds(out, a->remote->name) : -ENODATA;
}

static errint_t place_of(const struct ask *a, char *names, struct store_obj *ret)
{
	const char *path = settled(a) ? a->in.loc.path : a->path;

	if (!a->remote || !*path)
		return -ENODATA;
	return remote_obj(a->remote, path, names, ret) ? -ENODATA : 0;
}

static errint_t get_place(struct ask *a, struct buf *out)
{
	static const struct {
		const char *provider, *scheme;
	} schemes[] = {{"aws", "s3"}, {"gcp", "gs"}, {"azure", "az"}};
	char names[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	const char *scheme = "local";
	struct store_obj o;
	errint_t r = place_of(a, names, &o);

	if (r)
		return r;
	if (!strcmp(a->name, "bucket"))
		return buf_adds(out, o.bucket);
	if (!strcmp(a->name, "key"))
		return buf_adds(out, o.key);
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if (!strcmp(schemes[i].provider, a->remote->provider))
			scheme = schemes[i].scheme;
	}
	return buf_addf(out, "%s://%s/%s", scheme, o.bucket, o.key);
}

static errint_t get_class(struct ask *a, struct buf *out)
{
	if (!settled(a) || !*a->in.class_name)
		return -ENODATA;
	return buf_adds(out, a->in.class_name);
}

static errint_t get_etag(struct ask *a, struct buf *out)
{
	return settled(a) && *a->in.loc.etag ? buf_adds(out, a->in.loc.etag) : -ENODATA;
}

static errint_t get_crc(struct ask *a, struct buf *out)
{
	if (!a->in.has_crc32c || (a->in.flags & META_F_DIRTY))
		return -ENODATA;
	return buf_addf(out, "%08" PRIx32, a->in.crc32c);
}

/* ---- getters: tier ---- */

static errint_t get_tier(struct ask *a, struct buf *out)
{
	if (a->in.kind == META_FILE)
		return buf_adds(out, tier_name((enum tier)a->in.tier));
	if (!(a->in.flags & META_F_PINNED))
		return -ENODATA;
	return buf_adds(out, tier_name((enum tier)a->in.forced_tier));
}

static errint_t get_tier_expected(struct ask *a, struct buf *out)
{
	const struct verdict *d = verdict_of(a);

	return d ? buf_adds(out, tier_name(d->tier)) : -ENODATA;
}

static errint_t get_tier_since(struct ask *a, struct buf *out)
{
	return put_time(out, a->in.tier_since_ns);
}

static errint_t get_min_until(struct ask *a, struct buf *out)
{
	const struct price_provider *p = prices_of(a);
	unsigned days = p ? p->tiers[a->in.tier].min_days : 0;

	if (!days || !a->in.tier_since_ns)
		return -ENODATA;
	return put_time(out, a->in.tier_since_ns + (int64_t)days * DAY_NS);
}

static errint_t get_restored_until(struct ask *a, struct buf *out)
{
	int64_t until = vfs_restored_until(&a->in);

	return until ? put_time(out, until) : -ENODATA;
}

int64_t vfs_restored_until(const struct meta_inode *in)
{
	return in->restored_until_ns > clock_now_ns() ? in->restored_until_ns : 0;
}

static const char *job_word(const struct job_info *i, const struct meta_inode *in)
{
	switch (i->kind) {
	case JOB_UPLOAD:
		return "uploading";
	case JOB_RELOCATE:
		if (i->archived && in->restored_until_ns > clock_now_ns())
			return "restored";
		if (i->archived)
			return "renamed-here-only";
		return "moving";
	case JOB_EXCHANGE:
	case JOB_DIRMOVE:
		return (in->flags & META_F_ARCHIVED) && i->state == JOB_WAITING
			       ? "renamed-here-only"
			       : "moving";
	case JOB_TRANSITION:
		return "changing-tier";
	case JOB_RESTORE:
		return "restoring";
	case JOB_REMOVE:
		return "removing";
	default:
		return NULL;
	}
}

const char *vfs_state_word(struct vfs *v, const struct meta_inode *in)
{
	uint32_t f = in->flags;
	const char *word = NULL;
	struct job_info i;

	if (f & META_F_CONFLICT)
		return "conflict";
	if (f & META_F_FAILED)
		return (f & META_F_DIRTY) ? "upload-failed" : "failed";
	if (job_info_ino(v->jobs, in->ino, &i))
		word = job_word(&i, in);
	if (word)
		return word;
	if (f & META_F_DIRTY)
		return "dirty";
	if (f & META_F_RESTORING)
		return "restoring";
	if (vfs_restored_until(in))
		return "restored";
	/* The end of a restored copy comes without a word. */
	if ((f & META_F_ARCHIVED) || in->restored_until_ns)
		return "archived";
	return (f & META_F_ATTR_LOCAL) ? "meta-local" : "settled";
}

static errint_t get_state(struct ask *a, struct buf *out)
{
	return buf_adds(out, vfs_state_word(a->v, &a->in));
}

/* ---- getters: use ---- */

static errint_t get_count(struct ask *a, struct buf *out)
{
	const struct meta_access *x = access_of(a);
	uint64_t n = x->reads + x->writes;

	if (!strcmp(a->name, "reads"))
		n = x->reads;
	else if (!strcmp(a->name, "writes"))
		n = x->writes;
	else if (!strcmp(a->name, "heat"))
		n = meta_access_heat(x, clock_now_ns());
	return buf_addf(out, "%" PRIu64, n);
}

static errint_t get_last_access(struct ask *a, struct buf *out)
{
	const struct meta_access *x = access_of(a);

	return put_time(out, MAX_OF(x->last_read_ns, x->last_write_ns));
}

/* ---- getters: money ---- */

static money_t totals_cost(const struct price_provider *p, const struct meta_totals *t, bool hot)
{
	money_t sum = 0;

	for (int i = 0; p && i < TIER_N; i++) {
		if (t->tier_bytes[i] > 0)
			sum += price_month(
				p, hot ? TIER_HOT : (enum tier)i, (uint64_t)t->tier_bytes[i]);
	}
	return sum;
}

/* Files below have a class that nobody knows, and bytes in it. */
static bool totals_unknown(const struct meta_totals *t)
{
	int64_t known = 0;

	for (int i = 0; i < TIER_N; i++)
		known += t->tier_bytes[i];
	return t->bytes > known;
}

/* Of a directory: by its totals; the root is the sum of its remotes. *ret_unknown: it is more. */
static money_t dir_cost(struct ask *a, bool hot, bool *ret_unknown)
{
	const struct vfs_conf *conf = &a->v->conf;
	struct meta_inode top;
	money_t sum = 0;
	uint64_t ino;

	*ret_unknown = totals_unknown(&a->in.totals);
	if (a->in.ino != META_ROOT_INO)
		return totals_cost(prices_of(a), &a->in.totals, hot);
	for (size_t i = 0; i < conf->nremotes && conf->prices; i++) {
		if (!meta_lookup(a->t, META_ROOT_INO, conf->remotes[i].name, &ino) &&
			!meta_inode_get(a->t, ino, &top)) {
			*ret_unknown |= totals_unknown(&top.totals);
			sum += totals_cost(price_find(conf->prices, conf->remotes[i].provider),
				&top.totals, hot);
		}
	}
	return sum;
}

static errint_t put_dir_money(struct ask *a, struct buf *out, bool savings)
{
	bool unknown = false;
	money_t sum = dir_cost(a, false, &unknown);

	if (!a->v->conf.prices || unknown)
		return -ENODATA;
	return put_money(out, savings ? dir_cost(a, true, &unknown) - sum : sum);
}

static errint_t get_cost(struct ask *a, struct buf *out)
{
	const struct price_provider *p = prices_of(a);

	if (a->in.kind == META_DIR)
		return put_dir_money(a, out, false);
	return p ? put_money(out, price_month(p, (enum tier)a->in.tier, a->in.size)) : -ENODATA;
}

static errint_t get_cost_read(struct ask *a, struct buf *out)
{
	const struct price_provider *p = prices_of(a);

	return p ? put_money(out, price_read(p, (enum tier)a->in.tier, a->in.size)) : -ENODATA;
}

static errint_t get_cost_if(struct ask *a, struct buf *out)
{
	const struct price_provider *p = prices_of(a);
	enum tier t;

	if (!p || tier_parse(strchr(a->name, '.') + 1, &t) || !*a->remote->classes[t].name)
		return -ENODATA;
	return put_money(out, price_month(p, t, a->in.size));
}

static errint_t get_savings(struct ask *a, struct buf *out)
{
	const struct verdict *d;

	if (a->in.kind == META_DIR)
		return put_dir_money(a, out, true);
	d = verdict_of(a);
	return d ? put_money(out, d->action == POLICY_MOVE ? d->saving : 0) : -ENODATA;
}

static errint_t get_recommendation(struct ask *a, struct buf *out)
{
	const struct verdict *d = verdict_of(a);

	return d ? policy_decision_text(out, a->v->conf.prices, &a->facts, d) : -ENODATA;
}

static errint_t get_reason(struct ask *a, struct buf *out)
{
	const struct verdict *d = verdict_of(a);
	errint_t r = d ? 0 : -ENODATA;

	for (unsigned i = 0; !r && i < d->nreasons; i++) {
		if (i)
			(void)buf_adds(out, "; ");
		r = policy_reason_text(out, a->v->conf.rules, &a->facts, d, i);
	}
	return r;
}

static errint_t get_totals(struct ask *a, struct buf *out)
{
	const struct meta_totals *s = &a->in.totals;
	int64_t n = s->bytes;
	enum tier t;

	if (!strcmp(a->name, "files"))
		n = s->files;
	else if (!strncmp(a->name, "bytes.", 6) && !tier_parse(a->name + 6, &t))
		n = s->tier_bytes[t];
	return buf_addf(out, "%" PRId64, n > 0 ? n : 0);
}

/* ---- getters: jobs ---- */

static errint_t get_job(struct ask *a, struct buf *out)
{
	struct job_info i;

	if (!job_info_ino(a->v->jobs, a->in.ino, &i))
		return -ENODATA;
	return buf_addf(
		out, "%" PRIu64 " %s %s", i.id, job_kind_name(i.kind), job_state_name(i.state));
}

static errint_t get_progress(struct ask *a, struct buf *out)
{
	struct job_info i;

	if (!job_info_ino(a->v->jobs, a->in.ino, &i) || !i.bytes_total)
		return -ENODATA;
	return buf_addf(out, "%d%%",
		(int)((double)MIN_OF(i.bytes_done, i.bytes_total) * 100 / (double)i.bytes_total));
}

static errint_t get_nothing(struct ask *a, struct buf *out)
{
	return -ENODATA; /* an order, not a value */
}

/* ---- the table ---- */

static const struct attr attrs[] = {
	{"cloud", ON_FILE | ON_DIR, get_cloud, NULL},
	{"bucket", ON_FILE, get_place, NULL},
	{"key", ON_FILE, get_place, NULL},
	{"url", ON_FILE, get_place, NULL},
	{"storage_class", ON_FILE | OF_CLASS, get_class, NULL},
	{"tier", ON_FILE | ON_DIR | OF_CLASS, get_tier, xattr_set_tier},
	{"tier_expected", ON_FILE, get_tier_expected, NULL},
	{"tier_since", ON_FILE, get_tier_since, NULL},
	{"min_until", ON_FILE | OF_CLASS, get_min_until, NULL},
	{"restored_until", ON_FILE, get_restored_until, NULL},
	{"state", ON_FILE, get_state, NULL},
	{"etag", ON_FILE, get_etag, NULL},
	{"checksum.crc32c", ON_FILE, get_crc, NULL},
	{"accesses", ON_FILE, get_count, NULL},
	{"reads", ON_FILE, get_count, NULL},
	{"writes", ON_FILE, get_count, NULL},
	{"last_access", ON_FILE, get_last_access, NULL},
	{"heat", ON_FILE, get_count, NULL},
	{"cost", ON_FILE | ON_DIR | OF_CLASS, get_cost, NULL},
	{"cost_read", ON_FILE | OF_CLASS, get_cost_read, NULL},
	{"cost_if.HOT", ON_FILE, get_cost_if, NULL},
	{"cost_if.WARM", ON_FILE, get_cost_if, NULL},
	{"cost_if.COLD", ON_FILE, get_cost_if, NULL},
	{"cost_if.ARCHIVE", ON_FILE, get_cost_if, NULL},
	{"recommendation", ON_FILE | OF_CLASS, get_recommendation, NULL},
	{"savings", ON_FILE | ON_DIR | OF_CLASS, get_savings, NULL},
	{"reason", ON_FILE | OF_CLASS, get_reason, NULL},
	{"job", ON_FILE | ON_DIR, get_job, NULL},
	{"progress", ON_FILE | ON_DIR, get_progress, NULL},
	{"files", ON_DIR, get_totals, NULL},
	{"bytes", ON_DIR, get_totals, NULL},
	{"bytes.HOT", ON_DIR, get_totals, NULL},
	{"bytes.WARM", ON_DIR, get_totals, NULL},
	{"bytes.COLD", ON_DIR, get_totals, NULL},
	{"bytes.ARCHIVE", ON_DIR, get_totals, NULL},
	{"restore", ON_FILE, get_nothing, xattr_set_restore},
	{"refresh", ON_FILE | ON_DIR, get_nothing, xattr_set_refresh},
	{"migrate", ON_FILE | ON_DIR, get_nothing, xattr_set_migrate},
};

static const struct attr *attr_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
		if (!strcmp(attrs[i].name, name))
			return &attrs[i];
	}
	return NULL;
}

static unsigned attr_on(const struct meta_inode *in)
{
	return in->kind == META_FILE ? ON_FILE : in->kind == META_DIR ? ON_DIR : 0;
}

/* Names that never exist, before any lock: 0 when the name may exist. */
static errint_t name_never(const char *name)
{
	if (!strncmp(name, "user.", 5) || !strncmp(name, "trusted.", 8))
		return strlen(name) > META_NAME_MAX ? -ERANGE : 0;
	return -EOPNOTSUPP;
}

/* ---- get, list ---- */

/* *ret is malloced; its read transaction is open until ask_end. */
static errint_t ask_begin(struct vfs *v, uint64_t ino, struct ask **ret)
{
	struct ask *a = calloc(1, sizeof(*a));
	uint32_t id = 0;
	errint_t r;

	*ret = NULL;
	if (!a)
		return -ENOMEM;
	a->v = v;
	a->t = meta_begin_read(v->conf.meta);
	r = meta_inode_get(a->t, ino, &a->in);
	if (r) {
		meta_abort(a->t);
		free(a);
		return r == -ENOENT ? -ESTALE : r;
	}
	row_now(v, &a->in);
	a->unknown = job_class_unknown(v->jobs, &a->in);
	if (ino != META_ROOT_INO && meta_desired(a->t, ino, &id, a->path))
		a->path[0] = '\0';
	if (settled(a))
		id = a->in.loc.remote;
	a->remote = id ? remote_by_id(v, id) : NULL;
	*ret = a;
	return 0;
}

static void ask_end(struct ask *a)
{
	meta_abort(a->t);
	free(a);
}

static errint_t ask_value(struct ask *a, const struct attr *attr, struct buf *out)
{
	errint_t r;

	if (!(attr->on & attr_on(&a->in)))
		return -ENODATA;
	a->name = attr->name;
	if (a->unknown && attr->get == get_class)
		return 0; /* it has one */
	r = attr->get(a, out);
	return r ? r : out->failed;
}

/* Answers with bytes p[0..len), which it takes. */
static void answer_bytes(struct vfs_call *c, char *p, size_t len)
{
	size_t size = c->own.size;

	free(c->own.mem);
	c->own.mem = p;
	c->data = p;
	c->len = len;
	call_done(c, size && len > size ? -ERANGE : 0);
}

/* 1: parked until the class was asked for; -errno: it was, in vain. */
static int class_wait(struct vfs_call *c, const struct meta_inode *in)
{
	const struct call_wait w = {.kind = WAIT_JOB, .on_timeout = -EIO, .interruptible = true};

	if (c->own.phase == 1)
		return c->own.r == -EACCES || c->own.r == -ENOMEM ? c->own.r
		       : !c->own.r || c->own.r == -ENODATA	  ? -ENODATA
								  : -EIO;
	c->own.phase = 1;
	if (!call_arm(c, &w))
		return 1;
	job_class_ask(c->own.v->jobs, in, true, &c->own.waiter);
	call_armed(c);
	return 1;
}

/* 0, 1 = parked, -errno */
static int get_astra(struct vfs_call *c, struct buf *out)
{
	const struct attr *attr = attr_find(c->own.name + ASTRA_LEN);
	struct meta_inode in;
	struct ask *a;
	errint_t r;

	if (!attr)
		return -ENODATA;
	r = ask_begin(c->own.v, c->own.ino, &a);
	if (r)
		return r;
	if (a->unknown && (attr->on & OF_CLASS)) {
		in = a->in;
		ask_end(a);
		return class_wait(c, &in);
	}
	r = ask_value(a, attr, out);
	ask_end(a);
	return r;
}

static errint_t get_user(struct vfs_call *c, struct buf *out)
{
	struct meta_txn *t = meta_begin_read(c->own.v->conf.meta);
	size_t len = 0;
	errint_t r = meta_xattr_get(t, c->own.ino, c->own.name, NULL, 0, &len);
	char *p = r ? NULL : malloc(len + 1);

	if (!r && !p)
		r = -ENOMEM;
	if (!r && len)
		r = meta_xattr_get(t, c->own.ino, c->own.name, p, len, &len);
	meta_abort(t);
	if (!r)
		r = buf_add(out, p, len);
	free(p);
	return r;
}

static void run_never(struct vfs_call *c)
{
	call_done(c, -EIO); /* these never park */
}

static void run_getxattr(struct vfs_call *c)
{
	struct buf out = BUF_INIT(META_XATTR_MAX);
	int r = strncmp(c->own.name, ASTRA, ASTRA_LEN) ? get_user(c, &out) : get_astra(c, &out);

	if (r == 1) /* it may be over already */
		return;
	if (!r)
		r = out.failed;
	if (r) {
		buf_done(&out);
		call_done(c, r == -ENOENT ? -ENODATA : r);
		return;
	}
	answer_bytes(c, out.p, out.len);
}

void vfs_getxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name, size_t size)
{
	errint_t r = name_never(name);

	call_begin(v, c, run_getxattr);
	if (r) {
		call_done(c, r == -ERANGE ? -ENODATA : r);
		return;
	}
	c->own.ino = ino;
	c->own.size = size;
	memcpy(c->own.name, name, strlen(name) + 1);
	run_getxattr(c);
}

static errint_t list_astra(struct ask *a, struct buf *out)
{
	struct buf value = BUF_INIT(META_XATTR_MAX);
	errint_t r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(attrs); i++) {
		char name[64];
		int n = snprintf(name, sizeof(name), ASTRA "%s", attrs[i].name);

		/* Only what has a value: tools read each name that is listed. */
		buf_reset(&value);
		if (!ask_value(a, &attrs[i], &value))
			r = buf_add(out, name, (size_t)n + 1);
	}
	buf_done(&value);
	return r;
}

static int list_user(void *arg, const char *name, const void *p, size_t len)
{
	/* Others' attributes of an object, that are none here, are kept among them. */
	return name_never(name) ? 0 : buf_add(arg, name, strlen(name) + 1);
}

void vfs_listxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, size_t size)
{
	struct buf out = BUF_INIT(1u << 20);
	struct ask *a = NULL;
	errint_t r;

	call_begin(v, c, run_never);
	c->own.size = size;
	r = ask_begin(v, ino, &a);
	if (!r && !xattr_by_copier(c))
		r = list_astra(a, &out);
	if (!r)
		r = meta_xattr_each(a->t, ino, list_user, &out);
	if (!r)
		r = out.failed;
	if (a)
		ask_end(a);
	if (r) {
		buf_done(&out);
		call_done(c, r);
		return;
	}
	answer_bytes(c, out.p, out.len);
}

/* ---- set, remove ---- */

static int set_astra(struct vfs_call *c)
{
	const struct attr *attr = attr_find(c->own.name + ASTRA_LEN);
	const char *value = c->own.mem;
	struct meta_inode in;
	errint_t r = row_get(c->own.v, c->own.ino, &in);

	if (r)
		return r;
	if (attr && attr->set && (attr->on & attr_on(&in))) {
		if (strlen(value) != c->own.size)
			return xattr_bad_value(c, value, "text without NUL bytes");
		return attr->set(c, value);
	}
	if (xattr_is_copy(c, &in, attr != NULL))
		return 0;
	if (attr)
		return -EPERM;
	return xattr_refuse(c, "there is no such attribute");
}

/* ctime, and object metadata where that is free. */
static errint_t xattr_changed(struct vfs *v, struct meta_txn *t, uint64_t ino)
{
	struct meta_inode in;
	errint_t r = meta_inode_get(t, ino, &in);
	bool tell;

	if (r)
		return r;
	tell = in.kind == META_FILE && !(in.flags & META_F_ORPHAN);
	if (tell && (in.flags & META_F_OBJECT) && !(in.flags & META_F_DIRTY))
		in.flags |= META_F_ATTR_LOCAL;
	in.ctime_ns = clock_now_ns();
	r = meta_inode_put(t, &in);
	return r || !tell ? r : job_attr(v->jobs, t, &in);
}

static errint_t set_user(struct vfs_call *c, bool remove)
{
	struct vfs *v = c->own.v;
	struct meta_txn *t;
	struct meta_inode in;
	errint_t r;

	if (!remove && !meta_has_room(v->conf.meta))
		return -ENOSPC;
	t = meta_begin(v->conf.meta);
	r = meta_inode_get(t, c->own.ino, &in);
	if (r == -ENOENT)
		r = -ESTALE;
	if (!r)
		r = remove ? meta_xattr_del(t, c->own.ino, c->own.name)
			   : meta_xattr_set(t, c->own.ino, c->own.name, c->own.mem, c->own.size,
				     (int)c->own.what);
	/* As where a file system keeps them in the inode: more than the object can have is not
	 * taken, rather than kept here alone. */
	if (!r && !remove && !strncmp(c->own.name, "user.", 5))
		r = job_attrs_fit(v->jobs, t, &in);
	if (!r)
		r = xattr_changed(v, t, c->own.ino);
	if (r) {
		meta_abort(t);
		return r;
	}
	return meta_commit(t);
}

static void run_setxattr(struct vfs_call *c)
{
	int r;

	if (call_held(c))
		return;
	r = strncmp(c->own.name, ASTRA, ASTRA_LEN) ? set_user(c, false) : set_astra(c);
	if (r != 1)
		call_done(c, r == -ENOENT ? -ESTALE : r);
}

void vfs_setxattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name, const void *p,
	size_t len, int flags)
{
	errint_t r = name_never(name);
	char *mem;

	call_begin(v, c, run_setxattr);
	if (!r && v->conf.ro)
		r = -EROFS;
	if (!r && len > META_XATTR_MAX)
		r = -E2BIG;
	mem = r ? NULL : malloc(len + 1);
	if (!r && !mem)
		r = -ENOMEM;
	if (r) {
		call_done(c, r);
		return;
	}
	if (len)
		memcpy(mem, p, len);
	mem[len] = '\0';
	c->own.mem = mem;
	c->own.ino = ino;
	c->own.size = len;
	c->own.what = (unsigned)flags;
	memcpy(c->own.name, name, strlen(name) + 1);
	run_setxattr(c);
}

/* A pin goes; what says how things are does not. Programs that copy are let off. */
static errint_t remove_astra(struct vfs_call *c)
{
	const struct attr *attr = attr_find(c->own.name + ASTRA_LEN);
	struct meta_inode in;
	errint_t r = row_get(c->own.v, c->own.ino, &in);

	if (r)
		return r == -ENOENT ? -ESTALE : r;
	if (xattr_by_copier(c))
		return 0;
	if (!attr || !(attr->on & attr_on(&in)))
		return -ENODATA;
	return attr->set == xattr_set_tier ? xattr_set_tier(c, "AUTO") : -EPERM;
}

void vfs_removexattr(struct vfs *v, struct vfs_call *c, uint64_t ino, const char *name)
{
	errint_t r = name_never(name);

	call_begin(v, c, run_never);
	if (!r && v->conf.ro)
		r = -EROFS;
	if (r) {
		call_done(c, r);
		return;
	}
	c->own.ino = ino;
	memcpy(c->own.name, name, strlen(name) + 1);
	call_done(c, strncmp(name, ASTRA, ASTRA_LEN) ? set_user(c, true) : remove_astra(c));
}
