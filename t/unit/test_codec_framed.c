/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/codec_framed/codec_framed.c"
#include "tap.h"

#define MAX_PACKET 4096

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

static int try_compile(const char *text, struct format *f, ob_err *err)
{
	json_t *conf = json_loads(text, JSON_DECODE_ANY, NULL);
	int rc;

	CU_ASSERT_FATAL(conf != NULL);
	err->text[0] = '\0';
	rc = compile(conf, f, err);
	json_decref(conf);
	return rc;
}

/* ---- declarations ---- */

struct packet_row {
	const char *conf;
	const char *packet; /* id 258, body "hi", and request number 7 where there is one */
	uint64_t cookie;
};

static const struct packet_row packet_rows[] = {
	{"{'head':[{'length':2},{'code':2}]}", "000201026869", 0},
	{"{'head':[{'code':2},{'length':2}]}", "010200026869", 0},
	{"{'endian':'little','head':[{'length':4},{'code':4}]}", "02000000020100006869", 0},
	{"{'head':[{'length':4,'of':'all'},{'code':4}]}", "0000000a000001026869", 0},
	{"{'head':[{'length':4,'of':'rest'},{'code':4}]}", "00000006000001026869", 0},
	{"{'head':[{'length':1,'plus':-1},{'code':2}]}", "0101026869", 0},
	{"{'head':[{'length':3,'endian':'little'},{'code':3}]}", "0200000001026869", 0},
	{"{'head':[{'const':'4e 25'},{'length':1},{'skip':2},{'code':2}]}", "4e2502000001026869",
         0},
	{"{'head':[{'code':2},{'seq':2},{'length':1}]}", "01020007026869", 7},
	/* firefly's: its length counts the command */
	{"{'head':[{'const':'4e25263009'},{'const':'00000000'},{'length':4,'of':'rest'},"
         "{'code':4}]}",
         "4e25263009000000000000000600000102"
         "6869",
         0},
	/* obespoir's */
	{"{'endian':'little','head':[{'length':4,'of':'all'},{'code':4},{'skip':4}]}",
         "0e00000002010000000000006869", 0},
};

static void format_of(const char *quoted, struct format *f)
{
	char text[256];
	ob_err err;

	snprintf(text, sizeof(text), "%s", quoted);
	for (char *c = text; *c != '\0'; c++) {
		*c = *c == '\'' ? '"' : *c;
	}
	if (try_compile(text, f, &err) != 0) {
		CU_FAIL("a declaration was refused");
		fprintf(stdout, "# %s: %s\n", text, err.text);
	}
}

static void check_packet(const struct packet_row *row)
{
	uint8_t wire[64];
	uint8_t made[64];
	struct format f;
	size_t len = unhex(row->packet, wire, sizeof(wire));
	ob_packet out = {.size = sizeof(out)};

	format_of(row->conf, &f);
	CU_ASSERT_EQUAL(decode(NULL, &f, wire, len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL(out.kind, OB_PACKET_MESSAGE);
	CU_ASSERT_EQUAL(out.id, 258);
	CU_ASSERT_EQUAL(out.cookie, row->cookie);
	CU_ASSERT_EQUAL(out.one_way, 0);
	CU_ASSERT(out.len == 2 && memcmp(out.data, "hi", 2) == 0);
	out.kind = OB_PACKET_REPLY;
	CU_ASSERT_EQUAL(encode(NULL, &f, &out, made, sizeof(made)), len);
	CU_ASSERT_EQUAL(memcmp(made, wire, len), 0);
	for (size_t cut = 1; cut < len; cut++) {
		ob_packet part = {.size = sizeof(part)};
		CU_ASSERT_EQUAL(decode(NULL, &f, wire, cut, true, MAX_PACKET, &part), 0);
		CU_ASSERT_EQUAL(part.kind, OB_PACKET_NEED);
		CU_ASSERT(part.need > cut && part.need <= len);
	}
}

static void test_packets(void)
{
	for (size_t i = 0; i < sizeof(packet_rows) / sizeof(packet_rows[0]); i++) {
		check_packet(&packet_rows[i]);
	}
}

static const char *const refused[] = {
	"{}",
	"{\"head\":{}}",
	"{\"head\":[]}",
	"{\"head\":[{\"length\":4}]}",
	"{\"head\":[{\"code\":4}]}",
	"{\"head\":[{\"length\":0},{\"code\":4}]}",
	"{\"head\":[{\"length\":5},{\"code\":4}]}",
	"{\"head\":[{\"length\":4},{\"length\":4},{\"code\":4}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"code\":1}]}",
	"{\"head\":[{\"length\":4,\"of\":\"some\"},{\"code\":4}]}",
	"{\"head\":[{\"length\":4,\"of\":3},{\"code\":4}]}",
	"{\"head\":[{\"length\":4,\"plus\":\"1\"},{\"code\":4}]}",
	"{\"head\":[{\"length\":4,\"plus\":4097},{\"code\":4}]}",
	"{\"head\":[{\"length\":\"4\"},{\"code\":4}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"skip\":25}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"const\":\"4\"}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"const\":\"4g\"}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"const\":\"\"}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"const\":7}]}",
	"{\"head\":[{\"length\":4},{\"code\":4},7]}",
	"{\"head\":[{\"length\":4},{\"code\":4},{\"crc\":4}]}",
	"{\"endian\":\"pdp\",\"head\":[{\"length\":4},{\"code\":4}]}",
	"{\"head\":[{\"length\":4,\"endian\":\"middle\"},{\"code\":4}]}",
	"{\"head\":[{\"const\":\"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	"20\"},{\"length\":4},{\"code\":4}]}",
};

static void test_refused(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct format f;
		ob_err err;
		if (try_compile(refused[i], &f, &err) == 0 || err.text[0] == '\0') {
			CU_FAIL("a declaration that makes no sense was taken");
			fprintf(stdout, "# %s\n", refused[i]);
		}
	}
	CU_PASS("all refused");
}

static void test_no_conf(void)
{
	ob_codec_open info = {.size = sizeof(info)};
	struct format f;
	ob_err err = {{0}};

	CU_ASSERT_NOT_EQUAL(conf_check(NULL, &info, &err), 0);
	CU_ASSERT_NOT_EQUAL(open_state(NULL, &f, &info), 0);
	info.encode = 1;
	CU_ASSERT_NOT_EQUAL(conf_check(NULL, &info, &err), 0);
	CU_ASSERT(strstr(err.text, "encode") != NULL);
}

/* ---- what is wrong on the wire ---- */

struct wrong_row {
	const char *why;
	const char *hex;
	uint16_t code;
	const char *word;
};

#define WRONG_CONF "{'head':[{'const':'4e25'},{'length':4,'of':'all'},{'seq':1},{'code':4}]}"

static const struct wrong_row wrong_rows[] = {
	{"the first byte", "4f", 1002, "bad_magic"},
	{"the second", "4e26", 1002, "bad_magic"},
	{"a length below the head's", "4e250000000a", 1002, "bad_length"},
	{"one more than the longest", "4e2500001001", 1009, NULL},
	{"the longest there is", "4e25ffffffff", 1009, NULL},
};

static void test_wrong(void)
{
	struct format f;

	format_of(WRONG_CONF, &f);
	for (size_t i = 0; i < sizeof(wrong_rows) / sizeof(wrong_rows[0]); i++) {
		const struct wrong_row *row = &wrong_rows[i];
		uint8_t data[16];
		size_t len = unhex(row->hex, data, sizeof(data));
		ob_packet out = {.size = sizeof(out)};
		CU_ASSERT_EQUAL(decode(NULL, &f, data, len, true, MAX_PACKET, &out), 0);
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
	uint8_t data[] = {0x4e, 0x25, 0, 0, 0x10, 0};
	ob_packet out = {.size = sizeof(out)};
	struct format f;

	format_of(WRONG_CONF, &f);
	CU_ASSERT_EQUAL(decode(NULL, &f, data, sizeof(data), true, MAX_PACKET, &out), 0);
	CU_ASSERT(out.kind == OB_PACKET_NEED && out.need == MAX_PACKET);
}

/* A request number of 0 asks for no answer; a push has none. */
static void test_seq(void)
{
	uint8_t wire[32];
	size_t len = unhex("4e250000000b0000000001", wire, sizeof(wire));
	ob_packet out = {.size = sizeof(out)};
	struct format f;

	format_of(WRONG_CONF, &f);
	CU_ASSERT_EQUAL(decode(NULL, &f, wire, len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL(out.one_way, 1);

	ob_packet push = {.size = sizeof(push), .kind = OB_PACKET_PUSH, .id = 1, .cookie = 9};
	CU_ASSERT_EQUAL(encode(NULL, &f, &push, wire, sizeof(wire)), len);
	CU_ASSERT_EQUAL(wire[6], 0);
}

/* What the head has no room for can't be said. */
static void test_no_room(void)
{
	static const uint8_t body[300];
	uint8_t out[512];
	struct format f;
	ob_packet p = {.size = sizeof(p), .kind = OB_PACKET_PUSH, .id = 255, .data = body};

	format_of("{'head':[{'length':1},{'code':1}]}", &f);
	p.len = 255;
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, sizeof(out)), 257);
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, 257), 257);
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, 256), 0);
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, 1), 0);
	p.len = 256;
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, sizeof(out)), 0);
	p.len = 1;
	p.id = 256;
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, sizeof(out)), 0);
	format_of("{'head':[{'length':1,'plus':-2},{'code':1}]}", &f);
	p.id = 1;
	CU_ASSERT_EQUAL(encode(NULL, &f, &p, out, sizeof(out)), 0);
}

/* Connections of one format share what is written for all; no two formats ever do. */
static void test_variants(void)
{
	enum { COUNT = 3 * KNOWN_MAX };
	uint32_t numbers[COUNT];
	struct format f;
	struct format same;
	char text[64];

	for (int i = 0; i < COUNT; i++) {
		snprintf(text, sizeof(text), "{'head':[{'const':'%02x'},{'length':2},{'code':2}]}",
		         (unsigned)i);
		format_of(text, &f);
		format_of(text, &same);
		numbers[i] = variant(NULL, &f);
		CU_ASSERT_EQUAL(variant(NULL, &same), numbers[i]);
		CU_ASSERT_NOT_EQUAL(numbers[i], OB_CODEC_NO_PUSH);
		for (int j = 0; j < i; j++) {
			CU_ASSERT_NOT_EQUAL(numbers[j], numbers[i]);
		}
	}
	format_of("{'head':[{'const':'00'},{'length':2},{'code':2}]}", &f);
	for (int j = 0; j < COUNT; j++) { /* forgotten meanwhile */
		CU_ASSERT_NOT_EQUAL(variant(NULL, &f), numbers[j]);
	}
}

static void test_selftest(void)
{
	CU_ASSERT_EQUAL(selftest(NULL), 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec_framed", NULL, NULL);
	CU_add_test(s, "heads of all shapes, cut anywhere", test_packets);
	CU_add_test(s, "declarations that make no sense", test_refused);
	CU_add_test(s, "no declaration", test_no_conf);
	CU_add_test(s, "wrong bytes are judged as soon as they are there", test_wrong);
	CU_add_test(s, "the longest packet", test_longest);
	CU_add_test(s, "request numbers", test_seq);
	CU_add_test(s, "what the head has no room for", test_no_room);
	CU_add_test(s, "formats that are alike", test_variants);
	CU_add_test(s, "selftest", test_selftest);
	return ob__tap_run();
}
