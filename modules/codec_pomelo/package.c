/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "package.h"

enum pomelo_package_end pomelo_package_read(uint8_t *data, size_t len, size_t max,
                                            struct pomelo_package *package)
{
	if (data[0] < POMELO_HANDSHAKE || data[0] > POMELO_KICK) {
		return POMELO_BAD_TYPE;
	}
	if (len < POMELO_HEAD) {
		package->need = POMELO_HEAD;
		return POMELO_PART;
	}

	size_t body = (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];

	if (body > max || max - body < POMELO_HEAD) {
		return POMELO_TOO_LONG;
	}
	package->need = POMELO_HEAD + body;
	if (len < package->need) {
		return POMELO_PART;
	}
	package->type = data[0];
	package->body = data + POMELO_HEAD;
	package->len = body;
	return POMELO_WHOLE;
}

void pomelo_package_head(uint8_t out[POMELO_HEAD], enum pomelo_package_type type, size_t len)
{
	out[0] = (uint8_t)type;
	out[1] = (uint8_t)(len >> 16);
	out[2] = (uint8_t)(len >> 8);
	out[3] = (uint8_t)len;
}
