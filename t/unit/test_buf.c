/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/buf.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "tap.h"

static void test_append(void)
{
	struct ob__buf b;
	ob__buf_init(&b);
	CU_ASSERT_PTR_NULL(b.data);
	CU_ASSERT_EQUAL(ob__buf_append(&b, NULL, 0), 0);
	CU_ASSERT_PTR_NULL(b.data); /* nothing allocates nothing */
	CU_ASSERT_EQUAL(ob__buf_append(&b, "half", 4), 0);
	CU_ASSERT_EQUAL(b.cap, 4); /* the first one is exact */
	CU_ASSERT_EQUAL(ob__buf_append(&b, " a packet", 9), 0);
	CU_ASSERT_EQUAL(b.len, 13);
	CU_ASSERT_EQUAL(memcmp(b.data, "half a packet", 13), 0);
	ob__buf_free(&b);
	CU_ASSERT_PTR_NULL(b.data);
	CU_ASSERT_EQUAL(b.cap, 0);
	ob__buf_free(&b);
	ob__buf_free(NULL);
}

static void test_reserve(void)
{
	static const struct {
		size_t used;
		size_t cap;
		size_t more;
		size_t want;
	} rows[] = {
		{0, 0, 100, 100},                         /* empty: exact */
		{0, 100, 300, 300},                       /* emptied: exact again */
		{0, 100, 100, 100},                       /* fits */
		{60, 100, 40, 100},                       /* fits to the byte */
		{60, 100, 41, 200},                       /* doubles */
		{60, 100, 140, 200}, {60, 100, 141, 201}, /* more than double: as asked */
		{60, 100, 0, 100},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__buf b = {0};
		CU_ASSERT_EQUAL(ob__buf_reserve(&b, rows[i].cap), 0);
		CU_ASSERT_EQUAL(b.cap, rows[i].cap);
		if (rows[i].used > 0) {
			memset(b.data, 'x', rows[i].used);
		}
		b.len = rows[i].used;
		CU_ASSERT_EQUAL(ob__buf_reserve(&b, rows[i].more), 0);
		CU_ASSERT_EQUAL(b.cap, rows[i].want);
		CU_ASSERT_EQUAL(b.len, rows[i].used);
		for (size_t k = 0; k < rows[i].used; k++) {
			CU_ASSERT_EQUAL(b.data[k], 'x');
		}
		ob__buf_free(&b);
	}
}

static void test_reserve_overflow(void)
{
	struct ob__buf b = {0};
	CU_ASSERT_EQUAL(ob__buf_append(&b, "x", 1), 0);
	struct ob__buf before = b;
	CU_ASSERT_EQUAL(ob__buf_reserve(&b, SIZE_MAX), -ENOMEM);
	CU_ASSERT_EQUAL(memcmp(&b, &before, sizeof(b)), 0);
	CU_ASSERT_EQUAL(b.data[0], 'x');
	ob__buf_free(&b);
}

static void test_consume(void)
{
	struct ob__buf b = {0};
	ob__buf_consume(&b, 0); /* of an empty one */
	CU_ASSERT_EQUAL(ob__buf_append(&b, "abcdef", 6), 0);
	ob__buf_consume(&b, 0);
	CU_ASSERT_EQUAL(b.len, 6);
	ob__buf_consume(&b, 2);
	CU_ASSERT_EQUAL(b.len, 4);
	CU_ASSERT_EQUAL(memcmp(b.data, "cdef", 4), 0);
	ob__buf_consume(&b, 4);
	CU_ASSERT_EQUAL(b.len, 0);
	CU_ASSERT_EQUAL(b.cap, 6); /* the memory stays */
	ob__buf_free(&b);
}

static void test_printf(void)
{
	struct ob__buf b = {0};
	CU_ASSERT_EQUAL(ob__buf_printf(&b, "%s", ""), 0);
	CU_ASSERT_EQUAL(b.len, 0);
	CU_ASSERT_EQUAL(ob__buf_printf(&b, "%s %d", "id", 1000), 0);
	CU_ASSERT_EQUAL(ob__buf_printf(&b, ", %05.1f", 2.5), 0);
	CU_ASSERT_EQUAL(b.len, 14);
	CU_ASSERT_EQUAL(memcmp(b.data, "id 1000, 002.5", 14), 0);
	char text[5000];
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CU_ASSERT_EQUAL(ob__buf_printf(&b, "%s", text), 0); /* longer than any first guess */
	CU_ASSERT_EQUAL(b.len, 14 + sizeof(text) - 1);
	CU_ASSERT_EQUAL(memcmp(b.data + 14, text, sizeof(text) - 1), 0);
	ob__buf_free(&b);
}

static void test_shared(void)
{
	struct ob__rbuf *r = ob__rbuf_copy("payload", 7);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(r->refs, 1);
	CU_ASSERT_EQUAL(r->len, 7);
	CU_ASSERT_EQUAL(memcmp(r->data, "payload", 7), 0);
	CU_ASSERT_PTR_EQUAL(ob__rbuf_ref(r), r);
	CU_ASSERT_EQUAL(r->refs, 2);
	ob__rbuf_unref(r);
	CU_ASSERT_EQUAL(r->refs, 1);
	CU_ASSERT_EQUAL(memcmp(r->data, "payload", 7), 0);
	ob__rbuf_unref(r); /* frees: the leak check would tell */
	ob__rbuf_unref(NULL);

	struct ob__rbuf *empty = ob__rbuf_copy(NULL, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(empty);
	CU_ASSERT_EQUAL(empty->len, 0);
	ob__rbuf_unref(empty);
	CU_ASSERT_PTR_NULL(ob__rbuf_new(SIZE_MAX)); /* header and data don't fit in a size_t */
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("buf", NULL, NULL);
	CU_add_test(s, "appends copies", test_append);
	CU_add_test(s, "reserves exactly, then doubles", test_reserve);
	CU_add_test(s, "an impossible size changes nothing", test_reserve_overflow);
	CU_add_test(s, "drops from the front", test_consume);
	CU_add_test(s, "appends formatted text", test_printf);
	CU_add_test(s, "a shared buffer lives until its last reference", test_shared);
	return ob__tap_run();
}
