/* SPDX-License-Identifier: MIT */
/* Requests on the control socket, as a client sends them, against all rooms over mem clouds. Every
 * connection is answered in lines of JSON and ends. */
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vfs_help.h"

#include "astra/base_log.h"
#include "astra/ctl.h"
#include "astra/tier.h"
#include "fuzz.h"

#define ANSWER_MS_MAX 20000

static struct fix *fix;
static struct ctl *ctl;
static struct tier_engine *tier;
static char socket_path[200];

static void stop_cb(void *arg)
{
	(void)arg;
}

static void stop(void)
{
	void *state = fix;

	ctl_close(ctl);
	tier_engine_destroy(tier);
	(void)teardown(&state);
}

static void start(void)
{
	struct tier_conf tc = {.mode = TIER_ADVISE, .interval_ns = 3600 * NS_PER_S};
	struct ctl_conf cc = {.name = "fuzz",
		.mountpoint = "/mnt",
		.state = "/state",
		.version = "0",
		.stop = stop_cb};
	struct err err = {0};
	void *state;

	fuzz_quiet();
	CHECK(setenv("ASTRA_RUNTIME_DIR", fuzz_dir(), 1) == 0);
	CHECK(!setup(&state));
	fix = state;
	(void)make(fix, fix->aws, "a", "hello", 5);
	(void)mkdir_in(fix, fix->gcp, "d", NULL);
	cc.meta = tc.meta = fix->m;
	cc.jobs = tc.jobs = fix->jobs;
	cc.remotes = tc.remotes = fix->remotes;
	cc.nremotes = tc.nremotes = fix->nremotes;
	cc.rules = tc.rules = &fix->rules;
	cc.prices = tc.prices = fix->vc.prices;
	CHECK(!tier_engine_new(&tc, &tier, &err));
	cc.vfs = fix->v;
	cc.tier = tier;
	cc.stage = fix->stage;
	cc.bufs = fix->bufs;
	CHECK(!ctl_open(&cc, &ctl, &err));
	(void)snprintf(socket_path, sizeof(socket_path), "%s/fuzz.sock", fuzz_dir());
}

static void line_check(const char *p, size_t len)
{
	json_t *j = json_loadb(p, len, 0, NULL);

	CHECK(j && json_is_object(j));
	json_decref(j);
}

/* Answers until the daemon closes; each is one line. */
static void read_all(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct buf b = BUF_INIT(8u << 20);
	char chunk[65536], *nl;
	size_t at = 0;
	ssize_t n;
	int ready;

	do {
		/* libFuzzer's clock interrupts. */
		do
			ready = poll(&pfd, 1, ANSWER_MS_MAX);
		while (ready < 0 && errno == EINTR);
		CHECK(ready == 1); /* else it hangs */
		n = read(fd, chunk, sizeof(chunk));
		CHECK(n <= 0 || !buf_add(&b, chunk, (size_t)n));
	} while (n > 0);
	while (b.len > at && (nl = memchr(b.p + at, '\n', b.len - at))) {
		line_check(b.p + at, (size_t)(nl - b.p) - at);
		at = (size_t)(nl - b.p) + 1;
	}
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = fuzz_text(p, n);
	int fd;

	if (!fix) {
		start();
		CHECK(atexit(stop) == 0);
	}
	/* These two keep the connection, or put the clouds out of order, by design. */
	if (!strstr(text, "umount") && !strstr(text, "debug-fault")) {
		do
			fd = ctl_connect(socket_path, INT64_MAX);
		while (fd == -EAGAIN);
		CHECK(fd >= 0);
		CHECK(send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n || errno == EPIPE ||
			errno == ECONNRESET);
		(void)shutdown(fd, SHUT_WR);
		read_all(fd);
		(void)close(fd);
	}
	free(text);
	return 0;
}
