/* SPDX-License-Identifier: MIT */
/* The layers and the building of remotes: what is repeated and what never, the breaker, limits,
 * faults and their syntax, configuration. Over the mem driver. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_count.h"
#include "astra/base_hash.h"
#include "astra/store.h"
#include "scratch_help.h"

static const struct store_obj K = {"b", "k"};
static struct remote *rm;
static size_t nrm;

/* pairs: key, value, ..., NULL */
static struct store *stack(const char *const *pairs)
{
	struct conf *c = conf_new();
	struct err err;
	errint_t r;

	conf_set(c, "remote r", "type", "mem");
	conf_set(c, "remote r", "bucket", "b");
	conf_set(c, "remote r", "fault", "");
	conf_set(c, "remote r", "retry_delay", "1ms");
	for (; pairs && *pairs; pairs += 2)
		conf_set(c, "remote r", pairs[0], pairs[1]);
	r = remotes_build(c, NULL, &rm, &nrm, &err);
	if (r)
		fail_msg("%s", err_text(&err, r));
	conf_destroy(c);
	return rm[0].st;
}

static int teardown(void **state)
{
	remotes_destroy(rm, nrm);
	rm = NULL;
	nrm = 0;
	return 0;
}

static void faults(struct store *s, const char *rules)
{
	struct err err;
	errint_t r = store_fault_set(s, rules, &err);

	if (r)
		fail_msg("%s", err_text(&err, r));
}

static errint_t put(struct store *s, const char *text, const char *if_match, struct err *err)
{
	struct store_put opt = {.if_match = if_match,
		.if_none_match = if_match && !strcmp(if_match, "*") ? "*" : NULL};

	if (opt.if_none_match)
		opt.if_match = NULL;
	return store_put(s, NULL, K, text, strlen(text), &opt, NULL, err);
}

static void test_repeats(void **state)
{
	struct store *s = stack(NULL);
	uint64_t before = count_get(COUNT_store_retries);
	struct store_stat st;
	struct err err;

	faults(s, "put:times=3:error=EIO");
	assert_int_equal(put(s, "x", NULL, &err), 0);
	assert_int_equal(count_get(COUNT_store_retries) - before, 3);
	faults(s, "put:times=3:error=EIO");
	assert_int_equal(put(s, "x", NULL, &err), 0); /* no effect, so conditions do not matter */
	faults(s, "put:error=ENOSPC");
	before = count_get(COUNT_store_retries);
	assert_int_equal(put(s, "x", NULL, &err), -ENOSPC);
	assert_int_equal(err.kind, ERR_FINAL);
	assert_int_equal(count_get(COUNT_store_retries), before);
	faults(s, "head:error=EIO");
	assert_int_equal(store_head(s, NULL, K, &st, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_int_equal(count_get(COUNT_store_retries) - before, 5);
}

static void test_ambiguous(void **state)
{
	struct store *s = stack(NULL);
	uint64_t before;
	struct store_copy cp = {.dst_if_none_match = STORE_IF_ABSENT, .write_mark = "3.1"};
	struct store_part p;
	struct store_stat st;
	char id[STORE_UPLOAD_MAX];
	struct err err;

	/* with a condition: done once, never repeated, and told */
	faults(s, "put:n=1:lost");
	before = count_get(COUNT_store_retries);
	assert_int_equal(put(s, "x", "*", &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(count_get(COUNT_store_retries), before);
	assert_int_equal(store_head(s, NULL, K, &st, &err), 0);
	/* without: repeated */
	faults(s, "put:n=1:lost");
	assert_int_equal(put(s, "y", NULL, &err), 0);
	assert_int_equal(count_get(COUNT_store_retries) - before, 1);
	/* an unknown one followed by plain failures stays unknown */
	faults(s, "put:n=1:lost;put:error=ENOSPC");
	assert_int_equal(put(s, "y", NULL, &err), -ENOSPC);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	faults(s, "copy:n=1:lost");
	assert_int_equal(
		store_copy(s, NULL, K, (struct store_obj){"b", "c"}, &cp, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(store_head(s, NULL, (struct store_obj){"b", "c"}, &st, &err), 0);
	assert_string_equal(store_stat_meta(&st, STORE_META_WRITE), "3.1");
	faults(s, "parts_begin:n=1:lost");
	before = count_get(COUNT_store_retries);
	assert_int_equal(store_parts_begin(s, NULL, K, NULL, id, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(count_get(COUNT_store_retries), before);
	faults(s, "remove:n=1:lost");
	assert_int_equal(store_remove(s, NULL, (struct store_obj){"b", "c"}, st.etag, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	store_stat_done(&st);
	/* the second try finds it gone: that was us */
	faults(s, "remove:n=1:lost");
	assert_int_equal(store_remove(s, NULL, K, NULL, &err), 0);
	assert_int_equal(store_parts_begin(s, NULL, K, NULL, id, &err), 0);
	faults(s, "part_put:n=1:lost;parts_finish:n=1:lost");
	assert_int_equal(
		store_part_put(s, NULL, K, id, 1, "abc", 3, crc32c(0, "abc", 3), &p, &err), 0);
	assert_int_equal(store_parts_finish(s, NULL, K, id, &p, 1, NULL, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(store_head(s, NULL, K, &st, &err), 0);
	assert_int_equal(st.size, 3);
	/* a write that timed out is as unknown; a read is not */
	faults(s, "put,head:n=1:timeout=5");
	assert_int_equal(put(s, "x", st.etag, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_UNKNOWN);
	assert_int_equal(store_head(s, NULL, K, &st, &err), 0);
}

static void test_get_cut(void **state)
{
	struct store *s = stack(NULL);
	size_t len = 1000000, n;
	uint8_t *a = malloc(len), *b = malloc(len);
	struct store_progress progress = {.have = 0};
	struct store_call call = {.progress = &progress};
	struct store_stat st;
	struct err err;

	for (size_t i = 0; i < len; i++)
		a[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(store_put(s, NULL, K, a, len, NULL, &st, &err), 0);
	faults(s, "get:times=3:cut");
	assert_int_equal(store_get(s, &call, K, st.etag, 0, b, len, &n, &err), 0);
	assert_int_equal(n, len);
	assert_memory_equal(a, b, len);
	assert_int_equal(atomic_load(&progress.have), len);
	/* lies are seen only by who knows better */
	faults(s, "get:n=1:short;get:n=1:corrupt");
	assert_int_equal(store_get(s, &call, K, st.etag, 0, b, len, &n, &err), 0);
	assert_int_equal(n, len / 2);
	assert_int_equal(store_get(s, &call, K, st.etag, 0, b, len, &n, &err), 0);
	assert_int_equal(n, len);
	assert_memory_not_equal(a, b, len);
	/* bytes damaged on the way to the store are sent again */
	faults(s, "put:n=1:corrupt");
	struct store_put opt = {.has_crc32c = true, .crc32c = crc32c(0, a, len)};

	assert_int_equal(store_put(s, NULL, K, a, len, &opt, &st, &err), 0);
	assert_true(st.crc32c == opt.crc32c);
	free(a);
	free(b);
}

static void test_deadline(void **state)
{
	static const char *const slow[] = {"retry_delay", "10s", NULL};
	struct store *s = stack(slow);
	struct store_call call = {.deadline_mono_ns = clock_mono_ns() + 50 * NS_PER_MS};
	int64_t start = clock_mono_ns();
	struct store_stat st;
	struct err err;

	/* no pause is begun that cannot end in time, and the reason is told */
	faults(s, "head:throttle=60000");
	assert_int_equal(store_head(s, &call, K, &st, &err), -EBUSY);
	assert_int_equal(err.kind, ERR_THROTTLE);
	assert_int_equal(err.retry_after_ms, 60000);
	faults(s, "head:hang");
	call.deadline_mono_ns = clock_mono_ns() + 50 * NS_PER_MS;
	assert_int_equal(store_head(s, &call, K, &st, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_CANCELLED);
	assert_true(clock_mono_ns() - start < 5 * NS_PER_S);
}

static atomic_bool flag;

static void *canceller(void *arg)
{
	usleep(50000);
	atomic_store(&flag, true);
	return NULL;
}

static void test_cancel(void **state)
{
	static const char *const slow[] = {"retry_delay", "10s", "max_requests", "1", NULL};
	struct store *s = stack(slow);
	struct store_call call = {.cancel = &flag};
	int64_t start = clock_mono_ns();
	struct store_stat st;
	struct err err;
	pthread_t t;

	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&flag, false);
		faults(s, i ? "head:hang" : "head:throttle=20000");
		pthread_create(&t, NULL, canceller, NULL);
		assert_int_equal(store_head(s, &call, K, &st, &err), -ECANCELED);
		assert_int_equal(err.kind, ERR_CANCELLED);
		pthread_join(t, NULL);
	}
	assert_true(clock_mono_ns() - start < 5 * NS_PER_S);
}

static void *hung(void *arg)
{
	struct store_stat st;

	return store_head(arg, NULL, K, &st, NULL) ? "failed" : NULL;
}

static void test_limit(void **state)
{
	static const char *const one[] = {
		"max_requests", "1", "bandwidth", "1M", "requests_per_second", "1000", NULL};
	struct store *s = stack(one);
	struct store_call call = {0};
	struct store_stat st;
	struct err err;
	uint8_t *a = calloc(1, 1 << 20);
	pthread_t t;
	void *ret;

	assert_int_equal(put(s, "x", NULL, &err), 0);
	/* one hangs: the next does not get in before its deadline */
	faults(s, "head:n=1:hang");
	pthread_create(&t, NULL, hung, s);
	usleep(50000);
	call.deadline_mono_ns = clock_mono_ns() + 50 * NS_PER_MS;
	assert_int_equal(store_head(s, &call, K, &st, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_CANCELLED);
	faults(s, ""); /* other rules let it go on */
	pthread_join(t, &ret);
	assert_null(ret);
	assert_int_equal(store_head(s, NULL, K, &st, &err), 0);
	/* 1 MiB at 1 MiB/s: the second one is not due within 100 ms */
	assert_int_equal(store_put(s, NULL, K, a, 1 << 20, NULL, NULL, &err), 0);
	call.deadline_mono_ns = clock_mono_ns() + 100 * NS_PER_MS;
	assert_int_equal(store_put(s, &call, K, a, 1 << 20, NULL, NULL, &err), -ETIMEDOUT);
	free(a);
}

/* A call that is made once neither waits its turn nor is repeated. */
static void test_once(void **state)
{
	static const char *const few[] = {"max_requests", "1", "retries", "5", NULL};
	struct store *s = stack(few);
	struct store_call call = {.once = true};
	struct store_caps caps;
	struct store_stat st;
	struct err err;
	uint64_t before;
	pthread_t t;
	void *ret;

	assert_int_equal(put(s, "x", NULL, &err), 0);
	store_caps(s, &caps);
	assert_false(caps.near); /* it has faults */
	faults(s, "head:n=1:hang");
	pthread_create(&t, NULL, hung, s);
	usleep(50000);
	assert_int_equal(store_head(s, &call, K, &st, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, ERR_CANCELLED);
	faults(s, "");
	pthread_join(t, &ret);
	assert_null(ret);
	faults(s, "head:n=1:error=EIO/retry");
	before = count_get(COUNT_store_retries);
	assert_int_equal(store_head(s, &call, K, &st, &err), -EIO);
	assert_int_equal(count_get(COUNT_store_retries), before);
	assert_int_equal(store_head(s, &call, K, &st, &err), 0);
}

static void test_breaker(void **state)
{
	static const char *const none[] = {"retries", "0", NULL};
	struct store *s = stack(none);
	struct store_stat st;
	struct err err;

	assert_int_equal(put(s, "x", NULL, &err), 0);
	assert_string_equal(store_breaker_state(s), "closed");
	faults(s, "*:error=EIO");
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(store_head(s, NULL, K, &st, &err), -EIO);
	assert_string_equal(store_breaker_state(s), "open");
	faults(s, "*:hang"); /* not even asked */
	assert_int_equal(store_head(s, NULL, K, &st, &err), -EIO);
	assert_int_equal(err.kind, ERR_RETRY);
	assert_true(err.retry_after_ms > 0 && err.retry_after_ms <= 1001);
	faults(s, "");
	usleep(1050000);
	assert_int_equal(store_head(s, NULL, K, &st, &err), 0);
	assert_string_equal(store_breaker_state(s), "closed");
	/* "no" is an answer */
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(
			store_head(s, NULL, (struct store_obj){"b", "none"}, &st, &err), -ENOENT);
	assert_string_equal(store_breaker_state(s), "closed");
}

static void test_fault_syntax(void **state)
{
	static const char *const good[] = {"", "put:p=0.5:error=EIO", ";;", "put:n=3:error=EIO",
		" * : p=0.5 : delay=3 ", "get,head:key=a/*:every=2:times=1:cut", "list:short",
		"copy:lost;get:hang", "put:throttle", "put:timeout",
		"put:error=EIO/unknown:delay=1"};
	static const char *const wrong[] = {"put", "put:error:p=0.5", "put:", "nothing:lost",
		"put:n=0:lost", "put:n=x:lost", "put:error=EFOO", "put:error=EIO/bad",
		"put:p=2:lost", "put:n=1", "put:lost:cut", "put:lost=3", ":lost",
		"put:delay=", "put:times=-1:lost", "*:key=:lost"};
	struct store *s = stack(NULL);
	struct err err;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		faults(s, good[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (store_fault_set(s, wrong[i], &err) != -EINVAL)
			fail_msg("'%s' was taken", wrong[i]);
		assert_true(err.msg[0]);
	}
}

static void test_fault_when(void **state)
{
	static const char *const none[] = {"retries", "0", NULL};
	struct store *s = stack(none);
	struct store_stat st;
	char got[2][33] = {"", ""};

	assert_int_equal(put(s, "x", NULL, NULL), 0);
	faults(s, "head:after=2:every=2:times=2:error=EINVAL");
	for (unsigned i = 0; i < 10; i++) {
		bool bad = store_head(s, NULL, K, &st, NULL) != 0;

		assert_int_equal(bad, i == 3 || i == 5);
	}
	for (unsigned k = 0; k < 2; k++) {
		faults(s, "head:p=0.5:seed=9:error=EINVAL");
		for (unsigned i = 0; i < 32; i++)
			got[k][i] = store_head(s, NULL, K, &st, NULL) ? '1' : '0';
	}
	assert_string_equal(got[0], got[1]);
	assert_true(strchr(got[0], '1') && strchr(got[0], '0'));
	faults(s, "head:key=z*:error=EINVAL");
	assert_int_equal(store_head(s, NULL, K, &st, NULL), 0);
}

static void sum(void *arg, const char *op, uint64_t calls, uint64_t errors, uint64_t bytes,
	uint64_t total_us)
{
	uint64_t *v = arg;

	if (!strcmp(op, "put")) {
		v[0] = calls;
		v[1] = errors;
		v[2] = bytes;
	}
}

static void test_stats(void **state)
{
	struct store *s = stack(NULL);
	uint64_t v[3] = {0};

	assert_int_equal(put(s, "hello", NULL, NULL), 0);
	assert_int_equal(put(s, "x", "no", NULL), -ESTALE);
	store_stats_each(s, sum, v);
	assert_int_equal(v[0], 2);
	assert_int_equal(v[1], 1);
	assert_int_equal(v[2], 5);
}

/* What status tells of a remote: its own last failure, until the same succeeds. */
static void test_trouble(void **state)
{
	struct store *s = stack(NULL);
	struct store_trouble tr;
	struct store_page page;
	struct store_stat st;
	struct err err;

	assert_int_equal(put(s, "hello", NULL, NULL), 0);
	assert_int_equal(put(s, "x", "no", NULL), -ESTALE);
	assert_int_equal(store_head(s, NULL, (struct store_obj){"b", "none"}, &st, NULL), -ENOENT);
	store_trouble(s, &tr);
	assert_int_equal(tr.r, 0);
	faults(s, "list:error=EACCES/auth");
	assert_int_equal(store_list(s, NULL, "b", "dir/", '/', "", 9, &page, NULL), -EACCES);
	assert_int_equal(store_head(s, NULL, K, &st, NULL), 0); /* another kind */
	store_stat_done(&st);
	store_trouble(s, &tr);
	assert_int_equal(tr.r, -EACCES);
	assert_string_equal(tr.op, "list");
	assert_string_equal(tr.key, "dir/");
	assert_true(*tr.text && clock_now_ns() - tr.when_ns < 60 * NS_PER_S);
	faults(s, "");
	assert_int_equal(store_list(s, NULL, "b", "", '/', "", 9, &page, &err), 0);
	store_page_done(&page);
	store_trouble(s, &tr);
	assert_int_equal(tr.r, 0);
	assert_int_equal(store_list(s, NULL, "no-bucket", "", '/', "", 9, &page, &err), -ENOENT);
	store_trouble(s, &tr);
	assert_int_equal(tr.r, -ENOENT);
	/* what the breaker answers in the remote's place hides nothing */
	faults(s, "put:error=EIO/retry");
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(put(s, "x", NULL, &err), -EIO);
	assert_string_equal(store_breaker_state(s), "open");
	assert_non_null(strstr(err.msg, "asked again"));
	store_trouble(s, &tr);
	assert_string_equal(tr.text, "fault: put fails");
}

static void test_embedded(void **state)
{
	char dir[64], cmd[80], out[STORE_KEY_MAX + STORE_BUCKET_MAX + 2];
	struct store_obj o;
	struct err err;
	bool known;

	scratch_name(dir, sizeof(dir), "embedded");
	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < 2; i++) { /* made, and there already */
		assert_int_equal(remotes_build(NULL, dir, &rm, &nrm, &err), 0);
		assert_int_equal(nrm, 3);
		assert_string_equal(rm[0].name, "aws");
		assert_string_equal(rm[0].bucket, "astra-aws");
		assert_string_equal(rm[0].region, "us-east-1");
		assert_string_equal(rm[1].classes[TIER_WARM].name, "NEARLINE");
		assert_string_equal(rm[2].provider, "azure");
		assert_true(rm[0].classes[2].offline && rm[0].classes[3].offline);
		assert_true(!rm[1].classes[3].offline && rm[2].classes[3].offline);
		assert_int_equal(rm[0].classes[2].restore_delay_ns, 3 * NS_PER_S);
		assert_int_equal(remote_tier(&rm[0], "GLACIER", &known), TIER_COLD);
		assert_true(known);
		assert_int_equal(remote_tier(&rm[0], "GLACIER_IR", &known), TIER_HOT);
		assert_false(known);
		assert_true(rm[0].caps.archive && !rm[1].caps.archive);
		assert_int_equal(remote_obj(&rm[0], "a/b", out, &o), 0);
		assert_string_equal(o.bucket, "astra-aws");
		assert_string_equal(o.key, "a/b");
		if (!i)
			teardown(NULL);
	}
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

static void test_remote_obj(void **state)
{
	static const char *const pairs[] = {"bucket", "", "prefix", "p/q", NULL};
	char out[STORE_KEY_MAX + STORE_BUCKET_MAX + 2], path[1300];
	struct store_obj o;

	(void)stack(pairs);
	assert_string_equal(rm[0].prefix, "p/q/");
	assert_int_equal(remote_obj(&rm[0], "bu/a/b", out, &o), 0);
	assert_string_equal(o.bucket, "bu");
	assert_string_equal(o.key, "p/q/a/b");
	memset(path, 'x', sizeof(path));
	path[2] = '/';
	path[2 + 1021 + 1] = 0;
	assert_int_equal(remote_obj(&rm[0], path, out, &o), -ENAMETOOLONG);
	path[2 + 1020 + 1] = 0;
	assert_int_equal(remote_obj(&rm[0], path, out, &o), 0);
}

static void test_bad_conf(void **state)
{
	static const char *const wrong[][3] = {
		{"remote r", "buket", "x"},
		{"remote r", "type", "s3x"},
		{"remote", "type", "mem"},
		{"remote a/b", "type", "mem"},
		{"remote r", "class.WARM", "HOT"},
		{"remote r", "class.HOT", ""},
		{"remote r", "offline", "NOPE"},
		{"remote r", "offline", "HOT"},
		{"remote r", "restore_delay", "fast"},
		{"remote r", "provider", "ibm"},
		{"remote r", "fault", "put"},
		{"remote r", "retries", "many"},
		{"remote r", "bucket", ".x"},
		{"remote r", "create_bucket", "perhaps"},
		{"remote r", "path", "/x"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct conf *c = conf_new();
		struct err err;
		errint_t r;

		if (strcmp(wrong[i][1], "type"))
			conf_set(c, wrong[i][0], "type", "mem");
		conf_set(c, wrong[i][0], wrong[i][1], wrong[i][2]);
		r = remotes_build(c, "/tmp", &rm, &nrm, &err);
		if (r != -EINVAL)
			fail_msg("%s=%s: %d %s", wrong[i][1], wrong[i][2], r, err_text(&err, r));
		if (!i)
			assert_non_null(strstr(err.msg, "bucket"));
		conf_destroy(c);
	}
}

/* A directory that was named is not made. */
static void test_path_missing(void **state)
{
	struct conf *c = conf_new();
	char root[64], missing[128], file[128], cmd[128];
	struct err err;

	scratch_name(root, sizeof(root), "path");
	assert_non_null(mkdtemp(root));
	(void)snprintf(missing, sizeof(missing), "%s/nas/photos", root);
	(void)snprintf(file, sizeof(file), "%s/file", root);
	conf_set(c, "remote r", "bucket", "b");
	conf_set(c, "remote r", "path", missing);
	assert_int_equal(remotes_conf_check(c, &err), -EINVAL);
	assert_int_equal(remotes_build(c, "/tmp", &rm, &nrm, &err), -EINVAL);
	assert_non_null(strstr(err.msg, missing));
	assert_int_equal(access(missing, F_OK), -1);
	assert_int_equal(mknod(file, S_IFREG | 0600, 0), 0);
	conf_set(c, "remote r", "path", file);
	assert_int_equal(remotes_build(c, "/tmp", &rm, &nrm, &err), -EINVAL);
	conf_set(c, "remote r", "path", root);
	assert_int_equal(remotes_build(c, "/tmp", &rm, &nrm, &err), 0);
	remotes_destroy(rm, nrm);
	rm = NULL;
	nrm = 0;
	/* below the data directory they are ours */
	conf_set(c, "remote r", "path", "nas");
	assert_int_equal(remotes_build(c, root, &rm, &nrm, &err), 0);
	conf_destroy(c);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, teardown)
	const struct CMUnitTest tests[] = {T(test_repeats), T(test_ambiguous), T(test_get_cut),
		T(test_deadline), T(test_cancel), T(test_limit), T(test_once), T(test_breaker),
		T(test_fault_syntax), T(test_fault_when), T(test_stats), T(test_trouble),
		T(test_embedded), T(test_remote_obj), T(test_bad_conf), T(test_path_missing)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
