/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "message.h"

#include <string.h>

#define FLAG_CODED 0x01u
#define FLAG_GZIP  0x10u

static bool has_id(unsigned type)
{
	return type == POMELO_REQUEST || type == POMELO_RESPONSE;
}

static bool has_route(unsigned type)
{
	return type == POMELO_REQUEST || type == POMELO_NOTIFY || type == POMELO_PUSH;
}

/* How many bytes it took, 0: it is none. */
static size_t read_id(const uint8_t *data, size_t len, uint32_t *id)
{
	uint64_t value = 0;

	for (size_t i = 0; i < len && i < 5; i++) {
		value |= (uint64_t)(data[i] & 0x7f) << (7 * i);
		if (data[i] < 0x80) {
			*id = (uint32_t)value;
			return value <= POMELO_ID_MAX ? i + 1 : 0;
		}
	}
	return 0;
}

static size_t read_route(const uint8_t *data, size_t len, struct pomelo_message *m)
{
	if (m->coded) {
		if (len < 2) {
			return 0;
		}
		m->code = (uint16_t)(data[0] << 8 | data[1]);
		return 2;
	}
	if (len < 1 || len - 1 < data[0]) {
		return 0;
	}
	m->route = data + 1;
	m->route_len = data[0];
	return 1 + m->route_len;
}

enum pomelo_message_end pomelo_message_read(uint8_t *data, size_t len, struct pomelo_message *m)
{
	size_t at = 1;
	size_t n;

	if (len == 0) {
		return POMELO_EMPTY;
	}
	*m = (struct pomelo_message){
		.type = data[0] >> 1 & 7,
		.gzip = (data[0] & FLAG_GZIP) != 0,
		.coded = (data[0] & FLAG_CODED) != 0,
	};
	if (has_id(m->type)) {
		n = read_id(data + at, len - at, &m->id);
		if (n == 0) {
			return POMELO_BAD_ID;
		}
		at += n;
	}
	if (has_route(m->type)) {
		n = read_route(data + at, len - at, m);
		if (n == 0) {
			return POMELO_BAD_ROUTE;
		}
		at += n;
	}
	m->body = data + at;
	m->body_len = len - at;
	return POMELO_GOOD;
}

static size_t write_id(uint8_t *out, uint32_t id)
{
	size_t n = 0;

	for (; id >= 0x80; id >>= 7) {
		out[n++] = (uint8_t)(id | 0x80);
	}
	out[n++] = (uint8_t)id;
	return n;
}

static size_t write_route(uint8_t *out, const struct pomelo_message *m)
{
	if (m->coded) {
		out[0] = (uint8_t)(m->code >> 8);
		out[1] = (uint8_t)m->code;
		return 2;
	}
	out[0] = (uint8_t)m->route_len;
	if (m->route_len > 0) {
		memcpy(out + 1, m->route, m->route_len);
	}
	return 1 + m->route_len;
}

size_t pomelo_message_head(uint8_t out[POMELO_MESSAGE_HEAD_MAX], const struct pomelo_message *m)
{
	bool coded = m->coded && has_route(m->type);
	size_t at = 1;

	if (m->route_len > POMELO_ROUTE_MAX) {
		return 0;
	}
	out[0] = (uint8_t)(m->type << 1 | (coded ? FLAG_CODED : 0) | (m->gzip ? FLAG_GZIP : 0));
	if (has_id(m->type)) {
		at += write_id(out + at, m->id);
	}
	if (has_route(m->type)) {
		at += write_route(out + at, m);
	}
	return at;
}
