/* SPDX-License-Identifier: MIT */
/*
 * Signals are taken by one thread with sigtimedwait(2); handlers do nothing anywhere else. While a
 * stop is under way it also keeps the time for it.
 */
#include "signals.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "astra/base_log.h"

#define END_SIGNAL SIGUSR1 /* to this thread: end */

static struct {
	pthread_t thread;
	bool started;
	atomic_bool end;
	struct wire *wire;
} the;

static sigset_t signals_set(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, END_SIGNAL);
	return set;
}

void signals_block(void)
{
	sigset_t set = signals_set();

	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static void *signal_main(void *arg)
{
	const struct timespec tick = {.tv_nsec = 100 * 1000 * 1000};
	sigset_t set = signals_set();
	unsigned stops = 0;

	(void)arg;
	(void)pthread_setname_np(pthread_self(), "signals");
	while (!atomic_load(&the.end)) {
		int sig = sigtimedwait(&set, NULL, stops ? &tick : NULL);

		if (sig == SIGHUP) {
			log_reopen();
			log_notice("daemon", "log opened again");
		} else if (sig == SIGTERM || sig == SIGINT) {
			log_notice("daemon", "%s: %s", sig == SIGTERM ? "SIGTERM" : "SIGINT",
				stops ? "ending at once" : "unmounting");
			wire_stop(the.wire, ++stops);
		}
		if (stops)
			wire_stop_tick(the.wire);
	}
	return NULL;
}

errint_t signals_start(struct wire *w, struct err *err)
{
	int rc;

	assert(!the.started);
	the.wire = w;
	rc = pthread_create(&the.thread, NULL, signal_main, NULL);
	if (rc)
		return err_set(err, -rc, ERR_RETRY, "cannot start the signal thread: %s",
			err_text(NULL, -rc));
	the.started = true;
	return 0;
}

void signals_end(void)
{
	if (!the.started)
		return;
	atomic_store(&the.end, true);
	(void)pthread_kill(the.thread, END_SIGNAL);
	(void)pthread_join(the.thread, NULL);
	the.started = false;
}
