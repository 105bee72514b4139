/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "host/swap/manifest.h"
#include "tap.h"
#include "unit/files.h"

static char dir[200];

/* ---------------------------------------------------------------- the directory */

static const char *in(const char *name)
{
	static char paths[4][400];
	static unsigned at;
	char *path = paths[at++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void begin(void)
{
	files_make_dir(dir, sizeof(dir));
}

static void end(void)
{
	files_remove(dir);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static size_t count_files(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	size_t n = 0;

	while (d != NULL && (e = readdir(d)) != NULL) {
		n += e->d_name[0] != '.';
	}
	if (d != NULL) {
		closedir(d);
	}
	return n;
}

/* ---------------------------------------------------------------- builds */

/* The hash of the build of that number: it differs in the first digits. */
static const char *sha(unsigned n)
{
	static char texts[8][65];
	static unsigned at;
	char *text = texts[at++ % 8];

	snprintf(text, 65, "%08x%056x", n, 0xabcdu);
	return text;
}

static struct ob__manifest_build build_of(const char *name, unsigned n)
{
	static char staged[400];

	snprintf(staged, sizeof(staged), "%s", in("staged.so"));
	return (struct ob__manifest_build){name, sha(n), "1.2.3", staged};
}

/* Stages a file whose text is the number and makes it the newest good build. */
static int add_good(struct ob__manifest *m, const char *name, unsigned n)
{
	struct ob__manifest_build b = build_of(name, n);
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	unlink(b.staged);
	files_write_text(b.staged, text);
	chmod(b.staged, 0500);
	return ob__manifest_good_add(m, &b);
}

/* The newest good build's number, read from its copy; 0: none. */
static unsigned good_of(const struct ob__manifest *m, const char *name, const char *except)
{
	char path[400] = "";
	char hash[65] = "";

	if (!ob__manifest_good(m, name, except, path, sizeof(path), hash)) {
		return 0;
	}
	char *text = files_read(path, NULL);
	unsigned n = (unsigned)atoi(text);
	free(text);
	CU_ASSERT_STRING_EQUAL(hash, sha(n));
	return n;
}

static struct ob__manifest *reopen(struct ob__manifest *m)
{
	ob__manifest_close(m);
	m = ob__manifest_open(dir);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return m;
}

static int try_build(struct ob__manifest *m, const char *name, unsigned n)
{
	struct ob__manifest_build b = build_of(name, n);

	return ob__manifest_trial(m, &b, 1);
}

static bool quarantined(const struct ob__manifest *m, const char *name, unsigned n)
{
	char why[200] = "";

	return ob__manifest_quarantined(m, name, sha(n), why, sizeof(why));
}

static size_t listed(const struct ob__manifest *m, const char *name, const char *list)
{
	json_t *shown = ob__manifest_json(m, name);
	size_t n = json_array_size(json_object_get(shown, list));

	CU_ASSERT_TRUE(json_is_array(json_object_get(shown, list)));
	json_decref(shown);
	return n;
}

/* ---------------------------------------------------------------- good builds */

static void test_nothing(void)
{
	begin();
	struct ob__manifest *m = reopen(NULL);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 0);
	CU_ASSERT_FALSE(quarantined(m, "m", 1));
	CU_ASSERT_EQUAL(ob__manifest_release(m, "m", sha(1)), -ENOENT);
	CU_ASSERT_EQUAL(ob__manifest_trial_end(m), 0);
	CU_ASSERT_EQUAL(listed(m, "m", "good"), 0);
	CU_ASSERT_EQUAL(listed(m, "m", "quarantine"), 0);
	CU_ASSERT_FALSE(exists(in("modules.json")));
	ob__manifest_close(m);
	ob__manifest_close(NULL);
	end();
}

static void test_good(void)
{
	struct stat staged;
	struct stat copy;
	char path[400];
	char hash[65];

	begin();
	struct ob__manifest *m = reopen(NULL);
	CU_ASSERT_EQUAL(add_good(m, "m", 1), 0);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 1);
	CU_ASSERT_EQUAL(good_of(m, "m", sha(1)), 0);
	CU_ASSERT_EQUAL(good_of(m, "other", NULL), 0);

	/* The copy is the staged file under a second name, so it costs nothing and stays. */
	CU_ASSERT_TRUE(ob__manifest_good(m, "m", NULL, path, sizeof(path), hash));
	CU_ASSERT_STRING_EQUAL(path, in("good/m.0000000100000000.so"));
	CU_ASSERT_EQUAL(stat(in("staged.so"), &staged), 0);
	CU_ASSERT_EQUAL(stat(path, &copy), 0);
	CU_ASSERT_EQUAL(staged.st_ino, copy.st_ino);
	CU_ASSERT_EQUAL(copy.st_mode & 07777, 0500);
	CU_ASSERT_EQUAL(unlink(in("staged.so")), 0);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 1);
	CU_ASSERT_FALSE(ob__manifest_good(m, "m", NULL, path, 10, hash));

	/* The last three are kept, also over a restart. */
	for (unsigned i = 2; i <= 5; i++) {
		CU_ASSERT_EQUAL(add_good(m, "m", i), 0);
		CU_ASSERT_EQUAL(good_of(m, "m", NULL), i);
		CU_ASSERT_EQUAL(good_of(m, "m", sha(i)), i - 1);
	}
	CU_ASSERT_EQUAL(add_good(m, "other", 3), 0);
	m = reopen(m);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 5);
	CU_ASSERT_EQUAL(listed(m, "m", "good"), OB__MANIFEST_GOOD);
	CU_ASSERT_EQUAL(count_files(in("good")), OB__MANIFEST_GOOD + 1);
	CU_ASSERT_FALSE(exists(in("good/m.0000000200000000.so")));

	/* One of them again: it is the newest, once, the same file or another one. */
	CU_ASSERT_EQUAL(add_good(m, "m", 3), 0);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 3);
	CU_ASSERT_EQUAL(good_of(m, "m", sha(3)), 5);
	struct ob__manifest_build same = build_of("m", 3);
	CU_ASSERT_EQUAL(ob__manifest_good_add(m, &same), 0);
	CU_ASSERT_EQUAL(listed(m, "m", "good"), OB__MANIFEST_GOOD);
	CU_ASSERT_EQUAL(count_files(in("good")), OB__MANIFEST_GOOD + 1);

	/* A copy that somebody has removed is passed over. */
	CU_ASSERT_EQUAL(unlink(in("good/m.0000000300000000.so")), 0);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 5);
	ob__manifest_close(m);
	end();
}

static void test_good_fails(void)
{
	begin();
	struct ob__manifest *m = reopen(NULL);
	struct ob__manifest_build b = build_of("m", 1);
	CU_ASSERT_EQUAL(ob__manifest_good_add(m, &b), -ENOENT);
	static const char *const names[] = {"",
	                                    ".",
	                                    "..",
	                                    ".m",
	                                    "a/b",
	                                    "/m",
	                                    "\xff",
	                                    "a b",
	                                    "0123456789012345678901234567890123456789"
	                                    "012345678901234567890123"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		b = build_of(names[i], 1);
		CU_ASSERT_EQUAL(ob__manifest_good_add(m, &b), -EINVAL);
		CU_ASSERT_EQUAL(ob__manifest_trial(m, &b, 1), -EINVAL);
	}
	static const char *const shas[] = {"", "abc", "../../../../../../etc/passwd",
	                                   "XBCDEF78901234567890123456789012"
	                                   "34567890123456789012345678901234"};
	for (size_t i = 0; i < sizeof(shas) / sizeof(shas[0]); i++) {
		b = build_of("m", 1);
		b.sha256 = shas[i];
		CU_ASSERT_EQUAL(ob__manifest_good_add(m, &b), -EINVAL);
		CU_ASSERT_EQUAL(ob__manifest_trial(m, &b, 1), -EINVAL);
	}
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 0);
	CU_ASSERT_EQUAL(count_files(in("good")), 0);

	/* Versions are whatever a module says. */
	b = build_of("m", 1);
	static const char *const versions[] = {
		NULL, "", "\xff\xfe", "\"\n\\",
		"sixty-three bytes and then a letter of two: 56789012345678901234\xc3\xa4 and more"};
	files_write_text(b.staged, "1");
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		b.version = versions[i];
		CU_ASSERT_EQUAL(ob__manifest_good_add(m, &b), 0);
		CU_ASSERT_EQUAL(ob__manifest_trial(m, &b, 1), 0);
		m = reopen(m);
		CU_ASSERT_EQUAL(good_of(m, "m", NULL), 1);
	}
	CU_ASSERT_FALSE(exists(in("modules.json.damaged")));
	ob__manifest_close(m);
	end();
}

/* Nothing can be written: each function says so, nothing crashes. */
static void test_no_directory(void)
{
	begin();
	struct ob__manifest *m = ob__manifest_open(in("nowhere"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_TRUE(add_good(m, "m", 1) < 0);
	CU_ASSERT_TRUE(try_build(m, "m", 1) < 0);
	CU_ASSERT_EQUAL(ob__manifest_trial_end(m), 0);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 0);
	ob__manifest_close(m);

	/* Files in the places of directories and directories in those of files. */
	files_write_text(in("good"), "");
	CU_ASSERT_EQUAL(mkdir(in("modules.json.new"), 0700), 0);
	m = reopen(NULL);
	CU_ASSERT_TRUE(add_good(m, "m", 1) < 0);
	CU_ASSERT_TRUE(try_build(m, "m", 1) < 0);
	ob__manifest_close(m);
	CU_ASSERT_TRUE(ob__manifest_guard(in("nowhere")) < 0);
	CU_ASSERT_EQUAL(mkdir(in("crashed"), 0700), 0);
	CU_ASSERT_TRUE(ob__manifest_guard(dir) < 0);
	end();
}

/* Bounds: 256 modules, the one whose last good build is the oldest makes room. */
static void test_many_modules(void)
{
	char name[32];

	begin();
	struct ob__manifest *m = reopen(NULL);
	/* One that is in quarantine stays longest. */
	CU_ASSERT_EQUAL(try_build(m, "suspect", 9), 0);
	files_write_text(in("crashed"), "signal 11\n");
	m = reopen(m);
	for (unsigned i = 0; i < 258; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		CU_ASSERT_EQUAL(add_good(m, name, i + 1), 0);
	}
	m = reopen(m);
	CU_ASSERT_FALSE(exists(in("modules.json.damaged")));
	CU_ASSERT_EQUAL(count_files(in("good")), 255);
	CU_ASSERT_TRUE(quarantined(m, "suspect", 9));
	CU_ASSERT_EQUAL(good_of(m, "m257", NULL), 258);
	ob__manifest_close(m);
	end();
}

/* ---------------------------------------------------------------- trial and quarantine */

static void test_trial(void)
{
	char why[200];

	begin();
	struct ob__manifest *m = reopen(NULL);
	struct ob__manifest_build two[] = {build_of("a", 1), build_of("b", 2)};
	CU_ASSERT_EQUAL(add_good(m, "a", 7), 0);
	CU_ASSERT_EQUAL(ob__manifest_trial(m, two, 2), 0);

	/* Ended from outside: no mark, no quarantine, and the trial is over. */
	m = reopen(m);
	CU_ASSERT_FALSE(quarantined(m, "a", 1));
	files_write_text(in("crashed"), "signal 11\n");
	m = reopen(m);
	CU_ASSERT_FALSE(quarantined(m, "a", 1));
	CU_ASSERT_FALSE(exists(in("crashed")));

	/* An empty mark is none. */
	CU_ASSERT_EQUAL(ob__manifest_trial(m, two, 2), 0);
	files_write_text(in("crashed"), "");
	m = reopen(m);
	CU_ASSERT_FALSE(quarantined(m, "a", 1));

	/* Trial over, then a crash. */
	CU_ASSERT_EQUAL(ob__manifest_trial(m, two, 2), 0);
	CU_ASSERT_EQUAL(ob__manifest_trial_end(m), 0);
	files_write_text(in("crashed"), "signal 6\n");
	m = reopen(m);
	CU_ASSERT_FALSE(quarantined(m, "a", 1));

	/* A crash: all that were on trial, for good, until released. */
	CU_ASSERT_EQUAL(ob__manifest_trial(m, two, 2), 0);
	files_write_text(in("crashed"), "signal 11\n");
	m = reopen(m);
	CU_ASSERT_TRUE(quarantined(m, "a", 1));
	CU_ASSERT_TRUE(quarantined(m, "b", 2));
	CU_ASSERT_FALSE(quarantined(m, "a", 2));
	CU_ASSERT_FALSE(quarantined(m, "c", 1));
	CU_ASSERT_TRUE(ob__manifest_quarantined(m, "a", sha(1), why, sizeof(why)));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "by signal 11 (SEGV) while it was on trial, since 2"));
	CU_ASSERT_TRUE(ob__manifest_quarantined(m, "a", sha(1), NULL, 0));
	CU_ASSERT_FALSE(exists(in("crashed")));
	m = reopen(m);
	CU_ASSERT_TRUE(quarantined(m, "a", 1));
	CU_ASSERT_EQUAL(listed(m, "a", "quarantine"), 1);
	CU_ASSERT_EQUAL(good_of(m, "a", NULL), 7);
	CU_ASSERT_EQUAL(ob__manifest_release(m, "a", sha(2)), -ENOENT);
	CU_ASSERT_EQUAL(ob__manifest_release(m, "a", sha(1)), 0);
	m = reopen(m);
	CU_ASSERT_FALSE(quarantined(m, "a", 1));
	CU_ASSERT_TRUE(quarantined(m, "b", 2));

	/* A good build that is in quarantine is no way back; proved once more, it is. */
	CU_ASSERT_EQUAL(add_good(m, "a", 8), 0);
	CU_ASSERT_EQUAL(try_build(m, "a", 8), 0);
	files_write_text(in("crashed"), "exit\n");
	m = reopen(m);
	CU_ASSERT_TRUE(ob__manifest_quarantined(m, "a", sha(8), why, sizeof(why)));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "by an exit nobody asked for"));
	CU_ASSERT_EQUAL(good_of(m, "a", NULL), 7);
	CU_ASSERT_EQUAL(add_good(m, "a", 8), 0);
	CU_ASSERT_FALSE(quarantined(m, "a", 8));
	CU_ASSERT_EQUAL(good_of(m, "a", NULL), 8);
	ob__manifest_close(m);
	end();
}

static void test_quarantine_bound(void)
{
	begin();
	struct ob__manifest *m = reopen(NULL);
	for (unsigned i = 1; i <= 40; i++) {
		CU_ASSERT_EQUAL(try_build(m, "m", i), 0);
		files_write_text(in("crashed"), "signal 11\n");
		m = reopen(m);
	}
	CU_ASSERT_EQUAL(listed(m, "m", "quarantine"), 32);
	CU_ASSERT_FALSE(quarantined(m, "m", 8));
	CU_ASSERT_TRUE(quarantined(m, "m", 9));
	CU_ASSERT_TRUE(quarantined(m, "m", 40));
	/* the same again is not listed twice */
	CU_ASSERT_EQUAL(try_build(m, "m", 20), 0);
	files_write_text(in("crashed"), "signal 11\n");
	m = reopen(m);
	CU_ASSERT_EQUAL(listed(m, "m", "quarantine"), 32);
	CU_ASSERT_TRUE(quarantined(m, "m", 9));
	struct ob__manifest_build one = build_of("m", 1);
	struct ob__manifest_build *many = calloc(257, sizeof(*many));
	for (size_t i = 0; i < 257; i++) {
		many[i] = one;
	}
	CU_ASSERT_EQUAL(ob__manifest_trial(m, many, 257), -EINVAL);
	CU_ASSERT_EQUAL(ob__manifest_trial(m, many, 256), 0);
	free(many);
	ob__manifest_close(m);
	end();
}

/* A file that would be longer than can be read again gives up what is oldest. */
static void test_file_bound(void)
{
	struct ob__manifest_build builds[20];
	struct stat st;

	begin();
	FILE *f = fopen(in("modules.json"), "we");
	fprintf(f, "{\"format\":1,\"modules\":{\"m\":{\"good\":[],\"quarantine\":[");
	for (unsigned i = 1; i <= 31; i++) {
		fprintf(f, "%s{\"sha256\":\"%s\",\"why\":\"%033600d\"}", i > 1 ? "," : "", sha(i),
		        0);
	}
	fprintf(f, "]}}}");
	fclose(f);
	struct ob__manifest *m = reopen(NULL);
	CU_ASSERT_TRUE(quarantined(m, "m", 1));
	for (unsigned i = 0; i < 20; i++) {
		builds[i] = build_of("other", 1);
	}
	CU_ASSERT_EQUAL(ob__manifest_trial(m, builds, 20), 0);
	CU_ASSERT_EQUAL(stat(in("modules.json"), &st), 0);
	CU_ASSERT_TRUE(st.st_size <= 1 << 20);
	m = reopen(m);
	CU_ASSERT_FALSE(exists(in("modules.json.damaged")));
	CU_ASSERT_FALSE(quarantined(m, "m", 1));
	CU_ASSERT_TRUE(quarantined(m, "m", 31));
	ob__manifest_close(m);
	end();
}

/* ---------------------------------------------------------------- damage */

#define SHA "0123456789012345678901234567890123456789012345678901234567890123"

static void test_damaged(void)
{
	static const char *const texts[] = {
		"",
		"{",
		"no json",
		"[]",
		"{}",
		"{\"format\":2,\"modules\":{}}",
		"{\"format\":\"1\",\"modules\":{}}",
		"{\"format\":1}",
		"{\"format\":1,\"modules\":[]}",
		"{\"format\":1,\"modules\":{},\"modules\":{}}",
		"{\"format\":1,\"modules\":{\"m\":1}}",
		"{\"format\":1,\"modules\":{\"m\":{\"good\":[]}}}",
		"{\"format\":1,\"modules\":{\"m\":{\"good\":{},\"quarantine\":[]}}}",
		"{\"format\":1,\"modules\":{\"m\":{\"good\":[1],\"quarantine\":[]}}}",
		"{\"format\":1,\"modules\":{\"m\":{\"good\":[{\"sha256\":\"x\"}],\"quarantine\":[]}}}",
		"{\"format\":1,\"modules\":{\"../m\":{\"good\":[],\"quarantine\":[]}}}",
		"{\"format\":1,\"modules\":{\"\":{\"good\":[],\"quarantine\":[]}}}",
		"{\"format\":1,\"modules\":{},\"trial\":{}}",
		"{\"format\":1,\"modules\":{},\"trial\":{\"builds\":[{\"sha256\":\"" SHA "\"}]}}",
		"{\"format\":1,\"modules\":{\"m\":{\"good\":[{\"sha256\":\"" SHA
		"\"},{\"sha256\":\"" SHA "\"},{\"sha256\":\"" SHA "\"},{\"sha256\":\"" SHA
		"\"}],\"quarantine\":[]}}}",
	};

	begin();
	ob__log_set_level(OB_LOG_ERROR);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		files_write_text(in("modules.json"), texts[i]);
		unlink(in("modules.json.damaged"));
		struct ob__manifest *m = reopen(NULL);
		if (!exists(in("modules.json.damaged")) || exists(in("modules.json"))) {
			printf("# %s\n", texts[i]);
			CU_FAIL("not set aside");
		}
		CU_ASSERT_FALSE(quarantined(m, "m", 1));
		CU_ASSERT_EQUAL(good_of(m, "m", NULL), 0);
		/* it goes on */
		CU_ASSERT_EQUAL(try_build(m, "m", 1), 0);
		ob__manifest_close(m);
	}
	ob__log_set_level(OB_LOG_INFO);
	end();
}

/* Too many of something, too long, no file at all. */
static void test_too_much(void)
{
	begin();
	ob__log_set_level(OB_LOG_ERROR);
	for (int what = 0; what < 4; what++) {
		unlink(in("modules.json"));
		unlink(in("modules.json.damaged"));
		FILE *f = fopen(in("modules.json"), "we");
		fprintf(f, "{\"format\":1,\"modules\":{");
		for (unsigned i = 0; what == 0 && i < 257; i++) {
			fprintf(f, "%s\"m%u\":{\"good\":[],\"quarantine\":[]}", i > 0 ? "," : "",
			        i);
		}
		for (unsigned i = 0; what == 1 && i < 33; i++) {
			fprintf(f, "%s{\"sha256\":\"%s\"}",
			        i > 0 ? "," : "\"m\":{\"good\":[],\"quarantine\":[", sha(i));
		}
		fprintf(f, "%s}}%*s", what == 1 ? "]}" : "", what == 2 ? 1 << 20 : 1, "");
		fclose(f);
		if (what == 3) {
			unlink(in("modules.json"));
			CU_ASSERT_EQUAL(symlink("/dev/zero", in("modules.json")), 0);
		}
		struct ob__manifest *m = reopen(NULL);
		struct stat st;
		CU_ASSERT_EQUAL(lstat(in("modules.json.damaged"), &st), 0);
		CU_ASSERT_EQUAL(lstat(in("modules.json"), &st), -1);
		ob__manifest_close(m);
	}
	ob__log_set_level(OB_LOG_INFO);
	end();
}

/* Cut anywhere it is either set aside, or still says the same. */
static void test_cut(void)
{
	begin();
	struct ob__manifest *m = reopen(NULL);
	CU_ASSERT_EQUAL(add_good(m, "m", 1), 0);
	ob__manifest_close(m);
	struct stat st;
	CU_ASSERT_EQUAL(stat(in("modules.json"), &st), 0);
	CU_ASSERT_EQUAL(rename(in("modules.json"), in("whole")), 0);
	size_t len;
	char *whole = files_read(in("whole"), &len);
	ob__log_set_level(OB_LOG_ERROR);
	for (size_t i = 0; i < len; i++) {
		unlink(in("modules.json.damaged"));
		files_write(in("modules.json"), whole, i);
		m = reopen(NULL);
		CU_ASSERT_TRUE(exists(in("modules.json.damaged")) || good_of(m, "m", NULL) == 1);
		ob__manifest_close(m);
	}
	free(whole);
	/* After damage the copies stay for once: somebody may want them. */
	CU_ASSERT_EQUAL(count_files(in("good")), 1);
	ob__log_set_level(OB_LOG_INFO);
	end();
}

static void test_orphans(void)
{
	begin();
	struct ob__manifest *m = reopen(NULL);
	CU_ASSERT_EQUAL(add_good(m, "m", 1), 0);
	files_write_text(in("good/m.ffffffff00000000.so"), "x");
	files_write_text(in("good/new"), "x");
	m = reopen(m);
	CU_ASSERT_EQUAL(count_files(in("good")), 1);
	CU_ASSERT_EQUAL(good_of(m, "m", NULL), 1);
	ob__manifest_close(m);
	end();
}

/* ---------------------------------------------------------------- ends of a process */

static void no_core(void)
{
	struct rlimit none = {0, 0};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	setrlimit(RLIMIT_CORE, &none);
	dup2(null, STDERR_FILENO); /* sanitizers have much to say about what comes */
}

static volatile int zero;
static volatile uintptr_t nowhere = 16;

static void null_write(void)
{
	*(volatile int *)nowhere = 1;
}

static int deeper(volatile char *above)
{
	volatile char here[1024];

	here[0] = above[0];
	return zero == 0 ? deeper(here) + here[0] : 0;
}

static void overflow(void)
{
	char top = 1;

	deeper(&top);
}

static void bus_error(void)
{
	raise(SIGBUS);
}

static void divide(void)
{
	raise(SIGFPE);
}

static void illegal(void)
{
	raise(SIGILL);
}

static void bad_call(void)
{
	raise(SIGSYS);
}

static void trap(void)
{
	raise(SIGTRAP);
}

static void killed_by_abort(void)
{
	kill(getpid(), SIGABRT);
}

static void plain_exit(void)
{
	exit(3);
}

static void short_exit(void)
{
	quick_exit(3);
}

static void no_exit(void)
{
	_exit(3);
}

static void killed(void)
{
	raise(SIGKILL);
}

static void terminated(void)
{
	raise(SIGTERM);
}

static void proper_end(void)
{
	ob__manifest_disarm();
	ob__manifest_disarm();
	exit(0);
}

static void crash_after_end(void)
{
	ob__manifest_disarm();
	raise(SIGSEGV);
}

/* A child of the node crashes, not the node. */
static void child_crashes(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		abort();
	}
	waitpid(pid, NULL, 0);
	pid = fork();
	if (pid == 0) {
		exit(1);
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

/* Somebody ignored the signal; then the node ended properly. */
static void survived(void)
{
	raise(SIGTRAP);
	ob__manifest_disarm();
	exit(0);
}

struct end_row {
	void (*how)(void);
	bool quarantined;
	int signal; /* that ends the process, as without the guard; 0: an exit */
	const char *mark;
};

static const struct end_row ends[] = {
	{null_write, true, SIGSEGV, "signal 11\n"},
	{overflow, true, SIGSEGV, "signal 11\n"},
	{abort, true, SIGABRT, "signal 06\n"},
	{bus_error, true, SIGBUS, NULL},
	{divide, true, SIGFPE, "signal 08\n"},
	{illegal, true, SIGILL, "signal 04\n"},
	{bad_call, true, SIGSYS, NULL},
	{trap, true, SIGTRAP, "signal 05\n"},
	{killed_by_abort, true, SIGABRT, "signal 06\n"},
	{plain_exit, true, 0, "exit\n"},
	{short_exit, true, 0, "exit\n"},
	/* what can't be seen from within, or is no crash */
	{no_exit, false, 0, ""},
	{killed, false, SIGKILL, ""},
	{terminated, false, SIGTERM, ""},
	{proper_end, false, 0, ""},
	{crash_after_end, false, SIGSEGV, ""},
	{child_crashes, false, 0, ""},
};

/* A process that has a build on trial ends so; its wait status. */
static int run_node(void (*before)(void), void (*how)(void))
{
	int status = -1;

	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		no_core();
		if (before != NULL) {
			before();
		}
		struct ob__manifest *m = ob__manifest_open(dir);
		if (m == NULL || ob__manifest_guard(dir) != 0 ||
		    ob__manifest_guard(dir) != -EALREADY || try_build(m, "m", 1) != 0) {
			_exit(99);
		}
		ob__manifest_close(m);
		how();
		_exit(98);
	}
	CU_ASSERT_TRUE_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_FALSE(WIFEXITED(status) &&
	                (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 98));
	return status;
}

static void read_mark(char out[32])
{
	char *text = files_read(in("crashed"), NULL);

	CU_ASSERT_TRUE(snprintf(out, 32, "%s", text) < 31);
	free(text);
}

static void test_ends(void)
{
	char mark[32];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		const struct end_row *r = &ends[i];
		begin();
		int status = run_node(NULL, r->how);
		/* A sanitizer that has the signal reports it and exits. */
		bool same = r->signal == 0 ? WIFEXITED(status)
		                           : WIFSIGNALED(status) && WTERMSIG(status) == r->signal;
#if OB_SANITIZER != 0
		same = same || WIFEXITED(status);
#endif
		read_mark(mark);
		struct ob__manifest *m = reopen(NULL);
		if (!same || quarantined(m, "m", 1) != r->quarantined ||
		    (r->mark != NULL && strcmp(mark, r->mark) != 0)) {
			printf("# row %zu: status %#x, mark %s\n", i, (unsigned)status, mark);
			CU_FAIL("another end");
		}
		ob__manifest_close(m);
		end();
	}
}

static void ignore_trap(void)
{
	signal(SIGTRAP, SIG_IGN);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	_exit(sig == SIGSEGV && (uintptr_t)info->si_addr == nowhere ? 42 : 43);
}

static void handle_faults(void)
{
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &act, NULL);
}

/* Whoever had the signal before gets it, with the fault's address. */
static void test_earlier_handlers(void)
{
	char mark[32];

	begin();
	int status = run_node(handle_faults, null_write);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	read_mark(mark);
	CU_ASSERT_STRING_EQUAL(mark, "signal 11\n");
	end();
	begin();
	status = run_node(ignore_trap, survived);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	read_mark(mark);
	CU_ASSERT_STRING_EQUAL(mark, "");
	end();
}

/* Armed and disarmed, the process is as it was. */
static void test_disarm(void)
{
	struct sigaction before;
	struct sigaction after;
	stack_t stack_before;
	stack_t stack_after;

	begin();
	sigaction(SIGSEGV, NULL, &before);
	sigaltstack(NULL, &stack_before);
	int fd = dup(0);
	close(fd);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(ob__manifest_guard(dir), 0);
		CU_ASSERT_EQUAL(ob__manifest_guard(dir), -EALREADY);
		sigaction(SIGSEGV, NULL, &after);
		CU_ASSERT_TRUE((after.sa_flags & SA_ONSTACK) != 0);
		ob__manifest_disarm();
	}
	sigaction(SIGSEGV, NULL, &after);
	sigaltstack(NULL, &stack_after);
	CU_ASSERT_PTR_EQUAL(after.sa_handler, before.sa_handler);
	CU_ASSERT_EQUAL(stack_after.ss_flags, stack_before.ss_flags);
	/* Somebody else's handler is not touched. */
	CU_ASSERT_EQUAL(ob__manifest_guard(dir), 0);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGTRAP, &ignore, NULL);
	ob__manifest_disarm();
	sigaction(SIGTRAP, NULL, &after);
	CU_ASSERT_TRUE(after.sa_handler == SIG_IGN);
	signal(SIGTRAP, SIG_DFL);
	int now = dup(0);
	close(now);
	CU_ASSERT_EQUAL(now, fd);
	end();
}

/* Where no second name can be given, the copy is one. */
static void test_without_links(void)
{
	int status = -1;

	begin();
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		struct sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_linkat, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) != 0) {
			_exit(77);
		}
		struct ob__manifest *m = ob__manifest_open(dir);
		_exit(m != NULL && add_good(m, "m", 1) == 0 && add_good(m, "m", 2) == 0 &&
		                      add_good(m, "m", 2) == 0
		              ? 0
		              : 1);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("# skipped: no seccomp filters\n");
	} else {
		struct stat st;
		struct stat staged;
		CU_ASSERT_EQUAL(status, 0);
		struct ob__manifest *m = reopen(NULL);
		CU_ASSERT_EQUAL(good_of(m, "m", NULL), 2);
		CU_ASSERT_EQUAL(good_of(m, "m", sha(2)), 1);
		CU_ASSERT_EQUAL(stat(in("staged.so"), &staged), 0);
		CU_ASSERT_EQUAL(stat(in("good/m.0000000200000000.so"), &st), 0);
		CU_ASSERT_NOT_EQUAL(st.st_ino, staged.st_ino);
		CU_ASSERT_EQUAL(st.st_mode & 07777, 0500);
		ob__manifest_close(m);
	}
	end();
}

int main(void)
{
	umask(022);
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("manifest", NULL, NULL);
	CU_add_test(s, "a new directory", test_nothing);
	CU_add_test(s, "the last good builds", test_good);
	CU_add_test(s, "what can't be a good build", test_good_fails);
	CU_add_test(s, "a directory that can't be used", test_no_directory);
	CU_add_test(s, "more modules than are kept", test_many_modules);
	CU_add_test(s, "copies where links can't be made", test_without_links);
	CU_add_test(s, "trial, crash, quarantine, release", test_trial);
	CU_add_test(s, "more builds in quarantine than are kept", test_quarantine_bound);
	CU_add_test(s, "a file longer than is read", test_file_bound);
	CU_add_test(s, "damaged files are set aside", test_damaged);
	CU_add_test(s, "too much in a file", test_too_much);
	CU_add_test(s, "cut at every byte", test_cut);
	CU_add_test(s, "copies that nothing names", test_orphans);
	CU_add_test(s, "all ends of a process", test_ends);
	CU_add_test(s, "earlier handlers", test_earlier_handlers);
	CU_add_test(s, "arm and disarm", test_disarm);
	return ob__tap_run();
}
