/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Frames that wait for room in a link's stream; no sockets.
 *
 * A stream is a queue, and what is in it goes out in its order.  So a link gives it no more than it
 * can send soon and keeps the rest here; then a frame that may overtake (a ping, a sign of life)
 * waits for what is in the stream and no longer.
 *
 * There are two queues.  Ordinary frames wait side by side in blocks.  A large one is cut into
 * pieces, frames of their own (OB__SYS_PART), between which ordinary frames go out; the other end
 * puts it together again.  One large frame is on its way at a time.
 *
 * ORDER.  Frames of one session stay in order, and so do those from one node to another of which
 * one has no session: a frame that may not overtake a large one waits behind it, in its queue
 * (ob__backlog_put() sees to that), and a large one's last piece waits for the ordinary frames that
 * were there before.  Frames between hosts (SYSTEM) overtake nothing.
 */

#ifndef OB__BACKLOG_H
#define OB__BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/frame.h"

#define OB__PIECE_MAX (64u << 10)                        /* a piece with its header */
#define OB__PIECE_LEN (OB__PIECE_MAX - OB__FRAME_HEADER) /* bytes of the frame in it */

struct ob__backlog_item;

struct ob__backlog_lane {
	struct ob__backlog_item *head;
	struct ob__backlog_item *tail;
	size_t len; /* items */
};

/* A zeroed struct is an empty backlog. */
struct ob__backlog {
	struct ob__backlog_lane ordinary;
	struct ob__backlog_lane large;
	size_t bytes;  /* as they will be sent */
	uint64_t last; /* number of the newest block of ordinary frames */
	bool turn;     /* of the ordinary ones */
};

/* A whole frame, in parts that lie apart. */
struct ob__backlog_frame {
	const struct ob__frame *f; /* who it is from and for */
	const uint8_t *part[3];
	size_t len[3];
};

size_t ob__backlog_len(const struct ob__backlog_frame *frame);

/* Copies bytes [from, from + len) of it. */
void ob__backlog_copy(uint8_t *out, const struct ob__backlog_frame *frame, size_t from, size_t len);

/* What is to go out next: a whole number of frames. */
struct ob__backlog_slice {
	struct ob__rbuf *bytes; /* borrowed */
	size_t at;
	size_t len;
	bool ordinary;
};

void ob__backlog_free(struct ob__backlog *b);

/* Frames wait that may be overtaken, so what goes out does so in another order than it came. */
static inline bool ob__backlog_mixes(const struct ob__backlog *b)
{
	return b->large.head != NULL;
}

/* Takes a copy; one that is longer than a piece is cut up if `split`, with `src` as the pieces'
 * sender.  How many bytes that will be when they go out, or -ENOMEM with nothing taken. */
int64_t ob__backlog_put(struct ob__backlog *b, const struct ob__backlog_frame *frame, bool split,
                        uint64_t src);

/* False when nothing waits. */
bool ob__backlog_next(const struct ob__backlog *b, struct ob__backlog_slice *slice);

/* The slice of ob__backlog_next() has gone out. */
void ob__backlog_done(struct ob__backlog *b, const struct ob__backlog_slice *slice);

/* ---- the other end ---- */

/*
 * A piece has arrived: adds it to `in`, the pieces so far, which is empty at first.  1 when the
 * frame is whole in `in` and read into *f (borrowed from there; free `in` afterwards), 0 when more
 * must come; -EPROTO for a piece that does not fit or a frame that may not come so, -EMSGSIZE for
 * one of more than `max` bytes, -ENOMEM.
 */
int ob__backlog_join(struct ob__buf *in, const struct ob__frame *piece, size_t max,
                     struct ob__frame *f);

#endif
