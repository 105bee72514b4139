/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/web.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/admin/admin.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/slot.h"

static void answer_unknown(struct ob__http_server *srv, const struct ob__http_request *req,
                           const char *methods)
{
	static const char not_found[] =
		"{\"error\":{\"code\":\"not_found\",\"message\":\"no handler for this path\"}}\n";
	static const char not_allowed[] = "{\"error\":{\"code\":\"method_not_allowed\","
					  "\"message\":\"the path has other methods\"}}\n";

	if (methods[0] == '\0') {
		ob__http_reply(srv, req->handle, 404, "application/json", not_found,
		               sizeof(not_found) - 1);
		return;
	}
	ob__http_set_header(srv, req->handle, "Allow", methods);
	ob__http_reply(srv, req->handle, 405, "application/json", not_allowed,
	               sizeof(not_allowed) - 1);
}

static struct ob__reg *find_handler(const struct ob__web_server *web,
                                    const struct ob__http_request *req, const char **tail,
                                    char *methods, size_t cap)
{
	const struct ob__slots *slots = &web->node->slots;
	bool admin = ob__admin_path(req->path);

	methods[0] = '\0';
	if (admin ? !web->admin : !web->application) {
		return NULL;
	}
	struct ob__reg *reg = ob__slots_http(slots, req->method, req->path, tail);
	if (reg == NULL && strcmp(req->method, "HEAD") == 0) {
		reg = ob__slots_http(slots, "GET", req->path, tail);
	}
	if (reg != NULL && admin && (reg->flags & OB_HTTP_ADMIN) == 0) {
		return NULL;
	}
	if (reg == NULL) {
		ob__slots_http_methods(slots, req->path, methods, cap);
	}
	return reg;
}

static void on_request(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct ob__web_server *web = arg;
	const char *tail = "";
	char methods[128];
	struct ob__reg *reg = find_handler(web, req, &tail, methods, sizeof(methods));

	if (reg == NULL) {
		answer_unknown(srv, req, methods);
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

void ob__web_unlisten(struct ob__node *node)
{
	for (size_t i = 0; i < node->web.len; i++) {
		ob__listener_close(node->web.servers[i].listener);
		node->web.servers[i].listener = NULL;
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
