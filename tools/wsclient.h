/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools: the client side of RFC 6455 as pure functions over bytes. It builds the
 * handshake and masked frames and reads the server's answer and frame headers; it owns no socket,
 * no memory and no state.
 */
#ifndef OB__WSCLIENT_H
#define OB__WSCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	OB__WSC_CONT = 0,
	OB__WSC_TEXT = 1,
	OB__WSC_BINARY = 2,
	OB__WSC_CLOSE = 8,
	OB__WSC_PING = 9,
	OB__WSC_PONG = 10,
	OB__WSC_HEADER_MAX = 14,  /* of a masked frame */
	OB__WSC_REPLY_MAX = 8192, /* of the server's answer to the handshake */
};

struct ob__wsc_frame {
	bool fin;
	unsigned opcode;
	uint64_t len;
};

/* Writes the upgrade request. Its length, or -1 if it does not fit. */
int ob__wsc_request(char *dst, size_t cap, const char *host, const char *path, const char *key);

/*
 * Checks the server's answer. The bytes it takes, 0 if more are needed, or -1 with the reason in
 * why (a string without line ends, cap bytes).
 */
int ob__wsc_response(const char *p, size_t n, const char *accept, char *why, size_t cap);

/* Reads a server frame's header. Its length, 0 if more bytes are needed, -1 if it is not legal. */
int ob__wsc_header(const uint8_t *p, size_t n, struct ob__wsc_frame *frame);

/* The length of the masked frame for a payload of n bytes. */
size_t ob__wsc_size(size_t n);

/* Writes the header of a masked, unfragmented frame with this key. Its length. */
size_t ob__wsc_put(uint8_t *dst, unsigned opcode, size_t n, const uint8_t key[4]);

#endif
