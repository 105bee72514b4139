/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The input is a state blob, of a module named by what it says itself.  It is opened as it is and
 * once more with a right checksum, so that a fuzzer gets past it.  What must hold: what is taken
 * has sections that lie within it, one behind the other, each found by its tag; written again it is
 * the same bytes; and one byte less is not taken.
 */

#include "lib/blob.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "t/fuzz/fuzz.h"

#define NAME 24
#define CRC  88

static void sign(uint8_t *data, size_t len)
{
	uint32_t sum = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		sum ^= i >= CRC && i < CRC + 4 ? 0u : data[i];
		for (int bit = 0; bit < 8; bit++) {
			sum = (sum & 1) != 0 ? sum >> 1 ^ 0x82f63b78u : sum >> 1;
		}
	}
	for (int i = 0; i < 4; i++) {
		data[CRC + i] = (uint8_t)(~sum >> 8 * i);
	}
}

/* Writes again what the reader hands out. */
static void check_again(struct ob__blob_reader *r, const char *module, const uint8_t *data,
                        size_t len)
{
	struct ob__blob_writer w;
	uint32_t tag;
	size_t n;
	const uint8_t *at = data + OB__BLOB_HEADER;
	const uint8_t *bytes;
	uint32_t i = 0;

	CHECK(ob__blob_begin(&w, module, r->version, len) == 0);
	for (; (bytes = ob__blob_next(r, &tag, &n)) != NULL; i++) {
		uint32_t flags = r->list[i].flags;
		CHECK(bytes == at + 16 && n <= len && bytes + n <= data + len);
		at = bytes + n + ((0u - n) & 7u);
		CHECK(ob__blob_add(&w, tag, flags, bytes, n) == 0);
		CHECK(ob__blob_add(&w, tag, flags, NULL, 0) == -EEXIST);
		w.error = 0;
	}
	CHECK(i == r->sections && at == data + len);
	CHECK(!ob__blob_unseen(r, &tag));
	CHECK(ob__blob_finish(&w) == 0);
	CHECK(w.len == len && memcmp(w.data, data, len) == 0);
	ob__blob_end(&w);
}

static void check_found(struct ob__blob_reader *r)
{
	uint32_t tag;

	while (ob__blob_unseen(r, &tag)) {
		size_t n = 0;
		const uint8_t *bytes = ob__blob_find(r, tag, &n);
		CHECK(bytes != NULL);
		uint8_t sum = 0; /* reads all of it */
		for (size_t i = 0; i < n; i++) {
			sum ^= bytes[i];
		}
		(void)sum;
	}
	for (uint32_t i = 0; i < r->sections; i++) {
		size_t n = 0;
		CHECK(ob__blob_find(r, r->list[i].tag, &n) == r->list[i].data);
		CHECK(n == r->list[i].len);
	}
}

static void run(const uint8_t *data, size_t len)
{
	struct ob__blob_reader r;
	const char *why = NULL;
	char module[OB__BLOB_NAME + 1] = "";

	if (len >= OB__BLOB_HEADER) {
		memcpy(module, data + NAME, OB__BLOB_NAME);
	}
	int rc = ob__blob_open(&r, data, len, module, &why);
	CHECK(rc == 0 ? why == NULL : rc == -EINVAL && why != NULL);
	if (rc != 0) {
		return;
	}
	check_found(&r);
	check_again(&r, module, data, len);
	ob__blob_close(&r);
	CHECK(ob__blob_open(&r, data, len - 1, module, &why) == -EINVAL);
	CHECK(ob__blob_open(&r, data, len, "another", &why) == -EINVAL ||
	      strcmp(module, "another") == 0);
	ob__blob_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	run(data, len);
	if (len >= OB__BLOB_HEADER) {
		uint8_t *copy = malloc(len);
		CHECK(copy != NULL);
		memcpy(copy, data, len);
		sign(copy, len);
		run(copy, len);
		free(copy);
	}
	return 0;
}
