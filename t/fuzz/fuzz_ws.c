/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The input is one byte of options, one that cuts, and what a client sends: raw bytes, or (option)
 * a short description of frames, from which well-formed ones grow sooner.
 *
 * What must hold: decoding in pieces gives what decoding at once gives; a frame that is not whole
 * and the bytes behind a frame are not touched; `need` is a promise kept; what comes out obeys the
 * RFC, and text that is not whole could still do so.  Built with wslay, that library judges the
 * same bytes; where the two disagree the difference must be one of those in `explained`.
 */

#include "lib/ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "t/fuzz/fuzz.h"

#define OPTION_DESCRIBED 0x80u

/* How a stream ended. */
struct verdict {
	bool closed;  /* by a close frame, of this code */
	bool refused; /* as an error, with this code */
	uint16_t code;
};

/* A whole message, a control frame or a close is appended to a buffer as this and its bytes. */
struct record {
	uint32_t op;
	uint32_t code;
	uint64_t len;
};

static void note(struct ob__buf *out, uint32_t op, uint16_t code, const void *data, size_t len)
{
	struct record r = {.op = op, .code = code, .len = len};
	CHECK(ob__buf_append(out, &r, sizeof(r)) == 0);
	CHECK(ob__buf_append(out, data, len) == 0);
}

static bool same(const struct ob__buf *a, const struct ob__buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* By the definition, byte by byte. */
static bool is_utf8(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	while (len > 0) {
		size_t more = p[0] < 0x80   ? 0
		              : p[0] < 0xc0 ? 9
		              : p[0] < 0xe0 ? 1
		              : p[0] < 0xf0 ? 2
		              : p[0] < 0xf8 ? 3
		                            : 9;
		if (more >= len || more == 9) {
			return false;
		}
		uint32_t c = more == 0 ? p[0] : p[0] & (0x3fu >> more);
		for (size_t i = 1; i <= more; i++) {
			if ((p[i] & 0xc0) != 0x80) {
				return false;
			}
			c = c << 6 | (p[i] & 0x3f);
		}
		if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
			return false;
		}
		p += more + 1;
		len -= more + 1;
	}
	return true;
}

/* One connection that is fed in pieces. */
struct peer {
	struct ob__ws ws;
	struct ob__buf kept;     /* undecoded */
	struct ob__buf messages; /* records */
	struct ob__buf items;    /* every item as it came */
	struct ob__buf message;  /* the fragments so far */
	bool open;               /* a fragmented message is */
	bool text;
	size_t need;
	struct verdict verdict;
};

static void take_data(struct peer *p, const struct ob__ws_item *item)
{
	CHECK(item->first == !p->open);
	CHECK(item->first || item->text == p->text);
	p->text = item->text;
	p->open = !item->fin;
	CHECK(ob__buf_append(&p->message, item->data, item->len) == 0);
	CHECK(p->message.len <= p->ws.max_message);
	if (item->fin) {
		CHECK(!p->text || is_utf8(p->message.data, p->message.len));
		note(&p->messages, p->text ? 1 : 2, 0, p->message.data, p->message.len);
		p->message.len = 0;
	}
}

static void take_item(struct peer *p, const struct ob__ws_item *item)
{
	note(&p->items, item->kind | (uint32_t)item->first << 8 | (uint32_t)item->fin << 9,
	     item->kind >= OB__WS_CLOSE ? item->code : 0, item->data, item->len);
	switch (item->kind) {
	case OB__WS_MORE:
		break;
	case OB__WS_DATA:
		take_data(p, item);
		break;
	case OB__WS_PING:
	case OB__WS_PONG:
		CHECK(item->len <= 125);
		note(&p->messages, item->kind == OB__WS_PING ? 9 : 10, 0, item->data, item->len);
		break;
	case OB__WS_CLOSE:
		CHECK(item->len <= 123 && is_utf8(item->data, item->len));
		CHECK(item->code == OB__WS_NO_STATUS || ob__ws_close_code_ok(item->code));
		p->verdict = (struct verdict){.closed = true, .code = item->code};
		break;
	case OB__WS_ERROR:
		CHECK(item->data == NULL && item->len == 0 && item->reason != NULL);
		CHECK(item->code == OB__WS_PROTOCOL || item->code == OB__WS_BAD_DATA ||
		      item->code == OB__WS_TOO_BIG);
		p->verdict = (struct verdict){.refused = true, .code = item->code};
		break;
	}
	CHECK(p->ws.closed == (p->verdict.closed || p->verdict.refused));
}

/* Decodes the front of what is kept, as a block of its exact size.  False: no more now. */
static bool step(struct peer *p)
{
	size_t len = p->kept.len;
	uint8_t *block = malloc(len > 0 ? len : 1);
	CHECK(block != NULL);
	if (len > 0) {
		memcpy(block, p->kept.data, len);
	}
	struct ob__ws_item item;
	size_t used = ob__ws_decode(&p->ws, block, len, &item);
	CHECK(used <= len);
	if (item.kind != OB__WS_ERROR && len > 0) {
		CHECK(memcmp(block + used, p->kept.data + used, len - used) == 0);
	}
	if (item.kind == OB__WS_MORE) {
		CHECK(used == 0 && item.need > len && item.need >= p->need);
		p->need = item.need;
	} else {
		CHECK((used == 0) == (item.kind == OB__WS_ERROR));
		/* It said so, and then it was enough or not yet all; text may be refused before. */
		CHECK(p->need <= len || item.code == OB__WS_BAD_DATA);
		CHECK(item.data == NULL ||
		      (item.data >= block && item.data + item.len <= block + used));
		p->need = 0;
		take_item(p, &item);
		ob__buf_consume(&p->kept, used);
	}
	free(block);
	return item.kind != OB__WS_MORE && !p->ws.closed;
}

static void peer_run(struct peer *p, const uint8_t *data, size_t len, uint64_t limit, bool pieces,
                     unsigned cut)
{
	memset(p, 0, sizeof(*p));
	ob__ws_init(&p->ws, limit);
	for (size_t at = 0; at < len && !p->ws.closed;) {
		cut = cut * 1103515245u + 12345u;
		size_t n = pieces ? 1 + (cut >> 16) % (len < 4096 ? 24 : 4096) : len;
		n = n < len - at ? n : len - at;
		CHECK(ob__buf_append(&p->kept, data + at, n) == 0);
		at += n;
		if (p->kept.len < p->need) {
			continue; /* what a caller may do: not ask before there is enough */
		}
		while (step(p)) {
		}
	}
	while (!p->ws.closed && p->kept.len > 0 && step(p)) {
	}
}

/* Some bytes behind these would make it valid UTF-8. */
static bool is_utf8_so_far(const struct ob__buf *b)
{
	static const uint8_t edges[] = {0x80, 0x90, 0xa0};
	struct ob__buf all = {0};
	bool good = is_utf8(b->data, b->len);
	CHECK(ob__buf_append(&all, b->data, b->len) == 0 && ob__buf_append(&all, "123", 3) == 0);
	for (unsigned i = 0; !good && i < 27; i++) {
		all.data[b->len] = edges[i % 3];
		all.data[b->len + 1] = edges[i / 3 % 3];
		all.data[b->len + 2] = edges[i / 9];
		for (size_t n = 1; !good && n <= 3; n++) {
			good = is_utf8(all.data, b->len + n);
		}
	}
	ob__buf_free(&all);
	return good;
}

/* What is kept of a text frame could still become valid. */
static void check_unfinished(const struct peer *p)
{
	const uint8_t *data = p->kept.data;
	if (p->ws.closed || p->kept.len < 2) {
		return;
	}
	uint8_t op = data[0] & 0x0f;
	uint8_t told = data[1] & 0x7f;
	size_t head = told < 126 ? 6 : told == 126 ? 8 : 14;
	if (p->kept.len <= head || !(op == 1 || (op == 0 && p->text))) {
		return;
	}
	struct ob__buf text = {0};
	CHECK(ob__buf_append(&text, p->message.data, p->message.len) == 0);
	CHECK(ob__buf_append(&text, data + head, p->kept.len - head) == 0);
	for (size_t i = 0; i < p->kept.len - head; i++) {
		text.data[p->message.len + i] ^= data[head - 4 + i % 4];
	}
	CHECK(is_utf8_so_far(&text));
	ob__buf_free(&text);
}

static void check_front(const uint8_t *data, size_t len)
{
	size_t front = ob__utf8_front(data, len);
	CHECK(front <= len && is_utf8(data, front) && ob__utf8_ok(data, front));
	CHECK((front == len) == ob__utf8_ok(data, len));
	for (size_t n = front + 1; n <= len && n <= front + 4; n++) {
		CHECK(!is_utf8(data, n));
	}
}

static void peer_free(struct peer *p)
{
	ob__buf_free(&p->kept);
	ob__buf_free(&p->messages);
	ob__buf_free(&p->items);
	ob__buf_free(&p->message);
}

#ifdef HAVE_WSLAY
#include <wslay/wslay.h>

struct oracle {
	const uint8_t *data;
	size_t len;
	struct ob__buf messages;
	struct verdict verdict;
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *arg)
{
	struct oracle *o = arg;
	(void)flags;
	if (o->len == 0) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	size_t n = len < o->len ? len : o->len;
	memcpy(buf, o->data, n);
	o->data += n;
	o->len -= n;
	return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                       void *arg)
{
	(void)ctx;
	(void)data;
	(void)flags;
	(void)arg;
	return (ssize_t)len;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *msg,
                       void *arg)
{
	struct oracle *o = arg;
	(void)ctx;
	if (msg->opcode == WSLAY_CONNECTION_CLOSE) {
		o->verdict = (struct verdict){.closed = true, .code = msg->status_code};
		return;
	}
	note(&o->messages, msg->opcode, 0, msg->msg, msg->msg_length);
}

static void oracle_run(struct oracle *o, uint64_t limit)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = on_recv,
		.send_callback = on_send,
		.on_msg_recv_callback = on_message,
	};
	wslay_event_context_ptr ctx;
	CHECK(wslay_event_context_server_init(&ctx, &callbacks, o) == 0);
	wslay_event_config_set_max_recv_msg_length(ctx, limit);
	int rc = wslay_event_recv(ctx);
	CHECK(rc == 0 || rc == WSLAY_ERR_CALLBACK_FAILURE);
	CHECK(wslay_event_send(ctx) == 0);
	if (rc != 0) { /* what its frame layer refuses has no code of its own */
		o->verdict = (struct verdict){.refused = true, .code = OB__WS_PROTOCOL};
	} else if (!o->verdict.closed && wslay_event_get_close_sent(ctx)) {
		o->verdict.refused = true;
		o->verdict.code = wslay_event_get_status_code_sent(ctx);
	}
	wslay_event_context_free(ctx);
}

/* The differences that are known; all are about close frames. */
static bool explained(const struct verdict *ours, const struct verdict *theirs, bool close_frame)
{
	uint16_t code = ours->closed && ours->code == OB__WS_NO_STATUS ? 0 : ours->code;
	if (ours->closed == theirs->closed && ours->refused == theirs->refused &&
	    code == theirs->code) {
		return true;
	}
	if (!close_frame) {
		return false;
	}
	if (!ours->closed && !ours->refused) { /* it looks at a reason before its frame is whole */
		return theirs->refused && theirs->code == OB__WS_BAD_DATA;
	}
	if (ours->refused && ours->code == OB__WS_PROTOCOL) {
		/* It takes a body of one byte for none, and the reason is looked at before the
		 * code is. */
		return theirs->closed ? theirs->code == 0 : theirs->code == OB__WS_BAD_DATA;
	}
	if (ours->closed && theirs->refused && theirs->code == OB__WS_PROTOCOL) {
		return ours->code >= 1012 && ours->code <= 1014; /* not registered at its time */
	}
	/* It forgets two bytes of each piece of a close frame, not of the first only, and its
	 * pieces end where its buffer of 4096 does. */
	return ours->closed && theirs->refused && theirs->code == OB__WS_BAD_DATA;
}

static void compare(const struct peer *p, const struct ob__buf *stream, uint64_t limit)
{
	/* It applies the limit to control frames too, and allocates what a header announces. */
	if (limit < 125 || limit > 1000000) {
		return;
	}
	/* It judges a header when it has the mask and a byte behind it. */
	struct ob__buf fed = {0};
	CHECK(ob__buf_append(&fed, stream->data, stream->len) == 0);
	if (p->verdict.refused) {
		CHECK(ob__buf_append(&fed, "0123456789abcdef", 16) == 0);
	}
	struct oracle o = {.data = fed.data, .len = fed.len};
	oracle_run(&o, limit);
	CHECK(same(&p->messages, &o.messages));
	bool close_frame = p->verdict.closed || (p->kept.len > 0 && (p->kept.data[0] & 0x0f) == 8);
	if (!explained(&p->verdict, &o.verdict, close_frame)) {
		fprintf(stderr,
		        "ours: closed %d, refused %d, %u; wslay: closed %d, refused %d, %u\n",
		        p->verdict.closed, p->verdict.refused, p->verdict.code, o.verdict.closed,
		        o.verdict.refused, o.verdict.code);
		abort();
	}
	ob__buf_free(&o.messages);
	ob__buf_free(&fed);
}
#else
static void compare(const struct peer *p, const struct ob__buf *stream, uint64_t limit)
{
	(void)p;
	(void)stream;
	(void)limit;
}
#endif

/* Two bytes describe a frame, its first one and its length; the payload follows.  A length of 254
 * or 255 stands for one of 256 or 66000 bytes. */
static void build(struct ob__buf *out, const uint8_t *data, size_t len)
{
	static const uint8_t filler[66000];
	while (len >= 2 && out->len < sizeof(filler)) {
		uint8_t b0 = data[0];
		size_t want = data[1] == 255 ? sizeof(filler) : data[1] == 254 ? 256 : data[1];
		data += 2;
		len -= 2;
		const uint8_t *payload = want >= 256 ? filler : data;
		size_t n = want >= 256 || want < len ? want : len;
		uint8_t header[OB__WS_HEADER_MAX + 4];
		size_t size = ob__ws_put_header(header, b0 & 0x0f, n);
		header[0] = b0;
		header[1] |= 0x80;
		uint8_t mask[4] = {b0, 0x5a, (uint8_t)n, 0xc3};
		memcpy(header + size, mask, sizeof(mask));
		CHECK(ob__buf_append(out, header, size + sizeof(mask)) == 0);
		CHECK(ob__buf_append(out, payload, n) == 0);
		for (size_t i = 0; i < n; i++) {
			out->data[out->len - n + i] ^= mask[i % 4];
		}
		data += want >= 256 ? 0 : n;
		len -= want >= 256 ? 0 : n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint64_t limits[] = {0, 1, 20, 125, 126, 300, 100000, UINT64_MAX / 4};
	if (len < 2) {
		return 0;
	}
	uint64_t limit = limits[data[0] % 8];
	struct ob__buf stream = {0};
	if ((data[0] & OPTION_DESCRIBED) != 0) {
		build(&stream, data + 2, len - 2);
	} else {
		CHECK(ob__buf_append(&stream, data + 2, len - 2) == 0);
	}
	struct peer whole;
	struct peer pieces;
	peer_run(&whole, stream.data, stream.len, limit, false, 0);
	peer_run(&pieces, stream.data, stream.len, limit, true, data[1]);
	CHECK(same(&whole.items, &pieces.items));
	CHECK(whole.ws.closed || same(&whole.kept, &pieces.kept));
	CHECK(whole.ws.closed || whole.ws.utf8 == pieces.ws.utf8);
	CHECK(whole.ws.closed || whole.ws.ahead == pieces.ws.ahead);
	check_unfinished(&whole);
	check_front(data + 2, len - 2);
	compare(&whole, &stream, limit);
	peer_free(&whole);
	peer_free(&pieces);
	ob__buf_free(&stream);
	return 0;
}
