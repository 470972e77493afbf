/* SPDX-License-Identifier: MIT */
/* The configuration file as text, and every kind of value in it. */
#include "fuzz.h"

#include <errno.h>

#include "astra/base_conf.h"

static void values(const struct conf_item *it)
{
	struct err err = {0};
	bool b;
	uint64_t u, size;
	int64_t d, again;

	(void)conf_bool(it, &b, &err);
	if (!conf_u64(it, 3, 1000, &u, &err))
		CHECK(u >= 3 && u <= 1000);
	(void)conf_size(it, &size, &err);
	if (!conf_duration(it, &d, &err)) {
		CHECK(d >= 0);
		CHECK(!parse_duration(it->value, &again) && again == d);
	}
	CHECK(conf_err(it, &err, "'%s' is not it", it->value) == -EINVAL);
	CHECK(strlen(err.msg) < sizeof(err.msg));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const known[] = {"state", "data", "durability", "log_level", ""};
	struct conf *c = conf_new();
	struct err err = {0};
	errint_t r;

	CHECK(c);
	r = conf_load(c, fuzz_file(p, n), &err);
	CHECK(!r || *err.msg);
	for (size_t i = 0; i < conf_count(c); i++) {
		const struct conf_item *it = conf_at(c, i);

		CHECK(it->section && it->key && it->value && it->file && it->line > 0);
		CHECK(conf_get(c, it->section, it->key));
		(void)nearest_name(it->key, known, sizeof(known) / sizeof(*known));
		values(it);
	}
	conf_destroy(c);
	return 0;
}
