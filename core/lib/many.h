/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Several messages in one frame.
 *
 * What one client sends in a burst goes the same way, and so do calls of one kind, and the answers.
 * Messages whose frames would differ in nothing but the call id and the payload share one frame,
 * with the flag MANY: its payload is a row of at least one
 *
 *     u64 call id   u32 length   bytes
 *
 * and the call id of its header is 0.  What the header and the extensions say holds for each of
 * them; only the place among the session's messages (ORDER) is that of the first, and the others
 * follow it.  Requests and replies may be so, nothing else.
 *
 * Nobody waits for more to come: as long as a frame is the last in the output of its link, and
 * nothing of it has been sent, the next message may be added to it (ob__many_add).  A node on the
 * way passes all of them on as one frame.
 */

#ifndef OB__MANY_H
#define OB__MANY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"
#include "lib/le.h"

#define OB__MANY_HEAD  12u        /* before the bytes of each */
#define OB__MANY_BYTES (8u << 10) /* no frame grows beyond */
#define OB__MANY_ITEM  (1u << 10) /* a message with more payload has a frame of its own */

/* How many messages those `len` bytes of payload are; 0: they are malformed. */
uint32_t ob__many_count(const uint8_t *payload, size_t len);

/* Before the first of the messages of a frame with the flag: */
static inline struct ob__frame ob__many_begin(const struct ob__frame *f)
{
	struct ob__frame one = *f;

	one.flags &= (uint16_t)~OB__FRAME_MANY;
	one.payload_len = 0;
	return one;
}

/* Makes *one the next of them, as if it had come alone, but for `len`; false: there is none. */
static inline bool ob__many_next(struct ob__frame *one, const struct ob__frame *f)
{
	const uint8_t *at = one->payload + one->payload_len;

	if (at == f->payload + f->payload_len) {
		return false;
	}
	one->call = ob__get64(at);
	one->payload_len = ob__get32(at + sizeof(one->call));
	one->payload = at + OB__MANY_HEAD;
	return true;
}

/* Leaves the first `n` of the messages of a frame with the flag, 0 < n < f->many, in the whole
 * frame `raw` from which it was read; returns the others. */
struct ob__frame ob__many_cut(struct ob__frame *f, uint8_t *raw, uint32_t n);

/* How many messages a frame that was read carries. */
static inline uint32_t ob__many_of(const struct ob__frame *f)
{
	return (f->flags & OB__FRAME_MANY) != 0 ? f->many : 1;
}

/* The message of `f`, whose version and length are not looked at, may be added to the whole frame
 * at `last`, which has `count` of them. */
bool ob__many_alike(const uint8_t *last, uint32_t count, const struct ob__frame *f);

/* By how many bytes the frame at `last`, of `len` bytes, grows then; 0: it would be too big. */
size_t ob__many_grows(const uint8_t *last, size_t len, size_t payload_len);

/* Adds a message, for which there is that much room behind the frame. */
void ob__many_add(uint8_t *last, size_t len, uint64_t call, const void *payload,
                  size_t payload_len);

/* Both: adds it if the frame has no more than `max` bytes (max >= len) then, and says by how many
 * it has grown; else 0.  There is room for 2 * OB__MANY_HEAD and the payload behind it. */
size_t ob__many_put(uint8_t *last, size_t len, size_t max, uint64_t call, const void *payload,
                    size_t payload_len);

#endif
