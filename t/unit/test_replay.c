/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/replay.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

static const struct ob__replay_bounds wide = {100, 1 << 20, 1 << 20};
static struct ob__replay r;
static size_t all;

static uint64_t put(const char *text, const struct ob__replay_bounds *max)
{
	struct ob__replay_msg msg = {
		.kind = 2,
		.id = 7,
		.name = "a.b",
		.name_len = 3,
		.data = (const uint8_t *)text,
		.len = strlen(text),
	};
	return ob__replay_put(&r, &msg, max);
}

static void begin(uint64_t sent)
{
	all = 0;
	ob__replay_init(&r, &all, sent);
}

static void end(void)
{
	ob__replay_free(&r);
	CU_ASSERT_EQUAL(all, 0);
	CU_ASSERT_EQUAL(r.bytes, 0);
}

static void expect(uint64_t number, uint64_t found, const char *text)
{
	const struct ob__replay_item *item = ob__replay_next(&r, number);
	CU_ASSERT_PTR_NOT_NULL_FATAL(item);
	CU_ASSERT_EQUAL(item->number, found);
	CU_ASSERT_EQUAL_FATAL(item->msg.len, strlen(text));
	CU_ASSERT_EQUAL(memcmp(item->msg.data, text, item->msg.len), 0);
	CU_ASSERT_EQUAL(memcmp(item->msg.name, "a.b", 3), 0);
}

static void test_order(void)
{
	begin(0);
	CU_ASSERT(ob__replay_has(&r, 0));
	CU_ASSERT(!ob__replay_has(&r, 1));
	CU_ASSERT_EQUAL(put("one", &wide), 1);
	CU_ASSERT_EQUAL(put("", &wide), 2);
	CU_ASSERT_EQUAL(put("three", &wide), 3);
	expect(0, 1, "one");
	expect(1, 2, "");
	expect(2, 3, "three");
	CU_ASSERT_PTR_NULL(ob__replay_next(&r, 3));
	CU_ASSERT_PTR_NULL(ob__replay_after(&r, ob__replay_next(&r, 2)));
	CU_ASSERT_EQUAL(ob__replay_after(&r, ob__replay_next(&r, 0))->number, 2);
	CU_ASSERT_EQUAL(all, 3 * OB__REPLAY_OVERHEAD + 9 + 8);
	end();
}

static void test_seen(void)
{
	begin(10);
	(void)put("a", &wide);
	(void)put("b", &wide);
	CU_ASSERT(!ob__replay_seen(&r, 13));
	CU_ASSERT(ob__replay_seen(&r, 11));
	CU_ASSERT(!ob__replay_has(&r, 10));
	CU_ASSERT(ob__replay_has(&r, 11));
	expect(11, 12, "b");
	CU_ASSERT(ob__replay_seen(&r, 5)); /* said late: nothing comes back */
	CU_ASSERT_EQUAL(r.seen, 11);
	CU_ASSERT(ob__replay_seen(&r, 12));
	CU_ASSERT_EQUAL(r.len, 0);
	CU_ASSERT(ob__replay_has(&r, 12));
	end();
}

/* What the bounds leave of messages "a", "bb", "ccc". */
static void test_bounds(void)
{
	const size_t one = OB__REPLAY_OVERHEAD + 3;
	static const struct {
		struct ob__replay_bounds max;
		uint32_t left;
	} rows[] = {
		{{100, 10000, 10000}, 3},
		{{2, 10000, 10000}, 2},                               /* messages */
		{{100, 2 * (OB__REPLAY_OVERHEAD + 3) + 5, 10000}, 2}, /* bytes */
		{{100, 10000, 2 * (OB__REPLAY_OVERHEAD + 3) + 4}, 1}, /* of all */
		{{100, OB__REPLAY_OVERHEAD + 3 + 2, 10000}, 0},       /* the last is too long */
		{{0, 10000, 10000}, 0},                               /* none at all */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(0);
		(void)put("a", &rows[i].max);
		(void)put("bb", &rows[i].max);
		CU_ASSERT_EQUAL(put("ccc", &rows[i].max), 3);
		CU_ASSERT_EQUAL(r.len, rows[i].left);
		CU_ASSERT(ob__replay_has(&r, 3 - rows[i].left));
		CU_ASSERT(rows[i].left == 3 || !ob__replay_has(&r, 2 - rows[i].left));
		CU_ASSERT(r.bytes >= one * rows[i].left);
		end();
	}
}

static void test_shared(void)
{
	struct ob__replay other;
	struct ob__replay_bounds max = {100, 1000, 300};

	begin(0);
	ob__replay_init(&other, &all, 0);
	struct ob__replay_msg msg = {.kind = 2};
	(void)ob__replay_put(&other, &msg, &max);
	(void)ob__replay_put(&other, &msg, &max);
	(void)put("a", &max);
	(void)put("b", &max); /* each makes room with its own */
	CU_ASSERT_EQUAL(other.len, 2);
	CU_ASSERT_EQUAL(r.len, 1);
	expect(0, 2, "b");
	ob__replay_free(&other);
	end();
}

static void test_take_back(void)
{
	struct ob__replay_bounds none = {0, 0, 0};

	begin(0);
	CU_ASSERT(!ob__replay_take_back(&r, 0));
	(void)put("a", &wide);
	(void)put("b", &wide);
	CU_ASSERT(!ob__replay_take_back(&r, 1));
	CU_ASSERT(ob__replay_take_back(&r, 2));
	CU_ASSERT_EQUAL(put("c", &wide), 2);
	expect(1, 2, "c");
	(void)put("d", &none); /* one that was not kept */
	CU_ASSERT(ob__replay_take_back(&r, 3));
	CU_ASSERT_EQUAL(r.sent, 2);
	CU_ASSERT(ob__replay_has(&r, 2));
	CU_ASSERT(!ob__replay_has(&r, 1));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("replay", NULL, NULL);
	CU_add_test(s, "numbers and order", test_order);
	CU_add_test(s, "what was seen goes", test_seen);
	CU_add_test(s, "bounds: the oldest go", test_bounds);
	CU_add_test(s, "a bound for several", test_shared);
	CU_add_test(s, "the last one is taken back", test_take_back);
	return ob__tap_run();
}
