/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the C client: the bytes between it and a node, without sockets.  A stream of obespoir
 * packets, plain or in WebSocket frames (RFC 6455, the client's side), fed as it comes, however it
 * is cut.  What is kept of it is at most a packet of the size that was agreed on, and never much
 * more than what has come of it.  C and C++.
 */

#ifndef OBHOST_WIRE_H
#define OBHOST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBHOST_PACKET_HEAD 12u
#define OBHOST_FRAME_HEAD  14u /* most bytes before a frame's payload, its mask included */
#define OBHOST_CONTROL_MAX 125u
#define OBHOST_KEY_TEXT    25u /* a handshake's key, 24 letters and a zero */
#define OBHOST_ACCEPT_TEXT 29u

enum obhost_opcode {
	OBHOST_WS_MORE = 0,
	OBHOST_WS_TEXT = 1,
	OBHOST_WS_BINARY = 2,
	OBHOST_WS_CLOSE = 8,
	OBHOST_WS_PING = 9,
	OBHOST_WS_PONG = 10
};

/* What comes out of it; data is borrowed for the time of the call.  Nonzero: no more, please. */
struct obhost_wire_sink {
	int (*packet)(void *arg, uint32_t id, const uint8_t *data, size_t len);
	int (*control)(void *arg, int opcode, const uint8_t *data, size_t len);
	void *arg;
};

struct obhost_wire {
	bool ws;
	size_t max;      /* bytes of a packet, its head included */
	uint8_t *packet; /* what has come of one */
	size_t packet_len;
	size_t packet_cap;
	uint8_t head[10]; /* of a frame */
	size_t head_len;
	bool in_frame; /* its payload comes */
	bool in_message;
	int opcode;
	bool fin;
	uint64_t left; /* of the payload */
	uint8_t control[OBHOST_CONTROL_MAX];
	size_t control_len;
	int code;            /* why it has failed: a WebSocket close code, */
	const char *problem; /* and in words */
};

void obhost_wire_init(struct obhost_wire *w, bool ws, size_t max);
void obhost_wire_free(struct obhost_wire *w);

/* Takes all of the bytes.  0; 1: the sink wants no more; -1: a violation or no memory, w->code and
 * w->problem say which.  After either it is not fed again. */
int obhost_wire_feed(struct obhost_wire *w, const uint8_t *data, size_t len,
                     const struct obhost_wire_sink *sink);

/* Writes a packet's head. */
void obhost_packet_head(uint8_t out[OBHOST_PACKET_HEAD], uint32_t id, size_t len);

/* Writes the head of a frame with a mask; how many bytes. */
size_t obhost_frame_head(uint8_t out[OBHOST_FRAME_HEAD], int opcode, size_t len,
                         const uint8_t mask[4]);

/* Masks bytes that stand at `at` in a frame's payload. */
void obhost_frame_mask(uint8_t *data, size_t len, size_t at, const uint8_t mask[4]);

/* The key of a handshake, and what must come back for it. */
void obhost_key_text(const uint8_t random[16], char out[OBHOST_KEY_TEXT]);
void obhost_accept_text(const char *key, char out[OBHOST_ACCEPT_TEXT]);

/* Where the head of an HTTP answer ends, 0: not yet. */
size_t obhost_head_end(const char *data, size_t len);

/* Is it the answer to the handshake?  NULL, or why not.  `head` as far as obhost_head_end(). */
const char *obhost_head_problem(const char *head, size_t len, const char *accept);

/* An address to connect to: "ws://HOST[:PORT][/PATH]" or "tcp://HOST:PORT", IPv6 in brackets. */
struct obhost_url {
	bool ws;
	char host[256];
	char port[6];
	char path[512];
	char authority[270]; /* as it was written */
};

/* 0, or -1: it is none. */
int obhost_url_parse(struct obhost_url *out, const char *text);

#endif
