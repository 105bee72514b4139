/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Tokens: the module's own, and JSON Web Tokens that another implementation has made. */

#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "modules/auth/token.h"
#include "modules/auth/webtoken.h"
#include "t/unit/auth_tokens.h"
#include "tap.h"

#define KEY "0123456789abcdef0123456789abcdef"
/* printf 'ann|1900000000' | openssl dgst -sha256 -hmac KEY -binary | base64 */
#define MAC "bl0JyUrty1KsK_MjrxxhVrn-_H1YYrvT8KcIx_n-DNY"

static const struct {
	const char *why;
	const char *text;
	const char *user; /* NULL: it is malformed */
	int64_t expiry;
} rows[] = {
	{"a good one", "ann|1900000000|" MAC, "ann", 1900000000},
	{"bars in the user", "a|b|c|5|" MAC, "a|b|c", 5},
	{"only bars as the user", "||5|" MAC, "|", 5},
	{"not ASCII", "j\xc3\xbcrgen|5|" MAC, "j\xc3\xbcrgen", 5},
	{"no user", "|5|" MAC, NULL, 0},
	{"a control character", "a\x1f|5|" MAC, NULL, 0},
	{"another kind of it", "a\xc2\x80|5|" MAC, NULL, 0},
	{"no UTF-8", "a\xff|5|" MAC, NULL, 0},
	{"UTF-8 that is longer than it need be", "a\xc0\xaf|5|" MAC, NULL, 0},
	{"half a pair", "a\xed\xa0\x80|5|" MAC, NULL, 0},
	{"a cut character", "a\xe4\xb8|5|" MAC, NULL, 0},
	{"64 bytes of user",
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef|5|" MAC,
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 5},
	{"65 bytes of user",
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!|5|" MAC, NULL, 0},
	{"no expiry", "ann||" MAC, NULL, 0},
	{"a zero in front", "ann|05|" MAC, NULL, 0},
	{"a sign", "ann|+5|" MAC, NULL, 0},
	{"before 1970", "ann|-5|" MAC, NULL, 0},
	{"12 digits", "ann|999999999999|" MAC, "ann", 999999999999},
	{"13 digits", "ann|1000000000000|" MAC, NULL, 0},
	{"a MAC with padding", "ann|5|" MAC "=", NULL, 0},
	{"a short MAC", "ann|5|AAAA", NULL, 0},
	{"no MAC", "ann|5|", NULL, 0},
	{"bits behind the MAC", "ann|5|AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", NULL, 0},
	{"base64 that is not for URLs", "ann|5|AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+A", NULL,
         0},
	{"one bar", "ann|5", NULL, 0},
	{"no bar", "ann", NULL, 0},
	{"nothing", "", NULL, 0},
	{"something behind it", "ann|5|" MAC "|", NULL, 0},
};

static void test_parse(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct token token;
		enum verdict verdict = token_parse(rows[i].text, strlen(rows[i].text), &token);
		bool good =
			rows[i].user
				? verdict == TOKEN_GOOD && token.user_len == strlen(rows[i].user) &&
					  memcmp(token.user, rows[i].user, token.user_len) == 0 &&
					  token.expiry == rows[i].expiry
				: verdict == TOKEN_MALFORMED;

		if (!good) {
			CU_FAIL("a row failed");
			printf("# row: %s: %s\n", rows[i].why, token_word(verdict));
		}
	}
	CU_PASS("rows");
}

static void test_signed(void)
{
	struct token token;

	CU_ASSERT_EQUAL_FATAL(token_parse(rows[0].text, strlen(rows[0].text), &token), TOKEN_GOOD);
	CU_ASSERT(token_signed(&token, KEY, strlen(KEY)));
	CU_ASSERT(!token_signed(&token, KEY, strlen(KEY) - 1));
	token.mac[31] ^= 1;
	CU_ASSERT(!token_signed(&token, KEY, strlen(KEY)));
	token.mac[31] ^= 1;
	token.signed_len--;
	CU_ASSERT(!token_signed(&token, KEY, strlen(KEY)));
}

static void test_time(void)
{
	CU_ASSERT(token_in_time(100, 99, 0));
	CU_ASSERT(!token_in_time(100, 100, 0));
	CU_ASSERT(token_in_time(100, 129, 30));
	CU_ASSERT(!token_in_time(100, 130, 30));
}

static void test_base64url(void)
{
	uint8_t out[8];

	CU_ASSERT_EQUAL(token_base64url("", 0, out, 8), 0);
	CU_ASSERT_EQUAL(token_base64url("-_8", 3, out, 8), 2);
	CU_ASSERT(out[0] == 0xfb && out[1] == 0xff);
	CU_ASSERT_EQUAL(token_base64url("A", 1, out, 8), -1);
	CU_ASSERT_EQUAL(token_base64url("AB", 2, out, 8), -1); /* a bit that means nothing */
	CU_ASSERT_EQUAL(token_base64url("AAAAAAAAAAAA", 12, out, 8), -1);
	CU_ASSERT_EQUAL(token_base64url("AA==", 4, out, 8), -1);
}

static struct webtoken_rules rules(void)
{
	struct webtoken_rules r = {
		.keys = {{webtoken_alg("RS256"), NULL, (char *)RSA_PEM, strlen(RSA_PEM)},
	                 {webtoken_alg("HS256"), (char *)"k1", (char *)SECRET, strlen(SECRET)},
	                 {webtoken_alg("ES256"), NULL, (char *)EC_PEM, strlen(EC_PEM)}},
		.key_count = 3,
		.issuer = (char *)"shop",
		.audience = (char *)"game",
		.user = (char *)"sub",
	};
	return r;
}

static void test_web(void)
{
	struct webtoken_rules r = rules();

	for (size_t i = 0; i < sizeof(web_rows) / sizeof(web_rows[0]); i++) {
		json_t *claims = NULL;
		const char *user = NULL;
		int64_t expiry = 0;
		enum verdict verdict =
			webtoken_check(&r, web_rows[i].token, NOW, 30, &claims, &user, &expiry);
		bool good =
			verdict == web_rows[i].verdict && !claims == (verdict != TOKEN_GOOD) &&
			(verdict != TOKEN_GOOD || (strcmp(user, "ann") == 0 && expiry >= NOW - 30));

		if (!good) {
			CU_FAIL("a row failed");
			printf("# row: %s: %s\n", web_rows[i].why, token_word(verdict));
		}
		json_decref(claims);
	}
	CU_PASS("rows");
}

/* A token for somebody is refused where nobody is configured. */
static void test_no_audience(void)
{
	struct webtoken_rules r = rules();
	json_t *claims;
	const char *user;
	int64_t expiry;

	r.audience = NULL;
	CU_ASSERT_EQUAL(webtoken_check(&r, web_rows[0].token, NOW, 30, &claims, &user, &expiry),
	                TOKEN_AUDIENCE);
	r = rules();
	r.issuer = NULL;
	CU_ASSERT_EQUAL(webtoken_check(&r, web_rows[0].token, NOW, 30, &claims, &user, &expiry),
	                TOKEN_GOOD);
	json_decref(claims);
}

static void test_keys(void)
{
	static const struct {
		const char *alg;
		const char *data;
		const char *says; /* NULL: it is good */
	} keys[] = {
		{"HS256", SECRET, NULL},
		{"HS512", SECRET, "shorter"},
		{"HS256", RSA_PEM, "PEM"},
		{"RS256", RSA_PEM, NULL},
		{"RS512", RSA_PEM, NULL},
		{"RS256", RSA_SHORT_PEM, "length"},
		{"RS256", EC_PEM, "another kind"},
		{"RS256", SECRET, "no public key"},
		{"ES256", EC_PEM, NULL},
		{"ES384", EC_PEM, "length"},
		{"ES256", RSA_PEM, "another kind"},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *problem =
			webtoken_key_problem(keys[i].alg, keys[i].data, strlen(keys[i].data));

		CU_ASSERT(keys[i].says ? problem && strstr(problem, keys[i].says) : !problem);
	}
	CU_ASSERT_PTR_NULL(webtoken_alg("none"));
	CU_ASSERT_PTR_NULL(webtoken_alg("hs256"));
	CU_ASSERT_PTR_NULL(webtoken_alg(NULL));
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("auth_token", NULL, NULL);
	CU_add_test(s, "the module's own tokens are cut", test_parse);
	CU_add_test(s, "and signed", test_signed);
	CU_add_test(s, "and end", test_time);
	CU_add_test(s, "base64url has one way to write anything", test_base64url);
	if (webtoken_built()) {
		CU_add_test(s, "tokens of another implementation", test_web);
		CU_add_test(s, "audience and issuer that are not configured", test_no_audience);
		CU_add_test(s, "which key can be for what", test_keys);
	}
	return ob__tap_run();
}
