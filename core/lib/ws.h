/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  RFC 6455, the server's side of the framing; no sockets here.
 *
 * The caller keeps the raw bytes.  ob__ws_decode() looks at what has arrived and either hands out
 * one whole frame's worth of meaning, unmasked in place, or says how many bytes the frame at the
 * front needs.  So nothing is copied when frames arrive whole, and a partial frame is kept once,
 * by the caller, in a buffer sized to it.
 *
 * Fragments of one message are handed out one by one with `first` and `fin`; text is checked as
 * UTF-8 across them (section 8.1), a message's length is limited across them.  Control frames may
 * stand between.  No extension is ever negotiated, so RSV bits are errors (section 5.2).  What a
 * header shows to be wrong is an error as soon as those bytes are there; text, when its frame is
 * whole.
 */

#ifndef OB__WS_H
#define OB__WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__WS_HEADER_MAX 10u /* of a frame that a server sends */

enum ob__ws_close {
	OB__WS_NORMAL = 1000,
	OB__WS_GOING_AWAY = 1001,
	OB__WS_PROTOCOL = 1002,
	OB__WS_UNSUPPORTED = 1003,
	OB__WS_NO_STATUS = 1005, /* never on the wire: a close frame without a body */
	OB__WS_BAD_DATA = 1007,
	OB__WS_POLICY = 1008,
	OB__WS_TOO_BIG = 1009,
	OB__WS_INTERNAL = 1011,
	OB__WS_TRY_LATER = 1013,
};

enum ob__ws_kind {
	OB__WS_MORE, /* the frame at the front is not whole; see need */
	OB__WS_DATA, /* a fragment of a message or a whole one */
	OB__WS_PING, /* answer with a pong of the same bytes */
	OB__WS_PONG,
	OB__WS_CLOSE, /* the peer's close frame: `code` (or NO_STATUS) and its reason in data */
	OB__WS_ERROR, /* the connection must be closed with `code`; `reason` says why */
};

struct ob__ws_item {
	enum ob__ws_kind kind;
	uint8_t *data; /* borrowed, into the input, unmasked; NULL for MORE and ERROR */
	size_t len;
	size_t need; /* MORE: bytes the front frame has in all, or the least that tell its length */
	uint16_t code; /* CLOSE, ERROR */
	bool first;
	bool fin;
	bool text;
	const char *reason; /* ERROR: static text */
};

struct ob__ws {
	uint64_t message_len; /* so far, over the fragments of the message being read */
	uint64_t max_message; /* bytes */
	uint32_t utf8;        /* state of the check across fragments */
	uint8_t message_op;   /* 0 when no fragmented message is open */
	bool closed;          /* a close frame or an error was seen; nothing more is decoded */
};

void ob__ws_init(struct ob__ws *ws, uint64_t max_message);

/* Decodes at most one frame from the front of `data`, which it unmasks in place.  Returns the bytes
 * consumed: 0 for MORE and ERROR.  Never reads beyond `len`; may be called again with the same
 * front plus further bytes after MORE (unmasking happens only when a frame is whole).
 *
 * After CLOSE or ERROR every call consumes all it is given and says MORE with need 0: a peer that
 * goes on sending is not listened to (section 5.5.1). */
size_t ob__ws_decode(struct ob__ws *ws, uint8_t *data, size_t len, struct ob__ws_item *item);

/* The bytes of the header of an unmasked server frame with `len` payload bytes: 2, 4 or 10. */
static inline size_t ob__ws_header_len(uint64_t len)
{
	return len < 126 ? 2 : len <= UINT16_MAX ? 4 : 10;
}

/* Writes that header (FIN set) and returns its size. `op`: 1 text, 2 binary, 8 close, 9, 10. */
size_t ob__ws_put_header(uint8_t out[OB__WS_HEADER_MAX], uint8_t op, uint64_t len);

/* True for a code that may stand in a close frame (section 7.4 and the registry: 1000..1014 less
 * 1004, 1005, 1006; 3000..4999). */
bool ob__ws_close_code_ok(uint16_t code);

/* True if the bytes are whole, valid UTF-8 (RFC 3629). */
bool ob__utf8_ok(const uint8_t *data, size_t len);

#endif
