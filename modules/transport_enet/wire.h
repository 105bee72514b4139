/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What a datagram is, before ENet sees it: pure.
 */

#ifndef TRANSPORT_ENET_WIRE_H
#define TRANSPORT_ENET_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum datagram {
	DATAGRAM_OTHER,   /* ENet looks at it */
	DATAGRAM_CONNECT, /* of somebody who is no peer */
	DATAGRAM_WRONG,   /* nothing ENet should see */
};

/* As far as its front and its sender tell.  `from` in network byte order. */
enum datagram wire_look(const uint8_t *data, size_t len, uint32_t from, uint16_t port);

#endif
