/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "wire.h"

#include <arpa/inet.h>
#include <stdbool.h>

#define NO_PEER      0xfffu /* the number of whoever has none yet */
#define PEER_MASK    0xfffu
#define HEADER_LEAST 2u

/* No client can be there, and ENet takes a peer at 255.255.255.255 for anybody. */
static bool is_nobody(uint32_t from, uint16_t port)
{
	uint32_t ip = ntohl(from);

	return port == 0 || ip >> 24 == 0 || ip >> 28 >= 0xe;
}

enum datagram wire_look(const uint8_t *data, size_t len, uint32_t from, uint16_t port)
{
	if (len < HEADER_LEAST || is_nobody(from, port)) {
		return DATAGRAM_WRONG;
	}
	uint32_t peer = ((uint32_t)data[0] << 8 | data[1]) & PEER_MASK;
	return peer == NO_PEER ? DATAGRAM_CONNECT : DATAGRAM_OTHER;
}
