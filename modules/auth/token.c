/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "token.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define EXPIRY_DIGITS 12u
#define MAC_CHARS     43u /* of 32 bytes */

const char *token_word(enum verdict verdict)
{
	static const char *const words[TOKEN_VERDICTS] = {
		[TOKEN_GOOD] = "good",
		[TOKEN_MALFORMED] = "malformed",
		[TOKEN_TOO_BIG] = "too_big",
		[TOKEN_ALGORITHM] = "wrong_algorithm",
		[TOKEN_SIGNATURE] = "bad_signature",
		[TOKEN_EXPIRED] = "expired",
		[TOKEN_NOT_YET] = "not_yet_valid",
		[TOKEN_ISSUER] = "wrong_issuer",
		[TOKEN_AUDIENCE] = "wrong_audience",
		[TOKEN_CLAIM] = "bad_claim",
	};

	return verdict < TOKEN_VERDICTS ? words[verdict] : "?";
}

/* ---------------------------------------------------------------- base64url ---------------- */

static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z') {
		return c - 'A';
	}
	if (c >= 'a' && c <= 'z') {
		return c - 'a' + 26;
	}
	if (c >= '0' && c <= '9') {
		return c - '0' + 52;
	}
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

long token_base64url(const char *text, size_t len, uint8_t *out, size_t cap)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	if (len % 4 == 1) {
		return -1;
	}
	for (size_t i = 0; i < len; i++) {
		int six = sextet(text[i]);

		if (six < 0) {
			return -1;
		}
		bits = (bits << 6 | (uint32_t)six) & 0xffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			if (n == cap) {
				return -1;
			}
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	return (bits & ((1u << have) - 1)) == 0 ? (long)n : -1;
}

/* ---------------------------------------------------------------- users -------------------- */

/* Bytes of the character at the front, 0: it is none, or a control character. */
static size_t character(const unsigned char *s, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80       ? 1
	           : s[0] >> 5 == 6  ? 2
	           : s[0] >> 4 == 14 ? 3
	           : s[0] >> 3 == 30 ? 4
	                             : 0;

	if (n == 0 || n > len) {
		return 0;
	}
	uint32_t code = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) {
			return 0;
		}
		code = code << 6 | (s[i] & 0x3f);
	}
	bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
	bool none = code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000);
	return control || none ? 0 : n;
}

bool token_user_ok(const char *user, size_t len)
{
	if (len == 0 || len > TOKEN_USER_MAX) {
		return false;
	}
	for (size_t at = 0; at < len;) {
		size_t n = character((const unsigned char *)user + at, len - at);

		if (n == 0) {
			return false;
		}
		at += n;
	}
	return true;
}

/* ---------------------------------------------------------------- tokens ------------------- */

/* The '|' before `end`, or NULL. */
static const char *bar_before(const char *text, size_t end)
{
	while (end > 0) {
		if (text[--end] == '|') {
			return text + end;
		}
	}
	return NULL;
}

static bool read_expiry(const char *digits, size_t len, int64_t *out)
{
	int64_t n = 0;

	if (len == 0 || len > EXPIRY_DIGITS || digits[0] == '0') {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (digits[i] < '0' || digits[i] > '9') {
			return false;
		}
		n = n * 10 + (digits[i] - '0');
	}
	*out = n;
	return true;
}

enum verdict token_parse(const char *text, size_t len, struct token *out)
{
	if (len > TOKEN_USER_MAX + EXPIRY_DIGITS + MAC_CHARS + 2) {
		return TOKEN_MALFORMED;
	}
	const char *second = bar_before(text, len);
	const char *first = second ? bar_before(text, (size_t)(second - text)) : NULL;
	if (!first) {
		return TOKEN_MALFORMED;
	}
	size_t mac_len = len - (size_t)(second - text) - 1;
	*out = (struct token){
		.user = text,
		.user_len = (size_t)(first - text),
		.signed_len = (size_t)(second - text),
	};
	if (!token_user_ok(out->user, out->user_len) ||
	    !read_expiry(first + 1, (size_t)(second - first) - 1, &out->expiry) ||
	    mac_len != MAC_CHARS ||
	    token_base64url(second + 1, mac_len, out->mac, TOKEN_MAC) != TOKEN_MAC) {
		return TOKEN_MALFORMED;
	}
	return TOKEN_GOOD;
}

bool token_signed(const struct token *token, const void *key, size_t key_len)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)token->user,
	            token->signed_len, mac, &len) &&
	       len == TOKEN_MAC && CRYPTO_memcmp(mac, token->mac, TOKEN_MAC) == 0;
}

bool token_in_time(int64_t expiry, int64_t now, int64_t skew)
{
	return now < expiry + skew;
}
