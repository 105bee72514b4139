/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/door.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/log.h"
#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/client/entry.h"
#include "host/client/guest.h"
#include "host/node.h"

#define LOG_BURST 5u

bool ob__client_transport_ok(const ob_client_transport *t)
{
	return t != NULL && t->size == sizeof(*t) && t->flags == 0 && t->open != NULL &&
	       t->accept != NULL && t->close != NULL && t->keep != NULL && t->name != NULL &&
	       ob__module_name_ok(t->name);
}

/* ---- doors ---- */

static bool is_door(const struct ob__client_listener *cl)
{
	return (cl->conf->kind & OB__LISTEN_MODULE) != 0;
}

/* Only the configuration's: they live as long as the node. */
static ob_door door_of(const struct ob__client_listener *cl)
{
	return (ob_door)(cl - cl->node->clients.listeners) + 1;
}

static struct ob__client_listener *find(const struct ob__node *node, ob_door door)
{
	const struct ob__clients *c = &node->clients;

	if (door == 0 || door > c->listeners_len || !is_door(&c->listeners[door - 1])) {
		return NULL;
	}
	return &c->listeners[door - 1];
}

/* What a hook has answered, as a code with a sentence. */
static int said(const struct ob__client_listener *cl, int rc, ob_err *text, char *err, size_t cap)
{
	if (rc == 0) {
		return 0;
	}
	text->text[sizeof(text->text) - 1] = '\0';
	ob__make_utf8(text->text);
	if (rc > 0) {
		snprintf(err, cap, "%s: the module answered %d, which is no code",
		         cl->conf->transport, rc);
		return OB_E_INVAL;
	}
	snprintf(err, cap, "%s: %s", cl->conf->transport,
	         text->text[0] != '\0' ? text->text : ob__strerror(rc));
	return rc;
}

int ob__door_open(struct ob__client_listener *cl, char *err, size_t cap)
{
	const struct ob__listen_conf *conf = cl->conf;
	uint32_t most = cl->node->conf->limits.connections;
	char address[OB_TRANSPORT_ADDRESS_MAX + 1] = "";
	ob_err text = {""};

	cl->transport = ob__strmap_get(&cl->node->slots.client_transports, conf->transport);
	struct ob__reg *reg = ob__slot_active(cl->transport);
	if (reg == NULL) {
		snprintf(err, cap, "no loaded module offers the transport %s for clients",
		         conf->transport);
		return OB_E_NOT_FOUND;
	}
	const ob_door_info info = {
		.size = sizeof(info),
		.connections = conf->connections > 0 && conf->connections < most ? conf->connections
	                                                                         : most,
		.door = door_of(cl),
		.host = conf->host,
		.port = (uint16_t)conf->port,
		.reuseport = conf->reuseport,
		.per_address = conf->per_address,
		.where = conf->where,
	};
	uint64_t entered = ob__gen_enter(reg->gen);
	int rc = reg->fn.client_transport.open(&reg->gen->ctx, &info, address, sizeof(address),
	                                       &text);
	ob__gen_leave(reg->gen, entered);
	rc = said(cl, rc, &text, err, cap);
	if (rc == 0) {
		address[sizeof(address) - 1] = '\0';
		ob__make_utf8(address);
		memcpy(cl->address, address, sizeof(address));
		cl->door_open = true;
	}
	return rc;
}

int ob__door_accept(const struct ob__client_listener *cl, char *err, size_t cap)
{
	struct ob__reg *reg = ob__slot_active(cl->transport);
	ob_err text = {""};

	if (reg == NULL) {
		snprintf(err, cap, "no loaded module offers the transport any more");
		return OB_E_NOT_FOUND;
	}
	uint64_t entered = ob__gen_enter(reg->gen);
	int rc = reg->fn.client_transport.accept(&reg->gen->ctx, door_of(cl), &text);
	ob__gen_leave(reg->gen, entered);
	return said(cl, rc, &text, err, cap);
}

void ob__door_close(struct ob__client_listener *cl)
{
	struct ob__reg *reg = ob__slot_active(cl->transport);

	if (!cl->door_open) {
		return;
	}
	cl->door_open = false;
	if (reg != NULL) {
		uint64_t entered = ob__gen_enter(reg->gen);
		reg->fn.client_transport.close(&reg->gen->ctx, door_of(cl));
		ob__gen_leave(reg->gen, entered);
	}
}

/* ---- clients ---- */

static int refuse(struct ob__client_listener *cl, const char *peer, const char *counted)
{
	uint32_t missed;

	ob__client_count_refused(cl->node, counted);
	if (ob__log_allow(&cl->refused_log, LOG_BURST, ob__loop_now(cl->node->loop), &missed)) {
		ob__info("client", "%s: %s is refused (%s)", cl->address,
		         peer != NULL ? peer : "a client", counted);
	}
	return strcmp(counted, "memory") == 0 ? OB_E_NOMEM : OB_E_LIMIT;
}

/* "192.0.2.1:7000", "[2001:db8::1]:7000". */
static int read_peer(const char *peer, struct ob__ip *ip, uint16_t *port)
{
	char host[OB__IP_TEXT];
	unsigned long number;
	char *end;
	const char *colon = strrchr(peer, ':');
	size_t len = colon != NULL ? (size_t)(colon - peer) : 0;
	bool is_v6 = peer[0] == '[' && len > 2 && peer[len - 1] == ']';

	if (len == 0 || len >= sizeof(host) || colon[1] < '0' || colon[1] > '9') {
		return OB_E_INVAL;
	}
	snprintf(host, sizeof(host), "%.*s", (int)(is_v6 ? len - 2 : len), peer + is_v6);
	number = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || number > UINT16_MAX || (strchr(host, ':') != NULL) != is_v6) {
		return OB_E_INVAL;
	}
	*port = (uint16_t)number;
	return ob__ip_parse(ip, host) == 0 ? 0 : OB_E_INVAL;
}

static bool is_connected(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	return ob__stream_socket(fd) >= 0 && getpeername(fd, (struct sockaddr *)&addr, &len) == 0;
}

static int enter(struct ob__client_listener *cl, struct ob__guest *guest, int fd, const char *peer)
{
	const char *counted = ob__guest_enter(guest);

	if (counted != NULL) {
		return refuse(cl, peer, counted);
	}
	struct ob__conn *conn = ob__conn_new(cl, false);
	if (conn == NULL) {
		ob__client_count_closed(cl->node, "limit");
		return OB_E_LIMIT;
	}
	int rc = ob__stream_take_fd(&conn->stream, fd);
	if (rc != 0) {
		ob__conn_drop(conn, "accept");
		return rc;
	}
	conn->guest = guest;
	ob__conn_open(conn);
	return 0;
}

int ob__client_adopt(struct ob__gen *g, int fd, const ob_adopt_options *o)
{
	struct ob__ip ip = {{0}};
	uint16_t port = 0;

	if (!ob__gen_live(g)) {
		return OB_E_STATE;
	}
	if (o == NULL || o->size != sizeof(*o) || !is_connected(fd) ||
	    (o->peer != NULL && read_peer(o->peer, &ip, &port) != 0)) {
		return OB_E_INVAL;
	}
	struct ob__client_listener *cl = find(g->node, o->door);
	const struct ob__reg *reg = cl != NULL ? ob__slot_active(cl->transport) : NULL;
	if (reg == NULL || reg->gen->module != g->module) {
		return OB_E_NOT_FOUND;
	}
	if (!cl->accepting) {
		return OB_E_STATE;
	}
	struct ob__guest *guest = ob__guest_named(cl, o->peer != NULL ? &ip : NULL, port);
	if (guest == NULL) {
		return refuse(cl, o->peer, "memory");
	}
	guest->client = o->client;
	int rc = enter(cl, guest, fd, o->peer);
	if (rc != 0) {
		ob__guest_free(guest);
	}
	return rc;
}

void ob__door_leaving(const struct ob__conn *conn, uint16_t code, const char *reason)
{
	const struct ob__client_listener *cl = conn->from;
	struct ob__reg *reg = is_door(cl) ? ob__slot_active(cl->transport) : NULL;

	if (reg == NULL || conn->guest == NULL || reg->fn.client_transport.leave == NULL) {
		return;
	}
	uint64_t entered = ob__gen_enter(reg->gen);
	reg->fn.client_transport.leave(&reg->gen->ctx, conn->guest->client, code,
	                               reason != NULL ? reason : "");
	ob__gen_leave(reg->gen, entered);
}

/* ---- generations ---- */

bool ob__doors_need(const struct ob__node *node, const struct ob__module *m)
{
	const struct ob__clients *c = &node->clients;

	for (size_t i = 0; i < c->listeners_len; i++) {
		const struct ob__reg *reg = ob__slot_active(c->listeners[i].transport);
		if (reg != NULL && reg->gen->module == m) {
			return true;
		}
	}
	return false;
}

static int keep_one(const struct ob__client_listener *cl, struct ob__gen *to, char *err, size_t cap)
{
	struct ob__reg *reg = cl->transport->shadow;
	ob_err text = {""};

	if (reg == NULL || reg->gen != to) {
		snprintf(err, cap, "it no longer offers the transport %s, which %s uses",
		         cl->conf->transport, cl->conf->where);
		return OB_E_INVAL;
	}
	if (!cl->door_open && cl->conns == 0) {
		return 0;
	}
	int rc = reg->fn.client_transport.keep(&to->ctx, door_of(cl), &text);
	return said(cl, rc, &text, err, cap) == 0 ? 0 : OB_E_INVAL;
}

int ob__doors_keep(const struct ob__gen *from, struct ob__gen *to, char *err, size_t cap)
{
	const struct ob__clients *c = &to->node->clients;

	for (size_t i = 0; i < c->listeners_len; i++) {
		const struct ob__client_listener *cl = &c->listeners[i];
		const struct ob__reg *reg = ob__slot_active(cl->transport);
		int rc = reg != NULL && reg->gen == from ? keep_one(cl, to, err, cap) : 0;
		if (rc != 0) {
			return rc;
		}
	}
	return 0;
}
