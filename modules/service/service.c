/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module service: what a node of handlers says when it has none for a message, how a failure looks
 * to a client, and two methods by which other nodes reach a client through this one:
 *
 *     sys.ROLE.session.push   {"session": TEXT, "id": N, "body": ANY}
 *     sys.ROLE.session.close  {"session": TEXT, "code": N, "reason": TEXT}
 *
 * where ROLE is this node's own, and TEXT the session's text form.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define METHOD_MAX   128
#define CLOSE_NORMAL 1000
#define REASON_MAX   123 /* what a WebSocket close frame holds */

static json_t *error_body(ob_ctx *ctx, int code, const char *text)
{
	return json_pack("{s:i, s:s}", "code", ob_status(ctx, code), "error",
	                 text ? text : ob_strerror(ctx, code));
}

static void unknown(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	char text[64 + METHOD_MAX];

	if (ob_req_view(ctx, req, &view) < 0) {
		return;
	}
	if (view.method) {
		snprintf(text, sizeof(text), "no handler for method %.*s", METHOD_MAX, view.method);
	} else {
		snprintf(text, sizeof(text), "no handler for message %" PRIu32, view.id);
	}
	ob_fail(ctx, req, OB_E_NOT_FOUND, text);
}

/* The session a request names; ends the request and returns 0 when there is none. */
static ob_session named_session(ob_ctx *ctx, ob_req req)
{
	const char *text = ob_req_str(ctx, req, "session");

	if (!text) {
		ob_fail(ctx, req, OB_E_BAD, "session must be a session's text form");
		return 0;
	}

	ob_session session = ob_session_find(ctx, text);

	if (!session) {
		ob_fail(ctx, req, OB_E_NOT_FOUND, "this node knows no such session");
	}
	return session;
}

/* Ends a request with what an SDK function returned. */
static void end_with(ob_ctx *ctx, ob_req req, int rc)
{
	if (rc == 0) {
		ob_reply_json(ctx, req, "{s:i}", "code", 200);
	} else if (rc == OB_E_STALE) {
		ob_fail(ctx, req, OB_E_GONE, "the session is closed");
	} else if (rc <= OB_E_APP && rc >= OB_RESULT_LAST) {
		ob_fail(ctx, req, rc, NULL);
	} else {
		ob_fail(ctx, req, OB_E_APP, ob_strerror(ctx, rc));
	}
}

static void push(ob_ctx *ctx, ob_req req)
{
	json_t *body = json_object_get(ob_req_json(ctx, req), "body");
	json_int_t id = ob_req_int(ctx, req, "id", 0);

	if (!body || id < 1 || id > INT32_MAX) {
		ob_fail(ctx, req, OB_E_BAD, "id must be 1 to 2^31-1, and body must be there");
		return;
	}

	ob_session session = named_session(ctx, req);

	if (session) {
		end_with(ctx, req, ob_push_value(ctx, session, (uint32_t)id, json_incref(body)));
	}
}

/* RFC 6455 section 7.4: the codes that may stand in a close frame. */
static bool may_close_with(json_int_t code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

static void close_session(ob_ctx *ctx, ob_req req)
{
	json_int_t code = ob_req_int(ctx, req, "code", CLOSE_NORMAL);
	const char *reason = ob_req_str(ctx, req, "reason");

	if (!may_close_with(code) || (reason && strlen(reason) > REASON_MAX)) {
		ob_fail(ctx, req, OB_E_BAD,
		        "code must be a WebSocket close code, reason at most 123 bytes long");
		return;
	}

	ob_session session = named_session(ctx, req);

	if (session) {
		end_with(ctx, req, ob_session_close(ctx, session, (uint16_t)code, reason));
	}
}

static int offer(ob_ctx *ctx, const char *role, const char *what, ob_handler_fn fn)
{
	char name[METHOD_MAX];
	int len = snprintf(name, sizeof(name), "sys.%s.session.%s", role, what);

	if (len < 0 || (size_t)len >= sizeof(name)) {
		ob_log(ctx, OB_LOG_ERROR, "the role's name is too long for a method's name");
		return OB_E_INVAL;
	}
	return ob_on_method(ctx, name, fn, 0);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_node_info node = {.size = sizeof(node)};
	int rc = ob_node(ctx, &node);

	(void)conf;
	if (rc < 0) {
		return rc;
	}
	rc = offer(ctx, node.role, "push", push);
	if (rc < 0) {
		return rc;
	}
	rc = offer(ctx, node.role, "close", close_session);
	if (rc < 0) {
		return rc;
	}
	rc = ob_on_unknown(ctx, unknown);
	return rc < 0 ? rc : ob_on_error_body(ctx, error_body);
}

OB_MODULE(service, .version = "1.0.0", .start = start);
