/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/wsdeflate.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define ALONE "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

static void test_accept(void)
{
	static const struct {
		const char *offers;
		uint8_t bits;
		const char *answer;
	} rows[] = {
		{"permessage-deflate", 15, ALONE},
		{"PerMessage-Deflate", 15, ALONE},
		{"permessage-deflate; client_max_window_bits", 15, ALONE},
		{"permessage-deflate;client_max_window_bits=8", 15, ALONE},
		{"permessage-deflate; client_no_context_takeover", 15, ALONE},
		{"permessage-deflate; server_no_context_takeover; client_max_window_bits=\"15\"",
	         15, ALONE},
		{"permessage-deflate; server_max_window_bits=10", 10,
	         ALONE "; server_max_window_bits=10"},
		{"permessage-deflate; server_max_window_bits=\"9\"", 9,
	         ALONE "; server_max_window_bits=9"},
		{"permessage-deflate; server_max_window_bits=15", 15,
	         ALONE "; server_max_window_bits=15"},
		/* zlib has no such window; the next offer is taken */
		{"permessage-deflate; server_max_window_bits=8", 0, ""},
		{"permessage-deflate; server_max_window_bits=8, permessage-deflate", 15, ALONE},
		{"foo, bar; baz=1 ,permessage-deflate; server_max_window_bits=12,permessage-deflate",
	         12, ALONE "; server_max_window_bits=12"},
		{"foo; x=\"a,b;c\\\"d\", permessage-deflate", 15, ALONE},
		{", ,permessage-deflate,", 15, ALONE},
		/* declined: values, twice, unknown */
		{"permessage-deflate; server_max_window_bits", 0, ""},
		{"permessage-deflate; server_max_window_bits=7", 0, ""},
		{"permessage-deflate; server_max_window_bits=16", 0, ""},
		{"permessage-deflate; server_max_window_bits=010", 0, ""},
		{"permessage-deflate; server_max_window_bits=1000000", 0, ""},
		{"permessage-deflate; server_max_window_bits=x", 0, ""},
		{"permessage-deflate; server_max_window_bits=", 0, ""},
		{"permessage-deflate; client_max_window_bits=7", 0, ""},
		{"permessage-deflate; client_max_window_bits=1", 0, ""},
		{"permessage-deflate; client_max_window_bits=\"\"", 0, ""},
		{"permessage-deflate; server_no_context_takeover=1", 0, ""},
		{"permessage-deflate; client_no_context_takeover=true", 0, ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=9", 0, ""},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", 0,
	         ""},
		{"permessage-deflate; something", 0, ""},
		{"permessage-deflate-x", 0, ""},
		{"x-permessage-deflate", 0, ""},
		{"permessage-deflat", 0, ""},
		{"", 0, ""},
		{" , ", 0, ""},
		/* not what the caller has made sure of */
		{"=", 0, ""},
		{"\"permessage-deflate\"", 0, ""},
		{"permessage-deflate;", 0, ""},
		{"permessage-deflate x", 0, ""},
		{"foo bar, permessage-deflate", 0, ""},
		{"foo; x=\"a", 0, ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char out[OB__WSDEFLATE_ANSWER] = "";
		CU_ASSERT_EQUAL(ob__wsdeflate_accept(rows[i].offers, out), rows[i].bits);
		CU_ASSERT_STRING_EQUAL(out, rows[i].answer);
	}
}

static uint32_t seed = 1;

static uint8_t some(void)
{
	seed = seed * 1103515245u + 12345u;
	return (uint8_t)(seed >> 16);
}

/* Text-like, or noise. */
static void fill(uint8_t *data, size_t len, bool noise)
{
	for (size_t i = 0; i < len; i++) {
		data[i] = noise ? some() : (uint8_t)("abcdefgh"[some() % 8]);
	}
}

static void test_there_and_back(void)
{
	static const size_t sizes[] = {1, 2, 100, 255, 256, 1000, 4096, 40000, 70000, 1000000};
	static uint8_t data[1000000];
	static uint8_t packed[1000000];
	struct ob__wsdeflate *d = ob__wsdeflate_new(6, 0);
	int shorter = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (uint8_t bits = 9; bits <= 15; bits++) {
		for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
			size_t len = sizes[i / 2];
			fill(data, len, i % 2 == 1);
			size_t n = ob__wsdeflate_pack(d, bits, data, len, packed, len);
			CU_ASSERT_TRUE(n < len);
			CU_ASSERT_TRUE(len < 1000 || (n > 0) == (i % 2 == 0));
			shorter += n > 0;
			if (n == 0) {
				continue;
			}
			struct ob__buf out = {0};
			CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, packed, n, len, &out), 0);
			CU_ASSERT_EQUAL_FATAL(out.len, len);
			CU_ASSERT_EQUAL(memcmp(out.data, data, len), 0);
			ob__buf_free(&out);
			/* one byte more than is allowed */
			CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, packed, n, len - 1, &out),
			                -EMSGSIZE);
			ob__buf_free(&out);
		}
	}
	CU_ASSERT_TRUE(shorter >= 7 * 6);
	CU_ASSERT_EQUAL(ob__wsdeflate_pack(d, 8, data, 1000, packed, 1000), 0);
	CU_ASSERT_EQUAL(ob__wsdeflate_pack(d, 16, data, 1000, packed, 1000), 0);
	CU_ASSERT_EQUAL(ob__wsdeflate_pack(d, 15, data, 1000, packed, 3), 0);
	ob__wsdeflate_free(d);
	ob__wsdeflate_free(NULL);
}

/* The examples of RFC 7692, section 7.2.3, and what is wrong. */
static void test_unpack(void)
{
	static const struct {
		const char *data;
		size_t len;
		int rc;
		const char *out;
	} rows[] = {
		{"\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 0, "Hello"},
		{"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, 0, "Hello"}, /* stored */
		{"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, 0, "Hello"}, /* a last block, and another */
		{"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, 0, "Hello"}, /* two */
		{"\x00", 1, 0, ""},
		{"", 0, -EBADMSG, ""},
		{"\xf2\x48\xcd\xc9\xc9\x07", 6, -EBADMSG, ""}, /* cut off */
		{"\xf2\x48\xcd", 3, -EBADMSG, ""},
		{"\xf3\x48\xcd\xc9\xc9\x07\x00", 7, -EBADMSG, ""},
		{"\x00\x05\x00\xfa\xff\x48\x65", 7, -EBADMSG, ""}, /* the tail is not its data */
		{"\x07", 1, -EBADMSG, ""},                         /* no such kind of block */
		{"\xff\xff\xff\xff", 4, -EBADMSG, ""},
		{"\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00", 11, -EBADMSG, ""},
		{"\xca\x00\x11\x00", 4, -EBADMSG, ""}, /* a distance beyond the beginning */
	};
	struct ob__wsdeflate *d = ob__wsdeflate_new(1, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__buf out = {0};
		int rc = ob__wsdeflate_unpack(d, rows[i].data, rows[i].len, 1000, &out);
		if (rc != rows[i].rc) {
			printf("# row %zu: %d\n", i, rc);
		}
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc == 0) {
			CU_ASSERT_EQUAL(out.len, strlen(rows[i].out));
			CU_ASSERT_EQUAL(memcmp(out.data, rows[i].out, out.len), 0);
		}
		ob__buf_free(&out);
		/* nothing of one is left for the next */
		CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, rows[0].data, rows[0].len, 5, &out), 0);
		CU_ASSERT_EQUAL(out.len, 5);
		ob__buf_free(&out);
	}
	ob__wsdeflate_free(d);
}

/* A message that says no to any context can't reach into the one before it. */
static void test_no_context(void)
{
	uint8_t text[400];
	uint8_t one[400];
	uint8_t two[400];
	struct ob__wsdeflate *d = ob__wsdeflate_new(9, 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	fill(text, sizeof(text), false);
	size_t first = ob__wsdeflate_pack(d, 15, text, sizeof(text), one, sizeof(one));
	size_t second = ob__wsdeflate_pack(d, 15, text, sizeof(text), two, sizeof(two));
	CU_ASSERT_TRUE(first > 0);
	CU_ASSERT_EQUAL(first, second);
	CU_ASSERT_EQUAL(memcmp(one, two, first), 0);
	ob__wsdeflate_free(d);
}

/* A few bytes that would be a lot: no more memory is taken than the limit. */
static void test_bomb(void)
{
	enum { HUGE = 64 << 20, LIMIT = 1 << 20 };
	uint8_t *zeros = calloc(1, HUGE);
	uint8_t *packed = malloc(HUGE / 100);
	struct ob__wsdeflate *d = ob__wsdeflate_new(9, 0);

	CU_ASSERT_FATAL(zeros != NULL && packed != NULL && d != NULL);
	size_t n = ob__wsdeflate_pack(d, 15, zeros, HUGE, packed, HUGE / 100);
	CU_ASSERT_TRUE_FATAL(n > 0 && n < HUGE / 500);
	struct ob__buf out = {0};
	CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, packed, n, LIMIT, &out), -EMSGSIZE);
	CU_ASSERT_TRUE(out.len <= LIMIT + 1);
	CU_ASSERT_TRUE(out.cap <= 2 * LIMIT);
	ob__buf_free(&out);
	CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, packed, n, HUGE, &out), 0);
	CU_ASSERT_EQUAL(out.len, HUGE);
	ob__buf_free(&out);
	ob__wsdeflate_free(d);
	free(packed);
	free(zeros);
}

/* What compresses has a bound; what decompresses is there in any case. */
static void test_memory(void)
{
	uint8_t text[400];
	uint8_t packed[400];
	struct ob__wsdeflate *d = ob__wsdeflate_new(6, 300u << 10);

	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	fill(text, sizeof(text), false);
	CU_ASSERT_TRUE(ob__wsdeflate_pack(d, 15, text, sizeof(text), packed, sizeof(packed)) > 0);
	CU_ASSERT_EQUAL(ob__wsdeflate_pack(d, 14, text, sizeof(text), packed, sizeof(packed)), 0);
	CU_ASSERT_TRUE(ob__wsdeflate_pack(d, 15, text, sizeof(text), packed, sizeof(packed)) > 0);
	ob__wsdeflate_free(d);
	d = ob__wsdeflate_new(6, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(d);
	CU_ASSERT_EQUAL(ob__wsdeflate_pack(d, 15, text, sizeof(text), packed, sizeof(packed)), 0);
	struct ob__buf out = {0};
	CU_ASSERT_EQUAL(ob__wsdeflate_unpack(d, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, 5, &out), 0);
	ob__buf_free(&out);
	ob__wsdeflate_free(d);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("wsdeflate", NULL, NULL);
	CU_add_test(s, "what is accepted", test_accept);
	CU_add_test(s, "there and back", test_there_and_back);
	CU_add_test(s, "unpacking", test_unpack);
	CU_add_test(s, "no context", test_no_context);
	CU_add_test(s, "a bomb", test_bomb);
	CU_add_test(s, "memory", test_memory);
	return ob__tap_run();
}
