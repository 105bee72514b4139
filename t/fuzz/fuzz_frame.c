/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The input is the bytes of a link.  What must hold: frames cut out of pieces of any size are those
 * cut out of the whole; a header that is read and written again is the same 64 bytes; extensions
 * put again are the same bytes; a patch for the next hop changes its four fields; the messages of a
 * row fill its payload, and added one by one to the first of them they make the same frame.
 */

#include "lib/frame.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/many.h"
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

/* A whole frame of one message, with room for `more`. */
static uint8_t *put_one(const struct ob__frame *one, size_t more)
{
	uint8_t *raw = malloc(OB__FRAME_HEADER + one->ext_len + one->payload_len + more);
	CHECK(raw != NULL);
	ob__frame_put_header(raw, one);
	memcpy(raw + OB__FRAME_HEADER, one->ext, one->ext_len);
	memcpy(raw + OB__FRAME_HEADER + one->ext_len, one->payload, one->payload_len);
	return raw;
}

/* Adds the message behind the first to it, and the next: each time the frame is read as a row that
 * is the beginning of this one. */
static void check_grown(const struct ob__frame *f)
{
	struct ob__frame one = ob__many_begin(f);
	CHECK(ob__many_next(&one, f));
	size_t len = OB__FRAME_HEADER + one.ext_len + one.payload_len;
	uint8_t *raw = put_one(&one, f->len - len);
	for (uint32_t count = 1; ob__many_next(&one, f); count++) {
		size_t more = ob__many_grows(raw, len, one.payload_len);
		bool is_alike = ob__many_alike(raw, count, &one);
		CHECK(more == 0 || len + more <= f->len);
		/* with a number they are not: that of the next is one more */
		CHECK(is_alike || one.ext_len > 0 || one.kind == OB__FRAME_REQUEST);
		if (more == 0) {
			break;
		}
		ob__many_add(raw, len, one.call, one.payload, one.payload_len);
		len += more;
		struct ob__frame got;
		size_t need;
		CHECK(ob__frame_get(&got, raw, len, MAX_FRAME, &need) == (int64_t)len);
		CHECK(got.many == count + 1 && got.payload_len <= f->payload_len);
		CHECK(memcmp(got.payload, f->payload, got.payload_len) == 0);
		CHECK(got.flags == f->flags && got.call == 0);
	}
	free(raw);
}

static void check_cut(const uint8_t *data, const struct ob__frame *f)
{
	for (uint32_t n = 1; n < f->many; n += 1 + n / 2) {
		uint8_t *copy = malloc(f->len);
		CHECK(copy != NULL);
		memcpy(copy, data, f->len);
		struct ob__frame first;
		struct ob__frame again;
		size_t need;
		CHECK(ob__frame_get(&first, copy, f->len, MAX_FRAME, &need) == f->len);
		struct ob__frame rest = ob__many_cut(&first, copy, n);
		CHECK(first.payload_len + rest.payload_len == f->payload_len);
		CHECK(rest.payload == first.payload + first.payload_len);
		CHECK(ob__many_count(first.payload, first.payload_len) == n);
		CHECK(ob__many_count(rest.payload, rest.payload_len) == f->many - n);
		CHECK(rest.many == f->many - n);
		CHECK(ob__frame_get(&again, copy, f->len, MAX_FRAME, &need) == first.len);
		CHECK(again.many == n);
		free(copy);
	}
}

static void check_row(const uint8_t *data, const struct ob__frame *f)
{
	const uint8_t *at = f->payload;
	uint32_t count = 0;
	for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f); count++) {
		CHECK((one.flags & OB__FRAME_MANY) == 0 && ob__many_of(&one) == 1);
		CHECK(one.payload == at + OB__MANY_HEAD);
		CHECK(one.payload_len <= f->payload_len);
		CHECK(one.ext == f->ext && one.src == f->src && one.dst == f->dst);
		at = one.payload + one.payload_len;
		CHECK(at <= f->payload + f->payload_len);
	}
	CHECK(at == f->payload + f->payload_len);
	CHECK(count > 0 && count == f->many && count == ob__many_of(f));
	check_grown(f);
	check_cut(data, f);
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
	if ((f->flags & OB__FRAME_MANY) != 0) {
		check_row(data, f);
	} else {
		CHECK(ob__many_of(f) == 1);
	}
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
