/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/bucket.h"

#include <CUnit/CUnit.h>

#include "tap.h"

/* How many of `tries` at one moment are let through. */
static unsigned take(struct ob__bucket *b, uint32_t now, uint32_t rate, uint32_t burst,
                     unsigned tries)
{
	unsigned got = 0;
	while (tries-- > 0) {
		got += ob__bucket_take(b, now, rate, burst);
	}
	return got;
}

static void test_burst(void)
{
	struct ob__bucket b = {0};
	CU_ASSERT_EQUAL(take(&b, 5000, 10, 3, 9), 3);
	CU_ASSERT_EQUAL(take(&b, 5099, 10, 3, 9), 0);
	CU_ASSERT_EQUAL(take(&b, 5100, 10, 3, 9), 1);
	CU_ASSERT_EQUAL(take(&b, 5300, 10, 3, 9), 2);
	CU_ASSERT_EQUAL(take(&b, 900000, 10, 3, 9), 3); /* no more than the burst is saved */
}

static void test_long_run(void)
{
	struct ob__bucket b = {0};
	unsigned got = 0;
	for (uint32_t ms = 0; ms < 100000; ms++) {
		got += take(&b, 0xffffff00u + ms, 7, 1, 3); /* over the clock's end */
	}
	CU_ASSERT(got >= 700 && got <= 702);
}

static void test_largest(void)
{
	struct ob__bucket b = {0};
	CU_ASSERT_EQUAL(take(&b, 1, OB__BUCKET_MAX, OB__BUCKET_MAX, OB__BUCKET_MAX + 5),
	                OB__BUCKET_MAX);
	CU_ASSERT_EQUAL(take(&b, 2, OB__BUCKET_MAX, OB__BUCKET_MAX, 2000), 1000);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("bucket", NULL, NULL);
	CU_add_test(s, "a burst, then the rate", test_burst);
	CU_add_test(s, "the rate in the long run", test_long_run);
	CU_add_test(s, "the largest there may be", test_largest);
	return ob__tap_run();
}
