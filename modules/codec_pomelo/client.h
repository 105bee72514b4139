/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  What its parts that know the host share: a connection's state, what a
 * generation is made of, and messages between a client's wire and the host's packets, in and out.
 */

#ifndef POMELO_CLIENT_H
#define POMELO_CLIENT_H

#include <obhost/obhost.h>

#include "bytes.h"
#include "handshake.h"
#include "package.h"
#include "settings.h"

#define CLOSE_GOING_AWAY 1001
#define CLOSE_PROTOCOL   1002
#define CLOSE_POLICY     1008
#define CLOSE_TOO_BIG    1009
#define CLOSE_RESTART    1012
#define CLOSE_DRAINED    4002

/* What a cookie is made of: whom the answer is for, and in which form. */
#define COOKIE_HANDSHAKE  (UINT64_C(1) << 63) /* its low bits: which answer */
#define COOKIE_PROTO_AT   32
#define COOKIE_PROTO_MASK 0xffffu
#define COOKIE_FORMS_AT   48
#define COOKIE_FORMS_MASK 0x7fffu

enum pomelo_phase { FRESH, ASKING, GREETED, WORKING, REFUSED };

#define CLIENT_EARLY   1u /* the handshake was acknowledged before its answer was there */
#define CLIENT_RESUMES 2u /* it has said hello, and counts what it gets behind the greeting */
#define CLIENT_HAS_AT  2  /* ASKING for a hello: POMELO_HAS_* */

/* Of each connection, zeroed at first. */
struct pomelo_client {
	uint8_t phase;
	uint8_t flags;    /* CLIENT_* */
	uint16_t refusal; /* REFUSED: the code it is still to be told */
	uint32_t forms;   /* those that it was greeted with */
	uint64_t seen;    /* its first byte, then the greeting, then its last heartbeat, in ms */
};

/* What a generation makes of its configuration, and the memory it works in. */
struct pomelo {
	struct pomelo_settings settings;
	struct pomelo_bytes answers[POMELO_ANSWERS];
	struct pomelo_bytes in;   /* a body that came as protobuf, as JSON */
	struct pomelo_bytes out;  /* a body that goes out as protobuf */
	struct pomelo_bytes text; /* what these two need on the way */
	uint8_t heartbeat[POMELO_HEAD];
	uint8_t refused[512]; /* a message that is answered here */
	struct pomelo_hello hello;
};

/* Whether what is sent to it unasked reaches it: a client that counts has it counted from the
 * greeting on. */
static inline bool pomelo_takes_pushes(const struct pomelo_client *c)
{
	return c->phase == WORKING || (c->phase == GREETED && (c->flags & CLIENT_RESUMES) != 0);
}

/* ---- messages in ---- */

/* Sets *out to what the DATA package of a client that works comes to; negative: it is to be closed,
 * *out says why.  What *out points to is in the package or in *own.  `max`: bytes of a body. */
int pomelo_take_message(struct pomelo *own, const struct pomelo_client *c,
                        const struct pomelo_package *p, size_t max, ob_packet *out);

/* ---- messages out ---- */

/* Write a response, a push; their size, which is more than `cap` if they need so much room; 0: it
 * can't be said to this client. */
size_t pomelo_write_response(struct pomelo *own, const ob_packet *packet, uint8_t *out, size_t cap);
size_t pomelo_write_push(struct pomelo *own, const struct pomelo_client *c, const ob_packet *packet,
                         uint8_t *out, size_t cap);

/* Writes a response of the codec's own. */
size_t pomelo_write_text(uint32_t id, const char *json, uint8_t *out, size_t cap);

/* ---- short for what decode() and wake() say ---- */

static inline size_t pomelo_close_with(ob_packet *out, uint16_t code, const char *word,
                                       const char *reason)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	out->kind_word = word;
	return 0;
}

static inline void pomelo_answer(ob_packet *out, const uint8_t *data, size_t len)
{
	out->kind = OB_PACKET_ANSWER;
	out->data = data;
	out->len = len;
}

#endif
