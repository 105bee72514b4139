/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HTTP_TIMEOUT_MS 5000u
#define HTTP_BODY_MAX   (1u << 20)
#define HTTP_BODY_EVER  (1u << 30)
#define HTTP_MAX        1024u
#define HTTP_HEADERS    100u
#define HTTP_URL_MAX    8192u
#define REASON_MAX      123u

/* ---- events ---- */

static void raise_event(ob_mock *m, const ob_event_info *info)
{
	if (m->phase != PHASE_LIVE) {
		return;
	}
	for (size_t i = 0; i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind == REG_EVENT && reg->priority == info->event) {
			reg->fn.event(&m->ctx, info);
		}
	}
}

int ob_mock_node_event(ob_mock *m, int event, const char *name, const char *role)
{
	ob_event_info info = {
		.size = sizeof(info),
		.event = event,
		.node = ob_mock_node_id(name),
		.name = name,
		.role = role,
	};

	if (event < OB_EVENT_NODE_UP || event > OB_EVENT_NODE_REPLACED) {
		return OB_E_INVAL;
	}
	if (m->phase != PHASE_LIVE) {
		return mock_no(m, OB_E_STATE);
	}
	raise_event(m, &info);
	return 0;
}

/* ---- sessions ---- */

ob_session ob_mock_session(ob_mock *m, const char *node)
{
	struct world *w = m->world;
	struct session *s = calloc(1, sizeof(*s));
	int rc = s != NULL ? 0 : OB_E_NOMEM;

	if (rc == 0 && node != NULL && strcmp(node, m->name) != 0) {
		s->node = strdup(node);
		rc = s->node != NULL ? 0 : OB_E_NOMEM;
	}
	rc = rc == 0 ? ob__mock_vec_add(&w->sessions, s) : rc;
	if (rc == 0 && (rc = ob__mock_obj_open(w, &s->obj, KIND_SESSION, m)) != 0) {
		ob__mock_vec_take(&w->sessions, s);
	}
	if (rc != 0) {
		if (s != NULL) {
			ob__mock_session_free(s);
		}
		return 0;
	}
	s->seq = w->next_seq++;
	snprintf(s->peer, sizeof(s->peer), "192.0.2.%u:%u", (unsigned)(s->seq % 250 + 1),
	         (unsigned)(s->seq % 60000 + 1024));
	uint64_t handle = s->obj.handle;
	if (s->node == NULL) {
		ob_event_info info = {
			.size = sizeof(info),
			.event = OB_EVENT_SESSION_OPENED,
			.session = handle,
			.node = ob_mock_node_id(m->name),
			.name = m->name,
			.role = m->role,
		};
		raise_event(m, &info);
		ob__mock_state_session(m, handle, true);
	}
	return handle;
}

int ob_mock_as(ob_mock *m, ob_session session)
{
	if (session != 0 && ob__mock_obj_get(m->world, session, KIND_SESSION) == NULL) {
		return OB_E_STALE;
	}
	m->as = session;
	return 0;
}

void ob__mock_session_ends(ob_mock *m, const struct session *s, int event)
{
	ob_event_info info = {
		.size = sizeof(info),
		.event = event,
		.session = s->obj.handle,
		.node = ob_mock_node_id(s->node != NULL ? s->node : m->name),
		.name = "",
		.role = "",
	};

	raise_event(m, &info);
}

/* The module hears of it, then the session is forgotten. */
void ob__mock_session_gone(ob_mock *m, struct session *s)
{
	ob_session handle = s->obj.handle;

	if (s->closing) {
		return;
	}
	s->closing = true;
	ob__mock_state_session(m, handle, false);
	ob__mock_group_session_ends(m, handle);
	ob__mock_session_ends(m, s, s->lost ? OB_EVENT_SESSION_LOST : OB_EVENT_SESSION_CLOSED);
	if (m->phase == PHASE_LIVE) {
		ob__mock_request_closed(m, handle);
	}
	ob__mock_vec_take(&m->world->sessions, s);
	ob__mock_obj_close(m->world, &s->obj);
	ob__mock_session_free(s);
	m->as = m->as == handle ? 0 : m->as;
}

int ob_mock_session_end(ob_mock *m, ob_session session)
{
	struct session *s = ob__mock_obj_get(m->world, session, KIND_SESSION);

	if (s == NULL) {
		return OB_E_STALE;
	}
	ob__mock_session_gone(m, s);
	return 0;
}

int ob__mock_session_text(const ob_mock *m, const struct session *s, char *out, size_t cap)
{
	int len = snprintf(out, cap, "%s-%016" PRIx64, s->node != NULL ? s->node : m->name, s->seq);

	return len > 0 && (size_t)len < cap ? 0 : OB_E_INVAL;
}

static bool close_code_ok(uint16_t code)
{
	if (code >= 3000) {
		return code <= 4999;
	}
	return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

/* Writes it down. */
int ob__mock_out_closed(ob_mock *m, ob_session session, uint16_t code, const char *reason)
{
	size_t len = reason != NULL ? strnlen(reason, REASON_MAX) : 0;
	ob_mock_close *c = calloc(1, sizeof(*c) + len + 1);
	int rc = c != NULL ? ob__mock_vec_add(&m->closes, c) : OB_E_NOMEM;

	if (rc != 0) {
		free(c);
		return rc;
	}
	char *copy = (char *)(c + 1);
	if (len > 0) {
		memcpy(copy, reason, len);
	}
	*c = (ob_mock_close){session, code, copy};
	return 0;
}

int ob__mock_out_close(ob_mock *m, ob_session session, uint16_t code, const char *reason)
{
	struct session *s = ob__mock_obj_get(m->world, session, KIND_SESSION);

	code = code != 0 ? code : 1000;
	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (s == NULL || s->closing) {
		return OB_E_STALE;
	}
	if (!close_code_ok(code)) {
		return OB_E_INVAL;
	}
	int rc = ob__mock_out_closed(m, session, code, reason);
	if (rc != 0) {
		return rc;
	}
	if (s->node == NULL) { /* another proxy's client goes when that one says so */
		ob__mock_session_gone(m, s);
	}
	return 0;
}

/* ---- pushes ---- */

int ob__mock_out_push(ob_mock *m, ob_session session, uint32_t id, const void *data, size_t len)
{
	const struct session *s = ob__mock_obj_get(m->world, session, KIND_SESSION);

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (id == 0 || id > 0x7fffffffu) {
		return OB_E_INVAL;
	}
	if (s == NULL || (s->closing && s->node == NULL)) {
		return OB_E_STALE;
	}
	if (len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX)) {
		return OB_E_TOO_BIG;
	}
	ob_mock_push *p = calloc(1, sizeof(*p) + len + 1);
	int rc = p != NULL ? ob__mock_vec_add(&m->pushes, p) : OB_E_NOMEM;
	if (rc != 0) {
		free(p);
		return rc == OB_E_LIMIT ? OB_E_BUSY : rc;
	}
	uint8_t *copy = (uint8_t *)(p + 1);
	if (len > 0) {
		memcpy(copy, data, len);
	}
	*p = (ob_mock_push){session, id, copy, len};
	return 0;
}

const ob_mock_push *ob_mock_push_at(const ob_mock *m, size_t i)
{
	return vec_get(&m->pushes, i);
}

static int many_check(const ob_mock *m, const void *list, size_t count, uint32_t id, size_t len)
{
	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (id == 0 || id > 0x7fffffffu || (list == NULL && count > 0)) {
		return OB_E_INVAL;
	}
	if (count > OB_PUSH_MANY_MAX) {
		return OB_E_LIMIT;
	}
	return len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX) ? OB_E_TOO_BIG : 0;
}

int ob__mock_push_many(ob_mock *m, const ob_session *sessions, size_t count, uint32_t id,
                       const void *data, size_t len)
{
	int rc = many_check(m, sessions, count, id, len);
	int sent = 0;

	for (size_t i = 0; rc == 0 && i < count; i++) {
		size_t before = 0;
		while (before < i && sessions[before] != sessions[i]) {
			before++;
		}
		sent += before == i && ob__mock_out_push(m, sessions[i], id, data, len) == 0;
	}
	return rc == 0 ? sent : rc;
}

int ob__mock_push_all(ob_mock *m, uint32_t role, uint32_t id, const void *data, size_t len)
{
	int rc = many_check(m, NULL, 0, id, len);

	if (rc != 0 || role == 0) {
		return rc != 0 ? rc : OB_E_INVAL;
	}
	ob_mock_broadcast *b = calloc(1, sizeof(*b) + len + 1);
	rc = b != NULL ? ob__mock_vec_add(&m->broadcasts, b) : OB_E_NOMEM;
	if (rc != 0) {
		free(b);
		return rc == OB_E_LIMIT ? OB_E_BUSY : rc;
	}
	uint8_t *copy = (uint8_t *)(b + 1);
	if (len > 0) {
		memcpy(copy, data, len);
	}
	*b = (ob_mock_broadcast){role, id, copy, len};
	return 1;
}

const ob_mock_broadcast *ob_mock_broadcast_at(const ob_mock *m, size_t i)
{
	return vec_get(&m->broadcasts, i);
}

const ob_mock_close *ob_mock_close_at(const ob_mock *m, size_t i)
{
	return vec_get(&m->closes, i);
}

/* ---- calls ---- */

static void call_free(struct call *c)
{
	free(c->method);
	free(c->bytes);
	free(c);
}

static bool options_ok(const ob_target *t, const ob_call_options *o)
{
	bool all = (t->flags & OB_TARGET_ALL) != 0;

	return o->size == sizeof(*o) && o->mode >= OB_CALL_FAIL_FAST &&
	       o->mode <= OB_CALL_FAIL_SAFE && (o->method != NULL) != (o->id != 0) &&
	       (o->method == NULL || (*o->method != '\0' && strlen(o->method) <= 255)) &&
	       o->key_len <= OB_CALL_KEY_MAX && (o->key_len == 0 || o->key != NULL) &&
	       o->keep_len <= OB_CALL_KEEP_MAX && (o->keep_len == 0 || o->keep != NULL) &&
	       (o->flags & ~OB_CALL_NO_WAIT) == 0 &&
	       (!all || (t->role != 0 && t->node == 0 && (t->flags & OB_TARGET_SESSION) == 0 &&
	                 (o->mode == OB_CALL_FAIL_FAST || o->mode == OB_CALL_FAIL_SAFE)));
}

static uint32_t role_size(const ob_mock *m, uint32_t role)
{
	const char *word;
	json_t *size;

	json_object_foreach (m->role_sizes, word, size) {
		if (ob__mock_role(word) == role) {
			return (uint32_t)json_integer_value(size);
		}
	}
	return 1;
}

int ob_mock_role_size(ob_mock *m, const char *role, uint32_t nodes)
{
	if (m->role_sizes == NULL) {
		m->role_sizes = json_object();
	}
	return json_object_set_new(m->role_sizes, role, json_integer(nodes)) == 0 ? 0 : OB_E_NOMEM;
}

/* ---- filters around them ---- */

static bool filtered(const ob_mock *m)
{
	for (size_t i = 0; i < m->regs.len; i++) {
		const struct reg *reg = m->regs.at[i];
		if (reg->kind == REG_CALL_FILTER && reg->flags <= OB_CALL_AFTER_OUT) {
			return true;
		}
	}
	return false;
}

static ob_call_event out_event(ob_mock *m, const struct call *c, int when, const ob_view *view)
{
	return (ob_call_event){
		.size = sizeof(ob_call_event),
		.when = when,
		.view = view,
		.target = c->pub.target,
		.node = c->pub.target.node,
		.took_ms = (uint32_t)(m->world->now - c->began),
		.text = "",
		.trace = {.size = sizeof(ob_trace_info),
	                  .begins = 1,
	                  .id = {ob_mock_node_id(m->name), c->pub.call},
	                  .span = c->pub.call},
	};
}

static ob_view out_view(const ob_mock *m, const struct call *c)
{
	return (ob_view){
		.size = sizeof(ob_view),
		.id = c->pub.id,
		.flags = OB_VIEW_CALL,
		.budget_ms = c->pub.deadline_ms,
		.method = c->method,
		.session = c->pub.session,
		.source = ob_mock_node_id(m->name),
	};
}

static int before_out(ob_mock *m, const struct call *c)
{
	ob_view view = out_view(m, c);

	view.data = c->bytes;
	view.len = c->pub.len;
	ob_call_event e = out_event(m, c, OB_CALL_BEFORE_OUT, &view);
	return ob__mock_call_filters(m, &e);
}

static void after_out(ob_mock *m, const struct call *c, const ob_call_result *res)
{
	ob_view view = out_view(m, c);
	ob_call_event e = out_event(m, c, OB_CALL_AFTER_OUT, &view);

	e.node = res->source != 0 ? res->source : e.node;
	e.code = res->code;
	e.text = res->code != OB_OK ? res->text : "";
	e.data = res->data;
	e.len = res->len;
	(void)ob__mock_call_filters(m, &e);
}

static bool is_self(const ob_mock *m, const ob_target *t)
{
	return t->node == ob_mock_node_id(m->name) ||
	       (t->node == 0 && t->role == ob__mock_role(m->role));
}

static uint32_t deadline_of(ob_mock *m, const ob_mock_call *q)
{
	const struct request *r = q->request != 0 ? ob__mock_request_of(m, q->request) : NULL;
	uint64_t now = m->world->now;
	uint32_t most = q->deadline_ms != 0 ? q->deadline_ms
	                                    : (uint32_t)ob__mock_number(m, "call_timeout", CALL_MS);

	if (r == NULL || (r->view.flags & OB_VIEW_ONE_WAY) != 0 || r->deadline > now + most) {
		return most;
	}
	return r->deadline > now ? (uint32_t)(r->deadline - now) : 1;
}

static struct call *call_new(ob_mock *m, const ob_mock_call *q, ob_call_fn fn, void *arg)
{
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		return NULL;
	}
	c->pub = *q;
	c->bytes = ob__mock_copy(q->data, q->len);
	c->method = q->method != NULL ? strdup(q->method) : NULL;
	c->fn = fn;
	c->arg = arg;
	c->pub.data = c->bytes;
	c->pub.method = c->method;
	c->pub.deadline_ms = deadline_of(m, q);
	c->began = m->world->now;
	c->due = c->began + c->pub.deadline_ms;
	c->all = (q->target.flags & OB_TARGET_ALL) != 0;
	c->pub.left = c->all ? role_size(m, q->target.role) : 0;
	if (q->key_len > 0) {
		memcpy(c->key, q->key, q->key_len);
		c->pub.key = c->key;
	}
	if (c->bytes == NULL || (q->method != NULL && c->method == NULL)) {
		call_free(c);
		return NULL;
	}
	return c;
}

static struct call *call_begin(ob_mock *m, const ob_mock_call *q, ob_call_fn fn, void *arg)
{
	struct work work = {.self = 0};
	struct call *c = call_new(m, q, fn, arg);

	if (c == NULL) {
		return NULL;
	}
	bool ok = ob__mock_obj_open(m->world, &c->obj, KIND_CALL, m) == 0;
	work.self = c->obj.handle;
	ok = ok && ob__mock_vec_add(&m->calls, c) == 0;
	bool queued = c->all ? c->pub.left == 0 : is_self(m, &q->target);
	if (ok && queued && ob__mock_work_queue(m, &work) != 0) {
		ob__mock_vec_take(&m->calls, c);
		ok = false;
	}
	if (!ok) {
		ob__mock_obj_close(m->world, &c->obj);
		call_free(c);
		return NULL;
	}
	c->pub.call = c->obj.handle;
	return c;
}

ob_call_id ob__mock_out_call(ob_mock *m, const ob_mock_call *q, ob_call_fn fn, void *arg)
{
	bool too_big = q->len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX);
	bool plain = (q->target.flags & (OB_TARGET_ALL | OB_TARGET_SESSION)) == 0;

	if (q->method != NULL ? *q->method == '\0' || strlen(q->method) > 255 : q->id == 0) {
		return 0;
	}
	if (!plain || too_big || filtered(m)) {
		ob_call_options o = {
			.size = sizeof(o),
			.id = q->method == NULL ? q->id : 0,
			.method = q->method,
			.session = q->session,
			.data = q->data,
			.len = q->len,
			.deadline_ms = q->deadline_ms,
		};
		return ob__mock_out_call_with(m, &q->target, &o, fn, arg);
	}
	if (!mock_may_begin(m) || fn == NULL) {
		return 0;
	}
	ob_mock_call with = *q;
	with.request = ob__mock_request_of(m, m->current) != NULL ? m->current : 0;
	const struct call *c = call_begin(m, &with, fn, arg);
	return c != NULL ? c->pub.call : 0;
}

ob_call_id ob__mock_out_call_with(ob_mock *m, const ob_target *target, const ob_call_options *o,
                                  ob_call_fn fn, void *arg)
{
	const struct session *s = ob__mock_obj_get(m->world, o->session, KIND_SESSION);
	bool at_session = (target->flags & OB_TARGET_SESSION) != 0;

	if (!mock_may_begin(m) || fn == NULL || !options_ok(target, o) ||
	    (at_session && s == NULL)) {
		return 0;
	}
	bool too_big = o->len > (uint64_t)ob__mock_number(m, "limits.message", MESSAGE_MAX);
	ob_req made_for = o->request != 0 ? o->request : m->current;
	ob_mock_call q = {
		.target = *target,
		.id = o->id,
		.method = o->method,
		.session = o->session,
		.data = o->data,
		.len = too_big ? 0 : o->len,
		.deadline_ms = o->deadline_ms,
		.mode = o->mode,
		.retries = o->retries,
		.flags = o->flags,
		.key_len = o->key_len,
		.key = o->key,
		.request = ob__mock_request_of(m, made_for) != NULL ? made_for : 0,
	};
	if (at_session) {
		q.target.node = ob_mock_node_id(s->node != NULL ? s->node : m->name);
		q.target.role = 0;
	}
	struct call *c = call_begin(m, &q, fn, arg);
	if (c != NULL && o->keep_len > 0) {
		memcpy(c->keep, o->keep, o->keep_len);
		c->arg = c->keep;
	}
	int refused = c == NULL ? 0 : too_big ? OB_E_TOO_BIG : before_out(m, c);
	if (refused != 0) {
		struct work work = {.self = c->obj.handle};
		c->refused = refused;
		(void)ob__mock_work_queue(m, &work); /* else it has its deadline */
	}
	return c != NULL ? c->pub.call : 0;
}

int ob__mock_call_end(struct call *c, int code, const char *text, uint64_t source, const void *data,
                      size_t len)
{
	ob_mock *m = c->obj.owner;
	ob_call_result res = {
		.size = sizeof(res),
		.code = code,
		.text = text != NULL ? text : ob__mock_strerror(code),
		.source = source,
		.data = data != NULL ? data : (const uint8_t *)"",
		.len = len,
		.tries = 1,
	};

	if (c->all && c->pub.left > 0 && c->refused == 0) {
		res.left = --c->pub.left;
	}
	after_out(m, c, &res);
	if (c->pub.mode == OB_CALL_FAIL_SAFE && code != OB_OK) {
		res.failed = code;
		res.code = OB_OK;
		res.len = 0;
	}
	if (res.left == 0) {
		ob__mock_obj_close(m->world, &c->obj);
		c->pub.ended = true;
	}
	/* The list may be forgotten in the callback, but not the call. */
	ob_req before = m->current;
	m->current = c->pub.request;
	c->telling++;
	c->fn(&m->ctx, c->pub.call, &res, c->arg);
	m->current = before;
	if (--c->telling == 0 && c->forgotten) {
		call_free(c);
	}
	return 0;
}

int ob__mock_out_cancel(ob_mock *m, ob_call_id call)
{
	struct call *c = ob__mock_obj_get(m->world, call, KIND_CALL);

	if (m->phase == PHASE_STOPPED || c == NULL || c->obj.owner != m) {
		return mock_no(m, OB_E_STALE);
	}
	ob__mock_obj_close(m->world, &c->obj);
	c->pub.ended = c->pub.cancelled = true;
	return 0;
}

int ob_mock_answer(ob_mock *m, ob_call_id call, int code, const void *data, size_t len)
{
	struct call *c = ob__mock_obj_get(m->world, call, KIND_CALL);

	if (c == NULL) {
		return OB_E_STALE;
	}
	if (code > 0 || (code < 0 && (code > OB_E_APP || code < OB_RESULT_LAST))) {
		return OB_E_INVAL;
	}
	return ob__mock_call_end(c, code, NULL, code == 0 ? ob_mock_node_id("mock-peer") : 0, data,
	                         len);
}

const ob_mock_call *ob_mock_call_at(const ob_mock *m, size_t i)
{
	const struct call *c = vec_get(&m->calls, i);

	return c != NULL ? &c->pub : NULL;
}

/* ---- HTTP requests ---- */

static void http_free(struct http_call *h)
{
	for (size_t i = 0; h->headers != NULL && h->headers[i] != NULL; i++) {
		free(h->headers[i]);
	}
	free(h->headers);
	free(h->method);
	free(h->url);
	free(h->bytes);
	free(h);
}

static bool http_ok(const ob_http_request *q, ob_http_fn fn)
{
	return fn != NULL && q->size == sizeof(*q) && q->url != NULL &&
	       strlen(q->url) <= HTTP_URL_MAX &&
	       (strncasecmp(q->url, "http://", 7) == 0 || strncasecmp(q->url, "https://", 8) == 0);
}

static int copy_headers(struct http_call *h, const char *const *headers)
{
	size_t n = 0;

	while (headers != NULL && headers[n] != NULL) {
		n++;
	}
	h->headers = n <= HTTP_HEADERS ? calloc(n + 1, sizeof(*h->headers)) : NULL;
	for (size_t i = 0; h->headers != NULL && i < n; i++) {
		h->headers[i] = strdup(headers[i]);
	}
	return h->headers != NULL ? 0 : (n > HTTP_HEADERS ? OB_E_INVAL : OB_E_NOMEM);
}

static size_t http_open(const ob_mock *m)
{
	size_t open = 0;

	for (size_t i = 0; i < m->http_calls.len; i++) {
		open += !((const struct http_call *)m->http_calls.at[i])->pub.ended;
	}
	return open;
}

int ob__mock_out_http(ob_mock *m, const ob_http_request *q, ob_http_fn fn, void *arg)
{
	if (!mock_may_begin(m)) {
		return mock_no(m, OB_E_STATE);
	}
	if (!http_ok(q, fn)) {
		return OB_E_INVAL;
	}
	struct http_call *h = http_open(m) < HTTP_MAX ? calloc(1, sizeof(*h)) : NULL;
	if (h == NULL) {
		return OB_E_LIMIT;
	}
	uint32_t timeout = q->timeout_ms != 0 ? q->timeout_ms : HTTP_TIMEOUT_MS;
	h->method = strdup(q->method != NULL ? q->method : "GET");
	h->url = strdup(q->url);
	h->bytes = ob__mock_copy(q->body, q->body_len);
	h->fn = fn;
	h->arg = arg;
	h->due = m->world->now + timeout;
	h->max_body = q->max_body != 0 ? q->max_body : HTTP_BODY_MAX;
	h->max_body = h->max_body > HTTP_BODY_EVER ? HTTP_BODY_EVER : h->max_body;
	int rc = copy_headers(h, q->headers);
	if (rc == 0 && (h->method == NULL || h->url == NULL || h->bytes == NULL)) {
		rc = OB_E_NOMEM;
	}
	rc = rc == 0 ? ob__mock_obj_open(m->world, &h->obj, KIND_HTTP, m) : rc;
	rc = rc == 0 ? ob__mock_vec_add(&m->http_calls, h) : rc;
	if (rc != 0) {
		ob__mock_obj_close(m->world, &h->obj);
		http_free(h);
		return rc;
	}
	h->pub = (ob_mock_http_call){
		.call = h->obj.handle,
		.method = h->method,
		.url = h->url,
		.headers = (const char *const *)h->headers,
		.body = h->bytes,
		.body_len = q->body_len,
		.timeout_ms = timeout,
	};
	return 0;
}

static int http_end(ob_mock *m, uint64_t call, const ob_http_response *res)
{
	struct http_call *h = ob__mock_obj_get(m->world, call, KIND_HTTP);

	if (h == NULL) {
		return OB_E_STALE;
	}
	ob_http_response out = *res;
	if (out.code == OB_OK && out.len > h->max_body) {
		out = (ob_http_response){.code = OB_E_TOO_BIG, .text = "the body is too big"};
	}
	out.size = sizeof(out);
	out.text = out.text != NULL ? out.text : "";
	out.content_type = out.content_type != NULL ? out.content_type : "";
	out.data = out.data != NULL ? out.data : (const uint8_t *)"";
	ob__mock_obj_close(m->world, &h->obj);
	h->pub.ended = true;
	h->fn(&h->obj.owner->ctx, &out, h->arg);
	return 0;
}

int ob_mock_http_answer(ob_mock *m, uint64_t call, int status, const char *content_type,
                        const void *data, size_t len)
{
	ob_http_response res = {
		.code = OB_OK,
		.status = status,
		.content_type = content_type,
		.data = data,
		.len = len,
	};

	return http_end(m, call, &res);
}

int ob_mock_http_fail(ob_mock *m, uint64_t call, int code, const char *text)
{
	ob_http_response res = {.code = code < 0 ? code : OB_E_NOT_SENT, .text = text};

	return http_end(m, call, &res);
}

const ob_mock_http_call *ob_mock_http_call_at(const ob_mock *m, size_t i)
{
	const struct http_call *h = vec_get(&m->http_calls, i);

	return h != NULL ? &h->pub : NULL;
}

/* ---- administrative verbs ---- */

static void verb_free(struct verb *v)
{
	free(v->name);
	json_decref(v->args);
	free(v);
}

int ob__mock_out_verb(ob_mock *m, const char *name, json_t *args_stolen, ob_admin_fn fn, void *arg)
{
	int rc = mock_no(m, OB_E_DENIED);

	if (m->phase != PHASE_STOPPED && m->admin && fn != NULL && name != NULL) {
		bool starting = m->phase == PHASE_STARTING;
		rc = (starting && !ob__mock_reg_verb_writes(m, name)) || mock_live(m) ? 0
		                                                                      : OB_E_STATE;
	}
	if (rc == 0 && m->verbs != NULL && strcmp(name, "verbs") == 0) {
		ob_admin_reply reply = {.size = sizeof(reply), .status = 200, .body = m->verbs};
		json_decref(args_stolen);
		fn(&m->ctx, &reply, arg);
		return 0;
	}
	struct verb *v = rc == 0 ? calloc(1, sizeof(*v)) : NULL;
	if (v == NULL) {
		json_decref(args_stolen);
		return rc != 0 ? rc : OB_E_NOMEM;
	}
	v->args = args_stolen;
	v->name = strdup(name);
	v->fn = fn;
	v->arg = arg;
	rc = v->name != NULL ? ob__mock_obj_open(m->world, &v->obj, KIND_VERB, m) : OB_E_NOMEM;
	rc = rc == 0 ? ob__mock_vec_add(&m->asked, v) : rc;
	if (rc != 0) {
		ob__mock_obj_close(m->world, &v->obj);
		verb_free(v);
		return rc;
	}
	v->pub = (ob_mock_verb){v->obj.handle, v->name, v->args, false};
	return 0;
}

static int verb_end(struct verb *v, const ob_admin_reply *reply)
{
	ob_mock *m = v->obj.owner;

	ob__mock_obj_close(m->world, &v->obj);
	v->pub.ended = true;
	v->fn(&m->ctx, reply, v->arg);
	return 0;
}

int ob_mock_verb_answer(ob_mock *m, uint64_t call, int status, json_t *body_stolen)
{
	struct verb *v = ob__mock_obj_get(m->world, call, KIND_VERB);
	ob_admin_reply reply = {.size = sizeof(reply), .status = status, .body = body_stolen};
	int rc = v != NULL ? verb_end(v, &reply) : OB_E_STALE;

	json_decref(body_stolen);
	return rc;
}

const ob_mock_verb *ob_mock_verb_at(const ob_mock *m, size_t i)
{
	const struct verb *v = vec_get(&m->asked, i);

	return v != NULL ? &v->pub : NULL;
}

/* ---- the end ---- */

void ob__mock_outs_expire(ob_mock *m)
{
	ob_admin_reply away = {.size = sizeof(away), .status = 503, .text = "the node stops\n"};
	ob_http_response gone = {.code = OB_E_GONE, .text = "the module was taken out"};

	/* A callback may begin nothing new, so no list grows meanwhile. */
	for (size_t i = 0; i < m->calls.len; i++) {
		struct call *c = m->calls.at[i];
		while (!c->pub.ended) {
			ob__mock_call_end(c, OB_E_GONE, "the module was taken out", 0, NULL, 0);
		}
	}
	for (size_t i = 0; i < m->http_calls.len; i++) {
		const struct http_call *h = m->http_calls.at[i];
		if (!h->pub.ended) {
			http_end(m, h->pub.call, &gone);
		}
	}
	for (size_t i = 0; i < m->asked.len; i++) {
		struct verb *v = m->asked.at[i];
		if (!v->pub.ended) {
			verb_end(v, &away);
		}
	}
}

static void vec_clear(struct vec *v)
{
	for (size_t i = 0; i < v->len; i++) {
		free(v->at[i]);
	}
	free(v->at);
	*v = (struct vec){NULL, 0, 0};
}

/* Frees the elements that have ended, or all of them. */
static void forget(ob_mock *m, bool all)
{
	for (size_t i = m->calls.len; i > 0; i--) {
		struct call *c = m->calls.at[i - 1];
		if (all || c->pub.ended) {
			ob__mock_vec_del(&m->calls, i - 1);
			ob__mock_obj_close(m->world, &c->obj);
			c->forgotten = true;
			if (c->telling == 0) {
				call_free(c);
			}
		}
	}
	for (size_t i = m->http_calls.len; i > 0; i--) {
		struct http_call *h = m->http_calls.at[i - 1];
		if (all || h->pub.ended) {
			ob__mock_vec_del(&m->http_calls, i - 1);
			ob__mock_obj_close(m->world, &h->obj);
			http_free(h);
		}
	}
	for (size_t i = m->asked.len; i > 0; i--) {
		struct verb *v = m->asked.at[i - 1];
		if (all || v->pub.ended) {
			ob__mock_vec_del(&m->asked, i - 1);
			ob__mock_obj_close(m->world, &v->obj);
			verb_free(v);
		}
	}
	vec_clear(&m->pushes);
	vec_clear(&m->broadcasts);
	vec_clear(&m->closes);
}

void ob_mock_forget(ob_mock *m)
{
	forget(m, false);
}

void ob__mock_outs_free(ob_mock *m)
{
	forget(m, true);
	vec_clear(&m->headers);
}
