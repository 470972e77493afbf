/* SPDX-License-Identifier: MIT */
/*
 * Remotes: the sections [remote NAME] of the configuration, or what there is without any, as
 * stacks of stats -> retry -> limit -> [fault] -> driver. Everything here runs once, at the start.
 * A type of remote is a row of types[] (remote.h).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "layer.h"
#include "remote.h"

#define REMOTES_MAX	   64
#define MEM_BYTES_DEFAULT  (UINT64_C(1) << 30)
#define RETRIES_DEFAULT	   5
#define RETRY_NS_DEFAULT   (100 * NS_PER_MS)
#define REQUESTS_DEFAULT   64 /* of one that is near */
#define RESTORE_COLD_NS	   (3 * NS_PER_S)
#define RESTORE_ARCHIVE_NS (5 * NS_PER_S)

/* ---- types and their keys ---- */

static const struct remote_type type_local, type_mem;

static const struct remote_type *const types[] = {
	&type_local, &type_mem, &remote_type_s3, &remote_type_gcs, &remote_type_azure};

/* Of every type. */
static const char *const common_keys[] = {"type", "provider", "bucket", "prefix", "region",
	"class.HOT", "class.WARM", "class.COLD", "class.ARCHIVE", "offline", "restore_delay",
	"restore_delay.HOT", "restore_delay.WARM", "restore_delay.COLD", "restore_delay.ARCHIVE",
	"create_bucket", "retries", "retry_delay", "max_requests", "bandwidth",
	"requests_per_second", "fault"};

#define KEYS_MAX 96 /* common ones and those of a type */

struct section {
	const struct conf *conf;
	char name[64];
	const struct conf_item *any; /* its first item */
	const struct remote_type *type;
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

/* ---- sections ---- */

/* The name behind "remote", or NULL. */
static const char *section_name(const char *section)
{
	if (strncmp(section, "remote", 6) != 0 || (section[6] && section[6] != ' '))
		return NULL;
	return section + 6 + strspn(section + 6, " ");
}

const struct conf_item *section_item(const struct section *s, const char *key)
{
	for (size_t i = conf_count(s->conf); i--;) {
		const struct conf_item *it = conf_at(s->conf, i);
		const char *name = section_name(it->section);

		if (name && !strcmp(name, s->name) && !strcmp(it->key, key))
			return it;
	}
	return NULL;
}

const struct conf_item *section_any(const struct section *s)
{
	return s->any;
}

const char *section_value(const struct section *s, const char *key)
{
	const struct conf_item *it = section_item(s, key);

	return it ? it->value : NULL;
}

errint_t section_flag(const struct section *s, const char *key, bool *ret, struct err *err)
{
	const struct conf_item *it = section_item(s, key);

	return it ? conf_bool(it, ret, err) : 0;
}

errint_t section_size(const struct section *s, const char *key, uint64_t *ret, struct err *err)
{
	const struct conf_item *it = section_item(s, key);

	return it ? conf_size(it, ret, err) : 0;
}

errint_t section_duration(const struct section *s, const char *key, int64_t *ret, struct err *err)
{
	const struct conf_item *it = section_item(s, key);

	return it ? conf_duration(it, ret, err) : 0;
}

errint_t section_word(const struct section *s, const char *key, const char *const *words,
	unsigned *ret, struct err *err)
{
	const struct conf_item *it = section_item(s, key);
	char all[200] = "";
	size_t n = 0;

	for (unsigned i = 0; it && words[i]; i++) {
		if (!strcmp(it->value, words[i])) {
			*ret = i;
			return 0;
		}
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "", words[i]);
		n = MIN_OF(n, sizeof(all) - 1);
	}
	return it ? conf_err(it, err, "'%s' is not known; allowed: %s", it->value, all) : 0;
}

static errint_t name_check(const struct conf_item *it, const char *name, struct err *err)
{
	if (!name[0] || name[0] == '.' || strchr(name, '/') || strlen(name) > 63)
		return conf_err(it, err,
			"'%s' cannot name a remote: up to 63 bytes, no '/', not starting with '.'",
			name);
	return 0;
}

static errint_t type_find(struct section *s, struct err *err)
{
	const struct conf_item *it = section_item(s, "type");
	char all[200] = "";
	size_t n = 0;

	s->type = types[0];
	for (unsigned i = 0; it && i < ARRAY_SIZE(types); i++) {
		if (!strcmp(types[i]->name, it->value)) {
			s->type = types[i];
			return 0;
		}
		n += (size_t)snprintf(
			all + n, sizeof(all) - n, "%s%s", i ? ", " : "", types[i]->name);
		n = MIN_OF(n, sizeof(all) - 1);
	}
	return it ? conf_err(it, err, "no such type; allowed: %s", all) : 0;
}

static errint_t keys_check(const struct section *s, struct err *err)
{
	const char *known[KEYS_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(common_keys); i++)
		known[n++] = common_keys[i];
	for (unsigned i = 0; s->type->keys[i]; i++) {
		assert(n < KEYS_MAX);
		known[n++] = s->type->keys[i];
	}
	for (size_t i = 0; i < conf_count(s->conf); i++) {
		const struct conf_item *it = conf_at(s->conf, i);
		const char *name = section_name(it->section), *near;
		size_t k = 0;

		if (!name || strcmp(name, s->name) != 0 || !*it->key) /* or its header */
			continue;
		while (k < n && strcmp(known[k], it->key) != 0)
			k++;
		if (k < n)
			continue;
		near = nearest_name(it->key, known, n);
		return conf_err(it, err, "unknown key of a remote of type %s%s%s%s", s->type->name,
			near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	}
	return 0;
}

static errint_t sections_read(
	const struct conf *c, struct section *ret, size_t *ret_n, struct err *err)
{
	errint_t r = 0;

	*ret_n = 0;
	for (size_t i = 0; i < conf_count(c); i++) {
		const struct conf_item *it = conf_at(c, i);
		const char *name = section_name(it->section);
		struct section *s = NULL;

		if (!name)
			continue;
		r = name_check(it, name, err);
		if (r)
			return r;
		for (size_t n = 0; n < *ret_n; n++)
			if (!strcmp(ret[n].name, name))
				s = &ret[n];
		if (s)
			continue;
		if (*ret_n == REMOTES_MAX)
			return conf_err(it, err, "more than %d remotes", REMOTES_MAX);
		s = &ret[(*ret_n)++];
		*s = (struct section){.conf = c, .any = it};
		snprintf(s->name, sizeof(s->name), "%s", name);
	}
	for (size_t n = 0; n < *ret_n && !r; n++) {
		r = type_find(&ret[n], err);
		r = r ? r : keys_check(&ret[n], err);
	}
	return r;
}

/* ---- one remote ---- */

static errint_t text(
	const struct section *s, const char *key, char *ret, size_t size, struct err *err)
{
	const char *v = section_value(s, key);

	if (!v)
		return 0;
	if (strlen(v) >= size)
		return conf_err(section_item(s, key), err, "longer than %zu bytes", size - 1);
	memcpy(ret, v, strlen(v) + 1);
	return 0;
}

static errint_t classes_read(const struct section *s, struct remote *r, struct err *err)
{
	errint_t e = 0;

	for (unsigned i = 0; i < TIER_N && !e; i++) {
		char key[32];

		snprintf(key, sizeof(key), "class.%s", tier_name(i));
		e = text(s, key, r->classes[i].name, sizeof(r->classes[i].name), err);
	}
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
		char key[40];

		snprintf(key, sizeof(key), "restore_delay.%s", tier_name(i));
		e = section_duration(s, "restore_delay", d, err);
		e = e ? e : section_duration(s, key, d, err);
	}
	return e;
}

static errint_t offline_read(const struct section *s, struct remote *r, struct err *err)
{
	const struct conf_item *it = section_item(s, "offline");
	const char *v = it ? it->value : NULL;

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
			return conf_err(it, err, "'%.*s' is no class of it",
				(int)MIN_OF(len, (size_t)40), v);
		v += len + (v[len] != 0);
	}
	if (r->classes[TIER_HOT].offline)
		return conf_err(it, err, "the class of HOT cannot be offline");
	return 0;
}

/* What a section says of the layers, read before anything is made of it. */
struct plan {
	const struct conf_item *fault; /* or NULL */
	struct store_retry_conf retry;
	struct store_limit_conf limit;
};

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
	const struct conf_item *it;
	uint64_t n = 0;
	errint_t e = 0;

	p->retry = (struct store_retry_conf){RETRIES_DEFAULT, RETRY_NS_DEFAULT};
	p->limit = (struct store_limit_conf){.adapts = s->type->real,
		.max_requests = s->type->real ? STORE_REQUESTS_MOST : REQUESTS_DEFAULT};
	snprintf(p->limit.name, sizeof(p->limit.name), "%s", s->name);
	p->fault = section_item(s, "fault");
	if ((it = section_item(s, "retries"))) {
		e = conf_u64(it, 0, 100, &n, err);
		p->retry.retries = e ? 0 : (unsigned)n;
	}
	e = e ? e : section_duration(s, "retry_delay", &p->retry.delay_ns, err);
	if (!e && (it = section_item(s, "max_requests"))) {
		e = conf_u64(it, 0, 100000, &n, err);
		p->limit.max_requests = e ? 0 : (unsigned)n;
	}
	if (!e && (it = section_item(s, "requests_per_second")))
		e = conf_u64(it, 0, 1000000, &p->limit.requests_per_second, err);
	e = e ? e : section_size(s, "bandwidth", &p->limit.bandwidth, err);
	return e || !p->fault ? e : fault_check(p->fault, err);
}

static errint_t local_make(const struct section *s, struct remote *r, const char *data_dir,
	struct store **ret, struct err *err)
{
	char root[STORE_ROOT_MAX];
	struct store_local_conf conf = {.root = root, .sync = true, .verify = true};
	errint_t e;

	memcpy(conf.classes, r->classes, sizeof(conf.classes));
	e = section_flag(s, "sync", &conf.sync, err);
	e = e ? e : section_flag(s, "verify", &conf.verify, err);
	e = e ? e : remote_root(s, r->name, data_dir, root, sizeof(root), err);
	return e || !ret ? e : store_local_new(&conf, ret, err);
}

static errint_t mem_make(const struct section *s, struct remote *r, const char *data_dir,
	struct store **ret, struct err *err)
{
	struct store_mem_conf conf = {.max_bytes = MEM_BYTES_DEFAULT};
	errint_t e = section_size(s, "max_bytes", &conf.max_bytes, err);

	e = e ? e : section_flag(s, "renames", &conf.renames, err);
	if (e || !ret)
		return e;
	memcpy(conf.classes, r->classes, sizeof(conf.classes));
	*ret = store_mem_new(&conf);
	return *ret ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static const struct remote_type type_local = {
	.name = "local",
	.keys = (const char *const[]){"path", "sync", "verify", NULL},
	.on_disk = true,
	.make = local_make,
};
static const struct remote_type type_mem = {
	.name = "mem",
	.keys = (const char *const[]){"max_bytes", "renames", NULL},
	.make = mem_make,
};

static errint_t stack_make(const struct plan *p, struct store **st, struct err *err)
{
	if (p->fault)
		*st = store_fault_new(*st, p->fault->value, err);
	if (*st)
		*st = store_limit_new(*st, &p->limit);
	if (*st)
		*st = store_retry_new(*st, &p->retry);
	if (*st)
		*st = store_stats_new(*st);
	return *st ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

/* Embedded clouds have the bucket that they are told; others only when asked for it: it may cost,
 * and a cloud that is down must not keep the mount from starting. */
static errint_t bucket_ready(const struct section *s, struct remote *r, struct err *err)
{
	bool make = !r->real;
	struct err own;
	errint_t e = section_flag(s, "create_bucket", &make, err);

	if (e || !r->bucket[0] || !make)
		return e;
	e = store_bucket_create(r->st, NULL, r->bucket, &own);
	if (!e || e == -EEXIST)
		return 0;
	if (err)
		*err = own;
	return err_wrap(err, e, "remote '%s': cannot make the bucket '%s'", r->name, r->bucket);
}

static errint_t bucket_read(const struct section *s, struct remote *r, struct err *err)
{
	errint_t e = text(s, "bucket", r->bucket, sizeof(r->bucket), err);

	if (e || (r->bucket[0] != '.' && !strchr(r->bucket, '/')))
		return e;
	return conf_err(section_item(s, "bucket"), err,
		"'%s' cannot be a bucket; allowed: one name, without '/' and not starting with "
		"'.' (prefix= shows a part of a bucket)",
		r->bucket);
}

static errint_t prefix_mend(const struct section *s, struct remote *r, struct err *err)
{
	size_t n = strlen(r->prefix);

	if (!n || r->prefix[n - 1] == '/')
		return 0;
	if (n + 1 >= sizeof(r->prefix))
		return conf_err(section_item(s, "prefix"), err, "too long");
	memcpy(r->prefix + n, "/", 2);
	return 0;
}

/* Fills all of r but its store. */
static errint_t remote_read(const struct section *s, const char *data_dir, struct remote *r,
	struct plan *plan, struct err *err)
{
	const char *want = section_value(s, "provider");
	const struct provider *p = NULL;
	bool flag;
	errint_t e;

	if (!want)
		want = s->type->provider ? s->type->provider : "local";
	for (unsigned i = 0; i < ARRAY_SIZE(providers); i++)
		if (!strcmp(providers[i].name, want))
			p = &providers[i];
	if (!p)
		return conf_err(section_item(s, "provider"), err,
			"no such provider; allowed: aws, gcp, azure, local");
	snprintf(r->name, sizeof(r->name), "%s", s->name);
	snprintf(r->provider, sizeof(r->provider), "%s", p->name);
	snprintf(r->region, sizeof(r->region), "%s", p->region);
	r->real = s->type->real;
	provider_classes(p, r->classes);
	e = classes_read(s, r, err);
	e = e ? e : offline_read(s, r, err);
	e = e ? e : text(s, "region", r->region, sizeof(r->region), err);
	e = e ? e : bucket_read(s, r, err);
	e = e ? e : text(s, "prefix", r->prefix, sizeof(r->prefix), err);
	e = e ? e : prefix_mend(s, r, err);
	e = e ? e : section_flag(s, "create_bucket", &flag, err);
	e = e ? e : stack_read(s, plan, err);
	e = e ? e : s->type->make(s, r, data_dir, NULL, err);
	return e;
}

static errint_t remote_make(
	const struct section *s, const char *data_dir, struct remote *r, struct err *err)
{
	struct plan plan = {0};
	errint_t e = remote_read(s, data_dir, r, &plan, err);

	if (e)
		return e;
	e = s->type->make(s, r, data_dir, &r->st, err);
	if (e)
		return err_wrap(err, e, "remote '%s'", s->name);
	e = stack_make(&plan, &r->st, err);
	e = e ? e : bucket_ready(s, r, err);
	if (!e)
		store_caps(r->st, &r->caps);
	return e;
}

/* What there is when nothing is configured: for each provider the real cloud where the environment
 * has credentials for it, else an embedded one. */
static struct conf *unconfigured(void)
{
	struct conf *c = conf_new();
	errint_t e = 0;

	for (unsigned i = 0; c && i < 3; i++) {
		const struct remote_type *real = NULL;
		char section[64];

		for (unsigned k = 0; k < ARRAY_SIZE(types); k++)
			if (types[k]->in_environment &&
				!strcmp(types[k]->provider, providers[i].name) &&
				types[k]->in_environment())
				real = types[k];
		snprintf(section, sizeof(section), "remote %s", providers[i].name);
		e = e ? e : conf_set(c, section, "provider", providers[i].name);
		e = e ? e
		      : conf_set(c, section, real ? "type" : "bucket",
				real ? real->name : providers[i].embedded_bucket);
	}
	return c && e ? conf_destroy(c) : c;
}

/* Each by itself, and that no two show the same objects. */
static errint_t sections_check(
	const struct section *sections, size_t n, const char *data_dir, struct err *err)
{
	cleanup_free struct remote_place *places = calloc(n + 1, sizeof(*places));
	cleanup_free struct remote *r = calloc(n + 1, sizeof(*r));
	errint_t e = places && r ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");

	for (size_t i = 0; i < n && !e; i++) {
		struct plan plan = {0};

		e = remote_read(&sections[i], data_dir, &r[i], &plan, err);
		places[i] = (struct remote_place){&sections[i], sections[i].type, &r[i]};
	}
	return e ? e : remotes_apart(places, n, data_dir, err);
}

errint_t remotes_conf_check(const struct conf *c, struct err *err)
{
	cleanup_free struct section *sections = calloc(REMOTES_MAX, sizeof(*sections));
	size_t n = 0;
	errint_t e;

	if (!sections)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	e = sections_read(c, sections, &n, err);
	return e ? e : sections_check(sections, n, "/", err);
}

static errint_t build_all(const struct section *sections, size_t n, const char *data_dir,
	struct remote **ret, size_t *ret_n, struct err *err)
{
	struct remote *v = calloc(n, sizeof(*v));
	errint_t e = 0;

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

/* The sections of c; when it has none, those of *ret_none, which the caller destroys after them. */
static errint_t sections_find(const struct conf *c, struct section *sections, size_t *ret_n,
	struct conf **ret_none, struct err *err)
{
	errint_t e = c ? sections_read(c, sections, ret_n, err) : 0;

	if (e || *ret_n)
		return e;
	*ret_none = unconfigured();
	return *ret_none ? sections_read(*ret_none, sections, ret_n, err)
			 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t section_ident(const struct section *s, const char *data_dir, const char *home,
	struct remote_ident *ret, struct err *err)
{
	cleanup_free struct remote *r = calloc(1, sizeof(*r));
	const struct remote_place place = {s, s->type, r};
	struct plan plan = {0};
	errint_t e = r ? remote_read(s, data_dir, r, &plan, err)
		       : err_set(err, -ENOMEM, ERR_RETRY, "no memory");

	return e ? e : remote_ident(&place, data_dir, home, ret, err);
}

errint_t remotes_conf_ident(const struct conf *c, const char *data_dir, const char *home,
	struct remote_ident **ret, size_t *ret_n, struct err *err)
{
	cleanup_free struct section *sections = calloc(REMOTES_MAX, sizeof(*sections));
	cleanup_free struct remote_ident *v = NULL;
	struct conf *none = NULL;
	size_t n = 0;
	errint_t e;

	*ret = NULL;
	*ret_n = 0;
	if (!sections)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	e = sections_find(c, sections, &n, &none, err);
	if (!e) {
		v = calloc(n, sizeof(*v));
		e = v ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
	}
	for (size_t i = 0; !e && i < n; i++)
		e = section_ident(&sections[i], data_dir, home, &v[i], err);
	conf_destroy(none);
	if (e)
		return e;
	*ret = steal_ptr(&v);
	*ret_n = n;
	return 0;
}

errint_t remotes_build(const struct conf *c, const char *data_dir, struct remote **ret,
	size_t *ret_n, struct err *err)
{
	cleanup_free struct section *sections = calloc(REMOTES_MAX, sizeof(*sections));
	struct conf *none = NULL;
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
	e = sections_find(c, sections, &n, &none, err);
	e = e ? e : sections_check(sections, n, data_dir, err);
	e = e ? e : build_all(sections, n, data_dir, ret, ret_n, err);
	conf_destroy(none);
	return e;
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
