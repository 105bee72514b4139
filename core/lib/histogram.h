/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  A log-linear histogram of durations or sizes.
 *
 * Each power of two is cut into eight equal buckets, so a quantile is right to about 12 % at any
 * scale and recording is a shift and an increment.  Values of 2^42 and more are counted in the last
 * bucket.
 */

#ifndef OB__HISTOGRAM_H
#define OB__HISTOGRAM_H

#include <stdint.h>

#define OB__HISTOGRAM_SUB     8u
#define OB__HISTOGRAM_BUCKETS (40u * OB__HISTOGRAM_SUB)

/* A zeroed struct is a valid empty histogram. */
struct ob__histogram {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[OB__HISTOGRAM_BUCKETS];
};

void ob__histogram_record(struct ob__histogram *h, uint64_t value);

/* The upper edge of the bucket that holds quantile q (0..1), but never above the greatest value
 * recorded; 0 when empty. */
uint64_t ob__histogram_quantile(const struct ob__histogram *h, double q);

/* The number of recorded values at or below `value`, by whole buckets: those of the bucket that
 * `value` lies inside are left out. */
uint64_t ob__histogram_count_le(const struct ob__histogram *h, uint64_t value);

#endif
