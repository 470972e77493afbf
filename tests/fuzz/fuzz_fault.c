/* SPDX-License-Identifier: MIT */
/* Rules of the fault layer, and operations under them: wrong bytes come only where a rule says. */
#include "fuzz.h"

#include "astra/base_clock.h"
#include "astra/store.h"
#include "store/layer.h"

static struct store *stack;

static void start(void)
{
	struct store_mem_conf mc = {.max_bytes = 1 << 20};
	struct err err = {0};

	for (unsigned t = 0; t < TIER_N; t++)
		(void)snprintf(mc.classes[t].name, sizeof(mc.classes[t].name), "C%u", t);
	stack = store_mem_new(&mc);
	CHECK(stack);
	stack = store_fault_new(stack, "", &err);
	CHECK(stack && !store_bucket_create(stack, NULL, "b", &err));
}

static void operate(bool honest)
{
	struct store_call c = {.deadline_mono_ns = clock_mono_ns() + 2 * NS_PER_MS};
	struct store_obj o = {"b", "key"};
	struct store_stat st = {0};
	struct store_page page = {0};
	struct err err = {0};
	char back[64] = "";
	size_t got = 0;

	CHECK(!store_put(stack, &c, o, "content", 7, NULL, NULL, &err) || *err.msg);
	if (!store_head(stack, &c, o, &st, &err))
		CHECK(!honest || st.size == 7);
	store_stat_done(&st);
	if (!store_get(stack, &c, o, NULL, 0, back, sizeof(back), &got, &err) && honest)
		CHECK(got == 7 && !memcmp(back, "content", 7));
	if (!store_list(stack, &c, "b", "", '/', NULL, 10, &page, &err))
		store_page_done(&page);
	(void)store_remove(stack, &c, o, NULL, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *rules = fuzz_text(p, n);
	struct err err = {0};
	errint_t r;

	if (!stack)
		start();
	r = store_fault_set(stack, rules, &err);
	CHECK(!r || *err.msg);
	/* Seconds of delay are no fault. */
	if (!r && !strstr(rules, "delay"))
		operate(!strstr(rules, "corrupt") && !strstr(rules, "short"));
	CHECK(!store_fault_set(stack, "", &err));
	free(rules);
	return 0;
}
