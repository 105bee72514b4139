/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_obespoir.  How a connection with encode 2 begins; README.md has it in words.
 *
 *     client   length 37, version, its key            37 bytes
 *     server   length 69, version, its key, proof     69 bytes
 *
 * Both keys are made for this connection.  What they have in common and the token are made into one
 * key for each direction; the server's proof shows that it knows them, so that nobody without the
 * token can be in between.
 */

#ifndef OBESPOIR_HANDSHAKE_H
#define OBESPOIR_HANDSHAKE_H

#include <stdint.h>

#include "crypt.h"

#define OBESPOIR_VERSION       1u
#define OBESPOIR_HELLO_VERSION 4u /* where it stands in both hellos; the key is behind it */
#define OBESPOIR_HELLO_KEY     5u
#define OBESPOIR_HELLO         37u
#define OBESPOIR_ANSWER        69u
#define OBESPOIR_TOKEN_MIN     16u /* bytes */

enum obespoir_handshake {
	OBESPOIR_WEAK = -1, /* the client's key makes no secret */
	OBESPOIR_FAILED = -2,
};

struct obespoir_keys {
	uint8_t in[OBESPOIR_KEY];
	uint8_t out[OBESPOIR_KEY];
};

/* What the handshake uses of a token; NULL: there is none. */
int obespoir_token_key(const char *token, uint8_t key[OBESPOIR_KEY]);

/* `own`: this side's secret, from obespoir_random_key().  0, or one of the above. */
int obespoir_shake_hands(const struct obespoir_crypt *c, const uint8_t token_key[OBESPOIR_KEY],
                         const uint8_t own[OBESPOIR_KEY], const uint8_t hello[OBESPOIR_HELLO],
                         uint8_t answer[OBESPOIR_ANSWER], struct obespoir_keys *keys);

#endif
