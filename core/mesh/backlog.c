/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/proto.h"

#define LOOK_MAX    64u         /* large ones to compare with; beyond them everything waits */
#define BLOCK_LEAST (16u << 10) /* from here on a frame has a block of its own */

struct ob__backlog_item {
	struct ob__backlog_item *next;
	struct ob__rbuf *bytes;
	size_t at;       /* up to here it has gone out */
	size_t len;      /* of `bytes` in use */
	bool pieces;     /* goes out a piece at a time */
	uint64_t number; /* of a block; of a large one: the block that goes out before its end */
	/* of a large one: whose it is */
	bool system;
	uint64_t src;
	uint64_t dst;
	uint64_t session_node;
	uint64_t session_seq;
};

static void item_free(struct ob__backlog_item *i)
{
	ob__rbuf_unref(i->bytes);
	free(i);
}

static void lane_free(struct ob__backlog_lane *lane)
{
	while (lane->head != NULL) {
		struct ob__backlog_item *i = lane->head;
		lane->head = i->next;
		item_free(i);
	}
}

void ob__backlog_free(struct ob__backlog *b)
{
	if (b == NULL) {
		return;
	}
	lane_free(&b->ordinary);
	lane_free(&b->large);
	*b = (struct ob__backlog){0};
}

/* ---------------------------------------------------------------- putting */

static struct ob__backlog_item *item_new(size_t cap)
{
	struct ob__backlog_item *i = calloc(1, sizeof(*i));
	struct ob__rbuf *bytes = i != NULL ? ob__rbuf_new(cap) : NULL;
	if (bytes == NULL) {
		free(i);
		return NULL;
	}
	i->bytes = bytes;
	return i;
}

static void lane_put(struct ob__backlog_lane *lane, struct ob__backlog_item *i)
{
	if (lane->tail != NULL) {
		lane->tail->next = i;
	} else {
		lane->head = i;
	}
	lane->tail = i;
	lane->len++;
}

size_t ob__backlog_len(const struct ob__backlog_frame *frame)
{
	return frame->len[0] + frame->len[1] + frame->len[2];
}

void ob__backlog_copy(uint8_t *out, const struct ob__backlog_frame *frame, size_t from, size_t len)
{
	for (int p = 0; p < 3 && len > 0; p++) {
		if (from >= frame->len[p]) {
			from -= frame->len[p];
			continue;
		}
		size_t n = frame->len[p] - from < len ? frame->len[p] - from : len;
		memcpy(out, frame->part[p] + from, n);
		out += n;
		len -= n;
		from = 0;
	}
}

static bool one_session(const struct ob__backlog_item *i, const struct ob__frame *f)
{
	return i->session_node == f->session_node && i->session_seq == f->session_seq;
}

/* Whether `f`, which came later, has to stay behind `i`. */
static bool in_order(const struct ob__backlog_item *i, const struct ob__frame *f)
{
	if (i->system || f->kind == OB__FRAME_SYSTEM) {
		return true;
	}
	if (i->session_node != 0 && f->session_node != 0) {
		return one_session(i, f);
	}
	/* a destination that is not settled yet may be any */
	return i->src == f->src && (i->dst == f->dst || i->dst == 0 || f->dst == 0);
}

static bool waits(const struct ob__backlog *b, const struct ob__frame *f)
{
	const struct ob__backlog_item *i = b->large.head;
	if (b->large.len > LOOK_MAX) {
		return true;
	}
	while (i != NULL && !in_order(i, f)) {
		i = i->next;
	}
	return i != NULL;
}

static int64_t put_ordinary(struct ob__backlog *b, const struct ob__backlog_frame *frame,
                            size_t total)
{
	struct ob__backlog_item *i = b->ordinary.tail;
	if (i == NULL || i->bytes->len - i->len < total) {
		i = item_new(total > BLOCK_LEAST ? total : OB__PIECE_MAX);
		if (i == NULL) {
			return -ENOMEM;
		}
		i->number = ++b->last;
		lane_put(&b->ordinary, i);
	}
	ob__backlog_copy(i->bytes->data + i->len, frame, 0, total);
	i->len += total;
	b->bytes += total;
	return (int64_t)total;
}

/* The frame with a header in front of each of its pieces. */
static size_t cut(uint8_t *out, const struct ob__backlog_frame *frame, size_t total, uint64_t src)
{
	uint8_t *at = out;
	for (size_t from = 0; from < total; from += OB__PIECE_LEN) {
		size_t n = total - from < OB__PIECE_LEN ? total - from : OB__PIECE_LEN;
		struct ob__frame head = {
			.kind = OB__FRAME_SYSTEM,
			.id = OB__SYS_PART,
			.call = total,
			.src = src,
			.payload_len = (uint32_t)n,
		};
		ob__frame_put_header(at, &head);
		ob__backlog_copy(at + OB__FRAME_HEADER, frame, from, n);
		at += OB__FRAME_HEADER + n;
	}
	return (size_t)(at - out);
}

static int64_t put_large(struct ob__backlog *b, const struct ob__backlog_frame *frame, size_t total,
                         bool split, uint64_t src)
{
	const struct ob__frame *f = frame->f;
	bool pieces = split && total > OB__PIECE_MAX;
	size_t count = (total + OB__PIECE_LEN - 1) / OB__PIECE_LEN;
	struct ob__backlog_item *i = item_new(total + (pieces ? count * OB__FRAME_HEADER : 0));
	if (i == NULL) {
		return -ENOMEM;
	}
	if (pieces) {
		i->len = cut(i->bytes->data, frame, total, src);
	} else {
		ob__backlog_copy(i->bytes->data, frame, 0, total);
		i->len = total;
	}
	i->pieces = pieces;
	i->number = b->ordinary.tail != NULL ? b->ordinary.tail->number : 0;
	i->system = f->kind == OB__FRAME_SYSTEM;
	i->src = f->src;
	i->dst = f->dst;
	i->session_node = f->session_node;
	i->session_seq = f->session_seq;
	lane_put(&b->large, i);
	b->bytes += i->len;
	return (int64_t)i->len;
}

int64_t ob__backlog_put(struct ob__backlog *b, const struct ob__backlog_frame *frame, bool split,
                        uint64_t src)
{
	size_t total = ob__backlog_len(frame);
	if (total > OB__PIECE_MAX || waits(b, frame->f)) {
		return put_large(b, frame, total, split, src);
	}
	return put_ordinary(b, frame, total);
}

/* ---------------------------------------------------------------- taking */

static size_t step(const struct ob__backlog_item *i)
{
	size_t left = i->len - i->at;
	return i->pieces && left > OB__PIECE_MAX ? OB__PIECE_MAX : left;
}

static bool ordinary_next(const struct ob__backlog *b)
{
	const struct ob__backlog_item *o = b->ordinary.head;
	const struct ob__backlog_item *l = b->large.head;
	if (o == NULL || l == NULL) {
		return l == NULL;
	}
	bool ends = l->at + step(l) == l->len;
	return (ends && o->number <= l->number) || b->turn;
}

bool ob__backlog_next(const struct ob__backlog *b, struct ob__backlog_slice *slice)
{
	if (b->bytes == 0) {
		return false;
	}
	bool ordinary = ordinary_next(b);
	const struct ob__backlog_item *i = ordinary ? b->ordinary.head : b->large.head;
	*slice = (struct ob__backlog_slice){i->bytes, i->at, step(i), ordinary};
	return true;
}

void ob__backlog_done(struct ob__backlog *b, const struct ob__backlog_slice *slice)
{
	struct ob__backlog_lane *lane = slice->ordinary ? &b->ordinary : &b->large;
	struct ob__backlog_item *i = lane->head;
	i->at += slice->len;
	b->bytes -= slice->len;
	b->turn = !slice->ordinary;
	if (i->at < i->len) {
		return;
	}
	lane->head = i->next;
	lane->tail = lane->head != NULL ? lane->tail : NULL;
	lane->len--;
	item_free(i);
}

/* ---------------------------------------------------------------- joining */

/* Whole frames of a link's own never come in pieces. */
static bool may_be_cut(const struct ob__frame *f)
{
	return f->kind != OB__FRAME_HELLO && (f->kind != OB__FRAME_SYSTEM || f->id != OB__SYS_PART);
}

int ob__backlog_join(struct ob__buf *in, const struct ob__frame *piece, size_t max,
                     struct ob__frame *f)
{
	size_t need;
	if (piece->call > max) {
		return -EMSGSIZE;
	}
	size_t total = (size_t)piece->call;
	if (total <= OB__PIECE_MAX || piece->payload_len == 0 || piece->ext_len != 0 ||
	    piece->payload_len > total - in->len || (in->len > 0 && in->cap != total)) {
		return -EPROTO;
	}
	if (in->len == 0 && ob__buf_reserve(in, total) < 0) {
		return -ENOMEM;
	}
	ob__buf_append(in, piece->payload, piece->payload_len);
	if (in->len < total) {
		return 0;
	}
	if (ob__frame_get(f, in->data, in->len, max, &need) != (int64_t)total || !may_be_cut(f)) {
		return -EPROTO;
	}
	return 1;
}
