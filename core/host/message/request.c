/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/call/callfilter.h"
#include "host/call/cancel.h"
#include "host/call/keys.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "host/slot.h"
#include "lib/apart.h"

struct ob__req *ob__req_get(struct ob__node *node, uint64_t handle)
{
	return ob__req_of(&node->dispatch.reqs, handle);
}

static inline void req_free(struct ob__req *r)
{
	struct ob__node *node = r->gen->node;

	if (r->held) {
		ob__timeout_clear(node->loop, &r->timeout);
		ob__list_del(&r->gen_link);
		ob__gen_unref(r->gen);
	}
	json_decref(r->json);
	if (r->method != NULL) {
		free(r->method);
	}
	ob__slab_free(&node->dispatch.reqs, r);
}

/* Its client may have come back on another connection. */
static inline struct ob__conn *req_conn(const struct ob__req *r)
{
	struct ob__node *node = r->gen->node;
	struct ob__conn *conn = ob__conn_get(node, r->from.client.conn);

	if ((conn != NULL && conn->session != NULL) || node->resumes.slab.live == 0) {
		return conn;
	}
	return ob__resume_conn(node, conn, ob__session_get(&node->sessions, r->view.session));
}

/* What is kept for a client that is away and may come back; NULL: nothing is. */
static struct ob__resume *req_away(const struct ob__req *r)
{
	const struct ob__node *node = r->gen->node;
	const struct ob__session *s = node->resumes.detached_len > 0
	                                      ? ob__session_get(&node->sessions, r->view.session)
	                                      : NULL;

	return s != NULL ? ob__resume_get(node, s->conn) : NULL;
}

/* The client side of a held request: it counts against the client's in-flight bound. */
static void req_client_ended(struct ob__req *r)
{
	if (r->origin != OB__ORIGIN_CLIENT || !r->held) {
		return;
	}
	struct ob__conn *conn = req_conn(r);
	struct ob__resume *away = conn == NULL ? req_away(r) : NULL;
	ob__conn_ended(conn);
	if (away != NULL) {
		ob__resume_request_ended(away);
	}
}

static inline void req_finish(struct ob__req *r)
{
	r->ended = true;
	if (r->held) {
		ob__cancel_release(r);
	}
	req_client_ended(r);
	if (!r->running) {
		req_free(r);
	}
}

static void http_end(struct ob__req *r, int code, const char *text, const void *data, size_t len)
{
	struct ob__node *node = r->gen->node;

	if (code == OB_OK) {
		const char *type = r->json_reply ? "application/json" : "application/octet-stream";
		ob__http_reply(r->from.http.server, r->from.http.handle,
		               r->http_status != 0 ? r->http_status : 200,
		               r->http_status != 0 ? r->http_type : type, data, len);
		return;
	}
	size_t body_len;
	char *body = ob__error_body(node, code, text, &body_len);
	ob__http_reply(r->from.http.server, r->from.http.handle, ob__result_http(code),
	               "application/json", body, body_len);
	free(body);
}

static void self_end(struct ob__req *r, int code, const char *text, const void *data, size_t len)
{
	struct ob__node *node = r->gen->node;
	struct ob__pending *p = ob__pending_find(&node->pendings, r->from.self);

	if (p != NULL) {
		struct ob__end end = {.code = code,
		                      .text = text,
		                      .source = node->self.id,
		                      .data = data,
		                      .len = len};
		ob__pending_end(p, &end);
	}
}

/* The handler's code gave no proper end.  Other refusals may well be right: they speak of what was
 * asked, of a bound or of another node, and say nothing against the code. */
static bool speaks_against(int code)
{
	return code == OB_E_APP || code == OB_E_DEADLINE || code == OB_E_GONE;
}

static inline void link_end(struct ob__req *r, int code, const char *text, const void *data,
                            size_t len)
{
	struct ob__node *node = r->gen->node;
	uint64_t src = r->from.link.src;
	uint64_t call = r->from.link.call;
	uint32_t id = r->view.id;

	if (code != OB_OK || !ob__reply_add(node, src, call, id, data, len)) {
		bool from_client = (r->view.flags & OB_VIEW_CALL) == 0;
		ob__send_reply(node, &(struct ob__reply_to){src, call, id, from_client}, code, text,
		               data, len, 0);
	}
}

/* Filters and logs see how it has ended. */
static OB__APART void client_seen(const struct ob__req *r, int code, const char *text, size_t len)
{
	struct ob__node *node = r->gen->node;
	const struct ob__outcome o = {
		.id = r->view.id,
		.flags = r->view.flags,
		.session = r->view.session,
		.source = node->self.id,
		.took_us = (ob__loop_now(node->loop) - (r->deadline - r->view.budget_ms)) * 1000,
		.code = code,
		.text = text,
		.len = len,
	};

	ob__gate_client_ended(node, &o);
}

/* Gives the end to whoever waits for it. */
static inline void req_tell(struct ob__req *r, int code, const char *text, const void *data,
                            size_t len)
{
	if (r->origin == OB__ORIGIN_LINK) {
		link_end(r, code, text, data, len);
	} else if (r->origin == OB__ORIGIN_CLIENT) {
		struct ob__conn *conn = req_conn(r);
		struct ob__resume *away = conn == NULL ? req_away(r) : NULL;
		ob__conn_reply(conn, r->view.id, r->from.client.cookie, code, text, data, len);
		if (away != NULL) {
			ob__resume_reply(away, r->view.id, r->from.client.cookie, code, text, data,
			                 len);
		}
		if (r->gen->node->gates.around) {
			client_seen(r, code, text, len);
		}
	} else if (r->origin == OB__ORIGIN_HTTP) {
		http_end(r, code, text, data, len);
	} else if (r->origin == OB__ORIGIN_SELF) {
		self_end(r, code, text, data, len);
	}
}

int ob__req_end(struct ob__req *r, int code, const char *text, const void *data, size_t len)
{
	struct ob__node *node = r->gen->node;
	uint64_t handle = r->handle;
	uint64_t key = r->key;
	bool running = r->running; /* then it stays until its handler returns */

	code = ob__result_clean(code);
	r->key = 0;
	ob__count_result(node->dispatch.ends, code);
	r->gen->failed += speaks_against(code) && !r->cancelled;
	r->ended = true;
	if ((r->view.flags & OB_VIEW_CALL) != 0) {
		ob__callfilter_after_in(node, r, code, text, data, len);
	}
	if ((r->view.flags & OB_VIEW_ONE_WAY) == 0 && !r->cancelled) {
		req_tell(r, code, text, data, len);
	}
	if (node->gates.handlers) {
		ob__gate_handler_ended(node, r, code, text, len);
	}
	if (key != 0) {
		ob__keys_end(node, key,
		             &(struct ob__dedupe_end){
				     .code = code, .text = text, .data = data, .len = len});
	}
	if (running || ob__slab_get(&node->dispatch.reqs, handle) == r) {
		req_finish(r);
	}
	return 0;
}

void ob__req_cancel(struct ob__req *r)
{
	r->cancelled = true;
	ob__req_end(r, OB_E_GONE, "its caller has cancelled it", NULL, 0);
}

int ob__req_done(struct ob__req *r)
{
	struct ob__node *node = r->gen->node;

	r->ended = true;
	ob__count_result(node->dispatch.ends, OB_OK);
	if ((r->view.flags & OB_VIEW_CALL) != 0) {
		ob__callfilter_after_in(node, r, OB_OK, NULL, NULL, 0);
	}
	if (r->origin == OB__ORIGIN_LINK && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		struct ob__reply_to to = {r->from.link.src, r->from.link.call, r->view.id, false};
		ob__send_reply(node, &to, OB_OK, NULL, NULL, 0, OB__FRAME_ONE_WAY);
	} else if (r->origin == OB__ORIGIN_SELF && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		self_end(r, OB_OK, NULL, NULL, 0);
	} else if (r->origin == OB__ORIGIN_HTTP) {
		ob__http_reply(r->from.http.server, r->from.http.handle, 204, NULL, NULL, 0);
	}
	if (node->gates.handlers) {
		ob__gate_handler_ended(node, r, OB_OK, NULL, 0);
	}
	if (r->key != 0) {
		uint64_t key = r->key;
		r->key = 0;
		ob__keys_end(node, key, &(struct ob__dedupe_end){.silent = true});
	}
	req_finish(r);
	return 0;
}

static void req_deadline(void *arg)
{
	struct ob__req *r = arg;

	ob__req_end(r, OB_E_DEADLINE, "the handler did not answer in time", NULL, 0);
}

int ob__req_hold(struct ob__req *r)
{
	struct ob__node *node = r->gen->node;

	if (r->held) {
		return 0;
	}
	if (!r->running) {
		return OB_E_STATE;
	}
	if (r->view.method != NULL && (r->method = strdup(r->view.method)) == NULL) {
		return OB_E_NOMEM;
	}
	r->held = true;
	ob__list_append(&r->gen->reqs, &r->gen_link);
	ob__gen_ref(r->gen);
	ob__cancel_hold(r);
	uint64_t now = ob__loop_now(node->loop);
	ob__timeout_init(&r->timeout, req_deadline, r);
	ob__timeout_set(node->loop, &r->timeout, r->deadline > now ? r->deadline - now : 0);
	if (r->origin == OB__ORIGIN_CLIENT) {
		struct ob__conn *conn = req_conn(r);
		struct ob__resume *away = conn == NULL ? req_away(r) : NULL;
		if (conn != NULL) {
			ob__conn_begin(conn);
		} else if (away != NULL) {
			away->in_flight++;
		}
	}
	return 0;
}

const json_t *ob__req_json(struct ob__req *r)
{
	if (r->json != NULL || r->view.data == NULL) {
		return r->json;
	}
	r->json = json_loadb((const char *)r->view.data, r->view.len,
	                     JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	r->bad_json = r->json == NULL;
	return r->json;
}

/* Without its view. */
static inline struct ob__req *req_take(struct ob__node *node, const struct ob__reg *reg,
                                       enum ob__origin origin, uint64_t budget_ms)
{
	struct ob__req *r = ob__slab_take(&node->dispatch.reqs);

	if (r == NULL) {
		return NULL;
	}
	r->handle = ob__slab_handle(&node->dispatch.reqs, r);
	r->gen = reg->gen;
	r->origin = origin;
	r->running = false;
	r->held = false;
	r->ended = false;
	r->cancelled = false;
	r->bad_json = false;
	r->json_reply = false;
	r->http_status = 0;
	r->http_type = NULL;
	r->method = NULL;
	r->json = NULL;
	r->deadline = ob__loop_now(node->loop) + budget_ms;
	r->key = 0;
	r->trace = (struct ob__trace){0};
	return r;
}

struct ob__req *ob__req_new(struct ob__node *node, struct ob__reg *reg, enum ob__origin origin,
                            uint64_t budget_ms)
{
	struct ob__req *r = req_take(node, reg, origin, budget_ms);

	if (r != NULL) {
		r->view = (ob_view){
			.size = sizeof(r->view),
			.budget_ms = (uint32_t)budget_ms,
			.source = node->self.id,
		};
	}
	return r;
}

struct ob__req *ob__req_of_client(struct ob__node *node, struct ob__reg *reg, const ob_view *view)
{
	struct ob__req *r = req_take(node, reg, OB__ORIGIN_CLIENT, view->budget_ms);

	if (r != NULL) {
		r->view = *view;
	}
	return r;
}

static inline __attribute__((always_inline)) void handler_returned(struct ob__node *node,
                                                                   struct ob__req *r)
{
	r->running = false;
	if (r->ended) {
		req_free(r);
		return;
	}
	if (r->held) {
		r->view.data = NULL;
		r->view.len = 0;
		r->view.method = r->method;
		ob__msgname_show(&r->gen->node->msgnames,
		                 &r->view); /* of the table, not the input */
		if (r->origin == OB__ORIGIN_HTTP) {
			r->from.http.request = NULL;
		}
		return;
	}
	if ((r->view.flags & OB_VIEW_ONE_WAY) != 0) {
		ob__req_done(r);
		return;
	}
	++*node->dispatch.unended;
	if (r->bad_json) {
		ob__req_end(r, OB_E_BAD, "the body is not JSON", NULL, 0);
	} else {
		ob__req_end(r, OB_E_APP, "the handler gave no answer", NULL, 0);
	}
}

/* Filters that stand around messages of clients see it. */
static bool is_gated(const struct ob__node *node, const struct ob__req *r)
{
	return node->slots.message_filters[OB_MESSAGE_BEFORE_HANDLER - 1].len != 0 &&
	       (r->origin == OB__ORIGIN_CLIENT || r->origin == OB__ORIGIN_LINK) &&
	       (r->view.flags & OB_VIEW_CALL) == 0 && r->view.method == NULL;
}

static inline void call_handler(struct ob__node *node, ob_handler_fn fn, uint32_t flags,
                                struct ob__req *r)
{
	if ((flags & OB_ONE_WAY) != 0 && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		/* The sender waits, the handler never answers: tell the sender's host now. */
		if (r->origin == OB__ORIGIN_LINK) {
			struct ob__reply_to to = {r->from.link.src, r->from.link.call, r->view.id,
			                          false};
			ob__send_reply(node, &to, OB_OK, NULL, NULL, 0, OB__FRAME_ONE_WAY);
		} else if (r->origin == OB__ORIGIN_SELF) {
			self_end(r, OB_OK, NULL, NULL, 0);
		}
		r->view.flags |= OB_VIEW_ONE_WAY;
	}
	r->running = true;
	r->gen->handled++;
	struct ob__gen *g = r->gen;
	uint64_t before = node->dispatch.current;
	struct ob__req *outer = node->dispatch.running;
	node->dispatch.current = r->handle;
	node->dispatch.running = r;
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, r->handle);
	ob__gen_leave(g, entered);
	node->dispatch.current = before;
	node->dispatch.running = outer;
	handler_returned(node, r);
}

/* Through the filters from number `from` on. */
static OB__APART void run_gated(struct ob__node *node, ob_handler_fn fn, uint32_t flags,
                                struct ob__req *r, size_t from)
{
	r->running = true;
	if (ob__gate_handler(node, fn, flags, r, from)) {
		call_handler(node, fn, flags, r);
	} else {
		handler_returned(node, r); /* ended, or held */
	}
}

void ob__req_run(struct ob__node *node, struct ob__reg *reg, struct ob__req *r)
{
	if (is_gated(node, r)) {
		run_gated(node, reg->fn.handler, reg->flags, r, 0);
	} else {
		call_handler(node, reg->fn.handler, reg->flags, r);
	}
}

void ob__req_go_on(struct ob__node *node, struct ob__req *r, ob_handler_fn fn, uint32_t flags,
                   const uint8_t *data, size_t len, size_t from)
{
	struct ob__gen *g = r->gen;

	ob__gen_ref(g); /* for the time that it is held by nobody */
	ob__timeout_clear(node->loop, &r->timeout);
	ob__list_del(&r->gen_link);
	ob__cancel_release(r);
	req_client_ended(r);
	r->held = false;
	ob__gen_unref(g);
	r->view.data = data;
	r->view.len = len;
	run_gated(node, fn, flags, r, from);
	ob__gen_unref(g);
}

/* The registration that takes a message here, or NULL. */
struct ob__reg *ob__local_handler(struct ob__node *node, bool client, uint32_t id,
                                  uint64_t session_node, uint64_t session_seq)
{
	struct ob__reg *reg = ob__slots_by_id(&node->slots, client, id, session_node, session_seq);

	return reg != NULL ? reg : ob__slot_active(&node->slots.single[OB__SLOT_UNKNOWN]);
}
