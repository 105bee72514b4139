/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Fuzz target: what a server sends to the C client.  The first byte says which way and how it is
 * cut; what comes of it is the same from one piece and from many, and from a server's first words
 * nothing is read beyond their end. */

#include <stdbool.h>
#include <string.h>

#include "clients/c/obhost_wire.c"
#include "t/fuzz/fuzz.h"

#define MAX_PACKET 1024

struct seen {
	size_t things;
	uint32_t sum;
};

static void add(struct seen *s, uint32_t n, const uint8_t *data, size_t len)
{
	s->things++;
	s->sum = s->sum * 31 + n;
	for (size_t i = 0; i < len; i++) {
		s->sum = s->sum * 31 + data[i];
	}
}

static int on_packet(void *arg, uint32_t id, const uint8_t *data, size_t len)
{
	CHECK(id >= 1 && id <= INT32_MAX && len <= MAX_PACKET - OBHOST_PACKET_HEAD);
	add(arg, id, data, len);
	return id == 99;
}

static int on_control(void *arg, int opcode, const uint8_t *data, size_t len)
{
	CHECK(opcode >= OBHOST_WS_CLOSE && opcode <= OBHOST_WS_PONG && len <= OBHOST_CONTROL_MAX);
	add(arg, (uint32_t)opcode, data, len);
	return opcode == OBHOST_WS_CLOSE;
}

static int feed(bool ws, const uint8_t *data, size_t len, size_t piece, struct seen *s)
{
	struct obhost_wire w;
	struct obhost_wire_sink sink = {on_packet, on_control, s};
	int rc = 0;

	obhost_wire_init(&w, ws, MAX_PACKET);
	for (size_t at = 0; at < len && rc == 0; at += piece) {
		size_t take = len - at < piece ? len - at : piece;
		uint8_t *copy = malloc(take);

		CHECK(copy != NULL);
		memcpy(copy, data + at, take);
		rc = obhost_wire_feed(&w, copy, take, &sink);
		free(copy);
		CHECK(w.packet_cap <= MAX_PACKET && (rc >= 0 || (w.code && w.problem)));
	}
	rc = rc < 0 ? w.code : rc;
	obhost_wire_free(&w);
	return rc;
}

static void check_text(const uint8_t *data, size_t len)
{
	struct obhost_url url;
	char *text = malloc(len + 1);

	CHECK(text != NULL);
	memcpy(text, data, len);
	text[len] = '\0';
	if (obhost_url_parse(&url, text) == 0) {
		CHECK(url.host[0] && url.port[0] && url.path[0] == '/');
	}
	char *exact = realloc(text, len ? len : 1);
	CHECK(exact != NULL);
	size_t end = obhost_head_end(exact, len);
	CHECK(end <= len);
	(void)obhost_head_problem(exact, end ? end : len, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct seen whole = {0, 0};
	struct seen pieces = {0, 0};

	if (len < 2) {
		return 0;
	}
	bool ws = data[0] & 1;
	int one = feed(ws, data + 1, len - 1, len, &whole);
	int many = feed(ws, data + 1, len - 1, 1 + data[0] / 2 % 64, &pieces);
	CHECK(one == many && whole.things == pieces.things && whole.sum == pieces.sum);
	check_text(data + 1, len - 1);
	return 0;
}
