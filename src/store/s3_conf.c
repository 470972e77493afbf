/* SPDX-License-Identifier: MIT */
/*
 * [remote NAME] type=s3. Keys of this type, each explained in astrafs.conf(5):
 *
 *	endpoint= (URL; else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS's)
 *addressing=auto|path|virtual  path_style=  dualstack=  ca_file= profile=  access_key_id= with
 *secret_access_key_file= or secret_access_key_env= session_token_env=  role_arn=  external_id=
 *role_session_name=  sts_endpoint=  anonymous= checksum=auto|crc64nvme|crc32c|md5|off
 *conditional=auto|yes|no  read_metadata= unsafe_transition= encryption=none|s3|kms|customer
 *kms_key_id=  customer_key_file= requester_pays=  restore_tier=Standard|Bulk|Expedited
 *
 * Secrets never stand in the configuration itself.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "aws_priv.h"
#include "remote.h"
#include "s3_priv.h"

static errint_t text(
	const struct section *s, const char *key, char *ret, size_t size, struct err *err)
{
	const struct conf_item *it = section_item(s, key);

	if (!it)
		return 0;
	if (strlen(it->value) >= size)
		return conf_err(it, err, "longer than %zu bytes", size - 1);
	memcpy(ret, it->value, strlen(it->value) + 1);
	return 0;
}

static errint_t word(const struct section *s, const char *key, const char *const *words,
	unsigned *ret, struct err *err)
{
	return section_word(s, key, words, ret, err);
}

static bool ends_in(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n > t && !strcmp(s + n - t, tail);
}

/* The section's; else as AWS's own tools find one. An empty one in a section is AWS's. */
static errint_t endpoint_read(const struct section *s, struct s3_conf *conf, struct err *err)
{
	static const char *const names[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"};
	const struct conf_item *it = section_item(s, "endpoint");
	const char *off = getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), *name = "", *v;
	struct err why;

	v = it ? it->value : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(names) && !it && !(v && *v); i++) {
		name = names[i];
		v = off && !strcasecmp(off, "true") ? NULL : getenv(name);
	}
	conf->aws = !v || !*v;
	if (conf->aws)
		return 0;
	if (net_url_parse(v, &conf->endpoint, &why))
		return it ? conf_err(it, err, "%s", why.msg)
			  : err_set(err, -EINVAL, ERR_FINAL, "%s: %s", name, why.msg);
	/* Private and other endpoints of AWS, but no host of whoever has such a name inside. */
	conf->aws =
		conf->endpoint.tls && (ends_in(conf->endpoint.host, ".amazonaws.com") ||
					      ends_in(conf->endpoint.host, ".amazonaws.com.cn"));
	return 0;
}

/* The remote's own, else as AWS's tools find it. */
static errint_t region_read(
	const struct section *s, struct s3_conf *conf, const char *own, struct err *err)
{
	static const char *const names[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
	const char *profile = section_value(s, "profile"), *v = NULL;
	struct aws_profile *p = NULL;
	errint_t r = 0;

	if (section_item(s, "region"))
		v = own;
	for (size_t i = 0; i < ARRAY_SIZE(names) && !(v && *v); i++)
		v = getenv(names[i]);
	if (!(v && *v)) {
		p = aws_profile_load();
		if (!profile)
			profile = getenv("AWS_PROFILE");
		v = p ? aws_profile_get(p, profile && *profile ? profile : "default", "region")
		      : NULL;
	}
	v = v && *v ? v : "us-east-1";
	if (strlen(v) >= sizeof(conf->region) ||
		strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(v))
		r = section_item(s, "region")
			    ? conf_err(section_item(s, "region"), err, "'%.40s' is no region", v)
			    : err_set(err, -EINVAL, ERR_FINAL, "'%.40s' is no AWS region", v);
	else
		memcpy(conf->region, v, strlen(v) + 1);
	if (p)
		aws_profile_done(p);
	return r;
}

/* 32 bytes, or their base64. */
static errint_t customer_key_read(const struct section *s, struct s3_conf *conf, struct err *err)
{
	const struct conf_item *it = section_item(s, "customer_key_file");
	cleanup_aws_text char *t = NULL;
	size_t n = 0;

	if (!it)
		return conf_err(section_any(s), err, "encryption=customer needs customer_key_file");
	t = aws_file(it->value);
	if (!t)
		return conf_err(it, err, "cannot read '%s': %s", it->value, strerror(errno));
	t[strcspn(t, "\r\n")] = 0;
	if (base64_decode(t, conf->customer_key, sizeof(conf->customer_key), &n) ||
		n != sizeof(conf->customer_key))
		return conf_err(it, err, "'%s' does not hold the base64 of 32 bytes", it->value);
	return 0;
}

static errint_t encryption_read(const struct section *s, struct s3_conf *conf, struct err *err)
{
	static const char *const words[] = {"none", "s3", "kms", "customer", NULL};
	unsigned v = S3_SSE_NONE;
	errint_t r = word(s, "encryption", words, &v, err);

	r = r ? r : text(s, "kms_key_id", conf->kms_key, sizeof(conf->kms_key), err);
	conf->sse = (enum s3_sse)v;
	if (!r && conf->kms_key[0] && conf->sse != S3_SSE_KMS)
		r = conf_err(section_item(s, "kms_key_id"), err, "only with encryption=kms");
	if (!r && conf->sse == S3_SSE_CUSTOMER)
		r = customer_key_read(s, conf, err);
	return r;
}

/* Where the bucket stands; path_style is what others call the one choice that is ever needed. */
static errint_t style_read(const struct section *s, struct s3_conf *conf, struct err *err)
{
	static const char *const styles[] = {"auto", "path", "virtual", NULL};
	const struct conf_item *item = section_item(s, "path_style");
	unsigned style = 0;
	bool path = false;
	errint_t r = word(s, "addressing", styles, &style, err);

	r = r ? r : section_flag(s, "path_style", &path, err);
	if (!r && item && section_item(s, "addressing"))
		r = conf_err(item, err, "addressing says it already");
	conf->style = path ? S3_STYLE_PATH : (enum s3_style)style;
	return r;
}

static errint_t choices_read(const struct section *s, struct s3_conf *conf, struct err *err)
{
	static const char *const sums[] = {"auto", "crc64nvme", "crc32c", "md5", "off", NULL};
	static const char *const conds[] = {"auto", "yes", "no", NULL};
	static const char *const tiers[] = {"Standard", "Bulk", "Expedited", NULL};
	unsigned sum = 0, cond = 0, payload = 0, tier = 0;
	errint_t r = style_read(s, conf, err);

	r = r ? r : word(s, "checksum", sums, &sum, err);
	r = r ? r : word(s, "conditional", conds, &cond, err);
	r = r ? r : word(s, "payload_signing", conds, &payload, err);
	r = r ? r : word(s, "restore_tier", tiers, &tier, err);
	r = r ? r : section_flag(s, "dualstack", &conf->dualstack, err);
	r = r ? r : section_flag(s, "requester_pays", &conf->requester_pays, err);
	r = r ? r : section_flag(s, "read_metadata", &conf->read_metadata, err);
	r = r ? r : section_flag(s, "unsafe_transition", &conf->unsafe_transition, err);
	conf->sum = (enum s3_sum)sum;
	conf->cond = (enum s3_cond)cond;
	conf->payload = (enum s3_payload)payload;
	snprintf(conf->restore_tier, sizeof(conf->restore_tier), "%s", tiers[tier]);
	return r;
}

/* What is said about credentials; those themselves are looked for when they are needed. */
static errint_t cred_read(
	const struct section *s, struct aws_cred_conf *c, bool *anonymous, struct err *err)
{
	const struct conf_item *id = section_item(s, "access_key_id");
	const struct conf_item *file = section_item(s, "secret_access_key_file");
	const struct conf_item *var = section_item(s, "secret_access_key_env");
	const char *token = section_value(s, "session_token_env");
	errint_t r = section_flag(s, "anonymous", anonymous, err);

	if (r)
		return r;
	if (id && !file == !var)
		return conf_err(
			id, err, "needs one of secret_access_key_file and secret_access_key_env");
	if (!id && (file || var))
		return conf_err(file ? file : var, err, "needs access_key_id");
	if (var && !getenv(var->value))
		return conf_err(
			var, err, "there is no variable '%s' in the environment", var->value);
	*c = (struct aws_cred_conf){.access_key_id = id ? id->value : NULL,
		.secret = var ? getenv(var->value) : NULL,
		.secret_file = file ? file->value : NULL,
		.token = token ? getenv(token) : NULL,
		.profile = section_value(s, "profile"),
		.role_arn = section_value(s, "role_arn"),
		.external_id = section_value(s, "external_id"),
		.session_name = section_value(s, "role_session_name"),
		.sts_endpoint = section_value(s, "sts_endpoint")};
	return 0;
}

static errint_t make(const struct section *s, const struct s3_conf *conf, struct aws_cred_conf *cc,
	bool anonymous, struct store **ret, struct err *err)
{
	const char *ca = section_value(s, "ca_file");
	struct net_conf nc = {.ca_file = ca ? ca : getenv("AWS_CA_BUNDLE")};
	struct net *net = net_new(&nc, err);
	struct aws_cred *cred = NULL;

	if (!net)
		return err->kind == ERR_FINAL ? -EINVAL : -ENOMEM;
	cc->region = conf->region;
	if (!anonymous) {
		cred = aws_cred_new(cc, net);
		if (!cred) {
			net_destroy(net);
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory");
		}
	}
	return store_s3_new(conf, net, cred, ret, err);
}

/* All endpoints of AWS show the same buckets. */
static void service_set(const struct net_url *u, struct remote *r)
{
	if (!ends_in(u->host, ".amazonaws.com") && !ends_in(u->host, ".amazonaws.com.cn"))
		(void)snprintf(r->service, sizeof(r->service), "%s", u->host);
}

static errint_t s3_make(const struct section *s, struct remote *r, const char *data_dir,
	struct store **ret, struct err *err)
{
	struct s3_conf conf = {0};
	struct aws_cred_conf cc = {0};
	bool anonymous = false;
	errint_t e;

	snprintf(conf.name, sizeof(conf.name), "%s", r->name);
	memcpy(conf.classes, r->classes, sizeof(conf.classes));
	e = endpoint_read(s, &conf, err);
	e = e ? e : region_read(s, &conf, r->region, err);
	e = e ? e : choices_read(s, &conf, err);
	e = e ? e : encryption_read(s, &conf, err);
	e = e ? e : cred_read(s, &cc, &anonymous, err);
	if (!e) {
		memcpy(r->region, conf.region, sizeof(r->region));
		service_set(&conf.endpoint, r);
		if (ret)
			e = make(s, &conf, &cc, anonymous, ret, err);
	}
	explicit_bzero(&conf, sizeof(conf));
	return e;
}

const struct remote_type remote_type_s3 = {
	.name = "s3",
	.keys = (const char *const[]){"endpoint", "addressing", "path_style", "dualstack",
		"ca_file", "profile", "access_key_id", "secret_access_key_file",
		"secret_access_key_env", "session_token_env", "role_arn", "external_id",
		"role_session_name", "sts_endpoint", "anonymous", "checksum", "conditional",
		"payload_signing", "read_metadata", "unsafe_transition", "encryption", "kms_key_id",
		"customer_key_file", "requester_pays", "restore_tier", NULL},
	.provider = "aws",
	.same_service = (const char *const[]){"endpoint", NULL},
	.same_account = (const char *const[]){"profile", "access_key_id", "role_arn", NULL},
	.real = true,
	.in_environment = aws_cred_in_environment,
	.make = s3_make,
};
