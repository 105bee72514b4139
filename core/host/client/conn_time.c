/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/conn_time.h"

#include "host/client/client.h"
#include "host/client/conn_priv.h"
#include "host/node.h"

#define READ_FIRST_MS 250u /* between reading a client again and waking its codec */

/* The earlier one; 0 is never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a != 0 && (b == 0 || a < b) ? a : b;
}

/* Never 0, never ahead. */
static uint32_t stamp(uint64_t now)
{
	return (uint32_t)now != 0 ? (uint32_t)now : UINT32_MAX;
}

/* When the packet that has begun must be whole, and the first message be there; 0: at any time. */
static uint64_t packet_due(const struct ob__conn *conn, uint64_t now)
{
	uint64_t ms = conn->from->conf->packet_ms;
	uint32_t passed = (uint32_t)now - conn->begun;

	return conn->begun == 0 || ms == 0 ? 0 : now + (passed < ms ? ms - passed : 0);
}

static uint64_t first_due(const struct ob__conn *conn)
{
	const struct ob__session *s = conn->session;
	uint64_t ms = conn->from->conf->first_ms;

	if (ms == 0 || s == NULL || s->messages > 0 || ob__resume_asks(conn)) {
		return 0;
	}
	return s->opened_ms + ms;
}

static bool is_stuck(const struct ob__conn *conn)
{
	return (conn->paused & OB__PAUSE_QUEUE) != 0 && conn->from->conf->send_ms != 0;
}

static uint64_t stuck_due(const struct ob__conn *conn, uint64_t now)
{
	uint64_t ms = conn->from->conf->send_ms;
	uint32_t passed = (uint32_t)now - conn->stuck;

	return is_stuck(conn) ? now + (passed < ms ? ms - passed : 0) : 0;
}

/* When something is due, at the earliest; 0: nothing is. */
static uint64_t conn_due(const struct ob__conn *conn, uint64_t now)
{
	uint64_t idle = conn->idle_ms != 0 ? conn->stream.last_read + conn->idle_ms : 0;
	uint64_t first = first_due(conn);

	/* Not counted while it is paused. */
	if (idle != 0 && idle <= now) {
		idle = now + conn->idle_ms;
	}
	if (first != 0 && first <= now) {
		first = now + conn->from->conf->first_ms;
	}
	return sooner(sooner(sooner(idle, conn->wake_at), sooner(packet_due(conn, now), first)),
	              stuck_due(conn, now));
}

void ob__conn_time_resumes(struct ob__conn *conn)
{
	if (conn->wake_at != 0) {
		uint64_t soon = ob__loop_now(conn->node->loop) + READ_FIRST_MS;
		conn->wake_at = conn->wake_at > soon ? conn->wake_at : soon;
	}
}

void ob__conn_stuck(struct ob__conn *conn)
{
	conn->stuck = stamp(ob__loop_now(conn->node->loop));
	conn->taken = ob__stream_taken(&conn->stream);
	ob__conn_arm(conn);
}

void ob__conn_begun(struct ob__conn *conn)
{
	conn->begun = stamp(ob__loop_now(conn->node->loop));
	ob__conn_arm(conn);
}

/* It is not read, and not because it does not read itself. */
static bool held_up(const struct ob__conn *conn)
{
	return (conn->paused & ~(uint32_t)OB__PAUSE_QUEUE) != 0;
}

/* Time is over in which it should have taken something: it goes, or has as long again. */
static bool still_stuck(struct ob__conn *conn, uint64_t now)
{
	uint64_t due = stuck_due(conn, now);

	if (due == 0 || due > now) {
		return false;
	}
	if (ob__stream_taken(&conn->stream) == conn->taken) {
		return true;
	}
	ob__conn_stuck(conn);
	return false;
}

/* Too slow with what it sends or takes: closes, and says so. */
static bool conn_is_late(struct ob__conn *conn, uint64_t now)
{
	uint64_t packet = packet_due(conn, now);
	uint64_t first = first_due(conn);

	if (first != 0 && first <= now && !held_up(conn)) {
		ob__conn_close(conn, OB__WS_POLICY, "no first message", "first_message");
	} else if (still_stuck(conn, now)) {
		ob__conn_close(conn, OB__WS_POLICY, "it does not read", "not_reading");
	} else if (conn->paused != 0) { /* what it sends is not read */
		conn->begun = conn->begun != 0 ? stamp(now) : 0;
	} else if (packet != 0 && packet <= now) {
		ob__conn_close(conn, OB__WS_POLICY, "a message took too long", "slow_packet");
	}
	return conn->close_sent;
}

void ob__conn_arm(struct ob__conn *conn)
{
	uint64_t now = ob__loop_now(conn->node->loop);
	uint64_t due = conn_due(conn, now);

	if (due != 0 && !conn->stream.closing &&
	    (!ob__timeout_armed(&conn->stream.timer) || due < conn->stream.timer.entry.expiry)) {
		ob__timeout_set(conn->node->loop, &conn->stream.timer, due > now ? due - now : 0);
	}
}

void ob__conn_times(struct ob__conn *conn, const ob_packet *p)
{
	if (p->idle_ms != 0) {
		conn->idle_ms = p->idle_ms != UINT32_MAX ? p->idle_ms : 0;
	}
	if (p->wake_ms != 0) {
		conn->wake_at = ob__loop_now(conn->node->loop) + p->wake_ms;
	}
	ob__conn_arm(conn);
}

void ob__conn_timer(void *arg)
{
	struct ob__conn *conn = arg;
	uint64_t now = ob__loop_now(conn->node->loop);

	if (conn->wake_at != 0 && conn->wake_at <= now && held_up(conn)) {
		conn->wake_at = now + READ_FIRST_MS; /* a sign of life may wait to be read */
	} else if (conn->wake_at != 0 && conn->wake_at <= now) {
		conn->wake_at = 0;
		if (!ob__conn_wake(conn)) {
			return;
		}
	}
	if (conn_is_late(conn, now)) {
		return;
	}
	if (conn->idle_ms != 0 && conn->paused == 0 &&
	    now - conn->stream.last_read >= conn->idle_ms) {
		ob__conn_close(conn, OB__WS_GOING_AWAY, "idle for too long", "idle");
		return;
	}
	ob__conn_arm(conn);
}
