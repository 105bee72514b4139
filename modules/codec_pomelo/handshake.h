/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  The handshake: what a client says about itself, and what it is told.  A
 * client that has kept the dictionary or the protos of before says their versions, and is not sent
 * them again: so there are four answers, made once.  A client that may come back says so in its
 * `user`, which any client library leaves to the application, and hears in `user` what came of it.
 */

#ifndef POMELO_HANDSHAKE_H
#define POMELO_HANDSHAKE_H

#include "bytes.h"
#include "settings.h"

#define POMELO_OK     200
#define POMELO_FAILED 500
#define POMELO_OLD    501 /* this client's type or version is not taken */

#define POMELO_HAS_DICTIONARY 1u
#define POMELO_HAS_PROTOS     2u
#define POMELO_ANSWERS        4u

#define POMELO_TOKEN_MAX  128u
#define POMELO_SEEN_ROUTE "obhost.resume.seen"

/* That it may come back: `user` has {"resume":{}}, or {"resume":{"token":"...","seen":17}}. */
struct pomelo_hello {
	bool said;
	char token[POMELO_TOKEN_MAX + 1]; /* what is longer is none, and cut */
	size_t token_len;                 /* 0: it was not here before */
	uint64_t seen;                    /* messages, by then */
};

/* Reads what a client says, one of the codes above; *has gets the two flags. */
int pomelo_handshake_read(const struct pomelo_settings *s, const uint8_t *body, size_t len,
                          unsigned *has, struct pomelo_hello *hello);

/* Reads the body of a message of POMELO_SEEN_ROUTE, {"seen":20}: false when it is none. */
bool pomelo_seen_read(const uint8_t *body, size_t len, uint64_t *seen);

/* What "user" is in the answer to a hello, as JSON to be freed; NULL: out of memory. */
char *pomelo_welcome_text(const ob_packet *welcome);

/* Makes the answers, by these flags: whole packages, to be freed. 0, or negative with err. */
int pomelo_handshake_answers(const struct pomelo_settings *s,
                             struct pomelo_bytes answers[POMELO_ANSWERS], ob_err *err);

/* Writes such an answer with "user" in it, a JSON value of len > 0 bytes. Returns its size, which
 * is more than `cap` if there is not so much room; 0: it is too long for a package. */
size_t pomelo_handshake_with_user(const struct pomelo_bytes *answer, const uint8_t *user,
                                  size_t len, uint8_t *out, size_t cap);

/* Writes a package with nothing but the code, at most 32 bytes. */
size_t pomelo_handshake_refusal(int code, uint8_t out[32]);

#endif
