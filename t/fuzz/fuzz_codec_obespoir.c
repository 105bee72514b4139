/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The bytes of a client (the first says how long their pieces are); each packet encodes to itself,
 * but for its version. */

#include "modules/codec_obespoir/codec_obespoir.c"
#include "t/fuzz/codec.h"

static void check_encode(void *state, const ob_packet *packet, const uint8_t *raw, size_t used)
{
	uint8_t out[MAX_PACKET];

	CHECK(used >= HEADER && packet->data == raw + HEADER);
	CHECK(encode(NULL, state, packet, out, used - 1) == 0);
	CHECK(encode(NULL, state, packet, out, sizeof(out)) == used);
	CHECK(memcmp(out, raw, 8) == 0 && get32(out + 8) == 0);
	CHECK(memcmp(out + HEADER, raw + HEADER, used - HEADER) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct client plain = {.encode = PLAIN};

	if (len >= 1 && len <= INPUT_MAX) {
		check_pieces(&plain, check_encode, data + 1, len - 1, 1 + data[0] % 64);
	}
	return 0;
}
