/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The module codec_pomelo in a mock host: a connection's states, messages, heartbeats, the end. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of modules/codec_pomelo/codec_pomelo.c */

#define MAX         (1 << 20)
#define HELLO       "{\"sys\":{\"type\":\"t\",\"version\":\"1\"}}"
#define PLAIN       "{\"heartbeat\": 3}"
#define BEAT        "03000000"
#define ACK         "02000000"
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* With codes 1 echo, 2 sum, 3 onAdd, 4 onPlain. */
#define FULL                                                                       \
	"{\"heartbeat\": 3, \"handlers\": [\"a.h.sum\", \"a.h.echo\"], "           \
	"\"dictionary\": [\"onAdd\", \"onPlain\"], \"protos\": {\"server\": {"     \
	"\"onAdd\": {\"required string a\": 1, \"required string b\": 2}, "        \
	"\"a.h.sum\": {\"optional int32 code\": 1, \"optional uInt32 sum\": 2}}, " \
	"\"client\": {\"a.h.sum\": {\"repeated uInt32 n\": 1, \"optional string s\": 2}}}}"

static ob_mock *m;
static const ob_codec *codec;
static uint8_t state[64];
static ob_packet got;
static uint8_t wire[1 << 17];
static size_t wire_len;

static void begin(const char *conf)
{
	json_t *json = json_loads(conf, 0, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(json);
	m = ob_mock_new(&ob_module, json);
	json_decref(json);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	if (ob_mock_begin(m) != 0) {
		fprintf(stdout, "# %s\n", ob_mock_error(m));
		CU_FAIL_FATAL("begin");
	}
	codec = ob_mock_codec(m, "pomelo");
	CU_ASSERT_PTR_NOT_NULL_FATAL(codec);
	CU_ASSERT_FATAL(codec->state_size <= sizeof(state));
	memset(state, 0, sizeof(state));
}

static void end(void)
{
	ob_mock_free(m);
	m = NULL;
}

/* ---- what goes in ---- */

static void unhex(const char *text)
{
	wire_len = strlen(text) / 2;
	CU_ASSERT_FATAL(wire_len <= sizeof(wire));
	for (size_t i = 0; i < wire_len; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		wire[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
}

/* Decodes what is in `wire`; the kind of what came out. */
static int take(void)
{
	ssize_t n = ob_mock_decode(m, "pomelo", state, wire, wire_len, true, MAX, &got);

	if (n < 0) {
		fprintf(stdout, "# %s\n", ob_mock_error(m));
		CU_FAIL("decode");
		return -1;
	}
	return got.kind;
}

static int take_hex(const char *hex)
{
	unhex(hex);
	return take();
}

static int take_package(int type, const void *body, size_t len)
{
	wire_len = 4 + len;
	CU_ASSERT_FATAL(wire_len <= sizeof(wire));
	wire[0] = (uint8_t)type;
	wire[1] = (uint8_t)(len >> 16);
	wire[2] = (uint8_t)(len >> 8);
	wire[3] = (uint8_t)len;
	if (len > 0) {
		memcpy(wire + 4, body, len);
	}
	return take();
}

static int take_message(const char *head_hex, const char *body)
{
	uint8_t message[512];

	unhex(head_hex);

	size_t head = wire_len;

	memcpy(message, wire, head);
	memcpy(message + head, body, strlen(body));
	return take_package(4, message, head + strlen(body));
}

/* ---- what comes out ---- */

static bool answered(const char *hex)
{
	uint8_t data[256];
	size_t len = got.len;

	CU_ASSERT_FATAL(len <= sizeof(data));
	memcpy(data, got.data, len);
	unhex(hex);
	return got.kind == OB_PACKET_ANSWER && len == wire_len && memcmp(data, wire, len) == 0;
}

static bool answered_text(int type, const char *text)
{
	return got.kind == OB_PACKET_ANSWER && got.len == 4 + strlen(text) && got.data[0] == type &&
	       got.data[3] == strlen(text) && memcmp(got.data + 4, text, strlen(text)) == 0;
}

static bool message_is(const char *name, const char *body)
{
	bool good = got.kind == OB_PACKET_MESSAGE && got.id == 0 && got.name_len == strlen(name) &&
	            memcmp(got.name, name, got.name_len) == 0 && got.len == strlen(body) &&
	            memcmp(got.data, body, got.len) == 0;

	if (!good) {
		fprintf(stdout, "# kind %d, id %u, %.*s: %.*s\n", got.kind, got.id,
		        (int)got.name_len, got.name != NULL ? got.name : "", (int)got.len,
		        got.data != NULL ? (const char *)got.data : "");
	}
	return good;
}

static bool closed(uint16_t code, const char *word)
{
	bool good = got.kind == OB_PACKET_CLOSE && got.code == code && got.kind_word != NULL &&
	            strcmp(got.kind_word, word) == 0 && got.reason != NULL;

	if (!good) {
		fprintf(stdout, "# kind %d, %u %s\n", got.kind, got.code,
		        got.kind_word != NULL ? got.kind_word : "-");
	}
	return good;
}

/* Encodes into `wire`. */
static ssize_t encode(ob_packet packet)
{
	size_t cap = packet.len + codec->overhead;
	ssize_t n = ob_mock_encode(m, "pomelo", state, &packet, wire, cap);

	if (n > (ssize_t)cap) {
		ssize_t again = ob_mock_encode(m, "pomelo", state, &packet, wire, (size_t)n);

		CU_ASSERT_EQUAL(again, n);
	}
	wire_len = n > 0 ? (size_t)n : 0;
	return n;
}

static ob_packet reply_to(const ob_packet *request, int status, const char *body)
{
	return (ob_packet){
		.kind = OB_PACKET_REPLY,
		.cookie = request->cookie,
		.status = status,
		.data = (const uint8_t *)body,
		.len = strlen(body),
	};
}

static ob_packet push(const char *name, uint32_t id, const char *body)
{
	return (ob_packet){
		.kind = OB_PACKET_PUSH,
		.id = id,
		.name = name,
		.name_len = name != NULL ? strlen(name) : 0,
		.data = (const uint8_t *)body,
		.len = strlen(body),
	};
}

static bool wrote(const char *hex)
{
	uint8_t data[512];
	size_t len = wire_len;

	CU_ASSERT_FATAL(len <= sizeof(data));
	memcpy(data, wire, len);
	unhex(hex);

	bool good = len == wire_len && memcmp(data, wire, len) == 0;

	if (!good) {
		fprintf(stdout, "# wrote ");
		for (size_t i = 0; i < len; i++) {
			fprintf(stdout, "%02x", data[i]);
		}
		fprintf(stdout, "\n");
	}
	return good;
}

/* A data package with this message: its head, and text. */
static bool wrote_message(const char *head_hex, const char *body)
{
	uint8_t data[512];
	size_t len = wire_len;

	CU_ASSERT_FATAL(len <= sizeof(data));
	memcpy(data, wire, len);
	unhex(head_hex);
	return len == 4 + wire_len + strlen(body) && data[0] == 4 && data[3] == len - 4 &&
	       memcmp(data + 4, wire, wire_len) == 0 &&
	       memcmp(data + 4 + wire_len, body, strlen(body)) == 0;
}

static bool last_words(uint16_t code, const char *reason, int type, const char *text)
{
	uint8_t out[OB_CODEC_LAST_WORDS];
	ssize_t n = ob_mock_codec_close(m, "pomelo", state, code, reason, out, sizeof(out));

	if (text == NULL) {
		return n == 0;
	}
	return n == (ssize_t)(4 + strlen(text)) && out[0] == type && out[3] == strlen(text) &&
	       memcmp(out + 4, text, strlen(text)) == 0;
}

static void work(const char *conf)
{
	begin(conf);
	CU_ASSERT_EQUAL(take_package(1, HELLO, strlen(HELLO)), OB_PACKET_ANSWER);
	take_hex(ACK);
}

/* ---- the handshake ---- */

static void test_handshake(void)
{
	begin(PLAIN);
	CU_ASSERT_EQUAL(take_package(1, HELLO, strlen(HELLO)), OB_PACKET_ANSWER);
	CU_ASSERT(answered_text(1, "{\"code\":200,\"sys\":{\"heartbeat\":3}}"));
	CU_ASSERT_EQUAL(got.wake_ms, 10000);

	/* what belongs to another state is passed over */
	CU_ASSERT_EQUAL(take_package(1, HELLO, strlen(HELLO)), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(take_hex(BEAT), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(take_message("000105612e622e63", "{}"), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(take_hex("04000000"), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(encode(push("onX", 1, "{}")), 0);
	CU_ASSERT_EQUAL(codec->variant(ob_mock_ctx(m), state), OB_CODEC_NO_PUSH);

	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_ANSWER);
	CU_ASSERT(answered(BEAT));
	CU_ASSERT_EQUAL(got.wake_ms, 6000);
	CU_ASSERT_EQUAL(got.idle_ms, UINT32_MAX);
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_SKIP);
	CU_ASSERT(encode(push("onX", 1, "{}")) > 0);
	CU_ASSERT_NOT_EQUAL(codec->variant(ob_mock_ctx(m), state), OB_CODEC_NO_PUSH);
	end();

	begin("{}");
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(take_hex(BEAT), OB_PACKET_SKIP);
	take_package(1, HELLO, strlen(HELLO));
	CU_ASSERT(answered_text(1, "{\"code\":200,\"sys\":{}}"));
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(got.wake_ms | got.idle_ms, 0);
	CU_ASSERT_EQUAL(take_hex(BEAT), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(take_message("000105612e622e63", "{}"), OB_PACKET_MESSAGE);
	end();
}

static void test_refused(void)
{
	begin("{\"clients\": {\"js\": \"2\"}}");
	take_package(1, HELLO, strlen(HELLO));
	CU_ASSERT(closed(1008, "old_client"));
	CU_ASSERT(last_words(1008, "x", 1, "{\"code\":501}"));
	take_hex(ACK);
	CU_ASSERT(closed(1008, "handshake_refused"));
	end();

	begin(PLAIN);
	take_package(1, "{\"user\":1}", 10);
	CU_ASSERT(closed(1002, "bad_handshake"));
	CU_ASSERT(last_words(1002, "x", 1, "{\"code\":500}"));
	end();
}

static void test_not_acknowledged(void)
{
	begin("{\"handshake_timeout\": 2}");
	take_package(1, HELLO, strlen(HELLO));
	CU_ASSERT_EQUAL(got.wake_ms, 2000);
	ob_mock_advance(m, 1500);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(got.kind == OB_PACKET_SKIP && got.wake_ms == 500);
	ob_mock_advance(m, 500);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(closed(1008, "handshake_timeout"));
	CU_ASSERT(last_words(1008, "too late", 5, "{\"reason\":\"too late\"}"));
	end();
}

/* Whatever it sends in its place. */
static void test_no_handshake(void)
{
	begin("{\"handshake_timeout\": 2}");
	ob_mock_advance(m, 100);
	CU_ASSERT_EQUAL(take_hex("0100"), OB_PACKET_NEED);
	CU_ASSERT_EQUAL(got.wake_ms, 2000);
	ob_mock_advance(m, 1000);
	CU_ASSERT_EQUAL(take_hex(BEAT), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(got.wake_ms, 0);
	ob_mock_advance(m, 1000);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(closed(1008, "handshake_timeout"));
	CU_ASSERT(last_words(1008, "too late", 0, NULL));
	end();
}

/* ---- the handshake's handler ---- */

#define ASKS "{\"heartbeat\": 3, \"handshake\": \"gate.enter\"}"

static ob_packet ask(void)
{
	begin(ASKS);
	take_package(1, HELLO, strlen(HELLO));
	CU_ASSERT(message_is("gate.enter", HELLO));
	CU_ASSERT_EQUAL(got.one_way, 0);
	CU_ASSERT_EQUAL(got.wake_ms, 250);
	return got;
}

static void test_handler(void)
{
	ob_packet request = ask();

	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(got.kind == OB_PACKET_SKIP && got.wake_ms == 250);

	/* what is longer than the overhead allows for asks for the room */
	CU_ASSERT(encode(reply_to(&request, OB_OK, "{\"n\": \"\xf0\x9f\x98\x80\"}")) > 0);

	static const char want[] = "{\"code\":200,\"sys\":{\"heartbeat\":3},"
				   "\"user\":{\"n\":\"\\uD83D\\uDE00\"}}";

	CU_ASSERT_EQUAL(wire_len, 4 + strlen(want));
	CU_ASSERT_EQUAL(memcmp(wire + 4, want, strlen(want)), 0);
	CU_ASSERT_EQUAL(encode(reply_to(&request, OB_OK, "{}")), 0); /* once */
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(got.kind == OB_PACKET_SKIP && got.wake_ms == 10000);
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_ANSWER);
	end();
}

static void test_handler_of_nothing(void)
{
	ob_packet request = ask();

	encode(reply_to(&request, OB_OK, ""));
	CU_ASSERT_EQUAL(memcmp(wire + 4, "{\"code\":200,\"sys\":{\"heartbeat\":3}}", wire_len - 4),
	                0);
	end();
}

/* A client that does not wait: pomelo leaves it alone for ever. */
static void test_early_ack(void)
{
	ob_packet request = ask();

	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_SKIP);
	encode(reply_to(&request, OB_OK, "[]"));

	static const char want[] = "{\"code\":200,\"sys\":{\"heartbeat\":3},\"user\":[]}";

	CU_ASSERT_EQUAL_FATAL(wire_len, 4 + strlen(want) + 4);
	CU_ASSERT_EQUAL(memcmp(wire + wire_len - 4, "\3\0\0\0", 4), 0);
	CU_ASSERT_EQUAL(wire[3], strlen(want));
	CU_ASSERT_EQUAL(take_message("000105612e622e63", "{}"), OB_PACKET_MESSAGE);
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(got.wake_ms == 6000 && got.idle_ms == UINT32_MAX);
	end();
}

static void test_handler_refuses(void)
{
	static const struct {
		int status;
		const char *body;
	} rows[] = {{OB_E_DENIED, "{\"code\":403,\"error\":\"no\"}"}, {OB_OK, "no JSON"}};

	for (size_t i = 0; i < ROWS(rows); i++) {
		ob_packet request = ask();

		encode(reply_to(&request, rows[i].status, rows[i].body));
		CU_ASSERT(wrote("0100000c7b22636f6465223a3530307d"));
		CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
		CU_ASSERT(closed(1008, "handshake_refused"));
		CU_ASSERT(last_words(1008, "x", 0, NULL)); /* it has been told */
		end();
	}
}

/* ---- messages ---- */

static void test_messages(void)
{
	work(PLAIN);
	/* as pomelo's own clients write them */
	take_hex("0400002a00011b636f6e6e6563746f722e656e74727948616e646c65722e6563686f"
	         "7b226d7367223a226869227d");
	CU_ASSERT(message_is("connector.entryHandler.echo", "{\"msg\":\"hi\"}"));
	CU_ASSERT_EQUAL(got.one_way, 0);
	encode(reply_to(&got, OB_OK, "{\"code\":200}"));
	CU_ASSERT(wrote("0400000e04017b22636f6465223a3230307d"));

	take_message("00800105612e622e63", "{}");
	CU_ASSERT(message_is("a.b.c", "{}"));
	encode(reply_to(&got, OB_OK, "{\"code\":200}"));
	CU_ASSERT(wrote("0400000f0480017b22636f6465223a3230307d"));

	take_message("00ffffffff0705612e622e63", "{}");
	encode(reply_to(&got, OB_OK, "{}"));
	CU_ASSERT(wrote_message("04ffffffff07", "{}"));

	take_message("0205612e622e6e", "{\"x\":1}");
	CU_ASSERT(message_is("a.b.n", "{\"x\":1}"));
	CU_ASSERT_EQUAL(got.one_way, 1);
	take_message("000005612e622e63", "{}"); /* a request without a number is a notify */
	CU_ASSERT(message_is("a.b.c", "{}"));
	CU_ASSERT_EQUAL(got.one_way, 1);

	take_message("000105612e622e63", ""); /* nothing is {} to a handler, and to a client */
	CU_ASSERT(message_is("a.b.c", "{}"));
	encode(reply_to(&got, OB_OK, ""));
	CU_ASSERT(wrote_message("0401", "{}"));

	take_message("00010431303030", "{}"); /* a number for a name */
	CU_ASSERT(got.kind == OB_PACKET_MESSAGE && got.id == 1000 && got.name == NULL);
	take_message("00010a32313437343833363438", "{}"); /* 2^31 is none */
	CU_ASSERT(message_is("2147483648", "{}"));
	end();
}

static void test_skipped(void)
{
	static const char *const rows[] = {"0401", "06036f6e58", "060161",
	                                   "08",   "0a0101",     "0effff"};

	work(PLAIN);
	for (size_t i = 0; i < ROWS(rows); i++) {
		CU_ASSERT_EQUAL(take_message(rows[i], ""), OB_PACKET_SKIP);
	}
	end();
}

struct bad_row {
	const char *why;
	const char *hex;
	uint16_t code;
	const char *word;
};

static const struct bad_row bad_rows[] = {
	{"no message", "04000000", 1002, "empty_data"},
	{"an id cut off", "040000020080", 1002, "bad_id"},
	{"an id above 2^31-1", "0400000800ffffffff0f0161", 1002, "bad_id"},
	{"a route cut off", "0400000500012d0561", 1002, "bad_route"},
	{"a type of nobody", "06000000", 1002, "bad_package"},
	{"type 0", "00", 1002, "bad_package"},
	{"a kick", "05000000", 1002, "bad_package"},
	{"longer than may be", "0400fffd", 1009, "too_big"},
	{"16 MiB", "01ffffff", 1009, "too_big"},
};

static void test_bad(void)
{
	for (size_t i = 0; i < ROWS(bad_rows); i++) {
		work(PLAIN);
		take_hex(bad_rows[i].hex);
		if (!closed(bad_rows[i].code, bad_rows[i].word)) {
			CU_FAIL("a row failed");
			fprintf(stdout, "# row: %s\n", bad_rows[i].why);
		}
		CU_ASSERT(last_words(got.code, "why", 5, "{\"reason\":\"why\"}"));
		end();
	}
	begin(PLAIN); /* who knows what it speaks */
	take_hex("474554");
	CU_ASSERT(closed(1002, "bad_package"));
	CU_ASSERT(last_words(1002, "why", 0, NULL));
	CU_ASSERT_EQUAL(take_hex("01000022"), OB_PACKET_NEED);
	CU_ASSERT_EQUAL(got.need, 4 + 0x22);
	end();
	begin("{\"max_package\": 64}");
	CU_ASSERT_EQUAL(take_hex("0100003c"), OB_PACKET_NEED);
	take_hex("0100003d");
	CU_ASSERT(closed(1009, "too_big"));
	end();
}

static void test_refused_messages(void)
{
	work(FULL);
	take_message("01010063", "{}");
	CU_ASSERT(got.kind == OB_PACKET_ANSWER &&
	          memcmp(got.data + 4, "\4\1{\"code\":500", 13) == 0);
	CU_ASSERT_EQUAL(take_message("030063", "{}"), OB_PACKET_SKIP);
	take_message("000100", "{}");
	CU_ASSERT(got.kind == OB_PACKET_ANSWER &&
	          memcmp(got.data + 4, "\4\1{\"code\":500", 13) == 0);
	CU_ASSERT_EQUAL(take_message("00010261ff", "{}"), OB_PACKET_ANSWER);
	CU_ASSERT_EQUAL(take_message("0001026107", "{}"), OB_PACKET_ANSWER);
	end();
}

static void test_gzip(void)
{
	work(PLAIN);
	CU_ASSERT_EQUAL(take_message("100105612e622e63", "{\"x\":1}"), OB_PACKET_MESSAGE);
	CU_ASSERT(message_is("a.b.c", "{\"x\":1}"));
	CU_ASSERT_EQUAL(take_message("100105612e622e63", "\x1f\x8b\x08"), OB_PACKET_ANSWER);
	CU_ASSERT_EQUAL(take_message("1205612e622e63", "\x1f\x8b\x08"), OB_PACKET_SKIP);
	end();
}

static void test_errors(void)
{
	static const char body[] = "{\"code\":404,\"error\":\"nobody\"}";

	work(PLAIN);
	take_message("000105612e622e63", "{}");
	encode(reply_to(&got, OB_E_NOT_FOUND, body));
	CU_ASSERT(wrote_message("0401", "{\"code\":500,\"error\":\"nobody\",\"status\":404}"));
	encode(reply_to(&got, OB_E_APP, "{\"code\":500,\"error\":\"x\"}"));
	CU_ASSERT(wrote_message("0401", "{\"code\":500,\"error\":\"x\"}"));
	encode(reply_to(&got, OB_E_APP, "[404]")); /* a module's own, as it is */
	CU_ASSERT(wrote_message("0401", "[404]"));
	encode(reply_to(&got, OB_OK, body)); /* a handler's own code */
	CU_ASSERT(wrote_message("0401", body));
	end();

	work("{\"errors\": \"host\"}");
	take_message("000105612e622e63", "{}");
	encode(reply_to(&got, OB_E_NOT_FOUND, body));
	CU_ASSERT(wrote_message("0401", body));
	end();
}

static void test_pushes(void)
{
	work(PLAIN);
	encode(push("onChat", 5, "{\"t\":\"hi\"}"));
	CU_ASSERT(wrote_message("06066f6e43686174", "{\"t\":\"hi\"}"));
	encode(push("on\xc3\x89", 5, "{\"t\":\"\xe4\xbd\xa0\"}"));
	CU_ASSERT(wrote_message("06046f6ec389", "{\"t\":\"\xe4\xbd\xa0\"}"));
	encode(push(NULL, 2001, "")); /* no name: its number */
	CU_ASSERT(wrote_message("060432303031", "{}"));
	encode(push("on", 5, "\xff raw \xf0\x9f\x98\x80")); /* no JSON: as it is */
	CU_ASSERT(wrote_message("06026f6e", "\xff raw \xf0\x9f\x98\x80"));
	end();
}

/* Ten characters of four bytes become 120. */
static void test_growth(void)
{
	char body[2100] = "\"";

	work(PLAIN);
	for (int i = 0; i < 500; i++) {
		memcpy(body + 1 + 4 * i, "\xf0\x9f\x98\x80", 5);
	}
	strcat(body, "\"");

	ssize_t n = encode(push("on", 1, body));

	CU_ASSERT_EQUAL_FATAL(n, 4 + 4 + 2 + 12 * 500);
	CU_ASSERT_EQUAL(memcmp(wire + 8, "\"\\uD83D\\uDE00\\uD83D", 19), 0);
	CU_ASSERT_EQUAL(wire[n - 1], '"');
	end();
}

static void test_surrogates(void)
{
	work(PLAIN);
	take_message("000105612e622e63", "{\"t\":\"\xed\xa0\xbd\xed\xb8\x80\"}");
	CU_ASSERT(message_is("a.b.c", "{\"t\":\"\xf0\x9f\x98\x80\"}"));
	encode(reply_to(&got, OB_OK, "{\"t\":\"\xf0\x9f\x98\x80\"}"));
	CU_ASSERT(wrote_message("0401", "{\"t\":\"\\uD83D\\uDE00\"}"));
	end();
}

/* ---- dictionary and protobuf ---- */

/* The end of what a pomelo server and its client once said to each other. */
static void test_transcript(void)
{
	work(FULL);
	take_hex("0400001001010001"
	         "7b226d7367223a226869227d");
	CU_ASSERT(message_is("a.h.echo", "{\"msg\":\"hi\"}"));
	encode(reply_to(&got, OB_OK, "{\"code\":200,\"msg\":\"hi\"}"));
	CU_ASSERT(wrote("0400001904017b22636f6465223a3230302c226d7367223a226869227d"));
	encode(push("onAdd", 5, "{\"a\":\"u9\",\"b\":\"yo\"}"));
	CU_ASSERT(wrote("0400000b0700030a0275391202796f"));
	CU_ASSERT(last_words(4003, "bye-bye", 5, "{\"reason\":\"bye-bye\"}"));
	end();
}

static void test_protobuf(void)
{
	work(FULL);
	take_message("01010002", "\x08\x03\x01\x02\x03\x12\x01z");
	CU_ASSERT(message_is("a.h.sum", "{\"n\":[1,2,3],\"s\":\"z\"}"));
	encode(reply_to(&got, OB_OK, "{\"code\":200,\"sum\":6}"));
	CU_ASSERT(wrote_message("0401", "\x08\x90\x03\x10\x06"));
	encode(reply_to(&got, OB_OK, "")); /* is a message without fields */
	CU_ASSERT(wrote("040000020401"));
	encode(reply_to(&got, OB_E_APP, "{\"code\":500,\"error\":\"x\"}")); /* what it has of it */
	CU_ASSERT(wrote_message("0401", "\x08\xe8\x07"));
	encode(reply_to(&got, OB_OK, "{\"sum\":-6}")); /* can't be said */
	CU_ASSERT(wrote("040000020401"));
	take_message("00010761"
	             "2e682e73756d",
	             "{\"n\":[7]}"); /* a client without protobuf */
	CU_ASSERT(message_is("a.h.sum", "{\"n\":[7]}"));
	take_message("01010002", "");
	CU_ASSERT(message_is("a.h.sum", "{}"));
	encode(push("onPlain", 5, "{}"));
	CU_ASSERT(wrote_message("070004", "{}"));
	encode(push("onAdd", 5, "{\"a\":\"u9\"}")); /* a required field is missing */
	CU_ASSERT(wrote("04000003070003"));
	take_message("01010002", "\x08\x03\x01");
	CU_ASSERT(closed(1002, "bad_protobuf"));
	end();
}

/* A client that was greeted by a generation with another dictionary. */
static void test_new_dictionary(void)
{
	uint8_t before[sizeof(state)];

	work(FULL);
	memcpy(before, state, sizeof(state));
	end();

	begin(FULL);
	memcpy(state, before, sizeof(state));
	CU_ASSERT_EQUAL(take_message("01010001", "{}"), OB_PACKET_MESSAGE); /* the same one */
	end();

	begin("{\"heartbeat\": 3, \"handlers\": [\"a.h.aaa\", \"a.h.sum\", \"a.h.echo\"], "
	      "\"protos\": {\"server\": {\"onAdd\": {}}}}");
	memcpy(state, before, sizeof(state));
	encode(push("a.h.sum", 5, "{}")); /* no codes */
	CU_ASSERT(wrote_message("0607612e682e73756d", "{}"));
	CU_ASSERT_EQUAL(encode(push("onAdd", 5, "{}")), 0);
	take_message("01010001", "{}");
	CU_ASSERT(closed(1012, "new_dictionary"));
	CU_ASSERT(last_words(1012, "x", 0, NULL)); /* it comes back by itself */
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	CU_ASSERT(closed(1012, "new_dictionary"));
	end();
}

/* ---- heartbeats ---- */

static int wake(void)
{
	CU_ASSERT_EQUAL(ob_mock_codec_wake(m, "pomelo", state, &got), 0);
	return got.kind;
}

static void test_heartbeat(void)
{
	work(PLAIN);
	ob_mock_advance(m, 4000);
	CU_ASSERT_EQUAL(take_hex(BEAT), OB_PACKET_ANSWER);
	CU_ASSERT(answered(BEAT));
	CU_ASSERT_EQUAL(got.wake_ms, 6000);
	ob_mock_advance(m, 5990);
	CU_ASSERT_EQUAL(take_message("000105612e622e63", "{}"), OB_PACKET_MESSAGE); /* is none */
	CU_ASSERT_EQUAL(wake(), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(got.wake_ms, 10);
	ob_mock_advance(m, 10);
	wake();
	CU_ASSERT(closed(1008, "heartbeat"));
	end();

	work("{\"heartbeat\": 3, \"timeout\": 4, \"strict_heartbeat\": false}");
	CU_ASSERT_EQUAL(got.wake_ms, 4000);
	ob_mock_advance(m, 3000);
	take_message("000105612e622e63", "{}"); /* is one */
	ob_mock_advance(m, 1000);
	CU_ASSERT_EQUAL(wake(), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(got.wake_ms, 3000);
	ob_mock_advance(m, 3000);
	CU_ASSERT_EQUAL(wake(), OB_PACKET_CLOSE);
	end();

	work("{}");
	CU_ASSERT_EQUAL(wake(), OB_PACKET_SKIP);
	CU_ASSERT_EQUAL(got.wake_ms, 0);
	end();
}

/* ---- the end ---- */

static void test_kicks(void)
{
	char reason[700];

	work(PLAIN);
	CU_ASSERT(last_words(1000, "", 5, "{\"reason\":\"kick\"}"));
	CU_ASSERT(
		last_words(4001, "logged in elsewhere", 5, "{\"reason\":\"logged in elsewhere\"}"));
	CU_ASSERT(last_words(4003, "a \"q\" \xf0\x9f\x98\x80", 5,
	                     "{\"reason\":\"a \\\"q\\\" \\uD83D\\uDE00\"}"));
	CU_ASSERT(last_words(4003, "\xff", 5, "{\"reason\":\"kick\"}"));
	memset(reason, 'x', sizeof(reason));
	reason[sizeof(reason) - 1] = '\0';
	CU_ASSERT(last_words(4003, reason, 5, "{\"reason\":\"kick\"}"));
	CU_ASSERT(last_words(1001, "the node stops", 0, NULL));
	CU_ASSERT(last_words(4002, "the node leaves", 0, NULL));
	end();
}

static void test_conf(void)
{
	json_t *conf = json_loads("{\"hearbeat\": 3}", 0, NULL);

	m = ob_mock_new(&ob_module, conf);
	json_decref(conf);
	CU_ASSERT(ob_mock_check(m) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(ob_mock_error(m), "hearbeat"));
	end();
	begin("{}");
	CU_ASSERT_EQUAL(codec->flags, OB_CODEC_RESUMES);
	CU_ASSERT_EQUAL(codec->state_size, 16);
	end();
}

/* ---- clients that come back ---- */

#define WELCOME_HEAD "{\"code\":200,\"sys\":{\"heartbeat\":3},\"user\":{\"resume\":{"

static ob_packet welcome(int status, const char *token)
{
	return (ob_packet){
		.kind = OB_PACKET_WELCOME,
		.status = status,
		.reason = "expired",
		.cookie = 4,
		.name = "p_1",
		.name_len = 3,
		.data = (const uint8_t *)token,
		.len = strlen(token),
	};
}

static bool greeted(const char *user)
{
	char want[512];
	size_t len = (size_t)snprintf(want, sizeof(want), "%s%s}}}", WELCOME_HEAD, user);
	bool good = wire_len == 4 + len && wire[0] == 1 && wire[3] == (uint8_t)len &&
	            memcmp(wire + 4, want, len) == 0;

	if (!good) {
		fprintf(stdout, "# %.*s\n", (int)wire_len - 4, (const char *)wire + 4);
	}
	return good;
}

static int hello_with(const char *user)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "{\"sys\":{},\"user\":%s}", user);

	memset(state, 0, sizeof(state));
	return take_package(1, text, (size_t)len);
}

static void test_hello(void)
{
	begin(PLAIN);
	CU_ASSERT_EQUAL_FATAL(hello_with("{\"resume\":{},\"name\":\"x\"}"), OB_PACKET_HELLO);
	CU_ASSERT(got.len == 0 && got.cookie == 0 && got.no_hello == 0);
	CU_ASSERT_EQUAL(codec->variant(NULL, state), OB_CODEC_NO_PUSH);
	encode(welcome(OB_OK, "abc"));
	CU_ASSERT(greeted("\"session\":\"p_1\",\"recovered\":true,\"heard\":4,"
	                  "\"token\":\"abc\""));
	CU_ASSERT_NOT_EQUAL(codec->variant(NULL, state), OB_CODEC_NO_PUSH);
	CU_ASSERT(encode(push("a", 0, "{}")) > 0); /* it counts from the greeting on */
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_ANSWER);
	CU_ASSERT_EQUAL(take_message("02126f62686f73742e726573756d652e7365656e", "{\"seen\":20}"),
	                OB_PACKET_SEEN);
	CU_ASSERT_EQUAL(got.cookie, 20);
	CU_ASSERT_EQUAL(take_message("02126f62686f73742e726573756d652e7365656e", "{\"seen\":-1}"),
	                OB_PACKET_CLOSE);
	CU_ASSERT(closed(1002, "bad_seen"));
	CU_ASSERT_EQUAL_FATAL(hello_with("{\"resume\":{\"token\":\"tok\",\"seen\":17}}"),
	                      OB_PACKET_HELLO);
	CU_ASSERT(got.len == 3 && memcmp(got.data, "tok", 3) == 0 && got.cookie == 17);
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_SKIP); /* it could not wait */
	encode(welcome(OB_E_GONE, ""));
	CU_ASSERT_EQUAL(memcmp(wire + wire_len - 4, "\3\0\0\0", 4), 0);
	wire_len -= 4;
	CU_ASSERT(greeted("\"session\":\"p_1\",\"recovered\":false,\"heard\":4,"
	                  "\"reason\":\"expired\""));
	end();
}

/* What is not asked for like that is the client's own. */
static void test_no_hello(void)
{
	static const char *const users[] = {
		"null",
		"7",
		"{}",
		"{\"resume\":true}",
		"{\"resume\":[]}",
		"{\"resume\":{\"token\":\"x\"}}",
		"{\"resume\":{\"token\":\"\",\"seen\":0}}",
		"{\"resume\":{\"token\":7,\"seen\":0}}",
		"{\"resume\":{\"token\":\"x\",\"seen\":-1}}",
		"{\"resume\":{\"token\":\"x\",\"seen\":\"1\"}}",
		"{\"resume\":{\"token\":\"x\",\"seen\":1,\"more\":1}}",
	};

	begin(PLAIN);
	for (size_t i = 0; i < ROWS(users); i++) {
		CU_ASSERT_EQUAL(hello_with(users[i]), OB_PACKET_ANSWER);
		CU_ASSERT_EQUAL(got.no_hello, 1);
		CU_ASSERT(answered_text(1, "{\"code\":200,\"sys\":{\"heartbeat\":3}}"));
	}
	CU_ASSERT_EQUAL(encode(push("a", 0, "{}")), 0);
	CU_ASSERT_EQUAL(take_hex(ACK), OB_PACKET_ANSWER);
	CU_ASSERT_EQUAL(take_message("02126f62686f73742e726573756d652e7365656e", "{\"seen\":20}"),
	                OB_PACKET_MESSAGE);
	end();
	begin("{\"handshake\": \"gate.hello\"}"); /* whose handler is asked, and has `user` */
	CU_ASSERT_EQUAL(hello_with("{\"resume\":{}}"), OB_PACKET_MESSAGE);
	end();
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("codec_pomelo", NULL, NULL);

	CU_add_test(s, "the handshake", test_handshake);
	CU_add_test(s, "a client that is refused", test_refused);
	CU_add_test(s, "a handshake that nobody acknowledges", test_not_acknowledged);
	CU_add_test(s, "a handshake that never comes", test_no_handshake);
	CU_add_test(s, "the handshake's handler", test_handler);
	CU_add_test(s, "which has nothing to say", test_handler_of_nothing);
	CU_add_test(s, "a client that does not wait for it", test_early_ack);
	CU_add_test(s, "which refuses", test_handler_refuses);
	CU_add_test(s, "messages of each type", test_messages);
	CU_add_test(s, "messages that mean nothing", test_skipped);
	CU_add_test(s, "what closes a client", test_bad);
	CU_add_test(s, "requests that go no further", test_refused_messages);
	CU_add_test(s, "the bit for gzip", test_gzip);
	CU_add_test(s, "failures", test_errors);
	CU_add_test(s, "pushes", test_pushes);
	CU_add_test(s, "bodies that grow", test_growth);
	CU_add_test(s, "surrogates", test_surrogates);
	CU_add_test(s, "a pomelo server's own words", test_transcript);
	CU_add_test(s, "protobuf", test_protobuf);
	CU_add_test(s, "another dictionary after a reload", test_new_dictionary);
	CU_add_test(s, "heartbeats", test_heartbeat);
	CU_add_test(s, "kicks", test_kicks);
	CU_add_test(s, "a client that may come back", test_hello);
	CU_add_test(s, "a client that does not say so", test_no_hello);
	CU_add_test(s, "the configuration", test_conf);
	return ob__tap_run();
}
