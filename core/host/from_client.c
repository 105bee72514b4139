/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/dispatch.h"

#include <string.h>

#include "base/err.h"
#include "host/client.h"
#include "host/conn.h"
#include "host/held.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/request.h"
#include "host/slot.h"
#include "host/sticky.h"
#include "host/users.h"
#include "mesh/sticks.h"

#define CLIENT_ID_MAX 0x7fffffffu

/* Whether waiting for a route node makes sense: one is configured or was ever seen. */
static bool knows_route_node(struct ob__node *node)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);

	return (role != NULL && !ob__list_empty(&role->peers)) ||
	       ob__links_dials_role(node->links, OB__ROLE_ROUTE);
}

static void client_fail(struct ob__node *node, struct ob__conn *conn, const ob_packet *p, int code,
                        const char *text)
{
	ob__count_result(node->dispatch.refused, code);
	if (p->one_way == 0) {
		ob__conn_reply(conn, p->id, p->cookie, code, text, NULL, 0);
	}
}

static void client_local(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                         const ob_view *view, struct ob__reg *reg)
{
	struct ob__req *r = ob__req_new(node, reg, OB__ORIGIN_CLIENT, node->conf->call_timeout_ms);

	if (r == NULL) {
		client_fail(node, conn, p, OB_E_BUSY, "too many requests");
		return;
	}
	r->view = *view;
	r->from.client.conn = conn->handle;
	r->from.client.cookie = p->cookie;
	ob__req_run(node, reg, r);
}

/* One message of a client on its way out. */
struct outgoing {
	const ob_packet *p;
	struct ob__frame f;
	struct ob__route_query q;
	uint32_t rule; /* the number of that for its id */
	bool sticky;
	struct ob__pending *pending; /* NULL: it has no answer */
};

/* Gives it to a peer's link; 0 or why not. */
static int client_give(struct ob__node *node, struct ob__conn *conn, struct outgoing *o,
                       struct ob__peer *peer, struct ob__peer *to)
{
	int rc = ob__peer_send(node->links, peer, &o->f);

	if (rc != 0) {
		return rc;
	}
	if (o->pending != NULL && peer->link != NULL) {
		ob__pending_sent(o->pending, peer->link, to);
	}
	if (ob__peer_congested(peer)) {
		ob__conn_pause_link(conn, peer);
	}
	return 0;
}

/* The next message may be added to the frame of this one. */
static void way_taken(struct ob__way *w, const struct ob__session *s, const ob_packet *p)
{
	w->number = s->order.last[w->key.role == 0];
	w->mark = ob__peer_mark(w->peer);
	w->id = p->id;
	w->one_way = p->one_way != 0;
}

/* Notes for the next message how this one went, if that is sure to stay until something changes. */
static void keep_way(struct ob__node *node, struct ob__conn *conn, const struct outgoing *o,
                     const struct ob__route *route)
{
	const struct ob__route_query *q = &o->q;
	struct ob__way *w = &conn->way;
	bool stuck = q->node != 0 || (q->prefer != 0 && node->router.route->chooser.policy == NULL);

	if (!stuck || route->peer != route->to || ob__peer_drains(route->to) ||
	    node->cluster.reach_changed || o->f.ext_len > OB__WAY_EXT) {
		return;
	}
	w->key = ob__way_key(&node->registry, conn->session, o->rule, q->role);
	w->peer = route->peer;
	w->dst = o->f.dst;
	way_taken(w, conn->session, o->p);
	w->first = q->node == 0 && q->key == 0;
	w->marked = (o->f.flags & OB__FRAME_FIRST) != 0;
	w->ext_len = o->f.ext_len;
	memcpy(w->ext, o->f.ext, w->ext_len);
}

/* Finds the message a way to a peer, or keeps it; 0 or why not. */
static int client_send(struct ob__node *node, struct ob__conn *conn, struct outgoing *o)
{
	const struct ob__route_query *q = &o->q;
	struct ob__route route = ob__router_find(&node->router, q);

	if (route.kind == OB__ROUTE_NONE) {
		if (q->node == 0 && q->role == 0 && !knows_route_node(node)) {
			return OB_E_NOT_FOUND;
		}
		return ob__hold_own(node, &o->f, q);
	}
	if (route.kind == OB__ROUTE_SELF) {
		return OB_E_NOT_FOUND;
	}
	if (route.kind == OB__ROUTE_REFUSED) {
		return route.code;
	}
	o->f.dst = route.dst != 0 ? route.dst : o->f.dst;
	int rc = client_give(node, conn, o, route.peer, route.to);
	if (rc != 0 || conn->session == NULL) {
		return rc; /* a policy may have closed the client */
	}
	if (o->sticky &&
	    route.to->who.role_id == (q->role != 0 ? q->role : node->router.route_role)) {
		ob__session_stick(conn->session, route.to->who.role_id, route.to->who.id);
		keep_way(node, conn, o, &route);
		ob__users_tell_homes(node, conn->session, false);
	}
	return 0;
}

/* Its frames pass through others. */
static bool is_far(const struct ob__node *node, uint64_t id)
{
	const struct ob__peer *peer = id != 0 ? ob__registry_get(&node->registry, id) : NULL;

	return id != 0 && (peer == NULL || peer->link == NULL);
}

/* What waits for the answer; NULL: there is no room, and the client was told. */
static struct ob__pending *client_pending(struct ob__node *node, struct ob__conn *conn,
                                          const ob_packet *p, bool sticky,
                                          enum ob__sticky_lost lost, uint32_t role)
{
	struct ob__pending *pending =
		ob__pending_new(&node->pendings, OB__PENDING_CLIENT, node->conf->call_timeout_ms);
	if (pending == NULL) {
		client_fail(node, conn, p, OB_E_BUSY, "too many requests");
		return NULL;
	}
	pending->id = p->id;
	pending->u.client.conn = conn->handle;
	pending->u.client.cookie = p->cookie;
	pending->u.client.seq = conn->session->seq;
	ob__conn_begin(conn);
	if (sticky) {
		pending->u.client.role = role;
		pending->u.client.sticky = true;
		pending->u.client.lost = lost;
		ob__session_begin(conn->session, role);
	}
	return pending;
}

/* The header of its frame, but for the destination and what is said about its session. */
static void client_frame(const struct ob__node *node, const struct ob__session *s,
                         struct outgoing *o, uint16_t flags)
{
	const ob_packet *p = o->p;
	struct ob__frame *f = &o->f;

	f->kind = OB__FRAME_REQUEST;
	f->flags = (uint16_t)(flags | (p->one_way != 0 ? OB__FRAME_ONE_WAY : 0));
	f->id = p->id;
	f->call = o->pending != NULL ? o->pending->handle : 0;
	f->budget = (uint32_t)node->conf->call_timeout_ms;
	f->hops = OB__FRAME_HOPS;
	f->session_node = s->node;
	f->session_seq = s->seq;
	f->payload = p->data;
	f->payload_len = (uint32_t)p->len;
}

static void client_sent(struct ob__node *node, const struct outgoing *o, int rc)
{
	if (rc == 0) {
		return;
	}
	ob__count_result(node->dispatch.refused, ob__result_clean(rc));
	if (o->pending != NULL) {
		struct ob__end end = {.code = ob__result_clean(rc),
		                      .text = rc == OB_E_NOT_FOUND ? "no node handles this id"
		                                                   : NULL};
		ob__pending_end(o->pending, &end);
	}
}

/* Notes what others are to place and nobody will tell of. */
static void client_left(struct ob__conn *conn, const ob_packet *p, uint32_t role)
{
	if (p->one_way != 0 && conn->session != NULL) {
		ob__session_leave(conn->session, role);
	}
}

/* Adds it to the frame of the message before it, if that has not left. */
static bool way_add(struct ob__conn *conn, const ob_packet *p, struct ob__pending *pending)
{
	struct ob__way *w = &conn->way;
	struct ob__order *order = &conn->session->order;
	unsigned row = w->key.role == 0;

	if (w->marked || w->id != p->id || w->one_way != (p->one_way != 0) ||
	    w->number != order->last[row] ||
	    !ob__peer_add(w->peer, w->mark, pending != NULL ? pending->handle : 0, p->data,
	                  p->len)) {
		return false;
	}
	w->mark = ob__peer_mark(w->peer);
	w->number = ob__order_next(order, row);
	if (pending != NULL) {
		ob__pending_sent(pending, w->peer->link, w->peer);
	}
	if (ob__peer_congested(w->peer)) {
		ob__conn_pause_link(conn, w->peer);
	}
	return true;
}

/* The message goes where the one before went. */
static void client_follow(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                          uint32_t number)
{
	struct ob__way *w = &conn->way;
	struct ob__sticky_rule rule = ob__sticky_rule(number);
	struct ob__pending *pending = NULL;
	bool first = w->first && ob__session_first(conn->session, 0);

	if (p->one_way == 0 &&
	    (pending = client_pending(node, conn, p, true, rule.lost, w->key.role)) == NULL) {
		return;
	}
	if (w->first) {
		client_left(conn, p, 0);
	}
	if (!first && way_add(conn, p, pending)) {
		return;
	}
	struct outgoing o = {.p = p, .rule = number, .sticky = true, .pending = pending};
	client_frame(node, conn->session, &o,
	             (uint16_t)(OB__FRAME_STICKY | rule.flags | (first ? OB__FRAME_FIRST : 0)));
	o.f.role = w->key.role;
	o.f.dst = w->dst;
	ob__order_put(&conn->session->order, w->key.role == 0, w->ext);
	o.f.ext = w->ext;
	o.f.ext_len = w->ext_len;
	w->marked = first;
	int rc = client_give(node, conn, &o, w->peer, w->peer);
	way_taken(w, conn->session, p);
	client_sent(node, &o, rc);
}

static void client_find(struct ob__node *node, struct ob__conn *conn, struct outgoing *o,
                        const ob_target *target)
{
	struct ob__session *s = conn->session;
	struct ob__sticky_rule rule = ob__sticky_rule(o->rule);
	enum ob__sticky_verdict verdict = OB__STICKY_GO;
	bool wait = false;
	uint8_t ext[OB__ORDER_EXT + OB__STICKS_EXT + OB__USER_EXT_MAX + OB__CARRY_EXT_MAX];
	struct ob__route_query *q = &o->q;
	struct ob__frame *f = &o->f;

	q->node = target->node;
	q->role = target->node != 0 ? 0 : target->role;
	q->session_node = s->node;
	q->session_seq = s->seq;
	q->frame = f;
	o->sticky = (target->flags & OB_TARGET_STICKY) != 0 && target->node == 0 &&
	            rule.lost != OB__LOST_OFF;
	q->sticky = o->sticky;
	if (o->sticky) {
		q->key = rule.by_user ? ob__sticky_key(s) : 0;
		if (rule.by_user) {
			ob__session_by_user(s, q->role);
		}
		q->stays = rule.flags != 0;
		verdict = ob__sticky_of_session(node, s, q->role, rule.lost, &q->node);
		q->prefer = q->role == 0 ? ob__sticky_relay(node, s, &wait) : 0;
		q->first = q->node == 0 && q->key == 0 && ob__session_first(s, q->role);
	}
	if (wait) {
		ob__conn_pause(conn, OB__PAUSE_RELAY, true);
	}
	if (verdict == OB__STICKY_FAIL) {
		client_fail(node, conn, o->p, OB_E_NO_ROUTE, OB__STICKY_LOST);
		return;
	}
	if (o->p->one_way == 0 && (o->pending = client_pending(node, conn, o->p, o->sticky,
	                                                       rule.lost, q->role)) == NULL) {
		return;
	}
	client_frame(node, s, o,
	             o->sticky ? (uint16_t)(OB__FRAME_STICKY | rule.flags |
	                                    (q->first ? OB__FRAME_FIRST : 0))
	                       : 0);
	f->role = q->role;
	f->dst = q->node;
	f->ext = ext;
	size_t at = 0;
	if (o->sticky) {
		at = ob__order_put(&s->order, q->role == 0, ext);
		at += ob__sticks_put(ext + at, s, q->role, q->key, is_far(node, q->node));
	}
	at += ob__users_ext_put(s, q->node, ext + at);
	at += q->node == 0 ? ob__session_carry_put(s, ext + at) : 0;
	f->ext_len = (uint16_t)at;
	client_sent(node, o,
	            verdict == OB__STICKY_WAIT ? ob__hold_own(node, f, q)
	                                       : client_send(node, conn, o));
	if (o->sticky && q->node == 0) {
		client_left(conn, o->p, q->role);
	}
}

static void client_forward(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                           const ob_target *target)
{
	uint32_t rule = ob__sticky_rule_of(node, p->id);

	if ((target->flags & OB_TARGET_STICKY) != 0 && target->node == 0 &&
	    ob__way_holds(&conn->way, &node->registry, conn->session, rule, target->role)) {
		client_follow(node, conn, p, rule);
	} else {
		client_find(node, conn, &(struct outgoing){.p = p, .rule = rule}, target);
	}
}

static void client_verdict(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                           const ob_view *view, const ob_verdict *v)
{
	struct ob__reg *reg;

	switch (v->action) {
	case OB_LOCAL:
		reg = ob__local_handler(node, true, p->id, conn->session->node, conn->session->seq);
		if (reg != NULL) {
			client_local(node, conn, p, view, reg);
		} else {
			client_fail(node, conn, p, OB_E_NOT_FOUND, "no handler for this id");
		}
		return;
	case OB_FORWARD:
		if (v->target.node == node->self.id) {
			client_fail(node, conn, p, OB_E_NOT_FOUND, "no handler for this id");
			return;
		}
		client_forward(node, conn, p, &v->target);
		return;
	case OB_DONE:
		return;
	case OB_REFUSE:
		client_fail(node, conn, p, ob__result_clean(v->code != 0 ? v->code : OB_E_DENIED),
		            v->text);
		return;
	default:
		client_fail(node, conn, p, OB_E_APP, "the decider gave no verdict");
	}
}

static bool id_ok(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	if (p->id == 0 || p->id > CLIENT_ID_MAX) {
		client_fail(node, conn, p, OB_E_BAD, "a message id is 1 to 2147483647");
		return false;
	}
	if (p->id == OB__OFFLINE_ID || p->id == node->conf->session_closed_id) {
		client_fail(node, conn, p, OB_E_DENIED, "this id is reserved");
		return false;
	}
	return true;
}

static bool pass_filters(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                         const ob_view *view)
{
	for (size_t i = 0; i < node->slots.filters.len; i++) {
		struct ob__reg *reg = node->slots.filters.regs[i];
		struct ob__gen *g = reg->gen;
		uint64_t entered = ob__gen_enter(g);
		int rc = reg->fn.filter(&g->ctx, view);
		ob__gen_leave(g, entered);
		if (rc != 0) {
			client_fail(node, conn, p, ob__result_clean(rc), NULL);
			return false;
		}
	}
	return true;
}

void ob__dispatch_client(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	uint32_t covered;

	++*node->dispatch.client_messages;
	conn->session->messages++;
	if (!id_ok(node, conn, p)) {
		return;
	}
	ob_view view = {
		.size = sizeof(view),
		.id = p->id,
		.flags = OB_VIEW_CLIENT | (p->one_way != 0 ? OB_VIEW_ONE_WAY : 0),
		.budget_ms = (uint32_t)node->conf->call_timeout_ms,
		.session = conn->session->handle,
		.source = node->self.id,
		.data = p->data,
		.len = p->len,
	};
	if (ob__idrange_find(&conn->from->conf->no_state, p->id, &covered)) {
		view.flags |= OB_VIEW_NO_STATE;
	}
	if (!pass_filters(node, conn, p, &view) || conn->session == NULL) {
		return; /* refused, or the filter closed the client */
	}
	struct ob__reg *reg =
		ob__slots_by_id(&node->slots, true, p->id, conn->session->node, conn->session->seq);
	if (reg != NULL) {
		client_local(node, conn, p, &view, reg);
		return;
	}
	reg = ob__slot_pick(&node->slots.single[OB__SLOT_CLIENT_DECIDER], conn->session->node,
	                    conn->session->seq);
	if (reg == NULL) {
		client_fail(node, conn, p, OB_E_NO_ROUTE,
		            "no module decides about client messages here");
		return;
	}
	struct ob__gen *g = reg->gen;
	uint64_t entered = ob__gen_enter(g);
	ob_verdict v = reg->fn.decide(&g->ctx, &view);
	ob__gen_leave(g, entered);
	if (conn->session == NULL) {
		return;
	}
	client_verdict(node, conn, p, &view, &v);
}
