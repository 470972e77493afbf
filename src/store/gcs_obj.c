/* SPDX-License-Identifier: MIT */
/*
 * An object's resource as JSON, read and written. Numbers of 64 bits come as strings; what cannot
 * be read is told, never guessed. Pure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_hash.h"
#include "driver.h"
#include "gcs_priv.h"

bool gcs_json_u64(const json_t *j, const char *name, uint64_t *ret)
{
	const json_t *v = json_object_get(j, name);
	const char *s = json_string_value(v);
	char *end;

	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*ret = (uint64_t)json_integer_value(v);
		return true;
	}
	if (!s || !*s || strspn(s, "0123456789") != strlen(s))
		return false;
	errno = 0;
	*ret = strtoull(s, &end, 10);
	return !errno && !*end;
}

bool gcs_json_time(const json_t *j, const char *name, int64_t *ret_ns)
{
	const char *s = json_string_value(json_object_get(j, name));

	return s && clock_date_parse(s, ret_ns);
}

bool gcs_crc_parse(const char *text, uint32_t *ret)
{
	uint8_t b[4];
	size_t n;

	if (!text || base64_decode(text, b, sizeof(b), &n) || n != sizeof(b))
		return false;
	*ret = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return true;
}

void gcs_crc_format(uint32_t crc, char ret[9])
{
	const uint8_t b[4] = {
		(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};

	base64_encode(b, sizeof(b), ret);
}

/* A name in the words of the seam; false for another. */
static bool meta_name(const char *name, char ret[STORE_KEY_MAX])
{
	size_t n = strlen(name);

	if (!n || n >= STORE_KEY_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		char c = name[i];

		ret[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	return store_meta_key_ok(ret);
}

/* Foreign objects may have more than the seam can say: that stays at the object. */
static bool meta_read(const json_t *meta, struct store_stat *ret)
{
	char name[STORE_KEY_MAX];
	const char *key, *mark;
	json_t *v;

	mark = json_string_value(json_object_get(meta, STORE_META_WRITE));
	if (mark && !driver_stat_meta(ret, STORE_META_WRITE, mark))
		return false;
	json_object_foreach ((json_t *)meta, key, v) {
		if (ret->nmeta == STORE_META_MAX)
			break;
		if (!json_is_string(v) || !strcmp(key, STORE_META_WRITE) || !meta_name(key, name) ||
			store_stat_meta(ret, name))
			continue;
		if (!driver_stat_meta(ret, name, json_string_value(v)))
			return false;
	}
	return true;
}

bool gcs_stat_read(const json_t *j, struct store_stat *ret)
{
	const char *generation = json_string_value(json_object_get(j, "generation"));
	const char *class_name = json_string_value(json_object_get(j, "storageClass"));
	uint64_t number;

	*ret = (struct store_stat){0};
	if (!gcs_json_u64(j, "size", &ret->size))
		return false;
	if (generation && gcs_gen_ok(generation))
		(void)snprintf(ret->etag, sizeof(ret->etag), "%s", generation);
	else if (!generation && gcs_json_u64(j, "generation", &number) && number)
		(void)snprintf(ret->etag, sizeof(ret->etag), "%llu", (unsigned long long)number);
	else
		return false;
	(void)snprintf(ret->class_name, sizeof(ret->class_name), "%s",
		class_name ? class_name : GCS_ONLINE);
	/* when its bytes were put; "updated" also moves with its metadata */
	if (!gcs_json_time(j, "timeCreated", &ret->mtime_ns))
		(void)gcs_json_time(j, "updated", &ret->mtime_ns);
	ret->has_crc32c =
		gcs_crc_parse(json_string_value(json_object_get(j, "crc32c")), &ret->crc32c);
	if (meta_read(json_object_get(j, "metadata"), ret))
		return true;
	store_stat_done(ret);
	return false;
}

errint_t gcs_meta_json(const struct store_meta *m, unsigned n, json_t *j, struct err *err)
{
	for (unsigned i = 0; i < n; i++) {
		json_t *v = json_string(m[i].value); /* NULL for what is not UTF-8 */

		if (!v)
			return err_set(
				err, -EILSEQ, ERR_FINAL, "metadata '%s' is not UTF-8", m[i].key);
		if (json_object_set_new(j, m[i].key, v))
			return gcs_no_memory(err);
	}
	return 0;
}

errint_t gcs_resource(const char *key, const char *class_name, const struct store_meta *m,
	unsigned n, json_t **ret, struct err *err)
{
	cleanup_json json_t *meta = json_object();
	errint_t r = meta ? gcs_meta_json(m, n, meta, err) : gcs_no_memory(err);

	if (r)
		return r;
	*ret = json_pack("{s:s*, s:s*, s:O*}", "name", key, "storageClass", class_name, "metadata",
		n ? meta : NULL);
	return *ret ? 0 : gcs_no_memory(err);
}
