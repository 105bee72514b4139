/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  FNV-1a, in 32 and 64 bits.
 *
 * For numbers that every node, and every release, must come to by itself: a role's word on the
 * wire, the id of a message that has a name, who keeps a user.  Anyone can make two texts that have
 * the same; tables of what comes from outside use ob__hash() (lib/map.h), which has a secret seed.
 */

#ifndef OB__FNV_H
#define OB__FNV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t ob__fnv1a32_of(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ at[i]) * 16777619u;
	}
	return h;
}

/* Of a text: the wire form of a role's word. */
static inline uint32_t ob__fnv1a32(const char *s)
{
	return ob__fnv1a32_of(s, strlen(s));
}

static inline uint64_t ob__fnv1a64_of(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++) {
		h = (h ^ at[i]) * UINT64_C(0x100000001b3);
	}
	return h;
}

#endif
