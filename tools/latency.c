/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/latency.h"

static uint64_t bucket_top(unsigned index)
{
	if (index < 2U << OB__LAT_BITS) {
		return index;
	}
	unsigned shift = (index >> OB__LAT_BITS) - 1;
	uint64_t mantissa = index - (shift << OB__LAT_BITS);
	return ((mantissa + 1) << shift) - 1;
}

uint64_t ob__lat_quantile(const struct ob__lat *l, double q)
{
	uint64_t seen = 0;
	double rank = q * (double)l->count;

	if (!l->count) {
		return 0;
	}
	for (unsigned i = 0; i < OB__LAT_BUCKETS; i++) {
		seen += l->bucket[i];
		if (seen && (double)seen >= rank) {
			uint64_t top = bucket_top(i);
			return top < l->max ? top : l->max;
		}
	}
	return l->max;
}
