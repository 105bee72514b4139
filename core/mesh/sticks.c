/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/sticks.h"

#include "lib/le.h"

#define ENTRY 20u

static uint8_t *put_entry(uint8_t *to, uint32_t role, uint64_t node, uint64_t from)
{
	ob__put32(to, role);
	ob__put64(to + 4, node);
	ob__put64(to + 12, from);
	return to + ENTRY;
}

size_t ob__sticks_put(uint8_t out[OB__STICKS_EXT], const struct ob__session *s, uint32_t role,
                      uint64_t key, bool between)
{
	uint8_t *list = out + OB__FRAME_EXT_HEADER;
	uint8_t *at = key != 0 ? put_entry(list, 0, key, 0) : list;
	for (uint8_t i = 0; i < s->sticky_len && at < out + OB__STICKS_EXT; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		bool wanted = (role == 0 || c->role == role) &&
		              (c->from != 0 || (c->node != 0 && (role == 0 || between)));
		if (wanted) {
			at = put_entry(at, c->role, c->node, c->from);
		}
	}
	return at == list ? 0
	                  : ob__frame_ext_head(out, OB__FRAME_EXT_STICKS, (uint16_t)(at - list));
}

struct ob__sticks ob__sticks_get(const struct ob__frame *f, uint32_t role)
{
	struct ob__sticks sticks = {0};
	uint16_t len = 0;
	const uint8_t *list = ob__frame_ext(f, OB__FRAME_EXT_STICKS, &len);
	if (list == NULL || len % ENTRY != 0) {
		return sticks;
	}
	for (const uint8_t *end = list + len; list < end; list += ENTRY) {
		uint32_t of = ob__get32(list);
		if (of == 0) {
			sticks.key = ob__get64(list + 4);
		} else if (of == role) {
			sticks.has = true;
			sticks.node = ob__get64(list + 4);
			sticks.from = ob__get64(list + 12);
		}
	}
	return sticks;
}
