/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The bytes are a client's: as one message of WebSocket, then as lines in pieces.  What is taken
 * stays inside them, is JSON to another parser, and comes back as it is when it is encoded; what
 * that parser takes is not refused as no JSON.
 */

#include <string.h>

#include "modules/codec_json/codec_json.c"
#include "modules/codec_json/scan.c"
#include "t/fuzz/fuzz.h"

#define MAX_PACKET 2048
#define MAX_INPUT  4096

static int status(ob_ctx *ctx, int code)
{
	(void)ctx;
	return code == OB_OK ? 200 : 500;
}

static const ob_api api = {.size = sizeof(api), .status = status};
static ob_ctx ctx = {.api = &api};

static json_t *load(const void *data, size_t len, json_error_t *error)
{
	return json_loadb((const char *)data, len,
	                  JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, error);
}

/* Numbers that a double does not hold are JSON all the same. */
static void check_json(const void *data, size_t len)
{
	json_error_t error;
	json_t *value = load(data, len, &error);

	CHECK(value || json_error_code(&error) == json_error_numeric_overflow);
	json_decref(value);
}

static void check_message(struct state *s, const ob_packet *p, const uint8_t *in, size_t used)
{
	static uint8_t out[MAX_INPUT + OVERHEAD];
	ob_packet reply = *p;

	if (p->len > 0) {
		CHECK(p->data >= in && p->data + p->len <= in + used);
		check_json(p->data, p->len);
	}
	CHECK(p->name ? p->id == 0 && p->name_len > 0 && p->name_len <= OB_NAME_MAX
	              : p->id > 0 && p->id <= ID_MAX);
	reply.kind = OB_PACKET_REPLY;
	size_t len = encode(&ctx, s, &reply, out, p->len + OVERHEAD);
	CHECK(len > p->len && len <= p->len + OVERHEAD);
	check_json(out, len);
	CHECK(memchr(out, '\n', len - 1) == NULL);
}

/* What one call came to: bytes consumed; 0 for more, or the end. */
static size_t step(struct state *s, uint8_t *data, size_t len, bool boundary)
{
	ob_packet p = {.size = sizeof(p)};
	size_t used = decode(&ctx, s, data, len, boundary, MAX_PACKET, &p);

	switch (p.kind) {
	case OB_PACKET_MESSAGE:
		check_message(s, &p, data, used);
		break;
	case OB_PACKET_ANSWER:
		check_json(p.data, p.len);
		break;
	case OB_PACKET_SKIP:
		break;
	case OB_PACKET_NEED:
		CHECK(used == 0 && p.need > len && !boundary);
		return 0;
	default:
		CHECK(p.kind == OB_PACKET_CLOSE && used == 0 && p.code && p.reason && p.kind_word);
		return SIZE_MAX;
	}
	CHECK(used > 0 && used <= len);
	return used;
}

static void as_message(const uint8_t *data, size_t len)
{
	static uint8_t copy[MAX_INPUT];
	struct state s = {0, 0};
	json_error_t error;
	ob_packet p = {.size = sizeof(p)};

	if (len == 0 || len > MAX_PACKET) {
		return;
	}
	memcpy(copy, data, len);
	json_t *other = load(copy, len, &error);
	(void)decode(&ctx, &s, copy, len, true, MAX_PACKET, &p);
	if (json_is_object(other) && !memchr(data, '\0', len)) { /* jansson loses some of these */
		CHECK(!p.kind_word || (strcmp(p.kind_word, "bad_json") != 0 &&
		                       strcmp(p.kind_word, "bad_text") != 0));
	}
	json_decref(other);
	memcpy(copy, data, len);
	(void)step(&s, copy, len, true);
}

static void as_lines(const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t kept[MAX_INPUT];
	struct state s = {0, 1};
	size_t held = 0;

	for (size_t at = 0; at < len; at += piece) {
		size_t take_now = len - at < piece ? len - at : piece;
		memcpy(kept + held, data + at, take_now);
		held += take_now;
		while (held > 0) {
			size_t used = step(&s, kept, held, false);
			if (used == SIZE_MAX) {
				return;
			}
			if (used == 0) {
				break;
			}
			held -= used;
			memmove(kept, kept + used, held);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1 || len > MAX_INPUT) {
		return 0;
	}
	as_message(data + 1, len - 1);
	as_lines(data + 1, len - 1, 1 + data[0] % 64);
	return 0;
}
