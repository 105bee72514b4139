/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/pushq.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static struct ob__pushq q;

static uint32_t put(uint32_t id, const char *text, size_t max, bool conflate)
{
	uint32_t dropped;
	CU_ASSERT_EQUAL(ob__pushq_put(&q, id, text, strlen(text), max, conflate, &dropped), 0);
	return dropped;
}

static void take(uint32_t id, const char *text)
{
	struct ob__pushq_item *item = ob__pushq_take(&q);
	CU_ASSERT_PTR_NOT_NULL_FATAL(item);
	CU_ASSERT_EQUAL(item->id, id);
	CU_ASSERT_EQUAL_FATAL(item->len, strlen(text));
	CU_ASSERT_EQUAL(memcmp(item->data, text, item->len), 0);
	free(item);
}

static void test_order(void)
{
	ob__pushq_init(&q);
	CU_ASSERT_PTR_NULL(ob__pushq_take(&q));
	CU_ASSERT_EQUAL(put(1, "a", 1000, false), 0);
	CU_ASSERT_EQUAL(put(1, "bb", 1000, false), 0);
	CU_ASSERT_EQUAL(put(2, "", 1000, false), 0);
	CU_ASSERT_EQUAL(q.bytes, 3 * OB__PUSHQ_OVERHEAD + 3);
	take(1, "a");
	take(1, "bb");
	take(2, "");
	CU_ASSERT_EQUAL(q.bytes, 0);
	ob__pushq_free(&q);
}

static void test_oldest_go(void)
{
	size_t max = 3 * OB__PUSHQ_OVERHEAD + 9;
	uint32_t dropped;
	ob__pushq_init(&q);
	CU_ASSERT_EQUAL(put(1, "aaa", max, false), 0);
	CU_ASSERT_EQUAL(put(2, "bbb", max, false), 0);
	CU_ASSERT_EQUAL(put(3, "ccc", max, false), 0);
	CU_ASSERT_EQUAL(put(4, "d", max, false), 1);
	CU_ASSERT_EQUAL(put(5, "eeeeeeee", max, false), 2);
	CU_ASSERT_TRUE(q.bytes <= max);
	char *text = calloc(1, max);
	CU_ASSERT_EQUAL(ob__pushq_put(&q, 6, text, max, max, false, &dropped), -E2BIG);
	CU_ASSERT_EQUAL(q.len, 2);
	CU_ASSERT_EQUAL(ob__pushq_put(&q, 6, text, max - OB__PUSHQ_OVERHEAD, max, false, &dropped),
	                0);
	CU_ASSERT_EQUAL(dropped, 2);
	CU_ASSERT_EQUAL(q.len, 1);
	free(text);
	ob__pushq_free(&q);
	CU_ASSERT_EQUAL(q.len, 0);
	for (uint32_t i = 0; i < OB__PUSHQ_LEN_MAX + 10; i++) {
		CU_ASSERT_EQUAL(put(i, "", 1u << 30, false), i >= OB__PUSHQ_LEN_MAX);
	}
	CU_ASSERT_EQUAL(q.len, OB__PUSHQ_LEN_MAX);
	take(10, "");
	ob__pushq_free(&q);
}

static void test_conflate(void)
{
	ob__pushq_init(&q);
	CU_ASSERT_EQUAL(put(1, "old", 1000, true), 0);
	CU_ASSERT_EQUAL(put(2, "other", 1000, true), 0);
	CU_ASSERT_EQUAL(put(1, "new", 1000, true), 1);
	CU_ASSERT_EQUAL(q.len, 2);
	CU_ASSERT_EQUAL(q.bytes, 2 * OB__PUSHQ_OVERHEAD + 8);
	take(2, "other");
	take(1, "new");
	ob__pushq_free(&q);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("pushq", NULL, NULL);
	CU_add_test(s, "first in, first out", test_order);
	CU_add_test(s, "the oldest go", test_oldest_go);
	CU_add_test(s, "the newest of an id", test_conflate);
	return ob__tap_run();
}
