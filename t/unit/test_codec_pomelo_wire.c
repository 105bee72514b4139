/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* codec_pomelo's layers, without a connection: what pomelo-protocol writes, to the byte. */

#include <stdlib.h>
#include <string.h>

#include <CUnit/CUnit.h>

#include "modules/codec_pomelo/dictionary.h"
#include "modules/codec_pomelo/handshake.h"
#include "modules/codec_pomelo/md5.h"
#include "modules/codec_pomelo/message.h"
#include "modules/codec_pomelo/package.h"
#include "modules/codec_pomelo/settings.h"
#include "modules/codec_pomelo/unicode.h"
#include "tap.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void fail_row(const char *why)
{
	CU_FAIL("a row failed");
	fprintf(stdout, "# row: %s\n", why);
}

static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
	size_t len = strlen(text) / 2;

	CU_ASSERT_FATAL(len <= cap);
	for (size_t i = 0; i < len; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		out[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return len;
}

static bool is_hex(const uint8_t *data, size_t len, const char *hex)
{
	uint8_t want[512];

	return unhex(hex, want, sizeof(want)) == len && memcmp(data, want, len) == 0;
}

/* ---- MD5 ---- */

struct md5_row {
	const char *text;
	const char *hex;
	const char *version;
};

static const struct md5_row md5_rows[] = {
	{"", "d41d8cd98f00b204e9800998ecf8427e", "1B2M2Y8AsgTpgAmY7PhCfg=="},
	{"a", "0cc175b9c0f1b6a831c399e269772661", "DMF1ucDxtqgxw5niaXcmYQ=="},
	{"abc", "900150983cd24fb0d6963f7d28e17f72", "kAFQmDzST7DWlj99KOF/cg=="},
	{"message digest", "f96b697d7cb7938d525a2f31aaf161d0", "+WtpfXy3k41SWi8xqvFh0A=="},
	{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b",
         "w/zT12GS5AB9+0lsymfhOw=="},
	{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f", "0XSrmNJ32fWlYRwsn0Gdnw=="},
	{"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a", "V+30oivjyVWsSdouIQe2eg=="},
};

static void test_md5(void)
{
	for (size_t i = 0; i < ROWS(md5_rows); i++) {
		const struct md5_row *row = &md5_rows[i];
		uint8_t sum[16];
		char version[POMELO_VERSION_SIZE];

		pomelo_md5(row->text, strlen(row->text), sum);
		pomelo_version(row->text, strlen(row->text), version);
		if (!is_hex(sum, sizeof(sum), row->hex) || strcmp(version, row->version) != 0) {
			fail_row(row->text);
		}
	}
	CU_PASS("rows");
}

/* ---- packages ---- */

struct package_row {
	const char *why;
	enum pomelo_package_type type;
	const char *body;
	const char *hex;
};

static const struct package_row package_rows[] = {
	{"HEARTBEAT", POMELO_HEARTBEAT, "", "03000000"},
	{"HANDSHAKE_ACK", POMELO_ACK, "", "02000000"},
	{"HANDSHAKE, a request", POMELO_HANDSHAKE, "{\"sys\":{\"type\":\"t\",\"version\":\"1\"}}",
         "010000227b22737973223a7b2274797065223a2274222c2276657273696f6e223a2231227d7d"},
	{"HANDSHAKE, its reply", POMELO_HANDSHAKE, "{\"code\":200,\"sys\":{\"heartbeat\":10}}",
         "010000237b22636f6465223a3230302c22737973223a7b22686561727462656174223a31307d7d"},
	{"HANDSHAKE, refused", POMELO_HANDSHAKE, "{\"code\":501}",
         "0100000c7b22636f6465223a3530317d"},
	{"KICK", POMELO_KICK, "{\"reason\":\"kick\"}",
         "050000117b22726561736f6e223a226b69636b227d"},
};

static bool package_holds(const struct package_row *row)
{
	uint8_t data[128];
	uint8_t head[POMELO_HEAD];
	size_t len = unhex(row->hex, data, sizeof(data));
	struct pomelo_package p;

	for (size_t cut = 1; cut < len; cut++) {
		if (pomelo_package_read(data, cut, 4096, &p) != POMELO_PART ||
		    p.need != (cut < POMELO_HEAD ? POMELO_HEAD : len)) {
			return false;
		}
	}
	pomelo_package_head(head, row->type, strlen(row->body));
	return memcmp(head, data, sizeof(head)) == 0 &&
	       pomelo_package_read(data, sizeof(data), 4096, &p) == POMELO_WHOLE && p.need == len &&
	       p.type == row->type && p.len == strlen(row->body) && p.body == data + POMELO_HEAD &&
	       memcmp(p.body, row->body, p.len) == 0;
}

static void test_packages(void)
{
	for (size_t i = 0; i < ROWS(package_rows); i++) {
		if (!package_holds(&package_rows[i])) {
			fail_row(package_rows[i].why);
		}
	}
	CU_PASS("rows");
}

struct end_row {
	const char *why;
	const char *hex;
	size_t max;
	enum pomelo_package_end end;
};

static const struct end_row end_rows[] = {
	{"type 0, as soon as it is there", "00", 4096, POMELO_BAD_TYPE},
	{"type 6", "06", 4096, POMELO_BAD_TYPE},
	{"type 255", "ff000000", 4096, POMELO_BAD_TYPE},
	{"GET", "474554", 4096, POMELO_BAD_TYPE},
	{"a length of 16 MiB, as soon as it is there", "04ffffff", 4096, POMELO_TOO_LONG},
	{"one byte over the limit", "04000ffd", 4096, POMELO_TOO_LONG},
	{"the limit to the byte", "04000ffc", 4096, POMELO_PART},
	{"a limit below a head", "03000000", 3, POMELO_TOO_LONG},
	{"16 MiB where they are allowed", "04ffffff", SIZE_MAX, POMELO_PART},
};

static void test_ends(void)
{
	for (size_t i = 0; i < ROWS(end_rows); i++) {
		const struct end_row *row = &end_rows[i];
		uint8_t data[8];
		size_t len = unhex(row->hex, data, sizeof(data));
		struct pomelo_package p;

		if (pomelo_package_read(data, len, row->max, &p) != row->end) {
			fail_row(row->why);
		}
	}
	CU_PASS("rows");
}

/* ---- messages ---- */

struct message_row {
	const char *why;
	struct pomelo_message m; /* without its pointers */
	const char *route;
	const char *body;
	const char *hex;
};

#define ECHO "connector.entryHandler.echo"

static const struct message_row message_rows[] = {
	{"request 1",
         {.type = POMELO_REQUEST, .id = 1},
         ECHO,
         "{\"msg\":\"hi\"}",
         "00011b636f6e6e6563746f722e656e74727948616e646c65722e6563686f7b226d7367223a226869227d"},
	{"request 127", {.type = POMELO_REQUEST, .id = 127}, "a.b.c", "{}", "007f05612e622e637b7d"},
	{"request 128",
         {.type = POMELO_REQUEST, .id = 128},
         "a.b.c",
         "{}",
         "00800105612e622e637b7d"},
	{"request 300, code 5",
         {.type = POMELO_REQUEST, .id = 300, .coded = true, .code = 5},
         "",
         "{}",
         "01ac0200057b7d"},
	{"request 16384",
         {.type = POMELO_REQUEST, .id = 16384},
         "a.b.c",
         "{}",
         "0080800105612e622e637b7d"},
	{"request 2^31-1",
         {.type = POMELO_REQUEST, .id = 0x7fffffff},
         "a.b.c",
         "{}",
         "00ffffffff0705612e622e637b7d"},
	{"notify", {.type = POMELO_NOTIFY}, "a.b.n", "{\"x\":1}", "0205612e622e6e7b2278223a317d"},
	{"notify, code 258",
         {.type = POMELO_NOTIFY, .coded = true, .code = 258},
         "",
         "{\"x\":1}",
         "0301027b2278223a317d"},
	{"response 1",
         {.type = POMELO_RESPONSE, .id = 1},
         "",
         "{\"code\":200}",
         "04017b22636f6465223a3230307d"},
	{"response 128",
         {.type = POMELO_RESPONSE, .id = 128},
         "",
         "{\"code\":200}",
         "0480017b22636f6465223a3230307d"},
	{"push",
         {.type = POMELO_PUSH},
         "onChat",
         "{\"t\":\"hi\"}",
         "06066f6e436861747b2274223a226869227d"},
	{"push, code 1",
         {.type = POMELO_PUSH, .coded = true, .code = 1},
         "",
         "{\"t\":\"hi\"}",
         "0700017b2274223a226869227d"},
	{"push, beyond ASCII",
         {.type = POMELO_PUSH},
         "on\xc3\x89",
         "{\"t\":\"\xe4\xbd\xa0\"}",
         "06046f6ec3897b2274223a22e4bda0227d"},
	{"the bit for gzip",
         {.type = POMELO_REQUEST, .id = 1, .gzip = true},
         "a.b.c",
         "{}",
         "100105612e622e637b7d"},
	{"an empty response", {.type = POMELO_RESPONSE, .id = 1}, "", "", "0401"},
	{"request, all flags",
         {.type = POMELO_REQUEST, .coded = true, .gzip = true},
         "",
         "",
         "11000000"},
	{"notify, no flag", {.type = POMELO_NOTIFY}, "", "", "0200"},
	{"notify, code", {.type = POMELO_NOTIFY, .coded = true}, "", "", "030000"},
	{"notify, gzip", {.type = POMELO_NOTIFY, .gzip = true}, "", "", "1200"},
	{"notify, all flags",
         {.type = POMELO_NOTIFY, .coded = true, .gzip = true},
         "",
         "",
         "130000"},
	{"response, gzip", {.type = POMELO_RESPONSE, .gzip = true}, "", "", "1400"},
	{"push, no flag", {.type = POMELO_PUSH}, "", "", "0600"},
	{"push, gzip", {.type = POMELO_PUSH, .gzip = true}, "", "", "1600"},
	{"push, all flags", {.type = POMELO_PUSH, .coded = true, .gzip = true}, "", "", "170000"},
};

static bool message_holds(const struct message_row *row)
{
	uint8_t data[128];
	uint8_t head[POMELO_MESSAGE_HEAD_MAX];
	size_t len = unhex(row->hex, data, sizeof(data));
	size_t body_len = strlen(row->body);
	struct pomelo_message m = row->m;

	m.route = (const uint8_t *)row->route;
	m.route_len = strlen(row->route);
	if (pomelo_message_head(head, &m) + body_len != len ||
	    memcmp(head, data, len - body_len) != 0) {
		return false;
	}
	return pomelo_message_read(data, len, &m) == POMELO_GOOD && m.type == row->m.type &&
	       m.id == row->m.id && m.coded == row->m.coded && m.code == row->m.code &&
	       m.gzip == row->m.gzip && m.route_len == strlen(row->route) &&
	       memcmp(m.route_len > 0 ? (const char *)m.route : "", row->route, m.route_len) == 0 &&
	       m.body == data + len - body_len && m.body_len == body_len &&
	       memcmp(m.body, row->body, body_len) == 0;
}

static void test_messages(void)
{
	for (size_t i = 0; i < ROWS(message_rows); i++) {
		if (!message_holds(&message_rows[i])) {
			fail_row(message_rows[i].why);
		}
	}
	CU_PASS("rows");
}

struct bad_row {
	const char *why;
	const char *hex;
	enum pomelo_message_end end;
};

static const struct bad_row bad_rows[] = {
	{"nothing", "", POMELO_EMPTY},
	{"a request without its id", "00", POMELO_BAD_ID},
	{"an id that goes on", "0080", POMELO_BAD_ID},
	{"an id of five bytes that goes on", "008080808080", POMELO_BAD_ID},
	{"an id of six bytes", "00808080808000", POMELO_BAD_ID},
	{"2^31", "00808080800805612e622e63", POMELO_BAD_ID},
	{"2^32-1, which is -1 to pomelo", "00ffffffff0f05612e622e63", POMELO_BAD_ID},
	{"a response without its id", "04", POMELO_BAD_ID},
	{"a request without its route", "0001", POMELO_BAD_ROUTE},
	{"a route cut off", "00012d0561", POMELO_BAD_ROUTE},
	{"a code cut off", "010105", POMELO_BAD_ROUTE},
	{"a code that is missing", "0101", POMELO_BAD_ROUTE},
	{"a notify without its route", "02", POMELO_BAD_ROUTE},
	{"a push without its route", "06", POMELO_BAD_ROUTE},
	{"type 4 is read, and means nothing", "08", POMELO_GOOD},
	{"type 7", "0effff", POMELO_GOOD},
	{"an id with a byte too many", "00800005612e622e63", POMELO_GOOD},
};

static void test_bad(void)
{
	for (size_t i = 0; i < ROWS(bad_rows); i++) {
		const struct bad_row *row = &bad_rows[i];
		struct pomelo_message m;
		uint8_t data[32];
		size_t len = unhex(row->hex, data, sizeof(data));
		uint8_t *exact = malloc(len + 1); /* so that a step too far is seen */

		CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
		memcpy(exact + 1, data, len);
		if (pomelo_message_read(exact + 1, len, &m) != row->end) {
			fail_row(row->why);
		}
		free(exact);
	}

	struct pomelo_message m = {.type = POMELO_PUSH, .route_len = POMELO_ROUTE_MAX + 1};
	uint8_t head[POMELO_MESSAGE_HEAD_MAX];

	CU_ASSERT_EQUAL(pomelo_message_head(head, &m), 0);
}

/* ---- characters ---- */

struct text_row {
	const char *why;
	const char *in;
	const char *joined;  /* surrogates joined */
	const char *cleaned; /* and made UTF-8 */
};

#define BAD "\xef\xbf\xbd"

static const struct text_row text_rows[] = {
	{"ASCII", "plain", "plain", "plain"},
	{"nothing", "", "", ""},
	{"two and three bytes", "\xc3\x89\xe4\xbd\xa0", "\xc3\x89\xe4\xbd\xa0",
         "\xc3\x89\xe4\xbd\xa0"},
	{"U+1F600 as a browser writes it", "a\xed\xa0\xbd\xed\xb8\x80z", "a\xf0\x9f\x98\x80z",
         "a\xf0\x9f\x98\x80z"},
	{"U+10000, the first", "\xed\xa0\x80\xed\xb0\x80", "\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},
	{"U+10FFFF, the last", "\xed\xaf\xbf\xed\xbf\xbf", "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
	{"as UTF-8", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
	{"a high one alone", "\xed\xa0\xbdx", BAD "x", BAD "x"},
	{"a low one alone", "x\xed\xb8\x80", "x" BAD, "x" BAD},
	{"in the wrong order", "\xed\xb8\x80\xed\xa0\xbd", BAD BAD, BAD BAD},
	{"two high ones and a low one", "\xed\xa0\xbd\xed\xa0\xbd\xed\xb8\x80",
         BAD "\xf0\x9f\x98\x80", BAD "\xf0\x9f\x98\x80"},
	{"a high one, cut off", "\xed\xa0", "\xed\xa0", BAD BAD},
	{"U+D7FF is none", "\xed\x9f\xbf", "\xed\x9f\xbf", "\xed\x9f\xbf"},
	{"no UTF-8 at all", "\xff\xc0\x80", "\xff\xc0\x80", BAD BAD BAD},
	{"cut off", "\xf0\x9f\x98", "\xf0\x9f\x98", BAD BAD BAD},
	{"beyond the last", "\xf4\x90\x80\x80", "\xf4\x90\x80\x80", BAD BAD BAD BAD},
};

static void test_text(void)
{
	for (size_t i = 0; i < ROWS(text_rows); i++) {
		const struct text_row *row = &text_rows[i];
		size_t len = strlen(row->in);
		uint8_t text[32];
		uint8_t clean[96];

		memcpy(text, row->in, len);

		size_t joined = pomelo_join_surrogates(text, len);
		size_t cleaned = pomelo_clean((const uint8_t *)row->in, len, clean);

		if (joined != strlen(row->joined) || memcmp(text, row->joined, joined) != 0 ||
		    cleaned != strlen(row->cleaned) || memcmp(clean, row->cleaned, cleaned) != 0) {
			fail_row(row->why);
		}
	}
	CU_PASS("rows");
}

static void test_escape(void)
{
	static const char *const rows[][2] = {
		{"{\"t\":\"hello\"}", "{\"t\":\"hello\"}"},
		{"\"\xf0\x9f\x98\x80\"", "\"\\uD83D\\uDE00\""},
		{"\"\xe4\xbd\xa0 and \xf0\x90\x80\x80\xf4\x8f\xbf\xbf.\"",
	         "\"\xe4\xbd\xa0 and \\uD800\\uDC00\\uDBFF\\uDFFF.\""},
		{"\"cut \xf0\x9f\x98", "\"cut \xf0\x9f\x98"},
		{"1234567\xf0\x9f\x98\x80"
	         "12345678",
	         "1234567\\uD83D\\uDE0012345678"},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		const uint8_t *in = (const uint8_t *)rows[i][0];
		size_t len = pomelo_escaped_len(in, strlen(rows[i][0]));
		uint8_t out[128];

		CU_ASSERT_EQUAL_FATAL(len, strlen(rows[i][1]));
		pomelo_escape(in, strlen(rows[i][0]), out);
		CU_ASSERT_EQUAL(memcmp(out, rows[i][1], len), 0);
	}
	CU_ASSERT_EQUAL(pomelo_escaped_len(NULL, 0), 0);
}

/* ---- the dictionary ---- */

static struct pomelo_dictionary *dictionary(const char *handlers, const char *list, ob_err *err)
{
	json_t *one = handlers != NULL ? json_loads(handlers, JSON_DECODE_ANY, NULL) : NULL;
	json_t *other = list != NULL ? json_loads(list, JSON_DECODE_ANY, NULL) : NULL;
	struct pomelo_dictionary *d;

	err->text[0] = '\0';
	if (pomelo_dictionary_new(&d, one, other, err) != 0) {
		CU_ASSERT_NOT_EQUAL(err->text[0], '\0');
		CU_ASSERT_PTR_NULL(d);
	}
	json_decref(one);
	json_decref(other);
	return d;
}

static void test_dictionary(void)
{
	ob_err err;
	struct pomelo_dictionary *d =
		dictionary("[\"b.h.m\", \"a.h.m\", \"a.h.b\"]", "[\"onChat\", \"onAdd\"]", &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_route(d, 1), "a.h.b");
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_route(d, 2), "a.h.m");
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_route(d, 3), "b.h.m");
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_route(d, 4), "onChat");
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_route(d, 5), "onAdd");
	CU_ASSERT_PTR_NULL(pomelo_dictionary_route(d, 0));
	CU_ASSERT_PTR_NULL(pomelo_dictionary_route(d, 6));
	CU_ASSERT_PTR_NULL(pomelo_dictionary_route(d, 65535));
	CU_ASSERT_EQUAL(pomelo_dictionary_code(d, "onChatter", 6), 4);
	CU_ASSERT_EQUAL(pomelo_dictionary_code(d, "onChatter", 9), 0);
	CU_ASSERT_EQUAL(pomelo_dictionary_code(d, "", 0), 0);

	char version[POMELO_VERSION_SIZE];
	const char *text = "{\"a.h.b\":1,\"a.h.m\":2,\"b.h.m\":3,\"onChat\":4,\"onAdd\":5}";

	pomelo_version(text, strlen(text), version);
	CU_ASSERT_STRING_EQUAL(pomelo_dictionary_version(d), version);
	pomelo_dictionary_free(d);
	CU_ASSERT_EQUAL(pomelo_dictionary_code(NULL, "a", 1), 0);
	CU_ASSERT_PTR_NULL(pomelo_dictionary_route(NULL, 1));
}

static void test_bad_dictionary(void)
{
	ob_err err;

	CU_ASSERT_PTR_NULL(dictionary("[\"a\", \"a\"]", NULL, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "twice"));
	CU_ASSERT_PTR_NULL(dictionary("[\"a\"]", "[\"a\"]", &err));
	CU_ASSERT_PTR_NULL(dictionary("[\"\"]", NULL, &err));
	CU_ASSERT_PTR_NULL(dictionary("[1]", NULL, &err));
	CU_ASSERT_PTR_NULL(dictionary("{}", NULL, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "handlers"));
	CU_ASSERT_PTR_NULL(dictionary(NULL, "3", &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "dictionary"));
	CU_ASSERT_PTR_NULL(dictionary(NULL, NULL, &err)); /* and that is no failure */
	CU_ASSERT_EQUAL(err.text[0], '\0');
}

/* ---- the handshake, and the configuration ---- */

static struct pomelo_settings settings_of(const char *conf)
{
	struct pomelo_settings s = {0};
	json_t *json = json_loads(conf, 0, NULL);
	ob_err err = {""};

	CU_ASSERT_PTR_NOT_NULL_FATAL(json);
	if (pomelo_settings_read(&s, json, &err) != 0) {
		fprintf(stdout, "# %s: %s\n", conf, err.text);
		CU_FAIL_FATAL("settings");
	}
	json_decref(json);
	return s;
}

struct hello_row {
	const char *why;
	const char *hello;
	int code;
};

static const struct hello_row hello_rows[] = {
	{"as they are", "{\"sys\":{\"type\":\"js\",\"version\":\"0.0.1\"}}", POMELO_OK},
	{"a later one", "{\"sys\":{\"type\":\"js\",\"version\":\"0.10\"}}", POMELO_OK},
	{"an earlier one", "{\"sys\":{\"type\":\"js\",\"version\":\"0.0.0.9\"}}", POMELO_OLD},
	{"no version", "{\"sys\":{\"type\":\"js\"}}", POMELO_OLD},
	{"a version that is none", "{\"sys\":{\"type\":\"js\",\"version\":\"new\"}}", POMELO_OLD},
	{"another type has its own", "{\"sys\":{\"type\":\"unity\",\"version\":\"1.9\"}}",
         POMELO_OLD},
	{"which it has", "{\"sys\":{\"type\":\"unity\",\"version\":\"2\"}}", POMELO_OK},
	{"all others", "{\"sys\":{\"type\":\"x\",\"version\":\"3.0\"}}", POMELO_OK},
	{"all others, too old", "{\"sys\":{}}", POMELO_OLD},
	{"no sys", "{\"user\":{}}", POMELO_FAILED},
	{"a sys that is none", "{\"sys\":1}", POMELO_FAILED},
	{"no object", "[]", POMELO_FAILED},
	{"no JSON", "hello", POMELO_FAILED},
	{"nothing", "", POMELO_FAILED},
};

static void test_hellos(void)
{
	struct pomelo_settings s =
		settings_of("{\"clients\": {\"js\": \"0.0.1\", \"unity\": \"2.0\", \"*\": \"3\"}}");

	for (size_t i = 0; i < ROWS(hello_rows); i++) {
		const struct hello_row *row = &hello_rows[i];
		struct pomelo_hello resume;
		unsigned has;

		if (pomelo_handshake_read(&s, (const uint8_t *)row->hello, strlen(row->hello), &has,
		                          &resume) != row->code) {
			fail_row(row->why);
		}
	}
	pomelo_settings_free(&s);
}

#define FULL                                                                        \
	"{\"heartbeat\": 3, \"handlers\": [\"a.b.c\"], \"dictionary\": [\"onX\"], " \
	"\"protos\": {\"server\": {\"onX\": {\"required string b\": 2, \"optional uInt32 a\": 1}}}}"

static json_t *answer_of(const struct pomelo_bytes *answer)
{
	json_t *json = json_loadb((const char *)answer->data + POMELO_HEAD,
	                          answer->len - POMELO_HEAD, 0, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(json);
	CU_ASSERT_EQUAL(answer->data[0], POMELO_HANDSHAKE);
	return json;
}

static void test_answers(void)
{
	struct pomelo_settings s = settings_of(FULL);
	struct pomelo_bytes answers[POMELO_ANSWERS] = {{0}};
	ob_err err;

	CU_ASSERT_EQUAL_FATAL(pomelo_handshake_answers(&s, answers, &err), 0);

	/* to the letter: what pomelo's server says to these settings, in its own order */
	json_t *got = answer_of(&answers[0]);
	json_t *want = json_pack(
		"{s:i, s:{s:i, s:b, s:{s:i, s:i}, s:{s:i, s:i}, s:{s:s, s:s}, s:s, s:b, "
		"s:{s:{s:{s:{s:s, s:s, s:i}, s:{s:s, s:s, s:i}, s:{}, s:{s:s, s:s}}}, s:{}, s:s}}}",
		"code", 200, "sys", "heartbeat", 3, "useDict", 1, "dict", "a.b.c", 1, "onX", 2,
		"routeToCode", "a.b.c", 1, "onX", 2, "codeToRoute", "1", "a.b.c", "2", "onX",
		"dictVersion", pomelo_dictionary_version(s.dictionary), "useProto", 1, "protos",
		"server", "onX", "b", "option", "required", "type", "string", "tag", 2, "a",
		"option", "optional", "type", "uInt32", "tag", 1, "__messages", "__tags", "1", "a",
		"2", "b", "client", "version", s.protos_version);

	CU_ASSERT_PTR_NOT_NULL_FATAL(want);
	CU_ASSERT(json_equal(got, want));
	json_decref(got);
	json_decref(want);

	const char *versioned =
		"{}{\"onX\":{\"b\":{\"option\":\"required\",\"type\":\"string\",\"tag\":2},"
		"\"a\":{\"option\":\"optional\",\"type\":\"uInt32\",\"tag\":1},"
		"\"__messages\":{},\"__tags\":{\"1\":\"a\",\"2\":\"b\"}}}";
	char version[POMELO_VERSION_SIZE];

	pomelo_version(versioned, strlen(versioned), version);
	CU_ASSERT_STRING_EQUAL(s.protos_version, version);

	got = answer_of(&answers[POMELO_HAS_DICTIONARY | POMELO_HAS_PROTOS]);
	want = json_pack("{s:i, s:{s:i, s:b, s:b}}", "code", 200, "sys", "heartbeat", 3, "useDict",
	                 1, "useProto", 1);
	CU_ASSERT(json_equal(got, want));
	json_decref(got);
	json_decref(want);
	for (size_t i = 0; i < POMELO_ANSWERS; i++) {
		pomelo_bytes_free(&answers[i]);
	}
	pomelo_settings_free(&s);
}

static void test_versions_known(void)
{
	struct pomelo_settings s = settings_of(FULL);
	struct pomelo_hello resume;
	unsigned has;
	char hello[256];

	snprintf(hello, sizeof(hello), "{\"sys\":{\"dictVersion\":\"%s\",\"protoVersion\":\"%s\"}}",
	         pomelo_dictionary_version(s.dictionary), s.protos_version);
	CU_ASSERT_EQUAL(pomelo_handshake_read(&s, (uint8_t *)hello, strlen(hello), &has, &resume),
	                200);
	CU_ASSERT_EQUAL(has, POMELO_HAS_DICTIONARY | POMELO_HAS_PROTOS);

	static const char other[] = "{\"sys\":{\"dictVersion\":\"x\",\"protoVersion\":0}}";

	CU_ASSERT_EQUAL(
		pomelo_handshake_read(&s, (const uint8_t *)other, strlen(other), &has, &resume),
		200);
	CU_ASSERT_EQUAL(has, 0);
	pomelo_settings_free(&s);
}

static void test_small_answers(void)
{
	struct pomelo_settings s = settings_of("{\"heartbeat\": 10}");
	struct pomelo_bytes answers[POMELO_ANSWERS] = {{0}};
	uint8_t out[64];
	ob_err err;

	CU_ASSERT_EQUAL_FATAL(pomelo_handshake_answers(&s, answers, &err), 0);
	CU_ASSERT(is_hex(answers[0].data, answers[0].len, package_rows[3].hex));
	CU_ASSERT_EQUAL(pomelo_handshake_refusal(POMELO_OLD, out), 16);
	CU_ASSERT(is_hex(out, 16, package_rows[4].hex));

	static const char want[] = "{\"code\":200,\"sys\":{\"heartbeat\":10},\"user\":[1]}";
	size_t len = POMELO_HEAD + strlen(want);
	const uint8_t *user = (const uint8_t *)"[1]";

	CU_ASSERT_EQUAL(pomelo_handshake_with_user(&answers[0], user, 3, out, len - 1), len);
	CU_ASSERT_EQUAL(pomelo_handshake_with_user(&answers[0], user, 3, out, len), len);
	CU_ASSERT_EQUAL(out[3], strlen(want));
	CU_ASSERT_EQUAL(memcmp(out + POMELO_HEAD, want, strlen(want)), 0);
	CU_ASSERT_EQUAL(pomelo_handshake_with_user(&answers[0], user, POMELO_BODY_MAX, out, 64), 0);
	for (size_t i = 0; i < POMELO_ANSWERS; i++) {
		pomelo_bytes_free(&answers[i]);
	}
	pomelo_settings_free(&s);
}

static const char *const bad_confs[][2] = {
	{"{\"hearbeat\": 3}", "hearbeat"},
	{"{\"heartbeat\": \"3\"}", "heartbeat"},
	{"{\"heartbeat\": -1}", "heartbeat"},
	{"{\"heartbeat\": 3, \"timeout\": 3}", "timeout"},
	{"{\"heartbeat\": 0, \"timeout\": 3}", "timeout"},
	{"{\"timeout\": 3}", "timeout"},
	{"{\"strict_heartbeat\": 1}", "strict_heartbeat"},
	{"{\"handshake\": \"\"}", "handshake"},
	{"{\"handshake_timeout\": 0}", "handshake_timeout"},
	{"{\"max_package\": 63}", "max_package"},
	{"{\"max_package\": 16777220}", "max_package"},
	{"{\"errors\": \"mine\"}", "errors"},
	{"{\"clients\": {}}", "clients"},
	{"{\"clients\": {\"js\": 1}}", "clients"},
	{"{\"handlers\": \"/nowhere/handlers.json\"}", "handlers"},
	{"{\"protos\": []}", "protos"},
	{"{\"protos\": {\"server\": []}}", "protos.server"},
	{"{\"protos\": {\"client\": {\"a\": {\"required Thing t\": 1}}}}", "Thing"},
};

static void test_bad_confs(void)
{
	for (size_t i = 0; i < ROWS(bad_confs); i++) {
		struct pomelo_settings s = {0};
		json_t *conf = json_loads(bad_confs[i][0], 0, NULL);
		ob_err err = {""};

		CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
		if (pomelo_settings_read(&s, conf, &err) == 0 ||
		    strstr(err.text, bad_confs[i][1]) == NULL) {
			fail_row(bad_confs[i][0]);
			fprintf(stdout, "# said: %s\n", err.text);
		}
		pomelo_settings_free(&s);
		json_decref(conf);
	}
	CU_PASS("rows");
}

static void test_defaults(void)
{
	struct pomelo_settings s = settings_of("{}");

	CU_ASSERT_PTR_NULL(s.heartbeat);
	CU_ASSERT_EQUAL(s.max_package, 65536);
	CU_ASSERT_EQUAL(s.handshake_ms, 10000);
	CU_ASSERT(s.strict_heartbeat && !s.host_codes && !s.use_protos);
	pomelo_settings_free(&s);
	s = settings_of("{\"heartbeat\": 2.5, \"errors\": \"host\"}");
	CU_ASSERT_EQUAL(s.timeout_ms, 5000);
	CU_ASSERT(s.host_codes);
	pomelo_settings_free(&s);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("codec_pomelo, the wire", NULL, NULL);

	CU_add_test(s, "MD5, as in RFC 1321", test_md5);
	CU_add_test(s, "packages, cut anywhere", test_packages);
	CU_add_test(s, "packages that are none", test_ends);
	CU_add_test(s, "messages of each type", test_messages);
	CU_add_test(s, "messages that are none", test_bad);
	CU_add_test(s, "surrogates become characters", test_text);
	CU_add_test(s, "characters become escapes", test_escape);
	CU_add_test(s, "codes of the dictionary, and its version", test_dictionary);
	CU_add_test(s, "dictionaries that are none", test_bad_dictionary);
	CU_add_test(s, "clients' types and versions", test_hellos);
	CU_add_test(s, "answers to the handshake", test_answers);
	CU_add_test(s, "a client that knows them", test_versions_known);
	CU_add_test(s, "small answers, and what the handler adds", test_small_answers);
	CU_add_test(s, "settings that are none", test_bad_confs);
	CU_add_test(s, "settings that are not given", test_defaults);
	return ob__tap_run();
}
