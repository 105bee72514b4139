/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * A connection with encode 2.  The first byte of the input says how long the pieces are in which
 * the bytes come, the second what the others are:
 *
 *     'h'  bytes of a client from the beginning on: its hello, and what it says then
 *     'p'  a script of what comes after a handshake: packets that the client has sealed, and what
 *          somebody does to them on their way
 *
 * Of a script exactly those packets are taken which were sealed before the first that was touched,
 * whole and in their order.  In both, pieces make no difference.
 *
 * The server's own key is always the same one.  The curve takes longer than all the rest together,
 * and is not ours: it is asked about one client's key of thirty-two, for the others there is a
 * stand-in.
 */

#include <stdint.h>

#include "modules/codec_obespoir/handshake.h"

static int own_key(uint8_t key[OBESPOIR_KEY]);
static int shake_hands(const struct obespoir_crypt *c, const uint8_t token_key[OBESPOIR_KEY],
                       const uint8_t own[OBESPOIR_KEY], const uint8_t hello[OBESPOIR_HELLO],
                       uint8_t answer_to[OBESPOIR_ANSWER], struct obespoir_keys *keys);

#define obespoir_random_key  own_key
#define obespoir_shake_hands shake_hands
#include "modules/codec_obespoir/codec_obespoir.c"
#undef obespoir_random_key
#undef obespoir_shake_hands
#include "t/fuzz/fuzz.h"

#define INPUT_MAX  4096
#define MAX_PACKET 1024
#define MAX_WIRE   (64 * 1024)

/* What bytes come to. */
struct run {
	size_t packets;
	size_t answers;
	size_t bytes;
	int code; /* of the close, or 0 */
	uint32_t sum;
};

static uint32_t sum_of(uint32_t sum, uint32_t id, const uint8_t *body, size_t len)
{
	sum = sum * 31 + id + (uint32_t)len;
	for (size_t i = 0; i < len; i++) {
		sum = sum * 31 + body[i];
	}
	return sum;
}

/* ---- the handshake ---- */

static int own_key(uint8_t key[OBESPOIR_KEY])
{
	memset(key, 0x42, OBESPOIR_KEY);
	return 0;
}

/* What the curve said of some keys: of those of the corpus it needs to be asked once. */
static struct answered {
	uint8_t key[OBESPOIR_KEY];
	uint8_t answer[OBESPOIR_ANSWER];
	struct obespoir_keys keys;
	int rc;
	bool there;
} answered[64];

static int shake_hands(const struct obespoir_crypt *c, const uint8_t token_key[OBESPOIR_KEY],
                       const uint8_t own[OBESPOIR_KEY], const uint8_t hello[OBESPOIR_HELLO],
                       uint8_t answer_to[OBESPOIR_ANSWER], struct obespoir_keys *keys)
{
	const uint8_t *key = hello + OBESPOIR_HELLO_KEY;
	struct answered *a = &answered[sum_of(0, 0, key, OBESPOIR_KEY) % 64];

	if (a->there && memcmp(a->key, key, OBESPOIR_KEY) == 0) {
		memcpy(answer_to, a->answer, OBESPOIR_ANSWER);
		*keys = a->keys;
		return a->rc;
	}
	a->there = true;
	memcpy(a->key, key, OBESPOIR_KEY);
	memset(a->answer, key[0], OBESPOIR_ANSWER);
	memcpy(a->keys.in, key, OBESPOIR_KEY);
	memcpy(a->keys.out, own, OBESPOIR_KEY);
	a->rc = key[0] % 32 == 1 ? OBESPOIR_WEAK : key[0] % 32 == 2 ? OBESPOIR_FAILED : 0;
	if (key[0] % 32 == 0) {
		a->rc = obespoir_shake_hands(c, token_key, own, hello, a->answer, &a->keys);
	}
	memcpy(answer_to, a->answer, OBESPOIR_ANSWER);
	*keys = a->keys;
	return a->rc;
}

/* ---- the codec's side ---- */

/* What goes back is read by nobody here, but written within its room. */
static void check_encode(struct client *c, const ob_packet *packet, size_t used)
{
	uint8_t out[MAX_PACKET + 1];
	uint64_t before = c->given;

	out[used] = 0xee;
	CHECK(used == packet->len + OVERHEAD);
	CHECK(encode(NULL, c, packet, out, used - 1) == 0 && c->given == before);
	CHECK(encode(NULL, c, packet, out, used) == used && c->given == before + 1);
	CHECK(get32(out) == used && out[used] == 0xee);
}

static size_t drain(struct client *c, struct run *run, uint8_t *data, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ob_packet packet = {.size = sizeof(packet)};
		size_t left = len - at;
		size_t used = decode(NULL, c, data + at, left, true, MAX_PACKET, &packet);

		if (packet.kind == OB_PACKET_NEED) {
			CHECK(used == 0 && packet.need > left && packet.need <= MAX_PACKET);
			break;
		}
		if (packet.kind == OB_PACKET_CLOSE) {
			CHECK(used == 0 && packet.code && packet.reason);
			run->code = packet.code;
			break;
		}
		CHECK(used > 0 && used <= left);
		if (packet.kind == OB_PACKET_ANSWER) {
			CHECK(run->answers == 0 && run->packets == 0 && used == OBESPOIR_HELLO);
			CHECK(packet.len == OBESPOIR_ANSWER && c->greeted);
			run->answers++;
		} else {
			CHECK(packet.kind == OB_PACKET_MESSAGE && c->greeted);
			CHECK(packet.data == data + at + HEADER);
			CHECK(packet.len == used - OVERHEAD);
			run->sum = sum_of(run->sum, packet.id, packet.data, packet.len);
			run->packets++;
			check_encode(c, &packet, used);
		}
		at += used;
	}
	run->bytes += at;
	return at;
}

static struct run feed(const struct client *from, const uint8_t *data, size_t len, size_t piece)
{
	static uint8_t kept[MAX_WIRE];
	struct client c = *from;
	struct run run = {0};
	size_t held = 0;

	for (size_t at = 0; at < len && !run.code; at += piece) {
		size_t taken = len - at < piece ? len - at : piece;

		memcpy(kept + held, data + at, taken);
		held += taken;

		size_t used = drain(&c, &run, kept, held);

		held -= used;
		memmove(kept, kept + used, held);
	}
	CHECK(c.taken == run.packets || !from->greeted);
	return run;
}

static struct run feed_twice(const struct client *from, const uint8_t *data, size_t len,
                             size_t piece)
{
	struct run whole = feed(from, data, len, MAX_WIRE);
	struct run pieces = feed(from, data, len, piece);

	CHECK(whole.packets == pieces.packets && whole.bytes == pieces.bytes);
	CHECK(whole.code == pieces.code && whole.sum == pieces.sum);
	CHECK(whole.answers == pieces.answers);
	return whole;
}

/* ---- scripts ---- */

struct wire {
	uint8_t data[MAX_WIRE];
	size_t len;
	size_t last; /* where the last packet begins */
	bool touched;
	size_t packets; /* sealed before that */
	uint32_t sum;
};

/* A packet that the client seals. */
static void add_packet(struct wire *w, struct client *client, const uint8_t *body, size_t len)
{
	ob_packet packet = {.size = sizeof(packet), .id = 7 + (uint32_t)len, .data = body};

	packet.len = len;

	size_t total = encode(NULL, client, &packet, w->data + w->len, sizeof(w->data) - w->len);

	CHECK(total == len + OVERHEAD);
	w->last = w->len;
	w->len += total;
	if (!w->touched) {
		w->packets++;
		w->sum = sum_of(w->sum, packet.id, body, len);
	}
}

/* The last packet is not what it was, so neither it nor what follows is taken. */
static void touch_last(struct wire *w, uint32_t sum_before)
{
	if (!w->touched && w->last < w->len) {
		w->touched = true;
		w->packets--;
		w->sum = sum_before;
	}
}

static void repeat_last(struct wire *w)
{
	size_t len = w->len - w->last;

	memcpy(w->data + w->len, w->data + w->last, len);
	w->last = w->len;
	w->len += len;
	w->touched = w->touched || len > 0;
}

static void flip(struct wire *w, size_t where, uint8_t how)
{
	size_t len = w->len - w->last;

	if (len > LENGTH) { /* a changed length may be one that never comes: not here */
		w->data[w->last + LENGTH + where % (len - LENGTH)] ^= how;
	}
}

static void play(struct wire *w, struct client *client, const uint8_t *script, size_t len)
{
	uint32_t before = 0;

	for (size_t at = 0; at + 2 <= len && w->len < MAX_WIRE / 2; at += 2) {
		size_t n = script[at + 1];

		switch (script[at] % 8) {
		case 0: /* changed */
			flip(w, n, (uint8_t)(1u << (script[at] / 8 % 8)));
			touch_last(w, before);
			return;
		case 1: /* one is left out */
			client->given++;
			w->touched = true;
			w->last = w->len;
			break;
		case 2:
			repeat_last(w);
			break;
		case 3: /* cut off */
			if (n > 0 && n < w->len - w->last) {
				touch_last(w, before);
				w->len -= n;
			}
			return;
		default:
			n = n < len - at - 2 ? n : len - at - 2;
			before = w->touched ? before : w->sum;
			add_packet(w, client, script + at + 2, n);
			at += n;
			break;
		}
	}
}

static void try_script(const uint8_t *script, size_t len, size_t piece)
{
	static struct wire w;
	struct client server = {.encode = SEALED, .greeted = 1, .in = {1}, .out = {2}};
	struct client client = {.encode = SEALED, .greeted = 1, .in = {2}, .out = {1}};

	w.len = w.last = w.packets = w.sum = 0;
	w.touched = false;

	play(&w, &client, script, len);

	struct run run = feed_twice(&server, w.data, w.len, piece);

	CHECK(run.packets == w.packets && run.sum == w.sum);
	CHECK(run.code == 0 || (w.touched && run.code == CLOSE_PROTOCOL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct client fresh = {.encode = SEALED, .in = {3}};

	if (ciphers.seal == NULL) {
		CHECK(obespoir_crypt_make(&ciphers) == 0);
	}
	if (len < 2 || len > INPUT_MAX) {
		return 0;
	}

	size_t piece = 1 + data[0] % 64;

	if (data[1] == 'h') {
		(void)feed_twice(&fresh, data + 2, len - 2, piece);
	} else {
		try_script(data + 2, len - 2, piece);
	}
	return 0;
}
