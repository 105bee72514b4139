/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools: a log-linear histogram of nanoseconds. Each power of two is cut into 128 equal
 * buckets, so a percentile is at most 0.8 % above the true value, and recording is one increment.
 */
#ifndef OB__LATENCY_H
#define OB__LATENCY_H

#include <stdint.h>

enum {
	OB__LAT_BITS = 7,
	OB__LAT_TOP = 42, /* values from 2^42 ns, 73 minutes, on fall into the last bucket */
	OB__LAT_BUCKETS = (OB__LAT_TOP - OB__LAT_BITS + 1) << OB__LAT_BITS,
};

struct ob__lat {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t bucket[OB__LAT_BUCKETS];
};

static inline void ob__lat_record(struct ob__lat *l, uint64_t ns)
{
	uint64_t v = ns >> OB__LAT_TOP ? (UINT64_C(1) << OB__LAT_TOP) - 1 : ns;
	unsigned index = (unsigned)v;

	if (v >> OB__LAT_BITS) {
		unsigned shift = 63 - (unsigned)__builtin_clzll(v) - OB__LAT_BITS;
		index = (shift << OB__LAT_BITS) + (unsigned)(v >> shift);
	}
	l->bucket[index]++;
	l->count++;
	l->sum += ns;
	if (ns > l->max) {
		l->max = ns;
	}
}

/* The value in nanoseconds below which the share q (0 to 1) of all records lies; 0 if empty. */
uint64_t ob__lat_quantile(const struct ob__lat *l, double q);

#endif
