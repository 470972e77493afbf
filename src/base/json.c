/* SPDX-License-Identifier: MIT */
/*
 * JSON lines on sockets and pipes, and text that need not be UTF-8. Any thread; one reader and
 * one writer per descriptor.
 *
 * A socket is read by peeking, so that nothing behind the newline is lost to the next reader; a
 * pipe cannot be peeked and is read byte by byte. Both are blocking descriptors; a receive timeout
 * (SO_RCVTIMEO) ends the read with -ETIMEDOUT.
 */
#include "astra/base_json.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "astra/base_buf.h"
#include "utf8_priv.h"

json_t *json_text(const char *s)
{
	static const char replacement[] = "\xef\xbf\xbd";
	cleanup_buf struct buf b = BUF_INIT(SIZE_MAX / 2);
	const unsigned char *at = (const unsigned char *)s;
	size_t len, n, clean = 0;
	uint32_t c;

	assert(s);
	len = strlen(s);
	while (clean < len && (n = utf8_step(at + clean, len - clean, &c)))
		clean += n;
	if (clean == len)
		return json_stringn_nocheck(s, len);
	for (size_t i = 0; i < len; i += n ? n : 1) {
		n = utf8_step(at + i, len - i, &c);
		(void)buf_add(&b, n ? (const void *)(at + i) : replacement, n ? n : 3);
	}
	return b.failed ? NULL : json_stringn_nocheck(b.p, b.len);
}

/* Reads at least one byte and none behind the next newline. Bytes read, 0 at the end, -errno. */
static ssize_t read_some(int fd, bool *socket, char *to, size_t room)
{
	const char *nl;
	ssize_t n;

	do {
		n = *socket ? recv(fd, to, room, MSG_PEEK) : read(fd, to, 1);
		if (n < 0 && errno == ENOTSOCK && *socket) {
			*socket = false;
			errno = EINTR;
		}
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;
	if (n == 0 || !*socket)
		return n;
	nl = memchr(to, '\n', (size_t)n);
	room = nl ? (size_t)(nl - to) + 1 : (size_t)n;
	do
		n = recv(fd, to, room, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static errint_t parse(const char *p, size_t len, bool ended, json_t **ret, struct err *err)
{
	json_error_t je;

	*ret = json_loadb(p, len, JSON_REJECT_DUPLICATES, &je);
	if (*ret)
		return 0;
	if (json_error_code(&je) == json_error_out_of_memory)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for a JSON document");
	if (ended && json_error_code(&je) == json_error_premature_end_of_input)
		return err_set(err, -ECONNRESET, ERR_UNKNOWN,
			"the other side ended in the middle of a JSON document");
	return err_set(err, -EBADMSG, ERR_FINAL, "bad JSON at line %d, column %d: %s", je.line,
		je.column, je.text);
}

errint_t json_read_line(int fd, size_t max, json_t **ret, struct err *err)
{
	cleanup_buf struct buf b = BUF_INIT(max);
	bool socket = true;
	char chunk[4096];

	assert(fd >= 0);
	assert(ret);
	*ret = NULL;
	for (;;) {
		ssize_t n = read_some(fd, &socket, chunk, sizeof(chunk));
		errint_t r;

		if (n < 0)
			return err_set(err, (errint_t)n, ERR_UNKNOWN, "cannot read JSON: %s",
				err_text(NULL, (errint_t)n));
		if (n == 0 && b.len == 0)
			return err_set(err, -ECONNRESET, ERR_UNKNOWN,
				"the other side closed the connection");
		if (n == 0)
			return parse(b.p, b.len, true, ret, err);
		if (chunk[n - 1] == '\n')
			n--, r = 1;
		else
			r = 0;
		if (buf_add(&b, chunk, (size_t)n)) {
			if (b.failed == -ENOMEM)
				return err_set(
					err, -ENOMEM, ERR_RETRY, "no memory for a JSON document");
			return err_set(err, -EMSGSIZE, ERR_FINAL,
				"JSON document of more than %zu bytes", max);
		}
		if (r)
			return parse(b.p, b.len, false, ret, err);
	}
}

static int dump_to_buf(const char *p, size_t len, void *arg)
{
	return buf_add(arg, p, len);
}

errint_t json_write_line(int fd, const json_t *j)
{
	cleanup_buf struct buf b = BUF_INIT(SIZE_MAX / 2);
	bool socket = true;

	assert(fd >= 0);
	assert(j);
	if (json_dump_callback(j, dump_to_buf, &b, JSON_COMPACT | JSON_ENCODE_ANY))
		return b.failed ? b.failed : -EINVAL;
	if (buf_add(&b, "\n", 1))
		return b.failed;
	for (size_t done = 0; done < b.len;) {
		/* A reader that went away is an error here, not a signal. */
		ssize_t n = socket ? send(fd, b.p + done, b.len - done, MSG_NOSIGNAL)
				   : write(fd, b.p + done, b.len - done);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == ENOTSOCK && socket) {
			socket = false;
		} else if (errno != EINTR) {
			return errno == EAGAIN || errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;
		}
	}
	return 0;
}
