/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool dead(const ob_mock *m)
{
	return m->phase == PHASE_STOPPED;
}

/* ---- the node ---- */

static const char *api_strerror(ob_ctx *ctx, int code)
{
	return ob__mock_strerror(code);
}

static int api_status(ob_ctx *ctx, int code)
{
	return ob__mock_status(code);
}

OB_PRINTF(3, 0)
static void api_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
	if (!dead(mock_of(ctx))) {
		ob__mock_log(mock_of(ctx), level, fmt, ap);
	}
}

static const json_t *api_config(ob_ctx *ctx, const char *path)
{
	return dead(mock_of(ctx)) ? NULL : ob__mock_config(mock_of(ctx), path);
}

static int api_node_info(ob_ctx *ctx, ob_node_info *info)
{
	const ob_mock *m = mock_of(ctx);

	if (dead(m) || info->size != sizeof(*info)) {
		return mock_no(m, OB_E_INVAL);
	}
	*info = (ob_node_info){
		.size = sizeof(*info),
		.role_id = ob__mock_role(m->role),
		.id = ob_mock_node_id(m->name),
		.incarnation = 1,
		.name = m->name,
		.role = m->role,
	};
	return 0;
}

static uint64_t api_now_ms(ob_ctx *ctx)
{
	return dead(mock_of(ctx)) ? 0 : mock_of(ctx)->world->now;
}

static uint32_t api_role(ob_ctx *ctx, const char *word)
{
	return dead(mock_of(ctx)) ? 0 : ob__mock_role(word);
}

static void *api_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version)
{
	return ob__mock_memory_state(mock_of(ctx), key, size, version);
}

static int api_counter(ob_ctx *ctx, const char *name, const char *help)
{
	return dead(mock_of(ctx)) ? OB_E_DEAD : ob__mock_memory_counter(mock_of(ctx), name);
}

static void api_count(ob_ctx *ctx, int counter, uint64_t n)
{
	const ob_mock *m = mock_of(ctx);

	if (!dead(m) && counter >= 0 && (size_t)counter < m->world->counters_len) {
		m->world->counters[counter].value += n;
	}
}

static bool api_rehearsing(ob_ctx *ctx)
{
	return mock_of(ctx)->rehearsing;
}

static int api_module_info(ob_ctx *ctx, ob_module_info *info)
{
	const ob_mock *m = mock_of(ctx);

	if (dead(m) || info->size != sizeof(*info)) {
		return mock_no(m, OB_E_INVAL);
	}
	*info = (ob_module_info){
		.size = sizeof(*info),
		.generation = m->generation,
		.name = m->desc.name,
		.version = m->desc.version != NULL ? m->desc.version : "",
	};
	return 0;
}

/* ---- memory ---- */

/* The store is the serving generation's, and what load() does can be refused. */
static bool may_keep(const ob_mock *m)
{
	return mock_live(m) && m->loading == NULL;
}

static int api_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len)
{
	ob_mock *m = mock_of(ctx);

	return may_keep(m) ? ob__mock_kv_set(m->world, key, data, len) : mock_no(m, OB_E_STATE);
}

static const void *api_kv_get(ob_ctx *ctx, const char *key, size_t *len)
{
	*len = 0;
	return dead(mock_of(ctx)) ? NULL : ob__mock_kv_get(mock_of(ctx)->world, key, len);
}

static int api_kv_del(ob_ctx *ctx, const char *key)
{
	ob_mock *m = mock_of(ctx);

	return may_keep(m) ? ob__mock_kv_del(m->world, key) : mock_no(m, OB_E_STATE);
}

static const char *api_kv_next(ob_ctx *ctx, const char *after)
{
	return dead(mock_of(ctx)) ? NULL : ob__mock_kv_next(mock_of(ctx)->world, after);
}

static int api_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
                             const void *data, size_t len)
{
	ob_mock *m = mock_of(ctx);

	if (m->saving == NULL || (ob_writer *)m->saving != writer) {
		return mock_no(m, OB_E_STATE);
	}
	int rc = ob__mock_blob_add(m->saving, tag, flags, data, len);
	m->saving->error = m->saving->error != 0 ? m->saving->error : rc;
	return rc;
}

static const void *api_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len)
{
	const ob_mock *m = mock_of(ctx);
	bool mine = m->loading != NULL && (ob_reader *)m->loading == reader;
	struct section *s = mine ? ob__mock_blob_find(m->loading, tag) : NULL;

	*len = s != NULL ? s->len : 0;
	if (s == NULL) {
		return NULL;
	}
	s->seen = true;
	return s->data;
}

static const void *api_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len)
{
	const ob_mock *m = mock_of(ctx);
	bool mine = m->loading != NULL && (ob_reader *)m->loading == reader;
	struct section *s = mine ? vec_get(&m->loading->sections, m->loading->at) : NULL;

	*len = 0;
	if (s == NULL) {
		return NULL;
	}
	m->loading->at++;
	s->seen = true;
	*tag = s->tag;
	*len = s->len;
	return s->data;
}

/* ---- registering ---- */

static int api_refuse(ob_ctx *ctx, int code, const char *text)
{
	ob_mock *m = mock_of(ctx);

	if (dead(m)) {
		return OB_E_DEAD;
	}
	snprintf(m->refused, sizeof(m->refused), "%s", text);
	return code;
}

static int api_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	return ob__mock_reg_id(mock_of(ctx), id, fn, flags);
}

static int api_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	return ob__mock_reg_method(mock_of(ctx), name, fn, flags);
}

static int api_off_id(ob_ctx *ctx, uint32_t id)
{
	return ob__mock_off_id(mock_of(ctx), id);
}

static int api_off_method(ob_ctx *ctx, const char *name)
{
	return ob__mock_off_method(mock_of(ctx), name);
}

static int api_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                       uint32_t flags)
{
	return ob__mock_reg_http(mock_of(ctx), method, path, fn, flags);
}

static int api_on_event(ob_ctx *ctx, int event, ob_event_fn fn)
{
	return ob__mock_reg_event(mock_of(ctx), event, fn);
}

static int api_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
{
	return ob__mock_reg_filter(mock_of(ctx), priority, fn);
}

/* A decision, of which there is one. */
static int single(ob_ctx *ctx, enum reg_kind kind, const char *what, bool there, struct reg **out)
{
	ob_mock *m = mock_of(ctx);

	return there ? ob__mock_reg_single(m, kind, what, out) : mock_no(m, OB_E_INVAL);
}

static int api_on_client_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct reg *reg = NULL;
	int rc = single(ctx, REG_CLIENT_DECIDER, "client messages", fn != NULL, &reg);

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

static int api_on_link_message(ob_ctx *ctx, ob_decide_fn fn)
{
	struct reg *reg = NULL;
	int rc = single(ctx, REG_LINK_DECIDER, "link messages", fn != NULL, &reg);

	if (rc == 0) {
		reg->fn.decide = fn;
	}
	return rc;
}

static int api_on_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	struct reg *reg = NULL;
	int rc = single(ctx, REG_UNKNOWN, "unknown ids", fn != NULL, &reg);

	if (rc == 0) {
		reg->fn.handler = fn;
	}
	return rc;
}

static int api_on_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	struct reg *reg = NULL;
	int rc = single(ctx, REG_ERROR_BODY, "error bodies", fn != NULL, &reg);

	if (rc == 0) {
		reg->fn.error_body = fn;
	}
	return rc;
}

static int api_on_codec(ob_ctx *ctx, const ob_codec *codec)
{
	return ob__mock_reg_codec(mock_of(ctx), codec);
}

static int api_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn)
{
	return ob__mock_reg_policy(mock_of(ctx), name, fn);
}

static int api_on_transport(ob_ctx *ctx, const ob_transport *transport)
{
	return ob__mock_reg_transport(mock_of(ctx), transport);
}

static int api_listen(ob_ctx *ctx, const ob_listen_options *options)
{
	return ob__mock_reg_listen(mock_of(ctx), options);
}

/* ---- requests ---- */

static struct request *req_get(ob_ctx *ctx, ob_req req)
{
	return dead(mock_of(ctx)) ? NULL : ob__mock_request_of(mock_of(ctx), req);
}

static int stale(ob_ctx *ctx)
{
	return mock_no(mock_of(ctx), OB_E_STALE);
}

static int api_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	const struct request *r = req_get(ctx, req);

	uint32_t size = view->size;
	if (size != sizeof(*view) && size != offsetof(ob_view, name)) {
		return mock_no(mock_of(ctx), OB_E_INVAL);
	}
	if (r == NULL) {
		return stale(ctx);
	}
	memcpy(view, &r->view, size);
	view->size = size;
	return 0;
}

static const json_t *api_req_json(ob_ctx *ctx, ob_req req)
{
	struct request *r = req_get(ctx, req);

	return r != NULL ? ob__mock_request_json(r) : NULL;
}

static int api_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len)
{
	struct request *r = req_get(ctx, req);

	if (r == NULL) {
		return stale(ctx);
	}
	if (len > (uint64_t)ob__mock_number(mock_of(ctx), "limits.message", MESSAGE_MAX)) {
		ob__mock_request_end(r, OB_E_TOO_BIG, "the answer is too big", NULL, 0);
		return OB_E_TOO_BIG;
	}
	return ob__mock_request_end(r, OB_OK, NULL, data, len);
}

static int api_reply_json(ob_ctx *ctx, ob_req req, json_t *body_stolen)
{
	struct request *r = req_get(ctx, req);

	if (r == NULL) {
		json_decref(body_stolen);
		return stale(ctx);
	}
	char *dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY)
	                                 : NULL;
	json_decref(body_stolen);
	if (dump == NULL) {
		ob__mock_request_end(r, OB_E_APP, "the handler's answer is not JSON", NULL, 0);
		return OB_E_INVAL;
	}
	r->json_reply = true;
	int rc = api_reply(ctx, req, dump, strlen(dump));
	free(dump);
	return rc;
}

static int api_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	struct request *r = req_get(ctx, req);

	return r != NULL ? ob__mock_request_end(r, code < 0 ? code : OB_E_APP, text, NULL, 0)
	                 : stale(ctx);
}

static int api_done(ob_ctx *ctx, ob_req req)
{
	struct request *r = req_get(ctx, req);

	return r != NULL ? ob__mock_request_done(r) : stale(ctx);
}

static int api_request_hold(ob_ctx *ctx, ob_req req)
{
	struct request *r = req_get(ctx, req);

	return r != NULL ? ob__mock_request_hold(r) : stale(ctx);
}

static ob_msg api_msg_hold(ob_ctx *ctx, const ob_view *view)
{
	return ob__mock_work_msg(mock_of(ctx), view);
}

static int api_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view)
{
	return ob__mock_work_msg_view(mock_of(ctx), msg, view);
}

static int api_msg_release(ob_ctx *ctx, ob_msg msg)
{
	return ob__mock_work_msg_release(mock_of(ctx), msg);
}

static uint32_t api_route_role(ob_ctx *ctx, uint32_t id)
{
	const ob_mock *m = mock_of(ctx);

	for (size_t i = 0; !dead(m) && i < m->routes.len; i++) {
		const struct route *r = m->routes.at[i];
		if (id >= r->first && id <= r->last) {
			return ob__mock_role(r->role);
		}
	}
	return 0;
}

/* ---- names of messages ---- */

static int api_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	ob_mock *m = mock_of(ctx);
	uint32_t id;

	if (dead(m)) {
		return OB_E_DEAD;
	}
	int rc = name != NULL ? ob__mock_name_know(m, name, strlen(name), &id) : OB_E_INVAL;
	return rc == 0 ? ob__mock_reg_id(m, id, fn, flags) : mock_no(m, rc);
}

static uint32_t api_name_id(ob_ctx *ctx, const char *name, size_t len, uint32_t flags)
{
	ob_mock *m = mock_of(ctx);
	uint32_t id = 0;

	if (dead(m) || name == NULL) {
		return 0;
	}
	if ((flags & OB_NAME_KNOW) == 0) {
		return ob__mock_name_id(m, name, len);
	}
	return ob__mock_name_know(m, name, len, &id) == 0 ? id : 0;
}

static const char *api_name_of(ob_ctx *ctx, uint32_t id)
{
	return dead(mock_of(ctx)) ? NULL : ob__mock_name_of(mock_of(ctx), id);
}

static uint32_t api_route_name(ob_ctx *ctx, const char *name, size_t len)
{
	const ob_mock *m = mock_of(ctx);
	const char *dot = name != NULL ? memchr(name, '.', len) : NULL;
	uint32_t id = name != NULL && !dead(m) ? ob__mock_name_id(m, name, len) : 0;
	uint32_t role = id != 0 ? api_route_role(ctx, id) : 0;
	char word[OB_NAME_MAX + 1];

	if (id == 0 || role != 0 || dot == NULL || dot == name) {
		return role;
	}
	memcpy(word, name, (size_t)(dot - name));
	word[dot - name] = '\0';
	return strcmp(word, m->role) != 0 ? ob__mock_role(word) : 0;
}

/* ---- sessions ---- */

static struct session *session_get(ob_ctx *ctx, ob_session session)
{
	const ob_mock *m = mock_of(ctx);

	return dead(m) ? NULL : ob__mock_obj_get(m->world, session, KIND_SESSION);
}

static int api_session_info(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	const struct session *s = session_get(ctx, session);

	uint32_t size = info->size;

	if (size != sizeof(*info) && size != offsetof(ob_session_info, user) &&
	    size != offsetof(ob_session_info, peer)) {
		return mock_no(mock_of(ctx), OB_E_INVAL);
	}
	if (s == NULL) {
		return stale(ctx);
	}
	ob_session_info full = {
		.size = size,
		.local = s->node == NULL,
		.node = ob_mock_node_id(s->node != NULL ? s->node : mock_of(ctx)->name),
		.seq = s->seq,
		.peer = s->node == NULL ? s->peer : "",
		.user = s->user,
		.epoch = s->epoch,
	};
	memcpy(info, &full, size);
	return 0;
}

static int api_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap)
{
	const struct session *s = session_get(ctx, session);

	return s != NULL ? ob__mock_session_text(mock_of(ctx), s, out, cap) : stale(ctx);
}

static ob_session api_session_find(ob_ctx *ctx, const char *text)
{
	const ob_mock *m = mock_of(ctx);
	char name[OB_SESSION_TEXT];

	for (size_t i = 0; !dead(m) && i < m->world->sessions.len; i++) {
		const struct session *s = m->world->sessions.at[i];
		if (ob__mock_session_text(m, s, name, sizeof(name)) == 0 &&
		    strcmp(name, text) == 0) {
			return s->obj.handle;
		}
	}
	return 0;
}

static int api_session_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason)
{
	return ob__mock_out_close(mock_of(ctx), session, code, reason);
}

static int api_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len)
{
	return ob__mock_out_push(mock_of(ctx), session, id, data, len);
}

static int api_push_json(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen)
{
	char *dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY)
	                                 : NULL;

	json_decref(body_stolen);
	if (dump == NULL) {
		return mock_no(mock_of(ctx), OB_E_INVAL);
	}
	int rc = ob__mock_out_push(mock_of(ctx), session, id, dump, strlen(dump));
	free(dump);
	return rc;
}

/* ---- users ---- */

static int api_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                            void *arg)
{
	return ob__mock_user_bind(mock_of(ctx), session, user, fn, arg);
}

static int api_session_unbind(ob_ctx *ctx, ob_session session, const char *user)
{
	return ob__mock_user_unbind(mock_of(ctx), session, user);
}

static int api_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg)
{
	return ob__mock_user_find(mock_of(ctx), user, fn, arg);
}

static int api_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len)
{
	return ob__mock_user_push(mock_of(ctx), user, id, data, len);
}

static int api_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                         const void *data, size_t len)
{
	return ob__mock_push_many(mock_of(ctx), sessions, count, id, data, len);
}

static int api_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                          const void *data, size_t len)
{
	return ob__mock_push_users(mock_of(ctx), users, count, id, data, len);
}

static int api_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len)
{
	return ob__mock_push_all(mock_of(ctx), role, id, data, len);
}

static int api_kick_user(ob_ctx *ctx, const char *user, const char *reason)
{
	return ob__mock_user_kick(mock_of(ctx), user, reason);
}

static int api_session_set(ob_ctx *ctx, ob_session session, const char *key, const void *value,
                           size_t len)
{
	return ob__mock_session_set(mock_of(ctx), session, key, value, len);
}

static const void *api_session_attr(ob_ctx *ctx, ob_session session, const char *key, size_t *len)
{
	return ob__mock_session_attr(mock_of(ctx), session, key, len);
}

static const void *api_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key,
                                   size_t *len)
{
	return ob__mock_session_attr(mock_of(ctx), choice->view->session, key, len);
}

static int api_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms)
{
	return ob__mock_session_lock(mock_of(ctx), session, key, ms);
}

static int api_session_unlock(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags)
{
	return ob__mock_session_unlock(mock_of(ctx), session, key, flags);
}

/* ---- going out ---- */

static ob_call_id api_call(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
                           ob_session session, const void *data, size_t len, uint32_t deadline_ms,
                           ob_call_fn fn, void *arg)
{
	ob_mock_call call = {
		.target = *target,
		.id = id,
		.method = method,
		.session = session,
		.data = data,
		.len = len,
		.deadline_ms = deadline_ms,
	};

	return ob__mock_out_call(mock_of(ctx), &call, fn, arg);
}

static ob_call_id api_call_with(ob_ctx *ctx, const ob_target *target,
                                const ob_call_options *options, ob_call_fn fn, void *arg)
{
	return ob__mock_out_call_with(mock_of(ctx), target, options, fn, arg);
}

static int api_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info)
{
	const ob_mock *m = mock_of(ctx);
	const struct request *r = req_get(ctx, req != 0 ? req : m->current);

	if (info->size != sizeof(*info)) {
		return mock_no(m, OB_E_INVAL);
	}
	if (r == NULL) {
		return stale(ctx);
	}
	*info = (ob_trace_info){
		.size = sizeof(*info),
		.begins = 1,
		.id = {ob_mock_node_id(m->name), r->req},
		.span = r->req,
	};
	return 0;
}

static int api_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn)
{
	return ob__mock_reg_call_filter(mock_of(ctx), when, priority, fn);
}

static int api_call_cancel(ob_ctx *ctx, ob_call_id call)
{
	return ob__mock_out_cancel(mock_of(ctx), call);
}

static ob_timer api_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                                void *arg)
{
	return ob__mock_work_timer(mock_of(ctx), delay_ms, repeat_ms, fn, arg);
}

static int api_timer_stop(ob_ctx *ctx, ob_timer timer)
{
	return ob__mock_work_timer_stop(mock_of(ctx), timer);
}

static int api_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg)
{
	ob_mock *m = mock_of(ctx);
	struct work item = {.job = work, .post = done, .arg = arg};

	if (!mock_may_begin(m)) {
		return mock_no(m, OB_E_STATE);
	}
	return work != NULL ? ob__mock_work_queue(m, &item) : OB_E_INVAL;
}

static int api_post(ob_ctx *ctx, ob_post_fn fn, void *arg)
{
	ob_mock *m = mock_of(ctx);
	struct work item = {.post = fn, .arg = arg};

	if (!mock_live(m)) {
		return mock_no(m, OB_E_STATE);
	}
	return fn != NULL ? ob__mock_work_queue(m, &item) : OB_E_INVAL;
}

static int api_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg)
{
	return ob__mock_out_http(mock_of(ctx), request, fn, arg);
}

static int api_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg)
{
	return ob__mock_out_verb(mock_of(ctx), verb, args_stolen, fn, arg);
}

static int api_secret_check(ob_ctx *ctx, const char *path, const char *given)
{
	const ob_mock *m = mock_of(ctx);
	const char *secret = ob__mock_secret(m, path);

	if (dead(m) || !m->admin) {
		return mock_no(m, OB_E_DENIED);
	}
	if (secret == NULL) {
		return OB_E_NOT_FOUND;
	}
	return strcmp(secret, given != NULL ? given : "") == 0;
}

/* ---- HTTP in ---- */

static struct request *http_get(ob_ctx *ctx, ob_req req)
{
	struct request *r = req_get(ctx, req);

	return r != NULL && r->origin == FROM_HTTP ? r : NULL;
}

static int api_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	const struct request *r = http_get(ctx, req);

	if (info->size != sizeof(*info)) {
		return mock_no(mock_of(ctx), OB_E_INVAL);
	}
	if (r == NULL) {
		return stale(ctx);
	}
	if (!r->running) {
		return OB_E_STATE;
	}
	*info = r->http;
	return 0;
}

static const char *api_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	const struct request *r = http_get(ctx, req);

	return r != NULL ? ob__mock_request_header(r, name) : NULL;
}

static int api_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	struct request *r = http_get(ctx, req);

	return r != NULL ? ob__mock_request_set_header(r, name, value) : stale(ctx);
}

static int api_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                          const void *data, size_t len)
{
	struct request *r = http_get(ctx, req);

	if (r == NULL) {
		return stale(ctx);
	}
	if (status < 200 || status > 599) {
		return OB_E_INVAL;
	}
	r->status = status;
	r->content_type = content_type != NULL ? strdup(content_type) : strdup("");
	return ob__mock_request_end(r, OB_OK, NULL, data, len);
}

/* ---- filters, events, timers ---- */

static int api_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn)
{
	return ob__mock_reg_message_filter(mock_of(ctx), when, priority, fn);
}

static ob_gate api_message_hold(ob_ctx *ctx)
{
	return ob__mock_gate_hold(mock_of(ctx));
}

static int api_message_pass(ob_ctx *ctx, ob_gate gate)
{
	return ob__mock_gate_pass(mock_of(ctx), gate);
}

static int api_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
                           size_t len)
{
	return ob__mock_gate_end(mock_of(ctx), gate, code, text, data, len);
}

static int api_on_raised(ob_ctx *ctx, const ob_listener *listener, ob_raised_fn fn)
{
	return ob__mock_reg_raised(mock_of(ctx), listener, fn);
}

static int api_event_raise(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
                           uint32_t flags)
{
	int rc = ob__mock_event_raise(mock_of(ctx), role, name, data_stolen, flags);

	json_decref(data_stolen);
	return rc;
}

static ob_timer api_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
                               void *arg)
{
	return ob__mock_work_timer_with(mock_of(ctx), options, fn, arg);
}

/* ---- states ---- */

static int api_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi)
{
	return ob__mock_state_allow(mock_of(ctx), state, lo, hi);
}

static int api_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                                ob_session_change_fn leave)
{
	return ob__mock_reg_state(mock_of(ctx), state, enter, leave);
}

static int api_session_enter(ob_ctx *ctx, ob_session session, const char *state,
                             json_t *data_stolen)
{
	int rc = ob__mock_state_enter(mock_of(ctx), session, state, data_stolen);

	json_decref(data_stolen);
	return rc;
}

static const char *api_session_state(ob_ctx *ctx, ob_session session, const json_t **data)
{
	return ob__mock_state_get(mock_of(ctx), session, data);
}

/* ---- groups ---- */

static int api_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn)
{
	return ob__mock_reg_group(mock_of(ctx), prefix, fn);
}

static int api_group_join(ob_ctx *ctx, ob_session session, const char *group)
{
	return ob__mock_group_join(mock_of(ctx), session, group);
}

static int api_group_leave(ob_ctx *ctx, ob_session session, const char *group)
{
	return ob__mock_group_leave(mock_of(ctx), session, group);
}

static int api_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data, size_t len)
{
	return ob__mock_group_push(mock_of(ctx), group, id, data, len);
}

static int api_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg)
{
	return ob__mock_group_count(mock_of(ctx), group, fn, arg);
}

static int api_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap)
{
	return ob__mock_group_members(mock_of(ctx), group, sessions, cap);
}

static int api_secret_equal(ob_ctx *ctx, const char *secret, const char *given)
{
	(void)ctx;
	return secret != NULL && *secret != '\0' && given != NULL && strcmp(secret, given) == 0;
}

static ob_watch api_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	return ob__mock_fd_watch(mock_of(ctx), fd, events, fn, arg);
}

static int api_fd_unwatch(ob_ctx *ctx, ob_watch watch)
{
	return ob__mock_fd_unwatch(mock_of(ctx), watch);
}

static int api_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport)
{
	return ob__mock_reg_client_transport(mock_of(ctx), transport);
}

static int api_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options)
{
	return ob__mock_client_adopt(mock_of(ctx), fd, options);
}

const ob_api ob__mock_api = {
	.size = sizeof(ob_api),
	.abi_major = OB_ABI_MAJOR,
	.abi_minor = OB_ABI_MINOR,
	.strerror = api_strerror,
	.status = api_status,
	.vlog = api_vlog,
	.config = api_config,
	.node_info = api_node_info,
	.now_ms = api_now_ms,
	.role = api_role,
	.state = api_state,
	.counter = api_counter,
	.count = api_count,
	.rehearsing = api_rehearsing,
	.module_info = api_module_info,
	.kv_set = api_kv_set,
	.kv_get = api_kv_get,
	.kv_del = api_kv_del,
	.kv_next = api_kv_next,
	.section_write = api_section_write,
	.section_read = api_section_read,
	.section_next = api_section_next,
	.refuse = api_refuse,
	.on_id = api_on_id,
	.on_method = api_on_method,
	.on_http = api_on_http,
	.on_event = api_on_event,
	.on_filter = api_on_filter,
	.on_client_message = api_on_client_message,
	.on_link_message = api_on_link_message,
	.on_unknown = api_on_unknown,
	.on_error_body = api_on_error_body,
	.on_codec = api_on_codec,
	.on_policy = api_on_policy,
	.listen = api_listen,
	.req_view = api_req_view,
	.req_json = api_req_json,
	.reply = api_reply,
	.reply_json = api_reply_json,
	.fail = api_fail,
	.done = api_done,
	.request_hold = api_request_hold,
	.msg_hold = api_msg_hold,
	.msg_view = api_msg_view,
	.msg_release = api_msg_release,
	.route_role = api_route_role,
	.session_info = api_session_info,
	.session_text = api_session_text,
	.session_find = api_session_find,
	.session_close = api_session_close,
	.push = api_push,
	.push_json = api_push_json,
	.call = api_call,
	.call_cancel = api_call_cancel,
	.timer_start = api_timer_start,
	.timer_stop = api_timer_stop,
	.job = api_job,
	.post = api_post,
	.http_info = api_http_info,
	.http_header = api_http_header,
	.http_set_header = api_http_set_header,
	.http_reply = api_http_reply,
	.http_call = api_http_call,
	.admin = api_admin,
	.secret_check = api_secret_check,
	.call_with = api_call_with,
	.trace = api_trace,
	.on_call_filter = api_on_call_filter,
	/* users and sessions */
	.session_bind = api_session_bind,
	.session_unbind = api_session_unbind,
	.user_find = api_user_find,
	.push_user = api_push_user,
	.kick_user = api_kick_user,
	.session_set = api_session_set,
	.session_attr = api_session_attr,
	.session_lock = api_session_lock,
	.session_unlock = api_session_unlock,
	/* pushes to many */
	.push_many = api_push_many,
	.push_users = api_push_users,
	.push_all = api_push_all,
	/* links */
	.on_transport = api_on_transport,
	/* in policies */
	.choice_attr = api_choice_attr,
	/* groups */
	.on_group = api_on_group,
	.group_join = api_group_join,
	.group_leave = api_group_leave,
	.push_group = api_push_group,
	.group_count = api_group_count,
	.group_members = api_group_members,
	/* filters, events, timers */
	.on_message_filter = api_on_message_filter,
	.message_hold = api_message_hold,
	.message_pass = api_message_pass,
	.message_end = api_message_end,
	.on_raised = api_on_raised,
	.event_raise = api_event_raise,
	.timer_with = api_timer_with,
	/* states */
	.session_allow = api_session_allow,
	.on_session_state = api_on_session_state,
	.session_enter = api_session_enter,
	.session_state = api_session_state,
	.secret_equal = api_secret_equal,
	/* names of messages */
	.on_name = api_on_name,
	.name_id = api_name_id,
	.name_of = api_name_of,
	.route_name = api_route_name,
	.off_id = api_off_id,
	.off_method = api_off_method,
	/* descriptors, and clients that a module brings */
	.fd_watch = api_fd_watch,
	.fd_unwatch = api_fd_unwatch,
	.on_client_transport = api_on_client_transport,
	.client_adopt = api_client_adopt,
};
