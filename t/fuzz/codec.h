/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Test code.  Fuzzing a codec whose packets are a stream of bytes.
 *
 * The bytes are a client's, the way the host feeds them: in pieces, what is not a whole packet yet
 * kept in front of the next piece.  Whatever comes out is the same as from the bytes in one piece,
 * and stays inside them.  The target includes the codec's source, then this, and gives each packet
 * to a check of its own.
 */

#ifndef T_FUZZ_CODEC_H
#define T_FUZZ_CODEC_H

#include <string.h>

#include "t/fuzz/fuzz.h"

#define MAX_PACKET 1024
#define INPUT_MAX  4096

/* Of a whole packet that was decoded from raw[0..used). */
typedef void (*check_fn)(void *state, const ob_packet *packet, const uint8_t *raw, size_t used);

/* What a client's bytes come to. */
struct run {
	void *state;
	check_fn check;
	size_t packets;
	size_t bytes; /* consumed */
	int code;     /* of the close, or 0 */
	uint32_t sum;
};

/* Decodes what stands in `data`; returns the bytes consumed, and sets code on a close. */
static size_t drain(struct run *run, uint8_t *data, size_t len, bool boundary)
{
	size_t at = 0;

	while (at < len) {
		ob_packet packet = {.size = sizeof(packet)};
		size_t left = len - at;
		size_t used =
			decode(NULL, run->state, data + at, left, boundary, MAX_PACKET, &packet);

		if (packet.kind == OB_PACKET_NEED) {
			CHECK(used == 0 && packet.need > left && packet.need <= MAX_PACKET);
			break;
		}
		if (packet.kind == OB_PACKET_CLOSE) {
			CHECK(used == 0 && packet.code && packet.reason);
			run->code = packet.code;
			break;
		}
		bool hello = packet.kind == OB_PACKET_HELLO || packet.kind == OB_PACKET_SEEN;
		CHECK((hello || packet.kind == OB_PACKET_MESSAGE) && used > 0 && used <= left);
		CHECK((hello && packet.len == 0) ||
		      (packet.data >= data + at && packet.data + packet.len <= data + at + used));
		run->check(run->state, &packet, data + at, used);
		run->packets++;
		run->sum = run->sum * 31 + packet.id + (uint32_t)packet.len;
		at += used;
	}
	run->bytes += at;
	return at;
}

static struct run feed(void *state, check_fn check, const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t kept[INPUT_MAX];
	struct run run = {.state = state, .check = check};
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

/* The same from one piece and from pieces of `piece` bytes. */
static void check_pieces(void *state, check_fn check, const uint8_t *data, size_t len, size_t piece)
{
	struct run whole = feed(state, check, data, len, INPUT_MAX);
	struct run pieces = feed(state, check, data, len, piece);

	CHECK(whole.packets == pieces.packets && whole.bytes == pieces.bytes);
	CHECK(whole.code == pieces.code && whole.sum == pieces.sum);
}

#endif
