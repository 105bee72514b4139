/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  The place of a message among those of its session.
 *
 * As long as ways between nodes change by plan, a fence keeps a session's messages in their order.
 * When a way breaks, what was under way on it may still arrive, behind what has gone another way
 * meanwhile.  Its sender has been told that nobody knows what became of it, so it need not be
 * handled; and it must not be, as later ones have been.  So a session's proxy numbers what is to
 * stay in order, and who handles it takes no number that is not higher than the last one.
 *
 * There are two rows of numbers: messages whose role the proxy knows, and those whose role is
 * settled further on.  They go by different ways, and nothing is promised between them.
 *
 * The extension is a u32, little-endian: the row in its highest bit, the number in the others.  The
 * numbers begin at 1 and go round.  Where a frame carries several messages it is the number of the
 * first, and theirs follow one another.
 *
 * The other way there are pushes, which a session gets from several nodes.  Each node numbers its
 * own, whatever their session, and the number is the frame's call id, which a push has no other use
 * for.  It begins at the node's incarnation, so it grows from one life to the next; and a session's
 * proxy takes no push that is numbered below the last one from the same node.
 */

#ifndef OB__ORDER_H
#define OB__ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"
#include "lib/le.h"
#include "lib/many.h"

#define OB__ORDER_ROWS 2u
#define OB__ORDER_EXT  (OB__FRAME_EXT_HEADER + 4u)
#define OB__ORDER_MAX  UINT32_C(0x7fffffff)
#define OB__ORDER_NEAR UINT32_C(0x3fffffff) /* no number is so far ahead */

#define OB__PUSH_LIFE_BITS 16u /* of a push's number; above them is the incarnation */
#define OB__PUSH_NEAR      (UINT64_C(1) << 32) /* no push is late by more: a clock was set back */

/* The number behind which a node's first push comes. */
static inline uint64_t ob__push_first(uint64_t incarnation)
{
	return incarnation << OB__PUSH_LIFE_BITS;
}

/* What a session has got from one node. */
struct ob__push_row {
	uint64_t node;
	uint64_t last; /* number */
};

/* True for one that comes in order, which is noted. */
static inline bool ob__push_row_take(struct ob__push_row *row, uint64_t number)
{
	if (row->last - number < OB__PUSH_NEAR) {
		return false;
	}
	row->last = number;
	return true;
}

/* The last numbers, given or taken; 0: none. */
struct ob__order {
	uint32_t last[OB__ORDER_ROWS];
};

/* The number `n` places behind another one. */
static inline uint32_t ob__order_behind(uint32_t number, uint32_t n)
{
	number += n;
	return number <= OB__ORDER_MAX ? number : number - OB__ORDER_MAX;
}

/* The next number of a row. */
static inline uint32_t ob__order_next(struct ob__order *o, unsigned row)
{
	return o->last[row] = ob__order_behind(o->last[row], 1);
}

/* Writes the extension with the next number; its bytes. */
static inline size_t ob__order_put(struct ob__order *o, unsigned row, uint8_t out[OB__ORDER_EXT])
{
	ob__put32(out + OB__FRAME_EXT_HEADER, ob__order_next(o, row) | (uint32_t)row << 31);
	return ob__frame_ext_head(out, OB__FRAME_EXT_ORDER, sizeof(uint32_t));
}

/* True for a frame without a number, and for one that comes in order, which is noted. */
static inline bool ob__order_take(struct ob__order *o, const struct ob__frame *f)
{
	uint16_t len = 0;
	const uint8_t *ext = ob__frame_ext(f, OB__FRAME_EXT_ORDER, &len);
	uint32_t value;

	if (ext == NULL || len != sizeof(value)) {
		return true;
	}
	value = ob__get32(ext);
	uint32_t *last = &o->last[value >> 31];
	uint32_t number = value & OB__ORDER_MAX;
	uint32_t ahead = (number - *last) & OB__ORDER_MAX;
	if (*last != 0 && (ahead == 0 || ahead > OB__ORDER_NEAR)) {
		return false;
	}
	*last = ob__order_behind(number, ob__many_of(f) - 1);
	return true;
}

/* Moves the number in the extensions at `ext`, those of `f`, `n` places on. */
static inline void ob__order_shift(const struct ob__frame *f, uint8_t *ext, uint32_t n)
{
	uint16_t len = 0;
	const uint8_t *at = ob__frame_ext(f, OB__FRAME_EXT_ORDER, &len);

	if (at != NULL && len == sizeof(uint32_t)) {
		uint32_t value = ob__get32(at);
		uint32_t number = ob__order_behind(value & OB__ORDER_MAX, n);
		ob__put32(ext + (at - f->ext), (value & ~OB__ORDER_MAX) | number);
	}
}

#endif
