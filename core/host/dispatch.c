/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/client.h"
#include "host/node.h"
#include "host/slot.h"
#include "lib/frame.h"
#include "mesh/handles.h"

#define REQS_MAX (1u << 22)
#define HELD_EARLY_MS 50u      /* a held request ends this much before its deadline */
#define HELD_SYSTEM_MS 60000u
#define NOTICE_MS 600000u
#define NOTICE_RETRY_MS 2000u
#define CLIENT_ID_MAX 0x7fffffffu
#define TEXT_MAX 200u
#define FLAG_SERVED_TOLD 1u    /* of ob__session.flags */
#define FLAG_STICKY_TOLD 2u

struct held_frame {
	struct ob__list link;
	uint64_t until; /* loop ms */
	uint64_t deadline;
	struct ob__route_query query;
	size_t len;
	uint8_t bytes[];
};

static void run_handler(struct ob__node *node, struct ob__reg *reg, struct ob__req *r);
static void held_check(void *arg);

/* ---- life ---- */

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
	ob__timeout_init(&d->held_timeout, held_check, node);
	result_counters(node, d->ends, "obhost_requests_ended_total",
			"Requests ended by handlers of this node.");
	result_counters(node, d->refused, "obhost_requests_refused_total",
			"Requests that ended without a handler.");
	d->client_messages = ob__stat_counter(s, "obhost_client_messages_total", NULL,
					      "Messages from clients.");
	d->link_frames = ob__stat_counter(s, "obhost_link_frames_total", NULL,
					  "Frames from links.");
	d->forwarded = ob__stat_counter(s, "obhost_forwarded_total", NULL,
					"Frames passed on to another node.");
	d->pushes = ob__stat_counter(s, "obhost_pushes_total", NULL, "Pushes to clients here.");
	d->pushes_lost = ob__stat_counter(s, "obhost_pushes_lost_total", NULL,
					  "Pushes whose client is gone or unreachable.");
	d->replies_lost = ob__stat_counter(s, "obhost_replies_lost_total", NULL,
					   "Replies that found no way back.");
	d->unended = ob__stat_counter(s, "obhost_handlers_unended_total", NULL,
				      "Handlers that returned without ending their request.");
	d->hops_over = ob__stat_counter(s, "obhost_hops_exceeded_total", NULL,
					"Frames refused because they had no hop left.");
	d->held_total = ob__stat_counter(s, "obhost_held_total", NULL,
					 "Messages that waited for a node to come up.");
	d->latency = ob__stat_histogram(s, "obhost_request_seconds", NULL,
					"Time until the end of requests that left this node.");
	return 0;
}

void ob__dispatch_free(struct ob__node *node)
{
	struct ob__dispatch *d = &node->dispatch;

	ob__timeout_clear(node->loop, &d->held_timeout);
	OB__LIST_EACH_SAFE(it, &d->held_frames) {
		ob__list_del(it);
		free(OB__CONTAINER(it, struct held_frame, link));
	}
	ob__slab_destroy(&d->reqs);
}

static void count_result(uint64_t **counters, int code)
{
	++*counters[OB_RESULT_WIRE(code)];
}

/* A code that may travel: unknown ones are the application's failure. */
static int result_code(int code)
{
	return code <= 0 && (code == 0 || (code <= OB_E_APP && code >= OB_RESULT_LAST)) ? code
											 : OB_E_APP;
}

/* ---- the way back ---- */

char *ob__dispatch_error_body(struct ob__node *node, int code, const char *text, size_t *len)
{
	struct ob__reg *reg = ob__slot_active(&node->slots.single[OB__SLOT_ERROR_BODY]);
	json_t *body = NULL;

	text = text != NULL ? text : ob__strerror(code);
	if (reg != NULL) {
		body = reg->fn.error_body(&reg->gen->ctx, code, text);
	}
	if (body == NULL) {
		body = json_pack("{s:i, s:s}", "code", ob__result_http(code), "error", text);
	}
	if (body == NULL) {
		body = json_pack("{s:i, s:s}", "code", ob__result_http(code), "error",
				 ob__strerror(code));
	}
	char *dump = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(body);
	*len = dump != NULL ? strlen(dump) : 0;
	return dump;
}

static int send_to(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	struct ob__route_query q = {.node = dst};
	struct ob__route route = ob__router_find(&node->router, &q);

	f->dst = dst;
	f->hops = OB__FRAME_HOPS;
	if (route.kind != OB__ROUTE_PEER) {
		return OB_E_NO_ROUTE;
	}
	return ob__peer_send(node->links, route.peer, f);
}

struct reply_to {
	uint64_t src;
	uint64_t call;
	uint32_t id;
	bool from_client; /* the request came from a client: a failure carries its body */
};

static void send_reply(struct ob__node *node, const struct reply_to *to, int code,
		       const char *text, const void *data, size_t len, bool silent)
{
	uint8_t ext[TEXT_MAX + 8];
	char *body = NULL;
	struct ob__frame f = {
		.kind = OB__FRAME_REPLY,
		.flags = silent ? OB__FRAME_ONE_WAY : 0,
		.id = to->id,
		.call = to->call,
		.status = OB_RESULT_WIRE(code),
		.payload = data,
		.payload_len = (uint32_t)len,
	};

	if (code != OB_OK) {
		size_t text_len = text != NULL ? strnlen(text, TEXT_MAX) : 0;
		size_t end = ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_TEXT,
					       text != NULL ? text : "", (uint16_t)text_len);
		f.ext = ext;
		f.ext_len = (uint16_t)end;
	}
	if (code != OB_OK && to->from_client && len == 0) {
		size_t body_len;
		body = ob__dispatch_error_body(node, code, text, &body_len);
		f.payload = (const uint8_t *)body;
		f.payload_len = (uint32_t)body_len;
	}
	int rc = len > UINT32_MAX ? OB_E_TOO_BIG : send_to(node, to->src, &f);
	if (rc == OB_E_TOO_BIG && code == OB_OK) {
		send_reply(node, to, OB_E_TOO_BIG, "the answer is too big", NULL, 0, false);
	} else if (rc != 0) {
		++*node->dispatch.replies_lost;
		ob__debug("dispatch", "a reply to %016llx is lost: %s",
			  (unsigned long long)to->src, ob__strerror(rc));
	}
	free(body);
}

/* ---- requests ---- */

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
		ob__conn_ended(r->gen->node, r->from.client.conn);
	}
}

static void req_finish(struct ob__req *r)
{
	r->ended = true;
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
	char *body = ob__dispatch_error_body(node, code, text, &body_len);
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

int ob__req_end(struct ob__req *r, int code, const char *text, const void *data, size_t len)
{
	struct ob__node *node = r->gen->node;
	uint64_t handle = r->handle;

	code = result_code(code);
	count_result(node->dispatch.ends, code);
	if (code != OB_OK) {
		r->gen->failed++;
	}
	r->ended = true;
	if ((r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		switch (r->origin) {
		case OB__ORIGIN_CLIENT:
			ob__conn_reply(node, r->from.client.conn, r->view.id, r->from.client.cookie,
				       code, text, data, len);
			break;
		case OB__ORIGIN_LINK: {
			struct reply_to to = {r->from.link.src, r->from.link.call, r->view.id,
					      (r->view.flags & OB_VIEW_CALL) == 0};
			send_reply(node, &to, code, text, data, len, false);
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
	if (ob__slab_get(&node->dispatch.reqs, handle) == r) {
		req_finish(r);
	}
	return 0;
}

int ob__req_done(struct ob__req *r)
{
	struct ob__node *node = r->gen->node;

	count_result(node->dispatch.ends, OB_OK);
	if (r->origin == OB__ORIGIN_LINK && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		struct reply_to to = {r->from.link.src, r->from.link.call, r->view.id, false};
		send_reply(node, &to, OB_OK, NULL, NULL, 0, true);
	} else if (r->origin == OB__ORIGIN_SELF) {
		r->ended = true;
		self_end(r, OB_OK, NULL, NULL, 0);
	} else if (r->origin == OB__ORIGIN_HTTP) {
		ob__http_reply(r->from.http.server, r->from.http.handle, 204, NULL, NULL, 0);
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

static struct ob__req *req_new(struct ob__node *node, struct ob__reg *reg, enum ob__origin origin,
			       uint64_t budget_ms)
{
	uint64_t handle;
	struct ob__req *r = ob__slab_alloc(&node->dispatch.reqs, &handle);

	if (r == NULL) {
		return NULL;
	}
	r->handle = handle;
	r->gen = reg->gen;
	r->origin = origin;
	r->deadline = ob__loop_now(node->loop) + budget_ms;
	r->view.size = sizeof(r->view);
	r->view.budget_ms = (uint32_t)budget_ms;
	r->view.source = node->self.id;
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

static void run_handler(struct ob__node *node, struct ob__reg *reg, struct ob__req *r)
{
	if ((reg->flags & OB_ONE_WAY) != 0 && (r->view.flags & OB_VIEW_ONE_WAY) == 0) {
		/* The sender waits, the handler never answers: tell the sender's host now. */
		if (r->origin == OB__ORIGIN_LINK) {
			struct reply_to to = {r->from.link.src, r->from.link.call, r->view.id, false};
			send_reply(node, &to, OB_OK, NULL, NULL, 0, true);
		}
		r->view.flags |= OB_VIEW_ONE_WAY;
	}
	r->running = true;
	r->gen->handled++;
	reg->fn.handler(&r->gen->ctx, r->handle);
	handler_returned(node, r);
}

/* The registration that takes a message here, or NULL. */
static struct ob__reg *local_handler(struct ob__node *node, bool client, uint32_t id)
{
	struct ob__reg *reg = ob__slots_by_id(&node->slots, client, id);

	return reg != NULL ? reg : ob__slot_active(&node->slots.single[OB__SLOT_UNKNOWN]);
}

/* ---- what waits for a live node ---- */

static void refuse_frame(struct ob__node *node, const struct ob__frame *f, int code,
			 const char *text)
{
	count_result(node->dispatch.refused, code);
	if (f->kind != OB__FRAME_REQUEST || (f->flags & OB__FRAME_ONE_WAY) != 0) {
		return;
	}
	if (f->src == node->self.id) {
		struct ob__pending *p = ob__pending_find(&node->pendings, f->call);
		struct ob__end end = {.code = code, .text = text};
		if (p != NULL) {
			ob__pending_end(p, &end);
		}
		return;
	}
	struct reply_to to = {f->src, f->call, f->id, (f->flags & OB__FRAME_CALL) == 0};
	send_reply(node, &to, code, text, NULL, 0, false);
}

static void held_arm(struct ob__node *node)
{
	struct ob__dispatch *d = &node->dispatch;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t soonest = UINT64_MAX;

	OB__LIST_EACH(it, &d->held_frames) {
		const struct held_frame *h = OB__CONTAINER(it, struct held_frame, link);
		soonest = h->until < soonest ? h->until : soonest;
	}
	if (soonest != UINT64_MAX) {
		ob__timeout_set(node->loop, &d->held_timeout, soonest > now ? soonest - now : 0);
	}
}

static void held_free(struct ob__node *node, struct held_frame *h)
{
	node->dispatch.held_bytes -= h->len;
	ob__list_del(&h->link);
	free(h);
}

static void held_check(void *arg)
{
	struct ob__node *node = arg;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__list due;
	size_t need;

	ob__list_init(&due);
	OB__LIST_EACH_SAFE(it, &node->dispatch.held_frames) {
		struct held_frame *h = OB__CONTAINER(it, struct held_frame, link);
		if (h->until <= now) {
			ob__list_del(&h->link);
			ob__list_append(&due, &h->link);
		}
	}
	while (!ob__list_empty(&due)) {
		struct held_frame *h = OB__CONTAINER(due.next, struct held_frame, link);
		struct ob__frame f;
		if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) > 0) {
			refuse_frame(node, &f, OB_E_NO_ROUTE, "no live node can take it");
		}
		held_free(node, h);
	}
	held_arm(node);
}

/* Keeps a copy of a whole frame. 0 or OB_E_BUSY. */
static int hold_frame(struct ob__node *node, const struct ob__frame *f, const uint8_t *raw,
		      const struct ob__route_query *q)
{
	struct ob__dispatch *d = &node->dispatch;
	uint64_t now = ob__loop_now(node->loop);

	if (d->held_bytes + f->len > node->conf->limits.held) {
		return OB_E_BUSY;
	}
	struct held_frame *h = malloc(sizeof(*h) + f->len);
	if (h == NULL) {
		return OB_E_BUSY;
	}
	uint64_t budget = f->kind == OB__FRAME_SYSTEM ? HELD_SYSTEM_MS : f->budget;
	h->query = *q;
	h->len = f->len;
	h->deadline = now + budget;
	h->until = budget > HELD_EARLY_MS ? h->deadline - HELD_EARLY_MS : now;
	memcpy(h->bytes, raw, f->len);
	ob__list_append(&d->held_frames, &h->link);
	d->held_bytes += f->len;
	++*d->held_total;
	held_arm(node);
	return 0;
}

/* Holds a frame that this node made and could not send. */
static int hold_own(struct ob__node *node, struct ob__frame *f, const struct ob__route_query *q)
{
	size_t len = OB__FRAME_HEADER + (size_t)f->ext_len + f->payload_len;
	uint8_t *raw = malloc(len);

	if (raw == NULL) {
		return OB_E_BUSY;
	}
	f->len = (uint32_t)len;
	f->version = OB__FRAME_VERSION;
	f->src = node->self.id;
	f->hops = OB__FRAME_HOPS;
	ob__frame_put_header(raw, f);
	if (f->ext_len > 0) {
		memcpy(raw + OB__FRAME_HEADER, f->ext, f->ext_len);
	}
	if (f->payload_len > 0) {
		memcpy(raw + OB__FRAME_HEADER + f->ext_len, f->payload, f->payload_len);
	}
	int rc = hold_frame(node, f, raw, q);
	free(raw);
	return rc;
}

static void held_send(struct ob__node *node, struct held_frame *h, struct ob__peer *peer)
{
	uint64_t now = ob__loop_now(node->loop);
	struct ob__frame f;
	size_t need;

	if (ob__frame_get(&f, h->bytes, h->len, h->len, &need) <= 0) {
		return;
	}
	uint32_t left = h->deadline > now ? (uint32_t)(h->deadline - now) : 0;
	ob__frame_patch_forward(h->bytes, f.hops, f.kind == OB__FRAME_REQUEST ? left : f.budget,
				h->query.role, h->query.node);
	int rc = ob__peer_forward(node->links, peer, h->bytes, h->len);
	if (rc != 0) {
		refuse_frame(node, &f, rc, NULL);
	} else if (f.src == node->self.id && f.kind == OB__FRAME_REQUEST && f.call != 0) {
		struct ob__pending *p = ob__pending_find(&node->pendings, f.call);
		if (p != NULL && peer->link != NULL) {
			ob__pending_sent(p, peer->link);
		}
	}
}

static void notices_retry(struct ob__node *node);

void ob__dispatch_peer_up(struct ob__node *node)
{
	struct ob__list all;

	ob__list_init(&all);
	ob__list_splice(&all, &node->dispatch.held_frames);
	while (!ob__list_empty(&all)) {
		struct held_frame *h = OB__CONTAINER(all.next, struct held_frame, link);
		struct ob__route route = ob__router_find(&node->router, &h->query);
		if (route.kind == OB__ROUTE_PEER) {
			held_send(node, h, route.peer);
			held_free(node, h);
		} else {
			ob__list_del(&h->link);
			ob__list_append(&node->dispatch.held_frames, &h->link);
		}
	}
	notices_retry(node);
}

/* Whether waiting for a route node makes sense: one is configured or was ever seen. */
static bool knows_route_node(struct ob__node *node)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);

	return (role != NULL && !ob__list_empty(&role->peers)) ||
	       ob__links_dials_role(node->links, OB__ROLE_ROUTE);
}

/* ---- clients ---- */

static void client_fail(struct ob__node *node, struct ob__conn *conn, const ob_packet *p, int code,
			const char *text)
{
	count_result(node->dispatch.refused, code);
	if (p->one_way == 0) {
		ob__conn_reply(node, conn->handle, p->id, p->cookie, code, text, NULL, 0);
	}
}

static void client_local(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
			 const ob_view *view, struct ob__reg *reg)
{
	struct ob__req *r = req_new(node, reg, OB__ORIGIN_CLIENT, node->conf->call_timeout_ms);

	if (r == NULL) {
		client_fail(node, conn, p, OB_E_BUSY, "too many requests");
		return;
	}
	r->view = *view;
	r->from.client.conn = conn->handle;
	r->from.client.cookie = p->cookie;
	run_handler(node, reg, r);
}

/* Sends a client's message to a peer, or keeps it; 0 or why not. */
static int client_send(struct ob__node *node, struct ob__conn *conn, struct ob__frame *f,
		       const struct ob__route_query *q, struct ob__pending *pending)
{
	struct ob__route route = ob__router_find(&node->router, q);

	if (route.kind == OB__ROUTE_NONE) {
		if (q->node == 0 && q->role == 0 && !knows_route_node(node)) {
			return OB_E_NOT_FOUND;
		}
		return hold_own(node, f, q);
	}
	if (route.kind == OB__ROUTE_SELF) {
		return OB_E_NOT_FOUND;
	}
	f->hops = OB__FRAME_HOPS;
	int rc = ob__peer_send(node->links, route.peer, f);
	if (rc != 0) {
		return rc;
	}
	if (pending != NULL && route.peer->link != NULL) {
		ob__pending_sent(pending, route.peer->link);
	}
	if (ob__peer_congested(route.peer)) {
		ob__conn_pause_link(conn);
	}
	if (q->sticky && q->role != 0 && route.peer->who.role_id == q->role) {
		ob__session_stick(conn->session, q->role, route.peer->who.id);
	}
	return 0;
}

static void client_forward(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
			   const ob_target *target)
{
	struct ob__session *s = conn->session;
	bool sticky = (target->flags & OB_TARGET_STICKY) != 0;
	struct ob__pending *pending = NULL;
	struct ob__route_query q = {
		.node = target->node,
		.role = target->role,
		.sticky = sticky,
		.session_node = s->node,
		.session_seq = s->seq,
	};

	if (sticky && q.node == 0 && q.role != 0) {
		q.node = ob__session_sticky(s, q.role);
	}
	if (p->one_way == 0) {
		pending = ob__pending_new(&node->pendings, OB__PENDING_CLIENT,
					  node->conf->call_timeout_ms);
		if (pending == NULL) {
			client_fail(node, conn, p, OB_E_BUSY, "too many requests");
			return;
		}
		pending->id = p->id;
		pending->u.client.conn = conn->handle;
		pending->u.client.cookie = p->cookie;
		pending->u.client.role = sticky ? q.role : 0;
		ob__conn_begin(conn);
	}
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.flags = (uint16_t)((sticky ? OB__FRAME_STICKY : 0) |
				    (p->one_way != 0 ? OB__FRAME_ONE_WAY : 0)),
		.id = p->id,
		.budget = (uint32_t)node->conf->call_timeout_ms,
		.call = pending != NULL ? pending->handle : 0,
		.dst = q.node,
		.session_node = s->node,
		.session_seq = s->seq,
		.role = q.role,
		.payload = p->data,
		.payload_len = (uint32_t)p->len,
	};
	int rc = client_send(node, conn, &f, &q, pending);
	if (rc == 0) {
		return;
	}
	count_result(node->dispatch.refused, result_code(rc));
	if (pending != NULL) {
		struct ob__end end = {.code = result_code(rc),
				      .text = rc == OB_E_NOT_FOUND ? "no node handles this id"
								   : NULL};
		ob__pending_end(pending, &end);
	}
}

static void client_verdict(struct ob__node *node, struct ob__conn *conn, const ob_packet *p,
			   const ob_view *view, const ob_verdict *v)
{
	struct ob__reg *reg;

	switch (v->action) {
	case OB_LOCAL:
		reg = local_handler(node, true, p->id);
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
		client_fail(node, conn, p, result_code(v->code != 0 ? v->code : OB_E_DENIED),
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
		int rc = reg->fn.filter(&reg->gen->ctx, view);
		if (rc != 0) {
			client_fail(node, conn, p, result_code(rc), NULL);
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
	if (!pass_filters(node, conn, p, &view)) {
		return;
	}
	struct ob__reg *reg = ob__slots_by_id(&node->slots, true, p->id);
	if (reg != NULL) {
		client_local(node, conn, p, &view, reg);
		return;
	}
	reg = ob__slot_active(&node->slots.single[OB__SLOT_CLIENT_DECIDER]);
	if (reg == NULL) {
		client_fail(node, conn, p, OB_E_NO_ROUTE,
			    "no module decides about client messages here");
		return;
	}
	ob_verdict v = reg->fn.decide(&reg->gen->ctx, &view);
	client_verdict(node, conn, p, &view, &v);
}

/* ---- links ---- */

static void tell_served(struct ob__node *node, struct ob__session *s, bool sticky)
{
	uint8_t want = FLAG_SERVED_TOLD | (sticky ? FLAG_STICKY_TOLD : 0);

	if ((s->flags & want) == want || s->node == node->self.id) {
		return;
	}
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.flags = sticky ? OB__FRAME_STICKY : 0,
		.id = OB__SYS_SERVED,
		.session_node = s->node,
		.session_seq = s->seq,
		.role = node->self.role_id,
	};
	if (send_to(node, s->node, &f) != 0) {
		struct ob__route_query q = {.node = s->node};
		if (hold_own(node, &f, &q) != 0) {
			return;
		}
	}
	s->flags |= want;
}

static void end_session(struct ob__node *node, struct ob__session *s);

/* A proxy that came back numbers its sessions higher: those of its former life have ended. */
static void note_epoch(struct ob__node *node, uint64_t proxy, uint64_t seq)
{
	uint64_t epoch = (seq >> 32) + 1;
	uint64_t known = (uint64_t)(uintptr_t)ob__map_get(&node->proxy_epochs, proxy, 0);
	struct ob__session *s;

	if (epoch <= known) {
		return;
	}
	if (ob__map_put(&node->proxy_epochs, proxy, 0, (void *)(uintptr_t)epoch) != 0 || known == 0) {
		return;
	}
	for (uint32_t i = 0; (s = ob__slab_next(&node->sessions.slab, &i)) != NULL;) {
		if (s->node == proxy && s->conn == 0 && (s->seq >> 32) + 1 < epoch) {
			end_session(node, s);
		}
	}
}

/* The session of a frame: 0 if it has none; OB_E_BUSY when there is no room for it. */
static int frame_session(struct ob__node *node, const struct ob__frame *f, uint64_t *handle)
{
	bool fresh = false;
	struct ob__session *s;

	*handle = 0;
	if (f->session_node == 0) {
		return 0;
	}
	if (f->session_node == node->self.id) {
		s = ob__session_find(&node->sessions, f->session_node, f->session_seq);
		*handle = s != NULL ? s->handle : 0;
		return 0;
	}
	s = ob__session_meet(&node->sessions, f->session_node, f->session_seq,
			     ob__loop_now(node->loop), &fresh);
	if (s == NULL) {
		return OB_E_BUSY;
	}
	*handle = s->handle;
	if (fresh) {
		note_epoch(node, f->session_node, f->session_seq);
	}
	s->messages++;
	tell_served(node, s, (f->flags & OB__FRAME_STICKY) != 0);
	return 0;
}

static struct ob__reg *frame_handler(struct ob__node *node, const struct ob__frame *f,
				     char *method, size_t cap)
{
	uint16_t len;

	if ((f->flags & OB__FRAME_METHOD) == 0) {
		return local_handler(node, false, f->id);
	}
	const uint8_t *name = ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len);
	if (name == NULL || len == 0 || len >= cap) {
		return NULL;
	}
	memcpy(method, name, len);
	method[len] = '\0';
	return ob__slots_method(&node->slots, method, len);
}

static void frame_local(struct ob__node *node, const struct ob__frame *f)
{
	char method[256] = "";
	uint64_t session;
	struct ob__reg *reg = frame_handler(node, f, method, sizeof(method));

	if (reg == NULL) {
		refuse_frame(node, f, OB_E_NOT_FOUND, "no handler for this id or method");
		return;
	}
	int rc = frame_session(node, f, &session);
	struct ob__req *r = rc == 0 ? req_new(node, reg, OB__ORIGIN_LINK, f->budget) : NULL;
	if (r == NULL) {
		refuse_frame(node, f, OB_E_BUSY, "too many requests or sessions");
		return;
	}
	r->view.id = f->id;
	r->view.flags = OB_VIEW_LINK |
			((f->flags & OB__FRAME_ONE_WAY) != 0 ? OB_VIEW_ONE_WAY : 0) |
			((f->flags & OB__FRAME_STICKY) != 0 ? OB_VIEW_STICKY : 0) |
			((f->flags & OB__FRAME_CALL) != 0 ? OB_VIEW_CALL : 0);
	r->view.method = method[0] != '\0' ? method : NULL;
	r->view.session = session;
	r->view.source = f->src;
	r->view.data = f->payload;
	r->view.len = f->payload_len;
	r->from.link.src = f->src;
	r->from.link.call = f->call;
	run_handler(node, reg, r);
}

static void frame_forward(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
			  uint8_t *raw)
{
	struct ob__route_query q = {
		.node = f->dst,
		.role = f->role,
		.sticky = (f->flags & OB__FRAME_STICKY) != 0,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
		.from = link->peer,
	};

	if (f->hops <= 1) {
		++*node->dispatch.hops_over;
		refuse_frame(node, f, OB_E_NO_ROUTE, "too many hops");
		return;
	}
	struct ob__route route = ob__router_find(&node->router, &q);
	ob__frame_patch_forward(raw, (uint8_t)(f->hops - 1), f->budget, q.role, q.node);
	if (route.kind == OB__ROUTE_PEER) {
		int rc = ob__peer_forward(node->links, route.peer, raw, f->len);
		if (rc == 0) {
			++*node->dispatch.forwarded;
			return;
		}
		refuse_frame(node, f, rc, NULL);
		return;
	}
	if (f->kind == OB__FRAME_REQUEST || f->kind == OB__FRAME_SYSTEM) {
		f->hops--;
		if (hold_frame(node, f, raw, &q) != 0) {
			refuse_frame(node, f, OB_E_BUSY, "too much waits for a live node");
		}
		return;
	}
	++*(f->kind == OB__FRAME_PUSH ? node->dispatch.pushes_lost : node->dispatch.replies_lost);
}

static void frame_request(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
			  uint8_t *raw)
{
	if (f->dst == node->self.id || (f->dst == 0 && f->role == node->self.role_id)) {
		frame_local(node, f);
		return;
	}
	if (f->dst != 0 || f->role != 0) {
		frame_forward(node, link, f, raw);
		return;
	}
	struct ob__reg *reg = ob__slot_active(&node->slots.single[OB__SLOT_LINK_DECIDER]);
	if (reg == NULL || ob__slots_by_id(&node->slots, false, f->id) != NULL) {
		frame_local(node, f);
		return;
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
	ob_verdict v = reg->fn.decide(&reg->gen->ctx, &view);
	switch (v.action) {
	case OB_FORWARD:
		f->dst = v.target.node;
		f->role = v.target.role;
		if (f->dst == node->self.id) {
			frame_local(node, f);
		} else {
			frame_forward(node, link, f, raw);
		}
		return;
	case OB_DONE:
		return;
	case OB_REFUSE:
		refuse_frame(node, f, result_code(v.code != 0 ? v.code : OB_E_DENIED), v.text);
		return;
	default:
		frame_local(node, f);
	}
}

static void frame_reply(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__pending *p = ob__pending_find(&node->pendings, f->call);
	char text[TEXT_MAX + 1];
	uint16_t text_len = 0;

	if (p == NULL) {
		return;
	}
	if ((f->flags & OB__FRAME_ONE_WAY) != 0 && p->kind == OB__PENDING_CLIENT) {
		ob__conn_ended(node, p->u.client.conn);
		ob__pending_drop(p);
		return;
	}
	struct ob__end end = {
		.code = result_code(OB_RESULT_FROM_WIRE(f->status)),
		.source = f->src,
		.data = f->payload,
		.len = f->payload_len,
	};
	const uint8_t *ext = f->status != 0 ? ob__frame_ext(f, OB__FRAME_EXT_TEXT, &text_len) : NULL;
	if (ext != NULL && text_len <= TEXT_MAX) {
		memcpy(text, ext, text_len);
		text[text_len] = '\0';
		end.text = text_len > 0 ? text : NULL;
	}
	ob__pending_end(p, &end);
}

void ob__dispatch_pending_end(void *arg, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__node *node = arg;

	ob__histogram_record(node->dispatch.latency, ob__loop_hrtime_us() - p->started_us);
	if (p->kind == OB__PENDING_CALL) {
		struct ob__gen *g = p->u.call.gen;
		ob_call_fn fn = (ob_call_fn)(uintptr_t)p->u.call.fn;
		ob_call_result res = {
			.size = sizeof(res),
			.code = end->code,
			.text = end->text != NULL ? end->text : ob__strerror(end->code),
			.source = end->source,
			.data = end->data,
			.len = end->len,
		};
		ob__list_del(&p->u.call.gen_link);
		fn(&g->ctx, p->handle, &res, p->u.call.arg);
		ob__gen_unref(g);
		return;
	}
	struct ob__conn *conn = ob__conn_get(node, p->u.client.conn);
	if (conn == NULL) {
		return;
	}
	if (end->code != OB_OK && p->u.client.role != 0 && end->code != OB_E_APP) {
		ob__session_stick(conn->session, p->u.client.role, 0);
	}
	ob__conn_reply(node, p->u.client.conn, p->id, p->u.client.cookie, end->code, end->text,
		       end->data, end->len);
	ob__conn_ended(node, p->u.client.conn);
}

static void frame_push(struct ob__node *node, const struct ob__frame *f)
{
	const struct ob__session *s =
		ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (s == NULL || s->conn == 0 ||
	    ob__conn_push(node, s->conn, f->id, f->payload, f->payload_len) != 0) {
		++*node->dispatch.pushes_lost;
		return;
	}
	++*node->dispatch.pushes;
}

/* ---- sessions that end ---- */

void ob__dispatch_event(struct ob__node *node, const ob_event_info *info)
{
	for (size_t i = 0; i < node->slots.events.len; i++) {
		struct ob__reg *reg = node->slots.events.regs[i];
		if (reg->priority == info->event) {
			reg->fn.event(&reg->gen->ctx, info);
		}
	}
}

/* Tells this node's modules, then forgets the session. */
static void end_session(struct ob__node *node, struct ob__session *s)
{
	ob_event_info info = {
		.size = sizeof(info),
		.event = OB_EVENT_SESSION_CLOSED,
		.session = s->handle,
		.node = s->node,
		.name = "",
		.role = "",
	};
	struct ob__reg *reg = ob__slot_active(
		ob__map_get(&node->slots.link_ids, node->conf->session_closed_id, 0));
	struct ob__req *r;

	ob__dispatch_event(node, &info);
	if (reg != NULL && (r = req_new(node, reg, OB__ORIGIN_HOST,
					node->conf->call_timeout_ms)) != NULL) {
		r->view.id = node->conf->session_closed_id;
		r->view.flags = OB_VIEW_ONE_WAY;
		r->view.session = s->handle;
		r->view.source = s->node;
		r->view.data = (const uint8_t *)"{}";
		r->view.len = 2;
		run_handler(node, reg, r);
	}
	ob__session_end(&node->sessions, s);
}

static void notice_send(struct ob__node *node, struct ob__notice *n)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CLOSED,
		.call = n->handle,
		.session_node = n->session_node,
		.session_seq = n->session_seq,
	};

	(void)send_to(node, n->to, &f);
}

static void notices_retry(struct ob__node *node)
{
	uint64_t now = ob__loop_now(node->loop);

	OB__LIST_EACH_SAFE(it, &node->sessions.notice_list) {
		struct ob__notice *n = OB__CONTAINER(it, struct ob__notice, link);
		if (n->until_ms <= now) {
			ob__notice_free(&node->sessions, n);
		} else {
			notice_send(node, n);
		}
	}
}

void ob__dispatch_notices(void *arg)
{
	struct ob__node *node = arg;

	notices_retry(node);
	if (!ob__list_empty(&node->sessions.notice_list)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

static void notify_closed(struct ob__node *node, const struct ob__session *s, uint64_t to)
{
	uint64_t until = ob__loop_now(node->loop) + NOTICE_MS;
	struct ob__notice *n = ob__notice_new(&node->sessions, to, s, until);

	if (n == NULL) {
		ob__warning("session", "too many close notices wait; one is lost");
		return;
	}
	notice_send(node, n);
	if (!ob__timeout_armed(&node->notice_timeout)) {
		ob__timeout_set(node->loop, &node->notice_timeout, NOTICE_RETRY_MS);
	}
}

void ob__dispatch_session_closed(struct ob__node *node, struct ob__session *s)
{
	for (uint8_t i = 0; i < s->served_len; i++) {
		notify_closed(node, s, s->served[i]);
	}
	end_session(node, s);
}

static void on_served(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s =
		ob__session_find(&node->sessions, f->session_node, f->session_seq);

	if (s == NULL) {
		struct ob__session gone = {.node = f->session_node, .seq = f->session_seq};
		notify_closed(node, &gone, f->src);
		return;
	}
	ob__session_served(s, f->src);
	if ((f->flags & OB__FRAME_STICKY) != 0 && ob__session_sticky(s, f->role) == 0) {
		ob__session_stick(s, f->role, f->src);
	}
}

static void on_closed(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__session *s =
		ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__frame ack = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_CLOSED_ACK,
		.call = f->call,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};

	if (s != NULL && s->conn == 0 && f->src == s->node) {
		end_session(node, s);
	}
	(void)send_to(node, f->src, &ack);
}

static void on_kick(struct ob__node *node, const struct ob__frame *f)
{
	const struct ob__session *s =
		ob__session_find(&node->sessions, f->session_node, f->session_seq);
	struct ob__conn *conn = s != NULL ? ob__conn_get(node, s->conn) : NULL;
	char reason[124] = "";
	uint16_t code = OB__WS_NORMAL;

	if (conn == NULL || f->payload_len < 2) {
		return;
	}
	memcpy(&code, f->payload, sizeof(code));
	size_t len = f->payload_len - 2 < sizeof(reason) ? f->payload_len - 2 : sizeof(reason) - 1;
	memcpy(reason, f->payload + 2, len);
	ob__conn_close(conn, code, reason, "kicked");
}

static void frame_system(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__notice *n;

	switch (f->id) {
	case OB__SYS_SERVED:
		on_served(node, f);
		return;
	case OB__SYS_CLOSED:
		on_closed(node, f);
		return;
	case OB__SYS_CLOSED_ACK:
		n = ob__notice_get(&node->sessions, f->call);
		if (n != NULL && n->to == f->src) {
			ob__notice_free(&node->sessions, n);
		}
		return;
	case OB__SYS_KICK:
		on_kick(node, f);
		return;
	default:
		return;
	}
}

void ob__dispatch_frame(struct ob__node *node, struct ob__link *link, struct ob__frame *f,
			uint8_t *raw)
{
	++*node->dispatch.link_frames;
	if (f->kind == OB__FRAME_REQUEST) {
		frame_request(node, link, f, raw);
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
		frame_push(node, f);
		return;
	case OB__FRAME_SYSTEM:
		frame_system(node, f);
		return;
	default:
		return;
	}
}

/* ---- HTTP ---- */

void ob__dispatch_http(struct ob__node *node, struct ob__http_server *server,
		       const struct ob__http_request *request, struct ob__reg *reg,
		       const char *tail)
{
	struct ob__req *r = req_new(node, reg, OB__ORIGIN_HTTP, node->http_timeout_ms);

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
	run_handler(node, reg, r);
}

/* ---- calls, pushes ---- */

struct self_call {
	struct ob__node *node;
	uint64_t pending;
	uint64_t session;
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
	struct ob__reg *reg = c->method != NULL
				      ? ob__slots_method(&node->slots, c->method, strlen(c->method))
				      : local_handler(node, false, c->id);
	struct ob__end end = {.code = OB_E_NOT_FOUND};

	if (p == NULL) {
		goto out;
	}
	struct ob__req *r =
		reg != NULL ? req_new(node, reg, OB__ORIGIN_SELF, node->conf->call_timeout_ms)
			    : NULL;
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
	run_handler(node, reg, r);
out:
	free(c->method);
	free(c);
}

static int call_self(struct ob__node *node, uint64_t pending, uint32_t id, const char *method,
		     uint64_t session, const void *data, size_t len)
{
	struct self_call *c = malloc(sizeof(*c) + len + 1);

	if (c == NULL) {
		return OB_E_NOMEM;
	}
	*c = (struct self_call){.node = node, .pending = pending, .session = session, .id = id,
				.len = len};
	if (len > 0) {
		memcpy(c->data, data, len);
	}
	c->method = method != NULL ? strdup(method) : NULL;
	int rc = method != NULL && c->method == NULL
			 ? OB_E_NOMEM
			 : ob__loop_defer(node->loop, self_call_run, c);
	if (rc != 0) {
		free(c->method);
		free(c);
	}
	return rc;
}

static int call_send(struct ob__node *node, const ob_target *target, struct ob__pending *p,
		     struct ob__frame *f)
{
	struct ob__route_query q = {
		.node = target->node,
		.role = target->role,
		.sticky = (target->flags & OB_TARGET_STICKY) != 0,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};
	struct ob__route route = ob__router_find(&node->router, &q);

	f->dst = q.node;
	f->role = q.role;
	f->hops = OB__FRAME_HOPS;
	if (route.kind != OB__ROUTE_PEER) {
		return hold_own(node, f, &q);
	}
	int rc = ob__peer_send(node->links, route.peer, f);
	if (rc == 0 && route.peer->link != NULL) {
		ob__pending_sent(p, route.peer->link);
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

	if (!ob__gen_live(g) || fn == NULL || method_len > 255 || len > node->conf->limits.message ||
	    (method == NULL && id == 0)) {
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
	int rc = to_self ? call_self(node, handle, id, method, session, data, len)
			 : call_send(node, target, p, &f);
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

void ob__dispatch_abandon(struct ob__gen *g)
{
	while (!ob__list_empty(&g->reqs)) {
		struct ob__req *r = OB__CONTAINER(g->reqs.next, struct ob__req, gen_link);
		ob__req_end(r, OB_E_GONE, "the module was taken out", NULL, 0);
	}
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
	int rc = send_to(node, s->node, &f);
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
	return send_to(node, s->node, &f);
}
