/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/histogram.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "tap.h"

#define TOP (UINT64_C(1) << 42) /* the first value beyond the scale */

static struct ob__histogram h;

static void test_one_value(void)
{
	static const uint64_t rows[] = {
		0,       1,   7,                               /* a bucket each */
		8,       9,   15,                              /* still one each */
		16,      17,  31,         32, 1000, 123456789, /* shared ones */
		TOP - 1, TOP, UINT64_MAX,                      /* the last one */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&h, 0, sizeof(h));
		ob__histogram_record(&h, rows[i]);
		CU_ASSERT_EQUAL(h.count, 1);
		CU_ASSERT_EQUAL(h.sum, rows[i]);
		CU_ASSERT_EQUAL(h.max, rows[i]);
		/* No edge is above the greatest value. */
		CU_ASSERT_EQUAL(ob__histogram_quantile(&h, 0), rows[i]);
		CU_ASSERT_EQUAL(ob__histogram_quantile(&h, 0.5), rows[i]);
		CU_ASSERT_EQUAL(ob__histogram_quantile(&h, 1), rows[i]);
		CU_ASSERT_EQUAL(ob__histogram_count_le(&h, UINT64_MAX), 1);
		if (rows[i] > 0) {
			CU_ASSERT_EQUAL(ob__histogram_count_le(&h, rows[i] / 2), 0);
		}
	}
}

/* Whatever the scale, the bucket of a value ends less than an eighth above it. */
static void test_precision(void)
{
	for (unsigned shift = 0; shift < 42; shift++) {
		for (uint64_t k = 0; k < 64; k++) {
			uint64_t value = (UINT64_C(1) << shift) + ((k << shift) >> 6);
			memset(&h, 0, sizeof(h));
			ob__histogram_record(&h, value);
			ob__histogram_record(&h, UINT64_MAX); /* lifts the clamp */
			uint64_t edge = ob__histogram_quantile(&h, 0.5);
			CU_ASSERT_TRUE(edge >= value);
			if (value < TOP - (TOP >> 4)) { /* below the last bucket */
				CU_ASSERT_TRUE(edge - value <= value / 8);
				CU_ASSERT_EQUAL(ob__histogram_count_le(&h, edge), 1);
				CU_ASSERT_EQUAL(ob__histogram_count_le(&h, value - 1), 0);
			}
		}
	}
}

static void test_quantiles(void)
{
	memset(&h, 0, sizeof(h));
	CU_ASSERT_EQUAL(ob__histogram_quantile(&h, 0.99), 0); /* empty */
	CU_ASSERT_EQUAL(ob__histogram_count_le(&h, UINT64_MAX), 0);
	for (uint64_t v = 1; v <= 1000; v++) {
		ob__histogram_record(&h, v);
	}
	CU_ASSERT_EQUAL(h.count, 1000);
	CU_ASSERT_EQUAL(h.sum, 500500);
	static const struct {
		double q;
		uint64_t value;
	} rows[] = {{0.001, 1}, {0.01, 10}, {0.5, 500}, {0.9, 900}, {0.99, 990}, {1, 1000}};
	uint64_t before = 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t got = ob__histogram_quantile(&h, rows[i].q);
		CU_ASSERT_TRUE(got >= rows[i].value);
		CU_ASSERT_TRUE(got <= rows[i].value + rows[i].value / 8);
		CU_ASSERT_TRUE(got >= before);
		before = got;
	}
	CU_ASSERT_EQUAL(ob__histogram_quantile(&h, 1), 1000);
	CU_ASSERT_EQUAL(ob__histogram_count_le(&h, 7), 7);
	CU_ASSERT_EQUAL(ob__histogram_count_le(&h, 511), 511); /* the edge of a bucket */
	CU_ASSERT_EQUAL(ob__histogram_count_le(&h, 512), 511); /* inside the next one */
	CU_ASSERT_EQUAL(ob__histogram_count_le(&h, 575), 575);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("histogram", NULL, NULL);
	CU_add_test(s, "one value at every scale", test_one_value);
	CU_add_test(s, "an eighth of precision", test_precision);
	CU_add_test(s, "quantiles and counts", test_quantiles);
	return ob__tap_run();
}
