/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  A token bucket without a timer: so many in a second, and at most
 * so many at once.
 *
 * What has been earned is reckoned when somebody takes.  Times are the low 32 bits of milliseconds,
 * so a bucket that nobody has touched for 49 days may be taken for one just touched, and fills up
 * again.
 */

#ifndef OB__BUCKET_H
#define OB__BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: full. */
struct ob__bucket {
	uint32_t spent; /* thousandths of what is missing to full */
	uint32_t at;    /* ms */
};

#define OB__BUCKET_MAX 1000000u /* of rate and burst */

/* Takes one, if there is one. */
static inline bool ob__bucket_take(struct ob__bucket *b, uint32_t now_ms, uint32_t per_second,
                                   uint32_t burst)
{
	uint64_t earned = (uint64_t)(now_ms - b->at) * per_second;

	b->at = now_ms;
	b->spent = earned < b->spent ? b->spent - (uint32_t)earned : 0;
	if (b->spent + UINT64_C(1000) > burst * UINT64_C(1000)) {
		return false;
	}
	b->spent += 1000;
	return true;
}

#endif
