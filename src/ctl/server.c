/* SPDX-License-Identifier: MIT */
/*
 * The socket. One thread accepts, watches for clients that go away, and joins the threads of
 * connections that ended; each connection has a thread that reads a request, runs its verb, and
 * answers. Connections are bounded; a client that neither asks nor reads is dropped.
 *
 * Only the mount's owner and root may connect: the directory is 0700, the socket 0600, and the
 * peer's credentials are looked at.
 */
#include "ctl_priv.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_log.h"

#define NAMES_TRIED 9 /* NAME.sock, NAME+2.sock ...: one that drains may still have the first */

static const struct {
	const char *name;
	ctl_verb run;
} verbs[] = {
#define X(id, name) {name, verb_##id},
	CTL_VERBS(X)
#undef X
};

/* ---- a connection ---- */

static errint_t answer(struct ctl_conn *c, errint_t r, json_t *data, const struct err *err)
{
	cleanup_json json_t *line = NULL;

	if (!r)
		line = json_pack("{s:b,s:o*}", "ok", 1, "data", data);
	else
		line = json_pack("{s:b,s:i,s:s,s:o}", "ok", 0, "errno", -r, "kind",
			err_kind_name(err->kind), "error", json_text(err_text(err, r)));
	return line ? json_write_line(c->fd, line) : -ENOMEM;
}

static errint_t serve_one(struct ctl_conn *c, const json_t *req)
{
	const char *verb = json_string_value(json_object_get(req, "verb"));
	struct err err = {0};
	json_t *data = NULL;
	errint_t r;

	for (size_t i = 0; verb && i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(verbs[i].name, verb) != 0)
			continue;
		vfs_catch_up(c->ctl->conf.vfs);
		r = verbs[i].run(c, req, &data, &err);
		assert(r <= 0);
		if (r && data) {
			json_decref(data);
			data = NULL;
		}
		return answer(c, r, data, &err);
	}
	r = err_set(&err, -ENOSYS, ERR_FINAL, "the daemon knows no verb '%s'", verb ? verb : "");
	return answer(c, r, NULL, &err);
}

static void *conn_main(void *arg)
{
	struct ctl_conn *c = arg;
	errint_t r = 0;

	(void)pthread_setname_np(pthread_self(), "ctl");
	while (!r && !c->hold && !ctl_cancelled(c)) {
		cleanup_json json_t *req = NULL;
		struct err err = {0};

		r = json_read_line(c->fd, CTL_REQUEST_MAX, &req, &err);
		if (r == -ETIMEDOUT)
			(void)err_set(&err, r, ERR_FINAL,
				"the connection was closed: it asked nothing for %d s", CTL_IDLE_S);
		if (r == -EBADMSG || r == -EMSGSIZE || r == -ETIMEDOUT)
			(void)answer(c, r, NULL, &err);
		if (!r)
			r = serve_one(c, req);
	}
	/* Also to who has not asked yet: it finds that before it finds the end. */
	if (!c->hold && atomic_load(&c->ctl->stop))
		(void)answer(c, -ECONNREFUSED, NULL,
			&(struct err){.kind = ERR_FINAL, .msg = "the daemon is ending"});
	/* The accepting thread closes the descriptor, which it polls. */
	atomic_store(&c->ended, true);
	(void)eventfd_write(c->ctl->wake_fd, 1);
	return NULL;
}

static bool peer_ok(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}

static void refuse(int fd, const char *why)
{
	cleanup_json json_t *line =
		json_pack("{s:b,s:i,s:s}", "ok", 0, "errno", EAGAIN, "error", why);

	if (line)
		(void)json_write_line(fd, line);
	(void)close(fd);
}

static void conn_start(struct ctl *s, int fd)
{
	const struct timeval idle = {.tv_sec = CTL_IDLE_S};
	struct ctl_conn *c = NULL;

	for (size_t i = 0; i < CTL_CONNS_MAX && !c; i++)
		c = s->conns[i].used ? NULL : &s->conns[i];
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle)) < 0) {
		(void)close(fd);
		return;
	}
	if (!peer_ok(fd)) {
		log_warn("ctl", "refused a connection by another user");
		refuse(fd, "this mount belongs to another user");
		return;
	}
	if (!c) {
		refuse(fd, "too many connections to the daemon");
		return;
	}
	*c = (struct ctl_conn){.ctl = s, .fd = fd, .used = true};
	if (pthread_create(&c->thread, NULL, conn_main, c)) {
		c->used = false;
		refuse(fd, "the daemon cannot start a thread");
	}
}

static void conn_end(struct ctl_conn *c)
{
	(void)pthread_join(c->thread, NULL);
	if (!c->hold)
		(void)close(c->fd);
	c->used = false;
}

/* ---- the accepting thread ---- */

static void *accept_main(void *arg)
{
	struct ctl *s = arg;
	struct pollfd p[CTL_CONNS_MAX + 2];
	eventfd_t dummy;

	(void)pthread_setname_np(pthread_self(), "ctl-accept");
	while (!atomic_load(&s->stop)) {
		p[0] = (struct pollfd){.fd = s->fd, .events = POLLIN};
		p[1] = (struct pollfd){.fd = s->wake_fd, .events = POLLIN};
		for (size_t i = 0; i < CTL_CONNS_MAX; i++) {
			struct ctl_conn *c = &s->conns[i];
			bool watch = c->used && !atomic_load(&c->cancel);

			p[i + 2] = (struct pollfd){.fd = watch ? c->fd : -1, .events = POLLRDHUP};
		}
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR) {
			log_error("ctl", "poll: %s", err_text(NULL, -errno));
			break;
		}
		if (p[1].revents)
			(void)eventfd_read(s->wake_fd, &dummy);
		for (size_t i = 0; i < CTL_CONNS_MAX; i++) {
			struct ctl_conn *c = &s->conns[i];

			if (!c->used)
				continue;
			if (p[i + 2].revents & (POLLRDHUP | POLLHUP | POLLERR))
				atomic_store(&c->cancel, true);
			if (atomic_load(&c->ended))
				conn_end(c);
		}
		if (p[0].revents & POLLIN) {
			int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				conn_start(s, fd);
			else if (errno == EMFILE || errno == ENFILE)
				ctl_pause(100);
		}
	}
	return NULL;
}

/* ---- life ---- */

static errint_t socket_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(ret->sun_path))
		return err_set(err, -ENAMETOOLONG, ERR_FINAL,
			"the path of the control socket is too long: %s", path);
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return 0;
}

/* Removes a socket that nobody listens to. */
static bool stale_remove(const char *path)
{
	int fd = ctl_connect(path, 0); /* one that has no room is there */

	if (fd >= 0) {
		(void)close(fd);
		return false;
	}
	return (fd == -ECONNREFUSED && unlink(path) == 0) || fd == -ENOENT;
}

static errint_t bind_one(struct ctl *s, const char *path, struct err *err)
{
	struct sockaddr_un un;
	struct stat st;
	errint_t r = socket_address(path, &un, err);
	mode_t mask;

	if (r)
		return r;
	mask = umask(0177);
	r = bind(s->fd, (struct sockaddr *)&un, sizeof(un)) < 0 ? -errno : 0;
	if (r == -EADDRINUSE && stale_remove(path))
		r = bind(s->fd, (struct sockaddr *)&un, sizeof(un)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r)
		return err_set(err, r, ERR_FINAL, "cannot make the control socket %s: %s", path,
			err_text(NULL, r));
	if (stat(path, &st) == 0) {
		s->path_dev = st.st_dev;
		s->path_ino = st.st_ino;
	}
	s->path = strdup(path);
	return s->path ? 0 : err_set(err, -ENOMEM, ERR_RETRY, "no memory");
}

static errint_t socket_make(struct ctl *s, const char *name, struct err *err)
{
	char dir[256], path[600], more[8] = "";
	struct stat st;
	errint_t r = ctl_dir(dir, sizeof(dir), err);
	int room;

	if (r)
		return r;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		r = -errno;
		return err_set(err, r, ERR_FINAL, "cannot make %s for the control socket: %s", dir,
			err_text(NULL, r));
	}
	if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
		(st.st_mode & 077))
		return err_set(
			err, -EPERM, ERR_FINAL, "%s has just been made by somebody else", dir);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fd < 0 || s->wake_fd < 0)
		return err_set(err, -errno, ERR_FINAL, "cannot make the control socket: %s",
			err_text(NULL, -errno));
	/* A socket's path is short: a long name loses its front, which says the least. */
	room = (int)sizeof(((struct sockaddr_un *)0)->sun_path) - (int)strlen(dir) - 10;
	if (room > 0 && (int)strlen(name) > room)
		name += (int)strlen(name) - room;
	for (unsigned i = 1; i <= NAMES_TRIED; i++) {
		if (i > 1)
			(void)snprintf(more, sizeof(more), "+%u", i);
		(void)snprintf(path, sizeof(path), "%s/%s%s.sock", dir, name, more);
		r = bind_one(s, path, err);
		if (r != -EADDRINUSE)
			break;
	}
	if (!r && listen(s->fd, CTL_CONNS_MAX) < 0)
		r = err_set(err, -errno, ERR_FINAL, "cannot listen at %s: %s", path,
			err_text(NULL, -errno));
	return r;
}

errint_t ctl_open(const struct ctl_conf *conf, struct ctl **ret, struct err *err)
{
	struct ctl *s = calloc(1, sizeof(*s));
	errint_t r;
	int rc;

	*ret = NULL;
	if (!s)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for the control socket");
	s->fd = s->wake_fd = -1;
	s->conf = *conf;
	s->conf.name = NULL;
	s->conf.mountpoint = strdup(conf->mountpoint);
	s->conf.state = strdup(conf->state);
	s->conf.version = strdup(conf->version);
	s->since_ns = clock_now_ns();
	if (!s->conf.mountpoint || !s->conf.state || !s->conf.version)
		r = err_set(err, -ENOMEM, ERR_RETRY, "no memory for the control socket");
	else
		r = socket_make(s, conf->name, err);
	if (!r) {
		rc = pthread_create(&s->thread, NULL, accept_main, s);
		s->has_thread = rc == 0;
		if (rc)
			r = err_set(err, -rc, ERR_RETRY, "cannot start the control thread: %s",
				err_text(NULL, -rc));
	}
	if (r) {
		ctl_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* Not another daemon's, which may have taken the name since. */
static void socket_remove(struct ctl *s)
{
	struct stat st;

	if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->path_dev &&
		st.st_ino == s->path_ino)
		(void)unlink(s->path);
}

void ctl_unmounted(struct ctl *s)
{
	if (s)
		atomic_store(&s->unmounted, true);
}

void ctl_drained(struct ctl *s, const struct ctl_end *end)
{
	if (!s)
		return;
	s->end = *end;
	atomic_store(&s->drained, true);
}

void ctl_close(struct ctl *s)
{
	if (!s)
		return;
	socket_remove(s);
	if (s->has_thread) {
		atomic_store(&s->stop, true);
		(void)eventfd_write(s->wake_fd, 1);
		(void)pthread_join(s->thread, NULL);
	}
	for (size_t i = 0; i < CTL_CONNS_MAX; i++) {
		struct ctl_conn *c = &s->conns[i];

		if (!c->used)
			continue;
		atomic_store(&c->cancel, true);
		(void)shutdown(c->fd, SHUT_RD);
		conn_end(c);
	}
	if (s->fd >= 0)
		(void)close(s->fd);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	free(s->path);
	free((char *)s->conf.mountpoint);
	free((char *)s->conf.state);
	free((char *)s->conf.version);
	free(s);
}
