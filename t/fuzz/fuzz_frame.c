/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The input is the bytes of a link.  What must hold: frames cut out of pieces of any size are those
 * cut out of the whole; a header that is read and written again is the same 64 bytes; extensions
 * put again are the same bytes; a patch for the next hop changes its four fields.
 */

#include "lib/frame.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "t/fuzz/fuzz.h"

#define MAX_FRAME 2048

static void check_same(const struct ob__frame *a, const struct ob__frame *b)
{
	uint8_t x[OB__FRAME_HEADER];
	uint8_t y[OB__FRAME_HEADER];
	ob__frame_put_header(x, a);
	ob__frame_put_header(y, b);
	CHECK(memcmp(x, y, sizeof(x)) == 0);
}

/* Puts the extensions of `f` again, one by one, and asks for each of them. */
static void check_extensions(const struct ob__frame *f)
{
	uint8_t *again = malloc(f->ext_len + 1u);
	CHECK(again != NULL);
	uint8_t known[256] = {0};
	size_t end = 0;
	for (size_t at = 0; at < f->ext_len;) {
		uint8_t type = f->ext[at];
		uint16_t len = (uint16_t)(f->ext[at + 2] | f->ext[at + 3] << 8);
		const uint8_t *data = f->ext + at + 4;
		CHECK(ob__frame_ext_put(again, end, end + 3u + len, type, data, len) == 0);
		end = ob__frame_ext_put(again, end, f->ext_len, type, data, len);
		at += 4u + len;
		CHECK(end == at);
		uint16_t found = 0;
		const uint8_t *first = ob__frame_ext(f, type, &found);
		CHECK(known[type] ? first < data : first == data && found == len);
		known[type] = 1;
	}
	CHECK(end == f->ext_len && memcmp(again, f->ext, end) == 0);
	for (unsigned type = 0; type < 256; type++) {
		uint16_t len;
		CHECK((ob__frame_ext(f, (uint8_t)type, &len) != NULL) == known[type]);
	}
	free(again);
}

static void check_forward(const uint8_t *data, const struct ob__frame *f)
{
	uint8_t *copy = malloc(f->len);
	CHECK(copy != NULL);
	memcpy(copy, data, f->len);
	struct ob__frame want = *f;
	want.hops--;
	want.budget ^= 0xa5a5a5a5;
	want.role += 77;
	want.dst = ~want.dst;
	ob__frame_patch_forward(copy, want.hops, want.budget, want.role, want.dst);
	struct ob__frame got;
	size_t need;
	CHECK(ob__frame_get(&got, copy, f->len, MAX_FRAME, &need) == f->len);
	check_same(&got, &want);
	CHECK(memcmp(copy + OB__FRAME_HEADER, data + OB__FRAME_HEADER, f->len - OB__FRAME_HEADER) ==
	      0);
	free(copy);
}

static void check_frame(const uint8_t *data, size_t len, const struct ob__frame *f)
{
	CHECK(f->len >= OB__FRAME_HEADER && f->len <= len && f->len <= MAX_FRAME);
	CHECK(f->ext == data + OB__FRAME_HEADER);
	CHECK(f->payload == f->ext + f->ext_len);
	CHECK(OB__FRAME_HEADER + f->ext_len + f->payload_len == f->len);
	uint8_t header[OB__FRAME_HEADER];
	ob__frame_put_header(header, f);
	CHECK(memcmp(header, data, sizeof(header)) == 0);
	check_extensions(f);
	check_forward(data, f);
}

/* Appends what came out, so that two ways of feeding can be compared. */
static void note(struct ob__buf *out, int64_t rc, const struct ob__frame *f)
{
	CHECK(ob__buf_append(out, &rc, sizeof(rc)) == 0);
	if (rc > 0) {
		uint8_t header[OB__FRAME_HEADER];
		ob__frame_put_header(header, f);
		CHECK(ob__buf_append(out, header, sizeof(header)) == 0);
		CHECK(ob__buf_append(out, f->ext, f->ext_len) == 0);
		CHECK(ob__buf_append(out, f->payload, f->payload_len) == 0);
	}
}

/* Cuts frames off the front of `kept` until one is not whole.  Negative: the link is closed. */
static int64_t cut(struct ob__buf *kept, struct ob__buf *out)
{
	for (;;) {
		uint8_t *exact = malloc(kept->len > 0 ? kept->len : 1);
		CHECK(exact != NULL);
		if (kept->len > 0) {
			memcpy(exact, kept->data, kept->len);
		}
		struct ob__frame f;
		size_t need = 0;
		int64_t rc = ob__frame_get(&f, exact, kept->len, MAX_FRAME, &need);
		if (rc == 0) {
			CHECK(need > kept->len || kept->len < 4);
			CHECK(need >= OB__FRAME_HEADER && need <= MAX_FRAME);
			free(exact);
			return 0;
		}
		note(out, rc, &f);
		if (rc > 0) {
			check_frame(exact, kept->len, &f);
			ob__buf_consume(kept, (size_t)rc);
		}
		free(exact);
		if (rc < 0) {
			return rc;
		}
	}
}

static void run(struct ob__buf *out, const uint8_t *data, size_t len, bool pieces)
{
	struct ob__buf kept = {0};
	int64_t rc = 0;
	unsigned random = (unsigned)len;
	for (size_t at = 0; at < len && rc == 0;) {
		random = random * 1103515245u + 12345u;
		size_t n = pieces ? 1 + (random >> 16) % 80 : len;
		n = n < len - at ? n : len - at;
		CHECK(ob__buf_append(&kept, data + at, n) == 0);
		at += n;
		rc = cut(&kept, out);
	}
	ob__buf_free(&kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ob__buf whole = {0};
	struct ob__buf pieces = {0};
	run(&whole, data, len, false);
	run(&pieces, data, len, true);
	CHECK(whole.len == pieces.len);
	CHECK(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
	ob__buf_free(&whole);
	ob__buf_free(&pieces);
	return 0;
}
