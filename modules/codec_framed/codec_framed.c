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
 * With `resume` in it, three codes are kept for clients that come back after their connection
 * broke:
 *
 *     hello     nothing, or u64 seen | token         to begin, with the code `hello`
 *     seen      u64 seen                             how many messages it has had
 *     welcome   u8 recovered | u64 heard | u8 len | token | u8 len | session | u8 len | reason
 *
 * The declaration is compiled when a connection begins, into the connection's own state: what a
 * client began with stays with it, whatever later clients get.
 */

#include <stddef.h>
#include <string.h>

#include <obhost/obhost.h>

#define HEAD_MAX    32
#define PLUS_MAX    4096
#define ID_MAX      0x7fffffffu
#define STATE_VER   2
#define CLOSE_WRONG 1002
#define CLOSE_BIG   1009
#define WELCOME_MAX (1 + 8 + 3 * (1 + 255)) /* bytes of its body */

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

	/* since version 2 */
	uint32_t hello; /* codes that are no messages' */
	uint32_t seen;
	uint32_t welcome;
	uint8_t resumes;
	uint8_t little; /* the numbers in their bodies are */
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

/* A code that the head has room for. */
static int read_resume_code(const struct format *f, const json_t *resume, const char *key,
                            uint32_t *code, ob_err *err)
{
	const json_t *value = json_object_get(resume, key);
	json_int_t number = json_integer_value(value);
	json_int_t most = f->code.size < 4 ? (INT64_C(1) << 8 * f->code.size) - 1 : ID_MAX;

	if (!json_is_integer(value) || number < 1 || number > most) {
		return ob_err_set(err, "resume.%s: a code, 1 to %lld", key, (long long)most);
	}
	*code = (uint32_t)number;
	return 0;
}

static int read_resume(struct format *f, const json_t *resume, bool little, ob_err *err)
{
	if (resume == NULL) {
		return 0;
	}
	int rc = read_resume_code(f, resume, "hello", &f->hello, err);
	rc = rc == 0 ? read_resume_code(f, resume, "seen", &f->seen, err) : rc;
	rc = rc == 0 ? read_resume_code(f, resume, "welcome", &f->welcome, err) : rc;
	if (rc == 0 && f->hello == f->seen) {
		rc = ob_err_set(err, "resume: hello and seen are different codes");
	}
	f->resumes = 1;
	f->little = little;
	return rc;
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
	int rc = read_of(f, length, err);
	return rc == 0 ? read_resume(f, json_object_get(conf, "resume"), little, err) : rc;
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

/* ---- clients that come back ---- */

static uint64_t get_number(const struct format *f, const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 8; i++) {
		value = value << 8 | at[f->little != 0 ? 7 - i : i];
	}
	return value;
}

static bool is_resume(const struct format *f, uint32_t code)
{
	return f->resumes != 0 && (code == f->hello || code == f->seen);
}

/* False: the client is to be closed, *out says why. */
static bool read_hello(const struct format *f, bool hello, const uint8_t *body, size_t len,
                       ob_packet *out)
{
	if (hello ? len != 0 && len <= 8 : len != 8) {
		close_with(out, CLOSE_WRONG,
		           hello ? "a hello is empty, or a number and a token"
		                 : "seen is a number of 8 bytes",
		           "bad_hello");
		return false;
	}
	out->kind = hello ? OB_PACKET_HELLO : OB_PACKET_SEEN;
	out->cookie = len > 0 ? get_number(f, body) : 0;
	out->data = hello && len > 0 ? body + 8 : NULL;
	out->len = hello && len > 0 ? len - 8 : 0;
	return true;
}

static uint8_t *put_word(uint8_t *at, const void *text, size_t len)
{
	size_t n = len < 255 ? len : 255;

	*at++ = (uint8_t)n;
	if (n > 0) {
		memcpy(at, text, n);
	}
	return at + n;
}

/* Its body; how many bytes. */
static size_t make_welcome(const struct format *f, const ob_packet *p, uint8_t body[WELCOME_MAX])
{
	const char *reason = p->status != OB_OK && p->reason != NULL ? p->reason : "";
	uint8_t *at = body;

	*at++ = p->status == OB_OK;
	for (unsigned i = 0; i < 8; i++) {
		*at++ = (uint8_t)(p->cookie >> 8 * (f->little != 0 ? i : 7 - i));
	}
	at = put_word(at, p->data, p->len);
	at = put_word(at, p->name, p->name_len);
	at = put_word(at, reason, strlen(reason));
	return (size_t)(at - body);
}

/* ---- packets, both ways ---- */

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
	uint32_t code = get(data, f->code);
	if (is_resume(f, code)) {
		bool good = read_hello(f, code == f->hello, data + f->head_len, (size_t)body, out);
		return good ? (size_t)body + f->head_len : 0;
	}
	out->kind = OB_PACKET_MESSAGE;
	out->id = code;
	out->cookie = get(data, f->seq);
	out->one_way = f->seq.size != 0 && out->cookie == 0;
	out->data = data + f->head_len;
	out->len = (size_t)body;
	return (size_t)body + f->head_len;
}

static size_t encode_packet(const struct format *f, const ob_packet *packet, uint8_t *out,
                            size_t cap)
{
	int64_t length = (int64_t)packet->len + f->add;

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

static size_t encode_welcome(const struct format *f, const ob_packet *packet, uint8_t *out,
                             size_t cap)
{
	uint8_t body[WELCOME_MAX];
	const ob_packet p = {
		.kind = OB_PACKET_PUSH,
		.id = f->welcome,
		.data = body,
		.len = make_welcome(f, packet, body),
	};

	return p.len + f->head_len > cap ? p.len + f->head_len : encode_packet(f, &p, out, cap);
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct format *f = state;

	(void)ctx;
	if (packet->kind == OB_PACKET_WELCOME) {
		return encode_welcome(f, packet, out, cap);
	}
	return encode_packet(f, packet, out, cap);
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
	struct format *f = state;
	ob_err err = {{0}};
	int rc = compile(info->conf, f, &err);

	(void)ctx;
	if (rc == 0 && info->no_hello != NULL) {
		*info->no_hello = f->resumes == 0;
	}
	return rc;
}

/* What a client began with has no codes for that. */
static int migrate(ob_ctx *ctx, uint32_t from, const void *old_state, void *state)
{
	(void)ctx;
	if (from != 1) {
		return OB_E_INVAL;
	}
	memcpy(state, old_state, offsetof(struct format, hello));
	return 0;
}

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct format),
	.state_ver = STATE_VER,
	.flags = OB_CODEC_STREAM | OB_CODEC_RESUMES,
	.overhead = HEAD_MAX,
	.name = "framed",
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
