/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz target: the header of the PROXY protocol.  Whatever it is, the answer is the same when the
 * bytes come one by one, and what is taken is within bounds.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proxyhdr.h"
#include "t/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ob__proxyhdr whole;
	struct ob__proxyhdr part;
	int rc = ob__proxyhdr_parse(data, len, &whole);
	size_t most = len < 256 ? len : 256;

	CHECK(rc == -EBADMSG || (rc >= 0 && (size_t)rc <= len && rc <= (int)OB__PROXYHDR_MAX));
	CHECK(rc > 0 || !whole.named);
	for (size_t n = 0; n < most; n++) {
		uint8_t *copy = malloc(n + 1); /* so that reading beyond is seen */
		CHECK(copy != NULL);
		memcpy(copy, data, n);
		copy = realloc(copy, n > 0 ? n : 1);
		int now = ob__proxyhdr_parse(copy, n, &part);
		free(copy);
		CHECK(now == 0 || now == rc);
		CHECK(now <= 0 || memcmp(&part, &whole, sizeof(part)) == 0);
	}
	return 0;
}
