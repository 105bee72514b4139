/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to net/stream.  What its parts share: stream.c has the life of a socket and reading,
 * stream_fd.c sockets that are dialled elsewhere, stream_out.c the output queue, stream_tls.c what
 * stands between the two and the socket when TLS is spoken.
 */

#ifndef OB__STREAM_PRIV_H
#define OB__STREAM_PRIV_H

#include "net/stream.h"
#include "net/tls_priv.h"

#define OB__TRY_IOVS 64u /* pieces in one write */

/* Puts a stream with something to send on the dirty list, unless it must wait. */
void ob__stream_mark_dirty(struct ob__stream *s);

/* Drops what is queued. */
void ob__stream_drop_queue(struct ob__stream *s);

/* Moves the queue of `from` to `into`, which has none. */
void ob__stream_move_queue(struct ob__stream *into, struct ob__stream *from);

/* Has the owner told before the next poll. */
void ob__stream_notify(struct ob__stream *s);

/* The queue of a stream that closes after its flush is empty: says so to the peer. */
void ob__stream_flushed(struct ob__stream *s);

/* What waits for the end of a dial. */
struct ob__stream_dial {
	ob__stream_connect_cb cb;
	int status; /* negative: it has failed already, which is told later */
};

/* A dial that begins; NULL when out of memory. */
struct ob__stream_dial *ob__stream_dial_new(struct ob__stream *s, ob__stream_connect_cb cb);

/* It has a socket from now on. */
void ob__stream_opened(struct ob__stream *s, bool is_unix);

/* The kernel takes no more at present. */
void ob__stream_block(struct ob__stream *s);

void ob__streams_free_chunks(struct ob__streams *m);

/* Pieces of a queue, from the free list and back. */
struct ob__chunk *ob__chunk_new(struct ob__streams *m);
void ob__chunks_free(struct ob__streams *m, struct ob__chunk *list);

/* The rest of a list of chunks as pieces to write; how many. */
unsigned ob__chunks_gather(struct ob__chunk *list, uv_buf_t *iov, unsigned cap, size_t *total);

/* `n` bytes at the front of the queue have been dealt with. */
void ob__stream_drop_front(struct ob__stream *s, size_t n);

/* A stream's queue has shrunk: may its owner be told? */
void ob__stream_check_drained(struct ob__stream *s);

/* After a write has ended: what next. */
void ob__stream_settle(struct ob__stream *s);

/* The owner reads and has been given all there is, and there may be more.  Who closes or has failed
 * does not read. */
bool ob__stream_wants_more(const struct ob__stream *s);

/* The socket's part of reading, without the owner's. */
void ob__stream_end(struct ob__stream *s, int status);
void ob__stream_halt(struct ob__stream *s);

/* stream_tls.c */
void ob__tls_begin(struct ob__stream *s); /* connected */
void ob__tls_read(struct ob__stream *s, const uint8_t *data, size_t len);
int ob__tls_end(struct ob__stream *s, int status); /* the socket's, to the one to be told */
bool ob__tls_is_over(const struct ob__stream *s);  /* the peer's goodbye was read, or nonsense */
void ob__tls_tell_over(struct ob__stream *s);      /* to an owner that reads and has read all */
void ob__tls_flush(struct ob__stream *s);
bool ob__tls_has_output(const struct ob__stream *s);
void ob__tls_forget(struct ob__stream *s);  /* what is queued was dropped */
bool ob__tls_say_bye(struct ob__stream *s); /* false: said, or nothing to say it with */
void ob__tls_last_try(struct ob__stream *s);
void ob__tls_free(struct ob__stream *s);

#endif
