/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/sticks.h"

#include <endian.h>
#include <string.h>

#define ENTRY 20u

static void put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t v;
	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t v;
	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

size_t ob__sticks_put(uint8_t out[OB__STICKS_EXT], const struct ob__session *s, uint32_t role)
{
	uint8_t list[OB__STICKS_MAX * ENTRY];
	uint16_t len = 0;
	for (uint8_t i = 0; i < s->sticky_len && len < sizeof(list); i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		bool wanted =
			role == 0 ? c->node != 0 || c->from != 0 : c->role == role && c->from != 0;
		if (wanted) {
			uint32_t id = htole32(c->role);
			memcpy(list + len, &id, sizeof(id));
			put64(list + len + 4, c->node);
			put64(list + len + 12, c->from);
			len += ENTRY;
		}
	}
	return len > 0 ? ob__frame_ext_put(out, 0, OB__STICKS_EXT, OB__FRAME_EXT_STICKS, list, len)
	               : 0;
}

bool ob__sticks_get(const struct ob__frame *f, uint32_t role, uint64_t *node, uint64_t *from)
{
	uint16_t len = 0;
	const uint8_t *list = f->ext_len > 0 ? ob__frame_ext(f, OB__FRAME_EXT_STICKS, &len) : NULL;
	if (list == NULL || len % ENTRY != 0 || role == 0) {
		return false;
	}
	for (uint16_t at = 0; at < len; at += ENTRY) {
		if (get32(list + at) == role) {
			*node = get64(list + at + 4);
			*from = get64(list + at + 12);
			return true;
		}
	}
	return false;
}
