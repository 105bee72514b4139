/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/drain_move.h"

#include <obhost/obhost.h>

#include "host/client/conn.h"
#include "host/cluster/drain.h"
#include "host/message/held.h"
#include "host/node.h"
#include "host/session/end.h"

/* Sends what is about a session the way the session's messages go, behind them. */
static bool send_about(struct ob__node *node, uint64_t to, struct ob__frame *f)
{
	struct ob__route_query q = {
		.node = to,
		.sticky = true,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};
	struct ob__route route = ob__router_find(&node->router, &q);

	f->dst = to;
	f->hops = OB__FRAME_HOPS;
	if (route.kind != OB__ROUTE_PEER) {
		return false;
	}
	return ob__peer_send(node->links, route.peer, f) == 0;
}

/* ---- at the node that drains ---- */

bool ob__move_ask(struct ob__node *node, const struct ob__session *s)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_SESSION_MOVE,
		.session_node = s->node,
		.session_seq = s->seq,
		.role = node->self.role_id,
	};

	struct ob__peer *peer = ob__registry_get(&node->registry, s->node);
	if (!send_about(node, s->node, &f)) {
		return false;
	}
	if (peer != NULL) {
		peer->drain_told = true;
	}
	return true;
}

void ob__move_answered(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	bool asked = s != NULL && (s->flags & OB__SESSION_MOVE_ASKED) != 0;

	if (s == NULL || s->conn != 0 || f->src != s->node || (f->status != 0 && !asked)) {
		return; /* it was closed meanwhile, or the drain was aborted */
	}
	if (f->status != 0) {
		s->flags |= OB__SESSION_STAYS;
		return;
	}
	/* Also when the drain was aborted meanwhile: its proxy takes this node for rid of it. */
	++node->drain.moved;
	++*node->drain.moved_total;
	ob__session_left(node, s);
}

/* ---- at the session's proxy ---- */

static void answer(struct ob__node *node, const struct ob__session *s, uint64_t to, int code)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_SESSION_MOVED,
		.session_node = s->node,
		.session_seq = s->seq,
		.status = OB_RESULT_WIRE(code),
	};

	(void)send_about(node, to, &f); /* lost: it asks again */
}

static void move_now(struct ob__node *node, struct ob__session *s, uint32_t role, uint64_t from)
{
	ob__session_move(s, role);
	ob__session_unserved(s, from);
	answer(node, s, from, OB_OK);
}

void ob__move_asked(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__conn *conn = s != NULL ? ob__conn_get(node, s->conn) : NULL;

	struct ob__peer *peer = ob__registry_get(&node->registry, f->src);
	if (peer != NULL && f->role == peer->who.role_id) {
		ob__registry_set_draining(&node->registry, peer, true);
	}
	if (conn == NULL && (s == NULL || ob__resume_get(node, s->conn) == NULL)) {
		if (s == NULL) {
			ob__session_gone(node, f->session_node, f->session_seq, f->src);
		}
		return;
	}
	struct ob__session_choice *c = ob__session_choice(s, f->role);
	if (c == NULL || c->node != f->src) {
		ob__session_unserved(s, f->src);
		answer(node, s, f->src, OB_OK);
	} else if (!ob__session_may_move(s, f->role)) {
		answer(node, s, f->src, OB_E_DENIED);
	} else if (ob__session_busy(s, f->role) == 0) {
		move_now(node, s, f->role, f->src);
	} else {
		c->moving = 1;
		if (conn != NULL) {
			ob__conn_pause(conn, OB__PAUSE_MOVE, true);
		}
	}
}

/* Moves those choices that are to and can; true when some wait. */
static bool move_quiet(struct ob__node *node, struct ob__session *s)
{
	bool waits = false;

	for (uint8_t i = 0; i < s->sticky_len; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		if (c->moving == 1 && ob__session_busy(s, c->role) == 0) {
			move_now(node, s, c->role, c->node);
		} else {
			waits = waits || c->moving == 1;
		}
	}
	return waits;
}

void ob__drain_session_quiet(struct ob__node *node, struct ob__session *s)
{
	(void)move_quiet(node, s);
}

void ob__drain_session_back(struct ob__node *node, struct ob__conn *conn)
{
	if (move_quiet(node, conn->session)) {
		ob__conn_pause(conn, OB__PAUSE_MOVE, true);
	}
}

void ob__drain_client_quiet(struct ob__node *node, struct ob__conn *conn)
{
	struct ob__session *s = conn->session;

	if (s != NULL && (conn->paused & OB__PAUSE_RELAY) != 0 && ob__session_busy(s, 0) == 0) {
		ob__conn_pause(conn, OB__PAUSE_RELAY, false);
	}
	if ((conn->paused & OB__PAUSE_MOVE) == 0 || s == NULL) {
		return;
	}
	if (!move_quiet(node, s)) {
		ob__conn_pause(conn, OB__PAUSE_MOVE, false);
	}
}
