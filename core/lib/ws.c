/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/ws.h"

#include <endian.h>
#include <string.h>

#include "lib/apart.h"

#define FIN         0x80u
#define RSV         0x70u
#define RSV1        0x40u
#define OPCODE      0x0fu
#define CONTROL     0x08u
#define MASKED      0x80u
#define LENGTH      0x7fu
#define LENGTH_16   126u
#define LENGTH_64   127u
#define CONTROL_MAX 125u
#define MASK_SIZE   4u
#define HIGH_BITS   UINT64_C(0x8080808080808080)
#define UTF8_BAD    UINT32_MAX
#define NOT_UTF8    "text is not valid UTF-8"

enum {
	OP_CONTINUATION = 0,
	OP_TEXT = 1,
	OP_BINARY = 2,
	OP_CLOSE = 8,
	OP_PING = 9,
	OP_PONG = 10,
};

/* The frame at the front, as its first bytes tell. */
struct head {
	uint8_t op;
	bool fin;
	bool packed;
	size_t size; /* of the header, the mask included */
	uint64_t len;
};

/*
 * UTF-8.  Between two calls a number holds what the sequence that was begun still wants: how many
 * bytes (bits 0..7) and the range of the next one (8..15 and 16..23), which only the byte behind
 * some leads narrows: no overlong forms, no surrogates, nothing above U+10FFFF.  0: between
 * characters.
 */
static uint32_t utf8_want(uint32_t bytes, uint32_t lo, uint32_t hi)
{
	return bytes | lo << 8 | hi << 16;
}

static uint32_t utf8_lead(uint8_t b)
{
	if (b < 0xc2 || b > 0xf4) {
		return UTF8_BAD;
	}
	uint32_t bytes = b < 0xe0 ? 1 : b < 0xf0 ? 2 : 3;
	uint32_t lo = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
	uint32_t hi = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
	return utf8_want(bytes, lo, hi);
}

static uint32_t utf8_step(uint32_t state, uint8_t b)
{
	if (state == 0) {
		return b < 0x80 ? 0 : utf8_lead(b);
	}
	if (b < (state >> 8 & 0xff) || b > (state >> 16 & 0xff)) {
		return UTF8_BAD;
	}
	uint32_t bytes = (state & 0xff) - 1;
	return bytes == 0 ? 0 : utf8_want(bytes, 0x80, 0xbf);
}

/* The length of the sequence at `p`, which has four readable bytes and begins with one that is not
 * ASCII; 0 if it is not valid.  One test for the shape of lead and followers, then one of the bits
 * that tell an overlong form, a surrogate or too high a plane. */
static size_t utf8_sequence(const uint8_t *p)
{
	uint32_t w;
	memcpy(&w, p, sizeof(w));
	w = le32toh(w);
	if ((w & 0xc0c0f0) == 0x8080e0) {
		uint32_t top = w & 0x200f;
		return top != 0 && top != 0x200d ? 3 : 0;
	}
	if ((w & 0xc0e0) == 0x80c0) {
		return (w & 0x1e) != 0 ? 2 : 0;
	}
	if ((w & 0xc0c0c0f8) == 0x808080f0) {
		uint32_t top = w & 0x3007;
		return top != 0 && ((w & 4) == 0 || top == 4) ? 4 : 0;
	}
	return 0;
}

/* The number of ASCII bytes at the front of the eight at `p`. */
static size_t ascii_of_eight(const uint8_t *p)
{
	uint64_t word;
	memcpy(&word, p, sizeof(word));
	word = le64toh(word) & HIGH_BITS;
	return word == 0 ? 8 : (size_t)__builtin_ctzll(word) / 8;
}

static uint32_t utf8_run(uint32_t state, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;
	while (p < end && state != 0) {
		state = utf8_step(state, *p++);
		if (state == UTF8_BAD) {
			return UTF8_BAD;
		}
	}
	while (end - p >= 8) {
		size_t ascii = ascii_of_eight(p);
		p += ascii;
		while (end - p >= 4 && *p >= 0x80) {
			size_t n = utf8_sequence(p);
			if (n == 0) {
				return UTF8_BAD;
			}
			p += n;
		}
	}
	for (; p < end && state != UTF8_BAD; p++) {
		state = utf8_step(state, *p);
	}
	return state;
}

bool ob__utf8_ok(const uint8_t *data, size_t len)
{
	return utf8_run(0, data, len) == 0;
}

size_t ob__utf8_front(const uint8_t *data, size_t len)
{
	uint32_t state = 0;
	size_t good = 0;
	for (size_t i = 0; i < len && state != UTF8_BAD; i++) {
		state = utf8_step(state, data[i]);
		good = state == 0 ? i + 1 : good;
	}
	return good;
}

/* Less than sixteen bytes. */
static OB__APART uint64_t unmask_few(uint8_t *p, size_t len, uint64_t mask)
{
	uint64_t seen = 0;
	if (len >= sizeof(uint64_t)) {
		uint64_t w;
		memcpy(&w, p, sizeof(w));
		seen = w ^= mask;
		memcpy(p, &w, sizeof(w));
		p += sizeof(w);
		len -= sizeof(w);
	}
	uint8_t bytes[sizeof(mask)];
	memcpy(bytes, &mask, sizeof(bytes));
	for (size_t i = 0; i < len; i++) {
		p[i] ^= bytes[i];
		seen |= p[i];
	}
	return seen;
}

/* As the compiler has it for the machine. */
typedef uint64_t words __attribute__((vector_size(16)));

static inline words load(const uint8_t *p)
{
	words w;
	memcpy(&w, p, sizeof(w));
	return w;
}

static inline void store(uint8_t *p, words w)
{
	memcpy(p, &w, sizeof(w));
}

/* The mask as it stands to the bytes that many places on. */
static inline uint64_t mask_at(uint64_t mask, size_t place)
{
	unsigned bits = place % MASK_SIZE * 8;
	mask = le64toh(mask);
	return htole64(mask >> bits | mask << (-bits & 63));
}

/* Sixteen bytes at a time.  The last sixteen are read first and written last, so what is left over
 * needs no steps of its own.  Returns the OR of all plain bytes in no order: its high bits say
 * whether any byte is not ASCII, for free. */
static uint64_t unmask(uint8_t *p, size_t len, const uint8_t mask[MASK_SIZE])
{
	uint32_t mask32;
	memcpy(&mask32, mask, sizeof(mask32));
	uint64_t mask64 = (uint64_t)mask32 << 32 | mask32;
	if (len < sizeof(words)) {
		return unmask_few(p, len, mask64);
	}
	uint8_t *end = p + len - sizeof(words);
	uint64_t end64 = mask_at(mask64, len);
	words mask128 = {mask64, mask64};
	words last = load(end) ^ (words) { end64, end64 };
	words seen = last;
	for (; p < end; p += sizeof(words)) {
		words w = load(p) ^ mask128;
		seen |= w;
		store(p, w);
	}
	store(end, last);
	return seen[0] | seen[1];
}

void ob__ws_init(struct ob__ws *ws, uint32_t max_message)
{
	*ws = (struct ob__ws){.max_message = max_message};
}

static size_t more(struct ob__ws_item *item, size_t need)
{
	item->kind = OB__WS_MORE;
	item->need = need;
	return 0;
}

static size_t fail(struct ob__ws *ws, struct ob__ws_item *item, uint16_t code, const char *reason)
{
	ws->closed = true;
	*item = (struct ob__ws_item){.kind = OB__WS_ERROR, .code = code, .reason = reason};
	return 0;
}

/* What the first two bytes alone show to be wrong; NULL if nothing. */
static const char *check_start(const struct ob__ws *ws, uint8_t b0, uint8_t b1)
{
	uint8_t op = b0 & OPCODE;
	uint8_t rsv = b0 & RSV;
	if (rsv != 0 && (rsv != RSV1 || !ws->deflate || (op != OP_TEXT && op != OP_BINARY))) {
		return "reserved bits are set";
	}
	if (op > OP_PONG || (op > OP_BINARY && op < OP_CLOSE)) {
		return "unknown opcode";
	}
	if ((b1 & MASKED) == 0) {
		return "frame is not masked";
	}
	if ((op & CONTROL) != 0) {
		if ((b0 & FIN) == 0) {
			return "fragmented control frame";
		}
		return (b1 & LENGTH) > CONTROL_MAX ? "control frame is too long" : NULL;
	}
	if (op == OP_CONTINUATION) {
		return ws->message_op == 0 ? "continuation of no message" : NULL;
	}
	return ws->message_op != 0 ? "new message inside a fragmented one" : NULL;
}

/* Reads the length into `h`; NULL, or what is wrong with it.  `h->size` has been made sure of. */
static const char *read_length(struct head *h, const uint8_t *data)
{
	uint64_t wide = 0;
	switch (data[1] & LENGTH) {
	case LENGTH_16:
		h->len = (uint64_t)data[2] << 8 | data[3];
		return h->len < LENGTH_16 ? "length is not in its shortest form" : NULL;
	case LENGTH_64:
		memcpy(&wide, data + 2, sizeof(wide));
		h->len = be64toh(wide);
		if (h->len > INT64_MAX) {
			return "64-bit length has its top bit set";
		}
		return h->len <= UINT16_MAX ? "length is not in its shortest form" : NULL;
	default:
		h->len = data[1] & LENGTH;
		return NULL;
	}
}

/* The bytes from the front of a frame that tell its length. */
static size_t length_size(uint8_t b1)
{
	uint8_t len = b1 & LENGTH;
	return len < LENGTH_16 ? 2 : len == LENGTH_16 ? 4 : 10;
}

/* Text whose bytes are those on the wire. */
static bool is_text(const struct ob__ws *ws, const struct head *h)
{
	return !h->packed &&
	       (h->op == OP_TEXT || (h->op == OP_CONTINUATION && ws->message_op == OP_TEXT));
}

/* Checks what has come of a text frame that is not whole; false when it can't become valid any
 * more.  The bytes stay masked: they are looked at in a copy. */
static bool look_ahead(struct ob__ws *ws, const uint8_t *payload, size_t len)
{
	const uint8_t *mask = payload - MASK_SIZE;
	uint8_t clear[256];
	while (ws->ahead < len && ws->utf8 != UTF8_BAD) {
		size_t at = (size_t)ws->ahead;
		size_t n = len - at < sizeof(clear) ? len - at : sizeof(clear);
		uint8_t turned[MASK_SIZE];
		for (size_t i = 0; i < MASK_SIZE; i++) {
			turned[i] = mask[(at + i) % MASK_SIZE];
		}
		memcpy(clear, payload + at, n);
		uint64_t seen = unmask(clear, n, turned);
		if ((seen & HIGH_BITS) != 0 || ws->utf8 != 0) {
			ws->utf8 = utf8_run(ws->utf8, clear, n);
		}
		ws->ahead += (uint32_t)n;
	}
	return ws->utf8 != UTF8_BAD;
}

/* The frame is not whole. */
static void await(struct ob__ws *ws, const uint8_t *data, size_t len, const struct head *h,
                  struct ob__ws_item *item)
{
	if (len > h->size && is_text(ws, h) && !look_ahead(ws, data + h->size, len - h->size)) {
		fail(ws, item, OB__WS_BAD_DATA, NOT_UTF8);
		return;
	}
	more(item, h->size + (size_t)h->len);
}

/* Reads the header.  True when the whole frame is there; else `item` is MORE or ERROR. */
static bool read_head(struct ob__ws *ws, const uint8_t *data, size_t len, struct head *h,
                      struct ob__ws_item *item)
{
	if (len < 2) {
		more(item, 2);
		return false;
	}
	const char *reason = check_start(ws, data[0], data[1]);
	if (reason != NULL) {
		fail(ws, item, OB__WS_PROTOCOL, reason);
		return false;
	}
	size_t told = length_size(data[1]);
	if (len < told) {
		more(item, told);
		return false;
	}
	h->op = data[0] & OPCODE;
	h->fin = (data[0] & FIN) != 0;
	h->packed = h->op == OP_CONTINUATION ? ws->packed : (data[0] & RSV1) != 0;
	h->size = told + MASK_SIZE;
	reason = read_length(h, data);
	if (reason != NULL) {
		fail(ws, item, OB__WS_PROTOCOL, reason);
		return false;
	}
	bool data_frame = (h->op & CONTROL) == 0;
	if ((data_frame && h->len > ws->max_message - ws->message_len) ||
	    h->len > SIZE_MAX - h->size) {
		fail(ws, item, OB__WS_TOO_BIG, "message is longer than the limit");
		return false;
	}
	if (len < h->size + h->len) {
		await(ws, data, len, h, item);
		return false;
	}
	return true;
}

/* Goes on with the check of a text message; false when it can't become valid any more. */
static bool text_goes_on(struct ob__ws *ws, const struct ob__ws_item *item, uint64_t seen)
{
	size_t had = (size_t)ws->ahead;
	ws->ahead = 0;
	if ((seen & HIGH_BITS) != 0 || (ws->utf8 != 0 && item->len > 0)) {
		ws->utf8 = utf8_run(ws->utf8, item->data + had, item->len - had);
	}
	return ws->utf8 == 0 || (ws->utf8 != UTF8_BAD && !item->fin);
}

static bool take_data(struct ob__ws *ws, const struct head *h, struct ob__ws_item *item,
                      uint64_t seen)
{
	uint8_t op = h->op != OP_CONTINUATION ? h->op : ws->message_op;
	item->kind = OB__WS_DATA;
	item->first = h->op != OP_CONTINUATION;
	item->fin = h->fin;
	item->text = op == OP_TEXT;
	item->packed = h->packed;
	if (item->text && !h->packed && !text_goes_on(ws, item, seen)) {
		fail(ws, item, OB__WS_BAD_DATA, NOT_UTF8);
		return false;
	}
	ws->message_op = h->fin ? 0 : op;
	ws->packed = h->packed && !h->fin;
	ws->message_len = h->fin ? 0 : ws->message_len + (uint32_t)h->len;
	return true;
}

static bool take_close(struct ob__ws *ws, struct ob__ws_item *item)
{
	item->kind = OB__WS_CLOSE;
	item->code = OB__WS_NO_STATUS;
	ws->closed = true;
	if (item->len == 0) {
		return true;
	}
	if (item->len == 1) {
		fail(ws, item, OB__WS_PROTOCOL, "close body of one byte");
		return false;
	}
	uint16_t code = (uint16_t)(item->data[0] << 8 | item->data[1]);
	if (!ob__ws_close_code_ok(code)) {
		fail(ws, item, OB__WS_PROTOCOL, "close code may not be sent");
		return false;
	}
	item->code = code;
	item->data += 2;
	item->len -= 2;
	if (!ob__utf8_ok(item->data, item->len)) {
		fail(ws, item, OB__WS_BAD_DATA, "close reason is not valid UTF-8");
		return false;
	}
	return true;
}

/* The frame of most messages: whole, binary, of less than 126 bytes, and all of it there. */
static bool is_plain(const struct ob__ws *ws, const uint8_t *data, size_t len)
{
	return len >= 2 + MASK_SIZE && data[0] == (FIN | OP_BINARY) && data[1] >= MASKED &&
	       data[1] < (MASKED | LENGTH_16) && ws->message_op == 0 && !ws->closed &&
	       (data[1] & LENGTH) <= ws->max_message &&
	       len >= 2 + MASK_SIZE + (size_t)(data[1] & LENGTH);
}

static size_t take_plain(uint8_t *data, struct ob__ws_item *item)
{
	size_t len = data[1] & LENGTH;
	uint8_t *payload = data + 2 + MASK_SIZE;
	item->kind = OB__WS_DATA;
	item->data = payload;
	item->len = len;
	item->first = true;
	item->fin = true;
	item->text = false;
	item->packed = false;
	(void)unmask(payload, len, payload - MASK_SIZE);
	return 2 + MASK_SIZE + len;
}

static OB__APART size_t take_any(struct ob__ws *ws, uint8_t *data, size_t len,
                                 struct ob__ws_item *item)
{
	*item = (struct ob__ws_item){.kind = OB__WS_MORE};
	if (ws->closed) {
		return len;
	}
	struct head h;
	if (!read_head(ws, data, len, &h, item)) {
		return 0;
	}
	item->data = data + h.size;
	item->len = (size_t)h.len;
	uint64_t seen = unmask(item->data, item->len, item->data - MASK_SIZE);
	bool ok = true;
	switch (h.op) {
	case OP_CLOSE:
		ok = take_close(ws, item);
		break;
	case OP_PING:
		item->kind = OB__WS_PING;
		break;
	case OP_PONG:
		item->kind = OB__WS_PONG;
		break;
	default:
		ok = take_data(ws, &h, item, seen);
		break;
	}
	return ok ? h.size + (size_t)h.len : 0;
}

size_t ob__ws_decode(struct ob__ws *ws, uint8_t *data, size_t len, struct ob__ws_item *item)
{
	return is_plain(ws, data, len) ? take_plain(data, item) : take_any(ws, data, len, item);
}

size_t ob__ws_put_long_header(uint8_t out[OB__WS_HEADER_MAX], uint8_t op, uint64_t len)
{
	out[0] = (uint8_t)(FIN | op);
	if (len <= UINT16_MAX) {
		out[1] = LENGTH_16;
		out[2] = (uint8_t)(len >> 8);
		out[3] = (uint8_t)len;
		return 4;
	}
	uint64_t wide = htobe64(len);
	out[1] = LENGTH_64;
	memcpy(out + 2, &wide, sizeof(wide));
	return 10;
}

bool ob__ws_close_code_ok(uint16_t code)
{
	if (code >= 3000) {
		return code <= 4999;
	}
	return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}
