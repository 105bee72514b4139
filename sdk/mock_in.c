/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX 8192u

/* ---- the record of a request ---- */

static void request_free(struct request *r)
{
	for (size_t i = 0; i < r->set.len; i++) {
		free(r->set.at[i]);
	}
	free(r->set.at);
	json_decref(r->json);
	free(r->method);
	free(r->text);
	free(r->content_type);
	free(r->data);
	free(r->gate_bytes);
	free(r);
}

void ob__mock_requests_free(ob_mock *m)
{
	for (size_t i = 0; i < m->requests.len; i++) {
		struct request *r = m->requests.at[i];
		ob__mock_obj_close(m->world, &r->obj);
		request_free(r);
	}
	free(m->requests.at);
	m->requests = (struct vec){NULL, 0, 0};
}

/* Forgets the oldest ended ones. */
static void requests_prune(ob_mock *m)
{
	for (size_t i = 0; m->requests_ended > KEPT_MAX && i < m->requests.len;) {
		struct request *r = m->requests.at[i];
		if (!r->ended || r->running) {
			i++;
			continue;
		}
		ob__mock_vec_del(&m->requests, i);
		m->requests_ended--;
		request_free(r);
	}
}

static struct request *request_new(ob_mock *m, enum origin origin, uint64_t budget)
{
	struct request *r = calloc(1, sizeof(*r));
	int rc = r != NULL ? ob__mock_obj_open(m->world, &r->obj, KIND_REQ, m) : OB_E_NOMEM;

	if (rc == 0 && (rc = ob__mock_vec_add(&m->requests, r)) != 0) {
		ob__mock_obj_close(m->world, &r->obj);
	}
	if (rc != 0) {
		free(r);
		return NULL;
	}
	r->req = r->obj.handle;
	r->origin = origin;
	r->deadline = m->world->now + budget;
	r->view.size = sizeof(r->view);
	r->view.budget_ms = (uint32_t)budget;
	r->view.source = ob_mock_node_id(m->name);
	return r;
}

/* A live one that has not ended.  A module's newer generation may end what an older one holds. */
struct request *ob__mock_request_of(ob_mock *m, ob_req req)
{
	return ob__mock_obj_get(m->world, req, KIND_REQ);
}

/* ---- the end of a request ---- */

static int clean(int code)
{
	return code == 0 || (code <= OB_E_APP && code >= OB_RESULT_LAST) ? code : OB_E_APP;
}

static json_t *error_body(ob_mock *m, int code, const char *text)
{
	const struct reg *reg = ob__mock_reg_one(m, REG_ERROR_BODY);
	json_t *body = reg != NULL ? reg->fn.error_body(&m->ctx, code, text) : NULL;

	if (body == NULL) {
		body = json_pack("{s:i, s:s}", "code", ob__mock_status(code), "error", text);
	}
	return body != NULL ? body
	                    : json_pack("{s:i, s:s}", "code", ob__mock_status(code), "error",
	                                ob__mock_strerror(code));
}

static void store(struct request *r, const void *data, size_t len)
{
	r->data = ob__mock_copy(data, len);
	r->len = r->data != NULL ? len : 0;
}

/* Who waits at a client or over HTTP is told in a body. */
static void store_error(struct request *r, int code, const char *text)
{
	bool told = r->origin == FROM_CLIENT || r->origin == FROM_HTTP || r->origin == FROM_LINK;
	json_t *body = told ? error_body(r->obj.owner, code, text) : NULL;
	char *dump = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	if (dump != NULL) {
		store(r, dump, strlen(dump));
	}
	free(dump);
	json_decref(body);
	if (r->origin == FROM_HTTP) {
		free(r->content_type);
		r->content_type = strdup("application/json");
	}
}

static int compare_filters(const void *a, const void *b)
{
	const struct reg *x = *(const struct reg *const *)a;
	const struct reg *y = *(const struct reg *const *)b;

	return x->priority < y->priority ? -1 : x->priority > y->priority;
}

int ob__mock_call_filters(ob_mock *m, const ob_call_event *e)
{
	const struct reg *sorted[64];
	size_t len = 0;
	int rc = 0;

	for (size_t i = 0; i < m->regs.len && len < 64; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind != REG_CALL_FILTER || reg->flags != (uint32_t)e->when) {
			continue;
		}
		size_t at = len++;
		while (at > 0 && compare_filters(&sorted[at - 1], &reg) > 0) {
			sorted[at] = sorted[at - 1];
			at--;
		}
		sorted[at] = reg;
	}
	bool before = e->when == OB_CALL_BEFORE_OUT || e->when == OB_CALL_BEFORE_IN;
	for (size_t i = 0; i < len && rc >= 0; i++) {
		rc = sorted[i]->fn.call_filter(&m->ctx, e);
		rc = before && rc < 0 ? clean(rc) : 0;
	}
	return rc;
}

static ob_call_event in_event(ob_mock *m, const struct request *r, int when, const ob_view *view)
{
	return (ob_call_event){
		.size = sizeof(ob_call_event),
		.when = when,
		.view = view,
		.node = r->view.source,
		.took_ms = (uint32_t)(m->world->now + r->view.budget_ms - r->deadline),
		.text = "",
		.trace = {.size = sizeof(ob_trace_info),
	                  .begins = 1,
	                  .id = {ob_mock_node_id(m->name), r->req},
	                  .span = r->req},
	};
}

static void after_in(struct request *r)
{
	ob_mock *m = r->obj.owner;
	ob_view view = r->view;

	if (!r->handled || (r->view.flags & OB_VIEW_CALL) == 0) {
		return;
	}
	view.data = NULL;
	view.len = 0;
	ob_call_event e = in_event(m, r, OB_CALL_AFTER_IN, &view);
	e.code = r->code;
	e.text = r->code != OB_OK && r->text != NULL ? r->text : "";
	e.data = r->code == OB_OK ? r->data : NULL;
	e.len = r->code == OB_OK ? r->len : 0;
	(void)ob__mock_call_filters(m, &e);
}

static void finish(struct request *r)
{
	ob_mock *m = r->obj.owner;

	r->ended = true;
	m->requests_ended++;
	ob__mock_obj_close(m->world, &r->obj);
	after_in(r);
	if (r->origin == FROM_CLIENT && !r->silent) {
		ob__mock_gate_ended(m, r, OB_MESSAGE_AFTER_CLIENT);
	}
	if (r->handled && (r->origin == FROM_CLIENT || r->origin == FROM_LINK)) {
		ob__mock_gate_ended(m, r, OB_MESSAGE_AFTER_HANDLER);
	}
	json_decref(r->json);
	r->json = NULL;
}

static void self_answer(struct request *r)
{
	ob_mock *m = r->obj.owner;
	struct call *c =
		r->origin == FROM_SELF ? ob__mock_obj_get(m->world, r->self, KIND_CALL) : NULL;

	if (c != NULL) {
		ob__mock_call_end(c, r->code, r->text, ob_mock_node_id(m->name), r->data, r->len);
	}
}

int ob__mock_request_end(struct request *r, int code, const char *text, const void *data,
                         size_t len)
{
	ob_mock *m = r->obj.owner;

	r->code = clean(code);
	if ((r->view.flags & OB_VIEW_ONE_WAY) != 0) {
		r->silent = true;
		finish(r);
		return 0;
	}
	if (r->code != OB_OK) {
		text = text != NULL ? text : ob__mock_strerror(r->code);
		r->text = strdup(text);
		r->status = ob__mock_status(r->code);
		/* The handle is stale before module code writes the body. */
		ob__mock_obj_close(m->world, &r->obj);
		store_error(r, r->code, text);
	} else {
		store(r, data, len);
		r->status = r->status != 0 ? r->status : 200;
	}
	if (r->origin == FROM_HTTP && r->content_type == NULL) {
		r->content_type =
			strdup(r->json_reply ? "application/json" : "application/octet-stream");
	}
	finish(r);
	self_answer(r);
	return 0;
}

int ob__mock_request_done(struct request *r)
{
	r->silent = r->origin != FROM_HTTP;
	r->code = OB_OK;
	r->status = r->origin == FROM_HTTP ? 204 : 200;
	bool answered = r->origin == FROM_SELF && (r->view.flags & OB_VIEW_ONE_WAY) == 0;
	finish(r);
	if (answered) {
		self_answer(r);
	}
	return 0;
}

int ob__mock_request_hold(struct request *r)
{
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
	return 0;
}

const json_t *ob__mock_request_json(struct request *r)
{
	if (r->json == NULL && r->view.data != NULL) {
		r->json = json_loadb((const char *)r->view.data, r->view.len,
		                     JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
		r->bad_json = r->json == NULL;
	}
	return r->json;
}

/* ---- running a handler ---- */

static void handler_returned(struct request *r)
{
	ob_mock *m = r->obj.owner;

	r->running = false;
	r->view.data = NULL;
	r->view.len = 0;
	r->view.method = r->method;
	r->headers = NULL;
	r->http = (ob_http_info){.size = 0};
	if (r->ended || r->held) {
		return;
	}
	if ((r->view.flags & OB_VIEW_ONE_WAY) != 0) {
		ob__mock_request_done(r);
		return;
	}
	m->unended++;
	if (r->bad_json) {
		ob__mock_request_end(r, OB_E_BAD, "the body is not JSON", NULL, 0);
	} else {
		ob__mock_request_end(r, OB_E_APP, "the handler gave no answer", NULL, 0);
	}
}

/* True when the filters behind `after` let the handler have it. */
static bool gated(struct request *r, const struct reg *reg, const struct reg *after)
{
	int rc;

	if ((r->origin != FROM_CLIENT && r->origin != FROM_LINK) || r->view.method != NULL) {
		return true;
	}
	r->handler = reg;
	r->running = true;
	enum asked asked =
		ob__mock_gate_ask(r->obj.owner, r, OB_MESSAGE_BEFORE_HANDLER, after, &rc);
	r->running = false;
	if (asked == ASKED_REFUSED) {
		ob__mock_request_end(r, rc, NULL, NULL, 0);
	}
	return asked == ASKED_ON;
}

static void run_behind(struct request *r, const struct reg *reg, const struct reg *after)
{
	ob_mock *m = r->obj.owner;
	ob_handler_fn fn = reg->fn.handler;

	if (!gated(r, reg, after)) {
		return;
	}

	if ((r->view.flags & OB_VIEW_CALL) != 0) {
		ob_call_event e = in_event(m, r, OB_CALL_BEFORE_IN, &r->view);
		int rc = ob__mock_call_filters(m, &e);
		if (rc != 0) {
			ob__mock_request_end(r, rc, NULL, NULL, 0);
			return;
		}
	}
	if ((reg->flags & OB_ONE_WAY) != 0) {
		bool waited = (r->view.flags & OB_VIEW_ONE_WAY) == 0;
		r->view.flags |= OB_VIEW_ONE_WAY;
		if (waited && r->origin == FROM_SELF) {
			self_answer(r);
		}
	}
	r->handled = true;
	r->running = true;
	ob_req before = m->current;
	m->current = r->req;
	fn(&m->ctx, r->req);
	m->current = before;
	handler_returned(r);
}

static void run(struct request *r, const struct reg *reg)
{
	run_behind(r, reg, NULL);
}

static ob_mock_reply reply_of(const struct request *r)
{
	return (ob_mock_reply){
		.size = sizeof(ob_mock_reply),
		.ended = r->ended,
		.held = r->held && !r->ended,
		.silent = r->silent,
		.req = r->req,
		.code = r->code,
		.status = r->status,
		.text = r->text != NULL ? r->text : "",
		.content_type = r->content_type != NULL ? r->content_type : "",
		.data = r->data != NULL ? r->data : (const uint8_t *)"",
		.len = r->len,
		.action = r->action,
		.target = r->target,
	};
}

static ob_mock_reply no_request(int code)
{
	return (ob_mock_reply){
		.size = sizeof(ob_mock_reply),
		.ended = true,
		.code = code,
		.status = ob__mock_status(code),
		.text = ob__mock_strerror(code),
		.content_type = "",
		.data = (const uint8_t *)"",
	};
}

/* Ends a message that no handler gets. */
static void refuse(struct request *r, int code, const char *text)
{
	ob__mock_request_end(r, code, text, NULL, 0);
}

static ob_mock_reply finish_reply(ob_mock *m, struct request *r)
{
	ob_mock_reply reply = reply_of(r);

	if (!r->ended && r->action == OB_FORWARD) { /* another node's now: nothing will come */
		reply.req = 0;
		ob__mock_vec_take(&m->requests, r);
		ob__mock_obj_close(m->world, &r->obj);
		request_free(r);
	}
	requests_prune(m);
	return reply;
}

/* ---- messages ---- */

static const struct reg *local_handler(const ob_mock *m, bool client, uint32_t id)
{
	const struct reg *reg = ob__mock_reg_by_id(m, client, id);

	return reg != NULL ? reg : ob__mock_reg_one(m, REG_UNKNOWN);
}

static void local(ob_mock *m, struct request *r, const struct reg *reg)
{
	if (reg != NULL) {
		run(r, reg);
	} else {
		ob__mock_request_end(r, OB_E_NOT_FOUND, "no handler for this id", NULL, 0);
	}
}

static void verdict(ob_mock *m, struct request *r, const ob_verdict *v, bool client)
{
	uint64_t self = ob_mock_node_id(m->name);
	bool here = v->target.node == self ||
	            (!client && v->target.node == 0 && v->target.role == ob__mock_role(m->role));

	r->action = v->action;
	r->target = v->target;
	if (v->action == OB_DONE) {
		ob__mock_request_done(r);
	} else if (v->action == OB_REFUSE) {
		refuse(r, v->code != 0 ? clean(v->code) : OB_E_DENIED, v->text);
	} else if (v->action == OB_FORWARD && here && client) {
		refuse(r, OB_E_NOT_FOUND, "no handler for this id");
	} else if (v->action == OB_FORWARD && !here) {
		return;
	} else if (v->action == OB_LOCAL || v->action == OB_FORWARD || !client) {
		r->action = OB_LOCAL;
		local(m, r, local_handler(m, client, r->view.id));
	} else {
		refuse(r, OB_E_APP, "the decider gave no verdict");
	}
}

/* Through the filters behind `after`, and on. */
static void client_filtered(ob_mock *m, struct request *r, const struct reg *after)
{
	int rc;

	r->running = true;
	enum asked asked = ob__mock_gate_ask(m, r, OB_MESSAGE_BEFORE_CLIENT, after, &rc);
	r->running = false;
	if (asked == ASKED_REFUSED) {
		refuse(r, clean(rc), NULL);
	}
	if (asked != ASKED_ON) {
		return;
	}
	if (ob__mock_obj_get(m->world, r->view.session, KIND_SESSION) == NULL) {
		ob__mock_request_done(r); /* a filter closed the client */
		return;
	}
	const struct reg *reg = ob__mock_reg_by_id(m, true, r->view.id);
	const struct reg *decider = ob__mock_reg_one(m, REG_CLIENT_DECIDER);
	if (reg != NULL) {
		run(r, reg);
	} else if (decider == NULL) {
		refuse(r, OB_E_NO_ROUTE, "no module decides about client messages here");
	} else {
		ob_verdict v = decider->fn.decide(&m->ctx, &r->view);
		verdict(m, r, &v, true);
	}
}

void ob__mock_request_go_on(ob_mock *m, struct request *r, int when, const struct reg *after)
{
	if (when == OB_MESSAGE_BEFORE_CLIENT) {
		client_filtered(m, r, after);
	} else {
		run_behind(r, r->handler, after);
	}
}

static void from_client(ob_mock *m, struct request *r)
{
	uint32_t id = r->view.id;

	if (id == 0 || id > 0x7fffffffu) {
		refuse(r, OB_E_BAD, "a message id is 1 to 2147483647");
		return;
	}
	if (id == OFFLINE_ID ||
	    id == (uint32_t)ob__mock_number(m, "session_closed_id", CLOSED_ID)) {
		refuse(r, OB_E_DENIED, "this id is reserved");
		return;
	}
	if (!ob__mock_state_allows(m, r->view.session, id)) {
		refuse(r, OB_E_DENIED, "not allowed in this state");
		return;
	}
	client_filtered(m, r, NULL);
}

static void from_link(ob_mock *m, struct request *r)
{
	const struct reg *decider = ob__mock_reg_one(m, REG_LINK_DECIDER);

	if (r->origin == FROM_CALL || decider == NULL) {
		local(m, r, local_handler(m, false, r->view.id));
		return;
	}
	/* The message is not the handler's yet: a decider sees no session. */
	ob_view view = r->view;
	view.session = 0;
	ob_verdict v = decider->fn.decide(&m->ctx, &view);
	verdict(m, r, &v, false);
}

/* The client that messages come from. */
static ob_session sender(ob_mock *m, bool client)
{
	if (m->as != 0 || !client) {
		return m->as;
	}
	if (ob__mock_obj_get(m->world, m->client, KIND_SESSION) == NULL) {
		m->client = ob_mock_session(m, NULL);
	}
	return m->client;
}

ob_mock_reply ob_mock_send(ob_mock *m, uint32_t id, uint32_t flags, const void *data, size_t len)
{
	bool client = (flags & OB_VIEW_LINK) == 0;
	uint32_t allowed =
		OB_VIEW_ONE_WAY | (client ? OB_VIEW_NO_STATE : OB_VIEW_STICKY | OB_VIEW_CALL);

	if (m->phase != PHASE_LIVE) {
		return no_request(mock_no(m, OB_E_STATE));
	}
	if (len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX)) {
		return no_request(OB_E_TOO_BIG);
	}
	ob_session session = sender(m, client);
	enum origin link = (flags & OB_VIEW_CALL) != 0 ? FROM_CALL : FROM_LINK;
	struct request *r = request_new(m, client ? FROM_CLIENT : link,
	                                (uint64_t)ob__mock_number(m, "call_timeout", CALL_MS));
	uint8_t *bytes = r != NULL ? ob__mock_copy(data, len) : NULL;
	if (bytes == NULL) {
		return no_request(OB_E_BUSY);
	}
	r->view.id = id;
	r->view.name = ob__mock_name_of(m, id);
	r->view.name_len = r->view.name != NULL ? strlen(r->view.name) : 0;
	r->view.flags = (flags & allowed) | (client ? OB_VIEW_CLIENT : OB_VIEW_LINK);
	r->view.session = session;
	r->view.data = bytes;
	r->view.len = len;
	if (!client) {
		r->view.source = ob_mock_node_id("mock-peer");
	}
	(client ? from_client : from_link)(m, r);
	free(bytes);
	return finish_reply(m, r);
}

ob_mock_reply ob_mock_send_json(ob_mock *m, uint32_t id, uint32_t flags, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_t *body = json_vpack_ex(NULL, 0, fmt, ap);
	va_end(ap);
	char *dump = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_decref(body);
	ob_mock_reply reply = dump != NULL ? ob_mock_send(m, id, flags, dump, strlen(dump))
	                                   : no_request(OB_E_INVAL);
	free(dump);
	return reply;
}

ob_mock_reply ob_mock_send_method(ob_mock *m, const char *method, uint32_t flags, const void *data,
                                  size_t len)
{
	if (m->phase != PHASE_LIVE) {
		return no_request(mock_no(m, OB_E_STATE));
	}
	if (len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX)) {
		return no_request(OB_E_TOO_BIG);
	}
	struct request *r =
		request_new(m, FROM_CALL, (uint64_t)ob__mock_number(m, "call_timeout", CALL_MS));
	uint8_t *bytes = r != NULL ? ob__mock_copy(data, len) : NULL;
	if (bytes == NULL) {
		return no_request(OB_E_BUSY);
	}
	r->view.method = method;
	r->view.flags = (flags & OB_VIEW_ONE_WAY) | OB_VIEW_LINK | OB_VIEW_CALL;
	r->view.session = m->as;
	r->view.source = ob_mock_node_id("mock-peer");
	r->view.data = bytes;
	r->view.len = len;
	local(m, r, ob__mock_reg_by_name(m, REG_METHOD, method));
	free(bytes);
	return finish_reply(m, r);
}

void ob__mock_self_call(ob_mock *m, ob_call_id call)
{
	struct call *c = ob__mock_obj_get(m->world, call, KIND_CALL);

	if (c == NULL) {
		return;
	}
	if (c->refused != 0 || (c->all && c->pub.left == 0)) {
		ob__mock_call_end(c, c->refused != 0 ? c->refused : OB_E_NO_ROUTE, NULL, 0, NULL,
		                  0);
		return;
	}
	uint64_t left = c->due > m->world->now ? c->due - m->world->now : 0;
	const struct reg *reg = c->method != NULL ? ob__mock_reg_by_name(m, REG_METHOD, c->method)
	                                          : local_handler(m, false, c->pub.id);
	struct request *r = reg != NULL ? request_new(m, FROM_SELF, left) : NULL;
	if (r == NULL) {
		ob__mock_call_end(c, reg != NULL ? OB_E_BUSY : OB_E_NOT_FOUND, NULL, 0, NULL, 0);
		return;
	}
	/* The call may end, and its bytes go, before the handler returns. */
	uint8_t *bytes = ob__mock_copy(c->pub.data, c->pub.len);
	char *method = c->method != NULL ? strdup(c->method) : NULL;
	r->view.id = c->pub.id;
	r->view.flags = OB_VIEW_CALL;
	r->view.method = method;
	r->view.session = c->pub.session;
	r->view.data = bytes;
	r->view.len = bytes != NULL ? c->pub.len : 0;
	r->self = call;
	run(r, reg);
	free(method);
	free(bytes);
	requests_prune(m);
}

void ob__mock_request_closed(ob_mock *m, ob_session session)
{
	uint32_t id = (uint32_t)ob__mock_number(m, "session_closed_id", CLOSED_ID);
	const struct reg *reg = ob__mock_reg_exact_id(m, false, id);
	struct request *r = reg != NULL ? request_new(m, FROM_HOST, CALL_MS) : NULL;

	if (r == NULL) {
		return;
	}
	r->view.id = id;
	r->view.flags = OB_VIEW_ONE_WAY;
	r->view.session = session;
	r->view.data = (const uint8_t *)"{}";
	r->view.len = 2;
	run(r, reg);
	requests_prune(m);
}

/* ---- HTTP ---- */

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
		if (c == '\0' || (!alnum && strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
			return false;
		}
	}
	return len > 0;
}

static bool is_plain(const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if ((c < 0x20 && c != '\t') || c == 0x7f) {
			return false;
		}
	}
	return true;
}

static int header_add(struct vec *v, const char *name, const char *value)
{
	size_t cap = strlen(name) + strlen(value) + 3;
	char *line = malloc(cap);

	if (line == NULL) {
		return OB_E_NOMEM;
	}
	snprintf(line, cap, "%s: %s", name, value);
	int rc = ob__mock_vec_add(v, line);
	if (rc != 0) {
		free(line);
	}
	return rc;
}

static const char *header_find(void *const *lines, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	for (size_t i = 0; i < len && lines[i] != NULL; i++) {
		const char *line = lines[i];
		if (strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
			return line + name_len + 2;
		}
	}
	return NULL;
}

int ob__mock_request_set_header(struct request *r, const char *name, const char *value)
{
	static const char *const ours[] = {"connection",   "content-length", "transfer-encoding",
	                                   "content-type", "date",           "upgrade"};
	size_t bytes = strlen(name) + strlen(value) + 4;

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		if (strcasecmp(name, ours[i]) == 0) {
			return OB_E_INVAL;
		}
	}
	if (!is_token(name, strlen(name)) || !is_plain(value) ||
	    bytes > HEADERS_MAX - r->set_bytes) {
		return OB_E_INVAL;
	}
	int rc = header_add(&r->set, name, value);
	r->set_bytes += rc == 0 ? bytes : 0;
	return rc;
}

const char *ob__mock_request_header(const struct request *r, const char *name)
{
	const ob_mock *m = r->obj.owner;

	return r->running ? header_find(m->headers.at, m->headers.len, name) : NULL;
}

int ob_mock_http_header(ob_mock *m, const char *name, const char *value)
{
	if (!is_token(name, strlen(name)) || !is_plain(value)) {
		return OB_E_INVAL;
	}
	return header_add(&m->headers, name, value);
}

void ob_mock_http_from(ob_mock *m, bool loopback, bool unix_socket)
{
	m->http_remote = !loopback && !unix_socket;
	m->http_unix = unix_socket;
}

static void http_reset(ob_mock *m)
{
	for (size_t i = 0; i < m->headers.len; i++) {
		free(m->headers.at[i]);
	}
	free(m->headers.at);
	m->headers = (struct vec){NULL, 0, 0};
	m->http_remote = m->http_unix = false;
}

static void http_unknown(struct request *r, const char *methods)
{
	const char *body = "{\"error\":{\"code\":\"not_found\","
			   "\"message\":\"no handler for this path\"}}\n";

	r->status = 404;
	r->code = OB_E_NOT_FOUND;
	if (methods[0] != '\0') {
		body = "{\"error\":{\"code\":\"method_not_allowed\","
		       "\"message\":\"the path has other methods\"}}\n";
		r->status = 405;
		(void)header_add(&r->set, "Allow", methods);
	}
	r->content_type = strdup("application/json");
	r->text = strdup(ob__mock_strerror(r->code));
	store(r, body, strlen(body));
	finish(r);
}

static void http_run(ob_mock *m, struct request *r, const char *method, char *path)
{
	char *query = strchr(path, '?');
	const char *tail = "";
	char methods[128];

	if (query != NULL) {
		*query++ = '\0';
	}
	const struct reg *reg = ob__mock_reg_find_http(m, method, path, &tail);
	if (reg == NULL && strcmp(method, "HEAD") == 0) {
		reg = ob__mock_reg_find_http(m, "GET", path, &tail);
	}
	if (reg == NULL) {
		ob__mock_reg_http_methods(m, path, methods, sizeof(methods));
		http_unknown(r, methods);
		return;
	}
	r->http = (ob_http_info){
		.size = sizeof(ob_http_info),
		.method = method,
		.path = path,
		.query = query != NULL ? query : "",
		.tail = tail,
		.loopback = !m->http_remote,
		.unix_socket = m->http_unix,
	};
	run(r, reg);
}

ob_mock_reply ob_mock_http(ob_mock *m, const char *method, const char *target, const void *data,
                           size_t len)
{
	ob_mock_reply reply = no_request(mock_no(m, OB_E_STATE));

	if (m->phase != PHASE_LIVE || target[0] != '/' || !is_token(method, strlen(method))) {
		http_reset(m);
		return m->phase != PHASE_LIVE ? reply : no_request(OB_E_BAD);
	}
	struct request *r = len <= (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX)
	                            ? request_new(m, FROM_HTTP, HTTP_HELD_MS)
	                            : NULL;
	uint8_t *bytes = r != NULL ? ob__mock_copy(data, len) : NULL;
	char *path = bytes != NULL ? strdup(target) : NULL;
	if (path == NULL) {
		reply = no_request(r == NULL ? OB_E_TOO_BIG : OB_E_BUSY);
	} else {
		r->view.flags = OB_VIEW_HTTP;
		r->view.data = bytes;
		r->view.len = len;
		http_run(m, r, method, path);
		reply = finish_reply(m, r);
	}
	free(path);
	free(bytes);
	http_reset(m);
	return reply;
}

/* ---- looking at them later ---- */

static const struct request *record_of(const ob_mock *m, ob_req req)
{
	for (size_t i = m->requests.len; i > 0; i--) {
		const struct request *r = m->requests.at[i - 1];
		if (r->req == req && req != 0) {
			return r;
		}
	}
	return NULL;
}

ob_mock_reply ob_mock_reply_of(ob_mock *m, ob_req req)
{
	const struct request *r = record_of(m, req);
	ob_mock_reply none = no_request(OB_E_STALE);

	none.size = 0;
	return r != NULL ? reply_of(r) : none;
}

const char *ob_mock_reply_header(ob_mock *m, ob_req req, const char *name)
{
	const struct request *r = record_of(m, req);

	return r != NULL ? header_find(r->set.at, r->set.len, name) : NULL;
}

json_t *ob_mock_reply_json(const ob_mock_reply *reply)
{
	return json_loadb((const char *)reply->data, reply->len, JSON_DECODE_ANY, NULL);
}

uint64_t ob_mock_unended(const ob_mock *m)
{
	return m->unended;
}
