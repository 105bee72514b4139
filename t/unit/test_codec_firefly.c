/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/codec_firefly/codec_firefly.c"
#include "tap.h"

#define MAX_PACKET 4096

/* The login that firefly's own demo client sends, with the demo's heads. */
static const char login[] = "4e25263009000000000000002e00000065"
			    "7b2270617373776f7264223a226368656e6565222c22757365726e616d65223a22"
			    "6368656e6565227d0a";

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

static struct heads demo_heads(void)
{
	json_t *conf = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "HEAD_0", 78, "HEAD_1", 37,
	                         "HEAD_2", 38, "HEAD_3", 48, "protoVersion", 9, "serverVersion", 0);
	struct heads heads;
	ob_err err = {{0}};

	CU_ASSERT_EQUAL(compile(conf, &heads, &err), 0);
	json_decref(conf);
	return heads;
}

static void test_login(void)
{
	static const char body[] = "{\"password\":\"chenee\",\"username\":\"chenee\"}\n";
	struct heads heads = demo_heads();
	uint8_t wire[128];
	uint8_t made[128];
	size_t len = unhex(login, wire, sizeof(wire));
	ob_packet out = {.size = sizeof(out)};

	CU_ASSERT_EQUAL(len, 59);
	CU_ASSERT_EQUAL(decode(NULL, &heads, wire, len, true, MAX_PACKET, &out), 59);
	CU_ASSERT_EQUAL(out.kind, OB_PACKET_MESSAGE);
	CU_ASSERT_EQUAL(out.id, 101);
	CU_ASSERT(out.len == strlen(body) && memcmp(out.data, body, out.len) == 0);
	CU_ASSERT_EQUAL(encode(NULL, &heads, &out, made, sizeof(made)), 59);
	CU_ASSERT_EQUAL(memcmp(made, wire, 59), 0);
	for (size_t cut = 1; cut < len; cut++) {
		ob_packet part = {.size = sizeof(part)};
		CU_ASSERT_EQUAL(decode(NULL, &heads, wire, cut, true, MAX_PACKET, &part), 0);
		CU_ASSERT_EQUAL(part.kind, OB_PACKET_NEED);
		CU_ASSERT_EQUAL(part.need, cut < 13 ? 17 : 59);
	}
}

/* 100 bytes in all, as the answer that the demo's players knew. */
static void test_reply(void)
{
	static const char body[] = "{\"data\": {\"userId\": 1915, \"characterId\": 1000001, "
				   "\"hasRole\": true}, \"result\": true}";
	static const uint8_t want[] = {0x4e, 0x25, 0x26, 0x30, 9, 0, 0, 0,   0,
	                               0,    0,    0,    0x57, 0, 0, 0, 0x65};
	struct heads heads = demo_heads();
	uint8_t made[128];
	ob_packet p = {.size = sizeof(p), .kind = OB_PACKET_REPLY, .id = 101};

	p.data = (const uint8_t *)body;
	p.len = strlen(body);
	CU_ASSERT_EQUAL(encode(NULL, &heads, &p, made, sizeof(made)), 100);
	CU_ASSERT_EQUAL(memcmp(made, want, sizeof(want)), 0);
	CU_ASSERT_EQUAL(encode(NULL, &heads, &p, made, 100), 100);
	CU_ASSERT_EQUAL(encode(NULL, &heads, &p, made, 99), 0);
	CU_ASSERT_EQUAL(encode(NULL, &heads, &p, made, 16), 0);
}

/* Without any configuration all heads are 0, as in firefly. */
static void test_default(void)
{
	ob_codec_open info = {.size = sizeof(info)};
	struct heads heads;
	uint8_t wire[32];
	size_t len = unhex("0000000000000000000000000400000001", wire, sizeof(wire));
	ob_packet out = {.size = sizeof(out)};

	CU_ASSERT_EQUAL(open_state(NULL, &heads, &info), 0);
	CU_ASSERT_EQUAL(decode(NULL, &heads, wire, len, true, MAX_PACKET, &out), 17);
	CU_ASSERT(out.id == 1 && out.len == 0);
}

struct wrong_row {
	const char *why;
	const char *hex;
	uint16_t code;
	const char *word;
};

static const struct wrong_row wrong_rows[] = {
	{"the first byte", "00", 1002, "bad_magic"},
	{"the protocol's version", "4e25263008", 1002, "bad_magic"},
	{"the server's version", "4e252630090000000100", 1002, "bad_magic"},
	{"length 0", "4e252630090000000000000000", 1002, "bad_length"},
	{"length 3", "4e252630090000000000000003", 1002, "bad_length"},
	{"one more than the longest", "4e252630090000000000000ff4", 1009, NULL},
	{"four gigabytes", "4e2526300900000000ffffffff", 1009, NULL},
};

static void test_wrong(void)
{
	struct heads heads = demo_heads();

	for (size_t i = 0; i < sizeof(wrong_rows) / sizeof(wrong_rows[0]); i++) {
		const struct wrong_row *row = &wrong_rows[i];
		uint8_t data[32];
		size_t len = unhex(row->hex, data, sizeof(data));
		ob_packet out = {.size = sizeof(out)};
		CU_ASSERT_EQUAL(decode(NULL, &heads, data, len, true, MAX_PACKET, &out), 0);
		bool word = row->word == NULL ? out.kind_word == NULL
		                              : out.kind_word != NULL &&
		                                        strcmp(out.kind_word, row->word) == 0;
		if (out.kind != OB_PACKET_CLOSE || out.code != row->code || !word) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", row->why);
		}
	}
}

static void test_longest(void)
{
	struct heads heads = demo_heads();
	uint8_t data[32];
	size_t len = unhex("4e252630090000000000000ff3", data, sizeof(data));
	ob_packet out = {.size = sizeof(out)};

	CU_ASSERT_EQUAL(decode(NULL, &heads, data, len, true, MAX_PACKET, &out), 0);
	CU_ASSERT(out.kind == OB_PACKET_NEED && out.need == MAX_PACKET);
}

static void check_refused(json_t *conf, uint32_t encode_level)
{
	ob_codec_open info = {.size = sizeof(info), .conf = conf, .encode = encode_level};
	ob_err err = {{0}};

	CU_ASSERT_NOT_EQUAL(conf_check(NULL, &info, &err), 0);
	CU_ASSERT_NOT_EQUAL(err.text[0], '\0');
	json_decref(conf);
}

static void test_refused(void)
{
	check_refused(json_pack("{s:i}", "HEAD_0", 256), 0);
	check_refused(json_pack("{s:i}", "HEAD_3", -1), 0);
	check_refused(json_pack("{s:s}", "HEAD_1", "%"), 0);
	check_refused(json_pack("{s:i}", "protoVersion", 256), 0);
	check_refused(json_pack("{s:I}", "serverVersion", (json_int_t)0x100000000), 0);
	check_refused(json_pack("{}"), 1);
}

static void test_selftest(void)
{
	CU_ASSERT_EQUAL(selftest(NULL), 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec_firefly", NULL, NULL);
	CU_add_test(s, "the demo's login, cut anywhere", test_login);
	CU_add_test(s, "the demo's answer", test_reply);
	CU_add_test(s, "no configuration", test_default);
	CU_add_test(s, "wrong bytes are judged as soon as they are there", test_wrong);
	CU_add_test(s, "the longest packet", test_longest);
	CU_add_test(s, "configurations that make no sense", test_refused);
	CU_add_test(s, "selftest", test_selftest);
	return ob__tap_run();
}
