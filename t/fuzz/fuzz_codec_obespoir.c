/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The bytes are a client's, the way the host feeds them: in pieces (the first byte says how long),
 * what is not a whole packet yet kept in front of the next piece.  Whatever comes out is the same
 * as from the bytes in one piece, stays inside them, and encodes to the packet it came from.
 */

#include <string.h>

#include "modules/codec_obespoir/codec_obespoir.c"
#include "t/fuzz/fuzz.h"

#define MAX_PACKET 1024
#define MAX_INPUT  4096

/* What a client's bytes come to. */
struct run {
	size_t packets;
	size_t bytes; /* consumed */
	int code;     /* of the close, or 0 */
	uint32_t sum;
};

static void check_encode(const ob_packet *packet, const uint8_t *raw, size_t used)
{
	uint8_t out[MAX_PACKET];

	CHECK(encode(NULL, NULL, packet, out, used - 1) == 0);
	CHECK(encode(NULL, NULL, packet, out, sizeof(out)) == used);
	CHECK(memcmp(out, raw, 8) == 0 && get32(out + 8) == 0);
	CHECK(memcmp(out + HEADER, raw + HEADER, used - HEADER) == 0);
}

/* Decodes what stands in `data`; returns the bytes consumed, and sets code on a close. */
static size_t drain(struct run *run, uint8_t *data, size_t len, bool boundary)
{
	size_t at = 0;

	while (at < len) {
		ob_packet packet = {.size = sizeof(packet)};
		size_t left = len - at;
		size_t used = decode(NULL, NULL, data + at, left, boundary, MAX_PACKET, &packet);

		if (packet.kind == OB_PACKET_NEED) {
			CHECK(used == 0 && packet.need > left && packet.need <= MAX_PACKET);
			break;
		}
		if (packet.kind == OB_PACKET_CLOSE) {
			CHECK(used == 0 && packet.code && packet.reason);
			run->code = packet.code;
			break;
		}
		CHECK(packet.kind == OB_PACKET_MESSAGE && used >= HEADER && used <= left);
		CHECK(packet.data == data + at + HEADER && packet.len == used - HEADER);
		check_encode(&packet, data + at, used);
		run->packets++;
		run->sum = run->sum * 31 + packet.id + (uint32_t)packet.len;
		at += used;
	}
	run->bytes += at;
	return at;
}

static struct run feed(const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t kept[MAX_INPUT];
	struct run run = {0};
	size_t held = 0;

	for (size_t at = 0; at < len && !run.code; at += piece) {
		size_t take = len - at < piece ? len - at : piece;

		memcpy(kept + held, data + at, take);
		held += take;

		size_t used = drain(&run, kept, held, true);

		held -= used;
		memmove(kept, kept + used, held);
	}
	return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 1 || len > MAX_INPUT) {
		return 0;
	}

	struct run whole = feed(data + 1, len - 1, MAX_INPUT);
	struct run pieces = feed(data + 1, len - 1, 1 + data[0] % 64);

	CHECK(whole.packets == pieces.packets && whole.bytes == pieces.bytes);
	CHECK(whole.code == pieces.code && whole.sum == pieces.sum);
	return 0;
}
