/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The example codec_line, in a mock host, which checks a codec's contract by itself. */

#include <string.h>

#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of examples/codec_line/codec_line.c */

enum { MAX = 40 };

static const struct {
	const char *bytes;
	long consumed;
	int kind;
	uint32_t id;
	uint32_t one_way;
	const char *payload;
} rows[] = {
	{"7 hello\n", 8, OB_PACKET_MESSAGE, 7, 0, "hello"},
	{"7 hello\r\n", 9, OB_PACKET_MESSAGE, 7, 0, "hello"},
	{"!7 hello\n8 x\n", 9, OB_PACKET_MESSAGE, 7, 1, "hello"}, /* one at a time */
	{"7\n", 2, OB_PACKET_MESSAGE, 7, 0, ""},
	{"7 \n", 3, OB_PACKET_MESSAGE, 7, 0, ""},
	{"2147483647 x\n", 13, OB_PACKET_MESSAGE, 2147483647, 0, "x"},
	{"\n", 1, OB_PACKET_SKIP, 0, 0, NULL}, /* keeps the connection alive */
	{"\r\n", 2, OB_PACKET_SKIP, 0, 0, NULL},
	{"7 hel", 0, OB_PACKET_NEED, 0, 0, NULL},
	{"!", 0, OB_PACKET_NEED, 0, 0, NULL},
	{"!\n", 0, OB_PACKET_CLOSE, 0, 0, NULL}, /* no id */
	{"hello\n", 0, OB_PACKET_CLOSE, 0, 0, NULL},
	{"7x\n", 0, OB_PACKET_CLOSE, 0, 0, NULL},
	{"-7 x\n", 0, OB_PACKET_CLOSE, 0, 0, NULL},
	{"2147483648 x\n", 0, OB_PACKET_CLOSE, 0, 0, NULL}, /* beyond 31 bits */
	{"99999999999999999999999 x\n", 0, OB_PACKET_CLOSE, 0, 0, NULL},
	{"7 0123456789012345678901234567890123456789", 0, OB_PACKET_CLOSE, 0, 0, NULL},
};

static ob_mock *begin(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	return m;
}

static void test_decode(void)
{
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t state[1] = {0};
		uint8_t data[64];
		size_t len = strlen(rows[i].bytes);
		ob_packet p;

		memcpy(data, rows[i].bytes, len);
		ssize_t n = ob_mock_decode(m, "line", state, data, len, false, MAX, &p);
		CU_ASSERT_EQUAL(n, rows[i].consumed);
		CU_ASSERT_EQUAL_FATAL(p.kind, rows[i].kind);
		if (p.kind == OB_PACKET_MESSAGE) {
			CU_ASSERT_EQUAL(p.id, rows[i].id);
			CU_ASSERT_EQUAL(p.one_way, rows[i].one_way);
			CU_ASSERT_EQUAL_FATAL(p.len, strlen(rows[i].payload));
			CU_ASSERT_EQUAL(memcmp(p.data, rows[i].payload, p.len), 0);
		}
	}
	ob_mock_free(m);
}

static void expect(ob_mock *m, uint8_t *state, int kind, uint32_t id, const char *payload,
                   const char *line)
{
	uint8_t out[64];
	ob_packet p = {.kind = kind,
	               .id = id,
	               .data = (const uint8_t *)payload,
	               .len = payload != NULL ? strlen(payload) : 0};
	ssize_t n = ob_mock_encode(m, "line", state, &p, out, sizeof(out));

	CU_ASSERT_EQUAL_FATAL(n, (ssize_t)strlen(line));
	CU_ASSERT_EQUAL(memcmp(out, line, (size_t)n), 0);
}

static void test_encode(void)
{
	ob_mock *m = begin();
	uint8_t state[1] = {0};
	uint8_t data[] = "1\r\n";
	ob_packet p;

	expect(m, state, OB_PACKET_REPLY, 7, "hello", "7 hello\n");
	expect(m, state, OB_PACKET_PUSH, 2147483647, "hello", "*2147483647 hello\n");
	expect(m, state, OB_PACKET_REPLY, 7, NULL, "7 \n");
	expect(m, state, OB_PACKET_REPLY, 7, "two\nlines", ""); /* can't be said */
	CU_ASSERT_EQUAL(ob_mock_decode(m, "line", state, data, 3, false, MAX, &p), 3);
	expect(m, state, OB_PACKET_PUSH, 2147483647, "hello", "*2147483647 hello\r\n");
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("codec_line", NULL, NULL);
	CU_add_test(s, "lines of strangers", test_decode);
	CU_add_test(s, "answers and pushes", test_encode);
	return ob__tap_run();
}
