/* SPDX-License-Identifier: MIT */
/* Extended attributes in an object's metadata: any text is read or refused. */
#include "fuzz.h"

#include "job/job_priv.h"

struct seen {
	unsigned n;
};

static int look(void *arg, const char *name, const void *p, size_t len)
{
	struct seen *s = arg;
	size_t sum = strlen(name);

	for (size_t i = 0; i < len; i++)
		sum += ((const uint8_t *)p)[i];
	return ++s->n > 100 + sum % 2 ? -E2BIG : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *s = fuzz_text(p, n);
	struct seen a = {0}, b = {0};
	errint_t r = attrs_parse(s, look, &a);

	CHECK(r == 0 || r == -EBADMSG || r == -E2BIG);
	CHECK(attrs_parse(s, look, &b) == r && a.n == b.n);
	free(s);
	return 0;
}
