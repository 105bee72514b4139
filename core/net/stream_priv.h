/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to net/stream.  What its two halves share: stream.c has the life of a socket and reading,
 * stream_out.c the output queue.
 */

#ifndef OB__STREAM_PRIV_H
#define OB__STREAM_PRIV_H

#include "net/stream.h"

/* Puts a stream with something to send on the dirty list, unless it must wait. */
void ob__stream_mark_dirty(struct ob__stream *s);

/* Drops what is queued, but for what libuv holds. */
void ob__stream_drop_queue(struct ob__stream *s);

/* Moves the queue of `from` to `into`, which has none. */
void ob__stream_move_queue(struct ob__stream *into, struct ob__stream *from);

/* The socket is broken: drops the queue; the owner is told later. */
void ob__stream_fail(struct ob__stream *s, int status);

/* Has the owner told before the next poll. */
void ob__stream_notify(struct ob__stream *s);

/* The queue of a stream that closes after its flush is empty: says so to the peer. */
void ob__stream_flushed(struct ob__stream *s);

void ob__streams_free_chunks(struct ob__streams *m);

#endif
