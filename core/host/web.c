/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/web.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/admin.h"
#include "host/dispatch.h"
#include "host/node.h"
#include "host/slot.h"

static void answer_unknown(struct ob__http_server *srv, const struct ob__http_request *req,
                           bool path_known)
{
	char body[160];
	int status = path_known ? 405 : 404;
	int len = snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n",
	                   path_known ? "method_not_allowed" : "not_found",
	                   path_known ? "the path has other methods" : "no handler for this path");

	ob__http_reply(srv, req->handle, status, "application/json", body, (size_t)len);
}

static void on_request(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct ob__web_server *web = arg;
	const struct ob__slots *slots = &web->node->slots;
	bool admin = ob__admin_path(req->path);
	bool path_known = false;
	const char *tail = "";
	struct ob__reg *reg = NULL;

	if (admin ? web->admin : web->application) {
		reg = ob__slots_http(slots, req->method, req->path, &tail, &path_known);
		if (reg == NULL && strcmp(req->method, "HEAD") == 0) {
			reg = ob__slots_http(slots, "GET", req->path, &tail, &path_known);
		}
	}
	if (reg != NULL && admin && (reg->flags & OB_HTTP_ADMIN) == 0) {
		reg = NULL;
	}
	if (reg == NULL) {
		answer_unknown(srv, req, path_known);
		return;
	}
	ob__dispatch_http(web->node, srv, req, reg, tail);
}

static void on_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__web_server *web = arg;

	(void)l;
	ob__http_accept(web->http, server);
}

static int open_one(struct ob__node *node, const struct ob__listener_options *options,
                    bool application, bool admin)
{
	struct ob__web_server *web = &node->web.servers[node->web.len++];
	struct ob__http_options http = {
		.max_body = node->conf->limits.message,
		.on_request = on_request,
		.arg = web,
	};
	char err[256];

	*web = (struct ob__web_server){.node = node, .application = application, .admin = admin};
	web->http = ob__http_server_new(&node->streams, &http);
	if (web->http == NULL) {
		return OB_E_NOMEM;
	}
	web->listener = ob__listener_open(node->loop, options, on_waiting, web, err, sizeof(err));
	if (web->listener == NULL) {
		ob__error("http", "%s: %s", application ? "http" : "admin", err);
		return OB_E_LIMIT;
	}
	return 0;
}

int ob__web_open(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	bool apart = c->admin_port != 0 || c->admin_unix != NULL;
	struct ob__listener_options http = {.host = c->host, .port = c->http_port};
	struct ob__listener_options admin = {
		.host = c->admin_unix == NULL ? c->host : NULL,
		.port = c->admin_port,
		.path = c->admin_unix,
		.mode = 0600,
	};
	int rc = c->http_port != 0 ? open_one(node, &http, true, !apart) : 0;

	return rc == 0 && apart ? open_one(node, &admin, false, true) : rc;
}

int ob__web_start(struct ob__node *node)
{
	for (size_t i = 0; i < node->web.len; i++) {
		struct ob__web_server *web = &node->web.servers[i];
		int rc = ob__listener_start(web->listener);
		if (rc != 0) {
			ob__error("http", "%s: %s", ob__listener_name(web->listener),
			          ob__strerror(rc));
			return rc;
		}
		ob__notice("http", "listening on %s%s", ob__listener_name(web->listener),
		           web->admin ? " (administration)" : "");
	}
	return 0;
}

void ob__web_pause(struct ob__node *node)
{
	for (size_t i = 0; i < node->web.len; i++) {
		if (node->web.servers[i].listener != NULL) {
			ob__listener_pause(node->web.servers[i].listener);
		}
	}
}

void ob__web_free(struct ob__node *node)
{
	for (size_t i = 0; i < node->web.len; i++) {
		ob__listener_close(node->web.servers[i].listener);
		ob__http_server_free(node->web.servers[i].http);
		node->web.servers[i].listener = NULL;
		node->web.servers[i].http = NULL;
	}
}
