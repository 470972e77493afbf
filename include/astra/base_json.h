/* SPDX-License-Identifier: MIT */
/* JSON, by jansson; no other header includes it. One document per line on every socket. */
#ifndef ASTRA_BASE_JSON_H
#define ASTRA_BASE_JSON_H

#include <jansson.h>

#include "astra/base_err.h"

static inline void cleanup_json_p(json_t **j)
{
	json_decref(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_p)))

/* A string that need not be UTF-8 (file names): invalid bytes become U+FFFD. */
json_t *json_text(const char *s);
/* Reads one document of at most max bytes up to a newline or end of file from fd;
 * -EBADMSG with the position for bad JSON, -EMSGSIZE, -ECONNRESET for an early end. */
errint_t json_read_line(int fd, size_t max, json_t **ret, struct err *err);
/* Writes compact JSON and a newline, all of it. */
errint_t json_write_line(int fd, const json_t *j);

#endif
