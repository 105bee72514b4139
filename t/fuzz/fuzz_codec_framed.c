/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * A declaration, a zero byte, and the bytes of a client (the first says how long their pieces are).
 * What compiles has room for what it declares, and each packet encodes to itself, but for bytes
 * that are skipped; without a declaration that compiles it is one of our own.
 */

#include "modules/codec_framed/codec_framed.c"
#include "t/fuzz/codec.h"

static const char own[] = "{\"head\":[{\"const\":\"4e25\"},{\"length\":2,\"of\":\"rest\"},"
			  "{\"seq\":1},{\"code\":2,\"endian\":\"little\"}]}";

/* What says hello is as long as what it says; the answer needs no more room than it asks for. */
static void check_welcome(const struct format *f, const ob_packet *packet, size_t used)
{
	uint8_t out[MAX_PACKET + HEAD_MAX + WELCOME_MAX];
	ob_packet p = {.kind = OB_PACKET_WELCOME, .cookie = packet->cookie, .len = packet->len};
	bool seen = packet->kind == OB_PACKET_SEEN;

	CHECK(f->resumes != 0);
	CHECK(used == f->head_len + (seen ? 8 : packet->len > 0 ? 8 + packet->len : 0));
	p.data = packet->data;
	size_t n = encode_welcome(f, &p, out, 0);
	size_t written = encode_welcome(f, &p, out, n);
	CHECK(n <= sizeof(out) && (written == n || written == 0));
}

static void check_encode(void *state, const ob_packet *packet, const uint8_t *raw, size_t used)
{
	const struct format *f = state;
	uint8_t out[MAX_PACKET + HEAD_MAX];
	ob_packet p = *packet;

	if (p.kind != OB_PACKET_MESSAGE) {
		check_welcome(f, &p, used);
		return;
	}
	p.kind = OB_PACKET_REPLY;
	CHECK(encode(NULL, state, &p, out, used - 1) == 0);
	CHECK(encode(NULL, state, &p, out, sizeof(out)) == used);
	CHECK(get(out, f->length) == get(raw, f->length));
	CHECK(get(out, f->code) == get(raw, f->code) && get(out, f->seq) == get(raw, f->seq));
	CHECK(memcmp(out + f->head_len, raw + f->head_len, used - f->head_len) == 0);
}

static bool declare(const uint8_t *data, size_t len, struct format *f)
{
	json_t *conf = json_loadb((const char *)data, len, JSON_DECODE_ANY, NULL);
	ob_err err = {{0}};
	bool good = conf != NULL && compile(conf, f, &err) == 0;

	CHECK(good || conf == NULL || err.text[0] != '\0');
	json_decref(conf);
	return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *end = len > 0 ? memchr(data, 0, len) : NULL;
	struct format f;

	if (end == NULL || len > INPUT_MAX) {
		return 0;
	}
	if (!declare(data, (size_t)(end - data), &f)) {
		CHECK(declare((const uint8_t *)own, strlen(own), &f));
	}
	CHECK(f.head_len <= HEAD_MAX && f.length.at + f.length.size <= f.head_len);
	CHECK(f.code.at + f.code.size <= f.head_len && f.seq.at + f.seq.size <= f.head_len);
	len -= (size_t)(end + 1 - data);
	if (len >= 1) {
		check_pieces(&f, check_encode, end + 2, len - 1, 1 + end[1] % 64);
	}
	return 0;
}
