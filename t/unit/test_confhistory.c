/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/admin/confhistory.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "unit/files.h"

static char dir[128];

static void begin(void)
{
	files_make_dir(dir, sizeof(dir));
}

static void end(void)
{
	files_remove(dir);
}

/* NAME in the history's directory, or /NAME beside it. */
static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s%s", dir, name[0] == '/' ? "" : "/conf/", name);
	return path;
}

/* Adds a text; its number, or -errno. */
static int64_t add(const char *text)
{
	uint64_t number = 0;
	int rc = ob__confhistory_add(dir, text, strlen(text), &number);

	return rc != 0 ? rc : (int64_t)number;
}

/* The kept file has this text. */
static bool has_text(uint64_t number, const char *text)
{
	char path[PATH_MAX];
	char found[256] = "";

	if (ob__confhistory_path(dir, number, path, sizeof(path)) != 0) {
		return false;
	}
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(found, 1, sizeof(found) - 1, f) : 0;
	if (f != NULL) {
		fclose(f);
	}
	return n == strlen(text) && memcmp(found, text, n) == 0;
}

static json_int_t member(const json_t *list, size_t i, const char *key)
{
	return json_integer_value(json_object_get(json_array_get(list, i), key));
}

static void test_added(void)
{
	struct stat st;

	begin();
	umask(0);
	CU_ASSERT_EQUAL(add("one"), 1);
	CU_ASSERT_EQUAL(add("one"), 1); /* equal to the newest */
	CU_ASSERT_EQUAL(add("two"), 2);
	CU_ASSERT_EQUAL(add("one"), 3); /* not to an older one */
	CU_ASSERT_EQUAL(add("ones"), 4);
	CU_ASSERT_EQUAL(add(""), 5);
	CU_ASSERT_EQUAL(add(""), 5);
	CU_ASSERT_TRUE(has_text(1, "one"));
	CU_ASSERT_TRUE(has_text(2, "two"));
	CU_ASSERT_TRUE(has_text(3, "one"));
	CU_ASSERT_TRUE(has_text(5, ""));
	CU_ASSERT_FALSE(has_text(6, ""));

	/* nobody else reads what may hold secrets */
	CU_ASSERT_EQUAL(stat(in_dir("."), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
	CU_ASSERT_EQUAL(stat(in_dir("1.conf"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	CU_ASSERT_EQUAL(access(in_dir(".new"), F_OK), -1);
	end();
}

static void test_ten(void)
{
	char text[16];

	begin();
	for (int i = 1; i <= 25; i++) {
		snprintf(text, sizeof(text), "text %d", i);
		CU_ASSERT_EQUAL(add(text), i);
		json_t *list = ob__confhistory_json(dir);
		size_t kept = i < OB__CONFHISTORY_KEPT ? (size_t)i : OB__CONFHISTORY_KEPT;
		CU_ASSERT_EQUAL(json_array_size(list), kept);
		for (size_t k = 0; k < kept; k++) {
			CU_ASSERT_EQUAL(member(list, k, "version"), i - (json_int_t)k);
		}
		json_decref(list);
	}
	CU_ASSERT_FALSE(has_text(15, "text 15"));
	CU_ASSERT_TRUE(has_text(16, "text 16"));
	CU_ASSERT_TRUE(has_text(25, "text 25"));
	end();
}

static void test_listed(void)
{
	begin();
	json_t *list = ob__confhistory_json(dir);
	CU_ASSERT(json_is_array(list) && json_array_size(list) == 0);
	json_decref(list);

	time_t before = time(NULL);
	add("abc");
	add("");
	list = ob__confhistory_json(dir);
	const json_t *old = json_array_get(list, 1);
	CU_ASSERT_EQUAL(member(list, 1, "size"), 3);
	CU_ASSERT_EQUAL(member(list, 0, "size"), 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(old, "sha256")),
	                       "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	struct tm tm = {0};
	const char *taken = json_string_value(json_object_get(old, "taken"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(taken);
	const char *rest = strptime(taken, "%Y-%m-%dT%H:%M:%SZ", &tm);
	CU_ASSERT(rest != NULL && *rest == '\0');
	time_t at = timegm(&tm);
	CU_ASSERT(at >= before - 1 && at <= time(NULL) + 1);
	json_decref(list);
	end();
}

static void test_before(void)
{
	uint64_t number = 99;

	begin();
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), -ENOENT);
	add("a");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), -ENOENT);
	CU_ASSERT_EQUAL(number, 99);
	add("b");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), 0);
	CU_ASSERT_EQUAL(number, 1);
	add("c");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), 0);
	CU_ASSERT_EQUAL(number, 2);
	/* equal to the newest: gone over */
	files_write_text(in_dir("2.conf"), "c");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), 0);
	CU_ASSERT_EQUAL(number, 1);
	files_write_text(in_dir("1.conf"), "c");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), -ENOENT);
	/* there and back again */
	add("d");
	add("c");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), 0);
	CU_ASSERT_EQUAL(number, 4);
	add("d");
	CU_ASSERT_EQUAL(ob__confhistory_before(dir, &number), 0);
	CU_ASSERT_EQUAL(number, 5);
	end();
}

/* What else lies there is left alone, and is no version. */
static void test_strangers(void)
{
	static const char *const names[] = {
		"0.conf",  "01.conf", "x.conf",  "7.conf~", "7.CONF",   "-7.conf",
		"+7.conf", "7",       ".7.conf", "7.conf.", "7 7.conf", "1234567890123456789.conf"};
	char path[PATH_MAX];

	begin();
	CU_ASSERT_EQUAL(add("one"), 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		files_write_text(in_dir(names[i]), "stranger");
	}
	CU_ASSERT_EQUAL(mkdir(in_dir("5.conf"), 0700), 0);
	CU_ASSERT_EQUAL(symlink("1.conf", in_dir("6.conf")), 0);
	json_t *list = ob__confhistory_json(dir);
	CU_ASSERT_EQUAL(json_array_size(list), 1);
	json_decref(list);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, 0, path, sizeof(path)), -ENOENT);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, 5, path, sizeof(path)), -ENOENT);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, 6, path, sizeof(path)), -ENOENT);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, 7, path, sizeof(path)), -ENOENT);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, UINT64_MAX, path, sizeof(path)), -ENOENT);
	CU_ASSERT_EQUAL(ob__confhistory_path(dir, 1, path, 10), -ENAMETOOLONG);
	CU_ASSERT_EQUAL(add("two"), 7); /* a number that is taken is not used again */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CU_ASSERT_EQUAL(access(in_dir(names[i]), F_OK), 0);
	}
	end();
}

/* What can't be kept says so and leaves nothing behind. */
static void test_refused(void)
{
	uint64_t number;
	char longer[PATH_MAX + 1];
	struct rlimit was;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[PATH_MAX] = '\0';
	CU_ASSERT_EQUAL(ob__confhistory_add(longer, "a", 1, &number), -ENAMETOOLONG);
	begin();
	CU_ASSERT_EQUAL(ob__confhistory_add(in_dir("/none"), "a", 1, &number), -ENOENT);
	files_write_text(in_dir("/conf"), "a file");
	CU_ASSERT_EQUAL(add("a"), -ENOTDIR);
	json_t *list = ob__confhistory_json(dir);
	CU_ASSERT_EQUAL(json_array_size(list), 0);
	json_decref(list);
	CU_ASSERT_EQUAL(ob__confhistory_chown(dir, geteuid(), getegid()), -ENOTDIR);
	end();

	/* somebody's link to elsewhere is not followed */
	begin();
	CU_ASSERT_EQUAL(mkdir(in_dir("/elsewhere"), 0700), 0);
	CU_ASSERT_EQUAL(symlink("elsewhere", in_dir("/conf")), 0);
	CU_ASSERT(add("a") < 0);
	CU_ASSERT_EQUAL(rmdir(in_dir("/elsewhere")), 0); /* empty */
	end();

	/* half of it fits */
	begin();
	CU_ASSERT_EQUAL(add("one"), 1);
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &was), 0);
	struct rlimit small = {.rlim_cur = 5, .rlim_max = was.rlim_max};
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	int64_t rc = add("longer than five");
	setrlimit(RLIMIT_FSIZE, &was);
	CU_ASSERT_EQUAL(rc, -EFBIG);
	CU_ASSERT_EQUAL(access(in_dir(".new"), F_OK), -1);
	CU_ASSERT_EQUAL(access(in_dir("2.conf"), F_OK), -1);
	CU_ASSERT_EQUAL(add("one"), 1);
	/* the rest of an earlier life is no obstacle */
	files_write_text(in_dir(".new"), "half");
	CU_ASSERT_EQUAL(add("two"), 2);
	CU_ASSERT_TRUE(has_text(2, "two"));
	end();
}

static void test_chown(void)
{
	struct stat st;

	begin();
	CU_ASSERT_EQUAL(ob__confhistory_chown(dir, geteuid(), getegid()), 0); /* nothing there */
	add("a");
	add("b");
	/* root gives it away; anyone may give to himself what he has */
	uid_t uid = geteuid() == 0 ? 12345 : geteuid();
	gid_t gid = geteuid() == 0 ? 12345 : getegid();
	CU_ASSERT_EQUAL(ob__confhistory_chown(dir, uid, gid), 0);
	static const char *const names[] = {".", "1.conf", "2.conf"};
	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(stat(in_dir(names[i]), &st), 0);
		CU_ASSERT(st.st_uid == uid && st.st_gid == gid);
	}
	end();
}

int main(void)
{
	signal(SIGXFSZ, SIG_IGN);
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("confhistory", NULL, NULL);
	CU_add_test(s, "added", test_added);
	CU_add_test(s, "ten are kept", test_ten);
	CU_add_test(s, "listed", test_listed);
	CU_add_test(s, "the one before", test_before);
	CU_add_test(s, "strangers", test_strangers);
	CU_add_test(s, "refused", test_refused);
	CU_add_test(s, "given to a user", test_chown);
	return ob__tap_run();
}
