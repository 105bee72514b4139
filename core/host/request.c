/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/request.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/callfilter.h"
#include "host/cancel.h"
#include "host/client.h"
#include "host/conn.h"
#include "host/keys.h"
#include "host/node.h"
#include "host/reply.h"
#include "host/slot.h"

struct ob__req *ob__req_get(struct ob__node *node, uint64_t handle)
{
	struct ob__req *r = ob__slab_get(&node->dispatch.reqs, handle);

	return r != NULL && !r->ended ? r : NULL;
}

static void req_free(struct ob__req *r)
{
	struct ob__node *node = r->gen->node;

	if (r->held) {
		ob__timeout_clear(node->loop, &r->timeout);
		ob__list_del(&r->gen_link);
		ob__gen_unref(r->gen);
	}
	json_decref(r->json);
	free(r->method);
	ob__slab_free(&node->dispatch.reqs, r);
}

/* The client side of a held request: it counts against the client's in-flight bound. */
static void req_client_ended(struct ob__req *r)
{
	if (r->origin == OB__ORIGIN_CLIENT && r->held) {
		ob__conn_ended(ob__conn_get(r->gen->node, r->from.client.conn));
	}
}

static void req_finish(struct ob__req *r)
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

int ob__req_end(struct ob__req *r, int code, const char *text, const void *data, size_t len)
{
	struct ob__node *node = r->gen->node;
	uint64_t handle = r->handle;
	uint64_t key = r->key;

	code = ob__result_clean(code);
	r->key = 0;
	ob__count_result(node->dispatch.ends, code);
	r->gen->failed += speaks_against(code) && !r->cancelled;
	r->ended = true;
	if ((r->view.flags & OB_VIEW_CALL) != 0) {
		ob__callfilter_after_in(node, r, code, text, data, len);
	}
	if ((r->view.flags & OB_VIEW_ONE_WAY) == 0 && !r->cancelled) {
		switch (r->origin) {
		case OB__ORIGIN_CLIENT:
			ob__conn_reply(ob__conn_get(node, r->from.client.conn), r->view.id,
			               r->from.client.cookie, code, text, data, len);
			break;
		case OB__ORIGIN_LINK: {
			struct ob__reply_to to = {r->from.link.src, r->from.link.call, r->view.id,
			                          (r->view.flags & OB_VIEW_CALL) == 0};
			ob__send_reply(node, &to, code, text, data, len, 0);
			break;
		}
		case OB__ORIGIN_HTTP:
			http_end(r, code, text, data, len);
			break;
		case OB__ORIGIN_SELF:
			self_end(r, code, text, data, len);
			break;
		case OB__ORIGIN_HOST:
			break;
		}
	}
	if (key != 0) {
		ob__keys_end(node, key,
		             &(struct ob__dedupe_end){
				     .code = code, .text = text, .data = data, .len = len});
	}
	if (ob__slab_get(&node->dispatch.reqs, handle) == r) {
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
		struct ob__conn *conn = ob__conn_get(node, r->from.client.conn);
		if (conn != NULL) {
			ob__conn_begin(conn);
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

struct ob__req *ob__req_new(struct ob__node *node, struct ob__reg *reg, enum ob__origin origin,
                            uint64_t budget_ms)
{
	uint64_t handle;
	struct ob__req *r = ob__slab_take(&node->dispatch.reqs, &handle);

	if (r == NULL) {
		return NULL;
	}
	*r = (struct ob__req){
		.handle = handle,
		.gen = reg->gen,
		.origin = origin,
		.deadline = ob__loop_now(node->loop) + budget_ms,
		.view = {.size = sizeof(r->view),
	                 .budget_ms = (uint32_t)budget_ms,
	                 .source = node->self.id},
	};
	return r;
}

static void handler_returned(struct ob__node *node, struct ob__req *r)
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

void ob__req_run(struct ob__node *node, struct ob__reg *reg, struct ob__req *r)
{
	if ((reg->flags & OB_ONE_WAY) != 0 && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
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
	node->dispatch.current = r->handle;
	uint64_t entered = ob__gen_enter(g);
	reg->fn.handler(&g->ctx, r->handle);
	ob__gen_leave(g, entered);
	node->dispatch.current = before;
	handler_returned(node, r);
}

/* The registration that takes a message here, or NULL. */
struct ob__reg *ob__local_handler(struct ob__node *node, bool client, uint32_t id,
                                  uint64_t session_node, uint64_t session_seq)
{
	struct ob__reg *reg = ob__slots_by_id(&node->slots, client, id, session_node, session_seq);

	return reg != NULL ? reg : ob__slot_active(&node->slots.single[OB__SLOT_UNKNOWN]);
}
