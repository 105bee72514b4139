/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_obespoir: the packets that obespoir's clients speak.
 *
 *     int32 length, these 12 bytes included
 *     int32 message id
 *     int32 version: ignored when it comes in, 0 when it goes out
 *     payload
 *
 * All little-endian.  Packets are a byte stream: one may span transport messages, and one
 * transport message may hold several.  The listener's `encode` says how they are encrypted:
 *
 *     0  not at all
 *     1  the payload, in AES blocks with the token as key, as obespoir meant to
 *     2  all behind the length, and sealed, with keys that a handshake makes (handshake.h)
 */

#include <endian.h>
#include <string.h>

#include <obhost/obhost.h>

#include "crypt.h"
#include "handshake.h"

#define HEADER    12
#define LENGTH    4           /* of these, the length */
#define TOTAL_MAX 0x7fffffffu /* the length is signed */

#define PADDING_MAX  OBESPOIR_BLOCK
#define OVERHEAD     (HEADER + OBESPOIR_BLOCK) /* a padding's most, or a tag */
#define NUMBERS_MAX  (UINT64_C(1) << 32)       /* of packets with one key */
#define STATE_BEFORE 1                         /* a version that kept nothing */
#define STATE_OWN    2                         /* the same as now, but shared by nobody */
#define STATE_VER    3

#define CLOSE_PROTOCOL 1002
#define CLOSE_TOO_BIG  1009
#define CLOSE_INTERNAL 1011
#define CLOSE_RESTART  1012

enum encode {
	PLAIN,
	BLOCKS,
	SEALED,
};

/* Of each connection.  The host's memory: nothing but bytes, so that whichever generation is there
 * goes on with it; wiped by the host when the connection is gone. */
struct client {
	uint8_t encode;
	uint8_t greeted; /* SEALED: there are keys */
	uint8_t key_len; /* BLOCKS */
	uint8_t unused[5];
	uint64_t taken; /* SEALED: packets so far, in each direction: the number of the next */
	uint64_t given;
	uint8_t in[OBESPOIR_KEY]; /* BLOCKS: the key; SEALED, not greeted: the token's */
	uint8_t out[OBESPOIR_KEY];
};

/* Of this generation. */
static struct obespoir_crypt ciphers;
static uint8_t answer[OBESPOIR_ANSWER]; /* the host copies it at once */
static struct {
	bool blocks;
	bool no_token;
} warned;

static uint32_t get32(const uint8_t *from)
{
	uint32_t word;

	memcpy(&word, from, sizeof(word));
	return le32toh(word);
}

static void put32(uint8_t *to, uint32_t value)
{
	uint32_t word = htole32(value);

	memcpy(to, &word, sizeof(word));
}

static size_t need(ob_packet *out, size_t bytes)
{
	out->kind = OB_PACKET_NEED;
	out->need = bytes;
	return 0;
}

static size_t close_with(ob_packet *out, uint16_t code, const char *word, const char *reason)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->kind_word = word;
	out->reason = reason;
	return 0;
}

/* ---- what comes in ---- */

/* The bytes of the whole packet at the front; 0: *out says what to do instead.  The length is
 * judged as soon as its four bytes are there: a bad one never makes us wait. */
static size_t whole_packet(const uint8_t *data, size_t len, size_t least, size_t max,
                           ob_packet *out)
{
	if (len < LENGTH) {
		return need(out, least);
	}

	uint32_t total = get32(data);

	if (total < least || total > TOTAL_MAX) {
		return close_with(out, CLOSE_PROTOCOL, NULL, "packet length too small");
	}
	if (total > max) {
		return close_with(out, CLOSE_TOO_BIG, NULL, "packet too long");
	}
	return len < total ? need(out, total) : total;
}

static size_t take_message(ob_packet *out, const uint8_t *data, size_t len, size_t total)
{
	out->kind = OB_PACKET_MESSAGE;
	out->id = get32(data + LENGTH);
	out->one_way = 0;
	out->cookie = 0;
	out->data = data + HEADER;
	out->len = len;
	return total;
}

/* Bytes of padding at the end of the blocks; 0: that is none. */
static size_t padding_of(const uint8_t *data, size_t len)
{
	size_t n = data[len - 1];

	for (size_t i = 2; i <= n && n <= PADDING_MAX; i++) {
		if (data[len - i] != n) {
			return 0;
		}
	}
	return n <= PADDING_MAX ? n : 0;
}

static size_t take_blocks(const struct client *c, uint8_t *data, size_t total, ob_packet *out)
{
	uint8_t *body = data + HEADER;
	size_t len = total - HEADER;

	if (len == 0 || len % OBESPOIR_BLOCK != 0) {
		return close_with(out, CLOSE_PROTOCOL, "bad_blocks", "not made of blocks");
	}
	if (obespoir_blocks(&ciphers, c->in, c->key_len, false, body, len) != 0) {
		return close_with(out, CLOSE_INTERNAL, "no_cipher", "can't decrypt");
	}

	size_t padding = padding_of(body, len);

	if (padding == 0) {
		return close_with(out, CLOSE_PROTOCOL, "bad_padding", "bad padding: another key?");
	}
	return take_message(out, data, len - padding, total);
}

static bool is_used_up(const struct client *c)
{
	return c->taken >= NUMBERS_MAX || c->given >= NUMBERS_MAX;
}

static size_t take_sealed(struct client *c, uint8_t *data, size_t total, ob_packet *out)
{
	const struct obespoir_seal seal = {c->in, c->taken, data, LENGTH};
	size_t len = total - LENGTH - OBESPOIR_TAG;

	if (is_used_up(c)) {
		return close_with(out, CLOSE_RESTART, "used_up", "connect again: new keys");
	}
	if (obespoir_unseal(&ciphers, &seal, data + LENGTH, len, data + LENGTH + len) != 0) {
		return close_with(out, CLOSE_PROTOCOL, "bad_seal", "not sealed with our keys");
	}
	c->taken++;
	return take_message(out, data, total - OVERHEAD, total);
}

/* The client's first packet, each byte judged when it is there. */
static size_t look_at_hello(const uint8_t *data, size_t len, ob_packet *out)
{
	if (len >= LENGTH && get32(data) != OBESPOIR_HELLO) {
		return close_with(out, CLOSE_PROTOCOL, "bad_hello", "no handshake of encode 2");
	}
	if (len > OBESPOIR_HELLO_VERSION && data[OBESPOIR_HELLO_VERSION] != OBESPOIR_VERSION) {
		return close_with(out, CLOSE_PROTOCOL, "bad_version", "handshake version is not 1");
	}
	return len < OBESPOIR_HELLO ? need(out, OBESPOIR_HELLO) : OBESPOIR_HELLO;
}

static size_t take_hello(struct client *c, const uint8_t *data, size_t len, ob_packet *out)
{
	uint8_t own[OBESPOIR_KEY];
	struct obespoir_keys keys;
	size_t total = look_at_hello(data, len, out);

	if (total == 0) {
		return 0;
	}

	int rc = obespoir_random_key(own) != 0
	                 ? OBESPOIR_FAILED
	                 : obespoir_shake_hands(&ciphers, c->in, own, data, answer, &keys);

	obespoir_wipe(own, sizeof(own));
	if (rc == OBESPOIR_WEAK) {
		return close_with(out, CLOSE_PROTOCOL, "weak_key", "a key that makes no secret");
	}
	if (rc != 0) {
		return close_with(out, CLOSE_INTERNAL, "no_cipher", "can't make keys");
	}
	memcpy(c->in, keys.in, sizeof(c->in));
	memcpy(c->out, keys.out, sizeof(c->out));
	obespoir_wipe(&keys, sizeof(keys));
	c->greeted = 1;
	out->kind = OB_PACKET_ANSWER;
	out->data = answer;
	out->len = sizeof(answer);
	return total;
}

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	struct client *c = state;

	(void)ctx;
	(void)boundary;
	if (c->encode == SEALED && !c->greeted) {
		return take_hello(c, data, len, out);
	}

	size_t total = whole_packet(data, len, c->encode == SEALED ? OVERHEAD : HEADER, max, out);

	if (total == 0 || c->encode == PLAIN) {
		return total != 0 ? take_message(out, data, total - HEADER, total) : 0;
	}
	return c->encode == SEALED ? take_sealed(c, data, total, out)
	                           : take_blocks(c, data, total, out);
}

/* ---- what goes out ---- */

/* As it is to be before encryption, with `more` bytes behind the payload in its length. */
static size_t put_packet(const ob_packet *packet, size_t more, uint8_t *out, size_t cap)
{
	if (packet->len > TOTAL_MAX - OVERHEAD || cap < HEADER + more ||
	    packet->len > cap - HEADER - more) {
		return 0;
	}
	put32(out, (uint32_t)(packet->len + HEADER + more));
	put32(out + LENGTH, packet->id);
	put32(out + 8, 0);
	if (packet->len) {
		memcpy(out + HEADER, packet->data, packet->len);
	}
	return packet->len + HEADER + more;
}

static size_t put_blocks(const struct client *c, const ob_packet *packet, uint8_t *out, size_t cap)
{
	size_t padding = PADDING_MAX - packet->len % OBESPOIR_BLOCK;
	size_t total = put_packet(packet, padding, out, cap);

	if (total == 0) {
		return 0;
	}
	memset(out + total - padding, (int)padding, padding);

	int rc = obespoir_blocks(&ciphers, c->in, c->key_len, true, out + HEADER, total - HEADER);

	return rc == 0 ? total : 0;
}

static size_t put_sealed(struct client *c, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct obespoir_seal seal = {c->out, c->given, out, LENGTH};
	size_t total =
		c->greeted && !is_used_up(c) ? put_packet(packet, OBESPOIR_TAG, out, cap) : 0;

	if (total == 0) {
		return 0;
	}

	size_t len = total - LENGTH - OBESPOIR_TAG;

	if (obespoir_seal(&ciphers, &seal, out + LENGTH, len, out + LENGTH + len) != 0) {
		return 0;
	}
	c->given++;
	return total;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	struct client *c = state;

	(void)ctx;
	switch (c->encode) {
	case BLOCKS:
		return put_blocks(c, packet, out, cap);
	case SEALED:
		return put_sealed(c, packet, out, cap);
	default:
		return put_packet(packet, 0, out, cap);
	}
}

/* ---- keys that are alike ---- */

#define KNOWN_MAX 16u /* a listener has one, and few nodes have more listeners */

/* Those of connections that pushes went to lately. */
static struct {
	uint8_t key[OBESPOIR_KEY];
	uint32_t number; /* never given twice */
	uint8_t key_len;
} known[KNOWN_MAX];
static uint32_t last_number;

/* Not 0. */
static uint32_t number_of_key(const struct client *c)
{
	for (uint32_t i = 0; i < KNOWN_MAX; i++) {
		if (known[i].number != 0 && known[i].key_len == c->key_len &&
		    memcmp(known[i].key, c->in, c->key_len) == 0) {
			return known[i].number;
		}
	}

	uint32_t place = last_number++ % KNOWN_MAX;

	memcpy(known[place].key, c->in, sizeof(known[place].key));
	known[place].key_len = c->key_len;
	known[place].number = last_number;
	return last_number;
}

/* A push is written once for all that get it unencrypted, and for all with the same token. */
static uint32_t variant(ob_ctx *ctx, const void *state)
{
	const struct client *c = state;

	(void)ctx;
	switch (c->encode) {
	case BLOCKS:
		return number_of_key(c);
	case SEALED:
		return c->greeted ? OB_CODEC_OWN : OB_CODEC_NO_PUSH;
	default:
		return 0;
	}
}

/* ---- connections ---- */

static int open_state(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	struct client *c = state;
	size_t token = info->token != NULL ? strlen(info->token) : 0;

	(void)ctx;
	c->encode = (uint8_t)info->encode;
	if (c->encode == BLOCKS) {
		if (!obespoir_key_size_ok(token)) {
			return OB_E_INVAL; /* conf_check has let nobody so far */
		}
		c->key_len = (uint8_t)token;
		memcpy(c->in, info->token, token);
	}
	return c->encode == SEALED ? obespoir_token_key(info->token, c->in) : 0;
}

/* Before there was encryption nothing was kept. */
static int migrate(ob_ctx *ctx, uint32_t from, const void *old_state, void *state)
{
	(void)ctx;
	if (from == STATE_OWN) {
		memcpy(state, old_state, sizeof(struct client));
		return 0;
	}
	return from == STATE_BEFORE ? 0 : OB_E_STATE;
}

/* Once for each kind of weakness. */
static void warn(ob_ctx *ctx, const ob_codec_open *info)
{
	if (info->encode == BLOCKS && !warned.blocks) {
		warned.blocks = true;
		ob_log(ctx, OB_LOG_WARNING,
		       "encode 1 is for old clients only: it hides little and lets packets be "
		       "changed and repeated; encode 2 or TLS do not");
	} else if (info->encode == SEALED && info->token == NULL && !warned.no_token) {
		warned.no_token = true;
		ob_log(ctx, OB_LOG_WARNING,
		       "encode 2 without a token: who is between client and node is not noticed");
	}
}

static int conf_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	size_t token = info->token != NULL ? strlen(info->token) : 0;

	if (info->conf != NULL) {
		return ob_err_set(err, "it has no codec_conf");
	}
	if (info->encode == BLOCKS && !obespoir_key_size_ok(token)) {
		return ob_err_set(err,
		                  "encode 1 needs a token of 32 bytes (or 24, or 16): its key");
	}
	if (info->encode == SEALED && info->token != NULL && token < OBESPOIR_TOKEN_MIN) {
		return ob_err_set(err, "encode 2: a token has at least %u bytes",
		                  OBESPOIR_TOKEN_MIN);
	}
	warn(ctx, info);
	return 0;
}

/* ---- the module ---- */

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct client),
	.state_ver = STATE_VER,
	.flags = OB_CODEC_STREAM | OB_CODEC_BLANK, /* with encode 0 nothing is kept */
	.overhead = OVERHEAD,
	.name = "obespoir",
	.decode = decode,
	.encode = encode,
	.migrate = migrate,
	.open = open_state,
	.conf_check = conf_check,
	.variant = variant,
};

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	warned.blocks = warned.no_token = false;
	if (obespoir_crypt_make(&ciphers) != 0) {
		ob_log(ctx, OB_LOG_ERROR, "OpenSSL has no AES, or no memory");
		return OB_E_APP;
	}

	int rc = ob_on_codec(ctx, &codec);

	if (rc != 0) {
		obespoir_crypt_free(&ciphers);
	}
	return rc;
}

/* What is written must be read back, however it is encrypted: a generation that can't is not
 * switched to. */
static int selftest(ob_ctx *ctx)
{
	static const uint8_t body[] = {'{', '}'};
	const struct client clients[] = {
		{.encode = PLAIN},
		{.encode = BLOCKS, .key_len = OBESPOIR_KEY},
		{.encode = SEALED, .greeted = 1},
	};

	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		struct client one = clients[i];
		uint8_t wire[OVERHEAD + sizeof(body)];
		ob_packet packet = {.size = sizeof(packet), .id = 1000, .data = body};
		ob_packet back = {.size = sizeof(back)};

		packet.len = sizeof(body);

		size_t len = encode(ctx, &one, &packet, wire, sizeof(wire));

		if (len == 0 || decode(ctx, &one, wire, len, true, sizeof(wire), &back) != len ||
		    back.kind != OB_PACKET_MESSAGE || back.id != packet.id ||
		    back.len != sizeof(body) || memcmp(back.data, body, sizeof(body)) != 0) {
			return OB_E_APP;
		}
	}
	return 0;
}

static void stop(ob_ctx *ctx)
{
	(void)ctx;
	obespoir_crypt_free(&ciphers);
	obespoir_wipe(known, sizeof(known));
}

OB_MODULE(codec_obespoir, .version = "1.1.0", .start = start, .selftest = selftest, .stop = stop);
