/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/conn.h"

#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/log.h"
#include "host/client/client.h"
#include "host/client/codec_hook.h"
#include "host/client/codec_state.h"
#include "host/client/conn_priv.h"
#include "host/client/conn_time.h"
#include "host/client/door.h"
#include "host/client/guest.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/session/end.h"
#include "host/session/resume.h"
#include "mesh/handles.h"

#define CLOSE_MS 2000u /* for what is queued, and the peer's close frame */
#define WS_CLOSE 8u

static const struct ob__stream_ops conn_ops;

struct ob__conn *ob__conn_get(struct ob__node *node, uint64_t handle)
{
	struct ob__conn *conn = ob__slab_get(&node->clients.conns, handle);

	return conn != NULL && !conn->stream.closing ? conn : NULL;
}

static uint64_t *closed_counter(struct ob__node *node, const char *reason)
{
	char labels[64];

	snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
	return ob__stat_counter(node->stats, "obhost_client_closed_total", labels,
	                        "Client connections closed, by reason.");
}

void ob__client_count_closed(struct ob__node *node, const char *reason)
{
	struct ob__clients *c = &node->clients;
	size_t i = 0;

	while (i < c->closed_len && c->closed[i].reason != reason) {
		i++;
	}
	if (i == OB__CLOSED_KNOWN) {
		++*closed_counter(node, reason);
		return;
	}
	if (i == c->closed_len) {
		c->closed[i].reason = reason;
		c->closed[i].count = closed_counter(node, reason);
		c->closed_len++;
	}
	++*c->closed[i].count;
}

void ob__conn_update_read(struct ob__conn *conn)
{
	bool on = (conn->paused & ~(uint32_t)OB__CONN_SERIAL) == 0 && !conn->close_sent;

	if (on && !conn->stream.reading) {
		ob__conn_time_resumes(conn);
	}
	ob__stream_read(&conn->stream, on);
}

void ob__conn_peer(const struct ob__conn *conn, char *out, size_t cap)
{
	if (conn->guest != NULL && conn->guest->told) {
		ob__ip_format(&conn->guest->ip, conn->guest->port, out, cap);
	} else {
		ob__stream_peer(&conn->stream, out, cap);
	}
}

/* The session ends at once, the socket when it has been flushed. */
static void conn_leave(struct ob__conn *conn, const char *counted)
{
	struct ob__node *node = conn->node;
	struct ob__session *s = conn->session;

	if (!conn->counted) {
		conn->counted = true;
		ob__client_count_closed(node, counted);
		ob__debug("client", "%s closed", counted);
	}
	ob__timeout_clear(node->loop, &conn->stream.timer);
	ob__list_del(&conn->paused_link);
	if (s == NULL) {
		return;
	}
	uint64_t session = s->handle;
	conn->session = NULL;
	if (conn->resume == NULL || !ob__resume_left(conn, s, counted)) {
		ob__session_closed(node, s);
	}
	if ((conn->paused & OB__CONN_SERIAL) != 0 && !ob__session_is_away(node, session)) {
		ob__serial_drop(node, session);
	}
}

void ob__conn_drop(struct ob__conn *conn, const char *counted)
{
	conn_leave(conn, counted);
	ob__stream_close(&conn->stream);
}

static void close_frame(struct ob__conn *conn, uint16_t code, const char *reason)
{
	uint8_t body[125];
	size_t len = reason != NULL ? strnlen(reason, sizeof(body) - 2) : 0;

	len = ob__utf8_front((const uint8_t *)reason, len); /* it may be a module's, and cut */
	if (code != OB__WS_NO_STATUS && !ob__ws_close_code_ok(code)) {
		code = OB__WS_INTERNAL;
	}
	if (conn->is_ws && code != OB__WS_NO_STATUS) {
		body[0] = (uint8_t)(code >> 8);
		body[1] = (uint8_t)code;
		if (len > 0) {
			memcpy(body + 2, reason, len);
		}
		ob__conn_put(conn, WS_CLOSE, body, len + 2);
	} else if (conn->is_ws) {
		ob__conn_put(conn, WS_CLOSE, NULL, 0);
	}
}

void ob__conn_shut(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	conn->close_sent = true;
	close_frame(conn, code, reason);
	ob__door_leaving(conn, code, reason);
	conn_leave(conn, counted);
	ob__stream_close_flushed(&conn->stream, CLOSE_MS);
}

void ob__conn_close(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	uint8_t words[OB_CODEC_LAST_WORDS];
	bool failed;

	if (conn->close_sent || conn->stream.closing) {
		return;
	}
	conn->close_sent = true; /* whatever the codec does, this is the end */
	size_t len = ob__codec_last_words(conn, code, reason, words, sizeof(words), &failed);
	const struct ob__reg *reg = ob__slot_active(conn->codec);
	if (len > 0 && ob__conn_may_send(conn, reg, words, len)) {
		ob__conn_put(conn, ob__conn_op(reg), words, len);
	}
	ob__conn_shut(conn, code, reason, failed ? "codec" : counted);
}

void ob__conn_dismiss(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	ob__resume_never(conn);
	ob__conn_catch_up(conn);
	ob__conn_close(conn, code, reason, counted);
}

static void conn_closed(struct ob__stream *s)
{
	struct ob__conn *conn = s->owner;
	struct ob__node *node = conn->node;

	conn_leave(conn, "gone");
	ob__conn_part_free(conn);
	free(conn->way);
	ob__pushq_free(conn->pushes);
	free(conn->pushes);
	ob__codec_leave(conn);
	ob__guest_free(conn->guest);
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
	conn->node = node;
	conn->from = from;
	conn->is_ws = is_ws;
	conn->idle_ms = (uint32_t)from->conf->timeout_ms;
	ob__list_init(&conn->paused_link);
	ob__ws_init(&conn->ws, (uint32_t)ob__conn_message_max(conn) + OB__CONN_WS_MORE);
	ob__stream_init(&conn->stream, &node->streams, &conn_ops, conn);
	ob__timeout_init(&conn->stream.timer, ob__conn_timer, conn);
	conn->stream.high = node->conf->limits.client_queue / 2;
	if (ob__codec_join(conn, codec) != 0) {
		ob__slab_free(&node->clients.conns, conn);
		return NULL;
	}
	from->conns++;
	return conn;
}

void ob__session_announce(struct ob__node *node, uint64_t session)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (s == NULL) {
		return;
	}
	ob_event_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_SESSION_OPENED,
		.session = session,
		.node = node->self.id,
		.name = node->self.name,
		.role = node->self.role,
	};
	ob__dispatch_event(node, &info);
	s = ob__session_get(&node->sessions, session);
	if (s != NULL) {
		ob__states_session_begins(node, s);
	}
}

void ob__conn_announce(struct ob__conn *conn)
{
	ob__session_announce(conn->node, conn->session->handle);
}

/* The socket is there: the session begins. */
void ob__conn_open(struct ob__conn *conn)
{
	struct ob__node *node = conn->node;

	if (ob__codec_open(conn) != 0) {
		ob__conn_close(conn, OB__WS_INTERNAL, "codec failed", "codec_open");
		return;
	}
	conn->session =
		ob__session_open(&node->sessions, ob__conn_handle(conn), ob__loop_now(node->loop));
	if (conn->session == NULL) {
		ob__conn_close(conn, OB__WS_TRY_LATER, "too many sessions", "limit");
		return;
	}
	++*node->clients.opened;
	conn->broadcast = node->clients.broadcasts.last;
	ob__conn_arm(conn);
	if (!ob__resume_awaits(conn)) {
		ob__conn_announce(conn);
	}
	if (!conn->stream.closing) {
		ob__conn_update_read(conn);
	}
}

static void conn_end(struct ob__stream *s, int status)
{
	ob__conn_drop(s->owner, status == UV_EOF ? "eof" : "reset");
}

static void conn_drained(struct ob__stream *s)
{
	struct ob__conn *conn = s->owner;

	conn->paused &= ~(uint32_t)OB__PAUSE_QUEUE;
	ob__conn_send_kept(conn);
	ob__conn_update_read(conn);
}

static const struct ob__stream_ops conn_ops = {
	.on_read = ob__conn_read,
	.on_end = conn_end,
	.on_drained = conn_drained,
	.on_close = conn_closed,
};

/* ---- backpressure ---- */

void ob__conn_begin(struct ob__conn *conn)
{
	conn->in_flight++;
	if (conn->in_flight >= conn->node->conf->limits.in_flight &&
	    (conn->paused & OB__PAUSE_IN_FLIGHT) == 0) {
		conn->paused |= OB__PAUSE_IN_FLIGHT;
		ob__conn_update_read(conn);
	}
}

void ob__conn_ended(struct ob__conn *conn)
{
	if (conn == NULL) {
		return;
	}
	conn->in_flight--;
	if ((conn->paused & (OB__PAUSE_IN_FLIGHT | OB__CONN_SERIAL)) == 0) {
		return;
	}
	if ((conn->paused & OB__PAUSE_IN_FLIGHT) != 0 &&
	    conn->in_flight <= conn->node->conf->limits.in_flight / 2) {
		conn->paused &= ~(uint32_t)OB__PAUSE_IN_FLIGHT;
		ob__conn_update_read(conn);
	}
	if ((conn->paused & OB__CONN_SERIAL) != 0 && conn->in_flight == 0) {
		ob__serial_next(conn);
	}
}

void ob__conn_pause(struct ob__conn *conn, enum ob__conn_pause why, bool pause)
{
	uint32_t paused = pause ? conn->paused | why : conn->paused & ~(uint32_t)why;

	if (paused != conn->paused) {
		conn->paused = paused;
		if (!conn->stream.closing) {
			ob__conn_update_read(conn);
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
	ob__conn_update_read(conn);
}

void ob__clients_link_drained(struct ob__node *node, const struct ob__peer *peer)
{
	OB__LIST_EACH_SAFE (it, &node->clients.link_paused) {
		struct ob__conn *conn = OB__CONTAINER(it, struct ob__conn, paused_link);
		if (conn->paused_by == peer) {
			ob__list_del(&conn->paused_link);
			conn->paused &= ~(uint32_t)OB__PAUSE_LINK;
			ob__conn_update_read(conn);
		}
	}
}
