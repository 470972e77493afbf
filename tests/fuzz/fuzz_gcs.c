/* SPDX-License-Identifier: MIT */
/*
 * Answers of Google Cloud Storage, and of those who hand out its tokens. The input is an operation
 * (with 64: by the XML API) and its options (a byte each) and what answers its requests
 * (fuzz_net.h).
 */
#include "fuzz_store.h"

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "store/gcs_priv.h"
#include "store/layer.h"

#define ENDPOINT   "http://gcs"
#define INSERT_MAX 4  /* more bytes go by a session */
#define PARTS_MAX  40 /* more than one compose takes */
#define REMOVE	   8  /* the operation that may remove what it likes */

static unsigned now; /* the operation */
static bool xml;

/* ---- what is outside ---- */

/* Instead of the one that sleeps: see meson.build. */
errint_t __wrap_call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err);

errint_t __wrap_call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err)
{
	(void)mono_ns;
	return call_check(c, err);
}

/* Nothing goes elsewhere or removes what is not ours. */
static void look(const struct net_req *q)
{
	const char *at = xml ? strchr(q->url + strlen(ENDPOINT) + 1, '/') : strstr(q->url, "/o/");
	const char *ours = xml ? "/.astra-tmp/" : "/o/.astra-tmp%2F";

	fuzz_look_body(q);
	if (now >= 128)
		return;
	CHECK(!strncmp(q->url, ENDPOINT, strlen(ENDPOINT)));
	if (at && !strcmp(q->method, "DELETE") && now != REMOVE)
		CHECK(!strncmp(at, ours, strlen(ours)));
}

/* ---- operations ---- */

static void put(struct store *s, uint8_t more, size_t len)
{
	struct store_meta meta = {STORE_META_WRITE, "1.1"};
	struct store_put opt = {.if_match = more & 1 ? "5" : NULL,
		.if_none_match = more & 1 ? NULL : STORE_IF_ABSENT,
		.class_name = more & 2 ? "NEARLINE" : NULL,
		.meta = &meta,
		.nmeta = 1};
	struct store_stat st = {0};
	errint_t r = store_put(s, NULL, fuzz_key, fuzz_body, len, &opt, &st, NULL);

	CHECK(r || st.size == len);
	fuzz_stat_check(r, &st);
}

static void upload_id(char ret[STORE_UPLOAD_MAX])
{
	snprintf(ret, STORE_UPLOAD_MAX, "0123456789abcdef%016llx",
		(unsigned long long)hash64(fuzz_key.key, strlen(fuzz_key.key), 0));
}

static void parts_finish(struct store *s, uint8_t more)
{
	struct store_put cond = {.class_name = more & 64 ? "NEARLINE" : NULL};
	struct store_part parts[PARTS_MAX];
	struct store_stat st = {0};
	char id[STORE_UPLOAD_MAX];
	size_t n = 1 + (more & 63) % PARTS_MAX;
	errint_t r;

	upload_id(id);
	for (unsigned i = 0; i < n; i++)
		parts[i] = (struct store_part){
			.number = i + 1, .size = 1, .etag = "5", .has_crc32c = true};
	r = store_parts_finish(s, NULL, fuzz_key, id, parts, n, &cond, &st, NULL);
	CHECK(r || st.size == n);
	fuzz_stat_check(r, &st);
}

static void upload(struct store *s, uint8_t op, uint8_t more)
{
	struct store_put opt = {.class_name = more & 1 ? "NEARLINE" : NULL};
	struct store_part part;
	char id[STORE_UPLOAD_MAX];
	errint_t r;

	upload_id(id);
	switch (op) {
	case 9:
		if (!store_parts_begin(s, NULL, fuzz_key, &opt, id, NULL))
			parts_finish(s, more);
		break;
	case 10:
		r = store_part_put(s, NULL, fuzz_key, id, 1, fuzz_body, 8, crc32c(0, fuzz_body, 8),
			&part, NULL);
		CHECK(r || (part.number == 1 && part.size == 8 && part.etag[0]));
		break;
	case 11:
		fuzz_parts_list(s, id);
		break;
	case 12:
		parts_finish(s, more);
		break;
	case 13:
		(void)store_parts_abort(s, NULL, fuzz_key, id, NULL);
		break;
	case 14:
		fuzz_parts_pending(s);
		break;
	}
}

static void bucket(struct store *s, uint8_t op)
{
	char *json;

	switch (op) {
	case 15:
		fuzz_buckets(s);
		break;
	case 16:
		(void)store_bucket_remove(s, NULL, "bucket", NULL);
		break;
	case 17:
		if (!store_lifecycle_get(s, NULL, "bucket", &json, NULL))
			free(json);
		break;
	case 18:
		(void)store_bucket_create(s, NULL, "bucket", NULL);
		break;
	case 19:
		(void)store_restore(s, NULL, fuzz_key, 1, NULL);
		break;
	}
}

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	struct store_stat st = {0};

	switch (op) {
	case 0:
		fuzz_stat_check(store_head(s, NULL, fuzz_key, &st, NULL), &st);
		break;
	case 1:
		fuzz_get(s, more, "5");
		break;
	case 2:
		fuzz_list_any(s, more, "pb/");
		break;
	case 3:
		put(s, more, 1);
		break;
	case 4:
		put(s, more, 8);
		break;
	case 5:
		fuzz_copy(s, more, "5", "NEARLINE", (struct store_obj){"b", "to"}, UINT64_MAX);
		break;
	case 6:
		fuzz_stat_check(store_set_tier(s, NULL, fuzz_key, "ARCHIVE", more & 1 ? "5" : NULL,
					&st, NULL),
			&st);
		break;
	case 7:
		fuzz_set_meta(s, more & 1 ? "5" : NULL);
		break;
	case REMOVE:
		fuzz_remove_many(s, "c");
		break;
	default:
		upload(s, op, more);
		bucket(s, op);
	}
}

/* ---- credentials ---- */

static void token(struct net *net, uint8_t op)
{
	char uri[] = "http://token", id[] = "id", word[] = "word";
	char none[] = "", url[] = "http://subject", field[] = "f", more[] = "http://more";
	struct gcs_source user = {.kind = GCS_USER,
		.token_uri = uri,
		.client_id = id,
		.client_secret = word,
		.refresh = word};
	struct gcs_source machine = {.kind = GCS_MACHINE};
	struct gcs_source other = {.kind = GCS_EXTERNAL,
		.audience = id,
		.subject_type = word,
		.token_url = uri,
		.subject_url = url,
		.subject_field = op & 4 ? field : NULL,
		.impersonation_url = op & 8 ? more : NULL,
		.token_uri = none};
	const struct gcs_source *const kinds[] = {&user, &machine, &other};
	cleanup_gcs_token struct gcs_token t = {0};
	struct err err;
	int64_t skew = 0;

	if (!gcs_source_token(kinds[op % 3], net, "scope", 0, NULL, &skew, &t, &err))
		CHECK(t.value[0]);
}

static void source(const uint8_t *p, size_t n)
{
	struct gcs_source s = {0};
	struct err err;

	(void)gcs_source_load(&s, fuzz_file(p, n), &err);
	gcs_source_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const classes[] = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"};
	struct gcs_conf conf = {.endpoint = ENDPOINT, .insert_max = INSERT_MAX};
	const struct aws_cred_conf key = {.access_key_id = "GOOG1E", .secret = "secret"};
	struct net *net = net_new(NULL, NULL);
	struct store *s = NULL;
	uint8_t op[2];

	fuzz_quiet();
	fuzz_take(&p, &n, op, sizeof(op));
	fuzz_net_answers(p, n);
	fuzz_net_look = look;
	now = op[0] & 128 ? 128 : (op[0] & 63) % 20;
	xml = op[0] & 64;
	if (now == 128) {
		if (op[0] & 1)
			source(p, n);
		else
			token(net, op[1]);
		net_destroy(net);
		return 0;
	}
	for (unsigned i = 0; i < TIER_N; i++)
		snprintf(conf.classes[i].name, sizeof(conf.classes[i].name), "%s", classes[i]);
	CHECK(!store_gcs_new(&conf, net, NULL, xml ? aws_cred_new(&key, net) : NULL, &s, NULL));
	operation(s, (uint8_t)now, op[1]);
	store_destroy(s);
	return 0;
}
