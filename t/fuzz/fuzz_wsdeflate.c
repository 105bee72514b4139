/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz target: compressed WebSocket messages.  The first two bytes are the limit, the rest is what
 * a client sends: it comes to so many bytes at most, the same each time, whatever was unpacked in
 * between; and what comes of it can be packed and unpacked again.  The same bytes as an offer of
 * extensions are answered with what they say, or not at all.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/wsdeflate.h"
#include "t/fuzz/fuzz.h"

static struct ob__wsdeflate *shared;

static void offer(const uint8_t *data, size_t len)
{
	char answer[OB__WSDEFLATE_ANSWER] = "";
	char *text = malloc(len + 1);

	CHECK(text != NULL);
	memcpy(text, data, len);
	text[len] = '\0';
	uint8_t bits = ob__wsdeflate_accept(text, answer);
	CHECK((bits == 0) == (answer[0] == '\0'));
	CHECK(bits == 0 || (bits >= 9 && bits <= 15 && strlen(answer) < sizeof(answer) - 1));
	free(text);
}

static void there_and_back(const struct ob__buf *plain)
{
	uint8_t *packed = malloc(plain->len);
	struct ob__buf again = {0};

	CHECK(packed != NULL);
	size_t n = ob__wsdeflate_pack(shared, (uint8_t)(9 + plain->len % 7), plain->data,
	                              plain->len, packed, plain->len);
	if (n > 0) {
		CHECK(n <= plain->len);
		CHECK(ob__wsdeflate_unpack(shared, packed, n, plain->len, &again) == 0);
		CHECK(again.len == plain->len && memcmp(again.data, plain->data, again.len) == 0);
	}
	ob__buf_free(&again);
	free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ob__buf one = {0};
	struct ob__buf two = {0};

	if (len < 2) {
		return 0;
	}
	if (shared == NULL) {
		shared = ob__wsdeflate_new(6, 0);
		CHECK(shared != NULL);
	}
	size_t max = (size_t)data[0] | (size_t)data[1] << 8;
	uint8_t *copy = malloc(len - 2 > 0 ? len - 2 : 1); /* so that reading beyond is seen */
	CHECK(copy != NULL);
	memcpy(copy, data + 2, len - 2);
	offer(copy, len - 2);
	int rc = ob__wsdeflate_unpack(shared, copy, len - 2, max, &one);
	CHECK(rc == 0 || rc == -EBADMSG || rc == -EMSGSIZE);
	CHECK(one.len <= max + (rc != 0));
	if (rc == 0 && one.len > 0) {
		there_and_back(&one);
	}
	CHECK(ob__wsdeflate_unpack(shared, copy, len - 2, max, &two) == rc);
	CHECK(one.len == two.len && (one.len == 0 || memcmp(one.data, two.data, one.len) == 0));
	free(copy);
	ob__buf_free(&one);
	ob__buf_free(&two);
	return 0;
}
