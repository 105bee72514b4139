/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/fdwatch.h"
#include "host/message/dispatch.h"
#include "host/message/request.h"
#include "host/node.h"
#include "host/work.h"

/* ---- going out ---- */

ob_call_id ob__sdk_call(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
                        ob_session session, const void *data, size_t len, uint32_t deadline_ms,
                        ob_call_fn fn, void *arg)
{
	return ob__dispatch_call(gen_of(ctx), target, id, method, session, data, len, deadline_ms,
	                         fn, arg);
}

int ob__sdk_call_cancel(ob_ctx *ctx, ob_call_id call)
{
	return ob__dispatch_call_cancel(gen_of(ctx), call);
}

ob_call_id ob__sdk_call_with(ob_ctx *ctx, const ob_target *target, const ob_call_options *options,
                             ob_call_fn fn, void *arg)
{
	return ob__dispatch_call_with(gen_of(ctx), target, options, fn, arg);
}

int ob__sdk_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info)
{
	struct ob__node *node = node_of(ctx);
	const struct ob__req *r = ob__req_get(node, req != 0 ? req : node->dispatch.current);
	struct ob__trace t;

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	if (r == NULL || r->gen->module != gen_of(ctx)->module) {
		return OB_E_STALE;
	}
	ob__trace_of_req(node, r, &t);
	*info = (ob_trace_info){
		.size = sizeof(*info),
		.begins = t.parent == 0,
		.id = {t.id[0], t.id[1]},
		.span = t.span,
		.parent = t.parent,
	};
	return 0;
}

ob_timer ob__sdk_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                             void *arg)
{
	return ob__work_timer(gen_of(ctx), delay_ms, repeat_ms, fn, arg);
}

ob_timer ob__sdk_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn, void *arg)
{
	return ob__work_timer_with(gen_of(ctx), options, fn, arg);
}

int ob__sdk_timer_stop(ob_ctx *ctx, ob_timer timer)
{
	return ob__work_timer_stop(gen_of(ctx), timer);
}

ob_watch ob__sdk_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	return ob__fd_watch(gen_of(ctx), fd, events, fn, arg);
}

int ob__sdk_fd_unwatch(ob_ctx *ctx, ob_watch watch)
{
	return ob__fd_unwatch(gen_of(ctx), watch);
}

int ob__sdk_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg)
{
	return ob__work_job(gen_of(ctx), work, done, arg);
}

int ob__sdk_post(ob_ctx *ctx, ob_post_fn fn, void *arg)
{
	return ob__work_post(gen_of(ctx), fn, arg);
}

int ob__sdk_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg)
{
	return ob__work_http(gen_of(ctx), request, fn, arg);
}

int ob__sdk_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg)
{
	return ob__work_admin(gen_of(ctx), verb, args_stolen, fn, arg);
}

/* ---- events by name ---- */

int ob__sdk_on_raised(ob_ctx *ctx, const ob_listener *l, ob_raised_fn fn)
{
	const char *prefix = l != NULL && l->prefix != NULL ? l->prefix : "";
	struct ob__reg *reg;

	if (fn == NULL || l == NULL || l->size != sizeof(*l) ||
	    (prefix[0] != '\0' && !ob__event_name_ok(prefix)) ||
	    (l->key == NULL) != (l->value == NULL)) {
		return OB_E_INVAL;
	}
	size_t prefix_len = strlen(prefix) + 1;
	size_t key_len = l->key != NULL ? strlen(l->key) + 1 : 0;
	size_t value_len = l->key != NULL ? strlen(l->value) + 1 : 0;
	int rc = ob__sdk_reg_chained(ctx, OB__SLOT_RAISED, &reg);
	if (rc != 0) {
		return rc;
	}
	char *words = malloc(prefix_len + key_len + value_len);
	if (words == NULL) {
		ob__slot_unregister(reg);
		return OB_E_NOMEM;
	}
	memcpy(words, prefix, prefix_len);
	if (l->key != NULL) {
		reg->fn.raised.key = memcpy(words + prefix_len, l->key, key_len);
		reg->fn.raised.value = memcpy(words + prefix_len + key_len, l->value, value_len);
	}
	reg->fn.raised.words = words;
	reg->fn.raised.fn = fn;
	reg->priority = l->priority;
	return 0;
}

int ob__sdk_event_raise(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
                        uint32_t flags)
{
	int rc = ob__event_raise(gen_of(ctx), role, name, data_stolen, flags);

	json_decref(data_stolen);
	return rc;
}
