/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/sim/mesh.  A node of the host in a world (t/sim/mesh/world.h), without a process of
 * its own around it.
 *
 * What is real is all that a message meets: core/mesh, and of core/host what node_mesh.c puts
 * together and what dispatches (cluster, dispatch, calls, keys, held, sticky, sessions, users,
 * locks, drain, slots, requests).  What is not is what reaches out of it: the sockets and codecs of
 * clients (host/client/conn.h and host/client/client.h are here), the loader and the swap of
 * modules, HTTP, the configuration's files, node.c with its start, signals and end.  They are
 * substituted when the program is linked, so no line of the host knows of this.
 *
 * A node has one module, whose handlers, events and decider are the program's functions; these call
 * what stands behind the SDK.  Its clients are structs of which the program says what they send,
 * and which it tells what they get.
 */

#ifndef OB__SIM_VNODE_H
#define OB__SIM_VNODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "t/sim/mesh/world.h"

#define VNODE_PORT 21000

struct vnode;

/* What happens to a client; `user` is what vnode_connect() was given. */
struct vnode_ops {
	void (*on_reply)(struct vnode *v, void *user, uint64_t cookie, int code,
	                 const uint8_t *data, size_t len);
	void (*on_push)(struct vnode *v, void *user, uint32_t id, const uint8_t *data, size_t len);
	/* The host has closed it, or vnode_hang_up() has; its session's end has been told. */
	void (*on_closed)(struct vnode *v, void *user, uint16_t code);
};

struct vnode {
	struct ob__node node; /* first */
	struct ob__nodeconf conf;
	struct sim_node *sim;
	struct ob__gen *gen;
	const struct vnode_ops *ops;
	void (*tap)(struct vnode *v, const struct ob__frame *f);
	void (*heard)(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw);
	struct ob__client_listener from;
	struct ob__listen_conf listen;
	bool takes_clients; /* it listens for them */
	bool stopped;       /* a drain has ended with ob__node_stop() */
	bool dying;         /* the process is gone: what is said now nobody hears */
	uint64_t late_clients;
};

/* Makes what is before the start of anything: configuration with its defaults, name "nINDEX",
 * identity, loop and streams.  The program may change v->conf then. */
struct vnode *vnode_new(struct sim_node *n, const char *role, const struct vnode_ops *ops);

/* Starts it.  Registers nothing: do that next. */
void vnode_start(struct vnode *v);

/* For sim_ops.halt; the memory goes a moment later. */
void vnode_halt(struct vnode *v);

struct vnode *vnode_of(const struct sim_node *n);
struct vnode *vnode_of_ctx(ob_ctx *ctx);

void vnode_dial(struct vnode *v, const struct sim_node *to, const char *role);

/* Shows the program each frame that a link brings from now on, before it is handled or passed on;
 * those that are the link's own it does not see. */
void vnode_tap(struct vnode *v, void (*fn)(struct vnode *v, const struct ob__frame *f));

/* ---- the module ---- */

void vnode_handler(struct vnode *v, enum ob__slot_kind kind, uint32_t id, const char *method,
                   ob_handler_fn fn);
void vnode_decider(struct vnode *v, enum ob__slot_kind kind, ob_decide_fn fn);
void vnode_event(struct vnode *v, int event, ob_event_fn fn);

/* ---- clients ---- */

/* A client connects: the handle of its connection, or 0. */
uint64_t vnode_connect(struct vnode *v, void *user);

/* It sends a message, if it is read at all now. */
bool vnode_send(struct vnode *v, uint64_t conn, uint32_t id, uint64_t cookie, const void *data,
                size_t len);

/* It goes. */
void vnode_hang_up(struct vnode *v, uint64_t conn);

#endif
