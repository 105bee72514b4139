/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module codec_json: messages as text, for people with wscat and for quick starts.
 *
 *     {"id":1000,"seq":1,"data":{...}}              a request; or "name":"chat.send"
 *     {"id":1000,"seq":1,"code":200,"data":{...}}   its answer
 *     {"id":2001,"data":{...}}                      a push
 *     {"close":4003,"reason":"..."}                 the last word
 *     {"ping":1}  {"pong":1}
 *     {"hello":{}}  {"resume":{"token":"...","seen":17}}    a client that may come back begins
 *     {"hello":{"session":"...","token":"...","recovered":false,"reason":"...","heard":0}}
 *     {"seen":20}                                           so many messages it has had
 *
 * A message is an object: one in each text message of WebSocket, one in each line elsewhere.  What
 * `data` holds is passed on, in both directions, as the bytes that it is: it is looked at, so that
 * nothing but JSON goes through, and never parsed into memory or printed again.
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#include "scan.h"

#define OVERHEAD 768 /* names can be twice as long when they are escaped */
#define ID_MAX   0x7fffffffu
#define SEQ_MAX  INT64_C(9007199254740991) /* what any client's numbers can hold */

#define CLOSE_PROTOCOL 1002
#define CLOSE_TEXT     1007
#define CLOSE_POLICY   1008
#define CLOSE_TOO_BIG  1009

/* Of each connection. */
struct state {
	uint32_t seen; /* bytes of a line that is not complete yet, and has no end so far */
	uint8_t lines;
};

static size_t refuse(ob_packet *out, uint16_t code, const char *reason, const char *word)
{
	out->kind = OB_PACKET_CLOSE;
	out->code = code;
	out->reason = reason;
	out->kind_word = word;
	return 0;
}

static size_t refuse_text(ob_packet *out, enum json_scan why)
{
	switch (why) {
	case JSON_SCAN_UTF8:
		return refuse(out, CLOSE_TEXT, "not UTF-8", "bad_text");
	case JSON_SCAN_DEEP:
		return refuse(out, CLOSE_POLICY, "nested too deep", "too_deep");
	case JSON_SCAN_OK:
	case JSON_SCAN_BAD:
		break;
	}
	return refuse(out, CLOSE_TEXT, "not JSON", "bad_json");
}

/* ---- what a client says ---- */

enum member {
	ID,
	NAME,
	SEQ,
	DATA,
	PING,
	ONE_WAY,
	HELLO,
	RESUME,
	SEEN,
	MEMBERS,
};

/* Of a resume. */
enum resume_member {
	TOKEN,
	RESUME_SEEN,
	RESUME_MEMBERS,
};

struct span {
	const uint8_t *at; /* NULL: it is not there */
	size_t len;
};

/* What may be in an object. */
struct words {
	const char *const *word;
	int count;
	int depth; /* of values in it */
};

static const char *const message_words[MEMBERS] = {
	"id", "name", "seq", "data", "ping", "one_way", "hello", "resume", "seen",
};
static const struct words of_message = {message_words, MEMBERS, 1};

static const char *const resume_words[RESUME_MEMBERS] = {"token", "seen"};
static const struct words of_resume = {resume_words, RESUME_MEMBERS, 2};

/* The member with that key, quotes included; words->count if it is none of ours. */
static int member_of(const struct words *words, const uint8_t *key, size_t len)
{
	int i = 0;

	while (i < words->count && (strlen(words->word[i]) != len - 2 ||
	                            memcmp(words->word[i], key + 1, len - 2) != 0)) {
		i++;
	}
	return i;
}

/* One member at t->at.  JSON_SCAN_OK with *twice when it has been there before. */
static enum json_scan read_member(struct json_text *t, const struct words *words,
                                  struct span *found, bool *twice)
{
	const uint8_t *key = t->at;
	enum json_scan rc = json_scan_string(t);
	size_t len = (size_t)(t->at - key);

	if (rc != JSON_SCAN_OK || json_scan_peek(t) != ':') {
		return rc != JSON_SCAN_OK ? rc : JSON_SCAN_BAD;
	}
	t->at++;
	(void)json_scan_peek(t);
	const uint8_t *value = t->at;
	rc = json_scan_value(t, words->depth);
	int which = member_of(words, key, len);
	if (rc == JSON_SCAN_OK && which < words->count) {
		*twice = *twice || found[which].at;
		found[which] = (struct span){value, (size_t)(t->at - value)};
	}
	return rc;
}

/* The members of the object that is all of the text. */
static enum json_scan read_object(struct json_text *t, const struct words *words,
                                  struct span *found, bool *twice)
{
	enum json_scan rc = JSON_SCAN_OK;

	if (json_scan_peek(t) != '{') {
		return JSON_SCAN_BAD;
	}
	t->at++;
	if (json_scan_peek(t) == '}') {
		t->at++;
		return json_scan_peek(t) < 0 ? JSON_SCAN_OK : JSON_SCAN_BAD;
	}
	for (int c = ','; rc == JSON_SCAN_OK && c == ',';) {
		(void)json_scan_peek(t);
		rc = read_member(t, words, found, twice);
		c = json_scan_peek(t);
		t->at += rc == JSON_SCAN_OK && c == ',';
		if (rc == JSON_SCAN_OK && c != ',' && c != '}') {
			return JSON_SCAN_BAD;
		}
	}
	if (rc != JSON_SCAN_OK) {
		return rc;
	}
	t->at++;
	return json_scan_peek(t) < 0 ? JSON_SCAN_OK : JSON_SCAN_BAD;
}

/* An integer from 0 to max, in digits alone; -1: anything else. */
static int64_t integer(const struct span *s, int64_t max)
{
	int64_t value = 0;

	for (size_t i = 0; i < s->len; i++) {
		if (s->at[i] < '0' || s->at[i] > '9') {
			return -1;
		}
		value = value * 10 + (s->at[i] - '0');
		if (value > max) {
			return -1;
		}
	}
	return s->len > 0 ? value : -1;
}

static bool is_word(const struct span *s, const char *word)
{
	return s->at && strlen(word) == s->len && memcmp(s->at, word, s->len) == 0;
}

static bool read_name(const struct span *s, ob_packet *out)
{
	if (s->len < 2 || s->at[0] != '"') {
		return false;
	}
	uint8_t *text = (uint8_t *)(uintptr_t)s->at + 1; /* the input is ours to change */
	out->name = (const char *)text;
	out->name_len = json_unescape(text, s->len - 2);
	for (size_t i = 0; i < out->name_len; i++) {
		if (text[i] < 0x20 || text[i] == 0x7f) {
			return false;
		}
	}
	return out->name_len > 0 && out->name_len <= OB_NAME_MAX;
}

/* A ping has a number of up to 16 digits, which comes back. */
static size_t answer_ping(const struct state *s, const struct span *found, size_t used,
                          ob_packet *out)
{
	static char text[64]; /* the host copies it at once */
	int64_t number = integer(&found[PING], SEQ_MAX);

	if (number < 0 || found[ID].at || found[NAME].at || found[DATA].at) {
		return refuse(out, CLOSE_PROTOCOL, "a ping has a number, and nothing else",
		              "bad_message");
	}
	int len = snprintf(text, sizeof(text), "{\"pong\":%lld}%s", (long long)number,
	                   s->lines ? "\n" : "");
	out->kind = OB_PACKET_ANSWER;
	out->data = (const uint8_t *)text;
	out->len = (size_t)len;
	return used;
}

/* {} after "hello", or {"token","seen"} after "resume". */
static size_t read_hello(const struct span *found, size_t used, ob_packet *out)
{
	static const char wrong[] = "a resume has a token, and how many messages were seen";
	const struct span *what = &found[found[RESUME].at ? RESUME : HELLO];
	struct span in[RESUME_MEMBERS] = {{NULL, 0}};
	struct json_text t = {what->at, what->at + what->len};
	bool twice = false;

	if (found[ID].at || found[NAME].at || found[DATA].at || found[SEEN].at ||
	    (found[RESUME].at && found[HELLO].at) ||
	    read_object(&t, &of_resume, in, &twice) != JSON_SCAN_OK || twice) {
		return refuse(out, CLOSE_PROTOCOL, "a hello is an object, and alone",
		              "bad_message");
	}
	out->kind = OB_PACKET_HELLO;
	if (found[HELLO].at) {
		return used;
	}
	int64_t seen = integer(&in[RESUME_SEEN], SEQ_MAX);
	if (seen < 0 || in[TOKEN].len < 3 || in[TOKEN].at[0] != '"') {
		return refuse(out, CLOSE_PROTOCOL, wrong, "bad_message");
	}
	out->data = in[TOKEN].at + 1;
	out->len = in[TOKEN].len - 2;
	out->cookie = (uint64_t)seen;
	return used;
}

static size_t read_seen(const struct span *found, size_t used, ob_packet *out)
{
	int64_t seen = integer(&found[SEEN], SEQ_MAX);

	if (seen < 0 || found[ID].at || found[NAME].at || found[DATA].at) {
		return refuse(out, CLOSE_PROTOCOL, "seen has a number, and nothing else",
		              "bad_message");
	}
	out->kind = OB_PACKET_SEEN;
	out->cookie = (uint64_t)seen;
	return used;
}

static size_t read_message(const struct span *found, size_t used, ob_packet *out)
{
	int64_t seq = found[SEQ].at ? integer(&found[SEQ], SEQ_MAX) : -1;

	if (!found[ID].at == !found[NAME].at) {
		return refuse(out, CLOSE_PROTOCOL, "a message has an id or a name", "bad_message");
	}
	if (found[ID].at) {
		int64_t id = integer(&found[ID], ID_MAX);
		if (id < 1) {
			return refuse(out, CLOSE_PROTOCOL, "id must be 1 to 2147483647", "bad_id");
		}
		out->id = (uint32_t)id;
	} else if (!read_name(&found[NAME], out)) {
		return refuse(out, CLOSE_PROTOCOL, "name must be 1 to 255 bytes of text",
		              "bad_name");
	}
	if (found[SEQ].at && seq < 0) {
		return refuse(out, CLOSE_PROTOCOL, "seq must be 0 to 9007199254740991", "bad_seq");
	}
	out->one_way = is_word(&found[ONE_WAY], "true");
	if (found[ONE_WAY].at && !out->one_way && !is_word(&found[ONE_WAY], "false")) {
		return refuse(out, CLOSE_PROTOCOL, "one_way must be true or false", "bad_message");
	}
	out->kind = OB_PACKET_MESSAGE;
	out->cookie = (uint64_t)(seq + 1); /* 0: it had none */
	out->data = found[DATA].at;
	out->len = found[DATA].len;
	return used;
}

/* One message, all of data[0..len); `used` of the input. */
static size_t decode_text(const struct state *s, const uint8_t *data, size_t len, size_t used,
                          ob_packet *out)
{
	struct span found[MEMBERS] = {{NULL, 0}};
	struct json_text t = {data, data + len};
	bool twice = false;

	if (json_scan_peek(&t) < 0) {
		out->kind = OB_PACKET_SKIP; /* nothing but blanks */
		return used;
	}
	enum json_scan rc = read_object(&t, &of_message, found, &twice);
	if (rc != JSON_SCAN_OK) {
		return refuse_text(out, rc);
	}
	if (twice) {
		return refuse(out, CLOSE_PROTOCOL, "a member is there twice", "bad_message");
	}
	if (found[PING].at) {
		return answer_ping(s, found, used, out);
	}
	if (found[HELLO].at || found[RESUME].at) {
		return read_hello(found, used, out);
	}
	return found[SEEN].at ? read_seen(found, used, out) : read_message(found, used, out);
}

static size_t decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary, size_t max,
                     ob_packet *out)
{
	struct state *s = (struct state *)state;
	size_t seen = s->seen < len ? s->seen : 0;
	const uint8_t *nl =
		s->lines ? (const uint8_t *)memchr(data + seen, '\n', len - seen) : NULL;
	size_t text = nl ? (size_t)(nl - data) : len;

	(void)ctx;
	if (text > max) {
		return refuse(out, CLOSE_TOO_BIG, "message too long", "too_big");
	}
	if (s->lines ? !nl : !boundary) {
		s->seen = (uint32_t)len;
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	s->seen = 0;
	return decode_text(s, data, text, text + (nl != NULL), out);
}

/* ---- what it is told ---- */

struct writer {
	uint8_t *out;
	size_t cap;
	size_t at;
	bool full;
};

static void put(struct writer *w, const void *bytes, size_t len)
{
	if (len > w->cap - w->at) {
		w->full = true;
		return;
	}
	if (len > 0) {
		memcpy(w->out + w->at, bytes, len);
		w->at += len;
	}
}

static void put_text(struct writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static void put_number(struct writer *w, const char *before, uint64_t number)
{
	char digits[24];

	put_text(w, before);
	put(w, digits,
	    (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number));
}

/* A string with its quotes, as much as there is room for; what is no text becomes '?'. */
static void put_string(struct writer *w, const char *text, size_t len)
{
	put_text(w, "\"");
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];
		if (c < 0x20) {
			c = '?';
		}
		if (c == '"' || c == '\\') {
			put_text(w, "\\");
		}
		put(w, &c, 1);
	}
	put_text(w, "\"");
}

/* It is one value; blanks around it are fine, and there may be none at all. */
static bool is_json(const uint8_t *data, size_t len)
{
	struct json_text t = {data, data + len};

	return len == 0 || (json_scan_value(&t, 1) == JSON_SCAN_OK && json_scan_peek(&t) < 0);
}

/* A line stays one line: between values a line's end is a blank, and within there is none. */
static void put_data(struct writer *w, const uint8_t *data, size_t len)
{
	size_t from = w->at;

	put(w, data, len);
	for (; from < w->at; from++) {
		if (w->out[from] == '\n' || w->out[from] == '\r') {
			w->out[from] = ' ';
		}
	}
}

static size_t encode_welcome(const struct state *s, const ob_packet *packet, uint8_t *out,
                             size_t cap)
{
	struct writer w = {out, cap, 0, false};

	put_text(&w, "{\"hello\":{\"session\":");
	put_string(&w, packet->name, packet->name_len);
	if (packet->len > 0) {
		put_text(&w, ",\"token\":");
		put_string(&w, (const char *)packet->data, packet->len);
	}
	put_text(&w, packet->status == OB_OK ? ",\"recovered\":true" : ",\"recovered\":false");
	if (packet->status != OB_OK) {
		put_text(&w, ",\"reason\":");
		put_string(&w, packet->reason, strlen(packet->reason));
	}
	put_number(&w, ",\"heard\":", packet->cookie);
	put_text(&w, s->lines ? "}}\n" : "}}");
	return w.full ? 0 : w.at;
}

static size_t encode(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out, size_t cap)
{
	const struct state *s = (const struct state *)state;
	if (packet->kind == OB_PACKET_WELCOME) {
		return encode_welcome(s, packet, out, cap);
	}
	bool reply = packet->kind == OB_PACKET_REPLY;
	bool json = is_json(packet->data, packet->len);
	struct writer w = {out, cap, 0, false};

	if (!json && !reply) {
		return 0; /* a push that can't be said; its sender hears of that */
	}
	put_number(&w, "{\"id\":", packet->id);
	if (packet->name) {
		put_text(&w, ",\"name\":");
		put_string(&w, packet->name, packet->name_len);
	}
	if (reply && packet->cookie) {
		put_number(&w, ",\"seq\":", packet->cookie - 1);
	}
	if (reply) {
		put_number(&w, ",\"code\":",
		           (uint64_t)ob_status(ctx, json ? packet->status : OB_E_APP));
	}
	put_text(&w, ",\"data\":");
	if (!json) {
		put_text(&w, "{\"code\":500,\"error\":\"the answer is not JSON\"}");
	} else if (packet->len == 0) {
		put_text(&w, "null");
	} else {
		put_data(&w, packet->data, packet->len);
	}
	put_text(&w, s->lines ? "}\n" : "}");
	return w.full ? 0 : w.at;
}

/* ---- the connection ---- */

static int open_connection(ob_ctx *ctx, void *state, const ob_codec_open *info)
{
	struct state *s = (struct state *)state;

	(void)ctx;
	s->lines = strcmp(info->transport, "ws") != 0 && strcmp(info->transport, "wss") != 0;
	return 0;
}

static size_t close_connection(ob_ctx *ctx, void *state, uint16_t code, const char *reason,
                               uint8_t *out, size_t cap)
{
	const struct state *s = (const struct state *)state;
	struct writer w = {out, cap, 0, false};
	size_t len = strnlen(reason, 123);
	uint8_t quoted[125] = "\"";

	(void)ctx;
	memcpy(quoted + 1, reason, len);
	quoted[len + 1] = '"';
	for (size_t i = 1; i <= len; i++) { /* what put_string() takes care of */
		if (quoted[i] < 0x20 || quoted[i] == '"' || quoted[i] == '\\') {
			quoted[i] = '?';
		}
	}
	bool text = is_json(quoted, len + 2);
	put_number(&w, "{\"close\":", code);
	put_text(&w, ",\"reason\":");
	put_string(&w, text ? reason : "", text ? len : 0);
	put_text(&w, s->lines ? "}\n" : "}");
	return w.full ? 0 : w.at;
}

static int conf_check(ob_ctx *ctx, const ob_codec_open *info, ob_err *err)
{
	(void)ctx;
	if (info->encode != 0) {
		return ob_err_set(err, "json does not encrypt: encode must be 0");
	}
	if (json_object_size(info->conf) > 0) {
		return ob_err_set(err, "json takes no codec_conf");
	}
	return 0;
}

static const ob_codec codec = {
	.size = sizeof(codec),
	.state_size = sizeof(struct state),
	.state_ver = 1,
	.flags = OB_CODEC_TEXT | OB_CODEC_SHARED | OB_CODEC_RESUMES,
	.overhead = OVERHEAD,
	.name = "json",
	.decode = decode,
	.encode = encode,
	.open = open_connection,
	.close = close_connection,
	.conf_check = conf_check,
};

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	return ob_on_codec(ctx, &codec);
}

/* What is asked is understood, and what is said can be read. */
static int selftest(ob_ctx *ctx)
{
	static const char answer[] = "{\"id\":7,\"seq\":3,\"code\":200,\"data\":[1]}";
	uint8_t wire[sizeof(answer) + OVERHEAD] = "{\"id\":7,\"seq\":3,\"data\":[1]}";
	size_t len = strlen((const char *)wire);
	struct state state = {0, 0};
	ob_packet p = {.size = sizeof(p)};
	uint8_t data[3];

	if (decode(ctx, &state, wire, len, true, len, &p) != len || p.kind != OB_PACKET_MESSAGE ||
	    p.id != 7 || p.len != sizeof(data)) {
		return OB_E_APP;
	}
	memcpy(data, p.data, sizeof(data));
	p.kind = OB_PACKET_REPLY;
	p.data = data;
	len = encode(ctx, &state, &p, wire, sizeof(wire));
	return len == sizeof(answer) - 1 && memcmp(wire, answer, len) == 0 ? 0 : OB_E_APP;
}

OB_MODULE(codec_json, .version = "1.0.0", .provides = "codec_json/1.0", .start = start,
          .selftest = selftest);
