/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  The package layer: what a stream of pomelo's is cut into.
 *
 *     u8   type: POMELO_HANDSHAKE and so on
 *     u24  length of the body, big-endian
 *     body
 */

#ifndef POMELO_PACKAGE_H
#define POMELO_PACKAGE_H

#include <stddef.h>
#include <stdint.h>

#define POMELO_HEAD     4
#define POMELO_BODY_MAX 0xffffffu

enum pomelo_package_type {
	POMELO_HANDSHAKE = 1, /* JSON, both ways */
	POMELO_ACK,           /* from the client: the handshake is over */
	POMELO_HEARTBEAT,     /* both ways */
	POMELO_DATA,          /* a message, both ways */
	POMELO_KICK,          /* to the client, JSON: why it is closed */
};

enum pomelo_package_end {
	POMELO_WHOLE,    /* *package is set */
	POMELO_PART,     /* `need` bytes are needed, or at least */
	POMELO_BAD_TYPE, /* said as soon as the type is there */
	POMELO_TOO_LONG, /* said as soon as the length is there */
};

struct pomelo_package {
	enum pomelo_package_type type;
	uint8_t *body; /* in the input */
	size_t len;
	size_t need;
};

/* Reads the package at the front of data[0..len), len > 0, of at most `max` bytes in all. */
enum pomelo_package_end pomelo_package_read(uint8_t *data, size_t len, size_t max,
                                            struct pomelo_package *package);

/* Writes the head of a package; len <= POMELO_BODY_MAX. */
void pomelo_package_head(uint8_t out[POMELO_HEAD], enum pomelo_package_type type, size_t len);

#endif
