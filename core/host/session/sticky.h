/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Messages that are to go where the session's earlier ones went.
 *
 * A choice is looked at each time it is used.  While its node is suspect and has no link, messages
 * wait in the place where that is known (host/message/held.h).  When it is gone, the rule for the
 * message's id (rpc.sticky) says what becomes of it: another node is chosen, it fails, or it waits
 * in the place where that was seen (host/message/held.h) and in nobody's way.  The proxy decides
 * when it knows the role and has seen the node go; a route node does for messages whose role it
 * settles, by the choices and the rule that they have with them (mesh/sticks.h, OB__FRAME_LOST_*).
 *
 * A first choice is made in the role's way only where it is sure to be known to whoever places the
 * session's next message.  That is so on the proxy, which notes it at once, if no message of the
 * session is on its way that others are to place; else by rendezvous, in which all agree.  A
 * message whose role is settled further on says so itself (OB__FRAME_FIRST), and the route node
 * that gets it from the proxy may choose and remembers (mesh/firsts.h): the messages behind it keep
 * to that route node.  One that comes through another route node, or has waited, or goes by the
 * user, is placed by rendezvous.
 */

#ifndef OB__STICKY_H
#define OB__STICKY_H

#include <stdbool.h>
#include <stdint.h>

#include "host/conf/nodeconf.h"
#include "lib/frame.h"
#include "mesh/pending.h"
#include "mesh/router.h"
#include "mesh/session.h"
#include "mesh/sticks.h"

#define OB__STICKY_CLOSE 4004u /* close code: the node that the session needs is lost */
#define OB__STICKY_LOST  "the node that the session stays with is gone"

struct ob__node;

struct ob__sticky_rule {
	enum ob__sticky_lost lost;
	bool by_user;
	uint16_t flags; /* OB__FRAME_LOST_* */
};

enum ob__sticky_verdict {
	OB__STICKY_GO,   /* to the node, or, if it is 0, to one that is to be chosen */
	OB__STICKY_WAIT, /* until the node is back */
	OB__STICKY_FAIL,
};

/* The number of the rule for a message id, and what it says. */
static inline uint32_t ob__sticky_rule_of(const struct ob__nodeconf *conf, uint32_t id)
{
	uint32_t number = OB__LOST_MOVE;

	(void)ob__idrange_find(&conf->sticky, id, &number);
	return number;
}

struct ob__sticky_rule ob__sticky_rule(uint32_t number);

/* What a session's choices are made by, where they go by the user: the same for all sessions of one
 * user, its own for a session without. */
uint64_t ob__sticky_key(const struct ob__session *s);

/* On the session's proxy: it is another user's now, so what goes by the user is chosen anew. */
void ob__sticky_user_changed(const struct ob__node *node, struct ob__session *s);

/* And goes to the nodes that have served the user before, those that live. */
void ob__sticky_go_home(const struct ob__node *node, struct ob__session *s,
                        const struct ob__home *homes, uint8_t len);

/* On the session's proxy: what to do with a message to the role (0: settled further on), and in
 * *to the node. */
enum ob__sticky_verdict ob__sticky_of_session(struct ob__node *node, struct ob__session *s,
                                              uint32_t role, enum ob__sticky_lost lost,
                                              uint64_t *to);

/* A module chooses the node of that role here, by each message. */
bool ob__sticky_has_policy(const struct ob__node *node, const struct ob__frame *f);

/* The same for a frame on its way, whose destination *to is, if it has one, and that says its
 * session sticks to `stick` (0: nothing). */
enum ob__sticky_verdict ob__sticky_of_frame(struct ob__node *node, const struct ob__frame *f,
                                            uint64_t stick, uint64_t *to);

/* On a route node: where the session sticks for the role of a frame on its way that is to stay, if
 * the frame or this node knows.  Else, in q->first, whether the role's way may choose. */
uint64_t ob__sticky_known(struct ob__node *node, const struct ob__frame *f,
                          const struct ob__sticks *sticks, struct ob__route_query *q);

/* What has been chosen by it (NULL: nobody). */
void ob__sticky_placed(struct ob__node *node, const struct ob__route_query *q,
                       const struct ob__peer *to);

/* The same for one that was held, after something has changed. */
enum ob__sticky_verdict ob__sticky_of_held(struct ob__node *node, const struct ob__frame *f,
                                           const struct ob__route_query *q);

/* On the session's proxy: the route node for what is settled further on, or 0: any.  Of one that
 * drains another takes over as soon as nothing is under way; *wait says that it is to come to that:
 * there is another one. */
uint64_t ob__sticky_relay(const struct ob__node *node, const struct ob__session *s, bool *wait);

/* A node that was chosen is known to be gone. */
bool ob__sticky_is_gone(const struct ob__node *node, uint64_t id);

/* A request that was to stay has failed: forgets what is no good any more.  True when the session
 * is to end by it. */
bool ob__sticky_failed(const struct ob__node *node, struct ob__session *s,
                       const struct ob__pending *p, int code);

#endif
