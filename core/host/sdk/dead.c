/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk.h"

#include "base/err.h"

/*
 * A generation that was taken out may still be called by a thread or a callback that its author
 * forgot.  Then each function of this table answers at once and touches nothing but what was handed
 * over to it.
 */

static const char *dead_strerror(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__strerror(code);
}

OB_PRINTF(3, 0)
static void dead_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
	(void)ctx;
	(void)level;
	(void)fmt;
	(void)ap;
}

static const json_t *dead_config(ob_ctx *ctx, const char *path)
{
	(void)ctx;
	(void)path;
	return NULL;
}

static int dead_node_info(ob_ctx *ctx, ob_node_info *info)
{
	(void)ctx;
	(void)info;
	return OB_E_DEAD;
}

static bool dead_rehearsing(ob_ctx *ctx)
{
	(void)ctx;
	return false;
}

static int dead_module_info(ob_ctx *ctx, ob_module_info *info)
{
	(void)ctx;
	(void)info;
	return OB_E_DEAD;
}

static uint64_t dead_now_ms(ob_ctx *ctx)
{
	(void)ctx;
	return 0;
}

static uint32_t dead_role(ob_ctx *ctx, const char *word)
{
	(void)ctx;
	(void)word;
	return 0;
}

static void *dead_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version)
{
	(void)ctx;
	(void)key;
	(void)size;
	(void)version;
	return NULL;
}

static int dead_counter(ob_ctx *ctx, const char *name, const char *help)
{
	(void)ctx;
	(void)name;
	(void)help;
	return OB_E_DEAD;
}

static void dead_count(ob_ctx *ctx, int counter, uint64_t n)
{
	(void)ctx;
	(void)counter;
	(void)n;
}

static int dead_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len)
{
	(void)ctx;
	(void)key;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static const void *dead_kv_get(ob_ctx *ctx, const char *key, size_t *len)
{
	(void)ctx;
	(void)key;
	(void)len;
	return NULL;
}

static int dead_kv_del(ob_ctx *ctx, const char *key)
{
	(void)ctx;
	(void)key;
	return OB_E_DEAD;
}

static const char *dead_kv_next(ob_ctx *ctx, const char *after)
{
	(void)ctx;
	(void)after;
	return NULL;
}

static int dead_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
                              const void *data, size_t len)
{
	(void)ctx;
	(void)writer;
	(void)tag;
	(void)flags;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static const void *dead_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len)
{
	(void)ctx;
	(void)reader;
	(void)tag;
	(void)len;
	return NULL;
}

static const void *dead_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len)
{
	(void)ctx;
	(void)reader;
	(void)tag;
	(void)len;
	return NULL;
}

static int dead_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	(void)ctx;
	(void)id;
	(void)fn;
	(void)flags;
	return OB_E_DEAD;
}

static int dead_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	(void)ctx;
	(void)name;
	(void)fn;
	(void)flags;
	return OB_E_DEAD;
}

static uint32_t dead_name_id(ob_ctx *ctx, const char *name, size_t len, uint32_t flags)
{
	(void)ctx;
	(void)name;
	(void)len;
	(void)flags;
	return 0;
}

static const char *dead_name_of(ob_ctx *ctx, uint32_t id)
{
	(void)ctx;
	(void)id;
	return NULL;
}

static uint32_t dead_route_name(ob_ctx *ctx, const char *name, size_t len)
{
	(void)ctx;
	(void)name;
	(void)len;
	return 0;
}

static int dead_off_id(ob_ctx *ctx, uint32_t id)
{
	(void)ctx;
	(void)id;
	return OB_E_DEAD;
}

static int dead_off_method(ob_ctx *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return OB_E_DEAD;
}

static int dead_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	(void)ctx;
	(void)name;
	(void)fn;
	(void)flags;
	return OB_E_DEAD;
}

static int dead_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                        uint32_t flags)
{
	(void)ctx;
	(void)method;
	(void)path;
	(void)fn;
	(void)flags;
	return OB_E_DEAD;
}

static int dead_on_event(ob_ctx *ctx, int event, ob_event_fn fn)
{
	(void)ctx;
	(void)event;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
{
	(void)ctx;
	(void)priority;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_client_message(ob_ctx *ctx, ob_decide_fn fn)
{
	(void)ctx;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_link_message(ob_ctx *ctx, ob_decide_fn fn)
{
	(void)ctx;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	(void)ctx;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	(void)ctx;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_codec(ob_ctx *ctx, const ob_codec *codec)
{
	(void)ctx;
	(void)codec;
	return OB_E_DEAD;
}

static int dead_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn)
{
	(void)ctx;
	(void)name;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_on_transport(ob_ctx *ctx, const ob_transport *transport)
{
	(void)ctx;
	(void)transport;
	return OB_E_DEAD;
}

static int dead_listen(ob_ctx *ctx, const ob_listen_options *options)
{
	(void)ctx;
	(void)options;
	return OB_E_DEAD;
}

static int dead_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	(void)ctx;
	(void)req;
	(void)view;
	return OB_E_DEAD;
}

static const json_t *dead_req_json(ob_ctx *ctx, ob_req req)
{
	(void)ctx;
	(void)req;
	return NULL;
}

static int dead_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len)
{
	(void)ctx;
	(void)req;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_reply_json(ob_ctx *ctx, ob_req req, json_t *body_stolen)
{
	(void)ctx;
	(void)req;
	json_decref(body_stolen);
	return OB_E_DEAD;
}

static int dead_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	(void)ctx;
	(void)req;
	(void)code;
	(void)text;
	return OB_E_DEAD;
}

static int dead_done(ob_ctx *ctx, ob_req req)
{
	(void)ctx;
	(void)req;
	return OB_E_DEAD;
}

static int dead_request_hold(ob_ctx *ctx, ob_req req)
{
	(void)ctx;
	(void)req;
	return OB_E_DEAD;
}

static ob_msg dead_msg_hold(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	(void)view;
	return 0;
}

static int dead_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view)
{
	(void)ctx;
	(void)msg;
	(void)view;
	return OB_E_DEAD;
}

static int dead_msg_release(ob_ctx *ctx, ob_msg msg)
{
	(void)ctx;
	(void)msg;
	return OB_E_DEAD;
}

static uint32_t dead_route_role(ob_ctx *ctx, uint32_t id)
{
	(void)ctx;
	(void)id;
	return 0;
}

static int dead_session_info(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	(void)ctx;
	(void)session;
	(void)info;
	return OB_E_DEAD;
}

static int dead_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap)
{
	(void)ctx;
	(void)session;
	(void)out;
	(void)cap;
	return OB_E_DEAD;
}

static ob_session dead_session_find(ob_ctx *ctx, const char *text)
{
	(void)ctx;
	(void)text;
	return 0;
}

static int dead_session_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason)
{
	(void)ctx;
	(void)session;
	(void)code;
	(void)reason;
	return OB_E_DEAD;
}

static int dead_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len)
{
	(void)ctx;
	(void)session;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_push_json(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen)
{
	(void)ctx;
	(void)session;
	(void)id;
	json_decref(body_stolen);
	return OB_E_DEAD;
}

static ob_call_id dead_call(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
                            ob_session session, const void *data, size_t len, uint32_t deadline_ms,
                            ob_call_fn fn, void *arg)
{
	(void)ctx;
	(void)target;
	(void)id;
	(void)method;
	(void)session;
	(void)data;
	(void)len;
	(void)deadline_ms;
	(void)fn;
	(void)arg;
	return 0;
}

static int dead_call_cancel(ob_ctx *ctx, ob_call_id call)
{
	(void)ctx;
	(void)call;
	return OB_E_DEAD;
}

static ob_timer dead_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                                 void *arg)
{
	(void)ctx;
	(void)delay_ms;
	(void)repeat_ms;
	(void)fn;
	(void)arg;
	return 0;
}

static int dead_timer_stop(ob_ctx *ctx, ob_timer timer)
{
	(void)ctx;
	(void)timer;
	return OB_E_DEAD;
}

static int dead_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg)
{
	(void)ctx;
	(void)work;
	(void)done;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_post(ob_ctx *ctx, ob_post_fn fn, void *arg)
{
	(void)ctx;
	(void)fn;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	(void)ctx;
	(void)req;
	(void)info;
	return OB_E_DEAD;
}

static const char *dead_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	(void)ctx;
	(void)req;
	(void)name;
	return NULL;
}

static int dead_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	(void)ctx;
	(void)req;
	(void)name;
	(void)value;
	return OB_E_DEAD;
}

static int dead_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                           const void *data, size_t len)
{
	(void)ctx;
	(void)req;
	(void)status;
	(void)content_type;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg)
{
	(void)ctx;
	(void)request;
	(void)fn;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg)
{
	(void)ctx;
	(void)verb;
	(void)fn;
	(void)arg;
	json_decref(args_stolen);
	return OB_E_DEAD;
}

static int dead_secret_check(ob_ctx *ctx, const char *path, const char *given)
{
	(void)ctx;
	(void)path;
	(void)given;
	return OB_E_DEAD;
}

static int dead_status(ob_ctx *ctx, int code)
{
	(void)ctx;
	return ob__result_http(code);
}

static int dead_refuse(ob_ctx *ctx, int code, const char *text)
{
	(void)ctx;
	(void)code;
	(void)text;
	return OB_E_DEAD;
}

static ob_call_id dead_call_with(ob_ctx *ctx, const ob_target *target,
                                 const ob_call_options *options, ob_call_fn fn, void *arg)
{
	(void)ctx;
	(void)target;
	(void)options;
	(void)fn;
	(void)arg;
	return 0;
}

static int dead_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info)
{
	(void)ctx;
	(void)req;
	(void)info;
	return OB_E_DEAD;
}

static int dead_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn)
{
	(void)ctx;
	(void)when;
	(void)priority;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                             void *arg)
{
	(void)ctx;
	(void)session;
	(void)user;
	(void)fn;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_session_unbind(ob_ctx *ctx, ob_session session, const char *user)
{
	(void)ctx;
	(void)session;
	(void)user;
	return OB_E_DEAD;
}

static int dead_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg)
{
	(void)ctx;
	(void)user;
	(void)fn;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len)
{
	(void)ctx;
	(void)user;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                          const void *data, size_t len)
{
	(void)ctx;
	(void)sessions;
	(void)count;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                           const void *data, size_t len)
{
	(void)ctx;
	(void)users;
	(void)count;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len)
{
	(void)ctx;
	(void)role;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn)
{
	(void)ctx;
	(void)prefix;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_group_join(ob_ctx *ctx, ob_session session, const char *group)
{
	(void)ctx;
	(void)session;
	(void)group;
	return OB_E_DEAD;
}

static int dead_group_leave(ob_ctx *ctx, ob_session session, const char *group)
{
	(void)ctx;
	(void)session;
	(void)group;
	return OB_E_DEAD;
}

static int dead_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data,
                           size_t len)
{
	(void)ctx;
	(void)group;
	(void)id;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg)
{
	(void)ctx;
	(void)group;
	(void)fn;
	(void)arg;
	return OB_E_DEAD;
}

static int dead_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap)
{
	(void)ctx;
	(void)group;
	(void)sessions;
	(void)cap;
	return OB_E_DEAD;
}

static int dead_secret_equal(ob_ctx *ctx, const char *secret, const char *given)
{
	(void)ctx;
	(void)secret;
	(void)given;
	return OB_E_DEAD;
}

static int dead_kick_user(ob_ctx *ctx, const char *user, const char *reason)
{
	(void)ctx;
	(void)user;
	(void)reason;
	return OB_E_DEAD;
}

static int dead_session_set(ob_ctx *ctx, ob_session session, const char *key, const void *value,
                            size_t len)
{
	(void)ctx;
	(void)session;
	(void)key;
	(void)value;
	(void)len;
	return OB_E_DEAD;
}

static const void *dead_session_attr(ob_ctx *ctx, ob_session session, const char *key, size_t *len)
{
	(void)ctx;
	(void)session;
	(void)key;
	if (len != NULL) {
		*len = 0;
	}
	return NULL;
}

static const void *dead_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key,
                                    size_t *len)
{
	(void)choice;
	return dead_session_attr(ctx, 0, key, len);
}

static int dead_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms)
{
	(void)ctx;
	(void)session;
	(void)key;
	(void)ms;
	return OB_E_DEAD;
}

static int dead_session_unlock(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags)
{
	(void)ctx;
	(void)session;
	(void)key;
	(void)flags;
	return OB_E_DEAD;
}

static ob_watch dead_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	(void)ctx;
	(void)fd;
	(void)events;
	(void)fn;
	(void)arg;
	return 0;
}

static int dead_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi)
{
	(void)ctx;
	(void)state;
	(void)lo;
	(void)hi;
	return OB_E_DEAD;
}

static int dead_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                                 ob_session_change_fn leave)
{
	(void)ctx;
	(void)state;
	(void)enter;
	(void)leave;
	return OB_E_DEAD;
}

static int dead_session_enter(ob_ctx *ctx, ob_session session, const char *state,
                              json_t *data_stolen)
{
	(void)ctx;
	(void)session;
	(void)state;
	json_decref(data_stolen);
	return OB_E_DEAD;
}

static const char *dead_session_state(ob_ctx *ctx, ob_session session, const json_t **data)
{
	(void)ctx;
	(void)session;
	if (data != NULL) {
		*data = NULL;
	}
	return NULL;
}

static int dead_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn)
{
	(void)ctx;
	(void)when;
	(void)priority;
	(void)fn;
	return OB_E_DEAD;
}

static ob_gate dead_message_hold(ob_ctx *ctx)
{
	(void)ctx;
	return 0;
}

static int dead_message_pass(ob_ctx *ctx, ob_gate gate)
{
	(void)ctx;
	(void)gate;
	return OB_E_DEAD;
}

static int dead_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
                            size_t len)
{
	(void)ctx;
	(void)gate;
	(void)code;
	(void)text;
	(void)data;
	(void)len;
	return OB_E_DEAD;
}

static int dead_on_raised(ob_ctx *ctx, const ob_listener *listener, ob_raised_fn fn)
{
	(void)ctx;
	(void)listener;
	(void)fn;
	return OB_E_DEAD;
}

static int dead_event_raise(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
                            uint32_t flags)
{
	(void)ctx;
	(void)role;
	(void)name;
	(void)flags;
	json_decref(data_stolen);
	return OB_E_DEAD;
}

static ob_timer dead_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
                                void *arg)
{
	(void)ctx;
	(void)options;
	(void)fn;
	(void)arg;
	return 0;
}

static int dead_fd_unwatch(ob_ctx *ctx, ob_watch watch)
{
	(void)ctx;
	(void)watch;
	return OB_E_DEAD;
}

static int dead_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport)
{
	(void)ctx;
	(void)transport;
	return OB_E_DEAD;
}

static int dead_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options)
{
	(void)ctx;
	(void)fd;
	(void)options;
	return OB_E_DEAD;
}

const ob_api ob__sdk_dead_api = {
	.size = sizeof(ob_api),
	.abi_major = OB_ABI_MAJOR,
	.abi_minor = OB_ABI_MINOR,
	.strerror = dead_strerror,
	.status = dead_status,
	.vlog = dead_vlog,
	.config = dead_config,
	.node_info = dead_node_info,
	.now_ms = dead_now_ms,
	.role = dead_role,
	.state = dead_state,
	.counter = dead_counter,
	.count = dead_count,
	.rehearsing = dead_rehearsing,
	.module_info = dead_module_info,
	.kv_set = dead_kv_set,
	.kv_get = dead_kv_get,
	.kv_del = dead_kv_del,
	.kv_next = dead_kv_next,
	.section_write = dead_section_write,
	.section_read = dead_section_read,
	.section_next = dead_section_next,
	.refuse = dead_refuse,
	.on_id = dead_on_id,
	.on_method = dead_on_method,
	.on_http = dead_on_http,
	.on_event = dead_on_event,
	.on_filter = dead_on_filter,
	.on_client_message = dead_on_client_message,
	.on_link_message = dead_on_link_message,
	.on_unknown = dead_on_unknown,
	.on_error_body = dead_on_error_body,
	.on_codec = dead_on_codec,
	.on_policy = dead_on_policy,
	.listen = dead_listen,
	.req_view = dead_req_view,
	.req_json = dead_req_json,
	.reply = dead_reply,
	.reply_json = dead_reply_json,
	.fail = dead_fail,
	.done = dead_done,
	.request_hold = dead_request_hold,
	.msg_hold = dead_msg_hold,
	.msg_view = dead_msg_view,
	.msg_release = dead_msg_release,
	.route_role = dead_route_role,
	.session_info = dead_session_info,
	.session_text = dead_session_text,
	.session_find = dead_session_find,
	.session_close = dead_session_close,
	.push = dead_push,
	.push_json = dead_push_json,
	.call = dead_call,
	.call_cancel = dead_call_cancel,
	.timer_start = dead_timer_start,
	.timer_stop = dead_timer_stop,
	.job = dead_job,
	.post = dead_post,
	.http_info = dead_http_info,
	.http_header = dead_http_header,
	.http_set_header = dead_http_set_header,
	.http_reply = dead_http_reply,
	.http_call = dead_http_call,
	.admin = dead_admin,
	.secret_check = dead_secret_check,
	.call_with = dead_call_with,
	.trace = dead_trace,
	.on_call_filter = dead_on_call_filter,
	/* users and sessions */
	.session_bind = dead_session_bind,
	.session_unbind = dead_session_unbind,
	.user_find = dead_user_find,
	.push_user = dead_push_user,
	.kick_user = dead_kick_user,
	.session_set = dead_session_set,
	.session_attr = dead_session_attr,
	.session_lock = dead_session_lock,
	.session_unlock = dead_session_unlock,
	/* pushes to many */
	.push_many = dead_push_many,
	.push_users = dead_push_users,
	.push_all = dead_push_all,
	/* links */
	.on_transport = dead_on_transport,
	/* in policies */
	.choice_attr = dead_choice_attr,
	/* groups */
	.on_group = dead_on_group,
	.group_join = dead_group_join,
	.group_leave = dead_group_leave,
	.push_group = dead_push_group,
	.group_count = dead_group_count,
	.group_members = dead_group_members,
	.secret_equal = dead_secret_equal,
	.on_name = dead_on_name,
	.name_id = dead_name_id,
	.name_of = dead_name_of,
	.route_name = dead_route_name,
	.off_id = dead_off_id,
	.off_method = dead_off_method,
	.fd_watch = dead_fd_watch,
	.fd_unwatch = dead_fd_unwatch,
	.on_client_transport = dead_on_client_transport,
	.client_adopt = dead_client_adopt,
	.session_allow = dead_session_allow,
	.on_session_state = dead_on_session_state,
	.session_enter = dead_session_enter,
	.session_state = dead_session_state,
	.on_message_filter = dead_on_message_filter,
	.message_hold = dead_message_hold,
	.message_pass = dead_message_pass,
	.message_end = dead_message_end,
	.on_raised = dead_on_raised,
	.event_raise = dead_event_raise,
	.timer_with = dead_timer_with,
};
