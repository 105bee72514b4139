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

static uint16_t put_entry(uint8_t *list, uint16_t at, uint32_t role, uint64_t node, uint64_t from)
{
	role = htole32(role);
	memcpy(list + at, &role, sizeof(role));
	put64(list + at + 4, node);
	put64(list + at + 12, from);
	return (uint16_t)(at + ENTRY);
}

size_t ob__sticks_put(uint8_t out[OB__STICKS_EXT], const struct ob__session *s, uint32_t role,
                      uint64_t key, bool between)
{
	uint8_t list[OB__STICKS_MAX * ENTRY];
	uint16_t len = key != 0 ? put_entry(list, 0, 0, key, 0) : 0;
	for (uint8_t i = 0; i < s->sticky_len && len < sizeof(list); i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		bool wanted = (role == 0 || c->role == role) &&
		              (c->from != 0 || (c->node != 0 && (role == 0 || between)));
		if (wanted) {
			len = put_entry(list, len, c->role, c->node, c->from);
		}
	}
	return len > 0 ? ob__frame_ext_put(out, 0, OB__STICKS_EXT, OB__FRAME_EXT_STICKS, list, len)
	               : 0;
}

struct ob__sticks ob__sticks_get(const struct ob__frame *f, uint32_t role)
{
	struct ob__sticks sticks = {0};
	uint16_t len = 0;
	const uint8_t *list = ob__frame_ext(f, OB__FRAME_EXT_STICKS, &len);
	if (list == NULL || len % ENTRY != 0) {
		return sticks;
	}
	for (uint16_t at = 0; at < len; at += ENTRY) {
		uint32_t of = get32(list + at);
		if (of == 0 && sticks.key == 0) {
			sticks.key = get64(list + at + 4);
		} else if (of == role && !sticks.has) {
			sticks.has = true;
			sticks.node = get64(list + at + 4);
			sticks.from = get64(list + at + 12);
		}
	}
	return sticks;
}
