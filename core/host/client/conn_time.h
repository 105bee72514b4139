/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A connection's deadlines.
 *
 * Five things have a time: a client that is silent (idle_ms), its first message (first_ms of the
 * listener), a packet that has begun and is not whole (packet_ms), a client that takes nothing of
 * what is queued for it (send_ms), and the codec, which may want to be called (wake_at).  One timer
 * serves them all, set for what is due first.  It is never late and may be early: what was due when
 * it was set may have been put off since, and then it is set again. So a message that puts
 * something off costs a store and no timer.
 *
 * WHO HOLDS UP WHOM.  Whatever a client owes it owes us only while it is read.  One that is not
 * read because of us (its requests are in flight, a link is congested, a node drains) can't be late
 * and its codec is not woken, for the sign of life may wait in the socket; a little time is left
 * for reading that when it is read again.
 */

#ifndef OB__CONN_TIME_H
#define OB__CONN_TIME_H

#include <obhost/obhost.h>

#include "host/client/conn.h"

/* Of the connection's timer. */
void ob__conn_timer(void *arg);

/* Sets the timer, if something is due sooner than it is set for. */
void ob__conn_arm(struct ob__conn *conn);

/* A packet has begun, and is not whole. */
void ob__conn_begun(struct ob__conn *conn);

/* After something was read: a packet that is not whole has so long, from now on or from where it
 * began. */
static inline void ob__conn_look(struct ob__conn *conn)
{
	bool begun = conn->part != NULL || conn->ws.message_op != 0;

	if (!begun) {
		conn->begun = 0;
	} else if (conn->begun == 0) {
		ob__conn_begun(conn);
	}
}

/* One was whole. */
static inline void ob__conn_whole(struct ob__conn *conn)
{
	if ((conn->part == NULL || conn->part->packet.len == 0) && conn->ws.message_op == 0) {
		conn->begun = 0;
	}
}

/* It does not read what is queued for it, and is not read itself. */
void ob__conn_stuck(struct ob__conn *conn);

/* It is read again. */
void ob__conn_time_resumes(struct ob__conn *conn);

/* What a codec has said about time. */
void ob__conn_times(struct ob__conn *conn, const ob_packet *p);

#endif
