/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  The node-to-node frame: a 64-byte header, extensions, payload.
 *
 * All integers are little-endian.  `len` counts the whole frame, header included.  A node that
 * forwards patches `hops` and `budget` in place (ob__frame_patch_forward) and never looks past
 * the header.
 *
 *     0 u32 len          4 u8 version       5 u8 kind          6 u16 flags
 *     8 u32 message id  12 u32 budget ms   16 u64 call id     24 u64 source node
 *    32 u64 dest node   40 u64 session node 48 u64 session seq 56 u32 dest role
 *    60 u8 hops         61 u8 status       62 u16 extension length
 *
 * An extension is { u8 type, u8 zero, u16 length, bytes }, unpadded; unknown types are skipped, a
 * second byte that is not zero is refused.
 */

#ifndef OB__FRAME_H
#define OB__FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/le.h"

#define OB__FRAME_HEADER   64u
#define OB__FRAME_VERSION  1u
#define OB__FRAME_HOPS     4u
#define OB__FRAME_OFF_KIND 5u
#define OB__FRAME_OFF_DST  32u

#define OB__FRAME_EXT_HEADER 4u /* of an extension */

enum ob__frame_kind {
	OB__FRAME_HELLO = 1, /* one of the four steps of the handshake; step in `status` */
	OB__FRAME_REQUEST,   /* a message or call; one end is owed unless ONE_WAY */
	OB__FRAME_REPLY,     /* the end of a request: call id, status, body */
	OB__FRAME_PUSH,      /* a message for the session's client, or for many: `status` says so */
	OB__FRAME_SYSTEM,    /* between hosts; which one is the message id, enum ob__system_id */
	OB__FRAME_KIND_END
};

enum ob__frame_flag {
	OB__FRAME_ONE_WAY = 1u << 0,
	OB__FRAME_STICKY = 1u << 1,    /* the session's choice of node should stay */
	OB__FRAME_METHOD = 1u << 2,    /* by name: extension METHOD, message id 0 */
	OB__FRAME_CALL = 1u << 3,      /* made by code, not by a client */
	OB__FRAME_MANY = 1u << 4,      /* several messages (lib/many.h) */
	OB__FRAME_LOST_FAIL = 1u << 8, /* the node it sticks to is gone: it fails */
	OB__FRAME_LOST_WAIT = 1u << 9, /* ... it waits; neither: another is chosen */
	OB__FRAME_FIRST = 1u << 10,    /* none of the session's that has no end yet may have been
	                                * placed before: it may be placed in any way */
	OB__FRAME_REFUSED = 1u << 11,  /* a reply: of a host, no handler has seen the request */
};

enum ob__frame_ext {
	OB__FRAME_EXT_METHOD = 1,
	OB__FRAME_EXT_TRACE = 2,
	OB__FRAME_EXT_IDEMPOTENCY = 3,
	OB__FRAME_EXT_TEXT = 4,   /* an error's text */
	OB__FRAME_EXT_STICKS = 6, /* where the session sticks (mesh/sticks.h) */
	OB__FRAME_EXT_ORDER = 7,  /* its place among the session's (mesh/order.h) */
	OB__FRAME_EXT_USER = 32,  /* whose the session is (mesh/userwire.h) */
	OB__FRAME_EXT_ATTRS = 33, /* some of what is known of it (the same) */
};

struct ob__frame {
	uint32_t len;
	uint8_t version;
	uint8_t kind;
	uint16_t flags;
	uint32_t id;
	uint32_t budget; /* ms */
	uint64_t call;
	uint64_t src;
	uint64_t dst; /* 0: not settled yet */
	uint64_t session_node;
	uint64_t session_seq;
	uint32_t role; /* 0: not settled yet */
	uint8_t hops;
	uint8_t status;
	uint16_t ext_len;
	const uint8_t *ext;     /* borrowed, into the input */
	uint64_t ext_lacks;     /* of one that was read: a bit for each type below 64 it has not */
	const uint8_t *payload; /* borrowed, into the input */
	uint32_t payload_len;
	uint32_t many; /* of one that was read and has the flag: how many messages */
};

/* Writes the 64 header bytes.  The length is computed from ext_len and payload_len (f->len is not
 * looked at), a version of 0 is written as OB__FRAME_VERSION. */
void ob__frame_put_header(uint8_t out[OB__FRAME_HEADER], const struct ob__frame *f);

/* How long a frame is that has these extensions and this payload. */
static inline size_t ob__frame_size(const struct ob__frame *f)
{
	return OB__FRAME_HEADER + (size_t)f->ext_len + f->payload_len;
}

/* Writes the whole frame, ob__frame_size() bytes: header as above, extensions, payload. */
static inline void ob__frame_put(uint8_t *out, const struct ob__frame *f)
{
	ob__frame_put_header(out, f);
	if (f->ext_len > 0) {
		memcpy(out + OB__FRAME_HEADER, f->ext, f->ext_len);
	}
	if (f->payload_len > 0) {
		memcpy(out + OB__FRAME_HEADER + f->ext_len, f->payload, f->payload_len);
	}
}

/*
 * Reads one frame.  Returns its length when `data` holds it whole; 0 when more bytes are needed,
 * then *need is the whole frame's length if known, else OB__FRAME_HEADER; or a negative errno, as
 * soon as the header shows it:
 * -EPROTO (length below 64, extensions beyond the frame or malformed, kind unknown, a row of
 * messages that is malformed),
 * -EPROTONOSUPPORT (version), -EMSGSIZE (longer than `max`).
 */
int64_t ob__frame_get(struct ob__frame *f, const uint8_t *data, size_t len, size_t max,
                      size_t *need);

const uint8_t *ob__frame_ext_find(const struct ob__frame *f, uint8_t type, uint16_t *len);

/* The first extension of `type`, borrowed from the input, its length in *len; NULL if none. */
static inline const uint8_t *ob__frame_ext(const struct ob__frame *f, uint8_t type, uint16_t *len)
{
	bool lacks = type < 64 && (f->ext_lacks >> type & 1) != 0;
	return f->ext_len == 0 || lacks ? NULL : ob__frame_ext_find(f, type, len);
}

/* Appends one extension at out[at] (capacity `cap`); the new end, or 0 when it does not fit.  A
 * header can state at most 65535 bytes of extensions. */
size_t ob__frame_ext_put(uint8_t *out, size_t at, size_t cap, uint8_t type, const void *data,
                         uint16_t len);

/* Writes the header of an extension whose `len` bytes are there already, behind it; the end. */
size_t ob__frame_ext_head(uint8_t *out, uint8_t type, uint16_t len);

/* The destination of a whole frame. */
static inline uint64_t ob__frame_dst(const uint8_t *frame)
{
	return ob__get64(frame + OB__FRAME_OFF_DST);
}

/* Patches a whole frame in place for its next hop. */
void ob__frame_patch_forward(uint8_t *frame, uint8_t hops, uint32_t budget, uint32_t role,
                             uint64_t dst);

#endif
