/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Little-endian integers in bytes, as all of the host's own formats
 * have them, at any address.
 */

#ifndef OB__LE_H
#define OB__LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void ob__put16(uint8_t *to, uint16_t v)
{
	v = htole16(v);
	memcpy(to, &v, sizeof(v));
}

static inline uint16_t ob__get16(const uint8_t *from)
{
	uint16_t v;
	memcpy(&v, from, sizeof(v));
	return le16toh(v);
}

static inline void ob__put32(uint8_t *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof(v));
}

static inline uint32_t ob__get32(const uint8_t *from)
{
	uint32_t v;
	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

static inline void ob__put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static inline uint64_t ob__get64(const uint8_t *from)
{
	uint64_t v;
	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

#endif
