/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example codec_line: a codec for people with telnet, and for devices that speak in lines.
 *
 *     30000 hello      a request: message 30000 with the payload "hello"
 *     !30000 hello     one-way: no answer is wanted
 *     30000 hello      its answer, the id in front
 *     *2001 {"n":1}    a push
 *
 * It is for listeners with "codec": "line".  It shows decoding in place, a codec's contract with
 * bytes of strangers, and state of a connection: whoever ends lines in CR LF gets them so.
 */

#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define OVERHEAD 14 /* most bytes besides the payload: '*', ten digits, ' ', CR, LF */

/* Of each connection; the host's memory, zeroed at first.  Another layout would be version 2, and
 * need a migrate() for the connections that are there when it comes. */
struct line_state {
	uint8_t crlf;
};

static size_t refuse(ob_packet *out, uint16_t code, const char *reason)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	return 0;
}

/* Reads digits at *p, and a blank behind them; 0 if that is no message id. */
static uint32_t read_id(const uint8_t **p, const uint8_t *end)
{
	uint64_t id = 0;

	for (; *p < end && **p >= '0' && **p <= '9' && id <= INT32_MAX; (*p)++) {
		id = id * 10 + (uint64_t)(**p - '0');
	}
	if (*p < end && *(*p)++ != ' ') {
		return 0;
	}
	return id <= INT32_MAX ? (uint32_t)id : 0;
}

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	struct line_state *line = (struct line_state *)state;
	const uint8_t *end = (const uint8_t *)memchr(data, '\n', len);
	const uint8_t *p = data;

	(void)ctx;
	(void)boundary;
	if (!end) {
		if (len >= max) {
			return refuse(out, 1009, "line too long");
		}
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	size_t consumed = (size_t)(end - data) + 1;
	line->crlf = end > data && end[-1] == '\r';
	end -= line->crlf;
	if (end == data) {
		out->kind = OB_PACKET_SKIP; /* an empty line keeps the connection alive */
		return consumed;
	}
	out->one_way = *p == '!';
	p += out->one_way;
	out->id = read_id(&p, end);
	if (out->id == 0) {
		return refuse(out, 1002, "a line begins with a message id");
	}
	out->kind = OB_PACKET_MESSAGE;
	out->data = p; /* where it lies: nothing is copied */
	out->len = (size_t)(end - p);
	return consumed;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct line_state *line = (const struct line_state *)state;
	const char *push = packet->kind == OB_PACKET_PUSH ? "*" : "";
	char head[OVERHEAD];
	int n = snprintf(head, sizeof(head), "%s%u ", push, (unsigned)packet->id);

	(void)ctx;
	if (n < 0 || (size_t)n + packet->len + 2 > cap) {
		return 0;
	}
	if (packet->len > 0 && memchr(packet->data, '\n', packet->len)) {
		return 0; /* it can't be said in a line */
	}
	memcpy(out, head, (size_t)n);
	size_t at = (size_t)n;
	if (packet->len > 0) {
		memcpy(out + at, packet->data, packet->len);
		at += packet->len;
	}
	if (line->crlf) {
		out[at++] = '\r';
	}
	out[at++] = '\n';
	return at;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	static const ob_codec line = {
		.size = sizeof(line),
		.state_size = sizeof(struct line_state),
		.state_ver = 1,
		.flags = OB_CODEC_STREAM | OB_CODEC_TEXT,
		.overhead = OVERHEAD,
		.name = "line",
		.decode = decode,
		.encode = encode,
	};

	(void)conf;
	return ob_on_codec(ctx, &line);
}

OB_MODULE(codec_line, .version = "1.0.0", .provides = "codec_line/1.0", .start = start);
