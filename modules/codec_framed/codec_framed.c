/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_framed: packets whose head is declared in the configuration.
 *
 * Most games' own protocols are a head of fixed size and a body: a length, a code, perhaps bytes
 * that are always the same and a number that comes back with the answer, in some order and byte
 * order.  So a listener says which, and needs no code:
 *
 *     "codec_conf": {"endian": "big",
 *                    "head": [{"const": "4e25"}, {"length": 4, "of": "body"}, {"code": 2}]}
 *
 * The declaration is compiled when a connection begins, into the connection's own state: what a
 * client began with stays with it, whatever later clients get.
 */

#include <string.h>

#include <obhost/obhost.h>

#define HEAD_MAX    32
#define PLUS_MAX    4096
#define ID_MAX      0x7fffffffu
#define STATE_VER   1
#define CLOSE_WRONG 1002
#define CLOSE_BIG   1009

/* A number in the head; size 0: there is none. */
struct field {
	uint8_t at;
	uint8_t size;
	uint8_t little;
};

/* The state of a connection. */
struct format {
	uint8_t head[HEAD_MAX]; /* what goes out, numbers zero */
	uint32_t fixed;         /* a bit for each byte of it that has to come in like that */
	int32_t add;            /* the length on the wire is that of the body and this */
	uint8_t head_len;
	struct field length;
	struct field code;
	struct field seq;
};

/* ---- the declaration ---- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	if (c >= 'a' && c <= 'f') {
		return c - 'a' + 10;
	}
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Bytes that are always the same: hexadecimal digits, two a byte, blanks between bytes. */
static int read_const(struct format *f, const char *text, size_t i, ob_err *err)
{
	const char *at = text;

	while (at != NULL && *at != '\0') {
		if (*at == ' ') {
			at++;
			continue;
		}
		int high = hex_digit(at[0]);
		int low = high >= 0 ? hex_digit(at[1]) : -1;
		if (low < 0) {
			return ob_err_set(err, "head[%zu].const: two hexadecimal digits a byte", i);
		}
		if (f->head_len == HEAD_MAX) {
			return ob_err_set(err, "head: longer than %d bytes", HEAD_MAX);
		}
		f->fixed |= 1u << f->head_len;
		f->head[f->head_len++] = (uint8_t)(high << 4 | low);
		at += 2;
	}
	return text != NULL && *text != '\0'
	               ? 0
	               : ob_err_set(err, "head[%zu].const: a text of hexadecimal digits", i);
}

/* A number, or bytes to skip (`field` NULL), of so many bytes. */
static int read_number(struct format *f, struct field *field, const json_t *size, bool little,
                       const char *what, size_t i, ob_err *err)
{
	json_int_t bytes = json_integer_value(size);
	json_int_t most = field == NULL ? HEAD_MAX : 4;

	if (!json_is_integer(size) || bytes < 1 || bytes > most) {
		return ob_err_set(err, "head[%zu].%s: a number of bytes, 1 to %d", i, what,
		                  (int)most);
	}
	if (f->head_len + bytes > HEAD_MAX) {
		return ob_err_set(err, "head: longer than %d bytes", HEAD_MAX);
	}
	if (field != NULL && field->size != 0) {
		return ob_err_set(err, "head[%zu].%s: there is one already", i, what);
	}
	if (field != NULL) {
		*field = (struct field){f->head_len, (uint8_t)bytes, little};
	}
	f->head_len = (uint8_t)(f->head_len + bytes);
	return 0;
}

/* What "of" says the length counts besides the body, as soon as the head is known. */
static int read_of(struct format *f, const json_t *item, ob_err *err)
{
	const json_t *value = json_object_get(item, "of");
	const char *of = value == NULL ? "body" : json_string_value(value);
	const json_t *plus = json_object_get(item, "plus");
	json_int_t more = json_integer_value(plus);

	if (of != NULL && strcmp(of, "all") == 0) {
		f->add = f->head_len;
	} else if (of != NULL && strcmp(of, "rest") == 0) {
		f->add = f->head_len - f->length.at - f->length.size;
	} else if (of == NULL || strcmp(of, "body") != 0) {
		return ob_err_set(err, "head: a length is of \"all\", \"rest\" or \"body\"");
	}
	if (plus != NULL && (!json_is_integer(plus) || more < -PLUS_MAX || more > PLUS_MAX)) {
		return ob_err_set(err, "head: plus is a number from -%d to %d", PLUS_MAX, PLUS_MAX);
	}
	f->add += (int32_t)more;
	return 0;
}

static bool endian(const json_t *value, bool *little)
{
	const char *word = json_string_value(value);

	if (value == NULL) {
		return true;
	}
	*little = word != NULL && strcmp(word, "little") == 0;
	return *little || (word != NULL && strcmp(word, "big") == 0);
}

static int read_item(struct format *f, const json_t *item, bool little, size_t i, ob_err *err)
{
	const json_t *value;

	if (!json_is_object(item) || !endian(json_object_get(item, "endian"), &little)) {
		return ob_err_set(err, "head[%zu]: an object; its endian is \"big\" or \"little\"",
		                  i);
	}
	if ((value = json_object_get(item, "const")) != NULL) {
		return read_const(f, json_string_value(value), i, err);
	}
	if ((value = json_object_get(item, "length")) != NULL) {
		return read_number(f, &f->length, value, little, "length", i, err);
	}
	if ((value = json_object_get(item, "code")) != NULL) {
		return read_number(f, &f->code, value, little, "code", i, err);
	}
	if ((value = json_object_get(item, "seq")) != NULL) {
		return read_number(f, &f->seq, value, little, "seq", i, err);
	}
	if ((value = json_object_get(item, "skip")) != NULL) {
		return read_number(f, NULL, value, little, "skip", i, err);
	}
	return ob_err_set(err, "head[%zu]: one of const, length, code, seq, skip", i);
}

static int compile(const json_t *conf, struct format *f, ob_err *err)
{
	const json_t *head = json_object_get(conf, "head");
	const json_t *length = NULL;
	bool little = false;
	const json_t *item;
	size_t i;

	memset(f, 0, sizeof(*f));
	if (!json_is_array(head)) {
		return ob_err_set(err, "codec framed needs codec_conf with a list `head`");
	}
	if (!endian(json_object_get(conf, "endian"), &little)) {
		return ob_err_set(err, "endian: \"big\" or \"little\"");
	}
	json_array_foreach (head, i, item) {
		int rc = read_item(f, item, little, i, err);
		if (rc != 0) {
			return rc;
		}
		length = json_object_get(item, "length") != NULL ? item : length;
	}
	if (f->length.size == 0 || f->code.size == 0) {
		return ob_err_set(err, "head: a length and a code are needed");
	}
	return read_of(f, length, err);
}

/* ---- packets ---- */

static uint32_t get(const uint8_t *head, struct field field)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < field.size; i++) {
		unsigned at = field.little != 0 ? field.size - 1u - i : i;
		value = value << 8 | head[field.at + at];
	}
	return value;
}

/* False: the field is too small for it. */
static bool put(uint8_t *head, struct field field, uint64_t value)
{
	for (unsigned i = 0; i < field.size; i++) {
		unsigned at = field.little != 0 ? i : field.size - 1u - i;
		head[field.at + at] = (uint8_t)value;
		value >>= 8;
	}
	return value == 0;
}

static size_t need(ob_packet *out, size_t bytes)
{
	out->kind = OB_PACKET_NEED;
	out->need = bytes;
	return 0;
}

static size_t close_with(ob_packet *out, uint16_t code, const char *reason, const char *word)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	out->kind_word = word;
	return 0;
}

static bool is_ours(const struct format *f, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len && i < f->head_len; i++) {
		if ((f->fixed & 1u << i) != 0 && data[i] != f->head[i]) {
			return false;
		}
	}
	return true;
}

/* Each byte of the head is judged as soon as it is there: a wrong one never makes us wait. */
static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	const struct format *f = state;

	(void)ctx;
	(void)boundary;
	if (!is_ours(f, data, len)) {
		return close_with(out, CLOSE_WRONG, "wrong bytes in the head", "bad_magic");
	}
	if (len < (size_t)f->length.at + f->length.size) {
		return need(out, f->head_len);
	}

	int64_t body = (int64_t)get(data, f->length) - f->add;

	if (body < 0) {
		return close_with(out, CLOSE_WRONG, "packet length too small", "bad_length");
	}
	if ((uint64_t)body + f->head_len > max) {
		return close_with(out, CLOSE_BIG, "packet too long", NULL);
	}
	if (len < (size_t)body + f->head_len) {
		return need(out, (size_t)body + f->head_len);
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = get(data, f->code);
	out->cookie = get(data, f->seq);
	out->one_way = f->seq.size != 0 && out->cookie == 0;
	out->data = data + f->head_len;
	out->len = (size_t)body;
	return (size_t)body + f->head_len;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct format *f = state;
	int64_t length = (int64_t)packet->len + f->add;

	(void)ctx;
	if (length < 0 || cap < f->head_len || packet->len > cap - f->head_len) {
		return 0;
	}
	memcpy(out, f->head, f->head_len);
	if (!put(out, f->length, (uint64_t)length) || !put(out, f->code, packet->id)) {
		return 0;
	}
	if (packet->kind == OB_PACKET_REPLY) {
		(void)put(out, f->seq, packet->cookie);
	}
	if (packet->len > 0) {
		memcpy(out + f->head_len, packet->data, packet->len);
	}
	return packet->len + f->head_len;
}

/* ---- formats that are alike ---- */

#define KNOWN_MAX 16u /* a listener has one, and few nodes have more listeners */

/* Those of connections that pushes went to lately. */
static struct {
	struct format format;
	uint32_t number; /* never given twice */
} known[KNOWN_MAX];
static uint32_t last_number;

/* A push is written once for all connections with the same format. */
static uint32_t variant(ob_ctx *ctx, const void *state)
{
	(void)ctx;
	for (uint32_t i = 0; i < KNOWN_MAX; i++) {
		if (known[i].number != 0 &&
		    memcmp(&known[i].format, state, sizeof(known[i].format)) == 0) {
			return known[i].number;
		}
	}
	uint32_t place = last_number++ % KNOWN_MAX;
	known[place].format = *(const struct format *)state;
	known[place].number = last_number;
	return last_number;
}

/* ---- the module ---- */

static int conf_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	struct format format;

	(void)ctx;
	if (info->encode != 0) {
		return ob_err_set(err, "codec framed has no encode of its own: use tls or wss");
	}
	return compile(info->conf, &format, err);
}

static int open_state(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	ob_err err = {{0}};

	(void)ctx;
	return compile(info->conf, state, &err);
}

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct format),
	.state_ver = STATE_VER,
	.flags = OB_CODEC_STREAM,
	.overhead = HEAD_MAX,
	.name = "framed",
	.decode = decode,
	.encode = encode,
	.open = open_state,
	.conf_check = conf_check,
	.variant = variant,
};

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_codec(ctx, &codec);
}

/* What is written must be read back, in both byte orders: a generation that can't is not switched
 * to. */
static int selftest(ob_ctx *ctx)
{
	static const char *const words[] = {"big", "little"};
	static const uint8_t body[] = {1, 2, 3};

	(void)ctx;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		ob_err err;
		uint8_t wire[HEAD_MAX + sizeof(body)];
		struct format format;
		json_t *conf =
			json_pack("{s:s, s:[{s:s}, {s:i, s:s}, {s:i}]}", "endian", words[i], "head",
		                  "const", "4e25", "length", 4, "of", "all", "code", 2);
		int rc = compile(conf, &format, &err);
		json_decref(conf);

		ob_packet packet = {.size = sizeof(packet), .id = 1000};
		packet.data = body;
		packet.len = sizeof(body);
		size_t len = rc == 0 ? encode(NULL, &format, &packet, wire, sizeof(wire)) : 0;
		ob_packet back = {.size = sizeof(back)};
		if (len != 8 + sizeof(body) ||
		    decode(NULL, &format, wire, len, true, sizeof(wire), &back) != len ||
		    back.id != packet.id || back.len != sizeof(body) ||
		    memcmp(back.data, body, sizeof(body)) != 0) {
			return OB_E_APP;
		}
	}
	return 0;
}

OB_MODULE(codec_framed, .version = "1.0.0", .start = start, .selftest = selftest);
