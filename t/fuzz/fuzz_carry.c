/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Attributes of a session that go along with its messages.  The input is a key of as many bytes as
 * the first one says, then the extension in which it is looked for. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/userwire.h"
#include "t/fuzz/fuzz.h"

/* What was found is in the extension, behind its key and its length, and is not found when a byte
 * of it is missing; written by itself it is found again. */
static void check_found(const uint8_t *ext, size_t ext_len, const char *key, const uint8_t *found,
                        size_t len)
{
	size_t key_len = strlen(key);
	size_t at = (size_t)(found - ext);
	size_t n;

	CHECK(ob__key_ok(key));
	CHECK(at >= 1 + key_len + 2 && at <= ext_len && len <= ext_len - at);
	CHECK(found[-2] + (size_t)found[-1] * 256 == len);
	CHECK(memcmp(found - 2 - key_len, key, key_len) == 0);
	CHECK(ext[at - 3 - key_len] == key_len);
	CHECK(ob__carry_find(ext, at + len, key, &n) == found && n == len);
	CHECK(ob__carry_find(ext, at + len - 1, key, &n) == NULL && n == 0);

	uint8_t *alone = malloc(1 + key_len + 2 + len);
	if (alone != NULL) {
		size_t put = ob__carry_put(alone, key, found, len);
		CHECK(put == 1 + key_len + 2 + len);
		const uint8_t *again = ob__carry_find(alone, put, key, &n);
		CHECK(again == alone + put - len && n == len && memcmp(again, found, len) == 0);
		free(alone);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char key[256] = "";

	if (len < 1 || data[0] > len - 1) {
		return 0;
	}
	memcpy(key, data + 1, data[0]);
	size_t ext_len = len - 1 - data[0];
	/* Ends where it says, so that a read beyond is seen. */
	uint8_t *ext = malloc(ext_len > 0 ? ext_len : 1);
	if (ext == NULL) {
		return 0;
	}
	memcpy(ext, data + 1 + data[0], ext_len);
	size_t n = 1;
	const uint8_t *found = ob__carry_find(ext, ext_len, key, &n);
	if (found != NULL) {
		check_found(ext, ext_len, key, found, n);
	} else {
		CHECK(n == 0);
	}
	free(ext);
	return 0;
}
