/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Fuzz target: the payload of a link's hello, the first thing a stranger may say.  What is accepted
 * must keep its promises and be written again as the same bytes.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/hello.h"
#include "mesh/proto.h"
#include "t/fuzz/fuzz.h"

static void check_word(const char word[OB__HELLO_NAME])
{
	size_t len = strnlen(word, OB__HELLO_NAME);
	CHECK(len > 0 && len < OB__HELLO_NAME);
	for (size_t i = 0; i < len; i++) {
		CHECK(word[i] > ' ' && word[i] <= '~');
	}
}

/* The id is a hash of the name, which no mutation finds: half of the inputs get it put right. */
static void mend(uint8_t *copy, size_t len)
{
	if (len < 56 || copy[len - 1] % 2 == 0 || copy[54] >= OB__HELLO_NAME ||
	    55u + copy[54] > len) {
		return;
	}
	char name[OB__HELLO_NAME] = "";
	memcpy(name, copy + 55, copy[54]);
	uint64_t id = ob__node_id(name);
	for (int i = 0; i < 8; i++) {
		copy[i] = (uint8_t)(id >> 8 * i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t key[32] = "a key that is always the same";
	uint8_t *copy =
		malloc(len > 0 ? len : 1); /* ends where it says, so a read beyond is seen */
	if (copy == NULL || len == 0) {
		free(copy);
		return 0;
	}
	memcpy(copy, data, len);
	mend(copy, len);
	struct ob__hello h;
	if (ob__hello_get(&h, copy, len) == 0) {
		uint8_t back[OB__HELLO_MAX];
		uint8_t dialer[OB__HELLO_MAC];
		uint8_t acceptor[OB__HELLO_MAC];
		check_word(h.name);
		check_word(h.role);
		CHECK(h.id == ob__node_id(h.name));
		CHECK(h.version_min >= 1 && h.version_min <= h.version_max);
		CHECK(ob__hello_put(&h, back, sizeof(back)) == len);
		CHECK(memcmp(back, copy, len) == 0);
		CHECK(ob__hello_mac(key, 'D', &h, &h, NULL, 0, dialer) == 0);
		CHECK(ob__hello_mac(key, 'A', &h, &h, NULL, 0, acceptor) == 0);
		CHECK(!ob__hello_mac_equal(dialer, acceptor));
	}
	free(copy);
	return 0;
}
