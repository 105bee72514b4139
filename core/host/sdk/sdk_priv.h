/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/sdk.  The functions behind the SDK's table (api.c), a file for each subject:
 * node.c, register.c, request.c, session.c, push.c, user.c, out.c.  Each does what
 * <obhost/obhost.h> says of its namesake, without the prefix: it looks at what the module gave,
 * finds what its handles stand for, and has the rest of the host do the work.  All run in the
 * loop's thread unless said there.
 */

#ifndef OB__SDK_PRIV_H
#define OB__SDK_PRIV_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/generation.h"
#include "host/sdk/sdk.h"
#include "host/slot.h"

static inline struct ob__gen *gen_of(ob_ctx *ctx)
{
	return (struct ob__gen *)ctx;
}

static inline struct ob__node *node_of(ob_ctx *ctx)
{
	return gen_of(ctx)->node;
}

/* ---- node.c ---- */

const char *ob__sdk_strerror(ob_ctx *ctx, int code);
int ob__sdk_status(ob_ctx *ctx, int code);
int ob__sdk_refuse(ob_ctx *ctx, int code, const char *text);
void ob__sdk_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap);
const json_t *ob__sdk_config(ob_ctx *ctx, const char *path);
int ob__sdk_node_info(ob_ctx *ctx, ob_node_info *info);
uint64_t ob__sdk_now_ms(ob_ctx *ctx);
uint32_t ob__sdk_role(ob_ctx *ctx, const char *word);
void *ob__sdk_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version);
int ob__sdk_counter(ob_ctx *ctx, const char *name, const char *help);
void ob__sdk_count(ob_ctx *ctx, int counter, uint64_t n);
bool ob__sdk_rehearsing(ob_ctx *ctx);
int ob__sdk_module_info(ob_ctx *ctx, ob_module_info *info);
int ob__sdk_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len);
const void *ob__sdk_kv_get(ob_ctx *ctx, const char *key, size_t *len);
int ob__sdk_kv_del(ob_ctx *ctx, const char *key);
const char *ob__sdk_kv_next(ob_ctx *ctx, const char *after);
int ob__sdk_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
                          const void *data, size_t len);
const void *ob__sdk_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len);
const void *ob__sdk_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len);

/* ---- register.c ---- */

/* Registers one slot; a refusal is kept for the transaction's report. 0 or OB_E_*. */
int ob__sdk_reg(ob_ctx *ctx, enum ob__slot_kind kind, uint64_t id, const char *name,
                struct ob__reg **out);

/* The same for what stands in a chain, which may be under way once the module is live. */
int ob__sdk_reg_chained(ob_ctx *ctx, enum ob__slot_kind kind, struct ob__reg **out);

int ob__sdk_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags);
int ob__sdk_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags);
uint32_t ob__sdk_name_id(ob_ctx *ctx, const char *name, size_t len, uint32_t flags);
const char *ob__sdk_name_of(ob_ctx *ctx, uint32_t id);
uint32_t ob__sdk_route_name(ob_ctx *ctx, const char *name, size_t len);
int ob__sdk_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags);
int ob__sdk_off_id(ob_ctx *ctx, uint32_t id);
int ob__sdk_off_method(ob_ctx *ctx, const char *name);
int ob__sdk_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                    uint32_t flags);
int ob__sdk_on_event(ob_ctx *ctx, int event, ob_event_fn fn);
int ob__sdk_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn);
int ob__sdk_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn);
int ob__sdk_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn);
int ob__sdk_on_client_message(ob_ctx *ctx, ob_decide_fn fn);
int ob__sdk_on_link_message(ob_ctx *ctx, ob_decide_fn fn);
int ob__sdk_on_unknown(ob_ctx *ctx, ob_handler_fn fn);
int ob__sdk_on_error_body(ob_ctx *ctx, ob_error_body_fn fn);
int ob__sdk_on_codec(ob_ctx *ctx, const ob_codec *given);
int ob__sdk_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn);
int ob__sdk_on_transport(ob_ctx *ctx, const ob_transport *transport);
int ob__sdk_listen(ob_ctx *ctx, const ob_listen_options *options);
int ob__sdk_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport);
int ob__sdk_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options);

/* ---- request.c ---- */

int ob__sdk_req_view(ob_ctx *ctx, ob_req req, ob_view *view);
const json_t *ob__sdk_req_json(ob_ctx *ctx, ob_req req);
int ob__sdk_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len);
int ob__sdk_reply_json(ob_ctx *ctx, ob_req req, json_t *body_stolen);
int ob__sdk_fail(ob_ctx *ctx, ob_req req, int code, const char *text);
int ob__sdk_done(ob_ctx *ctx, ob_req req);
int ob__sdk_request_hold(ob_ctx *ctx, ob_req req);
ob_msg ob__sdk_msg_hold(ob_ctx *ctx, const ob_view *view);
int ob__sdk_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view);
int ob__sdk_msg_release(ob_ctx *ctx, ob_msg msg);
int ob__sdk_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info);
const char *ob__sdk_http_header(ob_ctx *ctx, ob_req req, const char *name);
int ob__sdk_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value);
int ob__sdk_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                       const void *data, size_t len);
int ob__sdk_secret_check(ob_ctx *ctx, const char *path, const char *given);
int ob__sdk_secret_equal(ob_ctx *ctx, const char *secret, const char *given);
int ob__sdk_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn);
ob_gate ob__sdk_message_hold(ob_ctx *ctx);
int ob__sdk_message_pass(ob_ctx *ctx, ob_gate gate);
int ob__sdk_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
                        size_t len);

/* ---- session.c ---- */

uint32_t ob__sdk_route_role(ob_ctx *ctx, uint32_t id);
int ob__sdk_session_info(ob_ctx *ctx, ob_session session, ob_session_info *info);
int ob__sdk_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap);
ob_session ob__sdk_session_find(ob_ctx *ctx, const char *text);
int ob__sdk_session_close(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason);
int ob__sdk_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi);
int ob__sdk_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                             ob_session_change_fn leave);
int ob__sdk_session_enter(ob_ctx *ctx, ob_session session, const char *state, json_t *data_stolen);
const char *ob__sdk_session_state(ob_ctx *ctx, ob_session session, const json_t **data);
int ob__sdk_session_set(ob_ctx *ctx, ob_session session, const char *key, const void *value,
                        size_t len);
const void *ob__sdk_session_attr(ob_ctx *ctx, ob_session session, const char *key, size_t *len);
const void *ob__sdk_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key, size_t *len);
int ob__sdk_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms);
int ob__sdk_session_unlock(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags);

/* ---- push.c ---- */

int ob__sdk_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len);
int ob__sdk_push_json(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen);
int ob__sdk_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                      const void *data, size_t len);
int ob__sdk_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                       const void *data, size_t len);
int ob__sdk_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len);
int ob__sdk_group_join(ob_ctx *ctx, ob_session session, const char *group);
int ob__sdk_group_leave(ob_ctx *ctx, ob_session session, const char *group);
int ob__sdk_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data, size_t len);
int ob__sdk_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg);
int ob__sdk_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap);

/* ---- user.c ---- */

int ob__sdk_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                         void *arg);
int ob__sdk_session_unbind(ob_ctx *ctx, ob_session session, const char *user);
int ob__sdk_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg);
int ob__sdk_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len);
int ob__sdk_kick_user(ob_ctx *ctx, const char *user, const char *reason);

/* ---- out.c ---- */

ob_call_id ob__sdk_call(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
                        ob_session session, const void *data, size_t len, uint32_t deadline_ms,
                        ob_call_fn fn, void *arg);
int ob__sdk_call_cancel(ob_ctx *ctx, ob_call_id call);
ob_call_id ob__sdk_call_with(ob_ctx *ctx, const ob_target *target, const ob_call_options *options,
                             ob_call_fn fn, void *arg);
int ob__sdk_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info);
ob_timer ob__sdk_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                             void *arg);
ob_timer ob__sdk_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
                            void *arg);
int ob__sdk_timer_stop(ob_ctx *ctx, ob_timer timer);
ob_watch ob__sdk_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg);
int ob__sdk_fd_unwatch(ob_ctx *ctx, ob_watch watch);
int ob__sdk_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg);
int ob__sdk_post(ob_ctx *ctx, ob_post_fn fn, void *arg);
int ob__sdk_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg);
int ob__sdk_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg);
int ob__sdk_on_raised(ob_ctx *ctx, const ob_listener *l, ob_raised_fn fn);
int ob__sdk_event_raise(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
                        uint32_t flags);

#endif
