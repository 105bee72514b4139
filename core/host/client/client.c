/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/client/conn.h"
#include "host/client/door.h"
#include "host/client/entry.h"
#include "host/client/guest.h"
#include "host/client/listen.h"
#include "host/node.h"
#include "mesh/handles.h"
#include "net/wsdeflate.h"

/* What the client offers is accepted, perhaps, and the answer said so. */
static void choose_deflate(struct ob__client_listener *cl, struct ob__http_server *srv,
                           uint64_t request, struct ob__conn *conn)
{
	const char *offers = ob__http_header(srv, request, "sec-websocket-extensions");
	char answer[OB__WSDEFLATE_ANSWER];
	uint8_t bits;

	if (cl->deflate != NULL && offers != NULL &&
	    (bits = ob__wsdeflate_accept(offers, answer)) != 0 &&
	    ob__http_set_header(srv, request, "Sec-WebSocket-Extensions", answer) == 0) {
		conn->deflate = bits;
		conn->ws.deflate = true;
	}
}

static void on_upgrade(struct ob__http_server *srv, const struct ob__http_request *req, void *arg)
{
	struct ob__client_listener *cl = arg;
	if (!ob__listen_conf_origin_ok(cl->conf, ob__http_header(srv, req->handle, "origin"))) {
		ob__client_count_refused(cl->node, "origin");
		ob__http_reply(srv, req->handle, 403, NULL, "this origin is not welcome here\n",
		               32);
		return;
	}
	struct ob__conn *conn = ob__conn_new(cl, true);
	if (conn == NULL) {
		ob__client_count_closed(cl->node, "limit");
		ob__http_reply(srv, req->handle, 503, NULL, "too many connections\n", 21);
		return;
	}
	conn->guest = ob__http_guest(srv, req->handle);
	choose_deflate(cl, srv, req->handle, conn);
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

static void on_entry_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	(void)l;
	ob__entry_accept(arg, server);
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

static void on_gone(void *guest)
{
	ob__guest_free(guest);
}

static void on_refused(int status, void *arg)
{
	struct ob__client_listener *cl = arg;
	char reason[16];

	snprintf(reason, sizeof(reason), "http_%d", status);
	ob__client_count_refused(cl->node, reason);
}

void ob__client_listener_init(struct ob__client_listener *cl)
{
	ob__list_init(&cl->link);
	ob__list_init(&cl->entries);
	ob__map_init(&cl->addresses, cl->node->registry.seed);
}

/* What stands behind its socket; one that is opened again has it. */
static int prepare(struct ob__client_listener *cl, char *err, size_t cap)
{
	const struct ob__listen_conf *conf = cl->conf;
	const struct ob__http_options http = {
		.max_conns = cl->node->conf->limits.connections,
		.idle_ms = (uint32_t)conf->handshake_ms,
		.request_ms = (uint32_t)conf->handshake_ms,
		.upgrade_only = true,
		.on_upgrade = on_upgrade,
		.on_gone = on_gone,
		.on_refused = on_refused,
		.arg = cl,
	};

	if ((conf->kind & OB__LISTEN_WS) != 0 && cl->http == NULL) {
		cl->http = ob__http_server_new(&cl->node->streams, &http);
		if (cl->http == NULL) {
			snprintf(err, cap, "out of memory");
			return OB_E_NOMEM;
		}
	}
	if (conf->deflate && cl->deflate == NULL) {
		cl->deflate = ob__wsdeflate_new(conf->deflate_level, conf->deflate_memory);
		if (cl->deflate == NULL) {
			snprintf(err, cap, "out of memory");
			return OB_E_NOMEM;
		}
	}
	if ((conf->kind & OB__LISTEN_TLS) != 0 && cl->tls == NULL) {
		cl->tls = ob__listen_conf_tls(conf, err, cap);
		return cl->tls != NULL ? 0 : OB_E_INVAL;
	}
	return 0;
}

int ob__client_listener_bind(struct ob__client_listener *cl, char *err, size_t cap)
{
	const struct ob__listen_conf *conf = cl->conf;
	bool ws = (conf->kind & OB__LISTEN_WS) != 0;
	int code = OB_E_NOMEM;
	struct ob__listener_options options = {
		.host = conf->host,
		.port = conf->port,
		.path = conf->path,
		.reuseport = conf->reuseport,
		.code = &code,
	};
	if ((conf->kind & OB__LISTEN_MODULE) != 0) {
		return ob__door_open(cl, err, cap);
	}
	int rc = prepare(cl, err, cap);
	if (rc != 0) {
		return rc;
	}
	cl->listener = ob__listener_open(cl->node->loop, &options,
	                                 ob__entry_needed(conf) ? on_entry_waiting
	                                 : ws                   ? on_ws_waiting
	                                                        : on_raw_waiting,
	                                 cl, err, cap);
	return cl->listener != NULL ? 0 : code;
}

const char *ob__client_listener_name(const struct ob__client_listener *cl)
{
	if (cl->listener != NULL) {
		return ob__listener_name(cl->listener);
	}
	return cl->door_open ? cl->address : NULL;
}

static int start(const struct ob__client_listener *cl, char *err, size_t cap)
{
	if (cl->door_open) {
		return ob__door_accept(cl, err, cap);
	}
	int rc = ob__listener_start(cl->listener);
	if (rc != 0) {
		snprintf(err, cap, "%s", ob__strerror(rc));
	}
	return rc;
}

int ob__client_listener_start(struct ob__client_listener *cl)
{
	const char *name = ob__client_listener_name(cl);
	char err[256];

	if (cl->accepting || name == NULL || cl->node->phase > OB__NODE_RUNNING) {
		return 0;
	}
	int rc = start(cl, err, sizeof(err));
	if (rc != 0) {
		ob__error("client", "%s: %s", name, err);
		return rc;
	}
	cl->accepting = true;
	ob__notice("client", "listening on %s (%s, %s%s%s)", name, cl->conf->transport,
	           cl->conf->codec, cl->module != NULL ? ", module " : "",
	           cl->module != NULL ? cl->module : "");
	return 0;
}

static void unlisten(struct ob__client_listener *cl)
{
	ob__door_close(cl);
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
	struct ob__reg *codec = cl->codec->active;
	int rc = ob__codec_conf_check(codec->gen, &codec->codec, cl->conf, err, sizeof(err));
	node->conf_wrong = rc != 0;
	rc = rc == 0 ? ob__client_listener_bind(cl, err, sizeof(err)) : rc;
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
	ob__resumes_init(node);
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
		ob__client_listener_init(cl);
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
	return ob__client_listener_name(cl) == NULL ? ob__client_listener_bind(cl, err, cap) : 0;
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
	ob__resumes_end(node);
}

static void stop_one(struct ob__client_listener *cl)
{
	unlisten(cl);
	ob__entries_close(cl);
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
	ob__resumes_free(node);
	ob__codec_words_free(&c->words);
	ob__slab_destroy(&c->conns);
	for (size_t i = 0; i < c->listeners_len; i++) {
		ob__tls_ctx_free(c->listeners[i].tls);
		ob__wsdeflate_free(c->listeners[i].deflate);
		ob__map_free(&c->listeners[i].addresses);
	}
	free(c->listeners);
	ob__listens_free(node);
}

/* ---- certificates ---- */

static int read_tls(struct ob__client_listener *cl, json_t *errors)
{
	char err[256];

	if (cl->tls == NULL || ob__tls_ctx_read(cl->tls, err, sizeof(err)) == 0) {
		return 0;
	}
	ob__error("client", "%s: tls: %s", cl->conf->where, err);
	json_array_append_new(errors, json_sprintf("%s: tls: %s", cl->conf->where, err));
	return OB_E_INVAL;
}

int ob__clients_tls_read(struct ob__node *node, json_t *errors)
{
	int rc = 0;

	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		int one = read_tls(&node->clients.listeners[i], errors);
		rc = rc == 0 ? one : rc;
	}
	OB__LIST_EACH (it, &node->clients.opened_listeners) {
		int one = read_tls(OB__CONTAINER(it, struct ob__client_listener, link), errors);
		rc = rc == 0 ? one : rc;
	}
	return rc;
}

static void take_tls(struct ob__client_listener *cl, bool take)
{
	if (cl->tls != NULL) {
		ob__tls_ctx_take(cl->tls, take);
	}
}

void ob__clients_tls_take(struct ob__node *node, bool take)
{
	for (size_t i = 0; i < node->clients.listeners_len; i++) {
		take_tls(&node->clients.listeners[i], take);
	}
	OB__LIST_EACH (it, &node->clients.opened_listeners) {
		take_tls(OB__CONTAINER(it, struct ob__client_listener, link), take);
	}
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
	if (ob__doors_need(node, m)) {
		return true;
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
