/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <string.h>

#include <CUnit/CUnit.h>

#include "cmd/template.h"
#include "tap.h"

static const struct ob__template_word words[] = {
	{"NAME", "hello"},
	{"N", "short"},
	{"EMPTY", ""},
	{"AT", "@NAME@"},
};

static const struct {
	const char *text;
	const char *expected;
} rows[] = {
	{"", ""},
	{"no words", "no words"},
	{"@NAME@", "hello"},
	{"a @NAME@ b @NAME@@NAME@", "a hello b hellohello"},
	{"@N@ and @NAME@", "short and hello"}, /* one word begins like another */
	{"[@EMPTY@]", "[]"},
	{"@AT@", "@NAME@"}, /* what was put in is not looked at again */
	{"@OTHER@ stays", "@OTHER@ stays"},
	{"$@ $(@:.c=.o) a@b", "$@ $(@:.c=.o) a@b"}, /* make's */
	{"@@NAME@@", "@hello@"},
	{"@NAM@NAME@", "@NAMhello"},
	{"@name@ @NAME @", "@name@ @NAME @"},
	{"ends in @", "ends in @"},
	{"ends in @NAME", "ends in @NAME"},
};

static size_t expand(char *out, size_t cap, const char *text)
{
	return ob__template_expand(out, cap, text, strlen(text), words,
	                           sizeof(words) / sizeof(words[0]));
}

static void test_words(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[64];
		size_t n = expand(out, sizeof(out), rows[i].text);

		CU_ASSERT_EQUAL_FATAL(n, strlen(rows[i].expected));
		CU_ASSERT_EQUAL(memcmp(out, rows[i].expected, n), 0);
	}
}

/* As snprintf: the length of the whole, and no byte beyond cap. */
static void test_bounds(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t cap = 0; cap < 24; cap++) {
			char out[64];

			memset(out, '#', sizeof(out));
			CU_ASSERT_EQUAL(expand(out, cap, rows[i].text), strlen(rows[i].expected));
			CU_ASSERT_EQUAL(out[cap], '#');
		}
		CU_ASSERT_EQUAL(expand(NULL, 0, rows[i].text), strlen(rows[i].expected));
	}
}

static void test_bytes(void)
{
	char out[16];
	size_t n = ob__template_expand(out, sizeof(out), "a\0@N@", 5, words, 2);

	CU_ASSERT_EQUAL(n, 7);
	CU_ASSERT_EQUAL(memcmp(out, "a\0short", 7), 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("template", NULL, NULL);
	CU_add_test(s, "words are replaced, all else stays", test_words);
	CU_add_test(s, "nothing is written beyond the end", test_bounds);
	CU_add_test(s, "any bytes", test_bytes);
	return ob__tap_run();
}
