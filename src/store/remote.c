/* SPDX-License-Identifier: MIT */
/*
 * Remotes: the sections [remote NAME] of the configuration, or the three embedded clouds, as
 * stacks of stats -> retry -> limit -> [fault] -> driver. Everything here runs once, at the start.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "layer.h"

#define REMOTES_MAX	   64
#define MEM_BYTES_DEFAULT  (UINT64_C(1) << 30)
#define RETRIES_DEFAULT	   5
#define RETRY_NS_DEFAULT   (100 * NS_PER_MS)
#define REQUESTS_DEFAULT   64
#define RESTORE_COLD_NS	   (3 * NS_PER_S)
#define RESTORE_ARCHIVE_NS (5 * NS_PER_S)

/* ---- keys of a section ---- */

/* clang-format off */
#define REMOTE_KEYS(X)                                                                             \
	X(type, "type") X(provider, "provider") X(bucket, "bucket") X(prefix, "prefix")            \
	X(region, "region") X(path, "path")                                                        \
	X(class_hot, "class.HOT") X(class_warm, "class.WARM")                                      \
	X(class_cold, "class.COLD") X(class_archive, "class.ARCHIVE")                              \
	X(offline, "offline") X(restore_delay, "restore_delay")                                    \
	X(delay_hot, "restore_delay.HOT") X(delay_warm, "restore_delay.WARM")                      \
	X(delay_cold, "restore_delay.COLD") X(delay_archive, "restore_delay.ARCHIVE")              \
	X(verify, "verify") X(sync, "sync") X(max_bytes, "max_bytes")                              \
	X(retries, "retries") X(retry_delay, "retry_delay")                                        \
	X(max_requests, "max_requests") X(bandwidth, "bandwidth")                                  \
	X(requests_per_second, "requests_per_second") X(fault, "fault")
/* clang-format on */

enum key {
#define X(id, name) K_##id,
	REMOTE_KEYS(X)
#undef X
		K_N
};

static const char *const key_names[K_N] = {
#define X(id, name) name,
	REMOTE_KEYS(X)
#undef X
};

struct section { /* one remote's values, the last of each key */
	char name[64];
	const struct conf_item *item[K_N];
	const struct conf_item *any; /* to say where it is */
};

/* ---- providers ---- */

struct provider {
	const char *name, *region, *embedded_bucket;
	struct {
		const char *name;
		bool offline;
	} classes[TIER_N];
};

static const struct provider providers[] = {
	{"aws", "us-east-1", "astra-aws",
		{{"STANDARD", false}, {"STANDARD_IA", false}, {"GLACIER", true},
			{"DEEP_ARCHIVE", true}}},
	{"gcp", "us-central1", "astra-gcp",
		{{"STANDARD", false}, {"NEARLINE", false}, {"COLDLINE", false},
			{"ARCHIVE", false}}},
	{"azure", "eastus", "astra-azure",
		{{"Hot", false}, {"Cool", false}, {"Cold", false}, {"Archive", true}}},
	{"local", "", "astra-local",
		{{"HOT", false}, {"WARM", false}, {"COLD", false}, {"ARCHIVE", false}}},
};

static void provider_classes(const struct provider *p, struct remote_class cl[TIER_N])
{
	for (unsigned i = 0; i < TIER_N; i++) {
		cl[i] = (struct remote_class){.offline = p->classes[i].offline,
			.restore_delay_ns =
				i == TIER_ARCHIVE ? RESTORE_ARCHIVE_NS : RESTORE_COLD_NS};
		snprintf(cl[i].name, sizeof(cl[i].name), "%s", p->classes[i].name);
	}
}

/* ---- reading a section ---- */

static errint_t name_check(const struct conf_item *it, const char *name, struct err *err)
{
	if (!name[0] || name[0] == '.' || strchr(name, '/') || strlen(name) > 63)
		return conf_err(it, err,
			"'%s' cannot name a remote: up to 63 bytes, no '/', not starting with '.'",
			name);
	return 0;
}

static errint_t key_find(const struct conf_item *it, enum key *ret, struct err *err)
{
	const char *near;

	for (unsigned i = 0; i < K_N; i++) {
		if (!strcmp(it->key, key_names[i])) {
			*ret = i;
			return 0;
		}
	}
	near = nearest_name(it->key, key_names, K_N);
	if (near)
		return conf_err(it, err, "unknown key; did you mean '%s'?", near);
	return conf_err(it, err, "unknown key of a remote");
}

static errint_t sections_read(
	const struct conf *c, struct section *ret, size_t *ret_n, struct err *err)
{
	*ret_n = 0;
	for (size_t i = 0; i < conf_count(c); i++) {
		const struct conf_item *it = conf_at(c, i);
		struct section *s = NULL;
		const char *name;
		enum key k = 0;
		errint_t r;

		if (strncmp(it->section, "remote", 6) || (it->section[6] && it->section[6] != ' '))
			continue;
		name = it->section + 6 + strspn(it->section + 6, " ");
		r = name_check(it, name, err);
		if (!r && *it->key)
			r = key_find(it, &k, err);
		if (r)
			return r;
		for (size_t n = 0; n < *ret_n; n++)
			if (!strcmp(ret[n].name, name))
				s = &ret[n];
		if (!s) {
			if (*ret_n == REMOTES_MAX)
				return conf_err(it, err, "more than %d remotes", REMOTES_MAX);
			s = &ret[(*ret_n)++];
			snprintf(s->name, sizeof(s->name), "%s", name);
		}
		s->any = it;
		if (*it->key)
			s->item[k] = it;
	}
	return 0;
}

/* ---- one remote ---- */

static const char *value(const struct section *s, enum key k)
{
	return s->item[k] ? s->item[k]->value : NULL;
}

static errint_t text(const struct section *s, enum key k, char *ret, size_t size, struct err *err)
{
	const char *v = value(s, k);

	if (!v)
		return 0;
	if (strlen(v) >= size)
		return conf_err(s->item[k], err, "longer than %zu bytes", size - 1);
	memcpy(ret, v, strlen(v) + 1);
	return 0;
}

static errint_t classes_read(const struct section *s, struct remote *r, struct err *err)
{
	errint_t e = 0;

	for (unsigned i = 0; i < TIER_N && !e; i++)
		e = text(s, K_class_hot + i, r->classes[i].name, sizeof(r->classes[i].name), err);
	if (!e && !r->classes[TIER_HOT].name[0])
		return conf_err(s->any, err, "a remote needs a class for HOT");
	for (unsigned i = 1; i < TIER_N && !e; i++)
		for (unsigned k = 0; k < i; k++)
			if (r->classes[i].name[0] &&
				!strcmp(r->classes[i].name, r->classes[k].name))
				return conf_err(s->any, err, "class '%s' stands for two tiers",
					r->classes[i].name);
	for (unsigned i = 0; i < TIER_N && !e; i++) {
		int64_t *d = &r->classes[i].restore_delay_ns;

		if (s->item[K_restore_delay])
			e = conf_duration(s->item[K_restore_delay], d, err);
		if (!e && s->item[K_delay_hot + i])
			e = conf_duration(s->item[K_delay_hot + i], d, err);
	}
	return e;
}

static errint_t offline_read(const struct section *s, struct remote *r, struct err *err)
{
	const char *v = value(s, K_offline);

	if (!v)
		return 0;
	for (unsigned i = 0; i < TIER_N; i++)
		r->classes[i].offline = false;
	while (*v) {
		size_t len = strcspn(v, ", ");
		bool found = !len;

		for (unsigned i = 0; i < TIER_N && len; i++) {
			if (strlen(r->classes[i].name) == len &&
				!memcmp(r->classes[i].name, v, len))
				found = r->classes[i].offline = true;
		}
		if (!found)
			return conf_err(s->item[K_offline], err, "'%.*s' is no class of it",
				(int)MIN_OF(len, (size_t)40), v);
		v += len + (v[len] != 0);
	}
	if (r->classes[TIER_HOT].offline)
		return conf_err(s->item[K_offline], err, "the class of HOT cannot be offline");
	return 0;
}

static errint_t flag(const struct section *s, enum key k, bool fallback, bool *ret, struct err *err)
{
	*ret = fallback;
	return s->item[k] ? conf_bool(s->item[k], ret, err) : 0;
}

/* An absolute path: as given, below data_dir, or data_dir/NAME. */
static errint_t root_path(
	const struct section *s, const char *data_dir, char *ret, size_t size, struct err *err)
{
	const char *v = value(s, K_path);
	char cwd[2048] = "";
	int n;

	if (v && v[0] == '/') {
		n = snprintf(ret, size, "%s", v);
	} else {
		if (!data_dir || !data_dir[0])
			return err_set(err, -EINVAL, ERR_FINAL,
				"remote '%s' has no path and there is no data directory", s->name);
		if (data_dir[0] != '/' && !getcwd(cwd, sizeof(cwd)))
			return err_set(err, -errno, ERR_FINAL, "cannot tell the directory: %s",
				strerror(errno));
		n = snprintf(ret, size, "%s%s%s/%s", cwd, cwd[0] ? "/" : "", data_dir,
			v && v[0] ? v : s->name);
	}
	if (n < 0 || (size_t)n >= size)
		return err_set(
			err, -ENAMETOOLONG, ERR_FINAL, "remote '%s': path too long", s->name);
	while (n > 1 && ret[n - 1] == '/')
		ret[--n] = 0;
	return 0;
}

/* What a section says, read before anything is made of it. */
struct plan {
	bool mem, sync, verify;
	uint64_t max_bytes;
	char root[2048 + 1024];
	struct store_retry_conf retry;
	struct store_limit_conf limit;
};

static errint_t driver_read(
	const struct section *s, const char *data_dir, struct plan *p, struct err *err)
{
	const char *type = value(s, K_type) ? value(s, K_type) : "local";
	errint_t e;

	p->mem = !strcmp(type, "mem");
	p->max_bytes = MEM_BYTES_DEFAULT;
	if (!p->mem && strcmp(type, "local") != 0)
		return conf_err(s->item[K_type], err, "no such type; allowed: local, mem");
	e = s->item[K_max_bytes] ? conf_size(s->item[K_max_bytes], &p->max_bytes, err) : 0;
	e = e ? e : flag(s, K_sync, true, &p->sync, err);
	e = e ? e : flag(s, K_verify, true, &p->verify, err);
	if (!e && !p->mem)
		e = root_path(s, data_dir, p->root, sizeof(p->root), err);
	return e;
}

/* The rules of a fault layer are read by making one. */
static errint_t fault_check(const struct conf_item *it, struct err *err)
{
	struct store_mem_conf conf = {.max_bytes = 1};
	struct store *st = store_mem_new(&conf);
	struct err why = {0};

	if (!st)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	st = store_fault_new(st, it->value, &why);
	if (!st)
		return conf_err(it, err, "%s", *why.msg ? why.msg : "bad rules");
	store_destroy(st);
	return 0;
}

static errint_t stack_read(const struct section *s, struct plan *p, struct err *err)
{
	uint64_t n = 0;
	errint_t e = 0;

	p->retry = (struct store_retry_conf){RETRIES_DEFAULT, RETRY_NS_DEFAULT};
	p->limit = (struct store_limit_conf){.max_requests = REQUESTS_DEFAULT};
	if (s->item[K_retries]) {
		e = conf_u64(s->item[K_retries], 0, 100, &n, err);
		p->retry.retries = e ? 0 : (unsigned)n;
	}
	if (!e && s->item[K_retry_delay])
		e = conf_duration(s->item[K_retry_delay], &p->retry.delay_ns, err);
	if (!e && s->item[K_max_requests]) {
		e = conf_u64(s->item[K_max_requests], 0, 100000, &n, err);
		p->limit.max_requests = e ? 0 : (unsigned)n;
	}
	if (!e && s->item[K_requests_per_second])
		e = conf_u64(s->item[K_requests_per_second], 0, 1000000,
			&p->limit.requests_per_second, err);
	if (!e && s->item[K_bandwidth])
		e = conf_size(s->item[K_bandwidth], &p->limit.bandwidth, err);
	if (!e && s->item[K_fault])
		e = fault_check(s->item[K_fault], err);
	return e;
}

static errint_t driver_make(
	const struct section *s, const struct plan *p, struct remote *r, struct err *err)
{
	errint_t e;

	if (p->mem) {
		struct store_mem_conf conf = {.max_bytes = p->max_bytes};

		memcpy(conf.classes, r->classes, sizeof(conf.classes));
		r->st = store_mem_new(&conf);
		return r->st ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	struct store_local_conf conf = {.root = p->root, .sync = p->sync, .verify = p->verify};

	memcpy(conf.classes, r->classes, sizeof(conf.classes));
	e = store_local_new(&conf, &r->st, err);
	return e ? err_wrap(err, e, "remote '%s'", s->name) : 0;
}

static errint_t stack_make(
	const struct section *s, const struct plan *p, struct store **st, struct err *err)
{
	if (s->item[K_fault])
		*st = store_fault_new(*st, s->item[K_fault]->value, err);
	if (*st)
		*st = store_limit_new(*st, &p->limit);
	if (*st)
		*st = store_retry_new(*st, &p->retry);
	if (*st)
		*st = store_stats_new(*st);
	return *st ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t bucket_ready(struct remote *r, struct err *err)
{
	struct err own;
	errint_t e;

	if (!r->bucket[0])
		return 0;
	e = store_bucket_create(r->st, NULL, r->bucket, &own);
	if (!e || e == -EEXIST)
		return 0;
	if (err)
		*err = own;
	return err_wrap(err, e, "remote '%s': cannot make the bucket '%s'", r->name, r->bucket);
}

static errint_t prefix_mend(const struct section *s, struct remote *r, struct err *err)
{
	size_t n = strlen(r->prefix);

	if (!n || r->prefix[n - 1] == '/')
		return 0;
	if (n + 1 >= sizeof(r->prefix))
		return conf_err(s->item[K_prefix], err, "too long");
	memcpy(r->prefix + n, "/", 2);
	return 0;
}

/* Fills all of r but its store. */
static errint_t remote_read(const struct section *s, const char *data_dir, struct remote *r,
	struct plan *plan, struct err *err)
{
	const char *want = value(s, K_provider) ? value(s, K_provider) : "local";
	const struct provider *p = NULL;
	errint_t e;

	for (unsigned i = 0; i < ARRAY_SIZE(providers); i++)
		if (!strcmp(providers[i].name, want))
			p = &providers[i];
	if (!p)
		return conf_err(s->item[K_provider], err,
			"no such provider; allowed: aws, gcp, azure, local");
	snprintf(r->name, sizeof(r->name), "%s", s->name);
	snprintf(r->provider, sizeof(r->provider), "%s", p->name);
	snprintf(r->region, sizeof(r->region), "%s", p->region);
	provider_classes(p, r->classes);
	e = classes_read(s, r, err);
	e = e ? e : offline_read(s, r, err);
	e = e ? e : text(s, K_region, r->region, sizeof(r->region), err);
	e = e ? e : text(s, K_bucket, r->bucket, sizeof(r->bucket), err);
	e = e ? e : text(s, K_prefix, r->prefix, sizeof(r->prefix), err);
	e = e ? e : prefix_mend(s, r, err);
	e = e ? e : driver_read(s, data_dir, plan, err);
	return e ? e : stack_read(s, plan, err);
}

static errint_t remote_make(
	const struct section *s, const char *data_dir, struct remote *r, struct err *err)
{
	struct plan plan = {0};
	errint_t e = remote_read(s, data_dir, r, &plan, err);

	e = e ? e : driver_make(s, &plan, r, err);
	e = e ? e : stack_make(s, &plan, &r->st, err);
	e = e ? e : bucket_ready(r, err);
	if (!e)
		store_caps(r->st, &r->caps);
	return e;
}

/* The clouds there are when none is configured, as sections with no line of a file. */
static size_t embedded_sections(struct section *ret, struct conf_item items[3][2])
{
	for (unsigned i = 0; i < 3; i++) {
		items[i][0] = (struct conf_item){"remote", "provider", providers[i].name, "", 0};
		items[i][1] =
			(struct conf_item){"remote", "bucket", providers[i].embedded_bucket, "", 0};
		snprintf(ret[i].name, sizeof(ret[i].name), "%s", providers[i].name);
		ret[i].item[K_provider] = ret[i].any = &items[i][0];
		ret[i].item[K_bucket] = &items[i][1];
	}
	return 3;
}

errint_t remotes_conf_check(const struct conf *c, struct err *err)
{
	cleanup_free struct section *sections = calloc(REMOTES_MAX, sizeof(*sections));
	cleanup_free struct remote *r = calloc(1, sizeof(*r));
	struct plan plan = {0};
	size_t n = 0;
	errint_t e;

	if (!sections || !r)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	e = sections_read(c, sections, &n, err);
	for (size_t i = 0; i < n && !e; i++)
		e = remote_read(&sections[i], "/", r, &plan, err);
	return e;
}

errint_t remotes_build(const struct conf *c, const char *data_dir, struct remote **ret,
	size_t *ret_n, struct err *err)
{
	cleanup_free struct section *sections = calloc(REMOTES_MAX, sizeof(*sections));
	struct conf_item embedded[3][2];
	struct remote *v;
	size_t n = 0;
	struct err own;
	errint_t e;

	assert(ret && ret_n);
	*ret = NULL;
	*ret_n = 0;
	err = err ? err : &own;
	err_clear(err);
	if (!sections)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	e = c ? sections_read(c, sections, &n, err) : 0;
	if (e)
		return e;
	if (!n)
		n = embedded_sections(sections, embedded);
	v = calloc(n, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	for (size_t i = 0; i < n && !e; i++) {
		v[i].id = (unsigned)i + 1;
		e = remote_make(&sections[i], data_dir, &v[i], err);
	}
	if (e) {
		remotes_destroy(v, n);
		return e;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

void remotes_destroy(struct remote *r, size_t n)
{
	for (size_t i = 0; r && i < n; i++)
		store_destroy(r[i].st);
	free(r);
}

/* ---- using a remote ---- */

enum tier remote_tier(const struct remote *r, const char *class_name, bool *ret_known)
{
	for (unsigned i = 0; i < TIER_N; i++) {
		if (r->classes[i].name[0] && !strcmp(r->classes[i].name, class_name)) {
			if (ret_known)
				*ret_known = true;
			return i;
		}
	}
	if (ret_known)
		*ret_known = false;
	return TIER_HOT;
}

errint_t remote_obj(const struct remote *r, const char *path, char *out, struct store_obj *ret)
{
	const char *bucket = r->bucket, *rest = path;
	size_t len = strlen(bucket), pre = strlen(r->prefix);

	if (!len) {
		bucket = path;
		len = strcspn(path, "/");
		rest = path[len] ? path + len + 1 : path + len;
	}
	if (len > STORE_BUCKET_MAX || pre + strlen(rest) > STORE_KEY_MAX)
		return -ENAMETOOLONG;
	memcpy(out, bucket, len);
	out[len] = 0;
	memcpy(out + len + 1, r->prefix, pre);
	memcpy(out + len + 1 + pre, rest, strlen(rest) + 1);
	*ret = (struct store_obj){out, out + len + 1};
	return 0;
}
