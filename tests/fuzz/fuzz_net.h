/* SPDX-License-Identifier: MIT */
/*
 * The net of the targets that fuzz answers. The input has them one behind the other, with a byte
 * 0x1e between; the last one answers every further request too. One is "STATUS\nName: value\n...
 * \n\nBODY". Requests go nowhere.
 */
#ifndef TEST_FUZZ_NET_H
#define TEST_FUZZ_NET_H

#include "fuzz.h"

#include "astra/net.h"

/* Answers of one input; borrowed until the next call. */
void fuzz_net_answers(const uint8_t *p, size_t n);
/* Called for each request before it is answered; NULL = nobody. */
extern void (*fuzz_net_look)(const struct net_req *q);

#endif
