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
	"{\"head\":[{\"length\":4},{\"code\":4}],\"resume\":1}",
	"{\"head\":[{\"length\":4},{\"code\":4}],\"resume\":{\"hello\":1,\"seen\":2}}",
	"{\"head\":[{\"length\":4},{\"code\":4}],"
	"\"resume\":{\"hello\":1,\"seen\":1,\"welcome\":3}}",
	"{\"head\":[{\"length\":4},{\"code\":4}],"
	"\"resume\":{\"hello\":0,\"seen\":1,\"welcome\":3}}",
	"{\"head\":[{\"length\":4},{\"code\":1}],"
	"\"resume\":{\"hello\":1,\"seen\":2,\"welcome\":256}}",
	"{\"head\":[{\"length\":4},{\"code\":4}],"
	"\"resume\":{\"hello\":2147483648,\"seen\":1,\"welcome\":3}}",
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

/* ---- clients that come back ---- */

#define RESUMES                                            \
	"{'endian':'%s','head':[{'length':2},{'code':2}]," \
	"'resume':{'hello':258,'seen':259,'welcome':258}}"
#define TOKEN "746f6b656e" /* "token" */

static void resumes(const char *endian, struct format *f)
{
	char conf[160];

	snprintf(conf, sizeof(conf), RESUMES, endian);
	format_of(conf, f);
}

struct hello_row {
	const char *packet;
	int kind;
	uint64_t cookie;
	size_t len; /* of the token */
};

static const struct hello_row hello_rows[] = {
	{"00000102", OB_PACKET_HELLO, 0, 0},
	{"000d01020000000000000111" TOKEN, OB_PACKET_HELLO, 273, 5},
	{"000901020000000000000000"
         "00",
         OB_PACKET_HELLO, 0, 1},
	{"000801030102030405060708", OB_PACKET_SEEN, UINT64_C(0x0102030405060708), 0},
	{"000801020000000000000000", OB_PACKET_CLOSE, 0, 0},
	{"0001010200", OB_PACKET_CLOSE, 0, 0},
	{"00000103", OB_PACKET_CLOSE, 0, 0},
	{"00070103"
         "00000000000000",
         OB_PACKET_CLOSE, 0, 0},
	{"00090103"
         "000000000000000000",
         OB_PACKET_CLOSE, 0, 0},
	{"00000104", OB_PACKET_MESSAGE, 0, 0},
};

static void test_hellos(void)
{
	struct format f;

	resumes("big", &f);
	for (size_t i = 0; i < sizeof(hello_rows) / sizeof(hello_rows[0]); i++) {
		const struct hello_row *row = &hello_rows[i];
		uint8_t wire[64];
		size_t len = unhex(row->packet, wire, sizeof(wire));
		ob_packet out = {.size = sizeof(out)};
		size_t n = decode(NULL, &f, wire, len, true, MAX_PACKET, &out);

		CU_ASSERT_EQUAL(out.kind, row->kind);
		CU_ASSERT_EQUAL(n, row->kind == OB_PACKET_CLOSE ? 0 : len);
		if (row->kind == OB_PACKET_CLOSE) {
			CU_ASSERT_STRING_EQUAL(out.kind_word, "bad_hello");
			continue;
		}
		CU_ASSERT_EQUAL(out.cookie, row->cookie);
		CU_ASSERT_EQUAL(out.len, row->len);
		CU_ASSERT(row->len != 5 || memcmp(out.data, "token", 5) == 0);
	}
	resumes("little", &f);
	uint8_t wire[16];
	size_t len = unhex("080003010807060504030201", wire, sizeof(wire));
	ob_packet out = {.size = sizeof(out)};
	CU_ASSERT_EQUAL(decode(NULL, &f, wire, len, true, MAX_PACKET, &out), len);
	CU_ASSERT(out.kind == OB_PACKET_SEEN && out.cookie == UINT64_C(0x0102030405060708));
}

static void test_welcome(void)
{
	static const char *const want[] = {
		"001901020000000000000001020374"
		"6f6b"
		"036e5f31"
		"07657870697265"
		"64",
		"0012010201000000000000010203746f6b036e5f3100",
		"120002010102010000000000000"
		"3746f6b036e5f3100",
	};
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_WELCOME,
		.status = OB_E_GONE,
		.reason = "expired",
		.cookie = 258,
		.name = "n_1",
		.name_len = 3,
		.data = (const uint8_t *)"tok",
		.len = 3,
	};
	struct format f;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		uint8_t wire[64];
		uint8_t made[64];
		size_t len = unhex(want[i], wire, sizeof(wire));

		resumes(i == 2 ? "little" : "big", &f);
		p.status = i == 0 ? OB_E_GONE : OB_OK;
		CU_ASSERT_EQUAL(encode(NULL, &f, &p, made, 8), len); /* so much is needed */
		CU_ASSERT_EQUAL_FATAL(encode(NULL, &f, &p, made, len), len);
		CU_ASSERT_EQUAL(memcmp(made, wire, len), 0);
	}
}

/* It is a choice of the listener's, and the host hears of it. */
static void test_resume_off(void)
{
	struct format f;
	struct format kept;
	uint8_t wire[] = {0, 0, 1, 2};
	ob_packet out = {.size = sizeof(out)};
	uint32_t no_hello = 7;
	json_t *conf = json_loads("{\"head\":[{\"length\":2},{\"code\":2}]}", 0, NULL);
	ob_codec_open info = {.size = sizeof(info), .conf = conf, .no_hello = &no_hello};

	CU_ASSERT_EQUAL(open_state(NULL, &f, &info), 0);
	CU_ASSERT_EQUAL(no_hello, 1);
	CU_ASSERT_EQUAL(decode(NULL, &f, wire, 4, true, MAX_PACKET, &out), 4);
	CU_ASSERT_EQUAL(out.kind, OB_PACKET_MESSAGE);
	json_object_set_new(conf, "resume",
	                    json_pack("{s:i, s:i, s:i}", "hello", 1, "seen", 2, "welcome", 3));
	CU_ASSERT_EQUAL(open_state(NULL, &f, &info), 0);
	CU_ASSERT_EQUAL(no_hello, 0);
	json_decref(conf);
	memset(&kept, 0, sizeof(kept));
	CU_ASSERT_EQUAL(migrate(NULL, 1, &f, &kept), 0);
	CU_ASSERT(kept.code.size == 2 && kept.resumes == 0);
	CU_ASSERT_NOT_EQUAL(migrate(NULL, 3, &f, &kept), 0);
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
	CU_add_test(s, "who comes back", test_hellos);
	CU_add_test(s, "what it is told", test_welcome);
	CU_add_test(s, "nobody does without a declaration of that", test_resume_off);
	CU_add_test(s, "selftest", test_selftest);
	return ob__tap_run();
}
