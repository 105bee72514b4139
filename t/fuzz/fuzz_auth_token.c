/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Fuzz target: tokens of the module auth.  What is taken is written back to the same bytes, and
 * its pieces are in it. */

#include <inttypes.h>
#include <string.h>

#include "modules/auth/token.c"
#include "t/fuzz/fuzz.h"

static void write_base64url(const uint8_t *data, size_t len, char *out)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | data[i];
		for (have += 8; have >= 6; have -= 6) {
			*out++ = letters[bits >> (have - 6) & 63];
		}
	}
	if (have) {
		*out++ = letters[bits << (6 - have) & 63];
	}
	*out = '\0';
}

static void check_token(const char *text, size_t len)
{
	struct token token;
	char again[256];

	if (token_parse(text, len, &token) != TOKEN_GOOD) {
		return;
	}
	CHECK(len < sizeof(again) && token.user == text && token.user_len <= TOKEN_USER_MAX);
	CHECK(token.signed_len < len && text[token.signed_len] == '|');
	int n = snprintf(again, sizeof(again), "%.*s|%" PRId64 "|", (int)token.user_len, token.user,
	                 token.expiry);
	write_base64url(token.mac, TOKEN_MAC, again + n);
	CHECK(strlen(again) == len && memcmp(again, text, len) == 0);
	(void)token_signed(&token, "key", 3);
}

static void check_base64url(const char *text, size_t len)
{
	uint8_t bytes[192];
	char again[sizeof(bytes) * 4 / 3 + 4];
	long n = token_base64url(text, len, bytes, sizeof(bytes));

	if (n >= 0) {
		write_base64url(bytes, (size_t)n, again);
		CHECK(strlen(again) == len && memcmp(again, text, len) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *copy = malloc(len + 1); /* so that reading beyond is seen */

	CHECK(copy != NULL);
	memcpy(copy, data, len);
	char *exact = realloc(copy, len > 0 ? len : 1);
	CHECK(exact != NULL);
	check_token(exact, len);
	check_base64url(exact, len);
	free(exact);
	return 0;
}
