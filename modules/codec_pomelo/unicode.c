/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "unicode.h"

#include <stdbool.h>
#include <string.h>

#define ESCAPED 12 /* \uD83D\uDE00 */

static const uint8_t replacement[3] = {0xef, 0xbf, 0xbd};

static bool is_more(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

size_t pomelo_char_len(const uint8_t *text, size_t len)
{
	uint8_t a = text[0];

	if (a < 0x80) {
		return 1;
	}
	if (a < 0xc2 || a > 0xf4 || len < 2 || !is_more(text[1])) {
		return 0;
	}
	if (a < 0xe0) {
		return 2;
	}
	if (len < 3 || !is_more(text[2])) {
		return 0;
	}
	if (a < 0xf0) {
		bool overlong = a == 0xe0 && text[1] < 0xa0;
		bool surrogate = a == 0xed && text[1] >= 0xa0;

		return overlong || surrogate ? 0 : 3;
	}
	if (len < 4 || !is_more(text[3])) {
		return 0;
	}
	return (a == 0xf0 && text[1] < 0x90) || (a == 0xf4 && text[1] >= 0x90) ? 0 : 4;
}

/* The surrogate at the front, 0 if there is none. */
static uint32_t surrogate_at(const uint8_t *text, size_t len)
{
	if (len < 3 || text[0] != 0xed || text[1] < 0xa0 || !is_more(text[1]) ||
	    !is_more(text[2])) {
		return 0;
	}
	return 0xd000u | (uint32_t)(text[1] & 0x3f) << 6 | (text[2] & 0x3fu);
}

static void put_four(uint8_t *out, uint32_t c)
{
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
}

/* Writes what the surrogate at the front stands for; how much of the input that was. */
static size_t join(const uint8_t *text, size_t len, uint8_t *out, size_t *written)
{
	uint32_t high = surrogate_at(text, len);
	uint32_t low = len > 3 ? surrogate_at(text + 3, len - 3) : 0;

	if (high <= 0xdbff && low >= 0xdc00) {
		put_four(out, 0x10000 + ((high & 0x3ff) << 10 | (low & 0x3ff)));
		*written = 4;
		return 6;
	}
	memcpy(out, replacement, sizeof(replacement));
	*written = sizeof(replacement);
	return 3;
}

size_t pomelo_join_surrogates(uint8_t *text, size_t len)
{
	uint8_t *next = len > 0 ? memchr(text, 0xed, len) : NULL;
	size_t from = next != NULL ? (size_t)(next - text) : len;
	size_t to = from;

	while (from < len) {
		if (surrogate_at(text + from, len - from) == 0) {
			text[to++] = text[from++];
			continue;
		}

		size_t written;

		from += join(text + from, len - from, text + to, &written);
		to += written;
	}
	return to;
}

/* Where the next character of four bytes is, or the end. */
static size_t next_four(const uint8_t *text, size_t at, size_t len)
{
	while (at < len) {
		uint64_t eight;

		if (len - at >= sizeof(eight)) {
			memcpy(&eight, text + at, sizeof(eight));
			if ((eight & 0x8080808080808080u) == 0) {
				at += sizeof(eight);
				continue;
			}
		}
		if (text[at] >= 0xf0 && pomelo_char_len(text + at, len - at) == 4) {
			return at;
		}
		at++;
	}
	return len;
}

size_t pomelo_escaped_len(const uint8_t *json, size_t len)
{
	size_t more = 0;

	for (size_t at = next_four(json, 0, len); at < len; at = next_four(json, at + 4, len)) {
		more += ESCAPED - 4;
	}
	return len + more;
}

static void escape_unit(uint8_t *out, uint16_t unit)
{
	static const char digits[] = "0123456789ABCDEF";

	out[0] = '\\';
	out[1] = 'u';
	for (unsigned i = 0; i < 4; i++) {
		out[2 + i] = (uint8_t)digits[unit >> (12 - 4 * i) & 15];
	}
}

static void escape_four(const uint8_t *four, uint8_t *out)
{
	uint32_t c = (uint32_t)(four[0] & 7) << 18 | (uint32_t)(four[1] & 0x3f) << 12 |
	             (uint32_t)(four[2] & 0x3f) << 6 | (four[3] & 0x3fu);

	c -= 0x10000;
	escape_unit(out, (uint16_t)(0xd800 | c >> 10));
	escape_unit(out + ESCAPED / 2, (uint16_t)(0xdc00 | (c & 0x3ff)));
}

void pomelo_escape(const uint8_t *json, size_t len, uint8_t *out)
{
	for (size_t at = 0; at < len;) {
		size_t next = next_four(json, at, len);

		memcpy(out, json + at, next - at);
		out += next - at;
		at = next;
		if (at < len) {
			escape_four(json + at, out);
			out += ESCAPED;
			at += 4;
		}
	}
}

size_t pomelo_clean(const uint8_t *text, size_t len, uint8_t *out)
{
	size_t to = 0;

	for (size_t at = 0; at < len;) {
		size_t written = pomelo_char_len(text + at, len - at);
		size_t n = written;

		if (n > 0) {
			memcpy(out + to, text + at, n);
		} else if (surrogate_at(text + at, len - at) != 0) {
			n = join(text + at, len - at, out + to, &written);
		} else {
			memcpy(out + to, replacement, sizeof(replacement));
			written = sizeof(replacement);
			n = 1;
		}
		at += n;
		to += written;
	}
	return to;
}
