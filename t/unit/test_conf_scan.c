/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf_scan.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

/* ---------------------------------------------------------------- blanking */

static const struct {
	const char *in;
	const char *out;
} blanked[] = {
	{"{}", "{}"},
	{"{} // end", "{}       "},
	{"{//x\n}", "{   \n}"},
	{"{/* a\nb */}", "{    \n    }"},
	{"{/**/}", "{    }"},
	{"{/***/}", "{     }"},
	{"{/*/ */}", "{      }"},                     /* its own slash does not end it */
	{"{\"a\":\"//x\"}", "{\"a\":\"//x\"}"},       /* in a string it is no comment */
	{"{\"a\":\"/*x*/\"}", "{\"a\":\"/*x*/\"}"},   /* nor this */
	{"{\"a\":\"\\\"//\"}", "{\"a\":\"\\\"//\"}"}, /* behind an escaped quote */
	{"{\"a\":\"\\\\\"}//", "{\"a\":\"\\\\\"}  "}, /* an escaped backslash ends it */
	{"{\"a\":1,}", "{\"a\":1 }"},                 /* trailing comma */
	{"{\"a\":[1,2,],}", "{\"a\":[1,2 ] }"},       /* of lists too */
	{"{\"a\":1, //c,\n}", "{\"a\":1      \n}"},   /* with a comment behind it */
	{"{\"a\":1, \"b\":2}", "{\"a\":1, \"b\":2}"}, /* not a trailing one */
	{"{\"a\":\",}\"}", "{\"a\":\",}\"}"},         /* in a string */
	{"{\t\"a\"\t:\t1//\xe8\xb7\xaf\n}", "{\t\"a\"\t:\t1     \n}"},
	{"{//\xb2\xe2\xca\xd4\n}", "{      \n}"}, /* a comment may be in GBK */
	{"{\"a\":1//x\r\n}", "{\"a\":1    \n}"},
	{"\xef\xbb\xbf{}", "   {}"}, /* byte order mark */
	{" \r\n\t{}\n", " \r\n\t{}\n"},
	{"{\"a\":[true,false,null,-0,1.5e-3,0,10E+2]}",
         "{\"a\":[true,false,null,-0,1.5e-3,0,10E+2]}"},
	{"{\"\\u00e9\\n\\t\\/\":\"\xc3\xa9\"}", "{\"\\u00e9\\n\\t\\/\":\"\xc3\xa9\"}"},
};

static void test_blank(void)
{
	for (size_t i = 0; i < sizeof(blanked) / sizeof(blanked[0]); i++) {
		struct ob__scan s;
		char *text = strdup(blanked[i].in);
		int err = ob__scan_run(&s, text, strlen(blanked[i].in));
		CU_ASSERT_EQUAL(err, 0);
		CU_ASSERT_STRING_EQUAL(text, blanked[i].out);
		if (err != 0 || strcmp(text, blanked[i].out) != 0) {
			printf("# row %zu: %s|%s\n", i, text, s.err);
		}
		ob__scan_free(&s);
		free(text);
	}
}

/* ---------------------------------------------------------------- errors */

static const struct {
	const char *in;
	int line;
	const char *err;
} errors[] = {
	{"", 1, "expected '{' at the beginning, found the end of the file"},
	{"\n\n // nothing\n", 4, "expected '{' at the beginning, found the end of the file"},
	{"[1]", 1, "expected '{' at the beginning, found '['"},
	{"name = x", 1, "expected '{' at the beginning, found \"name\""},
	{"{}\n}", 2, "expected the end of the file, found '}'"},
	{"{} {}", 1, "expected the end of the file, found '{'"},
	{"{\n\"a\": 1\n\"b\": 2}", 3, "expected ',' or '}', found a string"}, /* comma missing */
	{"{\"a\": [1 2]}", 1, "expected ',' or ']', found \"2\""},
	{"{\"a\": [1}", 1, "expected ',' or ']', found '}'"},
	{"{\"a\" 1}", 1, "expected ':' after the key, found \"1\""},
	{"{\"a\":}", 1, "expected a value, found '}'"},
	{"{\"a\":,}", 1, "expected a value, found ','"},
	{"{,}", 1, "expected a key in double quotes or '}', found ','"},
	{"{\"a\":1,,}", 1, "expected a key in double quotes or '}', found ','"},
	{"{\"a\":[,]}", 1, "expected a value, found ','"},
	{"{name: 1}", 1, "expected a key in double quotes or '}', found \"name\""},
	{"{'name': 1}", 1, "expected a key in double quotes or '}', found a single quote"},
	{"{\"a\": 'x'}", 1, "expected a value, found a single quote"},
	{"{\"a\": yes}", 1, "expected a value, found \"yes\""},
	{"{\"a\": True}", 1, "expected a value, found \"True\""},
	{"{\"a\": truer}", 1, "expected a value, found \"truer\""},
	{"{\"a\": 007}", 1, "expected a value, found \"007\""},
	{"{\"a\": 1.}", 1, "expected a value, found \"1.\""},
	{"{\"a\": .5}", 1, "expected a value, found \".5\""},
	{"{\"a\": +1}", 1, "expected a value, found \"+1\""},
	{"{\"a\": 1e}", 1, "expected a value, found \"1e\""},
	{"{\"a\": -}", 1, "expected a value, found \"-\""},
	{"{\"a\": 0x10}", 1, "expected a value, found \"0x10\""},
	{"{\"a\": 5s}", 1, "expected a value, found \"5s\""},
	{"{\"a\": \xe4\xbd\xa0}", 1, "expected a value, found byte 0xe4"},
	{"{\"a\": / 1}", 1, "expected a value, found '/'"},
	{"{\n\"a\": {\n\"b\": 1,\n", 4,
         "expected a key in double quotes or '}', found the end of the file; the '{' of line 2 is "
         "open"},
	{"{\n\"a\": [\n1\n", 4,
         "expected ',' or ']', found the end of the file; the '[' of line 2 is open"},
	{"{\"a\"", 1, "expected ':' after the key, found the end of the file"},
	{"{\"a\":", 1, "expected a value, found the end of the file"},
	{"{\n/* x\n\n}", 2, "a comment begins here and does not end"},
	{"{/*/}", 1, "a comment begins here and does not end"},
	{"{\n\"a\": \"x\n}", 2, "a string does not end on its line"},
	{"{\n\"a\": \"x\r\n}", 2, "a string does not end on its line"},
	{"{\"a", 1, "a string does not end on its line"},
	{"{\"a\\", 1,
         "a string has a '\\' that begins no escape (a backslash is written \"\\\\\")"},
	{"{\"a\": \"C:\\dir\"}", 1,
         "a string has a '\\' that begins no escape (a backslash is written \"\\\\\")"},
	{"{\"a\": \"\t\"}", 1, "a string holds control character 0x09 (a tab is written \"\\t\")"},
	{"{\"a\": \"\\u12g4\"}", 1, "\\u needs four hexadecimal digits"},
	{"{\"a\": \"\\u12", 1, "\\u needs four hexadecimal digits"},
	{"{\"a\": \"\\u0000\"}", 1, "a string may not hold a NUL character (\\u0000)"},
	{"{\n\"a\": \"\xff\"}", 2, "a string is not valid UTF-8"},
	{"{\n\"\xc3\": 1}", 2, "a string is not valid UTF-8"},
	{"{\"a\": \"\xed\xa0\x80\"}", 1, "a string is not valid UTF-8"}, /* a surrogate */
};

static void check_error(const char *in, size_t len, int line, const char *want)
{
	struct ob__scan s;
	char *text = malloc(len + 1);
	memcpy(text, in, len);
	int err = ob__scan_run(&s, text, len);
	CU_ASSERT_EQUAL(err, -EINVAL);
	CU_ASSERT_EQUAL(s.err_line, line);
	CU_ASSERT_STRING_EQUAL(s.err, want);
	if (err != -EINVAL || s.err_line != line || strcmp(s.err, want) != 0) {
		printf("# got %d:%d: %s\n#  for %s\n", err, s.err_line, s.err, want);
	}
	ob__scan_free(&s);
	free(text);
}

static void test_errors(void)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		check_error(errors[i].in, strlen(errors[i].in), errors[i].line, errors[i].err);
	}
	check_error("{\n\"a\":\0 1}", 9, 2, "a NUL byte; the file must be UTF-8");
	check_error("{\0}\0", 4, 1, "a NUL byte; the file must be UTF-8"); /* UTF-16 */
}

static void test_depth(void)
{
	char text[256] = "{\"a\":";
	size_t n = strlen(text);
	memset(text + n, '[', OB__SCAN_DEPTH - 1);
	memset(text + n + OB__SCAN_DEPTH - 1, ']', OB__SCAN_DEPTH - 1);
	strcat(text, "}");
	struct ob__scan s;
	CU_ASSERT_EQUAL(ob__scan_run(&s, text, strlen(text)), 0);
	ob__scan_free(&s);
	memset(text + n, '[', OB__SCAN_DEPTH);
	check_error(text, strlen(text), 1, "nested deeper than 32 levels");
}

/* ---------------------------------------------------------------- nodes and paths */

static void test_nodes(void)
{
	static const struct {
		const char *path;
		uint32_t line;
		uint32_t next;
	} want[] = {
		{"", 1, 10},
		{"a", 2, 4},
		{"a[0]", 2, 3},
		{"a[1]", 3, 4},
		{"b", 5, 6},
		{"b[\"x.y\"]", 6, 6},
		{"c", 7, 7},
		{"[\"\"]", 7, 8},
		{"\xe6\x97\xa5", 8, 10},
		{"\xe6\x97\xa5[0]", 8, 10},
	};
	char text[] =
		"{\n\"a\": [1,\n2,\n], /* \n */ \"b\": {\n\"x.y\": 1},\n\"c\": {}, \"\": [],\n"
		"\"\xe6\x97\xa5\": [{},],}";
	struct ob__scan s;
	CU_ASSERT_EQUAL_FATAL(ob__scan_run(&s, text, strlen(text)), 0);
	CU_ASSERT_EQUAL_FATAL(s.len, sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < s.len; i++) {
		struct ob__buf path = {0};
		CU_ASSERT_EQUAL(ob__scan_path(&s, text, i, &path), 0);
		CU_ASSERT_EQUAL(ob__buf_append(&path, "", 1), 0);
		CU_ASSERT_STRING_EQUAL((const char *)path.data, want[i].path);
		CU_ASSERT_EQUAL(s.nodes[i].line, want[i].line);
		CU_ASSERT_EQUAL(s.nodes[i].next, want[i].next);
		CU_ASSERT_EQUAL(ob__scan_at(&s, s.nodes[i].off), i);
		ob__buf_free(&path);
	}
	CU_ASSERT_EQUAL(ob__scan_at(&s, sizeof(text)), s.len - 1);
	ob__scan_free(&s);
}

static void test_paths(void)
{
	static const struct {
		const char *key;
		const char *below; /* "p" */
		const char *top;
	} rows[] = {
		{"key", "p.key", "key"},
		{"log-level_2", "p.log-level_2", "log-level_2"},
		{"*", "p.*", "*"},
		{"", "p[\"\"]", "[\"\"]"},
		{"a.b", "p[\"a.b\"]", "[\"a.b\"]"},
		{"a[0]", "p[\"a[0]\"]", "[\"a[0]\"]"},
		{"a b", "p[\"a b\"]", "[\"a b\"]"},
		{"a\"b\\", "p[\"a\\\"b\\\\\"]", "[\"a\\\"b\\\\\"]"},
		{"a\nb\x7f", "p[\"a\\u000ab\\u007f\"]", "[\"a\\u000ab\\u007f\"]"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__buf below = {0};
		struct ob__buf top = {0};
		ob__buf_append(&below, "p", 1);
		CU_ASSERT_EQUAL(ob__path_key(&below, rows[i].key, strlen(rows[i].key)), 0);
		CU_ASSERT_EQUAL(ob__path_key(&top, rows[i].key, strlen(rows[i].key)), 0);
		ob__buf_append(&below, "", 1);
		ob__buf_append(&top, "", 1);
		CU_ASSERT_STRING_EQUAL((const char *)below.data, rows[i].below);
		CU_ASSERT_STRING_EQUAL((const char *)top.data, rows[i].top);
		ob__buf_free(&below);
		ob__buf_free(&top);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("conf_scan", NULL, NULL);
	CU_add_test(s, "blanks and nothing else", test_blank);
	CU_add_test(s, "what was expected", test_errors);
	CU_add_test(s, "depth", test_depth);
	CU_add_test(s, "nodes", test_nodes);
	CU_add_test(s, "keys in paths", test_paths);
	return ob__tap_run();
}
