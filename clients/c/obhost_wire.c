/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "obhost_wire.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GUID         "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define PACKET_FIRST 512u /* bytes that are asked for first */
#define PACKET_KEPT  65536u

static int fail(struct obhost_wire *w, int code, const char *problem)
{
	w->code = code;
	w->problem = problem;
	return -1;
}

void obhost_wire_init(struct obhost_wire *w, bool ws, size_t max)
{
	memset(w, 0, sizeof(*w));
	w->ws = ws;
	w->max = max;
}

void obhost_wire_free(struct obhost_wire *w)
{
	free(w->packet);
	memset(w, 0, sizeof(*w));
}

/* ---------------------------------------------------------------- packets ------------------ */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)n;
	p[1] = (uint8_t)(n >> 8);
	p[2] = (uint8_t)(n >> 16);
	p[3] = (uint8_t)(n >> 24);
}

void obhost_packet_head(uint8_t out[OBHOST_PACKET_HEAD], uint32_t id, size_t len)
{
	put32(out, (uint32_t)(OBHOST_PACKET_HEAD + len));
	put32(out + 4, id);
	put32(out + 8, 0);
}

/* Room for `want` bytes of a packet that has `whole`; grows with what has come. */
static int reserve(struct obhost_wire *w, size_t want, size_t whole)
{
	size_t most = whole > PACKET_FIRST ? whole : PACKET_FIRST;
	size_t cap = PACKET_FIRST;

	if (want <= w->packet_cap) {
		return 0;
	}
	while (cap < want) {
		cap *= 2;
	}
	cap = cap < most ? cap : most;
	uint8_t *more = (uint8_t *)realloc(w->packet, cap);
	if (!more) {
		return fail(w, 1009, "out of memory");
	}
	w->packet = more;
	w->packet_cap = cap;
	return 0;
}

/* A long packet's memory is not kept for short ones. */
static void release(struct obhost_wire *w)
{
	w->packet_len = 0;
	if (w->packet_cap > PACKET_KEPT) {
		free(w->packet);
		w->packet = NULL;
		w->packet_cap = 0;
	}
}

/* How long the packet at `data` is, its head being there; 0: that can't be. */
static size_t packet_size(struct obhost_wire *w, const uint8_t *data)
{
	uint32_t len = get32(data);
	uint32_t id = get32(data + 4);

	if (len < OBHOST_PACKET_HEAD || len > INT32_MAX) {
		fail(w, 1002, "a packet's length is wrong");
		return 0;
	}
	if (len > w->max) {
		fail(w, 1009, "a packet is too big");
		return 0;
	}
	if (id < 1 || id > INT32_MAX) {
		fail(w, 1002, "a packet's id is wrong");
		return 0;
	}
	return len;
}

static int give(const uint8_t *data, size_t size, const struct obhost_wire_sink *sink)
{
	return sink->packet(sink->arg, get32(data + 4), data + OBHOST_PACKET_HEAD,
	                    size - OBHOST_PACKET_HEAD)
	               ? 1
	               : 0;
}

/* Adds what belongs to the packet that has begun; how many bytes it takes, or -1. */
static long collect(struct obhost_wire *w, const uint8_t *data, size_t len, size_t whole)
{
	size_t take = whole - w->packet_len < len ? whole - w->packet_len : len;

	if (reserve(w, w->packet_len + take, whole) < 0) {
		return -1;
	}
	memcpy(w->packet + w->packet_len, data, take);
	w->packet_len += take;
	return (long)take;
}

/* Goes on with a packet of which some bytes are here.  How many it takes, -1; *full: it is whole.
 */
static long go_on(struct obhost_wire *w, const uint8_t *data, size_t len, size_t *full)
{
	long took = 0;

	*full = 0;
	if (w->packet_len < OBHOST_PACKET_HEAD) {
		took = collect(w, data, len, OBHOST_PACKET_HEAD);
		if (took < 0 || w->packet_len < OBHOST_PACKET_HEAD) {
			return took;
		}
	}
	size_t size = packet_size(w, w->packet);
	long more = size ? collect(w, data + took, len - (size_t)took, size) : -1;
	if (more < 0) {
		return -1;
	}
	*full = w->packet_len == size ? size : 0;
	return took + more;
}

static int feed_packets(struct obhost_wire *w, const uint8_t *data, size_t len,
                        const struct obhost_wire_sink *sink)
{
	while (len > 0) {
		size_t size = 0;
		int rc = 0;

		if (w->packet_len == 0 && len >= OBHOST_PACKET_HEAD) {
			size = packet_size(w, data);
			if (size == 0) {
				return -1;
			}
			if (size <= len) { /* where it lies */
				rc = give(data, size, sink);
				data += size;
				len -= size;
				if (rc != 0) {
					return rc;
				}
				continue;
			}
		}
		long took = go_on(w, data, len, &size);
		if (took < 0) {
			return -1;
		}
		data += took;
		len -= (size_t)took;
		if (size > 0) {
			rc = give(w->packet, size, sink);
			release(w);
		}
		if (rc != 0) {
			return rc;
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- frames ------------------- */

static int check_frame(struct obhost_wire *w)
{
	bool control = w->opcode >= OBHOST_WS_CLOSE;

	if (w->head[0] & 0x70) {
		return fail(w, 1002, "a frame has bits that were not agreed on");
	}
	if (w->head[1] & 0x80) {
		return fail(w, 1002, "a server's frame is masked");
	}
	if (control) {
		return w->opcode > OBHOST_WS_PONG || !w->fin || w->left > OBHOST_CONTROL_MAX
		               ? fail(w, 1002, "a control frame is wrong")
		               : 0;
	}
	if (w->opcode == OBHOST_WS_TEXT) {
		return fail(w, 1003, "a text message, where packets are binary");
	}
	if (w->opcode > OBHOST_WS_BINARY || (w->opcode == OBHOST_WS_MORE) != w->in_message) {
		return fail(w, 1002, "a frame that does not belong there");
	}
	return 0;
}

/* Reads the frame's head if it is there.  How many bytes of it are missing, or -1. */
static int read_head(struct obhost_wire *w)
{
	size_t need = 2;
	uint64_t len = w->head[1] & 0x7f;

	if (w->head_len >= 2) {
		need = len == 127 ? 10 : len == 126 ? 4 : 2;
	}
	if (w->head_len < need) {
		return (int)(need - w->head_len);
	}
	if (need > 2) {
		len = 0;
		for (size_t i = 2; i < need; i++) {
			len = len << 8 | w->head[i];
		}
		if (len < (need == 4 ? 126u : 65536u) || len > INT64_MAX) {
			return fail(w, 1002, "a frame's length is wrong");
		}
	}
	w->opcode = w->head[0] & 0x0f;
	w->fin = (w->head[0] & 0x80) != 0;
	w->left = len;
	w->head_len = 0;
	if (check_frame(w) < 0) {
		return -1;
	}
	w->in_frame = true;
	w->control_len = 0;
	if (w->opcode < OBHOST_WS_CLOSE) {
		w->in_message = true;
	}
	return 0;
}

static int feed_payload(struct obhost_wire *w, const uint8_t *data, size_t len,
                        const struct obhost_wire_sink *sink)
{
	if (w->opcode < OBHOST_WS_CLOSE) {
		return feed_packets(w, data, len, sink);
	}
	memcpy(w->control + w->control_len, data, len);
	w->control_len += len;
	return 0;
}

static int end_frame(struct obhost_wire *w, const struct obhost_wire_sink *sink)
{
	w->in_frame = false;
	if (w->opcode < OBHOST_WS_CLOSE) {
		w->in_message = !w->fin;
		return 0;
	}
	if (w->opcode == OBHOST_WS_CLOSE && w->control_len == 1) {
		return fail(w, 1002, "a close frame is wrong");
	}
	return sink->control(sink->arg, w->opcode, w->control, w->control_len) ? 1 : 0;
}

int obhost_wire_feed(struct obhost_wire *w, const uint8_t *data, size_t len,
                     const struct obhost_wire_sink *sink)
{
	int rc = 0;

	if (!w->ws) {
		return feed_packets(w, data, len, sink);
	}
	while (rc == 0 && len > 0) {
		if (!w->in_frame) {
			w->head[w->head_len++] = *data++;
			len--;
			int missing = read_head(w);
			if (missing < 0) {
				return -1;
			}
			if (missing > 0 || w->left > 0) {
				continue;
			}
		}
		size_t take = w->left < len ? (size_t)w->left : len;
		rc = feed_payload(w, data, take, sink);
		data += take;
		len -= take;
		w->left -= take;
		if (rc == 0 && w->left == 0) {
			rc = end_frame(w, sink);
		}
	}
	return rc;
}

size_t obhost_frame_head(uint8_t out[OBHOST_FRAME_HEAD], int opcode, size_t len,
                         const uint8_t mask[4])
{
	size_t wide = len < 126 ? 0 : len < 65536 ? 2 : 8;

	out[0] = (uint8_t)(0x80 | opcode);
	out[1] = (uint8_t)(0x80 | (wide == 0 ? len : wide == 2 ? 126 : 127));
	for (size_t i = 0; i < wide; i++) {
		out[2 + i] = (uint8_t)((uint64_t)len >> 8 * (wide - 1 - i));
	}
	memcpy(out + 2 + wide, mask, 4);
	return 6 + wide;
}

void obhost_frame_mask(uint8_t *data, size_t len, size_t at, const uint8_t mask[4])
{
	for (size_t i = 0; i < len; i++) {
		data[i] ^= mask[(at + i) % 4];
	}
}

/* ---------------------------------------------------------------- the handshake ------------ */

static void base64(const uint8_t *data, size_t len, char *out)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;

		bits |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
		bits |= i + 2 < len ? data[i + 2] : 0;
		*out++ = letters[bits >> 18];
		*out++ = letters[bits >> 12 & 63];
		*out++ = i + 1 < len ? letters[bits >> 6 & 63] : '=';
		*out++ = i + 2 < len ? letters[bits & 63] : '=';
	}
	*out = '\0';
}

static uint32_t turn(uint32_t n, unsigned by)
{
	return n << by | n >> (32 - by);
}

static void sha1_block(uint32_t h[5], const uint8_t *data)
{
	uint32_t w[80];
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (int i = 0; i < 80; i++) {
		const uint8_t *p = data + 4 * i;

		w[i] = i < 16 ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
		                        p[3]
		              : turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	}
	for (int i = 0; i < 80; i++) {
		uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999u
		             : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1u
		             : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu
		                      : (b ^ c ^ d) + 0xca62c1d6u;
		uint32_t next = turn(a, 5) + f + e + w[i];

		e = d;
		d = c;
		c = turn(b, 30);
		b = a;
		a = next;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

/* Of at most 119 bytes; RFC 6455 asks for nothing longer. */
static void sha1(const char *text, size_t len, uint8_t out[20])
{
	uint32_t h[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
	uint8_t block[128] = {0};
	size_t blocks = len < 56 ? 1 : 2;

	memcpy(block, text, len);
	block[len] = 0x80;
	block[64 * blocks - 2] = (uint8_t)(len * 8 >> 8);
	block[64 * blocks - 1] = (uint8_t)(len * 8);
	for (size_t i = 0; i < blocks; i++) {
		sha1_block(h, block + 64 * i);
	}
	for (size_t i = 0; i < 20; i++) {
		out[i] = (uint8_t)(h[i / 4] >> 8 * (3 - i % 4));
	}
}

void obhost_key_text(const uint8_t random[16], char out[OBHOST_KEY_TEXT])
{
	base64(random, 16, out);
}

void obhost_accept_text(const char *key, char out[OBHOST_ACCEPT_TEXT])
{
	char text[OBHOST_KEY_TEXT + sizeof(GUID)];
	uint8_t hash[20];
	size_t len = strnlen(key, OBHOST_KEY_TEXT - 1);

	memcpy(text, key, len);
	memcpy(text + len, GUID, sizeof(GUID));
	sha1(text, len + sizeof(GUID) - 1, hash);
	base64(hash, sizeof(hash), out);
}

size_t obhost_head_end(const char *data, size_t len)
{
	for (size_t i = 3; i < len; i++) {
		if (memcmp(data + i - 3, "\r\n\r\n", 4) == 0) {
			return i + 1;
		}
	}
	return 0;
}

/* The value of a header; NULL: it is not there.  Blanks around it are not of it. */
static const char *header(const char *head, size_t len, const char *name, size_t *value_len)
{
	const char *end = head + len;
	size_t name_len = strlen(name);

	for (const char *line = head; line < end;) {
		const char *nl = (const char *)memchr(line, '\n', (size_t)(end - line));
		const char *stop = nl ? nl : end;

		if ((size_t)(stop - line) > name_len && line[name_len] == ':' &&
		    strncasecmp(line, name, name_len) == 0) {
			const char *value = line + name_len + 1;

			while (value < stop && (*value == ' ' || *value == '\t')) {
				value++;
			}
			while (stop > value && strchr(" \t\r", stop[-1])) {
				stop--;
			}
			*value_len = (size_t)(stop - value);
			return value;
		}
		line = stop < end ? stop + 1 : end;
	}
	return NULL;
}

static bool header_is(const char *head, size_t len, const char *name, const char *word)
{
	size_t value_len = 0;
	const char *value = header(head, len, name, &value_len);

	return value && value_len == strlen(word) && strncasecmp(value, word, value_len) == 0;
}

const char *obhost_head_problem(const char *head, size_t len, const char *accept)
{
	size_t value_len = 0;

	if (len < 13 || memcmp(head, "HTTP/1.1 101", 12) != 0 ||
	    (head[12] != ' ' && head[12] != '\r')) {
		return "the server does not speak WebSocket there";
	}
	if (!header_is(head, len, "Upgrade", "websocket") ||
	    !header_is(head, len, "Connection", "upgrade")) {
		return "the server did not upgrade";
	}
	const char *value = header(head, len, "Sec-WebSocket-Accept", &value_len);
	if (!value || value_len != strlen(accept) || memcmp(value, accept, value_len) != 0) {
		return "the server's handshake is not for this client";
	}
	if (header(head, len, "Sec-WebSocket-Extensions", &value_len) ||
	    header(head, len, "Sec-WebSocket-Protocol", &value_len)) {
		return "the server has agreed to what nobody asked for";
	}
	return NULL;
}

/* ---------------------------------------------------------------- addresses ---------------- */

static bool copy(char *out, size_t cap, const char *text, size_t len)
{
	if (len == 0 || len >= cap) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f) {
			return false;
		}
	}
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

static bool is_port(const char *text)
{
	long n = strtol(text, NULL, 10);

	return strspn(text, "0123456789") == strlen(text) && n >= 1 && n <= 65535;
}

int obhost_url_parse(struct obhost_url *out, const char *text)
{
	memset(out, 0, sizeof(*out));
	out->ws = strncmp(text, "ws://", 5) == 0;
	if (!out->ws && strncmp(text, "tcp://", 6) != 0) {
		return -1;
	}
	text += out->ws ? 5 : 6;
	size_t len = strcspn(text, "/?#");
	const char *path = text + len;
	const char *end = text + len;
	bool six = *text == '[';
	const char *host = six ? text + 1 : text;
	const char *stop = (const char *)memchr(text, six ? ']' : ':', len);

	if (six && !stop) {
		return -1;
	}
	const char *port = six ? stop + 1 : stop ? stop : end;
	size_t host_len = (size_t)((stop ? stop : end) - host);
	bool good = copy(out->authority, sizeof(out->authority), text, len) &&
	            copy(out->host, sizeof(out->host), host, host_len);
	if (good && port < end) {
		good = *port == ':' &&
		       copy(out->port, sizeof(out->port), port + 1, (size_t)(end - port) - 1) &&
		       is_port(out->port);
	} else if (good) {
		good = out->ws && copy(out->port, sizeof(out->port), "80", 2);
	}
	if (good && *path) {
		good = out->ws && *path == '/' &&
		       copy(out->path, sizeof(out->path), path, strcspn(path, "#"));
	} else if (good) {
		good = copy(out->path, sizeof(out->path), "/", 1);
	}
	return good ? 0 : -1;
}
