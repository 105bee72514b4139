/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/idrange.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

#define NONE UINT32_MAX /* expected value: not covered */

struct entry {
	char kind; /* 'r' range, 's' special, 0 end */
	uint32_t lo;
	uint32_t hi;
	uint32_t value;
};

/* What was reported, one line each: "winner over loser". */
static char reports[512];

static void on_overlap(const struct ob__idrange_span *winner, const struct ob__idrange_span *loser,
                       bool special, void *arg)
{
	(void)arg;
	size_t len = strlen(reports);
	snprintf(reports + len, sizeof(reports) - len, "%s%u-%u=%u over %u-%u=%u;",
	         special ? "special " : "", winner->lo, winner->hi, winner->value, loser->lo,
	         loser->hi, loser->value);
}

static void fill(struct ob__idrange *t, const struct entry *e)
{
	ob__idrange_init(t);
	for (; e->kind != 0; e++) {
		int rc = e->kind == 'r' ? ob__idrange_add(t, e->lo, e->hi, e->value)
		                        : ob__idrange_add_special(t, e->lo, e->value);
		CU_ASSERT_EQUAL(rc, 0);
	}
}

static uint32_t find(const struct ob__idrange *t, uint32_t id)
{
	uint32_t value = NONE;
	bool found = ob__idrange_find(t, id, &value);
	CU_ASSERT_EQUAL(found, value != NONE);
	return value;
}

static void test_tables(void)
{
	static const struct {
		struct entry entries[8];
		struct {
			uint32_t id;
			uint32_t value;
		} ids[10];
		size_t flat_len;
		const char *reports;
	} rows[] = {
		/* nothing */
		{.entries = {{0}}, .ids = {{0, NONE}, {5, NONE}}, .reports = ""},
		/* both ends belong to a range */
		{.entries = {{'r', 10, 20, 1}},
	         .ids = {{9, NONE}, {10, 1}, {15, 1}, {20, 1}, {21, NONE}},
	         .flat_len = 1,
	         .reports = ""},
		/* one id; the ends of all ids */
		{.entries = {{'r', 0, 0, 1}, {'r', UINT32_MAX, UINT32_MAX, 2}},
	         .ids = {{0, 1}, {1, NONE}, {UINT32_MAX - 1, NONE}, {UINT32_MAX, 2}},
	         .flat_len = 2,
	         .reports = ""},
		/* everything, with one id cut out at the end */
		{.entries = {{'r', 0, UINT32_MAX, 1}, {'s', UINT32_MAX, 0, 2}, {'s', 0, 0, 3}},
	         .ids = {{0, 3}, {1, 1}, {UINT32_MAX - 1, 1}, {UINT32_MAX, 2}},
	         .flat_len = 3,
	         .reports = ""},
		/* the later of two ranges wins, from the left */
		{.entries = {{'r', 10, 20, 1}, {'r', 5, 12, 2}},
	         .ids = {{4, NONE}, {5, 2}, {12, 2}, {13, 1}, {20, 1}, {21, NONE}},
	         .flat_len = 2,
	         .reports = "5-12=2 over 10-20=1;"},
		/* and from the right */
		{.entries = {{'r', 10, 20, 1}, {'r', 20, 30, 2}},
	         .ids = {{10, 1}, {19, 1}, {20, 2}, {30, 2}},
	         .flat_len = 2,
	         .reports = "20-30=2 over 10-20=1;"},
		/* within: the earlier one goes on behind it */
		{.entries = {{'r', 10, 30, 1}, {'r', 15, 20, 2}},
	         .ids = {{10, 1}, {14, 1}, {15, 2}, {20, 2}, {21, 1}, {30, 1}},
	         .flat_len = 3,
	         .reports = "15-20=2 over 10-30=1;"},
		/* a later one that covers it whole */
		{.entries = {{'r', 15, 20, 2}, {'r', 10, 30, 1}},
	         .ids = {{10, 1}, {15, 1}, {20, 1}, {30, 1}},
	         .flat_len = 1,
	         .reports = "10-30=1 over 15-20=2;"},
		/* the same range twice */
		{.entries = {{'r', 10, 30, 1}, {'r', 10, 30, 2}},
	         .ids = {{10, 2}, {30, 2}},
	         .flat_len = 1,
	         .reports = "10-30=2 over 10-30=1;"},
		/* neighbours of one value are joined; no overlap */
		{.entries = {{'r', 10, 19, 1}, {'r', 20, 30, 1}, {'r', 31, 40, 2}},
	         .ids = {{10, 1}, {19, 1}, {20, 1}, {30, 1}, {31, 2}},
	         .flat_len = 2,
	         .reports = ""},
		/* an overlap of one value is no disagreement */
		{.entries = {{'r', 10, 20, 1}, {'r', 15, 30, 1}, {'r', 15, 30, 1}},
	         .ids = {{10, 1}, {20, 1}, {30, 1}, {31, NONE}},
	         .flat_len = 1,
	         .reports = ""},
		/* three deep: each pair is reported */
		{.entries = {{'r', 1, 9, 1}, {'r', 2, 8, 2}, {'r', 3, 7, 3}},
	         .ids = {{1, 1}, {2, 2}, {3, 3}, {7, 3}, {8, 2}, {9, 1}},
	         .flat_len = 5,
	         .reports = "2-8=2 over 1-9=1;3-7=3 over 1-9=1;3-7=3 over 2-8=2;"},
		/* a special beats a range, added before or after, and is not reported */
		{.entries = {{'s', 15, 0, 8}, {'r', 10, 20, 1}, {'s', 16, 0, 9}},
	         .ids = {{14, 1}, {15, 8}, {16, 9}, {17, 1}},
	         .flat_len = 4,
	         .reports = ""},
		/* a special in no range */
		{.entries = {{'s', 999, 0, 9}},
	         .ids = {{998, NONE}, {999, 9}, {1000, NONE}},
	         .flat_len = 1,
	         .reports = ""},
		/* of two specials the first stays */
		{.entries = {{'s', 15, 0, 8}, {'s', 15, 0, 9}, {'r', 15, 15, 1}},
	         .ids = {{15, 8}},
	         .flat_len = 1,
	         .reports = "special 15-15=8 over 15-15=9;"},
		/* of three too; the same value twice is silent */
		{.entries = {{'s', 15, 0, 8}, {'s', 15, 0, 9}, {'s', 15, 0, 8}},
	         .ids = {{15, 8}},
	         .flat_len = 1,
	         .reports = "special 15-15=9 over 15-15=8;special 15-15=8 over 15-15=9;"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__idrange t;
		fill(&t, rows[i].entries);
		CU_ASSERT_EQUAL(find(&t, rows[i].ids[0].id), NONE); /* not sealed yet */
		reports[0] = '\0';
		CU_ASSERT_EQUAL(ob__idrange_seal(&t, on_overlap, NULL), 0);
		CU_ASSERT_STRING_EQUAL(reports, rows[i].reports);
		CU_ASSERT_EQUAL(t.flat_len, rows[i].flat_len);
		for (size_t k = 0; k == 0 || rows[i].ids[k].id != 0; k++) {
			CU_ASSERT_EQUAL(find(&t, rows[i].ids[k].id), rows[i].ids[k].value);
		}
		ob__idrange_free(&t);
	}
}

static void test_bounds(void)
{
	struct ob__idrange t = {0};
	CU_ASSERT_EQUAL(ob__idrange_add(&t, 2, 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(t.added_len, 0);
	for (uint32_t i = 0; i < 65536; i++) { /* every second id, ranges and specials in turn */
		int rc = i % 2 == 0 ? ob__idrange_add(&t, 2 * i, 2 * i, i)
		                    : ob__idrange_add_special(&t, 2 * i, i);
		CU_ASSERT_EQUAL(rc, 0);
	}
	CU_ASSERT_EQUAL(ob__idrange_add(&t, 1, 1, 0), -E2BIG);
	CU_ASSERT_EQUAL(ob__idrange_add_special(&t, 1, 0), -E2BIG);
	CU_ASSERT_EQUAL(ob__idrange_seal(&t, NULL, NULL), 0);
	CU_ASSERT_EQUAL(t.flat_len, 65536);
	for (uint32_t i = 0; i < 65536; i++) {
		CU_ASSERT_EQUAL(find(&t, 2 * i), i);
		CU_ASSERT_EQUAL(find(&t, 2 * i + 1), NONE);
	}
	ob__idrange_free(&t);
	ob__idrange_free(&t);
	ob__idrange_free(NULL);
}

static void count(const struct ob__idrange_span *winner, const struct ob__idrange_span *loser,
                  bool special, void *arg)
{
	CU_ASSERT_NOT_EQUAL(winner->value, loser->value);
	((unsigned *)arg)[special]++;
}

/* The worst configuration there can be is sealed in bounded time with a bounded number of calls. */
static void test_worst_overlap(void)
{
	struct ob__idrange t = {0};
	for (uint32_t i = 0; i < 32768; i++) {
		CU_ASSERT_EQUAL(ob__idrange_add(&t, i, 100000 - i, i), 0);
		CU_ASSERT_EQUAL(ob__idrange_add_special(&t, 7, i), 0);
	}
	unsigned calls[2] = {0, 0};
	CU_ASSERT_EQUAL(ob__idrange_seal(&t, count, calls), 0);
	CU_ASSERT_EQUAL(calls[false], OB__IDRANGE_REPORTS_MAX);
	CU_ASSERT_EQUAL(calls[true], OB__IDRANGE_REPORTS_MAX);
	CU_ASSERT_EQUAL(find(&t, 7), 0);
	CU_ASSERT_EQUAL(find(&t, 6), 6);
	CU_ASSERT_EQUAL(find(&t, 50000), 32767);
	CU_ASSERT_EQUAL(find(&t, 100000 - 9), 9);
	ob__idrange_free(&t);
}

static void test_seal_again(void)
{
	struct ob__idrange t = {0};
	CU_ASSERT_EQUAL(ob__idrange_add(&t, 10, 20, 1), 0);
	CU_ASSERT_EQUAL(ob__idrange_seal(&t, NULL, NULL), 0);
	CU_ASSERT_EQUAL(ob__idrange_add(&t, 15, 30, 2), 0);
	CU_ASSERT_EQUAL(find(&t, 15), 1); /* the old form, until */
	CU_ASSERT_EQUAL(ob__idrange_seal(&t, NULL, NULL), 0);
	CU_ASSERT_EQUAL(find(&t, 15), 2);
	CU_ASSERT_EQUAL(find(&t, 14), 1);
	ob__idrange_free(&t);
}

/* Random tables over 64 ids, placed at both ends of the numbers, against painting an array. */
static void test_random(void)
{
	uint64_t random = 123456789;
	for (int round = 0; round < 3000; round++) {
		uint32_t base = round % 2 == 0 ? 0 : UINT32_MAX - 63;
		uint32_t paint[64];
		uint32_t special[64];
		memset(paint, 0xff, sizeof(paint));
		memset(special, 0xff, sizeof(special));
		struct ob__idrange t = {0};
		for (int n = round % 40; n > 0; n--) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			uint32_t lo = random >> 58;
			uint32_t hi = lo + (random >> 52) % (64 - lo);
			uint32_t value = (random >> 40) % 4;
			if ((random >> 36) % 4 == 0) {
				CU_ASSERT_EQUAL(ob__idrange_add_special(&t, base + lo, value), 0);
				special[lo] = special[lo] == NONE ? value : special[lo];
				continue;
			}
			CU_ASSERT_EQUAL(ob__idrange_add(&t, base + lo, base + hi, value), 0);
			for (uint32_t id = lo; id <= hi; id++) {
				paint[id] = value;
			}
		}
		CU_ASSERT_EQUAL(ob__idrange_seal(&t, NULL, NULL), 0);
		for (uint32_t id = 0; id < 64; id++) {
			uint32_t want = special[id] != NONE ? special[id] : paint[id];
			CU_ASSERT_EQUAL(find(&t, base + id), want);
		}
		for (size_t i = 1; i < t.flat_len; i++) { /* sorted, disjoint, joined */
			CU_ASSERT_TRUE(t.flat[i].lo > t.flat[i - 1].hi);
			CU_ASSERT_FALSE(t.flat[i].lo == t.flat[i - 1].hi + 1 &&
			                t.flat[i].value == t.flat[i - 1].value);
		}
		ob__idrange_free(&t);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("idrange", NULL, NULL);
	CU_add_test(s, "who has which id, and who disagrees", test_tables);
	CU_add_test(s, "bounds of a table", test_bounds);
	CU_add_test(s, "the worst overlap there can be", test_worst_overlap);
	CU_add_test(s, "may be sealed again", test_seal_again);
	CU_add_test(s, "random tables", test_random);
	return ob__tap_run();
}
