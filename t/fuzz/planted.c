/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* No target but a fault: the length in front fits a body that is longer than any in the corpus, and
 * has a number in it.  mutate.sh lets it be found. */

#include "t/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len >= 20) {
		CHECK(((size_t)data[0] | (size_t)data[1] << 8) != len - 2 || data[2] < 0x80);
	}
	return 0;
}
