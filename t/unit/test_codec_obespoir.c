/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/codec_obespoir/codec_obespoir.c"
#include "tap.h"

#define MAX_PACKET 4096

/* A login as a real client sent it, 44 bytes. */
static const char login[] = "2c000000e803000000000000"
			    "7b226e616d65223a226a616d6f6e222c22706173737764223a2274657374227d";

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

static ob_packet dirty_packet(void)
{
	ob_packet packet;

	memset(&packet, 0xa5, sizeof(packet));
	packet.size = sizeof(packet);
	return packet;
}

struct decode_row {
	const char *why;
	const char *hex;
	int kind;
	size_t used;
	size_t need;
	uint32_t id;
	size_t len;
	uint16_t code;
};

static const struct decode_row decode_rows[] = {
	{"one byte: the header first", "2c", OB_PACKET_NEED, 0, 12, 0, 0, 0},
	{"three bytes: the length isn't known yet", "2c0000", OB_PACKET_NEED, 0, 12, 0, 0, 0},
	{"four bytes: the length is known", "2c000000", OB_PACKET_NEED, 0, 44, 0, 0, 0},
	{"a header, no body yet", "2c000000e803000000000000", OB_PACKET_NEED, 0, 44, 0, 0, 0},
	{"a header is a whole packet", "0c0000001027000000000000", OB_PACKET_MESSAGE, 12, 0, 10000,
         0, 0},
	{"one byte short", "0e000000102700000000000041", OB_PACKET_NEED, 0, 14, 0, 0, 0},
	{"exact", "0d000000102700000000000041", OB_PACKET_MESSAGE, 13, 0, 10000, 1, 0},
	{"what follows stays", "0d00000010270000000000004142", OB_PACKET_MESSAGE, 13, 0, 10000, 1,
         0},
	{"any version is taken", "0c00000010270000ffffffff", OB_PACKET_MESSAGE, 12, 0, 10000, 0, 0},
	{"id 0 is the host's to refuse", "0c0000000000000000000000", OB_PACKET_MESSAGE, 12, 0, 0, 0,
         0},
	{"a negative id too", "0c000000ffffffff00000000", OB_PACKET_MESSAGE, 12, 0, 0xffffffffu, 0,
         0},
	{"length 0", "000000001027000000000000", OB_PACKET_CLOSE, 0, 0, 0, 0, 1002},
	{"length 11", "0b0000001027000000000000", OB_PACKET_CLOSE, 0, 0, 0, 0, 1002},
	{"length -1", "ffffffff1027000000000000", OB_PACKET_CLOSE, 0, 0, 0, 0, 1002},
	{"length -2^31", "000000801027000000000000", OB_PACKET_CLOSE, 0, 0, 0, 0, 1002},
	{"a bad length is judged with its fourth byte", "0b000000", OB_PACKET_CLOSE, 0, 0, 0, 0,
         1002},
	{"the longest", "00100000", OB_PACKET_NEED, 0, MAX_PACKET, 0, 0, 0},
	{"one more", "01100000", OB_PACKET_CLOSE, 0, 0, 0, 0, 1009},
	{"length 2^31-1", "ffffff7f", OB_PACKET_CLOSE, 0, 0, 0, 0, 1009},
};

static void check_row(const struct decode_row *row)
{
	uint8_t data[64];
	size_t len = unhex(row->hex, data, sizeof(data));
	ob_packet out = dirty_packet();
	size_t used = decode(NULL, NULL, data, len, true, MAX_PACKET, &out);
	bool good = used == row->used && out.kind == row->kind;

	if (row->kind == OB_PACKET_MESSAGE) {
		good = good && out.id == row->id && out.len == row->len && out.data == data + 12 &&
		       out.one_way == 0 && out.cookie == 0;
	} else if (row->kind == OB_PACKET_NEED) {
		good = good && out.need == row->need;
	} else {
		good = good && out.code == row->code && out.reason && *out.reason;
	}
	if (!good) {
		CU_FAIL("a row failed");
		fprintf(stdout, "# row: %s\n", row->why);
	}
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(decode_rows) / sizeof(decode_rows[0]); i++) {
		check_row(&decode_rows[i]);
	}
	CU_PASS("rows");
}

static void test_real_login(void)
{
	uint8_t data[64];
	size_t len = unhex(login, data, sizeof(data));
	ob_packet out = dirty_packet();
	const char *body = "{\"name\":\"jamon\",\"passwd\":\"test\"}";

	CU_ASSERT_EQUAL(len, 44);
	CU_ASSERT_EQUAL(decode(NULL, NULL, data, len, true, MAX_PACKET, &out), 44);
	CU_ASSERT_EQUAL(out.id, 1000);
	CU_ASSERT_EQUAL_FATAL(out.len, strlen(body));
	CU_ASSERT_EQUAL(memcmp(out.data, body, out.len), 0);

	uint8_t back[64];

	CU_ASSERT_EQUAL(encode(NULL, NULL, &out, back, sizeof(back)), 44);
	CU_ASSERT_EQUAL(memcmp(back, data, 44), 0);
}

/* However a packet is cut, it is asked for until it is whole, and no longer. */
static void test_every_cut(void)
{
	uint8_t data[64];
	size_t len = unhex(login, data, sizeof(data));

	for (size_t cut = 1; cut < len; cut++) {
		ob_packet out = dirty_packet();

		CU_ASSERT_EQUAL(decode(NULL, NULL, data, cut, true, MAX_PACKET, &out), 0);
		CU_ASSERT_EQUAL(out.kind, OB_PACKET_NEED);
		CU_ASSERT_EQUAL(out.need, cut < 4 ? 12 : len);
		CU_ASSERT(out.need > cut);
	}
}

static void test_two_in_one(void)
{
	uint8_t data[128];
	size_t len = unhex(login, data, sizeof(data));
	ob_packet out = dirty_packet();

	memcpy(data + len, data, len);
	data[len + 5] = 0x2a; /* another id */
	CU_ASSERT_EQUAL(decode(NULL, NULL, data, 2 * len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL(out.id, 1000);
	CU_ASSERT_EQUAL(decode(NULL, NULL, data + len, len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL(out.id, 0x2ae8);
	CU_ASSERT(out.data == data + len + 12);
}

struct encode_row {
	const char *why;
	size_t len;
	size_t cap;
	size_t want;
};

static const struct encode_row encode_rows[] = {
	{"an empty payload", 0, 12, 12},
	{"no room for a header", 0, 11, 0},
	{"room to the byte", 5, 17, 17},
	{"one byte short", 5, 16, 0},
	{"a length that isn't an int32", 0x7fffffff, SIZE_MAX, 0},
	{"a length that would wrap", SIZE_MAX, SIZE_MAX, 0},
};

static void test_encode(void)
{
	static const uint8_t body[] = "hello";
	uint8_t out[32];

	for (size_t i = 0; i < sizeof(encode_rows) / sizeof(encode_rows[0]); i++) {
		const struct encode_row *row = &encode_rows[i];
		ob_packet packet = {.size = sizeof(packet), .id = 0x01020304, .data = body};

		packet.len = row->len;
		packet.status = OB_E_APP; /* the body says it, the packet has no place for it */
		memset(out, 0xee, sizeof(out));
		if (encode(NULL, NULL, &packet, out, row->cap) != row->want) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", row->why);
		}
		CU_ASSERT_EQUAL(out[row->want], 0xee);
	}

	ob_packet packet = {.size = sizeof(packet), .id = 0x01020304, .data = body, .len = 5};
	static const uint8_t want[] = "\x11\0\0\0\x04\x03\x02\x01\0\0\0\0hello";

	CU_ASSERT_EQUAL(encode(NULL, NULL, &packet, out, sizeof(out)), 17);
	CU_ASSERT_EQUAL(memcmp(out, want, 17), 0);
}

static const ob_codec *offered;

static int take_codec(ob_ctx *ctx, const ob_codec *c)
{
	offered = c;
	return 0;
}

static void test_module(void)
{
	const ob_api api = {.size = sizeof(api), .on_codec = take_codec};
	ob_ctx ctx = {.api = &api};

	CU_ASSERT_EQUAL(ob_module.start(&ctx, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(offered);
	CU_ASSERT_STRING_EQUAL(offered->name, "obespoir");
	CU_ASSERT_EQUAL(offered->flags, OB_CODEC_STREAM);
	CU_ASSERT_EQUAL(offered->overhead, 12);
	CU_ASSERT_EQUAL(offered->state_size, 0);
	CU_ASSERT_EQUAL(ob_module.selftest(&ctx), 0);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("codec_obespoir", NULL, NULL);

	CU_add_test(s, "every kind of packet and length", test_rows);
	CU_add_test(s, "a real login, and back to the same bytes", test_real_login);
	CU_add_test(s, "a packet cut anywhere", test_every_cut);
	CU_add_test(s, "two packets in one", test_two_in_one);
	CU_add_test(s, "encoding keeps to its room", test_encode);
	CU_add_test(s, "the module offers it", test_module);
	return ob__tap_run();
}
