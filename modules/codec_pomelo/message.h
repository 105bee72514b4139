/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  The message layer: the body of a DATA package.
 *
 *     u8      flag: bit 0 the route is a code, bits 1 to 3 the type, bit 4 the body is compressed
 *     varint  id, of requests and responses: 7 bits a byte, the least significant first
 *     route   of requests, notifies and pushes: u16 big-endian code, or u8 length and UTF-8
 *     body    what is left
 */

#ifndef POMELO_MESSAGE_H
#define POMELO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POMELO_ID_MAX           0x7fffffffu
#define POMELO_ROUTE_MAX        255u
#define POMELO_MESSAGE_HEAD_MAX (1 + 5 + 1 + POMELO_ROUTE_MAX)

enum pomelo_message_type {
	POMELO_REQUEST = 0,
	POMELO_NOTIFY,
	POMELO_RESPONSE,
	POMELO_PUSH, /* 4 to 7 can be written, and mean nothing: neither id nor route is read */
};

enum pomelo_message_end {
	POMELO_GOOD,
	POMELO_EMPTY,
	POMELO_BAD_ID, /* cut off, longer than five bytes, or above POMELO_ID_MAX */
	POMELO_BAD_ROUTE,
};

struct pomelo_message {
	uint8_t type; /* 0 to 7 */
	bool gzip;
	bool coded;    /* the route is `code` */
	uint16_t code; /* 0 in a dictionary: none */
	uint32_t id;
	const uint8_t *route; /* in the input, not terminated */
	size_t route_len;
	uint8_t *body;
	size_t body_len;
};

/* Reads data[0..len), a whole message. */
enum pomelo_message_end pomelo_message_read(uint8_t *data, size_t len, struct pomelo_message *m);

/* Writes all but the body, and returns its length; 0 for a route that is too long. */
size_t pomelo_message_head(uint8_t out[POMELO_MESSAGE_HEAD_MAX], const struct pomelo_message *m);

#endif
