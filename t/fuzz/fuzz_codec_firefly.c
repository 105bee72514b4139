/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The bytes of a client of a listener with the demo's heads (the first says how long their pieces
 * are); each packet encodes to itself. */

#include "modules/codec_firefly/codec_firefly.c"
#include "t/fuzz/codec.h"

static void check_encode(void *state, const ob_packet *packet, const uint8_t *raw, size_t used)
{
	uint8_t out[MAX_PACKET];

	CHECK(encode(NULL, state, packet, out, used - 1) == 0);
	CHECK(encode(NULL, state, packet, out, sizeof(out)) == used);
	CHECK(memcmp(out, raw, used) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct heads heads = {{78, 37, 38, 48, 9}};

	if (len >= 1 && len <= INPUT_MAX) {
		check_pieces(&heads, check_encode, data + 1, len - 1, 1 + data[0] % 64);
	}
	return 0;
}
