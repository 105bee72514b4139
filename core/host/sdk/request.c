/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sdk/sdk_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/message/request.h"
#include "host/node.h"
#include "host/work.h"
#include "net/http.h"

/* ---- requests ---- */

/* The request, if it is one of this module's. */
static inline struct ob__req *req_of(ob_ctx *ctx, ob_req req)
{
	const struct ob__dispatch *d = &node_of(ctx)->dispatch;
	struct ob__req *r = d->running;

	if (r == NULL || r->handle != req || r->ended) {
		r = ob__req_of(&d->reqs, req);
	}
	return r != NULL && r->gen->module == gen_of(ctx)->module ? r : NULL;
}

/* Of the size that the module knows.  Each is a constant, which takes a few plain stores; for one
 * that varies the compiler has an instruction that takes longer to begin with. */
static inline void copy_view(ob_view *out, const ob_view *view, uint32_t size)
{
	if (size == sizeof(*out)) {
		*out = *view;
	} else {
		memcpy(out, view, OB__VIEW_1_0);
		out->size = OB__VIEW_1_0;
	}
}

int ob__sdk_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	const struct ob__req *r = req_of(ctx, req);

	uint32_t size = view->size;
	if (size != sizeof(*view) && size != OB__VIEW_1_0) {
		return OB_E_INVAL;
	}
	if (r == NULL) {
		return OB_E_STALE;
	}
	copy_view(view, &r->view, size);
	return 0;
}

const json_t *ob__sdk_req_json(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_json(r) : NULL;
}

int ob__sdk_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL) {
		return OB_E_STALE;
	}
	if (len > node_of(ctx)->conf->limits.message) {
		r->gen->failed++; /* a request that is too big is another thing */
		ob__req_end(r, OB_E_TOO_BIG, "the answer is too big", NULL, 0);
		return OB_E_TOO_BIG;
	}
	return ob__req_end(r, OB_OK, NULL, data, len);
}

int ob__sdk_reply_json(ob_ctx *ctx, ob_req req, json_t *body_stolen)
{
	struct ob__req *r = req_of(ctx, req);
	char *dump;

	if (r == NULL) {
		json_decref(body_stolen);
		return OB_E_STALE;
	}
	dump = body_stolen != NULL ? json_dumps(body_stolen, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_decref(body_stolen);
	if (dump == NULL) {
		ob__req_end(r, OB_E_APP, "the handler's answer is not JSON", NULL, 0);
		return OB_E_INVAL;
	}
	r->json_reply = true;
	int rc = ob__sdk_reply(ctx, req, dump, strlen(dump));
	free(dump);
	return rc;
}

int ob__sdk_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL) {
		return OB_E_STALE;
	}
	return ob__req_end(r, code < 0 ? code : OB_E_APP, text, NULL, 0);
}

int ob__sdk_done(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_done(r) : OB_E_STALE;
}

int ob__sdk_request_hold(ob_ctx *ctx, ob_req req)
{
	struct ob__req *r = req_of(ctx, req);

	return r != NULL ? ob__req_hold(r) : OB_E_STALE;
}

ob_msg ob__sdk_msg_hold(ob_ctx *ctx, const ob_view *view)
{
	return ob__work_msg(gen_of(ctx), view);
}

int ob__sdk_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view)
{
	return ob__work_msg_view(gen_of(ctx), msg, view);
}

int ob__sdk_msg_release(ob_ctx *ctx, ob_msg msg)
{
	return ob__work_msg_release(gen_of(ctx), msg);
}

/* ---- HTTP in ---- */

int ob__sdk_http_info(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	const struct ob__req *r = req_of(ctx, req);

	if (info->size != sizeof(*info)) {
		return OB_E_INVAL;
	}
	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	const struct ob__http_request *q = r->from.http.request;
	if (q == NULL) {
		return OB_E_STATE;
	}
	*info = (ob_http_info){
		.size = sizeof(*info),
		.method = q->method,
		.path = q->path,
		.query = q->query,
		.tail = r->from.http.tail,
		.loopback = q->loopback,
		.unix_socket = q->unix_socket,
	};
	return 0;
}

const char *ob__sdk_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	const struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP || r->from.http.request == NULL) {
		return NULL;
	}
	return ob__http_header(r->from.http.server, r->from.http.handle, name);
}

int ob__sdk_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	const struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	int rc = ob__http_set_header(r->from.http.server, r->from.http.handle, name, value);
	return rc != 0 ? OB_E_INVAL : 0;
}

int ob__sdk_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                       const void *data, size_t len)
{
	struct ob__req *r = req_of(ctx, req);

	if (r == NULL || r->origin != OB__ORIGIN_HTTP) {
		return OB_E_STALE;
	}
	if (status < 200 || status > 599) {
		return OB_E_INVAL;
	}
	r->http_status = status;
	r->http_type = content_type;
	return ob__req_end(r, OB_OK, NULL, data, len);
}

int ob__sdk_secret_check(ob_ctx *ctx, const char *path, const char *given)
{
	if (!gen_of(ctx)->module->admin) {
		return OB_E_DENIED;
	}
	return ob__node_secret_check(node_of(ctx), path, given);
}

int ob__sdk_secret_equal(ob_ctx *ctx, const char *secret, const char *given)
{
	(void)ctx;
	return ob__node_secret_equal(secret, given);
}

/* ---- filters around messages ---- */

int ob__sdk_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn)
{
	enum ob__slot_kind kind =
		when == OB_MESSAGE_BEFORE_CLIENT ? OB__SLOT_FILTER : OB__SLOT_MESSAGE_FILTER;
	struct ob__reg *reg;

	if (fn == NULL || when < OB_MESSAGE_BEFORE_CLIENT || when > OB_MESSAGE_AFTER_HANDLER) {
		return OB_E_INVAL;
	}
	int rc = ob__sdk_reg_chained(ctx, kind, &reg);
	if (rc == 0) {
		reg->fn.message_filter = fn;
		reg->flags = (uint32_t)when;
		reg->priority = priority;
	}
	return rc;
}

ob_gate ob__sdk_message_hold(ob_ctx *ctx)
{
	return ob__gate_hold(gen_of(ctx));
}

int ob__sdk_message_pass(ob_ctx *ctx, ob_gate gate)
{
	return ob__gate_pass(gen_of(ctx), gate);
}

int ob__sdk_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
                        size_t len)
{
	return ob__gate_end(gen_of(ctx), gate, code, text, data, len);
}
