/* SPDX-License-Identifier: MIT */
/* Log lines, lock ranks (which must abort), and JSON lines. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "astra/base_clock.h"
#include "astra/base_json.h"
#include "astra/base_lock.h"
#include "astra/base_log.h"
#include "scratch_help.h"

static char dir[64];
static char path[100], moved[110];

static char *slurp(const char *name)
{
	static char text[200000];
	FILE *f = fopen(name, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	assert_int_equal(fclose(f), 0);
	return text;
}

static size_t count_lines(const char *s)
{
	size_t n = 0;

	for (; (s = strchr(s, '\n')); s++)
		n++;
	return n;
}

static void a_line_has_its_parts(void **state)
{
	struct stat st;
	char *s;

	(void)unlink(path);
	umask(0);
	assert_int_equal(log_open(LOG_LVL_INFO, path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	errno = EXDEV;
	log_info("vfs", "mounted %d", 3);
	assert_int_equal(errno, EXDEV);
	log_debug("vfs", "not this");
	log_close();
	s = slurp(path);
	/* 2026-01-31T01:02:03.456Z info vfs: mounted 3 */
	assert_int_equal(s[10], 'T');
	assert_int_equal(s[23], 'Z');
	assert_string_equal(s + 24, " info vfs: mounted 3\n");
	log_level_set(LOG_LVL_NOTICE);
}

static void messages_cannot_forge_lines(void **state)
{
	char *s;

	(void)unlink(path);
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, NULL), 0);
	log_error("job", "%s",
		"a\nb\tc\\d\x1b[2J\x7f\r \xc3\xa9 \xff \xc2\x9b \xed\xa0\x80 \xe2\x82");
	log_close();
	s = slurp(path);
	assert_string_equal(strchr(s, 'Z'),
		"Z error job: a\\nb\\tc\\\\d\\x1b[2J\\x7f\\x0d \xc3\xa9 \\xff \\xc2\\x9b "
		"\\xed\\xa0\\x80 \\xe2\\x82\n");
}

static void long_messages_are_marked(void **state)
{
	char big[9000], *s;

	(void)unlink(path);
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, NULL), 0);
	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	log_error("job", "%s", big);
	memset(big, 1, 2000); /* four times as long once escaped */
	log_error("job", "%s", big);
	log_close();
	s = slurp(path);
	assert_int_equal(count_lines(s), 2);
	s = strchr(s, '\n');
	assert_memory_equal(s - 4, "a...\n", 5);
	assert_string_equal(s + strlen(s) - 4, "...\n");
}

static void reopen_follows_rotation(void **state)
{
	(void)unlink(path);
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, NULL), 0);
	log_error("job", "one");
	assert_int_equal(rename(path, moved), 0);
	log_error("job", "two");
	log_reopen();
	log_error("job", "three");
	assert_int_equal(count_lines(slurp(moved)), 2);
	assert_non_null(strstr(slurp(path), "three"));
	/* Where it cannot be opened again the old file goes on, and says so. */
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	log_reopen();
	log_error("job", "four");
	assert_non_null(strstr(slurp(moved), "again: Is a directory"));
	assert_non_null(strstr(slurp(moved), "four"));
	log_close();
	assert_int_equal(rmdir(path), 0);
}

static void bad_paths_are_told(void **state)
{
	struct err e = {0};

	assert_int_equal(log_open(LOG_LVL_NOTICE, "/proc/nonexistent/log", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/proc/nonexistent/log"));
	assert_int_equal(log_open(LOG_LVL_NOTICE, "syslog", &e), 0);
	log_reopen();
	log_close();
}

static void a_torn_line_is_mended(void **state)
{
	struct rlimit old, small;
	char *s;

	(void)unlink(path);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, NULL), 0);
	signal(SIGXFSZ, SIG_IGN);
	small = (struct rlimit){.rlim_cur = 50, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	log_error("job", "a message longer than what fits into the file");
	log_error("job", "this one goes elsewhere");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	log_error("job", "after");
	log_close();
	s = slurp(path);
	assert_int_equal(count_lines(s), 2);
	assert_int_equal(s[50], '\n');
	assert_non_null(strstr(s + 51, "error job: after\n"));
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 300; i++)
		log_error("test", "%s %d", (const char *)arg, i);
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	static char names[3][101];
	pthread_t t[3];
	char *s;

	(void)unlink(path);
	assert_int_equal(log_open(LOG_LVL_NOTICE, path, NULL), 0);
	for (int i = 0; i < 3; i++) {
		memset(names[i], 'a' + i, 100);
		assert_int_equal(pthread_create(&t[i], NULL, log_many, names[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		log_reopen();
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	log_close();
	s = slurp(path);
	assert_int_equal(count_lines(s), 900);
	for (char *line = strtok(s, "\n"); line; line = strtok(NULL, "\n")) {
		const char *name = strstr(line, "test: ") + 6;

		assert_int_equal(strspn(name, (char[]){name[0], '\0'}), 100);
	}
}

static void levels_have_names(void **state)
{
	enum log_level l;

	assert_int_equal(log_level_parse("error", &l), 0);
	assert_int_equal(l, LOG_LVL_ERROR);
	assert_int_equal(log_level_parse("debug", &l), 0);
	assert_int_equal(l, LOG_LVL_DEBUG);
	assert_int_equal(log_level_parse("loud", &l), -EINVAL);
}

/* ---- locks ---- */

static struct lock low, mid, high;
#ifdef NDEBUG
static const bool ranks_checked = false;
#else
static const bool ranks_checked = true;
#endif

/* Runs fn in a child; true when it aborted. Its complaints are checked in the log file. */
static bool aborts(void (*fn)(void), const char *want)
{
	int status;
	pid_t pid;

	(void)unlink(path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0};
		int null = open("/dev/null", O_WRONLY);

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		dup2(null, STDERR_FILENO);
		log_open(LOG_LVL_ERROR, path, NULL);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && want &&
		!strstr(slurp(path), want))
		fail_msg("'%s' lacks '%s'", slurp(path), want);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void good_order(void)
{
	lock_assert_none();
	lock_take(&low);
	LOCKED(&mid);
	{
		LOCKED(&high);
		lock_assert_held(&low);
	}
	lock_drop(&low); /* any order */
	lock_take(&high);
	lock_drop(&high);
	lock_assert_held(&mid);
}

static void wrong_order(void)
{
	lock_take(&mid);
	lock_take(&high);
	lock_drop(&mid);
	lock_take(&low);
}

static void same_twice(void)
{
	lock_take(&mid);
	lock_take(&mid);
}

static void drop_unheld(void)
{
	lock_drop(&mid);
}

static void not_held(void)
{
	lock_assert_held(&mid);
}

static void still_held(void)
{
	lock_take(&low);
	lock_assert_none();
}

static void below_the_log(void)
{
	struct lock l;

	lock_init(&l, RANK_LOG, "as high as the log");
	lock_take(&l);
	lock_take(&low); /* the report must not wait for the log's lock */
}

static void done_while_held(void)
{
	lock_take(&low);
	lock_done(&low);
}

static void rank_violations_abort(void **state)
{
	lock_init(&low, RANK_CTL, "low");
	lock_init(&mid, RANK_VFS, "mid");
	lock_init(&high, RANK_POOL, "high");
	assert_false(aborts(good_order, NULL));
	assert_true(aborts(done_while_held, "busy"));
	if (ranks_checked) {
		assert_true(aborts(
			wrong_order, "'low' (rank 10) taken while holding 'high' (rank 90)"));
		assert_true(aborts(same_twice, "'mid' taken twice"));
		assert_true(aborts(drop_unheld, "'mid' dropped by a thread that does not hold it"));
		assert_true(aborts(not_held, "'mid' is not held"));
		assert_true(aborts(still_held, "'low' is held where no lock may be"));
		assert_true(aborts(below_the_log, NULL));
	}
	lock_done(&low);
	lock_done(&mid);
	lock_done(&high);
}

static struct {
	struct lock lock;
	pthread_cond_t cond;
	struct {
		int turn;
	} shared;
} ball;

static void *answer(void *arg)
{
	for (int i = 0; i < 200; i++) {
		LOCKED(&ball.lock);
		while (ball.shared.turn != 1)
			cond_wait(&ball.cond, &ball.lock);
		ball.shared.turn = 0;
		pthread_cond_signal(&ball.cond);
	}
	return NULL;
}

static void conditions_wait_and_time_out(void **state)
{
	int64_t t = clock_mono_ns();
	pthread_t thread;

	lock_init(&ball.lock, RANK_VFS, "ball");
	cond_init(&ball.cond);
	{
		LOCKED(&ball.lock);
		while (cond_wait_until(&ball.cond, &ball.lock, t + 20 * NS_PER_MS))
			;
		assert_true(clock_mono_ns() >= t + 20 * NS_PER_MS);
		assert_false(cond_wait_until(&ball.cond, &ball.lock, -1));
		lock_assert_held(&ball.lock);
	}
	assert_int_equal(pthread_create(&thread, NULL, answer, NULL), 0);
	for (int i = 0; i < 200; i++) {
		LOCKED(&ball.lock);
		while (ball.shared.turn != 0)
			cond_wait(&ball.cond, &ball.lock);
		ball.shared.turn = 1;
		pthread_cond_signal(&ball.cond);
	}
	pthread_join(thread, NULL);
	pthread_cond_destroy(&ball.cond);
	lock_done(&ball.lock);
}

/* ---- JSON ---- */

static void text_becomes_utf8(void **state)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
		{"", ""},
		{"plain \xc3\xa9 \xf0\x9f\x98\x80", "plain \xc3\xa9 \xf0\x9f\x98\x80"},
		{"a\xff", "a\xef\xbf\xbd"},
		{"\xc3", "\xef\xbf\xbd"},
		{"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xed\xa0\x80x", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx"},
		{"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\n\"\x01", "\n\"\x01"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_json json_t *j = json_text(cases[i].from);
		cleanup_json json_t *again = NULL;
		cleanup_free char *s = NULL;

		assert_non_null(j);
		assert_string_equal(json_string_value(j), cases[i].to);
		s = json_dumps(j, JSON_ENCODE_ANY);
		assert_non_null(s);
		again = json_loads(s, JSON_DECODE_ANY, NULL);
		assert_true(json_equal(j, again));
	}
}

static void make_pair(bool sockets, int fd[2])
{
	int r = sockets ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)
			: pipe2(fd, O_CLOEXEC);

	assert_int_equal(r, 0);
}

static void documents_come_line_by_line(void **state)
{
	for (int sockets = 0; sockets < 2; sockets++) {
		json_t *j = json_pack("{s:s,s:i}", "a", "x\ny", "b", 2), *in;
		struct err e;
		int fd[2];

		make_pair(sockets, fd);
		assert_int_equal(json_write_line(fd[1], j), 0);
		assert_int_equal(json_write_line(fd[1], j), 0);
		assert_int_equal(write(fd[1], "[1]", 3), 3); /* the last without newline */
		close(fd[1]);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(json_read_line(fd[0], 1000, &in, &e), 0);
			assert_true(json_equal(in, j));
			json_decref(in);
		}
		assert_int_equal(json_read_line(fd[0], 1000, &in, &e), 0);
		assert_true(json_is_array(in));
		json_decref(in);
		assert_int_equal(json_read_line(fd[0], 1000, &in, &e), -ECONNRESET);
		assert_null(in);
		close(fd[0]);
		json_decref(j);
	}
}

static void bad_documents_are_told(void **state)
{
	static const struct {
		const char *text;
		errint_t want;
	} cases[] = {
		{"{\"a\":}\n", -EBADMSG},
		{"{\"a\":1,\"a\":2}\n", -EBADMSG},
		{"\n", -EBADMSG},
		{"{\"a\":\n", -EBADMSG},
		{"{\"a\":", -ECONNRESET},
		{"{} {}\n", -EBADMSG},
		{"[\"\xff\"]\n", -EBADMSG},
		{"[1234567890,1234567890,1234567890]\n", -EMSGSIZE},
		{"", -ECONNRESET},
	};

	for (int sockets = 0; sockets < 2; sockets++) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			size_t len = strlen(cases[i].text);
			struct err e = {0};
			json_t *in;
			int fd[2];

			make_pair(sockets, fd);
			assert_int_equal(write(fd[1], cases[i].text, len), len);
			close(fd[1]);
			assert_int_equal(json_read_line(fd[0], 20, &in, &e), cases[i].want);
			assert_null(in);
			assert_true(e.msg[0]);
			close(fd[0]);
		}
	}
}

static void *write_big(void *arg)
{
	json_t *j = json_array();
	errint_t r;

	for (int i = 0; i < 30000; i++)
		json_array_append_new(j, json_integer(i));
	r = json_write_line(*(int *)arg, j);
	json_decref(j);
	return (void *)(intptr_t)r;
}

static void large_documents_pass(void **state)
{
	for (int sockets = 0; sockets < 2; sockets++) {
		pthread_t t;
		json_t *in;
		void *r;
		int fd[2];

		make_pair(sockets, fd);
		assert_int_equal(pthread_create(&t, NULL, write_big, &fd[1]), 0);
		assert_int_equal(json_read_line(fd[0], 1 << 20, &in, NULL), 0);
		assert_int_equal(json_array_size(in), 30000);
		json_decref(in);
		pthread_join(t, &r);
		assert_null(r);
		close(fd[0]);
		close(fd[1]);
	}
}

static void what_is_said_seldom(void **state)
{
	assert_true(log_seldom("%s %d", "aws", 5));
	assert_false(log_seldom("%s %d", "aws", 5));
	assert_true(log_seldom("%s %d", "gcp", 5));
	for (unsigned i = 0; i < 255; i++)
		assert_true(log_seldom("%u", i));
	assert_false(log_seldom("%s %d", "gcp", 5));
	assert_true(log_seldom("%s %d", "aws", 5)); /* the oldest was forgotten */
}

static void gone_and_slow_peers(void **state)
{
	struct timeval tv = {.tv_usec = 20000};
	json_t *j = json_object(), *in;
	struct err e;
	int fd[2];

	make_pair(true, fd);
	assert_int_equal(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	assert_int_equal(json_read_line(fd[0], 100, &in, &e), -ETIMEDOUT);
	close(fd[1]);
	assert_int_equal(json_write_line(fd[0], j), -EPIPE); /* no SIGPIPE */
	close(fd[0]);
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_its_parts),
		cmocka_unit_test(messages_cannot_forge_lines),
		cmocka_unit_test(long_messages_are_marked),
		cmocka_unit_test(reopen_follows_rotation),
		cmocka_unit_test(bad_paths_are_told),
		cmocka_unit_test(a_torn_line_is_mended),
		cmocka_unit_test(lines_of_threads_do_not_mix),
		cmocka_unit_test(levels_have_names),
		cmocka_unit_test(rank_violations_abort),
		cmocka_unit_test(conditions_wait_and_time_out),
		cmocka_unit_test(text_becomes_utf8),
		cmocka_unit_test(documents_come_line_by_line),
		cmocka_unit_test(bad_documents_are_told),
		cmocka_unit_test(large_documents_pass),
		cmocka_unit_test(what_is_said_seldom),
		cmocka_unit_test(gone_and_slow_peers),
	};
	int r;

	scratch_name(dir, sizeof(dir), "log");
	if (!mkdtemp(dir))
		return 1;
	(void)snprintf(path, sizeof(path), "%s/log", dir);
	(void)snprintf(moved, sizeof(moved), "%s.1", path);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	(void)unlink(path);
	(void)unlink(moved);
	(void)rmdir(dir);
	return r;
}
