/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/broadcast.h"
#include "host/client.h"
#include "host/codec_state.h"
#include "host/dispatch.h"
#include "host/fanout.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/session_end.h"
#include "mesh/handles.h"

#define CLOSE_MS  2000u /* for what is queued, and the peer's close frame */
#define WS_TEXT   1u
#define WS_BINARY 2u
#define WS_CLOSE  8u
#define WS_PONG   10u

static const struct ob__stream_ops conn_ops;

static void send_kept(struct ob__conn *conn);

/* ---- connections ---- */

struct ob__conn *ob__conn_get(struct ob__node *node, uint64_t handle)
{
	struct ob__conn *conn = ob__slab_get(&node->clients.conns, handle);

	return conn != NULL && !conn->stream.closing ? conn : NULL;
}

void ob__client_count_closed(struct ob__node *node, const char *reason)
{
	char labels[64];

	snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
	++*ob__stat_counter(node->stats, "obhost_client_closed_total", labels,
	                    "Client connections closed, by reason.");
}

static void conn_update_read(struct ob__conn *conn)
{
	ob__stream_read(&conn->stream, conn->paused == 0 && !conn->close_sent);
}

/* The session ends at once, the socket when it has been flushed. */
static void conn_leave(struct ob__conn *conn, const char *counted)
{
	struct ob__node *node = conn->node;
	struct ob__session *s = conn->session;

	if (conn->reason == NULL) {
		conn->reason = counted;
		ob__client_count_closed(node, counted);
		ob__debug("client", "%s closed", counted);
	}
	ob__timeout_clear(node->loop, &conn->idle);
	ob__list_del(&conn->paused_link);
	if (s != NULL) {
		conn->session = NULL;
		ob__session_closed(node, s);
	}
}

void ob__conn_drop(struct ob__conn *conn, const char *counted)
{
	conn_leave(conn, counted);
	ob__stream_close(&conn->stream);
}

static void put_control(struct ob__conn *conn, uint8_t op, const void *data, size_t len)
{
	uint8_t *out = ob__stream_reserve(&conn->stream, OB__WS_HEADER_MAX + len);

	if (out == NULL) {
		return;
	}
	size_t at = ob__ws_put_header(out, op, len);
	if (len > 0) {
		memcpy(out + at, data, len);
	}
	ob__stream_commit(&conn->stream, at + len);
}

void ob__conn_close(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	uint8_t body[125];
	size_t len = reason != NULL ? strnlen(reason, sizeof(body) - 2) : 0;

	if (conn->close_sent || conn->stream.closing) {
		return;
	}
	if (conn->is_ws && code != OB__WS_NO_STATUS) {
		body[0] = (uint8_t)(code >> 8);
		body[1] = (uint8_t)code;
		if (len > 0) {
			memcpy(body + 2, reason, len);
		}
		put_control(conn, WS_CLOSE, body, len + 2);
	} else if (conn->is_ws) {
		put_control(conn, WS_CLOSE, NULL, 0);
	}
	conn->close_sent = true;
	conn_leave(conn, counted);
	ob__stream_close_flushed(&conn->stream, CLOSE_MS);
}

static void conn_idle(void *arg)
{
	struct ob__conn *conn = arg;
	uint64_t timeout = conn->idle_ms;
	uint64_t silent = ob__loop_now(conn->node->loop) - conn->stream.last_read;

	if (conn->paused != 0 || silent < timeout) {
		ob__timeout_set(conn->node->loop, &conn->idle,
		                silent < timeout ? timeout - silent : timeout);
		return;
	}
	ob__conn_close(conn, OB__WS_GOING_AWAY, "idle for too long", "idle");
}

static void conn_closed(struct ob__stream *s)
{
	struct ob__conn *conn = s->owner;
	struct ob__node *node = conn->node;

	conn_leave(conn, "gone");
	ob__buf_free(&conn->in);
	ob__buf_free(&conn->packet);
	ob__pushq_free(conn->pushes);
	free(conn->pushes);
	ob__codec_leave(conn);
	ob__client_listener_left(conn->from);
	ob__slab_free(&node->clients.conns, conn);
}

struct ob__conn *ob__conn_new(struct ob__client_listener *from, bool is_ws)
{
	struct ob__node *node = from->node;
	uint64_t handle;
	struct ob__reg *codec = ob__slot_active(from->codec);
	struct ob__conn *conn =
		codec != NULL ? ob__slab_alloc(&node->clients.conns, &handle) : NULL;

	if (conn == NULL) {
		return NULL;
	}
	conn->handle = handle;
	conn->node = node;
	conn->from = from;
	conn->is_ws = is_ws;
	conn->idle_ms = (uint32_t)from->conf->timeout_ms;
	ob__list_init(&conn->paused_link);
	ob__timeout_init(&conn->idle, conn_idle, conn);
	ob__ws_init(&conn->ws, node->conf->limits.message + 64);
	ob__stream_init(&conn->stream, &node->streams, &conn_ops, conn);
	conn->stream.high = node->conf->limits.client_queue / 2;
	if (ob__codec_join(conn, codec) != 0) {
		ob__slab_free(&node->clients.conns, conn);
		return NULL;
	}
	from->conns++;
	return conn;
}

/* The socket is there: the session begins. */
void ob__conn_open(struct ob__conn *conn)
{
	struct ob__node *node = conn->node;

	conn->session = ob__session_open(&node->sessions, conn->handle, ob__loop_now(node->loop));
	if (conn->session == NULL) {
		ob__conn_close(conn, OB__WS_TRY_LATER, "too many sessions", "limit");
		return;
	}
	++*node->clients.opened;
	conn->broadcast = node->clients.broadcasts.last;
	if (conn->idle_ms != 0) {
		ob__timeout_set(node->loop, &conn->idle, conn->idle_ms);
	}
	ob_event_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_SESSION_OPENED,
		.session = conn->session->handle,
		.node = node->self.id,
		.name = node->self.name,
		.role = node->self.role,
	};
	ob__dispatch_event(node, &info);
	if (!conn->stream.closing) {
		conn_update_read(conn);
	}
}

/* ---- packets in ---- */

/* The codec's registration, with the connection's state brought to its version. */
static struct ob__reg *conn_codec(struct ob__conn *conn)
{
	struct ob__reg *reg = ob__slot_active(conn->codec);

	if (reg == NULL || reg->codec.state_ver == conn->codec_ver) {
		return reg;
	}
	return ob__codec_bring(conn, reg) ? reg : NULL;
}

/* What to do with the bytes that decode left over; true when the connection is still open. */
static bool keep_packet(struct ob__conn *conn, uint8_t *data, size_t len, size_t need)
{
	if (len == 0) {
		return true;
	}
	struct ob__buf keep = {0};
	if (ob__buf_reserve(&keep, need > len ? need : len) != 0 ||
	    ob__buf_append(&keep, data, len) != 0) {
		ob__buf_free(&keep);
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	conn->packet = keep;
	return true;
}

/* Decodes packets from `data`; true when the connection is still open. */
static bool decode_packets(struct ob__conn *conn, uint8_t *data, size_t len, bool boundary,
                           size_t *used, size_t *need)
{
	size_t max = conn->node->conf->limits.message;
	struct ob__node *node = conn->node;

	*used = 0;
	*need = 0;
	while (*used < len) {
		struct ob__reg *reg = conn_codec(conn);
		ob_packet p = {.size = sizeof(p)};
		if (reg == NULL) {
			ob__conn_close(conn, OB__WS_INTERNAL, "no codec", "no_codec");
			return false;
		}
		size_t n = reg->codec.decode(&reg->gen->ctx, conn->codec_state, data + *used,
		                             len - *used, boundary, max, &p);
		if (n > len - *used ||
		    (n == 0 && p.kind != OB_PACKET_NEED && p.kind != OB_PACKET_CLOSE)) {
			ob__conn_close(conn, OB__WS_INTERNAL, "codec failed", "codec");
			return false;
		}
		*used += n;
		switch (p.kind) {
		case OB_PACKET_MESSAGE:
			ob__dispatch_client(node, conn, &p);
			if (conn->stream.closing || conn->close_sent) {
				return false;
			}
			break;
		case OB_PACKET_SKIP:
			break;
		case OB_PACKET_NEED:
			*need = p.need;
			if (p.need > max + 4096) {
				ob__conn_close(conn, OB__WS_TOO_BIG, "packet too long", "too_big");
				return false;
			}
			if (boundary && (reg->codec.flags & OB_CODEC_STREAM) == 0) {
				ob__conn_close(conn, OB__WS_PROTOCOL, "packet cut off",
				               "bad_packet");
				return false;
			}
			return true;
		default:
			ob__conn_close(conn, p.code != 0 ? p.code : OB__WS_PROTOCOL,
			               p.reason != NULL ? p.reason : "bad packet",
			               p.code == OB__WS_TOO_BIG ? "too_big" : "bad_packet");
			return false;
		}
	}
	return true;
}

/* Bytes of the codec's stream arrived; true when the connection is still open. */
static bool conn_packets(struct ob__conn *conn, uint8_t *data, size_t len, bool boundary)
{
	size_t used;
	size_t need;

	if (conn->packet.len == 0) {
		return decode_packets(conn, data, len, boundary, &used, &need) &&
		       (used == len || keep_packet(conn, data + used, len - used, need));
	}
	if (ob__buf_append(&conn->packet, data, len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return false;
	}
	/* The callbacks of the packets may not touch conn->packet: they have no way to. */
	struct ob__buf work = conn->packet;
	conn->packet = (struct ob__buf){0};
	bool open = decode_packets(conn, work.data, work.len, boundary, &used, &need);
	if (open && used == 0) {
		conn->packet = work;
		return true;
	}
	open = open && keep_packet(conn, work.data + used, work.len - used, need);
	ob__buf_free(&work);
	return open;
}

/* A piece of a WebSocket stream that is no data; true when the connection is still open. */
static bool conn_control(struct ob__conn *conn, struct ob__ws_item *item)
{
	switch (item->kind) {
	case OB__WS_PING:
		put_control(conn, WS_PONG, item->data, item->len);
		return !conn->stream.closing;
	case OB__WS_PONG:
		return true;
	case OB__WS_CLOSE:
		ob__conn_close(conn, item->code, NULL, "client");
		return false;
	case OB__WS_ERROR:
		ob__conn_close(conn, item->code, item->reason,
		               item->code == OB__WS_TOO_BIG ? "too_big" : "bad_frame");
		return false;
	default:
		return true;
	}
}

/* Decodes frames from `data`; what is incomplete at the end is kept. */
static void conn_frames(struct ob__conn *conn, uint8_t *data, size_t len)
{
	struct ob__ws_item item = {.kind = OB__WS_MORE};
	size_t at = 0;

	while (at < len) {
		size_t n = ob__ws_decode(&conn->ws, data + at, len - at, &item);
		if (item.kind == OB__WS_MORE) {
			break;
		}
		bool open = item.kind == OB__WS_DATA
		                    ? conn_packets(conn, item.data, item.len, item.fin)
		                    : conn_control(conn, &item);
		if (!open) {
			return;
		}
		at += n;
	}
	if (at == len) {
		return;
	}
	size_t left = len - at;
	if (ob__buf_reserve(&conn->in, item.need > left ? item.need : left) != 0 ||
	    ob__buf_append(&conn->in, data + at, left) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
	}
}

static void conn_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct ob__conn *conn = s->owner;

	if (conn->close_sent) {
		return;
	}
	if (!conn->is_ws) {
		conn_packets(conn, data, len, false);
		return;
	}
	if (conn->in.len == 0) {
		conn_frames(conn, data, len);
		return;
	}
	if (ob__buf_append(&conn->in, data, len) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "out of memory", "memory");
		return;
	}
	struct ob__buf work = conn->in;
	conn->in = (struct ob__buf){0};
	conn_frames(conn, work.data, work.len);
	ob__buf_free(&work);
}

static void conn_end(struct ob__stream *s, int status)
{
	ob__conn_drop(s->owner, status == UV_EOF ? "eof" : "reset");
}

static void conn_drained(struct ob__stream *s)
{
	struct ob__conn *conn = s->owner;

	conn->paused &= ~(uint32_t)OB__PAUSE_QUEUE;
	send_kept(conn);
	conn_update_read(conn);
}

static const struct ob__stream_ops conn_ops = {
	.on_read = conn_read,
	.on_end = conn_end,
	.on_drained = conn_drained,
	.on_close = conn_closed,
};

/* ---- packets out ---- */

/* Encodes at out + gap for the frame header; the packet's place and size, NULL if it can't be. */
static uint8_t *encode_at(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p,
                          uint8_t *out, size_t cap, size_t *total)
{
	size_t gap = conn->is_ws ? ob__ws_header_len(p->len + reg->codec.overhead) : 0;
	size_t n = reg->codec.encode(&reg->gen->ctx, conn->codec_state, p, out + gap, cap - gap);

	if (n == 0 || n > cap - gap) {
		return NULL;
	}
	*total = gap + n;
	if (!conn->is_ws) {
		return out;
	}
	uint8_t op = (reg->codec.flags & OB_CODEC_TEXT) != 0 ? WS_TEXT : WS_BINARY;
	uint8_t *start = out + gap - ob__ws_header_len(n);
	ob__ws_put_header(start, op, n);
	*total = (size_t)(out + gap + n - start);
	return start;
}

static int send_small(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap)
{
	size_t total;
	uint8_t *out = ob__stream_reserve(&conn->stream, cap);

	if (out == NULL) {
		return OB_E_NOMEM;
	}
	const uint8_t *start = encode_at(conn, reg, p, out, cap, &total);
	if (start == NULL) {
		ob__stream_commit(&conn->stream, 0);
		return OB_E_APP;
	}
	if (start != out) {
		memmove(out, start, total);
	}
	ob__stream_commit(&conn->stream, total);
	return 0;
}

/* Into a buffer of its own. 0 or OB_E_*. */
static int make_form(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap,
                     struct ob__form *form)
{
	struct ob__rbuf *r = ob__rbuf_new(cap);

	if (r == NULL) {
		return OB_E_NOMEM;
	}
	const uint8_t *start = encode_at(conn, reg, p, r->data, cap, &form->len);
	if (start == NULL) {
		ob__rbuf_unref(r);
		return OB_E_APP;
	}
	form->bytes = r;
	form->at = (size_t)(start - r->data);
	return 0;
}

static int send_form(struct ob__conn *conn, const struct ob__form *form)
{
	return ob__stream_append_ref(&conn->stream, form->bytes, form->at, form->len);
}

static int send_own(struct ob__conn *conn, struct ob__reg *reg, const ob_packet *p, size_t cap)
{
	struct ob__form form;

	if (cap < OB__STREAM_GATHER) {
		return send_small(conn, reg, p, cap);
	}
	int rc = make_form(conn, reg, p, cap, &form);
	if (rc == 0) {
		rc = send_form(conn, &form);
		ob__rbuf_unref(form.bytes);
	}
	return rc;
}

static bool is_shared(const struct ob__reg *reg)
{
	return reg->codec.state_size == 0 || (reg->codec.flags & OB_CODEC_SHARED) != 0;
}

/* The packet of a fan-out, encoded for the first of those that get it in this form. */
static int send_shared(struct ob__conn *conn, struct ob__reg *reg, struct ob__fanout *fo,
                       size_t cap)
{
	struct ob__form *form = is_shared(reg) ? ob__fanout_form(fo, reg, conn->is_ws) : NULL;

	if (form == NULL) {
		return send_own(conn, reg, &fo->packet, cap);
	}
	if (form->failed) {
		return OB_E_APP;
	}
	int rc = form->bytes == NULL ? make_form(conn, reg, &fo->packet, cap, form) : 0;
	form->failed = rc == OB_E_APP;
	return rc == 0 ? send_form(conn, form) : rc;
}

void ob__conn_too_slow(struct ob__conn *conn)
{
	ob__conn_close(conn, OB__WS_POLICY, "too slow", "slow");
}

/* Its queue is full: the packet is dropped, or the client closed. */
static int refuse_full(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	if (conn->node->conf->limits.slow != OB__SLOW_CLOSE && p->kind == OB_PACKET_PUSH) {
		++*conn->node->clients.dropped_pushes[OB__SLOW_DROP];
	} else if (fo == NULL || !ob__fanout_close_later(fo, conn)) {
		ob__conn_too_slow(conn);
	}
	return OB_E_BUSY;
}

static int conn_send(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	const struct ob__limits *limits = &conn->node->conf->limits;
	struct ob__reg *reg = conn_codec(conn);

	if (reg == NULL) {
		return OB_E_STATE;
	}
	size_t cap = OB__WS_HEADER_MAX + p->len + reg->codec.overhead;
	if (conn->stream.queued + cap > limits->client_queue + limits->message) {
		return refuse_full(conn, p, fo);
	}
	int rc = fo != NULL && p == &fo->packet ? send_shared(conn, reg, fo, cap)
	                                        : send_own(conn, reg, p, cap);
	if (conn->stream.above && (conn->paused & OB__PAUSE_QUEUE) == 0) {
		conn->paused |= OB__PAUSE_QUEUE;
		conn_update_read(conn);
	}
	return rc;
}

void ob__conn_catch_up(struct ob__conn *conn)
{
	if (conn->broadcast != conn->node->clients.broadcasts.last) {
		ob__broadcasts_catch_up(conn, NULL);
	}
}

void ob__conn_reply(struct ob__conn *conn, uint32_t id, uint64_t cookie, int code, const char *text,
                    const void *data, size_t len)
{
	char *body = NULL;

	if (conn == NULL || conn->close_sent) {
		return;
	}
	ob__conn_catch_up(conn);
	if (conn->close_sent) {
		return;
	}
	if (code != OB_OK && len == 0) {
		body = ob__error_body(conn->node, code, text, &len);
		data = body;
	}
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_REPLY,
		.id = id,
		.cookie = cookie,
		.status = code,
		.data = data,
		.len = len,
	};
	int rc = conn_send(conn, &p, NULL);
	if (rc != 0 && rc != OB_E_BUSY) {
		ob__conn_close(conn, OB__WS_INTERNAL, "can't send", "encode");
	}
	free(body);
}

/* Whether a push waits until the client has read of what is queued. */
static bool keeps_push(const struct ob__conn *conn)
{
	uint8_t slow = conn->node->conf->limits.slow;

	return (conn->pushes != NULL && conn->pushes->len > 0) ||
	       ((slow == OB__SLOW_OLDEST || slow == OB__SLOW_CONFLATE) && conn->stream.above);
}

static int keep_push(struct ob__conn *conn, uint32_t id, const void *data, size_t len)
{
	const struct ob__limits *limits = &conn->node->conf->limits;
	uint64_t **counters = conn->node->clients.dropped_pushes;
	bool conflate = limits->slow == OB__SLOW_CONFLATE;
	uint32_t dropped;

	if (conn->pushes == NULL) {
		conn->pushes = malloc(sizeof(*conn->pushes));
		if (conn->pushes == NULL) {
			return OB_E_NOMEM;
		}
		ob__pushq_init(conn->pushes);
	}
	int rc = ob__pushq_put(conn->pushes, id, data, len, limits->client_queue / 2, conflate,
	                       &dropped);
	if (rc != 0) {
		++*counters[OB__SLOW_DROP];
		return rc == -ENOMEM ? OB_E_NOMEM : OB_E_BUSY;
	}
	*counters[conflate ? OB__SLOW_CONFLATE : OB__SLOW_OLDEST] += dropped;
	return 0;
}

static void send_kept(struct ob__conn *conn)
{
	struct ob__pushq_item *item;

	while (conn->pushes != NULL && !conn->stream.above && !conn->close_sent &&
	       (item = ob__pushq_take(conn->pushes)) != NULL) {
		ob_packet p = {
			.size = sizeof(p),
			.kind = OB_PACKET_PUSH,
			.id = item->id,
			.data = item->data,
			.len = item->len,
		};
		(void)conn_send(conn, &p, NULL);
		free(item);
	}
}

int ob__conn_give_next(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	return keeps_push(conn) ? keep_push(conn, p->id, p->data, p->len) : conn_send(conn, p, fo);
}

int ob__conn_give(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	if (!conn->close_sent && conn->broadcast != conn->node->clients.broadcasts.last) {
		ob__broadcasts_catch_up(conn, fo);
	}
	return conn->close_sent ? OB_E_STALE : ob__conn_give_next(conn, p, fo);
}

int ob__conn_push(struct ob__node *node, uint64_t handle, uint32_t id, const void *data, size_t len)
{
	struct ob__conn *conn = ob__conn_get(node, handle);
	ob_packet p = {
		.size = sizeof(p),
		.kind = OB_PACKET_PUSH,
		.id = id,
		.data = data,
		.len = len,
	};

	return conn != NULL ? ob__conn_give(conn, &p, NULL) : OB_E_STALE;
}

/* ---- backpressure ---- */

void ob__conn_begin(struct ob__conn *conn)
{
	conn->in_flight++;
	if (conn->in_flight >= conn->node->conf->limits.in_flight &&
	    (conn->paused & OB__PAUSE_IN_FLIGHT) == 0) {
		conn->paused |= OB__PAUSE_IN_FLIGHT;
		conn_update_read(conn);
	}
}

void ob__conn_ended(struct ob__conn *conn)
{
	if (conn == NULL) {
		return;
	}
	conn->in_flight--;
	if ((conn->paused & OB__PAUSE_IN_FLIGHT) != 0 &&
	    conn->in_flight <= conn->node->conf->limits.in_flight / 2) {
		conn->paused &= ~(uint32_t)OB__PAUSE_IN_FLIGHT;
		conn_update_read(conn);
	}
}

void ob__conn_pause(struct ob__conn *conn, enum ob__conn_pause why, bool pause)
{
	uint32_t paused = pause ? conn->paused | why : conn->paused & ~(uint32_t)why;

	if (paused != conn->paused) {
		conn->paused = paused;
		if (!conn->stream.closing) {
			conn_update_read(conn);
		}
	}
}

void ob__conn_pause_link(struct ob__conn *conn, const struct ob__peer *peer)
{
	if ((conn->paused & OB__PAUSE_LINK) != 0) {
		return;
	}
	conn->paused |= OB__PAUSE_LINK;
	conn->paused_by = peer;
	ob__list_append(&conn->node->clients.link_paused, &conn->paused_link);
	conn_update_read(conn);
}

void ob__clients_link_drained(struct ob__node *node, const struct ob__peer *peer)
{
	OB__LIST_EACH_SAFE (it, &node->clients.link_paused) {
		struct ob__conn *conn = OB__CONTAINER(it, struct ob__conn, paused_link);
		if (conn->paused_by == peer) {
			ob__list_del(&conn->paused_link);
			conn->paused &= ~(uint32_t)OB__PAUSE_LINK;
			conn_update_read(conn);
		}
	}
}
