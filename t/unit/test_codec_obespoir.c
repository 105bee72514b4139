/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "modules/codec_obespoir/codec_obespoir.c"
#include "tap.h"

#define MAX_PACKET  4096
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

#define KEY_16 "0123456789abcdef"
#define KEY_24 KEY_16 "01234567"
#define KEY_32 "helloworldiloveyou~1234567890123"
#define TOKEN  "a token of 16 or more bytes"

static struct client plain = {.encode = PLAIN};

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
	size_t used = decode(NULL, &plain, data, len, true, MAX_PACKET, &out);
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
	CU_ASSERT_EQUAL(decode(NULL, &plain, data, len, true, MAX_PACKET, &out), 44);
	CU_ASSERT_EQUAL(out.id, 1000);
	CU_ASSERT_EQUAL_FATAL(out.len, strlen(body));
	CU_ASSERT_EQUAL(memcmp(out.data, body, out.len), 0);

	uint8_t back[64];

	CU_ASSERT_EQUAL(encode(NULL, &plain, &out, back, sizeof(back)), 44);
	CU_ASSERT_EQUAL(memcmp(back, data, 44), 0);
}

/* However a packet is cut, it is asked for until it is whole, and no longer. */
static void test_every_cut(void)
{
	uint8_t data[64];
	size_t len = unhex(login, data, sizeof(data));

	for (size_t cut = 1; cut < len; cut++) {
		ob_packet out = dirty_packet();

		CU_ASSERT_EQUAL(decode(NULL, &plain, data, cut, true, MAX_PACKET, &out), 0);
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
	CU_ASSERT_EQUAL(decode(NULL, &plain, data, 2 * len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL(out.id, 1000);
	CU_ASSERT_EQUAL(decode(NULL, &plain, data + len, len, true, MAX_PACKET, &out), len);
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
		if (encode(NULL, &plain, &packet, out, row->cap) != row->want) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", row->why);
		}
		CU_ASSERT_EQUAL(out[row->want], 0xee);
	}

	ob_packet packet = {.size = sizeof(packet), .id = 0x01020304, .data = body, .len = 5};
	static const uint8_t want[] = "\x11\0\0\0\x04\x03\x02\x01\0\0\0\0hello";

	CU_ASSERT_EQUAL(encode(NULL, &plain, &packet, out, sizeof(out)), 17);
	CU_ASSERT_EQUAL(memcmp(out, want, 17), 0);
}

/* ---- encode 1 ---- */

struct blocks_row {
	const char *why;
	const char *key;
	uint32_t id;
	const char *body;
	const char *hex;
};

/* By other implementations of AES than the one under test. */
static const struct blocks_row blocks_rows[] = {
	{"as obespoir's own clients do", KEY_32, 20000, "{\"user_id\":10}",
         "1c000000204e000000000000b7f9633e76442ed3e7d645f5aefb3bb8"},
	{"nothing is a block of padding", KEY_32, 1000, "",
         "1c000000e803000000000000d441970db067569de67f19d88e9832f1"},
	{"a whole block has another of padding", KEY_32, 1000, KEY_16,
         "2c000000e803000000000000b761263e10eba4097528ff845bda5f7cd441970db067569de67f19d88e9832f1"},
	{"a key of 16 bytes", KEY_16, 1000, "{}",
         "1c000000e803000000000000cb70ddc25a2a2045b4c13084418a9abb"},
	{"a key of 24 bytes", KEY_24, 1000, "{}",
         "1c000000e803000000000000ecdda9dd3db41f6c946bab08fbd25ce7"},
};

static struct client opened(uint32_t how, const char *token)
{
	const ob_codec_open info = {.size = sizeof(info), .encode = how, .token = token};
	struct client c = {.encode = PLAIN};

	CU_ASSERT_EQUAL(open_state(NULL, &c, &info), 0);
	CU_ASSERT_EQUAL(c.encode, how);
	return c;
}

static ob_packet packet_of(uint32_t id, const void *body, size_t len)
{
	return (ob_packet){.size = sizeof(ob_packet), .id = id, .data = body, .len = len};
}

static void check_blocks(const struct blocks_row *row)
{
	struct client c = opened(BLOCKS, row->key);
	uint8_t want[64];
	uint8_t wire[64];
	size_t len = unhex(row->hex, want, sizeof(want));
	size_t body = strlen(row->body);
	ob_packet out = packet_of(row->id, row->body, body);

	CU_ASSERT_EQUAL(encode(NULL, &c, &out, wire, len - 1), 0);
	bool good = encode(NULL, &c, &out, wire, body + OVERHEAD) == len &&
	            memcmp(wire, want, len) == 0;
	ob_packet back = dirty_packet();
	good = good && decode(NULL, &c, wire, len, true, MAX_PACKET, &back) == len &&
	       back.kind == OB_PACKET_MESSAGE && back.id == row->id && back.len == body &&
	       memcmp(back.data, row->body, body) == 0;
	if (!good) {
		CU_FAIL("a row failed");
		fprintf(stdout, "# row: %s\n", row->why);
	}
}

static void test_blocks(void)
{
	for (size_t i = 0; i < ROWS(blocks_rows); i++) {
		check_blocks(&blocks_rows[i]);
	}

	ob_codec_open info = {.size = sizeof(info), .encode = BLOCKS};
	struct client c = {.encode = PLAIN};

	CU_ASSERT_EQUAL(open_state(NULL, &c, &info), OB_E_INVAL);
	info.token = KEY_32 "x";
	CU_ASSERT_EQUAL(open_state(NULL, &c, &info), OB_E_INVAL);
}

struct bad_blocks_row {
	const char *why;
	size_t len;
	uint8_t at_end[3]; /* of what is encrypted: the bytes before the last two, these two */
	const char *word;  /* NULL: it is taken */
};

static const struct bad_blocks_row bad_blocks_rows[] = {
	{"no body", 0, {0}, "bad_blocks"},
	{"half a block", 8, {0}, "bad_blocks"},
	{"one byte more than a block", 17, {0}, "bad_blocks"},
	{"padding of 0 bytes", 16, {7, 7, 0}, "bad_padding"},
	{"padding of more than a block", 16, {17, 17, 17}, "bad_padding"},
	{"padding of 255 bytes", 32, {255, 255, 255}, "bad_padding"},
	{"a padding whose bytes differ", 16, {3, 2, 3}, "bad_padding"},
	{"whose first byte differs", 16, {2, 3, 3}, "bad_padding"},
	{"that of a body of 13 bytes", 16, {3, 3, 3}, NULL},
	{"of one byte", 16, {9, 9, 1}, NULL},
	{"a block of it", 16, {16, 16, 16}, NULL},
};

static void test_bad_blocks(void)
{
	for (size_t i = 0; i < ROWS(bad_blocks_rows); i++) {
		const struct bad_blocks_row *row = &bad_blocks_rows[i];
		struct client c = opened(BLOCKS, KEY_32);
		uint8_t wire[64];
		ob_packet out = dirty_packet();

		put32(wire, (uint32_t)(HEADER + row->len));
		memset(wire + 4, 0, 8);
		memset(wire + HEADER, row->at_end[0], row->len);
		if (row->len % OBESPOIR_BLOCK == 0 && row->len > 0) {
			memcpy(wire + HEADER + row->len - 2, row->at_end + 1, 2);
			CU_ASSERT_EQUAL(obespoir_blocks(&ciphers, c.in, c.key_len, true,
			                                wire + HEADER, row->len),
			                0);
		}
		size_t used = decode(NULL, &c, wire, HEADER + row->len, true, MAX_PACKET, &out);
		bool good = row->word == NULL
		                    ? used == HEADER + row->len && out.kind == OB_PACKET_MESSAGE &&
		                              out.len == row->len - row->at_end[2]
		                    : used == 0 && out.kind == OB_PACKET_CLOSE &&
		                              out.code == 1002 &&
		                              strcmp(out.kind_word, row->word) == 0;
		if (!good) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", row->why);
		}
	}
}

/* ---- encode 2 ---- */

struct vector {
	const char *token;
	const char *answer;
	const char *packets[4]; /* the client's first two, the server's first, and its last */
};

/* By Python's package cryptography: the client's secret is the bytes 0 to 31, the server's 32
 * to 63.
 */
static const char hello_hex[] =
	"25000000018f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";

static const struct vector vectors[] = {
	{NULL,
         "4500000001358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
         "f25a88876a144c373bf6e3c86b117c10b8b2cb63e093c884dd434d823b53934b",
         {"2a000000a1efc99e3f926699cd5f589c8d9462385588f3c416c3ebfa44c68a78b97a3ad6e73a1c27bcc4",
          "1c000000a3d80296415402e3fa74ee751eef38a95bbea3df774cecdc",
          "2800000076573363377d08ce0abeefe1fda7cc6438b00dade7ac6ba6805195d4146217b5b32e3deb",
          "1d000000f7ed5720ea03d5d9d33bbabba54ccbe33537f4f68baac22161"}},
	{TOKEN,
         "4500000001358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"
         "67c09179914123cac3b5c7d3754df7a359487ec7356f1106f7d7f1e429b1d1d7",
         {"2a00000095eace9a95787021d570402bc3ac9d6dce142467c4c6f9246bde719d2451b87790f0d46c4e0c",
          "1c000000484540e88557ea1269e5af4e8e18716270c500b16a27ec77",
          "280000000b8489a5d31cb74cdee1f8b15451262a0a70f955e5c43c3192c0612ba6290331a8f1b736",
          "1d000000b79a34b986ba501142169cdcd506038e0a1972794d9802af14"}},
};

/* A connection after the handshake of a vector. */
static struct client greeted(const struct vector *v)
{
	struct client c = opened(SEALED, v->token);
	uint8_t own[OBESPOIR_KEY];
	uint8_t hello[OBESPOIR_HELLO];
	uint8_t said[OBESPOIR_ANSWER];
	uint8_t want[OBESPOIR_ANSWER];
	struct obespoir_keys keys;

	for (size_t i = 0; i < sizeof(own); i++) {
		own[i] = (uint8_t)(32 + i);
	}
	CU_ASSERT_EQUAL(unhex(hello_hex, hello, sizeof(hello)), sizeof(hello));
	CU_ASSERT_EQUAL(unhex(v->answer, want, sizeof(want)), sizeof(want));
	CU_ASSERT_EQUAL(obespoir_shake_hands(&ciphers, c.in, own, hello, said, &keys), 0);
	CU_ASSERT_EQUAL(memcmp(said, want, sizeof(want)), 0);
	memcpy(c.in, keys.in, sizeof(c.in));
	memcpy(c.out, keys.out, sizeof(c.out));
	c.greeted = 1;
	return c;
}

static void takes(struct client *c, const char *hex, uint32_t id, const char *body)
{
	uint8_t wire[64];
	size_t len = unhex(hex, wire, sizeof(wire));
	ob_packet out = dirty_packet();

	CU_ASSERT_EQUAL(decode(NULL, c, wire, len, true, MAX_PACKET, &out), len);
	CU_ASSERT_EQUAL_FATAL(out.kind, OB_PACKET_MESSAGE);
	CU_ASSERT_EQUAL(out.id, id);
	CU_ASSERT(out.len == strlen(body) && memcmp(out.data, body, out.len) == 0);
}

static void gives(struct client *c, const char *hex, uint32_t id, const char *body)
{
	uint8_t want[64];
	uint8_t wire[64];
	size_t len = unhex(hex, want, sizeof(want));
	ob_packet packet = packet_of(id, body, strlen(body));

	CU_ASSERT_EQUAL(encode(NULL, c, &packet, wire, len - 1), 0);
	CU_ASSERT_EQUAL(encode(NULL, c, &packet, wire, len), len);
	CU_ASSERT_EQUAL(memcmp(wire, want, len), 0);
}

static void closes(struct client *c, uint8_t *wire, size_t len, int code, const char *word)
{
	ob_packet out = {.size = sizeof(out)};

	CU_ASSERT_EQUAL(decode(NULL, c, wire, len, true, MAX_PACKET, &out), 0);
	CU_ASSERT_EQUAL(out.kind, OB_PACKET_CLOSE);
	CU_ASSERT_EQUAL(out.code, code);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out.kind_word);
	CU_ASSERT_STRING_EQUAL(out.kind_word, word);
}

static void test_vectors(void)
{
	for (size_t i = 0; i < ROWS(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct client c = greeted(v);

		takes(&c, v->packets[0], 20000, "{\"user_id\":10}");
		takes(&c, v->packets[1], 1000, "");
		gives(&c, v->packets[2], 20000, "{\"code\":200}");
		CU_ASSERT(c.taken == 2 && c.given == 1);
		c.given = NUMBERS_MAX - 1;
		gives(&c, v->packets[3], 1, "x");
	}
}

/* Keys don't serve for ever: the client is closed, and is not told anything more. */
static void test_used_up(void)
{
	uint8_t wire[64];
	size_t len = unhex(vectors[0].packets[0], wire, sizeof(wire));
	struct client c = greeted(&vectors[0]);
	ob_packet packet = packet_of(1, "x", 1);

	c.given = NUMBERS_MAX;
	CU_ASSERT_EQUAL(encode(NULL, &c, &packet, wire + len, sizeof(wire) - len), 0);
	closes(&c, wire, len, 1012, "used_up");
	c.given = 0;
	c.taken = NUMBERS_MAX;
	closes(&c, wire, len, 1012, "used_up");
}

/* Whatever is changed: the length, too, as far as it is one. */
static void test_tampered(void)
{
	for (size_t at = 0; at < 42; at++) {
		uint8_t wire[64];
		size_t len = unhex(vectors[1].packets[0], wire, sizeof(wire));
		struct client c = greeted(&vectors[1]);
		ob_packet out = {.size = sizeof(out)};

		CU_ASSERT_EQUAL(len, 42);
		wire[at] ^= 1;
		CU_ASSERT_EQUAL(decode(NULL, &c, wire, len, true, MAX_PACKET, &out), 0);
		if (at < LENGTH) { /* one more or less, or too many */
			CU_ASSERT(out.kind == OB_PACKET_NEED || out.code == 1009);
			wire[at] ^= 1;
			wire[0]--;
			closes(&c, wire, len, 1002, "bad_seal");
		} else {
			CU_ASSERT(out.kind == OB_PACKET_CLOSE && out.code == 1002);
			CU_ASSERT_STRING_EQUAL(out.kind_word, "bad_seal");
		}
		CU_ASSERT_EQUAL(c.taken, 0);
	}
}

static void test_order(void)
{
	uint8_t first[64];
	uint8_t again[64];
	uint8_t second[64];
	size_t first_len = unhex(vectors[0].packets[0], first, sizeof(first));
	size_t second_len = unhex(vectors[0].packets[1], second, sizeof(second));
	struct client c = greeted(&vectors[0]);
	ob_packet out = dirty_packet();

	memcpy(again, first, sizeof(again));
	closes(&c, second, second_len, 1002, "bad_seal");
	CU_ASSERT_EQUAL(decode(NULL, &c, first, first_len, true, MAX_PACKET, &out), first_len);
	closes(&c, again, first_len, 1002, "bad_seal");
	CU_ASSERT_EQUAL(unhex(vectors[0].packets[2], again, sizeof(again)), 40);
	closes(&c, again, 40, 1002, "bad_seal"); /* the server's own */
}

struct hello_row {
	const char *why;
	const char *hex;
	size_t need; /* or */
	const char *word;
};

static const struct hello_row hello_rows[] = {
	{"one byte", "25", 37, NULL},
	{"the length", "25000000", 37, NULL},
	{"the version", "2500000001", 37, NULL},
	{"a byte is missing",
         "25000000018f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e213828", 37, NULL},
	{"another length", "26000000", 0, "bad_hello"},
	{"a packet of encode 0", "2c000000e8030000", 0, "bad_hello"},
	{"version 0", "2500000000", 0, "bad_version"},
	{"version 2", "2500000002", 0, "bad_version"},
	/* the points of low order, and how else they can be written */
	{"key 0", "25000000010000000000000000000000000000000000000000000000000000000000000000", 0,
         "weak_key"},
	{"key 1", "25000000010100000000000000000000000000000000000000000000000000000000000000", 0,
         "weak_key"},
	{"order 8", "2500000001e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", 0,
         "weak_key"},
	{"order 8, the other",
         "25000000015f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157", 0,
         "weak_key"},
	{"p - 1", "2500000001ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", 0,
         "weak_key"},
	{"p", "2500000001edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", 0,
         "weak_key"},
	{"p + 1", "2500000001eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", 0,
         "weak_key"},
};

static void test_hellos(void)
{
	for (size_t i = 0; i < ROWS(hello_rows); i++) {
		const struct hello_row *row = &hello_rows[i];
		struct client c = opened(SEALED, TOKEN);
		uint8_t data[OBESPOIR_HELLO];
		size_t len = unhex(row->hex, data, sizeof(data));
		ob_packet out = {.size = sizeof(out)};
		size_t used = decode(NULL, &c, data, len, true, MAX_PACKET, &out);
		bool good = row->word == NULL ? out.kind == OB_PACKET_NEED && out.need == row->need
		                              : out.kind == OB_PACKET_CLOSE && out.code == 1002 &&
		                                        strcmp(out.kind_word, row->word) == 0;
		if (!good || used != 0 || c.greeted) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", row->why);
		}
	}
}

/* Nothing goes out before the handshake, and no two connections have the same keys. */
static void test_greeting(void)
{
	struct client c[2] = {opened(SEALED, NULL), opened(SEALED, NULL)};
	uint8_t said[2][OBESPOIR_ANSWER];
	uint8_t wire[64];
	ob_packet packet = packet_of(1, "x", 1);

	for (size_t i = 0; i < 2; i++) {
		uint8_t hello[OBESPOIR_HELLO + 5];
		ob_packet out = dirty_packet();

		CU_ASSERT_EQUAL(encode(NULL, &c[i], &packet, wire, sizeof(wire)), 0);
		CU_ASSERT_EQUAL(variant(NULL, &c[i]), OB_CODEC_NO_PUSH);
		CU_ASSERT_EQUAL(unhex(hello_hex, hello, sizeof(hello)), OBESPOIR_HELLO);
		CU_ASSERT_EQUAL(decode(NULL, &c[i], hello, sizeof(hello), true, MAX_PACKET, &out),
		                OBESPOIR_HELLO);
		CU_ASSERT_EQUAL(out.kind, OB_PACKET_ANSWER);
		CU_ASSERT_EQUAL_FATAL(out.len, OBESPOIR_ANSWER);
		memcpy(said[i], out.data, OBESPOIR_ANSWER);
		CU_ASSERT_EQUAL(variant(NULL, &c[i]), OB_CODEC_OWN);
		CU_ASSERT_EQUAL(encode(NULL, &c[i], &packet, wire, sizeof(wire)), OVERHEAD + 1);
		CU_ASSERT_NOT_EQUAL(memcmp(c[i].in, c[i].out, OBESPOIR_KEY), 0);
	}
	CU_ASSERT_NOT_EQUAL(memcmp(said[0], said[1], OBESPOIR_ANSWER), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(c[0].out, c[1].out, OBESPOIR_KEY), 0);
}

/* ---- the module ---- */

static void test_pushes(void)
{
	struct client keys[KNOWN_MAX + 1];
	uint32_t numbers[KNOWN_MAX + 1];

	CU_ASSERT_EQUAL(variant(NULL, &plain), 0);
	for (size_t i = 0; i < ROWS(keys); i++) {
		keys[i] = opened(BLOCKS, KEY_32);
		keys[i].in[0] = (uint8_t)i;
		numbers[i] = variant(NULL, &keys[i]);
		CU_ASSERT_NOT_EQUAL(numbers[i], 0);
		CU_ASSERT_EQUAL(variant(NULL, &keys[i]), numbers[i]);
	}
	struct client shorter = keys[KNOWN_MAX];
	shorter.key_len = 16;
	uint32_t other = variant(NULL, &shorter);
	uint32_t again = variant(NULL, &keys[0]); /* it was forgotten */
	for (size_t i = 0; i < ROWS(keys); i++) {
		CU_ASSERT_NOT_EQUAL(other, numbers[i]);
		CU_ASSERT_NOT_EQUAL(again, numbers[i]);
	}
}

struct conf_row {
	uint32_t encode;
	const char *token;
	bool conf;
	const char *refused; /* NULL: it is taken */
	const char *warned;  /* NULL: no */
};

static const struct conf_row conf_rows[] = {
	{0, NULL, false, NULL, NULL},
	{0, "any", false, NULL, NULL},
	{0, NULL, true, "no codec_conf", NULL},
	{1, NULL, false, "32 bytes", NULL},
	{1, "0123456789abcde", false, "32 bytes", NULL},
	{1, KEY_32 "x", false, "32 bytes", NULL},
	{1, KEY_16, false, NULL, "old clients only"},
	{1, KEY_24, false, NULL, "old clients only"},
	{1, KEY_32, false, NULL, "old clients only"},
	{2, "0123456789abcde", false, "at least 16 bytes", NULL},
	{2, "", false, "at least 16 bytes", NULL},
	{2, KEY_16, false, NULL, NULL},
	{2, NULL, false, NULL, "without a token"},
};

static void check_conf(ob_mock *m, const struct conf_row *row)
{
	ob_codec_open info = {.size = sizeof(info), .encode = row->encode, .token = row->token};
	ob_err err = {""};
	json_t *conf = row->conf ? json_object() : NULL;

	info.conf = conf;
	int rc = ob_mock_codec_check(m, "obespoir", &info, &err);
	json_decref(conf);
	bool good = row->refused == NULL ? rc == 0 : rc < 0 && strstr(err.text, row->refused);
	good = good && (row->warned == NULL ? ob_mock_log_at(m, 0) == NULL
	                                    : ob_mock_logged(m, row->warned));
	if (!good) {
		CU_FAIL("a row failed");
		fprintf(stdout, "# encode %u, token %s: %s\n", row->encode,
		        row->token != NULL ? row->token : "none", err.text);
	}
}

static void test_conf(void)
{
	obespoir_crypt_free(&ciphers); /* each mock makes and frees them */
	for (size_t i = 0; i < ROWS(conf_rows); i++) {
		ob_mock *m = ob_mock_new(&ob_module, NULL);

		CU_ASSERT_PTR_NOT_NULL_FATAL(m);
		CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
		check_conf(m, &conf_rows[i]);
		ob_mock_free(m);
	}
	CU_ASSERT_EQUAL(obespoir_crypt_make(&ciphers), 0);
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

	obespoir_crypt_free(&ciphers);
	CU_ASSERT_EQUAL(ob_module.start(&ctx, NULL), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(offered);
	CU_ASSERT_STRING_EQUAL(offered->name, "obespoir");
	CU_ASSERT_EQUAL(offered->flags, OB_CODEC_STREAM | OB_CODEC_BLANK);
	CU_ASSERT_EQUAL(offered->overhead, OVERHEAD);
	CU_ASSERT_EQUAL(offered->state_size, sizeof(struct client));
	CU_ASSERT_EQUAL(ob_module.selftest(&ctx), 0);
	ob_module.stop(&ctx);
	CU_ASSERT_EQUAL(obespoir_crypt_make(&ciphers), 0);
}

/* Connections from before there was encryption go on. */
static void test_migrate(void)
{
	struct client c = {.encode = PLAIN};

	CU_ASSERT_EQUAL(migrate(NULL, STATE_BEFORE, NULL, &c), 0);
	CU_ASSERT_EQUAL(memcmp(&c, &plain, sizeof(c)), 0);
	struct client old = {.encode = BLOCKS, .key_len = 16, .in = {7}};
	CU_ASSERT_EQUAL(migrate(NULL, STATE_OWN, &old, &c), 0);
	CU_ASSERT_EQUAL(memcmp(&c, &old, sizeof(c)), 0);
	CU_ASSERT(migrate(NULL, STATE_VER + 1, &plain, &c) < 0);
}

int main(void)
{
	CU_initialize_registry();
	if (obespoir_crypt_make(&ciphers) != 0) {
		return 1;
	}

	CU_pSuite s = CU_add_suite("codec_obespoir", NULL, NULL);

	CU_add_test(s, "every kind of packet and length", test_rows);
	CU_add_test(s, "a real login, and back to the same bytes", test_real_login);
	CU_add_test(s, "a packet cut anywhere", test_every_cut);
	CU_add_test(s, "two packets in one", test_two_in_one);
	CU_add_test(s, "encoding keeps to its room", test_encode);
	CU_add_test(s, "encode 1: packets of other implementations", test_blocks);
	CU_add_test(s, "encode 1: blocks and paddings that are none", test_bad_blocks);
	CU_add_test(s, "encode 2: handshakes and packets of another implementation", test_vectors);
	CU_add_test(s, "encode 2: keys that have served enough", test_used_up);
	CU_add_test(s, "encode 2: a changed byte", test_tampered);
	CU_add_test(s, "encode 2: packets repeated, exchanged, reflected", test_order);
	CU_add_test(s, "encode 2: first packets that are none", test_hellos);
	CU_add_test(s, "encode 2: a handshake, and nothing before it", test_greeting);
	CU_add_test(s, "who shares a push", test_pushes);
	CU_add_test(s, "what a listener may be configured with", test_conf);
	CU_add_test(s, "the module offers it", test_module);
	CU_add_test(s, "states of the version before", test_migrate);

	int rc = ob__tap_run();

	obespoir_crypt_free(&ciphers);
	return rc;
}
