/* SPDX-License-Identifier: MIT */
/*
 * Buckets, and their life cycle rules. Rules are JSON in the form of AWS's own command line:
 * {"Rules": [{"ID": ..., "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Transitions": [...]}]}.
 * To XML and back it is the same names; lists are elements that repeat.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "astra/base_json.h"
#include "s3_priv.h"

#define RULES_MAX (1u << 20)
#define DEPTH_MAX 8

errint_t s3_bucket_create(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {.what = "bucket_create", .method = "PUT", .bucket = bucket, .c = c};
	cleanup_buf struct buf b = BUF_INIT(1000);

	if (strcmp(d->conf.region, "us-east-1") != 0) {
		(void)buf_addf(&b,
			"<CreateBucketConfiguration xmlns=\"" S3_XMLNS "\"><LocationConstraint>%s"
			"</LocationConstraint></CreateBucketConfiguration>",
			d->conf.region);
		q.body = b.p;
		q.body_len = b.len;
	}
	return s3_send_only(d, &q, err);
}

errint_t s3_bucket_remove(
	struct store *s, const struct store_call *c, const char *bucket, struct err *err)
{
	struct s3_req q = {.what = "bucket_remove", .method = "DELETE", .bucket = bucket, .c = c};

	return s3_send_only((struct s3 *)s, &q, err);
}

/* ---- life cycle ---- */

static const struct {
	const char *json, *xml;
} lists[] = {
	/* where the name of a list and of its elements differ */
	{"Rules", "Rule"},
	{"Transitions", "Transition"},
	{"NoncurrentVersionTransitions", "NoncurrentVersionTransition"},
	{"Tags", "Tag"},
};

static errint_t to_xml(const char *name, const json_t *j, unsigned depth, struct buf *b);

static errint_t object_to_xml(const json_t *j, unsigned depth, struct buf *b)
{
	const char *key;
	json_t *v;
	errint_t r = depth > DEPTH_MAX ? -EINVAL : 0;

	json_object_foreach ((json_t *)j, key, v) {
		const char *name = key;
		size_t i;
		json_t *e;

		for (i = 0; i < ARRAY_SIZE(lists); i++)
			if (!strcmp(lists[i].json, key) && json_is_array(v))
				name = lists[i].xml;
		if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") !=
				strlen(name) ||
			!*name)
			return -EINVAL;
		if (!json_is_array(v)) {
			r = r ? r : to_xml(name, v, depth, b);
			continue;
		}
		json_array_foreach (v, i, e)
			r = r ? r : to_xml(name, e, depth, b);
	}
	return r;
}

static errint_t to_xml(const char *name, const json_t *j, unsigned depth, struct buf *b)
{
	char number[32];
	errint_t r;

	switch (json_typeof(j)) {
	case JSON_OBJECT:
		(void)buf_addf(b, "<%s>", name);
		r = object_to_xml(j, depth + 1, b);
		(void)buf_addf(b, "</%s>", name);
		return r ? r : b->failed;
	case JSON_STRING:
		return xml_add(b, name, json_string_value(j));
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(j));
		return xml_add(b, name, number);
	case JSON_TRUE:
	case JSON_FALSE:
		return xml_add(b, name, json_is_true(j) ? "true" : "false");
	default:
		return -EINVAL;
	}
}

/* Numbers and truths are known by their names: XML has only text. */
static json_t *value_of(const char *name, const char *text)
{
	static const char *const numbers[] = {"Days", "NoncurrentDays", "DaysAfterInitiation",
		"NewerNoncurrentVersions", "ObjectSizeGreaterThan", "ObjectSizeLessThan"};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(numbers[i], name))
			return json_integer(strtoll(text, NULL, 10));
	if (!strcmp(name, "ExpiredObjectDeleteMarker"))
		return json_boolean(!strcmp(text, "true"));
	return json_text(text);
}

static json_t *to_json(const struct _xmlNode *node, unsigned depth)
{
	json_t *j = json_object();

	for (const struct _xmlNode *e = xml_child(node, NULL); e; e = xml_next(e, NULL)) {
		const char *name = xml_name(e), *text = xml_text(e), *list = NULL;
		bool leaf = text && !xml_child(e, NULL);
		json_t *v = depth > DEPTH_MAX ? NULL
			    : leaf && (*text || strcmp(name, "Filter") != 0)
				    ? value_of(name, text)
				    : to_json(e, depth + 1);

		for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
			if (!strcmp(lists[i].xml, name) &&
				(i < 3 || !strcmp(xml_name(node), "And")))
				list = lists[i].json;
		if (list) {
			json_t *a = json_object_get(j, list);

			if (!a && !json_object_set_new(j, list, json_array()))
				a = json_object_get(j, list);
			(void)json_array_append_new(a, v);
		} else {
			(void)json_object_set_new(j, name, v);
		}
	}
	return j;
}

errint_t s3_lifecycle_get(struct store *s, const struct store_call *c, const char *bucket,
	char **ret_json, struct err *err)
{
	struct s3 *d = (struct s3 *)s;
	struct s3_req q = {.what = "lifecycle_get", .method = "GET", .bucket = bucket, .c = c};
	cleanup_xml struct xml x = {0};
	cleanup_json json_t *j = NULL;
	struct net_answer a = {0};
	errint_t r;

	s3_param(&q, "lifecycle", "");
	r = s3_send(d, &q, &a, err);
	r = r ? r : s3_xml(d, &q, &a, "LifecycleConfiguration", &x, err);
	if (!r) {
		j = to_json(x.root, 0);
		*ret_json = j ? json_dumps(j, JSON_COMPACT) : NULL;
		if (!*ret_json)
			r = err_set(err, -ENOMEM, ERR_RETRY, "lifecycle_get: no memory");
	}
	net_answer_done(&a);
	s3_req_done(&q);
	return r;
}

errint_t s3_lifecycle_put(struct store *s, const struct store_call *c, const char *bucket,
	const char *json, struct err *err)
{
	struct s3_req q = {.what = "lifecycle_put", .method = "PUT", .bucket = bucket, .c = c};
	cleanup_buf struct buf b = BUF_INIT(RULES_MAX);
	cleanup_json json_t *j = NULL;
	char sum[BASE64_LEN(16) + 1];
	uint8_t hash[16];
	errint_t r = driver_lifecycle_check(json, err);

	if (r)
		return r;
	j = json_loads(json, 0, NULL);
	(void)buf_adds(&b, "<LifecycleConfiguration xmlns=\"" S3_XMLNS "\">");
	r = json_is_object(j) ? object_to_xml(j, 0, &b) : -EINVAL;
	(void)buf_adds(&b, "</LifecycleConfiguration>");
	r = r ? r : b.failed;
	if (r)
		return err_set(err, -EINVAL, ERR_FINAL,
			"life cycle rules: not in the form of 'aws s3api "
			"put-bucket-lifecycle-configuration'");
	s3_param(&q, "lifecycle", "");
	q.body = b.p;
	q.body_len = b.len;
	md5(b.p, b.len, hash);
	base64_encode(hash, sizeof(hash), sum);
	(void)net_field_add(&q.fields, "Content-MD5", sum);
	(void)net_field_add(&q.fields, "Content-Type", "application/xml");
	return s3_send_only((struct s3 *)s, &q, err);
}
