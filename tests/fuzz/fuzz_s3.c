/* SPDX-License-Identifier: MIT */
/*
 * Answers of S3 and of those who hand out AWS credentials. The input is an operation (one byte) and
 * what answers its requests (fuzz_net.h).
 */
#include "fuzz_net.h"

#include <errno.h>

#include "astra/base_cleanup.h"
#include "store/aws_priv.h"
#include "store/s3_priv.h"

static const struct store_obj key = {"bucket", "key"};

/* ---- operations ---- */

static void check_stat(errint_t r, struct store_stat *st)
{
	CHECK(r <= 0 && (r || (st->etag[0] && st->nmeta <= STORE_META_MAX)));
	store_stat_done(st);
}

static void get(struct store *s, uint8_t off)
{
	char b[64];
	size_t n;
	errint_t r =
		store_get(s, NULL, key, off & 1 ? "e" : NULL, off >> 1, b, sizeof(b), &n, NULL);

	CHECK(r || n <= sizeof(b));
}

static void list(struct store *s)
{
	struct store_page p;

	if (store_list(s, NULL, "bucket", "a", '/', "t", 100, &p, NULL))
		return;
	CHECK(p.n <= 100 && (!p.truncated || p.next[0]));
	for (size_t i = 0; i < p.n; i++) {
		CHECK(!strncmp(p.e[i].key, "a", 1) && strlen(p.e[i].key) <= STORE_KEY_MAX);
		CHECK(!i || strcmp(p.e[i - 1].key, p.e[i].key) < 0);
		CHECK(p.e[i].is_prefix || p.e[i].etag[0]);
	}
	store_page_done(&p);
}

static void uploads(struct store *s)
{
	struct store_upload *u;
	size_t n;

	if (!store_parts_pending(s, NULL, "bucket", &u, &n, NULL))
		free(u);
}

static void parts(struct store *s)
{
	struct store_part *p;
	size_t n;

	if (store_parts_list(s, NULL, key, "U", &p, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(p[i].number && p[i].etag[0] && (!i || p[i].number > p[i - 1].number));
	free(p);
}

static void buckets(struct store *s)
{
	char **names;
	size_t n;

	if (store_bucket_list(s, NULL, &names, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	static const char *const keys[] = {"a", "b\x01", "c"};
	struct store_part part = {.number = 1, .size = 1, .etag = "p"};
	struct store_copy copy = {.dst_if_match = more & 1 ? "e" : NULL, .write_mark = "1.1"};
	struct store_put put = {.if_match = more & 1 ? "e" : NULL};
	struct store_stat st = {0};
	char id[STORE_UPLOAD_MAX], *json;
	errint_t each[3];

	switch (op % 14) {
	case 0:
		check_stat(store_head(s, NULL, key, &st, NULL), &st);
		break;
	case 1:
		get(s, more);
		break;
	case 2:
		list(s);
		break;
	case 3:
		uploads(s);
		break;
	case 4:
		parts(s);
		break;
	case 5:
		buckets(s);
		break;
	case 6:
		check_stat(store_put(s, NULL, key, "x", 1, &put, &st, NULL), &st);
		break;
	case 7:
		check_stat(
			store_copy(s, NULL, key, (struct store_obj){"b", "to"}, &copy, &st, NULL),
			&st);
		break;
	case 8:
		check_stat(store_parts_finish(s, NULL, key, "U", &part, 1, &put, &st, NULL), &st);
		break;
	case 9:
		check_stat(store_set_tier(s, NULL, key, "GLACIER", NULL, &st, NULL), &st);
		break;
	case 10:
		(void)store_remove_many(s, NULL, "bucket", keys, 3, each, NULL);
		break;
	case 11:
		if (!store_lifecycle_get(s, NULL, "bucket", &json, NULL))
			free(json);
		break;
	case 12:
		(void)store_parts_begin(s, NULL, key, &put, id, NULL);
		break;
	case 13:
		(void)store_restore(s, NULL, key, 1, NULL);
		break;
	}
}

static void credentials(struct net *net, uint8_t op, const uint8_t *p, size_t n)
{
	struct aws_ask q = {.net = net};
	struct aws_role role = {.arn = "arn"};
	struct aws_key by = {.access = "a", .secret = "s"}, k = {0};
	struct aws_profile *f;
	struct err err;

	switch (op % 4) {
	case 0:
		(void)aws_assume_role(&q, &by, &role, &k, &err);
		break;
	case 1:
		(void)aws_container(&q, &k, &err);
		break;
	case 2:
		(void)aws_instance(&q, &k, &err);
		break;
	case 3:
		setenv("AWS_CONFIG_FILE", fuzz_file(p, n), 1);
		f = aws_profile_load();
		CHECK(f);
		(void)aws_profile_get(f, "default", "region");
		(void)aws_profile_get(f, "a", "aws_access_key_id");
		(void)aws_profile_session(f, "a", "sso_region");
		aws_profile_done(f);
		break;
	}
}

static struct store *store_make(struct net **ret_net)
{
	struct s3_conf c = {.name = "r", .aws = true, .region = "us-east-1"};
	struct net *net = net_new(NULL, NULL);
	struct store *s = NULL;

	strcpy(c.classes[0].name, "STANDARD");
	strcpy(c.classes[2].name, "GLACIER");
	c.classes[2].offline = true;
	CHECK(net && !store_s3_new(&c, net, NULL, &s, NULL));
	*ret_net = net;
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct store *s;
	static struct net *net;
	uint8_t op[2];

	if (!s) { /* what the driver learns from one answer is little */
		setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c", 1);
		setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
		fuzz_quiet();
		s = store_make(&net);
	}
	fuzz_take(&p, &n, op, sizeof(op));
	fuzz_net_answers(p, n);
	if (op[0] & 128)
		credentials(net, op[0], p, n);
	else
		operation(s, op[0], op[1]);
	return 0;
}
