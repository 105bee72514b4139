/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/ws.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define LIMIT 1000 /* bytes in a message, in the tables */
#define BYTES(s)                                    \
	{                                           \
		(const uint8_t *)(s), sizeof(s) - 1 \
	}

struct bytes {
	const uint8_t *data;
	size_t len;
};

/* What was decoded, in words. */
struct trace {
	char text[1024];
	size_t len;
};

static void note(struct trace *t, const struct ob__ws_item *item)
{
	char *at = t->text + t->len;
	size_t left = sizeof(t->text) - t->len;
	int n = 0;
	switch (item->kind) {
	case OB__WS_MORE:
		n = snprintf(at, left, "more %zu", item->need);
		break;
	case OB__WS_DATA:
		n = snprintf(at, left, "%s%s%s(%.*s) ", item->first ? "" : "+",
		             item->text ? "text" : "binary", item->fin ? "" : "...", (int)item->len,
		             (const char *)item->data);
		break;
	case OB__WS_PING:
	case OB__WS_PONG:
		n = snprintf(at, left, "%s(%.*s) ", item->kind == OB__WS_PING ? "ping" : "pong",
		             (int)item->len, (const char *)item->data);
		break;
	case OB__WS_CLOSE:
		n = snprintf(at, left, "close %u(%.*s)", item->code, (int)item->len,
		             (const char *)item->data);
		break;
	case OB__WS_ERROR:
		n = snprintf(at, left, "error %u", item->code);
		CU_ASSERT_PTR_NOT_NULL(item->reason);
		CU_ASSERT_PTR_NULL(item->data);
		break;
	}
	t->len += (size_t)n;
	CU_ASSERT_TRUE_FATAL(t->len < sizeof(t->text));
}

/* A connection as a caller has it: what is undecoded is kept at the front of `kept`. */
struct peer {
	struct ob__ws ws;
	uint8_t kept[4096];
	size_t len;
	struct trace trace;
	size_t need;
	bool over;
};

static void peer_init(struct peer *p, uint64_t limit)
{
	ob__ws_init(&p->ws, limit);
	p->len = 0;
	p->trace = (struct trace){.len = 0};
	p->need = 0;
	p->over = false;
}

/* `data` comes in; the decoder sees a block of the exact size, so that a sanitizer sees all. */
static void peer_feed(struct peer *p, const uint8_t *data, size_t n)
{
	CU_ASSERT_FATAL(p->len + n <= sizeof(p->kept));
	memcpy(p->kept + p->len, data, n);
	p->len += n;
	size_t at = 0;
	while (!p->over) {
		size_t left = p->len - at;
		uint8_t *block = malloc(left > 0 ? left : 1);
		CU_ASSERT_PTR_NOT_NULL_FATAL(block);
		memcpy(block, p->kept + at, left);
		struct ob__ws_item item;
		size_t used = ob__ws_decode(&p->ws, block, left, &item);
		CU_ASSERT_TRUE(used <= left);
		CU_ASSERT_EQUAL(memcmp(block + used, p->kept + at + used, left - used), 0);
		p->need = item.need;
		p->over = item.kind == OB__WS_CLOSE || item.kind == OB__WS_ERROR;
		CU_ASSERT_EQUAL(p->ws.closed, p->over);
		if (item.kind == OB__WS_MORE) {
			CU_ASSERT_EQUAL(used, 0);
			CU_ASSERT_TRUE(item.need > left);
			free(block);
			break;
		}
		note(&p->trace, &item);
		CU_ASSERT_EQUAL(used == 0, item.kind == OB__WS_ERROR);
		free(block);
		at += used;
	}
	memmove(p->kept, p->kept + at, p->len - at);
	p->len -= at;
}

static const char *peer_end(struct peer *p)
{
	if (!p->over && p->len > 0) {
		note(&p->trace, &(struct ob__ws_item){.kind = OB__WS_MORE, .need = p->need});
	}
	return p->trace.text;
}

/* The mask of most rows is zero, so that the payload can be read. */
#define M "\0\0\0\0"
#define FILL125                                                                            \
	"12345678901234567890123456789012345678901234567890123456789012345678901234567890" \
	"123456789012345678901234567890123456789012345"

static const struct {
	struct bytes in;
	const char *out;
} rows[] = {
	/* whole messages */
	{BYTES(""), ""},
	{BYTES("\x81\x82" M "hi"), "text(hi) "},
	{BYTES("\x82\x82" M "hi"), "binary(hi) "},
	{BYTES("\x81\x80" M), "text() "},
	{BYTES("\x82\x80" M "\x81\x80" M), "binary() text() "},
	{BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "text(Hello) "}, /* RFC 5.7 */
	{BYTES("\x81\xfd" M FILL125), "text(" FILL125 ") "},
	{BYTES("\x81\xfe\0\x7e" M FILL125 "6"), "text(" FILL125 "6) "},
	/* cut */
	{BYTES("\x81"), "more 2"},
	{BYTES("\x81\x82"), "more 8"},
	{BYTES("\x81\x82" M "h"), "more 8"},
	{BYTES("\x81\xfe"), "more 4"},
	{BYTES("\x81\xfe\0"), "more 4"},
	{BYTES("\x81\xfe\0\x7e"), "more 134"},
	{BYTES("\x82\xff"), "more 10"},
	{BYTES("\x82\xff\0\0\0\0\0\0\0"), "more 10"},
	{BYTES("\x81\x82" M "hi\x81"), "text(hi) more 2"},
	{BYTES("\x81\x85" M "\xe4\xbd"), "more 11"},
	{BYTES("\x81\x85" M "\xe4("), "error 1007"}, /* the rest can't mend it */
	{BYTES("\x82\x85" M "\xe4("), "more 11"},
	{BYTES("\x01\x81" M "\xe4\x80\x85" M "\xbd"), "text...(\xe4) more 11"},
	{BYTES("\x01\x81" M "\xe4\x80\x85" M "("), "text...(\xe4) error 1007"},
	{BYTES("\x01\x81" M "\xe4\x89\x82" M "("), "text...(\xe4) more 8"},
	/* control frames */
	{BYTES("\x89\x80" M), "ping() "},
	{BYTES("\x89\x82" M "hi\x8a\x81" M "x"), "ping(hi) pong(x) "},
	{BYTES("\x89\xfd" M FILL125), "ping(" FILL125 ") "},
	{BYTES("\x8a\x81" M "\xff"), "pong(\xff) "}, /* not text: any bytes */
	{BYTES("\x89\xfe\0\x7e" M), "error 1002"},   /* 126 */
	{BYTES("\x89\xfe"), "error 1002"},           /* and known to be too long at once */
	{BYTES("\x89\xff"), "error 1002"},
	{BYTES("\x09\x80" M), "error 1002"}, /* without FIN */
	{BYTES("\x0a\x80" M), "error 1002"},
	{BYTES("\x08\x80" M), "error 1002"},
	/* fragments */
	{BYTES("\x01\x81" M "a\x80\x81" M "b"), "text...(a) +text(b) "},
	{BYTES("\x02\x81" M "a\x00\x81" M "b\x80\x80" M), "binary...(a) +binary...(b) +binary() "},
	{BYTES("\x01\x80" M "\x00\x80" M "\x80\x80" M), "text...() +text...() +text() "},
	{BYTES("\x01\x81" M "a\x89\x81" M "p\x80\x81" M "b"), "text...(a) ping(p) +text(b) "},
	{BYTES("\x01\x81" M "a\x88\x80" M), "text...(a) close 1005()"},
	{BYTES("\x01\x81" M "a\x80\x81" M "b\x82\x81" M "\xff"),
         "text...(a) +text(b) binary(\xff) "},   /* the kind is not kept */
	{BYTES("\x80\x81" M "a"), "error 1002"}, /* continues nothing */
	{BYTES("\x00\x81" M "a"), "error 1002"},
	{BYTES("\x81\x81" M "a\x80\x81" M "b"), "text(a) error 1002"},
	{BYTES("\x01\x81" M "a\x81\x81" M "b"), "text...(a) error 1002"}, /* one inside another */
	{BYTES("\x01\x81" M "a\x02\x81" M "b"), "text...(a) error 1002"},
	/* reserved bits and opcodes */
	{BYTES("\xc1\x80" M), "error 1002"},
	{BYTES("\xa1\x80" M), "error 1002"},
	{BYTES("\x91\x80" M), "error 1002"},
	{BYTES("\xc9\x80" M), "error 1002"},
	{BYTES("\x83\x80" M), "error 1002"},
	{BYTES("\x87\x80" M), "error 1002"},
	{BYTES("\x8b\x80" M), "error 1002"},
	{BYTES("\x8f\x80" M), "error 1002"},
	/* masks */
	{BYTES("\x81\x02hi"), "error 1002"},
	{BYTES("\x88\x00"), "error 1002"},
	/* lengths that have a shorter form, or are none */
	{BYTES("\x82\xfe\0\x7d" M), "error 1002"},
	{BYTES("\x82\xfe\0\0"), "error 1002"},
	{BYTES("\x82\xff\0\0\0\0\0\0\xff\xff" M), "error 1002"},
	{BYTES("\x82\xff\0\0\0\0\0\0\0\x7e" M), "error 1002"},
	{BYTES("\x82\xff\x80\0\0\0\0\0\0\0"), "error 1002"},
	{BYTES("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "error 1002"},
	/* the limit of 1000 bytes, known from the header */
	{BYTES("\x82\xfe\x03\xe8"), "more 1008"},
	{BYTES("\x82\xfe\x03\xe9"), "error 1009"},
	{BYTES("\x82\xff\0\0\0\0\0\x01\0\0"), "error 1009"},
	{BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), "error 1009"},
	{BYTES("\x02\x81" M "a\x80\xfe\x03\xe7"), "binary...(a) more 1007"}, /* over fragments */
	{BYTES("\x02\x81" M "a\x80\xfe\x03\xe8"), "binary...(a) error 1009"},
	{BYTES("\x02\x82" M "ab\x00\x81" M "c\x00\xfe\x03\xe6"),
         "binary...(ab) +binary...(c) error 1009"},
	{BYTES("\x02\x81" M "a\x80\x81" M "b\x82\xfe\x03\xe8"), /* each message anew */
         "binary...(a) +binary(b) more 1008"},
	{BYTES("\x02\x81" M "a\x89\x81" M "p\x80\xfe\x03\xe7"), /* pings don't count */
         "binary...(a) ping(p) more 1007"},
	/* close */
	{BYTES("\x88\x80" M), "close 1005()"},
	{BYTES("\x88\x82" M "\x03\xe8"), "close 1000()"},
	{BYTES("\x88\x85" M "\x03\xe9"
               "bye"),
         "close 1001(bye)"},
	{BYTES("\x88\x85" M "\x13\x87\xe4\xb8\xad"), "close 4999(\xe4\xb8\xad)"},
	{BYTES("\x88\x81" M "\x03"), "error 1002"},     /* half a code */
	{BYTES("\x88\x82" M "\x03\xed"), "error 1002"}, /* 1005 is not for the wire */
	{BYTES("\x88\x82" M "\0\0"), "error 1002"},
	{BYTES("\x88\x83" M "\x03\xe8\xff"), "error 1007"},
	{BYTES("\x88\x84" M "\x03\xe8\xe4\xb8"),
         "error 1007"},                                     /* the reason ends within a character */
	{BYTES("\x88\x83" M "\x03\xed\xff"), "error 1002"}, /* the code is looked at first */
	{BYTES("\x88\x80" M "\x81\x82" M "hi"), "close 1005()"}, /* nothing is read behind it */
	{BYTES("\x83\x80" M "\x81\x82" M "hi"), "error 1002"},
	/* text is UTF-8, binary is not */
	{BYTES("\x81\x86" M "\xe4\xb8\xad\xe6\x96\x87"), "text(\xe4\xb8\xad\xe6\x96\x87) "},
	{BYTES("\x81\x81" M "\xff"), "error 1007"},
	{BYTES("\x82\x81" M "\xff"), "binary(\xff) "},
	{BYTES("\x81\x82" M "\xe4\xb8"), "error 1007"}, /* ends within a character */
	{BYTES("\x01\x82" M "\xe4\xb8\x80\x81" M "\xad"), "text...(\xe4\xb8) +text(\xad) "},
	{BYTES("\x01\x81" M "\xe4\x00\x80" M "\x00\x81" M "\xb8\x80\x81" M "\xad"),
         "text...(\xe4) +text...() +text...(\xb8) +text(\xad) "},
	{BYTES("\x01\x82" M "\xe4\xb8\x89\x81" M "\xff\x80\x81" M "\xad"), /* a ping between */
         "text...(\xe4\xb8) ping(\xff) +text(\xad) "},
	{BYTES("\x01\x82" M "\xe4\xb8\x80\x80" M), "text...(\xe4\xb8) error 1007"},
	{BYTES("\x01\x82" M "\xe4\xb8\x00\x81" M "a"), "text...(\xe4\xb8) error 1007"},
	{BYTES("\x01\x82" M "\xed\xa0"), "error 1007"}, /* a surrogate, before it is whole */
	{BYTES("\x01\x81" M "\xed\x00\x81" M "\xa0"), "text...(\xed) error 1007"},
	{BYTES("\x01\x81" M "\xff"), "error 1007"}, /* in the first fragment, not at the end */
	{BYTES("\x01\x81" M "\xe4\x82\x80" M), "text...(\xe4) error 1002"},
};

static void test_table(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer p;
		peer_init(&p, LIMIT);
		peer_feed(&p, rows[i].in.data, rows[i].in.len);
		CU_ASSERT_STRING_EQUAL(peer_end(&p), rows[i].out);
	}
}

/* Each row in two pieces, cut at every byte, and byte by byte. */
static void test_pieces(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct peer p;
		for (size_t cut = 0; cut <= rows[i].in.len; cut++) {
			peer_init(&p, LIMIT);
			peer_feed(&p, rows[i].in.data, cut);
			peer_feed(&p, rows[i].in.data + cut, rows[i].in.len - cut);
			CU_ASSERT_STRING_EQUAL(peer_end(&p), rows[i].out);
		}
		peer_init(&p, LIMIT);
		for (size_t k = 0; k < rows[i].in.len; k++) {
			peer_feed(&p, rows[i].in.data + k, 1);
		}
		CU_ASSERT_STRING_EQUAL(peer_end(&p), rows[i].out);
	}
}

static size_t put_masked(uint8_t *out, uint8_t b0, const uint8_t *payload, size_t len,
                         const uint8_t mask[4])
{
	size_t at = ob__ws_put_header(out, b0 & 0x0f, len);
	out[0] = b0;
	out[1] |= 0x80;
	memcpy(out + at, mask, 4);
	at += 4;
	for (size_t i = 0; i < len; i++) {
		out[at++] = payload[i] ^ mask[i % 4];
	}
	return at;
}

/* Every length around the steps of the header and of the unmasking, at every alignment. */
static void test_lengths(void)
{
	static const size_t lengths[] = {0,   1,   2,   3,     4,     5,     7,     8,     9,   15,
	                                 16,  17,  18,  19,    31,    32,    33,    47,    48,  49,
	                                 50,  51,  63,  64,    65,    95,    96,    124,   125, 126,
	                                 127, 128, 255, 65534, 65535, 65536, 65537, 200000};
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	enum { MOST = 200000, BEHIND = 40 };
	uint8_t *payload = malloc(MOST);
	uint8_t *wire = malloc(MOST + 14 + 8 + BEHIND);
	CU_ASSERT_FATAL(payload != NULL && wire != NULL);
	for (size_t i = 0; i < MOST; i++) {
		payload[i] = (uint8_t)(i * 131 >> 3);
	}
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i];
		for (size_t shift = 0; shift < 8; shift++) {
			struct ob__ws ws;
			ob__ws_init(&ws, MOST);
			uint8_t *frame = wire + shift;
			size_t size = put_masked(frame, 0x82, payload, len, mask);
			CU_ASSERT_EQUAL(size, ob__ws_header_len(len) + 4 + len);
			memset(frame + size, 0x5a, BEHIND);
			struct ob__ws_item item;
			CU_ASSERT_EQUAL(ob__ws_decode(&ws, frame, size - 1, &item), 0);
			CU_ASSERT_EQUAL(item.kind, OB__WS_MORE);
			CU_ASSERT_EQUAL(item.need, size);
			CU_ASSERT_EQUAL(ob__ws_decode(&ws, frame, size + BEHIND, &item), size);
			CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
			CU_ASSERT_TRUE(item.first && item.fin && !item.text);
			CU_ASSERT_EQUAL(item.len, len);
			CU_ASSERT_EQUAL(memcmp(item.data, payload, len), 0);
			for (size_t k = 0; k < BEHIND; k++) {
				CU_ASSERT_EQUAL(frame[size + k], 0x5a);
			}
		}
	}
	free(wire);
	free(payload);
}

/* One byte that is not ASCII, at every place of a text, must be seen. */
static void test_text_everywhere(void)
{
	static const uint8_t mask[4] = {0x80, 0xff, 0x00, 0x7f};
	uint8_t text[80];
	uint8_t wire[sizeof(text) + 8];
	for (size_t len = 1; len <= sizeof(text); len++) {
		for (size_t at = 0; at < len; at++) {
			memset(text, 'a', sizeof(text));
			text[at] = 0xff;
			struct ob__ws ws;
			struct ob__ws_item item;
			size_t size = put_masked(wire, 0x81, text, len, mask);
			ob__ws_init(&ws, LIMIT);
			CU_ASSERT_EQUAL(ob__ws_decode(&ws, wire, size, &item), 0);
			CU_ASSERT_EQUAL(item.code, OB__WS_BAD_DATA);
			text[at] = 'a';
			size = put_masked(wire, 0x81, text, len, mask);
			ob__ws_init(&ws, LIMIT);
			CU_ASSERT_EQUAL(ob__ws_decode(&ws, wire, size, &item), size);
			CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
		}
	}
}

/* A text of 400 bytes and characters of each length. */
static void fill_text(uint8_t text[400])
{
	static const char some[] =
		"ascii ascii \xc3\xa9 \xe4\xb8\xad\xef\xbf\xbf \xf0\x9f\x98\x80.";
	memset(text, 'x', 400);
	for (size_t at = 0; at + sizeof(some) <= 400; at += sizeof(some) - 1) {
		memcpy(text + at, some, sizeof(some) - 1);
	}
}

/* A frame that comes in two pieces and then byte by byte; how many bytes were there when it was
 * taken or refused. */
static size_t feed_slowly(uint8_t *wire, size_t size, size_t first, struct ob__ws_item *item)
{
	struct ob__ws ws;
	size_t used = 0;
	ob__ws_init(&ws, LIMIT);
	for (size_t len = first; len <= size; len++) {
		uint8_t *block = malloc(len);
		memcpy(block, wire, len);
		used = ob__ws_decode(&ws, block, len, item);
		if (item->kind == OB__WS_DATA) {
			memcpy(wire, block, len);
			item->data = wire + (item->data - block);
		} else {
			CU_ASSERT_EQUAL(used, 0);
			CU_ASSERT_EQUAL(memcmp(block, wire, len), 0); /* still masked */
		}
		free(block);
		if (item->kind != OB__WS_MORE) {
			return len;
		}
	}
	return 0;
}

/* What is wrong in a text is seen with the byte that shows it, though the frame goes on. */
static void test_text_early(void)
{
	static const struct {
		struct bytes bad;
		size_t shown; /* by so many of its bytes */
	} faults[] = {
		{BYTES("\xff"), 1},     {BYTES("\xc3("), 2},        {BYTES("\xed\xa0\x80"), 2},
		{BYTES("\xe0\x9f"), 2}, {BYTES("\xf4\x90\x80"), 2}, {BYTES("\xf0\x90\x80("), 4},
	};
	static const uint8_t mask[4] = {0x80, 0xff, 0x11, 0x7f};
	uint8_t text[400];
	uint8_t wire[sizeof(text) + 14];
	struct ob__ws_item item;
	for (size_t first = 2; first < sizeof(wire) - 6; first += 37) {
		fill_text(text);
		size_t size = put_masked(wire, 0x81, text, sizeof(text), mask);
		CU_ASSERT_EQUAL(feed_slowly(wire, size, first, &item), size);
		CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
		CU_ASSERT_EQUAL(memcmp(item.data, text, sizeof(text)), 0);
	}
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		for (size_t at = 0; at < 330; at++) {
			memset(text, 'x', sizeof(text));
			memcpy(text + at, faults[i].bad.data, faults[i].bad.len);
			size_t size = put_masked(wire, 0x81, text, sizeof(text), mask);
			size_t shown = 8 + at + faults[i].shown;
			CU_ASSERT_EQUAL(feed_slowly(wire, size, 2, &item), shown);
			CU_ASSERT_EQUAL(item.code, OB__WS_BAD_DATA);
			wire[0] = 0x82; /* binary may be anything */
			CU_ASSERT_EQUAL(feed_slowly(wire, size, 2, &item), size);
			CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
		}
	}
}

/* Characters of each length across two fragments, cut at every byte, with ASCII around. */
static void test_text_across_fragments(void)
{
	static const char text[] =
		"ascii ascii \xc3\xa9t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87\xef\xbf\xbf "
		"\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"
		"ascii ascii ascii ascii";
	static const uint8_t mask[4] = {1, 2, 3, 4};
	uint8_t wire[2 * sizeof(text) + 16];
	for (size_t cut = 0; cut < sizeof(text); cut++) {
		size_t rest = sizeof(text) - 1 - cut;
		size_t size = put_masked(wire, 0x01, (const uint8_t *)text, cut, mask);
		put_masked(wire + size, 0x80, (const uint8_t *)text + cut, rest, mask);
		struct ob__ws ws;
		struct ob__ws_item item;
		ob__ws_init(&ws, LIMIT);
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, wire, size + rest + 6, &item), size);
		CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, wire + size, rest + 6, &item), rest + 6);
		CU_ASSERT_EQUAL(item.kind, OB__WS_DATA);
		CU_ASSERT_EQUAL(memcmp(item.data, text + cut, rest), 0);
	}
}

static void test_after_the_end(void)
{
	uint8_t close[] = "\x88\x80" M;
	uint8_t bad[] = "\x83\x80" M;
	uint8_t *ends[] = {close, bad};
	for (size_t i = 0; i < 2; i++) {
		struct ob__ws ws;
		struct ob__ws_item item;
		ob__ws_init(&ws, LIMIT);
		CU_ASSERT_FALSE(ws.closed);
		ob__ws_decode(&ws, ends[i], 6, &item);
		CU_ASSERT_TRUE(ws.closed);
		uint8_t text[] = "\x81\x82\1\2\3\4hi";
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, text, 8, &item), 8); /* dropped */
		CU_ASSERT_EQUAL(item.kind, OB__WS_MORE);
		CU_ASSERT_EQUAL(item.need, 0);
		CU_ASSERT_EQUAL(memcmp(text, "\x81\x82\1\2\3\4hi", 8), 0);
	}
}

/* RSV1 is for the first frame of a data message, where it was agreed upon, and says that its text
 * can't be looked at. */
static void test_packed(void)
{
	static const struct {
		const char *data;
		size_t len;
		bool deflate;
		bool good;
	} packed_rows[] = {
		{"\xc1\x82" M "\xff\xfe", 8, true, true},
		{"\xc2\x82" M "\xff\xfe", 8, true, true},
		{"\x41\x82" M "\xff\xfe", 8, true, true}, /* a fragment */
		{"\xc1\x82" M "\xff\xfe", 8, false, false},
		{"\x81\x82" M "\xff\xfe", 8, true, false}, /* not compressed: no text */
		{"\xa2\x80" M, 6, true, false},
		{"\x92\x80" M, 6, true, false},
		{"\xe2\x80" M, 6, true, false},
		{"\xc9\x80" M, 6, true, false}, /* a ping */
		{"\xc8\x80" M, 6, true, false},
		{"\xc0\x80" M, 6, true, false}, /* goes on with nothing */
	};

	for (size_t i = 0; i < sizeof(packed_rows) / sizeof(packed_rows[0]); i++) {
		struct ob__ws ws;
		struct ob__ws_item item;
		uint8_t data[16];
		ob__ws_init(&ws, 1000);
		ws.deflate = packed_rows[i].deflate;
		memcpy(data, packed_rows[i].data, packed_rows[i].len);
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, data, packed_rows[i].len, &item),
		                packed_rows[i].good ? packed_rows[i].len : 0);
		CU_ASSERT_EQUAL(item.kind, packed_rows[i].good ? OB__WS_DATA : OB__WS_ERROR);
		CU_ASSERT_TRUE(!packed_rows[i].good || item.packed);
		if (i != 2) {
			continue;
		}
		/* it goes on without the bit, and so does all of it; the next one is plain */
		uint8_t on[] = "\x00\x81" M "\xff\x80\x80" M "\x81\x81" M "a";
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, on, 20, &item), 7);
		CU_ASSERT_TRUE(item.packed && !item.fin && item.text);
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, on + 7, 13, &item), 6);
		CU_ASSERT_TRUE(item.packed && item.fin);
		CU_ASSERT_EQUAL(ob__ws_decode(&ws, on + 13, 7, &item), 7);
		CU_ASSERT_TRUE(item.kind == OB__WS_DATA && !item.packed);
	}
}

static void test_highest_limit(void)
{
	struct ob__ws ws;
	struct ob__ws_item item;
	ob__ws_init(&ws, UINT32_MAX);
	uint8_t data[] = "\x02\x81" M "a\x80\xff\0\0\0\0\xff\xff\xff\xf0";
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, data, 17, &item), 7);
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, data + 7, 10, &item), 0);
	CU_ASSERT_EQUAL(item.kind, OB__WS_MORE);
	CU_ASSERT_EQUAL(item.need, (uint64_t)UINT32_MAX - 15 + 14);
	ob__ws_init(&ws, UINT32_MAX);
	uint8_t beyond[] = "\x82\xff\0\0\0\1\0\0\0\0";
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, beyond, 10, &item), 0);
	CU_ASSERT_EQUAL(item.kind, OB__WS_ERROR);
	CU_ASSERT_EQUAL(item.code, OB__WS_TOO_BIG);

	ob__ws_init(&ws, 0); /* only empty messages; control frames have a limit of their own */
	uint8_t empty[] = "\x89\x81" M "p"
			  "\x81\x80" M "\x81\x81";
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, empty, 15, &item), 7);
	CU_ASSERT_EQUAL(item.kind, OB__WS_PING);
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, empty + 7, 8, &item), 6);
	CU_ASSERT_EQUAL(ob__ws_decode(&ws, empty + 13, 2, &item), 0);
	CU_ASSERT_EQUAL(item.code, OB__WS_TOO_BIG);
}

static void test_put_header(void)
{
	static const struct {
		uint8_t op;
		uint64_t len;
		struct bytes out;
	} headers[] = {
		{1, 0, BYTES("\x81\x00")},
		{2, 125, BYTES("\x82\x7d")},
		{2, 126, BYTES("\x82\x7e\x00\x7e")},
		{2, 256, BYTES("\x82\x7e\x01\x00")},
		{2, 65535, BYTES("\x82\x7e\xff\xff")},
		{2, 65536, BYTES("\x82\x7f\0\0\0\0\0\x01\0\0")},
		{2, UINT64_C(0x0102030405060708), BYTES("\x82\x7f\1\2\3\4\5\6\7\x08")},
		{8, 2, BYTES("\x88\x02")},
		{9, 0, BYTES("\x89\x00")},
		{10, 125, BYTES("\x8a\x7d")},
	};
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		uint8_t out[OB__WS_HEADER_MAX];
		CU_ASSERT_EQUAL(ob__ws_header_len(headers[i].len), headers[i].out.len);
		CU_ASSERT_EQUAL(ob__ws_put_header(out, headers[i].op, headers[i].len),
		                headers[i].out.len);
		CU_ASSERT_EQUAL(memcmp(out, headers[i].out.data, headers[i].out.len), 0);
	}
}

static void test_close_codes(void)
{
	static const struct {
		uint16_t lo;
		uint16_t hi;
		bool ok;
	} codes[] = {
		{0, 999, false},     {1000, 1003, true}, {1004, 1006, false},  {1007, 1014, true},
		{1015, 2999, false}, {3000, 4999, true}, {5000, 65535, false},
	};
	uint32_t next = 0;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		CU_ASSERT_EQUAL(codes[i].lo, next); /* the table has them all */
		for (; next <= codes[i].hi; next++) {
			CU_ASSERT_EQUAL(ob__ws_close_code_ok((uint16_t)next), codes[i].ok);
		}
	}
	CU_ASSERT_EQUAL(next, 65536);
}

/* The length of the character at `p` by the definition: decode, then ask whether the value is one
 * that is written in so many bytes.  0: none. */
static size_t character(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80             ? 1
	           : (p[0] & 0xe0) == 0xc0 ? 2
	           : (p[0] & 0xf0) == 0xe0 ? 3
	           : (p[0] & 0xf8) == 0xf0 ? 4
	                                   : 0;
	if (n == 0 || n > len) {
		return 0;
	}
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80) {
			return 0;
		}
		c = c << 6 | (p[i] & 0x3f);
	}
	return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

static bool valid(const uint8_t *p, size_t len)
{
	while (len > 0) {
		size_t n = character(p, len);
		if (n == 0) {
			return false;
		}
		p += n;
		len -= n;
	}
	return true;
}

/* All that can go wrong in four bytes: every lead, and followers at the edges of their ranges;
 * alone (the slow path) and amid ASCII (the fast one). */
static void test_utf8(void)
{
	static const uint8_t edge[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
	                               0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff};
	unsigned differ = 0;
	unsigned good = 0;
	for (uint32_t i = 0; i < 256 * 16 * 16 * 16; i++) {
		uint8_t four[4] = {(uint8_t)(i >> 12), edge[i >> 8 & 15], edge[i >> 4 & 15],
		                   edge[i & 15]};
		uint8_t amid[20];
		memset(amid, 'a', sizeof(amid));
		memcpy(amid + i % 9, four, 4);
		good += valid(four, 4);
		differ += ob__utf8_ok(four, 4) != valid(four, 4);
		differ += ob__utf8_ok(amid, sizeof(amid)) != valid(amid, sizeof(amid));
	}
	for (uint32_t i = 0; i < 65536; i++) { /* all pairs, at the end */
		uint8_t amid[12] = "aaaaaaaaaa";
		amid[10] = (uint8_t)(i >> 8);
		amid[11] = (uint8_t)i;
		differ += ob__utf8_ok(amid + 10, 2) != valid(amid + 10, 2);
		differ += ob__utf8_ok(amid, 12) != valid(amid, 12);
	}
	CU_ASSERT_EQUAL(differ, 0);
	CU_ASSERT_TRUE(good > 1000);
	CU_ASSERT_TRUE(ob__utf8_ok(NULL, 0));
}

static void test_utf8_front(void)
{
	static const struct {
		struct bytes in;
		size_t front;
	} table[] = {
		{BYTES(""), 0},
		{BYTES("all of it"), 9},
		{BYTES("\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80"), 9},
		{BYTES("a\xff"
	               "b"),
	         1},
		{BYTES("ab\xc3"), 2},
		{BYTES("ab\xe4\xbd"), 2},
		{BYTES("ab\xf0\x9f\x98"), 2},
		{BYTES("\xc3\xa9\xed\xa0\x80z"), 2},
		{BYTES("\x80"), 0},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		CU_ASSERT_EQUAL(ob__utf8_front(table[i].in.data, table[i].in.len), table[i].front);
	}
	CU_ASSERT_EQUAL(ob__utf8_front(NULL, 0), 0);
}

static size_t encode(uint8_t *p, uint32_t c)
{
	if (c < 0x80) {
		p[0] = (uint8_t)c;
		return 1;
	}
	size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, c >>= 6) {
		p[i] = (uint8_t)(0x80 | (c & 0x3f));
	}
	p[0] = (uint8_t)((0xf00u >> n & 0xff) | c);
	return n;
}

/* Every character there is. */
static void test_utf8_all(void)
{
	unsigned wrong = 0;
	for (uint32_t c = 0; c < 0x120000; c++) {
		uint8_t text[16] = "xxxxxxxxxxxxxxx";
		size_t n = encode(text, c);
		bool want = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
		wrong += ob__utf8_ok(text, n) != want;
		wrong += ob__utf8_ok(text, sizeof(text)) != want;
		wrong += n > 1 && ob__utf8_ok(text, n - 1);
	}
	CU_ASSERT_EQUAL(wrong, 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("ws", NULL, NULL);
	CU_add_test(s, "frames and faults", test_table);
	CU_add_test(s, "the same in pieces", test_pieces);
	CU_add_test(s, "lengths and alignments", test_lengths);
	CU_add_test(s, "a bad byte anywhere in a text", test_text_everywhere);
	CU_add_test(s, "a bad text before its frame is whole", test_text_early);
	CU_add_test(s, "characters across fragments", test_text_across_fragments);
	CU_add_test(s, "nothing is decoded after the end", test_after_the_end);
	CU_add_test(s, "compressed messages", test_packed);
	CU_add_test(s, "no limit, and a limit of nothing", test_highest_limit);
	CU_add_test(s, "headers that a server sends", test_put_header);
	CU_add_test(s, "close codes", test_close_codes);
	CU_add_test(s, "UTF-8 by its definition", test_utf8);
	CU_add_test(s, "UTF-8, each character", test_utf8_all);
	CU_add_test(s, "UTF-8, how much of it is good", test_utf8_front);
	return ob__tap_run();
}
