/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/client.h"
#include "host/conn.h"
#include "host/held.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/request.h"
#include "host/slot.h"

struct self_call {
	struct ob__node *node;
	uint64_t pending;
	uint64_t session;
	uint64_t deadline; /* loop ms */
	uint32_t id;
	char *method;
	size_t len;
	uint8_t data[];
};

static void self_call_run(void *arg)
{
	struct self_call *c = arg;
	struct ob__node *node = c->node;
	struct ob__pending *p = ob__pending_find(&node->pendings, c->pending);
	const struct ob__session *s = ob__session_get(&node->sessions, c->session);
	uint64_t owner = s != NULL ? s->node : 0;
	uint64_t seq = s != NULL ? s->seq : 0;
	struct ob__reg *reg = c->method != NULL ? ob__slots_method(&node->slots, c->method,
	                                                           strlen(c->method), owner, seq)
	                                        : ob__local_handler(node, false, c->id, owner, seq);
	struct ob__end end = {.code = OB_E_NOT_FOUND};

	if (p == NULL) {
		goto out;
	}
	uint64_t now = ob__loop_now(node->loop);
	uint64_t left = c->deadline > now ? c->deadline - now : 0;
	struct ob__req *r = reg != NULL ? ob__req_new(node, reg, OB__ORIGIN_SELF, left) : NULL;
	if (r == NULL) {
		end.code = reg != NULL ? OB_E_BUSY : OB_E_NOT_FOUND;
		ob__pending_end(p, &end);
		goto out;
	}
	r->view.id = c->id;
	r->view.flags = OB_VIEW_CALL;
	r->view.method = c->method;
	r->view.session = c->session;
	r->view.data = c->data;
	r->view.len = c->len;
	r->from.self = c->pending;
	ob__req_run(node, reg, r);
out:
	free(c->method);
	free(c);
}

static int call_self(struct ob__node *node, const struct ob__frame *f, const char *method,
                     uint64_t session)
{
	size_t len = f->payload_len;
	struct self_call *c = malloc(sizeof(*c) + len + 1);

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	*c = (struct self_call){
		.node = node,
		.pending = f->call,
		.session = session,
		.deadline = ob__loop_now(node->loop) + f->budget,
		.id = f->id,
		.len = len,
	};
	if (len > 0) {
		memcpy(c->data, f->payload, len);
	}
	c->method = method != NULL ? strdup(method) : NULL;
	int rc = method != NULL && c->method == NULL ? OB_E_NOMEM
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
	struct ob__end end = {.code = c->code};

	if (p != NULL) {
		ob__count_result(c->node->dispatch.refused, c->code);
		ob__pending_end(p, &end);
	}
	free(c);
}

/* The caller learns of it as of any other end: later, by its callback. */
static int call_refused(struct ob__node *node, const struct ob__pending *p, int code)
{
	struct refused_call *c = malloc(sizeof(*c));

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	*c = (struct refused_call){node, p->handle, code};
	int rc = ob__loop_defer(node->loop, refused_call_end, c);
	if (rc != 0) {
		free(c);
	}
	return rc;
}

static int call_send(struct ob__node *node, const ob_target *target, struct ob__pending *p,
                     struct ob__frame *f)
{
	struct ob__route_query q = {
		.node = target->node,
		.role = target->node != 0 ? 0 : target->role,
		.sticky = (target->flags & OB_TARGET_STICKY) != 0,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
		.frame = f,
	};
	struct ob__route route = ob__router_find(&node->router, &q);

	f->dst = q.node;
	f->role = q.role;
	f->hops = OB__FRAME_HOPS;
	if (route.kind == OB__ROUTE_REFUSED) {
		return call_refused(node, p, route.code);
	}
	if (route.kind != OB__ROUTE_PEER) {
		return ob__hold_own(node, f, &q);
	}
	f->dst = route.dst != 0 ? route.dst : f->dst;
	int rc = ob__peer_send(node->links, route.peer, f);
	if (rc == 0 && route.peer->link != NULL) {
		ob__pending_sent(p, route.peer->link, route.to);
	}
	return rc;
}

uint64_t ob__dispatch_call(struct ob__gen *g, const ob_target *target, uint32_t id,
                           const char *method, uint64_t session, const void *data, size_t len,
                           uint32_t deadline_ms, ob_call_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	const struct ob__session *s = ob__session_get(&node->sessions, session);
	uint8_t ext[260];
	bool to_self = target->node == node->self.id ||
	               (target->node == 0 && target->role == node->self.role_id);
	uint64_t budget = deadline_ms != 0 ? deadline_ms : node->conf->call_timeout_ms;
	size_t method_len = method != NULL ? strlen(method) : 0;

	if (!ob__gen_may_begin(g) || fn == NULL || method_len > 255 ||
	    len > node->conf->limits.message || (method == NULL && id == 0)) {
		return 0;
	}
	struct ob__pending *p = ob__pending_new(&node->pendings, OB__PENDING_CALL, budget);
	if (p == NULL) {
		return 0;
	}
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.flags = OB__FRAME_CALL | (method != NULL ? OB__FRAME_METHOD : 0),
		.id = id,
		.budget = (uint32_t)budget,
		.call = p->handle,
		.session_node = s != NULL ? s->node : 0,
		.session_seq = s != NULL ? s->seq : 0,
		.payload = data,
		.payload_len = (uint32_t)len,
	};
	if (method != NULL) {
		f.ext = ext;
		f.ext_len = (uint16_t)ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_METHOD,
		                                        method, (uint16_t)method_len);
	}
	p->id = id;
	p->u.call.gen = g;
	p->u.call.fn = (void *)(uintptr_t)fn;
	p->u.call.arg = arg;
	uint64_t handle = p->handle;
	int rc = to_self ? call_self(node, &f, method, session) : call_send(node, target, p, &f);
	if (rc != 0) {
		ob__pending_drop(p);
		return 0;
	}
	ob__list_append(&g->calls, &p->u.call.gen_link);
	ob__gen_ref(g);
	return handle;
}

int ob__dispatch_call_cancel(struct ob__gen *g, uint64_t call)
{
	struct ob__pending *p = ob__pending_find(&g->node->pendings, call);

	if (p == NULL || p->kind != OB__PENDING_CALL || p->u.call.gen != g) {
		return OB_E_STALE;
	}
	ob__list_del(&p->u.call.gen_link);
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
	struct ob__frame f = {
		.kind = OB__FRAME_PUSH,
		.flags = OB__FRAME_ONE_WAY,
		.id = id,
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
			ob__conn_close(conn, code, reason != NULL ? reason : "", "kicked");
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
