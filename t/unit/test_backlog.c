/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/backlog.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/proto.h"
#include "tap.h"

#define BIG (3 * OB__PIECE_LEN - 1000) /* bytes of a frame of three pieces */

static struct ob__backlog b;
static uint8_t payload[4 * OB__PIECE_MAX];

/* Who a frame is from and for; its number is its call id. */
struct who {
	uint8_t kind;
	uint64_t src;
	uint64_t dst;
	uint64_t session; /* 0: none */
};

static int64_t put(const struct who *w, uint64_t number, size_t total, bool split)
{
	uint8_t head[OB__FRAME_HEADER];
	struct ob__frame f = {
		.kind = w->kind,
		.id = w->kind == OB__FRAME_SYSTEM ? OB__SYS_FENCE : 1000,
		.call = number,
		.src = w->src,
		.dst = w->dst,
		.session_node = w->session != 0 ? 77 : 0,
		.session_seq = w->session,
		.payload = payload,
		.payload_len = (uint32_t)(total - OB__FRAME_HEADER),
	};

	ob__frame_put_header(head, &f);
	struct ob__backlog_frame frame = {
		.f = &f,
		.part = {head, NULL, payload},
		.len = {sizeof(head), 0, total - sizeof(head)},
	};
	return ob__backlog_put(&b, &frame, split, 5);
}

/* Takes all there is, as the other end of a link would see it: the numbers of the frames in the
 * order in which they are whole, how many slices it took, whether all bytes are right. */
struct seen {
	uint64_t numbers[64];
	size_t len;
	size_t slices;
	bool pieces[64]; /* by slice */
	bool good;
};

static void see_frame(struct seen *s, const struct ob__frame *f)
{
	s->good = s->good && memcmp(f->payload, payload, f->payload_len) == 0;
	s->numbers[s->len++] = f->call;
}

static void see(struct seen *s, struct ob__buf *in, const uint8_t *data, size_t len)
{
	struct ob__frame f;
	struct ob__frame whole;
	size_t need;

	while (len > 0) {
		int64_t got = ob__frame_get(&f, data, len, 1u << 20, &need);
		if (got <= 0) {
			s->good = false;
			return;
		}
		if (f.kind == OB__FRAME_SYSTEM && f.id == OB__SYS_PART) {
			s->pieces[s->slices] = true;
			s->good = s->good && f.src == 5;
			int rc = ob__backlog_join(in, &f, 1u << 20, &whole);
			s->good = s->good && rc >= 0;
			if (rc == 1) {
				see_frame(s, &whole);
				ob__buf_free(in);
			}
		} else {
			see_frame(s, &f);
		}
		data += got;
		len -= (size_t)got;
	}
}

static struct seen take_all(void)
{
	struct seen s = {.good = true};
	struct ob__buf in = {0};
	struct ob__backlog_slice slice;

	while (ob__backlog_next(&b, &slice)) {
		see(&s, &in, slice.bytes->data + slice.at, slice.len);
		ob__backlog_done(&b, &slice);
		s.slices++;
	}
	CU_ASSERT_EQUAL(b.bytes, 0);
	CU_ASSERT_EQUAL(in.len, 0);
	CU_ASSERT_EQUAL(b.ordinary.len + b.large.len, 0);
	return s;
}

static void test_ordinary(void)
{
	const struct who w = {.kind = OB__FRAME_PUSH, .src = 1, .dst = 2, .session = 9};

	for (uint64_t i = 1; i <= 40; i++) {
		CU_ASSERT_EQUAL(put(&w, i, 100 * i, true), (int64_t)(100 * i));
	}
	CU_ASSERT_FALSE(ob__backlog_mixes(&b));
	CU_ASSERT_EQUAL(b.bytes, 82000);
	struct seen s = take_all();
	CU_ASSERT_EQUAL(s.len, 40);
	CU_ASSERT_EQUAL(s.slices, 2); /* side by side in blocks */
	for (uint64_t i = 0; i < 40; i++) {
		CU_ASSERT_EQUAL(s.numbers[i], i + 1);
	}
	CU_ASSERT_TRUE(s.good);
	ob__backlog_free(&b);
}

/* Sizes around the edges of pieces arrive whole. */
static void test_sizes(void)
{
	static const struct {
		size_t total;
		size_t slices;
	} rows[] = {
		{OB__FRAME_HEADER, 1},      {OB__PIECE_LEN, 1},          {OB__PIECE_MAX, 1},
		{OB__PIECE_MAX + 1, 2},     {2 * OB__PIECE_LEN, 2},      {2 * OB__PIECE_LEN + 1, 3},
		{3 * OB__PIECE_LEN - 1, 3}, {3 * OB__PIECE_LEN + 63, 4},
	};
	const struct who w = {.kind = OB__FRAME_REQUEST, .src = 1, .dst = 2};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool cut = rows[i].slices > 1;
		size_t wire = rows[i].total + (cut ? rows[i].slices * OB__FRAME_HEADER : 0);
		CU_ASSERT_EQUAL(put(&w, i + 1, rows[i].total, true), (int64_t)wire);
		CU_ASSERT_EQUAL(b.bytes, wire);
		struct seen s = take_all();
		CU_ASSERT_EQUAL(s.slices, rows[i].slices);
		CU_ASSERT(s.len == 1 && s.numbers[0] == i + 1 && s.good);
		CU_ASSERT_EQUAL(s.pieces[0], cut);
	}
	/* for one that does not take pieces */
	CU_ASSERT_EQUAL(put(&w, 99, BIG, false), (int64_t)BIG);
	struct seen s = take_all();
	CU_ASSERT(s.slices == 1 && s.len == 1 && !s.pieces[0] && s.good);
	ob__backlog_free(&b);
}

/* A large frame, then a small one: does that overtake? */
static void test_order(void)
{
	static const struct {
		struct who large;
		struct who small;
		bool overtakes;
	} rows[] = {
		/* one session, and others */
		{{OB__FRAME_PUSH, 1, 2, 9}, {OB__FRAME_PUSH, 1, 2, 9}, false},
		{{OB__FRAME_PUSH, 1, 2, 9}, {OB__FRAME_PUSH, 1, 2, 8}, true},
		{{OB__FRAME_REQUEST, 3, 2, 9}, {OB__FRAME_PUSH, 1, 2, 9}, false},
		/* without a session: by where from and where to */
		{{OB__FRAME_PUSH, 1, 2, 9}, {OB__FRAME_REPLY, 1, 2, 0}, false},
		{{OB__FRAME_REPLY, 1, 2, 0}, {OB__FRAME_PUSH, 1, 2, 9}, false},
		{{OB__FRAME_REQUEST, 1, 2, 0}, {OB__FRAME_REQUEST, 1, 2, 0}, false},
		{{OB__FRAME_REQUEST, 1, 2, 0}, {OB__FRAME_REQUEST, 1, 3, 0}, true},
		{{OB__FRAME_REQUEST, 1, 2, 0}, {OB__FRAME_REQUEST, 3, 2, 0}, true},
		/* a destination that is not settled may be any */
		{{OB__FRAME_REQUEST, 1, 0, 0}, {OB__FRAME_REQUEST, 1, 3, 0}, false},
		{{OB__FRAME_REQUEST, 1, 3, 0}, {OB__FRAME_REQUEST, 1, 0, 0}, false},
		/* between hosts: behind everything, and nothing before them */
		{{OB__FRAME_PUSH, 1, 2, 9}, {OB__FRAME_SYSTEM, 7, 8, 0}, false},
		{{OB__FRAME_SYSTEM, 7, 8, 0}, {OB__FRAME_PUSH, 1, 2, 9}, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put(&rows[i].large, 1, BIG, true);
		CU_ASSERT_TRUE(ob__backlog_mixes(&b));
		put(&rows[i].small, 2, 200, true);
		struct seen s = take_all();
		CU_ASSERT(s.len == 2 && s.good);
		CU_ASSERT_EQUAL(s.numbers[0], rows[i].overtakes ? 2 : 1);
	}
	ob__backlog_free(&b);
}

/* What was there before a large frame is there before its end. */
static void test_before(void)
{
	const struct who w = {.kind = OB__FRAME_PUSH, .src = 1, .dst = 2, .session = 9};

	for (uint64_t i = 1; i <= 10; i++) {
		put(&w, i, OB__PIECE_MAX, true); /* ten blocks */
	}
	put(&w, 11, BIG, true);
	put(&w, 12, 100, true);
	struct seen s = take_all();
	CU_ASSERT(s.len == 12 && s.good);
	for (uint64_t i = 0; i < 12; i++) {
		CU_ASSERT_EQUAL(s.numbers[i], i + 1);
	}
	CU_ASSERT(s.pieces[1] || s.pieces[0]); /* its beginning goes out between them */
	ob__backlog_free(&b);
}

/* Both go on: a piece, a block, a piece, ... */
static void test_by_turns(void)
{
	const struct who large = {.kind = OB__FRAME_PUSH, .src = 1, .dst = 2, .session = 9};
	const struct who small = {.kind = OB__FRAME_PUSH, .src = 1, .dst = 2, .session = 8};

	put(&large, 1, 4 * OB__PIECE_LEN, true);
	put(&large, 2, 2 * OB__PIECE_LEN, true);
	for (uint64_t i = 3; i < 9; i++) {
		put(&small, i, 40000, true);
	}
	struct seen s = take_all();
	CU_ASSERT(s.len == 8 && s.good);
	CU_ASSERT_EQUAL(s.slices, 12);
	for (size_t i = 1; i < 12; i++) {
		CU_ASSERT_NOT_EQUAL(s.pieces[i], s.pieces[i - 1]);
	}
	ob__backlog_free(&b);
}

/* Among very many large ones nothing is looked for any more. */
static void test_many(void)
{
	struct who w = {.kind = OB__FRAME_PUSH, .src = 1, .dst = 2, .session = 100};
	struct seen s;

	put(&w, 1, BIG, true);
	for (uint64_t i = 2; i <= 40; i++) {
		put(&w, i, 100, true); /* each has to wait */
	}
	w.session = 9;
	put(&w, 41, 100, true);
	s = take_all();
	CU_ASSERT(s.len == 41 && s.good && s.numbers[0] == 41);
	w.session = 100;
	put(&w, 1, BIG, true);
	for (uint64_t i = 2; i <= 70; i++) {
		put(&w, i % 50, 100, true);
	}
	CU_ASSERT_EQUAL(b.large.len, 70);
	w.session = 9;
	put(&w, 71, 100, true);
	CU_ASSERT_EQUAL(b.large.len, 71);
	ob__backlog_free(&b);
	CU_ASSERT_EQUAL(b.bytes, 0);
}

/* ---- the other end ---- */

static int join(struct ob__buf *in, uint64_t total, const void *bytes, size_t len,
                struct ob__frame *f)
{
	struct ob__frame piece = {.kind = OB__FRAME_SYSTEM,
	                          .id = OB__SYS_PART,
	                          .call = total,
	                          .payload = bytes,
	                          .payload_len = (uint32_t)len};

	return ob__backlog_join(in, &piece, 1u << 20, f);
}

static void test_bad_pieces(void)
{
	struct ob__buf in = {0};
	struct ob__frame f;
	static uint8_t whole[100000];
	struct ob__frame head = {.kind = OB__FRAME_PUSH,
	                         .payload_len = sizeof(whole) - OB__FRAME_HEADER};

	CU_ASSERT_EQUAL(join(&in, (1u << 20) + 1, payload, 1000, &f), -EMSGSIZE);
	CU_ASSERT_EQUAL(join(&in, UINT64_MAX, payload, 1000, &f), -EMSGSIZE);
	CU_ASSERT_EQUAL(join(&in, 0, payload, 1, &f), -EPROTO);
	CU_ASSERT_EQUAL(join(&in, OB__PIECE_MAX, payload, 1000, &f), -EPROTO); /* not large */
	CU_ASSERT_EQUAL(join(&in, 100000, payload, 0, &f), -EPROTO);
	CU_ASSERT_EQUAL(in.len, 0);
	/* of another frame, or more than there is */
	CU_ASSERT_EQUAL(join(&in, 100000, payload, 60000, &f), 0);
	CU_ASSERT_EQUAL(join(&in, 100001, payload, 1000, &f), -EPROTO);
	CU_ASSERT_EQUAL(join(&in, 70000, payload, 1000, &f), -EPROTO);
	CU_ASSERT_EQUAL(join(&in, 100000, payload, 40001, &f), -EPROTO);
	/* no frame at all */
	CU_ASSERT_EQUAL(join(&in, 100000, payload, 40000, &f), -EPROTO);
	ob__buf_free(&in);
	/* another length than it says, then kinds that never come so */
	static const struct {
		uint8_t kind;
		uint32_t id;
		uint32_t less;
		int rc;
	} rows[] = {
		{OB__FRAME_PUSH, 1, 0, 1},
		{OB__FRAME_PUSH, 1, 1, -EPROTO},
		{OB__FRAME_HELLO, 0, 0, -EPROTO},
		{OB__FRAME_SYSTEM, OB__SYS_PART, 0, -EPROTO},
		{OB__FRAME_SYSTEM, OB__SYS_METHODS, 0, 1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		head.kind = rows[i].kind;
		head.id = rows[i].id;
		head.payload_len = sizeof(whole) - OB__FRAME_HEADER - rows[i].less;
		ob__frame_put_header(whole, &head);
		CU_ASSERT_EQUAL(join(&in, sizeof(whole), whole, 50000, &f), 0);
		CU_ASSERT_EQUAL(join(&in, sizeof(whole), whole + 50000, 50000, &f), rows[i].rc);
		ob__buf_free(&in);
	}
}

int main(void)
{
	for (size_t i = 0; i < sizeof(payload); i++) {
		payload[i] = (uint8_t)(i * 7 + i / 251);
	}
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("backlog", NULL, NULL);
	CU_add_test(s, "ordinary frames", test_ordinary);
	CU_add_test(s, "sizes", test_sizes);
	CU_add_test(s, "order", test_order);
	CU_add_test(s, "what was there before", test_before);
	CU_add_test(s, "by turns", test_by_turns);
	CU_add_test(s, "many", test_many);
	CU_add_test(s, "bad pieces", test_bad_pieces);
	return ob__tap_run();
}
