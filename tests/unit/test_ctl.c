/* SPDX-License-Identifier: MIT */
/* The client's side of the socket: daemons that do not accept, beside one that answers. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_clock.h"
#include "astra/ctl.h"
#include "meta_help.h"

#define MANY 64

struct fix {
	char dir[64], full[80], good[80];
	int full_fd, good_fd;
	int waiting[MANY]; /* in full_fd's queue */
	unsigned n;
};

static int listen_at(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* Until nobody has room to wait any more. */
static void queue_fill(struct fix *f)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int r = 0;

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->full);
	while (r == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		assert_true(fd >= 0 && f->n < MANY);
		f->waiting[f->n++] = fd;
		r = connect(fd, (struct sockaddr *)&un, sizeof(un));
	}
	assert_int_equal(errno, EAGAIN);
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_make(f->dir);
	(void)snprintf(f->full, sizeof(f->full), "%s/full.sock", f->dir);
	(void)snprintf(f->good, sizeof(f->good), "%s/good.sock", f->dir);
	assert_int_equal(setenv("ASTRA_RUNTIME_DIR", f->dir, 1), 0);
	f->full_fd = listen_at(f->full);
	f->good_fd = listen_at(f->good);
	queue_fill(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < f->n; i++)
		(void)close(f->waiting[i]);
	(void)close(f->full_fd);
	(void)close(f->good_fd);
	scratch_remove(f->dir);
	free(f);
	return 0;
}

/* It does not wait for ever. */
static void test_full(void **state)
{
	struct fix *f = *state;
	int64_t from = clock_mono_ns();

	assert_int_equal(ctl_connect(f->full, 0), -EAGAIN);
	assert_int_equal(ctl_connect(f->full, from + 200 * NS_PER_MS), -EAGAIN);
	assert_in_range(clock_mono_ns() - from, 150 * NS_PER_MS, 5 * NS_PER_S);
}

static void *accept_later(void *arg)
{
	struct fix *f = arg;

	(void)usleep(300000);
	(void)close(accept4(f->full_fd, NULL, NULL, SOCK_CLOEXEC));
	return NULL;
}

/* There is room in time. */
static void test_room(void **state)
{
	struct fix *f = *state;
	pthread_t t;
	int fd;

	assert_int_equal(pthread_create(&t, NULL, accept_later, f), 0);
	fd = ctl_connect(f->full, clock_mono_ns() + 20 * NS_PER_S);
	assert_true(fd >= 0);
	(void)close(fd);
	(void)pthread_join(t, NULL);
}

static void *answer(void *arg)
{
	static const char line[] = "{\"ok\": true, \"data\": {\"mountpoint\": \"/good\"}}\n";
	struct fix *f = arg;
	int fd = accept4(f->good_fd, NULL, NULL, SOCK_CLOEXEC);

	assert_int_equal(write(fd, line, sizeof(line) - 1), sizeof(line) - 1);
	(void)close(fd);
	return NULL;
}

/* The other one is found. */
static void test_mounts(void **state)
{
	struct fix *f = *state;
	struct ctl_mount *all = NULL;
	struct err err = {0};
	int64_t from = clock_mono_ns();
	pthread_t t;
	size_t n = 0;

	assert_int_equal(pthread_create(&t, NULL, answer, f), 0);
	assert_int_equal(ctl_mounts(&all, &n, &err), 0);
	assert_in_range(clock_mono_ns() - from, 0, 20 * NS_PER_S);
	(void)pthread_join(t, NULL);
	assert_int_equal(n, 1);
	assert_string_equal(all[0].mountpoint, "/good");
	ctl_mount_done(&all[0]);
	free(all);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_full), T(test_room), T(test_mounts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
