/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Where the example firefly_slice keeps accounts and characters. */

#include "examples/firefly_slice/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "files.h"
#include "tap.h"

static char folder[256];

static int set_up(void)
{
	files_make_dir(folder, sizeof(folder));
	return 0;
}

static const char *path_of(const char *rest)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, rest);
	return path;
}

static bool is_there(const char *rest)
{
	struct stat st;

	return stat(path_of(rest), &st) == 0;
}

/* A character of about `len` bytes. */
static json_t *character(int level, size_t len)
{
	char *text = malloc(len + 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	memset(text, 'a' + level % 26, len);
	text[len] = '\0';
	json_t *value = json_pack("{s:i, s:s}", "level", level, "text", text);
	free(text);
	return value;
}

static int write_character(const char *name, int level, size_t len)
{
	json_t *value = character(level, len);
	int rc = store_write(folder, "characters", name, value);

	json_decref(value);
	return rc;
}

/* The level of the one that is there, whole; or a negative errno, 0: none. */
static int read_level(const char *name, size_t len)
{
	int err;
	json_t *value = store_read(folder, "characters", name, &err);
	int level = (int)json_integer_value(json_object_get(value, "level"));
	json_t *expected = character(level, len);

	CU_ASSERT(value == NULL || json_equal(value, expected));
	CU_ASSERT(value == NULL || err == 0);
	int result = value ? level : err;
	json_decref(expected);
	json_decref(value);
	return result;
}

static void test_names(void)
{
	static const char *const good[] = {"a", "Z9_-", "abcdefghijklmnopqrstuvwxyz012345"};
	static const char *const bad[] = {
		"",       "abcdefghijklmnopqrstuvwxyz0123456",
		"a b",    "../a",
		".",      "a/b",
		"a.json", "\xc3\xa9",
		"a\n",
	};
	json_t *value = json_object();
	int err = 0;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CU_ASSERT(store_name_ok(good[i]));
	}
	CU_ASSERT_FALSE(store_name_ok(NULL));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_FALSE(store_name_ok(bad[i]));
		CU_ASSERT_PTR_NULL(store_read(folder, "characters", bad[i], &err));
		CU_ASSERT_EQUAL(err, -EINVAL);
		CU_ASSERT_EQUAL(store_write(folder, "characters", bad[i], value), -EINVAL);
	}
	json_decref(value);
}

static void test_there_and_back(void)
{
	struct stat st;

	CU_ASSERT_EQUAL(read_level("ann", 10), 0); /* not even the folder is there */
	CU_ASSERT_EQUAL(write_character("ann", 1, 10), 0);
	CU_ASSERT_EQUAL(read_level("ann", 10), 1);
	CU_ASSERT_EQUAL(read_level("bob", 10), 0);
	CU_ASSERT_EQUAL(write_character("ann", 2, 5000), 0);
	CU_ASSERT_EQUAL(write_character("ann", 3, 10), 0); /* a shorter one after a longer one */
	CU_ASSERT_EQUAL(read_level("ann", 10), 3);
	CU_ASSERT_EQUAL(write_character("ANN", 4, 10), 0);
	CU_ASSERT_EQUAL(read_level("ann", 10), 3);
	CU_ASSERT_EQUAL(stat(path_of("characters/ann.json"), &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	CU_ASSERT_FALSE(is_there("characters/ann.json.new"));
}

static void test_not_json(void)
{
	static const char *const texts[] = {"", "{\"level\":1", "no", "{} {}"};

	CU_ASSERT_EQUAL(write_character("bad", 1, 10), 0);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		files_write_text(path_of("characters/bad.json"), texts[i]);
		CU_ASSERT_EQUAL(read_level("bad", 10), -EBADMSG);
	}
	CU_ASSERT_EQUAL(write_character("bad", 2, 10), 0);
	CU_ASSERT_EQUAL(read_level("bad", 10), 2);
}

static void test_size(void)
{
	static const size_t much = 65536 - 100; /* what is written around it is less */

	CU_ASSERT_EQUAL(write_character("big", 1, much), 0);
	CU_ASSERT_EQUAL(read_level("big", much), 1);
	CU_ASSERT_EQUAL(write_character("big", 2, 65536), -EFBIG);
	CU_ASSERT_EQUAL(read_level("big", much), 1);
	CU_ASSERT_FALSE(is_there("characters/big.json.new"));
}

/* What cannot take its place leaves nothing; what a crash has left is in nobody's way. */
static void test_failures(void)
{
	CU_ASSERT_EQUAL(write_character("ann", 1, 10), 0);
	CU_ASSERT_EQUAL(mkdir(path_of("characters/cat.json"), 0700), 0);
	CU_ASSERT(write_character("cat", 1, 10) < 0);
	CU_ASSERT_FALSE(is_there("characters/cat.json.new"));
	CU_ASSERT(read_level("cat", 10) < 0);
	files_write_text(path_of("characters/ann.json.new"), "{\"level\": 77, \"half of i");
	CU_ASSERT_EQUAL(read_level("ann", 10), 1);
	CU_ASSERT_EQUAL(write_character("ann", 2, 10), 0);
	CU_ASSERT_EQUAL(read_level("ann", 10), 2);
	files_write_text(path_of("accounts"), "no folder");
	json_t *value = json_object();
	CU_ASSERT(store_write(folder, "accounts", "ann", value) < 0);
	json_decref(value);
	CU_ASSERT(store_lock(path_of("nowhere")) < 0);
}

/* Who reads while it is written has the one before or the one after, whole. */
static void test_reading_meanwhile(void)
{
	int status = 0;
	unsigned reads = 0;
	int last = 1;

	CU_ASSERT_EQUAL(write_character("eve", 1, 20000), 0);
	pid_t writer = fork();
	CU_ASSERT_FATAL(writer >= 0);
	if (writer == 0) {
		int rc = 0;
		for (int level = 2; level <= 200 && rc == 0; level++) {
			rc = write_character("eve", level, 20000);
		}
		_exit(rc != 0);
	}
	while (waitpid(writer, &status, WNOHANG) == 0) {
		int level = read_level("eve", 20000);
		CU_ASSERT(level >= last);
		last = level > last ? level : last;
		reads++;
	}
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(reads > 0);
	CU_ASSERT_EQUAL(read_level("eve", 20000), 200);
}

static int count_up(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		int lock = store_lock(folder);
		int level = lock < 0 ? lock : read_level("sum", 10);
		if (level < 0 || write_character("sum", level + 1, 10) != 0) {
			return 1;
		}
		store_unlock(lock);
	}
	return 0;
}

/* Nothing is lost between reading and writing. */
static void test_lock(void)
{
	enum { PROCESSES = 4, TIMES = 50 };
	pid_t pids[PROCESSES];

	for (unsigned i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		CU_ASSERT_FATAL(pids[i] >= 0);
		if (pids[i] == 0) {
			_exit(count_up(TIMES));
		}
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status = 1;
		CU_ASSERT_EQUAL(waitpid(pids[i], &status, 0), pids[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	CU_ASSERT_EQUAL(read_level("sum", 10), PROCESSES * TIMES);
	int lock = store_lock(folder);
	int other = open(path_of("lock"), O_RDWR | O_CLOEXEC);
	CU_ASSERT(lock >= 0 && other >= 0);
	CU_ASSERT(flock(other, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	store_unlock(lock);
	CU_ASSERT_EQUAL(flock(other, LOCK_EX | LOCK_NB), 0);
	close(other);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("firefly_slice's store", set_up, NULL);
	CU_add_test(s, "names are no paths", test_names);
	CU_add_test(s, "what is written is read", test_there_and_back);
	CU_add_test(s, "what is no JSON", test_not_json);
	CU_add_test(s, "what is too large", test_size);
	CU_add_test(s, "what can't be written", test_failures);
	CU_add_test(s, "reading while it is written", test_reading_meanwhile);
	CU_add_test(s, "one at a time", test_lock);
	return ob__tap_run();
}
