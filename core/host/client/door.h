/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Listeners whose clients a module brings (ob_on_client_transport).
 *
 * Such a listener has no socket of the host's: the module binds what it needs, and hands over one
 * end of a pair of stream sockets for each client (ob_client_adopt).  From there on it is a
 * connection as any other (host/client/conn.h), with a guest (host/client/guest.h) that knows the
 * address which the module said.  The transport is a slot: a new generation is asked before the
 * switch whether it goes on with each door.
 */

#ifndef OB__DOOR_H
#define OB__DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

struct ob__client_listener;
struct ob__conn;
struct ob__gen;
struct ob__module;
struct ob__node;

/* What a module offers is complete. */
bool ob__client_transport_ok(const ob_client_transport *t);

/* Has the module bind the listener's address. 0; or negative with a sentence in err. */
int ob__door_open(struct ob__client_listener *cl, char *err, size_t cap);

/* Has it let clients in. 0; or negative with a sentence in err. */
int ob__door_accept(const struct ob__client_listener *cl, char *err, size_t cap);

/* Has it let nobody in any more, if it does. */
void ob__door_close(struct ob__client_listener *cl);

/* ob_client_adopt(): see there. */
int ob__client_adopt(struct ob__gen *g, int fd, const ob_adopt_options *options);

/* The host closes this connection: tells the module that brought it, if one has. */
void ob__door_leaving(const struct ob__conn *conn, uint16_t code, const char *reason);

/* A listener uses a transport that the module offers. */
bool ob__doors_need(const struct ob__node *node, const struct ob__module *m);

/* The new generation goes on with what the old one has. 0; or OB_E_INVAL with a sentence in err. */
int ob__doors_keep(const struct ob__gen *from, struct ob__gen *to, char *err, size_t cap);

#endif
