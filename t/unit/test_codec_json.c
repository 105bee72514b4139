/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The codec json: what is taken for a message, what closes a client and how it is counted, and what
 * is written; by the mock host, which checks a codec's contract. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/mock.h>

#include "modules/codec_json/codec_json.c"
#include "modules/codec_json/scan.c"
#include "tap.h"

#define MAX_MESSAGE 4096

static ob_mock *m;
static struct state state;

static void begin(const char *transport)
{
	ob_codec_open info = {.transport = transport};

	m = ob_mock_new(&ob_module, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_start(m), 0);
	memset(&state, 0, sizeof(state));
	CU_ASSERT_EQUAL(ob_mock_codec_open(m, "json", &state, &info), 0);
}

static void end(void)
{
	ob_mock_free(m);
}

/* A copy on the heap without a byte behind it, so that a sanitizer sees who reads on. */
static uint8_t *exact(const char *text, size_t len)
{
	uint8_t *bytes = malloc(len > 0 ? len : 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	memcpy(bytes, text, len);
	return bytes;
}

struct row {
	const char *text;
	int kind;
	uint32_t id;
	const char *name;
	const char *data; /* NULL: none */
	int64_t seq;      /* -1: none */
	uint32_t one_way;
};

static const struct row taken[] = {
	{"{\"id\":1}", OB_PACKET_MESSAGE, 1, NULL, NULL, -1, 0},
	{" { \"id\" : 2147483647 , \"data\" : {} } ", OB_PACKET_MESSAGE, 2147483647, NULL, "{}", -1,
         0},
	{"{\"data\":[1, {\"a\":\"}\"}],\"seq\":0,\"id\":7}", OB_PACKET_MESSAGE, 7, NULL,
         "[1, {\"a\":\"}\"}]", 0, 0},
	{"{\"name\":\"chat.send\",\"data\":\"x\"}", OB_PACKET_MESSAGE, 0, "chat.send", "\"x\"", -1,
         0},
	{"{\"name\":\"\\u0061\\\"\\u00e9\\ud83d\\ude00\\/\",\"seq\":9007199254740991}",
         OB_PACKET_MESSAGE, 0, "a\"\xc3\xa9\xf0\x9f\x98\x80/", NULL, 9007199254740991, 0},
	{"{\"id\":3,\"one_way\":true,\"data\":null}", OB_PACKET_MESSAGE, 3, NULL, "null", -1, 1},
	{"{\"id\":3,\"one_way\":false,\"other\":[[]],\"data\":-0.5e+3}", OB_PACKET_MESSAGE, 3, NULL,
         "-0.5e+3", -1, 0},
	{"   ", OB_PACKET_SKIP, 0, NULL, NULL, -1, 0},
};

static void check_taken(const struct row *r, const ob_packet *p)
{
	bool same = p->kind == r->kind && p->id == r->id && p->one_way == r->one_way;

	if (r->kind == OB_PACKET_MESSAGE) {
		same = same && p->cookie == (uint64_t)(r->seq + 1);
		same = same &&
		       (r->name == NULL ? p->name == NULL
		                        : p->name_len == strlen(r->name) &&
		                                  memcmp(p->name, r->name, p->name_len) == 0);
		same = same && (r->data == NULL ? p->len == 0
		                                : p->len == strlen(r->data) &&
		                                          memcmp(p->data, r->data, p->len) == 0);
	}
	CU_ASSERT_TRUE(same);
	if (!same) {
		printf("# %s\n", r->text);
	}
}

static void test_taken(void)
{
	char line[256];
	ob_packet p;

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		const struct row *r = &taken[i];
		size_t len = strlen(r->text);
		begin("ws");
		uint8_t *bytes = exact(r->text, len);
		CU_ASSERT_EQUAL(
			ob_mock_decode(m, "json", &state, bytes, len, true, MAX_MESSAGE, &p),
			(ssize_t)len);
		check_taken(r, &p);
		free(bytes);
		/* in fragments the host waits for the whole */
		bytes = exact(r->text, len);
		CU_ASSERT_EQUAL(
			ob_mock_decode(m, "json", &state, bytes, len, false, MAX_MESSAGE, &p), 0);
		CU_ASSERT(p.kind == OB_PACKET_NEED && p.need == len + 1);
		free(bytes);
		end();

		begin("tcp"); /* two lines, the second incomplete */
		snprintf(line, sizeof(line), "%s\r\n{", r->text);
		bytes = exact(line, len + 3);
		CU_ASSERT_EQUAL(
			ob_mock_decode(m, "json", &state, bytes, len, false, MAX_MESSAGE, &p), 0);
		CU_ASSERT_EQUAL(p.kind, OB_PACKET_NEED);
		CU_ASSERT_EQUAL(
			ob_mock_decode(m, "json", &state, bytes, len + 3, false, MAX_MESSAGE, &p),
			(ssize_t)len + 2);
		check_taken(r, &p);
		free(bytes);
		end();
	}
}

static void test_pings(void)
{
	static const char *const transports[] = {"ws", "tls"};
	static const char *const pongs[] = {"{\"pong\":17}", "{\"pong\":17}\n"};
	ob_packet p;

	for (int i = 0; i < 2; i++) {
		begin(transports[i]);
		uint8_t *bytes = exact("{\"ping\":17}\n", 12);
		CU_ASSERT_EQUAL(ob_mock_decode(m, "json", &state, bytes, 12, i == 0, 100, &p), 12);
		CU_ASSERT_EQUAL(p.kind, OB_PACKET_ANSWER);
		CU_ASSERT_EQUAL(p.len, strlen(pongs[i]));
		CU_ASSERT_EQUAL(memcmp(p.data, pongs[i], p.len), 0);
		free(bytes);
		end();
	}
}

/* What closes a client: code, and the word it is counted under. */
static void test_refused(void)
{
	static const struct {
		const char *text;
		int code;
		const char *word;
	} rows[] = {
		{"hello", 1007, "bad_json"},
		{"{", 1007, "bad_json"},
		{"[]", 1007, "bad_json"},
		{"{\"id\":1}x", 1007, "bad_json"},
		{"{\"id\":1,}", 1007, "bad_json"},
		{"{\"id\":01}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":'a'}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":[1,]}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":[1}}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":{\"a\"}}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":nul}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":+1}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":1.}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":1e}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":\"\\x\"}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":\"\\ud800\"}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":\"\\udc00\"}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":\"\x01\"}", 1007, "bad_json"},
		{"{\"id\":1,\"data\":\"\xc3\"}", 1007, "bad_text"},
		{"{\"id\":1,\"data\":\"\xed\xa0\x80\"}", 1007, "bad_text"},
		{"{\"id\":1,\"data\":\"\xc0\xaf\"}", 1007, "bad_text"},
		{"{\"id\":1,\"data\":\"\xf4\x90\x80\x80\"}", 1007, "bad_text"},
		{"{}", 1002, "bad_message"},
		{"{\"data\":1}", 1002, "bad_message"},
		{"{\"id\":1,\"name\":\"a\"}", 1002, "bad_message"},
		{"{\"id\":1,\"id\":1}", 1002, "bad_message"},
		{"{\"id\":1,\"one_way\":1}", 1002, "bad_message"},
		{"{\"ping\":\"a\"}", 1002, "bad_message"},
		{"{\"ping\":-1}", 1002, "bad_message"},
		{"{\"ping\":1,\"id\":1}", 1002, "bad_message"},
		{"{\"id\":0}", 1002, "bad_id"},
		{"{\"id\":-1}", 1002, "bad_id"},
		{"{\"id\":2147483648}", 1002, "bad_id"},
		{"{\"id\":99999999999999999999}", 1002, "bad_id"},
		{"{\"id\":1.0}", 1002, "bad_id"},
		{"{\"id\":\"1\"}", 1002, "bad_id"},
		{"{\"id\":null}", 1002, "bad_id"},
		{"{\"name\":1}", 1002, "bad_name"},
		{"{\"name\":\"\"}", 1002, "bad_name"},
		{"{\"name\":\"a\\nb\"}", 1002, "bad_name"},
		{"{\"name\":\"a\\u0000b\"}", 1002, "bad_name"},
		{"{\"id\":1,\"seq\":-1}", 1002, "bad_seq"},
		{"{\"id\":1,\"seq\":9007199254740992}", 1002, "bad_seq"},
		{"{\"id\":1,\"seq\":\"1\"}", 1002, "bad_seq"},
	};
	ob_packet p;

	begin("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = strlen(rows[i].text);
		uint8_t *bytes = exact(rows[i].text, len);
		CU_ASSERT_EQUAL(
			ob_mock_decode(m, "json", &state, bytes, len, true, MAX_MESSAGE, &p), 0);
		bool same = p.kind == OB_PACKET_CLOSE && p.code == rows[i].code &&
		            p.reason != NULL && p.kind_word != NULL &&
		            strcmp(p.kind_word, rows[i].word) == 0;
		CU_ASSERT_TRUE(same);
		if (!same) {
			printf("# %s: %d %d %s\n", rows[i].text, p.kind, p.code,
			       p.kind_word != NULL ? p.kind_word : "");
		}
		free(bytes);
	}
	end();
}

static ob_packet decode_nested(int levels)
{
	char text[256] = "{\"id\":1,\"data\":";
	ob_packet p;

	for (int i = 0; i < levels; i++) {
		strcat(text, "[");
	}
	for (int i = 0; i < levels; i++) {
		strcat(text, "]");
	}
	strcat(text, "}");
	(void)ob_mock_decode(m, "json", &state, (uint8_t *)text, strlen(text), true, MAX_MESSAGE,
	                     &p);
	return p;
}

static void test_bounds(void)
{
	char text[400] = "{\"name\":\"";
	ob_packet p;

	begin("tcp");
	CU_ASSERT_EQUAL(ob_mock_decode(m, "json", &state, (uint8_t *)text, 9, false, 9, &p), 0);
	CU_ASSERT_EQUAL(p.kind, OB_PACKET_NEED);
	CU_ASSERT_EQUAL(ob_mock_decode(m, "json", &state, (uint8_t *)text, 9, false, 8, &p), 0);
	CU_ASSERT(p.kind == OB_PACKET_CLOSE && p.code == 1009);
	end();

	begin("ws");
	p = decode_nested(JSON_DEPTH_MAX - 1);
	CU_ASSERT_EQUAL(p.kind, OB_PACKET_MESSAGE);
	p = decode_nested(JSON_DEPTH_MAX);
	CU_ASSERT(p.kind == OB_PACKET_CLOSE && p.code == 1008);
	CU_ASSERT_STRING_EQUAL(p.kind_word, "too_deep");
	for (size_t len = OB_NAME_MAX; len <= OB_NAME_MAX + 1; len++) {
		memset(text + 9, 'n', len);
		strcpy(text + 9 + len, "\"}");
		(void)ob_mock_decode(m, "json", &state, (uint8_t *)text, strlen(text), true,
		                     MAX_MESSAGE, &p);
		CU_ASSERT_EQUAL(p.kind, len == OB_NAME_MAX ? OB_PACKET_MESSAGE : OB_PACKET_CLOSE);
	}
	end();
}

static bool encodes(ob_packet p, const char *data, const char *want)
{
	uint8_t out[2048];

	p.data = (const uint8_t *)data;
	p.len = data != NULL ? strlen(data) : 0;
	ssize_t len = ob_mock_encode(m, "json", &state, &p, out, p.len + OVERHEAD);
	bool same = len == (ssize_t)strlen(want) && memcmp(out, want, strlen(want)) == 0;

	if (!same) {
		printf("# got %.*s, expected %s\n", (int)len, (char *)out, want);
	}
	return same;
}

static void test_encode(void)
{
	ob_packet reply = {.kind = OB_PACKET_REPLY, .id = 7, .cookie = 4};
	ob_packet push = {.kind = OB_PACKET_PUSH, .id = 7};
	char name[OB_NAME_MAX];

	begin("ws");
	CU_ASSERT_TRUE(encodes(reply, "{\"a\": 1}",
	                       "{\"id\":7,\"seq\":3,\"code\":200,\"data\":{\"a\": 1}}"));
	CU_ASSERT_TRUE(encodes(reply, NULL, "{\"id\":7,\"seq\":3,\"code\":200,\"data\":null}"));
	reply.cookie = 0;
	reply.status = OB_E_NO_ROUTE;
	CU_ASSERT_TRUE(encodes(reply, "{\"code\":503}",
	                       "{\"id\":7,\"code\":503,\"data\":{\"code\":503}}"));
	/* what is not JSON is no answer, and no push */
	reply.status = OB_OK;
	CU_ASSERT_TRUE(encodes(reply, "\x01\x02",
	                       "{\"id\":7,\"code\":500,\"data\":{\"code\":500,\"error\":\"the "
	                       "answer is not JSON\"}}"));
	CU_ASSERT_TRUE(encodes(push, "hello", ""));
	CU_ASSERT_TRUE(encodes(push, "1,\"code\":200", ""));
	push.name = "a\"b\\c";
	push.name_len = 5;
	CU_ASSERT_TRUE(encodes(push, " [1,\n2] ",
	                       "{\"id\":7,\"name\":\"a\\\"b\\\\c\",\"data\": [1, 2] }"));
	memset(name, '"', sizeof(name));
	push.name = name;
	push.name_len = sizeof(name);
	uint8_t out[OVERHEAD + 1];
	push.data = (const uint8_t *)"1";
	push.len = 1;
	CU_ASSERT_EQUAL(ob_mock_encode(m, "json", &state, &push, out, sizeof(out)),
	                (ssize_t)(strlen("{\"id\":7,\"name\":\"\",\"data\":1}") + 2 * OB_NAME_MAX));
	end();

	begin("unix");
	reply.cookie = 1;
	CU_ASSERT_TRUE(encodes(reply, "1", "{\"id\":7,\"seq\":0,\"code\":200,\"data\":1}\n"));
	end();
}

static void test_close(void)
{
	static const struct {
		const char *reason;
		const char *want;
	} rows[] = {
		{"", "{\"close\":4003,\"reason\":\"\"}"},
		{"say \"bye\" \\", "{\"close\":4003,\"reason\":\"say \\\"bye\\\" \\\\\"}"},
		{"a\nb\xc3\xa9", "{\"close\":4003,\"reason\":\"a?b\xc3\xa9\"}"},
		{"\xff", "{\"close\":4003,\"reason\":\"\"}"},
	};
	uint8_t out[OB_CODEC_LAST_WORDS];
	char longest[600];

	begin("ws");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ssize_t len = ob_mock_codec_close(m, "json", &state, 4003, rows[i].reason, out,
		                                  sizeof(out));
		CU_ASSERT_EQUAL(len, (ssize_t)strlen(rows[i].want));
		CU_ASSERT_EQUAL(memcmp(out, rows[i].want, strlen(rows[i].want)), 0);
	}
	memset(longest, '"', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	CU_ASSERT_TRUE(ob_mock_codec_close(m, "json", &state, 4003, longest, out, sizeof(out)) > 0);
	end();
}

static void test_conf(void)
{
	ob_codec_open info = {.transport = "ws"};
	json_t *some = json_pack("{s:i}", "depth", 1);
	ob_err err;

	begin("ws");
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "json", &info, &err), 0);
	info.encode = 1;
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "json", &info, &err), OB_E_INVAL);
	info.encode = 0;
	info.conf = some;
	CU_ASSERT_EQUAL(ob_mock_codec_check(m, "json", &info, &err), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_module.selftest(ob_mock_ctx(m)), 0);
	json_decref(some);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec_json", NULL, NULL);
	CU_add_test(s, "messages", test_taken);
	CU_add_test(s, "pings", test_pings);
	CU_add_test(s, "what closes a client", test_refused);
	CU_add_test(s, "bounds", test_bounds);
	CU_add_test(s, "answers and pushes", test_encode);
	CU_add_test(s, "the last word", test_close);
	CU_add_test(s, "configuration", test_conf);
	return ob__tap_run();
}
