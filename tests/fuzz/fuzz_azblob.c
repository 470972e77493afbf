/* SPDX-License-Identifier: MIT */
/*
 * Answers of Azure Blob Storage and of Microsoft's identity service. The input is an operation, its
 * options and the account (a byte each) and what answers its requests (fuzz_net.h).
 */
#include "fuzz_store.h"

#include "astra/base_cleanup.h"
#include "store/azblob_priv.h"

#define BASE	"https://acc.blob.core.windows.net"
#define UPLOAD	"0102030405060708-12-1" /* random, 18 bytes of block id, begun in 1970 */
#define PARTS_N 2
#define ALL_MAX (AZ_BLOCK_MAX * AZ_BLOCKS_MAX)

static const struct store_obj marker = {"bucket", "dir/"};

/* ---- operations ---- */

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
	errint_t r = store_put(s, NULL, o, fuzz_body, len, &opt, &st, NULL);

	CHECK(r || st.size == len);
	fuzz_stat_check(r, &st);
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
	r = store_parts_finish(s, NULL, fuzz_key, id, parts, PARTS_N, &cond, &st, NULL);
	CHECK(r || st.size == 8);
	fuzz_stat_check(r, &st);
}

static void part(struct store *s, const char *id, uint8_t more)
{
	struct store_part p;
	errint_t r;

	if (more & 1)
		r = store_part_put(
			s, NULL, fuzz_key, id, 3, fuzz_body, 8, crc32c(0, fuzz_body, 8), &p, NULL);
	else
		r = store_part_copy(s, NULL, more & 2 ? fuzz_key : marker, more & 4 ? "e" : NULL,
			more >> 4, 8, fuzz_key, id, 3, &p, NULL);
	CHECK(r || (p.number == 3 && p.size == 8 && p.etag[0]));
}

static void upload(struct store *s, uint8_t op, uint8_t more)
{
	char begun[STORE_UPLOAD_MAX];
	const char *id = more & 128 ? UPLOAD "-via" : UPLOAD;

	switch (op) {
	case 9:
		if (!store_parts_begin(s, NULL, fuzz_key, NULL, begun, NULL))
			part(s, begun, more);
		break;
	case 10:
		part(s, id, more);
		break;
	case 11:
		fuzz_parts_list(s, id);
		break;
	case 12:
		parts_finish(s, id, more);
		break;
	case 13:
		(void)store_parts_abort(s, NULL, fuzz_key, id, NULL);
		break;
	}
}

static void give_another_name(struct store *s, bool over)
{
	struct store_rename opt = {.src_if_match = "e",
		.dst_if_match = over ? "f" : NULL,
		.dst_if_none_match = over ? NULL : STORE_IF_ABSENT};
	struct store_obj to = {fuzz_key.bucket, "d/other"};
	struct store_stat st;

	fuzz_stat_check(store_rename(s, NULL, fuzz_key, to, &opt, &st, NULL), &st);
}

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	struct store_stat st = {0};

	switch (op) {
	case 0:
		fuzz_stat_check(store_head(s, NULL, more & 1 ? marker : fuzz_key, &st, NULL), &st);
		break;
	case 1:
		fuzz_get(s, more, "e");
		break;
	case 2:
		fuzz_list_any(s, more, "mT");
		break;
	case 3:
		put(s, more & 8 ? marker : fuzz_key, more);
		break;
	case 4:
		fuzz_copy(s, more, "e", "Cool", (struct store_obj){"copies", "to"}, ALL_MAX);
		break;
	case 5:
		fuzz_stat_check(store_set_tier(s, NULL, fuzz_key, more & 2 ? "Archive" : "Cool",
					more & 1 ? "e" : NULL, &st, NULL),
			&st);
		break;
	case 6:
		(void)store_restore(s, NULL, fuzz_key, 1, NULL);
		break;
	case 7:
		fuzz_set_meta(s, more & 1 ? "e" : NULL);
		break;
	case 8:
		fuzz_remove_many(s, "c/");
		break;
	case 14:
		fuzz_buckets(s);
		break;
	case 15:
		(void)store_bucket_create(s, NULL, "bucket", NULL);
		break;
	case 16:
		(void)store_bucket_remove(s, NULL, "bucket", NULL);
		break;
	case 17:
		give_another_name(s, more & 1);
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
	struct azblob_conf conf = {.name = "r",
		.base = BASE,
		.tls = true,
		.verify = account & 16,
		.hns = -1,
		.dfs = "https://acc.dfs.core.windows.net"};
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
	fuzz_net_look = fuzz_look_body;
	s = store_make(op[2]);
	operation(s, op[0] % 18, op[1]);
	store_destroy(s);
	return 0;
}
