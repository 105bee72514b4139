/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/proxyhdr.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "tap.h"

#define MARK "\r\n\r\n\0\r\nQUIT\n"

struct row {
	const char *data;
	size_t len;
	int rc;
	const char *who; /* NULL: nobody is named */
};

#define ROW(text, rc, who)                      \
	{                                       \
		text, sizeof(text) - 1, rc, who \
	}

static void check(const struct row *row)
{
	struct ob__proxyhdr h;
	char who[OB__IP_TEXT] = "";
	const uint8_t *data = (const uint8_t *)row->data;
	int rc = ob__proxyhdr_parse(data, row->len, &h);

	if (rc != row->rc || h.named != (row->who != NULL)) {
		CU_FAIL("another answer");
		return;
	}
	if (h.named) {
		ob__ip_format(&h.ip, h.port, who, sizeof(who));
		CU_ASSERT_STRING_EQUAL(who, row->who);
	}
	/* With fewer bytes a good one is not whole, and with each it may still become one. */
	for (size_t n = 0; rc > 0 && n < (size_t)rc; n++) {
		CU_ASSERT_EQUAL(ob__proxyhdr_parse(data, n, &h), 0);
	}
}

static void test_v1(void)
{
	static const struct row rows[] = {
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET", 41, "192.0.2.1:56324"),
		ROW("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", 32, "[2001:db8::1]:1"),
		ROW("PROXY UNKNOWN\r\n", 15, NULL),
		ROW("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nx", 35, NULL),
		ROW("GET / HTTP/1.1\r\n", -EBADMSG, NULL),
		ROW("PROXI", -EBADMSG, NULL),
		ROW("PROXY \r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 \r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4  192.0.2.1 10.0.0.1 56324 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 01 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 -1 443\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 ::1 ::1 1 2\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP5 192.0.2.1 10.0.0.1 1 2\r\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n", -EBADMSG, NULL),
		ROW("PROXY TCP4 192.0.2.1\0 10.0.0.1 1 2\r\n", -EBADMSG, NULL),
	};
	char longest[200];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(&rows[i]);
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "PROXY UNKNOWN ", 14);
	check(&(struct row){longest, 106, 0, NULL});
	check(&(struct row){longest, 107, -EBADMSG, NULL});
	memcpy(longest + 105, "\r\n", 2);
	check(&(struct row){longest, 107, 107, NULL});
}

static void test_v2(void)
{
	static const struct row rows[] = {
		ROW(MARK "\x21\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbbGET", 28,
	            "192.0.2.1:56324"),
		ROW(MARK "\x21\x11\0\x10\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbb\x04\0\1x", 32,
	            "192.0.2.1:56324"),
		ROW(MARK "\x21\x21\0\x24"
	                 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
	                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\7\0\10",
	            52, "[2001:db8::1]:7"),
		ROW(MARK "\x20\0\0\0", 16, NULL),
		ROW(MARK "\x20\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbb", 28, NULL),
		ROW(MARK "\x21\0\0\0", 16, NULL),
		ROW(MARK "\x21\x12\0\x0c\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbb", 28, NULL),
		ROW(MARK "\x11\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbb", -EBADMSG, NULL),
		ROW(MARK "\x22\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\xdc\x04\x01\xbb", -EBADMSG, NULL),
		ROW(MARK "\x21\x41\0\0", -EBADMSG, NULL),
		ROW(MARK "\x21\x13\0\x0c", -EBADMSG, NULL),
		ROW(MARK "\x21\x11\0\x0b", -EBADMSG, NULL),
		ROW(MARK "\x21\x21\0\x0c", -EBADMSG, NULL),
		ROW(MARK "\x21\x11\x0f\xf1", -EBADMSG, NULL),
		ROW(MARK "\x21\x11\x0f\xf0", 0, NULL),
		ROW("\r\n\r\n\0\r\nQUIX", -EBADMSG, NULL),
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		check(&rows[i]);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("proxyhdr", NULL, NULL);
	CU_add_test(s, "version 1", test_v1);
	CU_add_test(s, "version 2", test_v2);
	return ob__tap_run();
}
