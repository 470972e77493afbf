/* SPDX-License-Identifier: MIT */
/*
 * A pass of policy_decide() over N objects of mixed sizes, ages, classes and names, as an engine
 * pass makes it, for tests/bench. Prints "NANOSECONDS N MOVES" of the decisions alone.
 *
 *	policy N
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "astra/base_clock.h"
#include "astra/policy.h"

#define DAY_NS (86400 * NS_PER_S)
#define BATCH  1024

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void facts(struct policy_facts *f, uint64_t a, int64_t now)
{
	static const char *const providers[] = {"aws", "gcp", "azure"};
	static const char *const names[] = {"frame.raw", "monthly_report_7.pdf", "old_backup.tar",
		"x.log", "temp_data.bin", "readme.txt"};

	*f = (struct policy_facts){
		.name = names[a % 6],
		.provider = providers[(a >> 8) % 3],
		.size = (a >> 16) % (1u << 30),
		.tier = (enum tier)((a >> 4) % TIER_N),
		.created_ns = now - (int64_t)((a >> 20) % 1000) * DAY_NS,
		.last_access_ns = now - (int64_t)((a >> 30) % 500) * DAY_NS,
		.accesses_window = (a >> 40) % 120,
		.accesses_total = (a >> 40) % 1000,
	};
}

int main(int argc, char **argv)
{
	static struct policy_facts f[BATCH];
	const struct price_book *book = price_book_astra();
	const int64_t now = INT64_C(1795000000) * NS_PER_S;
	uint64_t n = argc == 2 ? strtoull(argv[1], NULL, 10) : 0, moves = 0;
	uint64_t x = UINT64_C(88172645463325252);
	struct policy_rules rules;
	int64_t spent = 0;

	if (!n)
		errx(2, "usage: policy N");
	policy_rules_default(&rules);
	for (uint64_t done = 0; done < n; done += BATCH) {
		uint64_t batch = n - done < BATCH ? n - done : BATCH;
		int64_t t;

		for (uint64_t i = 0; i < batch; i++)
			facts(&f[i], next(&x), now);
		t = clock_mono_ns();
		for (uint64_t i = 0; i < batch; i++) {
			struct verdict v;

			policy_decide(&rules, book, &f[i], now, &v);
			moves += v.action == POLICY_MOVE;
		}
		spent += clock_mono_ns() - t;
	}
	printf("%" PRId64 " %" PRIu64 " %" PRIu64 "\n", spent, n, moves);
	return 0;
}
