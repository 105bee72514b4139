/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/order.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

static uint8_t ext[OB__ORDER_EXT];

/* A frame with the next number of a row. */
static struct ob__frame next(struct ob__order *given, unsigned row)
{
	size_t len = ob__order_put(given, row, ext);
	CU_ASSERT_EQUAL(len, OB__ORDER_EXT);
	return (struct ob__frame){.ext = ext, .ext_len = (uint16_t)len};
}

static bool takes(struct ob__order *taken, struct ob__order *given, unsigned row)
{
	struct ob__frame f = next(given, row);
	return ob__order_take(taken, &f);
}

static void test_rows(void)
{
	struct ob__order given = {{0}};
	struct ob__order taken = {{0}};
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(takes(&taken, &given, 0));
	}
	CU_ASSERT_TRUE(takes(&taken, &given, 1)); /* a row of its own */
	CU_ASSERT_TRUE(given.last[0] == 5 && given.last[1] == 1);
	CU_ASSERT_TRUE(taken.last[0] == 5 && taken.last[1] == 1);
	given.last[0] = 20; /* others were for other nodes, or are lost */
	CU_ASSERT_TRUE(takes(&taken, &given, 0));
}

static void test_late(void)
{
	struct ob__order given = {{0}};
	struct ob__order taken = {{7, 7}};
	given.last[0] = 5;
	CU_ASSERT_FALSE(takes(&taken, &given, 0)); /* 6 */
	CU_ASSERT_FALSE(takes(&taken, &given, 0)); /* 7: once more */
	CU_ASSERT_EQUAL(taken.last[0], 7);
	CU_ASSERT_TRUE(takes(&taken, &given, 0));
	CU_ASSERT_FALSE(takes(&taken, &given, 1));
}

/* Who meets a session that is old already takes whatever comes first. */
static void test_first(void)
{
	struct ob__order given = {{OB__ORDER_MAX - 5, 0}};
	struct ob__order taken = {{0}};
	CU_ASSERT_TRUE(takes(&taken, &given, 0));
	CU_ASSERT_EQUAL(taken.last[0], OB__ORDER_MAX - 4);
}

static void test_round(void)
{
	struct ob__order given = {{OB__ORDER_MAX - 1, 0}};
	struct ob__order taken = {{OB__ORDER_MAX - 1, 0}};
	CU_ASSERT_TRUE(takes(&taken, &given, 0));
	CU_ASSERT_EQUAL(taken.last[0], OB__ORDER_MAX);
	CU_ASSERT_TRUE(takes(&taken, &given, 0));
	CU_ASSERT_EQUAL(taken.last[0], 1); /* 0 is no number */
	given.last[0] = OB__ORDER_MAX - 3;
	CU_ASSERT_FALSE(takes(&taken, &given, 0));
}

static void test_none(void)
{
	struct ob__order taken = {{7, 7}};
	struct ob__frame f = {.ext = ext};
	CU_ASSERT_TRUE(ob__order_take(&taken, &f));
	static const uint16_t lens[] = {0, 1, 3, 5};
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint8_t odd[16];
		f.ext_len = (uint16_t)ob__frame_ext_put(odd, 0, sizeof(odd), OB__FRAME_EXT_ORDER,
		                                        "abcde", lens[i]);
		f.ext = odd;
		CU_ASSERT_TRUE(ob__order_take(&taken, &f));
	}
	CU_ASSERT_TRUE(taken.last[0] == 7 && taken.last[1] == 7);
}

/* Several messages in one frame have the numbers behind its own. */
static void test_many(void)
{
	static const struct {
		uint32_t last; /* taken before */
		uint32_t number;
		uint32_t many;
		bool takes;
		uint32_t then;
	} rows[] = {
		{0, 1, 1, true, 1},
		{0, 1, 5, true, 5},
		{4, 5, 3, true, 7},
		{4, 9, 3, true, 11}, /* others went elsewhere */
		{5, 5, 3, false, 5}, /* begins with one that was taken */
		{6, 5, 3, false, 6},
		{4, OB__ORDER_MAX, 1, false, 4}, /* long ago */
		/* round: 0 is no number */
		{OB__ORDER_MAX - 1, OB__ORDER_MAX, 1, true, OB__ORDER_MAX},
		{OB__ORDER_MAX - 1, OB__ORDER_MAX, 2, true, 1},
		{OB__ORDER_MAX - 3, OB__ORDER_MAX - 2, 5, true, 2},
		{OB__ORDER_MAX, 1, 4, true, 4},
		{OB__ORDER_MAX, OB__ORDER_MAX, 4, false, OB__ORDER_MAX},
		{2, OB__ORDER_MAX - 2, 5, false, 2}, /* the same once more */
	};
	for (unsigned row = 0; row < 2; row++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct ob__order given = {{0}};
			struct ob__order taken = {{77, 77}};
			given.last[row] = ob__order_behind(rows[i].number, OB__ORDER_MAX - 1);
			taken.last[row] = rows[i].last;
			struct ob__frame f = next(&given, row);
			CU_ASSERT_EQUAL(given.last[row], rows[i].number);
			f.flags = OB__FRAME_MANY;
			f.many = rows[i].many;
			CU_ASSERT_EQUAL(ob__order_take(&taken, &f), rows[i].takes);
			CU_ASSERT_EQUAL(taken.last[row], rows[i].then);
			CU_ASSERT_EQUAL(taken.last[1 - row], 77);
		}
	}
}

/* When a frame of many is parted, each part has the number of its first. */
static void test_shift(void)
{
	static const struct {
		uint32_t number;
		uint32_t n;
		uint32_t then;
	} rows[] = {
		{1, 0, 1},
		{1, 4, 5},
		{OB__ORDER_MAX - 1, 1, OB__ORDER_MAX},
		{OB__ORDER_MAX - 1, 2, 1},
		{OB__ORDER_MAX, 0, OB__ORDER_MAX},
		{OB__ORDER_MAX, 700, 700},
	};
	for (unsigned row = 0; row < 2; row++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct ob__order given = {{0}};
			struct ob__order taken = {{0}};
			uint8_t copy[OB__ORDER_EXT];
			given.last[row] = ob__order_behind(rows[i].number, OB__ORDER_MAX - 1);
			struct ob__frame f = next(&given, row);
			memcpy(copy, ext, sizeof(copy));
			ob__order_shift(&f, copy, rows[i].n);
			f.ext = copy;
			CU_ASSERT_TRUE(ob__order_take(&taken, &f));
			CU_ASSERT_EQUAL(taken.last[row], rows[i].then);
			CU_ASSERT_EQUAL(taken.last[1 - row], 0);
		}
	}
	/* none, or a malformed one: as it was */
	uint8_t odd[16];
	uint8_t copy[16];
	struct ob__frame f = {.ext = odd};
	f.ext_len = (uint16_t)ob__frame_ext_put(odd, 0, sizeof(odd), OB__FRAME_EXT_ORDER, "abc", 3);
	memcpy(copy, odd, sizeof(copy));
	ob__order_shift(&f, copy, 5);
	CU_ASSERT_EQUAL(memcmp(copy, odd, f.ext_len), 0);
	f.ext_len = 0;
	ob__order_shift(&f, copy, 5);
	CU_ASSERT_EQUAL(memcmp(copy, odd, 7), 0);
}

static void test_pushes(void)
{
	const uint64_t first = ob__push_first(UINT64_C(1700000000000));
	const uint64_t second_life = ob__push_first(UINT64_C(1700000001000));
	const struct {
		uint64_t number;
		bool taken;
	} rows[] = {
		{first + 2, true},
		{first + 1, false},  /* behind it */
		{first + 2, false},  /* twice */
		{first + 900, true}, /* those between went to other sessions */
		{first + 899, false},
		{second_life + 1, true}, /* it has started again */
		{first + 901, false},    /* of the life before */
		{second_life + 2, true},
		{first - OB__PUSH_NEAR, true}, /* its clock was set back: this is no late one */
		{first - OB__PUSH_NEAR + 1, true},
	};
	struct ob__push_row row = {.node = 1, .last = first + 1};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__push_row_take(&row, rows[i].number), rows[i].taken);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite suite = CU_add_suite("order", NULL, NULL);
	CU_add_test(suite, "two rows", test_rows);
	CU_add_test(suite, "what comes late is not taken", test_late);
	CU_add_test(suite, "the first number of a session", test_first);
	CU_add_test(suite, "numbers go round", test_round);
	CU_add_test(suite, "no number, or a malformed one", test_none);
	CU_add_test(suite, "many messages in one frame", test_many);
	CU_add_test(suite, "a part of them", test_shift);
	CU_add_test(suite, "pushes", test_pushes);
	return ob__tap_run();
}
