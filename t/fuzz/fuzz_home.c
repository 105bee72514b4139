/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Where a user's messages to each role went: what is read is written again and must be the same
 * bytes; with a byte more, or one less, it must not be taken for the same. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/userwire.h"
#include "t/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ob__home_msg m;
	uint8_t out[OB__HOME_WIRE_MAX];
	/* Ends where it says, so that a read beyond is seen. */
	uint8_t *copy = malloc(len);

	if (len == 0 || copy == NULL) {
		free(copy);
		return 0;
	}
	memcpy(copy, data, len);
	if (ob__home_get(&m, copy, len) == 0) {
		struct ob__home_msg less;
		CHECK(len <= sizeof(out) && m.len <= OB__HOMES_MAX);
		CHECK(ob__user_ok(m.user.user));
		CHECK(ob__home_put(out, &m) == len && memcmp(out, copy, len) == 0);
		CHECK(ob__home_get(&less, copy, len - 1) < 0);
		if (m.len > 0) {
			CHECK(ob__home_get(&less, copy, len - 12) == 0 && less.len + 1 == m.len);
		}
	}
	free(copy);
	return 0;
}
