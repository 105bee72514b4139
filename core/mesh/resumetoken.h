/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  The token by which a client gets its session back.
 *
 * It names the session, so that any proxy knows whom to ask, and proves that whoever has it was
 * given it: the first 128 bits of an HMAC-SHA256 over the name, with a key that only the session's
 * proxy has, and has anew each time it starts.  So nothing has to be kept for each session, and one
 * that is over can be told from one that never was.
 *
 *     node (16 digits) | sequence (16) | proof (32)        all hexadecimal
 */

#ifndef OB__RESUMETOKEN_H
#define OB__RESUMETOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__RESUME_TOKEN 64u
#define OB__RESUME_KEY   32u
#define OB__RESUME_PROOF 16u

struct ob__resume_token {
	uint64_t node;
	uint64_t seq;
	uint8_t proof[OB__RESUME_PROOF];
};

/* A new key.  0 or -EIO. */
int ob__resume_key(uint8_t key[OB__RESUME_KEY]);

/* Makes the token of a session.  0 or -EIO. */
int ob__resume_token_make(struct ob__resume_token *t, const uint8_t key[OB__RESUME_KEY],
                          uint64_t node, uint64_t seq);

/* The proof is what the key makes of the name; in constant time. */
bool ob__resume_token_ok(const struct ob__resume_token *t, const uint8_t key[OB__RESUME_KEY]);

/* Its text, not terminated; and back: 0 or -EINVAL. */
void ob__resume_token_put(const struct ob__resume_token *t, char out[OB__RESUME_TOKEN]);
int ob__resume_token_get(struct ob__resume_token *t, const char *text, size_t len);

#endif
