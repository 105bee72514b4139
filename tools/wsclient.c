/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/wsclient.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

int ob__wsc_request(char *dst, size_t cap, const char *host, const char *path, const char *key)
{
	int n = snprintf(dst, cap,
	                 "GET %s HTTP/1.1\r\n"
	                 "Host: %s\r\n"
	                 "Upgrade: websocket\r\n"
	                 "Connection: Upgrade\r\n"
	                 "Sec-WebSocket-Key: %s\r\n"
	                 "Sec-WebSocket-Version: 13\r\n"
	                 "\r\n",
	                 path, host, key);

	return n > 0 && (size_t)n < cap ? n : -1;
}

/* The value of a header in the head of n bytes, its length in *len; NULL if absent. */
static const char *find_header(const char *head, size_t n, const char *name, size_t *len)
{
	size_t name_len = strlen(name);
	const char *end = head + n;
	const char *line = head;

	while (line < end) {
		const char *eol = memmem(line, (size_t)(end - line), "\r\n", 2);
		if (!eol) {
			return NULL;
		}
		if ((size_t)(eol - line) > name_len && line[name_len] == ':' &&
		    !strncasecmp(line, name, name_len)) {
			line += name_len + 1;
			while (line < eol && *line == ' ') {
				line++;
			}
			while (eol > line && eol[-1] == ' ') {
				eol--;
			}
			*len = (size_t)(eol - line);
			return line;
		}
		line = eol + 2;
	}
	return NULL;
}

int ob__wsc_response(const char *p, size_t n, const char *accept, char *why, size_t cap)
{
	static const char want[] = "HTTP/1.1 101";
	const char *end = memmem(p, n, "\r\n\r\n", 4);
	size_t len;

	if (!end) {
		snprintf(why, cap, "the answer to the handshake has no end");
		return n >= OB__WSC_REPLY_MAX ? -1 : 0;
	}
	size_t head = (size_t)(end - p) + 4;
	if (head < sizeof(want) - 1 || memcmp(p, want, sizeof(want) - 1) != 0) {
		const char *eol = memmem(p, n, "\r\n", 2);
		snprintf(why, cap, "the server said: %.*s", (int)(eol - p), p);
		return -1;
	}
	const char *value = find_header(p, head, "Sec-WebSocket-Accept", &len);
	if (!value || len != strlen(accept) || memcmp(value, accept, len) != 0) {
		snprintf(why, cap, "wrong or no Sec-WebSocket-Accept in the answer");
		return -1;
	}
	return (int)head;
}

int ob__wsc_header(const uint8_t *p, size_t n, struct ob__wsc_frame *frame)
{
	if (n < 2) {
		return 0;
	}
	size_t extra = (p[1] & 0x7f) == 126 ? 2 : (p[1] & 0x7f) == 127 ? 8 : 0;
	frame->fin = p[0] & 0x80;
	frame->opcode = p[0] & 0x0f;
	frame->len = p[1] & 0x7f;
	bool control = frame->opcode & 8;
	if (p[0] & 0x70 || p[1] & 0x80 || (control && (extra || !frame->fin)) ||
	    (frame->opcode & 7) > 2) {
		return -1;
	}
	if (n < 2 + extra) {
		return 0;
	}
	if (extra) {
		frame->len = 0;
	}
	for (size_t i = 0; i < extra; i++) {
		frame->len = frame->len << 8 | p[2 + i];
	}
	return (int)(2 + extra);
}

static size_t extra_length(size_t n)
{
	return n < 126 ? 0 : n < 65536 ? 2 : 8;
}

size_t ob__wsc_size(size_t n)
{
	return 2 + extra_length(n) + 4 + n;
}

size_t ob__wsc_put(uint8_t *dst, unsigned opcode, size_t n, const uint8_t key[4])
{
	size_t extra = extra_length(n);
	unsigned small = extra == 0 ? (unsigned)n : extra == 2 ? 126 : 127;

	dst[0] = (uint8_t)(0x80 | opcode);
	dst[1] = (uint8_t)(0x80 | small);
	for (size_t i = 0; i < extra; i++) {
		dst[2 + i] = (uint8_t)((uint64_t)n >> 8 * (extra - 1 - i));
	}
	memcpy(dst + 2 + extra, key, 4);
	return 2 + extra + 4;
}
