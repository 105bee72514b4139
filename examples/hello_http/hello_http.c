/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Example hello_http: an HTTP handler at "/".  GET and POST are answered with 200 and the node's
 * name; the host answers 405 to anything else.
 */

#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

static void hello(ob_ctx *ctx, ob_req req)
{
	ob_node_info node = {.size = sizeof(node)};
	char text[256];

	if (ob_node(ctx, &node) < 0) {
		ob_fail(ctx, req, OB_E_APP, NULL);
		return;
	}
	snprintf(text, sizeof(text), "hello from %.100s, a %.100s node\n", node.name, node.role);
	ob_http_reply(ctx, req, 200, "text/plain; charset=utf-8", text, strlen(text));
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;

	int rc = ob_on_http(ctx, "GET", "/", hello, 0);

	return rc < 0 ? rc : ob_on_http(ctx, "POST", "/", hello, 0);
}

OB_MODULE(hello_http, .version = "1.0.0", .start = start);
