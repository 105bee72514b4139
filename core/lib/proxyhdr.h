/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  The header in front of a connection by which a load balancer says
 * who the client is: HAProxy's PROXY protocol, version 1 (text) and 2 (binary).
 *
 * A connection of the balancer's own (v2 LOCAL), and one of which it does not know the client or of
 * a family that is no address (v1 UNKNOWN, v2 UNSPEC and unix), name nobody.  Extensions of version
 * 2 are passed over, their checksum too.
 */

#ifndef OB__PROXYHDR_H
#define OB__PROXYHDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/ip.h"

#define OB__PROXYHDR_MAX 4096u /* bytes; a longer one is an error */

struct ob__proxyhdr {
	bool named; /* the client is: */
	struct ob__ip ip;
	uint16_t port;
};

/* Reads a header from the front.  Its bytes; 0 when more are needed, -EBADMSG when it is none. */
int ob__proxyhdr_parse(const uint8_t *data, size_t len, struct ob__proxyhdr *out);

#endif
