/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Frames in pieces.  The input is the header of a large frame, then 8 bytes for each piece of it
 * that arrives: u8 flags | u8 0 | u16 its bytes | u32 the length that it says the frame has, 0: the
 * right one.  What the frame has behind its header is made up here, so that a short input is enough
 * for a long frame.  What must hold: what is put together is what was cut, nothing is kept beyond
 * the frame's length or the bound, and a frame that is sent in pieces arrives.
 */

#include "mesh/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/proto.h"
#include "t/fuzz/fuzz.h"

#define MAX_FRAME (256u << 10)
#define ROW       8u
#define EXT       1u /* flags: the piece has extensions */
#define GARBAGE   2u /* its bytes are others */

/* What arrives is in a block of its own size, so that a read beyond is seen. */
struct piece {
	uint8_t *bytes;
	struct ob__frame f;
	bool right; /* the next bytes of the frame */
};

static void piece_make(struct piece *p, const uint8_t row[ROW], const uint8_t *whole, size_t at)
{
	static const uint8_t ext[4];
	uint16_t n = (uint16_t)(row[2] | row[3] << 8);
	uint32_t total = row[4] | row[5] << 8 | row[6] << 16 | (uint32_t)row[7] << 24;
	uint32_t real;

	memcpy(&real, whole, sizeof(real));
	p->bytes = malloc(n > 0 ? n : 1);
	CHECK(p->bytes != NULL);
	p->right = (row[0] & GARBAGE) == 0 && at + n <= MAX_FRAME;
	memset(p->bytes, 0xa5, n);
	if (p->right) {
		memcpy(p->bytes, whole + at, n);
	}
	p->f = (struct ob__frame){
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_PART,
		.call = total != 0 ? total : real,
		.ext = ext,
		.ext_len = (row[0] & EXT) != 0 ? sizeof(ext) : 0,
		.payload = p->bytes,
		.payload_len = n,
	};
}

static void check_frame(const struct ob__frame *f, const struct ob__buf *in, size_t total)
{
	CHECK(f->len == total && in->len == total && total > OB__PIECE_MAX);
	CHECK(f->kind != OB__FRAME_HELLO);
	CHECK(f->kind != OB__FRAME_SYSTEM || f->id != OB__SYS_PART);
	CHECK(f->ext == in->data + OB__FRAME_HEADER);
	CHECK(f->payload == f->ext + f->ext_len);
	CHECK(OB__FRAME_HEADER + f->ext_len + f->payload_len == total);
}

/* As a link does, until it would be closed. */
static void arrive(const uint8_t *whole, const uint8_t *rows, size_t len)
{
	struct ob__buf in = {0};
	struct ob__frame f;
	size_t at = 0;
	bool right = true;
	int rc = 0;

	for (; len >= ROW && rc >= 0; rows += ROW, len -= ROW) {
		struct piece p;
		piece_make(&p, rows, whole, at);
		size_t before = in.len;
		CHECK(before == at);
		rc = ob__backlog_join(&in, &p.f, MAX_FRAME, &f);
		free(p.bytes);
		right = right && p.right;
		if (rc < 0) {
			CHECK((rc == -EMSGSIZE) == (p.f.call > MAX_FRAME));
			CHECK(rc == -EMSGSIZE || rc == -EPROTO);
			break;
		}
		at += p.f.payload_len;
		CHECK(p.f.ext_len == 0 && p.f.payload_len > 0);
		CHECK(in.len == at && in.len <= p.f.call && in.cap == p.f.call);
		CHECK((rc == 1) == (in.len == p.f.call));
		CHECK(!right || memcmp(in.data, whole, in.len) == 0);
		if (rc == 1) {
			check_frame(&f, &in, (size_t)p.f.call);
			ob__buf_free(&in);
			at = 0;
			right = true;
		}
	}
	ob__buf_free(&in);
}

/* The frame, if it is one, is cut up and put together again. */
static void send_whole(const uint8_t *whole)
{
	struct ob__backlog b = {0};
	struct ob__backlog_slice slice;
	struct ob__buf in = {0};
	struct ob__frame f;
	size_t need;
	int64_t total = ob__frame_get(&f, whole, MAX_FRAME, MAX_FRAME, &need);
	int rc = 0;

	if (total <= (int64_t)OB__PIECE_MAX || f.kind == OB__FRAME_HELLO ||
	    (f.kind == OB__FRAME_SYSTEM && f.id == OB__SYS_PART)) {
		return;
	}
	const struct ob__backlog_frame frame = {.f = &f, .part = {whole}, .len = {(size_t)total}};
	CHECK(ob__backlog_put(&b, &frame, true, 7) > total);
	while (ob__backlog_next(&b, &slice)) {
		struct ob__frame piece;
		const uint8_t *bytes = slice.bytes->data + slice.at;
		CHECK(rc == 0 && slice.len <= OB__PIECE_MAX && !slice.ordinary);
		CHECK(ob__frame_get(&piece, bytes, slice.len, OB__PIECE_MAX, &need) ==
		      (int64_t)slice.len);
		CHECK(piece.src == 7 && piece.id == OB__SYS_PART);
		rc = ob__backlog_join(&in, &piece, MAX_FRAME, &f);
		CHECK(rc >= 0);
		ob__backlog_done(&b, &slice);
	}
	CHECK(rc == 1 && in.len == (size_t)total && memcmp(in.data, whole, in.len) == 0);
	check_frame(&f, &in, (size_t)total);
	ob__buf_free(&in);
	ob__backlog_free(&b);
}

/* A block of its own, filled once: that takes longer than what is tried with it. */
static uint8_t *filled(void)
{
	uint8_t *whole = malloc(MAX_FRAME);
	CHECK(whole != NULL);
	for (size_t i = 0; i < MAX_FRAME; i++) {
		whole[i] = (uint8_t)(i * 31 >> 3);
	}
	return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t *whole;

	if (len < OB__FRAME_HEADER) {
		return 0;
	}
	if (whole == NULL) {
		whole = filled();
	}
	memcpy(whole, data, OB__FRAME_HEADER);
	send_whole(whole);
	arrive(whole, data + OB__FRAME_HEADER, len - OB__FRAME_HEADER);
	return 0;
}
