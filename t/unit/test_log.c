/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/log.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"
#include "unit/files.h"

static char dir[64]; /* a fresh folder for this run */
static char text[1 << 20];

static int make_dir(void)
{
	files_make_dir(dir, sizeof(dir));
	return 0;
}

static int remove_dir(void)
{
	files_remove(dir);
	return 0;
}

/* A file below the folder as a string; "" if there is none. */
static const char *slurp(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	text[0] = '\0';
	FILE *f = fopen(path, "r");
	if (f) {
		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		fclose(f);
	}
	return text;
}

static int open_log(const char *sub, int level, size_t ring_lines)
{
	char path[256];
	char err[256] = "";
	snprintf(path, sizeof(path), "%s/%s", dir, sub);
	struct ob__log_options o = {
		.dir = path, .name = "n", .level = level, .ring_lines = ring_lines};
	return ob__log_open(&o, err, sizeof(err));
}

/* What follows the time stamp in a line. */
static const char *behind_time(const char *line)
{
	return strlen(line) > 25 ? line + 25 : "";
}

static int count(const char *in, const char *what)
{
	int n = 0;
	for (; (in = strstr(in, what)); in++) {
		n++;
	}
	return n;
}

/* ---------------------------------------------------------------- levels and lines */

static void test_levels(void)
{
	static const struct {
		const char *word;
		int level;
	} rows[] = {
		{"debug", OB_LOG_DEBUG},
		{"info", OB_LOG_INFO},
		{"notice", OB_LOG_NOTICE},
		{"warning", OB_LOG_WARNING},
		{"warn", OB_LOG_WARNING},
		{"error", OB_LOG_ERROR},
		{"fatal", -1},
		{"", -1},
		{NULL, -1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__log_level_from(rows[i].word), rows[i].level);
	}
	CU_ASSERT_STRING_EQUAL(ob__log_level_word(OB_LOG_NOTICE), "notice");
	CU_ASSERT_STRING_EQUAL(ob__log_level_word(99), "error");
	CU_ASSERT_STRING_EQUAL(ob__log_level_word(-1), "debug");
	ob__log_set_level(OB_LOG_WARNING);
	CU_ASSERT_EQUAL(ob__log_level(), OB_LOG_WARNING);
	CU_ASSERT(ob__log_on(OB_LOG_ERROR));
	CU_ASSERT_FALSE(ob__log_on(OB_LOG_NOTICE));
}

static void test_line(void)
{
	static const struct {
		const char *arg;
		const char *want;
	} rows[] = {
		{"plain", "plain"},
		{"\xe6\x97\xa5\xe5\xbf\x97", "\xe6\x97\xa5\xe5\xbf\x97"}, /* UTF-8 stays */
		{"a\nnotice [link] forged", "a\\x0anotice [link] forged"},
		{"\r\t\x1b[2J\x7f", "\\x0d\\x09\\x1b[2J\\x7f"}, /* terminal escapes */
		{"\xc2\x9b", "\\xc2\\x9b"},                     /* the C1 form of ESC [ */
		{"\xc2\xa0", "\xc2\xa0"},                       /* the first one that is none */
		{"\xff\xc3(", "\\xff\\xc3("},                   /* not UTF-8 */
		{"\xe6\x97", "\\xe6\\x97"},                     /* cut short */
	};
	CU_ASSERT_EQUAL_FATAL(open_log("lines", OB_LOG_INFO, 0), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ob__notice("test", "%s", rows[i].arg);
	}
	ob__log_close();
	const char *at = slurp("lines/n.log");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char want[128];
		int year;
		int day;
		int ms;
		int n = snprintf(want, sizeof(want), "notice [test] %s\n", rows[i].want);
		CU_ASSERT_EQUAL(sscanf(at, "%d-%*d-%dT%*d:%*d:%*d.%dZ ", &year, &day, &ms), 3);
		CU_ASSERT_EQUAL(strncmp(behind_time(at), want, (size_t)n), 0);
		at = strchr(at, '\n') ? strchr(at, '\n') + 1 : "";
	}
	CU_ASSERT_STRING_EQUAL(at, "");
}

static void test_cut(void)
{
	char longer[5000];
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	CU_ASSERT_EQUAL_FATAL(open_log("cut", OB_LOG_INFO, 0), 0);
	ob__info("test", "%s", longer);
	memset(longer, 1, 900);
	longer[900] = '\0';
	ob__info("test", "%s", longer); /* four times as long when escaped */
	for (int i = 0; i + 3 < 1200; i += 3) {
		memcpy(longer + i, "\xe6\x97\xa5", 4);
	}
	ob__info("test", "%s", longer);
	ob__log_close();
	const char *at = slurp("cut/n.log");
	for (int i = 0; i < 3; i++) {
		const char *end = strchr(at, '\n');
		CU_ASSERT_PTR_NOT_NULL_FATAL(end);
		CU_ASSERT(end - at > 1000 && end - at < 1024);
		CU_ASSERT_EQUAL(memcmp(end - 3, "...", 3), 0);
		at = end + 1;
	}
	CU_ASSERT_EQUAL(memcmp(at - 7, "\xe6\x97\xa5...", 6), 0); /* whole characters only */
}

static void test_files(void)
{
	CU_ASSERT_EQUAL_FATAL(open_log("a/b//c/", OB_LOG_INFO, 0), 0); /* with its parents */
	errno = 77;
	ob__debug("test", "%d", 1);
	ob__info("test", "%d", 2);
	ob__notice("test", "%d", 3);
	ob__warning("test", "%d", 4);
	ob__error("test", "%d", 5);
	ob__log_at(99, NULL, "%d", 6);
	ob__info("a] b\n", "%s", "name");
	CU_ASSERT_EQUAL(errno, 77); /* a line never disturbs its caller */
	ob__log_set_level(OB_LOG_ERROR);
	ob__warning("test", "%d", 7);
	ob__log_close();
	ob__log_close();
	CU_ASSERT_EQUAL(count(slurp("a/b/c/n.log"), "\n"), 6);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "info [a??b?] name\n"));
	CU_ASSERT_PTR_NULL(strstr(text, "] 1\n"));
	CU_ASSERT_PTR_NULL(strstr(text, "] 7\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "error [-] 6\n"));
	CU_ASSERT_EQUAL(count(slurp("a/b/c/n.error.log"), "\n"), 3);
	CU_ASSERT_PTR_NULL(strstr(text, "] 3\n"));

	struct stat st;
	char path[256];
	snprintf(path, sizeof(path), "%s/a/b", dir);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0027, 0);
	snprintf(path, sizeof(path), "%s/a/b/c/n.log", dir);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0137, 0);

	/* Opened again it goes on behind what is there. */
	CU_ASSERT_EQUAL_FATAL(open_log("a/b/c", OB_LOG_INFO, 0), 0);
	ob__info("test", "again");
	CU_ASSERT_EQUAL_FATAL(open_log("a/b/c", OB_LOG_INFO, 0), 0); /* closes the first */
	ob__info("test", "and again");
	ob__log_close();
	CU_ASSERT_EQUAL(count(slurp("a/b/c/n.log"), "\n"), 8);
}

static void test_open_errors(void)
{
	char file[128];
	char below[160];
	char longer[400];
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(below, sizeof(below), "%s/file/x", dir);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	const struct {
		struct ob__log_options options;
		int code;
		const char *sentence; /* part of it */
	} rows[] = {
		{{.dir = file, .name = "n"}, -ENOTDIR, "file: can't be created (not a directory)"},
		{{.dir = below, .name = "n"}, -ENOTDIR, "x: can't be created (not a directory)"},
		{{.dir = dir, .name = "../n"}, -EINVAL, "a name without \"/\""},
		{{.dir = dir, .name = ""}, -EINVAL, "a name without \"/\""},
		{{.dir = dir}, -EINVAL, "a name without \"/\""},
		{{.dir = "", .name = "n"}, -EINVAL, "a log needs a directory"},
		{{.dir = longer, .name = "n"},
	         -ENAMETOOLONG,
	         "x: can't be created (name too long)"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char err[512] = "";
		CU_ASSERT_EQUAL(ob__log_open(&rows[i].options, err, sizeof(err)), rows[i].code);
		CU_ASSERT_PTR_NOT_NULL(strstr(err, rows[i].sentence));
	}
	char err[256] = "";
	snprintf(below, sizeof(below), "%s/taken.log", dir);
	mkdir(below, 0700);
	struct ob__log_options o = {.dir = dir, .name = "taken"};
	CU_ASSERT_EQUAL(ob__log_open(&o, err, sizeof(err)), -EISDIR);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "taken.log: can't be opened for writing"));
}

/* ---------------------------------------------------------------- the ring and the writer */

/* stderr is a pipe for a while. */
static int pipe_fds[2];
static int real_stderr;

static void grab_stderr(void)
{
	CU_ASSERT_EQUAL_FATAL(pipe2(pipe_fds, O_CLOEXEC), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	text[0] = '\0';
}

/* Appends what is in the pipe to `text`. */
static void read_stderr(void)
{
	size_t len = strlen(text);
	ssize_t n;
	while ((n = read(pipe_fds[0], text + len, sizeof(text) - 1 - len)) > 0) {
		len += (size_t)n;
		text[len] = '\0';
	}
}

/* Gives it back and returns all that was written. */
static const char *release_stderr(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_fds[1]);
	read_stderr();
	close(pipe_fds[0]);
	return text;
}

static void test_stderr(void)
{
	char err[64];
	struct ob__log_options only_stderr = {.level = OB_LOG_INFO};
	ob__log_set_level(OB_LOG_INFO);
	grab_stderr();
	ob__info("test", "before"); /* straight */
	CU_ASSERT_EQUAL(ob__log_open(&only_stderr, err, sizeof(err)), 0);
	ob__info("test", "while");
	ob__log_close();
	ob__info("test", "after"); /* straight again */
	const char *got = release_stderr();
	CU_ASSERT_EQUAL(count(got, "\n"), 3);
	const char *a = strstr(got, "[test] before\n");
	const char *b = strstr(got, "[test] while\n");
	const char *c = strstr(got, "[test] after\n");
	CU_ASSERT(a && b && c && a < b && b < c);
}

/* Nobody reads: the callers go on, lines are dropped, and their number is told. */
static void test_full_ring(void)
{
	struct ob__log_stats before;
	struct ob__log_stats after;
	char filler[4096];
	char err[64];
	struct ob__log_options o = {.level = OB_LOG_INFO, .ring_lines = 8};
	memset(filler, '\n', sizeof(filler));
	grab_stderr();
	fcntl(pipe_fds[1], F_SETFL, O_NONBLOCK);
	while (write(pipe_fds[1], filler, sizeof(filler)) > 0) {
	}
	fcntl(pipe_fds[1], F_SETFL, 0);

	ob__log_get_stats(&before);
	CU_ASSERT_EQUAL(ob__log_open(&o, err, sizeof(err)), 0);
	for (int i = 0; i < 20; i++) {
		ob__error("test", "line %d.", i);
	}
	ob__log_get_stats(&after);
	CU_ASSERT_EQUAL(after.dropped - before.dropped, 12);
	CU_ASSERT_EQUAL(after.written, before.written);
	read_stderr(); /* and the writer goes on */
	ob__log_close();
	const char *got = release_stderr();
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "line 0."));
	CU_ASSERT_PTR_NOT_NULL(strstr(got, "line 7."));
	CU_ASSERT_PTR_NULL(strstr(got, "line 8."));
	/* Told at once, or in two lines if the writer began in the middle. */
	unsigned told = 0;
	unsigned missing = 0;
	for (const char *at = got; (at = strstr(at, "warning [log] ")) != NULL; told++) {
		at += strlen("warning [log] ");
		CU_ASSERT_PTR_NOT_NULL(strstr(at, " lines are missing, the log's ring was full\n"));
		missing += (unsigned)strtoul(at, NULL, 10);
	}
	CU_ASSERT_EQUAL(missing, 12);
	ob__log_get_stats(&after);
	CU_ASSERT_EQUAL(after.written - before.written, 8 + told);
}

static void test_write_error(void)
{
	struct ob__log_stats before;
	struct ob__log_stats after;
	CU_ASSERT_EQUAL_FATAL(open_log("full", OB_LOG_INFO, 0), 0);
	ob__log_close();
	char path[256];
	snprintf(path, sizeof(path), "%s/full/n.log", dir);
	unlink(path);
	CU_ASSERT_EQUAL(symlink("/dev/full", path), 0);
	ob__log_get_stats(&before);
	CU_ASSERT_EQUAL_FATAL(open_log("full", OB_LOG_INFO, 0), 0);
	ob__error("test", "no room");
	ob__log_close();
	ob__log_get_stats(&after);
	CU_ASSERT_EQUAL(after.write_errors - before.write_errors, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(slurp("full/n.error.log"), "no room")); /* the other has it */
}

#define TALKERS 4
#define LINES   500

static void *talk(void *arg)
{
	for (int i = 0; i < LINES; i++) {
		ob__info("test", "%s%d.", (const char *)arg, i);
	}
	return NULL;
}

/* Lines of several threads come out whole, each thread's in its order. */
static void test_threads(void)
{
	static char names[TALKERS][2] = {"a", "b", "c", "d"};
	pthread_t threads[TALKERS];
	CU_ASSERT_EQUAL_FATAL(open_log("threads", OB_LOG_INFO, 0), 0);
	for (int i = 0; i < TALKERS; i++) {
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, talk, names[i]), 0);
	}
	for (int i = 0; i < TALKERS; i++) {
		pthread_join(threads[i], NULL);
	}
	ob__log_close();
	int next[TALKERS] = {0};
	int wrong = 0;
	char *save = NULL;
	slurp("threads/n.log");
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char who;
		int n;
		if (sscanf(behind_time(line), "info [test] %c%d.", &who, &n) != 2 || who < 'a' ||
		    who > 'd' || next[who - 'a']++ != n) {
			wrong++;
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	for (int i = 0; i < TALKERS; i++) {
		CU_ASSERT_EQUAL(next[i], LINES);
	}
}

/* Until the other thread has done it; the test's alarm ends a wait that has no end. */
static void wait_for_file(const char *path)
{
	struct stat st;
	while (stat(path, &st) != 0 || st.st_size == 0) {
		poll(NULL, 0, 1);
	}
}

static void test_reopen(void)
{
	char path[256];
	char moved[256];
	ob__log_reopen(); /* harmless when closed */
	CU_ASSERT_EQUAL_FATAL(open_log("rotate", OB_LOG_INFO, 0), 0);
	snprintf(path, sizeof(path), "%s/rotate/n.log", dir);
	snprintf(moved, sizeof(moved), "%s/rotate/n.log.1", dir);
	ob__error("test", "first"); /* is written at once */
	wait_for_file(path);
	CU_ASSERT_EQUAL(rename(path, moved), 0);
	ob__log_reopen();
	struct stat st;
	while (stat(path, &st) != 0) {
		poll(NULL, 0, 1);
	}
	ob__info("test", "second"); /* is written a moment later */
	wait_for_file(path);
	ob__log_close();
	CU_ASSERT_EQUAL(count(slurp("rotate/n.log.1"), "\n"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "first"));
	CU_ASSERT_EQUAL(count(slurp("rotate/n.log"), "\n"), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "second"));
	CU_ASSERT_EQUAL(count(slurp("rotate/n.error.log"), "\n"), 1);
}

static void test_reopen_fails(void)
{
	char path[256];
	CU_ASSERT_EQUAL_FATAL(open_log("stuck", OB_LOG_INFO, 0), 0);
	snprintf(path, sizeof(path), "%s/stuck/n.log", dir);
	unlink(path);
	mkdir(path, 0700); /* can't be opened as a file */
	ob__log_reopen();
	snprintf(path, sizeof(path), "%s/stuck/n.error.log", dir);
	wait_for_file(path);
	ob__log_close();
	CU_ASSERT_PTR_NOT_NULL(strstr(slurp("stuck/n.error.log"),
	                              "n.log: can't be opened anew, the old file stays"));
}

/* A signal that this thread blocks would end the process if the writer took it. */
static void test_signals_blocked(void)
{
	sigset_t set;
	sigset_t pending;
	struct timespec none = {0};
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	CU_ASSERT_EQUAL_FATAL(open_log("signals", OB_LOG_INFO, 0), 0);
	kill(getpid(), SIGUSR2);
	ob__error("test", "still here");
	ob__log_close();
	sigpending(&pending);
	CU_ASSERT(sigismember(&pending, SIGUSR2));
	CU_ASSERT_EQUAL(sigtimedwait(&set, NULL, &none), SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---------------------------------------------------------------- limits */

static void test_limit(void)
{
	static const struct {
		uint64_t now;
		bool allowed;
		uint32_t missed;
	} rows[] = {
		{1000, true, 0},   {1001, true, 0},   {1002, false, 0}, /* two in ten seconds */
		{10999, false, 0},                                      /* the last of them */
		{11000, true, 2}, /* a new window tells of both */
		{11000, true, 0},  {11001, false, 0}, {90000, true, 1}, {90001, true, 0},
	};
	struct ob__log_stats before;
	struct ob__log_stats after;
	struct ob__log_limit limit = {0};
	ob__log_get_stats(&before);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t missed = 99;
		CU_ASSERT_EQUAL(ob__log_allow(&limit, 2, rows[i].now, &missed), rows[i].allowed);
		CU_ASSERT_EQUAL(missed, rows[i].missed);
	}
	ob__log_get_stats(&after);
	CU_ASSERT_EQUAL(after.suppressed - before.suppressed, 3);

	uint32_t missed;
	struct ob__log_limit none = {0};
	CU_ASSERT_FALSE(ob__log_allow(&none, 0, 5, &missed));
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("log", make_dir, remove_dir);
	CU_add_test(s, "levels", test_levels);
	CU_add_test(s, "no one outside forges a line", test_line);
	CU_add_test(s, "long lines are cut", test_cut);
	CU_add_test(s, "two files", test_files);
	CU_add_test(s, "why it can't be opened", test_open_errors);
	CU_add_test(s, "stderr before, while and after", test_stderr);
	CU_add_test(s, "a full ring", test_full_ring);
	CU_add_test(s, "a full disk", test_write_error);
	CU_add_test(s, "threads", test_threads);
	CU_add_test(s, "reopen", test_reopen);
	CU_add_test(s, "reopen fails", test_reopen_fails);
	CU_add_test(s, "the writer takes no signals", test_signals_blocked);
	CU_add_test(s, "limits", test_limit);
	return ob__tap_run();
}
