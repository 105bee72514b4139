/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The bytes of a client with encode 1.  The first says how long their pieces are, the second how
 * long the key is and whether the bodies are encrypted first: what is in the input is a text then,
 * and gets past the padding.  Each packet that is taken is written again, and read again.
 */

#include "modules/codec_obespoir/codec_obespoir.c"
#include "t/fuzz/codec.h"

static void check_encode(void *state, const ob_packet *packet, const uint8_t *raw, size_t used)
{
	uint8_t out[MAX_PACKET];
	ob_packet back = {.size = sizeof(back)};

	CHECK(used >= HEADER + OBESPOIR_BLOCK && packet->data == raw + HEADER);
	CHECK(packet->len < used - HEADER && packet->len + OVERHEAD >= used);
	CHECK(encode(NULL, state, packet, out, used - 1) == 0);
	CHECK(encode(NULL, state, packet, out, sizeof(out)) == used);
	CHECK(decode(NULL, state, out, used, true, sizeof(out), &back) == used);
	CHECK(back.id == packet->id && back.len == packet->len);
	CHECK(memcmp(back.data, packet->data, back.len) == 0);
}

/* Encrypts the bodies of the packets as far as they are made of blocks. */
static void encrypt(const struct client *c, uint8_t *data, size_t len)
{
	while (len >= HEADER) {
		size_t total = get32(data);
		size_t blocks;

		if (total < HEADER || total > len) {
			return;
		}
		blocks = (total - HEADER) / OBESPOIR_BLOCK * OBESPOIR_BLOCK;
		CHECK(obespoir_blocks(&ciphers, c->in, c->key_len, true, data + HEADER, blocks) ==
		      0);
		data += total;
		len -= total;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t bytes[INPUT_MAX];
	struct client c = {.encode = BLOCKS};

	if (ciphers.seal == NULL) {
		CHECK(obespoir_crypt_make(&ciphers) == 0);
	}
	if (len < 2 || len > INPUT_MAX) {
		return 0;
	}
	c.key_len = (uint8_t)(16 + 8 * (data[1] % 3));
	memcpy(bytes, data + 2, len - 2);
	if ((data[1] & 0x80) != 0) {
		encrypt(&c, bytes, len - 2);
	}
	check_pieces(&c, check_encode, bytes, len - 2, 1 + data[0] % 64);
	return 0;
}
