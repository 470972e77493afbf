/* SPDX-License-Identifier: MIT */
/*
 * The log: standard error, a file, or syslog.
 *
 * A line is made on the caller's stack and written with one write(2) to a descriptor opened with
 * O_APPEND, so that lines of several threads and processes never mix. Whatever could start a line
 * or drive a terminal is escaped: messages carry names made by others. A line that cannot be
 * written (disk full, pipe closed) goes to syslog instead, after one line that says so.
 *
 * The caller of log_open ignores SIGPIPE. Until log_open, notices and above go to standard error.
 */
#include "astra/base_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"
#include "utf8_priv.h"

#define TEXT_MAX  2048 /* of a message as given */
#define SAID_MAX  256
#define SELDOM_NS (60 * NS_PER_S)
#define LINE_MAX_ (TEXT_MAX + 1024)

enum sink { SINK_STDERR, SINK_FILE, SINK_SYSLOG };

static _Atomic int level_now = LOG_LVL_NOTICE;
static const char *const room_names[] = {"base", "net", "store", "meta", "stage", "policy", "job",
	"tier", "vfs", "fuse", "ctl", "daemon"};
static atomic_uint rooms_on; /* a bit for each */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct {
	struct lock lock; /* RANK_LOG */
	struct {
		enum sink sink;
		int fd;	      /* of SINK_FILE */
		char *path;   /* owned */
		bool failing; /* the last write failed, syslog was told */
		bool torn;    /* the last write ended within a line */
		struct {
			uint64_t words; /* their hash */
			int64_t at_ns;	/* monotonic; 0 = free */
		} said[SAID_MAX];
	} shared; /* lock */
} the;

static const struct {
	const char *name;
	int priority;
} levels[] = {
	[LOG_LVL_ERROR] = {"error", LOG_ERR},
	[LOG_LVL_WARNING] = {"warning", LOG_WARNING},
	[LOG_LVL_NOTICE] = {"notice", LOG_NOTICE},
	[LOG_LVL_INFO] = {"info", LOG_INFO},
	[LOG_LVL_DEBUG] = {"debug", LOG_DEBUG},
};

static void init_once(void)
{
	lock_init(&the.lock, RANK_LOG, "log");
	the.shared.fd = -1;
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? -errno : fd;
}

/* Forgets the present sink. */
static void close_locked(void)
{
	lock_assert_held(&the.lock);
	if (the.shared.sink == SINK_SYSLOG)
		closelog();
	if (the.shared.fd >= 0)
		(void)close(the.shared.fd);
	free(the.shared.path);
	the.shared.path = NULL;
	the.shared.fd = -1;
	the.shared.sink = SINK_STDERR;
	the.shared.failing = the.shared.torn = false;
}

errint_t log_open(enum log_level level, const char *path, struct err *err)
{
	enum sink sink = SINK_STDERR;
	cleanup_free char *copy = NULL;
	int fd = -1;

	pthread_once(&once, init_once);
	log_level_set(level);
	if (path && strcmp(path, "syslog") == 0) {
		sink = SINK_SYSLOG;
	} else if (path) {
		sink = SINK_FILE;
		copy = strdup(path);
		if (!copy)
			return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the log");
		fd = open_file(path);
		if (fd < 0)
			return err_set(err, fd, ERR_FINAL, "cannot open the log file '%s': %s",
				path, err_text(NULL, fd));
	}
	LOCKED(&the.lock);
	close_locked();
	the.shared.sink = sink;
	the.shared.fd = fd;
	the.shared.path = steal_ptr(&copy);
	if (sink == SINK_SYSLOG)
		openlog("astrafs", LOG_PID | LOG_NDELAY, LOG_DAEMON);
	return 0;
}

void log_reopen(void)
{
	cleanup_free char *path = NULL;
	int fd = 0;

	pthread_once(&once, init_once);
	{
		LOCKED(&the.lock);
		if (the.shared.sink != SINK_FILE)
			return;
		fd = open_file(the.shared.path);
		if (fd >= 0) {
			(void)close(the.shared.fd);
			the.shared.fd = fd;
			the.shared.failing = the.shared.torn = false;
			return;
		}
		path = strdup(the.shared.path);
	}
	/* The old file goes on being written. */
	log_error("log", "cannot open the log file '%s' again: %s", path ? path : "?",
		err_text(NULL, fd));
}

void log_close(void)
{
	pthread_once(&once, init_once);
	LOCKED(&the.lock);
	close_locked();
}

void log_level_set(enum log_level level)
{
	assert((size_t)level < ARRAY_SIZE(levels));
	atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

enum log_level log_level_get(void)
{
	return (enum log_level)atomic_load_explicit(&level_now, memory_order_relaxed);
}

errint_t log_rooms_parse(const char *s, unsigned *ret, struct err *err)
{
	unsigned on = 0;

	while (*s) {
		size_t n = strcspn(s, ",: "), i = 0;

		while (i < ARRAY_SIZE(room_names) &&
			(strlen(room_names[i]) != n || memcmp(room_names[i], s, n) != 0))
			i++;
		if (n && i == ARRAY_SIZE(room_names))
			return err_set(err, -EINVAL, ERR_FINAL,
				"'%.*s' is no room; allowed: base, net, store, meta, stage, "
				"policy, job, tier, vfs, fuse, ctl, daemon",
				(int)MIN_OF(n, (size_t)40), s);
		on |= n ? 1u << i : 0;
		s += n + (s[n] != 0);
	}
	*ret = on;
	return 0;
}

void log_rooms_set(unsigned rooms)
{
	atomic_store_explicit(&rooms_on, rooms, memory_order_relaxed);
}

bool log_room_on(const char *room)
{
	unsigned on = atomic_load_explicit(&rooms_on, memory_order_relaxed);

	for (size_t i = 0; on && i < ARRAY_SIZE(room_names); i++)
		if ((on >> i & 1) && !strcmp(room_names[i], room))
			return true;
	return false;
}

errint_t log_level_parse(const char *s, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(s, levels[i].name) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* Copies text with control characters, backslashes and bytes that are not UTF-8 as \n, \t, \\ and
 * \xNN; returns the bytes written, at most room. A text that does not fit ends in "...". */
static size_t escape(const char *text, char *to, size_t room)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = strlen(text), out = 0, n;
	uint32_t c;

	assert(room > 8);
	room -= 3;
	for (size_t i = 0; i < len; i += n) {
		char esc[8];
		int m = 0;

		c = 0;
		n = utf8_step(s + i, len - i, &c);
		if (n && c >= 0x20 && c != '\\' && (c < 0x7f || c > 0x9f)) {
			memcpy(esc, s + i, n);
			m = (int)n;
		} else {
			n = 1;
			if (s[i] == '\n' || s[i] == '\t' || s[i] == '\\')
				m = snprintf(esc, sizeof(esc), "\\%c",
					s[i] == '\n'   ? 'n'
					: s[i] == '\t' ? 't'
						       : '\\');
			else
				m = snprintf(esc, sizeof(esc), "\\x%02x", s[i]);
		}
		if (out + (size_t)m > room) {
			memcpy(to + out, "...", 3);
			return out + 3;
		}
		memcpy(to + out, esc, (size_t)m);
		out += (size_t)m;
	}
	return out;
}

static size_t put_time(char *to, size_t room)
{
	int64_t ns = clock_now_ns();
	time_t s = (time_t)(ns / NS_PER_S);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(to, room, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(to + n, room - n, ".%03dZ ", (int)(ns % NS_PER_S / NS_PER_MS));
}

/* Returns 0 or -errno. An end within the line is mended by the next one. */
static errint_t write_line_locked(int fd, const char *line, size_t len)
{
	ssize_t n;

	lock_assert_held(&the.lock);
	if (the.shared.torn) {
		if (write(fd, "\n", 1) != 1)
			return -errno;
		the.shared.torn = false;
	}
	do
		n = write(fd, line, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	the.shared.torn = (size_t)n < len;
	return the.shared.torn ? -ENOSPC : 0;
}

void log_msg(enum log_level level, const char *room, const char *fmt, ...)
{
	char text[TEXT_MAX], line[LINE_MAX_];
	size_t len, body;
	errint_t r;
	va_list ap;
	int keep = errno, n;

	assert((size_t)level < ARRAY_SIZE(levels));
	if (level > log_level_get() && !(level == LOG_LVL_DEBUG && log_room_on(room)))
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		(void)snprintf(text, sizeof(text), "(a message that cannot be formatted: %s)", fmt);
	if (n >= (int)sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);

	len = put_time(line, 64);
	len += (size_t)snprintf(line + len, 64, "%s ", levels[level].name);
	body = len;
	len += (size_t)snprintf(line + len, 32, "%.20s: ", room);
	len += escape(text, line + len, sizeof(line) - len - 2);
	line[len] = '\0';

	pthread_once(&once, init_once);
	lock_take(&the.lock);
	if (the.shared.sink == SINK_SYSLOG) {
		syslog(levels[level].priority, "%s", line + body);
	} else {
		line[len] = '\n';
		r = write_line_locked(the.shared.sink == SINK_FILE ? the.shared.fd : STDERR_FILENO,
			line, len + 1);
		line[len] = '\0';
		if (r && !the.shared.failing)
			syslog(LOG_DAEMON | LOG_ERR,
				"astrafs: cannot write the log '%s': %s; lines come here",
				the.shared.path ? the.shared.path : "standard error",
				err_text(NULL, r));
		if (r)
			syslog(LOG_DAEMON | levels[level].priority, "astrafs: %s", line + body);
		the.shared.failing = r != 0;
	}
	lock_drop(&the.lock);
	errno = keep;
}

bool log_seldom(const char *fmt, ...)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	int64_t now = clock_mono_ns();
	char words[TEXT_MAX];
	size_t at = 0;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	for (const char *s = words; *s; s++)
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	pthread_once(&once, init_once);
	LOCKED(&the.lock);
	for (size_t i = 0; i < SAID_MAX; i++) {
		if (the.shared.said[i].at_ns && the.shared.said[i].words == h) {
			at = i;
			break;
		}
		if (the.shared.said[i].at_ns < the.shared.said[at].at_ns)
			at = i;
	}
	if (the.shared.said[at].at_ns && the.shared.said[at].words == h &&
		now - the.shared.said[at].at_ns < SELDOM_NS)
		return false;
	the.shared.said[at].words = h;
	the.shared.said[at].at_ns = now;
	return true;
}
