/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/conn_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "host/client/codec_hook.h"
#include "host/client/conn_time.h"
#include "host/client/too_slow.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "lib/apart.h"
#include "net/wsdeflate.h"

#define DECODE_CLOSED SIZE_MAX
#define WS_PONG       10u

/* ---- what a codec answers ---- */

static void codec_failed(struct ob__conn *conn)
{
	ob__conn_close(conn, OB__WS_INTERNAL, "codec failed", "codec");
}

/* Answers what the client has sent, within what may be queued for it; true when it is still open.
 */
static bool conn_answer(struct ob__conn *conn, uint8_t op, const void *data, size_t len)
{
	if (ob__conn_full(conn, len + OB__WS_HEADER_MAX)) {
		ob__conn_too_slow(conn);
		return false;
	}
	ob__conn_put(conn, op, data, len);
	ob__conn_mark(conn);
	return !conn->stream.closing;
}

static void conn_violated(struct ob__conn *conn, const ob_packet *p)
{
	uint16_t code = p->code != 0 ? p->code : OB__WS_PROTOCOL;
	const char *word = code == OB__WS_TOO_BIG ? "too_big" : "bad_packet";

	ob__conn_close(conn, code, p->reason != NULL ? p->reason : "bad packet",
	               ob__codec_word(conn->node, p->kind_word, word));
}

static bool is_answer(const struct ob__conn *conn, const ob_packet *p)
{
	return p->kind == OB_PACKET_ANSWER && (p->data != NULL || p->len == 0) &&
	       p->len <= conn->node->conf->limits.message + 4096;
}

/* The bytes of a codec for its own client. */
static bool codec_answers(struct ob__conn *conn, const struct ob__reg *reg, const ob_packet *p)
{
	if (!is_answer(conn, p) || !ob__conn_may_send(conn, reg, p->data, p->len)) {
		codec_failed(conn);
		return false;
	}
	return p->len == 0 || conn_answer(conn, ob__conn_op(reg), p->data, p->len);
}

bool ob__conn_wake(struct ob__conn *conn)
{
	struct ob__reg *reg = ob__conn_codec(conn);
	ob_packet p = {.size = sizeof(p)};

	if (reg == NULL) {
		ob__conn_close(conn, OB__WS_INTERNAL, "no codec", "no_codec");
		return false;
	}
	if (reg->codec.wake == NULL) {
		return true; /* this generation has no use for it */
	}
	size_t n = reg->codec.wake(&reg->gen->ctx, conn->codec_state, &p);
	if (conn->stream.closing || conn->close_sent) {
		return false;
	}
	if (n == 0 && p.kind == OB_PACKET_CLOSE) {
		conn_violated(conn, &p);
		return false;
	}
	if (n != 0 || (p.kind != OB_PACKET_SKIP && p.kind != OB_PACKET_ANSWER)) {
		codec_failed(conn);
		return false;
	}
	ob__conn_times(conn, &p);
	return p.kind == OB_PACKET_SKIP || codec_answers(conn, reg, &p);
}

/* ---- what is incomplete ---- */

/* Room to keep something; NULL: there is none, the connection is closed. */
static struct ob__conn_part *part_of(struct ob__conn *conn)
{
	if (conn->part == NULL) {
		conn->part = calloc(1, sizeof(*conn->part));
	}
	if (conn->part == NULL) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
	}
	return conn->part;
}

void ob__conn_part_free(struct ob__conn *conn)
{
	if (conn->part != NULL) {
		ob__buf_free(&conn->part->in);
		ob__buf_free(&conn->part->packet);
		ob__buf_free(&conn->part->packed);
		free(conn->part);
		conn->part = NULL;
	}
}

static inline bool keeps_packet(const struct ob__conn *conn)
{
	return conn->part != NULL && conn->part->packet.len != 0;
}

/* ---- packets ---- */

/* What to do with the bytes that decode left over; true when the connection is still open. */
static bool keep_packet(struct ob__conn *conn, uint8_t *data, size_t len, size_t need)
{
	if (len == 0) {
		return true;
	}
	struct ob__buf keep = {0};
	if (part_of(conn) == NULL) {
		return false;
	}
	if (ob__buf_reserve(&keep, need > len ? need : len) != 0 ||
	    ob__buf_append(&keep, data, len) != 0) {
		ob__buf_free(&keep);
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	conn->part->packet = keep;
	return true;
}

/* The codec wants more than there is; true when that may be. */
static bool may_need(struct ob__conn *conn, const struct ob__reg *reg, size_t need, bool boundary)
{
	if (need > ob__conn_message_max(conn) + 4096) {
		ob__conn_close(conn, OB__WS_TOO_BIG, "packet too long", "too_big");
		return false;
	}
	if (boundary && (reg->codec.flags & OB_CODEC_STREAM) == 0) {
		ob__conn_close(conn, OB__WS_PROTOCOL, "packet cut off", "bad_packet");
		return false;
	}
	return true;
}

/* What the client has said may mean that it won't say hello; true when it is still open. */
static bool goes_on(struct ob__conn *conn, const ob_packet *p)
{
	return p->no_hello == 0 || conn->resume == NULL || ob__resume_message(conn);
}

/* The codec has decoded something that is no message; true when the connection is still open. */
static OB__APART bool conn_no_message(struct ob__conn *conn, const struct ob__reg *reg,
                                      const ob_packet *p, bool boundary)
{
	switch (p->kind) {
	case OB_PACKET_SKIP:
		return goes_on(conn, p);
	case OB_PACKET_ANSWER:
		return codec_answers(conn, reg, p) && goes_on(conn, p);
	case OB_PACKET_NEED:
		return may_need(conn, reg, p->need, boundary);
	case OB_PACKET_HELLO:
		return ob__resume_hello(conn, p);
	case OB_PACKET_SEEN:
		return ob__resume_seen(conn, p);
	default:
		conn_violated(conn, p);
		return false;
	}
}

/* Decodes packets from `data`: how many of its bytes they have, and in *need what the next one has;
 * DECODE_CLOSED when the connection is no longer open. */
static size_t decode_packets(struct ob__conn *conn, uint8_t *data, size_t len, bool boundary,
                             size_t *need)
{
	struct ob__node *node = conn->node;
	size_t used = 0;

	*need = 0;
	while (used < len) {
		struct ob__reg *reg = ob__conn_codec(conn);
		ob_packet p;
		ob__conn_packet(&p, 0);
		if (reg == NULL) {
			ob__conn_close(conn, OB__WS_INTERNAL, "no codec", "no_codec");
			return DECODE_CLOSED;
		}
		size_t n = reg->codec.decode(&reg->gen->ctx, conn->codec_state, data + used,
		                             len - used, boundary, ob__conn_message_max(conn), &p);
		if (n > len - used ||
		    (n == 0 && p.kind != OB_PACKET_NEED && p.kind != OB_PACKET_CLOSE) ||
		    (p.kind == OB_PACKET_NEED && (n != 0 || p.need <= len - used))) {
			codec_failed(conn);
			return DECODE_CLOSED;
		}
		used += n;
		if ((p.idle_ms | p.wake_ms) != 0 && p.kind != OB_PACKET_CLOSE) {
			ob__conn_times(conn, &p);
		}
		if (p.kind == OB_PACKET_MESSAGE) {
			if (conn->resume != NULL && !ob__resume_message(conn)) {
				return DECODE_CLOSED;
			}
			ob__dispatch_client(node, conn, &p);
			if (conn->stream.closing || conn->close_sent) {
				return DECODE_CLOSED;
			}
		} else if (!conn_no_message(conn, reg, &p, boundary)) {
			return DECODE_CLOSED;
		} else if (p.kind == OB_PACKET_NEED) {
			*need = p.need;
			return used;
		}
	}
	return used;
}

static bool join_packets(struct ob__conn *conn, const uint8_t *data, size_t len, bool boundary);

/* Bytes of the codec's stream arrived; true when the connection is still open. */
static inline bool conn_packets(struct ob__conn *conn, uint8_t *data, size_t len, bool boundary)
{
	size_t need;

	if (keeps_packet(conn)) {
		return join_packets(conn, data, len, boundary);
	}
	size_t used = decode_packets(conn, data, len, boundary, &need);
	return used == len ||
	       (used != DECODE_CLOSED && keep_packet(conn, data + used, len - used, need));
}

/* The same, behind what is kept of a packet. */
static OB__APART bool join_packets(struct ob__conn *conn, const uint8_t *data, size_t len,
                                   bool boundary)
{
	size_t need;

	if (ob__buf_append(&conn->part->packet, data, len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	/* The callbacks of the packets may not touch what is kept: they have no way to. */
	struct ob__buf work = conn->part->packet;
	conn->part->packet = (struct ob__buf){0};
	size_t used = decode_packets(conn, work.data, work.len, boundary, &need);
	if (used == 0) {
		conn->part->packet = work;
		return true;
	}
	conn->begun = 0;
	bool open =
		used != DECODE_CLOSED && keep_packet(conn, work.data + used, work.len - used, need);
	ob__buf_free(&work);
	return open;
}

/* ---- frames ---- */

/* A piece of a WebSocket stream that is no data; true when the connection is still open. */
static bool conn_control(struct ob__conn *conn, struct ob__ws_item *item)
{
	switch (item->kind) {
	case OB__WS_PING:
		return conn_answer(conn, WS_PONG, item->data, item->len);
	case OB__WS_PONG:
		return true;
	case OB__WS_CLOSE:
		ob__resume_goodbye(conn, item->code);
		ob__conn_shut(conn, item->code, NULL, "client");
		return false;
	case OB__WS_ERROR:
		ob__conn_close(conn, item->code, item->reason,
		               item->code == OB__WS_TOO_BIG ? "too_big" : "bad_frame");
		return false;
	default:
		return true;
	}
}

/* A fragment of a message. A codec of packets that are messages looks at them when they are whole,
 * not at each fragment anew. */
static bool conn_fragment(struct ob__conn *conn, const struct ob__ws_item *item)
{
	const struct ob__reg *reg = ob__slot_active(conn->codec);

	if (reg == NULL || (reg->codec.flags & OB_CODEC_STREAM) != 0) {
		return conn_packets(conn, item->data, item->len, false);
	}
	if (part_of(conn) == NULL) {
		return false;
	}
	if (ob__buf_append(&conn->part->packet, item->data, item->len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	return true;
}

/* A whole message that came compressed; true when the connection is still open. */
static bool unpack(struct ob__conn *conn, const void *data, size_t len, bool text)
{
	size_t max = ob__conn_message_max(conn) + OB__CONN_WS_MORE;
	struct ob__buf out = {0};
	bool open = false;
	int rc = ob__wsdeflate_unpack(conn->from->deflate, data, len, max, &out);

	if (rc == -EMSGSIZE) {
		ob__conn_close(conn, OB__WS_TOO_BIG, "message is longer than the limit", "too_big");
	} else if (rc == -ENOMEM) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
	} else if (rc != 0) {
		ob__conn_close(conn, OB__WS_BAD_DATA, "compressed data is not valid",
		               "bad_deflate");
	} else if (text && !ob__utf8_ok(out.data, out.len)) {
		ob__conn_close(conn, OB__WS_BAD_DATA, "text is not valid UTF-8", "bad_frame");
	} else {
		open = conn_packets(conn, out.data, out.len, true);
	}
	ob__buf_free(&out);
	return open;
}

/* The same, or a fragment of one: compressed data is kept until it is whole. */
static OB__APART bool conn_packed(struct ob__conn *conn, const struct ob__ws_item *item)
{
	if (item->first && item->fin) {
		return unpack(conn, item->data, item->len, item->text);
	}
	if (part_of(conn) == NULL) {
		return false;
	}
	if (ob__buf_append(&conn->part->packed, item->data, item->len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	if (!item->fin) {
		return true;
	}
	struct ob__buf work = conn->part->packed;
	conn->part->packed = (struct ob__buf){0};
	bool open = unpack(conn, work.data, work.len, item->text);
	ob__buf_free(&work);
	return open;
}

/* Decodes frames from `data`: how many of its bytes they have, and in *need what the next one has.
 * Of a connection that was closed there is nothing left. */
static size_t conn_frames(struct ob__conn *conn, uint8_t *data, size_t len, size_t *need)
{
	struct ob__ws_item item;
	size_t at = 0;

	while (at < len) {
		size_t n = ob__ws_decode(&conn->ws, data + at, len - at, &item);
		bool open;
		switch (item.kind) {
		case OB__WS_MORE:
			*need = item.need;
			return at;
		case OB__WS_DATA:
			open = item.packed ? conn_packed(conn, &item)
			       : item.fin  ? conn_packets(conn, item.data, item.len, true)
			                   : conn_fragment(conn, &item);
			break;
		default:
			open = conn_control(conn, &item);
			break;
		}
		if (!open) {
			return len;
		}
		ob__conn_whole(conn);
		at += n;
	}
	return at;
}

/* The front of a frame of `need` bytes, or of more than that. */
static void keep_frame(struct ob__conn *conn, const uint8_t *data, size_t len, size_t need)
{
	if (part_of(conn) != NULL &&
	    (ob__buf_reserve(&conn->part->in, need > len ? need : len) != 0 ||
	     ob__buf_append(&conn->part->in, data, len) != 0)) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
	}
}

/* Bytes behind the front of a frame.  As long as it is not whole it stays where it is: each byte is
 * copied once, in however many pieces they come. */
static void join_frames(struct ob__conn *conn, const uint8_t *data, size_t len)
{
	size_t need = 0;

	if (ob__buf_append(&conn->part->in, data, len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return;
	}
	struct ob__buf work = conn->part->in;
	conn->part->in = (struct ob__buf){0};
	size_t at = conn_frames(conn, work.data, work.len, &need);
	if (at == 0) {
		conn->part->in = work;
		if (ob__buf_reserve(&conn->part->in, need > work.len ? need - work.len : 0) != 0) {
			ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		}
		return;
	}
	if (at < work.len) {
		keep_frame(conn, work.data + at, work.len - at, need);
	}
	ob__buf_free(&work);
}

static void conn_bytes(struct ob__conn *conn, uint8_t *data, size_t len)
{
	if (!conn->is_ws) {
		conn_packets(conn, data, len, false);
		return;
	}
	if (conn->part != NULL && conn->part->in.len != 0) {
		join_frames(conn, data, len);
		return;
	}
	size_t need = 0;
	size_t at = conn_frames(conn, data, len, &need);
	if (at < len) {
		keep_frame(conn, data + at, len - at, need);
	}
}

void ob__conn_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct ob__conn *conn = s->owner;

	if (conn->close_sent) {
		return;
	}
	conn_bytes(conn, data, len);
	if (conn->part != NULL && conn->part->in.len == 0 && conn->part->packet.len == 0 &&
	    conn->part->packed.len == 0) {
		ob__conn_part_free(conn);
	}
	if (!conn->close_sent && !s->closing) {
		ob__conn_look(conn);
	}
}
