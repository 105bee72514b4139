/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/histogram.h"

#include <stddef.h>

/* Below OB__HISTOGRAM_SUB each value has its own bucket; from there on the three bits behind the
 * leading one choose among the eight of its power of two. */
static size_t bucket_of(uint64_t value)
{
	if (value < OB__HISTOGRAM_SUB) {
		return (size_t)value;
	}
	unsigned shift = 63u - 3u - (unsigned)__builtin_clzll(value);
	size_t bucket = (shift + 1) * OB__HISTOGRAM_SUB + ((value >> shift) & 7);
	return bucket < OB__HISTOGRAM_BUCKETS ? bucket : OB__HISTOGRAM_BUCKETS - 1;
}

/* The greatest value of a bucket; the last one has no bound but the greatest value seen. */
static uint64_t upper_edge(const struct ob__histogram *h, size_t bucket)
{
	if (bucket < OB__HISTOGRAM_SUB) {
		return bucket;
	}
	if (bucket == OB__HISTOGRAM_BUCKETS - 1) {
		return h->max;
	}
	unsigned shift = (unsigned)(bucket / OB__HISTOGRAM_SUB) - 1;
	uint64_t above = OB__HISTOGRAM_SUB + bucket % OB__HISTOGRAM_SUB + 1;
	return (above << shift) - 1;
}

void ob__histogram_record(struct ob__histogram *h, uint64_t value)
{
	h->count++;
	h->sum += value;
	if (value > h->max) {
		h->max = value;
	}
	h->buckets[bucket_of(value)]++;
}

uint64_t ob__histogram_quantile(const struct ob__histogram *h, double q)
{
	if (h->count == 0) {
		return 0;
	}
	uint64_t seen = 0;
	for (size_t i = 0; i < OB__HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > 0 && (double)seen >= q * (double)h->count) {
			uint64_t edge = upper_edge(h, i);
			return edge < h->max ? edge : h->max;
		}
	}
	return h->max;
}

uint64_t ob__histogram_count_le(const struct ob__histogram *h, uint64_t value)
{
	uint64_t seen = 0;
	for (size_t i = 0; i < OB__HISTOGRAM_BUCKETS && upper_edge(h, i) <= value; i++) {
		seen += h->buckets[i];
	}
	return seen;
}
