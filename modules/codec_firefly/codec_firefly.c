/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_firefly: the packets that firefly's clients speak.
 *
 *     4 bytes   the head, each byte as configured
 *     1 byte    version of the protocol
 *     uint32    version of the server
 *     uint32    length: that of the body, and 4
 *     uint32    command: the message id
 *     body
 *
 * All big-endian.  The first six values must be those of the listener's codec_conf, whose keys are
 * those of firefly's own configuration; an answer has the command of its request.  What firefly
 * took and should not have, lengths below 4 and of any size, closes the client.
 */

#include <string.h>

#include <obhost/obhost.h>

#define HEADER      17
#define FIXED       9 /* bytes that are always the same */
#define STATE_VER   1
#define CLOSE_WRONG 1002
#define CLOSE_BIG   1009

/* The state of a connection: the bytes its packets begin with. */
struct heads {
	uint8_t fixed[FIXED];
};

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void put32(uint8_t *to, uint32_t value)
{
	to[0] = (uint8_t)(value >> 24);
	to[1] = (uint8_t)(value >> 16);
	to[2] = (uint8_t)(value >> 8);
	to[3] = (uint8_t)value;
}

/* ---- the configuration ---- */

/* A number of the configuration; absent: 0. */
static int number(const json_t *conf, const char *key, json_int_t most, uint32_t *out, ob_err *err)
{
	const json_t *value = json_object_get(conf, key);
	json_int_t n = json_integer_value(value);

	if (value != NULL && (!json_is_integer(value) || n < 0 || n > most)) {
		return ob_err_set(err, "%s: a number from 0 to %lld", key, (long long)most);
	}
	*out = (uint32_t)n;
	return 0;
}

static int compile(const json_t *conf, struct heads *heads, ob_err *err)
{
	static const char *const keys[] = {"HEAD_0", "HEAD_1", "HEAD_2", "HEAD_3", "protoVersion"};
	uint32_t value;
	int rc;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if ((rc = number(conf, keys[i], 255, &value, err)) != 0) {
			return rc;
		}
		heads->fixed[i] = (uint8_t)value;
	}
	if ((rc = number(conf, "serverVersion", 0xffffffff, &value, err)) != 0) {
		return rc;
	}
	put32(heads->fixed + 5, value);
	return 0;
}

/* ---- packets ---- */

static size_t need(ob_packet *out, size_t bytes)
{
	out->kind = OB_PACKET_NEED;
	out->need = bytes;
	return 0;
}

static size_t close_with(ob_packet *out, uint16_t code, const char *reason, const char *word)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	out->kind_word = word;
	return 0;
}

/* Each byte of the head is judged as soon as it is there: a wrong one never makes us wait. */
static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	const struct heads *heads = state;

	(void)ctx;
	(void)boundary;
	if (memcmp(data, heads->fixed, len < FIXED ? len : FIXED) != 0) {
		return close_with(out, CLOSE_WRONG, "wrong head", "bad_magic");
	}
	if (len < 13) {
		return need(out, HEADER);
	}

	uint32_t length = get32(data + FIXED);

	if (length < 4) {
		return close_with(out, CLOSE_WRONG, "packet length below 4", "bad_length");
	}
	if (max < HEADER || length - 4 > max - HEADER) {
		return close_with(out, CLOSE_BIG, "packet too long", NULL);
	}
	if (len < length + 13u) {
		return need(out, length + 13u);
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = get32(data + 13);
	out->data = data + HEADER;
	out->len = length - 4;
	return length + 13u;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct heads *heads = state;

	(void)ctx;
	if (cap < HEADER || packet->len > cap - HEADER || packet->len > 0xffffffffu - 4) {
		return 0;
	}
	memcpy(out, heads->fixed, FIXED);
	put32(out + FIXED, (uint32_t)packet->len + 4);
	put32(out + 13, packet->id);
	if (packet->len > 0) {
		memcpy(out + HEADER, packet->data, packet->len);
	}
	return packet->len + HEADER;
}

/* ---- the module ---- */

static int conf_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	struct heads heads;

	(void)ctx;
	if (info->encode != 0) {
		return ob_err_set(err, "codec firefly has no encode of its own: use tls or wss");
	}
	return compile(info->conf, &heads, err);
}

static int open_state(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	ob_err err = {{0}};

	(void)ctx;
	return compile(info->conf, state, &err);
}

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct heads),
	.state_ver = STATE_VER,
	.flags = OB_CODEC_STREAM,
	.overhead = HEADER,
	.name = "firefly",
	.decode = decode,
	.encode = encode,
	.open = open_state,
	.conf_check = conf_check,
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
	struct heads heads = {{78, 37, 38, 48, 9}};
	uint8_t wire[HEADER + sizeof(body)];
	ob_packet packet = {.size = sizeof(packet), .id = 101, .data = body, .len = sizeof(body)};
	ob_packet back = {.size = sizeof(back)};

	(void)ctx;
	if (encode(NULL, &heads, &packet, wire, sizeof(wire)) != sizeof(wire) ||
	    decode(NULL, &heads, wire, sizeof(wire), true, sizeof(wire), &back) != sizeof(wire) ||
	    back.kind != OB_PACKET_MESSAGE || back.id != packet.id || back.len != sizeof(body) ||
	    memcmp(back.data, body, sizeof(body)) != 0) {
		return OB_E_APP;
	}
	return 0;
}

OB_MODULE(codec_firefly, .version = "1.0.0", .start = start, .selftest = selftest);
