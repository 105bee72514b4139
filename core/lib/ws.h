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
 * stand between.  RSV bits are errors (section 5.2), but for the first one on the first frame of a
 * data message where permessage-deflate was negotiated (RFC 7692): such a message is handed out as
 * it came, `packed`, and whoever unpacks it checks its text.  What is wrong is an error as soon as
 * the bytes are there that show it, in a header and in text.
 */

#ifndef OB__WS_H
#define OB__WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__WS_HEADER_MAX 10u   /* of a frame that a server sends */
#define OB__WS_RSV1       0x40u /* with an opcode: the message is compressed */

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
	bool packed; /* compressed: neither its text nor its length without that was looked at */
	const char *reason; /* ERROR: static text */
};

struct ob__ws {
	uint32_t message_len; /* so far, over the fragments of the message being read */
	uint32_t max_message; /* bytes */
	uint32_t ahead;       /* bytes of a text frame that is not whole which the check has had */
	uint32_t utf8;        /* state of the check across fragments */
	uint8_t message_op;   /* 0 when no fragmented message is open */
	bool deflate;         /* set by the owner: messages may be compressed */
	bool packed;          /* the fragmented message that is open is */
	bool closed;          /* a close frame or an error was seen; nothing more is decoded */
};

void ob__ws_init(struct ob__ws *ws, uint32_t max_message);

/* Decodes at most one frame from the front of `data`, which it unmasks in place.  Returns the bytes
 * consumed: 0 for MORE and ERROR.  Never reads beyond `len`; may be called again with the same
 * front plus further bytes after MORE (unmasking happens only when a frame is whole): not before
 * there are `need`, or sooner, to see sooner that a text is not valid.
 *
 * After CLOSE or ERROR every call consumes all it is given and says MORE with need 0: a peer that
 * goes on sending is not listened to (section 5.5.1). */
size_t ob__ws_decode(struct ob__ws *ws, uint8_t *data, size_t len, struct ob__ws_item *item);

/* The bytes of the header of an unmasked server frame with `len` payload bytes: 2, 4 or 10. */
static inline size_t ob__ws_header_len(uint64_t len)
{
	return len < 126 ? 2 : len <= UINT16_MAX ? 4 : 10;
}

/* The same of a frame that is there. */
static inline size_t ob__ws_header_of(const uint8_t *frame)
{
	return frame[1] < 126 ? 2 : frame[1] == 126 ? 4 : 10;
}

/* The half of the function below for more than 125 bytes. */
size_t ob__ws_put_long_header(uint8_t out[OB__WS_HEADER_MAX], uint8_t op, uint64_t len);

/* Writes that header (FIN set) and returns its size. `op`: 1 text, 2 binary, 8 close, 9, 10. */
static inline size_t ob__ws_put_header(uint8_t out[OB__WS_HEADER_MAX], uint8_t op, uint64_t len)
{
	if (len >= 126) {
		return ob__ws_put_long_header(out, op, len);
	}
	out[0] = (uint8_t)(0x80 | op);
	out[1] = (uint8_t)len;
	return 2;
}

/* True for a code that may stand in a close frame (section 7.4 and the registry: 1000..1014 less
 * 1004, 1005, 1006; 3000..4999). */
bool ob__ws_close_code_ok(uint16_t code);

/* True if the bytes are whole, valid UTF-8 (RFC 3629). */
bool ob__utf8_ok(const uint8_t *data, size_t len);

/* The bytes at the front that are whole, valid UTF-8. */
size_t ob__utf8_front(const uint8_t *data, size_t len);

#endif
