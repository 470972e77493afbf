/* SPDX-License-Identifier: MIT */
/* Operations of the targets that fuzz a cloud's answers. */
#include "fuzz_store.h"

const struct store_obj fuzz_key = {"bucket", "key"};
const char fuzz_body[8] = {'0', '1', '2', '3', '4', '5', '6', '7'};

void fuzz_look_body(const struct net_req *q)
{
	unsigned sum = 0;

	for (size_t i = 0; i < q->body_len; i++)
		sum += ((const uint8_t *)q->body)[i];
	CHECK(sum <= 255 * q->body_len);
}

void fuzz_stat_check(errint_t r, struct store_stat *st)
{
	CHECK(r <= 0 && (r || (st->etag[0] && st->nmeta <= STORE_META_MAX)));
	store_stat_done(st);
}

void fuzz_get(struct store *s, uint8_t more, const char *etag)
{
	char b[64];
	size_t n;
	errint_t r = store_get(
		s, NULL, fuzz_key, more & 1 ? etag : NULL, more >> 1, b, sizeof(b), &n, NULL);

	CHECK(r || n <= sizeof(b));
}

void fuzz_list(struct store *s, const char *prefix, char delimiter, const char *from, size_t max)
{
	struct store_page p;

	if (store_list(s, NULL, "bucket", prefix, delimiter, from, max, &p, NULL))
		return;
	CHECK(p.n <= max && (!p.truncated || p.next[0]));
	for (size_t i = 0; i < p.n; i++) {
		CHECK(!strncmp(p.e[i].key, prefix, strlen(prefix)));
		CHECK(p.e[i].key[0] && strlen(p.e[i].key) <= STORE_KEY_MAX);
		CHECK(!i || strcmp(p.e[i - 1].key, p.e[i].key) < 0);
		CHECK(p.e[i].is_prefix || p.e[i].etag[0]);
	}
	store_page_done(&p);
}

void fuzz_list_any(struct store *s, uint8_t more, const char *from)
{
	static const char *const prefixes[] = {"a", "", ".", STORE_TMP_PREFIX};
	static const char delimiters[] = {'/', 0, 's', '-'};

	fuzz_list(s, prefixes[more >> 2 & 3], delimiters[more & 3], more & 16 ? from : NULL, 9);
}

void fuzz_copy(struct store *s, uint8_t more, const char *etag, const char *class_name,
	struct store_obj to, uint64_t size_max)
{
	struct store_meta meta = {"a-b", "x"};
	struct store_copy opt = {.src_if_match = more & 1 ? etag : NULL,
		.dst_if_none_match = more & 2 ? STORE_IF_ABSENT : NULL,
		.class_name = more & 4 ? class_name : NULL,
		.replace_meta = more & 8,
		.meta = &meta,
		.nmeta = more & 8 ? 1 : 0,
		.write_mark = more & 16 ? "1.1" : NULL};
	struct store_stat st = {0};
	errint_t r = store_copy(s, NULL, fuzz_key, to, &opt, &st, NULL);

	CHECK(r || st.size <= size_max);
	fuzz_stat_check(r, &st);
}

void fuzz_set_meta(struct store *s, const char *etag)
{
	struct store_meta meta[] = {{"a-b", "x"}, {"gone", NULL}};
	struct store_stat st = {0};

	fuzz_stat_check(store_set_meta(s, NULL, fuzz_key, etag, meta, 2, &st, NULL), &st);
}

void fuzz_remove_many(struct store *s, const char *last)
{
	const char *const keys[] = {"a", "b\x01", last};
	errint_t each[3];

	(void)store_remove_many(s, NULL, "bucket", keys, 3, each, NULL);
}

void fuzz_parts_list(struct store *s, const char *id)
{
	struct store_part *p;
	size_t n;

	if (store_parts_list(s, NULL, fuzz_key, id, &p, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(p[i].number && p[i].etag[0] && (!i || p[i].number > p[i - 1].number));
	free(p);
}

void fuzz_parts_pending(struct store *s)
{
	struct store_upload *u;
	size_t n;

	if (store_parts_pending(s, NULL, "bucket", &u, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		CHECK(u[i].key[0] && u[i].id[0]);
	free(u);
}

void fuzz_buckets(struct store *s)
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
