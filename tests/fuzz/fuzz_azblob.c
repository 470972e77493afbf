/* SPDX-License-Identifier: MIT */
/*
 * Answers of Azure Blob Storage and of Microsoft's identity service. The input is an operation, its
 * options and the account (a byte each) and what answers its requests (fuzz_net.h).
 */
#include "fuzz_net.h"

#include "astra/base_cleanup.h"
#include "store/azblob_priv.h"

#define BASE	"https://acc.blob.core.windows.net"
#define UPLOAD	"0102030405060708-12-1" /* random, 18 bytes of block id, begun in 1970 */
#define PARTS_N 2
#define ALL_MAX (AZ_BLOCK_MAX * AZ_BLOCKS_MAX)

static const struct store_obj key = {"bucket", "key"}, marker = {"bucket", "dir/"};
static const char body[] = "01234567";

/* Every byte that is sent is there. */
static void look(const struct net_req *q)
{
	unsigned sum = 0;

	for (size_t i = 0; i < q->body_len; i++)
		sum += ((const uint8_t *)q->body)[i];
	CHECK(sum <= 255 * q->body_len);
}

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

static void list(struct store *s, uint8_t more)
{
	static const char *const prefixes[] = {"a", "", ".", STORE_TMP_PREFIX};
	static const char delimiters[] = {'/', 0, 's', '-'};
	const char *prefix = prefixes[more >> 2 & 3];
	struct store_page p;

	if (store_list(s, NULL, "bucket", prefix, delimiters[more & 3], more & 16 ? "mT" : NULL, 9,
		    &p, NULL))
		return;
	CHECK(p.n <= 9 && (!p.truncated || p.next[0]));
	for (size_t i = 0; i < p.n; i++) {
		CHECK(!strncmp(p.e[i].key, prefix, strlen(prefix)));
		CHECK(p.e[i].key[0] && strlen(p.e[i].key) <= STORE_KEY_MAX);
		CHECK(!i || strcmp(p.e[i - 1].key, p.e[i].key) < 0);
		CHECK(p.e[i].is_prefix || p.e[i].etag[0]);
	}
	store_page_done(&p);
}

static void put(struct store *s, struct store_obj o, uint8_t more)
{
	struct store_meta meta = {STORE_META_WRITE, "1.1"};
	struct store_put opt = {.if_match = more & 1 ? "e" : NULL,
		.if_none_match = more & 2 ? STORE_IF_ABSENT : NULL,
		.class_name = more & 4 ? "Cool" : NULL,
		.meta = &meta,
		.nmeta = 1};
	struct store_stat st = {0};
	size_t len = o.key == marker.key ? 0 : 8;
	errint_t r = store_put(s, NULL, o, body, len, &opt, &st, NULL);

	CHECK(r || st.size == len);
	check_stat(r, &st);
}

static void copy(struct store *s, uint8_t more)
{
	struct store_meta meta = {"a-b", "x"};
	struct store_copy opt = {.src_if_match = more & 1 ? "e" : NULL,
		.dst_if_none_match = more & 2 ? STORE_IF_ABSENT : NULL,
		.class_name = more & 4 ? "Cool" : NULL,
		.replace_meta = more & 8,
		.meta = &meta,
		.nmeta = more & 8 ? 1 : 0,
		.write_mark = more & 16 ? "1.1" : NULL};
	struct store_stat st = {0};
	errint_t r = store_copy(s, NULL, key, (struct store_obj){"copies", "to"}, &opt, &st, NULL);

	CHECK(r || st.size <= ALL_MAX);
	check_stat(r, &st);
}

static void set_meta(struct store *s, uint8_t more)
{
	struct store_meta meta[] = {{"a-b", "x"}, {"gone", NULL}};
	struct store_stat st = {0};

	check_stat(store_set_meta(s, NULL, key, more & 1 ? "e" : NULL, meta, 2, &st, NULL), &st);
}

static void parts_list(struct store *s, const char *id)
{
	struct store_part *p;
	size_t n;

	if (store_parts_list(s, NULL, key, id, &p, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(p[i].number && p[i].etag[0] && (!i || p[i].number > p[i - 1].number));
	free(p);
}

static void parts_finish(struct store *s, const char *id, uint8_t more)
{
	struct store_put cond = {.if_match = more & 1 ? "e" : NULL};
	struct store_part parts[PARTS_N];
	struct store_stat st = {0};
	errint_t r;

	for (unsigned i = 0; i < PARTS_N; i++) {
		struct azblob_block_id b = {
			.random = 0x0102030405060708, .len = AZ_ID_LEN, .index = i + 1};

		parts[i] = (struct store_part){.number = i + 1, .size = 4};
		azblob_id_make(&b, parts[i].etag);
	}
	if (more & 2)
		snprintf(parts[0].etag, sizeof(parts[0].etag), "keep %u 1 e", more >> 4);
	r = store_parts_finish(s, NULL, key, id, parts, PARTS_N, &cond, &st, NULL);
	CHECK(r || st.size == 8);
	check_stat(r, &st);
}

static void part(struct store *s, const char *id, uint8_t more)
{
	struct store_part p;
	errint_t r;

	if (more & 1)
		r = store_part_put(s, NULL, key, id, 3, body, 8, crc32c(0, body, 8), &p, NULL);
	else
		r = store_part_copy(s, NULL, more & 2 ? key : marker, more & 4 ? "e" : NULL,
			more >> 4, 8, key, id, 3, &p, NULL);
	CHECK(r || (p.number == 3 && p.size == 8 && p.etag[0]));
}

static void upload(struct store *s, uint8_t op, uint8_t more)
{
	char begun[STORE_UPLOAD_MAX];
	const char *id = more & 128 ? UPLOAD "-via" : UPLOAD;

	switch (op) {
	case 9:
		if (!store_parts_begin(s, NULL, key, NULL, begun, NULL))
			part(s, begun, more);
		break;
	case 10:
		part(s, id, more);
		break;
	case 11:
		parts_list(s, id);
		break;
	case 12:
		parts_finish(s, id, more);
		break;
	case 13:
		(void)store_parts_abort(s, NULL, key, id, NULL);
		break;
	}
}

static void buckets(struct store *s)
{
	char **names;
	size_t n;

	if (store_bucket_list(s, NULL, &names, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++) {
		CHECK(names[i][0] && !strchr(names[i], '/'));
		free(names[i]);
	}
	free(names);
}

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	static const char *const keys[] = {"a", "b\x01", "c/"};
	struct store_stat st = {0};
	errint_t each[3];

	switch (op) {
	case 0:
		check_stat(store_head(s, NULL, more & 1 ? marker : key, &st, NULL), &st);
		break;
	case 1:
		get(s, more);
		break;
	case 2:
		list(s, more);
		break;
	case 3:
		put(s, more & 8 ? marker : key, more);
		break;
	case 4:
		copy(s, more);
		break;
	case 5:
		check_stat(store_set_tier(s, NULL, key, more & 2 ? "Archive" : "Cool",
				   more & 1 ? "e" : NULL, &st, NULL),
			&st);
		break;
	case 6:
		(void)store_restore(s, NULL, key, 1, NULL);
		break;
	case 7:
		set_meta(s, more);
		break;
	case 8:
		(void)store_remove_many(s, NULL, "bucket", keys, 3, each, NULL);
		break;
	case 14:
		buckets(s);
		break;
	case 15:
		(void)store_bucket_create(s, NULL, "bucket", NULL);
		break;
	case 16:
		(void)store_bucket_remove(s, NULL, "bucket", NULL);
		break;
	default:
		upload(s, op, more);
	}
}

/* ---- the account ---- */

/* Bits: 1 and 2 who asks, 4 and 8 directories, 16 checksums of what is read. */
static struct store *store_make(uint8_t account)
{
	static const char *const classes[] = {"Hot", "Cool", "Cold", "Archive"};
	struct azblob_conf conf = {
		.name = "r", .base = BASE, .tls = true, .verify = account & 16, .hns = -1};
	struct azblob_cred_conf cred = {.account = strdup("acc"),
		.tenant = strdup("t"),
		.client = strdup("c"),
		.authority = strdup("https://login.microsoftonline.com"),
		.machine_endpoint = strdup("http://169.254.169.254"),
		.key = {.value = strdup("MDEyMw==")},
		.sas = {.value = strdup("?sig=x")},
		.client_secret = {.value = strdup("word")}};
	static const enum azblob_auth auths[] = {
		AZ_AUTH_KEY, AZ_AUTH_SAS, AZ_AUTH_CLIENT, AZ_AUTH_MACHINE};
	struct store *s = NULL;

	cred.auth = auths[account & 3];
	conf.hns = (account >> 2 & 3) % 3 - 1;
	for (unsigned i = 0; i < TIER_N; i++)
		snprintf(conf.classes[i].name, sizeof(conf.classes[i].name), "%s", classes[i]);
	conf.classes[TIER_ARCHIVE].offline = true;
	CHECK(!store_azblob_new(&conf, &cred, &s, NULL));
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct store *s;
	uint8_t op[3];

	fuzz_quiet();
	fuzz_take(&p, &n, op, sizeof(op));
	fuzz_net_answers(p, n);
	fuzz_net_look = look;
	s = store_make(op[2]);
	operation(s, op[0] % 17, op[1]);
	store_destroy(s);
	return 0;
}
