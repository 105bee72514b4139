/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/conn.h"
#include "host/listen.h"
#include "host/node.h"
#include "mesh/handles.h"

static void on_upgrade(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct ob__client_listener *cl = arg;
	struct ob__conn *conn = ob__conn_new(cl, true);

	if (conn == NULL) {
		ob__client_count_closed(cl->node, "limit");
		ob__http_reply(srv, req->handle, 503, NULL, "too many connections\n", 21);
		return;
	}
	int rc = ob__http_upgrade(srv, req->handle, &conn->stream);
	if (rc != 0) {
		ob__http_reply(srv, req->handle, 503, NULL, "try again\n", 10);
		ob__stream_close(&conn->stream);
		return;
	}
	ob__conn_open(conn);
}

static void on_ws_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__client_listener *cl = arg;

	(void)l;
	ob__http_accept(cl->http, server);
}

static void turned_away(struct ob__stream *s)
{
	free(s);
}

/* Takes the waiting connection only to close it: left alone it would wait for ever. */
static void turn_away(struct ob__node *node, uv_stream_t *server)
{
	static const struct ob__stream_ops ops = {.on_close = turned_away};
	struct ob__stream *s = calloc(1, sizeof(*s));

	if (s != NULL) {
		ob__stream_init(s, &node->streams, &ops, NULL);
		(void)ob__stream_accept(s, server);
		ob__stream_close(s);
	}
}

static void on_raw_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__client_listener *cl = arg;
	struct ob__conn *conn = ob__conn_new(cl, false);

	(void)l;
	if (conn == NULL) {
		ob__client_count_closed(cl->node, "limit");
		turn_away(cl->node, server);
		return;
	}
	if (ob__stream_accept(&conn->stream, server) != 0) {
		ob__conn_drop(conn, "accept");
		return;
	}
	ob__conn_open(conn);
}

int ob__client_listener_bind(struct ob__client_listener *cl, char *err, size_t cap)
{
	const struct ob__listen_conf *conf = cl->conf;
	bool ws = strcmp(conf->transport, "ws") == 0;
	int code = OB_E_NOMEM;
	struct ob__listener_options options = {
		.host = conf->host,
		.port = conf->port,
		.path = conf->path,
		.reuseport = conf->reuseport,
		.code = &code,
	};
	struct ob__http_options http = {
		.max_conns = cl->node->conf->limits.connections,
		.upgrade_only = true,
		.on_upgrade = on_upgrade,
		.arg = cl,
	};

	if (ws && cl->http == NULL) { /* one that is opened again has it */
		cl->http = ob__http_server_new(&cl->node->streams, &http);
	}
	if (ws && cl->http == NULL) {
		snprintf(err, cap, "out of memory");
		return OB_E_NOMEM;
	}
	cl->listener = ob__listener_open(cl->node->loop, &options,
	                                 ws ? on_ws_waiting : on_raw_waiting, cl, err, cap);
	return cl->listener != NULL ? 0 : code;
}

int ob__client_listener_start(struct ob__client_listener *cl)
{
	const struct ob__node *node = cl->node;

	if (cl->accepting || cl->listener == NULL || node->phase > OB__NODE_RUNNING) {
		return 0;
	}
	int rc = ob__listener_start(cl->listener);
	if (rc != 0) {
		ob__error("client", "%s: %s", ob__listener_name(cl->listener), ob__strerror(rc));
		return rc;
	}
	cl->accepting = true;
	ob__notice("client", "listening on %s (%s, %s%s%s)", ob__listener_name(cl->listener),
	           cl->conf->transport, cl->conf->codec, cl->module != NULL ? ", module " : "",
	           cl->module != NULL ? cl->module : "");
	return 0;
}

static void unlisten(struct ob__client_listener *cl)
{
	ob__listener_close(cl->listener);
	cl->listener = NULL;
	cl->accepting = false;
}

static int open_one(struct ob__node *node, struct ob__client_listener *cl)
{
	char err[256];

	cl->codec = ob__slots_codec(&node->slots, cl->conf->codec);
	if (ob__slot_active(cl->codec) == NULL) {
		ob__error("client", "%s: no loaded module offers the codec %s", cl->conf->where,
		          cl->conf->codec);
		return OB_E_NOT_FOUND;
	}
	int rc = ob__client_listener_bind(cl, err, sizeof(err));
	if (rc != 0) {
		ob__error("client", "%s: %s", cl->conf->where, err);
	}
	return rc;
}

void ob__clients_init(struct ob__node *node)
{
	static const char *const reasons[] = {
		[OB__SLOW_DROP] = "reason=\"full\"",
		[OB__SLOW_OLDEST] = "reason=\"oldest\"",
		[OB__SLOW_CONFLATE] = "reason=\"conflated\"",
	};
	struct ob__clients *c = &node->clients;

	ob__slab_init(&c->conns, sizeof(struct ob__conn), OB__KIND_CONN,
	              node->conf->limits.connections);
	ob__list_init(&c->opened_listeners);
	ob__list_init(&c->link_paused);
	ob__broadcasts_init(node);
	c->opened = ob__stat_counter(node->stats, "obhost_client_opened_total", NULL,
	                             "Client connections accepted.");
	for (uint8_t slow = OB__SLOW_DROP; slow <= OB__SLOW_CONFLATE; slow++) {
		c->dropped_pushes[slow] =
			ob__stat_counter(node->stats, "obhost_pushes_dropped_total", reasons[slow],
		                         "Pushes dropped because the client was slow.");
	}
}

int ob__clients_open(struct ob__node *node)
{
	struct ob__clients *c = &node->clients;

	c->listeners = calloc(node->conf->listens_len + 1, sizeof(*c->listeners));
	if (c->listeners == NULL) {
		return OB_E_NOMEM;
	}
	for (size_t i = 0; i < node->conf->listens_len; i++) {
		struct ob__client_listener *cl = &c->listeners[c->listeners_len++];
		cl->node = node;
		cl->conf = &node->conf->listens[i];
		int rc = open_one(node, cl);
		if (rc != 0) {
			return rc;
		}
	}
	return 0;
}

int ob__clients_start(struct ob__node *node)
{
	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		int rc = ob__client_listener_start(&node->clients.listeners[i]);
		if (rc != 0) {
			return rc;
		}
	}
	return ob__listens_start(node);
}

void ob__clients_unlisten(struct ob__node *node)
{
	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		unlisten(&node->clients.listeners[i]);
	}
	OB__LIST_EACH (it, &node->clients.opened_listeners) {
		unlisten(OB__CONTAINER(it, struct ob__client_listener, link));
	}
}

static int relisten(struct ob__client_listener *cl, char *err, size_t cap)
{
	return cl->listener == NULL ? ob__client_listener_bind(cl, err, cap) : 0;
}

int ob__clients_relisten(struct ob__node *node, char *err, size_t cap)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < node->clients.listeners_len; i++) {
		rc = relisten(&node->clients.listeners[i], err, cap);
	}
	OB__LIST_EACH (it, &node->clients.opened_listeners) {
		struct ob__client_listener *cl =
			OB__CONTAINER(it, struct ob__client_listener, link);
		rc = rc == 0 && cl->slot != NULL ? relisten(cl, err, cap) : rc;
	}
	if (rc != 0) {
		ob__clients_unlisten(node);
	}
	return rc;
}

void ob__clients_close(struct ob__node *node, uint16_t code, const char *reason)
{
	struct ob__conn *conn;

	node->clients.broadcasts.over = true;
	ob__broadcasts_finish(node);
	for (uint32_t i = 0; (conn = ob__slab_next(&node->clients.conns, &i)) != NULL;) {
		ob__conn_close(conn, code, reason, "stop");
	}
}

static void stop_one(struct ob__client_listener *cl)
{
	unlisten(cl);
	ob__http_server_free(cl->http);
	cl->http = NULL;
	if (cl->module != NULL) {
		ob__timeout_clear(cl->node->loop, &cl->linger);
	}
}

void ob__clients_stop(struct ob__node *node)
{
	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		stop_one(&node->clients.listeners[i]);
	}
	OB__LIST_EACH (it, &node->clients.opened_listeners) {
		stop_one(OB__CONTAINER(it, struct ob__client_listener, link));
	}
}

void ob__clients_free(struct ob__node *node)
{
	struct ob__clients *c = &node->clients;

	ob__broadcasts_free(node);
	ob__slab_destroy(&c->conns);
	free(c->listeners);
	ob__listens_free(node);
}

bool ob__clients_use_codec(const struct ob__node *node, const struct ob__slot *slot)
{
	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		if (node->clients.listeners[i].codec == slot) {
			return true;
		}
	}
	return ob__listens_use_codec(node, slot, NULL);
}

bool ob__clients_need(const struct ob__node *node, const struct ob__module *m)
{
	if (m->active == NULL) {
		return false;
	}
	OB__LIST_EACH (it, &m->active->regs) {
		const struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		if (reg->slot->kind != OB__SLOT_CODEC) {
			continue;
		}
		for (size_t i = 0; i < node->clients.listeners_len; i++) {
			if (node->clients.listeners[i].codec == reg->slot) {
				return true;
			}
		}
		if (ob__listens_use_codec(node, reg->slot, m)) {
			return true;
		}
	}
	return false;
}
