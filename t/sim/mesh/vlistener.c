/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * net/listener.h on virtual sockets.
 */

#include "net/listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/sim/mesh/virtual.h"

#define BATCH 64u

struct ob__listener {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct ob__list node_link;
	struct sim_node *node;
	ob__listener_cb cb;
	void *arg;
	struct ob__list backlog; /* of vconn.backlog_link */
	int port;
	char path[108];
	char name[128];
	bool accepting;
	bool closing;
	uint64_t accepted;
};

struct ob__listener *vlistener_find(struct sim_node *n, const char *path, uint16_t port)
{
	OB__LIST_EACH (it, &n->listeners) {
		struct ob__listener *l = OB__CONTAINER(it, struct ob__listener, node_link);
		if (path != NULL ? strcmp(path, l->path) == 0 : l->port == port) {
			return l;
		}
	}
	return NULL;
}

void vlistener_offer(struct ob__listener *l, struct vconn *c)
{
	ob__list_append(&l->backlog, &c->backlog_link);
	vhandle_ready(vhandle_of(&l->uv.handle));
	sim_wake(l->node);
}

bool vlistener_waits(const struct vhandle *h)
{
	return h->listener->accepting && !ob__list_empty(&h->listener->backlog);
}

void vlistener_event(struct vhandle *h)
{
	struct ob__listener *l = h->listener;
	for (unsigned i = 0; i < BATCH && !l->closing && vlistener_waits(h); i++) {
		struct vconn *c = OB__CONTAINER(l->backlog.next, struct vconn, backlog_link);
		ob__list_del(&c->backlog_link);
		h->offered = c;
		l->accepted++;
		l->cb(l, &l->uv.stream, l->arg);
		if (h->offered != NULL) {
			h->offered = NULL;
			vconn_refuse(c);
		}
	}
	if (!l->closing && vlistener_waits(h)) {
		vhandle_ready(h);
	}
}

/* The address is free again and who waits is turned away. */
static void silence(struct ob__listener *l)
{
	ob__list_del(&l->node_link);
	while (!ob__list_empty(&l->backlog)) {
		struct vconn *c = OB__CONTAINER(l->backlog.next, struct vconn, backlog_link);
		ob__list_del(&c->backlog_link);
		vconn_refuse(c);
	}
}

void vlisteners_crash(struct sim_node *n)
{
	OB__LIST_EACH_SAFE (it, &n->listeners) {
		silence(OB__CONTAINER(it, struct ob__listener, node_link));
	}
}

/* Ports are an address's, paths a machine's. */
static bool is_taken(struct sim_node *me, const char *path, int port)
{
	struct sim_world *w = me->world;
	if (path == NULL) {
		return vlistener_find(me, NULL, (uint16_t)port) != NULL;
	}
	for (uint32_t i = 0; i < sim_nodes(w); i++) {
		struct sim_node *n = sim_node(w, i);
		if (n->machine == me->machine && vlistener_find(n, path, 0) != NULL) {
			return true;
		}
	}
	return false;
}

struct ob__listener *ob__listener_open(struct ob__loop *loop,
                                       const struct ob__listener_options *options,
                                       ob__listener_cb cb, void *arg, char *err, size_t err_cap)
{
	struct sim_node *n = sim_current;
	if (is_taken(n, options->path, options->port)) {
		snprintf(err, err_cap, "address in use");
		return NULL;
	}
	struct ob__listener *l = calloc(1, sizeof(*l));
	if (l == NULL) {
		snprintf(err, err_cap, "out of memory");
		return NULL;
	}
	l->node = n;
	l->cb = cb;
	l->arg = arg;
	l->port = options->path != NULL ? 0 : options->port;
	if (options->path != NULL) {
		snprintf(l->path, sizeof(l->path), "%s", options->path);
		snprintf(l->name, sizeof(l->name), "%s", options->path);
		uv_pipe_init(ob__loop_uv(loop), &l->uv.pipe, 0);
	} else {
		snprintf(l->name, sizeof(l->name), "%s:%d", n->host, l->port);
		uv_tcp_init(ob__loop_uv(loop), &l->uv.tcp);
	}
	vhandle_of(&l->uv.handle)->listener = l;
	vhandle_of(&l->uv.handle)->active = true;
	ob__list_init(&l->backlog);
	ob__list_init(&l->node_link);
	ob__list_append(&n->listeners, &l->node_link);
	return l;
}

int ob__listener_start(struct ob__listener *l)
{
	l->accepting = true;
	vhandle_ready(vhandle_of(&l->uv.handle));
	return 0;
}

void ob__listener_pause(struct ob__listener *l)
{
	l->accepting = false;
}

static void on_closed(uv_handle_t *handle)
{
	free(OB__CONTAINER(handle, struct ob__listener, uv.handle));
}

void ob__listener_close(struct ob__listener *l)
{
	if (l == NULL || l->closing) {
		return;
	}
	l->closing = true;
	silence(l);
	uv_close(&l->uv.handle, on_closed);
}

int ob__listener_port(const struct ob__listener *l)
{
	return l->port;
}

const char *ob__listener_name(const struct ob__listener *l)
{
	return l->name;
}

uint64_t ob__listener_accepted(const struct ob__listener *l)
{
	return l->accepted;
}

uint64_t ob__listener_refused(const struct ob__listener *l)
{
	(void)l;
	return 0;
}
