/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The first byte says what the others are.  A client's bytes, fed as the host feeds them, once in
 * one piece and once in pieces: the same must come out, inside what the codec may touch, each
 * request answered within the room the codec asks for.  A body in protobuf: what is read must be
 * read again from what is written.  A body in JSON: what is written must be read.
 */

#include <string.h>

#include "modules/codec_pomelo/codec_pomelo.c"
#include "modules/codec_pomelo/protobuf.h"
#include "t/fuzz/fuzz.h"

#define MAX_INPUT   4096
#define MAX_PACKAGE 1024

static const char conf_text[] =
	"{\"heartbeat\": 3, \"max_package\": 1024, \"clients\": {\"*\": \"1\"}, "
	"\"handlers\": [\"a.h.sum\", \"a.h.echo\"], \"dictionary\": [\"onAdd\"], "
	"\"protos\": {\"server\": {\"a.h.sum\": {\"optional Tree t\": 1, \"optional string error\": 2}, "
	"\"message Tree\": {\"repeated Tree kids\": 1, \"required string name\": 2}}, "
	"\"client\": {\"a.h.sum\": {\"repeated uInt32 n\": 1, \"optional string s\": 2, "
	"\"repeated string names\": 3, \"optional double d\": 4, \"repeated float f\": 5, "
	"\"optional int32 i\": 6, \"repeated Tree trees\": 7, \"optional Own o\": 16, "
	"\"message Own\": {\"required sInt32 x\": 1}}, "
	"\"message Tree\": {\"repeated Tree kids\": 1, \"optional string name\": 2}}}}";

static uint64_t now_ms(ob_ctx *ctx)
{
	(void)ctx;
	return 1000;
}

static const ob_api api = {.size = sizeof(api), .now_ms = now_ms};
static ob_ctx ctx = {.api = &api};

static void prepare(void)
{
	static bool done;
	ob_err err;

	if (!done) {
		json_t *conf = json_loads(conf_text, 0, NULL);

		CHECK(conf != NULL && pomelo_settings_read(&own.settings, conf, &err) == 0);
		CHECK(pomelo_handshake_answers(&own.settings, own.answers, &err) == 0);
		json_decref(conf);
		done = true;
	}
}

/* ---- a client's bytes ---- */

struct run {
	size_t packets;
	size_t bytes;
	int code; /* of the close, or 0 */
	uint32_t sum;
};

static void add(struct run *run, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++) {
		run->sum = run->sum * 31 + bytes[i];
	}
}

/* Encodes with the least room there may be, and with what the codec then asks for. */
static void check_encode(struct pomelo_client *c, ob_packet *packet)
{
	static uint8_t out[16 * MAX_INPUT];
	size_t cap = packet->len + codec.overhead;
	size_t n = encode(&ctx, c, packet, out, cap);
	struct pomelo_package p;

	if (n > cap) {
		CHECK(n <= sizeof(out));
		CHECK(encode(&ctx, c, packet, out, n) == n);
	}
	CHECK(n == 0 || (pomelo_package_read(out, n, SIZE_MAX, &p) == POMELO_WHOLE && p.need == n));
}

static void check_answers(struct pomelo_client *c, const ob_packet *request)
{
	static uint8_t body[4 * MAX_INPUT]; /* what protobuf holds may be longer as JSON */
	ob_packet packet = {
		.kind = OB_PACKET_REPLY,
		.cookie = request->cookie,
		.data = body,
		.len = request->len < sizeof(body) ? request->len : sizeof(body),
	};

	memcpy(body, request->data, packet.len);
	check_encode(c, &packet);
	packet.status = OB_E_APP;
	check_encode(c, &packet);
	packet.kind = OB_PACKET_PUSH;
	packet.name = "onAdd";
	packet.name_len = 5;
	check_encode(c, &packet);
}

static void check_welcome(struct pomelo_client *c, const ob_packet *hello)
{
	ob_packet packet = {
		.kind = OB_PACKET_WELCOME,
		.cookie = hello->cookie,
		.status = OB_E_GONE,
		.reason = "expired",
		.name = "n_1",
		.name_len = 3,
		.data = hello->data,
		.len = hello->len,
	};

	check_encode(c, &packet);
	CHECK(c->phase == GREETED);
}

static bool is_end(struct run *run, const ob_packet *packet, size_t used, size_t left)
{
	if (packet->kind == OB_PACKET_NEED) {
		CHECK(used == 0 && packet->need > left && packet->need <= MAX_PACKAGE);
		return true;
	}
	if (packet->kind == OB_PACKET_CLOSE) {
		CHECK(used == 0 && packet->code && packet->reason && packet->kind_word);
		run->code = packet->code;
		return true;
	}
	CHECK(used >= POMELO_HEAD && used <= left);
	return false;
}

static size_t drain(struct pomelo_client *c, struct run *run, uint8_t *data, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ob_packet packet = {.size = sizeof(packet)};
		size_t used = decode(&ctx, c, data + at, len - at, true, MAX_INPUT, &packet);

		if (is_end(run, &packet, used, len - at)) {
			break;
		}
		add(run, packet.data, packet.len);
		add(run, packet.name, packet.name_len);
		add(run, &packet.cookie, sizeof(packet.cookie));
		if (packet.kind == OB_PACKET_MESSAGE) {
			CHECK((packet.id != 0) == (packet.name == NULL));
			check_answers(c, &packet);
		}
		if (packet.kind == OB_PACKET_HELLO) {
			check_welcome(c, &packet);
		}
		run->packets++;
		at += used;
	}
	run->bytes += at;
	return at;
}

static struct run feed(const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t kept[MAX_INPUT];
	struct run run = {0};
	struct pomelo_client c = {0};
	uint8_t words[OB_CODEC_LAST_WORDS];
	size_t held = 0;

	for (size_t at = 0; at < len && !run.code; at += piece) {
		size_t taken = len - at < piece ? len - at : piece;

		memcpy(kept + held, data + at, taken);
		held += taken;

		size_t used = drain(&c, &run, kept, held);

		held -= used;
		memmove(kept, kept + used, held);
	}
	CHECK(last_words(&ctx, &c, CLOSE_PROTOCOL, "why", words, sizeof(words)) <= sizeof(words));
	return run;
}

static void try_client(const uint8_t *data, size_t len, size_t piece)
{
	struct run whole = feed(data, len, MAX_INPUT);
	struct run pieces = feed(data, len, piece);

	CHECK(whole.packets == pieces.packets && whole.bytes == pieces.bytes);
	CHECK(whole.code == pieces.code && whole.sum == pieces.sum);
}

/* ---- bodies ---- */

static const struct pomelo_proto *client_proto(void)
{
	int at = pomelo_protos_find(&own.settings.client, "a.h.sum", 7);

	CHECK(at >= 0);
	return own.settings.client.routes[at];
}

/* `exact`: what is written again is the same; without it, a zero may have lost its sign. */
static void try_message(const json_t *message, bool exact)
{
	static struct pomelo_bytes twice;

	pomelo_bytes_begin(&own.out, POMELO_BODY_MAX);
	if (!pomelo_protobuf_encode(client_proto(), message, &own.out)) {
		return;
	}

	json_t *back = pomelo_protobuf_decode(client_proto(), own.out.data, own.out.len, &own.text);

	pomelo_bytes_begin(&twice, POMELO_BODY_MAX);
	CHECK(back != NULL && pomelo_protobuf_encode(client_proto(), back, &twice));
	CHECK(twice.len == own.out.len);
	CHECK(!exact || twice.len == 0 || memcmp(twice.data, own.out.data, twice.len) == 0);
	json_decref(back);
}

static void try_body(const uint8_t *data, size_t len, bool is_text)
{
	json_t *message = is_text ? json_loadb((const char *)data, len, JSON_DECODE_ANY, NULL)
	                          : pomelo_protobuf_decode(client_proto(), data, len, &own.text);

	if (message != NULL) {
		try_message(message, !is_text);
		json_decref(message);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1 || len > MAX_INPUT) {
		return 0;
	}
	prepare();
	if (data[0] == 'p' || data[0] == 'j') {
		try_body(data + 1, len - 1, data[0] == 'j');
	} else {
		try_client(data + 1, len - 1, 1 + data[0] % 64);
	}
	return 0;
}
