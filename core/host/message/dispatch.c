/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/dispatch.h"

#include <stdio.h>

#include "base/err.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/session/sticky.h"
#include "host/slot.h"
#include "host/user/users.h"
#include "lib/apart.h"
#include "mesh/handles.h"

#define REQS_MAX (1u << 22)

static void result_counters(struct ob__node *node, uint64_t **out, const char *name,
                            const char *help)
{
	for (uint8_t i = 0; i <= OB_RESULT_WIRE(OB_RESULT_LAST); i++) {
		char labels[64];
		snprintf(labels, sizeof(labels), "result=\"%s\"",
		         ob__result_word(OB_RESULT_FROM_WIRE(i)));
		out[i] = ob__stat_counter(node->stats, name, labels, help);
	}
}

int ob__dispatch_init(struct ob__node *node)
{
	struct ob__dispatch *d = &node->dispatch;
	struct ob__stats *s = node->stats;

	ob__slab_init(&d->reqs, sizeof(struct ob__req), OB__KIND_REQ, REQS_MAX);
	ob__list_init(&d->held_frames);
	ob__timeout_init(&d->held_timeout, ob__held_check, node);
	result_counters(node, d->ends, "obhost_requests_ended_total",
	                "Requests ended by handlers of this node.");
	result_counters(node, d->refused, "obhost_requests_refused_total",
	                "Requests that ended without a handler.");
	d->client_messages =
		ob__stat_counter(s, "obhost_client_messages_total", NULL, "Messages from clients.");
	d->link_frames =
		ob__stat_counter(s, "obhost_link_frames_total", NULL, "Frames from links.");
	d->forwarded = ob__stat_counter(s, "obhost_forwarded_total", NULL,
	                                "Frames passed on to another node.");
	d->pushes = ob__stat_counter(s, "obhost_pushes_total", NULL, "Pushes to clients here.");
	d->pushes_lost = ob__stat_counter(s, "obhost_pushes_lost_total", NULL,
	                                  "Pushes whose client is gone or unreachable.");
	d->push_lists = ob__stat_counter(s, "obhost_push_lists_total", NULL,
	                                 "Lists of clients here that a push came for.");
	d->replies_lost = ob__stat_counter(s, "obhost_replies_lost_total", NULL,
	                                   "Replies that found no way back.");
	d->unended = ob__stat_counter(s, "obhost_handlers_unended_total", NULL,
	                              "Handlers that returned without ending their request.");
	d->late = ob__stat_counter(
		s, "obhost_messages_late_total", NULL,
		"Messages that came, over a way that had broken, behind later ones of their session.");
	d->pushes_late = ob__stat_counter(
		s, "obhost_pushes_late_total", NULL,
		"Pushes that came, over a way that had broken, behind later ones of their node.");
	d->last_push = ob__push_first(node->self.incarnation);
	d->hops_over = ob__stat_counter(s, "obhost_hops_exceeded_total", NULL,
	                                "Frames refused because they had no hop left.");
	d->held_total = ob__stat_counter(s, "obhost_held_total", NULL,
	                                 "Messages that waited for a node to come up.");
	ob__calls_init(node);
	ob__cancels_init(node);
	ob__keys_init(node);
	ob__callfilter_init(node);
	ob__gates_init(node);
	ob__methods_init(node);
	d->latency = ob__stat_histogram(
		s, "obhost_request_seconds", NULL,
		"Time until the end of requests that left this node, one in sixteen of them.");
	return 0;
}

void ob__dispatch_free(struct ob__node *node)
{
	struct ob__dispatch *d = &node->dispatch;

	ob__timeout_clear(node->loop, &d->held_timeout);
	ob__held_drop(node);
	ob__calls_free(node);
	ob__keys_free(node);
	ob__gates_free(node);
	ob__callfilter_free(node);
	ob__methods_free(node);
	ob__cancels_free(node);
	ob__slab_destroy(&d->reqs);
}

static inline void client_ended(struct ob__node *node, struct ob__conn *conn,
                                const struct ob__pending *p)
{
	if (p->u.client.sticky && conn->session != NULL) {
		ob__session_ended(conn->session, p->u.client.role);
		if ((conn->paused & (OB__PAUSE_MOVE | OB__PAUSE_RELAY)) != 0) {
			ob__drain_client_quiet(node, conn);
		}
	}
	ob__conn_ended(conn);
}

static struct ob__session *session_of(const struct ob__node *node, const struct ob__pending *p)
{
	return ob__session_find(&node->sessions, node->self.id, p->u.client.seq);
}

/* False: its session is not detached. */
static bool detached_ended(struct ob__node *node, const struct ob__pending *p)
{
	struct ob__session *s = node->resumes.detached_len > 0 ? session_of(node, p) : NULL;
	struct ob__resume *r = s != NULL ? ob__resume_get(node, s->conn) : NULL;

	if (r == NULL) {
		return false;
	}
	ob__resume_request_ended(r);
	if (p->u.client.sticky) {
		ob__session_ended(s, p->u.client.role);
		ob__drain_session_quiet(node, s);
	}
	return true;
}

void ob__dispatch_client_ended(struct ob__node *node, struct ob__conn *conn,
                               const struct ob__pending *p)
{
	if (conn != NULL) {
		client_ended(node, conn, p);
	} else if (!detached_ended(node, p) && p->u.client.sticky) {
		ob__users_request_ended(node, p->u.client.seq, p->u.client.role);
	}
}

/* Filters and logs see how it has ended. */
static OB__APART void client_seen(struct ob__node *node, const struct ob__pending *p,
                                  uint64_t session, const struct ob__end *end)
{
	const struct ob__outcome o = {
		.id = p->id,
		.flags = OB_VIEW_CLIENT,
		.session = session,
		.source = node->self.id,
		.took_us = p->started_us != 0 ? ob__loop_hrtime_us() - p->started_us : 0,
		.code = end->code,
		.text = end->text,
		.len = end->len,
	};

	ob__gate_client_ended(node, &o);
}

struct ob__conn *ob__dispatch_client_conn(struct ob__node *node, const struct ob__pending *p)
{
	struct ob__conn *conn = ob__conn_get(node, p->u.client.conn);

	if ((conn != NULL && conn->session != NULL) || node->resumes.slab.live == 0) {
		return conn;
	}
	return ob__resume_conn(node, conn, session_of(node, p));
}

/* The end of a request whose client is away, and may come back for it. */
static OB__APART void detached_end(struct ob__node *node, const struct ob__pending *p,
                                   const struct ob__end *end)
{
	struct ob__session *s = session_of(node, p);
	struct ob__resume *r = s != NULL ? ob__resume_get(node, s->conn) : NULL;
	uint64_t handle = s != NULL ? s->handle : 0;
	bool leave = false;

	if (r != NULL) {
		leave = p->u.client.sticky && end->code != OB_OK &&
		        ob__sticky_failed(node, s, p, end->code);
		ob__resume_reply(r, p->id, p->u.client.cookie, end->code, end->text, end->data,
		                 end->len);
	}
	ob__dispatch_client_ended(node, NULL, p);
	if (node->gates.around && r != NULL) {
		client_seen(node, p, handle, end);
	}
	if (leave) {
		ob__resume_end(node, s->conn);
	}
}

static inline void client_end(struct ob__node *node, const struct ob__pending *p,
                              const struct ob__end *end)
{
	struct ob__conn *conn = ob__dispatch_client_conn(node, p);

	if (conn == NULL) {
		detached_end(node, p, end);
		return;
	}
	bool leave = p->u.client.sticky && end->code != OB_OK &&
	             ob__sticky_failed(node, conn->session, p, end->code);
	if (leave) {
		ob__resume_never(conn);
	}
	ob__conn_reply(conn, p->id, p->u.client.cookie, end->code, end->text, end->data, end->len);
	if (conn->session == NULL) { /* it was too much for it, and may be kept for it */
		ob__dispatch_client_ended(node, ob__dispatch_client_conn(node, p), p);
		return;
	}
	client_ended(node, conn, p);
	if (node->gates.around && conn->session != NULL) {
		client_seen(node, p, conn->session->handle, end);
	}
	if (leave) {
		ob__conn_close(conn, OB__STICKY_CLOSE, OB__STICKY_LOST, "sticky");
	}
}

static OB__APART void call_end(struct ob__pending *p, const struct ob__end *end)
{
	struct ob__gen *g = p->u.call.gen;
	ob_call_result res = ob__call_result(end);

	ob__list_del(&p->u.call.gen_link);
	ob__call_tell(g, p->u.call.req, (ob_call_fn)(uintptr_t)p->u.call.fn, p->handle, &res,
	              p->u.call.arg);
	ob__gen_unref(g);
}

void ob__dispatch_pending_end(void *arg, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__node *node = arg;

	if (p->started_us != 0) {
		ob__histogram_record(node->dispatch.latency, ob__loop_hrtime_us() - p->started_us);
	}
	switch (p->kind) {
	case OB__PENDING_CLIENT:
		client_end(node, p, end);
		return;
	case OB__PENDING_CALL:
		call_end(p, end);
		return;
	case OB__PENDING_TRY:
		ob__call_try_ended(node, p, end);
		return;
	case OB__PENDING_GROUP:
		ob__groups_pending_end(node, p, end);
		return;
	default:
		ob__users_pending_end(node, p, end);
		return;
	}
}

void ob__dispatch_event(struct ob__node *node, const ob_event_info *info)
{
	for (size_t i = 0; i < node->slots.events.len; i++) {
		struct ob__reg *reg = node->slots.events.regs[i];
		if (reg->priority == info->event) {
			struct ob__gen *g = reg->gen;
			uint64_t entered = ob__gen_enter(g);
			reg->fn.event(&g->ctx, info);
			ob__gen_leave(g, entered);
		}
	}
}

void ob__dispatch_http(struct ob__node *node, struct ob__http_server *server,
                       const struct ob__http_request *request, struct ob__reg *reg,
                       const char *tail)
{
	struct ob__req *r = ob__req_new(node, reg, OB__ORIGIN_HTTP, node->http_timeout_ms);

	if (r == NULL) {
		ob__http_reply(server, request->handle, 503, NULL, "too many requests\n", 18);
		return;
	}
	r->view.flags = OB_VIEW_HTTP;
	r->view.data = request->body != NULL ? request->body : (const uint8_t *)"";
	r->view.len = request->body_len;
	r->from.http.server = server;
	r->from.http.handle = request->handle;
	r->from.http.request = request;
	r->from.http.tail = tail;
	ob__req_run(node, reg, r);
}
