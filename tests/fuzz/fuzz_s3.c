/* SPDX-License-Identifier: MIT */
/*
 * Answers of S3 and of those who hand out AWS credentials. The input is an operation and its
 * options (a byte each) and what answers its requests (fuzz_net.h).
 */
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_store.h"

#include "astra/base_cleanup.h"
#include "store/aws_priv.h"
#include "store/s3_priv.h"

/* ---- operations ---- */

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	struct store_part part = {.number = 1, .size = 1, .etag = "p"};
	struct store_copy copy = {.dst_if_match = more & 1 ? "e" : NULL, .write_mark = "1.1"};
	struct store_put put = {.if_match = more & 1 ? "e" : NULL};
	struct store_stat st = {0};
	char id[STORE_UPLOAD_MAX], *json;

	switch (op % 14) {
	case 0:
		fuzz_stat_check(store_head(s, NULL, fuzz_key, &st, NULL), &st);
		break;
	case 1:
		fuzz_get(s, more, "e");
		break;
	case 2:
		fuzz_list(s, "a", '/', "t", 100);
		break;
	case 3:
		fuzz_parts_pending(s);
		break;
	case 4:
		fuzz_parts_list(s, "U");
		break;
	case 5:
		fuzz_buckets(s);
		break;
	case 6:
		fuzz_stat_check(store_put(s, NULL, fuzz_key, "x", 1, &put, &st, NULL), &st);
		break;
	case 7:
		fuzz_stat_check(store_copy(s, NULL, fuzz_key, (struct store_obj){"b", "to"}, &copy,
					&st, NULL),
			&st);
		break;
	case 8:
		fuzz_stat_check(
			store_parts_finish(s, NULL, fuzz_key, "U", &part, 1, &put, &st, NULL), &st);
		break;
	case 9:
		fuzz_stat_check(store_set_tier(s, NULL, fuzz_key, "GLACIER", NULL, &st, NULL), &st);
		break;
	case 10:
		fuzz_remove_many(s, "c");
		break;
	case 11:
		if (!store_lifecycle_get(s, NULL, "bucket", &json, NULL))
			free(json);
		break;
	case 12:
		(void)store_parts_begin(s, NULL, fuzz_key, &put, id, NULL);
		break;
	case 13:
		(void)store_restore(s, NULL, fuzz_key, 1, NULL);
		break;
	}
}

/* The file that a login has left, and what is answered to its token: one of them is the input. */
static void sso(struct aws_ask *q, bool file, const uint8_t *p, size_t n)
{
	static const char good[] =
		"{\"accessToken\":\"AT\",\"expiresAt\":\"2100-01-01T00:00:00Z\"}";
	const struct aws_sso sso = {
		.session = "s", .start_url = "u", .region = "r", .account = "1", .role = "a"};
	static char path[200];
	struct aws_key k = {0};
	const char *at = file ? fuzz_file(p, n) : fuzz_file(good, sizeof(good) - 1);
	struct err err;

	if (!*path) { /* of the SHA-1 of "s" */
		const char *const sub[] = {"/.aws", "/.aws/sso", "/.aws/sso/cache"};

		setenv("HOME", fuzz_dir(), 1);
		for (unsigned i = 0; i < ARRAY_SIZE(sub); i++) {
			snprintf(path, sizeof(path), "%s%s", fuzz_dir(), sub[i]);
			CHECK(!mkdir(path, 0700));
		}
		snprintf(path, sizeof(path),
			"%s/.aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json",
			fuzz_dir());
		CHECK(!symlink(at, path));
	}
	if (!aws_sso(q, &sso, &k, &err))
		CHECK(k.access[0] && k.secret[0]);
}

static void credentials(struct net *net, uint8_t op, const uint8_t *p, size_t n)
{
	struct aws_ask q = {.net = net};
	struct aws_role role = {.arn = "arn"};
	struct aws_key by = {.access = "a", .secret = "s"}, k = {0};
	struct aws_profile *f;
	struct err err;

	if (op & 64) {
		sso(&q, op & 1, p, n);
		return;
	}
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
