/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Who has met a session, and that each of them hears of its end.
 *
 * A node that meets another node's session for the first time tells its proxy (SERVED).  When the
 * client goes, the proxy tells every node that has met the session (CLOSED), again and again until
 * each has acknowledged; a node raises the event at the first CLOSED and forgets the session, so
 * the event comes once.  Sessions whose proxy is gone are lost instead (host/session_lost.h), and a
 * CLOSED that comes late for one finds nothing.
 */

#ifndef OB__SESSION_END_H
#define OB__SESSION_END_H

#include <stdint.h>

#include "lib/frame.h"
#include "mesh/session.h"

struct ob__node;

/* The session of a frame, met now if need be: *handle is 0 if the frame has none.  0, or OB_E_BUSY
 * when there is no room for it. */
int ob__frame_session(struct ob__node *node, const struct ob__frame *f, uint64_t *handle);

/* A link is lost, and with it perhaps a SERVED; one is up: what is not sure is told again. */
void ob__served_unsure(struct ob__node *node);
void ob__served_again(struct ob__node *node);

/* Its proxy is gone: tells this node, then forgets. */
void ob__session_lost(struct ob__node *node, struct ob__session *s);

/* A client of this node has gone: tells the others, then this node, then forgets. */
void ob__session_closed(struct ob__node *node, struct ob__session *s);

/* A SYSTEM frame for this node. */
void ob__frame_system(struct ob__node *node, const struct ob__frame *f);

/* Sends again what is not acknowledged. */
void ob__notices_retry(struct ob__node *node);

/* The same as a timeout's callback; re-arms node->notice_timeout. */
void ob__notices_timeout(void *node);

#endif
