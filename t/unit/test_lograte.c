/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/lograte.h"

#include <CUnit/CUnit.h>

#include "tap.h"

#define REASONS 3
#define BURST   2u

static void test_pairs(void)
{
	static const struct {
		uint64_t now;
		uint64_t who;
		uint32_t why;
		bool allowed;
		uint32_t missed;
	} rows[] = {
		{1000, 7, 0, true, 0},
		{1000, 7, 0, false, 0}, /* said */
		{1001, 7, 1, true, 0},  /* for another reason */
		{1002, 8, 0, true, 0},  /* another peer is not hidden by the first one */
		{1003, 8, 0, false, 0},
		{1004, 0, 0, true, 0}, /* nor are strangers, who share what there is */
		{1004, 0, 0, true, 0},
		{1005, 0, 0, false, 0},
		{1006, 9, 0, true, 0},   /* nor does a flood of them hide a peer */
		{10999, 7, 0, false, 0}, /* the last of the ten seconds */
		{11000, 7, 0, true, 2},  /* again, with what was left out */
		{11001, 7, 0, false, 0},
		{11004, 0, 0, true, 1},
		{90000, 8, 0, true, 1},
		{90000, 7, 0, true, 1},
	};
	struct ob__log_limit others[REASONS] = {{0}};
	struct ob__lograte r;
	ob__lograte_init(&r, 5);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t missed = 99;
		bool allowed = ob__lograte_allow(&r, rows[i].who, rows[i].why, &others[rows[i].why],
		                                 BURST, rows[i].now, &missed);
		CU_ASSERT_EQUAL(allowed, rows[i].allowed);
		CU_ASSERT_EQUAL(missed, rows[i].missed);
	}
	ob__lograte_free(&r);
}

static bool allow(struct ob__lograte *r, struct ob__log_limit *others, uint64_t who, uint64_t now)
{
	uint32_t missed;
	return ob__lograte_allow(r, who, 0, others, BURST, now, &missed);
}

static void test_full(void)
{
	struct ob__log_limit others = {0};
	struct ob__lograte r;
	unsigned refused = 0;
	ob__lograte_init(&r, 5);
	for (uint64_t who = 1; who <= OB__LOGRATE_MAX; who++) {
		refused += !allow(&r, &others, who, who == 1 ? 100 : 200);
	}
	CU_ASSERT_EQUAL(refused, 0);
	/* one too many: what is left for strangers */
	CU_ASSERT_TRUE(allow(&r, &others, 5000, 300));
	CU_ASSERT_TRUE(allow(&r, &others, 5001, 300));
	CU_ASSERT_FALSE(allow(&r, &others, 5002, 300));
	CU_ASSERT_EQUAL(r.map.count, OB__LOGRATE_MAX);
	/* the oldest one's time is over: there is room for one */
	CU_ASSERT_TRUE(allow(&r, &others, 5002, 100 + OB__LOG_LIMIT_MS));
	CU_ASSERT_FALSE(allow(&r, &others, 5002, 100 + OB__LOG_LIMIT_MS));
	CU_ASSERT_FALSE(allow(&r, &others, 5003, 100 + OB__LOG_LIMIT_MS));
	CU_ASSERT_FALSE(allow(&r, &others, 2, 199 + OB__LOG_LIMIT_MS));
	/* said again: no longer the oldest */
	CU_ASSERT_TRUE(allow(&r, &others, 2, 200 + OB__LOG_LIMIT_MS));
	CU_ASSERT_TRUE(allow(&r, &others, 5003, 200 + OB__LOG_LIMIT_MS));
	CU_ASSERT_FALSE(allow(&r, &others, 2, 201 + OB__LOG_LIMIT_MS));
	CU_ASSERT_EQUAL(r.map.count, OB__LOGRATE_MAX);
	ob__lograte_free(&r);
}

static void test_zeroed(void)
{
	struct ob__lograte r = {0};
	ob__lograte_free(&r);
	ob__lograte_free(NULL);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("lograte", NULL, NULL);
	CU_add_test(s, "one line per peer and reason", test_pairs);
	CU_add_test(s, "a full table", test_full);
	CU_add_test(s, "zeroed", test_zeroed);
	return ob__tap_run();
}
