/* SPDX-License-Identifier: MIT */
/*
 * Journal records: what must be known to bring a job back after a crash. One JSON object: a record
 * is read by people in `astra db dump`, and new fields do not break old ones. Names are hex where
 * they are not UTF-8.
 */
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

json_t *journal_path(const char *p)
{
	json_t *s = json_string(p);

	if (s != NULL)
		return s;
	size_t len = strlen(p);
	cleanup_free char *hex = malloc(2 * len + 1);

	if (hex == NULL)
		return NULL;
	hex_encode(p, len, hex);
	return json_pack("{s:s}", "hex", hex);
}

errint_t journal_path_from(const json_t *j, char **ret)
{
	const char *text = json_string_value(j), *hex = NULL;

	*ret = NULL;
	if (j == NULL || text != NULL) {
		if (text != NULL && strlen(text) > META_PATH_MAX)
			return -EBADMSG;
		*ret = strdup(text != NULL ? text : "");
		return *ret == NULL ? -ENOMEM : 0;
	}
	if (json_unpack((json_t *)j, "{s:s}", "hex", &hex) < 0 || strlen(hex) % 2 != 0 ||
		strlen(hex) / 2 > META_PATH_MAX)
		return -EBADMSG;
	size_t len = strlen(hex) / 2;
	char *p = calloc(1, len + 1);

	if (p == NULL)
		return -ENOMEM;
	if (hex_decode(hex, p, len) < 0 || strlen(p) != len) {
		free(p);
		return -EBADMSG;
	}
	*ret = p;
	return 0;
}

static json_t *begun_pack(const struct begun *b)
{
	return json_pack("{s:i s:o s:s}", "remote", (int)b->remote, "path", journal_path(b->path),
		"id", b->id);
}

static errint_t begun_load(struct job *job, const json_t *from)
{
	const char *id = NULL;
	json_t *path = NULL;
	int remote = 0;

	uploads_ended(job);
	if (json_unpack((json_t *)from, "{s:i s:o s:s}", "remote", &remote, "path", &path, "id",
		    &id) < 0 ||
		remote <= 0 || id[0] == '\0' || strlen(id) >= sizeof(job->own.begun->id))
		return -EBADMSG;
	job->own.begun = calloc(1, sizeof(*job->own.begun));
	if (job->own.begun == NULL)
		return -ENOMEM;
	job->own.begun->remote = (uint32_t)remote;
	job->own.begun->restored = true;
	(void)snprintf(job->own.begun->id, sizeof(job->own.begun->id), "%s", id);
	return journal_path_from(path, &job->own.begun->path);
}

errint_t journal_put(struct meta_txn *t, const struct job *job)
{
	char nonce[17];

	(void)snprintf(nonce, sizeof(nonce), "%016llx", (unsigned long long)job->nonce);
	cleanup_json json_t *j = json_pack(
		"{s:i s:I s:I s:s s:i s:o* s:i s:o* s:i s:i s:i s:b s:b s:b s:I s:s}", "kind",
		(int)job->kind, "ino", (json_int_t)job->ino, "victim", (json_int_t)job->victim,
		"nonce", nonce, "src_remote", (int)job->src_remote, "src", journal_path(job->src),
		"dst_remote", (int)job->dst_remote, "dst", journal_path(job->dst), "tier",
		(int)job->tier, "days", (int)job->days, "attempts", (int)job->attempts, "by_engine",
		job->by_engine, "firm", job->firm, "held", job->held, "created",
		(json_int_t)job->created_ns, "etag", job->own.etag);
	json_t *sources = dirmove_sources(job);

	if ((sources != NULL && (j == NULL || json_object_set_new(j, "sources", sources) < 0)) ||
		(job->of != 0 &&
			json_object_set_new(j, "of", json_integer((json_int_t)job->of)) < 0)) {
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	if (job->own.begun != NULL &&
		(j == NULL || json_object_set_new(j, "upload", begun_pack(job->own.begun)) < 0)) {
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	cleanup_free char *text = j == NULL ? NULL : json_dumps(j, JSON_COMPACT);

	if (text == NULL) {
		meta_txn_fail(t, -ENOMEM);
		return -ENOMEM;
	}
	return meta_job_put(t, job->id, text, strlen(text));
}

errint_t journal_decode(const void *p, size_t len, struct job *ret, struct err *err)
{
	cleanup_json json_t *j = json_loadb(p, len, 0, NULL);
	int kind = 0, src_remote = 0, dst_remote = 0, tier = 0, days = 0, attempts = 0, engine = 0,
	    firm = 0, held = 0;
	json_int_t ino = 0, victim = 0, created = 0;
	const char *nonce = NULL, *etag = NULL;
	json_t *src = NULL, *dst = NULL;

	if (j == NULL ||
		json_unpack(j, "{s:i s:I s:I s:s s:i s?o s:i s?o s:i s:i s:i s:b s?b s?b s:I s:s}",
			"kind", &kind, "ino", &ino, "victim", &victim, "nonce", &nonce,
			"src_remote", &src_remote, "src", &src, "dst_remote", &dst_remote, "dst",
			&dst, "tier", &tier, "days", &days, "attempts", &attempts, "by_engine",
			&engine, "firm", &firm, "held", &held, "created", &created, "etag",
			&etag) < 0 ||
		strlen(etag) >= sizeof(ret->own.etag) || kind <= 0 || kind >= JOB_KIND_N ||
		ino <= 0 || tier < 0 || tier >= TIER_N || days < 0 || attempts < 0 ||
		src_remote < 0 || dst_remote < 0)
		return err_set(err, -EBADMSG, ERR_FINAL,
			"a journal record is damaged: run `astra db check`");
	ret->kind = (enum job_kind)kind;
	ret->ino = (uint64_t)ino;
	ret->victim = (uint64_t)victim;
	ret->nonce = strtoull(nonce, NULL, 16);
	ret->src_remote = (uint32_t)src_remote;
	ret->dst_remote = (uint32_t)dst_remote;
	ret->tier = (enum tier)tier;
	ret->days = (unsigned)days;
	ret->attempts = (unsigned)attempts;
	ret->by_engine = engine != 0;
	ret->firm = firm != 0;
	ret->held = held != 0;
	ret->created_ns = created;
	ret->of = (uint64_t)json_integer_value(json_object_get(j, "of"));
	(void)snprintf(ret->own.etag, sizeof(ret->own.etag), "%s", etag);
	free(ret->src);
	free(ret->dst);
	ret->src = ret->dst = NULL;
	errint_t r = journal_path_from(src, &ret->src);

	if (r == 0)
		r = journal_path_from(dst, &ret->dst);
	if (r == 0 && json_object_get(j, "sources") != NULL)
		r = dirmove_sources_load(ret, json_object_get(j, "sources"));
	if (r == 0 && json_object_get(j, "upload") != NULL)
		r = begun_load(ret, json_object_get(j, "upload"));
	return r < 0 ? err_set(err, r, ERR_FINAL, "a journal record is damaged") : 0;
}
