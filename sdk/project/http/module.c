/*
 * @NAME@: a module for obhost. It takes HTTP requests.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * GET /@NAME@/WHO is answered with a greeting in JSON, POST /@NAME@ with the length of what was
 * posted. The node's "http" port serves them; administrative paths are the node's own.
 *
 * A module is read from its foot upwards: the descriptor names the hooks, start() registers the
 * handlers. Everything is static but the descriptor.
 */

#include <obhost/obhost.h>

/* Statics belong to a generation: after a reload there are new ones. Counters go on. */
static int requests;

/* A handler ends its request by exactly one of ob_http_reply(), ob_reply...(), ob_fail() and
 * ob_done(), or keeps it for later with ob_request_hold(). It must not block. */
static void hello(ob_ctx *ctx, ob_req req)
{
	ob_http_info info = {.size = sizeof(info)};

	/* What the path's "*" matched, percent signs decoded; good until this function returns. */
	if (ob_http_get(ctx, req, &info) < 0 || !info.tail[0]) {
		ob_fail(ctx, req, OB_E_NOT_FOUND, "whom? GET /@NAME@/WHO");
		return;
	}
	ob_count(ctx, requests, 1);
	ob_http_set_header(ctx, req, "Cache-Control", "no-store");
	ob_reply_json(ctx, req, "{s:i, s:s}", "code", 200, "hello", info.tail);
}

static void posted(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	if (ob_req_view(ctx, req, &view) < 0) {
		ob_fail(ctx, req, OB_E_APP, NULL);
		return;
	}
	ob_count(ctx, requests, 1);
	ob_reply_json(ctx, req, "{s:i, s:I}", "code", 200, "bytes", (json_int_t)view.len);
}

/* Registers. The generation before this one still serves. */
static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_counter(ctx, "requests", "Requests answered");

	if (rc < 0) {
		return rc;
	}
	requests = rc;
	rc = ob_on_http(ctx, "GET", "/@NAME@/*", hello, 0);
	return rc < 0 ? rc : ob_on_http(ctx, "POST", "/@NAME@", posted, 0);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
