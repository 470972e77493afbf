/* SPDX-License-Identifier: MIT */
/*
 * Answers of Google Cloud Storage, and of those who hand out its tokens. The input is an operation
 * and its options (a byte each) and what answers its requests (fuzz_net.h).
 */
#include "fuzz_net.h"

#include "astra/base_cleanup.h"
#include "astra/base_hash.h"
#include "store/gcs_priv.h"
#include "store/layer.h"

#define ENDPOINT   "http://gcs"
#define INSERT_MAX 4  /* more bytes go by a session */
#define PARTS_MAX  40 /* more than one compose takes */
#define REMOVE	   8  /* the operation that may remove what it likes */

static const struct store_obj key = {"bucket", "key"};
static const char body[] = "01234567";
static unsigned now; /* the operation */

/* ---- what is outside ---- */

/* Instead of the one that sleeps: see meson.build. */
errint_t __wrap_call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err);

errint_t __wrap_call_sleep_until(const struct store_call *c, int64_t mono_ns, struct err *err)
{
	(void)mono_ns;
	return call_check(c, err);
}

/* Every byte that is sent is there, and nothing goes elsewhere or removes what is not ours. */
static void look(const struct net_req *q)
{
	const char *at = strstr(q->url, "/o/");
	unsigned sum = 0;

	for (size_t i = 0; i < q->body_len; i++)
		sum += ((const uint8_t *)q->body)[i];
	CHECK(sum <= 255 * q->body_len);
	if (now >= 128)
		return;
	CHECK(!strncmp(q->url, ENDPOINT, strlen(ENDPOINT)));
	if (at && !strcmp(q->method, "DELETE") && now != REMOVE)
		CHECK(!strncmp(at + 3, ".astra-tmp%2F", strlen(".astra-tmp%2F")));
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
		store_get(s, NULL, key, off & 1 ? "5" : NULL, off >> 1, b, sizeof(b), &n, NULL);

	CHECK(r || n <= sizeof(b));
}

static void list(struct store *s, uint8_t more)
{
	static const char *const prefixes[] = {"a", "", ".", STORE_TMP_PREFIX};
	static const char delimiters[] = {'/', 0, 's', '-'};
	const char *prefix = prefixes[more >> 2 & 3];
	struct store_page p;

	if (store_list(s, NULL, "bucket", prefix, delimiters[more & 3], more & 16 ? "pb/" : NULL, 9,
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

static void put(struct store *s, uint8_t more, size_t len)
{
	struct store_meta meta = {STORE_META_WRITE, "1.1"};
	struct store_put opt = {.if_match = more & 1 ? "5" : NULL,
		.if_none_match = more & 1 ? NULL : STORE_IF_ABSENT,
		.class_name = more & 2 ? "NEARLINE" : NULL,
		.meta = &meta,
		.nmeta = 1};
	struct store_stat st = {0};
	errint_t r = store_put(s, NULL, key, body, len, &opt, &st, NULL);

	CHECK(r || st.size == len);
	check_stat(r, &st);
}

static void copy(struct store *s, uint8_t more)
{
	struct store_meta meta = {"a-b", "x"};
	struct store_copy opt = {.src_if_match = more & 1 ? "5" : NULL,
		.dst_if_none_match = more & 2 ? STORE_IF_ABSENT : NULL,
		.class_name = more & 4 ? "NEARLINE" : NULL,
		.replace_meta = more & 8,
		.meta = &meta,
		.nmeta = more & 8 ? 1 : 0,
		.write_mark = more & 16 ? "1.1" : NULL};
	struct store_stat st = {0};

	check_stat(store_copy(s, NULL, key, (struct store_obj){"b", "to"}, &opt, &st, NULL), &st);
}

static void set_meta(struct store *s, uint8_t more)
{
	struct store_meta meta[] = {{"a-b", "x"}, {"gone", NULL}};
	struct store_stat st = {0};

	check_stat(store_set_meta(s, NULL, key, more & 1 ? "5" : NULL, meta, 2, &st, NULL), &st);
}

static void upload_id(char ret[STORE_UPLOAD_MAX])
{
	snprintf(ret, STORE_UPLOAD_MAX, "0123456789abcdef%016llx",
		(unsigned long long)hash64(key.key, strlen(key.key), 0));
}

static void parts_list(struct store *s)
{
	char id[STORE_UPLOAD_MAX];
	struct store_part *p;
	size_t n;

	upload_id(id);
	if (store_parts_list(s, NULL, key, id, &p, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(p[i].number && p[i].etag[0] && (!i || p[i].number > p[i - 1].number));
	free(p);
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
	r = store_parts_finish(s, NULL, key, id, parts, n, &cond, &st, NULL);
	CHECK(r || st.size == n);
	check_stat(r, &st);
}

static void pending(struct store *s)
{
	struct store_upload *u;
	size_t n;

	if (store_parts_pending(s, NULL, "bucket", &u, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(u[i].key[0] && u[i].id[0]);
	free(u);
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

static void upload(struct store *s, uint8_t op, uint8_t more)
{
	struct store_put opt = {.class_name = more & 1 ? "NEARLINE" : NULL};
	struct store_part part;
	char id[STORE_UPLOAD_MAX];
	errint_t r;

	upload_id(id);
	switch (op) {
	case 9:
		if (!store_parts_begin(s, NULL, key, &opt, id, NULL))
			parts_finish(s, more);
		break;
	case 10:
		r = store_part_put(s, NULL, key, id, 1, body, 8, crc32c(0, body, 8), &part, NULL);
		CHECK(r || (part.number == 1 && part.size == 8 && part.etag[0]));
		break;
	case 11:
		parts_list(s);
		break;
	case 12:
		parts_finish(s, more);
		break;
	case 13:
		(void)store_parts_abort(s, NULL, key, id, NULL);
		break;
	case 14:
		pending(s);
		break;
	}
}

static void bucket(struct store *s, uint8_t op)
{
	char *json;

	switch (op) {
	case 15:
		buckets(s);
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
		(void)store_restore(s, NULL, key, 1, NULL);
		break;
	}
}

static void operation(struct store *s, uint8_t op, uint8_t more)
{
	static const char *const keys[] = {"a", "b\x01", "c"};
	struct store_stat st = {0};
	errint_t each[3];

	switch (op) {
	case 0:
		check_stat(store_head(s, NULL, key, &st, NULL), &st);
		break;
	case 1:
		get(s, more);
		break;
	case 2:
		list(s, more);
		break;
	case 3:
		put(s, more, 1);
		break;
	case 4:
		put(s, more, 8);
		break;
	case 5:
		copy(s, more);
		break;
	case 6:
		check_stat(
			store_set_tier(s, NULL, key, "ARCHIVE", more & 1 ? "5" : NULL, &st, NULL),
			&st);
		break;
	case 7:
		set_meta(s, more);
		break;
	case REMOVE:
		(void)store_remove_many(s, NULL, "bucket", keys, 3, each, NULL);
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
	struct net *net = net_new(NULL, NULL);
	struct store *s = NULL;
	uint8_t op[2];

	fuzz_quiet();
	fuzz_take(&p, &n, op, sizeof(op));
	fuzz_net_answers(p, n);
	fuzz_net_look = look;
	now = op[0] & 128 ? 128 : op[0] % 20;
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
	CHECK(!store_gcs_new(&conf, net, NULL, &s, NULL));
	operation(s, (uint8_t)now, op[1]);
	store_destroy(s);
	return 0;
}
