/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/dispatch.h"

#include <string.h>

#include "base/err.h"
#include "host/call/callfilter.h"
#include "host/call/cancel.h"
#include "host/call/keys.h"
#include "host/call/methods.h"
#include "host/call/trace.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/cluster/cluster.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/push/push_many.h"
#include "host/session/end.h"
#include "host/session/sticky.h"
#include "host/slot.h"
#include "lib/apart.h"
#include "lib/buf.h"
#include "lib/many.h"
#include "mesh/order.h"
#include "mesh/sticks.h"

#define TEXT_MAX   OB__ERROR_TEXT_MAX
#define NO_HANDLER "no handler for this id or method"

/* True when a handler is to run: there is no key, or it is the first with it. */
static bool frame_key(struct ob__node *node, const struct ob__frame *f, const char *method,
                      uint64_t *key)
{
	uint16_t len = 0;
	const uint8_t *ext = ob__frame_ext(f, OB__FRAME_EXT_IDEMPOTENCY, &len);

	*key = 0;
	if (ext == NULL) {
		return true;
	}
	if (len == 0 || len > OB__DEDUPE_KEY_MAX) {
		ob__refuse_frame(node, f, OB_E_BAD, "the key has 1 to 64 bytes");
		return false;
	}
	bool one_way = (f->flags & OB__FRAME_ONE_WAY) != 0;
	struct ob__dedupe_query q = {
		.method = method,
		.method_len = strlen(method),
		.key = ext,
		.key_len = len,
		.until = ob__loop_now(node->loop) + f->budget,
		.who = {f->src, one_way ? 0 : f->call, f->id, (f->flags & OB__FRAME_CALL) == 0},
	};
	return ob__keys_begin(node, &q, key);
}

/* 0, or why no handler is to see it. */
static int frame_filter(struct ob__node *node, const struct ob__frame *f, const char *method)
{
	const struct ob__session *s;
	struct ob__trace trace;

	if (node->conf->too_busy_ms != 0 && (f->flags & OB__FRAME_ONE_WAY) == 0 &&
	    ob__callfilter_too_busy(node)) {
		return OB_E_BUSY;
	}
	if ((f->flags & OB__FRAME_CALL) == 0 || !ob__callfilter_in(node)) {
		return 0;
	}
	s = f->session_node != 0
	            ? ob__session_find(&node->sessions, f->session_node, f->session_seq)
	            : NULL;
	ob_view view = {
		.size = sizeof(view),
		.id = f->id,
		.flags = OB_VIEW_LINK | OB_VIEW_CALL |
	                 ((f->flags & OB__FRAME_ONE_WAY) != 0 ? OB_VIEW_ONE_WAY : 0),
		.budget_ms = f->budget,
		.method = method[0] != '\0' ? method : NULL,
		.session = s != NULL ? s->handle : 0,
		.source = f->src,
		.data = f->payload,
		.len = f->payload_len,
	};
	ob__trace_of_frame(f, &trace);
	return ob__callfilter_before_in(node, &view, &trace);
}

/* What is the same for all messages of a frame. */
struct common {
	const struct ob__frame *whole;
	bool plain; /* a message id, no call of a module, no key: nothing is to be asked first */
	uint32_t flags;   /* of their views */
	char method[256]; /* "" without one */
	uint16_t method_len;
	bool in_trace; /* they belong to that of others */
	struct ob__trace trace;

	/* Whose they are: settled with the first of them that a handler is to see. */
	bool met;
	int rc; /* of ob__frame_session() */
	uint64_t session;
};

/* A handler may have ended a session of this very node; those of others stay until they say so. */
static inline int meet(struct ob__node *node, struct common *m)
{
	if (!m->met || m->whole->session_node == node->self.id) {
		m->rc = ob__frame_session(node, m->whole, &m->session);
		m->met = true;
	}
	return m->rc;
}

static void read_method(struct common *m, const struct ob__frame *f)
{
	uint16_t len = 0;
	const uint8_t *name = ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len);

	m->method_len = name != NULL && len < sizeof(m->method) ? len : 0;
	if (m->method_len > 0) {
		memcpy(m->method, name, len);
	}
	m->method[m->method_len] = '\0';
}

static void read_common(struct common *m, const struct ob__frame *f)
{
	uint16_t len;

	m->whole = f;
	m->met = false;
	m->plain = (f->flags & (OB__FRAME_METHOD | OB__FRAME_CALL)) == 0 &&
	           ob__frame_ext(f, OB__FRAME_EXT_IDEMPOTENCY, &len) == NULL;
	m->flags = OB_VIEW_LINK | ((f->flags & OB__FRAME_ONE_WAY) != 0 ? OB_VIEW_ONE_WAY : 0) |
	           ((f->flags & OB__FRAME_STICKY) != 0 ? OB_VIEW_STICKY : 0) |
	           ((f->flags & OB__FRAME_CALL) != 0 ? OB_VIEW_CALL : 0);
	m->method[0] = '\0';
	m->method_len = 0;
	if ((f->flags & OB__FRAME_METHOD) != 0) {
		read_method(m, f);
	}
	m->in_trace = ob__frame_ext(f, OB__FRAME_EXT_TRACE, &len) != NULL && len == OB__TRACE_EXT;
	if (m->in_trace) {
		ob__trace_of_frame(f, &m->trace);
	}
}

static void refuse_met(struct ob__node *node, const struct ob__frame *f, int rc, uint64_t key)
{
	if (rc == OB_E_GONE) {
		++*node->dispatch.late;
		/* Not a code that speaks of the node's loss: nothing is wrong with it. */
		ob__refuse_frame(node, f, OB_E_BUSY, "a later message of the session came first");
	} else {
		ob__refuse_frame(node, f, OB_E_BUSY, "too many requests or sessions");
	}
	ob__keys_end(node, key, &(struct ob__dedupe_end){.code = OB_E_BUSY});
}

/* Calls the handler. */
static void message_run(struct ob__node *node, const struct ob__frame *f, struct common *m,
                        struct ob__reg *reg, uint64_t key)
{
	int rc = meet(node, m);
	struct ob__req *r = rc == 0 ? ob__req_new(node, reg, OB__ORIGIN_LINK, f->budget) : NULL;

	if (r == NULL) {
		refuse_met(node, f, rc, key);
		return;
	}
	if (m->in_trace) {
		r->trace = m->trace;
		r->trace.span = f->call;
	}
	ob__trace_frame(node, f, "handled, from", f->src);
	r->key = key;
	r->view.id = f->id;
	r->view.flags = m->flags;
	r->view.method = m->method_len > 0 ? m->method : NULL;
	r->view.session = m->session;
	r->view.source = f->src;
	r->view.data = f->payload;
	r->view.len = f->payload_len;
	ob__msgname_show(&node->msgnames, &r->view);
	r->from.link.src = f->src;
	r->from.link.call = f->call;
	ob__req_run(node, reg, r);
}

static struct ob__reg *frame_handler(struct ob__node *node, const struct ob__frame *f,
                                     const struct common *m)
{
	if ((f->flags & OB__FRAME_METHOD) == 0) {
		return ob__local_handler(node, false, f->id, f->session_node, f->session_seq);
	}
	return m->method_len > 0 ? ob__slots_method(&node->slots, m->method, m->method_len,
	                                            f->session_node, f->session_seq)
	                         : NULL;
}

/* One that may have a key, and may be refused by a filter. */
static OB__APART void message_ask(struct ob__node *node, const struct ob__frame *f,
                                  struct common *m)
{
	struct ob__reg *reg;
	uint64_t key;
	int rc = frame_filter(node, f, m->method);

	if (rc != 0) {
		ob__refuse_frame(node, f, rc, NULL);
		return;
	}
	reg = frame_handler(node, f, m); /* a filter may have taken it back */
	if (reg == NULL) {
		ob__refuse_frame(node, f, OB_E_NOT_FOUND, NO_HANDLER);
	} else if (frame_key(node, f, m->method, &key)) {
		message_run(node, f, m, reg, key);
	}
}

static void message_local(struct ob__node *node, const struct ob__frame *f, struct common *m)
{
	struct ob__reg *reg = frame_handler(node, f, m);

	if (reg == NULL) {
		ob__refuse_frame(node, f, OB_E_NOT_FOUND, NO_HANDLER);
	} else if (!m->plain || node->conf->too_busy_ms != 0) {
		message_ask(node, f, m);
	} else {
		message_run(node, f, m, reg, 0);
	}
}

static void frame_local(struct ob__node *node, const struct ob__frame *f)
{
	struct common m;

	read_common(&m, f);
	if ((f->flags & OB__FRAME_MANY) == 0) {
		message_local(node, f, &m);
		return;
	}
	for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
		message_local(node, &one, &m);
	}
}

static void frame_forward(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw);
static void frame_decided(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw, const ob_verdict *v);

/* Goes on with a part of a frame of many, before which it had `skipped` messages, as if that had
 * come so.  `v` is what the decider has said of it; NULL: it is on its way. */
static void frame_part(struct ob__node *node, struct ob__link *link, const struct ob__frame *part,
                       uint32_t skipped, const ob_verdict *v)
{
	struct ob__buf raw = {0};
	struct ob__frame f;
	size_t need;

	if (ob__buf_reserve(&raw, ob__frame_size(part)) < 0) {
		ob__refuse_frame(node, part, OB_E_BUSY, "out of memory");
		return;
	}
	ob__frame_put(raw.data, part);
	raw.len = ob__frame_size(part);
	ob__order_shift(part, raw.data + OB__FRAME_HEADER, skipped);
	if (ob__frame_get(&f, raw.data, raw.len, raw.len, &need) <= 0) {
		ob__refuse_frame(node, part, OB_E_BAD, NULL);
	} else if (v != NULL) {
		frame_decided(node, link, &f, raw.data, v);
	} else {
		frame_forward(node, link, &f, raw.data);
	}
	ob__buf_free(&raw);
}

/* Passes each of its messages on alone. */
static void frame_split(struct ob__node *node, struct ob__link *link, const struct ob__frame *f)
{
	uint32_t skipped = 0;

	for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
		frame_part(node, link, &one, skipped++, NULL);
	}
}

static bool takes_many(const struct ob__route *route)
{
	return route->kind == OB__ROUTE_PEER && route->peer->link != NULL &&
	       (route->peer->link->theirs.features & OB__HELLO_MANY) != 0;
}

static void frame_forward(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw)
{
	struct ob__route_query q = {
		.node = f->dst,
		.role = f->role,
		.sticky = (f->flags & OB__FRAME_STICKY) != 0,
		.stays = f->kind == OB__FRAME_SYSTEM, /* its role is the sender's */
		.session_node = f->session_node,
		.session_seq = f->session_seq,
		.from = link->peer,
	};
	enum ob__sticky_verdict verdict = OB__STICKY_GO;
	bool many = (f->flags & OB__FRAME_MANY) != 0;

	if (many && f->dst == 0 && ob__sticky_has_policy(node, f)) {
		frame_split(node, link, f); /* it is asked about each message */
		return;
	}
	if (f->kind == OB__FRAME_REQUEST && q.sticky) {
		struct ob__sticks sticks = ob__sticks_get(f, f->role);
		q.key = sticks.key;
		q.stays = (f->flags & (OB__FRAME_LOST_FAIL | OB__FRAME_LOST_WAIT)) != 0;
		uint64_t stick = ob__sticky_known(node, f, &sticks, &q);
		verdict = ob__sticky_of_frame(node, f, stick, &q.node);
	}
	if (verdict == OB__STICKY_FAIL) {
		ob__refuse_frame(node, f, OB_E_NO_ROUTE, OB__STICKY_LOST);
		return;
	}
	if (f->hops > OB__FRAME_HOPS) {
		f->hops = OB__FRAME_HOPS; /* no sender may ask for more */
	}
	if (f->hops <= 1) {
		*node->dispatch.hops_over += ob__many_of(f);
		ob__refuse_frame(node, f, OB_E_NO_ROUTE, "too many hops");
		return;
	}
	q.frame = f;
	struct ob__route route = {.kind = OB__ROUTE_NONE};
	if (verdict == OB__STICKY_GO) {
		route = ob__router_find(&node->router, &q);
		ob__sticky_placed(node, &q, route.to);
	}
	if (route.kind == OB__ROUTE_REFUSED) {
		ob__refuse_frame(node, f, route.code, NULL);
		return;
	}
	if (many && !takes_many(&route)) {
		frame_split(node, link, f);
		return;
	}
	if ((f->flags & OB__FRAME_CALL) != 0 && route.kind == OB__ROUTE_PEER) {
		ob__cancel_place(node, f, raw, route.to);
	}
	ob__frame_patch_forward(raw, (uint8_t)(f->hops - 1), f->budget, q.role,
	                        route.dst != 0 ? route.dst : q.node);
	if (route.kind == OB__ROUTE_PEER) {
		int rc = ob__cluster_forward(node, link->peer, route.peer, raw, f->len);
		if (rc == 0) {
			ob__trace_frame(node, f, "passed on to", route.peer->who.id);
			*node->dispatch.forwarded += ob__many_of(f);
			return;
		}
		ob__refuse_frame(node, f, rc, NULL);
		return;
	}
	if (f->kind == OB__FRAME_REQUEST || f->kind == OB__FRAME_SYSTEM) {
		f->hops--;
		if (ob__hold_frame(node, f, raw, &q) != 0) {
			ob__refuse_frame(node, f, OB_E_BUSY, "too much waits for a live node");
		}
		return;
	}
	++*(f->kind == OB__FRAME_PUSH ? node->dispatch.pushes_lost : node->dispatch.replies_lost);
}

/* To the node or role it names. */
static void frame_settled(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw)
{
	if (f->dst == node->self.id || (f->dst == 0 && f->role == node->self.role_id)) {
		frame_local(node, f);
	} else {
		frame_forward(node, link, f, raw);
	}
}

static struct ob__reg *decider(struct ob__node *node, const struct ob__frame *f)
{
	return ob__slot_pick(&node->slots.single[OB__SLOT_LINK_DECIDER], f->session_node,
	                     f->session_seq);
}

static ob_verdict decide(struct ob__reg *reg, const struct ob__frame *f)
{
	if (reg == NULL) {
		return (ob_verdict){.action = OB_LOCAL};
	}
	ob_view view = {
		.size = sizeof(view),
		.id = f->id,
		.flags = OB_VIEW_LINK |
	                 ((f->flags & OB__FRAME_ONE_WAY) != 0 ? OB_VIEW_ONE_WAY : 0) |
	                 ((f->flags & OB__FRAME_STICKY) != 0 ? OB_VIEW_STICKY : 0),
		.budget_ms = f->budget,
		.source = f->src,
		.data = f->payload,
		.len = f->payload_len,
	};
	struct ob__gen *g = reg->gen;
	ob__msgname_show(&g->node->msgnames, &view);
	uint64_t entered = ob__gen_enter(g);
	ob_verdict v = reg->fn.decide(&g->ctx, &view);
	ob__gen_leave(g, entered);
	return v;
}

static void frame_decided(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw, const ob_verdict *v)
{
	switch (v->action) {
	case OB_FORWARD:
		f->dst = v->target.node;
		f->role = v->target.node != 0 ? 0 : v->target.role;
		frame_settled(node, link, f, raw);
		return;
	case OB_DONE:
		ob__send_silence(node, f);
		return;
	case OB_REFUSE:
		ob__refuse_frame(node, f, ob__result_clean(v->code != 0 ? v->code : OB_E_DENIED),
		                 v->text);
		return;
	default:
		frame_local(node, f);
	}
}

static bool goes_on(const struct ob__node *node, const ob_verdict *v)
{
	return v->action == OB_FORWARD &&
	       (v->target.node != 0 ? v->target.node != node->self.id
	                            : v->target.role != node->self.role_id);
}

static bool same_way(const ob_verdict *a, const ob_verdict *b)
{
	return a->target.node == b->target.node && a->target.role == b->target.role;
}

/* Asks about each message.  Those in a row that go on to the same target stay in one frame; what
 * ends here does so before the next one is asked about, as if they had come alone. */
static void many_decided(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                         uint8_t *raw)
{
	struct ob__frame row = *f; /* those that go on to the target of `way`, if it is open */
	struct ob__frame one = ob__many_begin(f);
	ob_verdict way = {0};
	bool open = false;
	uint32_t skipped = 0;

	for (uint32_t i = 0; ob__many_next(&one, f); i++) {
		const uint8_t *at = one.payload - OB__MANY_HEAD;
		ob_verdict v = decide(decider(node, f), &one);
		bool on = goes_on(node, &v);
		if (open && !(on && same_way(&v, &way))) {
			row.payload_len = (uint32_t)(at - row.payload);
			frame_part(node, link, &row, skipped, &way);
			open = false;
		}
		if (!on) {
			frame_part(node, link, &one, i, &v);
		} else if (!open) {
			open = true;
			way = v;
			skipped = i;
			row.payload = at;
		}
	}
	if (open && skipped == 0) {
		frame_decided(node, link, f, raw, &way);
	} else if (open) {
		row.payload_len = (uint32_t)(f->payload + f->payload_len - row.payload);
		frame_part(node, link, &row, skipped, &way);
	}
}

static void frame_request(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                          uint8_t *raw)
{
	if (f->budget == 0 && (f->flags & OB__FRAME_ONE_WAY) == 0) {
		ob__refuse_frame(node, f, OB_E_DEADLINE, "no time left");
		return;
	}
	if (f->dst != 0 || f->role != 0) {
		frame_settled(node, link, f, raw);
		return;
	}
	struct ob__reg *reg = decider(node, f);
	if (reg == NULL) {
		frame_local(node, f);
	} else if ((f->flags & OB__FRAME_MANY) != 0) {
		many_decided(node, link, f, raw);
	} else {
		ob_verdict v = decide(reg, f);
		frame_decided(node, link, f, raw, &v);
	}
}

/* `end` says what all messages of its frame have in common. */
static inline void reply_end(struct ob__node *node, const struct ob__frame *f, struct ob__end *end)
{
	struct ob__pending *p = ob__pending_find(&node->pendings, f->call);

	if (p == NULL) {
		return;
	}
	if ((f->flags & OB__FRAME_ONE_WAY) != 0 && p->kind == OB__PENDING_CLIENT) {
		ob__dispatch_client_ended(node, ob__dispatch_client_conn(node, p), p);
		ob__pending_drop(p);
		return;
	}
	end->data = f->payload;
	end->len = f->payload_len;
	ob__pending_end(p, end);
}

static void frame_reply(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__end end = {
		.code = ob__result_clean(OB_RESULT_FROM_WIRE(f->status)),
		.source = f->src,
		.refused = (f->flags & OB__FRAME_REFUSED) != 0,
	};
	char text[TEXT_MAX + 1];
	uint16_t text_len = 0;
	const uint8_t *ext =
		f->status != 0 ? ob__frame_ext(f, OB__FRAME_EXT_TEXT, &text_len) : NULL;

	if (ext != NULL && text_len > 0 && text_len <= TEXT_MAX) {
		memcpy(text, ext, text_len);
		text[text_len] = '\0';
		end.text = text;
	}
	if ((f->flags & OB__FRAME_MANY) == 0) {
		reply_end(node, f, &end);
		return;
	}
	for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
		reply_end(node, &one, &end);
	}
}

static void frame_push(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s = ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (f->status != OB__PUSH_SESSION) {
		ob__push_many_frame(node, f);
		return;
	}
	if (s == NULL || s->conn == 0) {
		++*node->dispatch.pushes_lost;
		return;
	}
	if (!ob__session_push_take(s, f->src, f->call)) {
		++*node->dispatch.pushes_late;
		return;
	}
	if (ob__conn_push(node, s->conn, f->id, f->payload, f->payload_len) != 0) {
		++*node->dispatch.pushes_lost;
		return;
	}
	++*node->dispatch.pushes;
}

/* True when it may be handled.  Of a frame of many that is perhaps said of the first ones only:
 * they are handled here. */
static bool frame_permitted(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                            uint8_t *raw)
{
	uint32_t some = ob__permit_frame(node, link, f);

	if (some == 0 || some == ob__many_of(f)) {
		return some != 0;
	}
	struct ob__frame rest = ob__many_cut(f, raw, some);
	frame_request(node, link, f, raw);
	ob__permit_refuse(node, link, &rest);
	return false;
}

void ob__dispatch_frame(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
                        uint8_t *raw)
{
	++*node->dispatch.link_frames;
	if (node->permits.active && !frame_permitted(node, link, f, raw)) {
		return;
	}
	if (f->kind == OB__FRAME_REQUEST) {
		frame_request(node, link, f, raw);
		return;
	}
	if (f->kind == OB__FRAME_SYSTEM && ob__cluster_frame(node, link, f)) {
		return;
	}
	if (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_METHODS) {
		ob__methods_heard(node, link->peer, f); /* link only, whatever it says */
		return;
	}
	if (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_CANCEL &&
	    ob__cancel_frame(node, link->peer, f)) {
		return;
	}
	if (f->dst != node->self.id) {
		frame_forward(node, link, f, raw);
		return;
	}
	switch (f->kind) {
	case OB__FRAME_REPLY:
		frame_reply(node, f);
		return;
	case OB__FRAME_PUSH:
		ob__msgname_heard(&node->msgnames, f, f->id);
		frame_push(node, f);
		return;
	case OB__FRAME_SYSTEM:
		if (f->id == OB__SYS_EVENT) {
			ob__event_frame(node, f);
			return;
		}
		if (!ob__far_frame(node, f)) {
			ob__frame_system(node, f);
		}
		return;
	default:
		return;
	}
}
