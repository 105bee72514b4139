/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Who has met a session, and that each of them hears of its end.
 *
 * A node that meets another node's session for the first time tells its proxy (SERVED), and again
 * every few seconds until that has acknowledged it.  If it does not for three minutes the session
 * is lost: there may be no such proxy.
 *
 * When the client goes, the proxy tells every node that has met the session (CLOSED), again and
 * again until each has acknowledged; a node raises the event at the first CLOSED and forgets the
 * session, so the event comes once.  Sessions whose proxy is gone are lost instead
 * (host/session/lost.h), and a CLOSED that comes late for one finds nothing.
 */

#ifndef OB__SESSION_END_H
#define OB__SESSION_END_H

#include <stdint.h>

#include "lib/frame.h"
#include "mesh/session.h"

struct ob__node;
struct ob__peer;

/* Of ob__session.flags, on a node that has met another node's session. */
enum ob__session_flag {
	OB__SESSION_SERVED_TOLD = 1u << 0,  /* its proxy knows, as far as this node does */
	OB__SESSION_STICKS = 1u << 1,       /* and that it is to stay */
	OB__SESSION_SERVED_HEARD = 1u << 2, /* its proxy has said that it knows */
	OB__SESSION_SERVED_DUE = 1u << 3,   /* it should have by now */
	OB__SESSION_MOVE_ASKED = 1u
	                         << 4, /* this node wants to be rid of it (host/cluster/drain.h) */
	OB__SESSION_STAYS = 1u << 5,   /* its proxy said that it stays all the same */
};

/* After the node's stats and sessions. */
void ob__session_ends_init(struct ob__node *node);

/* The session of a frame that is to be handled, met now if need be: *handle is 0 if the frame has
 * none.  0; OB_E_BUSY when there is no room for it; OB_E_GONE when the frame has come behind a
 * later one of its session (mesh/order.h). */
int ob__frame_session(struct ob__node *node, const struct ob__frame *f, uint64_t *handle);

/* The link of `peer` is lost, and with it perhaps a SERVED; one is up: what is not sure is told
 * again. */
void ob__served_unsure(struct ob__node *node, const struct ob__peer *peer);
void ob__served_again(struct ob__node *node);

/* Its proxy is gone: tells this node, then forgets. */
void ob__session_lost(struct ob__node *node, struct ob__session *s);

/* The session has been moved to another node: tells this node's modules, then forgets it here. */
void ob__session_left(struct ob__node *node, struct ob__session *s);

/* Somebody speaks of a session of this node that is no more: he is told. */
void ob__session_gone(struct ob__node *node, uint64_t owner, uint64_t seq, uint64_t to);

/* A session of this node that was not announced to its modules ends without their hearing of it. */
void ob__session_unborn(struct ob__node *node, struct ob__session *s);

/* A client of this node has gone: tells the others, then this node, then forgets. */
void ob__session_closed(struct ob__node *node, struct ob__session *s);

/* A SYSTEM frame for this node. */
void ob__frame_system(struct ob__node *node, const struct ob__frame *f);

#define OB__NOTICES_A_TURN 2000u

/* Sends again what is not acknowledged, from the next turn on. */
void ob__notices_retry(struct ob__node *node);

/* The callback of node->notice_timeout: does so with some of them, and re-arms it for the rest, or,
 * in a while, for what is left. */
void ob__notices_timeout(void *node);

/* Tells again, some sessions a turn, what proxies have not acknowledged; a timeout's callback. */
void ob__served_timeout(void *node);

#endif
