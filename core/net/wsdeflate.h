/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  permessage-deflate (RFC 7692), the server's side: what of a
 * client's offer is accepted, and a message compressed or decompressed as a whole.
 *
 * No context is ever taken over, in neither direction, so a connection has no state of its own: all
 * of a loop share one stream that inflates and one that deflates for each size of window, which are
 * reset for each message.  An idle session costs nothing.  Messages compress somewhat worse for it.
 *
 * What comes in is bounded while it is inflated: the output never has more than the caller's limit
 * and one byte, whatever a few bytes of input would become.
 */

#ifndef OB__WSDEFLATE_H
#define OB__WSDEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

#define OB__WSDEFLATE_ANSWER 128u /* room for an answer */
#define OB__WSDEFLATE_BITS   15u  /* the window unless a client wants a smaller one */

struct ob__wsdeflate;

/* `level` 1..9; `memory`: most bytes for what compresses, 0: any.  NULL when out of memory. */
struct ob__wsdeflate *ob__wsdeflate_new(int level, size_t memory);

/* NULL is accepted. */
void ob__wsdeflate_free(struct ob__wsdeflate *d);

/* Reads a Sec-WebSocket-Extensions of which the grammar has been checked.  The bits of the window
 * for what is sent, 9..15, with the answer in out; 0: nothing of it is accepted.  An offer that has
 * an unknown parameter, one twice, a wrong value, or a window that zlib does not have (8 bits) is
 * passed over. */
uint8_t ob__wsdeflate_accept(const char *offers, char out[OB__WSDEFLATE_ANSWER]);

/* Compresses a message into out[0..cap); how many bytes, or 0: it does not fit, or there is no
 * memory for it, and the message goes as it is. */
size_t ob__wsdeflate_pack(struct ob__wsdeflate *d, uint8_t bits, const void *data, size_t len,
                          uint8_t *out, size_t cap);

/* Appends a message, decompressed, to an empty buffer: at most `max` bytes.  0, -EBADMSG, -EMSGSIZE
 * or -ENOMEM. */
int ob__wsdeflate_unpack(struct ob__wsdeflate *d, const void *data, size_t len, size_t max,
                         struct ob__buf *out);

#endif
