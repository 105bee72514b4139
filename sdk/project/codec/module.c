/*
 * @NAME@: a module for obhost. A codec: it turns a connection's bytes into messages and back.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * A message is a line, "ID PAYLOAD\n"; so is an answer. It is for listeners with "codec": "@CODEC@",
 * e.g. "listen": [{"transport": "tcp", "codec": "@CODEC@", "port": 7000}].
 *
 * The node keeps the bytes that are no whole packet yet, and shows the codec what is there. As the
 * codec keeps nothing itself, it can be replaced between two packets of a connection.
 */

#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define OVERHEAD 12 /* most bytes an answer has besides its payload: ten digits, ' ', '\n' */

/* Closes the connection: a WebSocket code and a text, which is static. */
static size_t refuse(ob_packet *out, uint16_t code, const char *reason)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	return 0;
}

/* The digits at p up to a blank or the end; 0 if that is no message id. */
static uint32_t read_id(const uint8_t *p, const uint8_t *end)
{
	uint64_t id = 0;

	for (; p < end && *p != ' '; p++) {
		if (*p < '0' || *p > '9' || id > INT32_MAX) {
			return 0;
		}
		id = id * 10 + (uint64_t)(*p - '0');
	}
	return id <= INT32_MAX ? (uint32_t)id : 0;
}

/* Looks for one packet at the front of data and returns the bytes it takes. It must be ready for
 * anything: these are a stranger's bytes. */
static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	const uint8_t *end = (const uint8_t *)memchr(data, '\n', len);

	if (!end) {
		if (len >= max) {
			return refuse(out, 1009, "line too long");
		}
		out->kind = OB_PACKET_NEED; /* one byte more, at least */
		out->need = len + 1;
		return 0;
	}
	size_t line = (size_t)(end - data);
	const uint8_t *blank = (const uint8_t *)memchr(data, ' ', line);
	uint32_t id = read_id(data, end);
	if (id == 0) {
		return refuse(out, 1002, "a line begins with a message id");
	}
	const uint8_t *payload = blank ? blank + 1 : end;
	out->kind = OB_PACKET_MESSAGE;
	out->id = id;
	out->data = payload; /* in place: nothing is copied */
	out->len = (size_t)(end - payload);
	return line + 1;
}

/* Writes an answer or a push; at most OVERHEAD bytes more than its payload. */
static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	char head[OVERHEAD];
	int n = snprintf(head, sizeof(head), "%u ", (unsigned)packet->id);

	if (n < 0 || (size_t)n + packet->len + 1 > cap) {
		return 0;
	}
	memcpy(out, head, (size_t)n);
	if (packet->len > 0) {
		if (memchr(packet->data, '\n', packet->len)) {
			return 0; /* can't be said in this protocol */
		}
		memcpy(out + n, packet->data, packet->len);
	}
	out[(size_t)n + packet->len] = '\n';
	return (size_t)n + packet->len + 1;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	/* state_size: zeroed bytes of the node's for each connection. A generation that needs
	 * others gives them another state_ver and a migrate(). */
	static const ob_codec codec = {
		.size = sizeof(codec),
		.state_size = 0,
		.state_ver = 1,
		.flags = OB_CODEC_STREAM | OB_CODEC_TEXT,
		.overhead = OVERHEAD,
		.name = "@CODEC@",
		.decode = decode,
		.encode = encode,
	};

	return ob_on_codec(ctx, &codec);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
