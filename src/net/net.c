/* SPDX-License-Identifier: MIT */
/*
 * Lanes: curl handles that are handed from call to call with their open connections, so that a
 * request finds one to its origin. The last one used is taken first; the others grow old and are
 * closed. Names and TLS sessions are shared by all lanes of a struct net.
 */
#include "net_priv.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_lock.h"

#define CONNECT_NS_DEFAULT (10 * NS_PER_S)
#define STALL_NS_DEFAULT   (20 * NS_PER_S)
#define IDLE_MAX_DEFAULT   64
#define IDLE_NS		   (50 * NS_PER_S) /* servers close theirs after a minute or less */

TAILQ_HEAD(lane_list, lane);

struct net {
	struct net_conf conf; /* strings owned */
	CURLSH *share;
	/* curl takes and drops these itself, one inside the other, hence without ranks. */
	pthread_mutex_t share_lock[CURL_LOCK_DATA_LAST];
	struct lock lock; /* RANK_NET */
	struct {
		struct lane_list idle; /* the last used one first */
		unsigned nidle;
	} shared; /* lock */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode once_result;

static void init_once(void)
{
	once_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void share_take(CURL *easy, curl_lock_data data, curl_lock_access access, void *arg)
{
	struct net *n = arg;

	(void)pthread_mutex_lock(&n->share_lock[data]);
}

static void share_drop(CURL *easy, curl_lock_data data, void *arg)
{
	struct net *n = arg;

	(void)pthread_mutex_unlock(&n->share_lock[data]);
}

static bool share_make(struct net *n)
{
	n->share = curl_share_init();
	return n->share && !curl_share_setopt(n->share, CURLSHOPT_USERDATA, n) &&
	       !curl_share_setopt(n->share, CURLSHOPT_LOCKFUNC, share_take) &&
	       !curl_share_setopt(n->share, CURLSHOPT_UNLOCKFUNC, share_drop) &&
	       !curl_share_setopt(n->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) &&
	       !curl_share_setopt(n->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
}

static bool conf_copy(struct net *n, const struct net_conf *conf)
{
	n->conf = conf ? *conf : (struct net_conf){0};
	n->conf.ca_file = n->conf.ca_file ? strdup(n->conf.ca_file) : NULL;
	n->conf.proxy = n->conf.proxy ? strdup(n->conf.proxy) : NULL;
	if (!n->conf.connect_ns)
		n->conf.connect_ns = CONNECT_NS_DEFAULT;
	if (!n->conf.stall_ns)
		n->conf.stall_ns = STALL_NS_DEFAULT;
	if (!n->conf.idle_max)
		n->conf.idle_max = IDLE_MAX_DEFAULT;
	return !conf || (!conf->ca_file == !n->conf.ca_file && !conf->proxy == !n->conf.proxy);
}

struct net *net_new(const struct net_conf *conf, struct err *err)
{
	struct net *n;

	(void)pthread_once(&once, init_once);
	if (conf && conf->ca_file && access(conf->ca_file, R_OK)) {
		err_set(err, -errno, ERR_FINAL, "cannot read the CA file '%s': %s", conf->ca_file,
			strerror(errno));
		return NULL;
	}
	n = once_result ? NULL : calloc(1, sizeof(*n));
	if (!n) {
		err_set(err, -ENOMEM, ERR_RETRY, "no memory for connections");
		return NULL;
	}
	for (unsigned i = 0; i < CURL_LOCK_DATA_LAST; i++)
		(void)pthread_mutex_init(&n->share_lock[i], NULL);
	lock_init(&n->lock, RANK_NET, "net");
	TAILQ_INIT(&n->shared.idle);
	if (!conf_copy(n, conf) || !share_make(n)) {
		err_set(err, -ENOMEM, ERR_RETRY, "no memory for connections");
		return net_destroy(n);
	}
	return n;
}

struct net *net_destroy(struct net *n)
{
	struct lane *l;

	if (!n)
		return NULL;
	while ((l = TAILQ_FIRST(&n->shared.idle))) {
		TAILQ_REMOVE(&n->shared.idle, l, link);
		lane_drop(l);
	}
	if (n->share)
		(void)curl_share_cleanup(n->share);
	for (unsigned i = 0; i < CURL_LOCK_DATA_LAST; i++)
		(void)pthread_mutex_destroy(&n->share_lock[i]);
	lock_done(&n->lock);
	free((char *)n->conf.ca_file);
	free((char *)n->conf.proxy);
	free(n);
	return NULL;
}

static bool is_loopback(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return !strcasecmp(host, "localhost");
}

/* Names of hosts that are excepted from it are not looked at. */
static bool may_take_proxy(const struct net *n)
{
	static const char *const vars[] = {"http_proxy", "all_proxy", "ALL_PROXY"};

	if (n->conf.proxy)
		return n->conf.proxy[0];
	for (unsigned i = 0; i < ARRAY_SIZE(vars); i++) {
		const char *v = getenv(vars[i]);

		if (v && *v)
			return true;
	}
	return false;
}

bool net_stays_here(const struct net *n, const struct net_url *u)
{
	return is_loopback(u->host) && !may_take_proxy(n);
}

const struct net_conf *net_conf_of(const struct net *n)
{
	return &n->conf;
}

CURLSH *net_share_of(struct net *n)
{
	return n->share;
}

/* ---- lanes ---- */

void lane_drop(struct lane *l)
{
	if (l->multi)
		(void)curl_multi_cleanup(l->multi);
	if (l->easy)
		curl_easy_cleanup(l->easy);
	free(l);
}

static struct lane *lane_new(const char *origin)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->easy = curl_easy_init();
	l->multi = curl_multi_init();
	if (!l->easy || !l->multi) {
		lane_drop(l);
		return NULL;
	}
	(void)curl_multi_setopt(l->multi, CURLMOPT_MAXCONNECTS, 1L);
	assert(strlen(origin) < sizeof(l->origin));
	memcpy(l->origin, origin, strlen(origin) + 1);
	return l;
}

struct lane *lane_take(struct net *n, const char *origin)
{
	struct lane *l;

	{
		LOCKED(&n->lock);
		TAILQ_FOREACH (l, &n->shared.idle, link) {
			if (!strcmp(l->origin, origin)) {
				TAILQ_REMOVE(&n->shared.idle, l, link);
				n->shared.nidle--;
				return l;
			}
		}
	}
	return lane_new(origin);
}

void lane_give(struct net *n, struct lane *l)
{
	struct lane_list old = TAILQ_HEAD_INITIALIZER(old);
	int64_t now = clock_mono_ns();
	struct lane *last;

	l->used_mono_ns = now;
	{
		LOCKED(&n->lock);
		TAILQ_INSERT_HEAD(&n->shared.idle, l, link);
		n->shared.nidle++;
		while ((last = TAILQ_LAST(&n->shared.idle, lane_list)) &&
			(n->shared.nidle > n->conf.idle_max ||
				now - last->used_mono_ns > IDLE_NS)) {
			TAILQ_REMOVE(&n->shared.idle, last, link);
			n->shared.nidle--;
			TAILQ_INSERT_HEAD(&old, last, link);
		}
	}
	while ((last = TAILQ_FIRST(&old))) { /* closing may send */
		TAILQ_REMOVE(&old, last, link);
		lane_drop(last);
	}
}
