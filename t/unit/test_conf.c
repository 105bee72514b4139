/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"
#include "unit/files.h"

static const struct ob__conf_row rows[] = {
	{.path = "name",
         .type = OB__CONF_STRING,
         .flags = OB__CONF_REQUIRED,
         .doc = "The node's name."},
	{.path = "level",
         .type = OB__CONF_STRING,
         .words = "debug|info|error",
         .dflt = "info",
         .doc = "What: a|b."},
	{.path = "api_path", .type = OB__CONF_STRING, .flags = OB__CONF_IGNORED, .doc = "Old."},
	{.path = "mongo_uri", .type = OB__CONF_SECRET, .flags = OB__CONF_IGNORED},
	{.path = "count", .type = OB__CONF_INT, .doc = "Any integer."},
	{.path = "drain", .type = OB__CONF_SECONDS},
	{.path = "timeout", .type = OB__CONF_SECONDS, .min = 1, .max = 3600},
	{.path = "limits", .type = OB__CONF_OBJECT},
	{.path = "limits.packet", .type = OB__CONF_SIZE, .min = 1024, .max = 16 << 20},
	{.path = "limits.queue", .type = OB__CONF_SIZE},
	{.path = "http", .type = OB__CONF_OBJECT},
	{.path = "http.port",
         .type = OB__CONF_INT,
         .flags = OB__CONF_REQUIRED,
         .min = 1,
         .max = 65535,
         .doc = "TCP."},
	{.path = "http.token", .type = OB__CONF_SECRET},
	{.path = "http.encode", .type = OB__CONF_BOOL},
	{.path = "route", .type = OB__CONF_MAP},
	{.path = "route.*", .type = OB__CONF_LIST},
	{.path = "route.*[]", .type = OB__CONF_PAIR},
	{.path = "modules", .type = OB__CONF_LIST},
	{.path = "modules[]", .type = OB__CONF_OBJECT, .flags = OB__CONF_STRING_OK},
	{.path = "modules[].name", .type = OB__CONF_STRING, .flags = OB__CONF_REQUIRED},
	{.path = "modules[].conf", .type = OB__CONF_ANY},
	{.path = "tokens", .type = OB__CONF_MAP},
	{.path = "tokens.*", .type = OB__CONF_LIST, .flags = OB__CONF_STRING_OK},
	{.path = "tokens.*[]", .type = OB__CONF_SECRET},
	{0},
};

/* ---------------------------------------------------------------- reports */

static struct ob__buf said; /* "error LINE\n" ... */

static void on_report(void *arg, enum ob__conf_severity severity, const char *line)
{
	static const char *const words[] = {"error", "warning", "info"};
	CU_ASSERT_PTR_EQUAL(arg, &said);
	ob__buf_printf(&said, "%s %s\n", words[severity], line);
}

static const char *said_text(void)
{
	ob__buf_append(&said, "", 1);
	said.len--;
	return (const char *)said.data;
}

static void expect_said(const char *want)
{
	CU_ASSERT_STRING_EQUAL(said_text(), want);
	if (strcmp(said_text(), want) != 0) {
		printf("# got  %s# want %s", said_text(), want);
	}
}

static struct ob__conf *parse(const char *text)
{
	said.len = 0;
	return ob__conf_parse("f", text, strlen(text), on_report, &said);
}

/* Parses and checks; the number of errors, or -1. */
static int check(const char *text)
{
	struct ob__conf *c = parse(text);
	int n = c ? ob__conf_check(c, rows, on_report, &said) : -1;
	ob__conf_free(c);
	return n;
}

/* ---------------------------------------------------------------- loading */

static void test_parse_errors(void)
{
	static const struct {
		const char *text;
		const char *said;
	} t[] = {
		{"{\n\"a\" 1}", "error f:2: expected ':' after the key, found \"1\"\n"},
		{"", "error f:1: expected '{' at the beginning, found the end of the file\n"},
		{"{\"a\":1,\n\"b\":{\"c\":1,\n\"c\":2}}",
	         "error f:3: b.c: this key is there twice\n"},
		{"{\"a\":1,\n\n\"\\u0061\":2}",
	         "error f:3: [\"\\\\u0061\"]: this key is there twice\n"},
		{"{\"a\":[0,\n99999999999999999999]}",
	         "error f:2: a[1]: this number is too large\n"},
		{"{\"a\":{\"b\":1e999}}", "error f:1: a.b: this number is too large\n"},
		{"{\"a\":\"\\ud800\"}", "error f:1: a: invalid Unicode '\\uD800'\n"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CU_ASSERT_PTR_NULL(parse(t[i].text));
		expect_said(t[i].said);
	}
}

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put_file(const char *name, const char *text, size_t len, mode_t mode)
{
	files_write(in_dir(name), text, len);
	chmod(in_dir(name), mode);
}

static void test_load(void)
{
	char want[256];
	said.len = 0;
	CU_ASSERT_PTR_NULL(ob__conf_load(in_dir("none"), on_report, &said));
	snprintf(want, sizeof(want), "error %s/none: can't be read (no such file or directory)\n",
	         dir);
	expect_said(want);

	said.len = 0;
	CU_ASSERT_PTR_NULL(ob__conf_load(dir, on_report, &said));
	snprintf(want, sizeof(want), "error %s: can't be read (illegal operation on a directory)\n",
	         dir);
	expect_said(want);

	char *big = malloc(OB__CONF_FILE_MAX + 1);
	memset(big, ' ', OB__CONF_FILE_MAX + 1);
	memcpy(big, "{}", 2);
	put_file("big", big, OB__CONF_FILE_MAX, 0600);
	struct ob__conf *c = ob__conf_load(in_dir("big"), on_report, &said);
	CU_ASSERT_PTR_NOT_NULL(c);
	ob__conf_free(c);
	put_file("big", big, OB__CONF_FILE_MAX + 1, 0600);
	free(big);
	said.len = 0;
	CU_ASSERT_PTR_NULL(ob__conf_load(in_dir("big"), on_report, &said));
	snprintf(want, sizeof(want), "error %s/big: the file is longer than 4194304 bytes\n", dir);
	expect_said(want);

	static const char good[] = "{ // a comment\n\t\"name\": \"proxy_1\",\n}\n";
	put_file("good", good, strlen(good), 0600);
	said.len = 0;
	c = ob__conf_load(in_dir("good"), on_report, &said);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_STRING_EQUAL(ob__conf_str(ob__conf_root(c), "name", ""), "proxy_1");
	CU_ASSERT_EQUAL(ob__conf_line(c, "name"), 2);
	ob__conf_free(c);
	ob__conf_free(NULL);
	expect_said("");
}

/* Written like obespoir's own files: comments behind values, in Chinese, tabs, odd spacing. */
static void test_seed_style(void)
{
	static const char text[] =
		"{\n"
		"    \"name\": \"proxy_1\",          // \xe8\x8a\x82\xe7\x82\xb9\xe5\x90\x8d\n"
		"    \"api_path\": \"proxy.libs\",   // api \xe8\xb7\xaf\xe5\xbe\x84, \"x\": [1]\n"
		"    \"mongo_uri\":\"mongodb://u:p@h:3717/admin\",       // a://b\n"
		"    \"http\": {\t\t\t\t\t\t// http\xe7\xab\xaf\xe5\x8f\xa3\n"
		"        \"port\":  20001,\n"
		"        \"token\": \"helloworld\",      // 32\xe4\xbd\x8d\n"
		"        \"encode\": 0\n"
		"    },\n"
		"    \"route\": {\n"
		"\n"
		"        // \xe6\xb6\x88\xe6\x81\xaf\n"
		"        \"route\": [[0, 5000]], \"service\": [[5001, 50000]]\n"
		"    }\n"
		"\n"
		"\n"
		"}";
	struct ob__conf *c = parse(text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(ob__conf_check(c, rows, on_report, &said), 0);
	expect_said("info f:3: api_path: ignored, it has no meaning here\n"
	            "info f:4: mongo_uri: ignored, it has no meaning here\n");
	const json_t *root = ob__conf_root(c);
	CU_ASSERT_EQUAL(ob__conf_int(root, "http.port", 0), 20001);
	CU_ASSERT_EQUAL(ob__conf_int(root, "route.service[0][1]", 0), 50000);
	CU_ASSERT_EQUAL(ob__conf_line(c, "route.service[0][1]"), 13);
	ob__conf_free(c);
}

/* ---------------------------------------------------------------- the environment */

static void test_env(void)
{
	static const struct {
		const char *value;
		const char *want; /* the string, or NULL */
		const char *said;
	} t[] = {
		{"${OB_A}", "alpha", ""},
		{"<${OB_A}-${OB_EMPTY}-${OB_A}>", "<alpha--alpha>", ""},
		{"$${OB_A}", "${OB_A}", ""},
		{"$$${OB_A}", "$${OB_A}", ""},
		{"$OB_A $ {OB_A} $$ $", "$OB_A $ {OB_A} $$ $", ""},
		{"${OB_NONE}", NULL,
	         "error f:2: a[0]: the environment variable OB_NONE is not set\n"},
		{"${OB_A", NULL,
	         "error f:2: a[0]: \"${\" without \"}\" (a literal \"${\" is written \"$${\")\n"},
		{"${}", NULL,
	         "error f:2: a[0]: \"${}\" is not the name of an environment variable (a literal "
	         "\"${\" is written \"$${\")\n"},
		{"${1A}", NULL,
	         "error f:2: a[0]: \"${1A}\" is not the name of an environment variable (a literal "
	         "\"${\" is written \"$${\")\n"},
		{"${A-B}", NULL,
	         "error f:2: a[0]: \"${A-B}\" is not the name of an environment variable (a "
	         "literal \"${\" is written \"$${\")\n"},
		{"${OB_BAD}", NULL, "error f:2: a[0]: a variable in it is not valid UTF-8\n"},
		{"${OB_BIG}${OB_BIG}", NULL,
	         "error f:2: a[0]: longer than 65536 bytes with its variables\n"},
	};
	char big[40000];
	memset(big, 'b', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	setenv("OB_A", "alpha", 1);
	setenv("OB_EMPTY", "", 1);
	setenv("OB_BAD", "\xff", 1);
	setenv("OB_BIG", big, 1);
	unsetenv("OB_NONE");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[128];
		snprintf(text, sizeof(text), "{\n\"a\":[\"%s\"]}", t[i].value);
		struct ob__conf *c = parse(text);
		const char *got = c ? ob__conf_str(ob__conf_root(c), "a[0]", "") : NULL;
		CU_ASSERT_EQUAL(!got, !t[i].want);
		if (got && t[i].want) {
			CU_ASSERT_STRING_EQUAL(got, t[i].want);
		}
		expect_said(t[i].said);
		ob__conf_free(c);
	}
	/* All of them at once, keys are left alone. */
	CU_ASSERT_PTR_NULL(parse("{\"${X}\":{\"b\":\"${OB_N1}\",\n\"c\":[1,\"${OB_N2}\"]}}"));
	expect_said("error f:1: ${X}.b: the environment variable OB_N1 is not set\n"
	            "error f:2: ${X}.c[1]: the environment variable OB_N2 is not set\n");
}

/* ---------------------------------------------------------------- the schema */

static const struct {
	const char *text;
	int errors;
	const char *said;
} checks[] = {
	{"{\"name\":\"n\"}", 0, ""},
	{"{}", 1, "error f:1: name: missing\n"},
	{"{\n\"name\":1}", 1, "error f:2: name: expected a string, found 1\n"},
	{"{\"name\":null}", 1, "error f:1: name: expected a string, found null\n"},
	{"{\"name\":{}}", 1, "error f:1: name: expected a string, found an object\n"},
	/* unknown keys */
	{"{\"name\":\"n\",\n\"htp\":{}}", 1,
         "error f:2: htp: unknown key; did you mean \"http\"?\n"},
	{"{\"name\":\"n\",\"Name\":1}", 1,
         "error f:1: Name: unknown key; did you mean \"name\"?\n"},
	{"{\"name\":\"n\",\"api-path\":1}", 1,
         "error f:1: api-path: unknown key; did you mean \"api_path\"?\n"},
	{"{\"name\":\"n\",\"timoeut\":1}", 1, /* two letters swapped */
         "error f:1: timoeut: unknown key; did you mean \"timeout\"?\n"},
	{"{\"name\":\"n\",\"tim\":1}", 0, "warning f:1: tim: unknown key, left to modules\n"},
	{"{\"name\":\"n\",\"game_rules\":{\"x\":1}}", 0,
         "warning f:1: game_rules: unknown key, left to modules\n"},
	{"{\"name\":\"n\",\"http\":{\"prt\":1,\"port\":1}}", 1,
         "error f:1: http.prt: unknown key; did you mean \"port\"?\n"},
	{"{\"name\":\"n\",\"http.port\":1}", 0, /* no way around the tree */
         "warning f:1: [\"http.port\"]: unknown key, left to modules\n"},
	{"{\"name\":\"n\",\"tokens.*[]\":1}", 0,
         "warning f:1: [\"tokens.*[]\"]: unknown key, left to modules\n"},
	{"{\"name\":\"n\",\"\":1,\"x\":1}", 0,
         "warning f:1: [\"\"]: unknown key, left to modules\n"
         "warning f:1: x: unknown key, left to modules\n"},
	/* words */
	{"{\"name\":\"n\",\"level\":\"info\"}", 0, ""},
	{"{\"name\":\"n\",\"level\":\"verbose\"}", 1,
         "error f:1: level: expected one of \"debug\", \"info\", \"error\", found \"verbose\"\n"},
	{"{\"name\":\"n\",\"level\":\"debug|info\"}", 1,
         "error f:1: level: expected one of \"debug\", \"info\", \"error\", found "
         "\"debug|info\"\n"},
	{"{\"name\":\"n\",\"level\":\"\"}", 1,
         "error f:1: level: expected one of \"debug\", \"info\", \"error\", found \"\"\n"},
	{"{\"name\":\"n\",\"level\":\"a\\nb\"}", 1, /* one line whatever is in it */
         "error f:1: level: expected one of \"debug\", \"info\", \"error\", found \"a?b\"\n"},
	/* numbers */
	{"{\"name\":\"n\",\"count\":-9223372036854775808}", 0, ""},
	{"{\"name\":\"n\",\"count\":1.5}", 1, "error f:1: count: expected an integer, found 1.5\n"},
	{"{\"name\":\"n\",\"count\":\"1\"}", 1,
         "error f:1: count: expected an integer, found a string\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":65535}}", 0, ""},
	{"{\"name\":\"n\",\"http\":{\"port\":65536}}", 1,
         "error f:1: http.port: expected an integer from 1 to 65535, found 65536\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":0}}", 1,
         "error f:1: http.port: expected an integer from 1 to 65535, found 0\n"},
	{"{\"name\":\"n\",\n\"http\":{}}", 1, "error f:2: http.port: missing\n"},
	{"{\"name\":\"n\",\"http\":[]}", 1,
         "error f:1: http: expected an object, found a list of 0\n"},
	/* flags */
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"encode\":1}}", 0, ""},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"encode\":false}}", 0, ""},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"encode\":2}}", 1,
         "error f:1: http.encode: expected true or false, found 2\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"encode\":\"no\"}}", 1,
         "error f:1: http.encode: expected true or false, found a string\n"},
	/* seconds */
	{"{\"name\":\"n\",\"timeout\":1,\"drain\":0}", 0, ""},
	{"{\"name\":\"n\",\"timeout\":0.5}", 1,
         "error f:1: timeout: expected seconds from 1 to 3600, found 0.5\n"},
	{"{\"name\":\"n\",\"timeout\":3600.5}", 1,
         "error f:1: timeout: expected seconds from 1 to 3600, found 3600.5\n"},
	{"{\"name\":\"n\",\"drain\":-1}", 1,
         "error f:1: drain: expected seconds, 0 or more, found -1\n"},
	{"{\"name\":\"n\",\"drain\":\"5s\"}", 1,
         "error f:1: drain: expected seconds, 0 or more, found a string\n"},
	/* sizes */
	{"{\"name\":\"n\",\"limits\":{\"packet\":1024,\"queue\":0}}", 0, ""},
	{"{\"name\":\"n\",\"limits\":{\"packet\":\"16M\",\"queue\":\"0k\"}}", 0, ""},
	{"{\"name\":\"n\",\"limits\":{\"packet\":\"17m\"}}", 1,
         "error f:1: limits.packet: expected a size like 65536, \"64k\" or \"16m\" from 1024 to "
         "16777216, found \"17m\"\n"},
	{"{\"name\":\"n\",\"limits\":{\"queue\":\"64kb\"}}", 1,
         "error f:1: limits.queue: expected a size like 65536, \"64k\" or \"16m\", found "
         "\"64kb\"\n"},
	{"{\"name\":\"n\",\"limits\":{\"queue\":\"-1\"}}", 1,
         "error f:1: limits.queue: expected a size like 65536, \"64k\" or \"16m\", found \"-1\"\n"},
	{"{\"name\":\"n\",\"limits\":{\"queue\":\"9999999999g\"}}", 1, /* overflows */
         "error f:1: limits.queue: expected a size like 65536, \"64k\" or \"16m\", found "
         "\"9999999999g\"\n"},
	{"{\"name\":\"n\",\"limits\":{\"queue\":-1}}", 1,
         "error f:1: limits.queue: expected a size like 65536, \"64k\" or \"16m\", found -1\n"},
	/* pairs, lists and maps */
	{"{\"name\":\"n\",\"route\":{\"any word\":[[0,0],[5,2147483647]]}}", 0, ""},
	{"{\"name\":\"n\",\"route\":{\"a\":[[0,1],\n[2,1]]}}", 1,
         "error f:2: route.a[1]: expected [low, high] with 0 <= low <= high <= 2147483647, found a "
         "list of 2\n"},
	{"{\"name\":\"n\",\"route\":{\"a\":[[0,1,2],[-1,1],[0,2147483648],[\"0\",1],7]}}", 5,
         "error f:1: route.a[0]: expected [low, high] with 0 <= low <= high <= 2147483647, found a "
         "list of 3\n"
         "error f:1: route.a[1]: expected [low, high] with 0 <= low <= high <= 2147483647, found a "
         "list of 2\n"
         "error f:1: route.a[2]: expected [low, high] with 0 <= low <= high <= 2147483647, found a "
         "list of 2\n"
         "error f:1: route.a[3]: expected [low, high] with 0 <= low <= high <= 2147483647, found a "
         "list of 2\n"
         "error f:1: route.a[4]: expected [low, high] with 0 <= low <= high <= 2147483647, found "
         "7\n"},
	{"{\"name\":\"n\",\"route\":{\"a\":{}}}", 1,
         "error f:1: route.a: expected a list, found an object\n"},
	{"{\"name\":\"n\",\"route\":7}", 1, "error f:1: route: expected an object, found 7\n"},
	/* an object or a string */
	{"{\"name\":\"n\",\"modules\":[\"a\",{\"name\":\"b\",\"conf\":[1,{\"x\":null}]}]}", 0, ""},
	{"{\"name\":\"n\",\"modules\":[1,\n{\"nam\":\"b\"}]}", 3,
         "error f:1: modules[0]: expected an object or a string, found 1\n"
         "error f:2: modules[1].name: missing\n"
         "error f:2: modules[1].nam: unknown key; did you mean \"name\"?\n"},
	/* secrets; what was given instead is not shown */
	{"{\"name\":\"n\",\"tokens\":{\"r\":\"one\",\"s\":[\"one\",\"two\"]}}", 0, ""},
	{"{\"name\":\"n\",\"tokens\":{\"r\":1,\"s\":[2]}}", 2,
         "error f:1: tokens.r: expected a string or {\"file\": PATH}, found 1\n"
         "error f:1: tokens.s[0]: expected a string or {\"file\": PATH}, found 2\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"token\":{\"path\":\"x\"}}}", 1,
         "error f:1: http.token: expected a string or {\"file\": PATH}, found an object\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"token\":{\"file\":\"x\",\"b\":1}}}", 1,
         "error f:1: http.token: expected a string or {\"file\": PATH}, found an object\n"},
	{"{\"name\":\"n\",\"http\":{\"port\":1,\"token\":{\"file\":\"/none\"}}}", 1,
         "error f:1: http.token: /none: can't be read (no such file or directory)\n"},
	/* several at once */
	{"{\n\"level\": 1,\n\"http\": {\n\"port\": \"x\"},\n\"new\": 1}", 3,
         "error f:1: name: missing\n"
         "error f:2: level: expected one of \"debug\", \"info\", \"error\", found 1\n"
         "error f:4: http.port: expected an integer from 1 to 65535, found a string\n"
         "warning f:5: new: unknown key, left to modules\n"},
};

static void test_check(void)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		CU_ASSERT_EQUAL(check(checks[i].text), checks[i].errors);
		expect_said(checks[i].said);
	}
}

/* A broken file does not fill the terminal, and warnings do not hide errors. */
static void test_many(void)
{
	struct ob__buf text = {0};
	ob__buf_printf(&text, "{\"name\":\"n\",");
	for (int i = 0; i < 150; i++) {
		ob__buf_printf(&text, "\"unknown_%03d\":1,", i);
	}
	ob__buf_printf(&text, "\"route\":{\"a\":[");
	for (int i = 0; i < 120; i++) {
		ob__buf_printf(&text, "%d,", i);
	}
	ob__buf_printf(&text, "]}}");
	ob__buf_append(&text, "", 1);
	CU_ASSERT_EQUAL(check((const char *)text.data), 120);
	ob__buf_free(&text);

	int lines = 0;
	for (const char *p = said_text(); *p; p++) {
		lines += *p == '\n';
	}
	CU_ASSERT_EQUAL(lines, 202);
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "error f:1: and 20 more of these\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said_text(), "warning f:1: and 50 more of these\n"));
}

/* ---------------------------------------------------------------- secrets in files */

static const struct {
	const char *text;
	size_t len; /* 0: strlen */
	mode_t mode;
	const char *want; /* the secret, or NULL */
	const char *said; /* behind "f:1: http.token: DIR/s: " */
} secrets[] = {
	{"abc\n", 0, 0600, "abc", NULL},
	{"abc", 0, 0400, "abc", NULL},
	{"abc\r\n", 0, 0600, "abc", NULL},
	{" a b \n\n", 0, 0600, " a b \n", NULL}, /* one newline, and nothing else */
	{"abc\n", 0, 0640, "abc", "warning: others can read it (mode 0640; chmod 600)"},
	{"abc\n", 0, 0604, "abc", "warning: others can read it (mode 0604; chmod 600)"},
	{"", 0, 0600, NULL, "error: empty"},
	{"\n", 0, 0600, NULL, "error: empty"},
	{"a\0b", 3, 0600, NULL, "error: not UTF-8 text"},
	{"\xff\xfe", 0, 0600, NULL, "error: not UTF-8 text"},
};

static void check_secret(const char *text, size_t len, mode_t mode, const char *want,
                         const char *tell)
{
	static const char conf[] =
		"{\"name\":\"n\",\"http\":{\"token\":{\"file\":\"s\"},\n\"port\":1}}";
	char expected[256] = "";
	put_file("s", text, len, mode);
	put_file("conf", conf, strlen(conf), 0600);
	said.len = 0;
	struct ob__conf *c = ob__conf_load(in_dir("conf"), on_report, &said);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(ob__conf_check(c, rows, on_report, &said), want ? 0 : 1);
	if (want) {
		CU_ASSERT_STRING_EQUAL(ob__conf_str(ob__conf_root(c), "http.token", ""), want);
	}
	if (tell) {
		int word = (int)strcspn(tell, ":");
		snprintf(expected, sizeof(expected), "%.*s %s/conf:1: http.token: %s/s%s\n", word,
		         tell, dir, dir, tell + word);
	}
	expect_said(expected);
	CU_ASSERT_EQUAL(ob__conf_line(c, "http.port"), 2); /* lines stay true */
	ob__conf_free(c);
	unlink(in_dir("s"));
}

static void test_secret_files(void)
{
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		size_t len = secrets[i].len ? secrets[i].len : strlen(secrets[i].text);
		check_secret(secrets[i].text, len, secrets[i].mode, secrets[i].want,
		             secrets[i].said);
	}
	char big[4098];
	memset(big, 'x', sizeof(big));
	big[4096] = '\0';
	check_secret(big, 4096, 0600, big, NULL);
	big[4096] = 'x';
	check_secret(big, 4097, 0600, NULL, "error: longer than 4096 bytes");
}

static void test_secret_places(void)
{
	char text[256];
	char want[256];
	put_file("s", "abc", 3, 0600);
	char *cwd = realpath(dir, NULL);
	snprintf(text, sizeof(text),
	         "{\"name\":\"n\",\"tokens\":{\"r\":[{\"file\":\"%s/s\"},\"x\"]}}", cwd);
	struct ob__conf *c = parse(text); /* an absolute path, in a list */
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(ob__conf_check(c, rows, on_report, &said), 0);
	CU_ASSERT_STRING_EQUAL(ob__conf_str(ob__conf_root(c), "tokens.r[0]", ""), "abc");
	CU_ASSERT_STRING_EQUAL(ob__conf_str(ob__conf_root(c), "tokens.r[1]", ""), "x");
	ob__conf_free(c);

	snprintf(text, sizeof(text), "{\"name\":\"n\",\"tokens\":{\"r\":{\"file\":\"%s\"}}}", cwd);
	CU_ASSERT_EQUAL(check(text), 1);
	snprintf(want, sizeof(want),
	         "error f:1: tokens.r: %s: can't be read (not a regular file)\n", cwd);
	expect_said(want);
	free(cwd);
}

static void test_masked(void)
{
	static const struct {
		const char *in;
		const char *out;
	} t[] = {
		{"{\"name\":\"n\",\"http\":{\"port\":1,\"token\":\"abc\"}}",
	         "{\"name\":\"n\",\"http\":{\"port\":1,\"token\":\"***\"}}"},
		{"{\"http\":{\"token\":{\"file\":\"x\"}}}", "{\"http\":{\"token\":\"***\"}}"},
		{"{\"mongo_uri\":\"mongodb://u:p@h\"}", "{\"mongo_uri\":\"***\"}"},
		{"{\"tokens\":{\"r\":\"a\",\"s\":[\"a\",\"b\"],\"t\":{\"file\":\"f\"}}}",
	         "{\"tokens\":{\"r\":\"***\",\"s\":[\"***\",\"***\"],\"t\":\"***\"}}"},
		/* below ANY and unknown keys the name decides */
		{"{\"modules\":[\"m\",{\"conf\":{\"db\":[{\"Password\":\"a\",\"user\":\"u\"}],"
	         "\"api_token\":[1]}}]}",
	         "{\"modules\":[\"m\",{\"conf\":{\"db\":[{\"Password\":\"***\",\"user\":\"u\"}],"
	         "\"api_token\":\"***\"}}]}"},
		{"{\"own\":{\"secret\":\"a\",\"tokens_max\":5}}",
	         "{\"own\":{\"secret\":\"***\",\"tokens_max\":5}}"},
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct ob__conf *c = parse(t[i].in);
		CU_ASSERT_PTR_NOT_NULL_FATAL(c);
		json_t *masked = ob__conf_masked(c, rows);
		char *text = json_dumps(masked, JSON_COMPACT);
		char *own = json_dumps(ob__conf_root(c), JSON_COMPACT);
		CU_ASSERT_STRING_EQUAL(text, t[i].out);
		CU_ASSERT_STRING_EQUAL(own, t[i].in); /* the conf still has them */
		free(text);
		free(own);
		json_decref(masked);
		ob__conf_free(c);
	}
}

/* ---------------------------------------------------------------- lines and readers */

static void test_lines(void)
{
	static const struct {
		const char *path;
		int line;
		const char *complaint; /* its line is that of the nearest part */
	} t[] = {
		{"", 1, "error f:1: x\n"},
		{"a", 2, "error f:2: a: x\n"},
		{"a[0]", 2, "error f:2: a[0]: x\n"},
		{"a[1].b", 4, "error f:4: a[1].b: x\n"},
		{"[\"k.k\"]", 6, "error f:6: [\"k.k\"]: x\n"},
		{"[\"k.k\"].c", 7, "error f:7: [\"k.k\"].c: x\n"},
		{"k.k", 0, "error f:1: k.k: x\n"},
		{"a[1].c", 0, "error f:3: a[1].c: x\n"},
		{"a[2]", 0, "error f:2: a[2]: x\n"},
		{"a[x]", 0, "error f:2: a[x]: x\n"},
		{"a[0", 0, "error f:2: a[0: x\n"},
		{"a[1].b.deeper", 0, "error f:4: a[1].b.deeper: x\n"},
		{"none", 0, "error f:1: none: x\n"},
		{"later", 0, "error f:1: later: x\n"},
	};
	struct ob__conf *c = parse("{\n\"a\": [1,\n{\n\"b\": 2}],\n\n\"k.k\": {\n\"c\": 3}}");
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	json_object_set_new(ob__conf_root(c), "later", json_true()); /* not by the file */
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CU_ASSERT_EQUAL(ob__conf_line(c, t[i].path), t[i].line);
		said.len = 0;
		ob__conf_complain(c, on_report, &said, OB__CONF_ERROR, t[i].path, "%s", "x");
		expect_said(t[i].complaint);
	}
	ob__conf_free(c);
}

static void test_readers(void)
{
	struct ob__conf *c = parse("{\"s\":\"text\",\"i\":-5,\"z\":\"2k\",\"t\":true,\"f\":false,"
	                           "\"one\":1,\"zero\":0,\"sec\":1.5,\"tiny\":0.0004,\"neg\":-1,"
	                           "\"huge\":1e300,\"o\":{\"x\":{\"y\":9}},\"l\":[[1,2],[3]]}");
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	const json_t *r = ob__conf_root(c);
	CU_ASSERT_STRING_EQUAL(ob__conf_str(r, "s", "d"), "text");
	CU_ASSERT_STRING_EQUAL(ob__conf_str(r, "none", "d"), "d");
	CU_ASSERT_STRING_EQUAL(ob__conf_str(r, "i", "d"), "d");
	CU_ASSERT_EQUAL(ob__conf_int(r, "i", 7), -5);
	CU_ASSERT_EQUAL(ob__conf_int(r, "z", 7), 2048);
	CU_ASSERT_EQUAL(ob__conf_int(r, "s", 7), 7);
	CU_ASSERT_EQUAL(ob__conf_int(r, "none", 7), 7);
	CU_ASSERT_EQUAL(ob__conf_int(r, "o.x.y", 7), 9);
	CU_ASSERT_EQUAL(ob__conf_int(r, "l[1][0]", 7), 3);
	CU_ASSERT_EQUAL(ob__conf_int(r, "l[1][1]", 7), 7);
	CU_ASSERT_EQUAL(ob__conf_int(r, "l[99999999999999999999]", 7), 7);
	CU_ASSERT_TRUE(ob__conf_bool(r, "t", false));
	CU_ASSERT_FALSE(ob__conf_bool(r, "f", true));
	CU_ASSERT_TRUE(ob__conf_bool(r, "one", false));
	CU_ASSERT_FALSE(ob__conf_bool(r, "zero", true));
	CU_ASSERT_TRUE(ob__conf_bool(r, "s", true));
	CU_ASSERT_EQUAL(ob__conf_ms(r, "sec", 7), 1500);
	CU_ASSERT_EQUAL(ob__conf_ms(r, "one", 7), 1000);
	CU_ASSERT_EQUAL(ob__conf_ms(r, "tiny", 7), 0);
	CU_ASSERT_EQUAL(ob__conf_ms(r, "neg", 7), 0);
	CU_ASSERT_EQUAL(ob__conf_ms(r, "huge", 7), UINT64_C(1000000000000));
	CU_ASSERT_EQUAL(ob__conf_ms(r, "none", 7), 7);
	CU_ASSERT_PTR_EQUAL(ob__conf_get(r, ""), r);
	CU_ASSERT_PTR_NULL(ob__conf_get(NULL, "x"));
	ob__conf_free(c);
}

static void test_reference(void)
{
	static const char *const lines[] = {
		"| key | value | default | meaning |\n|---|---|---|---|\n",
		"| `name` | a string | required | The node's name. |\n",
		"| `level` | one of \"debug\", \"info\", \"error\" | `info` | What: a\\|b. |\n",
		"| `api_path` | a string | | Old. (ignored) |\n",
		"| `http.port` | an integer from 1 to 65535 | required | TCP. |\n",
		"| `modules[]` | an object or a string | |  |\n",
		"| `tokens.*` | a list or one item of it | |  |\n",
	};
	struct ob__buf out = {0};
	CU_ASSERT_EQUAL(ob__conf_reference(rows, &out), 0);
	CU_ASSERT_EQUAL(ob__buf_append(&out, "", 1), 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		CU_ASSERT_PTR_NOT_NULL(strstr((const char *)out.data, lines[i]));
	}
	ob__buf_free(&out);
}

static int set_up(void)
{
	files_make_dir(dir, sizeof(dir));
	return 0;
}

static int clean_up(void)
{
	files_remove(dir);
	ob__buf_free(&said);
	return 0;
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("conf", set_up, clean_up);
	CU_add_test(s, "one syntax error", test_parse_errors);
	CU_add_test(s, "files", test_load);
	CU_add_test(s, "the seed's style", test_seed_style);
	CU_add_test(s, "the environment", test_env);
	CU_add_test(s, "the schema", test_check);
	CU_add_test(s, "very many errors", test_many);
	CU_add_test(s, "secrets in files", test_secret_files);
	CU_add_test(s, "where secrets may be", test_secret_places);
	CU_add_test(s, "masks", test_masked);
	CU_add_test(s, "lines", test_lines);
	CU_add_test(s, "readers", test_readers);
	CU_add_test(s, "the reference", test_reference);
	return ob__tap_run();
}
