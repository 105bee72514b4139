/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools and bench: the client packet of the first seed, as far as a load client needs
 * it. A packet is 12 bytes of header, three signed 32-bit little-endian numbers (total length with
 * the header, message id, version 0), and a body.
 */
#ifndef OB__SEEDPKT_H
#define OB__SEEDPKT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

enum { OB__PKT_HEADER = 12 };

static inline void ob__le32_put(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint32_t ob__le32_get(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

/* Writes the 12-byte header of a packet whose body has body_len bytes. */
static inline void ob__pkt_put(uint8_t *p, uint32_t id, size_t body_len)
{
	ob__le32_put(p, (uint32_t)body_len + OB__PKT_HEADER);
	ob__le32_put(p + 4, id);
	ob__le32_put(p + 8, 0);
}

#endif
