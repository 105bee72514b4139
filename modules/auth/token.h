/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to modules/auth.  The module's own tokens,
 *
 *     USER|EXPIRY|MAC
 *
 * USER is a user id (1 to 64 bytes of UTF-8 without control characters; it may have a '|'), EXPIRY
 * a time in seconds since 1970 (1 to 12 digits, no zero in front), MAC the HMAC-SHA256 of
 * "USER|EXPIRY" with a key, in base64url without padding.  And what the module's tokens share:
 * verdicts and base64url.  Pure but for the HMAC itself, which is libcrypto's; no globals.
 */

#ifndef AUTH_TOKEN_H
#define AUTH_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAC      32u
#define TOKEN_USER_MAX 64u

/* What a token has come to; token_word() says it. */
enum verdict {
	TOKEN_GOOD = 0,
	TOKEN_MALFORMED,
	TOKEN_TOO_BIG,
	TOKEN_ALGORITHM, /* none that is configured */
	TOKEN_SIGNATURE,
	TOKEN_EXPIRED,
	TOKEN_NOT_YET,
	TOKEN_ISSUER,
	TOKEN_AUDIENCE,
	TOKEN_CLAIM, /* no user, or one that can't be; a claim that does not fit */
	TOKEN_VERDICTS,
};

/* A token of the form above, cut; points into it. */
struct token {
	const char *user;
	size_t user_len;
	int64_t expiry;
	size_t signed_len; /* the MAC is of so many bytes at its front */
	uint8_t mac[TOKEN_MAC];
};

/* A word, "expired" say. */
const char *token_word(enum verdict verdict);

/* Cuts it.  TOKEN_GOOD or TOKEN_MALFORMED: a token has exactly one way to be written. */
enum verdict token_parse(const char *text, size_t len, struct token *out);

/* Is it signed with this key?  In constant time. */
bool token_signed(const struct token *token, const void *key, size_t key_len);

/* Is `now`, in s, before its end, `skew` seconds of grace included? */
bool token_in_time(int64_t expiry, int64_t now, int64_t skew);

/* A user id is 1 to TOKEN_USER_MAX bytes of UTF-8 without control characters. */
bool token_user_ok(const char *user, size_t len);

/* Decodes base64url without padding, of which there is one way to write anything.  How many bytes
 * it is, or -1: it is none, or longer than cap. */
long token_base64url(const char *text, size_t len, uint8_t *out, size_t cap);

#endif
