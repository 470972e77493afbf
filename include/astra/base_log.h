/* SPDX-License-Identifier: MIT */
/*
 * One line per event: time, level, room, message. base, store, meta, stage and policy never log
 * above debug: the room that owns the request or the job logs, once. Thread-safe.
 */
#ifndef ASTRA_BASE_LOG_H
#define ASTRA_BASE_LOG_H

#include <stdbool.h>

#include "astra/base_err.h"

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_NOTICE, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* path NULL = standard error; "syslog" = syslog(3). The file is created 0600 and reopened by
 * log_reopen() (SIGHUP). */
errint_t log_open(enum log_level level, const char *path, struct err *err);
void log_reopen(void);
void log_close(void);
void log_level_set(enum log_level level);
enum log_level log_level_get(void);

/* Rooms whose debug messages are logged at any level, from "net:store"; -EINVAL with the word that
 * is no room's name. The wire log of net is only written when net is among them. */
errint_t log_rooms_parse(const char *s, unsigned *ret, struct err *err);
void log_rooms_set(unsigned rooms);
bool log_room_on(const char *room);

/* "error".."debug" -> level; -EINVAL for anything else. */
errint_t log_level_parse(const char *s, enum log_level *ret);

/* True at most once a minute for the same words: for what would be said of each request. Of more
 * than 256 at a time the oldest are forgotten. */
bool log_seldom(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* room is a short literal, "vfs". Never pass secrets: nothing here removes them. */
void log_msg(enum log_level level, const char *room, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(room, ...)  log_msg(LOG_LVL_ERROR, room, __VA_ARGS__)
#define log_warn(room, ...)   log_msg(LOG_LVL_WARNING, room, __VA_ARGS__)
#define log_notice(room, ...) log_msg(LOG_LVL_NOTICE, room, __VA_ARGS__)
#define log_info(room, ...)   log_msg(LOG_LVL_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)                                                                       \
	do {                                                                                       \
		if (log_level_get() >= LOG_LVL_DEBUG || log_room_on(room))                         \
			log_msg(LOG_LVL_DEBUG, room, __VA_ARGS__);                                 \
	} while (0)

#endif
