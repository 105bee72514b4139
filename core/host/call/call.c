/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/call/callfilter.h"
#include "host/call/calls.h"
#include "host/call/cancel.h"
#include "host/call/keys.h"
#include "host/call/methods.h"
#include "host/call/trace.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/session/sticky.h"
#include "host/slot.h"
#include "mesh/handles.h"

struct self_call {
	struct ob__node *node;
	uint64_t pending;
	uint64_t session;
	uint64_t deadline; /* loop ms */
	struct ob__trace trace;
	uint32_t id;
	uint8_t key_len;
	uint8_t key[OB_CALL_KEY_MAX];
	char *method;
	size_t len;
	uint8_t data[];
};

/* True when a handler is to run: there is no key, or it is the first with it. */
static bool self_key(struct self_call *c, struct ob__reg *reg, uint64_t *key)
{
	struct ob__dedupe_query q = {
		.method = c->method,
		.method_len = c->method != NULL ? strlen(c->method) : 0,
		.key = c->key,
		.key_len = c->key_len,
		.until = c->deadline,
		.who = {.src = c->node->self.id, .call = c->pending, .id = c->id},
	};

	*key = 0;
	return reg == NULL || c->key_len == 0 || ob__keys_begin(c->node, &q, key);
}

static void self_refuse(struct self_call *c, uint64_t key, int code)
{
	struct ob__pending *p = ob__pending_find(&c->node->pendings, c->pending);

	if (p != NULL) {
		ob__pending_end(p, &(struct ob__end){.code = code, .refused = true});
	}
	ob__keys_end(c->node, key, &(struct ob__dedupe_end){.code = code});
}

static int self_filter(const struct self_call *c)
{
	uint64_t now = ob__loop_now(c->node->loop);
	ob_view view = {
		.size = sizeof(view),
		.id = c->id,
		.flags = OB_VIEW_CALL,
		.budget_ms = c->deadline > now ? (uint32_t)(c->deadline - now) : 0,
		.method = c->method,
		.session = c->session,
		.source = c->node->self.id,
		.data = c->data,
		.len = c->len,
	};

	return ob__callfilter_before_in(c->node, &view, &c->trace);
}

static struct ob__reg *self_handler(const struct self_call *c)
{
	struct ob__node *node = c->node;
	const struct ob__session *s = ob__session_get(&node->sessions, c->session);
	uint64_t owner = s != NULL ? s->node : 0;
	uint64_t seq = s != NULL ? s->seq : 0;

	return c->method != NULL
	               ? ob__slots_method(&node->slots, c->method, strlen(c->method), owner, seq)
	               : ob__local_handler(node, false, c->id, owner, seq);
}

static void self_call_run(void *arg)
{
	struct self_call *c = arg;
	struct ob__node *node = c->node;
	uint64_t key = 0;

	if (ob__pending_find(&node->pendings, c->pending) == NULL) {
		goto out;
	}
	int rc = self_handler(c) != NULL ? self_filter(c) : 0;
	if (rc != 0) {
		self_refuse(c, 0, rc);
		goto out;
	}
	struct ob__reg *reg = self_handler(c); /* a filter may have taken it back */
	if (!self_key(c, reg, &key)) {
		goto out;
	}
	uint64_t now = ob__loop_now(node->loop);
	uint64_t left = c->deadline > now ? c->deadline - now : 0;
	struct ob__req *r = reg != NULL ? ob__req_new(node, reg, OB__ORIGIN_SELF, left) : NULL;
	if (r == NULL) {
		self_refuse(c, key, reg != NULL ? OB_E_BUSY : OB_E_NOT_FOUND);
		goto out;
	}
	r->view.id = c->id;
	r->view.flags = OB_VIEW_CALL;
	r->view.method = c->method;
	r->view.session = c->session;
	r->view.data = c->data;
	r->view.len = c->len;
	r->from.self = c->pending;
	r->key = key;
	r->trace = c->trace;
	ob__req_run(node, reg, r);
out:
	free(c->method);
	free(c);
}

static int call_self(struct ob__node *node, const struct ob__call_out *out, uint64_t pending)
{
	struct self_call *c = malloc(sizeof(*c) + out->len + 1);

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	*c = (struct self_call){
		.node = node,
		.pending = pending,
		.session = out->session,
		.deadline = ob__loop_now(node->loop) + out->budget,
		.trace = out->trace,
		.id = out->id,
		.key_len = (uint8_t)out->key_len,
		.len = out->len,
	};
	if (out->key_len > 0) {
		memcpy(c->key, out->key, out->key_len);
	}
	if (out->len > 0) {
		memcpy(c->data, out->data, out->len);
	}
	c->method = out->method != NULL ? strdup(out->method) : NULL;
	int rc = out->method != NULL && c->method == NULL
	                 ? OB_E_NOMEM
	                 : ob__loop_defer(node->loop, self_call_run, c);
	if (rc != 0) {
		free(c->method);
		free(c);
	}
	return rc;
}

struct refused_call {
	struct ob__node *node;
	uint64_t pending;
	int code;
};

static void refused_call_end(void *arg)
{
	struct refused_call *c = arg;
	struct ob__pending *p = ob__pending_find(&c->node->pendings, c->pending);
	struct ob__end end = {.code = c->code, .refused = true};

	if (p != NULL) {
		ob__count_result(c->node->dispatch.refused, c->code);
		ob__pending_end(p, &end);
	}
	free(c);
}

/* The caller learns of it as of any other end: later, by its callback. */
int ob__call_refused(struct ob__node *node, const struct ob__pending *p, int code)
{
	struct refused_call *c = malloc(sizeof(*c));

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	*c = (struct refused_call){node, p->handle,
	                           ob__result_clean(code == OB_E_NOMEM ? OB_E_BUSY : code)};
	int rc = ob__loop_defer(node->loop, refused_call_end, c);
	if (rc != 0) {
		free(c);
	}
	return rc;
}

/* The node that a session of this node's stays with for a role, if it is there. */
static uint64_t sticks_to(const struct ob__node *node, const struct ob__session *s, uint32_t role)
{
	uint64_t choice = s != NULL && s->conn != 0 ? ob__session_sticky(s, role) : 0;

	return choice != 0 && !ob__sticky_is_gone(node, choice) ? choice : 0;
}

/* What was chosen is not just a route node on the way to nobody knows whom. */
static bool is_target(const struct ob__route_query *q, const struct ob__peer *to)
{
	return q->node != 0 ? to->who.id == q->node : to->who.role_id == q->role;
}

/* To another node.  0, or why it can't go; *to is where it went, 0 if that is not known. */
static int call_peer(struct ob__node *node, const struct ob__call_out *out, struct ob__pending *p,
                     struct ob__frame *f, uint64_t *to)
{
	struct ob__session *s = ob__session_get(&node->sessions, out->session);
	struct ob__route_query q = {
		.node = out->target.node,
		.role = out->target.node != 0 ? 0 : out->target.role,
		.sticky = (out->target.flags & OB_TARGET_STICKY) != 0,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
		.frame = f,
	};

	if (q.sticky && q.node == 0 && q.role != 0) {
		q.node = sticks_to(node, s, q.role);
	}
	struct ob__route route = ob__router_find(&node->router, &q);
	f->dst = q.node;
	f->role = q.role;
	f->hops = OB__FRAME_HOPS;
	*to = q.node;
	if (route.kind == OB__ROUTE_REFUSED) {
		return ob__call_refused(node, p, route.code);
	}
	if (route.kind == OB__ROUTE_PEER && out->method != NULL && is_target(&q, route.to) &&
	    !ob__methods_may(node, route.to->who.id, out->method)) {
		*to = route.to->who.id;
		return ob__call_refused(node, p, OB_E_NOT_FOUND);
	}
	if (route.kind != OB__ROUTE_PEER) {
		return out->no_wait ? ob__call_refused(node, p, OB_E_NO_ROUTE)
		                    : ob__hold_own(node, f, &q);
	}
	bool settled = is_target(&q, route.to);
	if (settled) {
		/* Said also where that is one step: others may share its frame. */
		f->dst = route.to->who.id;
	} else if (route.dst != 0) {
		f->dst = route.dst;
	}
	int rc = ob__peer_send(node->links, route.peer, f);
	if (rc != 0) {
		return rc;
	}
	if (route.peer->link != NULL) {
		ob__pending_sent(p, route.peer->link, route.to);
	}
	if (settled) {
		*to = route.to->who.id;
	}
	if (settled && route.stands && out->last != NULL) {
		out->last->changes = node->registry.changes;
		out->last->mark = ob__peer_mark(route.peer);
		out->last->peer = route.peer;
		out->last->to = route.to;
	}
	if (q.sticky && q.role != 0 && *to != 0 && s != NULL && s->conn != 0) {
		(void)ob__session_stick(s, q.role, *to);
	}
	ob__trace_frame(node, f, "call to", route.peer->who.id);
	return 0;
}

/* Room for all a call may carry besides its payload. */
#define CALL_EXT_MAX (3 * 4 + 255 + OB__TRACE_EXT + OB_CALL_KEY_MAX)

static size_t call_exts(const struct ob__node *node, const struct ob__call_out *out,
                        uint64_t pending, uint8_t ext[CALL_EXT_MAX])
{
	uint8_t trace[OB__TRACE_EXT];
	size_t end = 0;

	if (out->method != NULL) {
		end = ob__frame_ext_put(ext, end, CALL_EXT_MAX, OB__FRAME_EXT_METHOD, out->method,
		                        (uint16_t)strlen(out->method));
	}
	/* One that begins here is known by its header. */
	if (out->trace.id[0] != node->self.id || out->trace.id[1] != pending) {
		ob__trace_put(&out->trace, trace);
		end = ob__frame_ext_put(ext, end, CALL_EXT_MAX, OB__FRAME_EXT_TRACE, trace,
		                        sizeof(trace));
	}
	if (out->key_len > 0) {
		end = ob__frame_ext_put(ext, end, CALL_EXT_MAX, OB__FRAME_EXT_IDEMPOTENCY, out->key,
		                        (uint16_t)out->key_len);
	}
	return end;
}

int ob__call_send(struct ob__node *node, const struct ob__call_out *out, struct ob__pending *p,
                  uint64_t *to)
{
	const struct ob__session *s = ob__session_get(&node->sessions, out->session);
	bool sticky = (out->target.flags & OB_TARGET_STICKY) != 0 && s != NULL;
	uint8_t ext[CALL_EXT_MAX];

	if (out->target.node == node->self.id ||
	    (out->target.node == 0 && out->target.role == node->self.role_id)) {
		*to = node->self.id;
		return call_self(node, out, p->handle);
	}
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.flags = (uint16_t)(OB__FRAME_CALL | (sticky ? OB__FRAME_STICKY : 0) |
	                            (out->method != NULL ? OB__FRAME_METHOD : 0)),
		.id = out->id,
		.budget = (uint32_t)out->budget,
		.call = p->handle,
		.session_node = s != NULL ? s->node : 0,
		.session_seq = s != NULL ? s->seq : 0,
		.ext = ext,
		.ext_len = (uint16_t)call_exts(node, out, p->handle, ext),
		.payload = out->data,
		.payload_len = (uint32_t)out->len,
	};
	return call_peer(node, out, p, &f, to);
}

/* A call with nothing but a deadline. */
struct plain {
	const ob_target *target;
	uint32_t id;        /* 0: by method */
	const char *method; /* NULL: by id */
	uint64_t session;
	const void *data;
	size_t len;
	uint64_t budget; /* ms */
	uint64_t req;    /* handle of the request that it is made for, or 0 */
};

/* Nothing but an entry in mesh/pending.h is needed for it. */
static bool is_plain(const struct ob__node *node, const ob_target *target, size_t len)
{
	return (target->flags & (OB_TARGET_ALL | OB_TARGET_SESSION)) == 0 &&
	       len <= node->conf->limits.message && !ob__callfilter_out(node);
}

/* NULL at the limit. */
static struct ob__pending *plain_new(struct ob__gen *g, const struct plain *c, ob_call_fn fn,
                                     void *arg)
{
	struct ob__node *node = g->node;
	struct ob__pending *p = ob__pending_new(&node->pendings, OB__PENDING_CALL, c->budget);

	if (p == NULL) {
		return NULL;
	}
	p->id = c->id;
	p->u.call.gen = g;
	p->u.call.fn = (void *)(uintptr_t)fn;
	p->u.call.arg = arg;
	p->u.call.req = node->dispatch.current;
	ob__list_append(&g->calls, &p->u.call.gen_link);
	ob__gen_ref(g);
	return p;
}

static void plain_send(struct ob__node *node, const struct plain *c, struct ob__pending *p)
{
	bool bare = c->method == NULL && c->session == 0 && c->target->flags == 0;
	struct ob__last_call last = {
		.node = c->target->node,
		.role = c->target->role,
		.id = c->id,
		.budget = c->budget,
		.req = c->req,
	};
	struct ob__call_out out = {
		.target = *c->target,
		.id = c->id,
		.method = c->method,
		.session = c->session,
		.data = c->data,
		.len = c->len,
		.budget = c->budget,
		.last = bare ? &last : NULL,
	};

	ob__trace_next(node, c->req, p->handle, &out.trace);
	int rc = ob__call_send(node, &out, p, &p->u.call.node);
	node->dispatch.last_call = last;
	if (rc != 0) {
		/* Without memory for that, its deadline is its end. */
		(void)ob__call_refused(node, p, rc);
	}
}

/* The call would go as the one before it, and its frame would be the same but for call id and
 * payload. */
static bool is_like_last(const struct ob__node *node, const struct plain *c)
{
	const struct ob__last_call *last = &node->dispatch.last_call;

	return last->peer != NULL && last->changes == node->registry.changes && last->id == c->id &&
	       c->method == NULL && last->role == c->target->role &&
	       last->node == c->target->node && c->target->flags == 0 && c->session == 0 &&
	       last->budget == c->budget && last->req == c->req &&
	       (last->peer == last->to || last->to->dialing != NULL);
}

/* The line that one with a frame of its own gets. */
static void log_added(struct ob__node *node, const struct plain *c, const struct ob__pending *p)
{
	struct ob__call_out out = {.id = c->id};
	uint8_t ext[CALL_EXT_MAX];

	ob__trace_next(node, c->req, p->handle, &out.trace);
	const struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.id = c->id,
		.budget = (uint32_t)c->budget,
		.src = node->self.id,
		.call = p->handle,
		.ext = ext,
		.ext_len = (uint16_t)call_exts(node, &out, p->handle, ext),
	};
	ob__trace_frame(node, &f, "call to", node->dispatch.last_call.peer->who.id);
}

/* What is called in one burst goes in one frame. */
static bool add_call(struct ob__node *node, const struct plain *c, struct ob__pending *p)
{
	struct ob__last_call *last = &node->dispatch.last_call;

	if (!ob__peer_add(last->peer, &last->mark, p->handle, c->data, c->len)) {
		return false;
	}
	ob__pending_sent(p, last->peer->link, last->to);
	p->u.call.node = last->to->who.id;
	if (ob__log_on(OB_LOG_DEBUG)) {
		log_added(node, c, p);
	}
	return true;
}

/* A call that is more than that, or finds no room for it. */
static uint64_t call_with(struct ob__gen *g, const struct plain *c, uint32_t deadline_ms,
                          ob_call_fn fn, void *arg)
{
	const ob_call_options o = {
		.size = sizeof(o),
		.id = c->id,
		.method = c->method,
		.session = c->session,
		.data = c->data,
		.len = c->len,
		.deadline_ms = deadline_ms,
	};

	return ob__dispatch_call_with(g, c->target, &o, fn, arg);
}

uint64_t ob__dispatch_call(struct ob__gen *g, const ob_target *target, uint32_t id,
                           const char *method, uint64_t session, const void *data, size_t len,
                           uint32_t deadline_ms, ob_call_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	struct plain c = {target, method == NULL ? id : 0, method, session, data, len, 0, 0};

	if (!ob__gen_may_begin(g) || fn == NULL || (method == NULL && id == 0) ||
	    (method != NULL && (*method == '\0' || strlen(method) > 255))) {
		return 0;
	}
	if (!is_plain(node, target, len)) {
		return call_with(g, &c, deadline_ms, fn, arg);
	}
	uint64_t current = node->dispatch.current;
	const struct ob__req *r = current != 0 ? ob__req_get(node, current) : NULL;
	c.req = r != NULL ? current : 0;
	c.budget = ob__call_budget(node, deadline_ms, r);
	struct ob__pending *p = plain_new(g, &c, fn, arg);
	if (p == NULL) {
		return call_with(g, &c, deadline_ms, fn, arg);
	}
	uint64_t handle = p->handle;
	if (!is_like_last(node, &c) || !add_call(node, &c, p)) {
		plain_send(node, &c, p);
	}
	return handle;
}

int ob__dispatch_call_cancel(struct ob__gen *g, uint64_t call)
{
	if (g->node->placing != NULL) {
		return OB_E_STATE; /* it may be this very call that a policy is asked about */
	}
	struct ob__pending *p = ob__handle_kind(call) == OB__KIND_PENDING
	                                ? ob__pending_find(&g->node->pendings, call)
	                                : NULL;

	if (ob__handle_kind(call) == OB__KIND_CALL) {
		return ob__call_forget(g, call);
	}
	if (p == NULL || p->kind != OB__PENDING_CALL || p->u.call.gen != g) {
		return OB_E_STALE;
	}
	ob__list_del(&p->u.call.gen_link);
	ob__cancel_pending(g->node, p, p->u.call.node);
	ob__pending_drop(p);
	ob__gen_unref(g);
	return 0;
}

void ob__dispatch_refuse_held(struct ob__gen *g, const char *why)
{
	while (!ob__list_empty(&g->reqs)) {
		struct ob__req *r = OB__CONTAINER(g->reqs.next, struct ob__req, gen_link);
		ob__req_end(r, OB_E_GONE, why, NULL, 0);
	}
}

void ob__dispatch_abandon(struct ob__gen *g)
{
	ob__dispatch_refuse_held(g, "the module was taken out");
	while (!ob__list_empty(&g->calls)) {
		struct ob__pending *p =
			OB__CONTAINER(g->calls.next, struct ob__pending, u.call.gen_link);
		struct ob__end end = {.code = OB_E_GONE, .text = "the module was taken out"};
		ob__pending_end(p, &end);
	}
	ob__calls_abandon(g);
	ob__gates_abandon(g);
}

int ob__dispatch_push(struct ob__node *node, uint64_t session, uint32_t id, const void *data,
                      size_t len)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (s == NULL) {
		return OB_E_STALE;
	}
	if (len > node->conf->limits.message) {
		return OB_E_TOO_BIG;
	}
	if (s->conn != 0) {
		++*node->dispatch.pushes;
		return ob__conn_push(node, s->conn, id, data, len);
	}
	uint8_t ext[OB__MSGNAME_EXT_MAX];
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.ext = ext,
		.ext_len = ob__msgname_ext_put(&node->msgnames, id, ext),
		.flags = OB__FRAME_ONE_WAY,
		.id = id,
		.call = ++node->dispatch.last_push,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = data,
		.payload_len = (uint32_t)len,
	};
	int rc = ob__send_to_node(node, s->node, &f);
	if (rc != 0) {
		++*node->dispatch.pushes_lost;
	}
	return rc;
}

int ob__dispatch_kick(struct ob__node *node, uint64_t session, uint16_t code, const char *reason)
{
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t payload[2 + 123];
	size_t len = reason != NULL ? strnlen(reason, 123) : 0;

	code = code != 0 ? code : OB__WS_NORMAL;
	if (s == NULL) {
		return OB_E_STALE;
	}
	if (!ob__ws_close_code_ok(code)) {
		return OB_E_INVAL;
	}
	if (s->conn != 0) {
		struct ob__conn *conn = ob__conn_get(node, s->conn);
		if (conn != NULL) {
			ob__conn_dismiss(conn, code, reason != NULL ? reason : "", "kicked");
		} else {
			ob__resume_end(node, s->conn);
		}
		return 0;
	}
	memcpy(payload, &code, sizeof(code));
	if (len > 0) {
		memcpy(payload + 2, reason, len);
	}
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_KICK,
		.session_node = s->node,
		.session_seq = s->seq,
		.payload = payload,
		.payload_len = (uint32_t)(2 + len),
	};
	return ob__send_to_node(node, s->node, &f);
}
