/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_obespoir: the packets that obespoir's clients speak.
 *
 *     int32 length, these 12 bytes included
 *     int32 message id
 *     int32 version: ignored when it comes in, 0 when it goes out
 *     payload
 *
 * All little-endian.  Packets are a byte stream: one may span transport messages, and one
 * transport message may hold several.
 */

#include <endian.h>
#include <string.h>

#include <obhost/obhost.h>

#define HEADER    12
#define TOTAL_MAX 0x7fffffffu /* the length is signed */

#define CLOSE_PROTOCOL 1002
#define CLOSE_TOO_BIG  1009

static uint32_t get32(const uint8_t *from)
{
	uint32_t word;

	memcpy(&word, from, sizeof(word));
	return le32toh(word);
}

static void put32(uint8_t *to, uint32_t value)
{
	uint32_t word = htole32(value);

	memcpy(to, &word, sizeof(word));
}

static size_t need(ob_packet *out, size_t bytes)
{
	out->kind = OB_PACKET_NEED;
	out->need = bytes;
	return 0;
}

static size_t close_with(ob_packet *out, uint16_t code, const char *reason)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	return 0;
}

/* The length is judged as soon as its four bytes are there: a bad one never makes us wait. */
static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	(void)ctx;
	(void)state;
	(void)boundary;
	if (len < sizeof(uint32_t)) {
		return need(out, HEADER);
	}

	uint32_t total = get32(data);

	if (total < HEADER || total > TOTAL_MAX) {
		return close_with(out, CLOSE_PROTOCOL, "packet length below 12");
	}
	if (total > max) {
		return close_with(out, CLOSE_TOO_BIG, "packet too long");
	}
	if (len < total) {
		return need(out, total);
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = get32(data + 4);
	out->one_way = 0;
	out->cookie = 0;
	out->data = data + HEADER;
	out->len = total - HEADER;
	return total;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	(void)ctx;
	(void)state;
	if (packet->len > TOTAL_MAX - HEADER || cap < HEADER || packet->len > cap - HEADER) {
		return 0;
	}
	put32(out, (uint32_t)packet->len + HEADER);
	put32(out + 4, packet->id);
	put32(out + 8, 0);
	if (packet->len) {
		memcpy(out + HEADER, packet->data, packet->len);
	}
	return packet->len + HEADER;
}

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = 0,
	.state_ver = 1,
	.flags = OB_CODEC_STREAM,
	.overhead = HEADER,
	.name = "obespoir",
	.decode = decode,
	.encode = encode,
};

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_codec(ctx, &codec);
}

/* What is written must be read back: a generation that can't is not switched to. */
static int selftest(ob_ctx *ctx)
{
	static const uint8_t body[] = {'{', '}'};
	uint8_t wire[HEADER + sizeof(body)];
	ob_packet packet = {.size = sizeof(packet), .id = 1000, .data = body, .len = sizeof(body)};

	if (encode(ctx, NULL, &packet, wire, sizeof(wire)) != sizeof(wire)) {
		return OB_E_APP;
	}

	ob_packet back = {.size = sizeof(back)};
	size_t used = decode(ctx, NULL, wire, sizeof(wire), true, sizeof(wire), &back);

	if (used != sizeof(wire) || back.kind != OB_PACKET_MESSAGE || back.id != packet.id ||
	    back.len != sizeof(body) || memcmp(back.data, body, sizeof(body)) != 0) {
		return OB_E_APP;
	}
	return 0;
}

OB_MODULE(codec_obespoir, .version = "1.0.0", .start = start, .selftest = selftest);
