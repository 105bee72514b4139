/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/dispatch.h"

#include <string.h>

#include "base/err.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/client/guest.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/session/sticky.h"
#include "host/slot.h"
#include "host/user/users.h"
#include "lib/apart.h"
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
	if (node->gates.around && p->one_way == 0 && conn->session != NULL) {
		const struct ob__outcome o = {
			.id = p->id,
			.flags = OB_VIEW_CLIENT,
			.session = conn->session->handle,
			.source = node->self.id,
			.code = code,
			.text = text,
		};
		ob__gate_client_ended(node, &o);
	}
}

void ob__client_refuse(struct ob__node *node, struct ob__conn *conn, const ob_packet *p, int code,
                       const char *text)
{
	client_fail(node, conn, p, ob__result_clean(code), text);
}

static void client_local(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                         const ob_view *view, struct ob__reg *reg)
{
	struct ob__req *r = ob__req_of_client(node, reg, view);

	if (r == NULL) {
		client_fail(node, conn, p, OB_E_BUSY, "too many requests");
		return;
	}
	r->from.client.conn = ob__conn_handle(conn);
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
	struct ob__way *w = conn->way;
	bool stuck = q->node != 0 || (q->prefer != 0 && node->router.route->chooser.policy == NULL);

	if (!stuck || route->peer != route->to || ob__peer_drains(route->to) ||
	    node->cluster.reach_changed || o->f.ext_len > OB__WAY_EXT) {
		return;
	}
	if (w == NULL) {
		w = calloc(1, sizeof(*w));
		conn->way = w;
	}
	if (w == NULL) {
		return; /* the next one is looked up as this one was */
	}
	w->key = ob__way_key(&node->registry, conn->session, o->rule, q->role);
	w->peer = route->peer;
	w->dst = o->f.dst;
	way_taken(w, conn->session, o->p);
	struct ob__sticky_rule rule = ob__sticky_rule(o->rule);
	w->lost = (uint8_t)rule.lost;
	w->flags = (uint16_t)(OB__FRAME_STICKY | rule.flags);
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
static inline struct ob__pending *client_pending(struct ob__node *node, struct ob__conn *conn,
                                                 const ob_packet *p, bool sticky, uint8_t lost,
                                                 uint32_t role)
{
	struct ob__pending *pending = ob__pending_client(&node->pendings, node->dispatch.budget_ms);
	if (pending == NULL) {
		client_fail(node, conn, p, OB_E_BUSY, "too many requests");
		return NULL;
	}
	if (node->gates.around && pending->started_us == 0) {
		pending->started_us = ob__loop_hrtime_us();
	}
	pending->id = p->id;
	pending->u.client.conn = ob__conn_handle(conn);
	pending->u.client.cookie = p->cookie;
	pending->u.client.seq = conn->session->seq;
	pending->u.client.role = role;
	pending->u.client.sticky = sticky;
	pending->u.client.lost = lost;
	ob__conn_begin(conn);
	if (sticky) {
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
	f->budget = (uint32_t)node->dispatch.budget_ms;
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
	struct ob__way *w = conn->way;
	struct ob__order *order = &conn->session->order;
	unsigned row = w->key.role == 0;

	if (w->marked || w->id != p->id || w->one_way != (p->one_way != 0) ||
	    w->number != order->last[row] ||
	    !ob__peer_add(w->peer, &w->mark, pending != NULL ? pending->handle : 0, p->data,
	                  p->len)) {
		return false;
	}
	w->number = ob__order_next(order, row);
	if (pending != NULL) {
		ob__pending_sent(pending, w->peer->link, w->peer);
	}
	if (ob__peer_congested(w->peer)) {
		ob__conn_pause_link(conn, w->peer);
	}
	return true;
}

/* In a frame of its own. */
static OB__APART void way_begin(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                                struct ob__pending *pending, bool first)
{
	struct ob__way *w = conn->way;
	struct outgoing o = {.p = p, .sticky = true, .pending = pending};

	client_frame(node, conn->session, &o, (uint16_t)(w->flags | (first ? OB__FRAME_FIRST : 0)));
	o.f.role = w->key.role;
	o.f.dst = w->dst;
	ob__order_put(&conn->session->order, w->key.role == 0, w->ext);
	o.f.ext = w->ext;
	o.f.ext_len = w->ext_len;
	w->marked = first;
	int rc = client_give(node, conn, &o, w->peer, w->peer);
	if (rc == 0) {
		way_taken(w, conn->session, p);
	} else {
		w->mark = 0; /* what is last on the link is not its own */
	}
	client_sent(node, &o, rc);
}

/* The message goes where the one before went. */
static void client_follow(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	struct ob__way *w = conn->way;
	struct ob__pending *pending = NULL;
	bool first = w->first && ob__session_first(conn->session, 0);

	if (p->one_way == 0 &&
	    (pending = client_pending(node, conn, p, true, w->lost, w->key.role)) == NULL) {
		return;
	}
	if (w->first) {
		client_left(conn, p, 0);
	}
	if (first || !way_add(conn, p, pending)) {
		way_begin(node, conn, p, pending, first);
	}
}

static OB__APART void client_find(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                                  uint32_t number, const ob_target *target)
{
	struct ob__session *s = conn->session;
	struct outgoing message = {.p = p, .rule = number};
	struct outgoing *o = &message;
	struct ob__sticky_rule rule = ob__sticky_rule(number);
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
	if (o->p->one_way == 0 &&
	    (o->pending = client_pending(node, conn, o->p, o->sticky, (uint8_t)rule.lost,
	                                 o->sticky ? q->role : 0)) == NULL) {
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
	uint32_t rule = ob__sticky_rule_of(node->conf, p->id);

	if ((target->flags & OB_TARGET_STICKY) != 0 && target->node == 0 && conn->way != NULL &&
	    ob__way_holds(conn->way, &node->registry, conn->session, rule, target->role)) {
		client_follow(node, conn, p);
	} else {
		client_find(node, conn, p, rule, target);
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

/* One that may hold it.  False: it goes no further. */
static OB__APART bool pass_gate(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                                const ob_view *view, size_t at)
{
	int code;

	if (ob__gate_filter(node, conn, p, view, at, &code)) {
		return true;
	}
	if (code != 0) {
		client_fail(node, conn, p, ob__result_clean(code), NULL);
	}
	return false;
}

static bool pass_filters(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                         const ob_view *view, size_t from)
{
	for (size_t i = from; i < node->slots.filters.len; i++) {
		struct ob__reg *reg = node->slots.filters.regs[i];
		struct ob__gen *g = reg->gen;
		if (reg->flags != 0) {
			if (!pass_gate(node, conn, p, view, i)) {
				return false;
			}
			continue;
		}
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

/* The client may send it now, as its listener's rates go. */
static bool within_rate(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	const char *counted =
		ob__guest_send(conn->guest, (uint32_t)ob__loop_now(node->loop), p->id);

	if (counted == NULL) {
		return true;
	}
	ob__client_count_excess(node, counted);
	if (conn->from->conf->close_excess) {
		ob__conn_close(conn, OB__WS_POLICY, "too many messages", counted);
	} else {
		client_fail(node, conn, p, OB_E_BUSY, "too many messages");
	}
	return false;
}

/* The client may send it in the state that its session is in. */
static OB__APART bool within_state(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	const struct ob__state_def *def = ob__states_refuse(node, conn->session, p->id);

	if (def == NULL) {
		return true;
	}
	if (def->closes) {
		ob__conn_close(conn, OB__WS_POLICY, "not allowed in this state", "state");
	} else {
		client_fail(node, conn, p, OB_E_DENIED, "not allowed in this state");
	}
	return false;
}

#define NEW SIZE_MAX /* of the filter that a message comes to: it has come just now */

static OB__APART void client_watched(struct ob__node *node, struct ob__conn *conn,
                                     const ob_packet *p);

/* Through modules' filters from number `from` on, and to its handler or on its way.  All messages
 * come through this one function, so that what it calls can be a part of it. */
static void client_message(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                           size_t from)
{
	if (from == NEW) {
		if ((conn->guest != NULL && !within_rate(node, conn, p)) || !id_ok(node, conn, p) ||
		    (node->states.on && !within_state(node, conn, p))) {
			return;
		}
		if (node->gates.watch) {
			client_watched(node, conn, p);
			return;
		}
		from = 0;
	}

	uint32_t covered;

	ob_view view = {
		.size = sizeof(view),
		.id = p->id,
		.flags = OB_VIEW_CLIENT | (p->one_way != 0 ? OB_VIEW_ONE_WAY : 0),
		.budget_ms = (uint32_t)node->dispatch.budget_ms,
		.session = conn->session->handle,
		.source = node->self.id,
		.data = p->data,
		.len = p->len,
		.name = p->name,
		.name_len = p->name_len,
	};
	if (ob__idrange_find(&conn->from->conf->no_state, p->id, &covered)) {
		view.flags |= OB_VIEW_NO_STATE;
	}
	if (!pass_filters(node, conn, p, &view, from) || conn->session == NULL) {
		return; /* refused, held, or the filter closed the client */
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

void ob__client_go_on(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
                      uint64_t budget_ms, size_t from)
{
	uint64_t before = node->dispatch.budget_ms;

	node->dispatch.budget_ms = budget_ms;
	client_message(node, conn, p, from);
	node->dispatch.budget_ms = before;
}

/* Through the filters that are built in as well. */
static OB__APART void client_watched(struct ob__node *node, struct ob__conn *conn,
                                     const ob_packet *p)
{
	uint64_t budget_ms = node->conf->call_timeout_ms;
	const char *text;
	int code;

	if (ob__gate_watch(node, conn, p, &budget_ms, &code, &text)) {
		ob__client_go_on(node, conn, p, budget_ms, 0);
	} else if (code != 0) {
		client_fail(node, conn, p, code, text);
	}
}

/* A name has an id, and from here on the message goes by that. */
static OB__APART void client_named(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	ob_packet q = *p;
	const struct ob__msgname *own;

	if (q.name != NULL) {
		q.id = ob__msgname_id(&node->msgnames, q.name, q.name_len);
	} else if ((own = ob__msgname_own(&node->msgnames, q.id)) != NULL) {
		q.name = own->name;
		q.name_len = own->len;
	}
	if (q.id == 0 && q.name != NULL) {
		client_fail(node, conn, p, OB_E_BAD,
		            "a message name is 1 to 255 bytes of text without control characters");
		return;
	}
	if (q.name != NULL && ob__msgname_taken(&node->msgnames, q.name, q.name_len, q.id)) {
		client_fail(node, conn, p, OB_E_BAD, "the id of this name is another name's");
		return;
	}
	client_message(node, conn, &q, NEW);
}

void ob__dispatch_client(struct ob__node *node, struct ob__conn *conn, const ob_packet *p)
{
	++*node->dispatch.client_messages;
	conn->session->messages++;
	if (p->name == NULL && node->msgnames.by_id.count == 0) {
		client_message(node, conn, p, NEW);
	} else {
		client_named(node, conn, p);
	}
}
