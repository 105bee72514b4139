# SPDX-License-Identifier: BSD-2-Clause
# Copyright (c) The obhost authors
"""C texts of plugins that more than one test uses."""

# Says who answered what. conf: {"ids": [...], "one_way": [...]}
PROBE = """
#include <obhost/obhost.h>

static int told;

static void who(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};
	ob_node_info node = {.size = sizeof(node)};
	char text[OB_SESSION_TEXT] = "";

	if (ob_req_view(ctx, req, &view) != 0 || ob_node(ctx, &node) != 0) {
		return;
	}
	if (view.session) {
		ob_session_text(ctx, view.session, text, sizeof(text));
	}
	ob_reply_json(ctx, req, "{s:i, s:s, s:s, s:i, s:i, s:s, s:I}", "code", 200, "node", node.name,
		      "role", node.role, "id", (int)view.id, "flags", (int)view.flags, "session", text,
		      "n", ob_req_int(ctx, req, "n", -1));
}

static void heard(ob_ctx *ctx, ob_req req)
{
	ob_count(ctx, told, 1);
	ob_done(ctx, req);
}

static int take(ob_ctx *ctx, const json_t *ids, ob_handler_fn fn, uint32_t flags)
{
	size_t i;
	const json_t *id;

	json_array_foreach (ids, i, id) {
		int rc = ob_on_id_flags(ctx, (uint32_t)json_integer_value(id), fn,
					OB_FROM_CLIENT | OB_FROM_LINK | flags);

		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = take(ctx, json_object_get(conf, "ids"), who, 0);

	if (rc == 0) {
		rc = take(ctx, json_object_get(conf, "one_way"), heard, OB_ONE_WAY);
	}
	told = ob_counter(ctx, "probe_told", "One-way messages");
	return rc < 0 ? rc : told < 0 ? told : 0;
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Takes a request, 6301, and answers it from a timer after {"ms": N}; 6302 never. Both say V.
HOLDER = """
#include <obhost/obhost.h>

#ifndef V
#define V 1
#endif
#define PLACES 4096

static ob_req kept[PLACES]; /* nothing to free: a node that stops calls no timer */
static unsigned next;

static void fired(ob_ctx *ctx, ob_timer timer, void *arg)
{
	ob_req *req = arg;

	ob_reply_json(ctx, *req, "{s:i, s:i}", "code", 200, "v", V);
}

static void later(ob_ctx *ctx, ob_req req)
{
	uint64_t ms = (uint64_t)ob_req_int(ctx, req, "ms", 300);
	ob_req *place = &kept[next++ % PLACES];

	*place = req;
	ob_request_hold(ctx, req);
	ob_timer_start(ctx, ms, 0, fired, place);
}

static void never(ob_ctx *ctx, ob_req req)
{
	ob_request_hold(ctx, req);
}

static void now(ob_ctx *ctx, ob_req req)
{
	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "v", V);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6301, later);

	rc = rc < 0 ? rc : ob_on_id(ctx, 6302, never);
	return rc < 0 ? rc : ob_on_id(ctx, 6303, now);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Fails in every way: 6401 gives no answer, 6402 fails without words, 6403 with, 6404 ends silently.
FAULTY = """
#include <obhost/obhost.h>

static void nothing(ob_ctx *ctx, ob_req req)
{
}

static void fails(ob_ctx *ctx, ob_req req)
{
	ob_fail(ctx, req, OB_E_APP, NULL);
}

static void says(ob_ctx *ctx, ob_req req)
{
	ob_fail(ctx, req, OB_E_DENIED, "not you");
}

static void silent(ob_ctx *ctx, ob_req req)
{
	ob_done(ctx, req);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_id(ctx, 6401, nothing);

	rc = rc < 0 ? rc : ob_on_id(ctx, 6402, fails);
	rc = rc < 0 ? rc : ob_on_id(ctx, 6403, says);
	return rc < 0 ? rc : ob_on_id(ctx, 6404, silent);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
"""

# Sessions: what it heard of their ends is at GET /ends, {"handler": {SESSION: TIMES}, "event":
# {...}}. 6201 pushes {"n": N} as 6202 to {"session": TEXT}, or to the asking client; 6203 closes
# the asking client with 4001.
WATCH = """
#include <obhost/obhost.h>

static json_t *ends;

static void note(ob_ctx *ctx, const char *how, ob_session session)
{
	char text[OB_SESSION_TEXT] = "unknown";
	json_t *list = json_object_get(ends, how);

	ob_session_text(ctx, session, text, sizeof(text));
	json_object_set_new(list, text,
			    json_integer(json_integer_value(json_object_get(list, text)) + 1));
}

static void offline(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	note(ctx, "handler", view.session);
	ob_done(ctx, req);
}

static void closed(ob_ctx *ctx, const ob_event_info *info)
{
	note(ctx, "event", info->session);
}

static void show(ob_ctx *ctx, ob_req req)
{
	ob_reply_value(ctx, req, json_deep_copy(ends));
}

static void push(ob_ctx *ctx, ob_req req)
{
	const char *text = ob_req_str(ctx, req, "session");
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_session to = text ? ob_session_find(ctx, text) : view.session;

	if (!to) {
		ob_fail(ctx, req, OB_E_NOT_FOUND, "no such session");
		return;
	}
	int rc = ob_push_json(ctx, to, 6202, "{s:I}", "n", ob_req_int(ctx, req, "n", -1));

	ob_reply_json(ctx, req, "{s:i, s:i}", "code", 200, "pushed", rc);
}

static void kick(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply_json(ctx, req, "{s:i}", "code", 200);
	ob_session_close(ctx, view.session, 4001, "go away");
}

static void stop(ob_ctx *ctx)
{
	json_decref(ends);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ends = json_pack("{s:{}, s:{}}", "handler", "event");
	int rc = ob_on_id_flags(ctx, 100130, offline, OB_FROM_CLIENT | OB_FROM_LINK | OB_ONE_WAY);

	rc = rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, closed);
	rc = rc < 0 ? rc : ob_on_http(ctx, "GET", "/ends", show, 0);
	rc = rc < 0 ? rc : ob_on_id(ctx, 6201, push);
	return rc < 0 ? rc : ob_on_id(ctx, 6203, kick);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start, .stop = stop);
"""
