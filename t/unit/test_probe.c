/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <obhost/obhost.h>

#include "host/swap/probe.h"
#include "lib/blob.h"
#include "tap.h"
#include "unit/node_rig.h"

static struct ob__load_refusal refusal;
static struct ob__probe probe;
static char path[512];
static char conf[160];
static bool whole; /* obhost itself is to do it */

static void set_programs(void)
{
	probe.exe = getenv("OB_OBHOST");
	probe.program = whole ? NULL : getenv("OB_PROBE");
}

static int rehearse(const char *module, const char *name, uint32_t timeout_ms)
{
	rig_module_path(module, path, sizeof(path));
	memset(&refusal, 0, sizeof(refusal));
	set_programs();
	probe.staged = path;
	probe.file = "/opt/x.so";
	probe.name = name;
	probe.timeout_ms = timeout_ms;
	return ob__probe_run(&probe, &refusal);
}

static int misbehave(const char *where, const char *how)
{
	snprintf(conf, sizeof(conf), "{\"where\": \"%s\", \"how\": \"%s\"}", where, how);
	memset(&probe, 0, sizeof(probe));
	probe.conf = conf;
	return rehearse("misbehave", "misbehave", strcmp(how, "loop") == 0 ? 400 : 20000);
}

/* It would go on for 20 s; somebody has no time for that. */
static void test_given_up(void)
{
	int fd = eventfd(1, EFD_CLOEXEC);

	snprintf(conf, sizeof(conf), "{\"where\": \"start\", \"how\": \"loop\"}");
	memset(&probe, 0, sizeof(probe));
	probe.conf = conf;
	probe.stop_fd = fd;
	CU_ASSERT_EQUAL(rehearse("misbehave", "misbehave", 20000), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "stopping");
	CU_ASSERT(probe.took_us < 10000000);
	CU_ASSERT_EQUAL(waitpid(-1, NULL, WNOHANG), -1); /* there is no child */
	CU_ASSERT_EQUAL(errno, ECHILD);
	close(fd);
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL) {
		n++;
	}
	closedir(dir);
	return n;
}

/* Nothing is left in this process, and it has no child any more. */
static void assert_clean(int fds)
{
	CU_ASSERT_EQUAL(open_fds(), fds);
	CU_ASSERT_EQUAL(waitpid(-1, NULL, WNOHANG), -1);
	CU_ASSERT_EQUAL(errno, ECHILD);
}

/* ---- good modules ---- */

static void test_good(void)
{
	int fds = open_fds();

	CU_ASSERT_EQUAL(misbehave("", ""), 0);
	CU_ASSERT_EQUAL(probe.flags, OB_MODULE_PARALLEL);
	CU_ASSERT_EQUAL(probe.state_write, 3);
	CU_ASSERT_EQUAL(probe.state_read_min, 2);
	CU_ASSERT_STRING_EQUAL(probe.provides, "mischief/1.2");
	CU_ASSERT_STRING_EQUAL(probe.needs, "?order/1");
	CU_ASSERT_STRING_EQUAL(probe.resident, "");
	CU_ASSERT_STRING_EQUAL(probe.notes, "");
	CU_ASSERT_EQUAL(probe.whole, whole);
	CU_ASSERT_STRING_EQUAL(probe.program_fault, "");
	CU_ASSERT(probe.took_us > 0 && probe.took_us < 20000000);
	assert_clean(fds);
}

/* The modules of the tree pass, with what the host gives them. */
static void test_own_modules(void)
{
	static const struct {
		const char *name;
		bool admin;
		bool library; /* it needs one that the small program lacks */
	} rows[] = {{"proxy", false, false},         {"route", false, false},
	            {"service", false, false},       {"codec_json", false, false},
	            {"codec_obespoir", false, true}, {"http_admin", true, false},
	            {"http_admin", false, false}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char file[512];
		memset(&probe, 0, sizeof(probe));
		memset(&refusal, 0, sizeof(refusal));
		snprintf(file, sizeof(file), "%s/%s.so", getenv("OB_MODULE_PATH"), rows[i].name);
		set_programs();
		probe.staged = probe.file = file;
		probe.name = rows[i].name;
		probe.admin = rows[i].admin;
		probe.timeout_ms = 20000;
		int rc = ob__probe_run(&probe, &refusal);
		/* http_admin says no without "admin": true */
		CU_ASSERT_EQUAL(rc, i + 1 == sizeof(rows) / sizeof(rows[0]) ? -1 : 0);
		CU_ASSERT_STRING_EQUAL(probe.resident, "");
		CU_ASSERT_EQUAL(probe.whole, whole || rows[i].library);
		if (rc != 0 && rows[i].admin) {
			fprintf(stderr, "# %s\n", refusal.message);
		}
	}
	CU_ASSERT_STRING_EQUAL(refusal.code, "start");
	CU_ASSERT_PTR_NOT_NULL(strstr(refusal.message, "needs \"admin\": true"));
}

/* ---- bad ones ---- */

struct bad_row {
	const char *where;
	const char *how;
	const char *code;
	const char *found;   /* all of it */
	const char *message; /* part of it */
};

static const struct bad_row bads[] = {
	{"constructor", "crash", "crash", "SIGSEGV in load", "x.so: its rehearsal died of"},
	{"constructor", "abort", "crash", "SIGABRT in load", "in load"},
	{"constructor", "exit", "exit", "exit 7 in load", "in load"},
	{"constructor", "loop", "timeout", "load after 400 ms", "still in load"},
	{"check", "crash", "crash", "SIGSEGV in check", "in check"},
	{"check", "abort", "crash", "SIGABRT in check", "in check"},
	{"check", "exit", "exit", "exit 7 in check", "in check"},
	{"check", "loop", "timeout", "check after 400 ms", "still in check"},
	{"check", "refuse", "check", "check: where: check is no place", "in its rehearsal: check"},
	{"start", "crash", "crash", "SIGSEGV in start", "in start"},
	{"start", "abort", "crash", "SIGABRT in start", "in start"},
	{"start", "exit", "exit", "exit 7 in start", "in start"},
	{"start", "exit0", "exit", "exit 0 in start", "in start"},
	{"start", "loop", "timeout", "start after 400 ms", "still in start"},
	{"start", "refuse", "start", "start: no database: not possible in this state",
         "no database: not possible in this state; it logged: nothing works"},
	{"start", "talk", "crash", "SIGABRT in start", "line 4999 the last words"},
	{"start", "admin", "start", NULL, "\"/modules\" is an administrative path"},
	{"selftest", "crash", "crash", "SIGSEGV in selftest", "in selftest"},
	{"selftest", "abort", "crash", "SIGABRT in selftest", "in selftest"},
	{"selftest", "exit", "exit", "exit 7 in selftest", "in selftest"},
	{"selftest", "loop", "timeout", "selftest after 400 ms", "still in selftest"},
	{"selftest", "refuse", "selftest", "selftest: the handler failed", "selftest"},
	{"stop", "crash", "crash", "SIGSEGV in stop", "in stop"},
	{"stop", "exit", "exit", "exit 7 in stop", "in stop"},
	{"stop", "loop", "timeout", "stop after 400 ms", "still in stop"},
	{"destructor", "crash", "crash", "SIGSEGV in close", "in close"},
	{"destructor", "abort", "crash", "SIGABRT in close", "in close"},
	{"destructor", "exit0", "exit", "exit 0 in close", "in close"},
	/* a thread whose code goes */
	{"destructor", "short_thread", "crash", "SIGSEGV in close", "in close"},
	{"destructor", "loop", "timeout", "close after 400 ms", "still in close"},
};

static void check_bad(const struct bad_row *row, int rc)
{
	CU_ASSERT_EQUAL(rc, -1);
	CU_ASSERT_STRING_EQUAL(refusal.step, "probe");
	CU_ASSERT_STRING_EQUAL(refusal.code, row->code);
	CU_ASSERT_STRING_EQUAL(refusal.file, "/opt/x.so");
	if (row->found != NULL) {
		CU_ASSERT_STRING_EQUAL(refusal.found, row->found);
	}
	if (strstr(refusal.message, row->message) == NULL) {
		fprintf(stderr, "# %s, %s: %s\n", row->where, row->how, refusal.message);
		CU_FAIL("another message");
	}
}

static void test_bad(void)
{
	int fds = open_fds();

	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		bool early = strcmp(bads[i].where, "constructor") == 0;
		if (early) {
			setenv("MISBEHAVE", bads[i].how, 1);
		}
		check_bad(&bads[i], misbehave(bads[i].where, bads[i].how));
		unsetenv("MISBEHAVE");
		assert_clean(fds);
	}
}

static void test_other_files(void)
{
	static const struct {
		const char *module;
		const char *name;
		const char *code;
		const char *message;
		bool whole;
	} rows[] = {
		{"unresolved", "unresolved", "dlopen", "obhost_test_no_such_function", true},
		{"puppet", "other", "name", "is the module puppet, not other", false},
		{"library", "library", "not_a_module", "", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&probe, 0, sizeof(probe));
		CU_ASSERT_EQUAL(rehearse(rows[i].module, rows[i].name, 20000), -1);
		CU_ASSERT_STRING_EQUAL(refusal.step, "probe");
		CU_ASSERT_STRING_EQUAL(refusal.code, rows[i].code);
		CU_ASSERT_PTR_NOT_NULL(strstr(refusal.message, rows[i].message));
		CU_ASSERT_EQUAL(probe.whole, whole || rows[i].whole);
		CU_ASSERT_STRING_EQUAL(probe.program_fault, "");
	}
}

/* A program that is of no use is not the module's fault. */
static void test_other_programs(void)
{
	static const struct {
		const char *script; /* NULL: no such file */
		const char *fault;
	} rows[] = {
		{NULL, "can't be started: No such file or directory"},
		{"#!/nonexistent/sh\n", "can't be started: "},
		{"#!/bin/sh\nexit 5\n", "ended without a word (exit 5)"},
		{"#!/bin/sh\nkill -SEGV $$\n", "ended without a word (signal 11)"},
		/* what obhost-probe of version 9 would say */
		{"#!/bin/sh\nprintf '\\007\\000\\000\\000X9.0, A' >&3\n",
	         "is of another build: 9.0, A, "},
	};
	char script[] = "/tmp/obhost-test-probe-XXXXXX";
	int fds = open_fds();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&probe, 0, sizeof(probe));
		CU_ASSERT_EQUAL(rehearse("misbehave", "misbehave", 20000), 0);
		memcpy(script + sizeof(script) - 7, "XXXXXX", 6);
		int fd = mkstemp(script);
		CU_ASSERT_FATAL(fd >= 0);
		if (rows[i].script != NULL) {
			size_t len = strlen(rows[i].script);
			CU_ASSERT_EQUAL(write(fd, rows[i].script, len), (ssize_t)len);
			CU_ASSERT_EQUAL(fchmod(fd, 0755), 0);
		} else {
			unlink(script);
		}
		close(fd);
		probe.program = script;
		CU_ASSERT_EQUAL(ob__probe_run(&probe, &refusal), 0);
		CU_ASSERT(probe.whole);
		CU_ASSERT_STRING_EQUAL(refusal.code, "");
		if (strncmp(probe.program_fault, rows[i].fault, strlen(rows[i].fault)) != 0) {
			fprintf(stderr, "# %s\n", probe.program_fault);
			CU_FAIL("another fault");
		}
		unlink(script);
		assert_clean(fds);
	}
}

/* A child that can't be made. */
static void test_no_child(void)
{
	int fds = open_fds();
	struct rlimit old;
	struct rlimit none;

	memset(&probe, 0, sizeof(probe));
	rehearse("misbehave", "misbehave", 20000);
	probe.program = NULL;
	probe.exe = "/nonexistent/obhost";
	CU_ASSERT_EQUAL(ob__probe_run(&probe, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "spawn");
	CU_ASSERT_STRING_EQUAL(refusal.found, strerror(ENOENT));
	set_programs();
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
	int rc = ob__probe_run(&probe, &refusal);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
	CU_ASSERT_EQUAL(rc, -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "spawn");
	CU_ASSERT_NOT_EQUAL(refusal.remedy[0], '\0');
	CU_ASSERT_STRING_EQUAL(probe.program_fault, ""); /* it may pass */
	/* a rehearsal makes no rehearsal: no children without end */
	setenv("OBHOST_PROBE", "1", 1);
	CU_ASSERT_EQUAL(ob__probe_run(&probe, &refusal), -1);
	unsetenv("OBHOST_PROBE");
	CU_ASSERT_STRING_EQUAL(refusal.code, "spawn");
	/* a program that is no obhost ends without a report */
	probe.exe = "/bin/true";
	probe.program = NULL;
	CU_ASSERT_EQUAL(ob__probe_run(&probe, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "exit");
	CU_ASSERT_STRING_EQUAL(refusal.found, "exit 0 in begin");
	assert_clean(fds);
}

/* ---- what is left over ---- */

struct left_row {
	const char *where;
	const char *how;
	const char *resident; /* part of it, "" : none at all */
	const char *notes;
};

static const struct left_row lefts[] = {
	{"start", "thread", "1 thread of it still runs", ""},
	{"stop", "thread", "1 thread of it still runs", ""},
	/* told to end, and ends a little later */
	{"stop", "short_thread", "", ""},
	{"start", "key", "1 pthread key behind each time", ""},
	{"start", "key_value", "1 pthread key behind each time", ""},
	{"constructor", "key", "1 pthread key behind each time", ""},
	{"start", "fd", "", "1 descriptor is left open (/dev/zero)"},
	{"start", "signal", "it handles signal 10", ""},
	{"start", "ignore", "", "it ignores signal 12"},
	{"destructor", "ignore", "", "it ignores signal 12"},
	{"destructor", "key", "1 pthread key behind each time", ""},
	{"start", "atexit", "", ""},
	{"start", "nothing", "", "it registers nothing"},
	{"start", "grandchild", "", ""},
	{"start", "network", "", ""},
	{"start", "file", "", ""},
	{"start", "priority", "", ""},
	/* under a sanitizer the exit can't be tried */
	{"start", "on_exit", OB_SANITIZER != 0 ? "" : "at the exit of the process", ""},
};

static void test_left_over(void)
{
	int fds = open_fds();

	for (size_t i = 0; i < sizeof(lefts) / sizeof(lefts[0]); i++) {
		const struct left_row *row = &lefts[i];
		if (strcmp(row->where, "constructor") == 0) {
			setenv("MISBEHAVE", row->how, 1);
		}
		int rc = misbehave(row->where, row->how);
		unsetenv("MISBEHAVE");
		if (rc != 0 || strstr(probe.resident, row->resident) == NULL ||
		    (row->resident[0] == '\0') != (probe.resident[0] == '\0') ||
		    strcmp(probe.notes, row->notes) != 0) {
			fprintf(stderr, "# %s %s: %s resident: %s notes: %s\n", row->where,
			        row->how, refusal.message, probe.resident, probe.notes);
			CU_FAIL("another verdict");
		}
		assert_clean(fds);
	}
}

static void test_still_mapped(void)
{
	memset(&probe, 0, sizeof(probe));
	CU_ASSERT_EQUAL(rehearse("sticky", "sticky", 20000), 0);
	CU_ASSERT_STRING_EQUAL(probe.resident, "it is still mapped after dlclose()");
}

/* ---- state ---- */

static void make_state(struct ob__blob_writer *w, const char *name, uint32_t version,
                       const char *bytes)
{
	CU_ASSERT_EQUAL_FATAL(ob__blob_begin(w, name, version, 1 << 20), 0);
	if (bytes != NULL) {
		CU_ASSERT_EQUAL(ob__blob_add(w, 1, OB__BLOB_CRITICAL, bytes, strlen(bytes)), 0);
	}
	CU_ASSERT_EQUAL(ob__blob_add(w, 2, 0, "more", 4), 0);
	CU_ASSERT_EQUAL_FATAL(ob__blob_finish(w), 0);
}

static int with_state(const struct ob__blob_writer *w, const char *how)
{
	snprintf(conf, sizeof(conf), "{\"where\": \"load\", \"how\": \"%s\"}", how);
	memset(&probe, 0, sizeof(probe));
	probe.conf = conf;
	probe.state = w->data;
	probe.state_len = w->len;
	return rehearse("misbehave", "misbehave", strcmp(how, "loop") == 0 ? 400 : 20000);
}

struct state_row {
	const char *name;
	uint32_t version;
	const char *bytes;
	const char *how;
	const char *code; /* NULL: it is taken */
	const char *message;
};

static const struct state_row states[] = {
	{"misbehave", 2, "abc", "", NULL, NULL},
	{"misbehave", 3, "abc", "", NULL, NULL},
	{"misbehave", 1, "abc", "", "load_state", "reads versions 2 to 3, not 1"},
	{"misbehave", 2, NULL, "", "load_state", "section 1 is not there"},
	{"misbehave", 2, "abcd", "", "load_state", "section 1 is not there"},
	{"misbehave", 2, "abc", "unread", "load_state", "critical section 1 was not read"},
	{"stranger", 2, "abc", "", "load_state", "the state of the generation that runs"},
	{"misbehave", 2, "abc", "crash", "crash", "SIGSEGV in load state"},
	{"misbehave", 2, "abc", "exit", "exit", "exit 7 in load state"},
	{"misbehave", 2, "abc", "loop", "timeout", "load state after 400 ms"},
};

static void test_state(void)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		const struct state_row *row = &states[i];
		struct ob__blob_writer w = {0};
		make_state(&w, row->name, row->version, row->bytes);
		int rc = with_state(&w, row->how);
		CU_ASSERT_EQUAL(rc, row->code != NULL ? -1 : 0);
		if (row->code != NULL) {
			CU_ASSERT_STRING_EQUAL(refusal.code, row->code);
			CU_ASSERT_PTR_NOT_NULL(strstr(refusal.message, row->message));
		}
		ob__blob_end(&w);
	}
}

/* Larger than any socket's buffer: both ends go on talking. */
static void test_large_state(void)
{
	struct ob__blob_writer w = {0};
	size_t len = 8 << 20;
	char *bytes = calloc(1, len);

	CU_ASSERT_EQUAL_FATAL(ob__blob_begin(&w, "misbehave", 2, len + 4096), 0);
	CU_ASSERT_EQUAL(ob__blob_add(&w, 1, 0, "abc", 3), 0);
	CU_ASSERT_EQUAL(ob__blob_add(&w, 2, 0, bytes, len), 0);
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_EQUAL(with_state(&w, ""), 0);
	/* a child that never reads it does not hold us up */
	probe.exe = "/bin/true";
	probe.program = NULL;
	CU_ASSERT_EQUAL(ob__probe_run(&probe, &refusal), -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "exit");
	ob__blob_end(&w);
	free(bytes);
}

/* ---- from outside, and from a thread without signals ---- */

static void *in_thread(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	*(int *)arg = misbehave("start", "loop");
	return NULL;
}

/* The child of this process that rehearses, once it loads the module; 0 if it never does. */
static pid_t wait_for_child(void)
{
	char name[64];
	char pid[32];

	snprintf(name, sizeof(name), "/proc/self/task/%d/children", (int)getpid());
	for (;;) {
		DIR *tasks = opendir("/proc/self/task");
		const struct dirent *e;
		long found = 0;
		while (found == 0 && (e = readdir(tasks)) != NULL) {
			snprintf(name, sizeof(name), "/proc/self/task/%.16s/children", e->d_name);
			FILE *f = fopen(name, "re");
			if (f != NULL && fgets(pid, sizeof(pid), f) != NULL) {
				found = strtol(pid, NULL, 10);
			}
			if (f != NULL) {
				fclose(f);
			}
		}
		closedir(tasks);
		if (found > 0) {
			return (pid_t)found;
		}
	}
}

static void test_killed_from_outside(void)
{
	int fds = open_fds();
	int rc = 0;
	pthread_t thread;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, in_thread, &rc), 0);
	pid_t pid = wait_for_child();
	CU_ASSERT_EQUAL(kill(pid, SIGKILL), 0);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(rc, -1);
	CU_ASSERT_STRING_EQUAL(refusal.code, "crash");
	CU_ASSERT_PTR_NOT_NULL(strstr(refusal.found, "SIGKILL in "));
	assert_clean(fds);
}

/* Signals that the calling thread blocks are not blocked in the child: CPU limit, ALRM, ... */
static void test_fresh_signals(void)
{
	sigset_t all;
	sigset_t old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	(void)signal(SIGUSR1, SIG_IGN);
	int rc = misbehave("start", "abort");
	(void)signal(SIGUSR1, SIG_DFL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	CU_ASSERT_EQUAL(rc, -1);
	CU_ASSERT_STRING_EQUAL(refusal.found, "SIGABRT in start");
}

/* All that a module can do, seen by obhost itself as well. */
static void test_whole(void)
{
	whole = true;
	test_good();
	test_own_modules();
	test_bad();
	test_other_files();
	test_left_over();
	test_state();
	whole = false;
}

int main(void)
{
	if (getenv("OB_OBHOST") == NULL || getenv("OB_PROBE") == NULL ||
	    getenv("OB_TESTMOD_PATH") == NULL) {
		puts("1..0 # SKIP run it by make check");
		return 0;
	}
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("probe", NULL, NULL);
	CU_add_test(s, "a good module", test_good);
	CU_add_test(s, "our own modules", test_own_modules);
	CU_add_test(s, "crash, exit, hang, refusal, by phase", test_bad);
	CU_add_test(s, "files that are no such module", test_other_files);
	CU_add_test(s, "programs that can't rehearse", test_other_programs);
	CU_add_test(s, "no child", test_no_child);
	CU_add_test(s, "what is left over", test_left_over);
	CU_add_test(s, "still mapped", test_still_mapped);
	CU_add_test(s, "state", test_state);
	CU_add_test(s, "large state", test_large_state);
	CU_add_test(s, "killed from outside", test_killed_from_outside);
	CU_add_test(s, "given up by the host", test_given_up);
	CU_add_test(s, "fresh signals", test_fresh_signals);
	CU_add_test(s, "in obhost itself", test_whole);
	return ob__tap_run();
}
